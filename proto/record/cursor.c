// SPDX-License-Identifier: Apache-2.0
//
// cursor.c - see cursor.h.

#include "proto/record/cursor.h"

#include <assert.h>

static uint64_t
fail(shoal_cursor_t *cursor)
{
    cursor->is_bad = true;
    cursor->at = cursor->end;
    return 0;
}

static unsigned
byte(shoal_cursor_t *cursor) // 0xc1, which msgpack never uses, when there is none
{
    if (cursor->at >= cursor->end) {
        (void)fail(cursor);
        return 0xc1;
    }
    return *cursor->at++;
}

static uint64_t
big_endian(shoal_cursor_t *cursor, size_t size)
{
    if (shoal_cursor_left(cursor) < size) {
        return fail(cursor);
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | cursor->at[i];
    }
    cursor->at += size;
    return value;
}

#define X4(kind)  kind, kind, kind, kind
#define X16(kind) X4(kind), X4(kind), X4(kind), X4(kind)
#define X32(kind) X16(kind), X16(kind)
const unsigned char shoal_value_kinds[256] = {
    X32(SHOAL_VALUE_UINT), X32(SHOAL_VALUE_UINT),  X32(SHOAL_VALUE_UINT), X32(SHOAL_VALUE_UINT),
    X16(SHOAL_VALUE_MAP),  X16(SHOAL_VALUE_ARRAY), X32(SHOAL_VALUE_STR),                    //
    SHOAL_VALUE_NIL,       SHOAL_VALUE_BAD,        SHOAL_VALUE_BOOL,      SHOAL_VALUE_BOOL, // 0xc0
    SHOAL_VALUE_BIN,       SHOAL_VALUE_BIN,        SHOAL_VALUE_BIN,       SHOAL_VALUE_EXT,
    SHOAL_VALUE_EXT,       SHOAL_VALUE_EXT,        SHOAL_VALUE_FLOAT,     SHOAL_VALUE_FLOAT,
    X4(SHOAL_VALUE_UINT), // 0xcc
    X4(SHOAL_VALUE_INT),  // 0xd0
    SHOAL_VALUE_EXT,       SHOAL_VALUE_EXT,        SHOAL_VALUE_EXT,       SHOAL_VALUE_EXT,
    SHOAL_VALUE_EXT,       SHOAL_VALUE_STR,        SHOAL_VALUE_STR,       SHOAL_VALUE_STR,
    SHOAL_VALUE_ARRAY,     SHOAL_VALUE_ARRAY,      SHOAL_VALUE_MAP,       SHOAL_VALUE_MAP,
    X32(SHOAL_VALUE_INT), // 0xe0
};
#undef X4
#undef X16
#undef X32

uint64_t
shoal_cursor_uint_long(shoal_cursor_t *cursor)
{
    unsigned b = byte(cursor);
    if (b >= 0xcc && b <= 0xcf) {
        return big_endian(cursor, (size_t)1 << (b - 0xcc));
    }
    return fail(cursor);
}

int64_t
shoal_cursor_int(shoal_cursor_t *cursor)
{
    unsigned b = byte(cursor);
    if (b < 0x80) {
        return (int64_t)b;
    }
    if (b >= 0xe0) {
        return (int64_t)b - 256;
    }
    if (b >= 0xcc && b <= 0xcf) {
        uint64_t value = big_endian(cursor, (size_t)1 << (b - 0xcc));
        return value <= INT64_MAX ? (int64_t)value : (int64_t)fail(cursor);
    }
    if (b >= 0xd0 && b <= 0xd3) {
        size_t size = (size_t)1 << (b - 0xd0);
        uint64_t value = big_endian(cursor, size);
        switch (size) {
        case 1: return (int8_t)value;
        case 2: return (int16_t)value;
        case 4: return (int32_t)value;
        default: return (int64_t)value;
        }
    }
    return (int64_t)fail(cursor);
}

