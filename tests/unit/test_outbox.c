// SPDX-License-Identifier: Apache-2.0
//
// test_outbox.c - what head/hub/outbox.h promises, with a peer that reads late.

#include <stdio.h>
#include <unistd.h>

#include "head/hub/outbox.h"
#include "proto/base/clock.h"
#include "tests/support/folder.h"
#include "tests/support/test.h"

#define BODY_BYTES 100000
#define MESSAGES   200 // far more than the kernel keeps for a connection

typedef struct pair {
    folder_t folder;
    void *context;
    void *router;
    void *dealer;
    shoal_buffer_t scratch;
    char identity[256];
    size_t identity_len;
} pair_t;

static void
pair_open(pair_t *pair)
{
    char endpoint[256];
    int one = 1;
    int none = 0;
    memset(pair, 0, sizeof(*pair));
    pair->folder = folder_new();
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/s", pair->folder.path);
    pair->context = zmq_ctx_new();
    pair->router = zmq_socket(pair->context, ZMQ_ROUTER);
    pair->dealer = zmq_socket(pair->context, ZMQ_DEALER);
    CHECK(zmq_setsockopt(pair->router, ZMQ_SNDHWM, &none, sizeof(none)) == 0);
    CHECK(zmq_setsockopt(pair->dealer, ZMQ_RCVHWM, &one, sizeof(one)) == 0);
    CHECK(zmq_bind(pair->router, endpoint) == 0 && zmq_connect(pair->dealer, endpoint) == 0);
    CHECK(zmq_send(pair->dealer, "hello", 5, 0) == 5);
    int len = zmq_recv(pair->router, pair->identity, sizeof(pair->identity), 0);
    CHECK(len > 0 && zmq_recv(pair->router, endpoint, sizeof(endpoint), 0) == 5);
    pair->identity_len = (size_t)len;
}

static void
pair_close(pair_t *pair)
{
    int none = 0;
    CHECK(zmq_setsockopt(pair->router, ZMQ_LINGER, &none, sizeof(none)) == 0);
    CHECK(zmq_setsockopt(pair->dealer, ZMQ_LINGER, &none, sizeof(none)) == 0);
    CHECK(zmq_close(pair->router) == 0 && zmq_close(pair->dealer) == 0);
    CHECK(zmq_ctx_term(pair->context) == 0);
    shoal_buffer_fini(&pair->scratch);
    folder_remove(&pair->folder);
}

static void
send_replies(pair_t *pair, shoal_outbox_t *outbox, size_t body_bytes, size_t count)
{
    shoal_slice_t identity = {pair->identity, pair->identity_len};
    char *body = calloc(1, body_bytes);
    CHECK(body);
    body[0] = (char)0xc6; // a binary of that length
    for (int i = 0; i < 4; i++) {
        body[1 + i] = (char)((body_bytes - 5) >> (24 - 8 * i));
    }
    shoal_message_t message = {.type = SHOAL_MSG_REPLY};
    message.reply.request = 1;
    message.reply.body = (shoal_slice_t){body, body_bytes};
    for (size_t i = 0; i < count; i++) {
        CHECK(shoal_outbox_send(outbox, pair->router, identity, &message, NULL, &pair->scratch) ==
              SHOAL_SENT);
    }
    free(body);
}

static void
wait_until_passed(const shoal_outbox_t *outbox, uint64_t bytes)
{
    uint64_t end_ms = shoal_clock_ms() + 10000;
    while (shoal_outbox_waiting(outbox) > bytes) {
        CHECK(shoal_clock_ms() < end_ms);
        (void)usleep(1000); // between two looks
    }
}

static void
read_all(pair_t *pair, size_t messages)
{
    char *frame = malloc(BODY_BYTES + 1000);
    CHECK(frame);
    for (size_t i = 0; i < messages * 2; i++) { // header, body
        CHECK(zmq_recv(pair->dealer, frame, BODY_BYTES + 1000, 0) >= 0);
    }
    free(frame);
}

static void
what_is_not_read_is_counted_until_it_is(void)
{
    pair_t pair;
    shoal_outbox_t outbox = {0};
    pair_open(&pair);
    CHECK(shoal_outbox_waiting(&outbox) == 0);
    send_replies(&pair, &outbox, BODY_BYTES, MESSAGES);
    CHECK(outbox.sent >= (uint64_t)MESSAGES * BODY_BYTES);
    CHECK(shoal_outbox_waiting(&outbox) > (uint64_t)MESSAGES * BODY_BYTES / 2);
    read_all(&pair, MESSAGES);
    wait_until_passed(&outbox, SHOAL_OUTBOX_MARK_BYTES);
    shoal_outbox_fini(&outbox);
    pair_close(&pair);
}

static void
small_messages_are_counted_together(void)
{
    pair_t pair;
    shoal_outbox_t outbox = {0};
    pair_open(&pair);
    send_replies(&pair, &outbox, 100, 20);
    CHECK(outbox.sent > 2000 && outbox.marked == 0); // too little to be told of
    CHECK(shoal_outbox_waiting(&outbox) == outbox.sent);
    send_replies(&pair, &outbox, 100, 980);
    CHECK(outbox.marked > 0);
    read_all(&pair, 1000);
    wait_until_passed(&outbox, SHOAL_OUTBOX_MARK_BYTES);
    shoal_outbox_fini(&outbox);
    pair_close(&pair);
}

// The counter outlives the peer: libzmq still has messages that count down.
static void
a_peer_may_go_before_what_it_was_sent(void)
{
    pair_t pair;
    shoal_outbox_t outbox = {0};
    pair_open(&pair);
    send_replies(&pair, &outbox, BODY_BYTES, MESSAGES);
    shoal_outbox_fini(&outbox);
    CHECK(shoal_outbox_waiting(&outbox) == 0);
    pair_close(&pair);
}

static void
a_message_that_is_not_sent_leaves_nothing(void)
{
    pair_t pair;
    shoal_outbox_t outbox = {0};
    pair_open(&pair);
    int mandatory = 1;
    CHECK(zmq_setsockopt(pair.router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory)) == 0);
    shoal_message_t message = {.type = SHOAL_MSG_ERROR};
    char reason[20000] = "x";
    memset(reason, 'x', sizeof(reason));
    message.error.code = 1;
    message.error.reason = (shoal_slice_t){reason, sizeof(reason)};
    CHECK(shoal_outbox_send(&outbox, pair.router, SHOAL_SLICE("nobody"), &message, NULL,
                            &pair.scratch) == SHOAL_SENT_GONE);
    CHECK(outbox.sent == 0);
    shoal_outbox_fini(&outbox);
    pair_close(&pair);
}

TEST_MAIN(TEST(what_is_not_read_is_counted_until_it_is), TEST(small_messages_are_counted_together),
          TEST(a_peer_may_go_before_what_it_was_sent),
          TEST(a_message_that_is_not_sent_leaves_nothing))
