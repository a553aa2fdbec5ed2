// SPDX-License-Identifier: Apache-2.0
//
// stream.c - see stream.h.

#include "worker/stream.h"

#include <assert.h>

#define SLACK_BYTES 8192 // beyond the cut, so that most batches need one allocation

void
shoal_stream_start(shoal_stream_t *stream, const shoal_call_t *call, size_t cut_bytes,
                   uint64_t linger_ms, bool is_discarding)
{
    stream->call = call;
    stream->cut_bytes = cut_bytes < call->batch_bytes ? cut_bytes : call->batch_bytes;
    stream->linger_ms = linger_ms;
    stream->is_discarding = is_discarding;
    stream->whole = 0;
    stream->records = 0;
    shoal_buffer_clear(&stream->out);
}

void
shoal_stream_fini(shoal_stream_t *stream)
{
    shoal_buffer_fini(&stream->out);
}

shoal_buffer_t *
shoal_stream_out(shoal_stream_t *stream)
{
    if (stream->out.size == 0) {
        (void)shoal_buffer_reserve(&stream->out, stream->cut_bytes + SLACK_BYTES);
    }
    return &stream->out;
}

void
shoal_stream_undo(shoal_stream_t *stream)
{
    stream->out.len = stream->whole;
}

// Sends `batch` of `records` and leaves it empty.
static bool
send(shoal_stream_t *stream, shoal_buffer_t *batch, uint32_t records, shoal_status_t *status)
{
    stream->call->progress(stream->call->ctx);
    if (stream->is_discarding) {
        shoal_buffer_clear(batch);
        return true;
    }
    return stream->call->send(stream->call->ctx, batch, records, status);
}

bool
shoal_stream_flush(shoal_stream_t *stream, shoal_status_t *status)
{
    if (stream->records == 0) {
        return true;
    }
    assert(stream->out.len == stream->whole);
    uint32_t records = stream->records;
    stream->whole = 0;
    stream->records = 0;
    return send(stream, &stream->out, records, status);
}

// The record at the end does not fit into one batch with those before it: they go first.
static bool
send_those_before(shoal_stream_t *stream, shoal_status_t *status)
{
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    shoal_buffer_append(&record, stream->out.ptr + stream->whole, stream->out.len - stream->whole);
    stream->out.len = stream->whole;
    bool done = shoal_stream_flush(stream, status);
    shoal_buffer_fini(&stream->out);
    stream->out = record;
    stream->whole = 0;
    stream->records = 0;
    return done;
}

bool
shoal_stream_commit(shoal_stream_t *stream, shoal_status_t *status)
{
    size_t size = stream->out.len - stream->whole;
    if (size > stream->call->record_bytes) {
        shoal_stream_undo(stream);
        return shoal_fail_as(status, SHOAL_DATA, SHOAL_LIMIT,
                             "record of %zu bytes, at most %u are allowed", size,
                             stream->call->record_bytes);
    }
    if (stream->records > 0 && stream->out.len > stream->call->batch_bytes &&
        !send_those_before(stream, status)) {
        return false;
    }
    uint64_t now_ms = shoal_clock_ms();
    if (stream->records == 0) {
        stream->since_ms = now_ms;
    }
    stream->whole = stream->out.len;
    stream->records++;
    if (stream->out.len >= stream->cut_bytes || now_ms - stream->since_ms >= stream->linger_ms) {
        return shoal_stream_flush(stream, status);
    }
    return true;
}

uint64_t
shoal_stream_due(const shoal_stream_t *stream)
{
    if (stream->records == 0 || stream->out.len != stream->whole) {
        return SHOAL_TIME_NEVER;
    }
    uint64_t age_ms = shoal_clock_ms() - stream->since_ms;
    return age_ms < stream->linger_ms ? stream->linger_ms - age_ms : 0;
}
