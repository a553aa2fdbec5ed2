// SPDX-License-Identifier: Apache-2.0
//
// replay.h - makes the jobs of the head's earlier lives again, from the journal and the spool.
//
//   for each job in order: shoal_replay_job(), then its log by shoal_replay_entries()
//   for each batch that the spool has: shoal_replay_batch()
//   at the end: shoal_replay_finish()
//
// The log is applied by the functions that made it, so the jobs are as they were at the last group
// that was durable. An attempt that was live then belongs to a worker that is SUSPECT until it
// comes back, and has one full lease for that; one that had streamed is given back uncounted at
// once, because what it sent is gone.
//
// Threads: the hub's, before its loop begins.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_REPLAY_H
#define SHOAL_HEAD_CLUSTER_REPLAY_H

#include "head/cluster/cluster.h"
#include "head/store/journal.h"

typedef struct shoal_replay shoal_replay_t;

typedef struct shoal_replay_counts {
    uint64_t jobs;
    uint64_t running; // of them not final
    uint64_t entries;
    uint64_t attempts; // that wait for their worker
    uint64_t returned; // that had streamed
    uint64_t batches;  // of commits
    uint64_t strays;   // batches of nobody's
} shoal_replay_counts_t;

// The cluster is new.
shoal_replay_t *shoal_replay_new(shoal_cluster_t *cluster);
void shoal_replay_destroy(shoal_replay_t **replay);

// A job's row; `args` is what the vault has of one that has not ended.
//   SHOAL_IO  the row is malformed: the job is named
SHOAL_MUST_CHECK bool shoal_replay_job(shoal_replay_t *replay, const shoal_journal_job_t *row,
                                       shoal_slice_t args, shoal_status_t *status);

// A dead letter of the job, as the journal has it; after its row and before its log.
//   SHOAL_IO  malformed
SHOAL_MUST_CHECK bool shoal_replay_letter(shoal_replay_t *replay, uint64_t job, shoal_slice_t body,
                                          shoal_status_t *status);

// A job that has ended and has letters gets its arguments, which a run of it may need.
void shoal_replay_args(shoal_replay_t *replay, uint64_t number, shoal_slice_t args);

// The next part of its log, whole entries.
//   SHOAL_IO  malformed, or something that cannot have happened: job and offset are named
SHOAL_MUST_CHECK bool shoal_replay_entries(shoal_replay_t *replay, uint64_t job,
                                           shoal_slice_t entries, shoal_status_t *status);

// A batch in the spool, those of one attempt in order. True if it belongs to a commit.
bool shoal_replay_batch(shoal_replay_t *replay, uint64_t job, const shoal_spool_batch_t *batch);

// Puts everything on its way again.
//   SHOAL_IO  the spool lacks a batch of a commit: job and commit are named
SHOAL_MUST_CHECK bool shoal_replay_finish(shoal_replay_t *replay, uint64_t now_ms,
                                          shoal_status_t *status);

const shoal_replay_counts_t *shoal_replay_counts(const shoal_replay_t *replay);

#endif
