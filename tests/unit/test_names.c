// SPDX-License-Identifier: Apache-2.0
//
// test_names.c - what head/cluster/names.h promises.

#include "head/cluster/names.h"
#include "tests/support/test.h"

static void
what_was_added_is_found_and_what_was_removed_is_not(void)
{
    shoal_names_t *names = shoal_names_new();
    int one = 1;
    int two = 2;
    CHECK(shoal_names_find(names, SHOAL_SLICE("one")) == NULL);
    shoal_names_add(names, SHOAL_SLICE("one"), &one);
    shoal_names_add(names, SHOAL_SLICE("two"), &two);
    CHECK(shoal_names_find(names, SHOAL_SLICE("one")) == &one);
    CHECK(shoal_names_find(names, SHOAL_SLICE("on")) == NULL);
    shoal_names_remove(names, SHOAL_SLICE("one"));
    shoal_names_remove(names, SHOAL_SLICE("never there"));
    CHECK(shoal_names_find(names, SHOAL_SLICE("one")) == NULL);
    CHECK(shoal_names_find(names, SHOAL_SLICE("two")) == &two);
    CHECK(shoal_names_count(names) == 1);
    shoal_names_destroy(&names);
    CHECK(names == NULL);
}

#define MANY 5000

static void
thousands_come_and_go_in_any_order_and_the_others_stay(void)
{
    static char texts[MANY][16];
    shoal_names_t *names = shoal_names_new();
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "name-%d", i);
        shoal_names_add(names, shoal_slice_of(texts[i]), texts[i]);
    }
    for (int i = 0; i < MANY; i += 3) {
        shoal_names_remove(names, shoal_slice_of(texts[i]));
    }
    for (int i = 0; i < MANY; i++) {
        void *expected = i % 3 == 0 ? NULL : texts[i];
        CHECK(shoal_names_find(names, shoal_slice_of(texts[i])) == expected);
    }
    shoal_names_destroy(&names);
}

TEST_MAIN(TEST(what_was_added_is_found_and_what_was_removed_is_not),
          TEST(thousands_come_and_go_in_any_order_and_the_others_stay))
