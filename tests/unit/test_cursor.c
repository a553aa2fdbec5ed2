// SPDX-License-Identifier: Apache-2.0
//
// test_cursor.c - what proto/record/cursor.h promises, with msgpack-c as the oracle.

#include <math.h>

#include <msgpack.h>

#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

static shoal_cursor_t
over(const shoal_buffer_t *buffer)
{
    return shoal_cursor_over(shoal_buffer_slice(buffer));
}

// ---- the same values as the oracle

static bool
same_text(shoal_slice_t slice, const char *ptr, size_t len)
{
    return shoal_slice_equal(slice, (shoal_slice_t){ptr, len});
}

static void compare(shoal_cursor_t *cursor, const msgpack_object *object);

static void
compare_members(shoal_cursor_t *cursor, const msgpack_object *object)
{
    if (object->type == MSGPACK_OBJECT_ARRAY) {
        CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_ARRAY);
        uint32_t count = shoal_cursor_array(cursor);
        CHECK(count == object->via.array.size);
        for (uint32_t i = 0; i < count; i++) {
            compare(cursor, &object->via.array.ptr[i]);
        }
        return;
    }
    CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_MAP);
    uint32_t pairs = shoal_cursor_map(cursor);
    CHECK(pairs == object->via.map.size);
    for (uint32_t i = 0; i < pairs; i++) {
        compare(cursor, &object->via.map.ptr[i].key);
        compare(cursor, &object->via.map.ptr[i].val);
    }
}

static void
compare_number(shoal_cursor_t *cursor, const msgpack_object *object)
{
    shoal_cursor_t again = *cursor;
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
        CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_UINT ||
              shoal_cursor_peek(cursor) == SHOAL_VALUE_INT); // a positive one in a signed form
        if (shoal_cursor_peek(cursor) == SHOAL_VALUE_UINT) {
            CHECK(shoal_cursor_uint(cursor) == object->via.u64);
        } else {
            CHECK(shoal_cursor_int(cursor) == (int64_t)object->via.u64);
        }
        (void)shoal_cursor_int(&again);
        CHECK(again.is_bad == (object->via.u64 > INT64_MAX));
    } else if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_INT);
        CHECK(shoal_cursor_int(cursor) == object->via.i64);
    } else {
        CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_FLOAT);
        double ours = shoal_cursor_float(cursor);
        CHECK(memcmp(&ours, &object->via.f64, sizeof(ours)) == 0 || isnan(ours));
    }
}

static void
compare(shoal_cursor_t *cursor, const msgpack_object *object)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL: CHECK(shoal_cursor_nil(cursor)); break;
    case MSGPACK_OBJECT_BOOLEAN:
        CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_BOOL);
        CHECK(shoal_cursor_bool(cursor) == object->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: compare_number(cursor, object); break;
    case MSGPACK_OBJECT_STR:
        CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_STR);
        CHECK(same_text(shoal_cursor_str(cursor), object->via.str.ptr, object->via.str.size));
        break;
    case MSGPACK_OBJECT_BIN:
        CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_BIN);
        CHECK(same_text(shoal_cursor_bin(cursor), object->via.bin.ptr, object->via.bin.size));
        break;
    case MSGPACK_OBJECT_EXT:
        CHECK(shoal_cursor_peek(cursor) == SHOAL_VALUE_EXT);
        shoal_cursor_skip(cursor);
        break;
    case MSGPACK_OBJECT_ARRAY:
    case MSGPACK_OBJECT_MAP:
    default: compare_members(cursor, object); break;
    }
    CHECK(!cursor->is_bad);
}

