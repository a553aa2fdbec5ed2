// SPDX-License-Identifier: Apache-2.0
//
// test_journal.c - what head/store/journal.h promises.

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "head/store/journal.h"
#include "proto/base/buffer.h"
#include "tests/support/folder.h"

typedef struct {
    folder_t folder;
    shoal_journal_t *journal;
    shoal_status_t status;
} bed_t;

static void
setup(bed_t *bed)
{
    *bed = (bed_t){.folder = folder_new(), .status = SHOAL_STATUS_INIT};
    CHECK_OK(shoal_journal_open(bed->folder.path, &bed->journal, &bed->status), bed->status);
}

static void
reopen(bed_t *bed)
{
    shoal_journal_close(&bed->journal);
    CHECK_OK(shoal_journal_open(bed->folder.path, &bed->journal, &bed->status), bed->status);
}

static void
teardown(bed_t *bed)
{
    shoal_journal_close(&bed->journal);
    CHECK(bed->journal == NULL);
    folder_remove(&bed->folder);
}

// ---- what is in it, as text

static bool
tell_job(void *ctx, const shoal_journal_job_t *job, shoal_status_t *status)
{
    (void)status;
    shoal_buffer_append_format(ctx, "job %llu %.*s %.*s %.*s %llu", (unsigned long long)job->number,
                               SHOAL_SLICE_ARGS(job->id), SHOAL_SLICE_ARGS(job->name),
                               SHOAL_SLICE_ARGS(job->submit), (unsigned long long)job->created_ms);
    if (job->end.len > 0) {
        shoal_buffer_append_format(ctx, " state %u end %.*s outputs %.*s %llu", job->state,
                                   SHOAL_SLICE_ARGS(job->end), SHOAL_SLICE_ARGS(job->outputs),
                                   (unsigned long long)job->finished_ms);
    }
    shoal_buffer_append_text(ctx, "\n");
    return true;
}

static bool
tell_entries(void *ctx, uint64_t job, shoal_slice_t entries, shoal_status_t *status)
{
    (void)status;
    shoal_buffer_append_format(ctx, "%llu: %.*s\n", (unsigned long long)job,
                               SHOAL_SLICE_ARGS(entries));
    return true;
}

static bool
tell_letters(void *ctx, uint64_t job, const shoal_journal_letters_t *letters,
             shoal_status_t *status)
{
    (void)status;
    shoal_buffer_append_format(ctx, "%llu: %llu letters, %llu bytes, last %llu\n",
                               (unsigned long long)job, (unsigned long long)letters->count,
                               (unsigned long long)letters->bytes,
                               (unsigned long long)letters->last);
    return true;
}

static void
check_holds(shoal_journal_t *journal, const char *text)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t found = SHOAL_BUFFER_INIT;
    shoal_journal_reader_t reader = {&found, tell_job, tell_entries, tell_letters};
    CHECK_OK(shoal_journal_read(journal, &reader, &status), status);
    assert_string_equal(shoal_buffer_text(&found), text);
    shoal_buffer_fini(&found);
}

// ---- writing, each call in a transaction of its own

#define WRITE(bed, call)                                                                           \
    do {                                                                                           \
        CHECK_OK(shoal_journal_begin((bed)->journal, &(bed)->status), (bed)->status);              \
        CHECK_OK((call), (bed)->status);                                                           \
        CHECK_OK(shoal_journal_commit((bed)->journal, &(bed)->status), (bed)->status);             \
    } while (0)

static void
open_job(bed_t *bed, uint64_t number, const char *id)
{
    shoal_journal_job_t job = {.number = number,
                               .id = shoal_slice_of(id),
                               .name = SHOAL_SLICE("name"),
                               .submit = SHOAL_SLICE("submit"),
                               .created_ms = 1000};
    WRITE(bed, shoal_journal_job_open(bed->journal, &job, &bed->status));
}

static void
add_entries(bed_t *bed, uint64_t job, const char *entries)
{
    WRITE(bed, shoal_journal_entries(bed->journal, job, shoal_slice_of(entries), &bed->status));
}

static void
end_job(bed_t *bed, uint64_t number)
{
    shoal_journal_job_t job = {.number = number,
                               .state = 2,
                               .end = SHOAL_SLICE("end"),
                               .outputs = SHOAL_SLICE("map"),
                               .finished_ms = 2000};
    WRITE(bed, shoal_journal_job_end(bed->journal, &job, &bed->status));
}

