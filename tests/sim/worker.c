// SPDX-License-Identifier: Apache-2.0
//
// worker.c - see sim.h: a worker process as docs/protocol.md describes it, with its supervisor.

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "tests/sim/sim.h"

#define TICK_US     (50 * SIM_MS)
#define CALLS_MAX   512
#define ACTORS_MAX  64
#define BACKOFF_MAX (2 * SIM_SECOND)

enum { TIMER_TICK, TIMER_START, TIMER_STEP_FIRST };

typedef enum link_state { LINK_WAITING, LINK_GREETING, LINK_READY, LINK_ENDED } link_state_t;

typedef struct sim_call {
    bool is_used;
    bool is_running;
    bool is_cancelled;
    bool must_fail; // it has streamed on a registration that is lost
    uint64_t order;
    uint64_t call;
    uint64_t attempt;
    uint64_t actor;
    uint64_t limit;
    char method[16];
    shoal_buffer_t args;
    int64_t credit;
    uint64_t batches;
    uint64_t records;
    uint64_t progress;
    sim_work_t work;
} sim_call_t;

typedef struct kept_result {
    struct kept_result *next;
    shoal_msg_result_t result;
    shoal_buffer_t detail;
    bool is_discover;
} kept_result_t;

struct sim_worker {
    sim_actor_t actor; // first
    unsigned index;
    char id[16];
    uint64_t incarnation;
    uint32_t slots;
    uint32_t window;
    link_state_t link;
    uint64_t dial_us; // when the next dial is due
    uint64_t back_off_us;
    uint64_t heard_us;
    uint64_t said_us;
    char head[65];
    bool is_draining;
    uint64_t drained_down_us; // how long it is away after that
    int last_signal;          // of its previous process; 0: nothing to report
    sim_call_t calls[CALLS_MAX];
    uint64_t call_order;
    uint64_t actors[ACTORS_MAX]; // that it was told of on this connection or before
    uint64_t actor_jobs[ACTORS_MAX];
    size_t actor_count;
    uint64_t seq;
    uint64_t acked;
    kept_result_t *kept_first;
    kept_result_t *kept_last;
};

sim_actor_t *
sim_worker_actor(sim_worker_t *worker)
{
    return &worker->actor;
}

static void
say(sim_worker_t *worker, const shoal_message_t *message, shoal_slice_t payload)
{
    if (worker->actor.conn) {
        sim_conn_send(worker->actor.conn, message, payload);
        worker->said_us = worker->actor.sim->now_us;
    }
}

// ---- calls

static void
call_free(sim_call_t *call)
{
    shoal_buffer_fini(&call->args);
    sim_work_fini(&call->work);
    *call = (sim_call_t){.is_used = false};
}

static sim_call_t *
call_find(sim_worker_t *worker, uint64_t number, uint64_t attempt)
{
    for (size_t i = 0; i < CALLS_MAX; i++) {
        sim_call_t *call = &worker->calls[i];
        if (call->is_used && call->call == number && call->attempt == attempt) {
            return call;
        }
    }
    return NULL;
}

static sim_job_t *
job_of(sim_worker_t *worker, uint64_t actor)
{
    for (size_t i = 0; i < worker->actor_count; i++) {
        if (worker->actors[i] == actor) {
            return &worker->actor.sim->jobs[worker->actor_jobs[i]];
        }
    }
    sim_violation(worker->actor.sim, "%s is called for actor %llu, of which it was never told",
                  worker->id, (unsigned long long)actor);
}

static void
step_plan(sim_worker_t *worker, sim_call_t *call, uint64_t delay_us)
{
    // Its order is in the timer, so that one of a call that was here before means nothing.
    unsigned number = (unsigned)(call->order % (1U << 20)) * CALLS_MAX;
    sim_timer(&worker->actor, delay_us + 1,
              TIMER_STEP_FIRST + number + (unsigned)(call - worker->calls));
}

