// SPDX-License-Identifier: Apache-2.0
//
// test_local.c - what client/rundir.h, child.h and local.h promise. The head and the worker are
// shell scripts that the test writes beside itself, where shoal looks for its programs.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/child.h"
#include "client/local.h"
#include "client/rundir.h"
#include "proto/base/clock.h"
#include "tests/support/test.h"

static char runtime[64]; // stands for XDG_RUNTIME_DIR
static char beside[PATH_MAX];

#define HEAD_GOOD                                                                                  \
    "echo head $$ >> $XDG_RUNTIME_DIR/pids; echo head is here >&2; echo $2 >&4; exec 4>&-; "       \
    "read end <&3"
#define WORKER_GOOD                                                                                \
    "echo worker $$ >> $XDG_RUNTIME_DIR/pids; env >> $XDG_RUNTIME_DIR/env; "                       \
    "read end <&3"

static void
write_program(const char *name, const char *script)
{
    char path[PATH_MAX + 32];
    (void)snprintf(path, sizeof(path), "%s/%s", beside, name);
    (void)unlink(path);
    FILE *file = fopen(path, "w");
    CHECK(file && fprintf(file, "#!/bin/sh\n%s\n", script) > 0 && fclose(file) == 0);
    CHECK(chmod(path, 0700) == 0);
}

static int
setup(void **state)
{
    (void)state;
    ssize_t len = readlink("/proc/self/exe", beside, sizeof(beside) - 1);
    if (len <= 0) {
        return -1;
    }
    beside[len] = '\0';
    *strrchr(beside, '/') = '\0';
    (void)snprintf(runtime, sizeof(runtime), "/tmp/shoal-local-XXXXXX");
    if (!mkdtemp(runtime) || setenv("XDG_RUNTIME_DIR", runtime, 1) != 0) {
        return -1;
    }
    write_program("shoal-head", HEAD_GOOD);
    write_program("shoal-worker", WORKER_GOOD);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    char command[PATH_MAX * 2 + 64];
    (void)snprintf(command, sizeof(command), "rm -rf %s %s/shoal-head %s/shoal-worker", runtime,
                   beside, beside);
    return system(command);
}

// How many run directories there are.
static unsigned
run_directories(void)
{
    char base[128];
    unsigned count = 0;
    (void)snprintf(base, sizeof(base), "%s/shoal", runtime);
    DIR *directory = opendir(base);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;) {
        count += strncmp(entry->d_name, "run-", 4) == 0 || strncmp(entry->d_name, "new-", 4) == 0;
    }
    if (directory) {
        (void)closedir(directory);
    }
    return count;
}

static unsigned
lines_with(const char *name, const char *word)
{
    char path[128];
    char line[1024];
    unsigned count = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", runtime, name);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        count += strstr(line, word) != NULL;
    }
    if (file) {
        (void)fclose(file);
    }
    return count;
}

// The process id in the last line of `pids` that has `word`.
static pid_t
last_pid(const char *word)
{
    char path[128];
    char line[128];
    long pid = 0;
    (void)snprintf(path, sizeof(path), "%s/pids", runtime);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, word, strlen(word)) == 0) {
            pid = strtol(line + strlen(word), NULL, 10);
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return (pid_t)pid;
}

typedef struct heard {
    char lines[4096];
    int ready, restarts;
} heard_t;

static void
hear_line(void *ctx, const char *line)
{
    heard_t *heard = ctx;
    size_t used = strlen(heard->lines);
    (void)snprintf(heard->lines + used, sizeof(heard->lines) - used, "%s\n", line);
}

static void
hear_ready(void *ctx, bool is_restart)
{
    heard_t *heard = ctx;
    heard->ready++;
    heard->restarts += is_restart;
}

static shoal_local_t *
start(heard_t *heard, unsigned workers)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_local_t *local = NULL;
    const shoal_local_plan_t plan = {.workers = workers, .slots = 3, .log_level = "warn"};
    const shoal_local_listener_t listener = {heard, hear_line, hear_ready};
    CHECK_OK(shoal_local_start(&plan, &listener, &local, &status), status);
    return local;
}

