// SPDX-License-Identifier: Apache-2.0
//
// journal.c - see journal.h.
//
// Design: the head is the database's only user, so SQLite locks it for good (locking_mode EXCLUSIVE)
// and needs no shared memory beside the write-ahead log. A job's log is one stretch of the table's
// keys, job * 2^32 + n: appending touches one page, reading and deleting a job's rows walks that
// stretch. A view reads through SQLite's VFS without locks, which can lock out nobody and writes
// nothing; head.lock keeps heads away meanwhile.

#include "head/store/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "head/store/journal_parts.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

#define RESERVE_NAME "journal.reserve"
#define NEW_NAME     SHOAL_JOURNAL_NAME ".new" // while it is being made
#define APPLICATION  0x53686f6c                // "Shol", in the file's header

// What brings a schema to the next version; index 0 makes version 1. Never change one that is out.
static const char *const migrations[] = {
    "PRAGMA application_id = 0x53686f6c;"
    "CREATE TABLE head(id TEXT NOT NULL, life INTEGER NOT NULL);"
    "CREATE TABLE jobs(number INTEGER PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL,"
    " submit BLOB NOT NULL, created INTEGER NOT NULL, state INTEGER NOT NULL,"
    " end BLOB, outputs BLOB, finished INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE log(place INTEGER PRIMARY KEY, entries BLOB NOT NULL);", // job << 32 | n
    "CREATE TABLE letters(job INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,"
    " PRIMARY KEY(job, number));"
    "CREATE TABLE segments(job INTEGER NOT NULL, number INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " PRIMARY KEY(job, number)) WITHOUT ROWID;",
};

#define VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

static const char *const sqls[] = {
#define X(name, sql) [SHOAL_STATEMENT_##name] = (sql),
    SHOAL_STATEMENTS(X)
#undef X
};

// ---- failures

// Why the database's or its log's last system call failed; 0: unknown.
static int
system_error(sqlite3 *db)
{
    int error = 0;
    sqlite3_file *log = NULL;
    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK && log &&
        log->pMethods) {
        (void)log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
    }
    if (error == 0) {
        (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &error);
    }
    return error;
}

static bool
is_full(int result, int error)
{
    return result == SQLITE_FULL || ((result & 0xff) == SQLITE_IOERR &&
                                     (error == ENOSPC || error == EDQUOT || error == EFBIG));
}

bool
shoal_journal_fail(const shoal_journal_t *journal, const char *verb, shoal_status_t *status)
{
    int result = sqlite3_extended_errcode(journal->db);
    const char *text = sqlite3_errmsg(journal->db);
    const char *path = journal->directory;
    int error = system_error(journal->db);
    if (is_full(result, error)) {
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                             "cannot %s the journal in \"%s\": the disk is full", verb, path);
    }
    switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return shoal_fail(status, SHOAL_EXISTS,
                          "the journal in \"%s\" is open in another program; close that", path);
    case SQLITE_NOTADB:
        return shoal_fail(status, SHOAL_INVALID, "\"%s/%s\" is no journal of a head", path,
                          SHOAL_JOURNAL_NAME);
    case SQLITE_CORRUPT:
        return shoal_fail_as(status, SHOAL_FATAL, SHOAL_IO,
                             "the journal in \"%s\" is damaged (%s); put a backup of the whole "
                             "folder in its place",
                             path, text);
    default:
        return shoal_fail(status, SHOAL_IO, "cannot %s the journal in \"%s\": %s (%s)", verb, path,
                          text, error ? strerrordesc_np(error) : "no cause was told");
    }
}

// ---- statements

sqlite3_stmt *
shoal_journal_prepare(shoal_journal_t *journal, shoal_statement_t which)
{
    sqlite3_stmt **statement = &journal->statements[which];
    if (!*statement) {
        (void)sqlite3_prepare_v3(journal->db, sqls[which], -1, SQLITE_PREPARE_PERSISTENT, statement,
                                 NULL);
    }
    return *statement;
}

bool
shoal_journal_run(shoal_journal_t *journal, sqlite3_stmt *statement, const char *verb,
                  shoal_status_t *status)
{
    bool done = statement && sqlite3_step(statement) == SQLITE_DONE;
    if (!done) {
        (void)shoal_journal_fail(journal, verb, status);
    }
    if (statement) {
        (void)sqlite3_reset(statement);
        (void)sqlite3_clear_bindings(statement);
    }
    return done;
}

