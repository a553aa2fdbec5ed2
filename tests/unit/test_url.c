// SPDX-License-Identifier: Apache-2.0
//
// test_url.c - what client/url.h promises.

#include <sys/stat.h>
#include <unistd.h>

#include "client/url.h"
#include "proto/workflow/workflow.h"
#include "tests/support/test.h"

// Variables of a test: name, value, ..., NULL.
static const char *
variable(void *ctx, const char *name)
{
    const char *const *pairs = ctx;
    for (; pairs && *pairs; pairs += 2) {
        if (strcmp(pairs[0], name) == 0) {
            return pairs[1];
        }
    }
    return NULL;
}

static shoal_workflow_t *
workflow_of(const char *url, const char **variables)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_workflow_t *workflow = NULL;
    const shoal_workflow_rules_t rules = {0};
    CHECK_OK(shoal_url_workflow(url, variable, variables, &text, &status), status);
    CHECK_OK(shoal_workflow_parse("address", shoal_buffer_slice(&text), &rules, &workflow, &status),
             status);
    shoal_buffer_fini(&text);
    return workflow;
}

static void
check_value(const shoal_workflow_t *workflow, const char *key, const char *expected)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "source.serviceConnection.config.%s", key);
    const char *value = shoal_workflow_text(workflow, path);
    if (!expected || !value) {
        CHECK(value == expected);
    } else {
        assert_string_equal(value, expected);
    }
}

static void
an_address_becomes_a_workflow(void)
{
    shoal_workflow_t *workflow =
        workflow_of("postgres://reader:secret@db.example:6543/shop?sslmode=require", NULL);
    assert_string_equal(shoal_workflow_text(workflow, "source.type"), "postgres");
    assert_string_equal(shoal_workflow_text(workflow, "source.serviceName"), "shop");
    assert_string_equal(shoal_workflow_text(workflow, "sink.type"), "file");
    check_value(workflow, "username", "reader");
    check_value(workflow, "authType.password", "secret");
    check_value(workflow, "hostPort", "db.example:6543");
    check_value(workflow, "database", "shop");
    check_value(workflow, "sslMode", "require");
    shoal_workflow_destroy(&workflow);
}

static void
parts_are_percent_decoded_and_taken_literally(void)
{
    shoal_workflow_t *workflow =
        workflow_of("postgresql://a%40b:p%2Fw%3A%25$%7BHOME%7D%22'%0A@[::1]/my%20db", NULL);
    check_value(workflow, "username", "a@b");
    check_value(workflow, "authType.password", "p/w:%${HOME}\"'\n");
    check_value(workflow, "database", "my db");
    shoal_workflow_destroy(&workflow);
    workflow = workflow_of("postgres://u:a@b@[fe80::1]:77/%E6%97%A5", NULL); // '@' in a password
    check_value(workflow, "authType.password", "a@b");
    check_value(workflow, "hostPort", "[fe80::1]:77");
    check_value(workflow, "database", "日");
    shoal_workflow_destroy(&workflow);
    workflow = workflow_of("postgres://u%7F%C2%85@h/%F0%9F%90%9F%EF%BB%BF%EF%BF%BE%EF%BF%BF", NULL);
    check_value(workflow, "username", "u\x7f\xC2\x85");
    check_value(workflow, "database", "\xF0\x9F\x90\x9F\xEF\xBB\xBF\xEF\xBF\xBE\xEF\xBF\xBF");
    shoal_workflow_destroy(&workflow);
    workflow = workflow_of("postgres://u@%2Fvar%2Frun%2Fpostgresql/d", NULL);
    check_value(workflow, "hostPort", "/var/run/postgresql:5432");
    shoal_workflow_destroy(&workflow);
}

static void
what_is_left_out_comes_from_the_variables(void)
{
    const char *variables[] = {"PGHOST",    "h",          "PGPORT", "7",          "PGUSER",
                               "u",         "PGDATABASE", "d",      "PGPASSWORD", "pw",
                               "PGSSLMODE", "prefer",     NULL};
    shoal_workflow_t *workflow = workflow_of("postgres://", variables);
    check_value(workflow, "hostPort", "h:7");
    check_value(workflow, "username", "u");
    check_value(workflow, "database", "d");
    check_value(workflow, "authType.password", "pw");
    check_value(workflow, "sslMode", "prefer");
    shoal_workflow_destroy(&workflow);
    workflow = workflow_of("postgres://x:@h2/y", variables); // an empty password is a password
    check_value(workflow, "authType.password", "");
    shoal_workflow_destroy(&workflow);
    workflow = workflow_of("postgres://me@h", NULL);
    check_value(workflow, "hostPort", "h:5432");
    check_value(workflow, "database", "me"); // as libpq
    check_value(workflow, "authType.password", NULL);
    shoal_workflow_destroy(&workflow);
}

