// SPDX-License-Identifier: Apache-2.0
//
// session.c - see session.h.
//
// Design: a socket lives as long as a connection should. libzmq connects again by itself and keeps
// what was queued, but its new connection starts without a HELLO; the head then answers with ERROR
// and the session closes the socket and dials anew, so that nothing stale is sent.

#include "client/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/connection.h"
#include "proto/base/alloc.h"
#include "proto/record/writer.h"
#include "proto/wire/socket.h"

#define TURN_MESSAGES   1000 // read in one turn; timers come between
#define SILENT_BEATS    3    // the head answers each one
#define HANDSHAKE_TRIES 3    // that fail, before one who only waits is told
#define BYE_LINGER_MS   200  // time for the last messages to leave

typedef enum session_state {
    PAUSED,  // no socket until dial_ms
    DIALLED, // HELLO is queued, WELCOME has not come
    UP,
    REFUSED, // for good
} session_state_t;

struct shoal_session {
    char *endpoint;
    char id[SHOAL_SESSION_ID_MAX + 1];
    char head[SHOAL_SESSION_ID_MAX + 1]; // the last WELCOME's
    shoal_session_listener_t listener;
    session_state_t state;
    shoal_connection_t connection;
    uint64_t retry_ms, retry_max_ms;
    uint64_t pause_ms; // the next pause, before jitter
    uint64_t dial_ms;  // PAUSED: when to dial; DIALLED: when it was dialled
    uint64_t heard_ms; // last message from the head
    uint64_t sent_ms;  // last message to it
    uint64_t heartbeat_ms, liveness_ms;
    unsigned failures; // handshakes that failed since the last WELCOME
    bool has_parted;   // BYE came, and no WELCOME since
    uint64_t requests; // numbers given out
    uint64_t now_ms;   // of the turn, for sends out of a listener
    shoal_buffer_t scratch;
    shoal_parcel_t parcel;
    // shoal_session_ask()
    uint64_t asked;
    bool is_answered;
    shoal_buffer_t *answer;
    shoal_status_t answer_status;
};

static uint64_t
random_u64(void)
{
    uint64_t number = 0;
    ssize_t got = getrandom(&number, sizeof(number), 0);
    return got == (ssize_t)sizeof(number) ? number : shoal_clock_us();
}

void
shoal_random_id(char id[SHOAL_RANDOM_ID_SIZE])
{
    (void)snprintf(id, SHOAL_RANDOM_ID_SIZE, "%016llx%016llx", (unsigned long long)random_u64(),
                   (unsigned long long)random_u64());
}

static void
hang_up(shoal_session_t *session)
{
    shoal_connection_close(&session->connection, 0);
}

static bool
send_now(shoal_session_t *session, const shoal_message_t *message, shoal_slice_t payload)
{
    zmq_msg_t frame;
    bool has_payload = shoal_message_has_payload(message->type);
    if (has_payload) {
        if (zmq_msg_init_size(&frame, payload.len) != 0) {
            return false;
        }
        if (payload.len > 0) {
            memcpy(zmq_msg_data(&frame), payload.ptr, payload.len);
        }
    }
    shoal_sent_t sent = shoal_message_send(session->connection.socket, SHOAL_SLICE_NONE, message,
                                           has_payload ? &frame : NULL, &session->scratch);
    if (has_payload) {
        (void)zmq_msg_close(&frame);
    }
    session->sent_ms = session->now_ms;
    return sent == SHOAL_SENT;
}

static bool
dial(shoal_session_t *session, shoal_status_t *status)
{
    if (!shoal_connection_open(&session->connection, status)) {
        return false;
    }
    char name[SHOAL_SESSION_ID_MAX];
    char host[48] = "";
    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(name, sizeof(name), "%s:%ld", host, (long)getpid());
    shoal_message_t hello = {.type = SHOAL_MSG_HELLO};
    hello.hello.role = SHOAL_SLICE("client");
    hello.hello.id = shoal_slice_of(session->id);
    hello.hello.name = shoal_slice_of(name);
    hello.hello.software = SHOAL_SLICE("shoal " SHOAL_VERSION);
    (void)send_now(session, &hello, SHOAL_SLICE_NONE); // a handshake that has failed takes nothing
    session->state = DIALLED;
    session->dial_ms = session->now_ms;
    return true;
}

