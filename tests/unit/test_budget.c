// SPDX-License-Identifier: Apache-2.0
//
// test_budget.c - what head/cluster/budget.h promises.

#include "head/cluster/budget.h"
#include "tests/support/test.h"

#define SOURCE SHOAL_SLICE("db.example:5432")

static const char worker_a[1], worker_b[1], worker_c[1];

// ---- tries after the first

static void
tries_beyond_the_floor_and_the_share_wait_longer(void)
{
    shoal_retry_budget_t budget;
    shoal_retry_budget_init(&budget);
    for (int i = 0; i < SHOAL_RETRY_FLOOR; i++) {
        CHECK(shoal_retry_budget_spend(&budget, 500) == 500);
    }
    CHECK(shoal_retry_budget_spend(&budget, 500) == 5000);
    CHECK(budget.held == 1);
    for (int i = 0; i < 5; i++) {
        shoal_retry_budget_earn(&budget);
    }
    CHECK(shoal_retry_budget_spend(&budget, 500) == 500); // five first tries are worth one more
    CHECK(shoal_retry_budget_spend(&budget, 500) == 5000);
    CHECK(shoal_retry_budget_spend(&budget, 30000) == SHOAL_RETRY_WAIT_MS_MAX);
    CHECK(shoal_retry_budget_spend(&budget, 300000) == 300000); // never shorter than it was
    CHECK(shoal_retry_budget_spend(&budget, 0) == 0);
}

static void
a_quiet_time_saves_up_so_many_tries_and_no_more(void)
{
    shoal_retry_budget_t budget;
    shoal_retry_budget_init(&budget);
    for (int i = 0; i < 100000; i++) {
        shoal_retry_budget_earn(&budget);
    }
    for (int i = 0; i < SHOAL_RETRY_SAVED_MAX; i++) {
        CHECK(shoal_retry_budget_spend(&budget, 1) == 1);
    }
    CHECK(shoal_retry_budget_spend(&budget, 1) == 10);
}

// ---- sources

static bool
begin(shoal_budget_t *budget, uint64_t job, const void *worker, uint64_t now_ms)
{
    uint64_t dropped_job = 0;
    const void *dropped = NULL;
    CHECK(shoal_budget_admits(budget, job, worker, now_ms) != SHOAL_ADMIT_LATER);
    return shoal_budget_begin(budget, job, worker, now_ms, &dropped_job, &dropped);
}

static void
connections_are_bounded_over_jobs_and_workers(void)
{
    shoal_budgets_t *budgets = shoal_budgets_new();
    shoal_budget_t *budget = shoal_budget_join(budgets, SOURCE, 1, 5, 0, 0);
    CHECK(shoal_budget_join(budgets, SOURCE, 2, 3, 0, 0) == budget); // the smaller one holds
    CHECK(shoal_budget_bound(budget) == 3);
    CHECK(!begin(budget, 1, worker_a, 0));
    CHECK(!begin(budget, 1, worker_b, 0));
    CHECK(!begin(budget, 2, worker_a, 0));
    CHECK(shoal_budget_running(budget) == 3);
    CHECK(shoal_budget_admits(budget, 1, worker_a, 0) == SHOAL_ADMIT_LATER);
    CHECK(shoal_budgets_next(budgets, 0) == SHOAL_TIME_NEVER); // time does not help
    shoal_budget_leave(budgets, budget, 2);
    CHECK(shoal_budget_bound(budget) == 5 && shoal_budget_running(budget) == 2);
    shoal_budget_leave(budgets, budget, 1);
    budget = shoal_budget_join(budgets, SOURCE, 3, 0, 0, 0); // all of it is forgotten
    CHECK(shoal_budget_bound(budget) == SHOAL_BUDGET_NO_BOUND);
    CHECK(strcmp(shoal_budget_name(budget), "db.example:5432") == 0);
    shoal_budgets_destroy(&budgets);
}

static void
an_idle_seat_is_used_again_or_dropped_for_another_worker(void)
{
    shoal_budgets_t *budgets = shoal_budgets_new();
    shoal_budget_t *budget = shoal_budget_join(budgets, SOURCE, 1, 2, 0, 0);
    uint64_t job = 0;
    const void *worker = NULL;
    CHECK(!begin(budget, 1, worker_a, 0));
    CHECK(!begin(budget, 1, worker_b, 0));
    shoal_budget_end(budget, 1, worker_a);
    CHECK(shoal_budget_admits(budget, 1, worker_b, 0) == SHOAL_ADMIT_BY_DROP);
    CHECK(shoal_budget_admits(budget, 1, worker_a, 0) == SHOAL_ADMIT); // it has its connection
    CHECK(!begin(budget, 1, worker_a, 0));
    shoal_budget_end(budget, 1, worker_a);
    CHECK(shoal_budget_begin(budget, 1, worker_c, 0, &job, &worker));
    CHECK(job == 1 && worker == worker_a);
    CHECK(shoal_budget_running(budget) == 2);
    shoal_budget_end(budget, 1, worker_c);
    shoal_budget_pin(budget, 1, worker_c); // what it holds is needed
    CHECK(shoal_budget_admits(budget, 1, worker_a, 0) == SHOAL_ADMIT_LATER);
    CHECK(shoal_budget_admits(budget, 1, worker_c, 0) == SHOAL_ADMIT);
    shoal_budgets_forget(budgets, worker_c, 0); // the worker is lost
    CHECK(shoal_budget_admits(budget, 1, worker_a, 0) == SHOAL_ADMIT);
    shoal_budget_end(budget, 1, worker_c); // and its calls end late
    CHECK(shoal_budget_running(budget) == 1);
    shoal_budgets_destroy(&budgets);
}

