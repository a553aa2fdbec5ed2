// SPDX-License-Identifier: Apache-2.0
//
// test_writer.c - what proto/record/writer.h promises: the bytes of msgpack-c's packer.

#include <msgpack.h>

#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

typedef struct pair {
    shoal_buffer_t ours;
    msgpack_sbuffer theirs;
    msgpack_packer packer;
} pair_t;

static void
pair_start(pair_t *pair)
{
    pair->ours = (shoal_buffer_t)SHOAL_BUFFER_INIT;
    msgpack_sbuffer_init(&pair->theirs);
    msgpack_packer_init(&pair->packer, &pair->theirs, msgpack_sbuffer_write);
}

static void
pair_compare(pair_t *pair)
{
    CHECK(pair->ours.len == pair->theirs.size);
    CHECK(memcmp(pair->ours.ptr, pair->theirs.data, pair->ours.len) == 0);
}

static void
pair_end(pair_t *pair)
{
    pair_compare(pair);
    shoal_buffer_fini(&pair->ours);
    msgpack_sbuffer_destroy(&pair->theirs);
}

static void
write_uint(pair_t *pair, uint64_t value)
{
    shoal_write_uint(&pair->ours, value);
    msgpack_pack_uint64(&pair->packer, value);
}

static void
write_int(pair_t *pair, int64_t value)
{
    shoal_write_int(&pair->ours, value);
    msgpack_pack_int64(&pair->packer, value);
}

static void
integers_have_the_oracles_bytes_at_each_edge(void)
{
    pair_t pair;
    pair_start(&pair);
    for (unsigned bit = 0; bit < 64; bit++) {
        for (uint64_t near = 0; near < 5; near++) {
            uint64_t value = (UINT64_C(1) << bit) + near - 2;
            write_uint(&pair, value);
            write_int(&pair, (int64_t)value);
            write_int(&pair, -(int64_t)(value & INT64_MAX));
        }
    }
    write_int(&pair, INT64_MIN);
    pair_end(&pair);
}

static void
texts_and_bytes_have_the_oracles_bytes_at_each_length(void)
{
    static const size_t lengths[] = {0,   1,   2,   3,    4,     5,     7,     8,     9,     15,
                                     16,  17,  30,  31,   32,    33,    63,    64,    254,   255,
                                     256, 257, 999, 5000, 65534, 65535, 65536, 65537, 200000};
    char *text = malloc(200000);
    for (size_t i = 0; i < 200000; i++) {
        text[i] = (char)(i * 7);
    }
    pair_t pair;
    pair_start(&pair);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        shoal_slice_t slice = {text, lengths[i]};
        shoal_write_str(&pair.ours, slice);
        msgpack_pack_str_with_body(&pair.packer, text, slice.len);
        shoal_write_bin(&pair.ours, slice);
        msgpack_pack_bin_with_body(&pair.packer, text, slice.len);
    }
    pair_end(&pair);
    free(text);
}

static void
short_texts_do_not_read_beyond_their_end(void)
{
    for (size_t len = 0; len < 40; len++) { // each in a block of its own, for the sanitizer
        char *text = malloc(len + 1);
        memset(text, 't', len);
        char *exact = realloc(text, len ? len : 1);
        shoal_buffer_t out = SHOAL_BUFFER_INIT;
        shoal_write_str(&out, (shoal_slice_t){exact, len});
        shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&out));
        CHECK(shoal_slice_equal(shoal_cursor_str(&cursor), (shoal_slice_t){exact, len}));
        shoal_buffer_fini(&out);
        free(exact);
    }
}

static void
heads_have_the_oracles_bytes(void)
{
    static const uint32_t counts[] = {0, 1, 15, 16, 255, 256, 65535, 65536, UINT32_MAX};
    pair_t pair;
    pair_start(&pair);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        shoal_write_array(&pair.ours, counts[i]);
        msgpack_pack_array(&pair.packer, counts[i]);
        shoal_write_map(&pair.ours, counts[i]);
        msgpack_pack_map(&pair.packer, counts[i]);
    }
    shoal_write_nil(&pair.ours);
    msgpack_pack_nil(&pair.packer);
    shoal_write_bool(&pair.ours, true);
    msgpack_pack_true(&pair.packer);
    shoal_write_bool(&pair.ours, false);
    msgpack_pack_false(&pair.packer);
    shoal_write_text(&pair.ours, NULL);
    msgpack_pack_nil(&pair.packer);
    shoal_write_text(&pair.ours, "text");
    msgpack_pack_str_with_body(&pair.packer, "text", 4);
    shoal_write_key(&pair.ours, "key");
    msgpack_pack_str_with_body(&pair.packer, "key", 3);
    shoal_write_raw(&pair.ours, SHOAL_SLICE("\xc0\xc2"));
    msgpack_pack_nil(&pair.packer);
    msgpack_pack_false(&pair.packer);
    pair_end(&pair);
}

static void
random_values_have_the_oracles_bytes(void)
{
    test_random_t random = test_random_start();
    char bytes[64];
    pair_t pair;
    pair_start(&pair);
    for (int i = 0; i < 100000; i++) {
        uint64_t value = test_random_edge(&random);
        switch (test_random_below(&random, 4)) {
        case 0: write_uint(&pair, value); break;
        case 1: write_int(&pair, (int64_t)value); break;
        case 2: {
            double number;
            memcpy(&number, &value, sizeof(number));
            shoal_write_float(&pair.ours, number);
            msgpack_pack_double(&pair.packer, number);
            break;
        }
        default: {
            size_t len = test_random_below(&random, sizeof(bytes));
            memset(bytes, (char)value, sizeof(bytes));
            shoal_write_str(&pair.ours, (shoal_slice_t){bytes, len});
            msgpack_pack_str_with_body(&pair.packer, bytes, len);
            break;
        }
        }
    }
    pair_end(&pair);
}

static void
a_count_can_be_filled_in_later(void)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    size_t map = shoal_write_map_later(&out);
    shoal_write_key(&out, "a");
    size_t array = shoal_write_array_later(&out);
    for (uint64_t i = 0; i < 3; i++) {
        shoal_write_uint(&out, i);
    }
    shoal_write_count_now(&out, array, 3);
    shoal_write_count_now(&out, map, 1);
    static const char expected[] = "\xdf\x00\x00\x00\x01\xa1"
                                   "a\xdd\x00\x00\x00\x03\x00\x01\x02";
    CHECK(shoal_slice_equal(shoal_buffer_slice(&out), SHOAL_SLICE(expected)));
    shoal_buffer_fini(&out);
}

TEST_MAIN(TEST(integers_have_the_oracles_bytes_at_each_edge),
          TEST(texts_and_bytes_have_the_oracles_bytes_at_each_length),
          TEST(short_texts_do_not_read_beyond_their_end), TEST(heads_have_the_oracles_bytes),
          TEST(random_values_have_the_oracles_bytes), TEST(a_count_can_be_filled_in_later))
