// SPDX-License-Identifier: Apache-2.0
//
// nearest.c - see nearest.h.

#include "proto/base/nearest.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#define LETTERS_MAX 64 // longer words have no near one

// The letters of `word` that count; LETTERS_MAX + 1: too many.
static size_t
letters_of(const char *word, char letters[LETTERS_MAX])
{
    size_t len = 0;
    for (; *word; word++) {
        if (*word == '_' || *word == '-') {
            continue;
        }
        if (len == LETTERS_MAX) {
            return LETTERS_MAX + 1;
        }
        letters[len++] = (char)tolower((unsigned char)*word);
    }
    return len;
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Steps from a to b, by the table of distances between their beginnings, three rows at a time.
static size_t
distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][LETTERS_MAX + 1];
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *row = rows[2];
    memset(rows, 0, sizeof(rows));
    for (size_t j = 0; j <= b_len; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t steps = last[j - 1] + (a[i - 1] != b[j - 1]);
            steps = least(steps, least(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                steps = least(steps, before[j - 2] + 1);
            }
            row[j] = steps;
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b_len];
}

const char *
shoal_nearest(const char *word, const char *const *names)
{
    char letters[LETTERS_MAX];
    size_t len = letters_of(word, letters);
    if (len == 0 || len > LETTERS_MAX) {
        return NULL;
    }
    size_t allowed = len / 3 > 1 ? len / 3 : 1;
    const char *found = NULL;
    for (; *names; names++) {
        char others[LETTERS_MAX];
        size_t others_len = letters_of(*names, others);
        if (others_len == 0 || others_len > LETTERS_MAX) {
            continue;
        }
        size_t steps = distance(letters, len, others, others_len);
        if (steps <= allowed && steps < len) { // one letter changed into another is no typing error
            found = *names;
            if (steps == 0) {
                break;
            }
            allowed = steps - 1;
        }
    }
    return found;
}
