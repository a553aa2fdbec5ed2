// SPDX-License-Identifier: Apache-2.0
//
// test_scribe.c - what head/store/scribe.h promises.

#include <poll.h>

#include "head/store/scribe.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "tests/support/folder.h"
#include "tests/support/full_spool.h"

#define DEADLINE_MS 10000

typedef struct {
    folder_t folder;
    shoal_scribe_t *scribe;
    shoal_errands_t back; // everything that was reported, in order
    size_t back_count;
    uint64_t stalled;
    shoal_status_t trouble;
    uint64_t spool_bytes;
} bed_t;

static void
setup(bed_t *bed, long long room_bytes) // 0: the disk is large
{
    *bed = (bed_t){.folder = folder_new()};
    atomic_store(&full_spool_room, room_bytes ? room_bytes : INT64_MAX);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_scribe_config_t config = {.spool = {.directory = bed->folder.path}};
    CHECK_OK(shoal_scribe_start(&config, &bed->scribe, &status), status);
}

static void
free_errand(void *ctx, shoal_errand_t *errand)
{
    size_t *dropped = ctx;
    if (dropped) {
        (*dropped)++;
    }
    if (errand->kind == SHOAL_ERRAND_READ && errand->is_done) {
        (void)zmq_msg_close(&errand->message);
    }
    free(errand->failure);
    free(errand);
}

// Returns how many errands were still under way.
static size_t
teardown(bed_t *bed)
{
    size_t dropped = 0;
    shoal_scribe_stop(&bed->scribe, free_errand, &dropped);
    CHECK(bed->scribe == NULL);
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&bed->back)) != NULL;) {
        free_errand(NULL, errand);
    }
    CHECK(folder_count(&bed->folder) == 0);
    folder_remove(&bed->folder);
    return dropped;
}

static void
take_reports(bed_t *bed)
{
    for (shoal_scribe_report_t *report; (report = shoal_scribe_take(bed->scribe)) != NULL;) {
        for (shoal_errand_t *errand; (errand = shoal_errands_take(&report->errands)) != NULL;) {
            shoal_errands_add(&bed->back, errand);
            bed->back_count++;
        }
        bed->stalled = report->stalled;
        bed->trouble = report->trouble;
        bed->spool_bytes = report->spool_bytes;
        free(report);
    }
}

// Waits until `count` errands are back and `stalled` are waiting for room.
static void
wait_for(bed_t *bed, size_t count, uint64_t stalled)
{
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    take_reports(bed);
    while (bed->back_count != count || bed->stalled != stalled) {
        CHECK(shoal_clock_ms() < deadline_ms);
        struct pollfd item = {shoal_scribe_fd(bed->scribe), POLLIN, 0};
        CHECK(poll(&item, 1, DEADLINE_MS) == 1);
        take_reports(bed);
    }
}

static shoal_errand_t *
add(shoal_errands_t *list, shoal_errand_kind_t kind, uint64_t job, const char *text)
{
    shoal_errand_t *errand = shoal_alloc(sizeof(*errand));
    errand->kind = kind;
    errand->job = job;
    errand->batch.payload = shoal_slice_of(text);
    shoal_errands_add(list, errand);
    return errand;
}

static void
errands_come_back_in_order_and_done(void)
{
    bed_t bed;
    setup(&bed, 0);
    shoal_errands_t list = {NULL, NULL};
    shoal_errand_t *first = add(&list, SHOAL_ERRAND_APPEND, 1, "first");
    shoal_errand_t *second = add(&list, SHOAL_ERRAND_APPEND, 1, "second");
    shoal_errand_t *other = add(&list, SHOAL_ERRAND_APPEND, 2, "other");
    CHECK(shoal_scribe_send(bed.scribe, &list));
    CHECK(list.first == NULL && list.last == NULL);
    wait_for(&bed, 3, 0);
    CHECK(bed.back.first == first && first->next == second && second->next == other);
    CHECK(first->is_done && second->is_done && other->is_done);
    CHECK(bed.spool_bytes == 3 * SHOAL_SPOOL_HEADER_BYTES + 16);

    shoal_errand_t *read = add(&list, SHOAL_ERRAND_READ, 1, NULL);
    read->batch.place = second->batch.place;
    CHECK(shoal_scribe_send(bed.scribe, &list));
    wait_for(&bed, 4, 0);
    CHECK(read->is_done && zmq_msg_size(&read->message) == 6);
    CHECK(memcmp(zmq_msg_data(&read->message), "second", 6) == 0);
    CHECK(teardown(&bed) == 0);
}

static void
a_read_that_fails_says_why(void)
{
    bed_t bed;
    setup(&bed, 0);
    shoal_errands_t list = {NULL, NULL};
    shoal_errand_t *read = add(&list, SHOAL_ERRAND_READ, 9, NULL);
    read->batch.place = (shoal_spool_place_t){1, 0, 4};
    CHECK(shoal_scribe_send(bed.scribe, &list));
    wait_for(&bed, 1, 0);
    CHECK(!read->is_done && read->failure && read->failure->code == SHOAL_NOT_FOUND);
    CHECK(teardown(&bed) == 0);
}

