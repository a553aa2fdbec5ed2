// SPDX-License-Identifier: Apache-2.0
//
// cluster.h - everything the head decides, without sockets, clocks or disks.
//
// The cluster is the registry, the jobs, the live attempts and the scheduler together. The hub tells
// it what peers said and what time it is, and it says through a *port* what is to be sent. A
// simulation can take the hub's place: the port, the time and the seed are all that it knows of the
// world.
//
// Threads: one owner, the hub.  Logging: none, the port tells.

#ifndef SHOAL_HEAD_CLUSTER_CLUSTER_H
#define SHOAL_HEAD_CLUSTER_CLUSTER_H

#include "head/cluster/job.h"
#include "head/cluster/registry.h"
#include "head/cluster/scheduler.h"
#include "proto/wire/message.h"

#define SHOAL_JOBS_MAX        1000    // kept, final ones included: the oldest final one makes room
#define SHOAL_SPEC_BYTES_MAX  1048576 // of a job's specification
#define SHOAL_JOBS_BYTES_MAX  268435456 // of all specifications together
#define SHOAL_DISCOVER_CREDIT 1048576   // bytes of items that an attempt may be ahead
#define SHOAL_STREAM_CREDIT   524288    // bytes of records that are not collected

typedef enum shoal_port_sent {
    SHOAL_PORT_SENT,
    SHOAL_PORT_CUT,  // the worker's connection is gone: it counts as cut
    SHOAL_PORT_FULL, // it reads nothing: it counts as lost
} shoal_port_sent_t;

typedef struct shoal_port {
    void *ctx;
    // Send the call, and before it the job's actor if the worker was not told of it.
    shoal_port_sent_t (*call)(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt,
                              const char *method, shoal_slice_t args, uint64_t limit,
                              uint32_t credit);
    void (*cancel)(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number,
                   const char *reason);
    void (*grant)(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number,
                  uint32_t bytes);
    void (*drop_actor)(void *ctx, shoal_worker_t *worker, uint64_t job);
    // Something about the job is new; `is_urgent`: its state.
    void (*changed)(void *ctx, shoal_job_t *job, bool is_urgent);
    // The job is to be forgotten.
    void (*forgotten)(void *ctx, shoal_job_t *job);
    // For the log: an attempt ended badly.
    void (*ended)(void *ctx, const shoal_job_t *job, const shoal_attempt_t *attempt,
                  const shoal_status_t *why);
} shoal_port_t;

typedef struct shoal_cluster_counts {
    uint64_t calls;   // given out
    uint64_t results; // taken
    uint64_t batches;
    uint64_t fenced;   // messages of attempts that were not live
    uint64_t repeated; // results that had come before
    uint64_t lost;     // attempts lost with their worker or lease
    uint64_t jobs;     // number of the last one accepted
} shoal_cluster_counts_t;

typedef struct shoal_cluster shoal_cluster_t;

typedef struct shoal_cluster_config {
    shoal_port_t port;
    shoal_outputs_t *outputs; // borrowed; NULL: no job collects
    shoal_ledger_t *ledger;   // borrowed; NULL: nothing is kept
    uint64_t life;            // of the head, from 1: no number of an attempt is used in two of them
    uint64_t lease_ms;
    uint64_t grace_ms;       // for workers of an earlier life to come back; 0: a lease
    bool are_workers_gone;   // they do not
    uint64_t seed;           // of the jitter
    uint64_t wall_offset_ms; // the wall's time is so much more than now_ms (it wraps)
    uint64_t retain_ms;      // a finished job is kept so long; 0: no such limit
    uint64_t retain_bytes;   // records of finished jobs, together; 0: no such limit
} shoal_cluster_config_t;

shoal_cluster_t *shoal_cluster_new(const shoal_cluster_config_t *config);
void shoal_cluster_destroy(shoal_cluster_t **cluster); // all jobs and workers; sends nothing

shoal_registry_t *shoal_cluster_registry(shoal_cluster_t *cluster);
const shoal_cluster_counts_t *shoal_cluster_counts(const shoal_cluster_t *cluster);

// ---- workers

// A HELLO. `running` and `last_exit` are its fields.
//   as shoal_registry_join(); SHOAL_PROTOCOL for a malformed `running`
SHOAL_MUST_CHECK bool shoal_cluster_join(shoal_cluster_t *cluster, const shoal_offer_t *offer,
                                         shoal_slice_t running, shoal_slice_t last_exit,
                                         uint64_t now_ms, shoal_worker_t **ret_worker,
                                         shoal_status_t *status);

