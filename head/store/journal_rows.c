// SPDX-License-Identifier: Apache-2.0
//
// journal_rows.c - see journal.h: reading and writing.

#include <assert.h>

#include "head/store/journal_parts.h"
#include "proto/base/alloc.h"

#define SWEEP_ROWS 256 // of a log that are deleted at once

static void
bind_number(sqlite3_stmt *statement, int index, uint64_t number)
{
    (void)sqlite3_bind_int64(statement, index, (sqlite3_int64)number);
}

// The bytes stay where they are until the statement was run.
static void
bind_blob(sqlite3_stmt *statement, int index, shoal_slice_t bytes)
{
    (void)sqlite3_bind_blob64(statement, index, bytes.len > 0 ? bytes.ptr : "", bytes.len,
                              SQLITE_STATIC);
}

static void
bind_text(sqlite3_stmt *statement, int index, shoal_slice_t text)
{
    (void)sqlite3_bind_text64(statement, index, text.len > 0 ? text.ptr : "", text.len,
                              SQLITE_STATIC, SQLITE_UTF8);
}

static bool
run_plain(shoal_journal_t *journal, shoal_statement_t which, shoal_status_t *status)
{
    return shoal_journal_run(journal, shoal_journal_prepare(journal, which), "write to", status);
}

static bool
run_numbers(shoal_journal_t *journal, shoal_statement_t which, uint64_t one, uint64_t two,
            uint64_t three, shoal_status_t *status)
{
    sqlite3_stmt *statement = shoal_journal_prepare(journal, which);
    const uint64_t numbers[] = {one, two, three};
    int count = statement ? sqlite3_bind_parameter_count(statement) : 0;
    for (int i = 0; i < count && i < 3; i++) {
        bind_number(statement, i + 1, numbers[i]);
    }
    return shoal_journal_run(journal, statement, "write to", status);
}

// ---- reading

typedef struct reading {
    shoal_journal_t *journal;
    const shoal_journal_reader_t *reader;
    uint64_t job;
} reading_t;

static bool
row_entries(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    reading_t *reading = ctx;
    return reading->reader->entries(reading->reader->ctx, reading->job,
                                    shoal_column_slice(statement, 0), status);
}

static bool
row_letters(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    reading_t *reading = ctx;
    shoal_journal_letters_t letters = {shoal_column_number(statement, 0),
                                       shoal_column_number(statement, 1),
                                       shoal_column_number(statement, 2)};
    return letters.count == 0 ||
           reading->reader->letters(reading->reader->ctx, reading->job, &letters, status);
}

// The statement with the job as its first parameter.
static sqlite3_stmt *
prepare_of(shoal_journal_t *journal, shoal_statement_t which, uint64_t job)
{
    sqlite3_stmt *statement = shoal_journal_prepare(journal, which);
    if (statement) {
        bind_number(statement, 1, job);
    }
    return statement;
}

static bool
row_job(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    reading_t *reading = ctx;
    const shoal_journal_reader_t *reader = reading->reader;
    shoal_journal_t *journal = reading->journal;
    shoal_journal_job_t job = {
        .number = shoal_column_number(statement, 0),
        .id = shoal_column_slice(statement, 1),
        .name = shoal_column_slice(statement, 2),
        .submit = shoal_column_slice(statement, 3),
        .created_ms = shoal_column_number(statement, 4),
        .state = (unsigned)sqlite3_column_int(statement, 5),
        .end = shoal_column_slice(statement, 6),
        .outputs = shoal_column_slice(statement, 7),
        .finished_ms = shoal_column_number(statement, 8),
    };
    reading->job = job.number;
    return reader->job(reader->ctx, &job, status) &&
           shoal_journal_each(journal,
                              prepare_of(journal, SHOAL_STATEMENT_LETTERS_COUNT, job.number),
                              row_letters, reading, status) &&
           (job.end.len > 0 || // being swept, perhaps
            shoal_journal_each(journal, prepare_of(journal, SHOAL_STATEMENT_LOG, job.number),
                               row_entries, reading, status));
}

bool
shoal_journal_read(shoal_journal_t *journal, const shoal_journal_reader_t *reader,
                   shoal_status_t *status)
{
    assert(reader->job && reader->entries && reader->letters);
    reading_t reading = {journal, reader, 0};
    return shoal_journal_each(journal, shoal_journal_prepare(journal, SHOAL_STATEMENT_JOBS),
                              row_job, &reading, status);
}

