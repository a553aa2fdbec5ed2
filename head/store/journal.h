// SPDX-License-Identifier: Apache-2.0
//
// journal.h - what the head has decided, in an SQLite database that survives it.
//
// The database journal.db stands beside the spool. For each job it has a row, the log of what was
// decided about it (opaque entries, in order; entry.h knows what they mean), its dead letters, and
// how much of each of its segments is on the disk. The log goes once the job has ended; its row stays
// until the job is forgotten. Older schemas are brought up to date when they are opened.
//
// Writing is in transactions: begin, any of the calls below, commit. A call that fails leaves the
// transaction to be rolled back, after which all of it may be tried again. What was committed is on
// the disk (write-ahead log, synchronous FULL).
//
// Whoever opens it holds the state folder's lock. No secret may be given to it.
//
// Threads: one owner at a time: whoever opened it, and the scribe's thread from the first list that
// it is sent on. Every call may block on the disk.  Logging: none.

#ifndef SHOAL_HEAD_STORE_JOURNAL_H
#define SHOAL_HEAD_STORE_JOURNAL_H

#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_JOURNAL_NAME    "journal.db"
#define SHOAL_JOURNAL_RESERVE 262144      // bytes that are kept for a full disk
#define SHOAL_JOURNAL_JOB_MAX 2147483647U // the largest number of a job
#define SHOAL_JOURNAL_ROW_MAX 1048576     // bytes of entries that share a row, unless one is longer

typedef struct shoal_journal shoal_journal_t;

// A job's row. The slices borrow.
typedef struct shoal_journal_job {
    uint64_t number;
    shoal_slice_t id;
    shoal_slice_t name;
    shoal_slice_t submit; // what was submitted, without its args
    uint64_t created_ms;  // wall clock
    unsigned state;       // once it has ended: its final state
    shoal_slice_t end;    // the final detail; empty: not ended
    shoal_slice_t outputs;
    uint64_t finished_ms; // wall clock; 0: not ended
} shoal_journal_job_t;

typedef struct shoal_journal_letters {
    uint64_t count;
    uint64_t bytes;
    uint64_t last; // the largest number
} shoal_journal_letters_t;

// Creates or opens the journal for writing and counts a life.
//   SHOAL_EXISTS       another head has it open (its process and host are named), or another program
//   SHOAL_UNSUPPORTED  a newer version made it
//   SHOAL_INVALID      the file is no journal
//   SHOAL_IO           it is damaged, or cannot be read or written
SHOAL_MUST_CHECK bool shoal_journal_open(const char *directory, shoal_journal_t **ret_journal,
                                         shoal_status_t *status);

// The same, for reading only, of a head that does not run. Changes nothing.
//   as above; SHOAL_NOT_FOUND there is none; SHOAL_UNSUPPORTED an older schema too
SHOAL_MUST_CHECK bool shoal_journal_view(const char *directory, shoal_journal_t **ret_journal,
                                         shoal_status_t *status);
void shoal_journal_close(shoal_journal_t **journal);

// Whether the folder has one.
bool shoal_journal_exists(const char *directory);

const char *shoal_journal_head_id(const shoal_journal_t *journal); // 32 hex digits, made at first
uint64_t shoal_journal_life(const shoal_journal_t *journal); // how often it was opened for writing

// ---- reading

// What is found. A function that returns false has set the status, and nothing more is read.
typedef struct shoal_journal_reader {
    void *ctx;
    bool (*job)(void *ctx, const shoal_journal_job_t *job, shoal_status_t *status);
    // A row of the job's log: one or more entries, in order. None for a job that has ended.
    bool (*entries)(void *ctx, uint64_t job, shoal_slice_t entries, shoal_status_t *status);
    // Its dead letters together, if it has any.
    bool (*letters)(void *ctx, uint64_t job, const shoal_journal_letters_t *letters,
                    shoal_status_t *status);
} shoal_journal_reader_t;

