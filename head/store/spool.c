// SPDX-License-Identifier: Apache-2.0
//
// spool.c - see spool.h: which job has which segments, and how much there is. segment.c does the
// reading and writing.

#include "head/store/spool.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "head/store/lock.h"
#include "head/store/segment.h"
#include "proto/base/alloc.h"

#define BUCKETS           256 // of the table of jobs
#define SEGMENT_BYTES_MAX 1073741824U
#define SEGMENTS_MAX      1000000U // of a job

typedef struct spool_job {
    uint64_t job;
    struct spool_job *next;     // in its bucket
    shoal_segment_t **segments; // by number - 1; NULL: removed
    uint32_t count;
    uint32_t size;
    shoal_segment_t *current; // takes the next batch, or NULL
} spool_job_t;

typedef struct gone {
    uint64_t job;
    uint32_t number;
} gone_t;

struct shoal_spool {
    shoal_folder_t folder;
    shoal_lock_t *lock;       // NULL: the journal has it
    shoal_journal_t *journal; // or NULL
    shoal_spool_tell_fn *tell;
    void *tell_ctx;
    bool is_view;
    uint64_t segment_bytes;
    uint64_t bytes;
    uint64_t unsynced;
    size_t segment_count;
    shoal_segment_t *first_dirty; // in no order
    gone_t *gone;                 // removed segments that the journal still has
    size_t gone_count;
    size_t gone_size;
    spool_job_t *buckets[BUCKETS];
};

// ---- what the journal does not know yet

static void
dirty_add(shoal_spool_t *spool, shoal_segment_t *segment)
{
    if (spool->journal && !segment->is_dirty) {
        segment->is_dirty = true;
        segment->prev_dirty = NULL;
        segment->next_dirty = spool->first_dirty;
        if (spool->first_dirty) {
            spool->first_dirty->prev_dirty = segment;
        }
        spool->first_dirty = segment;
    }
}

static void
dirty_remove(shoal_spool_t *spool, shoal_segment_t *segment)
{
    if (segment->is_dirty) {
        segment->is_dirty = false;
        *(segment->prev_dirty ? &segment->prev_dirty->next_dirty : &spool->first_dirty) =
            segment->next_dirty;
        if (segment->next_dirty) {
            segment->next_dirty->prev_dirty = segment->prev_dirty;
        }
    }
}

static void
gone_add(shoal_spool_t *spool, uint64_t job, uint32_t number)
{
    if (spool->gone_count == spool->gone_size) {
        spool->gone_size = spool->gone_size ? spool->gone_size * 2 : 16;
        spool->gone = shoal_realloc(spool->gone, spool->gone_size * sizeof(*spool->gone));
    }
    spool->gone[spool->gone_count++] = (gone_t){job, number};
}

// ---- segments

static void
remove_segment(shoal_spool_t *spool, spool_job_t *job, uint32_t number)
{
    shoal_segment_t **segment = &job->segments[number - 1];
    if (job->current == *segment) {
        job->current = NULL;
    }
    dirty_remove(spool, *segment);
    spool->bytes -= (*segment)->bytes - (*segment)->holes;
    spool->segment_count--;
    shoal_segment_remove(&spool->folder, segment);
}

static void
job_free(shoal_spool_t *spool, spool_job_t *job, bool is_removed)
{
    for (uint32_t i = 0; i < job->count; i++) {
        if (job->segments[i] && is_removed) {
            remove_segment(spool, job, i + 1);
        } else if (job->segments[i]) {
            shoal_segment_destroy(&spool->folder, &job->segments[i]);
        }
    }
    free(job->segments);
    free(job);
}

// ---- jobs

// Where the pointer to the job stands, or would stand.
static spool_job_t **
job_slot(shoal_spool_t *spool, uint64_t number)
{
    spool_job_t **slot = &spool->buckets[number % BUCKETS];
    while (*slot && (*slot)->job != number) {
        slot = &(*slot)->next;
    }
    return slot;
}

static shoal_segment_t *
segment_find(shoal_spool_t *spool, uint64_t number, uint32_t segment, spool_job_t **ret_job)
{
    spool_job_t *job = *job_slot(spool, number);
    *ret_job = job;
    return job && segment >= 1 && segment <= job->count ? job->segments[segment - 1] : NULL;
}

