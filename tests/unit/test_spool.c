// SPDX-License-Identifier: Apache-2.0
//
// test_spool.c - what head/store/spool.h promises.

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "head/store/spool.h"
#include "tests/support/folder.h"

typedef struct {
    folder_t folder;
    shoal_spool_t *spool;
    shoal_status_t status;
} bed_t;

static void
setup(bed_t *bed, uint64_t segment_bytes)
{
    *bed = (bed_t){.folder = folder_new(), .status = SHOAL_STATUS_INIT};
    shoal_spool_config_t config = {.directory = bed->folder.path, .segment_bytes = segment_bytes};
    CHECK_OK(shoal_spool_open(&config, &bed->spool, &bed->status), bed->status);
}

static void
teardown(bed_t *bed)
{
    shoal_spool_close(&bed->spool);
    CHECK(bed->spool == NULL);
    folder_remove(&bed->folder);
}

static size_t
count_files(const bed_t *bed) // but for the lock
{
    return folder_count(&bed->folder) - 1;
}

static shoal_spool_batch_t
batch_of(const char *text, uint64_t seq)
{
    return (shoal_spool_batch_t){
        .call = 7, .seq = seq, .attempt = 1, .records = 1, .payload = shoal_slice_of(text)};
}

// Writes one batch, which must succeed.
static shoal_spool_place_t
write_one(bed_t *bed, uint64_t job, const char *text)
{
    shoal_spool_batch_t batch = batch_of(text, 0);
    shoal_spool_batch_t *batches[] = {&batch};
    size_t written = 0;
    CHECK_OK(shoal_spool_append(bed->spool, job, batches, 1, &written, &bed->status), bed->status);
    CHECK(written == 1);
    return batch.place;
}

static void
check_reads(bed_t *bed, uint64_t job, shoal_spool_place_t place, const char *text)
{
    zmq_msg_t message;
    CHECK_OK(shoal_spool_read(bed->spool, job, place, &message, &bed->status), bed->status);
    CHECK(zmq_msg_size(&message) == strlen(text));
    CHECK(memcmp(zmq_msg_data(&message), text, strlen(text)) == 0);
    (void)zmq_msg_close(&message);
}

static void
check_refuses(bed_t *bed, uint64_t job, shoal_spool_place_t place, shoal_code_t code,
              const char *word)
{
    zmq_msg_t message;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_FAILS(shoal_spool_read(bed->spool, job, place, &message, &status), status, code);
    CHECK_SAYS(status.text, word);
}

static void
what_was_written_is_read_back(void)
{
    bed_t bed;
    setup(&bed, 0);
    shoal_spool_batch_t one = batch_of("one", 0);
    shoal_spool_batch_t none = batch_of("", 1);
    shoal_spool_batch_t three = batch_of("three", 2);
    shoal_spool_batch_t *batches[] = {&one, &none, &three};
    size_t written = 0;
    CHECK_OK(shoal_spool_append(bed.spool, 4, batches, 3, &written, &bed.status), bed.status);
    CHECK(written == 3);
    check_reads(&bed, 4, three.place, "three");
    check_reads(&bed, 4, one.place, "one");
    check_reads(&bed, 4, none.place, "");
    CHECK(shoal_spool_bytes(bed.spool) == 3 * SHOAL_SPOOL_HEADER_BYTES + 8);
    teardown(&bed);
}

static void
segments_are_sealed_at_their_size(void)
{
    bed_t bed;
    setup(&bed, /*segment_bytes=*/100);
    shoal_spool_place_t first = write_one(&bed, 1, "aaaaaaaaaa");
    shoal_spool_place_t second = write_one(&bed, 1, "bbbbbbbbbb");
    shoal_spool_place_t third = write_one(&bed, 1, "cccccccccc");
    CHECK(first.segment == 1 && second.segment == 1 && third.segment == 2);
    CHECK(shoal_spool_segment_count(bed.spool) == 2 && count_files(&bed) == 2);
    check_reads(&bed, 1, first, "aaaaaaaaaa");
    check_reads(&bed, 1, third, "cccccccccc");

    shoal_spool_release(bed.spool, 1, first);
    CHECK(shoal_spool_segment_count(bed.spool) == 2);
    CHECK(shoal_spool_bytes(bed.spool) == 3 * SHOAL_SPOOL_HEADER_BYTES + 20); // a hole
    check_reads(&bed, 1, second, "bbbbbbbbbb");
    check_refuses(&bed, 1, first, SHOAL_IO, "checksum");
    shoal_spool_release(bed.spool, 1, second);
    CHECK(shoal_spool_segment_count(bed.spool) == 1 && count_files(&bed) == 1);
    CHECK(shoal_spool_bytes(bed.spool) == SHOAL_SPOOL_HEADER_BYTES + 10);
    check_refuses(&bed, 1, first, SHOAL_NOT_FOUND, "no segment 1");
    teardown(&bed);
}

