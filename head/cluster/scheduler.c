// SPDX-License-Identifier: Apache-2.0
//
// scheduler.c - see scheduler.h.
//
// Design: each class has a binary heap of the jobs that could start a call, by their share. A worker
// that can take one looks at the tops of the heaps of its classes only.

#include "head/cluster/scheduler.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

typedef struct heap {
    shoal_job_t **jobs; // from 1
    size_t count;
    size_t size;
} heap_t;

struct shoal_scheduler {
    const shoal_registry_t *registry;
    heap_t heaps[SHOAL_CLASSES_MAX];
    shoal_scheduler_admit_fn *admit; // NULL: everything
    void *admit_ctx;
    size_t runnable;      // jobs in all heaps
    unsigned classes_end; // classes that ever had a job are below
};

shoal_scheduler_t *
shoal_scheduler_new(const shoal_registry_t *registry)
{
    shoal_scheduler_t *scheduler = shoal_alloc(sizeof(*scheduler));
    scheduler->registry = registry;
    return scheduler;
}

void
shoal_scheduler_destroy(shoal_scheduler_t **scheduler)
{
    if (scheduler && *scheduler) {
        for (size_t i = 0; i < SHOAL_CLASSES_MAX; i++) {
            free((*scheduler)->heaps[i].jobs);
        }
        free(*scheduler);
        *scheduler = NULL;
    }
}

// True if `a` has the smaller share of the window for its weight; the older one if they are equal.
static bool
comes_before(const shoal_job_t *a, const shoal_job_t *b)
{
    assert(a && b);
    uint64_t share_a = (uint64_t)a->running_charge * b->spec.weight;
    uint64_t share_b = (uint64_t)b->running_charge * a->spec.weight;
    return share_a < share_b || (share_a == share_b && a->number < b->number);
}

static void
heap_put(heap_t *heap, size_t place, shoal_job_t *job)
{
    heap->jobs[place] = job;
    job->heap_place = place;
}

static void
heap_up(heap_t *heap, size_t place)
{
    shoal_job_t *job = heap->jobs[place];
    while (place > 1 && comes_before(job, heap->jobs[place / 2])) {
        heap_put(heap, place, heap->jobs[place / 2]);
        place /= 2;
    }
    heap_put(heap, place, job);
}

static void
heap_down(heap_t *heap, size_t place)
{
    shoal_job_t *job = heap->jobs[place];
    for (size_t child; (child = place * 2) <= heap->count; place = child) {
        if (child < heap->count && comes_before(heap->jobs[child + 1], heap->jobs[child])) {
            child++;
        }
        if (!comes_before(heap->jobs[child], job)) {
            break;
        }
        heap_put(heap, place, heap->jobs[child]);
    }
    heap_put(heap, place, job);
}

static void
heap_add(heap_t *heap, shoal_job_t *job)
{
    if (heap->count + 2 > heap->size) {
        heap->size = heap->size ? heap->size * 2 : 8;
        heap->jobs = shoal_realloc(heap->jobs, heap->size * sizeof(shoal_job_t *));
    }
    heap->count++;
    heap_put(heap, heap->count, job);
    heap_up(heap, heap->count);
}

static void
heap_remove(heap_t *heap, shoal_job_t *job)
{
    size_t place = job->heap_place;
    shoal_job_t *last = heap->jobs[heap->count--];
    job->heap_place = 0;
    if (last != job) {
        heap_put(heap, place, last);
        heap_up(heap, place);
        heap_down(heap, last->heap_place);
    }
}

// Whether the job could start a call, if there is a slot.
static bool
is_runnable(const shoal_job_t *job)
{
    if (shoal_job_is_final(job) || job->is_stopping || job->is_held || job->needs_disk ||
        shoal_backlog_count(job->backlog, SHOAL_SHARD_READY) == 0) {
        return false;
    }
    if (job->spec.parallelism > 0 && job->running >= job->spec.parallelism) {
        return false;
    }
    if (job->spec.limit > 0) { // one at a time, discover aside, so that none delivers too many
        const shoal_shard_t *discover = shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER);
        return job->running < 1U + (discover->state == SHOAL_SHARD_RUNNING);
    }
    return true;
}

void
shoal_scheduler_update(shoal_scheduler_t *scheduler, shoal_job_t *job)
{
    heap_t *heap = &scheduler->heaps[job->class_number];
    bool is_in = job->heap_place != 0;
    bool belongs = is_runnable(job);
    if (is_in && belongs) {
        heap_up(heap, job->heap_place);
        heap_down(heap, job->heap_place);
    } else if (is_in) {
        heap_remove(heap, job);
        scheduler->runnable--;
    } else if (belongs) {
        heap_add(heap, job);
        scheduler->runnable++;
        if (job->class_number >= scheduler->classes_end) {
            scheduler->classes_end = job->class_number + 1;
        }
    }
}

void
shoal_scheduler_ask(shoal_scheduler_t *scheduler, shoal_scheduler_admit_fn *admit, void *ctx)
{
    scheduler->admit = admit;
    scheduler->admit_ctx = ctx;
}

