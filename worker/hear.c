// SPDX-License-Identifier: Apache-2.0
//
// hear.c - what a session does with each message of the head; see session_parts.h.

#include <stdio.h>

#include "worker/session_parts.h"

typedef struct heard {
    const shoal_message_t *message;
    shoal_slice_t payload;
    uint64_t now_ms;
} heard_t;

// Another head knows nothing of what the last one asked.
static void
attempt_forget(void *ctx, shoal_attempt_t *attempt, uint64_t now_ms)
{
    shoal_session_t *session = ctx;
    if (shoal_session_ask_to_end(session, attempt, now_ms)) {
        shoal_attempts_remove(&session->attempts, attempt);
    } else {
        shoal_attempts_forget(&session->attempts, attempt);
    }
}

static void
forget_head(shoal_session_t *session, uint64_t now_ms)
{
    shoal_slots_drop_all_actors(session->slots); // first, so that none of their calls starts now
    shoal_attempts_each(&session->attempts, attempt_forget, session, now_ms);
    shoal_results_forget(session->results);
}

static uint32_t
at_most(uint64_t value, uint32_t limit)
{
    return value < limit ? (uint32_t)value : limit;
}

// Calls may write for a lease from the moment in which we said something that the head has answered,
// not from when we read the answer: that may have waited here while we were stopped.
static void
heard_after(shoal_session_t *session, uint64_t said_ms, uint64_t now_ms)
{
    if (said_ms + session->lease_ms > now_ms) {
        shoal_slots_may_write(session->slots, said_ms + session->lease_ms - now_ms);
    }
}

static void
on_welcome(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_welcome_t *welcome = &heard->message->welcome;
    if (welcome->heartbeat_ms == 0 || welcome->liveness_ms <= welcome->heartbeat_ms ||
        welcome->batch_bytes == 0 || welcome->record_bytes == 0) {
        shoal_session_closed(session, "WELCOME has times or sizes that cannot work", heard->now_ms);
        return;
    }
    if (session->head[0] && !shoal_slice_is(welcome->head, session->head)) {
        shoal_log(session->log, SHOAL_LOG_INFO, "LINK-HEAD",
                  "reason=\"another head: calls and results of the last one are dropped\"");
        forget_head(session, heard->now_ms);
    }
    memcpy(session->head, welcome->head.ptr, welcome->head.len); // at most 64, by messages.def
    session->head[welcome->head.len] = '\0';
    session->heartbeat_ms = welcome->heartbeat_ms;
    session->liveness_ms = welcome->liveness_ms;
    session->lease_ms = welcome->lease_ms;
    session->batch_bytes = at_most(welcome->batch_bytes, SHOAL_BATCH_BYTES_MAX);
    session->record_bytes = at_most(welcome->record_bytes, SHOAL_RECORD_BYTES_MAX);
    session->beat_at_ms = heard->now_ms + session->heartbeat_ms;
    session->beat_count = session->beats_over = 0;
    if (session->attempts.count == 0) { // else CANCELs for them may still be on their way
        heard_after(session, session->greeted_ms, heard->now_ms);
    }
    shoal_session_become(session, SHOAL_SESSION_READY, "WELCOME");
    if (session->is_draining) { // HELLO may have said otherwise
        shoal_session_say_no_window(session, heard->now_ms);
    }
    shoal_log(session->log, SHOAL_LOG_INFO, "LINK-READY", "head=%s slots=%u", session->head,
              session->identity.slots);
}

static void
on_error(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_error_t *error = &heard->message->error;
    unsigned dropped = 0;
    if (shoal_log_limit_pass(&session->error_limit, heard->now_ms, 5, &dropped)) {
        shoal_log(session->log, SHOAL_LOG_WARN, "LINK-ERROR",
                  "code=%s refers=%s closing=%d reason=\"%.*s\" left_out=%u",
                  shoal_code_name((int)shoal_code_from(error->code)),
                  shoal_message_name((int)error->refers), error->closing,
                  SHOAL_SLICE_ARGS(error->reason), dropped);
    }
    if (error->closing) {
        shoal_session_closed(session, "the head closed the connection", heard->now_ms);
    } else if (session->state == SHOAL_SESSION_READY && error->code == SHOAL_PROTOCOL) {
        // "hello first": libzmq or the head made the connection anew.
        shoal_session_lose_streams(session, heard->now_ms);
        shoal_session_become(session, SHOAL_SESSION_GREETING, "the head does not know us");
        shoal_session_say_hello(session, heard->now_ms);
    }
}

