// SPDX-License-Identifier: Apache-2.0
//
// cluster.c - see cluster.h.

#include "head/cluster.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "head/delay.h"
#include "head/names.h"
#include "head/summary.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

struct shoal_cluster {
    shoal_cluster_config_t config;
    shoal_cluster_counts_t counts;
    shoal_registry_t *registry;
    shoal_scheduler_t *scheduler;
    shoal_attempts_t *attempts;
    shoal_delays_t *delays;
    shoal_names_t *job_ids;     // by the client's id
    shoal_names_t *job_numbers; // by the bytes of the number
    shoal_job_t *first;
    shoal_job_t *last;
    size_t job_count;
    size_t spec_bytes;
    size_t disk_waiters; // jobs with needs_disk
    uint64_t chance;     // state of the generator
    shoal_buffer_t args; // scratch
};

shoal_cluster_t *
shoal_cluster_new(const shoal_cluster_config_t *config)
{
    shoal_cluster_t *cluster = shoal_alloc(sizeof(*cluster));
    cluster->config = *config;
    cluster->registry = shoal_registry_new();
    cluster->scheduler = shoal_scheduler_new(cluster->registry);
    cluster->attempts = shoal_attempts_new(config->lease_ms);
    cluster->delays = shoal_delays_new();
    cluster->job_ids = shoal_names_new();
    cluster->job_numbers = shoal_names_new();
    cluster->chance = config->seed | 1;
    return cluster;
}

static void
attempt_unlink(shoal_cluster_t *cluster, shoal_attempt_t *attempt)
{
    shoal_job_t *job = attempt->job;
    *(attempt->job_prev ? &attempt->job_prev->job_next : &job->attempts) = attempt->job_next;
    if (attempt->job_next) {
        attempt->job_next->job_prev = attempt->job_prev;
    }
    job->running--;
    job->running_charge -= attempt->charge;
    shoal_worker_remove_attempt(cluster->registry, attempt);
    shoal_shard_t *shard = shoal_backlog_at(job->backlog, attempt->shard);
    shard->live = SHOAL_SHARD_NONE;
    shoal_attempt_end(cluster->attempts, attempt);
}

void
shoal_cluster_destroy(shoal_cluster_t **cluster)
{
    if (!cluster || !*cluster) {
        return;
    }
    for (shoal_job_t *job = (*cluster)->first; job;) {
        shoal_job_t *next = job->next;
        while (job->attempts) {
            shoal_draft_destroy(&job->attempts->draft);
            attempt_unlink(*cluster, job->attempts);
        }
        shoal_job_destroy(&job);
        job = next;
    }
    shoal_names_destroy(&(*cluster)->job_ids);
    shoal_names_destroy(&(*cluster)->job_numbers);
    shoal_delays_destroy(&(*cluster)->delays);
    shoal_attempts_destroy(&(*cluster)->attempts);
    shoal_scheduler_destroy(&(*cluster)->scheduler);
    shoal_registry_destroy(&(*cluster)->registry);
    shoal_buffer_fini(&(*cluster)->args);
    free(*cluster);
    *cluster = NULL;
}

shoal_registry_t *
shoal_cluster_registry(shoal_cluster_t *cluster)
{
    return cluster->registry;
}

const shoal_cluster_counts_t *
shoal_cluster_counts(const shoal_cluster_t *cluster)
{
    return &cluster->counts;
}

// xorshift64: enough for jitter, and the same for the same seed.
static uint64_t
chance_next(shoal_cluster_t *cluster)
{
    uint64_t x = cluster->chance;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    cluster->chance = x;
    return x >> 3;
}

// ---- attempts

// The live attempt that a worker's message names, or NULL (fenced).
static shoal_attempt_t *
attempt_find(shoal_cluster_t *cluster, const shoal_worker_t *worker, uint64_t call, uint64_t number)
{
    shoal_job_t *job = shoal_cluster_job(cluster, shoal_call_job(call));
    if (!job || !job->backlog) {
        return NULL;
    }
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, shoal_call_shard(call));
    if (!shard || shard->live == SHOAL_SHARD_NONE) {
        return NULL;
    }
    shoal_attempt_t *attempt = shoal_attempt_at(cluster->attempts, shard->live);
    return attempt->number == number && attempt->worker == worker ? attempt : NULL;
}

