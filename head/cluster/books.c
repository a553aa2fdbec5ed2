// SPDX-License-Identifier: Apache-2.0
//
// books.c - see books.h.

#include "head/cluster/books.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"

#define DETAIL_ERRORS_MAX 10
#define SCOPE_NAME_MAX    1024

static void
notes_free(shoal_note_t *notes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(notes[i].key);
        free(notes[i].text);
    }
}

void
shoal_books_fini(shoal_books_t *books)
{
    free(books->scopes);
    shoal_buffer_fini(&books->texts);
    notes_free(books->kinds, books->kind_count);
    notes_free(books->warnings, books->warning_count);
    notes_free(books->facts, books->fact_count);
    for (size_t i = 0; i < books->error_count; i++) {
        free(books->errors[i].text);
        free(books->errors[i].key);
        free(books->errors[i].where);
        free(books->errors[i].worker);
    }
    *books = (shoal_books_t){0};
}

static bool
scopes_reach(shoal_books_t *books, uint64_t number)
{
    if (number >= SHOAL_SCOPES_MAX) {
        return false;
    }
    if (number >= books->scope_size) {
        uint32_t size = books->scope_size ? books->scope_size : 16;
        while (size <= number) {
            size *= 2;
        }
        books->scopes = shoal_realloc(books->scopes, size * sizeof(*books->scopes));
        memset(&books->scopes[books->scope_size], 0,
               (size - books->scope_size) * sizeof(*books->scopes));
        books->scope_size = size;
    }
    if (number >= books->scope_end) {
        books->scope_end = (uint32_t)number + 1;
    }
    return true;
}

bool
shoal_books_open(shoal_books_t *books, uint64_t number, shoal_slice_t name, shoal_slice_t of,
                 shoal_status_t *status)
{
    if (name.len > SCOPE_NAME_MAX || of.len > SCOPE_NAME_MAX ||
        books->texts.len + name.len + of.len > SHOAL_SCOPE_TEXTS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT,
                          "the name of a scope has at most %d bytes, all of a "
                          "job's at most %d",
                          SCOPE_NAME_MAX, SHOAL_SCOPE_TEXTS_MAX);
    }
    if (!scopes_reach(books, number)) {
        return shoal_fail(status, SHOAL_LIMIT, "a job has at most %d scopes", SHOAL_SCOPES_MAX);
    }
    shoal_scope_t *scope = &books->scopes[number];
    if (scope->is_open) {
        return true;
    }
    scope->is_open = true;
    scope->name = (uint32_t)books->texts.len;
    scope->name_len = (uint16_t)name.len;
    scope->of_len = (uint16_t)of.len;
    shoal_buffer_append_slice(&books->texts, name);
    shoal_buffer_append_slice(&books->texts, of);
    books->scope_count++;
    return true;
}

shoal_scope_t *
shoal_books_scope(const shoal_books_t *books, uint64_t number)
{
    return number < books->scope_end && books->scopes[number].is_open ? &books->scopes[number]
                                                                      : NULL;
}

shoal_slice_t
shoal_books_scope_name(const shoal_books_t *books, const shoal_scope_t *scope)
{
    return (shoal_slice_t){scope->name_len ? books->texts.ptr + scope->name : NULL,
                           scope->name_len};
}

shoal_slice_t
shoal_books_scope_of(const shoal_books_t *books, const shoal_scope_t *scope)
{
    return (shoal_slice_t){scope->of_len ? books->texts.ptr + scope->name + scope->name_len : NULL,
                           scope->of_len};
}

void
shoal_books_listed(shoal_books_t *books, shoal_scope_t *scope, uint64_t count)
{
    if (!scope->is_listed) {
        scope->is_listed = true;
        scope->listed = count;
        books->listed += count;
        books->scopes_listed++;
    }
}

void
shoal_books_expect(shoal_books_t *books, shoal_scope_t *scope, uint64_t count)
{
    if (scope->is_listed) {
        scope->listed += count;
        books->listed += count;
    } else {
        shoal_books_listed(books, scope, count);
    }
}

void
shoal_books_filtered(shoal_books_t *books, shoal_scope_t *scope, uint64_t count, uint32_t by,
                     uint32_t cursors)
{
    if (scope->said_since != cursors) { // nobody says again what came before
        scope->filtered_before = scope->filtered_said;
        scope->said_since = cursors;
    }
    if (scope->said_by != by) {
        scope->filtered_said = scope->filtered_before;
    }
    scope->said_by = by;
    scope->filtered_said += count;
    if (scope->filtered_said > scope->filtered_counted) {
        uint64_t more = scope->filtered_said - scope->filtered_counted;
        scope->filtered_counted = scope->filtered_said;
        scope->filtered += more;
        books->filtered += more;
    }
}

