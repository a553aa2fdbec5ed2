// SPDX-License-Identifier: Apache-2.0
//
// kept.c - see kept.h.
//
// Design: a folder is born as new-XXXXXX, locked and filled, and only then renamed, so that nobody
// finds one that is not whole. A new-XXXXXX that is old was left by a kill.

#include "client/kept.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/rundir.h"
#include "client/statedir.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/base/private.h"

#define NEW_SECONDS_MAX 60 // a folder is renamed long before
#define NAME_BYTES_MAX  40
#define POLL_MS         20
#define DAY_SECONDS     86400
#define FOLDERS_MAX     1000 // looked at

struct shoal_kept {
    char path[PATH_MAX];
    char head[PATH_MAX];
    int lock_fd;
    int head_lock_fd;
    json_t *file; // holds the texts of `facts`
    shoal_kept_facts_t facts;
};

// ---- run.json

static void
facts_path(const char *folder, char path[PATH_MAX + 16])
{
    (void)snprintf(path, PATH_MAX + 16, "%s/run.json", folder);
}

static json_t *
facts_to_json(const shoal_kept_facts_t *facts)
{
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "version", 1, "workflow",
                     facts->workflow, "digest", facts->digest, "set_digest", facts->set_digest,
                     "set_keys", facts->set_keys, "output", facts->output, "job", facts->job_id,
                     "created", (json_int_t)facts->created);
}

// Reads run.json; the texts of kept->facts live as long as kept->file.
static bool
facts_read(shoal_kept_t *kept, shoal_status_t *status)
{
    char path[PATH_MAX + 16];
    facts_path(kept->path, path);
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    if (!shoal_private_read(path, SHOAL_KEPT_FILE_MAX, &text, status)) {
        shoal_buffer_fini(&text);
        return false;
    }
    shoal_kept_facts_t *facts = &kept->facts;
    json_int_t created = 0;
    int version = 0;
    kept->file = json_loadb(text.ptr ? text.ptr : "", text.len, 0, NULL);
    shoal_buffer_fini(&text);
    if (!kept->file ||
        json_unpack(kept->file, "{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "version", &version,
                    "workflow", &facts->workflow, "digest", &facts->digest, "set_digest",
                    &facts->set_digest, "set_keys", &facts->set_keys, "output", &facts->output,
                    "job", &facts->job_id, "created", &created) != 0 ||
        version != 1) {
        return shoal_fail(status, SHOAL_IO,
                          "cannot read %s: it is damaged, or of a newer version; remove %s to "
                          "forget that run",
                          path, kept->path);
    }
    facts->created = created > 0 ? (uint64_t)created : 0;
    return true;
}

static bool
facts_write(const char *folder, const shoal_kept_facts_t *facts, shoal_status_t *status)
{
    json_t *file = facts_to_json(facts);
    char *text = file ? json_dumps(file, JSON_INDENT(1)) : NULL;
    json_decref(file);
    if (!text) { // a path that is no UTF-8
        return shoal_fail(status, SHOAL_INVALID,
                          "the name of the workflow file or of its output is not UTF-8");
    }
    char path[PATH_MAX + 16];
    facts_path(folder, path);
    bool done = shoal_private_write(path, shoal_slice_of(text), status);
    free(text);
    return done;
}

// ---- locks

// Opens and locks FOLDER/NAME. -1: errno says why; EWOULDBLOCK: somebody holds it.
static int
lock_take(const char *folder, const char *name)
{
    char path[PATH_MAX + 16];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

// The process that holds a lock writes its number into it.
static void
pid_write(int fd)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    (void)!(ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)len, 0) == len);
}

static long
pid_read(const char *folder)
{
    char path[PATH_MAX + 16];
    char text[32] = "";
    (void)snprintf(path, sizeof(path), "%s/lock", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        (void)!read(fd, text, sizeof(text) - 1);
        (void)close(fd);
    }
    return strtol(text, NULL, 10);
}

// ---- birth and death

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static shoal_kept_t *
kept_of(const char *path)
{
    shoal_kept_t *kept = shoal_alloc(sizeof(*kept));
    kept->lock_fd = kept->head_lock_fd = -1;
    (void)snprintf(kept->path, sizeof(kept->path), "%s", path);
    return kept;
}

void
shoal_kept_close(shoal_kept_t **kept)
{
    if (kept && *kept) {
        close_fd(&(*kept)->head_lock_fd);
        close_fd(&(*kept)->lock_fd);
        json_decref((*kept)->file);
        free(*kept);
        *kept = NULL;
    }
}

// Its run.json goes first: what a kill leaves then is no run any more.
static void
folder_remove(const char *folder)
{
    char path[PATH_MAX + 16];
    facts_path(folder, path);
    (void)unlink(path);
    shoal_directory_remove(folder);
}

void
shoal_kept_remove(shoal_kept_t **kept)
{
    if (kept && *kept) {
        folder_remove((*kept)->path); // while it is locked
        shoal_kept_close(kept);
    }
}

