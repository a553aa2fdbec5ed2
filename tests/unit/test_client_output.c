// SPDX-License-Identifier: Apache-2.0
//
// test_client_output.c - what client/output.h promises.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/output.h"
#include "tests/support/full_disk.h"
#include "tests/support/test.h"

static char folder[64];
static char path[128];

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/shoal-output-XXXXXX");
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "%s/out.jsonl", folder);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static const char *
in_folder(const char *name)
{
    static char joined[192];
    (void)snprintf(joined, sizeof(joined), "%s/%s", folder, name);
    return joined;
}

// The file's content, or "(none)".
static const char *
content(const char *name)
{
    static char text[4096];
    FILE *file = fopen(in_folder(name), "r");
    if (!file) {
        return "(none)";
    }
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    return text;
}

static void
put(shoal_output_t *output, uint64_t commit, uint64_t index, const char *text, bool is_last)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_took_t took =
        shoal_output_write(output, commit, index, shoal_slice_of(text), is_last, &status);
    if (took != SHOAL_OUTPUT_TAKEN) {
        fail_msg("piece %d.%d was not taken (%d): %s", (int)commit, (int)index, (int)took,
                 status.text);
    }
}

static shoal_output_t *
open_for(const char *job)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = NULL;
    CHECK_OK(shoal_output_open(path, job, &output, &status), status);
    return output;
}

static void
commits_become_the_file_under_its_name(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = open_for("j1");
    CHECK(shoal_output_next(output) == 1);
    put(output, 1, 0, "a\n", false);
    put(output, 1, 1, "b\n", true);
    put(output, 2, 0, "", true); // a commit without output
    put(output, 3, 0, "c\n", true);
    CHECK(shoal_output_length(output) == 6);
    assert_string_equal(content("out.jsonl"), "(none)");
    CHECK_OK(shoal_output_finish(output, &status), status);
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl"), "a\nb\nc\n");
    assert_string_equal(content("out.jsonl.part"), "(none)");
    assert_string_equal(content("out.jsonl.part.state"), "(none)");
}

static void
no_record_at_all_is_an_empty_file(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = open_for("j1");
    CHECK_OK(shoal_output_finish(output, &status), status);
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl"), "");
}

static void
an_older_file_stays_until_the_new_one_is_whole(void)
{
    FILE *file = fopen(path, "w");
    CHECK(file && fputs("old\n", file) >= 0 && fclose(file) == 0);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "new\n", true);
    assert_string_equal(content("out.jsonl"), "old\n");
    CHECK_OK(shoal_output_finish(output, &status), status);
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl"), "new\n");
}

static void
a_part_stays_with_its_state_and_the_same_job_goes_on(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    uint64_t commit = 0;
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "one\n", true);
    put(output, 2, 0, "two\n", true);
    CHECK_OK(shoal_output_sync(output, &commit, &status), status);
    CHECK(commit == 2);
    put(output, 3, 0, "three\n", true); // after the last sync: may be lost in a crash
    put(output, 4, 0, "four", false);   // and not whole
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl.part.state"), "job j1 commit 2 length 8\n");

    output = open_for("j1");
    CHECK(shoal_output_next(output) == 3);
    assert_string_equal(content("out.jsonl.part"), "one\ntwo\n");
    put(output, 3, 0, "three\n", true);
    CHECK_OK(shoal_output_finish(output, &status), status);
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl"), "one\ntwo\nthree\n");
}

static void
a_part_of_another_job_is_cut_to_nothing(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    uint64_t commit = 0;
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "one\n", true);
    CHECK_OK(shoal_output_sync(output, &commit, &status), status);
    shoal_output_destroy(&output);
    output = open_for("j2");
    CHECK(shoal_output_next(output) == 1);
    assert_string_equal(content("out.jsonl.part"), "");
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl.part"), "(none)"); // nothing in it to go on from
}

