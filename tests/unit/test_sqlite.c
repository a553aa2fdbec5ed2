// SPDX-License-Identifier: Apache-2.0
//
// test_sqlite.c - the sqlite source against real database files.

#include <sqlite3.h>
#include <sys/stat.h>

#include "proto/base/alloc.h"
#include "tests/support/folder.h"
#include "tests/support/reading.h"

#define SHOP_TABLES 50 // with its views

typedef struct {
    folder_t folder;
    char *path;
    run_t run;
    reading_t reading;
    shoal_status_t status;
    unsigned cancel_after; // looks at is_cancelled until it says yes; 0: never
} bed_t;

static bool
is_cancelled(void *ctx)
{
    bed_t *bed = ((reading_t *)ctx)->ctx;
    if (bed->cancel_after > 1) {
        bed->cancel_after--;
        return false;
    }
    return bed->cancel_after == 1;
}

static void
make_database(const char *path, const char *sql)
{
    sqlite3 *database = NULL;
    CHECK(sqlite3_open(path, &database) == SQLITE_OK);
    char *error = NULL;
    if (sqlite3_exec(database, sql, NULL, NULL, &error) != SQLITE_OK) {
        fail_msg("%s", error);
    }
    CHECK(sqlite3_close(database) == SQLITE_OK);
}

// A folder with the database that `sql` makes, if it is not NULL.
static void
setup(bed_t *bed, const char *sql)
{
    *bed = (bed_t){.folder = folder_new(), .status = SHOAL_STATUS_INIT};
    bed->path = folder_file(&bed->folder, "test.db");
    if (sql) {
        make_database(bed->path, sql);
    }
}

static void
setup_shop(bed_t *bed)
{
    FILE *file = fopen("docs/examples/shop.sql", "r");
    CHECK(file != NULL);
    char *text = shoal_alloc(1000000);
    CHECK(fread(text, 1, 999999, file) > 10000);
    (void)fclose(file);
    setup(bed, text);
    free(text);
}

static void
teardown(bed_t *bed)
{
    if (bed->reading.source) {
        reading_close(&bed->reading);
    }
    run_stop(&bed->run);
    free(bed->path);
    folder_remove(&bed->folder);
}

// Opens an instance with those keys of the three sections, in YAML's short form.
static bool
try_open(bed_t *bed, const char *connection, const char *config, const char *sharding)
{
    char workflow[2048];
    (void)snprintf(workflow, sizeof(workflow),
                   "source: {type: sqlite, serviceName: svc,\n"
                   "  serviceConnection: {config: {%s}},\n"
                   "  sourceConfig: {config: {%s}}}\n"
                   "sink: {type: file, config: {filename: x}}\n"
                   "sharding: {%s}\n",
                   connection, config, sharding);
    CHECK_OK(run_start(&bed->run, &shoal_connector, workflow, &bed->status), bed->status);
    bed->run.slots = 2;
    bool done = reading_open(&bed->reading, &bed->run, &bed->status);
    bed->reading.host.is_cancelled = is_cancelled;
    bed->reading.ctx = bed;
    return done;
}

static void
open_source(bed_t *bed, const char *config, const char *sharding)
{
    char connection[256];
    (void)snprintf(connection, sizeof(connection), "type: SQLite, databaseMode: %s", bed->path);
    CHECK_OK(try_open(bed, connection, config, sharding), bed->status);
}

static void
run_all(bed_t *bed, const char *config)
{
    open_source(bed, config, "");
    CHECK_OK(reading_everything(&bed->reading, &bed->status), bed->status);
}

static bool
discover(bed_t *bed)
{
    return reading_discover(&bed->reading, SHOAL_SLICE_NONE, &bed->status);
}

static size_t
count_tables(const bed_t *bed)
{
    return run_count(&bed->run, "{\"kind\":\"table\"");
}

static size_t
count_maps(const bed_t *bed)
{
    size_t count = 0;
    for (size_t i = 0; i < bed->run.shard_count; i++) {
        count += bed->run.shards[i].shard.stage == SHOAL_STAGE_MAP ? 1 : 0;
    }
    return count;
}

static const char *
warnings_of(bed_t *bed)
{
    return shoal_buffer_text(&bed->run.warnings);
}

