// SPDX-License-Identifier: Apache-2.0
//
// scribe.c - see scribe.h.
//
// The loop takes a list, works it off, and reports after each group of appends, so that the hub can
// grant new bytes while the rest is being written.

#include "head/scribe.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/queue.h"

struct shoal_scribe {
    pthread_t thread;
    shoal_queue_t *lists;   // of shoal_errands_t, from the hub
    shoal_queue_t *reports; // of shoal_scribe_report_t, to the hub
    // The thread's own:
    shoal_spool_t *spool;
    shoal_errands_t done;    // to be reported
    shoal_errands_t stalled; // appends that wait for room
    uint64_t stalled_count;
    shoal_status_t trouble;
    bool has_changed; // the trouble began or ended since the last report
    bool has_room;    // something was removed since the stalled ones were tried
};

void
shoal_errands_add(shoal_errands_t *errands, shoal_errand_t *errand)
{
    errand->next = NULL;
    *(errands->last ? &errands->last->next : &errands->first) = errand;
    errands->last = errand;
}

shoal_errand_t *
shoal_errands_take(shoal_errands_t *errands)
{
    shoal_errand_t *errand = errands->first;
    if (errand) {
        errands->first = errand->next;
        if (!errands->first) {
            errands->last = NULL;
        }
        errand->next = NULL;
    }
    return errand;
}

// ---- the thread

static void
report(shoal_scribe_t *scribe)
{
    if (!scribe->done.first && !scribe->has_changed) {
        return;
    }
    shoal_scribe_report_t *message = shoal_alloc(sizeof(*message));
    message->errands = scribe->done;
    message->spool_bytes = shoal_spool_bytes(scribe->spool);
    message->stalled = scribe->stalled_count;
    if (scribe->stalled_count > 0) {
        message->trouble = scribe->trouble;
    }
    if (shoal_queue_put_wait(scribe->reports, message)) {
        scribe->done = (shoal_errands_t){NULL, NULL};
        scribe->has_changed = false;
    } else {
        free(message); // the hub has stopped us; stop() finds the errands where they are
    }
}

static void
stall(shoal_scribe_t *scribe, shoal_errand_t *errand)
{
    shoal_errands_add(&scribe->stalled, errand);
    if (scribe->stalled_count++ == 0) {
        scribe->has_changed = true;
    }
}

// Takes the appends at the head of `work` that belong to one job, and writes them. True: all were.
static bool
write_some(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errands[SHOAL_SPOOL_GROUP_MAX];
    shoal_spool_batch_t *batches[SHOAL_SPOOL_GROUP_MAX];
    uint64_t job = work->first->job;
    size_t count = 0;
    while (count < SHOAL_SPOOL_GROUP_MAX && work->first &&
           work->first->kind == SHOAL_ERRAND_APPEND && work->first->job == job) {
        errands[count] = shoal_errands_take(work);
        batches[count] = &errands[count]->batch;
        count++;
    }
    size_t written = 0;
    bool done = shoal_spool_append(scribe->spool, job, batches, count, &written, &scribe->trouble);
    for (size_t i = 0; i < count; i++) {
        if (i < written) {
            errands[i]->is_done = true;
            shoal_errands_add(&scribe->done, errands[i]);
        } else {
            stall(scribe, errands[i]);
        }
    }
    report(scribe);
    return done;
}

// Tries the stalled appends again, in order, until one fails.
static void
retry_stalled(shoal_scribe_t *scribe)
{
    scribe->has_room = false;
    if (!scribe->stalled.first) {
        return;
    }
    shoal_errands_t work = scribe->stalled;
    scribe->stalled = (shoal_errands_t){NULL, NULL};
    scribe->stalled_count = 0;
    while (work.first && write_some(scribe, &work)) {
    }
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&work)) != NULL;) {
        stall(scribe, errand);
    }
    scribe->has_changed = true;
    report(scribe);
}

static void
do_append(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    if (scribe->stalled.first) {
        stall(scribe, shoal_errands_take(work)); // order is kept
    } else {
        (void)write_some(scribe, work);
    }
}

static void
do_read(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errand = shoal_errands_take(work);
    shoal_status_t status = SHOAL_STATUS_INIT;
    errand->is_done = shoal_spool_read(scribe->spool, errand->job, errand->batch.place,
                                       &errand->message, &status);
    if (!errand->is_done) {
        errand->failure = shoal_alloc(sizeof(*errand->failure));
        *errand->failure = status;
    }
    shoal_errands_add(&scribe->done, errand);
}

static void
do_release(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errand = shoal_errands_take(work);
    uint64_t before = shoal_spool_bytes(scribe->spool);
    shoal_spool_release(scribe->spool, errand->job, errand->batch.place);
    scribe->has_room = scribe->has_room || shoal_spool_bytes(scribe->spool) < before;
    errand->is_done = true;
    shoal_errands_add(&scribe->done, errand);
}

