// SPDX-License-Identifier: Apache-2.0
//
// actors.h - the actors that the head has told a worker, and their idle instances.
//
// An actor lives until it is dropped and nothing refers to it: attempts in the pool and instances
// count as its users. Instances of dropped actors become garbage, which somebody has to destroy
// where blocking is allowed.
//
// Threads: none of its own; whoever embeds it guards every function but
// shoal_instance_destroy() with one mutex.  Logging: none.

#ifndef SHOAL_WORKER_ACTORS_H
#define SHOAL_WORKER_ACTORS_H

#include "worker/class.h"

#define SHOAL_ACTORS_MAX      65536
#define SHOAL_ACTOR_BYTES_MAX (UINT64_C(256) << 20) // arguments of all actors
#define SHOAL_ACTOR_BUCKETS   4096

typedef struct shoal_actor shoal_actor_t;

typedef struct shoal_instance shoal_instance_t;
struct shoal_instance {
    shoal_instance_t *next; // in the list that it is in
    shoal_actor_t *actor;
    void *self; // NULL: not made yet, or it could not be made
};

struct shoal_actor {
    shoal_actor_t *next; // in its bucket
    uint64_t number;
    const shoal_class_t *class;
    shoal_slice_t args; // owned, behind the structure
    bool is_dropped;    // not in the table any more
    size_t users;
    shoal_instance_t *idle; // the one that was used last comes first
};

// Embedded; zero it.
typedef struct shoal_actors {
    shoal_actor_t *buckets[SHOAL_ACTOR_BUCKETS];
    size_t count;
    uint64_t bytes;
    shoal_instance_t *garbage;
} shoal_actors_t;

// Frees the actors and their idle instances. Nothing else may refer to any.
void shoal_actors_fini(shoal_actors_t *actors);

// Appends their numbers as a msgpack array, as many as fit into `bytes_max`.
void shoal_actors_write(const shoal_actors_t *actors, size_t bytes_max, shoal_buffer_t *out);

shoal_actor_t *shoal_actors_find(shoal_actors_t *actors, uint64_t number); // or NULL

// As shoal_slots_add_actor().
SHOAL_MUST_CHECK bool shoal_actors_add(shoal_actors_t *actors, uint64_t number,
                                       const shoal_class_t *class, shoal_slice_t args,
                                       shoal_status_t *status);

void shoal_actors_drop(shoal_actors_t *actors, uint64_t number); // an unknown one is fine
void shoal_actors_drop_all(shoal_actors_t *actors);

// One user more, one less.
void shoal_actor_hold(shoal_actor_t *actor);
void shoal_actor_release(shoal_actor_t *actor);

// An idle instance, or a new one without a self. It is a user of its actor until destroyed.
shoal_instance_t *shoal_actor_take(shoal_actor_t *actor);

// It waits for the next call; or for its end, if its actor is dropped or it has no self.
void shoal_actors_give_back(shoal_actors_t *actors, shoal_instance_t *instance);

// The next instance to destroy, or NULL; release its actor afterwards.
shoal_instance_t *shoal_actors_take_garbage(shoal_actors_t *actors);

// Calls the class; without the mutex.
void shoal_instance_destroy(shoal_instance_t **instance);

#endif
