// SPDX-License-Identifier: Apache-2.0
//
// slot.c - see slot.h.

#include "worker/slot.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/record/cursor.h"

#define MOVE_BYTES_MIN 8192 // a smaller batch is copied, which is cheaper than its buffer
#define MOVE_WASTE_MAX 4    // and so is one that fills less than a quarter of its buffer
#define LOG_TEXT_MAX   1024
#define POLL_MS_MAX    3600000

bool
shoal_slot_init(shoal_slot_t *slot, pthread_mutex_t *mutex, shoal_queue_t *news,
                const atomic_ullong *write_until_ms, shoal_log_t *log, shoal_status_t *status)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "could not make an eventfd for a slot");
    }
    *slot = (shoal_slot_t){
        .mutex = mutex, .news = news, .write_until_ms = write_until_ms, .log = log, .wake_fd = fd};
    (void)pthread_cond_init(&slot->wake, NULL);
    return true;
}

void
shoal_slot_fini(shoal_slot_t *slot)
{
    (void)close(slot->wake_fd);
    (void)pthread_cond_destroy(&slot->wake);
}

void
shoal_slot_wake(shoal_slot_t *slot)
{
    if (!slot->is_woken) {
        uint64_t word = 1;
        ssize_t done = write(slot->wake_fd, &word, sizeof(word));
        (void)done; // an eventfd far below its limit takes every write
        slot->is_woken = true;
    }
    (void)pthread_cond_signal(&slot->wake);
}

void
shoal_slot_calm(shoal_slot_t *slot)
{
    if (slot->is_woken) {
        uint64_t word = 0;
        ssize_t done = read(slot->wake_fd, &word, sizeof(word));
        (void)done; // it is readable, as is_woken says
        slot->is_woken = false;
    }
}

