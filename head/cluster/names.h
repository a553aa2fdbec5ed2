// SPDX-License-Identifier: Apache-2.0
//
// names.h - finds an object by its name: workers and sessions by id, jobs by the client's id.
//
// The names are borrowed: they live inside the objects, and an object is removed before it goes.
// The hash is seeded at random, so that no peer can choose names that collide.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_NAMES_H
#define SHOAL_HEAD_CLUSTER_NAMES_H

#include "proto/base/slice.h"

typedef struct shoal_names shoal_names_t;

shoal_names_t *shoal_names_new(void);
void shoal_names_destroy(shoal_names_t **names); // the objects stay

// The object called `name`, or NULL.
void *shoal_names_find(const shoal_names_t *names, shoal_slice_t name);

// `name` is not there yet.
void shoal_names_add(shoal_names_t *names, shoal_slice_t name, void *object);

// Nothing happens if it is not there.
void shoal_names_remove(shoal_names_t *names, shoal_slice_t name);

size_t shoal_names_count(const shoal_names_t *names);

#endif
