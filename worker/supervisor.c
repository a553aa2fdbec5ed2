// SPDX-License-Identifier: Apache-2.0
//
// supervisor.c - see supervisor.h.

#include "worker/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/record/writer.h"

#define EXIT_BY_SIGNAL 128 // plus the signal's number, as shells do

typedef struct supervisor {
    const shoal_supervisor_config_t *config;
    sigset_t before; // the signal mask that we were started with
    int signal_fd;
    pid_t child; // 0: none runs
    uint64_t started_ms;
    uint64_t start_at_ms; // no child runs: when the next one starts
    unsigned restarts;    // in a row, of workers that did not live long
    shoal_birth_t birth;  // of the current child, or of the next one
    shoal_wake_t wake;    // what its end leaves
    bool is_stopping;     // a signal has been forwarded
    bool is_over;
    int exit_status;
} supervisor_t;

uint64_t
shoal_supervisor_delay_ms(unsigned restarts)
{
    if (restarts <= 1) {
        return 0;
    }
    unsigned doublings = restarts - 2;
    uint64_t delay_ms =
        doublings < 16 ? (uint64_t)SHOAL_RESTART_MS_MIN << doublings : SHOAL_RESTART_MS_MAX;
    return delay_ms < SHOAL_RESTART_MS_MAX ? delay_ms : SHOAL_RESTART_MS_MAX;
}

void
shoal_exit_write(const shoal_exit_t *last, shoal_buffer_t *out)
{
    if (last->pid == 0) {
        return;
    }
    bool is_hung = last->signal == 0 && last->status == SHOAL_EXIT_HUNG;
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"incarnation", last->incarnation},
        {"pid", (uint64_t)last->pid},
        {last->signal > 0 ? "signal" : "status",
         (uint64_t)(last->signal > 0 ? last->signal : last->status)},
        {"restarts", last->restarts},
    };
    const uint32_t count = sizeof(numbers) / sizeof(numbers[0]);
    shoal_write_map(out, count + is_hung + last->is_oom + (last->words[0] != '\0'));
    for (uint32_t i = 0; i < count; i++) {
        shoal_write_text(out, numbers[i].key);
        shoal_write_uint(out, numbers[i].value);
    }
    if (is_hung) {
        shoal_write_key(out, "reason");
        shoal_write_text(out, "hung");
    }
    if (last->is_oom) {
        shoal_write_key(out, "oom");
        shoal_write_bool(out, true);
    }
    if (last->words[0]) {
        shoal_write_key(out, "words");
        shoal_write_text(out, last->words);
    }
}

static bool
supervisor_init(supervisor_t *me, const shoal_supervisor_config_t *config, shoal_status_t *status)
{
    *me = (supervisor_t){.config = config, .signal_fd = -1, .wake = {.pipe = {-1, -1}}};
    me->wake.events_fd = -1;
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, &set, &me->before);
    me->birth.supervisor = getpid();
    me->birth.incarnation = config->first_incarnation > 0 ? config->first_incarnation - 1 : 0;
    me->start_at_ms = shoal_clock_ms();
    me->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (me->signal_fd < 0) {
        return shoal_fail_errno(status, errno, "cannot watch signals");
    }
    return shoal_wake_init(&me->wake, config->memory_events, status);
}

// In the child. It dies with its supervisor; SIGTERM and SIGINT stay blocked for its own loop.
static int
child_main(supervisor_t *me)
{
    shoal_wake_enter(&me->wake);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != me->birth.supervisor) {
        return EXIT_SUCCESS; // it died before we could say so
    }
    (void)close(me->signal_fd);
    sigset_t mask = me->before;
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return me->config->run(me->config->ctx, &me->birth);
}

static bool
child_start(supervisor_t *me, shoal_status_t *status)
{
    me->birth.incarnation++;
    pid_t child = fork();
    if (child < 0) {
        return shoal_fail_errno(status, errno, "cannot fork the worker process");
    }
    if (child == 0) {
        // Not _exit(): sanitizers and coverage have something to say. There is one thread.
        exit(child_main(me)); // NOLINT(concurrency-mt-unsafe)
    }
    me->child = child;
    me->started_ms = shoal_clock_ms();
    shoal_log(me->config->log, SHOAL_LOG_DEBUG, "WORKER-START", "pid=%d incarnation=%llu",
              (int)child, (unsigned long long)me->birth.incarnation);
    return true;
}

static const char *
cause_of(const shoal_exit_t *last)
{
    if (last->is_oom) {
        return " (out of memory)";
    }
    return last->signal == 0 && last->status == SHOAL_EXIT_HUNG ? " (a slot hangs)" : "";
}

