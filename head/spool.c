// SPDX-License-Identifier: Apache-2.0
//
// spool.c - see spool.h.
//
// A batch on the disk is a header of 64 bytes, numbers little endian, and the payload:
//
//   0 "SPL1"   4 length     8 job      16 call     24 seq
//  32 attempt 36 records   40 checksum of the payload
//  48 zero                 56 checksum of bytes 0 to 55
//
// A write that fails leaves the segment's length as it was (what it had begun is cut off), so the
// same batches are written to the same place when they are tried again.

#include "head/spool.h"

#include <assert.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "head/checksum.h"
#include "proto/base/alloc.h"

#define BUCKETS           256 // of the table of jobs
#define NAME_BYTES        64  // of a segment's file
#define SEGMENT_BYTES_MAX 1073741824U
#define SEGMENTS_MAX      1000000U // of a job

#define AT_LENGTH         4
#define AT_JOB            8
#define AT_CALL           16
#define AT_SEQ            24
#define AT_ATTEMPT        32
#define AT_RECORDS        36
#define AT_PAYLOAD_SUM    40
#define AT_HEADER_SUM     56

static const unsigned char magic[4] = {'S', 'P', 'L', '1'};

typedef struct segment segment_t;
struct segment {
    uint64_t job;
    uint32_t number;
    uint32_t bytes;   // whole batches in the file
    uint32_t holes;   // bytes of it that were given back to the disk
    uint32_t wanted;  // batches not released
    int fd;           // -1: not open
    segment_t *newer; // in the list of open ones
    segment_t *older;
};

typedef struct spool_job {
    uint64_t job;
    struct spool_job *next; // in its bucket
    segment_t **segments;   // by number - 1; NULL: removed
    uint32_t count;
    uint32_t size;
    segment_t *current; // takes the next batch, or NULL
} spool_job_t;

struct shoal_spool {
    char *directory;
    int directory_fd;
    uint64_t segment_bytes;
    uint64_t limit_bytes;
    uint64_t bytes;
    size_t segment_count;
    size_t open_count;
    segment_t *newest; // most recently used of the open ones
    segment_t *oldest;
    spool_job_t *buckets[BUCKETS];
};

// ---- files

static void
name_of(uint64_t job, uint32_t number, char name[NAME_BYTES])
{
    (void)snprintf(name, NAME_BYTES, "spool-%llu-%u.seg", (unsigned long long)job, number);
}

static bool
fail_disk(const shoal_spool_t *spool, const segment_t *segment, const char *verb, int error,
          shoal_status_t *status)
{
    char name[NAME_BYTES];
    name_of(segment->job, segment->number, name);
    (void)shoal_fail_errno(status, error, "could not %s \"%s/%s\"", verb, spool->directory, name);
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
        status->code = SHOAL_LIMIT;
    }
    status->error_class = SHOAL_TRANSIENT;
    return false;
}

static void
unlink_open(shoal_spool_t *spool, segment_t *segment)
{
    *(segment->newer ? &segment->newer->older : &spool->newest) = segment->older;
    *(segment->older ? &segment->older->newer : &spool->oldest) = segment->newer;
    segment->newer = NULL;
    segment->older = NULL;
}

static void
link_open(shoal_spool_t *spool, segment_t *segment)
{
    segment->newer = NULL;
    segment->older = spool->newest;
    *(spool->newest ? &spool->newest->newer : &spool->oldest) = segment;
    spool->newest = segment;
}

static void
segment_close(shoal_spool_t *spool, segment_t *segment)
{
    if (segment->fd >= 0) {
        unlink_open(spool, segment);
        (void)close(segment->fd);
        segment->fd = -1;
        spool->open_count--;
    }
}

// Makes segment->fd usable.
static bool
segment_open(shoal_spool_t *spool, segment_t *segment, bool is_new, shoal_status_t *status)
{
    if (segment->fd >= 0) {
        unlink_open(spool, segment);
        link_open(spool, segment);
        return true;
    }
    if (spool->open_count == SHOAL_SPOOL_OPEN_MAX) {
        segment_close(spool, spool->oldest);
    }
    char name[NAME_BYTES];
    name_of(segment->job, segment->number, name);
    int flags = O_RDWR | O_CLOEXEC | (is_new ? O_CREAT | O_EXCL : 0);
    segment->fd = openat(spool->directory_fd, name, flags, 0600);
    if (segment->fd < 0) {
        return fail_disk(spool, segment, "open", errno, status);
    }
    spool->open_count++;
    link_open(spool, segment);
    return true;
}

