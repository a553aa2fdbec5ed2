// SPDX-License-Identifier: Apache-2.0
//
// regex.c - see regex.h.
//
// A regex that backtracks for ever would hang a slot on the one name that sets it off, hours into a
// run. So each one that has a group (without, time grows with a small power of the name's length)
// is tried when it is compiled, without PCRE2's quick checks that a lucky name would pass: characters that stand in it, and runs of them, repeated TRIAL_TIMES
// and followed by a character that no regex expects. 2^28 steps are far beyond the limit, while
// even the fifth power of 28 is not, so that ".*_.*_.*_x" is taken. What this misses the match
// limit finds at run time.

#define PCRE2_CODE_UNIT_WIDTH 8

#include "connectors/regex.h"

#include <assert.h>
#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

#define TRIAL_TIMES  28
#define TRIAL_TAIL   "\x01"
#define TRIAL_RUNS   16 // at most so many runs of letters are tried
#define TRIAL_UNIT   64 // bytes of one, longer ones are cut
#define HEAP_KIB_MAX 4096
#define SHOWN_MAX    80 // bytes of a regex or text that a message repeats

struct shoal_regex {
    char *text;
    char *key;
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

// Matches at or after `start`; PCRE2's result.
static int
run(const shoal_regex_t *regex, shoal_slice_t text, size_t start, uint32_t flags)
{
    return pcre2_match(regex->code, (PCRE2_SPTR)(text.ptr ? text.ptr : ""), text.len, start, flags,
                       regex->match, regex->limits);
}

static bool
fail_to_match(const shoal_regex_t *regex, shoal_slice_t text, int error, shoal_status_t *status)
{
    if (error == PCRE2_ERROR_MATCHLIMIT || error == PCRE2_ERROR_HEAPLIMIT ||
        error == PCRE2_ERROR_DEPTHLIMIT) {
        int len = text.len < SHOWN_MAX ? (int)text.len : SHOWN_MAX;
        return shoal_fail_key(status, regex->key,
                              "regular expression \"%.*s\" takes too long on the name \"%.*s\": "
                              "simplify its nested repetitions",
                              SHOWN_MAX, regex->text, len, text.ptr ? text.ptr : "");
    }
    PCRE2_UCHAR reason[128] = "";
    (void)pcre2_get_error_message(error, reason, sizeof(reason));
    return shoal_fail_key(status, regex->key, "regular expression \"%.*s\" cannot be matched: %s",
                          SHOWN_MAX, regex->text, (const char *)reason);
}

// Tries `unit` repeated; true unless it runs into a limit.
static bool
passes_trial(const shoal_regex_t *regex, shoal_slice_t unit)
{
    char name[TRIAL_UNIT * TRIAL_TIMES + sizeof(TRIAL_TAIL)];
    size_t unit_len = unit.len < TRIAL_UNIT ? unit.len : TRIAL_UNIT;
    size_t len = 0;
    for (int i = 0; i < TRIAL_TIMES; i++) {
        memcpy(name + len, unit.ptr, unit_len);
        len += unit_len;
    }
    memcpy(name + len, TRIAL_TAIL, sizeof(TRIAL_TAIL) - 1);
    len += sizeof(TRIAL_TAIL) - 1;
    int result = run(regex, (shoal_slice_t){name, len}, 0, 0);
    return result != PCRE2_ERROR_MATCHLIMIT && result != PCRE2_ERROR_HEAPLIMIT &&
           result != PCRE2_ERROR_DEPTHLIMIT;
}

static bool
is_letter(char c) // of a run: what names are made of
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || (unsigned char)c >= 0x80;
}

static bool
passes_trials(const shoal_regex_t *regex)
{
    const char *text = regex->text;
    bool is_tried[128] = {false};
    bool passes = true;
    for (const char *c = "a0_ -"; *c && passes; c++) {
        is_tried[(unsigned char)*c] = true;
        passes = passes_trial(regex, (shoal_slice_t){c, 1});
    }
    for (const char *c = text; *c && passes; c++) {
        unsigned byte = (unsigned char)*c;
        if (byte < 128 && !is_tried[byte]) {
            is_tried[byte] = true;
            passes = passes_trial(regex, (shoal_slice_t){c, 1});
        }
    }
    unsigned runs = 0;
    for (const char *c = text; *c && passes && runs < TRIAL_RUNS;) {
        size_t len = 0;
        while (is_letter(c[len])) {
            len++;
        }
        if (len > 1) {
            runs++;
            passes = passes_trial(regex, (shoal_slice_t){c, len});
        }
        c += len > 0 ? len : 1;
    }
    return passes;
}

