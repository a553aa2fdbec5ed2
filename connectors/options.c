// SPDX-License-Identifier: Apache-2.0
//
// options.c - see options.h.
//
// A section is walked once; the tables are short, so each key is looked up by going through its
// table. The walk goes down only along prefixes of known paths, which bounds its depth.

#include "connectors/options.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "proto/base/alloc.h"
#include "proto/base/buffer.h"
#include "proto/base/nearest.h"
#include "proto/record/cursor.h"

#define PATH_SIZE  256 // bytes of a path below the section
#define SHOWN_MAX  60  // bytes of a wrong value that a message repeats
#define GROUPS_MAX 2   // tables read into one object
#define NAMES_MAX  200 // known keys beside an unknown one

typedef struct list {
    char **texts;
    size_t len;
} list_t;

typedef struct value {
    char *key; // prefix and path
    bool is_written;
    char *text;        // TEXT, and the text of COUNT and FLAG
    uint64_t count;    // COUNT
    bool flag;         // FLAG
    list_t lists[2];   // LIST: the first; PATTERN: includes, excludes
    shoal_slice_t raw; // VALUE: within the group's section
} value_t;

typedef struct group {
    const shoal_option_t *table;
    size_t count;
    char *prefix;
    char *section; // the bytes that `raw` slices point into
    value_t *values;
} group_t;

struct shoal_options {
    group_t groups[GROUPS_MAX];
    size_t group_count;
};

typedef struct reading {
    group_t *group;
    bool is_lenient;
    shoal_options_warn_fn *warn;
    void *ctx;
    shoal_status_t *status;
} reading_t;

static const char *const list_names[] = {"includes", "excludes", NULL};

static void
list_clear(list_t *list)
{
    for (size_t i = 0; i < list->len; i++) {
        free(list->texts[i]);
    }
    free(list->texts);
    *list = (list_t){NULL, 0};
}

static void
list_add(list_t *list, char *text) // takes the text
{
    list->texts = shoal_realloc(list->texts, (list->len + 1) * sizeof(*list->texts));
    list->texts[list->len++] = text;
}

static void
group_fini(group_t *group)
{
    for (size_t i = 0; i < group->count; i++) {
        value_t *value = &group->values[i];
        free(value->key);
        free(value->text);
        list_clear(&value->lists[0]);
        list_clear(&value->lists[1]);
    }
    free(group->values);
    free(group->prefix);
    free(group->section);
}

// The kind of a value for people.
static const char *
kind_name(shoal_value_kind_t kind)
{
    static const char *const names[] = {
        [SHOAL_VALUE_BAD] = "malformed", [SHOAL_VALUE_NIL] = "empty",
        [SHOAL_VALUE_BOOL] = "a flag",   [SHOAL_VALUE_UINT] = "a number",
        [SHOAL_VALUE_INT] = "a number",  [SHOAL_VALUE_FLOAT] = "a number",
        [SHOAL_VALUE_STR] = "a text",    [SHOAL_VALUE_BIN] = "bytes",
        [SHOAL_VALUE_ARRAY] = "a list",  [SHOAL_VALUE_MAP] = "a map",
        [SHOAL_VALUE_EXT] = "bytes",
    };
    return names[kind];
}

// Takes the text of a scalar; the caller owns it.
static bool
scalar_text(shoal_slice_t bytes, const char *key, char **ret_text, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(bytes);
    shoal_value_kind_t kind = shoal_cursor_peek(&cursor);
    char number[32];
    if (kind == SHOAL_VALUE_STR) {
        shoal_slice_t text = shoal_cursor_str(&cursor);
        if (text.len > 0 && memchr(text.ptr, '\0', text.len)) {
            return shoal_fail_key(status, key, "the value has a NUL byte");
        }
        *ret_text = shoal_strndup(text.ptr, text.len);
        return true;
    }
    if (kind == SHOAL_VALUE_BOOL) {
        *ret_text = shoal_strdup(shoal_cursor_bool(&cursor) ? "true" : "false");
        return true;
    }
    if (kind == SHOAL_VALUE_UINT) {
        (void)snprintf(number, sizeof(number), "%llu",
                       (unsigned long long)shoal_cursor_uint(&cursor));
    } else if (kind == SHOAL_VALUE_INT) {
        (void)snprintf(number, sizeof(number), "%lld", (long long)shoal_cursor_int(&cursor));
    } else if (kind == SHOAL_VALUE_FLOAT) {
        (void)snprintf(number, sizeof(number), "%.15g", shoal_cursor_float(&cursor));
    } else {
        return shoal_fail_key(status, key, "must be one value, is %s", kind_name(kind));
    }
    *ret_text = shoal_strdup(number);
    return true;
}

