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

#include "head/segment.h"

#include <assert.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "proto/base/alloc.h"

#define LOCK_NAME      "spool.lock"
#define NAME_BYTES     64 // of a segment's file
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

// *at moves behind the digits; false: there are none.
static bool
skip_digits(const char **at)
{
    size_t len = strspn(*at, "0123456789");
    *at += len;
    return len > 0;
}

// spool-<digits>-<digits>.seg
static bool
is_segment_name(const char *name)
{
    if (strncmp(name, "spool-", 6) != 0) {
        return false;
    }
    const char *at = name + 6;
    return skip_digits(&at) && *at++ == '-' && skip_digits(&at) && strcmp(at, ".seg") == 0;
}

static bool
remove_old_segments(shoal_folder_t *folder, shoal_status_t *status)
{
    DIR *directory = opendir(folder->directory);
    if (!directory) {
        return shoal_fail_errno(status, errno, "could not read the directory \"%s\"",
                                folder->directory);
    }
    bool done = true;
    // readdir() is safe here: the stream is ours alone.
    for (struct dirent *entry; done && (entry = readdir(directory)) != NULL;) { // NOLINT
        if (is_segment_name(entry->d_name) &&
            unlinkat(folder->directory_fd, entry->d_name, 0) != 0) {
            done = shoal_fail_errno(status, errno, "could not remove the old segment \"%s/%s\"",
                                    folder->directory, entry->d_name);
        }
    }
    (void)closedir(directory);
    return done;
}

// Two heads in one folder would remove each other's segments.
static bool
lock_folder(shoal_folder_t *folder, shoal_status_t *status)
{
    folder->lock_fd =
        openat(folder->directory_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (folder->lock_fd < 0) {
        return shoal_fail_errno(status, errno, "could not make \"%s/%s\"", folder->directory,
                                LOCK_NAME);
    }
    struct stat ours;
    struct stat named;
    // A head that ends removes the file: the lock of a removed file locks nothing.
    if (flock(folder->lock_fd, LOCK_EX | LOCK_NB) == 0 && fstat(folder->lock_fd, &ours) == 0 &&
        fstatat(folder->directory_fd, LOCK_NAME, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        ours.st_ino == named.st_ino) {
        return true;
    }
    (void)close(folder->lock_fd);
    folder->lock_fd = -1;
    return shoal_fail(status, SHOAL_EXISTS, "the state directory \"%s\" is used by another head",
                      folder->directory);
}

bool
shoal_folder_open(const char *directory, shoal_folder_t *ret_folder, shoal_status_t *status)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "could not open the spool's directory \"%s\"",
                                directory);
    }
    shoal_folder_t folder = {
        .directory = shoal_strdup(directory), .directory_fd = fd, .lock_fd = -1};
    if (!lock_folder(&folder, status) || !remove_old_segments(&folder, status)) {
        shoal_folder_close(&folder);
        return false;
    }
    *ret_folder = folder;
    return true;
}

void
shoal_folder_close(shoal_folder_t *folder)
{
    assert(folder->open_count == 0);
    if (folder->lock_fd >= 0) {
        (void)unlinkat(folder->directory_fd, LOCK_NAME, 0);
        (void)close(folder->lock_fd);
    }
    (void)close(folder->directory_fd);
    free(folder->directory);
}

bool
shoal_segment_new(shoal_folder_t *folder, uint64_t job, uint32_t number,
                  shoal_segment_t **ret_segment, shoal_status_t *status)
{
    shoal_segment_t *segment = shoal_alloc(sizeof(*segment));
    segment->job = job;
    segment->number = number;
    segment->fd = -1;
    if (!segment_open(folder, segment, true, status)) {
        free(segment);
        return false;
    }
    *ret_segment = segment;
    return true;
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
    if (get_64(header + AT_HEADER_SUM) != XXH3_64bits(header, AT_HEADER_SUM)) {
        return "the header's checksum is wrong";
    }
    if (get_32(header + AT_LENGTH) != place.length || get_64(header + AT_JOB) != job) {
        return "another batch is there";
    }
    if (get_64(header + AT_PAYLOAD_SUM) != XXH3_64bits(payload, place.length)) {
        return "the payload's checksum is wrong";
    }
    return NULL;
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
    if (fault) {
        return shoal_fail_as(status, SHOAL_FATAL, SHOAL_IO,
                             "the spool is damaged: \"%s/%s\" at %u: %s", folder->directory, name,
                             place.offset, fault);
    }
    return true;
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
