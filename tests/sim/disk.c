// SPDX-License-Identifier: Apache-2.0
//
// disk.c - see disk.h and sim.h: head/store/scribe.h on a disk of memory that is slow, or full, or loses
// what was not committed, when it shall be.
//
// Design: lists are worked off one after the other, each after a delay: its appends are written and
// reported, its notes wait for the commit that follows after another delay, perhaps with those of
// the next lists. Batches are numbered; a place is a number cut in two.

#include "tests/sim/disk.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/base/alloc.h"

#define LISTS_MAX     4 // under way at once: fewer than the real one takes
#define DELAY_LEAST   100
#define DELAY_MORE_US 5000
#define SLOW_US       (200 * SIM_MS)

enum { STEP_LIST, STEP_COMMIT };

typedef struct work_list {
    struct work_list *next;
    shoal_errands_t errands;
} work_list_t;

struct shoal_scribe {
    sim_t *sim;
    work_list_t *first;
    work_list_t *last;
    size_t list_count;
    shoal_errands_t notes; // of the next commit
    shoal_errands_t stalled;
    uint64_t stalled_count;
    uint64_t durable_lsn;
    bool has_journal;
    bool has_changed;
    bool is_planned;
    bool is_commit_planned;
    int fd;
    shoal_scribe_report_t **reports;
    size_t report_count;
};

static sim_t *world; // the functions of scribe.h have no place for it

sim_t *
sim_disk_world(void)
{
    return world;
}

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
    sim_journal_end(*disk);
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