static spool_job_t *
job_make(shoal_spool_t *spool, uint64_t number)
{
    spool_job_t **slot = job_slot(spool, number);
    if (!*slot) {
        *slot = shoal_alloc(sizeof(**slot));
        (*slot)->job = number;
    }
    return *slot;
}

// Makes place for the job's segments up to `number`.
static void
job_grow(spool_job_t *job, uint32_t number)
{
    if (number > job->size) {
        uint32_t size = job->size ? job->size : 4;
        while (size < number) {
            size *= 2;
        }
        job->segments = shoal_realloc(job->segments, size * sizeof(*job->segments));
        job->size = size;
    }
    while (job->count < number) {
        job->segments[job->count++] = NULL;
    }
}

// Gives the job a segment that takes the next batch, if it has none.
static bool
settle_current(shoal_spool_t *spool, spool_job_t *job, shoal_status_t *status)
{
    if (job->current && job->current->bytes < spool->segment_bytes) {
        return true;
    }
    if (job->count == SEGMENTS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "job %llu has %u segments already",
                          (unsigned long long)job->job, job->count);
    }
    shoal_segment_t *segment = NULL;
    if (!shoal_segment_new(&spool->folder, job->job, job->count + 1, &segment, status)) {
        return false;
    }
    job_grow(job, segment->number);
    job->segments[segment->number - 1] = segment;
    job->current = segment;
    spool->segment_count++;
    return true;
}

// ---- opening and closing

typedef struct opening {
    shoal_spool_t *spool;
    bool is_mending; // the second time through the folder, after nothing was found to be wrong
} opening_t;

static void
tell(const shoal_spool_t *spool, uint64_t job, uint32_t number, const char *what, uint64_t bytes)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "spool-%llu-%u.seg: %s (%llu bytes)",
                   (unsigned long long)job, number, what, (unsigned long long)bytes);
    if (spool->tell) {
        spool->tell(spool->tell_ctx, text);
    }
}

// What the journal knows of; whether the file is there turns out later.
static bool
take_record(void *ctx, uint64_t number, uint32_t segment, uint64_t bytes, shoal_status_t *status)
{
    shoal_spool_t *spool = ctx;
    if (segment == 0 || segment > SEGMENTS_MAX || bytes > UINT32_MAX) {
        return shoal_fail_as(status, SHOAL_FATAL, SHOAL_IO,
                             "the journal in \"%s\" is damaged: segment %u of job %llu with %llu "
                             "bytes",
                             spool->folder.directory, segment, (unsigned long long)number,
                             (unsigned long long)bytes);
    }
    spool_job_t *job = job_make(spool, number);
    job_grow(job, segment);
    if (!job->segments[segment - 1]) {
        job->segments[segment - 1] = shoal_segment_found(number, segment, (uint32_t)bytes);
        spool->segment_count++;
        spool->bytes += bytes;
    }
    return true;
}

static bool
mend(shoal_spool_t *spool, shoal_segment_t *segment, uint64_t bytes, shoal_status_t *status)
{
    segment->is_dirty = true; // seen; see drop_missing()
    if (bytes == segment->recorded) {
        return true;
    }
    tell(spool, segment->job, segment->number,
         spool->is_view ? "a torn tail, which the next start cuts off" : "a torn tail was cut off",
         bytes - segment->recorded);
    return spool->is_view || shoal_folder_cut(&spool->folder, segment->job, segment->number,
                                              segment->recorded, status);
}

static bool
take_file(void *ctx, uint64_t number, uint32_t segment_number, uint64_t bytes,
          shoal_status_t *status)
{
    const opening_t *opening = ctx;
    shoal_spool_t *spool = opening->spool;
    spool_job_t *job = NULL;
    shoal_segment_t *segment = segment_find(spool, number, segment_number, &job);
    if (segment && bytes < segment->recorded) {
        return shoal_fail_as(status, SHOAL_FATAL, SHOAL_IO,
                             "the spool is damaged: \"%s/spool-%llu-%u.seg\" at %llu: the file "
                             "ends there, and the journal knows of %u bytes",
                             spool->folder.directory, (unsigned long long)number, segment_number,
                             (unsigned long long)bytes, segment->recorded);
    }
    if (!opening->is_mending) {
        return true;
    }
    if (segment) {
        return mend(spool, segment, bytes, status);
    }
    if (spool->journal) {
        tell(spool, number, segment_number,
             spool->is_view ? "nothing refers to it, the next start removes it"
                            : "nothing refers to it, removed",
             bytes);
    }
    return spool->is_view || shoal_folder_remove(&spool->folder, number, segment_number, status);
}

