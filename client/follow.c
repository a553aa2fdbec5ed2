// SPDX-License-Identifier: Apache-2.0
//
// follow.c - see run_parts.h: a run as the head's client.

#include <signal.h>
#include <stdio.h>

#include "client/run_parts.h"

void
shoal_run_fail(shoal_run_t *run)
{
    run->is_over = true;
}

bool
shoal_run_is_final(const shoal_run_t *run)
{
    return run->result->report && shoal_report_is_final(run->result->report);
}

void
shoal_run_check_end(shoal_run_t *run)
{
    bool is_stuck = run->stop_ms > 0 && run->room_until_ms > 0; // interrupted with a full disk
    bool is_written = !run->output || (run->is_ended && shoal_output_waiting(run->output) == 0);
    if (shoal_run_is_final(run) && (is_written || is_stuck)) {
        run->is_over = true;
    }
}

// ---- what is asked of the head

static void
send_submit(shoal_run_t *run)
{
    shoal_message_t submit = {.type = SHOAL_MSG_SUBMIT};
    run->submit_request = shoal_session_request(run->session);
    submit.submit.request = run->submit_request;
    submit.submit.id = shoal_slice_of(run->job_id);
    (void)shoal_session_send(run->session, &submit, run->plan->spec); // again when up, if it fails
}

void
shoal_run_send_output(shoal_run_t *run)
{
    if (!run->output || run->is_ended) {
        return;
    }
    if (!shoal_output_rewind(run->output, &run->result->status)) {
        shoal_run_fail(run);
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
send_stop(shoal_run_t *run)
{
    shoal_message_t stop = {.type = SHOAL_MSG_STOP};
    stop.stop.request = shoal_session_request(run->session);
    stop.stop.job = run->result->job;
    stop.stop.reason = SHOAL_SLICE("interrupted at the command line");
    (void)shoal_session_send(run->session, &stop, SHOAL_SLICE_NONE);
}

static void
follow_job(shoal_run_t *run)
{
    shoal_message_t watch = {.type = SHOAL_MSG_WATCH};
    watch.watch.request = shoal_session_request(run->session);
    watch.watch.job = run->result->job;
    (void)shoal_session_send(run->session, &watch, SHOAL_SLICE_NONE);
    if (run->room_until_ms == 0) {
        shoal_run_send_output(run);
    }
    if (run->stop_ms > 0) {
        send_stop(run);
    }
}

// A private head that has lost its memory of the job: it gets the job again, under another id.
static void
begin_again(shoal_run_t *run)
{
    shoal_progress_say(run->progress, "the job begins again from the start");
    shoal_random_id(run->job_id);
    shoal_report_destroy(&run->result->report);
    run->result->job = 0;
    run->is_ended = false;
    run->room_until_ms = 0;
    run->sync_ms = 0;
    if (run->output && !shoal_output_restart(run->output, run->job_id, &run->result->status)) {
        shoal_run_fail(run);
        return;
    }
    send_submit(run);
}

void
shoal_run_on_up(void *ctx, const shoal_msg_welcome_t *welcome, bool is_other_head)
{
    shoal_run_t *run = ctx;
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
        shoal_run_fail(run);
    }
}

// ---- what the head says

static void
on_accepted(shoal_run_t *run, const shoal_msg_accepted_t *accepted)
{
    if (accepted->request != run->submit_request || run->result->job != 0) {
        return;
    }
    run->result->job = accepted->job;
    follow_job(run);
}

static void
on_event(shoal_run_t *run, const shoal_msg_event_t *event)
{
    if (event->job != run->result->job || shoal_run_is_final(run)) {
        return;
    }
    shoal_report_t *report = NULL;
    if (!shoal_report_read(event->state, event->detail, &report, &run->result->status)) {
        shoal_run_fail(run);
        return;
    }
    shoal_report_destroy(&run->result->report);
    run->result->report = report;
    run->report_ms = shoal_clock_ms();
    shoal_run_check_end(run);
}

void
shoal_run_send_taken(shoal_run_t *run, uint64_t safe_commit)
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
give_credit(shoal_run_t *run, size_t bytes)
{
    run->untold_bytes += bytes;
    if (run->untold_bytes >= SHOAL_RUN_CREDIT / 8) {
        shoal_run_send_taken(run, 0);
    }
}

bool
shoal_run_is_headless(const shoal_run_t *run, uint64_t now_ms)
{
    if (!run->session || !shoal_session_is_up(run->session)) {
        return now_ms >= run->up_ms + SHOAL_RUN_REDIAL_MS;
    }
    return !run->local && shoal_session_is_silent(run->session, now_ms);
}

bool
shoal_run_may_have_begun(const shoal_run_t *run)
{
    return run->result->job > 0 || (!run->local && run->submit_request > 0);
}

void
shoal_run_stop(shoal_run_t *run, uint64_t now_ms)
{
    run->stop_ms = now_ms;
    if (run->result->job > 0) {
        send_stop(run);
    }
}

// The output cannot be written: the run fails. But a reader who has seen enough, as `head` has, is
// no failure; the job is stopped, and nothing is said.
static void
fail_output(shoal_run_t *run)
{
    shoal_run_result_t *result = run->result;
    if (!shoal_output_has_lost_reader(run->output)) {
        shoal_run_fail(run);
        return;
    }
    uint64_t now_ms = shoal_clock_ms();
    shoal_status_clear(&result->status);
    shoal_output_destroy(&run->output);
    run->sync_ms = run->room_try_ms = run->room_until_ms = 0;
    result->signal = result->signal ? result->signal : SIGPIPE;
    run->is_over = !shoal_run_may_have_begun(run) || run->plan->is_watching ||
                   shoal_run_is_headless(run, now_ms);
    if (!run->is_over && run->stop_ms == 0) {
        shoal_run_stop(run, now_ms);
    }
    shoal_run_check_end(run);
}

static void
wait_for_room(shoal_run_t *run, uint64_t now_ms)
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
on_piece(shoal_run_t *run, const shoal_msg_piece_t *piece, shoal_slice_t payload)
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

void
shoal_run_drain(shoal_run_t *run)
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
    shoal_run_check_end(run);
}

static void
on_output_end(shoal_run_t *run, const shoal_msg_output_end_t *end)
{
    if (!run->output || end->job != run->result->job || run->room_try_ms > 0) {
        return;
    }
    if (end->commits + 1 != shoal_output_next(run->output)) {
        (void)shoal_fail(&run->result->status, SHOAL_PROTOCOL,
                         "the head says that the output has %llu commits, but %llu came",
                         (unsigned long long)end->commits,
                         (unsigned long long)shoal_output_next(run->output) - 1);
        shoal_run_fail(run);
        return;
    }
    run->is_ended = true;
    shoal_run_check_end(run);
}

static void
on_refused(shoal_run_t *run, const shoal_msg_error_t *error)
{
    if (error->refers == SHOAL_MSG_STOP) {
        return; // it had ended already
    }
    (void)shoal_fail(&run->result->status, shoal_code_from(error->code), "the head %s: %.*s",
                     error->refers == SHOAL_MSG_OUTPUT ? "cannot give the job's output"
                                                       : "refuses the job",
                     SHOAL_SLICE_ARGS(error->reason));
    if (run->result->status.code == SHOAL_INVALID) { // of our making, not of the file
        run->result->status.code = SHOAL_INTERNAL;
    }
    shoal_run_fail(run);
}

void
shoal_run_on_message(void *ctx, const shoal_message_t *message, shoal_slice_t payload)
{
    shoal_run_t *run = ctx;
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
