// SPDX-License-Identifier: Apache-2.0
//
// test_catalogue.c - the records that connectors/catalogue.h builds.

#include "connectors/catalogue.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "tests/support/test.h"

static shoal_buffer_t out;

// The record in `out` as JSON; empties it.
static const char *
json(void)
{
    static shoal_buffer_t text;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_clear(&text);
    CHECK(shoal_cursor_check(shoal_buffer_slice(&out), 8));
    CHECK_OK(shoal_json_write(shoal_buffer_slice(&out), &text, &status), status);
    shoal_buffer_fini(&out);
    return shoal_buffer_text(&text);
}

static const char *
fqn(const char *parent, const char *name)
{
    shoal_buffer_clear(&out);
    shoal_catalogue_fqn(&out, shoal_slice_of(parent), shoal_slice_of(name));
    static char text[256];
    (void)snprintf(text, sizeof(text), "%s", shoal_buffer_text(&out));
    shoal_buffer_fini(&out);
    return text;
}

static void
names_are_joined_quoted_and_encoded(void)
{
    assert_string_equal(fqn("", "pg1"), "pg1");
    assert_string_equal(fqn("", "pg.1"), "\"pg.1\"");
    assert_string_equal(fqn("pg1", "sales"), "pg1.sales");
    assert_string_equal(fqn("pg1.sales", "a.b"), "pg1.sales.\"a.b\"");
    assert_string_equal(fqn("pg1", "a\"b"), "pg1.a__reserved__quote__b");
    assert_string_equal(fqn("pg1", "a::b>c"), "pg1.a__reserved__colon__b__reserved__arrow__c");
    assert_string_equal(fqn("pg1", "a:b"), "pg1.a:b");
}

static void
an_fqn_is_appended_behind_what_is_there(void)
{
    shoal_buffer_append_text(&out, "before|");
    shoal_catalogue_fqn(&out, SHOAL_SLICE_NONE, SHOAL_SLICE("pg1"));
    shoal_buffer_append_text(&out, "|");
    shoal_catalogue_fqn(&out, SHOAL_SLICE("pg1"), SHOAL_SLICE("sales"));
    assert_string_equal(shoal_buffer_text(&out), "before|pg1|pg1.sales");
    shoal_buffer_fini(&out);
}

static void
parents_have_what_openmetadata_wants(void)
{
    shoal_catalogue_service(&out, SHOAL_SLICE("pg1"), "Postgres");
    assert_string_equal(
        json(), "{\"kind\":\"databaseService\",\"name\":\"pg1\",\"serviceType\":\"Postgres\"}");
    shoal_catalogue_database(&out, SHOAL_SLICE("sales"), SHOAL_SLICE("pg1"), SHOAL_SLICE("all"));
    assert_string_equal(json(), "{\"kind\":\"database\",\"name\":\"sales\",\"service\":\"pg1\","
                                "\"description\":\"all\"}");
    shoal_catalogue_schema(&out, SHOAL_SLICE("a\"b"), SHOAL_SLICE("pg1.sales"), SHOAL_SLICE_NONE);
    assert_string_equal(json(), "{\"kind\":\"databaseSchema\",\"name\":\"a__reserved__quote__b\","
                                "\"displayName\":\"a\\\"b\",\"database\":\"pg1.sales\"}");
}

static shoal_catalogue_column_t
column(const char *name, bool is_nullable)
{
    return (shoal_catalogue_column_t){.name = shoal_slice_of(name),
                                      .data_type = SHOAL_SLICE("INT"),
                                      .position = 1,
                                      .precision = SHOAL_CATALOGUE_NO_NUMBER,
                                      .scale = SHOAL_CATALOGUE_NO_NUMBER,
                                      .is_nullable = is_nullable};
}

static void
a_column_says_all_that_is_known_and_nothing_else(void)
{
    shoal_catalogue_column_t columns[] = {column("plain", true), column("full", false)};
    columns[1].data_type = SHOAL_SLICE("NUMERIC");
    columns[1].display = SHOAL_SLICE("numeric(3,-1)");
    columns[1].array_type = SHOAL_SLICE("x");
    columns[1].default_value = SHOAL_SLICE("0");
    columns[1].description = SHOAL_SLICE("d");
    columns[1].position = 2;
    columns[1].length = 9;
    columns[1].precision = 3;
    columns[1].scale = -1;
    shoal_catalogue_table_t table = {.name = SHOAL_SLICE("t"),
                                     .schema_fqn = SHOAL_SLICE("s.d.c"),
                                     .table_type = "Regular",
                                     .columns = columns,
                                     .column_count = 2};
    shoal_catalogue_table(&out, &table);
    assert_string_equal(
        json(),
        "{\"kind\":\"table\",\"name\":\"t\",\"tableType\":\"Regular\",\"databaseSchema\":\"s.d.c\","
        "\"columns\":[{\"name\":\"plain\",\"dataType\":\"INT\",\"dataLength\":1,"
        "\"ordinalPosition\":1,"
        "\"constraint\":\"NULL\",\"nullable\":true},{\"name\":\"full\",\"dataType\":\"NUMERIC\","
        "\"arrayDataType\":\"x\",\"dataTypeDisplay\":\"numeric(3,-1)\",\"dataLength\":9,"
        "\"precision\":3,\"scale\":-1,\"ordinalPosition\":2,\"constraint\":\"NOT_NULL\","
        "\"nullable\":false,\"default\":\"0\",\"description\":\"d\"}]}");
}

