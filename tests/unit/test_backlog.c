// SPDX-License-Identifier: Apache-2.0
//
// test_backlog.c - what head/cluster/backlog.h promises.

#include <malloc.h>

#include "head/cluster/backlog.h"
#include "tests/support/test.h"

static void
add(shoal_backlog_t *backlog, uint32_t index, uint32_t cost_us)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_shard_item_t item = {.stage = SHOAL_STAGE_MAP,
                               .needs = SHOAL_SHARD_NONE,
                               .cost_us = cost_us,
                               .title = SHOAL_SLICE("title"),
                               .expects = SHOAL_SLICE("\x90"),
                               .args = SHOAL_SLICE("\xa4"
                                                   "args")};
    CHECK_OK(shoal_backlog_add(backlog, index, &item, &status), status);
}

static void
a_shard_keeps_its_texts_and_starts_waiting(void)
{
    shoal_backlog_t *backlog = shoal_backlog_new();
    CHECK(shoal_backlog_at(backlog, 7) == NULL);
    add(backlog, 7, 10);
    const shoal_shard_t *shard = shoal_backlog_at(backlog, 7);
    CHECK(shard && shard->state == SHOAL_SHARD_WAITING);
    CHECK(shoal_slice_is(shoal_backlog_title(backlog, shard), "title"));
    CHECK(shoal_slice_is(shoal_backlog_args(backlog, shard), "\xa4"
                                                             "args"));
    CHECK(shoal_slice_is(shoal_backlog_expects(backlog, shard), "\x90"));
    CHECK(shoal_backlog_at(backlog, 6) == NULL);
    CHECK(shoal_backlog_at(backlog, 8) == NULL);
    CHECK(shoal_backlog_end(backlog) == 8);
    CHECK(shoal_backlog_open(backlog, SHOAL_STAGE_MAP) == 1);
    shoal_backlog_destroy(&backlog);
    CHECK(backlog == NULL);
}

static void
the_largest_comes_first_and_equal_ones_keep_their_order(void)
{
    static const uint32_t costs[] = {0, 5, 5000000, 100, 5, SHOAL_COST_FIRST, 700, 699};
    static const uint32_t order[] = {5, 2, 6, 7, 3, 1, 4, 0};
    shoal_backlog_t *backlog = shoal_backlog_new();
    for (uint32_t i = 0; i < 8; i++) {
        add(backlog, i, costs[i]);
        shoal_backlog_set(backlog, i, SHOAL_SHARD_READY);
    }
    CHECK(shoal_backlog_count(backlog, SHOAL_SHARD_READY) == 8);
    for (uint32_t i = 0; i < 8; i++) {
        CHECK(shoal_backlog_peek(backlog) == order[i]);
        CHECK(shoal_backlog_pop(backlog) == order[i]);
        shoal_backlog_set(backlog, order[i], SHOAL_SHARD_RUNNING);
    }
    CHECK(shoal_backlog_pop(backlog) == SHOAL_SHARD_NONE);
    shoal_backlog_destroy(&backlog);
}

static void
costs_are_added_up_by_state(void)
{
    shoal_backlog_t *backlog = shoal_backlog_new();
    add(backlog, 0, 5000);
    add(backlog, 1, 0);                // counts a millisecond
    add(backlog, 2, SHOAL_COST_FIRST); // nothing
    CHECK(shoal_backlog_cost(backlog, SHOAL_SHARD_WAITING) == 6000);
    shoal_backlog_set(backlog, 0, SHOAL_SHARD_READY);
    shoal_backlog_set(backlog, 0, SHOAL_SHARD_RUNNING);
    shoal_backlog_set(backlog, 2, SHOAL_SHARD_READY);
    CHECK(shoal_backlog_cost(backlog, SHOAL_SHARD_WAITING) == 1000);
    CHECK(shoal_backlog_cost(backlog, SHOAL_SHARD_READY) == 0);
    CHECK(shoal_backlog_cost(backlog, SHOAL_SHARD_RUNNING) == 5000);
    shoal_backlog_set(backlog, 0, SHOAL_SHARD_DONE);
    CHECK(shoal_backlog_cost(backlog, SHOAL_SHARD_DONE) == 5000);
    shoal_backlog_destroy(&backlog);
}

static void
one_that_dies_while_it_is_ready_is_passed_over(void)
{
    shoal_backlog_t *backlog = shoal_backlog_new();
    add(backlog, 0, 50);
    add(backlog, 1, 50);
    shoal_backlog_set(backlog, 0, SHOAL_SHARD_READY);
    shoal_backlog_set(backlog, 1, SHOAL_SHARD_READY);
    shoal_backlog_set(backlog, 0, SHOAL_SHARD_DEAD);
    CHECK(shoal_backlog_count(backlog, SHOAL_SHARD_READY) == 1);
    CHECK(shoal_backlog_pop(backlog) == 1);
    CHECK(shoal_backlog_pop(backlog) == SHOAL_SHARD_NONE);
    CHECK(shoal_backlog_open(backlog, SHOAL_STAGE_MAP) == 1);
    shoal_backlog_destroy(&backlog);
}

