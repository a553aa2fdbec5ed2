// SPDX-License-Identifier: Apache-2.0
//
// leave.c - how a session comes to its end: draining, and slots that do not react; see
// session_parts.h.

#include "worker/session_parts.h"

// ---- attempts that were asked to end

// How long a slot may take to notice.
static uint64_t
patience_ms(const shoal_session_t *session)
{
    uint64_t limit_ms = session->is_draining ? SHOAL_DRAIN_GRACE_MS : SHOAL_HANG_MS_MAX;
    return session->lease_ms > 0 && session->lease_ms < limit_ms ? session->lease_ms : limit_ms;
}

bool
shoal_session_ask_to_end(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t now_ms)
{
    if (shoal_slots_cancel(session->slots, attempt)) {
        return true;
    }
    if (attempt->asked_ms == 0) {
        attempt->asked_ms = now_ms;
        uint64_t due_ms = now_ms + patience_ms(session);
        session->hang_at_ms = due_ms < session->hang_at_ms ? due_ms : session->hang_at_ms;
    }
    return false;
}

// Reports an attempt for a slot that does not; nothing that it may still say is listened to. Its
// memory is the slot's as long as that lives.
static void
attempt_abandon(shoal_session_t *session, shoal_attempt_t *attempt)
{
    shoal_log(session->log, SHOAL_LOG_ERROR, "LINK-HUNG",
              "call=%llu attempt=%u reason=\"it was asked to end and its slot does not react\"",
              (unsigned long long)attempt->call, attempt->number);
    if (!attempt->is_forgotten) {
        bool is_cancelled = !attempt->is_returned && !attempt->is_lost;
        shoal_msg_result_t result = {.call = attempt->call,
                                     .attempt = attempt->number,
                                     .outcome = is_cancelled ? SHOAL_OUTCOME_CANCELLED
                                                             : SHOAL_OUTCOME_RETURNED,
                                     .reason = SHOAL_SLICE("its slot does not react")};
        shoal_results_keep(session->results, &result);
        shoal_attempts_forget(&session->attempts, attempt);
    }
    attempt->asked_ms = SHOAL_TIME_NEVER; // told once
}

static void
attempt_check(void *ctx, shoal_attempt_t *attempt, uint64_t now_ms)
{
    shoal_session_t *session = ctx;
    if (attempt->asked_ms == 0 || attempt->asked_ms == SHOAL_TIME_NEVER ||
        !shoal_slots_has(session->slots, attempt)) {
        return;
    }
    uint64_t due_ms = attempt->asked_ms + patience_ms(session);
    if (now_ms < due_ms) {
        session->hang_at_ms = due_ms < session->hang_at_ms ? due_ms : session->hang_at_ms;
        return;
    }
    attempt_abandon(session, attempt);
    session->is_hung = true;
}

static void
attempt_hand_back(void *ctx, shoal_attempt_t *attempt, uint64_t now_ms)
{
    shoal_session_t *session = ctx;
    if (!attempt->is_forgotten) {
        attempt->is_returned = true;
        if (shoal_session_ask_to_end(session, attempt, now_ms)) {
            shoal_session_report(session, attempt, SHOAL_OUTCOME_RETURNED, NULL, SHOAL_SLICE_NONE);
        }
    }
}

// ---- draining

static void
attempt_return(void *ctx, shoal_attempt_t *attempt, uint64_t arg)
{
    shoal_session_t *session = ctx;
    (void)arg;
    if (!attempt->is_forgotten && shoal_slots_take_back(session->slots, attempt)) {
        shoal_session_report(session, attempt, SHOAL_OUTCOME_RETURNED, NULL, SHOAL_SLICE_NONE);
    }
}

static void
drain(shoal_session_t *session, uint64_t drain_ms, const char *why, uint64_t now_ms)
{
    uint64_t due_ms =
        now_ms + (drain_ms == SHOAL_TIME_NEVER ? session->identity.drain_ms : drain_ms);
    if (session->is_draining) {
        session->hand_back_ms =
            session->hand_back_ms != SHOAL_TIME_NEVER && due_ms < session->hand_back_ms
                ? due_ms
                : session->hand_back_ms;
        return;
    }
    session->is_draining = true;
    session->hand_back_ms = due_ms;
    if (session->hang_at_ms != SHOAL_TIME_NEVER) {
        session->hang_at_ms = now_ms; // patience is shorter now
    }
    shoal_log(session->log, SHOAL_LOG_INFO, "LINK-DRAIN", "calls=%zu reason=\"%s\"",
              session->attempts.count, why);
    if (session->state == SHOAL_SESSION_READY) {
        shoal_session_say_no_window(session, now_ms);
    }
    shoal_attempts_each(&session->attempts, attempt_return, session, 0);
}

void
shoal_session_drain(shoal_session_t *session, uint64_t drain_ms, const char *why, uint64_t now_ms)
{
    if (session->state != SHOAL_SESSION_ENDED) {
        session->is_leaving = true;
        drain(session, drain_ms, why, now_ms);
        shoal_session_check_drained(session, now_ms);
    }
}

bool
shoal_session_is_hung(const shoal_session_t *session)
{
    return session->is_hung && !session->is_leaving;
}

bool
shoal_session_is_stuck(const shoal_session_t *session)
{
    return session->attempts.count > 0;
}

void
shoal_session_check_hung(shoal_session_t *session, uint64_t now_ms)
{
    if (now_ms >= session->hand_back_ms) {
        session->hand_back_ms = SHOAL_TIME_NEVER;
        shoal_attempts_each(&session->attempts, attempt_hand_back, session, now_ms);
    }
    if (now_ms >= session->hang_at_ms) {
        session->hang_at_ms = SHOAL_TIME_NEVER;
        shoal_attempts_each(&session->attempts, attempt_check, session, now_ms);
    }
    if (session->is_hung && !session->is_draining) {
        drain(session, SHOAL_TIME_NEVER, "a slot does not react", now_ms);
    }
}

void
shoal_session_check_drained(shoal_session_t *session, uint64_t now_ms)
{
    if (!session->is_draining || session->state == SHOAL_SESSION_ENDED) {
        return;
    }
    bool is_ready = session->state == SHOAL_SESSION_READY;
    bool is_idle = session->attempts.count == session->attempts.forgotten;
    bool is_done = is_idle && shoal_results_count(session->results) == 0;
    if (is_ready && !is_idle) {
        session->drain_end_ms = SHOAL_TIME_NEVER;
        return;
    }
    if (session->drain_end_ms == SHOAL_TIME_NEVER) {
        session->drain_end_ms = now_ms + session->liveness_ms;
    }
    if (!is_done && now_ms < session->drain_end_ms) {
        return;
    }
    if (is_ready) {
        shoal_message_t bye = {.type = SHOAL_MSG_BYE};
        bye.bye.reason =
            shoal_session_is_hung(session) ? SHOAL_SLICE("hung") : SHOAL_SLICE("drained");
        (void)shoal_session_say(session, &bye, NULL, now_ms);
    }
    session->hang_at_ms = SHOAL_TIME_NEVER;
    session->hand_back_ms = SHOAL_TIME_NEVER;
    shoal_session_become(session, SHOAL_SESSION_ENDED,
                         is_done ? "drained" : "drained, not all acknowledged");
}