// Idle slots take the calls that have waited longest.
static void
slots_fill(sim_worker_t *worker)
{
    for (;;) {
        uint32_t running = 0;
        sim_call_t *next = NULL;
        for (size_t i = 0; i < CALLS_MAX; i++) {
            sim_call_t *call = &worker->calls[i];
            running += call->is_used && call->is_running;
            if (call->is_used && !call->is_running && (!next || call->order < next->order)) {
                next = call;
            }
        }
        if (!next || running >= worker->slots) {
            return;
        }
        next->is_running = true;
        sim_work_plan(job_of(worker, next->actor), &worker->actor.random,
                      shoal_slice_of(next->method), shoal_buffer_slice(&next->args),
                      (uint32_t)next->attempt, next->limit, &next->work);
        step_plan(worker, next, next->work.pause_us);
    }
}

// ---- results

static void
result_send(sim_worker_t *worker, const kept_result_t *kept)
{
    shoal_message_t message = {.type = SHOAL_MSG_RESULT};
    message.result = kept->result;
    message.result.detail = shoal_buffer_slice(&kept->detail);
    if (kept->result.outcome == SHOAL_OUTCOME_FAILED) {
        message.result.reason =
            kept->is_discover ? SHOAL_SLICE("discovery broke") : SHOAL_SLICE("it broke");
        message.result.code = SHOAL_IO;
    }
    say(worker, &message, SHOAL_SLICE_NONE);
}

// The call has ended: its result is kept until it is acknowledged.
static void
result_keep(sim_worker_t *worker, sim_call_t *call, shoal_outcome_t outcome,
            shoal_error_class_t error_class)
{
    kept_result_t *kept = shoal_alloc(sizeof(*kept));
    kept->result = (shoal_msg_result_t){.seq = ++worker->seq,
                                        .call = call->call,
                                        .attempt = call->attempt,
                                        .outcome = outcome,
                                        .error_class = error_class,
                                        .batches = call->batches,
                                        .records = call->records};
    kept->is_discover = strcmp(call->method, "discover") == 0;
    if (outcome == SHOAL_OUTCOME_DONE) {
        job_of(worker, call->actor)->discoveries += kept->is_discover;
        kept->detail = call->work.detail;
        call->work.detail = (shoal_buffer_t)SHOAL_BUFFER_INIT;
    }
    *(worker->kept_last ? &worker->kept_last->next : &worker->kept_first) = kept;
    worker->kept_last = kept;
    call_free(call);
    if (worker->link == LINK_READY) {
        result_send(worker, kept);
    }
    slots_fill(worker);
}

static void
kept_drop(sim_worker_t *worker, uint64_t ack)
{
    while (worker->kept_first && worker->kept_first->result.seq <= ack) {
        kept_result_t *kept = worker->kept_first;
        worker->kept_first = kept->next;
        if (!worker->kept_first) {
            worker->kept_last = NULL;
        }
        shoal_buffer_fini(&kept->detail);
        free(kept);
    }
}

static void
acknowledge(sim_worker_t *worker, uint64_t ack)
{
    if (ack > worker->seq) {
        sim_violation(worker->actor.sim, "%s: result %llu is acknowledged, the last one was %llu",
                      worker->id, (unsigned long long)ack, (unsigned long long)worker->seq);
    }
    kept_drop(worker, ack);
}

// ---- running

static void
batch_send(sim_worker_t *worker, sim_call_t *call)
{
    sim_work_t *work = &call->work;
    uint32_t last = work->sent + work->batch < work->count ? work->sent + work->batch : work->count;
    uint32_t from = work->sent > 0 ? work->ends[work->sent - 1] : 0;
    while (last > work->sent + 1 && work->ends[last - 1] - from > 65536) {
        last--; // a batch has few records if these are large
    }
    shoal_message_t message = {.type = SHOAL_MSG_BATCH};
    message.batch.call = call->call;
    message.batch.attempt = call->attempt;
    message.batch.seq = call->batches++;
    message.batch.records = last - work->sent;
    shoal_slice_t payload = {work->bytes.ptr + from, work->ends[last - 1] - from};
    call->credit -= (int64_t)payload.len;
    call->records += last - work->sent;
    work->sent = last;
    say(worker, &message, payload);
}

