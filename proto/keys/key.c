// SPDX-License-Identifier: Apache-2.0
//
// key.c - see key.h.

#include "proto/keys/key.h"

#include <sodium.h>
#include <stdio.h>

#include "proto/base/private.h"

#define VARIANT        sodium_base64_VARIANT_URLSAFE_NO_PADDING
#define FILE_LABEL     "shoal head key 1\n"
#define FILE_BYTES_MAX 4096

const char *
shoal_role_name(int role)
{
    static const char *const names[] = {
#define X(name, text) text,
        SHOAL_ROLES(X)
#undef X
    };
    return role >= 0 && role < SHOAL_ROLE_COUNT ? names[role] : "?";
}

bool
shoal_role_parse(shoal_slice_t text, shoal_role_t *ret_role)
{
    for (int role = 0; role < SHOAL_ROLE_COUNT; role++) {
        if (shoal_slice_is(text, shoal_role_name(role))) {
            *ret_role = (shoal_role_t)role;
            return true;
        }
    }
    return false;
}

bool
shoal_key_pair_make(shoal_key_pair_t *ret_pair, shoal_status_t *status)
{
    if (sodium_init() < 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "libsodium does not start");
    }
    (void)crypto_box_keypair(ret_pair->open.bytes, ret_pair->secret.bytes);
    return true;
}

bool
shoal_key_pair_of(const shoal_key_t *secret, shoal_key_pair_t *ret_pair, shoal_status_t *status)
{
    shoal_key_t open;
    if (crypto_scalarmult_base(open.bytes, secret->bytes) != 0) {
        return shoal_fail(status, SHOAL_INVALID, "it is no key");
    }
    ret_pair->open = open;
    ret_pair->secret = *secret;
    return true;
}

void
shoal_key_pair_wipe(shoal_key_pair_t *pair)
{
    sodium_memzero(pair, sizeof(*pair));
}

void
shoal_key_text(const shoal_key_t *key, char text[SHOAL_KEY_TEXT_SIZE])
{
    (void)sodium_bin2base64(text, SHOAL_KEY_TEXT_SIZE, key->bytes, sizeof(key->bytes), VARIANT);
}

bool
shoal_key_parse(shoal_slice_t text, shoal_key_t *ret_key)
{
    shoal_key_t key;
    size_t len = 0;
    if (text.len != SHOAL_KEY_TEXT_SIZE - 1 ||
        sodium_base642bin(key.bytes, sizeof(key.bytes), text.ptr, text.len, NULL, &len, NULL,
                          VARIANT) != 0 ||
        len != sizeof(key.bytes)) {
        return false;
    }
    *ret_key = key;
    return true;
}

int
shoal_key_compare(const shoal_key_t *a, const shoal_key_t *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

bool
shoal_key_name_check(shoal_slice_t name, shoal_status_t *status)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    bool is_good = name.len > 0 && name.len <= SHOAL_KEY_NAME_MAX && name.ptr[0] != '-';
    for (size_t i = 0; is_good && i < name.len; i++) {
        is_good = name.ptr[i] != '\0' && strchr(good, name.ptr[i]) != NULL;
    }
    return is_good || shoal_fail(status, SHOAL_INVALID,
                                 "the name of a key must have 1 to %d letters, digits, dots, "
                                 "underscores or hyphens, and begin with no hyphen",
                                 SHOAL_KEY_NAME_MAX);
}

bool
shoal_key_pair_read(const char *path, shoal_key_pair_t *ret_pair, shoal_status_t *status)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    size_t label = sizeof(FILE_LABEL) - 1;
    size_t expected = label + SHOAL_KEY_TEXT_SIZE - 1;
    shoal_key_t secret = {{0}};
    bool done = shoal_private_read(path, FILE_BYTES_MAX, &text, status);
    if (done && text.len > 0 && text.ptr[text.len - 1] == '\n') {
        text.len--;
    }
    if (done && (text.len != expected || memcmp(text.ptr, FILE_LABEL, label) != 0 ||
                 !shoal_key_parse((shoal_slice_t){text.ptr + label, text.len - label}, &secret) ||
                 !shoal_key_pair_of(&secret, ret_pair, status))) {
        done = shoal_fail(status, SHOAL_INVALID,
                          "\"%s\" is no head's key: the line \"shoal head key 1\" and one of %d "
                          "characters are expected; put the original back",
                          path, SHOAL_KEY_TEXT_SIZE - 1);
    }
    sodium_memzero(&secret, sizeof(secret));
    shoal_private_wipe(&text);
    return done;
}

bool
shoal_key_pair_write(const char *path, const shoal_key_pair_t *pair, shoal_status_t *status)
{
    char text[sizeof(FILE_LABEL) + SHOAL_KEY_TEXT_SIZE] = FILE_LABEL;
    size_t label = sizeof(FILE_LABEL) - 1;
    shoal_key_text(&pair->secret, text + label);
    text[label + SHOAL_KEY_TEXT_SIZE - 1] = '\n';
    bool done =
        shoal_private_write(path, (shoal_slice_t){text, label + SHOAL_KEY_TEXT_SIZE}, status);
    sodium_memzero(text, sizeof(text));
    return done;
}
