// SPDX-License-Identifier: Apache-2.0
//
// delay.c - see delay.h.

#include "head/cluster/delay.h"

#include <stdlib.h>

#include "proto/base/alloc.h"

typedef struct entry {
    uint64_t due_ms;
    uint64_t call;
} entry_t;

struct shoal_delays {
    entry_t *entries; // from 1
    size_t count;
    size_t size;
};

shoal_delays_t *
shoal_delays_new(void)
{
    return shoal_alloc(sizeof(shoal_delays_t));
}

void
shoal_delays_destroy(shoal_delays_t **delays)
{
    if (delays && *delays) {
        free((*delays)->entries);
        free(*delays);
        *delays = NULL;
    }
}

void
shoal_delay_add(shoal_delays_t *delays, uint64_t due_ms, uint64_t call)
{
    if (delays->count + 2 > delays->size) {
        delays->size = delays->size ? delays->size * 2 : 16;
        delays->entries = shoal_realloc(delays->entries, delays->size * sizeof(entry_t));
    }
    size_t at = ++delays->count;
    for (; at > 1 && due_ms < delays->entries[at / 2].due_ms; at /= 2) {
        delays->entries[at] = delays->entries[at / 2];
    }
    delays->entries[at] = (entry_t){due_ms, call};
}

bool
shoal_delay_take(shoal_delays_t *delays, uint64_t now_ms, uint64_t *ret_call)
{
    if (delays->count == 0 || delays->entries[1].due_ms > now_ms) {
        return false;
    }
    *ret_call = delays->entries[1].call;
    entry_t last = delays->entries[delays->count--];
    size_t at = 1;
    for (size_t child; (child = at * 2) <= delays->count; at = child) {
        if (child < delays->count &&
            delays->entries[child + 1].due_ms < delays->entries[child].due_ms) {
            child++;
        }
        if (last.due_ms <= delays->entries[child].due_ms) {
            break;
        }
        delays->entries[at] = delays->entries[child];
    }
    if (delays->count > 0) {
        delays->entries[at] = last;
    }
    return true;
}

uint64_t
shoal_delays_next(const shoal_delays_t *delays)
{
    return delays->count ? delays->entries[1].due_ms : SHOAL_TIME_NEVER;
}
