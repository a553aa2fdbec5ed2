// SPDX-License-Identifier: Apache-2.0
//
// test_link.c - the worker process against a head that the test plays: docs/protocol.md, sections
// 4 to 6.
//
// The worker runs in a process of its own, forked before this one has any thread.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/support/fake_head.h"
#include "tests/support/probe_class.h"
#include "worker/link.h"
#include "worker/supervisor.h"

#define HEARTBEAT_MS 50
#define LIVENESS_MS  5000
#define LAST_EXIT    "\x81\xa6signal\x0b"

typedef struct worker {
    fake_head_t head;
    pid_t pid;
} worker_t;

static probe_t probe;

static int
run_link(const fake_head_t *head, uint32_t slots, uint64_t incarnation, shoal_slice_t last_exit)
{
    shoal_class_t class = probe_class(&probe);
    const shoal_class_t *classes[] = {&class};
    shoal_status_t status = SHOAL_STATUS_INIT;
    const char *level = getenv("SHOAL_TEST_LOG");
    shoal_log_t *log =
        shoal_log_new(STDERR_FILENO, "worker", level ? SHOAL_LOG_DEBUG : SHOAL_LOG_ERROR);
    shoal_link_config_t config = {.endpoint = head->endpoint,
                                  .identity = {.id = "w1",
                                               .incarnation = incarnation,
                                               .name = "test",
                                               .slots = slots,
                                               .window = 2 * slots,
                                               .drain_ms = 60000,
                                               .classes = classes,
                                               .class_count = 1,
                                               .last_exit = last_exit},
                                  .lifeline_fd = -1,
                                  .log = log};
    bool done = shoal_link_run(&config, &status);
    if (!done) {
        (void)fprintf(stderr, "worker: %s\n", status.text);
    }
    shoal_log_destroy(&log);
    return done ? 0 : 1;
}

// The head listens, a worker process has sent HELLO.
static void
start(worker_t *worker, uint32_t slots)
{
    fake_head_place(&worker->head);
    (void)fflush(NULL);
    worker->pid = fork();
    CHECK(worker->pid >= 0);
    if (worker->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        exit(run_link(&worker->head, slots, 7, SHOAL_SLICE(LAST_EXIT)));
    }
    fake_head_bind(&worker->head);
    const shoal_message_t *hello = fake_head_expect(&worker->head, SHOAL_MSG_HELLO);
    CHECK(shoal_slice_is(hello->hello.role, "worker"));
}

// And is registered, with actor 1 of the class probe.
static void
start_ready(worker_t *worker, uint32_t slots)
{
    start(worker, slots);
    fake_head_welcome(&worker->head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker->head, 1, "probe", SHOAL_SLICE_NONE);
}

// Drains the worker, which must end politely, and takes everything down.
static void
stop(worker_t *worker)
{
    int wait_status = 0;
    CHECK(kill(worker->pid, SIGTERM) == 0);
    do {
        CHECK(fake_head_take(&worker->head, FAKE_HEAD_DEADLINE_MS));
        if (worker->head.message.type == SHOAL_MSG_RESULT) {
            fake_head_ack(&worker->head, worker->head.message.result.seq);
        }
    } while (worker->head.message.type != SHOAL_MSG_BYE);
    CHECK(waitpid(worker->pid, &wait_status, 0) == worker->pid);
    CHECK(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
    fake_head_fini(&worker->head);
}

static void
a_worker_registers_and_answers_a_call(void)
{
    worker_t worker;
    start(&worker, 2);
    const shoal_msg_hello_t *hello = &worker.head.message.hello;
    CHECK(shoal_slice_is(hello->id, "w1"));
    CHECK(hello->incarnation == 7 && hello->slots == 2 && hello->window == 4);
    CHECK(shoal_slice_equal(hello->classes, SHOAL_SLICE("\x91\xa5probe")));
    CHECK(hello->running.len == 0);
    CHECK(shoal_slice_is(hello->last_exit, LAST_EXIT));
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 5, 1, "echo", 0, SHOAL_SLICE("\xa2hi"));
    const shoal_msg_result_t *result = &fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result;
    CHECK(result->seq == 1 && result->call == 5 && result->attempt == 1);
    CHECK(result->outcome == SHOAL_OUTCOME_DONE);
    CHECK(shoal_slice_equal(result->detail, SHOAL_SLICE("\xa2hi")));
    fake_head_ack(&worker.head, 1);
    stop(&worker);
}

// The next message is the end of that call.
static const shoal_msg_result_t *
expect_end(worker_t *worker, uint64_t call, shoal_outcome_t outcome)
{
    const shoal_msg_result_t *result = &fake_head_expect(&worker->head, SHOAL_MSG_RESULT)->result;
    if (result->call != call || result->outcome != (uint64_t)outcome) {
        fail_msg("call %d ended with %d (%.*s)", (int)result->call, (int)result->outcome,
                 SHOAL_SLICE_ARGS(result->reason));
    }
    fake_head_ack(&worker->head, result->seq);
    return result;
}

