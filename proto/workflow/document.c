// SPDX-License-Identifier: Apache-2.0
//
// document.c - see document.h. The reader of YAML is in reader.c.

#include "proto/workflow/document.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/workflow/workflow.h"

#define BLOCK_BYTES 8192

// Memory that is freed with the document.
typedef struct block block_t;
struct block {
    block_t *next;
    size_t used;
    size_t size;
    _Alignas(max_align_t) char bytes[];
};

struct shoal_document {
    char *name;
    shoal_node_t *root;
    block_t *blocks;
    size_t node_count;
    size_t text_bytes;
};

shoal_document_t *
shoal_document_new(const char *name)
{
    shoal_document_t *document = shoal_alloc(sizeof(*document));
    document->name = shoal_strdup(name);
    return document;
}

void
shoal_document_destroy(shoal_document_t **document)
{
    if (!document || !*document) {
        return;
    }
    block_t *next = NULL;
    for (block_t *block = (*document)->blocks; block; block = next) {
        next = block->next;
        free(block);
    }
    free((*document)->name);
    free(*document);
    *document = NULL;
}

const char *
shoal_document_name(const shoal_document_t *document)
{
    return document->name;
}

shoal_node_t *
shoal_document_root(const shoal_document_t *document)
{
    return document->root;
}

void
shoal_document_set_root(shoal_document_t *document, shoal_node_t *root)
{
    document->root = root;
}

static void *
take(shoal_document_t *document, size_t size) // zeroed
{
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    block_t *block = document->blocks;
    if (!block || block->size - block->used < size) {
        size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = shoal_alloc(sizeof(*block) + room);
        block->size = room;
        block->next = document->blocks;
        document->blocks = block;
    }
    void *memory = block->bytes + block->used;
    block->used += size;
    return memory;
}

// Turns an INVALID into a LIMIT.
static bool
over_limit(shoal_status_t *status)
{
    status->code = SHOAL_LIMIT;
    return false;
}

bool
shoal_document_text(shoal_document_t *document, shoal_slice_t text, unsigned line,
                    const char **ret_text, shoal_status_t *status)
{
    document->text_bytes += text.len;
    if (document->text_bytes > SHOAL_WORKFLOW_BYTES_MAX) {
        (void)shoal_document_fail(document, line, "", status,
                                  "the file's texts grow beyond %d bytes here, through aliases "
                                  "(*name) or variables; write less",
                                  SHOAL_WORKFLOW_BYTES_MAX);
        return over_limit(status);
    }
    if (text.len == 0) {
        *ret_text = "";
        return true;
    }
    char *copy = take(document, text.len + 1);
    memcpy(copy, text.ptr, text.len);
    *ret_text = copy;
    return true;
}

bool
shoal_node_new(shoal_document_t *document, shoal_node_kind_t kind, shoal_slice_t text,
               unsigned line, shoal_node_t **ret_node, shoal_status_t *status)
{
    if (document->node_count >= SHOAL_WORKFLOW_NODES_MAX) {
        (void)shoal_document_fail(document, line, "", status,
                                  "the file has more than %d values, those that aliases (*name) "
                                  "repeat included; write less",
                                  SHOAL_WORKFLOW_NODES_MAX);
        return over_limit(status);
    }
    const char *copy = NULL;
    if (!shoal_document_text(document, text, line, &copy, status)) {
        return false;
    }
    document->node_count++;
    shoal_node_t *node = take(document, sizeof(*node));
    node->kind = kind;
    node->text = copy;
    node->line = line;
    *ret_node = node;
    return true;
}

void
shoal_node_append(shoal_node_t *container, shoal_node_t *member)
{
    member->next = NULL;
    if (container->last) {
        container->last->next = member;
    } else {
        container->first = member;
    }
    container->last = member;
    container->count++;
}

static shoal_node_t *
member_of(const shoal_node_t *map, shoal_slice_t key)
{
    if (map->kind != SHOAL_NODE_MAP) {
        return NULL;
    }
    shoal_node_t *member = map->first;
    while (member && !shoal_slice_is(key, member->key)) {
        member = member->next;
    }
    return member;
}

shoal_node_t *
shoal_node_member(const shoal_node_t *map, const char *key)
{
    return member_of(map, shoal_slice_of(key));
}

const char *
shoal_node_kind_name(shoal_node_kind_t kind)
{
    static const char *const names[] = {"empty", "a text", "a list", "a map"};
    return names[kind];
}

// One step of a path: a key, or an index where key.ptr is NULL.
typedef struct path_step {
    shoal_slice_t key;
    size_t index;
} path_step_t;

// Reads the next step of *path and moves behind it; false at its end or if it is malformed, which
// *path tells apart.
static bool
next_step(const char **path, bool is_first, path_step_t *ret_step)
{
    const char *at = *path;
    if (*at == '[') {
        size_t index = 0;
        size_t digits = strspn(at + 1, "0123456789");
        if (digits == 0 || digits > 6 || at[1 + digits] != ']') {
            return false;
        }
        for (size_t i = 0; i < digits; i++) {
            index = index * 10 + (size_t)(at[1 + i] - '0');
        }
        *ret_step = (path_step_t){SHOAL_SLICE_NONE, index};
        *path = at + digits + 2;
        return true;
    }
    if (!is_first) {
        if (*at != '.') {
            return false;
        }
        at++;
    }
    size_t len = strcspn(at, ".[");
    if (len == 0) {
        return false;
    }
    *ret_step = (path_step_t){{at, len}, 0};
    *path = at + len;
    return true;
}

