// SPDX-License-Identifier: Apache-2.0
//
// test_postgres_plan.c - how buckets of tables become shards, and the arguments of shards.

#include "connectors/postgres/plan.h"
#include "proto/base/alloc.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

// `count` buckets of `tables` tables, each in schema i % schemas.
static shoal_pg_bucket_t *
make_buckets(size_t count, uint32_t tables, uint32_t schemas)
{
    shoal_pg_bucket_t *buckets = shoal_alloc(count * sizeof(*buckets));
    for (size_t i = 0; i < count; i++) {
        buckets[i] = (shoal_pg_bucket_t){.number = (uint32_t)i,
                                         .schema = (uint32_t)i % schemas,
                                         .first = 16384 + 512 * (uint32_t)i,
                                         .tables = tables};
    }
    return buckets;
}

// Every bucket of a plan is in one shard and the counts add up.
static void
check_whole(const shoal_pg_cut_t *cuts, size_t cut_count, size_t bucket_count, uint64_t tables)
{
    size_t at = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < cut_count; i++) {
        CHECK(cuts[i].begin == at && cuts[i].end > at);
        CHECK(cuts[i].schema == SHOAL_PG_EVERY_SCHEMA && cuts[i].tables > 0);
        at = cuts[i].end;
        sum += cuts[i].tables;
    }
    CHECK(at == bucket_count && sum == tables);
}

static size_t
cut_count_of(shoal_pg_sharding_t sharding, uint64_t tables_per_shard, uint32_t slots,
             size_t buckets, uint32_t tables)
{
    shoal_pg_settings_t settings = {.sharding = sharding, .tables_per_shard = tables_per_shard};
    shoal_pg_bucket_t *list = make_buckets(buckets, tables, 7);
    size_t count;
    shoal_pg_cut_t *cuts = shoal_pg_plan_cut(&settings, slots, list, buckets, 7, &count);
    check_whole(cuts, count, buckets, buckets * (uint64_t)tables);
    free(cuts);
    free(list);
    return count;
}

static void
auto_makes_two_shards_a_slot_but_none_too_small(void)
{
    CHECK(cut_count_of(SHOAL_PG_SHARDING_AUTO, 0, 1, 101, 100) == 2);
    CHECK(cut_count_of(SHOAL_PG_SHARDING_AUTO, 0, 2, 101, 100) == 4);
    CHECK(cut_count_of(SHOAL_PG_SHARDING_AUTO, 0, 8, 101, 100) == 4); // 2,500 tables at least
    CHECK(cut_count_of(SHOAL_PG_SHARDING_AUTO, 0, 8, 49, 100) == 1);
    CHECK(cut_count_of(SHOAL_PG_SHARDING_AUTO, 0, 0, 1, 1) == 1);
    CHECK(cut_count_of(SHOAL_PG_SHARDING_AUTO, 0, 1, 10000, 100) == 10); // two seconds at most
}

static void
table_count_makes_shards_of_that_size(void)
{
    CHECK(cut_count_of(SHOAL_PG_SHARDING_TABLE_COUNT, 1000, 1, 100, 100) == 10);
    CHECK(cut_count_of(SHOAL_PG_SHARDING_TABLE_COUNT, 1, 1, 100, 1) == 100);
    CHECK(cut_count_of(SHOAL_PG_SHARDING_TABLE_COUNT, 1000000, 1, 100, 100) == 1);
}

static void
database_makes_one_shard(void)
{
    CHECK(cut_count_of(SHOAL_PG_SHARDING_DATABASE, 1, 8, 1000, 100) == 1);
}

static void
schema_makes_one_shard_for_each_that_has_tables(void)
{
    shoal_pg_settings_t settings = {.sharding = SHOAL_PG_SHARDING_SCHEMA};
    shoal_pg_bucket_t *buckets = make_buckets(20, 5, 3);
    size_t count;
    shoal_pg_cut_t *cuts = shoal_pg_plan_cut(&settings, 4, buckets, 20, /*schemas=*/9, &count);
    CHECK(count == 3);
    CHECK(cuts[0].tables + cuts[1].tables + cuts[2].tables == 100);
    CHECK(cuts[1].schema == 1 && cuts[1].begin == 1 && cuts[1].end == 20);
    free(cuts);
    free(buckets);
}

static void
no_tables_make_no_shards(void)
{
    shoal_pg_settings_t settings = {.sharding = SHOAL_PG_SHARDING_AUTO};
    size_t count;
    CHECK(shoal_pg_plan_cut(&settings, 4, NULL, 0, 3, &count) == NULL && count == 0);
}