static shoal_slice_t
two_numbers(shoal_buffer_t *out, uint64_t a, uint64_t b)
{
    shoal_buffer_clear(out);
    shoal_write_array(out, 2);
    shoal_write_uint(out, a);
    shoal_write_uint(out, b);
    return shoal_buffer_slice(out);
}

//
static void
a_queued_call_is_cancelled_at_once_and_a_running_one_stops(void)
{
    worker_t worker;
    start_ready(&worker, 1);
    fake_head_call(&worker.head, 1, 1, "hang", 0, SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE_NONE);
    fake_head_cancel(&worker.head, 2);
    (void)expect_end(&worker, 2, SHOAL_OUTCOME_CANCELLED);
    fake_head_cancel(&worker.head, 1);
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_CANCELLED);
    stop(&worker);
}

//
static void
a_stream_stops_when_its_credit_is_used_up(void)
{
    worker_t worker;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    start_ready(&worker, 1);
    fake_head_call(&worker.head, 1, 1, "stream", 30000, two_numbers(&args, 20, 10000));
    for (uint64_t seq = 0; seq < 3; seq++) {
        const shoal_msg_batch_t *batch = &fake_head_expect(&worker.head, SHOAL_MSG_BATCH)->batch;
        CHECK(batch->call == 1 && batch->seq == seq && batch->records == 1 && !batch->more);
        shoal_slice_t payload = shoal_parcel_payload(&worker.head.parcel);
        CHECK(payload.len == 10000 && payload.ptr[0] == (char)('a' + seq));
    }
    CHECK(!fake_head_take(&worker.head, 4 * HEARTBEAT_MS));
    fake_head_grant(&worker.head, 1, 15000); // the second one overdraws
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_BATCH)->batch.seq == 3);
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_BATCH)->batch.seq == 4);
    CHECK(!fake_head_take(&worker.head, 4 * HEARTBEAT_MS));
    fake_head_grant(&worker.head, 1, 1000000);
    for (uint64_t seq = 5; seq < 20; seq++) {
        CHECK(fake_head_expect(&worker.head, SHOAL_MSG_BATCH)->batch.seq == seq);
    }
    const shoal_msg_result_t *result = expect_end(&worker, 1, SHOAL_OUTCOME_DONE);
    CHECK(result->batches == 20 && result->records == 20);
    shoal_buffer_fini(&args);
    stop(&worker);
}

static void
a_call_that_waits_for_credit_can_be_cancelled(void)
{
    worker_t worker;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    start_ready(&worker, 1);
    fake_head_call(&worker.head, 1, 1, "stream", 1, two_numbers(&args, 3, 100));
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_BATCH)->batch.seq == 0);
    fake_head_cancel(&worker.head, 1);
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_CANCELLED);
    shoal_buffer_fini(&args);
    stop(&worker);
}

//
static void
a_large_record_travels_in_chunks(void)
{
    worker_t worker;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    start_ready(&worker, 1);
    fake_head_call(&worker.head, 1, 1, "record", 10000000, two_numbers(&args, 1, 200000));
    size_t bytes = 0;
    for (uint64_t seq = 0; seq < 4; seq++) {
        const shoal_msg_batch_t *batch = &fake_head_expect(&worker.head, SHOAL_MSG_BATCH)->batch;
        CHECK(batch->seq == seq && batch->more == (seq < 3) && batch->records == (seq == 3));
        bytes += shoal_parcel_payload(&worker.head.parcel).len;
    }
    CHECK(bytes == 200000);
    const shoal_msg_result_t *result = expect_end(&worker, 1, SHOAL_OUTCOME_DONE);
    CHECK(result->batches == 4 && result->records == 1);
    // One above the limit of a record fails as data and sends nothing.
    fake_head_call(&worker.head, 2, 1, "record", 10000000,
                   two_numbers(&args, 1, SHOAL_RECORD_BYTES_MAX + 1));
    result = expect_end(&worker, 2, SHOAL_OUTCOME_FAILED);
    CHECK(result->error_class == SHOAL_DATA && result->code == SHOAL_LIMIT);
    CHECK(result->batches == 0);
    shoal_buffer_fini(&args);
    stop(&worker);
}