static void
segment_remove(shoal_spool_t *spool, spool_job_t *job, segment_t *segment)
{
    char name[NAME_BYTES];
    name_of(segment->job, segment->number, name);
    segment_close(spool, segment);
    (void)unlinkat(spool->directory_fd, name, 0); // if it stays, the next start removes it
    spool->bytes -= segment->bytes - segment->holes;
    spool->segment_count--;
    if (job->current == segment) {
        job->current = NULL;
    }
    job->segments[segment->number - 1] = NULL;
    free(segment);
}

static bool
is_segment_name(const char *name)
{
    unsigned long long job = 0;
    unsigned number = 0;
    int end = 0;
    return sscanf(name, "spool-%llu-%u.seg%n", &job, &number, &end) == 2 && end > 0 &&
           name[end] == '\0';
}

static bool
remove_old_segments(shoal_spool_t *spool, shoal_status_t *status)
{
    DIR *directory = opendir(spool->directory);
    if (!directory) {
        return shoal_fail_errno(status, errno, "could not read the directory \"%s\"",
                                spool->directory);
    }
    bool done = true;
    // readdir() is safe here: the stream is ours alone.
    for (struct dirent *entry; done && (entry = readdir(directory)) != NULL;) { // NOLINT
        if (is_segment_name(entry->d_name) &&
            unlinkat(spool->directory_fd, entry->d_name, 0) != 0) {
            done = shoal_fail_errno(status, errno, "could not remove the old segment \"%s/%s\"",
                                    spool->directory, entry->d_name);
        }
    }
    (void)closedir(directory);
    return done;
}

// ---- life

bool
shoal_spool_new(const shoal_spool_config_t *config, shoal_spool_t **ret_spool,
                shoal_status_t *status)
{
    assert(config && config->directory && ret_spool && status);
    assert(config->segment_bytes <= SEGMENT_BYTES_MAX);
    int fd = open(config->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "could not open the spool's directory \"%s\"",
                                config->directory);
    }
    shoal_spool_t *spool = shoal_alloc(sizeof(*spool));
    spool->directory = shoal_strdup(config->directory);
    spool->directory_fd = fd;
    spool->segment_bytes =
        config->segment_bytes ? config->segment_bytes : SHOAL_SPOOL_SEGMENT_BYTES;
    spool->limit_bytes = config->limit_bytes;
    if (!remove_old_segments(spool, status)) {
        shoal_spool_destroy(&spool);
        return false;
    }
    *ret_spool = spool;
    return true;
}