// A segment is removed first and its record later; a crash may have come between.
static void
drop_missing(shoal_spool_t *spool, spool_job_t *job)
{
    for (uint32_t i = 0; i < job->count; i++) {
        shoal_segment_t *segment = job->segments[i];
        if (segment && segment->is_dirty) {
            segment->is_dirty = false;
        } else if (segment) {
            spool->segment_count--;
            spool->bytes -= segment->bytes;
            gone_add(spool, job->job, segment->number);
            shoal_segment_destroy(&spool->folder, &job->segments[i]);
        }
    }
}

static bool
take_inventory(shoal_spool_t *spool, shoal_status_t *status)
{
    opening_t opening = {spool, false};
    if (spool->journal &&
        (!shoal_journal_read_segments(spool->journal, take_record, spool, status) ||
         !shoal_folder_each(&spool->folder, take_file, &opening, status))) {
        return false;
    }
    opening.is_mending = true;
    if (!shoal_folder_each(&spool->folder, take_file, &opening, status)) {
        return false;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        for (spool_job_t *job = spool->buckets[i]; job; job = job->next) {
            drop_missing(spool, job);
        }
    }
    return true;
}

// Without a journal the lock is ours to take, and files that a journal refers to stay.
static bool
settle_alone(shoal_spool_t *spool, const char *directory, shoal_status_t *status)
{
    if (shoal_journal_exists(directory)) {
        return shoal_fail(status, SHOAL_EXISTS,
                          "the state folder \"%s\" holds a journal: start the head with it, or use "
                          "another folder",
                          directory);
    }
    return shoal_lock_take(directory, &spool->lock, status);
}

static void
spool_free(shoal_spool_t *spool, bool is_removed)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (spool->buckets[i]) {
            spool_job_t *job = spool->buckets[i];
            spool->buckets[i] = job->next;
            job_free(spool, job, is_removed);
        }
    }
    shoal_folder_close(&spool->folder);
    shoal_lock_release(&spool->lock);
    free(spool->gone);
    free(spool);
}

bool
shoal_spool_open(const shoal_spool_config_t *config, shoal_spool_t **ret_spool,
                 shoal_status_t *status)
{
    assert(config && config->directory && ret_spool && status);
    assert(config->segment_bytes <= SEGMENT_BYTES_MAX);
    shoal_spool_t *spool = shoal_alloc(sizeof(*spool));
    if (!shoal_folder_open(config->directory, &spool->folder, status)) {
        free(spool);
        return false;
    }
    spool->journal = config->journal;
    spool->tell = config->tell;
    spool->tell_ctx = config->tell_ctx;
    spool->is_view = config->is_view;
    spool->segment_bytes =
        config->segment_bytes ? config->segment_bytes : SHOAL_SPOOL_SEGMENT_BYTES;
    if ((!spool->journal && !settle_alone(spool, config->directory, status)) ||
        !take_inventory(spool, status)) {
        spool_free(spool, /*is_removed=*/false);
        return false;
    }
    *ret_spool = spool;
    return true;
}

void
shoal_spool_close(shoal_spool_t **spool)
{
    if (spool && *spool) {
        spool_free(*spool, /*is_removed=*/!(*spool)->journal);
        *spool = NULL;
    }
}

bool
shoal_spool_walk(shoal_spool_t *spool, uint64_t number, shoal_spool_walk_fn *fn, void *ctx,
                 shoal_status_t *status)
{
    spool_job_t *job = *job_slot(spool, number);
    for (uint32_t i = 0; job && i < job->count; i++) {
        if (job->segments[i] &&
            !shoal_segment_walk(&spool->folder, job->segments[i], fn, ctx, status)) {
            return false;
        }
    }
    return true;
}

// ---- batches

// How many of the batches go into the current segment with the next write.
static size_t
count_fitting(const shoal_spool_t *spool, const shoal_segment_t *segment,
              shoal_spool_batch_t *const *batches, size_t count)
{
    uint64_t bytes = 0;
    size_t fitting = 0;
    while (fitting < count && segment->bytes + bytes < spool->segment_bytes) {
        bytes += shoal_segment_room(batches[fitting++]);
    }
    return fitting;
}

