// SPDX-License-Identifier: Apache-2.0
//
// fuzz.h - what every fuzzer is: one function over bytes. libFuzzer calls it, or replay.c.

#ifndef SHOAL_TESTS_FUZZ_FUZZ_H
#define SHOAL_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/base/slice.h"

// Returns 0. The name and the signature are libFuzzer's.
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

// An invariant of the fuzzed code: stays on in every build.
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline shoal_slice_t
fuzz_slice(const uint8_t *bytes, size_t size)
{
    return (shoal_slice_t){(const char *)bytes, size};
}

#endif
