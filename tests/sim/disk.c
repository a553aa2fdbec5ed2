// SPDX-License-Identifier: Apache-2.0
//
// disk.c - see sim.h: head/scribe.h on a disk of memory that is slow, or full, when it shall be.
//
// Design: lists are worked off one after the other, each after a delay; what comes of one is a
// report. Batches are numbered; a place is a number cut in two.

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "head/scribe.h"
#include "proto/base/alloc.h"
#include "tests/sim/sim.h"

#define OFFSET_BITS   20
#define LISTS_MAX     4 // under way at once: fewer than the real one takes
#define DELAY_LEAST   100
#define DELAY_MORE_US 5000
#define SLOW_US       (200 * SIM_MS)

typedef struct written {
    uint64_t job; // 0: released
    char *bytes;
    uint32_t len;
} written_t;

struct sim_disk {
    written_t *batches; // by number, from 0
    uint64_t count;
    uint64_t size;
    uint64_t bytes; // in use, with headers
    uint64_t full_until_us;
    uint64_t slow_until_us;
    test_random_t random;
    shoal_scribe_t *scribe; // the one that runs, or NULL
};

typedef struct work_list {
    struct work_list *next;
    shoal_errands_t errands;
} work_list_t;

struct shoal_scribe {
    sim_t *sim;
    work_list_t *first;
    work_list_t *last;
    size_t list_count;
    shoal_errands_t stalled;
    uint64_t stalled_count;
    uint64_t durable_lsn;
    bool has_changed;
    bool is_planned;
    int fd;
    shoal_scribe_report_t **reports;
    size_t report_count;
};

static sim_t *world; // the functions of scribe.h have no place for it

sim_disk_t *
sim_disk_new(sim_t *sim)
{
    sim_disk_t *disk = shoal_alloc(sizeof(*disk));
    disk->random = (test_random_t){sim->seed ^ 0xd15c};
    world = sim;
    return disk;
}

void
sim_disk_destroy(sim_disk_t **disk)
{
    for (uint64_t i = 0; i < (*disk)->count; i++) {
        free((*disk)->batches[i].bytes);
    }
    free((*disk)->batches);
    free(*disk);
    *disk = NULL;
    world = NULL;
}

void
sim_disk_fill(sim_t *sim, uint64_t until_us)
{
    sim->disk->full_until_us = until_us;
}

void
sim_disk_slow(sim_t *sim, uint64_t until_us)
{
    sim->disk->slow_until_us = until_us;
}

// ---- errands in lists, as in scribe.c

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

// ---- batches

static bool
batch_write(shoal_scribe_t *scribe, shoal_errand_t *errand)
{
    sim_disk_t *disk = scribe->sim->disk;
    uint64_t bytes = errand->batch.payload.len + SHOAL_SPOOL_HEADER_BYTES;
    if (disk->full_until_us > scribe->sim->now_us) {
        return false;
    }
    if (disk->count == disk->size) {
        disk->size = disk->size ? disk->size * 2 : 256;
        disk->batches = shoal_realloc(disk->batches, disk->size * sizeof(*disk->batches));
    }
    written_t *batch = &disk->batches[disk->count];
    *batch = (written_t){errand->job, shoal_alloc(errand->batch.payload.len + 1),
                         (uint32_t)errand->batch.payload.len};
    if (batch->len > 0) {
        memcpy(batch->bytes, errand->batch.payload.ptr, batch->len);
    }
    errand->batch.place =
        (shoal_spool_place_t){(uint32_t)(disk->count >> OFFSET_BITS) + 1,
                              (uint32_t)(disk->count & ((1U << OFFSET_BITS) - 1)), batch->len};
    disk->count++;
    disk->bytes += bytes;
    return true;
}

