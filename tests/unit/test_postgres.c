// SPDX-License-Identifier: Apache-2.0
//
// test_postgres.c - what the postgres source reads from a real server: a small zoo of odd objects,
// its records as a golden file, filters, sharding, snapshots.
//
// With SHOAL_GOLDEN=write in the environment the golden file is written instead of compared.

#include <sys/wait.h>

#include "proto/base/alloc.h"
#include "tests/support/postgres.h"
#include "tests/support/reading.h"
#include "tests/support/test.h"

#define GOLDEN_FILE "tests/unit/postgres_zoo.jsonl"
#define ZOO_FILE    "tests/unit/postgres_zoo.sql"

extern const shoal_connector_t shoal_connector;

static test_postgres_t server;
static shoal_status_t status;

// A workflow for `database` with more lines: under connection config (8 spaces) and elsewhere.
static char *
workflow(const char *database, const char *connection, const char *options, const char *rest)
{
    char *text = NULL;
    CHECK(asprintf(&text,
                   "source:\n"
                   "  type: postgres\n"
                   "  serviceName: pg1\n"
                   "  serviceConnection:\n"
                   "    config:\n"
                   "      hostPort: %s:%u\n"
                   "      username: postgres\n"
                   "      database: %s\n"
                   "%s"
                   "  sourceConfig:\n"
                   "    config:\n"
                   "      type: DatabaseMetadata\n"
                   "%s"
                   "sink: {type: file, config: {}}\n"
                   "workflowConfig: {}\n"
                   "%s",
                   server.folder, server.port, database, connection, options, rest) > 0);
    return text;
}

static void
start(run_t *run, const char *database, const char *connection, const char *options,
      const char *rest)
{
    char *text = workflow(database, connection, options, rest);
    CHECK_OK(run_start(run, &shoal_connector, text, &status), status);
    free(text);
}

// Reads all of it in one instance.
static void
read_all(run_t *run, const char *database, const char *connection, const char *options,
         const char *rest)
{
    reading_t reading;
    start(run, database, connection, options, rest);
    CHECK_OK(reading_open(&reading, run, &status), status);
    CHECK_OK(reading_everything(&reading, &status), status);
    CHECK(run_is_balanced(run));
    reading_close(&reading);
}

static char *
file_text(const char *path)
{
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    char *text = shoal_alloc(1 << 20);
    text[fread(text, 1, (1 << 20) - 1, file)] = '\0';
    (void)fclose(file);
    return text;
}

static int
compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
the_zoo_comes_out_as_its_golden_file_says(void)
{
    run_t run;
    read_all(&run, "zoo", "", "", "");
    qsort(run.records, run.record_count, sizeof(*run.records), compare_lines);
    shoal_buffer_t got = SHOAL_BUFFER_INIT;
    for (size_t i = 0; i < run.record_count; i++) {
        shoal_buffer_append_format(&got, "%s\n", run.records[i]);
    }
    const char *mode = getenv("SHOAL_GOLDEN");
    if (mode && strcmp(mode, "write") == 0) {
        FILE *file = fopen(GOLDEN_FILE, "w");
        CHECK(file != NULL);
        CHECK(fputs(shoal_buffer_text(&got), file) >= 0);
        (void)fclose(file);
    }
    char *expected = file_text(GOLDEN_FILE);
    assert_string_equal(shoal_buffer_text(&got), expected);
    free(expected);
    shoal_buffer_fini(&got);
    run_stop(&run);
}