static void
job_changed(shoal_cluster_t *cluster, shoal_job_t *job, bool is_urgent)
{
    cluster->config.port.changed(cluster->config.port.ctx, job, is_urgent);
}

// Fences the attempt and asks its worker to stop; its shard stays RUNNING for the caller.
static void
attempt_cancel(shoal_cluster_t *cluster, shoal_attempt_t *attempt, const char *reason)
{
    shoal_worker_t *worker = attempt->worker;
    uint64_t call = attempt->call;
    uint32_t number = attempt->number;
    shoal_draft_destroy(&attempt->draft);
    attempt_unlink(cluster, attempt);
    cluster->config.port.cancel(cluster->config.port.ctx, worker, call, number, reason);
}

// Ends a job that is over: cancels what runs, writes the summary, tells the workers.
static void
job_end(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms)
{
    const shoal_port_t *port = &cluster->config.port;
    while (job->attempts) {
        uint32_t shard = job->attempts->shard;
        attempt_cancel(cluster, job->attempts,
                       job->end_state == SHOAL_JOB_STOPPED ? "the job was stopped"
                                                           : "the job has ended");
        shoal_backlog_set(job->backlog, shard, SHOAL_SHARD_WAITING);
    }
    if (job->needs_disk) {
        job->needs_disk = false;
        cluster->disk_waiters--;
    }
    shoal_buffer_clear(&job->final_detail);
    shoal_summary_write(job, job->end_state, cluster->registry, now_ms, &job->final_detail);
    cluster->spec_bytes -= job->args_len;
    shoal_job_finish(job, now_ms);
    shoal_scheduler_update(cluster->scheduler, job);
    for (int state = 0; state < SHOAL_WORKER_LOST; state++) {
        shoal_worker_t *worker =
            shoal_registry_first(cluster->registry, (shoal_worker_state_t)state);
        for (; worker; worker = worker->list_next) {
            if (shoal_worker_drop_actor(worker, job->number)) {
                port->drop_actor(port->ctx, worker, job->number);
            }
        }
    }
    job_changed(cluster, job, true);
}

// After anything happened to a job's shards.
static void
job_settle(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms)
{
    if (shoal_job_is_final(job)) {
        return;
    }
    shoal_stage_t stage = job->stage;
    if (shoal_job_advance(job)) {
        job_end(cluster, job, now_ms);
        return;
    }
    shoal_scheduler_update(cluster->scheduler, job);
    job_changed(cluster, job, stage != job->stage);
}

// Ends an attempt that did not succeed and decides about its shard.
static void
attempt_fail(shoal_cluster_t *cluster, shoal_attempt_t *attempt, shoal_end_t end,
             const shoal_status_t *why, uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    uint32_t shard = attempt->shard;
    shoal_worker_t *worker = attempt->worker;
    const shoal_port_t *port = &cluster->config.port;
    if (end == SHOAL_END_FAILED || end == SHOAL_END_LOST) {
        port->ended(port->ctx, job, attempt, why);
    }
    shoal_draft_destroy(&attempt->draft);
    attempt_unlink(cluster, attempt);
    if (end == SHOAL_END_LOST) {
        cluster->counts.lost++;
    }
    uint64_t delay = shoal_job_shard_failed(job, shard, end, why, worker->id, chance_next(cluster));
    if (delay != SHOAL_JOB_NO_RETRY && delay > 0) {
        shoal_delay_add(cluster->delays, now_ms + delay, shoal_call_number(job->number, shard));
    }
    job_settle(cluster, job, now_ms);
}

// ---- workers

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
                (shoal_casualty_t){attempt->call, attempt->number};
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
    casualties_note(worker);
    if (is_polite) {
        worker->casualty_count = 0;
    }
    while (worker->attempts) {
        attempt_fail(cluster, worker->attempts, is_polite ? SHOAL_END_RETURNED : SHOAL_END_LOST,
                     &status, now_ms);
    }
    worker->actor_count = 0;
    worker->peer = NULL;
}

