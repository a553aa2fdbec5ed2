// SPDX-License-Identifier: Apache-2.0
//
// say.c - what a session says to the head; see session_parts.h.

#include "proto/record/writer.h"
#include "worker/session_parts.h"

#define RETRY_MS    10 // after the socket's queue was full
#define ENTRY_BYTES 32 // of [call, attempt, progress]

bool
shoal_session_say(shoal_session_t *session, const shoal_message_t *message, zmq_msg_t *payload,
                  uint64_t now_ms)
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
list_attempt(void *ctx, shoal_attempt_t *attempt, uint64_t arg)
{
    list_t *list = ctx;
    (void)arg;
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

void
shoal_session_say_hello(shoal_session_t *session, uint64_t now_ms)
{
    const shoal_identity_t *identity = &session->identity;
    shoal_buffer_t classes = SHOAL_BUFFER_INIT;
    write_classes(identity, &classes);
    shoal_buffer_t actors = SHOAL_BUFFER_INIT;
    shoal_slots_write_actors(session->slots, SHOAL_RUNNING_BYTES_MAX, &actors);
    // Attempts that ended but are not acknowledged come first: their results are on their way.
    list_t list = list_begin(&session->scratch);
    shoal_results_each(session->results, list_result, &list);
    shoal_attempts_each(&session->attempts, list_attempt, &list, 0);
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
        .actors = shoal_buffer_slice(&actors),
        .last_exit = identity->last_exit,
    };
    (void)shoal_session_say(session, &hello, NULL, now_ms);
    shoal_buffer_fini(&classes);
    shoal_buffer_fini(&actors);
    shoal_results_resend(session->results);
    session->greeted_ms = now_ms;
}

void
shoal_session_say_heartbeat(shoal_session_t *session, uint64_t now_ms)
{
    list_t list = list_begin(&session->scratch);
    shoal_slots_progress(session->slots, list_progress, &list);
    shoal_message_t beat = {.type = SHOAL_MSG_HEARTBEAT};
    beat.heartbeat.progress = list_end(&list);
    if (!shoal_session_say(session, &beat, NULL, now_ms)) {
        return;
    }
    if (session->beat_count == SHOAL_BEATS_MAX || session->beats_over > 0) {
        session->beats_over++;
    } else {
        session->beats_ms[(session->beat_first + session->beat_count++) % SHOAL_BEATS_MAX] = now_ms;
    }
}

void
shoal_session_say_no_window(shoal_session_t *session, uint64_t now_ms)
{
    shoal_message_t window = {.type = SHOAL_MSG_WINDOW};
    (void)shoal_session_say(session, &window, NULL, now_ms);
}

void
shoal_session_say_error(shoal_session_t *session, const shoal_status_t *status, uint64_t refers,
                        bool closing, uint64_t now_ms)
{
    shoal_message_t error = {.type = SHOAL_MSG_ERROR};
    error.error = (shoal_msg_error_t){.code = (uint64_t)status->code,
                                      .reason = shoal_slice_of(status->text),
                                      .refers = refers,
                                      .closing = closing};
    (void)shoal_session_say(session, &error, NULL, now_ms);
}
