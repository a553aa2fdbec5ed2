// SPDX-License-Identifier: Apache-2.0
//
// job.h - one job: its specification, its stages as calls, its retries and its verdict.
//
//   check -> discover -> (prepare -> map) -> link -> finish
//
// Every step is a shard of the job's backlog; discover streams the shards of prepare, map and link
// as *items*, and map runs while discovery goes on. The functions here decide what becomes of a shard
// and when the job moves on or ends; they start and cancel nothing themselves (cluster.h does).
//
// The structure is read by scheduler.c, cluster.c and summary.c; time and chance are arguments.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_JOB_H
#define SHOAL_HEAD_CLUSTER_JOB_H

#include "head/cluster/attempt.h"
#include "head/cluster/books.h"
#include "head/cluster/budget.h"
#include "head/cluster/history.h"
#include "head/cluster/ledger.h"
#include "head/cluster/letters.h"
#include "head/output/output.h"

#define SHOAL_JOB_ID_MAX       64
#define SHOAL_JOB_NAME_MAX     128
#define SHOAL_JOB_CURSOR_MAX   65536 // bytes of discover's cursor
#define SHOAL_LOSSES_MAX       10    // workers that a shard may lose before it is given up
#define SHOAL_CRASHES_MAX      2     // crashes after which a shard runs alone, once
#define SHOAL_WRITE_MS_MAX     3600000
#define SHOAL_TIMEOUT_MS_MAX   31536000000 // a year
#define SHOAL_LOSS_DELAY_MS    200 // before a lost shard runs again: its worker's report comes in
#define SHOAL_BACKOFF_MS_MAX   300000
#define SHOAL_ATTEMPTS_OF_MAX  1000 // of retry.max_attempts
#define SHOAL_SPEC_BUDGETS_MAX 4    // of one job
#define SHOAL_LIFE_ATTEMPTS    1000 // each life of the head begins its attempts' numbers above

// Shards that every job has; those of discover follow.
enum { SHOAL_SHARD_CHECK, SHOAL_SHARD_DISCOVER, SHOAL_SHARD_FINISH, SHOAL_SHARD_FIRST };

#define SHOAL_JOB_STATES(X)                                                                        \
    X(PENDING, "PENDING")                                                                          \
    X(RUNNING, "RUNNING")                                                                          \
    X(SUCCEEDED, "SUCCEEDED")                                                                      \
    X(PARTIAL, "PARTIAL")                                                                          \
    X(FAILED, "FAILED")                                                                            \
    X(STOPPED, "STOPPED")

typedef enum shoal_job_state {
#define X(name, text) SHOAL_JOB_##name,
    SHOAL_JOB_STATES(X)
#undef X
        SHOAL_JOB_STATE_COUNT
} shoal_job_state_t;

// Bounds for a source.
typedef struct shoal_spec_budget {
    char name[SHOAL_BUDGET_NAME_MAX + 1]; // empty: whatever source the job has
    uint32_t connections;                 // 0: no bound
    uint32_t per_second;                  // 0: no bound
} shoal_spec_budget_t;

// SUBMIT's payload; the slices borrow from it.
typedef struct shoal_spec {
    shoal_slice_t name;
    shoal_slice_t class_name;
    shoal_slice_t args;   // msgpack; nil if it has none
    uint32_t parallelism; // 0: as many as there are slots
    uint64_t limit;       // 0: none
    bool plan_only;
    bool collect;
    uint32_t max_attempts;
    uint64_t backoff_ms;
    double factor;
    uint32_t weight;
    uint64_t timeout_ms;       // of the job, from its acceptance; 0: none
    uint64_t shard_timeout_ms; // of one attempt of a shard
    shoal_spec_budget_t budgets[SHOAL_SPEC_BUDGETS_MAX];
    size_t budget_count;
    uint64_t retry_of;     // a job whose dead letters are tried again; 0: it is a job of its own
    shoal_slice_t letters; // of those, msgpack array of numbers; empty: all
} shoal_spec_t;

// A shard that was given up and is no letter yet (mail.h).
typedef struct shoal_buried {
    uint32_t shard;
    uint32_t because;    // the shard that it needs and that was given up; SHOAL_SHARD_NONE: itself
    shoal_status_t *why; // owned; NULL with a `because`
    char *worker;        // owned
} shoal_buried_t;