static void
what_cannot_run_fails_with_its_reason(void)
{
    worker_t worker;
    start_ready(&worker, 2);
    fake_head_actor(&worker.head, 2, "unheard-of", SHOAL_SLICE_NONE);
    fake_head_actor(&worker.head, 3, "probe", SHOAL_SLICE("\xa6refuse"));

    fake_head_call(&worker.head, 1, 1, "fail", 0, SHOAL_SLICE_NONE);
    const shoal_msg_result_t *result = expect_end(&worker, 1, SHOAL_OUTCOME_FAILED);
    CHECK(result->error_class == SHOAL_CONFIG && result->code == SHOAL_INVALID);
    CHECK(shoal_slice_is(result->key, "source.type"));

    fake_head_call(&worker.head, 2, 1, "nothing", 0, SHOAL_SLICE_NONE);
    CHECK(expect_end(&worker, 2, SHOAL_OUTCOME_FAILED)->code == SHOAL_NOT_FOUND);

    fake_head_call(&worker.head, 3, 2, "echo", 0, SHOAL_SLICE_NONE);
    CHECK(expect_end(&worker, 3, SHOAL_OUTCOME_FAILED)->code == SHOAL_UNAVAILABLE);

    fake_head_call(&worker.head, 4, 3, "echo", 0, SHOAL_SLICE_NONE);
    CHECK(expect_end(&worker, 4, SHOAL_OUTCOME_FAILED)->code == SHOAL_INVALID);

    fake_head_call(&worker.head, 5, 1, "huge", 0, SHOAL_SLICE_NONE);
    CHECK(expect_end(&worker, 5, SHOAL_OUTCOME_FAILED)->code == SHOAL_LIMIT);

    fake_head_call(&worker.head, 6, 1, "badfd", 0, SHOAL_SLICE_NONE);
    CHECK(expect_end(&worker, 6, SHOAL_OUTCOME_FAILED)->code == SHOAL_INVALID);

    fake_head_call(&worker.head, 7, 1, "garbage", 0, SHOAL_SLICE_NONE);
    CHECK(expect_end(&worker, 7, SHOAL_OUTCOME_FAILED)->code == SHOAL_INTERNAL);
    stop(&worker);
}

// The progress of `call` in the last heartbeat; 0: it is not in it.
static uint64_t
progress_of(const worker_t *worker, uint64_t call)
{
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&worker->head.progress));
    uint32_t count = worker->head.progress.len > 0 ? shoal_cursor_array(&cursor) : 0;
    for (uint32_t i = 0; i < count; i++) {
        (void)shoal_cursor_array(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        (void)shoal_cursor_uint(&cursor);
        uint64_t progress = shoal_cursor_uint(&cursor);
        if (number == call) {
            return progress;
        }
    }
    CHECK(!cursor.is_bad);
    return 0;
}

//
static void
heartbeats_carry_progress_that_grows_while_a_call_moves_waits_or_is_queued(void)
{
    worker_t worker;
    start_ready(&worker, 2);
    fake_head_call(&worker.head, 1, 1, "spin", 0, SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 2, 1, "hang", 0, SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 3, 1, "echo", 0, SHOAL_SLICE_NONE);
    uint64_t deadline_ms = shoal_clock_ms() + FAKE_HEAD_DEADLINE_MS;
    uint64_t first[4] = {0};
    bool has_grown = false;
    while (!has_grown) {
        CHECK(shoal_clock_ms() < deadline_ms);
        CHECK(!fake_head_take(&worker.head, HEARTBEAT_MS));
        has_grown = true;
        for (uint64_t call = 1; call <= 3; call++) {
            uint64_t number = progress_of(&worker, call);
            first[call] = first[call] ? first[call] : number;
            has_grown = has_grown && number > first[call];
        }
    }
    fake_head_cancel(&worker.head, 1);
    fake_head_cancel(&worker.head, 2);
    for (int i = 0; i < 3; i++) {
        fake_head_ack(&worker.head, fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result.seq);
    }
    stop(&worker);
}

// True if HELLO's `running` names the call.
static bool
hello_has(const worker_t *worker, uint64_t call)
{
    shoal_cursor_t cursor = shoal_cursor_over(worker->head.message.hello.running);
    uint32_t count = shoal_cursor_array(&cursor);
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(shoal_cursor_array(&cursor) == 2);
        found = shoal_cursor_uint(&cursor) == call || found;
        CHECK(shoal_cursor_uint(&cursor) == 1);
    }
    return found;
}

//
static void
after_the_connection_broke_it_registers_again_and_resends_results(void)
{
    worker_t worker;
    start_ready(&worker, 2);
    fake_head_call(&worker.head, 1, 1, "hang", 0, SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE_NONE);
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result.call == 2); // not acknowledged
    fake_head_unbind(&worker.head);
    fake_head_bind(&worker.head);
    const shoal_message_t *hello = fake_head_expect(&worker.head, SHOAL_MSG_HELLO);
    CHECK(shoal_slice_is(hello->hello.id, "w1") && hello->hello.incarnation == 7);
    CHECK(hello_has(&worker, 1) && hello_has(&worker, 2));
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    const shoal_msg_result_t *result = expect_end(&worker, 2, SHOAL_OUTCOME_DONE);
    CHECK(result->seq == 1);
    fake_head_cancel(&worker.head, 1);
    CHECK(expect_end(&worker, 1, SHOAL_OUTCOME_CANCELLED)->seq == 2);
    stop(&worker);
}

