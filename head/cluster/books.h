// SPDX-License-Identifier: Apache-2.0
//
// books.h - the accounts of one job: what was listed, delivered, filtered, vanished and given up.
//
// Discovery opens a scope and says how many members it listed; the shards' results say what became
// of them. At the end, scope by scope, listed + appeared = delivered + filtered + vanished + dead,
// or the job is PARTIAL and says where. Beside the scopes the books keep what people want to see:
// records by kind, warnings, facts, and the first errors, equal ones counted together.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_BOOKS_H
#define SHOAL_HEAD_CLUSTER_BOOKS_H

#include <stdint.h>

#include "proto/base/buffer.h"

#define SHOAL_SCOPES_MAX      100000   // of one job
#define SHOAL_SCOPE_TEXTS_MAX 33554432 // bytes of their names
#define SHOAL_KINDS_MAX       64
#define SHOAL_WARNINGS_MAX    100
#define SHOAL_FACTS_MAX       64
#define SHOAL_ERRORS_MAX      100
#define SHOAL_NOTE_TEXT_MAX   512 // bytes of a warning, a fact, a key of one

typedef struct shoal_scope {
    uint32_t name; // in the texts; their lengths follow
    uint16_t name_len;
    uint16_t of_len;
    bool is_open;   // there is such a scope
    bool is_listed; // its listing is complete
    bool is_failed; // it could not be listed
    uint64_t listed;
    uint64_t delivered;
    uint64_t filtered;
    uint64_t vanished;
    uint64_t appeared;
    uint64_t dead;
    uint64_t filtered_counted; // of what discovery said, by whichever attempt said most
    uint64_t filtered_said;    // by the attempt of discovery below, and before it
    uint64_t filtered_before;  // of that, up to the cursor below
    uint32_t said_by;
    uint32_t said_since; // as many cursors had come
} shoal_scope_t;

typedef struct shoal_note {
    char *key;  // owned
    char *text; // owned; NULL: a kind or a warning
    uint64_t count;
} shoal_note_t;

typedef struct shoal_error_note {
    unsigned error_class;
    unsigned code;
    char *text;  // these are owned, and never NULL
    char *key;   // of the workflow
    char *where; // title of the shard, or a record
    char *worker;
    uint64_t count;
} shoal_error_note_t;

typedef struct shoal_books {
    shoal_scope_t *scopes;
    uint32_t scope_end; // numbers in use are below
    uint32_t scope_size;
    shoal_buffer_t texts;
    uint64_t scope_count;
    uint64_t scopes_listed;
    uint64_t listed; // sums over the scopes
    uint64_t filtered;
    uint64_t vanished;
    uint64_t failed;     // records given up
    uint64_t successful; // records delivered
    shoal_note_t kinds[SHOAL_KINDS_MAX];
    size_t kind_count;
    shoal_note_t warnings[SHOAL_WARNINGS_MAX];
    size_t warning_count;
    uint64_t warnings_left_out;
    shoal_note_t facts[SHOAL_FACTS_MAX];
    size_t fact_count;
    shoal_error_note_t errors[SHOAL_ERRORS_MAX];
    size_t error_count;
    uint64_t errors_left_out;
} shoal_books_t;

void shoal_books_fini(shoal_books_t *books); // a zeroed one is ready for use

// Opens scope `number`; one that is open already is left as it is.
//   SHOAL_LIMIT  too many scopes, or too long names
SHOAL_MUST_CHECK bool shoal_books_open(shoal_books_t *books, uint64_t number, shoal_slice_t name,
                                       shoal_slice_t of, shoal_status_t *status);

// The scope, or NULL.
shoal_scope_t *shoal_books_scope(const shoal_books_t *books, uint64_t number);
shoal_slice_t shoal_books_scope_name(const shoal_books_t *books, const shoal_scope_t *scope);
shoal_slice_t shoal_books_scope_of(const shoal_books_t *books, const shoal_scope_t *scope);

// Its listing is complete with so many members; said again, nothing changes.
void shoal_books_listed(shoal_books_t *books, shoal_scope_t *scope, uint64_t count);

// So many more members are expected of it than before (a run lists nothing).
void shoal_books_expect(shoal_books_t *books, shoal_scope_t *scope, uint64_t count);

// Discovery's attempt number `by` accounts for so many more of its members, after `cursors` cursors.
// Another attempt goes on at the last cursor: it says again what was said after that, and only what
// goes beyond counts.
void shoal_books_filtered(shoal_books_t *books, shoal_scope_t *scope, uint64_t count, uint32_t by,
                          uint32_t cursors);

// Counts a committed result's detail in (docs/protocol.md 6.1, the common keys). `records` is what
// RESULT said; it counts when the detail has no kinds. `worker` goes to its errors.
//   SHOAL_PROTOCOL  malformed; nothing is counted then
SHOAL_MUST_CHECK bool shoal_books_take(shoal_books_t *books, shoal_slice_t detail, uint64_t records,
                                       const char *worker, shoal_status_t *status);

// A shard was given up: what it expected is dead. `expects`: array of [scope, count], or empty.
void shoal_books_bury(shoal_books_t *books, shoal_slice_t expects);

// Notes an error; an equal one (class, code, key, text) is counted up.
void shoal_books_error(shoal_books_t *books, const shoal_status_t *error, shoal_slice_t where,
                       const char *worker);
void shoal_books_warn(shoal_books_t *books, shoal_slice_t text, uint64_t count);

bool shoal_scope_is_balanced(const shoal_scope_t *scope);
bool shoal_scope_is_complete(const shoal_scope_t *scope);

#endif
