// SPDX-License-Identifier: Apache-2.0
//
// test_patterns.c - what connectors/patterns.h promises.

#include "connectors/patterns.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

static const shoal_option_t table[] = {
    {.path = "tableFilterPattern", .type = SHOAL_OPTION_PATTERN},
    {.path = NULL},
};

static void
write_list(shoal_buffer_t *out, const char *key, const char *const *regexes)
{
    uint32_t count = 0;
    while (regexes && regexes[count]) {
        count++;
    }
    shoal_write_text(out, key);
    shoal_write_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        shoal_write_text(out, regexes[i]);
    }
}

static bool
make_patterns(const char *const *includes, const char *const *excludes,
              shoal_patterns_t **ret_patterns, shoal_status_t *status)
{
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    shoal_options_t *options = NULL;
    shoal_write_map(&section, 1);
    shoal_write_text(&section, "tableFilterPattern");
    shoal_write_map(&section, 2);
    write_list(&section, "includes", includes);
    write_list(&section, "excludes", excludes);
    CHECK_OK(shoal_options_read(&options, table, "source.sourceConfig.config",
                                shoal_buffer_slice(&section), false, NULL, NULL, status),
             *status);
    bool done = shoal_patterns_new(options, "tableFilterPattern", ret_patterns, status);
    shoal_options_destroy(&options);
    shoal_buffer_fini(&section);
    return done;
}

static bool
keeps(const char *const *includes, const char *const *excludes, const char *name)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_patterns_t *patterns = NULL;
    bool keep = false;
    CHECK_OK(make_patterns(includes, excludes, &patterns, &status), status);
    CHECK_OK(shoal_patterns_keep(patterns, name, &keep, &status), status);
    shoal_patterns_destroy(&patterns);
    CHECK(patterns == NULL);
    return keep;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
an_empty_pattern_keeps_every_name(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_patterns_t *patterns = NULL;
    CHECK_OK(make_patterns(NULL, NULL, &patterns, &status), status);
    CHECK(shoal_patterns_is_empty(patterns));
    shoal_patterns_destroy(&patterns);
    CHECK(keeps(NULL, NULL, "orders"));
    CHECK(keeps(NULL, NULL, ""));
}

static void
includes_alone_decide_if_there_are_any(void)
{
    CHECK(keeps(LIST("^orders$"), LIST("^orders$"), "orders"));
    CHECK(!keeps(LIST("^orders$"), NULL, "orders_2"));
    CHECK(!keeps(LIST("^orders$"), LIST("^x$"), "customers"));
    CHECK(keeps(LIST("^a", "^b"), NULL, "beta"));
}

static void
excludes_drop_what_they_match(void)
{
    CHECK(!keeps(NULL, LIST("^tmp_", ".*_bak$"), "tmp_1"));
    CHECK(!keeps(NULL, LIST("^tmp_", ".*_bak$"), "orders_bak"));
    CHECK(keeps(NULL, LIST("^tmp_", ".*_bak$"), "orders"));
}

static void
a_regex_is_anchored_at_the_start_only_and_ignores_case(void)
{
    CHECK(keeps(LIST("sales"), NULL, "sales_archive"));
    CHECK(keeps(LIST("sales"), NULL, "SALES"));
    CHECK(!keeps(LIST("sales"), NULL, "old_sales"));
    CHECK(keeps(LIST("a|b"), NULL, "bee"));
    CHECK(!keeps(LIST("a|b"), NULL, "cab"));
    CHECK(keeps(LIST("ÜBER"), NULL, "übersicht"));
    CHECK(keeps(LIST("\\w+$"), NULL, "größe"));
    CHECK(!keeps(NULL, LIST(".*"), "\xff not UTF-8"));
}

static void
an_empty_name_is_dropped_if_there_is_a_pattern(void)
{
    CHECK(!keeps(LIST(".*"), NULL, ""));
    CHECK(!keeps(NULL, LIST("^x"), ""));
}