// Closes the connection; the next one is dialled after a pause that doubles each time.
static void
pause_then_dial(shoal_session_t *session)
{
    hang_up(session);
    session->state = PAUSED;
    uint64_t half = session->pause_ms / 2;
    session->dial_ms = session->now_ms + half + random_u64() % (half + 1);
    session->pause_ms *= 2;
    if (session->pause_ms > session->retry_max_ms) {
        session->pause_ms = session->retry_max_ms;
    }
}

bool
shoal_session_new(const shoal_session_config_t *config, const shoal_session_listener_t *listener,
                  uint64_t now_ms, shoal_session_t **ret_session, shoal_status_t *status)
{
    if (!shoal_connection_check(config->endpoint, config->join != NULL, status)) {
        return false;
    }
    shoal_session_t *session = shoal_alloc(sizeof(*session));
    session->endpoint = shoal_strdup(config->endpoint);
    char id[SHOAL_RANDOM_ID_SIZE];
    shoal_random_id(id);
    (void)snprintf(session->id, sizeof(session->id), "%s", config->id ? config->id : id);
    if (listener) {
        session->listener = *listener;
    }
    session->retry_ms = config->retry_ms ? config->retry_ms : SHOAL_SESSION_RETRY_MS;
    session->retry_max_ms =
        config->retry_max_ms ? config->retry_max_ms : SHOAL_SESSION_RETRY_MAX_MS;
    session->pause_ms = session->retry_ms;
    session->now_ms = now_ms;
    session->connection = (shoal_connection_t){.endpoint = session->endpoint,
                                               .has_keys = config->join != NULL,
                                               .retry_ms = (int)session->retry_ms,
                                               .retry_max_ms = (int)session->retry_max_ms};
    if (config->join) {
        session->connection.join = *config->join;
    }
    shoal_parcel_init(&session->parcel);
    session->connection.context = zmq_ctx_new();
    if (!session->connection.context) {
        (void)shoal_fail(status, SHOAL_IO, "cannot start ZeroMQ: %s", zmq_strerror(errno));
        shoal_session_destroy(&session);
        return false;
    }
    if (!dial(session, status)) {
        shoal_session_destroy(&session);
        return false;
    }
    *ret_session = session;
    return true;
}

void
shoal_session_destroy(shoal_session_t **session)
{
    if (!session || !*session) {
        return;
    }
    shoal_session_t *it = *session;
    bool was_up = it->state == UP;
    if (was_up) {
        shoal_message_t bye = {.type = SHOAL_MSG_BYE};
        (void)send_now(it, &bye, SHOAL_SLICE_NONE);
    }
    shoal_connection_close(&it->connection, was_up ? BYE_LINGER_MS : 0);
    shoal_join_wipe(&it->connection.join);
    shoal_parcel_fini(&it->parcel);
    if (it->connection.context) {
        (void)zmq_ctx_term(it->connection.context);
    }
    shoal_buffer_fini(&it->scratch);
    free(it->endpoint);
    free(it);
    *session = NULL;
}

void *
shoal_session_socket(const shoal_session_t *session)
{
    return session->connection.socket;
}

bool
shoal_session_is_up(const shoal_session_t *session)
{
    return session->state == UP;
}

bool
shoal_session_has_parted(const shoal_session_t *session)
{
    return session->has_parted;
}

bool
shoal_session_is_silent(const shoal_session_t *session, uint64_t now_ms)
{
    return session->state == UP &&
           now_ms >= session->heard_ms + SILENT_BEATS * session->heartbeat_ms;
}

