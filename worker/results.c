// SPDX-License-Identifier: Apache-2.0
//
// results.c - see results.h.

#include "worker/results.h"

#include <stdlib.h>

#include "proto/base/alloc.h"

typedef struct kept kept_t;
struct kept {
    kept_t *next;
    shoal_msg_result_t result; // its texts stand behind the structure
};

struct shoal_results {
    kept_t *first;
    kept_t **last;
    kept_t *due; // the first one that is not sent
    size_t count;
    uint64_t seq; // of the result that was kept last
};

shoal_results_t *
shoal_results_new(void)
{
    shoal_results_t *results = shoal_alloc(sizeof(*results));
    results->last = &results->first;
    return results;
}

void
shoal_results_destroy(shoal_results_t **results)
{
    if (results && *results) {
        shoal_results_forget(*results);
        free(*results);
        *results = NULL;
    }
}

static shoal_slice_t
copy(char **to, shoal_slice_t slice)
{
    shoal_slice_t copied = {*to, slice.len};
    if (slice.len > 0) {
        memcpy(*to, slice.ptr, slice.len);
        *to += slice.len;
    }
    return copied;
}

void
shoal_results_keep(shoal_results_t *results, const shoal_msg_result_t *result)
{
    kept_t *kept =
        shoal_alloc(sizeof(*kept) + result->reason.len + result->key.len + result->detail.len);
    char *to = (char *)(kept + 1);
    kept->result = *result;
    kept->result.seq = ++results->seq;
    kept->result.reason = copy(&to, result->reason);
    kept->result.key = copy(&to, result->key);
    kept->result.detail = copy(&to, result->detail);
    *results->last = kept;
    results->last = &kept->next;
    results->count++;
    if (!results->due) {
        results->due = kept;
    }
}

const shoal_msg_result_t *
shoal_results_due(const shoal_results_t *results)
{
    return results->due ? &results->due->result : NULL;
}

void
shoal_results_sent(shoal_results_t *results)
{
    if (results->due) {
        results->due = results->due->next;
    }
}

void
shoal_results_resend(shoal_results_t *results)
{
    results->due = results->first;
}

void
shoal_results_lose_streams(shoal_results_t *results, const char *reason)
{
    for (kept_t *kept = results->first; kept; kept = kept->next) {
        shoal_msg_result_t *result = &kept->result;
        if (result->outcome == SHOAL_OUTCOME_DONE && result->batches > 0) {
            result->outcome = SHOAL_OUTCOME_RETURNED;
            result->reason = shoal_slice_of(reason);
            result->detail = SHOAL_SLICE_NONE;
        }
    }
}

static void
drop_first(shoal_results_t *results)
{
    kept_t *kept = results->first;
    results->first = kept->next;
    if (!results->first) {
        results->last = &results->first;
    }
    if (results->due == kept) {
        results->due = kept->next;
    }
    results->count--;
    free(kept);
}

void
shoal_results_acknowledge(shoal_results_t *results, uint64_t seq)
{
    if (seq > results->seq) {
        return;
    }
    while (results->first && results->first->result.seq <= seq) {
        drop_first(results);
    }
}

void
shoal_results_forget(shoal_results_t *results)
{
    while (results->first) {
        drop_first(results);
    }
}

size_t
shoal_results_count(const shoal_results_t *results)
{
    return results->count;
}

void
shoal_results_each(const shoal_results_t *results, shoal_results_show_fn *show, void *ctx)
{
    for (const kept_t *kept = results->first; kept; kept = kept->next) {
        show(ctx, &kept->result);
    }
}
