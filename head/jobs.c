// SPDX-License-Identifier: Apache-2.0
//
// jobs.c - see cluster.h: the jobs that clients submit, find and stop.

#include "head/cluster_parts.h"

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
    shoal_cluster_end_job(cluster, job, now_ms);
}
