// SPDX-License-Identifier: Apache-2.0
//
// attempt.h - the live attempts, and how long each of them may stay without progress.
//
// An attempt is live from its CALL until it ended in any way; what arrives of an attempt that is not
// live is fenced off. All leases have the same length, so the book is a list in the order of their
// ends: granting, renewing and ending one takes constant time. Time is an argument.
//
// Threads: one owner, the hub.  Logging: none, the caller has the story.

#ifndef SHOAL_HEAD_CLUSTER_ATTEMPT_H
#define SHOAL_HEAD_CLUSTER_ATTEMPT_H

#include <stdint.h>

#include "head/cluster/backlog.h"
#include "proto/base/buffer.h"
#include "proto/base/clock.h" // SHOAL_TIME_NEVER

#define SHOAL_ATTEMPTS_MAX 1048576 // live at once; windows of all workers together stay below

// A call's number holds its job and its shard.
#define SHOAL_CALL_SHARD_BITS 24

typedef struct shoal_job shoal_job_t;
typedef struct shoal_worker shoal_worker_t;
typedef struct shoal_draft shoal_draft_t; // head/output/output.h

typedef struct shoal_attempt {
    // of the book
    uint32_t index;
    uint32_t earlier; // in the order of the leases' ends
    uint32_t later;
    uint64_t deadline_ms;
    // of whoever asked for it
    shoal_job_t *job;
    shoal_worker_t *worker;
    struct shoal_attempt *worker_next; // the worker's other attempts
    struct shoal_attempt *worker_prev;
    struct shoal_attempt *job_next; // the job's other attempts
    struct shoal_attempt *job_prev;
    shoal_draft_t *draft;    // NULL: what it streams is not collected
    shoal_buffer_t *letters; // dead letters that it has streamed (mail.h); NULL: none
    uint64_t letter_count;   // in them
    uint64_t call;
    uint64_t batches; // that have arrived
    uint64_t records; // in them
    uint64_t progress;
    uint64_t started_ms;
    int64_t credit;     // bytes that it may still stream, without a draft
    uint32_t ungranted; // bytes taken and not granted again yet, without a draft
    uint32_t shard;
    uint32_t number;
    uint32_t charge;       // of its worker's window
    uint32_t source_epoch; // of the source's budget when it began
    bool has_seat;         // of that budget
    bool is_live;
    bool is_torn;         // a batch is missing, or one of its items was bad
    bool is_recovered;    // given out by an earlier life of the head
    bool is_kept;         // its worker has named it in its HELLO
    bool is_alone;        // its worker gets nothing else meanwhile
    bool has_more;        // its last batch was a chunk that goes on
    uint32_t chunk_bytes; // of the record that is on its way in chunks
} shoal_attempt_t;

typedef struct shoal_attempts shoal_attempts_t;

// An empty book of leases that last `lease_ms`.
shoal_attempts_t *shoal_attempts_new(uint64_t lease_ms);
void shoal_attempts_destroy(shoal_attempts_t **attempts);

// A new live attempt, all else zero; NULL when SHOAL_ATTEMPTS_MAX are live.
shoal_attempt_t *shoal_attempt_begin(shoal_attempts_t *attempts, uint64_t now_ms);

// The attempt at an index that shoal_attempt_begin() gave out, live or not.
shoal_attempt_t *shoal_attempt_at(const shoal_attempts_t *attempts, uint32_t index);

// Its lease starts again.
void shoal_attempt_renew(shoal_attempts_t *attempts, shoal_attempt_t *attempt, uint64_t now_ms);

// It is not live any more; the memory is used again for a later one.
void shoal_attempt_end(shoal_attempts_t *attempts, shoal_attempt_t *attempt);

// A live attempt whose lease is over, the longest over first, or NULL.
shoal_attempt_t *shoal_attempt_overdue(const shoal_attempts_t *attempts, uint64_t now_ms);

// When the next lease ends; SHOAL_TIME_NEVER without attempts.
uint64_t shoal_attempts_next(const shoal_attempts_t *attempts);

size_t shoal_attempts_count(const shoal_attempts_t *attempts); // live ones

static inline uint64_t
shoal_call_number(uint64_t job, uint32_t shard)
{
    return job << SHOAL_CALL_SHARD_BITS | shard;
}

static inline uint64_t
shoal_call_job(uint64_t call)
{
    return call >> SHOAL_CALL_SHARD_BITS;
}

static inline uint32_t
shoal_call_shard(uint64_t call)
{
    return (uint32_t)(call & ((1U << SHOAL_CALL_SHARD_BITS) - 1));
}

#endif
