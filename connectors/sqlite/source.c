// SPDX-License-Identifier: Apache-2.0
//
// source.c - see source.h.
//
// One file is one service with one database and the one schema "main", as OpenMetadata sees it.
// Discovery lists the rows of sqlite_schema and cuts them into ranges of row numbers; each slot opens
// the file itself. SQLite cannot share a snapshot between connections, so a shard reads in a
// transaction of its own and says so if the schema is another one by then.

#include "connectors/sqlite/source.h"

#include <stdio.h>
#include <stdlib.h>

#include "connectors/catalogue.h"
#include "connectors/patterns.h"
#include "connectors/sqlite/database.h"
#include "connectors/sqlite/table.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

enum { SCOPE_SERVICE = 1, SCOPE_DATABASE = 2, SCOPE_SCHEMA = 3 };
enum { SHARD_SERVICE = 1, SHARD_DATABASE = 2, SHARD_FIRST = 3 };

#define SCHEMA_NAME    "main"
#define TABLE_COST_US  60
#define PARENT_COST_US 500

// What a prepare shard is about.
enum { PREPARE_SERVICE = 1, PREPARE_DATABASE = 2 };

// ?1: tables, ?2: views. SQLite's own names are reserved, so no user's table is left out.
#define MEMBERS_SQL                                                                                \
    "from main.sqlite_schema where ((?1 and type = 'table') or (?2 and type = 'view')) "           \
    "and name not like 'sqlite\\_%' escape '\\' "

typedef struct source {
    const shoal_options_t *options;
    const shoal_host_t *host;
    const char *path;
    const char *path_key;
    shoal_slice_t service;
    shoal_slice_t database_name;
    shoal_buffer_t service_fqn;
    shoal_buffer_t database_fqn;
    shoal_buffer_t schema_fqn;
    shoal_buffer_t fqn; // scratch
    shoal_patterns_t *databases;
    shoal_patterns_t *schemas;
    shoal_patterns_t *tables;
    bool use_fqn;
    bool include_tables;
    bool include_views;
    shoal_sqlite_t *database; // NULL: not open
} source_t;

// ---- life

static void
source_close(void *source)
{
    source_t *it = source;
    if (!it) {
        return;
    }
    shoal_sqlite_close(&it->database);
    shoal_patterns_destroy(&it->databases);
    shoal_patterns_destroy(&it->schemas);
    shoal_patterns_destroy(&it->tables);
    shoal_buffer_fini(&it->service_fqn);
    shoal_buffer_fini(&it->database_fqn);
    shoal_buffer_fini(&it->schema_fqn);
    shoal_buffer_fini(&it->fqn);
    free(it);
}

// The path is in databaseMode, as in OpenMetadata's files; `database` works as well.
static bool
read_path(source_t *source, shoal_status_t *status)
{
    const shoal_options_t *options = source->options;
    const char *mode = shoal_options_text(options, "databaseMode");
    bool is_mode = mode[0] != '\0';
    source->path = is_mode ? mode : shoal_options_text(options, "database");
    source->path_key = shoal_options_key(options, is_mode ? "databaseMode" : "database");
    if (source->path[0] == '\0') {
        return shoal_fail_key(status, shoal_options_key(options, "databaseMode"),
                              "the path of the database file is missing");
    }
    if (strcmp(source->path, ":memory:") == 0) {
        return shoal_fail_key(status, source->path_key,
                              "a database in memory has nothing to read: write the path of a file");
    }
    const char *name = shoal_options_text(options, "databaseName");
    if (name[0] == '\0' && is_mode) {
        name = shoal_options_text(options, "database");
    }
    source->database_name = shoal_slice_of(name[0] != '\0' ? name : "default");
    return true;
}

