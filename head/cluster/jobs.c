// SPDX-License-Identifier: Apache-2.0
//
// jobs.c - see cluster.h: the jobs that clients submit, find and stop.

#include <assert.h>

#include "head/cluster/cluster_parts.h"
#include "head/cluster/run.h"
#include "proto/base/utf8.h"

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
    cluster->held -= job->is_held;
    shoal_names_remove(cluster->job_ids, shoal_slice_of(job->id));
    shoal_names_remove(cluster->job_numbers, number_key(&job->number));
    *(job->prev ? &job->prev->next : &cluster->first) = job->next;
    *(job->next ? &job->next->prev : &cluster->last) = job->prev;
    cluster->job_count--;
    cluster->spec_bytes -= job->args ? job->args_len : 0;
    shoal_registry_release_class(cluster->registry, job->class_number);
    shoal_job_destroy(&job);
}

// The last run first: whatever the disk has of it when the head ends, no run is there without its job.
static void
family_strike(shoal_cluster_t *cluster, shoal_job_t *job)
{
    for (const shoal_job_t *until = NULL; until != job;) {
        shoal_job_t *last = job;
        while (last->next_run != until) {
            last = last->next_run;
        }
        shoal_ledger_forget(cluster->ledger, &last->page);
        until = last;
    }
}

// In memory a job is forgotten before its runs: its watches may read their output.
void
shoal_cluster_forget(shoal_cluster_t *cluster, shoal_job_t *job)
{
    family_strike(cluster, job);
    for (shoal_job_t *next; job; job = next) {
        next = job->next_run;
        job_forget(cluster, job);
    }
}

// Makes room for one more job, but not by forgetting `keep`; false if all others are still needed.
static bool
room_make(shoal_cluster_t *cluster, const shoal_job_t *keep)
{
    if (cluster->job_count < SHOAL_JOBS_MAX) {
        return true;
    }
    for (shoal_job_t *job = cluster->first; job; job = job->next) {
        if (job != keep && !job->of && shoal_cluster_may_forget(cluster, job)) {
            shoal_cluster_forget(cluster, job);
            return true;
        }
    }
    return false;
}

// Whether there is room for one more job; makes some where old ones can go.
static bool
job_admit(shoal_cluster_t *cluster, size_t payload_len, const shoal_spec_t *spec,
          const shoal_job_t *base, shoal_status_t *status)
{
    if (payload_len > SHOAL_SPEC_BYTES_MAX ||
        cluster->spec_bytes + spec->args.len > SHOAL_JOBS_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT,
                          "the specifications of jobs are too large (%d bytes each, %d together)",
                          SHOAL_SPEC_BYTES_MAX, SHOAL_JOBS_BYTES_MAX);
    }
    if (shoal_registry_class(cluster->registry, spec->class_name) < 0) {
        return shoal_fail(status, SHOAL_LIMIT, "there are over %d names of classes",
                          SHOAL_CLASSES_MAX);
    }
    return room_make(cluster, base) ||
           shoal_fail(status, SHOAL_LIMIT, "%d jobs are not finished yet, or still being fetched",
                      SHOAL_JOBS_MAX);
}

// Makes the job and puts it at the end of all jobs.
static shoal_job_t *
job_add(shoal_cluster_t *cluster, uint64_t number, shoal_slice_t id, const shoal_spec_t *spec,
        int class_number, uint64_t created_ms)
{
    shoal_job_t *job = shoal_job_new(number, id, spec, (unsigned)class_number, created_ms);
    uint64_t life = cluster->config.life;
    job->attempt_base = (uint32_t)(life > 0 ? (life - 1) * SHOAL_LIFE_ATTEMPTS : 0);
    shoal_registry_hold_class(cluster->registry, (unsigned)class_number);
    if (spec->collect && cluster->config.outputs) {
        job->output = shoal_output_new(cluster->config.outputs, job->number, true);
    }
    job->prev = cluster->last;
    *(cluster->last ? &cluster->last->next : &cluster->first) = job;
    cluster->last = job;
    cluster->job_count++;
    cluster->spec_bytes += job->args_len;
    shoal_names_add(cluster->job_ids, shoal_slice_of(job->id), job);
    shoal_names_add(cluster->job_numbers, number_key(&job->number), job);
    shoal_cluster_time_job(cluster, job);
    return job;
}

// A job has letters of its own, a run those of the job that it is a run of.
static void
job_letters(shoal_cluster_t *cluster, shoal_job_t *job, shoal_job_t *base, shoal_run_plan_t *plan)
{
    if (base) {
        shoal_run_attach(job, base, plan);
    } else {
        job->letters =
            shoal_letters_new(job->number, &cluster->letter_bytes, &cluster->letters_hooks);
    }
}

// A run has the specification of the job that it is a run of.
static void
inherit(const shoal_cluster_t *cluster, const shoal_job_t *base, shoal_spec_t *spec)
{
    *spec = base->spec;
    spec->name = shoal_slice_of(base->name);
    spec->class_name =
        shoal_slice_of(shoal_registry_class_name(cluster->registry, base->class_number));
    spec->args = base->args ? (shoal_slice_t){base->args, base->args_len} : SHOAL_SLICE("\xc0");
    spec->limit = 0;
    spec->plan_only = false;
    spec->retry_of = base->number;
}

