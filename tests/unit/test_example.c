// SPDX-License-Identifier: Apache-2.0
//
// test_example.c - what connectors/example promises.

#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/source.h"

typedef struct {
    source_run_t run;
    shoal_options_t *options;
    shoal_options_t *sharding;
    void *source;
    char path[64];
} fixture_t;

static void
write_text(const fixture_t *fixture, const char *text)
{
    FILE *file = fopen(fixture->path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void
read_section(shoal_options_t **options, const shoal_option_t *table, const char *prefix,
             const char *key, const char *value)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    shoal_write_map(&section, 1);
    shoal_write_text(&section, key);
    if (strcmp(key, "tableFilterPattern") == 0) {
        shoal_write_map(&section, 1);
        shoal_write_text(&section, "excludes");
    }
    shoal_write_text(&section, value);
    CHECK_OK(shoal_options_read(options, table, prefix, shoal_buffer_slice(&section), false, NULL,
                                NULL, &status),
             status);
    shoal_buffer_fini(&section);
}

static bool
fixture_init(fixture_t *fixture, const char *text, const char *excludes, shoal_status_t *status)
{
    *fixture = (fixture_t){.path = "/tmp/shoal-example-XXXXXX"};
    int fd = mkstemp(fixture->path);
    CHECK(fd >= 0 && close(fd) == 0);
    write_text(fixture, text);
    source_run_init(&fixture->run);
    read_section(&fixture->options, shoal_connector.connection, "source.serviceConnection.config",
                 "path", fixture->path);
    read_section(&fixture->options, shoal_connector.options, "source.sourceConfig.config",
                 "tableFilterPattern", excludes);
    read_section(&fixture->sharding, shoal_connector.sharding, "sharding", "tables_per_shard", "2");
    fixture->run.host.sharding = fixture->sharding;
    return shoal_connector.source->open(fixture->options, "files", &fixture->run.host,
                                        &fixture->source, status);
}

static void
fixture_fini(fixture_t *fixture)
{
    if (fixture->source) {
        shoal_connector.source->close(fixture->source);
    }
    shoal_options_destroy(&fixture->options);
    shoal_options_destroy(&fixture->sharding);
    source_run_fini(&fixture->run);
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
    CHECK_OK(fixture_init(&fixture, text, "^tmp_", &status), status);
    CHECK_OK(shoal_connector.source->check(fixture.source, &status), status);
    CHECK_OK(shoal_connector.source->discover(fixture.source, SHOAL_SLICE_NONE,
                                              &fixture.run.discovery, &status),
             status);
    assert_string_equal(shoal_buffer_text(&fixture.run.lines),
                        "scope 1 files.default.default tables\n"
                        "shard 1 stage 1 needs 0 expects 0\n"
                        "filtered 1 1\n"
                        "shard 2 stage 2 needs 1 expects 2\n"
                        "shard 3 stage 2 needs 1 expects 2\n"
                        "listed 1 5\n");
    fixture_fini(&fixture);
}

static void
shards_become_records_and_a_bad_line_is_given_up(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(fixture_init(&fixture, text, "^tmp_", &status), status);
    CHECK_OK(shoal_connector.source->discover(fixture.source, SHOAL_SLICE_NONE,
                                              &fixture.run.discovery, &status),
             status);
    shoal_buffer_clear(&fixture.run.lines);
    for (size_t i = 0; i < fixture.run.shard_count; i++) {
        CHECK_OK(shoal_connector.source->read(fixture.source, fixture.run.shards[i].stage,
                                              shoal_buffer_slice(&fixture.run.shards[i].args),
                                              &fixture.run.emitter, &status),
                 status);
    }
    const char *lines = shoal_buffer_text(&fixture.run.lines);
    CHECK_SAYS(lines, "0 {\"kind\":\"databaseService\",\"name\":\"files\"");
    CHECK_SAYS(lines, "0 {\"kind\":\"databaseSchema\",\"name\":\"default\",\"database\":"
                      "\"files.default\"");
    CHECK_SAYS(lines, "1 {\"kind\":\"table\",\"name\":\"orders\",\"tableType\":\"Regular\","
                      "\"databaseSchema\":\"files.default.default\"");
    CHECK_SAYS(lines, "\"dataType\":\"BIGINT\"");
    CHECK_SAYS(lines, "\"dataTypeDisplay\":\"varchar(40)\"");
    CHECK_SAYS(lines, "failed 1 broken: column 1 needs a name and a type");
    CHECK_SAYS(lines, "\"name\":\"empty\"");
    CHECK(strstr(lines, "tmp_1") == NULL);
    fixture_fini(&fixture);
}

static void
a_file_without_tables_has_a_complete_and_empty_scope(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(fixture_init(&fixture, "", "x", &status), status);
    CHECK_OK(shoal_connector.source->discover(fixture.source, SHOAL_SLICE_NONE,
                                              &fixture.run.discovery, &status),
             status);
    CHECK_SAYS(shoal_buffer_text(&fixture.run.lines), "listed 1 0\n");
    CHECK(fixture.run.shard_count == 1);
    fixture_fini(&fixture);
}

static void
failures_name_what_is_to_blame(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_FAILS(fixture_init(&fixture, text, "(", &status), status, SHOAL_INVALID);
    CHECK(strcmp(status.key, "source.sourceConfig.config.tableFilterPattern.excludes[0]") == 0);
    fixture_fini(&fixture);

    CHECK_OK(fixture_init(&fixture, text, "x", &status), status);
    CHECK_FAILS(shoal_connector.source->read(fixture.source, SHOAL_STAGE_MAP,
                                             SHOAL_SLICE("\x92\x00\xcd\xff\xff"),
                                             &fixture.run.emitter, &status),
                status, SHOAL_LIMIT);
    CHECK_SAYS(status.text, "has changed");
    CHECK_FAILS(shoal_connector.source->read(fixture.source, SHOAL_STAGE_MAP, SHOAL_SLICE("\xc0"),
                                             &fixture.run.emitter, &status),
                status, SHOAL_LIMIT);
    CHECK(unlink(fixture.path) == 0);
    CHECK_FAILS(shoal_connector.source->check(fixture.source, &status), status, SHOAL_NOT_FOUND);
    CHECK(strcmp(status.key, "source.serviceConnection.config.path") == 0);
    CHECK(mkdir(fixture.path, 0700) == 0);
    CHECK_FAILS(shoal_connector.source->check(fixture.source, &status), status, SHOAL_IO);
    CHECK_SAYS(status.text, "cannot read");
    CHECK(rmdir(fixture.path) == 0);
    fixture_fini(&fixture);
}

TEST_MAIN(TEST(the_file_is_cut_into_shards), TEST(shards_become_records_and_a_bad_line_is_given_up),
          TEST(a_file_without_tables_has_a_complete_and_empty_scope),
          TEST(failures_name_what_is_to_blame))
