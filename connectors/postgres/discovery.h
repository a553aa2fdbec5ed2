// SPDX-License-Identifier: Apache-2.0
//
// discovery.h - finds databases, schemas and how many tables they have, and cuts the shards.
//
// Two queries a database: its schemas, and its tables counted by schema and run of numbers. No name
// of a table is read. The scopes are: the service with its databases (scope 1), each database with
// its schemas, each schema with its tables.
//
// Threads: none shared.  Logging: through the host.

#ifndef SHOAL_CONNECTORS_POSTGRES_DISCOVERY_H
#define SHOAL_CONNECTORS_POSTGRES_DISCOVERY_H

#include "connectors/postgres/session.h"

#define SHOAL_PG_SCOPE_SERVICE 1

// As shoal_source_ops_t's discover.
SHOAL_MUST_CHECK bool shoal_pg_discover(const shoal_pg_settings_t *settings,
                                        const shoal_host_t *host, shoal_pg_session_t *session,
                                        shoal_slice_t resume, const shoal_discovery_t *to,
                                        shoal_status_t *status);

// Arguments of a PREPARE shard: [what, database, snapshot, scope, schemas].
typedef enum shoal_pg_prepare_kind {
    SHOAL_PG_PREPARE_SERVICE = 1,
    SHOAL_PG_PREPARE_DATABASE = 2, // the database and its schemas
    SHOAL_PG_PREPARE_BARE = 3,     // the database's own record, without a connection to it
    SHOAL_PG_PREPARE_GONE = 4,     // it was dropped after it had been listed
} shoal_pg_prepare_kind_t;

typedef struct shoal_pg_prepare {
    shoal_pg_prepare_kind_t kind;
    shoal_slice_t database;
    shoal_slice_t snapshot;
    shoal_scope_t scope; // of the database's schemas
    uint32_t schemas;    // how many of them are to come
} shoal_pg_prepare_t;

void shoal_pg_prepare_write(const shoal_pg_prepare_t *prepare, shoal_buffer_t *out);

//   SHOAL_PROTOCOL  malformed
SHOAL_MUST_CHECK bool shoal_pg_prepare_read(shoal_slice_t args, shoal_pg_prepare_t *ret_prepare,
                                            shoal_status_t *status);

#endif
