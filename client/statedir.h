// SPDX-License-Identifier: Apache-2.0
//
// statedir.h - where the command line keeps what has to outlive it.
//
// $XDG_STATE_HOME/shoal, else ~/.local/state/shoal, unless --state names another directory. It is
// private to the user.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CLIENT_STATEDIR_H
#define SHOAL_CLIENT_STATEDIR_H

#include <limits.h>

#include "proto/base/status.h"

#define SHOAL_STATE_PATH_MAX (PATH_MAX - 128) // room for the names of what is in it

// Its whole path; makes nothing. `given`: of --state, may be relative; NULL: the preset.
//   SHOAL_INVALID  there is no home directory, or the path is too long
SHOAL_MUST_CHECK bool shoal_state_directory(const char *given, char path[SHOAL_STATE_PATH_MAX],
                                            shoal_status_t *status);

// Makes the directory and what is above it, all with mode 0700; it must then be private.
//   SHOAL_DENIED SHOAL_IO  and as shoal_directory_make_private()
SHOAL_MUST_CHECK bool shoal_directories_make(const char *path, shoal_status_t *status);

#endif
