// SPDX-License-Identifier: Apache-2.0
//
// utf8.c - see utf8.h.

#include "proto/base/utf8.h"

#include <stdint.h>

static bool
is_tail(char byte)
{
    return ((unsigned char)byte & 0xc0U) == 0x80U;
}

size_t
shoal_utf8_len(shoal_slice_t text)
{
    if (text.len == 0) {
        return 0;
    }
    unsigned first = (unsigned char)text.ptr[0];
    if (first < 0x80) {
        return 1;
    }
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.len < len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if (!is_tail(text.ptr[i])) {
            return 0;
        }
    }
    // The second byte rules out overlong forms, surrogates and numbers that are too large.
    unsigned second = (unsigned char)text.ptr[1];
    switch (first) {
    case 0xe0: return second >= 0xa0 ? len : 0;
    case 0xed: return second < 0xa0 ? len : 0;
    case 0xf0: return second >= 0x90 ? len : 0;
    case 0xf4: return second < 0x90 ? len : 0;
    default: return len;
    }
}

size_t
shoal_utf8_prefix(shoal_slice_t text)
{
    size_t done = 0;
    while (done < text.len) {
        uint64_t eight;
        if (text.len - done >= sizeof(eight)) { // most text is ASCII
            memcpy(&eight, text.ptr + done, sizeof(eight));
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                done += sizeof(eight);
                continue;
            }
        }
        size_t len = shoal_utf8_len((shoal_slice_t){text.ptr + done, text.len - done});
        if (len == 0) {
            break;
        }
        done += len;
    }
    return done;
}

size_t
shoal_utf8_cut(shoal_slice_t text, size_t limit)
{
    if (text.len <= limit) {
        return text.len;
    }
    size_t len = limit;
    while (len > 0 && is_tail(text.ptr[len])) {
        len--;
    }
    return len;
}

bool
shoal_utf8_is_text(shoal_slice_t text)
{
    return text.len == 0 ||
           (!memchr(text.ptr, '\0', text.len) && shoal_utf8_prefix(text) == text.len);
}
