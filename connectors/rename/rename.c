// SPDX-License-Identifier: Apache-2.0
//
// rename.c - a processor that changes names and texts. README.md has its options.
//
// Counts in a record never change, only texts do. So a record is not decoded: the places of texts
// that change are collected as edits, in the order of their places, and the record is copied with
// the new texts spliced in.

#include <stdlib.h>

#include "connectors/connector.h"
#include "connectors/regex.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/fqn.h"
#include "proto/record/writer.h"

#define TEXT_BYTES_MAX 1048576 // of one renamed text
#define DEPTH_MAX      16      // lists and maps that a path goes through

static const shoal_option_t options[] = {
    {.path = "prefixes", .type = SHOAL_OPTION_VALUE, .help = "a list of from and to, FQNs"},
    {.path = "rules", .type = SHOAL_OPTION_VALUE, .help = "a list of field, from and to"},
    {.path = NULL},
};

static const shoal_option_t prefix_options[] = {
    {.path = "from", .flags = SHOAL_OPTION_MUST, .help = "an FQN, as in \"pg1.sales\""},
    {.path = "to", .flags = SHOAL_OPTION_MUST, .help = "an FQN of as many parts"},
    {.path = NULL},
};

static const shoal_option_t rule_options[] = {
    {.path = "kinds", .type = SHOAL_OPTION_LIST},
    {.path = "field", .flags = SHOAL_OPTION_MUST, .help = "a path, as in \"columns.name\""},
    {.path = "from", .flags = SHOAL_OPTION_MUST, .help = "a regular expression"},
    {.path = "to"},
    {.path = NULL},
};

typedef struct prefix {
    char *from;
    char *to;
    size_t to_parent_len; // bytes of `to` before its last part; 0: it has one part
    char *to_name;        // its last part, without quotes
} prefix_t;

typedef struct rule {
    char **kinds;
    size_t kind_count;
    char *field;
    bool is_name;
    shoal_regex_t *regex;
    char *to;
} rule_t;

// A text of the record that changes.
typedef struct edit {
    const char *at;    // the value's bytes in the record
    size_t len;        // of them
    size_t text_start; // of the new text in `texts`
    size_t text_len;
} edit_t;

typedef struct renamer {
    prefix_t *prefixes;
    size_t prefix_count;
    rule_t *rules;
    size_t rule_count;

    // From record to record, so that nothing is allocated for each.
    edit_t *edits;
    size_t edit_count;
    size_t edit_room;
    shoal_buffer_t texts;
    shoal_buffer_t spare;
    shoal_buffer_t fqn;
} renamer_t;

// ---- options

// Where the last part of an FQN starts; *ret_parts is how many parts there are, 0: a quote is open.
static size_t
last_part(const char *fqn, size_t *ret_parts)
{
    size_t start = 0;
    size_t parts = 1;
    bool is_quoted = false;
    for (size_t i = 0; fqn[i]; i++) {
        if (fqn[i] == '"') {
            is_quoted = !is_quoted;
        } else if (fqn[i] == '.' && !is_quoted) {
            parts++;
            start = i + 1;
        }
    }
    *ret_parts = is_quoted ? 0 : parts;
    return start;
}

static bool
add_prefix(void *ctx, const shoal_options_t *element, shoal_status_t *status)
{
    renamer_t *renamer = ctx;
    const char *from = shoal_options_text(element, "from");
    const char *to = shoal_options_text(element, "to");
    size_t from_parts = 0;
    size_t to_parts = 0;
    (void)last_part(from, &from_parts);
    size_t last = last_part(to, &to_parts);
    if (from_parts == 0 || from_parts != to_parts || to[last] == '\0') {
        return shoal_fail_key(status, shoal_options_key(element, "to"),
                              "\"%.60s\" must have as many parts as \"%.60s\"", to, from);
    }
    size_t name_len = strlen(to + last);
    bool is_quoted = name_len > 2 && to[last] == '"' && to[last + name_len - 1] == '"';
    renamer->prefixes =
        shoal_realloc(renamer->prefixes, (renamer->prefix_count + 1) * sizeof(*renamer->prefixes));
    renamer->prefixes[renamer->prefix_count++] =
        (prefix_t){.from = shoal_strdup(from),
                   .to = shoal_strdup(to),
                   .to_parent_len = last > 0 ? last - 1 : 0,
                   .to_name = is_quoted ? shoal_strndup(to + last + 1, name_len - 2)
                                        : shoal_strdup(to + last)};
    return true;
}