static bool
is_full(const sim_t *sim)
{
    return sim->disk->full_until_us > sim->now_us;
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

static void
batch_write(shoal_scribe_t *scribe, shoal_errand_t *errand)
{
    sim_disk_t *disk = scribe->sim->disk;
    const shoal_spool_batch_t *from = &errand->batch;
    if (disk->count == disk->size) {
        disk->size = disk->size ? disk->size * 2 : 256;
        disk->batches = shoal_realloc(disk->batches, disk->size * sizeof(*disk->batches));
    }
    sim_batch_t *batch = &disk->batches[disk->count];
    *batch = (sim_batch_t){.job = errand->job,
                           .call = from->call,
                           .seq = from->seq,
                           .attempt = from->attempt,
                           .records = from->records,
                           .bytes = shoal_alloc(from->payload.len + 1),
                           .len = (uint32_t)from->payload.len};
    if (batch->len > 0) {
        memcpy(batch->bytes, from->payload.ptr, batch->len);
    }
    errand->batch.place =
        (shoal_spool_place_t){(uint32_t)(disk->count >> SIM_OFFSET_BITS) + 1,
                              (uint32_t)(disk->count & ((1U << SIM_OFFSET_BITS) - 1)), batch->len};
    disk->count++;
    disk->bytes += batch->len + SHOAL_SPOOL_HEADER_BYTES;
}

static sim_batch_t *
batch_at(shoal_scribe_t *scribe, shoal_spool_place_t place, uint64_t job)
{
    sim_disk_t *disk = scribe->sim->disk;
    uint64_t number = (uint64_t)(place.segment - 1) << SIM_OFFSET_BITS | place.offset;
    if (place.segment == 0 || number >= disk->count || disk->batches[number].job != job ||
        disk->batches[number].len != place.length) {
        sim_violation(scribe->sim,
                      "the head asks the disk for a batch of job %llu that is not there",
                      (unsigned long long)job);
    }
    return &disk->batches[number];
}

static void
batch_remove(sim_disk_t *disk, sim_batch_t *batch)
{
    disk->bytes -= batch->len + SHOAL_SPOOL_HEADER_BYTES;
    free(batch->bytes);
    *batch = (sim_batch_t){.job = 0};
}

// ---- what the thread does

static void
stall(shoal_scribe_t *scribe, shoal_errand_t *errand)
{
    shoal_errands_add(&scribe->stalled, errand);
    scribe->has_changed = scribe->has_changed || scribe->stalled_count == 0;
    scribe->stalled_count++;
}

static void
batch_read(shoal_scribe_t *scribe, shoal_errand_t *errand)
{
    const sim_batch_t *batch = batch_at(scribe, errand->batch.place, errand->job);
    if (zmq_msg_init_size(&errand->message, batch->len) != 0) {
        abort();
    }
    memcpy(zmq_msg_data(&errand->message), batch->bytes, batch->len);
}

static void
job_remove(sim_disk_t *disk, uint64_t job)
{
    for (uint64_t i = 0; i < disk->count; i++) {
        if (disk->batches[i].job == job) {
            batch_remove(disk, &disk->batches[i]);
            disk->batches[i].forgotten = job;
        }
    }
}

// One that was on its way when its job was forgotten may be released after that.
static void
batch_release(shoal_scribe_t *scribe, const shoal_errand_t *errand)
{
    sim_disk_t *disk = scribe->sim->disk;
    shoal_spool_place_t place = errand->batch.place;
    uint64_t number = (uint64_t)(place.segment - 1) << SIM_OFFSET_BITS | place.offset;
    if (number >= disk->count || disk->batches[number].forgotten != errand->job) {
        batch_remove(disk, batch_at(scribe, place, errand->job));
    }
}

// A job that is forgotten makes room: that goes ahead of what waits, and takes what is its own along.
static void
forget_ahead(shoal_scribe_t *scribe, shoal_errand_t *errand, shoal_errands_t *done)
{
    shoal_errands_t all = scribe->stalled;
    scribe->stalled = (shoal_errands_t){NULL, NULL};
    scribe->stalled_count = 0;
    for (shoal_errand_t *other; (other = shoal_errands_take(&all)) != NULL;) {
        if (other->job == errand->job) {
            shoal_errands_add(done, other); // not done, and nobody wants it any more
        } else {
            shoal_errands_add(&scribe->stalled, other);
            scribe->stalled_count++;
        }
    }
    scribe->has_changed = true;
    if (scribe->has_journal) {
        sim_journal_note(scribe->sim, (const shoal_journal_note_t *)errand);
    }
    job_remove(scribe->sim->disk, errand->job);
    errand->is_done = true;
    shoal_errands_add(done, errand);
}

static void
errand_work(shoal_scribe_t *scribe, shoal_errand_t *errand, shoal_errands_t *done)
{
    sim_disk_t *disk = scribe->sim->disk;
    switch (errand->kind) {
    case SHOAL_ERRAND_APPEND:
        if (scribe->stalled.first || is_full(scribe->sim)) {
            stall(scribe, errand);
            return;
        }
        batch_write(scribe, errand);
        break;
    case SHOAL_ERRAND_NOTE: // what comes after an append that waits, waits
        if (scribe->stalled.first &&
            ((const shoal_journal_note_t *)errand)->kind == SHOAL_JOURNAL_NOTE_JOB_FORGET) {
            forget_ahead(scribe, errand, done);
        } else if (scribe->stalled.first) {
            stall(scribe, errand);
        } else {
            shoal_errands_add(&scribe->notes, errand);
        }
        return;
    case SHOAL_ERRAND_READ: batch_read(scribe, errand); break;
    case SHOAL_ERRAND_RELEASE: batch_release(scribe, errand); break;
    case SHOAL_ERRAND_FORGET: job_remove(disk, errand->job); break;
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

// Everything that was written up to now is durable, and the notes are.
static void
commit(shoal_scribe_t *scribe, shoal_errands_t *done)
{
    sim_disk_t *disk = scribe->sim->disk;
    for (uint64_t i = 0; i < disk->count; i++) {
        disk->batches[i].is_durable = true;
    }
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&scribe->notes)) != NULL;) {
        const shoal_journal_note_t *note = (const shoal_journal_note_t *)errand;
        if (scribe->has_journal) {
            sim_journal_note(scribe->sim, note);
        }
        if (note->kind == SHOAL_JOURNAL_NOTE_MARK) {
            scribe->durable_lsn = note->lsn;
        } else if (note->kind == SHOAL_JOURNAL_NOTE_JOB_FORGET) {
            job_remove(disk, errand->job);
        }
        errand->is_done = true;
        shoal_errands_add(done, errand);
    }
}

