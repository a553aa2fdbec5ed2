// SPDX-License-Identifier: Apache-2.0
//
// patience.c - see run_parts.h: a run and time.

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "client/run_parts.h"

static void
sync_output(shoal_run_t *run)
{
    uint64_t commit = 0;
    run->sync_ms = 0;
    if (!shoal_output_sync(run->output, &commit, &run->result->status)) {
        shoal_run_fail(run);
        return;
    }
    shoal_run_send_taken(run, commit);
}

// The options of a suggested command that finds the same head.
static const char *
head_options(const shoal_run_t *run)
{
    return run->plan->head_options ? run->plan->head_options : "";
}

static void
try_for_room(shoal_run_t *run, uint64_t now_ms)
{
    if (now_ms >= run->room_until_ms) {
        char next[PATH_MAX + 768] = "make room and run it again";
        if (!run->local) {
            (void)snprintf(next, sizeof(next),
                           "make room, then fetch it again: shoal job output %llu -o %.500s%s",
                           (unsigned long long)run->result->job, shoal_output_path(run->output),
                           head_options(run));
        }
        (void)shoal_fail(&run->result->status, SHOAL_LIMIT,
                         "cannot write \"%.200s\": the disk is "
                         "full; %s",
                         shoal_output_part(run->output), next);
        shoal_run_fail(run);
        return;
    }
    run->room_try_ms = 0;
    shoal_run_send_output(run);
}

// How long the head may be away, by what is known of it.
static uint64_t
allowed_away(const shoal_run_t *run)
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
tell_lost(shoal_run_t *run, uint64_t allowed_ms)
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
fail_lost(shoal_run_t *run, uint64_t now_ms)
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
                         "--head); if it comes back, fetch the output: shoal job output %llu%s",
                         where, seconds, (unsigned long long)result->job, head_options(run));
    } else {
        (void)shoal_fail(&result->status, SHOAL_UNAVAILABLE,
                         "no answer from the head at %s for %llu s (is it stopped? shoal start "
                         "--head)",
                         where, seconds);
    }
    shoal_run_fail(run);
}

static void
check_head(shoal_run_t *run, uint64_t now_ms)
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

void
shoal_run_due(shoal_run_t *run, uint64_t now_ms)
{
    check_head(run, now_ms);
    if (!run->is_over && run->sync_ms > 0 && now_ms >= run->sync_ms) {
        sync_output(run);
    }
    if (!run->is_over && run->room_try_ms > 0 && now_ms >= run->room_try_ms) {
        try_for_room(run, now_ms);
    }
    if (run->stop_ms > 0 &&
        (now_ms >= run->stop_ms + SHOAL_RUN_STOP_MS || shoal_run_is_headless(run, now_ms))) {
        run->is_over = true; // the head did not end the job in time: leave without it
    }
    shoal_report_t *report = run->result->report;
    if (report && !shoal_run_is_final(run) &&
        now_ms > run->report_ms) { // time goes on between events
        report->seconds = report->said_seconds + (double)(now_ms - run->report_ms) / 1000.0;
    }
    shoal_progress_update(run->progress, report, now_ms);
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t
shoal_run_next_due(const shoal_run_t *run, uint64_t now_ms)
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
