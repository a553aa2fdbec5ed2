// SPDX-License-Identifier: Apache-2.0
//
// file.c - a sink: one JSON object a line.
//
// It is collected: this code turns records into lines wherever a worker runs, and the client that
// asked for the job writes the file where the command runs. So `filename` is read, and asked for,
// by the client; here it is only known.

#include <stddef.h>

#include "connectors/connector.h"
#include "proto/record/json.h"

static const shoal_option_t options[] = {
    {.path = "filename",
     .type = SHOAL_OPTION_TEXT,
     .help = "where the client writes the records, \"-\" for standard output"},
    {.path = NULL},
};

static bool
open_sink(const shoal_options_t *config, const shoal_host_t *host, void **ret_sink,
          shoal_status_t *status)
{
    (void)config;
    (void)host;
    (void)status;
    *ret_sink = NULL; // nothing to remember from record to record
    return true;
}

static void
close_sink(void *sink)
{
    (void)sink;
}

static bool
write_record(void *sink, shoal_slice_t record, shoal_buffer_t *out, shoal_status_t *status)
{
    (void)sink;
    if (!shoal_json_write(record, out, status)) {
        return shoal_fail_while(status, "cannot write a record as JSON");
    }
    shoal_buffer_append_byte(out, '\n');
    return true;
}

static const shoal_sink_ops_t sink = {
    .is_collected = true,
    .open = open_sink,
    .close = close_sink,
    .write = write_record,
};

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "file",
    .summary = "JSON lines in a file or on standard output",
    .sink = &sink,
    .options = options,
};
