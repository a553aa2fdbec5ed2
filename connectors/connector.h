// SPDX-License-Identifier: Apache-2.0
//
// connector.h - what a source, a processor or a sink implements: the ABI of connector modules.
//
// A connector is a shared module lib/shoal/shoal-NAME.so that exports one constant, declared as
//
//     SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {...};
//
// The worker loads the module when a job first names it, reads the job's configuration against the
// module's table of options, and calls the operations of its kind. An instance belongs to one slot
// of one job: its calls come one at a time, from one thread after the other, never two at once, so
// it needs no locks and must not share mutable memory with other instances. connectors/example/
// is a whole connector to copy; connectors/README.md walks through it.
//
// Blocking: only operations marked "may block" may wait, and only through host->wait(), so that the
// runtime can tell a waiting slot from a hung one, and can cancel it. Long computing calls
// host->progress() now and then. After a failed or cancelled operation the instance is used again:
// the next one must find its own way (connect anew, say). Every operation that fails sets the status: its class decides what
// the runtime does (proto/base/status.h), its key, if any, names an option.
//
// Threads: see above.  Logging: through the host only.

#ifndef SHOAL_CONNECTORS_CONNECTOR_H
#define SHOAL_CONNECTORS_CONNECTOR_H

#include <stdint.h>

#include "connectors/options.h"
#include "proto/base/buffer.h"
#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_CONNECTOR_ABI    3 // another number is refused by the worker

#define SHOAL_REQUEST_MS       30000

#define SHOAL_CONNECTOR_EXPORT __attribute__((visibility("default")))
#define SHOAL_CONNECTOR_SYMBOL "shoal_connector"

// ---- what the runtime offers to a connector

typedef struct shoal_host shoal_host_t;
struct shoal_host {
    void *ctx; // the runtime's; pass it back as the first argument

    // Waits until `fd` is ready for `events` (POLLIN | POLLOUT), at most `timeout_ms`.
    //   SHOAL_CANCELLED  the call was cancelled; stop and fail with this status
    //   SHOAL_TIMEOUT    time is over (class transient)
    SHOAL_MUST_CHECK bool (*wait)(void *ctx, int fd, short events, uint64_t timeout_ms,
                                  shoal_status_t *status);

    // For direct sinks, before each request: true if one that lasts at most `request_ms` (the sink's own,
    // or less) is over before the head can have given the shard to another worker.
    //   SHOAL_CANCELLED  stop and fail with this status; the shard is given back
    //   SHOAL_INVALID    requests may last as long as the head's lease, or longer
    SHOAL_MUST_CHECK bool (*may_write)(void *ctx, uint64_t request_ms, shoal_status_t *status);

    // True once the call that runs now is cancelled. Look at it in long loops.
    bool (*is_cancelled)(void *ctx);

    // Says that the call moves on; without it for a lease (60 s) the slot counts as hung.
    void (*progress)(void *ctx);

    // A sentence for the run's summary; equal ones are counted, not repeated. No secrets.
    void (*warn)(void *ctx, const char *format, ...) SHOAL_PRINTF(2, 3);

    // A fact for the run's summary, as in ("snapshot", "shared"); a later one replaces it.
    void (*fact)(void *ctx, const char *name, const char *value);

    bool is_dry_run; // read everything, write nothing
    uint32_t slots;  // how many slots the job may use: discovery cuts its shards by this

    // The workflow's `sharding` section, read against the connector's table of that name (prefix
    // "sharding"); NULL if the connector has none. A source without a table cuts as it likes.
    const shoal_options_t *sharding;
};

// ---- a source

// A scope is something whose members are counted, so that the books can balance: the service with
// its databases, a database with its schemas, a schema with its tables. Scope numbers are unique
// within a job and chosen by discover, from 1.
typedef uint32_t shoal_scope_t;

typedef enum shoal_stage {
    SHOAL_STAGE_PREPARE = 1, // parents: service, database, schema; runs as soon as it is found
    SHOAL_STAGE_MAP = 2,     // the bulk; runs as soon as it is found and what it needs is done
    SHOAL_STAGE_LINK = 3,    // after every map shard of the job
} shoal_stage_t;

