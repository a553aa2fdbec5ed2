// SPDX-License-Identifier: Apache-2.0
//
// plan.c - see plan.h.

#include "connectors/postgres/plan.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define LIST_MAX  65536   // elements of a list in a shard's arguments
#define SHARD_MAX 2000000 // tables, so that its queries can all be sent at once

// ---- arguments: [database, snapshot, [cuts], [views], [schema, scope, tables, ...], is_partial]

#define TASK_FIELDS 6

void
shoal_pg_task_write(const shoal_pg_task_t *task, shoal_buffer_t *out)
{
    shoal_write_array(out, TASK_FIELDS);
    shoal_write_str(out, task->database);
    shoal_write_str(out, task->snapshot);
    shoal_write_array(out, task->range_count + 1);
    for (uint32_t i = 0; i <= task->range_count; i++) {
        shoal_write_uint(out, task->cuts[i]);
    }
    shoal_write_array(out, task->range_count);
    for (uint32_t i = 0; i < task->range_count; i++) {
        shoal_write_uint(out, task->views[i]);
    }
    shoal_write_array(out, 3 * task->count_count);
    for (uint32_t i = 0; i < task->count_count; i++) {
        shoal_write_uint(out, task->counts[i].schema);
        shoal_write_uint(out, task->counts[i].scope);
        shoal_write_uint(out, task->counts[i].tables);
    }
    shoal_write_bool(out, task->is_partial);
}

static uint32_t
read_uint32(shoal_cursor_t *cursor)
{
    uint64_t value = shoal_cursor_uint(cursor);
    if (value > UINT32_MAX) {
        cursor->is_bad = true;
        return 0;
    }
    return (uint32_t)value;
}

bool
shoal_pg_task_read(shoal_slice_t args, shoal_pg_task_t *task, shoal_status_t *status)
{
    *task = (shoal_pg_task_t){.database = SHOAL_SLICE_NONE};
    shoal_cursor_t cursor = shoal_cursor_over(args);
    bool is_right = shoal_cursor_array(&cursor) == TASK_FIELDS;
    task->database = shoal_cursor_str(&cursor);
    task->snapshot = shoal_cursor_str(&cursor);
    uint32_t cut_count = shoal_cursor_array(&cursor);
    is_right = is_right && cut_count >= 2 && cut_count <= LIST_MAX;
    if (is_right) {
        task->range_count = cut_count - 1;
        task->cuts = shoal_alloc(cut_count * sizeof(*task->cuts));
        for (uint32_t i = 0; i < cut_count; i++) {
            task->cuts[i] = read_uint32(&cursor);
        }
    }
    is_right = shoal_cursor_array(&cursor) == task->range_count && is_right;
    if (is_right) {
        task->views = shoal_alloc(task->range_count * sizeof(*task->views));
        for (uint32_t i = 0; i < task->range_count; i++) {
            task->views[i] = read_uint32(&cursor);
        }
    }
    uint32_t numbers = shoal_cursor_array(&cursor);
    is_right = is_right && numbers % 3 == 0 && numbers <= LIST_MAX;
    if (is_right) {
        task->count_count = numbers / 3;
        task->counts = shoal_alloc((task->count_count + 1) * sizeof(*task->counts));
        for (uint32_t i = 0; i < task->count_count; i++) {
            task->counts[i].schema = read_uint32(&cursor);
            task->counts[i].scope = read_uint32(&cursor);
            task->counts[i].tables = read_uint32(&cursor);
        }
    }
    task->is_partial = shoal_cursor_bool(&cursor);
    if (!is_right || !shoal_cursor_is_done(&cursor)) {
        shoal_pg_task_fini(task);
        return shoal_fail(status, SHOAL_PROTOCOL, "the arguments of a shard cannot be read");
    }
    return true;
}

void
shoal_pg_task_fini(shoal_pg_task_t *task)
{
    free(task->cuts);
    free(task->views);
    free(task->counts);
    *task = (shoal_pg_task_t){.database = SHOAL_SLICE_NONE};
}

// ---- cutting

typedef struct cutting {
    shoal_pg_cut_t *cuts;
    size_t count;
    size_t size;
} cutting_t;

static void
cutting_add(cutting_t *cutting, shoal_pg_cut_t cut)
{
    if (cutting->count == cutting->size) {
        cutting->size = cutting->size > 0 ? 2 * cutting->size : 16;
        cutting->cuts = shoal_realloc(cutting->cuts, cutting->size * sizeof(*cutting->cuts));
    }
    cutting->cuts[cutting->count++] = cut;
}

