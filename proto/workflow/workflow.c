// SPDX-License-Identifier: Apache-2.0
//
// workflow.c - see workflow.h.

#include "proto/workflow/workflow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "proto/base/alloc.h"
#include "proto/record/writer.h"
#include "proto/workflow/document.h"
#include "proto/workflow/frame.h"
#include "proto/workflow/substitute.h"

#define READ_BYTES 65536

struct shoal_workflow {
    shoal_document_t *document;
    shoal_workflow_run_t run;
    shoal_warnings_t warnings;
    char digest[SHOAL_WORKFLOW_DIGEST_SIZE];
    char override_digest[SHOAL_WORKFLOW_DIGEST_SIZE];
};

static bool
too_large(const char *name, shoal_status_t *status)
{
    return shoal_fail_as(status, SHOAL_CONFIG, SHOAL_LIMIT,
                         "cannot read \"%.300s\": a workflow file has at most %d bytes, this one "
                         "has more; is it one?",
                         name, SHOAL_WORKFLOW_BYTES_MAX);
}

static bool
read_all(int fd, const char *name, shoal_buffer_t *out, shoal_status_t *status)
{
    for (;;) {
        ssize_t got = read(fd, shoal_buffer_reserve(out, READ_BYTES), READ_BYTES);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return shoal_fail_errno(status, errno, "cannot read the workflow file \"%.300s\"",
                                    name);
        }
        out->len += (size_t)got;
        if (out->len > SHOAL_WORKFLOW_BYTES_MAX) {
            return too_large(name, status);
        }
        if (got == 0) {
            return true;
        }
    }
}

// Refuses what is not worth opening for reading.
static bool
check_file(int fd, const char *path, shoal_status_t *status)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return shoal_fail_errno(status, errno, "cannot read the workflow file \"%.300s\"", path);
    }
    if (S_ISDIR(info.st_mode)) {
        return shoal_fail_as(status, SHOAL_CONFIG, SHOAL_IO,
                             "cannot read the workflow file \"%.300s\": it is a directory; name a "
                             "file in it",
                             path);
    }
    if (S_ISREG(info.st_mode) && info.st_size > SHOAL_WORKFLOW_BYTES_MAX) {
        return too_large(path, status);
    }
    return true;
}

bool
shoal_workflow_read(const char *path, const shoal_workflow_rules_t *rules,
                    shoal_workflow_t **ret_workflow, shoal_status_t *status)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "cannot open the workflow file \"%.300s\"", path);
    }
    const char *name = is_stdin ? "standard input" : path;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    bool done = check_file(fd, name, status) && read_all(fd, name, &text, status) &&
                shoal_workflow_parse(name, shoal_buffer_slice(&text), rules, ret_workflow, status);
    shoal_buffer_fini(&text);
    if (!is_stdin) {
        (void)close(fd);
    }
    return done;
}

static bool
override_all(shoal_document_t *document, const char *const *overrides, shoal_status_t *status)
{
    for (; overrides && *overrides; overrides++) {
        if (!shoal_document_override(document, *overrides, status)) {
            return false;
        }
    }
    return true;
}

