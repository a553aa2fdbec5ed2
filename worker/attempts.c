// SPDX-License-Identifier: Apache-2.0
//
// attempts.c - see attempts.h.

#include "worker/attempts.h"

#include <assert.h>

void
shoal_attempts_fini(shoal_attempts_t *attempts)
{
    for (size_t i = 0; i < SHOAL_ATTEMPT_BUCKETS; i++) {
        while (attempts->buckets[i]) {
            shoal_attempts_remove(attempts, attempts->buckets[i]);
        }
    }
}

shoal_attempt_t *
shoal_attempts_find(const shoal_attempts_t *attempts, uint64_t call, uint64_t number)
{
    shoal_attempt_t *attempt = attempts->buckets[call % SHOAL_ATTEMPT_BUCKETS];
    while (attempt &&
           (attempt->call != call || attempt->number != number || attempt->is_forgotten)) {
        attempt = attempt->table_next;
    }
    return attempt;
}

void
shoal_attempts_add(shoal_attempts_t *attempts, shoal_attempt_t *attempt)
{
    shoal_attempt_t **at = &attempts->buckets[attempt->call % SHOAL_ATTEMPT_BUCKETS];
    attempt->table_next = *at;
    *at = attempt;
    attempts->count++;
}

void
shoal_attempts_forget(shoal_attempts_t *attempts, shoal_attempt_t *attempt)
{
    attempts->forgotten += !attempt->is_forgotten;
    attempt->is_forgotten = true;
}

void
shoal_attempts_remove(shoal_attempts_t *attempts, shoal_attempt_t *attempt)
{
    shoal_attempt_t **at = &attempts->buckets[attempt->call % SHOAL_ATTEMPT_BUCKETS];
    while (*at != attempt) {
        assert(*at);
        at = &(*at)->table_next;
    }
    *at = attempt->table_next;
    attempts->count--;
    attempts->forgotten -= attempt->is_forgotten;
    shoal_attempt_destroy(&attempt);
}

void
shoal_attempts_each(shoal_attempts_t *attempts, shoal_attempts_visit_fn *visit, void *ctx,
                    uint64_t arg)
{
    for (size_t i = 0; i < SHOAL_ATTEMPT_BUCKETS; i++) {
        shoal_attempt_t *next = NULL;
        for (shoal_attempt_t *attempt = attempts->buckets[i]; attempt; attempt = next) {
            next = attempt->table_next;
            visit(ctx, attempt, arg);
        }
    }
}