// R: every column's dataTypeDisplay equals what format_type() says for it.
static void
every_type_is_shown_as_the_server_shows_it(void)
{
    run_t run;
    read_all(&run, "types", "", "", "");
    const char *record = run_record(&run, "\"kind\":\"table\",\"name\":\"every_type\"");
    CHECK(record != NULL);
    PGconn *connection = test_postgres_connect(&server, "types");
    PGresult *columns =
        PQexec(connection,
               "set search_path = pg_catalog; select attname, format_type(atttypid, atttypmod) "
               "from pg_attribute where attrelid = 'public.every_type'::regclass and attnum > 0");
    CHECK(PQntuples(columns) > 150);
    for (int i = 0; i < PQntuples(columns); i++) {
        const char *display = PQgetvalue(columns, i, 1);
        char expected[256];
        (void)snprintf(expected, sizeof(expected), "\"name\":\"%s\",", PQgetvalue(columns, i, 0));
        const char *at = strstr(record, expected);
        CHECK(at != NULL);
        at = strstr(at, "\"dataTypeDisplay\":\"");
        CHECK(at != NULL);
        at += strlen("\"dataTypeDisplay\":\"");
        char shown[256] = "";
        for (size_t n = 0; *at != '"' && n + 1 < sizeof(shown); at++) {
            at += *at == '\\' ? 1 : 0;
            shown[n++] = *at;
            shown[n] = '\0';
        }
        assert_string_equal(shown, display);
    }
    PQclear(columns);
    PQfinish(connection);
    run_stop(&run);
}

static void
filters_match_anchored_at_the_start_and_in_any_case(void)
{
    run_t run;
    read_all(&run, "shop", "", "      tableFilterPattern: {includes: [\"ORDER\"]}\n", "");
    CHECK(run_count(&run, "\"kind\":\"table\"") == 2); // orders, order_lines; not reorders
    const run_scope_t *scope = run_scope(&run, "pg1.shop.sales");
    CHECK(scope->listed == 5 && scope->delivered == 2 && scope->filtered == 3);
    run_stop(&run);
}

static void
includes_alone_decide_where_there_are_any(void)
{
    run_t run;
    read_all(&run, "shop", "",
             "      schemaFilterPattern: {includes: [\"^sales$\"], excludes: [\"^sales$\"]}\n", "");
    CHECK(run_count(&run, "\"kind\":\"databaseSchema\"") == 1);
    CHECK(run_count(&run, "\"databaseSchema\":\"pg1.shop.sales\"") == 5);
    const run_scope_t *scope = run_scope(&run, "pg1.shop");
    CHECK(scope->listed == 4 && scope->delivered == 1 && scope->filtered == 3);
    run_stop(&run);
}

static void
a_pattern_of_the_connection_counts_if_there_is_no_other(void)
{
    run_t run;
    read_all(&run, "shop", "      schemaFilterPattern: {includes: [\"^public$\"]}\n", "", "");
    CHECK(run_count(&run, "\"kind\":\"databaseSchema\"") == 1);
    run_stop(&run);
    read_all(&run, "shop", "      schemaFilterPattern: {includes: [\"^public$\"]}\n",
             "      schemaFilterPattern: {includes: [\"^sales\"]}\n", "");
    CHECK(run_count(&run, "\"kind\":\"databaseSchema\"") == 2); // sales and Sales_archive
    run_stop(&run);
}

static void
whole_names_are_matched_if_the_file_says_so(void)
{
    run_t run;
    read_all(&run, "shop", "",
             "      useFqnForFiltering: true\n"
             "      schemaFilterPattern: {includes: [\"pg1.shop.sales$\"]}\n"
             "      tableFilterPattern: {excludes: [\"pg1[.]shop[.]sales[.]order\"]}\n",
             "");
    CHECK(run_count(&run, "\"kind\":\"table\"") == 3);
    CHECK(!run_record(&run, "order_lines\",\"tableType"));
    run_stop(&run);
}

static void
information_schema_is_left_out_unless_a_pattern_is_written(void)
{
    run_t run;
    read_all(&run, "shop", "", "", "");
    CHECK(!run_record(&run, "information_schema"));
    run_stop(&run);
    read_all(&run, "shop", "", "      schemaFilterPattern: {excludes: [\"^public$\"]}\n", "");
    CHECK(run_record(&run, "\"name\":\"information_schema\"") != NULL);
    CHECK(!run_record(&run, "\"databaseSchema\":\"pg1.shop.public\""));
    run_stop(&run);
}

static void
tables_or_views_can_be_left_out(void)
{
    run_t run;
    read_all(&run, "shop", "", "      includeViews: false\n", "");
    CHECK(run_count(&run, "View\"") == 0 && run_count(&run, "\"kind\":\"table\"") == 5);
    run_stop(&run);
    read_all(&run, "shop", "", "      includeTables: false\n", "");
    CHECK(run_count(&run, "View\"") == 1 && run_count(&run, "\"kind\":\"table\"") == 1);
    run_stop(&run);
    read_all(&run, "shop", "", "      includeTables: false\n      includeViews: false\n", "");
    CHECK(run_count(&run, "\"kind\":\"table\"") == 0);
    run_stop(&run);
}

