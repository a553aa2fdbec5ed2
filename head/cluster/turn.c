// SPDX-License-Identifier: Apache-2.0
//
// turn.c - see cluster.h: what a turn starts, and what its time has come for.

#include "head/cluster/cluster_parts.h"
#include "head/cluster/run.h"
#include "head/cluster/sources.h"
#include "proto/record/writer.h"

// The arguments of a call: those of its shard, or what its stage says.
static shoal_slice_t
call_args(shoal_cluster_t *cluster, const shoal_job_t *job, uint32_t index)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    shoal_buffer_t *args = &cluster->args;
    shoal_buffer_clear(args);
    if (job->of && index >= SHOAL_SHARD_FIRST) {
        shoal_run_args(job, index, args);
        return shoal_buffer_slice(args);
    }
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

static const char *
call_method(const shoal_job_t *job, uint32_t index)
{
    return job->of && index >= SHOAL_SHARD_FIRST
               ? shoal_run_method(job, index)
               : shoal_stage_name(shoal_backlog_at(job->backlog, index)->stage);
}

// The attempt could not be sent: its worker is cut off, or reads nothing.
static void
attempt_take_back(shoal_cluster_t *cluster, shoal_attempt_t *attempt, shoal_port_sent_t sent,
                  uint64_t now_ms)
{
    shoal_worker_t *worker = attempt->worker;
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_UNAVAILABLE, "worker \"%s\" cannot be reached", worker->label);
    shoal_cluster_fail(cluster, attempt, SHOAL_END_RETURNED, &why, now_ms);
    if (sent == SHOAL_PORT_CUT) {
        shoal_cluster_note(cluster, worker, SHOAL_WORKER_ON_CUT);
    } else {
        shoal_cluster_lose(cluster, worker, SHOAL_WORKER_ON_LOSE,
                           "it does not read what it is sent", now_ms);
    }
}

static uint32_t
number_next(const shoal_job_t *job, const shoal_shard_t *shard)
{
    return (shard->attempt > job->attempt_base ? shard->attempt : job->attempt_base) + 1;
}

// Makes the attempt the live one of its shard and puts it among those of its job.
static void
attempt_link(shoal_job_t *job, uint32_t index, shoal_attempt_t *attempt)
{
    shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    shard->live = attempt->index;
    attempt->job = job;
    attempt->call = shoal_call_number(job->number, index);
    attempt->number = shard->attempt;
    attempt->shard = index;
    attempt->is_alone = shard->crashes >= SHOAL_CRASHES_MAX; // nobody else pays if it crashes
    attempt->job_next = job->attempts;
    if (job->attempts) {
        job->attempts->job_prev = attempt;
    }
    job->attempts = attempt;
    job->running++;
    job->running_charge += attempt->charge;
}

// Tells the ledger who has it now; with its first attempt the job begins.
static void
start_note(shoal_cluster_t *cluster, shoal_attempt_t *attempt, uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    const shoal_worker_t *worker = attempt->worker;
    if (job->state == SHOAL_JOB_PENDING) {
        job->state = SHOAL_JOB_RUNNING;
        job->started_ms = now_ms;
        shoal_entry_t begun = {.kind = SHOAL_ENTRY_BEGUN, .at_ms = now_ms};
        shoal_ledger_add(cluster->ledger, &job->page, &begun);
        shoal_cluster_changed(cluster, job, true);
    }
    shoal_ledger_worker_t who = {worker->number, worker->incarnation, worker->id, worker->name,
                                 SHOAL_SLICE_NONE};
    if (worker->has_key) {
        who.key = (shoal_slice_t){(const char *)worker->proven.bytes, SHOAL_KEY_BYTES};
    }
    shoal_ledger_start(cluster->ledger, &job->page, attempt->shard, attempt->number, &who);
}

void
shoal_cluster_start(shoal_cluster_t *cluster, const shoal_choice_t *choice, uint64_t now_ms)
{
    shoal_job_t *job = choice->job;
    shoal_shard_t *shard = shoal_backlog_at(job->backlog, choice->shard);
    uint32_t credit =
        shard->stage == SHOAL_STAGE_DISCOVER ? SHOAL_DISCOVER_CREDIT : SHOAL_STREAM_CREDIT;
    uint64_t call = shoal_call_number(job->number, choice->shard);
    uint32_t number = number_next(job, shard);
    shoal_draft_t *draft = NULL;
    shoal_attempt_t *attempt = shoal_attempt_begin(cluster->attempts, now_ms);
    if (attempt && shoal_job_collects(job, shard)) {
        draft = shoal_draft_new(job->output, call, number, attempt, &credit);
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
        shoal_cluster_changed(cluster, job, false);
        return;
    }
    shard->attempt = number;
    attempt->charge = choice->charge;
    attempt->draft = draft;
    attempt->credit = credit;
    attempt_link(job, choice->shard, attempt);
    if (job->running == 1) { // it waits for nothing any more
        shoal_cluster_changed(cluster, job, false);
    }
    shoal_cluster_time_attempt(cluster, attempt, now_ms);
    shoal_worker_add_attempt(cluster->registry, choice->worker, attempt);
    shoal_scheduler_update(cluster->scheduler, job);
    start_note(cluster, attempt, now_ms);
    shoal_sources_begin(cluster, attempt, now_ms);
    cluster->counts.calls++;
    const shoal_port_t *port = &cluster->config.port;
    uint64_t limit = shard->stage == SHOAL_STAGE_MAP ? shoal_job_records_left(job) : 0;
    shoal_port_sent_t sent =
        port->call(port->ctx, choice->worker, attempt, call_method(job, choice->shard),
                   call_args(cluster, job, choice->shard), limit, credit);
    if (sent != SHOAL_PORT_SENT) {
        attempt_take_back(cluster, attempt, sent, now_ms);
    }
}