//
static void
told_to_say_hello_it_registers_on_the_same_connection(void)
{
    worker_t worker;
    start_ready(&worker, 1);
    shoal_message_t error = {.type = SHOAL_MSG_ERROR,
                             .error = {.code = SHOAL_PROTOCOL,
                                       .reason = SHOAL_SLICE("say HELLO first"),
                                       .refers = SHOAL_MSG_HEARTBEAT}};
    char peer[SHOAL_IDENTITY_MAX];
    size_t peer_len = worker.head.peer_len;
    memcpy(peer, worker.head.peer, peer_len);
    fake_head_send(&worker.head, &error, SHOAL_SLICE_NONE);
    fake_head_send(&worker.head, &error, SHOAL_SLICE_NONE); // a second one changes nothing
    (void)fake_head_expect(&worker.head, SHOAL_MSG_HELLO);
    CHECK(worker.head.peer_len == peer_len && memcmp(worker.head.peer, peer, peer_len) == 0);
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_call(&worker.head, 1, 1, "echo", 0, SHOAL_SLICE_NONE);
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_DONE);
    stop(&worker);
}

//
static void
a_call_that_writes_is_given_back_when_the_head_is_not_heard_for_its_lease(void)
{
    worker_t worker;
    start(&worker, 1);
    worker.head.lease_ms = 1500;
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 1, 1, "write", 0, SHOAL_SLICE_NONE);
    CHECK(!fake_head_take(&worker.head, 500)); // heartbeats are answered: it goes on
    worker.head.is_mute = true;
    uint64_t mute_ms = shoal_clock_ms();
    const shoal_msg_result_t *result = expect_end(&worker, 1, SHOAL_OUTCOME_RETURNED);
    CHECK(result->reason.len > 0);
    CHECK(shoal_clock_ms() < mute_ms + FAKE_HEAD_DEADLINE_MS / 2);
    worker.head.is_mute = false;
    CHECK(!fake_head_take(&worker.head, 4 * HEARTBEAT_MS));
    fake_head_call(&worker.head, 2, 1, "write", 0, SHOAL_SLICE("\x05"));
    (void)expect_end(&worker, 2, SHOAL_OUTCOME_DONE);
    stop(&worker);
}

static void
a_write_that_lasts_as_long_as_the_lease_is_refused(void)
{
    worker_t worker;
    start(&worker, 1);
    worker.head.lease_ms = 50;
    fake_head_welcome(&worker.head, "head-1", 20, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 1, 1, "write", 0, SHOAL_SLICE_NONE);
    const shoal_msg_result_t *result = expect_end(&worker, 1, SHOAL_OUTCOME_FAILED);
    CHECK(result->code == SHOAL_INVALID && result->error_class == SHOAL_CONFIG);
    stop(&worker);
}

//
static void
an_attempt_whose_stream_broke_is_given_back_and_one_that_sent_nothing_goes_on(void)
{
    worker_t worker;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    start_ready(&worker, 2);
    fake_head_call(&worker.head, 1, 1, "stream", 100, two_numbers(&args, 3, 100));
    fake_head_call(&worker.head, 2, 1, "hang", 0, SHOAL_SLICE_NONE);
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_BATCH)->batch.call == 1);
    fake_head_unbind(&worker.head);
    fake_head_bind(&worker.head);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_HELLO);
    CHECK(hello_has(&worker, 2));
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    const shoal_msg_result_t *result = expect_end(&worker, 1, SHOAL_OUTCOME_RETURNED);
    CHECK(result->reason.len > 0 && result->error_class == 0 && result->code == 0);
    CHECK(!fake_head_take(&worker.head, 2 * HEARTBEAT_MS));
    fake_head_cancel(&worker.head, 2);
    (void)expect_end(&worker, 2, SHOAL_OUTCOME_CANCELLED);
    shoal_buffer_fini(&args);
    stop(&worker);
}

//
static void
a_kept_result_of_a_stream_is_given_back_and_one_that_failed_stays_failed(void)
{
    worker_t worker;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    start_ready(&worker, 1);
    fake_head_call(&worker.head, 1, 1, "stream", 100000, two_numbers(&args, 1, 100));
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_BATCH)->batch.call == 1);
    const shoal_msg_result_t *result = &fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result;
    CHECK(result->outcome == SHOAL_OUTCOME_DONE && result->seq == 1); // not acknowledged
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE("\xa2hi"));
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result.call == 2);
    fake_head_call(&worker.head, 3, 1, "fail", 0, SHOAL_SLICE_NONE);
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result.call == 3);
    fake_head_unbind(&worker.head);
    fake_head_bind(&worker.head);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_HELLO);
    CHECK(hello_has(&worker, 1) && hello_has(&worker, 2) && hello_has(&worker, 3));
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    result = expect_end(&worker, 1, SHOAL_OUTCOME_RETURNED);
    CHECK(result->seq == 1 && result->reason.len > 0 && result->detail.len == 0);
    result = expect_end(&worker, 2, SHOAL_OUTCOME_DONE);
    CHECK(result->seq == 2 && shoal_slice_equal(result->detail, SHOAL_SLICE("\xa2hi")));
    CHECK(expect_end(&worker, 3, SHOAL_OUTCOME_FAILED)->error_class == SHOAL_CONFIG);
    shoal_buffer_fini(&args);
    stop(&worker);
}

