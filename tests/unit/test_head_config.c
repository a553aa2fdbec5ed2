// SPDX-License-Identifier: Apache-2.0
//
// test_head_config.c - what head/config.h promises.

#include <sys/stat.h>
#include <unistd.h>

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
                   "--listen ipc:///x/y --state=/s --lease-ms 250 --insecure-loopback --ready-fd=4 "
                   "--log-level debug"),
             status);
    CHECK(strcmp(config.listen, "ipc:///x/y") == 0 && strcmp(config.state, "/s") == 0);
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

static void
endpoints_that_strangers_could_reach_are_refused(void)
{
    static const struct {
        const char *endpoint;
        bool insecure_loopback;
        shoal_code_t code;
    } cases[] = {
        {"tcp://0.0.0.0:6380", false, SHOAL_UNSUPPORTED},
        {"tcp://127.0.0.1:6380", false, SHOAL_UNSUPPORTED},
        {"tcp://0.0.0.0:6380", true, SHOAL_UNSUPPORTED},
        {"tcp://127.0.0.1.example.com:1", true, SHOAL_UNSUPPORTED},
        {"tcp://*:6380", true, SHOAL_UNSUPPORTED},
        {"tcp://[::1]:6380", true, SHOAL_UNSUPPORTED},
        {"udp://127.0.0.1:1", true, SHOAL_INVALID},
        {"/tmp/socket", false, SHOAL_INVALID},
        {"ipc://relative/path", false, SHOAL_INVALID},
        {"ipc:///no/such/folder/anywhere/head.sock", false, SHOAL_NOT_FOUND},
        {"ipc:///tmp/head.sock", false, SHOAL_DENIED},
    };
    shoal_status_t status = SHOAL_STATUS_INIT;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_FAILS(
            shoal_config_check_endpoint(cases[i].endpoint, cases[i].insecure_loopback, &status),
            status, cases[i].code);
    }
    CHECK_OK(shoal_config_check_endpoint("tcp://127.0.0.1:*", true, &status), status);
}

static void
a_folder_that_only_its_user_can_enter_is_fine_and_a_long_path_is_not(void)
{
    char folder[] = "/tmp/shoal-config-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    char endpoint[256];
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/head.sock", folder);
    CHECK_OK(shoal_config_check_endpoint(endpoint, false, &status), status);
    CHECK(chmod(folder, 0750) == 0);
    CHECK_FAILS(shoal_config_check_endpoint(endpoint, false, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "chmod 700");
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/%0120d", folder, 1);
    CHECK_FAILS(shoal_config_check_endpoint(endpoint, false, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "107");
    CHECK(rmdir(folder) == 0);
}

TEST_MAIN(TEST(options_are_read_in_both_forms), TEST(a_wrong_command_line_says_what_is_wrong),
          TEST(endpoints_that_strangers_could_reach_are_refused),
          TEST(a_folder_that_only_its_user_can_enter_is_fine_and_a_long_path_is_not))