static void
check_record(const bed_t *bed, const char *name, const char *says)
{
    char start[128];
    (void)snprintf(start, sizeof(start), "{\"kind\":\"table\",\"name\":\"%s\",", name);
    const char *record = run_record(&bed->run, start);
    CHECK(record != NULL);
    CHECK_SAYS(record, says);
}

static const run_scope_t *
tables_of(const bed_t *bed)
{
    const run_scope_t *scope = run_scope(&bed->run, "svc.default.main");
    CHECK(scope && strcmp(scope->of, "tables") == 0);
    return scope;
}

// ---- the tests

static void
a_database_becomes_the_records_of_its_parts(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT 'x');");
    run_all(&bed, "");
    static const char *const records[] = {
        "{\"kind\":\"databaseService\",\"name\":\"svc\",\"serviceType\":\"SQLite\"}",
        "{\"kind\":\"database\",\"name\":\"default\",\"service\":\"svc\"}",
        "{\"kind\":\"databaseSchema\",\"name\":\"main\",\"database\":\"svc.default\"}",
        "{\"kind\":\"table\",\"name\":\"a\",\"tableType\":\"Regular\","
        "\"databaseSchema\":\"svc.default.main\",\"columns\":["
        "{\"name\":\"id\",\"dataType\":\"INT\",\"dataTypeDisplay\":\"INTEGER\",\"dataLength\":1,"
        "\"ordinalPosition\":1,\"constraint\":\"PRIMARY_KEY\",\"nullable\":false},"
        "{\"name\":\"name\",\"dataType\":\"VARCHAR\",\"dataTypeDisplay\":\"VARCHAR(20)\","
        "\"dataLength\":20,\"ordinalPosition\":2,\"constraint\":\"NOT_NULL\",\"nullable\":false,"
        "\"default\":\"'x'\"}]}",
    };
    CHECK(bed.run.record_count == 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(bed.run.records[i], records[i]);
    }
    const run_shard_t *shards = bed.run.shards;
    CHECK(bed.run.shard_count == 3);
    CHECK(shards[0].shard.stage == SHOAL_STAGE_PREPARE && shards[0].shard.needs == 0);
    CHECK(shards[1].shard.stage == SHOAL_STAGE_PREPARE && shards[1].shard.needs == 1);
    CHECK(shards[1].shard.expect_count == 2);
    CHECK(shards[2].shard.stage == SHOAL_STAGE_MAP && shards[2].shard.needs == 2);
    CHECK(shards[2].shard.expect_count == 1 && shards[2].shard.expects[0].count == 1);
    CHECK(run_is_balanced(&bed.run) && tables_of(&bed)->listed == 1);
    teardown(&bed);
}

static void
keys_are_told_with_the_columns_they_refer_to(void)
{
    bed_t bed;
    setup(&bed,
          "CREATE TABLE Parent (a INT, b INT, c TEXT UNIQUE, PRIMARY KEY (a, b));"
          "CREATE TABLE child (id INTEGER PRIMARY KEY, x INT, y INT, z TEXT REFERENCES parent (C),"
          " lost INT REFERENCES nowhere (id), UNIQUE (x, y), FOREIGN KEY (x, y) REFERENCES parent);"
          "CREATE UNIQUE INDEX not_a_constraint ON child (lost);"
          "CREATE TABLE odd (t TEXT PRIMARY KEY, g INT AS (1) STORED) WITHOUT ROWID;");
    run_all(&bed, "");
    check_record(&bed, "Parent",
                 "\"tableConstraints\":[{\"constraintType\":\"PRIMARY_KEY\","
                 "\"columns\":[\"a\",\"b\"]}]");
    check_record(&bed, "Parent",
                 "\"name\":\"c\",\"dataType\":\"TEXT\",\"dataTypeDisplay\":"
                 "\"TEXT\",\"dataLength\":1,\"ordinalPosition\":3,"
                 "\"constraint\":\"UNIQUE\",\"nullable\":true");
    check_record(&bed, "child", "{\"constraintType\":\"UNIQUE\",\"columns\":[\"x\",\"y\"]}");
    check_record(
        &bed, "child",
        "{\"constraintType\":\"FOREIGN_KEY\",\"columns\":[\"x\",\"y\"],"
        "\"referredColumns\":[\"svc.default.main.Parent.a\",\"svc.default.main.Parent.b\"],"
        "\"relationshipType\":\"ONE_TO_ONE\"}");
    check_record(&bed, "child",
                 "{\"constraintType\":\"FOREIGN_KEY\",\"columns\":[\"z\"],"
                 "\"referredColumns\":[\"svc.default.main.Parent.c\"],"
                 "\"relationshipType\":\"MANY_TO_ONE\"}");
    CHECK_SAYS(warnings_of(&bed), "table \"child\": a foreign key was left out");
    CHECK(run_count(&bed.run, "nowhere") == 0);
    check_record(&bed, "odd", "\"constraint\":\"PRIMARY_KEY\",\"nullable\":false");
    check_record(&bed, "odd", "\"name\":\"g\"");
    teardown(&bed);
}

