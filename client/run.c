// SPDX-License-Identifier: Apache-2.0
//
// run.c - see run.h.
//
// Design: one loop waits for the session's socket, the private cluster's descriptor and the signal
// descriptor. What is wanted from the head (the job accepted, watched, its output from the next
// commit on) is asked for again whenever the session comes up; everything else reacts.

#include "client/run.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/letters.h"
#include "client/run_parts.h"
#include "client/text.h"
#include "proto/base/alloc.h"

// ---- the private cluster

static void
on_child_line(void *ctx, const char *line)
{
    shoal_run_t *run = ctx;
    shoal_progress_say(run->progress, line);
}

static bool
open_session(shoal_run_t *run, const char *endpoint, shoal_status_t *status)
{
    shoal_session_config_t config = {.endpoint = endpoint, .join = run->plan->join};
    if (run->local) { // it is there in a moment, and nobody else dials
        config.retry_ms = 2;
        config.retry_max_ms = 50;
    }
    const shoal_session_listener_t listener = {run, shoal_run_on_up, shoal_run_on_message};
    return shoal_session_new(&config, &listener, shoal_clock_ms(), &run->session, status);
}

static void
on_head_ready(void *ctx, bool is_restart)
{
    shoal_run_t *run = ctx;
    (void)is_restart;
    if (run->session) {
        shoal_session_redial(run->session, shoal_clock_ms());
    } else if (!open_session(run, shoal_local_endpoint(run->local), &run->result->status)) {
        shoal_run_fail(run);
    }
}

// ---- signals

static void
take_signal(shoal_run_t *run, int number, uint64_t now_ms)
{
    if (run->result->signal) {
        run->result->was_killed = true;
        run->is_over = true;
        return;
    }
    run->result->signal = number;
    if (!shoal_run_may_have_begun(run) || run->plan->is_watching) {
        run->is_over = true;
        return;
    }
    if (shoal_run_is_headless(run, now_ms)) {
        shoal_progress_say(run->progress, "leaving: there is no head to stop the job");
        run->is_over = true;
        return;
    }
    shoal_progress_say(run->progress, number == SIGINT
                                          ? "stopping the job; press Ctrl-C again to leave at once"
                                          : "stopping the job");
    shoal_run_stop(run, now_ms);
}

static void
take_signals(shoal_run_t *run, uint64_t now_ms)
{
    struct signalfd_siginfo info;
    while (read(run->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        take_signal(run, (int)info.ssi_signo, now_ms);
    }
}

// ---- the loop

static bool
wait_for_events(shoal_run_t *run, uint64_t now_ms)
{
    zmq_pollitem_t items[4];
    int count = 0;
    items[count++] = (zmq_pollitem_t){.fd = run->signal_fd, .events = ZMQ_POLLIN};
    if (run->local) {
        items[count++] = (zmq_pollitem_t){.fd = shoal_local_fd(run->local), .events = ZMQ_POLLIN};
    }
    if (run->session && shoal_session_socket(run->session)) {
        items[count++] =
            (zmq_pollitem_t){.socket = shoal_session_socket(run->session), .events = ZMQ_POLLIN};
    }
    if (run->output && shoal_output_waiting(run->output) > 0) {
        items[count++] =
            (zmq_pollitem_t){.fd = shoal_output_fd(run->output), .events = ZMQ_POLLOUT};
    }
    uint64_t next = shoal_run_next_due(run, now_ms);
    int got = zmq_poll(items, count, next > now_ms ? (long)(next - now_ms) : 0);
    if (got < 0 && errno != EINTR) {
        return shoal_fail(&run->result->status, SHOAL_INTERNAL, "cannot wait for events: %s",
                          zmq_strerror(errno));
    }
    return true;
}

static void
run_loop(shoal_run_t *run)
{
    while (!run->is_over) {
        if (!wait_for_events(run, shoal_clock_ms())) {
            return;
        }
        uint64_t now = shoal_clock_ms();
        take_signals(run, now);
        if (!run->is_over && run->local && !shoal_local_turn(run->local, &run->result->status)) {
            return;
        }
        if (!run->is_over && run->session &&
            !shoal_session_turn(run->session, now, &run->result->status)) {
            return;
        }
        if (!run->is_over) {
            shoal_run_drain(run);
        }
        if (!run->is_over) {
            shoal_run_due(run, now);
        }
    }
}

// ---- birth and death of a run

static bool
catch_signals(shoal_run_t *run, sigset_t *ret_before, shoal_status_t *status)
{
    sigset_t caught;
    (void)sigemptyset(&caught);
    (void)sigaddset(&caught, SIGINT);
    (void)sigaddset(&caught, SIGTERM);
    (void)sigaddset(&caught, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &caught, ret_before) != 0) {
        return shoal_fail_errno(status, errno, "cannot catch signals");
    }
    run->signal_fd = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    if (run->signal_fd < 0) {
        return shoal_fail_errno(status, errno, "cannot catch signals");
    }
    (void)signal(SIGPIPE, SIG_IGN); // writing to a closed standard output fails instead
    return true;
}

