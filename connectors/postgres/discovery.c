// SPDX-License-Identifier: Apache-2.0
//
// discovery.c - see discovery.h.
//
// A database's findings are gathered first and told afterwards. Each of its shards carries a cursor,
// so that after an attempt that failed the next one cuts only what no shard has (part.h); how many
// tables a schema has is said when all of its shards are, because later ones may be another attempt's.

#include "connectors/postgres/discovery.h"

#include <stdio.h>
#include <stdlib.h>

#include "connectors/catalogue.h"
#include "connectors/postgres/failure.h"
#include "connectors/postgres/part.h"
#include "connectors/postgres/plan.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define BUCKET_BITS   9 // tables with the same number without its last bits are counted together
#define SCHEMAS_MAX   90000 // of one database: a job has at most 100,000 scopes
#define TITLE_MAX     300   // bytes
#define SNAPSHOT_FACT "snapshot"

#define DATABASES_SQL                                                                              \
    "select oid, datname from pg_catalog.pg_database where datallowconn and oid > $1::oid "        \
    "order by oid"

#define SCHEMAS_SQL                                                                                \
    "select oid, nspname, pg_catalog.has_schema_privilege(oid, 'USAGE') "                          \
    "from pg_catalog.pg_namespace where nspname !~ '^pg_' order by oid"

// $1: bits of a bucket, $2: kinds of relation, $3 and $4: the schema, or 0, and the table to begin at.
#define BUCKETS_SQL                                                                                \
    "select (c.oid::int8 >> $1::int4)::int4, c.relnamespace, min(c.oid), count(*)::int4, "         \
    "count(*) filter (where c.relkind in ('v', 'm'))::int4 from pg_catalog.pg_class c "            \
    "where c.relkind = any($2::\"char\"[]) and not c.relispartition and c.relpersistence <> 't' "  \
    "and case when $3::oid = 0 then c.oid >= $4::oid "                                             \
    "else (c.relnamespace, c.oid) >= ($3::oid, $4::oid) end "                                      \
    "group by 1, 2 order by 1, 2"

typedef struct schema {
    uint32_t number;
    shoal_slice_t name; // in the listing's texts
    bool is_kept;
    bool is_allowed;
    shoal_scope_t scope;
    uint64_t tables;
} schema_t;

// What is known of one database.
typedef struct listing {
    shoal_slice_t name; // of the database
    shoal_slice_t fqn;  // of the database
    char **texts;       // names of schemas
    schema_t *schemas;  // sorted by number
    uint32_t schema_count;
    uint32_t schema_size;
    uint32_t kept;
    shoal_pg_bucket_t *buckets; // of kept and allowed schemas only
    size_t bucket_count;
    size_t bucket_size;
    uint64_t tables;     // in those
    uint64_t all_tables; // in every schema
    char snapshot[SHOAL_PG_SNAPSHOT_MAX];
} listing_t;

typedef struct database {
    uint32_t number;
    char *name;
} database_t;

typedef struct discovery {
    const shoal_pg_settings_t *settings;
    const shoal_host_t *host;
    shoal_pg_session_t *session;
    const shoal_discovery_t *to;
    shoal_buffer_t service_fqn;
    database_t *databases;
    size_t database_count;
    shoal_pg_part_t part;
    bool is_unshared;           // a database's snapshot could not be shared
    bool has_default_databases; // some were left out without anybody having asked for it
    bool has_default_schemas;
    shoal_buffer_t args;
    shoal_buffer_t cursor;
} discovery_t;

// ---- arguments of PREPARE shards

#define PREPARE_FIELDS 5

void
shoal_pg_prepare_write(const shoal_pg_prepare_t *prepare, shoal_buffer_t *out)
{
    shoal_write_array(out, PREPARE_FIELDS);
    shoal_write_uint(out, prepare->kind);
    shoal_write_str(out, prepare->database);
    shoal_write_str(out, prepare->snapshot);
    shoal_write_uint(out, prepare->scope);
    shoal_write_uint(out, prepare->schemas);
}

bool
shoal_pg_prepare_read(shoal_slice_t args, shoal_pg_prepare_t *ret_prepare, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(args);
    bool is_right = shoal_cursor_array(&cursor) == PREPARE_FIELDS;
    uint64_t kind = shoal_cursor_uint(&cursor);
    ret_prepare->database = shoal_cursor_str(&cursor);
    ret_prepare->snapshot = shoal_cursor_str(&cursor);
    uint64_t scope = shoal_cursor_uint(&cursor);
    uint64_t schemas = shoal_cursor_uint(&cursor);
    if (!is_right || !shoal_cursor_is_done(&cursor) || kind < SHOAL_PG_PREPARE_SERVICE ||
        kind > SHOAL_PG_PREPARE_GONE || scope > UINT32_MAX || schemas > UINT32_MAX) {
        return shoal_fail(status, SHOAL_PROTOCOL, "the arguments of a shard cannot be read");
    }
    ret_prepare->kind = (shoal_pg_prepare_kind_t)kind;
    ret_prepare->scope = (shoal_scope_t)scope;
    ret_prepare->schemas = (uint32_t)schemas;
    return true;
}