typedef struct shoal_expectation {
    shoal_scope_t scope;
    uint64_t count; // members of the scope that this shard will account for
} shoal_expectation_t;

// One unit of work found by discovery. All pointers are borrowed for the call.
typedef struct shoal_shard {
    uint32_t number; // unique within the job, from 1, growing; a resumed discovery goes on
    shoal_stage_t stage;
    uint32_t needs;    // number of a PREPARE shard that must be done first; 0: none
    uint64_t cost_us;  // estimate of its running time, microseconds; 0: unknown
    const char *title; // for people: "pg1.sales oid 16384..18884"
    const shoal_expectation_t *expects;
    size_t expect_count;
    shoal_slice_t args; // one msgpack value, given to prepare, read or link later; at most 64 KiB
    // As cursor() right after the shard, but the job gets both or neither: a new attempt never cuts
    // again what was cut. One msgpack value, or empty; it counts towards the 64 KiB.
    shoal_slice_t cursor;
} shoal_shard_t;

// Where discovery puts what it finds. Each may block while the head is slow, and each fails with
// SHOAL_CANCELLED once the call is cancelled.
typedef struct shoal_discovery shoal_discovery_t;
struct shoal_discovery {
    void *ctx;
    // `name` is the scope's FQN, `of` says what is counted: "databases", "schemas", "tables".
    SHOAL_MUST_CHECK bool (*scope)(void *ctx, shoal_scope_t scope, const char *name, const char *of,
                                   shoal_status_t *status);
    // The scope's listing is complete and has `listed` members. A scope without this is incomplete,
    // and the run is PARTIAL and says so.
    SHOAL_MUST_CHECK bool (*scope_end)(void *ctx, shoal_scope_t scope, uint64_t listed,
                                       shoal_status_t *status);
    // The scope could not be listed; `why` says the cause. The run is PARTIAL.
    SHOAL_MUST_CHECK bool (*scope_failed)(void *ctx, shoal_scope_t scope, const shoal_status_t *why,
                                          shoal_status_t *status);
    SHOAL_MUST_CHECK bool (*shard)(void *ctx, const shoal_shard_t *shard, shoal_status_t *status);
    // Everything up to here need not be found again: a new attempt of discover gets `cursor`
    // (one msgpack value) as its `resume`.
    SHOAL_MUST_CHECK bool (*cursor)(void *ctx, shoal_slice_t cursor, shoal_status_t *status);
    // Members of a scope that discovery itself has accounted for: filtered out by name.
    void (*filtered)(void *ctx, shoal_scope_t scope, uint64_t count);
};

typedef enum shoal_tally {
    SHOAL_TALLY_FILTERED, // left out by a filter
    SHOAL_TALLY_VANISHED, // listed, but gone when it was read
    SHOAL_TALLY_APPEARED, // not listed, but there when it was read: delivered, and listed as well
} shoal_tally_t;

// Where a source puts its records.
typedef struct shoal_emitter shoal_emitter_t;
struct shoal_emitter {
    void *ctx;
    // The buffer that the next record is to be appended to, as one msgpack map (writer.h). Write
    // the record, then call record(); begin() again throws an unfinished one away.
    shoal_buffer_t *(*begin)(void *ctx);
    // Hands the record over: processors, then sink. `scope` is where it is counted, 0: nowhere.
    // `kind` is its "kind" field ("table"). May block while the sink is slow.
    //   SHOAL_CANCELLED  the call is cancelled, or it has delivered as many records as it may;
    //                    stop and fail with this status, the runtime knows which it was
    SHOAL_MUST_CHECK bool (*record)(void *ctx, shoal_scope_t scope, const char *kind,
                                    shoal_status_t *status);
    void (*tally)(void *ctx, shoal_scope_t scope, shoal_tally_t what, uint64_t count);
    // One record that could not be read or written; the shard goes on. `name` is for people.
    void (*failed)(void *ctx, shoal_scope_t scope, const char *name, const shoal_status_t *why);
};

