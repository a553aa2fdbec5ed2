// SPDX-License-Identifier: Apache-2.0
//
// output.h - the file that a job's collected records are written to.
//
// Records go to NAME.part; NAME.part.state says how far it is safe (job, commit, length; the part
// is synced first, then the state). A later fetch of the same job goes on there: the part is cut
// back to that length. When the job has succeeded, or partly, the part is renamed to NAME. "-" is
// standard output (a device or a named pipe is written alike), a stream: no part, no state. It may
// be read slowly, so what it does not take yet waits here and nobody else does.
//
// Commits are taken whole or not at all: pieces of one come in order, and after a failed write the
// part is cut back to the last whole commit. A stream cannot be cut back: it leaves out the pieces
// that it has when a commit comes again.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_OUTPUT_H
#define SHOAL_CLIENT_OUTPUT_H

#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_OUTPUT_WAITING_MAX (16U << 20) // bytes that a stream has not taken

typedef struct shoal_output shoal_output_t;

// Looks whether `path` can be written, before any work; makes nothing.
//   SHOAL_NOT_FOUND  its directory is missing
//   SHOAL_INVALID    it is a directory or no regular file, or its name is empty or too long
//   SHOAL_DENIED     no permission
SHOAL_MUST_CHECK bool shoal_output_check(const char *path, shoal_status_t *status);

// Standard output, or a device or a pipe that has a name: what has gone there is gone.
bool shoal_output_path_is_stream(const char *path);

// Opens the part of `path` for the job with the id `job_id`. What is there of another job is cut
// away; of the same job it is kept up to its state's commit.
//   SHOAL_EXISTS     another run writes this file just now
//   and as shoal_output_check
SHOAL_MUST_CHECK bool shoal_output_open(const char *path, const char *job_id,
                                        shoal_output_t **ret_output, shoal_status_t *status);

// Closes; the part stays unless finish() has renamed it. An empty one goes.
void shoal_output_destroy(shoal_output_t **output);

// The commit that is wanted next, from 1.
uint64_t shoal_output_next(const shoal_output_t *output);

typedef enum shoal_output_took {
    SHOAL_OUTPUT_TAKEN,   // written
    SHOAL_OUTPUT_SKIPPED, // not the piece that is wanted next: left over, or here already
    SHOAL_OUTPUT_NO_ROOM, // cut back to the last whole commit; ask again from _next() later
    SHOAL_OUTPUT_BROKEN,  // for good: standard output closed, or a disk that fails
} shoal_output_took_t;

// Writes a piece. `is_last`: the commit is whole with it. The status is set for NO_ROOM and BROKEN.
shoal_output_took_t shoal_output_write(shoal_output_t *output, uint64_t commit, uint64_t index,
                                       shoal_slice_t bytes, bool is_last, shoal_status_t *status);

// Bytes written that a stream does not take yet, and its descriptor, to wait on for POLLOUT.
size_t shoal_output_waiting(const shoal_output_t *output);
// The last failure was that nobody reads standard output any more.
bool shoal_output_has_lost_reader(const shoal_output_t *output);

int shoal_output_fd(const shoal_output_t *output);

// Hands over what the stream takes now.
//   SHOAL_IO  it is closed or broken
SHOAL_MUST_CHECK bool shoal_output_drain(shoal_output_t *output, shoal_status_t *status);

// The commit that is not whole comes again from its first piece: shoal_output_next().
SHOAL_MUST_CHECK bool shoal_output_rewind(shoal_output_t *output, shoal_status_t *status);

// Back to nothing for a job that begins again from the start under another id.
//   SHOAL_UNSUPPORTED  records have gone to standard output already
SHOAL_MUST_CHECK bool shoal_output_restart(shoal_output_t *output, const char *job_id,
                                           shoal_status_t *status);

// Makes what is written safe: syncs the part, then writes the state. *ret_commit: safe up to it (an
// older one where there is no room for the state).
SHOAL_MUST_CHECK bool shoal_output_sync(shoal_output_t *output, uint64_t *ret_commit,
                                        shoal_status_t *status);

// The job is done: syncs, renames the part to its name, removes the state.
SHOAL_MUST_CHECK bool shoal_output_finish(shoal_output_t *output, shoal_status_t *status);

const char *shoal_output_path(const shoal_output_t *output); // "shop.jsonl", "-"
const char *shoal_output_part(const shoal_output_t *output); // "shop.jsonl.part"; "" for "-"
bool shoal_output_is_stream(const shoal_output_t *output);   // "-", a device, a pipe
uint64_t shoal_output_length(const shoal_output_t *output);  // bytes of whole commits

#endif
