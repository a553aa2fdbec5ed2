// SPDX-License-Identifier: Apache-2.0
//
// joining.c - see cluster.h: workers that join, crash, are lost, or make progress.

#include <signal.h>
#include <stdio.h>

#include "head/cluster/cluster_parts.h"
#include "head/cluster/mail.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"

void
shoal_cluster_note(shoal_cluster_t *cluster, shoal_worker_t *worker, shoal_worker_event_t event)
{
    if (event == SHOAL_WORKER_ON_HEARD && worker->window == 0) {
        event = SHOAL_WORKER_ON_DRAIN;
    }
    (void)shoal_worker_raise(cluster->registry, worker, event);
}

void
shoal_cluster_window(shoal_cluster_t *cluster, shoal_worker_t *worker, uint32_t calls)
{
    worker->window = calls;
    shoal_cluster_note(cluster, worker, SHOAL_WORKER_ON_HEARD);
    shoal_worker_refeed(cluster->registry, worker);
}

// Remembers what the worker may have crashed of: calls start in the order that they were sent in, so
// what was sent after the first ones, as many as there are slots, was still waiting.
static void
casualties_note(shoal_worker_t *worker)
{
    uint32_t waiting = worker->running > worker->slots ? worker->running - worker->slots : 0;
    worker->casualty_count = 0;
    for (const shoal_attempt_t *attempt = worker->attempts; attempt;
         attempt = attempt->worker_next) { // the last one first
        if (waiting > 0) {
            waiting--;
        } else if (worker->casualty_count < SHOAL_CASUALTIES_MAX) {
            if (!worker->casualties) {
                worker->casualties = shoal_alloc(SHOAL_CASUALTIES_MAX * sizeof(shoal_casualty_t));
            }
            worker->casualties[worker->casualty_count++] =
                (shoal_casualty_t){attempt->call, attempt->number, attempt->is_alone};
        }
    }
}

void
shoal_cluster_lose(shoal_cluster_t *cluster, shoal_worker_t *worker, shoal_worker_event_t event,
                   const char *why, uint64_t now_ms)
{
    if (worker->state == SHOAL_WORKER_LOST) {
        return;
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)shoal_fail(&status, SHOAL_UNAVAILABLE, "worker \"%s\" lost: %s", worker->label, why);
    (void)shoal_worker_raise(cluster->registry, worker, event); // first: it gets nothing new
    bool is_polite = event == SHOAL_WORKER_ON_LEAVE;
    shoal_cluster_leave_alone(cluster, worker);
    casualties_note(worker);
    if (is_polite) {
        worker->casualty_count = 0;
    }
    while (worker->attempts) {
        shoal_cluster_fail(cluster, worker->attempts,
                           is_polite ? SHOAL_END_RETURNED : SHOAL_END_LOST, &status, now_ms);
    }
    shoal_budgets_forget(cluster->budgets, worker, /*job=*/0);
    worker->actor_count = 0;
    worker->peer = NULL;
}

// How the previous process of a worker ended.
typedef struct obituary {
    uint64_t signal;
    uint64_t status;
    bool is_crash;
    char text[256];
    char words[SHOAL_WORKER_WORDS_MAX]; // "; its last words: ...", or ""
} obituary_t;

static bool
is_crash_signal(uint64_t number)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS, SIGTRAP};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (number == (uint64_t)signals[i]) {
            return true;
        }
    }
    return false;
}

// "its process ended by signal 9 (SIGKILL, out of memory)"
static void
obituary_tell(obituary_t *obituary, bool is_oom, shoal_slice_t reason, shoal_slice_t words)
{
    char how[64];
    const char *name =
        obituary->signal && obituary->signal < NSIG ? sigabbrev_np((int)obituary->signal) : NULL;
    if (obituary->signal) {
        (void)snprintf(how, sizeof(how), "by signal %llu (SIG%s%s)",
                       (unsigned long long)obituary->signal, name ? name : "?",
                       is_oom ? ", out of memory" : "");
    } else {
        (void)snprintf(how, sizeof(how), "with status %llu", (unsigned long long)obituary->status);
    }
    (void)snprintf(obituary->text, sizeof(obituary->text), "its process ended %s%s%.*s", how,
                   reason.len ? ": " : "", (int)(reason.len < 128 ? reason.len : 128),
                   reason.ptr ? reason.ptr : "");
    if (words.len > 0) {
        (void)snprintf(obituary->words, sizeof(obituary->words), "; its last words: %.*s",
                       SHOAL_SLICE_ARGS(words));
    }
}