//
static void
the_same_head_started_again_finds_everything_as_it_was(void)
{
    worker_t worker;
    start_ready(&worker, 2);
    fake_head_call(&worker.head, 1, 1, "hang", 0, SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE_NONE);
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result.call == 2);
    fake_head_unbind(&worker.head);
    fake_head_bind(&worker.head);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_HELLO);
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    (void)expect_end(&worker, 2, SHOAL_OUTCOME_DONE);
    fake_head_call(&worker.head, 3, 1, "echo", 0, SHOAL_SLICE_NONE); // its actor is still there
    (void)expect_end(&worker, 3, SHOAL_OUTCOME_DONE);
    fake_head_cancel(&worker.head, 1); // and the call still runs
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_CANCELLED);
    stop(&worker);
}

//
static void
another_head_gets_none_of_what_the_last_one_asked(void)
{
    worker_t worker;
    start_ready(&worker, 2);
    fake_head_call(&worker.head, 1, 1, "hang", 0, SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE_NONE);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_RESULT);
    fake_head_unbind(&worker.head);
    fake_head_bind(&worker.head);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_HELLO);
    fake_head_welcome(&worker.head, "head-2", HEARTBEAT_MS, LIVENESS_MS);
    CHECK(!fake_head_take(&worker.head, 2 * HEARTBEAT_MS));
    fake_head_call(&worker.head, 1, 1, "echo", 0, SHOAL_SLICE_NONE);
    CHECK(expect_end(&worker, 1, SHOAL_OUTCOME_FAILED)->code == SHOAL_UNAVAILABLE); // no actor
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 3, 1, "echo", 0, SHOAL_SLICE_NONE);
    (void)expect_end(&worker, 3, SHOAL_OUTCOME_DONE);
    stop(&worker);
}

//
static void
a_silent_head_is_dialed_again(void)
{
    worker_t worker;
    start(&worker, 1);
    char peer[SHOAL_IDENTITY_MAX];
    size_t peer_len = worker.head.peer_len;
    memcpy(peer, worker.head.peer, peer_len);
    worker.head.is_mute = true;
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, 1000);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_HELLO);
    CHECK(worker.head.peer_len != peer_len || memcmp(worker.head.peer, peer, peer_len) != 0);
    worker.head.is_mute = false;
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 1, 1, "echo", 0, SHOAL_SLICE_NONE);
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_DONE);
    stop(&worker);
}

