// SPDX-License-Identifier: Apache-2.0
//
// test_supervisor.c - what worker/supervisor.h promises. Each supervisor is a process of its own;
// its workers tell what they see through a pipe.

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "tests/support/test.h"
#include "worker/supervisor.h"

#define DEADLINE_MS 20000

// What a worker process tells the test.
typedef struct told {
    shoal_birth_t birth;
    pid_t pid;
} told_t;

typedef struct stage {
    int tell[2];     // workers write told_t
    int lifeline[2]; // the test holds the writing end
    pid_t supervisor;
    shoal_supervisor_run_fn *run;
    uint64_t first_incarnation;
    char events[64]; // stands for the control group's memory.events
} stage_t;

static void
write_events(const stage_t *stage, unsigned kills)
{
    FILE *file = fopen(stage->events, "w");
    if (!file || fprintf(file, "oom 0\noom_kill %u\n", kills) < 0 || fclose(file) != 0) {
        _exit(97);
    }
}

static void
tell(const stage_t *stage, const shoal_birth_t *birth)
{
    told_t told = {.birth = *birth, .pid = getpid()};
    if (write(stage->tell[1], &told, sizeof(told)) != (ssize_t)sizeof(told)) {
        _exit(99);
    }
}

// The ways in which a worker may live.

static int
run_polite(void *ctx, const shoal_birth_t *birth)
{
    tell(ctx, birth);
    return 0;
}

static int
run_crash_twice(void *ctx, const shoal_birth_t *birth)
{
    tell(ctx, birth);
    if (birth->incarnation == 1) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)raise(SIGSEGV);
    }
    return birth->incarnation == 2 ? 7 : 0;
}

static int
run_words_then_kill(void *ctx, const shoal_birth_t *birth)
{
    tell(ctx, birth);
    if (birth->incarnation <= 42) {
        const char words[] = "opening it\nit is broken\n";
        (void)!write(STDERR_FILENO, words, sizeof(words) - 1);
        write_events(ctx, birth->incarnation == 41 ? 1 : 2);
        (void)raise(SIGKILL);
    }
    return 0;
}

static int
run_until_sigterm(void *ctx, const shoal_birth_t *birth)
{
    sigset_t set;
    int number = 0;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    tell(ctx, birth);
    (void)sigwait(&set, &number); // blocked by the supervisor before it forked
    return 0;
}

static int
run_for_ever(void *ctx, const shoal_birth_t *birth)
{
    tell(ctx, birth);
    do {
        (void)poll(NULL, 0, 1000); // SIGTERM is blocked
    } while (birth->incarnation > 0);
    return 1;
}

static void
start(stage_t *stage, shoal_supervisor_run_fn *run)
{
    stage->first_incarnation = run == run_words_then_kill ? 41 : 0;
    (void)snprintf(stage->events, sizeof(stage->events), "/tmp/shoal-events-%d", (int)getpid());
    write_events(stage, 1);
    CHECK(pipe(stage->tell) == 0 && pipe(stage->lifeline) == 0);
    stage->run = run;
    (void)fflush(NULL);
    stage->supervisor = fork();
    CHECK(stage->supervisor >= 0);
    if (stage->supervisor == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(stage->lifeline[1]);
        shoal_supervisor_config_t config = {.run = run,
                                            .ctx = stage,
                                            .lifeline_fd = stage->lifeline[0],
                                            .first_incarnation = stage->first_incarnation,
                                            .memory_events = stage->events};
        shoal_status_t status = SHOAL_STATUS_INIT;
        int exit_status = 99;
        bool done = shoal_supervisor_run(&config, &exit_status, &status);
        exit(done ? exit_status : 98);
    }
    (void)close(stage->tell[1]);
    (void)close(stage->lifeline[0]);
}

