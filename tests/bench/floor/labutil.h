// SPDX-License-Identifier: Apache-2.0
/* labutil.h - tiny helpers shared by the measuring programs. */
#ifndef LABUTIL_H
#define LABUTIL_H
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline double now_s (void)
{
    struct timespec t;
    clock_gettime (CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + t.tv_nsec * 1e-9;
}
static inline double tv_s (struct timeval t) { return (double) t.tv_sec + t.tv_usec * 1e-6; }
static inline double cpu_self (void)
{
    struct rusage r;
    getrusage (RUSAGE_SELF, &r);
    return tv_s (r.ru_utime) + tv_s (r.ru_stime);
}
static inline void die (const char *what)
{
    fprintf (stderr, "%s: %s\n", what, strerror (errno));
    exit (2);
}
/* Resident set, in KiB. */
static inline long rss_kib (void)
{
    long a = 0, b = 0;
    FILE *f = fopen ("/proc/self/statm", "r");
    if (f) { if (fscanf (f, "%ld %ld", &a, &b) != 2) b = 0; fclose (f); }
    return b * (sysconf (_SC_PAGESIZE) / 1024);
}
static inline int raise_nofile (void)
{
    struct rlimit r;
    getrlimit (RLIMIT_NOFILE, &r);
    struct rlimit want = { 200000, 200000 };
    if (setrlimit (RLIMIT_NOFILE, &want) != 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit (RLIMIT_NOFILE, &r);
    }
    getrlimit (RLIMIT_NOFILE, &r);
    return (int) r.rlim_cur;
}
static inline int cmp_d (const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return x < y ? -1 : x > y;
}
#endif
