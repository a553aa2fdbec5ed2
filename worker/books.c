// SPDX-License-Identifier: Apache-2.0
//
// books.c - see books.h.

#include "worker/books.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/utf8.h"
#include "proto/record/writer.h"

#define TABLE_SIZE_FIRST 16

// A copy of at most SHOAL_BOOKS_TEXT_MAX bytes, cut between characters.
static char *
copy_bounded(const char *text)
{
    size_t len = text ? strlen(text) : 0;
    if (len > SHOAL_BOOKS_TEXT_MAX) {
        len = SHOAL_BOOKS_TEXT_MAX;
        size_t whole = shoal_utf8_prefix((shoal_slice_t){text, len});
        len = len - whole < 4 ? whole : len; // else it was no UTF-8 anyway
    }
    return shoal_strndup(text, len);
}

void
shoal_books_clear(shoal_books_t *books)
{
    if (books->count > 0) {
        memset(books->table, 0, books->size * sizeof(*books->table));
    }
    for (size_t i = 0; i < books->warning_count; i++) {
        free(books->warnings[i].text);
    }
    for (size_t i = 0; i < books->fact_count; i++) {
        free(books->facts[i].name);
        free(books->facts[i].value);
    }
    for (size_t i = 0; i < books->error_count; i++) {
        free(books->errors[i].message);
        free(books->errors[i].record);
    }
    books->count = books->kind_count = books->warning_count = 0;
    books->fact_count = books->error_count = 0;
    books->warnings_left_out = 0;
    books->last = NULL;
    books->is_full = false;
}

void
shoal_books_fini(shoal_books_t *books)
{
    shoal_books_clear(books);
    free(books->table);
    books->table = NULL;
    books->size = 0;
}

// The scope's book, or the free place where it belongs.
static shoal_book_t *
place(const shoal_books_t *books, uint32_t scope)
{
    size_t at = (scope * UINT32_C(2654435769)) & (books->size - 1);
    while (books->table[at].scope != 0 && books->table[at].scope != scope) {
        at = (at + 1) & (books->size - 1);
    }
    return &books->table[at];
}

static void
grow(shoal_books_t *books)
{
    shoal_book_t *old = books->table;
    size_t old_size = books->size;
    books->size = old_size > 0 ? old_size * 2 : TABLE_SIZE_FIRST;
    books->table = shoal_alloc(books->size * sizeof(*books->table));
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].scope != 0) {
            *place(books, old[i].scope) = old[i];
        }
    }
    free(old);
}

static shoal_book_t *
book_of(shoal_books_t *books, uint32_t scope)
{
    if (books->count * 2 >= books->size) {
        grow(books);
    }
    shoal_book_t *book = place(books, scope);
    if (book->scope == 0) {
        if (books->count == SHOAL_BOOKS_SCOPES_MAX) {
            books->is_full = true;
            return NULL;
        }
        book->scope = scope;
        books->count++;
    }
    return book;
}

void
shoal_books_count(shoal_books_t *books, uint32_t scope, shoal_count_t what, uint64_t count)
{
    if (scope == 0) {
        return;
    }
    if (!books->last || books->last->scope != scope) {
        books->last = book_of(books, scope);
        if (!books->last) {
            return;
        }
    }
    books->last->counts[what] += count;
}

void
shoal_books_kind(shoal_books_t *books, const char *kind)
{
    for (size_t i = 0; i < books->kind_count; i++) {
        if (books->kinds[i].given == kind && strcmp(books->kinds[i].name, kind) == 0) {
            books->kinds[i].count++;
            return;
        }
    }
    for (size_t i = 0; i < books->kind_count; i++) {
        if (strcmp(books->kinds[i].name, kind) == 0) {
            books->kinds[i].given = kind;
            books->kinds[i].count++;
            return;
        }
    }
    size_t at = books->kind_count;
    if (at == SHOAL_BOOKS_KINDS_MAX - 1) {
        kind = "other"; // the last row takes whatever else comes
    }
    if (at == SHOAL_BOOKS_KINDS_MAX) {
        books->kinds[at - 1].count++;
        return;
    }
    books->kinds[at].given = kind;
    (void)snprintf(books->kinds[at].name, sizeof(books->kinds[at].name), "%s", kind);
    books->kinds[at].count = 1;
    books->kind_count++;
}

