// SPDX-License-Identifier: Apache-2.0
//
// socket.c - see socket.h.

#include "proto/wire/socket.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

void
shoal_parcel_init(shoal_parcel_t *parcel)
{
    (void)zmq_msg_init(&parcel->identity);
    (void)zmq_msg_init(&parcel->header);
    (void)zmq_msg_init(&parcel->body);
    (void)zmq_msg_init(&parcel->payload);
    parcel->has_identity = false;
    parcel->has_payload = false;
    parcel->frames = 0;
}

void
shoal_parcel_fini(shoal_parcel_t *parcel)
{
    (void)zmq_msg_close(&parcel->identity);
    (void)zmq_msg_close(&parcel->header);
    (void)zmq_msg_close(&parcel->body);
    (void)zmq_msg_close(&parcel->payload);
    shoal_parcel_init(parcel);
}

static shoal_slice_t
frame_slice(zmq_msg_t *frame)
{
    return (shoal_slice_t){zmq_msg_data(frame), zmq_msg_size(frame)};
}

shoal_slice_t
shoal_parcel_identity(shoal_parcel_t *parcel)
{
    return parcel->has_identity ? frame_slice(&parcel->identity) : SHOAL_SLICE_NONE;
}

shoal_slice_t
shoal_parcel_payload(shoal_parcel_t *parcel)
{
    return parcel->has_payload ? frame_slice(&parcel->payload) : SHOAL_SLICE_NONE;
}

int
shoal_parcel_fd(shoal_parcel_t *parcel)
{
    return zmq_msg_get(&parcel->header, ZMQ_SRCFD); // the identity frame has none
}

const char *
shoal_parcel_user(shoal_parcel_t *parcel)
{
    return zmq_msg_gets(&parcel->header, "User-Id"); // the identity frame has none
}

