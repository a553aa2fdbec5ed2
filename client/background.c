// SPDX-License-Identifier: Apache-2.0
//
// background.c - `shoal start`: a head and workers that run on their own; stop.c ends them.
//
// Design: each background process has NAME.pid in the state directory, which says its process id
// and, of a head, its endpoint, and NAME.log. The pid file is locked (flock) by a descriptor that the process inherits, so the
// lock lives exactly as long as the process does: a pid is believed only while its file is locked.

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/child.h"
#include "client/commands.h"
#include "client/keyring.h"
#include "client/rundir.h"
#include "client/statedir.h"
#include "client/summary.h"
#include "proto/base/private.h"
#include "proto/record/cursor.h"
#include "proto/wire/endpoint.h"

#define READY_MS    10000
#define POLL_MS     20
#define DRAIN_S     30
#define DRAIN_S_MAX 86400
#define SLOTS_MAX   1024
#define LOCK_TRIES  50 // 10 ms apart

typedef struct background {
    char state[SHOAL_STATE_PATH_MAX];
    char name[64]; // "head", "worker-1a2b"
    char pid_path[PATH_MAX];
    char log_path[PATH_MAX];
    const char *state_option; // " --state " where it was given, or ""
    int lock_fd;
    int log_fd;
    int stdin_fd; // what the process reads; 0: nothing
    pid_t pid;
} background_t;

// Locks the pid file. A process that was just killed holds it until the system has taken it down.
static bool
pid_lock(int fd)
{
    const struct timespec pause = {0, 10000000}; // 10 ms
    for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited++) {
        if (waited == LOCK_TRIES) {
            return false;
        }
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

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
    if (!pid_lock(it->lock_fd)) {
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
        .stdin_fd = it->stdin_fd,
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

// Waits for a line that the process writes when it is ready.
static bool
wait_ready(background_t *it, int fd, char *line, size_t size, shoal_status_t *status)
{
    uint64_t deadline = shoal_clock_ms() + READY_MS;
    size_t len = 0;
    for (;;) {
        uint64_t now = shoal_clock_ms();
        struct pollfd item = {.fd = fd, .events = POLLIN};
        if (now >= deadline) {
            return shoal_fail(status, SHOAL_TIMEOUT, "the %.*s is not ready after %d s; see %s",
                              (int)strcspn(it->name, "-"), it->name, READY_MS / 1000, it->log_path);
        }
        if (poll(&item, 1, (int)(deadline - now)) <= 0) {
            continue;
        }
        ssize_t got = read(fd, line + len, size - 1 - len);
        len += got > 0 ? (size_t)got : 0;
        line[len] = '\0';
        char *end = strchr(line, '\n');
        if (end) {
            *end = '\0';
            return true;
        }
        if (got <= 0 || len == size - 1) {
            (void)waitid(P_PID, (id_t)it->pid, NULL, WEXITED | WNOWAIT);
            return !has_died(it, status) &&
                   shoal_fail(status, SHOAL_UNAVAILABLE, "the %.*s did not start; see %s",
                              (int)strcspn(it->name, "-"), it->name, it->log_path);
        }
    }
}

static void
tell_head(const background_t *it, const char *endpoint, bool is_default)
{
    const char *state = it->state_option[0] ? it->state : "";
    (void)printf("head: process %ld listens at %s\n  log    %s\n  worker shoal start --address "
                 "%s\n  job    shoal ingest -c FILE --head %s\n  look   shoal status%s%s\n"
                 "  end    shoal stop%s%s\n",
                 (long)it->pid, endpoint, it->log_path, endpoint, endpoint,
                 is_default ? "" : " --head ", is_default ? "" : endpoint, it->state_option, state);
}

static void
tell_tcp_head(const background_t *it, const char *endpoint, const char *keys, bool is_again)
{
    const char *state = it->state_option[0] ? it->state : "";
    (void)printf("head: process %ld listens at %s%s\n  log    %s\n"
                 "  worker copy %s/" SHOAL_KEYS_WORKER " to its host, and there:\n"
                 "         shoal start --join-file " SHOAL_KEYS_WORKER "\n"
                 "  client copy %s/" SHOAL_KEYS_CLIENT " to its host, and there:\n"
                 "         shoal ingest -c FILE --join-file " SHOAL_KEYS_CLIENT "\n"
                 "  others shoal key new --role ROLE --name NAME%s%s\n"
                 "  end    shoal stop%s%s\n",
                 (long)it->pid, endpoint,
                 is_again ? ", as the one before did (--listen names another place)" : "",
                 it->log_path, keys, keys, it->state_option, state, it->state_option, state);
}

// Where the head is to listen, and why; `ret_is_again`: where the last one did.
static bool
choose_listening(const shoal_arguments_t *arguments, const char *state,
                 shoal_listening_t *ret_listening, bool *ret_is_again, shoal_status_t *status)
{
    const shoal_endpoint_use_t use = {.is_listening = true, .has_keys = true};
    const char *given = shoal_arguments_text(arguments, "listen");
    const char *advertised = shoal_arguments_text(arguments, "advertise");
    *ret_listening = (shoal_listening_t){.endpoint = ""};
    if ((given && strlen(given) >= SHOAL_ENDPOINT_MAX) ||
        (advertised && strlen(advertised) >= SHOAL_ENDPOINT_MAX)) {
        return shoal_fail(status, SHOAL_INVALID, "--listen or --advertise has more than %d bytes",
                          SHOAL_ENDPOINT_MAX - 1);
    }
    if (given && !shoal_endpoint_check(given, use, status)) {
        return false;
    }
    if (!given && !shoal_listening_read(state, ret_listening, status)) {
        return false;
    }
    *ret_is_again = ret_listening->endpoint[0] != '\0';
    if (given) {
        (void)snprintf(ret_listening->endpoint, SHOAL_ENDPOINT_MAX, "%s", given);
    }
    if (advertised) {
        (void)snprintf(ret_listening->advertised, SHOAL_ENDPOINT_MAX, "%s", advertised);
    }
    return *ret_is_again || given || shoal_endpoint_default(ret_listening->endpoint, status);
}

// Starts the head's process; `endpoint`: where it listens.
static bool
run_head(background_t *it, const char *listen, const char *level, const char *keys,
         char endpoint[SHOAL_ENDPOINT_MAX], shoal_status_t *status)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) {
        return shoal_fail_errno(status, errno, "cannot make a pipe");
    }
    char spool[PATH_MAX];
    (void)snprintf(spool, sizeof(spool), "%s/head", it->state);
    const char *const words[] = {"--listen",
                                 listen,
                                 "--state",
                                 spool,
                                 "--ready-fd",
                                 "4",
                                 "--log-level",
                                 level ? level : "info",
                                 keys ? "--keys" : NULL,
                                 keys,
                                 NULL};
    bool done = shoal_directory_make_private(spool, status) &&
                background_start(it, "shoal-head", words, ready[1], status);
    (void)close(ready[1]);
    done = done && wait_ready(it, ready[0], endpoint, SHOAL_ENDPOINT_MAX, status) &&
           endpoint_note(it, endpoint, status);
    (void)close(ready[0]);
    return done;
}

