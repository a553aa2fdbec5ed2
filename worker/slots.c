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
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/base/queue.h"

#define NEWS_MAX       65536 // a slot waits beyond that; credit keeps it far below
#define BUCKETS        4096  // of the table of actors
#define MOVE_BYTES_MIN 8192  // a smaller batch is copied, which is cheaper than its buffer
#define MOVE_WASTE_MAX 4     // and so is one that fills less than a quarter of its buffer
#define LOG_TEXT_MAX   1024
#define POLL_MS_MAX    3600000

typedef struct instance instance_t;
struct instance {
    instance_t *next;
    struct shoal_actor *actor;
    void *self;
};

typedef struct shoal_actor shoal_actor_t;
struct shoal_actor {
    shoal_actor_t *next; // in its bucket
    uint64_t number;
    const shoal_class_t *class;
    shoal_slice_t args; // owned, behind the structure
    bool is_dropped;    // not in the table any more; freed when nothing refers to it
    size_t users;       // attempts in the pool, and instances
    instance_t *idle;   // the one that was used last comes first
};

typedef struct shoal_slot {
    shoal_slots_t *pool;
    pthread_t thread;
    bool is_started;
    pthread_cond_t wake; // credit has come, or the attempt is cancelled
    int wake_fd;         // an eventfd that says the same to poll()
    bool is_woken;       // it is readable
    shoal_attempt_t *attempt;
} shoal_slot_t;

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
    instance_t *garbage; // of dropped actors
    shoal_actor_t *actors[BUCKETS];
    size_t actor_count;
    uint64_t actor_bytes;
    uint64_t ended; // attempts, ever
    uint64_t ended_reported;
    shoal_queue_t *news;
    shoal_log_t *log;
    uint32_t count;
    shoal_slot_t slots[];
};

// ---- news

void
shoal_news_destroy(shoal_news_t **news)
{
    if (news && *news) {
        (void)zmq_msg_close(&(*news)->payload);
        free((*news)->failure);
        shoal_buffer_fini(&(*news)->detail);
        free(*news);
        *news = NULL;
    }
}

static void
news_drop(void *message)
{
    shoal_news_t *news = message;
    shoal_news_destroy(&news);
}

static shoal_news_t *
news_new(shoal_news_kind_t kind, shoal_attempt_t *attempt)
{
    shoal_news_t *news = shoal_alloc(sizeof(*news));
    news->kind = kind;
    news->attempt = attempt;
    (void)zmq_msg_init(&news->payload);
    return news;
}

static void
news_put(shoal_slots_t *pool, shoal_news_t *news)
{
    if (!shoal_queue_put_wait(pool->news, news)) {
        shoal_news_destroy(&news); // the worker ends and nobody will read it
    }
}

// ---- what a call may ask for (class.h); ctx is the slot

static bool
call_is_cancelled(void *ctx)
{
    shoal_slot_t *slot = ctx;
    return atomic_load_explicit(&slot->attempt->is_cancelled, memory_order_relaxed);
}

static void
call_progress(void *ctx)
{
    shoal_slot_t *slot = ctx;
    (void)atomic_fetch_add_explicit(&slot->attempt->progress, 1, memory_order_relaxed);
}

static bool
fail_cancelled(shoal_status_t *status)
{
    return shoal_fail(status, SHOAL_CANCELLED, "the call was cancelled");
}