static void
one_group_may_fill_several_segments(void)
{
    bed_t bed;
    setup(&bed, /*segment_bytes=*/100);
    shoal_spool_batch_t parts[10];
    shoal_spool_batch_t *batches[10];
    for (size_t i = 0; i < 10; i++) {
        parts[i] = batch_of("0123456789", i);
        batches[i] = &parts[i];
    }
    size_t written = 0;
    CHECK_OK(shoal_spool_append(bed.spool, 1, batches, 10, &written, &bed.status), bed.status);
    CHECK(written == 10 && shoal_spool_segment_count(bed.spool) == 5);
    check_reads(&bed, 1, parts[9].place, "0123456789");
    teardown(&bed);
}

static void
a_forgotten_job_leaves_nothing_and_others_stay(void)
{
    bed_t bed;
    setup(&bed, 0);
    shoal_spool_place_t mine = write_one(&bed, 1, "mine");
    shoal_spool_place_t other = write_one(&bed, 257, "other"); // the same bucket
    shoal_spool_forget(bed.spool, 1);
    shoal_spool_forget(bed.spool, 1);
    CHECK(count_files(&bed) == 1);
    check_refuses(&bed, 1, mine, SHOAL_NOT_FOUND, "job 1");
    check_reads(&bed, 257, other, "other");
    CHECK(shoal_spool_bytes(bed.spool) == SHOAL_SPOOL_HEADER_BYTES + 5);
    teardown(&bed);
}

