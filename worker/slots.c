// SPDX-License-Identifier: Apache-2.0
//
// slots.c - see slots.h.
//
// Design: one monitor. Its mutex guards the queue of attempts, the actors and what each slot runs;
// it is taken once a call, once a batch, once a command of the link, and never held while a class
// runs. A condition a slot (`wake`) tells it of credit and cancels; its eventfd does the same for
// a slot that waits in poll(). News go through a queue of proto/base/queue.h, so the link sleeps on
// one descriptor, which is written once for many news.

#include "worker/slots.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "worker/slot.h"

#define NEWS_MAX 65536 // a slot waits beyond that; credit keeps it far below

typedef struct place {
    shoal_slot_t slot;
    shoal_slots_t *pool;
    pthread_t thread;
    bool is_started;
} place_t;

struct shoal_slots {
    pthread_mutex_t mutex;
    pthread_cond_t work; // something is in the queue or in the garbage
    bool is_stopping;
    uint32_t idle_count; // slots that wait for work
    shoal_attempt_t *queue_first;
    shoal_attempt_t **queue_last;
    size_t queue_len;
    size_t queue_max;
    uint64_t queue_bytes;
    shoal_actors_t actors;
    uint64_t ended; // attempts, ever
    uint64_t ended_reported;
    shoal_queue_t *news;
    shoal_log_t *log;
    atomic_ullong write_until_ms; // by shoal_clock_boot_ms()
    uint32_t count;               // of places that are initialised
    place_t places[];
};

static void
news_drop(void *message)
{
    shoal_news_t *news = message;
    shoal_news_destroy(&news);
}

// ---- a slot's thread

// Mutex held. True if it was in the queue, which it has left.
static bool
dequeue(shoal_slots_t *pool, shoal_attempt_t *attempt)
{
    if (!attempt->queue_at) {
        return false;
    }
    *attempt->queue_at = attempt->queue_next;
    if (attempt->queue_next) {
        attempt->queue_next->queue_at = attempt->queue_at;
    } else {
        pool->queue_last = attempt->queue_at;
    }
    attempt->queue_at = NULL;
    attempt->queue_next = NULL;
    pool->queue_len--;
    pool->queue_bytes -= attempt->args.len;
    return true;
}

// Mutex held. The oldest attempt leaves the queue and gets this slot and an instance.
static shoal_instance_t *
attempt_start(shoal_slots_t *pool, shoal_slot_t *slot)
{
    shoal_attempt_t *attempt = pool->queue_first;
    (void)dequeue(pool, attempt);
    attempt->slot = slot;
    slot->attempt = attempt;
    shoal_slot_calm(slot); // of a cancel that came when the last call was over
    if (attempt->home->is_dropped) {
        atomic_store(&attempt->is_cancelled, true);
    }
    return shoal_actor_take(attempt->home);
}

// Mutex held.
static void
attempt_stop(shoal_slots_t *pool, shoal_slot_t *slot, shoal_instance_t *instance)
{
    shoal_attempt_t *attempt = slot->attempt;
    shoal_actors_give_back(&pool->actors, instance);
    shoal_actor_release(attempt->home); // the instance still holds it
    attempt->slot = NULL;
    attempt->home = NULL;
    slot->attempt = NULL;
    pool->ended++;
}

// Mutex held when called and when it returns.
static void
garbage_clear(shoal_slots_t *pool)
{
    shoal_instance_t *instance = NULL;
    while ((instance = shoal_actors_take_garbage(&pool->actors))) {
        shoal_actor_t *actor = instance->actor;
        (void)pthread_mutex_unlock(&pool->mutex);
        shoal_instance_destroy(&instance);
        (void)pthread_mutex_lock(&pool->mutex);
        shoal_actor_release(actor);
    }
}

