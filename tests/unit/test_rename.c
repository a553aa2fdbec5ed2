// SPDX-License-Identifier: Apache-2.0
//
// test_rename.c - what connectors/rename promises.

#include "connectors/connector.h"
#include "proto/record/json.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

typedef struct {
    shoal_options_t *options;
    void *renamer;
} fixture_t;

typedef struct {
    const char *pairs[8]; // key, value, ...
} map_t;

static void
write_maps(shoal_buffer_t *out, const char *key, const map_t *maps, uint32_t count)
{
    shoal_write_text(out, key);
    shoal_write_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pairs = 0;
        while (pairs < 4 && maps[i].pairs[2 * pairs]) {
            pairs++;
        }
        shoal_write_map(out, pairs);
        for (uint32_t j = 0; j < 2 * pairs; j++) {
            shoal_write_text(out, maps[i].pairs[j]);
        }
    }
}

static bool
open_renamer(fixture_t *fixture, const map_t *prefixes, uint32_t prefix_count, const map_t *rules,
             uint32_t rule_count, shoal_status_t *status)
{
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    *fixture = (fixture_t){0};
    shoal_write_map(&section, 2);
    write_maps(&section, "prefixes", prefixes, prefix_count);
    write_maps(&section, "rules", rules, rule_count);
    CHECK_OK(shoal_options_read(&fixture->options, shoal_connector.options, "processor.config",
                                shoal_buffer_slice(&section), false, NULL, NULL, status),
             *status);
    shoal_buffer_fini(&section);
    return shoal_connector.processor->open(fixture->options, NULL, &fixture->renamer, status);
}

static void
fixture_fini(fixture_t *fixture)
{
    if (fixture->renamer) {
        shoal_connector.processor->close(fixture->renamer);
    }
    shoal_options_destroy(&fixture->options);
}

// A table below `schema` with two columns and a foreign key to REFERRED.
static void
write_table(shoal_buffer_t *out, const char *name, const char *schema, const char *referred)
{
    shoal_write_map(out, 5);
    shoal_write_text(out, "databaseSchema");
    shoal_write_text(out, schema);
    shoal_write_text(out, "kind");
    shoal_write_text(out, "table");
    shoal_write_text(out, "columns");
    shoal_write_array(out, 2);
    for (int i = 0; i < 2; i++) {
        shoal_write_map(out, 2);
        shoal_write_text(out, "name");
        shoal_write_text(out, i == 0 ? "id" : "user_id");
        shoal_write_text(out, "position");
        shoal_write_uint(out, (uint64_t)i);
    }
    shoal_write_text(out, "tableConstraints");
    shoal_write_array(out, 1);
    shoal_write_map(out, 1);
    shoal_write_text(out, "referredColumns");
    shoal_write_array(out, 1);
    shoal_write_text(out, referred);
    shoal_write_text(out, "name");
    shoal_write_text(out, name);
}

// Runs one record through; returns its JSON, or NULL if it was kept. The caller frees.
static char *
rename_one(fixture_t *fixture, shoal_buffer_t *record)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_verdict_t verdict = SHOAL_VERDICT_DROP;
    CHECK_OK(shoal_connector.processor->process(fixture->renamer, shoal_buffer_slice(record), &out,
                                                &verdict, &status),
             status);
    shoal_buffer_fini(record);
    if (verdict == SHOAL_VERDICT_KEEP) {
        shoal_buffer_fini(&out);
        return NULL;
    }
    CHECK(verdict == SHOAL_VERDICT_REPLACE);
    CHECK_OK(shoal_json_write(shoal_buffer_slice(&out), &json, &status), status);
    shoal_buffer_fini(&out);
    (void)shoal_buffer_text(&json);
    return json.ptr;
}

static void
check_table(fixture_t *fixture, const char *name, const char *schema, const char *referred,
            const char *expected)
{
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    write_table(&record, name, schema, referred);
    char *json = rename_one(fixture, &record);
    if (expected) {
        CHECK(json);
        assert_string_equal(json, expected);
    } else {
        CHECK(!json);
    }
    free(json);
}

