// SPDX-License-Identifier: Apache-2.0
//
// reader.c - from libyaml's events to the tree of document.h.
//
// Design: events, not libyaml's own documents, because only so each limit is checked before memory
// is taken: depth at each start of a container, nodes and bytes at each value and each copy that an
// alias makes. Open containers stand on a stack of our own.

#include <assert.h>
#include <stdlib.h>

#include <yaml.h>

#include "proto/base/alloc.h"
#include "proto/base/utf8.h"
#include "proto/workflow/document.h"
#include "proto/workflow/surrogates.h"
#include "proto/workflow/workflow.h"

#define ANCHORS_MAX 1000

typedef struct level {
    shoal_node_t *node; // an open list or map
    const char *key;    // map: the key whose value comes next; NULL: a key comes next
    unsigned key_line;
    bool is_merge;
} level_t;

typedef struct anchor {
    char *name;
    const shoal_node_t *node;
} anchor_t;

typedef struct reader {
    shoal_document_t *document;
    const char *key_path; // the value of --set KEY_PATH is read; NULL: a file
    unsigned depth_above; // containers around that value
    shoal_node_t *root;   // what was read
    shoal_slice_t text;
    yaml_parser_t parser;
    level_t levels[SHOAL_WORKFLOW_DEPTH_MAX];
    unsigned depth;
    anchor_t anchors[ANCHORS_MAX];
    size_t anchor_count;
    bool is_done; // the end of the stream
} reader_t;

// 0 for what is on the command line.
static unsigned
line_of(const reader_t *reader, const yaml_event_t *event)
{
    return reader->key_path ? 0 : (unsigned)event->start_mark.line + 1;
}

// Appends ".key" or "[2]" of each open container, and of `key` at the end (NULL: none).
static void
path_of(const reader_t *reader, const char *key, shoal_buffer_t *out)
{
    shoal_buffer_append_text(out, reader->key_path ? reader->key_path : "");
    for (unsigned i = 0; i < reader->depth; i++) {
        const level_t *level = &reader->levels[i];
        if (level->node->kind == SHOAL_NODE_LIST) {
            shoal_buffer_append_format(out, "[%u]", level->node->count);
        } else if (level->key) {
            shoal_buffer_append_format(out, "%s%s", out->len ? "." : "", level->key);
        }
    }
    if (key) {
        shoal_buffer_append_format(out, "%s%s", out->len ? "." : "", key);
    }
}

// Fails at `line` with the path of the value that is being read; `key`: of that key of it.
static bool
refuse(const reader_t *reader, unsigned line, const char *key, shoal_status_t *status,
       const char *reason)
{
    shoal_buffer_t path = SHOAL_BUFFER_INIT;
    path_of(reader, key, &path);
    (void)shoal_document_fail(reader->document, line, shoal_buffer_text(&path), status, "%s",
                              reason);
    shoal_buffer_fini(&path);
    return false;
}

// Puts a finished scalar or a container that has just begun in its place.
static void
place(reader_t *reader, shoal_node_t *node)
{
    if (reader->depth == 0) {
        reader->root = node;
        return;
    }
    level_t *level = &reader->levels[reader->depth - 1];
    if (level->node->kind == SHOAL_NODE_MAP) {
        node->key = level->key;
        node->line = level->key_line;
        node->is_merge = level->is_merge;
        level->key = NULL;
    }
    shoal_node_append(level->node, node);
}

static bool
wants_key(const reader_t *reader)
{
    const level_t *level = reader->depth > 0 ? &reader->levels[reader->depth - 1] : NULL;
    return level && level->node->kind == SHOAL_NODE_MAP && !level->key;
}

static bool
remember_anchor(reader_t *reader, const yaml_char_t *name, const shoal_node_t *node, unsigned line,
                shoal_status_t *status)
{
    if (!name) {
        return true;
    }
    if (reader->anchor_count == ANCHORS_MAX) {
        (void)refuse(reader, line, NULL, status, "the file has more than 1000 anchors (&name)");
        status->code = SHOAL_LIMIT;
        return false;
    }
    reader->anchors[reader->anchor_count++] = (anchor_t){shoal_strdup((const char *)name), node};
    return true;
}