// Others can join it: the join files say where, and the next head listens there too.
static bool
publish(const background_t *it, const char *endpoint, shoal_listening_t *listening,
        const char *keys, shoal_status_t *status)
{
    const char *advertised = listening->advertised[0] ? listening->advertised : NULL;
    (void)snprintf(listening->endpoint, SHOAL_ENDPOINT_MAX, "%s", keys ? endpoint : "");
    return (!keys || shoal_keyring_publish(keys, endpoint, advertised, status) ||
            shoal_fail_while(status, "the head runs at %s, but others cannot join it", endpoint)) &&
           (shoal_listening_write(it->state, listening, status) ||
            shoal_fail_while(status, "the head runs at %s", endpoint));
}

static bool
start_head(const shoal_arguments_t *arguments, background_t *it, shoal_status_t *status)
{
    char endpoint[SHOAL_ENDPOINT_MAX];
    char keys[PATH_MAX];
    shoal_listening_t listening;
    bool is_again = false;
    if (!choose_listening(arguments, it->state, &listening, &is_again, status)) {
        return false;
    }
    bool is_tcp = shoal_endpoint_is_tcp(listening.endpoint);
    (void)snprintf(it->name, sizeof(it->name), "head");
    (void)snprintf(keys, sizeof(keys), "%s/" SHOAL_KEYS_FOLDER, it->state);
    if (!background_open(it, status) || (is_tcp && !shoal_keyring_make(keys, status)) ||
        !run_head(it, listening.endpoint, shoal_arguments_text(arguments, "log-level"),
                  is_tcp ? keys : NULL, endpoint, status) ||
        !publish(it, endpoint, &listening, is_tcp ? keys : NULL, status)) {
        return false;
    }
    if (is_tcp) {
        tell_tcp_head(it, endpoint, keys, is_again);
    } else {
        tell_head(it, endpoint, !shoal_arguments_has(arguments, "listen"));
    }
    return true;
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

// A pipe that holds the join string: it is in no argument, where others could read it.
static bool
join_pipe(background_t *it, const shoal_join_t *join, shoal_status_t *status)
{
    int ends[2];
    shoal_buffer_t token = SHOAL_BUFFER_INIT;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return shoal_fail_errno(status, errno, "cannot make a pipe");
    }
    (void)shoal_buffer_reserve(&token, SHOAL_JOIN_BYTES_MAX);
    shoal_join_write(join, &token);
    bool done = write(ends[1], token.ptr, token.len) == (ssize_t)token.len; // it has room
    shoal_private_wipe(&token);
    (void)close(ends[1]);
    it->stdin_fd = ends[0];
    return done || shoal_fail(status, SHOAL_IO, "cannot write to a pipe");
}

