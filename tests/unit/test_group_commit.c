// SPDX-License-Identifier: Apache-2.0
//
// test_group_commit.c - what head/store/scribe.h promises with a journal.

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "head/store/scribe.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "tests/support/folder.h"
#include "tests/support/full_spool.h"

#define DEADLINE_MS 10000
#define HEADER      SHOAL_SPOOL_HEADER_BYTES

static atomic_bool sync_fails; // of the spool; SQLite has its own

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int
__wrap_fdatasync(int fd)
{
    if (atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

typedef struct {
    folder_t folder;
    shoal_journal_t *journal;
    shoal_scribe_t *scribe;
    shoal_errands_t list; // to be sent
    shoal_errands_t back; // everything that was reported, in order
    size_t back_count;
    uint64_t stalled;
    uint64_t durable_lsn;
    bool is_lost;
    shoal_status_t trouble;
    shoal_status_t status;
} bed_t;

static void
start(bed_t *bed, shoal_crash_t *crash)
{
    CHECK_OK(shoal_journal_open(bed->folder.path, &bed->journal, &bed->status), bed->status);
    shoal_scribe_config_t config = {
        .spool = {.directory = bed->folder.path, .journal = bed->journal}, .crash = crash};
    CHECK_OK(shoal_scribe_start(&config, &bed->scribe, &bed->status), bed->status);
}

static void
setup(bed_t *bed)
{
    *bed = (bed_t){.folder = folder_new(), .status = SHOAL_STATUS_INIT};
    atomic_store(&full_spool_room, INT64_MAX);
    start(bed, NULL);
}

static void
free_errand(void *ctx, shoal_errand_t *errand)
{
    size_t *undone = ctx;
    *undone += errand->is_done ? 0 : 1;
    if (errand->kind == SHOAL_ERRAND_LETTERS) {
        shoal_buffer_fini(&((shoal_letters_query_t *)errand)->found);
    }
    free(errand->failure);
    free(errand);
}

// Returns how many errands were not done.
static size_t
stop(bed_t *bed)
{
    size_t undone = 0;
    shoal_scribe_stop(&bed->scribe, free_errand, &undone);
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&bed->back)) != NULL;) {
        size_t ignored = 0;
        free_errand(&ignored, errand);
    }
    bed->back_count = 0;
    return undone;
}

static size_t
teardown(bed_t *bed)
{
    size_t undone = stop(bed);
    shoal_journal_close(&bed->journal);
    folder_remove(&bed->folder);
    return undone;
}

static void
take_reports(bed_t *bed)
{
    for (shoal_scribe_report_t *report; (report = shoal_scribe_take(bed->scribe)) != NULL;) {
        for (shoal_errand_t *errand; (errand = shoal_errands_take(&report->errands)) != NULL;) {
            shoal_errands_add(&bed->back, errand);
            bed->back_count++;
        }
        CHECK(report->durable_lsn >= bed->durable_lsn);
        bed->durable_lsn = report->durable_lsn;
        bed->stalled = report->stalled;
        bed->trouble = report->trouble;
        bed->is_lost = report->is_lost;
        free(report);
    }
}

// Waits until `count` errands are back and `stalled` are waiting for room.
static void
wait_for(bed_t *bed, size_t count, uint64_t stalled)
{
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    take_reports(bed);
    while (bed->back_count != count || bed->stalled != stalled) {
        CHECK(shoal_clock_ms() < deadline_ms);
        struct pollfd item = {shoal_scribe_fd(bed->scribe), POLLIN, 0};
        CHECK(poll(&item, 1, DEADLINE_MS) == 1);
        take_reports(bed);
    }
}

static void
send_list(bed_t *bed)
{
    CHECK(shoal_scribe_send(bed->scribe, &bed->list));
}

// ---- errands

static shoal_errand_t *
append(bed_t *bed, uint64_t job, uint64_t call, const char *text)
{
    shoal_errand_t *errand = shoal_alloc(sizeof(*errand));
    errand->kind = SHOAL_ERRAND_APPEND;
    errand->job = job;
    errand->batch.call = call;
    errand->batch.payload = shoal_slice_of(text);
    shoal_errands_add(&bed->list, errand);
    return errand;
}

