// SPDX-License-Identifier: Apache-2.0
//
// test_session.c - what worker/session.h promises, with a head and a clock that the test plays.

#include <poll.h>

#include "proto/record/cursor.h"
#include "tests/support/probe_class.h"
#include "tests/support/test.h"
#include "worker/session.h"

#define SENT_MAX    256
#define DEADLINE_MS 20000

typedef struct stage {
    probe_t probe;
    shoal_class_t class;
    const shoal_class_t *classes[1];
    shoal_slots_t *slots;
    shoal_session_t *session;
    uint64_t now_ms;
    shoal_message_type_t sent[SENT_MAX]; // what the session said
    size_t sent_count;
    shoal_msg_result_t last_result; // without its texts
    uint64_t hello_window;
    shoal_buffer_t hello_running;
    bool is_full;
} stage_t;

static shoal_sent_t
record_sent(void *ctx, const shoal_message_t *message, zmq_msg_t *payload)
{
    stage_t *stage = ctx;
    (void)payload;
    if (stage->is_full) {
        return SHOAL_SENT_FULL;
    }
    CHECK(stage->sent_count < SENT_MAX);
    stage->sent[stage->sent_count++] = message->type;
    if (message->type == SHOAL_MSG_RESULT) {
        stage->last_result = message->result;
    }
    if (message->type == SHOAL_MSG_HELLO) {
        stage->hello_window = message->hello.window;
        shoal_buffer_clear(&stage->hello_running);
        shoal_buffer_append_slice(&stage->hello_running, message->hello.running);
    }
    return SHOAL_SENT;
}

static void
open_stage(stage_t *stage)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    *stage = (stage_t){.now_ms = 1000};
    stage->class = probe_class(&stage->probe);
    stage->classes[0] = &stage->class;
    shoal_identity_t identity = {.id = "w1",
                                 .incarnation = 1,
                                 .name = "test",
                                 .slots = 1,
                                 .window = 2,
                                 .drain_ms = 400,
                                 .classes = stage->classes,
                                 .class_count = 1};
    CHECK_OK(shoal_slots_new(1, 32, NULL, &stage->slots, &status), status);
    stage->session =
        shoal_session_new(&identity, stage->slots, record_sent, stage, /*seed=*/42, NULL);
}

static void
close_stage(stage_t *stage)
{
    shoal_slots_destroy(&stage->slots);
    shoal_session_destroy(&stage->session);
    CHECK(stage->session == NULL);
    shoal_buffer_fini(&stage->hello_running);
}

static void
set_frame(zmq_msg_t *frame, const void *bytes, size_t len)
{
    CHECK(zmq_msg_init_size(frame, len) == 0);
    if (len > 0) {
        memcpy(zmq_msg_data(frame), bytes, len);
    }
}

// The head says `message`.
static void
hear(stage_t *stage, const shoal_message_t *message)
{
    shoal_parcel_t parcel;
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    unsigned char header[SHOAL_WIRE_HEADER_SIZE];
    shoal_parcel_init(&parcel);
    shoal_header_encode(message->type, header);
    shoal_body_encode(message, &body);
    set_frame(&parcel.header, header, sizeof(header));
    set_frame(&parcel.body, body.ptr, body.len);
    parcel.has_payload = shoal_message_has_payload(message->type);
    parcel.frames = parcel.has_payload ? 3 : 2;
    shoal_session_take(stage->session, &parcel, stage->now_ms);
    shoal_parcel_fini(&parcel);
    shoal_buffer_fini(&body);
}

static void
hear_welcome(stage_t *stage, const char *head)
{
    shoal_message_t welcome = {.type = SHOAL_MSG_WELCOME,
                               .welcome = {.head = shoal_slice_of(head),
                                           .heartbeat_ms = 100,
                                           .liveness_ms = 500,
                                           .lease_ms = 1000,
                                           .batch_bytes = 65536,
                                           .record_bytes = 1048576}};
    hear(stage, &welcome);
}

static void
hear_heartbeat(stage_t *stage)
{
    shoal_message_t beat = {.type = SHOAL_MSG_HEARTBEAT};
    hear(stage, &beat);
}

