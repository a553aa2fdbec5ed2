// SPDX-License-Identifier: Apache-2.0
//
// json.c - see json.h.
//
// Design: a stack of open containers instead of recursion. Strings are copied eight bytes at a time
// while none of the eight needs a second look.

#include "proto/record/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/utf8.h"
#include "proto/record/cursor.h"

#define ESCAPE_MAX   6  // bytes of "\u001f"
#define SLACK        16 // room for one copy of eight and one escape beyond what is needed
#define NUMBER_MAX   32 // bytes of the longest number
#define ONES         UINT64_C(0x0101010101010101)
#define HIGHS        UINT64_C(0x8080808080808080)
#define NO_SURROGATE "\xef\xbf\xbd" // U+FFFD

// What a byte of a string becomes.
enum {
    WIDE = 1
}; // part of a UTF-8 sequence; other values: 0 plain, 'u' as \u00xx, else '\\' and it
#define X8(v)  v, v, v, v, v, v, v, v
#define X32(v) X8(v), X8(v), X8(v), X8(v)
static const char looks[256] = {
    'u',    'u',       'u',       'u',       'u',       'u', 'u', 'u',     'b',
    't',    'n',       'u',       'f',       'r',       'u', 'u', X8('u'), X8('u'), //
    0,      0,         '"',       0,         0,         0,   0,   0,       X8(0),
    X8(0),  X8(0), //
    X8(0),  X8(0),     X8(0),     0,         0,         0,   0,   '\\',    0,
    0,      0, //
    X32(0), X32(WIDE), X32(WIDE), X32(WIDE), X32(WIDE),
};
#undef X8
#undef X32

// Whether one of eight bytes is a control, '"', '\\' or not ASCII.
static bool
needs_look(uint64_t eight)
{
    uint64_t quote = eight ^ (ONES * '"');
    uint64_t slash = eight ^ (ONES * '\\');
    uint64_t found = (eight - ONES * 0x20) | (quote - ONES) | (slash - ONES) | eight;
    return (found & HIGHS) != 0; // a borrow may cry wolf; never the other way round
}

// One character that needs a look; `to` has room for ESCAPE_MAX. Returns how many bytes it took.
static size_t
write_character(char **to, shoal_slice_t text)
{
    static const char hex[] = "0123456789abcdef";
    unsigned byte = (unsigned char)text.ptr[0];
    char look = looks[byte];
    char *at = *to;
    size_t took = 1;
    if (look == 0) {
        *at++ = (char)byte;
    } else if (look == WIDE) {
        size_t len = shoal_utf8_len(text);
        memcpy(at, len ? text.ptr : NO_SURROGATE, len ? len : 3);
        at += len ? len : 3;
        took = len ? len : 1;
    } else {
        *at++ = '\\';
        *at++ = look;
        if (look == 'u') {
            *at++ = '0';
            *at++ = '0';
            *at++ = hex[byte >> 4];
            *at++ = hex[byte & 15U];
        }
    }
    *to = at;
    return took;
}

void
shoal_json_write_text(shoal_slice_t text, shoal_buffer_t *out)
{
    char *to = shoal_buffer_reserve(out, text.len + SLACK);
    const char *end = out->ptr + out->size;
    *to++ = '"';
    size_t i = 0;
    while (i < text.len) {
        size_t left = text.len - i;
        uint64_t eight;
        if (left >= sizeof(eight)) {
            memcpy(&eight, text.ptr + i, sizeof(eight));
            if (!needs_look(eight)) {
                memcpy(to, &eight, sizeof(eight));
                to += sizeof(eight);
                i += sizeof(eight);
                continue;
            }
        }
        // Up to eight characters one by one; each escape may use up some of the room.
        for (unsigned n = 0; n < sizeof(eight) && i < text.len; n++) {
            if (looks[(unsigned char)text.ptr[i]] == 0) {
                *to++ = text.ptr[i++];
                continue;
            }
            i += write_character(&to, (shoal_slice_t){text.ptr + i, text.len - i});
            if ((size_t)(end - to) < text.len - i + SLACK) {
                out->len = (size_t)(to - out->ptr);
                to = shoal_buffer_reserve(out, text.len - i + SLACK);
                end = out->ptr + out->size;
            }
        }
    }
    *to++ = '"';
    out->len = (size_t)(to - out->ptr);
}

static void
write_uint(uint64_t value, shoal_buffer_t *out)
{
    char digits[NUMBER_MAX];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    shoal_buffer_append(out, digits + at, sizeof(digits) - at);
}

static void
write_int(int64_t value, shoal_buffer_t *out)
{
    if (value < 0) {
        shoal_buffer_append_byte(out, '-');
    }
    write_uint(value < 0 ? -(uint64_t)value : (uint64_t)value, out);
}

static void
write_float(double value, shoal_buffer_t *out)
{
    if (!isfinite(value)) {
        shoal_buffer_append_text(out, "null");
        return;
    }
    char digits[NUMBER_MAX];
    for (int precision = 15; precision <= 17;
         precision++) { // the shortest that reads back the same
        (void)snprintf(digits, sizeof(digits), "%.*g", precision, value);
        double back = strtod(digits, NULL);
        if (back == value) {
            break;
        }
    }
    shoal_buffer_append_text(out, digits);
    if (!strpbrk(digits, ".e")) {
        shoal_buffer_append_text(out, ".0"); // stays a float for who reads it
    }
}