// Rows of logs, whosever they are.
static int
count_rows(bed_t *bed)
{
    shoal_journal_close(&bed->journal);
    char *path = folder_file(&bed->folder, SHOAL_JOURNAL_NAME);
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK(sqlite3_prepare_v2(db, "SELECT count(*) FROM log", -1, &statement, NULL) == SQLITE_OK);
    CHECK(sqlite3_step(statement) == SQLITE_ROW);
    int count = sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
    CHECK(sqlite3_close(db) == SQLITE_OK);
    free(path);
    CHECK_OK(shoal_journal_open(bed->folder.path, &bed->journal, &bed->status), bed->status);
    return count;
}

// ---- tests

static void
what_was_committed_is_there_after_a_restart(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 2, "two");
    open_job(&bed, 1, "one");
    add_entries(&bed, 1, "a");
    add_entries(&bed, 2, "b");
    add_entries(&bed, 1, "c");
    reopen(&bed);
    add_entries(&bed, 1, "d");
    check_holds(bed.journal, "job 1 one name submit 1000\n1: a\n1: c\n1: d\n"
                             "job 2 two name submit 1000\n2: b\n");
    teardown(&bed);
}

static void
what_was_not_committed_is_not(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1, "one");
    CHECK_OK(shoal_journal_begin(bed.journal, &bed.status), bed.status);
    CHECK_OK(shoal_journal_entries(bed.journal, 1, SHOAL_SLICE("a"), &bed.status), bed.status);
    shoal_journal_rollback(bed.journal);
    shoal_journal_rollback(bed.journal); // nothing is open any more
    add_entries(&bed, 1, "b");
    CHECK_OK(shoal_journal_begin(bed.journal, &bed.status), bed.status);
    CHECK_OK(shoal_journal_entries(bed.journal, 1, SHOAL_SLICE("c"), &bed.status), bed.status);
    reopen(&bed);
    check_holds(bed.journal, "job 1 one name submit 1000\n1: b\n");
    teardown(&bed);
}

static void
an_ended_job_keeps_its_row_and_loses_its_log(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1, "one");
    open_job(&bed, 2, "two");
    add_entries(&bed, 1, "a");
    add_entries(&bed, 2, "b");
    WRITE(&bed, shoal_journal_letter(bed.journal, 1, 4, SHOAL_SLICE("letter"), &bed.status));
    end_job(&bed, 1);
    check_holds(bed.journal, "job 1 one name submit 1000 state 2 end end outputs map 2000\n"
                             "1: 1 letters, 6 bytes, last 4\n"
                             "job 2 two name submit 1000\n2: b\n");
    CHECK(shoal_journal_sweep(bed.journal) && !shoal_journal_sweep(bed.journal));
    CHECK(count_rows(&bed) == 1);
    // Its next run.
    open_job(&bed, 1, "one");
    add_entries(&bed, 1, "c");
    CHECK_OK(shoal_journal_check(bed.journal, &bed.status), bed.status);
    check_holds(bed.journal, "job 1 one name submit 1000\n1: 1 letters, 6 bytes, last 4\n1: c\n"
                             "job 2 two name submit 1000\n2: b\n");
    teardown(&bed);
}

static void
a_long_log_is_swept_in_parts_and_after_a_restart_too(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1, "one");
    open_job(&bed, 2, "two");
    add_entries(&bed, 2, "b");
    CHECK_OK(shoal_journal_begin(bed.journal, &bed.status), bed.status);
    for (int i = 0; i < 1000; i++) {
        CHECK_OK(shoal_journal_entries(bed.journal, 1, SHOAL_SLICE("a"), &bed.status), bed.status);
    }
    CHECK_OK(shoal_journal_commit(bed.journal, &bed.status), bed.status);

    // An end that is rolled back is none.
    shoal_journal_job_t end = {.number = 1, .end = SHOAL_SLICE("end"), .finished_ms = 2000};
    CHECK_OK(shoal_journal_begin(bed.journal, &bed.status), bed.status);
    CHECK_OK(shoal_journal_job_end(bed.journal, &end, &bed.status), bed.status);
    shoal_journal_rollback(bed.journal);
    CHECK(!shoal_journal_sweep(bed.journal));
    CHECK(count_rows(&bed) == 1001);

    end_job(&bed, 1);
    CHECK(shoal_journal_sweep(bed.journal));
    CHECK(count_rows(&bed) < 1001 && count_rows(&bed) > 1);
    reopen(&bed);
    check_holds(bed.journal, "job 1 one name submit 1000 state 2 end end outputs map 2000\n"
                             "job 2 two name submit 1000\n2: b\n");
    CHECK_OK(shoal_journal_check(bed.journal, &bed.status), bed.status);
    while (shoal_journal_sweep(bed.journal)) {
    }
    CHECK(count_rows(&bed) == 1);
    teardown(&bed);
}