static void
pack_leaf(test_random_t *random, msgpack_packer *packer)
{
    static const char text[70000];
    static const size_t lengths[] = {0, 1, 2, 4, 8, 16, 31, 32, 255, 256, 65535, 65536};
    size_t len = lengths[test_random_below(random, test_random_below(random, 50) ? 8 : 12)];
    uint64_t value = test_random_edge(random);
    switch (test_random_below(random, 9)) {
    case 0: msgpack_pack_nil(packer); break;
    case 1: (void)((value & 1) ? msgpack_pack_true(packer) : msgpack_pack_false(packer)); break;
    case 2: msgpack_pack_uint64(packer, value); break;
    case 3: msgpack_pack_int64(packer, (int64_t)value); break;
    case 4: msgpack_pack_double(packer, (double)(int64_t)value / 3); break;
    case 5: msgpack_pack_float(packer, (float)(int64_t)value / 3); break;
    case 6: msgpack_pack_bin_with_body(packer, text, len); break;
    case 7: msgpack_pack_ext_with_body(packer, text, len, 5); break;
    default: msgpack_pack_str_with_body(packer, text, len); break;
    }
}

static void
pack_random(test_random_t *random, msgpack_packer *packer, unsigned depth)
{
    size_t count = test_random_below(random, test_random_below(random, 20) ? 6 : 40);
    uint64_t kind = depth == 0 ? 9 : test_random_below(random, 4);
    if (kind == 0) {
        msgpack_pack_array(packer, count);
    } else if (kind == 1) {
        msgpack_pack_map(packer, count);
        count *= 2;
    } else {
        pack_leaf(random, packer);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        pack_random(random, packer, depth - 1);
    }
}

static void
random_values_read_as_the_oracle_reads_them(void)
{
    test_random_t random = test_random_start();
    for (int round = 0; round < 2000; round++) {
        msgpack_sbuffer bytes;
        msgpack_packer packer;
        msgpack_sbuffer_init(&bytes);
        msgpack_packer_init(&packer, &bytes, msgpack_sbuffer_write);
        pack_random(&random, &packer, 6);
        msgpack_unpacked unpacked;
        msgpack_unpacked_init(&unpacked);
        size_t offset = 0;
        CHECK(msgpack_unpack_next(&unpacked, bytes.data, bytes.size, &offset) ==
              MSGPACK_UNPACK_SUCCESS);
        shoal_slice_t slice = {bytes.data, bytes.size};
        shoal_cursor_t cursor = shoal_cursor_over(slice);
        compare(&cursor, &unpacked.data);
        CHECK(shoal_cursor_is_done(&cursor));
        cursor = shoal_cursor_over(slice);
        CHECK(shoal_slice_equal(shoal_cursor_value(&cursor), slice));
        CHECK(shoal_cursor_is_done(&cursor));
        CHECK(shoal_cursor_check(slice, 6));
        msgpack_unpacked_destroy(&unpacked);
        msgpack_sbuffer_destroy(&bytes);
    }
}

// ---- malformed input

static void
read_anything(shoal_slice_t bytes)
{
    shoal_cursor_t cursor = shoal_cursor_over(bytes);
    while (!cursor.is_bad && shoal_cursor_left(&cursor) > 0) {
        switch (shoal_cursor_peek(&cursor)) {
        case SHOAL_VALUE_NIL: CHECK(shoal_cursor_nil(&cursor)); break;
        case SHOAL_VALUE_BOOL: (void)shoal_cursor_bool(&cursor); break;
        case SHOAL_VALUE_UINT: (void)shoal_cursor_uint(&cursor); break;
        case SHOAL_VALUE_INT: (void)shoal_cursor_int(&cursor); break;
        case SHOAL_VALUE_FLOAT: (void)shoal_cursor_float(&cursor); break;
        case SHOAL_VALUE_STR: (void)shoal_cursor_str(&cursor); break;
        case SHOAL_VALUE_BIN: (void)shoal_cursor_bin(&cursor); break;
        case SHOAL_VALUE_ARRAY: (void)shoal_cursor_array(&cursor); break;
        case SHOAL_VALUE_MAP: (void)shoal_cursor_map(&cursor); break;
        case SHOAL_VALUE_EXT:
        case SHOAL_VALUE_BAD:
        default: shoal_cursor_skip(&cursor); break;
        }
    }
    CHECK(cursor.at == cursor.end);
}

