// SPDX-License-Identifier: Apache-2.0
//
// test_head_summary.c - what head/hub/summary.h promises: how far a job is, and what it waits for.

#include "head/hub/summary.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

static shoal_job_t *
job_new(void)
{
    const shoal_spec_t spec = {.class_name = SHOAL_SLICE("c"), .args = SHOAL_SLICE("\xc0")};
    return shoal_job_new(1, SHOAL_SLICE("id"), &spec, 0, 1000);
}

// A map shard that costs so much and is to bring so many records.
static void
add_shard(shoal_job_t *job, uint64_t number, uint64_t cost_us, uint64_t expected)
{
    shoal_buffer_t item = SHOAL_BUFFER_INIT;
    shoal_write_map(&item, 4);
    shoal_write_key(&item, "shard");
    shoal_write_uint(&item, number);
    shoal_write_key(&item, "stage");
    shoal_write_uint(&item, SHOAL_STAGE_MAP);
    shoal_write_key(&item, "cost");
    shoal_write_uint(&item, cost_us);
    shoal_write_key(&item, "expects");
    shoal_write_array(&item, 1);
    shoal_write_array(&item, 2);
    shoal_write_uint(&item, 1);
    shoal_write_uint(&item, expected);
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_job_take_items(job, shoal_buffer_slice(&item), &status), status);
    shoal_buffer_fini(&item);
}

static shoal_slice_t
find(const shoal_buffer_t *map, const char *key)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    CHECK(shoal_map_find(shoal_buffer_slice(map), key, &value));
    return value;
}

static double
progress_of(const shoal_job_t *job, const shoal_registry_t *registry, uint64_t *ret_arriving)
{
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    shoal_summary_write(job, SHOAL_JOB_RUNNING, registry, 2000, &detail);
    shoal_cursor_t cursor = shoal_cursor_over(find(&detail, "progress"));
    double progress = shoal_cursor_float(&cursor);
    shoal_slice_t arriving;
    CHECK(shoal_map_find(find(&detail, "records"), "arriving", &arriving));
    cursor = shoal_cursor_over(arriving);
    *ret_arriving = shoal_cursor_uint(&cursor);
    shoal_buffer_fini(&detail);
    return progress;
}

static void
progress_is_the_share_of_the_costs_and_counts_parts_of_running_shards(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    CHECK(shoal_registry_class(registry, SHOAL_SLICE("c")) == 0);
    shoal_job_t *job = job_new();
    uint64_t arriving = 0;
    CHECK(progress_of(job, registry, &arriving) == 0.0 && arriving == 0);
    add_shard(job, 1, 1000000, 100);
    add_shard(job, 2, 3000000, 100);
    CHECK(progress_of(job, registry, &arriving) == 0.0);

    uint32_t small = 1 + SHOAL_SHARD_FIRST;
    uint32_t large = 2 + SHOAL_SHARD_FIRST;
    shoal_backlog_set(job->backlog, small, SHOAL_SHARD_RUNNING);
    shoal_job_shard_done(job, small);
    CHECK(progress_of(job, registry, &arriving) == 0.25);

    shoal_backlog_set(job->backlog, large, SHOAL_SHARD_RUNNING);
    shoal_attempt_t discover = {.shard = SHOAL_SHARD_DISCOVER, .records = 7};
    shoal_attempt_t attempt = {.shard = large, .records = 50, .job_next = &discover};
    job->attempts = &attempt;
    CHECK(progress_of(job, registry, &arriving) == 0.625 && arriving == 50);
    attempt.records = 500; // more than were expected
    CHECK(progress_of(job, registry, &arriving) == 1.0 && arriving == 500);

    job->attempts = NULL;
    shoal_job_destroy(&job);
    shoal_registry_destroy(&registry);
}

static void
a_job_waits_for_another_try_only_while_nothing_runs(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    const shoal_offer_t offer = {.id = SHOAL_SLICE("w"),
                                 .incarnation = 1,
                                 .slots = 1,
                                 .window = 1,
                                 .classes = SHOAL_SLICE("\x91\xa1"
                                                        "c")};
    shoal_worker_t *worker = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_registry_join(registry, &offer, &worker, &status), status);
    shoal_job_t *job = job_new();
    job->class_number = (unsigned)shoal_registry_class(registry, SHOAL_SLICE("c"));
    shoal_backlog_set(job->backlog, SHOAL_SHARD_CHECK, SHOAL_SHARD_RUNNING);
    (void)shoal_fail(&status, SHOAL_UNAVAILABLE, "refused");
    job->spec.max_attempts = 3;
    job->spec.backoff_ms = 100;
    CHECK(shoal_job_shard_failed(job, SHOAL_SHARD_CHECK, SHOAL_END_FAILED, &status, "w", 1) > 0);
    shoal_buffer_t wait = SHOAL_BUFFER_INIT;
    shoal_summary_wait(job, registry, &wait);
    assert_string_equal(shoal_buffer_text(&wait), "another try after: refused");
    shoal_buffer_clear(&wait);
    shoal_job_shard_ripe(job, SHOAL_SHARD_CHECK);
    shoal_backlog_set(job->backlog, SHOAL_SHARD_CHECK, SHOAL_SHARD_RUNNING);
    job->running = 1;
    shoal_summary_wait(job, registry, &wait);
    CHECK(wait.len == 0);
    shoal_buffer_fini(&wait);
    shoal_job_destroy(&job);
    shoal_registry_destroy(&registry);
}

TEST_MAIN(TEST(progress_is_the_share_of_the_costs_and_counts_parts_of_running_shards),
          TEST(a_job_waits_for_another_try_only_while_nothing_runs))
