// SPDX-License-Identifier: Apache-2.0
//
// writer.h - appends msgpack values to a buffer, in their shortest form.
//
// The bytes equal those of msgpack-c's packer (the tests compare them). Strings longer than 4 GiB
// are a programmer's error. Counts of arrays and maps come before their elements; use the _later
// pair where the count is known only afterwards.
//
// Threads: the buffer's owner.  Logging: none.

#ifndef SHOAL_PROTO_RECORD_WRITER_H
#define SHOAL_PROTO_RECORD_WRITER_H

#include <stdint.h>

#include "proto/base/buffer.h"

#define SHOAL_WRITE_HEAD_MAX 9 // bytes of the largest head: a tag and 64 bits

// The long forms of the functions below; nobody else calls them. `to` has room for a head.
char *shoal_write_uint_head(char *to, uint64_t value);
void shoal_write_count(shoal_buffer_t *out, unsigned many, uint32_t count);

static inline void
shoal_write_nil(shoal_buffer_t *out)
{
    shoal_buffer_append_byte(out, (char)0xc0);
}

static inline void
shoal_write_bool(shoal_buffer_t *out, bool value)
{
    shoal_buffer_append_byte(out, (char)(value ? 0xc3 : 0xc2));
}

static inline void
shoal_write_uint(shoal_buffer_t *out, uint64_t value)
{
    char *to = shoal_buffer_reserve(out, SHOAL_WRITE_HEAD_MAX);
    if (value < 0x80) {
        out->len++;
        *to = (char)value;
    } else {
        out->len = (size_t)(shoal_write_uint_head(to, value) - out->ptr);
    }
}

void shoal_write_int(shoal_buffer_t *out, int64_t value);  // not negative: as uint
void shoal_write_float(shoal_buffer_t *out, double value); // always float 64

// Copies less than 32 bytes, in two pieces that overlap: a call of memcpy() would cost as much as
// all the rest. Nobody else calls it.
static inline void
shoal_write_short(char *to, const char *from, size_t len)
{
    if (len >= 16) {
        memcpy(to, from, 16);
        memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else if (len > 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
}

// A text of 32 bytes or more.
void shoal_write_str_long(shoal_buffer_t *out, shoal_slice_t text);

static inline void
shoal_write_str(shoal_buffer_t *out, shoal_slice_t text)
{
    if (text.len >= 32) {
        shoal_write_str_long(out, text);
        return;
    }
    char *to = shoal_buffer_reserve(out, 32);
    out->len += 1 + text.len; // before the bytes, which the compiler must take for anything
    to[0] = (char)(0xa0 | text.len);
    shoal_write_short(to + 1, text.ptr, text.len);
}

void shoal_write_bin(shoal_buffer_t *out, shoal_slice_t bytes);

static inline void
shoal_write_array(shoal_buffer_t *out, uint32_t count)
{
    if (count < 16) {
        shoal_buffer_append_byte(out, (char)(0x90 | count));
    } else {
        shoal_write_count(out, 0xdc, count);
    }
}

static inline void
shoal_write_map(shoal_buffer_t *out, uint32_t pairs)
{
    if (pairs < 16) {
        shoal_buffer_append_byte(out, (char)(0x80 | pairs));
    } else {
        shoal_write_count(out, 0xde, pairs);
    }
}

// A value that is msgpack already.
static inline void
shoal_write_raw(shoal_buffer_t *out, shoal_slice_t value)
{
    shoal_buffer_append_slice(out, value);
}

static inline void
shoal_write_text(shoal_buffer_t *out, const char *text) // NULL writes nil
{
    if (text) {
        shoal_write_str(out, shoal_slice_of(text));
    } else {
        shoal_write_nil(out);
    }
}

// For keys that are literals.
#define shoal_write_key(out, literal) shoal_write_str((out), SHOAL_SLICE(literal))

// A map or array whose count is known only later: _later writes a 32-bit count of zero and returns
// where it stands; _now fills it in. Costs four bytes more than the shortest form.
size_t shoal_write_map_later(shoal_buffer_t *out);
size_t shoal_write_array_later(shoal_buffer_t *out);
void shoal_write_count_now(shoal_buffer_t *out, size_t mark, uint32_t count);

#endif
