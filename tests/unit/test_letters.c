// SPDX-License-Identifier: Apache-2.0
//
// test_letters.c - what head/cluster/letters.h and head/cluster/history.h promise.

#include "head/cluster/history.h"
#include "head/cluster/letters.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

static shoal_letter_facts_t
facts_of(const shoal_status_t *why, const char *name)
{
    return (shoal_letter_facts_t){.kind = SHOAL_LETTER_RECORD,
                                  .run = 1,
                                  .why = why,
                                  .worker = "w1",
                                  .wall_ms = 5,
                                  .stage = "map",
                                  .title = SHOAL_SLICE("part"),
                                  .scope = 3,
                                  .scope_name = SHOAL_SLICE("svc.db"),
                                  .scope_of = SHOAL_SLICE("tables"),
                                  .name = shoal_slice_of(name),
                                  .type = SHOAL_SLICE("table"),
                                  .step = SHOAL_SLICE("sink"),
                                  .record = SHOAL_SLICE("\x81\xa1k\x01")};
}

typedef struct {
    unsigned puts;
    unsigned drops;
    uint64_t last;
    shoal_buffer_t bytes;
} kept_t;

static void
keep_put(void *ctx, uint64_t job, const shoal_letter_t *letter)
{
    kept_t *kept = ctx;
    CHECK(job == 7);
    kept->puts++;
    kept->last = letter->number;
    shoal_buffer_clear(&kept->bytes);
    shoal_buffer_append(&kept->bytes, letter->bytes, letter->len);
}

static void
keep_drop(void *ctx, uint64_t job, uint64_t number)
{
    kept_t *kept = ctx;
    CHECK(job == 7);
    kept->drops++;
    kept->last = number;
}

static void
letters_keep_their_numbers_and_grow(void)
{
    kept_t kept = {0};
    const shoal_letters_hooks_t hooks = {&kept, keep_put, keep_drop};
    uint64_t all = 0;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_status_t why = SHOAL_STATUS_INIT;
    shoal_letters_t *letters = shoal_letters_new(7, &all, &hooks);
    (void)shoal_fail_as(&why, SHOAL_DATA, SHOAL_INVALID, "bad \"x\"");
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        shoal_letter_facts_t facts = facts_of(&why, names[i]);
        CHECK(shoal_letters_add(letters, &facts, &status));
    }
    CHECK(kept.puts == 3 && shoal_letters_count(letters) == 3 && all > 0);
    shoal_letters_remove(letters, 2);
    shoal_letters_remove(letters, 2);
    CHECK(kept.drops == 1 && kept.last == 2);
    CHECK(!shoal_letters_find(letters, 2));
    CHECK(shoal_letters_next(letters, 2)->number == 3);
    CHECK(!shoal_letters_next(letters, 4));

    shoal_buffer_t tries = SHOAL_BUFFER_INIT;
    const shoal_try_t try = {2, 1, "failed", &why, "w2", 9};
    shoal_try_write(&try, &tries);
    shoal_letter_facts_t again = facts_of(&why, "c");
    again.run = 2;
    again.worker = "w2";
    again.step = SHOAL_SLICE_NONE;
    again.tries = shoal_buffer_slice(&tries);
    again.try_count = 1;
    shoal_letter_t *letter = shoal_letters_find(letters, 3);
    for (int i = 0; i < 30; i++) {
        shoal_letters_grow(letters, letter, &again);
    }
    shoal_cursor_t cursor = shoal_cursor_over(shoal_letter_part(letter, "attempts"));
    CHECK(shoal_cursor_array(&cursor) == SHOAL_LETTER_TRIES_MAX);
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_letter_show(letter, /*is_whole=*/false, &text);
    CHECK_OK(shoal_json_write(shoal_buffer_slice(&text), &json, &status), status);
    assert_string_equal(
        shoal_buffer_text(&json),
        "{\"run\":2,\"class\":3,\"code\":1,\"message\":\"bad \\\"x\\\"\",\"key\":\"\","
        "\"step\":\"sink\",\"worker\":\"w2\",\"time_ms\":5,\"letter\":3,\"kind\":\"record\","
        "\"stage\":\"map\",\"title\":\"part\",\"name\":\"c\",\"type\":\"table\","
        "\"scope\":\"svc.db\",\"of\":\"tables\",\"needs\":0}");

    // What was kept makes the same letter again.
    uint64_t all2 = 0;
    shoal_letters_t *others = shoal_letters_new(7, &all2, NULL);
    CHECK_OK(shoal_letters_restore(others, shoal_buffer_slice(&kept.bytes), &status), status);
    CHECK(shoal_letters_find(others, 3)->scope == 3);
    CHECK_FAILS(shoal_letters_restore(others, shoal_buffer_slice(&kept.bytes), &status), status,
                SHOAL_IO);
    CHECK_FAILS(shoal_letters_restore(others, SHOAL_SLICE("\x81"), &status), status, SHOAL_IO);
    CHECK_FAILS(shoal_letters_restore(others, SHOAL_SLICE("\x80"), &status), status, SHOAL_IO);
    letter = shoal_letters_add(others, &again, &status);
    CHECK(letter && letter->number == 4); // numbers go on
    shoal_letters_destroy(&others);
    CHECK(all2 == 0);
    shoal_letters_destroy(&letters);
    CHECK(all == 0);
    shoal_buffer_fini(&text);
    shoal_buffer_fini(&json);
    shoal_buffer_fini(&tries);
    shoal_buffer_fini(&kept.bytes);
}

