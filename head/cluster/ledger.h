// SPDX-License-Identifier: Apache-2.0
//
// ledger.h - what was decided in a turn, on its way to the disk, and how far the disk has come.
//
// The cluster decides in memory and goes on; each decision that must not be forgotten is written
// here at once. A job's entries are gathered on its *page*; shoal_ledger_flush(), once a turn, hands
// all pages over as one group with a number, its LSN, which the disk makes durable as a whole or
// not at all. Whoever wants to promise something outside asks for shoal_ledger_lsn() after the
// decision and speaks when shoal_ledger_durable() has reached it.
//
// The ledger knows no disk: a *sink* takes the notes, in order (outputs.h has the one that ends at
// the scribe; a simulation has its own). Without a sink nothing is written and everything is durable
// at once.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_LEDGER_H
#define SHOAL_HEAD_CLUSTER_LEDGER_H

#include "head/cluster/entry.h"
#include "head/store/journal.h"

// Bytes of notes that are not durable yet: above this nothing new is started, until half of it is.
#define SHOAL_LEDGER_BEHIND_BYTES 33554432

// Where notes go. They are made durable in this order; everything borrowed is copied, but for
// `entries`, whose bytes are taken over (the buffer is empty afterwards).
typedef struct shoal_ledger_sink {
    void *ctx;
    void (*seal)(void *ctx, uint64_t job, shoal_slice_t args); // into the vault
    void (*open)(void *ctx, const shoal_journal_job_t *row);
    void (*entries)(void *ctx, uint64_t job, shoal_buffer_t *entries);
    void (*end)(void *ctx, const shoal_journal_job_t *row);
    void (*forget)(void *ctx, uint64_t job); // with its files and its box
    void (*letter)(void *ctx, uint64_t job, uint64_t number, shoal_slice_t body);
    void (*drop_letter)(void *ctx, uint64_t job, uint64_t number);
    void (*mark)(void *ctx, uint64_t lsn); // what came since the last mark is a group
} shoal_ledger_sink_t;

// One job's entries of this turn; embedded in the job, zero is empty.
typedef struct shoal_page shoal_page_t;
struct shoal_page {
    uint64_t job;
    shoal_buffer_t entries;
    uint64_t *told; // a bit for each worker that the log knows, by its number
    uint64_t told_words;
    bool is_listed;
    shoal_page_t *next;
    shoal_page_t *prev;
};

typedef struct shoal_ledger shoal_ledger_t;

// `sink` is copied; NULL: nothing is kept.
shoal_ledger_t *shoal_ledger_new(const shoal_ledger_sink_t *sink);
void shoal_ledger_destroy(shoal_ledger_t **ledger); // pages were closed before

bool shoal_ledger_is_on(const shoal_ledger_t *ledger);

// ---- decisions

// A new job, and its arguments for the vault. page->job is set before.
void shoal_ledger_open(shoal_ledger_t *ledger, shoal_page_t *page, const shoal_journal_job_t *row,
                       shoal_slice_t args);

void shoal_ledger_add(shoal_ledger_t *ledger, shoal_page_t *page, const shoal_entry_t *entry);

// START, and before it WORKER if the page's log does not know `worker` (a number) yet.
typedef struct shoal_ledger_worker {
    uint32_t number; // of this process of the worker; from 1, good for this head's life
    uint64_t incarnation;
    const char *id;
    const char *name;
    shoal_slice_t key; // that it came with, or none
} shoal_ledger_worker_t;
void shoal_ledger_start(shoal_ledger_t *ledger, shoal_page_t *page, uint32_t shard,
                        uint32_t attempt, const shoal_ledger_worker_t *worker);

// The job has ended: entries that were not handed over are not needed any more.
void shoal_ledger_end(shoal_ledger_t *ledger, shoal_page_t *page, const shoal_journal_job_t *row);
void shoal_ledger_forget(shoal_ledger_t *ledger, shoal_page_t *page);

// A dead letter of the job is new or has changed; or is gone.
void shoal_ledger_letter(shoal_ledger_t *ledger, uint64_t job, uint64_t number, shoal_slice_t body);
void shoal_ledger_drop_letter(shoal_ledger_t *ledger, uint64_t job, uint64_t number);

// Empties the page; what was on it is lost.
void shoal_ledger_close(shoal_ledger_t *ledger, shoal_page_t *page);

// ---- groups

// Hands over what was noted since the last call.
void shoal_ledger_flush(shoal_ledger_t *ledger);

// Everything that was decided up to now is durable when this number is.
uint64_t shoal_ledger_lsn(const shoal_ledger_t *ledger);
uint64_t shoal_ledger_durable(const shoal_ledger_t *ledger);

// The disk has the groups up to `lsn`. True if that is news.
bool shoal_ledger_pass(shoal_ledger_t *ledger, uint64_t lsn);

// So much is on its way that nothing new should be started.
bool shoal_ledger_is_behind(const shoal_ledger_t *ledger);
uint64_t shoal_ledger_bytes(const shoal_ledger_t *ledger); // on their way

#endif
