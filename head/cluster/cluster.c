// SPDX-License-Identifier: Apache-2.0
//
// cluster.c - see cluster.h: birth and death, attempts and the ends of jobs.

#include <stdlib.h>

#include "head/cluster/cluster_parts.h"
#include "head/cluster/mail.h"
#include "head/cluster/run.h"
#include "head/cluster/sources.h"
#include "head/hub/summary.h"
#include "proto/base/alloc.h"

// A letter is in the journal with what has made it.
static void
letter_put(void *ctx, uint64_t job, const shoal_letter_t *letter)
{
    const shoal_cluster_t *cluster = ctx;
    shoal_ledger_letter(cluster->ledger, job, letter->number,
                        (shoal_slice_t){letter->bytes, letter->len});
}

static void
letter_drop(void *ctx, uint64_t job, uint64_t number)
{
    const shoal_cluster_t *cluster = ctx;
    shoal_ledger_drop_letter(cluster->ledger, job, number);
}

shoal_cluster_t *
shoal_cluster_new(const shoal_cluster_config_t *config)
{
    shoal_cluster_t *cluster = shoal_alloc(sizeof(*cluster));
    cluster->config = *config;
    cluster->registry = shoal_registry_new();
    cluster->scheduler = shoal_scheduler_new(cluster->registry);
    cluster->budgets = shoal_budgets_new();
    shoal_scheduler_ask(cluster->scheduler, shoal_sources_admit, cluster);
    cluster->attempts = shoal_attempts_new(config->lease_ms);
    cluster->delays = shoal_delays_new();
    cluster->job_ids = shoal_names_new();
    cluster->job_numbers = shoal_names_new();
    cluster->chance = config->seed | 1;
    cluster->letters_hooks = (shoal_letters_hooks_t){cluster, letter_put, letter_drop};
    cluster->owns_ledger = !config->ledger;
    cluster->ledger = config->ledger ? config->ledger : shoal_ledger_new(NULL);
    cluster->late_ms = SHOAL_TIME_NEVER;
    return cluster;
}

void
shoal_cluster_unlink(shoal_cluster_t *cluster, shoal_attempt_t *attempt)
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
    shoal_mail_forget(job, attempt);
    shoal_sources_end(attempt);
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
            shoal_cluster_unlink(*cluster, job->attempts);
        }
        shoal_ledger_close((*cluster)->ledger, &job->page);
        shoal_job_destroy(&job);
        job = next;
    }
    shoal_names_destroy(&(*cluster)->job_ids);
    shoal_names_destroy(&(*cluster)->job_numbers);
    shoal_delays_destroy(&(*cluster)->delays);
    shoal_attempts_destroy(&(*cluster)->attempts);
    shoal_scheduler_destroy(&(*cluster)->scheduler);
    shoal_budgets_destroy(&(*cluster)->budgets);
    shoal_registry_destroy(&(*cluster)->registry);
    if ((*cluster)->owns_ledger) {
        shoal_ledger_destroy(&(*cluster)->ledger);
    }
    shoal_buffer_fini(&(*cluster)->args);
    free((*cluster)->alone);
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

