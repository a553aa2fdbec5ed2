// SPDX-License-Identifier: Apache-2.0
//
// pipeline_parts.h - what the files of the class `pipeline` share.
//
// pipeline.c has the class and its methods, records.c the way of a record from the source to the
// sink, host.c what connectors may ask for meanwhile. Nobody else includes this.
//
// Threads: as pipeline.h says.  Logging: none.

#ifndef SHOAL_WORKER_PIPELINE_PARTS_H
#define SHOAL_WORKER_PIPELINE_PARTS_H

#include "worker/books.h"
#include "worker/chain.h"
#include "worker/letters.h"
#include "worker/pipeline.h"
#include "worker/stream.h"
#include "worker/wanted.h"

typedef struct shoal_pipeline {
    shoal_modules_t *modules;
    shoal_buffer_t args;
    bool is_open;
    shoal_chain_t chain;
    shoal_host_t host;

    // Of the call that runs.
    const shoal_call_t *call; // NULL between calls
    shoal_books_t books;
    shoal_stream_t stream;
    shoal_emitter_t emitter;
    shoal_buffer_t record;    // what the source writes
    shoal_buffer_t spares[2]; // what processors make of it, in turn
    shoal_letters_t letters;
    shoal_wanted_t *wanted; // only these are taken from the source; NULL: all
    uint64_t retried;       // number of the letter whose record is sent through now; 0: none
    size_t processor;       // the one that has the record; as many as there are: the sink
    uint64_t delivered;
    bool is_limited; // as many were delivered as may be
    bool has_failed; // a record's failure ended the call; the source has to stop
    shoal_status_t failure;
} shoal_pipeline_t;

// ---- host.c

// What the pipeline offers to its connectors.
shoal_host_t shoal_pipeline_host(shoal_pipeline_t *pipeline);

// Takes the workflow's secrets out of a text that people will see: connectors do not put them there,
// but what servers answer may repeat them.
void shoal_pipeline_conceal(const shoal_pipeline_t *pipeline, char *text, size_t size);

// ---- records.c

// Where the pipeline's source puts its records.
shoal_emitter_t shoal_pipeline_emitter(shoal_pipeline_t *pipeline);

// The record in the pipeline's buffer goes through processors and sink. As shoal_emitter_t says.
SHOAL_MUST_CHECK bool shoal_pipeline_emit(void *ctx, shoal_scope_t scope, const char *kind,
                                          shoal_status_t *status);

//   SHOAL_LIMIT  the call has counted in too many scopes
SHOAL_MUST_CHECK bool shoal_pipeline_has_room(const shoal_pipeline_t *pipeline,
                                              shoal_status_t *status);

// How long one request of the sink may take.
uint64_t shoal_pipeline_request_ms(const shoal_sink_ops_t *sink);

#endif
