// SPDX-License-Identifier: Apache-2.0
//
// secrets.c - see secrets.h.
//
// A record is copied token by token with a stack of the containers that are open, so nothing
// recurses. It is only done for records that fail.

#include "worker/secrets.h"

#include <stdlib.h>
#include <strings.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define MASK SHOAL_SLICE("***")

void
shoal_secrets_add(shoal_secrets_t *secrets, const char *text)
{
    if (!text[0] || secrets->count == SHOAL_SECRETS_MAX) {
        return;
    }
    for (size_t i = 0; i < secrets->count; i++) {
        if (strcmp(secrets->texts[i], text) == 0) {
            return;
        }
    }
    secrets->texts[secrets->count++] = shoal_strdup(text);
}

void
shoal_secrets_fini(shoal_secrets_t *secrets)
{
    for (size_t i = 0; i < secrets->count; i++) {
        explicit_bzero(secrets->texts[i], strlen(secrets->texts[i]));
        free(secrets->texts[i]);
    }
    *secrets = (shoal_secrets_t){0};
}

// The length of the secret that `text` starts with; 0: none.
static size_t
secret_at(const shoal_secrets_t *secrets, shoal_slice_t text, bool is_whole)
{
    size_t longest = 0;
    for (size_t i = 0; i < secrets->count; i++) {
        size_t len = strlen(secrets->texts[i]);
        bool is_there = len <= text.len && memcmp(secrets->texts[i], text.ptr, len) == 0;
        bool counts = len >= SHOAL_SECRET_SHORT || (is_whole && len == text.len);
        if (is_there && counts && len > longest) {
            longest = len;
        }
    }
    return longest;
}

bool
shoal_secrets_hide(const shoal_secrets_t *secrets, shoal_slice_t text, shoal_buffer_t *out)
{
    bool is_hidden = false;
    for (size_t at = 0; at < text.len;) {
        size_t len = secret_at(secrets, (shoal_slice_t){text.ptr + at, text.len - at}, at == 0);
        if (len > 0) {
            shoal_buffer_append_slice(out, MASK);
            is_hidden = true;
            at += len;
        } else {
            shoal_buffer_append_byte(out, text.ptr[at++]);
        }
    }
    return is_hidden;
}

// Case, '_' and '-' do not count: "API_KEY" is "apikey".
static bool
is_secret_name(shoal_slice_t name)
{
    static const char *const words[] = {
        "password",  "passwd",          "secret",      "clientsecret",     "token",
        "authtoken", "accesstoken",     "apikey",      "privatekey",       "secretkey",
        "accesskey", "secretaccesskey", "credentials", "connectionstring",
    };
    char plain[32];
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '_' || name.ptr[i] == '-') {
            continue;
        }
        if (len + 1 == sizeof(plain)) {
            return false;
        }
        plain[len++] = name.ptr[i];
    }
    plain[len] = '\0';
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(plain, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

typedef struct level {
    uint64_t left; // values (of a map: keys and values) that are still to come
    bool is_map;
} level_t;

typedef struct copying {
    const shoal_secrets_t *secrets;
    shoal_buffer_t *out;
    shoal_buffer_t text;
    level_t levels[SHOAL_SECRETS_DEPTH_MAX + 1];
    size_t depth; // levels that are open
    bool hides;   // the value that comes is a secret's
    bool is_hidden;
} copying_t;

// True if the value that comes is a map's key.
static bool
is_key(const copying_t *copying)
{
    const level_t *level = &copying->levels[copying->depth];
    return copying->depth > 0 && level->is_map && level->left % 2 == 0;
}

static void
copy_text(copying_t *copying, shoal_slice_t text)
{
    bool was_key = is_key(copying);
    shoal_buffer_clear(&copying->text);
    if (shoal_secrets_hide(copying->secrets, text, &copying->text)) {
        copying->is_hidden = true;
    }
    shoal_write_str(copying->out, shoal_buffer_slice(&copying->text));
    copying->hides = was_key && is_secret_name(text);
}

// Copies one token; containers open a level. False: malformed or too deep.
static bool
copy_token(copying_t *copying, shoal_cursor_t *cursor)
{
    shoal_value_kind_t kind = shoal_cursor_peek(cursor);
    if (copying->hides && kind != SHOAL_VALUE_NIL && kind != SHOAL_VALUE_BOOL) {
        shoal_cursor_skip(cursor);
        shoal_write_str(copying->out, MASK);
        copying->hides = false;
        copying->is_hidden = true;
        return !cursor->is_bad;
    }
    if (kind == SHOAL_VALUE_STR) {
        copy_text(copying, shoal_cursor_str(cursor));
        return !cursor->is_bad;
    }
    copying->hides = false;
    if (kind != SHOAL_VALUE_MAP && kind != SHOAL_VALUE_ARRAY) {
        shoal_write_raw(copying->out, shoal_cursor_value(cursor));
        return !cursor->is_bad;
    }
    bool is_map = kind == SHOAL_VALUE_MAP;
    uint32_t count = is_map ? shoal_cursor_map(cursor) : shoal_cursor_array(cursor);
    if (cursor->is_bad || copying->depth == SHOAL_SECRETS_DEPTH_MAX) {
        return false;
    }
    (is_map ? shoal_write_map : shoal_write_array)(copying->out, count);
    // The container itself is counted as read by the caller, at the level that it stands in.
    copying->levels[copying->depth].left--;
    copying->depth++;
    copying->levels[copying->depth] = (level_t){is_map ? 2 * (uint64_t)count : count, is_map};
    copying->levels[copying->depth].left++;
    return true;
}

bool
shoal_secrets_hide_record(const shoal_secrets_t *secrets, shoal_slice_t record, shoal_buffer_t *out,
                          bool *ret_hidden)
{
    copying_t copying = {.secrets = secrets, .out = out};
    size_t before = out->len;
    shoal_cursor_t cursor = shoal_cursor_over(record);
    copying.levels[0].left = 1;
    bool done = true;
    while (done && copying.levels[0].left + copying.depth > 0) {
        while (copying.depth > 0 && copying.levels[copying.depth].left == 0) {
            copying.depth--;
        }
        if (copying.depth == 0 && copying.levels[0].left == 0) {
            break;
        }
        done = copy_token(&copying, &cursor);
        copying.levels[copying.depth].left--;
    }
    done = done && shoal_cursor_is_done(&cursor);
    if (!done) {
        out->len = before;
    }
    shoal_buffer_fini(&copying.text);
    *ret_hidden = copying.is_hidden;
    return done;
}