static bool
source_open(const shoal_options_t *options, const char *service, const shoal_host_t *host,
            void **ret_source, shoal_status_t *status)
{
    source_t *source = shoal_alloc(sizeof(*source));
    source->options = options;
    source->host = host;
    source->service = shoal_slice_of(service);
    source->use_fqn = shoal_options_flag(options, "useFqnForFiltering");
    source->include_tables = shoal_options_flag(options, "includeTables");
    source->include_views = shoal_options_flag(options, "includeViews");
    if (!read_path(source, status) ||
        !shoal_patterns_new(options, "databaseFilterPattern", &source->databases, status) ||
        !shoal_patterns_new(options, "schemaFilterPattern", &source->schemas, status) ||
        !shoal_patterns_new(options, "tableFilterPattern", &source->tables, status)) {
        source_close(source);
        return false;
    }
    shoal_catalogue_fqn(&source->service_fqn, SHOAL_SLICE_NONE, source->service);
    shoal_catalogue_fqn(&source->database_fqn, shoal_buffer_slice(&source->service_fqn),
                        source->database_name);
    shoal_catalogue_fqn(&source->schema_fqn, shoal_buffer_slice(&source->database_fqn),
                        SHOAL_SLICE(SCHEMA_NAME));
    *ret_source = source;
    return true;
}

// A connection stays from call to call; after a failure the next call makes a new one.
static bool
connect_file(source_t *source, shoal_status_t *status)
{
    return source->database || shoal_sqlite_open(source->host, source->path, source->path_key,
                                                 &source->database, status);
}

static bool
source_check(void *source, shoal_status_t *status)
{
    return connect_file(source, status);
}

// ---- discovery

typedef struct listing {
    int64_t *rows; // row numbers, in order
    size_t count;
    size_t size;
    int64_t version; // of the schema
} listing_t;

// What the shards of an attempt that failed have: the cursor that each of them carries.
typedef struct part {
    uint32_t next_shard;
    int64_t from;  // the first row that no shard has
    uint64_t told; // members in shards
} part_t;

static void
part_write(const part_t *part, shoal_buffer_t *out)
{
    shoal_write_array(out, 3);
    shoal_write_uint(out, part->next_shard);
    shoal_write_int(out, part->from);
    shoal_write_uint(out, part->told);
}

static bool
part_read(shoal_slice_t resume, part_t *part, shoal_status_t *status)
{
    *part = (part_t){SHARD_FIRST, INT64_MIN, 0};
    if (resume.len == 0) {
        return true;
    }
    shoal_cursor_t cursor = shoal_cursor_over(resume);
    bool is_right = shoal_cursor_array(&cursor) == 3;
    uint64_t shard = shoal_cursor_uint(&cursor);
    part->from = shoal_cursor_int(&cursor);
    part->told = shoal_cursor_uint(&cursor);
    part->next_shard = (uint32_t)shard;
    if (!is_right || !shoal_cursor_is_done(&cursor) || shard < SHARD_FIRST || shard > UINT32_MAX) {
        return shoal_fail(status, SHOAL_PROTOCOL, "the cursor of a discovery cannot be read");
    }
    return true;
}

static bool
keep(const source_t *source, const shoal_patterns_t *patterns, shoal_slice_t name,
     const shoal_buffer_t *fqn, bool *ret_keep, shoal_status_t *status)
{
    return shoal_patterns_keep_slice(patterns, source->use_fqn ? shoal_buffer_slice(fqn) : name,
                                     ret_keep, status);
}

static bool
read_version(source_t *source, int64_t *ret_version, shoal_status_t *status)
{
    sqlite3_stmt *statement = NULL;
    bool is_row = false;
    bool done =
        shoal_sqlite_prepare(source->database, "read the catalogue", "pragma main.schema_version",
                             &statement, status) &&
        shoal_sqlite_step(source->database, "read the catalogue", statement, &is_row, status);
    *ret_version = is_row ? sqlite3_column_int64(statement, 0) : 0;
    (void)sqlite3_finalize(statement);
    return done;
}

