// SPDX-License-Identifier: Apache-2.0
//
// clock.c - see clock.h.

#include "proto/base/clock.h"

#include <time.h>

static uint64_t
read_us(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now); // cannot fail for the clocks below
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

uint64_t
shoal_clock_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000U;
}

uint64_t
shoal_clock_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t
shoal_clock_boot_ms(void)
{
    return read_us(CLOCK_BOOTTIME) / 1000U;
}

uint64_t
shoal_clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000U;
}