static void
a_prefix_moves_what_is_below_it_and_what_refers_to_it(void)
{
    static const map_t prefixes[] = {
        {{"from", "pg1.sales", "to", "dw.\"the.shop\""}},
        {{"from", "pg1.sales.public.old", "to", "a.b.c.d"}}, // never first
        {{"from", "pg2.hr.main.t", "to", "p.q.r.\"x.y\""}},
    };
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(open_renamer(&fixture, prefixes, 3, NULL, 0, &status), status);
    check_table(&fixture, "orders", "pg1.sales.public", "pg1.sales.public.users.id",
                "{\"databaseSchema\":\"dw.\\\"the.shop\\\".public\",\"kind\":\"table\","
                "\"columns\":[{\"name\":\"id\",\"position\":0},{\"name\":\"user_id\","
                "\"position\":1}],\"tableConstraints\":[{\"referredColumns\":"
                "[\"dw.\\\"the.shop\\\".public.users.id\"]}],\"name\":\"orders\"}");
    check_table(&fixture, "orders", "pg1.sales2.public", "pg1.sales2.x", NULL);
    check_table(&fixture, "t", "pg2.hr.main", "pg2.hr.main.t.id",
                "{\"databaseSchema\":\"p.q.r\",\"kind\":\"table\",\"columns\":[{\"name\":\"id\","
                "\"position\":0},{\"name\":\"user_id\",\"position\":1}],\"tableConstraints\":"
                "[{\"referredColumns\":[\"p.q.r.\\\"x.y\\\".id\"]}],\"name\":\"x.y\"}");
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    shoal_write_map(&record, 2);
    shoal_write_text(&record, "name");
    shoal_write_text(&record, "sales");
    shoal_write_text(&record, "service");
    shoal_write_text(&record, "pg1");
    char *json = rename_one(&fixture, &record);
    assert_string_equal(json, "{\"name\":\"the.shop\",\"service\":\"dw\"}");
    free(json);
    fixture_fini(&fixture);
}

static void
a_service_is_renamed_with_all_it_has(void)
{
    static const map_t prefixes[] = {{{"from", "pg1", "to", "prod"}}};
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(open_renamer(&fixture, prefixes, 1, NULL, 0, &status), status);
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    shoal_write_map(&record, 1);
    shoal_write_text(&record, "name");
    shoal_write_text(&record, "pg1");
    char *json = rename_one(&fixture, &record);
    assert_string_equal(json, "{\"name\":\"prod\"}");
    free(json);
    shoal_write_map(&record, 2);
    shoal_write_text(&record, "name");
    shoal_write_text(&record, "pg1"); // a database of the service's name
    shoal_write_text(&record, "service");
    shoal_write_text(&record, "pg1");
    json = rename_one(&fixture, &record);
    assert_string_equal(json, "{\"name\":\"pg1\",\"service\":\"prod\"}");
    free(json);
    fixture_fini(&fixture);
}

static void
rules_change_fields_one_after_the_other(void)
{
    static const map_t rules[] = {
        {{"field", "name", "from", "^prod_(.*)$", "to", "\\1_x", "kinds", "table"}},
        {{"field", "name", "from", "x$", "to", "y"}},
        {{"field", "columns.name", "from", "_", "to", "-"}},
        {{"field", "columns.position", "from", "0", "to", "9"}}, // no text: stays
        {{"field", "name", "from", ".*", "to", "no", "kinds", "query"}},
    };
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(open_renamer(&fixture, NULL, 0, rules, 5, &status), status);
    check_table(&fixture, "prod_orders", "s", "r",
                "{\"databaseSchema\":\"s\",\"kind\":\"table\",\"columns\":[{\"name\":\"id\","
                "\"position\":0},{\"name\":\"user-id\",\"position\":1}],\"tableConstraints\":"
                "[{\"referredColumns\":[\"r\"]}],\"name\":\"orders_y\"}");
    fixture_fini(&fixture);
}

static void
what_nothing_fits_is_kept(void)
{
    static const map_t rules[] = {{{"field", "name", "from", "zzz", "to", "y"}},
                                  {{"field", "no.such.field", "from", ".*"}}};
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_OK(open_renamer(&fixture, NULL, 0, rules, 2, &status), status);
    check_table(&fixture, "orders", "s", "r", NULL);
    fixture_fini(&fixture);
}