static uint64_t
delay(sim_t *sim)
{
    uint64_t delay_us = DELAY_LEAST + sim_below(&sim->disk->random, DELAY_MORE_US);
    if (sim->disk->slow_until_us > sim->now_us) {
        delay_us += sim_below(&sim->disk->random, SLOW_US);
    }
    return delay_us;
}

static void
disk_plan(shoal_scribe_t *scribe)
{
    sim_t *sim = scribe->sim;
    if (!scribe->is_planned && (scribe->first || scribe->stalled.first)) {
        scribe->is_planned = true;
        sim_plan(sim, scribe->first ? delay(sim) : SHOAL_SCRIBE_RETRY_MS * SIM_MS, SIM_EVENT_DISK,
                 scribe, STEP_LIST, sim->disk->life);
    }
    if (!scribe->is_commit_planned && scribe->notes.first) {
        scribe->is_commit_planned = true;
        sim_plan(sim, is_full(sim) ? SHOAL_SCRIBE_RETRY_MS * SIM_MS : delay(sim), SIM_EVENT_DISK,
                 scribe, STEP_COMMIT, sim->disk->life);
    }
}

static void
list_work(shoal_scribe_t *scribe, shoal_errands_t *done)
{
    work_list_t *list = scribe->first;
    if (!list) {
        return;
    }
    scribe->first = list->next;
    if (!scribe->first) {
        scribe->last = NULL;
    }
    scribe->list_count--;
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&list->errands)) != NULL;) {
        errand_work(scribe, errand, done);
    }
    free(list);
}

void
sim_disk_handle(sim_t *sim, unsigned step, uint64_t life)
{
    shoal_scribe_t *scribe = sim->disk->scribe;
    if (!scribe || sim->disk->is_dead || life != sim->disk->life) {
        return;
    }
    shoal_errands_t done = {NULL, NULL};
    if (step == STEP_LIST) {
        scribe->is_planned = false;
        stalled_retry(scribe, &done);
        list_work(scribe, &done);
    } else {
        scribe->is_commit_planned = false;
        if (!is_full(sim)) {
            commit(scribe, &done);
        }
    }
    report(scribe, &done);
    disk_plan(scribe);
}

// What was not committed was never written.
void
sim_disk_crash(sim_t *sim)
{
    sim_disk_t *disk = sim->disk;
    for (uint64_t i = 0; i < disk->count; i++) {
        if (disk->batches[i].job != 0 && !disk->batches[i].is_durable) {
            batch_remove(disk, &disk->batches[i]);
        }
    }
    disk->is_dead = true;
}

// ---- head/store/scribe.h

bool
shoal_scribe_start(const shoal_scribe_config_t *config, shoal_scribe_t **ret_scribe,
                   shoal_status_t *status)
{
    (void)status;
    shoal_scribe_t *scribe = shoal_alloc(sizeof(*scribe));
    scribe->sim = world;
    scribe->has_journal = config->spool.journal != NULL;
    scribe->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    world->disk->scribe = scribe;
    world->disk->is_dead = false;
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

// With a journal, what the thread has is worked off first, if there is room for it.
static void
work_off(shoal_scribe_t *scribe, shoal_errands_t *done)
{
    if (scribe->has_journal && !scribe->sim->disk->is_dead && !is_full(scribe->sim)) {
        stalled_retry(scribe, done);
        while (scribe->first) {
            list_work(scribe, done);
        }
        commit(scribe, done);
    }
}

void
shoal_scribe_stop(shoal_scribe_t **scribe, shoal_errand_drop_fn *drop, void *ctx)
{
    if (!scribe || !*scribe) {
        return;
    }
    shoal_scribe_t *it = *scribe;
    shoal_errands_t done = {NULL, NULL};
    work_off(it, &done);
    drop_all(&done, drop, ctx);
    while (it->first) {
        work_list_t *list = it->first;
        it->first = list->next;
        drop_all(&list->errands, drop, ctx);
        free(list);
    }
    drop_all(&it->stalled, drop, ctx);
    drop_all(&it->notes, drop, ctx);
    for (size_t i = 0; i < it->report_count; i++) {
        drop_all(&it->reports[i]->errands, drop, ctx);
        free(it->reports[i]);
    }
    sim_disk_crash(it->sim);
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
