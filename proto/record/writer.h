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

void shoal_write_nil(shoal_buffer_t *out);
void shoal_write_bool(shoal_buffer_t *out, bool value);
void shoal_write_uint(shoal_buffer_t *out, uint64_t value);
void shoal_write_int(shoal_buffer_t *out, int64_t value);  // not negative: as uint
void shoal_write_float(shoal_buffer_t *out, double value); // always float 64
void shoal_write_str(shoal_buffer_t *out, shoal_slice_t text);
void shoal_write_bin(shoal_buffer_t *out, shoal_slice_t bytes);
void shoal_write_array(shoal_buffer_t *out, uint32_t count);
void shoal_write_map(shoal_buffer_t *out, uint32_t pairs);

// A value that is msgpack already.
void shoal_write_raw(shoal_buffer_t *out, shoal_slice_t value);

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