// Turns until the condition holds; fails the test after ten seconds.
#define TURN_UNTIL(local, condition)                                                               \
    do {                                                                                           \
        uint64_t deadline_ms = shoal_clock_ms() + 10000;                                           \
        shoal_status_t turn_status = SHOAL_STATUS_INIT;                                            \
        while (!(condition)) {                                                                     \
            CHECK(shoal_clock_ms() < deadline_ms);                                                 \
            struct pollfd item = {.fd = shoal_local_fd(local), .events = POLLIN};                  \
            (void)poll(&item, 1, 10);                                                              \
            CHECK_OK(shoal_local_turn(local, &turn_status), turn_status);                          \
        }                                                                                          \
    } while (0)

static void
a_private_cluster_starts_and_leaves_nothing(void)
{
    heard_t heard = {0};
    CHECK(setenv("PGPASSWORD", "s3cret", 1) == 0);
    shoal_local_t *local = start(&heard, 2);
    CHECK_SAYS(shoal_local_endpoint(local), runtime);
    TURN_UNTIL(local, heard.ready == 1 && lines_with("pids", "worker") == 2 &&
                          lines_with("env", "PATH=") >= 2);
    TURN_UNTIL(local, strstr(heard.lines, "head is here"));
    CHECK(run_directories() == 1);
    CHECK(lines_with("env", "s3cret") == 0); // the environment is scrubbed
    CHECK(unsetenv("PGPASSWORD") == 0);
    pid_t head = last_pid("head");
    pid_t worker = last_pid("worker");
    CHECK(head > 1 && worker > 1);
    shoal_local_destroy(&local);
    CHECK(kill(head, 0) != 0 && errno == ESRCH);
    CHECK(kill(worker, 0) != 0 && errno == ESRCH);
    CHECK(run_directories() == 0);
}

static void
a_child_that_does_not_listen_is_killed(void)
{
    heard_t heard = {0};
    write_program("shoal-worker", "trap '' TERM; echo worker $$ >> $XDG_RUNTIME_DIR/pids; "
                                  "while :; do sleep 60; done");
    shoal_local_t *local = start(&heard, 1);
    TURN_UNTIL(local, heard.ready == 1 && lines_with("pids", "worker") == 1);
    pid_t worker = last_pid("worker");
    uint64_t before = shoal_clock_ms();
    shoal_local_destroy(&local);
    CHECK(shoal_clock_ms() - before < SHOAL_LOCAL_STOP_MS + 2000);
    CHECK(kill(worker, 0) != 0 && errno == ESRCH);
    CHECK(run_directories() == 0);
}

static void
a_child_with_much_to_say_at_its_end_is_heard(void)
{
    heard_t heard = {0};
    write_program("shoal-head",
                  "exec 1>&2; trap 'head -c 300000 /dev/zero; echo; echo farewell; exit 0' TERM; "
                  "echo $2 >&4; exec 4>&-; read end <&3");
    shoal_local_t *local = start(&heard, 1);
    TURN_UNTIL(local, heard.ready == 1);
    shoal_local_destroy(&local);
    CHECK_SAYS(heard.lines, "farewell");
}

static void
a_dead_worker_and_a_dead_head_start_again(void)
{
    heard_t heard = {0};
    shoal_local_t *local = start(&heard, 1);
    TURN_UNTIL(local, heard.ready == 1 && lines_with("pids", "worker") == 1);
    CHECK(kill(last_pid("worker"), SIGSEGV) == 0);
    TURN_UNTIL(local, lines_with("pids", "worker") == 2);
    CHECK_SAYS(heard.lines, "worker 1 was killed by signal 11 (Segmentation fault)");
    CHECK(kill(last_pid("head"), SIGKILL) == 0);
    TURN_UNTIL(local, heard.ready == 2);
    CHECK(heard.restarts == 1);
    CHECK_SAYS(heard.lines, "the head was killed by signal 9 (Killed)");
    shoal_local_destroy(&local);
    CHECK(run_directories() == 0);
}