static written_t *
batch_at(shoal_scribe_t *scribe, shoal_spool_place_t place, uint64_t job)
{
    sim_disk_t *disk = scribe->sim->disk;
    uint64_t number = (uint64_t)(place.segment - 1) << OFFSET_BITS | place.offset;
    if (place.segment == 0 || number >= disk->count || disk->batches[number].job != job ||
        disk->batches[number].len != place.length) {
        sim_violation(scribe->sim,
                      "the head asks the disk for a batch of job %llu that is not there",
                      (unsigned long long)job);
    }
    return &disk->batches[number];
}

static void
batch_remove(sim_disk_t *disk, written_t *batch)
{
    disk->bytes -= batch->len + SHOAL_SPOOL_HEADER_BYTES;
    free(batch->bytes);
    *batch = (written_t){0, NULL, 0};
}

// ---- what the thread does

static void
note_work(shoal_scribe_t *scribe, shoal_journal_note_t *note)
{
    if (note->kind == SHOAL_JOURNAL_NOTE_MARK) {
        scribe->durable_lsn = note->lsn;
    }
}

static void
errand_work(shoal_scribe_t *scribe, shoal_errand_t *errand, shoal_errands_t *done)
{
    sim_disk_t *disk = scribe->sim->disk;
    written_t *batch;
    switch (errand->kind) {
    case SHOAL_ERRAND_APPEND:
        if (scribe->stalled.first || !batch_write(scribe, errand)) {
            shoal_errands_add(&scribe->stalled, errand);
            scribe->has_changed = scribe->has_changed || scribe->stalled_count == 0;
            scribe->stalled_count++;
            return;
        }
        break;
    case SHOAL_ERRAND_READ:
        batch = batch_at(scribe, errand->batch.place, errand->job);
        if (zmq_msg_init_size(&errand->message, batch->len) != 0) {
            abort();
        }
        memcpy(zmq_msg_data(&errand->message), batch->bytes, batch->len);
        break;
    case SHOAL_ERRAND_RELEASE:
        batch_remove(disk, batch_at(scribe, errand->batch.place, errand->job));
        break;
    case SHOAL_ERRAND_FORGET:
        for (uint64_t i = 0; i < disk->count; i++) {
            if (disk->batches[i].job == errand->job) {
                batch_remove(disk, &disk->batches[i]);
            }
        }
        break;
    case SHOAL_ERRAND_NOTE: note_work(scribe, (shoal_journal_note_t *)errand); break;
    case SHOAL_ERRAND_LETTERS:
    default: sim_violation(scribe->sim, "an errand of kind %d", (int)errand->kind);
    }
    errand->is_done = true;
    shoal_errands_add(done, errand);
}

static void
report(shoal_scribe_t *scribe, shoal_errands_t *done)
{
    if (!done->first && !scribe->has_changed) {
        return;
    }
    shoal_scribe_report_t *message = shoal_alloc(sizeof(*message));
    message->errands = *done;
    message->spool_bytes = scribe->sim->disk->bytes;
    message->stalled = scribe->stalled_count;
    message->durable_lsn = scribe->durable_lsn;
    if (scribe->stalled_count > 0) {
        (void)shoal_fail(&message->trouble, SHOAL_LIMIT, "no space left on the simulated disk");
    }
    scribe->has_changed = false;
    scribe->reports = shoal_realloc(scribe->reports,
                                    (scribe->report_count + 1) * sizeof(shoal_scribe_report_t *));
    scribe->reports[scribe->report_count++] = message;
    uint64_t one = 1;
    (void)!write(scribe->fd, &one, sizeof(one));
    scribe->sim->is_signalled = true;
}

static void
stalled_retry(shoal_scribe_t *scribe, shoal_errands_t *done)
{
    if (!scribe->stalled.first) {
        return;
    }
    shoal_errands_t work = scribe->stalled;
    scribe->stalled = (shoal_errands_t){NULL, NULL};
    scribe->stalled_count = 0;
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&work)) != NULL;) {
        errand_work(scribe, errand, done);
    }
    scribe->has_changed = true;
}

