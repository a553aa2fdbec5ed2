// SPDX-License-Identifier: Apache-2.0
//
// session.c - see session.h.
//
// Design: every attempt from CALL to its RESULT stands in one table here. A registration that is
// lost takes with it the batches that were on their way, and a head that was started again has none
// of those that arrived, so attempts that have streamed are given back, also those whose result is
// still kept, and the others go on: docs/protocol.md, R-6.12. News of slots stay in their queue
// while there is no registration, which bounds them by the attempts' credit.

#include "worker/session.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "worker/session_parts.h"

#define BATCH_BYTES 65536 // before WELCOME; never used, as calls come after it
#define STREAM_LOST "the registration at the head was lost while the call streamed"

// ---- state

static const char *const state_names[] = {"WAITING", "GREETING", "READY", "ENDED"};

void
shoal_session_become(shoal_session_t *session, shoal_session_state_t state, const char *why)
{
    shoal_log(session->log, SHOAL_LOG_DEBUG, "LINK-STATE", "from=%s to=%s reason=\"%s\"",
              state_names[session->state], state_names[state], why);
    session->state = state;
}

// xorshift64*: jitter needs no better one.
static uint64_t
random_below(shoal_session_t *session, uint64_t limit)
{
    session->random ^= session->random >> 12;
    session->random ^= session->random << 25;
    session->random ^= session->random >> 27;
    return (session->random * UINT64_C(2685821657736338717) >> 33) % limit;
}

// ---- life

shoal_session_t *
shoal_session_new(const shoal_identity_t *identity, shoal_slots_t *slots,
                  shoal_session_send_fn *send, void *ctx, uint64_t seed, shoal_log_t *log)
{
    assert(identity->slots > 0 && identity->window > 0 && identity->window <= SHOAL_WINDOW_MAX);
    shoal_session_t *session = shoal_alloc(sizeof(*session));
    session->identity = *identity;
    session->slots = slots;
    session->send = send;
    session->ctx = ctx;
    session->log = log;
    session->random = seed | 1U;
    session->backoff_ms = SHOAL_BACKOFF_MS_MIN;
    session->retry_at_ms = SHOAL_TIME_NEVER;
    session->hand_back_ms = SHOAL_TIME_NEVER;
    session->drain_end_ms = SHOAL_TIME_NEVER;
    session->hang_at_ms = SHOAL_TIME_NEVER;
    session->heartbeat_ms = SHOAL_LIVENESS_MS_INITIAL / 5;
    session->liveness_ms = SHOAL_LIVENESS_MS_INITIAL;
    session->batch_bytes = BATCH_BYTES;
    session->record_bytes = SHOAL_RECORD_BYTES_MAX;
    session->attempt_max = (size_t)identity->window * SHOAL_CALLS_PER_WINDOW + identity->slots;
    session->results = shoal_results_new();
    return session;
}

void
shoal_session_destroy(shoal_session_t **session)
{
    if (!session || !*session) {
        return;
    }
    shoal_attempts_fini(&(*session)->attempts);
    shoal_news_destroy(&(*session)->stalled);
    shoal_results_destroy(&(*session)->results);
    shoal_buffer_fini(&(*session)->scratch);
    free(*session);
    *session = NULL;
}

shoal_session_state_t
shoal_session_state(const shoal_session_t *session)
{
    return session->state;
}

// ---- ends of attempts

void
shoal_session_report(shoal_session_t *session, shoal_attempt_t *attempt, shoal_outcome_t outcome,
                     const shoal_status_t *failure, shoal_slice_t detail)
{
    shoal_msg_result_t result = {.call = attempt->call,
                                 .attempt = attempt->number,
                                 .outcome = (uint64_t)outcome,
                                 .batches = attempt->batches,
                                 .records = attempt->records,
                                 .detail = detail};
    if (failure) {
        result.reason = shoal_slice_of(failure->text);
    }
    if (failure && outcome == SHOAL_OUTCOME_FAILED) {
        result.error_class = (uint64_t)failure->error_class;
        result.code = (uint64_t)failure->code;
        result.key = shoal_slice_of(failure->key);
    }
    shoal_results_keep(session->results, &result);
    shoal_attempts_remove(&session->attempts, attempt);
}

