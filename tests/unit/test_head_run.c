// SPDX-License-Identifier: Apache-2.0
//
// test_head_run.c - what head/cluster/run.h promises of choosing letters and making shards of them.

#include "head/cluster/run.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

typedef struct {
    uint64_t all;
    shoal_job_t *base;
    shoal_status_t status;
} bed_t;

static shoal_job_t *
job_new(uint64_t number)
{
    const shoal_spec_t spec = {.class_name = SHOAL_SLICE("pipeline"), .args = SHOAL_SLICE("\xc0")};
    return shoal_job_new(number, SHOAL_SLICE("j"), &spec, 0, 0);
}

static void
bed_init(bed_t *bed)
{
    *bed = (bed_t){.base = job_new(1)};
    bed->base->letters = shoal_letters_new(1, &bed->all, NULL);
    bed->base->state = SHOAL_JOB_PARTIAL;
}

static void
bed_fini(bed_t *bed)
{
    shoal_job_destroy(&bed->base);
    CHECK(bed->all == 0);
}

// A letter of shard `origin`; a record has `size` bytes and is counted in scope `origin`.
static void
add(bed_t *bed, shoal_letter_kind_t kind, uint64_t origin, uint64_t needs, size_t size)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    (void)shoal_fail_as(&why, SHOAL_DATA, SHOAL_INVALID, "bad");
    memset(shoal_buffer_reserve(&text, size + 1), 'x', size);
    text.len = size;
    shoal_write_map(&record, 1);
    shoal_write_key(&record, "k");
    shoal_write_str(&record, shoal_buffer_slice(&text));
    shoal_letter_facts_t facts = {
        .kind = kind,
        .run = 1,
        .why = &why,
        .worker = "w",
        .stage = "map",
        .title = SHOAL_SLICE("part"),
        .name = SHOAL_SLICE("n"),
        .type = SHOAL_SLICE("table"),
        .origin = origin,
        .needs = needs,
        .scope = (uint32_t)origin,
        .scope_name = SHOAL_SLICE("svc"),
        .item_stage =
            needs > 0 || kind != SHOAL_LETTER_SHARD ? SHOAL_STAGE_MAP : SHOAL_STAGE_PREPARE,
        .item_args = SHOAL_SLICE("\x07"),
    };
    if (kind == SHOAL_LETTER_RECORD) {
        facts.record = shoal_buffer_slice(&record);
    }
    CHECK(shoal_letters_add(bed->base->letters, &facts, &bed->status));
    shoal_buffer_fini(&record);
    shoal_buffer_fini(&text);
}

static shoal_job_t *
run_of(bed_t *bed, shoal_slice_t wanted, uint64_t number)
{
    shoal_run_plan_t plan;
    CHECK_OK(shoal_run_choose(bed->base, wanted, &plan, &bed->status), bed->status);
    shoal_job_t *run = job_new(number);
    shoal_run_attach(run, bed->base, &plan);
    CHECK(run->of == bed->base);
    CHECK_OK(shoal_run_open(run, &bed->status), bed->status);
    return run;
}

// How many letters the call of a shard has in its arguments.
static uint32_t
letters_in(const shoal_job_t *run, uint32_t group)
{
    shoal_slice_t letters = SHOAL_SLICE_NONE;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    shoal_run_args(run, SHOAL_SHARD_FIRST + group, &args);
    CHECK(args.len <= 262144);
    CHECK(shoal_map_find(shoal_buffer_slice(&args), "letters", &letters));
    shoal_cursor_t cursor = shoal_cursor_over(letters);
    uint32_t count = shoal_cursor_array(&cursor);
    shoal_buffer_fini(&args);
    return count;
}

static void
records_go_together_while_they_fit_into_a_call(void)
{
    bed_t bed;
    bed_init(&bed);
    for (int i = 0; i < SHOAL_RUN_REPLAY_MAX + 3; i++) {
        add(&bed, SHOAL_LETTER_RECORD, 1, 0, 1);
    }
    add(&bed, SHOAL_LETTER_RECORD, 2, 0, 190000);
    add(&bed, SHOAL_LETTER_RECORD, 2, 0, 190000);
    shoal_job_t *run = run_of(&bed, SHOAL_SLICE_NONE, 2);
    CHECK(run->run == 2 && run->shards >= 4);
    uint32_t total = 0;
    for (uint32_t i = 0; i < run->group_count; i++) {
        CHECK(strcmp(shoal_run_method(run, SHOAL_SHARD_FIRST + i), "replay") == 0);
        uint32_t count = letters_in(run, i);
        CHECK(count > 0 && count <= SHOAL_RUN_REPLAY_MAX);
        total += count;
    }
    CHECK(total == SHOAL_RUN_REPLAY_MAX + 5);
    CHECK(shoal_books_scope(&run->books, 1)->listed == SHOAL_RUN_REPLAY_MAX + 3);
    CHECK(shoal_books_scope(&run->books, 2)->listed == 2);
    shoal_job_destroy(&run);
    bed_fini(&bed);
}

