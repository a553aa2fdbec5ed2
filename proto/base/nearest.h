// SPDX-License-Identifier: Apache-2.0
//
// nearest.h - which known word did somebody mean?
//
// Threads: any.  Logging: none.

#ifndef SHOAL_PROTO_BASE_NEAREST_H
#define SHOAL_PROTO_BASE_NEAREST_H

// The nearest of `names` (NULL-terminated) to `word`, or NULL if none is near. Case, '_' and '-'
// do not count; otherwise each inserted, missing, changed or swapped letter is one step, and up to
// a third of the word's letters (at least one) may be steps.
const char *shoal_nearest(const char *word, const char *const *names);

#endif
