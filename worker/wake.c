// SPDX-License-Identifier: Apache-2.0
//
// wake.c - see wake.h.

#include "worker/wake.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES   4096
#define READS_MAX    256 // in one go: a worker that writes without end must not hold us
#define EVENTS_BYTES 1024

// The path of our control group's memory.events. False: no control group of version 2.
static bool
events_find(char *path, size_t size)
{
    char line[PATH_MAX];
    bool found = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && !found && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, "0::/", 4) == 0;
    }
    if (file) {
        (void)fclose(file);
    }
    return found && snprintf(path, size, "/sys/fs/cgroup%s/memory.events", line + 3) < (int)size;
}

static uint64_t
kills_read(int fd)
{
    char text[EVENTS_BYTES];
    ssize_t len = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : 0;
    text[len > 0 ? len : 0] = '\0';
    const char *at = strstr(text, "oom_kill ");
    return at ? strtoull(at + strlen("oom_kill "), NULL, 10) : 0;
}

bool
shoal_wake_init(shoal_wake_t *wake, const char *events_path, shoal_status_t *status)
{
    char path[PATH_MAX + 64] = "";
    *wake = (shoal_wake_t){.pipe = {-1, -1}, .events_fd = -1};
    if (pipe2(wake->pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        return shoal_fail_errno(status, errno, "cannot make a pipe for the worker's messages");
    }
    if (events_path || events_find(path, sizeof(path))) {
        wake->events_fd = open(events_path ? events_path : path, O_RDONLY | O_CLOEXEC);
        wake->kills = kills_read(wake->events_fd);
    }
    return true;
}

void
shoal_wake_fini(shoal_wake_t *wake)
{
    int fds[] = {wake->pipe[0], wake->pipe[1], wake->events_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    wake->pipe[0] = wake->pipe[1] = wake->events_fd = -1;
}

void
shoal_wake_enter(shoal_wake_t *wake)
{
    (void)dup2(wake->pipe[1], STDERR_FILENO);
    shoal_wake_fini(wake);
}

int
shoal_wake_fd(const shoal_wake_t *wake)
{
    return wake->pipe[0];
}

int
shoal_wake_events_fd(const shoal_wake_t *wake)
{
    return wake->events_fd;
}

static void
pass_on(const char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len) {
        ssize_t put = write(STDERR_FILENO, bytes + at, len - at);
        if (put < 0 && errno != EINTR) {
            return; // nobody can be told that nobody can be told
        }
        at += put > 0 ? (size_t)put : 0;
    }
}

static void
tail_keep(shoal_wake_t *wake, const char *bytes, size_t len)
{
    if (len >= sizeof(wake->tail)) {
        memcpy(wake->tail, bytes + len - sizeof(wake->tail), sizeof(wake->tail));
        wake->tail_len = sizeof(wake->tail);
        return;
    }
    size_t over =
        wake->tail_len + len > sizeof(wake->tail) ? wake->tail_len + len - sizeof(wake->tail) : 0;
    memmove(wake->tail, wake->tail + over, wake->tail_len - over);
    memcpy(wake->tail + wake->tail_len - over, bytes, len);
    wake->tail_len += len - over;
}

void
shoal_wake_read(shoal_wake_t *wake)
{
    char bytes[READ_BYTES];
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t got = read(wake->pipe[0], bytes, sizeof(bytes));
        if (got <= 0) {
            return;
        }
        pass_on(bytes, (size_t)got);
        tail_keep(wake, bytes, (size_t)got);
    }
}

void
shoal_wake_count(shoal_wake_t *wake, uint64_t now_ms)
{
    uint64_t kills = kills_read(wake->events_fd);
    if (kills > wake->kills) {
        wake->kills = kills;
        wake->killed_ms = now_ms;
    }
}

bool
shoal_wake_is_oom(shoal_wake_t *wake, uint64_t now_ms)
{
    shoal_wake_count(wake, now_ms);
    bool is_oom = wake->killed_ms > 0 && now_ms - wake->killed_ms <= SHOAL_WAKE_OOM_MS;
    wake->killed_ms = 0; // it was this one
    return is_oom;
}

// Where the last lines begin.
static size_t
words_begin(const shoal_wake_t *wake, size_t end)
{
    int lines = 0;
    size_t at = end;
    while (at > 0 && end - at < SHOAL_WAKE_WORDS_MAX - 3 * (SHOAL_WAKE_LINES + 1)) {
        if (wake->tail[at - 1] == '\n' && ++lines == SHOAL_WAKE_LINES) {
            break;
        }
        at--;
    }
    return at;
}

void
shoal_wake_words(shoal_wake_t *wake, char words[SHOAL_WAKE_WORDS_MAX])
{
    size_t end = wake->tail_len;
    size_t len = 0;
    while (end > 0 && wake->tail[end - 1] == '\n') {
        end--;
    }
    for (size_t at = words_begin(wake, end); at < end && len + 4 < SHOAL_WAKE_WORDS_MAX; at++) {
        char c = wake->tail[at];
        if (c == '\n') {
            memcpy(words + len, " | ", 3);
            len += 3;
        } else {
            words[len++] = (char)(c >= ' ' && c <= '~' ? c : '?');
        }
    }
    words[len] = '\0';
    wake->tail_len = 0;
}
