// SPDX-License-Identifier: Apache-2.0
//
// config.h - the command line of shoal-worker.
//
// One table in config.c lists the options; from it come the parsing and its errors.
//
// Threads: a value, read-only after it was filled.  Logging: none.

#ifndef SHOAL_WORKER_CONFIG_H
#define SHOAL_WORKER_CONFIG_H

#include <stdint.h>

#include "proto/base/buffer.h"
#include "proto/base/log.h"
#include "proto/base/status.h"

#define SHOAL_LABELS_MAX      64
#define SHOAL_LABEL_BYTES_MAX 128 // of "key=value"
#define SHOAL_WORKER_NAME_MAX 128 // bytes
#define SHOAL_WORKER_ID_MAX   64
#define SHOAL_ENDPOINT_MAX    1024 // bytes
#define SHOAL_DRAIN_S         30   // unless --drain-seconds says otherwise
#define SHOAL_DRAIN_S_MAX     86400
#define SHOAL_PATH_BYTES_MAX  4096

typedef struct shoal_worker_config {
    const char *connect;   // texts are borrowed from argv
    const char *join_file; // NULL: without keys
    const char *name;
    const char *id;
    const char *connectors;
    const char *template_type;
    const char *labels[SHOAL_LABELS_MAX]; // "key=value"
    size_t label_count;
    uint32_t slots; // 0: as many as there are processors
    uint32_t drain_seconds;
    int lifeline_fd;
    int ready_fd; // -1: none
    bool insecure_loopback;
    bool wants_list;
    bool wants_help;
    bool wants_version;
    bool only_informs; // prints something and ends, needs no head
    shoal_log_level_t log_level;
} shoal_worker_config_t;

// Fills `ret_config` from the command line.
//   SHOAL_INVALID  an unknown option, a missing or malformed value, neither --connect nor --join-file
SHOAL_MUST_CHECK bool shoal_worker_config_parse(int argc, char **argv,
                                                shoal_worker_config_t *ret_config,
                                                shoal_status_t *status);

// Appends the labels as a msgpack map of texts; nothing if there are none.
void shoal_worker_config_labels(const shoal_worker_config_t *config, shoal_buffer_t *out);

// The text of --help.
const char *shoal_worker_config_help(void);

#endif
