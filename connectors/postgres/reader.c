// SPDX-License-Identifier: Apache-2.0
//
// reader.c - see reader.h.
//
// A range of tables is read by six queries, each over one catalogue and each in the order of table
// numbers, so that the server neither sorts nor hashes and the client merges without looking
// anything up. The queries of a range are sent together, and before the range ahead of it is read:
// while the rows of one query are read, the server works on the next. Of the first five the rows
// are kept until the range is done, which SHOAL_PG_TABLES_PER_RANGE bounds; the sixth, the columns,
// is ten times as large as all the others and is not kept: a table's record is written when its
// last column has come.
//
// The range is said of each catalogue that is joined: PostgreSQL does not carry an inequality over
// a join.
//
// What the catalogue's own functions show (views' definitions, expressions) is of the present, not
// of the snapshot. Where something they need was dropped meanwhile they fail; then the shard goes
// on, from the range where it happened, in a transaction without the shared snapshot.

#include <stdio.h>
#include <stdlib.h>

#include "connectors/postgres/failure.h"
#include "connectors/postgres/reader_parts.h"
#include "proto/base/alloc.h"

static const char mark_sql[] = "savepoint views";
static const char unlock_sql[] = "rollback to savepoint views";
static const char forget_sql[] = "release savepoint views";
static const char names_sql[] = "select oid, nspname from pg_catalog.pg_namespace order by oid";

void *
shoal_pg_rows_add(shoal_pg_rows_t *rows, size_t item_size)
{
    if (rows->count == rows->size) {
        rows->size = rows->size > 0 ? 2 * rows->size : 256;
        rows->items = shoal_realloc(rows->items, rows->size * item_size);
    }
    return (char *)rows->items + item_size * rows->count++;
}

void
shoal_pg_rows_clear(shoal_pg_rows_t *rows)
{
    rows->count = 0;
    rows->at = 0;
}

shoal_pg_reader_t *
shoal_pg_reader_new(const shoal_pg_settings_t *settings, const shoal_host_t *host,
                    shoal_pg_session_t *session)
{
    shoal_pg_reader_t *reader = shoal_alloc(sizeof(*reader));
    reader->settings = settings;
    reader->host = host;
    reader->session = session;
    return reader;
}

void
shoal_pg_reader_destroy(shoal_pg_reader_t **reader)
{
    if (!reader || !*reader) {
        return;
    }
    shoal_pg_reader_t *self = *reader;
    free(self->tables.items);
    free(self->constraints.items);
    free(self->defaults.items);
    free(self->comments.items);
    free(self->views.items);
    free(self->refused.items);
    free(self->keys.items);
    free(self->columns);
    free(self->namespaces);
    shoal_pg_arena_fini(&self->shard_texts);
    shoal_pg_arena_fini(&self->range_texts);
    shoal_pg_arena_fini(&self->table_texts);
    shoal_buffer_fini(&self->database_fqn);
    shoal_buffer_fini(&self->schemas);
    shoal_buffer_fini(&self->scratch);
    free(self);
    *reader = NULL;
}

// ---- namespaces

