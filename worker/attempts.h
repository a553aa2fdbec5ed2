// SPDX-License-Identifier: Apache-2.0
//
// attempts.h - the table of attempts that a session has, from CALL to RESULT.
//
// Owns what is in it. An attempt that is forgotten (its head is gone, or its slot does not react)
// stays until it ends, but is not found any more: its number may be used again.
//
// Threads: the link's.  Logging: none.

#ifndef SHOAL_WORKER_ATTEMPTS_H
#define SHOAL_WORKER_ATTEMPTS_H

#include <stddef.h>

#include "worker/attempt.h"

#define SHOAL_ATTEMPT_BUCKETS 1024

// Embedded; zero it.
typedef struct shoal_attempts {
    shoal_attempt_t *buckets[SHOAL_ATTEMPT_BUCKETS];
    size_t count;
    size_t forgotten; // of them
} shoal_attempts_t;

void shoal_attempts_fini(shoal_attempts_t *attempts);

shoal_attempt_t *shoal_attempts_find(const shoal_attempts_t *attempts, uint64_t call,
                                     uint64_t number);                         // or NULL
void shoal_attempts_add(shoal_attempts_t *attempts, shoal_attempt_t *attempt); // takes it
void shoal_attempts_forget(shoal_attempts_t *attempts,
                           shoal_attempt_t *attempt); // it stays until it ends
void shoal_attempts_remove(shoal_attempts_t *attempts, shoal_attempt_t *attempt); // destroys it

// Shows each attempt; `visit` may remove the one that it is shown.
typedef void shoal_attempts_visit_fn(void *ctx, shoal_attempt_t *attempt, uint64_t arg);
void shoal_attempts_each(shoal_attempts_t *attempts, shoal_attempts_visit_fn *visit, void *ctx,
                         uint64_t arg);

#endif
