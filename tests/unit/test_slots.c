// SPDX-License-Identifier: Apache-2.0
//
// test_slots.c - what worker/slots.h promises.

#include <poll.h>

#include "proto/base/clock.h"
#include "tests/support/probe_class.h"
#include "tests/support/test.h"
#include "worker/slots.h"

#define DEADLINE_MS 20000
#define ACTOR       1
#define LEASE_MS    30

typedef struct stage {
    probe_t probe;
    shoal_class_t class;
    shoal_slots_t *slots;
} stage_t;

static void
open_stage(stage_t *stage, uint32_t slots, size_t queue_max)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    *stage = (stage_t){.slots = NULL};
    stage->class = probe_class(&stage->probe);
    CHECK_OK(shoal_slots_new(slots, queue_max, NULL, &stage->slots, &status), status);
    CHECK_OK(shoal_slots_add_actor(stage->slots, ACTOR, &stage->class, SHOAL_SLICE_NONE, &status),
             status);
}

static void
close_stage(stage_t *stage)
{
    shoal_slots_destroy(&stage->slots);
    CHECK(stage->slots == NULL);
    CHECK(stage->probe.constructed == stage->probe.destroyed);
}

static shoal_attempt_t *
attempt_of(uint64_t call, uint64_t actor, const char *method, shoal_slice_t args, uint32_t credit)
{
    shoal_msg_call_t message = {.call = call,
                                .attempt = 1,
                                .actor = actor,
                                .method = shoal_slice_of(method),
                                .credit = credit,
                                .args = args};
    return shoal_attempt_new(&message, 65536, SHOAL_RECORD_BYTES_MAX, LEASE_MS);
}

static shoal_attempt_t *
submit(stage_t *stage, uint64_t call, const char *method, shoal_slice_t args, uint32_t credit)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_attempt_t *attempt = attempt_of(call, ACTOR, method, args, credit);
    CHECK_OK(shoal_slots_submit(stage->slots, attempt, &status), status);
    return attempt;
}

static shoal_news_t *
next_news(stage_t *stage)
{
    struct pollfd item = {shoal_slots_fd(stage->slots), POLLIN, 0};
    CHECK(poll(&item, 1, DEADLINE_MS) == 1);
    shoal_news_t *news = shoal_slots_take_news(stage->slots);
    CHECK(news != NULL);
    return news;
}

// The next news is the end of some call; its attempt is freed. Returns its number.
static uint64_t
expect_end(stage_t *stage, shoal_outcome_t outcome)
{
    shoal_news_t *news = next_news(stage);
    CHECK(news->kind == SHOAL_NEWS_END);
    CHECK(news->outcome == outcome);
    CHECK((news->failure != NULL) == (outcome == SHOAL_OUTCOME_FAILED));
    uint64_t call = news->attempt->call;
    shoal_attempt_destroy(&news->attempt);
    shoal_news_destroy(&news);
    CHECK(news == NULL);
    return call;
}

// Waits for a condition that slots make true.
static void
wait_until(const atomic_int *value, int least)
{
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    while (atomic_load(value) < least) {
        CHECK(shoal_clock_ms() < deadline_ms);
        (void)poll(NULL, 0, 1);
    }
}

static void
one_slot_runs_calls_in_their_order_on_one_instance(void)
{
    stage_t stage;
    open_stage(&stage, 1, 100);
    for (uint64_t call = 1; call <= 50; call++) {
        (void)submit(&stage, call, "echo", SHOAL_SLICE("\xa2hi"), 0);
    }
    for (uint64_t call = 1; call <= 50; call++) {
        CHECK(expect_end(&stage, SHOAL_OUTCOME_DONE) == call);
    }
    CHECK(stage.probe.constructed == 1);
    close_stage(&stage);
}

static void
slots_run_calls_at_the_same_time_and_make_an_instance_each_at_most(void)
{
    stage_t stage;
    open_stage(&stage, 3, 100);
    shoal_attempt_t *attempts[3];
    for (uint64_t i = 0; i < 3; i++) {
        attempts[i] = submit(&stage, i, "hang", SHOAL_SLICE_NONE, 0);
    }
    wait_until(&stage.probe.running, 3);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK(!shoal_slots_cancel(stage.slots, attempts[i]));
    }
    for (uint64_t i = 0; i < 3; i++) {
        (void)expect_end(&stage, SHOAL_OUTCOME_CANCELLED);
    }
    for (uint64_t i = 0; i < 60; i++) {
        (void)submit(&stage, i, "echo", SHOAL_SLICE("\xc0"), 0);
    }
    for (uint64_t i = 0; i < 60; i++) {
        (void)expect_end(&stage, SHOAL_OUTCOME_DONE);
    }
    CHECK(stage.probe.constructed == 3 && stage.probe.most_running == 3);
    close_stage(&stage);
}

