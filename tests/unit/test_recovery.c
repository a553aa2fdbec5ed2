// SPDX-License-Identifier: Apache-2.0
//
// test_recovery.c - what head/store/spool.h promises about a spool that a journal knows.

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "head/store/segment.h"
#include "head/store/spool.h"
#include "proto/base/alloc.h"
#include "proto/base/buffer.h"
#include "tests/support/folder.h"

#define HEADER SHOAL_SPOOL_HEADER_BYTES

typedef struct {
    folder_t folder;
    shoal_journal_t *journal;
    shoal_spool_t *spool;
    shoal_buffer_t told;
    shoal_status_t status;
    uint64_t segment_bytes;
} bed_t;

static void
tell(void *ctx, const char *text)
{
    bed_t *bed = ctx;
    shoal_buffer_append_format(&bed->told, "%s\n", text);
}

static bool
try_open(bed_t *bed)
{
    shoal_buffer_clear(&bed->told);
    CHECK_OK(shoal_journal_open(bed->folder.path, &bed->journal, &bed->status), bed->status);
    shoal_spool_config_t config = {.directory = bed->folder.path,
                                   .segment_bytes = bed->segment_bytes,
                                   .journal = bed->journal,
                                   .tell = tell,
                                   .tell_ctx = bed};
    bool is_open = shoal_spool_open(&config, &bed->spool, &bed->status);
    if (!is_open) {
        shoal_journal_close(&bed->journal);
    }
    return is_open;
}

static void
setup(bed_t *bed)
{
    *bed = (bed_t){.folder = folder_new(), .status = SHOAL_STATUS_INIT};
    CHECK_OK(try_open(bed), bed->status);
}

// As a head that is killed leaves it: nothing more is synced or recorded.
static void
leave(bed_t *bed)
{
    shoal_spool_close(&bed->spool);
    shoal_journal_close(&bed->journal);
}

static void
reopen(bed_t *bed)
{
    leave(bed);
    CHECK_OK(try_open(bed), bed->status);
}

static void
teardown(bed_t *bed)
{
    leave(bed);
    shoal_buffer_fini(&bed->told);
    folder_remove(&bed->folder);
}

static shoal_spool_place_t
write_one(bed_t *bed, uint64_t job, uint64_t call, const char *text)
{
    shoal_spool_batch_t batch = {
        .call = call, .seq = 5, .attempt = 2, .records = 3, .payload = shoal_slice_of(text)};
    shoal_spool_batch_t *batches[] = {&batch};
    size_t written = 0;
    CHECK_OK(shoal_spool_append(bed->spool, job, batches, 1, &written, &bed->status), bed->status);
    return batch.place;
}

static void
record(bed_t *bed)
{
    bool is_lost = true;
    CHECK_OK(shoal_spool_sync(bed->spool, &is_lost, &bed->status), bed->status);
    CHECK(!is_lost);
    CHECK(shoal_spool_unsynced(bed->spool) == 0);
    CHECK_OK(shoal_journal_begin(bed->journal, &bed->status), bed->status);
    CHECK_OK(shoal_spool_record(bed->spool, &bed->status), bed->status);
    CHECK_OK(shoal_journal_commit(bed->journal, &bed->status), bed->status);
    shoal_spool_recorded(bed->spool);
}

static bool
tell_batch(void *ctx, const shoal_spool_batch_t *batch, shoal_status_t *status)
{
    (void)status;
    CHECK(batch->payload.len == 0);
    shoal_buffer_append_format(ctx, "%llu/%u.%llu %u at %u:%u+%u\n",
                               (unsigned long long)batch->call, batch->attempt,
                               (unsigned long long)batch->seq, batch->records, batch->place.segment,
                               batch->place.offset, batch->place.length);
    return true;
}

static void
check_walk(bed_t *bed, uint64_t job, const char *text)
{
    shoal_buffer_t found = SHOAL_BUFFER_INIT;
    CHECK_OK(shoal_spool_walk(bed->spool, job, tell_batch, &found, &bed->status), bed->status);
    assert_string_equal(shoal_buffer_text(&found), text);
    shoal_buffer_fini(&found);
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

// ---- files

typedef struct {
    char bytes[4096];
    size_t len;
} content_t;

static content_t
content_of(const bed_t *bed, const char *name)
{
    content_t content = {.len = 0};
    char *path = folder_file(&bed->folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, content.bytes, sizeof(content.bytes));
    CHECK(len >= 0);
    content.len = (size_t)len;
    (void)close(fd);
    free(path);
    return content;
}

static void
put_content(const bed_t *bed, const char *name, const content_t *content, size_t len)
{
    char *path = folder_file(&bed->folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, content->bytes, len) == (ssize_t)len);
    (void)close(fd);
    free(path);
}

