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
#include "client/output.h"
#include "client/session.h"
#include "client/text.h"
#include "proto/base/alloc.h"

typedef struct run {
    const shoal_run_plan_t *plan;
    shoal_run_result_t *result;
    shoal_progress_t *progress;
    shoal_local_t *local;     // NULL: a running head is used
    shoal_session_t *session; // NULL until there is something to dial
    shoal_output_t *output;
    int signal_fd;
    char job_id[SHOAL_RANDOM_ID_SIZE + 32];
    uint64_t submit_request;
    uint64_t start_ms;
    uint64_t report_ms;     // when the last event came
    uint64_t up_ms;         // last time the session was seen up
    uint64_t stop_ms;       // when STOP was asked for, 0: not
    uint64_t room_until_ms; // the disk is full: give up then; 0: it is not
    uint64_t room_try_ms;   // ask for the output again then
    uint64_t sync_ms;       // make the output safe then; 0: nothing new
    uint64_t untold_bytes;  // of output, written and not yet given back as credit
    uint64_t due_ms;        // when run_due() was last called
    bool is_lost;           // that the head does not answer has been said
    bool is_ended;          // OUTPUT_END came and every commit is here
    bool is_over;
} run_t;

// Ends the run with the status that is set.
static void
fail(run_t *run)
{
    run->is_over = true;
}

static bool
is_final(const run_t *run)
{
    return run->result->report && shoal_report_is_final(run->result->report);
}

static void
check_end(run_t *run)
{
    bool is_stuck = run->stop_ms > 0 && run->room_until_ms > 0; // interrupted with a full disk
    bool is_written = !run->output || (run->is_ended && shoal_output_waiting(run->output) == 0);
    if (is_final(run) && (is_written || is_stuck)) {
        run->is_over = true;
    }
}

// ---- what is asked of the head

static void
send_submit(run_t *run)
{
    shoal_message_t submit = {.type = SHOAL_MSG_SUBMIT};
    run->submit_request = shoal_session_request(run->session);
    submit.submit.request = run->submit_request;
    submit.submit.id = shoal_slice_of(run->job_id);
    (void)shoal_session_send(run->session, &submit, run->plan->spec); // again when up, if it fails
}

static void
send_output(run_t *run)
{
    if (!run->output || run->is_ended) {
        return;
    }
    if (!shoal_output_rewind(run->output, &run->result->status)) {
        fail(run);
        return;
    }
    shoal_message_t output = {.type = SHOAL_MSG_OUTPUT};
    output.output.request = shoal_session_request(run->session);
    output.output.job = run->result->job;
    output.output.from = shoal_output_next(run->output);
    size_t waiting = shoal_output_waiting(run->output);
    output.output.credit = waiting < SHOAL_RUN_CREDIT ? SHOAL_RUN_CREDIT - waiting : 0;
    run->untold_bytes = 0;
    (void)shoal_session_send(run->session, &output, SHOAL_SLICE_NONE);
}

static void
send_stop(run_t *run)
{
    shoal_message_t stop = {.type = SHOAL_MSG_STOP};
    stop.stop.request = shoal_session_request(run->session);
    stop.stop.job = run->result->job;
    stop.stop.reason = SHOAL_SLICE("interrupted at the command line");
    (void)shoal_session_send(run->session, &stop, SHOAL_SLICE_NONE);
}

static void
follow_job(run_t *run)
{
    shoal_message_t watch = {.type = SHOAL_MSG_WATCH};
    watch.watch.request = shoal_session_request(run->session);
    watch.watch.job = run->result->job;
    (void)shoal_session_send(run->session, &watch, SHOAL_SLICE_NONE);
    if (run->room_until_ms == 0) {
        send_output(run);
    }
    if (run->stop_ms > 0) {
        send_stop(run);
    }
}

// A private head without memory of the job: it gets the job again, under another id.
static void
begin_again(run_t *run)
{
    shoal_random_id(run->job_id);
    shoal_report_destroy(&run->result->report);
    run->result->job = 0;
    run->is_ended = false;
    run->room_until_ms = 0;
    run->sync_ms = 0;
    if (run->output && !shoal_output_restart(run->output, run->job_id, &run->result->status)) {
        fail(run);
        return;
    }
    send_submit(run);
}