bool
shoal_journal_read_letters(shoal_journal_t *journal, uint64_t job, uint64_t first, uint64_t most,
                           uint64_t bytes_max, shoal_journal_letter_fn *fn, void *ctx,
                           shoal_status_t *status)
{
    sqlite3_stmt *statement = prepare_of(journal, SHOAL_STATEMENT_LETTERS, job);
    if (!statement) {
        return shoal_journal_fail(journal, "read", status);
    }
    bind_number(statement, 2, first);
    bind_number(statement, 3, most);
    bool done = true;
    int result = SQLITE_DONE;
    for (uint64_t bytes = 0; done && (result = sqlite3_step(statement)) == SQLITE_ROW;) {
        shoal_slice_t body = shoal_column_slice(statement, 1);
        if (bytes > 0 && bytes + body.len > bytes_max) {
            result = SQLITE_DONE; // the others come with the next call
            break;
        }
        bytes += body.len + 1;
        done = fn(ctx, shoal_column_number(statement, 0), body, status);
    }
    if (done && result != SQLITE_DONE) {
        done = shoal_journal_fail(journal, "read", status);
    }
    (void)sqlite3_reset(statement);
    return done;
}

typedef struct segments_reading {
    shoal_journal_segment_fn *fn;
    void *ctx;
} segments_reading_t;

static bool
row_segment(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    const segments_reading_t *reading = ctx;
    return reading->fn(reading->ctx, shoal_column_number(statement, 0),
                       (uint32_t)shoal_column_number(statement, 1),
                       shoal_column_number(statement, 2), status);
}

bool
shoal_journal_read_segments(shoal_journal_t *journal, shoal_journal_segment_fn *fn, void *ctx,
                            shoal_status_t *status)
{
    segments_reading_t reading = {fn, ctx};
    return shoal_journal_each(journal, shoal_journal_prepare(journal, SHOAL_STATEMENT_SEGMENTS),
                              row_segment, &reading, status);
}

static bool
row_integrity(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    const shoal_journal_t *journal = ctx;
    shoal_slice_t text = shoal_column_slice(statement, 0);
    return shoal_slice_is(text, "ok") ||
           shoal_fail_as(status, SHOAL_FATAL, SHOAL_IO, "the journal in \"%s\" is damaged: %.*s",
                         journal->directory, SHOAL_SLICE_ARGS(text));
}

static bool
row_stray(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    const shoal_journal_t *journal = ctx;
    shoal_slice_t table = shoal_column_slice(statement, 0);
    return shoal_fail_as(status, SHOAL_FATAL, SHOAL_IO,
                         "the journal in \"%s\" is damaged: table %.*s has a row of job %llu, "
                         "which does not run or is not there",
                         journal->directory, SHOAL_SLICE_ARGS(table),
                         (unsigned long long)shoal_column_number(statement, 1));
}

bool
shoal_journal_check(shoal_journal_t *journal, shoal_status_t *status)
{
    return shoal_journal_each(journal, shoal_journal_prepare(journal, SHOAL_STATEMENT_INTEGRITY),
                              row_integrity, journal, status) &&
           shoal_journal_each(journal, shoal_journal_prepare(journal, SHOAL_STATEMENT_STRAYS),
                              row_stray, journal, status);
}

// ---- writing

bool
shoal_journal_begin(shoal_journal_t *journal, shoal_status_t *status)
{
    return run_plain(journal, SHOAL_STATEMENT_BEGIN, status);
}

bool
shoal_journal_commit(shoal_journal_t *journal, shoal_status_t *status)
{
    return run_plain(journal, SHOAL_STATEMENT_COMMIT, status);
}

void
shoal_journal_rollback(shoal_journal_t *journal)
{
    if (!sqlite3_get_autocommit(journal->db)) { // some failures have rolled it back already
        shoal_status_t ignored = SHOAL_STATUS_INIT;
        (void)run_plain(journal, SHOAL_STATEMENT_ROLLBACK, &ignored);
    }
}

bool
shoal_journal_job_open(shoal_journal_t *journal, const shoal_journal_job_t *job,
                       shoal_status_t *status)
{
    if (job->number == 0 || job->number > SHOAL_JOURNAL_JOB_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "the journal takes jobs 1 to %u, not %llu",
                          SHOAL_JOURNAL_JOB_MAX, (unsigned long long)job->number);
    }
    sqlite3_stmt *statement = shoal_journal_prepare(journal, SHOAL_STATEMENT_JOB_OPEN);
    if (statement) {
        bind_number(statement, 1, job->number);
        bind_text(statement, 2, job->id);
        bind_text(statement, 3, job->name);
        bind_blob(statement, 4, job->submit);
        bind_number(statement, 5, job->created_ms);
        bind_number(statement, 6, job->state);
        bind_blob(statement, 7, job->outputs);
    }
    return shoal_journal_run(journal, statement, "write to", status) &&
           run_numbers(journal, SHOAL_STATEMENT_LOG_DROP, job->number, 0, 0, status);
}

bool
shoal_journal_entries(shoal_journal_t *journal, uint64_t job, shoal_slice_t entries,
                      shoal_status_t *status)
{
    sqlite3_stmt *statement = prepare_of(journal, SHOAL_STATEMENT_ENTRIES, job);
    if (statement) {
        bind_blob(statement, 2, entries);
    }
    return shoal_journal_run(journal, statement, "write to", status);
}

