// SPDX-License-Identifier: Apache-2.0
//
// local.h - a private head and workers as child processes, for one run.
//
// They talk over ipc in the run's own directory (rundir.h). Each child inherits the read end of a
// pipe whose write end only we hold: however we end, they see it and go. Their log lines come
// through a second pipe. A child that dies is started again, a few times; the cause is told. The
// head finds its journal again then, and the workers go on dialling: the jobs go on. One descriptor
// (shoal_local_fd) tells when there is something to do.
//
// Threads: one owner.  Logging: none, lines go to the listener.

#ifndef SHOAL_CLIENT_LOCAL_H
#define SHOAL_CLIENT_LOCAL_H

#include <stdint.h>

#include "proto/base/status.h"

#define SHOAL_LOCAL_WORKERS_MAX         64
#define SHOAL_LOCAL_HEAD_RESTARTS_MAX   3
#define SHOAL_LOCAL_WORKER_RESTARTS_MAX 10    // of all workers together
#define SHOAL_LOCAL_STEADY_MS           60000 // without a death: restarts are counted anew
#define SHOAL_LOCAL_STOP_MS             3000  // from SIGTERM to SIGKILL

typedef struct shoal_local shoal_local_t;

typedef struct shoal_local_plan {
    unsigned workers; // processes, 1 to SHOAL_LOCAL_WORKERS_MAX
    unsigned slots;   // of each
    const char *log_level;
    const char *state; // the head's folder, of kept.h; NULL: one of the run's own, gone at its end
    int lock_fd;       // with `state`: the head keeps it open for its life
    bool is_resumed;   // with `state`: of an earlier command, whose workers are gone
    bool is_plan;      // nothing has to outlive the head
} shoal_local_plan_t;

typedef struct shoal_local_listener {
    void *ctx;
    void (*say)(void *ctx, const char *line);  // a log line of a child, or what happened to one
    void (*ready)(void *ctx, bool is_restart); // the head listens
} shoal_local_listener_t;

// How many workers of how many slots make `slots` slots; 0: by the processors of this machine.
// `workers` 0: two processes, or one for a single slot.
void shoal_local_size(unsigned slots, unsigned workers, shoal_local_plan_t *ret_plan);

// Starts all of them at once; `ready` comes later, out of shoal_local_turn().
//   SHOAL_NOT_FOUND SHOAL_DENIED SHOAL_IO  a program or the directory cannot be had
SHOAL_MUST_CHECK bool shoal_local_start(const shoal_local_plan_t *plan,
                                        const shoal_local_listener_t *listener,
                                        shoal_local_t **ret_local, shoal_status_t *status);

// Ends the children (asks, waits, kills) and removes every file of the run.
void shoal_local_destroy(shoal_local_t **local);

// The same without asking: for a second Ctrl-C.
void shoal_local_kill(shoal_local_t **local);

int shoal_local_fd(const shoal_local_t *local); // readable: call shoal_local_turn()
const char *shoal_local_endpoint(const shoal_local_t *local);

// Reads log lines, sees who has died and starts it again.
//   SHOAL_UNAVAILABLE  the head or the workers die again and again; the text has the cause
SHOAL_MUST_CHECK bool shoal_local_turn(shoal_local_t *local, shoal_status_t *status);

#endif