static told_t
next_told(const stage_t *stage)
{
    told_t told = {.pid = 0};
    struct pollfd item = {stage->tell[0], POLLIN, 0};
    CHECK(poll(&item, 1, DEADLINE_MS) == 1);
    CHECK(read(stage->tell[0], &told, sizeof(told)) == (ssize_t)sizeof(told));
    return told;
}

// The supervisor ends with that status, and nobody is left of it: the pipe that every one of its
// processes holds is closed.
static void
expect_end(stage_t *stage, int exit_status)
{
    int wait_status = 0;
    char byte;
    CHECK(waitpid(stage->supervisor, &wait_status, 0) == stage->supervisor);
    CHECK(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == exit_status);
    struct pollfd item = {stage->tell[0], POLLIN, 0};
    CHECK(poll(&item, 1, DEADLINE_MS) == 1);
    CHECK(read(stage->tell[0], &byte, 1) == 0);
    (void)close(stage->tell[0]);
    (void)unlink(stage->events);
    if (stage->lifeline[1] >= 0) {
        (void)close(stage->lifeline[1]);
    }
}

static void
a_worker_that_ends_politely_ends_its_supervisor(void)
{
    stage_t stage;
    start(&stage, run_polite);
    told_t told = next_told(&stage);
    CHECK(told.birth.incarnation == 1 && told.birth.last_exit.pid == 0);
    CHECK(told.birth.supervisor == stage.supervisor && told.pid != stage.supervisor);
    expect_end(&stage, 0);
}

//
static void
a_worker_that_dies_is_started_again_and_told_how_the_last_one_ended(void)
{
    stage_t stage;
    start(&stage, run_crash_twice);
    told_t first = next_told(&stage);
    told_t second = next_told(&stage);
    CHECK(second.birth.incarnation == 2);
    CHECK(second.birth.last_exit.pid == first.pid && second.birth.last_exit.incarnation == 1);
    CHECK(second.birth.last_exit.signal == SIGSEGV);
    told_t third = next_told(&stage);
    CHECK(third.birth.incarnation == 3);
    CHECK(third.birth.last_exit.pid == second.pid && third.birth.last_exit.incarnation == 2);
    CHECK(third.birth.last_exit.signal == 0 && third.birth.last_exit.status == 7);
    expect_end(&stage, 0);
}

static void
a_kill_is_told_with_the_last_words_and_whether_the_kernel_did_it(void)
{
    stage_t stage;
    start(&stage, run_words_then_kill);
    (void)next_told(&stage);
    told_t second = next_told(&stage);
    CHECK(second.birth.incarnation == 42 && second.birth.last_exit.incarnation == 41);
    CHECK(second.birth.last_exit.signal == SIGKILL && !second.birth.last_exit.is_oom);
    CHECK(second.birth.last_exit.restarts == 1);
    CHECK(strcmp(second.birth.last_exit.words, "opening it | it is broken") == 0);
    told_t third = next_told(&stage);
    CHECK(third.birth.last_exit.is_oom && third.birth.last_exit.restarts == 2);
    expect_end(&stage, 0);
}

static void
the_report_holds_what_is_known_and_nothing_else(void)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_slice_t value = SHOAL_SLICE_NONE;
    shoal_exit_t last = {.pid = 0};
    shoal_exit_write(&last, &out);
    CHECK(out.len == 0);
    last = (shoal_exit_t){.pid = 7, .incarnation = 3, .signal = SIGKILL, .is_oom = true};
    (void)snprintf(last.words, sizeof(last.words), "help");
    shoal_exit_write(&last, &out);
    shoal_slice_t map = shoal_buffer_slice(&out);
    CHECK(shoal_cursor_check(map, 4));
    CHECK(shoal_map_find(map, "oom", &value) && shoal_slice_equal(value, SHOAL_SLICE("\xc3")));
    CHECK(shoal_map_find(map, "words", &value));
    CHECK(shoal_slice_equal(value, SHOAL_SLICE("\xa4help")));
    CHECK(!shoal_map_find(map, "status", &value) && !shoal_map_find(map, "reason", &value));
    shoal_buffer_clear(&out);
    last = (shoal_exit_t){.pid = 7, .status = SHOAL_EXIT_HUNG};
    shoal_exit_write(&last, &out);
    map = shoal_buffer_slice(&out);
    CHECK(shoal_cursor_check(map, 4) && shoal_map_find(map, "reason", &value));
    CHECK(!shoal_map_find(map, "oom", &value) && !shoal_map_find(map, "words", &value));
    shoal_buffer_fini(&out);
}

