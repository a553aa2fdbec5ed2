// SPDX-License-Identifier: Apache-2.0
//
// check.c - see sim.h: what must hold of the head's own structures before each of its turns.

#include "head/cluster/scheduler.h"
#include "head/hub/peer.h"
#include "tests/sim/zmq.h"

#define WHOLE_EVERY 16 // turns: the whole backlog is counted that often
#define AGAIN_EVERY 53 // and the journal replayed

static void
check_attempt(sim_t *sim, const shoal_job_t *job, const shoal_attempt_t *attempt)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, attempt->shard);
    unsigned long long call = attempt->call;
    if (!attempt->is_live || attempt->job != job || !attempt->worker) {
        sim_violation(sim, "call %llu has an attempt that is not live", call);
    }
    if (!shard || shard->state != SHOAL_SHARD_RUNNING || shard->live != attempt->index ||
        shard->attempt != attempt->number) {
        sim_violation(sim, "call %llu: attempt %u is live, and its shard is %s with attempt %u",
                      call, attempt->number,
                      shard ? shoal_shard_state_name(shard->state) : "absent",
                      shard ? shard->attempt : 0);
    }
    if (attempt->worker->state == SHOAL_WORKER_LOST) {
        sim_violation(sim, "call %llu is at %s, which is lost", call, attempt->worker->id);
    }
}

// The states of all shards, counted again.
static void
check_backlog(sim_t *sim, const shoal_job_t *job)
{
    size_t counts[SHOAL_SHARD_STATE_COUNT] = {0};
    uint64_t done = 0;
    uint64_t dead = 0;
    for (uint32_t i = 0; i < shoal_backlog_end(job->backlog); i++) {
        const shoal_shard_t *shard = shoal_backlog_at(job->backlog, i);
        if (!shard) {
            continue;
        }
        counts[shard->state]++;
        done += i >= SHOAL_SHARD_FIRST && shard->state == SHOAL_SHARD_DONE;
        dead += i >= SHOAL_SHARD_FIRST && shard->state == SHOAL_SHARD_DEAD;
        if ((shard->state == SHOAL_SHARD_RUNNING) != (shard->live != SHOAL_SHARD_NONE)) {
            sim_violation(sim, "job %llu, shard %u is %s and its attempt is %u",
                          (unsigned long long)job->number, i, shoal_shard_state_name(shard->state),
                          shard->live);
        }
    }
    for (int state = SHOAL_SHARD_WAITING; state < SHOAL_SHARD_STATE_COUNT; state++) {
        if (counts[state] != shoal_backlog_count(job->backlog, (shoal_shard_state_t)state)) {
            sim_violation(sim, "job %llu has %zu shards that are %s, and counts %zu",
                          (unsigned long long)job->number, counts[state],
                          shoal_shard_state_name(state),
                          shoal_backlog_count(job->backlog, (shoal_shard_state_t)state));
        }
    }
    if (done != job->done || dead != job->dead) {
        sim_violation(sim, "job %llu has %llu shards done and %llu dead, and counts %llu and %llu",
                      (unsigned long long)job->number, (unsigned long long)done,
                      (unsigned long long)dead, (unsigned long long)job->done,
                      (unsigned long long)job->dead);
    }
}

static void
check_job(sim_t *sim, const shoal_job_t *job, bool is_whole)
{
    uint32_t running = 0;
    uint32_t charge = 0;
    if (shoal_job_is_final(job)) {
        if (job->attempts || job->running || job->heap_place) {
            sim_violation(sim, "job %llu is final and runs", (unsigned long long)job->number);
        }
        return;
    }
    for (const shoal_attempt_t *it = job->attempts; it; it = it->job_next) {
        check_attempt(sim, job, it);
        running++;
        charge += it->charge;
    }
    if (running != job->running || charge != job->running_charge) {
        sim_violation(sim, "job %llu runs %u calls of %u, and counts %u of %u",
                      (unsigned long long)job->number, running, charge, job->running,
                      job->running_charge);
    }
    if (job->spec.parallelism > 0 && running > job->spec.parallelism) {
        sim_violation(sim, "job %llu runs %u calls, %u at most were wanted",
                      (unsigned long long)job->number, running, job->spec.parallelism);
    }
    if (is_whole) {
        check_backlog(sim, job);
    }
}

