// SPDX-License-Identifier: Apache-2.0
//
// test_stream.c - what worker/stream.h promises.

#include "tests/support/test.h"
#include "worker/stream.h"

typedef struct {
    unsigned batches;
    uint32_t records;
    size_t sizes[64];
    uint32_t counts[64];
    unsigned progressed;
    bool refuses;
} sent_t;

static bool
take(void *ctx, shoal_buffer_t *batch, uint32_t records, shoal_status_t *status)
{
    sent_t *sent = ctx;
    CHECK(sent->batches < 64);
    sent->sizes[sent->batches] = batch->len;
    sent->counts[sent->batches++] = records;
    sent->records += records;
    shoal_buffer_fini(batch); // as the worker does: the memory is gone
    return !sent->refuses || shoal_fail(status, SHOAL_CANCELLED, "cancelled");
}

static void
note_progress(void *ctx)
{
    sent_t *sent = ctx;
    sent->progressed++;
}

static shoal_call_t
make_call(sent_t *sent)
{
    return (shoal_call_t){.ctx = sent,
                          .send = take,
                          .progress = note_progress,
                          .batch_bytes = 1000,
                          .record_bytes = 5000};
}

static bool
put(shoal_stream_t *stream, size_t size, shoal_status_t *status)
{
    char *at = shoal_buffer_reserve(shoal_stream_out(stream), size);
    memset(at, 'x', size);
    shoal_stream_out(stream)->len += size;
    return shoal_stream_commit(stream, status);
}

static void
a_batch_goes_when_it_is_full_and_the_rest_on_flush(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    sent_t sent = {0};
    shoal_call_t call = make_call(&sent);
    shoal_stream_t stream = {0};
    shoal_stream_start(&stream, &call, 250, 1000000, false);
    for (int i = 0; i < 7; i++) {
        CHECK_OK(put(&stream, 100, &status), status);
    }
    CHECK(sent.batches == 2 && sent.counts[0] == 3 && sent.sizes[0] == 300);
    CHECK(shoal_stream_due(&stream) > 0 && shoal_stream_due(&stream) <= 1000000);
    CHECK_OK(shoal_stream_flush(&stream, &status), status);
    CHECK_OK(shoal_stream_flush(&stream, &status), status); // nothing left
    CHECK(sent.batches == 3 && sent.records == 7 && sent.sizes[2] == 100);
    CHECK(shoal_stream_due(&stream) == SHOAL_TIME_NEVER);
    shoal_stream_fini(&stream);
}

static void
an_old_batch_goes_with_the_next_record(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    sent_t sent = {0};
    shoal_call_t call = make_call(&sent);
    shoal_stream_t stream = {0};
    shoal_stream_start(&stream, &call, 900, 50, false);
    CHECK_OK(put(&stream, 100, &status), status);
    CHECK(sent.batches == 0);
    stream.since_ms -= 50; // 50 ms later
    CHECK(shoal_stream_due(&stream) == 0);
    CHECK_OK(put(&stream, 100, &status), status);
    CHECK(sent.batches == 1 && sent.records == 2);
    shoal_stream_fini(&stream);
}

static void
a_record_above_a_batch_travels_alone(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    sent_t sent = {0};
    shoal_call_t call = make_call(&sent);
    shoal_stream_t stream = {0};
    shoal_stream_start(&stream, &call, 900, 1000000, false);
    CHECK_OK(put(&stream, 100, &status), status);
    CHECK_OK(put(&stream, 3000, &status), status);
    CHECK(sent.batches == 2);
    CHECK(sent.sizes[0] == 100 && sent.counts[0] == 1);
    CHECK(sent.sizes[1] == 3000 && sent.counts[1] == 1);
    CHECK_OK(put(&stream, 800, &status), status);
    CHECK_OK(put(&stream, 800, &status), status); // together more than a batch: the first goes
    CHECK(sent.batches == 3 && sent.sizes[2] == 800);
    CHECK_OK(shoal_stream_flush(&stream, &status), status);
    CHECK(sent.batches == 4 && sent.records == 4);
    shoal_stream_fini(&stream);
}

static void
a_record_above_the_limit_is_undone_and_the_others_stay(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    sent_t sent = {0};
    shoal_call_t call = make_call(&sent);
    shoal_stream_t stream = {0};
    shoal_stream_start(&stream, &call, 900, 1000000, false);
    CHECK_OK(put(&stream, 100, &status), status);
    CHECK_FAILS(put(&stream, 5001, &status), status, SHOAL_LIMIT);
    CHECK(status.error_class == SHOAL_DATA);
    CHECK_SAYS(status.text, "5001 bytes");
    shoal_buffer_append_text(shoal_stream_out(&stream), "half a rec");
    shoal_stream_undo(&stream);
    CHECK_OK(shoal_stream_flush(&stream, &status), status);
    CHECK(sent.batches == 1 && sent.records == 1 && sent.sizes[0] == 100);
    shoal_stream_fini(&stream);
}

static void
a_discarding_stream_sends_nothing_and_still_progresses(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    sent_t sent = {0};
    shoal_call_t call = make_call(&sent);
    shoal_stream_t stream = {0};
    shoal_stream_start(&stream, &call, 250, 1000000, true);
    for (int i = 0; i < 100; i++) {
        CHECK_OK(put(&stream, 100, &status), status);
    }
    CHECK(sent.batches == 0 && sent.progressed == 33);
    shoal_stream_fini(&stream);
}

static void
a_refused_batch_fails_the_record_that_filled_it(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    sent_t sent = {.refuses = true};
    shoal_call_t call = make_call(&sent);
    shoal_stream_t stream = {0};
    shoal_stream_start(&stream, &call, 150, 1000000, false);
    CHECK_OK(put(&stream, 100, &status), status);
    CHECK_FAILS(put(&stream, 100, &status), status, SHOAL_CANCELLED);
    shoal_stream_fini(&stream);
}

TEST_MAIN(TEST(a_batch_goes_when_it_is_full_and_the_rest_on_flush),
          TEST(an_old_batch_goes_with_the_next_record), TEST(a_record_above_a_batch_travels_alone),
          TEST(a_record_above_the_limit_is_undone_and_the_others_stay),
          TEST(a_discarding_stream_sends_nothing_and_still_progresses),
          TEST(a_refused_batch_fails_the_record_that_filled_it))
