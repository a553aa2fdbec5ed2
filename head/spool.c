// SPDX-License-Identifier: Apache-2.0
//
// spool.c - see spool.h: which job has which segments, and how much there is. segment.c does the
// reading and writing.

#include "head/spool.h"

#include <assert.h>
#include <stdlib.h>

#include "head/segment.h"
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

struct shoal_spool {
    shoal_folder_t folder;
    uint64_t segment_bytes;
    uint64_t limit_bytes;
    uint64_t bytes;
    size_t segment_count;
    spool_job_t *buckets[BUCKETS];
};

bool
shoal_spool_new(const shoal_spool_config_t *config, shoal_spool_t **ret_spool,
                shoal_status_t *status)
{
    assert(config && config->directory && ret_spool && status);
    assert(config->segment_bytes <= SEGMENT_BYTES_MAX);
    shoal_spool_t *spool = shoal_alloc(sizeof(*spool));
    if (!shoal_folder_open(config->directory, &spool->folder, status)) {
        free(spool);
        return false;
    }
    spool->segment_bytes =
        config->segment_bytes ? config->segment_bytes : SHOAL_SPOOL_SEGMENT_BYTES;
    spool->limit_bytes = config->limit_bytes;
    *ret_spool = spool;
    return true;
}

static void
remove_segment(shoal_spool_t *spool, spool_job_t *job, uint32_t number)
{
    shoal_segment_t **segment = &job->segments[number - 1];
    if (job->current == *segment) {
        job->current = NULL;
    }
    spool->bytes -= (*segment)->bytes - (*segment)->holes;
    spool->segment_count--;
    shoal_segment_remove(&spool->folder, segment);
}

static void
job_free(shoal_spool_t *spool, spool_job_t *job)
{
    for (uint32_t i = 0; i < job->count; i++) {
        if (job->segments[i]) {
            remove_segment(spool, job, i + 1);
        }
    }
    free(job->segments);
    free(job);
}

void
shoal_spool_destroy(shoal_spool_t **spool)
{
    if (!spool || !*spool) {
        return;
    }
    shoal_spool_t *it = *spool;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (it->buckets[i]) {
            spool_job_t *job = it->buckets[i];
            it->buckets[i] = job->next;
            job_free(it, job);
        }
    }
    shoal_folder_close(&it->folder);
    free(it);
    *spool = NULL;
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
    if (job->count == job->size) {
        job->size = job->size ? job->size * 2 : 4;
        job->segments = shoal_realloc(job->segments, job->size * sizeof(*job->segments));
    }
    job->segments[job->count++] = segment;
    job->current = segment;
    spool->segment_count++;
    return true;
}

// ---- batches

// How many of the batches go into the current segment with the next write; 0: the limit is reached.
static size_t
count_fitting(const shoal_spool_t *spool, const shoal_segment_t *segment,
              shoal_spool_batch_t *const *batches, size_t count)
{
    uint64_t bytes = 0;
    size_t fitting = 0;
    while (fitting < count && segment->bytes + bytes < spool->segment_bytes) {
        bytes += shoal_segment_room(batches[fitting]);
        if (spool->limit_bytes > 0 && spool->bytes + bytes > spool->limit_bytes) {
            break;
        }
        fitting++;
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
    if (fitting == 0) {
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                             "the spool in \"%s\" has reached its limit of %llu bytes",
                             spool->folder.directory, (unsigned long long)spool->limit_bytes);
    }
    uint32_t before = job->current->bytes;
    bool done =
        shoal_segment_write(&spool->folder, job->current, batches, fitting, ret_written, status);
    spool->bytes += job->current->bytes - before;
    return done;
}

bool
shoal_spool_append(shoal_spool_t *spool, uint64_t job, shoal_spool_batch_t *const *batches,
                   size_t count, size_t *ret_written, shoal_status_t *status)
{
    assert(spool && batches && count > 0 && count <= SHOAL_SPOOL_GROUP_MAX && ret_written);
    spool_job_t **owner = job_slot(spool, job);
    if (!*owner) {
        *owner = shoal_alloc(sizeof(**owner));
        (*owner)->job = job;
    }
    *ret_written = 0;
    while (*ret_written < count) {
        size_t now = 0;
        if (!append_some(spool, *owner, batches + *ret_written, count - *ret_written, &now,
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
        job_free(spool, owner);
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
