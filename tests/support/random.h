// SPDX-License-Identifier: Apache-2.0
//
// random.h - random numbers for tests; SHOAL_SEED chooses the seed, which is printed.

#ifndef SHOAL_TESTS_SUPPORT_RANDOM_H
#define SHOAL_TESTS_SUPPORT_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct test_random {
    uint64_t state;
} test_random_t;

static inline test_random_t
test_random_start(void)
{
    const char *chosen = getenv("SHOAL_SEED");
    uint64_t seed = chosen ? strtoull(chosen, NULL, 10) : (uint64_t)time(NULL);
    (void)fprintf(stderr, "SHOAL_SEED=%llu\n", (unsigned long long)seed);
    return (test_random_t){seed};
}

// splitmix64
static inline uint64_t
test_random_next(test_random_t *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t
test_random_below(test_random_t *random, uint64_t limit)
{
    return test_random_next(random) % limit;
}

// Small numbers and the edges of each size more often than others.
static inline uint64_t
test_random_edge(test_random_t *random)
{
    uint64_t value = test_random_next(random) >> test_random_below(random, 64);
    switch (test_random_below(random, 4)) {
    case 0: return (UINT64_C(1) << test_random_below(random, 64)) - 1;
    case 1: return UINT64_C(1) << test_random_below(random, 64);
    default: return value;
    }
}

#endif