static void
those_that_wait_for_a_shard_come_off_its_chain_one_by_one(void)
{
    shoal_backlog_t *backlog = shoal_backlog_new();
    add(backlog, 0, 1);
    uint64_t seen = 0;
    for (uint32_t i = 1; i <= 3; i++) {
        add(backlog, i, 1);
        shoal_backlog_at(backlog, i)->needs = 0;
        shoal_backlog_chain(backlog, i);
    }
    for (uint32_t waiter; (waiter = shoal_backlog_unchain(backlog, 0)) != SHOAL_SHARD_NONE;) {
        seen |= UINT64_C(1) << waiter;
    }
    CHECK(seen == 0xe);
    shoal_backlog_destroy(&backlog);
}

static void
what_is_too_much_is_refused(void)
{
    shoal_backlog_t *backlog = shoal_backlog_new();
    shoal_status_t status = SHOAL_STATUS_INIT;
    static char large[SHOAL_SHARD_BYTES_MAX];
    shoal_shard_item_t item = {.stage = SHOAL_STAGE_MAP, .args = {large, sizeof(large)}};
    CHECK_FAILS(shoal_backlog_add(backlog, 0, &item, &status), status, SHOAL_LIMIT);
    CHECK_SAYS(status.text, "bytes");
    item.args.len = 1;
    CHECK_FAILS(shoal_backlog_add(backlog, SHOAL_SHARDS_MAX, &item, &status), status, SHOAL_LIMIT);
    CHECK_OK(shoal_backlog_add(backlog, SHOAL_SHARDS_MAX - 1, &item, &status), status);
    shoal_backlog_destroy(&backlog);
}

static void
a_long_title_is_cut_between_characters(void)
{
    shoal_backlog_t *backlog = shoal_backlog_new();
    shoal_status_t status = SHOAL_STATUS_INIT;
    char title[400];
    for (size_t i = 0; i < sizeof(title); i += 2) {
        memcpy(title + i, "\xc3\xa9", 2);
    }
    shoal_shard_item_t item = {.stage = SHOAL_STAGE_MAP, .title = {title, sizeof(title)}};
    CHECK_OK(shoal_backlog_add(backlog, 0, &item, &status), status);
    CHECK(shoal_backlog_title(backlog, shoal_backlog_at(backlog, 0)).len == 254);
    shoal_backlog_destroy(&backlog);
}

#define MANY 1000000

static void
a_million_shards_stay_well_under_200_mib(void)
{
    CHECK(sizeof(shoal_shard_t) <= 64);
    shoal_backlog_t *backlog = shoal_backlog_new();
    static char text[100];
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_shard_item_t item = {.stage = SHOAL_STAGE_MAP,
                               .needs = SHOAL_SHARD_NONE,
                               .args = {text, sizeof(text)},
                               .title = SHOAL_SLICE("a title as they are")};
    for (uint32_t i = 0; i < MANY; i++) {
        item.cost_us = i * 2654435761U % 1000000;
        CHECK_OK(shoal_backlog_add(backlog, i, &item, &status), status);
        shoal_backlog_set(backlog, i, SHOAL_SHARD_READY);
    }
    struct mallinfo2 info = mallinfo2();
    size_t bytes = info.uordblks + info.hblkhd;
    // A sanitizer's malloc counts nothing here; then there is nothing to compare.
    CHECK(bytes < (size_t)200 << 20);
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t index = shoal_backlog_pop(backlog);
        uint32_t cost_us = shoal_backlog_at(backlog, index)->cost_us;
        CHECK(cost_us <= last + last / 8 + 1 || last == UINT32_MAX);
        last = cost_us;
        shoal_backlog_set(backlog, index, SHOAL_SHARD_DONE);
    }
    CHECK(shoal_backlog_count(backlog, SHOAL_SHARD_DONE) == MANY);
    CHECK(shoal_backlog_open(backlog, SHOAL_STAGE_MAP) == 0);
    shoal_backlog_destroy(&backlog);
}

TEST_MAIN(TEST(a_shard_keeps_its_texts_and_starts_waiting),
          TEST(the_largest_comes_first_and_equal_ones_keep_their_order),
          TEST(costs_are_added_up_by_state), TEST(one_that_dies_while_it_is_ready_is_passed_over),
          TEST(those_that_wait_for_a_shard_come_off_its_chain_one_by_one),
          TEST(what_is_too_much_is_refused), TEST(a_long_title_is_cut_between_characters),
          TEST(a_million_shards_stay_well_under_200_mib))
