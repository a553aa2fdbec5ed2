// SPDX-License-Identifier: Apache-2.0
//
// bench_disk.c - what the disk itself gives: batches that are written and synced, and group commits
// of the journal.
//
//   bench_disk [-s SECONDS] [-d DIRECTORY] batches|commits
//
// Lines "what,size_of_a_group,units_per_s,ms_per_sync,bytes_per_s": `batches` appends 64 KiB at a
// time to a file, like the spool, and calls fdatasync() after 1, 8 and 64 of them; `commits` writes
// rows of one job's log with 1, 64 and 1,024 entries of 40 bytes each, a transaction a row.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "head/store/journal.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "tests/bench/bed.h"

#define BATCH_BYTES 65536
#define ENTRY_BYTES 40
#define FILE_BYTES  67108864 // then the next one, as the spool does
#define GROUP_MAX   1024

typedef struct bench {
    char directory[256];
    uint64_t for_us;
    char *bytes;
} bench_t;

static void
print_line(const char *what, unsigned group, uint64_t units, uint64_t syncs, uint64_t bytes,
           uint64_t took_us)
{
    double seconds = (double)took_us / 1e6;
    (void)printf("%s,%u,%.0f,%.3f,%.0f\n", what, group, (double)units / seconds,
                 seconds * 1e3 / (double)syncs, (double)bytes / seconds);
}

static int
file_open(const bench_t *bench, char path[300])
{
    (void)snprintf(path, 300, "%s/batches", bench->directory);
    (void)unlink(path);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        bed_die(path);
    }
    return fd;
}

static void
measure_batches(const bench_t *bench, unsigned group)
{
    char path[300];
    int fd = file_open(bench, path);
    uint64_t at = 0;
    uint64_t batches = 0;
    uint64_t syncs = 0;
    uint64_t start = shoal_clock_us();
    while (shoal_clock_us() - start < bench->for_us) {
        for (unsigned i = 0; i < group; i++) {
            if (pwrite(fd, bench->bytes, BATCH_BYTES, (off_t)at) != BATCH_BYTES) {
                bed_die("pwrite");
            }
            at += BATCH_BYTES;
        }
        if (fdatasync(fd) != 0) {
            bed_die("fdatasync");
        }
        batches += group;
        syncs++;
        if (at >= FILE_BYTES) {
            (void)close(fd);
            fd = file_open(bench, path);
            at = 0;
        }
    }
    uint64_t took = shoal_clock_us() - start;
    (void)close(fd);
    (void)unlink(path);
    print_line("batches", group, batches, syncs, batches * BATCH_BYTES, took);
}

static void
check(bool done, const shoal_status_t *status)
{
    if (!done) {
        errno = 0;
        bed_die(status->text);
    }
}

static void
measure_commits(const bench_t *bench, unsigned group)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_journal_t *journal = NULL;
    check(shoal_journal_open(bench->directory, &journal, &status), &status);
    shoal_slice_t row = {bench->bytes, (size_t)group * ENTRY_BYTES};
    uint64_t commits = 0;
    uint64_t start = shoal_clock_us();
    for (; shoal_clock_us() - start < bench->for_us; commits++) {
        check(shoal_journal_begin(journal, &status), &status);
        check(shoal_journal_entries(journal, 1, row, &status), &status);
        check(shoal_journal_commit(journal, &status), &status);
    }
    uint64_t took = shoal_clock_us() - start;
    shoal_journal_close(&journal);
    static const char *const names[] = {"journal.db", "journal.db-wal"};
    for (size_t i = 0; i < 2; i++) {
        char path[300];
        (void)snprintf(path, sizeof(path), "%s/%s", bench->directory, names[i]);
        (void)unlink(path);
    }
    print_line("commits", group, commits * group, commits, commits * row.len, took);
}

int
main(int argc, char **argv)
{
    bench_t bench = {.for_us = 1000000};
    const char *parent = "/tmp";
    for (int option; (option = getopt(argc, argv, "s:d:")) != -1;) { // NOLINT: one thread
        if (option == 's') {
            bench.for_us = (uint64_t)(strtod(optarg, NULL) * 1e6);
        } else if (option == 'd') {
            parent = optarg;
        } else {
            return 2;
        }
    }
    const char *what = optind < argc ? argv[optind] : "";
    bool is_batches = strcmp(what, "batches") == 0;
    if (!is_batches && strcmp(what, "commits") != 0) {
        (void)fputs("usage: bench_disk [-s SECONDS] [-d DIRECTORY] batches|commits\n", stderr);
        return 2;
    }
    (void)snprintf(bench.directory, sizeof(bench.directory), "%s/shoal-disk-XXXXXX", parent);
    if (!mkdtemp(bench.directory)) {
        bed_die(bench.directory);
    }
    bench.bytes = shoal_alloc(BATCH_BYTES);
    memset(bench.bytes, 'x', BATCH_BYTES);
    static const unsigned batches[] = {1, 8, 64};
    static const unsigned commits[] = {1, 64, GROUP_MAX};
    for (size_t i = 0; i < 3; i++) {
        if (is_batches) {
            measure_batches(&bench, batches[i]);
        } else {
            measure_commits(&bench, commits[i]);
        }
    }
    free(bench.bytes);
    (void)rmdir(bench.directory);
    return EXIT_SUCCESS;
}
