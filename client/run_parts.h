// SPDX-License-Identifier: Apache-2.0
//
// run_parts.h - the inside of a run, for run.c, follow.c and patience.c alone.
//
// Threads: one owner.  Logging: lines go to standard error through progress.h.

#ifndef SHOAL_CLIENT_RUN_PARTS_H
#define SHOAL_CLIENT_RUN_PARTS_H

#include "client/output.h"
#include "client/run.h"
#include "client/session.h"

typedef struct shoal_run shoal_run_t;

struct shoal_run {
    const shoal_run_plan_t *plan;
    shoal_run_result_t *result;
    shoal_progress_t *progress;
    shoal_local_t *local;     // NULL: a running head is used
    shoal_session_t *session; // NULL until there is something to dial
    shoal_output_t *output;
    int signal_fd;
    char job_id[SHOAL_RANDOM_ID_SIZE + 32];
    uint64_t submit_request;
    uint64_t start_ms;
    uint64_t report_ms;     // when the last event came
    uint64_t up_ms;         // last time the session was seen up
    uint64_t stop_ms;       // when STOP was asked for, 0: not
    uint64_t room_until_ms; // the disk is full: give up then; 0: it is not
    uint64_t room_try_ms;   // ask for the output again then
    uint64_t sync_ms;       // make the output safe then; 0: nothing new
    uint64_t untold_bytes;  // of output, written and not yet given back as credit
    uint64_t due_ms;        // when run_due() was last called
    bool is_lost;           // that the head does not answer has been said
    bool is_ended;          // OUTPUT_END came and every commit is here
    bool is_over;
};

// ---- follow.c: what is asked of the head, and what it says

// Of the session's listener.
void shoal_run_on_up(void *ctx, const shoal_msg_welcome_t *welcome, bool is_other_head);
void shoal_run_on_message(void *ctx, const shoal_message_t *message, shoal_slice_t payload);

void shoal_run_fail(shoal_run_t *run); // ends the run with the status that is set
bool shoal_run_is_final(const shoal_run_t *run);
void shoal_run_check_end(shoal_run_t *run);

// Without a connection, or nothing comes over it: nobody takes a STOP.
bool shoal_run_is_headless(const shoal_run_t *run, uint64_t now_ms);

// The job may be the head's already while its number is not known yet: ACCEPTED tells it, and then
// it is stopped. A private head ends with us, and its jobs with it.
bool shoal_run_may_have_begun(const shoal_run_t *run);

// Sends STOP now, or as soon as the job's number is there.
void shoal_run_stop(shoal_run_t *run, uint64_t now_ms);

// Asks for the output from the commit that is wanted next.
void shoal_run_send_output(shoal_run_t *run);
// Tells the head what is safe here and how much more it may send.
void shoal_run_send_taken(shoal_run_t *run, uint64_t safe_commit);
// A slow reader of standard output takes more.
void shoal_run_drain(shoal_run_t *run);

// ---- patience.c: how long is waited for what

void shoal_run_due(shoal_run_t *run, uint64_t now_ms);
// When shoal_run_due() has something to do; a second at most.
uint64_t shoal_run_next_due(const shoal_run_t *run, uint64_t now_ms);

#endif