double
shoal_cursor_float(shoal_cursor_t *cursor)
{
    shoal_value_kind_t kind = shoal_cursor_peek(cursor);
    if (kind == SHOAL_VALUE_UINT) {
        return (double)shoal_cursor_uint(cursor);
    }
    if (kind == SHOAL_VALUE_INT) {
        return (double)shoal_cursor_int(cursor);
    }
    unsigned b = byte(cursor);
    if (b == 0xca) {
        uint32_t bits = (uint32_t)big_endian(cursor, 4);
        float value;
        memcpy(&value, &bits, sizeof(value));
        return (double)value;
    }
    if (b == 0xcb) {
        uint64_t bits = big_endian(cursor, 8);
        double value;
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    return (double)fail(cursor);
}

bool
shoal_cursor_bool(shoal_cursor_t *cursor)
{
    unsigned b = byte(cursor);
    if ((b & 0xfeU) != 0xc2) {
        (void)fail(cursor);
        return false;
    }
    return (b & 1U) != 0;
}

static shoal_slice_t
bytes(shoal_cursor_t *cursor, uint64_t len)
{
    if (cursor->is_bad || shoal_cursor_left(cursor) < len) {
        (void)fail(cursor);
        return SHOAL_SLICE_NONE;
    }
    shoal_slice_t slice = {(const char *)cursor->at, (size_t)len};
    cursor->at += len;
    return slice;
}

shoal_slice_t
shoal_cursor_str_long(shoal_cursor_t *cursor)
{
    unsigned b = byte(cursor);
    if (b >= 0xd9 && b <= 0xdb) {
        return bytes(cursor, big_endian(cursor, (size_t)1 << (b - 0xd9)));
    }
    (void)fail(cursor); // of another kind, or a short one that is cut
    return SHOAL_SLICE_NONE;
}

shoal_slice_t
shoal_cursor_bin(shoal_cursor_t *cursor)
{
    unsigned b = byte(cursor);
    if (b >= 0xc4 && b <= 0xc6) {
        return bytes(cursor, big_endian(cursor, (size_t)1 << (b - 0xc4)));
    }
    (void)fail(cursor);
    return SHOAL_SLICE_NONE;
}

uint32_t
shoal_cursor_count_long(shoal_cursor_t *cursor, unsigned tag, unsigned bytes_each)
{
    unsigned b = byte(cursor);
    if (b != tag && b != tag + 1) {
        return (uint32_t)fail(cursor); // of another kind, or a short one with too much inside
    }
    uint64_t count = big_endian(cursor, b == tag ? 2 : 4);
    if (cursor->is_bad || count * bytes_each > shoal_cursor_left(cursor)) {
        return (uint32_t)fail(cursor);
    }
    return (uint32_t)count;
}

// Reads the head of one value: what it is and, for a container, how many values follow inside.
// Scalars are read whole.
static uint64_t
read_head(shoal_cursor_t *cursor)
{
    unsigned b = byte(cursor);
    if (b < 0x80 || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3) {
        return 0;
    }
    if (b < 0x90) {
        return 2 * (uint64_t)(b & 15U);
    }
    if (b < 0xa0) {
        return b & 15U;
    }
    uint64_t len = 0;
    if (b < 0xc0) {
        len = b & 31U;
    } else {
        switch (b) {
        case 0xc4:
        case 0xd9: len = big_endian(cursor, 1); break;
        case 0xc5:
        case 0xda: len = big_endian(cursor, 2); break;
        case 0xc6:
        case 0xdb: len = big_endian(cursor, 4); break;
        case 0xc7: len = big_endian(cursor, 1) + 1; break;
        case 0xc8: len = big_endian(cursor, 2) + 1; break;
        case 0xc9: len = big_endian(cursor, 4) + 1; break;
        case 0xcc:
        case 0xd0: len = 1; break;
        case 0xcd:
        case 0xd1:
        case 0xd4: len = 2; break;
        case 0xd5: len = 3; break;
        case 0xca:
        case 0xce:
        case 0xd2: len = 4; break;
        case 0xd6: len = 5; break;
        case 0xcb:
        case 0xcf:
        case 0xd3: len = 8; break;
        case 0xd7: len = 9; break;
        case 0xd8: len = 17; break;
        case 0xdc: return big_endian(cursor, 2);
        case 0xdd: return big_endian(cursor, 4);
        case 0xde: return 2 * big_endian(cursor, 2);
        case 0xdf: return 2 * big_endian(cursor, 4);
        default: return fail(cursor);
        }
    }
    (void)bytes(cursor, len);
    return 0;
}

// Reads a short text, which is what there is most of; false if something else is next.
static inline bool
skip_short(shoal_cursor_t *cursor)
{
    if (cursor->at >= cursor->end || (*cursor->at & 0xe0U) != 0xa0) {
        return false;
    }
    size_t len = *cursor->at & 31U;
    if (shoal_cursor_left(cursor) <= len) {
        return false;
    }
    cursor->at += 1 + len;
    return true;
}

void
shoal_cursor_skip(shoal_cursor_t *cursor)
{
    uint64_t left = 1; // values still to read; each takes a byte at least
    while (left > 0) {
        uint64_t inside = skip_short(cursor) ? 0 : read_head(cursor);
        left += inside;
        left--;
        if (cursor->is_bad || (inside > 0 && left > shoal_cursor_left(cursor))) {
            (void)fail(cursor);
            return;
        }
    }
}

shoal_slice_t
shoal_cursor_value(shoal_cursor_t *cursor)
{
    const unsigned char *start = cursor->at;
    shoal_cursor_skip(cursor);
    if (cursor->is_bad) {
        return SHOAL_SLICE_NONE;
    }
    return (shoal_slice_t){(const char *)start, (size_t)(cursor->at - start)};
}

bool
shoal_cursor_check(shoal_slice_t value, unsigned max_depth)
{
    assert(max_depth <= SHOAL_CHECK_DEPTH_MAX);
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint64_t left[SHOAL_CHECK_DEPTH_MAX + 1]; // values still to read at each depth
    unsigned depth = 0;
    left[0] = 1;
    for (;;) {
        if (left[depth] == 0) {
            if (depth == 0) {
                return shoal_cursor_is_done(&cursor);
            }
            depth--;
            continue;
        }
        left[depth]--;
        uint64_t inside = skip_short(&cursor) ? 0 : read_head(&cursor);
        if (cursor.is_bad || inside > shoal_cursor_left(&cursor)) {
            return false;
        }
        if (inside > 0) {
            if (depth == max_depth) {
                return false;
            }
            left[++depth] = inside;
        }
    }
}

bool
shoal_map_find(shoal_slice_t map, const char *key, shoal_slice_t *ret_value)
{
    shoal_cursor_t cursor = shoal_cursor_over(map);
    uint32_t pairs = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < pairs && !cursor.is_bad; i++) {
        bool is_text = shoal_cursor_peek(&cursor) == SHOAL_VALUE_STR;
        shoal_slice_t name = is_text ? shoal_cursor_str(&cursor) : shoal_cursor_value(&cursor);
        shoal_slice_t value = shoal_cursor_value(&cursor);
        if (!cursor.is_bad && is_text && shoal_slice_is(name, key)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}
