// SPDX-License-Identifier: Apache-2.0
//
// surrogates.c - see surrogates.h.

#include "proto/workflow/surrogates.h"

#define ESCAPE_BYTES 6 // \uXXXX
#define HEX_DIGITS   "0123456789abcdefABCDEF"

// The number of an escape \uXXXX at `at`, or 0.
static unsigned
escape_at(shoal_slice_t text, size_t at)
{
    unsigned number = 0;
    if (text.len - at < ESCAPE_BYTES || text.ptr[at] != '\\' || text.ptr[at + 1] != 'u') {
        return 0;
    }
    for (size_t i = at + 2; i < at + ESCAPE_BYTES; i++) {
        const char *digit = memchr(HEX_DIGITS, text.ptr[i], sizeof(HEX_DIGITS) - 1);
        if (!digit) {
            return 0;
        }
        size_t value = (size_t)(digit - HEX_DIGITS);
        number = number * 16 + (unsigned)(value < 16 ? value : value - 6);
    }
    return number;
}

// Takes what stands at `at` in a string in double quotes: a pair of escapes, an escape, a byte.
// Returns how many bytes that were.
static size_t
string_take(shoal_slice_t text, size_t at, shoal_buffer_t *out)
{
    unsigned high = escape_at(text, at);
    unsigned low = high >= 0xd800 && high < 0xdc00 ? escape_at(text, at + ESCAPE_BYTES) : 0;
    if (low >= 0xdc00 && low < 0xe000) {
        unsigned character = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        for (int shift = 18; shift >= 0; shift -= 6) {
            unsigned lead = shift == 18 ? 0xf0 : 0x80;
            shoal_buffer_append_byte(out, (char)(lead | (character >> shift & 0x3fU)));
        }
        return 2 * (size_t)ESCAPE_BYTES;
    }
    size_t len = text.ptr[at] == '\\' && at + 1 < text.len ? 2 : 1;
    shoal_buffer_append(out, text.ptr + at, len);
    return len;
}

// The end of a comment, or of a string in single quotes, that starts at `at`.
static size_t
end_of(shoal_slice_t text, size_t at, char last)
{
    const char *end = memchr(text.ptr + at + 1, last, text.len - at - 1);
    return end ? (size_t)(end - text.ptr) + 1 : text.len;
}

bool
shoal_surrogates_join(shoal_slice_t text, shoal_buffer_t *out)
{
    size_t start = 0;
    while (start < text.len && strchr(" \t\r\n", text.ptr[start])) {
        start++;
    }
    bool is_json = start < text.len && (text.ptr[start] == '{' || text.ptr[start] == '[');
    if (!is_json ||
        (!memmem(text.ptr, text.len, "\\ud", 3) && !memmem(text.ptr, text.len, "\\uD", 3))) {
        return false;
    }
    bool is_string = false;
    for (size_t at = 0; at < text.len;) {
        char byte = text.ptr[at];
        size_t end = at + 1;
        if (byte == '"') {
            is_string = !is_string;
        } else if (is_string) {
            at += string_take(text, at, out);
            continue;
        } else if (byte == '\'') {
            end = end_of(text, at, '\'');
        } else if (byte == '#' && at > 0 && strchr(" \t\n", text.ptr[at - 1])) {
            end = end_of(text, at, '\n');
        }
        shoal_buffer_append(out, text.ptr + at, end - at);
        at = end;
    }
    return true;
}
