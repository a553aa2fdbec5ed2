// SPDX-License-Identifier: Apache-2.0
//
// world.c - see sim.h: time, the events, and the life of the head.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "tests/sim/sim.h"
#include "tests/sim/zmq.h"

#define TURNS_MAX 20000U // in a second

// ---- chance

uint64_t
sim_hash(uint64_t a, uint64_t b)
{
    test_random_t random = {a ^ (b * UINT64_C(0x9e3779b97f4a7c15))};
    (void)test_random_next(&random);
    return test_random_next(&random);
}

uint64_t
sim_below(test_random_t *random, uint64_t limit)
{
    return limit > 0 ? test_random_below(random, limit) : 0;
}

// ---- events: a binary heap

static bool
is_earlier(const sim_event_t *a, const sim_event_t *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

void
sim_plan(sim_t *sim, uint64_t delay_us, sim_event_kind_t kind, void *target, unsigned timer,
         uint64_t value)
{
    if (sim->event_count == sim->event_size) {
        sim->event_size = sim->event_size ? sim->event_size * 2 : 1024;
        sim->events = shoal_realloc(sim->events, sim->event_size * sizeof(*sim->events));
    }
    sim_event_t event = {.at_us = sim->now_us + delay_us,
                         .order = sim->order++,
                         .kind = kind,
                         .timer = timer,
                         .value = value,
                         .target = target};
    size_t at = sim->event_count++;
    while (at > 0 && is_earlier(&event, &sim->events[(at - 1) / 2])) {
        sim->events[at] = sim->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->events[at] = event;
}

static sim_event_t
event_take(sim_t *sim)
{
    sim_event_t first = sim->events[0];
    sim_event_t last = sim->events[--sim->event_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < sim->event_count; at = child) {
        if (child + 1 < sim->event_count &&
            is_earlier(&sim->events[child + 1], &sim->events[child])) {
            child++;
        }
        if (!is_earlier(&sim->events[child], &last)) {
            break;
        }
        sim->events[at] = sim->events[child];
    }
    sim->events[at] = last;
    return first;
}

void
sim_timer(sim_actor_t *actor, uint64_t delay_us, unsigned timer)
{
    sim_plan(actor->sim, delay_us, SIM_EVENT_TIMER, actor, timer, actor->epoch);
}

static void
timer_handle(sim_t *sim, const sim_event_t *event)
{
    sim_actor_t *actor = event->target;
    if (actor->epoch != event->value || actor->is_dead) {
        return;
    }
    if (actor->frozen_until_us > sim->now_us) { // a stopped process does nothing
        sim_plan(sim, actor->frozen_until_us - sim->now_us, SIM_EVENT_TIMER, actor, event->timer,
                 event->value);
        return;
    }
    actor->ops->timer(actor, event->timer);
}

static void
event_handle(sim_t *sim, const sim_event_t *event)
{
    sim->handled++;
    switch (event->kind) {
    case SIM_EVENT_UP:
    case SIM_EVENT_DOWN:
    case SIM_EVENT_HANGUP:
    case SIM_EVENT_LOST: sim_net_handle(sim, event); break;
    case SIM_EVENT_TIMER: timer_handle(sim, event); break;
    case SIM_EVENT_FAULT: sim_fault_happen(sim, event->target); break;
    case SIM_EVENT_DISK: sim_disk_handle(sim, event->timer, event->value); break;
    default: break;
    }
}

bool
sim_step(sim_t *sim, uint64_t until_us)
{
    if (sim->event_count == 0 || sim->events[0].at_us > until_us) {
        if (until_us > sim->now_us) {
            sim->now_us = until_us;
        }
        return false;
    }
    sim_event_t event = event_take(sim);
    if (event.at_us > sim->now_us) {
        sim->now_us = event.at_us;
    }
    event_handle(sim, &event);
    return true;
}

// ---- the end

void
sim_violation(sim_t *sim, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)fprintf(stderr, "sim: seed %llu at %llu.%06llu s, event %llu: %s\n",
                  (unsigned long long)sim->seed, (unsigned long long)(sim->now_us / SIM_SECOND),
                  (unsigned long long)(sim->now_us % SIM_SECOND), (unsigned long long)sim->handled,
                  text);
    (void)fflush(stderr);
    _exit(3);
}

static bool
is_all_done(const sim_t *sim)
{
    for (size_t i = 0; i < sim->client_count; i++) {
        if (!sim_client_is_done(sim->clients[i])) {
            return false;
        }
    }
    return sim->now_us >= SIM_FAULTS_END_US / 10; // short ones shall meet some faults, too
}

// Called by zmq_poll() before each turn of the head; true: it shall end now.
bool
sim_turn(sim_t *sim)
{
    sim->turns++;
    if (sim->now_us / SIM_SECOND != sim->second) {
        sim->second = sim->now_us / SIM_SECOND;
        sim->second_turns = 0;
    }
    if (++sim->second_turns > TURNS_MAX) {
        sim_violation(sim, "the head turns and turns: %u times in a second", TURNS_MAX);
    }
    sim_check_turn(sim);
    if (sim->now_us > SIM_END_US) {
        sim_print_head(sim);
        for (size_t i = 0; i < sim->job_count; i++) {
            const sim_job_t *job = &sim->jobs[i];
            if ((!job->has_end || !job->state[0]) && !job->is_forgotten) {
                sim_violation(sim, "job %s (number %llu) has not ended: state \"%s\", %llu commits",
                              job->id, (unsigned long long)job->number, job->state,
                              (unsigned long long)job->commits);
            }
        }
        sim_violation(sim, "a client has not come to its end");
    }
    if (!sim->is_over && is_all_done(sim)) {
        sim->is_over = true;
    }
    bool is_end = sim->is_over || sim->is_ended;
    if (is_end && sim->lifeline[1] >= 0) {
        (void)close(sim->lifeline[1]); // the head reads the end of its lifeline and stops
        sim->lifeline[1] = -1;
    }
    return is_end;
}

// ---- the head's life

// It is dead from now on: nothing that it says is heard, nothing that it writes is written.
void
sim_head_die(sim_t *sim)
{
    sim->is_head_up = false;
    sim->is_ended = true;
    sim->ends_after = 0;
    sim_disk_crash(sim);
}

void
sim_head_kill(sim_t *sim, uint64_t messages, uint64_t down_us)
{
    if (sim->is_head_up && !sim->is_ended) {
        sim->down_us = down_us;
        sim->ends_after = messages;
        if (messages == 0) {
            sim_head_die(sim);
        }
    }
}

void
sim_head_stop(sim_t *sim, uint64_t down_us)
{
    if (sim->is_head_up && !sim->is_ended) {
        sim->down_us = down_us;
        sim->is_ended = true;
    }
}

// Room for all that the jobs will write, and for what is on its way: a spool that is too small for
// its jobs makes them wait for ever, and that is how it should be.
static uint64_t
spool_limit(sim_t *sim)
{
    uint64_t bytes = 4194304;
    for (size_t i = 0; i < sim->job_count; i++) {
        bytes += 2 * (uint64_t)sim->jobs[i].records * (sim->jobs[i].record_bytes + 80);
    }
    return sim_below(&sim->random, 3) ? 0 : bytes;
}

// From its start to its end.
static void
head_live(sim_t *sim)
{
    if (pipe(sim->lifeline) != 0) {
        sim_violation(sim, "no pipe");
    }
    sim->monitor_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    char state[] = "."; // nothing is written there
    shoal_config_t config = {
        .listen = "tcp://127.0.0.1:1",
        .state = state,
        .insecure_loopback = true,
        .has_journal = sim->has_journal,
        .lifeline_fd = sim->lifeline[0],
        .ready_fd = -1,
        .memory_limit_bytes = sim_below(&sim->random, 2) ? 0 : 262144,
        .spool_limit_bytes = spool_limit(sim),
        .heartbeat_ms = SIM_HEARTBEAT_MS,
        .liveness_ms = SIM_LIVENESS_MS,
        .lease_ms = SIM_LEASE_MS,
    };
    shoal_status_t status = SHOAL_STATUS_INIT;
    sim->is_head_up = true;
    sim->is_ended = false;
    if (!shoal_hub_new(&config, NULL, &sim->hub, &status) || !shoal_hub_run(sim->hub, &status)) {
        sim_violation(sim, "the head failed: %s", status.text);
    }
    sim->is_head_up = sim->is_head_up && !sim->is_over; // one that was asked to stop says goodbye
    shoal_hub_destroy(&sim->hub);
    sim->is_head_up = false;
    sim->skew_us = 0;
    sim_net_head_ended(sim);
    (void)close(sim->lifeline[0]);
    (void)close(sim->monitor_fd);
    if (sim->lifeline[1] >= 0) {
        (void)close(sim->lifeline[1]);
    }
}

// Lives until everything is over.
static void
head_run(sim_t *sim)
{
    for (;;) {
        head_live(sim);
        if (sim->is_over) {
            return;
        }
        uint64_t again_us = sim->now_us + sim->down_us;
        while (sim_step(sim, again_us)) {
        }
    }
}

static void
world_make(sim_t *sim)
{
    sim->next_key = 1;
    sim->next_inode = 1000;
    sim->now_us = 5 * SIM_SECOND;
    sim->lifeline[0] = sim->lifeline[1] = -1;
    sim->send_hwm = SHOAL_HUB_SEND_HWM;
    sim->disk = sim_disk_new(sim);
    sim->has_journal = sim_below(&sim->random, 4) > 0;
    sim_jobs_plan(sim);
    sim->worker_count = 1 + sim_below(&sim->random, sim_below(&sim->random, 3) ? 6 : 20);
    for (size_t i = 0; i < sim->worker_count; i++) {
        sim->workers[i] = sim_worker_new(sim, (unsigned)i);
    }
    for (size_t i = 0; i < sim->job_count; i++) {
        sim->clients[sim->client_count++] = sim_client_new(sim, &sim->jobs[i], false);
        if (sim_below(&sim->random, 3) == 0) { // somebody else fetches it, too
            sim->clients[sim->client_count++] = sim_client_new(sim, &sim->jobs[i], true);
        }
    }
    if (!sim->has_script) {
        sim_faults_plan(sim);
    }
    for (size_t i = 0; i < sim->fault_count; i++) {
        sim_plan(sim, sim->faults[i].at_ms * SIM_MS, SIM_EVENT_FAULT, &sim->faults[i], 0, 0);
    }
}

static void
world_end(sim_t *sim)
{
    for (size_t i = 0; i < sim->client_count; i++) {
        sim_client_destroy(&sim->clients[i]);
    }
    for (size_t i = 0; i < sim->worker_count; i++) {
        sim_worker_destroy(&sim->workers[i]);
    }
    sim_net_end(sim);
    sim_disk_destroy(&sim->disk);
    sim_jobs_end(sim);
    free(sim->events);
    free(sim->seen);
    free(sim->notes);
}

void
sim_run(uint64_t seed, const char *script, bool is_verbose, uint64_t *ret_events)
{
    sim_t *sim = shoal_alloc(sizeof(*sim));
    sim->seed = seed;
    sim->random = (test_random_t){seed * 2654435761U + 17};
    sim->is_verbose = is_verbose;
    sim_zmq_begin(sim);
    if (script && !sim_faults_read(sim, script)) {
        sim_violation(sim, "cannot read \"%s\"", script);
    }
    world_make(sim);
    head_run(sim);
    for (size_t i = 0; i < sim->job_count; i++) {
        sim_job_check(&sim->jobs[i]);
    }
    *ret_events += sim->handled;
    world_end(sim);
    sim_zmq_begin(NULL);
    free(sim);
}

// ---- attempts that were seen

typedef struct seen_attempt {
    uint64_t call; // 0: free
    uint64_t attempt;
} seen_attempt_t;

static seen_attempt_t *
seen_place(seen_attempt_t *seen, size_t size, uint64_t call)
{
    size_t at = sim_hash(call, 1) & (size - 1);
    while (seen[at].call != 0 && seen[at].call != call) {
        at = (at + 1) & (size - 1);
    }
    return &seen[at];
}

void
sim_note_attempt(sim_t *sim, uint64_t call, uint64_t attempt)
{
    if (sim->seen_count * 2 >= sim->seen_size) {
        size_t size = sim->seen_size ? sim->seen_size * 2 : 1024;
        seen_attempt_t *seen = shoal_alloc(size * sizeof(*seen));
        for (size_t i = 0; i < sim->seen_size; i++) {
            if (sim->seen[i].call != 0) {
                *seen_place(seen, size, sim->seen[i].call) = sim->seen[i];
            }
        }
        free(sim->seen);
        sim->seen = seen;
        sim->seen_size = size;
    }
    seen_attempt_t *at = seen_place(sim->seen, sim->seen_size, call);
    if (at->call == 0) {
        at->call = call;
        sim->seen_count++;
    } else if (attempt <= at->attempt) {
        sim_violation(sim, "call %llu: attempt %llu was given out after %llu",
                      (unsigned long long)call, (unsigned long long)attempt,
                      (unsigned long long)at->attempt);
    }
    at->attempt = attempt;
}
