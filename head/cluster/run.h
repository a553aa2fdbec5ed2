// SPDX-License-Identifier: Apache-2.0
//
// run.h - the runs of a job after its first: its dead letters, tried again.
//
// A run is a job of its own that belongs to the first one (`of`), whose specification, arguments and
// letters it shares. It checks, discovers nothing, and its shards are made from letters: records go
// through the processors once more ("replay"), records that the source failed with are read again
// ("reread"), shards that were given up run as they were. Its output is an increment. A letter is
// tried by one run at a time.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_RUN_H
#define SHOAL_HEAD_CLUSTER_RUN_H

#include "head/cluster/job.h"

#define SHOAL_RUNS_MAX         1000   // of one job
#define SHOAL_RUN_REPLAY_MAX   500    // letters that one call sends through
#define SHOAL_RUN_REPLAY_BYTES 131072 // and bytes of them, one letter more aside
#define SHOAL_RUN_REREAD_MAX   300    // letters that one call looks for

// One shard of a run: the letters that it stands for, by number.
typedef struct shoal_run_group {
    shoal_letter_kind_t kind;
    uint64_t *letters; // growing
    uint32_t count;
    uint64_t bytes;
} shoal_run_group_t;

// Group n is the shard SHOAL_SHARD_FIRST + n.
typedef struct shoal_run_plan {
    shoal_run_group_t *groups;
    uint32_t count;
} shoal_run_plan_t;

// Chooses the letters of `base`, a final job, that a new run tries: those in `wanted` (a msgpack
// array of numbers) and the shards that they need, or all (empty) that no other run has taken.
//   SHOAL_NOT_FOUND  there is no such letter, or none at all
//   SHOAL_EXISTS     another run is trying it
//   SHOAL_INVALID    `wanted` is malformed
SHOAL_MUST_CHECK bool shoal_run_choose(const shoal_job_t *base, shoal_slice_t wanted,
                                       shoal_run_plan_t *ret_plan, shoal_status_t *status);
void shoal_run_plan_fini(shoal_run_plan_t *plan);

// Makes `job`, which is new, the next run of `base`. Takes the plan.
void shoal_run_attach(shoal_job_t *job, shoal_job_t *base, shoal_run_plan_t *plan);

// Appends the run as the journal keeps it, as SUBMIT's payload would be with its plan; and reads the
// plan back.
//   SHOAL_IO  malformed
void shoal_run_write(const shoal_job_t *job, shoal_buffer_t *out);
SHOAL_MUST_CHECK bool shoal_run_read(shoal_slice_t submit, shoal_run_plan_t *ret_plan,
                                     shoal_status_t *status);

// The check is done: makes the run's shards, from the letters; what they are is left in `opening`, for
// the log. _take makes them again from that.
//   SHOAL_LIMIT  they do not fit
//   SHOAL_IO     malformed
SHOAL_MUST_CHECK bool shoal_run_open(shoal_job_t *job, shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_run_take(shoal_job_t *job, shoal_slice_t opening,
                                     shoal_status_t *status);

// What a shard of a run calls, and with what; appended to `out`.
const char *shoal_run_method(const shoal_job_t *job, uint32_t shard);
void shoal_run_args(const shoal_job_t *job, uint32_t shard, shoal_buffer_t *out);

// The letters that a shard of a run stands for, as far as they are there still.
shoal_letter_t *shoal_run_next_letter(const shoal_job_t *job, uint32_t shard, uint64_t from);
shoal_letter_t *shoal_run_first_letter(const shoal_job_t *job, uint32_t shard);
shoal_letter_t *shoal_run_letter(const shoal_job_t *job, uint32_t shard, uint64_t number);

// The shard is done: its letters that have not come again are gone.
void shoal_run_settle(shoal_job_t *job, uint32_t shard);

// The run's log was replayed: letters that it had let go are free for other runs.
void shoal_run_restore(shoal_job_t *job);

// The run is over: other runs may have its letters.
void shoal_run_release(shoal_job_t *job);

// Drops letters that no run is trying: those in `wanted`, or all.
//   as shoal_run_choose(); nothing is dropped then
SHOAL_MUST_CHECK bool shoal_run_drop(shoal_job_t *base, shoal_slice_t wanted,
                                     shoal_status_t *status);

#endif
