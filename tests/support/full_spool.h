// SPDX-License-Identifier: Apache-2.0
//
// full_spool.h - a disk that a test can fill under the spool: pwritev() writes at most
// full_spool_room bytes more, all calls together, then fails with ENOSPC. The test is linked with
// -Wl,--wrap=pwritev and includes this in its one source.
//
// Threads: any.

#ifndef SHOAL_TESTS_SUPPORT_FULL_SPOOL_H
#define SHOAL_TESTS_SUPPORT_FULL_SPOOL_H

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/uio.h>

static atomic_llong full_spool_room = INT64_MAX;

ssize_t __real_pwritev(int fd, const struct iovec *parts, int count, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t at);

ssize_t
__wrap_pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    long long room = atomic_load(&full_spool_room);
    struct iovec fitting[2 * 64]; // SHOAL_SPOOL_GROUP_MAX batches
    int fitting_count = 0;
    for (; fitting_count < count && room > 0; fitting_count++) {
        fitting[fitting_count] = parts[fitting_count];
        if (fitting[fitting_count].iov_len > (size_t)room) {
            fitting[fitting_count].iov_len = (size_t)room;
        }
        room -= (long long)fitting[fitting_count].iov_len;
    }
    if (fitting_count == 0) {
        errno = ENOSPC;
        return -1;
    }
    ssize_t done = __real_pwritev(fd, fitting, fitting_count, at);
    atomic_fetch_sub(&full_spool_room, done > 0 ? done : 0);
    return done;
}

#endif
