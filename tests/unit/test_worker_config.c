// SPDX-License-Identifier: Apache-2.0
//
// test_worker_config.c - what worker/config.h promises.

#include "tests/support/test.h"
#include "worker/config.h"

#define ARGS_MAX 80

// Parses the words after "shoal-worker"; the list ends with NULL.
static bool
parse(const char *const *words, shoal_worker_config_t *config, shoal_status_t *status)
{
    char *argv[ARGS_MAX] = {strdup("shoal-worker")};
    int argc = 1;
    for (; words[argc - 1]; argc++) {
        CHECK(argc < ARGS_MAX - 1);
        memcpy(&argv[argc], &words[argc - 1], sizeof(argv[0]));
    }
    bool done = shoal_worker_config_parse(argc, argv, config, status);
    free(argv[0]);
    return done;
}

#define WORDS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static void
a_command_line_is_read(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_worker_config_t config;
    CHECK_OK(parse(WORDS("--connect", "ipc:///x/head.sock", "--slots=3", "--name", "w", "--label",
                         "zone=a=b", "--label", "disk=", "--log-level", "Debug", "--lifeline-fd",
                         "7", "--insecure-loopback", "--connectors", "/lib"),
                   &config, &status),
             status);
    CHECK(strcmp(config.connect, "ipc:///x/head.sock") == 0 && config.slots == 3);
    CHECK(strcmp(config.name, "w") == 0 && strcmp(config.connectors, "/lib") == 0);
    CHECK(config.lifeline_fd == 7 && config.insecure_loopback && !config.only_informs);
    CHECK(config.log_level == SHOAL_LOG_DEBUG);
    shoal_buffer_t labels = SHOAL_BUFFER_INIT;
    shoal_worker_config_labels(&config, &labels);
    CHECK(shoal_slice_equal(shoal_buffer_slice(&labels), SHOAL_SLICE("\x82\xa4zone\xa3"
                                                                     "a=b\xa4"
                                                                     "disk\xa0")));
    shoal_buffer_fini(&labels);
}

static void
defaults_are_one_slot_a_processor_and_no_lifeline(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_worker_config_t config;
    CHECK_OK(parse(WORDS("--connect", "x"), &config, &status), status);
    CHECK(config.slots >= 1 && config.lifeline_fd == -1 && config.log_level == SHOAL_LOG_INFO);
    shoal_buffer_t labels = SHOAL_BUFFER_INIT;
    shoal_worker_config_labels(&config, &labels);
    CHECK(labels.len == 0);
}

static void
what_only_informs_needs_no_head(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_worker_config_t config;
    CHECK_OK(parse(WORDS("--help"), &config, &status), status);
    CHECK(config.only_informs && config.wants_help);
    CHECK_OK(parse(WORDS("--template", "postgres"), &config, &status), status);
    CHECK(config.only_informs && strcmp(config.template_type, "postgres") == 0);
    CHECK_SAYS(shoal_worker_config_help(), "--connect");
    CHECK_SAYS(shoal_worker_config_help(), "examples:");
}

static void
a_wrong_command_line_is_refused_with_the_option(void)
{
    static const struct {
        const char *words[3];
        const char *says;
    } cases[] = {
        {{"--conect", "x"}, "--conect"},
        {{"--slots", "2"}, "--connect"},
        {{"--connect"}, "needs a value"},
        {{"--connect="}, "1 to"},
        {{"--slots", "0"}, "1 to 1024"},
        {{"--slots", "1025"}, "1025"},
        {{"--slots", "2x"}, "2x"},
        {{"--slots", "-1"}, "-1"},
        {{"--slots", "99999999999999999999"}, "number"},
        {{"--label", "zone"}, "KEY=VALUE"},
        {{"--label", "=a"}, "KEY=VALUE"},
        {{"--log-level", "loud"}, "loud"},
        {{"--insecure-loopback=yes"}, "no value"},
        {{"worker"}, "unknown option"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        shoal_worker_config_t config;
        CHECK_FAILS(parse(cases[i].words, &config, &status), status, SHOAL_INVALID);
        CHECK_SAYS(status.text, cases[i].says);
    }
}

static void
labels_are_bounded(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_worker_config_t config;
    const char *words[SHOAL_LABELS_MAX + 3] = {"--connect=x"};
    for (int i = 1; i <= SHOAL_LABELS_MAX + 1; i++) {
        words[i] = "--label=a=b";
    }
    CHECK_FAILS(parse(words, &config, &status), status, SHOAL_LIMIT);
}

TEST_MAIN(TEST(a_command_line_is_read), TEST(defaults_are_one_slot_a_processor_and_no_lifeline),
          TEST(what_only_informs_needs_no_head),
          TEST(a_wrong_command_line_is_refused_with_the_option), TEST(labels_are_bounded))
