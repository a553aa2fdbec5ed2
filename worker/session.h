// SPDX-License-Identifier: Apache-2.0
//
// session.h - the worker's side of the protocol: what to say to the head, what to do with what it
// says, and when (docs/protocol.md, sections 4 to 6).
//
//             dial is due            WELCOME
//   WAITING -------------> GREETING ---------> READY
//      ^                     |   ^               |
//      |  connection lost    |   | "hello first" |      drained: any of them --> ENDED
//      +---------------------+---+---------------+
//
// It owns no socket: whoever runs the loop (link.c, or a test) opens and closes connections when
// the session's state says so, hands messages in, and sends what comes out. Time is an argument.
//
// Threads: the link's.  Logging: LINK-* events.

#ifndef SHOAL_WORKER_SESSION_H
#define SHOAL_WORKER_SESSION_H

#include "proto/base/clock.h"
#include "proto/wire/socket.h"
#include "worker/slots.h"

#define SHOAL_WINDOW_MAX          4096  // as in HELLO
#define SHOAL_CALLS_PER_WINDOW    16    // small calls may come on top, a sixteenth each
#define SHOAL_RESULTS_KEPT_MAX    8192  // results that the head does not acknowledge
#define SHOAL_RUNNING_BYTES_MAX   65536 // of HELLO's `running` and HEARTBEAT's `progress`
#define SHOAL_BACKOFF_MS_MIN      20    // the first wait is 10 to 20 ms
#define SHOAL_BACKOFF_MS_MAX      5000
#define SHOAL_LIVENESS_MS_INITIAL 5000  // until WELCOME says otherwise
#define SHOAL_BEATS_MAX           64    // heartbeats that the head may owe an answer to
#define SHOAL_HANG_MS_MAX         10000 // from CANCEL to hung; a shorter lease makes it shorter
#define SHOAL_DRAIN_GRACE_MS      2000  // and from being handed back, when the worker drains

typedef enum shoal_session_state {
    SHOAL_SESSION_WAITING,  // no connection; one is to be opened at shoal_session_next()
    SHOAL_SESSION_GREETING, // connected, HELLO is sent
    SHOAL_SESSION_READY,    // registered
    SHOAL_SESSION_ENDED,    // drained, BYE is sent; close the connection
} shoal_session_state_t;

// Who we are; everything is borrowed for the session's life.
typedef struct shoal_identity {
    const char *id; // the same in each process that a supervisor starts
    uint64_t incarnation;
    const char *name;
    uint32_t slots;
    uint32_t window;
    const shoal_class_t *const *classes; // checked ones
    size_t class_count;
    uint64_t drain_ms;       // what runs may finish within this, once the worker drains
    shoal_slice_t labels;    // a msgpack map, or empty
    shoal_slice_t last_exit; // a msgpack map, or empty
} shoal_identity_t;

// Sends one message on the open connection, as shoal_message_send() does for a DEALER.
typedef shoal_sent_t shoal_session_send_fn(void *ctx, const shoal_message_t *message,
                                           zmq_msg_t *payload);

typedef struct shoal_session shoal_session_t;

// Begins in WAITING with a dial that is due at once. `slots` and `log` are borrowed.
shoal_session_t *shoal_session_new(const shoal_identity_t *identity, shoal_slots_t *slots,
                                   shoal_session_send_fn *send, void *ctx, uint64_t seed,
                                   shoal_log_t *log);

// Destroy the pool of slots first: attempts that it borrowed are freed here.
void shoal_session_destroy(shoal_session_t **session);

shoal_session_state_t shoal_session_state(const shoal_session_t *session);

// A connection is open (WAITING only): says HELLO.
void shoal_session_opened(shoal_session_t *session, uint64_t now_ms);

// The connection could not be made or is gone; the next dial comes after the back-off.
void shoal_session_closed(shoal_session_t *session, const char *why, uint64_t now_ms);

// One message of the head. It may end the connection: look at the state afterwards.
void shoal_session_take(shoal_session_t *session, shoal_parcel_t *parcel, uint64_t now_ms);

// Sends results that are due and up to `budget` news of the slots. Call it when the slots'
// descriptor is readable and the session wants news.
void shoal_session_pump(shoal_session_t *session, size_t budget, uint64_t now_ms);
bool shoal_session_wants_news(const shoal_session_t *session);

// Heartbeats, silence of the head, slots that hang, draining. Due at shoal_session_next().
void shoal_session_tick(shoal_session_t *session, uint64_t now_ms);
uint64_t shoal_session_next(const shoal_session_t *session);

// Takes no more calls, gives back those that wait, and those that still run after `drain_ms`
// (SHOAL_TIME_NEVER: as the identity says); ends when all are reported. A second time it can only
// make that sooner.
void shoal_session_drain(shoal_session_t *session, uint64_t drain_ms, const char *why,
                         uint64_t now_ms);

// It ended because a slot did not react to a CANCEL: the process is to be replaced.
bool shoal_session_is_hung(const shoal_session_t *session);

// There are calls on slots that are not waited for any more.
bool shoal_session_is_stuck(const shoal_session_t *session);

#endif