static shoal_journal_note_t *
note(bed_t *bed, shoal_journal_note_kind_t kind, uint64_t job, const char *bytes)
{
    shoal_journal_note_t *note = shoal_alloc(sizeof(*note));
    note->errand.kind = SHOAL_ERRAND_NOTE;
    note->errand.job = job;
    note->kind = kind;
    note->bytes = shoal_slice_of(bytes);
    note->row.number = job;
    note->row.id = note->row.name = note->row.submit = SHOAL_SLICE("x");
    note->row.end = SHOAL_SLICE("end");
    note->row.finished_ms = 1;
    shoal_errands_add(&bed->list, &note->errand);
    return note;
}

static void
open_job(bed_t *bed, uint64_t job)
{
    (void)note(bed, SHOAL_JOURNAL_NOTE_JOB_OPEN, job, NULL);
}

static void
entries(bed_t *bed, uint64_t job, const char *bytes)
{
    (void)note(bed, SHOAL_JOURNAL_NOTE_ENTRIES, job, bytes);
}

static void
mark(bed_t *bed, uint64_t lsn)
{
    note(bed, SHOAL_JOURNAL_NOTE_MARK, 0, NULL)->lsn = lsn;
}

// ---- what is in the journal and the spool after the scribe has gone: "1[a c] 2[]" and "1:10 1:11"

static bool
tell_job(void *ctx, const shoal_journal_job_t *job, shoal_status_t *status)
{
    (void)status;
    shoal_buffer_append_format(ctx, "%llu%s", (unsigned long long)job->number,
                               job->finished_ms > 0 ? ". " : "! ");
    return true;
}

static bool
tell_entries(void *ctx, uint64_t job, shoal_slice_t bytes, shoal_status_t *status)
{
    (void)job;
    (void)status;
    shoal_buffer_append_format(ctx, "%.*s ", SHOAL_SLICE_ARGS(bytes));
    return true;
}

static bool
tell_letters(void *ctx, uint64_t job, const shoal_journal_letters_t *letters,
             shoal_status_t *status)
{
    (void)job;
    (void)status;
    shoal_buffer_append_format(ctx, "L%llu ", (unsigned long long)letters->count);
    return true;
}

static void
check_holds(bed_t *bed, const char *text) // the scribe has stopped
{
    shoal_buffer_t found = SHOAL_BUFFER_INIT;
    shoal_journal_reader_t reader = {&found, tell_job, tell_entries, tell_letters};
    CHECK_OK(shoal_journal_read(bed->journal, &reader, &bed->status), bed->status);
    assert_string_equal(shoal_buffer_text(&found), text);
    shoal_buffer_fini(&found);
}

// ---- tests

static void
a_turns_notes_are_durable_together_and_the_mark_says_so(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1);
    open_job(&bed, 2);
    entries(&bed, 1, "a");
    entries(&bed, 1, "b");
    entries(&bed, 2, "c");
    entries(&bed, 1, "d");
    mark(&bed, 7);
    send_list(&bed);
    wait_for(&bed, 7, 0);
    CHECK(bed.durable_lsn == 7);
    for (const shoal_errand_t *it = bed.back.first; it; it = it->next) {
        CHECK(it->is_done);
    }
    mark(&bed, 8); // nothing to do for it
    send_list(&bed);
    wait_for(&bed, 8, 0);
    CHECK(bed.durable_lsn == 8);
    (void)note(&bed, SHOAL_JOURNAL_NOTE_JOB_END, 2, NULL);
    send_list(&bed);
    wait_for(&bed, 9, 0);
    CHECK(stop(&bed) == 0);
    check_holds(&bed, "1! ab d 2. "); // those in a row share one
    shoal_journal_close(&bed.journal);
    bed.durable_lsn = 0;
    start(&bed, NULL);
    for (uint64_t lsn = 1; lsn <= 3; lsn++) { // marks do not keep them apart
        entries(&bed, 1, "e");
        mark(&bed, lsn);
    }
    send_list(&bed);
    wait_for(&bed, 6, 0);
    CHECK(stop(&bed) == 0);
    check_holds(&bed, "1! ab d eee 2. ");
    (void)teardown(&bed);
}

static void
what_was_appended_before_a_note_is_there_after_a_restart(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1);
    const shoal_errand_t *one = append(&bed, 1, 10, "one");
    entries(&bed, 1, "done");
    mark(&bed, 1);
    send_list(&bed);
    wait_for(&bed, 4, 0);
    shoal_spool_place_t place = one->batch.place;
    (void)append(&bed, 1, 11, "of no use without a note");
    send_list(&bed);
    wait_for(&bed, 5, 0);
    (void)stop(&bed);
    shoal_journal_close(&bed.journal);
    bed.durable_lsn = 0; // numbers are of a life
    start(&bed, NULL);
    CHECK(shoal_spool_bytes(shoal_scribe_spool(bed.scribe)) == HEADER + 3);
    shoal_errand_t *read = append(&bed, 1, 0, NULL);
    read->kind = SHOAL_ERRAND_READ;
    read->batch.place = place;
    send_list(&bed);
    wait_for(&bed, 1, 0);
    CHECK(read->is_done && memcmp(zmq_msg_data(&read->message), "one", 3) == 0);
    (void)zmq_msg_close(&read->message);
    (void)teardown(&bed);
}

