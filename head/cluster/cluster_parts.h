// SPDX-License-Identifier: Apache-2.0
//
// cluster_parts.h - what the files of the cluster share: its structure and the calls between them.
//
// cluster.c has the attempts and the ends of jobs, joining.c the workers that come and go, stream.c
// what they send, jobs.c what clients submit, turn.c what is started, alone.c what is started
// alone, late.c what takes too long. Nobody else includes this.
//
// Threads: the hub's.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_CLUSTER_PARTS_H
#define SHOAL_HEAD_CLUSTER_CLUSTER_PARTS_H

#include "head/cluster/cluster.h"
#include "head/cluster/delay.h"
#include "head/cluster/names.h"

typedef struct shoal_alone shoal_alone_t; // a shard that waits for a worker of its own

struct shoal_cluster {
    shoal_cluster_config_t config;
    shoal_cluster_counts_t counts;
    shoal_registry_t *registry;
    shoal_scheduler_t *scheduler;
    shoal_budgets_t *budgets;
    uint64_t now_ms; // of the last turn
    shoal_attempts_t *attempts;
    shoal_delays_t *delays;
    shoal_names_t *job_ids;     // by the client's id
    shoal_names_t *job_numbers; // by the bytes of the number
    shoal_job_t *first;
    shoal_job_t *last;
    size_t job_count;
    size_t spec_bytes;
    size_t disk_waiters; // jobs with needs_disk
    shoal_alone_t *alone;
    size_t alone_count;
    size_t alone_size;
    uint64_t late_ms;         // when something has taken too long, at the earliest
    uint64_t alone_ms;        // when workers are looked for again
    uint64_t retain_first_ms; // when finished jobs were looked at first; 0: not yet
    uint64_t retain_next_ms;  // when finished jobs are looked at again
    size_t held;              // jobs with is_held
    shoal_ledger_t *ledger;
    bool owns_ledger;        // one that keeps nothing
    bool is_behind;          // the ledger is, and jobs wait for it
    uint32_t worker_numbers; // given out to processes of workers
    uint64_t chance;         // state of the generator
    shoal_buffer_t args;     // scratch
    uint64_t letter_bytes;   // of all jobs' dead letters
    shoal_letters_hooks_t letters_hooks;
};

// The wall's time, for people.
static inline uint64_t
shoal_cluster_wall(const shoal_cluster_t *cluster, uint64_t now_ms)
{
    return now_ms + cluster->config.wall_offset_ms;
}

// The live attempt that a worker's message names, or NULL (fenced).
shoal_attempt_t *shoal_cluster_attempt(shoal_cluster_t *cluster, const shoal_worker_t *worker,
                                       uint64_t call, uint64_t number);

// Takes a live attempt out of all lists; its draft is gone, its shard RUNNING for the caller.
void shoal_cluster_unlink(shoal_cluster_t *cluster, shoal_attempt_t *attempt);

// Fences the attempt and asks its worker to stop; its shard stays RUNNING for the caller.
void shoal_cluster_cancel(shoal_cluster_t *cluster, shoal_attempt_t *attempt, const char *reason);

// Ends an attempt that did not succeed and decides about its shard.
void shoal_cluster_fail(shoal_cluster_t *cluster, shoal_attempt_t *attempt, shoal_end_t end,
                        const shoal_status_t *why, uint64_t now_ms);

// After anything happened to a job's shards: moves it on, or ends it.
void shoal_cluster_settle(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms);

// Ends a job that is over: cancels what runs, writes the summary, tells the workers.
void shoal_cluster_end_job(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms);

// Forgets a job and its later runs, all of them final. `job` is the first of them.
void shoal_cluster_forget(shoal_cluster_t *cluster, shoal_job_t *job);

// Whether that may be now: their ends are durable and told, and nobody is fetching what they wrote.
bool shoal_cluster_may_forget(const shoal_cluster_t *cluster, const shoal_job_t *job);

uint64_t
shoal_cluster_next_retain(const shoal_cluster_t *cluster); // when shoal_cluster_retain() is due

// Starts an attempt of a shard that is READY and out of its list, or DELAYED.
void shoal_cluster_start(shoal_cluster_t *cluster, const shoal_choice_t *choice, uint64_t now_ms);

// A shard that is READY and out of its list waits until it can run alone.
void shoal_cluster_set_aside(shoal_cluster_t *cluster, shoal_job_t *job, uint32_t shard);

// Starts those that can, finds workers for others; due at shoal_cluster_next_alone().
void shoal_cluster_run_alone(shoal_cluster_t *cluster, uint64_t now_ms);
uint64_t shoal_cluster_next_alone(const shoal_cluster_t *cluster);

// The worker is not kept for a shard any more.
void shoal_cluster_leave_alone(shoal_cluster_t *cluster, const shoal_worker_t *worker);

// The job may not have what it needs more of: it fails at once, with that error.
void shoal_cluster_fail_job(shoal_cluster_t *cluster, shoal_job_t *job, const shoal_status_t *why,
                            uint64_t now_ms);

// Makes an attempt of an earlier life live again, at a worker that is away. False: it was given back.
bool shoal_cluster_recover(shoal_cluster_t *cluster, shoal_job_t *job, uint32_t index,
                           shoal_worker_t *worker, uint64_t now_ms);

// Makes the job of a journal's row; all but what the log and the end say.
//   SHOAL_IO  malformed
SHOAL_MUST_CHECK bool shoal_cluster_restore_job(shoal_cluster_t *cluster,
                                                const shoal_journal_job_t *row, shoal_slice_t args,
                                                shoal_job_t **ret_job, shoal_status_t *status);

// The job is held if job->lsn is not durable.
void shoal_cluster_hold(shoal_cluster_t *cluster, shoal_job_t *job);

// The ledger is not behind any more: what was not granted meanwhile is.
void shoal_cluster_grant_again(shoal_cluster_t *cluster);

// A job's time has begun when it was accepted, an attempt's begins now.
void shoal_cluster_time_job(shoal_cluster_t *cluster, shoal_job_t *job);
void shoal_cluster_time_attempt(shoal_cluster_t *cluster, shoal_attempt_t *attempt,
                                uint64_t now_ms);

// An attempt of the job is fenced that may go on; `is_dead`: its process has ended. Returns for how
// long its sink may still write, and notes that the job is not over before.
uint64_t shoal_cluster_loss_delay(shoal_cluster_t *cluster, shoal_job_t *job, bool is_dead,
                                  uint64_t now_ms);

// Ends what has taken too long; due at `late_ms`.
void shoal_cluster_end_late(shoal_cluster_t *cluster, uint64_t now_ms);

void shoal_cluster_changed(shoal_cluster_t *cluster, shoal_job_t *job, bool is_urgent);

#endif