static void
hear_actor(stage_t *stage)
{
    shoal_message_t actor = {.type = SHOAL_MSG_ACTOR,
                             .actor = {.actor = 1, .class_name = SHOAL_SLICE("probe")}};
    hear(stage, &actor);
}

static void
hear_call_args(stage_t *stage, uint64_t call, const char *method, shoal_slice_t args)
{
    shoal_message_t message = {.type = SHOAL_MSG_CALL,
                               .call = {.call = call,
                                        .attempt = 1,
                                        .actor = 1,
                                        .method = shoal_slice_of(method),
                                        .args = args}};
    hear(stage, &message);
}

static void
hear_call(stage_t *stage, uint64_t call, const char *method)
{
    hear_call_args(stage, call, method, SHOAL_SLICE_NONE);
}

static void
make_ready(stage_t *stage)
{
    open_stage(stage);
    shoal_session_opened(stage->session, stage->now_ms);
    hear_welcome(stage, "head-1");
    CHECK(shoal_session_state(stage->session) == SHOAL_SESSION_READY);
    hear_actor(stage);
    stage->sent_count = 0;
}

// Pumps until the session has said `count` messages since they were counted last.
static void
pump_until(stage_t *stage, size_t count)
{
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    while (stage->sent_count < count) {
        CHECK(shoal_clock_ms() < deadline_ms);
        struct pollfd item = {shoal_slots_fd(stage->slots), POLLIN, 0};
        (void)poll(&item, 1, 10);
        shoal_session_pump(stage->session, 100, stage->now_ms);
    }
    CHECK(stage->sent_count == count);
}

static void
wait_until_it_runs(stage_t *stage)
{
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    while (stage->probe.running == 0) {
        CHECK(shoal_clock_ms() < deadline_ms);
        (void)poll(NULL, 0, 1);
    }
}

static void
it_says_hello_when_connected_and_is_ready_after_welcome(void)
{
    stage_t stage;
    open_stage(&stage);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_WAITING);
    CHECK(shoal_session_next(stage.session) == 0); // the first dial is due at once
    shoal_session_opened(stage.session, stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_GREETING);
    CHECK(stage.sent_count == 1 && stage.sent[0] == SHOAL_MSG_HELLO && stage.hello_window == 2);
    CHECK(!shoal_session_wants_news(stage.session));
    hear_welcome(&stage, "head-1");
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_READY);
    CHECK(shoal_session_wants_news(stage.session));
    close_stage(&stage);
}

// What may happen to a session, in the order of the columns of docs/state-machines.md.
typedef enum event {
    EVENT_OPENED,
    EVENT_WELCOME,
    EVENT_OTHER_WELCOME,
    EVENT_HELLO_FIRST,
    EVENT_ERROR,
    EVENT_CLOSING,
    EVENT_BYE,
    EVENT_CUT,
    EVENT_UNREADABLE,
    EVENT_SILENCE,
    EVENT_HEARTBEAT,
    EVENT_CALL,
    EVENT_DRAIN,
    EVENT_COUNT
} event_t;

static const char *const state_names[] = {
    [SHOAL_SESSION_WAITING] = "WAITING",
    [SHOAL_SESSION_GREETING] = "GREETING",
    [SHOAL_SESSION_READY] = "READY",
    [SHOAL_SESSION_ENDED] = "ENDED",
};

static void
bring(stage_t *stage, shoal_session_state_t state)
{
    open_stage(stage);
    if (state == SHOAL_SESSION_WAITING) {
        return;
    }
    shoal_session_opened(stage->session, stage->now_ms);
    if (state == SHOAL_SESSION_GREETING) {
        return;
    }
    hear_welcome(stage, "head-1");
    if (state == SHOAL_SESSION_ENDED) {
        shoal_session_drain(stage->session, 400, "the test drains it", stage->now_ms);
        shoal_session_tick(stage->session, stage->now_ms);
    }
}