// How the previous process of a worker ended.
typedef struct obituary {
    uint64_t signal;
    uint64_t status;
    bool is_crash;
    char text[256];
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

// Reads last_exit: a map with "signal" or "status", and "reason" and "oom". False: it says nothing.
static bool
obituary_read(shoal_slice_t value, obituary_t *ret_obituary)
{
    obituary_t obituary = {0};
    shoal_slice_t reason = SHOAL_SLICE_NONE;
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t pairs = value.len > 0 ? shoal_cursor_map(&cursor) : 0;
    for (uint32_t i = 0; i < pairs && !cursor.is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        if (shoal_slice_is(key, "signal")) {
            obituary.signal = shoal_cursor_uint(&cursor);
        } else if (shoal_slice_is(key, "status")) {
            obituary.status = shoal_cursor_uint(&cursor);
        } else if (shoal_slice_is(key, "oom")) {
            obituary.is_crash = shoal_cursor_bool(&cursor);
        } else if (shoal_slice_is(key, "reason")) {
            reason = shoal_cursor_str_or_nil(&cursor);
        } else {
            shoal_cursor_skip(&cursor);
        }
    }
    if (pairs == 0 || cursor.is_bad) {
        return false;
    }
    const char *name =
        obituary.signal && obituary.signal < NSIG ? sigabbrev_np((int)obituary.signal) : NULL;
    if (obituary.signal) {
        (void)snprintf(
            obituary.text, sizeof(obituary.text), "its process ended by signal %llu (SIG%s)%s%.*s",
            (unsigned long long)obituary.signal, name ? name : "?", reason.len ? ": " : "",
            (int)(reason.len < 128 ? reason.len : 128), reason.ptr ? reason.ptr : "");
    } else {
        (void)snprintf(obituary.text, sizeof(obituary.text),
                       "its process ended with status %llu%s%.*s",
                       (unsigned long long)obituary.status, reason.len ? ": " : "",
                       (int)(reason.len < 128 ? reason.len : 128), reason.ptr ? reason.ptr : "");
    }
    obituary.is_crash = obituary.is_crash || is_crash_signal(obituary.signal);
    *ret_obituary = obituary;
    return true;
}

// A worker has come back and says that its process crashed: the calls that it had pay for it.
static void
casualties_charge(shoal_cluster_t *cluster, shoal_worker_t *worker, const obituary_t *obituary,
                  uint64_t now_ms)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail_as(&why, SHOAL_FATAL, SHOAL_INTERNAL,
                        "it ended its worker twice, the last time \"%s\": %s", worker->label,
                        obituary->text);
    for (uint32_t i = 0; i < worker->casualty_count; i++) {
        const shoal_casualty_t *casualty = &worker->casualties[i];
        shoal_job_t *job = shoal_cluster_job(cluster, shoal_call_job(casualty->call));
        uint32_t index = shoal_call_shard(casualty->call);
        if (!job || shoal_job_is_final(job)) {
            continue;
        }
        shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
        if (shard->live != SHOAL_SHARD_NONE) { // it runs somewhere else by now
            if (shard->crashes + 1 < SHOAL_CRASHES_MAX) {
                shard->crashes++;
                continue;
            }
            attempt_cancel(cluster, shoal_attempt_at(cluster->attempts, shard->live),
                           "it crashes its workers");
            shoal_backlog_set(job->backlog, index, SHOAL_SHARD_READY);
        }
        (void)shoal_job_shard_crashed(job, index, &why, worker->id);
        job_settle(cluster, job, now_ms);
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
        shoal_attempt_t *attempt = worker ? attempt_find(cluster, worker, call, number) : NULL;
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
            attempt_fail(cluster, attempt, SHOAL_END_LOST, &why, now_ms);
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
    if (!is_same) {
        worker->seq = 0;
        worker->actor_count = 0;
        return true;
    }
    worker->actor_count = 0; // ACTOR comes before the first CALL on each connection
    (void)running_mark(cluster, worker, running);
    running_settle(cluster, worker, now_ms);
    return true;
}

void
shoal_cluster_cancel_strays(shoal_cluster_t *cluster, shoal_worker_t *worker, shoal_slice_t running)
{
    const shoal_port_t *port = &cluster->config.port;
    shoal_cursor_t cursor = shoal_cursor_over(running);
    uint32_t count = running.len > 0 ? shoal_cursor_array(&cursor) : 0;
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        (void)shoal_cursor_array(&cursor);
        uint64_t call = shoal_cursor_uint(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        if (!cursor.is_bad && number <= UINT32_MAX &&
            !attempt_find(cluster, worker, call, number)) {
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
        shoal_attempt_t *attempt = attempt_find(cluster, worker, call, number);
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

// ---- streams

// Grants what is not collected again, a part of the credit at a time.
static void
stream_grant(shoal_cluster_t *cluster, shoal_attempt_t *attempt, size_t bytes)
{
    attempt->ungranted += (uint32_t)bytes;
    if (attempt->ungranted >= SHOAL_STREAM_CREDIT / 4) {
        const shoal_port_t *port = &cluster->config.port;
        port->grant(port->ctx, attempt->worker, attempt->call, attempt->number, attempt->ungranted);
        attempt->credit += attempt->ungranted;
        attempt->ungranted = 0;
    }
}

// Follows a record that comes in chunks.
static bool
chunk_check(shoal_attempt_t *attempt, const shoal_msg_batch_t *batch, size_t size,
            shoal_status_t *status)
{
    attempt->chunk_bytes =
        batch->more || attempt->has_more ? attempt->chunk_bytes + (uint32_t)size : 0;
    attempt->has_more = batch->more;
    if (attempt->chunk_bytes > SHOAL_RECORD_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a record has at most %d bytes",
                          SHOAL_RECORD_BYTES_MAX);
    }
    if (!batch->more) {
        attempt->chunk_bytes = 0;
    }
    return true;
}

static void
items_take(shoal_cluster_t *cluster, shoal_attempt_t *attempt, zmq_msg_t *payload, uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    shoal_status_t why = SHOAL_STATUS_INIT;
    shoal_slice_t items = {zmq_msg_data(payload), zmq_msg_size(payload)};
    if (job->spec.plan_only || !job->is_limited) {
        if (!shoal_job_take_items(job, items, &why)) {
            why.error_class = SHOAL_FATAL;
            shoal_worker_t *worker = attempt->worker;
            uint64_t call = attempt->call;
            uint32_t number = attempt->number;
            const shoal_port_t *port = &cluster->config.port;
            attempt_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
            port->cancel(port->ctx, worker, call, number, why.text);
            return;
        }
    }
    stream_grant(cluster, attempt, items.len);
    job_settle(cluster, job, now_ms);
}

bool
shoal_cluster_batch(shoal_cluster_t *cluster, shoal_worker_t *worker,
                    const shoal_msg_batch_t *batch, zmq_msg_t *payload, uint64_t now_ms,
                    shoal_status_t *status)
{
    size_t size = zmq_msg_size(payload);
    const shoal_port_t *port = &cluster->config.port;
    if (size > SHOAL_BATCH_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a BATCH has at most %d bytes of payload, got %zu",
                          SHOAL_BATCH_BYTES_MAX, size);
    }
    shoal_attempt_t *attempt = attempt_find(cluster, worker, batch->call, batch->attempt);
    if (!attempt) {
        cluster->counts.fenced++;
        if (size > 0) { // so that the sender is not held up before it sees the CANCEL
            port->grant(port->ctx, worker, batch->call, (uint32_t)batch->attempt, (uint32_t)size);
        }
        return true;
    }
    cluster->counts.batches++;
    int64_t credit = attempt->draft ? shoal_draft_credit(attempt->draft) : attempt->credit;
    if (credit <= 0 && size > 0) {
        return shoal_fail(status, SHOAL_LIMIT, "call %llu has sent more than its credit",
                          (unsigned long long)batch->call);
    }
    if (!chunk_check(attempt, batch, size, status)) {
        return false;
    }
    shoal_attempt_renew(cluster->attempts, attempt, now_ms);
    if (batch->seq != attempt->batches && !attempt->is_torn) {
        attempt->is_torn = true; // the connection was cut: what it has cannot become a commit
    }
    attempt->batches++;
    attempt->records += batch->records;
    job_changed(cluster, attempt->job, false); // progress counts what has arrived
    if (!attempt->draft) {
        attempt->credit -= (int64_t)size;
    }
    bool has_items = attempt->shard == SHOAL_SHARD_DISCOVER;
    if (has_items && !attempt->is_torn) {
        items_take(cluster, attempt, payload, now_ms);
    } else if (attempt->draft) {
        shoal_draft_append(attempt->draft, (uint32_t)batch->records, payload);
    } else {
        stream_grant(cluster, attempt, size);
    }
    return true;
}

// ---- results

static void
attempt_done(shoal_cluster_t *cluster, shoal_attempt_t *attempt, const shoal_msg_result_t *result,
             uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    uint32_t index = attempt->shard;
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (attempt->is_torn || result->batches != attempt->batches ||
        result->records != attempt->records) {
        (void)shoal_fail(&why, SHOAL_UNAVAILABLE,
                         "%llu batches with %llu records were sent and %llu with %llu arrived",
                         (unsigned long long)result->batches, (unsigned long long)result->records,
                         (unsigned long long)attempt->batches,
                         (unsigned long long)attempt->records);
        attempt_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
        return;
    }
    bool delivers = shard->stage == SHOAL_STAGE_PREPARE || shard->stage == SHOAL_STAGE_MAP ||
                    shard->stage == SHOAL_STAGE_LINK;
    uint64_t before = job->books.successful;
    if (!shoal_books_take(&job->books, result->detail, delivers ? result->records : 0,
                          attempt->worker->id, &why)) {
        attempt_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
        return;
    }
    if (shard->stage == SHOAL_STAGE_MAP) {
        job->map_records += job->books.successful - before;
    }
    job->records = job->books.successful;
    if (attempt->draft) {
        (void)shoal_draft_commit(&attempt->draft);
    }
    attempt_unlink(cluster, attempt);
    shoal_job_shard_done(job, index);
    if (job->is_limited && shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER)->live !=
                               SHOAL_SHARD_NONE) { // nothing more is needed of it
        attempt_cancel(cluster,
                       shoal_attempt_at(cluster->attempts,
                                        shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER)->live),
                       "the limit of records is reached");
        shoal_job_shard_done(job, SHOAL_SHARD_DISCOVER);
    }
    job_settle(cluster, job, now_ms);
}

