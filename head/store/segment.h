// SPDX-License-Identifier: Apache-2.0
//
// segment.h - one file of the spool, and the folder that holds them all.
//
// The folder keeps at most SHOAL_SPOOL_OPEN_MAX files open and closes the one that was used longest
// ago. Accounting and names of places are the spool's.
//
// Threads: one owner, the scribe. Every call may block on the disk.  Logging: none.

#ifndef SHOAL_HEAD_STORE_SEGMENT_H
#define SHOAL_HEAD_STORE_SEGMENT_H

#include "head/store/spool.h"

typedef struct shoal_segment shoal_segment_t;
struct shoal_segment {
    uint64_t job;
    uint32_t number;
    uint32_t bytes;    // whole batches in the file
    uint32_t holes;    // bytes of it that were given back to the disk
    uint32_t wanted;   // batches that were not released
    uint32_t recorded; // bytes that the journal knows to be on the disk
    int fd;            // -1: not open
    bool is_dirty;     // in the spool's list of those that the disk or the journal lacks
    shoal_segment_t *next_dirty;
    shoal_segment_t *prev_dirty;
    shoal_segment_t *newer; // in the list of open ones
    shoal_segment_t *older;
};

typedef struct shoal_folder {
    char *directory;
    int directory_fd;
    bool has_new; // files were made that the directory on the disk may not have
    size_t open_count;
    shoal_segment_t *newest; // used last of the open ones
    shoal_segment_t *oldest;
} shoal_folder_t;

// Opens the directory.
//   SHOAL_NOT_FOUND SHOAL_DENIED SHOAL_IO  it cannot be read
SHOAL_MUST_CHECK bool shoal_folder_open(const char *directory, shoal_folder_t *ret_folder,
                                        shoal_status_t *status);
void shoal_folder_close(shoal_folder_t *folder); // all segments were closed or removed before

// Calls `fn` for each segment file that is there.
typedef bool shoal_folder_fn(void *ctx, uint64_t job, uint32_t number, uint64_t bytes,
                             shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_folder_each(shoal_folder_t *folder, shoal_folder_fn *fn, void *ctx,
                                        shoal_status_t *status);

// Removes a segment file that nobody has as a segment, or makes it that short.
SHOAL_MUST_CHECK bool shoal_folder_remove(shoal_folder_t *folder, uint64_t job, uint32_t number,
                                          shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_folder_cut(shoal_folder_t *folder, uint64_t job, uint32_t number,
                                       uint64_t bytes, shoal_status_t *status);

// Makes new files' names last.
SHOAL_MUST_CHECK bool shoal_folder_sync(shoal_folder_t *folder, shoal_status_t *status);

// Makes the file of a segment.
//   SHOAL_LIMIT  the disk is full (transient)
//   SHOAL_IO     it cannot be made
SHOAL_MUST_CHECK bool shoal_segment_new(shoal_folder_t *folder, uint64_t job, uint32_t number,
                                        shoal_segment_t **ret_segment, shoal_status_t *status);
// One whose file is there.
shoal_segment_t *shoal_segment_found(uint64_t job, uint32_t number, uint32_t bytes);

void shoal_segment_remove(shoal_folder_t *folder, shoal_segment_t **segment);  // file and all
void shoal_segment_destroy(shoal_folder_t *folder, shoal_segment_t **segment); // the file stays

// What a batch takes in a file.
uint32_t shoal_segment_room(const shoal_spool_batch_t *batch);

// Appends up to SHOAL_SPOOL_GROUP_MAX batches with one write and sets the places of the first
// *ret_written, which are whole. Fails only if none is.
//   SHOAL_LIMIT  the disk is full (transient)
//   SHOAL_IO     the disk fails in another way
SHOAL_MUST_CHECK bool shoal_segment_write(shoal_folder_t *folder, shoal_segment_t *segment,
                                          shoal_spool_batch_t *const *batches, size_t count,
                                          size_t *ret_written, shoal_status_t *status);

// Reads one payload back into *ret_payload, which the caller closes.
//   SHOAL_IO  cannot be read, shorter than it was, or a checksum is wrong: file and offset are named
SHOAL_MUST_CHECK bool shoal_segment_read(shoal_folder_t *folder, shoal_segment_t *segment,
                                         shoal_spool_place_t place, zmq_msg_t *ret_payload,
                                         shoal_status_t *status);

// Makes what was written last. *ret_is_lost: the disk has failed to, and may have dropped it;
// otherwise a failure (no descriptor is left) may be tried again.
SHOAL_MUST_CHECK bool shoal_segment_sync(shoal_folder_t *folder, shoal_segment_t *segment,
                                         bool *ret_is_lost, shoal_status_t *status);

// Calls `fn` for each batch up to `recorded`, reading headers only, and counts them as wanted. Their
// payload is empty.
//   SHOAL_IO  a header is not what was written: file and offset are named; or it cannot be read
SHOAL_MUST_CHECK bool shoal_segment_walk(shoal_folder_t *folder, shoal_segment_t *segment,
                                         shoal_spool_walk_fn *fn, void *ctx,
                                         shoal_status_t *status);

// Gives a payload's room back to the disk and returns how much; 0 if the file system cannot. The
// header stays, so that whoever walks through the file finds the next one.
uint32_t shoal_segment_punch(shoal_folder_t *folder, shoal_segment_t *segment,
                             shoal_spool_place_t place);

#endif