static void
every_database_is_read_if_the_file_says_so(void)
{
    run_t run;
    read_all(&run, "shop", "      ingestAllDatabases: true\n", "", "");
    CHECK(run_count(&run, "\"kind\":\"database\",") == 8);
    CHECK(!run_record(&run, "template1"));
    CHECK(run_scope(&run, "pg1")->listed == 9); // template0 takes no connections
    CHECK(run_scope(&run, "pg1")->filtered == 1);
    CHECK(run_record(&run, "\"databaseSchema\":\"pg1.other.public\"") != NULL);
    run_stop(&run);
}

static void
databases_are_filtered_by_name(void)
{
    run_t run;
    read_all(&run, "postgres", "      ingestAllDatabases: true\n",
             "      databaseFilterPattern: {includes: [\"^shop$\", \"^oth\"]}\n", "");
    CHECK(run_count(&run, "\"kind\":\"database\",") == 2);
    run_stop(&run);
}

static void
an_empty_database_is_a_success_without_tables(void)
{
    run_t run;
    read_all(&run, "empty", "", "", "");
    CHECK(run_count(&run, "\"kind\":\"table\"") == 0 && run.shard_count == 2);
    CHECK(run_scope(&run, "pg1.empty.public")->is_ended);
    CHECK(run_scope(&run, "pg1.empty.public")->listed == 0);
    run_stop(&run);
}

// ---- sharding

// All records, sorted, as one text to free().
static char *
sorted_records(run_t *run)
{
    qsort(run->records, run->record_count, sizeof(*run->records), compare_lines);
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    for (size_t i = 0; i < run->record_count; i++) {
        shoal_buffer_append_format(&text, "%s\n", run->records[i]);
    }
    char *copy = shoal_strdup(shoal_buffer_text(&text));
    shoal_buffer_fini(&text);
    return copy;
}

static size_t
map_shards(const run_t *run)
{
    size_t count = 0;
    for (size_t i = 0; i < run->shard_count; i++) {
        count += run->shards[i].shard.stage == SHOAL_STAGE_MAP ? 1 : 0;
    }
    return count;
}

static void
every_way_of_sharding_reads_the_same(void)
{
    static const char *const ways[] = {
        "sharding: {type: database}\n",
        "sharding: {type: schema}\n",
        "sharding: {type: table_count, tables_per_shard: 10}\n",
        "sharding: {tables_per_shard: 1}\n",
    };
    run_t run;
    read_all(&run, "many", "", "", "");
    CHECK(map_shards(&run) == 1);
    char *expected = sorted_records(&run);
    run_stop(&run);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        read_all(&run, "many", "", "", ways[i]);
        CHECK(i == 0 ? map_shards(&run) == 1 : map_shards(&run) > 4);
        char *got = sorted_records(&run);
        assert_string_equal(got, expected);
        free(got);
        run_stop(&run);
    }
    free(expected);
}

static void
map_shards_need_their_database_and_expect_their_tables(void)
{
    run_t run;
    reading_t reading;
    start(&run, "many", "", "", "sharding: {tables_per_shard: 20}\n");
    CHECK_OK(reading_open(&reading, &run, &status), status);
    CHECK_OK(reading_discover(&reading, SHOAL_SLICE_NONE, &status), status);
    uint64_t expected = 0;
    for (size_t i = 0; i < run.shard_count; i++) {
        const shoal_shard_t *shard = &run.shards[i].shard;
        CHECK(shard->number == i + 1);
        CHECK(shard->needs == (shard->stage == SHOAL_STAGE_MAP ? 2 : i));
        for (size_t j = 0; shard->stage == SHOAL_STAGE_MAP && j < shard->expect_count; j++) {
            expected += shard->expects[j].count;
        }
    }
    CHECK(expected == 300);
    reading_close(&reading);
    run_stop(&run);
}

// ---- snapshots

