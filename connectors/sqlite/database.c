// SPDX-License-Identifier: Apache-2.0
//
// database.c - see database.h.

#include "connectors/sqlite/database.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"

#define PROGRESS_STEPS 10000 // of SQLite's machine between two looks at the host
#define LOCK_POLL_MS   10

// Called while a statement runs; other than 0 interrupts it.
static int
on_progress(void *ctx)
{
    const shoal_sqlite_t *database = ctx;
    database->host->progress(database->host->ctx);
    return database->host->is_cancelled(database->host->ctx) ? 1 : 0;
}

// Called while another process holds a lock; 0 gives up.
static int
on_busy(void *ctx, int count)
{
    shoal_sqlite_t *database = ctx;
    uint64_t now_ms = shoal_clock_ms();
    if (count == 0) {
        database->locked_since_ms = now_ms;
    }
    if (now_ms - database->locked_since_ms >= SHOAL_SQLITE_LOCK_WAIT_MS ||
        database->host->is_cancelled(database->host->ctx)) {
        return 0;
    }
    (void)poll(NULL, 0, LOCK_POLL_MS); // SQLite has no descriptor to wait on
    return 1;
}

typedef struct fault {
    int result; // of SQLite
    shoal_code_t code;
    shoal_error_class_t error_class;
    const char *text; // NULL: SQLite's own
} fault_t;

static const fault_t faults[] = {
    {SQLITE_NOTADB, SHOAL_INVALID, SHOAL_CONFIG, "it is not an SQLite database, or is encrypted"},
    {SQLITE_CORRUPT, SHOAL_IO, SHOAL_FATAL, "the file is damaged"},
    {SQLITE_BUSY, SHOAL_UNAVAILABLE, SHOAL_TRANSIENT, "it is locked by another process"},
    {SQLITE_LOCKED, SHOAL_UNAVAILABLE, SHOAL_TRANSIENT, "it is locked"},
    {SQLITE_PROTOCOL, SHOAL_UNAVAILABLE, SHOAL_TRANSIENT, "it is locked by another process"},
    {SQLITE_CANTOPEN, SHOAL_IO, SHOAL_CONFIG, NULL},
    {SQLITE_PERM, SHOAL_DENIED, SHOAL_CONFIG, NULL},
    {SQLITE_AUTH, SHOAL_DENIED, SHOAL_CONFIG, NULL},
    {SQLITE_READONLY, SHOAL_DENIED, SHOAL_CONFIG,
     "its journal needs to be rolled back by a program that may write"},
    {SQLITE_TOOBIG, SHOAL_LIMIT, SHOAL_DATA, NULL},
    {SQLITE_ERROR, SHOAL_INVALID, SHOAL_DATA, NULL}, // a view whose table is gone, say
    {SQLITE_NOMEM, SHOAL_LIMIT, SHOAL_TRANSIENT, NULL},
};

bool
shoal_sqlite_fail(const shoal_sqlite_t *database, const char *what, shoal_status_t *status)
{
    if (database->host->is_cancelled(database->host->ctx)) {
        return shoal_fail(status, SHOAL_CANCELLED, "could not %s: the call was cancelled", what);
    }
    int result = sqlite3_errcode(database->handle) & 0xff;
    const char *text = sqlite3_errmsg(database->handle);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        if (faults[i].result == result) {
            (void)shoal_fail_as(status, faults[i].error_class, faults[i].code,
                                "could not %s of \"%s\": %s", what, database->path,
                                faults[i].text ? faults[i].text : text);
            return shoal_fail_blame(status, database->key);
        }
    }
    (void)shoal_fail(status, SHOAL_IO, "could not %s of \"%s\": %s", what, database->path, text);
    return shoal_fail_blame(status, database->key);
}

// What SQLite would only call "unable to open database file".
static bool
check_file(const char *path, const char *key, shoal_status_t *status)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        (void)shoal_fail_errno(status, errno, "could not open the database \"%s\"", path);
        status->error_class = SHOAL_CONFIG;
        return shoal_fail_blame(status, key);
    }
    if (S_ISDIR(info.st_mode)) {
        return shoal_fail_key(status, key, "could not open the database \"%s\": it is a directory",
                              path);
    }
    if (!S_ISREG(info.st_mode)) {
        return shoal_fail_key(status, key,
                              "could not open the database \"%s\": it is not a regular file", path);
    }
    if (access(path, R_OK) != 0) {
        (void)shoal_fail_errno(status, errno, "could not open the database \"%s\"", path);
        return shoal_fail_blame(status, key);
    }
    return true;
}

// The file's author is a stranger: its views must not call what has side effects.
static void
harden(sqlite3 *handle)
{
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    (void)sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, SHOAL_SQLITE_VALUE_BYTES);
    (void)sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
}

bool
shoal_sqlite_open(const shoal_host_t *host, const char *path, const char *key,
                  shoal_sqlite_t **ret_database, shoal_status_t *status)
{
    assert(host && path && key && ret_database && status);
    if (!check_file(path, key, status)) {
        return false;
    }
    shoal_sqlite_t *database = shoal_alloc(sizeof(*database));
    database->host = host;
    database->path = path;
    database->key = key;
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    bool done = sqlite3_open_v2(path, &database->handle, flags, NULL) == SQLITE_OK;
    if (done) {
        harden(database->handle);
        sqlite3_progress_handler(database->handle, PROGRESS_STEPS, on_progress, database);
        (void)sqlite3_busy_handler(database->handle, on_busy, database);
        // SQLite opens lazily: only reading shows whether it is a database.
        done = sqlite3_exec(database->handle, "select count(*) from sqlite_schema", NULL, NULL,
                            NULL) == SQLITE_OK;
    }
    if (!done) {
        (void)shoal_sqlite_fail(database, "read the catalogue", status);
        if (status->error_class == SHOAL_DATA) {
            status->error_class = SHOAL_FATAL; // of the file as a whole
        }
        shoal_sqlite_close(&database);
        return false;
    }
    *ret_database = database;
    return true;
}

void
shoal_sqlite_close(shoal_sqlite_t **database)
{
    if (!database || !*database) {
        return;
    }
    (void)sqlite3_close_v2((*database)->handle);
    free(*database);
    *database = NULL;
}

bool
shoal_sqlite_prepare(shoal_sqlite_t *database, const char *what, const char *sql,
                     sqlite3_stmt **ret_statement, shoal_status_t *status)
{
    if (sqlite3_prepare_v2(database->handle, sql, -1, ret_statement, NULL) != SQLITE_OK) {
        return shoal_sqlite_fail(database, what, status);
    }
    return true;
}

bool
shoal_sqlite_step(shoal_sqlite_t *database, const char *what, sqlite3_stmt *statement,
                  bool *ret_is_row, shoal_status_t *status)
{
    int result = sqlite3_step(statement);
    if (result != SQLITE_ROW && result != SQLITE_DONE) {
        (void)shoal_sqlite_fail(database, what, status);
        (void)sqlite3_reset(statement);
        return false;
    }
    *ret_is_row = result == SQLITE_ROW;
    if (!*ret_is_row) {
        (void)sqlite3_reset(statement);
    }
    return true;
}

bool
shoal_sqlite_run(shoal_sqlite_t *database, const char *what, const char *sql,
                 shoal_status_t *status)
{
    if (sqlite3_exec(database->handle, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return shoal_sqlite_fail(database, what, status);
    }
    return true;
}

shoal_slice_t
shoal_sqlite_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    return (shoal_slice_t){(const char *)text, (size_t)sqlite3_column_bytes(statement, column)};
}
