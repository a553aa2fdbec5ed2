// SPDX-License-Identifier: Apache-2.0
//
// output.c - see output.h.

#include "client/output.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/buffer.h"

#define JOB_ID_MAX      64
#define STATE_BYTES_MAX 256
#define WRITEBACK_BYTES (4U << 20) // the kernel is asked to write behind, so that sync is short

struct shoal_output {
    char *path;
    char *part;
    char *state;
    char job_id[JOB_ID_MAX + 1];
    int fd;
    bool is_stream; // standard output or a device: no part, cannot be cut back
    bool is_finished;
    bool has_lost_reader;   // of standard output
    uint64_t commit;        // the last whole commit in the part
    uint64_t length;        // bytes up to its end
    uint64_t written;       // bytes, those of the commit that is not whole included
    uint64_t index;         // next piece of the commit that is not whole
    uint64_t safe_commit;   // as the state file says
    uint64_t behind;        // bytes that the kernel was asked to write behind
    shoal_buffer_t waiting; // stream: what it has not taken yet, from `waiting_at` on
    size_t waiting_at;
};

// "DIRECTORY/" of a path as C string in `directory`; "." without a slash.
static void
directory_of(const char *path, char directory[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    if (!slash) {
        (void)snprintf(directory, PATH_MAX, ".");
    } else if (slash == path) {
        (void)snprintf(directory, PATH_MAX, "/");
    } else {
        (void)snprintf(directory, PATH_MAX, "%.*s", (int)(slash - path), path);
    }
}

bool
shoal_output_path_is_stream(const char *path)
{
    struct stat info;
    return strcmp(path, "-") == 0 ||
           (stat(path, &info) == 0 && (S_ISCHR(info.st_mode) || S_ISFIFO(info.st_mode)));
}

static bool
check_stream(const char *path, shoal_status_t *status)
{
    return strcmp(path, "-") == 0 || eaccess(path, W_OK) == 0 ||
           shoal_fail_errno(status, errno, "cannot write \"%s\"", path);
}

static bool
check_target(const char *path, shoal_status_t *status)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return errno == ENOENT || shoal_fail_errno(status, errno, "cannot write \"%s\"", path);
    }
    if (S_ISDIR(info.st_mode)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot write \"%s\": it is a directory; name a file in it", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot write \"%s\": it is not a file; use \"-\" for standard output",
                          path);
    }
    if (eaccess(path, W_OK) != 0) {
        return shoal_fail_errno(status, errno, "cannot write \"%s\"", path);
    }
    return true;
}

bool
shoal_output_check(const char *path, shoal_status_t *status)
{
    if (shoal_output_path_is_stream(path)) {
        return check_stream(path, status);
    }
    size_t len = strlen(path);
    if (len == 0 || path[len - 1] == '/' || len + sizeof(".part.state.new") > PATH_MAX) {
        return shoal_fail(status, SHOAL_INVALID, "cannot write \"%.64s\": %s", path,
                          len == 0               ? "the file's name is empty"
                          : path[len - 1] == '/' ? "it is a directory; name a file in it"
                                                 : "the file's name is too long");
    }
    char directory[PATH_MAX];
    directory_of(path, directory);
    struct stat info;
    if (stat(directory, &info) != 0) {
        int error = errno;
        return shoal_fail_errno(status, error, "cannot write \"%s\": its directory \"%s\"%s", path,
                                directory, error == ENOENT ? " is missing" : "");
    }
    if (!S_ISDIR(info.st_mode)) {
        return shoal_fail(status, SHOAL_INVALID, "cannot write \"%s\": \"%s\" is not a directory",
                          path, directory);
    }
    if (eaccess(directory, W_OK | X_OK) != 0) {
        return shoal_fail_errno(status, errno, "cannot write \"%s\": its directory \"%s\"", path,
                                directory);
    }
    return check_target(path, status);
}

// Reads digits and the text that has to follow them.
static bool
number_read(const char **at, const char *then, uint64_t *ret_number)
{
    char *end = NULL;
    errno = 0;
    *ret_number = strtoull(*at, &end, 10);
    if (**at < '0' || **at > '9' || errno != 0 || strncmp(end, then, strlen(then)) != 0) {
        return false;
    }
    *at = end + strlen(then);
    return true;
}

