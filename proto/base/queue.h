// SPDX-License-Identifier: Apache-2.0
//
// queue.h - a bounded queue of messages between two threads of one process.
//
// Each message has one owner: whoever takes it out. The reader may wait on a descriptor in its own
// loop (readable while there is something to take), the writer is told when the queue is full. A
// mutex and an eventfd, so that the thread sanitizer sees every hand-over.
//
// Threads: any number of writers, one reader.  Logging: none.

#ifndef SHOAL_PROTO_BASE_QUEUE_H
#define SHOAL_PROTO_BASE_QUEUE_H

#include <stdint.h>

#include "proto/base/clock.h" // SHOAL_TIME_NEVER
#include "proto/base/status.h"

typedef struct shoal_queue shoal_queue_t;

// Frees a message that nobody took; called by destroy.
typedef void shoal_queue_drop_fn(void *message);

// A queue of at most `limit` messages; `drop` may be NULL if messages need no freeing.
//   SHOAL_IO  the process has no descriptor left
SHOAL_MUST_CHECK bool shoal_queue_new(size_t limit, shoal_queue_drop_fn *drop,
                                      shoal_queue_t **ret_queue, shoal_status_t *status);

// Drops what is left. Both threads have stopped using it.
void shoal_queue_destroy(shoal_queue_t **queue);

// Takes `message` over. False: the queue is full or closed and the message is still the caller's.
SHOAL_MUST_CHECK bool shoal_queue_put(shoal_queue_t *queue, void *message);

// The same, but waits for room; false only when the queue is closed.
SHOAL_MUST_CHECK bool shoal_queue_put_wait(shoal_queue_t *queue, void *message);

// The oldest message, or NULL when there is none. Does not block.
void *shoal_queue_take(shoal_queue_t *queue);

// The oldest message; waits up to `timeout_ms` (SHOAL_TIME_NEVER: for ever). NULL: time is over, or
// the queue is closed and empty.
void *shoal_queue_take_wait(shoal_queue_t *queue, uint64_t timeout_ms);

// Nothing more goes in; what is in can still be taken. Wakes whoever waits.
void shoal_queue_close(shoal_queue_t *queue);
bool shoal_queue_is_closed(shoal_queue_t *queue);

size_t shoal_queue_len(shoal_queue_t *queue);

// Readable (POLLIN) while the queue has a message or is closed. Never read it yourself.
int shoal_queue_fd(const shoal_queue_t *queue);

#endif