static void
disk_plan(shoal_scribe_t *scribe)
{
    sim_t *sim = scribe->sim;
    if (!scribe->is_planned && (scribe->first || scribe->stalled.first)) {
        uint64_t delay_us = DELAY_LEAST + sim_below(&sim->disk->random, DELAY_MORE_US);
        if (sim->disk->slow_until_us > sim->now_us) {
            delay_us += sim_below(&sim->disk->random, SLOW_US);
        }
        scribe->is_planned = true;
        sim_plan(sim, scribe->first ? delay_us : SHOAL_SCRIBE_RETRY_MS * SIM_MS, SIM_EVENT_DISK,
                 NULL, 0, 0);
    }
}

void
sim_disk_handle(sim_t *sim)
{
    shoal_scribe_t *scribe = sim->disk->scribe;
    if (!scribe) {
        return;
    }
    scribe->is_planned = false;
    shoal_errands_t done = {NULL, NULL};
    work_list_t *list = scribe->first;
    if (list) {
        scribe->first = list->next;
        if (!scribe->first) {
            scribe->last = NULL;
        }
        scribe->list_count--;
        for (shoal_errand_t *errand; (errand = shoal_errands_take(&list->errands)) != NULL;) {
            errand_work(scribe, errand, &done);
        }
        free(list);
    }
    stalled_retry(scribe, &done);
    report(scribe, &done);
    disk_plan(scribe);
}

// ---- head/scribe.h

bool
shoal_scribe_start(const shoal_scribe_config_t *config, shoal_scribe_t **ret_scribe,
                   shoal_status_t *status)
{
    (void)config;
    (void)status;
    shoal_scribe_t *scribe = shoal_alloc(sizeof(*scribe));
    scribe->sim = world;
    scribe->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    world->disk->scribe = scribe;
    *ret_scribe = scribe;
    return true;
}

static void
drop_all(shoal_errands_t *errands, shoal_errand_drop_fn *drop, void *ctx)
{
    for (shoal_errand_t *errand; (errand = shoal_errands_take(errands)) != NULL;) {
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
    while (it->first) {
        work_list_t *list = it->first;
        it->first = list->next;
        drop_all(&list->errands, drop, ctx);
        free(list);
    }
    drop_all(&it->stalled, drop, ctx);
    for (size_t i = 0; i < it->report_count; i++) {
        drop_all(&it->reports[i]->errands, drop, ctx);
        free(it->reports[i]);
    }
    free(it->reports);
    (void)close(it->fd);
    it->sim->disk->scribe = NULL;
    free(it);
    *scribe = NULL;
}

bool
shoal_scribe_send(shoal_scribe_t *scribe, shoal_errands_t *errands)
{
    if (scribe->list_count >= LISTS_MAX) {
        return false;
    }
    work_list_t *list = shoal_alloc(sizeof(*list));
    list->errands = *errands;
    *(scribe->last ? &scribe->last->next : &scribe->first) = list;
    scribe->last = list;
    scribe->list_count++;
    *errands = (shoal_errands_t){NULL, NULL};
    disk_plan(scribe);
    return true;
}

shoal_spool_t *
shoal_scribe_spool(shoal_scribe_t *scribe)
{
    (void)scribe;
    return NULL; // shoal_spool_walk() is ours, too
}

int
shoal_scribe_fd(const shoal_scribe_t *scribe)
{
    return scribe->fd;
}

shoal_scribe_report_t *
shoal_scribe_take(shoal_scribe_t *scribe)
{
    if (scribe->report_count == 0) {
        uint64_t count;
        (void)!read(scribe->fd, &count, sizeof(count));
        return NULL;
    }
    shoal_scribe_report_t *first = scribe->reports[0];
    scribe->report_count--;
    memmove(scribe->reports, scribe->reports + 1,
            scribe->report_count * sizeof(shoal_scribe_report_t *));
    return first;
}
