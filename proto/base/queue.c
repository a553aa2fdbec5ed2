// SPDX-License-Identifier: Apache-2.0
//
// queue.c - see queue.h.
//
// Design: a ring under a mutex. The eventfd is raised when the queue stops being empty and read
// when it becomes empty, so a busy pair of threads makes no system call a message.

#include "proto/base/queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"

struct shoal_queue {
    pthread_mutex_t mutex;
    pthread_cond_t not_empty; // on the monotonic clock
    pthread_cond_t not_full;
    int fd;
    bool is_raised; // the eventfd is readable
    bool is_closed;
    size_t limit;
    size_t first; // index of the oldest message
    size_t count;
    size_t size; // slots allocated, grows up to limit
    void **ring;
    shoal_queue_drop_fn *drop;
};

bool
shoal_queue_new(size_t limit, shoal_queue_drop_fn *drop, shoal_queue_t **ret_queue,
                shoal_status_t *status)
{
    assert(limit > 0 && ret_queue && status);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "could not make an eventfd");
    }
    shoal_queue_t *queue = shoal_alloc(sizeof(*queue));
    queue->fd = fd;
    queue->limit = limit;
    queue->size = limit < 16 ? limit : 16;
    queue->ring = shoal_alloc(queue->size * sizeof(*queue->ring));
    queue->drop = drop;
    (void)pthread_mutex_init(&queue->mutex, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&queue->not_empty, &attr);
    (void)pthread_cond_init(&queue->not_full, &attr);
    (void)pthread_condattr_destroy(&attr);
    *ret_queue = queue;
    return true;
}

void
shoal_queue_destroy(shoal_queue_t **queue)
{
    if (!queue || !*queue) {
        return;
    }
    shoal_queue_t *q = *queue;
    for (size_t i = 0; i < q->count && q->drop; i++) {
        q->drop(q->ring[(q->first + i) % q->size]);
    }
    (void)close(q->fd);
    (void)pthread_mutex_destroy(&q->mutex);
    (void)pthread_cond_destroy(&q->not_empty);
    (void)pthread_cond_destroy(&q->not_full);
    free(q->ring);
    free(q);
    *queue = NULL;
}

// Makes the descriptor readable exactly while there is something to see. Mutex held.
static void
set_raised(shoal_queue_t *queue)
{
    bool want = queue->count > 0 || queue->is_closed;
    if (want == queue->is_raised) {
        return;
    }
    uint64_t word = 1;
    ssize_t done =
        want ? write(queue->fd, &word, sizeof(word)) : read(queue->fd, &word, sizeof(word));
    (void)done; // an eventfd below its limit takes every write, and reads when it is raised
    queue->is_raised = want;
}

static void
grow(shoal_queue_t *queue)
{
    size_t size = queue->size * 2 < queue->limit ? queue->size * 2 : queue->limit;
    void **ring = shoal_alloc(size * sizeof(*ring));
    for (size_t i = 0; i < queue->count; i++) {
        ring[i] = queue->ring[(queue->first + i) % queue->size];
    }
    free(queue->ring);
    queue->ring = ring;
    queue->first = 0;
    queue->size = size;
}

// Mutex held, not full, not closed.
static void
push(shoal_queue_t *queue, void *message)
{
    if (queue->count == queue->size) {
        grow(queue);
    }
    assert(queue->count < queue->size);
    queue->ring[(queue->first + queue->count) % queue->size] = message;
    queue->count++;
    set_raised(queue);
    (void)pthread_cond_signal(&queue->not_empty);
}

bool
shoal_queue_put(shoal_queue_t *queue, void *message)
{
    assert(queue && message);
    (void)pthread_mutex_lock(&queue->mutex);
    bool taken = !queue->is_closed && queue->count < queue->limit;
    if (taken) {
        push(queue, message);
    }
    (void)pthread_mutex_unlock(&queue->mutex);
    return taken;
}

bool
shoal_queue_put_wait(shoal_queue_t *queue, void *message)
{
    assert(queue && message);
    (void)pthread_mutex_lock(&queue->mutex);
    while (!queue->is_closed && queue->count == queue->limit) {
        (void)pthread_cond_wait(&queue->not_full, &queue->mutex);
    }
    bool taken = !queue->is_closed;
    if (taken) {
        push(queue, message);
    }
    (void)pthread_mutex_unlock(&queue->mutex);
    return taken;
}

// Mutex held.
static void *
pop(shoal_queue_t *queue)
{
    if (queue->count == 0) {
        return NULL;
    }
    void *message = queue->ring[queue->first];
    queue->first = (queue->first + 1) % queue->size;
    queue->count--;
    set_raised(queue);
    (void)pthread_cond_signal(&queue->not_full);
    return message;
}

void *
shoal_queue_take(shoal_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->mutex);
    void *message = pop(queue);
    (void)pthread_mutex_unlock(&queue->mutex);
    return message;
}

void *
shoal_queue_take_wait(shoal_queue_t *queue, uint64_t timeout_ms)
{
    struct timespec until = {0};
    if (timeout_ms != SHOAL_TIME_NEVER) {
        uint64_t at_us = shoal_clock_us() + timeout_ms * 1000U;
        until.tv_sec = (time_t)(at_us / 1000000U);
        until.tv_nsec = (long)(at_us % 1000000U) * 1000L;
    }
    (void)pthread_mutex_lock(&queue->mutex);
    int waited = 0;
    while (queue->count == 0 && !queue->is_closed && waited == 0) {
        waited = timeout_ms == SHOAL_TIME_NEVER
                     ? pthread_cond_wait(&queue->not_empty, &queue->mutex)
                     : pthread_cond_timedwait(&queue->not_empty, &queue->mutex, &until);
    }
    void *message = pop(queue);
    (void)pthread_mutex_unlock(&queue->mutex);
    return message;
}

void
shoal_queue_close(shoal_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->mutex);
    queue->is_closed = true;
    set_raised(queue);
    (void)pthread_cond_broadcast(&queue->not_empty);
    (void)pthread_cond_broadcast(&queue->not_full);
    (void)pthread_mutex_unlock(&queue->mutex);
}

bool
shoal_queue_is_closed(shoal_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->mutex);
    bool is_closed = queue->is_closed;
    (void)pthread_mutex_unlock(&queue->mutex);
    return is_closed;
}

size_t
shoal_queue_len(shoal_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->mutex);
    size_t count = queue->count;
    (void)pthread_mutex_unlock(&queue->mutex);
    return count;
}

int
shoal_queue_fd(const shoal_queue_t *queue)
{
    return queue->fd;
}
