// SPDX-License-Identifier: Apache-2.0
//
// buffer.h - bytes that grow at their end.
//
// Embedded: zero it or use SHOAL_BUFFER_INIT, shoal_buffer_fini() frees. The caller bounds what it
// appends; growing past the machine's memory ends the process (alloc.h).
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_PROTO_BASE_BUFFER_H
#define SHOAL_PROTO_BASE_BUFFER_H

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/base/status.h"

typedef struct shoal_buffer {
    char *ptr;
    size_t len;
    size_t size; // bytes allocated
} shoal_buffer_t;

#define SHOAL_BUFFER_INIT                                                                          \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

void shoal_buffer_fini(shoal_buffer_t *buffer); // frees; the buffer is empty and usable again
void shoal_buffer_grow(shoal_buffer_t *buffer, size_t room); // slow path of reserve

// Makes room for `room` more bytes and returns where they go; `len` does not move.
static inline char *
shoal_buffer_reserve(shoal_buffer_t *buffer, size_t room)
{
    if (buffer->size - buffer->len < room) {
        shoal_buffer_grow(buffer, room);
    }
    return buffer->ptr + buffer->len;
}

static inline void
shoal_buffer_append(shoal_buffer_t *buffer, const void *bytes, size_t len)
{
    if (len > 0) {
        memcpy(shoal_buffer_reserve(buffer, len), bytes, len);
        buffer->len += len;
    }
}

static inline void
shoal_buffer_append_slice(shoal_buffer_t *buffer, shoal_slice_t slice)
{
    shoal_buffer_append(buffer, slice.ptr, slice.len);
}

static inline void
shoal_buffer_append_byte(shoal_buffer_t *buffer, char byte)
{
    char *to = shoal_buffer_reserve(buffer, 1);
    buffer->len++;
    *to = byte;
}

void shoal_buffer_append_text(shoal_buffer_t *buffer, const char *text);
void shoal_buffer_append_format(shoal_buffer_t *buffer, const char *format, ...) SHOAL_PRINTF(2, 3);

// The bytes so far, valid until the next append.
static inline shoal_slice_t
shoal_buffer_slice(const shoal_buffer_t *buffer)
{
    return (shoal_slice_t){buffer->ptr, buffer->len};
}

// Puts a NUL behind the bytes (not counted in len) and returns them as a C string.
const char *shoal_buffer_text(shoal_buffer_t *buffer);

static inline void
shoal_buffer_clear(shoal_buffer_t *buffer) // keeps the memory
{
    buffer->len = 0;
}

#endif
