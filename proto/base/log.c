// SPDX-License-Identifier: Apache-2.0
//
// log.c - see log.h.

#include "proto/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"

struct shoal_log {
    int fd;
    shoal_log_level_t level;
    char *who;
};

static const char *const level_names[] = {"ERROR", "WARN", "INFO", "DEBUG"};

shoal_log_t *
shoal_log_new(int fd, const char *who, shoal_log_level_t level)
{
    shoal_log_t *log = shoal_alloc(sizeof(*log));
    log->fd = fd;
    log->level = level;
    log->who = shoal_strdup(who);
    return log;
}

void
shoal_log_destroy(shoal_log_t **log)
{
    if (log && *log) {
        free((*log)->who);
        free(*log);
        *log = NULL;
    }
}

bool
shoal_log_is_on(const shoal_log_t *log, shoal_log_level_t level)
{
    return log && level <= log->level;
}

void
shoal_log(shoal_log_t *log, shoal_log_level_t level, const char *event, const char *format, ...)
{
    if (!shoal_log_is_on(log, level)) {
        return;
    }
    char line[SHOAL_LOG_LINE_MAX];
    uint64_t now_ms = shoal_clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000U);
    struct tm utc;
    (void)gmtime_r(&seconds, &utc);
    size_t len = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
    len += (size_t)snprintf(line + len, sizeof(line) - len, ".%03uZ %-5s %s%s%s ",
                            (unsigned)(now_ms % 1000U), level_names[level], event,
                            log->who[0] ? " " : "", log->who);
    if (len < sizeof(line) - 1) {
        va_list args;
        va_start(args, format);
        int more = vsnprintf(line + len, sizeof(line) - len, format, args);
        va_end(args);
        len += more > 0 ? (size_t)more : 0;
    }
    if (len > sizeof(line) - 1) {
        len = sizeof(line) - 1;
    }
    for (size_t i = 0; i < len; i++) { // a value from outside must not start a line of its own
        if (line[i] == '\n' || line[i] == '\r') {
            line[i] = ' ';
        }
    }
    line[len++] = '\n';
    ssize_t written = write(log->fd, line, len);
    (void)written; // nowhere to say it
}

bool
shoal_log_limit_pass(shoal_log_limit_t *limit, uint64_t now_ms, unsigned per_second,
                     unsigned *ret_dropped)
{
    uint64_t second = now_ms / 1000U;
    if (second != limit->second) {
        limit->second = second;
        limit->count = 0;
    }
    if (limit->count >= per_second) {
        limit->dropped++;
        return false;
    }
    limit->count++;
    *ret_dropped = limit->dropped;
    limit->dropped = 0;
    return true;
}

bool
shoal_log_level_parse(const char *word, shoal_log_level_t *ret_level)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcasecmp(word, level_names[i]) == 0) {
            *ret_level = (shoal_log_level_t)i;
            return true;
        }
    }
    return false;
}