static void
what_is_read_again_goes_by_its_shard(void)
{
    bed_t bed;
    bed_init(&bed);
    for (uint64_t i = 0; i < 4; i++) {
        add(&bed, SHOAL_LETTER_SOURCE, 1 + i % 2, 0, 0);
    }
    shoal_job_t *run = run_of(&bed, SHOAL_SLICE_NONE, 2);
    CHECK(run->group_count == 2);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(strcmp(shoal_run_method(run, SHOAL_SHARD_FIRST + i), "reread") == 0);
        CHECK(letters_in(run, i) == 2);
    }
    // Done, and one of the letters has come again: it stays, the other one is gone.
    shoal_letters_find(bed.base->letters, 1)->taken = 0;
    shoal_run_settle(run, SHOAL_SHARD_FIRST);
    CHECK(shoal_letters_find(bed.base->letters, 1) && !shoal_letters_find(bed.base->letters, 3));
    shoal_run_release(run);
    CHECK(shoal_letters_find(bed.base->letters, 2)->taken == 0);
    shoal_job_destroy(&run);
    bed_fini(&bed);
}

static void
a_shard_takes_along_those_that_it_needs(void)
{
    bed_t bed;
    bed_init(&bed);
    add(&bed, SHOAL_LETTER_SHARD, 1, 0, 0); // 1: the service
    add(&bed, SHOAL_LETTER_SHARD, 2, 1, 0); // 2: a database
    add(&bed, SHOAL_LETTER_SHARD, 3, 2, 0); // 3: its tables
    add(&bed, SHOAL_LETTER_SHARD, 4, 2, 0); // 4: more of them
    shoal_job_t *run = run_of(&bed, SHOAL_SLICE("\x91\x03"), 2);
    CHECK(run->group_count == 3);
    CHECK(shoal_backlog_at(run->backlog, SHOAL_SHARD_FIRST)->state == SHOAL_SHARD_READY);
    for (uint32_t i = 1; i < 3; i++) {
        const shoal_shard_t *shard = shoal_backlog_at(run->backlog, SHOAL_SHARD_FIRST + i);
        CHECK(shard->needs == SHOAL_SHARD_FIRST + i - 1 && shard->state == SHOAL_SHARD_WAITING);
    }
    CHECK(strcmp(shoal_run_method(run, SHOAL_SHARD_FIRST), "prepare") == 0);
    CHECK(strcmp(shoal_run_method(run, SHOAL_SHARD_FIRST + 2), "map") == 0);

    // Those that are tried cannot be tried or dropped; the rest can.
    shoal_run_plan_t plan;
    CHECK_FAILS(shoal_run_choose(bed.base, SHOAL_SLICE("\x91\x01"), &plan, &bed.status), bed.status,
                SHOAL_EXISTS);
    CHECK_FAILS(shoal_run_drop(bed.base, SHOAL_SLICE("\x92\x04\x01"), &bed.status), bed.status,
                SHOAL_EXISTS);
    CHECK(shoal_letters_count(bed.base->letters) == 4);
    CHECK_OK(shoal_run_drop(bed.base, SHOAL_SLICE_NONE, &bed.status), bed.status);
    CHECK(shoal_letters_count(bed.base->letters) == 3);
    CHECK_FAILS(shoal_run_drop(bed.base, SHOAL_SLICE_NONE, &bed.status), bed.status, SHOAL_EXISTS);
    CHECK_FAILS(shoal_run_drop(bed.base, SHOAL_SLICE("\x91\x09"), &bed.status), bed.status,
                SHOAL_NOT_FOUND);
    CHECK_FAILS(shoal_run_drop(bed.base, SHOAL_SLICE("\x07"), &bed.status), bed.status,
                SHOAL_INVALID);
    shoal_run_release(run);
    CHECK_OK(shoal_run_drop(bed.base, SHOAL_SLICE_NONE, &bed.status), bed.status);
    CHECK_FAILS(shoal_run_choose(bed.base, SHOAL_SLICE_NONE, &plan, &bed.status), bed.status,
                SHOAL_NOT_FOUND);
    shoal_job_destroy(&run);
    bed_fini(&bed);
}

TEST_MAIN(TEST(records_go_together_while_they_fit_into_a_call),
          TEST(what_is_read_again_goes_by_its_shard), TEST(a_shard_takes_along_those_that_it_needs))
