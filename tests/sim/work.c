// SPDX-License-Identifier: Apache-2.0
//
// work.c - see sim.h: what a call of the class "pipeline" sends and comes to.

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "tests/sim/sim.h"

// ---- making

static void
record_end(sim_work_t *work)
{
    work->ends = shoal_realloc(work->ends, (work->count + 1) * sizeof(*work->ends));
    work->ends[work->count++] = (uint32_t)work->bytes.len;
}

static void
put_word(sim_work_t *work, uint32_t word)
{
    shoal_buffer_append(&work->bytes, &word, sizeof(word));
}

// ---- discover: scopes, then each scope's own shard and the shards of its records, then links

typedef struct finding {
    sim_job_t *job;
    sim_work_t *work;
    uint64_t attempt;
    uint32_t next_record; // the cursor
    uint32_t next_shard;
    uint32_t prepare; // shard of the scope that is being cut
    bool has_scopes;
} finding_t;

static void
put_cursor(const finding_t *finding, shoal_buffer_t *out)
{
    shoal_write_key(out, "cursor");
    shoal_write_array(out, 3);
    shoal_write_uint(out, finding->next_record);
    shoal_write_uint(out, finding->next_shard);
    shoal_write_uint(out, finding->prepare);
}

static uint32_t
scope_size(const sim_job_t *job, uint32_t scope)
{
    uint32_t first = (scope - 1) * job->per_scope;
    uint32_t left = job->records - first;
    return left < job->per_scope ? left : job->per_scope;
}

static void
find_scopes(finding_t *finding)
{
    const sim_job_t *job = finding->job;
    shoal_buffer_t *out = &finding->work->bytes;
    for (uint32_t scope = 1; (scope - 1) * job->per_scope < job->records; scope++) {
        shoal_write_map(out, 4);
        shoal_write_key(out, "scope");
        shoal_write_uint(out, scope);
        shoal_write_key(out, "name");
        shoal_write_key(out, "a scope");
        shoal_write_key(out, "of");
        shoal_write_key(out, "tables");
        shoal_write_key(out, "listed");
        shoal_write_uint(out, scope_size(job, scope));
        record_end(finding->work);
    }
}

static void
put_shard(finding_t *finding, uint64_t stage, uint32_t needs, uint32_t from, uint32_t to)
{
    const sim_job_t *job = finding->job;
    shoal_buffer_t *out = &finding->work->bytes;
    bool has_cursor = job->is_moving;
    shoal_write_map(out, has_cursor ? 7 : 6);
    shoal_write_key(out, "shard");
    shoal_write_uint(out, finding->next_shard++);
    shoal_write_key(out, "stage");
    shoal_write_uint(out, stage);
    shoal_write_key(out, "needs");
    shoal_write_uint(out, needs);
    shoal_write_key(out, "cost");
    shoal_write_uint(out, sim_hash(job->seed, from) % 3 ? 1 + sim_hash(job->seed, from) % 40000
                                                        : sim_hash(job->seed, to) % 400000);
    shoal_write_key(out, "args");
    shoal_write_array(out, 2);
    shoal_write_uint(out, from);
    shoal_write_uint(out, to);
    shoal_write_key(out, "expects");
    shoal_write_array(out, stage == SHOAL_STAGE_MAP ? 1 : 0);
    if (stage == SHOAL_STAGE_MAP) {
        shoal_write_array(out, 2);
        shoal_write_uint(out, from / job->per_scope + 1);
        shoal_write_uint(out, to - from);
        finding->next_record = to;
    }
    if (has_cursor) {
        put_cursor(finding, out);
    }
    record_end(finding->work);
}

// How many records the next shard gets. A moving catalogue is cut otherwise by each attempt.
static uint32_t
cut_size(const finding_t *finding)
{
    const sim_job_t *job = finding->job;
    uint64_t by = job->is_moving ? finding->attempt : 0;
    uint64_t hash = sim_hash(job->seed ^ (by << 32), finding->next_record);
    return 1 + (uint32_t)(hash % (2 * job->per_shard));
}