static void
attempt_failed(shoal_cluster_t *cluster, shoal_attempt_t *attempt, const shoal_msg_result_t *result,
               uint64_t now_ms)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail_as(&why, shoal_error_class_from(result->error_class),
                        shoal_code_from(result->code), "%.*s", SHOAL_SLICE_ARGS(result->reason));
    if (result->key.len > 0) {
        (void)snprintf(why.key, sizeof(why.key), "%.*s", SHOAL_SLICE_ARGS(result->key));
    }
    attempt_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
}

void
shoal_cluster_result(shoal_cluster_t *cluster, shoal_worker_t *worker,
                     const shoal_msg_result_t *result, uint64_t now_ms)
{
    if (result->seq <= worker->seq) {
        cluster->counts.repeated++;
        return;
    }
    worker->seq = result->seq;
    shoal_attempt_t *attempt = attempt_find(cluster, worker, result->call, result->attempt);
    if (!attempt) {
        cluster->counts.fenced++;
        return;
    }
    cluster->counts.results++;
    shoal_status_t why = SHOAL_STATUS_INIT;
    switch (result->outcome) {
    case SHOAL_OUTCOME_DONE: attempt_done(cluster, attempt, result, now_ms); break;
    case SHOAL_OUTCOME_FAILED: attempt_failed(cluster, attempt, result, now_ms); break;
    case SHOAL_OUTCOME_RETURNED:
    case SHOAL_OUTCOME_CANCELLED:
        (void)shoal_fail(&why, SHOAL_CANCELLED, "worker \"%s\" gave the call back", worker->label);
        // One that keeps its window open and gives calls back shall not get them at full speed.
        attempt_fail(cluster, attempt, worker->window > 0 ? SHOAL_END_DECLINED : SHOAL_END_RETURNED,
                     &why, now_ms);
        break;
    default:
        (void)shoal_fail(&why, SHOAL_PROTOCOL, "worker \"%s\" ended the call with outcome %llu",
                         worker->label, (unsigned long long)result->outcome);
        attempt_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
        break;
    }
}

