// SPDX-License-Identifier: Apache-2.0
//
// test_output.c - what head/output/output.h promises, with a real scribe and a hub of callbacks.

#include <fcntl.h>
#include <poll.h>

#include "head/output/output.h"
#include "proto/base/buffer.h"
#include "proto/base/clock.h"
#include "tests/support/folder.h"
#include "tests/support/full_spool.h"

#define DEADLINE_MS 10000
#define PEERS       3
#define JOBS        4

// What one subscriber got: "1.0 one|1.1! two|" (commit.index, "!" marks the last), "END n".
typedef struct {
    shoal_buffer_t log;
    uint64_t bytes;
    uint64_t pieces;
    bool is_full;
    bool is_gone;
    shoal_status_t failure;
} peer_t;

typedef struct {
    uint64_t bytes;
    unsigned count;
} owner_t;

typedef struct {
    folder_t folder;
    shoal_outputs_t *outputs;
    peer_t peers[PEERS];
    shoal_status_t disk; // what the disk hook said last
    unsigned disk_calls;
    bool is_waiting[JOBS]; // what the hook said last
} bed_t;

static void
on_grant(void *ctx, void *owner, uint32_t bytes)
{
    (void)ctx;
    owner_t *it = owner;
    it->bytes += bytes;
    it->count++;
}

static shoal_sent_t
on_piece(void *ctx, void *peer, const shoal_piece_t *piece, zmq_msg_t *payload)
{
    (void)ctx;
    peer_t *it = peer;
    if (it->is_full || it->is_gone) {
        return it->is_full ? SHOAL_SENT_FULL : SHOAL_SENT_GONE;
    }
    size_t size = zmq_msg_size(payload);
    shoal_buffer_append_format(&it->log, "%llu.%llu%s %.*s|", (unsigned long long)piece->commit,
                               (unsigned long long)piece->index, piece->is_last ? "!" : "",
                               size < 16 ? (int)size : 16, (const char *)zmq_msg_data(payload));
    it->bytes += size;
    it->pieces++;
    return SHOAL_SENT;
}

static shoal_sent_t
on_end(void *ctx, void *peer, uint64_t job, uint64_t commits)
{
    (void)ctx;
    (void)job;
    peer_t *it = peer;
    if (it->is_full) {
        return SHOAL_SENT_FULL;
    }
    shoal_buffer_append_format(&it->log, "END %llu", (unsigned long long)commits);
    return SHOAL_SENT;
}

static void
on_failed(void *ctx, void *peer, uint64_t job, const shoal_status_t *why)
{
    (void)ctx;
    (void)job;
    ((peer_t *)peer)->failure = *why;
}

static void
on_disk(void *ctx, const shoal_status_t *why)
{
    bed_t *bed = ctx;
    bed->disk_calls++;
    shoal_status_clear(&bed->disk);
    if (why) {
        bed->disk = *why;
    }
}

static void
on_waits(void *ctx, uint64_t job, bool is_waiting)
{
    bed_t *bed = ctx;
    CHECK(job < JOBS && bed->is_waiting[job] != is_waiting);
    bed->is_waiting[job] = is_waiting;
}

static void
setup(bed_t *bed, uint64_t memory_bytes, uint64_t spool_bytes)
{
    *bed = (bed_t){.folder = folder_new(), .disk = SHOAL_STATUS_INIT};
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_outputs_config_t config = {
        .directory = bed->folder.path,
        .memory_bytes = memory_bytes,
        .spool_bytes = spool_bytes,
        .hooks = {.ctx = bed,
                  .grant = on_grant,
                  .piece = on_piece,
                  .end = on_end,
                  .failed = on_failed,
                  .disk = on_disk,
                  .waits = on_waits},
    };
    CHECK_OK(shoal_outputs_new(&config, &bed->outputs, &status), status);
}

static void
teardown(bed_t *bed)
{
    CHECK(shoal_outputs_info(bed->outputs).memory_bytes == 0 ||
          shoal_outputs_info(bed->outputs).unwritten > 0);
    shoal_outputs_destroy(&bed->outputs);
    CHECK(bed->outputs == NULL);
    for (size_t i = 0; i < PEERS; i++) {
        shoal_buffer_fini(&bed->peers[i].log);
    }
    CHECK(folder_count(&bed->folder) == 0);
    folder_remove(&bed->folder);
}

