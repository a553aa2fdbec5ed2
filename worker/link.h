// SPDX-License-Identifier: Apache-2.0
//
// link.h - the main thread of the worker process: its loop over the connection to the head, the
// slots' news, signals and the lifeline.
//
// SIGTERM or SIGINT drains: what has not started is given back, what runs may finish for a while, then
// it ends. A second one, or the end of the lifeline, ends the process at once. Where a slot does not
// react to a CANCEL, the others finish and the process ends with SHOAL_EXIT_HUNG, to be replaced.
//
// Threads: the process's first.  Logging: LINK-* events.

#ifndef SHOAL_WORKER_LINK_H
#define SHOAL_WORKER_LINK_H

#include <sys/types.h>

#include "proto/keys/join.h"
#include "worker/session.h"

typedef struct shoal_link_config {
    const char *endpoint;
    const shoal_join_t *join; // the keys; NULL: none
    shoal_identity_t identity;
    int lifeline_fd;  // read end of a pipe; -1: none
    int ready_fd;     // write end of one: how the first registration goes; below 1: none
    pid_t supervisor; // its signals do not count as a person's second one; 0: none
    shoal_log_t *log;
} shoal_link_config_t;

// Runs until drained (true) or broken. Blocks SIGTERM and SIGINT in the calling thread and in those
// it starts; does not return at all when the process is to end at once, or a slot hangs.
//   SHOAL_INVALID   the endpoint is malformed, or a class (shoal_class_check())
//   SHOAL_IO        no descriptors or threads left
//   SHOAL_INTERNAL  the ZeroMQ library refuses
SHOAL_MUST_CHECK bool shoal_link_run(const shoal_link_config_t *config, shoal_status_t *status);

#endif