// ---- jobs

static shoal_slice_t
number_key(const uint64_t *number)
{
    return (shoal_slice_t){(const char *)number, sizeof(*number)};
}

shoal_job_t *
shoal_cluster_job(const shoal_cluster_t *cluster, uint64_t number)
{
    return shoal_names_find(cluster->job_numbers, number_key(&number));
}

shoal_job_t *
shoal_cluster_job_by_id(const shoal_cluster_t *cluster, shoal_slice_t id)
{
    return shoal_names_find(cluster->job_ids, id);
}

shoal_job_t *
shoal_cluster_first_job(const shoal_cluster_t *cluster)
{
    return cluster->first;
}

size_t
shoal_cluster_job_count(const shoal_cluster_t *cluster)
{
    return cluster->job_count;
}

static void
job_forget(shoal_cluster_t *cluster, shoal_job_t *job)
{
    cluster->config.port.forgotten(cluster->config.port.ctx, job);
    shoal_names_remove(cluster->job_ids, shoal_slice_of(job->id));
    shoal_names_remove(cluster->job_numbers, number_key(&job->number));
    *(job->prev ? &job->prev->next : &cluster->first) = job->next;
    *(job->next ? &job->next->prev : &cluster->last) = job->prev;
    cluster->job_count--;
    shoal_job_destroy(&job);
}