// What a message may show of a wrong value.
static const char *
shown(const shoal_option_t *option, const char *text)
{
    return option->flags & SHOAL_OPTION_SECRET ? "(hidden)" : text;
}

static bool
parse_count(const shoal_option_t *option, value_t *value, shoal_status_t *status)
{
    uint64_t max = option->max > 0 ? option->max : UINT64_MAX;
    uint64_t count = 0;
    const char *text = value->text;
    bool is_number = *text != '\0';
    for (const char *at = text; *at && is_number; at++) {
        is_number = *at >= '0' && *at <= '9';
        if (is_number) {
            uint64_t digit = (uint64_t)(*at - '0');
            // A number too large for 64 bits is larger than any maximum.
            count = count > (UINT64_MAX - digit) / 10 ? UINT64_MAX : count * 10 + digit;
        }
    }
    if (!is_number) {
        return shoal_fail_key(status, value->key, "must be a whole number, is \"%.*s\"", SHOWN_MAX,
                              shown(option, text));
    }
    if (count < option->min || count > max) {
        return shoal_fail_key(status, value->key, "must be %llu to %llu, is %.*s",
                              (unsigned long long)option->min, (unsigned long long)max, SHOWN_MAX,
                              shown(option, text));
    }
    value->count = count;
    return true;
}

static bool
parse_flag(const shoal_option_t *option, value_t *value, shoal_status_t *status)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (strcasecmp(value->text, words[i]) == 0) {
            value->flag = i % 2 == 1;
            return true;
        }
    }
    return shoal_fail_key(status, value->key, "must be true or false, is \"%.*s\"", SHOWN_MAX,
                          shown(option, value->text));
}

static bool
check_choice(const shoal_option_t *option, const value_t *value, shoal_status_t *status)
{
    size_t len = strlen(value->text);
    for (const char *at = option->choices; at;) {
        size_t word_len = strcspn(at, "|");
        if (word_len == len && memcmp(at, value->text, len) == 0) {
            return true;
        }
        at = at[word_len] ? at + word_len + 1 : NULL;
    }
    return shoal_fail_key(status, value->key, "must be one of %s, is \"%.*s\"", option->choices,
                          SHOWN_MAX, shown(option, value->text));
}

// value->text is set; reads what its type makes of it.
static bool
parse_text(const shoal_option_t *option, value_t *value, shoal_status_t *status)
{
    if (option->type == SHOAL_OPTION_COUNT) {
        return parse_count(option, value, status);
    }
    if (option->type == SHOAL_OPTION_FLAG) {
        return parse_flag(option, value, status);
    }
    if (option->flags & SHOAL_OPTION_MUST && value->text[0] == '\0') {
        return shoal_fail_key(status, value->key, "must not be empty");
    }
    return !option->choices || check_choice(option, value, status);
}

static bool
read_list(shoal_slice_t bytes, const char *key, list_t *list, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(bytes);
    char *text = NULL;
    shoal_value_kind_t kind = shoal_cursor_peek(&cursor);
    if (kind == SHOAL_VALUE_NIL) {
        return true;
    }
    if (kind == SHOAL_VALUE_MAP) {
        return shoal_fail_key(status, key, "must be a list, is a map");
    }
    if (kind != SHOAL_VALUE_ARRAY) {
        if (!scalar_text(bytes, key, &text, status)) {
            return false;
        }
        list_add(list, text);
        return true;
    }
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count; i++) {
        char item_key[SHOAL_STATUS_KEY_MAX];
        (void)snprintf(item_key, sizeof(item_key), "%s[%u]", key, i);
        if (!scalar_text(shoal_cursor_value(&cursor), item_key, &text, status)) {
            return false;
        }
        list_add(list, text);
    }
    return true;
}

