// SPDX-License-Identifier: Apache-2.0
//
// test_delay.c - what head/cluster/delay.h promises.

#include "head/cluster/delay.h"
#include "tests/support/test.h"

static void
they_come_out_when_they_are_due_and_in_that_order(void)
{
    shoal_delays_t *delays = shoal_delays_new();
    uint64_t call = 0;
    CHECK(shoal_delays_next(delays) == SHOAL_TIME_NEVER);
    CHECK(!shoal_delay_take(delays, 1000, &call));
    // A permutation of 0 to 96 as due times.
    for (uint64_t i = 0; i < 97; i++) {
        shoal_delay_add(delays, i * 31 % 97, 1000 + i * 31 % 97);
    }
    CHECK(shoal_delays_next(delays) == 0);
    for (uint64_t i = 0; i < 97; i++) {
        CHECK(i == 0 || !shoal_delay_take(delays, i - 1, &call));
        CHECK(shoal_delay_take(delays, i, &call));
        CHECK(call == 1000 + i);
    }
    CHECK(shoal_delays_next(delays) == SHOAL_TIME_NEVER);
    shoal_delays_destroy(&delays);
}

TEST_MAIN(TEST(they_come_out_when_they_are_due_and_in_that_order))
