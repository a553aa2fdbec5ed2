// SPDX-License-Identifier: Apache-2.0
//
// fuzz_segment.c - a segment of the spool with damage (head/store/segment.h): what the input describes is
// written, then bytes of the file are changed and its end is cut; walking through it and reading it
// must give what was written, or say that it cannot.

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "head/store/segment.h"
#include "tests/fuzz/fuzz.h"

#define BATCHES_MAX 8
#define BYTES_MAX   4096 // of one payload

typedef struct world {
    const uint8_t *at;
    const uint8_t *end;
    char payloads[BATCHES_MAX][BYTES_MAX];
    shoal_spool_batch_t batches[BATCHES_MAX];
    size_t count;
    shoal_spool_batch_t found[BATCHES_MAX + 1];
    size_t found_count;
    bool is_damaged;
} world_t;

static uint32_t
byte(world_t *world)
{
    return world->at < world->end ? *world->at++ : 0;
}

static void
batches_make(world_t *world)
{
    world->count = 1 + byte(world) % BATCHES_MAX;
    for (size_t i = 0; i < world->count; i++) {
        size_t len = (byte(world) << 8 | byte(world)) % BYTES_MAX;
        memset(world->payloads[i], (int)byte(world), len);
        if (len > 0) {
            world->payloads[i][len / 2] = (char)i;
        }
        world->batches[i] = (shoal_spool_batch_t){.call = 16777216 + i,
                                                  .seq = i,
                                                  .attempt = byte(world),
                                                  .records = byte(world),
                                                  .payload = {world->payloads[i], len}};
    }
}

static uint32_t
segment_write(world_t *world, shoal_folder_t *folder)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_segment_t *segment = NULL;
    shoal_spool_batch_t *batches[BATCHES_MAX];
    for (size_t i = 0; i < world->count; i++) {
        batches[i] = &world->batches[i];
    }
    size_t written = 0;
    FUZZ_CHECK(shoal_segment_new(folder, 1, 1, &segment, &status));
    FUZZ_CHECK(shoal_segment_write(folder, segment, batches, world->count, &written, &status));
    FUZZ_CHECK(written == world->count);
    uint32_t bytes = segment->bytes;
    shoal_segment_destroy(folder, &segment);
    return bytes;
}

// Changes bytes at places that the input names, and cuts the end.
static void
damage(world_t *world, const char *path, uint32_t bytes)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    FUZZ_CHECK(fd >= 0);
    while (world->end - world->at >= 4) {
        uint32_t place = (byte(world) << 16 | byte(world) << 8 | byte(world)) % (bytes + 1);
        char value = (char)byte(world);
        char old = 0;
        if (place == bytes) { // shorter than it was
            FUZZ_CHECK(ftruncate(fd, (off_t)(bytes - (uint8_t)value % (bytes + 1))) == 0);
            world->is_damaged = true;
        } else if (pread(fd, &old, 1, (off_t)place) == 1 && old != value) {
            FUZZ_CHECK(pwrite(fd, &value, 1, (off_t)place) == 1);
            world->is_damaged = true;
        }
    }
    FUZZ_CHECK(close(fd) == 0);
}

static bool
note_found(void *ctx, const shoal_spool_batch_t *batch, shoal_status_t *status)
{
    world_t *world = ctx;
    (void)status;
    FUZZ_CHECK(world->found_count < world->count);
    world->found[world->found_count++] = *batch;
    return true;
}

// What can be read is what was written.
static void
found_check(world_t *world, shoal_folder_t *folder, shoal_segment_t *segment)
{
    for (size_t i = 0; i < world->found_count; i++) {
        const shoal_spool_batch_t *found = &world->found[i];
        const shoal_spool_batch_t *batch = &world->batches[i];
        shoal_status_t status = SHOAL_STATUS_INIT;
        zmq_msg_t message;
        FUZZ_CHECK(found->call == batch->call && found->seq == batch->seq);
        FUZZ_CHECK(found->attempt == batch->attempt && found->records == batch->records);
        FUZZ_CHECK(found->place.length == batch->payload.len);
        if (shoal_segment_read(folder, segment, found->place, &message, &status)) {
            FUZZ_CHECK(zmq_msg_size(&message) == batch->payload.len);
            FUZZ_CHECK(batch->payload.len == 0 ||
                       memcmp(zmq_msg_data(&message), batch->payload.ptr, batch->payload.len) == 0);
            (void)zmq_msg_close(&message);
        } else {
            FUZZ_CHECK(world->is_damaged && status.code == SHOAL_IO);
            FUZZ_CHECK(strstr(status.text, "spool-1-1.seg"));
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static world_t world; // too large for the stack
    world = (world_t){.at = bytes, .end = bytes + size};
    char directory[] = "/tmp/shoal-fuzz-XXXXXX";
    FUZZ_CHECK(mkdtemp(directory));
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/spool-1-1.seg", directory);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_folder_t folder;
    FUZZ_CHECK(shoal_folder_open(directory, &folder, &status));
    batches_make(&world);
    uint32_t written = segment_write(&world, &folder);
    damage(&world, path, written);
    shoal_segment_t *segment = shoal_segment_found(1, 1, written);
    if (!shoal_segment_walk(&folder, segment, note_found, &world, &status)) {
        FUZZ_CHECK(world.is_damaged && status.code == SHOAL_IO);
        FUZZ_CHECK(strstr(status.text, "spool-1-1.seg"));
    } else {
        FUZZ_CHECK(world.found_count == world.count);
    }
    found_check(&world, &folder, segment);
    shoal_segment_remove(&folder, &segment);
    shoal_folder_close(&folder);
    FUZZ_CHECK(rmdir(directory) == 0);
    return 0;
}