//
static void
a_head_that_sends_nonsense_is_told_and_dialed_again(void)
{
    worker_t worker;
    start_ready(&worker, 1);
    fake_head_t *head = &worker.head;
    CHECK(zmq_send(head->socket, head->peer, head->peer_len, ZMQ_SNDMORE) >= 0);
    CHECK(zmq_send(head->socket, "no message", 10, 0) >= 0);
    const shoal_msg_error_t *error = &fake_head_expect(head, SHOAL_MSG_ERROR)->error;
    CHECK(error->closing && error->code == SHOAL_PROTOCOL);
    (void)fake_head_expect(head, SHOAL_MSG_HELLO);
    fake_head_welcome(head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    // A message that is not for workers is as bad; a number that is unknown is only answered.
    shoal_message_t hello = {.type = SHOAL_MSG_HELLO,
                             .hello = {.role = SHOAL_SLICE("worker"), .id = SHOAL_SLICE("x")}};
    fake_head_send(head, &hello, SHOAL_SLICE_NONE);
    CHECK(fake_head_expect(head, SHOAL_MSG_ERROR)->error.closing);
    (void)fake_head_expect(head, SHOAL_MSG_HELLO);
    fake_head_welcome(head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    CHECK(zmq_send(head->socket, head->peer, head->peer_len, ZMQ_SNDMORE) >= 0);
    CHECK(zmq_send(head->socket, "SH\x01\x00\x03\xe7\x00\x00", 8, ZMQ_SNDMORE) >= 0);
    CHECK(zmq_send(head->socket, "\x80", 1, 0) >= 0);
    error = &fake_head_expect(head, SHOAL_MSG_ERROR)->error;
    CHECK(!error->closing && error->code == SHOAL_UNSUPPORTED && error->refers == 999);
    CHECK(zmq_send(head->socket, head->peer, head->peer_len, ZMQ_SNDMORE) >= 0);
    CHECK(zmq_send(head->socket, "SH\x01\x00\x00\x00\x00\x00", 8, ZMQ_SNDMORE) >= 0);
    CHECK(zmq_send(head->socket, "\x80", 1, 0) >= 0);
    error = &fake_head_expect(head, SHOAL_MSG_ERROR)->error;
    CHECK(!error->closing && error->code == SHOAL_UNSUPPORTED); // 0 is a number as any other
    stop(&worker);
}

static void
a_dropped_actor_loses_its_instances_and_its_calls(void)
{
    worker_t worker;
    start_ready(&worker, 1);
    fake_head_call(&worker.head, 1, 1, "hang", 0, SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE_NONE);
    shoal_message_t drop = {.type = SHOAL_MSG_DROP_ACTOR, .drop_actor = {.actor = 1}};
    fake_head_send(&worker.head, &drop, SHOAL_SLICE_NONE);
    for (int i = 0; i < 2; i++) {
        const shoal_msg_result_t *result =
            &fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result;
        if (result->outcome != SHOAL_OUTCOME_CANCELLED) {
            fail_msg("call %d ended with %d (%.*s)", (int)result->call, (int)result->outcome,
                     SHOAL_SLICE_ARGS(result->reason));
        }
        fake_head_ack(&worker.head, result->seq);
    }
    fake_head_call(&worker.head, 3, 1, "echo", 0, SHOAL_SLICE_NONE);
    CHECK(expect_end(&worker, 3, SHOAL_OUTCOME_FAILED)->code == SHOAL_UNAVAILABLE);
    stop(&worker);
}

//
static void
told_to_drain_it_gives_back_what_has_not_started_and_finishes_the_rest(void)
{
    worker_t worker;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    start_ready(&worker, 1);
    fake_head_call(&worker.head, 1, 1, "stream", 100, two_numbers(&args, 2, 100));
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE_NONE);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_BATCH); // it waits for credit now
    CHECK(kill(worker.pid, SIGTERM) == 0);
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_WINDOW)->window.calls == 0);
    (void)expect_end(&worker, 2, SHOAL_OUTCOME_RETURNED);
    fake_head_call(&worker.head, 3, 1, "echo", 0, SHOAL_SLICE_NONE); // crossed WINDOW on its way
    (void)expect_end(&worker, 3, SHOAL_OUTCOME_RETURNED);
    fake_head_grant(&worker.head, 1, 1000);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_BATCH);
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_DONE);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_BYE);
    int wait_status = 0;
    CHECK(waitpid(worker.pid, &wait_status, 0) == worker.pid);
    CHECK(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
    shoal_buffer_fini(&args);
    fake_head_fini(&worker.head);
}

// The call has streamed a batch and waits when this returns.
static void
run_until_credit_is_used_up(worker_t *worker, uint64_t call)
{
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    fake_head_call(&worker->head, call, 1, "stream", 100, two_numbers(&args, 2, 100));
    CHECK(fake_head_expect(&worker->head, SHOAL_MSG_BATCH)->batch.call == call);
    shoal_buffer_fini(&args);
}

// Until the worker's BYE; results that come before are acknowledged. It exits with 0.
static void
expect_bye(worker_t *worker)
{
    int wait_status = 0;
    (void)fake_head_expect(&worker->head, SHOAL_MSG_BYE);
    CHECK(waitpid(worker->pid, &wait_status, 0) == worker->pid);
    CHECK(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
    fake_head_fini(&worker->head);
}

static void
tell_to_drain(worker_t *worker, uint64_t drain_ms)
{
    shoal_message_t drain = {.type = SHOAL_MSG_DRAIN, .drain = {.drain_ms = drain_ms}};
    fake_head_send(&worker->head, &drain, SHOAL_SLICE_NONE);
    CHECK(fake_head_expect(&worker->head, SHOAL_MSG_WINDOW)->window.calls == 0);
}

//
static void
what_runs_longer_than_it_may_is_given_back_and_the_worker_ends(void)
{
    worker_t worker;
    start_ready(&worker, 2);
    for (uint64_t call = 1; call <= 2; call++) {
        run_until_credit_is_used_up(&worker, call);
    }
    fake_head_call(&worker.head, 3, 1, "echo", 0, SHOAL_SLICE_NONE);
    uint64_t began_ms = shoal_clock_ms();
    tell_to_drain(&worker, 200);
    (void)expect_end(&worker, 3, SHOAL_OUTCOME_RETURNED);
    for (int i = 0; i < 2; i++) {
        const shoal_msg_result_t *result =
            &fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result;
        CHECK(result->outcome == SHOAL_OUTCOME_RETURNED && result->reason.len > 0);
        fake_head_ack(&worker.head, result->seq);
    }
    CHECK(shoal_clock_ms() >= began_ms + 200);
    expect_bye(&worker);
}

static void
a_signal_while_it_drains_for_the_head_changes_nothing_and_the_sooner_end_counts(void)
{
    worker_t worker;
    start_ready(&worker, 1);
    run_until_credit_is_used_up(&worker, 1);
    tell_to_drain(&worker, 3600000);
    shoal_message_t drain = {.type = SHOAL_MSG_DRAIN, .drain = {.drain_ms = 1}};
    CHECK(kill(worker.pid, SIGTERM) == 0);
    fake_head_send(&worker.head, &drain, SHOAL_SLICE_NONE);
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_RETURNED);
    expect_bye(&worker);
}