// After WELCOME: asks the worker to stop what its `running` names and the head has given up or never
// knew.
void shoal_cluster_cancel_strays(shoal_cluster_t *cluster, shoal_worker_t *worker,
                                 shoal_slice_t running);

// After WELCOME: HELLO's `actors`; it is asked to drop those whose job has ended or is unknown.
//   SHOAL_PROTOCOL  malformed
SHOAL_MUST_CHECK bool shoal_cluster_drop_strays(shoal_cluster_t *cluster, shoal_worker_t *worker,
                                                shoal_slice_t actors, shoal_status_t *status);

// HEARD, DRAIN, LATE or CUT: its attempts stay.
void shoal_cluster_note(shoal_cluster_t *cluster, shoal_worker_t *worker,
                        shoal_worker_event_t event);

// The worker asks for another window; 0: nothing more.
void shoal_cluster_window(shoal_cluster_t *cluster, shoal_worker_t *worker, uint32_t calls);

// The worker is lost (LOSE, with the cause) or leaves (LEAVE): its attempts end.
void shoal_cluster_lose(shoal_cluster_t *cluster, shoal_worker_t *worker,
                        shoal_worker_event_t event, const char *why, uint64_t now_ms);

// HEARTBEAT's progress renews leases.
//   SHOAL_PROTOCOL  malformed
SHOAL_MUST_CHECK bool shoal_cluster_progress(shoal_cluster_t *cluster, shoal_worker_t *worker,
                                             shoal_slice_t progress, uint64_t now_ms,
                                             shoal_status_t *status);

// A BATCH; `payload`'s content may be taken over.
//   SHOAL_LIMIT  the worker sent more than its credit or its record is too long: drop it
SHOAL_MUST_CHECK bool shoal_cluster_batch(shoal_cluster_t *cluster, shoal_worker_t *worker,
                                          const shoal_msg_batch_t *batch, zmq_msg_t *payload,
                                          uint64_t now_ms, shoal_status_t *status);

// A RESULT. Nothing can be wrong with it but what the attempt pays for.
void shoal_cluster_result(shoal_cluster_t *cluster, shoal_worker_t *worker,
                          const shoal_msg_result_t *result, uint64_t now_ms);

// ---- jobs

// Accepts a job, or finds the one that has this id already.
//   as shoal_spec_read(); SHOAL_LIMIT too many jobs that are not final, or too large
SHOAL_MUST_CHECK bool shoal_cluster_submit(shoal_cluster_t *cluster, shoal_slice_t id,
                                           shoal_slice_t payload, uint64_t now_ms,
                                           shoal_job_t **ret_job, shoal_status_t *status);

shoal_job_t *shoal_cluster_job(const shoal_cluster_t *cluster, uint64_t number); // or NULL
shoal_job_t *shoal_cluster_job_by_id(const shoal_cluster_t *cluster, shoal_slice_t id);
shoal_job_t *shoal_cluster_first_job(const shoal_cluster_t *cluster); // the others by ->next
size_t shoal_cluster_job_count(const shoal_cluster_t *cluster);

void shoal_cluster_stop_job(shoal_cluster_t *cluster, shoal_job_t *job, const char *reason,
                            uint64_t now_ms);

// ---- the turn

// Ends overdue leases, wakes delayed shards, starts whatever can be started.
void shoal_cluster_run(shoal_cluster_t *cluster, uint64_t now_ms);

// Starts whatever can be started; cheap when nothing can.
void shoal_cluster_dispatch(shoal_cluster_t *cluster, uint64_t now_ms);

// Forgets finished jobs that are too old or take too much of the disk; cheap within a second of the
// last time. Part of shoal_cluster_run().
void shoal_cluster_retain(shoal_cluster_t *cluster, uint64_t now_ms);

// There may be room on the disk again, and the ledger may have caught up.
void shoal_cluster_disk(shoal_cluster_t *cluster);

// The ledger has come further: jobs that the journal has now may begin, final ones may be told.
void shoal_cluster_durable(shoal_cluster_t *cluster);

// When shoal_cluster_run() has something to do of its own.
uint64_t shoal_cluster_next(const shoal_cluster_t *cluster);

#endif