static bool
read_pattern(value_t *value, shoal_slice_t bytes, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(bytes);
    if (shoal_cursor_peek(&cursor) != SHOAL_VALUE_MAP) {
        return shoal_fail_key(status, value->key,
                              "must be a map of \"includes\" and \"excludes\", is %s",
                              kind_name(shoal_cursor_peek(&cursor)));
    }
    uint32_t pairs = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < pairs; i++) {
        char *name = NULL;
        if (!scalar_text(shoal_cursor_value(&cursor), value->key, &name, status)) {
            return false;
        }
        char key[SHOAL_STATUS_KEY_MAX];
        (void)snprintf(key, sizeof(key), "%s.%s", value->key, name);
        unsigned which = strcmp(name, list_names[0]) == 0   ? 0
                         : strcmp(name, list_names[1]) == 0 ? 1
                                                            : 2;
        free(name);
        if (which == 2) {
            return shoal_fail_key(status, key,
                                  "unknown key; a pattern has \"includes\" and "
                                  "\"excludes\"");
        }
        if (value->lists[which].len > 0) {
            return shoal_fail_key(status, key, "is written twice");
        }
        if (!read_list(shoal_cursor_value(&cursor), key, &value->lists[which], status)) {
            return false;
        }
    }
    return true;
}

static bool
read_value(const reading_t *reading, size_t index, shoal_slice_t bytes)
{
    const shoal_option_t *option = &reading->group->table[index];
    value_t *value = &reading->group->values[index];
    if (value->is_written) {
        return shoal_fail_key(reading->status, value->key, "is written twice");
    }
    if (bytes.len == 1 && (unsigned char)bytes.ptr[0] == 0xc0) {
        return true; // nil: not written
    }
    value->is_written = true;
    if (option->flags & SHOAL_OPTION_IGNORED) {
        if (reading->warn) {
            reading->warn(reading->ctx, value->key,
                          option->help ? option->help : "has no meaning here");
        }
        return true;
    }
    switch (option->type) {
    case SHOAL_OPTION_LIST: return read_list(bytes, value->key, &value->lists[0], reading->status);
    case SHOAL_OPTION_PATTERN: return read_pattern(value, bytes, reading->status);
    case SHOAL_OPTION_VALUE: value->raw = bytes; return true;
    case SHOAL_OPTION_TEXT:
    case SHOAL_OPTION_COUNT:
    case SHOAL_OPTION_FLAG: break;
    }
    return scalar_text(bytes, value->key, &value->text, reading->status) &&
           parse_text(option, value, reading->status);
}

// Whether `path` is what comes before a '.' in some known path.
static bool
is_parent(const group_t *group, const char *path, size_t len)
{
    for (size_t i = 0; i < group->count; i++) {
        const char *known = group->table[i].path;
        if (strncmp(known, path, len) == 0 && known[len] == '.') {
            return true;
        }
    }
    return false;
}