// The core types only: others would need code of their own, and some readers run it.
static bool
check_tag(const reader_t *reader, const yaml_char_t *tag, unsigned line, shoal_status_t *status)
{
    static const char *const known[] = {"!",
                                        "tag:yaml.org,2002:str",
                                        "tag:yaml.org,2002:int",
                                        "tag:yaml.org,2002:float",
                                        "tag:yaml.org,2002:bool",
                                        "tag:yaml.org,2002:null",
                                        "tag:yaml.org,2002:seq",
                                        "tag:yaml.org,2002:map"};
    if (!tag) {
        return true;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp((const char *)tag, known[i]) == 0) {
            return true;
        }
    }
    return refuse(reader, line, NULL, status,
                  "a tag (!...) is not supported here; write the plain value");
}

static bool
is_null_word(const char *text)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool
on_key(reader_t *reader, const yaml_event_t *event, shoal_status_t *status)
{
    level_t *level = &reader->levels[reader->depth - 1];
    shoal_slice_t text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    if (!shoal_document_text(reader->document, text, line_of(reader, event), &level->key, status)) {
        return false;
    }
    level->key_line = line_of(reader, event);
    level->is_merge = event->data.scalar.plain_implicit && shoal_slice_is(text, "<<");
    return true;
}

static bool
on_scalar(reader_t *reader, const yaml_event_t *event, shoal_status_t *status)
{
    unsigned line = line_of(reader, event);
    shoal_slice_t text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    if (text.len > 0 && memchr(text.ptr, '\0', text.len)) {
        return refuse(reader, line, NULL, status, "a NUL character (\\0) cannot be in a value");
    }
    if (!check_tag(reader, event->data.scalar.tag, line, status)) {
        return false;
    }
    if (wants_key(reader)) {
        return on_key(reader, event, status);
    }
    bool is_null = event->data.scalar.plain_implicit && is_null_word(text.len ? text.ptr : "") &&
                   event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    shoal_node_t *node = NULL;
    if (!shoal_node_new(reader->document, is_null ? SHOAL_NODE_NULL : SHOAL_NODE_TEXT,
                        is_null ? SHOAL_SLICE_NONE : text, line, &node, status) ||
        !remember_anchor(reader, event->data.scalar.anchor, node, line, status)) {
        return false;
    }
    place(reader, node);
    return true;
}

static bool
too_deep(const reader_t *reader, unsigned line, shoal_status_t *status)
{
    (void)shoal_document_fail(reader->document, line, reader->key_path ? reader->key_path : "",
                              status, "values are nested deeper than %d levels here",
                              SHOAL_WORKFLOW_DEPTH_MAX);
    status->code = SHOAL_LIMIT;
    return false;
}

static bool
on_start(reader_t *reader, shoal_node_kind_t kind, const yaml_event_t *event,
         const yaml_char_t *anchor, const yaml_char_t *tag, shoal_status_t *status)
{
    unsigned line = line_of(reader, event);
    if (reader->depth_above + reader->depth >= SHOAL_WORKFLOW_DEPTH_MAX) {
        return too_deep(reader, line, status);
    }
    if (wants_key(reader)) {
        return refuse(reader, line, NULL, status, "a key must be a text, not a list or a map");
    }
    shoal_node_t *node = NULL;
    if (!check_tag(reader, tag, line, status) ||
        !shoal_node_new(reader->document, kind, SHOAL_SLICE_NONE, line, &node, status) ||
        !remember_anchor(reader, anchor, node, line, status)) {
        return false;
    }
    // Its path must be known while it is open, so it is put in place at its end.
    reader->levels[reader->depth++] = (level_t){node, NULL, 0, false};
    return true;
}

// `line` is the alias's own; what a copy holds keeps the lines where it is written.
static bool
copy_tree(reader_t *reader, const shoal_node_t *from, unsigned depth, unsigned line,
          shoal_node_t **ret_copy, shoal_status_t *status)
{
    if (from->kind >= SHOAL_NODE_LIST && depth >= SHOAL_WORKFLOW_DEPTH_MAX) {
        return too_deep(reader, line, status);
    }
    shoal_node_t *copy = NULL;
    if (!shoal_node_new(reader->document, from->kind, shoal_slice_of(from->text), line, &copy,
                        status)) {
        return false;
    }
    for (const shoal_node_t *member = from->first; member; member = member->next) {
        shoal_node_t *member_copy = NULL;
        if (!copy_tree(reader, member, depth + 1, line, &member_copy, status)) {
            return false;
        }
        assert(member_copy); // set on success; the analyser does not follow the recursion
        member_copy->key = member->key;
        member_copy->line = member->line;
        shoal_node_append(copy, member_copy);
    }
    *ret_copy = copy;
    return true;
}

