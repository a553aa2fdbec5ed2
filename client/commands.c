// SPDX-License-Identifier: Apache-2.0
//
// commands.c - see commands.h: what the commands share.

#include "client/commands.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

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