static void
restarts_come_at_once_and_then_with_growing_delays(void)
{
    CHECK(shoal_supervisor_delay_ms(1) == 0);
    CHECK(shoal_supervisor_delay_ms(2) == SHOAL_RESTART_MS_MIN);
    CHECK(shoal_supervisor_delay_ms(3) == 2 * SHOAL_RESTART_MS_MIN);
    CHECK(shoal_supervisor_delay_ms(8) == SHOAL_RESTART_MS_MAX);
    CHECK(shoal_supervisor_delay_ms(1000000) == SHOAL_RESTART_MS_MAX);
}

static void
a_signal_is_passed_on_and_the_worker_may_finish(void)
{
    stage_t stage;
    start(&stage, run_until_sigterm);
    (void)next_told(&stage);
    CHECK(kill(stage.supervisor, SIGINT) == 0);
    expect_end(&stage, 0);
}

static void
a_second_signal_kills(void)
{
    stage_t stage;
    start(&stage, run_for_ever);
    told_t told = next_told(&stage);
    CHECK(kill(stage.supervisor, SIGTERM) == 0);
    // The first one is passed on when it is pending at the worker.
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    char path[64];
    char text[4096];
    bool is_pending = false;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)told.pid);
    while (!is_pending) {
        CHECK(shoal_clock_ms() < deadline_ms);
        FILE *file = fopen(path, "r");
        CHECK(file != NULL);
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        (void)fclose(file);
        const char *pending = strstr(text, "ShdPnd:");
        CHECK(pending != NULL);
        is_pending = strtoull(pending + 7, NULL, 16) & (1ULL << (SIGTERM - 1));
    }
    CHECK(kill(stage.supervisor, SIGTERM) == 0);
    expect_end(&stage, 128 + SIGTERM);
}

static void
the_end_of_the_lifeline_ends_both(void)
{
    stage_t stage;
    start(&stage, run_for_ever);
    (void)next_told(&stage);
    (void)close(stage.lifeline[1]);
    stage.lifeline[1] = -1;
    expect_end(&stage, 0);
}

static void
a_worker_dies_with_its_supervisor(void)
{
    stage_t stage;
    int wait_status = 0;
    char byte;
    start(&stage, run_for_ever);
    (void)next_told(&stage);
    CHECK(kill(stage.supervisor, SIGKILL) == 0);
    CHECK(waitpid(stage.supervisor, &wait_status, 0) == stage.supervisor);
    struct pollfd item = {stage.tell[0], POLLIN, 0};
    CHECK(poll(&item, 1, DEADLINE_MS) == 1);
    CHECK(read(stage.tell[0], &byte, 1) == 0);
    (void)close(stage.tell[0]);
    (void)close(stage.lifeline[1]);
    (void)unlink(stage.events);
}

TEST_MAIN(TEST(a_worker_that_ends_politely_ends_its_supervisor),
          TEST(a_worker_that_dies_is_started_again_and_told_how_the_last_one_ended),
          TEST(a_kill_is_told_with_the_last_words_and_whether_the_kernel_did_it),
          TEST(the_report_holds_what_is_known_and_nothing_else),
          TEST(restarts_come_at_once_and_then_with_growing_delays),
          TEST(a_signal_is_passed_on_and_the_worker_may_finish), TEST(a_second_signal_kills),
          TEST(the_end_of_the_lifeline_ends_both), TEST(a_worker_dies_with_its_supervisor))