// The last part of a path, with what is not plain as '_'.
static void
name_of(const char *workflow, char name[NAME_BYTES_MAX + 1])
{
    const char *slash = strrchr(workflow, '/');
    const char *from = slash && slash[1] ? slash + 1 : workflow;
    size_t len = 0;
    for (; len < NAME_BYTES_MAX && from[len]; len++) {
        bool is_plain = (from[len] >= 'a' && from[len] <= 'z') ||
                        (from[len] >= 'A' && from[len] <= 'Z') ||
                        (from[len] >= '0' && from[len] <= '9') || from[len] == '-' ||
                        (from[len] == '.' && len > 0);
        name[len] = from[len];
        if (!is_plain) {
            name[len] = '_';
        }
    }
    name[len] = '\0';
}

static void
directory_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

bool
shoal_kept_new(const char *base, const shoal_kept_facts_t *facts, shoal_kept_t **ret_kept,
               shoal_status_t *status)
{
    char made[PATH_MAX];
    char name[NAME_BYTES_MAX + 1];
    if (!shoal_directories_make(base, status)) {
        return false;
    }
    if (snprintf(made, sizeof(made), "%s/new-XXXXXX", base) >= (int)sizeof(made) - 64 ||
        !mkdtemp(made)) {
        return shoal_fail_errno(status, errno, "cannot make a directory in %s", base);
    }
    shoal_kept_t *kept = kept_of(made);
    name_of(facts->workflow, name);
    const char *random = made + strlen(made) - strlen("XXXXXX");
    (void)snprintf(kept->path, sizeof(kept->path), "%s/%s-%s", base, name, random);
    (void)snprintf(kept->head, sizeof(kept->head), "%s/head", made);
    bool done =
        shoal_directory_make_private(kept->head, status) && facts_write(made, facts, status);
    if (done) {
        kept->lock_fd = lock_take(made, "lock");
        kept->head_lock_fd = lock_take(made, "head.lock");
        done = (kept->lock_fd >= 0 && kept->head_lock_fd >= 0 && rename(made, kept->path) == 0) ||
               shoal_fail_errno(status, errno, "cannot make the directory %s", kept->path);
    }
    if (!done) {
        shoal_directory_remove(made);
        shoal_kept_close(&kept);
        return false;
    }
    pid_write(kept->lock_fd);
    directory_sync(base);
    (void)snprintf(kept->head, sizeof(kept->head), "%s/head", kept->path);
    if (!facts_read(kept, status)) { // so that it lives by itself
        shoal_kept_remove(&kept);
        return false;
    }
    *ret_kept = kept;
    return true;
}

// ---- those that are there

typedef struct folder {
    char path[PATH_MAX];
    uint64_t created;
    bool is_of_workflow;
    bool is_remnant; // its removal was interrupted
} folder_t;

static int
newest_first(const void *left, const void *right)
{
    const folder_t *a = left;
    const folder_t *b = right;
    if (a->created != b->created) {
        return a->created > b->created ? -1 : 1;
    }
    return strcmp(b->path, a->path);
}

// When a folder was made, by the file system: what has no run.json that can be read has an age too.
static uint64_t
age_of(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && info.st_mtime > 0 ? (uint64_t)info.st_mtime : 0;
}

// Lists the folders below `base`, the newest first; free() it.
static folder_t *
list(const char *base, const char *workflow, size_t *ret_count)
{
    folder_t *folders = NULL;
    size_t count = 0;
    DIR *directory = opendir(base);
    const struct dirent *entry;
    while (directory && count < FOLDERS_MAX && (entry = readdir(directory)) != NULL) {
        char path[PATH_MAX];
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, "new-", 4) == 0 ||
            snprintf(path, sizeof(path), "%s/%s", base, entry->d_name) >= (int)sizeof(path)) {
            continue;
        }
        folders = shoal_realloc(folders, (count + 1) * sizeof(*folders));
        folder_t *folder = &folders[count++];
        shoal_kept_t *kept = kept_of(path);
        shoal_status_t ignored = SHOAL_STATUS_INIT;
        bool is_read = facts_read(kept, &ignored);
        (void)snprintf(folder->path, sizeof(folder->path), "%s", path);
        folder->created = is_read ? kept->facts.created : age_of(path);
        char facts[PATH_MAX + 16];
        facts_path(path, facts);
        folder->is_remnant = access(facts, F_OK) != 0 && errno == ENOENT;
        folder->is_of_workflow = is_read && workflow && strcmp(kept->facts.workflow, workflow) == 0;
        shoal_kept_close(&kept);
    }
    if (directory) {
        (void)closedir(directory);
    }
    if (count > 1) {
        qsort(folders, count, sizeof(*folders), newest_first);
    }
    *ret_count = count;
    return folders;
}

