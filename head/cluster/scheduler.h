// SPDX-License-Identifier: Apache-2.0
//
// scheduler.h - which shard of which job goes to which worker next.
//
// Slots come first, prefetch second: every idle slot gets a call before any worker gets one that has
// to wait there, and long calls are never prefetched. Between jobs the share of the window in use,
// divided by the job's weight, decides: the lowest is next. Within a job the most expensive shard is
// next. Shards with a small estimate are packed, sixteen to a place in the window, while there are
// more of them than slots. All of it takes constant time, or the logarithm of the number of jobs.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_SCHEDULER_H
#define SHOAL_HEAD_CLUSTER_SCHEDULER_H

#include "head/cluster/job.h"
#include "head/cluster/registry.h"

#define SHOAL_SMALL_COST_US    20000  // a shard up to this is packed
#define SHOAL_PREFETCH_COST_US 100000 // a shard above this waits for a slot
#define SHOAL_WORKERS_TRIED    256    // for a job that may not run on every one

typedef struct shoal_scheduler shoal_scheduler_t;

// Borrows the registry.
shoal_scheduler_t *shoal_scheduler_new(const shoal_registry_t *registry);
void shoal_scheduler_destroy(shoal_scheduler_t **scheduler);

// Whether a job may start a call on a worker now, beside what the scheduler knows. `by_drop`: if
// something can be given up elsewhere for it.
typedef bool shoal_scheduler_admit_fn(void *ctx, shoal_job_t *job, const shoal_worker_t *worker,
                                      bool by_drop);
void shoal_scheduler_ask(shoal_scheduler_t *scheduler, shoal_scheduler_admit_fn *admit, void *ctx);

// Looks at a job again: after anything that changes what of it could run, or how much runs.
void shoal_scheduler_update(shoal_scheduler_t *scheduler, shoal_job_t *job);

// What to start now. False: nothing can be started. The caller starts it, or makes sure that it is
// not offered again (the worker fed no more, the job marked needs_disk and updated).
typedef struct shoal_choice {
    shoal_job_t *job;
    shoal_worker_t *worker;
    uint32_t shard; // popped from the job's backlog, still READY
    uint32_t charge;
} shoal_choice_t;
bool shoal_scheduler_choose(shoal_scheduler_t *scheduler, shoal_choice_t *ret_choice);

#endif
