// SPDX-License-Identifier: Apache-2.0
//
// backlog.c - see backlog.h.
//
// Design: shards stand in blocks, texts in chunks of an arena; both are allocated as they are first
// needed and never moved. The order is an array of buckets by cost, eight to each power of two, each
// a list through shard.next, with a bitmap of those that are not empty: constant time at any length,
// where a heap of a million entries costs twenty cache misses a step. A shard that leaves READY
// while it stands in a bucket stays there and is passed over when it comes up.

#include "head/cluster/backlog.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

#define BLOCK_SHARDS 1024
#define BLOCK_COUNT  ((SHOAL_SHARDS_MAX + BLOCK_SHARDS - 1) / BLOCK_SHARDS)
#define CHUNK_BITS   20
#define CHUNK_BYTES  (1U << CHUNK_BITS)
#define CHUNK_COUNT  (SHOAL_BACKLOG_BYTES / CHUNK_BYTES)
#define BUCKET_COUNT (33 * 8)
#define TITLE_MAX    255
#define WORD_BITS    64
#define COST_UNKNOWN 1000 // us; what a shard without an estimate counts for

typedef struct bucket {
    uint32_t first;
    uint32_t last;
} bucket_t;

struct shoal_backlog {
    shoal_shard_t **blocks; // BLOCK_COUNT of them, NULL where no shard is
    char **chunks;          // CHUNK_COUNT of them
    uint32_t chunk_count;
    uint32_t chunk_used; // bytes of the last chunk
    uint32_t end;
    bool is_unordered; // a log is being replayed
    uint64_t filled[(BUCKET_COUNT + WORD_BITS - 1) / WORD_BITS];
    bucket_t buckets[BUCKET_COUNT];
    size_t counts[SHOAL_SHARD_STATE_COUNT];
    uint64_t costs[SHOAL_SHARD_STATE_COUNT];
    size_t open[SHOAL_STAGE_COUNT];
};

shoal_backlog_t *
shoal_backlog_new(void)
{
    shoal_backlog_t *backlog = shoal_alloc(sizeof(*backlog));
    backlog->blocks = shoal_alloc(BLOCK_COUNT * sizeof(*backlog->blocks));
    backlog->chunks = shoal_alloc(CHUNK_COUNT * sizeof(*backlog->chunks));
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        backlog->buckets[i] = (bucket_t){SHOAL_SHARD_NONE, SHOAL_SHARD_NONE};
    }
    return backlog;
}

void
shoal_backlog_destroy(shoal_backlog_t **backlog)
{
    if (!backlog || !*backlog) {
        return;
    }
    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        free((*backlog)->blocks[i]);
    }
    for (size_t i = 0; i < (*backlog)->chunk_count; i++) {
        free((*backlog)->chunks[i]);
    }
    free((*backlog)->blocks);
    free((*backlog)->chunks);
    free(*backlog);
    *backlog = NULL;
}

static shoal_shard_t *
shard_slot(const shoal_backlog_t *backlog, uint32_t index)
{
    return &backlog->blocks[index / BLOCK_SHARDS][index % BLOCK_SHARDS];
}

shoal_shard_t *
shoal_backlog_at(const shoal_backlog_t *backlog, uint32_t index)
{
    if (index >= backlog->end || !backlog->blocks[index / BLOCK_SHARDS]) {
        return NULL;
    }
    shoal_shard_t *shard = shard_slot(backlog, index);
    return shard->state == SHOAL_SHARD_ABSENT ? NULL : shard;
}

// Room for `len` bytes that lie in one piece; false when the arena is full.
static bool
arena_take(shoal_backlog_t *backlog, uint32_t len, uint32_t *ret_blob)
{
    if (backlog->chunk_count == 0 || CHUNK_BYTES - backlog->chunk_used < len) {
        if (backlog->chunk_count == CHUNK_COUNT) {
            return false;
        }
        char *chunk = malloc(CHUNK_BYTES); // its pages cost nothing before they are written
        if (!chunk) {
            return false;
        }
        backlog->chunks[backlog->chunk_count++] = chunk;
        backlog->chunk_used = 0;
    }
    *ret_blob = (backlog->chunk_count - 1) << CHUNK_BITS | backlog->chunk_used;
    backlog->chunk_used += len;
    return true;
}

static char *
arena_at(const shoal_backlog_t *backlog, uint32_t blob)
{
    return backlog->chunks[blob >> CHUNK_BITS] + (blob & (CHUNK_BYTES - 1));
}

static void
copy_in(char **at, shoal_slice_t bytes)
{
    if (bytes.len > 0) {
        memcpy(*at, bytes.ptr, bytes.len);
        *at += bytes.len;
    }
}

// The longest prefix of at most TITLE_MAX bytes that does not cut a UTF-8 sequence.
static size_t
title_length(shoal_slice_t title)
{
    size_t len = title.len;
    if (len > TITLE_MAX) {
        len = TITLE_MAX;
        while (len > 0 && ((unsigned char)title.ptr[len] & 0xc0U) == 0x80U) {
            len--;
        }
    }
    return len;
}

