// SPDX-License-Identifier: Apache-2.0
//
// test_arguments.c - what client/arguments.h promises.

#include "client/arguments.h"
#include "tests/support/test.h"

static const shoal_argument_t table[] = {
    {'c', "config", "FILE", "the file"},
    {0, "set", "KEY=VALUE", "a value"},
    {0, "dry-run", NULL, "no writing"},
    {0, "limit", "N", "at most"},
    {0, NULL, NULL, NULL},
};

static const shoal_command_t command = {
    .name = "swim",
    .usage = "-c FILE [WORD]",
    .summary = "Swim.",
    .arguments = table,
    .examples = "  shoal swim -c pond\n",
    .words_max = 1,
};

// Splits `line` at blanks and reads it.
static bool
read_line(const char *line, shoal_arguments_t **ret_arguments, shoal_status_t *status)
{
    static char text[1024];
    static char *words[64];
    int count = 0;
    (void)snprintf(text, sizeof(text), "swim %s", line);
    for (char *at = strtok(text, " "); at; at = strtok(NULL, " ")) {
        words[count++] = at;
    }
    words[count] = NULL;
    return shoal_arguments_read(&command, count, words, ret_arguments, status);
}

static void
options_and_words_are_read_in_any_order(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_arguments_t *arguments = NULL;
    CHECK_OK(read_line("pond -c a --set x=1 --dry-run --set=y=2 -c b", &arguments, &status),
             status);
    assert_string_equal(shoal_arguments_text(arguments, "config"), "b"); // the last one counts
    CHECK(shoal_arguments_has(arguments, "dry-run"));
    CHECK(!shoal_arguments_has(arguments, "limit"));
    CHECK(shoal_arguments_text(arguments, "limit") == NULL);
    const char *const *set = shoal_arguments_list(arguments, "set");
    assert_string_equal(set[0], "x=1");
    assert_string_equal(set[1], "y=2");
    CHECK(set[2] == NULL);
    CHECK(shoal_arguments_list(arguments, "limit")[0] == NULL);
    CHECK(shoal_arguments_words(arguments) == 1);
    assert_string_equal(shoal_arguments_word(arguments, 0), "pond");
    CHECK(shoal_arguments_word(arguments, 1) == NULL);
    shoal_arguments_destroy(&arguments);
}

static void
wrong_usage_is_told_with_what_was_meant(void)
{
    static const struct {
        const char *line, *word;
    } wrong[] = {
        {"--confg x", "did you mean \"--config\"?"},
        {"--zebra", "unknown option \"--zebra\""},
        {"--zebra=5", "unknown option \"--zebra\";"},
        {"-z", "unknown option \"-z\""},
        {"-c", "needs a value"},
        {"--set", "needs a value"},
        {"one two", "unexpected \"two\""},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        shoal_arguments_t *arguments = NULL;
        CHECK_FAILS(read_line(wrong[i].line, &arguments, &status), status, SHOAL_INVALID);
        CHECK_SAYS(status.text, wrong[i].word);
        CHECK_SAYS(status.text, "shoal swim");
        CHECK(arguments == NULL);
    }
}

static void
an_option_may_not_be_repeated_for_ever(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_arguments_t *arguments = NULL;
    char *words[SHOAL_ARGUMENTS_REPEATED_MAX + 3] = {(char[]){"swim"}};
    char flag[] = "--dry-run";
    for (int i = 1; i <= SHOAL_ARGUMENTS_REPEATED_MAX + 1; i++) {
        words[i] = flag;
    }
    CHECK_FAILS(shoal_arguments_read(&command, SHOAL_ARGUMENTS_REPEATED_MAX + 2, words, &arguments,
                                     &status),
                status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "more than 256 times");
}

static void
numbers_have_bounds(void)
{
    static const char *const wrong[] = {"x",  "-1", "0", "101", "5x", "", "99999999999999999999",
                                        "+5", "0x5"};
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_arguments_t *arguments = NULL;
    uint64_t count = 0;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char line[64];
        (void)snprintf(line, sizeof(line), "--limit=%s", wrong[i]);
        CHECK_OK(read_line(line, &arguments, &status), status);
        CHECK_FAILS(shoal_arguments_count(arguments, "limit", 1, 100, 7, &count, &status), status,
                    SHOAL_INVALID);
        CHECK_SAYS(status.text, "--limit must be a whole number from 1 to 100");
        shoal_arguments_destroy(&arguments);
    }
    CHECK_OK(read_line("--limit 100", &arguments, &status), status);
    CHECK_OK(shoal_arguments_count(arguments, "limit", 1, 100, 7, &count, &status), status);
    CHECK(count == 100);
    shoal_arguments_destroy(&arguments);
    CHECK_OK(read_line("", &arguments, &status), status);
    CHECK_OK(shoal_arguments_count(arguments, "limit", 1, 100, 7, &count, &status), status);
    CHECK(count == 7);
    shoal_arguments_destroy(&arguments);
}

static void
a_choice_is_one_of_its_words(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_arguments_t *arguments = NULL;
    CHECK_OK(read_line("-c json", &arguments, &status), status);
    CHECK_OK(shoal_arguments_choice(arguments, "config", "text|json", &status), status);
    CHECK_OK(shoal_arguments_choice(arguments, "limit", "text|json", &status), status);
    CHECK_OK(shoal_arguments_choice(arguments, "config", "TEXT|JSON", &status), status);
    CHECK_FAILS(shoal_arguments_choice(arguments, "config", "text|jso", &status), status,
                SHOAL_INVALID);
    CHECK_FAILS(shoal_arguments_choice(arguments, "config", "text|jsonl", &status), status,
                SHOAL_INVALID);
    CHECK_SAYS(status.text, "must be one of text|jsonl, not \"json\"");
    shoal_arguments_destroy(&arguments);
}

static void
help_comes_from_the_table(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_arguments_t *arguments = NULL;
    CHECK_OK(read_line("too many words --help", &arguments, &status), status);
    CHECK(shoal_arguments_want_help(arguments));
    shoal_arguments_destroy(&arguments);
    CHECK_OK(read_line("-h", &arguments, &status), status);
    CHECK(shoal_arguments_want_help(arguments));
    shoal_arguments_destroy(&arguments);

    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_command_help(&command, &text);
    assert_string_equal(shoal_buffer_text(&text), "usage: shoal swim -c FILE [WORD]\n"
                                                  "\n"
                                                  "Swim.\n"
                                                  "\n"
                                                  "options:\n"
                                                  "  -c, --config FILE            the file\n"
                                                  "      --set KEY=VALUE          a value\n"
                                                  "      --dry-run                no writing\n"
                                                  "      --limit N                at most\n"
                                                  "  -h, --help                   this text\n"
                                                  "\n"
                                                  "examples:\n"
                                                  "  shoal swim -c pond\n");
    shoal_buffer_fini(&text);
}

TEST_MAIN(TEST(options_and_words_are_read_in_any_order),
          TEST(wrong_usage_is_told_with_what_was_meant),
          TEST(an_option_may_not_be_repeated_for_ever), TEST(numbers_have_bounds),
          TEST(a_choice_is_one_of_its_words), TEST(help_comes_from_the_table))
