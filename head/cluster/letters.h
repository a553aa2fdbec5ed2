// SPDX-License-Identifier: Apache-2.0
//
// letters.h - the dead letters of one job: what failed for good, with all that is known of it.
//
// A letter is a record that a processor, the sink or the source could not take, or a shard that was
// given up. It is kept as one msgpack map, the one that clients see (docs/protocol.md 6.2), with
// what a later run needs to try it again: the record, or the item of its shard. Letters are numbered
// from 1 within their job, all of its runs together, and keep their numbers.
//
// Bounds: SHOAL_LETTERS_MAX letters and SHOAL_LETTERS_BYTES_MAX bytes a job, and
// SHOAL_LETTERS_ALL_BYTES_MAX of all jobs; whoever would go beyond is told the commonest cause.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_LETTERS_H
#define SHOAL_HEAD_CLUSTER_LETTERS_H

#include <stdint.h>

#include "proto/base/buffer.h"
#include "proto/base/status.h"

#define SHOAL_LETTERS_MAX           10000
#define SHOAL_LETTERS_BYTES_MAX     67108864  // of one job
#define SHOAL_LETTERS_ALL_BYTES_MAX 268435456 // of all jobs together
#define SHOAL_LETTER_BYTES_MAX      262144    // of one as it comes: a batch
#define SHOAL_LETTER_TEXT_MAX       512 // bytes of a name, a kind, a step; longer ones are cut
#define SHOAL_LETTER_TRIES_MAX      20  // attempts that one tells of, the newest
#define SHOAL_LETTER_CAUSES_MAX     64  // different causes that are counted

typedef enum shoal_letter_kind {
    SHOAL_LETTER_RECORD, // has its record: it starts again at the processors
    SHOAL_LETTER_SOURCE, // a record that has to be read again
    SHOAL_LETTER_SHARD,  // a shard that was given up
} shoal_letter_kind_t;

typedef struct shoal_letter {
    uint64_t number;
    shoal_letter_kind_t kind;
    uint32_t scope;  // its number in the job; 0: none
    uint64_t needs;  // the letter of the shard that it needs; 0: none
    uint64_t origin; // letters of one shard have the same
    uint64_t taken;  // the job of the run that tries it again just now; 0: none
    char *bytes;     // the map
    size_t len;
} shoal_letter_t;

typedef struct shoal_letters shoal_letters_t;

// What a letter says that is known now; slices are borrowed.
typedef struct shoal_letter_facts {
    shoal_letter_kind_t kind;
    uint32_t run;
    const shoal_status_t *why;
    const char *worker;
    uint64_t wall_ms;
    shoal_slice_t tries; // msgpack arrays one after the other
    uint32_t try_count;
    // where
    const char *stage;
    shoal_slice_t title;
    uint32_t scope;
    shoal_slice_t scope_name;
    shoal_slice_t scope_of;
    // a record
    shoal_slice_t name;
    shoal_slice_t type;
    shoal_slice_t step;
    shoal_slice_t record; // msgpack, or empty
    uint64_t record_bytes;
    bool is_redacted;
    // the item of its shard, for what is read again
    uint64_t origin;
    uint64_t needs;
    uint32_t item_stage;
    uint32_t item_cost_us;
    shoal_slice_t item_expects;
    shoal_slice_t item_scopes; // names for what it expects: array of [scope, name, of]
    shoal_slice_t item_args;
} shoal_letter_facts_t;

// Told of each change, for whoever keeps letters safe; NULL members are not called.
typedef struct shoal_letters_hooks {
    void *ctx;
    void (*put)(void *ctx, uint64_t job, const shoal_letter_t *letter); // new or changed
    void (*drop)(void *ctx, uint64_t job, uint64_t number);
} shoal_letters_hooks_t;

// `all_bytes` counts the bytes of all jobs; borrowed, as is `hooks` (or NULL).
shoal_letters_t *shoal_letters_new(uint64_t job, uint64_t *all_bytes,
                                   const shoal_letters_hooks_t *hooks);
void shoal_letters_destroy(shoal_letters_t **letters); // tells no hook

size_t shoal_letters_count(const shoal_letters_t *letters); // NULL: 0
uint64_t shoal_letters_bytes(const shoal_letters_t *letters);

// Those with a number of at least `from`, one after the other; NULL at the end.
shoal_letter_t *shoal_letters_next(const shoal_letters_t *letters, uint64_t from);
shoal_letter_t *shoal_letters_find(const shoal_letters_t *letters, uint64_t number);

// The number of the letter that a given up shard has become; 0: there is none.
uint64_t shoal_letters_of_shard(const shoal_letters_t *letters, uint64_t origin);

// Whether `count` more letters with `bytes` would fit.
//   SHOAL_LIMIT  they would not; the sentence names limit and commonest cause
SHOAL_MUST_CHECK bool shoal_letters_fit(const shoal_letters_t *letters, size_t count,
                                        uint64_t bytes, shoal_status_t *status);

// Adds a letter; returns it, or NULL.
//   as shoal_letters_fit()
SHOAL_MUST_CHECK shoal_letter_t *shoal_letters_add(shoal_letters_t *letters,
                                                   const shoal_letter_facts_t *facts,
                                                   shoal_status_t *status);

// It has failed again: run, cause, worker and time are those of `facts` now, and its tries follow
// those that it has.
void shoal_letters_grow(shoal_letters_t *letters, shoal_letter_t *letter,
                        const shoal_letter_facts_t *facts);

void shoal_letters_remove(shoal_letters_t *letters, uint64_t number);

// Takes a letter over that was kept somewhere: `bytes` is its map, as the put hook had it.
//   SHOAL_IO  malformed
SHOAL_MUST_CHECK bool shoal_letters_restore(shoal_letters_t *letters, shoal_slice_t bytes,
                                            shoal_status_t *status);

// Appends the letter for people: without record, tries and the item, or all but the item.
void shoal_letter_show(const shoal_letter_t *letter, bool is_whole, shoal_buffer_t *out);

// A part of the letter's map, as msgpack; empty if it has none.
shoal_slice_t shoal_letter_part(const shoal_letter_t *letter, const char *key);
shoal_slice_t shoal_letter_item(const shoal_letter_t *letter, const char *key); // of its item
shoal_slice_t shoal_letter_text(const shoal_letter_t *letter, const char *key); // a text's bytes
uint64_t shoal_letter_number(shoal_slice_t value);                              // 0 if it is none

#endif