static void
release(shoal_regex_t *regex)
{
    pcre2_code_free(regex->code);
    pcre2_match_data_free(regex->match);
    pcre2_match_context_free(regex->limits);
}

static bool
compile(shoal_regex_t *regex, shoal_regex_mode_t mode, uint32_t flags, shoal_status_t *status)
{
    flags |= PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
    if (mode == SHOAL_REGEX_FILTER) {
        flags |= PCRE2_CASELESS | PCRE2_ANCHORED;
    }
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context) {
        (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    }
    int error = 0;
    size_t offset = 0;
    regex->code = pcre2_compile((PCRE2_SPTR)regex->text, PCRE2_ZERO_TERMINATED, flags, &error,
                                &offset, context);
    pcre2_compile_context_free(context);
    if (!regex->code) {
        PCRE2_UCHAR reason[128] = "";
        (void)pcre2_get_error_message(error, reason, sizeof(reason));
        return shoal_fail_key(status, regex->key,
                              "\"%.*s\" is no regular expression: %s, at character %zu", SHOWN_MAX,
                              regex->text, (const char *)reason, offset + 1);
    }
    regex->match = pcre2_match_data_create_from_pattern(regex->code, NULL);
    regex->limits = pcre2_match_context_create(NULL);
    if (!regex->match || !regex->limits) {
        return shoal_fail(status, SHOAL_LIMIT, "no memory for a regular expression");
    }
    (void)pcre2_set_match_limit(regex->limits, SHOAL_REGEX_STEPS_MAX);
    (void)pcre2_set_heap_limit(regex->limits, HEAP_KIB_MAX);
    return true;
}

static bool
try_out(const shoal_regex_t *regex, shoal_regex_mode_t mode, shoal_status_t *status)
{
    if (!strchr(regex->text, '(')) {
        return true;
    }
    shoal_regex_t trial = {.text = regex->text, .key = regex->key};
    bool done = compile(&trial, mode, PCRE2_NO_START_OPTIMIZE, status);
    if (done && !passes_trials(&trial)) {
        done = shoal_fail_key(status, regex->key,
                              "regular expression \"%.*s\" backtracks without end on some names: "
                              "simplify its nested repetitions",
                              SHOWN_MAX, regex->text);
    }
    release(&trial);
    return done;
}

bool
shoal_regex_new(const char *text, shoal_regex_mode_t mode, const char *key,
                shoal_regex_t **ret_regex, shoal_status_t *status)
{
    assert(text && key && ret_regex && status);
    size_t len = strlen(text);
    if (len == 0 || len > SHOAL_REGEX_LENGTH_MAX) {
        return shoal_fail_key(status, key,
                              "a regular expression has 1 to %d bytes, this one has %zu",
                              SHOAL_REGEX_LENGTH_MAX, len);
    }
    shoal_regex_t *regex = shoal_alloc(sizeof(*regex));
    regex->text = shoal_strdup(text);
    regex->key = shoal_strdup(key);
    if (!compile(regex, mode, 0, status) || !try_out(regex, mode, status)) {
        shoal_regex_destroy(&regex);
        return false;
    }
    *ret_regex = regex;
    return true;
}

void
shoal_regex_destroy(shoal_regex_t **regex)
{
    if (regex && *regex) {
        release(*regex);
        free((*regex)->text);
        free((*regex)->key);
        free(*regex);
        *regex = NULL;
    }
}

bool
shoal_regex_match(const shoal_regex_t *regex, shoal_slice_t text, bool *ret_matches,
                  shoal_status_t *status)
{
    int result = run(regex, text, 0, 0);
    if (result < 0 && result != PCRE2_ERROR_NOMATCH) {
        return fail_to_match(regex, text, result, status);
    }
    *ret_matches = result >= 0;
    return true;
}

// One piece of a replacement: literal text, or a group.
typedef struct piece {
    shoal_slice_t text;
    int group; // -1: text
} piece_t;

