// SPDX-License-Identifier: Apache-2.0
//
// outbox.c - see outbox.h.

#include "head/hub/outbox.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

struct shoal_outbox_count {
    atomic_uint users; // the outbox, and each mark that is under way
    atomic_uint_fast64_t passed;
};

// Under way: when its body has passed, so has everything up to `until`.
typedef struct mark {
    shoal_outbox_count_t *count;
    uint64_t until;
} mark_t;

static void
count_leave(shoal_outbox_count_t *count)
{
    if (atomic_fetch_sub_explicit(&count->users, 1, memory_order_acq_rel) == 1) {
        free(count);
    }
}

void
shoal_outbox_fini(shoal_outbox_t *outbox)
{
    if (outbox->count) {
        count_leave(outbox->count);
    }
    *outbox = (shoal_outbox_t){0};
}

// A thread of libzmq, or the hub's when a connection ends while it sends; marks may then pass out of
// order.
static void
mark_passed(void *hint)
{
    mark_t *mark = hint;
    uint_fast64_t passed = atomic_load_explicit(&mark->count->passed, memory_order_relaxed);
    while (passed < mark->until &&
           !atomic_compare_exchange_weak_explicit(&mark->count->passed, &passed, mark->until,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    count_leave(mark->count);
    free(mark);
}

static mark_t *
mark_new(shoal_outbox_t *outbox, uint64_t until)
{
    if (!outbox->count) {
        outbox->count = shoal_alloc(sizeof(*outbox->count));
        atomic_init(&outbox->count->users, 1);
    }
    mark_t *mark = shoal_alloc(sizeof(*mark));
    mark->count = outbox->count;
    mark->until = until;
    (void)atomic_fetch_add_explicit(&outbox->count->users, 1, memory_order_relaxed);
    return mark;
}

// What a message may be larger than a fixed amount by: its value, or its payload.
static uint64_t
weight(const shoal_message_t *message, zmq_msg_t *payload)
{
    uint64_t bytes = SHOAL_OUTBOX_FRAME_BYTES + (payload ? zmq_msg_size(payload) : 0);
    if (message->type == SHOAL_MSG_REPLY) {
        bytes += message->reply.body.len;
    } else if (message->type == SHOAL_MSG_EVENT) {
        bytes += message->event.detail.len;
    } else if (message->type == SHOAL_MSG_CALL) {
        bytes += message->call.args.len;
    } else if (message->type == SHOAL_MSG_ERROR) {
        bytes += message->error.reason.len;
    }
    return bytes;
}

shoal_sent_t
shoal_outbox_send(shoal_outbox_t *outbox, void *socket, shoal_slice_t identity,
                  const shoal_message_t *message, zmq_msg_t *payload, shoal_buffer_t *scratch)
{
    uint64_t until = outbox->sent + weight(message, payload);
    mark_t *mark =
        until - outbox->marked >= SHOAL_OUTBOX_MARK_BYTES ? mark_new(outbox, until) : NULL;
    shoal_sent_t sent = shoal_message_send_told(socket, identity, message, payload, scratch,
                                                mark ? mark_passed : NULL, mark);
    if (sent == SHOAL_SENT) {
        outbox->sent = until;
        outbox->marked = mark ? until : outbox->marked;
    }
    return sent;
}

uint64_t
shoal_outbox_waiting(const shoal_outbox_t *outbox)
{
    uint64_t passed =
        outbox->count ? atomic_load_explicit(&outbox->count->passed, memory_order_acquire) : 0;
    return outbox->sent > passed ? outbox->sent - passed : 0;
}