static void
a_full_queue_and_an_unknown_actor_are_refused(void)
{
    stage_t stage;
    shoal_status_t status = SHOAL_STATUS_INIT;
    open_stage(&stage, 1, 2);
    shoal_attempt_t *running = submit(&stage, 1, "hang", SHOAL_SLICE_NONE, 0);
    wait_until(&stage.probe.running, 1);
    shoal_attempt_t *second = submit(&stage, 2, "echo", SHOAL_SLICE_NONE, 0);
    shoal_attempt_t *third = submit(&stage, 3, "echo", SHOAL_SLICE_NONE, 0);
    shoal_attempt_t *fourth = attempt_of(4, ACTOR, "echo", SHOAL_SLICE_NONE, 0);
    CHECK_FAILS(shoal_slots_submit(stage.slots, fourth, &status), status, SHOAL_LIMIT);
    CHECK(status.error_class == SHOAL_TRANSIENT);
    CHECK_SAYS(status.text, "full");
    // What leaves the queue, from its end or its middle, makes room.
    CHECK(shoal_slots_take_back(stage.slots, third));
    CHECK(!shoal_slots_take_back(stage.slots, third));
    CHECK_OK(shoal_slots_submit(stage.slots, fourth, &status), status);
    CHECK(shoal_slots_cancel(stage.slots, second));
    CHECK(!shoal_slots_take_back(stage.slots, running));
    CHECK(!shoal_slots_cancel(stage.slots, running));
    CHECK(expect_end(&stage, SHOAL_OUTCOME_CANCELLED) == 1);
    CHECK(expect_end(&stage, SHOAL_OUTCOME_DONE) == 4);
    shoal_attempt_t *stray = attempt_of(5, /*actor=*/99, "echo", SHOAL_SLICE_NONE, 0);
    CHECK_FAILS(shoal_slots_submit(stage.slots, stray, &status), status, SHOAL_UNAVAILABLE);
    close_stage(&stage);
    shoal_attempt_destroy(&second);
    shoal_attempt_destroy(&third);
    shoal_attempt_destroy(&stray);
}

static void
arguments_that_wait_are_bounded(void)
{
    stage_t stage;
    shoal_status_t status = SHOAL_STATUS_INIT;
    open_stage(&stage, 1, 100000);
    shoal_attempt_t *running = submit(&stage, 0, "hang", SHOAL_SLICE_NONE, 0);
    wait_until(&stage.probe.running, 1);
    enum { BYTES = 262144, FIT = SHOAL_QUEUE_BYTES_MAX / BYTES };
    static char zeros[BYTES];
    shoal_attempt_t *attempts[FIT + 1];
    for (uint64_t i = 0; i < FIT; i++) {
        attempts[i] = submit(&stage, i + 1, "echo", (shoal_slice_t){zeros, BYTES}, 0);
    }
    attempts[FIT] = attempt_of(FIT + 1, ACTOR, "echo", (shoal_slice_t){zeros, BYTES}, 0);
    CHECK_FAILS(shoal_slots_submit(stage.slots, attempts[FIT], &status), status, SHOAL_LIMIT);
    // Destroying the pool with calls in its queue and one running leaves nothing behind.
    close_stage(&stage);
    shoal_attempt_destroy(&running);
    for (uint64_t i = 0; i <= FIT; i++) {
        shoal_attempt_destroy(&attempts[i]);
    }
}

static void
a_stream_waits_for_credit_and_goes_on_when_it_comes(void)
{
    stage_t stage;
    open_stage(&stage, 1, 10);
    shoal_attempt_t *attempt =
        submit(&stage, 1, "stream", SHOAL_SLICE("\x92\x04\xcd\x03\xe8"), 1500); // 4 of 1000
    for (uint64_t seq = 0; seq < 4; seq++) {
        shoal_news_t *news = next_news(&stage);
        CHECK(news->kind == SHOAL_NEWS_BATCH && news->attempt == attempt);
        CHECK(news->seq == seq && news->records == 1 && zmq_msg_size(&news->payload) == 1000);
        if (seq == 1) { // 500 over
            struct pollfd item = {shoal_slots_fd(stage.slots), POLLIN, 0};
            CHECK(poll(&item, 1, 50) == 0);
            shoal_slots_grant(stage.slots, attempt, 500); // back to nothing
            CHECK(poll(&item, 1, 50) == 0);
            shoal_slots_grant(stage.slots, attempt, 1001);
        }
        shoal_news_destroy(&news);
    }
    shoal_news_t *news = next_news(&stage);
    CHECK(news->kind == SHOAL_NEWS_END && attempt->batches == 4 && attempt->records == 4);
    shoal_news_destroy(&news);
    shoal_attempt_destroy(&attempt);
    close_stage(&stage);
}

