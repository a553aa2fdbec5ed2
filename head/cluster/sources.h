// SPDX-License-Identifier: Apache-2.0
//
// sources.h - the budgets of the jobs' sources, between scheduler, attempts and budget.h.
//
// A job uses the budget of the source that its check has named (the fact `source`), with the bounds
// that SUBMIT gave it; a job that names none but has bounds has a budget of its own. From then on each
// of its attempts takes a seat.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_SOURCES_H
#define SHOAL_HEAD_CLUSTER_SOURCES_H

#include "head/cluster/cluster_parts.h"

// For the scheduler: whether the job may start a call on the worker now. `by_drop`: if an idle
// connection elsewhere may be given up for it.
bool shoal_sources_admit(void *ctx, shoal_job_t *job, const shoal_worker_t *worker, bool by_drop);

// The check is done, and has said which source it is; it has left a connection.
void shoal_sources_found(shoal_cluster_t *cluster, const shoal_attempt_t *attempt);

// The attempt begins; an actor may have to be dropped elsewhere for it.
void shoal_sources_begin(shoal_cluster_t *cluster, shoal_attempt_t *attempt, uint64_t now_ms);

// It has ended, in whatever way.
void shoal_sources_end(shoal_attempt_t *attempt);

// It has failed; true if the source has refused a connection while others of the cluster used it:
// then it is no failure of the shard.
bool shoal_sources_refused(shoal_attempt_t *attempt, const shoal_status_t *why, uint64_t now_ms);

// What the worker has found holds for the whole job (an exported snapshot): its connection stays.
void shoal_sources_pin(const shoal_attempt_t *attempt);

// The job is over.
void shoal_sources_leave(shoal_cluster_t *cluster, shoal_job_t *job);

#endif
