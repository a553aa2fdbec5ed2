// SPDX-License-Identifier: Apache-2.0
//
// cancel.h - asks a server to stop what it does for a connection.
//
// libpq does that by a connection of its own, and blocks until it is made: for minutes, where the
// server's host is gone. So a thread does it, and is left to itself when that takes too long; it
// owns what it uses, and the module is never unloaded under it.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_CANCEL_H
#define SHOAL_CONNECTORS_POSTGRES_CANCEL_H

#include <stdint.h>

#include <libpq-fe.h>

#define SHOAL_PG_CANCEL_MS 2000

// Returns when the server has been told, or after `limit_ms`.
void shoal_pg_cancel(PGconn *connection, uint64_t limit_ms);

#endif