static bool
take(const char *path, shoal_kept_t **ret_kept, shoal_status_t *status)
{
    shoal_kept_t *kept = kept_of(path);
    kept->lock_fd = lock_take(path, "lock");
    if (kept->lock_fd < 0) {
        bool is_held = errno == EWOULDBLOCK;
        (void)(is_held ? shoal_fail(status, SHOAL_EXISTS,
                                    "that run is going on just now (process %ld)", pid_read(path))
                       : shoal_fail_errno(status, errno, "cannot go on from %s", path));
        shoal_kept_close(&kept);
        return false;
    }
    if (!facts_read(kept, status)) {
        shoal_kept_close(&kept);
        return false;
    }
    pid_write(kept->lock_fd);
    (void)snprintf(kept->head, sizeof(kept->head), "%s/head", path);
    *ret_kept = kept;
    return true;
}

bool
shoal_kept_find(const char *base, const char *workflow, shoal_kept_t **ret_kept,
                shoal_status_t *status)
{
    size_t count = 0;
    folder_t *folders = list(base, workflow, &count);
    shoal_kept_t *found = NULL;
    bool done = true;
    for (size_t i = 0; i < count && done && !found; i++) {
        if (folders[i].is_of_workflow) {
            done = take(folders[i].path, &found, status);
        }
    }
    free(folders);
    if (done) {
        *ret_kept = found;
    }
    return done;
}

bool
shoal_kept_wait(shoal_kept_t *kept, shoal_status_t *status)
{
    uint64_t deadline_ms = shoal_clock_ms() + SHOAL_KEPT_WAIT_MS;
    while (kept->head_lock_fd < 0) {
        kept->head_lock_fd = lock_take(kept->path, "head.lock");
        if (kept->head_lock_fd >= 0) {
            break;
        }
        if (errno != EWOULDBLOCK) {
            return shoal_fail_errno(status, errno, "cannot go on from %s", kept->path);
        }
        if (shoal_clock_ms() >= deadline_ms) {
            return shoal_fail(status, SHOAL_TIMEOUT,
                              "the head of the interrupted run has not ended after %d s; is it "
                              "stopped? It works in %s",
                              SHOAL_KEPT_WAIT_MS / 1000, kept->head);
        }
        (void)poll(NULL, 0, POLL_MS);
    }
    return true;
}

const shoal_kept_facts_t *
shoal_kept_facts(const shoal_kept_t *kept)
{
    return &kept->facts;
}

const char *
shoal_kept_head(const shoal_kept_t *kept)
{
    return kept->head;
}

bool
shoal_kept_is_empty(const shoal_kept_t *kept)
{
    DIR *directory = opendir(kept->head);
    const struct dirent *entry;
    bool is_empty = true;
    while (directory && is_empty && (entry = readdir(directory)) != NULL) {
        is_empty = entry->d_name[0] == '.';
    }
    if (directory) {
        (void)closedir(directory);
    }
    return is_empty;
}

int
shoal_kept_lock_fd(const shoal_kept_t *kept)
{
    return kept->head_lock_fd;
}

// ---- the sweep

// True if nobody works in the folder, neither a command nor a head; then it is gone.
static bool
remove_idle(const char *path)
{
    shoal_kept_t *kept = kept_of(path);
    kept->lock_fd = lock_take(path, "lock");
    kept->head_lock_fd = kept->lock_fd >= 0 ? lock_take(path, "head.lock") : -1;
    bool is_idle = kept->head_lock_fd >= 0;
    if (is_idle) {
        folder_remove(path);
    }
    shoal_kept_close(&kept);
    return is_idle;
}

static unsigned
sweep_unborn(const char *base, uint64_t now_seconds)
{
    unsigned swept = 0;
    DIR *directory = opendir(base);
    const struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL) {
        char path[PATH_MAX];
        if (strncmp(entry->d_name, "new-", 4) == 0 &&
            snprintf(path, sizeof(path), "%s/%s", base, entry->d_name) < (int)sizeof(path) &&
            age_of(path) + NEW_SECONDS_MAX < now_seconds) {
            shoal_directory_remove(path);
            swept++;
        }
    }
    if (directory) {
        (void)closedir(directory);
    }
    return swept;
}

unsigned
shoal_kept_sweep(const char *base, const char *workflow, uint64_t now_seconds)
{
    size_t count = 0;
    size_t left = 0;
    unsigned swept = sweep_unborn(base, now_seconds);
    folder_t *folders = list(base, workflow, &count);
    for (size_t i = 0; i < count; i++) {
        bool is_old = folders[i].created + SHOAL_KEPT_DAYS_MAX * DAY_SECONDS < now_seconds;
        if ((is_old || left >= SHOAL_KEPT_RUNS_MAX || folders[i].is_of_workflow ||
             folders[i].is_remnant) &&
            remove_idle(folders[i].path)) {
            swept++;
        } else {
            left++;
        }
    }
    free(folders);
    return swept;
}