// ---- databases

static void
add_database(discovery_t *discovery, uint32_t number, shoal_slice_t name)
{
    size_t count = discovery->database_count + 1;
    discovery->databases =
        shoal_realloc(discovery->databases, count * sizeof(*discovery->databases));
    discovery->databases[count - 1] =
        (database_t){number, shoal_strndup(name.len ? name.ptr : "", name.len)};
    discovery->database_count = count;
}

// Whether the database `name` is to be read.
static bool
keep_database(const discovery_t *discovery, shoal_slice_t name, bool *ret_keep,
              shoal_status_t *status)
{
    shoal_buffer_t fqn = SHOAL_BUFFER_INIT;
    shoal_catalogue_fqn(&fqn, shoal_buffer_slice(&discovery->service_fqn), name);
    bool is_done = shoal_pg_settings_keep_database(discovery->settings, name,
                                                   shoal_buffer_slice(&fqn), ret_keep, status);
    shoal_buffer_fini(&fqn);
    return is_done;
}

static bool
read_databases(discovery_t *discovery, shoal_pg_link_t *link, uint64_t *ret_filtered,
               shoal_status_t *status)
{
    const PGresult *row;
    if (!shoal_pg_link_begin(link, status) || !shoal_pg_link_row(link, &row, status)) {
        return false;
    }
    *ret_filtered = 0;
    while (row) {
        bool is_kept;
        shoal_slice_t name = shoal_pg_text(row, 1);
        if (!keep_database(discovery, name, &is_kept, status)) {
            return false;
        }
        if (is_kept) {
            add_database(discovery, shoal_pg_uint32(row, 0), name);
        } else {
            (*ret_filtered)++;
        }
        if (!shoal_pg_link_row(link, &row, status)) {
            return false;
        }
    }
    return shoal_pg_link_end(link, status);
}

// Databases with numbers above `after`.
static bool
list_databases(discovery_t *discovery, uint32_t after, uint64_t *ret_filtered,
               shoal_status_t *status)
{
    *ret_filtered = 0;
    if (!discovery->settings->all_databases) {
        if (after == 0) {
            add_database(discovery, 1, shoal_slice_of(discovery->settings->database));
        }
        return true;
    }
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", after);
    const char *const parameters[] = {text};
    shoal_pg_session_t *session = discovery->session;
    shoal_pg_link_t *link;
    bool is_shared;
    if (!shoal_pg_session_begin(session, shoal_slice_of(discovery->settings->database),
                                SHOAL_SLICE_NONE, &link, status)) {
        return false;
    }
    bool is_done =
        shoal_pg_link_send(link, "list the databases", DATABASES_SQL, 1, parameters, status) &&
        shoal_pg_link_sync(link, status) && shoal_pg_session_opened(session, &is_shared, status) &&
        read_databases(discovery, link, ret_filtered, status) &&
        shoal_pg_session_send_end(session, status) && shoal_pg_session_finish(session, status);
    if (!is_done) {
        shoal_pg_session_abandon(session);
    }
    return is_done;
}

// ---- one database: gathering

static void
listing_fini(listing_t *listing)
{
    for (uint32_t i = 0; i < listing->schema_count; i++) {
        free(listing->texts[i]);
    }
    free(listing->texts);
    free(listing->schemas);
    free(listing->buckets);
}

static void
add_schema(listing_t *listing, const schema_t *schema)
{
    if (listing->schema_count == listing->schema_size) {
        listing->schema_size = listing->schema_size > 0 ? 2 * listing->schema_size : 32;
        listing->schemas =
            shoal_realloc(listing->schemas, listing->schema_size * sizeof(*listing->schemas));
        listing->texts =
            shoal_realloc(listing->texts, listing->schema_size * sizeof(*listing->texts));
    }
    uint32_t at = listing->schema_count++;
    listing->texts[at] = shoal_strndup(schema->name.len ? schema->name.ptr : "", schema->name.len);
    listing->schemas[at] = *schema;
    listing->schemas[at].name.ptr = listing->texts[at];
}