static void
find_shards(finding_t *finding)
{
    const sim_job_t *job = finding->job;
    while (finding->next_record < job->records) {
        uint32_t from = finding->next_record;
        uint32_t scope_end = (from / job->per_scope + 1) * job->per_scope;
        bool is_told = finding->prepare > 0 && finding->prepare == finding->next_shard - 1;
        if (from % job->per_scope == 0 && !is_told) {
            finding->prepare = finding->next_shard;
            put_shard(finding, SHOAL_STAGE_PREPARE, 0, from, from + 1);
        }
        uint32_t to = from + cut_size(finding);
        to = to < scope_end ? to : scope_end;
        to = to < job->records ? to : job->records;
        put_shard(finding, SHOAL_STAGE_MAP, finding->prepare, from, to);
        if (!job->is_moving && sim_hash(job->seed, to) % 7 == 0) {
            shoal_write_map(&finding->work->bytes, 1);
            put_cursor(finding, &finding->work->bytes);
            record_end(finding->work);
        }
    }
}

static void
find_links(finding_t *finding)
{
    const sim_job_t *job = finding->job;
    // Links have numbers of their own, so that telling them again is telling the same.
    uint32_t next = job->records * 2 + 10;
    for (uint32_t i = 0; i < job->links; i++) {
        finding->next_shard = next + i;
        bool has_need = finding->prepare > 0 && sim_hash(job->seed, i) % 2;
        uint32_t needs = has_need && !job->is_moving ? finding->prepare : 0;
        put_shard(finding, SHOAL_STAGE_LINK, needs, i, i + 1);
    }
}

static void
discover_plan(sim_job_t *job, shoal_slice_t args, uint32_t attempt, sim_work_t *work)
{
    finding_t finding = {.job = job, .work = work, .attempt = attempt, .next_shard = 1};
    shoal_slice_t resume = SHOAL_SLICE_NONE;
    if (shoal_map_find(args, "resume", &resume)) {
        shoal_cursor_t cursor = shoal_cursor_over(resume);
        if (shoal_cursor_peek(&cursor) == SHOAL_VALUE_ARRAY) {
            (void)shoal_cursor_array(&cursor);
            finding.next_record = (uint32_t)shoal_cursor_uint(&cursor);
            finding.next_shard = (uint32_t)shoal_cursor_uint(&cursor);
            finding.prepare = (uint32_t)shoal_cursor_uint(&cursor);
            finding.has_scopes = true;
        }
    }
    if (!finding.has_scopes || !job->is_moving) {
        find_scopes(&finding);
    }
    find_shards(&finding);
    find_links(&finding);
    work->batch = 1 + (uint32_t)(sim_hash(job->seed, attempt) % 20);
    work->pause_us = sim_hash(job->seed, 3) % (50 * SIM_MS);
}

// ---- prepare, map and link

static void
mark(sim_work_t *work, uint32_t kind, uint32_t from, uint32_t to)
{
    put_word(work, SIM_MARK);
    put_word(work, kind);
    put_word(work, from);
    put_word(work, to);
}

static void
map_detail(const sim_job_t *job, sim_work_t *work, uint32_t from, const uint32_t counts[4])
{
    shoal_buffer_t *out = &work->detail;
    bool has_bad = counts[SIM_RECORD_BAD] > 0;
    shoal_write_map(out, has_bad ? 3 : 2);
    shoal_write_key(out, "scopes");
    shoal_write_array(out, 1);
    shoal_write_array(out, 6);
    shoal_write_uint(out, from / job->per_scope + 1);
    shoal_write_uint(out, counts[SIM_RECORD_GOOD]);
    shoal_write_uint(out, counts[SIM_RECORD_FILTERED]);
    shoal_write_uint(out, counts[SIM_RECORD_VANISHED]);
    shoal_write_uint(out, 0);
    shoal_write_uint(out, counts[SIM_RECORD_BAD]);
    shoal_write_key(out, "kinds");
    shoal_write_map(out, 1);
    shoal_write_key(out, "table");
    shoal_write_uint(out, counts[SIM_RECORD_GOOD]);
    if (has_bad) {
        shoal_write_key(out, "errors");
        shoal_write_array(out, 1);
        shoal_write_map(out, 3);
        shoal_write_key(out, "class");
        shoal_write_uint(out, SHOAL_DATA);
        shoal_write_key(out, "code");
        shoal_write_uint(out, SHOAL_INVALID);
        shoal_write_key(out, "message");
        shoal_write_key(out, "a bad record");
    }
}

