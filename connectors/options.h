// SPDX-License-Identifier: Apache-2.0
//
// options.h - a connector's configuration, read against its table of options.
//
// A workflow file's values travel as msgpack: maps, arrays, nil, and every scalar as the text that
// stood in the file, so that a password of digits keeps its zeros. The table says which keys there
// are and of what type; what is not in it is an error (or a warning under --lenient) that names the
// key and the nearest known one.
//
// Threads: read-only after shoal_options_read().  Logging: none.

#ifndef SHOAL_CONNECTORS_OPTIONS_H
#define SHOAL_CONNECTORS_OPTIONS_H

#include <stdint.h>

#include "proto/base/nearest.h"
#include "proto/base/slice.h"
#include "proto/base/status.h"

typedef enum shoal_option_type {
    SHOAL_OPTION_TEXT,
    SHOAL_OPTION_COUNT,   // a whole number within [min, max]
    SHOAL_OPTION_FLAG,    // true false yes no on off, in any case
    SHOAL_OPTION_LIST,    // an array of texts; one text counts as an array of one
    SHOAL_OPTION_PATTERN, // a filter pattern: a map of `includes` and `excludes`, lists of regexes
    SHOAL_OPTION_VALUE,   // any value, not looked into
} shoal_option_type_t;

enum {
    SHOAL_OPTION_MUST = 1,    // no default: the file has to have it
    SHOAL_OPTION_SECRET = 2,  // never shown
    SHOAL_OPTION_IGNORED = 4, // known, without meaning here: warned about once when written
};

typedef struct shoal_option {
    const char *path; // below the section: "authType.password"; NULL ends the table
    shoal_option_type_t type;
    unsigned flags;
    const char *preset;  // the default as text, LIST: parted by ','; NULL: absent (empty text, 0,
                         // false, empty list). PATTERN and VALUE have none
    uint64_t min, max;   // COUNT only; max 0: no upper limit
    const char *choices; // TEXT only: allowed words, separated by '|'; NULL: any
    const char *help;    // one sentence for people; IGNORED: why it has no meaning here
} shoal_option_t;

typedef struct shoal_options shoal_options_t;

// Told of each warning while reading: an IGNORED key that was written, an unknown key if lenient.
typedef void shoal_options_warn_fn(void *ctx, const char *key, const char *text);

// Reads `section` (a msgpack map, copied; empty or nil: no key written) against `table` (borrowed
// for the options' life; two tables may be read one after the other into one object by passing the
// first result as *options, else *options is NULL; of a path that stands in both, the second
// table's is found if it was written, else the first's). `prefix` is the section's path in the file, as in "source.sourceConfig.config"; errors
// carry prefix and path as their key. A key whose value is nil counts as not written; numbers and
// booleans, from clients that have no file, count as their text. After a failure *options is as it
// was before.
//   SHOAL_INVALID  unknown key, wrong type, out of range, missing (status.key says which)
SHOAL_MUST_CHECK bool shoal_options_read(shoal_options_t **options, const shoal_option_t *table,
                                         const char *prefix, shoal_slice_t section, bool is_lenient,
                                         shoal_options_warn_fn *warn, void *ctx,
                                         shoal_status_t *status);
void shoal_options_destroy(shoal_options_t **options);

// The value of an entry of the table; asking for a path that is not in a table, or of another type,
// is a programmer's error. Texts are valid as long as the options. The two lists of a PATTERN
// have the paths "PATH.includes" and "PATH.excludes".
const char *shoal_options_text(const shoal_options_t *options, const char *path); // "" if absent
uint64_t shoal_options_count(const shoal_options_t *options, const char *path);
bool shoal_options_flag(const shoal_options_t *options, const char *path);
size_t shoal_options_list_len(const shoal_options_t *options, const char *path);
const char *shoal_options_list_at(const shoal_options_t *options, const char *path, size_t index);
shoal_slice_t shoal_options_value(const shoal_options_t *options, const char *path); // or empty
bool shoal_options_is_written(const shoal_options_t *options, const char *path);     // in the file

// Reads the VALUE at `path` as an array of maps, each against `table`, and hands them to `each` one
// after the other (borrowed for the call; it returns false to stop). One map counts as an array of
// one, an absent value as none; at most SHOAL_OPTIONS_EACH_MAX. An element's prefix is the option's
// key with its index: "processor[0].config.rules[2]".
//   as for shoal_options_read()
#define SHOAL_OPTIONS_EACH_MAX 1000
typedef bool shoal_options_each_fn(void *ctx, const shoal_options_t *element,
                                   shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_options_each(const shoal_options_t *options, const char *path,
                                         const shoal_option_t *table, shoal_options_each_fn *each,
                                         void *ctx, shoal_status_t *status);

// Shows each written text that is marked SHOAL_OPTION_SECRET, so that it can be kept out of what
// people see.
typedef void shoal_options_secret_fn(void *ctx, const char *secret);
void shoal_options_secrets(const shoal_options_t *options, shoal_options_secret_fn *show,
                           void *ctx);

// prefix and path of an entry, for shoal_fail_key(): "source.serviceConnection.config.hostPort".
const char *shoal_options_key(const shoal_options_t *options, const char *path);

#endif