static bool
keep_schema(const discovery_t *discovery, const listing_t *listing, shoal_slice_t name,
            bool *ret_keep, shoal_status_t *status)
{
    shoal_buffer_t fqn = SHOAL_BUFFER_INIT;
    shoal_catalogue_fqn(&fqn, listing->fqn, name);
    bool is_done = shoal_pg_settings_keep_schema(discovery->settings, name,
                                                 shoal_buffer_slice(&fqn), ret_keep, status);
    shoal_buffer_fini(&fqn);
    return is_done;
}

static shoal_scope_t
part_scope(const shoal_pg_part_t *part, const shoal_pg_part_schema_t *schema)
{
    return part->scope + 1 + (shoal_scope_t)(schema - part->schemas);
}

static bool
read_schemas(const discovery_t *discovery, shoal_pg_link_t *link, listing_t *listing,
             shoal_status_t *status)
{
    const PGresult *row;
    if (!shoal_pg_link_begin(link, status) || !shoal_pg_link_row(link, &row, status)) {
        return false;
    }
    while (row) {
        schema_t schema = {.number = shoal_pg_uint32(row, 0),
                           .name = shoal_pg_text(row, 1),
                           .is_allowed = PQgetisnull(row, 0, 2) || shoal_pg_char(row, 2) != 0};
        if (listing->schema_count == SCHEMAS_MAX) {
            return shoal_fail(status, SHOAL_LIMIT, "database \"%.*s\" has more than %d schemas",
                              SHOAL_SLICE_ARGS(listing->name), SCHEMAS_MAX);
        }
        if (!keep_schema(discovery, listing, schema.name, &schema.is_kept, status)) {
            return false;
        }
        if (discovery->part.is_inside) { // its scope is the one that was told
            const shoal_pg_part_schema_t *known =
                shoal_pg_part_schema(&discovery->part, schema.number);
            schema.is_kept = known != NULL;
            schema.scope = known ? part_scope(&discovery->part, known) : 0;
        }
        listing->kept += schema.is_kept ? 1 : 0;
        add_schema(listing, &schema);
        if (!shoal_pg_link_row(link, &row, status)) {
            return false;
        }
    }
    return true;
}