static char *
text_of(shoal_slice_t text, size_t limit)
{
    size_t len = text.len < limit ? text.len : limit;
    while (len > 0 && len < text.len && ((unsigned char)text.ptr[len] & 0xc0U) == 0x80U) {
        len--;
    }
    return shoal_strndup(text.ptr ? text.ptr : "", len);
}

// Adds `count` to the note with that key; makes it if there is room.
static shoal_note_t *
note_add(shoal_note_t *notes, size_t *count, size_t limit, shoal_slice_t key, uint64_t amount)
{
    shoal_slice_t cut = {key.ptr, key.len < SHOAL_NOTE_TEXT_MAX ? key.len : SHOAL_NOTE_TEXT_MAX};
    for (size_t i = 0; i < *count; i++) {
        if (strncmp(notes[i].key, cut.ptr ? cut.ptr : "", cut.len) == 0 &&
            notes[i].key[cut.len] == '\0') {
            notes[i].count += amount;
            return &notes[i];
        }
    }
    if (*count == limit) {
        return NULL;
    }
    shoal_note_t *note = &notes[(*count)++];
    *note = (shoal_note_t){text_of(key, SHOAL_NOTE_TEXT_MAX), NULL, amount};
    return note;
}

void
shoal_books_warn(shoal_books_t *books, shoal_slice_t text, uint64_t count)
{
    if (!note_add(books->warnings, &books->warning_count, SHOAL_WARNINGS_MAX, text, count)) {
        books->warnings_left_out += count;
    }
}

static void
fact_set(shoal_books_t *books, shoal_slice_t key, shoal_slice_t text)
{
    shoal_note_t *note = note_add(books->facts, &books->fact_count, SHOAL_FACTS_MAX, key, 1);
    if (note) {
        free(note->text);
        note->text = text_of(text, SHOAL_NOTE_TEXT_MAX);
    }
}

void
shoal_books_error(shoal_books_t *books, const shoal_status_t *error, shoal_slice_t where,
                  const char *worker)
{
    for (size_t i = 0; i < books->error_count; i++) {
        shoal_error_note_t *note = &books->errors[i];
        if (note->code == (unsigned)error->code && strcmp(note->text, error->text) == 0 &&
            strcmp(note->key, error->key) == 0) {
            note->count++;
            return;
        }
    }
    if (books->error_count == SHOAL_ERRORS_MAX) {
        books->errors_left_out++;
        return;
    }
    books->errors[books->error_count++] = (shoal_error_note_t){
        .error_class = (unsigned)error->error_class,
        .code = (unsigned)error->code,
        .text = shoal_strdup(error->text),
        .key = shoal_strdup(error->key),
        .where = text_of(where, SHOAL_NOTE_TEXT_MAX),
        .worker = shoal_strdup(worker),
        .count = 1,
    };
}

void
shoal_books_bury(shoal_books_t *books, shoal_slice_t expects)
{
    if (expects.len == 0) {
        return;
    }
    shoal_cursor_t cursor = shoal_cursor_over(expects);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        uint32_t parts = shoal_cursor_array(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        uint64_t members = shoal_cursor_uint(&cursor);
        shoal_scope_t *scope = shoal_books_scope(books, number);
        if (cursor.is_bad || parts != 2) {
            return;
        }
        if (scope) {
            scope->dead += members;
        }
        books->failed += members;
    }
}

// ---- a result's detail. Each reader runs twice: first to check, with `books` NULL, then to count.

static bool
read_scopes(shoal_books_t *books, shoal_slice_t value)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        uint32_t parts = shoal_cursor_array(&cursor);
        uint64_t numbers[6] = {0}; // scope, delivered, filtered, vanished, appeared, failed
        if (parts < 2 || parts > 6) {
            return false;
        }
        for (uint32_t part = 0; part < parts; part++) {
            numbers[part] = shoal_cursor_uint(&cursor);
        }
        shoal_scope_t *scope =
            books && !cursor.is_bad ? shoal_books_scope(books, numbers[0]) : NULL;
        if (scope) {
            scope->delivered += numbers[1];
            scope->vanished += numbers[3];
            scope->appeared += numbers[4];
            scope->dead += numbers[5];
            scope->filtered += numbers[2];
            books->filtered += numbers[2];
            books->vanished += numbers[3];
            books->failed += numbers[5];
        }
    }
    return shoal_cursor_is_done(&cursor);
}

static bool
read_kinds(shoal_books_t *books, shoal_slice_t value)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t count = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        shoal_slice_t kind = shoal_cursor_str(&cursor);
        uint64_t records = shoal_cursor_uint(&cursor);
        if (books && !cursor.is_bad) {
            books->successful += records;
            (void)note_add(books->kinds, &books->kind_count, SHOAL_KINDS_MAX, kind, records);
        }
    }
    return shoal_cursor_is_done(&cursor);
}