// An attempt that cannot be made live again ends uncounted.
static void
attempt_give_back(shoal_cluster_t *cluster, shoal_job_t *job, uint32_t index, uint64_t now_ms)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_UNAVAILABLE, "the head was started again");
    shoal_entry_t entry = {.kind = SHOAL_ENTRY_FAILED,
                           .shard = index,
                           .attempt = shoal_backlog_at(job->backlog, index)->attempt,
                           .end = SHOAL_END_RETURNED,
                           .error_class = (uint64_t)why.error_class,
                           .code = (uint64_t)why.code,
                           .text = shoal_slice_of(why.text),
                           .at_ms = now_ms};
    shoal_ledger_add(cluster->ledger, &job->page, &entry);
    (void)shoal_job_shard_failed(job, index, SHOAL_END_RETURNED, &why, "", 0);
}

bool
shoal_cluster_recover(shoal_cluster_t *cluster, shoal_job_t *job, uint32_t index,
                      shoal_worker_t *worker, uint64_t now_ms)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    shoal_attempt_t *attempt = worker ? shoal_attempt_begin(cluster->attempts, now_ms) : NULL;
    if (!attempt) {
        attempt_give_back(cluster, job, index, now_ms);
        return false;
    }
    bool is_small = shard->cost_us > 0 && shard->cost_us <= SHOAL_SMALL_COST_US;
    attempt->charge = is_small ? 1 : SHOAL_CHARGE_FULL;
    attempt->is_recovered = true;
    attempt->credit =
        shard->stage == SHOAL_STAGE_DISCOVER ? SHOAL_DISCOVER_CREDIT : SHOAL_STREAM_CREDIT;
    attempt_link(job, index, attempt);
    if (shoal_job_collects(job, shard)) {
        attempt->draft = shoal_draft_restore(job->output, attempt->call, attempt->number, attempt);
    }
    shoal_worker_add_attempt(cluster->registry, worker, attempt);
    (void)shoal_sources_admit(cluster, job, worker, false); // so that it knows its source
    shoal_sources_begin(cluster, attempt, now_ms);
    shoal_cluster_time_attempt(cluster, attempt, now_ms);
    return true;
}

// The ledger may have fallen behind, or caught up; a disk that takes nothing is as far behind as can
// be. True: nothing may be started.
static bool
behind_update(shoal_cluster_t *cluster)
{
    bool is_behind = shoal_ledger_is_behind(cluster->ledger) ||
                     (shoal_ledger_is_on(cluster->ledger) && cluster->config.outputs &&
                      shoal_outputs_info(cluster->config.outputs).is_stalled);
    if (is_behind == cluster->is_behind) {
        return is_behind;
    }
    cluster->is_behind = is_behind;
    if (!is_behind) {
        shoal_cluster_grant_again(cluster);
    }
    for (shoal_job_t *job = cluster->first; job; job = job->next) {
        if (is_behind && !shoal_job_is_final(job) && !job->needs_disk) {
            job->needs_disk = true;
            cluster->disk_waiters++;
            shoal_cluster_changed(cluster, job, false);
        }
    }
    return is_behind;
}

void
shoal_cluster_dispatch(shoal_cluster_t *cluster, uint64_t now_ms)
{
    shoal_choice_t choice;
    cluster->now_ms = now_ms;
    if (behind_update(cluster)) {
        return;
    }
    if (cluster->alone_count > 0) {
        shoal_cluster_run_alone(cluster, now_ms);
    }
    while (shoal_scheduler_choose(cluster->scheduler, &choice)) {
        if (shoal_backlog_at(choice.job->backlog, choice.shard)->crashes >= SHOAL_CRASHES_MAX) {
            shoal_cluster_set_aside(cluster, choice.job, choice.shard);
            shoal_cluster_run_alone(cluster, now_ms);
        } else {
            shoal_cluster_start(cluster, &choice, now_ms);
        }
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
        shoal_cluster_fail(cluster, attempt, SHOAL_END_LOST, &why, now_ms);
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
    shoal_cluster_end_late(cluster, now_ms);
    delays_end(cluster, now_ms);
    shoal_cluster_retain(cluster, now_ms);
    shoal_cluster_dispatch(cluster, now_ms);
}

void
shoal_cluster_disk(shoal_cluster_t *cluster)
{
    if (behind_update(cluster) || cluster->disk_waiters == 0) {
        return;
    }
    for (shoal_job_t *job = cluster->first; job; job = job->next) {
        // Where there is none a try would be in vain, and would be another turn's reason to try.
        if (job->needs_disk && (!job->output || shoal_output_has_room(job->output))) {
            job->needs_disk = false;
            cluster->disk_waiters--;
            shoal_scheduler_update(cluster->scheduler, job);
        }
    }
}

uint64_t
shoal_cluster_next(const shoal_cluster_t *cluster)
{
    uint64_t lease = shoal_attempts_next(cluster->attempts);
    uint64_t delay = shoal_delays_next(cluster->delays);
    uint64_t alone = cluster->is_behind ? SHOAL_TIME_NEVER : shoal_cluster_next_alone(cluster);
    uint64_t next = lease < delay ? lease : delay;
    uint64_t retain = shoal_cluster_next_retain(cluster);
    next = retain < next ? retain : next;
    next = alone < next ? alone : next;
    uint64_t budget = shoal_budgets_next(cluster->budgets, cluster->now_ms);
    next = budget < next ? budget : next;
    return cluster->late_ms < next ? cluster->late_ms : next;
}