static void
random_bytes_are_refused_exactly_where_the_oracle_refuses(void)
{
    test_random_t random = test_random_start();
    for (int round = 0; round < 50000; round++) {
        char bytes[24];
        size_t len = 1 + test_random_below(&random, sizeof(bytes));
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (char)test_random_next(&random);
            if (test_random_below(&random, 2)) { // a head of some kind more often
                bytes[i] = (char)(0x80U | test_random_next(&random));
            }
        }
        char *exact = malloc(len); // so that the sanitizer sees a byte too many
        memcpy(exact, bytes, len);
        shoal_slice_t slice = {exact, len};
        shoal_cursor_t cursor = shoal_cursor_over(slice);
        shoal_slice_t value = shoal_cursor_value(&cursor);
        bool is_ours = !cursor.is_bad;
        // The oracle reserves what a count of 32 bits claims, so lies of that size are kept from it.
        if (is_ours || (!memchr(exact, 0xdd, len) && !memchr(exact, 0xdf, len))) {
            msgpack_unpacked unpacked;
            msgpack_unpacked_init(&unpacked);
            size_t offset = 0;
            bool is_theirs =
                msgpack_unpack_next(&unpacked, exact, len, &offset) == MSGPACK_UNPACK_SUCCESS;
            CHECK(is_theirs == is_ours);
            if (is_ours) {
                CHECK(offset == value.len);
                shoal_cursor_t again = shoal_cursor_over(slice);
                compare(&again, &unpacked.data);
            }
            msgpack_unpacked_destroy(&unpacked);
        }
        CHECK(shoal_cursor_check((shoal_slice_t){exact, is_ours ? value.len : len}, 64) == is_ours);
        read_anything(slice);
        free(exact);
    }
}

static void
a_value_cut_at_any_byte_is_bad(void)
{
    shoal_buffer_t whole = SHOAL_BUFFER_INIT;
    char text[300];
    memset(text, 't', sizeof(text));
    shoal_write_map(&whole, 5);
    shoal_write_key(&whole, "short");
    shoal_write_str(&whole, (shoal_slice_t){text, 20});
    shoal_write_key(&whole, "long");
    shoal_write_str(&whole, (shoal_slice_t){text, sizeof(text)});
    shoal_write_key(&whole, "numbers");
    shoal_write_array(&whole, 18);
    for (unsigned i = 0; i < 16; i++) {
        shoal_write_uint(&whole, UINT64_C(1) << (4 * i));
    }
    shoal_write_int(&whole, INT64_MIN);
    shoal_write_float(&whole, 1.5);
    shoal_write_key(&whole, "bin");
    shoal_write_bin(&whole, (shoal_slice_t){text, 5});
    shoal_write_key(&whole, "rest");
    shoal_write_array(&whole, 3);
    shoal_write_nil(&whole);
    shoal_write_bool(&whole, true);
    shoal_write_map(&whole, 0);
    CHECK(shoal_cursor_check(shoal_buffer_slice(&whole), 2));
    CHECK(!shoal_cursor_check(shoal_buffer_slice(&whole), 1));
    for (size_t len = 0; len < whole.len; len++) {
        char *cut = malloc(len ? len : 1);
        memcpy(cut, whole.ptr, len);
        shoal_slice_t slice = {cut, len};
        shoal_cursor_t cursor = shoal_cursor_over(slice);
        CHECK(shoal_cursor_value(&cursor).len == 0 && cursor.is_bad);
        CHECK(!shoal_cursor_check(slice, 64));
        read_anything(slice);
        shoal_slice_t value;
        (void)shoal_map_find(slice, "rest", &value);
        free(cut);
    }
    shoal_buffer_fini(&whole);
}

static void
a_bad_cursor_stays_bad(void)
{
    shoal_cursor_t cursor = shoal_cursor_over(SHOAL_SLICE("\xa1x\x01\x02\x03"));
    CHECK(shoal_cursor_uint(&cursor) == 0 && cursor.is_bad);
    CHECK(shoal_cursor_left(&cursor) == 0 && !shoal_cursor_is_done(&cursor));
    CHECK(shoal_cursor_peek(&cursor) == SHOAL_VALUE_BAD);
    CHECK(shoal_cursor_uint(&cursor) == 0 && shoal_cursor_int(&cursor) == 0);
    CHECK(shoal_cursor_str(&cursor).len == 0 && shoal_cursor_bin(&cursor).len == 0);
    CHECK(shoal_cursor_array(&cursor) == 0 && shoal_cursor_map(&cursor) == 0);
    CHECK(!shoal_cursor_bool(&cursor) && !shoal_cursor_nil(&cursor));
    CHECK(shoal_cursor_value(&cursor).len == 0 && cursor.is_bad);
    CHECK(shoal_cursor_float(&cursor) < 1e-9);
}