static void
several_instances_read_one_snapshot(void)
{
    run_t run;
    reading_t first;
    reading_t second;
    start(&run, "changing", "", "", "sharding: {tables_per_shard: 5}\n");
    CHECK_OK(reading_open(&first, &run, &status), status);
    CHECK_OK(reading_open(&second, &run, &status), status);
    CHECK_OK(reading_discover(&first, SHOAL_SLICE_NONE, &status), status);
    CHECK_SAYS(shoal_buffer_text(&run.facts), "snapshot=shared");
    test_postgres_sql(&server, "changing",
                      "drop table t3; create table t99 (n int); alter table t4 rename to t44");
    for (size_t i = 0; i < run.shard_count; i++) {
        CHECK_OK(reading_read(i % 2 == 0 ? &first : &second, i, &status), status);
    }
    CHECK(run_is_balanced(&run));
    CHECK(run_record(&run, "\"name\":\"t3\"") != NULL);
    CHECK(run_record(&run, "\"name\":\"t4\"") != NULL);
    CHECK(!run_record(&run, "\"name\":\"t99\"") && !run_record(&run, "\"name\":\"t44\""));
    reading_close(&second);
    reading_close(&first);
    run_stop(&run);
    test_postgres_sql(&server, "changing",
                      "create table t3 (n int); drop table t99; alter table t44 rename to t4");
}

static void
without_the_snapshot_the_run_goes_on_and_says_so(void)
{
    run_t run;
    reading_t first;
    reading_t second;
    start(&run, "changing", "", "", "sharding: {tables_per_shard: 5}\n");
    CHECK_OK(reading_open(&first, &run, &status), status);
    CHECK_OK(reading_discover(&first, SHOAL_SLICE_NONE, &status), status);
    reading_close(&first); // the snapshot goes with it
    test_postgres_sql(&server, "changing", "drop table t5; create table t99 (n int)");
    CHECK_OK(reading_open(&second, &run, &status), status);
    for (size_t i = 0; i < run.shard_count; i++) {
        CHECK_OK(reading_read(&second, i, &status), status);
    }
    CHECK_SAYS(shoal_buffer_text(&run.facts), "snapshot=not shared");
    CHECK_SAYS(shoal_buffer_text(&run.warnings), "snapshot of \"changing\" not used");
    CHECK(run_is_balanced(&run));
    const run_scope_t *scope = run_scope(&run, "pg1.changing.public");
    CHECK(scope->vanished == 1 && scope->appeared == 1);
    CHECK(run_record(&run, "\"name\":\"t99\"") && !run_record(&run, "\"name\":\"t5\""));
    reading_close(&second);
    run_stop(&run);
    test_postgres_sql(&server, "changing", "create table t5 (n int); drop table t99");
}

static void
snapshots_of_sixteen_databases_are_held_at_most(void)
{
    test_postgres_sql(&server, "postgres", "create database held_0");
    test_postgres_sql(&server, "held_0", "create table a (n int); create table b (n int)");
    for (int i = 1; i < 18; i++) {
        char sql[64];
        (void)snprintf(sql, sizeof(sql), "create database held_%d template held_0", i);
        test_postgres_sql(&server, "postgres", sql);
    }
    run_t run;
    read_all(&run, "postgres", "      ingestAllDatabases: true\n",
             "      databaseFilterPattern: {includes: [\"^held_\"]}\n",
             "sharding: {tables_per_shard: 1}\n");
    CHECK(run_count(&run, "\"kind\":\"table\"") == 36);
    CHECK_SAYS(shoal_buffer_text(&run.warnings), "more than 16 databases");
    CHECK_SAYS(shoal_buffer_text(&run.facts), "snapshot=shared\nsnapshot=not shared");
    run_stop(&run);
}

static void
a_view_whose_table_was_dropped_is_read_without_the_snapshot(void)
{
    run_t run;
    reading_t reading;
    test_postgres_sql(&server, "changing",
                      "create table base (n int); create view over_base as select n from base");
    start(&run, "changing", "", "", "sharding: {tables_per_shard: 5}\n");
    CHECK_OK(reading_open(&reading, &run, &status), status);
    CHECK_OK(reading_discover(&reading, SHOAL_SLICE_NONE, &status), status);
    test_postgres_sql(&server, "changing", "drop table base cascade");
    for (size_t i = 0; i < run.shard_count; i++) {
        CHECK_OK(reading_read(&reading, i, &status), status);
    }
    CHECK(run_is_balanced(&run));
    reading_close(&reading);
    run_stop(&run);
}