static bool
list_rows(source_t *source, const part_t *part, listing_t *listing, shoal_status_t *status)
{
    static const char sql[] = "select rowid " MEMBERS_SQL "and rowid >= ?3 order by rowid";
    sqlite3_stmt *row = NULL;
    if (!shoal_sqlite_prepare(source->database, "list the tables", sql, &row, status)) {
        return false;
    }
    (void)sqlite3_bind_int(row, 1, source->include_tables);
    (void)sqlite3_bind_int(row, 2, source->include_views);
    (void)sqlite3_bind_int64(row, 3, part->from);
    bool is_row = false;
    bool done = false;
    while ((done = shoal_sqlite_step(source->database, "list the tables", row, &is_row, status)) &&
           is_row) {
        if (listing->count == listing->size) {
            listing->size = listing->size ? listing->size * 2 : 64;
            listing->rows = shoal_realloc(listing->rows, listing->size * sizeof(*listing->rows));
        }
        listing->rows[listing->count++] = sqlite3_column_int64(row, 0);
    }
    (void)sqlite3_finalize(row);
    return done;
}

static bool
list_tables(source_t *source, const part_t *part, listing_t *listing, shoal_status_t *status)
{
    bool done = shoal_sqlite_run(source->database, "begin to read", "begin", status) &&
                read_version(source, &listing->version, status) &&
                list_rows(source, part, listing, status) &&
                shoal_sqlite_run(source->database, "end reading", "commit", status);
    if (!done) {
        shoal_sqlite_close(&source->database);
    }
    return done;
}

// A scope with one member.
static bool
put_scope(const shoal_discovery_t *to, shoal_scope_t scope, shoal_buffer_t *fqn, const char *of,
          bool is_filtered, shoal_status_t *status)
{
    if (!to->scope(to->ctx, scope, shoal_buffer_text(fqn), of, status) ||
        !to->scope_end(to->ctx, scope, 1, status)) {
        return false;
    }
    if (is_filtered) {
        to->filtered(to->ctx, scope, 1);
    }
    return true;
}

static bool
put_prepare(const shoal_discovery_t *to, uint32_t number, const char *title,
            const shoal_expectation_t *expects, size_t expect_count, uint64_t what,
            bool with_schema, shoal_status_t *status)
{
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    shoal_write_array(&args, 2);
    shoal_write_uint(&args, what);
    shoal_write_bool(&args, with_schema);
    shoal_shard_t shard = {.number = number,
                           .stage = SHOAL_STAGE_PREPARE,
                           .needs = number == SHARD_SERVICE ? 0 : SHARD_SERVICE,
                           .cost_us = PARENT_COST_US,
                           .title = title,
                           .expects = expects,
                           .expect_count = expect_count,
                           .args = shoal_buffer_slice(&args)};
    bool done = to->shard(to->ctx, &shard, status);
    shoal_buffer_fini(&args);
    return done;
}

static size_t
tables_per_shard(const source_t *source, size_t tables)
{
    const shoal_options_t *sharding = source->host->sharding;
    const char *type = sharding ? shoal_options_text(sharding, "type") : "auto";
    bool is_counted = sharding && shoal_options_is_written(sharding, "tables_per_shard");
    if (strcmp(type, "table_count") == 0 || (strcmp(type, "auto") == 0 && is_counted)) {
        return (size_t)shoal_options_count(sharding, "tables_per_shard");
    }
    if (strcmp(type, "auto") != 0) {
        return tables > 0 ? tables : 1; // there is one database and one schema
    }
    size_t parts = source->host->slots > 1 ? 2U * source->host->slots : 1;
    size_t each = (tables + parts - 1) / parts;
    if (each < SHOAL_SQLITE_TABLES_PER_SHARD_LEAST) {
        return SHOAL_SQLITE_TABLES_PER_SHARD_LEAST;
    }
    return each < SHOAL_SQLITE_TABLES_PER_SHARD_MOST ? each : SHOAL_SQLITE_TABLES_PER_SHARD_MOST;
}

