// SPDX-License-Identifier: Apache-2.0
//
// test_books.c - what worker/books.h promises.

#include "proto/record/json.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"
#include "worker/books.h"
#include "worker/class.h"

// The books as JSON; the caller frees the buffer.
static const char *
as_json(const shoal_books_t *books, shoal_buffer_t *out)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    shoal_write_map(&detail, shoal_books_pairs(books));
    shoal_books_write(books, &detail);
    CHECK(detail.len <= SHOAL_RESULT_BYTES);
    CHECK_OK(shoal_json_write(shoal_buffer_slice(&detail), out, &status), status);
    shoal_buffer_fini(&detail);
    return shoal_buffer_text(out);
}

static void
what_was_counted_is_written(void)
{
    shoal_books_t books = {0};
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_status_t why = SHOAL_STATUS_INIT;
    char kind[] = "table";
    shoal_books_count(&books, 7, SHOAL_COUNT_DELIVERED, 2);
    shoal_books_count(&books, 7, SHOAL_COUNT_FAILED, 1);
    shoal_books_count(&books, 0, SHOAL_COUNT_DELIVERED, 5); // nowhere
    shoal_books_kind(&books, "table");
    shoal_books_kind(&books, kind);
    shoal_books_warn(&books, "slow");
    shoal_books_warn(&books, "slow");
    shoal_books_fact(&books, "snapshot", "none");
    shoal_books_fact(&books, "snapshot", "shared");
    shoal_fail_as(&why, SHOAL_DATA, SHOAL_LIMIT, "too big");
    shoal_books_error(&books, "orders", &why);
    assert_string_equal(as_json(&books, &json),
                        "{\"scopes\":[[7,2,0,0,0,1]],\"kinds\":{\"table\":2},"
                        "\"warnings\":[[\"slow\",2]],\"facts\":{\"snapshot\":\"shared\"},"
                        "\"errors\":[{\"class\":3,\"code\":3,\"message\":\"too big\","
                        "\"record\":\"orders\"}]}");
    shoal_buffer_clear(&json);
    shoal_books_clear(&books);
    assert_string_equal(as_json(&books, &json), "{}");
    shoal_buffer_fini(&json);
    shoal_books_fini(&books);
}

static void
many_scopes_are_kept_apart(void)
{
    shoal_books_t books = {0};
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t scope = 1; scope <= SHOAL_BOOKS_SCOPES_MAX; scope++) {
            shoal_books_count(&books, scope * 64, SHOAL_COUNT_DELIVERED, scope);
        }
    }
    CHECK(books.count == SHOAL_BOOKS_SCOPES_MAX && !books.is_full);
    for (size_t i = 0; i < books.size; i++) {
        const shoal_book_t *book = &books.table[i];
        CHECK(book->scope == 0 || book->counts[SHOAL_COUNT_DELIVERED] == 3 * (book->scope / 64));
    }
    shoal_books_count(&books, 1, SHOAL_COUNT_DELIVERED, 1);
    CHECK(books.is_full);
    shoal_books_fini(&books);
}

static void
the_fullest_books_fit_into_a_result(void)
{
    shoal_books_t books = {0};
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_status_t why = SHOAL_STATUS_INIT;
    char text[2000];
    memset(text, 'w', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    shoal_fail(&why, SHOAL_IO, "%s", text);
    for (uint32_t i = 1; i <= 2 * SHOAL_BOOKS_SCOPES_MAX; i++) {
        (void)snprintf(text, 10, "%09u", i);
        text[9] = 'w';
        for (unsigned what = 0; what < SHOAL_COUNTS; what++) {
            shoal_books_count(&books, UINT32_MAX - i, (shoal_count_t)what, UINT32_MAX);
        }
        shoal_books_kind(&books, text);
        shoal_books_warn(&books, text);
        shoal_books_fact(&books, text, text);
        shoal_books_error(&books, text, &why);
    }
    CHECK_SAYS(as_json(&books, &json), "[\"further warnings, left out\",8092]");
    CHECK(books.kind_count == SHOAL_BOOKS_KINDS_MAX);
    CHECK(books.error_count == SHOAL_BOOKS_ERRORS_MAX);
    shoal_buffer_fini(&json);
    shoal_books_fini(&books);
}

static void
a_long_text_is_cut_between_characters(void)
{
    shoal_books_t books = {0};
    char text[SHOAL_BOOKS_TEXT_MAX + 10];
    memset(text, 'a', sizeof(text));
    memcpy(text + SHOAL_BOOKS_TEXT_MAX - 1, "\xc3\xa9", 3); // a two-byte letter over the edge
    shoal_books_warn(&books, text);
    CHECK(strlen(books.warnings[0].text) == SHOAL_BOOKS_TEXT_MAX - 1);
    shoal_books_fini(&books);
}

TEST_MAIN(TEST(what_was_counted_is_written), TEST(many_scopes_are_kept_apart),
          TEST(the_fullest_books_fit_into_a_result), TEST(a_long_text_is_cut_between_characters))
