// SPDX-License-Identifier: Apache-2.0
//
// spool.h - record batches in append-only segment files of the state directory.
//
// Each job has files spool-<job>-<n>.seg; each batch in them is a header (who wrote it, its length,
// checksums of header and payload) and its payload, so that a journal can find out after a crash
// what is whole. A batch is named by its place. A batch that is no longer wanted becomes a hole in
// its file, and a segment without wanted batches is removed, as are all of a forgotten job. Without a journal nothing refers to
// old files: segments found at the start are removed, and so are this one's at the end.
//
// Threads: one owner, the scribe. Every call may block on the disk.  Logging: none.

#ifndef SHOAL_HEAD_SPOOL_H
#define SHOAL_HEAD_SPOOL_H

#include <stdint.h>

#include <zmq.h>

#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_SPOOL_SEGMENT_BYTES 67108864 // a segment is sealed once it has reached this
#define SHOAL_SPOOL_HEADER_BYTES  64       // before each payload, see segment.c
#define SHOAL_SPOOL_OPEN_MAX      64       // segment files open at once
#define SHOAL_SPOOL_GROUP_MAX     64       // batches of one append

typedef struct shoal_spool shoal_spool_t;

typedef struct shoal_spool_config {
    const char *directory;  // exists; copied
    uint64_t segment_bytes; // 0: SHOAL_SPOOL_SEGMENT_BYTES; at most 1 GiB
    uint64_t limit_bytes;   // of all files together; 0: no limit but the disk
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

// Removes old segments from the directory and starts with an empty spool. The caller owns it.
//   SHOAL_EXISTS  another head uses the directory
//   SHOAL_NOT_FOUND SHOAL_DENIED SHOAL_IO  the directory cannot be read or cleaned
SHOAL_MUST_CHECK bool shoal_spool_new(const shoal_spool_config_t *config, shoal_spool_t **ret_spool,
                                      shoal_status_t *status);
void shoal_spool_destroy(shoal_spool_t **spool); // removes its files

// Writes up to SHOAL_SPOOL_GROUP_MAX batches of one job, one write for all that fit a segment, and
// sets their places. *ret_written says how many are whole, also on failure (the first ones); the
// others were not written and may be tried again.
//   SHOAL_LIMIT  limit_bytes is reached, or the disk is full (transient)
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

uint64_t shoal_spool_bytes(const shoal_spool_t *spool); // of all files together
size_t shoal_spool_segment_count(const shoal_spool_t *spool);

#endif
