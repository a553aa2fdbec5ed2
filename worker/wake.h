// SPDX-License-Identifier: Apache-2.0
//
// wake.h - what is known of a worker process after its end: what it said last, and whether the kernel
// killed it for want of memory.
//
// The worker's standard error comes through a pipe, is passed on as it is, and its end is kept. The
// pipe never makes the worker wait: what does not fit is lost.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_WORKER_WAKE_H
#define SHOAL_WORKER_WAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

#define SHOAL_WAKE_TAIL_BYTES 1024 // of standard error that are kept
#define SHOAL_WAKE_WORDS_MAX  512  // bytes of last words
#define SHOAL_WAKE_LINES      3    // lines of them
#define SHOAL_WAKE_OOM_MS     2000 // a kill counts as the worker's if it came so short before its end

// Embedded.
typedef struct shoal_wake {
    int pipe[2];
    char tail[SHOAL_WAKE_TAIL_BYTES];
    size_t tail_len;
    int events_fd; // the control group's memory.events; -1: there is none
    uint64_t kills;
    uint64_t killed_ms; // when their number was seen to grow last
} shoal_wake_t;

// `events_path` NULL: the file of our own control group (v2), if there is one.
//   SHOAL_IO  no descriptor left
SHOAL_MUST_CHECK bool shoal_wake_init(shoal_wake_t *wake, const char *events_path,
                                      shoal_status_t *status);
void shoal_wake_fini(shoal_wake_t *wake);

// In the new process: its standard error goes into the pipe from now on.
void shoal_wake_enter(shoal_wake_t *wake);

// For poll(): POLLIN and POLLPRI. Call shoal_wake_read() and shoal_wake_count() then.
int shoal_wake_fd(const shoal_wake_t *wake);
int shoal_wake_events_fd(const shoal_wake_t *wake);

// Passes on what has come to our own standard error.
void shoal_wake_read(shoal_wake_t *wake);

// Notes how many processes the kernel has killed here.
void shoal_wake_count(shoal_wake_t *wake, uint64_t now_ms);

// A process that was killed has ended: true if the kernel has just killed one here.
bool shoal_wake_is_oom(shoal_wake_t *wake, uint64_t now_ms);

// The last lines that the process has written, joined by " | ", printable; "" if there were none.
// They are forgotten.
void shoal_wake_words(shoal_wake_t *wake, char words[SHOAL_WAKE_WORDS_MAX]);

#endif