static bool
add_rule(void *ctx, const shoal_options_t *element, shoal_status_t *status)
{
    renamer_t *renamer = ctx;
    shoal_regex_t *regex = NULL;
    const char *to = shoal_options_text(element, "to");
    if (!shoal_regex_new(shoal_options_text(element, "from"), SHOAL_REGEX_SEARCH,
                         shoal_options_key(element, "from"), &regex, status)) {
        return false;
    }
    if (!shoal_regex_check_replacement(regex, to, shoal_options_key(element, "to"), status)) {
        shoal_regex_destroy(&regex);
        return false;
    }
    renamer->rules =
        shoal_realloc(renamer->rules, (renamer->rule_count + 1) * sizeof(*renamer->rules));
    rule_t *rule = &renamer->rules[renamer->rule_count++];
    *rule = (rule_t){.field = shoal_strdup(shoal_options_text(element, "field")),
                     .regex = regex,
                     .to = shoal_strdup(to)};
    rule->is_name = strcmp(rule->field, "name") == 0;
    rule->kind_count = shoal_options_list_len(element, "kinds");
    rule->kinds = shoal_alloc((rule->kind_count + 1) * sizeof(*rule->kinds));
    for (size_t i = 0; i < rule->kind_count; i++) {
        rule->kinds[i] = shoal_strdup(shoal_options_list_at(element, "kinds", i));
    }
    return true;
}

static void
close_renamer(void *processor)
{
    renamer_t *renamer = processor;
    for (size_t i = 0; i < renamer->prefix_count; i++) {
        free(renamer->prefixes[i].from);
        free(renamer->prefixes[i].to);
        free(renamer->prefixes[i].to_name);
    }
    for (size_t i = 0; i < renamer->rule_count; i++) {
        rule_t *rule = &renamer->rules[i];
        for (size_t k = 0; k < rule->kind_count; k++) {
            free(rule->kinds[k]);
        }
        free(rule->kinds);
        free(rule->field);
        free(rule->to);
        shoal_regex_destroy(&rule->regex);
    }
    free(renamer->prefixes);
    free(renamer->rules);
    free(renamer->edits);
    shoal_buffer_fini(&renamer->texts);
    shoal_buffer_fini(&renamer->spare);
    shoal_buffer_fini(&renamer->fqn);
    free(renamer);
}

static bool
open_renamer(const shoal_options_t *config, const shoal_host_t *host, void **ret_processor,
             shoal_status_t *status)
{
    (void)host;
    renamer_t *renamer = shoal_alloc(sizeof(*renamer));
    if (!shoal_options_each(config, "prefixes", prefix_options, add_prefix, renamer, status) ||
        !shoal_options_each(config, "rules", rule_options, add_rule, renamer, status)) {
        close_renamer(renamer);
        return false;
    }
    *ret_processor = renamer;
    return true;
}

// ---- edits

// Notes that `value` becomes the text at the end of `texts` from `text_start` on. Kept in the
// order of places: fields come in any order.
static void
add_edit(renamer_t *renamer, shoal_slice_t value, size_t text_start)
{
    if (renamer->edit_count == renamer->edit_room) {
        renamer->edit_room = renamer->edit_room > 0 ? renamer->edit_room * 2 : 16;
        renamer->edits =
            shoal_realloc(renamer->edits, renamer->edit_room * sizeof(*renamer->edits));
    }
    size_t at = renamer->edit_count++;
    while (at > 0 && renamer->edits[at - 1].at > value.ptr) {
        renamer->edits[at] = renamer->edits[at - 1];
        at--;
    }
    renamer->edits[at] =
        (edit_t){value.ptr, value.len, text_start, renamer->texts.len - text_start};
}

