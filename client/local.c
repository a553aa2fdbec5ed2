// SPDX-License-Identifier: Apache-2.0
//
// local.c - see local.h.

#include "client/local.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/child.h"
#include "client/rundir.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

#define LINE_MAX_BYTES 2048
#define LAST_LINES     3 // shown with the cause when a child dies for good
#define READS_MAX      64
#define SLOTS_AUTO_MAX 32
#define GRACE_MS       "5000" // for workers to come back to a head that was started again: they dial

typedef struct child {
    pid_t pid; // 0: not running
    int pidfd; // readable once it has ended
    const char *program;
} child_t;

struct shoal_local {
    shoal_local_plan_t plan;
    char log_level[16];
    shoal_local_listener_t listener;
    shoal_rundir_t *rundir;
    char state[PATH_MAX + 16]; // the head's folder
    int epoll_fd;
    int lifeline[2];
    int log[2];
    int ready_fd; // read end, -1 once the head is ready
    size_t ready_len;
    bool is_renewed; // the head's folder is another one
    unsigned head_starts;
    unsigned head_deaths; // one soon after the other
    unsigned worker_deaths;
    uint64_t head_death_ms; // the last one's
    uint64_t worker_death_ms;
    child_t head;
    child_t workers[SHOAL_LOCAL_WORKERS_MAX];
    char line[LINE_MAX_BYTES]; // a log line that has not ended yet
    size_t line_len;
    char last[LAST_LINES][256];
    unsigned last_count;
};

void
shoal_local_size(unsigned slots, unsigned workers, shoal_local_plan_t *ret_plan)
{
    if (slots == 0) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        int count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 2;
        slots = count < 2 ? 2 : (unsigned)count;
        slots = slots > SLOTS_AUTO_MAX ? SLOTS_AUTO_MAX : slots;
        slots = slots < workers ? workers : slots;
    }
    if (workers == 0) {
        workers = slots > 1 ? 2 : 1;
    }
    workers = workers > slots ? slots : workers;
    workers = workers > SHOAL_LOCAL_WORKERS_MAX ? SHOAL_LOCAL_WORKERS_MAX : workers;
    assert(workers > 0);
    ret_plan->workers = workers;
    ret_plan->slots = (slots + workers - 1) / workers;
}

static bool
watch(shoal_local_t *local, int fd, shoal_status_t *status)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(local->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return shoal_fail_errno(status, errno, "cannot watch a child process");
    }
    return true;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); // leaves the epoll set with it
        *fd = -1;
    }
}

static bool
start_child(shoal_local_t *local, child_t *child, const char *program, const char *const *arguments,
            int ready_fd, shoal_status_t *status)
{
    shoal_child_plan_t plan = {
        .program = program,
        .arguments = arguments,
        .lifeline_fd = local->lifeline[0],
        .ready_fd = ready_fd,
        .lock_fd = local->plan.state && child == &local->head ? local->plan.lock_fd : -1,
        .stdout_fd = -1,
        .stderr_fd = local->log[1],
    };
    child->program = program;
    if (!shoal_child_start(&plan, &child->pid, status)) {
        return false;
    }
    child->pidfd = pidfd_open(child->pid, 0);
    if (child->pidfd < 0) {
        return shoal_fail_errno(status, errno, "cannot watch %s", program);
    }
    (void)fcntl(child->pidfd, F_SETFD, FD_CLOEXEC);
    return watch(local, child->pidfd, status);
}

static bool
start_head(shoal_local_t *local, shoal_status_t *status)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) != 0) {
        return shoal_fail_errno(status, errno, "cannot make a pipe");
    }
    bool is_first = local->head_starts == 0;
    const char *const arguments[] = {"--listen",
                                     shoal_rundir_endpoint(local->rundir),
                                     "--state",
                                     local->state,
                                     "--lifeline-fd",
                                     "3",
                                     "--ready-fd",
                                     "4",
                                     "--log-level",
                                     local->log_level,
                                     "--journal",
                                     local->plan.is_plan ? "off" : "on",
                                     "--grace-ms",
                                     GRACE_MS,
                                     is_first && local->plan.is_resumed ? "--workers-gone" : NULL,
                                     NULL};
    close_fd(&local->ready_fd);
    local->ready_fd = ready[0];
    local->ready_len = 0;
    local->head_starts++;
    bool done = start_child(local, &local->head, "shoal-head", arguments, ready[1], status);
    (void)close(ready[1]);
    return done && watch(local, local->ready_fd, status);
}

