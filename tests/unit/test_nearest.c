// SPDX-License-Identifier: Apache-2.0
//
// test_nearest.c - what proto/base/nearest.h promises.

#include "proto/base/nearest.h"
#include "tests/support/test.h"

static const char *const keys[] = {"source",   "processor",        "sink", "workflowConfig",
                                   "sharding", "tables_per_shard", "type", NULL};

static void
check_nearest(const char *word, const char *expected)
{
    const char *found = shoal_nearest(word, keys);
    if (expected ? !found || strcmp(found, expected) != 0 : found != NULL) {
        fail_msg("\"%s\" is nearest to %s, not to %s", word, found ? found : "nothing",
                 expected ? expected : "nothing");
    }
}

static void
a_slip_finds_the_word_that_was_meant(void)
{
    check_nearest("sorce", "source");
    check_nearest("soucre", "source");
    check_nearest("sourcee", "source");
    check_nearest("tpye", "type");
    check_nearest("sinc", "sink");
    check_nearest("workflowconfig", "workflowConfig");
    check_nearest("tablesPerShard", "tables_per_shard");
    check_nearest("shards", NULL);
    check_nearest("sharing", "sharding");
}

static void
what_is_far_from_all_finds_nothing(void)
{
    check_nearest("banana", NULL);
    check_nearest("", NULL);
    check_nearest("x", NULL);
    check_nearest("___", NULL);
    char longest[300];
    memset(longest, 's', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    check_nearest(longest, NULL);
    const char *const none[] = {NULL};
    CHECK(shoal_nearest("source", none) == NULL);
    const char *const strange[] = {"", longest, NULL};
    CHECK(shoal_nearest("source", strange) == NULL);
}

static void
the_first_of_equally_near_words_wins(void)
{
    const char *const names[] = {"cat", "bat", "at", NULL};
    assert_string_equal(shoal_nearest("rat", names), "cat");
    assert_string_equal(shoal_nearest("bat", names), "bat");
}

TEST_MAIN(TEST(a_slip_finds_the_word_that_was_meant), TEST(what_is_far_from_all_finds_nothing),
          TEST(the_first_of_equally_near_words_wins))
