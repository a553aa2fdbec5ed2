// SPDX-License-Identifier: Apache-2.0
//
// background.c - `shoal start` and `shoal stop`: a head and workers that run on their own.
//
// Design: each background process has NAME.pid in the state directory, which says its process id,
// and NAME.log. The pid file is locked (flock) by a descriptor that the process inherits, so the
// lock lives exactly as long as the process does: a pid is believed only while its file is locked.

#include <dirent.h>
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
#include "client/summary.h"
#include "proto/record/cursor.h"

#define READY_MS  10000
#define STOP_MS   10000
#define POLL_MS   20
#define STATE_MAX (PATH_MAX - 128)
#define SLOTS_MAX 1024

typedef struct background {
    char state[STATE_MAX];
    char name[64]; // "head", "worker-1a2b"
    char pid_path[PATH_MAX];
    char log_path[PATH_MAX];
    const char *state_option; // " --state " where it was given, or ""
    int lock_fd;
    int log_fd;
    pid_t pid;
} background_t;

// mkdir -p with mode 0700.
static bool
make_directories(const char *path, shoal_status_t *status)
{
    char part[PATH_MAX];
    (void)snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) {
            return shoal_fail_errno(status, errno, "cannot make the directory %s", part);
        }
        *slash = '/';
    }
    return shoal_directory_make_private(path, status);
}

// --state, $XDG_STATE_HOME/shoal or ~/.local/state/shoal, as a whole path.
static bool
state_directory(const shoal_arguments_t *arguments, char path[STATE_MAX], shoal_status_t *status)
{
    const char *given = shoal_arguments_text(arguments, "state");
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char here[PATH_MAX] = "";
    int len;
    if (given && given[0] == '/') {
        len = snprintf(path, STATE_MAX, "%s", given);
    } else if (given && given[0] && getcwd(here, sizeof(here))) {
        len = snprintf(path, STATE_MAX, "%s/%s", here, given);
    } else if (!given && xdg && xdg[0] == '/') {
        len = snprintf(path, STATE_MAX, "%s/shoal", xdg);
    } else if (!given && home && home[0] == '/') {
        len = snprintf(path, STATE_MAX, "%s/.local/state/shoal", home);
    } else {
        return shoal_fail(status, SHOAL_INVALID, "where is the state to be kept? Give --state DIR");
    }
    if (len >= STATE_MAX) {
        return shoal_fail(status, SHOAL_INVALID, "the path of the state directory is too long");
    }
    return true;
}

// Opens the log and the locked pid file.
static bool
background_open(background_t *it, shoal_status_t *status)
{
    it->lock_fd = it->log_fd = -1;
    if (!make_directories(it->state, status)) {
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

static int
failed(const shoal_status_t *status)
{
    shoal_complain(status);
    return status->code == SHOAL_INVALID ? SHOAL_EXIT_USAGE : SHOAL_EXIT_FAILED;
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
    done = done && wait_ready(it, ready[0], endpoint, sizeof(endpoint), status);
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
        return failed(&status);
    }
    bool done =
        shoal_arguments_choice(arguments, "log-level", "debug|info|warn|error", &status) &&
        state_directory(arguments, it.state, &status) &&
        (is_head ? start_head(arguments, &it, &status) : start_worker(arguments, &it, &status));
    background_close(&it);
    return done ? SHOAL_EXIT_OK : failed(&status);
}

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

int
shoal_command_stop(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    char state[STATE_MAX];
    if (!state_directory(arguments, state, &status)) {
        return failed(&status);
    }
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
    if (ended == 0 && left == 0) {
        (void)printf("nothing is running that was started from %s\n", state);
    }
    return left > 0 ? SHOAL_EXIT_FAILED : SHOAL_EXIT_OK;
}