// Who is looked for: a job for this worker.
typedef struct search {
    const shoal_worker_t *worker;
    size_t profile;
    bool by_drop;
    bool is_denied; // a job was not admitted
} search_t;

static bool
is_admitted(const shoal_scheduler_t *scheduler, shoal_job_t *job, search_t *search)
{
    if (!scheduler->admit ||
        scheduler->admit(scheduler->admit_ctx, job, search->worker, search->by_drop)) {
        return true;
    }
    search->is_denied = true;
    return false;
}

// The first of the heap's jobs that is admitted: nearly always the one on top.
static shoal_job_t *
first_admitted(const shoal_scheduler_t *scheduler, const heap_t *heap, search_t *search)
{
    if (heap->count == 0 || is_admitted(scheduler, heap->jobs[1], search)) {
        return heap->count > 0 ? heap->jobs[1] : NULL;
    }
    shoal_job_t *best = NULL;
    for (size_t i = 2; i <= heap->count; i++) {
        if ((!best || comes_before(heap->jobs[i], best)) &&
            is_admitted(scheduler, heap->jobs[i], search)) {
            best = heap->jobs[i];
        }
    }
    return best;
}

// The job that is next among those that the worker could run, or NULL.
static shoal_job_t *
next_job(const shoal_scheduler_t *scheduler, search_t *search)
{
    shoal_job_t *best = NULL;
    for (unsigned class_number = 0; class_number < scheduler->classes_end; class_number++) {
        if (!shoal_profile_has(scheduler->registry, search->profile, class_number)) {
            continue;
        }
        shoal_job_t *job = first_admitted(scheduler, &scheduler->heaps[class_number], search);
        if (job && (!best || comes_before(job, best))) {
            best = job;
        }
    }
    return best;
}

static uint32_t
cost_of_next(const shoal_job_t *job)
{
    uint32_t index = shoal_backlog_peek(job->backlog);
    assert(index != SHOAL_SHARD_NONE);
    return shoal_backlog_at(job->backlog, index)->cost_us;
}

static uint32_t
charge_of(const shoal_scheduler_t *scheduler, const shoal_job_t *job, uint32_t cost_us)
{
    bool is_small = cost_us > 0 && cost_us <= SHOAL_SMALL_COST_US;
    if (!is_small || job->spec.limit > 0) {
        return SHOAL_CHARGE_FULL;
    }
    size_t ready = shoal_backlog_count(job->backlog, SHOAL_SHARD_READY);
    return ready > shoal_registry_slots(scheduler->registry, (int)job->class_number)
               ? 1
               : SHOAL_CHARGE_FULL;
}

// A job for one of the workers of the list that `worker` is in; those after the first are looked at
// only where a job may not run on every one.
static bool
choose_among(shoal_scheduler_t *scheduler, shoal_worker_t *worker, bool is_prefetch,
             search_t *search, shoal_choice_t *ret_choice)
{
    for (unsigned tried = 0; worker && tried < SHOAL_WORKERS_TRIED;
         worker = worker->feed_next, tried++) {
        search->worker = worker;
        search->is_denied = false;
        shoal_job_t *job = next_job(scheduler, search);
        if (!job && search->is_denied) {
            continue;
        }
        uint32_t cost_us = job ? cost_of_next(job) : 0;
        if (!job || (is_prefetch && cost_us > SHOAL_PREFETCH_COST_US)) {
            return false;
        }
        ret_choice->job = job;
        ret_choice->worker = worker;
        ret_choice->charge = charge_of(scheduler, job, cost_us);
        ret_choice->shard = shoal_backlog_pop(job->backlog);
        return true;
    }
    return false;
}

bool
shoal_scheduler_choose(shoal_scheduler_t *scheduler, shoal_choice_t *ret_choice)
{
    // First what costs nothing elsewhere, then what takes a connection from an idle worker, then
    // what is sent ahead.
    static const struct {
        bool is_prefetch;
        bool by_drop;
    } passes[] = {{false, false}, {false, true}, {true, false}};
    bool is_denied = false;
    if (scheduler->runnable == 0) {
        return false;
    }
    size_t profiles = shoal_registry_profiles(scheduler->registry);
    for (size_t pass = 0; pass < sizeof(passes) / sizeof(passes[0]); pass++) {
        if (passes[pass].by_drop && !is_denied) {
            continue;
        }
        for (size_t profile = 0; profile < profiles; profile++) {
            search_t search = {.profile = profile, .by_drop = passes[pass].by_drop};
            shoal_worker_t *worker = passes[pass].is_prefetch
                                         ? shoal_profile_room(scheduler->registry, profile)
                                         : shoal_profile_idle(scheduler->registry, profile);
            if (choose_among(scheduler, worker, passes[pass].is_prefetch, &search, ret_choice)) {
                return true;
            }
            is_denied = is_denied || search.is_denied;
        }
    }
    return false;
}
