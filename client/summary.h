// SPDX-License-Identifier: Apache-2.0
//
// summary.h - how a run ended: for people, for programs, and as an exit code.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CLIENT_SUMMARY_H
#define SHOAL_CLIENT_SUMMARY_H

#include "client/report.h"
#include "proto/base/buffer.h"

// Exit codes: DESIGN section 8.
enum {
    SHOAL_EXIT_OK = 0,
    SHOAL_EXIT_FAILED = 1,
    SHOAL_EXIT_USAGE = 2,
    SHOAL_EXIT_PARTIAL = 3,
    SHOAL_EXIT_UNREAD = 141, // nobody reads standard output any more
};

typedef struct shoal_summary {
    const char *name;                 // of the workflow
    uint64_t job;                     // 0: the head never accepted one
    const shoal_report_t *report;     // NULL: no event came
    const shoal_status_t *status;     // the run's own failure; code SHOAL_OK: none
    int signal;                       // that interrupted it, or 0
    int success_threshold;            // percent, -1: not written
    const char *const *file_warnings; // of the workflow file, NULL-terminated, for JSON; or NULL
    const char *output;               // file with the records, "-", or NULL
    const char *spared;               // file that stays as it was: no records came; or NULL
    const char *part;                 // kept because the run did not end well, or NULL
    uint64_t output_bytes;
    const char *letters_file; // with the dead letters of a private run, or NULL
    bool is_private;          // its head is gone, and what it kept with it
    const char *head_options; // that name its head, for commands that are suggested; NULL: none
    unsigned workers_started; // of a private run; 0: they are not ours
    bool is_dry_run;
    bool is_resumed; // it was interrupted before
    bool is_look;    // at a job that may still run: its state is no end, and no failure
    bool is_plan;    // of a validation: JSON has the shards of the plan and no rate
    bool has_colour;
    // Where a key of the workflow stands, as "FILE:LINE: " in `text`, or "".
    void (*locate)(void *ctx, const char *key, char *text, size_t size);
    void *ctx;
} shoal_summary_t;

#define SHOAL_SUMMARY_ERRORS_MAX   10 // shown; the rest is counted
#define SHOAL_SUMMARY_BOOKS_MAX    10
#define SHOAL_SUMMARY_LETTERS_MAX  10
#define SHOAL_SUMMARY_WARNINGS_MAX 10

// The text for standard error.
void shoal_summary_text(const shoal_summary_t *summary, shoal_buffer_t *out);

// Its parts on warnings and facts (there is a report), and on errors.
void shoal_summary_notes(const shoal_summary_t *summary, shoal_buffer_t *out);
void shoal_summary_errors(const shoal_summary_t *summary, shoal_buffer_t *out);

// One JSON object and a line end, with the keys of DESIGN section 8.
void shoal_summary_json(const shoal_summary_t *summary, shoal_buffer_t *out);

int shoal_summary_exit(const shoal_summary_t *summary);

// The state to show: the job's, or FAILED or STOPPED where the run ended before the job did.
// With is_look it is the job's, whatever it is.
const char *shoal_summary_state(const shoal_summary_t *summary);

bool shoal_summary_has_failed(const shoal_summary_t *summary);      // the run itself, not its job
bool shoal_summary_is_going_on(const shoal_summary_t *summary);     // looked at before its end
const char *shoal_summary_unlooked(const shoal_summary_t *summary); // why the balance is, or NULL

// The name of a planned shard's stage.
const char *shoal_summary_stage(uint64_t stage);

// True for an error of the check stage that names a key of the workflow file.
bool shoal_summary_is_bad_file(const shoal_report_t *report);

#endif