static void
notes_wait_behind_an_append_that_has_no_room(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1);
    open_job(&bed, 2);
    mark(&bed, 1);
    send_list(&bed);
    wait_for(&bed, 3, 0);

    atomic_store(&full_spool_room, 0);
    entries(&bed, 1, "before");
    mark(&bed, 2);
    entries(&bed, 1, "half"); // of a turn: it waits for the rest of it
    (void)append(&bed, 1, 10, "batch");
    entries(&bed, 1, "after");
    mark(&bed, 3);
    entries(&bed, 2, "other");
    send_list(&bed);
    wait_for(&bed, 5, 5);
    CHECK(bed.durable_lsn == 2 && bed.trouble.code == SHOAL_LIMIT);
    CHECK_SAYS(bed.trouble.text, "spool-1-1.seg");
    entries(&bed, 2, "late");
    mark(&bed, 4);
    send_list(&bed);
    wait_for(&bed, 5, 7);
    CHECK(bed.durable_lsn == 2);

    atomic_store(&full_spool_room, INT64_MAX);
    wait_for(&bed, 12, 0);
    CHECK(bed.durable_lsn == 4 && bed.trouble.code == SHOAL_OK);
    CHECK(stop(&bed) == 0);
    check_holds(&bed, "1! before halfafter 2! otherlate ");
    (void)teardown(&bed);
}

static void
a_job_is_forgotten_though_the_disk_is_full(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1);
    open_job(&bed, 2);
    (void)append(&bed, 1, 10, "batch");
    send_list(&bed);
    wait_for(&bed, 3, 0);
    atomic_store(&full_spool_room, 0);
    entries(&bed, 1, "before"); // of this list, and not stalled
    (void)append(&bed, 2, 11, "stalls");
    entries(&bed, 1, "never");
    mark(&bed, 1);
    (void)note(&bed, SHOAL_JOURNAL_NOTE_JOB_FORGET, 1, NULL);
    send_list(&bed);
    wait_for(&bed, 6, 2); // the append and the mark are left
    CHECK(bed.durable_lsn == 0);
    CHECK(folder_count(&bed.folder) ==
          5); // lock, journal, log, reserve; job 2's segment, and none of job 1
    atomic_store(&full_spool_room, INT64_MAX);
    wait_for(&bed, 8, 0);
    CHECK(bed.durable_lsn == 1);
    CHECK(stop(&bed) == 0);
    CHECK_OK(shoal_journal_check(bed.journal, &bed.status), bed.status);
    check_holds(&bed, "2! ");
    (void)teardown(&bed);
}

// The file size limit of the process stands for a disk that is full when the journal grows.
static void
a_journal_that_has_no_room_is_tried_again(void)
{
    bed_t bed;
    setup(&bed);
    static char large[300001];
    memset(large, 'x', sizeof(large) - 1);
    open_job(&bed, 1);
    mark(&bed, 1);
    send_list(&bed);
    wait_for(&bed, 2, 0);
    struct rlimit before;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {200000, before.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    entries(&bed, 1, "first");
    entries(&bed, 1, large);
    mark(&bed, 2);
    send_list(&bed);
    wait_for(&bed, 2, 3);
    CHECK(bed.durable_lsn == 1 && bed.trouble.code == SHOAL_LIMIT);
    CHECK_SAYS(bed.trouble.text, "the disk is full");
    shoal_letters_query_t *letters = shoal_alloc(sizeof(*letters)); // reads go on
    letters->errand.kind = SHOAL_ERRAND_LETTERS;
    letters->errand.job = 1;
    letters->most = 1;
    shoal_errands_add(&bed.list, &letters->errand);
    send_list(&bed);
    wait_for(&bed, 3, 3);
    CHECK(letters->errand.is_done && letters->count == 0);

    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    wait_for(&bed, 6, 0);
    CHECK(bed.durable_lsn == 2);
    CHECK(stop(&bed) == 0);
    CHECK_OK(shoal_journal_check(bed.journal, &bed.status), bed.status);
    (void)teardown(&bed);
}

static void
a_disk_that_does_not_sync_is_not_trusted_again(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1);
    mark(&bed, 1);
    send_list(&bed);
    wait_for(&bed, 2, 0);
    atomic_store(&sync_fails, true);
    (void)append(&bed, 1, 10, "batch");
    entries(&bed, 1, "x");
    mark(&bed, 2);
    send_list(&bed);
    wait_for(&bed, 3, 2);
    CHECK(bed.is_lost && bed.durable_lsn == 1 && bed.trouble.code == SHOAL_IO);
    CHECK_SAYS(bed.trouble.text, "only a new start finds out");
    CHECK_SAYS(bed.trouble.text, "spool-1-1.seg");
    atomic_store(&sync_fails, false); // the next sync would succeed, and would mean nothing
    entries(&bed, 1, "y");
    mark(&bed, 3);
    send_list(&bed);
    CHECK(stop(&bed) == 4);
    CHECK(bed.durable_lsn == 1);
    check_holds(&bed, "1! ");
    shoal_journal_close(&bed.journal);
    bed.durable_lsn = 0;
    start(&bed, NULL);
    CHECK(shoal_spool_bytes(shoal_scribe_spool(bed.scribe)) == 0);
    (void)teardown(&bed);
}

