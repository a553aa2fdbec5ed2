// SPDX-License-Identifier: Apache-2.0
//
// session.c - see session.h.
//
// Design: every attempt from CALL to its RESULT stands in one table here. A connection that is lost
// takes with it the batches that were on their way, so attempts that have streamed end as failed
// (transient) and the others go on: docs/protocol.md, R-6.12. News of slots stay in their queue
// while there is no registration, which bounds them by the attempts' credit.

#include "worker/session.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/writer.h"
#include "worker/results.h"

#define BUCKETS     1024
#define RETRY_MS    10    // after the socket's queue was full
#define ENTRY_BYTES 32    // of [call, attempt, progress]
#define BATCH_BYTES 65536 // before WELCOME; never used, as calls come after it

struct shoal_session {
    shoal_identity_t identity;
    shoal_slots_t *slots;
    shoal_session_send_fn *send;
    void *ctx;
    shoal_log_t *log;

    shoal_session_state_t state;
    uint64_t random;
    uint64_t backoff_ms;
    uint64_t dial_at_ms;  // WAITING
    uint64_t greeted_ms;  // GREETING: when HELLO was sent
    uint64_t heard_ms;    // when the head was heard last
    uint64_t beat_at_ms;  // READY: when the next HEARTBEAT is due
    uint64_t retry_at_ms; // the socket was full; SHOAL_TIME_NEVER: it was not

    char head[65]; // id of the head that we know; empty: none yet
    uint64_t heartbeat_ms;
    uint64_t liveness_ms;
    uint32_t batch_bytes;
    uint32_t record_bytes;

    bool is_draining;
    uint64_t drain_end_ms; // nothing runs any more; so long acknowledgements are waited for

    shoal_attempt_t *attempts[BUCKETS];
    size_t attempt_count;
    size_t attempt_max;
    shoal_results_t *results;
    shoal_news_t *stalled; // taken from the slots, but the socket was full
    shoal_buffer_t scratch;
    shoal_log_limit_t error_limit;
};

// ---- state

static const char *const state_names[] = {"WAITING", "GREETING", "READY", "ENDED"};

// The only writer of `state`.
static void
become(shoal_session_t *session, shoal_session_state_t state, const char *why)
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

// ---- the table of attempts

static shoal_attempt_t **
attempt_find(shoal_session_t *session, uint64_t call, uint64_t number)
{
    shoal_attempt_t **at = &session->attempts[call % BUCKETS];
    while (*at && ((*at)->call != call || (*at)->number != number)) {
        at = &(*at)->table_next;
    }
    return at;
}

static void
attempt_add(shoal_session_t *session, shoal_attempt_t *attempt)
{
    shoal_attempt_t **at = &session->attempts[attempt->call % BUCKETS];
    attempt->table_next = *at;
    *at = attempt;
    session->attempt_count++;
}

static void
attempt_remove(shoal_session_t *session, shoal_attempt_t *attempt)
{
    shoal_attempt_t **at = attempt_find(session, attempt->call, attempt->number);
    assert(*at == attempt);
    *at = attempt->table_next;
    session->attempt_count--;
    shoal_attempt_destroy(&attempt);
}

// Calls `visit` for each attempt; it may remove the one that it is shown.
typedef void attempt_visit_fn(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t arg);

static void
attempts_each(shoal_session_t *session, attempt_visit_fn *visit, uint64_t arg)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        shoal_attempt_t *next = NULL;
        for (shoal_attempt_t *attempt = session->attempts[i]; attempt; attempt = next) {
            next = attempt->table_next;
            visit(session, attempt, arg);
        }
    }
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
    session->drain_end_ms = SHOAL_TIME_NEVER;
    session->heartbeat_ms = SHOAL_LIVENESS_MS_INITIAL / 5;
    session->liveness_ms = SHOAL_LIVENESS_MS_INITIAL;
    session->batch_bytes = BATCH_BYTES;
    session->record_bytes = SHOAL_RECORD_BYTES_MAX;
    session->attempt_max = (size_t)identity->window * SHOAL_CALLS_PER_WINDOW + identity->slots;
    session->results = shoal_results_new();
    return session;
}

