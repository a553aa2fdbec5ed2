// SPDX-License-Identifier: Apache-2.0
//
// test_log.c - what proto/base/log.h promises.

#include <unistd.h>

#include "proto/base/log.h"
#include "tests/support/test.h"

typedef struct sheet {
    int fds[2];
    shoal_log_t *log;
    char text[8192];
} sheet_t;

static void
sheet_start(sheet_t *sheet, const char *who, shoal_log_level_t level)
{
    CHECK(pipe(sheet->fds) == 0);
    sheet->log = shoal_log_new(sheet->fds[1], who, level);
}

// Everything written so far, as a text.
static const char *
sheet_read(sheet_t *sheet)
{
    shoal_log_destroy(&sheet->log);
    CHECK(sheet->log == NULL);
    (void)close(sheet->fds[1]);
    ssize_t got = read(sheet->fds[0], sheet->text, sizeof(sheet->text) - 1);
    (void)close(sheet->fds[0]);
    CHECK(got >= 0);
    sheet->text[got] = '\0';
    return sheet->text;
}

static void
a_line_has_time_level_event_and_values(void)
{
    sheet_t sheet;
    sheet_start(&sheet, "head", SHOAL_LOG_INFO);
    shoal_log(sheet.log, SHOAL_LOG_WARN, "PEER-REFUSED", "peer=%s n=%d", "w17", 3);
    const char *text = sheet_read(&sheet);
    CHECK(strlen(text) > 24 && text[4] == '-' && text[10] == 'T' && text[23] == 'Z');
    assert_string_equal(text + 24, " WARN  PEER-REFUSED head peer=w17 n=3\n");
}

static void
lines_below_the_level_are_not_written(void)
{
    sheet_t sheet;
    sheet_start(&sheet, NULL, SHOAL_LOG_WARN);
    CHECK(shoal_log_is_on(sheet.log, SHOAL_LOG_ERROR));
    CHECK(!shoal_log_is_on(sheet.log, SHOAL_LOG_INFO));
    CHECK(!shoal_log_is_on(NULL, SHOAL_LOG_ERROR));
    shoal_log(sheet.log, SHOAL_LOG_INFO, "A", "x");
    shoal_log(NULL, SHOAL_LOG_ERROR, "A", "x");
    assert_string_equal(sheet_read(&sheet), "");
}

static void
a_value_cannot_start_a_line(void)
{
    sheet_t sheet;
    sheet_start(&sheet, NULL, SHOAL_LOG_DEBUG);
    shoal_log(sheet.log, SHOAL_LOG_DEBUG, "A", "name=%s", "x\n2026-01-01 ERROR B\r\n");
    const char *text = sheet_read(&sheet);
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    CHECK(!strchr(text, '\r'));
}

static void
a_long_line_is_cut(void)
{
    char word[5000];
    memset(word, 'w', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    sheet_t sheet;
    sheet_start(&sheet, "who", SHOAL_LOG_INFO);
    shoal_log(sheet.log, SHOAL_LOG_INFO, "A", "%s", word);
    const char *text = sheet_read(&sheet);
    CHECK(strlen(text) == SHOAL_LOG_LINE_MAX);
    CHECK(text[SHOAL_LOG_LINE_MAX - 1] == '\n');
    sheet_start(&sheet, word, SHOAL_LOG_INFO); // even who is too long
    shoal_log(sheet.log, SHOAL_LOG_INFO, "A", "%s", word);
    CHECK(strlen(sheet_read(&sheet)) == SHOAL_LOG_LINE_MAX);
}

static void
a_limit_counts_what_it_left_out(void)
{
    shoal_log_limit_t limit = {0};
    unsigned dropped = 99;
    for (int i = 0; i < 3; i++) {
        CHECK(shoal_log_limit_pass(&limit, 5000, 3, &dropped));
        CHECK(dropped == 0);
    }
    CHECK(!shoal_log_limit_pass(&limit, 5500, 3, &dropped));
    CHECK(!shoal_log_limit_pass(&limit, 5999, 3, &dropped));
    CHECK(shoal_log_limit_pass(&limit, 6000, 3, &dropped));
    CHECK(dropped == 2);
    CHECK(shoal_log_limit_pass(&limit, 6001, 3, &dropped));
    CHECK(dropped == 0);
}

static void
levels_have_names(void)
{
    shoal_log_level_t level = SHOAL_LOG_ERROR;
    CHECK(shoal_log_level_parse("debug", &level) && level == SHOAL_LOG_DEBUG);
    CHECK(shoal_log_level_parse("WARN", &level) && level == SHOAL_LOG_WARN);
    CHECK(!shoal_log_level_parse("LOUD", &level) && level == SHOAL_LOG_WARN);
    CHECK(!shoal_log_level_parse("", &level));
}

TEST_MAIN(TEST(a_line_has_time_level_event_and_values), TEST(lines_below_the_level_are_not_written),
          TEST(a_value_cannot_start_a_line), TEST(a_long_line_is_cut),
          TEST(a_limit_counts_what_it_left_out), TEST(levels_have_names))
