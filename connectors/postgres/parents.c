// SPDX-License-Identifier: Apache-2.0
//
// parents.c - see reader.h: the service, databases and their schemas.

#include "connectors/postgres/reader_parts.h"

static const char schemas_sql[] =
    "select n.oid, n.nspname, pg_catalog.obj_description(n.oid, 'pg_namespace') "
    "from pg_catalog.pg_namespace n order by n.oid";

static const char database_sql[] =
    "select pg_catalog.shobj_description(oid, 'pg_database') from pg_catalog.pg_database "
    "where datname = pg_catalog.current_database()";

static bool
emit_service(shoal_pg_reader_t *reader, const shoal_emitter_t *to, shoal_status_t *status)
{
    shoal_catalogue_service(to->begin(to->ctx), shoal_slice_of(reader->settings->service),
                            "Postgres");
    return to->record(to->ctx, /*scope=*/0, "databaseService", status);
}

static bool
emit_database(shoal_pg_reader_t *reader, shoal_slice_t name, shoal_slice_t description,
              const shoal_emitter_t *to, shoal_status_t *status)
{
    shoal_buffer_t service = SHOAL_BUFFER_INIT;
    shoal_catalogue_fqn(&service, SHOAL_SLICE_NONE, shoal_slice_of(reader->settings->service));
    shoal_catalogue_database(to->begin(to->ctx), name, shoal_buffer_slice(&service), description);
    shoal_buffer_fini(&service);
    return to->record(to->ctx, SHOAL_PG_SCOPE_SERVICE, "database", status);
}

static bool
read_database(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare,
              const shoal_emitter_t *to, shoal_status_t *status)
{
    const PGresult *row;
    if (!shoal_pg_link_begin(reader->link, status) ||
        !shoal_pg_link_row(reader->link, &row, status)) {
        return false;
    }
    shoal_slice_t description = row ? shoal_pg_text(row, 0) : SHOAL_SLICE_NONE;
    if (!emit_database(reader, prepare->database, description, to, status)) {
        return false;
    }
    while (row) {
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
    }
    return true;
}

// One schema's record, if the filters leave it; pg_catalog and its kind are never looked at.
static bool
emit_schema(shoal_pg_reader_t *reader, const PGresult *row, const shoal_pg_prepare_t *prepare,
            const shoal_emitter_t *to, uint64_t *seen, shoal_status_t *status)
{
    shoal_slice_t name = shoal_pg_text(row, 1);
    if (name.len >= 3 && memcmp(name.ptr, "pg_", 3) == 0) {
        return true;
    }
    shoal_slice_t database = shoal_buffer_slice(&reader->database_fqn);
    shoal_slice_t fqn = shoal_pg_reader_fqn(reader, &reader->shard_texts, database, name);
    bool is_kept;
    if (!shoal_pg_settings_keep_schema(reader->settings, name, fqn, &is_kept, status)) {
        return false;
    }
    if (!is_kept) {
        return true;
    }
    (*seen)++;
    shoal_catalogue_schema(to->begin(to->ctx), name, database, shoal_pg_text(row, 2));
    return to->record(to->ctx, prepare->scope, "databaseSchema", status);
}

static bool
read_schemas(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare,
             const shoal_emitter_t *to, shoal_status_t *status)
{
    uint64_t seen = 0;
    if (!shoal_pg_link_begin(reader->link, status)) {
        return false;
    }
    for (;;) {
        const PGresult *row;
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
        if (!row) {
            break;
        }
        if (!emit_schema(reader, row, prepare, to, &seen, status)) {
            return false;
        }
    }
    if (seen != prepare->schemas) {
        bool is_fewer = seen < prepare->schemas;
        to->tally(to->ctx, prepare->scope, is_fewer ? SHOAL_TALLY_VANISHED : SHOAL_TALLY_APPEARED,
                  is_fewer ? prepare->schemas - seen : seen - prepare->schemas);
    }
    return true;
}

// The database and its schemas, in a transaction with that snapshot.
static bool
try_prepare(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare, shoal_slice_t snapshot,
            const shoal_emitter_t *to, bool *ret_is_shared, shoal_status_t *status)
{
    *ret_is_shared = true;
    return shoal_pg_session_begin(reader->session, prepare->database, snapshot, &reader->link,
                                  status) &&
           shoal_pg_link_send(reader->link, "read the database's comment", database_sql, 0, NULL,
                              status) &&
           shoal_pg_link_send(reader->link, "read the schemas", schemas_sql, 0, NULL, status) &&
           shoal_pg_session_send_end(reader->session, status) &&
           shoal_pg_session_opened(reader->session, ret_is_shared, status) && *ret_is_shared &&
           read_database(reader, prepare, to, status) &&
           read_schemas(reader, prepare, to, status) &&
           shoal_pg_session_finish(reader->session, status);
}

static bool
prepare_database(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare,
                 const shoal_emitter_t *to, shoal_status_t *status)
{
    bool is_shared;
    shoal_pg_reader_start_database(reader, prepare->database);
    bool is_done = try_prepare(reader, prepare, prepare->snapshot, to, &is_shared, status);
    if (!is_done && !is_shared) {
        shoal_pg_session_abandon(reader->session);
        shoal_status_clear(status);
        is_done = try_prepare(reader, prepare, SHOAL_SLICE_NONE, to, &is_shared, status);
    }
    if (!is_done) {
        shoal_pg_session_abandon(reader->session);
        if (shoal_pg_reader_is_dropped(reader, status)) {
            shoal_status_clear(status);
            to->tally(to->ctx, SHOAL_PG_SCOPE_SERVICE, SHOAL_TALLY_VANISHED, 1);
            to->tally(to->ctx, prepare->scope, SHOAL_TALLY_VANISHED, prepare->schemas);
            is_done = true;
        } else {
            shoal_pg_reader_narrow(reader, status);
        }
    }
    reader->link = NULL;
    return is_done;
}

bool
shoal_pg_reader_prepare(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare,
                        const shoal_emitter_t *to, shoal_status_t *status)
{
    switch (prepare->kind) {
    case SHOAL_PG_PREPARE_SERVICE: return emit_service(reader, to, status);
    case SHOAL_PG_PREPARE_DATABASE: return prepare_database(reader, prepare, to, status);
    case SHOAL_PG_PREPARE_BARE:
        return emit_database(reader, prepare->database, SHOAL_SLICE_NONE, to, status);
    case SHOAL_PG_PREPARE_GONE:
        to->tally(to->ctx, SHOAL_PG_SCOPE_SERVICE, SHOAL_TALLY_VANISHED, 1);
        return true;
    }
    return shoal_fail(status, SHOAL_INTERNAL, "no such prepare shard");
}