// Turns until it fails.
static shoal_status_t
turn_to_the_end(shoal_local_t *local)
{
    uint64_t deadline = shoal_clock_ms() + 10000;
    shoal_status_t status = SHOAL_STATUS_INIT;
    while (shoal_local_turn(local, &status)) {
        CHECK(shoal_clock_ms() < deadline);
        struct pollfd item = {.fd = shoal_local_fd(local), .events = POLLIN};
        (void)poll(&item, 1, 10);
    }
    return status;
}

// Writes its arguments and keeps its descriptor 5.
#define HEAD_TELLING "echo \"$@\" >> $XDG_RUNTIME_DIR/args; "

static shoal_local_t *
start_kept(heard_t *heard, const char *state, int lock_fd, bool is_resumed)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_local_t *local = NULL;
    const shoal_local_plan_t plan = {.workers = 1,
                                     .slots = 1,
                                     .log_level = "warn",
                                     .state = state,
                                     .lock_fd = lock_fd,
                                     .is_resumed = is_resumed};
    const shoal_local_listener_t listener = {heard, hear_line, hear_ready};
    CHECK_OK(shoal_local_start(&plan, &listener, &local, &status), status);
    return local;
}

static void
a_head_with_a_folder_of_its_own_holds_its_lock_and_waits_for_its_workers(void)
{
    heard_t heard = {0};
    char state[128];
    char lock[128];
    (void)snprintf(state, sizeof(state), "%s/kept", runtime);
    (void)snprintf(lock, sizeof(lock), "%s/head.lock", runtime);
    write_program("shoal-head", HEAD_TELLING HEAD_GOOD);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    shoal_local_t *local = start_kept(&heard, state, fd, /*is_resumed=*/true);
    TURN_UNTIL(local, heard.ready == 1);
    char words[256];
    (void)snprintf(words, sizeof(words), "--state %s --", state);
    CHECK(lines_with("args", words) == 1 &&
          lines_with("args", "--journal on --grace-ms 5000 --workers-gone") == 1);
    CHECK(kill(last_pid("head"), SIGKILL) == 0);
    TURN_UNTIL(local, heard.ready == 2); // its workers are there this time
    CHECK(lines_with("args", words) == 2 && lines_with("args", "--workers-gone") == 1);

    (void)close(fd); // as our death does
    int other = open(lock, O_RDWR | O_CLOEXEC);
    CHECK(other >= 0 && flock(other, LOCK_EX | LOCK_NB) != 0); // the head has it still
    shoal_local_destroy(&local);
    CHECK(flock(other, LOCK_EX | LOCK_NB) == 0);
    (void)close(other);
    struct stat info;
    CHECK(stat(state, &info) == 0 && run_directories() == 0); // the folder is not the run's
}

static void
a_head_that_is_killed_before_it_listens_starts_again(void)
{
    heard_t heard = {0};
    write_program("shoal-head", HEAD_TELLING "n=$(wc -l < $XDG_RUNTIME_DIR/args); "
                                             "if [ $n = 1 ]; then kill -KILL $$; fi; " HEAD_GOOD);
    shoal_local_t *local = start(&heard, 1);
    TURN_UNTIL(local, heard.ready == 1);
    CHECK_SAYS(heard.lines, "the head was killed by signal 9 (Killed): it is started again\n");
    CHECK(lines_with("args", "/state --") == 2);
    shoal_local_destroy(&local);
    CHECK(run_directories() == 0);
}

static void
a_head_that_refuses_what_it_has_kept_begins_with_nothing(void)
{
    heard_t heard = {0};
    write_program("shoal-head",
                  HEAD_TELLING "n=$(wc -l < $XDG_RUNTIME_DIR/args); "
                               "if [ $n = 2 ]; then echo damaged >&2; exit 1; fi; " HEAD_GOOD);
    shoal_local_t *local = start(&heard, 1);
    TURN_UNTIL(local, heard.ready == 1);
    CHECK(kill(last_pid("head"), SIGKILL) == 0);
    TURN_UNTIL(local, heard.ready == 2);
    CHECK_SAYS(heard.lines, "damaged");
    CHECK_SAYS(heard.lines, "it is started again with nothing of its state");
    CHECK(lines_with("args", "/state --") == 2 && lines_with("args", "/state.new --") == 1);
    shoal_local_destroy(&local);
    CHECK(run_directories() == 0);
}

