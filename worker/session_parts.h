// SPDX-License-Identifier: Apache-2.0
//
// session_parts.h - what session.c, say.c and hear.c share; for nobody else.
//
// session.c has the state, the clocks and the ends of attempts, leave.c draining and slots that hang,
// say.c what goes to the head, hear.c what comes from it.

#ifndef SHOAL_WORKER_SESSION_PARTS_H
#define SHOAL_WORKER_SESSION_PARTS_H

#include "worker/attempts.h"
#include "worker/results.h"
#include "worker/session.h"

struct shoal_session {
    shoal_identity_t identity;
    shoal_slots_t *slots;
    shoal_session_send_fn *send;
    void *ctx;
    shoal_log_t *log;

    shoal_session_state_t state;
    uint64_t random;
    uint64_t backoff_ms;
    uint64_t dial_at_ms;                // WAITING
    uint64_t greeted_ms;                // GREETING: when HELLO was sent
    uint64_t heard_ms;                  // when the head was heard last
    uint64_t beat_at_ms;                // READY: when the next HEARTBEAT is due
    uint64_t beats_ms[SHOAL_BEATS_MAX]; // when those went out that are not answered, a ring
    size_t beat_first;
    size_t beat_count;
    size_t beats_over;    // that went out when the ring was full, after those in it
    uint64_t retry_at_ms; // the socket was full; SHOAL_TIME_NEVER: it was not

    char head[65]; // id of the head that we know; empty: none yet
    uint64_t heartbeat_ms;
    uint64_t liveness_ms;
    uint64_t lease_ms;
    uint32_t batch_bytes;
    uint32_t record_bytes;

    bool is_draining;
    bool is_leaving;       // somebody has asked for it
    bool is_hung;          // a slot did not react
    uint64_t hand_back_ms; // draining: what runs then is given back
    uint64_t drain_end_ms; // nothing runs any more; so long acknowledgements are waited for
    uint64_t hang_at_ms;   // when the first of those asked to end counts as hung

    shoal_attempts_t attempts;
    size_t attempt_max;
    shoal_results_t *results;
    shoal_news_t *stalled; // taken from the slots, but the socket was full
    shoal_buffer_t scratch;
    shoal_log_limit_t error_limit;
};

// ---- session.c

// The only writer of `state`.
void shoal_session_become(shoal_session_t *session, shoal_session_state_t state, const char *why);

// Gives back each attempt that has streamed on a registration that is lost now.
void shoal_session_lose_streams(shoal_session_t *session, uint64_t now_ms);

// Asks an attempt to end. True: it had not started and will give no news.
bool shoal_session_ask_to_end(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t now_ms);

// Keeps the result of an attempt, which is gone then. `failure` may be NULL.
void shoal_session_report(shoal_session_t *session, shoal_attempt_t *attempt,
                          shoal_outcome_t outcome, const shoal_status_t *failure,
                          shoal_slice_t detail);

// ---- leave.c

// Ends the session once everything is reported and acknowledged. Without a head, or without its
// acknowledgement, that is waited for as long as the head may be silent.
void shoal_session_check_drained(shoal_session_t *session, uint64_t now_ms);

// Looks after the attempts that were asked to end, and at the time that running ones have left.
void shoal_session_check_hung(shoal_session_t *session, uint64_t now_ms);

// ---- say.c

// Sends one message; true if it went out. A full socket is tried again after a moment.
bool shoal_session_say(shoal_session_t *session, const shoal_message_t *message, zmq_msg_t *payload,
                       uint64_t now_ms);
void shoal_session_say_hello(shoal_session_t *session, uint64_t now_ms);
void shoal_session_say_heartbeat(shoal_session_t *session, uint64_t now_ms);
void shoal_session_say_no_window(shoal_session_t *session, uint64_t now_ms); // WINDOW 0
void shoal_session_say_error(shoal_session_t *session, const shoal_status_t *status,
                             uint64_t refers, bool closing, uint64_t now_ms);

#endif