// Waits for the worker's first registration; one that cannot join is ended.
static bool
wait_joined(background_t *it, int fd, shoal_status_t *status)
{
    char line[512];
    bool done = wait_ready(it, fd, line, sizeof(line), status);
    if (done && strcmp(line, "ready") != 0) {
        const char *why = strncmp(line, "no ", 3) == 0 ? line + 3 : line;
        done = shoal_fail(status, SHOAL_UNAVAILABLE, "the worker cannot join: %s", why);
    }
    if (!done && status->code != SHOAL_TIMEOUT && kill(it->pid, SIGTERM) == 0) {
        (void)waitpid(it->pid, NULL, 0);
        (void)unlink(it->pid_path);
    }
    return done;
}

static void
tell_worker(const background_t *it, const char *slots, const char *endpoint)
{
    assert(endpoint);
    char preset[SHOAL_ENDPOINT_MAX] = "";
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    bool is_preset = shoal_endpoint_is_tcp(endpoint) || // and by a key of the client's own
                     (shoal_endpoint_default(preset, &ignored) && strcmp(preset, endpoint) == 0);
    (void)printf("worker: process %ld with %s slot%s serves %s\n  log    %s\n  drain  shoal drain "
                 "%s%s%s\n  end    shoal stop%s%s\n",
                 (long)it->pid, slots, strcmp(slots, "1") == 0 ? "" : "s", endpoint, it->log_path,
                 it->name, is_preset ? "" : " --head ", is_preset ? "" : endpoint, it->state_option,
                 it->state_option[0] ? it->state : "");
}

// A worker of a head over TCP.
static bool
start_joined(background_t *it, const char *const *words, const shoal_join_t *join,
             shoal_status_t *status)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) {
        return shoal_fail_errno(status, errno, "cannot make a pipe");
    }
    bool done = background_open(it, status) && join_pipe(it, join, status) &&
                background_start(it, "shoal-worker", words, ready[1], status);
    (void)close(ready[1]);
    done = done && wait_joined(it, ready[0], status);
    (void)close(ready[0]);
    if (it->stdin_fd > 0) {
        (void)close(it->stdin_fd);
    }
    return done;
}

// A worker of a head on this machine, which is asked whether it knows it.
static bool
start_beside(background_t *it, const char *const *words, const char *endpoint, const char *name,
             shoal_status_t *status)
{
    shoal_address_t address = {.has_keys = false};
    shoal_session_t *session = NULL; // first, so that no worker is left without a head
    (void)snprintf(address.endpoint, sizeof(address.endpoint), "%s", endpoint);
    bool done = shoal_head_dial(&address, &session, status) &&
                shoal_session_wait(session, SHOAL_ASK_MS, status) && background_open(it, status) &&
                background_start(it, "shoal-worker", words, -1, status) &&
                wait_registered(it, session, name, status);
    shoal_session_destroy(&session);
    return done;
}