static bool
start_worker(shoal_local_t *local, unsigned index, shoal_status_t *status)
{
    char slots[16];
    char name[32];
    char id[32];
    (void)snprintf(slots, sizeof(slots), "%u", local->plan.slots);
    (void)snprintf(name, sizeof(name), "worker %u", index + 1);
    (void)snprintf(id, sizeof(id), "worker-%u", index + 1); // one in its place takes over from it
    const char *const arguments[] = {"--connect",
                                     shoal_rundir_endpoint(local->rundir),
                                     "--slots",
                                     slots,
                                     "--name",
                                     name,
                                     "--id",
                                     id,
                                     "--lifeline-fd",
                                     "3",
                                     "--log-level",
                                     local->log_level,
                                     NULL};
    return start_child(local, &local->workers[index], "shoal-worker", arguments, -1, status);
}

static bool
start_all(shoal_local_t *local, shoal_status_t *status)
{
    local->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (local->epoll_fd < 0 || pipe2(local->lifeline, O_CLOEXEC) != 0 ||
        pipe2(local->log, O_CLOEXEC) != 0 || fcntl(local->log[0], F_SETFL, O_NONBLOCK) != 0) {
        return shoal_fail_errno(status, errno, "cannot start a private head");
    }
    if (!watch(local, local->log[0], status) || !shoal_rundir_new(&local->rundir, status)) {
        return false;
    }
    if (local->plan.state) {
        (void)snprintf(local->state, sizeof(local->state), "%s", local->plan.state);
    } else {
        (void)snprintf(local->state, sizeof(local->state), "%s/state",
                       shoal_rundir_path(local->rundir));
    }
    if (!shoal_directory_make_private(local->state, status) || !start_head(local, status)) {
        return false;
    }
    for (unsigned i = 0; i < local->plan.workers; i++) {
        if (!start_worker(local, i, status)) {
            return false;
        }
    }
    return true;
}

bool
shoal_local_start(const shoal_local_plan_t *plan, const shoal_local_listener_t *listener,
                  shoal_local_t **ret_local, shoal_status_t *status)
{
    assert(plan->workers > 0 && plan->workers <= SHOAL_LOCAL_WORKERS_MAX && plan->slots > 0);
    shoal_local_t *local = shoal_alloc(sizeof(*local));
    local->plan = *plan;
    local->listener = *listener;
    local->epoll_fd = local->ready_fd = -1;
    local->lifeline[0] = local->lifeline[1] = local->log[0] = local->log[1] = -1;
    local->head.pidfd = -1;
    for (unsigned i = 0; i < SHOAL_LOCAL_WORKERS_MAX; i++) {
        local->workers[i].pidfd = -1;
    }
    (void)snprintf(local->log_level, sizeof(local->log_level), "%s", plan->log_level);
    if (!start_all(local, status)) {
        shoal_local_kill(&local);
        return false;
    }
    *ret_local = local;
    return true;
}

static void
say(shoal_local_t *local, const char *line)
{
    if (local->listener.say) {
        local->listener.say(local->listener.ctx, line);
    }
}

static void
take_line(shoal_local_t *local)
{
    local->line[local->line_len] = '\0';
    local->line_len = 0;
    unsigned slot = local->last_count++ % LAST_LINES;
    (void)snprintf(local->last[slot], sizeof(local->last[slot]), "%s", local->line);
    say(local, local->line);
}

static void
read_log(shoal_local_t *local)
{
    char bytes[4096];
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t got = read(local->log[0], bytes, sizeof(bytes));
        if (got <= 0) {
            return;
        }
        for (ssize_t at = 0; at < got; at++) {
            if (bytes[at] == '\n' || local->line_len == sizeof(local->line) - 1) {
                take_line(local);
            }
            if (bytes[at] != '\n') {
                local->line[local->line_len++] = bytes[at];
            }
        }
    }
}

