// SPDX-License-Identifier: Apache-2.0
//
// utf8.h - is this UTF-8?
//
// Threads: any.  Logging: none.

#ifndef SHOAL_PROTO_BASE_UTF8_H
#define SHOAL_PROTO_BASE_UTF8_H

#include <stdbool.h>

#include "proto/base/slice.h"

// The length of the well-formed character that `text` starts with, 1 to 4; 0: there is none
// (surrogates, overlong forms and numbers above 0x10ffff are not well formed).
size_t shoal_utf8_len(shoal_slice_t text);

// How many bytes at the start of `text` are well-formed UTF-8; all of it: `text.len`.
size_t shoal_utf8_prefix(shoal_slice_t text);

// Well-formed all of it, and without NUL: what others may be shown as a name. Empty: yes.
bool shoal_utf8_is_text(shoal_slice_t text);

// The length of the longest start of `text` that has at most `limit` bytes and cuts no character.
size_t shoal_utf8_cut(shoal_slice_t text, size_t limit);

#endif
