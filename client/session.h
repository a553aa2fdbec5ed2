// SPDX-License-Identifier: Apache-2.0
//
// session.h - a client's connection to a head: HELLO, heartbeats, and dialling again by itself.
//
// A session is up from WELCOME until the head is silent for too long, says goodbye or forgets it;
// then it dials again with back-off and jitter, and tells its owner each time it is up. What was
// on its way when a connection broke may be lost: the owner repeats what it still wants (requests
// carry ids and output carries commit numbers, so a repetition does no harm). Nothing here blocks
// except shoal_session_ask(); the owner waits for shoal_session_socket() in its own zmq_poll().
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_SESSION_H
#define SHOAL_CLIENT_SESSION_H

#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/keys/join.h"
#include "proto/wire/message.h"

#define SHOAL_SESSION_ID_MAX       64
#define SHOAL_SESSION_ANSWER_MS    5000  // HELLO to WELCOME, then it dials again
#define SHOAL_SESSION_RETRY_MS     100   // first pause before dialling again; doubles
#define SHOAL_SESSION_RETRY_MAX_MS 30000 // longest pause

typedef struct shoal_session shoal_session_t;

typedef struct shoal_session_config {
    const char *endpoint;     // "ipc:///run/user/1000/shoal/head.sock"
    const shoal_join_t *join; // the keys for TCP; NULL: none
    const char *id;           // the session's, at most SHOAL_SESSION_ID_MAX bytes; NULL: a new one
    uint64_t retry_ms;        // 0: SHOAL_SESSION_RETRY_MS
    uint64_t retry_max_ms;    // 0: SHOAL_SESSION_RETRY_MAX_MS
} shoal_session_config_t;

// What a session tells. Slices are valid during the call. A listener may send, not destroy.
typedef struct shoal_session_listener {
    void *ctx;
    // WELCOME came. `is_other_head`: not the head of the last time (never true the first time).
    void (*up)(void *ctx, const shoal_msg_welcome_t *welcome, bool is_other_head);
    // ACCEPTED, REPLY, EVENT, PIECE, OUTPUT_END, or an ERROR that concerns a request.
    void (*message)(void *ctx, const shoal_message_t *message, shoal_slice_t payload);
} shoal_session_listener_t;

// Makes a session and dials; nothing has been answered yet. Copies config and listener.
//   SHOAL_INVALID      the endpoint is no "ipc://..." and no "tcp://host:port" on this machine
//   SHOAL_UNAVAILABLE  there is no such ipc socket, or nobody listens on it any more
SHOAL_MUST_CHECK bool shoal_session_new(const shoal_session_config_t *config,
                                        const shoal_session_listener_t *listener, uint64_t now_ms,
                                        shoal_session_t **ret_session, shoal_status_t *status);

// Says BYE if the session is up, and closes.
void shoal_session_destroy(shoal_session_t **session);

// For zmq_poll(), ZMQ_POLLIN; changes when the session dials again. NULL while it pauses.
void *shoal_session_socket(const shoal_session_t *session);

// Reads what came, beats, dials again: whatever is due. Call it when the socket is readable and at
// shoal_session_next().
//   SHOAL_UNSUPPORTED SHOAL_DENIED SHOAL_PROTOCOL ...  the head refuses this client for good
SHOAL_MUST_CHECK bool shoal_session_turn(shoal_session_t *session, uint64_t now_ms,
                                         shoal_status_t *status);
uint64_t shoal_session_next(const shoal_session_t *session); // when turn has to be called next

// Drops the connection and dials at once: the owner knows that the head has gone.
void shoal_session_redial(shoal_session_t *session, uint64_t now_ms);

bool shoal_session_is_up(const shoal_session_t *session);
bool shoal_session_has_parted(const shoal_session_t *session); // the head's last word was BYE

// Up, but nothing has come for so many of the head's heartbeats that it has probably gone.
bool shoal_session_is_silent(const shoal_session_t *session, uint64_t now_ms);
uint64_t shoal_session_heard(const shoal_session_t *session); // when the last message came, 0: none

// Why the handshake fails that stands between it and being up; NULL: nothing is known.
const char *shoal_session_trouble(const shoal_session_t *session);

const char *shoal_session_head(const shoal_session_t *session); // the head's id; "" before WELCOME

// A number for the next request of this session.
uint64_t shoal_session_request(shoal_session_t *session);

// Sends a message if the session is up. False: it is not, and nothing was sent; `up` will be told.
// `payload` is for messages that have one.
bool shoal_session_send(shoal_session_t *session, const shoal_message_t *message,
                        shoal_slice_t payload);

// Sends a request, whose number it writes to `request` in it, and waits for its REPLY or ACCEPTED
// (the job's number as msgpack), for commands that do nothing else. `what` names it for people.
//   SHOAL_UNAVAILABLE  no answer within `timeout_ms`
//   ...                what the head's ERROR says
SHOAL_MUST_CHECK bool shoal_session_call(shoal_session_t *session, const shoal_message_t *message,
                                         shoal_slice_t payload, uint64_t *request, const char *what,
                                         uint64_t timeout_ms, shoal_buffer_t *ret_body,
                                         shoal_status_t *status);

// Asks a question and waits for the answer, for commands that do nothing else. `id` may be NULL.
//   SHOAL_UNAVAILABLE  no answer within `timeout_ms`
//   ...                what the head's ERROR says
SHOAL_MUST_CHECK bool shoal_session_ask(shoal_session_t *session, const char *what, const char *id,
                                        uint64_t timeout_ms, shoal_buffer_t *ret_body,
                                        shoal_status_t *status);

// Waits until the session is up.
//   SHOAL_UNAVAILABLE  no WELCOME within `timeout_ms`
SHOAL_MUST_CHECK bool shoal_session_wait(shoal_session_t *session, uint64_t timeout_ms,
                                         shoal_status_t *status);

// 32 hexadecimal digits that nobody else has: ids of sessions and jobs.
#define SHOAL_RANDOM_ID_SIZE 33
void shoal_random_id(char id[SHOAL_RANDOM_ID_SIZE]);

#endif