static void
a_forgotten_job_leaves_nothing(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1, "one");
    open_job(&bed, 2, "two");
    add_entries(&bed, 1, "a");
    WRITE(&bed, shoal_journal_letter(bed.journal, 1, 1, SHOAL_SLICE("l"), &bed.status));
    WRITE(&bed, shoal_journal_segment(bed.journal, 1, 1, 100, &bed.status));
    WRITE(&bed, shoal_journal_job_forget(bed.journal, 1, &bed.status));
    WRITE(&bed, shoal_journal_job_forget(bed.journal, 7, &bed.status));
    CHECK_OK(shoal_journal_check(bed.journal, &bed.status), bed.status);
    check_holds(bed.journal, "job 2 two name submit 1000\n");
    open_job(&bed, 1, "again");
    check_holds(bed.journal, "job 1 again name submit 1000\njob 2 two name submit 1000\n");
    teardown(&bed);
}

static bool
tell_letter(void *ctx, uint64_t number, shoal_slice_t body, shoal_status_t *status)
{
    (void)status;
    shoal_buffer_append_format(ctx, "%llu %.*s|", (unsigned long long)number,
                               SHOAL_SLICE_ARGS(body));
    return true;
}

static void
check_letters(bed_t *bed, uint64_t first, uint64_t most, uint64_t bytes_max, const char *text)
{
    shoal_buffer_t found = SHOAL_BUFFER_INIT;
    CHECK_OK(shoal_journal_read_letters(bed->journal, 1, first, most, bytes_max, tell_letter,
                                        &found, &bed->status),
             bed->status);
    assert_string_equal(shoal_buffer_text(&found), text);
    shoal_buffer_fini(&found);
}

static void
letters_are_read_in_parts_replaced_and_dropped(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1, "one");
    static const char *const bodies[] = {"aa", "bb", "cc", "dd"};
    for (uint64_t i = 0; i < 4; i++) {
        WRITE(&bed,
              shoal_journal_letter(bed.journal, 1, i + 1, shoal_slice_of(bodies[i]), &bed.status));
    }
    check_letters(&bed, 0, 100, 100, "1 aa|2 bb|3 cc|4 dd|");
    check_letters(&bed, 2, 2, 100, "2 bb|3 cc|");
    check_letters(&bed, 1, 100, 5, "1 aa|2 bb|");
    check_letters(&bed, 3, 100, 1, "3 cc|"); // one at least
    WRITE(&bed, shoal_journal_letter(bed.journal, 1, 3, SHOAL_SLICE("new"), &bed.status));
    WRITE(&bed, shoal_journal_letters_drop(bed.journal, 1, 1, 2, &bed.status));
    check_letters(&bed, 0, 100, 100, "3 new|4 dd|");
    WRITE(&bed, shoal_journal_letters_drop(bed.journal, 1, 0, UINT64_MAX, &bed.status));
    check_letters(&bed, 0, 100, 100, "");
    teardown(&bed);
}

static void
the_heads_id_stays_and_lives_are_counted(void)
{
    bed_t bed;
    setup(&bed);
    char id[64];
    (void)snprintf(id, sizeof(id), "%s", shoal_journal_head_id(bed.journal));
    CHECK(strlen(id) == 32 && shoal_journal_life(bed.journal) == 1);
    reopen(&bed);
    CHECK(strcmp(shoal_journal_head_id(bed.journal), id) == 0);
    CHECK(shoal_journal_life(bed.journal) == 2);
    teardown(&bed);
}

static void
a_second_head_is_refused_and_told_of_the_first(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1, "one");
    char host[64] = "";
    CHECK(gethostname(host, sizeof(host) - 1) == 0);
    char holder[128];
    (void)snprintf(holder, sizeof(holder), "process %ld on host %s", (long)getpid(), host);
    shoal_journal_t *second = NULL;
    CHECK_FAILS(shoal_journal_open(bed.folder.path, &second, &bed.status), bed.status,
                SHOAL_EXISTS);
    CHECK_SAYS(bed.status.text, holder);
    CHECK_FAILS(shoal_journal_view(bed.folder.path, &second, &bed.status), bed.status,
                SHOAL_EXISTS);
    CHECK_SAYS(bed.status.text, holder);
    check_holds(bed.journal, "job 1 one name submit 1000\n");
    teardown(&bed);
}

