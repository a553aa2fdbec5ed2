// SPDX-License-Identifier: Apache-2.0
//
// sample.h - the record that the benchmarks carry: a table with 20 columns, 2,242 bytes of msgpack.
//
// The same bytes as the floor's (floor/record.h), so that the figures can stand beside each other.
// Reading fills the structure with slices of the record and looks at every key.

#ifndef SHOAL_TESTS_BENCH_SAMPLE_H
#define SHOAL_TESTS_BENCH_SAMPLE_H

#include "proto/base/buffer.h"
#include "proto/record/cursor.h"

#define SAMPLE_COLUMNS     20
#define SAMPLE_COLUMNS_MAX 64
#define SAMPLE_BYTES       2242

typedef struct sample_column {
    shoal_slice_t name, type, preset, comment;
    uint64_t ordinal;
    bool is_not_null;
} sample_column_t;

typedef struct sample_table {
    shoal_slice_t database, schema, name, kind, comment;
    uint64_t oid, rows, bytes;
    uint32_t column_count, key_count, foreign_count;
    sample_column_t columns[SAMPLE_COLUMNS_MAX];
} sample_table_t;

typedef struct sample {
    sample_table_t table;
    char names[SAMPLE_COLUMNS][32];
} sample_t;

void sample_fill(sample_t *sample);
void sample_encode(const sample_t *sample, shoal_buffer_t *out); // appends SAMPLE_BYTES

// Reads one record; false if it is malformed.
bool sample_decode(shoal_cursor_t *cursor, sample_t *sample);

#endif
