// SPDX-License-Identifier: Apache-2.0
//
// failure.h - turns what libpq says into a status: code, class, a sentence, the key to blame.
//
// Threads: none shared.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_FAILURE_H
#define SHOAL_CONNECTORS_POSTGRES_FAILURE_H

#include <libpq-fe.h>

#include "connectors/postgres/settings.h"

// For a connection to `database` that failed. The connection was made with PQERRORS_VERBOSE, which
// is the only way to see the SQLSTATE of a refused connection. Returns false.
bool shoal_pg_fail_connect(const shoal_pg_settings_t *settings, const char *database,
                           const char *message, shoal_status_t *status);

// For a query that failed, `what` says which ("list the schemas"). `result` may be NULL: then the
// connection itself broke. Returns false.
bool shoal_pg_fail_query(const shoal_pg_settings_t *settings, const PGconn *connection,
                         const PGresult *result, const char *what, shoal_status_t *status);

// Whether a status says that the server has no such database, and not that there is no such host.
bool shoal_pg_is_gone(const shoal_pg_settings_t *settings, const shoal_status_t *status);

// Whether a status says that the server takes no more connections for now.
bool shoal_pg_is_refused(const shoal_status_t *status);

#endif