// The join file that is meant: --join-file, SHOAL_JOIN_FILE, or --address with a path.
static bool
join_file(const shoal_arguments_t *arguments, const char **ret_file, const char **ret_endpoint,
          shoal_status_t *status)
{
    const char *address = shoal_arguments_text(arguments, "address");
    const char *file = shoal_arguments_text(arguments, "join-file");
    const char *named = getenv("SHOAL_JOIN_FILE"); // NOLINT(concurrency-mt-unsafe): one thread
    if ((address && strncmp(address, "shoal1:", 7) == 0) ||
        (file && strncmp(file, "shoal1:", 7) == 0)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "a join string is a secret, and everybody on this machine can read the "
                          "arguments of its processes: put it into a file (chmod 600) and give its "
                          "path, or - to read it from standard input");
    }
    if (!file && address && !strstr(address, "://")) {
        file = address;
        address = NULL;
    }
    if (!file && (!address || shoal_endpoint_is_tcp(address)) && named && named[0]) {
        file = named;
    }
    *ret_file = file;
    *ret_endpoint = address;
    return file || address ||
           shoal_fail(status, SHOAL_INVALID,
                      "what is to be started? Give --head, or --address ENDPOINT or --join-file "
                      "FILE for a worker");
}

static bool
start_worker(const shoal_arguments_t *arguments, background_t *it, shoal_status_t *status)
{
    const char *file = NULL;
    const char *address = NULL;
    const char *level = shoal_arguments_text(arguments, "log-level");
    char host[64] = "";
    char id[SHOAL_RANDOM_ID_SIZE];
    char name[128];
    char slots[16];
    char drain[16];
    uint64_t slot_count = 0;
    uint64_t drain_seconds = 0;
    shoal_join_t join;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (!join_file(arguments, &file, &address, status) ||
        !shoal_arguments_count(arguments, "slots", 1, SLOTS_MAX, cpus > 0 ? (uint64_t)cpus : 1,
                               &slot_count, status) ||
        !shoal_arguments_count(arguments, "drain-seconds", 0, DRAIN_S_MAX, DRAIN_S, &drain_seconds,
                               status) ||
        (file && !shoal_join_read(file, &join, status))) {
        return false;
    }
    if (file && join.role != SHOAL_ROLE_WORKER) {
        (void)shoal_fail(status, SHOAL_DENIED,
                         "the key \"%s\" is for a %s; a worker needs one that was made with: shoal "
                         "key new --role worker",
                         join.name, shoal_role_name((int)join.role));
        shoal_join_wipe(&join);
        return false;
    }
    const char *endpoint = address || !file ? address : join.endpoint;
    shoal_random_id(id);
    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(it->name, sizeof(it->name), "worker-%.8s", id);
    (void)snprintf(name, sizeof(name), "%s %s", host, it->name);
    (void)snprintf(slots, sizeof(slots), "%llu", (unsigned long long)slot_count);
    (void)snprintf(drain, sizeof(drain), "%llu", (unsigned long long)drain_seconds);
    const char *const words[] = {"--connect",
                                 endpoint,
                                 "--slots",
                                 slots,
                                 "--drain-seconds",
                                 drain,
                                 "--name",
                                 name,
                                 "--log-level",
                                 level ? level : "info",
                                 file ? "--join-file" : NULL,
                                 "-",
                                 "--ready-fd",
                                 "4",
                                 NULL};
    bool done = file ? start_joined(it, words, &join, status)
                     : start_beside(it, words, endpoint, name, status);
    if (done) {
        tell_worker(it, slots, endpoint);
    }
    if (file) {
        shoal_join_wipe(&join);
    }
    return done;
}

int
shoal_command_start(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    bool is_head = shoal_arguments_has(arguments, "head");
    bool is_worker =
        shoal_arguments_has(arguments, "address") || shoal_arguments_has(arguments, "join-file");
    background_t it = {
        .lock_fd = -1,
        .log_fd = -1,
        .state_option = shoal_arguments_has(arguments, "state") ? " --state " : "",
    };
    if (is_head && is_worker) {
        (void)shoal_fail(&status, SHOAL_INVALID,
                         "what is to be started? Give --head, or --address or --join-file for a "
                         "worker, not both");
        return shoal_command_failed(&status);
    }
    if (is_head && (shoal_arguments_has(arguments, "slots") ||
                    shoal_arguments_has(arguments, "drain-seconds"))) {
        (void)shoal_fail(&status, SHOAL_INVALID,
                         "--slots and --drain-seconds are for a worker; a head runs no calls");
        return shoal_command_failed(&status);
    }
    bool done =
        shoal_arguments_choice(arguments, "log-level", "debug|info|warn|error", &status) &&
        shoal_state_directory(shoal_arguments_text(arguments, "state"), it.state, &status) &&
        (is_head ? start_head(arguments, &it, &status) : start_worker(arguments, &it, &status));
    background_close(&it);
    return done ? SHOAL_EXIT_OK : shoal_command_failed(&status);
}
