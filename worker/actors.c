// SPDX-License-Identifier: Apache-2.0
//
// actors.c - see actors.h.

#include "worker/actors.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/writer.h"

void
shoal_instance_destroy(shoal_instance_t **instance)
{
    if (instance && *instance) {
        if ((*instance)->self) {
            (*instance)->actor->class->destroy((*instance)->self);
        }
        free(*instance);
        *instance = NULL;
    }
}

static void
actor_destroy(shoal_actor_t *actor)
{
    while (actor->idle) {
        shoal_instance_t *instance = actor->idle;
        actor->idle = instance->next;
        shoal_instance_destroy(&instance);
    }
    free(actor);
}

void
shoal_actors_fini(shoal_actors_t *actors)
{
    for (size_t i = 0; i < SHOAL_ACTOR_BUCKETS; i++) {
        while (actors->buckets[i]) {
            shoal_actor_t *actor = actors->buckets[i];
            actors->buckets[i] = actor->next;
            actor_destroy(actor);
        }
    }
}

// Where the actor with that number stands in its bucket, or would.
static shoal_actor_t **
actor_at(shoal_actors_t *actors, uint64_t number)
{
    shoal_actor_t **at = &actors->buckets[number % SHOAL_ACTOR_BUCKETS];
    while (*at && (*at)->number != number) {
        at = &(*at)->next;
    }
    return at;
}

void
shoal_actors_write(const shoal_actors_t *actors, size_t bytes_max, shoal_buffer_t *out)
{
    uint32_t count = 0;
    size_t begin = out->len;
    size_t mark = shoal_write_array_later(out);
    for (size_t i = 0; i < SHOAL_ACTOR_BUCKETS; i++) {
        const shoal_actor_t *actor = actors->buckets[i];
        for (; actor && out->len - begin + SHOAL_WRITE_HEAD_MAX <= bytes_max; actor = actor->next) {
            shoal_write_uint(out, actor->number);
            count++;
        }
    }
    shoal_write_count_now(out, mark, count);
}

shoal_actor_t *
shoal_actors_find(shoal_actors_t *actors, uint64_t number)
{
    return *actor_at(actors, number);
}

void
shoal_actor_hold(shoal_actor_t *actor)
{
    actor->users++;
}

void
shoal_actor_release(shoal_actor_t *actor)
{
    assert(actor->users > 0);
    actor->users--;
    if (actor->is_dropped && actor->users == 0) {
        free(actor);
    }
}

static void
actor_drop(shoal_actors_t *actors, shoal_actor_t **at)
{
    shoal_actor_t *actor = *at;
    *at = actor->next;
    actors->count--;
    actors->bytes -= actor->args.len;
    actor->is_dropped = true;
    shoal_actor_hold(actor); // until the end of this function
    while (actor->idle) {
        shoal_instance_t *instance = actor->idle;
        actor->idle = instance->next;
        instance->next = actors->garbage;
        actors->garbage = instance;
    }
    shoal_actor_release(actor);
}

static shoal_actor_t *
actor_new(uint64_t number, const shoal_class_t *class, shoal_slice_t args)
{
    shoal_actor_t *actor = shoal_alloc(sizeof(*actor) + args.len);
    actor->number = number;
    actor->class = class;
    actor->args = (shoal_slice_t){(char *)(actor + 1), args.len};
    if (args.len > 0) {
        memcpy(actor + 1, args.ptr, args.len);
    }
    return actor;
}

bool
shoal_actors_add(shoal_actors_t *actors, uint64_t number, const shoal_class_t *class,
                 shoal_slice_t args, shoal_status_t *status)
{
    shoal_actor_t **at = actor_at(actors, number);
    if (*at && (*at)->class == class && shoal_slice_equal((*at)->args, args)) {
        return true; // a head that registered us again tells its actors again
    }
    if (*at) {
        actor_drop(actors, at);
        at = actor_at(actors, number);
    }
    if (actors->count >= SHOAL_ACTORS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT,
                          "actor %llu is one too many: a worker has at most %d",
                          (unsigned long long)number, SHOAL_ACTORS_MAX);
    }
    if (actors->bytes + args.len > SHOAL_ACTOR_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT,
                          "the arguments of actor %llu do not fit: a worker keeps at most %llu "
                          "bytes",
                          (unsigned long long)number, (unsigned long long)SHOAL_ACTOR_BYTES_MAX);
    }
    shoal_actor_t *actor = actor_new(number, class, args);
    actor->next = *at;
    *at = actor;
    actors->count++;
    actors->bytes += args.len;
    return true;
}

void
shoal_actors_drop(shoal_actors_t *actors, uint64_t number)
{
    shoal_actor_t **at = actor_at(actors, number);
    if (*at) {
        actor_drop(actors, at);
    }
}

void
shoal_actors_drop_all(shoal_actors_t *actors)
{
    for (size_t i = 0; i < SHOAL_ACTOR_BUCKETS; i++) {
        while (actors->buckets[i]) {
            actor_drop(actors, &actors->buckets[i]);
        }
    }
}

shoal_instance_t *
shoal_actor_take(shoal_actor_t *actor)
{
    shoal_instance_t *instance = actor->idle;
    if (instance) {
        actor->idle = instance->next;
        return instance;
    }
    instance = shoal_alloc(sizeof(*instance));
    instance->actor = actor;
    shoal_actor_hold(actor);
    return instance;
}

void
shoal_actors_give_back(shoal_actors_t *actors, shoal_instance_t *instance)
{
    shoal_actor_t *actor = instance->actor;
    bool is_garbage = actor->is_dropped || !instance->self;
    shoal_instance_t **list = is_garbage ? &actors->garbage : &actor->idle;
    instance->next = *list;
    *list = instance;
}

shoal_instance_t *
shoal_actors_take_garbage(shoal_actors_t *actors)
{
    shoal_instance_t *instance = actors->garbage;
    if (instance) {
        actors->garbage = instance->next;
    }
    return instance;
}