static void
a_discovery_that_failed_goes_on_from_its_cursor(void)
{
    run_t run;
    reading_t first;
    reading_t second;
    start(&run, "shop", "      ingestAllDatabases: true\n", "", "");
    CHECK_OK(reading_open(&first, &run, &status), status);
    CHECK_OK(reading_discover(&first, SHOAL_SLICE_NONE, &status), status);
    reading_close(&first);
    size_t shards = run.shard_count;
    CHECK_OK(reading_open(&second, &run, &status), status);
    CHECK_OK(reading_discover(&second, shoal_buffer_slice(&run.cursor), &status), status);
    CHECK(run.shard_count == shards); // the last cursor is behind everything
    CHECK_FAILS(reading_discover(&second, SHOAL_SLICE("\x01"), &status), status, SHOAL_PROTOCOL);
    reading_close(&second);
    run_stop(&run);
}

// An attempt of discovery tells `shards` shards and ends; the catalogue changes; another one goes on.
static void
discover_in_two_attempts(const char *sharding, size_t shards)
{
    run_t run;
    reading_t first;
    reading_t second;
    test_postgres_sql(
        &server, "halves",
        "drop schema if exists one, two, three, four cascade;"
        "create schema one; create schema two; create schema three;"
        "do $$ begin for i in 1..40 loop execute format('create table one.a%s (n int);"
        "create table two.b%s (n int); create table three.c%s (n int)', i, i, i);"
        "end loop; end $$");
    start(&run, "halves", "", "", sharding);
    run.shard_limit = shards;
    CHECK_OK(reading_open(&first, &run, &status), status);
    CHECK_FAILS(reading_discover(&first, SHOAL_SLICE_NONE, &status), status, SHOAL_CANCELLED);
    reading_close(&first);
    CHECK(run.shard_count == shards);
    test_postgres_sql(&server, "halves",
                      "drop schema three cascade; drop table one.a2, one.a39, two.b2, two.b39;"
                      "create schema four; create table four.x (n int);"
                      "do $$ begin for i in 41..60 loop "
                      "execute format('create table one.a%s (n int)', i); end loop; end $$");
    run.shard_limit = 0;
    CHECK_OK(reading_open(&second, &run, &status), status);
    CHECK_OK(reading_discover(&second, shoal_buffer_slice(&run.cursor), &status), status);
    for (size_t i = 0; i < run.shard_count; i++) {
        CHECK_OK(reading_read(&second, i, &status), status);
    }
    CHECK(run_is_balanced(&run));
    for (size_t i = 1; i < run.scope_count; i++) {
        CHECK(!run.scopes[i].name || run.scopes[i].is_ended);
    }
    for (int i = 1; i <= 40; i++) { // no table twice, none left out
        char name[64];
        (void)snprintf(name, sizeof(name), "\"kind\":\"table\",\"name\":\"a%d\"", i);
        CHECK(run_count(&run, name) == (i == 2 || i == 39 ? 0 : 1));
        (void)snprintf(name, sizeof(name), "\"kind\":\"table\",\"name\":\"b%d\"", i);
        CHECK(run_count(&run, name) == (i == 2 || i == 39 ? 0 : 1));
    }
    reading_close(&second);
    run_stop(&run);
}

//
static void
a_discovery_that_ended_half_way_never_cuts_again_what_was_cut(void)
{
    test_postgres_sql(&server, "postgres", "create database halves");
    for (size_t shards = 2; shards < 12; shards++) {
        discover_in_two_attempts("sharding: {tables_per_shard: 11}\n", shards);
    }
    for (size_t shards = 2; shards < 5; shards++) {
        discover_in_two_attempts("sharding: {type: schema}\n", shards);
    }
    test_postgres_sql(&server, "postgres", "drop database halves");
}

