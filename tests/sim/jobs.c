// SPDX-License-Identifier: Apache-2.0
//
// jobs.c - see sim.h: what the jobs are about, and what must have come of them at the end.

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "proto/record/writer.h"
#include "tests/sim/sim.h"

sim_record_kind_t
sim_job_record(const sim_job_t *job, uint32_t record)
{
    uint64_t hash = sim_hash(job->seed, record);
    if (hash % 13 == 0) {
        return SIM_RECORD_FILTERED;
    }
    if (hash % 17 == 0) {
        return SIM_RECORD_VANISHED;
    }
    return job->has_faulty && hash % 97 == 0 ? SIM_RECORD_BAD : SIM_RECORD_GOOD;
}

sim_fate_t
sim_job_fate(const sim_job_t *job, uint32_t from)
{
    if (!job->has_faulty) {
        return SIM_FATE_GOOD;
    }
    uint64_t hash = sim_hash(job->seed ^ 0xfa7e, from) % 60;
    static const sim_fate_t fates[] = {SIM_FATE_TRANSIENT, SIM_FATE_TRANSIENT, SIM_FATE_TRANSIENT,
                                       SIM_FATE_FATAL,     SIM_FATE_POISON,    SIM_FATE_HANGS,
                                       SIM_FATE_HANGS};
    return hash < sizeof(fates) / sizeof(fates[0]) ? fates[hash] : SIM_FATE_GOOD;
}

void
sim_jobs_plan(sim_t *sim)
{
    test_random_t random = {sim->seed ^ 0x10b5};
    sim->job_count = 1 + sim_below(&random, sim_below(&random, 4) ? 2 : SIM_JOBS_MAX);
    for (size_t i = 0; i < sim->job_count; i++) {
        sim_job_t *job = &sim->jobs[i];
        job->sim = sim;
        job->index = (unsigned)i;
        (void)snprintf(job->id, sizeof(job->id), "job-%zu", i);
        job->seed = test_random_next(&random);
        job->records = (uint32_t)sim_below(&random, sim_below(&random, 3) ? 400 : 6000);
        job->per_scope = 1 + (uint32_t)sim_below(&random, 500);
        job->per_shard = 1 + (uint32_t)sim_below(&random, 60);
        job->links = sim_below(&random, 2) ? (uint32_t)sim_below(&random, 6) : 0;
        job->record_bytes =
            4 * (1 + (uint32_t)sim_below(&random, sim_below(&random, 3) ? 8 : 3000));
        job->parallelism = sim_below(&random, 3) ? 0 : 1 + (uint32_t)sim_below(&random, 8);
        job->limit = sim_below(&random, 10) ? 0 : 1 + sim_below(&random, 300);
        job->plan_only = sim_below(&random, 25) == 0;
        job->has_faulty = sim_below(&random, 3) > 0;
        job->is_moving = sim_below(&random, 2) > 0;
        job->check_fails = sim_below(&random, 30) == 0;
        job->config_fails = sim_below(&random, 30) == 0;
        job->submit_us = sim_below(&random, sim_below(&random, 2) ? SIM_SECOND : 20 * SIM_SECOND);
        job->stop_us = sim_below(&random, 8) ? 0 : SIM_SECOND + sim_below(&random, 20 * SIM_SECOND);
        job->delivered = shoal_alloc(job->records + 1);
        job->tries = shoal_alloc((job->records + 1) * sizeof(*job->tries));
    }
}

void
sim_jobs_end(sim_t *sim)
{
    for (size_t i = 0; i < sim->job_count; i++) {
        sim_job_t *job = &sim->jobs[i];
        shoal_buffer_fini(&job->detail);
        free(job->commits_seen);
        free(job->delivered);
        free(job->tries);
    }
}

void
sim_job_spec(const sim_job_t *job, shoal_buffer_t *out)
{
    shoal_write_map(out, 8);
    shoal_write_key(out, "plan_only");
    shoal_write_bool(out, job->plan_only);
    shoal_write_key(out, "name");
    shoal_write_text(out, job->id);
    shoal_write_key(out, "class");
    shoal_write_key(out, "pipeline");
    shoal_write_key(out, "args");
    shoal_write_uint(out, job->index);
    shoal_write_key(out, "collect");
    shoal_write_bool(out, true);
    shoal_write_key(out, "parallelism");
    shoal_write_uint(out, job->parallelism);
    shoal_write_key(out, "limit");
    shoal_write_uint(out, job->limit);
    shoal_write_key(out, "retry");
    shoal_write_map(out, 3);
    shoal_write_key(out, "max_attempts");
    shoal_write_uint(out, 6);
    shoal_write_key(out, "backoff_ms");
    shoal_write_uint(out, 100);
    shoal_write_key(out, "factor");
    shoal_write_float(out, 2.0);
}