struct shoal_job {
    uint64_t number;
    char id[SHOAL_JOB_ID_MAX + 1];
    char name[SHOAL_JOB_NAME_MAX + 1];
    shoal_spec_t spec; // without its slices
    char *args;        // owned msgpack
    size_t args_len;
    unsigned class_number;
    shoal_job_state_t state;
    shoal_stage_t stage;
    shoal_backlog_t *backlog; // NULL once the job is final
    shoal_books_t books;
    shoal_output_t *output; // NULL if it collects nothing
    char *cursor;           // of discover, owned msgpack; NULL: none
    size_t cursor_len;
    uint32_t cursors;    // how many came
    uint32_t link_first; // shards that wait for the stage link
    uint64_t shards;     // prepare, map and link, as discovered
    uint64_t retried;
    uint64_t dead;
    uint64_t done;
    uint64_t records;     // delivered; stays when the books are gone
    uint64_t map_records; // delivered by map shards, for the limit
    bool is_discovered;   // discover has ended, in whatever way
    bool is_limited;      // the limit was reached
    bool is_stopping;     // STOP, or an error that ends the job at once: `end_state` is set
    shoal_job_state_t end_state;
    char wait_reason[256]; // why the last retry waits
    uint64_t
        write_ms; // its sink writes by itself, one request lasts so long at most; 0: it does not
    uint64_t quiet_ms;    // until then an attempt that was lost may still write; 0: none does
    uint64_t deadline_ms; // when it has taken too long
    uint64_t created_ms;
    uint64_t started_ms;
    uint64_t finished_ms;
    // Dead letters, and the runs that try them again (letters.h, mail.h, run.h).
    shoal_letters_t *letters; // of all runs, NULL: there were none yet; a run uses its first one's
    shoal_history_t *history; // of shards that have failed; NULL: none
    uint64_t letters_waiting; // bytes that attempts have sent and not committed
    shoal_buried_t *buried;
    size_t buried_count;
    size_t buried_size;
    shoal_job_t *of;                // the job that this is a run of; NULL: it is none
    shoal_job_t *next_run;          // of the same job
    uint32_t run;                   // 1, or which run it is
    struct shoal_run_group *groups; // what the shards of a run stand for (run.h)
    uint32_t group_count;
    // Budgets (budget.h, sources.h).
    shoal_retry_budget_t retries;
    shoal_budget_t *budget; // of its source; NULL: none
    bool has_joined;        // its check has said which source it has
    // of the cluster
    shoal_attempt_t *attempts;
    uint32_t running;
    uint32_t running_charge;
    bool needs_disk;        // it cannot start an attempt before there is room
    shoal_buffer_t opening; // of a run: what its shards are, for the log
    bool is_replayed;       // its log is being replayed
    shoal_page_t page;      // of the ledger
    bool is_held;           // the journal does not have it yet: nobody may hear of it
    uint64_t lsn;           // of its beginning, then of its end
    uint32_t attempt_base;  // numbers of new attempts are above
    shoal_job_t *next;      // all jobs, oldest first
    shoal_job_t *prev;
    // of the scheduler
    size_t heap_place; // 1..; 0: not there
    // of the hub
    shoal_buffer_t final_detail; // EVENT's detail once the job is final
    void *watchers;
    bool is_changed;
    uint64_t told_ms;
};

// Reads SUBMIT's payload.
//   SHOAL_INVALID  not a map, a key of another kind or out of range, no class
SHOAL_MUST_CHECK bool shoal_spec_read(shoal_slice_t payload, shoal_spec_t *ret_spec,
                                      shoal_status_t *status);

// Appends the same payload without `args`, for the journal: they hold secrets. False: malformed.
SHOAL_MUST_CHECK bool shoal_spec_strip(shoal_slice_t payload, shoal_buffer_t *out);

// A job that is PENDING with its check READY. Copies what it needs.
shoal_job_t *shoal_job_new(uint64_t number, shoal_slice_t id, const shoal_spec_t *spec,
                           unsigned class_number, uint64_t now_ms);
void shoal_job_destroy(shoal_job_t **job); // its output too; it has no attempts

// The letters that the job's failures go to.
static inline shoal_letters_t *
shoal_job_letters(const shoal_job_t *job)
{
    return job->of ? job->of->letters : job->letters;
}

static inline bool
shoal_job_is_final(const shoal_job_t *job)
{
    return job->state >= SHOAL_JOB_SUCCEEDED;
}

