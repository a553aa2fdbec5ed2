// SPDX-License-Identifier: Apache-2.0
//
// cursor.h - reads msgpack that nobody has checked, in place, without allocating.
//
// A cursor walks over borrowed bytes. Every read checks its bounds; the first thing that is wrong
// makes the cursor *bad*: it stays bad and at its end, and every later read gives 0, false or an
// empty slice, so a reader may check once at its end. Nothing recurses: hostile nesting costs no stack, and a claimed
// length costs no memory. Format: the msgpack specification (github.com/msgpack/msgpack, spec.md).
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_PROTO_RECORD_CURSOR_H
#define SHOAL_PROTO_RECORD_CURSOR_H

#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/base/status.h"

typedef struct shoal_cursor {
    const unsigned char *at;
    const unsigned char *end;
    bool is_bad;
} shoal_cursor_t;

typedef enum shoal_value_kind {
    SHOAL_VALUE_BAD, // no byte left, or 0xc1
    SHOAL_VALUE_NIL,
    SHOAL_VALUE_BOOL,
    SHOAL_VALUE_UINT,
    SHOAL_VALUE_INT, // a negative number
    SHOAL_VALUE_FLOAT,
    SHOAL_VALUE_STR,
    SHOAL_VALUE_BIN,
    SHOAL_VALUE_ARRAY,
    SHOAL_VALUE_MAP,
    SHOAL_VALUE_EXT,
} shoal_value_kind_t;

static inline shoal_cursor_t
shoal_cursor_over(shoal_slice_t bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    return (shoal_cursor_t){at, at ? at + bytes.len : at, false};
}

static inline size_t
shoal_cursor_left(const shoal_cursor_t *cursor) // bytes not read yet
{
    return (size_t)(cursor->end - cursor->at);
}

static inline bool
shoal_cursor_is_done(const shoal_cursor_t *cursor) // every byte read, none of them wrong
{
    return !cursor->is_bad && cursor->at == cursor->end;
}

// What comes next; reads nothing.
extern const unsigned char shoal_value_kinds[256]; // by first byte
static inline shoal_value_kind_t
shoal_cursor_peek(const shoal_cursor_t *cursor)
{
    return cursor->at < cursor->end ? (shoal_value_kind_t)shoal_value_kinds[*cursor->at]
                                    : SHOAL_VALUE_BAD; // a bad cursor is at its end
}

// The long forms and failures of the functions below; nobody else calls them.
uint64_t shoal_cursor_uint_long(shoal_cursor_t *cursor);
shoal_slice_t shoal_cursor_str_long(shoal_cursor_t *cursor);
uint32_t shoal_cursor_count_long(shoal_cursor_t *cursor, unsigned tag, unsigned bytes_each);

// Each of these reads one value of that kind and makes the cursor bad on any other.
static inline uint64_t
shoal_cursor_uint(shoal_cursor_t *cursor)
{
    if (cursor->at < cursor->end && *cursor->at < 0x80) {
        return *cursor->at++;
    }
    return shoal_cursor_uint_long(cursor);
}

static inline shoal_slice_t
shoal_cursor_str(shoal_cursor_t *cursor)
{
    if (cursor->at < cursor->end && (*cursor->at & 0xe0U) == 0xa0) {
        size_t len = *cursor->at & 31U;
        if (shoal_cursor_left(cursor) > len) {
            shoal_slice_t text = {(const char *)cursor->at + 1, len};
            cursor->at += 1 + len;
            return text;
        }
    }
    return shoal_cursor_str_long(cursor);
}

int64_t shoal_cursor_int(shoal_cursor_t *cursor);  // signed or unsigned that fits
double shoal_cursor_float(shoal_cursor_t *cursor); // float 32 or 64, or any integer
bool shoal_cursor_bool(shoal_cursor_t *cursor);
shoal_slice_t shoal_cursor_bin(shoal_cursor_t *cursor);

// True, and read, if nil is next.
static inline bool
shoal_cursor_nil(shoal_cursor_t *cursor)
{
    if (cursor->at >= cursor->end || *cursor->at != 0xc0) {
        return false;
    }
    cursor->at++;
    return true;
}

// A str, or nil as the empty slice.
static inline shoal_slice_t
shoal_cursor_str_or_nil(shoal_cursor_t *cursor)
{
    return shoal_cursor_nil(cursor) ? SHOAL_SLICE_NONE : shoal_cursor_str(cursor);
}

// The count of an array's elements, or of a map's pairs. A count that cannot fit in the bytes that
// are left (each element takes at least one) makes the cursor bad.
static inline uint32_t
shoal_cursor_array(shoal_cursor_t *cursor)
{
    if (cursor->at < cursor->end && (*cursor->at & 0xf0U) == 0x90) {
        uint32_t count = *cursor->at & 15U;
        if (shoal_cursor_left(cursor) > count) {
            cursor->at++;
            return count;
        }
    }
    return shoal_cursor_count_long(cursor, 0xdc, 1);
}

static inline uint32_t
shoal_cursor_map(shoal_cursor_t *cursor)
{
    if (cursor->at < cursor->end && (*cursor->at & 0xf0U) == 0x80) {
        uint32_t pairs = *cursor->at & 15U;
        if (shoal_cursor_left(cursor) > 2 * (size_t)pairs) {
            cursor->at++;
            return pairs;
        }
    }
    return shoal_cursor_count_long(cursor, 0xde, 2);
}

// Reads one whole value of any kind; its bytes as a slice from shoal_cursor_value().
void shoal_cursor_skip(shoal_cursor_t *cursor);
shoal_slice_t shoal_cursor_value(shoal_cursor_t *cursor);

// True if `bytes` are exactly one well-formed value, nested at most `max_depth` deep (a scalar has
// depth 0). SHOAL_CHECK_DEPTH_MAX is the largest max_depth.
#define SHOAL_CHECK_DEPTH_MAX 64
bool shoal_cursor_check(shoal_slice_t bytes, unsigned max_depth);

// Looks `key` up in the map that `map` holds (one whole value); false if it is no map, is
// malformed before the key, or has no such key. On success ret_value is the value's bytes.
bool shoal_map_find(shoal_slice_t map, const char *key, shoal_slice_t *ret_value);

#endif