static void
the_limit_names_the_commonest_cause(void)
{
    uint64_t all = 0;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_letters_t *letters = shoal_letters_new(1, &all, NULL);
    for (unsigned i = 0; i < SHOAL_LETTERS_MAX; i++) {
        shoal_status_t why = SHOAL_STATUS_INIT;
        if (i % 3 == 0) {
            (void)shoal_fail(&why, SHOAL_IO, "table %u is away", i);
        } else {
            (void)shoal_fail_as(&why, SHOAL_DATA, SHOAL_INVALID, "\"t%u\" has %u holes", i, i);
        }
        shoal_letter_facts_t facts = facts_of(&why, "x");
        CHECK(shoal_letters_add(letters, &facts, &status));
    }
    shoal_letter_facts_t one = facts_of(&status, "x");
    CHECK(!shoal_letters_add(letters, &one, &status));
    CHECK(status.code == SHOAL_LIMIT);
    CHECK_SAYS(status.text, "10000 dead letters");
    CHECK_SAYS(status.text, "(6666 of 10000) with: data, invalid: \"\" has # holes");
    shoal_status_clear(&status);
    CHECK_FAILS(shoal_letters_fit(letters, 1, 0, &status), status, SHOAL_LIMIT);
    shoal_letters_remove(letters, 1);
    CHECK_OK(shoal_letters_fit(letters, 1, 0, &status), status);
    CHECK_FAILS(shoal_letters_fit(letters, 1, SHOAL_LETTERS_BYTES_MAX, &status), status,
                SHOAL_LIMIT);
    all += SHOAL_LETTERS_ALL_BYTES_MAX;
    CHECK_FAILS(shoal_letters_fit(letters, 1, 0, &status), status, SHOAL_LIMIT);
    CHECK_SAYS(status.text, "shoal dlq drop");
    all -= SHOAL_LETTERS_ALL_BYTES_MAX;
    shoal_letters_destroy(&letters);
}

static void
a_history_keeps_the_newest_tries_of_a_shard(void)
{
    shoal_history_t *history = shoal_history_new();
    shoal_status_t why = SHOAL_STATUS_INIT;
    uint32_t count = 9;
    (void)shoal_fail(&why, SHOAL_UNAVAILABLE, "away");
    CHECK(shoal_history_of(NULL, 1, &count).len == 0 && count == 0);
    for (uint32_t i = 1; i <= SHOAL_HISTORY_TRIES_MAX + 2; i++) {
        const shoal_try_t try = {1, i, "lost", &why, "w", 7};
        shoal_history_add(history, 300, &try);
        shoal_history_add(history, 300 + 256, &try);
    }
    shoal_slice_t tries = shoal_history_of(history, 300, &count);
    CHECK(count == SHOAL_HISTORY_TRIES_MAX);
    shoal_cursor_t cursor = shoal_cursor_over(tries);
    CHECK(shoal_cursor_array(&cursor) == 8);
    CHECK(shoal_cursor_uint(&cursor) == 1 && shoal_cursor_uint(&cursor) == 3); // the oldest is gone
    shoal_history_forget(history, 300);
    shoal_history_forget(history, 300);
    CHECK(shoal_history_of(history, 300, &count).len == 0);
    CHECK(shoal_history_of(history, 300 + 256, &count).len > 0);
    for (uint32_t i = 0; i < SHOAL_HISTORY_SHARDS_MAX + 10; i++) {
        const shoal_try_t try = {1, 1, "failed", &why, "w", 7};
        shoal_history_add(history, 1000 + i, &try);
    }
    CHECK(shoal_history_of(history, 1000 + SHOAL_HISTORY_SHARDS_MAX + 5, &count).len == 0);
    shoal_history_destroy(&history);
}

TEST_MAIN(TEST(letters_keep_their_numbers_and_grow), TEST(the_limit_names_the_commonest_cause),
          TEST(a_history_keeps_the_newest_tries_of_a_shard))