static void
views_have_their_query_and_comments_become_descriptions(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE t ( -- All of it.\n id INT -- The number.\n);"
                "CREATE VIEW v AS -- A part.\nSELECT id, id + 1 AS more FROM t;");
    run_all(&bed, "");
    check_record(&bed, "t", "\"description\":\"All of it.\",\"columns\":");
    check_record(&bed, "t", "\"description\":\"The number.\"");
    check_record(&bed, "v", "\"tableType\":\"View\"");
    check_record(&bed, "v", "\"description\":\"A part.\"");
    check_record(&bed, "v",
                 "\"schemaDefinition\":\"CREATE VIEW v AS -- A part.\\nSELECT id, id + 1 AS more");
    check_record(&bed, "v", "\"name\":\"more\",\"dataType\":\"UNKNOWN\"");
    teardown(&bed);
}

static void
names_may_be_anything(void)
{
    bed_t bed;
    setup(&bed,
          "CREATE TABLE \"a.b\"\"c\nd\" (\"x y\" INT REFERENCES \"\xF0\x9F\x90\x9F\" (\"é\"));"
          "CREATE TABLE \"\xF0\x9F\x90\x9F\" (\"é\" INT PRIMARY KEY);");
    run_all(&bed, "");
    CHECK(run_count(&bed.run, "\"name\":\"a.b__reserved__quote__c\\nd\"") == 1);
    CHECK(run_count(&bed.run, "\"svc.default.main.\xF0\x9F\x90\x9F.é\"") == 1);
    teardown(&bed);
}

static void
the_example_shop_is_shared_by_two_slots(void)
{
    bed_t bed;
    setup_shop(&bed);
    run_all(&bed, "");
    CHECK(count_maps(&bed) == 4 && tables_of(&bed)->listed == SHOP_TABLES);
    CHECK(count_tables(&bed) == SHOP_TABLES && run_is_balanced(&bed.run));
    CHECK(run_count(&bed.run, "\"tableType\":\"View\"") == 7);
    assert_string_equal(warnings_of(&bed), "");
    check_record(&bed, "shipment_lines",
                 "\"referredColumns\":[\"svc.default.main.order_lines.order_id\","
                 "\"svc.default.main.order_lines.line\"]");
    check_record(&bed, "orders", "\"description\":\"What customers have bought; an order never");
    teardown(&bed);
}

static void
filters_drop_tables_and_count_them(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE keep (a); CREATE TABLE tmp_1 (a); CREATE VIEW see AS SELECT 1;");
    run_all(&bed, "includeViews: false, tableFilterPattern: {excludes: [TMP_]}");
    CHECK(tables_of(&bed)->listed == 2 && tables_of(&bed)->filtered == 1);
    CHECK(count_tables(&bed) == 1 && run_is_balanced(&bed.run));
    teardown(&bed);
}

static void
a_filter_may_match_whole_names(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (x); CREATE TABLE b (x);");
    run_all(&bed, "useFqnForFiltering: true,"
                  "tableFilterPattern: {includes: ['svc\\.default\\.main\\.b$']}");
    CHECK(count_tables(&bed) == 1 && run_count(&bed.run, "\"kind\":\"table\",\"name\":\"b\"") == 1);
    teardown(&bed);
}

