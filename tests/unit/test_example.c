// SPDX-License-Identifier: Apache-2.0
//
// test_example.c - what connectors/example promises.

#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/reading.h"
#include "tests/support/test.h"

typedef struct {
    char path[64];
    run_t run;
    reading_t reading;
} fixture_t;

// An instance that reads `text`, two tables a shard, without tables that match `excludes`.
static bool
fixture_open(fixture_t *fixture, const char *text, const char *excludes, shoal_status_t *status)
{
    *fixture = (fixture_t){.path = "/tmp/shoal-example-XXXXXX"};
    int fd = mkstemp(fixture->path);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
    char workflow[1024];
    (void)snprintf(workflow, sizeof(workflow),
                   "source: {type: example, serviceName: files,\n"
                   "  serviceConnection: {config: {path: %s}},\n"
                   "  sourceConfig: {config: {tableFilterPattern: {excludes: ['%s']}}}}\n"
                   "sink: {type: file, config: {filename: x}}\n"
                   "sharding: {tables_per_shard: 2}\n",
                   fixture->path, excludes);
    CHECK_OK(run_start(&fixture->run, &shoal_connector, workflow, status), *status);
    return reading_open(&fixture->reading, &fixture->run, status);
}

static void
fixture_close(fixture_t *fixture)
{
    if (fixture->reading.source) {
        reading_close(&fixture->reading);
    }
    run_stop(&fixture->run);
    (void)unlink(fixture->path);
}

static const char text[] = "# a shop\n"
                           "orders: id bigint, note text\n"
                           "tmp_1: x int\n"
                           "\n"
                           "customers:  id   bigint ,name varchar(40)\r\n"
                           "broken: id\n"
                           "empty";

static void
the_file_is_cut_into_shards(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(fixture_open(&fixture, text, "^tmp_", &status), status);
    CHECK_OK(reading_discover(&fixture.reading, SHOAL_SLICE_NONE, &status), status);
    const run_scope_t *tables = run_scope(&fixture.run, "files.default.default");
    CHECK(tables && strcmp(tables->of, "tables") == 0);
    CHECK(tables->is_ended && tables->listed == 5 && tables->filtered == 1);
    CHECK(fixture.run.shard_count == 3);
    CHECK(fixture.run.shards[0].shard.stage == SHOAL_STAGE_PREPARE);
    for (size_t i = 1; i < 3; i++) {
        const shoal_shard_t *shard = &fixture.run.shards[i].shard;
        CHECK(shard->stage == SHOAL_STAGE_MAP && shard->needs == 1);
        CHECK(shard->expect_count == 1 && shard->expects[0].count == 2);
    }
    fixture_close(&fixture);
}

static void
shards_become_records_and_a_bad_line_is_given_up(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(fixture_open(&fixture, text, "^tmp_", &status), status);
    CHECK_OK(reading_everything(&fixture.reading, &status), status);
    CHECK(fixture.run.record_count == 6); // three parents, three tables
    CHECK(run_record(&fixture.run, "\"kind\":\"databaseService\",\"name\":\"files\""));
    CHECK(run_record(&fixture.run, "\"kind\":\"databaseSchema\",\"name\":\"default\","
                                   "\"database\":\"files.default\""));
    const char *orders = run_record(&fixture.run, "\"kind\":\"table\",\"name\":\"orders\"");
    CHECK(orders);
    CHECK_SAYS(orders, "\"databaseSchema\":\"files.default.default\"");
    CHECK_SAYS(orders, "\"name\":\"id\",\"dataType\":\"BIGINT\"");
    CHECK_SAYS(orders, "\"ordinalPosition\":2");
    CHECK(run_record(&fixture.run, "\"dataTypeDisplay\":\"varchar(40)\""));
    CHECK(run_record(&fixture.run, "\"name\":\"empty\""));
    CHECK(!run_record(&fixture.run, "tmp_1"));
    CHECK_SAYS(shoal_buffer_text(&fixture.run.warnings),
               "broken: column 1 needs a name and a type");
    fixture_close(&fixture);
}

static void
a_file_without_tables_has_a_complete_and_empty_scope(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(fixture_open(&fixture, "", "x", &status), status);
    CHECK_OK(reading_everything(&fixture.reading, &status), status);
    const run_scope_t *tables = run_scope(&fixture.run, "files.default.default");
    CHECK(tables && tables->is_ended && tables->listed == 0);
    CHECK(fixture.run.shard_count == 1 && run_is_balanced(&fixture.run));
    fixture_close(&fixture);
}

static void
a_regex_that_is_none_is_blamed(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_FAILS(fixture_open(&fixture, text, "(", &status), status, SHOAL_INVALID);
    assert_string_equal(status.key, "source.sourceConfig.config.tableFilterPattern.excludes[0]");
    fixture_close(&fixture);
}

static void
a_file_that_cannot_be_read_is_blamed(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(fixture_open(&fixture, text, "x", &status), status);
    CHECK(unlink(fixture.path) == 0);
    CHECK_FAILS(reading_check(&fixture.reading, &status), status, SHOAL_NOT_FOUND);
    assert_string_equal(status.key, "source.serviceConnection.config.path");
    CHECK(mkdir(fixture.path, 0700) == 0);
    CHECK_FAILS(reading_check(&fixture.reading, &status), status, SHOAL_IO);
    CHECK_SAYS(status.text, "cannot read");
    CHECK(rmdir(fixture.path) == 0);
    fixture_close(&fixture);
}

static void
a_file_that_shrank_after_discovery_fails_its_shards(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(fixture_open(&fixture, text, "x", &status), status);
    CHECK_OK(reading_discover(&fixture.reading, SHOAL_SLICE_NONE, &status), status);
    CHECK(truncate(fixture.path, 10) == 0);
    CHECK_FAILS(reading_read(&fixture.reading, 1, &status), status, SHOAL_LIMIT);
    CHECK_SAYS(status.text, "has changed");
    fixture_close(&fixture);
}

TEST_MAIN(TEST(the_file_is_cut_into_shards), TEST(shards_become_records_and_a_bad_line_is_given_up),
          TEST(a_file_without_tables_has_a_complete_and_empty_scope),
          TEST(a_regex_that_is_none_is_blamed), TEST(a_file_that_cannot_be_read_is_blamed),
          TEST(a_file_that_shrank_after_discovery_fails_its_shards))
