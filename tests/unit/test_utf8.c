// SPDX-License-Identifier: Apache-2.0
//
// test_utf8.c - what proto/base/utf8.h promises.

#include "proto/base/utf8.h"
#include "tests/support/test.h"

// The bytes of a code point by the definition; 0: there are none.
static size_t
encode(uint32_t point, char bytes[4])
{
    if (point >= 0xd800 && point < 0xe000) {
        return 0;
    }
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char firsts[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i > 1; i--) {
        bytes[i - 1] = (char)(0x80U | (point & 0x3fU));
        point >>= 6;
    }
    bytes[0] = (char)(firsts[len] | point);
    return len;
}

static void
every_character_is_well_formed_and_nothing_else(void)
{
    size_t good = 0;
    for (uint32_t point = 0; point < 0x110000; point++) {
        char bytes[4];
        size_t len = encode(point, bytes);
        if (len > 0) {
            CHECK(shoal_utf8_len((shoal_slice_t){bytes, len}) == len);
            CHECK(len == 1 || shoal_utf8_len((shoal_slice_t){bytes, len - 1}) == 0);
            good++;
        }
    }
    CHECK(good == 0x110000 - 0x800);
    size_t found = 0; // all sequences of three bytes: exactly those of three bytes are well formed
    for (uint32_t any = 0; any < 0x1000000; any++) {
        char bytes[3] = {(char)(any >> 16), (char)(any >> 8), (char)any};
        found += shoal_utf8_len((shoal_slice_t){bytes, 3}) == 3;
    }
    CHECK(found == 0x10000 - 0x800 - 0x800);
}

static void
four_bytes_end_at_the_last_plane(void)
{
    CHECK(shoal_utf8_len(SHOAL_SLICE("\xf4\x8f\xbf\xbf")) == 4);
    CHECK(shoal_utf8_len(SHOAL_SLICE("\xf4\x90\x80\x80")) == 0);
    CHECK(shoal_utf8_len(SHOAL_SLICE("\xf5\x80\x80\x80")) == 0);
    CHECK(shoal_utf8_len(SHOAL_SLICE("\xf0\x8f\xbf\xbf")) == 0);
    CHECK(shoal_utf8_len(SHOAL_SLICE_NONE) == 0);
}

static void
the_first_wrong_byte_is_found_at_any_place(void)
{
    for (size_t place = 0; place < 40; place++) {
        char text[40];
        memset(text, 'a', sizeof(text));
        CHECK(shoal_utf8_prefix((shoal_slice_t){text, sizeof(text)}) == sizeof(text));
        text[place] = (char)0xff;
        CHECK(shoal_utf8_prefix((shoal_slice_t){text, sizeof(text)}) == place);
    }
    CHECK(shoal_utf8_prefix(SHOAL_SLICE("ab\xc3\xa9\xc3")) == 4);
    CHECK(shoal_utf8_prefix(SHOAL_SLICE_NONE) == 0);
}

static void
a_cut_is_between_characters(void)
{
    CHECK(shoal_utf8_cut(SHOAL_SLICE("ab\xc3\xa9"), 4) == 4);
    CHECK(shoal_utf8_cut(SHOAL_SLICE("ab\xc3\xa9"), 3) == 2);
    CHECK(shoal_utf8_cut(SHOAL_SLICE("\xf0\x9f\x90\x9f!"), 4) == 4);
    CHECK(shoal_utf8_cut(SHOAL_SLICE("\xf0\x9f\x90\x9f!"), 3) == 0);
    CHECK(shoal_utf8_cut(SHOAL_SLICE_NONE, 3) == 0);
}

TEST_MAIN(TEST(every_character_is_well_formed_and_nothing_else),
          TEST(four_bytes_end_at_the_last_plane), TEST(the_first_wrong_byte_is_found_at_any_place),
          TEST(a_cut_is_between_characters))
