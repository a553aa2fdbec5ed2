// SPDX-License-Identifier: Apache-2.0
//
// sources.c - see sources.h.

#include "head/cluster/sources.h"

#include <stdio.h>

#define SOURCE_FACT "source" // that check tells

static const char *
source_of(const shoal_job_t *job)
{
    for (size_t i = 0; i < job->books.fact_count; i++) {
        if (strcmp(job->books.facts[i].key, SOURCE_FACT) == 0) {
            return job->books.facts[i].text;
        }
    }
    return NULL;
}

// The bounds that the job has for a source: those with its name, else those without one.
static const shoal_spec_budget_t *
bounds_of(const shoal_job_t *job, const char *source)
{
    const shoal_spec_budget_t *found = NULL;
    for (size_t i = 0; i < job->spec.budget_count; i++) {
        const shoal_spec_budget_t *budget = &job->spec.budgets[i];
        if (source && strcmp(budget->name, source) == 0) {
            return budget;
        }
        if (!found && (budget->name[0] == '\0' || !source)) {
            found = budget;
        }
    }
    return found;
}

static void
join(shoal_cluster_t *cluster, shoal_job_t *job)
{
    char name[SHOAL_BUDGET_NAME_MAX + 1];
    const char *source = source_of(job);
    const shoal_spec_budget_t *bounds = bounds_of(job, source);
    bool is_bounded = bounds && (bounds->connections > 0 || bounds->per_second > 0);
    job->has_joined = true;
    if (!source && !is_bounded) {
        return;
    }
    if (source) {
        (void)snprintf(name, sizeof(name), "%s", source);
    } else if (bounds->name[0]) {
        (void)snprintf(name, sizeof(name), "%s", bounds->name);
    } else {
        (void)snprintf(name, sizeof(name), "job %llu", (unsigned long long)job->number);
    }
    job->budget = shoal_budget_join(cluster->budgets, shoal_slice_of(name), job->number,
                                    bounds ? bounds->connections : 0,
                                    bounds ? bounds->per_second : 0, cluster->now_ms);
}

void
shoal_sources_found(shoal_cluster_t *cluster, const shoal_attempt_t *attempt)
{
    shoal_job_t *job = attempt->job;
    if (!job->has_joined) {
        join(cluster, job);
    }
    if (job->budget) {
        shoal_budget_hold(job->budget, job->number, attempt->worker);
    }
}

bool
shoal_sources_admit(void *ctx, shoal_job_t *job, const shoal_worker_t *worker, bool by_drop)
{
    shoal_cluster_t *cluster = ctx;
    if (!job->has_joined && job->stage != SHOAL_STAGE_CHECK) {
        join(cluster, job);
    }
    if (!job->budget) {
        return true;
    }
    shoal_admission_t admission =
        shoal_budget_admits(job->budget, job->number, worker, cluster->now_ms);
    return admission == SHOAL_ADMIT || (by_drop && admission == SHOAL_ADMIT_BY_DROP);
}

void
shoal_sources_begin(shoal_cluster_t *cluster, shoal_attempt_t *attempt, uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, attempt->shard);
    uint64_t dropped_job = 0;
    const void *dropped = NULL;
    if (shard->failures == 0 && shard->losses == 0) {
        shoal_retry_budget_earn(&job->retries);
    }
    if (!job->budget) {
        return;
    }
    attempt->has_seat = true;
    attempt->source_epoch = shoal_budget_epoch(job->budget);
    if (!shoal_budget_begin(job->budget, job->number, attempt->worker, now_ms, &dropped_job,
                            &dropped)) {
        return;
    }
    shoal_worker_t *worker = NULL;
    for (int state = 0; state < SHOAL_WORKER_LOST && !worker; state++) {
        worker = shoal_registry_first(cluster->registry, (shoal_worker_state_t)state);
        while (worker && worker != dropped) {
            worker = worker->list_next;
        }
    }
    if (worker && shoal_worker_drop_actor(worker, dropped_job)) {
        cluster->config.port.drop_actor(cluster->config.port.ctx, worker, dropped_job);
    }
}

void
shoal_sources_end(shoal_attempt_t *attempt)
{
    if (attempt->has_seat) {
        attempt->has_seat = false;
        shoal_budget_end(attempt->job->budget, attempt->job->number, attempt->worker);
    }
}

bool
shoal_sources_refused(shoal_attempt_t *attempt, const shoal_status_t *why, uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    if (!attempt->has_seat || why->code != SHOAL_LIMIT || why->error_class != SHOAL_TRANSIENT) {
        return false;
    }
    char text[SHOAL_NOTE_TEXT_MAX];
    attempt->has_seat = false;
    bool had_others = shoal_budget_refused(job->budget, job->number, attempt->worker,
                                           attempt->source_epoch, now_ms);
    if (had_others) {
        (void)snprintf(text, sizeof(text), "%s refused connections: fewer calls use it for a while",
                       shoal_budget_name(job->budget));
        shoal_books_warn(&job->books, shoal_slice_of(text), 1);
    }
    return had_others;
}

void
shoal_sources_pin(const shoal_attempt_t *attempt)
{
    if (attempt->has_seat) {
        shoal_budget_pin(attempt->job->budget, attempt->job->number, attempt->worker);
    }
}

void
shoal_sources_leave(shoal_cluster_t *cluster, shoal_job_t *job)
{
    if (job->budget) {
        shoal_budget_leave(cluster->budgets, job->budget, job->number);
        job->budget = NULL;
    }
}
