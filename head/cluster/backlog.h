// SPDX-License-Identifier: Apache-2.0
//
// backlog.h - the shards of one job: a compact store, and which of them come next.
//
// A shard is known by its index, 0 to SHOAL_SHARDS_MAX - 1. The store keeps 48 bytes a shard and its
// texts in an arena, so that a million of them fit in well under 200 MiB; nothing of it moves, so a
// pointer to a shard is good for as long as the backlog is. What is ready comes out in the order of
// cost, largest first; costs within an eighth of each other count as equal and keep their order.
//
// The state of a shard is written by shoal_backlog_set() and by nothing else; it keeps the counts.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_BACKLOG_H
#define SHOAL_HEAD_CLUSTER_BACKLOG_H

#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_SHARDS_MAX      4000000
#define SHOAL_SHARD_BYTES_MAX 65536      // args, title and expects of one shard
#define SHOAL_BACKLOG_BYTES   1073741824 // of the arena of one job
#define SHOAL_SHARD_NONE      UINT32_MAX
#define SHOAL_COST_FIRST      UINT32_MAX // comes before every shard with an estimate

// What a shard is waiting for.
#define SHOAL_SHARD_STATES(X)                                                                      \
    X(ABSENT, "absent")   /* no such shard */                                                      \
    X(WAITING, "waiting") /* for its prerequisite or its stage */                                  \
    X(READY, "ready")     /* for a slot */                                                         \
    X(RUNNING, "running") /* an attempt is live */                                                 \
    X(DELAYED, "delayed") /* failed, and waits for its back-off */                                 \
    X(DONE, "done")       /* its output is committed */                                            \
    X(DEAD, "dead")       /* given up */

typedef enum shoal_shard_state {
#define X(name, text) SHOAL_SHARD_##name,
    SHOAL_SHARD_STATES(X)
#undef X
        SHOAL_SHARD_STATE_COUNT
} shoal_shard_state_t;

typedef enum shoal_stage {
    SHOAL_STAGE_CHECK,
    SHOAL_STAGE_PREPARE = 1, // the numbers 1 to 3 are those of a shard item
    SHOAL_STAGE_MAP = 2,
    SHOAL_STAGE_LINK = 3,
    SHOAL_STAGE_DISCOVER,
    SHOAL_STAGE_FINISH,
    SHOAL_STAGE_COUNT
} shoal_stage_t;

typedef struct shoal_shard {
    uint32_t next;    // in the list that it stands in
    uint32_t waiters; // first of the shards that need this one
    uint32_t needs;   // its prerequisite
    uint32_t cost_us; // 0: unknown
    uint32_t blob;    // args, title and expects in the arena
    uint32_t args_len;
    uint16_t expects_len;
    uint8_t title_len;
    uint8_t stage;     // shoal_stage_t
    uint32_t live;     // the live attempt, as shoal_attempt_at() knows it; SHOAL_SHARD_NONE: none
    uint32_t attempt;  // number of its last attempt
    uint16_t failures; // attempts that failed by themselves
    uint8_t crashes;   // attempts that ended in a crash of their worker
    uint8_t losses;    // attempts whose worker was lost, or whose lease ran out
    uint8_t state;     // shoal_shard_state_t
} shoal_shard_t;

typedef struct shoal_shard_item {
    shoal_stage_t stage;
    uint32_t needs; // SHOAL_SHARD_NONE: nothing
    uint32_t cost_us;
    shoal_slice_t title;
    shoal_slice_t expects; // msgpack, or empty
    shoal_slice_t args;    // msgpack, or empty
} shoal_shard_item_t;

typedef struct shoal_backlog shoal_backlog_t;

shoal_backlog_t *shoal_backlog_new(void);
void shoal_backlog_destroy(shoal_backlog_t **backlog);

// Copies `item` in as shard `index`, which must be absent; its state is WAITING.
//   SHOAL_LIMIT  index or size beyond the limits above
SHOAL_MUST_CHECK bool shoal_backlog_add(shoal_backlog_t *backlog, uint32_t index,
                                        const shoal_shard_item_t *item, shoal_status_t *status);

// NULL if there is no such shard. Everything but `state` and `next` is the caller's to write.
shoal_shard_t *shoal_backlog_at(const shoal_backlog_t *backlog, uint32_t index);

// Moves a shard to a state other than ABSENT; READY also puts it into the order.
void shoal_backlog_set(shoal_backlog_t *backlog, uint32_t index, shoal_shard_state_t state);

// Chains a WAITING shard to the one that it needs; takes the chain off again, one after the other.
void shoal_backlog_chain(shoal_backlog_t *backlog, uint32_t index);
uint32_t shoal_backlog_unchain(shoal_backlog_t *backlog, uint32_t needed);

// The READY shard that comes next, SHOAL_SHARD_NONE when there is none; _pop takes it out of the
// order, and it must be given another state then.
uint32_t shoal_backlog_peek(shoal_backlog_t *backlog);
uint32_t shoal_backlog_pop(shoal_backlog_t *backlog);

// While a log is replayed: READY shards stand in no order and cannot be popped, and may leave READY
// in any way. _order puts all of them into it, by index where their costs are equal.
void shoal_backlog_unorder(shoal_backlog_t *backlog); // of a new backlog
void shoal_backlog_order(shoal_backlog_t *backlog);

size_t shoal_backlog_count(const shoal_backlog_t *backlog, shoal_shard_state_t state);

// The estimates of all shards in a state, added up; one without an estimate counts a millisecond, and
// one that comes before all others nothing.
uint64_t shoal_backlog_cost(const shoal_backlog_t *backlog, shoal_shard_state_t state);

// How many shards of a stage are in a state that is not final.
size_t shoal_backlog_open(const shoal_backlog_t *backlog, shoal_stage_t stage);

// All indices in use are below this.
uint32_t shoal_backlog_end(const shoal_backlog_t *backlog);

shoal_slice_t shoal_backlog_args(const shoal_backlog_t *backlog, const shoal_shard_t *shard);
shoal_slice_t shoal_backlog_title(const shoal_backlog_t *backlog, const shoal_shard_t *shard);
shoal_slice_t shoal_backlog_expects(const shoal_backlog_t *backlog, const shoal_shard_t *shard);

const char *shoal_shard_state_name(int state);
const char *shoal_stage_name(int stage); // as in EVENT: "check", "map", ...

#endif