// Reads last_exit. False: it says nothing.
static bool
obituary_read(shoal_slice_t value, obituary_t *ret_obituary)
{
    obituary_t obituary = {0};
    bool is_oom = false;
    shoal_slice_t reason = SHOAL_SLICE_NONE;
    shoal_slice_t words = SHOAL_SLICE_NONE;
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t pairs = value.len > 0 ? shoal_cursor_map(&cursor) : 0;
    for (uint32_t i = 0; i < pairs && !cursor.is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        if (shoal_slice_is(key, "signal")) {
            obituary.signal = shoal_cursor_uint(&cursor);
        } else if (shoal_slice_is(key, "status")) {
            obituary.status = shoal_cursor_uint(&cursor);
        } else if (shoal_slice_is(key, "oom")) {
            is_oom = shoal_cursor_bool(&cursor);
        } else if (shoal_slice_is(key, "reason")) {
            reason = shoal_cursor_str_or_nil(&cursor);
        } else if (shoal_slice_is(key, "words")) {
            words = shoal_cursor_str_or_nil(&cursor);
        } else {
            shoal_cursor_skip(&cursor);
        }
    }
    if (pairs == 0 || cursor.is_bad) {
        return false;
    }
    obituary.is_crash = is_oom || is_crash_signal(obituary.signal);
    obituary_tell(&obituary, is_oom, reason, words);
    *ret_obituary = obituary;
    return true;
}

// One call of a worker whose process crashed: the first times it is tried again, then alone.
static void
casualty_charge(shoal_cluster_t *cluster, const shoal_casualty_t *casualty,
                const shoal_worker_t *worker, const shoal_status_t *why, const obituary_t *obituary,
                uint64_t now_ms)
{
    shoal_job_t *job = shoal_cluster_job(cluster, shoal_call_job(casualty->call));
    uint32_t index = shoal_call_shard(casualty->call);
    if (!job || shoal_job_is_final(job)) {
        return;
    }
    shoal_entry_t entry = {.kind = SHOAL_ENTRY_CRASHED,
                           .shard = index,
                           .attempt = casualty->attempt,
                           .alone = casualty->was_alone,
                           .text = shoal_slice_of(why->text),
                           .key = shoal_slice_of(obituary->text),
                           .id = shoal_slice_of(worker->id),
                           .name = shoal_slice_of(worker->label),
                           .at_ms = now_ms};
    shoal_ledger_add(cluster->ledger, &job->page, &entry);
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    bool is_enough = casualty->was_alone || shard->crashes + 1 >= SHOAL_CRASHES_MAX;
    if (shard->live != SHOAL_SHARD_NONE && is_enough) { // it runs somewhere else by now
        uint64_t hold_ms = shoal_cluster_loss_delay(cluster, job, /*is_dead=*/false, now_ms);
        shoal_cluster_cancel(cluster, shoal_attempt_at(cluster->attempts, shard->live),
                             "it crashes its workers");
        shoal_backlog_set(job->backlog, index, SHOAL_SHARD_DELAYED);
        shoal_delay_add(cluster->delays, now_ms + hold_ms, casualty->call);
    }
    (void)shoal_job_shard_crashed(job, index, casualty->was_alone, why, worker->id);
    shoal_cluster_settle(cluster, job, now_ms);
}

// For the history of the call's shard.
static void
crash_note(shoal_cluster_t *cluster, const shoal_casualty_t *casualty, const char *worker,
           const obituary_t *obituary, uint64_t now_ms)
{
    shoal_job_t *job = shoal_cluster_job(cluster, shoal_call_job(casualty->call));
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (job && !shoal_job_is_final(job)) {
        (void)shoal_fail(&why, SHOAL_INTERNAL, "%s%s", obituary->text, obituary->words);
        shoal_mail_note(job, shoal_call_shard(casualty->call), casualty->attempt, "crashed", &why,
                        worker, shoal_cluster_wall(cluster, now_ms));
    }
}

// A worker has come back and says that its process crashed: the calls that it had pay for it.
static void
casualties_charge(shoal_cluster_t *cluster, shoal_worker_t *worker, const obituary_t *obituary,
                  uint64_t now_ms)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail_as(&why, SHOAL_FATAL, SHOAL_INTERNAL,
                        "it has crashed %d workers, the last time alone on \"%s\": %s%s",
                        SHOAL_CRASHES_MAX + 1, worker->label, obituary->text, obituary->words);
    for (uint32_t i = 0; i < worker->casualty_count; i++) {
        crash_note(cluster, &worker->casualties[i], worker->label, obituary, now_ms);
        casualty_charge(cluster, &worker->casualties[i], worker, &why, obituary, now_ms);
    }
    worker->casualty_count = 0;
}

// Marks the attempts that the worker still has; false if the list is malformed.
static bool
running_mark(shoal_cluster_t *cluster, shoal_worker_t *worker, shoal_slice_t running)
{
    if (running.len == 0) {
        return true;
    }
    shoal_cursor_t cursor = shoal_cursor_over(running);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        uint32_t parts = shoal_cursor_array(&cursor);
        uint64_t call = shoal_cursor_uint(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        if (parts != 2 || cursor.is_bad) {
            return false;
        }
        shoal_attempt_t *attempt =
            worker ? shoal_cluster_attempt(cluster, worker, call, number) : NULL;
        if (attempt) {
            attempt->is_kept = true;
        }
    }
    return shoal_cursor_is_done(&cursor);
}

