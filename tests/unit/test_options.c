// SPDX-License-Identifier: Apache-2.0
//
// test_options.c - what connectors/options.h promises.

#include "connectors/options.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

static const shoal_option_t table[] = {
    {.path = "hostPort", .flags = SHOAL_OPTION_MUST, .help = "as in \"db.example.org:5432\""},
    {.path = "authType.password", .flags = SHOAL_OPTION_SECRET},
    {.path = "authType.pin", .type = SHOAL_OPTION_COUNT, .flags = SHOAL_OPTION_SECRET, .max = 99},
    {.path = "sslMode", .preset = "prefer", .choices = "disable|prefer|require"},
    {.path = "timeoutSeconds", .type = SHOAL_OPTION_COUNT, .preset = "30", .min = 1, .max = 3600},
    {.path = "ingestAllDatabases", .type = SHOAL_OPTION_FLAG, .preset = "false"},
    {.path = "databases", .type = SHOAL_OPTION_LIST, .preset = "a,b"},
    {.path = "tableFilterPattern", .type = SHOAL_OPTION_PATTERN},
    {.path = "rules", .type = SHOAL_OPTION_VALUE},
    {.path = "threads", .flags = SHOAL_OPTION_IGNORED, .help = "slots are used instead"},
    {.path = NULL},
};

static const shoal_option_t second_table[] = {
    {.path = "mode", .preset = "fast"},
    {.path = "hostPort", .preset = "other"},
    {.path = NULL},
};

typedef struct {
    unsigned count;
    char key[256];
    char text[256];
} warned_t;

static void
record_warning(void *ctx, const char *key, const char *text)
{
    warned_t *warned = ctx;
    warned->count++;
    (void)snprintf(warned->key, sizeof(warned->key), "%s", key);
    (void)snprintf(warned->text, sizeof(warned->text), "%s", text);
}

static bool
read_section(shoal_buffer_t *section, bool is_lenient, warned_t *warned, shoal_options_t **options,
             shoal_status_t *status)
{
    bool done = shoal_options_read(options, table, "source.config", shoal_buffer_slice(section),
                                   is_lenient, record_warning, warned, status);
    shoal_buffer_fini(section);
    return done;
}

static void
write_pair(shoal_buffer_t *out, const char *key, const char *value)
{
    shoal_write_text(out, key);
    shoal_write_text(out, value);
}

static void
what_is_written_is_read_and_the_rest_has_its_default(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    shoal_write_map(&section, 5);
    write_pair(&section, "hostPort", "db:5432");
    shoal_write_text(&section, "authType");
    shoal_write_map(&section, 1);
    write_pair(&section, "password", "007");
    write_pair(&section, "ingestAllDatabases", "Yes");
    shoal_write_text(&section, "tableFilterPattern");
    shoal_write_map(&section, 2);
    shoal_write_text(&section, "includes");
    shoal_write_array(&section, 2);
    shoal_write_text(&section, "^a");
    shoal_write_text(&section, "^b");
    shoal_write_text(&section, "excludes");
    shoal_write_nil(&section);
    shoal_write_text(&section, "rules");
    shoal_write_array(&section, 1);
    shoal_write_uint(&section, 7);
    CHECK_OK(read_section(&section, false, &warned, &options, &status), status);

    CHECK(strcmp(shoal_options_text(options, "hostPort"), "db:5432") == 0);
    CHECK(strcmp(shoal_options_text(options, "authType.password"), "007") == 0);
    CHECK(strcmp(shoal_options_text(options, "sslMode"), "prefer") == 0);
    CHECK(shoal_options_count(options, "timeoutSeconds") == 30);
    CHECK(shoal_options_flag(options, "ingestAllDatabases"));
    CHECK(shoal_options_list_len(options, "databases") == 2);
    CHECK(strcmp(shoal_options_list_at(options, "databases", 1), "b") == 0);
    CHECK(shoal_options_list_len(options, "tableFilterPattern.includes") == 2);
    CHECK(strcmp(shoal_options_list_at(options, "tableFilterPattern.includes", 1), "^b") == 0);
    CHECK(shoal_options_list_len(options, "tableFilterPattern.excludes") == 0);
    CHECK(shoal_options_value(options, "rules").len == 2);
    CHECK(shoal_options_is_written(options, "hostPort"));
    CHECK(!shoal_options_is_written(options, "sslMode"));
    CHECK(strcmp(shoal_options_key(options, "authType.password"),
                 "source.config.authType.password") == 0);
    CHECK(warned.count == 0);
    shoal_options_destroy(&options);
    CHECK(options == NULL);
}