// Three columns a, b, c with these keys; returns the record.
static const char *
with_keys(const shoal_catalogue_key_t *keys, uint32_t key_count)
{
    shoal_catalogue_column_t columns[] = {column("a", false), column("b", true),
                                          column("c>d", true)};
    shoal_catalogue_table_t table = {.name = SHOAL_SLICE("t"),
                                     .schema_fqn = SHOAL_SLICE("s.d.c"),
                                     .table_type = "Regular",
                                     .columns = columns,
                                     .column_count = 3,
                                     .keys = keys,
                                     .key_count = key_count};
    shoal_catalogue_table(&out, &table);
    return json();
}

static const uint32_t first[] = {0};
static const uint32_t second[] = {1};
static const uint32_t both[] = {0, 2};
static const uint32_t both_turned[] = {2, 0};
static const shoal_slice_t referred[] = {{"x.y", 3}, {"x.z", 3}};

static void
a_key_of_one_column_is_that_columns_constraint(void)
{
    const shoal_catalogue_key_t keys[] = {
        {.kind = SHOAL_KEY_UNIQUE, .columns = first, .column_count = 1},
        {.kind = SHOAL_KEY_PRIMARY, .columns = first, .column_count = 1},
        {.kind = SHOAL_KEY_UNIQUE, .columns = second, .column_count = 1},
    };
    const char *record = with_keys(keys, 3);
    CHECK_SAYS(record, "\"ordinalPosition\":1,\"constraint\":\"PRIMARY_KEY\",\"nullable\":false");
    CHECK_SAYS(record, "\"constraint\":\"UNIQUE\",\"nullable\":true");
    CHECK(!strstr(record, "tableConstraints"));
}

static void
a_key_of_several_columns_is_a_table_constraint(void)
{
    const shoal_catalogue_key_t keys[] = {{.kind = SHOAL_KEY_PRIMARY,
                                           .name = SHOAL_SLICE("t_pkey"),
                                           .columns = both,
                                           .column_count = 2}};
    const char *record = with_keys(keys, 1);
    CHECK_SAYS(record,
               "\"tableConstraints\":[{\"constraintType\":\"PRIMARY_KEY\",\"name\":\"t_pkey\","
               "\"columns\":[\"a\",\"c__reserved__arrow__d\"]}]");
    CHECK(!strstr(record, "\"constraint\":\"PRIMARY_KEY\""));
}

static void
a_foreign_key_says_what_it_refers_to_and_how(void)
{
    const shoal_catalogue_key_t foreign = {
        .kind = SHOAL_KEY_FOREIGN, .columns = both, .column_count = 2, .referred = referred};
    CHECK_SAYS(with_keys(&foreign, 1),
               "{\"constraintType\":\"FOREIGN_KEY\",\"columns\":[\"a\",\"c__reserved__arrow__d\"],"
               "\"referredColumns\":[\"x.y\",\"x.z\"],\"relationshipType\":\"MANY_TO_ONE\"}");
    const shoal_catalogue_key_t keys[] = {
        foreign,
        {.kind = SHOAL_KEY_UNIQUE, .columns = both_turned, .column_count = 2},
    };
    CHECK_SAYS(with_keys(keys, 2), "ONE_TO_ONE");
    const shoal_catalogue_key_t single[] = {
        {.kind = SHOAL_KEY_FOREIGN, .columns = first, .column_count = 1, .referred = referred},
        {.kind = SHOAL_KEY_UNIQUE, .columns = both, .column_count = 2},
        {.kind = SHOAL_KEY_UNIQUE, .columns = second, .column_count = 1},
    };
    CHECK_SAYS(with_keys(single, 3), "MANY_TO_ONE");
}

TEST_MAIN(TEST(names_are_joined_quoted_and_encoded), TEST(an_fqn_is_appended_behind_what_is_there),
          TEST(parents_have_what_openmetadata_wants),
          TEST(a_column_says_all_that_is_known_and_nothing_else),
          TEST(a_key_of_one_column_is_that_columns_constraint),
          TEST(a_key_of_several_columns_is_a_table_constraint),
          TEST(a_foreign_key_says_what_it_refers_to_and_how))
