// SPDX-License-Identifier: Apache-2.0
//
// session.c - see session.h.

#include "connectors/postgres/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

#define BEGIN_SQL     "begin isolation level repeatable read read only"
#define SAVEPOINT_SQL "savepoint shard"

// How many connections the role could still open: under the server's limit (the superuser's reserve
// set aside), its own and the database's; each may be absent (-1). Everyone may see who is connected.
#define ROOM_SQL                                                                                   \
    "select least("                                                                                \
    "pg_catalog.current_setting('max_connections')::int - case when r.rolsuper then 0 else "       \
    "pg_catalog.current_setting('superuser_reserved_connections')::int + "                         \
    "coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0) end - count(*), "  \
    "case when r.rolconnlimit >= 0 and not r.rolsuper then r.rolconnlimit - "                      \
    "count(*) filter (where s.usesysid = r.oid) end, "                                             \
    "case when d.datconnlimit >= 0 and not r.rolsuper then d.datconnlimit - "                      \
    "count(*) filter (where s.datid = d.oid) end)::int4 "                                          \
    "from pg_catalog.pg_roles r, pg_catalog.pg_database d, "                                       \
    "pg_catalog.pg_stat_get_activity(null) s "                                                     \
    "where r.rolname = session_user and d.datname = pg_catalog.current_database() "                \
    "and s.usesysid is not null and s.datid is not null "                                          \
    "group by r.rolsuper, r.rolconnlimit, r.oid, d.datconnlimit, d.oid"

typedef struct held {
    shoal_pg_link_t *link;
    char snapshot[SHOAL_PG_SNAPSHOT_MAX];
} held_t;

struct shoal_pg_session {
    const shoal_pg_settings_t *settings;
    const shoal_host_t *host;
    shoal_pg_link_t *link; // to the database read last; NULL: none
    held_t held[SHOAL_PG_HELD_MAX];
    size_t held_count;

    // The transaction that runs now.
    held_t *inside;         // of which held one, NULL: it is the link's own
    bool is_importing;      // its snapshot is another's
    shoal_pg_link_t *taken; // its link; NULL: none runs
};

shoal_pg_session_t *
shoal_pg_session_new(const shoal_pg_settings_t *settings, const shoal_host_t *host)
{
    shoal_pg_session_t *session = shoal_alloc(sizeof(*session));
    session->settings = settings;
    session->host = host;
    return session;
}

void
shoal_pg_session_destroy(shoal_pg_session_t **session)
{
    if (!session || !*session) {
        return;
    }
    shoal_pg_link_destroy(&(*session)->link);
    for (size_t i = 0; i < (*session)->held_count; i++) {
        shoal_pg_link_destroy(&(*session)->held[i].link);
    }
    free(*session);
    *session = NULL;
}

static held_t *
find_held(shoal_pg_session_t *session, const char *database, shoal_slice_t snapshot)
{
    for (size_t i = 0; i < session->held_count; i++) {
        held_t *held = &session->held[i];
        if (held->link && shoal_slice_is(snapshot, held->snapshot) &&
            strcmp(shoal_pg_link_database(held->link), database) == 0) {
            return held;
        }
    }
    return NULL;
}

// The instance's own connection, to `database`.
static bool
connect_to(shoal_pg_session_t *session, const char *database, shoal_status_t *status)
{
    if (session->link && (shoal_pg_link_is_broken(session->link) ||
                          strcmp(shoal_pg_link_database(session->link), database) != 0)) {
        shoal_pg_link_destroy(&session->link);
    }
    return session->link ||
           shoal_pg_link_new(session->settings, session->host, database, &session->link, status);
}

static bool
send_begin(shoal_pg_session_t *session, shoal_slice_t snapshot, shoal_status_t *status)
{
    shoal_pg_link_t *link = session->taken;
    static const char what[] = "begin a transaction";
    if (session->inside) {
        return shoal_pg_link_send(link, what, SAVEPOINT_SQL, 0, NULL, status);
    }
    if (!shoal_pg_link_send(link, what, BEGIN_SQL, 0, NULL, status)) {
        return false;
    }
    if (snapshot.len == 0) {
        return true;
    }
    char sql[SHOAL_PG_SNAPSHOT_MAX + 32];
    (void)snprintf(sql, sizeof(sql), "set transaction snapshot '%.*s'", SHOAL_SLICE_ARGS(snapshot));
    return shoal_pg_link_send(link, "share a snapshot", sql, 0, NULL, status);
}

// A snapshot's name goes into a statement as it is.
static bool
is_snapshot(shoal_slice_t name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '\0' || !strchr("0123456789ABCDEFabcdef-", name.ptr[i])) {
            return false;
        }
    }
    return name.len < SHOAL_PG_SNAPSHOT_MAX;
}

bool
shoal_pg_session_begin(shoal_pg_session_t *session, shoal_slice_t database, shoal_slice_t snapshot,
                       shoal_pg_link_t **ret_link, shoal_status_t *status)
{
    assert(!session->taken);
    if (!is_snapshot(snapshot)) {
        return shoal_fail(status, SHOAL_PROTOCOL, "the name of a snapshot is malformed");
    }
    char *name = shoal_strndup(database.ptr, database.len);
    session->inside = find_held(session, name, snapshot);
    bool is_connected = session->inside || connect_to(session, name, status);
    free(name);
    if (!is_connected) {
        return false;
    }
    session->taken = session->inside ? session->inside->link : session->link;
    session->is_importing = !session->inside && snapshot.len > 0;
    if (!send_begin(session, snapshot, status) || !shoal_pg_link_sync(session->taken, status)) {
        shoal_pg_session_abandon(session);
        return false;
    }
    *ret_link = session->taken;
    return true;
}

