// SPDX-License-Identifier: Apache-2.0
//
// patterns.c - see patterns.h.

#include "connectors/patterns.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/regex.h"
#include "proto/base/alloc.h"

typedef struct rules {
    shoal_regex_t **regexes;
    size_t count;
} rules_t;

struct shoal_patterns {
    rules_t includes;
    rules_t excludes;
};

static bool
rules_compile(const shoal_options_t *options, const char *path, const char *which, rules_t *rules,
              shoal_status_t *status)
{
    char list[SHOAL_STATUS_KEY_MAX];
    (void)snprintf(list, sizeof(list), "%s.%s", path, which);
    const char *key = shoal_options_key(options, path);
    size_t count = shoal_options_list_len(options, list);
    if (count > SHOAL_PATTERN_COUNT_MAX) {
        return shoal_fail_key(status, key, "%zu regular expressions in %s, at most %d are allowed",
                              count, which, SHOAL_PATTERN_COUNT_MAX);
    }
    rules->regexes = shoal_alloc((count + 1) * sizeof(*rules->regexes));
    for (size_t i = 0; i < count; i++) {
        char place[SHOAL_STATUS_KEY_MAX];
        (void)snprintf(place, sizeof(place), "%s.%s[%zu]", key, which, i);
        if (!shoal_regex_new(shoal_options_list_at(options, list, i), SHOAL_REGEX_FILTER, place,
                             &rules->regexes[i], status)) {
            return false;
        }
        rules->count = i + 1;
    }
    return true;
}

static void
rules_fini(rules_t *rules)
{
    for (size_t i = 0; i < rules->count; i++) {
        shoal_regex_destroy(&rules->regexes[i]);
    }
    free(rules->regexes);
}

bool
shoal_patterns_new(const shoal_options_t *options, const char *path,
                   shoal_patterns_t **ret_patterns, shoal_status_t *status)
{
    assert(options && path && ret_patterns && status);
    shoal_patterns_t *patterns = shoal_alloc(sizeof(*patterns));
    if (!rules_compile(options, path, "includes", &patterns->includes, status) ||
        !rules_compile(options, path, "excludes", &patterns->excludes, status)) {
        shoal_patterns_destroy(&patterns);
        return false;
    }
    *ret_patterns = patterns;
    return true;
}

void
shoal_patterns_destroy(shoal_patterns_t **patterns)
{
    if (patterns && *patterns) {
        rules_fini(&(*patterns)->includes);
        rules_fini(&(*patterns)->excludes);
        free(*patterns);
        *patterns = NULL;
    }
}

static bool
any_matches(const rules_t *rules, shoal_slice_t name, bool *ret_matches, shoal_status_t *status)
{
    bool matches = false;
    for (size_t i = 0; i < rules->count && !matches; i++) {
        if (!shoal_regex_match(rules->regexes[i], name, &matches, status)) {
            return false;
        }
    }
    *ret_matches = matches;
    return true;
}

bool
shoal_patterns_keep_slice(const shoal_patterns_t *patterns, shoal_slice_t name, bool *ret_keep,
                          shoal_status_t *status)
{
    if (shoal_patterns_is_empty(patterns)) {
        *ret_keep = true;
        return true;
    }
    if (name.len == 0) {
        *ret_keep = false;
        return true;
    }
    bool is_include = patterns->includes.count > 0;
    bool matches = false;
    if (!any_matches(is_include ? &patterns->includes : &patterns->excludes, name, &matches,
                     status)) {
        return false;
    }
    *ret_keep = matches == is_include;
    return true;
}

bool
shoal_patterns_keep(const shoal_patterns_t *patterns, const char *name, bool *ret_keep,
                    shoal_status_t *status)
{
    return shoal_patterns_keep_slice(patterns, shoal_slice_of(name), ret_keep, status);
}

bool
shoal_patterns_is_empty(const shoal_patterns_t *patterns)
{
    return patterns->includes.count == 0 && patterns->excludes.count == 0;
}

bool
shoal_patterns_has_includes(const shoal_patterns_t *patterns)
{
    return patterns->includes.count > 0;
}