uint64_t
shoal_session_heard(const shoal_session_t *session)
{
    return session->heard_ms;
}

const char *
shoal_session_trouble(const shoal_session_t *session)
{
    return session->state == UP ? NULL : session->connection.trouble;
}

const char *
shoal_session_head(const shoal_session_t *session)
{
    return session->head;
}

uint64_t
shoal_session_request(shoal_session_t *session)
{
    return ++session->requests;
}

bool
shoal_session_send(shoal_session_t *session, const shoal_message_t *message, shoal_slice_t payload)
{
    if (session->state != UP) {
        return false;
    }
    if (!send_now(session, message, payload)) { // the queue is full: the head does not read
        pause_then_dial(session);
        return false;
    }
    return true;
}

void
shoal_session_redial(shoal_session_t *session, uint64_t now_ms)
{
    hang_up(session);
    session->state = PAUSED;
    session->now_ms = now_ms;
    session->dial_ms = now_ms;
    session->pause_ms = session->retry_ms;
}

static void
on_welcome(shoal_session_t *session, const shoal_msg_welcome_t *welcome)
{
    bool is_other = session->head[0] != '\0' &&
                    !shoal_slice_equal(welcome->head, shoal_slice_of(session->head));
    (void)snprintf(session->head, sizeof(session->head), "%.*s", SHOAL_SLICE_ARGS(welcome->head));
    session->heartbeat_ms = welcome->heartbeat_ms > 0 ? welcome->heartbeat_ms : 1;
    session->liveness_ms = welcome->liveness_ms > 0 ? welcome->liveness_ms : 1;
    session->pause_ms = session->retry_ms;
    session->state = UP;
    session->has_parted = false;
    session->failures = 0;
    if (session->listener.up) {
        session->listener.up(session->listener.ctx, welcome, is_other);
    }
}

// An ERROR that concerns no request. True: the session goes on.
static bool
on_error(shoal_session_t *session, const shoal_msg_error_t *error, shoal_status_t *status)
{
    if (error->closing) {
        hang_up(session);
        session->state = REFUSED;
        return shoal_fail(status, shoal_code_from(error->code),
                          "the head refuses this client: %.*s", SHOAL_SLICE_ARGS(error->reason));
    }
    if (error->code == SHOAL_PROTOCOL) { // this connection is new to it: HELLO again
        pause_then_dial(session);
    }
    return true;
}

// Keeps the answer that shoal_session_ask() waits for. False: it is for somebody else.
static bool
is_answer(shoal_session_t *session, const shoal_message_t *message)
{
    if (session->asked == 0) {
        return false;
    }
    if (message->type == SHOAL_MSG_REPLY && message->reply.request == session->asked) {
        shoal_buffer_append_slice(session->answer, message->reply.body);
        session->is_answered = true;
        return true;
    }
    if (message->type == SHOAL_MSG_ACCEPTED && message->accepted.request == session->asked) {
        shoal_write_uint(session->answer, message->accepted.job);
        session->is_answered = true;
        return true;
    }
    if (message->type == SHOAL_MSG_ERROR && message->error.request == session->asked) {
        (void)shoal_fail(&session->answer_status, shoal_code_from(message->error.code), "%.*s",
                         SHOAL_SLICE_ARGS(message->error.reason));
        session->is_answered = true;
        return true;
    }
    return false;
}

static bool
on_message(shoal_session_t *session, const shoal_message_t *message, shoal_slice_t payload,
           shoal_status_t *status)
{
    switch ((int)message->type) {
    case SHOAL_MSG_WELCOME:
        if (session->state == DIALLED) {
            on_welcome(session, &message->welcome);
        }
        return true;
    case SHOAL_MSG_HEARTBEAT: return true;
    case SHOAL_MSG_BYE:
        session->has_parted = true;
        pause_then_dial(session);
        return true;
    case SHOAL_MSG_ERROR:
        if (message->error.request == 0) {
            return on_error(session, &message->error, status);
        }
        break;
    default: break;
    }
    if (session->state == UP && !is_answer(session, message) && session->listener.message) {
        session->listener.message(session->listener.ctx, message, payload);
    }
    return true;
}

