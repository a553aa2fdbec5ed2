// SPDX-License-Identifier: Apache-2.0
//
// fuzz_cursor.c - proto/record/cursor.h and json.h over any bytes.

#include <string.h>

#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "tests/fuzz/fuzz.h"

// Reads every value with the reader of its kind; those that follow one another are read too.
static void
read_by_kind(shoal_slice_t bytes)
{
    shoal_cursor_t cursor = shoal_cursor_over(bytes);
    while (!cursor.is_bad && shoal_cursor_left(&cursor) > 0) {
        shoal_slice_t text = SHOAL_SLICE_NONE;
        const unsigned char *before = cursor.at;
        switch (shoal_cursor_peek(&cursor)) {
        case SHOAL_VALUE_NIL: FUZZ_CHECK(shoal_cursor_nil(&cursor)); break;
        case SHOAL_VALUE_BOOL: (void)shoal_cursor_bool(&cursor); break;
        case SHOAL_VALUE_UINT: (void)shoal_cursor_uint(&cursor); break;
        case SHOAL_VALUE_INT: (void)shoal_cursor_int(&cursor); break;
        case SHOAL_VALUE_FLOAT: (void)shoal_cursor_float(&cursor); break;
        case SHOAL_VALUE_STR: text = shoal_cursor_str_or_nil(&cursor); break;
        case SHOAL_VALUE_BIN: text = shoal_cursor_bin(&cursor); break;
        case SHOAL_VALUE_ARRAY: (void)shoal_cursor_array(&cursor); break;
        case SHOAL_VALUE_MAP: (void)shoal_cursor_map(&cursor); break;
        case SHOAL_VALUE_EXT:
        case SHOAL_VALUE_BAD:
        default: shoal_cursor_skip(&cursor); break;
        }
        FUZZ_CHECK(cursor.at > before && cursor.at <= cursor.end);
        FUZZ_CHECK(text.len == 0 || ((const unsigned char *)text.ptr > before &&
                                     (const unsigned char *)text.ptr + text.len <= cursor.end));
    }
    FUZZ_CHECK(cursor.at == cursor.end);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    shoal_slice_t all = fuzz_slice(bytes, size);
    read_by_kind(all);
    shoal_cursor_t cursor = shoal_cursor_over(all);
    shoal_slice_t value = shoal_cursor_value(&cursor);
    FUZZ_CHECK(cursor.is_bad == (value.len == 0));
    bool is_whole = shoal_cursor_is_done(&cursor);
    bool is_shallow = shoal_cursor_check(all, SHOAL_JSON_DEPTH_MAX);
    FUZZ_CHECK(is_whole || !is_shallow);

    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (shoal_json_write(all, &json, &status)) {
        FUZZ_CHECK(is_shallow && json.len > 0);
        FUZZ_CHECK(shoal_utf8_prefix(shoal_buffer_slice(&json)) == json.len);
        FUZZ_CHECK(!memchr(json.ptr, '\n', json.len));
    } else {
        FUZZ_CHECK(json.len == 0 && status.code == SHOAL_PROTOCOL);
    }
    shoal_buffer_fini(&json);

    shoal_slice_t found;
    if (shoal_map_find(all, "name", &found)) {
        FUZZ_CHECK(found.len > 0 && found.ptr >= all.ptr &&
                   found.ptr + found.len <= all.ptr + size);
    }
    return 0;
}