void
shoal_books_warn(shoal_books_t *books, const char *text)
{
    char *copy = copy_bounded(text);
    for (size_t i = 0; i < books->warning_count; i++) {
        if (strcmp(books->warnings[i].text, copy) == 0) {
            books->warnings[i].count++;
            free(copy);
            return;
        }
    }
    if (books->warning_count == SHOAL_BOOKS_WARNINGS_MAX) {
        books->warnings_left_out++;
        free(copy);
        return;
    }
    books->warnings[books->warning_count].text = copy;
    books->warnings[books->warning_count++].count = 1;
}

void
shoal_books_fact(shoal_books_t *books, const char *name, const char *value)
{
    char *copy = copy_bounded(value);
    for (size_t i = 0; i < books->fact_count; i++) {
        if (strcmp(books->facts[i].name, name) == 0) {
            free(books->facts[i].value);
            books->facts[i].value = copy;
            return;
        }
    }
    if (books->fact_count == SHOAL_BOOKS_FACTS_MAX) {
        free(copy);
        return;
    }
    books->facts[books->fact_count].name = copy_bounded(name);
    books->facts[books->fact_count++].value = copy;
}

void
shoal_books_error(shoal_books_t *books, const char *record, const shoal_status_t *why)
{
    if (books->error_count == SHOAL_BOOKS_ERRORS_MAX) {
        return;
    }
    size_t at = books->error_count++;
    books->errors[at].code = why->code;
    books->errors[at].error_class = why->error_class;
    books->errors[at].message = shoal_strdup(why->text);
    books->errors[at].record = copy_bounded(record);
}

static uint32_t
warning_rows(const shoal_books_t *books)
{
    return (uint32_t)books->warning_count + (books->warnings_left_out > 0 ? 1 : 0);
}

uint32_t
shoal_books_pairs(const shoal_books_t *books)
{
    return (uint32_t)(books->count > 0) + (uint32_t)(books->kind_count > 0) +
           (uint32_t)(books->warning_count > 0) + (uint32_t)(books->fact_count > 0) +
           (uint32_t)(books->error_count > 0);
}

static void
write_scopes(const shoal_books_t *books, shoal_buffer_t *out)
{
    shoal_write_key(out, "scopes");
    shoal_write_array(out, (uint32_t)books->count);
    for (size_t i = 0; i < books->size; i++) {
        const shoal_book_t *book = &books->table[i];
        if (book->scope != 0) {
            shoal_write_array(out, 1 + SHOAL_COUNTS);
            shoal_write_uint(out, book->scope);
            for (unsigned what = 0; what < SHOAL_COUNTS; what++) {
                shoal_write_uint(out, book->counts[what]);
            }
        }
    }
}

static void
write_errors(const shoal_books_t *books, shoal_buffer_t *out)
{
    shoal_write_key(out, "errors");
    shoal_write_array(out, (uint32_t)books->error_count);
    for (size_t i = 0; i < books->error_count; i++) {
        shoal_write_map(out, 4);
        shoal_write_key(out, "class");
        shoal_write_uint(out, (uint64_t)books->errors[i].error_class);
        shoal_write_key(out, "code");
        shoal_write_uint(out, (uint64_t)books->errors[i].code);
        shoal_write_key(out, "message");
        shoal_write_text(out, books->errors[i].message);
        shoal_write_key(out, "record");
        shoal_write_text(out, books->errors[i].record);
    }
}

void
shoal_books_write(const shoal_books_t *books, shoal_buffer_t *out)
{
    if (books->count > 0) {
        write_scopes(books, out);
    }
    if (books->kind_count > 0) {
        shoal_write_key(out, "kinds");
        shoal_write_map(out, (uint32_t)books->kind_count);
        for (size_t i = 0; i < books->kind_count; i++) {
            shoal_write_text(out, books->kinds[i].name);
            shoal_write_uint(out, books->kinds[i].count);
        }
    }
    if (books->warning_count > 0) {
        shoal_write_key(out, "warnings");
        shoal_write_array(out, warning_rows(books));
        for (size_t i = 0; i < books->warning_count; i++) {
            shoal_write_array(out, 2);
            shoal_write_text(out, books->warnings[i].text);
            shoal_write_uint(out, books->warnings[i].count);
        }
        if (books->warnings_left_out > 0) {
            shoal_write_array(out, 2);
            shoal_write_text(out, "further warnings, left out");
            shoal_write_uint(out, books->warnings_left_out);
        }
    }
    if (books->fact_count > 0) {
        shoal_write_key(out, "facts");
        shoal_write_map(out, (uint32_t)books->fact_count);
        for (size_t i = 0; i < books->fact_count; i++) {
            shoal_write_text(out, books->facts[i].name);
            shoal_write_text(out, books->facts[i].value);
        }
    }
    if (books->error_count > 0) {
        write_errors(books, out);
    }
}
