// SPDX-License-Identifier: Apache-2.0
//
// results.h - results that the head has not acknowledged yet (docs/protocol.md, R-6.3).
//
// Each result gets the next number and is kept, in order, until an acknowledgement at or above its
// number comes. After a reconnect all that are kept are due again, before anything new.
//
// Threads: the link's.  Logging: none.

#ifndef SHOAL_WORKER_RESULTS_H
#define SHOAL_WORKER_RESULTS_H

#include "proto/wire/message.h"

typedef struct shoal_results shoal_results_t;

shoal_results_t *shoal_results_new(void);
void shoal_results_destroy(shoal_results_t **results);

// Keeps a copy of `result` under the next number; its `seq` is not looked at.
void shoal_results_keep(shoal_results_t *results, const shoal_msg_result_t *result);

// The oldest one that is due, valid until it is acknowledged; NULL when all are sent.
const shoal_msg_result_t *shoal_results_due(const shoal_results_t *results);
void shoal_results_sent(shoal_results_t *results);   // that one is not due any more
void shoal_results_resend(shoal_results_t *results); // all are due again

// Forgets the results up to `seq`. A number that was never given out acknowledges none.
void shoal_results_acknowledge(shoal_results_t *results, uint64_t seq);

// The registration that they were reported on is lost, and with it, maybe, batches: what is kept as
// done and has streamed is given back instead, with `reason` (a literal).
void shoal_results_lose_streams(shoal_results_t *results, const char *reason);

// Forgets all of them; numbers go on.
void shoal_results_forget(shoal_results_t *results);

size_t shoal_results_count(const shoal_results_t *results);

// Shows each kept result, oldest first.
typedef void shoal_results_show_fn(void *ctx, const shoal_msg_result_t *result);
void shoal_results_each(const shoal_results_t *results, shoal_results_show_fn *show, void *ctx);

#endif
