// SPDX-License-Identifier: Apache-2.0
//
// commands.c - see commands.h: what the commands share.

#include "client/commands.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "client/rundir.h"
#include "client/summary.h"

void
shoal_complain(const shoal_status_t *status)
{
    (void)fprintf(stderr, "shoal: %s\n", status->text);
}

int
shoal_command_failed(const shoal_status_t *status)
{
    if (status->code == SHOAL_CANCELLED) {
        return SHOAL_EXIT_UNREAD;
    }
    shoal_complain(status);
    return status->code == SHOAL_INVALID ? SHOAL_EXIT_USAGE : SHOAL_EXIT_FAILED;
}

bool
shoal_endpoint_default(char endpoint[SHOAL_ENDPOINT_MAX], shoal_status_t *status)
{
    char directory[PATH_MAX];
    if (!shoal_runtime_directory("head.sock", directory, status)) {
        return false;
    }
    (void)snprintf(endpoint, SHOAL_ENDPOINT_MAX, "ipc://%s/head.sock", directory);
    return true;
}

bool
shoal_head_dial(const char *endpoint, shoal_session_t **ret_session, shoal_status_t *status)
{
    const shoal_session_config_t config = {.endpoint = endpoint};
    return shoal_session_new(&config, NULL, shoal_clock_ms(), ret_session, status);
}

bool
shoal_print(const shoal_buffer_t *text, shoal_status_t *status)
{
    size_t at = 0;
    while (at < text->len) {
        ssize_t put = write(STDOUT_FILENO, text->ptr + at, text->len - at);
        if (put < 0 && errno == EPIPE) {
            return shoal_fail(status, SHOAL_CANCELLED, "nobody reads standard output any more");
        }
        if (put < 0 && errno != EINTR) {
            return shoal_fail_errno(status, errno, "cannot write to standard output");
        }
        at += put > 0 ? (size_t)put : 0;
    }
    return true;
}
