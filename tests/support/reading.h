// SPDX-License-Identifier: Apache-2.0
//
// reading.h - a source run in a test, without head and worker: what it finds, emits and says.
//
// A reading plays the runtime for one instance. Several instances of one job share a run: discovery
// of one fills its scopes and shards, the others read them. Waiting is real, so a source talks to
// real servers.

#ifndef SHOAL_TESTS_SUPPORT_READING_H
#define SHOAL_TESTS_SUPPORT_READING_H

#include "connectors/connector.h"

typedef struct run_scope {
    char *name;
    char *of;
    bool is_ended;
    char *failed; // why, or NULL
    shoal_code_t failed_code;
    uint64_t listed, delivered, filtered, vanished, appeared, dead;
} run_scope_t;

typedef struct run_shard {
    shoal_shard_t shard; // its texts and lists are copies
    bool is_done;
} run_shard_t;

typedef struct run {
    const shoal_connector_t *connector;
    char service[64];
    shoal_options_t *options;
    shoal_options_t *sharding;
    uint32_t slots;

    run_scope_t *scopes; // by number; [0] is nowhere
    size_t scope_count;
    run_shard_t *shards;
    size_t shard_count;
    size_t shard_limit;    // discovery fails when it tells more; 0: none
    shoal_buffer_t cursor; // the last one

    char **records; // as JSON
    size_t record_count;
    size_t record_limit;     // 0: none
    bool keeps_records;      // false: they are only counted
    shoal_buffer_t warnings; // one a line
    shoal_buffer_t facts;    // name=value, one a line
} run_t;

typedef struct reading {
    run_t *run;
    shoal_host_t host;
    shoal_emitter_t emitter;
    void *source;
    bool is_cancelled;
    void (*before_wait)(void *ctx); // called before each wait; NULL: not
    void *ctx;
    shoal_buffer_t record;
    uint64_t waits;
} reading_t;

// Reads `workflow`, YAML, against the connector's tables. False and a status if an option is wrong.
bool run_start(run_t *run, const shoal_connector_t *connector, const char *workflow,
               shoal_status_t *status);
void run_stop(run_t *run);

bool reading_open(reading_t *reading, run_t *run, shoal_status_t *status);
void reading_close(reading_t *reading);
bool reading_check(reading_t *reading, shoal_status_t *status);
bool reading_discover(reading_t *reading, shoal_slice_t resume, shoal_status_t *status);
bool reading_read(reading_t *reading, size_t shard, shoal_status_t *status);

// check, discover and every shard, in one instance.
bool reading_everything(reading_t *reading, shoal_status_t *status);

const run_scope_t *run_scope(const run_t *run, const char *name); // NULL: there is none
const char *run_record(const run_t *run, const char *part);       // the first that has it, or NULL
size_t run_count(const run_t *run, const char *part);             // how many have it
bool run_is_balanced(const run_t *run);                           // says on stderr what is not

#endif
