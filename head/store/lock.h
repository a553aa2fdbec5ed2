// SPDX-License-Identifier: Apache-2.0
//
// lock.h - a state folder belongs to one head at a time.
//
// The lock is flock()'s on the file head.lock in the folder, so it ends with the process in whatever
// way that ends. The file says who holds it: process id and host.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_HEAD_STORE_LOCK_H
#define SHOAL_HEAD_STORE_LOCK_H

#include "proto/base/status.h"

#define SHOAL_LOCK_NAME "head.lock"

typedef struct shoal_lock shoal_lock_t;

// Takes the lock of an existing folder, without waiting.
//   SHOAL_EXISTS                           somebody has it: process and host are named
//   SHOAL_NOT_FOUND SHOAL_DENIED SHOAL_IO  the file cannot be made
SHOAL_MUST_CHECK bool shoal_lock_take(const char *directory, shoal_lock_t **ret_lock,
                                      shoal_status_t *status);

// Gives it back and removes the file. NULL is fine.
void shoal_lock_release(shoal_lock_t **lock);

#endif