static void
each_reader_refuses_other_kinds(void)
{
    for (unsigned first = 0; first < 256; first++) {
        char bytes[20] = {(char)first};
        shoal_slice_t slice = {bytes, sizeof(bytes)};
        shoal_value_kind_t kind = (shoal_value_kind_t)shoal_value_kinds[first];
        shoal_cursor_t cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_uint(&cursor);
        CHECK(cursor.is_bad == (kind != SHOAL_VALUE_UINT));
        cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_int(&cursor);
        CHECK(cursor.is_bad == (kind != SHOAL_VALUE_UINT && kind != SHOAL_VALUE_INT));
        cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_float(&cursor);
        CHECK(cursor.is_bad ==
              (kind != SHOAL_VALUE_UINT && kind != SHOAL_VALUE_INT && kind != SHOAL_VALUE_FLOAT));
        cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_bool(&cursor);
        CHECK(cursor.is_bad == (kind != SHOAL_VALUE_BOOL));
        cursor = shoal_cursor_over(slice);
        CHECK(shoal_cursor_nil(&cursor) == (kind == SHOAL_VALUE_NIL) && !cursor.is_bad);
        bool is_cut = first > 0xb3 && first < 0xc0; // a text longer than the bytes there are
        cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_str(&cursor);
        CHECK(cursor.is_bad == (kind != SHOAL_VALUE_STR || is_cut));
        cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_str_or_nil(&cursor);
        CHECK(cursor.is_bad == (kind != SHOAL_VALUE_NIL && (kind != SHOAL_VALUE_STR || is_cut)));
        cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_bin(&cursor);
        CHECK(cursor.is_bad == (kind != SHOAL_VALUE_BIN));
        cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_array(&cursor);
        CHECK(cursor.is_bad == (kind != SHOAL_VALUE_ARRAY));
        cursor = shoal_cursor_over(slice);
        (void)shoal_cursor_map(&cursor);
        CHECK(cursor.is_bad == (kind != SHOAL_VALUE_MAP || (first > 0x89 && first < 0x90)));
    }
}

static void
counts_that_cannot_be_true_are_refused(void)
{
    shoal_cursor_t cursor = shoal_cursor_over(SHOAL_SLICE("\xdd\xff\xff\xff\xff"));
    CHECK(shoal_cursor_array(&cursor) == 0 && cursor.is_bad);
    cursor = shoal_cursor_over(SHOAL_SLICE("\xdf\xff\xff\xff\xff\x01\x01"));
    CHECK(shoal_cursor_map(&cursor) == 0 && cursor.is_bad);
    cursor = shoal_cursor_over(SHOAL_SLICE("\x92\x01"));
    CHECK(shoal_cursor_array(&cursor) == 0 && cursor.is_bad);
    cursor = shoal_cursor_over(SHOAL_SLICE("\x81\x01"));
    CHECK(shoal_cursor_map(&cursor) == 0 && cursor.is_bad);
    cursor = shoal_cursor_over(SHOAL_SLICE("\x92\x01\x01"));
    CHECK(shoal_cursor_array(&cursor) == 2 && !cursor.is_bad);
    // msgpack-c reserves gigabytes for these few bytes.
    char nested[155];
    memset(nested, 0xdd, sizeof(nested));
    for (size_t i = 0; i < sizeof(nested); i += 5) {
        memset(nested + i + 1, 0x7f, 4);
    }
    shoal_slice_t slice = {nested, sizeof(nested)};
    cursor = shoal_cursor_over(slice);
    shoal_cursor_skip(&cursor);
    CHECK(cursor.is_bad);
    CHECK(!shoal_cursor_check(slice, 64));
    cursor = shoal_cursor_over(SHOAL_SLICE("\xdb\xff\xff\xff\xffxx"));
    CHECK(shoal_cursor_str(&cursor).len == 0 && cursor.is_bad);
    cursor = shoal_cursor_over(SHOAL_SLICE("\xc9\xff\xff\xff\xff\x01\x01"));
    shoal_cursor_skip(&cursor);
    CHECK(cursor.is_bad);
}

