// SPDX-License-Identifier: Apache-2.0
//
// segment.c - see segment.h.
//
// A batch on the disk is a header of 64 bytes, numbers little endian, and the payload:
//
//   0 "SPL1"   4 length     8 job      16 call     24 seq
//  32 attempt 36 records   40 checksum of the payload
//  48 zero                 56 checksum of bytes 0 to 55
//
// The checksums are XXH3's of 64 bits, as the xxhash library has them: not for secrets.
//
// A write that fails leaves the segment's length as it was (what it had begun is cut off), so the
// same batches are written to the same place when they are tried again.

#include "head/store/segment.h"

#include <assert.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "proto/base/alloc.h"

#define NAME_BYTES     64    // of a segment's file
#define WALK_BYTES     16384 // read at once: many headers, where batches are small
#define AT_LENGTH      4
#define AT_JOB         8
#define AT_CALL        16
#define AT_SEQ         24
#define AT_ATTEMPT     32
#define AT_RECORDS     36
#define AT_PAYLOAD_SUM 40
#define AT_HEADER_SUM  56

static const unsigned char magic[4] = {'S', 'P', 'L', '1'};

// ---- files

static void
name_of(uint64_t job, uint32_t number, char name[NAME_BYTES])
{
    (void)snprintf(name, NAME_BYTES, "spool-%llu-%u.seg", (unsigned long long)job, number);
}

static bool
fail_disk(const shoal_folder_t *folder, const shoal_segment_t *segment, const char *verb, int error,
          shoal_status_t *status)
{
    char name[NAME_BYTES];
    name_of(segment->job, segment->number, name);
    (void)shoal_fail_errno(status, error, "could not %s \"%s/%s\"", verb, folder->directory, name);
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
        status->code = SHOAL_LIMIT;
    }
    status->error_class = SHOAL_TRANSIENT;
    return false;
}

static void
unlink_open(shoal_folder_t *folder, shoal_segment_t *segment)
{
    *(segment->newer ? &segment->newer->older : &folder->newest) = segment->older;
    *(segment->older ? &segment->older->newer : &folder->oldest) = segment->newer;
    segment->newer = NULL;
    segment->older = NULL;
}

static void
link_open(shoal_folder_t *folder, shoal_segment_t *segment)
{
    segment->newer = NULL;
    segment->older = folder->newest;
    *(folder->newest ? &folder->newest->newer : &folder->oldest) = segment;
    folder->newest = segment;
}

static void
segment_close(shoal_folder_t *folder, shoal_segment_t *segment)
{
    if (segment->fd >= 0) {
        unlink_open(folder, segment);
        (void)close(segment->fd);
        segment->fd = -1;
        folder->open_count--;
    }
}

// Makes segment->fd usable.
static bool
segment_open(shoal_folder_t *folder, shoal_segment_t *segment, bool is_new, shoal_status_t *status)
{
    if (segment->fd >= 0) {
        unlink_open(folder, segment);
        link_open(folder, segment);
        return true;
    }
    if (folder->open_count == SHOAL_SPOOL_OPEN_MAX) {
        segment_close(folder, folder->oldest);
    }
    char name[NAME_BYTES];
    name_of(segment->job, segment->number, name);
    int flags = O_RDWR | O_CLOEXEC | (is_new ? O_CREAT | O_EXCL : 0);
    segment->fd = openat(folder->directory_fd, name, flags, 0600);
    if (segment->fd < 0) {
        return fail_disk(folder, segment, "open", errno, status);
    }
    folder->open_count++;
    link_open(folder, segment);
    return true;
}

// Reads the digits at *at, which moves behind them; false: there are none, or too many.
static bool
read_number(const char **at, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *first = *at;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        number = number * 10 + (uint64_t)(**at - '0');
        if (number > max) {
            return false;
        }
    }
    *ret_number = number;
    return *at > first;
}

// spool-<job>-<number>.seg
static bool
read_name(const char *name, uint64_t *ret_job, uint32_t *ret_number)
{
    uint64_t number = 0;
    const char *at = name + 6;
    if (strncmp(name, "spool-", 6) != 0 || !read_number(&at, UINT64_MAX / 16, ret_job) ||
        *at++ != '-' || !read_number(&at, UINT32_MAX, &number) || strcmp(at, ".seg") != 0) {
        return false;
    }
    *ret_number = (uint32_t)number;
    return true;
}