static void *
slot_main(void *arg)
{
    place_t *place = arg;
    shoal_slots_t *pool = place->pool;
    (void)pthread_mutex_lock(&pool->mutex);
    for (;;) {
        garbage_clear(pool);
        if (pool->is_stopping) {
            break;
        }
        if (!pool->queue_first) {
            pool->idle_count++;
            (void)pthread_cond_wait(&pool->work, &pool->mutex);
            pool->idle_count--;
            continue;
        }
        shoal_instance_t *instance = attempt_start(pool, &place->slot);
        (void)pthread_mutex_unlock(&pool->mutex);
        shoal_news_t *news = shoal_slot_run(&place->slot, instance);
        (void)pthread_mutex_lock(&pool->mutex);
        attempt_stop(pool, &place->slot, instance);
        (void)pthread_mutex_unlock(&pool->mutex);
        shoal_slot_tell(&place->slot, news); // from here on the attempt is the link's
        (void)pthread_mutex_lock(&pool->mutex);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

// ---- the pool

static bool
place_start(shoal_slots_t *pool, place_t *place, shoal_status_t *status)
{
    if (!shoal_slot_init(&place->slot, &pool->mutex, pool->news, &pool->write_until_ms, pool->log,
                         status)) {
        return false;
    }
    place->pool = pool;
    pool->count++;
    pthread_attr_t attr;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, SHOAL_SLOT_STACK_BYTES);
    int error = pthread_create(&place->thread, &attr, slot_main, place);
    (void)pthread_attr_destroy(&attr);
    if (error != 0) {
        return shoal_fail_errno(status, error, "could not start the thread of a slot");
    }
    place->is_started = true;
    return true;
}

bool
shoal_slots_new(uint32_t count, size_t queue_max, shoal_log_t *log, shoal_slots_t **ret_slots,
                shoal_status_t *status)
{
    assert(count > 0 && count <= SHOAL_SLOTS_MAX && queue_max > 0);
    shoal_slots_t *pool = shoal_alloc(sizeof(*pool) + count * sizeof(pool->places[0]));
    (void)pthread_mutex_init(&pool->mutex, NULL);
    (void)pthread_cond_init(&pool->work, NULL);
    pool->queue_last = &pool->queue_first;
    pool->queue_max = queue_max;
    pool->log = log;
    bool done = shoal_queue_new(NEWS_MAX, news_drop, &pool->news, status);
    for (uint32_t i = 0; done && i < count; i++) {
        done = place_start(pool, &pool->places[i], status);
    }
    if (!done) {
        shoal_slots_destroy(&pool);
        return shoal_fail_while(status, "cannot start %u slots", count);
    }
    *ret_slots = pool;
    return true;
}

// Ends the threads. The caller's attempts are not touched any more.
static void
slots_stop(shoal_slots_t *pool)
{
    if (pool->news) {
        shoal_queue_close(pool->news); // nobody waits for room in it
    }
    (void)pthread_mutex_lock(&pool->mutex);
    pool->is_stopping = true;
    for (uint32_t i = 0; i < pool->count; i++) {
        if (pool->places[i].slot.attempt) {
            atomic_store(&pool->places[i].slot.attempt->is_cancelled, true);
            shoal_slot_wake(&pool->places[i].slot);
        }
    }
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->count; i++) {
        if (pool->places[i].is_started) {
            (void)pthread_join(pool->places[i].thread, NULL);
        }
    }
}

void
shoal_slots_destroy(shoal_slots_t **slots)
{
    if (!slots || !*slots) {
        return;
    }
    shoal_slots_t *pool = *slots;
    slots_stop(pool);
    (void)pthread_mutex_lock(&pool->mutex);
    garbage_clear(pool);
    while (pool->queue_first) {
        shoal_attempt_t *attempt = pool->queue_first;
        (void)dequeue(pool, attempt);
        shoal_actor_release(attempt->home);
        attempt->home = NULL;
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    shoal_actors_fini(&pool->actors);
    for (uint32_t i = 0; i < pool->count; i++) {
        shoal_slot_fini(&pool->places[i].slot);
    }
    shoal_queue_destroy(&pool->news);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->mutex);
    free(pool);
    *slots = NULL;
}

// ---- actors

bool
shoal_slots_add_actor(shoal_slots_t *slots, uint64_t number, const shoal_class_t *class,
                      shoal_slice_t args, shoal_status_t *status)
{
    (void)pthread_mutex_lock(&slots->mutex);
    bool done = shoal_actors_add(&slots->actors, number, class, args, status);
    (void)pthread_cond_signal(&slots->work); // another one of that number may have been dropped
    (void)pthread_mutex_unlock(&slots->mutex);
    return done;
}

void
shoal_slots_drop_actor(shoal_slots_t *slots, uint64_t number)
{
    (void)pthread_mutex_lock(&slots->mutex);
    shoal_actors_drop(&slots->actors, number);
    (void)pthread_cond_signal(&slots->work);
    (void)pthread_mutex_unlock(&slots->mutex);
}

void
shoal_slots_write_actors(shoal_slots_t *slots, size_t bytes_max, shoal_buffer_t *out)
{
    (void)pthread_mutex_lock(&slots->mutex);
    shoal_actors_write(&slots->actors, bytes_max, out);
    (void)pthread_mutex_unlock(&slots->mutex);
}

void
shoal_slots_drop_all_actors(shoal_slots_t *slots)
{
    (void)pthread_mutex_lock(&slots->mutex);
    shoal_actors_drop_all(&slots->actors);
    (void)pthread_cond_signal(&slots->work);
    (void)pthread_mutex_unlock(&slots->mutex);
}

// ---- attempts