// Makes room for one more job; false if all of them still run.
static bool
room_make(shoal_cluster_t *cluster)
{
    if (cluster->job_count < SHOAL_JOBS_MAX) {
        return true;
    }
    for (shoal_job_t *job = cluster->first; job; job = job->next) {
        if (shoal_job_is_final(job)) {
            job_forget(cluster, job);
            return true;
        }
    }
    return false;
}

bool
shoal_cluster_submit(shoal_cluster_t *cluster, shoal_slice_t id, shoal_slice_t payload,
                     uint64_t now_ms, shoal_job_t **ret_job, shoal_status_t *status)
{
    shoal_job_t *known = shoal_cluster_job_by_id(cluster, id);
    if (known) {
        *ret_job = known;
        return true;
    }
    shoal_spec_t spec;
    if (id.len == 0 || memchr(id.ptr, '\0', id.len)) {
        return shoal_fail(status, SHOAL_INVALID, "a job needs an id without NUL");
    }
    if (!shoal_spec_read(payload, &spec, status)) {
        return false;
    }
    if (payload.len > SHOAL_SPEC_BYTES_MAX ||
        cluster->spec_bytes + spec.args.len > SHOAL_JOBS_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT,
                          "the specifications of jobs are too large (%d bytes each, %d together)",
                          SHOAL_SPEC_BYTES_MAX, SHOAL_JOBS_BYTES_MAX);
    }
    int class_number = shoal_registry_class(cluster->registry, spec.class_name);
    if (class_number < 0) {
        return shoal_fail(status, SHOAL_LIMIT, "there are over %d names of classes",
                          SHOAL_CLASSES_MAX);
    }
    if (!room_make(cluster)) {
        return shoal_fail(status, SHOAL_LIMIT, "%d jobs are not finished yet", SHOAL_JOBS_MAX);
    }
    shoal_job_t *job =
        shoal_job_new(++cluster->counts.jobs, id, &spec, (unsigned)class_number, now_ms);
    if (spec.collect && cluster->config.outputs) {
        job->output = shoal_output_new(cluster->config.outputs, job->number, true);
    }
    job->prev = cluster->last;
    *(cluster->last ? &cluster->last->next : &cluster->first) = job;
    cluster->last = job;
    cluster->job_count++;
    cluster->spec_bytes += job->args_len;
    shoal_names_add(cluster->job_ids, shoal_slice_of(job->id), job);
    shoal_names_add(cluster->job_numbers, number_key(&job->number), job);
    shoal_scheduler_update(cluster->scheduler, job);
    *ret_job = job;
    return true;
}