static void
a_state_that_cannot_be_believed_starts_from_nothing(void)
{
    static const char *const states[] = {"",
                                         "job j1 commit 2 length 8", // cut: no line end
                                         "job j1 commit 2 length 800\n",
                                         "job j1 commit x length 8\n",
                                         "rubbish\n",
                                         "job other commit 1 length 4\n"};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        FILE *file = fopen(in_folder("out.jsonl.part"), "w");
        CHECK(file && fputs("one\ntwo\n", file) >= 0 && fclose(file) == 0);
        file = fopen(in_folder("out.jsonl.part.state"), "w");
        CHECK(file && fputs(states[i], file) >= 0 && fclose(file) == 0);
        shoal_output_t *output = open_for("j1");
        CHECK(shoal_output_next(output) == 1);
        shoal_output_destroy(&output);
    }
}

static void
pieces_out_of_turn_are_left_out(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_slice_t text = SHOAL_SLICE("x\n");
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "a\n", false);
    CHECK(shoal_output_write(output, 1, 0, text, true, &status) == SHOAL_OUTPUT_SKIPPED);
    CHECK(shoal_output_write(output, 1, 2, text, true, &status) == SHOAL_OUTPUT_SKIPPED);
    CHECK(shoal_output_write(output, 2, 0, text, true, &status) == SHOAL_OUTPUT_SKIPPED);
    put(output, 1, 1, "b\n", true);
    CHECK(shoal_output_write(output, 1, 0, text, true, &status) == SHOAL_OUTPUT_SKIPPED);
    CHECK(shoal_output_length(output) == 4);
    shoal_output_destroy(&output);
}

static void
a_commit_that_is_not_whole_is_taken_back(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "a\n", true);
    put(output, 2, 0, "half", false);
    CHECK_OK(shoal_output_rewind(output, &status), status);
    assert_string_equal(content("out.jsonl.part"), "a\n");
    put(output, 2, 0, "whole\n", true);
    CHECK_OK(shoal_output_finish(output, &status), status);
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl"), "a\nwhole\n");
}

static void
a_full_disk_cuts_back_to_the_last_whole_commit(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "12345\n", true);
    put(output, 2, 0, "1", false);
    atomic_store(&full_disk_bytes, 10);
    shoal_output_took_t took =
        shoal_output_write(output, 2, 1, SHOAL_SLICE("2345678\n"), true, &status);
    atomic_store(&full_disk_bytes, INT64_MAX);
    CHECK(took == SHOAL_OUTPUT_NO_ROOM);
    CHECK_SAYS(status.text, "out.jsonl.part");
    assert_string_equal(content("out.jsonl.part"), "12345\n");
    CHECK(shoal_output_next(output) == 2);
    // What is still under way of the older stream is left out; the new one begins at (2, 0).
    CHECK(shoal_output_write(output, 2, 2, SHOAL_SLICE("x"), true, &status) ==
          SHOAL_OUTPUT_SKIPPED);
    put(output, 2, 0, "again\n", true);
    CHECK_OK(shoal_output_finish(output, &status), status);
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl"), "12345\nagain\n");
}

static void
a_state_without_room_leaves_the_older_one(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    uint64_t commit = 0;
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "a\n", true);
    CHECK_OK(shoal_output_sync(output, &commit, &status), status);
    put(output, 2, 0, "b\n", true);
    atomic_store(&full_disk_bytes, 4);
    CHECK_OK(shoal_output_sync(output, &commit, &status), status);
    atomic_store(&full_disk_bytes, INT64_MAX);
    CHECK(commit == 1);
    assert_string_equal(content("out.jsonl.part.state"), "job j1 commit 1 length 2\n");
    CHECK_OK(shoal_output_sync(output, &commit, &status), status);
    CHECK(commit == 2);
    shoal_output_destroy(&output);
}

static void
a_file_that_may_not_grow_is_broken_for_good(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    struct rlimit before;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {4, before.rlim_max};
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "a\n", true);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    shoal_output_took_t took =
        shoal_output_write(output, 2, 0, SHOAL_SLICE("12345\n"), true, &status);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(took == SHOAL_OUTPUT_BROKEN);
    CHECK_SAYS(status.text, "File too large");
    assert_string_equal(content("out.jsonl.part"), "a\n");
    shoal_output_destroy(&output);
}