static void
child_ended(supervisor_t *me, int wait_status)
{
    uint64_t now_ms = shoal_clock_ms();
    shoal_exit_t last = {.pid = me->child,
                         .incarnation = me->birth.incarnation,
                         .signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0,
                         .status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0};
    last.is_oom = last.signal == SIGKILL && shoal_wake_is_oom(&me->wake, now_ms);
    shoal_wake_read(&me->wake);
    shoal_wake_words(&me->wake, last.words);
    me->restarts = now_ms - me->started_ms >= SHOAL_STEADY_MS ? 1 : me->restarts + 1;
    last.restarts = me->restarts;
    me->child = 0;
    me->birth.last_exit = last;
    bool is_polite = last.signal == 0 && last.status == EXIT_SUCCESS;
    if (is_polite || me->is_stopping) {
        me->is_over = true;
        me->exit_status = last.signal ? EXIT_BY_SIGNAL + last.signal : last.status;
        return;
    }
    uint64_t delay_ms = shoal_supervisor_delay_ms(me->restarts);
    me->start_at_ms = now_ms + delay_ms;
    shoal_log(me->config->log, SHOAL_LOG_ERROR, "WORKER-DIED",
              "pid=%d signal=%d (%s) status=%d%s restarts=%u restart_in_ms=%llu", (int)last.pid,
              last.signal, last.signal ? sigabbrev_np(last.signal) : "none", last.status,
              cause_of(&last), last.restarts, (unsigned long long)delay_ms);
}

static void
reap(supervisor_t *me)
{
    int wait_status = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        if (pid == me->child) {
            child_ended(me, wait_status);
        }
    }
}

// Nothing is left of the child when this returns.
static void
kill_child(supervisor_t *me)
{
    if (me->child > 0) {
        (void)kill(me->child, SIGKILL);
        while (waitpid(me->child, NULL, 0) < 0 && errno == EINTR) {
        }
        me->child = 0;
    }
}

static void
on_stop_signal(supervisor_t *me, int signal_number)
{
    if (me->is_stopping) {
        kill_child(me);
        me->is_over = true;
        me->exit_status = EXIT_BY_SIGNAL + signal_number;
    } else if (me->child > 0) {
        me->is_stopping = true;
        (void)kill(me->child, SIGTERM);
    } else {
        me->is_over = true; // between two workers there is nothing to finish
    }
}

static void
read_signals(supervisor_t *me)
{
    struct signalfd_siginfo info;
    while (!me->is_over && read(me->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            reap(me);
        } else {
            on_stop_signal(me, (int)info.ssi_signo);
        }
    }
}

static void
read_lifeline(supervisor_t *me)
{
    char byte;
    if (read(me->config->lifeline_fd, &byte, 1) == 0) {
        kill_child(me);
        me->is_over = true;
    }
}

static bool
supervisor_turn(supervisor_t *me, shoal_status_t *status)
{
    int timeout_ms = -1;
    if (me->child == 0) {
        uint64_t now_ms = shoal_clock_ms();
        if (now_ms >= me->start_at_ms) {
            return child_start(me, status);
        }
        timeout_ms = (int)(me->start_at_ms - now_ms);
    }
    struct pollfd items[4] = {{me->signal_fd, POLLIN, 0},
                              {me->config->lifeline_fd, POLLIN, 0},
                              {shoal_wake_fd(&me->wake), POLLIN, 0},
                              {shoal_wake_events_fd(&me->wake), POLLPRI, 0}};
    if (poll(items, 4, timeout_ms) < 0 && errno != EINTR) {
        return shoal_fail_errno(status, errno, "cannot wait for the worker process");
    }
    if (items[2].revents) {
        shoal_wake_read(&me->wake);
    }
    if (items[3].revents & POLLPRI) {
        shoal_wake_count(&me->wake, shoal_clock_ms());
    }
    if (items[1].revents) {
        read_lifeline(me);
    }
    if (items[0].revents && !me->is_over) {
        read_signals(me);
    }
    return true;
}

bool
shoal_supervisor_run(const shoal_supervisor_config_t *config, int *ret_status,
                     shoal_status_t *status)
{
    assert(config && config->run && ret_status);
    supervisor_t me;
    bool done = supervisor_init(&me, config, status);
    while (done && !me.is_over) {
        done = supervisor_turn(&me, status);
    }
    kill_child(&me);
    if (me.wake.pipe[0] >= 0) {
        shoal_wake_read(&me.wake);
    }
    shoal_wake_fini(&me.wake);
    if (me.signal_fd >= 0) {
        (void)close(me.signal_fd);
    }
    (void)pthread_sigmask(SIG_SETMASK, &me.before, NULL);
    if (done) {
        *ret_status = me.exit_status;
    }
    return done;
}