// One shard reads the rows from where the last one ended to below listing->rows[end], the last shard
// all that come after.
static bool
put_map(const source_t *source, const shoal_discovery_t *to, const listing_t *listing, part_t *part,
        size_t from, size_t end, shoal_status_t *status)
{
    char title[256];
    uint64_t count = end - from;
    unsigned long long first = part->told + 1;
    unsigned long long last = part->told + count;
    (void)snprintf(title, sizeof(title), "%.*s tables %llu to %llu",
                   SHOAL_SLICE_ARGS(shoal_buffer_slice(&source->schema_fqn)), first, last);
    shoal_expectation_t expects = {SCOPE_SCHEMA, count};
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    shoal_buffer_t cursor = SHOAL_BUFFER_INIT;
    int64_t next = end == listing->count ? INT64_MAX : listing->rows[end];
    shoal_write_array(&args, 4);
    shoal_write_int(&args, part->from);
    shoal_write_int(&args, end == listing->count ? INT64_MAX : next - 1);
    shoal_write_uint(&args, count);
    shoal_write_int(&args, listing->version);
    shoal_shard_t shard = {.number = part->next_shard,
                           .stage = SHOAL_STAGE_MAP,
                           .needs = SHARD_DATABASE,
                           .cost_us = count * TABLE_COST_US,
                           .title = title,
                           .expects = &expects,
                           .expect_count = 1,
                           .args = shoal_buffer_slice(&args)};
    *part = (part_t){part->next_shard + 1, next, part->told + count};
    part_write(part, &cursor);
    shard.cursor = shoal_buffer_slice(&cursor);
    bool done = to->shard(to->ctx, &shard, status);
    shoal_buffer_fini(&args);
    shoal_buffer_fini(&cursor);
    return done;
}

// How many members there are is said at the end: some may be an earlier attempt's.
static bool
put_tables(source_t *source, const shoal_discovery_t *to, const listing_t *listing, part_t *part,
           shoal_status_t *status)
{
    if (!to->scope(to->ctx, SCOPE_SCHEMA, shoal_buffer_text(&source->schema_fqn), "tables",
                   status)) {
        return false;
    }
    if (listing->count + part->told == 0) {
        source->host->warn(source->host->ctx, "database \"%s\" has 0 tables and views to read",
                           source->path);
    }
    size_t step = tables_per_shard(source, listing->count);
    for (size_t from = 0; from < listing->count; from += step) {
        size_t end = listing->count - from > step ? from + step : listing->count;
        if (!put_map(source, to, listing, part, from, end, status)) {
            return false;
        }
    }
    return to->scope_end(to->ctx, SCOPE_SCHEMA, part->told, status);
}

static bool
put_parents(source_t *source, const shoal_discovery_t *to, bool keep_database, bool keep_schema,
            shoal_status_t *status)
{
    if (!put_scope(to, SCOPE_SERVICE, &source->service_fqn, "databases", !keep_database, status) ||
        !put_prepare(to, SHARD_SERVICE, "service", NULL, 0, PREPARE_SERVICE, false, status)) {
        return false;
    }
    if (!keep_database) {
        return true;
    }
    shoal_expectation_t expects[] = {{SCOPE_SERVICE, 1}, {SCOPE_DATABASE, 1}};
    return put_scope(to, SCOPE_DATABASE, &source->database_fqn, "schemas", !keep_schema, status) &&
           put_prepare(to, SHARD_DATABASE, "database and schema", expects, keep_schema ? 2 : 1,
                       PREPARE_DATABASE, keep_schema, status);
}