static bool
is_open(const reader_t *reader, const shoal_node_t *node)
{
    for (unsigned i = 0; i < reader->depth; i++) {
        if (reader->levels[i].node == node) {
            return true;
        }
    }
    return false;
}

static bool
on_alias(reader_t *reader, const yaml_event_t *event, shoal_status_t *status)
{
    unsigned line = line_of(reader, event);
    const char *name = (const char *)event->data.alias.anchor;
    if (wants_key(reader)) {
        return refuse(reader, line, NULL, status, "an alias (*name) cannot be a key");
    }
    const shoal_node_t *from = NULL;
    for (size_t i = reader->anchor_count; i > 0 && !from; i--) { // the last of a name counts
        if (strcmp(reader->anchors[i - 1].name, name) == 0) {
            from = reader->anchors[i - 1].node;
        }
    }
    if (!from) {
        return refuse(reader, line, NULL, status,
                      "an alias (*name) has no anchor (&name) before it");
    }
    if (is_open(reader, from)) {
        return refuse(reader, line, NULL, status, "an alias (*name) stands inside its own anchor");
    }
    shoal_node_t *copy = NULL;
    if (!copy_tree(reader, from, reader->depth_above + reader->depth, line, &copy, status)) {
        return false;
    }
    place(reader, copy);
    return true;
}

// A member of a map that ends, for sorting: its own members first, then what "<<" brings.
typedef struct member {
    shoal_node_t *node;
    size_t position;
    bool is_own;
    bool is_dropped;
} member_t;

static int
by_key(const void *left, const void *right)
{
    const member_t *a = left;
    const member_t *b = right;
    int order = strcmp(a->node->key, b->node->key);
    return order != 0 ? order : a->position < b->position ? -1 : 1;
}

static int
by_position(const void *left, const void *right)
{
    const member_t *a = left;
    const member_t *b = right;
    return a->position < b->position ? -1 : 1;
}

static void
gather(shoal_node_t *first, bool is_own, member_t *members, size_t *count)
{
    for (shoal_node_t *node = first; node; node = node->next) {
        if (!is_own || !node->is_merge) {
            members[*count] = (member_t){node, *count, is_own, false};
            ++*count;
        }
    }
}

// Calls gather() for the map, or each map of the list, that a "<<" has; counts if members is NULL.
static bool
gather_merged(const reader_t *reader, const shoal_node_t *merge, member_t *members, size_t *count,
              shoal_status_t *status)
{
    bool is_list = merge->kind == SHOAL_NODE_LIST;
    for (const shoal_node_t *map = is_list ? merge->first : merge; map;
         map = is_list ? map->next : NULL) {
        if (map->kind != SHOAL_NODE_MAP) {
            return refuse(reader, merge->line, "<<", status,
                          "must be a map, or a list of maps, to merge");
        }
        if (members) {
            gather(map->first, false, members, count);
        } else {
            *count += map->count;
        }
    }
    return true;
}

static bool
found_twice(const reader_t *reader, const member_t *first, const member_t *second,
            shoal_status_t *status)
{
    if (reader->key_path) {
        return refuse(reader, 0, second->node->key, status,
                      "the key stands twice; take one of the two out");
    }
    char reason[128];
    (void)snprintf(reason, sizeof(reason),
                   "the key stands twice, first on line %u; take one of the two out",
                   first->node->line);
    return refuse(reader, second->node->line, second->node->key, status, reason);
}