static void
hear_garbage(stage_t *stage)
{
    shoal_parcel_t parcel;
    shoal_parcel_init(&parcel);
    set_frame(&parcel.header, "garbage!", 8);
    set_frame(&parcel.body, "", 0);
    parcel.frames = 2;
    shoal_session_take(stage->session, &parcel, stage->now_ms);
    shoal_parcel_fini(&parcel);
}

static void
happen(stage_t *stage, event_t event)
{
    shoal_message_t error = {.type = SHOAL_MSG_ERROR,
                             .error = {.code = SHOAL_LIMIT, .reason = SHOAL_SLICE("why")}};
    shoal_message_t bye = {.type = SHOAL_MSG_BYE};
    switch (event) {
    case EVENT_OPENED: shoal_session_opened(stage->session, stage->now_ms); break;
    case EVENT_WELCOME: hear_welcome(stage, "head-1"); break;
    case EVENT_OTHER_WELCOME: hear_welcome(stage, "head-2"); break;
    case EVENT_HELLO_FIRST:
        error.error.code = SHOAL_PROTOCOL;
        hear(stage, &error);
        break;
    case EVENT_ERROR: hear(stage, &error); break;
    case EVENT_CLOSING:
        error.error.closing = true;
        hear(stage, &error);
        break;
    case EVENT_BYE: hear(stage, &bye); break;
    case EVENT_CUT: shoal_session_closed(stage->session, "cut", stage->now_ms); break;
    case EVENT_UNREADABLE: hear_garbage(stage); break;
    case EVENT_SILENCE:
        stage->now_ms += SHOAL_LIVENESS_MS_INITIAL;
        shoal_session_tick(stage->session, stage->now_ms);
        break;
    case EVENT_HEARTBEAT: hear_heartbeat(stage); break;
    case EVENT_CALL:
        hear_actor(stage);
        hear_call(stage, 1, "echo");
        break;
    case EVENT_DRAIN:
        shoal_session_drain(stage->session, 400, "the test drains it", stage->now_ms);
        shoal_session_tick(stage->session, stage->now_ms);
        break;
    case EVENT_COUNT:
    default: break;
    }
}

// The text of docs/state-machines.md between two headings.
static const char *
section_read(const char *heading)
{
    FILE *file = fopen("docs/state-machines.md", "r");
    CHECK(file != NULL);
    static char text[65536];
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    char *from = strstr(text, heading);
    CHECK(from != NULL);
    char *to = strstr(from + 3, "\n## ");
    if (to) {
        *to = '\0';
    }
    return from;
}

static void
each_state_meets_each_event(void)
{
    const char *section = section_read("## The worker's session with the head");
    for (int state = SHOAL_SESSION_WAITING; state <= SHOAL_SESSION_ENDED; state++) {
        char row[512];
        int len = snprintf(row, sizeof(row), "| %s |", state_names[state]);
        for (int event = 0; event < EVENT_COUNT; event++) {
            stage_t stage;
            int to = state;
            // A connection is opened in WAITING only: that is whose dial it is.
            if (event != EVENT_OPENED || state == SHOAL_SESSION_WAITING) {
                bring(&stage, (shoal_session_state_t)state);
                CHECK((int)shoal_session_state(stage.session) == state);
                happen(&stage, (event_t)event);
                to = (int)shoal_session_state(stage.session);
                close_stage(&stage);
            }
            len += snprintf(row + len, sizeof(row) - (size_t)len, " %s |",
                            to == state ? "" : state_names[to]);
        }
        CHECK_SAYS(section, row);
    }
}