static bool
retry_prepare(shoal_cluster_t *cluster, shoal_spec_t *spec, shoal_job_t **ret_base,
              shoal_run_plan_t *ret_plan, shoal_status_t *status)
{
    shoal_job_t *base = shoal_cluster_job(cluster, spec->retry_of);
    base = base && base->of ? base->of : base;
    if (!base) {
        return shoal_fail(status, SHOAL_NOT_FOUND, "there is no job %llu here",
                          (unsigned long long)spec->retry_of);
    }
    if (!shoal_job_is_final(base)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "job %llu has not ended yet; its dead letters can be tried again when "
                          "it has",
                          (unsigned long long)base->number);
    }
    if (!shoal_run_choose(base, spec->letters, ret_plan, status)) {
        return false;
    }
    inherit(cluster, base, spec);
    *ret_base = base;
    return true;
}

// Tells the ledger of a new job. Until the journal has it no worker hears of it: so its number can
// be given out again if it is lost.
static void
open_note(shoal_cluster_t *cluster, shoal_job_t *job, shoal_slice_t payload, shoal_slice_t args)
{
    if (!shoal_ledger_is_on(cluster->ledger)) {
        return;
    }
    shoal_buffer_t submit = SHOAL_BUFFER_INIT;
    if (job->of) {
        shoal_run_write(job, &submit);
    } else {
        bool is_whole = shoal_spec_strip(payload, &submit);
        assert(is_whole); // it was read before
        (void)is_whole;
    }
    shoal_journal_job_t row = {.number = job->number,
                               .id = shoal_slice_of(job->id),
                               .name = shoal_slice_of(job->name),
                               .submit = shoal_buffer_slice(&submit),
                               .created_ms = job->created_ms};
    shoal_ledger_open(cluster->ledger, &job->page, &row, args);
    shoal_buffer_fini(&submit);
    job->lsn = shoal_ledger_lsn(cluster->ledger);
    shoal_cluster_hold(cluster, job);
}

// The job that a run in the journal belongs to, and what it is to try.
static bool
run_restore(shoal_cluster_t *cluster, const shoal_journal_job_t *row, shoal_spec_t *spec,
            shoal_job_t **ret_base, shoal_run_plan_t *ret_plan, shoal_status_t *status)
{
    shoal_job_t *base = shoal_cluster_job(cluster, spec->retry_of);
    if (!base || base->of || !shoal_job_is_final(base)) {
        return shoal_fail(status, SHOAL_IO, "it is a run of job %llu, which is not there",
                          (unsigned long long)spec->retry_of);
    }
    inherit(cluster, base, spec);
    *ret_base = base;
    return row->end.len > 0 || shoal_run_read(row->submit, ret_plan, status);
}

bool
shoal_cluster_restore_job(shoal_cluster_t *cluster, const shoal_journal_job_t *row,
                          shoal_slice_t args, shoal_job_t **ret_job, shoal_status_t *status)
{
    shoal_spec_t spec;
    shoal_job_t *base = NULL;
    shoal_run_plan_t plan = {0};
    if (row->id.len == 0 || row->id.len > SHOAL_JOB_ID_MAX ||
        shoal_cluster_job(cluster, row->number) || shoal_cluster_job_by_id(cluster, row->id) ||
        cluster->job_count == SHOAL_JOBS_MAX) {
        return shoal_fail(status, SHOAL_IO, "its id or its number cannot be");
    }
    if (!shoal_spec_read(row->submit, &spec, status)) {
        status->code = SHOAL_IO;
        return false;
    }
    if (spec.retry_of > 0 && !run_restore(cluster, row, &spec, &base, &plan, status)) {
        return false;
    }
    int class_number = shoal_registry_class(cluster->registry, spec.class_name);
    if (class_number < 0) {
        shoal_run_plan_fini(&plan);
        return shoal_fail(status, SHOAL_IO, "there are over %d names of classes",
                          SHOAL_CLASSES_MAX);
    }
    spec.args = args.len > 0 ? args : spec.args;
    *ret_job = job_add(cluster, row->number, row->id, &spec, class_number, row->created_ms);
    job_letters(cluster, *ret_job, base, &plan);
    if (row->number > cluster->counts.jobs) {
        cluster->counts.jobs = row->number;
    }
    return true;
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
    if (id.len == 0 || !shoal_utf8_is_text(id)) {
        return shoal_fail(status, SHOAL_INVALID, "a job needs an id, in UTF-8 without NUL");
    }
    if (!shoal_spec_read(payload, &spec, status)) {
        return false;
    }
    shoal_job_t *base = NULL;
    shoal_run_plan_t plan = {0};
    if (spec.retry_of > 0 && !retry_prepare(cluster, &spec, &base, &plan, status)) {
        return false;
    }
    if (!job_admit(cluster, payload.len, &spec, base, status)) {
        shoal_run_plan_fini(&plan);
        return false;
    }
    int class_number = shoal_registry_class(cluster->registry, spec.class_name);
    shoal_job_t *job = job_add(cluster, ++cluster->counts.jobs, id, &spec, class_number, now_ms);
    job_letters(cluster, job, base, &plan);
    open_note(cluster, job, payload, spec.args);
    if (cluster->is_behind) {
        job->needs_disk = true;
        cluster->disk_waiters++;
    }
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
    shoal_cluster_end_job(cluster, job, now_ms);
}

void
shoal_cluster_durable(shoal_cluster_t *cluster)
{
    if (cluster->held == 0) {
        return;
    }
    for (shoal_job_t *job = cluster->first; job; job = job->next) {
        if (job->is_held && job->lsn <= shoal_ledger_durable(cluster->ledger)) {
            shoal_cluster_hold(cluster, job);
            shoal_scheduler_update(cluster->scheduler, job);
            shoal_cluster_changed(cluster, job, true);
        }
    }
}
