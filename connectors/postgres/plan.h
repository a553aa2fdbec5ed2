// SPDX-License-Identifier: Apache-2.0
//
// plan.h - how the tables of a database are cut into shards, and what a shard's arguments are.
//
// Discovery counts tables in *buckets* (runs of table numbers, schema by schema); the plan adds
// them up to *ranges* that are read by one group of queries, and ranges to shards. A range's size
// bounds the memory of a reader, a shard's size its running time.
//
// Threads: none shared.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_PLAN_H
#define SHOAL_CONNECTORS_POSTGRES_PLAN_H

#include "connectors/connector.h"
#include "connectors/postgres/settings.h"

#define SHOAL_PG_TABLES_PER_RANGE  4000   // read by one group of queries
#define SHOAL_PG_SCHEMAS_PER_SHARD 3000   // so that its arguments fit in a message
#define SHOAL_PG_TABLES_IN_2S      100000 // what a slot reads in about two seconds
#define SHOAL_PG_TABLE_COST_US     20
#define SHOAL_PG_OID_END           UINT32_MAX

// Tables of one schema within one run of numbers; sorted by `first`'s bucket.
typedef struct shoal_pg_bucket {
    uint32_t number; // of the bucket: growing
    uint32_t schema; // index into the plan's schemas
    uint32_t first;  // smallest table number in it
    uint32_t tables;
    uint32_t views; // how many of the tables are views
} shoal_pg_bucket_t;

typedef struct shoal_pg_count {
    uint32_t schema; // number (oid) of the schema
    shoal_scope_t scope;
    uint32_t tables;
} shoal_pg_count_t;

// What a map shard is to read.
typedef struct shoal_pg_task {
    shoal_slice_t database;
    shoal_slice_t snapshot; // empty: none
    uint32_t *cuts;         // range i goes from cuts[i] to below cuts[i + 1]
    uint32_t range_count;
    shoal_pg_count_t *counts; // sorted by schema
    uint32_t count_count;
    uint32_t *views; // how many of its tables are views, of each range
    bool is_partial; // many tables in the ranges are of other schemas: leave them at the server
} shoal_pg_task_t;

void shoal_pg_task_write(const shoal_pg_task_t *task, shoal_buffer_t *out);

// Reads what task_write() wrote; texts are borrowed from `args`, lists freed by task_fini().
//   SHOAL_PROTOCOL  malformed
SHOAL_MUST_CHECK bool shoal_pg_task_read(shoal_slice_t args, shoal_pg_task_t *task,
                                         shoal_status_t *status);
void shoal_pg_task_fini(shoal_pg_task_t *task);

// One shard of a plan: buckets [begin, end) and, if not NONE, of these only those of one schema.
#define SHOAL_PG_EVERY_SCHEMA UINT32_MAX
typedef struct shoal_pg_cut {
    size_t begin;
    size_t end;
    uint32_t schema;
    uint64_t tables;
} shoal_pg_cut_t;

// Cuts sorted buckets into shards. Returns an array to free() and its length; NULL and 0 without
// tables. `slots` is how many slots the job may use.
shoal_pg_cut_t *shoal_pg_plan_cut(const shoal_pg_settings_t *settings, uint32_t slots,
                                  const shoal_pg_bucket_t *buckets, size_t bucket_count,
                                  uint32_t schema_count, size_t *ret_count);

#endif
