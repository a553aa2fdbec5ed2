// SPDX-License-Identifier: Apache-2.0
//
// lock.c - see lock.h.

#include "head/store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/alloc.h"

#define HOLDER_MAX 128 // bytes of the text in the file

struct shoal_lock {
    int directory_fd;
    int fd;
};

// Whether the open file is still the one with the lock's name: that of a removed one locks nothing.
static bool
is_named(const shoal_lock_t *lock)
{
    struct stat ours;
    struct stat named;
    return fstat(lock->fd, &ours) == 0 &&
           fstatat(lock->directory_fd, SHOAL_LOCK_NAME, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

static void
write_holder(const shoal_lock_t *lock)
{
    char host[HOLDER_MAX / 2] = "";
    (void)gethostname(host, sizeof(host) - 1);
    char text[HOLDER_MAX];
    int len = snprintf(text, sizeof(text), "process %ld on host %s\n", (long)getpid(), host);
    bool is_written = ftruncate(lock->fd, 0) == 0 && pwrite(lock->fd, text, (size_t)len, 0) == len;
    (void)is_written; // on a full disk the lock holds all the same; it only names nobody
}

static bool
fail_held(const shoal_lock_t *lock, const char *directory, shoal_status_t *status)
{
    char text[HOLDER_MAX] = "";
    ssize_t len = pread(lock->fd, text, sizeof(text) - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return shoal_fail(status, SHOAL_EXISTS,
                      "the state folder \"%s\" is used by another head (%s); stop that one, or use "
                      "another folder",
                      directory, text[0] ? text : "just starting or ending");
}

static bool
lock_file(shoal_lock_t *lock, const char *directory, shoal_status_t *status)
{
    lock->fd = openat(lock->directory_fd, SHOAL_LOCK_NAME,
                      O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock->fd < 0) {
        return shoal_fail_errno(status, errno, "could not make \"%s/%s\"", directory,
                                SHOAL_LOCK_NAME);
    }
    if (flock(lock->fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? fail_held(lock, directory, status)
                                    : shoal_fail_errno(status, errno, "could not lock \"%s/%s\"",
                                                       directory, SHOAL_LOCK_NAME);
    }
    return is_named(lock) || fail_held(lock, directory, status);
}

static void
lock_close(shoal_lock_t *lock)
{
    if (lock->fd >= 0) {
        (void)close(lock->fd);
    }
    if (lock->directory_fd >= 0) {
        (void)close(lock->directory_fd);
    }
    free(lock);
}

bool
shoal_lock_take(const char *directory, shoal_lock_t **ret_lock, shoal_status_t *status)
{
    shoal_lock_t *lock = shoal_alloc(sizeof(*lock));
    lock->fd = -1;
    lock->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done =
        lock->directory_fd >= 0 ||
        shoal_fail_errno(status, errno, "could not open the state folder \"%s\"", directory);
    done = done && lock_file(lock, directory, status);
    if (!done) {
        lock_close(lock);
        return false;
    }
    write_holder(lock);
    *ret_lock = lock;
    return true;
}

void
shoal_lock_release(shoal_lock_t **lock)
{
    if (!lock || !*lock) {
        return;
    }
    (void)unlinkat((*lock)->directory_fd, SHOAL_LOCK_NAME, 0);
    lock_close(*lock);
    *lock = NULL;
}
