// SPDX-License-Identifier: Apache-2.0
//
// address.h - which head a command means, and the key that it comes with.
//
// --head ENDPOINT and --join-file FILE say it; else SHOAL_JOIN_FILE names a join file; else it is what
// `shoal start --head` has left on this machine: its socket, or, where that listens on TCP, the first
// client's join file in the key folder of the state directory.
//
// Threads: one.  Logging: none.

#ifndef SHOAL_CLIENT_ADDRESS_H
#define SHOAL_CLIENT_ADDRESS_H

#include <limits.h>

#include "client/arguments.h"
#include "client/session.h"

#define SHOAL_ENDPOINT_MAX 512
#define SHOAL_KEYS_FOLDER  "keys"        // in the state directory
#define SHOAL_KEYS_CLIENT  "client.join" // of the first client, in it
#define SHOAL_KEYS_WORKER  "worker.join" // of the first worker

// Embedded; shoal_address_wipe() it.
typedef struct shoal_address {
    char endpoint[SHOAL_ENDPOINT_MAX];
    bool has_keys;
    shoal_join_t join; // where it has
    bool is_given;     // by an option or the environment
    // The options that named it, to be put behind a command that is suggested: " --head ENDPOINT",
    // " --join-file FILE", or "".
    char options[PATH_MAX];
} shoal_address_t;

// Finds the head that a command with the options "head" and "join-file" means.
//   SHOAL_INVALID ...  an endpoint, or a join file, that cannot be used
//   SHOAL_DENIED       the join file is a worker's
SHOAL_MUST_CHECK bool shoal_address_find(const shoal_arguments_t *arguments,
                                         shoal_address_t *ret_address, shoal_status_t *status);

// The head that listens at `endpoint` and was started from the state directory `state`.
//   as above
SHOAL_MUST_CHECK bool shoal_address_of(const char *endpoint, const char *state,
                                       shoal_address_t *ret_address, shoal_status_t *status);
void shoal_address_wipe(shoal_address_t *address);

// What a session's configuration takes; NULL: no keys.
const shoal_join_t *shoal_address_join(const shoal_address_t *address);

// A session to it, not up yet.
SHOAL_MUST_CHECK bool shoal_head_dial(const shoal_address_t *address, shoal_session_t **ret_session,
                                      shoal_status_t *status);

// Where `shoal start --head` has listened on TCP, and where others dial it: the next one that is started
// from that state directory listens there again, because those who have joined know no other place.
typedef struct shoal_listening {
    char endpoint[SHOAL_ENDPOINT_MAX];   // with the port that was bound; "": it was not on TCP
    char advertised[SHOAL_ENDPOINT_MAX]; // as --advertise said; "": it said nothing
} shoal_listening_t;

// There is nothing to read where no head has listened on TCP: `ret_listening` is empty then.
//   as shoal_private_read()
SHOAL_MUST_CHECK bool shoal_listening_read(const char *state, shoal_listening_t *ret_listening,
                                           shoal_status_t *status);

// Notes it; an empty one takes the note away.
//   SHOAL_IO  the disk refuses
SHOAL_MUST_CHECK bool shoal_listening_write(const char *state, const shoal_listening_t *listening,
                                            shoal_status_t *status);

// Where `shoal start --head` listens unless it is told otherwise: "ipc://DIRECTORY/head.sock".
SHOAL_MUST_CHECK bool shoal_endpoint_default(char endpoint[SHOAL_ENDPOINT_MAX],
                                             shoal_status_t *status);

#endif