static void
a_filtered_schema_or_database_is_counted_and_not_read(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (x);");
    run_all(&bed, "schemaFilterPattern: {excludes: [main]}");
    CHECK(run_scope(&bed.run, "svc.default")->filtered == 1 && run_is_balanced(&bed.run));
    CHECK(run_scope(&bed.run, "svc.default.main") == NULL && bed.run.record_count == 2);
    teardown(&bed);

    setup(&bed, "CREATE TABLE a (x);");
    run_all(&bed, "databaseFilterPattern: {includes: [other]}");
    CHECK(run_scope(&bed.run, "svc")->filtered == 1 && run_is_balanced(&bed.run));
    CHECK(run_scope(&bed.run, "svc.default") == NULL && bed.run.record_count == 1);
    teardown(&bed);
}

static void
shards_are_cut_as_the_file_says(void)
{
    bed_t bed;
    setup_shop(&bed);
    open_source(&bed, "", "type: table_count, tables_per_shard: 3");
    CHECK_OK(reading_everything(&bed.reading, &bed.status), bed.status);
    CHECK(count_maps(&bed) == 17 && count_tables(&bed) == SHOP_TABLES);
    teardown(&bed);

    setup_shop(&bed);
    open_source(&bed, "", "type: schema");
    CHECK_OK(reading_everything(&bed.reading, &bed.status), bed.status);
    CHECK(count_maps(&bed) == 1 && count_tables(&bed) == SHOP_TABLES);
    teardown(&bed);
}

//
static void
a_discovery_that_ended_half_way_never_cuts_again_what_was_cut(void)
{
    for (size_t shards = 3; shards < 7; shards++) {
        bed_t bed;
        setup(&bed, "CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x);"
                    "CREATE TABLE d (x); CREATE TABLE e (x); CREATE TABLE f (x);"
                    "CREATE TABLE g (x); CREATE TABLE h (x); CREATE TABLE i (x);");
        open_source(&bed, "", "type: table_count, tables_per_shard: 2");
        bed.run.shard_limit = shards;
        CHECK_FAILS(discover(&bed), bed.status, SHOAL_CANCELLED);
        CHECK(bed.run.shard_count == shards);
        make_database(bed.path,
                      "DROP TABLE b; DROP TABLE h; CREATE TABLE j (x); CREATE TABLE k (x);");
        bed.run.shard_limit = 0;
        CHECK_OK(reading_discover(&bed.reading, shoal_buffer_slice(&bed.run.cursor), &bed.status),
                 bed.status);
        for (size_t i = 0; i < bed.run.shard_count; i++) {
            CHECK_OK(reading_read(&bed.reading, i, &bed.status), bed.status);
        }
        CHECK(run_is_balanced(&bed.run) && tables_of(&bed)->is_ended);
        for (const char *name = "acdefgijk"; *name; name++) {
            char part[64];
            (void)snprintf(part, sizeof(part), "{\"kind\":\"table\",\"name\":\"%c\"", *name);
            CHECK(run_count(&bed.run, part) == 1);
        }
        CHECK(count_tables(&bed) == strlen("acdefgijk"));
        CHECK_FAILS(reading_discover(&bed.reading, SHOAL_SLICE("\x01"), &bed.status), bed.status,
                    SHOAL_PROTOCOL);
        teardown(&bed);
    }
}

static void
no_tables_is_a_success_with_a_warning(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (x); DROP TABLE a;");
    run_all(&bed, "");
    CHECK_SAYS(warnings_of(&bed), "has 0 tables");
    CHECK(tables_of(&bed)->is_ended && tables_of(&bed)->listed == 0);
    CHECK(bed.run.shard_count == 2);
    teardown(&bed);
}

static void
what_comes_and_goes_meanwhile_is_counted(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (x); CREATE TABLE b (x);");
    open_source(&bed, "", "");
    CHECK_OK(discover(&bed), bed.status);
    make_database(bed.path, "DROP TABLE a; CREATE TABLE c (x); CREATE TABLE d (x);");
    CHECK_OK(reading_read(&bed.reading, 2, &bed.status), bed.status);
    CHECK(count_tables(&bed) == 3 && tables_of(&bed)->appeared == 1);
    CHECK_SAYS(warnings_of(&bed), "changed while it was read");
    make_database(bed.path, "DROP TABLE b; DROP TABLE c;");
    CHECK_OK(reading_read(&bed.reading, 2, &bed.status), bed.status);
    CHECK(tables_of(&bed)->vanished == 1);
    teardown(&bed);
}

