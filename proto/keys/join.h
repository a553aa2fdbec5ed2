// SPDX-License-Identifier: Apache-2.0
//
// join.h - the join string: all that a worker or a client needs to dial a head over TCP.
//
// One token with the head's endpoint and public key, and the holder's own name, role and secret key:
//
//   token   = "shoal1:" base64url(check payload)     ; without padding
//   check   = 8 bytes of BLAKE2b over the payload    ; tells a token that was cut or mistyped
//   payload = msgpack map {"e": endpoint, "h": head's key, "s": secret key, "r": role, "n": name}
//
// Whoever reads it can act as its holder, so it stands in files that are closed to others
// (private.h) and comes over standard input, never in arguments or the environment: everybody on a
// machine may read the arguments of its processes. A join file has the token on a line of its own;
// lines that begin with # are for people.
//
// Threads: values.  Logging: none.

#ifndef SHOAL_PROTO_KEYS_JOIN_H
#define SHOAL_PROTO_KEYS_JOIN_H

#include "proto/base/buffer.h"
#include "proto/keys/key.h"

#define SHOAL_JOIN_ENDPOINT_MAX 300  // bytes
#define SHOAL_JOIN_BYTES_MAX    4096 // of a token, and of a file that holds one

typedef struct shoal_join {
    char endpoint[SHOAL_JOIN_ENDPOINT_MAX + 1]; // "tcp://head.example:6380"
    char name[SHOAL_KEY_NAME_MAX + 1];
    shoal_role_t role;
    shoal_key_t head;     // its public key
    shoal_key_pair_t own; // the holder's
} shoal_join_t;

// Appends the token. Its bytes are a secret: shoal_private_wipe() the buffer.
void shoal_join_write(const shoal_join_t *join, shoal_buffer_t *out);

// Reads a token. What is wrong is said, never what the token holds.
//   SHOAL_INVALID      it is none, or it was cut short or changed
//   SHOAL_UNSUPPORTED  of another version
SHOAL_MUST_CHECK bool shoal_join_parse(shoal_slice_t token, shoal_join_t *ret_join,
                                       shoal_status_t *status);

// Reads a join file; "-" is standard input. shoal_join_wipe() it after use.
//   as shoal_private_read() (standard input may be anything) and shoal_join_parse()
SHOAL_MUST_CHECK bool shoal_join_read(const char *path, shoal_join_t *ret_join,
                                      shoal_status_t *status);

// Writes a join file, with two lines for people before the token.
//   as shoal_private_write()
SHOAL_MUST_CHECK bool shoal_join_save(const char *path, const shoal_join_t *join,
                                      shoal_status_t *status);

void shoal_join_wipe(shoal_join_t *join);

#endif