// What cannot be read is answered; a message of a newer minor version does no more.
static void
say_error(shoal_session_t *session, const shoal_message_t *message, const shoal_status_t *why,
          bool is_closing)
{
    shoal_message_t answer = {.type = SHOAL_MSG_ERROR};
    answer.error.code = why->code;
    answer.error.reason = shoal_slice_of(why->text);
    answer.error.refers = (uint64_t)message->type;
    answer.error.closing = is_closing;
    (void)send_now(session, &answer, SHOAL_SLICE_NONE); // if the queue is full, so be it
}

static bool
receive_all(shoal_session_t *session, shoal_status_t *status)
{
    for (int i = 0; i < TURN_MESSAGES && session->connection.socket; i++) {
        shoal_received_t got = shoal_parcel_receive(session->connection.socket, /*is_router=*/false,
                                                    &session->parcel, status);
        if (got == SHOAL_RECEIVED_NOTHING) {
            return true;
        }
        if (got == SHOAL_RECEIVED_BROKEN) {
            return false;
        }
        session->heard_ms = session->now_ms;
        shoal_message_t message;
        if (!shoal_parcel_decode(&session->parcel, &message, status)) {
            if (shoal_parcel_is_unknown(&session->parcel, &message)) { // of a newer minor version
                say_error(session, &message, status, /*is_closing=*/false);
                shoal_status_clear(status);
                continue;
            }
            say_error(session, &message, status, /*is_closing=*/true);
            shoal_connection_close(&session->connection, BYE_LINGER_MS);
            session->state = REFUSED;
            return shoal_fail_while(status, "what listens at %s cannot be understood",
                                    session->endpoint);
        }
        if (!on_message(session, &message, shoal_parcel_payload(&session->parcel), status)) {
            return false;
        }
    }
    return true;
}

// A handshake that fails brings no message.
static bool
look(shoal_session_t *session, shoal_status_t *status)
{
    switch (shoal_connection_look(&session->connection)) {
    case SHOAL_CONNECTION_REFUSED:
        hang_up(session);
        session->state = REFUSED;
        return shoal_fail(status, SHOAL_DENIED, "cannot join the head at %s: %s", session->endpoint,
                          session->connection.trouble);
    case SHOAL_CONNECTION_FAILED:
        session->failures++;
        pause_then_dial(session);
        return true;
    case SHOAL_CONNECTION_FINE:
    default: return true;
    }
}

bool
shoal_session_turn(shoal_session_t *session, uint64_t now_ms, shoal_status_t *status)
{
    session->now_ms = now_ms;
    if (session->state == PAUSED && now_ms >= session->dial_ms && !dial(session, status)) {
        return false;
    }
    if (!receive_all(session, status) || !look(session, status)) {
        return false;
    }
    if (session->state == DIALLED && now_ms >= session->dial_ms + SHOAL_SESSION_ANSWER_MS) {
        pause_then_dial(session);
    }
    if (session->state == UP && now_ms >= session->heard_ms + session->liveness_ms) {
        pause_then_dial(session);
    }
    if (session->state == UP && now_ms >= session->sent_ms + session->heartbeat_ms) {
        shoal_message_t beat = {.type = SHOAL_MSG_HEARTBEAT};
        (void)shoal_session_send(session, &beat, SHOAL_SLICE_NONE);
    }
    return true;
}

