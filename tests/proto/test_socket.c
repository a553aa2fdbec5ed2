// SPDX-License-Identifier: Apache-2.0
//
// test_socket.c - what proto/wire/socket.h promises: whole messages in, whole messages out.

#include "proto/wire/socket.h"
#include "tests/support/test.h"

#define DEADLINE_MS 10000
#define FULL_AFTER  100 // messages, with queues of a few

typedef struct wire {
    void *context;
    void *router;
    void *dealer;
    shoal_parcel_t parcel;
    shoal_buffer_t scratch;
} wire_t;

static void
wire_start(wire_t *wire, int hwm)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    int one = 1;
    wire->context = zmq_ctx_new();
    wire->router = zmq_socket(wire->context, ZMQ_ROUTER);
    wire->dealer = zmq_socket(wire->context, ZMQ_DEALER);
    CHECK_OK(shoal_socket_configure(wire->router, &status), status);
    CHECK_OK(shoal_socket_configure(wire->dealer, &status), status);
    CHECK(zmq_setsockopt(wire->router, ZMQ_ROUTER_MANDATORY, &one, sizeof(one)) == 0);
    CHECK(zmq_setsockopt(wire->router, ZMQ_SNDHWM, &hwm, sizeof(hwm)) == 0);
    CHECK(zmq_setsockopt(wire->dealer, ZMQ_RCVHWM, &hwm, sizeof(hwm)) == 0);
    CHECK(zmq_bind(wire->router, "inproc://head") == 0);
    CHECK(zmq_connect(wire->dealer, "inproc://head") == 0);
    shoal_parcel_init(&wire->parcel);
    wire->scratch = (shoal_buffer_t)SHOAL_BUFFER_INIT;
}

static void
wire_stop(wire_t *wire)
{
    shoal_parcel_fini(&wire->parcel);
    shoal_parcel_fini(&wire->parcel); // ready for the next, so this is fine
    shoal_buffer_fini(&wire->scratch);
    (void)zmq_close(wire->router);
    (void)zmq_close(wire->dealer);
    (void)zmq_ctx_term(wire->context);
}

static void
receive(wire_t *wire, bool is_router)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    void *socket = is_router ? wire->router : wire->dealer;
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
    CHECK(zmq_poll(&item, 1, DEADLINE_MS) == 1);
    CHECK(shoal_parcel_receive(socket, is_router, &wire->parcel, &status) == SHOAL_RECEIVED_ONE);
}

// The dealer sends frames as they are.
static void
send_frames(wire_t *wire, const shoal_slice_t *frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CHECK(zmq_send(wire->dealer, frames[i].ptr, frames[i].len,
                       i + 1 < count ? ZMQ_SNDMORE : 0) >= 0);
    }
}

static shoal_message_t
hello(void)
{
    shoal_message_t message = {.type = SHOAL_MSG_HELLO};
    message.hello.role = SHOAL_SLICE("worker");
    message.hello.id = SHOAL_SLICE("w1");
    message.hello.slots = 4;
    return message;
}

static void
a_message_arrives_and_its_answer_finds_the_way_back(void)
{
    wire_t wire;
    wire_start(&wire, 100);
    shoal_message_t message = hello();
    shoal_message_t read;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK(shoal_message_send(wire.dealer, SHOAL_SLICE_NONE, &message, NULL, &wire.scratch) ==
          SHOAL_SENT);
    receive(&wire, true);
    CHECK(wire.parcel.frames == 2 && !wire.parcel.has_payload);
    CHECK(shoal_parcel_payload(&wire.parcel).len == 0);
    CHECK_OK(shoal_parcel_decode(&wire.parcel, &read, &status), status);
    CHECK(read.type == SHOAL_MSG_HELLO && read.hello.slots == 4);
    CHECK(shoal_slice_is(read.hello.id, "w1"));

    char identity[SHOAL_IDENTITY_MAX];
    shoal_slice_t peer = shoal_parcel_identity(&wire.parcel);
    CHECK(peer.len > 0 && peer.len <= sizeof(identity));
    memcpy(identity, peer.ptr, peer.len);
    peer.ptr = identity;
    message = (shoal_message_t){.type = SHOAL_MSG_ACK, .ack = {.seq = 7}};
    CHECK(shoal_message_send(wire.router, peer, &message, NULL, &wire.scratch) == SHOAL_SENT);
    receive(&wire, false);
    CHECK(shoal_parcel_identity(&wire.parcel).len == 0);
    CHECK_OK(shoal_parcel_decode(&wire.parcel, &read, &status), status);
    CHECK(read.type == SHOAL_MSG_ACK && read.ack.seq == 7);
    wire_stop(&wire);
}

static void
a_payload_travels_as_its_own_frame(void)
{
    wire_t wire;
    wire_start(&wire, 100);
    shoal_message_t message = {.type = SHOAL_MSG_BATCH, .batch = {.call = 1, .attempt = 2}};
    shoal_message_t read;
    shoal_status_t status = SHOAL_STATUS_INIT;
    zmq_msg_t payload;
    CHECK(zmq_msg_init_size(&payload, 5) == 0);
    memcpy(zmq_msg_data(&payload), "bytes", 5);
    CHECK(shoal_message_send(wire.dealer, SHOAL_SLICE_NONE, &message, &payload, &wire.scratch) ==
          SHOAL_SENT);
    CHECK(zmq_msg_size(&payload) == 0); // gone
    (void)zmq_msg_close(&payload);
    receive(&wire, true);
    CHECK(wire.parcel.has_payload);
    CHECK(shoal_slice_is(shoal_parcel_payload(&wire.parcel), "bytes"));
    CHECK_OK(shoal_parcel_decode(&wire.parcel, &read, &status), status);
    CHECK(read.batch.attempt == 2);
    wire_stop(&wire);
}

