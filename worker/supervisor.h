// SPDX-License-Identifier: Apache-2.0
//
// supervisor.h - the tiny process that starts the worker process, and starts it again when it dies.
//
//   shoal-worker (supervisor: one thread, no sockets)
//     '-- shoal-worker (the worker: link and slots)
//
// A crash in a class costs the worker process; the next one tells the head how the last one ended, and
// with which words (wake.h).
// It forks without exec, before any thread or ZeroMQ context exists. The first signal is forwarded,
// once; the second one kills. The end of the lifeline ends both at once.
//
// Threads: the only one of its process.  Logging: WORKER-* events.

#ifndef SHOAL_WORKER_SUPERVISOR_H
#define SHOAL_WORKER_SUPERVISOR_H

#include <stdint.h>
#include <sys/types.h>

#include "proto/base/buffer.h"
#include "proto/base/log.h"
#include "proto/base/status.h"
#include "worker/wake.h"

#define SHOAL_RESTART_MS_MIN 100 // before the second restart in a row; doubles
#define SHOAL_RESTART_MS_MAX 5000
#define SHOAL_STEADY_MS      30000 // a worker that lived so long is restarted at once again
#define SHOAL_EXIT_HUNG      75    // exit status of a worker that is to be replaced: a slot hangs

// How a worker process ended.
typedef struct shoal_exit {
    pid_t pid; // 0: there was none
    uint64_t incarnation;
    int signal; // that killed it; 0: it ended by itself with `status`
    int status;
    bool is_oom;                      // the kernel has killed it for want of memory
    unsigned restarts;                // in a row, this one included
    char words[SHOAL_WAKE_WORDS_MAX]; // what it wrote last
} shoal_exit_t;

// Appends it as HELLO's `last_exit` (docs/protocol.md, R-4.6); nothing if there was none.
void shoal_exit_write(const shoal_exit_t *last, shoal_buffer_t *out);

// What a worker process is told when it starts.
typedef struct shoal_birth {
    uint64_t incarnation;
    pid_t supervisor;
    shoal_exit_t last_exit; // of the process before it
} shoal_birth_t;

// The worker process: returns its exit status; 0 says that it ended politely.
typedef int shoal_supervisor_run_fn(void *ctx, const shoal_birth_t *birth);

typedef struct shoal_supervisor_config {
    shoal_supervisor_run_fn *run;
    void *ctx;
    int lifeline_fd;            // read end of a pipe; -1: none
    uint64_t first_incarnation; // 0: 1
    const char *memory_events;  // NULL: our control group's
    shoal_log_t *log;
} shoal_supervisor_config_t;

// Runs workers until one ends with 0, a signal or the lifeline ends them. Returns the exit status
// of the program: 0, or 128 and the signal's number after a second one.
//   SHOAL_IO  cannot watch signals or fork
SHOAL_MUST_CHECK bool shoal_supervisor_run(const shoal_supervisor_config_t *config, int *ret_status,
                                           shoal_status_t *status);

// How long to wait before the restart number `restarts` (from 1) in a row.
uint64_t shoal_supervisor_delay_ms(unsigned restarts);

#endif
