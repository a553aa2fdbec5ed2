// SPDX-License-Identifier: Apache-2.0
//
// retry.h - the next run of a job: SUBMIT of its dead letters, followed to its end or not.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_RETRY_H
#define SHOAL_CLIENT_RETRY_H

#include "client/commands.h"

typedef struct shoal_retry {
    const shoal_address_t *address;
    uint64_t job;            // its number
    const uint64_t *letters; // those to be tried
    size_t letter_count;     // 0: all
    const char *output;      // file for the increment, "-", or NULL
    bool is_json;
    bool no_wait;     // only opens the run
    bool no_progress; // nothing but the summary
} shoal_retry_t;

// Gives the exit code; -1: the status says why nothing was done.
int shoal_retry_run(const shoal_retry_t *retry, shoal_status_t *status);

#endif