typedef struct shoal_source_ops {
    // Makes an instance; reads options only, no I/O. `service` is the service's name, borrowed
    // like `options` and `host` until close. Owner of *ret_source: the runtime, by close.
    SHOAL_MUST_CHECK bool (*open)(const shoal_options_t *options, const char *service,
                                  const shoal_host_t *host, void **ret_source,
                                  shoal_status_t *status);
    void (*close)(void *source); // NULL is fine; may block for a moment

    // Connects and looks whether the job can work at all; errors carry the key to blame. May block.
    SHOAL_MUST_CHECK bool (*check)(void *source, shoal_status_t *status);

    // Lists the scopes and cuts the shards, without reading what they will read. `resume` is the
    // last cursor of an attempt that failed, or empty. May block. The instance stays open until
    // the job ends, so it may hold what the shards need (an exported snapshot).
    SHOAL_MUST_CHECK bool (*discover)(void *source, shoal_slice_t resume,
                                      const shoal_discovery_t *to, shoal_status_t *status);

    // Reads one shard of that stage. May block. `args` is what discover gave.
    SHOAL_MUST_CHECK bool (*read)(void *source, shoal_stage_t stage, shoal_slice_t args,
                                  const shoal_emitter_t *to, shoal_status_t *status);
} shoal_source_ops_t;

// ---- a processor

typedef enum shoal_verdict {
    SHOAL_VERDICT_KEEP,    // the record as it is
    SHOAL_VERDICT_REPLACE, // the record in `out` instead
    SHOAL_VERDICT_DROP,    // counted as filtered
} shoal_verdict_t;

typedef struct shoal_processor_ops {
    SHOAL_MUST_CHECK bool (*open)(const shoal_options_t *options, const shoal_host_t *host,
                                  void **ret_processor, shoal_status_t *status);
    void (*close)(void *processor);
    // Looks at one record (a msgpack map). A failure of class data gives up this record only.
    SHOAL_MUST_CHECK bool (*process)(void *processor, shoal_slice_t record, shoal_buffer_t *out,
                                     shoal_verdict_t *ret_verdict, shoal_status_t *status);
} shoal_processor_ops_t;

// ---- a sink

typedef struct shoal_sink_ops {
    // A collected sink encodes; the runtime carries its bytes to whoever asked for the job. A
    // direct sink writes to its target itself, idempotently; it asks host->may_write() first.
    bool is_collected;
    uint64_t request_ms; // direct: the longest that one request lasts; 0: SHOAL_REQUEST_MS

    SHOAL_MUST_CHECK bool (*open)(const shoal_options_t *options, const shoal_host_t *host,
                                  void **ret_sink, shoal_status_t *status);
    void (*close)(void *sink);

    // Looks whether the target takes what will come. May block. NULL: nothing to look at.
    SHOAL_MUST_CHECK bool (*check)(void *sink, shoal_status_t *status);

    // Collected: appends the record in output form to `out`.  Direct: takes the record (`out` is
    // NULL) and may write later; may block. A failure of class data gives up this record only.
    SHOAL_MUST_CHECK bool (*write)(void *sink, shoal_slice_t record, shoal_buffer_t *out,
                                   shoal_status_t *status);

    // Direct: returns when everything taken is acknowledged by the target. May block. NULL: nothing.
    SHOAL_MUST_CHECK bool (*flush)(void *sink, shoal_status_t *status);
} shoal_sink_ops_t;

// ---- the module

typedef struct shoal_connector {
    uint32_t abi;              // SHOAL_CONNECTOR_ABI
    const char *name;          // as in the workflow file: "postgres"
    const char *summary;       // one line for people
    const char *template_text; // sources: a workflow file to start from, for `shoal init`

    // What the kind needs; the others NULL.
    const shoal_source_ops_t *source;
    const shoal_processor_ops_t *processor;
    const shoal_sink_ops_t *sink;

    // Tables of options (options.h), ended by an entry without a path. Sources: `connection` is
    // serviceConnection.config, `options` is sourceConfig.config. Others: `options` is config.
    const shoal_option_t *connection;
    const shoal_option_t *options;
    const shoal_option_t *sharding; // sources: the `sharding` section; NULL: not looked at
} shoal_connector_t;

// What the module exports.
extern SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector;

#endif
