// SPDX-License-Identifier: Apache-2.0
//
// alloc.h - memory for small objects; running out of it ends the process.
//
// Sizes that come from outside are bounded by their caller first; this is the one allowed abort.
//
// Threads: any.  Logging: one line on standard error before the abort.

#ifndef SHOAL_PROTO_BASE_ALLOC_H
#define SHOAL_PROTO_BASE_ALLOC_H

#include <stddef.h>

void *shoal_alloc(size_t size_bytes);                 // zeroed; free() it
void *shoal_realloc(void *memory, size_t size_bytes); // not zeroed; free() it
char *shoal_strdup(const char *text);                 // NULL gives ""; free() it
char *shoal_strndup(const char *text, size_t len);    // adds the final NUL; free() it

#endif