bool
shoal_journal_each(shoal_journal_t *journal, sqlite3_stmt *statement, shoal_journal_row_fn *row,
                   void *ctx, shoal_status_t *status)
{
    if (!statement) {
        return shoal_journal_fail(journal, "read", status);
    }
    bool done = true;
    int result = SQLITE_DONE;
    while (done && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        done = row(ctx, statement, status);
    }
    if (done && result != SQLITE_DONE) {
        done = shoal_journal_fail(journal, "read", status);
    }
    (void)sqlite3_reset(statement);
    return done;
}

// ---- opening

static bool
execute(shoal_journal_t *journal, const char *sql, shoal_status_t *status)
{
    return sqlite3_exec(journal->db, sql, NULL, NULL, NULL) == SQLITE_OK ||
           shoal_journal_fail(journal, "open", status);
}

// The first number of the first row.
static bool
ask_number(shoal_journal_t *journal, const char *sql, int *ret_number, shoal_status_t *status)
{
    sqlite3_stmt *statement = NULL;
    bool done = sqlite3_prepare_v2(journal->db, sql, -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_ROW;
    if (done) {
        *ret_number = sqlite3_column_int(statement, 0);
    } else {
        (void)shoal_journal_fail(journal, "open", status);
    }
    (void)sqlite3_finalize(statement);
    return done;
}

// Which schema is there; 0: an empty file.
static bool
ask_version(shoal_journal_t *journal, int *ret_version, shoal_status_t *status)
{
    int tables = 0;
    int application = 0;
    int version = 0;
    if (!ask_number(journal, "SELECT count(*) FROM sqlite_schema", &tables, status) ||
        !ask_number(journal, "PRAGMA application_id", &application, status)) {
        return false;
    }
    if (tables == 0) {
        *ret_version = 0;
        return true;
    }
    if (application != APPLICATION ||
        !ask_number(journal, "SELECT max(version) FROM schema", &version, status)) {
        return shoal_fail(status, SHOAL_INVALID, "\"%s/%s\" is no journal of a head",
                          journal->directory, SHOAL_JOURNAL_NAME);
    }
    if (version > VERSION) {
        return shoal_fail(status, SHOAL_UNSUPPORTED,
                          "the journal in \"%s\" has schema %d, and this version knows %d: use the "
                          "newer shoal-head that made it",
                          journal->directory, version, VERSION);
    }
    *ret_version = version;
    return true;
}

// One step, whole or not at all.
static bool
migrate(shoal_journal_t *journal, int version, shoal_status_t *status)
{
    char mark[160];
    (void)snprintf(mark, sizeof(mark),
                   "CREATE TABLE IF NOT EXISTS schema(version INTEGER PRIMARY KEY);"
                   "INSERT INTO schema(version) VALUES(%d);",
                   version + 1);
    bool done = execute(journal, "BEGIN IMMEDIATE", status) &&
                execute(journal, migrations[version], status) && execute(journal, mark, status) &&
                execute(journal, "COMMIT", status);
    if (!done) {
        shoal_journal_rollback(journal);
        (void)shoal_fail_while(status, "cannot bring the journal from schema %d to %d", version,
                               version + 1);
    }
    return done;
}

static void
id_make(char id[SHOAL_HEAD_ID_SIZE + 1])
{
    unsigned char bytes[SHOAL_HEAD_ID_SIZE / 2] = {0};
    if (getrandom(bytes, sizeof(bytes), 0) < 0) {
        uint64_t wall = shoal_clock_wall_ms();
        memcpy(bytes, &wall, sizeof(wall));
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(id + i * 2, 3, "%02x", bytes[i]);
    }
}

static bool
take_head(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    (void)status;
    shoal_journal_t *journal = ctx;
    shoal_slice_t id = shoal_column_slice(statement, 0);
    (void)snprintf(journal->head_id, sizeof(journal->head_id), "%.*s", SHOAL_SLICE_ARGS(id));
    journal->life = shoal_column_number(statement, 1);
    return true;
}

static bool
read_head(shoal_journal_t *journal, shoal_status_t *status)
{
    return shoal_journal_each(journal, shoal_journal_prepare(journal, SHOAL_STATEMENT_HEAD),
                              take_head, journal, status);
}

// In its first life.
static bool
make_head(shoal_journal_t *journal, shoal_status_t *status)
{
    char id[SHOAL_HEAD_ID_SIZE + 1];
    char sql[128];
    id_make(id);
    (void)snprintf(sql, sizeof(sql), "INSERT INTO head(id, life) VALUES('%s', 1)", id);
    return execute(journal, sql, status);
}

// Says who it is, and counts the life, unless it is the first one.
static bool
settle_head(shoal_journal_t *journal, bool is_older, shoal_status_t *status)
{
    return (!is_older ||
            shoal_journal_run(journal, shoal_journal_prepare(journal, SHOAL_STATEMENT_LIFE),
                              "write to", status)) &&
           read_head(journal, status) &&
           (journal->head_id[0] || (make_head(journal, status) && read_head(journal, status)));
}

static char *
path_of(const char *directory, const char *name)
{
    size_t size = strlen(directory) + 1 + strlen(name) + 1;
    char *path = shoal_alloc(size);
    (void)snprintf(path, size, "%s/%s", directory, name);
    return path;
}

static bool
open_database(shoal_journal_t *journal, const char *path, bool is_view, shoal_status_t *status)
{
    int flags = (is_view ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX;
    return (sqlite3_open_v2(path, &journal->db, flags, is_view ? "unix-none" : NULL) == SQLITE_OK ||
            shoal_journal_fail(journal, "open", status)) &&
           execute(journal,
                   "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF;"
                   "PRAGMA secure_delete = OFF;" // what is deleted is not written once more
                   "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
                   status);
}

static void
close_database(shoal_journal_t *journal)
{
    for (size_t i = 0; i < SHOAL_STATEMENT_COUNT; i++) {
        (void)sqlite3_finalize(journal->statements[i]);
        journal->statements[i] = NULL;
    }
    (void)sqlite3_close(journal->db);
    journal->db = NULL;
}

static bool
migrate_all(shoal_journal_t *journal, shoal_status_t *status)
{
    int version = 0;
    if (!execute(journal, "PRAGMA journal_mode = WAL;", status) ||
        !ask_version(journal, &version, status)) {
        return false;
    }
    for (; version < VERSION; version++) {
        if (!migrate(journal, version, status)) {
            return false;
        }
    }
    return true;
}

// Fills the file, which is there and empty, without a sync for each step.
static bool
fill_new(shoal_journal_t *journal, const char *path, shoal_status_t *status)
{
    bool done = open_database(journal, path, /*is_view=*/false, status) &&
                execute(journal, "PRAGMA synchronous = OFF;", status) &&
                migrate_all(journal, status) && make_head(journal, status);
    close_database(journal);
    return done;
}

// Syncs the new database and gives it its name, so that it is there whole or not at all.
static bool
name_new(const char *directory, int fd, const char *from, const char *to, shoal_status_t *status)
{
    int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done =
        fsync(fd) == 0 && rename(from, to) == 0 && directory_fd >= 0 && fsync(directory_fd) == 0;
    if (!done) {
        (void)shoal_fail_errno(status, errno, "could not make the journal \"%s\"", to);
    }
    if (directory_fd >= 0) {
        (void)close(directory_fd);
    }
    return done;
}

// What an earlier attempt may have left, and SQLite beside it.
static void
remove_new(const char *directory)
{
    static const char *const names[] = {NEW_NAME, NEW_NAME "-wal", NEW_NAME "-journal"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *path = path_of(directory, names[i]);
        (void)unlink(path);
        free(path);
    }
}

static bool
make_new(shoal_journal_t *journal, const char *path, shoal_status_t *status)
{
    remove_new(journal->directory);
    char *new_path = path_of(journal->directory, NEW_NAME);
    // Made here, so that only its owner can read it; SQLite gives its log the same mode.
    int fd = open(new_path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
    bool done = fd >= 0 || shoal_fail_errno(status, errno, "could not make \"%s\"", new_path);
    done = done && fill_new(journal, new_path, status) &&
           name_new(journal->directory, fd, new_path, path, status);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!done) {
        remove_new(journal->directory);
    }
    free(new_path);
    return done;
}

// Whether the journal's file is there and can be read, as a file.
static bool
look_for(const char *path, bool *ret_is_there, shoal_status_t *status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    *ret_is_there = fd >= 0;
    if (fd < 0) {
        return errno == ENOENT ||
               shoal_fail_errno(status, errno, "could not open the journal \"%s\"", path);
    }
    (void)close(fd);
    return true;
}

static bool
open_path(shoal_journal_t *journal, const char *path, shoal_status_t *status)
{
    bool is_there = false;
    // The log is checkpointed at 16 MiB: each checkpoint syncs the database too.
    return look_for(path, &is_there, status) && (is_there || make_new(journal, path, status)) &&
           open_database(journal, path, /*is_view=*/false, status) &&
           execute(journal, "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4096;",
                   status) &&
           migrate_all(journal, status) && settle_head(journal, is_there, status) &&
           shoal_journal_find_ended(journal, status);
}

static bool
view_path(shoal_journal_t *journal, const char *path, shoal_status_t *status)
{
    bool is_there = false;
    if (!look_for(path, &is_there, status)) {
        return false;
    }
    if (!is_there) {
        return shoal_fail(status, SHOAL_NOT_FOUND, "there is no journal \"%s\"", path);
    }
    return open_database(journal, path, /*is_view=*/true, status);
}

static bool
open_for_writing(shoal_journal_t *journal, shoal_status_t *status)
{
    char *path = path_of(journal->directory, SHOAL_JOURNAL_NAME);
    bool done = open_path(journal, path, status);
    free(path);
    if (done) {
        shoal_journal_take_reserve(journal);
    }
    return done;
}

static bool
open_for_viewing(shoal_journal_t *journal, shoal_status_t *status)
{
    int version = 0;
    char *path = path_of(journal->directory, SHOAL_JOURNAL_NAME);
    bool done = view_path(journal, path, status) && ask_version(journal, &version, status);
    free(path);
    if (!done) {
        return false;
    }
    if (version < VERSION) {
        return shoal_fail(status, SHOAL_UNSUPPORTED,
                          "the journal in \"%s\" has schema %d, and this version reads %d: start a "
                          "head on it once",
                          journal->directory, version, VERSION);
    }
    return read_head(journal, status);
}

static bool
journal_new(const char *directory, bool is_view, shoal_journal_t **ret_journal,
            shoal_status_t *status)
{
    assert(directory && ret_journal && status);
    shoal_journal_t *journal = shoal_alloc(sizeof(*journal));
    journal->directory = shoal_strdup(directory);
    if (!shoal_lock_take(directory, &journal->lock, status) ||
        !(is_view ? open_for_viewing : open_for_writing)(journal, status)) {
        shoal_journal_close(&journal);
        return false;
    }
    *ret_journal = journal;
    return true;
}

bool
shoal_journal_open(const char *directory, shoal_journal_t **ret_journal, shoal_status_t *status)
{
    return journal_new(directory, /*is_view=*/false, ret_journal, status);
}

bool
shoal_journal_view(const char *directory, shoal_journal_t **ret_journal, shoal_status_t *status)
{
    return journal_new(directory, /*is_view=*/true, ret_journal, status);
}

void
shoal_journal_close(shoal_journal_t **journal)
{
    if (!journal || !*journal) {
        return;
    }
    shoal_journal_t *it = *journal;
    close_database(it);
    shoal_lock_release(&it->lock);
    free(it->directory);
    free(it->ended);
    free(it);
    *journal = NULL;
}

bool
shoal_journal_yield_reserve(shoal_journal_t *journal)
{
    char *path = path_of(journal->directory, RESERVE_NAME);
    bool is_yielded = journal->has_reserve && unlink(path) == 0;
    journal->has_reserve = false;
    free(path);
    return is_yielded;
}

void
shoal_journal_take_reserve(shoal_journal_t *journal)
{
    if (journal->has_reserve) {
        return;
    }
    char *path = path_of(journal->directory, RESERVE_NAME);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    journal->has_reserve = fd >= 0 && posix_fallocate(fd, 0, SHOAL_JOURNAL_RESERVE) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!journal->has_reserve) {
        (void)unlink(path); // not a part of it: the disk is full
    }
    free(path);
}

bool
shoal_journal_exists(const char *directory)
{
    char *path = path_of(directory, SHOAL_JOURNAL_NAME);
    bool exists = access(path, F_OK) == 0;
    free(path);
    return exists;
}

const char *
shoal_journal_head_id(const shoal_journal_t *journal)
{
    return journal->head_id;
}

uint64_t
shoal_journal_life(const shoal_journal_t *journal)
{
    return journal->life;
}