void
shoal_cluster_hold(shoal_cluster_t *cluster, shoal_job_t *job)
{
    bool is_durable = job->lsn <= shoal_ledger_durable(cluster->ledger);
    cluster->held -= job->is_held;
    job->is_held = !is_durable;
    cluster->held += job->is_held;
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

shoal_attempt_t *
shoal_cluster_attempt(shoal_cluster_t *cluster, const shoal_worker_t *worker, uint64_t call,
                      uint64_t number)
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

void
shoal_cluster_changed(shoal_cluster_t *cluster, shoal_job_t *job, bool is_urgent)
{
    cluster->config.port.changed(cluster->config.port.ctx, job, is_urgent);
}

void
shoal_cluster_cancel(shoal_cluster_t *cluster, shoal_attempt_t *attempt, const char *reason)
{
    shoal_worker_t *worker = attempt->worker;
    uint64_t call = attempt->call;
    uint32_t number = attempt->number;
    shoal_draft_destroy(&attempt->draft);
    shoal_cluster_unlink(cluster, attempt);
    cluster->config.port.cancel(cluster->config.port.ctx, worker, call, number, reason);
}

// Shards that were given up become letters. False: they are too many, and the job has an end.
static bool
letters_bury(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (job->buried_count == 0 || job->spec.plan_only ||
        shoal_mail_bury(job, shoal_cluster_wall(cluster, now_ms), &why)) {
        return true;
    }
    shoal_books_error(&job->books, &why, SHOAL_SLICE_NONE, "");
    shoal_job_stop(job, SHOAL_JOB_FAILED);
    return false;
}

// Tells the ledger how the job has ended; what depends on it waits for that.
static void
end_note(shoal_cluster_t *cluster, shoal_job_t *job)
{
    shoal_buffer_t end = SHOAL_BUFFER_INIT;
    shoal_buffer_t outputs = SHOAL_BUFFER_INIT;
    shoal_final_write(job, &end);
    if (job->output) {
        shoal_output_write_commits(job->output, &outputs);
    }
    shoal_journal_job_t row = {.number = job->number,
                               .state = (unsigned)job->state,
                               .end = shoal_buffer_slice(&end),
                               .outputs = shoal_buffer_slice(&outputs),
                               .finished_ms = job->finished_ms};
    shoal_ledger_end(cluster->ledger, &job->page, &row);
    shoal_buffer_fini(&end);
    shoal_buffer_fini(&outputs);
    job->lsn = shoal_ledger_lsn(cluster->ledger);
    if (job->output) {
        shoal_output_finish(job->output, job->lsn);
    }
    shoal_cluster_hold(cluster, job);
}

void
shoal_cluster_end_job(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms)
{
    const shoal_port_t *port = &cluster->config.port;
    while (job->attempts) {
        uint32_t shard = job->attempts->shard;
        shoal_cluster_cancel(cluster, job->attempts,
                             job->end_state == SHOAL_JOB_STOPPED ? "the job was stopped"
                                                                 : "the job has ended");
        shoal_backlog_set(job->backlog, shard, SHOAL_SHARD_WAITING);
    }
    if (job->needs_disk) {
        job->needs_disk = false;
        cluster->disk_waiters--;
    }
    shoal_sources_leave(cluster, job);
    (void)letters_bury(cluster, job, now_ms);
    shoal_buffer_clear(&job->final_detail);
    shoal_summary_write(job, job->end_state, cluster->registry, now_ms, &job->final_detail);
    shoal_job_finish(job, now_ms);
    cluster->spec_bytes -= job->args ? 0 : job->args_len;
    end_note(cluster, job);
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
    shoal_cluster_changed(cluster, job, true);
}

void
shoal_cluster_settle(shoal_cluster_t *cluster, shoal_job_t *job, uint64_t now_ms)
{
    if (shoal_job_is_final(job)) {
        return;
    }
    shoal_stage_t stage = job->stage;
    (void)letters_bury(cluster, job, now_ms);
    bool is_quiet = job->quiet_ms <= now_ms || job->is_stopping; // nobody writes for it any more
    bool is_over = is_quiet && shoal_job_advance(job);
    if (job->opening.len > 0) { // a run has begun
        shoal_entry_t entry = {.kind = SHOAL_ENTRY_RUN, .bytes = shoal_buffer_slice(&job->opening)};
        shoal_ledger_add(cluster->ledger, &job->page, &entry);
        shoal_buffer_fini(&job->opening);
    }
    if (is_over) {
        shoal_cluster_end_job(cluster, job, now_ms);
        return;
    }
    shoal_scheduler_update(cluster->scheduler, job);
    shoal_cluster_changed(cluster, job, stage != job->stage);
}

void
shoal_cluster_fail_job(shoal_cluster_t *cluster, shoal_job_t *job, const shoal_status_t *why,
                       uint64_t now_ms)
{
    if (!job->is_stopping) {
        shoal_books_error(&job->books, why, SHOAL_SLICE_NONE, "");
        shoal_job_stop(job, SHOAL_JOB_FAILED);
    }
    shoal_cluster_settle(cluster, job, now_ms);
}

void
shoal_cluster_fail(shoal_cluster_t *cluster, shoal_attempt_t *attempt, shoal_end_t end,
                   const shoal_status_t *why, uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    uint32_t shard = attempt->shard;
    uint32_t number = attempt->number;
    shoal_worker_t *worker = attempt->worker;
    const shoal_port_t *port = &cluster->config.port;
    if (end == SHOAL_END_FAILED && shoal_sources_refused(attempt, why, now_ms)) {
        end = SHOAL_END_DECLINED;
    }
    bool may_go_on = end == SHOAL_END_LOST || end == SHOAL_END_LATE;
    uint64_t hold_ms =
        may_go_on ? shoal_cluster_loss_delay(cluster, job, worker->is_dead, now_ms) : 0;
    if (end == SHOAL_END_FAILED || may_go_on) {
        port->ended(port->ctx, job, attempt, why);
        shoal_mail_note(job, shard, attempt->number, shoal_end_name(end), why, worker->label,
                        shoal_cluster_wall(cluster, now_ms));
    }
    shoal_draft_destroy(&attempt->draft);
    shoal_cluster_unlink(cluster, attempt);
    if (end == SHOAL_END_LOST) {
        cluster->counts.lost++;
    }
    shoal_entry_t entry = {.kind = SHOAL_ENTRY_FAILED,
                           .shard = shard,
                           .attempt = number,
                           .end = (uint64_t)end,
                           .error_class = (uint64_t)why->error_class,
                           .code = (uint64_t)why->code,
                           .text = shoal_slice_of(why->text),
                           .key = shoal_slice_of(why->key),
                           .chance = chance_next(cluster),
                           .at_ms = now_ms};
    shoal_ledger_add(cluster->ledger, &job->page, &entry);
    uint64_t delay = shoal_job_shard_failed(job, shard, end, why, worker->id, entry.chance);
    if (end == SHOAL_END_FAILED && delay != SHOAL_JOB_NO_RETRY) {
        delay = shoal_retry_budget_spend(&job->retries, delay);
    }
    if (delay != SHOAL_JOB_NO_RETRY && delay > 0) {
        delay = delay < hold_ms ? hold_ms : delay;
        shoal_delay_add(cluster->delays, now_ms + delay, shoal_call_number(job->number, shard));
    }
    shoal_cluster_settle(cluster, job, now_ms);
}
