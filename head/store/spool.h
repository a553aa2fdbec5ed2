// SPDX-License-Identifier: Apache-2.0
//
// spool.h - record batches in append-only segment files of the state directory.
//
// Each job has files spool-<job>-<n>.seg; each batch in them is a header (who wrote it, its length,
// checksums of header and payload) and its payload. A batch is named by its place. A batch that is
// no longer wanted becomes a hole in its file, and a segment without wanted batches is removed, as
// are all of a forgotten job.
//
// With a journal the files outlive the head. What was written is dirty until it was synced; then the
// journal is told how much of each segment is on the disk. After a crash that tells a torn tail,
// which is cut off, from damage, which is an error and touches nothing. Without a journal nothing
// refers to old files: segments found at the start are removed, and so are this one's at the end.
//
// Threads: one owner, the scribe; opening and walking come before. Every call may block on the disk.
// Logging: none.

#ifndef SHOAL_HEAD_STORE_SPOOL_H
#define SHOAL_HEAD_STORE_SPOOL_H

#include <stdint.h>

#include <zmq.h>

#include "head/store/journal.h"
#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_SPOOL_SEGMENT_BYTES 67108864 // a segment is sealed once it has reached this
#define SHOAL_SPOOL_HEADER_BYTES  64       // before each payload, see segment.c
#define SHOAL_SPOOL_OPEN_MAX      64       // segment files open at once
#define SHOAL_SPOOL_GROUP_MAX     64       // batches of one append

typedef struct shoal_spool shoal_spool_t;

// Told of each file that was mended when the spool was opened.
typedef void shoal_spool_tell_fn(void *ctx, const char *text);

typedef struct shoal_spool_config {
    const char *directory;     // exists; copied
    uint64_t segment_bytes;    // 0: SHOAL_SPOOL_SEGMENT_BYTES; at most 1 GiB
    shoal_journal_t *journal;  // borrowed until the spool's end; NULL: none
    shoal_spool_tell_fn *tell; // or NULL
    void *tell_ctx;
    bool is_view; // of a head that does not run: what would be mended is told, and nothing touched
} shoal_spool_config_t;

typedef struct shoal_spool_place {
    uint32_t segment; // n of the file's name, from 1
    uint32_t offset;  // of the batch's header
    uint32_t length;  // of its payload
} shoal_spool_place_t;

// One batch to write.
typedef struct shoal_spool_batch {
    uint64_t call;
    uint64_t seq;
    uint32_t attempt;
    uint32_t records;
    shoal_slice_t payload;     // borrowed
    shoal_spool_place_t place; // set when it is written
} shoal_spool_batch_t;

// Opens the spool of a journal: segments that the journal does not know are removed, and what is
// longer than the journal knows is cut. Without a journal: locks the directory and removes all
// segments. The caller owns it.
//   SHOAL_EXISTS   another head uses the directory; or, without a journal, one is there
//   SHOAL_IO       a segment is shorter than the journal knows: nothing was touched
//   SHOAL_NOT_FOUND SHOAL_DENIED SHOAL_IO  the directory cannot be read or cleaned
SHOAL_MUST_CHECK bool shoal_spool_open(const shoal_spool_config_t *config,
                                       shoal_spool_t **ret_spool, shoal_status_t *status);
void shoal_spool_close(shoal_spool_t **spool); // removes its files, unless there is a journal

// Calls `fn` for each batch of the job that was there when the spool was opened, in the order of
// writing, with an empty payload; reads headers only. Once for each job that has output, before
// anything is written: batches that were not walked cannot be released. `fn` uses no spool.
//   SHOAL_IO  a header is not what was written: file and offset are named
typedef bool shoal_spool_walk_fn(void *ctx, const shoal_spool_batch_t *batch,
                                 shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_spool_walk(shoal_spool_t *spool, uint64_t job, shoal_spool_walk_fn *fn,
                                       void *ctx, shoal_status_t *status);

// Writes up to SHOAL_SPOOL_GROUP_MAX batches of one job, one write for all that fit a segment, and
// sets their places. *ret_written says how many are whole, also on failure (the first ones); the
// others were not written and may be tried again.
//   SHOAL_LIMIT  the disk is full (transient)
//   SHOAL_IO     the disk fails in another way
SHOAL_MUST_CHECK bool shoal_spool_append(shoal_spool_t *spool, uint64_t job,
                                         shoal_spool_batch_t *const *batches, size_t count,
                                         size_t *ret_written, shoal_status_t *status);

// Reads one payload back into *ret_payload, which the caller closes.
//   SHOAL_NOT_FOUND  no such job or segment
//   SHOAL_IO         cannot be read, shorter than it was, or a checksum is wrong: file and offset
//                    are named
SHOAL_MUST_CHECK bool shoal_spool_read(shoal_spool_t *spool, uint64_t job,
                                       shoal_spool_place_t place, zmq_msg_t *ret_payload,
                                       shoal_status_t *status);

// That batch is no longer wanted. Once for each batch.
void shoal_spool_release(shoal_spool_t *spool, uint64_t job, shoal_spool_place_t place);

// Removes all files of a job. Unknown jobs are fine.
void shoal_spool_forget(shoal_spool_t *spool, uint64_t job);

// ---- with a journal: sync, then record in a transaction, then (it is committed) recorded

// Makes everything that was written last. *ret_is_lost: that cannot be made good, what was written may
// be gone, and only a new start finds out; otherwise a failure may be tried again.
//   SHOAL_IO  the disk fails, or no descriptor is left
SHOAL_MUST_CHECK bool shoal_spool_sync(shoal_spool_t *spool, bool *ret_is_lost,
                                       shoal_status_t *status);
uint64_t shoal_spool_unsynced(const shoal_spool_t *spool); // bytes

// Tells the journal how long the segments are that have changed.
//   as shoal_journal_segment()
SHOAL_MUST_CHECK bool shoal_spool_record(shoal_spool_t *spool, shoal_status_t *status);
void shoal_spool_recorded(shoal_spool_t *spool);

uint64_t shoal_spool_bytes(const shoal_spool_t *spool); // of all files together
size_t shoal_spool_segment_count(const shoal_spool_t *spool);

#endif