// The piece at *at, moving behind it; false on a bad escape or an unknown group.
static bool
next_piece(const shoal_regex_t *regex, const char **at, piece_t *piece)
{
    const char *start = *at;
    size_t len = strcspn(start, "\\");
    if (len > 0) {
        *piece = (piece_t){{start, len}, -1};
        *at = start + len;
        return true;
    }
    uint32_t groups = 0;
    (void)pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    if (start[1] == '\\') {
        *piece = (piece_t){{start, 1}, -1};
        *at = start + 2;
        return true;
    }
    if (start[1] >= '0' && start[1] <= '9') {
        *piece = (piece_t){SHOAL_SLICE_NONE, start[1] - '0'};
        *at = start + 2;
        return (uint32_t)piece->group <= groups;
    }
    const char *end = strchr(start, '>');
    char name[64];
    if (start[1] != 'g' || start[2] != '<' || !end || (size_t)(end - start - 3) >= sizeof(name)) {
        return false;
    }
    size_t name_len = (size_t)(end - start - 3);
    memcpy(name, start + 3, name_len);
    name[name_len] = '\0';
    int group = pcre2_substring_number_from_name(regex->code, (PCRE2_SPTR)name);
    *piece = (piece_t){SHOAL_SLICE_NONE, group};
    *at = end + 1;
    return group > 0;
}

bool
shoal_regex_check_replacement(const shoal_regex_t *regex, const char *to, const char *key,
                              shoal_status_t *status)
{
    for (const char *at = to; *at;) {
        const char *start = at;
        piece_t piece;
        if (!next_piece(regex, &at, &piece)) {
            return shoal_fail_key(status, key,
                                  "\"%.*s\" is no group of \"%.*s\": write \\1 to \\9, "
                                  "\\g<name>, or \\\\ for a backslash",
                                  8, start, SHOWN_MAX, regex->text);
        }
    }
    return true;
}

static void
append_replacement(const shoal_regex_t *regex, shoal_slice_t text, const char *to,
                   const size_t *spans, uint32_t span_count, shoal_buffer_t *out)
{
    for (const char *at = to; *at;) {
        piece_t piece = {SHOAL_SLICE_NONE, -1};
        if (!next_piece(regex, &at, &piece)) {
            return; // checked when it was opened
        }
        if (piece.group < 0) {
            shoal_buffer_append_slice(out, piece.text);
            continue;
        }
        size_t group = (size_t)piece.group;
        if (group < span_count && spans[2 * group] != PCRE2_UNSET &&
            spans[2 * group] <= spans[2 * group + 1]) {
            shoal_buffer_append(out, text.ptr + spans[2 * group],
                                spans[2 * group + 1] - spans[2 * group]);
        }
    }
}

// Bytes of the character at `at`, so that stepping over it lands on the next one.
static size_t
character_len(shoal_slice_t text, size_t at)
{
    size_t len = 1;
    while (at + len < text.len && ((unsigned char)text.ptr[at + len] & 0xc0U) == 0x80) {
        len++;
    }
    return len;
}

bool
shoal_regex_replace(const shoal_regex_t *regex, shoal_slice_t text, const char *to, size_t max,
                    shoal_buffer_t *out, bool *ret_is_changed, shoal_status_t *status)
{
    size_t mark = out->len;
    size_t copied = 0; // text up to here is in out
    size_t start = 0;
    bool is_changed = false;
    while (start <= text.len) {
        int result = run(regex, text, start, 0);
        if (result == PCRE2_ERROR_NOMATCH) {
            break;
        }
        if (result < 0) {
            out->len = mark;
            return fail_to_match(regex, text, result, status);
        }
        const size_t *spans = pcre2_get_ovector_pointer(regex->match);
        size_t from = spans[0];
        size_t end = spans[1] > from ? spans[1] : from; // \K can turn them round
        if (from < copied) {
            break;
        }
        shoal_buffer_append(out, text.ptr + copied, from - copied);
        append_replacement(regex, text, to, spans, pcre2_get_ovector_count(regex->match), out);
        is_changed = true;
        copied = end;
        start = end > from ? end : end + character_len(text, end);
        if (out->len - mark + (text.len - copied) > max) {
            out->len = mark;
            return shoal_fail_as(status, SHOAL_DATA, SHOAL_LIMIT,
                                 "renamed text would have more than %zu bytes", max);
        }
    }
    if (is_changed) {
        shoal_buffer_append(out, text.ptr + copied, text.len - copied);
    }
    *ret_is_changed = is_changed;
    return true;
}