static bool
source_discover(void *ctx, shoal_slice_t resume, const shoal_discovery_t *to,
                shoal_status_t *status)
{
    source_t *source = ctx;
    part_t part;
    bool keep_database = false;
    bool keep_schema = false;
    if (!part_read(resume, &part, status) ||
        !keep(source, source->databases, source->database_name, &source->database_fqn,
              &keep_database, status) ||
        !keep(source, source->schemas, SHOAL_SLICE(SCHEMA_NAME), &source->schema_fqn, &keep_schema,
              status)) {
        return false;
    }
    listing_t listing = {NULL, 0, 0, 0};
    bool is_read = keep_database && keep_schema;
    bool is_rest = resume.len > 0; // the parents were told before the first shard with a cursor
    bool done = connect_file(source, status) &&
                (!is_read || list_tables(source, &part, &listing, status)) &&
                (is_rest || put_parents(source, to, keep_database, keep_schema, status)) &&
                (!is_read || put_tables(source, to, &listing, &part, status));
    free(listing.rows);
    if (done) {
        source->host->fact(source->host->ctx, "snapshot", "one for each shard");
    }
    return done;
}

// ---- reading

static bool
read_prepare(source_t *source, shoal_slice_t args, const shoal_emitter_t *to,
             shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(args);
    bool is_right = shoal_cursor_array(&cursor) == 2;
    uint64_t what = shoal_cursor_uint(&cursor);
    bool with_schema = shoal_cursor_bool(&cursor);
    if (!is_right || !shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_PROTOCOL, "the arguments of a shard cannot be read");
    }
    if (what == PREPARE_SERVICE) {
        shoal_catalogue_service(to->begin(to->ctx), source->service, "SQLite");
        return to->record(to->ctx, 0, "databaseService", status);
    }
    shoal_catalogue_database(to->begin(to->ctx), source->database_name,
                             shoal_buffer_slice(&source->service_fqn), SHOAL_SLICE_NONE);
    if (!to->record(to->ctx, SCOPE_SERVICE, "database", status)) {
        return false;
    }
    if (!with_schema) {
        return true;
    }
    shoal_catalogue_schema(to->begin(to->ctx), SHOAL_SLICE(SCHEMA_NAME),
                           shoal_buffer_slice(&source->database_fqn), SHOAL_SLICE_NONE);
    return to->record(to->ctx, SCOPE_DATABASE, "databaseSchema", status);
}

// A range of rows of sqlite_schema.
typedef struct range {
    int64_t first;
    int64_t last;
    uint64_t count; // of members when it was cut
    int64_t version;
} range_t;

static bool
range_read(shoal_slice_t args, range_t *ret_range, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(args);
    bool is_right = shoal_cursor_array(&cursor) == 4;
    ret_range->first = shoal_cursor_int(&cursor);
    ret_range->last = shoal_cursor_int(&cursor);
    ret_range->count = shoal_cursor_uint(&cursor);
    ret_range->version = shoal_cursor_int(&cursor);
    if (!is_right || !shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_PROTOCOL, "the arguments of a shard cannot be read");
    }
    return true;
}

static bool
read_member(source_t *source, shoal_sqlite_reader_t *reader, sqlite3_stmt *row,
            const shoal_emitter_t *to, shoal_status_t *status)
{
    shoal_slice_t name = shoal_sqlite_text(row, 0);
    shoal_buffer_clear(&source->fqn);
    shoal_catalogue_fqn(&source->fqn, shoal_buffer_slice(&source->schema_fqn), name);
    bool is_kept = false;
    if (!keep(source, source->tables, name, &source->fqn, &is_kept, status)) {
        return false;
    }
    if (!is_kept) {
        to->tally(to->ctx, SCOPE_SCHEMA, SHOAL_TALLY_FILTERED, 1);
        return true;
    }
    bool is_view = shoal_slice_is(shoal_sqlite_text(row, 1), "view");
    if (shoal_sqlite_reader_table(reader, name, is_view, shoal_sqlite_text(row, 2),
                                  to->begin(to->ctx), status)) {
        return to->record(to->ctx, SCOPE_SCHEMA, "table", status);
    }
    if (status->error_class != SHOAL_DATA) {
        return false;
    }
    (void)shoal_fail_blame(status, ""); // one table's fault, not the file's
    to->failed(to->ctx, SCOPE_SCHEMA, shoal_buffer_text(&source->fqn), status);
    shoal_status_clear(status);
    return true;
}