static void
attempt_free(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t arg)
{
    (void)arg;
    attempt_remove(session, attempt);
}

void
shoal_session_destroy(shoal_session_t **session)
{
    if (!session || !*session) {
        return;
    }
    attempts_each(*session, attempt_free, 0);
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

// ---- what we say

// True if it went out. A full socket is tried again after a moment; a broken one ends by silence.
static bool
say(shoal_session_t *session, const shoal_message_t *message, zmq_msg_t *payload, uint64_t now_ms)
{
    if (session->send(session->ctx, message, payload) == SHOAL_SENT) {
        return true;
    }
    session->retry_at_ms = now_ms + RETRY_MS;
    return false;
}

static void
write_ref(shoal_buffer_t *out, uint64_t call, uint64_t number)
{
    shoal_write_array(out, 2);
    shoal_write_uint(out, call);
    shoal_write_uint(out, number);
}

// An array of [call, attempt, ...] that grows up to its limit.
typedef struct list {
    shoal_buffer_t *out;
    size_t mark;
    uint32_t count;
} list_t;

static list_t
list_begin(shoal_buffer_t *out)
{
    shoal_buffer_clear(out);
    return (list_t){out, shoal_write_array_later(out), 0};
}

static bool
list_has_room(list_t *list)
{
    if (list->out->len + ENTRY_BYTES > SHOAL_RUNNING_BYTES_MAX) {
        return false;
    }
    list->count++;
    return true;
}

static shoal_slice_t
list_end(list_t *list)
{
    shoal_write_count_now(list->out, list->mark, list->count);
    return list->count > 0 ? shoal_buffer_slice(list->out) : SHOAL_SLICE_NONE;
}

static void
list_attempt(void *ctx, const shoal_attempt_t *attempt, uint64_t number)
{
    (void)number;
    list_t *list = ctx;
    if (!attempt->is_forgotten && list_has_room(list)) {
        write_ref(list->out, attempt->call, attempt->number);
    }
}

static void
list_result(void *ctx, const shoal_msg_result_t *result)
{
    list_t *list = ctx;
    if (list_has_room(list)) {
        write_ref(list->out, result->call, result->attempt);
    }
}

static void
list_progress(void *ctx, const shoal_attempt_t *attempt, uint64_t number)
{
    list_t *list = ctx;
    if (!attempt->is_forgotten && list_has_room(list)) {
        shoal_write_array(list->out, 3);
        shoal_write_uint(list->out, attempt->call);
        shoal_write_uint(list->out, attempt->number);
        shoal_write_uint(list->out, number);
    }
}

static void
write_classes(const shoal_identity_t *identity, shoal_buffer_t *out)
{
    shoal_write_array(out, (uint32_t)identity->class_count);
    for (size_t i = 0; i < identity->class_count; i++) {
        shoal_write_text(out, identity->classes[i]->name);
    }
}

static void
say_hello(shoal_session_t *session, uint64_t now_ms)
{
    const shoal_identity_t *identity = &session->identity;
    shoal_buffer_t classes = SHOAL_BUFFER_INIT;
    write_classes(identity, &classes);
    // Attempts that ended but are not acknowledged come first: their results are on their way.
    list_t list = list_begin(&session->scratch);
    shoal_results_each(session->results, list_result, &list);
    shoal_slots_progress(session->slots, list_attempt, &list);
    shoal_message_t hello = {.type = SHOAL_MSG_HELLO};
    hello.hello = (shoal_msg_hello_t){
        .role = SHOAL_SLICE("worker"),
        .id = shoal_slice_of(identity->id),
        .incarnation = identity->incarnation,
        .name = shoal_slice_of(identity->name),
        .software = SHOAL_SLICE("shoal " SHOAL_VERSION),
        .slots = identity->slots,
        .window = session->is_draining ? 0 : identity->window,
        .classes = shoal_buffer_slice(&classes),
        .labels = identity->labels,
        .running = list_end(&list),
        .last_exit = identity->last_exit,
    };
    (void)say(session, &hello, NULL, now_ms);
    shoal_buffer_fini(&classes);
    shoal_results_resend(session->results);
    session->greeted_ms = now_ms;
}

static void
say_heartbeat(shoal_session_t *session, uint64_t now_ms)
{
    list_t list = list_begin(&session->scratch);
    shoal_slots_progress(session->slots, list_progress, &list);
    shoal_message_t beat = {.type = SHOAL_MSG_HEARTBEAT};
    beat.heartbeat.progress = list_end(&list);
    (void)say(session, &beat, NULL, now_ms);
}

static void
say_error(shoal_session_t *session, const shoal_status_t *status, uint64_t refers, bool closing,
          uint64_t now_ms)
{
    shoal_message_t error = {.type = SHOAL_MSG_ERROR};
    error.error = (shoal_msg_error_t){.code = (uint64_t)status->code,
                                      .reason = shoal_slice_of(status->text),
                                      .refers = refers,
                                      .closing = closing};
    (void)say(session, &error, NULL, now_ms);
}

static void
say_window_0(shoal_session_t *session, uint64_t now_ms)
{
    shoal_message_t window = {.type = SHOAL_MSG_WINDOW};
    (void)say(session, &window, NULL, now_ms);
}

// ---- connections

static void check_drained(shoal_session_t *session, uint64_t now_ms);

void
shoal_session_opened(shoal_session_t *session, uint64_t now_ms)
{
    assert(session->state == SHOAL_SESSION_WAITING);
    session->retry_at_ms = SHOAL_TIME_NEVER;
    become(session, SHOAL_SESSION_GREETING, "connected");
    say_hello(session, now_ms);
}

// What an attempt has streamed may have been lost with its registration: it cannot go on.
static void
attempt_lose(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t arg)
{
    (void)arg;
    if (attempt->has_streamed && !attempt->is_lost) {
        attempt->is_lost = true;
        (void)shoal_slots_cancel(session->slots, attempt); // it runs, so its end will be news
    }
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
    attempts_each(session, attempt_lose, 0);
    become(session, SHOAL_SESSION_WAITING, why);
    shoal_log(session->log, was_ready ? SHOAL_LOG_WARN : SHOAL_LOG_INFO, "LINK-LOST",
              "reason=\"%s\" dial_in_ms=%llu", why, (unsigned long long)wait_ms);
    check_drained(session, now_ms);
}

// ---- ends of attempts

static void
report(shoal_session_t *session, shoal_attempt_t *attempt, shoal_outcome_t outcome,
       const shoal_status_t *failure, shoal_slice_t detail)
{
    shoal_msg_result_t result = {.call = attempt->call,
                                 .attempt = attempt->number,
                                 .outcome = (uint64_t)outcome,
                                 .batches = attempt->batches,
                                 .records = attempt->records,
                                 .detail = detail};
    if (failure) {
        result.error_class = (uint64_t)failure->error_class;
        result.code = (uint64_t)failure->code;
        result.reason = shoal_slice_of(failure->text);
        result.key = shoal_slice_of(failure->key);
    }
    shoal_results_keep(session->results, &result);
    attempt_remove(session, attempt);
}

static void
report_end(shoal_session_t *session, const shoal_news_t *news)
{
    shoal_attempt_t *attempt = news->attempt;
    if (attempt->is_forgotten) {
        attempt_remove(session, attempt);
        return;
    }
    if (attempt->is_lost) {
        shoal_status_t lost = SHOAL_STATUS_INIT;
        (void)shoal_fail(&lost, SHOAL_UNAVAILABLE,
                         "the connection to the head was lost while the call streamed");
        report(session, attempt, SHOAL_OUTCOME_FAILED, &lost, SHOAL_SLICE_NONE);
        return;
    }
    report(session, attempt, news->outcome, news->failure, shoal_buffer_slice(&news->detail));
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
                                      .more = news->more};
    if (!say(session, &batch, &news->payload, now_ms)) {
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
        if (!say(session, &message, NULL, now_ms)) {
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
        check_drained(session, now_ms);
    }
}

// ---- what the head says

typedef struct heard {
    const shoal_message_t *message;
    shoal_slice_t payload;
    uint64_t now_ms;
} heard_t;

// Another head knows nothing of what the last one asked.
static void
attempt_forget(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t arg)
{
    (void)arg;
    if (shoal_slots_cancel(session->slots, attempt)) {
        attempt_remove(session, attempt);
    } else {
        attempt->is_forgotten = true;
    }
}

static void
forget_head(shoal_session_t *session)
{
    shoal_slots_drop_all_actors(session->slots); // first, so that none of their calls starts now
    attempts_each(session, attempt_forget, 0);
    shoal_results_forget(session->results);
}

static uint32_t
at_most(uint64_t value, uint32_t limit)
{
    return value < limit ? (uint32_t)value : limit;
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
                  "reason=\"this is another head; calls "
                  "and results of the last one are dropped\"");
        forget_head(session);
    }
    memcpy(session->head, welcome->head.ptr, welcome->head.len); // at most 64, by messages.def
    session->head[welcome->head.len] = '\0';
    session->heartbeat_ms = welcome->heartbeat_ms;
    session->liveness_ms = welcome->liveness_ms;
    session->batch_bytes = at_most(welcome->batch_bytes, SHOAL_BATCH_BYTES_MAX);
    session->record_bytes = at_most(welcome->record_bytes, SHOAL_RECORD_BYTES_MAX);
    session->beat_at_ms = heard->now_ms + session->heartbeat_ms;
    become(session, SHOAL_SESSION_READY, "WELCOME");
    if (session->is_draining) { // HELLO may have said otherwise
        say_window_0(session, heard->now_ms);
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
        attempts_each(session, attempt_lose, 0);
        become(session, SHOAL_SESSION_GREETING, "the head does not know us");
        say_hello(session, heard->now_ms);
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
attempt_cancel(shoal_session_t *session, shoal_attempt_t *attempt)
{
    if (shoal_slots_cancel(session->slots, attempt)) {
        report(session, attempt, SHOAL_OUTCOME_CANCELLED, NULL, SHOAL_SLICE_NONE);
    }
}

static void
attempt_cancel_of(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t actor)
{
    if (attempt->actor == actor && !attempt->is_forgotten) {
        attempt_cancel(session, attempt);
    }
}

static void
on_drop_actor(shoal_session_t *session, const heard_t *heard)
{
    uint64_t actor = heard->message->drop_actor.actor;
    shoal_slots_drop_actor(session->slots, actor); // first, so that none of its calls starts now
    attempts_each(session, attempt_cancel_of, actor);
}

static void
on_call(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_call_t *call = &heard->message->call;
    shoal_results_acknowledge(session->results, call->ack);
    if (*attempt_find(session, call->call, call->attempt)) {
        return; // it is here already, and will end once
    }
    shoal_attempt_t *attempt = shoal_attempt_new(call, session->batch_bytes, session->record_bytes);
    bool has_room = session->attempt_count < session->attempt_max &&
                    shoal_results_count(session->results) < session->attempt_max;
    attempt_add(session, attempt);
    if (session->is_draining) {
        report(session, attempt, SHOAL_OUTCOME_RETURNED, NULL, SHOAL_SLICE_NONE);
        return;
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    bool done = has_room
                    ? shoal_slots_submit(session->slots, attempt, &status)
                    : shoal_fail_as(&status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                                    "the worker has %zu calls and %zu results that are not "
                                    "acknowledged, at most %zu of each",
                                    session->attempt_count - 1,
                                    shoal_results_count(session->results), session->attempt_max);
    if (!done) {
        report(session, attempt, SHOAL_OUTCOME_FAILED, &status, SHOAL_SLICE_NONE);
    }
}

static void
on_cancel(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_cancel_t *cancel = &heard->message->cancel;
    shoal_attempt_t *attempt = *attempt_find(session, cancel->call, cancel->attempt);
    if (attempt && !attempt->is_forgotten) {
        attempt_cancel(session, attempt);
    }
}

static void
on_grant(shoal_session_t *session, const heard_t *heard)
{
    const shoal_msg_grant_t *grant = &heard->message->grant;
    shoal_attempt_t *attempt = *attempt_find(session, grant->call, grant->attempt);
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
       uint64_t now_ms)
{
    bool closing = status->code != SHOAL_UNSUPPORTED || type == 0;
    shoal_log(session->log, SHOAL_LOG_WARN, "LINK-BAD-MESSAGE", "message=%s reason=\"%s\"",
              shoal_message_name((int)type), status->text);
    say_error(session, status, (uint64_t)type, closing, now_ms);
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
        refuse(session, &status, message.type, now_ms);
        return;
    }
    const rule_t *rule = rule_find(message.type);
    if (!rule) {
        (void)shoal_fail(&status, SHOAL_PROTOCOL, "%s is not for a worker",
                         shoal_message_name((int)message.type));
        refuse(session, &status, message.type, now_ms);
        return;
    }
    if (session->state == SHOAL_SESSION_READY ? message.type != SHOAL_MSG_WELCOME
                                              : rule->before_welcome) {
        heard_t heard = {&message, shoal_parcel_payload(parcel), now_ms};
        rule->act(session, &heard);
    }
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
        say_heartbeat(session, now_ms);
        session->beat_at_ms = now_ms + session->heartbeat_ms;
    }
    check_drained(session, now_ms);
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t
shoal_session_next(const shoal_session_t *session)
{
    uint64_t next = session->is_draining ? session->drain_end_ms : SHOAL_TIME_NEVER;
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

// ---- draining

static void
attempt_return(shoal_session_t *session, shoal_attempt_t *attempt, uint64_t arg)
{
    (void)arg;
    if (!attempt->is_forgotten && shoal_slots_take_back(session->slots, attempt)) {
        report(session, attempt, SHOAL_OUTCOME_RETURNED, NULL, SHOAL_SLICE_NONE);
    }
}

void
shoal_session_drain(shoal_session_t *session, uint64_t now_ms)
{
    if (session->is_draining || session->state == SHOAL_SESSION_ENDED) {
        return;
    }
    session->is_draining = true;
    shoal_log(session->log, SHOAL_LOG_INFO, "LINK-DRAIN", "calls=%zu", session->attempt_count);
    if (session->state == SHOAL_SESSION_READY) {
        say_window_0(session, now_ms);
    }
    attempts_each(session, attempt_return, 0);
    check_drained(session, now_ms);
}

// Ends the session once everything is reported and acknowledged. Without a head, or without its
// acknowledgement, that is waited for as long as the head may be silent.
static void
check_drained(shoal_session_t *session, uint64_t now_ms)
{
    if (!session->is_draining || session->state == SHOAL_SESSION_ENDED) {
        return;
    }
    bool is_ready = session->state == SHOAL_SESSION_READY;
    bool is_idle = session->attempt_count == 0;
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
        bye.bye.reason = SHOAL_SLICE("drained");
        (void)say(session, &bye, NULL, now_ms);
    }
    become(session, SHOAL_SESSION_ENDED, is_done ? "drained" : "drained, not all acknowledged");
}
