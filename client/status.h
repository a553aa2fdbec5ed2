// SPDX-License-Identifier: Apache-2.0
//
// status.h - tables of what a head answers, for `shoal status` and `shoal job`.
//
// Threads: one.  Logging: none.

#ifndef SHOAL_CLIENT_STATUS_H
#define SHOAL_CLIENT_STATUS_H

#include "client/commands.h"

// Appends a table of jobs (the answer to ASK "jobs"). False: there are none, and nothing was.
bool shoal_append_jobs(shoal_slice_t jobs, shoal_buffer_t *out);

// --output json was given.
bool shoal_wants_json(const shoal_arguments_t *arguments);

#endif