void
shoal_cluster_stop_job(shoal_cluster_t *cluster, shoal_job_t *job, const char *reason,
                       uint64_t now_ms)
{
    if (shoal_job_is_final(job)) {
        return;
    }
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_CANCELLED, "stopped: %s", reason[0] ? reason : "by a client");
    shoal_books_warn(&job->books, shoal_slice_of(why.text), 1);
    shoal_job_stop(job, SHOAL_JOB_STOPPED);
    job_end(cluster, job, now_ms);
}

// ---- the turn

// The arguments of a call: those of its shard, or what its stage says.
static shoal_slice_t
call_args(shoal_cluster_t *cluster, const shoal_job_t *job, const shoal_shard_t *shard)
{
    shoal_buffer_t *args = &cluster->args;
    shoal_buffer_clear(args);
    switch ((shoal_stage_t)shard->stage) {
    case SHOAL_STAGE_DISCOVER:
        shoal_write_map(args, 1);
        shoal_write_key(args, "resume");
        if (job->cursor) {
            shoal_write_raw(args, (shoal_slice_t){job->cursor, job->cursor_len});
        } else {
            shoal_write_nil(args);
        }
        return shoal_buffer_slice(args);
    case SHOAL_STAGE_FINISH:
        shoal_write_map(args, 1);
        shoal_write_key(args, "state");
        shoal_write_text(args, shoal_job_state_name((int)shoal_job_verdict(job)));
        return shoal_buffer_slice(args);
    case SHOAL_STAGE_CHECK:
    case SHOAL_STAGE_PREPARE:
    case SHOAL_STAGE_MAP:
    case SHOAL_STAGE_LINK:
    case SHOAL_STAGE_COUNT:
    default: return shoal_backlog_args(job->backlog, shard);
    }
}

static bool
is_collected(const shoal_job_t *job, const shoal_shard_t *shard)
{
    return job->output && shard->stage >= SHOAL_STAGE_PREPARE && shard->stage <= SHOAL_STAGE_LINK;
}

// The attempt could not be sent: its worker is cut off, or reads nothing.
static void
attempt_take_back(shoal_cluster_t *cluster, shoal_attempt_t *attempt, shoal_port_sent_t sent,
                  uint64_t now_ms)
{
    shoal_worker_t *worker = attempt->worker;
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_UNAVAILABLE, "worker \"%s\" cannot be reached", worker->label);
    attempt_fail(cluster, attempt, SHOAL_END_RETURNED, &why, now_ms);
    if (sent == SHOAL_PORT_CUT) {
        shoal_cluster_note(cluster, worker, SHOAL_WORKER_ON_CUT);
    } else {
        shoal_cluster_lose(cluster, worker, SHOAL_WORKER_ON_LOSE,
                           "it does not read what it is sent", now_ms);
    }
}

