// SPDX-License-Identifier: Apache-2.0
//
// slot.h - one slot: a thread's place to run a call, and what the call may ask for there (class.h).
//
// The pool (slots.c) owns slots, gives them attempts and tells them of credit and cancels; this is
// what happens on the slot's own thread in between.
//
// Threads: the slot's own, unless a function says otherwise.  Logging: what a call logs, CALL-LOG.

#ifndef SHOAL_WORKER_SLOT_H
#define SHOAL_WORKER_SLOT_H

#include <pthread.h>

#include "proto/base/log.h"
#include "proto/base/queue.h"
#include "worker/actors.h"
#include "worker/news.h"

typedef struct shoal_slot {
    pthread_mutex_t *mutex;              // the pool's; guards what says so here and in attempt.h
    shoal_queue_t *news;                 // where its news go
    const atomic_ullong *write_until_ms; // the pool's
    shoal_log_t *log;
    pthread_cond_t wake;      // credit has come, or the attempt is cancelled
    int wake_fd;              // an eventfd that says the same to poll()
    bool is_woken;            // it is readable; mutex
    shoal_attempt_t *attempt; // that it runs; written under the mutex by its own thread
} shoal_slot_t;

//   SHOAL_IO  no descriptor left
SHOAL_MUST_CHECK bool shoal_slot_init(shoal_slot_t *slot, pthread_mutex_t *mutex,
                                      shoal_queue_t *news, const atomic_ullong *write_until_ms,
                                      shoal_log_t *log, shoal_status_t *status);
void shoal_slot_fini(shoal_slot_t *slot);

// Makes the slot look at its attempt again. Any thread, with the mutex.
void shoal_slot_wake(shoal_slot_t *slot);

// Forgets that it was woken, before the next attempt. With the mutex.
void shoal_slot_calm(shoal_slot_t *slot);

// Runs slot->attempt on `instance`, which is made first if it has no self. Returns its end; batches
// have gone to the queue of news before.
shoal_news_t *shoal_slot_run(shoal_slot_t *slot, shoal_instance_t *instance);

// Puts news in the queue; waits for room.
void shoal_slot_tell(shoal_slot_t *slot, shoal_news_t *news);

#endif