// ---- commits

static uint64_t
bytes_hash(shoal_slice_t bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes.len; i++) {
        hash = (hash ^ (unsigned char)bytes.ptr[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint32_t
word_at(shoal_slice_t bytes, size_t at)
{
    uint32_t word = UINT32_MAX;
    if (at + sizeof(word) <= bytes.len) {
        memcpy(&word, bytes.ptr + at, sizeof(word));
    }
    return word;
}

// A map shard's commit: all of its good records, once, in order.
static void
map_commit(sim_job_t *job, uint64_t commit, shoal_slice_t bytes)
{
    uint32_t from = word_at(bytes, 8);
    uint32_t to = word_at(bytes, 12);
    size_t at = 16;
    if (from >= to || to > job->records) {
        sim_violation(job->sim, "commit %llu of %s has a map shard from %u to %u",
                      (unsigned long long)commit, job->id, from, to);
    }
    for (uint32_t record = from; record < to; record++) {
        if (sim_job_record(job, record) != SIM_RECORD_GOOD) {
            continue;
        }
        if (job->limit > 0 && at == bytes.len) {
            return; // the limit has cut it
        }
        if (word_at(bytes, at) != record) {
            sim_violation(job->sim, "commit %llu of %s, %u to %u: %u stands where %u belongs",
                          (unsigned long long)commit, job->id, from, to, word_at(bytes, at),
                          record);
        }
        if (job->delivered[record]++) {
            sim_violation(job->sim,
                          "record %u of %s is visible twice, the second time in commit %llu",
                          record, job->id, (unsigned long long)commit);
        }
        job->delivered_count++;
        at += job->record_bytes;
    }
    if (at != bytes.len) {
        sim_violation(job->sim, "commit %llu of %s, %u to %u, has %zu bytes, not %zu",
                      (unsigned long long)commit, job->id, from, to, bytes.len, at);
    }
}

void
sim_job_commit(sim_job_t *job, uint64_t commit, shoal_slice_t bytes)
{
    if (commit >= job->commits_size) {
        uint64_t size = 2 * commit + 16;
        job->commits_seen = shoal_realloc(job->commits_seen, size * sizeof(sim_commit_t));
        memset(&job->commits_seen[job->commits_size], 0,
               (size - job->commits_size) * sizeof(sim_commit_t));
        job->commits_size = size;
    }
    sim_commit_t *seen = &job->commits_seen[commit];
    uint64_t hash = bytes_hash(bytes);
    if (seen->is_known) {
        if (seen->hash != hash) {
            sim_violation(job->sim, "commit %llu of %s is another one than before",
                          (unsigned long long)commit, job->id);
        }
        return;
    }
    *seen = (sim_commit_t){hash, true};
    if (bytes.len == 0) {
        return; // a shard without records that are left
    }
    if (word_at(bytes, 0) != SIM_MARK) {
        sim_violation(job->sim, "commit %llu of %s does not begin with a shard's mark",
                      (unsigned long long)commit, job->id);
    }
    switch (word_at(bytes, 4)) {
    case SIM_KIND_MAP: map_commit(job, commit, bytes); break;
    case SIM_KIND_PREPARE:
    case SIM_KIND_LINK:
        job->others++;
        if (bytes.len != 16) {
            sim_violation(job->sim, "commit %llu of %s has %zu bytes", (unsigned long long)commit,
                          job->id, bytes.len);
        }
        break;
    default:
        sim_violation(job->sim, "commit %llu of %s is of no kind", (unsigned long long)commit,
                      job->id);
    }
}

// ---- the end

void
sim_job_final(sim_job_t *job, shoal_slice_t state, shoal_slice_t detail)
{
    if (job->state[0] && !shoal_slice_is(state, job->state)) {
        sim_violation(job->sim, "%s was %s and is %.*s now", job->id, job->state,
                      SHOAL_SLICE_ARGS(state));
    }
    (void)snprintf(job->state, sizeof(job->state), "%.*s", SHOAL_SLICE_ARGS(state));
    shoal_buffer_clear(&job->detail);
    shoal_buffer_append_slice(&job->detail, detail);
}

// A number of the final detail, by the keys that lead to it.
static uint64_t
detail_number(const sim_job_t *job, const char *outer, const char *inner)
{
    shoal_slice_t value;
    if (!shoal_map_find(shoal_buffer_slice(&job->detail), outer, &value) ||
        (inner && !shoal_map_find(value, inner, &value))) {
        sim_violation(job->sim, "the final detail of %s has no %s.%s", job->id, outer,
                      inner ? inner : "");
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    return shoal_cursor_peek(&cursor) == SHOAL_VALUE_BOOL ? shoal_cursor_bool(&cursor)
                                                          : shoal_cursor_uint(&cursor);
}

static void
check_all_there(const sim_job_t *job)
{
    for (uint32_t record = 0; record < job->records; record++) {
        sim_record_kind_t kind = sim_job_record(job, record);
        if (kind == SIM_RECORD_BAD || (kind == SIM_RECORD_GOOD && !job->delivered[record])) {
            sim_violation(job->sim, "%s has succeeded without record %u", job->id, record);
        }
    }
}

// What the job is and how it ended, for people.
static void
job_print(const sim_job_t *job)
{
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (!shoal_json_write(shoal_buffer_slice(&job->detail), &json, &status)) {
        shoal_buffer_append_text(&json, status.text);
    }
    (void)fprintf(stderr,
                  "sim: %s: %u records, %u a scope, %u a shard, %u links, limit %llu, parallelism "
                  "%u%s%s: %s %.*s\n",
                  job->id, job->records, job->per_scope, job->per_shard, job->links,
                  (unsigned long long)job->limit, job->parallelism,
                  job->has_faulty ? ", faulty" : "", job->is_moving ? ", moving" : "", job->state,
                  SHOAL_SLICE_ARGS(shoal_buffer_slice(&json)));
    shoal_buffer_fini(&json);
}

void
sim_job_check(sim_job_t *job)
{
    sim_t *sim = job->sim;
    if (sim->is_verbose) {
        job_print(job);
    }
    if (job->is_forgotten && !job->has_end) {
        return; // nobody has all of it, and nobody will
    }
    bool is_stopped = strcmp(job->state, "STOPPED") == 0;
    if (is_stopped && !job->is_stop_said) {
        sim_violation(sim, "%s is STOPPED and nobody has stopped it", job->id);
    }
    for (uint64_t commit = 1; commit <= job->commits; commit++) {
        if (commit >= job->commits_size || !job->commits_seen[commit].is_known) {
            sim_violation(sim, "%s: commit %llu of %llu has never come", job->id,
                          (unsigned long long)commit, (unsigned long long)job->commits);
        }
    }
    uint64_t successful = detail_number(job, "records", "successful");
    if (successful != job->delivered_count + job->others) {
        sim_violation(sim, "%s says it has %llu records and has %llu", job->id,
                      (unsigned long long)successful,
                      (unsigned long long)(job->delivered_count + job->others));
    }
    if (detail_number(job, "commits", NULL) != job->commits) {
        sim_violation(sim, "%s says it has %llu commits, and its output has %llu", job->id,
                      (unsigned long long)detail_number(job, "commits", NULL),
                      (unsigned long long)job->commits);
    }
    if (job->plan_only) {
        if (job->commits > 0) {
            sim_violation(sim, "%s is a plan only and has output", job->id);
        }
        return;
    }
    if (strcmp(job->state, "SUCCEEDED") == 0 && !detail_number(job, "limited", NULL)) {
        check_all_there(job);
    }
    bool is_whole = strcmp(job->state, "SUCCEEDED") == 0 || strcmp(job->state, "PARTIAL") == 0;
    // A discovery that was given up has listed what it has not cut: that is told, as an error.
    bool is_discovered = job->discoveries > 0 && !memmem(job->detail.ptr, job->detail.len,
                                                         "\xa5where\xa8"
                                                         "discover",
                                                         15);
    if (is_whole && is_discovered && !detail_number(job, "limited", NULL)) {
        uint64_t total = detail_number(job, "records", "listed");
        uint64_t told = job->delivered_count + detail_number(job, "records", "filtered") +
                        detail_number(job, "records", "failed");
        if (!detail_number(job, "balanced", NULL) || told > total) {
            sim_violation(sim, "%s: the books do not balance: %llu listed, %llu told", job->id,
                          (unsigned long long)total, (unsigned long long)told);
        }
    }
    if (job->limit > 0 && job->delivered_count > job->limit) {
        sim_violation(sim, "%s delivers %llu records, at most %llu were wanted", job->id,
                      (unsigned long long)job->delivered_count, (unsigned long long)job->limit);
    }
}