static schema_t *
find_schema(const listing_t *listing, uint32_t number)
{
    uint32_t low = 0;
    for (uint32_t high = listing->schema_count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (listing->schemas[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_found = low < listing->schema_count && listing->schemas[low].number == number;
    return is_found ? &listing->schemas[low] : NULL;
}

static void
add_bucket(listing_t *listing, const shoal_pg_bucket_t *bucket)
{
    if (listing->bucket_count == listing->bucket_size) {
        listing->bucket_size = listing->bucket_size > 0 ? 2 * listing->bucket_size : 256;
        listing->buckets =
            shoal_realloc(listing->buckets, listing->bucket_size * sizeof(*listing->buckets));
    }
    listing->buckets[listing->bucket_count++] = *bucket;
}

static bool
read_buckets(const discovery_t *discovery, shoal_pg_link_t *link, listing_t *listing,
             shoal_status_t *status)
{
    const PGresult *row;
    if (!shoal_pg_link_begin(link, status) || !shoal_pg_link_row(link, &row, status)) {
        return false;
    }
    while (row) {
        schema_t *schema = find_schema(listing, shoal_pg_uint32(row, 1));
        uint32_t tables = shoal_pg_uint32(row, 3);
        if (schema) { // else it is one of the server's own
            listing->all_tables += tables;
        }
        if (schema && schema->is_kept && schema->is_allowed) {
            schema->tables += tables;
            listing->tables += tables;
            shoal_pg_bucket_t bucket = {.number = shoal_pg_uint32(row, 0),
                                        .schema = (uint32_t)(schema - listing->schemas),
                                        .first = shoal_pg_uint32(row, 2),
                                        .tables = tables,
                                        .views = shoal_pg_uint32(row, 4)};
            add_bucket(listing, &bucket);
        }
        discovery->host->progress(discovery->host->ctx);
        if (!shoal_pg_link_row(link, &row, status)) {
            return false;
        }
    }
    return shoal_pg_link_end(link, status);
}

// A smaller bucket for shards of few tables.
static int
bucket_bits(const shoal_pg_settings_t *settings)
{
    int bits = BUCKET_BITS;
    while (bits > 0 && settings->sharding == SHOAL_PG_SHARDING_TABLE_COUNT &&
           (settings->tables_per_shard >> bits) < 4) {
        bits--;
    }
    return bits;
}

// Sends and reads the two queries inside of a transaction that stays open.
static bool
list_inside(discovery_t *discovery, listing_t *listing, shoal_status_t *status)
{
    const shoal_pg_settings_t *settings = discovery->settings;
    char bits[8];
    char kinds[16];
    (void)snprintf(bits, sizeof(bits), "%d", bucket_bits(settings));
    (void)snprintf(kinds, sizeof(kinds), "{%s%s%s}", settings->include_tables ? "r,p,f" : "",
                   settings->include_tables && settings->include_views ? "," : "",
                   settings->include_views ? "v,m" : "");
    char schema[16];
    char table[16];
    const shoal_pg_part_t *part = &discovery->part;
    (void)snprintf(schema, sizeof(schema), "%u", part->is_inside ? part->from_schema : 0);
    (void)snprintf(table, sizeof(table), "%u", part->is_inside ? part->from_table : 0);
    const char *const parameters[] = {bits, kinds, schema, table};
    shoal_pg_link_t *link;
    bool is_shared;
    return shoal_pg_session_begin(discovery->session, listing->name, SHOAL_SLICE_NONE, &link,
                                  status) &&
           shoal_pg_link_send(link, "list the schemas", SCHEMAS_SQL, 0, NULL, status) &&
           shoal_pg_link_send(link, "count the tables", BUCKETS_SQL, 4, parameters, status) &&
           shoal_pg_link_sync(link, status) &&
           shoal_pg_session_opened(discovery->session, &is_shared, status) &&
           read_schemas(discovery, link, listing, status) &&
           read_buckets(discovery, link, listing, status);
}

static void
say_not_shared(discovery_t *discovery, const listing_t *listing, const shoal_status_t *why)
{
    discovery->is_unshared = true;
    discovery->host->fact(discovery->host->ctx, SNAPSHOT_FACT, "not shared");
    discovery->host->warn(discovery->host->ctx, "snapshot of \"%.*s\" not shared by all slots: %s",
                          SHOAL_SLICE_ARGS(listing->name), why->text);
}

// Ends the transaction, or keeps it open for its snapshot if several shards will read.
static bool
end_or_hold(discovery_t *discovery, listing_t *listing, size_t shards, shoal_status_t *status)
{
    if (shards > 1) {
        shoal_status_t why = SHOAL_STATUS_INIT;
        if (shoal_pg_session_hold(discovery->session, listing->snapshot, &why)) {
            if (!discovery->is_unshared) {
                discovery->host->fact(discovery->host->ctx, SNAPSHOT_FACT, "shared");
            }
            return true;
        }
        if (why.code == SHOAL_CANCELLED) {
            *status = why;
            return false;
        }
        say_not_shared(discovery, listing, &why);
        if (why.code != SHOAL_LIMIT) { // the transaction has failed: nothing to end
            shoal_pg_session_abandon(discovery->session);
            return true;
        }
    }
    return shoal_pg_session_send_end(discovery->session, status) &&
           shoal_pg_session_finish(discovery->session, status);
}

// ---- one database: telling

static bool
tell_scope(const discovery_t *discovery, shoal_scope_t scope, shoal_slice_t fqn, const char *of,
           shoal_status_t *status)
{
    char *name = shoal_strndup(fqn.ptr, fqn.len);
    bool is_done = discovery->to->scope(discovery->to->ctx, scope, name, of, status);
    free(name);
    return is_done;
}

// The schema's tables cannot be listed.
static bool
tell_denied(const discovery_t *discovery, const listing_t *listing, const schema_t *schema,
            shoal_status_t *status)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_DENIED,
                     "no permission on schema \"%.*s\" of database \"%.*s\": role \"%s\" lacks "
                     "USAGE on it",
                     SHOAL_SLICE_ARGS(schema->name), SHOAL_SLICE_ARGS(listing->name),
                     discovery->settings->user);
    return discovery->to->scope_failed(discovery->to->ctx, schema->scope, &why, status);
}

static bool
tell_schema(const discovery_t *discovery, const listing_t *listing, const schema_t *schema,
            shoal_status_t *status)
{
    shoal_buffer_t fqn = SHOAL_BUFFER_INIT;
    shoal_catalogue_fqn(&fqn, listing->fqn, schema->name);
    bool is_done = tell_scope(discovery, schema->scope, shoal_buffer_slice(&fqn), "tables", status);
    shoal_buffer_fini(&fqn);
    return is_done && (schema->is_allowed || tell_denied(discovery, listing, schema, status));
}

// The cursor of the shard that is told now; none where it would be too large.
static shoal_slice_t
cursor_here(discovery_t *discovery)
{
    shoal_buffer_clear(&discovery->cursor);
    if (!discovery->part.is_inside || discovery->part.schema_count > SHOAL_PG_PART_SCHEMAS_MAX) {
        return SHOAL_SLICE_NONE;
    }
    shoal_pg_part_write(&discovery->part, &discovery->cursor);
    return shoal_buffer_slice(&discovery->cursor);
}

static bool
tell_prepare(discovery_t *discovery, const shoal_pg_prepare_t *prepare, uint32_t needs,
             const shoal_expectation_t *expects, size_t expect_count, shoal_status_t *status)
{
    char title[TITLE_MAX];
    (void)snprintf(title, sizeof(title), "%s %.*s%s", discovery->settings->service,
                   SHOAL_SLICE_ARGS(prepare->database), prepare->database.len ? " schemas" : "");
    shoal_buffer_clear(&discovery->args);
    shoal_pg_prepare_write(prepare, &discovery->args);
    shoal_shard_t shard = {.number = discovery->part.next_shard++,
                           .stage = SHOAL_STAGE_PREPARE,
                           .needs = needs,
                           .cost_us = 1000,
                           .title = title,
                           .expects = expects,
                           .expect_count = expect_count,
                           .args = shoal_buffer_slice(&discovery->args)};
    shard.cursor = cursor_here(discovery);
    return discovery->to->shard(discovery->to->ctx, &shard, status);
}

// The smallest table number in the bucket that begins at `at`.
static uint32_t
bucket_first(const listing_t *listing, size_t at)
{
    uint32_t first = listing->buckets[at].first;
    for (size_t i = at + 1;
         i < listing->bucket_count && listing->buckets[i].number == listing->buckets[at].number;
         i++) {
        first = listing->buckets[i].first < first ? listing->buckets[i].first : first;
    }
    return first;
}

// The ranges of a cut, such that each has few enough tables. `next` is the first table number that
// belongs to the next shard.
static void
cut_ranges(const listing_t *listing, const shoal_pg_cut_t *cut, uint32_t next,
           shoal_pg_task_t *task)
{
    bool is_every = cut->schema == SHOAL_PG_EVERY_SCHEMA;
    uint64_t ranges_max = cut->tables / SHOAL_PG_TABLES_PER_RANGE + 1;
    task->cuts = shoal_alloc((ranges_max + 1) * sizeof(*task->cuts));
    task->views = shoal_alloc(ranges_max * sizeof(*task->views));
    uint64_t in_range = 0;
    for (size_t i = cut->begin; i < cut->end; i++) {
        const shoal_pg_bucket_t *bucket = &listing->buckets[i];
        if (!is_every && bucket->schema != cut->schema) {
            continue;
        }
        bool is_new =
            task->range_count == 0 || !is_every || bucket->number != listing->buckets[i - 1].number;
        if (task->range_count == 0 || (is_new && in_range >= SHOAL_PG_TABLES_PER_RANGE)) {
            task->cuts[task->range_count++] = is_every ? bucket_first(listing, i) : bucket->first;
            in_range = 0;
        }
        in_range += bucket->tables;
        task->views[task->range_count - 1] += bucket->views;
    }
    task->cuts[task->range_count] = next;
}

static void
count_schemas(const listing_t *listing, const shoal_pg_cut_t *cut, shoal_pg_task_t *task)
{
    uint32_t *tables = shoal_alloc((listing->schema_count + 1) * sizeof(*tables));
    for (size_t i = cut->begin; i < cut->end; i++) {
        const shoal_pg_bucket_t *bucket = &listing->buckets[i];
        if (cut->schema == SHOAL_PG_EVERY_SCHEMA || bucket->schema == cut->schema) {
            tables[bucket->schema] += bucket->tables;
        }
    }
    task->counts = shoal_alloc((listing->schema_count + 1) * sizeof(*task->counts));
    for (uint32_t i = 0; i < listing->schema_count; i++) {
        if (tables[i] > 0) {
            task->counts[task->count_count++] = (shoal_pg_count_t){
                listing->schemas[i].number, listing->schemas[i].scope, tables[i]};
        }
    }
    free(tables);
}

// Notes what a cut has of each schema, and where the rest begins.
static void
part_advance(shoal_pg_part_t *part, const listing_t *listing, const shoal_pg_cut_t *cut,
             const shoal_pg_task_t *task)
{
    bool is_every = cut->schema == SHOAL_PG_EVERY_SCHEMA;
    part->from_schema = is_every ? 0 : listing->schemas[cut->schema].number + 1;
    part->from_table = is_every ? task->cuts[task->range_count] : 0;
    for (uint32_t i = 0; i < task->count_count; i++) {
        shoal_pg_part_schema(part, task->counts[i].schema)->told += task->counts[i].tables;
    }
}

static bool
tell_map(discovery_t *discovery, const listing_t *listing, const shoal_pg_cut_t *cut, uint32_t next,
         shoal_status_t *status)
{
    shoal_pg_task_t task = {.database = listing->name,
                            .snapshot = shoal_slice_of(listing->snapshot),
                            .is_partial = cut->schema != SHOAL_PG_EVERY_SCHEMA ||
                                          listing->tables * 10 < listing->all_tables * 9};
    cut_ranges(listing, cut, next, &task);
    count_schemas(listing, cut, &task);
    shoal_expectation_t *expects = shoal_alloc((task.count_count + 1) * sizeof(*expects));
    for (uint32_t i = 0; i < task.count_count; i++) {
        expects[i] = (shoal_expectation_t){task.counts[i].scope, task.counts[i].tables};
    }
    shoal_buffer_clear(&discovery->args);
    shoal_pg_task_write(&task, &discovery->args);
    char title[TITLE_MAX];
    (void)snprintf(title, sizeof(title), "%.*s tables %u..", SHOAL_SLICE_ARGS(listing->fqn),
                   task.cuts[0]);
    shoal_shard_t shard = {.number = discovery->part.next_shard++,
                           .stage = SHOAL_STAGE_MAP,
                           .needs = discovery->part.prepare,
                           .cost_us = cut->tables * SHOAL_PG_TABLE_COST_US,
                           .title = title,
                           .expects = expects,
                           .expect_count = task.count_count,
                           .args = shoal_buffer_slice(&discovery->args)};
    part_advance(&discovery->part, listing, cut, &task);
    shard.cursor = cursor_here(discovery);
    bool is_done = discovery->to->shard(discovery->to->ctx, &shard, status);
    free(expects);
    shoal_pg_task_fini(&task);
    return is_done;
}

// Where the ranges of a cut end: at the next shard, or at the end of its last bucket if it has one
// schema only, or never.
static uint32_t
cut_end(const discovery_t *discovery, const listing_t *listing, const shoal_pg_cut_t *cut)
{
    if (cut->schema != SHOAL_PG_EVERY_SCHEMA) {
        uint64_t last = listing->buckets[cut->end - 1].number;
        uint64_t end = (last + 1) << bucket_bits(discovery->settings);
        return end < SHOAL_PG_OID_END ? (uint32_t)end : SHOAL_PG_OID_END;
    }
    return cut->end < listing->bucket_count ? bucket_first(listing, cut->end) : SHOAL_PG_OID_END;
}

static bool
tell_maps(discovery_t *discovery, const listing_t *listing, const shoal_pg_cut_t *cuts,
          size_t cut_count, shoal_status_t *status)
{
    for (size_t i = 0; i < cut_count; i++) {
        uint32_t next = cut_end(discovery, listing, &cuts[i]);
        if (!tell_map(discovery, listing, &cuts[i], next, status)) {
            return false;
        }
    }
    return true;
}

// Between two databases.
static bool
tell_cursor(discovery_t *discovery, uint32_t database, shoal_status_t *status)
{
    discovery->part.database = database;
    shoal_pg_part_leave(&discovery->part);
    shoal_buffer_clear(&discovery->cursor);
    shoal_pg_part_write(&discovery->part, &discovery->cursor);
    return discovery->to->cursor(discovery->to->ctx, shoal_buffer_slice(&discovery->cursor),
                                 status);
}

// Enters the database: the schemas that are kept get their scopes.
static void
part_enter(shoal_pg_part_t *part, uint32_t database, listing_t *listing)
{
    part->database = database;
    part->scope = part->next_scope++;
    part->schemas = shoal_alloc((listing->kept + 1) * sizeof(*part->schemas));
    part->schema_count = 0;
    for (uint32_t i = 0; i < listing->schema_count; i++) {
        schema_t *schema = &listing->schemas[i];
        if (schema->is_kept) {
            schema->scope = part->next_scope++;
            part->schemas[part->schema_count++] =
                (shoal_pg_part_schema_t){schema->number, !schema->is_allowed, 0};
        }
    }
    part->from_schema = part->from_table = 0;
    part->prepare = part->next_shard;
    part->is_inside = true;
}

// Tells of a database what comes before its tables: its scope, its schemas' scopes, its own shard.
static bool
tell_database(discovery_t *discovery, const listing_t *listing, shoal_status_t *status)
{
    const shoal_discovery_t *to = discovery->to;
    shoal_scope_t scope = discovery->part.scope;
    if (!tell_scope(discovery, scope, listing->fqn, "schemas", status)) {
        return false;
    }
    for (uint32_t i = 0; i < listing->schema_count; i++) {
        const schema_t *schema = &listing->schemas[i];
        if (schema->is_kept && !tell_schema(discovery, listing, schema, status)) {
            return false;
        }
    }
    if (listing->kept < listing->schema_count) {
        to->filtered(to->ctx, scope, listing->schema_count - listing->kept);
    }
    shoal_pg_prepare_t prepare = {SHOAL_PG_PREPARE_DATABASE, listing->name,
                                  shoal_slice_of(listing->snapshot), scope, listing->kept};
    shoal_expectation_t expects[] = {{SHOAL_PG_SCOPE_SERVICE, 1}, {scope, listing->kept}};
    return to->scope_end(to->ctx, scope, listing->schema_count, status) &&
           tell_prepare(discovery, &prepare, /*needs=*/1, expects, 2, status);
}

// All shards of the database are told: its schemas have as many tables as those have. `listing` is
// NULL if the database is gone, and with it what no shard has.
static bool
tell_ends(const discovery_t *discovery, const listing_t *listing, shoal_status_t *status)
{
    const shoal_discovery_t *to = discovery->to;
    const shoal_pg_part_t *part = &discovery->part;
    for (uint32_t i = 0; i < part->schema_count; i++) {
        const shoal_pg_part_schema_t *told = &part->schemas[i];
        const schema_t *schema = listing ? find_schema(listing, told->number) : NULL;
        bool is_denied = schema && !schema->is_allowed; // since the first attempt
        if (told->is_failed) {
            continue;
        }
        if (is_denied ? !tell_denied(discovery, listing, schema, status)
                      : !to->scope_end(to->ctx, part_scope(part, told), told->told, status)) {
            return false;
        }
    }
    return true;
}

// The rest of a database that an earlier attempt has begun with cannot be listed.
static bool
tell_rest_failed(const discovery_t *discovery, const shoal_status_t *why, shoal_status_t *status)
{
    const shoal_discovery_t *to = discovery->to;
    const shoal_pg_part_t *part = &discovery->part;
    if (shoal_pg_is_gone(discovery->settings, why)) {
        return tell_ends(discovery, NULL, status);
    }
    for (uint32_t i = 0; i < part->schema_count; i++) {
        if (!part->schemas[i].is_failed &&
            !to->scope_failed(to->ctx, part_scope(part, &part->schemas[i]), why, status)) {
            return false;
        }
    }
    return true;
}

// A database that could not be listed: its scope has failed, its own record is still to come.
static bool
tell_failed(discovery_t *discovery, const listing_t *listing, const shoal_status_t *why,
            shoal_status_t *status)
{
    const shoal_discovery_t *to = discovery->to;
    shoal_scope_t scope = discovery->part.next_scope++;
    bool is_gone = shoal_pg_is_gone(discovery->settings, why);
    shoal_pg_prepare_t prepare = {is_gone ? SHOAL_PG_PREPARE_GONE : SHOAL_PG_PREPARE_BARE,
                                  listing->name, SHOAL_SLICE_NONE, scope, 0};
    shoal_expectation_t expects[] = {{SHOAL_PG_SCOPE_SERVICE, 1}};
    if (!tell_prepare(discovery, &prepare, /*needs=*/1, expects, 1, status)) {
        return false;
    }
    return is_gone || (tell_scope(discovery, scope, listing->fqn, "schemas", status) &&
                       to->scope_failed(to->ctx, scope, why, status));
}

// Whether the job can go on without this database. A host that is not found is nobody's own fault,
// and must not look as if all the databases that are left had been dropped.
static bool
is_its_own_fault(const discovery_t *discovery, const shoal_status_t *why)
{
    return discovery->settings->all_databases && why->code != SHOAL_CANCELLED &&
           why->error_class != SHOAL_TRANSIENT && why->code != SHOAL_INVALID &&
           (why->code != SHOAL_NOT_FOUND || shoal_pg_is_gone(discovery->settings, why));
}

static bool
discover_database(discovery_t *discovery, const database_t *database, shoal_status_t *status)
{
    shoal_buffer_t fqn = SHOAL_BUFFER_INIT;
    listing_t listing = {.name = shoal_slice_of(database->name)};
    shoal_catalogue_fqn(&fqn, shoal_buffer_slice(&discovery->service_fqn), listing.name);
    listing.fqn = shoal_buffer_slice(&fqn);
    shoal_pg_cut_t *cuts = NULL;
    size_t cut_count = 0;
    shoal_status_t why = SHOAL_STATUS_INIT;
    bool is_rest = discovery->part.is_inside; // an earlier attempt has told how it begins
    bool is_done = list_inside(discovery, &listing, &why);
    if (is_done) {
        cuts = shoal_pg_plan_cut(discovery->settings, discovery->host->slots, listing.buckets,
                                 listing.bucket_count, listing.schema_count, &cut_count);
        is_done = end_or_hold(discovery, &listing, cut_count, &why);
    }
    if (is_done) {
        if (!is_rest) {
            discovery->has_default_schemas =
                discovery->has_default_schemas ||
                (discovery->settings->excludes_schemas && listing.kept < listing.schema_count);
            part_enter(&discovery->part, database->number, &listing);
        }
        is_done = (is_rest || tell_database(discovery, &listing, status)) &&
                  tell_maps(discovery, &listing, cuts, cut_count, status) &&
                  tell_ends(discovery, &listing, status);
    } else {
        shoal_pg_session_abandon(discovery->session);
        *status = why;
        is_done = is_its_own_fault(discovery, &why) &&
                  (is_rest ? tell_rest_failed(discovery, &why, status)
                           : tell_failed(discovery, &listing, &why, status));
    }
    free(cuts);
    listing_fini(&listing);
    shoal_buffer_fini(&fqn);
    return is_done && tell_cursor(discovery, database->number, status);
}

// ---- all

// The service with its databases; later attempts have told it already.
static bool
tell_service(discovery_t *discovery, uint64_t filtered, shoal_status_t *status)
{
    const shoal_discovery_t *to = discovery->to;
    shoal_pg_prepare_t prepare = {SHOAL_PG_PREPARE_SERVICE, SHOAL_SLICE_NONE, SHOAL_SLICE_NONE, 0,
                                  0};
    if (!tell_scope(discovery, SHOAL_PG_SCOPE_SERVICE, shoal_buffer_slice(&discovery->service_fqn),
                    "databases", status)) {
        return false;
    }
    if (filtered > 0) {
        to->filtered(to->ctx, SHOAL_PG_SCOPE_SERVICE, filtered);
    }
    return tell_prepare(discovery, &prepare, /*needs=*/0, NULL, 0, status) &&
           to->scope_end(to->ctx, SHOAL_PG_SCOPE_SERVICE, discovery->database_count + filtered,
                         status) &&
           tell_cursor(discovery, /*database=*/0, status);
}

// What was left out because no pattern is written.
static void
note_defaults(const discovery_t *discovery)
{
    bool is_both = discovery->has_default_databases && discovery->has_default_schemas;
    if (!discovery->has_default_databases && !discovery->has_default_schemas) {
        return;
    }
    char text[256];
    (void)snprintf(text, sizeof(text), "%s%s%s",
                   discovery->has_default_databases
                       ? "databases template0 and template1 (no databaseFilterPattern is written)"
                       : "",
                   is_both ? ", " : "",
                   discovery->has_default_schemas
                       ? "schema information_schema (no schemaFilterPattern is written)"
                       : "");
    discovery->host->fact(discovery->host->ctx, "filtered by default", text);
}

static bool
discover(discovery_t *discovery, shoal_slice_t resume, shoal_status_t *status)
{
    uint64_t filtered;
    shoal_pg_part_t *part = &discovery->part;
    if (!shoal_pg_part_read(resume, part, status)) {
        return false;
    }
    if (resume.len == 0) {
        part->next_scope = SHOAL_PG_SCOPE_SERVICE + 1;
    }
    uint32_t begun = part->is_inside ? part->database : 0;
    uint32_t after = begun > 0 ? begun - 1 : part->database;
    if (!list_databases(discovery, after, &filtered, status)) {
        return false;
    }
    if (resume.len == 0 && !tell_service(discovery, filtered, status)) {
        return false;
    }
    discovery->has_default_databases = filtered > 0 && discovery->settings->excludes_databases;
    bool is_gone =
        begun > 0 && (discovery->database_count == 0 || discovery->databases[0].number != begun);
    if (is_gone &&
        (!tell_ends(discovery, NULL, status) || !tell_cursor(discovery, begun, status))) {
        return false;
    }
    for (size_t i = 0; i < discovery->database_count; i++) {
        if (!discover_database(discovery, &discovery->databases[i], status)) {
            return false;
        }
    }
    note_defaults(discovery);
    return true;
}

bool
shoal_pg_discover(const shoal_pg_settings_t *settings, const shoal_host_t *host,
                  shoal_pg_session_t *session, shoal_slice_t resume, const shoal_discovery_t *to,
                  shoal_status_t *status)
{
    discovery_t discovery = {
        .settings = settings, .host = host, .session = session, .to = to, .args = {NULL, 0, 0}};
    shoal_catalogue_fqn(&discovery.service_fqn, SHOAL_SLICE_NONE,
                        shoal_slice_of(settings->service));
    bool is_done = discover(&discovery, resume, status);
    for (size_t i = 0; i < discovery.database_count; i++) {
        free(discovery.databases[i].name);
    }
    free(discovery.databases);
    shoal_pg_part_fini(&discovery.part);
    shoal_buffer_fini(&discovery.cursor);
    shoal_buffer_fini(&discovery.service_fqn);
    shoal_buffer_fini(&discovery.args);
    return is_done;
}