void
shoal_slot_tell(shoal_slot_t *slot, shoal_news_t *news)
{
    if (!shoal_queue_put_wait(slot->news, news)) {
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

static bool
fail_cancelled(shoal_status_t *status)
{
    return shoal_fail(status, SHOAL_CANCELLED, "the call was cancelled");
}

static bool
call_may_write(void *ctx, uint64_t write_ms, shoal_status_t *status)
{
    shoal_slot_t *slot = ctx;
    shoal_attempt_t *attempt = slot->attempt;
    if (call_is_cancelled(slot)) {
        return fail_cancelled(status);
    }
    if (write_ms >= attempt->lease_ms) {
        return shoal_fail(
            status, SHOAL_INVALID,
            "one write may last %llu ms, which has to be less than the head's lease of "
            "%llu ms; shorten it, or start the head with a longer --lease-ms",
            (unsigned long long)write_ms, (unsigned long long)attempt->lease_ms);
    }
    uint64_t until_ms = atomic_load_explicit(slot->write_until_ms, memory_order_relaxed);
    if (shoal_clock_boot_ms() + write_ms < until_ms) {
        return true;
    }
    attempt->is_fenced = true;
    return shoal_fail(
        status, SHOAL_CANCELLED,
        "the head was not heard for so long that it may have given the call to another "
        "worker");
}

static void
call_progress(void *ctx)
{
    shoal_slot_t *slot = ctx;
    (void)atomic_fetch_add_explicit(&slot->attempt->progress, 1, memory_order_relaxed);
}

static SHOAL_PRINTF(3, 4) void call_log(void *ctx, shoal_log_level_t level, const char *format, ...)
{
    shoal_slot_t *slot = ctx;
    if (!shoal_log_is_on(slot->log, level)) {
        return;
    }
    char text[LOG_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    shoal_log(slot->log, level, "CALL-LOG", "call=%llu attempt=%u text=\"%s\"",
              (unsigned long long)slot->attempt->call, slot->attempt->number, text);
}

static void
set_waiting(shoal_slot_t *slot, bool is_waiting)
{
    (void)pthread_mutex_lock(slot->mutex);
    slot->attempt->is_waiting = is_waiting;
    (void)pthread_mutex_unlock(slot->mutex);
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
    // One without end is progress for a lease only: then the head may give the call to another.
    uint64_t earns_until_ms =
        deadline_ms == SHOAL_TIME_NEVER ? now_ms + slot->attempt->lease_ms : SHOAL_TIME_NEVER;
    struct pollfd items[2] = {{slot->wake_fd, POLLIN, 0}, {fd, events, 0}};
    for (;;) {
        int ready =
            poll(items, 2, until_ms(earns_until_ms < deadline_ms ? earns_until_ms : deadline_ms));
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
        if (earns_until_ms != SHOAL_TIME_NEVER && shoal_clock_ms() >= earns_until_ms) {
            set_waiting(slot, false);
            earns_until_ms = SHOAL_TIME_NEVER;
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
    (void)pthread_mutex_lock(slot->mutex);
    attempt->is_waiting = true;
    while (attempt->credit_left <= 0 && !call_is_cancelled(slot)) {
        (void)pthread_cond_wait(&slot->wake, slot->mutex);
    }
    attempt->is_waiting = false;
    bool may = !call_is_cancelled(slot);
    if (may) {
        attempt->credit_left -= (int64_t)bytes;
    }
    (void)pthread_mutex_unlock(slot->mutex);
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
    assert(batch->ptr && batch->len > 0);
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

// What a batch holds.
typedef struct content {
    uint32_t records; // that end in it
    uint32_t letters;
    bool more; // its record goes on in the next one
} content_t;

static bool
send_one(shoal_slot_t *slot, shoal_buffer_t *batch, content_t content, shoal_status_t *status)
{
    if (!credit_spend(slot, batch->len)) {
        return fail_cancelled(status);
    }
    shoal_attempt_t *attempt = slot->attempt;
    shoal_news_t *news = shoal_news_new(SHOAL_NEWS_BATCH, attempt);
    if (!payload_take(&news->payload, batch)) {
        shoal_news_destroy(&news);
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT, "no memory for a batch");
    }
    news->seq = attempt->batches++;
    news->records = content.records;
    news->letters = content.letters;
    news->more = content.more;
    attempt->records += content.records;
    call_progress(slot);
    shoal_slot_tell(slot, news);
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
        content_t content = {.records = is_last ? records : 0, .more = !is_last};
        done = send_one(slot, &chunk, content, status);
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
        done = send_one(slot, batch, (content_t){.records = records}, status);
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

static bool
call_send_letters(void *ctx, shoal_buffer_t *batch, uint32_t count, shoal_status_t *status)
{
    shoal_slot_t *slot = ctx;
    if (batch->len == 0) {
        return true;
    }
    bool done = batch->len <= slot->attempt->batch_bytes
                    ? send_one(slot, batch, (content_t){.letters = count}, status)
                    : shoal_fail(status, SHOAL_LIMIT,
                                 "a batch of letters of %zu bytes is above the limit of %u",
                                 batch->len, slot->attempt->batch_bytes);
    shoal_buffer_clear(batch);
    return done;
}

static shoal_call_t
context_of(shoal_slot_t *slot)
{
    const shoal_attempt_t *attempt = slot->attempt;
    return (shoal_call_t){
        .ctx = slot,
        .send = call_send,
        .send_letters = call_send_letters,
        .wait = call_wait,
        .may_write = call_may_write,
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
instance_run(shoal_slot_t *slot, shoal_instance_t *instance, shoal_buffer_t *detail,
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
    if (detail->len > 0 && !shoal_cursor_check(shoal_buffer_slice(detail), SHOAL_VALUE_DEPTH_MAX)) {
        return shoal_fail(
            status, SHOAL_INTERNAL,
            "method \"%s\" of class \"%s\" gave a result that is not one msgpack value", method,
            class->name);
    }
    return true;
}

shoal_news_t *
shoal_slot_run(shoal_slot_t *slot, shoal_instance_t *instance)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_news_t *news = shoal_news_new(SHOAL_NEWS_END, slot->attempt);
    if (instance_run(slot, instance, &news->detail, &status)) {
        news->outcome = SHOAL_OUTCOME_DONE;
        return news;
    }
    shoal_buffer_fini(&news->detail);
    if (call_is_cancelled(slot) || slot->attempt->is_fenced) {
        news->outcome = SHOAL_OUTCOME_CANCELLED;
        return news;
    }
    news->outcome = SHOAL_OUTCOME_FAILED;
    news->failure = shoal_alloc(sizeof(*news->failure));
    *news->failure = status;
    return news;
}