static void
a_slot_that_does_not_react_does_not_keep_a_worker_from_its_end(void)
{
    worker_t worker;
    start(&worker, 1);
    worker.head.lease_ms = 200;
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 1, 1, "stubborn", 100, SHOAL_SLICE_NONE);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_BATCH); // it runs
    tell_to_drain(&worker, 1);
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_RETURNED);
    expect_bye(&worker);
}

static void
a_second_signal_ends_it_at_once(void)
{
    worker_t worker;
    start_ready(&worker, 1);
    fake_head_call(&worker.head, 1, 1, "spin", 0, SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE_NONE);
    fake_head_cancel(&worker.head, 2);
    (void)expect_end(&worker, 2, SHOAL_OUTCOME_CANCELLED); // it is registered now
    CHECK(kill(worker.pid, SIGTERM) == 0);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_WINDOW);
    CHECK(kill(worker.pid, SIGTERM) == 0);
    int wait_status = 0;
    CHECK(waitpid(worker.pid, &wait_status, 0) == worker.pid);
    CHECK(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 128 + SIGTERM);
    fake_head_fini(&worker.head);
}

static void
many_calls_run_in_all_slots_and_none_is_lost(void)
{
    enum { CALLS = 2000, AHEAD = 64 };
    worker_t worker;
    bool ended[CALLS + 1] = {false};
    start_ready(&worker, 4);
    uint64_t sent = 0;
    for (uint64_t done = 0; done < CALLS; done++) {
        while (sent < CALLS && sent < done + AHEAD) {
            fake_head_call(&worker.head, ++sent, 1, "echo", 0, SHOAL_SLICE("\xa2hi"));
        }
        const shoal_msg_result_t *result =
            &fake_head_expect(&worker.head, SHOAL_MSG_RESULT)->result;
        CHECK(result->outcome == SHOAL_OUTCOME_DONE && result->seq == done + 1);
        CHECK(result->call <= CALLS && !ended[result->call]);
        ended[result->call] = true;
        if (done % 16 == 0) {
            fake_head_ack(&worker.head, done + 1);
        }
    }
    fake_head_ack(&worker.head, CALLS);
    stop(&worker);
}

static int
run_supervised(void *ctx, const shoal_birth_t *birth)
{
    shoal_buffer_t last_exit = SHOAL_BUFFER_INIT;
    shoal_exit_write(&birth->last_exit, &last_exit);
    int exit_status = run_link(ctx, 2, birth->incarnation, shoal_buffer_slice(&last_exit));
    shoal_buffer_fini(&last_exit);
    return exit_status;
}

static int
supervise(fake_head_t *head)
{
    shoal_supervisor_config_t config = {.run = run_supervised, .ctx = head, .lifeline_fd = -1};
    shoal_status_t status = SHOAL_STATUS_INIT;
    int exit_status = 99;
    return shoal_supervisor_run(&config, &exit_status, &status) ? exit_status : 98;
}

static void
start_supervised(worker_t *worker)
{
    fake_head_place(&worker->head);
    (void)fflush(NULL);
    worker->pid = fork();
    if (worker->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        exit(supervise(&worker->head));
    }
    fake_head_bind(&worker->head);
    (void)fake_head_expect(&worker->head, SHOAL_MSG_HELLO);
    CHECK(worker->head.message.hello.last_exit.len == 0);
}

//
static void
a_slot_that_does_not_react_to_a_cancel_costs_the_process_once_the_others_are_done(void)
{
    worker_t worker;
    start_supervised(&worker);
    worker.head.lease_ms = 200;
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 1, 1, "stubborn", 100, SHOAL_SLICE_NONE);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_BATCH); // it runs
    run_until_credit_is_used_up(&worker, 2);
    fake_head_cancel(&worker.head, 1);
    CHECK(fake_head_expect(&worker.head, SHOAL_MSG_WINDOW)->window.calls == 0);
    (void)expect_end(&worker, 1, SHOAL_OUTCOME_CANCELLED);
    CHECK(!fake_head_take(&worker.head, 4 * HEARTBEAT_MS)); // its neighbour is waited for
    fake_head_grant(&worker.head, 2, 1000);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_BATCH);
    (void)expect_end(&worker, 2, SHOAL_OUTCOME_DONE);
    (void)fake_head_expect(&worker.head, SHOAL_MSG_BYE);
    const shoal_msg_hello_t *hello = &fake_head_expect(&worker.head, SHOAL_MSG_HELLO)->hello;
    shoal_slice_t value = SHOAL_SLICE_NONE;
    CHECK(hello->incarnation == 2 && hello->running.len == 0 && hello->window > 0);
    CHECK(shoal_map_find(hello->last_exit, "reason", &value));
    CHECK(shoal_slice_equal(value, SHOAL_SLICE("\xa4hung")));
    CHECK(!shoal_map_find(hello->last_exit, "signal", &value)); // it is no crash
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 3, 1, "echo", 0, SHOAL_SLICE_NONE);
    (void)expect_end(&worker, 3, SHOAL_OUTCOME_DONE);
    stop(&worker);
}

