// SPDX-License-Identifier: Apache-2.0
//
// test_status.c - what proto/base/status.h promises.

#include <errno.h>

#include "proto/base/status.h"
#include "tests/support/test.h"

static void
a_failure_has_code_class_and_sentence(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK(status.code == SHOAL_OK);
    CHECK(!shoal_fail(&status, SHOAL_LIMIT, "worker \"%s\" refused: already %d", "w1", 8));
    CHECK(status.code == SHOAL_LIMIT && status.error_class == SHOAL_FATAL);
    assert_string_equal(status.text, "worker \"w1\" refused: already 8");
    assert_string_equal(status.key, "");
    CHECK(!shoal_fail(&status, SHOAL_TIMEOUT, "x"));
    CHECK(status.error_class == SHOAL_TRANSIENT);
    CHECK(!shoal_fail_as(&status, SHOAL_DATA, SHOAL_TIMEOUT, "x"));
    CHECK(status.error_class == SHOAL_DATA && status.code == SHOAL_TIMEOUT);
}

static void
a_key_is_kept_until_the_next_failure(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK(!shoal_fail_key(&status, "source.type", "unknown type"));
    CHECK(status.code == SHOAL_INVALID && status.error_class == SHOAL_CONFIG);
    assert_string_equal(status.key, "source.type");
    CHECK(!shoal_fail_while(&status, "cannot read %s", "w.yaml"));
    assert_string_equal(status.text, "cannot read w.yaml: unknown type");
    assert_string_equal(status.key, "source.type");
    CHECK(!shoal_fail(&status, SHOAL_IO, "x"));
    assert_string_equal(status.key, "");
}

static void
errno_becomes_a_code_and_its_text(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK(!shoal_fail_errno(&status, ENOENT, "cannot open \"%s\"", "a"));
    CHECK(status.code == SHOAL_NOT_FOUND && status.error_class == SHOAL_CONFIG);
    assert_string_equal(status.text, "cannot open \"a\": No such file or directory");
    CHECK(!shoal_fail_errno(&status, EACCES, "x"));
    CHECK(status.code == SHOAL_DENIED);
    CHECK(!shoal_fail_errno(&status, EPERM, "x"));
    CHECK(status.code == SHOAL_DENIED);
    CHECK(!shoal_fail_errno(&status, ENOSPC, "x"));
    CHECK(status.code == SHOAL_IO && status.error_class == SHOAL_TRANSIENT);
}

static void
long_texts_are_cut(void)
{
    char word[3000];
    memset(word, 'w', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK(!shoal_fail_key(&status, word, "%s", word));
    CHECK(strlen(status.text) == SHOAL_STATUS_TEXT_MAX - 1);
    CHECK(strlen(status.key) == SHOAL_STATUS_KEY_MAX - 1);
    CHECK(!shoal_fail_while(&status, "%s", word));
    CHECK(!shoal_fail_while(&status, "before"));
    CHECK(strlen(status.text) == SHOAL_STATUS_TEXT_MAX - 1);
    CHECK(!shoal_fail_errno(&status, EIO, "%s", word));
    CHECK(strlen(status.text) == SHOAL_STATUS_TEXT_MAX - 1);
}

static void
clear_makes_it_new(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK(!shoal_fail_key(&status, "k", "t"));
    shoal_status_clear(&status);
    CHECK(status.code == SHOAL_OK && status.key[0] == '\0' && status.text[0] == '\0');
}

static void
numbers_have_names_and_unknown_ones_are_the_worst(void)
{
    assert_string_equal(shoal_code_name(SHOAL_NOT_FOUND), "not_found");
    assert_string_equal(shoal_code_name(999), "unknown");
    assert_string_equal(shoal_error_class_name(SHOAL_DATA), "data");
    assert_string_equal(shoal_error_class_name(0), "unknown");
    CHECK(shoal_code_from(3) == SHOAL_LIMIT);
    CHECK(shoal_code_from(13) == SHOAL_INTERNAL);
    CHECK(shoal_code_from(~0ULL) == SHOAL_INTERNAL);
    CHECK(shoal_error_class_from(1) == SHOAL_TRANSIENT);
    CHECK(shoal_error_class_from(0) == SHOAL_FATAL);
    CHECK(shoal_error_class_from(~0ULL) == SHOAL_FATAL);
}

TEST_MAIN(TEST(a_failure_has_code_class_and_sentence), TEST(a_key_is_kept_until_the_next_failure),
          TEST(errno_becomes_a_code_and_its_text), TEST(long_texts_are_cut),
          TEST(clear_makes_it_new), TEST(numbers_have_names_and_unknown_ones_are_the_worst))