static void
on_up(void *ctx, const shoal_msg_welcome_t *welcome, bool is_other_head)
{
    run_t *run = ctx;
    (void)welcome;
    if (run->result->job == 0) {
        send_submit(run);
    } else if (!is_other_head) {
        follow_job(run);
    } else if (run->local && run->stop_ms == 0) {
        begin_again(run);
    } else {
        (void)shoal_fail(&run->result->status, SHOAL_NOT_FOUND,
                         "the head was started anew and does not know job %llu any more; submit it "
                         "again",
                         (unsigned long long)run->result->job);
        fail(run);
    }
}

// ---- what the head says

static void
on_accepted(run_t *run, const shoal_msg_accepted_t *accepted)
{
    if (accepted->request != run->submit_request || run->result->job != 0) {
        return;
    }
    run->result->job = accepted->job;
    follow_job(run);
}

static void
on_event(run_t *run, const shoal_msg_event_t *event)
{
    if (event->job != run->result->job || is_final(run)) {
        return;
    }
    shoal_report_t *report = NULL;
    if (!shoal_report_read(event->state, event->detail, &report, &run->result->status)) {
        fail(run);
        return;
    }
    shoal_report_destroy(&run->result->report);
    run->result->report = report;
    run->report_ms = shoal_clock_ms();
    check_end(run);
}

// Tells the head what is safe here and how much more it may send.
static void
send_taken(run_t *run, uint64_t safe_commit)
{
    shoal_message_t taken = {.type = SHOAL_MSG_TAKEN};
    taken.taken.job = run->result->job;
    taken.taken.commit = safe_commit;
    taken.taken.bytes = run->untold_bytes;
    if (shoal_session_send(run->session, &taken, SHOAL_SLICE_NONE)) {
        run->untold_bytes = 0;
    }
}

// So many bytes of output have left us.
static void
give_credit(run_t *run, size_t bytes)
{
    run->untold_bytes += bytes;
    if (run->untold_bytes >= SHOAL_RUN_CREDIT / 8) {
        send_taken(run, 0);
    }
}

// Without a connection, or nothing comes over it: nobody takes a STOP.
static bool
is_headless(const run_t *run, uint64_t now_ms)
{
    if (!run->session || !shoal_session_is_up(run->session)) {
        return now_ms >= run->up_ms + SHOAL_RUN_REDIAL_MS;
    }
    return !run->local && shoal_session_is_silent(run->session, now_ms);
}

// The job may be the head's already while its number is not known yet: ACCEPTED tells it, and then
// it is stopped. A private head ends with us, and its jobs with it.
static bool
may_have_begun(const run_t *run)
{
    return run->result->job > 0 || (!run->local && run->submit_request > 0);
}

// Sends STOP now, or as soon as the job's number is there.
static void
stop_job(run_t *run, uint64_t now_ms)
{
    run->stop_ms = now_ms;
    if (run->result->job > 0) {
        send_stop(run);
    }
}

// The output cannot be written: the run fails. But a reader who has seen enough, as `head` has, is
// no failure; the job is stopped, and nothing is said.
static void
fail_output(run_t *run)
{
    shoal_run_result_t *result = run->result;
    if (!shoal_output_has_lost_reader(run->output)) {
        fail(run);
        return;
    }
    uint64_t now_ms = shoal_clock_ms();
    shoal_status_clear(&result->status);
    shoal_output_destroy(&run->output);
    run->sync_ms = run->room_try_ms = run->room_until_ms = 0;
    result->signal = result->signal ? result->signal : SIGPIPE;
    run->is_over = !may_have_begun(run) || run->plan->is_watching || is_headless(run, now_ms);
    if (!run->is_over && run->stop_ms == 0) {
        stop_job(run, now_ms);
    }
    check_end(run);
}

static void
wait_for_room(run_t *run, uint64_t now_ms)
{
    uint64_t room_ms = run->plan->room_ms ? run->plan->room_ms : SHOAL_RUN_ROOM_MS;
    if (run->room_until_ms == 0) {
        char line[SHOAL_STATUS_TEXT_MAX + 128];
        run->room_until_ms = now_ms + room_ms;
        (void)snprintf(line, sizeof(line),
                       "%s: waiting up to %llu s for room; the job goes on meanwhile",
                       run->result->status.text, (unsigned long long)((room_ms + 999) / 1000));
        shoal_progress_say(run->progress, line);
    }
    run->room_try_ms = now_ms + SHOAL_RUN_ROOM_TRY_MS;
    shoal_status_clear(&run->result->status);
}

