// SPDX-License-Identifier: Apache-2.0
//
// outbox.h - how much of what a peer was sent still waits for it to read.
//
// libzmq keeps what a peer does not take, counts messages and not bytes, and tells nobody. So about
// every 16 KiB the hub sends a body whose end it is told: a connection is a queue, so what was sent
// before has passed as well. "Passed" means taken by the kernel, or thrown away with the connection.
//
// The counter is shared with libzmq's thread and lives as long as one of the two needs it.
//
// Threads: the hub's; the counter is atomic.  Logging: none.

#ifndef SHOAL_HEAD_HUB_OUTBOX_H
#define SHOAL_HEAD_HUB_OUTBOX_H

#include <stdint.h>

#include "proto/wire/socket.h"

#define SHOAL_OUTBOX_CLIENT_BYTES 16777216  // that wait for one client before it is dropped
#define SHOAL_OUTBOX_WORKER_BYTES 67108864  // for one worker: arguments of calls and actors
#define SHOAL_OUTBOX_OUTPUT_BYTES 8388608   // for one client before it gets no more output for now
#define SHOAL_OUTBOX_ALL_BYTES    268435456 // for all peers: beyond it the fullest is dropped
#define SHOAL_OUTBOX_MARK_BYTES   16384     // between two bodies whose end is told
#define SHOAL_OUTBOX_FRAME_BYTES  192       // that a message costs in libzmq besides its bytes

typedef struct shoal_outbox_count shoal_outbox_count_t;

// Of one peer; part of it. All zero is an outbox that was not used yet.
typedef struct shoal_outbox {
    shoal_outbox_count_t *count; // NULL before the first mark
    uint64_t sent;               // bytes so far
    uint64_t marked;             // of them, up to the last mark
} shoal_outbox_t;

// The last reference of the hub; what is under way is still counted down by libzmq's thread.
void shoal_outbox_fini(shoal_outbox_t *outbox);

// As shoal_message_send().
shoal_sent_t shoal_outbox_send(shoal_outbox_t *outbox, void *socket, shoal_slice_t identity,
                               const shoal_message_t *message, zmq_msg_t *payload,
                               shoal_buffer_t *scratch);

// Bytes that wait in libzmq, to one payload and SHOAL_OUTBOX_MARK_BYTES.
uint64_t shoal_outbox_waiting(const shoal_outbox_t *outbox);

#endif
