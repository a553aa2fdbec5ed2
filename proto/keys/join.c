// SPDX-License-Identifier: Apache-2.0
//
// join.c - see join.h.

#include "proto/keys/join.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/private.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define VARIANT     sodium_base64_VARIANT_URLSAFE_NO_PADDING
#define PREFIX      "shoal1:"
#define PREFIX_LEN  (sizeof(PREFIX) - 1)
#define CHECK_BYTES 8
#define FIELDS      5

static void
check_of(const unsigned char *payload, size_t len, unsigned char check[CHECK_BYTES])
{
    unsigned char hash[crypto_generichash_BYTES_MIN];
    (void)crypto_generichash(hash, sizeof(hash), payload, len, NULL, 0);
    memcpy(check, hash, CHECK_BYTES);
}

static void
write_key_bytes(shoal_buffer_t *out, const char *name, const shoal_key_t *key)
{
    shoal_write_text(out, name);
    shoal_write_bin(out, (shoal_slice_t){(const char *)key->bytes, sizeof(key->bytes)});
}

void
shoal_join_write(const shoal_join_t *join, shoal_buffer_t *out)
{
    shoal_buffer_t whole = SHOAL_BUFFER_INIT;
    (void)shoal_buffer_reserve(&whole, SHOAL_JOIN_BYTES_MAX); // no copies of the secret by growing
    whole.len = CHECK_BYTES;
    shoal_write_map(&whole, FIELDS);
    shoal_write_key(&whole, "e");
    shoal_write_text(&whole, join->endpoint);
    shoal_write_key(&whole, "r");
    shoal_write_text(&whole, shoal_role_name((int)join->role));
    shoal_write_key(&whole, "n");
    shoal_write_text(&whole, join->name);
    write_key_bytes(&whole, "h", &join->head);
    write_key_bytes(&whole, "s", &join->own.secret);
    unsigned char *bytes = (unsigned char *)whole.ptr;
    check_of(bytes + CHECK_BYTES, whole.len - CHECK_BYTES, bytes);
    size_t size = sodium_base64_encoded_len(whole.len, VARIANT); // with the final NUL
    shoal_buffer_append_text(out, PREFIX);
    char *to = shoal_buffer_reserve(out, size);
    (void)sodium_bin2base64(to, size, bytes, whole.len, VARIANT);
    out->len += size - 1;
    shoal_private_wipe(&whole);
}

