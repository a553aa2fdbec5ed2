// SPDX-License-Identifier: Apache-2.0
//
// test_retention.c - which finished jobs head/cluster/cluster.h forgets, with real outputs.

#include <poll.h>

#include "head/cluster/cluster.h"
#include "proto/base/clock.h"
#include "proto/record/writer.h"
#include "tests/support/folder.h"

#define HOUR_MS     3600000
#define DEADLINE_MS 10000

typedef struct {
    folder_t folder;
    shoal_outputs_t *outputs;
    shoal_ledger_t *ledger;
    shoal_cluster_t *cluster;
    uint64_t now_ms;
    shoal_status_t status;
} bed_t;

static shoal_port_sent_t
no_call(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt, const char *method,
        shoal_slice_t args, uint64_t limit, uint32_t credit)
{
    (void)ctx;
    (void)worker;
    (void)attempt;
    (void)method;
    (void)args;
    (void)limit;
    (void)credit;
    return SHOAL_PORT_CUT; // there are no workers
}

static void
no_change(void *ctx, shoal_job_t *job, bool is_urgent)
{
    (void)ctx;
    (void)job;
    (void)is_urgent;
}

static void
no_farewell(void *ctx, shoal_job_t *job)
{
    (void)ctx;
    (void)job;
}

static void
no_grant(void *ctx, void *owner, uint32_t bytes)
{
    (void)ctx;
    (void)owner;
    (void)bytes;
}

static shoal_sent_t
take_piece(void *ctx, void *peer, const shoal_piece_t *piece, zmq_msg_t *payload)
{
    (void)ctx;
    (void)peer;
    (void)piece;
    (void)payload;
    return SHOAL_SENT;
}

static shoal_sent_t
take_end(void *ctx, void *peer, uint64_t job, uint64_t commits)
{
    (void)ctx;
    (void)peer;
    (void)job;
    (void)commits;
    return SHOAL_SENT;
}

static void
no_failure(void *ctx, void *peer, uint64_t job, const shoal_status_t *why)
{
    (void)ctx;
    (void)peer;
    (void)job;
    fail_msg("%s", why->text);
}

static void
no_trouble(void *ctx, const shoal_status_t *why)
{
    (void)ctx;
    (void)why;
}

static void
no_wait(void *ctx, uint64_t job, bool is_waiting)
{
    (void)ctx;
    (void)job;
    (void)is_waiting;
}

// ---- a journal that takes everything

static void
take_bytes(void *ctx, uint64_t job, shoal_slice_t bytes)
{
    (void)ctx;
    (void)job;
    (void)bytes;
}

static void
take_row(void *ctx, const shoal_journal_job_t *row)
{
    (void)ctx;
    (void)row;
}

static void
take_entries(void *ctx, uint64_t job, shoal_buffer_t *entries)
{
    (void)ctx;
    (void)job;
    shoal_buffer_clear(entries);
}

static void
take_number(void *ctx, uint64_t number)
{
    (void)ctx;
    (void)number;
}

static const shoal_ledger_sink_t sink = {.seal = take_bytes,
                                         .open = take_row,
                                         .entries = take_entries,
                                         .end = take_row,
                                         .forget = take_number,
                                         .mark = take_number};

static void
setup_with(bed_t *bed, uint64_t spool_bytes, uint64_t retain_bytes,
           const shoal_ledger_sink_t *ledger_sink)
{
    *bed = (bed_t){.folder = folder_new(), .now_ms = 1000000, .status = SHOAL_STATUS_INIT};
    shoal_outputs_config_t outputs = {.directory = bed->folder.path,
                                      .spool_bytes = spool_bytes,
                                      .hooks = {.ctx = bed,
                                                .grant = no_grant,
                                                .piece = take_piece,
                                                .end = take_end,
                                                .failed = no_failure,
                                                .disk = no_trouble,
                                                .waits = no_wait}};
    CHECK_OK(shoal_outputs_new(&outputs, &bed->outputs, &bed->status), bed->status);
    bed->ledger = shoal_ledger_new(ledger_sink);
    shoal_cluster_config_t cluster = {
        .ledger = bed->ledger,
        .port = {.ctx = bed, .call = no_call, .changed = no_change, .forgotten = no_farewell},
        .outputs = bed->outputs,
        .lease_ms = 1000,
        .retain_ms = 24 * HOUR_MS,
        .retain_bytes = retain_bytes};
    bed->cluster = shoal_cluster_new(&cluster);
    shoal_cluster_run(bed->cluster, bed->now_ms);
}

static void
setup(bed_t *bed, uint64_t spool_bytes, uint64_t retain_bytes)
{
    setup_with(bed, spool_bytes, retain_bytes, NULL); // everything is durable at once
}

static void
teardown(bed_t *bed)
{
    shoal_cluster_destroy(&bed->cluster);
    shoal_ledger_destroy(&bed->ledger);
    shoal_outputs_destroy(&bed->outputs);
    folder_remove(&bed->folder);
}

