// SPDX-License-Identifier: Apache-2.0
//
// history.h - the attempts of a job's shards that ended badly: what a dead letter tells of them.
//
// Only shards that have failed are in it, and at most SHOAL_HISTORY_SHARDS_MAX of those, each with
// its newest SHOAL_HISTORY_TRIES_MAX tries; beyond that the tries are not kept. A try is the msgpack
// array [run, attempt, end, class, code, message, worker, wall ms].
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_HISTORY_H
#define SHOAL_HEAD_CLUSTER_HISTORY_H

#include <stdint.h>

#include "proto/base/buffer.h"
#include "proto/base/status.h"

#define SHOAL_HISTORY_SHARDS_MAX 20000
#define SHOAL_HISTORY_TRIES_MAX  10
#define SHOAL_HISTORY_TEXT_MAX   512 // bytes of a message; longer ones are cut

typedef struct shoal_history shoal_history_t; // of one job

typedef struct shoal_try {
    uint32_t run;
    uint32_t attempt;
    const char *end; // "failed", "lost", "crashed", "data"
    const shoal_status_t *why;
    const char *worker;
    uint64_t wall_ms;
} shoal_try_t;

// Appends a try as a msgpack array.
void shoal_try_write(const shoal_try_t *try, shoal_buffer_t *out);

shoal_history_t *shoal_history_new(void);
void shoal_history_destroy(shoal_history_t **history);

void shoal_history_add(shoal_history_t *history, uint32_t shard, const shoal_try_t *try);

// The shard's tries one after the other, oldest first, and how many; empty if there are none. NULL
// is an empty history.
shoal_slice_t shoal_history_of(const shoal_history_t *history, uint32_t shard, uint32_t *ret_count);

// The shard is over: its tries are forgotten.
void shoal_history_forget(shoal_history_t *history, uint32_t shard);

#endif