static shoal_node_t *
item_at(const shoal_node_t *list, size_t index)
{
    shoal_node_t *item = list->first;
    while (item && index > 0) {
        item = item->next;
        index--;
    }
    return item;
}

shoal_node_t *
shoal_node_find(shoal_node_t *root, const char *path, shoal_node_t **ret_nearest)
{
    shoal_node_t *node = root;
    path_step_t step;
    bool is_first = true;
    while (node && *path) {
        *ret_nearest = node;
        if (!next_step(&path, is_first, &step)) {
            return NULL;
        }
        is_first = false;
        if (step.key.ptr) {
            node = member_of(node, step.key);
        } else if (node->kind == SHOAL_NODE_LIST) {
            node = item_at(node, step.index);
        } else if (step.index > 0) {
            node = NULL;
        }
    }
    if (node) {
        *ret_nearest = node;
    }
    return node;
}

static bool
override_refused(const char *override, shoal_status_t *status, const char *reason)
{
    size_t len = strcspn(override, "="); // never show the value: it may be a password
    return shoal_fail(status, SHOAL_INVALID, "--set %.*s: %s", (int)(len < 256 ? len : 256),
                      override, reason);
}

// The member of `node` that `step` names, made if it is not there; NULL if it cannot be.
static bool
step_into(shoal_document_t *document, shoal_node_t *node, const path_step_t *step,
          shoal_node_t **ret_node, const char **ret_reason, shoal_status_t *status)
{
    shoal_node_kind_t kind = step->key.ptr ? SHOAL_NODE_MAP : SHOAL_NODE_LIST;
    if (node->kind == SHOAL_NODE_NULL) {
        node->kind = kind;
    }
    if (node->kind != kind) {
        *ret_reason = kind == SHOAL_NODE_MAP ? "part of the path before a key is no map"
                                             : "part of the path before an index is no list";
        return true;
    }
    shoal_node_t *member = step->key.ptr ? member_of(node, step->key) : item_at(node, step->index);
    if (!member) {
        if (!step->key.ptr && step->index != node->count) {
            *ret_reason = "the list is shorter than that; the next free index adds an item";
            return true;
        }
        if (!shoal_node_new(document, SHOAL_NODE_NULL, SHOAL_SLICE_NONE, 0, &member, status)) {
            return false;
        }
        if (step->key.ptr && !shoal_document_text(document, step->key, 0, &member->key, status)) {
            return false;
        }
        shoal_node_append(node, member);
    }
    *ret_node = member;
    return true;
}

// Gives the node, below `depth` containers, what `value` says: YAML from [ or { on, else a text.
static bool
give_value(shoal_document_t *document, shoal_node_t *node, const char *key_path, unsigned depth,
           const char *value, shoal_status_t *status)
{
    shoal_node_t *given = NULL;
    shoal_slice_t text = shoal_slice_of(value);
    bool is_yaml = value[0] == '[' || value[0] == '{';
    if (is_yaml ? !shoal_document_read_value(document, key_path, depth, text, &given, status)
                : !shoal_node_new(document, SHOAL_NODE_TEXT, text, 0, &given, status)) {
        return false;
    }
    node->kind = given->kind;
    node->text = given->text;
    node->line = 0;
    node->first = given->first;
    node->last = given->last;
    node->count = given->count;
    return true;
}

bool
shoal_document_override(shoal_document_t *document, const char *override, shoal_status_t *status)
{
    const char *value = strchr(override, '=');
    if (!value || value == override) {
        return override_refused(override, status, "write it as key.path=value");
    }
    char *key_path = shoal_strndup(override, (size_t)(value - override));
    const char *path = key_path;
    const char *reason = NULL;
    shoal_node_t *node = document->root;
    bool done = true;
    unsigned depth = 0;
    while (done && !reason && *path) {
        path_step_t step;
        if (!next_step(&path, depth == 0, &step)) {
            reason = "not a key path such as source.serviceName or processor[0].type";
        } else if (++depth > SHOAL_WORKFLOW_DEPTH_MAX) {
            reason = "the path is deeper than a workflow file may be";
        } else {
            done = step_into(document, node, &step, &node, &reason, status);
        }
    }
    if (done && reason) {
        done = override_refused(override, status, reason);
    } else if (done) {
        done = give_value(document, node, key_path, depth, value + 1, status);
    }
    free(key_path);
    return done;
}

bool
shoal_document_fail(const shoal_document_t *document, unsigned line, const char *key,
                    shoal_status_t *status, const char *format, ...)
{
    char text[SHOAL_STATUS_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    char place[16] = "";
    if (line > 0) {
        (void)snprintf(place, sizeof(place), ":%u", line);
    }
    return shoal_fail_key(status, key, "%.300s%s: %.300s%s%s", line > 0 ? document->name : "--set",
                          place, key, *key ? ": " : "", text);
}