static void
a_limit_ends_a_shard_and_the_instance_goes_on(void)
{
    run_t run;
    reading_t reading;
    start(&run, "many", "", "", "sharding: {tables_per_shard: 100}\n");
    run.record_limit = 50;
    CHECK_OK(reading_open(&reading, &run, &status), status);
    CHECK_OK(reading_discover(&reading, SHOAL_SLICE_NONE, &status), status);
    CHECK_OK(reading_read(&reading, 0, &status), status);
    CHECK_OK(reading_read(&reading, 1, &status), status);
    CHECK_FAILS(reading_read(&reading, 2, &status), status, SHOAL_CANCELLED);
    CHECK(run.record_count == 50);
    run.record_limit = 0;
    CHECK_OK(reading_read(&reading, 3, &status), status); // in the held snapshot still
    CHECK(!strstr(shoal_buffer_text(&run.facts), "not shared"));
    reading_close(&reading);
    run_stop(&run);
}

static void
the_template_is_a_workflow_that_works(void)
{
    char port[16];
    (void)snprintf(port, sizeof(port), "%u", server.port);
    CHECK(setenv("PGHOST", server.folder, 1) == 0 && setenv("PGPORT", port, 1) == 0);
    CHECK(setenv("PGDATABASE", "shop", 1) == 0);
    run_t run;
    reading_t reading;
    CHECK_OK(run_start(&run, &shoal_connector, shoal_connector.template_text, &status), status);
    CHECK(run.warnings.len == 0);
    CHECK_OK(reading_open(&reading, &run, &status), status);
    CHECK_OK(reading_everything(&reading, &status), status);
    CHECK(run_count(&run, "\"kind\":\"table\"") == 6);
    reading_close(&reading);
    run_stop(&run);
}

static void
broken_arguments_are_refused(void)
{
    static const char *const broken[] = {"", "\x01", "\x96\xa1x\xa0\x91\x01\x90\xc2\xc2",
                                         "\x95\x09\xa0\xa0\x01\x01",
                                         "\x96\xc0\xa0\x92\x01\x02\x90"};
    run_t run;
    start(&run, "shop", "", "", "");
    reading_t reading;
    CHECK_OK(reading_open(&reading, &run, &status), status);
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        for (int stage = SHOAL_STAGE_PREPARE; stage <= SHOAL_STAGE_MAP; stage++) {
            CHECK_FAILS(run.connector->source->read(reading.source, (shoal_stage_t)stage,
                                                    shoal_slice_of(broken[i]), &reading.emitter,
                                                    &status),
                        status, SHOAL_PROTOCOL);
        }
    }
    reading_close(&reading);
    run_stop(&run);
}

// ---- the server

static void
make_types(void)
{
    // Every stock type that a column can have, with and without modifiers, and arrays of them.
    char *sql = test_postgres_value(
        &server, "types",
        "select 'create table every_type (' || string_agg('c' || n || ' ' || t, ', ') || ')' from ("
        "select t, row_number() over () n from ("
        "select format_type(oid, null) t from pg_type where oid < 10000 "
        "and typtype in ('b', 'r', 'm') and typname not in ('pg_node_tree', 'aclitem') "
        "and typcategory <> 'Z' and not exists (select from pg_type e where e.oid = "
        "pg_type.typelem and e.typtype in ('c', 'p')) "
        "union all select 'aclitem[]' "
        "union all select unnest(array['varchar(7)', 'char(9)', 'char', 'bpchar', 'bit(3)', 'bit', "
        "'varbit(12)', 'numeric(18,4)', 'numeric(5)', 'numeric(3,-2)', 'numeric(1000,1000)', "
        "'time(3)', 'timetz(0)', 'timestamp(6)', 'timestamptz(2)', 'interval(3)', 'interval year', "
        "'interval month', 'interval day', 'interval hour', 'interval minute', 'interval second', "
        "'interval year to month', 'interval day to hour', 'interval day to minute', "
        "'interval day to second(2)', 'interval hour to minute', 'interval hour to second', "
        "'interval minute to second(0)', 'varchar(7)[]', 'char(9)[]', 'bpchar[]', "
        "'numeric(18,4)[]', "
        "'timestamptz(2)[]', 'bit(3)[]', 'interval second(1)[]', 'int[][]', 'float(3)', "
        "'\"char\"', 'mood', 'mood[]', 'positive', 'positive[]', 'code', 'pair', 'pair[]', "
        "'spans', '\"Odd.Type\"']) ) all_types) numbered");
    test_postgres_sql(&server, "types", sql);
    free(sql);
}

