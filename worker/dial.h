// SPDX-License-Identifier: Apache-2.0
//
// dial.h - one connection to the head: a DEALER, and the monitor that tells when it is lost.
//
// libzmq's own reconnecting is switched off, because it would send a head messages that were meant
// for the connection before. A lost connection is closed as a whole and opened anew.
//
// Threads: the link's.  Logging: none.

#ifndef SHOAL_WORKER_DIAL_H
#define SHOAL_WORKER_DIAL_H

#include "proto/keys/join.h"
#include "proto/wire/socket.h"

typedef struct shoal_dial shoal_dial_t;

// No connection yet. `context` (a ZeroMQ context), `endpoint` and `join` (the keys; NULL: none) are
// borrowed.
shoal_dial_t *shoal_dial_new(void *context, const char *endpoint, const shoal_join_t *join);

// Closes first.
void shoal_dial_destroy(shoal_dial_t **dial);

// Begins to connect; what is sent before it is up waits.
//   SHOAL_INVALID   the endpoint is malformed
//   SHOAL_INTERNAL  the library refuses a socket
SHOAL_MUST_CHECK bool shoal_dial_open(shoal_dial_t *dial, shoal_status_t *status);

// Gives what was sent up to `linger_ms` to leave, in the background. Fine if nothing is open.
void shoal_dial_close(shoal_dial_t *dial, int linger_ms);

// For zmq_poll(); NULL while nothing is open.
void *shoal_dial_socket(const shoal_dial_t *dial);
void *shoal_dial_monitor(const shoal_dial_t *dial);

// Why the connection is lost or could not be made; NULL: it is not. Call it when the monitor is
// readable, after the socket has been read.
const char *shoal_dial_lost(shoal_dial_t *dial);

#endif