// what the same process does not name any more is lost.
static void
running_settle(shoal_cluster_t *cluster, shoal_worker_t *worker, uint64_t now_ms)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_UNAVAILABLE, "worker \"%s\" came back without the call",
                     worker->label);
    for (shoal_attempt_t *attempt = worker->attempts; attempt;) {
        if (attempt->is_kept) {
            attempt = attempt->worker_next;
        } else {
            shoal_cluster_fail(cluster, attempt, SHOAL_END_LOST, &why, now_ms);
            attempt = worker->attempts; // a job that ended took others along, so start again
        }
    }
    for (shoal_attempt_t *attempt = worker->attempts; attempt; attempt = attempt->worker_next) {
        attempt->is_kept = false;
    }
}

bool
shoal_cluster_join(shoal_cluster_t *cluster, const shoal_offer_t *offer, shoal_slice_t running,
                   shoal_slice_t last_exit, uint64_t now_ms, shoal_worker_t **ret_worker,
                   shoal_status_t *status)
{
    if (!running_mark(cluster, NULL, running)) {
        return shoal_fail(status, SHOAL_PROTOCOL,
                          "\"running\" must be an array of [call, attempt]");
    }
    obituary_t obituary;
    bool has_obituary = obituary_read(last_exit, &obituary);
    shoal_worker_t *known = shoal_registry_find(cluster->registry, offer->id);
    bool is_same = known && known->incarnation == offer->incarnation;
    if (known && !is_same) {
        known->is_dead = true;
        shoal_cluster_lose(cluster, known, SHOAL_WORKER_ON_LOSE,
                           has_obituary ? obituary.text : "its process was started again", now_ms);
        if (has_obituary && obituary.is_crash) {
            casualties_charge(cluster, known, &obituary, now_ms);
        }
    }
    if (!shoal_registry_join(cluster->registry, offer, ret_worker, status)) {
        return false;
    }
    shoal_worker_t *worker = *ret_worker;
    worker->is_dead = false;
    if (has_obituary) {
        worker->last_end = shoal_realloc(worker->last_end, SHOAL_WORKER_END_MAX);
        (void)snprintf(worker->last_end, SHOAL_WORKER_END_MAX, "%s%s", obituary.text,
                       obituary.words);
    }
    if (!is_same) {
        worker->seq = 0;
        worker->ack = (shoal_tide_t){0};
        worker->actor_count = 0;
        worker->number = ++cluster->worker_numbers;
        return true;
    }
    (void)running_mark(cluster, worker, running);
    running_settle(cluster, worker, now_ms);
    return true;
}

bool
shoal_cluster_drop_strays(shoal_cluster_t *cluster, shoal_worker_t *worker, shoal_slice_t actors,
                          shoal_status_t *status)
{
    const shoal_port_t *port = &cluster->config.port;
    shoal_cursor_t cursor = shoal_cursor_over(actors);
    uint32_t count = actors.len > 0 ? shoal_cursor_array(&cursor) : 0;
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        uint64_t number = shoal_cursor_uint(&cursor);
        const shoal_job_t *job = shoal_cluster_job(cluster, number);
        if (!cursor.is_bad && (!job || shoal_job_is_final(job))) {
            port->drop_actor(port->ctx, worker, number);
        }
    }
    return (actors.len == 0 || shoal_cursor_is_done(&cursor)) ||
           shoal_fail(status, SHOAL_PROTOCOL, "\"actors\" must be an array of numbers");
}

void
shoal_cluster_cancel_strays(shoal_cluster_t *cluster, shoal_worker_t *worker, shoal_slice_t running)
{
    const shoal_port_t *port = &cluster->config.port;
    worker->actor_count = 0; // ACTOR comes before the first CALL on each connection
    shoal_cursor_t cursor = shoal_cursor_over(running);
    uint32_t count = running.len > 0 ? shoal_cursor_array(&cursor) : 0;
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        (void)shoal_cursor_array(&cursor);
        uint64_t call = shoal_cursor_uint(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        if (!cursor.is_bad && number <= UINT32_MAX &&
            !shoal_cluster_attempt(cluster, worker, call, number)) {
            port->cancel(port->ctx, worker, call, (uint32_t)number, "it was given out again");
        }
    }
}

bool
shoal_cluster_progress(shoal_cluster_t *cluster, shoal_worker_t *worker, shoal_slice_t progress,
                       uint64_t now_ms, shoal_status_t *status)
{
    if (progress.len == 0) {
        return true;
    }
    shoal_cursor_t cursor = shoal_cursor_over(progress);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        uint32_t parts = shoal_cursor_array(&cursor);
        uint64_t call = shoal_cursor_uint(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        uint64_t moved = shoal_cursor_uint(&cursor);
        if (parts != 3 || cursor.is_bad) {
            break;
        }
        shoal_attempt_t *attempt = shoal_cluster_attempt(cluster, worker, call, number);
        if (attempt && moved > attempt->progress) {
            attempt->progress = moved;
            shoal_attempt_renew(cluster->attempts, attempt, now_ms);
        }
    }
    if (!shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_PROTOCOL,
                          "\"progress\" must be an array of [call, attempt, number]");
    }
    return true;
}