static void
on_piece(run_t *run, const shoal_msg_piece_t *piece, shoal_slice_t payload)
{
    if (!run->output || piece->job != run->result->job || run->room_try_ms > 0) {
        return; // what comes while the disk is full is asked for again
    }
    size_t waited = shoal_output_waiting(run->output);
    switch (shoal_output_write(run->output, piece->commit, piece->index, payload, piece->last,
                               &run->result->status)) {
    case SHOAL_OUTPUT_TAKEN: break;
    case SHOAL_OUTPUT_SKIPPED:
        if (shoal_output_is_stream(run->output)) { // it has it already
            give_credit(run, payload.len);
        }
        return;
    case SHOAL_OUTPUT_NO_ROOM: wait_for_room(run, shoal_clock_ms()); return;
    case SHOAL_OUTPUT_BROKEN:
    default: fail_output(run); return;
    }
    if (run->room_until_ms > 0) {
        shoal_progress_say(run->progress, "there is room again: writing goes on");
        run->room_until_ms = 0;
    }
    if (piece->last && run->sync_ms == 0) {
        run->sync_ms = shoal_clock_ms() + SHOAL_RUN_SYNC_MS;
    }
    give_credit(run, waited + payload.len - shoal_output_waiting(run->output));
}

// A slow reader of standard output takes more.
static void
drain_output(run_t *run)
{
    size_t waited = run->output ? shoal_output_waiting(run->output) : 0;
    if (waited == 0) {
        return;
    }
    if (!shoal_output_drain(run->output, &run->result->status)) {
        fail_output(run);
        return;
    }
    give_credit(run, waited - shoal_output_waiting(run->output));
    check_end(run);
}

static void
on_output_end(run_t *run, const shoal_msg_output_end_t *end)
{
    if (!run->output || end->job != run->result->job || run->room_try_ms > 0) {
        return;
    }
    if (end->commits + 1 != shoal_output_next(run->output)) {
        (void)shoal_fail(&run->result->status, SHOAL_PROTOCOL,
                         "the head says that the output has %llu commits, but %llu came",
                         (unsigned long long)end->commits,
                         (unsigned long long)shoal_output_next(run->output) - 1);
        fail(run);
        return;
    }
    run->is_ended = true;
    check_end(run);
}

static void
on_refused(run_t *run, const shoal_msg_error_t *error)
{
    if (error->refers == SHOAL_MSG_STOP) {
        return; // it had ended already
    }
    (void)shoal_fail(&run->result->status, shoal_code_from(error->code),
                     "the head refuses the job: %.*s", SHOAL_SLICE_ARGS(error->reason));
    if (run->result->status.code == SHOAL_INVALID) { // of our making, not of the file
        run->result->status.code = SHOAL_INTERNAL;
    }
    fail(run);
}

static void
on_message(void *ctx, const shoal_message_t *message, shoal_slice_t payload)
{
    run_t *run = ctx;
    if (run->is_over) {
        return;
    }
    switch ((int)message->type) {
    case SHOAL_MSG_ACCEPTED: on_accepted(run, &message->accepted); break;
    case SHOAL_MSG_EVENT: on_event(run, &message->event); break;
    case SHOAL_MSG_PIECE: on_piece(run, &message->piece, payload); break;
    case SHOAL_MSG_OUTPUT_END: on_output_end(run, &message->output_end); break;
    case SHOAL_MSG_ERROR: on_refused(run, &message->error); break;
    default: break;
    }
}

// ---- the private cluster

static void
on_child_line(void *ctx, const char *line)
{
    run_t *run = ctx;
    shoal_progress_say(run->progress, line);
}

static bool
open_session(run_t *run, const char *endpoint, shoal_status_t *status)
{
    shoal_session_config_t config = {.endpoint = endpoint, .join = run->plan->join};
    if (run->local) { // it is there in a moment, and nobody else dials
        config.retry_ms = 2;
        config.retry_max_ms = 50;
    }
    const shoal_session_listener_t listener = {run, on_up, on_message};
    return shoal_session_new(&config, &listener, shoal_clock_ms(), &run->session, status);
}