// `limit`: records at most, 0: all.
static void
map_plan(sim_job_t *job, test_random_t *random, uint32_t from, uint32_t to, uint64_t limit,
         sim_work_t *work)
{
    uint32_t counts[4] = {0};
    mark(work, SIM_KIND_MAP, from, to);
    for (uint32_t record = from; record < to; record++) {
        sim_record_kind_t kind = sim_job_record(job, record);
        if (kind == SIM_RECORD_GOOD && limit > 0 && counts[SIM_RECORD_GOOD] == limit) {
            break;
        }
        counts[kind]++;
        if (kind != SIM_RECORD_GOOD) {
            continue;
        }
        put_word(work, record);
        for (uint32_t at = 4; at < job->record_bytes; at += 4) {
            put_word(work, record ^ at);
        }
        record_end(work); // the mark goes with the first one
    }
    if (work->count == 0) {
        record_end(work);
    }
    map_detail(job, work, from, counts);
    uint32_t tries = ++job->tries[from];
    switch (sim_job_fate(job, from)) {
    case SIM_FATE_TRANSIENT:
        if (tries <= sim_hash(job->seed, from) % 4) {
            work->outcome = SHOAL_OUTCOME_FAILED;
            work->error_class = SHOAL_TRANSIENT;
        }
        break;
    case SIM_FATE_FATAL:
        work->outcome = SHOAL_OUTCOME_FAILED;
        work->error_class = job->config_fails ? SHOAL_CONFIG : SHOAL_FATAL;
        break;
    case SIM_FATE_POISON: work->signal = 11; break;
    case SIM_FATE_HANGS: work->hangs = tries == 1; break;
    case SIM_FATE_GOOD:
    default: break;
    }
    work->steps = 1 + (uint32_t)sim_below(random, 5);
    work->pause_us = sim_below(random, sim_below(random, 50) ? 20 * SIM_MS : 2 * SIM_SECOND);
    work->batch = 1 + (uint32_t)sim_below(random, 30);
}

void
sim_work_plan(sim_job_t *job, test_random_t *random, shoal_slice_t method, shoal_slice_t args,
              uint32_t attempt, uint64_t limit, sim_work_t *work)
{
    *work = (sim_work_t){.outcome = SHOAL_OUTCOME_DONE,
                         .pause_us = sim_below(random, 30 * SIM_MS),
                         .steps = 1,
                         .batch = 1,
                         .bytes = SHOAL_BUFFER_INIT,
                         .detail = SHOAL_BUFFER_INIT};
    if (shoal_slice_is(method, "check")) {
        work->outcome = job->check_fails ? SHOAL_OUTCOME_FAILED : SHOAL_OUTCOME_DONE;
        work->error_class = SHOAL_CONFIG;
        return;
    }
    if (shoal_slice_is(method, "discover")) {
        discover_plan(job, args, attempt, work);
        if (job->has_faulty && sim_hash(job->seed, attempt + 100) % 3 == 0 && attempt < 4) {
            work->outcome = SHOAL_OUTCOME_FAILED; // half-way
            work->error_class = SHOAL_TRANSIENT;
            work->count -= (uint32_t)sim_below(random, work->count + 1);
        }
        return;
    }
    if (shoal_slice_is(method, "finish")) {
        return;
    }
    shoal_cursor_t cursor = shoal_cursor_over(args);
    (void)shoal_cursor_array(&cursor);
    uint32_t from = (uint32_t)shoal_cursor_uint(&cursor);
    uint32_t to = (uint32_t)shoal_cursor_uint(&cursor);
    if (shoal_slice_is(method, "map")) {
        map_plan(job, random, from, to, limit, work);
        return;
    }
    mark(work, shoal_slice_is(method, "link") ? SIM_KIND_LINK : SIM_KIND_PREPARE, from, to);
    record_end(work);
    shoal_write_map(&work->detail, 1);
    shoal_write_key(&work->detail, "kinds");
    shoal_write_map(&work->detail, 1);
    shoal_write_key(&work->detail, "parent");
    shoal_write_uint(&work->detail, 1);
    // A scope's own shard may fail for good: all that needs it goes down with it.
    if (job->has_faulty && sim_hash(job->seed ^ 0xbad, from) % 40 == 0) {
        work->outcome = SHOAL_OUTCOME_FAILED;
        work->error_class = SHOAL_FATAL;
    }
}

void
sim_work_fini(sim_work_t *work)
{
    shoal_buffer_fini(&work->bytes);
    shoal_buffer_fini(&work->detail);
    free(work->ends);
    *work = (sim_work_t){0};
}