static void
call_step(sim_worker_t *worker, sim_call_t *call)
{
    sim_work_t *work = &call->work;
    if (call->must_fail && worker->link == LINK_READY) {
        result_keep(worker, call, SHOAL_OUTCOME_FAILED, SHOAL_TRANSIENT);
        return;
    }
    if (call->is_cancelled) {
        result_keep(worker, call, SHOAL_OUTCOME_CANCELLED, SHOAL_TRANSIENT);
        return;
    }
    bool may_send = worker->link == LINK_READY && call->credit > 0;
    if (work->hangs) { // until it is cancelled
        step_plan(worker, call, TICK_US);
        return;
    }
    if (work->sent < work->count) {
        if (may_send) {
            call->progress++;
            batch_send(worker, call);
        }
        step_plan(worker, call, may_send ? work->pause_us : TICK_US / 10);
        return;
    }
    call->progress++;
    if (work->steps > 0) {
        work->steps--;
        step_plan(worker, call, work->pause_us);
        return;
    }
    if (work->signal) {
        sim_worker_kill(worker, work->signal, 100 * SIM_MS);
        return;
    }
    result_keep(worker, call, work->outcome, work->error_class);
}

// ---- the session

static void
hello_say(sim_worker_t *worker)
{
    shoal_buffer_t running = SHOAL_BUFFER_INIT;
    shoal_buffer_t last_exit = SHOAL_BUFFER_INIT;
    uint32_t count = 0;
    size_t mark = shoal_write_array_later(&running);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        const sim_call_t *call = &worker->calls[i];
        if (call->is_used) {
            shoal_write_array(&running, 2);
            shoal_write_uint(&running, call->call);
            shoal_write_uint(&running, call->attempt);
            count++;
        }
    }
    for (const kept_result_t *kept = worker->kept_first; kept; kept = kept->next) {
        shoal_write_array(&running, 2);
        shoal_write_uint(&running, kept->result.call);
        shoal_write_uint(&running, kept->result.attempt);
        count++;
    }
    shoal_write_count_now(&running, mark, count);
    shoal_message_t message = {.type = SHOAL_MSG_HELLO};
    message.hello.role = SHOAL_SLICE("worker");
    message.hello.id = shoal_slice_of(worker->id);
    message.hello.incarnation = worker->incarnation;
    message.hello.slots = worker->slots;
    message.hello.window = worker->is_draining ? 0 : worker->window;
    message.hello.classes = SHOAL_SLICE("\x91\xa8pipeline");
    message.hello.running = shoal_buffer_slice(&running);
    if (worker->last_signal) {
        shoal_write_map(&last_exit, 2);
        shoal_write_key(&last_exit, "incarnation");
        shoal_write_uint(&last_exit, worker->incarnation - 1);
        shoal_write_key(&last_exit, "signal");
        shoal_write_uint(&last_exit, (uint64_t)worker->last_signal);
        message.hello.last_exit = shoal_buffer_slice(&last_exit);
    }
    worker->link = LINK_GREETING;
    worker->heard_us = worker->actor.sim->now_us;
    say(worker, &message, SHOAL_SLICE_NONE);
    shoal_buffer_fini(&running);
    shoal_buffer_fini(&last_exit);
}

// The registration is lost, and with it what was on its way.
static void
registration_lose(sim_worker_t *worker)
{
    for (size_t i = 0; i < CALLS_MAX; i++) {
        sim_call_t *call = &worker->calls[i];
        call->must_fail = call->is_used && (call->must_fail || call->batches > 0);
    }
}

static void
dial_later(sim_worker_t *worker)
{
    if (worker->actor.conn) {
        sim_conn_close(worker->actor.conn);
    }
    if (worker->link == LINK_ENDED) {
        return;
    }
    registration_lose(worker);
    worker->link = LINK_WAITING;
    worker->back_off_us = worker->back_off_us ? worker->back_off_us * 2 : 10 * SIM_MS;
    worker->back_off_us = worker->back_off_us < BACKOFF_MAX ? worker->back_off_us : BACKOFF_MAX;
    worker->dial_us =
        worker->actor.sim->now_us + sim_below(&worker->actor.random, worker->back_off_us) + SIM_MS;
}

static void
calls_forget(sim_worker_t *worker)
{
    for (size_t i = 0; i < CALLS_MAX; i++) {
        if (worker->calls[i].is_used) {
            call_free(&worker->calls[i]);
        }
    }
    kept_drop(worker, UINT64_MAX);
    worker->actor_count = 0;
}