static int
start_server(void **state)
{
    (void)state;
    test_postgres_start(&server, NULL);
    test_postgres_sql(&server, "postgres", "create database zoo");
    test_postgres_sql(&server, "postgres", "create database types");
    test_postgres_sql(&server, "postgres", "create database shop");
    test_postgres_sql(&server, "postgres", "create database other");
    test_postgres_sql(&server, "postgres", "create database many");
    char *zoo = file_text(ZOO_FILE);
    test_postgres_sql(&server, "zoo", zoo);
    free(zoo);
    test_postgres_sql(&server, "types",
                      "set client_min_messages = warning; create type mood as enum ('sad', 'ok'); "
                      "create domain positive as int check "
                      "(value > 0); create domain code as varchar(20); create type pair as (a int, "
                      "b text); create type spans as range (subtype = int8); create type "
                      "\"Odd.Type\" as enum ('x')");
    make_types();
    test_postgres_sql(
        &server, "shop",
        "create schema sales; create schema \"Sales_archive\"; "
        "create table public.customers (id int primary key); "
        "create table sales.orders (id int); create table sales.order_lines (id int); "
        "create table sales.reorders (id int); create table sales.stock (id int); "
        "create view sales.totals as select count(*) from sales.orders");
    test_postgres_sql(&server, "other", "create table only_one (id int)");
    test_postgres_sql(
        &server, "many",
        "do $$ begin for i in 1..6 loop execute format('create schema s%s', i); end "
        "loop; for i in 1..300 loop execute format('create table s%s.t%s (id int "
        "primary key, name text default %L, total numeric(8,2))', i % 6 + 1, i, 'x'); "
        "end loop; end $$");
    return 0;
}

static int
start_databases(void **state)
{
    if (start_server(state) != 0) {
        return 1;
    }
    test_postgres_sql(&server, "postgres", "drop database other");
    test_postgres_sql(&server, "postgres", "create database other");
    test_postgres_sql(&server, "other", "create table only_one (id int)");
    test_postgres_sql(&server, "postgres", "create database changing");
    test_postgres_sql(&server, "changing",
                      "do $$ begin for i in 1..30 loop execute format('create table t%s (n int)', "
                      "i); end loop; end $$");
    test_postgres_sql(&server, "postgres", "create database empty");
    return 0;
}

static int
stop_server(void **state)
{
    (void)state;
    test_postgres_stop(&server);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_zoo_comes_out_as_its_golden_file_says),
        TEST(every_type_is_shown_as_the_server_shows_it),
        TEST(filters_match_anchored_at_the_start_and_in_any_case),
        TEST(includes_alone_decide_where_there_are_any),
        TEST(a_pattern_of_the_connection_counts_if_there_is_no_other),
        TEST(whole_names_are_matched_if_the_file_says_so),
        TEST(information_schema_is_left_out_unless_a_pattern_is_written),
        TEST(tables_or_views_can_be_left_out),
        TEST(every_database_is_read_if_the_file_says_so),
        TEST(databases_are_filtered_by_name),
        TEST(an_empty_database_is_a_success_without_tables),
        TEST(every_way_of_sharding_reads_the_same),
        TEST(map_shards_need_their_database_and_expect_their_tables),
        TEST(several_instances_read_one_snapshot),
        TEST(without_the_snapshot_the_run_goes_on_and_says_so),
        TEST(snapshots_of_sixteen_databases_are_held_at_most),
        TEST(a_view_whose_table_was_dropped_is_read_without_the_snapshot),
        TEST(a_discovery_that_failed_goes_on_from_its_cursor),
        TEST(a_discovery_that_ended_half_way_never_cuts_again_what_was_cut),
        TEST(a_limit_ends_a_shard_and_the_instance_goes_on),
        TEST(the_template_is_a_workflow_that_works),
        TEST(broken_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, start_databases, stop_server);
}
