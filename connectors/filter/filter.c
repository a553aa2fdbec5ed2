// SPDX-License-Identifier: Apache-2.0
//
// filter.c - a processor that keeps or drops records. README.md has its options.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connectors/connector.h"
#include "connectors/patterns.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/fqn.h"

#define PART_BYTES 128 // of a condition's path, with the NUL

static const shoal_option_t options[] = {
    {.path = "kinds",
     .type = SHOAL_OPTION_LIST,
     .preset = "table",
     .help = "records of other kinds pass unseen"},
    {.path = "kindFilterPattern", .type = SHOAL_OPTION_PATTERN, .help = "on the kind"},
    {.path = "nameFilterPattern", .type = SHOAL_OPTION_PATTERN, .help = "on the name"},
    {.path = "fqnFilterPattern", .type = SHOAL_OPTION_PATTERN, .help = "on the FQN"},
    {.path = "columnFilterPattern", .type = SHOAL_OPTION_PATTERN, .help = "on columns' names"},
    {.path = "conditions", .type = SHOAL_OPTION_VALUE, .help = "a list of field and pattern"},
    {.path = NULL},
};

static const shoal_option_t condition_options[] = {
    {.path = "field", .flags = SHOAL_OPTION_MUST, .help = "a path, as in \"owner.name\""},
    {.path = "pattern", .type = SHOAL_OPTION_PATTERN, .flags = SHOAL_OPTION_MUST},
    {.path = NULL},
};

typedef struct condition {
    char *field;
    shoal_patterns_t *patterns;
} condition_t;

typedef struct filter {
    const shoal_options_t *options;
    shoal_patterns_t *kind;
    shoal_patterns_t *name;
    shoal_patterns_t *fqn;
    shoal_patterns_t *column;
    condition_t *conditions;
    size_t condition_count;
    shoal_buffer_t text; // an FQN, from record to record
} filter_t;

static void
close_filter(void *processor)
{
    filter_t *filter = processor;
    shoal_patterns_destroy(&filter->kind);
    shoal_patterns_destroy(&filter->name);
    shoal_patterns_destroy(&filter->fqn);
    shoal_patterns_destroy(&filter->column);
    for (size_t i = 0; i < filter->condition_count; i++) {
        free(filter->conditions[i].field);
        shoal_patterns_destroy(&filter->conditions[i].patterns);
    }
    free(filter->conditions);
    shoal_buffer_fini(&filter->text);
    free(filter);
}

// The bytes of the longest name in the path.
static size_t
longest_part(const char *path)
{
    size_t longest = 0;
    while (*path) {
        size_t len = strcspn(path, ".");
        longest = len > longest ? len : longest;
        path += len + (path[len] == '.');
    }
    return longest;
}

static bool
add_condition(void *ctx, const shoal_options_t *element, shoal_status_t *status)
{
    filter_t *filter = ctx;
    shoal_patterns_t *patterns = NULL;
    if (longest_part(shoal_options_text(element, "field")) >= PART_BYTES) {
        return shoal_fail_key(status, shoal_options_key(element, "field"),
                              "a name in the path has more than %d bytes", PART_BYTES - 1);
    }
    if (!shoal_patterns_new(element, "pattern", &patterns, status)) {
        return false;
    }
    filter->conditions = shoal_realloc(filter->conditions,
                                       (filter->condition_count + 1) * sizeof(*filter->conditions));
    filter->conditions[filter->condition_count++] =
        (condition_t){shoal_strdup(shoal_options_text(element, "field")), patterns};
    return true;
}

static bool
open_filter(const shoal_options_t *config, const shoal_host_t *host, void **ret_processor,
            shoal_status_t *status)
{
    (void)host;
    filter_t *filter = shoal_alloc(sizeof(*filter));
    filter->options = config;
    if (!shoal_patterns_new(config, "kindFilterPattern", &filter->kind, status) ||
        !shoal_patterns_new(config, "nameFilterPattern", &filter->name, status) ||
        !shoal_patterns_new(config, "fqnFilterPattern", &filter->fqn, status) ||
        !shoal_patterns_new(config, "columnFilterPattern", &filter->column, status) ||
        !shoal_options_each(config, "conditions", condition_options, add_condition, filter,
                            status)) {
        close_filter(filter);
        return false;
    }
    *ret_processor = filter;
    return true;
}

// The text of a scalar (numbers go to `number`); false for everything else.
static bool
scalar_text(shoal_slice_t value, char number[32], shoal_slice_t *ret_text)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    shoal_value_kind_t kind = shoal_cursor_peek(&cursor);
    if (kind == SHOAL_VALUE_STR) {
        *ret_text = shoal_cursor_str(&cursor);
        return !cursor.is_bad;
    }
    if (kind == SHOAL_VALUE_BOOL) {
        *ret_text = shoal_slice_of(shoal_cursor_bool(&cursor) ? "true" : "false");
        return true;
    }
    if (kind == SHOAL_VALUE_UINT) {
        (void)snprintf(number, 32, "%llu", (unsigned long long)shoal_cursor_uint(&cursor));
    } else if (kind == SHOAL_VALUE_INT) {
        (void)snprintf(number, 32, "%lld", (long long)shoal_cursor_int(&cursor));
    } else {
        return false;
    }
    *ret_text = shoal_slice_of(number);
    return !cursor.is_bad;
}