static void
letters_are_written_read_and_dropped(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        note(&bed, SHOAL_JOURNAL_NOTE_LETTER, 1, "body")->first = i;
    }
    shoal_journal_note_t *drop = note(&bed, SHOAL_JOURNAL_NOTE_LETTERS_DROP, 1, NULL);
    drop->first = drop->last = 2;
    send_list(&bed);
    wait_for(&bed, 5, 0);
    shoal_letters_query_t *letters = shoal_alloc(sizeof(*letters));
    letters->errand.kind = SHOAL_ERRAND_LETTERS;
    letters->errand.job = 1;
    letters->most = letters->bytes_max = 100;
    shoal_errands_add(&bed.list, &letters->errand);
    send_list(&bed);
    wait_for(&bed, 6, 0);
    CHECK(letters->errand.is_done && letters->count == 2);
    shoal_slice_t found = shoal_buffer_slice(&letters->found);
    CHECK(shoal_slice_equal(found, SHOAL_SLICE("\x92\x01\xc4\x04"
                                               "body\x92\x03\xc4\x04"
                                               "body")));
    CHECK(stop(&bed) == 0);
    check_holds(&bed, "1! L2 ");
    (void)teardown(&bed);
}

typedef struct {
    uint64_t done; // turns whose entries are there
    bool is_open;
    bool is_ended;
} state_t;

static bool
take_state(void *ctx, const shoal_journal_job_t *job, shoal_status_t *status)
{
    (void)status;
    state_t *state = ctx;
    CHECK(job->number == 1);
    state->is_open = true;
    state->is_ended = job->finished_ms > 0;
    return true;
}

static bool
take_entries(void *ctx, uint64_t job, shoal_slice_t bytes, shoal_status_t *status)
{
    (void)job;
    (void)status;
    state_t *state = ctx;
    state->done += bytes.len; // one byte a turn
    return true;
}

static void
what_it_was_given_is_durable_when_it_stops(void)
{
    bed_t bed;
    setup(&bed);
    open_job(&bed, 1);
    for (size_t i = 0; i < 50; i++) {
        entries(&bed, 1, "a");
        send_list(&bed);
    }
    CHECK(stop(&bed) == 0);
    state_t state = {0};
    shoal_journal_reader_t reader = {&state, take_state, take_entries, tell_letters};
    CHECK_OK(shoal_journal_read(bed.journal, &reader, &bed.status), bed.status);
    CHECK(state.done == 50);
    (void)teardown(&bed);
}

// ---- killed between two steps

#define TURNS 6

static bool
count_batch(void *ctx, const shoal_spool_batch_t *batch, shoal_status_t *status)
{
    (void)status;
    uint64_t *next = ctx;
    CHECK(batch->call == *next); // in order, none left out
    (*next)++;
    return true;
}