static void
signal_child(const child_t *child, int number)
{
    if (child->pid > 0 && number == SIGKILL) {
        (void)kill(-child->pid, number); // its whole group: a supervisor and its worker
    } else if (child->pid > 0) {
        (void)kill(child->pid, number);
    }
}

static void
signal_workers(const shoal_local_t *local, int number)
{
    for (unsigned i = 0; i < local->plan.workers; i++) {
        signal_child(&local->workers[i], number);
    }
}

// True once it is gone.
static bool
child_is_gone(child_t *child)
{
    if (child->pid > 0 && waitpid(child->pid, NULL, WNOHANG) != 0) {
        child->pid = 0;
        close_fd(&child->pidfd);
    }
    return child->pid == 0;
}

// Waits for the workers, or all, until the deadline. Their log is read meanwhile: a child that has much to
// say at its end could not end otherwise.
static void
wait_for_end(shoal_local_t *local, bool of_head_too, uint64_t deadline_ms)
{
    for (;;) {
        bool is_head_left = !child_is_gone(&local->head) && of_head_too;
        const child_t *left = is_head_left ? &local->head : NULL;
        for (unsigned i = 0; i < local->plan.workers; i++) {
            left = child_is_gone(&local->workers[i]) ? left : &local->workers[i];
        }
        read_log(local);
        uint64_t now = shoal_clock_ms();
        if (!left || now >= deadline_ms) {
            return;
        }
        struct pollfd items[2] = {{.fd = left->pidfd, .events = POLLIN},
                                  {.fd = local->log[0], .events = POLLIN}};
        (void)poll(items, 2, (int)(deadline_ms - now));
    }
}

static void
release(shoal_local_t *local)
{
    close_fd(&local->lifeline[0]);
    close_fd(&local->lifeline[1]);
    close_fd(&local->log[0]);
    close_fd(&local->log[1]);
    close_fd(&local->ready_fd);
    close_fd(&local->epoll_fd);
    shoal_rundir_destroy(&local->rundir);
    free(local);
}

void
shoal_local_kill(shoal_local_t **local)
{
    if (local && *local) {
        signal_workers(*local, SIGKILL);
        signal_child(&(*local)->head, SIGKILL);
        wait_for_end(*local, /*of_head_too=*/true, shoal_clock_ms() + SHOAL_LOCAL_STOP_MS);
        release(*local);
        *local = NULL;
    }
}

void
shoal_local_destroy(shoal_local_t **local)
{
    if (!local || !*local) {
        return;
    }
    // Workers first: they wait until a head has taken what they still have to say.
    uint64_t deadline_ms = shoal_clock_ms() + SHOAL_LOCAL_STOP_MS;
    signal_workers(*local, SIGTERM);
    wait_for_end(*local, /*of_head_too=*/false, deadline_ms);
    signal_child(&(*local)->head, SIGTERM);
    wait_for_end(*local, /*of_head_too=*/true, deadline_ms);
    shoal_local_kill(local); // whoever is left
}

int
shoal_local_fd(const shoal_local_t *local)
{
    return local->epoll_fd;
}

const char *
shoal_local_endpoint(const shoal_local_t *local)
{
    return shoal_rundir_endpoint(local->rundir);
}

// The head writes its endpoint and closes; an end without a line is told by its exit.
static void
read_ready(shoal_local_t *local)
{
    char bytes[256];
    ssize_t got;
    while (local->ready_fd >= 0 && (got = read(local->ready_fd, bytes, sizeof(bytes))) >= 0) {
        local->ready_len += (size_t)got;
        if (got > 0 && !memchr(bytes, '\n', (size_t)got)) {
            continue;
        }
        close_fd(&local->ready_fd);
        if (local->ready_len > 0 && local->listener.ready) {
            local->listener.ready(local->listener.ctx, local->head_starts > 1);
        }
    }
}

