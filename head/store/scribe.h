// SPDX-License-Identifier: Apache-2.0
//
// scribe.h - the thread that owns the disk.
//
// The hub hands over errands in lists, one list a turn, and gets them back in reports; it never
// waits. Both ways are bounded queues: when the scribe is behind, shoal_scribe_send() refuses and
// the hub's list simply grows until the next turn, which byte credit bounds.
//
// Group commit: the scribe takes all lists that wait and works them off in order. Appends become few
// writes. Notes, which are for the journal, are collected meanwhile; at the end what was appended is
// synced and the notes are committed in one transaction. So a note is never durable before the
// appends that were handed over before it. A mark among the notes has a number (LSN): once it and
// everything before it is durable, the report says so.
//
// What finds the disk full is kept by the scribe, with all that comes after it, and tried again, in
// order, whenever something was removed and every half second; it comes back once it is written, or
// once its job is forgotten. Reads, removals and the forgetting of jobs go on meanwhile. A disk that
// fails to sync is another matter: nobody can say what is on it, so everything stalls for good, and the
// head has to end; a new start finds out. Errands come back in order, but for notes, which may be behind appends.
//
// Threads: the scribe's own, and the hub's, which calls all functions below.  Logging: none.

#ifndef SHOAL_HEAD_STORE_SCRIBE_H
#define SHOAL_HEAD_STORE_SCRIBE_H

#include "head/store/crash.h"
#include "head/store/journal.h"
#include "head/store/spool.h"
#include "head/store/vault.h"
#include "proto/base/buffer.h"

#define SHOAL_SCRIBE_LISTS_MAX 64      // lists, and reports, under way at once
#define SHOAL_SCRIBE_RETRY_MS  500     // a full disk is tried again that often
#define SHOAL_SCRIBE_UNSYNCED  8388608 // bytes written are synced at the latest, notes or not

typedef enum shoal_errand_kind {
    SHOAL_ERRAND_APPEND,  // write batch.payload, which stays as it is until the errand is back
    SHOAL_ERRAND_READ,    // read batch.place into `message`
    SHOAL_ERRAND_RELEASE, // batch.place is no longer wanted
    SHOAL_ERRAND_FORGET,  // remove all files of the job, which no journal knows
    SHOAL_ERRAND_NOTE,    // a shoal_journal_note_t for the journal
    SHOAL_ERRAND_LETTERS, // a shoal_letters_query_t: read dead letters
} shoal_errand_kind_t;

// Whoever sends an errand owns it again when it comes back; it may be embedded.
typedef struct shoal_errand shoal_errand_t;
struct shoal_errand {
    shoal_errand_t *next; // in a list
    shoal_errand_kind_t kind;
    bool is_done; // APPEND: written; READ: `message` holds the payload and is the owner's to close;
                  // NOTE: durable
    uint64_t job;
    shoal_spool_batch_t batch;
    zmq_msg_t message;       // READ
    shoal_status_t *failure; // READ or LETTERS that failed: why; the owner frees it
};

typedef enum shoal_journal_note_kind {
    SHOAL_JOURNAL_NOTE_JOB_OPEN,     // row: see shoal_journal_job_open()
    SHOAL_JOURNAL_NOTE_ENTRIES,      // bytes: whole entries, at the end of the job's log
    SHOAL_JOURNAL_NOTE_JOB_END,      // row: see shoal_journal_job_end()
    SHOAL_JOURNAL_NOTE_JOB_FORGET,   // everything of the job goes; its files once that is durable
    SHOAL_JOURNAL_NOTE_LETTER,       // first: its number; bytes: its body
    SHOAL_JOURNAL_NOTE_LETTERS_DROP, // first, last: their numbers
    SHOAL_JOURNAL_NOTE_MARK,         // lsn
    SHOAL_JOURNAL_NOTE_SEAL,         // bytes: the job's secrets, for the vault; before JOB_OPEN
} shoal_journal_note_kind_t;

// What the slices point to stays as it is until the errand is back. Without a journal notes come back
// as done at once.
typedef struct shoal_journal_note {
    shoal_errand_t errand; // first: kind NOTE, and the job, which has one but for a mark
    shoal_journal_note_kind_t kind;
    shoal_journal_job_t row;
    shoal_slice_t bytes;
    uint64_t first;
    uint64_t last;
    uint64_t lsn;
} shoal_journal_note_t;

// Reads letters as shoal_journal_read_letters() does.
typedef struct shoal_letters_query {
    shoal_errand_t errand; // first: kind LETTERS, and the job
    uint64_t first;
    uint64_t most;
    uint64_t bytes_max;
    shoal_buffer_t
        found;      // msgpack, one after the other: [number, body as bin]; the owner's to free
    uint64_t count; // how many are in it
} shoal_letters_query_t;

// Errands in order; embedded, zero is empty.
typedef struct shoal_errands {
    shoal_errand_t *first;
    shoal_errand_t *last;
} shoal_errands_t;

void shoal_errands_add(shoal_errands_t *errands, shoal_errand_t *errand);
shoal_errand_t *shoal_errands_take(shoal_errands_t *errands); // the first one, or NULL

typedef struct shoal_scribe_report {
    shoal_errands_t errands; // that came back
    uint64_t spool_bytes;    // on the disk when it was written
    uint64_t durable_lsn;    // of the last mark that is durable
    uint64_t stalled;        // appends and notes that wait for room
    bool is_lost;            // a sync has failed: nothing is written any more, the head must end
    shoal_status_t trouble;  // code SHOAL_OK unless stalled > 0 or is_lost: what the disk says
} shoal_scribe_report_t;

typedef struct shoal_scribe shoal_scribe_t;

typedef struct shoal_scribe_config {
    shoal_spool_config_t spool; // with the journal, which is the scribe's from the first list on
    uint64_t sync_delay_ms;     // for tests: each sync takes that much longer
    shoal_crash_t *crash;       // for tests; NULL: none
    shoal_vault_t *vault;       // borrowed, the scribe's from the first list on; NULL: none
} shoal_scribe_config_t;

// Opens the spool and starts the thread.
//   as shoal_spool_open()
//   SHOAL_IO  no thread or descriptor left
SHOAL_MUST_CHECK bool shoal_scribe_start(const shoal_scribe_config_t *config,
                                         shoal_scribe_t **ret_scribe, shoal_status_t *status);

// The spool, to walk through before the first list is sent.
shoal_spool_t *shoal_scribe_spool(shoal_scribe_t *scribe);

// Ends the thread and closes the spool. With a journal it first works off the lists that it has;
// without, it ends after what it is writing now. Errands that are still with it go to `drop`, which
// may be NULL if nothing is under way. The journal is the caller's again.
typedef void shoal_errand_drop_fn(void *ctx, shoal_errand_t *errand);
void shoal_scribe_stop(shoal_scribe_t **scribe, shoal_errand_drop_fn *drop, void *ctx);

// Hands the whole list over and empties it. False: the queue is full; the list is as it was.
bool shoal_scribe_send(shoal_scribe_t *scribe, shoal_errands_t *errands);

// Readable while a report is there. Never read it yourself.
int shoal_scribe_fd(const shoal_scribe_t *scribe);

// The oldest report, or NULL; the caller empties its errands and frees it with free().
shoal_scribe_report_t *shoal_scribe_take(shoal_scribe_t *scribe);

#endif