static void
a_head_that_cannot_start_is_told_with_its_last_words(void)
{
    heard_t heard = {0};
    write_program("shoal-head", "echo no such luck >&2; exit 7");
    shoal_local_t *local = start(&heard, 1);
    shoal_status_t status = turn_to_the_end(local);
    CHECK(status.code == SHOAL_UNAVAILABLE);
    CHECK_SAYS(status.text, "shoal-head ended with exit status 7");
    CHECK_SAYS(status.text, "status 7, 1 time;"); // another try would end in the same way
    CHECK_SAYS(status.text, "no such luck");
    CHECK(heard.ready == 0);
    shoal_local_destroy(&local);
    CHECK(run_directories() == 0);
}

static void
workers_that_die_again_and_again_are_given_up(void)
{
    heard_t heard = {0};
    write_program("shoal-worker", "echo worn out >&2; kill -ABRT $$");
    shoal_local_t *local = start(&heard, 2);
    shoal_status_t status = turn_to_the_end(local);
    CHECK(status.code == SHOAL_UNAVAILABLE);
    CHECK_SAYS(status.text, "shoal-worker was killed by signal 6");
    CHECK_SAYS(status.text, "worn out");
    shoal_local_destroy(&local);
}

static void
a_missing_program_is_told(void)
{
    char path[PATH_MAX + 32];
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_local_t *local = NULL;
    const shoal_local_plan_t plan = {.workers = 1, .slots = 1, .log_level = "warn"};
    const shoal_local_listener_t listener = {0};
    (void)snprintf(path, sizeof(path), "%s/shoal-worker", beside);
    CHECK(unlink(path) == 0);
    CHECK_FAILS(shoal_local_start(&plan, &listener, &local, &status), status, SHOAL_NOT_FOUND);
    CHECK_SAYS(status.text, "shoal-worker");
    CHECK(run_directories() == 0);
}