static void
check_worker(sim_t *sim, const shoal_worker_t *worker)
{
    uint32_t running = 0;
    uint32_t charge = 0;
    bool is_alone = false;
    for (const shoal_attempt_t *it = worker->attempts; it; it = it->worker_next) {
        if (it->worker != worker) {
            sim_violation(sim, "%s has an attempt of another worker", worker->id);
        }
        running++;
        charge += it->charge;
        is_alone = is_alone || it->is_alone;
    }
    if (running != worker->running || charge != worker->charge) {
        sim_violation(sim, "%s has %u calls of %u, and counts %u of %u", worker->id, running,
                      charge, worker->running, worker->charge);
    }
    // A HELLO may state a smaller window than the one that was filled.
    if (worker->window > 0 && charge > worker->window * SHOAL_CHARGE_FULL + SHOAL_CHARGE_FULL - 1) {
        sim_violation(sim, "%s has calls of %u sixteenths, its window is %u", worker->id, charge,
                      worker->window);
    }
    if (is_alone && running > 1) {
        sim_violation(sim, "%s runs a call alone, and %u others", worker->id, running - 1);
    }
}

// A worker that is connected and was heard just now is not suspect.
static void
check_suspicion(sim_t *sim, const shoal_worker_t *worker)
{
    const shoal_peer_t *peer = worker->peer;
    const sim_conn_t *conn = peer ? sim_conn_by_key(sim, peer->key) : NULL;
    uint64_t now_ms = shoal_hub_now(sim->hub);
    if (worker->state == SHOAL_WORKER_SUSPECT && conn && conn->is_head_open && conn->is_peer_open &&
        !conn->is_broken && peer->heard_ms + SIM_LIVENESS_MS / 4 > now_ms) {
        sim_violation(sim, "%s is suspect: heard %llu ms ago, and its connection is open",
                      worker->id, (unsigned long long)(now_ms - peer->heard_ms));
    }
}

void
sim_check_turn(sim_t *sim)
{
    if (!sim->hub) {
        return;
    }
    bool is_whole = sim->turns % WHOLE_EVERY == 0;
    if (sim->turns % AGAIN_EVERY == 0) {
        sim_check_again(sim);
    }
    shoal_cluster_t *cluster = shoal_hub_cluster(sim->hub);
    for (const shoal_job_t *job = shoal_cluster_first_job(cluster); job; job = job->next) {
        check_job(sim, job, is_whole);
    }
    const shoal_registry_t *registry = shoal_cluster_registry(cluster);
    for (int state = 0; state < SHOAL_WORKER_STATE_COUNT; state++) {
        const shoal_worker_t *worker = shoal_registry_first(registry, (shoal_worker_state_t)state);
        for (; worker; worker = worker->list_next) {
            check_worker(sim, worker);
            check_suspicion(sim, worker);
        }
    }
}

void
sim_print_head(sim_t *sim)
{
    shoal_cluster_t *cluster = shoal_hub_cluster(sim->hub);
    for (const shoal_job_t *job = shoal_cluster_first_job(cluster); job; job = job->next) {
        (void)fprintf(stderr, "sim: job %llu is %s, stage %s, runs %u%s;",
                      (unsigned long long)job->number, shoal_job_state_name((int)job->state),
                      shoal_stage_name((int)job->stage), job->running,
                      job->needs_disk ? ", waits for the disk" : "");
        for (int state = SHOAL_SHARD_WAITING; job->backlog && state < SHOAL_SHARD_STATE_COUNT;
             state++) {
            (void)fprintf(stderr, " %zu %s",
                          shoal_backlog_count(job->backlog, (shoal_shard_state_t)state),
                          shoal_shard_state_name(state));
        }
        for (const shoal_attempt_t *it = job->attempts; it; it = it->job_next) {
            (void)fprintf(stderr, "; %s runs shard %u, attempt %u%s", it->worker->id, it->shard,
                          it->number, it->is_alone ? ", alone" : "");
        }
        (void)fprintf(stderr, "\n");
    }
    const shoal_registry_t *registry = shoal_cluster_registry(cluster);
    for (int state = 0; state < SHOAL_WORKER_STATE_COUNT; state++) {
        const shoal_worker_t *worker = shoal_registry_first(registry, (shoal_worker_state_t)state);
        for (; worker; worker = worker->list_next) {
            (void)fprintf(stderr, "sim: %s is %s, %u slots, window %u, charge %u%s\n", worker->id,
                          shoal_worker_state_name(state), worker->slots, worker->window,
                          worker->charge, worker->is_alone ? ", alone" : "");
        }
    }
}