// Jobs in order of their numbers; for each of them its row, its letters, its log.
SHOAL_MUST_CHECK bool shoal_journal_read(shoal_journal_t *journal,
                                         const shoal_journal_reader_t *reader,
                                         shoal_status_t *status);

// Letters of a job from number `first` on, at most `most` of them, while together they are below
// `bytes_max` (the first one aside).
typedef bool shoal_journal_letter_fn(void *ctx, uint64_t number, shoal_slice_t body,
                                     shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_journal_read_letters(shoal_journal_t *journal, uint64_t job,
                                                 uint64_t first, uint64_t most, uint64_t bytes_max,
                                                 shoal_journal_letter_fn *fn, void *ctx,
                                                 shoal_status_t *status);

// How much of each segment file was on the disk at the last commit.
typedef bool shoal_journal_segment_fn(void *ctx, uint64_t job, uint32_t number, uint64_t bytes,
                                      shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_journal_read_segments(shoal_journal_t *journal,
                                                  shoal_journal_segment_fn *fn, void *ctx,
                                                  shoal_status_t *status);

// Whether the file is sound: SQLite's own check, and that no row belongs to a job that is not there.
SHOAL_MUST_CHECK bool shoal_journal_check(shoal_journal_t *journal, shoal_status_t *status);

// ---- writing; all of these: SHOAL_LIMIT the disk is full (transient), SHOAL_IO

SHOAL_MUST_CHECK bool shoal_journal_begin(shoal_journal_t *journal, shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_journal_commit(shoal_journal_t *journal, shoal_status_t *status);
void shoal_journal_rollback(shoal_journal_t *journal); // also after a commit that failed

// A new job, or the next run of one that has ended: it is not ended any more, and keeps its outputs.
SHOAL_MUST_CHECK bool shoal_journal_job_open(shoal_journal_t *journal,
                                             const shoal_journal_job_t *job,
                                             shoal_status_t *status);
// A row at the end of the job's log.
SHOAL_MUST_CHECK bool shoal_journal_entries(shoal_journal_t *journal, uint64_t job,
                                            shoal_slice_t entries, shoal_status_t *status);
// Writes state, end, outputs and finished_ms. Its log is nobody's from now on, and is swept.
SHOAL_MUST_CHECK bool shoal_journal_job_end(shoal_journal_t *journal,
                                            const shoal_journal_job_t *job, shoal_status_t *status);
// Room that is kept for a full disk, so that a job can be forgotten there, which makes room. Gives it
// to the disk; false: it has been given already, or there was none.
bool shoal_journal_yield_reserve(shoal_journal_t *journal);
void
shoal_journal_take_reserve(shoal_journal_t *journal); // back, if the disk has it; or at the start

// Part of the logs of jobs that have ended is deleted, in a transaction of its own: a long log takes a
// second, and others wait meanwhile. False: there is none left, or it failed, and is tried again when
// the next job has ended, or at the next start.
bool shoal_journal_sweep(shoal_journal_t *journal);

// Everything of the job goes, as if it had never been. Unknown ones are fine.
SHOAL_MUST_CHECK bool shoal_journal_job_forget(shoal_journal_t *journal, uint64_t job,
                                               shoal_status_t *status);
// A letter of that number, new or in place of the one that is there.
SHOAL_MUST_CHECK bool shoal_journal_letter(shoal_journal_t *journal, uint64_t job, uint64_t number,
                                           shoal_slice_t body, shoal_status_t *status);
// Letters `first` to `last` go.
SHOAL_MUST_CHECK bool shoal_journal_letters_drop(shoal_journal_t *journal, uint64_t job,
                                                 uint64_t first, uint64_t last,
                                                 shoal_status_t *status);
// That much of the segment is on the disk; 0: it was removed.
SHOAL_MUST_CHECK bool shoal_journal_segment(shoal_journal_t *journal, uint64_t job, uint32_t number,
                                            uint64_t bytes, shoal_status_t *status);

#endif
