// SPDX-License-Identifier: Apache-2.0
//
// mail.h - how what has failed for good becomes a dead letter of its job.
//
// Records: an attempt streams letters as batches of their own; they are kept aside until its RESULT
// is taken and become the job's with its commit, all or none. Shards: job.h lists what it buries,
// and each of those is a letter too. Letters of a run (run.h) belong to the job that it is a run of:
// one that is tried again and fails again stays, once, with its history grown; one that succeeds is
// gone.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_MAIL_H
#define SHOAL_HEAD_CLUSTER_MAIL_H

#include "head/cluster/job.h"

// Takes a batch of letters of a live attempt, to be kept aside.
//   SHOAL_LIMIT     more than a job may have: it fails
//   SHOAL_PROTOCOL  not an attempt that may have letters
SHOAL_MUST_CHECK bool shoal_mail_take(shoal_job_t *job, shoal_attempt_t *attempt, uint64_t count,
                                      shoal_slice_t payload, shoal_status_t *status);

// Looks at what the attempt has sent, before anything of it counts.
//   SHOAL_PROTOCOL  malformed, or not as many letters as were said: the attempt fails
//   SHOAL_LIMIT     more than a job may have: the job fails
SHOAL_MUST_CHECK bool shoal_mail_check(const shoal_job_t *job, const shoal_attempt_t *attempt,
                                       shoal_status_t *status);

// The attempt is committed: its letters are the job's, and what a run has tried again with success
// is gone. shoal_mail_check() was true.
void shoal_mail_commit(shoal_job_t *job, shoal_attempt_t *attempt, uint64_t wall_ms);

// The attempt has ended otherwise: its letters are forgotten.
void shoal_mail_forget(shoal_job_t *job, shoal_attempt_t *attempt);

// An attempt has failed: for the history of its shard. `end`: "failed", "lost" or "crashed".
void shoal_mail_note(shoal_job_t *job, uint32_t shard, uint32_t attempt, const char *end,
                     const shoal_status_t *why, const char *worker, uint64_t wall_ms);

// Makes letters of the shards that the job has buried since the last time.
//   SHOAL_LIMIT  more than a job may have: the job fails
SHOAL_MUST_CHECK bool shoal_mail_bury(shoal_job_t *job, uint64_t wall_ms, shoal_status_t *status);

#endif