static void
do_forget(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errand = shoal_errands_take(work);
    shoal_spool_forget(scribe->spool, errand->job);
    shoal_errands_t stalled = scribe->stalled;
    scribe->stalled = (shoal_errands_t){NULL, NULL};
    scribe->stalled_count = 0;
    for (shoal_errand_t *other; (other = shoal_errands_take(&stalled)) != NULL;) {
        if (other->job == errand->job) {
            shoal_errands_add(&scribe->done, other); // not done, and nobody wants it any more
        } else {
            stall(scribe, other);
        }
    }
    scribe->has_changed = true;
    scribe->has_room = true;
    errand->is_done = true;
    shoal_errands_add(&scribe->done, errand);
}

// Each takes at least one errand from the head of the list.
typedef void work_fn(shoal_scribe_t *scribe, shoal_errands_t *work);
static work_fn *const works[] = {
    [SHOAL_ERRAND_APPEND] = do_append,
    [SHOAL_ERRAND_READ] = do_read,
    [SHOAL_ERRAND_RELEASE] = do_release,
    [SHOAL_ERRAND_FORGET] = do_forget,
};

static void *
run(void *ctx)
{
    shoal_scribe_t *scribe = ctx;
    while (!shoal_queue_is_closed(scribe->lists)) {
        uint64_t wait_ms = scribe->stalled.first ? SHOAL_SCRIBE_RETRY_MS : SHOAL_TIME_NEVER;
        shoal_errands_t *list = shoal_queue_take_wait(scribe->lists, wait_ms);
        while (list && list->first && !shoal_queue_is_closed(scribe->lists)) {
            works[list->first->kind](scribe, list);
        }
        bool is_due = !list || scribe->has_room;
        if (list) {
            for (shoal_errand_t *left; (left = shoal_errands_take(list)) != NULL;) {
                shoal_errands_add(&scribe->done, left); // only when we are being stopped
            }
            free(list);
        }
        report(scribe);
        if (is_due) {
            retry_stalled(scribe);
        }
    }
    return NULL;
}

// ---- the hub's side

static void
scribe_free(shoal_scribe_t *scribe)
{
    shoal_spool_destroy(&scribe->spool);
    shoal_queue_destroy(&scribe->lists);
    shoal_queue_destroy(&scribe->reports);
    free(scribe);
}

bool
shoal_scribe_start(const shoal_spool_config_t *config, shoal_scribe_t **ret_scribe,
                   shoal_status_t *status)
{
    shoal_scribe_t *scribe = shoal_alloc(sizeof(*scribe));
    bool done = shoal_spool_new(config, &scribe->spool, status) &&
                shoal_queue_new(SHOAL_SCRIBE_LISTS_MAX, NULL, &scribe->lists, status) &&
                shoal_queue_new(SHOAL_SCRIBE_LISTS_MAX, NULL, &scribe->reports, status);
    if (done) {
        int error = pthread_create(&scribe->thread, NULL, run, scribe);
        done = error == 0 || shoal_fail_errno(status, error, "could not start the scribe's thread");
    }
    if (!done) {
        scribe_free(scribe);
        return false;
    }
    *ret_scribe = scribe;
    return true;
}

static void
drop_all(shoal_errands_t *errands, shoal_errand_drop_fn *drop, void *ctx)
{
    for (shoal_errand_t *errand; (errand = shoal_errands_take(errands)) != NULL;) {
        assert(drop);
        drop(ctx, errand);
    }
}

void
shoal_scribe_stop(shoal_scribe_t **scribe, shoal_errand_drop_fn *drop, void *ctx)
{
    if (!scribe || !*scribe) {
        return;
    }
    shoal_scribe_t *it = *scribe;
    shoal_queue_close(it->lists);
    shoal_queue_close(it->reports);
    (void)pthread_join(it->thread, NULL);
    drop_all(&it->done, drop, ctx);
    drop_all(&it->stalled, drop, ctx);
    for (shoal_scribe_report_t *old; (old = shoal_queue_take(it->reports)) != NULL;) {
        drop_all(&old->errands, drop, ctx);
        free(old);
    }
    for (shoal_errands_t *list; (list = shoal_queue_take(it->lists)) != NULL;) {
        drop_all(list, drop, ctx);
        free(list);
    }
    scribe_free(it);
    *scribe = NULL;
}

bool
shoal_scribe_send(shoal_scribe_t *scribe, shoal_errands_t *errands)
{
    assert(errands->first);
    shoal_errands_t *list = shoal_alloc(sizeof(*list));
    *list = *errands;
    if (!shoal_queue_put(scribe->lists, list)) {
        free(list);
        return false;
    }
    *errands = (shoal_errands_t){NULL, NULL};
    return true;
}

int
shoal_scribe_fd(const shoal_scribe_t *scribe)
{
    return shoal_queue_fd(scribe->reports);
}

shoal_scribe_report_t *
shoal_scribe_take(shoal_scribe_t *scribe)
{
    return shoal_queue_take(scribe->reports);
}
