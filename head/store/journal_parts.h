// SPDX-License-Identifier: Apache-2.0
//
// journal_parts.h - what the files of the journal share: its statements and how they are run.
//
// journal.c opens the database and runs statements, journal_rows.c has the rows. Nobody else includes
// this.
//
// Threads: the journal's owner.  Logging: none.

#ifndef SHOAL_HEAD_STORE_JOURNAL_PARTS_H
#define SHOAL_HEAD_STORE_JOURNAL_PARTS_H

#include <sqlite3.h>

#include "head/store/journal.h"
#include "head/store/lock.h"

#define SHOAL_HEAD_ID_SIZE 32 // hex digits

#define JOB_COLUMNS        "number, id, name, submit, created, state, end, outputs, finished"

// clang-format off
#define SHOAL_STATEMENTS(X)                                                                              \
    X(BEGIN,         "BEGIN IMMEDIATE")                                                            \
    X(COMMIT,        "COMMIT")                                                                     \
    X(ROLLBACK,      "ROLLBACK")                                                                   \
    X(JOB_OPEN,      "INSERT INTO jobs(number, id, name, submit, created, state, outputs)"         \
                     " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT(number) DO UPDATE SET"       \
                     " submit = ?4, state = ?6, end = NULL, finished = 0")                         \
    X(ENTRIES,       "INSERT INTO log SELECT ifnull(max(place), ?1 << 32) + 1, ?2 FROM log"        \
                     " WHERE place > ?1 << 32 AND place < (?1 + 1) << 32")                         \
    X(JOB_END,       "UPDATE jobs SET state = ?2, end = ?3, outputs = ?4, finished = ?5"           \
                     " WHERE number = ?1")                                                         \
    X(LOG_DROP,      "DELETE FROM log WHERE place > ?1 << 32 AND place < (?1 + 1) << 32")          \
    X(LOG_PART,      "SELECT ifnull(max(place), 0) FROM (SELECT place FROM log WHERE"              \
                     " place > ?1 << 32 AND place < (?1 + 1) << 32 AND EXISTS(SELECT 1 FROM jobs"  \
                     " WHERE number = ?1 AND finished > 0) ORDER BY place LIMIT ?2)")              \
    X(LOG_CUT,       "DELETE FROM log WHERE place > ?1 << 32 AND place <= ?2")                     \
    X(LOGS_ENDED,    "SELECT number FROM jobs WHERE finished > 0 AND EXISTS(SELECT 1 FROM log"     \
                     " WHERE place > number << 32 AND place < (number + 1) << 32)")                \
    X(JOB_DROP,      "DELETE FROM jobs WHERE number = ?1")                                         \
    X(LETTER,        "INSERT OR REPLACE INTO letters(job, number, body) VALUES(?1, ?2, ?3)")       \
    X(LETTERS_DROP,  "DELETE FROM letters WHERE job = ?1 AND number BETWEEN ?2 AND ?3")            \
    X(SEGMENT,       "INSERT OR REPLACE INTO segments(job, number, bytes) VALUES(?1, ?2, ?3)")     \
    X(SEGMENT_DROP,  "DELETE FROM segments WHERE job = ?1 AND number = ?2")                        \
    X(SEGMENTS_DROP, "DELETE FROM segments WHERE job = ?1")                                        \
    X(LIFE,          "UPDATE head SET life = life + 1")                                            \
    X(HEAD,          "SELECT id, life FROM head")                                                  \
    X(JOBS,          "SELECT " JOB_COLUMNS " FROM jobs ORDER BY number")                           \
    X(LOG,           "SELECT entries FROM log WHERE place > ?1 << 32 AND place < (?1 + 1) << 32"   \
                     " ORDER BY place")                                                            \
    X(LETTERS_COUNT, "SELECT count(*), ifnull(sum(length(body)), 0), ifnull(max(number), 0)"       \
                     " FROM letters WHERE job = ?1")                                               \
    X(LETTERS,       "SELECT number, body FROM letters WHERE job = ?1 AND number >= ?2"            \
                     " ORDER BY number LIMIT ?3")                                                  \
    X(SEGMENTS,      "SELECT job, number, bytes FROM segments ORDER BY job, number")               \
    X(STRAYS,        "SELECT 'log', place >> 32 FROM log WHERE place >> 32 NOT IN"                 \
                     " (SELECT number FROM jobs) UNION ALL"                     \
                     " SELECT 'letters', job FROM letters WHERE job NOT IN"                        \
                     " (SELECT number FROM jobs) UNION ALL SELECT 'segments', job FROM segments"   \
                     " WHERE job NOT IN (SELECT number FROM jobs) LIMIT 1")                        \
    X(INTEGRITY,     "PRAGMA integrity_check(1)")
// clang-format on

typedef enum shoal_statement {
#define X(name, sql) SHOAL_STATEMENT_##name,
    SHOAL_STATEMENTS(X)
#undef X
        SHOAL_STATEMENT_COUNT
} shoal_statement_t;

struct shoal_journal {
    char *directory;
    shoal_lock_t *lock;
    sqlite3 *db;
    sqlite3_stmt *statements[SHOAL_STATEMENT_COUNT]; // prepared when first used
    char head_id[SHOAL_HEAD_ID_SIZE + 1];
    uint64_t life;
    bool has_reserve;
    uint64_t *ended; // jobs that have ended, as it seems, and still have a log
    size_t ended_count;
    size_t ended_size;
};

// Finds the logs that are to be swept.
SHOAL_MUST_CHECK bool shoal_journal_find_ended(shoal_journal_t *journal, shoal_status_t *status);

// The statement, ready for its parameters; NULL: see the database's error.
sqlite3_stmt *shoal_journal_prepare(shoal_journal_t *journal, shoal_statement_t which);

// Runs a statement that gives no rows, NULL too, and makes it ready for the next time.
bool shoal_journal_run(shoal_journal_t *journal, sqlite3_stmt *statement, const char *verb,
                       shoal_status_t *status);

// Calls `row` for each row of the statement, which may be NULL.
typedef bool shoal_journal_row_fn(void *ctx, sqlite3_stmt *statement, shoal_status_t *status);
bool shoal_journal_each(shoal_journal_t *journal, sqlite3_stmt *statement,
                        shoal_journal_row_fn *row, void *ctx, shoal_status_t *status);

// The database's last error as a status.
bool shoal_journal_fail(const shoal_journal_t *journal, const char *verb, shoal_status_t *status);

static inline shoal_slice_t
shoal_column_slice(sqlite3_stmt *statement, int column)
{
    const void *bytes = sqlite3_column_blob(statement, column);
    return (shoal_slice_t){bytes, (size_t)sqlite3_column_bytes(statement, column)};
}

static inline uint64_t
shoal_column_number(sqlite3_stmt *statement, int column)
{
    return (uint64_t)sqlite3_column_int64(statement, column);
}

#endif