// Reads the state; true if it is one of this job, and its numbers are believable.
static bool
state_read(const shoal_output_t *output, uint64_t part_bytes, uint64_t *ret_commit,
           uint64_t *ret_length)
{
    int fd = open(output->state, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    char text[STATE_BYTES_MAX + 1];
    ssize_t got = read(fd, text, STATE_BYTES_MAX);
    (void)close(fd);
    if (got <= 0 || text[got - 1] != '\n') {
        return false;
    }
    text[got] = '\0';
    char expected[STATE_BYTES_MAX];
    int len = snprintf(expected, sizeof(expected), "job %s commit ", output->job_id);
    if (strncmp(text, expected, (size_t)len) != 0) {
        return false;
    }
    const char *at = text + len;
    return number_read(&at, " length ", ret_commit) && number_read(&at, "\n", ret_length) &&
           *at == '\0' && *ret_length <= part_bytes;
}

static bool
cut(shoal_output_t *output, uint64_t length, shoal_status_t *status)
{
    if (ftruncate(output->fd, (off_t)length) != 0 ||
        lseek(output->fd, (off_t)length, SEEK_SET) < 0) {
        return shoal_fail_errno(status, errno, "cannot cut \"%s\" back to %" PRIu64 " bytes",
                                output->part, length);
    }
    output->written = length;
    output->index = 0;
    output->behind = length;
    return true;
}

static bool
open_part(shoal_output_t *output, shoal_status_t *status)
{
    output->fd = open(output->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    struct stat info;
    if (output->fd < 0 || fstat(output->fd, &info) != 0) {
        return shoal_fail_errno(status, errno, "cannot write \"%s\"", output->part);
    }
    if (!S_ISREG(info.st_mode)) {
        return shoal_fail(status, SHOAL_INVALID, "cannot write \"%s\": it is not a regular file",
                          output->part);
    }
    // A run that ends just now may have given the part its name before we had the lock: then it is
    // no part any more, and must not be cut.
    struct stat named;
    if (flock(output->fd, LOCK_EX | LOCK_NB) != 0 || stat(output->part, &named) != 0 ||
        named.st_ino != info.st_ino || named.st_dev != info.st_dev) {
        return shoal_fail(status, SHOAL_EXISTS,
                          "cannot write \"%s\": another run is writing it; wait for its end or "
                          "choose another file",
                          output->path);
    }
    uint64_t commit = 0;
    uint64_t length = 0;
    if (state_read(output, (uint64_t)info.st_size, &commit, &length)) {
        output->commit = commit;
        output->length = length;
    } else {
        (void)unlink(output->state);
    }
    output->safe_commit = output->commit;
    return cut(output, output->length, status);
}

// Not to wait is a property that all who have inherited a pipe or terminal share, so it is opened
// once more for us alone. A file never makes anybody wait, and must keep its place.
static int
open_standard_output(void)
{
    struct stat info;
    int fd = -1;
    if (fstat(STDOUT_FILENO, &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode))) {
        fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    }
    return fd >= 0 ? fd : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
}

static bool
open_stream(shoal_output_t *output, shoal_status_t *status)
{
    if (strcmp(output->path, "-") == 0) {
        output->fd = open_standard_output();
    } else {
        // Else a pipe's reader is waited for, where no signal can end the wait.
        output->fd = open(output->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    }
    if (output->fd < 0 && errno == ENXIO) {
        return shoal_fail(status, SHOAL_UNAVAILABLE,
                          "cannot write to \"%s\": nobody reads this pipe; start its reader first",
                          output->path);
    }
    if (output->fd < 0) {
        return shoal_fail_errno(status, errno, "cannot write to \"%s\"", output->path);
    }
    return true;
}

static char *
path_with(const char *path, const char *suffix)
{
    size_t size = strlen(path) + strlen(suffix) + 1;
    char *joined = shoal_alloc(size);
    (void)snprintf(joined, size, "%s%s", path, suffix);
    return joined;
}

bool
shoal_output_open(const char *path, const char *job_id, shoal_output_t **ret_output,
                  shoal_status_t *status)
{
    if (!shoal_output_check(path, status)) {
        return false;
    }
    shoal_output_t *output = shoal_alloc(sizeof(*output));
    output->is_stream = shoal_output_path_is_stream(path);
    output->fd = -1;
    output->path = shoal_strdup(path);
    output->part = output->is_stream ? shoal_strdup("") : path_with(path, ".part");
    output->state = output->is_stream ? shoal_strdup("") : path_with(path, ".part.state");
    (void)snprintf(output->job_id, sizeof(output->job_id), "%s", job_id);
    if (!(output->is_stream ? open_stream(output, status) : open_part(output, status))) {
        if (output->fd >= 0) {
            (void)close(output->fd); // not ours: neither cut nor removed
            output->fd = -1;
        }
        shoal_output_destroy(&output);
        return false;
    }
    *ret_output = output;
    return true;
}

void
shoal_output_destroy(shoal_output_t **output)
{
    if (!output || !*output) {
        return;
    }
    shoal_output_t *it = *output;
    if (it->fd >= 0) {
        if (!it->is_stream && !it->is_finished && it->length == 0) { // nothing to go on from
            (void)unlink(it->part);
            (void)unlink(it->state);
        }
        (void)close(it->fd);
    }
    shoal_buffer_fini(&it->waiting);
    free(it->path);
    free(it->part);
    free(it->state);
    free(it);
    *output = NULL;
}

uint64_t
shoal_output_next(const shoal_output_t *output)
{
    return output->commit + 1;
}

// Writes all bytes; false with errno.
static bool
write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, bytes, len);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return false;
        }
        bytes += put;
        len -= (size_t)put;
    }
    return true;
}

