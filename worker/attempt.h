// SPDX-License-Identifier: Apache-2.0
//
// attempt.h - one attempt of a call, from CALL until its RESULT is made.
//
// The session makes it, finds it again by (call, number) and frees it; the pool of slots borrows it
// between shoal_slots_submit() and the news that it ended. Who may touch which part stands in the
// structure, because two threads meet here.
//
// Threads: the link's and one slot's, see below.  Logging: none.

#ifndef SHOAL_WORKER_ATTEMPT_H
#define SHOAL_WORKER_ATTEMPT_H

#include <stdatomic.h>
#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/wire/message.h"

typedef struct shoal_attempt shoal_attempt_t;
struct shoal_attempt {
    // What CALL and WELCOME said; nobody writes it afterwards.
    uint64_t call;
    uint32_t number;
    uint64_t actor;
    uint64_t limit;        // records that it may deliver; 0: no limit
    uint32_t credit;       // bytes, as CALL said
    uint32_t batch_bytes;  // largest payload
    uint32_t record_bytes; // largest record
    uint64_t lease_ms;     // what a wait without end is worth
    shoal_slice_t method;  // method and args are owned
    shoal_slice_t args;

    // The link thread's own.
    shoal_attempt_t *table_next;
    bool is_lost;      // its stream broke with the registration; it is given back
    bool is_forgotten; // its head is gone, or its end has been reported for it
    bool is_returned;  // the worker drains: it is given back, unless it is done first
    bool has_streamed; // a BATCH of it has been sent
    uint64_t asked_ms; // when it was asked to end while it ran; 0: it was not

    // The pool's, under its mutex.
    shoal_attempt_t *queue_next;
    shoal_attempt_t **queue_at; // what points to it in the queue; NULL: it is not there
    struct shoal_actor *home;
    struct shoal_slot *slot; // that runs it
    int64_t credit_left;
    uint64_t bonus;    // progress that waiting has earned
    uint64_t reported; // the number that was reported last
    bool is_waiting;   // for credit or a descriptor

    // Of both threads.
    atomic_bool is_cancelled;
    atomic_ullong progress; // moved by the slot

    // The slot's while it runs, the link's afterwards.
    bool is_fenced; // it was not allowed to write, and ends as cancelled
    uint64_t batches;
    uint64_t records;
};

// Copies what `call` has. `batch_bytes`, `record_bytes` and `lease_ms` are the head's.
shoal_attempt_t *shoal_attempt_new(const shoal_msg_call_t *call, uint32_t batch_bytes,
                                   uint32_t record_bytes, uint64_t lease_ms);
void shoal_attempt_destroy(shoal_attempt_t **attempt);

#endif
