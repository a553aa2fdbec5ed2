// SPDX-License-Identifier: Apache-2.0
//
// patterns.h - filter patterns with OpenMetadata's semantics.
//
// A pattern is two lists of regular expressions. No list: keep. If `includes` is not empty it alone
// decides; otherwise a name that matches one of `excludes` is dropped. A regex is matched
// case-insensitively and anchored at the start of the name only. With a pattern present an empty
// name is dropped. Facts: OpenMetadata's filters (ingestion/src/metadata/utils/filters.py), as
// behaviour. regex.h says what stands for Python's re.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CONNECTORS_PATTERNS_H
#define SHOAL_CONNECTORS_PATTERNS_H

#include "connectors/options.h"

#define SHOAL_PATTERN_COUNT_MAX 1000 // regexes in one list; limits of one are in regex.h

typedef struct shoal_patterns shoal_patterns_t;

// Compiles the PATTERN option `path`. The caller owns *ret_patterns (never NULL on success).
//   SHOAL_INVALID  a regex that does not compile, or one that is found to backtrack without end
//                  (each is tried on a few long names); status.key is the regex's place,
//                  as in "source.sourceConfig.config.tableFilterPattern.includes[2]"
SHOAL_MUST_CHECK bool shoal_patterns_new(const shoal_options_t *options, const char *path,
                                         shoal_patterns_t **ret_patterns, shoal_status_t *status);
void shoal_patterns_destroy(shoal_patterns_t **patterns);

// Whether `name` stays.
//   SHOAL_INVALID  a regex reached the match limit on this name (class config, key as above)
SHOAL_MUST_CHECK bool shoal_patterns_keep(const shoal_patterns_t *patterns, const char *name,
                                          bool *ret_keep, shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_patterns_keep_slice(const shoal_patterns_t *patterns,
                                                shoal_slice_t name, bool *ret_keep,
                                                shoal_status_t *status);

// True if the pattern is empty, so that every name stays.
bool shoal_patterns_is_empty(const shoal_patterns_t *patterns);

// True if includes decide, so that only what matches stays.
bool shoal_patterns_has_includes(const shoal_patterns_t *patterns);

#endif