static uint64_t
cost_of(const shoal_shard_t *shard)
{
    if (shard->cost_us == SHOAL_COST_FIRST) {
        return 0;
    }
    return shard->cost_us > 0 ? shard->cost_us : COST_UNKNOWN;
}

bool
shoal_backlog_add(shoal_backlog_t *backlog, uint32_t index, const shoal_shard_item_t *item,
                  shoal_status_t *status)
{
    if (index >= SHOAL_SHARDS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a job has at most %d shards", SHOAL_SHARDS_MAX);
    }
    shoal_slice_t title = {item->title.ptr, title_length(item->title)};
    size_t len = item->args.len + title.len + item->expects.len;
    if (len > SHOAL_SHARD_BYTES_MAX - 1) {
        return shoal_fail(status, SHOAL_LIMIT, "a shard has at most %d bytes, got %zu",
                          SHOAL_SHARD_BYTES_MAX - 1, len);
    }
    uint32_t blob = 0;
    if (!arena_take(backlog, (uint32_t)len, &blob)) {
        return shoal_fail(status, SHOAL_LIMIT, "the shards of a job have at most %d bytes",
                          SHOAL_BACKLOG_BYTES);
    }
    if (!backlog->blocks[index / BLOCK_SHARDS]) {
        backlog->blocks[index / BLOCK_SHARDS] = shoal_alloc(BLOCK_SHARDS * sizeof(shoal_shard_t));
    }
    shoal_shard_t *shard = shard_slot(backlog, index);
    assert(shard->state == SHOAL_SHARD_ABSENT);
    *shard = (shoal_shard_t){.next = SHOAL_SHARD_NONE,
                             .waiters = SHOAL_SHARD_NONE,
                             .needs = item->needs,
                             .cost_us = item->cost_us,
                             .blob = blob,
                             .args_len = (uint32_t)item->args.len,
                             .expects_len = (uint16_t)item->expects.len,
                             .title_len = (uint8_t)title.len,
                             .stage = (uint8_t)item->stage,
                             .live = SHOAL_SHARD_NONE,
                             .state = SHOAL_SHARD_WAITING};
    char *at = arena_at(backlog, blob);
    copy_in(&at, item->args);
    copy_in(&at, title);
    copy_in(&at, item->expects);
    backlog->counts[SHOAL_SHARD_WAITING]++;
    backlog->costs[SHOAL_SHARD_WAITING] += cost_of(shard);
    backlog->open[item->stage]++;
    if (index >= backlog->end) {
        backlog->end = index + 1;
    }
    return true;
}

static unsigned
bucket_of(uint32_t cost_us)
{
    if (cost_us < 8) {
        return cost_us;
    }
    unsigned power = 31U - (unsigned)__builtin_clz(cost_us); // at least 3
    return (power - 2) * 8 + ((cost_us >> (power - 3)) & 7U);
}

static void
order_append(shoal_backlog_t *backlog, uint32_t index, shoal_shard_t *shard)
{
    unsigned number = bucket_of(shard->cost_us);
    bucket_t *bucket = &backlog->buckets[number];
    shard->next = SHOAL_SHARD_NONE;
    if (bucket->first == SHOAL_SHARD_NONE) {
        bucket->first = index;
        backlog->filled[number / WORD_BITS] |= UINT64_C(1) << (number % WORD_BITS);
    } else {
        shard_slot(backlog, bucket->last)->next = index;
    }
    bucket->last = index;
}

static bool
is_final(shoal_shard_state_t state)
{
    return state == SHOAL_SHARD_DONE || state == SHOAL_SHARD_DEAD;
}

void
shoal_backlog_set(shoal_backlog_t *backlog, uint32_t index, shoal_shard_state_t state)
{
    shoal_shard_t *shard = shoal_backlog_at(backlog, index);
    assert(shard && state != SHOAL_SHARD_ABSENT && !is_final((shoal_shard_state_t)shard->state));
    assert(shard->state != state);
    backlog->counts[shard->state]--;
    backlog->counts[state]++;
    backlog->costs[shard->state] -= cost_of(shard);
    backlog->costs[state] += cost_of(shard);
    if (is_final(state)) {
        backlog->open[shard->stage]--;
    }
    shard->state = (uint8_t)state;
    if (state == SHOAL_SHARD_READY && !backlog->is_unordered) {
        order_append(backlog, index, shard);
    }
}

void
shoal_backlog_unorder(shoal_backlog_t *backlog)
{
    for (unsigned i = 0; i < BUCKET_COUNT; i++) {
        backlog->buckets[i] = (bucket_t){SHOAL_SHARD_NONE, SHOAL_SHARD_NONE};
    }
    memset(backlog->filled, 0, sizeof(backlog->filled));
    backlog->is_unordered = true;
}

void
shoal_backlog_order(shoal_backlog_t *backlog)
{
    backlog->is_unordered = false;
    for (uint32_t i = 0; i < backlog->end; i++) {
        shoal_shard_t *shard = shoal_backlog_at(backlog, i);
        if (shard && shard->state == SHOAL_SHARD_READY) {
            order_append(backlog, i, shard);
        }
    }
}