static void
a_dropped_actor_loses_idle_instances_at_once_and_busy_ones_afterwards(void)
{
    stage_t stage;
    shoal_status_t status = SHOAL_STATUS_INIT;
    open_stage(&stage, 2, 10);
    shoal_attempt_t *running = submit(&stage, 1, "hang", SHOAL_SLICE_NONE, 0);
    wait_until(&stage.probe.running, 1);
    (void)submit(&stage, 2, "echo", SHOAL_SLICE_NONE, 0);
    CHECK(expect_end(&stage, SHOAL_OUTCOME_DONE) == 2);
    CHECK(stage.probe.constructed == 2);
    shoal_slots_drop_actor(stage.slots, ACTOR);
    wait_until(&stage.probe.destroyed, 1);
    CHECK(!shoal_slots_cancel(stage.slots, running));
    CHECK(expect_end(&stage, SHOAL_OUTCOME_CANCELLED) == 1);
    wait_until(&stage.probe.destroyed, 2);
    shoal_attempt_t *late = attempt_of(3, ACTOR, "echo", SHOAL_SLICE_NONE, 0);
    CHECK_FAILS(shoal_slots_submit(stage.slots, late, &status), status, SHOAL_UNAVAILABLE);
    shoal_attempt_destroy(&late);
    shoal_slots_drop_actor(stage.slots, ACTOR); // is fine
    close_stage(&stage);
}

static void
a_queued_call_of_a_dropped_actor_does_not_run(void)
{
    stage_t stage;
    open_stage(&stage, 1, 10);
    shoal_attempt_t *running = submit(&stage, 1, "hang", SHOAL_SLICE_NONE, 0);
    wait_until(&stage.probe.running, 1);
    (void)submit(&stage, 2, "echo", SHOAL_SLICE_NONE, 0);
    shoal_slots_drop_all_actors(stage.slots);
    CHECK(!shoal_slots_cancel(stage.slots, running));
    CHECK(expect_end(&stage, SHOAL_OUTCOME_CANCELLED) == 1);
    CHECK(expect_end(&stage, SHOAL_OUTCOME_CANCELLED) == 2);
    CHECK(stage.probe.starts == 1);
    close_stage(&stage);
}

static void
an_actor_told_again_keeps_its_instances_unless_it_is_another(void)
{
    stage_t stage;
    shoal_status_t status = SHOAL_STATUS_INIT;
    open_stage(&stage, 1, 10);
    (void)submit(&stage, 1, "echo", SHOAL_SLICE_NONE, 0);
    CHECK(expect_end(&stage, SHOAL_OUTCOME_DONE) == 1);
    CHECK_OK(shoal_slots_add_actor(stage.slots, ACTOR, &stage.class, SHOAL_SLICE_NONE, &status),
             status);
    (void)submit(&stage, 2, "echo", SHOAL_SLICE_NONE, 0);
    CHECK(expect_end(&stage, SHOAL_OUTCOME_DONE) == 2);
    CHECK(stage.probe.constructed == 1);
    CHECK_OK(shoal_slots_add_actor(stage.slots, ACTOR, &stage.class, SHOAL_SLICE("\xa1x"), &status),
             status);
    wait_until(&stage.probe.destroyed, 1);
    (void)submit(&stage, 3, "echo", SHOAL_SLICE_NONE, 0);
    CHECK(expect_end(&stage, SHOAL_OUTCOME_DONE) == 3);
    CHECK(stage.probe.constructed == 2);
    close_stage(&stage);
}

static void
an_instance_that_cannot_be_made_fails_its_call_and_is_tried_again(void)
{
    stage_t stage;
    shoal_status_t status = SHOAL_STATUS_INIT;
    open_stage(&stage, 1, 10);
    CHECK_OK(
        shoal_slots_add_actor(stage.slots, ACTOR, &stage.class, SHOAL_SLICE("\xa6refuse"), &status),
        status);
    for (uint64_t call = 1; call <= 2; call++) {
        (void)submit(&stage, call, "echo", SHOAL_SLICE_NONE, 0);
        CHECK(expect_end(&stage, SHOAL_OUTCOME_FAILED) == call);
    }
    CHECK(stage.probe.constructed == 0);
    close_stage(&stage);
}

