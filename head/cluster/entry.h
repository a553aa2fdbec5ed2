// SPDX-License-Identifier: Apache-2.0
//
// entry.h - the entries of the log: what happened to a job, in an order that can be repeated.
//
// An entry is a msgpack array [kind, ...] whose further elements stand in the table of entry.c;
// entries follow each other without anything between them. Replaying a job's entries in order, by
// the same functions with the same arguments, makes the same job (replay.h). What follows from
// other entries (numbers of commits, stages, the end of a limited discovery) is not written.
//
// Threads: values.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_ENTRY_H
#define SHOAL_HEAD_CLUSTER_ENTRY_H

#include "proto/base/buffer.h"
#include "proto/record/cursor.h"

// Numbers are stored: they are never used again with another meaning.
#define SHOAL_ENTRY_KINDS(X)                                                                       \
    X(WORKER, 1)  /* who `worker` is from here on */                                               \
    X(BEGUN, 2)   /* the first call was given out */                                               \
    X(START, 3)   /* an attempt was given to a worker */                                           \
    X(ITEMS, 4)   /* discover's attempt streamed items */                                          \
    X(DONE, 5)    /* an attempt was committed */                                                   \
    X(FAILED, 6)  /* an attempt ended in any other way */                                          \
    X(CRASHED, 7) /* its worker says that it crashed of the shard */                               \
    X(RUN, 8)     /* a run's check is done: its shards */

typedef enum shoal_entry_kind {
#define X(name, number) SHOAL_ENTRY_##name = (number),
    SHOAL_ENTRY_KINDS(X)
#undef X
        SHOAL_ENTRY_KIND_END
} shoal_entry_kind_t;

// The slices borrow: from the caller when it is written, from the log when it is read.
typedef struct shoal_entry {
    shoal_entry_kind_t kind;
    uint64_t worker; // WORKER, START: a number that is good within the job
    uint64_t incarnation;
    uint64_t shard;
    uint64_t attempt;
    uint64_t batches; // DONE: what RESULT said
    uint64_t records;
    uint64_t end; // FAILED: shoal_end_t
    uint64_t error_class;
    uint64_t code;
    uint64_t chance; // of the jitter
    uint64_t alone;  // CRASHED: 1: it ran alone
    uint64_t at_ms;  // the head's clock
    shoal_slice_t id;
    shoal_slice_t name;
    shoal_slice_t text;
    shoal_slice_t key;   // CRASHED: how the process ended, without who and how often
    shoal_slice_t bytes; // ITEMS, DONE: msgpack as it came; RUN: shoal_run_open();
                         // WORKER: the key that it came with, or none
} shoal_entry_t;

void shoal_entry_write(shoal_buffer_t *out, const shoal_entry_t *entry);

// Reads the next entry of `log` and moves *at, its offset there, behind it.
//   SHOAL_IO  malformed; the offset is named
SHOAL_MUST_CHECK bool shoal_entry_read(shoal_slice_t log, size_t *at, shoal_entry_t *ret_entry,
                                       shoal_status_t *status);

const char *shoal_entry_name(int kind); // "START"; "?" for what is none

#endif