bool
shoal_folder_each(shoal_folder_t *folder, shoal_folder_fn *fn, void *ctx, shoal_status_t *status)
{
    DIR *directory = opendir(folder->directory);
    if (!directory) {
        return shoal_fail_errno(status, errno, "could not read the directory \"%s\"",
                                folder->directory);
    }
    bool done = true;
    // readdir() is safe here: the stream is ours alone.
    for (struct dirent *entry; done && (entry = readdir(directory)) != NULL;) { // NOLINT
        uint64_t job = 0;
        uint32_t number = 0;
        struct stat about;
        if (!read_name(entry->d_name, &job, &number)) {
            continue;
        }
        if (fstatat(folder->directory_fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) != 0) {
            done = shoal_fail_errno(status, errno, "could not look at \"%s/%s\"", folder->directory,
                                    entry->d_name);
        } else {
            done = fn(ctx, job, number, (uint64_t)about.st_size, status);
        }
    }
    (void)closedir(directory);
    return done;
}

bool
shoal_folder_remove(shoal_folder_t *folder, uint64_t job, uint32_t number, shoal_status_t *status)
{
    char name[NAME_BYTES];
    name_of(job, number, name);
    return unlinkat(folder->directory_fd, name, 0) == 0 ||
           shoal_fail_errno(status, errno, "could not remove the old segment \"%s/%s\"",
                            folder->directory, name);
}

bool
shoal_folder_cut(shoal_folder_t *folder, uint64_t job, uint32_t number, uint64_t bytes,
                 shoal_status_t *status)
{
    char name[NAME_BYTES];
    name_of(job, number, name);
    int fd = openat(folder->directory_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    bool done = fd >= 0 && ftruncate(fd, (off_t)bytes) == 0;
    if (!done) {
        (void)shoal_fail_errno(status, errno, "could not cut \"%s/%s\"", folder->directory, name);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return done;
}

bool
shoal_folder_sync(shoal_folder_t *folder, shoal_status_t *status)
{
    if (folder->has_new && fsync(folder->directory_fd) != 0) {
        return shoal_fail_errno(status, errno, "could not sync the directory \"%s\"",
                                folder->directory);
    }
    folder->has_new = false;
    return true;
}

bool
shoal_folder_open(const char *directory, shoal_folder_t *ret_folder, shoal_status_t *status)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "could not open the spool's directory \"%s\"",
                                directory);
    }
    *ret_folder = (shoal_folder_t){.directory = shoal_strdup(directory), .directory_fd = fd};
    return true;
}

void
shoal_folder_close(shoal_folder_t *folder)
{
    assert(folder->open_count == 0);
    (void)close(folder->directory_fd);
    free(folder->directory);
}

static shoal_segment_t *
segment_new(uint64_t job, uint32_t number)
{
    shoal_segment_t *segment = shoal_alloc(sizeof(*segment));
    segment->job = job;
    segment->number = number;
    segment->fd = -1;
    return segment;
}

bool
shoal_segment_new(shoal_folder_t *folder, uint64_t job, uint32_t number,
                  shoal_segment_t **ret_segment, shoal_status_t *status)
{
    shoal_segment_t *segment = segment_new(job, number);
    if (!segment_open(folder, segment, true, status)) {
        free(segment);
        return false;
    }
    folder->has_new = true;
    *ret_segment = segment;
    return true;
}

shoal_segment_t *
shoal_segment_found(uint64_t job, uint32_t number, uint32_t bytes)
{
    shoal_segment_t *segment = segment_new(job, number);
    segment->bytes = bytes;
    segment->recorded = bytes;
    return segment;
}

void
shoal_segment_remove(shoal_folder_t *folder, shoal_segment_t **segment)
{
    char name[NAME_BYTES];
    name_of((*segment)->job, (*segment)->number, name);
    segment_close(folder, *segment);
    (void)unlinkat(folder->directory_fd, name, 0); // if it stays, the next start removes it
    free(*segment);
    *segment = NULL;
}

