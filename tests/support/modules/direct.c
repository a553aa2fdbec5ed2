// SPDX-License-Identifier: Apache-2.0
//
// direct.c - a sink that writes by itself, slowly, and says who wrote what and when: a line
// "PID MILLISECONDS NAME" for each record, the time being that of shoal_clock_boot_ms(). For
// tests/e2e/test_direct.py.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "connectors/connector.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/record/cursor.h"

#define REQUEST_MS 300

typedef struct direct {
    const shoal_host_t *host;
    uint64_t slow_ms;
    int fd;
} direct_t;

static const shoal_option_t options[] = {
    {.path = "path", .flags = SHOAL_OPTION_MUST, .help = "the file that lines are appended to"},
    {.path = "slow_ms", .type = SHOAL_OPTION_COUNT, .max = 1000, .help = "before each write"},
    {.path = NULL},
};

static bool
open_sink(const shoal_options_t *config, const shoal_host_t *host, void **ret_sink,
          shoal_status_t *status)
{
    direct_t *direct = shoal_alloc(sizeof(*direct));
    direct->host = host;
    direct->slow_ms = shoal_options_count(config, "slow_ms");
    direct->fd =
        open(shoal_options_text(config, "path"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (direct->fd < 0) {
        free(direct);
        return shoal_fail_errno(status, errno, "cannot open the target");
    }
    *ret_sink = direct;
    return true;
}

static void
close_sink(void *sink)
{
    direct_t *direct = sink;
    if (direct) {
        (void)close(direct->fd);
        free(direct);
    }
}

static bool
write_record(void *sink, shoal_slice_t record, shoal_buffer_t *out, shoal_status_t *status)
{
    const direct_t *direct = sink;
    shoal_slice_t value = SHOAL_SLICE("\xa1?");
    char line[256];
    (void)out;
    if (direct->slow_ms > 0 &&
        !direct->host->wait(direct->host->ctx, -1, 0, direct->slow_ms, status)) {
        if (status->code != SHOAL_TIMEOUT) {
            return false;
        }
        shoal_status_clear(status);
    }
    (void)shoal_map_find(record, "name", &value);
    shoal_cursor_t cursor = shoal_cursor_over(value);
    shoal_slice_t name = shoal_cursor_str(&cursor);
    if (!direct->host->may_write(direct->host->ctx, REQUEST_MS, status)) {
        return false;
    }
    int len = snprintf(line, sizeof(line), "%d %" PRIu64 " %.*s\n", (int)getpid(),
                       shoal_clock_boot_ms(), SHOAL_SLICE_ARGS(name));
    return write(direct->fd, line, (size_t)len) == len ||
           shoal_fail_errno(status, errno, "cannot write to the target");
}

static const shoal_sink_ops_t sink = {
    .request_ms = REQUEST_MS,
    .open = open_sink,
    .close = close_sink,
    .write = write_record,
};

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "direct",
    .summary = "a test's target",
    .sink = &sink,
    .options = options,
};
