// SPDX-License-Identifier: Apache-2.0
//
// background.c - `shoal start`: a head and workers that run on their own; stop.c ends them.
//
// Design: each background process has NAME.pid in the state directory, which says its process id
// and, of a head, its endpoint, and NAME.log. The pid file is locked (flock) by a descriptor that the process inherits, so the
// lock lives exactly as long as the process does: a pid is believed only while its file is locked.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/child.h"
#include "client/commands.h"
#include "client/rundir.h"
#include "client/statedir.h"
#include "client/summary.h"
#include "proto/record/cursor.h"

#define READY_MS  10000
#define POLL_MS   20
#define SLOTS_MAX 1024

typedef struct background {
    char state[SHOAL_STATE_PATH_MAX];
    char name[64]; // "head", "worker-1a2b"
    char pid_path[PATH_MAX];
    char log_path[PATH_MAX];
    const char *state_option; // " --state " where it was given, or ""
    int lock_fd;
    int log_fd;
    pid_t pid;
} background_t;

// Opens the log and the locked pid file.
static bool
background_open(background_t *it, shoal_status_t *status)
{
    it->lock_fd = it->log_fd = -1;
    if (!shoal_directories_make(it->state, status)) {
        return false;
    }
    (void)snprintf(it->pid_path, sizeof(it->pid_path), "%s/%s.pid", it->state, it->name);
    (void)snprintf(it->log_path, sizeof(it->log_path), "%s/%s.log", it->state, it->name);
    it->lock_fd = open(it->pid_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (it->lock_fd < 0) {
        return shoal_fail_errno(status, errno, "cannot write %s", it->pid_path);
    }
    if (flock(it->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        char text[32] = "";
        (void)!read(it->lock_fd, text, sizeof(text) - 1);
        return shoal_fail(status, SHOAL_EXISTS,
                          "a %s of this state directory is running already (process %.*s); to end "
                          "it: shoal stop%s%s",
                          it->name, (int)strcspn(text, "\n"), text, it->state_option,
                          it->state_option[0] ? it->state : "");
    }
    it->log_fd = open(it->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (it->log_fd < 0) {
        return shoal_fail_errno(status, errno, "cannot write %s", it->log_path);
    }
    return true;
}

static bool
background_start(background_t *it, const char *program, const char *const *arguments, int ready_fd,
                 shoal_status_t *status)
{
    const shoal_child_plan_t plan = {
        .program = program,
        .arguments = arguments,
        .lifeline_fd = -1,
        .ready_fd = ready_fd,
        .lock_fd = it->lock_fd,
        .stdout_fd = it->log_fd,
        .stderr_fd = it->log_fd,
        .is_daemon = true,
    };
    if (!shoal_child_start(&plan, &it->pid, status)) {
        (void)unlink(it->pid_path);
        return false;
    }
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)it->pid);
    if (ftruncate(it->lock_fd, 0) != 0 || pwrite(it->lock_fd, text, (size_t)len, 0) != len) {
        int error = errno;
        (void)kill(it->pid, SIGTERM);
        return shoal_fail_errno(status, error, "cannot write %s", it->pid_path);
    }
    return true;
}

static void
background_close(background_t *it)
{
    if (it->lock_fd >= 0) {
        (void)close(it->lock_fd);
    }
    if (it->log_fd >= 0) {
        (void)close(it->log_fd);
    }
}

// The last line of the log, or "".
static void
last_words(const background_t *it, char *text, size_t size)
{
    char end[512];
    int fd = open(it->log_path, O_RDONLY | O_CLOEXEC);
    off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t from = len > (off_t)sizeof(end) ? len - (off_t)sizeof(end) : 0;
    ssize_t got = fd < 0 ? 0 : pread(fd, end, sizeof(end), from);
    if (fd >= 0) {
        (void)close(fd);
    }
    while (got > 0 && end[got - 1] == '\n') {
        got--;
    }
    ssize_t start = got;
    while (start > 0 && end[start - 1] != '\n') {
        start--;
    }
    (void)snprintf(text, size, "%.*s", (int)(got - start), end + start);
}

// True if the process has ended already; the status says how.
static bool
has_died(background_t *it, shoal_status_t *status)
{
    int wait_status = 0;
    if (waitpid(it->pid, &wait_status, WNOHANG) != it->pid) {
        return false;
    }
    char how[96];
    shoal_child_describe(wait_status, how, sizeof(how));
    (void)unlink(it->pid_path);
    char words[512];
    last_words(it, words, sizeof(words));
    (void)shoal_fail(status, SHOAL_UNAVAILABLE, "%s %s at its start: %s (log: %s)", it->name, how,
                     words, it->log_path);
    return true;
}

// `shoal stop` asks the head about its jobs before it ends it.
static bool
endpoint_note(const background_t *it, const char *endpoint, shoal_status_t *status)
{
    char text[SHOAL_ENDPOINT_MAX + 32];
    int len = snprintf(text, sizeof(text), "%ld\n%s\n", (long)it->pid, endpoint);
    return pwrite(it->lock_fd, text, (size_t)len, 0) == len ||
           shoal_fail_errno(status, errno, "cannot write %s", it->pid_path);
}

// Waits for the line with the endpoint.
static bool
wait_ready(background_t *it, int fd, char *endpoint, size_t size, shoal_status_t *status)
{
    uint64_t deadline = shoal_clock_ms() + READY_MS;
    size_t len = 0;
    for (;;) {
        uint64_t now = shoal_clock_ms();
        struct pollfd item = {.fd = fd, .events = POLLIN};
        if (now >= deadline) {
            return shoal_fail(status, SHOAL_TIMEOUT, "the head is not ready after %d s; see %s",
                              READY_MS / 1000, it->log_path);
        }
        if (poll(&item, 1, (int)(deadline - now)) <= 0) {
            continue;
        }
        ssize_t got = read(fd, endpoint + len, size - 1 - len);
        len += got > 0 ? (size_t)got : 0;
        endpoint[len] = '\0';
        char *end = strchr(endpoint, '\n');
        if (end) {
            *end = '\0';
            return true;
        }
        if (got <= 0 || len == size - 1) {
            (void)waitid(P_PID, (id_t)it->pid, NULL, WEXITED | WNOWAIT);
            return !has_died(it, status) &&
                   shoal_fail(status, SHOAL_UNAVAILABLE, "the head did not start; see %s",
                              it->log_path);
        }
    }
}

static bool
start_head(const shoal_arguments_t *arguments, background_t *it, shoal_status_t *status)
{
    char endpoint[SHOAL_ENDPOINT_MAX];
    const char *given = shoal_arguments_text(arguments, "listen");
    if (given && strncmp(given, "tcp://", 6) == 0) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot listen at %.200s: TCP needs keys, which come with the next "
                          "version; use ipc:///PATH",
                          given);
    }
    if (!given && !shoal_endpoint_default(endpoint, status)) {
        return false;
    }
    (void)snprintf(it->name, sizeof(it->name), "head");
    if (!background_open(it, status)) {
        return false;
    }
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) {
        return shoal_fail_errno(status, errno, "cannot make a pipe");
    }
    const char *level = shoal_arguments_text(arguments, "log-level");
    char spool[PATH_MAX];
    (void)snprintf(spool, sizeof(spool), "%s/head", it->state);
    const char *const words[] = {
        "--listen",    given ? given : endpoint, "--state", spool, "--ready-fd", "4",
        "--log-level", level ? level : "info",   NULL};
    bool done = shoal_directory_make_private(spool, status) &&
                background_start(it, "shoal-head", words, ready[1], status);
    (void)close(ready[1]);
    done = done && wait_ready(it, ready[0], endpoint, sizeof(endpoint), status) &&
           endpoint_note(it, endpoint, status);
    (void)close(ready[0]);
    if (done) {
        bool is_default = !given;
        (void)printf("head: process %ld listens at %s\n  log    %s\n  worker shoal start --address "
                     "%s\n  job    shoal ingest -c FILE --head %s\n  look   shoal status%s%s\n"
                     "  end    shoal stop%s%s\n",
                     (long)it->pid, endpoint, it->log_path, endpoint, endpoint,
                     is_default ? "" : " --head ", is_default ? "" : endpoint, it->state_option,
                     it->state_option[0] ? it->state : "");
    }
    return done;
}