static bool
read_members(source_t *source, const range_t *range, const shoal_emitter_t *to, uint64_t *ret_count,
             shoal_status_t *status)
{
    static const char sql[] =
        "select name, type, sql " MEMBERS_SQL "and rowid between ?3 and ?4 order by rowid";
    shoal_sqlite_reader_t *reader = NULL;
    sqlite3_stmt *row = NULL;
    bool done = shoal_sqlite_reader_new(source->database, shoal_buffer_slice(&source->schema_fqn),
                                        &reader, status) &&
                shoal_sqlite_prepare(source->database, "list the tables", sql, &row, status);
    if (done) {
        (void)sqlite3_bind_int(row, 1, source->include_tables);
        (void)sqlite3_bind_int(row, 2, source->include_views);
        (void)sqlite3_bind_int64(row, 3, range->first);
        (void)sqlite3_bind_int64(row, 4, range->last);
    }
    bool is_row = true;
    while (done && is_row) {
        done = shoal_sqlite_step(source->database, "list the tables", row, &is_row, status);
        if (done && is_row) {
            (*ret_count)++;
            source->host->progress(source->host->ctx);
            done = source->host->is_cancelled(source->host->ctx)
                       ? shoal_fail(status, SHOAL_CANCELLED, "the call was cancelled")
                       : read_member(source, reader, row, to, status);
        }
    }
    (void)sqlite3_finalize(row);
    shoal_sqlite_reader_destroy(&reader);
    return done;
}

// What has come or gone since discovery, so that the books balance.
static void
tell_changes(const source_t *source, const range_t *range, uint64_t count, int64_t version,
             const shoal_emitter_t *to)
{
    if (version != range->version) {
        source->host->warn(source->host->ctx, "the schema of \"%s\" changed while it was read",
                           source->path);
    }
    if (count < range->count) {
        to->tally(to->ctx, SCOPE_SCHEMA, SHOAL_TALLY_VANISHED, range->count - count);
    } else if (count > range->count) {
        to->tally(to->ctx, SCOPE_SCHEMA, SHOAL_TALLY_APPEARED, count - range->count);
    }
}

static bool
read_map(source_t *source, shoal_slice_t args, const shoal_emitter_t *to, shoal_status_t *status)
{
    range_t range;
    uint64_t count = 0;
    int64_t version = 0;
    if (!range_read(args, &range, status) || !connect_file(source, status)) {
        return false;
    }
    bool done = shoal_sqlite_run(source->database, "begin to read", "begin", status) &&
                read_version(source, &version, status) &&
                read_members(source, &range, to, &count, status) &&
                shoal_sqlite_run(source->database, "end reading", "commit", status);
    if (!done) {
        shoal_sqlite_close(&source->database);
        return false;
    }
    tell_changes(source, &range, count, version, to);
    return true;
}

static bool
source_read(void *ctx, shoal_stage_t stage, shoal_slice_t args, const shoal_emitter_t *to,
            shoal_status_t *status)
{
    switch (stage) {
    case SHOAL_STAGE_PREPARE: return read_prepare(ctx, args, to, status);
    case SHOAL_STAGE_MAP: return read_map(ctx, args, to, status);
    case SHOAL_STAGE_LINK: break;
    }
    return shoal_fail(status, SHOAL_INTERNAL, "sqlite has no stage %d", (int)stage);
}

const shoal_source_ops_t shoal_sqlite_source_ops = {
    .open = source_open,
    .close = source_close,
    .check = source_check,
    .discover = source_discover,
    .read = source_read,
};