static void
old_segments_are_removed_at_the_start_and_nothing_else(void)
{
    folder_t folder = folder_new();
    static const char *const names[] = {"spool-12-3.seg", "spool-x.seg", "notes.txt"};
    for (size_t i = 0; i < 3; i++) {
        char *path = folder_file(&folder, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd >= 0);
        (void)close(fd);
        free(path);
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_spool_t *spool = NULL;
    shoal_spool_config_t config = {.directory = folder.path};
    CHECK_OK(shoal_spool_open(&config, &spool, &status), status);
    CHECK(folder_count(&folder) == 3); // with the lock
    shoal_spool_close(&spool);
    CHECK(folder_count(&folder) == 2);
    folder_remove(&folder);
}

static void
a_folder_belongs_to_one_head(void)
{
    bed_t bed;
    setup(&bed, 0);
    shoal_spool_place_t place = write_one(&bed, 1, "mine");
    shoal_spool_t *second = NULL;
    shoal_spool_config_t config = {.directory = bed.folder.path};
    CHECK_FAILS(shoal_spool_open(&config, &second, &bed.status), bed.status, SHOAL_EXISTS);
    CHECK_SAYS(bed.status.text, "another head");
    check_reads(&bed, 1, place, "mine");
    shoal_spool_close(&bed.spool);
    CHECK_OK(shoal_spool_open(&config, &bed.spool, &bed.status), bed.status);
    teardown(&bed);
}

static void
a_missing_directory_is_told(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_spool_t *spool = NULL;
    shoal_spool_config_t config = {.directory = "/tmp/shoal-no-such-folder"};
    CHECK_FAILS(shoal_spool_open(&config, &spool, &status), status, SHOAL_NOT_FOUND);
    CHECK_SAYS(status.text, "shoal-no-such-folder");
}

// The file size limit of the process stands for a full disk: the write stops in the middle.
static void
a_full_disk_is_told_and_what_was_begun_is_cut_off(void)
{
    bed_t bed;
    setup(&bed, 0);
    struct rlimit before;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    shoal_spool_place_t first = write_one(&bed, 1, "first");
    struct rlimit small = {200, before.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    shoal_spool_batch_t one = batch_of("second", 0);
    shoal_spool_batch_t two = batch_of("third", 1);
    shoal_spool_batch_t *batches[] = {&one, &two};
    size_t written = 0;
    CHECK_FAILS(shoal_spool_append(bed.spool, 1, batches, 2, &written, &bed.status), bed.status,
                SHOAL_LIMIT);
    CHECK_SAYS(bed.status.text, "spool-1-1.seg");
    CHECK(bed.status.error_class == SHOAL_TRANSIENT && written == 1);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);

    char *path = folder_file(&bed.folder, "spool-1-1.seg");
    struct stat info;
    CHECK(stat(path, &info) == 0);
    CHECK((uint64_t)info.st_size == shoal_spool_bytes(bed.spool));
    free(path);
    CHECK_OK(shoal_spool_append(bed.spool, 1, batches + 1, 1, &written, &bed.status), bed.status);
    check_reads(&bed, 1, first, "first");
    check_reads(&bed, 1, one.place, "second");
    check_reads(&bed, 1, two.place, "third");
    teardown(&bed);
}

static void
damage(bed_t *bed, const char *name, off_t at)
{
    char *path = folder_file(&bed->folder, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    char byte = 0;
    CHECK(pread(fd, &byte, 1, at) == 1);
    byte = (char)(byte ^ 1);
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    (void)close(fd);
    free(path);
}

static void
a_changed_byte_anywhere_is_found(void)
{
    bed_t bed;
    setup(&bed, 0);
    shoal_spool_place_t place = write_one(&bed, 1, "payload");
    for (off_t at = 0; at < SHOAL_SPOOL_HEADER_BYTES + 7; at++) {
        damage(&bed, "spool-1-1.seg", at);
        check_refuses(&bed, 1, place, SHOAL_IO, "spool-1-1.seg\" at 0");
        damage(&bed, "spool-1-1.seg", at);
    }
    check_reads(&bed, 1, place, "payload");
    teardown(&bed);
}

static void
a_torn_or_missing_file_is_told(void)
{
    bed_t bed;
    setup(&bed, 0);
    shoal_spool_place_t place = write_one(&bed, 1, "payload");
    char *path = folder_file(&bed.folder, "spool-1-1.seg");
    CHECK(truncate(path, SHOAL_SPOOL_HEADER_BYTES + 3) == 0);
    check_refuses(&bed, 1, place, SHOAL_IO, "too short");
    place.offset = 4096;
    check_refuses(&bed, 1, place, SHOAL_IO, "too short");
    free(path);
    teardown(&bed);
}

static void
many_jobs_share_few_descriptors(void)
{
    bed_t bed;
    setup(&bed, 0);
    shoal_spool_place_t places[3 * SHOAL_SPOOL_OPEN_MAX];
    for (uint64_t job = 0; job < 3 * SHOAL_SPOOL_OPEN_MAX; job++) {
        places[job] = write_one(&bed, job, "text");
    }
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    size_t open_count = 0;
    while (readdir(directory)) {
        open_count++;
    }
    (void)closedir(directory);
    CHECK(open_count < SHOAL_SPOOL_OPEN_MAX + 16);
    for (uint64_t job = 0; job < 3 * SHOAL_SPOOL_OPEN_MAX; job++) {
        check_reads(&bed, job, places[job], "text");
    }
    teardown(&bed);
}

TEST_MAIN(TEST(what_was_written_is_read_back), TEST(segments_are_sealed_at_their_size),
          TEST(one_group_may_fill_several_segments),
          TEST(a_forgotten_job_leaves_nothing_and_others_stay),
          TEST(old_segments_are_removed_at_the_start_and_nothing_else),
          TEST(a_folder_belongs_to_one_head), TEST(a_missing_directory_is_told),

          TEST(a_full_disk_is_told_and_what_was_begun_is_cut_off),
          TEST(a_changed_byte_anywhere_is_found), TEST(a_torn_or_missing_file_is_told),
          TEST(many_jobs_share_few_descriptors))
