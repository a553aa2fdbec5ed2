// SPDX-License-Identifier: Apache-2.0
//
// test_client_session.c - what client/session.h promises, against a scripted head.

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/session.h"
#include "proto/record/cursor.h"
#include "tests/support/scripted_head.h"

static shoal_session_t *
session_to(const char *endpoint, const shoal_session_listener_t *listener)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_session_t *session = NULL;
    const shoal_session_config_t config = {.endpoint = endpoint, .retry_ms = 1, .retry_max_ms = 5};
    CHECK_OK(shoal_session_new(&config, listener, shoal_clock_ms(), &session, &status), status);
    return session;
}

static void
answer_questions(scripted_head_t *head, const shoal_message_t *message)
{
    if (message->type != SHOAL_MSG_ASK) {
        return;
    }
    if (shoal_slice_is(message->ask.what, "job")) {
        scripted_head_error(head, SHOAL_NOT_FOUND, message->ask.request, SHOAL_MSG_ASK, false,
                            "no job 9");
        return;
    }
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_write_uint(&body, 42);
    shoal_message_t reply = {.type = SHOAL_MSG_REPLY};
    reply.reply.request = message->ask.request + 1000; // somebody else's
    scripted_head_send(head, &reply, NULL);
    reply.reply.request = message->ask.request;
    reply.reply.body = shoal_buffer_slice(&body);
    scripted_head_send(head, &reply, NULL);
    shoal_buffer_fini(&body);
}

static void
a_question_is_answered(void)
{
    scripted_head_t head;
    scripted_head_start(&head, answer_questions);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_session_t *session = session_to(head.endpoint, NULL);
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    CHECK(!shoal_session_is_up(session));
    CHECK_OK(shoal_session_ask(session, "head", NULL, 5000, &body, &status), status);
    CHECK(shoal_session_is_up(session));
    assert_string_equal(shoal_session_head(session), "head-1");
    CHECK(body.len == 1 && body.ptr[0] == 42);
    CHECK_FAILS(shoal_session_ask(session, "job", "9", 5000, &body, &status), status,
                SHOAL_NOT_FOUND);
    CHECK_SAYS(status.text, "no job 9");
    shoal_buffer_fini(&body);
    shoal_session_destroy(&session);
    scripted_head_stop(&head);
    CHECK(atomic_load(&head.seen[SHOAL_MSG_BYE]) == 1);
}

static void
what_is_no_head_is_said_at_once(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_session_t *session = NULL;
    static const struct {
        const char *endpoint;
        shoal_code_t code;
    } wrong[] = {
        {"ipc:///no/such/head.sock", SHOAL_UNAVAILABLE},
        {"ipc://", SHOAL_INVALID},
        {"tcp://nothing", SHOAL_INVALID},
        {"tcp://head.example:6380", SHOAL_UNSUPPORTED}, // without keys
        {"/run/head.sock", SHOAL_INVALID},
        {"", SHOAL_INVALID},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const shoal_session_config_t config = {.endpoint = wrong[i].endpoint};
        CHECK_FAILS(shoal_session_new(&config, NULL, 0, &session, &status), status, wrong[i].code);
    }
}

static void
a_socket_that_a_killed_head_has_left_is_told_at_once(void)
{
    char folder[] = "/tmp/shoal-test-XXXXXX";
    CHECK(mkdtemp(folder));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char endpoint[64];
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/head.sock", folder);
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/head.sock", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
    (void)close(fd); // as a kill does: the file stays
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_session_t *session = NULL;
    const shoal_session_config_t config = {.endpoint = endpoint};
    CHECK_FAILS(shoal_session_new(&config, NULL, 0, &session, &status), status, SHOAL_UNAVAILABLE);
    CHECK_SAYS(status.text, "has ended; to start one: shoal start --head");
    (void)unlink(address.sun_path);
    (void)rmdir(folder);
}

static void
silence_is_an_error_after_its_time(void)
{
    scripted_head_t head;
    scripted_head_start(&head, NULL);
    atomic_store(&head.is_deaf, true);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_session_t *session = session_to(head.endpoint, NULL);
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    CHECK_FAILS(shoal_session_ask(session, "head", NULL, 30, &body, &status), status,
                SHOAL_UNAVAILABLE);
    CHECK_SAYS(status.text, "no answer within");
    CHECK(!shoal_session_send(session, &(shoal_message_t){.type = SHOAL_MSG_HEARTBEAT},
                              SHOAL_SLICE_NONE));
    shoal_session_destroy(&session);
    shoal_buffer_fini(&body);
    scripted_head_stop(&head);
}

typedef struct ups {
    int count, others;
} ups_t;

static void
count_up(void *ctx, const shoal_msg_welcome_t *welcome, bool is_other_head)
{
    ups_t *ups = ctx;
    CHECK(welcome->head.len > 0);
    ups->count++;
    ups->others += is_other_head;
}

// Turns until the session has been up `count` times.
static void
turn_until(shoal_session_t *session, const ups_t *ups, int count)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    uint64_t deadline = shoal_clock_ms() + 10000;
    while (ups->count < count) {
        CHECK(shoal_clock_ms() < deadline);
        zmq_pollitem_t item = {.socket = shoal_session_socket(session), .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, item.socket ? 1 : 0, 5);
        CHECK_OK(shoal_session_turn(session, shoal_clock_ms(), &status), status);
    }
}