// It counts for nothing; the head gives the call out again.
static void
attempt_give_back(shoal_session_t *session, shoal_attempt_t *attempt, const char *reason)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_UNAVAILABLE, "%s", reason);
    shoal_session_report(session, attempt, SHOAL_OUTCOME_RETURNED, &why, SHOAL_SLICE_NONE);
}

static void
report_end(shoal_session_t *session, const shoal_news_t *news)
{
    shoal_attempt_t *attempt = news->attempt;
    if (attempt->is_forgotten) {
        shoal_attempts_remove(&session->attempts, attempt);
        return;
    }
    bool has_failed = news->outcome == SHOAL_OUTCOME_FAILED; // by itself: that stays true
    if (attempt->is_lost && !has_failed) {
        attempt_give_back(session, attempt, STREAM_LOST);
        return;
    }
    if (attempt->is_fenced && news->outcome == SHOAL_OUTCOME_CANCELLED) {
        attempt_give_back(session, attempt, "the head was not heard for too long to go on writing");
        return;
    }
    if (attempt->is_returned && news->outcome == SHOAL_OUTCOME_CANCELLED) {
        attempt_give_back(session, attempt, "the worker drains");
        return;
    }
    shoal_session_report(session, attempt, news->outcome, news->failure,
                         shoal_buffer_slice(&news->detail));
}

// False: the socket is full, and `news` stays as it is.
static bool
send_batch(shoal_session_t *session, shoal_news_t *news, uint64_t now_ms)
{
    shoal_attempt_t *attempt = news->attempt;
    if (attempt->is_lost || attempt->is_forgotten) {
        return true;
    }
    shoal_message_t batch = {.type = SHOAL_MSG_BATCH};
    batch.batch = (shoal_msg_batch_t){.call = attempt->call,
                                      .attempt = attempt->number,
                                      .seq = news->seq,
                                      .records = news->records,
                                      .more = news->more,
                                      .letters = news->letters};
    if (!shoal_session_say(session, &batch, &news->payload, now_ms)) {
        return false;
    }
    attempt->has_streamed = true;
    return true;
}

// False: the socket is full.
static bool
send_results(shoal_session_t *session, uint64_t now_ms)
{
    const shoal_msg_result_t *due = NULL;
    while ((due = shoal_results_due(session->results))) {
        shoal_message_t message = {.type = SHOAL_MSG_RESULT, .result = *due};
        if (!shoal_session_say(session, &message, NULL, now_ms)) {
            return false;
        }
        shoal_results_sent(session->results);
    }
    return true;
}

bool
shoal_session_wants_news(const shoal_session_t *session)
{
    return session->state == SHOAL_SESSION_READY && session->retry_at_ms == SHOAL_TIME_NEVER;
}

void
shoal_session_pump(shoal_session_t *session, size_t budget, uint64_t now_ms)
{
    for (size_t i = 0; i < budget && shoal_session_wants_news(session); i++) {
        if (!send_results(session, now_ms)) {
            return;
        }
        shoal_news_t *news = session->stalled;
        session->stalled = NULL;
        if (!news && !(news = shoal_slots_take_news(session->slots))) {
            break;
        }
        if (news->kind == SHOAL_NEWS_END) {
            report_end(session, news);
        } else if (!send_batch(session, news, now_ms)) {
            session->stalled = news;
            return;
        }
        shoal_news_destroy(&news);
    }
    if (session->state == SHOAL_SESSION_READY && send_results(session, now_ms)) {
        shoal_session_check_drained(session, now_ms);
    }
}

// ---- connections

