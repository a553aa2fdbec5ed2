// SPDX-License-Identifier: Apache-2.0
//
// key.h - CURVE keys, and the roles that their holders play.
//
// A key is 32 bytes; as text it is 43 characters of base64url. A public key may be shown to
// everybody, a secret one to nobody: it is in files (private.h) and join strings (join.h) only.
//
// Threads: values.  Logging: none.

#ifndef SHOAL_PROTO_KEYS_KEY_H
#define SHOAL_PROTO_KEYS_KEY_H

#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_KEY_BYTES     32
#define SHOAL_KEY_TEXT_SIZE 44 // with the final NUL
#define SHOAL_KEY_NAME_MAX  64 // bytes of a holder's name

typedef struct shoal_key {
    unsigned char bytes[SHOAL_KEY_BYTES];
} shoal_key_t;

typedef struct shoal_key_pair {
    shoal_key_t open; // the public one
    shoal_key_t secret;
} shoal_key_pair_t;

// What the holder of a key may be; the numbers are written nowhere.
// clang-format off
#define SHOAL_ROLES(X)                                                                             \
    X(WORKER, "worker") /* takes calls */                                                          \
    X(CLIENT, "client") /* submits, stops and fetches */                                           \
    X(VIEWER, "viewer") /* a client that only looks: ASK, WATCH, OUTPUT */
// clang-format on

typedef enum shoal_role {
#define X(name, text) SHOAL_ROLE_##name,
    SHOAL_ROLES(X)
#undef X
        SHOAL_ROLE_COUNT
} shoal_role_t;

const char *shoal_role_name(int role); // "?" for other numbers
SHOAL_MUST_CHECK bool shoal_role_parse(shoal_slice_t text, shoal_role_t *ret_role);

// A new pair.
//   SHOAL_INTERNAL  libsodium does not start
SHOAL_MUST_CHECK bool shoal_key_pair_make(shoal_key_pair_t *ret_pair, shoal_status_t *status);

// The pair of a secret key.
//   SHOAL_INVALID  no key has these bytes
SHOAL_MUST_CHECK bool shoal_key_pair_of(const shoal_key_t *secret, shoal_key_pair_t *ret_pair,
                                        shoal_status_t *status);
void shoal_key_pair_wipe(shoal_key_pair_t *pair);

void shoal_key_text(const shoal_key_t *key, char text[SHOAL_KEY_TEXT_SIZE]);
SHOAL_MUST_CHECK bool shoal_key_parse(shoal_slice_t text, shoal_key_t *ret_key);

// For sorting; takes a time that depends on the bytes, so only for public keys.
int shoal_key_compare(const shoal_key_t *a, const shoal_key_t *b);

// A holder's name: 1 to SHOAL_KEY_NAME_MAX of letters, digits, '.', '-' and '_', no '-' in front.
//   SHOAL_INVALID  it is none
SHOAL_MUST_CHECK bool shoal_key_name_check(shoal_slice_t name, shoal_status_t *status);

// A head's own pair in a file (private.h): the line "shoal head key 1", then the secret key.
//   as shoal_private_read(); SHOAL_INVALID: no such file's content
SHOAL_MUST_CHECK bool shoal_key_pair_read(const char *path, shoal_key_pair_t *ret_pair,
                                          shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_key_pair_write(const char *path, const shoal_key_pair_t *pair,
                                           shoal_status_t *status);

#endif
