// SPDX-License-Identifier: Apache-2.0
//
// text.c - see text.h.

#include "client/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/utf8.h"

#define ID_DIGITS 8
#define ID_LONG   16

const char *
shoal_text_count(uint64_t count, char text[SHOAL_TEXT_SIZE])
{
    char digits[SHOAL_TEXT_SIZE];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, count);
    char *to = text;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

const char *
shoal_text_seconds(double seconds, char text[SHOAL_TEXT_SIZE])
{
    if (seconds < 0.0995) {
        (void)snprintf(text, SHOAL_TEXT_SIZE, "%.0f ms", seconds < 0.0 ? 0.0 : seconds * 1000.0);
    } else if (seconds < 9.995) {
        (void)snprintf(text, SHOAL_TEXT_SIZE, "%.2f s", seconds);
    } else if (seconds < 99.95) {
        (void)snprintf(text, SHOAL_TEXT_SIZE, "%.1f s", seconds);
    } else if (seconds < 3599.5) {
        unsigned whole = (unsigned)(seconds + 0.5);
        (void)snprintf(text, SHOAL_TEXT_SIZE, "%u min %02u s", whole / 60, whole % 60);
    } else {
        unsigned minutes = seconds < 3.0e8 ? (unsigned)(seconds / 60.0 + 0.5) : 5000000U;
        (void)snprintf(text, SHOAL_TEXT_SIZE, "%u h %02u min", minutes / 60, minutes % 60);
    }
    return text;
}

const char *
shoal_text_bytes(uint64_t bytes, char text[SHOAL_TEXT_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 1024.0 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        size /= 1024.0;
        unit++;
    }
    (void)snprintf(text, SHOAL_TEXT_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return text;
}

// The bytes of the character at `text`, at least 1. False: a terminal must not see it, because it is
// a control character (C0, DEL, C1) or no UTF-8.
static bool
character_at(const char *text, size_t *ret_len)
{
    size_t len = shoal_utf8_len((shoal_slice_t){text, strnlen(text, 4)});
    const unsigned char *bytes = (const unsigned char *)text;
    *ret_len = len > 0 ? len : 1;
    switch (len) {
    case 0: return false;
    case 1: return bytes[0] >= 0x20 && bytes[0] != 0x7f;
    case 2: return bytes[0] != 0xc2 || bytes[1] >= 0xa0;
    default: return true;
    }
}

void
shoal_text_append_safe(shoal_buffer_t *out, const char *text)
{
    size_t len = 0;
    for (const char *at = text; *at; at += len) {
        if (character_at(at, &len)) {
            shoal_buffer_append(out, at, len);
        } else {
            shoal_buffer_append_byte(out, '?');
        }
    }
}

void
shoal_text_append_worker(shoal_buffer_t *out, const char *name, const char *id)
{
    bool is_long = strlen(id) >= ID_LONG; // made by chance, so its first digits tell it apart
    char digits[ID_DIGITS + 1];
    (void)snprintf(digits, sizeof(digits), "%s", id);
    if (!name[0]) {
        shoal_text_append_safe(out, is_long ? digits : id);
        return;
    }
    shoal_text_append_safe(out, name);
    shoal_buffer_append_text(out, " (");
    shoal_text_append_safe(out, is_long ? digits : id);
    shoal_buffer_append_text(out, ")");
}

// Characters of text: a column is wide by these, not by bytes.
static size_t
width_of(const char *text)
{
    size_t width = 0;
    size_t len = 0;
    for (const char *at = text; *at; at += len) {
        (void)character_at(at, &len);
        width++;
    }
    return width;
}

static void
pad(shoal_buffer_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        shoal_buffer_append_byte(out, ' ');
    }
}

void
shoal_text_table(const char *const *cells, size_t rows, size_t columns, shoal_buffer_t *out)
{
    size_t *widths = shoal_alloc(columns * sizeof(*widths));
    for (size_t i = 0; i < rows * columns; i++) {
        bool is_marked = i < columns && cells[i][0] == '>';
        size_t width = width_of(cells[i]) - (is_marked ? 1 : 0);
        if (width > widths[i % columns]) {
            widths[i % columns] = width;
        }
    }
    for (size_t i = 0; i < rows * columns; i++) {
        size_t column = i % columns;
        bool is_right = cells[column][0] == '>';
        const char *cell = cells[i] + (i < columns && is_right ? 1 : 0);
        size_t space = widths[column] - width_of(cell);
        pad(out, is_right ? space : 0);
        shoal_text_append_safe(out, cell);
        if (column + 1 == columns) {
            shoal_buffer_append_byte(out, '\n');
        } else {
            pad(out, (is_right ? 0 : space) + 2);
        }
    }
    free(widths);
}
