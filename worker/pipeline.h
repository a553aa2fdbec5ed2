// SPDX-License-Identifier: Apache-2.0
//
// pipeline.h - the class `pipeline`: a source, processors and a sink that run a job's shards.
//
// Its constructor's arguments are the workflow as a map: "source", "processor" (one map or an
// array), "sink" and "sharding" in the shape of the file with every scalar as text, and "dry_run",
// "lenient" (flags) and "slots" (a number). Methods, streams and results are those of
// docs/protocol.md 6.1. The connectors of an instance are opened by its first call and stay open
// until it is destroyed.
//
// Threads: as class.h says; instances share nothing but the table of modules.

#ifndef SHOAL_WORKER_PIPELINE_H
#define SHOAL_WORKER_PIPELINE_H

#include "worker/class.h"
#include "worker/module.h"

#define SHOAL_PIPELINE_CUT_BYTES  65536 // a batch of records is sent when it has so many
#define SHOAL_PIPELINE_LINGER_MS  50    // or is so old
#define SHOAL_DISCOVERY_LINGER_MS 5     // items go out sooner: map waits for them
#define SHOAL_PROCESSORS_MAX      16    // in one workflow
#define SHOAL_SHARD_BYTES_MAX     65536 // one item of discovery

// The class, for whose life `modules` is borrowed.
shoal_class_t shoal_pipeline_class(shoal_modules_t *modules);

#endif