// A process that is killed leaves its log behind, and its lock ends with it.
static void
what_a_killed_head_committed_is_there(void)
{
    bed_t bed;
    setup(&bed);
    shoal_journal_close(&bed.journal);
    pid_t child = fork();
    if (child == 0) {
        CHECK_OK(shoal_journal_open(bed.folder.path, &bed.journal, &bed.status), bed.status);
        open_job(&bed, 1, "one");
        add_entries(&bed, 1, "a");
        (void)raise(SIGKILL);
    }
    int ended = 0;
    CHECK(waitpid(child, &ended, 0) == child && WIFSIGNALED(ended));
    // Looking changes nothing.
    CHECK(folder_count(&bed.folder) == 4); // database, log, reserve, lock
    CHECK_OK(shoal_journal_view(bed.folder.path, &bed.journal, &bed.status), bed.status);
    CHECK_OK(shoal_journal_check(bed.journal, &bed.status), bed.status);
    check_holds(bed.journal, "job 1 one name submit 1000\n1: a\n");
    CHECK(shoal_journal_life(bed.journal) == 2);
    CHECK_FAILS(shoal_journal_begin(bed.journal, &bed.status) &&
                    shoal_journal_entries(bed.journal, 1, SHOAL_SLICE("x"), &bed.status),
                bed.status, SHOAL_IO);
    shoal_journal_close(&bed.journal);
    CHECK(folder_count(&bed.folder) == 3);
    CHECK_OK(shoal_journal_open(bed.folder.path, &bed.journal, &bed.status), bed.status);
    check_holds(bed.journal, "job 1 one name submit 1000\n1: a\n");
    teardown(&bed);
}

// ---- schemas

static void
execute(const folder_t *folder, const char *sql)
{
    char *path = folder_file(folder, SHOAL_JOURNAL_NAME);
    sqlite3 *db = NULL;
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
    CHECK(sqlite3_close(db) == SQLITE_OK);
    free(path);
}

// As the first version wrote it.
static const char schema_1[] =
    "PRAGMA application_id = 0x53686f6c;"
    "CREATE TABLE schema(version INTEGER PRIMARY KEY); INSERT INTO schema VALUES(1);"
    "CREATE TABLE head(id TEXT NOT NULL, life INTEGER NOT NULL);"
    "CREATE TABLE jobs(number INTEGER PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL,"
    " submit BLOB NOT NULL, created INTEGER NOT NULL, state INTEGER NOT NULL,"
    " end BLOB, outputs BLOB, finished INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE log(place INTEGER PRIMARY KEY, entries BLOB NOT NULL);"
    "INSERT INTO head VALUES('00112233445566778899aabbccddeeff', 6);"
    "INSERT INTO jobs VALUES(1, 'one', 'name', 'submit', 1000, 0, NULL, NULL, 0);"
    "INSERT INTO log VALUES((1 << 32) + 1, 'a');";

static void
an_older_schema_is_brought_up_to_date(void)
{
    bed_t bed = {.folder = folder_new(), .status = SHOAL_STATUS_INIT};
    execute(&bed.folder, schema_1);
    CHECK_FAILS(shoal_journal_view(bed.folder.path, &bed.journal, &bed.status), bed.status,
                SHOAL_UNSUPPORTED);
    CHECK_OK(shoal_journal_open(bed.folder.path, &bed.journal, &bed.status), bed.status);
    CHECK(strcmp(shoal_journal_head_id(bed.journal), "00112233445566778899aabbccddeeff") == 0);
    CHECK(shoal_journal_life(bed.journal) == 7);
    WRITE(&bed, shoal_journal_letter(bed.journal, 1, 1, SHOAL_SLICE("l"), &bed.status));
    add_entries(&bed, 1, "b");
    check_holds(bed.journal, "job 1 one name submit 1000\n1: 1 letters, 1 bytes, last 1\n"
                             "1: a\n1: b\n");
    teardown(&bed);
}