static SHOAL_PRINTF(3, 4) void call_log(void *ctx, shoal_log_level_t level, const char *format, ...)
{
    shoal_slot_t *slot = ctx;
    if (!shoal_log_is_on(slot->pool->log, level)) {
        return;
    }
    char text[LOG_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    shoal_log(slot->pool->log, level, "CALL-LOG", "call=%llu attempt=%u text=\"%s\"",
              (unsigned long long)slot->attempt->call, slot->attempt->number, text);
}

static void
set_waiting(shoal_slot_t *slot, bool is_waiting)
{
    (void)pthread_mutex_lock(&slot->pool->mutex);
    slot->attempt->is_waiting = is_waiting;
    (void)pthread_mutex_unlock(&slot->pool->mutex);
}

static int
until_ms(uint64_t deadline_ms)
{
    if (deadline_ms == SHOAL_TIME_NEVER) {
        return -1;
    }
    uint64_t now_ms = shoal_clock_ms();
    uint64_t left = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
    return (int)(left < POLL_MS_MAX ? left : POLL_MS_MAX);
}

static bool
wait_for(shoal_slot_t *slot, int fd, short events, uint64_t timeout_ms, shoal_status_t *status)
{
    uint64_t now_ms = shoal_clock_ms();
    uint64_t deadline_ms =
        timeout_ms >= SHOAL_TIME_NEVER - now_ms ? SHOAL_TIME_NEVER : now_ms + timeout_ms;
    struct pollfd items[2] = {{slot->wake_fd, POLLIN, 0}, {fd, events, 0}};
    for (;;) {
        int ready = poll(items, 2, until_ms(deadline_ms));
        if (call_is_cancelled(slot)) {
            return fail_cancelled(status);
        }
        if (ready < 0 && errno != EINTR) {
            return shoal_fail_errno(status, errno, "cannot wait for a descriptor");
        }
        if (ready > 0 && items[1].revents != 0) {
            return (items[1].revents & POLLNVAL) == 0 ||
                   shoal_fail_as(status, SHOAL_FATAL, SHOAL_INVALID,
                                 "cannot wait for descriptor %d: it is not open", fd);
        }
        if (deadline_ms != SHOAL_TIME_NEVER && shoal_clock_ms() >= deadline_ms) {
            return shoal_fail(status, SHOAL_TIMEOUT, "nothing happened within %llu ms",
                              (unsigned long long)timeout_ms);
        }
    }
}

static bool
call_wait(void *ctx, int fd, short events, uint64_t timeout_ms, shoal_status_t *status)
{
    shoal_slot_t *slot = ctx;
    if (call_is_cancelled(slot)) {
        return fail_cancelled(status);
    }
    set_waiting(slot, true);
    bool done = wait_for(slot, fd, events, timeout_ms, status);
    set_waiting(slot, false);
    call_progress(slot);
    return done;
}

// Waits until there is credit, and spends `bytes` of it. One batch may overdraw it.
static bool
credit_spend(shoal_slot_t *slot, size_t bytes)
{
    shoal_attempt_t *attempt = slot->attempt;
    (void)pthread_mutex_lock(&slot->pool->mutex);
    attempt->is_waiting = true;
    while (attempt->credit_left <= 0 && !call_is_cancelled(slot)) {
        (void)pthread_cond_wait(&slot->wake, &slot->pool->mutex);
    }
    attempt->is_waiting = false;
    bool may = !call_is_cancelled(slot);
    if (may) {
        attempt->credit_left -= (int64_t)bytes;
    }
    (void)pthread_mutex_unlock(&slot->pool->mutex);
    return may;
}

static void
payload_free(void *bytes, void *hint)
{
    (void)hint;
    free(bytes);
}

// Puts the bytes of `batch` in `payload`: large ones move with their memory, small ones are copied.
static bool
payload_take(zmq_msg_t *payload, shoal_buffer_t *batch)
{
    bool moves = batch->len >= MOVE_BYTES_MIN && batch->len >= batch->size / MOVE_WASTE_MAX;
    if (moves) {
        if (zmq_msg_init_data(payload, batch->ptr, batch->len, payload_free, NULL) != 0) {
            (void)zmq_msg_init(payload);
            return false;
        }
        *batch = (shoal_buffer_t)SHOAL_BUFFER_INIT;
        return true;
    }
    if (zmq_msg_init_size(payload, batch->len) != 0) {
        (void)zmq_msg_init(payload);
        return false;
    }
    memcpy(zmq_msg_data(payload), batch->ptr, batch->len);
    shoal_buffer_clear(batch);
    return true;
}

static bool
send_one(shoal_slot_t *slot, shoal_buffer_t *batch, uint32_t records, bool more,
         shoal_status_t *status)
{
    if (!credit_spend(slot, batch->len)) {
        return fail_cancelled(status);
    }
    shoal_attempt_t *attempt = slot->attempt;
    shoal_news_t *news = news_new(SHOAL_NEWS_BATCH, attempt);
    if (!payload_take(&news->payload, batch)) {
        shoal_news_destroy(&news);
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT, "no memory for a batch");
    }
    news->seq = attempt->batches++;
    news->records = records;
    news->more = more;
    attempt->records += records;
    call_progress(slot);
    news_put(slot->pool, news);
    return true;
}

