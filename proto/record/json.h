// SPDX-License-Identifier: Apache-2.0
//
// json.h - a msgpack value as JSON text, without a tree.
//
// Strings that are not UTF-8 have each wrong byte replaced by U+FFFD. Floats that JSON cannot say
// (NaN, infinities) become null; bin becomes base64 text; map keys that are not strings are written
// as the text of their value; ext becomes null.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_PROTO_RECORD_JSON_H
#define SHOAL_PROTO_RECORD_JSON_H

#include "proto/base/buffer.h"

#define SHOAL_JSON_DEPTH_MAX 64

// Appends `value`, one well-formed msgpack value, as one line of JSON (no line end). On failure
// `out` is as it was.
//   SHOAL_PROTOCOL  malformed, nested deeper than SHOAL_JSON_DEPTH_MAX, or a map's key is an array
//                   or a map (class data)
SHOAL_MUST_CHECK bool shoal_json_write(shoal_slice_t value, shoal_buffer_t *out,
                                       shoal_status_t *status);

// Appends `text` as a JSON string with its quotes.
void shoal_json_write_text(shoal_slice_t text, shoal_buffer_t *out);

#endif