void
shoal_segment_destroy(shoal_folder_t *folder, shoal_segment_t **segment)
{
    segment_close(folder, *segment);
    free(*segment);
    *segment = NULL;
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
    put_64(header + AT_PAYLOAD_SUM, XXH3_64bits(batch->payload.ptr, batch->payload.len));
    put_64(header + AT_HEADER_SUM, XXH3_64bits(header, AT_HEADER_SUM));
}

uint32_t
shoal_segment_room(const shoal_spool_batch_t *batch)
{
    return SHOAL_SPOOL_HEADER_BYTES + (uint32_t)batch->payload.len;
}

// Sets the places of the batches that `done` bytes hold whole, and returns how many they are.
static size_t
place_batches(shoal_segment_t *segment, shoal_spool_batch_t *const *batches, size_t count,
              size_t done)
{
    size_t whole = 0;
    for (; whole < count && done >= shoal_segment_room(batches[whole]); whole++) {
        shoal_spool_batch_t *batch = batches[whole];
        uint32_t bytes = shoal_segment_room(batch);
        batch->place =
            (shoal_spool_place_t){segment->number, segment->bytes, (uint32_t)batch->payload.len};
        done -= bytes;
        segment->bytes += bytes;
        segment->wanted++;
    }
    return whole;
}

bool
shoal_segment_write(shoal_folder_t *folder, shoal_segment_t *segment,
                    shoal_spool_batch_t *const *batches, size_t count, size_t *ret_written,
                    shoal_status_t *status)
{
    assert(count > 0 && count <= SHOAL_SPOOL_GROUP_MAX);
    *ret_written = 0;
    if (!segment_open(folder, segment, false, status)) {
        return false;
    }
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
    int error = done < 0 ? errno : ENOSPC;
    *ret_written = place_batches(segment, batches, count, done > 0 ? (size_t)done : 0);
    if (*ret_written == count) {
        return true;
    }
    int cut = ftruncate(segment->fd, (off_t)segment->bytes);
    (void)cut; // what is left behind the end is written over
    return *ret_written > 0 || fail_disk(folder, segment, "write to", error, status);
}

bool
shoal_segment_sync(shoal_folder_t *folder, shoal_segment_t *segment, bool *ret_is_lost,
                   shoal_status_t *status)
{
    if (!segment_open(folder, segment, false, status)) {
        return false;
    }
    *ret_is_lost = fdatasync(segment->fd) != 0;
    return !*ret_is_lost || fail_disk(folder, segment, "sync", errno, status);
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

// What is wrong with the header, or NULL.
static const char *
find_header_fault(uint64_t job, const unsigned char *header)
{
    if (memcmp(header, magic, sizeof(magic)) != 0) {
        return "no batch starts there";
    }
    if (get_64(header + AT_HEADER_SUM) != XXH3_64bits(header, AT_HEADER_SUM)) {
        return "the header's checksum is wrong";
    }
    return get_64(header + AT_JOB) != job ? "another job's batch is there" : NULL;
}

// What is wrong with the batch, or NULL.
static const char *
find_fault(uint64_t job, shoal_spool_place_t place, const unsigned char *header,
           const void *payload)
{
    const char *fault = find_header_fault(job, header);
    if (fault) {
        return fault;
    }
    if (get_32(header + AT_LENGTH) != place.length) {
        return "another batch is there";
    }
    if (get_64(header + AT_PAYLOAD_SUM) != XXH3_64bits(payload, place.length)) {
        return "the payload's checksum is wrong";
    }
    return NULL;
}

static bool
fail_damaged(const shoal_folder_t *folder, const shoal_segment_t *segment, uint32_t offset,
             const char *fault, shoal_status_t *status)
{
    char name[NAME_BYTES];
    name_of(segment->job, segment->number, name);
    return shoal_fail_as(status, SHOAL_FATAL, SHOAL_IO, "the spool is damaged: \"%s/%s\" at %u: %s",
                         folder->directory, name, offset, fault);
}

static bool
read_batch(const shoal_folder_t *folder, const shoal_segment_t *segment, shoal_spool_place_t place,
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
        return shoal_fail_errno(status, errno, "could not read \"%s/%s\" at %u", folder->directory,
                                name, place.offset);
    }
    const char *fault = (size_t)got == sizeof(header) + place.length
                            ? find_fault(segment->job, place, header, zmq_msg_data(message))
                            : "the file is too short";
    return !fault || fail_damaged(folder, segment, place.offset, fault, status);
}

