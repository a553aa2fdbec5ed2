// SPDX-License-Identifier: Apache-2.0
//
// private.c - see private.h.

#include "proto/base/private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define OTHERS 077U // what a group and everybody else may do

static bool
mode_check(const char *what, const char *path, const struct stat *about, const char *mode,
           shoal_status_t *status)
{
    if ((about->st_mode & OTHERS) != 0) {
        return shoal_fail(status, SHOAL_DENIED,
                          "the %s \"%s\" is open to others (mode %04o); if nobody has looked, "
                          "close it: chmod %s %s",
                          what, path, (unsigned)about->st_mode & 07777U, mode, path);
    }
    return true;
}

bool
shoal_private_folder(const char *path, shoal_status_t *status)
{
    struct stat about;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return shoal_fail_errno(status, errno, "cannot make the folder \"%s\"", path);
    }
    if (stat(path, &about) != 0) {
        return shoal_fail_errno(status, errno, "cannot look at the folder \"%s\"", path);
    }
    if (!S_ISDIR(about.st_mode)) {
        return shoal_fail(status, SHOAL_IO, "\"%s\" is no folder", path);
    }
    if (about.st_uid != geteuid()) {
        return shoal_fail(status, SHOAL_DENIED,
                          "the folder \"%s\" belongs to user %u, not to user %u, who runs this",
                          path, (unsigned)about.st_uid, (unsigned)geteuid());
    }
    return mode_check("folder", path, &about, "700", status);
}

static bool
file_check(const char *path, const struct stat *about, size_t max, shoal_status_t *status)
{
    if (!S_ISREG(about->st_mode)) {
        return shoal_fail(status, SHOAL_IO, "\"%s\" is no file", path);
    }
    if (about->st_uid != geteuid() && about->st_uid != 0) {
        return shoal_fail(status, SHOAL_DENIED,
                          "the file \"%s\" belongs to user %u, neither to user %u, who runs this, "
                          "nor to root",
                          path, (unsigned)about->st_uid, (unsigned)geteuid());
    }
    if (!mode_check("file", path, about, "600", status)) {
        return false;
    }
    if (about->st_size < 0 || (size_t)about->st_size > max) {
        return shoal_fail(status, SHOAL_LIMIT, "the file \"%s\" has %lld bytes, at most %zu can be",
                          path, (long long)about->st_size, max);
    }
    return true;
}

static bool
file_read(int fd, const char *path, size_t size, shoal_buffer_t *out, shoal_status_t *status)
{
    (void)shoal_buffer_reserve(out, size + 1); // at once: growing would leave copies behind
    for (size_t taken = 0; taken < size;) {
        ssize_t got = read(fd, out->ptr + out->len, size - taken);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return shoal_fail_errno(status, errno, "cannot read \"%s\"", path);
        }
        if (got == 0) {
            break; // it has become shorter meanwhile
        }
        out->len += (size_t)got;
        taken += (size_t)got;
    }
    return true;
}

bool
shoal_private_read(const char *path, size_t max, shoal_buffer_t *ret_bytes, shoal_status_t *status)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "cannot read \"%s\"", path);
    }
    bool done =
        fstat(fd, &about) == 0 || shoal_fail_errno(status, errno, "cannot look at \"%s\"", path);
    done = done && file_check(path, &about, max, status) &&
           file_read(fd, path, (size_t)about.st_size, ret_bytes, status);
    (void)close(fd);
    return done;
}

static bool
write_whole(int fd, shoal_slice_t bytes)
{
    for (size_t at = 0; at < bytes.len;) {
        ssize_t put = write(fd, bytes.ptr + at, bytes.len - at);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        at += put > 0 ? (size_t)put : 0;
    }
    return fsync(fd) == 0;
}

// A rename is on the disk once its folder is.
static bool
folder_sync(const char *path)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) {
        slash[slash == folder] = '\0'; // "/" stays
    }
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    errno = error;
    return done;
}

bool
shoal_private_write(const char *path, shoal_slice_t bytes, shoal_status_t *status)
{
    char draft[PATH_MAX];
    int len = snprintf(draft, sizeof(draft), "%s.new", path);
    if (len < 0 || len >= PATH_MAX) {
        return shoal_fail(status, SHOAL_IO, "cannot write \"%.200s...\": its path is too long",
                          path);
    }
    (void)unlink(draft); // of a process that died here
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "cannot write \"%s\"", draft);
    }
    bool done = write_whole(fd, bytes);
    int error = errno;
    (void)close(fd);
    if (done && (rename(draft, path) != 0 || !folder_sync(path))) {
        done = false;
        error = errno;
    }
    if (!done) {
        (void)unlink(draft);
        return shoal_fail_errno(status, error, "cannot write \"%s\"", path);
    }
    return true;
}

void
shoal_private_wipe(shoal_buffer_t *bytes)
{
    if (bytes->ptr) {
        explicit_bzero(bytes->ptr, bytes->size);
    }
    shoal_buffer_fini(bytes);
}
