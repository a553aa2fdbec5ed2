// SPDX-License-Identifier: Apache-2.0
//
// test_checksum.c - what head/checksum.h promises.

#include "head/checksum.h"
#include "tests/support/test.h"

static void
the_published_values_come_out(void)
{
    static const char pangram[] = "Nobody inspects the spammish repetition";
    CHECK(shoal_checksum(NULL, 0) == 0xef46db3751d8e999U);
    CHECK(shoal_checksum("a", 1) == 0xd24ec4f1a98c6e5bU);
    CHECK(shoal_checksum("abc", 3) == 0x44bc2cf5ad770999U);
    CHECK(shoal_checksum(pangram, sizeof(pangram) - 1) == 0xfbcea83c8a378bf1U);
}

static void
every_bit_of_a_batch_counts(void)
{
    unsigned char bytes[77];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(i * 31U);
    }
    uint64_t before = shoal_checksum(bytes, sizeof(bytes));
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (unsigned char)(1U << (bit % 8));
        CHECK(shoal_checksum(bytes, sizeof(bytes)) != before);
        bytes[bit / 8] ^= (unsigned char)(1U << (bit % 8));
    }
    CHECK(shoal_checksum(bytes, sizeof(bytes) - 1) != before);
}

TEST_MAIN(TEST(the_published_values_come_out), TEST(every_bit_of_a_batch_counts))