static void
children_see_our_end_even_by_sigkill_and_the_next_run_sweeps(void)
{
    pid_t parent = fork();
    if (parent == 0) { // a command line that is killed
        heard_t heard = {0};
        shoal_local_t *local = start(&heard, 1);
        TURN_UNTIL(local, heard.ready == 1 && lines_with("pids", "worker") == 1);
        (void)kill(getpid(), SIGKILL);
    }
    CHECK(parent > 0 && waitpid(parent, NULL, 0) == parent);
    CHECK(run_directories() == 1);
    pid_t head = last_pid("head");
    uint64_t deadline = shoal_clock_ms() + 10000;
    while (kill(head, 0) == 0) { // not our child: nothing tells of its end
        CHECK(shoal_clock_ms() < deadline);
        char stat[64];
        char text[256] = "";
        (void)snprintf(stat, sizeof(stat), "/proc/%ld/stat", (long)head);
        FILE *file = fopen(stat, "r");
        if (file) {
            (void)!fread(text, 1, sizeof(text) - 1, file);
            (void)fclose(file);
        }
        if (strstr(text, ") Z ")) {
            break; // ended; whoever adopted it has not looked yet
        }
        (void)poll(NULL, 0, 5);
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_rundir_t *rundir = NULL;
    CHECK_OK(shoal_rundir_new(&rundir, &status), status);
    CHECK(run_directories() == 1); // only the new one
    shoal_rundir_destroy(&rundir);
    CHECK(run_directories() == 0);
}

static void
a_sweep_leaves_directories_that_are_in_use(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_rundir_t *a = NULL;
    shoal_rundir_t *b = NULL;
    CHECK_OK(shoal_rundir_new(&a, &status), status);
    CHECK_OK(shoal_rundir_new(&b, &status), status);
    CHECK(run_directories() == 2);
    struct stat info;
    CHECK(stat(shoal_rundir_path(a), &info) == 0 && (info.st_mode & 0777) == 0700);
    CHECK_SAYS(shoal_rundir_endpoint(a), "ipc://");
    shoal_rundir_destroy(&a);
    CHECK(run_directories() == 1);
    shoal_rundir_destroy(&b);
}

static void
a_path_that_is_too_long_for_a_socket_falls_back_to_tmp(void)
{
    char deep[256];
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_rundir_t *rundir = NULL;
    (void)snprintf(deep, sizeof(deep), "%s/%090d", runtime, 1);
    CHECK(mkdir(deep, 0700) == 0 && setenv("XDG_RUNTIME_DIR", deep, 1) == 0);
    CHECK_OK(shoal_rundir_new(&rundir, &status), status);
    CHECK(strncmp(shoal_rundir_path(rundir), "/tmp/shoal-", 11) == 0);
    CHECK(strlen(shoal_rundir_endpoint(rundir)) - 6 <= SHOAL_SOCKET_PATH_MAX);
    shoal_rundir_destroy(&rundir);
    CHECK(setenv("XDG_RUNTIME_DIR", runtime, 1) == 0);
}

static void
a_directory_that_others_can_enter_is_refused(void)
{
    char path[128];
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)snprintf(path, sizeof(path), "%s/open", runtime);
    CHECK(mkdir(path, 0755) == 0 && chmod(path, 0755) == 0);
    CHECK_FAILS(shoal_directory_make_private(path, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "chmod 700");
    (void)snprintf(path, sizeof(path), "%s/link", runtime);
    CHECK(symlink("/tmp", path) == 0);
    CHECK_FAILS(shoal_directory_make_private(path, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "not a directory");
}

static void
slots_are_spread_over_workers(void)
{
    static const struct {
        unsigned slots, workers, expect_workers, expect_slots;
    } cases[] = {
        {1, 0, 1, 1}, {2, 0, 2, 1}, {5, 0, 2, 3}, {8, 4, 4, 2}, {1, 4, 1, 1}, {1000, 200, 64, 16},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        shoal_local_plan_t plan = {0};
        shoal_local_size(cases[i].slots, cases[i].workers, &plan);
        CHECK(plan.workers == cases[i].expect_workers && plan.slots == cases[i].expect_slots);
    }
    shoal_local_plan_t plan = {0};
    shoal_local_size(0, 0, &plan); // by the machine
    CHECK(plan.workers == 2 && plan.slots >= 1);
}

#define LOCAL_TEST(name)                                                                           \
    {                                                                                              \
#name, test_run, setup, teardown, &(test_case_t)                                           \
        {                                                                                          \
            name                                                                                   \
        }                                                                                          \
    }

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LOCAL_TEST(a_private_cluster_starts_and_leaves_nothing),
        LOCAL_TEST(a_child_that_does_not_listen_is_killed),
        LOCAL_TEST(a_child_with_much_to_say_at_its_end_is_heard),
        LOCAL_TEST(a_dead_worker_and_a_dead_head_start_again),
        LOCAL_TEST(a_head_with_a_folder_of_its_own_holds_its_lock_and_waits_for_its_workers),
        LOCAL_TEST(a_head_that_is_killed_before_it_listens_starts_again),
        LOCAL_TEST(a_head_that_refuses_what_it_has_kept_begins_with_nothing),
        LOCAL_TEST(a_head_that_cannot_start_is_told_with_its_last_words),
        LOCAL_TEST(workers_that_die_again_and_again_are_given_up),
        LOCAL_TEST(a_missing_program_is_told),
        LOCAL_TEST(children_see_our_end_even_by_sigkill_and_the_next_run_sweeps),
        LOCAL_TEST(a_sweep_leaves_directories_that_are_in_use),
        LOCAL_TEST(a_path_that_is_too_long_for_a_socket_falls_back_to_tmp),
        LOCAL_TEST(a_directory_that_others_can_enter_is_refused),
        LOCAL_TEST(slots_are_spread_over_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
