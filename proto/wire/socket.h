// SPDX-License-Identifier: Apache-2.0
//
// socket.h - whole messages of the wire over a ZeroMQ socket.
//
// Reading takes one multipart message and sorts its frames; sending writes one without ever
// blocking. A frame is owned by the shoal_parcel_t that it was read into, so the slices of a
// decoded message live until shoal_parcel_fini(). The plain libzmq calls are used: czmq's frames
// cost two to three times as much here (docs/decisions/0001-plain-libzmq.md).
//
// Threads: the socket's owner.  Logging: none.

#ifndef SHOAL_PROTO_WIRE_SOCKET_H
#define SHOAL_PROTO_WIRE_SOCKET_H

#include <zmq.h>

#include "proto/wire/message.h"

#define SHOAL_IDENTITY_MAX 255 // bytes of a ROUTER's routing id

// One received message.
typedef struct shoal_parcel {
    zmq_msg_t identity; // ROUTER only: who sent it
    zmq_msg_t header;
    zmq_msg_t body;
    zmq_msg_t payload;
    bool has_identity;
    bool has_payload;
    unsigned frames; // after the identity, the ones that were too many included
} shoal_parcel_t;

void shoal_parcel_init(shoal_parcel_t *parcel);
void shoal_parcel_fini(shoal_parcel_t *parcel); // and ready for the next

shoal_slice_t shoal_parcel_identity(shoal_parcel_t *parcel);
shoal_slice_t shoal_parcel_payload(shoal_parcel_t *parcel); // empty without one

// The descriptor that the message came in on (ZMQ_SRCFD), a hint; -1 if unknown.
int shoal_parcel_fd(shoal_parcel_t *parcel);

// What ZAP said of the sender (its User-Id); NULL without keys. Valid as long as the parcel.
const char *shoal_parcel_user(shoal_parcel_t *parcel);

typedef enum shoal_received {
    SHOAL_RECEIVED_ONE,
    SHOAL_RECEIVED_NOTHING, // nothing there now, or a signal came
    SHOAL_RECEIVED_BROKEN,  // the socket or its context is closed; the status says what
} shoal_received_t;

// Takes one message if one is there; never blocks. `is_router`: an identity frame comes first.
// Frames beyond the payload are read and thrown away, their count stays in parcel->frames.
shoal_received_t shoal_parcel_receive(void *socket, bool is_router, shoal_parcel_t *parcel,
                                      shoal_status_t *status);

// Checks the header, the number of frames and the body, and decodes the message.
//   SHOAL_PROTOCOL     not a message of this protocol, or one frame too few or too many
//   SHOAL_UNSUPPORTED  another major version or an unknown message; ret_message->type is its number
//   SHOAL_LIMIT        a field beyond its limit
SHOAL_MUST_CHECK bool shoal_parcel_decode(shoal_parcel_t *parcel, shoal_message_t *ret_message,
                                          shoal_status_t *status);

// The message could not be decoded because its number is unknown, in our own major version: it is
// answered, and the connection goes on.
bool shoal_parcel_is_unknown(shoal_parcel_t *parcel, const shoal_message_t *message);

typedef enum shoal_sent {
    SHOAL_SENT,
    SHOAL_SENT_FULL, // the peer's queue is full (EAGAIN); nothing was sent
    SHOAL_SENT_GONE, // a ROUTER knows no such peer (EHOSTUNREACH); nothing was sent
    SHOAL_SENT_BROKEN,
} shoal_sent_t;

// Sends `message` to `identity` (a ROUTER's peer; empty: the socket is a DEALER). `payload` may be
// NULL when the message has none; on SHOAL_SENT its content has gone (it is empty afterwards and
// still the caller's to close), otherwise it is untouched. `scratch` is a buffer to encode in.
shoal_sent_t shoal_message_send(void *socket, shoal_slice_t identity,
                                const shoal_message_t *message, zmq_msg_t *payload,
                                shoal_buffer_t *scratch);

// Told when a message's body has left libzmq's queue for the connection, or was thrown away with
// it. Called once, from any thread, at the latest when the context ends.
typedef void shoal_passed_fn(void *hint);

// The same, and `passed(hint)` is told; also where nothing was sent.
shoal_sent_t shoal_message_send_told(void *socket, shoal_slice_t identity,
                                     const shoal_message_t *message, zmq_msg_t *payload,
                                     shoal_buffer_t *scratch, shoal_passed_fn *passed, void *hint);

// Sets what every socket of the project has: ZMQ_MAXMSGSIZE, high-water marks, LINGER 0, handshake
// time. Call before bind or connect.
//   SHOAL_INTERNAL  the library refuses an option
SHOAL_MUST_CHECK bool shoal_socket_configure(void *socket, shoal_status_t *status);

#define SHOAL_SOCKET_HWM          100000 // messages; credit bounds what is in flight, not this
#define SHOAL_SOCKET_HANDSHAKE_MS 5000

#endif
