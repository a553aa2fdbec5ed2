// SPDX-License-Identifier: Apache-2.0
//
// attempt.c - see attempt.h.

#include "worker/attempt.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

// One block for the attempt, its method and its arguments: a small call costs one allocation.
shoal_attempt_t *
shoal_attempt_new(const shoal_msg_call_t *call, uint32_t batch_bytes, uint32_t record_bytes,
                  uint64_t lease_ms)
{
    assert(call && call->attempt <= UINT32_MAX && call->credit <= UINT32_MAX);
    shoal_attempt_t *attempt = shoal_alloc(sizeof(*attempt) + call->method.len + call->args.len);
    char *bytes = (char *)(attempt + 1);
    attempt->call = call->call;
    attempt->number = (uint32_t)call->attempt;
    attempt->actor = call->actor;
    attempt->limit = call->limit;
    attempt->credit = (uint32_t)call->credit;
    attempt->credit_left = (int64_t)call->credit;
    attempt->batch_bytes = batch_bytes;
    attempt->record_bytes = record_bytes;
    attempt->lease_ms = lease_ms;
    attempt->method = (shoal_slice_t){bytes, call->method.len};
    attempt->args = (shoal_slice_t){bytes + call->method.len, call->args.len};
    if (call->method.len > 0) {
        memcpy(bytes, call->method.ptr, call->method.len);
    }
    if (call->args.len > 0) {
        memcpy(bytes + call->method.len, call->args.ptr, call->args.len);
    }
    atomic_init(&attempt->is_cancelled, false);
    atomic_init(&attempt->progress, 0);
    return attempt;
}

void
shoal_attempt_destroy(shoal_attempt_t **attempt)
{
    if (attempt && *attempt) {
        free(*attempt);
        *attempt = NULL;
    }
}