void
shoal_backlog_chain(shoal_backlog_t *backlog, uint32_t index)
{
    shoal_shard_t *shard = shoal_backlog_at(backlog, index);
    assert(shard && shard->state == SHOAL_SHARD_WAITING);
    shoal_shard_t *needed = shoal_backlog_at(backlog, shard->needs);
    assert(needed);
    shard->next = needed->waiters;
    needed->waiters = index;
}

uint32_t
shoal_backlog_unchain(shoal_backlog_t *backlog, uint32_t needed)
{
    shoal_shard_t *shard = shoal_backlog_at(backlog, needed);
    uint32_t first = shard ? shard->waiters : SHOAL_SHARD_NONE;
    if (first != SHOAL_SHARD_NONE) {
        shoal_shard_t *waiter = shard_slot(backlog, first);
        shard->waiters = waiter->next;
        waiter->next = SHOAL_SHARD_NONE;
    }
    return first;
}

// The number of the highest bucket that is not empty, or -1.
static int
bucket_highest(const shoal_backlog_t *backlog)
{
    for (int word = (int)(sizeof(backlog->filled) / sizeof(backlog->filled[0])) - 1; word >= 0;
         word--) {
        if (backlog->filled[word]) {
            return word * WORD_BITS + (WORD_BITS - 1 - __builtin_clzll(backlog->filled[word]));
        }
    }
    return -1;
}

static void
bucket_drop_first(shoal_backlog_t *backlog, int number)
{
    bucket_t *bucket = &backlog->buckets[number];
    shoal_shard_t *shard = shard_slot(backlog, bucket->first);
    bucket->first = shard->next;
    shard->next = SHOAL_SHARD_NONE;
    if (bucket->first == SHOAL_SHARD_NONE) {
        bucket->last = SHOAL_SHARD_NONE;
        backlog->filled[number / WORD_BITS] &= ~(UINT64_C(1) << (number % WORD_BITS));
    }
}

uint32_t
shoal_backlog_peek(shoal_backlog_t *backlog)
{
    for (;;) {
        int number = bucket_highest(backlog);
        if (number < 0) {
            return SHOAL_SHARD_NONE;
        }
        uint32_t first = backlog->buckets[number].first;
        if (shard_slot(backlog, first)->state == SHOAL_SHARD_READY) {
            return first;
        }
        bucket_drop_first(backlog, number); // it died while it waited
    }
}

uint32_t
shoal_backlog_pop(shoal_backlog_t *backlog)
{
    uint32_t index = shoal_backlog_peek(backlog);
    if (index != SHOAL_SHARD_NONE) {
        bucket_drop_first(backlog, bucket_highest(backlog));
    }
    return index;
}

size_t
shoal_backlog_count(const shoal_backlog_t *backlog, shoal_shard_state_t state)
{
    return backlog->counts[state];
}

uint64_t
shoal_backlog_cost(const shoal_backlog_t *backlog, shoal_shard_state_t state)
{
    return backlog->costs[state];
}

size_t
shoal_backlog_open(const shoal_backlog_t *backlog, shoal_stage_t stage)
{
    return backlog->open[stage];
}

uint32_t
shoal_backlog_end(const shoal_backlog_t *backlog)
{
    return backlog->end;
}

shoal_slice_t
shoal_backlog_args(const shoal_backlog_t *backlog, const shoal_shard_t *shard)
{
    if (shard->args_len == 0) {
        return SHOAL_SLICE_NONE;
    }
    return (shoal_slice_t){arena_at(backlog, shard->blob), shard->args_len};
}

shoal_slice_t
shoal_backlog_title(const shoal_backlog_t *backlog, const shoal_shard_t *shard)
{
    if (shard->title_len == 0) {
        return SHOAL_SLICE_NONE;
    }
    return (shoal_slice_t){arena_at(backlog, shard->blob) + shard->args_len, shard->title_len};
}

shoal_slice_t
shoal_backlog_expects(const shoal_backlog_t *backlog, const shoal_shard_t *shard)
{
    if (shard->expects_len == 0) {
        return SHOAL_SLICE_NONE;
    }
    return (shoal_slice_t){arena_at(backlog, shard->blob) + shard->args_len + shard->title_len,
                           shard->expects_len};
}

const char *
shoal_shard_state_name(int state)
{
    static const char *const names[] = {
#define X(name, text) text,
        SHOAL_SHARD_STATES(X)
#undef X
    };
    return state >= 0 && state < SHOAL_SHARD_STATE_COUNT ? names[state] : "?";
}

const char *
shoal_stage_name(int stage)
{
    static const char *const names[SHOAL_STAGE_COUNT] = {
        [SHOAL_STAGE_CHECK] = "check",       [SHOAL_STAGE_PREPARE] = "prepare",
        [SHOAL_STAGE_MAP] = "map",           [SHOAL_STAGE_LINK] = "link",
        [SHOAL_STAGE_DISCOVER] = "discover", [SHOAL_STAGE_FINISH] = "finish",
    };
    return stage >= 0 && stage < SHOAL_STAGE_COUNT ? names[stage] : "?";
}