static bool
is_there(const bed_t *bed, const char *name)
{
    char *path = folder_file(&bed->folder, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

// ---- tests

static void
what_the_journal_knows_is_there_after_a_restart(void)
{
    bed_t bed;
    setup(&bed);
    bed.segment_bytes = 150;
    reopen(&bed);
    shoal_spool_place_t one = write_one(&bed, 1, 10, "one");
    shoal_spool_place_t two = write_one(&bed, 1, 11, "two!");
    shoal_spool_place_t three = write_one(&bed, 1, 12, "three");
    shoal_spool_place_t other = write_one(&bed, 7, 13, "other");
    CHECK(one.segment == 1 && two.segment == 1 && three.segment == 1);
    shoal_spool_place_t four = write_one(&bed, 1, 14, "four");
    CHECK(four.segment == 2);
    uint64_t bytes = shoal_spool_bytes(bed.spool);
    CHECK(shoal_spool_unsynced(bed.spool) == bytes);
    record(&bed);
    reopen(&bed);
    CHECK(shoal_spool_bytes(bed.spool) == bytes && shoal_spool_segment_count(bed.spool) == 3);
    CHECK(bed.told.len == 0);
    check_walk(&bed, 1,
               "10/2.5 3 at 1:0+3\n11/2.5 3 at 1:67+4\n12/2.5 3 at 1:135+5\n"
               "14/2.5 3 at 2:0+4\n");
    check_walk(&bed, 7, "13/2.5 3 at 1:0+5\n");
    check_walk(&bed, 8, "");
    check_reads(&bed, 1, three, "three");
    check_reads(&bed, 7, other, "other");

    // What is written now comes after it, and what is released goes.
    shoal_spool_place_t five = write_one(&bed, 1, 15, "five");
    CHECK(five.segment == 3);
    shoal_spool_release(bed.spool, 1, four);
    CHECK(!is_there(&bed, "spool-1-2.seg"));
    shoal_spool_release(bed.spool, 1, two); // a hole: the walk goes on behind it
    record(&bed);
    reopen(&bed);
    check_walk(&bed, 1,
               "10/2.5 3 at 1:0+3\n11/2.5 3 at 1:67+4\n12/2.5 3 at 1:135+5\n"
               "15/2.5 3 at 3:0+4\n");
    check_reads(&bed, 1, one, "one");
    check_reads(&bed, 1, five, "five");
    teardown(&bed);
}

static void
a_tail_is_cut_wherever_it_is_torn(void)
{
    bed_t bed;
    setup(&bed);
    shoal_spool_place_t kept = write_one(&bed, 1, 10, "kept");
    record(&bed);
    (void)write_one(&bed, 1, 11, "torn");
    leave(&bed);
    content_t whole = content_of(&bed, "spool-1-1.seg");
    size_t keeps = HEADER + 4;
    CHECK(whole.len == 2 * keeps);
    for (size_t len = keeps; len <= whole.len; len++) {
        put_content(&bed, "spool-1-1.seg", &whole, len);
        CHECK_OK(try_open(&bed), bed.status);
        if (len == keeps) {
            CHECK(bed.told.len == 0);
        } else {
            CHECK_SAYS(shoal_buffer_text(&bed.told), "spool-1-1.seg: a torn tail was cut off");
        }
        CHECK(content_of(&bed, "spool-1-1.seg").len == keeps);
        CHECK(shoal_spool_bytes(bed.spool) == keeps);
        check_walk(&bed, 1, "10/2.5 3 at 1:0+4\n");
        check_reads(&bed, 1, kept, "kept");
        leave(&bed);
    }
    // Rubbish behind the end is a torn tail as well.
    memset(whole.bytes + keeps, 0x5a, whole.len - keeps);
    put_content(&bed, "spool-1-1.seg", &whole, whole.len);
    CHECK_OK(try_open(&bed), bed.status);
    check_walk(&bed, 1, "10/2.5 3 at 1:0+4\n");
    teardown(&bed);
}

static void
a_file_that_lost_what_the_journal_knows_is_refused_and_nothing_touched(void)
{
    bed_t bed;
    setup(&bed);
    (void)write_one(&bed, 1, 10, "known");
    (void)write_one(&bed, 2, 10, "known");
    record(&bed);
    (void)write_one(&bed, 2, 11, "tail");
    (void)write_one(&bed, 3, 11, "orphan");
    leave(&bed);
    content_t whole = content_of(&bed, "spool-1-1.seg");
    for (size_t len = 0; len < whole.len; len += 7) {
        put_content(&bed, "spool-1-1.seg", &whole, len);
        CHECK(!try_open(&bed));
        CHECK(bed.status.code == SHOAL_IO && bed.status.error_class == SHOAL_FATAL);
        char where[64];
        (void)snprintf(where, sizeof(where), "spool-1-1.seg\" at %zu", len);
        CHECK_SAYS(bed.status.text, where);
        CHECK(content_of(&bed, "spool-1-1.seg").len == len);
        CHECK(content_of(&bed, "spool-2-1.seg").len == 2 * HEADER + 9);
        CHECK(is_there(&bed, "spool-3-1.seg"));
    }
    put_content(&bed, "spool-1-1.seg", &whole, whole.len);
    CHECK_OK(try_open(&bed), bed.status);
    CHECK(!is_there(&bed, "spool-3-1.seg"));
    CHECK_SAYS(shoal_buffer_text(&bed.told), "spool-3-1.seg: nothing refers to it");
    teardown(&bed);
}

static void
a_changed_header_is_an_error_that_names_it(void)
{
    bed_t bed;
    setup(&bed);
    (void)write_one(&bed, 1, 10, "first");
    shoal_spool_place_t second = write_one(&bed, 1, 11, "second");
    (void)write_one(&bed, 1, 12, "third");
    record(&bed);
    leave(&bed);
    content_t whole = content_of(&bed, "spool-1-1.seg");
    for (size_t at = 0; at < HEADER; at++) {
        content_t bad = whole;
        bad.bytes[second.offset + at] ^= 1;
        put_content(&bed, "spool-1-1.seg", &bad, bad.len);
        CHECK_OK(try_open(&bed), bed.status);
        shoal_buffer_t found = SHOAL_BUFFER_INIT;
        CHECK_FAILS(shoal_spool_walk(bed.spool, 1, tell_batch, &found, &bed.status), bed.status,
                    SHOAL_IO);
        shoal_buffer_fini(&found);
        CHECK_SAYS(bed.status.text, "spool-1-1.seg\" at 69:");
        leave(&bed);
        content_t after = content_of(&bed, "spool-1-1.seg");
        CHECK(after.len == bad.len && memcmp(after.bytes, bad.bytes, bad.len) == 0);
    }
    // A payload is found when it is read; walking does not look.
    content_t bad = whole;
    bad.bytes[second.offset + HEADER + 2] ^= 1;
    put_content(&bed, "spool-1-1.seg", &bad, bad.len);
    CHECK_OK(try_open(&bed), bed.status);
    check_walk(&bed, 1, "10/2.5 3 at 1:0+5\n11/2.5 3 at 1:69+6\n12/2.5 3 at 1:139+5\n");
    zmq_msg_t message;
    CHECK_FAILS(shoal_spool_read(bed.spool, 1, second, &message, &bed.status), bed.status,
                SHOAL_IO);
    CHECK_SAYS(bed.status.text, "payload");
    teardown(&bed);
}

// Its second header would begin where 32 bits end.
static void
a_batch_of_nearly_four_gigabytes_is_walked_over(void)
{
    bed_t bed;
    setup(&bed);
    (void)write_one(&bed, 1, 10, "one");
    leave(&bed);
    content_t content = content_of(&bed, "spool-1-1.seg");
    uint32_t len = htole32(0xffffffb0U);
    memcpy(content.bytes + 4, &len, sizeof(len));
    uint64_t sum = htole64(XXH3_64bits(content.bytes, 56));
    memcpy(content.bytes + 56, &sum, sizeof(sum));
    put_content(&bed, "spool-1-1.seg", &content, content.len);
    char *path = folder_file(&bed.folder, "spool-1-1.seg");
    CHECK(truncate(path, UINT32_MAX) == 0);
    free(path);
    shoal_folder_t folder;
    CHECK_OK(shoal_folder_open(bed.folder.path, &folder, &bed.status), bed.status);
    shoal_segment_t *segment = shoal_segment_found(1, 1, UINT32_MAX);
    shoal_buffer_t found = SHOAL_BUFFER_INIT;
    CHECK_FAILS(shoal_segment_walk(&folder, segment, tell_batch, &found, &bed.status), bed.status,
                SHOAL_IO);
    CHECK_SAYS(bed.status.text, "at 4294967280: the file is too short");
    shoal_buffer_fini(&found);
    shoal_segment_remove(&folder, &segment);
    shoal_folder_close(&folder);
    CHECK_OK(try_open(&bed), bed.status);
    teardown(&bed);
}

// A crash between the removal of a file and its record.
static void
a_removed_segment_may_still_be_recorded(void)
{
    bed_t bed;
    setup(&bed);
    shoal_spool_place_t gone = write_one(&bed, 1, 10, "gone");
    shoal_spool_place_t other = write_one(&bed, 2, 10, "other");
    record(&bed);
    shoal_spool_release(bed.spool, 1, gone);
    CHECK(!is_there(&bed, "spool-1-1.seg"));
    reopen(&bed);
    check_walk(&bed, 1, "");
    check_reads(&bed, 2, other, "other");
    CHECK(write_one(&bed, 1, 11, "next").segment == 2);
    record(&bed);
    reopen(&bed);
    check_walk(&bed, 1, "11/2.5 3 at 2:0+4\n");
    CHECK(bed.told.len == 0);
    teardown(&bed);
}

static void
a_forgotten_job_is_gone_whenever_the_head_ends(void)
{
    bed_t bed;
    setup(&bed);
    (void)write_one(&bed, 1, 10, "one");
    record(&bed);
    CHECK_OK(shoal_journal_begin(bed.journal, &bed.status), bed.status);
    CHECK_OK(shoal_journal_job_forget(bed.journal, 1, &bed.status), bed.status);
    CHECK_OK(shoal_journal_commit(bed.journal, &bed.status), bed.status);
    reopen(&bed); // before its files were removed
    CHECK(!is_there(&bed, "spool-1-1.seg") && shoal_spool_segment_count(bed.spool) == 0);
    CHECK_SAYS(shoal_buffer_text(&bed.told), "nothing refers to it");
    teardown(&bed);
}

static void
many_small_batches_are_walked(void)
{
    bed_t bed;
    setup(&bed);
    size_t count = 3000; // several windows of headers
    for (size_t i = 0; i < count; i++) {
        (void)write_one(&bed, 1, i, i % 100 == 50 ? "0123456789012345678901234567890" : "short");
    }
    record(&bed);
    reopen(&bed);
    shoal_buffer_t found = SHOAL_BUFFER_INIT;
    CHECK_OK(shoal_spool_walk(bed.spool, 1, tell_batch, &found, &bed.status), bed.status);
    size_t lines = 0;
    for (size_t i = 0; i < found.len; i++) {
        lines += found.ptr[i] == '\n' ? 1 : 0;
    }
    CHECK(lines == count);
    shoal_buffer_fini(&found);
    teardown(&bed);
}

static void
without_the_journal_its_folder_is_refused(void)
{
    bed_t bed;
    setup(&bed);
    (void)write_one(&bed, 1, 10, "one");
    record(&bed);
    leave(&bed);
    shoal_spool_config_t config = {.directory = bed.folder.path};
    CHECK_FAILS(shoal_spool_open(&config, &bed.spool, &bed.status), bed.status, SHOAL_EXISTS);
    CHECK_SAYS(bed.status.text, "holds a journal");
    CHECK(is_there(&bed, "spool-1-1.seg"));
    CHECK_OK(try_open(&bed), bed.status);
    teardown(&bed);
}

TEST_MAIN(TEST(what_the_journal_knows_is_there_after_a_restart),
          TEST(a_tail_is_cut_wherever_it_is_torn),
          TEST(a_file_that_lost_what_the_journal_knows_is_refused_and_nothing_touched),
          TEST(a_changed_header_is_an_error_that_names_it),
          TEST(a_batch_of_nearly_four_gigabytes_is_walked_over),
          TEST(a_removed_segment_may_still_be_recorded),
          TEST(a_forgotten_job_is_gone_whenever_the_head_ends), TEST(many_small_batches_are_walked),
          TEST(without_the_journal_its_folder_is_refused))