void
shoal_session_opened(shoal_session_t *session, uint64_t now_ms)
{
    assert(session->state == SHOAL_SESSION_WAITING);
    session->retry_at_ms = SHOAL_TIME_NEVER;
    shoal_session_become(session, SHOAL_SESSION_GREETING, "connected");
    shoal_session_say_hello(session, now_ms);
}

// What an attempt has streamed may have been lost with its registration: it cannot go on.
static void
attempt_lose(void *ctx, shoal_attempt_t *attempt, uint64_t now_ms)
{
    shoal_session_t *session = ctx;
    if (attempt->has_streamed && !attempt->is_lost) {
        attempt->is_lost = true;
        (void)shoal_session_ask_to_end(session, attempt, now_ms); // it runs: its end will be news
    }
}

void
shoal_session_lose_streams(shoal_session_t *session, uint64_t now_ms)
{
    shoal_attempts_each(&session->attempts, attempt_lose, session, now_ms);
    shoal_results_lose_streams(session->results, STREAM_LOST);
}

void
shoal_session_closed(shoal_session_t *session, const char *why, uint64_t now_ms)
{
    if (session->state != SHOAL_SESSION_GREETING && session->state != SHOAL_SESSION_READY) {
        return;
    }
    bool was_ready = session->state == SHOAL_SESSION_READY;
    uint64_t half = session->backoff_ms / 2;
    uint64_t wait_ms = half + random_below(session, half + 1);
    session->backoff_ms = session->backoff_ms * 2 < SHOAL_BACKOFF_MS_MAX ? session->backoff_ms * 2
                                                                         : SHOAL_BACKOFF_MS_MAX;
    session->dial_at_ms = now_ms + wait_ms;
    shoal_session_lose_streams(session, now_ms);
    shoal_session_become(session, SHOAL_SESSION_WAITING, why);
    shoal_log(session->log, was_ready ? SHOAL_LOG_WARN : SHOAL_LOG_INFO, "LINK-LOST",
              "reason=\"%s\" dial_in_ms=%llu", why, (unsigned long long)wait_ms);
    shoal_session_check_drained(session, now_ms);
}

// ---- time

void
shoal_session_tick(shoal_session_t *session, uint64_t now_ms)
{
    if (session->retry_at_ms != SHOAL_TIME_NEVER && now_ms >= session->retry_at_ms) {
        session->retry_at_ms = SHOAL_TIME_NEVER;
    }
    if (session->state == SHOAL_SESSION_GREETING &&
        now_ms >= session->greeted_ms + session->liveness_ms) {
        shoal_session_closed(session, "the head did not answer HELLO", now_ms);
    } else if (session->state == SHOAL_SESSION_READY &&
               now_ms >= session->heard_ms + session->liveness_ms) {
        shoal_session_closed(session, "the head is silent", now_ms);
    } else if (session->state == SHOAL_SESSION_READY && now_ms >= session->beat_at_ms) {
        shoal_session_say_heartbeat(session, now_ms);
        session->beat_at_ms = now_ms + session->heartbeat_ms;
    }
    shoal_session_check_hung(session, now_ms);
    shoal_session_check_drained(session, now_ms);
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t
shoal_session_next(const shoal_session_t *session)
{
    uint64_t next = earlier(session->hang_at_ms, session->hand_back_ms);
    next = earlier(next, session->is_draining ? session->drain_end_ms : SHOAL_TIME_NEVER);
    switch (session->state) {
    case SHOAL_SESSION_WAITING: return earlier(next, session->dial_at_ms);
    case SHOAL_SESSION_GREETING: return earlier(next, session->greeted_ms + session->liveness_ms);
    case SHOAL_SESSION_READY:
        next = earlier(next, session->retry_at_ms);
        next = earlier(next, session->heard_ms + session->liveness_ms);
        return earlier(next, session->beat_at_ms);
    case SHOAL_SESSION_ENDED:
    default: return SHOAL_TIME_NEVER;
    }
}
