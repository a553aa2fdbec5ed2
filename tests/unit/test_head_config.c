// SPDX-License-Identifier: Apache-2.0
//
// test_head_config.c - what head/config.h promises.

#include "head/config.h"
#include "tests/support/test.h"

// Parses a command line whose words are separated by one space each.
static bool
parse(shoal_config_t *config, shoal_status_t *status, const char *line)
{
    static char text[512]; // the configuration borrows from it
    char name[] = "shoal-head";
    char *argv[32] = {name};
    int argc = 1;
    (void)snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    return shoal_config_parse(argc, argv, config, status);
}

static void
options_are_read_in_both_forms(void)
{
    shoal_config_t config;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(parse(&config, &status,
                   "--listen ipc:///x/y --state=/s --keys /k --lease-ms 250 --insecure-loopback "
                   "--ready-fd=4 "
                   "--log-level debug"),
             status);
    CHECK(strcmp(config.listen, "ipc:///x/y") == 0 && strcmp(config.state, "/s") == 0);
    CHECK(strcmp(config.keys, "/k") == 0);
    CHECK(config.lease_ms == 250 && config.insecure_loopback && config.ready_fd == 4);
    CHECK(config.lifeline_fd == -1 && config.heartbeat_ms == 1000 && config.liveness_ms == 5000);
    CHECK(config.log_level == SHOAL_LOG_DEBUG);
    CHECK_OK(parse(&config, &status, "--version"), status);
    CHECK(config.wants_version);
    CHECK(strstr(shoal_config_help(), "--listen") != NULL);
}

static void
a_wrong_command_line_says_what_is_wrong(void)
{
    shoal_config_t config;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_FAILS(parse(&config, &status, "--what"), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "--what");
    CHECK_FAILS(parse(&config, &status, "--listen ipc:///a"), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "--state");
    CHECK_FAILS(parse(&config, &status, "--state /a"), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "--listen");
    CHECK_FAILS(parse(&config, &status, "--listen"), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "needs a value");
    CHECK_FAILS(parse(&config, &status, "--insecure-loopback=yes"), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "takes no value");
    static const char *const numbers[] = {"--lease-ms 0", "--lease-ms -1", "--lease-ms=1x",
                                          "--lease-ms=", "--lease-ms 99999999999999999999999"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        CHECK_FAILS(parse(&config, &status, numbers[i]), status, SHOAL_INVALID);
        CHECK_SAYS(status.text, "--lease-ms");
    }
    CHECK_FAILS(parse(&config, &status, "--log-level loud"), status, SHOAL_INVALID);
    CHECK_FAILS(parse(&config, &status, "--listen ipc:///a --state /a --liveness-ms 500"), status,
                SHOAL_INVALID);
    CHECK_SAYS(status.text, "--heartbeat-ms");
}

TEST_MAIN(TEST(options_are_read_in_both_forms), TEST(a_wrong_command_line_says_what_is_wrong))