static bool
run_start(shoal_run_t *run, shoal_status_t *status)
{
    const shoal_run_plan_t *plan = run->plan;
    if (plan->output && !shoal_output_open(plan->output, run->job_id, &run->output, status)) {
        return false;
    }
    if (plan->endpoint) {
        return open_session(run, plan->endpoint, status);
    }
    const shoal_local_listener_t listener = {run, on_child_line, on_head_ready};
    return shoal_local_start(&plan->local, &listener, &run->local, status);
}

// Gives the file its name if the job ended well; otherwise the part stays.
static void
finish_output(shoal_run_t *run)
{
    shoal_run_result_t *result = run->result;
    if (!run->output) {
        return;
    }
    bool is_good = result->status.code == SHOAL_OK && run->is_ended && shoal_run_is_final(run) &&
                   (strcmp(result->report->state, "SUCCEEDED") == 0 ||
                    strcmp(result->report->state, "PARTIAL") == 0);
    if (is_good && run->plan->spares_old && shoal_output_length(run->output) == 0 &&
        !shoal_output_is_stream(run->output) && access(run->plan->output, F_OK) == 0) {
        result->has_spared_old = true;
    } else if (is_good && shoal_output_finish(run->output, &result->status)) {
        result->has_output = true;
    } else if (!is_good && shoal_output_length(run->output) > 0) {
        uint64_t commit = 0;
        shoal_status_t ignored = SHOAL_STATUS_INIT; // there is a worse one to tell
        (void)(shoal_output_rewind(run->output, &ignored) &&
               shoal_output_sync(run->output, &commit, &ignored));
    }
    if (!result->has_output && shoal_output_length(run->output) > 0 &&
        !shoal_output_is_stream(run->output)) {
        result->part = shoal_strdup(shoal_output_part(run->output));
    }
    result->output_bytes = shoal_output_length(run->output);
    shoal_output_destroy(&run->output);
}

// A private head takes its dead letters with it when it goes: they are written beside the output
// before. What an earlier run has left there goes.
static void
save_letters(shoal_run_t *run)
{
    shoal_run_result_t *result = run->result;
    const char *output = run->plan->output;
    if (!run->local || result->was_killed || !shoal_run_is_final(run) || !output || !run->output ||
        shoal_output_is_stream(run->output)) {
        return;
    }
    uint64_t count = 0;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t path = SHOAL_BUFFER_INIT;
    shoal_buffer_append_format(&path, "%s.letters.jsonl", output);
    const char *name = shoal_buffer_text(&path);
    if (result->report->letters == 0) {
        (void)unlink(name);
    } else if (shoal_letters_save(run->session, run->job_id, name, &count, &status)) {
        result->letters_file = shoal_strdup(name);
    } else {
        shoal_progress_say(run->progress, status.text);
    }
    shoal_buffer_fini(&path);
}

void
shoal_run(const shoal_run_plan_t *plan, shoal_run_result_t *ret_result)
{
    *ret_result = (shoal_run_result_t){.job = plan->job, .status = SHOAL_STATUS_INIT};
    shoal_run_t run = {.plan = plan, .result = ret_result, .signal_fd = -1};
    sigset_t before;
    (void)sigemptyset(&before);
    if (plan->job_id) {
        (void)snprintf(run.job_id, sizeof(run.job_id), "%s", plan->job_id);
    } else {
        shoal_random_id(run.job_id);
    }
    run.start_ms = run.up_ms = shoal_clock_ms();
    run.progress = shoal_progress_new(&plan->progress, run.start_ms);
    if (catch_signals(&run, &before, &ret_result->status) && run_start(&run, &ret_result->status)) {
        run_loop(&run);
        save_letters(&run);
    }
    shoal_session_destroy(&run.session);
    if (ret_result->was_killed) {
        shoal_local_kill(&run.local);
    } else {
        finish_output(&run);
        shoal_local_destroy(&run.local);
    }
    shoal_output_destroy(&run.output);
    shoal_progress_destroy(&run.progress);
    if (run.signal_fd >= 0) {
        (void)close(run.signal_fd);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void
shoal_run_result_fini(shoal_run_result_t *result)
{
    shoal_report_destroy(&result->report);
    free(result->part);
    free(result->letters_file);
    result->part = result->letters_file = NULL;
}