// Looks for a worker of that name among the head's.
static bool
is_registered(shoal_session_t *session, const char *name, shoal_status_t *status)
{
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    bool is_there = false;
    if (shoal_session_ask(session, "workers", NULL, SHOAL_ASK_MS, &body, status)) {
        shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&body));
        uint32_t count = shoal_cursor_array(&cursor);
        for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
            shoal_slice_t value;
            if (shoal_map_find(shoal_cursor_value(&cursor), "name", &value)) {
                shoal_cursor_t inner = shoal_cursor_over(value);
                is_there = is_there || shoal_slice_is(shoal_cursor_str_or_nil(&inner), name);
            }
        }
    }
    shoal_buffer_fini(&body);
    return is_there;
}

static bool
wait_registered(background_t *it, shoal_session_t *session, const char *name,
                shoal_status_t *status)
{
    uint64_t deadline = shoal_clock_ms() + READY_MS;
    bool is_there = false;
    while (!is_there && !has_died(it, status)) {
        if (shoal_clock_ms() >= deadline) {
            (void)shoal_fail(status, SHOAL_TIMEOUT,
                             "the worker is running, but the head does not know it after %d s; "
                             "see %s",
                             READY_MS / 1000, it->log_path);
            break;
        }
        shoal_status_clear(status);
        is_there = is_registered(session, name, status);
        if (!is_there) {
            (void)poll(NULL, 0, POLL_MS);
        }
    }
    return is_there;
}