static void
a_full_disk_stalls_appends_until_there_is_room(void)
{
    bed_t bed;
    setup(&bed, /*room_bytes=*/2 * (SHOAL_SPOOL_HEADER_BYTES + 4));
    shoal_errands_t list = {NULL, NULL};
    shoal_errand_t *kept = add(&list, SHOAL_ERRAND_APPEND, 1, "kept");
    (void)add(&list, SHOAL_ERRAND_APPEND, 2, "gone");
    shoal_errand_t *late = add(&list, SHOAL_ERRAND_APPEND, 1, "late");
    shoal_errand_t *last = add(&list, SHOAL_ERRAND_APPEND, 3, "last");
    CHECK(shoal_scribe_send(bed.scribe, &list));
    wait_for(&bed, 2, 2);
    CHECK(bed.trouble.code == SHOAL_LIMIT);
    CHECK_SAYS(bed.trouble.text, "spool-1-1.seg");

    // Reads go on meanwhile.
    shoal_errand_t *read = add(&list, SHOAL_ERRAND_READ, 1, NULL);
    read->batch.place = kept->batch.place;
    CHECK(shoal_scribe_send(bed.scribe, &list));
    wait_for(&bed, 3, 2);
    CHECK(read->is_done && !late->is_done);

    // Job 2's room goes to the first in line.
    atomic_fetch_add(&full_spool_room, SHOAL_SPOOL_HEADER_BYTES + 4);
    (void)add(&list, SHOAL_ERRAND_FORGET, 2, NULL);
    CHECK(shoal_scribe_send(bed.scribe, &list));
    wait_for(&bed, 5, 1);
    CHECK(late->is_done && !last->is_done);

    // A release makes room as well.
    atomic_fetch_add(&full_spool_room, 2 * (SHOAL_SPOOL_HEADER_BYTES + 4));
    (void)add(&list, SHOAL_ERRAND_RELEASE, 1, NULL);
    list.last->batch.place = kept->batch.place;
    (void)add(&list, SHOAL_ERRAND_RELEASE, 1, NULL);
    list.last->batch.place = late->batch.place;
    CHECK(shoal_scribe_send(bed.scribe, &list));
    wait_for(&bed, 8, 0);
    CHECK(last->is_done && bed.trouble.code == SHOAL_OK);
    CHECK(teardown(&bed) == 0);
}

static void
a_forgotten_jobs_stalled_appends_come_back_undone(void)
{
    bed_t bed;
    setup(&bed, /*room_bytes=*/10);
    shoal_errands_t list = {NULL, NULL};
    shoal_errand_t *append = add(&list, SHOAL_ERRAND_APPEND, 1, "too much");
    shoal_errand_t *other = add(&list, SHOAL_ERRAND_APPEND, 2, "too much");
    CHECK(shoal_scribe_send(bed.scribe, &list));
    wait_for(&bed, 0, 2);
    (void)add(&list, SHOAL_ERRAND_FORGET, 1, NULL);
    CHECK(shoal_scribe_send(bed.scribe, &list));
    wait_for(&bed, 2, 1);
    CHECK(!append->is_done && !other->is_done);
    CHECK(teardown(&bed) == 1);
}

static void
a_full_queue_leaves_the_list_with_the_hub(void)
{
    bed_t bed;
    setup(&bed, 0);
    static char bytes[200000];
    memset(bytes, 'x', sizeof(bytes) - 1);
    shoal_errands_t list = {NULL, NULL};
    size_t sent = 0;
    bool was_full = false;
    for (size_t i = 0; i < 3000; i++) { // nobody takes reports, so it fills up
        (void)add(&list, SHOAL_ERRAND_APPEND, 1, bytes);
        if (shoal_scribe_send(bed.scribe, &list)) {
            sent = i + 1;
            CHECK(list.first == NULL);
        } else {
            was_full = true;
            CHECK(list.first != NULL);
        }
        if (was_full && i > sent + 3) {
            break;
        }
    }
    CHECK(was_full);
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    while (list.first && !shoal_scribe_send(bed.scribe, &list)) {
        CHECK(shoal_clock_ms() < deadline_ms);
        struct pollfd item = {shoal_scribe_fd(bed.scribe), POLLIN, 0};
        CHECK(poll(&item, 1, DEADLINE_MS) == 1);
        take_reports(&bed);
    }
    (void)teardown(&bed); // stops in the middle
}

TEST_MAIN(TEST(errands_come_back_in_order_and_done), TEST(a_read_that_fails_says_why),
          TEST(a_full_disk_stalls_appends_until_there_is_room),
          TEST(a_forgotten_jobs_stalled_appends_come_back_undone),
          TEST(a_full_queue_leaves_the_list_with_the_hub))
