// SPDX-License-Identifier: Apache-2.0
//
// config.h - the command line of shoal-head.
//
// One table in config.c lists the options: name, kind, range, default and what it means. From it come
// the parsing, the errors and `--help`.
//
// Threads: a value, read-only after it was filled.  Logging: none.

#ifndef SHOAL_HEAD_CONFIG_H
#define SHOAL_HEAD_CONFIG_H

#include <stdint.h>

#include "head/store/crash.h"
#include "proto/base/log.h"
#include "proto/base/status.h"

typedef struct shoal_config {
    const char *listen; // borrowed from argv
    const char *state;
    const char *keys; // NULL: none
    bool insecure_loopback;
    bool wants_help;
    bool wants_version;
    const char *check_journal; // a state folder to look into, in place of running a head; or NULL
    const char *dump_journal;  // the same
    bool has_journal;
    int lifeline_fd; // -1: none
    int ready_fd;    // -1: none
    shoal_log_level_t log_level;
    uint64_t memory_limit_bytes;
    uint64_t spool_limit_bytes;
    uint64_t heartbeat_ms;
    uint64_t liveness_ms;
    uint64_t lease_ms;
    uint64_t grace_ms; // 0: a lease
    bool workers_gone;
    uint64_t retain_hours; // finished jobs are kept so long; 0: for ever
    uint64_t retain_bytes; // records of finished jobs, together; 0: only the budget counts
    // for tests, and not in --help
    uint64_t sync_delay_ms; // each sync of the disk takes that much longer
    const char *crash_at;   // NAME[:N], see crash.h; NULL: nowhere
    shoal_crash_t *crash;   // what main() makes of it
} shoal_config_t;

// Fills `ret_config` from the command line.
//   SHOAL_INVALID  an unknown option, a missing or malformed value, no --listen or --state
SHOAL_MUST_CHECK bool shoal_config_parse(int argc, char **argv, shoal_config_t *ret_config,
                                         shoal_status_t *status);

// The text of --help, for standard output.
const char *shoal_config_help(void);

#endif