// Appends `record` with the edits made to `out`, and forgets them.
static void
apply_edits(renamer_t *renamer, shoal_slice_t record, shoal_buffer_t *out)
{
    const char *copied = record.ptr;
    for (size_t i = 0; i < renamer->edit_count; i++) {
        const edit_t *edit = &renamer->edits[i];
        shoal_buffer_append(out, copied, (size_t)(edit->at - copied));
        shoal_write_str(out,
                        (shoal_slice_t){renamer->texts.ptr + edit->text_start, edit->text_len});
        copied = edit->at + edit->len;
    }
    shoal_buffer_append(out, copied, (size_t)(record.ptr + record.len - copied));
    renamer->edit_count = 0;
    shoal_buffer_clear(&renamer->texts);
}

// Told of each text at a path; `value` is its whole msgpack value.
typedef bool text_fn(renamer_t *renamer, const void *rule, shoal_slice_t value, shoal_slice_t text,
                     shoal_status_t *status);

// Calls `each` for every text at `path` below `value`.
static bool
walk(renamer_t *renamer, const void *rule, shoal_slice_t value, const char *path, unsigned depth,
     text_fn *each, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    shoal_value_kind_t kind = shoal_cursor_peek(&cursor);
    if (depth == DEPTH_MAX) {
        return true;
    }
    if (kind == SHOAL_VALUE_ARRAY) {
        uint32_t count = shoal_cursor_array(&cursor);
        for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
            if (!walk(renamer, rule, shoal_cursor_value(&cursor), path, depth + 1, each, status)) {
                return false;
            }
        }
        return true;
    }
    if (*path == '\0') {
        shoal_slice_t text = kind == SHOAL_VALUE_STR ? shoal_cursor_str(&cursor) : SHOAL_SLICE_NONE;
        return text.len == 0 || each(renamer, rule, value, text, status);
    }
    char name[128];
    size_t len = strcspn(path, ".");
    if (len >= sizeof(name)) {
        return true;
    }
    memcpy(name, path, len);
    name[len] = '\0';
    shoal_slice_t inner = SHOAL_SLICE_NONE;
    return !shoal_map_find(value, name, &inner) ||
           walk(renamer, rule, inner, path + len + (path[len] == '.'), depth + 1, each, status);
}

// ---- prefixes

static bool
change_prefix(renamer_t *renamer, const void *rule, shoal_slice_t value, shoal_slice_t text,
              shoal_status_t *status)
{
    (void)rule;
    (void)status;
    for (size_t i = 0; i < renamer->prefix_count; i++) {
        const prefix_t *prefix = &renamer->prefixes[i];
        size_t len = strlen(prefix->from);
        if (text.len >= len && memcmp(text.ptr, prefix->from, len) == 0 &&
            (text.len == len || text.ptr[len] == '.')) {
            size_t start = renamer->texts.len;
            shoal_buffer_append_text(&renamer->texts, prefix->to);
            shoal_buffer_append(&renamer->texts, text.ptr + len, text.len - len);
            add_edit(renamer, value, start);
            return true;
        }
    }
    return true;
}

static const char *const parents[] = {"databaseSchema", "database", "service"};

// The FQN of the record itself in renamer->fqn; its parent's value, if it has one.
static bool
find_itself(renamer_t *renamer, shoal_slice_t record, shoal_slice_t *ret_name,
            shoal_slice_t *ret_parent)
{
    shoal_buffer_clear(&renamer->fqn);
    *ret_parent = SHOAL_SLICE_NONE;
    for (size_t i = 0; i < sizeof(parents) / sizeof(*parents) && ret_parent->len == 0; i++) {
        if (shoal_map_find(record, parents[i], ret_parent)) {
            shoal_cursor_t cursor = shoal_cursor_over(*ret_parent);
            shoal_buffer_append_slice(&renamer->fqn, shoal_cursor_str(&cursor));
        }
    }
    if (!shoal_map_find(record, "name", ret_name)) {
        return false;
    }
    shoal_cursor_t cursor = shoal_cursor_over(*ret_name);
    shoal_fqn_append(&renamer->fqn, shoal_cursor_str(&cursor));
    return !cursor.is_bad;
}

