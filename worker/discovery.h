// SPDX-License-Identifier: Apache-2.0
//
// discovery.h - turns what a source finds into the items of docs/protocol.md 6.1.
//
// Embedded; lives for one call. The source writes through `to`.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_WORKER_DISCOVERY_H
#define SHOAL_WORKER_DISCOVERY_H

#include "connectors/connector.h"
#include "worker/stream.h"

typedef struct shoal_finder {
    shoal_discovery_t to; // for the source
    shoal_stream_t *stream;
    uint32_t last_shard;
    bool has_failed; // a call of the source failed: it has to stop, whatever it makes of it
    shoal_status_t failure;
} shoal_finder_t;

// Prepares `finder` for a source; items go to `stream`, which has been started.
void shoal_finder_init(shoal_finder_t *finder, shoal_stream_t *stream);

#endif