uint64_t
shoal_session_next(const shoal_session_t *session)
{
    switch (session->state) {
    case PAUSED: return session->dial_ms;
    case DIALLED:
        return session->connection.monitor ? session->now_ms + SHOAL_CONNECTION_LOOK_MS
                                           : session->dial_ms + SHOAL_SESSION_ANSWER_MS;
    case UP: {
        uint64_t beat = session->sent_ms + session->heartbeat_ms;
        uint64_t lost = session->heard_ms + session->liveness_ms;
        return beat < lost ? beat : lost;
    }
    case REFUSED:
    default: return SHOAL_TIME_NEVER;
    }
}

// One turn of a caller that does nothing but wait.
static bool
wait_turn(shoal_session_t *session, uint64_t deadline_ms, shoal_status_t *status)
{
    uint64_t now = shoal_clock_ms();
    uint64_t until = shoal_session_next(session);
    until = until < deadline_ms ? until : deadline_ms;
    zmq_pollitem_t item = {.socket = session->connection.socket, .fd = -1, .events = ZMQ_POLLIN};
    int count = session->connection.socket ? 1 : 0;
    (void)zmq_poll(&item, count,
                   until > now ? (long)(until - now) : 0); // EINTR: a turn for nothing
    return shoal_session_turn(session, shoal_clock_ms(), status);
}

bool
shoal_session_wait(shoal_session_t *session, uint64_t timeout_ms, shoal_status_t *status)
{
    uint64_t deadline = shoal_clock_ms() + timeout_ms;
    while (session->state != UP) {
        const char *trouble = session->connection.trouble;
        if (trouble && session->failures >= HANDSHAKE_TRIES) {
            return shoal_fail(status, SHOAL_UNAVAILABLE, "cannot reach a head at %s: %s",
                              session->endpoint, trouble);
        }
        if (shoal_clock_ms() >= deadline) {
            return shoal_fail(status, SHOAL_UNAVAILABLE,
                              "cannot reach a head at %s: no answer within %.1f s; does a head "
                              "run there? To start one: shoal start --head",
                              session->endpoint, (double)timeout_ms / 1000.0);
        }
        if (!wait_turn(session, deadline, status)) {
            return false;
        }
    }
    return true;
}

bool
shoal_session_ask(shoal_session_t *session, const char *what, const char *id, uint64_t timeout_ms,
                  shoal_buffer_t *ret_body, shoal_status_t *status)
{
    shoal_message_t ask = {.type = SHOAL_MSG_ASK};
    ask.ask.what = shoal_slice_of(what);
    ask.ask.id = shoal_slice_of(id);
    return shoal_session_call(session, &ask, SHOAL_SLICE_NONE, &ask.ask.request, what, timeout_ms,
                              ret_body, status);
}

bool
shoal_session_call(shoal_session_t *session, const shoal_message_t *message, shoal_slice_t payload,
                   uint64_t *request, const char *what, uint64_t timeout_ms,
                   shoal_buffer_t *ret_body, shoal_status_t *status)
{
    uint64_t deadline = shoal_clock_ms() + timeout_ms;
    if (!shoal_session_wait(session, timeout_ms, status)) {
        return false;
    }
    *request = shoal_session_request(session);
    session->asked = *request;
    session->is_answered = false;
    session->answer = ret_body;
    shoal_status_clear(&session->answer_status);
    bool done = shoal_session_send(session, message, payload);
    while (done && !session->is_answered) {
        if (shoal_clock_ms() >= deadline) {
            done = shoal_fail(status, SHOAL_UNAVAILABLE,
                              "the head at %s did not answer \"%s\" within %.1f s; try again, or "
                              "look at its log",
                              session->endpoint, what, (double)timeout_ms / 1000.0);
        } else {
            done = wait_turn(session, deadline, status);
        }
    }
    session->asked = 0;
    session->answer = NULL;
    if (session->is_answered && session->answer_status.code != SHOAL_OK) {
        *status = session->answer_status;
        return false;
    }
    if (!done && status->code == SHOAL_OK) {
        (void)shoal_fail(status, SHOAL_UNAVAILABLE, "the connection to %s broke",
                         session->endpoint);
    }
    return done;
}
