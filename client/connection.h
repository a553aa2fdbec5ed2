// SPDX-License-Identifier: Apache-2.0
//
// connection.h - one socket to a head: where it may be, its keys, and why it does not come about.
//
// libzmq says nothing of a handshake that fails: what is sent waits for ever. On TCP a monitor tells.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_CONNECTION_H
#define SHOAL_CLIENT_CONNECTION_H

#include <stdint.h>

#include <zmq.h>

#include "proto/keys/join.h"

#define SHOAL_CONNECTION_LOOK_MS 50 // between two looks, while a handshake may fail

// Embedded. `context` and `endpoint` are borrowed.
typedef struct shoal_connection {
    void *context;
    const char *endpoint;
    bool has_keys;
    shoal_join_t join; // where it has
    int retry_ms, retry_max_ms;
    void *socket;        // NULL: closed
    void *monitor;       // NULL: none
    unsigned opened;     // how often; each monitor has a name of its own
    const char *trouble; // why the last handshake failed, or NULL
} shoal_connection_t;

// Refuses an endpoint that is none, one of another machine without keys, and an ipc path where no
// head is: libzmq would try it for ever.
//   SHOAL_INVALID      it is none
//   SHOAL_UNSUPPORTED  TCP to another machine without keys
//   SHOAL_UNAVAILABLE  no head has listened there, or it has ended
SHOAL_MUST_CHECK bool shoal_connection_check(const char *endpoint, bool has_keys,
                                             shoal_status_t *status);

// Opens the socket and begins to connect.
//   SHOAL_IO, SHOAL_INVALID, SHOAL_INTERNAL  the library refuses
SHOAL_MUST_CHECK bool shoal_connection_open(shoal_connection_t *connection, shoal_status_t *status);

// Gives what was sent up to `linger_ms` to leave. Fine if it is closed.
void shoal_connection_close(shoal_connection_t *connection, int linger_ms);

typedef enum shoal_connection_sight {
    SHOAL_CONNECTION_FINE,
    SHOAL_CONNECTION_FAILED,  // the handshake did: close it, and try again later
    SHOAL_CONNECTION_REFUSED, // the head does not know the key: another try is of no use
} shoal_connection_sight_t;

// How the handshake goes; sets `trouble`.
shoal_connection_sight_t shoal_connection_look(shoal_connection_t *connection);

#endif