// Room can be made on a disk; a limit of the process (EFBIG) stays.
static bool
is_no_room(int error)
{
    return error == ENOSPC || error == EDQUOT;
}

static shoal_output_took_t
write_failed(shoal_output_t *output, int error, shoal_status_t *status)
{
    if (output->is_stream) {
        output->has_lost_reader = error == EPIPE && strcmp(output->path, "-") == 0;
        (void)shoal_fail_errno(status, error, "cannot write to %s",
                               strcmp(output->path, "-") == 0 ? "standard output" : output->path);
        return SHOAL_OUTPUT_BROKEN;
    }
    shoal_status_t cut_status = SHOAL_STATUS_INIT;
    bool is_cut = cut(output, output->length, &cut_status);
    (void)shoal_fail_errno(status, error, "cannot write \"%s\"", output->part);
    return is_cut && is_no_room(error) ? SHOAL_OUTPUT_NO_ROOM : SHOAL_OUTPUT_BROKEN;
}

size_t
shoal_output_waiting(const shoal_output_t *output)
{
    return output->waiting.len - output->waiting_at;
}

bool
shoal_output_has_lost_reader(const shoal_output_t *output)
{
    return output->has_lost_reader;
}

int
shoal_output_fd(const shoal_output_t *output)
{
    return output->fd;
}

// Writes what the stream takes; false with errno.
static bool
drain(shoal_output_t *output)
{
    while (output->waiting_at < output->waiting.len) {
        ssize_t put = write(output->fd, output->waiting.ptr + output->waiting_at,
                            output->waiting.len - output->waiting_at);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return errno == EAGAIN;
        }
        output->waiting_at += (size_t)put;
    }
    shoal_buffer_clear(&output->waiting);
    output->waiting_at = 0;
    return true;
}

bool
shoal_output_drain(shoal_output_t *output, shoal_status_t *status)
{
    if (!drain(output)) {
        (void)write_failed(output, errno, status);
        return false;
    }
    return true;
}

// False with errno.
static bool
stream_put(shoal_output_t *output, shoal_slice_t bytes)
{
    size_t left = shoal_output_waiting(output);
    if (left + bytes.len > SHOAL_OUTPUT_WAITING_MAX) {
        errno = ENOBUFS; // the head sends more than it may
        return false;
    }
    if (output->waiting_at > left) { // moving is cheap then
        memmove(output->waiting.ptr, output->waiting.ptr + output->waiting_at, left);
        output->waiting.len = left;
        output->waiting_at = 0;
    }
    shoal_buffer_append_slice(&output->waiting, bytes);
    return drain(output);
}