// Refuses keys that stand twice and merges what "<<" brings, where the map has no such key itself.
static bool
settle_map(const reader_t *reader, shoal_node_t *map, shoal_status_t *status)
{
    size_t count = map->count;
    for (const shoal_node_t *node = map->first; node; node = node->next) {
        if (node->is_merge && !gather_merged(reader, node, NULL, &count, status)) {
            return false;
        }
    }
    member_t *members = shoal_alloc(count * sizeof(*members));
    count = 0;
    gather(map->first, true, members, &count);
    for (const shoal_node_t *node = map->first; node; node = node->next) {
        if (node->is_merge) {
            (void)gather_merged(reader, node, members, &count, status); // checked above
        }
    }
    qsort(members, count, sizeof(*members), by_key);
    bool done = true;
    for (size_t i = 1; i < count && done; i++) {
        if (strcmp(members[i].node->key, members[i - 1].node->key) == 0) {
            members[i].is_dropped = true;
            done = !members[i].is_own || found_twice(reader, &members[i - 1], &members[i], status);
        }
    }
    if (done) {
        qsort(members, count, sizeof(*members), by_position);
        map->first = NULL;
        map->last = NULL;
        map->count = 0;
        for (size_t i = 0; i < count; i++) {
            if (!members[i].is_dropped) {
                shoal_node_append(map, members[i].node);
            }
        }
    }
    free(members);
    return done;
}

static bool
on_end(reader_t *reader, shoal_status_t *status)
{
    shoal_node_t *node = reader->levels[reader->depth - 1].node;
    if (node->kind == SHOAL_NODE_MAP && !settle_map(reader, node, status)) {
        return false;
    }
    reader->depth--;
    place(reader, node);
    return true;
}

static bool
on_event(reader_t *reader, const yaml_event_t *event, shoal_status_t *status)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT: return on_scalar(reader, event, status);
    case YAML_ALIAS_EVENT: return on_alias(reader, event, status);
    case YAML_SEQUENCE_START_EVENT:
        return on_start(reader, SHOAL_NODE_LIST, event, event->data.sequence_start.anchor,
                        event->data.sequence_start.tag, status);
    case YAML_MAPPING_START_EVENT:
        return on_start(reader, SHOAL_NODE_MAP, event, event->data.mapping_start.anchor,
                        event->data.mapping_start.tag, status);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return on_end(reader, status);
    case YAML_DOCUMENT_START_EVENT:
        if (reader->root && reader->key_path) {
            return refuse(reader, 0, NULL, status, "a second document (---) starts in the value");
        }
        if (reader->root) {
            return shoal_document_fail(reader->document, line_of(reader, event), "", status,
                                       "a second document (---) starts here; a workflow file has "
                                       "one, write the other into a file of its own");
        }
        return true;
    case YAML_STREAM_END_EVENT: reader->is_done = true; return true;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    default: return true;
    }
}

static unsigned
line_at(shoal_slice_t text, size_t offset)
{
    unsigned line = 1;
    for (size_t i = 0; i < offset && i < text.len; i++) {
        line += text.ptr[i] == '\n';
    }
    return line;
}

// The text of a line, counted from 0, without its end.
static shoal_slice_t
line_text(shoal_slice_t text, size_t line)
{
    size_t at = 0;
    while (line > 0 && at < text.len) {
        line -= text.ptr[at++] == '\n';
    }
    size_t len = 0;
    while (at + len < text.len && text.ptr[at + len] != '\n') {
        len++;
    }
    return (shoal_slice_t){len > 0 ? text.ptr + at : "", len};
}

// Whether a tab stands at that column, counted in characters from 0.
static bool
is_tab_at(shoal_slice_t line, size_t column)
{
    size_t at = 0;
    while (column > 0 && at < line.len) {
        at += shoal_utf8_len((shoal_slice_t){line.ptr + at, line.len - at}); // checked before
        column--;
    }
    return at < line.len && line.ptr[at] == '\t';
}

