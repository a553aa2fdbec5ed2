// SPDX-License-Identifier: Apache-2.0
//
// workflow.h - reads a workflow file: YAML or JSON in the shape that OpenMetadata users have.
//
// The reader checks the file's frame (which sections there are, what type each has) and the keys
// that the runtime itself uses; a connector's own keys are checked by the worker, which answers with
// the key's path, and shoal_workflow_line() turns a path back into a line of the file. Every scalar
// is kept as the text that stands in the file, so that a password of digits keeps its zeros.
// ${VAR} and ${VAR:-default} are replaced inside values, after parsing; "$$" is one "$".
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_PROTO_WORKFLOW_WORKFLOW_H
#define SHOAL_PROTO_WORKFLOW_WORKFLOW_H

#include "proto/base/buffer.h"
#include "proto/base/status.h"

#define SHOAL_WORKFLOW_BYTES_MAX 4194304 // size of a file
#define SHOAL_WORKFLOW_DEPTH_MAX 64      // nesting
#define SHOAL_WORKFLOW_NODES_MAX 200000  // scalars and containers, aliases expanded

typedef struct shoal_workflow shoal_workflow_t;

typedef struct shoal_workflow_rules {
    bool is_lenient; // unknown keys of the frame are warnings
    // "key.path=value", NULL-terminated; NULL: none. A value that starts with [ or { is YAML, any
    // other one is a text.
    const char *const *overrides;
    // Gives a variable's value, NULL: unset. NULL as function: getenv().
    const char *(*variable)(void *ctx, const char *name);
    void *ctx;
} shoal_workflow_rules_t;

// Reads the file `path` ("-": standard input).
//   SHOAL_NOT_FOUND SHOAL_DENIED SHOAL_IO  cannot be opened or read; a directory
//   SHOAL_LIMIT    larger, deeper or more than the limits above
//   SHOAL_INVALID  not UTF-8, not YAML, empty, duplicate key, unknown key (the nearest known one
//                  is suggested), wrong type, unset variable; the text starts "FILE:LINE: " and
//                  status.key is the key's path
SHOAL_MUST_CHECK bool shoal_workflow_read(const char *path, const shoal_workflow_rules_t *rules,
                                          shoal_workflow_t **ret_workflow, shoal_status_t *status);

// The same from memory; `name` stands for the file in messages.
SHOAL_MUST_CHECK bool shoal_workflow_parse(const char *name, shoal_slice_t text,
                                           const shoal_workflow_rules_t *rules,
                                           shoal_workflow_t **ret_workflow, shoal_status_t *status);
void shoal_workflow_destroy(shoal_workflow_t **workflow);

// What the runtime itself uses, with defaults applied.
typedef struct shoal_workflow_run {
    const char *name;                 // source.serviceName, or the source's type
    const char *log_level;            // workflowConfig.loggerLevel, "INFO"
    unsigned parallelism;             // 0: auto; 1 if sequential
    unsigned parallelism_cap;         // auto: at most so many (`threads` above 1); 0: no cap
    bool is_sequential;               // distributedExecution.enabled: false
    bool is_cluster;                  // orchestrator: cluster
    unsigned max_attempts;            // 3
    uint64_t backoff_ms;              // 1000
    double backoff_factor;            // 2
    unsigned source_connections;      // sourceConnectionBudget; 0: no bound
    unsigned source_calls_per_second; // 0: no bound
    uint64_t timeout_ms;              // 0: none
    uint64_t shard_timeout_ms;        // 0: none
    int success_threshold;            // -1: not written
    const char *sink_filename;        // sink.config.filename, or NULL; "-": standard output
} shoal_workflow_run_t;
const shoal_workflow_run_t *shoal_workflow_run(const shoal_workflow_t *workflow);

// Appends what the pipeline needs: the map {"source": {...}, "processor": [...], "sink": {...},
// "sharding": {...}} of the file as msgpack, always these four, scalars as texts (plain null and ~
// as nil). One processor that is written as a map becomes an array of one.
void shoal_workflow_encode(const shoal_workflow_t *workflow, shoal_buffer_t *out);

// The value at `path` as text, or NULL if there is none or it is no scalar.
const char *shoal_workflow_text(const shoal_workflow_t *workflow, const char *path);

// The line on which `path` ("source.sourceConfig.config.tableFilterPattern.includes[2]") stands, or
// that of its nearest parent in the file; 0 if it came from the command line.
unsigned shoal_workflow_line(const shoal_workflow_t *workflow, const char *path);
const char *shoal_workflow_file(const shoal_workflow_t *workflow); // as in messages

// Tells the file's text, as it was read, from any other; and so what --set said, in its order. Both
// are 32 hexadecimal digits, and neither is for secrets.
#define SHOAL_WORKFLOW_DIGEST_SIZE 33
const char *shoal_workflow_digest(const shoal_workflow_t *workflow);
const char *shoal_workflow_override_digest(const shoal_workflow_t *workflow);

// Warnings found while reading (keys without meaning here, unknown keys if lenient): each
// "FILE:LINE: ...".
size_t shoal_workflow_warning_count(const shoal_workflow_t *workflow);
const char *shoal_workflow_warning(const shoal_workflow_t *workflow, size_t index);

#endif