static void
on_head_ready(void *ctx, bool is_restart)
{
    run_t *run = ctx;
    (void)is_restart;
    if (run->session) {
        shoal_session_redial(run->session, shoal_clock_ms());
    } else if (!open_session(run, shoal_local_endpoint(run->local), &run->result->status)) {
        fail(run);
    }
}

// ---- signals

static void
take_signal(run_t *run, int number, uint64_t now_ms)
{
    if (run->result->signal) {
        run->result->was_killed = true;
        run->is_over = true;
        return;
    }
    run->result->signal = number;
    if (!may_have_begun(run) || run->plan->is_watching) {
        run->is_over = true;
        return;
    }
    if (is_headless(run, now_ms)) {
        shoal_progress_say(run->progress, "leaving: there is no head to stop the job");
        run->is_over = true;
        return;
    }
    shoal_progress_say(run->progress, number == SIGINT
                                          ? "stopping the job; press Ctrl-C again to leave at once"
                                          : "stopping the job");
    stop_job(run, now_ms);
}

static void
take_signals(run_t *run, uint64_t now_ms)
{
    struct signalfd_siginfo info;
    while (read(run->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        take_signal(run, (int)info.ssi_signo, now_ms);
    }
}

// ---- time

static void
sync_output(run_t *run)
{
    uint64_t commit = 0;
    run->sync_ms = 0;
    if (!shoal_output_sync(run->output, &commit, &run->result->status)) {
        fail(run);
        return;
    }
    send_taken(run, commit);
}

static void
try_for_room(run_t *run, uint64_t now_ms)
{
    if (now_ms >= run->room_until_ms) {
        char next[768] = "make room and run it again";
        if (!run->local) {
            (void)snprintf(next, sizeof(next),
                           "make room, then fetch it again: shoal job output %llu -o %.500s",
                           (unsigned long long)run->result->job, shoal_output_path(run->output));
        }
        (void)shoal_fail(&run->result->status, SHOAL_LIMIT,
                         "cannot write \"%.200s\": the disk is "
                         "full; %s",
                         shoal_output_part(run->output), next);
        fail(run);
        return;
    }
    run->room_try_ms = 0;
    send_output(run);
}

// How long the head may be away, by what is known of it.
static uint64_t
allowed_away(const run_t *run)
{
    if (run->local) {
        return SHOAL_RUN_START_MS;
    }
    uint64_t lost_ms = run->plan->lost_ms ? run->plan->lost_ms : SHOAL_RUN_LOST_MS;
    if (!run->session || shoal_session_head(run->session)[0] == '\0') {
        return SHOAL_RUN_DIAL_MS; // it has never answered
    }
    bool has_parted = shoal_session_has_parted(run->session);
    return has_parted && lost_ms > SHOAL_RUN_BYE_MS ? SHOAL_RUN_BYE_MS : lost_ms;
}

// Says once that a running head has gone, and how long it is waited for.
static void
tell_lost(run_t *run, uint64_t allowed_ms)
{
    if (run->is_lost || run->local || !run->session ||
        shoal_session_head(run->session)[0] == '\0') {
        return;
    }
    char line[512];
    run->is_lost = true;
    (void)snprintf(line, sizeof(line), "the head at %.300s %s: waiting up to %llu s for it",
                   run->plan->endpoint,
                   shoal_session_has_parted(run->session) ? "has ended" : "does not answer",
                   (unsigned long long)((allowed_ms + 999) / 1000));
    shoal_progress_say(run->progress, line);
}

static void
fail_lost(run_t *run, uint64_t now_ms)
{
    shoal_run_result_t *result = run->result;
    const char *where = run->plan->endpoint ? run->plan->endpoint : "the private head";
    uint64_t since_ms = run->session ? shoal_session_heard(run->session) : 0;
    since_ms = since_ms ? since_ms : run->start_ms;
    unsigned long long seconds = (now_ms - since_ms) / 1000;
    const char *trouble = run->session ? shoal_session_trouble(run->session) : NULL;
    if (trouble) {
        (void)shoal_fail(&result->status, SHOAL_UNAVAILABLE, "no answer from the head at %s: %s",
                         where, trouble);
    } else if (run->local) {
        (void)shoal_fail(&result->status, SHOAL_UNAVAILABLE,
                         "no answer from the private head for %llu s; run it again", seconds);
    } else if (result->job > 0 && !shoal_session_has_parted(run->session)) {
        (void)shoal_fail(&result->status, SHOAL_UNAVAILABLE,
                         "no answer from the head at %s for %llu s (is it stopped? shoal start "
                         "--head); if it comes back, fetch the output: shoal job output %llu",
                         where, seconds, (unsigned long long)result->job);
    } else {
        (void)shoal_fail(&result->status, SHOAL_UNAVAILABLE,
                         "no answer from the head at %s for %llu s (is it stopped? shoal start "
                         "--head)",
                         where, seconds);
    }
    fail(run);
}

static void
check_head(run_t *run, uint64_t now_ms)
{
    if (run->due_ms > 0 && now_ms > run->due_ms + SHOAL_RUN_ASIDE_MS) {
        run->up_ms += now_ms - run->due_ms; // Ctrl-Z: the head had no chance
    }
    run->due_ms = now_ms;
    if (run->session && shoal_session_is_up(run->session)) {
        run->up_ms = now_ms;
        run->is_lost = false;
        return;
    }
    uint64_t allowed_ms = allowed_away(run);
    if (now_ms >= run->up_ms + allowed_ms) {
        fail_lost(run, now_ms);
    } else if (now_ms >= run->up_ms + SHOAL_RUN_REDIAL_MS ||
               (run->session && shoal_session_has_parted(run->session))) {
        tell_lost(run, allowed_ms);
    }
}

static void
run_due(run_t *run, uint64_t now_ms)
{
    check_head(run, now_ms);
    if (!run->is_over && run->sync_ms > 0 && now_ms >= run->sync_ms) {
        sync_output(run);
    }
    if (!run->is_over && run->room_try_ms > 0 && now_ms >= run->room_try_ms) {
        try_for_room(run, now_ms);
    }
    if (run->stop_ms > 0 &&
        (now_ms >= run->stop_ms + SHOAL_RUN_STOP_MS || is_headless(run, now_ms))) {
        run->is_over = true; // the head did not end the job in time: leave without it
    }
    shoal_report_t *report = run->result->report;
    if (report && !is_final(run) && now_ms > run->report_ms) { // time goes on between events
        report->seconds = report->said_seconds + (double)(now_ms - run->report_ms) / 1000.0;
    }
    shoal_progress_update(run->progress, report, now_ms);
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// When run_due() has something to do; a second at most, so that check_head() needs no timer.
static uint64_t
next_due(const run_t *run, uint64_t now_ms)
{
    uint64_t next = earlier(now_ms + 1000, shoal_progress_next(run->progress));
    if (run->session) {
        next = earlier(next, shoal_session_next(run->session));
    }
    if (run->sync_ms > 0) {
        next = earlier(next, run->sync_ms);
    }
    if (run->room_try_ms > 0) {
        next = earlier(next, run->room_try_ms);
    }
    return next;
}

// ---- the loop

static bool
wait_for_events(run_t *run, uint64_t now_ms)
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
    uint64_t next = next_due(run, now_ms);
    int got = zmq_poll(items, count, next > now_ms ? (long)(next - now_ms) : 0);
    if (got < 0 && errno != EINTR) {
        return shoal_fail(&run->result->status, SHOAL_INTERNAL, "cannot wait for events: %s",
                          zmq_strerror(errno));
    }
    return true;
}

static void
run_loop(run_t *run)
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
            drain_output(run);
        }
        if (!run->is_over) {
            run_due(run, now);
        }
    }
}

// ---- birth and death of a run

static bool
catch_signals(run_t *run, sigset_t *ret_before, shoal_status_t *status)
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
run_start(run_t *run, shoal_status_t *status)
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
finish_output(run_t *run)
{
    shoal_run_result_t *result = run->result;
    if (!run->output) {
        return;
    }
    bool is_good = result->status.code == SHOAL_OK && run->is_ended && is_final(run) &&
                   (strcmp(result->report->state, "SUCCEEDED") == 0 ||
                    strcmp(result->report->state, "PARTIAL") == 0);
    if (is_good && shoal_output_finish(run->output, &result->status)) {
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
save_letters(run_t *run)
{
    shoal_run_result_t *result = run->result;
    const char *output = run->plan->output;
    if (!run->local || result->was_killed || !is_final(run) || !output || !run->output ||
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
    run_t run = {.plan = plan, .result = ret_result, .signal_fd = -1};
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
