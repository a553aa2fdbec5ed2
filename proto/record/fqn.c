// SPDX-License-Identifier: Apache-2.0
//
// fqn.c - see fqn.h.

#include "proto/record/fqn.h"

static bool
has(shoal_slice_t text, char byte)
{
    return text.len > 0 && memchr(text.ptr, byte, text.len) != NULL;
}

void
shoal_fqn_append(shoal_buffer_t *out, shoal_slice_t part)
{
    if (out->len > 0) {
        shoal_buffer_append_byte(out, '.');
    }
    if (part.len > 2 && part.ptr[0] == '"' && part.ptr[part.len - 1] == '"') {
        shoal_slice_t inner = {part.ptr + 1, part.len - 2};
        if (!has(inner, '"')) { // quoted already
            shoal_buffer_append_slice(out, has(inner, '.') ? part : inner);
            return;
        }
    }
    if (!has(part, '.')) {
        shoal_buffer_append_slice(out, part);
        return;
    }
    shoal_buffer_append_byte(out, '"');
    shoal_buffer_append_slice(out, part);
    shoal_buffer_append_byte(out, '"');
}

void
shoal_name_encode(shoal_buffer_t *out, shoal_slice_t name)
{
    size_t start = 0; // of the plain bytes that are not appended yet
    for (size_t i = 0; i < name.len; i++) {
        const char *word = NULL;
        size_t len = 1;
        if (name.ptr[i] == '>') {
            word = "__reserved__arrow__";
        } else if (name.ptr[i] == '"') {
            word = "__reserved__quote__";
        } else if (name.ptr[i] == ':' && i + 1 < name.len && name.ptr[i + 1] == ':') {
            word = "__reserved__colon__";
            len = 2;
        } else {
            continue;
        }
        shoal_buffer_append(out, name.ptr + start, i - start);
        shoal_buffer_append_text(out, word);
        start = i + len;
        i += len - 1;
    }
    if (start < name.len) {
        shoal_buffer_append(out, name.ptr + start, name.len - start);
    }
}