static void
a_shard_has_few_enough_schemas_for_its_arguments(void)
{
    shoal_pg_settings_t settings = {.sharding = SHOAL_PG_SHARDING_DATABASE};
    uint32_t schemas = 3 * SHOAL_PG_SCHEMAS_PER_SHARD;
    shoal_pg_bucket_t *buckets = make_buckets(schemas, 1, schemas);
    size_t count;
    shoal_pg_cut_t *cuts = shoal_pg_plan_cut(&settings, 1, buckets, schemas, schemas, &count);
    check_whole(cuts, count, schemas, schemas);
    CHECK(count == 3);
    free(cuts);
    free(buckets);
}

static void
random_buckets_are_all_in_one_shard_each(void)
{
    test_random_t random = test_random_start();
    for (unsigned round = 0; round < 200; round++) {
        size_t bucket_count = 1 + (size_t)test_random_below(&random, 300);
        shoal_pg_bucket_t *buckets = shoal_alloc(bucket_count * sizeof(*buckets));
        uint64_t tables = 0;
        for (size_t i = 0; i < bucket_count; i++) {
            bool is_new = i == 0 || test_random_below(&random, 3) > 0;
            buckets[i].number = i == 0 ? 1 : buckets[i - 1].number + (is_new ? 1 : 0);
            buckets[i].schema = is_new ? 0 : buckets[i - 1].schema + 1;
            buckets[i].tables = 1 + (uint32_t)test_random_below(&random, 60);
            tables += buckets[i].tables;
        }
        shoal_pg_settings_t settings = {.sharding = SHOAL_PG_SHARDING_TABLE_COUNT,
                                        .tables_per_shard = 1 + test_random_below(&random, 500)};
        size_t count;
        shoal_pg_cut_t *cuts = shoal_pg_plan_cut(&settings, 1, buckets, bucket_count, 301, &count);
        check_whole(cuts, count, bucket_count, tables);
        for (size_t i = 1; i < count; i++) { // a bucket is not cut in two
            CHECK(buckets[cuts[i].begin].number != buckets[cuts[i].begin - 1].number);
        }
        free(cuts);
        free(buckets);
    }
}

static void
arguments_come_back_as_they_were_and_broken_ones_are_refused(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_pg_count_t counts[] = {{2200, 3, 17}, {16385, 4, 4000000}};
    uint32_t cuts[] = {16384, 70000, SHOAL_PG_OID_END};
    uint32_t views[] = {0, 300};
    shoal_pg_task_t task = {.database = SHOAL_SLICE("sa\"les"),
                            .snapshot = SHOAL_SLICE("00000003-0000001B-1"),
                            .cuts = cuts,
                            .range_count = 2,
                            .counts = counts,
                            .count_count = 2,
                            .views = views,
                            .is_partial = true};
    shoal_buffer_t bytes = SHOAL_BUFFER_INIT;
    shoal_pg_task_write(&task, &bytes);
    shoal_pg_task_t read;
    CHECK_OK(shoal_pg_task_read(shoal_buffer_slice(&bytes), &read, &status), status);
    CHECK(shoal_slice_equal(read.database, task.database));
    CHECK(shoal_slice_equal(read.snapshot, task.snapshot));
    CHECK(read.range_count == 2 && memcmp(read.cuts, cuts, sizeof(cuts)) == 0);
    CHECK(read.count_count == 2 && memcmp(read.counts, counts, sizeof(counts)) == 0);
    CHECK(memcmp(read.views, views, sizeof(views)) == 0 && read.is_partial);
    shoal_pg_task_fini(&read);
    for (size_t len = 0; len < bytes.len; len++) { // cut at each byte
        CHECK_FAILS(shoal_pg_task_read((shoal_slice_t){bytes.ptr, len}, &read, &status), status,
                    SHOAL_PROTOCOL);
    }
    shoal_buffer_fini(&bytes);
}

TEST_MAIN(TEST(auto_makes_two_shards_a_slot_but_none_too_small),
          TEST(table_count_makes_shards_of_that_size), TEST(database_makes_one_shard),
          TEST(schema_makes_one_shard_for_each_that_has_tables), TEST(no_tables_make_no_shards),
          TEST(a_shard_has_few_enough_schemas_for_its_arguments),
          TEST(random_buckets_are_all_in_one_shard_each),
          TEST(arguments_come_back_as_they_were_and_broken_ones_are_refused))
