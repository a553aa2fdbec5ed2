// SPDX-License-Identifier: Apache-2.0
//
// text.h - numbers, durations and tables as people read them.
//
// What comes from outside is made harmless for a terminal: control characters become '?'.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CLIENT_TEXT_H
#define SHOAL_CLIENT_TEXT_H

#include <stdint.h>

#include "proto/base/buffer.h"

#define SHOAL_TEXT_SIZE 32 // room for any of the three

// "12,345,678"
const char *shoal_text_count(uint64_t count, char text[SHOAL_TEXT_SIZE]);

// "42 ms", "0.42 s", "12.3 s", "3 min 05 s", "2 h 07 min"
const char *shoal_text_seconds(double seconds, char text[SHOAL_TEXT_SIZE]);

// "812 B", "24.1 KiB", "3.0 GiB"
const char *shoal_text_bytes(uint64_t bytes, char text[SHOAL_TEXT_SIZE]);

// Appends `text` with control characters as '?'; line ends too.
void shoal_text_append_safe(shoal_buffer_t *out, const char *text);

// Appends a worker's name and its id's first digits, or one of them.
void shoal_text_append_worker(shoal_buffer_t *out, const char *name, const char *id);

// A table: cells are texts, row by row, `columns` a row; the first row is the heading. A column
// whose heading starts with '>' is set to the right ('>' is not shown). Two spaces stand between
// columns; the last column is not padded.
void shoal_text_table(const char *const *cells, size_t rows, size_t columns, shoal_buffer_t *out);

#endif