static void
an_empty_name_gives_the_record_up_and_the_next_one_is_well(void)
{
    static const map_t rules[] = {{{"field", "columns.name", "from", "id", "to", "ID"}},
                                  {{"field", "name", "from", "^tmp", "to", ""}}};
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_verdict_t verdict = SHOAL_VERDICT_KEEP;
    fixture_t fixture;
    CHECK_OK(open_renamer(&fixture, NULL, 0, rules, 2, &status), status);
    write_table(&record, "tmp", "s", "r");
    CHECK_FAILS(shoal_connector.processor->process(fixture.renamer, shoal_buffer_slice(&record),
                                                   &out, &verdict, &status),
                status, SHOAL_INVALID);
    CHECK(status.error_class == SHOAL_DATA);
    CHECK_SAYS(status.text, "\"tmp\"");
    shoal_buffer_fini(&record);
    shoal_buffer_fini(&out);
    check_table(&fixture, "tmpx", "s", "r",
                "{\"databaseSchema\":\"s\",\"kind\":\"table\",\"columns\":[{\"name\":\"ID\","
                "\"position\":0},{\"name\":\"user_ID\",\"position\":1}],\"tableConstraints\":"
                "[{\"referredColumns\":[\"r\"]}],\"name\":\"x\"}");
    fixture_fini(&fixture);
}

static void
check_blamed(const map_t *prefix, const map_t *rule, const char *key)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    fixture_t fixture;
    CHECK_FAILS(open_renamer(&fixture, prefix, prefix ? 1 : 0, rule, rule ? 1 : 0, &status), status,
                SHOAL_INVALID);
    assert_string_equal(status.key, key);
    fixture_fini(&fixture);
}

static void
wrong_rules_are_blamed(void)
{
    check_blamed(NULL, &(map_t){{"field", "name", "from", "("}}, "processor.config.rules[0].from");
    check_blamed(NULL, &(map_t){{"field", "name", "from", "a", "to", "\\1"}},
                 "processor.config.rules[0].to");
    check_blamed(NULL, &(map_t){{"from", "a", "to", "b"}}, "processor.config.rules[0].field");
    check_blamed(&(map_t){{"from", "a.b", "to", "c"}}, NULL, "processor.config.prefixes[0].to");
    check_blamed(&(map_t){{"from", "a.b", "to", "\"c.d"}}, NULL, "processor.config.prefixes[0].to");
    check_blamed(&(map_t){{"from", "a.b", "to", "c."}}, NULL, "processor.config.prefixes[0].to");
}

static void
hostile_records_are_survived(void)
{
    static const map_t prefixes[] = {{{"from", "pg1", "to", "prod"}}};
    static const map_t rules[] = {{{"field", "a.b", "from", "x", "to", "y"}}};
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    fixture_t fixture;
    CHECK_OK(open_renamer(&fixture, prefixes, 1, rules, 1, &status), status);
    shoal_write_map(&record, 1);
    shoal_write_text(&record, "a");
    for (int i = 0; i < 100000; i++) {
        shoal_write_array(&record, 1);
    }
    shoal_write_text(&record, "x");
    CHECK(!rename_one(&fixture, &record)); // deeper than it looks
    write_table(&record, "pg1", "pg1.x", "pg1.x.y.z");
    for (size_t len = 0; len < record.len; len++) {
        shoal_buffer_t cut = SHOAL_BUFFER_INIT;
        shoal_buffer_t out = SHOAL_BUFFER_INIT;
        shoal_verdict_t verdict = SHOAL_VERDICT_KEEP;
        shoal_buffer_append(&cut, record.ptr, len);
        (void)!shoal_connector.processor->process(fixture.renamer, shoal_buffer_slice(&cut), &out,
                                                  &verdict, &status);
        shoal_buffer_fini(&cut);
        shoal_buffer_fini(&out);
    }
    shoal_buffer_fini(&record);
    fixture_fini(&fixture);
}

TEST_MAIN(TEST(a_prefix_moves_what_is_below_it_and_what_refers_to_it),
          TEST(a_service_is_renamed_with_all_it_has), TEST(rules_change_fields_one_after_the_other),
          TEST(what_nothing_fits_is_kept),
          TEST(an_empty_name_gives_the_record_up_and_the_next_one_is_well),
          TEST(wrong_rules_are_blamed), TEST(hostile_records_are_survived))
