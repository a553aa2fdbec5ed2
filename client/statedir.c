// SPDX-License-Identifier: Apache-2.0
//
// statedir.c - see statedir.h.

#include "client/statedir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/rundir.h"

bool
shoal_state_directory(const char *given, char path[SHOAL_STATE_PATH_MAX], shoal_status_t *status)
{
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char here[PATH_MAX] = "";
    int len;
    if (given && given[0] == '/') {
        len = snprintf(path, SHOAL_STATE_PATH_MAX, "%s", given);
    } else if (given && given[0] && getcwd(here, sizeof(here))) {
        len = snprintf(path, SHOAL_STATE_PATH_MAX, "%s/%s", here, given);
    } else if (!given && xdg && xdg[0] == '/') {
        len = snprintf(path, SHOAL_STATE_PATH_MAX, "%s/shoal", xdg);
    } else if (!given && home && home[0] == '/') {
        len = snprintf(path, SHOAL_STATE_PATH_MAX, "%s/.local/state/shoal", home);
    } else {
        return shoal_fail(status, SHOAL_INVALID, "where is the state to be kept? Give --state DIR");
    }
    return len < SHOAL_STATE_PATH_MAX ||
           shoal_fail(status, SHOAL_INVALID, "the path of the state directory is too long");
}

bool
shoal_directories_make(const char *path, shoal_status_t *status)
{
    char part[PATH_MAX];
    (void)snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) {
            return shoal_fail_errno(status, errno, "cannot make the directory %s", part);
        }
        *slash = '/';
    }
    return shoal_directory_make_private(path, status);
}
