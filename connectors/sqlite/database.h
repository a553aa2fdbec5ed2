// SPDX-License-Identifier: Apache-2.0
//
// database.h - an open SQLite file: opened to read only, waited for when locked, given up when the
// call is cancelled.
//
// Threads: one owner at a time.  Logging: none.

#ifndef SHOAL_CONNECTORS_SQLITE_DATABASE_H
#define SHOAL_CONNECTORS_SQLITE_DATABASE_H

#include <sqlite3.h>

#include "connectors/connector.h"

#define SHOAL_SQLITE_LOCK_WAIT_MS 5000     // for another process to finish its transaction
#define SHOAL_SQLITE_VALUE_BYTES  16777216 // of one text of the catalogue

typedef struct shoal_sqlite {
    sqlite3 *handle;
    const shoal_host_t *host; // borrowed
    const char *path;         // borrowed
    const char *key;          // of the option that has the path, borrowed
    uint64_t locked_since_ms; // while it waits for a lock
} shoal_sqlite_t;

// Opens the file and reads its head. May block. Errors carry the key.
//   SHOAL_NOT_FOUND    no such file
//   SHOAL_INVALID      a directory, or no database
//   SHOAL_DENIED       no permission
//   SHOAL_UNAVAILABLE  locked by another process for too long
//   SHOAL_IO           damaged, or cannot be read
SHOAL_MUST_CHECK bool shoal_sqlite_open(const shoal_host_t *host, const char *path, const char *key,
                                        shoal_sqlite_t **ret_database, shoal_status_t *status);
void shoal_sqlite_close(shoal_sqlite_t **database);

// Turns the last error of the database into a status: "could not <what>: <why>". Returns false.
bool shoal_sqlite_fail(const shoal_sqlite_t *database, const char *what, shoal_status_t *status);

SHOAL_MUST_CHECK bool shoal_sqlite_prepare(shoal_sqlite_t *database, const char *what,
                                           const char *sql, sqlite3_stmt **ret_statement,
                                           shoal_status_t *status);

// The next row. False: failed; *ret_is_row false: there is none, the statement is reset.
SHOAL_MUST_CHECK bool shoal_sqlite_step(shoal_sqlite_t *database, const char *what,
                                        sqlite3_stmt *statement, bool *ret_is_row,
                                        shoal_status_t *status);

// Runs a statement without rows.
SHOAL_MUST_CHECK bool shoal_sqlite_run(shoal_sqlite_t *database, const char *what, const char *sql,
                                       shoal_status_t *status);

// The column's text, valid until the next step. NULL is the empty slice.
shoal_slice_t shoal_sqlite_text(sqlite3_stmt *statement, int column);

#endif
