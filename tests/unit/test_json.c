// SPDX-License-Identifier: Apache-2.0
//
// test_json.c - what proto/record/json.h promises; jansson reads what we write.

#include <jansson.h>
#include <math.h>

#include "proto/record/json.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

static shoal_buffer_t value; // what a test writes as msgpack
static shoal_buffer_t text;  // and its JSON

static void
check_json(const char *expected)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_clear(&text);
    CHECK_OK(shoal_json_write(shoal_buffer_slice(&value), &text, &status), status);
    assert_string_equal(shoal_buffer_text(&text), expected);
    shoal_buffer_fini(&value);
    shoal_buffer_fini(&text);
}

static void
check_text(shoal_slice_t from, const char *expected)
{
    shoal_json_write_text(from, &text);
    assert_string_equal(shoal_buffer_text(&text), expected);
    shoal_buffer_fini(&text);
}

static void
scalars_have_their_json_form(void)
{
    shoal_write_array(&value, 11);
    shoal_write_nil(&value);
    shoal_write_bool(&value, true);
    shoal_write_bool(&value, false);
    shoal_write_uint(&value, 0);
    shoal_write_uint(&value, UINT64_MAX);
    shoal_write_int(&value, INT64_MIN);
    shoal_write_int(&value, -1);
    shoal_write_float(&value, 0.1);
    shoal_write_float(&value, 2);
    shoal_write_float(&value, 1e300);
    shoal_write_float(&value, -0.0);
    check_json("[null,true,false,0,18446744073709551615,-9223372036854775808,-1,0.1,2.0,1e+300,"
               "-0.0]");
}

static void
what_json_cannot_say_is_null_and_bin_is_base64(void)
{
    shoal_write_array(&value, 7);
    shoal_write_float(&value, (double)NAN);
    shoal_write_float(&value, (double)INFINITY);
    shoal_write_raw(&value, SHOAL_SLICE("\xd4\x01\x02")); // ext
    shoal_write_bin(&value, SHOAL_SLICE(""));
    shoal_write_bin(&value, SHOAL_SLICE("\x00\xff\x10\x83"));
    shoal_write_bin(&value, SHOAL_SLICE("ab"));
    shoal_write_bin(&value, SHOAL_SLICE("abc"));
    check_json("[null,null,null,\"\",\"AP8Qgw==\",\"YWI=\",\"YWJj\"]");
}

static void
containers_nest_and_may_be_empty(void)
{
    shoal_write_map(&value, 3);
    shoal_write_key(&value, "a");
    shoal_write_array(&value, 0);
    shoal_write_key(&value, "b");
    shoal_write_map(&value, 0);
    shoal_write_key(&value, "c");
    shoal_write_array(&value, 2);
    shoal_write_array(&value, 1);
    shoal_write_uint(&value, 1);
    shoal_write_map(&value, 1);
    shoal_write_key(&value, "d");
    shoal_write_nil(&value);
    check_json("{\"a\":[],\"b\":{},\"c\":[[1],{\"d\":null}]}");
}

static void
keys_that_are_no_strings_become_text(void)
{
    shoal_write_map(&value, 4);
    shoal_write_uint(&value, 7);
    shoal_write_uint(&value, 1);
    shoal_write_nil(&value);
    shoal_write_uint(&value, 2);
    shoal_write_bool(&value, true);
    shoal_write_uint(&value, 3);
    shoal_write_bin(&value, SHOAL_SLICE("abc"));
    shoal_write_uint(&value, 4);
    check_json("{\"7\":1,\"null\":2,\"true\":3,\"YWJj\":4}");
}