static shoal_job_t *
submit(bed_t *bed)
{
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    shoal_write_map(&spec, 2);
    shoal_write_key(&spec, "class");
    shoal_write_text(&spec, "pipeline");
    shoal_write_key(&spec, "collect");
    shoal_write_bool(&spec, true);
    char id[32];
    (void)snprintf(id, sizeof(id), "job-%zu", shoal_cluster_counts(bed->cluster)->jobs + (size_t)1);
    shoal_job_t *job = NULL;
    CHECK_OK(shoal_cluster_submit(bed->cluster, shoal_slice_of(id), shoal_buffer_slice(&spec),
                                  bed->now_ms, &job, &bed->status),
             bed->status);
    shoal_buffer_fini(&spec);
    return job;
}

// Gives the job a commit of that many bytes.
static void
commit(shoal_job_t *job, size_t bytes)
{
    uint32_t credit = 0;
    shoal_draft_t *draft = shoal_draft_new(job->output, 1, 1, NULL, &credit);
    CHECK(draft != NULL);
    while (bytes > 0) {
        size_t part = bytes < 65536 ? bytes : 65536;
        zmq_msg_t payload;
        CHECK(zmq_msg_init_size(&payload, part) == 0);
        memset(zmq_msg_data(&payload), 'x', part);
        shoal_draft_append(draft, 1, &payload);
        (void)zmq_msg_close(&payload);
        bytes -= part;
    }
    (void)shoal_draft_commit(&draft, 0);
}

static uint64_t
finished_job(bed_t *bed, size_t bytes)
{
    shoal_job_t *job = submit(bed);
    if (bytes > 0) {
        commit(job, bytes);
    }
    shoal_cluster_stop_job(bed->cluster, job, "the test", bed->now_ms);
    CHECK(shoal_job_is_final(job));
    return job->number;
}

static void
fetch(bed_t *bed, uint64_t number)
{
    shoal_job_t *job = shoal_cluster_job(bed->cluster, number);
    shoal_subscription_t *subscription = shoal_output_subscribe(job->output, bed, 1, UINT32_MAX);
    uint64_t deadline_ms = shoal_clock_ms() + DEADLINE_MS;
    while (shoal_output_is_read(job->output)) {
        CHECK(shoal_clock_ms() < deadline_ms);
        struct pollfd item = {shoal_outputs_fd(bed->outputs), POLLIN, 0};
        (void)poll(&item, 1, 1);
        (void)shoal_outputs_run(bed->outputs, bed->now_ms);
    }
    // It was sent all of it, and may be gone before it has read that.
    CHECK(job->output &&
          (!shoal_output_is_fetched(job->output) || shoal_output_bytes(job->output) == 0));
    shoal_subscription_taken(subscription, shoal_output_commits(job->output), 0);
    CHECK(shoal_output_is_fetched(job->output));
}

// Makes durable what was decided.
static void
settle(bed_t *bed)
{
    shoal_ledger_flush(bed->ledger);
    (void)shoal_ledger_pass(bed->ledger, shoal_ledger_lsn(bed->ledger));
}

// Lets time pass and the cluster look.
static void
pass(bed_t *bed, uint64_t ms)
{
    settle(bed);
    bed->now_ms += ms;
    shoal_cluster_run(bed->cluster, bed->now_ms);
}

// "1 3": the numbers of the jobs that are left.
static void
check_left(const bed_t *bed, const char *text)
{
    char found[256] = "";
    for (const shoal_job_t *job = shoal_cluster_first_job(bed->cluster); job; job = job->next) {
        size_t len = strlen(found);
        (void)snprintf(found + len, sizeof(found) - len, "%s%llu", len ? " " : "",
                       (unsigned long long)job->number);
    }
    assert_string_equal(found, text);
}

static void
finished_jobs_go_when_they_are_old(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    (void)finished_job(&bed, 10);
    (void)submit(&bed); // runs for ever
    pass(&bed, 12 * HOUR_MS);
    (void)finished_job(&bed, 0);
    pass(&bed, 12 * HOUR_MS - 1);
    check_left(&bed, "1 2 3");
    CHECK(shoal_cluster_next(bed.cluster) <= bed.now_ms + 1000);
    pass(&bed, 1000);
    check_left(&bed, "2 3");
    pass(&bed, 12 * HOUR_MS);
    check_left(&bed, "2");
    teardown(&bed);
}

static void
the_oldest_go_while_they_leave_too_little_of_the_budget(void)
{
    bed_t bed;
    setup(&bed, /*spool_bytes=*/4000000, 0); // 3 MB may be used
    for (int i = 0; i < 3; i++) {
        (void)finished_job(&bed, 800000);
    }
    for (uint64_t number = 1; number <= 3; number++) {
        fetch(&bed, number);
    }
    (void)finished_job(&bed, 0); // takes nothing, so it need not go
    pass(&bed, 1000);
    check_left(&bed, "1 2 3 4");
    (void)finished_job(&bed, 800000);
    pass(&bed, 1000);
    check_left(&bed, "2 3 4 5");
    teardown(&bed);
}

