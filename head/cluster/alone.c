// SPDX-License-Identifier: Apache-2.0
//
// alone.c - see cluster_parts.h: shards that run alone, because workers crashed while they ran.
//
// Such a shard is set aside (DELAYED) until a worker has nothing else to do. One that has gets nothing
// new meanwhile: it is kept for the shard. There are few of them, so each is looked at in turn.

#include <stdlib.h>

#include "head/cluster/cluster_parts.h"
#include "proto/base/alloc.h"

#define LOOK_MS 100 // between two searches for a worker, when there was none

struct shoal_alone {
    uint64_t call;
    shoal_worker_t *worker; // kept for it; NULL: none yet
};

static void
worker_release(shoal_cluster_t *cluster, shoal_alone_t *alone)
{
    shoal_worker_t *worker = alone->worker;
    alone->worker = NULL;
    if (worker && worker->kept_for == alone->call) {
        worker->kept_for = 0;
        shoal_worker_refeed(cluster->registry, worker);
    }
}

void
shoal_cluster_set_aside(shoal_cluster_t *cluster, shoal_job_t *job, uint32_t shard)
{
    uint64_t call = shoal_call_number(job->number, shard);
    shoal_backlog_set(job->backlog, shard, SHOAL_SHARD_DELAYED);
    shoal_scheduler_update(cluster->scheduler, job);
    cluster->alone_ms = 0;
    for (size_t i = 0; i < cluster->alone_count; i++) {
        if (cluster->alone[i].call == call) {
            return;
        }
    }
    if (cluster->alone_count == cluster->alone_size) {
        cluster->alone_size = cluster->alone_size ? cluster->alone_size * 2 : 8;
        cluster->alone =
            shoal_realloc(cluster->alone, cluster->alone_size * sizeof(*cluster->alone));
    }
    cluster->alone[cluster->alone_count++] = (shoal_alone_t){.call = call};
}

// The job of a shard that still waits for its turn, or NULL.
static shoal_job_t *
waiting_job(shoal_cluster_t *cluster, uint64_t call)
{
    shoal_job_t *job = shoal_cluster_job(cluster, shoal_call_job(call));
    if (!job || shoal_job_is_final(job) || job->is_stopping) {
        return NULL;
    }
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, shoal_call_shard(call));
    return shard->state == SHOAL_SHARD_DELAYED ? job : NULL;
}

static bool
may_start(const shoal_job_t *job)
{
    return !job->needs_disk && (job->spec.parallelism == 0 || job->running < job->spec.parallelism);
}

// Of those that could run the job: the one with the least to finish first.
static shoal_worker_t *
worker_choose(const shoal_cluster_t *cluster, const shoal_job_t *job)
{
    shoal_worker_t *best = NULL;
    shoal_worker_t *worker = shoal_registry_first(cluster->registry, SHOAL_WORKER_ALIVE);
    for (; worker && !(best && best->running == 0); worker = worker->list_next) {
        if (worker->kept_for == 0 && !worker->is_alone && worker->window > 0 &&
            shoal_profile_has(cluster->registry, worker->profile, job->class_number) &&
            (!best || worker->running < best->running)) {
            best = worker;
        }
    }
    return best;
}

// False: it waits on.
static bool
alone_try(shoal_cluster_t *cluster, shoal_alone_t *alone, bool may_search, uint64_t now_ms)
{
    shoal_job_t *job = waiting_job(cluster, alone->call);
    if (!job) {
        worker_release(cluster, alone);
        return true;
    }
    if (alone->worker && alone->worker->state != SHOAL_WORKER_ALIVE) {
        worker_release(cluster, alone);
    }
    if (!alone->worker && may_search && may_start(job)) {
        alone->worker = worker_choose(cluster, job);
        if (alone->worker) {
            alone->worker->kept_for = alone->call;
            shoal_worker_refeed(cluster->registry, alone->worker);
        }
    }
    if (!alone->worker || alone->worker->running > 0 || !may_start(job)) {
        return false;
    }
    shoal_choice_t choice = {.job = job,
                             .worker = alone->worker,
                             .shard = shoal_call_shard(alone->call),
                             .charge = SHOAL_CHARGE_FULL};
    worker_release(cluster, alone);
    shoal_cluster_start(cluster, &choice, now_ms);
    return true;
}

void
shoal_cluster_run_alone(shoal_cluster_t *cluster, uint64_t now_ms)
{
    bool may_search = now_ms >= cluster->alone_ms;
    for (size_t i = 0; i < cluster->alone_count;) {
        shoal_alone_t alone = cluster->alone[i];
        if (alone_try(cluster, &alone, may_search, now_ms)) { // which may have set another aside
            cluster->alone[i] = cluster->alone[--cluster->alone_count];
        } else {
            cluster->alone[i++] = alone;
        }
    }
    if (may_search) {
        cluster->alone_ms = now_ms + LOOK_MS;
    }
}

uint64_t
shoal_cluster_next_alone(const shoal_cluster_t *cluster)
{
    return cluster->alone_count > 0 ? cluster->alone_ms : SHOAL_TIME_NEVER;
}

void
shoal_cluster_leave_alone(shoal_cluster_t *cluster, const shoal_worker_t *worker)
{
    for (size_t i = 0; i < cluster->alone_count; i++) {
        if (cluster->alone[i].worker == worker) {
            worker_release(cluster, &cluster->alone[i]);
        }
    }
}