static bool
read_warnings(shoal_books_t *books, shoal_slice_t value)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        uint32_t parts = shoal_cursor_array(&cursor);
        shoal_slice_t text = shoal_cursor_str(&cursor);
        uint64_t times = shoal_cursor_uint(&cursor);
        if (parts != 2) {
            return false;
        }
        if (books && !cursor.is_bad) {
            shoal_books_warn(books, text, times);
        }
    }
    return shoal_cursor_is_done(&cursor);
}

static bool
read_facts(shoal_books_t *books, shoal_slice_t value)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t count = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        shoal_slice_t text = shoal_cursor_str(&cursor);
        if (books && !cursor.is_bad) {
            fact_set(books, key, text);
        }
    }
    return shoal_cursor_is_done(&cursor);
}

// One map {class, code, message, record}.
static bool
read_error(shoal_books_t *books, shoal_cursor_t *cursor, const char *worker)
{
    shoal_status_t error = {.code = SHOAL_INTERNAL, .error_class = SHOAL_DATA};
    shoal_slice_t record = SHOAL_SLICE_NONE;
    shoal_slice_t text = SHOAL_SLICE_NONE;
    uint32_t pairs = shoal_cursor_map(cursor);
    for (uint32_t i = 0; i < pairs && !cursor->is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(cursor);
        if (shoal_slice_is(key, "class")) {
            error.error_class = shoal_error_class_from(shoal_cursor_uint(cursor));
        } else if (shoal_slice_is(key, "code")) {
            error.code = shoal_code_from(shoal_cursor_uint(cursor));
        } else if (shoal_slice_is(key, "message")) {
            text = shoal_cursor_str_or_nil(cursor);
        } else if (shoal_slice_is(key, "record")) {
            record = shoal_cursor_str_or_nil(cursor);
        } else {
            shoal_cursor_skip(cursor);
        }
    }
    if (books && !cursor->is_bad) {
        size_t len = text.len < sizeof(error.text) ? text.len : sizeof(error.text) - 1;
        if (len > 0) {
            memcpy(error.text, text.ptr, len);
        }
        shoal_books_error(books, &error, record, worker);
    }
    return !cursor->is_bad;
}

static bool
read_errors(shoal_books_t *books, shoal_slice_t value, const char *worker)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        // Those beyond the limit are looked at and not kept.
        if (!read_error(i < DETAIL_ERRORS_MAX ? books : NULL, &cursor, worker)) {
            return false;
        }
    }
    return shoal_cursor_is_done(&cursor);
}

typedef bool read_fn(shoal_books_t *books, shoal_slice_t value);

// clang-format off
static const struct {
    const char *key;
    read_fn *read;
} readers[] = {
    {"scopes", read_scopes},
    {"kinds", read_kinds},
    {"warnings", read_warnings},
    {"facts", read_facts},
};
// clang-format on

// Walks over the detail; counts when `books` is given. False names the key that is malformed.
static bool
detail_walk(shoal_books_t *books, shoal_slice_t detail, const char *worker, bool *ret_has_kinds,
            shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(detail);
    uint32_t pairs = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < pairs && !cursor.is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        shoal_slice_t value = shoal_cursor_value(&cursor);
        if (cursor.is_bad) {
            break;
        }
        bool is_good = true;
        for (size_t r = 0; r < sizeof(readers) / sizeof(readers[0]); r++) {
            if (shoal_slice_is(key, readers[r].key)) {
                is_good = readers[r].read(books, value);
            }
        }
        if (shoal_slice_is(key, "errors")) {
            is_good = read_errors(books, value, worker);
        }
        if (!is_good) {
            return shoal_fail(status, SHOAL_PROTOCOL,
                              "the result's detail has a malformed \"%.*s\"",
                              SHOAL_SLICE_ARGS(key));
        }
        *ret_has_kinds = *ret_has_kinds || shoal_slice_is(key, "kinds");
    }
    if (!shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_PROTOCOL, "the result's detail is no well-formed map");
    }
    return true;
}

bool
shoal_books_take(shoal_books_t *books, shoal_slice_t detail, uint64_t records, const char *worker,
                 shoal_status_t *status)
{
    bool has_kinds = false;
    if (detail.len > 0) {
        if (!detail_walk(NULL, detail, worker, &has_kinds, status)) {
            return false;
        }
        (void)detail_walk(books, detail, worker, &has_kinds, status);
    }
    if (!has_kinds) {
        books->successful += records;
    }
    return true;
}

bool
shoal_scope_is_balanced(const shoal_scope_t *scope)
{
    return scope->listed + scope->appeared ==
           scope->delivered + scope->filtered + scope->vanished + scope->dead;
}

bool
shoal_scope_is_complete(const shoal_scope_t *scope)
{
    return scope->is_listed && !scope->is_failed;
}