static void
what_nobody_has_fetched_goes_last_and_not_at_once(void)
{
    bed_t bed;
    setup(&bed, /*spool_bytes=*/4000000, 0);
    (void)finished_job(&bed, 900000);
    pass(&bed, 30000);
    (void)finished_job(&bed, 900000);
    (void)finished_job(&bed, 900000);
    fetch(&bed, 3);
    (void)finished_job(&bed, 900000);
    pass(&bed, 1000);
    check_left(&bed, "1 2 4"); // the one that was fetched
    (void)finished_job(&bed, 900000);
    pass(&bed, 1000);
    check_left(&bed, "1 2 4 5"); // somebody may still come for each
    pass(&bed, 28000);
    check_left(&bed, "2 4 5");
    teardown(&bed);
}

// What was there when the head started has its time from then on, as its client may have waited.
static void
records_from_before_the_start_are_kept_once_more(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    (void)finished_job(&bed, 10);
    (void)finished_job(&bed, 0);
    shoal_cluster_job(bed.cluster, 1)->finished_ms -= 900000; // of the life before
    shoal_cluster_job(bed.cluster, 2)->finished_ms -= 900000;
    pass(&bed, 0);
    pass(&bed, 24 * HOUR_MS - 1000);
    check_left(&bed, "1");
    pass(&bed, 1000);
    check_left(&bed, "");
    teardown(&bed);
}

static void
a_job_whose_end_is_not_durable_stays(void)
{
    bed_t bed;
    setup_with(&bed, 0, 0, &sink);
    (void)finished_job(&bed, 10);
    bed.now_ms += 48 * HOUR_MS;
    shoal_cluster_run(bed.cluster, bed.now_ms);
    check_left(&bed, "1");
    pass(&bed, 1000);
    check_left(&bed, "");
    teardown(&bed);
}

static void
a_job_whose_end_was_not_told_stays(void)
{
    bed_t bed;
    setup(&bed, 0, 0);
    shoal_job_t *job = shoal_cluster_job(bed.cluster, finished_job(&bed, 0));
    job->is_changed = true; // an EVENT is due
    pass(&bed, 48 * HOUR_MS);
    check_left(&bed, "1");
    job->is_changed = false;
    pass(&bed, 1000);
    check_left(&bed, "");
    teardown(&bed);
}

static void
what_is_being_read_stays(void)
{
    bed_t bed;
    setup(&bed, /*spool_bytes=*/4000000, 0);
    uint64_t number = finished_job(&bed, 3500000);
    shoal_job_t *job = shoal_cluster_job(bed.cluster, number);
    shoal_subscription_t *reader = shoal_output_subscribe(job->output, &bed, 1, 1); // slow
    pass(&bed, 48 * HOUR_MS);
    check_left(&bed, "1");
    shoal_subscription_destroy(&reader);
    pass(&bed, 1000);
    check_left(&bed, "");
    teardown(&bed);
}

//
static void
a_new_job_takes_the_place_of_one_that_nobody_needs(void)
{
    bed_t bed;
    setup_with(&bed, 0, 0, &sink);
    for (int i = 0; i < SHOAL_JOBS_MAX - 2; i++) {
        (void)submit(&bed);
    }
    uint64_t read = finished_job(&bed, 3500000);
    shoal_subscription_t *reader =
        shoal_output_subscribe(shoal_cluster_job(bed.cluster, read)->output, &bed, 1, 1);
    settle(&bed);
    uint64_t undurable = finished_job(&bed, 0);
    shoal_job_t *job = NULL;
    shoal_slice_t spec = SHOAL_SLICE("\x81\xa5"
                                     "class\xa1"
                                     "c");
    CHECK_FAILS(
        shoal_cluster_submit(bed.cluster, SHOAL_SLICE("more"), spec, bed.now_ms, &job, &bed.status),
        bed.status, SHOAL_LIMIT);
    settle(&bed);
    (void)submit(&bed);
    CHECK(shoal_cluster_job(bed.cluster, read) && !shoal_cluster_job(bed.cluster, undurable));
    shoal_subscription_destroy(&reader);
    (void)submit(&bed);
    CHECK(!shoal_cluster_job(bed.cluster, read));
    teardown(&bed);
}

static void
a_limit_of_bytes_counts_finished_jobs_only(void)
{
    bed_t bed;
    setup(&bed, 0, /*retain_bytes=*/1000000);
    commit(submit(&bed), 900000);
    (void)finished_job(&bed, 900000);
    fetch(&bed, 2);
    pass(&bed, 1000);
    check_left(&bed, "1 2");
    (void)finished_job(&bed, 200000);
    pass(&bed, 1000);
    check_left(&bed, "1 3");
    teardown(&bed);
}

TEST_MAIN(TEST(finished_jobs_go_when_they_are_old),
          TEST(the_oldest_go_while_they_leave_too_little_of_the_budget),
          TEST(what_nobody_has_fetched_goes_last_and_not_at_once), TEST(what_is_being_read_stays),
          TEST(records_from_before_the_start_are_kept_once_more),
          TEST(a_job_whose_end_is_not_durable_stays), TEST(a_job_whose_end_was_not_told_stays),
          TEST(a_new_job_takes_the_place_of_one_that_nobody_needs),
          TEST(a_limit_of_bytes_counts_finished_jobs_only))
