// SPDX-License-Identifier: Apache-2.0
//
// crash.c - see crash.h.

#include "head/store/crash.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {
#define X(name, text) [SHOAL_CRASH_##name] = (text),
    SHOAL_CRASH_POINTS(X)
#undef X
};

bool
shoal_crash_parse(const char *text, shoal_crash_t *ret_crash, shoal_status_t *status)
{
    size_t len = strcspn(text, ":");
    unsigned long long times = 1;
    if (text[len] == ':') {
        char *end = NULL;
        errno = 0;
        times = strtoull(text + len + 1, &end, 10);
        if (text[len + 1] < '1' || text[len + 1] > '9' || *end != '\0' || errno != 0) {
            return shoal_fail(status, SHOAL_INVALID, "--crash-at %s: N must be a number from 1",
                              text);
        }
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == len && memcmp(names[i], text, len) == 0) {
            ret_crash->point = (shoal_crash_point_t)i;
            atomic_store(&ret_crash->left, times);
            return true;
        }
    }
    return shoal_fail(status, SHOAL_INVALID,
                      "--crash-at %s: no such place; head/store/crash.h lists them", text);
}

void
shoal_crash_here(shoal_crash_t *crash, shoal_crash_point_t point)
{
    if (crash && crash->point == point && atomic_load(&crash->left) > 0 &&
        atomic_fetch_sub(&crash->left, 1) == 1) {
        (void)kill(getpid(), SIGKILL);
        (void)pause();
    }
}