// One record that is larger than a batch, in consecutive ones.
static bool
send_chunks(shoal_slot_t *slot, shoal_buffer_t *record, uint32_t records, shoal_status_t *status)
{
    const uint32_t chunk_bytes = slot->attempt->batch_bytes;
    shoal_buffer_t chunk = SHOAL_BUFFER_INIT;
    bool done = true;
    for (size_t at = 0; done && at < record->len; at += chunk_bytes) {
        size_t left = record->len - at;
        bool is_last = left <= chunk_bytes;
        shoal_buffer_append(&chunk, record->ptr + at, is_last ? left : chunk_bytes);
        done = send_one(slot, &chunk, is_last ? records : 0, !is_last, status);
    }
    shoal_buffer_fini(&chunk);
    return done;
}

static bool
call_send(void *ctx, shoal_buffer_t *batch, uint32_t records, shoal_status_t *status)
{
    shoal_slot_t *slot = ctx;
    const shoal_attempt_t *attempt = slot->attempt;
    bool done = true;
    if (batch->len == 0) {
        return true;
    }
    if (batch->len <= attempt->batch_bytes) {
        done = send_one(slot, batch, records, /*more=*/false, status);
    } else if (records > 1) {
        done = shoal_fail(status, SHOAL_LIMIT, "a batch of %zu bytes is above the limit of %u",
                          batch->len, attempt->batch_bytes);
    } else if (batch->len > attempt->record_bytes) {
        done = shoal_fail_as(status, SHOAL_DATA, SHOAL_LIMIT,
                             "a record of %zu bytes is above the limit of %u", batch->len,
                             attempt->record_bytes);
    } else {
        done = send_chunks(slot, batch, records, status);
    }
    shoal_buffer_clear(batch);
    return done;
}

// ---- a slot's thread

// Mutex held. Frees an actor that is dropped and not used any more.
static void
actor_release(shoal_actor_t *actor)
{
    assert(actor->users > 0);
    actor->users--;
    if (actor->is_dropped && actor->users == 0) {
        free(actor);
    }
}

static shoal_call_t
context_of(shoal_slot_t *slot)
{
    const shoal_attempt_t *attempt = slot->attempt;
    return (shoal_call_t){
        .ctx = slot,
        .send = call_send,
        .wait = call_wait,
        .is_cancelled = call_is_cancelled,
        .progress = call_progress,
        .log = call_log,
        .number = attempt->call,
        .attempt = attempt->number,
        .limit = attempt->limit,
        .credit = attempt->credit,
        .batch_bytes = attempt->batch_bytes,
        .record_bytes = attempt->record_bytes,
    };
}

