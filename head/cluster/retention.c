// SPDX-License-Identifier: Apache-2.0
//
// retention.c - see cluster.h: which finished jobs are forgotten, and when.
//
// A job and its later runs, a family, go together. Those that ended long ago go; and while the
// finished ones leave too little of the disk's budget to those that run, or the disk itself is full,
// the oldest go, first those
// whose records somebody has fetched to the end. Nobody's records go while they are being read, and the
// time of those that nobody has fetched begins anew with the head's start, so that whoever waited for
// the head can still come.

#include "head/cluster/cluster_parts.h"

#define LOOK_MS        1000  // between two looks; a forgotten job's room comes back meanwhile
#define UNFETCHED_MS   60000 // so long records are there for whoever comes for them, at least
#define PRESSURE_SHARE 4     // a quarter of the budget is kept for jobs that run

typedef struct family {
    bool is_final;
    bool is_fetched;      // all of it
    bool is_read;         // by somebody, now
    uint64_t finished_ms; // or this head's start, if somebody may still come for the records
    uint64_t bytes;
} family_t;

static family_t
family_look(const shoal_cluster_t *cluster, const shoal_job_t *job)
{
    uint64_t durable = shoal_ledger_durable(cluster->ledger);
    family_t family = {.is_final = true, .is_fetched = true};
    for (; job; job = job->next_run) {
        // Its end is told once that is durable, and it may not be gone before that and the telling.
        family.is_final =
            family.is_final && shoal_job_is_final(job) && job->lsn <= durable && !job->is_changed;
        family.finished_ms =
            job->finished_ms > family.finished_ms ? job->finished_ms : family.finished_ms;
        if (job->output) {
            family.is_fetched = family.is_fetched && shoal_output_is_fetched(job->output);
            family.is_read = family.is_read || shoal_output_is_read(job->output);
            family.bytes += shoal_output_bytes(job->output);
        }
    }
    if (!family.is_fetched && family.finished_ms < cluster->retain_first_ms) {
        family.finished_ms = cluster->retain_first_ms;
    }
    return family;
}

bool
shoal_cluster_may_forget(const shoal_cluster_t *cluster, const shoal_job_t *job)
{
    family_t family = family_look(cluster, job);
    return family.is_final && !family.is_read;
}

static void
forget_old(shoal_cluster_t *cluster, uint64_t now_ms)
{
    for (shoal_job_t *job = cluster->first, *next; job; job = next) {
        for (next = job->next; next && next->of; next = next->next) {
        }
        family_t family = family_look(cluster, job);
        if (!job->of && family.is_final && !family.is_read &&
            now_ms - family.finished_ms >= cluster->config.retain_ms) {
            shoal_cluster_forget(cluster, job);
        }
    }
}

static uint64_t
finished_bytes(const shoal_cluster_t *cluster)
{
    uint64_t bytes = 0;
    for (const shoal_job_t *job = cluster->first; job; job = job->next) {
        bytes += job->output && shoal_job_is_final(job) ? shoal_output_bytes(job->output) : 0;
    }
    return bytes;
}

// Forgets the oldest until `excess` bytes are given back, as far as there are any.
static uint64_t
forget_for_room(shoal_cluster_t *cluster, uint64_t excess, bool is_fetched, uint64_t now_ms)
{
    for (shoal_job_t *job = cluster->first, *next; job && excess > 0; job = next) {
        for (next = job->next; next && next->of; next = next->next) {
        }
        family_t family = family_look(cluster, job);
        bool is_due = family.is_fetched || now_ms - family.finished_ms >= UNFETCHED_MS;
        if (!job->of && family.is_final && !family.is_read && family.bytes > 0 &&
            (is_fetched ? family.is_fetched : is_due)) {
            excess -= family.bytes < excess ? family.bytes : excess;
            shoal_cluster_forget(cluster, job);
        }
    }
    return excess;
}

static uint64_t
excess_of(const shoal_cluster_t *cluster)
{
    shoal_outputs_info_t info = shoal_outputs_info(cluster->config.outputs);
    if (info.is_stalled) {
        return 1; // the disk is smaller than the budget: the oldest one goes, then we look again
    }
    uint64_t most = info.budget_bytes - info.budget_bytes / PRESSURE_SHARE;
    uint64_t excess = info.used_bytes > most ? info.used_bytes - most : 0;
    if (cluster->config.retain_bytes > 0) {
        uint64_t finished = finished_bytes(cluster);
        uint64_t more =
            finished > cluster->config.retain_bytes ? finished - cluster->config.retain_bytes : 0;
        excess = more > excess ? more : excess;
    }
    return excess;
}

static bool
is_wanted(const shoal_cluster_t *cluster)
{
    return cluster->job_count > 0 && (cluster->config.retain_ms > 0 || cluster->config.outputs);
}

uint64_t
shoal_cluster_next_retain(const shoal_cluster_t *cluster)
{
    return is_wanted(cluster) ? cluster->retain_next_ms : SHOAL_TIME_NEVER;
}

void
shoal_cluster_retain(shoal_cluster_t *cluster, uint64_t now_ms)
{
    if (cluster->retain_first_ms == 0) {
        cluster->retain_first_ms = now_ms;
    }
    if (now_ms < cluster->retain_next_ms || !is_wanted(cluster)) {
        return;
    }
    cluster->retain_next_ms = now_ms + LOOK_MS;
    if (cluster->config.retain_ms > 0) {
        forget_old(cluster, now_ms);
    }
    if (cluster->config.outputs) {
        uint64_t excess = excess_of(cluster);
        if (excess > 0) {
            excess = forget_for_room(cluster, excess, /*is_fetched=*/true, now_ms);
            (void)forget_for_room(cluster, excess, /*is_fetched=*/false, now_ms);
        }
    }
}
