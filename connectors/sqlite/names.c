// SPDX-License-Identifier: Apache-2.0
//
// names.c - see names.h.

#include "connectors/sqlite/names.h"

#include <stdlib.h>

#include "proto/base/alloc.h"

typedef struct span {
    size_t at; // in the texts
    size_t len;
} span_t;

struct shoal_sqlite_names {
    shoal_buffer_t texts;
    span_t *spans; // in SQLite's order of NOCASE
    size_t count;
    size_t size;
};

static unsigned char
fold(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

// As SQLite's collation NOCASE does it: only the 26 letters of ASCII have a case.
static int
compare(shoal_slice_t a, shoal_slice_t b)
{
    for (size_t i = 0; i < a.len && i < b.len; i++) {
        int difference = fold(a.ptr[i]) - fold(b.ptr[i]);
        if (difference != 0) {
            return difference;
        }
    }
    return a.len == b.len ? 0 : (a.len < b.len ? -1 : 1);
}

bool
shoal_sqlite_names_new(shoal_sqlite_t *database, shoal_sqlite_names_t **ret_names,
                       shoal_status_t *status)
{
    static const char sql[] =
        "select name from main.sqlite_schema where type = 'table' order by name collate nocase";
    sqlite3_stmt *row = NULL;
    if (!shoal_sqlite_prepare(database, "list the tables", sql, &row, status)) {
        return false;
    }
    shoal_sqlite_names_t *names = shoal_alloc(sizeof(*names));
    bool is_row = false;
    bool done = false;
    while ((done = shoal_sqlite_step(database, "list the tables", row, &is_row, status)) &&
           is_row) {
        if (names->count == names->size) {
            names->size = names->size ? names->size * 2 : 64;
            names->spans = shoal_realloc(names->spans, names->size * sizeof(*names->spans));
        }
        shoal_slice_t name = shoal_sqlite_text(row, 0);
        names->spans[names->count++] = (span_t){names->texts.len, name.len};
        shoal_buffer_append_slice(&names->texts, name);
    }
    (void)sqlite3_finalize(row);
    if (!done) {
        shoal_sqlite_names_destroy(&names);
        return false;
    }
    *ret_names = names;
    return true;
}

void
shoal_sqlite_names_destroy(shoal_sqlite_names_t **names)
{
    if (!names || !*names) {
        return;
    }
    shoal_buffer_fini(&(*names)->texts);
    free((*names)->spans);
    free(*names);
    *names = NULL;
}

shoal_slice_t
shoal_sqlite_names_find(const shoal_sqlite_names_t *names, shoal_slice_t name)
{
    size_t low = 0;
    for (size_t high = names->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        span_t span = names->spans[middle];
        int order = compare((shoal_slice_t){names->texts.ptr + span.at, span.len}, name);
        if (order == 0) {
            return (shoal_slice_t){names->texts.ptr + span.at, span.len};
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return SHOAL_SLICE_NONE;
}