static void
actors_are_bounded(void)
{
    stage_t stage;
    shoal_status_t status = SHOAL_STATUS_INIT;
    open_stage(&stage, 1, 10);
    for (uint64_t i = 1; i < SHOAL_ACTORS_MAX; i++) {
        CHECK_OK(
            shoal_slots_add_actor(stage.slots, ACTOR + i, &stage.class, SHOAL_SLICE_NONE, &status),
            status);
    }
    CHECK_FAILS(shoal_slots_add_actor(stage.slots, ACTOR + SHOAL_ACTORS_MAX, &stage.class,
                                      SHOAL_SLICE_NONE, &status),
                status, SHOAL_LIMIT);
    shoal_slots_drop_actor(stage.slots, ACTOR);
    CHECK_OK(shoal_slots_add_actor(stage.slots, ACTOR + SHOAL_ACTORS_MAX, &stage.class,
                                   SHOAL_SLICE_NONE, &status),
             status);
    close_stage(&stage);
}

static void
record_number(void *ctx, const shoal_attempt_t *attempt, uint64_t number)
{
    uint64_t *numbers = ctx;
    numbers[attempt->call] = number;
}

static void
waiting_counts_as_progress_and_a_hung_call_does_not(void)
{
    stage_t stage;
    uint64_t first[4] = {0};
    uint64_t second[4] = {0};
    open_stage(&stage, 1, 10);
    shoal_attempt_t *waits = submit(&stage, 1, "stream", SHOAL_SLICE("\x92\x02\x0a"), 1);
    shoal_attempt_t *queued = submit(&stage, 2, "echo", SHOAL_SLICE_NONE, 0);
    shoal_news_t *news = next_news(&stage); // now it waits for credit, or is about to
    shoal_news_destroy(&news);
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    do {
        CHECK(shoal_clock_ms() < deadline_ms);
        shoal_slots_progress(stage.slots, record_number, first);
        shoal_slots_progress(stage.slots, record_number, second);
    } while (second[1] <= first[1]);
    CHECK(second[2] > first[2]); // the queue moves while a slot does
    CHECK(!shoal_slots_cancel(stage.slots, waits));
    CHECK(expect_end(&stage, SHOAL_OUTCOME_CANCELLED) == 1);
    CHECK(expect_end(&stage, SHOAL_OUTCOME_DONE) == 2);
    (void)queued;
    // A call that neither moves nor waits has the same number for ever, and so has the queue.
    shoal_attempt_t *hung = submit(&stage, 1, "freeze", SHOAL_SLICE_NONE, 0);
    wait_until(&stage.probe.running, 1);
    queued = submit(&stage, 3, "echo", SHOAL_SLICE_NONE, 0);
    shoal_slots_progress(stage.slots, record_number, first);
    shoal_slots_progress(stage.slots, record_number, first);
    shoal_slots_progress(stage.slots, record_number, second);
    CHECK(first[1] == second[1] && first[3] == second[3]);
    CHECK(!shoal_slots_cancel(stage.slots, hung));
    CHECK(expect_end(&stage, SHOAL_OUTCOME_CANCELLED) == 1);
    CHECK(expect_end(&stage, SHOAL_OUTCOME_DONE) == 3);
    close_stage(&stage);
}

// Shows the calls' numbers twice, again and again, until call 1's has grown in between, or not.
static void
show_until(stage_t *stage, bool grows)
{
    uint64_t first[4] = {0};
    uint64_t second[4] = {0};
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    do {
        CHECK(shoal_clock_ms() < deadline_ms);
        (void)poll(NULL, 0, 1);
        shoal_slots_progress(stage->slots, record_number, first);
        shoal_slots_progress(stage->slots, record_number, second);
    } while ((second[1] > first[1]) != grows);
}

static void
a_wait_without_end_is_progress_for_a_lease_only(void)
{
    stage_t stage;
    open_stage(&stage, 1, 10);
    shoal_attempt_t *hung = submit(&stage, 1, "hang", SHOAL_SLICE_NONE, 0);
    show_until(&stage, true);
    show_until(&stage, false);
    CHECK(!shoal_slots_cancel(stage.slots, hung));
    CHECK(expect_end(&stage, SHOAL_OUTCOME_CANCELLED) == 1);
    close_stage(&stage);
}

TEST_MAIN(TEST(one_slot_runs_calls_in_their_order_on_one_instance),
          TEST(slots_run_calls_at_the_same_time_and_make_an_instance_each_at_most),
          TEST(a_full_queue_and_an_unknown_actor_are_refused),
          TEST(arguments_that_wait_are_bounded),
          TEST(a_stream_waits_for_credit_and_goes_on_when_it_comes),
          TEST(a_dropped_actor_loses_idle_instances_at_once_and_busy_ones_afterwards),
          TEST(a_queued_call_of_a_dropped_actor_does_not_run),
          TEST(an_actor_told_again_keeps_its_instances_unless_it_is_another),
          TEST(an_instance_that_cannot_be_made_fails_its_call_and_is_tried_again),
          TEST(actors_are_bounded), TEST(waiting_counts_as_progress_and_a_hung_call_does_not),
          TEST(a_wait_without_end_is_progress_for_a_lease_only))