static void
one_view_that_is_broken_costs_itself_only(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (x); CREATE TABLE b (x); CREATE VIEW broken AS SELECT x FROM b;"
                "CREATE VIEW good AS SELECT x FROM a; DROP TABLE b;");
    run_all(&bed, "");
    CHECK_SAYS(warnings_of(&bed), "svc.default.main.broken: could not read a table");
    CHECK_SAYS(warnings_of(&bed), "no such table: main.b");
    CHECK(count_tables(&bed) == 2);
    teardown(&bed);
}

// Opens and checks, which must fail with that code, word and key.
static void
check_refused(bed_t *bed, const char *connection, shoal_code_t code, const char *word,
              const char *key)
{
    bool is_open = try_open(bed, connection, "", "");
    CHECK_FAILS(is_open && reading_check(&bed->reading, &bed->status), bed->status, code);
    CHECK_SAYS(bed->status.text, word);
    assert_string_equal(bed->status.key, key);
    CHECK(bed->status.error_class == SHOAL_CONFIG);
    teardown(bed);
}

static void
write_file(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fwrite(text, 1, size, file) == size && fclose(file) == 0);
}

#define KEY "source.serviceConnection.config."

static void
what_is_no_database_is_refused_with_its_key(void)
{
    bed_t bed;
    char connection[256];
    setup(&bed, NULL);
    (void)snprintf(connection, sizeof(connection), "databaseMode: %s", bed.path);
    check_refused(&bed, connection, SHOAL_NOT_FOUND, "test.db", KEY "databaseMode");

    setup(&bed, NULL);
    (void)snprintf(connection, sizeof(connection), "database: %s", bed.folder.path);
    check_refused(&bed, connection, SHOAL_INVALID, "directory", KEY "database");

    setup(&bed, NULL);
    check_refused(&bed, "database: /dev/null", SHOAL_INVALID, "regular file", KEY "database");

    setup(&bed, NULL);
    char noise[4096];
    memset(noise, 'n', sizeof(noise));
    write_file(bed.path, noise, sizeof(noise));
    (void)snprintf(connection, sizeof(connection), "databaseMode: %s", bed.path);
    check_refused(&bed, connection, SHOAL_INVALID, "not an SQLite database", KEY "databaseMode");

    setup(&bed, NULL);
    check_refused(&bed, "databaseMode: ':memory:'", SHOAL_INVALID, "in memory", KEY "databaseMode");

    setup(&bed, NULL);
    check_refused(&bed, "type: SQLite", SHOAL_INVALID, "path of the database file is missing",
                  KEY "databaseMode");
}

static void
nothing_is_made_or_written(void)
{
    bed_t bed;
    setup(&bed, NULL);
    char connection[256];
    (void)snprintf(connection, sizeof(connection), "databaseMode: %s", bed.path);
    CHECK_OK(try_open(&bed, connection, "", ""), bed.status);
    CHECK(!reading_check(&bed.reading, &bed.status));
    CHECK(folder_count(&bed.folder) == 0);
    write_file(bed.path, "", 0); // an empty file is an empty database
    CHECK_OK(reading_everything(&bed.reading, &bed.status), bed.status);
    struct stat info;
    CHECK(stat(bed.path, &info) == 0 && info.st_size == 0 && folder_count(&bed.folder) == 1);
    teardown(&bed);
}

static void
a_damaged_file_is_told(void)
{
    bed_t bed;
    setup_shop(&bed);
    struct stat info;
    CHECK(stat(bed.path, &info) == 0 && info.st_size > 20000);
    CHECK(truncate(bed.path, 20000) == 0);
    open_source(&bed, "", "");
    CHECK_FAILS(reading_everything(&bed.reading, &bed.status), bed.status, SHOAL_IO);
    CHECK_SAYS(bed.status.text, "damaged");
    CHECK(bed.status.error_class == SHOAL_FATAL);
    teardown(&bed);
}

