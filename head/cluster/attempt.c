// SPDX-License-Identifier: Apache-2.0
//
// attempt.c - see attempt.h.

#include "head/cluster/attempt.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

#define BLOCK_ATTEMPTS 256
#define BLOCK_COUNT    (SHOAL_ATTEMPTS_MAX / BLOCK_ATTEMPTS)
#define NONE           UINT32_MAX

struct shoal_attempts {
    uint64_t lease_ms;
    uint32_t first; // its lease ends first
    uint32_t last;
    uint32_t unused; // ended ones, chained by `later`
    uint32_t made;   // how many indices were ever given out
    size_t count;
    shoal_attempt_t *blocks[BLOCK_COUNT];
};

shoal_attempts_t *
shoal_attempts_new(uint64_t lease_ms)
{
    shoal_attempts_t *attempts = shoal_alloc(sizeof(*attempts));
    attempts->lease_ms = lease_ms;
    attempts->first = attempts->last = attempts->unused = NONE;
    return attempts;
}

void
shoal_attempts_destroy(shoal_attempts_t **attempts)
{
    if (!attempts || !*attempts) {
        return;
    }
    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        free((*attempts)->blocks[i]);
    }
    free(*attempts);
    *attempts = NULL;
}

shoal_attempt_t *
shoal_attempt_at(const shoal_attempts_t *attempts, uint32_t index)
{
    assert(index < attempts->made);
    return &attempts->blocks[index / BLOCK_ATTEMPTS][index % BLOCK_ATTEMPTS];
}

static void
lease_append(shoal_attempts_t *attempts, shoal_attempt_t *attempt, uint64_t now_ms)
{
    attempt->deadline_ms = now_ms + attempts->lease_ms;
    attempt->earlier = attempts->last;
    attempt->later = NONE;
    if (attempts->last == NONE) {
        attempts->first = attempt->index;
    } else {
        shoal_attempt_at(attempts, attempts->last)->later = attempt->index;
    }
    attempts->last = attempt->index;
}

static void
lease_remove(shoal_attempts_t *attempts, shoal_attempt_t *attempt)
{
    if (attempt->earlier == NONE) {
        attempts->first = attempt->later;
    } else {
        shoal_attempt_at(attempts, attempt->earlier)->later = attempt->later;
    }
    if (attempt->later == NONE) {
        attempts->last = attempt->earlier;
    } else {
        shoal_attempt_at(attempts, attempt->later)->earlier = attempt->earlier;
    }
}

shoal_attempt_t *
shoal_attempt_begin(shoal_attempts_t *attempts, uint64_t now_ms)
{
    uint32_t index = attempts->unused;
    if (index != NONE) {
        attempts->unused = shoal_attempt_at(attempts, index)->later;
    } else {
        if (attempts->made == SHOAL_ATTEMPTS_MAX) {
            return NULL;
        }
        index = attempts->made++;
        if (!attempts->blocks[index / BLOCK_ATTEMPTS]) {
            attempts->blocks[index / BLOCK_ATTEMPTS] =
                shoal_alloc(BLOCK_ATTEMPTS * sizeof(shoal_attempt_t));
        }
    }
    shoal_attempt_t *attempt = shoal_attempt_at(attempts, index);
    *attempt = (shoal_attempt_t){.index = index, .is_live = true};
    lease_append(attempts, attempt, now_ms);
    attempts->count++;
    return attempt;
}

void
shoal_attempt_renew(shoal_attempts_t *attempts, shoal_attempt_t *attempt, uint64_t now_ms)
{
    assert(attempt->is_live);
    lease_remove(attempts, attempt);
    lease_append(attempts, attempt, now_ms);
}

void
shoal_attempt_end(shoal_attempts_t *attempts, shoal_attempt_t *attempt)
{
    assert(attempt->is_live);
    lease_remove(attempts, attempt);
    attempt->is_live = false;
    attempt->later = attempts->unused;
    attempts->unused = attempt->index;
    attempts->count--;
}

shoal_attempt_t *
shoal_attempt_overdue(const shoal_attempts_t *attempts, uint64_t now_ms)
{
    if (attempts->first == NONE) {
        return NULL;
    }
    shoal_attempt_t *attempt = shoal_attempt_at(attempts, attempts->first);
    return attempt->deadline_ms <= now_ms ? attempt : NULL;
}

uint64_t
shoal_attempts_next(const shoal_attempts_t *attempts)
{
    return attempts->first == NONE ? SHOAL_TIME_NEVER
                                   : shoal_attempt_at(attempts, attempts->first)->deadline_ms;
}

size_t
shoal_attempts_count(const shoal_attempts_t *attempts)
{
    return attempts->count;
}
