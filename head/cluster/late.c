// SPDX-License-Identifier: Apache-2.0
//
// late.c - see cluster_parts.h: jobs and shards that may last so long only, and jobs whose sinks write
// by themselves, which are not over before nobody can write for them any more (promise 2).

#include "head/cluster/cluster_parts.h"

static void
late_at(shoal_cluster_t *cluster, uint64_t due_ms)
{
    cluster->late_ms = due_ms < cluster->late_ms ? due_ms : cluster->late_ms;
}

void
shoal_cluster_time_job(shoal_cluster_t *cluster, shoal_job_t *job)
{
    uint64_t timeout_ms = job->spec.timeout_ms;
    job->deadline_ms = timeout_ms > 0 ? job->created_ms + timeout_ms : SHOAL_TIME_NEVER;
    late_at(cluster, job->deadline_ms);
}

// Whether the time of a job's shards is limited, and this is one of them.
static bool
is_timed(const shoal_attempt_t *attempt)
{
    return attempt->job->spec.shard_timeout_ms > 0 && attempt->shard >= SHOAL_SHARD_FIRST;
}

void
shoal_cluster_time_attempt(shoal_cluster_t *cluster, shoal_attempt_t *attempt, uint64_t now_ms)
{
    attempt->started_ms = now_ms;
    if (is_timed(attempt)) {
        late_at(cluster, now_ms + attempt->job->spec.shard_timeout_ms);
    }
}

uint64_t
shoal_cluster_loss_delay(shoal_cluster_t *cluster, shoal_job_t *job, bool is_dead, uint64_t now_ms)
{
    if (job->write_ms == 0) {
        return 0;
    }
    uint64_t delay_ms = job->write_ms + (is_dead ? 0 : cluster->config.lease_ms);
    if (now_ms + delay_ms > job->quiet_ms) {
        job->quiet_ms = now_ms + delay_ms;
        late_at(cluster, job->quiet_ms);
    }
    return delay_ms;
}

static void
job_time_out(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail_as(&why, SHOAL_FATAL, SHOAL_TIMEOUT,
                        "the job has taken longer than the %.1f s that it may "
                        "(distributedExecution.timeoutSeconds)",
                        (double)job->spec.timeout_ms / 1000.0);
    shoal_cluster_fail_job(cluster, job, &why, now_ms);
}

// Ends the first attempt of the job whose time is over; false if there is none.
static bool
attempt_time_out(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms)
{
    uint64_t timeout_ms = job->spec.shard_timeout_ms;
    shoal_attempt_t *attempt = timeout_ms > 0 ? job->attempts : NULL;
    while (attempt && !(is_timed(attempt) && attempt->started_ms + timeout_ms <= now_ms)) {
        attempt = attempt->job_next;
    }
    if (!attempt) {
        return false;
    }
    shoal_worker_t *worker = attempt->worker;
    uint64_t call = attempt->call;
    uint32_t number = attempt->number;
    const shoal_port_t *port = &cluster->config.port;
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_TIMEOUT,
                     "it has run for longer than the %.1f s that a shard may "
                     "(distributedExecution.shardTimeoutSeconds)",
                     (double)timeout_ms / 1000.0);
    shoal_cluster_fail(cluster, attempt, SHOAL_END_LATE, &why, now_ms);
    port->cancel(port->ctx, worker, call, number, "it has run for longer than it may");
    return true;
}

// When something of a job has to be looked at again.
static void
job_time_next(shoal_cluster_t *cluster, const shoal_job_t *job)
{
    late_at(cluster, job->deadline_ms);
    if (job->quiet_ms > 0) {
        late_at(cluster, job->quiet_ms);
    }
    for (const shoal_attempt_t *attempt = job->spec.shard_timeout_ms > 0 ? job->attempts : NULL;
         attempt; attempt = attempt->job_next) {
        if (is_timed(attempt)) {
            late_at(cluster, attempt->started_ms + job->spec.shard_timeout_ms);
        }
    }
}

void
shoal_cluster_end_late(shoal_cluster_t *cluster, uint64_t now_ms)
{
    if (now_ms < cluster->late_ms) {
        return;
    }
    cluster->late_ms = SHOAL_TIME_NEVER;
    for (shoal_job_t *job = cluster->first; job; job = job->next) {
        if (shoal_job_is_final(job)) {
            continue;
        }
        if (job->deadline_ms <= now_ms) {
            job_time_out(cluster, job, now_ms);
            continue;
        }
        while (!shoal_job_is_final(job) && attempt_time_out(cluster, job, now_ms)) {
        }
        if (!shoal_job_is_final(job) && job->quiet_ms > 0 && job->quiet_ms <= now_ms) {
            job->quiet_ms = 0;
            shoal_cluster_settle(cluster, job, now_ms);
        }
        if (!shoal_job_is_final(job)) {
            job_time_next(cluster, job);
        }
    }
}
