// SPDX-License-Identifier: Apache-2.0
//
// session.h - the connections of one instance of the source, and its reading transactions.
//
// An instance has one connection to the database it read last. Discovery keeps more: each database
// with several shards has a transaction whose exported snapshot the other slots import, and that
// must stay open until the job ends. Shards that come to the instance that did the discovery read
// inside of that very transaction.
//
// Where the server has no connection left after ours, each is given back as soon as its shard is
// read, so that slots which wait for one get on.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_SESSION_H
#define SHOAL_CONNECTORS_POSTGRES_SESSION_H

#include "connectors/postgres/link.h"

#define SHOAL_PG_HELD_MAX     16 // transactions kept open for their snapshots
#define SHOAL_PG_SNAPSHOT_MAX 64 // bytes of a snapshot's name with the final NUL

typedef struct shoal_pg_session shoal_pg_session_t;

shoal_pg_session_t *shoal_pg_session_new(const shoal_pg_settings_t *settings,
                                         const shoal_host_t *host);
void shoal_pg_session_destroy(shoal_pg_session_t **session);

// Sends, as a group of its own, what begins a transaction on a connection to `database` that sees
// `snapshot`, or its own if that is empty. The caller sends its queries, then send_end(). The link
// is borrowed until finish() or abandon().
//   as shoal_pg_link_new()
SHOAL_MUST_CHECK bool shoal_pg_session_begin(shoal_pg_session_t *session, shoal_slice_t database,
                                             shoal_slice_t snapshot, shoal_pg_link_t **ret_link,
                                             shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_pg_session_send_end(shoal_pg_session_t *session,
                                                shoal_status_t *status);

// Reads the results of what begin() sent. *ret_is_shared is false if the snapshot is gone or cannot
// be used here: then the rest of the transaction fails, and the caller abandons it.
SHOAL_MUST_CHECK bool shoal_pg_session_opened(shoal_pg_session_t *session, bool *ret_is_shared,
                                              shoal_status_t *status);

// Reads the result of what send_end() sent.
SHOAL_MUST_CHECK bool shoal_pg_session_finish(shoal_pg_session_t *session, shoal_status_t *status);

// Ends the transaction after a failure, as far as possible without losing a held snapshot.
void shoal_pg_session_abandon(shoal_pg_session_t *session);

// For discovery: begin() with an empty snapshot, then, when everything sent is read and instead of
// send_end(), hold() exports the snapshot of the transaction and keeps that open. False without a
// failure, *ret_why says why, if it cannot be: the transaction goes on.
SHOAL_MUST_CHECK bool shoal_pg_session_hold(shoal_pg_session_t *session,
                                            char ret_snapshot[SHOAL_PG_SNAPSHOT_MAX],
                                            shoal_status_t *why);

#endif