// If a prefix names this very record, it gets the new name, and its parent that of `to`.
static bool
rename_itself(renamer_t *renamer, shoal_slice_t record)
{
    shoal_slice_t name = SHOAL_SLICE_NONE;
    shoal_slice_t parent = SHOAL_SLICE_NONE;
    if (!find_itself(renamer, record, &name, &parent)) {
        return false;
    }
    for (size_t i = 0; i < renamer->prefix_count; i++) {
        const prefix_t *prefix = &renamer->prefixes[i];
        if (!shoal_slice_is(shoal_buffer_slice(&renamer->fqn), prefix->from)) {
            continue;
        }
        size_t start = renamer->texts.len;
        shoal_buffer_append_text(&renamer->texts, prefix->to_name);
        add_edit(renamer, name, start);
        if (parent.len > 0) {
            start = renamer->texts.len;
            shoal_buffer_append(&renamer->texts, prefix->to, prefix->to_parent_len);
            add_edit(renamer, parent, start);
        }
        return true;
    }
    return false;
}

static bool
collect_prefixes(renamer_t *renamer, shoal_slice_t record, shoal_status_t *status)
{
    if (renamer->prefix_count == 0) {
        return true;
    }
    if (!rename_itself(renamer, record)) {
        for (size_t i = 0; i < sizeof(parents) / sizeof(*parents); i++) {
            if (!walk(renamer, NULL, record, parents[i], 0, change_prefix, status)) {
                return false;
            }
        }
    }
    return walk(renamer, NULL, record, "tableConstraints.referredColumns", 0, change_prefix,
                status);
}

// ---- rules

static bool
change_text(renamer_t *renamer, const void *ctx, shoal_slice_t value, shoal_slice_t text,
            shoal_status_t *status)
{
    const rule_t *rule = ctx;
    size_t start = renamer->texts.len;
    bool is_changed = false;
    if (!shoal_regex_replace(rule->regex, text, rule->to, TEXT_BYTES_MAX, &renamer->texts,
                             &is_changed, status)) {
        return false;
    }
    if (is_changed) {
        if (rule->is_name && renamer->texts.len == start) {
            return shoal_fail_as(status, SHOAL_DATA, SHOAL_INVALID,
                                 "renaming \"%.*s\" would leave no name", SHOAL_SLICE_ARGS(text));
        }
        add_edit(renamer, value, start);
    }
    return true;
}

static bool
applies(const rule_t *rule, shoal_slice_t record)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (rule->kind_count == 0) {
        return true;
    }
    if (!shoal_map_find(record, "kind", &value)) {
        return false;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    shoal_slice_t kind = shoal_cursor_str(&cursor);
    for (size_t i = 0; i < rule->kind_count; i++) {
        if (shoal_slice_is(kind, rule->kinds[i])) {
            return true;
        }
    }
    return false;
}

// Makes the edits that were collected, if any: *record becomes what they leave, in `out`.
static void
settle(renamer_t *renamer, shoal_slice_t *record, shoal_buffer_t *out)
{
    if (renamer->edit_count > 0) {
        shoal_buffer_clear(&renamer->spare);
        apply_edits(renamer, *record, &renamer->spare);
        shoal_buffer_clear(out);
        shoal_buffer_append_slice(out, shoal_buffer_slice(&renamer->spare));
        *record = shoal_buffer_slice(out);
    }
}

static bool
rename_record(void *processor, shoal_slice_t record, shoal_buffer_t *out,
              shoal_verdict_t *ret_verdict, shoal_status_t *status)
{
    renamer_t *renamer = processor;
    const char *original = record.ptr;
    renamer->edit_count = 0; // a record that failed may have left some
    shoal_buffer_clear(&renamer->texts);
    if (!collect_prefixes(renamer, record, status)) {
        return false;
    }
    settle(renamer, &record, out);
    for (size_t i = 0; i < renamer->rule_count; i++) {
        const rule_t *rule = &renamer->rules[i];
        if (applies(rule, record)) {
            if (!walk(renamer, rule, record, rule->field, 0, change_text, status)) {
                return false;
            }
            settle(renamer, &record, out);
        }
    }
    *ret_verdict = record.ptr == original ? SHOAL_VERDICT_KEEP : SHOAL_VERDICT_REPLACE;
    return true;
}

static const shoal_processor_ops_t processor = {
    .open = open_renamer,
    .close = close_renamer,
    .process = rename_record,
};

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "rename",
    .summary = "changes names by FQN prefixes and regexes",
    .processor = &processor,
    .options = options,
};
