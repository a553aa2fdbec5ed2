// SPDX-License-Identifier: Apache-2.0
//
// scripted_head.h - a head that a test scripts: a thread with a ROUTER on ipc that answers HELLO and
// HEARTBEAT by itself and gives every other message to the test's function.
//
// Threads: the script runs on the head's thread; what it shares with the test is atomic.

#ifndef SHOAL_TESTS_SUPPORT_SCRIPTED_HEAD_H
#define SHOAL_TESTS_SUPPORT_SCRIPTED_HEAD_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "proto/record/writer.h"
#include "proto/wire/socket.h"
#include "tests/support/test.h"

typedef struct scripted_head scripted_head_t;
typedef void scripted_head_fn(scripted_head_t *head, const shoal_message_t *message);

struct scripted_head {
    char folder[64];
    char endpoint[128];
    char id[16]; // changed by the script: another head
    scripted_head_fn *script;
    uint64_t heartbeat_ms, liveness_ms;
    atomic_bool is_stopping;
    atomic_bool is_deaf; // answers nothing
    atomic_int hellos;   // how many came
    atomic_int heartbeats;
    atomic_int seen[64]; // messages by number
    // on its thread
    void *context;
    void *socket;
    shoal_parcel_t parcel;
    shoal_buffer_t scratch;
    pthread_t thread;
};

// Sends to whoever sent the last message. `payload` NULL: the message has none.
static inline void
scripted_head_send(scripted_head_t *head, const shoal_message_t *message, const char *payload)
{
    zmq_msg_t frame;
    size_t len = payload ? strlen(payload) : 0;
    assert_int_equal(zmq_msg_init_size(&frame, len), 0);
    if (len > 0) {
        memcpy(zmq_msg_data(&frame), payload, len);
    }
    (void)shoal_message_send(head->socket, shoal_parcel_identity(&head->parcel), message,
                             payload ? &frame : NULL, &head->scratch);
    (void)zmq_msg_close(&frame);
}

static inline void
scripted_head_error(scripted_head_t *head, shoal_code_t code, uint64_t request, unsigned refers,
                    bool is_closing, const char *reason)
{
    shoal_message_t error = {.type = SHOAL_MSG_ERROR};
    error.error.code = code;
    error.error.reason = shoal_slice_of(reason);
    error.error.request = request;
    error.error.refers = refers;
    error.error.closing = is_closing;
    scripted_head_send(head, &error, NULL);
}

static inline void
scripted_head_event(scripted_head_t *head, uint64_t job, const char *state)
{
    shoal_message_t event = {.type = SHOAL_MSG_EVENT};
    event.event.job = job;
    event.event.state = shoal_slice_of(state);
    scripted_head_send(head, &event, NULL);
}

static inline void
scripted_head_piece(scripted_head_t *head, uint64_t job, uint64_t commit, uint64_t index,
                    bool is_last, const char *bytes)
{
    shoal_message_t piece = {.type = SHOAL_MSG_PIECE};
    piece.piece.job = job;
    piece.piece.commit = commit;
    piece.piece.index = index;
    piece.piece.last = is_last;
    scripted_head_send(head, &piece, bytes);
}

static inline void
scripted_head_output_end(scripted_head_t *head, uint64_t job, uint64_t commits, const char *state)
{
    shoal_message_t end = {.type = SHOAL_MSG_OUTPUT_END};
    end.output_end.job = job;
    end.output_end.commits = commits;
    end.output_end.state = shoal_slice_of(state);
    scripted_head_send(head, &end, NULL);
}

static inline void
scripted_head_take(scripted_head_t *head, const shoal_message_t *message)
{
    int number = (int)message->type;
    atomic_fetch_add(&head->seen[number < 64 ? number : 0], 1);
    if (atomic_load(&head->is_deaf)) {
        return;
    }
    if (message->type == SHOAL_MSG_HELLO) {
        shoal_message_t welcome = {.type = SHOAL_MSG_WELCOME};
        welcome.welcome.head = shoal_slice_of(head->id);
        welcome.welcome.heartbeat_ms = head->heartbeat_ms;
        welcome.welcome.liveness_ms = head->liveness_ms;
        welcome.welcome.lease_ms = 1000;
        welcome.welcome.batch_bytes = SHOAL_BATCH_BYTES_MAX;
        welcome.welcome.record_bytes = SHOAL_RECORD_BYTES_MAX;
        if (atomic_fetch_add(&head->hellos, 1) >= 0) {
            scripted_head_send(head, &welcome, NULL);
        }
    } else if (message->type == SHOAL_MSG_HEARTBEAT) {
        shoal_message_t beat = {.type = SHOAL_MSG_HEARTBEAT};
        atomic_fetch_add(&head->heartbeats, 1);
        scripted_head_send(head, &beat, NULL);
    } else if (head->script) {
        head->script(head, message);
    }
}

static inline void *
scripted_head_main(void *ctx)
{
    scripted_head_t *head = ctx;
    while (!atomic_load(&head->is_stopping)) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        zmq_pollitem_t item = {.socket = head->socket, .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, 1, 10);
        while (shoal_parcel_receive(head->socket, /*is_router=*/true, &head->parcel, &status) ==
               SHOAL_RECEIVED_ONE) {
            shoal_message_t message;
            if (shoal_parcel_decode(&head->parcel, &message, &status)) {
                scripted_head_take(head, &message);
            }
        }
    }
    return NULL;
}

// Starts it; `head` is the caller's.
static inline void
scripted_head_start(scripted_head_t *head, scripted_head_fn *script)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    memset(head, 0, sizeof(*head));
    head->script = script;
    head->heartbeat_ms = 1000;
    head->liveness_ms = 5000;
    (void)snprintf(head->id, sizeof(head->id), "head-1");
    (void)snprintf(head->folder, sizeof(head->folder), "/tmp/shoal-fake-XXXXXX");
    assert_non_null(mkdtemp(head->folder));
    (void)snprintf(head->endpoint, sizeof(head->endpoint), "ipc://%s/head.sock", head->folder);
    shoal_parcel_init(&head->parcel);
    head->context = zmq_ctx_new();
    head->socket = zmq_socket(head->context, ZMQ_ROUTER);
    CHECK_OK(shoal_socket_configure(head->socket, &status), status);
    int mandatory = 1;
    assert_int_equal(
        zmq_setsockopt(head->socket, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory)), 0);
    assert_int_equal(zmq_bind(head->socket, head->endpoint), 0);
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); // signals are for the test's thread
    assert_int_equal(pthread_create(&head->thread, NULL, scripted_head_main, head), 0);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static inline void
scripted_head_stop(scripted_head_t *head)
{
    char command[128];
    atomic_store(&head->is_stopping, true);
    (void)pthread_join(head->thread, NULL);
    shoal_parcel_fini(&head->parcel);
    shoal_buffer_fini(&head->scratch);
    (void)zmq_close(head->socket);
    (void)zmq_ctx_term(head->context);
    (void)snprintf(command, sizeof(command), "rm -rf %s", head->folder);
    assert_int_equal(system(command), 0);
}

#endif
