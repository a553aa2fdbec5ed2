// SPDX-License-Identifier: Apache-2.0
//
// writer.c - see writer.h.

#include "proto/record/writer.h"

#define HEAD_MAX 9 // bytes of the largest head: a tag and 64 bits

// Writes tag and the low `size` bytes of value, big endian, and returns what follows.
static char *
put(char *to, unsigned tag, uint64_t value, size_t size)
{
    *to++ = (char)tag;
    for (size_t i = size; i > 0; i--) {
        *to++ = (char)(value >> (8 * (i - 1)));
    }
    return to;
}

// Where a head goes, with room for `more` bytes behind it.
static char *
start(shoal_buffer_t *out, size_t more)
{
    return shoal_buffer_reserve(out, HEAD_MAX + more);
}

static void
finish(shoal_buffer_t *out, const char *end)
{
    out->len = (size_t)(end - out->ptr);
}

void
shoal_write_nil(shoal_buffer_t *out)
{
    shoal_buffer_append_byte(out, (char)0xc0);
}

void
shoal_write_bool(shoal_buffer_t *out, bool value)
{
    shoal_buffer_append_byte(out, (char)(value ? 0xc3 : 0xc2));
}

void
shoal_write_uint(shoal_buffer_t *out, uint64_t value)
{
    char *to = start(out, 0);
    if (value < 0x80) {
        *to++ = (char)value;
    } else if (value <= UINT8_MAX) {
        to = put(to, 0xcc, value, 1);
    } else if (value <= UINT16_MAX) {
        to = put(to, 0xcd, value, 2);
    } else if (value <= UINT32_MAX) {
        to = put(to, 0xce, value, 4);
    } else {
        to = put(to, 0xcf, value, 8);
    }
    finish(out, to);
}

void
shoal_write_int(shoal_buffer_t *out, int64_t value)
{
    if (value >= 0) {
        shoal_write_uint(out, (uint64_t)value);
        return;
    }
    char *to = start(out, 0);
    if (value >= -32) {
        *to++ = (char)value;
    } else if (value >= INT8_MIN) {
        to = put(to, 0xd0, (uint64_t)value, 1);
    } else if (value >= INT16_MIN) {
        to = put(to, 0xd1, (uint64_t)value, 2);
    } else if (value >= INT32_MIN) {
        to = put(to, 0xd2, (uint64_t)value, 4);
    } else {
        to = put(to, 0xd3, (uint64_t)value, 8);
    }
    finish(out, to);
}

void
shoal_write_float(shoal_buffer_t *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    finish(out, put(start(out, 0), 0xcb, bits, 8));
}

void
shoal_write_str(shoal_buffer_t *out, shoal_slice_t text)
{
    assert(text.len <= UINT32_MAX);
    char *to = start(out, text.len);
    if (text.len < 32) {
        *to++ = (char)(0xa0 | text.len);
    } else if (text.len <= UINT8_MAX) {
        to = put(to, 0xd9, text.len, 1);
    } else if (text.len <= UINT16_MAX) {
        to = put(to, 0xda, text.len, 2);
    } else {
        to = put(to, 0xdb, text.len, 4);
    }
    if (text.len > 0) {
        memcpy(to, text.ptr, text.len);
    }
    finish(out, to + text.len);
}

void
shoal_write_bin(shoal_buffer_t *out, shoal_slice_t bytes)
{
    assert(bytes.len <= UINT32_MAX);
    char *to = start(out, bytes.len);
    if (bytes.len <= UINT8_MAX) {
        to = put(to, 0xc4, bytes.len, 1);
    } else if (bytes.len <= UINT16_MAX) {
        to = put(to, 0xc5, bytes.len, 2);
    } else {
        to = put(to, 0xc6, bytes.len, 4);
    }
    if (bytes.len > 0) {
        memcpy(to, bytes.ptr, bytes.len);
    }
    finish(out, to + bytes.len);
}

// The head of an array (`few` 0x90, `many` 0xdc) or a map (0x80, 0xde).
static void
write_count(shoal_buffer_t *out, unsigned few, unsigned many, uint32_t count)
{
    char *to = start(out, 0);
    if (count < 16) {
        *to++ = (char)(few | count);
    } else if (count <= UINT16_MAX) {
        to = put(to, many, count, 2);
    } else {
        to = put(to, many + 1, count, 4);
    }
    finish(out, to);
}

void
shoal_write_array(shoal_buffer_t *out, uint32_t count)
{
    write_count(out, 0x90, 0xdc, count);
}

void
shoal_write_map(shoal_buffer_t *out, uint32_t pairs)
{
    write_count(out, 0x80, 0xde, pairs);
}

void
shoal_write_raw(shoal_buffer_t *out, shoal_slice_t value)
{
    shoal_buffer_append_slice(out, value);
}

size_t
shoal_write_map_later(shoal_buffer_t *out)
{
    finish(out, put(start(out, 0), 0xdf, 0, 4));
    return out->len - 4;
}

size_t
shoal_write_array_later(shoal_buffer_t *out)
{
    finish(out, put(start(out, 0), 0xdd, 0, 4));
    return out->len - 4;
}

void
shoal_write_count_now(shoal_buffer_t *out, size_t mark, uint32_t count)
{
    assert(mark >= 1 && mark + 4 <= out->len);
    (void)put(out->ptr + mark - 1, (unsigned char)out->ptr[mark - 1], count, 4);
}