static void
it_beats_and_dials_again_when_the_head_is_silent(void)
{
    scripted_head_t head;
    scripted_head_start(&head, NULL);
    head.heartbeat_ms = 5; // before anybody dials
    head.liveness_ms = 60;
    ups_t ups = {0};
    const shoal_session_listener_t listener = {.ctx = &ups, .up = count_up};
    shoal_session_t *session = session_to(head.endpoint, &listener);
    turn_until(session, &ups, 1);
    shoal_status_t status = SHOAL_STATUS_INIT;
    uint64_t deadline = shoal_clock_ms() + 10000;
    while (atomic_load(&head.heartbeats) < 3) {
        CHECK(shoal_clock_ms() < deadline);
        zmq_pollitem_t item = {.socket = shoal_session_socket(session), .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, 1, 5);
        CHECK_OK(shoal_session_turn(session, shoal_clock_ms(), &status), status);
    }
    atomic_store(&head.is_deaf, true);
    while (shoal_session_is_up(session)) {
        CHECK(shoal_clock_ms() < deadline);
        zmq_pollitem_t item = {.socket = shoal_session_socket(session), .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, item.socket ? 1 : 0, 5);
        CHECK_OK(shoal_session_turn(session, shoal_clock_ms(), &status), status);
    }
    atomic_store(&head.is_deaf, false);
    int before = ups.count;
    shoal_session_redial(session, shoal_clock_ms());
    turn_until(session, &ups, before + 1);
    CHECK(ups.others == 0);
    shoal_session_destroy(&session);
    scripted_head_stop(&head);
}

static void
forget_the_peer(scripted_head_t *head, const shoal_message_t *message)
{
    if (message->type == SHOAL_MSG_ASK) {
        (void)snprintf(head->id, sizeof(head->id), "head-2");
        scripted_head_error(head, SHOAL_PROTOCOL, 0, SHOAL_MSG_ASK, false, "HELLO comes first");
    }
}

static void
a_head_that_has_forgotten_it_gets_a_new_hello(void)
{
    scripted_head_t head;
    scripted_head_start(&head, forget_the_peer);
    ups_t ups = {0};
    const shoal_session_listener_t listener = {.ctx = &ups, .up = count_up};
    shoal_session_t *session = session_to(head.endpoint, &listener);
    turn_until(session, &ups, 1);
    shoal_message_t ask = {.type = SHOAL_MSG_ASK};
    ask.ask.request = shoal_session_request(session);
    ask.ask.what = SHOAL_SLICE("head");
    CHECK(shoal_session_send(session, &ask, SHOAL_SLICE_NONE));
    turn_until(session, &ups, 2);
    CHECK(ups.others == 1);
    assert_string_equal(shoal_session_head(session), "head-2");
    shoal_session_destroy(&session);
    scripted_head_stop(&head);
}

static void
refuse_the_peer(scripted_head_t *head, const shoal_message_t *message)
{
    scripted_head_error(head, SHOAL_UNSUPPORTED, 0, (unsigned)message->type, true,
                        "the head speaks protocol 2");
}

static void
a_refusal_is_final(void)
{
    scripted_head_t head;
    scripted_head_start(&head, refuse_the_peer);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_session_t *session = session_to(head.endpoint, NULL);
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    CHECK_FAILS(shoal_session_ask(session, "head", NULL, 5000, &body, &status), status,
                SHOAL_UNSUPPORTED);
    CHECK_SAYS(status.text, "the head speaks protocol 2");
    CHECK(shoal_session_next(session) == SHOAL_TIME_NEVER);
    CHECK(shoal_session_socket(session) == NULL);
    shoal_session_destroy(&session);
    shoal_buffer_fini(&body);
    scripted_head_stop(&head);
}

static void
send_rubbish(scripted_head_t *head, const shoal_message_t *message)
{
    (void)message;
    shoal_slice_t identity = shoal_parcel_identity(&head->parcel);
    (void)zmq_send(head->socket, identity.ptr, identity.len, ZMQ_SNDMORE);
    (void)zmq_send(head->socket, "GET / HTTP/1.1", 14, 0);
}

static void
what_does_not_speak_the_protocol_is_left(void)
{
    scripted_head_t head;
    scripted_head_start(&head, send_rubbish);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_session_t *session = session_to(head.endpoint, NULL);
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    CHECK_FAILS(shoal_session_ask(session, "head", NULL, 5000, &body, &status), status,
                SHOAL_PROTOCOL);
    CHECK_SAYS(status.text, "cannot be understood");
    shoal_session_destroy(&session);
    shoal_buffer_fini(&body);
    scripted_head_stop(&head);
}

TEST_MAIN(TEST(a_question_is_answered), TEST(what_is_no_head_is_said_at_once),
          TEST(a_socket_that_a_killed_head_has_left_is_told_at_once),
          TEST(silence_is_an_error_after_its_time),
          TEST(it_beats_and_dials_again_when_the_head_is_silent),
          TEST(a_head_that_has_forgotten_it_gets_a_new_hello), TEST(a_refusal_is_final),
          TEST(what_does_not_speak_the_protocol_is_left))
