// SPDX-License-Identifier: Apache-2.0
//
// slice.h - a view of bytes that somebody else owns, not NUL-terminated.
//
// Threads: a value.  Logging: none.

#ifndef SHOAL_PROTO_BASE_SLICE_H
#define SHOAL_PROTO_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct shoal_slice {
    const char *ptr; // may be NULL when len is 0
    size_t len;      // bytes
} shoal_slice_t;

#define SHOAL_SLICE(literal) ((shoal_slice_t){(literal), sizeof(literal) - 1})
#define SHOAL_SLICE_NONE     ((shoal_slice_t){NULL, 0})

// For "%.*s".
#define SHOAL_SLICE_ARGS(slice) (int)(slice).len, (slice).ptr ? (slice).ptr : ""

static inline shoal_slice_t
shoal_slice_of(const char *text) // NULL gives the empty slice
{
    return (shoal_slice_t){text, text ? strlen(text) : 0};
}

static inline bool
shoal_slice_equal(shoal_slice_t a, shoal_slice_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool
shoal_slice_is(shoal_slice_t a, const char *text)
{
    return shoal_slice_equal(a, shoal_slice_of(text));
}

#endif
