// SPDX-License-Identifier: Apache-2.0
//
// stop.c - `shoal stop`: ends what `shoal start` has started, and says which jobs are not finished.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/statedir.h"
#include "client/summary.h"
#include "proto/record/cursor.h"

#define STOP_MS    40000 // workers may let calls run on for 30 s
#define POLL_MS    20
#define ASK_MS     2000 // a head that does not answer is ended without having been asked
#define JOBS_SHOWN 10

// Asks the process behind a pid file to end and waits until its lock is free. Gives how it went:
// 1 ended, 0 there was none, -1 it is still there.
static int
stop_one(const char *path, uint64_t deadline_ms)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return 0;
    }
    char text[32] = "";
    (void)!read(fd, text, sizeof(text) - 1);
    long pid = strtol(text, NULL, 10);
    int result = 0;
    bool is_asked = false;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0 && pid > 1) {
        result = 1;
        if (!is_asked && kill((pid_t)pid, SIGTERM) != 0) {
            result = -1;
            break;
        }
        is_asked = true;
        if (shoal_clock_ms() >= deadline_ms) {
            result = -1;
            break;
        }
        (void)poll(NULL, 0, POLL_MS);
    }
    if (result >= 0) {
        (void)unlink(path);
    }
    (void)close(fd);
    return result;
}

// Workers before the head: they say goodbye to it.
static int
order_names(const struct dirent **a, const struct dirent **b)
{
    bool a_is_head = strcmp((*a)->d_name, "head.pid") == 0;
    bool b_is_head = strcmp((*b)->d_name, "head.pid") == 0;
    return a_is_head != b_is_head ? (int)a_is_head - (int)b_is_head
                                  : strcmp((*a)->d_name, (*b)->d_name);
}

static int
is_pid_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && strcmp(entry->d_name + len - 4, ".pid") == 0;
}

// What is known of the head's jobs.
typedef struct unfinished {
    unsigned count;
    char numbers[128]; // "7, 8, ..."
} unfinished_t;

static void
count_unfinished(shoal_slice_t jobs, unfinished_t *unfinished)
{
    shoal_cursor_t cursor = shoal_cursor_over(jobs);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        shoal_slice_t job = shoal_cursor_value(&cursor);
        shoal_slice_t state;
        shoal_slice_t number;
        if (!shoal_map_find(job, "state", &state) || !shoal_map_find(job, "job", &number)) {
            continue;
        }
        shoal_cursor_t inner = shoal_cursor_over(state);
        shoal_slice_t name = shoal_cursor_str_or_nil(&inner);
        if (!shoal_slice_is(name, "PENDING") && !shoal_slice_is(name, "RUNNING")) {
            continue;
        }
        inner = shoal_cursor_over(number);
        if (unfinished->count < JOBS_SHOWN) {
            size_t len = strlen(unfinished->numbers);
            (void)snprintf(unfinished->numbers + len, sizeof(unfinished->numbers) - len, "%s%llu",
                           len > 0 ? ", " : "", (unsigned long long)shoal_cursor_uint(&inner));
        }
        unfinished->count++;
    }
}

// Asks the head of this state directory, if it runs.
static void
ask_head(const char *state, unfinished_t *unfinished)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/head.pid", state);
    char text[SHOAL_ENDPOINT_MAX + 32] = "";
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool is_running = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (is_running) {
        (void)!read(fd, text, sizeof(text) - 1);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    char *endpoint = strchr(text, '\n');
    if (!endpoint) {
        return;
    }
    endpoint++;
    endpoint[strcspn(endpoint, "\n")] = '\0';
    shoal_address_t address;
    shoal_status_t ignored = SHOAL_STATUS_INIT; // whatever it is, the head is to be ended
    shoal_session_t *session = NULL;
    shoal_buffer_t jobs = SHOAL_BUFFER_INIT;
    if (endpoint[0] && shoal_address_of(endpoint, state, &address, &ignored) &&
        shoal_head_dial(&address, &session, &ignored) &&
        shoal_session_ask(session, "jobs", NULL, ASK_MS, &jobs, &ignored)) {
        count_unfinished(shoal_buffer_slice(&jobs), unfinished);
    }
    shoal_session_destroy(&session);
    shoal_address_wipe(&address);
    shoal_buffer_fini(&jobs);
}

// The head's journal has them: they go on where they were.
static void
tell_jobs(const unfinished_t *unfinished, const char *state_option, const char *state)
{
    if (unfinished->count > 0) {
        (void)printf("%u job%s not finished (%s%s); to go on with %s: shoal start --head%s%s\n",
                     unfinished->count, unfinished->count == 1 ? " is" : "s are",
                     unfinished->numbers, unfinished->count > JOBS_SHOWN ? ", ..." : "",
                     unfinished->count == 1 ? "it" : "them", state_option,
                     state_option[0] ? state : "");
    }
}

int
shoal_command_stop(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    char state[SHOAL_STATE_PATH_MAX];
    unfinished_t unfinished = {0};
    if (!shoal_state_directory(shoal_arguments_text(arguments, "state"), state, &status)) {
        return shoal_command_failed(&status);
    }
    ask_head(state, &unfinished);
    struct dirent **names = NULL;
    int count = scandir(state, &names, is_pid_file, order_names);
    int ended = 0;
    int left = 0;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        (void)snprintf(path, sizeof(path), "%s/%s", state, names[i]->d_name);
        int len = (int)strlen(names[i]->d_name) - 4;
        int result = stop_one(path, shoal_clock_ms() + STOP_MS);
        if (result > 0) {
            (void)printf("%.*s: ended\n", len, names[i]->d_name);
            ended++;
        } else if (result < 0) {
            (void)fprintf(stderr, "shoal: %.*s is still running; its process id is in %s\n", len,
                          names[i]->d_name, path);
            left++;
        }
        free(names[i]);
    }
    free(names);
    if (left == 0) {
        tell_jobs(&unfinished, shoal_arguments_has(arguments, "state") ? " --state " : "", state);
    }
    if (ended == 0 && left == 0) {
        (void)printf("nothing is running that was started from %s\n", state);
    }
    return left > 0 ? SHOAL_EXIT_FAILED : SHOAL_EXIT_OK;
}