// Runs turns until the condition holds.
#define RUN_UNTIL(bed, condition)                                                                  \
    do {                                                                                           \
        uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;                                     \
        turn(bed);                                                                                 \
        while (!(condition)) {                                                                     \
            if (shoal_clock_ms() > deadline_ms) {                                                  \
                fail_msg("never came true: %s", #condition);                                       \
            }                                                                                      \
            turn(bed);                                                                             \
        }                                                                                          \
    } while (0)

static void
turn(bed_t *bed)
{
    uint64_t now_ms = shoal_clock_ms();
    uint64_t next_ms = shoal_outputs_run(bed->outputs, now_ms);
    struct pollfd item = {shoal_outputs_fd(bed->outputs), POLLIN, 0};
    uint64_t most_ms = next_ms == SHOAL_TIME_NEVER ? 1 : next_ms - now_ms;
    (void)poll(&item, 1, (int)most_ms);
}

static bool
is_settled(const bed_t *bed)
{
    return shoal_outputs_info(bed->outputs).unwritten == 0;
}

static void
append(shoal_draft_t *draft, const char *text, size_t size)
{
    zmq_msg_t message;
    CHECK(zmq_msg_init_size(&message, size) == 0);
    memset(zmq_msg_data(&message), '.', size);
    memcpy(zmq_msg_data(&message), text, strlen(text) < size ? strlen(text) : size);
    shoal_draft_append(draft, 1, &message);
    CHECK(zmq_msg_size(&message) == 0);
    (void)zmq_msg_close(&message);
}

static shoal_draft_t *
draft_of(shoal_output_t *output, owner_t *owner)
{
    uint32_t credit = 0;
    shoal_draft_t *draft = shoal_draft_new(output, 1, 1, owner, &credit);
    CHECK(draft != NULL && shoal_draft_credit(draft) == credit && credit > 0);
    return draft;
}

// A commit of one batch of `size` bytes.
static void
commit_one(shoal_output_t *output, const char *text, size_t size)
{
    shoal_draft_t *draft = draft_of(output, &(owner_t){0});
    append(draft, text, size);
    (void)shoal_draft_commit(&draft, 0);
}

static const char *
log_of(peer_t *peer)
{
    return shoal_buffer_text(&peer->log);
}

static void
an_attempts_batches_are_visible_all_or_none(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    (void)shoal_output_subscribe(output, &bed.peers[0], 1, 1000000);
    owner_t owner = {0};
    shoal_draft_t *kept = draft_of(output, &owner);
    shoal_draft_t *lost = draft_of(output, &owner);
    append(kept, "one", 3);
    append(lost, "never", 5);
    append(kept, "two", 3);
    RUN_UNTIL(&bed, is_settled(&bed));
    CHECK(bed.peers[0].pieces == 0 && shoal_output_commits(output) == 0);
    CHECK(shoal_draft_batches(kept) == 2 && shoal_draft_records(kept) == 2);

    shoal_draft_destroy(&lost);
    CHECK(shoal_draft_commit(&kept, 0) == 1 && kept == NULL);
    RUN_UNTIL(&bed, bed.peers[0].pieces == 2);
    assert_string_equal(log_of(&bed.peers[0]), "1.0 one|1.1! two|");
    CHECK(shoal_output_bytes(output) == 6);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_draft_may_end_while_its_batches_are_on_their_way(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/1, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    (void)shoal_output_subscribe(output, &bed.peers[0], 1, 1000000);
    owner_t owner = {0};
    shoal_draft_t *lost = draft_of(output, &owner);
    shoal_draft_t *kept = draft_of(output, &owner);
    append(lost, "never", 5);
    append(kept, "kept", 4);
    shoal_draft_destroy(&lost);
    (void)shoal_draft_commit(&kept, 0);
    RUN_UNTIL(&bed, is_settled(&bed) && bed.peers[0].pieces == 1);
    RUN_UNTIL(&bed, shoal_outputs_info(bed.outputs).memory_bytes == 0);
    assert_string_equal(log_of(&bed.peers[0]), "1.0! kept|");
    CHECK(owner.count == 0);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_commit_without_batches_is_one_empty_piece(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    shoal_draft_t *draft = draft_of(output, NULL);
    CHECK(shoal_draft_commit(&draft, 0) == 1);
    commit_one(output, "two", 3);
    draft = draft_of(output, NULL);
    CHECK(shoal_draft_commit(&draft, 0) == 3);
    (void)shoal_output_subscribe(output, &bed.peers[0], 0, 100);
    shoal_output_finish(output, 0);
    RUN_UNTIL(&bed, strstr(log_of(&bed.peers[0]), "END") != NULL);
    assert_string_equal(log_of(&bed.peers[0]), "1.0! |2.0! two|3.0! |END 3");
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_client_goes_on_from_any_commit_as_often_as_it_likes(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    commit_one(output, "one", 3);
    commit_one(output, "two", 3);
    (void)shoal_output_subscribe(output, &bed.peers[0], 1, 100);
    RUN_UNTIL(&bed, bed.peers[0].pieces == 2 && is_settled(&bed));
    commit_one(output, "three", 5);
    (void)shoal_output_subscribe(output, &bed.peers[1], 2, 100);
    shoal_subscription_t *ahead = shoal_output_subscribe(output, &bed.peers[2], 5, 100);
    RUN_UNTIL(&bed, bed.peers[1].pieces == 2 && is_settled(&bed));
    commit_one(output, "four", 4);
    commit_one(output, "five", 4);
    shoal_output_finish(output, 0);
    RUN_UNTIL(&bed, strstr(log_of(&bed.peers[2]), "END") && strstr(log_of(&bed.peers[1]), "END"));
    assert_string_equal(log_of(&bed.peers[0]),
                        "1.0! one|2.0! two|3.0! three|4.0! four|5.0! five|END 5");
    assert_string_equal(log_of(&bed.peers[1]), "2.0! two|3.0! three|4.0! four|5.0! five|END 5");
    assert_string_equal(log_of(&bed.peers[2]), "5.0! five|END 5");
    shoal_subscription_destroy(&ahead);
    CHECK(ahead == NULL);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
credit_bounds_what_is_ahead_of_the_client(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    for (unsigned i = 0; i < 10; i++) {
        commit_one(output, "batch", 10);
    }
    shoal_subscription_t *subscription =
        shoal_output_subscribe(output, &bed.peers[0], 1, /*credit=*/15);
    RUN_UNTIL(&bed, is_settled(&bed));
    CHECK(bed.peers[0].pieces == 2); // the second overdraws
    shoal_subscription_taken(subscription, /*commit=*/0, 5);
    RUN_UNTIL(&bed, is_settled(&bed));
    CHECK(bed.peers[0].pieces == 2);
    shoal_subscription_taken(subscription, /*commit=*/0, 1);
    RUN_UNTIL(&bed, bed.peers[0].pieces == 3);
    shoal_subscription_taken(subscription, /*commit=*/0, UINT64_MAX);
    RUN_UNTIL(&bed, bed.peers[0].pieces == 10);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_peer_that_is_full_is_tried_again_and_one_that_is_gone_is_not(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    commit_one(output, "one", 3);
    bed.peers[0].is_full = true;
    bed.peers[1].is_gone = true;
    (void)shoal_output_subscribe(output, &bed.peers[0], 1, 100);
    (void)shoal_output_subscribe(output, &bed.peers[1], 1, 100);
    uint64_t next_ms = shoal_outputs_run(bed.outputs, 1000);
    CHECK(next_ms == 1000 + SHOAL_OUTPUT_AGAIN_MS);
    bed.peers[0].is_full = false;
    bed.peers[1].is_gone = false;
    RUN_UNTIL(&bed, bed.peers[0].pieces == 1 && is_settled(&bed));
    CHECK(bed.peers[1].pieces == 0);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
one_turn_is_bounded_and_the_next_goes_on(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    for (unsigned i = 0; i < 3 * SHOAL_OUTPUT_PUMP_MAX; i++) {
        shoal_draft_t *draft = draft_of(output, NULL);
        (void)shoal_draft_commit(&draft, 0);
    }
    (void)shoal_output_subscribe(output, &bed.peers[0], 1, 1);
    CHECK(shoal_outputs_run(bed.outputs, 50) == 50);
    CHECK(bed.peers[0].pieces == SHOAL_OUTPUT_PUMP_MAX);
    RUN_UNTIL(&bed, bed.peers[0].pieces == 3 * SHOAL_OUTPUT_PUMP_MAX);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
what_memory_has_no_room_for_comes_back_from_the_disk(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/100000, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    char text[16];
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(text, sizeof(text), "batch %02u", i);
        commit_one(output, text, 20000);
        RUN_UNTIL(&bed, is_settled(&bed));
        CHECK(shoal_outputs_info(bed.outputs).memory_bytes <= 120000);
    }
    for (size_t peer = 0; peer < 2; peer++) { // twice: delivery frees memory only
        shoal_subscription_t *subscription =
            shoal_output_subscribe(output, &bed.peers[peer], 1, 50000);
        uint64_t given = 0;
        for (unsigned i = 0; i < 100; i++) {
            RUN_UNTIL(&bed, bed.peers[peer].pieces > i);
            CHECK(shoal_outputs_info(bed.outputs).memory_bytes <=
                  100000 + SHOAL_OUTPUT_AHEAD_MAX * 20000);
            shoal_subscription_taken(subscription, /*commit=*/0, bed.peers[peer].bytes - given);
            given = bed.peers[peer].bytes;
        }
        (void)snprintf(text, sizeof(text), "100.0! batch 99");
        CHECK_SAYS(log_of(&bed.peers[peer]), text);
        shoal_subscription_destroy(&subscription);
    }
    assert_string_equal(log_of(&bed.peers[0]), log_of(&bed.peers[1]));
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_small_job_touches_no_disk(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/1000000, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    (void)shoal_output_subscribe(output, &bed.peers[0], 1, 1000000);
    owner_t owner = {0};
    shoal_draft_t *draft = draft_of(output, &owner);
    append(draft, "one", 65536);
    append(draft, "two", 65536);
    (void)shoal_outputs_run(bed.outputs, 0);
    CHECK(owner.bytes == 2 * 65536ULL); // without waiting for the disk
    (void)shoal_draft_commit(&draft, 0);
    (void)shoal_outputs_run(bed.outputs, 0);
    CHECK(bed.peers[0].pieces == 2);
    (void)shoal_output_subscribe(output, &bed.peers[1], 1, 1000000); // once more, from memory
    (void)shoal_outputs_run(bed.outputs, 0);
    assert_string_equal(log_of(&bed.peers[1]), log_of(&bed.peers[0]));
    CHECK(is_settled(&bed) && shoal_outputs_info(bed.outputs).spool_bytes == 0);
    CHECK(folder_count(&bed.folder) == 1); // the lock
    shoal_output_destroy(&output);
    CHECK(shoal_outputs_info(bed.outputs).memory_bytes == 0);
    teardown(&bed);
}

static void
the_oldest_batches_go_to_the_disk_many_at_a_time(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/1000000, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    (void)shoal_output_subscribe(output, &bed.peers[0], 1, 1U << 30);
    for (unsigned i = 0; i < 9; i++) {
        commit_one(output, "batch", 50000);
    }
    (void)shoal_outputs_run(bed.outputs, 0);
    CHECK(is_settled(&bed) && bed.peers[0].pieces == 9);
    commit_one(output, "batch", 50000);
    (void)shoal_outputs_run(bed.outputs, 0); // above a half: down to a quarter
    CHECK(shoal_outputs_info(bed.outputs).unwritten == 6);
    RUN_UNTIL(&bed, is_settled(&bed));
    CHECK(shoal_outputs_info(bed.outputs).memory_bytes < 250000); // these were delivered
    (void)shoal_output_subscribe(output, &bed.peers[1], 1, 1U << 30);
    RUN_UNTIL(&bed, bed.peers[1].pieces == 10);
    assert_string_equal(log_of(&bed.peers[1]), log_of(&bed.peers[0]));
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_subscriber_that_goes_leaves_no_memory_behind(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/1, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    for (unsigned i = 0; i < 20; i++) {
        commit_one(output, "batch", 20000);
    }
    RUN_UNTIL(&bed, is_settled(&bed));
    CHECK(shoal_outputs_info(bed.outputs).memory_bytes == 0);
    shoal_subscription_t *subscription = shoal_output_subscribe(output, &bed.peers[0], 3, 1);
    RUN_UNTIL(&bed, bed.peers[0].pieces == 1);
    RUN_UNTIL(&bed, shoal_outputs_info(bed.outputs).memory_bytes > 0);
    shoal_subscription_destroy(&subscription);
    RUN_UNTIL(&bed, shoal_outputs_info(bed.outputs).memory_bytes == 0);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
grants_follow_what_was_written(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    owner_t owner = {0};
    shoal_draft_t *draft = draft_of(output, &owner);
    int64_t credit = shoal_draft_credit(draft);
    for (unsigned i = 0; i < 8; i++) {
        append(draft, "batch", 65536);
    }
    CHECK(shoal_draft_credit(draft) == credit - 8 * 65536 && owner.bytes == 0);
    RUN_UNTIL(&bed, owner.bytes == 8 * 65536ULL);
    CHECK(shoal_draft_credit(draft) == credit);
    shoal_draft_destroy(&draft);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
many_attempts_share_the_credit(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/4 * SHOAL_OUTPUT_CREDIT_BYTES, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    shoal_draft_t *drafts[8];
    for (unsigned i = 0; i < 8; i++) {
        drafts[i] = draft_of(output, NULL);
        CHECK(shoal_draft_credit(drafts[i]) ==
              (i < 4 ? SHOAL_OUTPUT_CREDIT_BYTES : SHOAL_OUTPUT_CREDIT_LEAST));
    }
    for (unsigned i = 0; i < 8; i++) {
        shoal_draft_destroy(&drafts[i]);
    }
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_full_spool_stops_grants_but_one_attempt_goes_on(void)
{
    bed_t bed;
    setup(&bed, 0, /*spool_bytes=*/2000000); // 500,000 of it are kept back
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    owner_t owners[2] = {{0}};
    shoal_draft_t *first = draft_of(output, &owners[0]);
    shoal_draft_t *second = draft_of(output, &owners[1]);
    unsigned sent = 0;
    for (uint64_t seen = UINT64_MAX; seen != sent;) { // until nobody may send any more
        seen = sent;
        for (unsigned i = 0; i < 2; i++) {
            shoal_draft_t *draft = i == 0 ? first : second;
            if (shoal_draft_credit(draft) > 0) {
                append(draft, "batch", 65536);
                sent++;
            }
        }
        RUN_UNTIL(&bed, is_settled(&bed));
    }
    CHECK(sent * 65536U > 1500000 && sent * 65536U < 2000000 + 65536);
    CHECK(shoal_output_is_waiting(output) && bed.is_waiting[1]);
    CHECK(owners[0].bytes != owners[1].bytes); // the elder had the reserve
    uint32_t credit = 0;
    CHECK(shoal_draft_new(output, 3, 1, NULL, &credit) == NULL);

    // The other one's end makes room for it.
    bool is_first_elder = owners[0].bytes > owners[1].bytes;
    shoal_draft_t *elder = is_first_elder ? first : second;
    shoal_draft_t *loser = is_first_elder ? second : first;
    shoal_draft_destroy(&loser);
    RUN_UNTIL(&bed, shoal_draft_credit(elder) > 0);
    append(elder, "last", 65536);
    CHECK(shoal_draft_commit(&elder, 0) == 1);
    RUN_UNTIL(&bed, is_settled(&bed));
    shoal_output_destroy(&output);
    RUN_UNTIL(&bed, shoal_outputs_info(bed.outputs).spool_bytes == 0);

    output = shoal_output_new(bed.outputs, 3, true);
    first = draft_of(output, NULL);
    CHECK(!shoal_output_is_waiting(output));
    shoal_draft_destroy(&first);
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_disk_that_takes_nothing_is_told_and_recovers(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/1, 0);
    atomic_store(&full_spool_room, 200000);
    shoal_output_t *full = shoal_output_new(bed.outputs, 1, true);
    shoal_output_t *other = shoal_output_new(bed.outputs, 2, true);
    owner_t owner = {0};
    shoal_draft_t *draft = draft_of(full, &owner);
    append(draft, "a", 150000);
    append(draft, "b", 100000);
    RUN_UNTIL(&bed, shoal_outputs_info(bed.outputs).is_stalled);
    CHECK(bed.disk.code == SHOAL_LIMIT && bed.disk_calls == 1);
    CHECK(shoal_output_is_waiting(full) && !shoal_output_is_waiting(other));
    uint32_t credit = 0;
    CHECK(shoal_draft_new(other, 9, 1, NULL, &credit) == NULL);
    CHECK(shoal_output_is_waiting(other));
    RUN_UNTIL(&bed, bed.is_waiting[1] && bed.is_waiting[2]);

    (void)shoal_draft_commit(&draft, 0); // visible at once, though half of it is in memory only
    (void)shoal_output_subscribe(full, &bed.peers[0], 1, 1000000);
    RUN_UNTIL(&bed, bed.peers[0].pieces == 2);
    atomic_store(&full_spool_room, INT64_MAX);
    shoal_output_destroy(&full);
    RUN_UNTIL(&bed, !shoal_outputs_info(bed.outputs).is_stalled && is_settled(&bed));
    CHECK(bed.disk.code == SHOAL_OK && bed.disk_calls == 2);
    RUN_UNTIL(&bed, !bed.is_waiting[2]);
    commit_one(other, "goes on", 7);
    (void)shoal_output_subscribe(other, &bed.peers[1], 1, 100);
    RUN_UNTIL(&bed, bed.peers[1].pieces == 1);
    shoal_output_destroy(&other);
    teardown(&bed);
}

static void
damage_on_the_disk_ends_the_subscription_with_its_cause(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/1, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    commit_one(output, "good", 5000);
    commit_one(output, "bad", 5000);
    RUN_UNTIL(&bed, is_settled(&bed));
    char *path = folder_file(&bed.folder, "spool-1-1.seg");
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, "X", 1, 64 + 5000 + 64 + 100) == 1);
    (void)close(fd);
    free(path);
    (void)shoal_output_subscribe(output, &bed.peers[0], 1, 100000);
    RUN_UNTIL(&bed, bed.peers[0].failure.code != SHOAL_OK);
    CHECK(bed.peers[0].failure.code == SHOAL_IO && bed.peers[0].pieces == 1);
    CHECK_SAYS(bed.peers[0].failure.text, "checksum");
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
a_job_that_collects_nothing_counts_only(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, false);
    owner_t owner = {0};
    shoal_draft_t *draft = draft_of(output, &owner);
    append(draft, "gone", 100000);
    CHECK(shoal_outputs_info(bed.outputs).memory_bytes == 0);
    RUN_UNTIL(&bed, owner.bytes == 100000);
    CHECK(shoal_draft_batches(draft) == 1);
    CHECK(shoal_draft_commit(&draft, 0) == 1);
    CHECK(folder_count(&bed.folder) == 1 && shoal_output_bytes(output) == 0); // the lock
    shoal_output_destroy(&output);
    teardown(&bed);
}

static void
the_outputs_may_go_while_the_disk_is_at_work(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/1, 0);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    owner_t owner = {0};
    shoal_draft_t *draft = draft_of(output, &owner);
    for (unsigned i = 0; i < 50; i++) {
        append(draft, "batch", 200000);
        if (i % 7 == 0) {
            (void)shoal_outputs_run(bed.outputs, 0);
        }
    }
    (void)shoal_draft_commit(&draft, 0);
    (void)shoal_outputs_run(bed.outputs, 0);
    shoal_output_destroy(&output);
    teardown(&bed);
}

// 400 attempts of three jobs, each committed or dropped by a coin; two readers, one of them slow and
// on the disk. Each reader sees each committed batch once, in order.
static void
random_attempts_come_out_once_and_whole(void)
{
    bed_t bed;
    setup(&bed, /*memory_bytes=*/300000, 0);
    unsigned seed = 20240607;
    print_message("seed %u\n", seed);
    shoal_output_t *output = shoal_output_new(bed.outputs, 1, true);
    shoal_buffer_t expected = SHOAL_BUFFER_INIT;
    shoal_subscription_t *fast = shoal_output_subscribe(output, &bed.peers[0], 1, 1U << 30);
    for (unsigned i = 0; i < 400; i++) {
        shoal_draft_t *draft = draft_of(output, &(owner_t){0});
        unsigned batches = (unsigned)rand_r(&seed) % 4;
        bool is_kept = rand_r(&seed) % 3 != 0;
        for (unsigned n = 0; n < batches; n++) {
            char text[32];
            (void)snprintf(text, sizeof(text), "%u/%u", i, n);
            append(draft, text, strlen(text) + (rand_r(&seed) % 2 ? 0 : 9000));
            if (is_kept) {
                shoal_buffer_append_format(&expected, "%llu.%u%s %s",
                                           (unsigned long long)shoal_output_commits(output) + 1, n,
                                           n + 1 == batches ? "!" : "", text);
            }
        }
        if (is_kept) {
            (void)shoal_draft_commit(&draft, 0);
        } else {
            shoal_draft_destroy(&draft);
        }
        if (rand_r(&seed) % 2) {
            turn(&bed);
        }
    }
    shoal_output_finish(output, 0);
    (void)shoal_output_subscribe(output, &bed.peers[1], 1, 1U << 30);
    RUN_UNTIL(&bed, strstr(log_of(&bed.peers[0]), "END") && strstr(log_of(&bed.peers[1]), "END"));
    assert_string_equal(log_of(&bed.peers[0]), log_of(&bed.peers[1]));
    // The log without the dots of long batches, the bars and the empty commits.
    shoal_buffer_t seen = SHOAL_BUFFER_INIT;
    for (char *save = NULL, *word = strtok_r(bed.peers[0].log.ptr, "|", &save); word;
         word = strtok_r(NULL, "|", &save)) {
        size_t len = strlen(word);
        while (len > 0 && word[len - 1] == '.') {
            len--;
        }
        if (word[len - 1] != ' ' && strncmp(word, "END", 3) != 0) {
            shoal_buffer_append(&seen, word, len);
        }
    }
    assert_string_equal(shoal_buffer_text(&seen), shoal_buffer_text(&expected));
    shoal_buffer_fini(&seen);
    shoal_buffer_fini(&expected);
    shoal_subscription_destroy(&fast);
    shoal_output_destroy(&output);
    teardown(&bed);
}

TEST_MAIN(TEST(an_attempts_batches_are_visible_all_or_none),
          TEST(a_draft_may_end_while_its_batches_are_on_their_way),
          TEST(a_commit_without_batches_is_one_empty_piece),
          TEST(a_client_goes_on_from_any_commit_as_often_as_it_likes),
          TEST(credit_bounds_what_is_ahead_of_the_client),
          TEST(a_peer_that_is_full_is_tried_again_and_one_that_is_gone_is_not),
          TEST(one_turn_is_bounded_and_the_next_goes_on),
          TEST(what_memory_has_no_room_for_comes_back_from_the_disk),
          TEST(a_small_job_touches_no_disk), TEST(the_oldest_batches_go_to_the_disk_many_at_a_time),
          TEST(a_subscriber_that_goes_leaves_no_memory_behind),
          TEST(grants_follow_what_was_written), TEST(many_attempts_share_the_credit),
          TEST(a_full_spool_stops_grants_but_one_attempt_goes_on),
          TEST(a_disk_that_takes_nothing_is_told_and_recovers),
          TEST(damage_on_the_disk_ends_the_subscription_with_its_cause),
          TEST(a_job_that_collects_nothing_counts_only),
          TEST(the_outputs_may_go_while_the_disk_is_at_work),
          TEST(random_attempts_come_out_once_and_whole))
