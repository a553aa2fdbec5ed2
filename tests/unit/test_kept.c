// SPDX-License-Identifier: Apache-2.0
//
// test_kept.c - what client/kept.h promises.

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/kept.h"
#include "client/rundir.h"
#include "tests/support/test.h"

#define NOW 1800000000

static char base[128]; // of the test that runs
static char root[64];

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/shoal-kept-XXXXXX");
    if (!mkdtemp(root)) {
        return -1;
    }
    (void)snprintf(base, sizeof(base), "%s/state/runs", root);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    shoal_directory_remove(root);
    return 0;
}

static shoal_kept_facts_t
facts_of(const char *workflow, uint64_t created)
{
    return (shoal_kept_facts_t){.workflow = workflow,
                                .digest = "d1",
                                .set_digest = "d2",
                                .set_keys = "sink.type",
                                .output = "/tmp/a \"b\".jsonl",
                                .job_id = "0123",
                                .created = created};
}

static shoal_kept_t *
kept_new(const char *workflow, uint64_t created)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_kept_t *kept = NULL;
    shoal_kept_facts_t facts = facts_of(workflow, created);
    CHECK_OK(shoal_kept_new(base, &facts, &kept, &status), status);
    return kept;
}

static shoal_kept_t *
find(const char *workflow)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_kept_t *kept = NULL;
    CHECK_OK(shoal_kept_find(base, workflow, &kept, &status), status);
    return kept;
}

static size_t
folders(void)
{
    size_t count = 0;
    DIR *directory = opendir(base);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    if (directory) {
        (void)closedir(directory);
    }
    return count;
}

static void
an_interrupted_run_is_found_with_its_facts(void)
{
    CHECK(find("/w/flow.yaml") == NULL); // not even a folder
    shoal_kept_t *kept = kept_new("/w/flow.yaml", 17);
    shoal_kept_close(&kept);
    CHECK(kept == NULL);
    CHECK(find("/w/other.yaml") == NULL);
    kept = find("/w/flow.yaml");
    CHECK(kept);
    const shoal_kept_facts_t *facts = shoal_kept_facts(kept);
    assert_string_equal(facts->digest, "d1");
    assert_string_equal(facts->set_digest, "d2");
    assert_string_equal(facts->set_keys, "sink.type");
    assert_string_equal(facts->output, "/tmp/a \"b\".jsonl");
    assert_string_equal(facts->job_id, "0123");
    CHECK(facts->created == 17);
    struct stat info;
    CHECK(stat(shoal_kept_head(kept), &info) == 0 && (info.st_mode & 0777U) == 0700);
    char file[PATH_MAX];
    (void)snprintf(file, sizeof(file), "%s/journal", shoal_kept_head(kept));
    CHECK(shoal_kept_is_empty(kept));
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0 && close(fd) == 0 && !shoal_kept_is_empty(kept));
    shoal_kept_remove(&kept);
    CHECK(find("/w/flow.yaml") == NULL && folders() == 0);
}

static void
the_newest_of_a_workflow_is_taken(void)
{
    static const uint64_t times[] = {20, 40, 30};
    for (size_t i = 0; i < 3; i++) {
        shoal_kept_t *kept = kept_new("/w/flow.yaml", times[i]);
        shoal_kept_close(&kept);
    }
    shoal_kept_t *kept = find("/w/flow.yaml");
    CHECK(kept && shoal_kept_facts(kept)->created == 40);
    shoal_kept_close(&kept);
}

static void
a_run_that_goes_on_is_refused_and_swept_by_nobody(void)
{
    shoal_kept_t *running = kept_new("/w/flow.yaml", 1);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_kept_t *kept = NULL;
    char pid[32];
    CHECK_FAILS(shoal_kept_find(base, "/w/flow.yaml", &kept, &status), status, SHOAL_EXISTS);
    (void)snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    CHECK_SAYS(status.text, pid);
    CHECK(shoal_kept_sweep(base, "/w/flow.yaml", NOW) == 0 && folders() == 1);
    shoal_kept_remove(&running);
}