bool
shoal_pg_session_send_end(shoal_pg_session_t *session, shoal_status_t *status)
{
    shoal_pg_link_t *link = session->taken;
    static const char what[] = "end a transaction";
    if (session->inside) {
        return shoal_pg_link_send(link, what, "release savepoint shard", 0, NULL, status) &&
               shoal_pg_link_sync(link, status);
    }
    return shoal_pg_link_send(link, what, "commit", 0, NULL, status) &&
           shoal_pg_link_send(link, "count connections", ROOM_SQL, 0, NULL, status) &&
           shoal_pg_link_sync(link, status);
}

bool
shoal_pg_session_opened(shoal_pg_session_t *session, bool *ret_is_shared, shoal_status_t *status)
{
    shoal_pg_link_t *link = session->taken;
    *ret_is_shared = true;
    if (!shoal_pg_link_skip(link, status)) {
        return false;
    }
    if (session->is_importing && !shoal_pg_link_skip(link, status)) {
        *ret_is_shared = false;
        // Only an answer of the server says so; a broken connection does not.
        return !shoal_pg_link_is_broken(link) && status->code != SHOAL_CANCELLED &&
               status->code != SHOAL_TIMEOUT;
    }
    return shoal_pg_link_end(link, status);
}

// Reads the one number that ROOM_SQL gives.
static bool
read_room(shoal_pg_link_t *link, int32_t *ret_room, shoal_status_t *status)
{
    const PGresult *row = NULL;
    *ret_room = 1;
    if (!shoal_pg_link_begin(link, status) || !shoal_pg_link_row(link, &row, status)) {
        return false;
    }
    if (row && !PQgetisnull(row, 0, 0)) {
        *ret_room = shoal_pg_int32(row, 0);
    }
    return !row || shoal_pg_link_row(link, &row, status);
}

bool
shoal_pg_session_finish(shoal_pg_session_t *session, shoal_status_t *status)
{
    shoal_pg_link_t *link = session->taken;
    int32_t room = 1;
    if (!shoal_pg_link_skip(link, status) ||
        (!session->inside && !read_room(link, &room, status)) || !shoal_pg_link_end(link, status)) {
        return false;
    }
    session->taken = NULL;
    if (room <= 0) { // somebody may be waiting for this one
        shoal_pg_link_destroy(&session->link);
    }
    return true;
}

// Brings a held transaction back to where it was before the shard.
static bool
roll_back(shoal_pg_link_t *link)
{
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    return shoal_pg_link_drain(link, /*is_cancelling=*/true, &ignored) &&
           shoal_pg_link_send(link, "roll back", "rollback to savepoint shard", 0, NULL,
                              &ignored) &&
           shoal_pg_link_sync(link, &ignored) && shoal_pg_link_skip(link, &ignored) &&
           shoal_pg_link_end(link, &ignored);
}

void
shoal_pg_session_abandon(shoal_pg_session_t *session)
{
    shoal_pg_link_t *link = session->taken;
    session->taken = NULL;
    if (!link) {
        return;
    }
    if (session->inside) {
        if (!roll_back(link)) {
            shoal_pg_link_destroy(&session->inside->link);
        }
        return;
    }
    shoal_pg_link_destroy(&session->link);
}

bool
shoal_pg_session_hold(shoal_pg_session_t *session, char ret_snapshot[SHOAL_PG_SNAPSHOT_MAX],
                      shoal_status_t *why)
{
    shoal_pg_link_t *link = session->taken;
    if (session->held_count == SHOAL_PG_HELD_MAX) {
        return shoal_fail(why, SHOAL_LIMIT, "more than %d databases", SHOAL_PG_HELD_MAX);
    }
    const PGresult *row = NULL;
    int32_t room = 1;
    if (!shoal_pg_link_send(link, "count connections", ROOM_SQL, 0, NULL, why) ||
        !shoal_pg_link_send(link, "export a snapshot", "select pg_export_snapshot()", 0, NULL,
                            why) ||
        !shoal_pg_link_sync(link, why) || !read_room(link, &room, why) ||
        !shoal_pg_link_begin(link, why) || !shoal_pg_link_row(link, &row, why)) {
        return false;
    }
    shoal_slice_t name = row ? shoal_pg_text(row, 0) : SHOAL_SLICE_NONE;
    if (name.len == 0 || !is_snapshot(name)) {
        return shoal_fail(why, SHOAL_INTERNAL, "the server's name of it is malformed");
    }
    held_t *held = &session->held[session->held_count];
    (void)snprintf(held->snapshot, sizeof(held->snapshot), "%.*s", SHOAL_SLICE_ARGS(name));
    // A savepoint below those of the shards: where to go back to if a shard fails when its own has
    // been released already.
    if (!shoal_pg_link_row(link, &row, why) || !shoal_pg_link_end(link, why) ||
        !shoal_pg_link_send(link, "set a savepoint", SAVEPOINT_SQL, 0, NULL, why) ||
        !shoal_pg_link_sync(link, why) || !shoal_pg_link_skip(link, why) ||
        !shoal_pg_link_end(link, why)) {
        return false;
    }
    if (room <= 0) {
        return shoal_fail(why, SHOAL_LIMIT, "it would keep the server's last free connection");
    }
    (void)memcpy(ret_snapshot, held->snapshot, SHOAL_PG_SNAPSHOT_MAX);
    held->link = link;
    session->held_count++;
    session->link = NULL;
    session->taken = NULL;
    return true;
}