// Runs the attempt on `instance`, which is made first if it has no self yet.
static bool
instance_run(shoal_slot_t *slot, instance_t *instance, shoal_buffer_t *detail,
             shoal_status_t *status)
{
    const shoal_class_t *class = instance->actor->class;
    const shoal_attempt_t *attempt = slot->attempt;
    const char *method = NULL;
    if (call_is_cancelled(slot)) {
        return fail_cancelled(status);
    }
    if (!shoal_class_method(class, attempt->method, &method, status)) {
        return false;
    }
    if (!instance->self &&
        !class->construct(class->ctx, instance->actor->args, &instance->self, status)) {
        instance->self = NULL;
        return false;
    }
    shoal_call_t context = context_of(slot);
    if (!class->call(instance->self, &context, method, attempt->args, detail, status)) {
        return false;
    }
    if (detail->len > SHOAL_RESULT_BYTES) {
        return shoal_fail(
            status, SHOAL_LIMIT,
            "method \"%s\" of class \"%s\" gave a result of %zu bytes, at most %d are "
            "carried",
            method, class->name, detail->len, SHOAL_RESULT_BYTES);
    }
    return true;
}

static shoal_news_t *
attempt_run(shoal_slot_t *slot, instance_t *instance)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_news_t *news = news_new(SHOAL_NEWS_END, slot->attempt);
    if (instance_run(slot, instance, &news->detail, &status)) {
        news->outcome = SHOAL_OUTCOME_DONE;
        return news;
    }
    shoal_buffer_fini(&news->detail);
    if (call_is_cancelled(slot)) {
        news->outcome = SHOAL_OUTCOME_CANCELLED;
        return news;
    }
    news->outcome = SHOAL_OUTCOME_FAILED;
    news->failure = shoal_alloc(sizeof(*news->failure));
    *news->failure = status;
    return news;
}

static void
instance_destroy(instance_t *instance)
{
    if (instance->self) {
        instance->actor->class->destroy(instance->self);
    }
    free(instance);
}

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
static instance_t *
attempt_start(shoal_slot_t *slot)
{
    shoal_slots_t *pool = slot->pool;
    shoal_attempt_t *attempt = pool->queue_first;
    (void)dequeue(pool, attempt);
    attempt->slot = slot;
    slot->attempt = attempt;
    if (attempt->home->is_dropped) {
        atomic_store(&attempt->is_cancelled, true);
    }
    if (slot->is_woken) { // a cancel that came when the last call was over
        uint64_t word = 0;
        ssize_t done = read(slot->wake_fd, &word, sizeof(word));
        (void)done;
        slot->is_woken = false;
    }
    instance_t *instance = attempt->home->idle;
    if (instance) {
        attempt->home->idle = instance->next;
        return instance;
    }
    instance = shoal_alloc(sizeof(*instance));
    instance->actor = attempt->home;
    attempt->home->users++;
    return instance;
}

// Mutex held. The instance waits for the next call, or its end if its actor was dropped or it
// could not be made.
static void
attempt_stop(shoal_slot_t *slot, instance_t *instance)
{
    shoal_slots_t *pool = slot->pool;
    shoal_actor_t *actor = instance->actor;
    instance_t **list = actor->is_dropped || !instance->self ? &pool->garbage : &actor->idle;
    instance->next = *list;
    *list = instance;
    slot->attempt->slot = NULL;
    slot->attempt->home = NULL;
    slot->attempt = NULL;
    pool->ended++;
    actor_release(actor); // the instance still holds it
}

// Mutex held when called and when it returns.
static void
garbage_clear(shoal_slots_t *pool)
{
    while (pool->garbage) {
        instance_t *instance = pool->garbage;
        pool->garbage = instance->next;
        shoal_actor_t *actor = instance->actor;
        (void)pthread_mutex_unlock(&pool->mutex);
        instance_destroy(instance);
        (void)pthread_mutex_lock(&pool->mutex);
        actor_release(actor);
    }
}

