// SPDX-License-Identifier: Apache-2.0
//
// test_fqn.c - what proto/record/fqn.h promises.

#include "proto/record/fqn.h"
#include "tests/support/test.h"

static void
check_fqn(const char *const *parts, const char *expected)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    for (; *parts; parts++) {
        shoal_fqn_append(&out, shoal_slice_of(*parts));
    }
    assert_string_equal(shoal_buffer_text(&out), expected);
    shoal_buffer_fini(&out);
}

static void
check_name(const char *name, const char *expected)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_name_encode(&out, shoal_slice_of(name));
    assert_string_equal(shoal_buffer_text(&out), expected);
    shoal_buffer_fini(&out);
}

static void
parts_are_joined_by_dots(void)
{
    check_fqn((const char *const[]){"pg1", "sales", "public", "orders", NULL},
              "pg1.sales.public.orders");
    check_fqn((const char *const[]){"pg1", NULL}, "pg1");
}

static void
a_part_with_a_dot_is_quoted_once(void)
{
    check_fqn((const char *const[]){"pg1", "my.db", "x", NULL}, "pg1.\"my.db\".x");
    check_fqn((const char *const[]){"pg1", "\"my.db\"", NULL}, "pg1.\"my.db\"");
    check_fqn((const char *const[]){".", NULL}, "\".\"");
}

static void
quotes_without_need_are_taken_off(void)
{
    check_fqn((const char *const[]){"pg1", "\"plain\"", NULL}, "pg1.plain");
    check_fqn((const char *const[]){"\"", "\"\"", "a\"b", NULL}, "\".\"\".a\"b");
}

static void
spaces_newlines_and_emoji_stay(void)
{
    check_fqn((const char *const[]){"a b", "c\nd", "\xf0\x9f\x90\x9f", NULL},
              "a b.c\nd.\xf0\x9f\x90\x9f");
}

static void
reserved_characters_of_names_are_encoded(void)
{
    check_name("orders", "orders");
    check_name("", "");
    check_name("a::b", "a__reserved__colon__b");
    check_name("a:b", "a:b");
    check_name(":::", "__reserved__colon__:");
    check_name("a>b", "a__reserved__arrow__b");
    check_name("\"a\"", "__reserved__quote__a__reserved__quote__");
    check_name(">>", "__reserved__arrow____reserved__arrow__");
}

static void
an_empty_slice_is_an_empty_part(void)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_fqn_append(&out, SHOAL_SLICE("a"));
    shoal_fqn_append(&out, SHOAL_SLICE_NONE);
    shoal_name_encode(&out, SHOAL_SLICE_NONE);
    assert_string_equal(shoal_buffer_text(&out), "a.");
    shoal_buffer_fini(&out);
}

TEST_MAIN(TEST(parts_are_joined_by_dots), TEST(a_part_with_a_dot_is_quoted_once),
          TEST(quotes_without_need_are_taken_off), TEST(spaces_newlines_and_emoji_stay),
          TEST(reserved_characters_of_names_are_encoded), TEST(an_empty_slice_is_an_empty_part))
