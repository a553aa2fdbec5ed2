// SPDX-License-Identifier: Apache-2.0
//
// surrogates.h - the one thing that JSON has and YAML does not.
//
// JSON writes a character beyond 16 bits as two escapes, \ud83d\ude00; libyaml refuses them. Inside
// proto/workflow/ only.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_PROTO_WORKFLOW_SURROGATES_H
#define SHOAL_PROTO_WORKFLOW_SURROGATES_H

#include "proto/base/buffer.h"

// Appends `text` with the characters themselves in the place of such pairs, where it starts with {
// or [ and within strings in double quotes; line ends stay. False: there is none, and nothing was
// appended.
bool shoal_surrogates_join(shoal_slice_t text, shoal_buffer_t *out);

#endif
