// SPDX-License-Identifier: Apache-2.0
//
// test_regex.c - what connectors/regex.h promises beyond patterns.h.

#include "connectors/regex.h"
#include "tests/support/test.h"

static shoal_regex_t *
make(const char *text)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_regex_t *regex = NULL;
    CHECK_OK(shoal_regex_new(text, SHOAL_REGEX_SEARCH, "rules[0].from", &regex, &status), status);
    return regex;
}

// Replaces; `expected` NULL: nothing matches.
static void
check_replaced(const char *from, const char *to, const char *text, const char *expected)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_regex_t *regex = make(from);
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    bool is_changed = false;
    CHECK_OK(shoal_regex_check_replacement(regex, to, "rules[0].to", &status), status);
    CHECK_OK(shoal_regex_replace(regex, shoal_slice_of(text), to, 1000, &out, &is_changed, &status),
             status);
    CHECK(is_changed == (expected != NULL));
    assert_string_equal(shoal_buffer_text(&out), expected ? expected : "");
    shoal_buffer_fini(&out);
    shoal_regex_destroy(&regex);
}

static void
every_match_is_replaced(void)
{
    check_replaced("^prod_", "", "prod_prod_orders", "prod_orders");
    check_replaced("o", "0", "foo boo", "f00 b00");
    check_replaced("(\\w+)_(\\d+)", "\\2_\\1", "orders_2024", "2024_orders");
    check_replaced("(?P<year>\\d+)", "[\\g<year>]", "a12b34", "a[12]b[34]");
    check_replaced("a", "\\\\", "cat", "c\\t");
    check_replaced("at", "<\\0>", "cat", "c<at>");
    check_replaced("(x)?a", "\\1b", "a", "b"); // a group that took no part is empty
    check_replaced("x*", "-", "aé", "-a-é-");  // empty matches step over whole characters
    check_replaced("X", "-", "x", NULL);       // case counts
    check_replaced("$", "_t", "", "_t");
}

static void
a_replacement_that_names_no_group_is_refused(void)
{
    static const char *const wrong[] = {"\\1", "\\g<name>", "\\g<", "\\n", "a\\"};
    shoal_regex_t *regex = make("abc");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        CHECK_FAILS(shoal_regex_check_replacement(regex, wrong[i], "rules[0].to", &status), status,
                    SHOAL_INVALID);
        CHECK(strcmp(status.key, "rules[0].to") == 0);
    }
    shoal_regex_destroy(&regex);
}

static void
a_result_beyond_the_limit_is_an_error_of_this_record(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_regex_t *regex = make("a");
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    bool is_changed = false;
    shoal_buffer_append_text(&out, "kept");
    CHECK_FAILS(
        shoal_regex_replace(regex, SHOAL_SLICE("aaaa"), "12345", 10, &out, &is_changed, &status),
        status, SHOAL_LIMIT);
    CHECK(status.error_class == SHOAL_DATA);
    CHECK(out.len == 4);
    shoal_buffer_fini(&out);
    shoal_regex_destroy(&regex);
}

static void
text_that_is_not_utf8_is_survived(void)
{
    check_replaced("b", "c",
                   "a\xff\xfe"
                   "b",
                   "a\xff\xfe"
                   "c");
}

static void
a_match_limit_leaves_the_buffer_as_it_was(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_regex_t *regex = make("[qr].*[qr].*[qr].*[xy]");
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    char text[3000];
    bool is_changed = false;
    memset(text, 'q', sizeof(text));
    CHECK_FAILS(shoal_regex_replace(regex, (shoal_slice_t){text, sizeof(text)}, "", 10000, &out,
                                    &is_changed, &status),
                status, SHOAL_INVALID);
    CHECK(strcmp(status.key, "rules[0].from") == 0);
    CHECK(out.len == 0);
    shoal_buffer_fini(&out);
    shoal_regex_destroy(&regex);
}

TEST_MAIN(TEST(every_match_is_replaced), TEST(a_replacement_that_names_no_group_is_refused),
          TEST(a_result_beyond_the_limit_is_an_error_of_this_record),
          TEST(text_that_is_not_utf8_is_survived), TEST(a_match_limit_leaves_the_buffer_as_it_was))
