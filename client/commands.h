// SPDX-License-Identifier: Apache-2.0
//
// commands.h - the commands of `shoal`, one function each, and what they share.
//
// Threads: one.  Logging: messages for people go to standard error, results to standard output.

#ifndef SHOAL_CLIENT_COMMANDS_H
#define SHOAL_CLIENT_COMMANDS_H

#include <limits.h>

#include "client/address.h"

// Each gives the exit code.
int shoal_command_ingest(const shoal_arguments_t *arguments);   // ingest.c
int shoal_command_validate(const shoal_arguments_t *arguments); // ingest.c
int shoal_command_init(const shoal_arguments_t *arguments);     // init.c
int shoal_command_start(const shoal_arguments_t *arguments);    // background.c
int shoal_command_stop(const shoal_arguments_t *arguments);     // stop.c
int shoal_command_status(const shoal_arguments_t *arguments);   // status.c
int shoal_command_job(const shoal_arguments_t *arguments);      // job.c
int shoal_command_dlq(const shoal_arguments_t *arguments);      // dlq.c
int shoal_command_drain(const shoal_arguments_t *arguments);    // drain.c
int shoal_command_key(const shoal_arguments_t *arguments);      // key.c
int shoal_command_journal(const shoal_arguments_t *arguments);  // journal.c

// "shoal: TEXT" on standard error.
void shoal_complain(const shoal_status_t *status);

// Complains, and gives the exit code of a command that failed so: docs/operations.md has the table.
// A reader of standard output who has seen enough, as `head` has, is told nothing.
int shoal_command_failed(const shoal_status_t *status);

// Writes all of a buffer to standard output.
//   SHOAL_CANCELLED  nobody reads it any more
//   SHOAL_IO ...     it cannot be written
SHOAL_MUST_CHECK bool shoal_print(const shoal_buffer_t *text, shoal_status_t *status);

#define SHOAL_ASK_MS 5000 // for questions to a head

#endif
