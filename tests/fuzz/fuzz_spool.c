// SPDX-License-Identifier: Apache-2.0
//
// fuzz_spool.c - any bytes as a segment that the journal knows of (head/store/segment.h). The first byte
// says how much of it is known: a tail that is not must never be looked at.

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "head/store/segment.h"
#include "tests/fuzz/fuzz.h"

#define JOB       7
#define PLACE_MAX 64

typedef struct seen {
    uint64_t end; // of what was told last
    uint32_t known;
    shoal_spool_place_t places[PLACE_MAX];
    size_t count;
} seen_t;

static bool
take_batch(void *ctx, const shoal_spool_batch_t *batch, shoal_status_t *status)
{
    (void)status;
    seen_t *seen = ctx;
    FUZZ_CHECK(batch->payload.len == 0 && batch->place.segment == 1);
    FUZZ_CHECK(batch->place.offset == seen->end);
    seen->end += SHOAL_SPOOL_HEADER_BYTES + (uint64_t)batch->place.length;
    FUZZ_CHECK(seen->end <= seen->known);
    if (seen->count < PLACE_MAX) {
        seen->places[seen->count++] = batch->place;
    }
    return true;
}

static void
put_file(const char *directory, const uint8_t *bytes, size_t size)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/spool-%d-1.seg", directory, JOB);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
}

static void
walk(shoal_folder_t *folder, shoal_segment_t *segment, seen_t *seen)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (shoal_segment_walk(folder, segment, take_batch, seen, &status)) {
        FUZZ_CHECK(seen->end == seen->known);
    } else {
        FUZZ_CHECK(status.code == SHOAL_IO && strstr(status.text, "spool-7-1.seg"));
    }
    for (size_t i = 0; i < seen->count; i++) {
        zmq_msg_t payload;
        if (shoal_segment_read(folder, segment, seen->places[i], &payload, &status)) {
            FUZZ_CHECK(zmq_msg_size(&payload) == seen->places[i].length);
            (void)zmq_msg_close(&payload);
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 1) {
        return 0;
    }
    char directory[] = "/tmp/shoal-fuzz-XXXXXX";
    FUZZ_CHECK(mkdtemp(directory));
    put_file(directory, bytes + 1, size - 1);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_folder_t folder;
    FUZZ_CHECK(shoal_folder_open(directory, &folder, &status));
    seen_t seen = {.known = (uint32_t)((size - 1) * bytes[0] / 255)};
    shoal_segment_t *segment = shoal_segment_found(JOB, 1, seen.known);
    walk(&folder, segment, &seen);
    shoal_segment_remove(&folder, &segment);
    shoal_folder_close(&folder);
    FUZZ_CHECK(rmdir(directory) == 0);
    return 0;
}