static void
check_refused(const char *const *includes, const char *const *excludes, const char *blamed,
              const char *says)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_patterns_t *patterns = NULL;
    CHECK_FAILS(make_patterns(includes, excludes, &patterns, &status), status, SHOAL_INVALID);
    CHECK(status.error_class == SHOAL_CONFIG);
    CHECK(strcmp(status.key, blamed) == 0);
    CHECK_SAYS(status.text, says);
    CHECK(patterns == NULL);
}

static void
a_regex_that_does_not_compile_is_refused_with_its_place(void)
{
    check_refused(LIST("ok", "fine", "[a-"), NULL,
                  "source.sourceConfig.config.tableFilterPattern.includes[2]", "[a-");
    check_refused(NULL, LIST("(a"), "source.sourceConfig.config.tableFilterPattern.excludes[0]",
                  "parenthesis");
    check_refused(LIST(""), NULL, "source.sourceConfig.config.tableFilterPattern.includes[0]",
                  "1 to 4096 bytes");
}

static void
a_regex_that_backtracks_without_end_is_refused(void)
{
    static const char *const hostile[] = {
        "(a+)+$",          "^(\\w+\\s?)*$",
        "(x+x+)+y",        "^(order_)*(order_)*(order_)+$|(ab|abab)+$",
        "(([a-z])+.)+[A]", "(.*)*x",
        "(a|aa)+$",        "(\\d+)*$",
        "^(é+)+$",         "(?:[-.]+)+(?:[-.])+$",
    };
    for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
        check_refused(LIST("^ok$", hostile[i]), NULL,
                      "source.sourceConfig.config.tableFilterPattern.includes[1]", "backtracks");
    }
}

static void
ordinary_regexes_are_taken(void)
{
    CHECK(keeps(LIST("^(.*_)?orders(_.*)?$"), NULL, "eu_orders_2024"));
    CHECK(keeps(LIST(".*_.*_.*_.*_x$"), NULL, "a_b_c_d_x"));
    CHECK(keeps(LIST("^(?!tmp).*$"), NULL, "orders"));
    CHECK(keeps(LIST("^(sales|hr|finance)_(\\d{4})_(\\d{2})$"), NULL, "hr_2024_01"));
    CHECK(keeps(LIST("(?P<x>a)(?P=x)"), NULL, "aa"));
}

static void
a_limit_reached_on_a_name_blames_the_regex(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_patterns_t *patterns = NULL;
    char name[2000];
    bool keep = false;
    memset(name, 'q', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    CHECK_OK(make_patterns(LIST(".*[qr].*[qr].*[qr].*[xy]$"), NULL, &patterns, &status), status);
    CHECK_FAILS(shoal_patterns_keep(patterns, name, &keep, &status), status, SHOAL_INVALID);
    CHECK(status.error_class == SHOAL_CONFIG);
    CHECK(strcmp(status.key, "source.sourceConfig.config.tableFilterPattern.includes[0]") == 0);
    CHECK_SAYS(status.text, "too long");
    shoal_patterns_destroy(&patterns);
}

static void
too_many_regexes_are_refused(void)
{
    static const char *many[SHOAL_PATTERN_COUNT_MAX + 2];
    for (size_t i = 0; i <= SHOAL_PATTERN_COUNT_MAX; i++) {
        many[i] = "^a$";
    }
    check_refused(many, NULL, "source.sourceConfig.config.tableFilterPattern", "1001 regular");
}

TEST_MAIN(TEST(an_empty_pattern_keeps_every_name), TEST(includes_alone_decide_if_there_are_any),
          TEST(excludes_drop_what_they_match),
          TEST(a_regex_is_anchored_at_the_start_only_and_ignores_case),
          TEST(an_empty_name_is_dropped_if_there_is_a_pattern),
          TEST(a_regex_that_does_not_compile_is_refused_with_its_place),
          TEST(a_regex_that_backtracks_without_end_is_refused), TEST(ordinary_regexes_are_taken),
          TEST(a_limit_reached_on_a_name_blames_the_regex), TEST(too_many_regexes_are_refused))
