// SPDX-License-Identifier: Apache-2.0
//
// writer.c - see writer.h.

#include "proto/record/writer.h"

// Writes tag and the low `size` bytes of value, big endian, and returns what follows.
static char *
write_head(char *to, unsigned tag, uint64_t value, size_t size)
{
    *to++ = (char)tag;
    for (size_t i = size; i > 0; i--) {
        *to++ = (char)(value >> (8 * (i - 1)));
    }
    return to;
}

char *
shoal_write_uint_head(char *to, uint64_t value)
{
    if (value <= UINT8_MAX) {
        return write_head(to, 0xcc, value, 1);
    }
    if (value <= UINT16_MAX) {
        return write_head(to, 0xcd, value, 2);
    }
    if (value <= UINT32_MAX) {
        return write_head(to, 0xce, value, 4);
    }
    return write_head(to, 0xcf, value, 8);
}

void
shoal_write_int(shoal_buffer_t *out, int64_t value)
{
    if (value >= 0) {
        shoal_write_uint(out, (uint64_t)value);
        return;
    }
    char *to = shoal_buffer_reserve(out, SHOAL_WRITE_HEAD_MAX);
    if (value >= -32) {
        *to++ = (char)value;
    } else if (value >= INT8_MIN) {
        to = write_head(to, 0xd0, (uint64_t)value, 1);
    } else if (value >= INT16_MIN) {
        to = write_head(to, 0xd1, (uint64_t)value, 2);
    } else if (value >= INT32_MIN) {
        to = write_head(to, 0xd2, (uint64_t)value, 4);
    } else {
        to = write_head(to, 0xd3, (uint64_t)value, 8);
    }
    out->len = (size_t)(to - out->ptr);
}

void
shoal_write_float(shoal_buffer_t *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    char *to = shoal_buffer_reserve(out, SHOAL_WRITE_HEAD_MAX);
    out->len = (size_t)(write_head(to, 0xcb, bits, 8) - out->ptr);
}

void
shoal_write_str_long(shoal_buffer_t *out, shoal_slice_t text)
{
    assert(text.len <= UINT32_MAX);
    char *to = shoal_buffer_reserve(out, SHOAL_WRITE_HEAD_MAX + text.len);
    if (text.len <= UINT8_MAX) {
        to = write_head(to, 0xd9, text.len, 1);
    } else if (text.len <= UINT16_MAX) {
        to = write_head(to, 0xda, text.len, 2);
    } else {
        to = write_head(to, 0xdb, text.len, 4);
    }
    memcpy(to, text.ptr, text.len);
    out->len = (size_t)(to - out->ptr) + text.len;
}

void
shoal_write_bin(shoal_buffer_t *out, shoal_slice_t bytes)
{
    assert(bytes.len <= UINT32_MAX);
    char *to = shoal_buffer_reserve(out, SHOAL_WRITE_HEAD_MAX + bytes.len);
    if (bytes.len <= UINT8_MAX) {
        to = write_head(to, 0xc4, bytes.len, 1);
    } else if (bytes.len <= UINT16_MAX) {
        to = write_head(to, 0xc5, bytes.len, 2);
    } else {
        to = write_head(to, 0xc6, bytes.len, 4);
    }
    if (bytes.len > 0) {
        memcpy(to, bytes.ptr, bytes.len);
    }
    out->len = (size_t)(to - out->ptr) + bytes.len;
}

void
shoal_write_count(shoal_buffer_t *out, unsigned many, uint32_t count)
{
    char *to = shoal_buffer_reserve(out, SHOAL_WRITE_HEAD_MAX);
    to = count <= UINT16_MAX ? write_head(to, many, count, 2) : write_head(to, many + 1, count, 4);
    out->len = (size_t)(to - out->ptr);
}

static size_t
write_later(shoal_buffer_t *out, unsigned tag)
{
    char *to = shoal_buffer_reserve(out, SHOAL_WRITE_HEAD_MAX);
    out->len = (size_t)(write_head(to, tag, 0, 4) - out->ptr);
    return out->len - 4;
}

size_t
shoal_write_map_later(shoal_buffer_t *out)
{
    return write_later(out, 0xdf);
}

size_t
shoal_write_array_later(shoal_buffer_t *out)
{
    return write_later(out, 0xdd);
}

void
shoal_write_count_now(shoal_buffer_t *out, size_t mark, uint32_t count)
{
    assert(mark >= 1 && mark + 4 <= out->len);
    (void)write_head(out->ptr + mark - 1, (unsigned char)out->ptr[mark - 1], count, 4);
}
