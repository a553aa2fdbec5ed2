// SPDX-License-Identifier: Apache-2.0
//
// test.h - cmocka, and what it lacks for the status type.
//
//     TEST_MAIN(TEST(worker_is_lost_once_its_ttl_has_passed), TEST(...))

#ifndef SHOAL_TESTS_SUPPORT_TEST_H
#define SHOAL_TESTS_SUPPORT_TEST_H

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> // needs the ones above it
// clang-format on

#include "proto/base/status.h"

#define CHECK(condition) assert_true(condition)

// The call succeeds; otherwise its sentence is shown.
#define CHECK_OK(call, status)                                                                     \
    do {                                                                                           \
        if (!(call)) {                                                                             \
            fail_msg("%s failed: %s", #call, (status).text);                                       \
        }                                                                                          \
    } while (0)

// The call fails with that code and a sentence.
#define CHECK_FAILS(call, status, expected)                                                        \
    do {                                                                                           \
        if (call) {                                                                                \
            fail_msg("%s succeeded", #call);                                                       \
        }                                                                                          \
        if ((status).code != (expected)) {                                                         \
            fail_msg("%s failed with %s, not %s: %s", #call, shoal_code_name((int)(status).code),  \
                     shoal_code_name((int)(expected)), (status).text);                             \
        }                                                                                          \
        assert_true((status).text[0] != '\0');                                                     \
    } while (0)

// The text contains the word.
#define CHECK_SAYS(text, word)                                                                     \
    do {                                                                                           \
        if (!strstr((text), (word))) {                                                             \
            fail_msg("\"%s\" does not say \"%s\"", (text), (word));                                \
        }                                                                                          \
    } while (0)

// cmocka hands a test one pointer; ours is the function to run.
typedef struct test_case {
    void (*function)(void);
} test_case_t;

static inline void
test_run(void **state)
{
    const test_case_t *test = *state;
    test->function();
}

// A test is `static void what_must_be_true(void)`.
// clang-format off
#define TEST(name) {#name, test_run, NULL, NULL, &(test_case_t){name}}
// clang-format on

#define TEST_MAIN(...)                                                                             \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                           \
        return cmocka_run_group_tests(tests, NULL, NULL);                                          \
    }

#endif