static void *
slot_main(void *arg)
{
    shoal_slot_t *slot = arg;
    shoal_slots_t *pool = slot->pool;
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
        instance_t *instance = attempt_start(slot);
        (void)pthread_mutex_unlock(&pool->mutex);
        shoal_news_t *news = attempt_run(slot, instance);
        (void)pthread_mutex_lock(&pool->mutex);
        attempt_stop(slot, instance);
        (void)pthread_mutex_unlock(&pool->mutex);
        news_put(pool, news); // from here on the attempt is the link's
        (void)pthread_mutex_lock(&pool->mutex);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

// ---- the pool

static bool
slot_start(shoal_slots_t *pool, shoal_slot_t *slot, shoal_status_t *status)
{
    slot->pool = pool;
    (void)pthread_cond_init(&slot->wake, NULL);
    slot->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (slot->wake_fd < 0) {
        return shoal_fail_errno(status, errno, "could not make an eventfd for a slot");
    }
    pthread_attr_t attr;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, SHOAL_SLOT_STACK_BYTES);
    int error = pthread_create(&slot->thread, &attr, slot_main, slot);
    (void)pthread_attr_destroy(&attr);
    if (error != 0) {
        return shoal_fail_errno(status, error, "could not start the thread of a slot");
    }
    slot->is_started = true;
    return true;
}

bool
shoal_slots_new(uint32_t count, size_t queue_max, shoal_log_t *log, shoal_slots_t **ret_slots,
                shoal_status_t *status)
{
    assert(count > 0 && count <= SHOAL_SLOTS_MAX && queue_max > 0);
    shoal_slots_t *pool = shoal_alloc(sizeof(*pool) + count * sizeof(pool->slots[0]));
    (void)pthread_mutex_init(&pool->mutex, NULL);
    (void)pthread_cond_init(&pool->work, NULL);
    pool->queue_last = &pool->queue_first;
    pool->queue_max = queue_max;
    pool->log = log;
    bool done = shoal_queue_new(NEWS_MAX, news_drop, &pool->news, status);
    for (uint32_t i = 0; done && i < count; i++) {
        pool->count = i + 1; // what destroy has to look at
        done = slot_start(pool, &pool->slots[i], status);
    }
    if (!done) {
        shoal_slots_destroy(&pool);
        return shoal_fail_while(status, "cannot start %u slots", count);
    }
    *ret_slots = pool;
    return true;
}

// Mutex held. Makes a slot look at its attempt again.
static void
slot_wake(shoal_slot_t *slot)
{
    if (!slot->is_woken) {
        uint64_t word = 1;
        ssize_t done = write(slot->wake_fd, &word, sizeof(word));
        (void)done; // an eventfd far below its limit takes every write
        slot->is_woken = true;
    }
    (void)pthread_cond_signal(&slot->wake);
}

static void
actor_destroy(shoal_actor_t *actor)
{
    while (actor->idle) {
        instance_t *instance = actor->idle;
        actor->idle = instance->next;
        instance_destroy(instance);
    }
    free(actor);
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
        if (pool->slots[i].attempt) {
            atomic_store(&pool->slots[i].attempt->is_cancelled, true);
            slot_wake(&pool->slots[i]);
        }
    }
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->count; i++) {
        if (pool->slots[i].is_started) {
            (void)pthread_join(pool->slots[i].thread, NULL);
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
        actor_release(attempt->home);
        attempt->home = NULL;
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < BUCKETS; i++) {
        while (pool->actors[i]) {
            shoal_actor_t *actor = pool->actors[i];
            pool->actors[i] = actor->next;
            actor_destroy(actor);
        }
    }
    for (uint32_t i = 0; i < pool->count; i++) {
        if (pool->slots[i].wake_fd >= 0) {
            (void)close(pool->slots[i].wake_fd);
        }
        (void)pthread_cond_destroy(&pool->slots[i].wake);
    }
    shoal_queue_destroy(&pool->news);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->mutex);
    free(pool);
    *slots = NULL;
}

// ---- actors

// Where the actor with that number stands in its bucket, or would.
static shoal_actor_t **
actor_find(shoal_slots_t *pool, uint64_t number)
{
    shoal_actor_t **at = &pool->actors[number % BUCKETS];
    while (*at && (*at)->number != number) {
        at = &(*at)->next;
    }
    return at;
}

