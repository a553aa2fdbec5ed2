// SPDX-License-Identifier: Apache-2.0
//
// test_endpoint.c - what proto/wire/endpoint.h promises.

#include <sys/stat.h>
#include <unistd.h>

#include "proto/wire/endpoint.h"
#include "tests/support/test.h"

static const shoal_endpoint_use_t plain_listen = {.is_listening = true};
static const shoal_endpoint_use_t plain_dial = {.is_listening = false};
static const shoal_endpoint_use_t loop_listen = {.is_listening = true, .insecure_loopback = true};
static const shoal_endpoint_use_t loop_dial = {.insecure_loopback = true};
static const shoal_endpoint_use_t keys_listen = {.is_listening = true, .has_keys = true};
static const shoal_endpoint_use_t keys_dial = {.has_keys = true};

//
static void
tcp_without_keys_is_refused_with_what_to_do_instead(void)
{
    static const char *const endpoints[] = {"tcp://0.0.0.0:6380", "tcp://127.0.0.1:6380",
                                            "tcp://[::1]:6380", "tcp://head.example:6380"};
    shoal_status_t status = SHOAL_STATUS_INIT;
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        CHECK_FAILS(shoal_endpoint_check(endpoints[i], plain_listen, &status), status,
                    SHOAL_UNSUPPORTED);
        CHECK_SAYS(status.text, "--keys DIR");
        CHECK_FAILS(shoal_endpoint_check(endpoints[i], plain_dial, &status), status,
                    SHOAL_UNSUPPORTED);
        CHECK_SAYS(status.text, "--join-file FILE");
        CHECK_OK(shoal_endpoint_check(endpoints[i], keys_listen, &status), status);
        CHECK_OK(shoal_endpoint_check(endpoints[i], keys_dial, &status), status);
    }
}

static void
insecure_loopback_is_for_the_two_loopback_addresses(void)
{
    static const char *const others[] = {"tcp://0.0.0.0:6380", "tcp://127.0.0.1.example.com:1",
                                         "tcp://[::]:1", "tcp://localhost:1", "tcp://[fe80::1]:1"};
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_endpoint_check("tcp://127.0.0.1:*", loop_listen, &status), status);
    CHECK_OK(shoal_endpoint_check("tcp://[::1]:*", loop_listen, &status), status);
    CHECK_OK(shoal_endpoint_check("tcp://127.0.0.1:6380", loop_dial, &status), status);
    CHECK_OK(shoal_endpoint_check("tcp://[::1]:6380", loop_dial, &status), status);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        CHECK_FAILS(shoal_endpoint_check(others[i], loop_dial, &status), status, SHOAL_UNSUPPORTED);
        CHECK_SAYS(status.text, "127.0.0.1");
    }
    CHECK_FAILS(shoal_endpoint_check("tcp://*:6380", loop_listen, &status), status,
                SHOAL_UNSUPPORTED);
}

static void
what_is_no_endpoint_is_told(void)
{
    static const char *const wrong[] = {"",
                                        "tcp://",
                                        "tcp://host",
                                        "tcp://:1",
                                        "tcp://h:0x",
                                        "tcp://h:65536",
                                        "tcp://h:-1",
                                        "tcp://h:1;g:2",
                                        "tcp://a b:1",
                                        "udp://127.0.0.1:1",
                                        "/tmp/socket",
                                        "ipc://relative/path",
                                        "tcp://::1:1",
                                        "tcp://[::1]",
                                        "tcp://[::1]:",
                                        "tcp://[]:1",
                                        "tcp://h/x:1",
                                        "tcp://1;h:2"};
    shoal_status_t status = SHOAL_STATUS_INIT;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_FAILS(shoal_endpoint_check(wrong[i], keys_dial, &status), status, SHOAL_INVALID);
    }
    CHECK_FAILS(shoal_endpoint_check("tcp://h:*", keys_dial, &status), status, SHOAL_INVALID);
    CHECK_FAILS(shoal_endpoint_check("tcp://*:1", keys_dial, &status), status, SHOAL_INVALID);
    CHECK_FAILS(shoal_endpoint_check("tcp://h:0", keys_dial, &status), status, SHOAL_INVALID);
    CHECK_OK(shoal_endpoint_check("tcp://*:1", keys_listen, &status), status);
    char text[400];
    (void)snprintf(text, sizeof(text), "tcp://%0300d:1", 1);
    CHECK_FAILS(shoal_endpoint_check(text, keys_dial, &status), status, SHOAL_INVALID);
}

static void
parts_are_host_and_port(void)
{
    shoal_endpoint_parts_t parts;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_endpoint_split("tcp://[fe80::1%eth0]:65535", &parts, &status), status);
    CHECK(strcmp(parts.host, "fe80::1%eth0") == 0 && strcmp(parts.port, "65535") == 0);
    CHECK_OK(shoal_endpoint_split("tcp://0.0.0.0:*", &parts, &status), status);
    CHECK(strcmp(parts.host, "0.0.0.0") == 0 && strcmp(parts.port, "*") == 0);
    CHECK(shoal_endpoint_is_ipv6("tcp://[::1]:1") && !shoal_endpoint_is_ipv6("tcp://h:1"));
    CHECK(shoal_endpoint_is_tcp("tcp://h:1") && !shoal_endpoint_is_tcp("ipc:///x"));
}

static void
ipc_is_in_a_folder_that_only_its_user_can_enter(void)
{
    char folder[] = "/tmp/shoal-config-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    char endpoint[256];
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/head.sock", folder);
    CHECK_OK(shoal_endpoint_check(endpoint, plain_listen, &status), status);
    CHECK_OK(shoal_endpoint_check(endpoint, plain_dial, &status), status);
    CHECK(chmod(folder, 0750) == 0);
    CHECK_FAILS(shoal_endpoint_check(endpoint, plain_listen, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "chmod 700");
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/%0120d", folder, 1);
    CHECK_FAILS(shoal_endpoint_check(endpoint, plain_dial, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "107");
    CHECK(rmdir(folder) == 0);
    CHECK_FAILS(shoal_endpoint_check("ipc:///no/such/folder/head.sock", plain_dial, &status),
                status, SHOAL_NOT_FOUND);
    CHECK_FAILS(shoal_endpoint_check("ipc:///tmp/head.sock", plain_dial, &status), status,
                SHOAL_DENIED);
}

TEST_MAIN(TEST(tcp_without_keys_is_refused_with_what_to_do_instead),
          TEST(insecure_loopback_is_for_the_two_loopback_addresses),
          TEST(what_is_no_endpoint_is_told), TEST(parts_are_host_and_port),
          TEST(ipc_is_in_a_folder_that_only_its_user_can_enter))
