// SPDX-License-Identifier: Apache-2.0
//
// child.h - starts shoal-head and shoal-worker as processes, found beside our own executable.
//
// A child gets a scrubbed environment (an allow-list), its descriptors by fixed numbers and nothing
// else that we have open, default signals, and a process group of its own, so that Ctrl-C on the
// terminal reaches the command line alone.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CLIENT_CHILD_H
#define SHOAL_CLIENT_CHILD_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "proto/base/status.h"

// Numbers of the descriptors in the child.
enum { SHOAL_CHILD_LIFELINE_FD = 3, SHOAL_CHILD_READY_FD = 4, SHOAL_CHILD_LOCK_FD = 5 };

typedef struct shoal_child_plan {
    const char *program;          // "shoal-head"
    const char *const *arguments; // after the program's name, NULL-terminated
    int lifeline_fd;              // read end of a pipe whose end of file means: go; -1: none
    int ready_fd;                 // write end of a pipe; -1: none
    int lock_fd;                  // kept open for the child's life; -1: none
    int stdin_fd;                 // 0: /dev/null
    int stdout_fd;                // -1: /dev/null
    int stderr_fd;                // -1: ours
    bool is_daemon;               // a session of its own, working directory /
} shoal_child_plan_t;

// Starts the child; the plan's descriptors stay the caller's.
//   SHOAL_NOT_FOUND  no such program beside ours
//   SHOAL_IO         the system starts no process
SHOAL_MUST_CHECK bool shoal_child_start(const shoal_child_plan_t *plan, pid_t *ret_pid,
                                        shoal_status_t *status);

// The path of `program` beside our own executable.
//   SHOAL_NOT_FOUND  it is not there, or may not be executed
SHOAL_MUST_CHECK bool shoal_child_path(const char *program, char path[PATH_MAX],
                                       shoal_status_t *status);

// "was killed by signal 9 (Killed)", "ended with exit status 1".
void shoal_child_describe(int wait_status, char *text, size_t size);

// The variables that children get, NULL-terminated; free() the array, its texts are borrowed.
char **shoal_child_environment(void);

#endif
