// SPDX-License-Identifier: Apache-2.0
//
// fake_head.h - a head for tests of the worker's link: a ROUTER that says what the test says.
//
// It listens in a private directory under /tmp. Waiting has a deadline, after which the test fails.

#ifndef SHOAL_TESTS_SUPPORT_FAKE_HEAD_H
#define SHOAL_TESTS_SUPPORT_FAKE_HEAD_H

#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "proto/wire/socket.h"
#include "tests/support/test.h"

#define FAKE_HEAD_DEADLINE_MS 20000

typedef struct fake_head {
    char directory[64];
    char endpoint[96];
    void *context;
    void *socket;
    char peer[SHOAL_IDENTITY_MAX]; // who spoke last
    size_t peer_len;
    shoal_parcel_t parcel;
    shoal_message_t message; // the last one, over parcel
    shoal_buffer_t scratch;
    uint64_t heartbeats;     // heard
    shoal_buffer_t progress; // of the last heartbeat that had some
    bool is_mute;            // does not answer heartbeats
    uint64_t owed;           // answers to them
    uint64_t ack;            // sent with heartbeats
    uint64_t lease_ms;       // said in WELCOME
} fake_head_t;

static inline void
fake_head_bind(fake_head_t *head)
{
    int none = 0;
    int one = 1;
    head->context = zmq_ctx_new();
    head->socket = zmq_socket(head->context, ZMQ_ROUTER);
    (void)zmq_setsockopt(head->socket, ZMQ_LINGER, &none, sizeof(none));
    (void)zmq_setsockopt(head->socket, ZMQ_ROUTER_MANDATORY, &one, sizeof(one));
    CHECK(zmq_bind(head->socket, head->endpoint) == 0);
}

// A directory and an endpoint; nobody listens there yet.
static inline void
fake_head_place(fake_head_t *head)
{
    *head = (fake_head_t){.lease_ms = 60000};
    (void)snprintf(head->directory, sizeof(head->directory), "/tmp/shoal-test-XXXXXX");
    CHECK(mkdtemp(head->directory) != NULL);
    (void)snprintf(head->endpoint, sizeof(head->endpoint), "ipc://%s/head.sock", head->directory);
    shoal_parcel_init(&head->parcel);
}

static inline void
fake_head_unbind(fake_head_t *head)
{
    if (head->socket) {
        (void)zmq_close(head->socket);
        (void)zmq_ctx_term(head->context);
        head->socket = NULL;
    }
}

static inline void
fake_head_fini(fake_head_t *head)
{
    char path[96];
    fake_head_unbind(head);
    shoal_parcel_fini(&head->parcel);
    shoal_buffer_fini(&head->scratch);
    shoal_buffer_fini(&head->progress);
    (void)snprintf(path, sizeof(path), "%s/head.sock", head->directory);
    (void)unlink(path);
    CHECK(rmdir(head->directory) == 0);
}

static inline void
fake_head_send(fake_head_t *head, const shoal_message_t *message, shoal_slice_t payload)
{
    zmq_msg_t frame;
    bool has_payload = shoal_message_has_payload(message->type);
    (void)zmq_msg_init_size(&frame, payload.len);
    if (payload.len > 0) {
        memcpy(zmq_msg_data(&frame), payload.ptr, payload.len);
    }
    CHECK(shoal_message_send(head->socket, (shoal_slice_t){head->peer, head->peer_len}, message,
                             has_payload ? &frame : NULL, &head->scratch) == SHOAL_SENT);
    (void)zmq_msg_close(&frame);
}

static inline void
fake_head_heartbeat(fake_head_t *head)
{
    head->heartbeats++;
    if (head->message.heartbeat.progress.len > 0) {
        shoal_buffer_clear(&head->progress);
        shoal_buffer_append_slice(&head->progress, head->message.heartbeat.progress);
    }
    head->owed++;
    while (!head->is_mute && head->owed > 0) {
        head->owed--;
        shoal_message_t beat = {.type = SHOAL_MSG_HEARTBEAT, .heartbeat = {.ack = head->ack}};
        // A worker that has gone meanwhile needs no answer; the test sees it by what it expects.
        (void)shoal_message_send(head->socket, (shoal_slice_t){head->peer, head->peer_len}, &beat,
                                 NULL, &head->scratch);
    }
}

