// SPDX-License-Identifier: Apache-2.0
//
// clock.h - the two clocks; logic takes time as an argument and calls neither.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_PROTO_BASE_CLOCK_H
#define SHOAL_PROTO_BASE_CLOCK_H

#include <stdint.h>

#define SHOAL_TIME_NEVER UINT64_MAX

uint64_t shoal_clock_ms(void); // monotonic, milliseconds since some start
uint64_t shoal_clock_us(void); // monotonic, microseconds
uint64_t
shoal_clock_boot_ms(void); // goes on while the machine sleeps, as that of other machines does
uint64_t shoal_clock_wall_ms(void); // since 1970, UTC, for people and records only

#endif
