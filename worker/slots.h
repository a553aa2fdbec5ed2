// SPDX-License-Identifier: Apache-2.0
//
// slots.h - the threads that run calls, the actors' instances that they run them on, and the news
// of what they did.
//
// The link submits attempts; they wait in one bounded queue, and a free slot takes the oldest. An
// instance of the actor that is idle runs it, or a new one does, so an actor has at most one
// instance a slot; instances live until their actor is dropped, and are made and destroyed on slot
// threads. What slots have to say (a batch, the end of an attempt) comes out as news, in order
// for each attempt.
//
// Threads: every function here belongs to the link's thread. Slots stay inside.
// Logging: what a call logs, as CALL-LOG.

#ifndef SHOAL_WORKER_SLOTS_H
#define SHOAL_WORKER_SLOTS_H

#include "proto/base/log.h"
#include "worker/actors.h"
#include "worker/news.h"

#define SHOAL_SLOTS_MAX        1024
#define SHOAL_QUEUE_BYTES_MAX  (UINT64_C(64) << 20) // arguments of waiting attempts
#define SHOAL_SLOT_STACK_BYTES 1048576

typedef struct shoal_slots shoal_slots_t;

// Starts `count` threads. At most `queue_max` attempts wait. `log` is borrowed.
//   SHOAL_IO  no descriptors or threads left
SHOAL_MUST_CHECK bool shoal_slots_new(uint32_t count, size_t queue_max, shoal_log_t *log,
                                      shoal_slots_t **ret_slots, shoal_status_t *status);

// Cancels what runs, waits for the threads, destroys instances. Attempts stay their owner's; what
// was queued or running ends without news.
void shoal_slots_destroy(shoal_slots_t **slots);

// Makes an actor known; `args` are copied, `class` is borrowed for the pool's life. A number that
// is known keeps its instances if class and arguments are the same, else it is dropped first.
//   SHOAL_LIMIT  too many actors, or their arguments are too large together
SHOAL_MUST_CHECK bool shoal_slots_add_actor(shoal_slots_t *slots, uint64_t number,
                                            const shoal_class_t *class, shoal_slice_t args,
                                            shoal_status_t *status);

// Destroys its instances, busy ones when their call ends. Attempts that have not started end as
// cancelled without running.
void shoal_slots_drop_actor(shoal_slots_t *slots, uint64_t number);
// Appends the numbers of its actors as a msgpack array, as many as fit into `bytes_max`.
void shoal_slots_write_actors(shoal_slots_t *slots, size_t bytes_max, shoal_buffer_t *out);

void shoal_slots_drop_all_actors(shoal_slots_t *slots);

// Lets the attempt run as soon as a slot is free.
//   SHOAL_UNAVAILABLE  its actor is not known here
//   SHOAL_LIMIT        the queue is full (class transient)
SHOAL_MUST_CHECK bool shoal_slots_submit(shoal_slots_t *slots, shoal_attempt_t *attempt,
                                         shoal_status_t *status);

// Cancels. True: it had not started, has left the queue and gives no news. False: it was running,
// and its end will come as news.
bool shoal_slots_cancel(shoal_slots_t *slots, shoal_attempt_t *attempt);

// True, and as if never submitted, if it has not started.
bool shoal_slots_take_back(shoal_slots_t *slots, shoal_attempt_t *attempt);

// The head was heard: for so long from now on calls may write (class.h, may_write). Before the first
// time none may.
void shoal_slots_may_write(shoal_slots_t *slots, uint64_t left_ms);

// True while a slot has it: its end is not among the news yet.
bool shoal_slots_has(shoal_slots_t *slots, const shoal_attempt_t *attempt);

// So many more bytes of batches.
void shoal_slots_grant(shoal_slots_t *slots, shoal_attempt_t *attempt, uint32_t bytes);

// The oldest news, or NULL. The descriptor is readable while there is some.
shoal_news_t *shoal_slots_take_news(shoal_slots_t *slots);
int shoal_slots_fd(const shoal_slots_t *slots);

// Shows each attempt with its progress number, running ones first; those that wait for something
// legitimate have moved since the last time, those in the queue if any other has.
typedef void shoal_slots_progress_fn(void *ctx, const shoal_attempt_t *attempt, uint64_t number);
void shoal_slots_progress(shoal_slots_t *slots, shoal_slots_progress_fn *show, void *ctx);

#endif