// Takes one message within `timeout_ms`; false: none came. Heartbeats are answered and counted,
// and count as none.
static inline bool
fake_head_take(fake_head_t *head, uint64_t timeout_ms)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    uint64_t deadline_ms = shoal_clock_ms() + timeout_ms;
    for (;;) {
        uint64_t now_ms = shoal_clock_ms();
        if (now_ms > deadline_ms) {
            return false;
        }
        zmq_pollitem_t item = {head->socket, 0, ZMQ_POLLIN, 0};
        (void)zmq_poll(&item, 1, (long)(deadline_ms - now_ms));
        if (shoal_parcel_receive(head->socket, true, &head->parcel, &status) !=
            SHOAL_RECEIVED_ONE) {
            continue;
        }
        shoal_slice_t identity = shoal_parcel_identity(&head->parcel);
        memcpy(head->peer, identity.ptr, identity.len);
        head->peer_len = identity.len;
        CHECK_OK(shoal_parcel_decode(&head->parcel, &head->message, &status), status);
        CHECK(shoal_message_senders(head->message.type) & SHOAL_FROM_WORKER);
        if (head->message.type != SHOAL_MSG_HEARTBEAT) {
            return true;
        }
        fake_head_heartbeat(head);
    }
}

// The next message is of that type.
static inline const shoal_message_t *
fake_head_expect(fake_head_t *head, shoal_message_type_t type)
{
    if (!fake_head_take(head, FAKE_HEAD_DEADLINE_MS)) {
        fail_msg("no %s came", shoal_message_name((int)type));
    }
    if (head->message.type != type) {
        fail_msg("%s came, not %s", shoal_message_name((int)head->message.type),
                 shoal_message_name((int)type));
    }
    return &head->message;
}

static inline void
fake_head_welcome(fake_head_t *head, const char *id, uint64_t heartbeat_ms, uint64_t liveness_ms)
{
    shoal_message_t welcome = {.type = SHOAL_MSG_WELCOME,
                               .welcome = {.head = shoal_slice_of(id),
                                           .heartbeat_ms = heartbeat_ms,
                                           .liveness_ms = liveness_ms,
                                           .lease_ms = head->lease_ms,
                                           .batch_bytes = 65536,
                                           .record_bytes = SHOAL_RECORD_BYTES_MAX}};
    fake_head_send(head, &welcome, SHOAL_SLICE_NONE);
}

static inline void
fake_head_actor(fake_head_t *head, uint64_t actor, const char *class_name, shoal_slice_t args)
{
    shoal_message_t message = {.type = SHOAL_MSG_ACTOR,
                               .actor = {.actor = actor, .class_name = shoal_slice_of(class_name)}};
    fake_head_send(head, &message, args);
}

static inline void
fake_head_call(fake_head_t *head, uint64_t call, uint64_t actor, const char *method,
               uint64_t credit, shoal_slice_t args)
{
    shoal_message_t message = {.type = SHOAL_MSG_CALL,
                               .call = {.call = call,
                                        .attempt = 1,
                                        .actor = actor,
                                        .method = shoal_slice_of(method),
                                        .credit = credit,
                                        .args = args}};
    fake_head_send(head, &message, SHOAL_SLICE_NONE);
}

static inline void
fake_head_cancel(fake_head_t *head, uint64_t call)
{
    shoal_message_t message = {.type = SHOAL_MSG_CANCEL, .cancel = {.call = call, .attempt = 1}};
    fake_head_send(head, &message, SHOAL_SLICE_NONE);
}

static inline void
fake_head_grant(fake_head_t *head, uint64_t call, uint64_t bytes)
{
    shoal_message_t message = {.type = SHOAL_MSG_GRANT,
                               .grant = {.call = call, .attempt = 1, .bytes = bytes}};
    fake_head_send(head, &message, SHOAL_SLICE_NONE);
}

static inline void
fake_head_ack(fake_head_t *head, uint64_t seq)
{
    shoal_message_t message = {.type = SHOAL_MSG_ACK, .ack = {.seq = seq}};
    head->ack = seq;
    fake_head_send(head, &message, SHOAL_SLICE_NONE);
}

#endif
