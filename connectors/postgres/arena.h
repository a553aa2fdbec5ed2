// SPDX-License-Identifier: Apache-2.0
//
// arena.h - memory that is given back all at once: texts of the tables that are being read.
//
// What is taken stays where it is until clear(), which keeps the memory for the next time.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_ARENA_H
#define SHOAL_CONNECTORS_POSTGRES_ARENA_H

#include "proto/base/slice.h"

typedef struct shoal_pg_arena {
    struct shoal_pg_block *blocks; // newest first
    struct shoal_pg_block *spare;
    char *at;
    size_t left;
} shoal_pg_arena_t; // zeroed is empty

void *shoal_pg_arena_take(shoal_pg_arena_t *arena, size_t size_bytes); // for any type; not zeroed
shoal_slice_t shoal_pg_arena_copy(shoal_pg_arena_t *arena, shoal_slice_t text);
void shoal_pg_arena_clear(shoal_pg_arena_t *arena);
void shoal_pg_arena_fini(shoal_pg_arena_t *arena);

#endif
