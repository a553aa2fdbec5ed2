// SPDX-License-Identifier: Apache-2.0
//
// rundir.c - see rundir.h.
//
// Design: a directory is born as new-XXXXXX, locked, and only then renamed to run-XXXXXX, so that
// a sweep never sees one that is not locked yet. A new-XXXXXX that is old was left by a kill.

#include "client/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/alloc.h"

#define NEW_SECONDS_MAX 60 // a directory is locked and renamed long before

struct shoal_rundir {
    int lock_fd;
    char path[PATH_MAX];
    char endpoint[PATH_MAX + 32];
};

bool
shoal_directory_make_private(const char *path, shoal_status_t *status)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return shoal_fail_errno(status, errno, "cannot make the directory %s", path);
    }
    struct stat info;
    if (lstat(path, &info) != 0) {
        return shoal_fail_errno(status, errno, "cannot use the directory %s", path);
    }
    if (!S_ISDIR(info.st_mode)) {
        return shoal_fail(status, SHOAL_DENIED, "cannot use %s: it is not a directory", path);
    }
    if (info.st_uid != geteuid()) {
        return shoal_fail(status, SHOAL_DENIED,
                          "cannot use the directory %s: it belongs to user %u, not to us", path,
                          (unsigned)info.st_uid);
    }
    if ((info.st_mode & 077U) != 0) {
        return shoal_fail(status, SHOAL_DENIED,
                          "cannot use the directory %s: others can enter it (mode %03o); "
                          "run: chmod 700 %s",
                          path, (unsigned)info.st_mode & 0777U, path);
    }
    return true;
}

// $XDG_RUNTIME_DIR/shoal if it is there, is ours, and leaves room for `leaf`.
static bool
use_xdg(const char *leaf, char path[PATH_MAX])
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    struct stat info;
    if (!xdg || xdg[0] != '/' || stat(xdg, &info) != 0 || !S_ISDIR(info.st_mode) ||
        info.st_uid != geteuid()) {
        return false;
    }
    int len = snprintf(path, PATH_MAX, "%s/shoal", xdg);
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    return len > 0 && (size_t)len + 1 + strlen(leaf) <= SHOAL_SOCKET_PATH_MAX &&
           shoal_directory_make_private(path, &ignored);
}

bool
shoal_runtime_directory(const char *leaf, char path[PATH_MAX], shoal_status_t *status)
{
    if (use_xdg(leaf, path)) {
        return true;
    }
    (void)snprintf(path, PATH_MAX, "/tmp/shoal-%u", (unsigned)geteuid());
    return shoal_directory_make_private(path, status);
}

static int
remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    (void)remove(path); // what cannot be removed stays; its directory stays then too
    return 0;
}

void
shoal_directory_remove(const char *path)
{
    (void)nftw(path, remove_one, /*descriptors=*/8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

// True if nobody holds the lock of the run directory `path`.
static bool
is_left_behind(const char *path)
{
    char lock[PATH_MAX + 8];
    (void)snprintf(lock, sizeof(lock), "%s/lock", path);
    int fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT;
    }
    bool is_free = flock(fd, LOCK_EX | LOCK_NB) == 0;
    (void)close(fd);
    return is_free;
}

static bool
is_old(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && time(NULL) - info.st_mtime > NEW_SECONDS_MAX;
}

unsigned
shoal_rundir_sweep(const char *base)
{
    DIR *directory = opendir(base);
    if (!directory) {
        return 0;
    }
    unsigned swept = 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char path[PATH_MAX];
        bool is_run = strncmp(entry->d_name, "run-", 4) == 0;
        bool is_new = strncmp(entry->d_name, "new-", 4) == 0;
        if ((!is_run && !is_new) ||
            snprintf(path, sizeof(path), "%s/%s", base, entry->d_name) >= (int)sizeof(path)) {
            continue;
        }
        if (is_run ? is_left_behind(path) : is_old(path)) {
            shoal_directory_remove(path);
            swept++;
        }
    }
    (void)closedir(directory);
    return swept;
}

bool
shoal_rundir_new(shoal_rundir_t **ret_rundir, shoal_status_t *status)
{
    char base[PATH_MAX];
    if (!shoal_runtime_directory("run-XXXXXX/head.sock", base, status)) {
        return shoal_fail_while(status, "cannot make a private directory for this run");
    }
    (void)shoal_rundir_sweep(base);

    shoal_rundir_t *rundir = shoal_alloc(sizeof(*rundir));
    rundir->lock_fd = -1;
    char made[PATH_MAX];
    if (snprintf(made, sizeof(made), "%s/new-XXXXXX", base) >= (int)sizeof(made) ||
        !mkdtemp(made)) {
        int error = errno;
        free(rundir);
        return shoal_fail_errno(status, error, "cannot make a directory in %s", base);
    }
    char lock[PATH_MAX + 8];
    (void)snprintf(lock, sizeof(lock), "%s/lock", made);
    rundir->lock_fd = open(lock, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const char *random = made + strlen(made) - strlen("XXXXXX");
    (void)snprintf(rundir->path, sizeof(rundir->path), "%s/run-%s", base, random);
    if (rundir->lock_fd < 0 || flock(rundir->lock_fd, LOCK_EX | LOCK_NB) != 0 ||
        rename(made, rundir->path) != 0) {
        (void)shoal_fail_errno(status, errno, "cannot make a directory in %s", base);
        shoal_directory_remove(made);
        shoal_rundir_destroy(&rundir);
        return false;
    }
    (void)snprintf(rundir->endpoint, sizeof(rundir->endpoint), "ipc://%s/head.sock", rundir->path);
    *ret_rundir = rundir;
    return true;
}

void
shoal_rundir_destroy(shoal_rundir_t **rundir)
{
    if (!rundir || !*rundir) {
        return;
    }
    shoal_rundir_t *it = *rundir;
    shoal_directory_remove(it->path);
    if (it->lock_fd >= 0) {
        (void)close(it->lock_fd); // last: the lock keeps sweepers away while files go
    }
    free(it);
    *rundir = NULL;
}

const char *
shoal_rundir_path(const shoal_rundir_t *rundir)
{
    return rundir->path;
}

const char *
shoal_rundir_endpoint(const shoal_rundir_t *rundir)
{
    return rundir->endpoint;
}
