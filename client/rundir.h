// SPDX-License-Identifier: Apache-2.0
//
// rundir.h - the private directory of a local run: socket, state, lock; nothing of it stays behind.
//
// $XDG_RUNTIME_DIR/shoal/run-XXXXXX, or /tmp/shoal-UID/run-XXXXXX where there is no runtime
// directory or the socket's path would be longer than the 107 bytes that the system allows. Mode
// 0700. A lock file is held by flock() for the life of the run; a new run sweeps directories that
// nobody locks, which is what a run killed with SIGKILL leaves.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_RUNDIR_H
#define SHOAL_CLIENT_RUNDIR_H

#include <limits.h>

#include "proto/base/status.h"

#define SHOAL_SOCKET_PATH_MAX 107 // bytes of a path in sockaddr_un, without the NUL

typedef struct shoal_rundir shoal_rundir_t;

// Sweeps, then makes the directory and locks it.
//   SHOAL_DENIED     the directory above is somebody else's or open to others
//   SHOAL_IO         it cannot be made
SHOAL_MUST_CHECK bool shoal_rundir_new(shoal_rundir_t **ret_rundir, shoal_status_t *status);

// Removes the directory and all that is in it.
void shoal_rundir_destroy(shoal_rundir_t **rundir);

const char *shoal_rundir_path(const shoal_rundir_t *rundir);
const char *shoal_rundir_endpoint(const shoal_rundir_t *rundir); // "ipc://PATH/head.sock"

// The directory that holds run directories and the socket of `shoal start`, made if need be:
// private to the user, and such that PATH/`leaf` fits into a socket's address.
SHOAL_MUST_CHECK bool shoal_runtime_directory(const char *leaf, char path[PATH_MAX],
                                              shoal_status_t *status);

// Makes `path` (one level) if it is not there; it must then be a directory of ours that only we
// can enter.
//   SHOAL_DENIED  it is not, and who owns it or its mode is said
SHOAL_MUST_CHECK bool shoal_directory_make_private(const char *path, shoal_status_t *status);

// Removes a directory and what is in it, as far as that can be.
void shoal_directory_remove(const char *path);

// Removes the run directories under `base` that nobody locks; returns how many.
unsigned shoal_rundir_sweep(const char *base);

#endif