static void
ten_million_nested_arrays_cost_no_stack(void)
{
    enum { LEVELS = 10000000 };
    char *nested = malloc(LEVELS + 1);
    memset(nested, 0x91, LEVELS);
    nested[LEVELS] = 0x01;
    shoal_slice_t whole = {nested, LEVELS + 1};
    shoal_cursor_t cursor = shoal_cursor_over(whole);
    shoal_cursor_skip(&cursor);
    CHECK(shoal_cursor_is_done(&cursor));
    cursor = shoal_cursor_over((shoal_slice_t){nested, LEVELS});
    shoal_cursor_skip(&cursor);
    CHECK(cursor.is_bad);
    CHECK(!shoal_cursor_check(whole, SHOAL_CHECK_DEPTH_MAX));
    memset(nested, 0x81, LEVELS); // maps, each in the key of the one before
    cursor = shoal_cursor_over(whole);
    shoal_cursor_skip(&cursor);
    CHECK(cursor.is_bad);
    free(nested);
}

static void
depth_is_counted_from_zero(void)
{
    CHECK(shoal_cursor_check(SHOAL_SLICE("\x01"), 0));
    CHECK(!shoal_cursor_check(SHOAL_SLICE("\x91\x01"), 0));
    CHECK(shoal_cursor_check(SHOAL_SLICE("\x91\x01"), 1));
    CHECK(shoal_cursor_check(SHOAL_SLICE("\x92\x91\x01\x91\x02"), 2));
    CHECK(!shoal_cursor_check(SHOAL_SLICE("\x92\x91\x01\x91\x02\x03"), 2)); // a byte to spare
    CHECK(!shoal_cursor_check(SHOAL_SLICE(""), 2));
}

static void
a_key_is_found_in_a_map(void)
{
    static const char map[] = "\x84\x05\xa1x\xa1"
                              "a\x01\xa1"
                              "b\x92\x01\x02\xa1"
                              "a\x03";
    shoal_slice_t value;
    CHECK(shoal_map_find(SHOAL_SLICE(map), "a", &value));
    CHECK(shoal_slice_equal(value, SHOAL_SLICE("\x01")));
    CHECK(shoal_map_find(SHOAL_SLICE(map), "b", &value));
    CHECK(shoal_slice_equal(value, SHOAL_SLICE("\x92\x01\x02")));
    CHECK(!shoal_map_find(SHOAL_SLICE(map), "c", &value));
    CHECK(!shoal_map_find(SHOAL_SLICE("\x91\x01"), "a", &value));
    CHECK(!shoal_map_find(SHOAL_SLICE_NONE, "a", &value));
}

static void
numbers_read_across_their_forms(void)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_write_int(&out, -5);
    shoal_write_uint(&out, 300);
    shoal_write_raw(&out, SHOAL_SLICE("\xca\x3f\xc0\x00\x00")); // 1.5 as float 32
    shoal_cursor_t cursor = over(&out);
    CHECK(shoal_cursor_float(&cursor) < -4.9);
    CHECK(shoal_cursor_float(&cursor) > 299.9);
    double number = shoal_cursor_float(&cursor);
    CHECK(number > 1.49 && number < 1.51 && shoal_cursor_is_done(&cursor));
    shoal_buffer_fini(&out);
}

TEST_MAIN(TEST(random_values_read_as_the_oracle_reads_them),
          TEST(random_bytes_are_refused_exactly_where_the_oracle_refuses),
          TEST(a_value_cut_at_any_byte_is_bad), TEST(a_bad_cursor_stays_bad),
          TEST(each_reader_refuses_other_kinds), TEST(counts_that_cannot_be_true_are_refused),
          TEST(ten_million_nested_arrays_cost_no_stack), TEST(depth_is_counted_from_zero),
          TEST(a_key_is_found_in_a_map), TEST(numbers_read_across_their_forms))