// An unknown key `name` below `parent` (whose path ends with a '.' unless it is empty).
static bool
refuse_unknown(const reading_t *reading, const char *parent, const char *name)
{
    const group_t *group = reading->group;
    const char *names[NAMES_MAX + 1] = {NULL};
    char *copies[NAMES_MAX];
    size_t count = 0;
    size_t len = strlen(parent);
    for (size_t i = 0; i < group->count && count < NAMES_MAX; i++) {
        const char *known = group->table[i].path;
        if (strncmp(known, parent, len) == 0) {
            copies[count] = shoal_strndup(known + len, strcspn(known + len, "."));
            names[count] = copies[count];
            count++;
        }
    }
    char key[SHOAL_STATUS_KEY_MAX];
    char text[256];
    const char *nearest = shoal_nearest(name, names);
    (void)snprintf(key, sizeof(key), "%s.%s%s", group->prefix, parent, name);
    (void)snprintf(text, sizeof(text), "unknown key \"%.*s\"%s%.*s%s", SHOWN_MAX, name,
                   nearest ? "; did you mean \"" : "", SHOWN_MAX, nearest ? nearest : "",
                   nearest ? "\"?" : "");
    for (size_t i = 0; i < count; i++) {
        free(copies[i]);
    }
    if (!reading->is_lenient) {
        return shoal_fail_key(reading->status, key, "%s", text);
    }
    if (reading->warn) {
        reading->warn(reading->ctx, key, text);
    }
    return true;
}

static bool read_map(const reading_t *reading, char path[PATH_SIZE], size_t len,
                     shoal_slice_t bytes);

// The pair of `name` and `bytes` in the map at path[0..len).
static bool
read_pair(const reading_t *reading, char path[PATH_SIZE], size_t len, const char *name,
          shoal_slice_t bytes)
{
    assert(name);
    const group_t *group = reading->group;
    char parent[PATH_SIZE];
    (void)snprintf(parent, sizeof(parent), "%.*s%s", (int)len, path, len > 0 ? "." : "");
    int written = snprintf(path, PATH_SIZE, "%s%s", parent, name);
    if (written >= PATH_SIZE || strchr(name, '.')) {
        return refuse_unknown(reading, parent, name);
    }
    for (size_t i = 0; i < group->count; i++) {
        if (strcmp(group->table[i].path, path) == 0) {
            return read_value(reading, i, bytes);
        }
    }
    if (is_parent(group, path, (size_t)written)) {
        return read_map(reading, path, (size_t)written, bytes);
    }
    return refuse_unknown(reading, parent, name);
}

static bool
read_map(const reading_t *reading, char path[PATH_SIZE], size_t len, shoal_slice_t bytes)
{
    shoal_cursor_t cursor = shoal_cursor_over(bytes);
    shoal_value_kind_t kind = shoal_cursor_peek(&cursor);
    char key[SHOAL_STATUS_KEY_MAX];
    (void)snprintf(key, sizeof(key), "%s%s%.*s", reading->group->prefix, len > 0 ? "." : "",
                   (int)len, path);
    if (kind == SHOAL_VALUE_NIL) {
        return true;
    }
    if (kind != SHOAL_VALUE_MAP) {
        return shoal_fail_key(reading->status, key, "must be a map, is %s", kind_name(kind));
    }
    uint32_t pairs = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < pairs; i++) {
        char *name = NULL;
        if (!scalar_text(shoal_cursor_value(&cursor), key, &name, reading->status)) {
            return false;
        }
        bool done = read_pair(reading, path, len, name, shoal_cursor_value(&cursor));
        free(name);
        if (!done) {
            return false;
        }
        path[len] = '\0';
    }
    return true;
}

static void
preset_list(list_t *list, const char *preset)
{
    for (const char *at = preset; at && *at;) {
        size_t len = strcspn(at, ",");
        list_add(list, shoal_strndup(at, len));
        at += len + (at[len] == ',');
    }
}

// Defaults for what was not written, or the complaint that it is missing.
static bool
complete(const group_t *group, shoal_status_t *status)
{
    for (size_t i = 0; i < group->count; i++) {
        const shoal_option_t *option = &group->table[i];
        value_t *value = &group->values[i];
        if (value->is_written || option->flags & SHOAL_OPTION_IGNORED) {
            continue;
        }
        if (option->flags & SHOAL_OPTION_MUST) {
            return shoal_fail_key(status, value->key, "\"%s\" is missing%s%s", option->path,
                                  option->help ? ": " : "", option->help ? option->help : "");
        }
        if (!option->preset) {
            continue;
        }
        if (option->type == SHOAL_OPTION_LIST) {
            preset_list(&value->lists[0], option->preset);
            continue;
        }
        assert(option->type != SHOAL_OPTION_PATTERN && option->type != SHOAL_OPTION_VALUE);
        value->text = shoal_strdup(option->preset);
        bool is_valid = parse_text(option, value, status);
        assert(is_valid); // the table's own default
        (void)is_valid;
    }
    return true;
}

