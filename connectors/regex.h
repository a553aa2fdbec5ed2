// SPDX-License-Identifier: Apache-2.0
//
// regex.h - a regular expression of a workflow file: PCRE2 with limits, standing for Python's re.
//
// Text is UTF-8 (bytes that are not count as no character), \w and \d know Unicode. What differs
// from Python: \Z matches before a final line end too (\z does not), "{,n}" is literal.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CONNECTORS_REGEX_H
#define SHOAL_CONNECTORS_REGEX_H

#include "proto/base/buffer.h"
#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_REGEX_LENGTH_MAX 4096   // bytes of one regex
#define SHOAL_REGEX_STEPS_MAX  200000 // match limit of one regex against one text

typedef struct shoal_regex shoal_regex_t;

typedef enum shoal_regex_mode {
    SHOAL_REGEX_FILTER, // ignores case, matches at the start of the text only
    SHOAL_REGEX_SEARCH, // minds case, matches anywhere
} shoal_regex_mode_t;

// Compiles `text`; `key` (copied) is its place in the workflow file, for errors.
//   SHOAL_INVALID  empty, too long, does not compile, or is found to backtrack without end: each
//                  regex with a group is tried on a few names of about 30 characters
SHOAL_MUST_CHECK bool shoal_regex_new(const char *text, shoal_regex_mode_t mode, const char *key,
                                      shoal_regex_t **ret_regex, shoal_status_t *status);
void shoal_regex_destroy(shoal_regex_t **regex);

// Whether `text` matches.
//   SHOAL_INVALID  the match limit was reached on this text (class config, key as given to new)
SHOAL_MUST_CHECK bool shoal_regex_match(const shoal_regex_t *regex, shoal_slice_t text,
                                        bool *ret_matches, shoal_status_t *status);

// Looks whether `to` is a replacement for this regex: text with \1 to \9 and \g<name> for groups,
// \0 for the whole match and \\ for one backslash.
//   SHOAL_INVALID  another escape, or a group that the regex has not (`key` is that of `to`)
SHOAL_MUST_CHECK bool shoal_regex_check_replacement(const shoal_regex_t *regex, const char *to,
                                                    const char *key, shoal_status_t *status);

// Appends `text` to `out` with every match replaced by `to` (which has been checked); appends
// nothing if nothing matches, and says so.
//   SHOAL_INVALID  as for match
//   SHOAL_LIMIT    the result would be longer than `max` bytes (class data)
SHOAL_MUST_CHECK bool shoal_regex_replace(const shoal_regex_t *regex, shoal_slice_t text,
                                          const char *to, size_t max, shoal_buffer_t *out,
                                          bool *ret_is_changed, shoal_status_t *status);

#endif