static void
hear_welcome(sim_worker_t *worker, const shoal_msg_welcome_t *welcome)
{
    if (worker->link != LINK_GREETING) {
        return;
    }
    if (worker->head[0] && !shoal_slice_is(welcome->head, worker->head)) {
        calls_forget(worker);
    }
    (void)snprintf(worker->head, sizeof(worker->head), "%.*s", SHOAL_SLICE_ARGS(welcome->head));
    worker->link = LINK_READY;
    worker->back_off_us = 0;
    worker->last_signal = 0;
    for (const kept_result_t *kept = worker->kept_first; kept; kept = kept->next) {
        result_send(worker, kept);
    }
    for (size_t i = 0; i < CALLS_MAX; i++) {
        if (worker->calls[i].is_used && worker->calls[i].must_fail && worker->calls[i].is_running) {
            result_keep(worker, &worker->calls[i], SHOAL_OUTCOME_FAILED, SHOAL_TRANSIENT);
        }
    }
}

static void
hear_actor(sim_worker_t *worker, const shoal_msg_actor_t *actor, shoal_slice_t payload)
{
    shoal_cursor_t cursor = shoal_cursor_over(payload);
    uint64_t job = shoal_cursor_uint(&cursor);
    sim_t *sim = worker->actor.sim;
    if (!shoal_cursor_is_done(&cursor) || job >= sim->job_count || actor->actor == 0) {
        sim_violation(sim, "%s: actor %llu has wrong arguments", worker->id,
                      (unsigned long long)actor->actor);
    }
    for (size_t i = 0; i < worker->actor_count; i++) {
        if (worker->actors[i] == actor->actor) {
            return;
        }
    }
    if (worker->actor_count == ACTORS_MAX) {
        sim_violation(sim, "%s has too many actors", worker->id);
    }
    worker->actors[worker->actor_count] = actor->actor;
    worker->actor_jobs[worker->actor_count++] = job;
}

static void
hear_drop_actor(sim_worker_t *worker, uint64_t actor)
{
    for (size_t i = 0; i < worker->actor_count; i++) {
        if (worker->actors[i] == actor) {
            worker->actor_count--;
            worker->actors[i] = worker->actors[worker->actor_count];
            worker->actor_jobs[i] = worker->actor_jobs[worker->actor_count];
            break;
        }
    }
    for (size_t i = 0; i < CALLS_MAX; i++) {
        sim_call_t *call = &worker->calls[i];
        if (!call->is_used || call->actor != actor) {
            continue;
        }
        if (call->is_running) {
            call->is_cancelled = true;
        } else {
            result_keep(worker, call, SHOAL_OUTCOME_CANCELLED, SHOAL_TRANSIENT);
        }
    }
}

static sim_call_t *
call_make(sim_worker_t *worker)
{
    for (size_t i = 0; i < CALLS_MAX; i++) {
        if (!worker->calls[i].is_used) {
            return &worker->calls[i];
        }
    }
    sim_violation(worker->actor.sim, "%s has more than %d calls at once", worker->id, CALLS_MAX);
}

static void
hear_call(sim_worker_t *worker, const shoal_msg_call_t *message)
{
    sim_t *sim = worker->actor.sim;
    acknowledge(worker, message->ack);
    (void)job_of(worker, message->actor);
    if (call_find(worker, message->call, message->attempt)) {
        sim_violation(sim, "%s is given attempt %llu of call %llu twice", worker->id,
                      (unsigned long long)message->attempt, (unsigned long long)message->call);
    }
    sim_call_t *call = call_make(worker);
    *call = (sim_call_t){.is_used = true,
                         .order = worker->call_order++,
                         .call = message->call,
                         .attempt = message->attempt,
                         .actor = message->actor,
                         .limit = message->limit,
                         .credit = (int64_t)message->credit,
                         .args = SHOAL_BUFFER_INIT};
    (void)snprintf(call->method, sizeof(call->method), "%.*s", SHOAL_SLICE_ARGS(message->method));
    shoal_buffer_append_slice(&call->args, message->args);
    if (worker->is_draining) {
        result_keep(worker, call, SHOAL_OUTCOME_RETURNED, SHOAL_TRANSIENT);
        return;
    }
    slots_fill(worker);
}

