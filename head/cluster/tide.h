// SPDX-License-Identifier: Apache-2.0
//
// tide.h - how far a number that grows may be told: up to what the disk has.
//
// A number (the last result taken, the last commit) changes at every turn, and each of its values
// depends on the entries that were made up to then. Two slots are enough to follow it: the latest
// value, and one that waits for its entries. When these are durable the tide comes in up to that value
// and the latest takes the place of the one that waited; so it lags by two groups at most.
//
// Threads: a value of the hub's.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_TIDE_H
#define SHOAL_HEAD_CLUSTER_TIDE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct shoal_tide {
    uint64_t open; // may be told
    uint64_t waiting;
    uint64_t waiting_lsn;
    uint64_t latest;
    uint64_t latest_lsn;
} shoal_tide_t;

// Everything up to `durable` is on the disk. True if more may be told now.
static inline bool
shoal_tide_pass(shoal_tide_t *tide, uint64_t durable)
{
    uint64_t before = tide->open;
    if (tide->waiting_lsn <= durable) {
        tide->open = tide->waiting;
        tide->waiting = tide->latest;
        tide->waiting_lsn = tide->latest_lsn;
        if (tide->waiting_lsn <= durable) {
            tide->open = tide->waiting;
        }
    }
    return tide->open != before;
}

// The number is `value` now, which needs the entries up to `lsn`. True: it may be told at once.
static inline bool
shoal_tide_set(shoal_tide_t *tide, uint64_t value, uint64_t lsn, uint64_t durable)
{
    tide->latest = value;
    tide->latest_lsn = lsn;
    if (tide->waiting == tide->open) {
        tide->waiting = value;
        tide->waiting_lsn = lsn;
    }
    return shoal_tide_pass(tide, durable);
}

static inline bool
shoal_tide_is_shut(const shoal_tide_t *tide) // there is something that may not be told yet
{
    return tide->open != tide->latest;
}

#endif
