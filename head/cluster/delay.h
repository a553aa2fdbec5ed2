// SPDX-License-Identifier: Apache-2.0
//
// delay.h - which shards wait for their back-off, by the time when it ends: a binary heap.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_DELAY_H
#define SHOAL_HEAD_CLUSTER_DELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/clock.h" // SHOAL_TIME_NEVER

typedef struct shoal_delays shoal_delays_t;

shoal_delays_t *shoal_delays_new(void);
void shoal_delays_destroy(shoal_delays_t **delays);

void shoal_delay_add(shoal_delays_t *delays, uint64_t due_ms, uint64_t call);

// Takes out one that is due, the earliest first; false if none is.
bool shoal_delay_take(shoal_delays_t *delays, uint64_t now_ms, uint64_t *ret_call);

uint64_t shoal_delays_next(const shoal_delays_t *delays); // SHOAL_TIME_NEVER without any

#endif