static void
job_free(shoal_spool_t *spool, spool_job_t *job)
{
    for (uint32_t i = 0; i < job->count; i++) {
        if (job->segments[i]) {
            segment_remove(spool, job, job->segments[i]);
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
    (void)close(it->directory_fd);
    free(it->directory);
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

static segment_t *
segment_find(shoal_spool_t *spool, uint64_t number, uint32_t segment, spool_job_t **ret_job)
{
    spool_job_t *job = *job_slot(spool, number);
    *ret_job = job;
    return job && segment >= 1 && segment <= job->count ? job->segments[segment - 1] : NULL;
}

// The job's segment that takes the next batch, made if need be.
static bool
current_segment(shoal_spool_t *spool, uint64_t number, spool_job_t **ret_job,
                shoal_status_t *status)
{
    spool_job_t **slot = job_slot(spool, number);
    if (!*slot) {
        *slot = shoal_alloc(sizeof(**slot));
        (*slot)->job = number;
    }
    spool_job_t *job = *slot;
    *ret_job = job;
    if (job->current && job->current->bytes < spool->segment_bytes) {
        return segment_open(spool, job->current, false, status);
    }
    if (job->count == SEGMENTS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "job %llu has %u segments already",
                          (unsigned long long)number, job->count);
    }
    segment_t *segment = shoal_alloc(sizeof(*segment));
    segment->job = number;
    segment->number = job->count + 1;
    segment->fd = -1;
    if (!segment_open(spool, segment, true, status)) {
        free(segment);
        return false;
    }
    if (job->count == job->size) {
        job->size = job->size ? job->size * 2 : 4;
        job->segments = shoal_realloc(job->segments, job->size * sizeof(segment_t *));
    }
    job->segments[job->count++] = segment;
    job->current = segment;
    spool->segment_count++;
    return true;
}

// ---- writing

static void
put_32(unsigned char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static void
put_64(unsigned char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

static void
header_encode(uint64_t job, const shoal_spool_batch_t *batch,
              unsigned char header[SHOAL_SPOOL_HEADER_BYTES])
{
    memset(header, 0, SHOAL_SPOOL_HEADER_BYTES);
    memcpy(header, magic, sizeof(magic));
    put_32(header + AT_LENGTH, (uint32_t)batch->payload.len);
    put_64(header + AT_JOB, job);
    put_64(header + AT_CALL, batch->call);
    put_64(header + AT_SEQ, batch->seq);
    put_32(header + AT_ATTEMPT, batch->attempt);
    put_32(header + AT_RECORDS, batch->records);
    put_64(header + AT_PAYLOAD_SUM, shoal_checksum(batch->payload.ptr, batch->payload.len));
    put_64(header + AT_HEADER_SUM, shoal_checksum(header, AT_HEADER_SUM));
}

static uint32_t
size_of(const shoal_spool_batch_t *batch)
{
    return SHOAL_SPOOL_HEADER_BYTES + (uint32_t)batch->payload.len;
}

// How many of the batches go into the current segment with the next write; 0: the limit is reached.
static size_t
count_fitting(const shoal_spool_t *spool, const segment_t *segment,
              shoal_spool_batch_t *const *batches, size_t count)
{
    uint64_t bytes = 0;
    size_t fitting = 0;
    while (fitting < count && segment->bytes + bytes < spool->segment_bytes) {
        bytes += size_of(batches[fitting]);
        if (spool->limit_bytes > 0 && spool->bytes + bytes > spool->limit_bytes) {
            break;
        }
        fitting++;
    }
    return fitting;
}

// One write of `count` batches; sets the places of those that are whole.
static bool
write_group(shoal_spool_t *spool, segment_t *segment, shoal_spool_batch_t *const *batches,
            size_t count, size_t *ret_written, shoal_status_t *status)
{
    unsigned char headers[SHOAL_SPOOL_GROUP_MAX][SHOAL_SPOOL_HEADER_BYTES];
    struct iovec parts[2 * SHOAL_SPOOL_GROUP_MAX];
    for (size_t i = 0; i < count; i++) {
        header_encode(segment->job, batches[i], headers[i]);
        parts[2 * i] = (struct iovec){headers[i], SHOAL_SPOOL_HEADER_BYTES};
        // The interface of writev() has no const; it only reads.
        union {
            const char *in;
            void *out;
        } bytes = {batches[i]->payload.ptr};
        parts[2 * i + 1] = (struct iovec){bytes.out, batches[i]->payload.len};
    }
    ssize_t done = 0;
    do {
        done = pwritev(segment->fd, parts, (int)(2 * count), (off_t)segment->bytes);
    } while (done < 0 && errno == EINTR);
    int error = errno;
    size_t written = 0;
    for (size_t left = done > 0 ? (size_t)done : 0;
         written < count && left >= size_of(batches[written]); written++) {
        shoal_spool_batch_t *batch = batches[written];
        batch->place =
            (shoal_spool_place_t){segment->number, segment->bytes, (uint32_t)batch->payload.len};
        left -= size_of(batch);
        segment->bytes += size_of(batch);
        segment->wanted++;
        spool->bytes += size_of(batch);
    }
    *ret_written = written;
    if (written == count) {
        return true;
    }
    int cut = ftruncate(segment->fd, (off_t)segment->bytes);
    (void)cut; // what is left behind the end is written over
    if (written > 0) {
        return true; // the rest is told why when it is tried
    }
    return fail_disk(spool, segment, "write to", done < 0 ? error : ENOSPC, status);
}

bool
shoal_spool_append(shoal_spool_t *spool, uint64_t job, shoal_spool_batch_t *const *batches,
                   size_t count, size_t *ret_written, shoal_status_t *status)
{
    assert(spool && batches && count > 0 && count <= SHOAL_SPOOL_GROUP_MAX && ret_written);
    size_t written = 0;
    bool done = true;
    while (done && written < count) {
        spool_job_t *owner = NULL;
        if (!current_segment(spool, job, &owner, status)) {
            done = false;
            break;
        }
        segment_t *segment = owner->current;
        size_t fitting = count_fitting(spool, segment, batches + written, count - written);
        if (fitting == 0) {
            done = shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                                 "the spool in \"%s\" has reached its limit of %llu bytes",
                                 spool->directory, (unsigned long long)spool->limit_bytes);
            break;
        }
        size_t now = 0;
        done = write_group(spool, segment, batches + written, fitting, &now, status);
        written += now;
    }
    *ret_written = written;
    return done;
}

// ---- reading

static uint32_t
get_32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static uint64_t
get_64(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

// What is wrong with the batch, or NULL.
static const char *
find_fault(uint64_t job, shoal_spool_place_t place, const unsigned char *header,
           const void *payload)
{
    if (memcmp(header, magic, sizeof(magic)) != 0) {
        return "no batch starts there";
    }
    if (get_64(header + AT_HEADER_SUM) != shoal_checksum(header, AT_HEADER_SUM)) {
        return "the header's checksum is wrong";
    }
    if (get_32(header + AT_LENGTH) != place.length || get_64(header + AT_JOB) != job) {
        return "another batch is there";
    }
    if (get_64(header + AT_PAYLOAD_SUM) != shoal_checksum(payload, place.length)) {
        return "the payload's checksum is wrong";
    }
    return NULL;
}

static bool
read_batch(const shoal_spool_t *spool, const segment_t *segment, shoal_spool_place_t place,
           zmq_msg_t *message, shoal_status_t *status)
{
    unsigned char header[SHOAL_SPOOL_HEADER_BYTES];
    struct iovec parts[2] = {{header, sizeof(header)}, {zmq_msg_data(message), place.length}};
    char name[NAME_BYTES];
    name_of(segment->job, segment->number, name);
    ssize_t got = 0;
    do {
        got = preadv(segment->fd, parts, 2, (off_t)place.offset);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return shoal_fail_errno(status, errno, "could not read \"%s/%s\" at %u", spool->directory,
                                name, place.offset);
    }
    const char *fault = (size_t)got == sizeof(header) + place.length
                            ? find_fault(segment->job, place, header, zmq_msg_data(message))
                            : "the file is too short";
    if (fault) {
        return shoal_fail_as(status, SHOAL_FATAL, SHOAL_IO,
                             "the spool is damaged: \"%s/%s\" at %u: %s", spool->directory, name,
                             place.offset, fault);
    }
    return true;
}

bool
shoal_spool_read(shoal_spool_t *spool, uint64_t job, shoal_spool_place_t place,
                 zmq_msg_t *ret_payload, shoal_status_t *status)
{
    assert(spool && ret_payload && status);
    spool_job_t *owner = NULL;
    segment_t *segment = segment_find(spool, job, place.segment, &owner);
    if (!segment) {
        return shoal_fail(status, SHOAL_NOT_FOUND, "the spool has no segment %u of job %llu",
                          place.segment, (unsigned long long)job);
    }
    if (!segment_open(spool, segment, false, status)) {
        return false;
    }
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, place.length) != 0) {
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                             "no memory for a batch of %u bytes", place.length);
    }
    if (!read_batch(spool, segment, place, &message, status)) {
        (void)zmq_msg_close(&message);
        return false;
    }
    *ret_payload = message;
    return true;
}

// Gives a payload's room back to the disk, where the file system can; its header stays, so that
// whoever walks through the file finds the next one.
static void
punch(shoal_spool_t *spool, segment_t *segment, shoal_spool_place_t place)
{
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    off_t at = (off_t)place.offset + SHOAL_SPOOL_HEADER_BYTES;
    if (place.length > 0 && segment_open(spool, segment, false, &ignored) &&
        fallocate(segment->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
                  (off_t)place.length) == 0) {
        segment->holes += place.length;
        spool->bytes -= place.length;
    }
}

void
shoal_spool_release(shoal_spool_t *spool, uint64_t job, shoal_spool_place_t place)
{
    spool_job_t *owner = NULL;
    segment_t *segment = segment_find(spool, job, place.segment, &owner);
    if (!segment || segment->wanted == 0) {
        return;
    }
    segment->wanted--;
    if (segment->wanted == 0) {
        segment_remove(spool, owner, segment);
    } else {
        punch(spool, segment, place);
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