// Writes those that fit into the job's current segment; fails only if none does.
static bool
append_some(shoal_spool_t *spool, spool_job_t *job, shoal_spool_batch_t *const *batches,
            size_t count, size_t *ret_written, shoal_status_t *status)
{
    *ret_written = 0;
    if (!settle_current(spool, job, status)) {
        return false;
    }
    size_t fitting = count_fitting(spool, job->current, batches, count);
    uint32_t before = job->current->bytes;
    bool done =
        shoal_segment_write(&spool->folder, job->current, batches, fitting, ret_written, status);
    spool->bytes += job->current->bytes - before;
    spool->unsynced += job->current->bytes - before;
    dirty_add(spool, job->current);
    return done;
}

bool
shoal_spool_append(shoal_spool_t *spool, uint64_t job, shoal_spool_batch_t *const *batches,
                   size_t count, size_t *ret_written, shoal_status_t *status)
{
    assert(spool && batches && count > 0 && count <= SHOAL_SPOOL_GROUP_MAX && ret_written);
    spool_job_t *owner = job_make(spool, job);
    *ret_written = 0;
    while (*ret_written < count) {
        size_t now = 0;
        if (!append_some(spool, owner, batches + *ret_written, count - *ret_written, &now,
                         status)) {
            return false;
        }
        *ret_written += now;
    }
    return true;
}

bool
shoal_spool_read(shoal_spool_t *spool, uint64_t job, shoal_spool_place_t place,
                 zmq_msg_t *ret_payload, shoal_status_t *status)
{
    assert(spool && ret_payload && status);
    spool_job_t *owner = NULL;
    shoal_segment_t *segment = segment_find(spool, job, place.segment, &owner);
    if (!segment) {
        return shoal_fail(status, SHOAL_NOT_FOUND, "the spool has no segment %u of job %llu",
                          place.segment, (unsigned long long)job);
    }
    return shoal_segment_read(&spool->folder, segment, place, ret_payload, status);
}

void
shoal_spool_release(shoal_spool_t *spool, uint64_t job, shoal_spool_place_t place)
{
    spool_job_t *owner = NULL;
    shoal_segment_t *segment = segment_find(spool, job, place.segment, &owner);
    if (!segment || segment->wanted == 0) {
        return;
    }
    segment->wanted--;
    if (segment->wanted == 0) {
        if (segment->recorded > 0) {
            gone_add(spool, job, segment->number);
        }
        remove_segment(spool, owner, segment->number);
    } else {
        spool->bytes -= shoal_segment_punch(&spool->folder, segment, place);
    }
}

void
shoal_spool_forget(shoal_spool_t *spool, uint64_t job)
{
    spool_job_t **slot = job_slot(spool, job);
    spool_job_t *owner = *slot;
    if (owner) {
        *slot = owner->next;
        job_free(spool, owner, /*is_removed=*/true);
    }
}

uint64_t
shoal_spool_bytes(const shoal_spool_t *spool)
{
    return spool->bytes;
}

size_t
shoal_spool_segment_count(const shoal_spool_t *spool)
{
    return spool->segment_count;
}

// ---- with a journal

bool
shoal_spool_sync(shoal_spool_t *spool, bool *ret_is_lost, shoal_status_t *status)
{
    *ret_is_lost = false;
    for (shoal_segment_t *it = spool->first_dirty; it; it = it->next_dirty) {
        if (!shoal_segment_sync(&spool->folder, it, ret_is_lost, status)) {
            return false;
        }
    }
    spool->unsynced = 0;
    *ret_is_lost = !shoal_folder_sync(&spool->folder, status);
    return !*ret_is_lost;
}

uint64_t
shoal_spool_unsynced(const shoal_spool_t *spool)
{
    return spool->journal ? spool->unsynced : 0;
}

bool
shoal_spool_record(shoal_spool_t *spool, shoal_status_t *status)
{
    for (const shoal_segment_t *it = spool->first_dirty; it; it = it->next_dirty) {
        if (!shoal_journal_segment(spool->journal, it->job, it->number, it->bytes, status)) {
            return false;
        }
    }
    for (size_t i = 0; i < spool->gone_count; i++) {
        const gone_t *gone = &spool->gone[i];
        if (!shoal_journal_segment(spool->journal, gone->job, gone->number, 0, status)) {
            return false;
        }
    }
    return true;
}

void
shoal_spool_recorded(shoal_spool_t *spool)
{
    while (spool->first_dirty) {
        shoal_segment_t *segment = spool->first_dirty;
        segment->recorded = segment->bytes;
        dirty_remove(spool, segment);
    }
    spool->gone_count = 0;
}
