// SPDX-License-Identifier: Apache-2.0
//
// log.h - one line per event on standard error: time, level, event id, then key=value.
//
//   2026-01-31T12:00:00.123Z WARN  PEER-REFUSED peer=w17 reason="..."
//
// Event ids are stable and listed in docs/operations.md. Library code does not log; handlers and
// main do, once. No secrets and no payloads.
//
// Threads: a log is written by any thread (one write() a line); its level is set before others start.

#ifndef SHOAL_PROTO_BASE_LOG_H
#define SHOAL_PROTO_BASE_LOG_H

#include <stdint.h>

#include "proto/base/status.h"

typedef enum shoal_log_level {
    SHOAL_LOG_ERROR = 0,
    SHOAL_LOG_WARN = 1,
    SHOAL_LOG_INFO = 2,
    SHOAL_LOG_DEBUG = 3,
} shoal_log_level_t;

#define SHOAL_LOG_LINE_MAX 2048 // bytes; longer lines are cut

typedef struct shoal_log shoal_log_t;

// A log to the descriptor `fd` (borrowed) for a program that calls itself `who` in each line
// (copied; NULL: no such word). The caller owns it.
shoal_log_t *shoal_log_new(int fd, const char *who, shoal_log_level_t level);
void shoal_log_destroy(shoal_log_t **log);

// NULL as log writes nothing.
void shoal_log(shoal_log_t *log, shoal_log_level_t level, const char *event, const char *format,
               ...) SHOAL_PRINTF(4, 5);
bool shoal_log_is_on(const shoal_log_t *log, shoal_log_level_t level);

// For events that a peer can trigger: at most `per_second` lines a second for each limit; the
// first line of the next second says how many were left out. One owner thread a limit.
typedef struct shoal_log_limit {
    uint64_t second;
    unsigned count;
    unsigned dropped;
} shoal_log_limit_t;
bool shoal_log_limit_pass(shoal_log_limit_t *limit, uint64_t now_ms, unsigned per_second,
                          unsigned *ret_dropped);

// "DEBUG", "INFO", "WARN", "ERROR" in any case; false for other words.
SHOAL_MUST_CHECK bool shoal_log_level_parse(const char *word, shoal_log_level_t *ret_level);

#endif
