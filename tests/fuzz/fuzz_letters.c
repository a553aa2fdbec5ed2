// SPDX-License-Identifier: Apache-2.0
//
// fuzz_letters.c - the dead letters that a worker sends, and those that the journal gives back.
//
// The bytes are a BATCH of letters: whatever is taken is shown, chosen for a run and turned into its
// calls. The same bytes are then read as a letter that was kept.

#include "head/cluster/mail.h"
#include "head/cluster/registry.h"
#include "head/cluster/run.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "tests/fuzz/fuzz.h"

static shoal_job_t *
job_of(uint64_t number, uint64_t *all)
{
    const shoal_spec_t spec = {.class_name = SHOAL_SLICE("pipeline"),
                               .args = SHOAL_SLICE("\xc0"),
                               .max_attempts = 1,
                               .weight = 10};
    shoal_job_t *job = shoal_job_new(number, SHOAL_SLICE("j"), &spec, 0, 0);
    job->letters = shoal_letters_new(number, all, NULL);
    return job;
}

// Lets a shard of the job send the bytes as `count` letters; true if they were taken.
static bool
send(shoal_job_t *job, uint64_t count, shoal_slice_t payload)
{
    const shoal_shard_item_t item = {.stage = SHOAL_STAGE_MAP,
                                     .needs = SHOAL_SHARD_NONE,
                                     .title = SHOAL_SLICE("part"),
                                     .args = SHOAL_SLICE("\x01")};
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_worker_t worker = {.id = "w"};
    shoal_attempt_t attempt = {.worker = &worker, .shard = SHOAL_SHARD_FIRST, .number = 1};
    FUZZ_CHECK(shoal_backlog_add(job->backlog, SHOAL_SHARD_FIRST, &item, &status));
    bool is_taken = shoal_mail_take(job, &attempt, count, payload, &status) &&
                    shoal_mail_check(job, &attempt, &status);
    if (is_taken) {
        shoal_mail_commit(job, &attempt, 7);
        FUZZ_CHECK(shoal_letters_count(job->letters) == count || job->is_stopping);
    } else {
        FUZZ_CHECK(status.code == SHOAL_PROTOCOL || status.code == SHOAL_LIMIT);
    }
    shoal_mail_forget(job, &attempt);
    FUZZ_CHECK(job->letters_waiting == 0);
    return is_taken;
}

// Whatever clients and workers would get of the letters is well-formed.
static void
look(shoal_job_t *base, unsigned depth, uint64_t *all)
{
    shoal_letter_t *letter;
    for (uint64_t from = 0; (letter = shoal_letters_next(base->letters, from)) != NULL;) {
        shoal_buffer_t out = SHOAL_BUFFER_INIT;
        from = letter->number + 1;
        shoal_letter_show(letter, /*is_whole=*/true, &out);
        FUZZ_CHECK(shoal_cursor_check(shoal_buffer_slice(&out), depth));
        shoal_buffer_fini(&out);
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_run_plan_t plan;
    base->state = SHOAL_JOB_PARTIAL;
    if (!shoal_run_choose(base, SHOAL_SLICE_NONE, &plan, &status)) {
        return;
    }
    shoal_job_t *run = job_of(2, all);
    shoal_letters_destroy(&run->letters);
    shoal_run_attach(run, base, &plan);
    FUZZ_CHECK(shoal_run_open(run, &status));
    for (uint32_t i = 0; i < run->group_count; i++) {
        shoal_buffer_t args = SHOAL_BUFFER_INIT;
        FUZZ_CHECK(shoal_run_method(run, SHOAL_SHARD_FIRST + i)[0] != '\0');
        shoal_run_args(run, SHOAL_SHARD_FIRST + i, &args);
        FUZZ_CHECK(shoal_cursor_check(shoal_buffer_slice(&args), depth));
        FUZZ_CHECK(args.len < 262144 || run->groups[i].count == 1);
        shoal_buffer_fini(&args);
    }
    shoal_job_destroy(&run);
    base->next_run = NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint64_t all = 0;
    shoal_slice_t payload = fuzz_slice(bytes + (size > 0), size - (size > 0));
    shoal_job_t *job = job_of(1, &all);
    if (size > 0 && size <= 65536 && send(job, bytes[0], payload)) {
        look(job, 31, &all);
    }
    shoal_job_destroy(&job);
    shoal_status_t status = SHOAL_STATUS_INIT;
    job = job_of(1, &all);
    if (shoal_letters_restore(job->letters, payload, &status)) {
        look(job, SHOAL_CHECK_DEPTH_MAX, &all);
    } else {
        FUZZ_CHECK(status.code == SHOAL_IO);
    }
    shoal_job_destroy(&job);
    FUZZ_CHECK(all == 0);
    return 0;
}