//
static void
a_class_that_crashes_costs_one_process_and_the_next_one_tells(void)
{
    worker_t worker;
    start_supervised(&worker);
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 1, 1, "crash", 0, SHOAL_SLICE_NONE);
    const shoal_msg_hello_t *hello = &fake_head_expect(&worker.head, SHOAL_MSG_HELLO)->hello;
    shoal_slice_t value = SHOAL_SLICE_NONE;
    CHECK(shoal_slice_is(hello->id, "w1") && hello->incarnation == 2);
    CHECK(shoal_map_find(hello->last_exit, "signal", &value));
    CHECK(shoal_slice_equal(value, SHOAL_SLICE("\x0b"))); // SIGSEGV
    CHECK(shoal_map_find(hello->last_exit, "incarnation", &value));
    CHECK(shoal_slice_equal(value, SHOAL_SLICE("\x01")));
    CHECK(hello->running.len == 0);
    fake_head_welcome(&worker.head, "head-1", HEARTBEAT_MS, LIVENESS_MS);
    fake_head_actor(&worker.head, 1, "probe", SHOAL_SLICE_NONE);
    fake_head_call(&worker.head, 2, 1, "echo", 0, SHOAL_SLICE_NONE);
    (void)expect_end(&worker, 2, SHOAL_OUTCOME_DONE);
    stop(&worker);
}

static void
a_class_of_another_abi_and_a_malformed_endpoint_are_refused(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_class_t class = probe_class(&probe);
    const shoal_class_t *classes[] = {&class};
    shoal_link_config_t config = {.endpoint = "nowhere",
                                  .identity = {.id = "w1",
                                               .name = "test",
                                               .slots = 1,
                                               .window = 2,
                                               .classes = classes,
                                               .class_count = 1},
                                  .lifeline_fd = -1};
    class.abi = SHOAL_CLASS_ABI + 1;
    CHECK_FAILS(shoal_link_run(&config, &status), status, SHOAL_UNSUPPORTED);
    class.abi = SHOAL_CLASS_ABI;
    CHECK_FAILS(shoal_link_run(&config, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "nowhere");
}

TEST_MAIN(TEST(a_worker_registers_and_answers_a_call),
          TEST(a_queued_call_is_cancelled_at_once_and_a_running_one_stops),
          TEST(a_stream_stops_when_its_credit_is_used_up),
          TEST(a_call_that_waits_for_credit_can_be_cancelled),
          TEST(a_large_record_travels_in_chunks), TEST(what_cannot_run_fails_with_its_reason),
          TEST(heartbeats_carry_progress_that_grows_while_a_call_moves_waits_or_is_queued),
          TEST(after_the_connection_broke_it_registers_again_and_resends_results),
          TEST(told_to_say_hello_it_registers_on_the_same_connection),
          TEST(a_call_that_writes_is_given_back_when_the_head_is_not_heard_for_its_lease),
          TEST(a_write_that_lasts_as_long_as_the_lease_is_refused),
          TEST(an_attempt_whose_stream_broke_is_given_back_and_one_that_sent_nothing_goes_on),
          TEST(a_kept_result_of_a_stream_is_given_back_and_one_that_failed_stays_failed),
          TEST(the_same_head_started_again_finds_everything_as_it_was),
          TEST(another_head_gets_none_of_what_the_last_one_asked),
          TEST(a_silent_head_is_dialed_again),
          TEST(a_head_that_sends_nonsense_is_told_and_dialed_again),
          TEST(a_dropped_actor_loses_its_instances_and_its_calls),
          TEST(told_to_drain_it_gives_back_what_has_not_started_and_finishes_the_rest),
          TEST(what_runs_longer_than_it_may_is_given_back_and_the_worker_ends),
          TEST(a_signal_while_it_drains_for_the_head_changes_nothing_and_the_sooner_end_counts),
          TEST(a_slot_that_does_not_react_does_not_keep_a_worker_from_its_end),
          TEST(a_slot_that_does_not_react_to_a_cancel_costs_the_process_once_the_others_are_done),
          TEST(a_second_signal_ends_it_at_once),
          TEST(a_class_that_crashes_costs_one_process_and_the_next_one_tells),
          TEST(many_calls_run_in_all_slots_and_none_is_lost),
          TEST(a_class_of_another_abi_and_a_malformed_endpoint_are_refused))