static void
a_password_file_is_read_as_libpq_does(void)
{
    char path[] = "/tmp/shoal-pgpass-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "# other:1:*:*:no\n"
                               "h:5432:other:*:no\n"
                               "h:5432:d\\:b:*:with\\:colon\\\\\n"
                               "*:*:*:me:last\n";
    CHECK(fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
    const char *variables[] = {"PGPASSFILE", path, NULL};
    shoal_workflow_t *workflow = workflow_of("postgres://u@h/d:b", variables);
    check_value(workflow, "authType.password", "with:colon\\");
    shoal_workflow_destroy(&workflow);
    workflow = workflow_of("postgres://me@elsewhere:9/d", variables);
    check_value(workflow, "authType.password", "last");
    shoal_workflow_destroy(&workflow);
    workflow = workflow_of("postgres://u@elsewhere/d", variables);
    check_value(workflow, "authType.password", NULL);
    shoal_workflow_destroy(&workflow);
    CHECK(fchmod(fd, 0644) == 0); // others can read it: not used
    workflow = workflow_of("postgres://me@elsewhere:9/d", variables);
    check_value(workflow, "authType.password", NULL);
    shoal_workflow_destroy(&workflow);
    CHECK(unlink(path) == 0 && close(fd) == 0);
}

static void
a_password_is_never_shown(void)
{
    static const char *const urls[] = {
        "postgres://u:s3cret@h/d",        "postgres://u:s3cret@h:99999999/d",
        "postgres://u:s3cret%zz@h/d",     "postgres://u:s3cret/x@h/d",
        "postgres://u:s3cret?x@h/d",      "postgres://u:s3cret#x@h/d",
        "mongodb://u:s3cret@h/d",         "postgres://u:s3cret@h/d?nonsense=1",
        "postgres://u:s3cret@h,i/d",      "postgres://u:s3cret@[::1/d",
        "postgres://u:x@s3cret@h:port/d", "mysql://h/d?password=s3cret",
    };
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        shoal_buffer_t text = SHOAL_BUFFER_INIT;
        char shown[128];
        shoal_url_redact(urls[i], shown, sizeof(shown));
        CHECK(!strstr(shown, "s3cret"));
        if (!shoal_url_workflow(urls[i], variable, NULL, &text, &status)) {
            CHECK(!strstr(status.text, "s3cret"));
        } else {
            CHECK(i == 0);
        }
        shoal_buffer_fini(&text);
    }
    char wiped[] = "postgres://u:s3cret@h/d";
    shoal_url_wipe(wiped);
    assert_string_equal(wiped, "postgres://u:******@h/d");
    char redacted[64];
    shoal_url_redact("postgres://u:s3cret@h/d", redacted, sizeof(redacted));
    assert_string_equal(redacted, "postgres://u@h/d");
    shoal_url_redact("postgres://u@h/d", redacted, sizeof(redacted));
    assert_string_equal(redacted, "postgres://u@h/d");
}

static void
wrong_addresses_are_refused_with_the_reason(void)
{
    static const struct {
        const char *url;
        shoal_code_t code;
        const char *word;
    } wrong[] = {
        {"mongodb://h/d", SHOAL_UNSUPPORTED, "postgres://"},
        {"shop.txt", SHOAL_UNSUPPORTED, "sqlite:PATH"},
        {"postgres://u@h:x/d", SHOAL_INVALID, "port"},
        {"postgres://u@h:123456/d", SHOAL_INVALID, "port"},
        {"postgres://u%2@h/d", SHOAL_INVALID, "user"},
        {"postgres://u:p%00w@h/d", SHOAL_INVALID, "password"},
        {"postgres://u@h/d%", SHOAL_INVALID, "database"},
        {"postgres://u@h1,h2/d", SHOAL_INVALID, "more than one host"},
        {"postgres://u@[::1/d", SHOAL_INVALID, "']'"},
        {"postgres://u@h/d?connect_timeout=5", SHOAL_INVALID, "connect_timeout"},
        {"postgres://u@h/%ff", SHOAL_INVALID, "UTF-8"},
        {"sqlite:/no/such/file.db", SHOAL_NOT_FOUND, "/no/such/file.db"},
        {"none.sqlite3", SHOAL_NOT_FOUND, "none.sqlite3"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        shoal_buffer_t text = SHOAL_BUFFER_INIT;
        CHECK_FAILS(shoal_url_workflow(wrong[i].url, variable, NULL, &text, &status), status,
                    wrong[i].code);
        CHECK_SAYS(status.text, wrong[i].word);
        shoal_buffer_fini(&text);
    }
    char too_long[SHOAL_URL_BYTES_MAX + 20];
    memset(too_long, 'x', sizeof(too_long));
    memcpy(too_long, "postgres://", 11);
    too_long[sizeof(too_long) - 1] = '\0';
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    CHECK_FAILS(shoal_url_workflow(too_long, variable, NULL, &text, &status), status,
                SHOAL_INVALID);
}

static void
a_database_file_becomes_a_whole_path(void)
{
    char path[] = "/tmp/shoal-url-XXXXXX.db";
    int fd = mkstemps(path, 3);
    CHECK(fd >= 0 && close(fd) == 0);
    char url[64];
    (void)snprintf(url, sizeof(url), "sqlite:%s", path);
    shoal_workflow_t *workflow = workflow_of(url, NULL);
    assert_string_equal(shoal_workflow_text(workflow, "source.type"), "sqlite");
    check_value(workflow, "databaseMode", path);
    shoal_workflow_destroy(&workflow);
    workflow = workflow_of(path, NULL);
    check_value(workflow, "databaseMode", path);
    shoal_workflow_destroy(&workflow);
    CHECK(unlink(path) == 0);
}

TEST_MAIN(TEST(an_address_becomes_a_workflow), TEST(parts_are_percent_decoded_and_taken_literally),
          TEST(what_is_left_out_comes_from_the_variables),
          TEST(a_password_file_is_read_as_libpq_does), TEST(a_password_is_never_shown),
          TEST(wrong_addresses_are_refused_with_the_reason),
          TEST(a_database_file_becomes_a_whole_path))
