// SPDX-License-Identifier: Apache-2.0
//
// test_filter.c - what connectors/filter promises.

#include "connectors/connector.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

// Appends {"includes": ..., "excludes": ...}; NULL: absent.
static void
write_pattern(shoal_buffer_t *out, const char *includes, const char *excludes)
{
    shoal_write_map(out, 2);
    shoal_write_text(out, "includes");
    shoal_write_text(out, includes);
    shoal_write_text(out, "excludes");
    shoal_write_text(out, excludes);
}

static bool
open_filter(shoal_buffer_t *section, shoal_options_t **options, void **filter,
            shoal_status_t *status)
{
    CHECK_OK(shoal_options_read(options, shoal_connector.options, "processor.config",
                                shoal_buffer_slice(section), false, NULL, NULL, status),
             *status);
    shoal_buffer_fini(section);
    return shoal_connector.processor->open(*options, NULL, filter, status);
}

static void
write_record(shoal_buffer_t *out, const char *kind, const char *name)
{
    shoal_write_map(out, 5);
    shoal_write_text(out, "kind");
    shoal_write_text(out, kind);
    shoal_write_text(out, "name");
    shoal_write_text(out, name);
    shoal_write_text(out, "databaseSchema");
    shoal_write_text(out, "pg1.sales.public");
    shoal_write_text(out, "columns");
    shoal_write_array(out, 2);
    for (int i = 0; i < 2; i++) {
        shoal_write_map(out, 1);
        shoal_write_text(out, "name");
        shoal_write_text(out, i == 0 ? "id" : "updated_at");
    }
    shoal_write_text(out, "stats");
    shoal_write_map(out, 2);
    shoal_write_text(out, "rows");
    shoal_write_int(out, -1);
    shoal_write_text(out, "hot");
    shoal_write_bool(out, true);
}

static bool
keeps(void *filter, const char *kind, const char *name)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_verdict_t verdict = SHOAL_VERDICT_REPLACE;
    write_record(&record, kind, name);
    CHECK_OK(shoal_connector.processor->process(filter, shoal_buffer_slice(&record), &out, &verdict,
                                                &status),
             status);
    CHECK(verdict != SHOAL_VERDICT_REPLACE && out.len == 0);
    shoal_buffer_fini(&record);
    shoal_buffer_fini(&out);
    return verdict == SHOAL_VERDICT_KEEP;
}

// A filter of one pattern.
static bool
keeps_by(const char *option, const char *includes, const char *excludes, const char *kind,
         const char *name)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    shoal_options_t *options = NULL;
    void *filter = NULL;
    shoal_write_map(&section, 1);
    shoal_write_text(&section, option);
    write_pattern(&section, includes, excludes);
    CHECK_OK(open_filter(&section, &options, &filter, &status), status);
    bool keep = keeps(filter, kind, name);
    shoal_connector.processor->close(filter);
    shoal_options_destroy(&options);
    return keep;
}

static void
names_fqns_and_kinds_are_looked_at(void)
{
    CHECK(keeps_by("nameFilterPattern", "^fact_", NULL, "table", "FACT_sales"));
    CHECK(!keeps_by("nameFilterPattern", "^fact_", NULL, "table", "orders"));
    CHECK(keeps_by("nameFilterPattern", "^fact_", NULL, "databaseSchema", "orders")); // unseen
    CHECK(!keeps_by("fqnFilterPattern", NULL, "pg1\\.sales\\.public\\.orders$", "table", "orders"));
    CHECK(keeps_by("fqnFilterPattern", NULL, "pg1\\.sales\\.public\\.orders$", "table", "orders2"));
    CHECK(keeps_by("fqnFilterPattern", ".*\\.\"a\\.b\"$", NULL, "table", "a.b"));
    CHECK(!keeps_by("kindFilterPattern", NULL, "database", "databaseSchema", "x"));
    CHECK(keeps_by("kindFilterPattern", NULL, "database$", "databaseSchema", "x"));
}

static void
columns_are_looked_at_one_by_one(void)
{
    CHECK(keeps_by("columnFilterPattern", "^updated_at$", NULL, "table", "x"));
    CHECK(!keeps_by("columnFilterPattern", "^created_at$", NULL, "table", "x"));
    CHECK(!keeps_by("columnFilterPattern", NULL, "^updated_at$", "table", "x"));
    CHECK(keeps_by("columnFilterPattern", NULL, "^created_at$", "table", "x"));
}

