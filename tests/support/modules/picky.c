// SPDX-License-Identifier: Apache-2.0
//
// picky.c - a processor that cannot take some records, for tests/e2e/test_letters.py.
//
// `list` is a file of names, one a line: a record of such a name fails with class data, until the
// name is taken out of the file. `token` is a secret; the failure says it, as careless code might.

#include <stdio.h>
#include <stdlib.h>

#include "connectors/connector.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"

typedef struct picky {
    char *list;
    char *token;
} picky_t;

static void
picky_close(void *processor)
{
    picky_t *picky = processor;
    if (picky) {
        free(picky->list);
        free(picky->token);
        free(picky);
    }
}

static bool
picky_open(const shoal_options_t *options, const shoal_host_t *host, void **ret_processor,
           shoal_status_t *status)
{
    (void)host;
    (void)status;
    picky_t *picky = shoal_alloc(sizeof(*picky));
    picky->list = shoal_strdup(shoal_options_text(options, "list"));
    picky->token = shoal_strdup(shoal_options_text(options, "token"));
    *ret_processor = picky;
    return true;
}

static bool
is_listed(const picky_t *picky, shoal_slice_t name)
{
    char line[256];
    bool is_found = false;
    FILE *file = fopen(picky->list, "r");
    while (file && !is_found && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        is_found = shoal_slice_is(name, line);
    }
    if (file) {
        (void)fclose(file);
    }
    return is_found;
}

static bool
picky_process(void *processor, shoal_slice_t record, shoal_buffer_t *out,
              shoal_verdict_t *ret_verdict, shoal_status_t *status)
{
    (void)out;
    const picky_t *picky = processor;
    shoal_slice_t value = SHOAL_SLICE_NONE;
    (void)shoal_map_find(record, "name", &value);
    shoal_cursor_t cursor = shoal_cursor_over(value);
    shoal_slice_t name = shoal_cursor_str(&cursor);
    *ret_verdict = SHOAL_VERDICT_KEEP;
    return !is_listed(picky, name) ||
           shoal_fail_as(status, SHOAL_DATA, SHOAL_INVALID, "\"%.*s\" does not please, says %s",
                         SHOAL_SLICE_ARGS(name), picky->token);
}

static const shoal_processor_ops_t processor = {picky_open, picky_close, picky_process};

static const shoal_option_t options[] = {
    {.path = "list", .flags = SHOAL_OPTION_MUST, .help = "a file of names"},
    {.path = "token", .flags = SHOAL_OPTION_SECRET, .help = "a secret"},
    {.path = NULL},
};

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "picky",
    .summary = "fails for records of some names",
    .processor = &processor,
    .options = options,
};