static bool
start_worker(const shoal_arguments_t *arguments, background_t *it, shoal_status_t *status)
{
    const char *address = shoal_arguments_text(arguments, "address");
    const char *level = shoal_arguments_text(arguments, "log-level");
    char host[64] = "";
    char id[SHOAL_RANDOM_ID_SIZE];
    char name[128];
    char slots[16];
    uint64_t slot_count = 0;
    if (strncmp(address, "tcp://", 6) == 0) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot connect to %.200s: TCP needs keys, which come with the next "
                          "version; use ipc:///PATH",
                          address);
    }
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (!shoal_arguments_count(arguments, "slots", 1, SLOTS_MAX, cpus > 0 ? (uint64_t)cpus : 1,
                               &slot_count, status)) {
        return false;
    }
    shoal_random_id(id);
    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(it->name, sizeof(it->name), "worker-%.8s", id);
    (void)snprintf(name, sizeof(name), "%s %s", host, it->name);
    (void)snprintf(slots, sizeof(slots), "%llu", (unsigned long long)slot_count);
    const char *const words[] = {"--connect", address, "--slots",     slots,
                                 "--name",    name,    "--log-level", level ? level : "info",
                                 NULL};
    shoal_session_t *session = NULL; // first, so that no worker is left without a head
    bool done = shoal_head_dial(address, &session, status) &&
                shoal_session_wait(session, SHOAL_ASK_MS, status) && background_open(it, status) &&
                background_start(it, "shoal-worker", words, -1, status) &&
                wait_registered(it, session, name, status);
    shoal_session_destroy(&session);
    if (done) {
        (void)printf("worker: process %ld with %s slot%s serves %s\n  log    %s\n  end    shoal "
                     "stop%s%s\n",
                     (long)it->pid, slots, slot_count == 1 ? "" : "s", address, it->log_path,
                     it->state_option, it->state_option[0] ? it->state : "");
    }
    return done;
}

int
shoal_command_start(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    bool is_head = shoal_arguments_has(arguments, "head");
    bool is_worker = shoal_arguments_has(arguments, "address");
    background_t it = {
        .lock_fd = -1,
        .log_fd = -1,
        .state_option = shoal_arguments_has(arguments, "state") ? " --state " : "",
    };
    if (is_head == is_worker) {
        (void)shoal_fail(&status, SHOAL_INVALID,
                         "what is to be started? Give --head, or --address ENDPOINT for a worker");
        return shoal_command_failed(&status);
    }
    bool done =
        shoal_arguments_choice(arguments, "log-level", "debug|info|warn|error", &status) &&
        shoal_state_directory(shoal_arguments_text(arguments, "state"), it.state, &status) &&
        (is_head ? start_head(arguments, &it, &status) : start_worker(arguments, &it, &status));
    background_close(&it);
    return done ? SHOAL_EXIT_OK : shoal_command_failed(&status);
}
