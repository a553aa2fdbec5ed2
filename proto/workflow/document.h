// SPDX-License-Identifier: Apache-2.0
//
// document.h - a YAML file as a tree that knows its lines; bounded in size, depth and nodes.
//
// Inside proto/workflow/ only. Nodes and texts live as long as the document. Aliases are expanded
// (a copy counts like what stands in the file) and "<<" is merged while reading, so a tree is all
// there is. Depth is bounded by SHOAL_WORKFLOW_DEPTH_MAX, so walkers may recurse.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_PROTO_WORKFLOW_DOCUMENT_H
#define SHOAL_PROTO_WORKFLOW_DOCUMENT_H

#include "proto/base/buffer.h"
#include "proto/base/status.h"

typedef enum shoal_node_kind {
    SHOAL_NODE_NULL, // nothing, "~" or "null" without quotes
    SHOAL_NODE_TEXT,
    SHOAL_NODE_LIST,
    SHOAL_NODE_MAP,
} shoal_node_kind_t;

typedef struct shoal_node shoal_node_t;
struct shoal_node {
    shoal_node_t *next;  // in its container
    shoal_node_t *first; // LIST, MAP: members in the file's order
    shoal_node_t *last;
    const char *key;  // of a map's member
    const char *text; // TEXT: as written, without quotes; otherwise ""
    unsigned line;    // where the key (a map's member) or the value starts; 0: the command line
    unsigned count;   // LIST, MAP: how many members
    shoal_node_kind_t kind;
    bool is_merge; // key is "<<" without quotes
};

typedef struct shoal_document shoal_document_t;

// Reads `text`, one YAML document. Errors as shoal_workflow_parse().
SHOAL_MUST_CHECK bool shoal_document_read(const char *name, shoal_slice_t text,
                                          shoal_document_t **ret_document, shoal_status_t *status);

// Reads `text`, the list or map that --set gives to `key_path`, below `depth` containers, into a
// node of the document without a place. Its lines are 0.
SHOAL_MUST_CHECK bool shoal_document_read_value(shoal_document_t *document, const char *key_path,
                                                unsigned depth, shoal_slice_t text,
                                                shoal_node_t **ret_node, shoal_status_t *status);

// An empty document (no root) called `name` in messages.
shoal_document_t *shoal_document_new(const char *name);
void shoal_document_destroy(shoal_document_t **document);

const char *shoal_document_name(const shoal_document_t *document);
shoal_node_t *shoal_document_root(const shoal_document_t *document); // NULL: none yet
void shoal_document_set_root(shoal_document_t *document, shoal_node_t *root);

// A new node without a place; fails with SHOAL_LIMIT at SHOAL_WORKFLOW_NODES_MAX. Copies `text`.
SHOAL_MUST_CHECK bool shoal_node_new(shoal_document_t *document, shoal_node_kind_t kind,
                                     shoal_slice_t text, unsigned line, shoal_node_t **ret_node,
                                     shoal_status_t *status);

// A text that lives as long as the document; all of them together have at most
// SHOAL_WORKFLOW_BYTES_MAX bytes, beyond which it fails with SHOAL_LIMIT.
SHOAL_MUST_CHECK bool shoal_document_text(shoal_document_t *document, shoal_slice_t text,
                                          unsigned line, const char **ret_text,
                                          shoal_status_t *status);

void shoal_node_append(shoal_node_t *container, shoal_node_t *member);
shoal_node_t *shoal_node_member(const shoal_node_t *map, const char *key); // NULL: no such key
const char *shoal_node_kind_name(shoal_node_kind_t kind);                  // "a list"

// The node at `path` ("a.b[2].c") below `root`, or NULL; *ret_nearest is it or its nearest parent.
// "[0]" of what is no list is the thing itself.
shoal_node_t *shoal_node_find(shoal_node_t *root, const char *path, shoal_node_t **ret_nearest);

// Does what --set says: in "key.path=value" a value that starts with [ or { is YAML, any other one is
// a text as it stands. Missing maps and lists are made.
SHOAL_MUST_CHECK bool shoal_document_override(shoal_document_t *document, const char *override,
                                              shoal_status_t *status);

// Sets SHOAL_INVALID with "FILE:LINE: KEY: sentence" and the key; returns false. Line 0 says
// "--set" instead; an empty key is left out.
bool shoal_document_fail(const shoal_document_t *document, unsigned line, const char *key,
                         shoal_status_t *status, const char *format, ...) SHOAL_PRINTF(5, 6);

#endif
