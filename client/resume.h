// SPDX-License-Identifier: Apache-2.0
//
// resume.h - which interrupted run `--resume` goes on with, and what is kept of a new one.
//
// Threads: one.  Logging: notes for people go to standard error.

#ifndef SHOAL_CLIENT_RESUME_H
#define SHOAL_CLIENT_RESUME_H

#include "client/kept.h"
#include "proto/workflow/workflow.h"

// What the command line has asked for.
typedef struct shoal_resume {
    const char *name;             // as it was given: a file, or an address without secrets
    bool is_address;              // not a file
    const char *const *overrides; // of --set, NULL-terminated
    const shoal_workflow_t *workflow;
} shoal_resume_t;

// Takes the interrupted run, which must be of the same text and the same --set.
//   SHOAL_INVALID      there is none, or what has changed is named
//   SHOAL_EXISTS ...   as shoal_kept_find() and shoal_kept_wait()
SHOAL_MUST_CHECK bool shoal_resume_take(const shoal_resume_t *resume, shoal_kept_t **ret_kept,
                                        shoal_status_t *status);

// Keeps a new run that writes to `output` (NULL: no file of ours), after a sweep, and says if there
// is an interrupted one. NULL: it cannot be kept, and why is said; the run does without.
shoal_kept_t *shoal_resume_keep(const shoal_resume_t *resume, const char *output,
                                const char *job_id);

// The run has come to its end, `is_good`: with a result, which takes the place of older ones.
void shoal_resume_end(const shoal_resume_t *resume, bool is_good, shoal_kept_t **kept);

// The run can go on: says how.
void shoal_resume_leave(const shoal_resume_t *resume, shoal_kept_t **kept);

#endif
