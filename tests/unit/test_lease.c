// SPDX-License-Identifier: Apache-2.0
//
// test_lease.c - what head/cluster/attempt.h promises.

#include "head/cluster/attempt.h"
#include "tests/support/test.h"

static void
a_lease_runs_out_unless_it_is_renewed(void)
{
    shoal_attempts_t *attempts = shoal_attempts_new(/*lease_ms=*/100);
    CHECK(shoal_attempts_next(attempts) == SHOAL_TIME_NEVER);
    CHECK(shoal_attempt_overdue(attempts, 1000000) == NULL);
    shoal_attempt_t *a = shoal_attempt_begin(attempts, 1000);
    shoal_attempt_t *b = shoal_attempt_begin(attempts, 1010);
    shoal_attempt_t *c = shoal_attempt_begin(attempts, 1020);
    CHECK(a && b && c && a != b && b != c);
    CHECK(shoal_attempts_next(attempts) == 1100);
    CHECK(shoal_attempt_overdue(attempts, 1099) == NULL);
    shoal_attempt_renew(attempts, a, 1050);
    CHECK(shoal_attempts_next(attempts) == 1110);
    CHECK(shoal_attempt_overdue(attempts, 1200) == b);
    shoal_attempt_end(attempts, b);
    CHECK(shoal_attempt_overdue(attempts, 1200) == c);
    shoal_attempt_end(attempts, c);
    CHECK(shoal_attempt_overdue(attempts, 1149) == NULL);
    CHECK(shoal_attempt_overdue(attempts, 1150) == a);
    CHECK(shoal_attempts_count(attempts) == 1);
    shoal_attempt_end(attempts, a);
    CHECK(shoal_attempts_next(attempts) == SHOAL_TIME_NEVER);
    shoal_attempts_destroy(&attempts);
}

static void
an_ended_one_s_memory_is_used_again_and_is_clean(void)
{
    shoal_attempts_t *attempts = shoal_attempts_new(100);
    shoal_attempt_t *a = shoal_attempt_begin(attempts, 0);
    uint32_t index = a->index;
    a->progress = 99;
    shoal_attempt_end(attempts, a);
    CHECK(!shoal_attempt_at(attempts, index)->is_live);
    shoal_attempt_t *b = shoal_attempt_begin(attempts, 0);
    CHECK(b->index == index && b->is_live && b->progress == 0);
    shoal_attempts_destroy(&attempts);
}

static void
a_call_s_number_holds_job_and_shard(void)
{
    uint64_t call = shoal_call_number(123456789, SHOAL_SHARDS_MAX - 1);
    CHECK(shoal_call_job(call) == 123456789);
    CHECK(shoal_call_shard(call) == SHOAL_SHARDS_MAX - 1);
}

static void
leases_end_in_order_whatever_is_renewed(void)
{
    enum { COUNT = 2000 };
    shoal_attempts_t *attempts = shoal_attempts_new(1000);
    static shoal_attempt_t *all[COUNT];
    uint64_t now_ms = 0;
    for (int i = 0; i < COUNT; i++) {
        all[i] = shoal_attempt_begin(attempts, now_ms++);
    }
    unsigned chance = 1;
    for (int i = 0; i < COUNT * 10; i++) {
        chance = chance * 1103515245U + 12345U;
        shoal_attempt_renew(attempts, all[chance / 65536 % COUNT], now_ms++);
    }
    uint64_t last = 0;
    for (int i = 0; i < COUNT; i++) {
        shoal_attempt_t *first = shoal_attempt_overdue(attempts, UINT64_MAX);
        CHECK(first && first->deadline_ms >= last);
        last = first->deadline_ms;
        shoal_attempt_end(attempts, first);
    }
    CHECK(shoal_attempts_count(attempts) == 0);
    shoal_attempts_destroy(&attempts);
}

TEST_MAIN(TEST(a_lease_runs_out_unless_it_is_renewed),
          TEST(an_ended_one_s_memory_is_used_again_and_is_clean),
          TEST(a_call_s_number_holds_job_and_shard), TEST(leases_end_in_order_whatever_is_renewed))