static void
a_job_that_begins_again_begins_at_nothing(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    uint64_t commit = 0;
    shoal_output_t *output = open_for("j1");
    put(output, 1, 0, "a\n", true);
    CHECK_OK(shoal_output_sync(output, &commit, &status), status);
    put(output, 2, 0, "half", false);
    CHECK_OK(shoal_output_restart(output, "j2", &status), status);
    CHECK(shoal_output_next(output) == 1);
    put(output, 1, 0, "b\n", true);
    CHECK_OK(shoal_output_sync(output, &commit, &status), status);
    CHECK(commit == 1);
    shoal_output_destroy(&output);
    assert_string_equal(content("out.jsonl.part"), "b\n");
    assert_string_equal(content("out.jsonl.part.state"), "job j2 commit 1 length 2\n");
}

static void
two_runs_do_not_write_one_file(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = open_for("j1");
    shoal_output_t *second = NULL;
    put(output, 1, 0, "a\n", true);
    CHECK_FAILS(shoal_output_open(path, "j2", &second, &status), status, SHOAL_EXISTS);
    CHECK_SAYS(status.text, "another run");
    assert_string_equal(content("out.jsonl.part"), "a\n");
    shoal_output_destroy(&output);
}

static void
what_cannot_be_written_is_said_before_any_work(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    char long_name[5000];
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    CHECK_FAILS(shoal_output_check(in_folder("none/out.jsonl"), &status), status, SHOAL_NOT_FOUND);
    CHECK_SAYS(status.text, "is missing");
    CHECK_FAILS(shoal_output_check(folder, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "is a directory");
    CHECK_FAILS(shoal_output_check(in_folder("x/"), &status), status, SHOAL_INVALID);
    CHECK_FAILS(shoal_output_check("", &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "empty");
    CHECK_FAILS(shoal_output_check(long_name, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "too long");
    FILE *file = fopen(path, "w");
    CHECK(file && fclose(file) == 0);
    CHECK_FAILS(shoal_output_check(in_folder("out.jsonl/x"), &status), status, SHOAL_INVALID);
    CHECK_OK(shoal_output_check(path, &status), status);
    CHECK_OK(shoal_output_check("-", &status), status);
    CHECK_OK(shoal_output_check("/dev/null", &status), status);
    assert_string_equal(content("out.jsonl.part"), "(none)"); // looking makes nothing
}

static void
no_permission_is_said_before_any_work(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    uid_t own = geteuid();
    CHECK(chmod(folder, 0555) == 0);
    if (own == 0) { // root may write everywhere
        CHECK(seteuid(65534) == 0);
    }
    bool done = shoal_output_check(path, &status);
    CHECK(seteuid(own) == 0);
    CHECK(chmod(folder, 0700) == 0);
    CHECK(!done && status.code == SHOAL_DENIED);
    CHECK_SAYS(status.text, "Permission denied");
}

static void
a_link_in_place_of_the_part_is_not_followed(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = NULL;
    FILE *file = fopen(in_folder("victim"), "w");
    CHECK(file && fputs("mine\n", file) >= 0 && fclose(file) == 0);
    char part[192];
    (void)snprintf(part, sizeof(part), "%s.part", path);
    CHECK(symlink("victim", part) == 0);
    CHECK_FAILS(shoal_output_open(path, "j1", &output, &status), status, SHOAL_IO);
    assert_string_equal(content("victim"), "mine\n");
}

static void
a_device_is_written_as_a_stream(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = NULL;
    CHECK_OK(shoal_output_open("/dev/null", "j1", &output, &status), status);
    CHECK(shoal_output_is_stream(output));
    put(output, 1, 0, "a\n", true);
    CHECK_FAILS(shoal_output_restart(output, "j2", &status), status, SHOAL_UNSUPPORTED);
    CHECK_SAYS(status.text, "begin again");
    put(output, 2, 0, "half", false);
    CHECK_OK(shoal_output_rewind(output, &status), status); // the commit comes again
    CHECK(shoal_output_write(output, 2, 0, SHOAL_SLICE("half"), false, &status) ==
          SHOAL_OUTPUT_SKIPPED);
    put(output, 2, 1, "half", true);
    CHECK(shoal_output_length(output) == 10);
    shoal_output_destroy(&output);

    CHECK_OK(shoal_output_open("/dev/full", "j1", &output, &status), status);
    CHECK(shoal_output_write(output, 1, 0, SHOAL_SLICE("a"), true, &status) == SHOAL_OUTPUT_BROKEN);
    CHECK_SAYS(status.text, "/dev/full");
    shoal_output_destroy(&output);
}

// Nobody waits for the reader of a pipe, and it gets every byte in order.
static void
a_pipe_that_is_read_slowly_makes_nobody_wait(void)
{
    enum { PIECES = 64, BYTES = 4096 };
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = NULL;
    char bytes[BYTES];
    CHECK(mkfifo(in_folder("pipe"), 0600) == 0);
    int reader = open(in_folder("pipe"), O_RDONLY | O_NONBLOCK);
    CHECK_OK(shoal_output_open(in_folder("pipe"), "j1", &output, &status), status);
    for (unsigned i = 0; i < PIECES; i++) {
        memset(bytes, 'A' + (int)i, sizeof(bytes));
        CHECK(shoal_output_write(output, 1, i, (shoal_slice_t){bytes, sizeof(bytes)},
                                 i + 1 == PIECES, &status) == SHOAL_OUTPUT_TAKEN);
    }
    CHECK(shoal_output_waiting(output) > 0);
    CHECK_FAILS(shoal_output_finish(output, &status), status, SHOAL_IO);
    for (size_t got = 0; got < sizeof(bytes) * PIECES;) {
        ssize_t size = read(reader, bytes, 1000);
        CHECK(size > 0);
        for (ssize_t at = 0; at < size; at++, got++) {
            CHECK(bytes[at] == (char)('A' + (int)(got / sizeof(bytes))));
        }
        CHECK_OK(shoal_output_drain(output, &status), status);
    }
    CHECK(shoal_output_waiting(output) == 0);
    CHECK_OK(shoal_output_finish(output, &status), status);
    (void)close(reader);
    shoal_output_destroy(&output);
}

static void
a_pipe_without_a_reader_is_refused_at_once(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_output_t *output = NULL;
    CHECK(mkfifo(in_folder("pipe"), 0600) == 0);
    CHECK_FAILS(shoal_output_open(in_folder("pipe"), "j1", &output, &status), status,
                SHOAL_UNAVAILABLE);
    CHECK_SAYS(status.text, "nobody reads");
}

#define FILE_TEST(name)                                                                            \
    {                                                                                              \
#name, test_run, setup, teardown, &(test_case_t)                                           \
        {                                                                                          \
            name                                                                                   \
        }                                                                                          \
    }

// cmocka hands the test's initial state to setup and test alike.
int
main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(commits_become_the_file_under_its_name),
        FILE_TEST(no_record_at_all_is_an_empty_file),
        FILE_TEST(an_older_file_stays_until_the_new_one_is_whole),
        FILE_TEST(a_part_stays_with_its_state_and_the_same_job_goes_on),
        FILE_TEST(a_part_of_another_job_is_cut_to_nothing),
        FILE_TEST(a_state_that_cannot_be_believed_starts_from_nothing),
        FILE_TEST(pieces_out_of_turn_are_left_out),
        FILE_TEST(a_commit_that_is_not_whole_is_taken_back),
        FILE_TEST(a_full_disk_cuts_back_to_the_last_whole_commit),
        FILE_TEST(a_state_without_room_leaves_the_older_one),
        FILE_TEST(a_file_that_may_not_grow_is_broken_for_good),
        FILE_TEST(a_job_that_begins_again_begins_at_nothing),
        FILE_TEST(two_runs_do_not_write_one_file),
        FILE_TEST(what_cannot_be_written_is_said_before_any_work),
        FILE_TEST(no_permission_is_said_before_any_work),
        FILE_TEST(a_link_in_place_of_the_part_is_not_followed),
        FILE_TEST(a_device_is_written_as_a_stream),
        FILE_TEST(a_pipe_that_is_read_slowly_makes_nobody_wait),
        FILE_TEST(a_pipe_without_a_reader_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
