// SPDX-License-Identifier: Apache-2.0
//
// scribe.h - the thread that owns the disk.
//
// The hub hands over errands in lists, one list a turn, and gets them back in reports; it never
// waits. Both ways are bounded queues: when the scribe is behind, shoal_scribe_send() refuses and
// the hub's list simply grows until the next turn, which byte credit bounds. Appends of one list
// become few writes. An append that finds the disk full is kept by the scribe and tried again, in
// order, whenever something was removed and every half second; it comes back once it is written, or
// once its job is forgotten. Reads and removals go on meanwhile.
//
// Threads: the scribe's own, and the hub's, which calls all functions below.  Logging: none.

#ifndef SHOAL_HEAD_SCRIBE_H
#define SHOAL_HEAD_SCRIBE_H

#include "head/spool.h"

#define SHOAL_SCRIBE_LISTS_MAX 64  // lists, and reports, under way at once
#define SHOAL_SCRIBE_RETRY_MS  500 // a full disk is tried again that often

typedef enum shoal_errand_kind {
    SHOAL_ERRAND_APPEND,  // write batch.payload, which stays as it is until the errand is back
    SHOAL_ERRAND_READ,    // read batch.place into `message`
    SHOAL_ERRAND_RELEASE, // batch.place is no longer wanted
    SHOAL_ERRAND_FORGET,  // remove all files of the job
} shoal_errand_kind_t;

// Whoever sends an errand owns it again when it comes back; it may be embedded.
typedef struct shoal_errand shoal_errand_t;
struct shoal_errand {
    shoal_errand_t *next; // in a list
    shoal_errand_kind_t kind;
    bool is_done; // APPEND: written; READ: `message` holds the payload and is the owner's to close
    uint64_t job;
    shoal_spool_batch_t batch;
    zmq_msg_t message;       // READ
    shoal_status_t *failure; // READ that failed: why; the owner frees it
};

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
    uint64_t stalled;        // appends that wait for room
    shoal_status_t trouble;  // code SHOAL_OK unless stalled > 0: what the disk says
} shoal_scribe_report_t;

typedef struct shoal_scribe shoal_scribe_t;

// Opens the spool and starts the thread.
//   as shoal_spool_new()
//   SHOAL_IO  no thread or descriptor left
SHOAL_MUST_CHECK bool shoal_scribe_start(const shoal_spool_config_t *config,
                                         shoal_scribe_t **ret_scribe, shoal_status_t *status);

// Ends the thread after what it is writing now, and removes the spool. Errands that are still with
// it go to `drop`, which may be NULL if nothing is under way.
typedef void shoal_errand_drop_fn(void *ctx, shoal_errand_t *errand);
void shoal_scribe_stop(shoal_scribe_t **scribe, shoal_errand_drop_fn *drop, void *ctx);

// Hands the whole list over and empties it. False: the queue is full; the list is as it was.
bool shoal_scribe_send(shoal_scribe_t *scribe, shoal_errands_t *errands);

// Readable while a report is there. Never read it yourself.
int shoal_scribe_fd(const shoal_scribe_t *scribe);

// The oldest report, or NULL; the caller empties its errands and frees it with free().
shoal_scribe_report_t *shoal_scribe_take(shoal_scribe_t *scribe);

#endif
