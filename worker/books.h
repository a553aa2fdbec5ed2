// SPDX-License-Identifier: Apache-2.0
//
// books.h - what one call has counted: scopes, kinds, warnings, facts and records given up.
//
// Embedded. Everything is bounded, so that it fits into a call's result (class.h); what does not
// fit is counted together at the end of its list.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_WORKER_BOOKS_H
#define SHOAL_WORKER_BOOKS_H

#include <stdint.h>

#include "proto/base/buffer.h"
#include "proto/base/status.h"

#define SHOAL_BOOKS_SCOPES_MAX   4096 // that one call may count in
#define SHOAL_BOOKS_KINDS_MAX    64
#define SHOAL_BOOKS_WARNINGS_MAX 100
#define SHOAL_BOOKS_FACTS_MAX    32
#define SHOAL_BOOKS_ERRORS_MAX   10
#define SHOAL_BOOKS_TEXT_MAX     512 // bytes of a warning, fact, or name; longer ones are cut

typedef enum shoal_count {
    SHOAL_COUNT_DELIVERED,
    SHOAL_COUNT_FILTERED,
    SHOAL_COUNT_VANISHED,
    SHOAL_COUNT_APPEARED,
    SHOAL_COUNT_FAILED,
    SHOAL_COUNTS,
} shoal_count_t;

typedef struct shoal_book {
    uint32_t scope; // 0: free
    uint64_t counts[SHOAL_COUNTS];
} shoal_book_t;

typedef struct shoal_books shoal_books_t;
struct shoal_books {
    shoal_book_t *table; // open addressing; size is a power of two
    size_t size;
    size_t count;
    shoal_book_t *last; // the scope counted last: mostly the next one too
    bool is_full;       // a scope did not fit
    struct {
        const char *given; // the caller's own pointer, compared first
        char name[64];
        uint64_t count;
    } kinds[SHOAL_BOOKS_KINDS_MAX];
    size_t kind_count;
    struct {
        char *text;
        uint64_t count;
    } warnings[SHOAL_BOOKS_WARNINGS_MAX];
    size_t warning_count;
    uint64_t warnings_left_out;
    struct {
        char *name;
        char *value;
    } facts[SHOAL_BOOKS_FACTS_MAX];
    size_t fact_count;
    struct {
        shoal_code_t code;
        shoal_error_class_t error_class;
        char *message;
        char *record;
    } errors[SHOAL_BOOKS_ERRORS_MAX];
    size_t error_count;
};

void shoal_books_clear(shoal_books_t *books); // keeps the table's memory
void shoal_books_fini(shoal_books_t *books);

// Counts in a scope (0: nowhere). More than SHOAL_BOOKS_SCOPES_MAX scopes: is_full is set.
void shoal_books_count(shoal_books_t *books, uint32_t scope, shoal_count_t what, uint64_t count);
void shoal_books_kind(shoal_books_t *books, const char *kind); // one more record of it
void shoal_books_warn(shoal_books_t *books, const char *text);
void shoal_books_fact(shoal_books_t *books, const char *name, const char *value);
void shoal_books_error(shoal_books_t *books, const char *record, const shoal_status_t *why);

// How many pairs write() appends to a map: the common keys of docs/protocol.md 6.1.
uint32_t shoal_books_pairs(const shoal_books_t *books);
void shoal_books_write(const shoal_books_t *books, shoal_buffer_t *out);

#endif
