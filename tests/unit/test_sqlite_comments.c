// SPDX-License-Identifier: Apache-2.0
//
// test_sqlite_comments.c - what connectors/sqlite/comments.h promises.

#include "connectors/sqlite/comments.h"
#include "tests/support/test.h"

static void
note(void *ctx, shoal_slice_t column, shoal_slice_t text)
{
    shoal_buffer_append_format(ctx, "[%.*s] %.*s\n", SHOAL_SLICE_ARGS(column),
                               SHOAL_SLICE_ARGS(text));
}

static void
check(const char *sql, const char *expected)
{
    shoal_buffer_t told = SHOAL_BUFFER_INIT;
    shoal_sqlite_comments(shoal_slice_of(sql), note, &told);
    assert_string_equal(shoal_buffer_text(&told), expected);
    shoal_buffer_fini(&told);
}

static void
a_comment_at_a_lines_end_is_the_columns(void)
{
    check("CREATE TABLE t ( -- The table.\n"
          "  id INTEGER PRIMARY KEY, -- The number.\n"
          "  price DECIMAL(5, 2) /* In cents. */ NOT NULL,\n"
          "  plain TEXT,\n"
          "  kind TEXT CHECK (kind IN ('a', -- first\n"
          "    'b')) -- One of two.\n"
          ")",
          "[] The table.\n[id] The number.\n[price] In cents.\n[kind] first\n[kind] One of two.\n");
}

static void
a_comment_on_its_own_line_is_the_next_columns(void)
{
    check("CREATE TABLE t (\n"
          "  -- The number,\n"
          "  -- given once.\n"
          "  id INTEGER,\n"
          "\n"
          "  /* Its name. */\n"
          "  \"na me\" TEXT\n"
          ")",
          "[id] The number,\n[id] given once.\n[na me] Its name.\n");
}

static void
comments_of_constraints_and_behind_the_end_are_nobodys(void)
{
    check("CREATE TABLE t (\n"
          "  id INTEGER,\n"
          "  -- about the key\n"
          "  PRIMARY KEY (id), -- also about the key\n"
          "  CONSTRAINT c CHECK (id > 0) -- why\n"
          ") -- end\n",
          "");
}

static void
a_view_may_have_one_before_its_query(void)
{
    check("CREATE VIEW v AS -- What is left.\nSELECT a -- not this\nFROM t", "[] What is left.\n");
    check("CREATE VIEW v (a, b) AS /* Two. */ WITH x AS (SELECT 1) SELECT * FROM x", "[] Two.\n");
}

static void
quotes_and_strings_hide_marks(void)
{
    check("CREATE TABLE \"-- no (\" ([a -- b] TEXT DEFAULT '-- no', `c/*` INT -- Yes.\n)",
          "[c/*] Yes.\n");
}

static void
text_that_is_cut_off_is_no_problem(void)
{
    static const char sql[] = "CREATE TABLE \"t\" ( -- a\n [x] TEXT DEFAULT 'y''z', -- b\n"
                              " /* c */ `d` INT CHECK (d > (1)))";
    for (size_t len = 0; len < sizeof(sql); len++) {
        char *copy = malloc(len > 0 ? len : 1); // so that reading behind it is seen
        CHECK(copy != NULL);
        memcpy(copy, sql, len);
        shoal_buffer_t told = SHOAL_BUFFER_INIT;
        shoal_sqlite_comments((shoal_slice_t){copy, len}, note, &told);
        shoal_buffer_fini(&told);
        free(copy);
    }
    check("", "");
    check("CREATE VIRTUAL TABLE t USING fts5(a -- b\n)", "");
}

TEST_MAIN(TEST(a_comment_at_a_lines_end_is_the_columns),
          TEST(a_comment_on_its_own_line_is_the_next_columns),
          TEST(comments_of_constraints_and_behind_the_end_are_nobodys),
          TEST(a_view_may_have_one_before_its_query), TEST(quotes_and_strings_hide_marks),
          TEST(text_that_is_cut_off_is_no_problem))