//
static void
waits_between_dials_double_with_jitter_up_to_their_limit(void)
{
    stage_t stage;
    open_stage(&stage);
    uint64_t bound_ms = SHOAL_BACKOFF_MS_MIN;
    for (int i = 0; i < 20; i++) {
        shoal_session_opened(stage.session, stage.now_ms);
        shoal_session_closed(stage.session, "refused", stage.now_ms);
        uint64_t wait_ms = shoal_session_next(stage.session) - stage.now_ms;
        CHECK(wait_ms >= bound_ms / 2 && wait_ms <= bound_ms);
        bound_ms = bound_ms * 2 < SHOAL_BACKOFF_MS_MAX ? bound_ms * 2 : SHOAL_BACKOFF_MS_MAX;
        stage.now_ms += wait_ms;
    }
    CHECK(bound_ms == SHOAL_BACKOFF_MS_MAX);
    // Only a connection that held makes them short again.
    shoal_session_opened(stage.session, stage.now_ms);
    hear_welcome(&stage, "head-1");
    shoal_session_closed(stage.session, "gone", stage.now_ms);
    CHECK(shoal_session_next(stage.session) >= stage.now_ms + SHOAL_BACKOFF_MS_MAX / 2);
    shoal_session_opened(stage.session, stage.now_ms);
    hear_welcome(&stage, "head-1");
    hear_heartbeat(&stage);
    shoal_session_closed(stage.session, "gone", stage.now_ms);
    CHECK(shoal_session_next(stage.session) <= stage.now_ms + SHOAL_BACKOFF_MS_MIN);
    close_stage(&stage);
}

//
static void
it_sends_a_heartbeat_each_interval(void)
{
    stage_t stage;
    make_ready(&stage);
    CHECK(shoal_session_next(stage.session) == 1100);
    stage.now_ms = 1099;
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(stage.sent_count == 0);
    for (size_t i = 1; i <= 4; i++) {
        stage.now_ms = 1000 + i * 100;
        shoal_session_tick(stage.session, stage.now_ms);
        CHECK(stage.sent_count == i && stage.sent[i - 1] == SHOAL_MSG_HEARTBEAT);
    }
    close_stage(&stage);
}

static void
a_head_that_is_silent_for_its_liveness_is_lost_and_any_message_is_a_sign(void)
{
    stage_t stage;
    make_ready(&stage);
    stage.now_ms = 1499;
    hear_heartbeat(&stage);
    stage.now_ms = 1998;
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_READY);
    stage.now_ms = 1999;
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_WAITING);
    // HELLO without an answer ends in the same time.
    shoal_session_opened(stage.session, stage.now_ms);
    CHECK(shoal_session_next(stage.session) == 2499);
    stage.now_ms = 2499;
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_WAITING);
    close_stage(&stage);
}

static void
a_welcome_that_cannot_work_is_refused(void)
{
    stage_t stage;
    open_stage(&stage);
    shoal_session_opened(stage.session, stage.now_ms);
    shoal_message_t welcome = {.type = SHOAL_MSG_WELCOME,
                               .welcome = {.head = SHOAL_SLICE("h"),
                                           .heartbeat_ms = 100,
                                           .liveness_ms = 100,
                                           .lease_ms = 1,
                                           .batch_bytes = 1,
                                           .record_bytes = 1}};
    hear(&stage, &welcome);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_WAITING);
    close_stage(&stage);
}

static void
before_welcome_only_the_registration_is_heard(void)
{
    stage_t stage;
    open_stage(&stage);
    hear_welcome(&stage, "head-1"); // no connection: nobody can have said that
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_WAITING);
    shoal_session_opened(stage.session, stage.now_ms);
    stage.sent_count = 0;
    hear_call(&stage, 1, "echo");
    CHECK(stage.sent_count == 0);
    hear_welcome(&stage, "head-1");
    shoal_session_pump(stage.session, 10, stage.now_ms);
    CHECK(stage.sent_count == 0);
    close_stage(&stage);
}

static void
an_error_that_closes_ends_the_connection_and_bye_too(void)
{
    stage_t stage;
    make_ready(&stage);
    shoal_message_t error = {
        .type = SHOAL_MSG_ERROR,
        .error = {.code = SHOAL_LIMIT, .reason = SHOAL_SLICE("too much"), .closing = true}};
    hear(&stage, &error);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_WAITING);
    shoal_session_opened(stage.session, stage.now_ms);
    hear_welcome(&stage, "head-1");
    error.error.closing = false; // only told
    hear(&stage, &error);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_READY);
    shoal_message_t bye = {.type = SHOAL_MSG_BYE};
    hear(&stage, &bye);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_WAITING);
    close_stage(&stage);
}

