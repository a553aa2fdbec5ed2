// SPDX-License-Identifier: Apache-2.0
//
// arena.c - see arena.h.

#include "connectors/postgres/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

#define BLOCK_BYTES 65536

typedef struct shoal_pg_block {
    struct shoal_pg_block *next;
    size_t size;
    alignas(max_align_t) char bytes[];
} block_t;

static void
add_block(shoal_pg_arena_t *arena, size_t size)
{
    block_t *block = arena->spare;
    if (size <= BLOCK_BYTES && block) {
        arena->spare = block->next;
    } else {
        size_t bytes = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = shoal_alloc(sizeof(*block) + bytes);
        block->size = bytes;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    arena->at = block->bytes;
    arena->left = block->size;
}

static char *
take(shoal_pg_arena_t *arena, size_t size)
{
    if (arena->left < size) {
        add_block(arena, size);
    }
    char *at = arena->at;
    arena->at += size;
    arena->left -= size;
    return at;
}

void *
shoal_pg_arena_take(shoal_pg_arena_t *arena, size_t size_bytes)
{
    size_t skip = (size_t)(-(uintptr_t)arena->at) % alignof(max_align_t);
    if (arena->left < skip + size_bytes) {
        add_block(arena, size_bytes);
    } else {
        arena->at += skip;
        arena->left -= skip;
    }
    return take(arena, size_bytes);
}

shoal_slice_t
shoal_pg_arena_copy(shoal_pg_arena_t *arena, shoal_slice_t text)
{
    if (text.len == 0) {
        return SHOAL_SLICE_NONE;
    }
    char *at = take(arena, text.len);
    memcpy(at, text.ptr, text.len);
    return (shoal_slice_t){at, text.len};
}

// Blocks of the usual size are kept, larger ones freed.
void
shoal_pg_arena_clear(shoal_pg_arena_t *arena)
{
    while (arena->blocks) {
        block_t *block = arena->blocks;
        arena->blocks = block->next;
        if (block->size == BLOCK_BYTES) {
            block->next = arena->spare;
            arena->spare = block;
        } else {
            free(block);
        }
    }
    arena->at = NULL;
    arena->left = 0;
}

void
shoal_pg_arena_fini(shoal_pg_arena_t *arena)
{
    shoal_pg_arena_clear(arena);
    while (arena->spare) {
        block_t *block = arena->spare;
        arena->spare = block->next;
        free(block);
    }
}