// The text at `path`; empty if there is none.
static shoal_slice_t
find_text(shoal_slice_t record, const char *path, char number[32])
{
    shoal_slice_t value = record;
    shoal_slice_t text = SHOAL_SLICE_NONE;
    for (const char *at = path; *at;) {
        char name[PART_BYTES];
        size_t len = strcspn(at, ".");
        (void)snprintf(name, sizeof(name), "%.*s", (int)len, at);
        if (!shoal_map_find(value, name, &value)) {
            return SHOAL_SLICE_NONE;
        }
        at += len + (at[len] == '.');
    }
    return scalar_text(value, number, &text) ? text : SHOAL_SLICE_NONE;
}

static bool
is_looked_at(const filter_t *filter, shoal_slice_t kind)
{
    size_t count = shoal_options_list_len(filter->options, "kinds");
    for (size_t i = 0; i < count; i++) {
        if (shoal_slice_is(kind, shoal_options_list_at(filter->options, "kinds", i))) {
            return true;
        }
    }
    return count == 0;
}

static bool
keeps_fqn(filter_t *filter, shoal_slice_t record, shoal_slice_t name, bool *ret_keep,
          shoal_status_t *status)
{
    static const char *const parents[] = {"databaseSchema", "database", "service"};
    char number[32];
    shoal_slice_t parent = SHOAL_SLICE_NONE;
    if (shoal_patterns_is_empty(filter->fqn)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(parents) / sizeof(*parents) && parent.len == 0; i++) {
        parent = find_text(record, parents[i], number);
    }
    shoal_buffer_clear(&filter->text);
    shoal_buffer_append_slice(&filter->text, parent);
    shoal_fqn_append(&filter->text, name);
    return shoal_patterns_keep_slice(filter->fqn, shoal_buffer_slice(&filter->text), ret_keep,
                                     status);
}

// includes: one column has to match; excludes: none may.
static bool
keeps_columns(const filter_t *filter, shoal_slice_t record, bool *ret_keep, shoal_status_t *status)
{
    shoal_slice_t columns = SHOAL_SLICE_NONE;
    if (shoal_patterns_is_empty(filter->column)) {
        return true;
    }
    bool wants_one = shoal_patterns_has_includes(filter->column);
    bool keep = !wants_one;
    if (shoal_map_find(record, "columns", &columns)) {
        shoal_cursor_t cursor = shoal_cursor_over(columns);
        uint32_t count = shoal_cursor_array(&cursor);
        for (uint32_t i = 0; i < count && keep != wants_one; i++) {
            char number[32];
            shoal_slice_t name = find_text(shoal_cursor_value(&cursor), "name", number);
            if (!shoal_patterns_keep_slice(filter->column, name, &keep, status)) {
                return false;
            }
        }
    }
    *ret_keep = keep;
    return true;
}

static bool
keeps_conditions(const filter_t *filter, shoal_slice_t record, bool *ret_keep,
                 shoal_status_t *status)
{
    for (size_t i = 0; i < filter->condition_count && *ret_keep; i++) {
        const condition_t *condition = &filter->conditions[i];
        char number[32];
        shoal_slice_t text = find_text(record, condition->field, number);
        if (text.len == 0) {
            *ret_keep = !shoal_patterns_has_includes(condition->patterns);
        } else if (!shoal_patterns_keep_slice(condition->patterns, text, ret_keep, status)) {
            return false;
        }
    }
    return true;
}

static bool
filter_record(void *processor, shoal_slice_t record, shoal_buffer_t *out,
              shoal_verdict_t *ret_verdict, shoal_status_t *status)
{
    (void)out;
    filter_t *filter = processor;
    char number[32];
    bool keep = true;
    shoal_slice_t kind = find_text(record, "kind", number);
    if (!shoal_patterns_keep_slice(filter->kind, kind, &keep, status)) {
        return false;
    }
    if (keep && is_looked_at(filter, kind)) {
        shoal_slice_t name = find_text(record, "name", number);
        if (!shoal_patterns_keep_slice(filter->name, name, &keep, status) ||
            (keep && !keeps_fqn(filter, record, name, &keep, status)) ||
            (keep && !keeps_columns(filter, record, &keep, status)) ||
            (keep && !keeps_conditions(filter, record, &keep, status))) {
            return false;
        }
    }
    *ret_verdict = keep ? SHOAL_VERDICT_KEEP : SHOAL_VERDICT_DROP;
    return true;
}

static const shoal_processor_ops_t processor = {
    .open = open_filter,
    .close = close_filter,
    .process = filter_record,
};

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "filter",
    .summary = "keeps or drops records by kind, name, FQN, columns or fields",
    .processor = &processor,
    .options = options,
};