static void
on_bye(shoal_session_t *session, const heard_t *heard)
{
    shoal_session_closed(session, "the head said BYE", heard->now_ms);
}

static void
on_heartbeat(shoal_session_t *session, const heard_t *heard)
{
    if (session->beat_count > 0) {
        heard_after(session, session->beats_ms[session->beat_first], heard->now_ms);
        session->beat_first = (session->beat_first + 1) % SHOAL_BEATS_MAX;
        session->beat_count--;
    } else if (session->beats_over > 0) {
        session->beats_over--;
    }
    session->backoff_ms = SHOAL_BACKOFF_MS_MIN; // the connection holds
    shoal_results_acknowledge(session->results, heard->message->heartbeat.ack);
}

static void
on_ack(shoal_session_t *session, const heard_t *heard)
{
    shoal_results_acknowledge(session->results, heard->message->ack.seq);
}

static const shoal_class_t *
class_find(const shoal_session_t *session, shoal_slice_t name)
{
    for (size_t i = 0; i < session->identity.class_count; i++) {
        if (shoal_slice_is(name, session->identity.classes[i]->name)) {
            return session->identity.classes[i];
        }
    }
    return NULL;
}

// An actor that cannot be taken is not known; its calls say so.
static void
on_actor(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_actor_t *actor = &heard->message->actor;
    shoal_status_t status = SHOAL_STATUS_INIT;
    const shoal_class_t *class = class_find(session, actor->class_name);
    bool done =
        class ? shoal_slots_add_actor(session->slots, actor->actor, class, heard->payload, &status)
              : shoal_fail(&status, SHOAL_NOT_FOUND, "this worker has no class \"%.*s\"",
                           SHOAL_SLICE_ARGS(actor->class_name));
    if (!done) {
        shoal_log(session->log, SHOAL_LOG_WARN, "ACTOR-REFUSED", "actor=%llu reason=\"%s\"",
                  (unsigned long long)actor->actor, status.text);
    }
}

static void
attempt_cancel(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t now_ms)
{
    if (shoal_session_ask_to_end(session, attempt, now_ms)) {
        shoal_session_report(session, attempt, SHOAL_OUTCOME_CANCELLED, NULL, SHOAL_SLICE_NONE);
    }
}

typedef struct dropping {
    shoal_session_t *session;
    uint64_t now_ms;
} dropping_t;

static void
attempt_cancel_of(void *ctx, shoal_attempt_t *attempt, uint64_t actor)
{
    const dropping_t *dropping = ctx;
    if (attempt->actor == actor && !attempt->is_forgotten) {
        attempt_cancel(dropping->session, attempt, dropping->now_ms);
    }
}

static void
on_drop_actor(shoal_session_t *session, const heard_t *heard)
{
    uint64_t actor = heard->message->drop_actor.actor;
    shoal_slots_drop_actor(session->slots, actor); // first, so that none of its calls starts now
    dropping_t dropping = {session, heard->now_ms};
    shoal_attempts_each(&session->attempts, attempt_cancel_of, &dropping, actor);
}

