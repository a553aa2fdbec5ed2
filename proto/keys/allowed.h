// SPDX-License-Identifier: Apache-2.0
//
// allowed.h - who may join a head: the list of public keys with their names and roles.
//
// A head's key folder holds `head.key` (its own pair), `allowed` (this list) and `endpoint` (where
// others dial it). The list is text, one holder a line, lines that begin with # are for people:
//
//   worker  rack1-a  3DEkq0...  2026-01-31
//
// `shoal key` changes it, under a lock and by renaming, so a reader sees one whole list or another;
// the head reads it again when it has changed.
//
// Threads: a list is read-only once it was read.  Logging: none.

#ifndef SHOAL_PROTO_KEYS_ALLOWED_H
#define SHOAL_PROTO_KEYS_ALLOWED_H

#include "proto/base/buffer.h"
#include "proto/keys/key.h"

#define SHOAL_HOLDERS_MAX       4096
#define SHOAL_ALLOWED_BYTES_MAX (UINT32_C(1) << 20)
#define SHOAL_SINCE_SIZE        11 // "2026-01-31" with the final NUL

#define SHOAL_KEYS_HEAD         "head.key"
#define SHOAL_KEYS_ALLOWED      "allowed"
#define SHOAL_KEYS_ENDPOINT     "endpoint"

typedef struct shoal_holder {
    shoal_key_t key;
    shoal_role_t role;
    char name[SHOAL_KEY_NAME_MAX + 1];
    char since[SHOAL_SINCE_SIZE];
} shoal_holder_t;

typedef struct shoal_allowed {
    shoal_holder_t *holders; // by key
    size_t count;
} shoal_allowed_t;

// Reads the list in a key folder; no file is an empty list: then nobody may join.
//   as shoal_private_read(); SHOAL_INVALID names the line; SHOAL_LIMIT too many holders
SHOAL_MUST_CHECK bool shoal_allowed_read(const char *folder, shoal_allowed_t **ret_allowed,
                                         shoal_status_t *status);
void shoal_allowed_destroy(shoal_allowed_t **allowed);
shoal_allowed_t *shoal_allowed_copy(const shoal_allowed_t *allowed);

// The same from text.
SHOAL_MUST_CHECK bool shoal_allowed_parse(shoal_slice_t text, shoal_allowed_t **ret_allowed,
                                          shoal_status_t *status);

// NULL: that key is not listed; nobody has that name.
const shoal_holder_t *shoal_allowed_find(const shoal_allowed_t *allowed, const shoal_key_t *key);
const shoal_holder_t *shoal_allowed_named(const shoal_allowed_t *allowed, const char *name);

// Adds one holder to the list in a key folder, or takes one off.
//   SHOAL_EXISTS     the name or the key is in it already
//   SHOAL_NOT_FOUND  nobody has that name
//   SHOAL_LIMIT      SHOAL_HOLDERS_MAX are in it
//   as shoal_allowed_read() and shoal_private_write()
SHOAL_MUST_CHECK bool shoal_allowed_add(const char *folder, const shoal_holder_t *holder,
                                        shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_allowed_remove(const char *folder, const char *name,
                                           shoal_status_t *status);

#endif