static void
attempt_start(shoal_cluster_t *cluster, const shoal_choice_t *choice, uint64_t now_ms)
{
    shoal_job_t *job = choice->job;
    shoal_shard_t *shard = shoal_backlog_at(job->backlog, choice->shard);
    uint32_t credit =
        shard->stage == SHOAL_STAGE_DISCOVER ? SHOAL_DISCOVER_CREDIT : SHOAL_STREAM_CREDIT;
    uint64_t call = shoal_call_number(job->number, choice->shard);
    shoal_draft_t *draft = NULL;
    shoal_attempt_t *attempt = shoal_attempt_begin(cluster->attempts, now_ms);
    if (attempt && is_collected(job, shard)) {
        draft = shoal_draft_new(job->output, call, shard->attempt + 1, attempt, &credit);
        if (!draft) {
            shoal_attempt_end(cluster->attempts, attempt);
            attempt = NULL;
        }
    }
    shoal_backlog_set(job->backlog, choice->shard, SHOAL_SHARD_RUNNING);
    if (!attempt) { // no room: it waits until there may be some
        shoal_backlog_set(job->backlog, choice->shard, SHOAL_SHARD_READY);
        job->needs_disk = true;
        cluster->disk_waiters++;
        shoal_scheduler_update(cluster->scheduler, job);
        job_changed(cluster, job, false);
        return;
    }
    shard->attempt++;
    shard->live = attempt->index;
    attempt->job = job;
    attempt->call = call;
    attempt->number = shard->attempt;
    attempt->shard = choice->shard;
    attempt->charge = choice->charge;
    attempt->is_alone = shard->crashes > 0; // so that nobody else pays if it crashes again
    attempt->draft = draft;
    attempt->credit = credit;
    attempt->job_next = job->attempts;
    if (job->attempts) {
        job->attempts->job_prev = attempt;
    }
    job->attempts = attempt;
    job->running++;
    job->running_charge += attempt->charge;
    if (job->running == 1) { // it waits for nothing any more
        job_changed(cluster, job, false);
    }
    shoal_worker_add_attempt(cluster->registry, choice->worker, attempt);
    shoal_scheduler_update(cluster->scheduler, job);
    if (job->state == SHOAL_JOB_PENDING) {
        job->state = SHOAL_JOB_RUNNING;
        job->started_ms = now_ms;
        job_changed(cluster, job, true);
    }
    cluster->counts.calls++;
    const shoal_port_t *port = &cluster->config.port;
    uint64_t limit = shard->stage == SHOAL_STAGE_MAP ? shoal_job_records_left(job) : 0;
    shoal_port_sent_t sent =
        port->call(port->ctx, choice->worker, attempt, shoal_stage_name(shard->stage),
                   call_args(cluster, job, shard), limit, credit);
    if (sent != SHOAL_PORT_SENT) {
        attempt_take_back(cluster, attempt, sent, now_ms);
    }
}

void
shoal_cluster_dispatch(shoal_cluster_t *cluster, uint64_t now_ms)
{
    shoal_choice_t choice;
    while (shoal_scheduler_choose(cluster->scheduler, &choice)) {
        attempt_start(cluster, &choice, now_ms);
    }
}

static void
leases_end(shoal_cluster_t *cluster, uint64_t now_ms)
{
    shoal_attempt_t *attempt;
    while ((attempt = shoal_attempt_overdue(cluster->attempts, now_ms)) != NULL) {
        shoal_status_t why = SHOAL_STATUS_INIT;
        (void)shoal_fail(&why, SHOAL_TIMEOUT, "worker \"%s\" made no progress with it for %llu ms",
                         attempt->worker->label, (unsigned long long)cluster->config.lease_ms);
        shoal_worker_t *worker = attempt->worker;
        uint64_t call = attempt->call;
        uint32_t number = attempt->number;
        attempt_fail(cluster, attempt, SHOAL_END_LOST, &why, now_ms);
        cluster->config.port.cancel(cluster->config.port.ctx, worker, call, number,
                                    "no progress within the lease");
    }
}

static void
delays_end(shoal_cluster_t *cluster, uint64_t now_ms)
{
    uint64_t call = 0;
    while (shoal_delay_take(cluster->delays, now_ms, &call)) {
        shoal_job_t *job = shoal_cluster_job(cluster, shoal_call_job(call));
        if (job && !shoal_job_is_final(job)) {
            shoal_job_shard_ripe(job, shoal_call_shard(call));
            shoal_scheduler_update(cluster->scheduler, job);
        }
    }
}

void
shoal_cluster_run(shoal_cluster_t *cluster, uint64_t now_ms)
{
    leases_end(cluster, now_ms);
    delays_end(cluster, now_ms);
    shoal_cluster_dispatch(cluster, now_ms);
}

void
shoal_cluster_disk(shoal_cluster_t *cluster)
{
    if (cluster->disk_waiters == 0) {
        return;
    }
    for (shoal_job_t *job = cluster->first; job; job = job->next) {
        if (job->needs_disk) {
            job->needs_disk = false;
            shoal_scheduler_update(cluster->scheduler, job);
        }
    }
    cluster->disk_waiters = 0;
}

uint64_t
shoal_cluster_next(const shoal_cluster_t *cluster)
{
    uint64_t lease = shoal_attempts_next(cluster->attempts);
    uint64_t delay = shoal_delays_next(cluster->delays);
    return lease < delay ? lease : delay;
}