static void
digest_write(XXH128_hash_t hash, char digest[SHOAL_WORKFLOW_DIGEST_SIZE])
{
    (void)snprintf(digest, SHOAL_WORKFLOW_DIGEST_SIZE, "%016llx%016llx",
                   (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

static void
digest_make(shoal_workflow_t *workflow, shoal_slice_t text, const char *const *overrides)
{
    digest_write(XXH3_128bits(text.len ? text.ptr : "", text.len), workflow->digest);
    shoal_buffer_t all = SHOAL_BUFFER_INIT;
    for (; overrides && *overrides; overrides++) {
        shoal_buffer_append(&all, *overrides, strlen(*overrides) + 1); // with the NUL between them
    }
    digest_write(XXH3_128bits(all.len ? all.ptr : "", all.len), workflow->override_digest);
    shoal_buffer_fini(&all);
}

bool
shoal_workflow_parse(const char *name, shoal_slice_t text, const shoal_workflow_rules_t *rules,
                     shoal_workflow_t **ret_workflow, shoal_status_t *status)
{
    if (text.len > SHOAL_WORKFLOW_BYTES_MAX) {
        return too_large(name, status);
    }
    shoal_workflow_t *workflow = shoal_alloc(sizeof(*workflow));
    bool done =
        shoal_document_read(name, text, &workflow->document, status) &&
        override_all(workflow->document, rules->overrides, status) &&
        shoal_document_substitute(workflow->document, rules, status) &&
        shoal_frame_check(workflow->document, rules->is_lenient, &workflow->warnings, status);
    if (!done) {
        status->error_class = SHOAL_CONFIG; // LIMIT's own class is another one
        shoal_workflow_destroy(&workflow);
        return false;
    }
    shoal_frame_run(workflow->document, &workflow->run);
    digest_make(workflow, text, rules->overrides);
    *ret_workflow = workflow;
    return true;
}

void
shoal_workflow_destroy(shoal_workflow_t **workflow)
{
    if (workflow && *workflow) {
        shoal_document_destroy(&(*workflow)->document);
        shoal_buffer_fini(&(*workflow)->warnings.texts);
        free(*workflow);
        *workflow = NULL;
    }
}

const shoal_workflow_run_t *
shoal_workflow_run(const shoal_workflow_t *workflow)
{
    return &workflow->run;
}

const char *
shoal_workflow_digest(const shoal_workflow_t *workflow)
{
    return workflow->digest;
}

const char *
shoal_workflow_override_digest(const shoal_workflow_t *workflow)
{
    return workflow->override_digest;
}

static void
encode(const shoal_node_t *node, shoal_buffer_t *out)
{
    switch (node->kind) {
    case SHOAL_NODE_TEXT: shoal_write_text(out, node->text); return;
    case SHOAL_NODE_LIST: shoal_write_array(out, node->count); break;
    case SHOAL_NODE_MAP: shoal_write_map(out, node->count); break;
    case SHOAL_NODE_NULL:
    default: shoal_write_nil(out); return;
    }
    for (const shoal_node_t *member = node->first; member; member = member->next) {
        if (node->kind == SHOAL_NODE_MAP) {
            shoal_write_text(out, member->key);
        }
        encode(member, out);
    }
}

// The section as a map, empty if it is not written.
static void
encode_map(const shoal_node_t *section, shoal_buffer_t *out)
{
    if (section && section->kind == SHOAL_NODE_MAP) {
        encode(section, out);
    } else {
        shoal_write_map(out, 0);
    }
}

void
shoal_workflow_encode(const shoal_workflow_t *workflow, shoal_buffer_t *out)
{
    const shoal_node_t *root = shoal_document_root(workflow->document);
    shoal_write_map(out, 4);
    shoal_write_key(out, "source");
    encode_map(shoal_node_member(root, "source"), out);
    shoal_write_key(out, "processor");
    const shoal_node_t *processor = shoal_node_member(root, "processor");
    if (processor && processor->kind == SHOAL_NODE_LIST) {
        encode(processor, out);
    } else if (processor && processor->kind == SHOAL_NODE_MAP) {
        shoal_write_array(out, 1);
        encode(processor, out);
    } else {
        shoal_write_array(out, 0);
    }
    shoal_write_key(out, "sink");
    encode_map(shoal_node_member(root, "sink"), out);
    shoal_write_key(out, "sharding");
    encode_map(shoal_node_member(root, "sharding"), out);
}

const char *
shoal_workflow_text(const shoal_workflow_t *workflow, const char *path)
{
    shoal_node_t *nearest = NULL;
    const shoal_node_t *node =
        shoal_node_find(shoal_document_root(workflow->document), path, &nearest);
    return node && node->kind == SHOAL_NODE_TEXT ? node->text : NULL;
}

unsigned
shoal_workflow_line(const shoal_workflow_t *workflow, const char *path)
{
    shoal_node_t *nearest = NULL;
    (void)shoal_node_find(shoal_document_root(workflow->document), path, &nearest);
    return nearest->line;
}

const char *
shoal_workflow_file(const shoal_workflow_t *workflow)
{
    return shoal_document_name(workflow->document);
}

size_t
shoal_workflow_warning_count(const shoal_workflow_t *workflow)
{
    return workflow->warnings.count;
}

const char *
shoal_workflow_warning(const shoal_workflow_t *workflow, size_t index)
{
    assert(index < workflow->warnings.count);
    const char *text = workflow->warnings.texts.ptr;
    for (; index > 0; index--) {
        text += strlen(text) + 1;
    }
    return text;
}