bool
shoal_segment_read(shoal_folder_t *folder, shoal_segment_t *segment, shoal_spool_place_t place,
                   zmq_msg_t *ret_payload, shoal_status_t *status)
{
    if (!segment_open(folder, segment, false, status)) {
        return false;
    }
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, place.length) != 0) {
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                             "no memory for a batch of %u bytes", place.length);
    }
    if (!read_batch(folder, segment, place, &message, status)) {
        (void)zmq_msg_close(&message);
        return false;
    }
    *ret_payload = message;
    return true;
}

// Part of a file, to walk through its headers.
typedef struct window {
    unsigned char bytes[WALK_BYTES];
    uint64_t first; // offset in the file
    uint32_t len;
} window_t;

// The header at that offset, or NULL: the file ends before its end, or (see errno) cannot be read.
static const unsigned char *
window_header(window_t *window, const shoal_segment_t *segment, uint64_t offset)
{
    bool is_in =
        offset >= window->first && offset + SHOAL_SPOOL_HEADER_BYTES <= window->first + window->len;
    if (!is_in) {
        ssize_t got = 0;
        do {
            got = pread(segment->fd, window->bytes, WALK_BYTES, (off_t)offset);
        } while (got < 0 && errno == EINTR);
        window->first = offset;
        window->len = got > 0 ? (uint32_t)got : 0;
        if (got < SHOAL_SPOOL_HEADER_BYTES) {
            errno = got < 0 ? errno : 0;
            return NULL;
        }
    }
    return window->bytes + (offset - window->first);
}

static shoal_spool_batch_t
batch_of(const shoal_segment_t *segment, uint32_t offset, const unsigned char *header)
{
    return (shoal_spool_batch_t){
        .call = get_64(header + AT_CALL),
        .seq = get_64(header + AT_SEQ),
        .attempt = get_32(header + AT_ATTEMPT),
        .records = get_32(header + AT_RECORDS),
        .place = {segment->number, offset, get_32(header + AT_LENGTH)},
    };
}

bool
shoal_segment_walk(shoal_folder_t *folder, shoal_segment_t *segment, shoal_spool_walk_fn *fn,
                   void *ctx, shoal_status_t *status)
{
    if (!segment_open(folder, segment, false, status)) {
        return false;
    }
    window_t window = {.len = 0};
    segment->wanted = 0;
    for (uint64_t at = 0; at < segment->recorded;) {
        uint32_t offset = (uint32_t)at;
        const unsigned char *header = window_header(&window, segment, offset);
        if (!header && errno != 0) {
            return fail_disk(folder, segment, "read", errno, status);
        }
        const char *fault =
            header ? find_header_fault(segment->job, header) : "the file is too short";
        if (fault) {
            return fail_damaged(folder, segment, offset, fault, status);
        }
        shoal_spool_batch_t batch = batch_of(segment, offset, header);
        at += SHOAL_SPOOL_HEADER_BYTES + (uint64_t)batch.place.length;
        if (at > segment->recorded) {
            return fail_damaged(folder, segment, offset, "the batch goes beyond the file's end",
                                status);
        }
        segment->wanted++;
        if (!fn(ctx, &batch, status)) {
            return false;
        }
    }
    return true;
}

uint32_t
shoal_segment_punch(shoal_folder_t *folder, shoal_segment_t *segment, shoal_spool_place_t place)
{
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    off_t at = (off_t)place.offset + SHOAL_SPOOL_HEADER_BYTES;
    if (place.length == 0 || !segment_open(folder, segment, false, &ignored) ||
        fallocate(segment->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
                  (off_t)place.length) != 0) {
        return 0;
    }
    segment->holes += place.length;
    return place.length;
}
