// SPDX-License-Identifier: Apache-2.0
//
// full_disk.h - a disk that a test can fill: write() to a regular file fails with ENOSPC once the
// file would be longer than full_disk_bytes. The test is linked with -Wl,--wrap=write and includes
// this in its one source.
//
// Threads: any.

#ifndef SHOAL_TESTS_SUPPORT_FULL_DISK_H
#define SHOAL_TESTS_SUPPORT_FULL_DISK_H

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_llong full_disk_bytes = INT64_MAX;

ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);

ssize_t
__wrap_write(int fd, const void *bytes, size_t len)
{
    struct stat info;
    long long most = atomic_load(&full_disk_bytes);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size + (off_t)len <= most) {
        return __real_write(fd, bytes, len);
    }
    if (info.st_size >= most) {
        errno = ENOSPC;
        return -1;
    }
    return __real_write(fd, bytes, (size_t)(most - info.st_size)); // what there is room for
}

#endif