static void
on_call(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_call_t *call = &heard->message->call;
    shoal_results_acknowledge(session->results, call->ack);
    if (shoal_attempts_find(&session->attempts, call->call, call->attempt)) {
        return; // it is here already, and will end once
    }
    if (shoal_results_count(session->results) >= SHOAL_RESULTS_KEPT_MAX) {
        shoal_session_closed(session, "the head acknowledges no results", heard->now_ms);
        return;
    }
    shoal_attempt_t *attempt =
        shoal_attempt_new(call, session->batch_bytes, session->record_bytes, session->lease_ms);
    bool has_room = session->attempts.count < session->attempt_max;
    shoal_attempts_add(&session->attempts, attempt);
    if (session->is_draining) {
        shoal_session_report(session, attempt, SHOAL_OUTCOME_RETURNED, NULL, SHOAL_SLICE_NONE);
        return;
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    bool done = has_room ? shoal_slots_submit(session->slots, attempt, &status)
                         : shoal_fail_as(&status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                                         "the worker has %zu calls already, at most %zu",
                                         session->attempts.count - 1, session->attempt_max);
    if (!done) {
        shoal_session_report(session, attempt, SHOAL_OUTCOME_FAILED, &status, SHOAL_SLICE_NONE);
    }
}

static void
on_cancel(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_cancel_t *cancel = &heard->message->cancel;
    shoal_attempt_t *attempt =
        shoal_attempts_find(&session->attempts, cancel->call, cancel->attempt);
    if (attempt && !attempt->is_forgotten) {
        attempt_cancel(session, attempt, heard->now_ms);
    }
}

static void
on_drain(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_drain_t *drain = &heard->message->drain;
    char why[257];
    (void)snprintf(why, sizeof(why), "%.*s", SHOAL_SLICE_ARGS(drain->reason));
    shoal_session_drain(session, drain->drain_ms ? drain->drain_ms : SHOAL_TIME_NEVER,
                        why[0] ? why : "the head asks for it", heard->now_ms);
}

static void
on_grant(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_grant_t *grant = &heard->message->grant;
    shoal_attempt_t *attempt = shoal_attempts_find(&session->attempts, grant->call, grant->attempt);
    if (attempt) {
        shoal_slots_grant(session->slots, attempt, (uint32_t)grant->bytes);
    }
}

typedef struct rule {
    shoal_message_type_t on;
    bool before_welcome; // in GREETING too; otherwise it is for a registration that is gone
    void (*act)(shoal_session_t *session, const heard_t *heard);
} rule_t;

// clang-format off
static const rule_t rules[] = {
    {SHOAL_MSG_CALL,       false, on_call},
    {SHOAL_MSG_GRANT,      false, on_grant},
    {SHOAL_MSG_ACK,        false, on_ack},
    {SHOAL_MSG_HEARTBEAT,  false, on_heartbeat},
    {SHOAL_MSG_CANCEL,     false, on_cancel},
    {SHOAL_MSG_ACTOR,      false, on_actor},
    {SHOAL_MSG_DROP_ACTOR, false, on_drop_actor},
    {SHOAL_MSG_DRAIN,      false, on_drain},
    {SHOAL_MSG_WELCOME,    true,  on_welcome},
    {SHOAL_MSG_ERROR,      true,  on_error},
    {SHOAL_MSG_BYE,        true,  on_bye},
};
// clang-format on

static const rule_t *
rule_find(shoal_message_type_t type)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].on == type) {
            return &rules[i];
        }
    }
    return NULL;
}

// What cannot be read is answered; all but an unknown message ends the connection.
static void
refuse(shoal_session_t *session, const shoal_status_t *status, shoal_message_type_t type,
       bool closing, uint64_t now_ms)
{
    shoal_log(session->log, SHOAL_LOG_WARN, "LINK-BAD-MESSAGE", "message=%s reason=\"%s\"",
              shoal_message_name((int)type), status->text);
    shoal_session_say_error(session, status, (uint64_t)type, closing, now_ms);
    if (closing) {
        shoal_session_closed(session, "the head sent what cannot be read", now_ms);
    }
}

void
shoal_session_take(shoal_session_t *session, shoal_parcel_t *parcel, uint64_t now_ms)
{
    if (session->state != SHOAL_SESSION_GREETING && session->state != SHOAL_SESSION_READY) {
        return;
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_t message;
    session->heard_ms = now_ms;
    if (!shoal_parcel_decode(parcel, &message, &status)) {
        refuse(session, &status, message.type, !shoal_parcel_is_unknown(parcel, &message), now_ms);
        return;
    }
    const rule_t *rule = rule_find(message.type);
    if (!rule) {
        (void)shoal_fail(&status, SHOAL_PROTOCOL, "%s is not for a worker",
                         shoal_message_name((int)message.type));
        refuse(session, &status, message.type, /*closing=*/true, now_ms);
        return;
    }
    if (session->state == SHOAL_SESSION_READY ? message.type != SHOAL_MSG_WELCOME
                                              : rule->before_welcome) {
        heard_t heard = {&message, shoal_parcel_payload(parcel), now_ms};
        rule->act(session, &heard);
    }
}