// Each turn appends a batch, says so in the journal, and waits; the last one forgets the job.
static void
work_until_killed(const folder_t *folder, const char *point, int promise_fd)
{
    bed_t bed = {.folder = *folder, .status = SHOAL_STATUS_INIT};
    shoal_crash_t crash;
    CHECK_OK(shoal_crash_parse(point, &crash, &bed.status), bed.status);
    start(&bed, &crash);
    open_job(&bed, 1);
    for (uint64_t turn = 1; turn <= TURNS; turn++) {
        (void)append(&bed, 1, turn, "batch");
        entries(&bed, 1, "x");
        mark(&bed, turn);
        send_list(&bed);
        while (bed.durable_lsn < turn) {
            struct pollfd item = {shoal_scribe_fd(bed.scribe), POLLIN, 0};
            (void)poll(&item, 1, DEADLINE_MS);
            take_reports(&bed);
        }
        char byte = 'x'; // the promise is out
        CHECK(write(promise_fd, &byte, 1) == 1);
    }
    (void)note(&bed, SHOAL_JOURNAL_NOTE_JOB_FORGET, 1, NULL);
    mark(&bed, TURNS + 1);
    send_list(&bed);
    for (;;) {
        struct pollfd item = {shoal_scribe_fd(bed.scribe), POLLIN, 0};
        (void)poll(&item, 1, DEADLINE_MS);
        take_reports(&bed);
        if (bed.durable_lsn > TURNS) {
            _exit(0); // was not killed
        }
    }
}

static void
check_killed_at(const char *point)
{
    folder_t folder = folder_new();
    int promises[2];
    CHECK(pipe(promises) == 0);
    pid_t child = fork();
    if (child == 0) {
        work_until_killed(&folder, point, promises[1]);
    }
    (void)close(promises[1]);
    int ended = 0;
    CHECK(waitpid(child, &ended, 0) == child);
    char bytes[TURNS];
    ssize_t promised = read(promises[0], bytes, sizeof(bytes));
    (void)close(promises[0]);

    bed_t bed = {.folder = folder, .status = SHOAL_STATUS_INIT};
    start(&bed, NULL);
    state_t state = {0};
    shoal_journal_reader_t reader = {&state, take_state, take_entries, tell_letters};
    CHECK_OK(shoal_journal_read(bed.journal, &reader, &bed.status), bed.status);
    CHECK_OK(shoal_journal_check(bed.journal, &bed.status), bed.status);
    uint64_t next = 1;
    CHECK_OK(shoal_spool_walk(shoal_scribe_spool(bed.scribe), 1, count_batch, &next, &bed.status),
             bed.status);
    CHECK(next == state.done + 1); // neither a note without its batch nor a batch without its note
    if (state.is_open) {
        CHECK(state.done >= (uint64_t)promised);
        CHECK(state.done <= (uint64_t)promised + 1);
    } else { // forgotten, or nothing was ever durable
        CHECK(promised == TURNS || promised == 0);
        CHECK(shoal_spool_segment_count(shoal_scribe_spool(bed.scribe)) == 0);
        CHECK(folder_count(&bed.folder) == 4);
    }
    (void)teardown(&bed);
}

static void
whenever_it_is_killed_the_journal_and_the_spool_agree(void)
{
    static const char *const points[] = {
#define X(name, text) text,
        SHOAL_CRASH_POINTS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        for (int times = 1; times <= TURNS + 2; times++) {
            char point[64];
            (void)snprintf(point, sizeof(point), "%s:%d", points[i], times);
            check_killed_at(point);
        }
    }
}

static void
unknown_places_to_crash_are_refused(void)
{
    shoal_crash_t crash;
    shoal_status_t status = SHOAL_STATUS_INIT;
    static const char *const wrong[] = {"",
                                        "nowhere",
                                        "commit-after:",
                                        "commit-after:0",
                                        "commit-after:2x",
                                        "commit-after:-1",
                                        "commit-afte"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_FAILS(shoal_crash_parse(wrong[i], &crash, &status), status, SHOAL_INVALID);
    }
    CHECK_OK(shoal_crash_parse("commit-after:3", &crash, &status), status);
}

TEST_MAIN(TEST(a_turns_notes_are_durable_together_and_the_mark_says_so),
          TEST(what_was_appended_before_a_note_is_there_after_a_restart),
          TEST(notes_wait_behind_an_append_that_has_no_room),
          TEST(a_job_is_forgotten_though_the_disk_is_full),
          TEST(a_journal_that_has_no_room_is_tried_again),
          TEST(a_disk_that_does_not_sync_is_not_trusted_again),
          TEST(letters_are_written_read_and_dropped),
          TEST(what_it_was_given_is_durable_when_it_stops),
          TEST(whenever_it_is_killed_the_journal_and_the_spool_agree),
          TEST(unknown_places_to_crash_are_refused))
