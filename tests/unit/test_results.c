// SPDX-License-Identifier: Apache-2.0
//
// test_results.c - what worker/results.h promises.

#include "tests/support/test.h"
#include "worker/results.h"

static void
keep(shoal_results_t *results, uint64_t call, const char *reason)
{
    char copy[32]; // results must not point into what we give
    (void)snprintf(copy, sizeof(copy), "%s", reason);
    shoal_msg_result_t result = {.call = call, .attempt = 1, .reason = shoal_slice_of(copy)};
    shoal_results_keep(results, &result);
    memset(copy, 'x', sizeof(copy));
}

static void
results_are_numbered_from_1_and_due_in_their_order(void)
{
    shoal_results_t *results = shoal_results_new();
    CHECK(shoal_results_due(results) == NULL);
    shoal_results_sent(results); // nothing is due: nothing happens
    keep(results, 10, "first");
    keep(results, 20, "second");
    CHECK(shoal_results_due(results)->seq == 1 && shoal_results_due(results)->call == 10);
    CHECK(shoal_slice_is(shoal_results_due(results)->reason, "first"));
    shoal_results_sent(results);
    CHECK(shoal_results_due(results)->seq == 2);
    shoal_results_sent(results);
    CHECK(shoal_results_due(results) == NULL);
    keep(results, 30, "third");
    CHECK(shoal_results_due(results)->seq == 3);
    CHECK(shoal_results_count(results) == 3);
    shoal_results_destroy(&results);
    CHECK(results == NULL);
}

static void
what_is_not_acknowledged_is_due_again_after_a_reconnect(void)
{
    shoal_results_t *results = shoal_results_new();
    for (uint64_t call = 1; call <= 4; call++) {
        keep(results, call, "r");
        shoal_results_sent(results);
    }
    shoal_results_acknowledge(results, 2);
    CHECK(shoal_results_count(results) == 2);
    shoal_results_resend(results);
    CHECK(shoal_results_due(results)->seq == 3);
    shoal_results_acknowledge(results, 3); // of what is due
    CHECK(shoal_results_due(results)->seq == 4);
    shoal_results_acknowledge(results, 4);
    CHECK(shoal_results_due(results) == NULL && shoal_results_count(results) == 0);
    keep(results, 5, "r");
    CHECK(shoal_results_due(results)->seq == 5);
    shoal_results_destroy(&results);
}

static void
an_acknowledgement_of_what_was_never_sent_takes_nothing(void)
{
    shoal_results_t *results = shoal_results_new();
    keep(results, 1, "r");
    shoal_results_acknowledge(results, 2);
    shoal_results_acknowledge(results, UINT64_MAX);
    CHECK(shoal_results_count(results) == 1);
    shoal_results_acknowledge(results, 0);
    CHECK(shoal_results_count(results) == 1);
    shoal_results_destroy(&results);
}

static void
count_calls(void *ctx, const shoal_msg_result_t *result)
{
    uint64_t *sum = ctx;
    *sum = *sum * 10 + result->call;
}

static void
forgetting_drops_all_and_numbers_go_on(void)
{
    shoal_results_t *results = shoal_results_new();
    uint64_t sum = 0;
    keep(results, 1, "r");
    keep(results, 2, "r");
    shoal_results_each(results, count_calls, &sum);
    CHECK(sum == 12);
    shoal_results_forget(results);
    CHECK(shoal_results_count(results) == 0 && shoal_results_due(results) == NULL);
    keep(results, 3, "r");
    CHECK(shoal_results_due(results)->seq == 3);
    shoal_results_destroy(&results);
}

//
static void
what_streamed_is_given_back_once_its_registration_is_lost(void)
{
    shoal_results_t *results = shoal_results_new();
    shoal_msg_result_t kept[] = {
        {.call = 1, .outcome = SHOAL_OUTCOME_DONE, .detail = SHOAL_SLICE("\x80")},
        {.call = 2, .outcome = SHOAL_OUTCOME_DONE, .batches = 3, .detail = SHOAL_SLICE("\x80")},
        {.call = 3, .outcome = SHOAL_OUTCOME_FAILED, .batches = 3, .reason = SHOAL_SLICE("bad")},
        {.call = 4, .outcome = SHOAL_OUTCOME_CANCELLED, .batches = 1},
    };
    static const uint64_t outcomes[] = {SHOAL_OUTCOME_DONE, SHOAL_OUTCOME_RETURNED,
                                        SHOAL_OUTCOME_FAILED, SHOAL_OUTCOME_CANCELLED};
    for (size_t i = 0; i < 4; i++) {
        shoal_results_keep(results, &kept[i]);
    }
    shoal_results_lose_streams(results, "lost");
    for (size_t i = 0; i < 4; i++) {
        const shoal_msg_result_t *due = shoal_results_due(results);
        CHECK(due->seq == i + 1 && due->outcome == outcomes[i]);
        CHECK(shoal_slice_is(due->reason, i == 1 ? "lost" : i == 2 ? "bad" : ""));
        CHECK(due->detail.len == (i == 0));
        shoal_results_sent(results);
    }
    shoal_results_destroy(&results);
}

TEST_MAIN(TEST(results_are_numbered_from_1_and_due_in_their_order),
          TEST(what_is_not_acknowledged_is_due_again_after_a_reconnect),
          TEST(an_acknowledgement_of_what_was_never_sent_takes_nothing),
          TEST(forgetting_drops_all_and_numbers_go_on),
          TEST(what_streamed_is_given_back_once_its_registration_is_lost))
