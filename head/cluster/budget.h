// SPDX-License-Identifier: Apache-2.0
//
// budget.h - how hard a source may be used: by the whole cluster, and by tries after the first.
//
// A *source budget* has the name of a source (its host and port, say) and belongs to all jobs that
// read it. It bounds the connections that the cluster holds to it and the calls that begin in a
// second. A worker keeps one connection for each of a job's calls that it has ever run at a time,
// until the head drops the job's actor there, so connections are counted as *seats* of (job,
// worker): a call takes an idle seat of its worker, or a new one while the bound allows, or an idle
// one of a worker that runs nothing of the job, which the head drops there.
//
// When the source refuses connections, the bound is halved, once for all calls that had begun by
// then, and grows by one for each SHOAL_BUDGET_GROW_MS without a refusal.
//
// A *retry budget* belongs to one job: tries after the first are at most a share of the first ones,
// plus a floor; those beyond wait longer.
//
// Time is an argument.  Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_BUDGET_H
#define SHOAL_HEAD_CLUSTER_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/clock.h" // SHOAL_TIME_NEVER
#include "proto/base/slice.h"

#define SHOAL_BUDGET_NAME_MAX     256  // bytes
#define SHOAL_BUDGET_GROW_MS      5000 // one connection more for so long without a refusal
#define SHOAL_BUDGET_NO_BOUND     UINT32_MAX
#define SHOAL_BUDGET_FREE_AT      1024    // a bound that has grown so far after a refusal goes
#define SHOAL_BUDGET_PER_SECOND   1000000 // largest rate
#define SHOAL_RETRY_SHARE_PERCENT 20      // of the first tries
#define SHOAL_RETRY_FLOOR         10      // tries after the first that any job may have
#define SHOAL_RETRY_SAVED_MAX     100     // that a long quiet time saves up
#define SHOAL_RETRY_WAIT_FACTOR   10      // a try beyond the budget waits so many times as long
#define SHOAL_RETRY_WAIT_MS_MAX   60000

// ---- tries after the first, of one job

typedef struct shoal_retry_budget {
    uint64_t saved_percent; // a hundred is one try
    uint64_t held;          // tries that had to wait longer
} shoal_retry_budget_t;

void shoal_retry_budget_init(shoal_retry_budget_t *budget);

// A first try begins.
void shoal_retry_budget_earn(shoal_retry_budget_t *budget);

// Another try is due after `delay_ms`: returns after how long it shall begin.
uint64_t shoal_retry_budget_spend(shoal_retry_budget_t *budget, uint64_t delay_ms);

// ---- sources

typedef struct shoal_budget shoal_budget_t;   // of one source
typedef struct shoal_budgets shoal_budgets_t; // of all

shoal_budgets_t *shoal_budgets_new(void);
void shoal_budgets_destroy(shoal_budgets_t **budgets);

// The budget of that name, made at first; `job` uses it from now on, with bounds of its own (0:
// none). Of several jobs' bounds the smallest ones hold.
shoal_budget_t *shoal_budget_join(shoal_budgets_t *budgets, shoal_slice_t name, uint64_t job,
                                  uint32_t connections, uint32_t per_second, uint64_t now_ms);

// The job is over: its seats and bounds go, and the budget with its last job.
void shoal_budget_leave(shoal_budgets_t *budgets, shoal_budget_t *budget, uint64_t job);

const char *shoal_budget_name(const shoal_budget_t *budget);
uint32_t shoal_budget_bound(const shoal_budget_t *budget); // SHOAL_BUDGET_NO_BOUND: none
uint32_t shoal_budget_running(const shoal_budget_t *budget);

bool shoal_budget_is_used_up(const shoal_budget_t *budget); // it admitted nothing when last asked

typedef enum shoal_admission {
    SHOAL_ADMIT,         // on a seat that the worker has, or a new one
    SHOAL_ADMIT_BY_DROP, // if an idle seat elsewhere is dropped for it
    SHOAL_ADMIT_LATER,   // not now: the bound, or the rate
} shoal_admission_t;

// Whether a call of the job may begin on the worker (any number that means it) now.
shoal_admission_t shoal_budget_admits(shoal_budget_t *budget, uint64_t job, const void *worker,
                                      uint64_t now_ms);

// It begins: shoal_budget_admits() was not LATER. If a seat has to go for it, *ret_job and
// *ret_worker say whose actor is to be dropped, and true is returned.
bool shoal_budget_begin(shoal_budget_t *budget, uint64_t job, const void *worker, uint64_t now_ms,
                        uint64_t *ret_job, const void **ret_worker);

// The worker has a connection for the job already, which is idle.
void shoal_budget_hold(shoal_budget_t *budget, uint64_t job, const void *worker);

// It has ended. The seat stays.
void shoal_budget_end(shoal_budget_t *budget, uint64_t job, const void *worker);

// It has ended because it got no connection: its seat goes with it, and the bound is halved if the
// call had begun after the last refusal (`epoch` is shoal_budget_epoch() at its beginning). False:
// nothing else of the cluster used the source.
bool shoal_budget_refused(shoal_budget_t *budget, uint64_t job, const void *worker, uint32_t epoch,
                          uint64_t now_ms);
uint32_t shoal_budget_epoch(const shoal_budget_t *budget);

// The job's seats on the worker stay whatever else is wanted: it holds what others need.
void shoal_budget_pin(shoal_budget_t *budget, uint64_t job, const void *worker);

// The worker has lost the job's actor, or all of them (job 0).
void shoal_budgets_forget(shoal_budgets_t *budgets, const void *worker, uint64_t job);

// When one that admitted nothing may admit something by itself.
uint64_t shoal_budgets_next(const shoal_budgets_t *budgets, uint64_t now_ms);

#endif