static void
group_init(group_t *group, const shoal_option_t *table, const char *prefix)
{
    group->table = table;
    group->prefix = shoal_strdup(prefix);
    while (table[group->count].path) {
        group->count++;
    }
    group->values = shoal_alloc((group->count + 1) * sizeof(*group->values));
    shoal_buffer_t key = SHOAL_BUFFER_INIT;
    for (size_t i = 0; i < group->count; i++) {
        shoal_buffer_clear(&key);
        shoal_buffer_append_format(&key, "%s.%s", prefix, table[i].path);
        group->values[i].key = shoal_strdup(shoal_buffer_text(&key));
    }
    shoal_buffer_fini(&key);
}

bool
shoal_options_read(shoal_options_t **options, const shoal_option_t *table, const char *prefix,
                   shoal_slice_t section, bool is_lenient, shoal_options_warn_fn *warn, void *ctx,
                   shoal_status_t *status)
{
    assert(options && table && prefix && status);
    assert(!*options || (*options)->group_count < GROUPS_MAX);
    if (section.len > 0 && !shoal_cursor_check(section, SHOAL_CHECK_DEPTH_MAX)) {
        return shoal_fail_key(status, prefix, "malformed, or nested more than %d deep",
                              SHOAL_CHECK_DEPTH_MAX);
    }
    group_t group = {0};
    group_init(&group, table, prefix);
    group.section = shoal_alloc(section.len + 1);
    if (section.len > 0) {
        memcpy(group.section, section.ptr, section.len);
    }
    reading_t reading = {&group, is_lenient, warn, ctx, status};
    char path[PATH_SIZE] = "";
    if ((section.len > 0 &&
         !read_map(&reading, path, 0, (shoal_slice_t){group.section, section.len})) ||
        !complete(&group, status)) {
        group_fini(&group);
        return false;
    }
    if (!*options) {
        *options = shoal_alloc(sizeof(**options));
    }
    (*options)->groups[(*options)->group_count++] = group;
    return true;
}

void
shoal_options_destroy(shoal_options_t **options)
{
    if (options && *options) {
        for (size_t i = 0; i < (*options)->group_count; i++) {
            group_fini(&(*options)->groups[i]);
        }
        free(*options);
        *options = NULL;
    }
}

// Of the entries with that path, one a table at most: the last one that was written, else the first.
static const value_t *
find(const shoal_options_t *options, const char *path, size_t len, shoal_option_type_t *ret_type)
{
    const value_t *found = NULL;
    for (size_t g = 0; g < options->group_count; g++) {
        const group_t *group = &options->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            const char *known = group->table[i].path;
            if (strncmp(known, path, len) == 0 && known[len] == '\0') {
                if (!found || group->values[i].is_written) {
                    *ret_type = group->table[i].type;
                    found = &group->values[i];
                }
                break;
            }
        }
    }
    return found;
}

static const value_t *
find_typed(const shoal_options_t *options, const char *path, shoal_option_type_t type)
{
    shoal_option_type_t found = SHOAL_OPTION_VALUE;
    const value_t *value = find(options, path, strlen(path), &found);
    assert(value && found == type); // the connector asks for what its own table has
    (void)type;
    return value;
}

const char *
shoal_options_text(const shoal_options_t *options, const char *path)
{
    const value_t *value = find_typed(options, path, SHOAL_OPTION_TEXT);
    return value->text ? value->text : "";
}

uint64_t
shoal_options_count(const shoal_options_t *options, const char *path)
{
    return find_typed(options, path, SHOAL_OPTION_COUNT)->count;
}

bool
shoal_options_flag(const shoal_options_t *options, const char *path)
{
    return find_typed(options, path, SHOAL_OPTION_FLAG)->flag;
}

