// SPDX-License-Identifier: Apache-2.0
//
// gate.h - who gets in over TCP: the head's keys, ZAP, and the list of those who may join.
//
// Every CURVE handshake ends with a question to ZAP (docs/protocol.md section 10); a thread of the
// gate answers it from the list in the key folder, and reads the list again when it has changed. It
// runs before the port is bound, and without it no handshake succeeds (proto/wire/secure.h). The hub
// learns of a new list by a queue and keeps a copy of its own: the holder of a key is looked up
// again at HELLO, and those whose key is gone are put out.
//
// Threads: one of its own; all functions are the hub's.  Logging: KEYS-* and PEER-UNKNOWN.

#ifndef SHOAL_HEAD_HUB_GATE_H
#define SHOAL_HEAD_HUB_GATE_H

#include "proto/base/log.h"
#include "proto/keys/allowed.h"

typedef struct shoal_gate shoal_gate_t;

// Reads the keys in `folder`, puts them on `router` (not bound yet) and starts to answer ZAP in
// `context`.
//   SHOAL_NOT_FOUND  there is no head.key
//   as shoal_key_pair_read() and shoal_allowed_read(); SHOAL_INTERNAL the library refuses
SHOAL_MUST_CHECK bool shoal_gate_open(void *context, void *router, const char *folder,
                                      shoal_log_t *log, shoal_gate_t **ret_gate,
                                      shoal_status_t *status);

// Ends the thread. The router is closed before, the context terminated after.
void shoal_gate_close(shoal_gate_t **gate);

// Readable while there is a new list.
int shoal_gate_fd(const shoal_gate_t *gate);

// Takes the newest list; true if it is another one than at the last call.
bool shoal_gate_take(shoal_gate_t *gate);

// Who holds the key that a message's sender has proved to have (its User-Id; NULL: none), by the
// newest list. NULL: nobody on it. Valid until the next call of this or shoal_gate_take().
const shoal_holder_t *shoal_gate_holder(shoal_gate_t *gate, const char *user_id);

// The same for a key.
const shoal_holder_t *shoal_gate_find(const shoal_gate_t *gate, const shoal_key_t *key);

#endif