static void
characters_are_escaped_where_json_wants_it(void)
{
    check_text(SHOAL_SLICE(""), "\"\"");
    check_text(SHOAL_SLICE_NONE, "\"\"");
    check_text(SHOAL_SLICE("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
    check_text(SHOAL_SLICE("\b\t\n\f\r\x01\x1f\x7f"), "\"\\b\\t\\n\\f\\r\\u0001\\u001f\x7f\"");
    check_text(SHOAL_SLICE("a\0b"), "\"a\\u0000b\"");
    check_text(SHOAL_SLICE("twelve bytes and \"quotes\" behind them"),
               "\"twelve bytes and \\\"quotes\\\" behind them\"");
}

static void
utf8_passes_and_wrong_bytes_are_replaced_one_by_one(void)
{
    check_text(SHOAL_SLICE("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f"),
               "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f\"");
    check_text(SHOAL_SLICE("a\xff"
                           "b"),
               "\"a\xef\xbf\xbd"
               "b\"");
    check_text(SHOAL_SLICE("\xc0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\""); // overlong
    check_text(SHOAL_SLICE("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    check_text(SHOAL_SLICE("\xf4\x90\x80\x80"),
               "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    check_text(SHOAL_SLICE("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\""); // cut
}

// Every byte at every place of a longish string; jansson must read back what went in.
static void
every_byte_at_every_place_reads_back(void)
{
    for (unsigned byte = 1; byte < 128; byte++) {
        for (size_t place = 0; place < 20; place++) {
            char from[20];
            memset(from, 'x', sizeof(from));
            from[place] = (char)byte;
            shoal_json_write_text((shoal_slice_t){from, sizeof(from)}, &text);
            json_t *back = json_loadb(text.ptr, text.len, JSON_DECODE_ANY, NULL);
            CHECK(back && json_string_length(back) == sizeof(from));
            CHECK(memcmp(json_string_value(back), from, sizeof(from)) == 0);
            json_decref(back);
            shoal_buffer_clear(&text);
        }
    }
    shoal_buffer_fini(&text);
}

static void
escapes_without_end_grow_the_buffer(void)
{
    enum { LEN = 100000 };
    char *from = malloc(LEN);
    memset(from, 1, LEN);
    shoal_json_write_text((shoal_slice_t){from, LEN}, &text);
    CHECK(text.len == 2 + 6 * (size_t)LEN);
    shoal_buffer_clear(&text);
    memset(from, 0xff, LEN);
    shoal_json_write_text((shoal_slice_t){from, LEN}, &text);
    CHECK(text.len == 2 + 3 * (size_t)LEN);
    shoal_buffer_fini(&text);
    free(from);
}

static void
check_refused(const char *word)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_append_text(&text, "before");
    CHECK_FAILS(shoal_json_write(shoal_buffer_slice(&value), &text, &status), status,
                SHOAL_PROTOCOL);
    CHECK(status.error_class == SHOAL_DATA);
    CHECK_SAYS(status.text, word);
    assert_string_equal(shoal_buffer_text(&text), "before");
    shoal_buffer_fini(&value);
    shoal_buffer_fini(&text);
}

static void
malformed_values_are_refused_and_leave_nothing(void)
{
    check_refused("malformed"); // no byte at all
    shoal_write_raw(&value, SHOAL_SLICE("\xc1"));
    check_refused("malformed");
    shoal_write_raw(&value, SHOAL_SLICE("\x92\x01"));
    check_refused("malformed");
    shoal_write_raw(&value, SHOAL_SLICE("\x01\x02"));
    check_refused("malformed");
    shoal_write_raw(&value, SHOAL_SLICE("\xdd\xff\xff\xff\xff"));
    check_refused("malformed");
    shoal_write_raw(&value, SHOAL_SLICE("\x82\xa1"
                                        "a\xa5xx"));
    check_refused("malformed");
    shoal_write_raw(&value, SHOAL_SLICE("\x81\x90\x01"));
    check_refused("key");
}

static void
nesting_has_a_limit(void)
{
    for (int i = 0; i < SHOAL_JSON_DEPTH_MAX - 1; i++) {
        shoal_write_array(&value, 1);
    }
    shoal_write_array(&value, 0);
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_json_write(shoal_buffer_slice(&value), &text, &status), status);
    CHECK(text.len == 2 * SHOAL_JSON_DEPTH_MAX);
    shoal_buffer_fini(&text);
    shoal_buffer_clear(&value);
    for (int i = 0; i < 100000; i++) {
        shoal_write_array(&value, 1);
    }
    shoal_write_nil(&value);
    check_refused("deeper than 64");
}

TEST_MAIN(TEST(scalars_have_their_json_form), TEST(what_json_cannot_say_is_null_and_bin_is_base64),
          TEST(containers_nest_and_may_be_empty), TEST(keys_that_are_no_strings_become_text),
          TEST(characters_are_escaped_where_json_wants_it),
          TEST(utf8_passes_and_wrong_bytes_are_replaced_one_by_one),
          TEST(every_byte_at_every_place_reads_back), TEST(escapes_without_end_grow_the_buffer),
          TEST(malformed_values_are_refused_and_leave_nothing), TEST(nesting_has_a_limit))
