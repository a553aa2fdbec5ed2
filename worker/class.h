// SPDX-License-Identifier: Apache-2.0
//
// class.h - what a class of actors implements, and what the worker offers to its calls.
//
// An actor of the head is here a *pool of instances* of one class, all constructed with the same
// arguments. The worker makes an instance when a call finds no idle one, so there are never more
// of them than slots, and keeps every instance until the head drops the actor: what a call leaves
// behind in its instance (a connection, an exported snapshot) is there as long as the job. A failed
// call leaves its instance in the pool; the class sees to it that the next call can use it.
//
// Threads: one instance runs one call at a time, on one slot thread after the other, never on two
// at once; construct and destroy run on slot threads too. Instances share no mutable memory unless
// the class guards it. No function here is called from a thread of the class's own.
// Blocking: only through shoal_call_t, so that the worker can tell a waiting slot from a hung one.
// Logging: through shoal_call_t only.

#ifndef SHOAL_WORKER_CLASS_H
#define SHOAL_WORKER_CLASS_H

#include <stdint.h>

#include "proto/base/buffer.h"
#include "proto/base/clock.h" // SHOAL_TIME_NEVER
#include "proto/base/log.h"
#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_CLASS_ABI    3      // another number is refused
#define SHOAL_RESULT_BYTES 262144 // the most that a call may put in its result

// ---- what the worker offers to a call while it runs; every function takes `ctx` first

typedef struct shoal_call shoal_call_t;
struct shoal_call {
    void *ctx; // the worker's

    // Sends `batch`, in which `records` records end, to the head. Takes the bytes out of the
    // buffer: it is empty afterwards (its memory may be gone, so reserve again), also on failure.
    // An empty batch is not sent. Waits while the call's byte credit is used up, which counts as
    // progress. At most batch_bytes, unless it is one record alone, which may have record_bytes
    // and travels in chunks.
    //   SHOAL_CANCELLED  the call is cancelled; stop and fail with this status
    //   SHOAL_LIMIT      too large (one record: class data, nothing was sent)
    SHOAL_MUST_CHECK bool (*send)(void *ctx, shoal_buffer_t *batch, uint32_t records,
                                  shoal_status_t *status);

    // Waits until `fd` is ready for `events` (POLLIN | POLLOUT), at most `timeout_ms`
    // (SHOAL_TIME_NEVER: for ever); an fd of -1 only waits. Counts as progress, but one for ever
    // does so for a lease only and then counts as hung: say how long the answer may take. Ends at
    // once when the call is cancelled.
    //   SHOAL_CANCELLED  the call was cancelled; stop and fail with this status
    //   SHOAL_TIMEOUT    time is over (class transient)
    //   SHOAL_INVALID    fd is not open
    SHOAL_MUST_CHECK bool (*wait)(void *ctx, int fd, short events, uint64_t timeout_ms,
                                  shoal_status_t *status);

    // The same for a batch that holds `count` dead letters (docs/protocol.md 6.2), at most batch_bytes.
    SHOAL_MUST_CHECK bool (*send_letters)(void *ctx, shoal_buffer_t *batch, uint32_t count,
                                          shoal_status_t *status);

    // For calls that write somewhere by themselves: ask before each write, which lasts at most
    // `write_ms`. True: it is over before the head can have given the call to another worker.
    //   SHOAL_CANCELLED  the call is cancelled, or the head was not heard for too long; fail with
    //                    this status, and the call is given back
    //   SHOAL_INVALID    a write may last as long as the head's lease, or longer
    SHOAL_MUST_CHECK bool (*may_write)(void *ctx, uint64_t write_ms, shoal_status_t *status);

    bool (*is_cancelled)(void *ctx); // look at it in long loops; cheap
    void (*progress)(void *ctx);     // the call moves on; without it for a lease (60 s) it counts
                                     // as hung. Cheap.
    void (*log)(void *ctx, shoal_log_level_t level, const char *format, ...) SHOAL_PRINTF(3, 4);

    uint64_t number; // of the call, and of its attempt
    uint32_t attempt;
    uint64_t limit;        // records that it may deliver; 0: no limit
    uint32_t credit;       // bytes of batches that it may send before the head takes any
    uint32_t batch_bytes;  // largest batch
    uint32_t record_bytes; // largest record
};

// ---- what a class implements

typedef struct shoal_class shoal_class_t;
struct shoal_class {
    uint32_t abi;               // SHOAL_CLASS_ABI
    const char *name;           // 1 to 64 bytes; the head knows the class by it
    const char *const *methods; // ends with NULL; others are refused before `call`
    void *ctx;                  // the class's own, given to construct

    // Makes an instance. `args` is one msgpack value or empty, borrowed for the call. No waiting.
    SHOAL_MUST_CHECK bool (*construct)(void *ctx, shoal_slice_t args, void **ret_self,
                                       shoal_status_t *status);
    void (*destroy)(void *self); // may block for a moment

    // Runs `method` (one of the table's own strings). `args` is one msgpack value or empty. Appends
    // one msgpack value, or nothing, to `result`, at most SHOAL_RESULT_BYTES; it is thrown away
    // when the call fails. The status says code, class, sentence and the key to blame.
    SHOAL_MUST_CHECK bool (*call)(void *self, const shoal_call_t *call, const char *method,
                                  shoal_slice_t args, shoal_buffer_t *result,
                                  shoal_status_t *status);
};

// Looks at a class before it is used: ABI, name, members.
//   SHOAL_UNSUPPORTED  another ABI
//   SHOAL_INVALID      a member is missing or the name is too long
SHOAL_MUST_CHECK bool shoal_class_check(const shoal_class_t *class, shoal_status_t *status);

// The class's own string for `method`.
//   SHOAL_NOT_FOUND  no such method; the sentence lists the known ones
SHOAL_MUST_CHECK bool shoal_class_method(const shoal_class_t *class, shoal_slice_t method,
                                         const char **ret_method, shoal_status_t *status);

#endif