static void
two_tables_are_read_into_one_object(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    shoal_write_map(&section, 1);
    write_pair(&section, "hostPort", "db");
    CHECK_OK(read_section(&section, false, &warned, &options, &status), status);
    CHECK_OK(shoal_options_read(&options, second_table, "source.other", SHOAL_SLICE_NONE, false,
                                NULL, NULL, &status),
             status);
    CHECK(strcmp(shoal_options_text(options, "mode"), "fast") == 0);
    CHECK(strcmp(shoal_options_key(options, "mode"), "source.other.mode") == 0);
    CHECK(strcmp(shoal_options_text(options, "hostPort"), "db") == 0); // the first table's
    shoal_options_destroy(&options);
    shoal_buffer_t other = SHOAL_BUFFER_INIT;
    shoal_write_map(&other, 1);
    write_pair(&other, "hostPort", "written");
    CHECK_OK(shoal_options_read(&options, second_table, "source.other", shoal_buffer_slice(&other),
                                false, NULL, NULL, &status),
             status);
    CHECK(strcmp(shoal_options_text(options, "hostPort"), "written") == 0);
    shoal_options_destroy(&options);
    shoal_buffer_fini(&other);
}

// Reads {hostPort: db, key: value} and expects a failure that blames `blamed`.
static void
check_refused(const char *key, const char *value, const char *blamed, const char *says)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    shoal_write_map(&section, 2);
    write_pair(&section, "hostPort", "db");
    write_pair(&section, key, value);
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK(strcmp(status.key, blamed) == 0);
    CHECK_SAYS(status.text, says);
    CHECK(status.error_class == SHOAL_CONFIG);
    CHECK(options == NULL);
}

static void
a_wrong_value_is_refused_with_its_key(void)
{
    check_refused("timeoutSeconds", "soon", "source.config.timeoutSeconds", "whole number");
    check_refused("timeoutSeconds", "", "source.config.timeoutSeconds", "whole number");
    check_refused("timeoutSeconds", "-1", "source.config.timeoutSeconds", "whole number");
    check_refused("timeoutSeconds", "0", "source.config.timeoutSeconds", "1 to 3600");
    check_refused("timeoutSeconds", "3601", "source.config.timeoutSeconds", "1 to 3600");
    check_refused("timeoutSeconds", "99999999999999999999999", "source.config.timeoutSeconds",
                  "1 to 3600");
    check_refused("ingestAllDatabases", "maybe", "source.config.ingestAllDatabases", "true or");
    check_refused("sslMode", "pref", "source.config.sslMode", "disable|prefer|require");
    check_refused("authType", "password", "source.config.authType", "must be a map");
    check_refused("tableFilterPattern", "^a", "source.config.tableFilterPattern", "includes");
    check_refused("hostPort", "db2", "source.config.hostPort", "twice");
}

static void
an_unknown_key_is_refused_with_the_nearest_known_one(void)
{
    check_refused("sslmode", "prefer", "source.config.sslmode", "did you mean \"sslMode\"");
    check_refused("zzz", "prefer", "source.config.zzz", "unknown key \"zzz\"");
    check_refused("authType.password", "x", "source.config.authType.password", "unknown key");
}

static void
a_secret_is_never_shown(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    shoal_write_map(&section, 2);
    write_pair(&section, "hostPort", "db");
    shoal_write_text(&section, "authType");
    shoal_write_map(&section, 1);
    write_pair(&section, "pin", "hunter2");
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK(strstr(status.text, "hunter2") == NULL);
    CHECK(strcmp(status.key, "source.config.authType.pin") == 0);
}

static void
a_missing_key_is_named(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK(strcmp(status.key, "source.config.hostPort") == 0);
    CHECK_SAYS(status.text, "missing");
    shoal_write_nil(&section);
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "missing");
    shoal_write_map(&section, 1);
    write_pair(&section, "hostPort", "");
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "empty");
    shoal_write_map(&section, 1);
    write_pair(&section, "hostPort", NULL);
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "missing");
}

static void
lists_and_patterns_refuse_what_they_cannot_hold(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    shoal_write_map(&section, 1);
    shoal_write_text(&section, "databases");
    shoal_write_array(&section, 2);
    shoal_write_text(&section, "a");
    shoal_write_array(&section, 0);
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK(strcmp(status.key, "source.config.databases[1]") == 0);

    shoal_write_map(&section, 1);
    shoal_write_text(&section, "databases");
    shoal_write_map(&section, 0);
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "must be a list");

    shoal_write_map(&section, 1);
    shoal_write_text(&section, "tableFilterPattern");
    shoal_write_map(&section, 1);
    write_pair(&section, "include", "a");
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK(strcmp(status.key, "source.config.tableFilterPattern.include") == 0);

    shoal_write_map(&section, 1);
    shoal_write_text(&section, "tableFilterPattern");
    shoal_write_map(&section, 2);
    write_pair(&section, "includes", "a");
    write_pair(&section, "includes", "b");
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "twice");
}