// Takes the exit of a child; true if it has ended.
static bool
has_ended(child_t *child, int *ret_wait_status)
{
    if (child->pid <= 0 || waitpid(child->pid, ret_wait_status, WNOHANG) != child->pid) {
        return false;
    }
    // A worker whose supervisor has died says goodbye, so that its calls are given out at once.
    (void)kill(-child->pid, SIGTERM);
    child->pid = 0;
    close_fd(&child->pidfd);
    return true;
}

// The cause of a child's end for good, with its last words.
static bool
give_up(shoal_local_t *local, const char *program, const char *how, unsigned starts,
        shoal_status_t *status)
{
    char words[3 * 256 + 16] = "";
    unsigned have = local->last_count < LAST_LINES ? local->last_count : LAST_LINES;
    for (unsigned i = 0; i < have; i++) {
        const char *line = local->last[(local->last_count - have + i) % LAST_LINES];
        size_t used = strlen(words);
        (void)snprintf(words + used, sizeof(words) - used, "%s%s", i ? " | " : "", line);
    }
    return shoal_fail(status, SHOAL_UNAVAILABLE, "%s %s, %u time%s; its last words: %s", program,
                      how, starts, starts == 1 ? "" : "s", words[0] ? words : "none");
}

// A head that was there and does not come up again from what it has kept.
static bool
is_worth_another(const shoal_local_t *local)
{
    return local->head_starts > 1 && !local->is_renewed;
}

// Another folder for the head; what it has refused is left alone until the run ends.
static bool
state_renew(shoal_local_t *local, shoal_status_t *status)
{
    size_t len = strlen(local->state);
    local->is_renewed = true;
    if (len + sizeof(".new") > PATH_MAX) {
        return shoal_fail(status, SHOAL_IO, "the path of the head's folder is too long");
    }
    (void)snprintf(local->state + len, sizeof(local->state) - len, ".new");
    return shoal_directory_make_private(local->state, status);
}

// Counts a death; after a steady time the count begins anew.
static unsigned
count_death(unsigned *deaths, uint64_t *last_ms)
{
    uint64_t now_ms = shoal_clock_ms();
    *deaths = now_ms >= *last_ms + SHOAL_LOCAL_STEADY_MS ? 1 : *deaths + 1;
    *last_ms = now_ms;
    return *deaths;
}

static bool
mend_head(shoal_local_t *local, shoal_status_t *status)
{
    int wait_status = 0;
    if (!has_ended(&local->head, &wait_status)) {
        return true;
    }
    char how[96];
    shoal_child_describe(wait_status, how, sizeof(how));
    read_log(local);
    bool was_ready = local->ready_fd < 0 && local->ready_len > 0;
    bool has_refused = !was_ready && WIFEXITED(wait_status);
    unsigned deaths = count_death(&local->head_deaths, &local->head_death_ms);
    if ((has_refused && !is_worth_another(local)) || deaths > SHOAL_LOCAL_HEAD_RESTARTS_MAX) {
        return give_up(local, "shoal-head", how, deaths, status);
    }
    char line[192];
    (void)snprintf(line, sizeof(line), "the head %s: it is started again%s", how,
                   has_refused ? " with nothing of its state" : "");
    say(local, line);
    return (!has_refused || state_renew(local, status)) && start_head(local, status);
}

static bool
mend_workers(shoal_local_t *local, shoal_status_t *status)
{
    for (unsigned i = 0; i < local->plan.workers; i++) {
        int wait_status = 0;
        if (!has_ended(&local->workers[i], &wait_status)) {
            continue;
        }
        char how[96];
        char line[192];
        shoal_child_describe(wait_status, how, sizeof(how));
        read_log(local);
        unsigned deaths = count_death(&local->worker_deaths, &local->worker_death_ms);
        if (deaths > SHOAL_LOCAL_WORKER_RESTARTS_MAX) {
            return give_up(local, "shoal-worker", how, deaths, status);
        }
        (void)snprintf(line, sizeof(line), "worker %u %s: it is started again", i + 1, how);
        say(local, line);
        if (!start_worker(local, i, status)) {
            return false;
        }
    }
    return true;
}

bool
shoal_local_turn(shoal_local_t *local, shoal_status_t *status)
{
    read_log(local);
    read_ready(local);
    return mend_head(local, status) && mend_workers(local, status);
}