// Mutex held.
static bool
enqueue(shoal_slots_t *slots, shoal_attempt_t *attempt, shoal_status_t *status)
{
    shoal_actor_t *actor = shoal_actors_find(&slots->actors, attempt->actor);
    if (!actor) {
        return shoal_fail(status, SHOAL_UNAVAILABLE, "actor %llu is not known to this worker",
                          (unsigned long long)attempt->actor);
    }
    if (slots->queue_len >= slots->queue_max ||
        slots->queue_bytes + attempt->args.len > SHOAL_QUEUE_BYTES_MAX) {
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                             "the worker's queue is full: %zu calls with %llu bytes wait",
                             slots->queue_len, (unsigned long long)slots->queue_bytes);
    }
    attempt->home = actor;
    shoal_actor_hold(actor);
    attempt->queue_next = NULL;
    attempt->queue_at = slots->queue_last;
    *slots->queue_last = attempt;
    slots->queue_last = &attempt->queue_next;
    slots->queue_len++;
    slots->queue_bytes += attempt->args.len;
    if (slots->idle_count > 0) {
        (void)pthread_cond_signal(&slots->work);
    }
    return true;
}

bool
shoal_slots_submit(shoal_slots_t *slots, shoal_attempt_t *attempt, shoal_status_t *status)
{
    (void)pthread_mutex_lock(&slots->mutex);
    bool done = enqueue(slots, attempt, status);
    (void)pthread_mutex_unlock(&slots->mutex);
    return done;
}

// Mutex held. True if it was in the queue; then the pool has let go of it.
static bool
withdraw(shoal_slots_t *slots, shoal_attempt_t *attempt)
{
    if (!dequeue(slots, attempt)) {
        return false;
    }
    shoal_actor_release(attempt->home);
    attempt->home = NULL;
    return true;
}

bool
shoal_slots_take_back(shoal_slots_t *slots, shoal_attempt_t *attempt)
{
    (void)pthread_mutex_lock(&slots->mutex);
    bool was_queued = withdraw(slots, attempt);
    (void)pthread_mutex_unlock(&slots->mutex);
    return was_queued;
}

bool
shoal_slots_cancel(shoal_slots_t *slots, shoal_attempt_t *attempt)
{
    (void)pthread_mutex_lock(&slots->mutex);
    bool was_queued = withdraw(slots, attempt);
    if (!was_queued) {
        atomic_store(&attempt->is_cancelled, true);
        if (attempt->slot) {
            shoal_slot_wake(attempt->slot);
        }
    }
    (void)pthread_mutex_unlock(&slots->mutex);
    return was_queued;
}

void
shoal_slots_may_write(shoal_slots_t *slots, uint64_t left_ms)
{
    atomic_store_explicit(&slots->write_until_ms, shoal_clock_boot_ms() + left_ms,
                          memory_order_relaxed);
}

bool
shoal_slots_has(shoal_slots_t *slots, const shoal_attempt_t *attempt)
{
    (void)pthread_mutex_lock(&slots->mutex);
    bool has = attempt->slot != NULL;
    (void)pthread_mutex_unlock(&slots->mutex);
    return has;
}

void
shoal_slots_grant(shoal_slots_t *slots, shoal_attempt_t *attempt, uint32_t bytes)
{
    (void)pthread_mutex_lock(&slots->mutex);
    attempt->credit_left += bytes;
    if (attempt->slot && attempt->is_waiting) {
        (void)pthread_cond_signal(&attempt->slot->wake);
    }
    (void)pthread_mutex_unlock(&slots->mutex);
}

shoal_news_t *
shoal_slots_take_news(shoal_slots_t *slots)
{
    return shoal_queue_take(slots->news);
}

int
shoal_slots_fd(const shoal_slots_t *slots)
{
    return shoal_queue_fd(slots->news);
}

void
shoal_slots_progress(shoal_slots_t *slots, shoal_slots_progress_fn *show, void *ctx)
{
    (void)pthread_mutex_lock(&slots->mutex);
    bool has_moved = slots->ended != slots->ended_reported;
    slots->ended_reported = slots->ended;
    for (uint32_t i = 0; i < slots->count; i++) {
        shoal_attempt_t *attempt = slots->places[i].slot.attempt;
        if (attempt) {
            attempt->bonus += attempt->is_waiting;
            uint64_t number =
                atomic_load_explicit(&attempt->progress, memory_order_relaxed) + attempt->bonus;
            has_moved = has_moved || number != attempt->reported;
            attempt->reported = number;
            show(ctx, attempt, number);
        }
    }
    for (shoal_attempt_t *attempt = slots->queue_first; attempt; attempt = attempt->queue_next) {
        attempt->bonus += has_moved;
        show(ctx, attempt, attempt->bonus);
    }
    (void)pthread_mutex_unlock(&slots->mutex);
}
