// SPDX-License-Identifier: Apache-2.0
//
// source.h - runs one source, processor or sink in a test, without worker and head.
//
// What discovery finds and what records come is kept as text, one line each: "scope 1 svc.db
// tables", "shard 2 map needs 1 title", and the records as JSON.

#ifndef SHOAL_TESTS_SUPPORT_SOURCE_H
#define SHOAL_TESTS_SUPPORT_SOURCE_H

#include "connectors/connector.h"
#include "proto/base/alloc.h"
#include "proto/record/json.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

#define SOURCE_SHARDS_MAX 64

typedef struct {
    shoal_host_t host;
    shoal_discovery_t discovery;
    shoal_emitter_t emitter;
    shoal_buffer_t lines;
    shoal_buffer_t record;
    struct {
        shoal_stage_t stage;
        shoal_buffer_t args;
    } shards[SOURCE_SHARDS_MAX];
    size_t shard_count;
} source_run_t;

static inline bool
source_scope(void *ctx, shoal_scope_t scope, const char *name, const char *of,
             shoal_status_t *status)
{
    source_run_t *run = ctx;
    (void)status;
    shoal_buffer_append_format(&run->lines, "scope %u %s %s\n", scope, name, of);
    return true;
}

static inline bool
source_scope_end(void *ctx, shoal_scope_t scope, uint64_t listed, shoal_status_t *status)
{
    source_run_t *run = ctx;
    (void)status;
    shoal_buffer_append_format(&run->lines, "listed %u %llu\n", scope, (unsigned long long)listed);
    return true;
}

static inline bool
source_scope_failed(void *ctx, shoal_scope_t scope, const shoal_status_t *why,
                    shoal_status_t *status)
{
    source_run_t *run = ctx;
    (void)status;
    shoal_buffer_append_format(&run->lines, "unlisted %u %s\n", scope, why->text);
    return true;
}

static inline bool
source_shard(void *ctx, const shoal_shard_t *shard, shoal_status_t *status)
{
    source_run_t *run = ctx;
    (void)status;
    CHECK(run->shard_count < SOURCE_SHARDS_MAX);
    run->shards[run->shard_count].stage = shard->stage;
    shoal_buffer_append_slice(&run->shards[run->shard_count++].args, shard->args);
    shoal_buffer_append_format(
        &run->lines, "shard %u stage %d needs %u expects %llu\n", shard->number, (int)shard->stage,
        shard->needs, shard->expect_count > 0 ? (unsigned long long)shard->expects[0].count : 0ULL);
    return true;
}

static inline bool
source_cursor(void *ctx, shoal_slice_t cursor, shoal_status_t *status)
{
    (void)ctx;
    (void)cursor;
    (void)status;
    return true;
}

static inline void
source_filtered(void *ctx, shoal_scope_t scope, uint64_t count)
{
    source_run_t *run = ctx;
    shoal_buffer_append_format(&run->lines, "filtered %u %llu\n", scope, (unsigned long long)count);
}

static inline shoal_buffer_t *
source_begin(void *ctx)
{
    source_run_t *run = ctx;
    shoal_buffer_clear(&run->record);
    return &run->record;
}

static inline bool
source_record(void *ctx, shoal_scope_t scope, const char *kind, shoal_status_t *status)
{
    source_run_t *run = ctx;
    (void)kind;
    shoal_buffer_append_format(&run->lines, "%u ", scope);
    bool done = shoal_json_write(shoal_buffer_slice(&run->record), &run->lines, status);
    shoal_buffer_append_byte(&run->lines, '\n');
    return done;
}

static inline void
source_tally(void *ctx, shoal_scope_t scope, shoal_tally_t what, uint64_t count)
{
    source_run_t *run = ctx;
    shoal_buffer_append_format(&run->lines, "tally %u %d %llu\n", scope, (int)what,
                               (unsigned long long)count);
}

static inline void
source_failed(void *ctx, shoal_scope_t scope, const char *name, const shoal_status_t *why)
{
    source_run_t *run = ctx;
    shoal_buffer_append_format(&run->lines, "failed %u %s: %s\n", scope, name, why->text);
}

static inline void
source_run_init(source_run_t *run)
{
    *run = (source_run_t){
        .host = {.ctx = run, .slots = 2},
        .discovery = {run, source_scope, source_scope_end, source_scope_failed, source_shard,
                      source_cursor, source_filtered},
        .emitter = {run, source_begin, source_record, source_tally, source_failed},
    };
}

static inline void
source_run_fini(source_run_t *run)
{
    shoal_buffer_fini(&run->lines);
    shoal_buffer_fini(&run->record);
    for (size_t i = 0; i < run->shard_count; i++) {
        shoal_buffer_fini(&run->shards[i].args);
    }
}

#endif
