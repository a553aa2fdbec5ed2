// SPDX-License-Identifier: Apache-2.0
//
// test_head_books.c - what head/cluster/books.h promises.

#include "head/cluster/books.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

static shoal_scope_t *
scope_open(shoal_books_t *books, uint64_t number, const char *name)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_books_open(books, number, shoal_slice_of(name), SHOAL_SLICE("tables"), &status),
             status);
    return shoal_books_scope(books, number);
}

// {"scopes": [[1, delivered, filtered, vanished, appeared, failed]], "kinds": {"table": delivered}}
static void
detail_write(shoal_buffer_t *out, const uint64_t numbers[5])
{
    shoal_write_map(out, 2);
    shoal_write_key(out, "scopes");
    shoal_write_array(out, 1);
    shoal_write_array(out, 6);
    shoal_write_uint(out, 1);
    for (int i = 0; i < 5; i++) {
        shoal_write_uint(out, numbers[i]);
    }
    shoal_write_key(out, "kinds");
    shoal_write_map(out, 1);
    shoal_write_key(out, "table");
    shoal_write_uint(out, numbers[0]);
}

static void
a_scope_balances_when_everything_listed_is_accounted_for(void)
{
    shoal_books_t books = {0};
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_scope_t *scope = scope_open(&books, 1, "db.public");
    CHECK(!shoal_scope_is_complete(scope));
    shoal_books_listed(&books, scope, 10);
    shoal_books_listed(&books, scope, 99); // said again
    CHECK(shoal_scope_is_complete(scope) && !shoal_scope_is_balanced(scope));
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    detail_write(&detail, (const uint64_t[5]){6, 2, 1, 1, 1});
    CHECK_OK(shoal_books_take(&books, shoal_buffer_slice(&detail), 6, "w", &status), status);
    CHECK(!shoal_scope_is_balanced(scope)); // 10 + 1 = 6 + 2 + 1 + 1 and one is missing
    shoal_books_bury(&books, SHOAL_SLICE("\x91\x92\x01\x01"));
    CHECK(shoal_scope_is_balanced(scope));
    CHECK(books.successful == 6 && books.filtered == 2 && books.vanished == 1 && books.failed == 2);
    CHECK(books.kind_count == 1 && books.kinds[0].count == 6);
    CHECK(shoal_slice_is(shoal_books_scope_name(&books, scope), "db.public"));
    CHECK(shoal_slice_is(shoal_books_scope_of(&books, scope), "tables"));
    shoal_buffer_fini(&detail);
    shoal_books_fini(&books);
}

static void
a_detail_that_is_malformed_counts_nothing(void)
{
    static const shoal_slice_t wrong[] = {
        {"\x01", 1},
        {"\x81\xa6scopes\x01", 9},
        {"\x81\xa6scopes\x91\x91\x01", 11},
        {"\x81\xa5kinds\x81\xa1t\xa1x", 12},
        {"\x81\xa6"
         "errors\x91\x01",
         10},
        {"\x81\xa8warnings\x91\x92\x01\x01", 14},
        {"\x81\xa5"
         "facts\x81\x01\x01",
         10},
        {"\x82\xa5kinds\x81\xa1t\x05", 11},
    };
    shoal_books_t books = {0};
    shoal_status_t status = SHOAL_STATUS_INIT;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_FAILS(shoal_books_take(&books, wrong[i], 7, "w", &status), status, SHOAL_PROTOCOL);
        CHECK_SAYS(status.text, "detail");
    }
    CHECK(books.successful == 0 && books.kind_count == 0);
    shoal_books_fini(&books);
}

static void
records_count_when_the_detail_names_no_kinds(void)
{
    shoal_books_t books = {0};
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_books_take(&books, SHOAL_SLICE_NONE, 5, "w", &status), status);
    CHECK_OK(shoal_books_take(&books, SHOAL_SLICE("\x80"), 2, "w", &status), status);
    CHECK(books.successful == 7);
    shoal_books_fini(&books);
}

static void
what_discovery_says_again_is_not_filtered_twice(void)
{
    shoal_books_t books = {0};
    shoal_scope_t *scope = scope_open(&books, 1, "s");
    shoal_books_filtered(&books, scope, 2, /*by=*/1, /*cursors=*/0);
    shoal_books_filtered(&books, scope, 1, 1, 0);
    CHECK(scope->filtered == 3);
    shoal_books_filtered(&books, scope, 2, 2, 0); // another attempt, from the start
    shoal_books_filtered(&books, scope, 1, 2, 0);
    CHECK(scope->filtered == 3);
    shoal_books_filtered(&books, scope, 1, 2, 0);
    CHECK(scope->filtered == 4 && books.filtered == 4);
    shoal_books_filtered(&books, scope, 5, 2, 1);
    shoal_books_filtered(&books, scope, 5, 3, 1); // one that goes on from the cursor
    CHECK(scope->filtered == 9);
    shoal_books_fini(&books);
}

static void
equal_errors_are_counted_and_too_many_are_left_out(void)
{
    shoal_books_t books = {0};
    shoal_status_t error = SHOAL_STATUS_INIT;
    (void)shoal_fail(&error, SHOAL_UNAVAILABLE, "server closed the connection");
    shoal_books_error(&books, &error, SHOAL_SLICE("shard 1"), "w1");
    shoal_books_error(&books, &error, SHOAL_SLICE("shard 2"), "w2");
    CHECK(books.error_count == 1 && books.errors[0].count == 2);
    CHECK(strcmp(books.errors[0].where, "shard 1") == 0);
    for (int i = 0; i < SHOAL_ERRORS_MAX + 4; i++) {
        (void)shoal_fail(&error, SHOAL_IO, "error %d", i);
        shoal_books_error(&books, &error, SHOAL_SLICE_NONE, "w");
    }
    CHECK(books.error_count == SHOAL_ERRORS_MAX && books.errors_left_out == 5);
    shoal_books_fini(&books);
}

static void
scopes_have_limits(void)
{
    shoal_books_t books = {0};
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_slice_t name = SHOAL_SLICE("s");
    CHECK_FAILS(shoal_books_open(&books, SHOAL_SCOPES_MAX, name, name, &status), status,
                SHOAL_LIMIT);
    CHECK_SAYS(status.text, "scopes");
    static char large[2000];
    CHECK_FAILS(shoal_books_open(&books, 1, (shoal_slice_t){large, sizeof(large)}, name, &status),
                status, SHOAL_LIMIT);
    CHECK_OK(shoal_books_open(&books, SHOAL_SCOPES_MAX - 1, name, name, &status), status);
    CHECK(shoal_books_scope(&books, 5) == NULL);
    CHECK(shoal_books_scope(&books, UINT64_MAX) == NULL);
    shoal_books_fini(&books);
}

TEST_MAIN(TEST(a_scope_balances_when_everything_listed_is_accounted_for),
          TEST(a_detail_that_is_malformed_counts_nothing),
          TEST(records_count_when_the_detail_names_no_kinds),
          TEST(what_discovery_says_again_is_not_filtered_twice),
          TEST(equal_errors_are_counted_and_too_many_are_left_out), TEST(scopes_have_limits))