static void
a_refusal_halves_the_bound_once_and_it_comes_back_slowly(void)
{
    shoal_budgets_t *budgets = shoal_budgets_new();
    shoal_budget_t *budget = shoal_budget_join(budgets, SOURCE, 1, 0, 0, 0);
    for (int i = 0; i < 8; i++) {
        CHECK(!begin(budget, 1, i % 2 ? worker_a : worker_b, 0));
    }
    uint32_t epoch = shoal_budget_epoch(budget);
    CHECK(shoal_budget_refused(budget, 1, worker_a, epoch, 1000));
    CHECK(shoal_budget_refused(budget, 1, worker_b, epoch, 1001)); // it had begun before
    CHECK(shoal_budget_bound(budget) == 4);
    CHECK(shoal_budget_running(budget) == 6);
    CHECK(shoal_budget_admits(budget, 1, worker_a, 1002) == SHOAL_ADMIT_LATER);
    for (int i = 0; i < 3; i++) {
        shoal_budget_end(budget, 1, worker_a);
    }
    CHECK(shoal_budget_admits(budget, 1, worker_a, 1002) == SHOAL_ADMIT);
    CHECK(!begin(budget, 1, worker_a, 1002));
    CHECK(shoal_budget_admits(budget, 1, worker_a, 1003) == SHOAL_ADMIT_LATER);
    CHECK(shoal_budgets_next(budgets, 1003) == 1001 + SHOAL_BUDGET_GROW_MS);
    CHECK(shoal_budget_admits(budget, 1, worker_a, 1001 + SHOAL_BUDGET_GROW_MS) == SHOAL_ADMIT);
    CHECK(shoal_budget_bound(budget) == 5);
    CHECK(shoal_budget_refused(budget, 1, worker_a, shoal_budget_epoch(budget), 9000));
    CHECK(shoal_budget_bound(budget) == 2);
    uint64_t later = 9000 + (uint64_t)SHOAL_BUDGET_FREE_AT * SHOAL_BUDGET_GROW_MS;
    (void)shoal_budget_admits(budget, 1, worker_a, later);
    CHECK(shoal_budget_bound(budget) == SHOAL_BUDGET_NO_BOUND);
    shoal_budgets_destroy(&budgets);
}

static void
a_source_that_refuses_the_only_call_is_told_apart(void)
{
    shoal_budgets_t *budgets = shoal_budgets_new();
    shoal_budget_t *budget = shoal_budget_join(budgets, SOURCE, 1, 4, 0, 0);
    CHECK(!begin(budget, 1, worker_a, 0));
    CHECK(!shoal_budget_refused(budget, 1, worker_a, shoal_budget_epoch(budget), 10));
    CHECK(shoal_budget_bound(budget) == 1 && shoal_budget_running(budget) == 0);
    CHECK(!begin(budget, 1, worker_b, 10)); // one is always tried
    (void)shoal_budget_admits(budget, 1, worker_a, 10 + 100 * SHOAL_BUDGET_GROW_MS);
    CHECK(shoal_budget_bound(budget) == 4); // not beyond what was asked for
    shoal_budgets_destroy(&budgets);
}

static void
calls_a_second_are_bounded(void)
{
    shoal_budgets_t *budgets = shoal_budgets_new();
    shoal_budget_t *budget = shoal_budget_join(budgets, SOURCE, 1, 0, 4, 0);
    unsigned begun = 0;
    for (uint64_t now_ms = 0; now_ms < 3000; now_ms++) {
        while (shoal_budget_admits(budget, 1, worker_a, now_ms) == SHOAL_ADMIT) {
            CHECK(!begin(budget, 1, worker_a, now_ms));
            shoal_budget_end(budget, 1, worker_a);
            begun++;
        }
        uint64_t next = shoal_budgets_next(budgets, now_ms);
        CHECK(next > now_ms && next <= now_ms + 250);
    }
    CHECK(begun >= 15 && begun <= 16); // a second's worth at once, then four a second
    shoal_budgets_destroy(&budgets);
}

TEST_MAIN(TEST(tries_beyond_the_floor_and_the_share_wait_longer),
          TEST(a_quiet_time_saves_up_so_many_tries_and_no_more),
          TEST(connections_are_bounded_over_jobs_and_workers),
          TEST(an_idle_seat_is_used_again_or_dropped_for_another_worker),
          TEST(a_refusal_halves_the_bound_once_and_it_comes_back_slowly),
          TEST(a_source_that_refuses_the_only_call_is_told_apart), TEST(calls_a_second_are_bounded))