shoal_output_took_t
shoal_output_write(shoal_output_t *output, uint64_t commit, uint64_t index, shoal_slice_t bytes,
                   bool is_last, shoal_status_t *status)
{
    if (commit != output->commit + 1 || index != output->index) {
        return SHOAL_OUTPUT_SKIPPED;
    }
    if (!(output->is_stream ? stream_put(output, bytes)
                            : write_all(output->fd, bytes.ptr, bytes.len))) {
        return write_failed(output, errno, status);
    }
    output->written += bytes.len;
    output->index++;
    if (is_last) {
        output->commit = commit;
        output->length = output->written;
        output->index = 0;
    }
    if (!output->is_stream && output->written >= output->behind + WRITEBACK_BYTES) {
        (void)sync_file_range(output->fd, (off_t)output->behind,
                              (off_t)(output->written - output->behind), SYNC_FILE_RANGE_WRITE);
        output->behind = output->written;
    }
    return SHOAL_OUTPUT_TAKEN;
}

bool
shoal_output_rewind(shoal_output_t *output, shoal_status_t *status)
{
    if (output->is_stream) {
        return true; // what has gone cannot be taken back, and is not written again
    }
    if (output->written == output->length) {
        output->index = 0;
        return true;
    }
    return cut(output, output->length, status);
}

bool
shoal_output_restart(shoal_output_t *output, const char *job_id, shoal_status_t *status)
{
    if (output->is_stream && output->written > 0) {
        return shoal_fail(status, SHOAL_UNSUPPORTED,
                          "cannot begin again from the start: %" PRIu64
                          " bytes have gone to standard output; write to a file instead (-o FILE)",
                          output->written);
    }
    (void)snprintf(output->job_id, sizeof(output->job_id), "%s", job_id);
    output->commit = 0;
    output->length = 0;
    output->safe_commit = 0;
    output->index = 0;
    output->written = 0;
    if (output->is_stream) {
        return true;
    }
    (void)unlink(output->state);
    return cut(output, 0, status);
}

// The state is written beside and renamed, so that a crash leaves the old one or the new one. Gives
// 0 or an errno value.
static int
state_write(const shoal_output_t *output)
{
    char text[STATE_BYTES_MAX];
    int len = snprintf(text, sizeof(text), "job %s commit %" PRIu64 " length %" PRIu64 "\n",
                       output->job_id, output->commit, output->length);
    char *fresh = path_with(output->state, ".new");
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    bool done = fd >= 0 && write_all(fd, text, (size_t)len) && fdatasync(fd) == 0 &&
                rename(fresh, output->state) == 0;
    int error = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!done) {
        (void)unlink(fresh);
    }
    free(fresh);
    return done ? 0 : error;
}

bool
shoal_output_sync(shoal_output_t *output, uint64_t *ret_commit, shoal_status_t *status)
{
    if (!output->is_stream && output->commit > output->safe_commit) {
        if (fdatasync(output->fd) != 0) {
            return shoal_fail_errno(status, errno, "cannot write \"%s\"", output->part);
        }
        int error = state_write(output);
        if (is_no_room(error)) { // the older state is still true
            *ret_commit = output->safe_commit;
            return true;
        }
        if (error != 0) {
            return shoal_fail_errno(status, error, "cannot write \"%s\"", output->state);
        }
    }
    output->safe_commit = output->commit;
    *ret_commit = output->commit;
    return true;
}

// Best effort: a rename is safe once its directory is.
static void
directory_sync(const char *path)
{
    char directory[PATH_MAX];
    directory_of(path, directory);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

bool
shoal_output_finish(shoal_output_t *output, shoal_status_t *status)
{
    assert(!output->is_finished);
    if (output->is_stream) {
        output->is_finished = shoal_output_waiting(output) == 0;
        return output->is_finished ||
               shoal_fail(status, SHOAL_IO, "%zu bytes have not been read from \"%s\"",
                          shoal_output_waiting(output), output->path);
    }
    if (!shoal_output_rewind(output, status)) {
        return false;
    }
    if (fsync(output->fd) != 0) {
        return shoal_fail_errno(status, errno, "cannot write \"%s\"", output->part);
    }
    if (rename(output->part, output->path) != 0) {
        return shoal_fail_errno(status, errno, "cannot rename \"%s\" to \"%s\"", output->part,
                                output->path);
    }
    (void)unlink(output->state);
    directory_sync(output->path);
    output->is_finished = true;
    return true;
}

const char *
shoal_output_path(const shoal_output_t *output)
{
    return output->path;
}

const char *
shoal_output_part(const shoal_output_t *output)
{
    return output->part;
}

bool
shoal_output_is_stream(const shoal_output_t *output)
{
    return output->is_stream;
}

uint64_t
shoal_output_length(const shoal_output_t *output)
{
    return output->length;
}