static bool
take_text(shoal_slice_t map, const char *key, char *text, size_t max)
{
    shoal_slice_t value;
    if (!shoal_map_find(map, key, &value)) {
        return false;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    shoal_slice_t found = shoal_cursor_str(&cursor);
    if (cursor.is_bad || found.len == 0 || found.len > max || memchr(found.ptr, '\0', found.len)) {
        return false;
    }
    memcpy(text, found.ptr, found.len);
    text[found.len] = '\0';
    return true;
}

static bool
take_key(shoal_slice_t map, const char *name, shoal_key_t *ret_key)
{
    shoal_slice_t value;
    if (!shoal_map_find(map, name, &value)) {
        return false;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    shoal_slice_t found = shoal_cursor_bin(&cursor);
    if (cursor.is_bad || found.len != sizeof(ret_key->bytes)) {
        return false;
    }
    memcpy(ret_key->bytes, found.ptr, sizeof(ret_key->bytes));
    return true;
}

static bool
payload_read(shoal_slice_t payload, shoal_join_t *join, shoal_status_t *status)
{
    char role[16];
    shoal_key_t secret = {{0}};
    bool done = take_text(payload, "e", join->endpoint, SHOAL_JOIN_ENDPOINT_MAX) &&
                take_text(payload, "n", join->name, SHOAL_KEY_NAME_MAX) &&
                take_text(payload, "r", role, sizeof(role) - 1) &&
                shoal_role_parse(shoal_slice_of(role), &join->role) &&
                take_key(payload, "h", &join->head) && take_key(payload, "s", &secret) &&
                shoal_key_name_check(shoal_slice_of(join->name), status) &&
                shoal_key_pair_of(&secret, &join->own, status);
    sodium_memzero(&secret, sizeof(secret));
    return done || shoal_fail(status, SHOAL_INVALID,
                              "the join string lacks something; a newer shoal may have made it");
}

static bool
prefix_check(shoal_slice_t token, shoal_status_t *status)
{
    if (token.len > PREFIX_LEN && memcmp(token.ptr, PREFIX, PREFIX_LEN) == 0) {
        return true;
    }
    size_t digits = 5;
    while (digits < token.len && token.ptr[digits] >= '0' && token.ptr[digits] <= '9') {
        digits++;
    }
    if (token.len > digits && digits > 5 && digits < 9 && memcmp(token.ptr, "shoal", 5) == 0 &&
        token.ptr[digits] == ':' && token.ptr[digits - 1] != '1') {
        return shoal_fail(status, SHOAL_UNSUPPORTED,
                          "the join string is of version %.*s, this shoal reads version 1",
                          (int)(digits - 5), token.ptr + 5);
    }
    return shoal_fail(status, SHOAL_INVALID,
                      "this is no join string: one begins with \"" PREFIX
                      "\"; make one on the head's host: shoal key new");
}

bool
shoal_join_parse(shoal_slice_t token, shoal_join_t *ret_join, shoal_status_t *status)
{
    unsigned char bytes[SHOAL_JOIN_BYTES_MAX];
    unsigned char check[CHECK_BYTES];
    size_t len = 0;
    if (!prefix_check(token, status)) {
        return false;
    }
    bool is_whole = token.len <= SHOAL_JOIN_BYTES_MAX &&
                    sodium_base642bin(bytes, sizeof(bytes), token.ptr + PREFIX_LEN,
                                      token.len - PREFIX_LEN, NULL, &len, NULL, VARIANT) == 0 &&
                    len > CHECK_BYTES;
    if (is_whole) {
        check_of(bytes + CHECK_BYTES, len - CHECK_BYTES, check);
        is_whole = memcmp(check, bytes, CHECK_BYTES) == 0;
    }
    shoal_join_t join = {.role = SHOAL_ROLE_VIEWER};
    shoal_slice_t payload = {(const char *)bytes + CHECK_BYTES, len - CHECK_BYTES};
    bool done = is_whole ? payload_read(payload, &join, status)
                         : shoal_fail(status, SHOAL_INVALID,
                                      "the join string was cut short or changed on its way; copy "
                                      "it whole, from \"" PREFIX "\" to its end");
    if (done) {
        *ret_join = join;
    }
    shoal_join_wipe(&join);
    sodium_memzero(bytes, sizeof(bytes));
    return done;
}

// The one line that is neither empty nor for people.
static bool
token_find(shoal_slice_t text, shoal_slice_t *ret_token, shoal_status_t *status)
{
    size_t found = 0;
    for (size_t at = 0; at < text.len;) {
        const char *line = text.ptr + at;
        const char *end = memchr(line, '\n', text.len - at);
        size_t len = end ? (size_t)(end - line) : text.len - at;
        at += len + 1;
        while (len > 0 &&
               (line[len - 1] == ' ' || line[len - 1] == '\r' || line[len - 1] == '\t')) {
            len--;
        }
        while (len > 0 && (line[0] == ' ' || line[0] == '\t')) {
            line++;
            len--;
        }
        if (len > 0 && line[0] != '#') {
            *ret_token = (shoal_slice_t){line, len};
            found++;
        }
    }
    return found == 1 || shoal_fail(status, SHOAL_INVALID,
                                    found == 0 ? "there is no join string in it"
                                               : "there must be one line with a join string, "
                                                 "there are several");
}

static bool
stdin_read(shoal_buffer_t *text, shoal_status_t *status)
{
    (void)shoal_buffer_reserve(text, SHOAL_JOIN_BYTES_MAX + 1);
    for (;;) {
        ssize_t got = read(STDIN_FILENO, text->ptr + text->len, text->size - text->len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return shoal_fail_errno(status, errno, "cannot read it");
        }
        text->len += (size_t)got;
        if (got == 0) {
            return true;
        }
        if (text->len > SHOAL_JOIN_BYTES_MAX) {
            return shoal_fail(status, SHOAL_LIMIT, "it has more than %d bytes",
                              SHOAL_JOIN_BYTES_MAX);
        }
    }
}

bool
shoal_join_read(const char *path, shoal_join_t *ret_join, shoal_status_t *status)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_slice_t token = SHOAL_SLICE_NONE;
    bool is_stdin = strcmp(path, "-") == 0;
    bool done = (is_stdin ? stdin_read(&text, status)
                          : shoal_private_read(path, SHOAL_JOIN_BYTES_MAX, &text, status)) &&
                token_find(shoal_buffer_slice(&text), &token, status) &&
                shoal_join_parse(token, ret_join, status);
    shoal_private_wipe(&text);
    return done ||
           shoal_fail_while(status, "cannot join with %s%s%s", is_stdin ? "" : "\"",
                            is_stdin ? "what standard input says" : path, is_stdin ? "" : "\"");
}

bool
shoal_join_save(const char *path, const shoal_join_t *join, shoal_status_t *status)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    (void)shoal_buffer_reserve(&text, SHOAL_JOIN_BYTES_MAX);
    shoal_buffer_append_format(&text,
                               "# A key of Shoal: who reads this can act as the %s \"%s\" of the "
                               "head at %s.\n# Keep it closed to others (chmod 600).\n",
                               shoal_role_name((int)join->role), join->name, join->endpoint);
    shoal_join_write(join, &text);
    shoal_buffer_append_byte(&text, '\n');
    bool done = shoal_private_write(path, shoal_buffer_slice(&text), status);
    shoal_private_wipe(&text);
    return done;
}

void
shoal_join_wipe(shoal_join_t *join)
{
    sodium_memzero(join, sizeof(*join));
}
