// SPDX-License-Identifier: Apache-2.0
//
// test_queue.c - what proto/base/queue.h promises.

#include <poll.h>
#include <pthread.h>

#include "proto/base/queue.h"
#include "tests/support/test.h"

static int words[4] = {10, 11, 12, 13};

static bool
is_readable(const shoal_queue_t *queue)
{
    struct pollfd item = {shoal_queue_fd(queue), POLLIN, 0};
    return poll(&item, 1, 0) == 1;
}

static void
messages_come_out_in_order_and_the_descriptor_tells_when(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_queue_t *queue = NULL;
    CHECK_OK(shoal_queue_new(3, NULL, &queue, &status), status);
    CHECK(!is_readable(queue));
    CHECK(shoal_queue_put(queue, &words[0]));
    CHECK(shoal_queue_put(queue, &words[1]));
    CHECK(is_readable(queue));
    CHECK(shoal_queue_take(queue) == &words[0]);
    CHECK(is_readable(queue));
    CHECK(shoal_queue_take(queue) == &words[1]);
    CHECK(!is_readable(queue));
    CHECK(shoal_queue_take(queue) == NULL);
    shoal_queue_destroy(&queue);
    CHECK(queue == NULL);
}

static void
a_full_queue_refuses_and_the_message_stays_with_the_caller(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_queue_t *queue = NULL;
    CHECK_OK(shoal_queue_new(2, NULL, &queue, &status), status);
    CHECK(shoal_queue_put(queue, &words[0]));
    CHECK(shoal_queue_put(queue, &words[1]));
    CHECK(!shoal_queue_put(queue, &words[2]));
    CHECK(shoal_queue_len(queue) == 2);
    shoal_queue_destroy(&queue);
}

static void
a_closed_queue_takes_nothing_and_gives_what_it_has(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_queue_t *queue = NULL;
    CHECK_OK(shoal_queue_new(2, NULL, &queue, &status), status);
    CHECK(shoal_queue_put(queue, &words[0]));
    shoal_queue_close(queue);
    CHECK(!shoal_queue_put(queue, &words[1]));
    CHECK(!shoal_queue_put_wait(queue, &words[1]));
    CHECK(shoal_queue_take_wait(queue, SHOAL_TIME_NEVER) == &words[0]);
    CHECK(shoal_queue_take_wait(queue, SHOAL_TIME_NEVER) == NULL);
    CHECK(is_readable(queue));
    shoal_queue_destroy(&queue);
}

static unsigned dropped;

static void
count_dropped(void *message)
{
    (void)message;
    dropped++;
}

static void
what_nobody_took_is_dropped(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_queue_t *queue = NULL;
    CHECK_OK(shoal_queue_new(4, count_dropped, &queue, &status), status);
    CHECK(shoal_queue_put(queue, &words[0]));
    CHECK(shoal_queue_put(queue, &words[1]));
    CHECK(shoal_queue_take(queue) == &words[0]);
    shoal_queue_destroy(&queue);
    CHECK(dropped == 1);
}

#define STREAM_LEN 100000

static void *
write_stream(void *ctx)
{
    shoal_queue_t *queue = ctx;
    for (uintptr_t i = 1; i <= STREAM_LEN; i++) {
        if (!shoal_queue_put_wait(queue, (void *)i)) {
            break;
        }
    }
    shoal_queue_close(queue);
    return NULL;
}

static void
two_threads_exchange_every_message_once_and_in_order(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_queue_t *queue = NULL;
    CHECK_OK(shoal_queue_new(64, NULL, &queue, &status), status);
    pthread_t writer;
    CHECK(pthread_create(&writer, NULL, write_stream, queue) == 0);
    uintptr_t expected = 0;
    for (void *got; (got = shoal_queue_take_wait(queue, SHOAL_TIME_NEVER)) != NULL;) {
        expected++;
        CHECK((uintptr_t)got == expected);
    }
    CHECK(expected == STREAM_LEN);
    (void)pthread_join(writer, NULL);
    shoal_queue_destroy(&queue);
}

TEST_MAIN(TEST(messages_come_out_in_order_and_the_descriptor_tells_when),
          TEST(a_full_queue_refuses_and_the_message_stays_with_the_caller),
          TEST(a_closed_queue_takes_nothing_and_gives_what_it_has),
          TEST(what_nobody_took_is_dropped),
          TEST(two_threads_exchange_every_message_once_and_in_order))
