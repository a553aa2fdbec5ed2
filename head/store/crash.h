// SPDX-License-Identifier: Apache-2.0
//
// crash.h - named places at which a test can have the head killed.
//
// `shoal-head --crash-at NAME[:N]` sends SIGKILL to itself when it comes to the place NAME for the
// N-th time, as if the machine had chosen that instant. Without the option nothing happens there.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_HEAD_STORE_CRASH_H
#define SHOAL_HEAD_STORE_CRASH_H

#include <stdatomic.h>

#include "proto/base/status.h"

// In the order in which a group commit comes to them.
#define SHOAL_CRASH_POINTS(X)                                                                      \
    X(SEGMENT_WRITTEN, "segment-written") /* batches are in a segment */                           \
    X(SEGMENT_SYNCED, "segment-synced")   /* the dirty segments are on the disk */                 \
    X(COMMIT_BEGUN, "commit-begun")       /* the journal's transaction has begun */                \
    X(COMMIT_BEFORE, "commit-before")     /* all notes are in it */                                \
    X(COMMIT_AFTER, "commit-after")       /* it is committed */                                    \
    X(FORGET_BEFORE, "forget-before")     /* before a forgotten job's files are removed */         \
    X(FORGET_AFTER, "forget-after")       /* they are removed */                                   \
    X(REPORT_BEFORE, "report-before")     /* before the hub hears of it */                         \
    X(REPORT_AFTER, "report-after")       /* the hub may hear of it */

typedef enum shoal_crash_point {
#define X(name, text) SHOAL_CRASH_##name,
    SHOAL_CRASH_POINTS(X)
#undef X
} shoal_crash_point_t;

typedef struct shoal_crash {
    shoal_crash_point_t point;
    atomic_ullong left; // times to come there; 0: never
} shoal_crash_t;

// Reads NAME[:N].
//   SHOAL_INVALID  no such place, or no number from 1
SHOAL_MUST_CHECK bool shoal_crash_parse(const char *text, shoal_crash_t *ret_crash,
                                        shoal_status_t *status);

// We are there. NULL: no test.
void shoal_crash_here(shoal_crash_t *crash, shoal_crash_point_t point);

#endif