// Mutex held.
static void
actor_drop(shoal_slots_t *pool, shoal_actor_t **at)
{
    shoal_actor_t *actor = *at;
    *at = actor->next;
    pool->actor_count--;
    pool->actor_bytes -= actor->args.len;
    actor->is_dropped = true;
    actor->users++; // ours, until the end of this function
    while (actor->idle) {
        instance_t *instance = actor->idle;
        actor->idle = instance->next;
        instance->next = pool->garbage;
        pool->garbage = instance;
    }
    actor_release(actor);
    (void)pthread_cond_signal(&pool->work);
}

static shoal_actor_t *
actor_new(uint64_t number, const shoal_class_t *class, shoal_slice_t args)
{
    shoal_actor_t *actor = shoal_alloc(sizeof(*actor) + args.len);
    actor->number = number;
    actor->class = class;
    actor->args = (shoal_slice_t){(char *)(actor + 1), args.len};
    if (args.len > 0) {
        memcpy(actor + 1, args.ptr, args.len);
    }
    return actor;
}

bool
shoal_slots_add_actor(shoal_slots_t *slots, uint64_t number, const shoal_class_t *class,
                      shoal_slice_t args, shoal_status_t *status)
{
    bool done = true;
    (void)pthread_mutex_lock(&slots->mutex);
    shoal_actor_t **at = actor_find(slots, number);
    bool is_same = *at && (*at)->class == class && shoal_slice_equal((*at)->args, args);
    if (*at && !is_same) {
        actor_drop(slots, at);
        at = actor_find(slots, number);
    }
    if (is_same) {
        // a head that registered us again tells its actors again
    } else if (slots->actor_count >= SHOAL_ACTORS_MAX) {
        done =
            shoal_fail(status, SHOAL_LIMIT, "actor %llu is one too many: a worker has at most %d",
                       (unsigned long long)number, SHOAL_ACTORS_MAX);
    } else if (slots->actor_bytes + args.len > SHOAL_ACTOR_BYTES_MAX) {
        done =
            shoal_fail(status, SHOAL_LIMIT,
                       "the arguments of actor %llu do not fit: a worker keeps at most %llu bytes",
                       (unsigned long long)number, (unsigned long long)SHOAL_ACTOR_BYTES_MAX);
    } else {
        shoal_actor_t *actor = actor_new(number, class, args);
        actor->next = *at;
        *at = actor;
        slots->actor_count++;
        slots->actor_bytes += args.len;
    }
    (void)pthread_mutex_unlock(&slots->mutex);
    return done;
}

void
shoal_slots_drop_actor(shoal_slots_t *slots, uint64_t number)
{
    (void)pthread_mutex_lock(&slots->mutex);
    shoal_actor_t **at = actor_find(slots, number);
    if (*at) {
        actor_drop(slots, at);
    }
    (void)pthread_mutex_unlock(&slots->mutex);
}

void
shoal_slots_drop_all_actors(shoal_slots_t *slots)
{
    (void)pthread_mutex_lock(&slots->mutex);
    for (size_t i = 0; i < BUCKETS; i++) {
        while (slots->actors[i]) {
            actor_drop(slots, &slots->actors[i]);
        }
    }
    (void)pthread_mutex_unlock(&slots->mutex);
}

// ---- attempts

// Mutex held.
static bool
enqueue(shoal_slots_t *slots, shoal_attempt_t *attempt, shoal_status_t *status)
{
    shoal_actor_t *actor = *actor_find(slots, attempt->actor);
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
    actor->users++;
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
    actor_release(attempt->home);
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
            slot_wake(attempt->slot);
        }
    }
    (void)pthread_mutex_unlock(&slots->mutex);
    return was_queued;
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
        shoal_attempt_t *attempt = slots->slots[i].attempt;
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