// Reads one frame; false when there is none now, or the socket is broken (errno says which).
static bool
frame_receive(void *socket, zmq_msg_t *frame)
{
    int size;
    do {
        size = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    return size >= 0;
}

shoal_received_t
shoal_parcel_receive(void *socket, bool is_router, shoal_parcel_t *parcel, shoal_status_t *status)
{
    shoal_parcel_fini(parcel);
    zmq_msg_t *first = is_router ? &parcel->identity : &parcel->header;
    if (!frame_receive(socket, first)) {
        if (errno == EAGAIN) {
            return SHOAL_RECEIVED_NOTHING;
        }
        (void)shoal_fail(status, SHOAL_INTERNAL, "cannot receive: %s", zmq_strerror(errno));
        return SHOAL_RECEIVED_BROKEN;
    }
    parcel->has_identity = is_router;
    bool has_more = zmq_msg_more(first) != 0;
    parcel->frames = is_router ? 0 : 1;
    zmq_msg_t *rest[] = {&parcel->header, &parcel->body, &parcel->payload};
    zmq_msg_t spare;
    (void)zmq_msg_init(&spare);
    while (has_more) { // the frames of one message arrive together, so these never wait
        zmq_msg_t *frame = parcel->frames < 3 ? rest[parcel->frames] : &spare;
        if (!frame_receive(socket, frame)) {
            break;
        }
        has_more = zmq_msg_more(frame) != 0;
        parcel->frames++;
    }
    (void)zmq_msg_close(&spare);
    parcel->has_payload = parcel->frames >= 3;
    return SHOAL_RECEIVED_ONE;
}

bool
shoal_parcel_decode(shoal_parcel_t *parcel, shoal_message_t *ret_message, shoal_status_t *status)
{
    shoal_message_type_t type = (shoal_message_type_t)0;
    uint8_t minor = 0;
    bool is_read = shoal_header_decode(frame_slice(&parcel->header), &type, &minor, status);
    ret_message->type = type;
    ret_message->minor = minor;
    if (!is_read) {
        return false;
    }
    unsigned expected = shoal_message_has_payload(type) ? 3 : 2;
    if (parcel->frames != expected) {
        return shoal_fail(status, SHOAL_PROTOCOL, "cannot read %s: expected %u frames, got %u",
                          shoal_message_name((int)type), expected, parcel->frames);
    }
    return shoal_body_decode(frame_slice(&parcel->body), ret_message, status);
}

bool
shoal_parcel_is_unknown(shoal_parcel_t *parcel, const shoal_message_t *message)
{
    return shoal_header_is_ours(frame_slice(&parcel->header)) &&
           !shoal_message_is_known((int)message->type);
}

static shoal_sent_t
why_not_sent(void)
{
    switch (errno) {
    case EAGAIN: return SHOAL_SENT_FULL;
    case EHOSTUNREACH: return SHOAL_SENT_GONE;
    default: return SHOAL_SENT_BROKEN;
    }
}

static int
send_bytes(void *socket, const void *bytes, size_t len, int flags)
{
    int size;
    do {
        size = zmq_send(socket, bytes, len, flags | ZMQ_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    return size;
}

// A body whose end is told: the bytes go with the message and are freed when libzmq is done with it.
// `is_whole` says again what libzmq's hand-over between its threads says, which is not instrumented:
// the thread sanitizer sees that what was written here comes before what is read there.
typedef struct told_body {
    atomic_bool is_whole;
    shoal_passed_fn *passed;
    void *hint;
    unsigned char bytes[];
} told_body_t;

static void
told_body_free(void *bytes, void *hint)
{
    told_body_t *body = hint;
    (void)bytes;
    (void)atomic_load_explicit(&body->is_whole, memory_order_acquire);
    body->passed(body->hint);
    free(body);
}

// Moves the message into the socket; it is empty or closed afterwards.
static bool
frame_send(void *socket, zmq_msg_t *frame, int flags)
{
    int size;
    do {
        size = zmq_msg_send(frame, socket, flags | ZMQ_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    return size >= 0;
}

static bool
body_send(void *socket, const shoal_buffer_t *encoded, int flags, shoal_passed_fn *passed,
          void *hint)
{
    if (!passed) {
        return send_bytes(socket, encoded->ptr, encoded->len, flags) >= 0;
    }
    told_body_t *body = shoal_alloc(sizeof(*body) + encoded->len);
    body->passed = passed;
    body->hint = hint;
    memcpy(body->bytes, encoded->ptr, encoded->len);
    atomic_store_explicit(&body->is_whole, true, memory_order_release);
    zmq_msg_t frame;
    if (zmq_msg_init_data(&frame, body->bytes, encoded->len, told_body_free, body) != 0) {
        told_body_free(NULL, body);
        return false;
    }
    bool is_sent = frame_send(socket, &frame, flags);
    (void)zmq_msg_close(&frame);
    return is_sent;
}

// Sends identity and header: only a message's first frame can meet a full queue or an unknown peer.
static bool
head_send(void *socket, shoal_slice_t identity, shoal_message_type_t type)
{
    unsigned char header[SHOAL_WIRE_HEADER_SIZE];
    shoal_header_encode(type, header);
    return (identity.len == 0 ||
            send_bytes(socket, identity.ptr, identity.len, ZMQ_SNDMORE) >= 0) &&
           send_bytes(socket, header, sizeof(header), ZMQ_SNDMORE) >= 0;
}

shoal_sent_t
shoal_message_send_told(void *socket, shoal_slice_t identity, const shoal_message_t *message,
                        zmq_msg_t *payload, shoal_buffer_t *scratch, shoal_passed_fn *passed,
                        void *hint)
{
    assert(shoal_message_has_payload(message->type) == (payload != NULL));
    shoal_buffer_clear(scratch);
    shoal_body_encode(message, scratch);
    if (!head_send(socket, identity, message->type)) {
        shoal_sent_t why = why_not_sent();
        if (passed) {
            passed(hint);
        }
        return why;
    }
    if (!body_send(socket, scratch, payload ? ZMQ_SNDMORE : 0, passed, hint) ||
        (payload && !frame_send(socket, payload, 0))) {
        return SHOAL_SENT_BROKEN;
    }
    return SHOAL_SENT;
}

shoal_sent_t
shoal_message_send(void *socket, shoal_slice_t identity, const shoal_message_t *message,
                   zmq_msg_t *payload, shoal_buffer_t *scratch)
{
    return shoal_message_send_told(socket, identity, message, payload, scratch, NULL, NULL);
}

bool
shoal_socket_configure(void *socket, shoal_status_t *status)
{
    int64_t frame_bytes = SHOAL_FRAME_BYTES_MAX;
    int hwm = SHOAL_SOCKET_HWM;
    int linger = 0;
    int handshake = SHOAL_SOCKET_HANDSHAKE_MS;
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_bytes, sizeof(frame_bytes)) != 0 ||
        zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof(hwm)) != 0 ||
        zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof(hwm)) != 0 ||
        zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)) != 0 ||
        zmq_setsockopt(socket, ZMQ_HANDSHAKE_IVL, &handshake, sizeof(handshake)) != 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot set up a socket: %s",
                          zmq_strerror(errno));
    }
    return true;
}