// Takes a payload of discover's items in; those it has seen before are passed over.
//   SHOAL_PROTOCOL  malformed, or a shard that needs one which was not announced
//   SHOAL_LIMIT     beyond a limit of shards, scopes or sizes
SHOAL_MUST_CHECK bool shoal_job_take_items(shoal_job_t *job, shoal_slice_t items,
                                           shoal_status_t *status);

// A WAITING shard that is new can go on its way: at once, after the one that it needs, or with its
// stage.
void shoal_job_shard_place(shoal_job_t *job, uint32_t index);

// Counts the detail of a running shard's result in, and the records that RESULT said.
//   as shoal_books_take(); nothing is counted then
SHOAL_MUST_CHECK bool shoal_job_take_result(shoal_job_t *job, uint32_t index, shoal_slice_t detail,
                                            uint64_t records, const char *worker,
                                            shoal_status_t *status);

// Whether what the shard streams becomes a commit.
bool shoal_job_collects(const shoal_job_t *job, const shoal_shard_t *shard);

// A running shard is done; its result was counted already.
void shoal_job_shard_done(shoal_job_t *job, uint32_t index);

// Why an attempt ended badly.
typedef enum shoal_end {
    SHOAL_END_FAILED,   // by itself: the status's class decides
    SHOAL_END_LOST,     // its worker, or its lease
    SHOAL_END_RETURNED, // politely: it does not count
    SHOAL_END_DECLINED, // the same, but it waits a little before it runs again
    SHOAL_END_LATE,     // it has run for longer than it may: failed, and may go on for a moment
} shoal_end_t;

const char *shoal_end_name(shoal_end_t end); // "failed", "lost", ...: of an attempt in a letter

#define SHOAL_JOB_NO_RETRY UINT64_MAX

// A running shard's attempt has ended otherwise. Returns after how many milliseconds it runs again
// (0: it is READY now, otherwise DELAYED), or SHOAL_JOB_NO_RETRY: it is dead, and so are the shards
// that need it. `chance` is a random number for the jitter.
uint64_t shoal_job_shard_failed(shoal_job_t *job, uint32_t index, shoal_end_t end,
                                const shoal_status_t *why, const char *worker, uint64_t chance);

// A worker that ran the shard crashed; `why` names the signal. True: it `was_alone`, so it is to blame,
// and the shard, which must not be running any more, is dead now.
bool shoal_job_shard_crashed(shoal_job_t *job, uint32_t shard, bool was_alone,
                             const shoal_status_t *why, const char *worker);

// A WAITING shard's prerequisite was given up: so is it, with those that need it.
void shoal_job_shard_orphaned(shoal_job_t *job, uint32_t index);

// What was buried has become letters, or had before.
void shoal_job_buried_clear(shoal_job_t *job);

// Back-off is over, if it still waits.
void shoal_job_shard_ripe(shoal_job_t *job, uint32_t index);

// Moves on to the next stage when the present one is over. True: the job is over too, with
// `end_state`, and the caller ends what runs and calls shoal_job_finish().
bool shoal_job_advance(shoal_job_t *job);

// Ends the job at once: STOPPED by a client, or FAILED by a config error.
void shoal_job_stop(shoal_job_t *job, shoal_job_state_t state);

// Makes `end_state` the job's state and frees its backlog. Needs no running attempts. The final
// detail was written before; its output is the caller's to finish.
void shoal_job_finish(shoal_job_t *job, uint64_t now_ms);

// What the job has come to so far, its finish call aside; the job is not final.
shoal_job_state_t shoal_job_verdict(const shoal_job_t *job);

// How many more map records a call may deliver; 0: no limit.
uint64_t shoal_job_records_left(const shoal_job_t *job);

const char *shoal_job_state_name(int state);

// What clients may be told: a final state only when the journal has it.
static inline shoal_job_state_t
shoal_job_shown_state(const shoal_job_t *job)
{
    return shoal_job_is_final(job) && job->is_held ? SHOAL_JOB_RUNNING : job->state;
}

// What the journal keeps of a job that has ended, as msgpack, and back; the output aside.
//   SHOAL_IO  malformed
void shoal_final_write(const shoal_job_t *job, shoal_buffer_t *out);
SHOAL_MUST_CHECK bool shoal_final_read(shoal_job_t *job, shoal_slice_t final,
                                       shoal_status_t *status);

#endif