static bool
keeps_if(const char *field, const char *includes, const char *excludes)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    shoal_options_t *options = NULL;
    void *filter = NULL;
    shoal_write_map(&section, 2);
    shoal_write_text(&section, "kinds");
    shoal_write_array(&section, 0); // every kind
    shoal_write_text(&section, "conditions");
    shoal_write_array(&section, 1);
    shoal_write_map(&section, 2);
    shoal_write_text(&section, "field");
    shoal_write_text(&section, field);
    shoal_write_text(&section, "pattern");
    write_pattern(&section, includes, excludes);
    CHECK_OK(open_filter(&section, &options, &filter, &status), status);
    bool keep = keeps(filter, "query", "x");
    shoal_connector.processor->close(filter);
    shoal_options_destroy(&options);
    return keep;
}

static void
conditions_look_at_fields(void)
{
    CHECK(keeps_if("stats.rows", "-1$", NULL));
    CHECK(!keeps_if("stats.rows", NULL, "-1$"));
    CHECK(keeps_if("stats.hot", "true", NULL));
    CHECK(!keeps_if("name", "y", NULL));
    CHECK(!keeps_if("owner", ".*", NULL)); // absent: includes drop, excludes keep
    CHECK(keeps_if("owner", NULL, ".*"));
    CHECK(keeps_if("stats", NULL, ".*")); // no text
}

static void
a_wrong_condition_is_blamed(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    shoal_options_t *options = NULL;
    void *filter = NULL;
    shoal_write_map(&section, 1);
    shoal_write_text(&section, "conditions");
    shoal_write_array(&section, 1);
    shoal_write_map(&section, 2);
    shoal_write_text(&section, "field");
    shoal_write_text(&section, "name");
    shoal_write_text(&section, "pattern");
    write_pattern(&section, "[", NULL);
    CHECK_FAILS(open_filter(&section, &options, &filter, &status), status, SHOAL_INVALID);
    assert_string_equal(status.key, "processor.config.conditions[0].pattern.includes[0]");
    shoal_options_destroy(&options);

    shoal_write_map(&section, 1);
    shoal_write_text(&section, "conditions");
    shoal_write_text(&section, "name");
    CHECK_FAILS(open_filter(&section, &options, &filter, &status), status, SHOAL_INVALID);
    assert_string_equal(status.key, "processor.config.conditions");
    shoal_options_destroy(&options);

    shoal_write_map(&section, 1);
    shoal_write_text(&section, "conditions");
    shoal_write_map(&section, 1); // one map counts as a list of one
    shoal_write_text(&section, "feild");
    shoal_write_text(&section, "name");
    CHECK_FAILS(open_filter(&section, &options, &filter, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "did you mean \"field\"");
    shoal_options_destroy(&options);
}

static void
a_name_too_long_to_look_for_is_blamed(void)
{
    char field[160] = "stats.";
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    shoal_options_t *options = NULL;
    void *filter = NULL;
    memset(field + 6, 'x', 127);
    CHECK(keeps_if(field, NULL, ".*")); // the longest one
    field[6 + 127] = 'x';
    shoal_write_map(&section, 1);
    shoal_write_text(&section, "conditions");
    shoal_write_map(&section, 2);
    shoal_write_text(&section, "field");
    shoal_write_text(&section, field);
    shoal_write_text(&section, "pattern");
    write_pattern(&section, ".*", NULL);
    CHECK_FAILS(open_filter(&section, &options, &filter, &status), status, SHOAL_INVALID);
    assert_string_equal(status.key, "processor.config.conditions.field");
    shoal_options_destroy(&options);
}

static void
a_record_that_is_none_is_survived(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_options_t *options = NULL;
    shoal_verdict_t verdict = SHOAL_VERDICT_KEEP;
    void *filter = NULL;
    shoal_write_map(&section, 1);
    shoal_write_text(&section, "kindFilterPattern");
    write_pattern(&section, "table", NULL);
    CHECK_OK(open_filter(&section, &options, &filter, &status), status);
    CHECK_OK(shoal_connector.processor->process(filter, SHOAL_SLICE("\xdf\xff\xff"), &out, &verdict,
                                                &status),
             status);
    CHECK(verdict == SHOAL_VERDICT_DROP); // it has no kind
    shoal_connector.processor->close(filter);
    shoal_options_destroy(&options);
}

TEST_MAIN(TEST(names_fqns_and_kinds_are_looked_at), TEST(columns_are_looked_at_one_by_one),
          TEST(conditions_look_at_fields), TEST(a_wrong_condition_is_blamed),
          TEST(a_name_too_long_to_look_for_is_blamed), TEST(a_record_that_is_none_is_survived))
