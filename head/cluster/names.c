// SPDX-License-Identifier: Apache-2.0
//
// names.c - see names.h. Open addressing, at most half full, removal shifts back.

#include "head/cluster/names.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#include "proto/base/alloc.h"

#define SIZE_LEAST 16

typedef struct entry {
    shoal_slice_t name;
    void *object; // NULL: free
    uint64_t hash;
} entry_t;

struct shoal_names {
    entry_t *entries;
    size_t size; // a power of two
    size_t count;
    uint64_t seed;
};

shoal_names_t *
shoal_names_new(void)
{
    shoal_names_t *names = shoal_alloc(sizeof(*names));
    names->size = SIZE_LEAST;
    names->entries = shoal_alloc(names->size * sizeof(entry_t));
    if (getrandom(&names->seed, sizeof(names->seed), GRND_NONBLOCK) < 0) {
        names->seed = (uint64_t)(uintptr_t)names; // early boot: the address has to do
    }
    return names;
}

void
shoal_names_destroy(shoal_names_t **names)
{
    if (names && *names) {
        free((*names)->entries);
        free(*names);
        *names = NULL;
    }
}

static uint64_t
hash_of(const shoal_names_t *names, shoal_slice_t name)
{
    uint64_t hash = names->seed ^ UINT64_C(14695981039346656037);
    for (size_t i = 0; i < name.len; i++) {
        hash = (hash ^ (unsigned char)name.ptr[i]) * UINT64_C(1099511628211);
        hash ^= hash >> 29;
    }
    return hash;
}

// Where `name` stands, or the free place where it would.
static size_t
place_of(const shoal_names_t *names, shoal_slice_t name, uint64_t hash)
{
    size_t at = hash & (names->size - 1);
    while (names->entries[at].object &&
           (names->entries[at].hash != hash || !shoal_slice_equal(names->entries[at].name, name))) {
        at = (at + 1) & (names->size - 1);
    }
    return at;
}

void *
shoal_names_find(const shoal_names_t *names, shoal_slice_t name)
{
    return names->entries[place_of(names, name, hash_of(names, name))].object;
}

static void
grow(shoal_names_t *names)
{
    entry_t *old = names->entries;
    size_t old_size = names->size;
    names->size *= 2;
    names->entries = shoal_alloc(names->size * sizeof(entry_t));
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].object) {
            names->entries[place_of(names, old[i].name, old[i].hash)] = old[i];
        }
    }
    free(old);
}

void
shoal_names_add(shoal_names_t *names, shoal_slice_t name, void *object)
{
    assert(object);
    if (names->count * 2 >= names->size) {
        grow(names);
    }
    uint64_t hash = hash_of(names, name);
    size_t at = place_of(names, name, hash);
    assert(!names->entries[at].object);
    names->entries[at] = (entry_t){name, object, hash};
    names->count++;
}

void
shoal_names_remove(shoal_names_t *names, shoal_slice_t name)
{
    size_t hole = place_of(names, name, hash_of(names, name));
    if (!names->entries[hole].object) {
        return;
    }
    names->count--;
    size_t mask = names->size - 1;
    for (size_t at = (hole + 1) & mask; names->entries[at].object; at = (at + 1) & mask) {
        size_t home = names->entries[at].hash & mask;
        // An entry whose home lies behind the hole, going round, may not move before its home.
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            names->entries[hole] = names->entries[at];
            hole = at;
        }
    }
    names->entries[hole] = (entry_t){0};
}

size_t
shoal_names_count(const shoal_names_t *names)
{
    return names->count;
}