static void
a_full_socket_is_tried_again_and_nothing_is_lost(void)
{
    stage_t stage;
    make_ready(&stage);
    hear_call(&stage, 1, "echo");
    stage.is_full = true;
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    while (shoal_session_wants_news(stage.session)) {
        CHECK(shoal_clock_ms() < deadline_ms);
        shoal_session_pump(stage.session, 10, stage.now_ms);
    }
    CHECK(shoal_session_next(stage.session) <= stage.now_ms + 20); // soon
    stage.is_full = false;
    stage.now_ms += 20;
    shoal_session_tick(stage.session, stage.now_ms);
    pump_until(&stage, 1);
    CHECK(stage.sent[0] == SHOAL_MSG_RESULT && stage.last_result.call == 1);
    close_stage(&stage);
}

static void
calls_beyond_the_queue_are_answered_with_its_limit(void)
{
    stage_t stage;
    make_ready(&stage);
    hear_call(&stage, 1, "hang");
    wait_until_it_runs(&stage);
    for (uint64_t call = 2; call <= 2 * SHOAL_CALLS_PER_WINDOW + 1; call++) {
        hear_call(&stage, call, "echo");
    }
    hear_call(&stage, 2, "echo"); // told twice: it is there already
    hear_call(&stage, 1000, "echo");
    pump_until(&stage, 1);
    CHECK(stage.last_result.call == 1000 && stage.last_result.outcome == SHOAL_OUTCOME_FAILED);
    CHECK(stage.last_result.code == SHOAL_LIMIT);
    CHECK(stage.last_result.error_class == SHOAL_TRANSIENT);
    close_stage(&stage);
}

static void
a_head_that_acknowledges_nothing_is_left(void)
{
    stage_t stage;
    make_ready(&stage);
    for (uint64_t call = 1; call <= SHOAL_RESULTS_KEPT_MAX; call++) {
        stage.sent_count = 0;
        hear_call(&stage, call, "echo");
        pump_until(&stage, 1);
        CHECK(stage.last_result.outcome == SHOAL_OUTCOME_DONE);
    }
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_READY);
    hear_call(&stage, SHOAL_RESULTS_KEPT_MAX + 1, "echo");
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_WAITING);
    close_stage(&stage);
}

//
static void
a_call_that_ended_without_a_connection_is_named_as_running_and_reported(void)
{
    stage_t stage;
    make_ready(&stage);
    hear_call(&stage, 1, "echo");
    shoal_session_closed(stage.session, "gone", stage.now_ms);
    struct pollfd item = {shoal_slots_fd(stage.slots), POLLIN, 0};
    CHECK(poll(&item, 1, DEADLINE_MS) == 1); // it has ended, and the session does not know yet
    shoal_session_opened(stage.session, stage.now_ms);
    CHECK(shoal_slice_equal(shoal_buffer_slice(&stage.hello_running),
                            SHOAL_SLICE("\xdd\x00\x00\x00\x01\x92\x01\x01")));
    hear_welcome(&stage, "head-1");
    stage.sent_count = 0;
    pump_until(&stage, 1);
    CHECK(stage.last_result.call == 1 && stage.last_result.outcome == SHOAL_OUTCOME_DONE);
    close_stage(&stage);
}

//
static void
another_head_may_use_the_number_of_a_call_that_is_still_running(void)
{
    stage_t stage;
    make_ready(&stage);
    hear_call(&stage, 1, "hang");
    wait_until_it_runs(&stage);
    shoal_session_closed(stage.session, "gone", stage.now_ms);
    shoal_session_opened(stage.session, stage.now_ms);
    hear_welcome(&stage, "head-2");
    stage.sent_count = 0;
    hear_actor(&stage);
    hear_call(&stage, 1, "echo");
    pump_until(&stage, 1);
    CHECK(stage.last_result.call == 1 && stage.last_result.outcome == SHOAL_OUTCOME_DONE);
    close_stage(&stage);
}

