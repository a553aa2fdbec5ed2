// SPDX-License-Identifier: Apache-2.0
//
// run.h - one job from SUBMIT to its end, with its output, progress and interruptions.
//
// With a private head and workers (local.h) or with one that runs already. What breaks on the way
// is mended where it can be: connections are dialled again, a private head that died is started
// again and goes on from its journal, a full disk is waited for. SIGINT, SIGTERM and SIGHUP stop the job once
// and end the run at once the second time, or when there is no head to ask. A reader of standard
// output that goes away stops the job too, as SIGPIPE would.
//
// Threads: one owner.  Logging: lines go to standard error through progress.h.

#ifndef SHOAL_CLIENT_RUN_H
#define SHOAL_CLIENT_RUN_H

#include "client/local.h"
#include "client/progress.h"
#include "client/report.h"
#include "proto/base/buffer.h"
#include "proto/keys/join.h"

#define SHOAL_RUN_START_MS    15000  // a private head must be up by then
#define SHOAL_RUN_DIAL_MS     10000  // a running head must have answered by then
#define SHOAL_RUN_LOST_MS     30000  // a head that was up may be without connection for so long
#define SHOAL_RUN_BYE_MS      5000   // and one that has said BYE
#define SHOAL_RUN_ASIDE_MS    5000   // a turn that takes longer: we were stopped, not the head
#define SHOAL_RUN_REDIAL_MS   1000   // a connection that is mended by then was hardly lost
#define SHOAL_RUN_STOP_MS     10000  // from STOP to the job's last event
#define SHOAL_RUN_ROOM_MS     300000 // wait for room on a full disk
#define SHOAL_RUN_ROOM_TRY_MS 1000
#define SHOAL_RUN_CREDIT      4194304 // bytes of output on their way to us
#define SHOAL_RUN_SYNC_MS     1000    // how often output is made safe

typedef struct shoal_run_plan {
    const char *endpoint;     // of a running head; NULL: a private one
    const shoal_join_t *join; // the keys for it; NULL: none
    const char *head_options; // that name it, for commands that are suggested; NULL: none
    shoal_local_plan_t local; // for a private one
    shoal_slice_t spec;       // SUBMIT's payload; empty: watch `job` instead
    uint64_t job;             // of a running head, to fetch its output
    const char *job_id;       // its id; NULL with a spec: one is made up
    const char *output;       // file for collected records, "-"; NULL: none
    bool spares_old;          // an output without records replaces no file
    bool is_watching;         // a signal ends the watching, not the job
    uint64_t room_ms;         // 0: SHOAL_RUN_ROOM_MS
    uint64_t lost_ms;         // at most so long without a head; 0: SHOAL_RUN_LOST_MS
    shoal_progress_config_t progress;
} shoal_run_plan_t;

typedef struct shoal_run_result {
    uint64_t job;           // 0: never accepted
    shoal_report_t *report; // the last one, or NULL
    shoal_status_t status;  // the run's own failure
    int signal;             // that interrupted it, 0: none; SIGPIPE: nobody reads standard output
    bool was_killed;        // interrupted twice: nothing more is to be said
    bool has_output;        // the file is whole and has its name
    bool has_spared_old;    // there were no records, and the file stays as it was
    char *part;             // what stays of one that is not, or NULL
    uint64_t output_bytes;
    char *letters_file; // OUTPUT.letters.jsonl with a private run's dead letters, or NULL
} shoal_run_result_t;

// Runs it to its end. The result is always filled; shoal_run_result_fini() frees it.
void shoal_run(const shoal_run_plan_t *plan, shoal_run_result_t *ret_result);
void shoal_run_result_fini(shoal_run_result_t *result);

#endif