static void
hostile_bytes_are_refused(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    shoal_write_map(&section, 1);
    shoal_write_str(&section, SHOAL_SLICE("hostPort"));
    shoal_write_str(&section, (shoal_slice_t){"a\0b", 3});
    size_t whole = section.len;
    for (size_t len = 1; len < whole; len++) {
        CHECK_FAILS(shoal_options_read(&options, table, "s", (shoal_slice_t){section.ptr, len},
                                       false, NULL, NULL, &status),
                    status, SHOAL_INVALID);
    }
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "NUL");
    shoal_write_array(&section, 0);
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "must be a map");
    for (int i = 0; i < 100000; i++) {
        shoal_write_array(&section, 1);
    }
    shoal_write_nil(&section);
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "nested");
    char long_key[400];
    memset(long_key, 'k', sizeof(long_key) - 1);
    long_key[sizeof(long_key) - 1] = '\0';
    shoal_write_map(&section, 1);
    write_pair(&section, long_key, "v");
    CHECK_FAILS(read_section(&section, false, &warned, &options, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "unknown key");
}

static void
numbers_and_flags_count_as_their_text(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    shoal_write_map(&section, 5);
    shoal_write_text(&section, "hostPort");
    shoal_write_float(&section, 1.5);
    shoal_write_text(&section, "timeoutSeconds");
    shoal_write_uint(&section, 60);
    shoal_write_text(&section, "ingestAllDatabases");
    shoal_write_bool(&section, true);
    write_pair(&section, "databases", "one");
    shoal_write_text(&section, "authType");
    shoal_write_map(&section, 1);
    shoal_write_text(&section, "password");
    shoal_write_int(&section, -5);
    CHECK_OK(read_section(&section, false, &warned, &options, &status), status);
    CHECK(strcmp(shoal_options_text(options, "hostPort"), "1.5") == 0);
    CHECK(strcmp(shoal_options_text(options, "authType.password"), "-5") == 0);
    CHECK(shoal_options_count(options, "timeoutSeconds") == 60);
    CHECK(shoal_options_flag(options, "ingestAllDatabases"));
    CHECK(shoal_options_list_len(options, "databases") == 1);
    shoal_options_destroy(&options);
}

static void
ignored_keys_and_lenient_unknown_keys_are_warned_about(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    shoal_write_map(&section, 2);
    write_pair(&section, "hostPort", "db");
    write_pair(&section, "threads", "4");
    CHECK_OK(read_section(&section, false, &warned, &options, &status), status);
    CHECK(warned.count == 1 && strcmp(warned.key, "source.config.threads") == 0);
    CHECK_SAYS(warned.text, "slots are used");
    shoal_options_destroy(&options);

    shoal_write_map(&section, 2);
    write_pair(&section, "hostPort", "db");
    write_pair(&section, "sslmode", "require");
    CHECK_OK(read_section(&section, true, &warned, &options, &status), status);
    CHECK(warned.count == 2 && strcmp(warned.key, "source.config.sslmode") == 0);
    CHECK_SAYS(warned.text, "did you mean");
    shoal_options_destroy(&options);
}

static bool
stop_at_the_second(void *ctx, const shoal_options_t *element, shoal_status_t *status)
{
    unsigned *count = ctx;
    CHECK(strcmp(shoal_options_text(element, "mode"), "m") == 0);
    return ++*count < 2 || shoal_fail(status, SHOAL_INVALID, "that is enough");
}

static void
the_maps_of_a_list_are_read_one_after_the_other(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    warned_t warned = {0};
    for (uint32_t maps = 0; maps <= SHOAL_OPTIONS_EACH_MAX + 1; maps += maps < 3 ? 1 : 998) {
        shoal_options_t *options = NULL;
        unsigned count = 0;
        shoal_write_map(&section, 2);
        write_pair(&section, "hostPort", "db");
        shoal_write_text(&section, "rules");
        shoal_write_array(&section, maps);
        for (uint32_t i = 0; i < maps; i++) {
            shoal_write_map(&section, 1);
            write_pair(&section, "mode", "m");
        }
        CHECK_OK(read_section(&section, false, &warned, &options, &status), status);
        bool done =
            shoal_options_each(options, "rules", second_table, stop_at_the_second, &count, &status);
        CHECK(done == (maps < 2));
        CHECK(count == (maps > SHOAL_OPTIONS_EACH_MAX ? 0 : maps > 2 ? 2 : maps));
        if (maps > SHOAL_OPTIONS_EACH_MAX) {
            CHECK_SAYS(status.text, "at most 1000");
        }
        shoal_options_destroy(&options);
    }
}

TEST_MAIN(TEST(the_maps_of_a_list_are_read_one_after_the_other),
          TEST(what_is_written_is_read_and_the_rest_has_its_default),
          TEST(two_tables_are_read_into_one_object), TEST(a_wrong_value_is_refused_with_its_key),
          TEST(an_unknown_key_is_refused_with_the_nearest_known_one), TEST(a_secret_is_never_shown),
          TEST(a_missing_key_is_named), TEST(lists_and_patterns_refuse_what_they_cannot_hold),
          TEST(hostile_bytes_are_refused), TEST(numbers_and_flags_count_as_their_text),
          TEST(ignored_keys_and_lenient_unknown_keys_are_warned_about))