// Says what libyaml found, and never shows the value: it may be a password.
static bool
yaml_refused(const reader_t *reader, shoal_status_t *status)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem ? parser->problem : "malformed";
    if (reader->key_path) {
        return shoal_document_fail(reader->document, 0, reader->key_path, status,
                                   "a value that starts with [ or { is read as a YAML list or "
                                   "map, and this is none: %s (character %zu of it); such a text "
                                   "can be given by ${NAME} in the file",
                                   problem, parser->problem_mark.index + 1);
    }
    if (parser->error == YAML_READER_ERROR) {
        return shoal_document_fail(reader->document, line_at(reader->text, parser->problem_offset),
                                   "", status, "cannot be read as YAML: %s (0x%02x)", problem,
                                   (unsigned)parser->problem_value);
    }
    shoal_slice_t text = line_text(reader->text, parser->problem_mark.line);
    const char *hint = "";
    if (is_tab_at(text, parser->problem_mark.column)) {
        problem = "a tab stands here; YAML indents with spaces";
    } else if (memmem(text.ptr, text.len, "${", 2)) { // its braces are YAML's own there
        hint = "; between {} or [] write \"${NAME}\" with quotes";
    }
    unsigned line = (unsigned)parser->problem_mark.line + 1;
    unsigned column = (unsigned)parser->problem_mark.column + 1;
    if (parser->context && parser->context_mark.line != parser->problem_mark.line) {
        return shoal_document_fail(reader->document, line, "", status,
                                   "cannot be read as YAML: %s (column %u, %s that starts on "
                                   "line %zu)%s",
                                   problem, column, parser->context, parser->context_mark.line + 1,
                                   hint);
    }
    return shoal_document_fail(reader->document, line, "", status,
                               "cannot be read as YAML: %s (column %u)%s", problem, column, hint);
}

static bool
read_events(reader_t *reader, shoal_status_t *status)
{
    while (!reader->is_done) {
        yaml_event_t event;
        if (!yaml_parser_parse(&reader->parser, &event)) {
            return yaml_refused(reader, status);
        }
        bool done = on_event(reader, &event, status);
        yaml_event_delete(&event);
        if (!done) {
            return false;
        }
    }
    if (!reader->root || reader->root->kind == SHOAL_NODE_NULL) {
        return shoal_document_fail(reader->document, 1, "", status,
                                   "the file is empty; \"shoal init postgres\" writes one to "
                                   "start from");
    }
    return true;
}

// Reads reader->text into reader->root.
static bool
read_text(reader_t *reader, shoal_status_t *status)
{
    bool done = false;
    shoal_buffer_t joined = SHOAL_BUFFER_INIT;
    if (shoal_surrogates_join(reader->text, &joined)) {
        reader->text = shoal_buffer_slice(&joined);
    }
    shoal_slice_t text = reader->text;
    size_t good = shoal_utf8_prefix(text);
    if (good < text.len && reader->key_path) {
        (void)refuse(reader, 0, NULL, status, "the value is not UTF-8");
    } else if (good < text.len) {
        (void)shoal_document_fail(reader->document, line_at(text, good), "", status,
                                  "the file is not UTF-8 (byte 0x%02x); save it as UTF-8",
                                  (unsigned char)text.ptr[good]);
    } else if (!yaml_parser_initialize(&reader->parser)) {
        (void)shoal_fail(status, SHOAL_INTERNAL, "%.300s: out of memory",
                         shoal_document_name(reader->document));
    } else {
        yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&reader->parser,
                                     (const unsigned char *)(text.len ? text.ptr : ""), text.len);
        done = read_events(reader, status);
        yaml_parser_delete(&reader->parser);
    }
    for (size_t i = 0; i < reader->anchor_count; i++) {
        free(reader->anchors[i].name);
    }
    if (joined.ptr) {
        explicit_bzero(joined.ptr, joined.size); // it may hold a password
    }
    shoal_buffer_fini(&joined);
    return done;
}

bool
shoal_document_read(const char *name, shoal_slice_t text, shoal_document_t **ret_document,
                    shoal_status_t *status)
{
    if (text.len >= 3 && memcmp(text.ptr, "\xef\xbb\xbf", 3) == 0) {
        text.ptr += 3; // libyaml would count the byte order mark as a column
        text.len -= 3;
    }
    reader_t *reader = shoal_alloc(sizeof(*reader));
    reader->document = shoal_document_new(name);
    reader->text = text;
    bool done = read_text(reader, status);
    if (done) {
        shoal_document_set_root(reader->document, reader->root);
        *ret_document = reader->document;
    } else {
        shoal_document_destroy(&reader->document);
    }
    free(reader);
    return done;
}

bool
shoal_document_read_value(shoal_document_t *document, const char *key_path, unsigned depth,
                          shoal_slice_t text, shoal_node_t **ret_node, shoal_status_t *status)
{
    reader_t *reader = shoal_alloc(sizeof(*reader));
    reader->document = document;
    reader->key_path = key_path;
    reader->depth_above = depth;
    reader->text = text;
    bool done = read_text(reader, status);
    if (done) {
        *ret_node = reader->root;
    }
    free(reader);
    return done;
}