static void
ended_add(shoal_journal_t *journal, uint64_t job)
{
    if (journal->ended_count == journal->ended_size) {
        journal->ended_size = journal->ended_size ? journal->ended_size * 2 : 16;
        journal->ended =
            shoal_realloc(journal->ended, journal->ended_size * sizeof(*journal->ended));
    }
    journal->ended[journal->ended_count++] = job;
}

bool
shoal_journal_job_end(shoal_journal_t *journal, const shoal_journal_job_t *job,
                      shoal_status_t *status)
{
    sqlite3_stmt *statement = prepare_of(journal, SHOAL_STATEMENT_JOB_END, job->number);
    if (statement) {
        bind_number(statement, 2, job->state);
        bind_blob(statement, 3, job->end);
        bind_blob(statement, 4, job->outputs);
        bind_number(statement, 5, job->finished_ms);
    }
    if (!shoal_journal_run(journal, statement, "write to", status)) {
        return false;
    }
    ended_add(journal, job->number); // if this is rolled back, sweeping will see that it has not
    return true;
}

static bool
row_ended(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    (void)status;
    ended_add(ctx, shoal_column_number(statement, 0));
    return true;
}

bool
shoal_journal_find_ended(shoal_journal_t *journal, shoal_status_t *status)
{
    return shoal_journal_each(journal, shoal_journal_prepare(journal, SHOAL_STATEMENT_LOGS_ENDED),
                              row_ended, journal, status);
}

static bool
row_part(void *ctx, sqlite3_stmt *statement, shoal_status_t *status)
{
    (void)status;
    *(uint64_t *)ctx = shoal_column_number(statement, 0);
    return true;
}

// Up to which key the next part of the job's log goes; 0: nothing is left, or it has not ended.
static bool
find_part(shoal_journal_t *journal, uint64_t job, uint64_t *ret_place, shoal_status_t *status)
{
    sqlite3_stmt *statement = prepare_of(journal, SHOAL_STATEMENT_LOG_PART, job);
    if (statement) {
        bind_number(statement, 2, SWEEP_ROWS);
    }
    return shoal_journal_each(journal, statement, row_part, ret_place, status);
}

static bool
cut_log(shoal_journal_t *journal, uint64_t job, uint64_t place)
{
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    bool done = shoal_journal_begin(journal, &ignored) &&
                run_numbers(journal, SHOAL_STATEMENT_LOG_CUT, job, place, 0, &ignored) &&
                shoal_journal_commit(journal, &ignored);
    if (!done) {
        shoal_journal_rollback(journal);
    }
    return done;
}

bool
shoal_journal_sweep(shoal_journal_t *journal)
{
    while (journal->ended_count > 0) {
        shoal_status_t ignored = SHOAL_STATUS_INIT;
        uint64_t job = journal->ended[journal->ended_count - 1];
        uint64_t place = 0;
        if (!find_part(journal, job, &place, &ignored) ||
            (place > 0 && !cut_log(journal, job, place))) {
            journal->ended_count = 0;
        } else if (place > 0) {
            return true;
        } else {
            journal->ended_count--;
        }
    }
    return false;
}

bool
shoal_journal_job_forget(shoal_journal_t *journal, uint64_t job, shoal_status_t *status)
{
    return run_numbers(journal, SHOAL_STATEMENT_LOG_DROP, job, 0, 0, status) &&
           run_numbers(journal, SHOAL_STATEMENT_LETTERS_DROP, job, 0, INT64_MAX, status) &&
           run_numbers(journal, SHOAL_STATEMENT_SEGMENTS_DROP, job, 0, 0, status) &&
           run_numbers(journal, SHOAL_STATEMENT_JOB_DROP, job, 0, 0, status);
}

bool
shoal_journal_letter(shoal_journal_t *journal, uint64_t job, uint64_t number, shoal_slice_t body,
                     shoal_status_t *status)
{
    sqlite3_stmt *statement = prepare_of(journal, SHOAL_STATEMENT_LETTER, job);
    if (statement) {
        bind_number(statement, 2, number);
        bind_blob(statement, 3, body);
    }
    return shoal_journal_run(journal, statement, "write to", status);
}

bool
shoal_journal_letters_drop(shoal_journal_t *journal, uint64_t job, uint64_t first, uint64_t last,
                           shoal_status_t *status)
{
    last = last < INT64_MAX ? last : INT64_MAX;
    return run_numbers(journal, SHOAL_STATEMENT_LETTERS_DROP, job, first, last, status);
}

bool
shoal_journal_segment(shoal_journal_t *journal, uint64_t job, uint32_t number, uint64_t bytes,
                      shoal_status_t *status)
{
    return run_numbers(journal, bytes > 0 ? SHOAL_STATEMENT_SEGMENT : SHOAL_STATEMENT_SEGMENT_DROP,
                       job, number, bytes, status);
}
