// SPDX-License-Identifier: Apache-2.0
//
// private.h - files and folders that nobody but their user may look into: keys, secrets, tokens.
//
// Reading refuses a file that others may read, or that belongs to somebody else, and says what to
// run; what was readable once counts as known. Writing is all or nothing: a second file beside it,
// synced, then renamed.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_PROTO_BASE_PRIVATE_H
#define SHOAL_PROTO_BASE_PRIVATE_H

#include "proto/base/buffer.h"

// Makes the folder `path` with mode 0700 if it is not there (its parents have to be).
//   SHOAL_DENIED  it is there and is another's, or others can enter it
//   SHOAL_IO      it cannot be made, or is no folder
SHOAL_MUST_CHECK bool shoal_private_folder(const char *path, shoal_status_t *status);

// Appends the file's bytes to `ret_bytes`, in one piece of memory (shoal_private_wipe() frees it).
//   SHOAL_NOT_FOUND  there is none
//   SHOAL_DENIED     others may read it, or it is neither ours nor root's
//   SHOAL_LIMIT      it has more than `max` bytes
//   SHOAL_IO         it cannot be read, or is no file
SHOAL_MUST_CHECK bool shoal_private_read(const char *path, size_t max, shoal_buffer_t *ret_bytes,
                                         shoal_status_t *status);

// Writes the file with mode 0600, in place of the one that is there; safe on the disk on return.
//   SHOAL_IO  the disk refuses (also when it is full)
SHOAL_MUST_CHECK bool shoal_private_write(const char *path, shoal_slice_t bytes,
                                          shoal_status_t *status);

// Overwrites the bytes, then frees them.
void shoal_private_wipe(shoal_buffer_t *bytes);

#endif