static void
a_newer_schema_and_other_files_are_refused(void)
{
    bed_t bed;
    setup(&bed);
    shoal_journal_close(&bed.journal);
    execute(&bed.folder, "INSERT INTO schema VALUES(99)");
    CHECK_FAILS(shoal_journal_open(bed.folder.path, &bed.journal, &bed.status), bed.status,
                SHOAL_UNSUPPORTED);
    CHECK_SAYS(bed.status.text, "schema 99");
    folder_remove(&bed.folder);

    bed.folder = folder_new();
    execute(&bed.folder, "CREATE TABLE mine(x)");
    CHECK_FAILS(shoal_journal_open(bed.folder.path, &bed.journal, &bed.status), bed.status,
                SHOAL_INVALID);
    folder_remove(&bed.folder);

    bed.folder = folder_new();
    char *path = folder_file(&bed.folder, SHOAL_JOURNAL_NAME);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, "this is no database, whatever its name is", 41) == 41);
    (void)close(fd);
    free(path);
    CHECK_FAILS(shoal_journal_open(bed.folder.path, &bed.journal, &bed.status), bed.status,
                SHOAL_INVALID);
    CHECK_FAILS(shoal_journal_view(bed.folder.path, &bed.journal, &bed.status), bed.status,
                SHOAL_INVALID);
    folder_remove(&bed.folder);

    bed.folder = folder_new();
    CHECK_FAILS(shoal_journal_view(bed.folder.path, &bed.journal, &bed.status), bed.status,
                SHOAL_NOT_FOUND);
    CHECK(folder_count(&bed.folder) == 0);
    folder_remove(&bed.folder);
}

static void
what_was_begun_when_the_first_start_was_killed_is_no_harm(void)
{
    bed_t bed = {.folder = folder_new(), .status = SHOAL_STATUS_INIT};
    static const char *const names[] = {"journal.db.new", "journal.db.new-wal"};
    for (size_t i = 0; i < 2; i++) {
        char *path = folder_file(&bed.folder, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && write(fd, "half of it", 10) == 10);
        (void)close(fd);
        free(path);
    }
    CHECK_OK(shoal_journal_open(bed.folder.path, &bed.journal, &bed.status), bed.status);
    CHECK(shoal_journal_life(bed.journal) == 1);
    CHECK(folder_count(&bed.folder) == 4); // database, log, reserve, lock
    teardown(&bed);
}

static void
only_its_owner_can_read_it(void)
{
    bed_t bed;
    mode_t before = umask(0);
    setup(&bed);
    open_job(&bed, 1, "one");
    static const char *const names[] = {"journal.db", "journal.db-wal", "head.lock"};
    for (size_t i = 0; i < 3; i++) {
        struct stat about;
        char *path = folder_file(&bed.folder, names[i]);
        CHECK(stat(path, &about) == 0 && (about.st_mode & 077) == 0);
        free(path);
    }
    (void)umask(before);
    teardown(&bed);
}

static void
rows_without_a_job_are_found(void)
{
    bed_t bed;
    setup(&bed);
    CHECK_OK(shoal_journal_check(bed.journal, &bed.status), bed.status);
    add_entries(&bed, 3, "a");
    CHECK_FAILS(shoal_journal_check(bed.journal, &bed.status), bed.status, SHOAL_IO);
    CHECK_SAYS(bed.status.text, "of job 3");
    teardown(&bed);
}

static void
a_damaged_file_is_found(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1, "one");
    for (int i = 0; i < 200; i++) {
        add_entries(&bed, 1, "0123456789012345678901234567890123456789012345678901234567890123456");
    }
    shoal_journal_close(&bed.journal);
    char *path = folder_file(&bed.folder, SHOAL_JOURNAL_NAME);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct stat about;
    CHECK(fd >= 0 && fstat(fd, &about) == 0);
    char rubbish[4096];
    memset(rubbish, 0x5a, sizeof(rubbish));
    CHECK(pwrite(fd, rubbish, sizeof(rubbish), about.st_size - 4096) == 4096);
    (void)close(fd);
    free(path);
    CHECK_OK(shoal_journal_view(bed.folder.path, &bed.journal, &bed.status), bed.status);
    CHECK_FAILS(shoal_journal_check(bed.journal, &bed.status), bed.status, SHOAL_IO);
    CHECK_SAYS(bed.status.text, "damaged");
    teardown(&bed);
}

TEST_MAIN(TEST(what_was_committed_is_there_after_a_restart), TEST(what_was_not_committed_is_not),
          TEST(an_ended_job_keeps_its_row_and_loses_its_log),
          TEST(a_long_log_is_swept_in_parts_and_after_a_restart_too),
          TEST(a_forgotten_job_leaves_nothing),
          TEST(letters_are_read_in_parts_replaced_and_dropped),
          TEST(the_heads_id_stays_and_lives_are_counted),
          TEST(a_second_head_is_refused_and_told_of_the_first),
          TEST(what_a_killed_head_committed_is_there), TEST(an_older_schema_is_brought_up_to_date),
          TEST(a_newer_schema_and_other_files_are_refused),
          TEST(what_was_begun_when_the_first_start_was_killed_is_no_harm),
          TEST(only_its_owner_can_read_it), TEST(rows_without_a_job_are_found),
          TEST(a_damaged_file_is_found))
