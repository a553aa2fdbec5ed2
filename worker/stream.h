// SPDX-License-Identifier: Apache-2.0
//
// stream.h - what a call sends: records or items put together into batches.
//
// Embedded. A record is appended to the buffer and then committed or undone; batches go out when
// they are full or old, and a record that is too large for one goes alone.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_WORKER_STREAM_H
#define SHOAL_WORKER_STREAM_H

#include "proto/base/clock.h"
#include "worker/class.h"

typedef struct shoal_stream {
    const shoal_call_t *call;
    shoal_buffer_t out;
    size_t whole;       // bytes of `out` that are whole records
    uint32_t records;   // in them
    size_t cut_bytes;   // a batch is full from so many on
    uint64_t linger_ms; // a batch is old from then on
    uint64_t since_ms;  // when its first record came
    bool is_discarding; // counts and sends nothing
} shoal_stream_t;

// Starts for one call. The stream is zeroed, or was used by a call before.
void shoal_stream_start(shoal_stream_t *stream, const shoal_call_t *call, size_t cut_bytes,
                        uint64_t linger_ms, bool is_discarding);
void shoal_stream_fini(shoal_stream_t *stream);

// Where the next record is to be appended.
shoal_buffer_t *shoal_stream_out(shoal_stream_t *stream);

// Throws away what was appended since the last commit.
void shoal_stream_undo(shoal_stream_t *stream);

// What was appended is one record. It is in the batch, or was sent.
//   SHOAL_LIMIT  the record is larger than a record may be (class data; it is undone)
//   what sending fails with
SHOAL_MUST_CHECK bool shoal_stream_commit(shoal_stream_t *stream, shoal_status_t *status);

// Sends what is there.
SHOAL_MUST_CHECK bool shoal_stream_flush(shoal_stream_t *stream, shoal_status_t *status);

// Milliseconds from now until flush is due; 0: now; SHOAL_TIME_NEVER: nothing is there.
uint64_t shoal_stream_due(const shoal_stream_t *stream);

#endif