shoal_pg_namespace_t *
shoal_pg_reader_namespace(const shoal_pg_reader_t *reader, uint32_t number)
{
    size_t low = 0;
    for (size_t high = reader->namespace_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (reader->namespaces[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_found = low < reader->namespace_count && reader->namespaces[low].number == number;
    return is_found ? &reader->namespaces[low] : NULL;
}

shoal_slice_t
shoal_pg_reader_fqn(shoal_pg_reader_t *reader, shoal_pg_arena_t *arena, shoal_slice_t parent,
                    shoal_slice_t name)
{
    shoal_buffer_clear(&reader->scratch);
    shoal_catalogue_fqn(&reader->scratch, parent, name);
    return shoal_pg_arena_copy(arena, shoal_buffer_slice(&reader->scratch));
}

void
shoal_pg_reader_start_database(shoal_pg_reader_t *reader, shoal_slice_t database)
{
    shoal_buffer_t service = SHOAL_BUFFER_INIT;
    shoal_catalogue_fqn(&service, SHOAL_SLICE_NONE, shoal_slice_of(reader->settings->service));
    shoal_buffer_clear(&reader->database_fqn);
    shoal_catalogue_fqn(&reader->database_fqn, shoal_buffer_slice(&service), database);
    shoal_buffer_fini(&service);
    shoal_pg_arena_clear(&reader->shard_texts);
    reader->namespace_count = 0;
}

static void
add_namespace(shoal_pg_reader_t *reader, const PGresult *row)
{
    size_t count = reader->namespace_count + 1;
    if ((count & (count - 1)) == 0) { // a power of two: room for as many again
        reader->namespaces =
            shoal_realloc(reader->namespaces, 2 * count * sizeof(*reader->namespaces));
    }
    shoal_slice_t name = shoal_pg_arena_copy(&reader->shard_texts, shoal_pg_text(row, 1));
    reader->namespaces[count - 1] = (shoal_pg_namespace_t){
        .number = shoal_pg_uint32(row, 0),
        .name = name,
        .fqn = shoal_pg_reader_fqn(reader, &reader->shard_texts,
                                   shoal_buffer_slice(&reader->database_fqn), name)};
    reader->namespace_count = count;
}

static bool
read_namespaces(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, shoal_status_t *status)
{
    const PGresult *row;
    reader->namespace_count = 0;
    if (!shoal_pg_link_begin(reader->link, status)) {
        return false;
    }
    for (;;) {
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
        if (!row) {
            break;
        }
        add_namespace(reader, row);
    }
    for (uint32_t i = 0; i < task->count_count; i++) {
        shoal_pg_namespace_t *namespace = shoal_pg_reader_namespace(reader, task->counts[i].schema);
        if (namespace) { // else the whole schema has vanished
            namespace->count = &task->counts[i];
        }
    }
    return true;
}

// ---- the stream of columns

// Hands over the tables before the one numbered `until`, none of which has columns to come. The
// table that `description` belongs to is the first of them.
static bool
emit_before(shoal_pg_reader_t *reader, uint32_t until, shoal_slice_t *description,
            shoal_status_t *status)
{
    shoal_pg_rows_t *rows = &reader->tables;
    const shoal_pg_table_t *items = rows->items;
    while (rows->at < rows->count && items[rows->at].number < until) {
        if (reader->column_count == 0) { // a table without columns: nobody looked for its comment
            *description = shoal_pg_text_of(&reader->comments, items[rows->at].number, 0);
        }
        if (!shoal_pg_emit_table(reader, &items[rows->at], *description, status)) {
            return false;
        }
        rows->at++;
    }
    return true;
}

static bool
read_columns(shoal_pg_reader_t *reader, shoal_status_t *status)
{
    const PGresult *row;
    shoal_slice_t description = SHOAL_SLICE_NONE;
    if (!shoal_pg_link_begin(reader->link, status)) {
        return false;
    }
    for (;;) {
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
        if (!row) {
            return emit_before(reader, SHOAL_PG_OID_END, &description, status);
        }
        uint32_t number = shoal_pg_uint32(row, 0);
        if (!emit_before(reader, number, &description, status)) {
            return false;
        }
        shoal_pg_rows_t *rows = &reader->tables;
        const shoal_pg_table_t *table = (const shoal_pg_table_t *)rows->items + rows->at;
        if (rows->at == rows->count || table->number != number) {
            continue; // of a table that is filtered, or that is not in a schema to be read
        }
        if (reader->column_count == 0) {
            description = shoal_pg_text_of(&reader->comments, number, 0);
        }
        shoal_pg_add_column(reader, table, row);
    }
}

// ---- a range

#define NO_RANGE UINT32_MAX

typedef struct progress {
    uint32_t range;    // that is read now
    uint32_t singly;   // the range whose views are read one by one, or NO_RANGE
    bool is_emitting;  // a record of that range may have been handed over
    bool is_unshared;  // the snapshot could not be used
    bool has_bad_view; // the definition of a view could not be made
} progress_t;

bool
shoal_pg_read_rows(shoal_pg_reader_t *reader, shoal_pg_take_fn *take, shoal_status_t *status)
{
    const PGresult *row;
    if (!shoal_pg_link_begin(reader->link, status)) {
        return false;
    }
    for (;;) {
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
        if (!row) {
            return true;
        }
        if (!take(reader, row, status)) {
            return false;
        }
    }
}

static void
start_range(shoal_pg_reader_t *reader)
{
    shoal_pg_rows_clear(&reader->tables);
    shoal_pg_rows_clear(&reader->constraints);
    shoal_pg_rows_clear(&reader->defaults);
    shoal_pg_rows_clear(&reader->comments);
    shoal_pg_rows_clear(&reader->views);
    shoal_pg_rows_clear(&reader->refused);
    shoal_pg_arena_clear(&reader->range_texts);
    shoal_pg_start_table(reader);
    for (size_t i = 0; i < reader->namespace_count; i++) {
        reader->namespaces[i].range_seen = 0;
        reader->namespaces[i].range_filtered = 0;
    }
}

// Only now, as a range that fails may be read again.
static void
finish_range(shoal_pg_reader_t *reader)
{
    for (size_t i = 0; i < reader->namespace_count; i++) {
        shoal_pg_namespace_t *namespace = &reader->namespaces[i];
        namespace->seen += namespace->range_seen;
        if (namespace->range_filtered > 0) {
            reader->to->tally(reader->to->ctx, namespace->count->scope, SHOAL_TALLY_FILTERED,
                              namespace->range_filtered);
        }
    }
}

static bool
send_views(shoal_pg_reader_t *reader, uint32_t views, const char *low, const char *high,
           shoal_status_t *status)
{
    shoal_pg_link_t *link = reader->link;
    char offset[16];
    const char *const parameters[] = {low, high, shoal_buffer_text(&reader->schemas), offset};
    const char *what = shoal_pg_sql_what[SHOAL_PG_SQL_VIEWS];
    if (!shoal_pg_link_send(link, what, mark_sql, 0, NULL, status)) {
        return false;
    }
    for (uint32_t at = 0; at < views; at += SHOAL_PG_VIEWS_AT_ONCE) {
        bool is_last = views - at <= SHOAL_PG_VIEWS_AT_ONCE;
        (void)snprintf(offset, sizeof(offset), "%u", at);
        if (!shoal_pg_link_send(link, what,
                                reader->sql[is_last ? SHOAL_PG_SQL_LAST_VIEWS : SHOAL_PG_SQL_VIEWS],
                                4, parameters, status) ||
            !shoal_pg_link_send(link, what, unlock_sql, 0, NULL, status)) {
            return false;
        }
    }
    return shoal_pg_link_send(link, what, forget_sql, 0, NULL, status);
}

// Sends the range's queries from the one to the other, without the views, as a group.
static bool
send_part(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, uint32_t range, int from, int to,
          shoal_status_t *status)
{
    char low[16];
    char high[16];
    (void)snprintf(low, sizeof(low), "%u", task->cuts[range]);
    (void)snprintf(high, sizeof(high), "%u", task->cuts[range + 1]);
    const char *const parameters[] = {low, high, shoal_buffer_text(&reader->schemas)};
    for (int i = from; i <= to; i++) {
        bool has_third = strstr(reader->sql[i], "$3") != NULL;
        if (i != SHOAL_PG_SQL_VIEWS &&
            !shoal_pg_link_send(reader->link, shoal_pg_sql_what[i], reader->sql[i],
                                has_third ? 3 : 2, parameters, status)) {
            return false;
        }
    }
    return shoal_pg_link_sync(reader->link, status);
}

// Sends a range's queries as a group.
static bool
send_range(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, uint32_t range,
           shoal_status_t *status)
{
    char low[16];
    char high[16];
    (void)snprintf(low, sizeof(low), "%u", task->cuts[range]);
    (void)snprintf(high, sizeof(high), "%u", task->cuts[range + 1]);
    const char *const parameters[] = {low, high, shoal_buffer_text(&reader->schemas)};
    for (int i = 0; i <= SHOAL_PG_SQL_COLUMNS; i++) {
        if (i == SHOAL_PG_SQL_VIEWS) {
            if (task->views[range] > 0 &&
                !send_views(reader, task->views[range], low, high, status)) {
                return false;
            }
            continue;
        }
        bool has_third = strstr(reader->sql[i], "$3") != NULL;
        if (!shoal_pg_link_send(reader->link, shoal_pg_sql_what[i], reader->sql[i],
                                has_third ? 3 : 2, parameters, status)) {
            return false;
        }
    }
    return shoal_pg_link_sync(reader->link, status);
}

static bool
read_views(shoal_pg_reader_t *reader, uint32_t views, shoal_status_t *status)
{
    if (views == 0) {
        return true;
    }
    if (!shoal_pg_link_skip(reader->link, status)) {
        return false;
    }
    for (uint32_t at = 0; at < views; at += SHOAL_PG_VIEWS_AT_ONCE) {
        if (!shoal_pg_read_rows(reader, shoal_pg_take_view, status) ||
            !shoal_pg_link_skip(reader->link, status)) {
            return false;
        }
    }
    return shoal_pg_link_skip(reader->link, status);
}

// Reads one range whose queries have been sent.
static bool
read_range(shoal_pg_reader_t *reader, uint32_t views, progress_t *progress, shoal_status_t *status)
{
    start_range(reader);
    if (!shoal_pg_read_rows(reader, shoal_pg_take_table, status) ||
        !shoal_pg_read_rows(reader, shoal_pg_take_constraint, status) ||
        !shoal_pg_read_rows(reader, shoal_pg_take_default, status) ||
        !shoal_pg_read_rows(reader, shoal_pg_take_comment, status)) {
        return false;
    }
    if (!read_views(reader, views, status)) {
        progress->has_bad_view = shoal_pg_link_failed_with(reader->link, "55P03") ||
                                 shoal_pg_link_failed_with(reader->link, "XX000");
        return false;
    }
    progress->is_emitting = true;
    if (!read_columns(reader, status) || !shoal_pg_link_end(reader->link, status)) {
        return false;
    }
    finish_range(reader);
    return true;
}

// Sends and reads one range with its views one by one.
static bool
read_range_singly(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, progress_t *progress,
                  shoal_status_t *status)
{
    shoal_pg_link_t *link = reader->link;
    start_range(reader);
    if (!send_part(reader, task, progress->range, SHOAL_PG_SQL_TABLES, SHOAL_PG_SQL_TABLES,
                   status) ||
        !shoal_pg_read_rows(reader, shoal_pg_take_table, status) ||
        !shoal_pg_link_end(link, status) || !shoal_pg_read_views_singly(reader, status) ||
        !send_part(reader, task, progress->range, SHOAL_PG_SQL_CONSTRAINTS, SHOAL_PG_SQL_COLUMNS,
                   status) ||
        !shoal_pg_read_rows(reader, shoal_pg_take_constraint, status) ||
        !shoal_pg_read_rows(reader, shoal_pg_take_default, status) ||
        !shoal_pg_read_rows(reader, shoal_pg_take_comment, status)) {
        return false;
    }
    progress->is_emitting = true;
    if (!read_columns(reader, status) || !shoal_pg_link_end(link, status)) {
        return false;
    }
    finish_range(reader);
    return true;
}

// ---- a shard

// Begins a transaction and sends what reads the schemas and the first range, unless that is read
// step by step.
static bool
send_shard(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, shoal_slice_t snapshot,
           const progress_t *progress, shoal_status_t *status)
{
    if (!shoal_pg_session_begin(reader->session, task->database, snapshot, &reader->link, status)) {
        return false;
    }
    shoal_pg_write_queries(reader, task);
    if (!shoal_pg_link_send(reader->link, "read the schemas", names_sql, 0, NULL, status)) {
        return false;
    }
    return progress->range == progress->singly ? shoal_pg_link_sync(reader->link, status)
                                               : send_range(reader, task, progress->range, status);
}

// While range `range` is read the server gets its work for the time after.
static bool
send_next(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, uint32_t range,
          shoal_status_t *status)
{
    return range + 1 < task->range_count ? send_range(reader, task, range + 1, status)
                                         : shoal_pg_session_send_end(reader->session, status);
}

// Reads the range that is next, while the server begins with the one after it.
static bool
read_next(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, progress_t *progress,
          shoal_status_t *status)
{
    if (progress->range == progress->singly) {
        return read_range_singly(reader, task, progress, status) &&
               send_next(reader, task, progress->range, status);
    }
    return send_next(reader, task, progress->range, status) &&
           read_range(reader, task->views[progress->range], progress, status);
}

// Reads ranges from progress->range on. Fails with progress->is_unshared set, and no failure to
// tell, if that should be done again without the snapshot.
static bool
try_shard(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, shoal_slice_t snapshot,
          progress_t *progress, shoal_status_t *status)
{
    bool is_shared = true;
    if (!send_shard(reader, task, snapshot, progress, status) ||
        !shoal_pg_session_opened(reader->session, &is_shared, status)) {
        return false;
    }
    if (!is_shared) {
        progress->is_unshared = true;
        return false;
    }
    if (!read_namespaces(reader, task, status) ||
        (progress->range == progress->singly && !shoal_pg_link_end(reader->link, status))) {
        return false;
    }
    for (; progress->range < task->range_count; progress->range++) {
        progress->is_emitting = progress->has_bad_view = false;
        if (!read_next(reader, task, progress, status)) {
            // A function of the catalogue met what the snapshot has and the present lacks.
            progress->is_unshared = snapshot.len > 0 && !progress->is_emitting &&
                                    shoal_pg_link_failed_with(reader->link, "XX000");
            return false;
        }
    }
    return shoal_pg_session_finish(reader->session, status);
}

// Tables that are not there any more, or that came.
static void
tally_differences(const shoal_pg_reader_t *reader, const shoal_pg_task_t *task,
                  const uint64_t *seen)
{
    for (uint32_t i = 0; i < task->count_count; i++) {
        const shoal_pg_count_t *count = &task->counts[i];
        if (seen[i] < count->tables) {
            reader->to->tally(reader->to->ctx, count->scope, SHOAL_TALLY_VANISHED,
                              count->tables - seen[i]);
        } else if (seen[i] > count->tables) {
            reader->to->tally(reader->to->ctx, count->scope, SHOAL_TALLY_APPEARED,
                              seen[i] - count->tables);
        }
    }
}

// Adds what the namespaces have seen to `seen`, which outlives them.
static void
sum_up(const shoal_pg_reader_t *reader, const shoal_pg_task_t *task, uint64_t *seen)
{
    for (size_t i = 0; i < reader->namespace_count; i++) {
        const shoal_pg_namespace_t *namespace = &reader->namespaces[i];
        if (namespace->count) {
            seen[namespace->count - task->counts] += namespace->seen;
        }
    }
}

bool
shoal_pg_reader_is_dropped(const shoal_pg_reader_t *reader, const shoal_status_t *status)
{
    return reader->settings->all_databases && shoal_pg_is_gone(reader->settings, status);
}

void
shoal_pg_reader_narrow(const shoal_pg_reader_t *reader, shoal_status_t *status)
{
    if (reader->settings->all_databases && status->error_class == SHOAL_CONFIG) {
        status->error_class = SHOAL_FATAL;
        (void)shoal_fail_blame(status, "");
    }
}

// After a failure: whether the rest of the shard can be read in another way, and how.
static bool
try_otherwise(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, shoal_slice_t *snapshot,
              progress_t *progress, shoal_status_t *status)
{
    if (progress->is_unshared && snapshot->len > 0) {
        reader->host->fact(reader->host->ctx, "snapshot", "not shared");
        reader->host->warn(reader->host->ctx, "snapshot of \"%.*s\" not used by a slot: %s",
                           SHOAL_SLICE_ARGS(task->database), status->text);
        *snapshot = SHOAL_SLICE_NONE;
    } else if (progress->has_bad_view && progress->singly != progress->range) {
        progress->singly = progress->range;
    } else {
        return false;
    }
    progress->is_unshared = progress->has_bad_view = false;
    shoal_status_clear(status);
    return true;
}

bool
shoal_pg_reader_read(shoal_pg_reader_t *reader, const shoal_pg_task_t *task,
                     const shoal_emitter_t *to, shoal_status_t *status)
{
    reader->to = to;
    shoal_pg_reader_start_database(reader, task->database);
    uint64_t *seen = shoal_alloc((task->count_count + 1) * sizeof(*seen));
    shoal_slice_t snapshot = task->snapshot;
    progress_t progress = {.range = 0, .singly = NO_RANGE};
    bool is_done = try_shard(reader, task, snapshot, &progress, status);
    while (!is_done && try_otherwise(reader, task, &snapshot, &progress, status)) {
        shoal_pg_session_abandon(reader->session);
        sum_up(reader, task, seen);
        reader->namespace_count = 0; // counted
        is_done = try_shard(reader, task, snapshot, &progress, status);
    }
    if (is_done) {
        sum_up(reader, task, seen);
        tally_differences(reader, task, seen);
    } else {
        shoal_pg_session_abandon(reader->session);
        if (shoal_pg_reader_is_dropped(reader, status)) {
            shoal_status_clear(status);
            tally_differences(reader, task, seen);
            is_done = true;
        } else {
            shoal_pg_reader_narrow(reader, status);
        }
    }
    reader->to = NULL;
    reader->link = NULL;
    free(seen);
    return is_done;
}