static void
write_base64(shoal_slice_t bytes, shoal_buffer_t *out)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *from = (const unsigned char *)bytes.ptr;
    char *to = shoal_buffer_reserve(out, bytes.len / 3 * 4 + 6);
    const char *start = to;
    *to++ = '"';
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        unsigned group = (unsigned)from[i] << 16;
        group |= left > 1 ? (unsigned)from[i + 1] << 8 : 0;
        group |= left > 2 ? from[i + 2] : 0;
        *to++ = letters[group >> 18];
        *to++ = letters[group >> 12 & 63U];
        *to++ = left > 1 ? letters[group >> 6 & 63U] : '=';
        *to++ = left > 2 ? letters[group & 63U] : '=';
    }
    *to++ = '"';
    out->len += (size_t)(to - start);
}

// A value that is no container.
static void
write_scalar(shoal_value_kind_t kind, shoal_cursor_t *cursor, shoal_buffer_t *out)
{
    switch (kind) {
    case SHOAL_VALUE_STR: shoal_json_write_text(shoal_cursor_str(cursor), out); break;
    case SHOAL_VALUE_UINT: write_uint(shoal_cursor_uint(cursor), out); break;
    case SHOAL_VALUE_INT: write_int(shoal_cursor_int(cursor), out); break;
    case SHOAL_VALUE_FLOAT: write_float(shoal_cursor_float(cursor), out); break;
    case SHOAL_VALUE_BIN: write_base64(shoal_cursor_bin(cursor), out); break;
    case SHOAL_VALUE_BOOL:
        shoal_buffer_append_text(out, shoal_cursor_bool(cursor) ? "true" : "false");
        break;
    case SHOAL_VALUE_NIL:
    case SHOAL_VALUE_EXT:
    case SHOAL_VALUE_BAD:
    case SHOAL_VALUE_ARRAY:
    case SHOAL_VALUE_MAP:
    default:
        shoal_cursor_skip(cursor);
        shoal_buffer_append_text(out, "null");
        break;
    }
}

// A map's key with its ':'; false if it is a container.
static bool
write_key(shoal_cursor_t *cursor, shoal_buffer_t *out)
{
    shoal_value_kind_t kind = shoal_cursor_peek(cursor);
    if (kind == SHOAL_VALUE_ARRAY || kind == SHOAL_VALUE_MAP) {
        return false;
    }
    bool is_text = kind == SHOAL_VALUE_STR || kind == SHOAL_VALUE_BIN;
    if (!is_text) {
        shoal_buffer_append_byte(out, '"');
    }
    write_scalar(kind, cursor, out);
    if (!is_text) {
        shoal_buffer_append_byte(out, '"');
    }
    shoal_buffer_append_byte(out, ':');
    return true;
}

typedef struct open_container {
    uint32_t left; // elements or pairs still to write
    bool is_map;
    bool is_first;
} open_container_t;

// What comes before the next value of the innermost container: ',' and, in a map, the key.
static bool
start_member(open_container_t *in, shoal_cursor_t *cursor, shoal_buffer_t *out)
{
    if (!in->is_first) {
        shoal_buffer_append_byte(out, ',');
    }
    in->is_first = false;
    in->left--;
    return !in->is_map || write_key(cursor, out);
}

static bool
write_value(shoal_cursor_t *cursor, shoal_buffer_t *out, shoal_status_t *status)
{
    open_container_t open[SHOAL_JSON_DEPTH_MAX];
    unsigned depth = 0;
    do {
        if (depth > 0 && !start_member(&open[depth - 1], cursor, out)) {
            return shoal_fail_as(status, SHOAL_DATA, SHOAL_PROTOCOL,
                                 "cannot write JSON: a map's key is an array or a map");
        }
        shoal_value_kind_t kind = shoal_cursor_peek(cursor);
        if (kind != SHOAL_VALUE_MAP && kind != SHOAL_VALUE_ARRAY) {
            write_scalar(kind, cursor, out);
        } else {
            bool is_map = kind == SHOAL_VALUE_MAP;
            uint32_t count = is_map ? shoal_cursor_map(cursor) : shoal_cursor_array(cursor);
            if (depth == SHOAL_JSON_DEPTH_MAX) {
                return shoal_fail_as(status, SHOAL_DATA, SHOAL_PROTOCOL,
                                     "cannot write JSON: the value is nested deeper than %d",
                                     SHOAL_JSON_DEPTH_MAX);
            }
            open[depth++] = (open_container_t){count, is_map, true};
            shoal_buffer_append_byte(out, is_map ? '{' : '[');
        }
        // cppcheck-suppress uninitvar; an entry below `depth` has been written
        while (depth > 0 && open[depth - 1].left == 0) {
            shoal_buffer_append_byte(out, open[--depth].is_map ? '}' : ']');
        }
    } while (depth > 0 && !cursor->is_bad);
    if (!shoal_cursor_is_done(cursor)) {
        return shoal_fail_as(status, SHOAL_DATA, SHOAL_PROTOCOL,
                             "cannot write JSON: the value is malformed msgpack");
    }
    return true;
}

bool
shoal_json_write(shoal_slice_t value, shoal_buffer_t *out, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    size_t before = out->len;
    if (!write_value(&cursor, out, status)) {
        out->len = before;
        return false;
    }
    return true;
}
