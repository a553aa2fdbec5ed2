// SPDX-License-Identifier: Apache-2.0
//
// wanted.h - which records of a shard are wanted when it is read again for its dead letters.
//
// A list of (letter, scope, name) that is found again by scope and name; a name is a record's FQN,
// or what the source called the record when it failed. Borrows the arguments of the call.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_WORKER_WANTED_H
#define SHOAL_WORKER_WANTED_H

#include "proto/base/buffer.h"
#include "proto/base/status.h"

#define SHOAL_WANTED_MAX 10000

typedef struct shoal_wanted_item {
    uint64_t letter;
    uint32_t scope;
    shoal_slice_t name;
    bool is_seen;
} shoal_wanted_item_t;

typedef struct shoal_wanted {
    shoal_wanted_item_t *items;
    size_t count;
} shoal_wanted_t; // a zeroed one is empty

// Reads the array of [letter, scope, name].
//   SHOAL_PROTOCOL  it is none, or too long
SHOAL_MUST_CHECK bool shoal_wanted_read(shoal_wanted_t *wanted, shoal_slice_t letters,
                                        shoal_status_t *status);
void shoal_wanted_fini(shoal_wanted_t *wanted);

// The first that was not seen, or NULL.
shoal_wanted_item_t *shoal_wanted_find(const shoal_wanted_t *wanted, uint32_t scope,
                                       shoal_slice_t name);

// The one that a record is: by its FQN, its name or the name that it shows.
shoal_wanted_item_t *shoal_wanted_find_record(const shoal_wanted_t *wanted, uint32_t scope,
                                              shoal_slice_t record);

// Appends a record's FQN, or whatever name it has; nothing if it has none.
void shoal_record_fqn(shoal_slice_t record, shoal_buffer_t *out);

#endif