static void
an_idle_worker_drains_at_once_and_says_bye(void)
{
    stage_t stage;
    make_ready(&stage);
    shoal_session_drain(stage.session, SHOAL_TIME_NEVER, "a test", stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_ENDED);
    CHECK(stage.sent_count == 2 && stage.sent[0] == SHOAL_MSG_WINDOW);
    CHECK(stage.sent[1] == SHOAL_MSG_BYE);
    shoal_session_drain(stage.session, SHOAL_TIME_NEVER, "a test", stage.now_ms); // is fine
    CHECK(shoal_session_next(stage.session) == SHOAL_TIME_NEVER);
    close_stage(&stage);
}

static void
a_worker_without_a_connection_drains_at_once(void)
{
    stage_t stage;
    open_stage(&stage);
    shoal_session_drain(stage.session, SHOAL_TIME_NEVER, "a test", stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_ENDED);
    CHECK(stage.sent_count == 0);
    close_stage(&stage);
}

static void
draining_waits_for_the_acknowledgement_but_not_for_ever(void)
{
    stage_t stage;
    make_ready(&stage);
    hear_call(&stage, 1, "echo");
    pump_until(&stage, 1);
    shoal_session_drain(stage.session, SHOAL_TIME_NEVER, "a test", stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_READY);
    CHECK(shoal_session_next(stage.session) <= stage.now_ms + 500);
    stage.now_ms += 499;
    hear_heartbeat(&stage); // with no acknowledgement
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_READY);
    stage.now_ms += 1;
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_ENDED);
    close_stage(&stage);
}

static void
a_worker_that_registers_while_it_drains_offers_no_window(void)
{
    stage_t stage;
    make_ready(&stage);
    hear_call(&stage, 1, "hang");
    wait_until_it_runs(&stage);
    shoal_session_drain(stage.session, SHOAL_TIME_NEVER, "a test", stage.now_ms);
    shoal_session_closed(stage.session, "gone", stage.now_ms);
    shoal_session_opened(stage.session, stage.now_ms);
    CHECK(stage.hello_window == 0);
    stage.sent_count = 0;
    hear_welcome(&stage, "head-1");
    CHECK(stage.sent_count == 1 && stage.sent[0] == SHOAL_MSG_WINDOW);
    // Without a head for its liveness there is nobody to finish for.
    shoal_session_closed(stage.session, "gone", stage.now_ms);
    stage.now_ms += 500;
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_ENDED);
    close_stage(&stage);
}

// Whether a call may write now.
static bool
may_write(stage_t *stage, uint64_t call)
{
    stage->sent_count = 0;
    hear_call_args(stage, call, "write", SHOAL_SLICE("\x01"));
    pump_until(stage, 1);
    CHECK(stage->last_result.call == call);
    return stage->last_result.outcome == SHOAL_OUTCOME_DONE;
}

//
static void
writing_is_allowed_from_when_an_answered_heartbeat_went_out(void)
{
    stage_t stage;
    make_ready(&stage);
    CHECK(may_write(&stage, 1));
    shoal_slots_may_write(stage.slots, 0); // as if a lease had passed
    CHECK(!may_write(&stage, 2) && stage.last_result.outcome == SHOAL_OUTCOME_RETURNED);
    hear_heartbeat(&stage); // which answers nothing
    CHECK(!may_write(&stage, 3));
    stage.now_ms = 1100;
    shoal_session_tick(stage.session, stage.now_ms); // HEARTBEAT
    stage.now_ms = 2100;
    hear_heartbeat(&stage); // its answer was read a lease later: the process was stopped
    CHECK(!may_write(&stage, 4));
    shoal_session_tick(stage.session, stage.now_ms);
    stage.now_ms += 100;
    shoal_session_tick(stage.session, stage.now_ms);
    hear_heartbeat(&stage);
    CHECK(may_write(&stage, 5));
    close_stage(&stage);
}