static void
the_head_of_a_killed_command_is_waited_for(void)
{
    shoal_kept_t *kept = kept_new("/w/flow.yaml", 1);
    int of_head = dup(shoal_kept_lock_fd(kept)); // as the head inherits it
    shoal_kept_close(&kept);
    CHECK(shoal_kept_sweep(base, "/w/flow.yaml", NOW) == 0); // it is not idle yet
    kept = find("/w/flow.yaml");
    CHECK(kept && shoal_kept_lock_fd(kept) < 0);
    (void)close(of_head);
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_kept_wait(kept, &status), status);
    CHECK(shoal_kept_lock_fd(kept) >= 0);
    shoal_kept_remove(&kept);
}

static void
old_ones_and_those_that_are_too_many_are_swept(void)
{
    shoal_kept_t *kept = kept_new("/w/old.yaml", NOW - SHOAL_KEPT_DAYS_MAX * 86400 - 1);
    shoal_kept_close(&kept);
    for (unsigned i = 0; i < SHOAL_KEPT_RUNS_MAX + 2; i++) {
        char workflow[32];
        (void)snprintf(workflow, sizeof(workflow), "/w/%u.yaml", i);
        kept = kept_new(workflow, NOW - 1000 + i);
        shoal_kept_close(&kept);
    }
    CHECK(shoal_kept_sweep(base, NULL, NOW) == 3);
    CHECK(folders() == SHOAL_KEPT_RUNS_MAX);
    CHECK(find("/w/0.yaml") == NULL && find("/w/1.yaml") == NULL);
    kept = find("/w/2.yaml");
    CHECK(kept);
    shoal_kept_close(&kept);
    CHECK(shoal_kept_sweep(base, "/w/2.yaml", NOW) == 1 && find("/w/2.yaml") == NULL);
}

static void
a_damaged_folder_stops_nobody_and_is_swept_once_it_is_old(void)
{
    shoal_kept_t *kept = kept_new("/w/flow.yaml", 5);
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/../run.json", shoal_kept_head(kept));
    shoal_kept_close(&kept);
    int fd = open(path, O_WRONLY | O_TRUNC);
    CHECK(fd >= 0 && write(fd, "{", 1) == 1 && close(fd) == 0);
    CHECK(find("/w/flow.yaml") == NULL);
    CHECK(shoal_kept_sweep(base, "/w/flow.yaml", (uint64_t)time(NULL)) == 0);
    CHECK(shoal_kept_sweep(base, NULL, (uint64_t)time(NULL) + 8 * 86400) == 1);
    CHECK(folders() == 0);
}

static void
what_an_interrupted_removal_has_left_is_no_run_and_is_swept(void)
{
    shoal_kept_t *kept = kept_new("/w/flow.yaml", (uint64_t)time(NULL));
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/../run.json", shoal_kept_head(kept));
    CHECK(unlink(path) == 0);
    CHECK(shoal_kept_sweep(base, NULL, (uint64_t)time(NULL)) == 0); // it goes on
    shoal_kept_close(&kept);
    CHECK(find("/w/flow.yaml") == NULL);
    CHECK(shoal_kept_sweep(base, NULL, (uint64_t)time(NULL)) == 1 && folders() == 0);
}

static void
what_cannot_be_kept_is_refused(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_kept_t *kept = NULL;
    shoal_kept_facts_t facts = facts_of("/w/\xff.yaml", 1);
    CHECK_FAILS(shoal_kept_new(base, &facts, &kept, &status), status, SHOAL_INVALID);
    CHECK(folders() == 0);
    facts = facts_of("/w/flow.yaml", 1);
    CHECK(chmod(base, 0755) == 0);
    CHECK_FAILS(shoal_kept_new(base, &facts, &kept, &status), status, SHOAL_DENIED);
}

// clang-format off
#define KEPT_TEST(name) {#name, test_run, setup, teardown, &(test_case_t){name}}
// clang-format on

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KEPT_TEST(an_interrupted_run_is_found_with_its_facts),
        KEPT_TEST(the_newest_of_a_workflow_is_taken),
        KEPT_TEST(a_run_that_goes_on_is_refused_and_swept_by_nobody),
        KEPT_TEST(the_head_of_a_killed_command_is_waited_for),
        KEPT_TEST(old_ones_and_those_that_are_too_many_are_swept),
        KEPT_TEST(a_damaged_folder_stops_nobody_and_is_swept_once_it_is_old),
        KEPT_TEST(what_an_interrupted_removal_has_left_is_no_run_and_is_swept),
        KEPT_TEST(what_cannot_be_kept_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
