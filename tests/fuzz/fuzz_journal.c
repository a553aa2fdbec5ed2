// SPDX-License-Identifier: Apache-2.0
//
// fuzz_journal.c - any bytes as the database of a journal (head/store/journal.h): looked at, checked, read.

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "head/store/journal.h"
#include "head/store/lock.h"
#include "tests/fuzz/fuzz.h"

static bool
take_job(void *ctx, const shoal_journal_job_t *job, shoal_status_t *status)
{
    (void)status;
    size_t *sum = ctx;
    *sum += job->id.len + job->name.len + job->submit.len + job->end.len + job->outputs.len;
    return true;
}

static bool
take_entries(void *ctx, uint64_t job, shoal_slice_t entries, shoal_status_t *status)
{
    (void)job;
    (void)status;
    size_t *sum = ctx;
    for (size_t i = 0; i < entries.len; i++) {
        *sum += (unsigned char)entries.ptr[i];
    }
    return true;
}

static bool
take_letters(void *ctx, uint64_t job, const shoal_journal_letters_t *letters,
             shoal_status_t *status)
{
    (void)job;
    (void)status;
    size_t *sum = ctx;
    *sum += letters->count;
    return true;
}

static bool
take_segment(void *ctx, uint64_t job, uint32_t number, uint64_t bytes, shoal_status_t *status)
{
    (void)job;
    (void)status;
    size_t *sum = ctx;
    *sum += number + bytes;
    return true;
}

static void
look(shoal_journal_t *journal)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    size_t sum = 0;
    shoal_journal_reader_t reader = {&sum, take_job, take_entries, take_letters};
    if (!shoal_journal_check(journal, &status) || !shoal_journal_read(journal, &reader, &status) ||
        !shoal_journal_read_segments(journal, take_segment, &sum, &status)) {
        FUZZ_CHECK(status.code != SHOAL_OK && status.text[0]);
    }
    FUZZ_CHECK(strlen(shoal_journal_head_id(journal)) <= 32);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char directory[] = "/tmp/shoal-fuzz-XXXXXX";
    char path[128];
    FUZZ_CHECK(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/%s", directory, SHOAL_JOURNAL_NAME);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_journal_t *journal = NULL;
    if (shoal_journal_view(directory, &journal, &status)) {
        look(journal);
        shoal_journal_close(&journal);
    } else {
        FUZZ_CHECK(!journal && status.code != SHOAL_OK && status.text[0]);
    }
    FUZZ_CHECK(unlink(path) == 0 && rmdir(directory) == 0); // it left nothing else
    return 0;
}