// A cancelled call whose end waits among the news, while there is no registration, does not hang.
static void
an_end_that_cannot_be_told_yet_is_no_hang(void)
{
    stage_t stage;
    make_ready(&stage);
    hear_call(&stage, 1, "hang");
    wait_until_it_runs(&stage);
    shoal_message_t cancel = {.type = SHOAL_MSG_CANCEL, .cancel = {.call = 1, .attempt = 1}};
    hear(&stage, &cancel);
    CHECK(shoal_session_next(stage.session) <= stage.now_ms + 1000);
    shoal_session_closed(stage.session, "gone", stage.now_ms);
    struct pollfd item = {shoal_slots_fd(stage.slots), POLLIN, 0};
    CHECK(poll(&item, 1, DEADLINE_MS) == 1); // it has ended
    stage.now_ms += 1000;
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(!shoal_session_is_hung(stage.session) && shoal_session_is_stuck(stage.session));
    shoal_session_opened(stage.session, stage.now_ms);
    hear_welcome(&stage, "head-1");
    stage.sent_count = 0;
    pump_until(&stage, 1);
    CHECK(stage.last_result.call == 1 && stage.last_result.outcome == SHOAL_OUTCOME_CANCELLED);
    CHECK(!shoal_session_is_stuck(stage.session));
    close_stage(&stage);
}

static void
a_hung_slot_is_told_after_its_patience_and_the_session_ends_without_it(void)
{
    stage_t stage;
    make_ready(&stage);
    hear_call(&stage, 1, "stubborn");
    wait_until_it_runs(&stage);
    shoal_message_t cancel = {.type = SHOAL_MSG_CANCEL, .cancel = {.call = 1, .attempt = 1}};
    hear(&stage, &cancel);
    stage.now_ms += 400; // the lease is 1000
    hear_heartbeat(&stage);
    shoal_session_tick(stage.session, stage.now_ms);
    stage.now_ms += 400;
    hear_heartbeat(&stage);
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(!shoal_session_is_hung(stage.session));
    stage.now_ms += 200;
    stage.sent_count = 0;
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(shoal_session_is_hung(stage.session));
    shoal_session_pump(stage.session, 10, stage.now_ms);
    CHECK(stage.last_result.call == 1 && stage.last_result.outcome == SHOAL_OUTCOME_CANCELLED);
    shoal_message_t ack = {.type = SHOAL_MSG_ACK, .ack = {.seq = 1}};
    hear(&stage, &ack);
    shoal_session_tick(stage.session, stage.now_ms);
    CHECK(shoal_session_state(stage.session) == SHOAL_SESSION_ENDED);
    CHECK(shoal_session_is_hung(stage.session) && shoal_session_is_stuck(stage.session));
    atomic_store(&stage.probe.is_released, true);
    close_stage(&stage);
}

TEST_MAIN(TEST(it_says_hello_when_connected_and_is_ready_after_welcome),
          TEST(each_state_meets_each_event),
          TEST(waits_between_dials_double_with_jitter_up_to_their_limit),
          TEST(it_sends_a_heartbeat_each_interval),
          TEST(a_head_that_is_silent_for_its_liveness_is_lost_and_any_message_is_a_sign),
          TEST(a_welcome_that_cannot_work_is_refused),
          TEST(before_welcome_only_the_registration_is_heard),
          TEST(an_error_that_closes_ends_the_connection_and_bye_too),
          TEST(a_full_socket_is_tried_again_and_nothing_is_lost),
          TEST(calls_beyond_the_queue_are_answered_with_its_limit),
          TEST(a_head_that_acknowledges_nothing_is_left),
          TEST(a_call_that_ended_without_a_connection_is_named_as_running_and_reported),
          TEST(another_head_may_use_the_number_of_a_call_that_is_still_running),
          TEST(an_idle_worker_drains_at_once_and_says_bye),
          TEST(a_worker_without_a_connection_drains_at_once),
          TEST(draining_waits_for_the_acknowledgement_but_not_for_ever),
          TEST(a_worker_that_registers_while_it_drains_offers_no_window),
          TEST(writing_is_allowed_from_when_an_answered_heartbeat_went_out),
          TEST(an_end_that_cannot_be_told_yet_is_no_hang),
          TEST(a_hung_slot_is_told_after_its_patience_and_the_session_ends_without_it))
