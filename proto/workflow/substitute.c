// SPDX-License-Identifier: Apache-2.0
//
// substitute.c - see substitute.h.

#include "proto/workflow/substitute.h"

#include <ctype.h>
#include <stdlib.h>

#include "proto/base/utf8.h"

#define NAME_MAX_LEN 256

typedef struct walk {
    shoal_document_t *document;
    const shoal_workflow_rules_t *rules;
    shoal_buffer_t path; // of the node that is looked at
    shoal_buffer_t text; // of the value that is being put together
} walk_t;

static const char *
value_of(const walk_t *walk, const char *name)
{
    if (walk->rules->variable) {
        return walk->rules->variable(walk->rules->ctx, name);
    }
    return getenv(name); // NOLINT(concurrency-mt-unsafe): nobody sets variables
}

static bool
is_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char letter = (unsigned char)text[i];
        if (letter != '_' && !(letter < 0x80 && (i > 0 ? isalnum(letter) : isalpha(letter)))) {
            return false;
        }
    }
    return len > 0 && len <= NAME_MAX_LEN;
}

// Appends the value of "${...}", whose inside is [inside, end).
static bool
append_variable(walk_t *walk, const shoal_node_t *node, const char *inside, const char *end,
                shoal_status_t *status)
{
    size_t len = (size_t)(end - inside);
    const char *preset = NULL;
    size_t name_len = 0;
    while (name_len < len && inside[name_len] != ':') {
        name_len++;
    }
    if (name_len + 1 < len && inside[name_len + 1] == '-') {
        preset = inside + name_len + 2;
    } else {
        name_len = len;
    }
    const char *path = shoal_buffer_text(&walk->path);
    if (!is_name(inside, name_len)) {
        return shoal_document_fail(walk->document, node->line, path, status,
                                   "\"${%.*s}\" names no variable: write ${NAME} or "
                                   "${NAME:-default}, and $$ for a \"$\" of its own",
                                   (int)(len < 64 ? len : 64), inside);
    }
    char name[NAME_MAX_LEN + 1];
    memcpy(name, inside, name_len);
    name[name_len] = '\0';
    const char *value = value_of(walk, name);
    if (preset && (!value || !*value)) {
        shoal_buffer_append(&walk->text, preset, (size_t)(end - preset));
        return true;
    }
    if (!value) {
        return shoal_document_fail(walk->document, node->line, path, status,
                                   "the variable %s is not set: export it, or write "
                                   "${%s:-default}",
                                   name, name);
    }
    if (shoal_utf8_prefix(shoal_slice_of(value)) < strlen(value)) {
        return shoal_document_fail(walk->document, node->line, path, status,
                                   "the variable %s is not UTF-8", name);
    }
    shoal_buffer_append_text(&walk->text, value);
    return true;
}

static bool
replace(walk_t *walk, shoal_node_t *node, shoal_status_t *status)
{
    shoal_buffer_clear(&walk->text);
    const char *at = node->text;
    for (const char *dollar = strchr(at, '$'); dollar; dollar = strchr(at, '$')) {
        shoal_buffer_append(&walk->text, at, (size_t)(dollar - at));
        if (dollar[1] != '{') {
            shoal_buffer_append_byte(&walk->text, '$');
            at = dollar + (dollar[1] == '$' ? 2 : 1);
            continue;
        }
        const char *end = strchr(dollar, '}');
        if (!end) {
            return shoal_document_fail(walk->document, node->line, shoal_buffer_text(&walk->path),
                                       status,
                                       "\"${\" without \"}\": write ${NAME}, and $${ for a \"${\" "
                                       "of its own");
        }
        if (!append_variable(walk, node, dollar + 2, end, status)) {
            return false;
        }
        at = end + 1;
        if (walk->text.len > SHOAL_WORKFLOW_BYTES_MAX) {
            break; // refused below
        }
    }
    shoal_buffer_append_text(&walk->text, at);
    return shoal_document_text(walk->document, shoal_buffer_slice(&walk->text), node->line,
                               &node->text, status);
}

static bool
visit(walk_t *walk, shoal_node_t *node, shoal_status_t *status)
{
    if (node->kind == SHOAL_NODE_TEXT) {
        return node->line == 0 || !strchr(node->text, '$') || replace(walk, node, status);
    }
    size_t len = walk->path.len;
    unsigned index = 0;
    for (shoal_node_t *member = node->first; member; member = member->next) {
        if (node->kind == SHOAL_NODE_MAP) {
            shoal_buffer_append_text(&walk->path, len > 0 ? "." : "");
            shoal_buffer_append_text(&walk->path, member->key);
        } else {
            shoal_buffer_append_format(&walk->path, "[%u]", index++);
        }
        if (!visit(walk, member, status)) {
            return false;
        }
        walk->path.len = len;
    }
    return true;
}

bool
shoal_document_substitute(shoal_document_t *document, const shoal_workflow_rules_t *rules,
                          shoal_status_t *status)
{
    walk_t walk = {document, rules, SHOAL_BUFFER_INIT, SHOAL_BUFFER_INIT};
    bool done = visit(&walk, shoal_document_root(document), status);
    shoal_buffer_fini(&walk.path);
    shoal_buffer_fini(&walk.text);
    return done;
}