// Cancelled while it waits, so that the test need not wait as long.
static void
a_locked_database_is_waited_for_until_the_call_is_cancelled(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (x);");
    sqlite3 *writer = NULL;
    CHECK(sqlite3_open(bed.path, &writer) == SQLITE_OK);
    CHECK(sqlite3_exec(writer, "BEGIN EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK);
    open_source(&bed, "", "");
    bed.cancel_after = 3;
    CHECK_FAILS(reading_check(&bed.reading, &bed.status), bed.status, SHOAL_CANCELLED);
    bed.cancel_after = 0;
    CHECK(sqlite3_exec(writer, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
    CHECK_OK(reading_check(&bed.reading, &bed.status), bed.status);
    CHECK(sqlite3_close(writer) == SQLITE_OK);
    teardown(&bed);
}

static void
one_locked_for_too_long_is_a_transient_error(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (x);");
    sqlite3 *writer = NULL;
    CHECK(sqlite3_open(bed.path, &writer) == SQLITE_OK);
    CHECK(sqlite3_exec(writer, "BEGIN EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK);
    open_source(&bed, "", "");
    CHECK_FAILS(reading_check(&bed.reading, &bed.status), bed.status, SHOAL_UNAVAILABLE);
    CHECK_SAYS(bed.status.text, "locked by another process");
    CHECK(bed.status.error_class == SHOAL_TRANSIENT);
    CHECK(sqlite3_close(writer) == SQLITE_OK);
    teardown(&bed);
}

static void
a_read_can_be_cancelled_and_the_instance_used_again(void)
{
    bed_t bed;
    setup_shop(&bed);
    open_source(&bed, "", "");
    CHECK_OK(discover(&bed), bed.status);
    bed.cancel_after = 3;
    CHECK_FAILS(reading_read(&bed.reading, 2, &bed.status), bed.status, SHOAL_CANCELLED);
    CHECK(count_tables(&bed) == 2);
    bed.cancel_after = 0;
    shoal_status_clear(&bed.status);
    for (size_t i = 2; i < bed.run.shard_count; i++) {
        CHECK_OK(reading_read(&bed.reading, i, &bed.status), bed.status);
    }
    CHECK(count_tables(&bed) == SHOP_TABLES + 2);
    teardown(&bed);
}

static void
arguments_that_are_not_ours_are_refused(void)
{
    bed_t bed;
    setup(&bed, "CREATE TABLE a (x);");
    open_source(&bed, "", "");
    static const char *const noise[] = {"", "\x94\x00", "\x92\x01", "\xc1"};
    for (size_t i = 0; i < 4; i++) {
        for (int stage = 1; stage <= 2; stage++) {
            CHECK_FAILS(shoal_connector.source->read(bed.reading.source, (shoal_stage_t)stage,
                                                     shoal_slice_of(noise[i]), &bed.reading.emitter,
                                                     &bed.status),
                        bed.status, SHOAL_PROTOCOL);
        }
    }
    teardown(&bed);
}

TEST_MAIN(TEST(a_database_becomes_the_records_of_its_parts),
          TEST(keys_are_told_with_the_columns_they_refer_to),
          TEST(views_have_their_query_and_comments_become_descriptions),
          TEST(names_may_be_anything), TEST(the_example_shop_is_shared_by_two_slots),
          TEST(filters_drop_tables_and_count_them), TEST(a_filter_may_match_whole_names),
          TEST(a_filtered_schema_or_database_is_counted_and_not_read),
          TEST(shards_are_cut_as_the_file_says),
          TEST(a_discovery_that_ended_half_way_never_cuts_again_what_was_cut),
          TEST(no_tables_is_a_success_with_a_warning),
          TEST(what_comes_and_goes_meanwhile_is_counted),
          TEST(one_view_that_is_broken_costs_itself_only),
          TEST(what_is_no_database_is_refused_with_its_key), TEST(nothing_is_made_or_written),
          TEST(a_damaged_file_is_told),
          TEST(a_locked_database_is_waited_for_until_the_call_is_cancelled),
          TEST(one_locked_for_too_long_is_a_transient_error),
          TEST(a_read_can_be_cancelled_and_the_instance_used_again),
          TEST(arguments_that_are_not_ours_are_refused))