static void
hear_cancel(sim_worker_t *worker, const shoal_msg_cancel_t *cancel)
{
    sim_call_t *call = call_find(worker, cancel->call, cancel->attempt);
    if (call && call->is_running) {
        call->is_cancelled = true;
    } else if (call) {
        result_keep(worker, call, SHOAL_OUTCOME_CANCELLED, SHOAL_TRANSIENT);
    }
}

static void
hear_error(sim_worker_t *worker, const shoal_msg_error_t *error)
{
    if (error->closing) {
        // What was on its way when the head had given it up may be more than a stranger may say.
        if (!memmem(error->reason.ptr, error->reason.len, "no HELLO", 8)) {
            sim_violation(worker->actor.sim, "%s is told: %.*s", worker->id,
                          SHOAL_SLICE_ARGS(error->reason));
        }
        dial_later(worker);
    } else if (error->code == SHOAL_PROTOCOL && worker->link == LINK_READY) { // "hello first"
        registration_lose(worker);
        hello_say(worker);
    }
}

static void
worker_hear(sim_actor_t *actor, const shoal_message_t *message, shoal_slice_t payload)
{
    sim_worker_t *worker = (sim_worker_t *)actor;
    worker->heard_us = actor->sim->now_us;
    bool is_ready = worker->link == LINK_READY;
    sim_call_t *call;
    switch (
        (int)message->type) { // before WELCOME, calls and grants are of a registration that is gone
    case SHOAL_MSG_WELCOME: hear_welcome(worker, &message->welcome); return;
    case SHOAL_MSG_ERROR: hear_error(worker, &message->error); return;
    case SHOAL_MSG_BYE: dial_later(worker); return;
    default: break;
    }
    if (!is_ready) {
        return;
    }
    switch ((int)message->type) {
    case SHOAL_MSG_HEARTBEAT: acknowledge(worker, message->heartbeat.ack); break;
    case SHOAL_MSG_ACK: acknowledge(worker, message->ack.seq); break;
    case SHOAL_MSG_ACTOR: hear_actor(worker, &message->actor, payload); break;
    case SHOAL_MSG_DROP_ACTOR: hear_drop_actor(worker, message->drop_actor.actor); break;
    case SHOAL_MSG_CALL: hear_call(worker, &message->call); break;
    case SHOAL_MSG_CANCEL: hear_cancel(worker, &message->cancel); break;
    case SHOAL_MSG_GRANT:
        call = call_find(worker, message->grant.call, message->grant.attempt);
        if (call) {
            call->credit += (int64_t)message->grant.bytes;
        }
        break;
    default:
        sim_violation(actor->sim, "%s is sent %s", worker->id,
                      shoal_message_name((int)message->type));
    }
}

static void
worker_lost(sim_actor_t *actor)
{
    dial_later((sim_worker_t *)actor);
}

// ---- the process

static void
process_end(sim_worker_t *worker)
{
    if (worker->actor.conn) {
        sim_conn_close(worker->actor.conn);
    }
    calls_forget(worker);
    worker->actor.epoch++;
    worker->actor.frozen_until_us = 0;
    worker->link = LINK_WAITING;
    worker->head[0] = '\0';
    worker->seq = 0;
    worker->is_draining = false;
}

static void
process_start(sim_worker_t *worker)
{
    worker->incarnation++;
    worker->link = LINK_WAITING;
    worker->back_off_us = 0;
    worker->dial_us = worker->actor.sim->now_us;
    sim_timer(&worker->actor, 1, TIMER_TICK);
}

void
sim_worker_kill(sim_worker_t *worker, int signal, uint64_t down_us)
{
    process_end(worker);
    worker->last_signal = signal;
    sim_timer(&worker->actor, down_us, TIMER_START);
}

void
sim_worker_drain(sim_worker_t *worker, uint64_t down_us)
{
    if (worker->is_draining || worker->actor.frozen_until_us > worker->actor.sim->now_us) {
        return;
    }
    worker->is_draining = true;
    worker->drained_down_us = down_us;
    shoal_message_t message = {.type = SHOAL_MSG_WINDOW};
    if (worker->link == LINK_READY) {
        say(worker, &message, SHOAL_SLICE_NONE);
    }
    for (size_t i = 0; i < CALLS_MAX; i++) {
        sim_call_t *call = &worker->calls[i];
        if (call->is_used && !call->is_running) {
            result_keep(worker, call, SHOAL_OUTCOME_RETURNED, SHOAL_TRANSIENT);
        }
    }
}