static void
nothing_there_is_no_error(void)
{
    wire_t wire;
    wire_start(&wire, 100);
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK(shoal_parcel_receive(wire.router, true, &wire.parcel, &status) == SHOAL_RECEIVED_NOTHING);
    CHECK(shoal_parcel_receive(NULL, true, &wire.parcel, &status) == SHOAL_RECEIVED_BROKEN);
    CHECK_SAYS(status.text, "cannot receive");
    wire_stop(&wire);
}

static void
a_wrong_count_of_frames_is_refused(void)
{
    static const char header[] = "SH\1\0\0\26\0\0"; // ACK
    static const char batch[] = "SH\1\0\0\25\0\0";
    const shoal_slice_t ack_head = {header, 8};
    const shoal_slice_t batch_head = {batch, 8};
    const shoal_slice_t ack_body = SHOAL_SLICE("\x81\xa3"
                                               "seq\x07");
    const shoal_slice_t many[] = {ack_head, ack_body, ack_body, ack_body, ack_body};
    wire_t wire;
    wire_start(&wire, 100);
    shoal_message_t read;
    shoal_status_t status = SHOAL_STATUS_INIT;
    for (size_t count = 1; count <= 5; count++) {
        send_frames(&wire, many, count);
        receive(&wire, true);
        CHECK(wire.parcel.frames == count);
        if (count == 2) {
            CHECK_OK(shoal_parcel_decode(&wire.parcel, &read, &status), status);
            continue;
        }
        CHECK_FAILS(shoal_parcel_decode(&wire.parcel, &read, &status), status, SHOAL_PROTOCOL);
        CHECK_SAYS(status.text, "cannot read ACK: expected 2 frames");
        CHECK(read.type == SHOAL_MSG_ACK); // so that the answer can name it
    }
    send_frames(&wire, (const shoal_slice_t[]){batch_head, ack_body}, 2);
    receive(&wire, true);
    CHECK_FAILS(shoal_parcel_decode(&wire.parcel, &read, &status), status, SHOAL_PROTOCOL);
    CHECK_SAYS(status.text, "expected 3 frames, got 2");
    send_frames(&wire, (const shoal_slice_t[]){SHOAL_SLICE_NONE}, 1);
    receive(&wire, true);
    CHECK_FAILS(shoal_parcel_decode(&wire.parcel, &read, &status), status, SHOAL_PROTOCOL);
    wire_stop(&wire);
}

static void
a_peer_that_is_not_there_is_gone(void)
{
    wire_t wire;
    wire_start(&wire, 100);
    shoal_message_t message = {.type = SHOAL_MSG_BATCH};
    zmq_msg_t payload;
    CHECK(zmq_msg_init_size(&payload, 5) == 0);
    CHECK(shoal_message_send(wire.router, SHOAL_SLICE("nobody"), &message, &payload,
                             &wire.scratch) == SHOAL_SENT_GONE);
    CHECK(zmq_msg_size(&payload) == 5); // untouched
    (void)zmq_msg_close(&payload);
    message = hello();
    CHECK(shoal_message_send(NULL, SHOAL_SLICE_NONE, &message, NULL, &wire.scratch) ==
          SHOAL_SENT_BROKEN);
    wire_stop(&wire);
}

static void
a_full_queue_refuses_the_whole_message(void)
{
    wire_t wire;
    wire_start(&wire, 2);
    shoal_message_t message = hello();
    CHECK(shoal_message_send(wire.dealer, SHOAL_SLICE_NONE, &message, NULL, &wire.scratch) ==
          SHOAL_SENT);
    receive(&wire, true);
    char identity[SHOAL_IDENTITY_MAX];
    shoal_slice_t peer = shoal_parcel_identity(&wire.parcel);
    memcpy(identity, peer.ptr, peer.len);
    peer.ptr = identity;
    uint64_t sent = 0;
    shoal_sent_t last = SHOAL_SENT;
    while (last == SHOAL_SENT && sent < FULL_AFTER) {
        message = (shoal_message_t){.type = SHOAL_MSG_ACK, .ack = {.seq = sent + 1}};
        last = shoal_message_send(wire.router, peer, &message, NULL, &wire.scratch);
        sent += last == SHOAL_SENT;
    }
    CHECK(last == SHOAL_SENT_FULL && sent > 0);
    for (uint64_t i = 1; i <= sent; i++) { // whole and in order, none of them cut
        shoal_message_t read;
        shoal_status_t status = SHOAL_STATUS_INIT;
        receive(&wire, false);
        CHECK_OK(shoal_parcel_decode(&wire.parcel, &read, &status), status);
        CHECK(read.ack.seq == i);
    }
    wire_stop(&wire);
}

TEST_MAIN(TEST(a_message_arrives_and_its_answer_finds_the_way_back),
          TEST(a_payload_travels_as_its_own_frame), TEST(nothing_there_is_no_error),
          TEST(a_wrong_count_of_frames_is_refused), TEST(a_peer_that_is_not_there_is_gone),
          TEST(a_full_queue_refuses_the_whole_message))