// One shard a schema, from its first bucket to its last.
static void
cut_by_schema(cutting_t *cutting, const shoal_pg_bucket_t *buckets, size_t bucket_count,
              uint32_t schema_count)
{
    shoal_pg_cut_t *of = shoal_alloc((schema_count + 1) * sizeof(*of));
    for (size_t i = 0; i < bucket_count; i++) {
        shoal_pg_cut_t *cut = &of[buckets[i].schema];
        if (cut->tables == 0) {
            *cut = (shoal_pg_cut_t){.begin = i, .schema = buckets[i].schema};
        }
        cut->end = i + 1;
        cut->tables += buckets[i].tables;
    }
    for (uint32_t i = 0; i < schema_count; i++) {
        if (of[i].tables > 0) {
            cutting_add(cutting, of[i]);
        }
    }
    free(of);
}

// Where the bucket ends that begins at `at`, with its tables and its schemas not yet in `shard`.
static size_t
bucket_end(const shoal_pg_bucket_t *buckets, size_t bucket_count, size_t at, const size_t *seen_in,
           size_t shard, uint64_t *ret_tables, uint32_t *ret_schemas)
{
    *ret_tables = 0;
    *ret_schemas = 0;
    size_t end = at;
    for (; end < bucket_count && buckets[end].number == buckets[at].number; end++) {
        *ret_tables += buckets[end].tables;
        *ret_schemas += seen_in[buckets[end].schema] != shard ? 1 : 0;
    }
    return end;
}

// Shards of about `target` tables: each ends as near as can be to where it would if buckets could
// be cut, so that what one has too little the next does not pass on to the last.
static void
cut_by_count(cutting_t *cutting, const shoal_pg_bucket_t *buckets, size_t bucket_count,
             uint32_t schema_count, uint64_t target)
{
    size_t *seen_in = shoal_alloc((schema_count + 1) * sizeof(*seen_in)); // shard, from 1
    shoal_pg_cut_t cut = {.schema = SHOAL_PG_EVERY_SCHEMA};
    uint32_t schemas = 0;
    size_t shard = 1;
    uint64_t so_far = 0;
    uint64_t boundary = target;
    for (size_t at = 0, end; at < bucket_count; at = end) {
        uint64_t tables;
        uint32_t more;
        end = bucket_end(buckets, bucket_count, at, seen_in, shard, &tables, &more);
        bool is_large = so_far + (tables + 1) / 2 > boundary;
        if (cut.tables > 0 && (is_large || schemas + more > SHOAL_PG_SCHEMAS_PER_SHARD)) {
            cutting_add(cutting, cut);
            boundary = (is_large ? boundary : so_far) + target;
            cut = (shoal_pg_cut_t){.begin = at, .schema = SHOAL_PG_EVERY_SCHEMA};
            schemas = 0;
            shard++;
            end = bucket_end(buckets, bucket_count, at, seen_in, shard, &tables, &more);
        }
        for (size_t i = at; i < end; i++) {
            seen_in[buckets[i].schema] = shard;
        }
        schemas += more;
        cut.tables += tables;
        cut.end = end;
        so_far += tables;
    }
    if (cut.tables > 0) {
        cutting_add(cutting, cut);
    }
    free(seen_in);
}

// The size of a shard, such that there are whole ones only.
static uint64_t
auto_target(uint64_t tables, uint32_t slots)
{
    uint64_t size = tables / (2 * (uint64_t)(slots > 0 ? slots : 1));
    if (size > SHOAL_PG_TABLES_IN_2S) {
        size = SHOAL_PG_TABLES_IN_2S;
    }
    if (size < SHOAL_PG_TABLES_PER_SHARD) {
        size = SHOAL_PG_TABLES_PER_SHARD;
    }
    uint64_t shards = tables / size;
    return shards > 1 ? (tables + shards - 1) / shards : UINT32_MAX;
}

shoal_pg_cut_t *
shoal_pg_plan_cut(const shoal_pg_settings_t *settings, uint32_t slots,
                  const shoal_pg_bucket_t *buckets, size_t bucket_count, uint32_t schema_count,
                  size_t *ret_count)
{
    cutting_t cutting = {.cuts = NULL};
    uint64_t tables = 0;
    for (size_t i = 0; i < bucket_count; i++) {
        tables += buckets[i].tables;
    }
    switch (settings->sharding) {
    case SHOAL_PG_SHARDING_SCHEMA:
        cut_by_schema(&cutting, buckets, bucket_count, schema_count);
        break;
    case SHOAL_PG_SHARDING_DATABASE:
        cut_by_count(&cutting, buckets, bucket_count, schema_count, SHARD_MAX);
        break;
    case SHOAL_PG_SHARDING_TABLE_COUNT:
        cut_by_count(&cutting, buckets, bucket_count, schema_count, settings->tables_per_shard);
        break;
    case SHOAL_PG_SHARDING_AUTO:
        cut_by_count(&cutting, buckets, bucket_count, schema_count, auto_target(tables, slots));
        break;
    }
    *ret_count = cutting.count;
    return cutting.cuts;
}