static bool
is_idle(const sim_worker_t *worker)
{
    for (size_t i = 0; i < CALLS_MAX; i++) {
        if (worker->calls[i].is_used) {
            return false;
        }
    }
    return !worker->kept_first;
}

static void
drain_end(sim_worker_t *worker)
{
    shoal_message_t message = {.type = SHOAL_MSG_BYE};
    if (worker->link == LINK_READY) {
        say(worker, &message, SHOAL_SLICE_NONE);
    }
    uint64_t down_us = worker->drained_down_us;
    process_end(worker);
    worker->last_signal = 0;
    sim_timer(&worker->actor, down_us, TIMER_START);
}

static void
heartbeat_say(sim_worker_t *worker)
{
    shoal_buffer_t progress = SHOAL_BUFFER_INIT;
    size_t mark = shoal_write_array_later(&progress);
    uint32_t count = 0;
    for (size_t i = 0; i < CALLS_MAX; i++) {
        const sim_call_t *call = &worker->calls[i];
        if (call->is_used) {
            shoal_write_array(&progress, 3);
            shoal_write_uint(&progress, call->call);
            shoal_write_uint(&progress, call->attempt);
            shoal_write_uint(&progress, call->progress);
            count++;
        }
    }
    shoal_write_count_now(&progress, mark, count);
    shoal_message_t message = {.type = SHOAL_MSG_HEARTBEAT};
    message.heartbeat.progress = shoal_buffer_slice(&progress);
    say(worker, &message, SHOAL_SLICE_NONE);
    shoal_buffer_fini(&progress);
}

static void
tick(sim_worker_t *worker)
{
    sim_t *sim = worker->actor.sim;
    if (worker->is_draining && is_idle(worker)) {
        drain_end(worker);
        return;
    }
    sim_timer(&worker->actor, TICK_US, TIMER_TICK);
    if (worker->link == LINK_WAITING) {
        if (worker->dial_us <= sim->now_us && sim->is_head_up) {
            worker->actor.conn = sim_conn_open(sim, &worker->actor);
            hello_say(worker);
        }
        return;
    }
    if (worker->heard_us + SIM_LIVENESS_MS * SIM_MS <= sim->now_us) {
        dial_later(worker);
    } else if (worker->link == LINK_READY &&
               worker->said_us + SIM_HEARTBEAT_MS * SIM_MS <= sim->now_us) {
        heartbeat_say(worker);
    }
}

static void
worker_timer(sim_actor_t *actor, unsigned timer)
{
    sim_worker_t *worker = (sim_worker_t *)actor;
    if (timer == TIMER_TICK) {
        sim_actor_read(actor);
        tick(worker);
    } else if (timer == TIMER_START) {
        process_start(worker);
    } else {
        sim_call_t *call = &worker->calls[(timer - TIMER_STEP_FIRST) % CALLS_MAX];
        unsigned order = (timer - TIMER_STEP_FIRST) / CALLS_MAX;
        if (call->is_used && call->is_running && order == call->order % (1U << 20)) {
            call_step(worker, call);
        }
    }
}

static const sim_actor_ops_t ops = {worker_hear, worker_lost, worker_timer};

sim_worker_t *
sim_worker_new(sim_t *sim, unsigned index)
{
    sim_worker_t *worker = shoal_alloc(sizeof(*worker));
    worker->actor =
        (sim_actor_t){.sim = sim, .ops = &ops, .random = {sim_hash(sim->seed, 1000 + index)}};
    worker->index = index;
    (void)snprintf(worker->id, sizeof(worker->id), "w%u", index);
    worker->actor.name = worker->id;
    worker->slots = 1 + (uint32_t)sim_below(&worker->actor.random, 4);
    worker->window = worker->slots + (uint32_t)sim_below(&worker->actor.random, 3);
    sim_timer(&worker->actor, sim_below(&worker->actor.random, SIM_SECOND), TIMER_START);
    return worker;
}

void
sim_worker_destroy(sim_worker_t **worker)
{
    calls_forget(*worker);
    free(*worker);
    *worker = NULL;
}