static const list_t *
find_list(const shoal_options_t *options, const char *path)
{
    shoal_option_type_t type = SHOAL_OPTION_VALUE;
    const value_t *value = find(options, path, strlen(path), &type);
    if (value) {
        assert(type == SHOAL_OPTION_LIST);
        return &value->lists[0];
    }
    const char *dot = strrchr(path, '.');
    assert(dot);
    value = find(options, path, (size_t)(dot - path), &type);
    assert(value && type == SHOAL_OPTION_PATTERN);
    return &value->lists[strcmp(dot + 1, list_names[0]) == 0 ? 0 : 1];
}

size_t
shoal_options_list_len(const shoal_options_t *options, const char *path)
{
    return find_list(options, path)->len;
}

const char *
shoal_options_list_at(const shoal_options_t *options, const char *path, size_t index)
{
    const list_t *list = find_list(options, path);
    assert(index < list->len);
    return list->texts[index];
}

shoal_slice_t
shoal_options_value(const shoal_options_t *options, const char *path)
{
    return find_typed(options, path, SHOAL_OPTION_VALUE)->raw;
}

bool
shoal_options_is_written(const shoal_options_t *options, const char *path)
{
    shoal_option_type_t type = SHOAL_OPTION_VALUE;
    const value_t *value = find(options, path, strlen(path), &type);
    assert(value);
    return value->is_written;
}

const char *
shoal_options_key(const shoal_options_t *options, const char *path)
{
    shoal_option_type_t type = SHOAL_OPTION_VALUE;
    const value_t *value = find(options, path, strlen(path), &type);
    assert(value);
    return value->key;
}

void
shoal_options_secrets(const shoal_options_t *options, shoal_options_secret_fn *show, void *ctx)
{
    for (size_t i = 0; options && i < options->group_count; i++) {
        const group_t *group = &options->groups[i];
        for (size_t j = 0; j < group->count; j++) {
            const value_t *value = &group->values[j];
            if ((group->table[j].flags & SHOAL_OPTION_SECRET) && value->is_written && value->text &&
                value->text[0]) {
                show(ctx, value->text);
            }
        }
    }
}

static bool
read_element(const shoal_option_t *table, const char *key, shoal_slice_t element,
             shoal_options_each_fn *each, void *ctx, shoal_status_t *status)
{
    shoal_options_t *read = NULL;
    bool done = shoal_options_read(&read, table, key, element, false, NULL, NULL, status) &&
                each(ctx, read, status);
    shoal_options_destroy(&read);
    return done;
}

bool
shoal_options_each(const shoal_options_t *options, const char *path, const shoal_option_t *table,
                   shoal_options_each_fn *each, void *ctx, shoal_status_t *status)
{
    shoal_slice_t value = shoal_options_value(options, path);
    const char *key = shoal_options_key(options, path);
    shoal_cursor_t cursor = shoal_cursor_over(value);
    if (value.len == 0) {
        return true;
    }
    if (shoal_cursor_peek(&cursor) == SHOAL_VALUE_MAP) {
        return read_element(table, key, value, each, ctx, status);
    }
    if (shoal_cursor_peek(&cursor) != SHOAL_VALUE_ARRAY) {
        return shoal_fail_key(status, key, "must be a list of maps, is %s",
                              kind_name(shoal_cursor_peek(&cursor)));
    }
    uint32_t count = shoal_cursor_array(&cursor);
    if (count > SHOAL_OPTIONS_EACH_MAX) {
        return shoal_fail_key(status, key, "has %u entries, at most %d are allowed", count,
                              SHOAL_OPTIONS_EACH_MAX);
    }
    for (uint32_t i = 0; i < count; i++) {
        char element_key[SHOAL_STATUS_KEY_MAX];
        (void)snprintf(element_key, sizeof(element_key), "%s[%u]", key, i);
        if (!read_element(table, element_key, shoal_cursor_value(&cursor), each, ctx, status)) {
            return false;
        }
    }
    return true;
}
