// SPDX-License-Identifier: Apache-2.0
//
// pipeline.c - see pipeline.h: the class and its methods.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "worker/discovery.h"
#include "worker/pipeline_parts.h"

#define BUFFER_KEPT_BYTES 1048576 // a record buffer that grew beyond is freed with its call

// ---- the methods

static bool
check(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    (void)args;
    const shoal_chain_t *chain = &pipeline->chain;
    for (size_t i = 0; i < chain->warning_count; i++) {
        shoal_books_warn(&pipeline->books, chain->warnings[i]);
    }
    const shoal_sink_ops_t *sink = chain->sink.connector->sink;
    if (!sink->is_collected && !pipeline->host.is_dry_run &&
        !pipeline->host.may_write(pipeline, shoal_pipeline_request_ms(sink), status)) {
        return false;
    }
    return chain->source.connector->source->check(chain->source.instance, status) &&
           (!sink->check || sink->check(chain->sink.instance, status));
}

static bool
discover(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    const shoal_link_t *link = &pipeline->chain.source;
    shoal_slice_t resume = SHOAL_SLICE_NONE;
    if (shoal_map_find(args, "resume", &resume) && resume.len == 1 &&
        (unsigned char)resume.ptr[0] == 0xc0) {
        resume = SHOAL_SLICE_NONE;
    }
    shoal_stream_start(&pipeline->stream, pipeline->call, SHOAL_PIPELINE_CUT_BYTES,
                       SHOAL_DISCOVERY_LINGER_MS, false);
    shoal_finder_t finder;
    shoal_finder_init(&finder, &pipeline->stream);
    bool done = link->connector->source->discover(link->instance, resume, &finder.to, status);
    if (finder.has_failed) {
        *status = finder.failure;
        return false;
    }
    return done && shoal_stream_flush(&pipeline->stream, status);
}

static bool
flush_sink(shoal_pipeline_t *pipeline, shoal_status_t *status)
{
    const shoal_link_t *link = &pipeline->chain.sink;
    const shoal_sink_ops_t *sink = link->connector->sink;
    return sink->is_collected || pipeline->host.is_dry_run || !sink->flush ||
           (pipeline->host.may_write(pipeline, shoal_pipeline_request_ms(sink), status) &&
            sink->flush(link->instance, status));
}

static bool
finish_shard(shoal_pipeline_t *pipeline, shoal_status_t *status)
{
    return shoal_pipeline_has_room(pipeline, status) &&
           shoal_stream_flush(&pipeline->stream, status) &&
           shoal_letters_flush(&pipeline->letters, status) && flush_sink(pipeline, status);
}

static bool
read_shard(shoal_pipeline_t *pipeline, shoal_stage_t stage, shoal_slice_t args,
           shoal_status_t *status)
{
    const shoal_link_t *link = &pipeline->chain.source;
    bool done =
        link->connector->source->read(link->instance, stage, args, &pipeline->emitter, status);
    if (pipeline->has_failed) {
        *status = pipeline->failure;
        return false;
    }
    if (!done && !(pipeline->is_limited && status->code == SHOAL_CANCELLED)) {
        return false;
    }
    shoal_status_clear(status);
    return finish_shard(pipeline, status);
}

static bool
prepare(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    return read_shard(pipeline, SHOAL_STAGE_PREPARE, args, status);
}

static bool
map(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    return read_shard(pipeline, SHOAL_STAGE_MAP, args, status);
}

static bool
link_up(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    return read_shard(pipeline, SHOAL_STAGE_LINK, args, status);
}

// One letter's record: [letter, scope, type, record].
static bool
replay_one(shoal_pipeline_t *pipeline, shoal_cursor_t *cursor, shoal_status_t *status)
{
    char kind[64];
    uint32_t parts = shoal_cursor_array(cursor);
    pipeline->retried = shoal_cursor_uint(cursor);
    shoal_scope_t scope = (shoal_scope_t)shoal_cursor_uint(cursor);
    shoal_slice_t type = shoal_cursor_str(cursor);
    shoal_slice_t record = shoal_cursor_value(cursor);
    if (parts != 4 || cursor->is_bad) {
        return shoal_fail(status, SHOAL_PROTOCOL,
                          "\"letters\" must be an array of [letter, scope, type, record]");
    }
    (void)snprintf(kind, sizeof(kind), "%.*s", SHOAL_SLICE_ARGS(type));
    shoal_buffer_clear(&pipeline->record);
    shoal_buffer_append_slice(&pipeline->record, record);
    return shoal_pipeline_emit(pipeline, scope, kind, status);
}

// Sends the records of dead letters through processors and sink once more.
static bool
replay(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    shoal_slice_t letters = SHOAL_SLICE_NONE;
    (void)shoal_map_find(args, "letters", &letters);
    shoal_cursor_t cursor = shoal_cursor_over(letters);
    uint32_t count = shoal_cursor_array(&cursor);
    bool done = true;
    for (uint32_t i = 0; i < count && done; i++) {
        done = replay_one(pipeline, &cursor, status);
    }
    if (pipeline->has_failed) {
        *status = pipeline->failure;
        return false;
    }
    return done && finish_shard(pipeline, status);
}

// Reads a shard again for the records that it failed with; those that are gone have vanished.
static bool
reread(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    shoal_slice_t inner = SHOAL_SLICE_NONE;
    uint64_t stage = SHOAL_STAGE_MAP;
    shoal_wanted_t wanted = {0};
    if (shoal_map_find(args, "stage", &value)) {
        shoal_cursor_t cursor = shoal_cursor_over(value);
        stage = shoal_cursor_uint(&cursor);
    }
    (void)shoal_map_find(args, "args", &inner);
    value = SHOAL_SLICE_NONE;
    (void)shoal_map_find(args, "letters", &value);
    if (stage < SHOAL_STAGE_PREPARE || stage > SHOAL_STAGE_LINK) {
        return shoal_fail(status, SHOAL_PROTOCOL, "\"stage\" must be 1 to 3");
    }
    if (!shoal_wanted_read(&wanted, value, status)) {
        return false;
    }
    pipeline->wanted = &wanted;
    bool done = read_shard(pipeline, (shoal_stage_t)stage, inner, status);
    pipeline->wanted = NULL;
    for (size_t i = 0; done && i < wanted.count; i++) {
        if (!wanted.items[i].is_seen) {
            shoal_books_count(&pipeline->books, wanted.items[i].scope, SHOAL_COUNT_VANISHED, 1);
        }
    }
    shoal_wanted_fini(&wanted);
    return done;
}

static bool
finish(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    (void)args;
    return flush_sink(pipeline, status);
}

typedef struct method {
    const char *name;
    bool (*run)(shoal_pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status);
} method_t;

static const method_t methods[] = {
    {"check", check},  {"discover", discover}, {"prepare", prepare}, {"map", map},
    {"link", link_up}, {"finish", finish},     {"replay", replay},   {"reread", reread},
};

static const char *const method_names[] = {"check",  "discover", "prepare", "map", "link",
                                           "finish", "replay",   "reread",  NULL};

// ---- the class

static bool
construct(void *ctx, shoal_slice_t args, void **ret_self, shoal_status_t *status)
{
    (void)status; // the arguments are read by the first call, which may wait and warn
    shoal_pipeline_t *pipeline = shoal_alloc(sizeof(*pipeline));
    pipeline->modules = ctx;
    shoal_buffer_append_slice(&pipeline->args, args);
    pipeline->host = shoal_pipeline_host(pipeline);
    pipeline->emitter = shoal_pipeline_emitter(pipeline);
    *ret_self = pipeline;
    return true;
}

static void
trim(shoal_buffer_t *buffer)
{
    if (buffer->size > BUFFER_KEPT_BYTES) {
        shoal_buffer_fini(buffer);
    }
}

static void
destroy(void *self)
{
    shoal_pipeline_t *pipeline = self;
    if (pipeline) {
        shoal_chain_close(&pipeline->chain);
        shoal_books_fini(&pipeline->books);
        shoal_stream_fini(&pipeline->stream);
        shoal_letters_fini(&pipeline->letters);
        shoal_buffer_fini(&pipeline->args);
        shoal_buffer_fini(&pipeline->record);
        shoal_buffer_fini(&pipeline->spares[0]);
        shoal_buffer_fini(&pipeline->spares[1]);
        free(pipeline);
    }
}

// The result's map: the common keys, and for check what kind of sink it is.
static void
write_result(const shoal_pipeline_t *pipeline, bool is_check, shoal_buffer_t *result)
{
    const shoal_sink_ops_t *sink = pipeline->chain.sink.connector->sink;
    bool writes = is_check && !sink->is_collected && !pipeline->host.is_dry_run;
    shoal_write_map(result, shoal_books_pairs(&pipeline->books) + is_check + writes);
    if (is_check) {
        shoal_write_key(result, "collected");
        shoal_write_bool(result, sink->is_collected);
    }
    if (writes) {
        shoal_write_key(result, "write_ms");
        shoal_write_uint(result, shoal_pipeline_request_ms(sink));
    }
    shoal_books_write(&pipeline->books, result);
}

static bool
open_once(shoal_pipeline_t *pipeline, shoal_status_t *status)
{
    if (!pipeline->is_open) {
        pipeline->is_open =
            shoal_chain_open(&pipeline->chain, pipeline->modules,
                             shoal_buffer_slice(&pipeline->args), &pipeline->host, status);
    }
    return pipeline->is_open;
}

static bool
call(void *self, const shoal_call_t *context, const char *name, shoal_slice_t args,
     shoal_buffer_t *result, shoal_status_t *status)
{
    shoal_pipeline_t *pipeline = self;
    const method_t *method = methods;
    while (strcmp(method->name, name) != 0) { // the worker has checked it against our table
        method++;
    }
    pipeline->call = context;
    pipeline->delivered = 0;
    pipeline->is_limited = false;
    pipeline->has_failed = false;
    pipeline->retried = 0;
    shoal_books_clear(&pipeline->books);
    bool done = open_once(pipeline, status);
    if (done) {
        shoal_stream_start(&pipeline->stream, context, SHOAL_PIPELINE_CUT_BYTES,
                           SHOAL_PIPELINE_LINGER_MS, pipeline->host.is_dry_run);
        shoal_letters_start(&pipeline->letters, context, &pipeline->chain.secrets);
        done = method->run(pipeline, args, status);
    }
    if (done) {
        write_result(pipeline, method == methods, result);
    } else {
        shoal_pipeline_conceal(pipeline, status->text, sizeof(status->text));
    }
    trim(&pipeline->record);
    trim(&pipeline->spares[0]);
    trim(&pipeline->spares[1]);
    shoal_stream_fini(&pipeline->stream);
    pipeline->stream = (shoal_stream_t){0};
    shoal_letters_fini(&pipeline->letters);
    pipeline->call = NULL;
    return done;
}

shoal_class_t
shoal_pipeline_class(shoal_modules_t *modules)
{
    assert(modules);
    return (shoal_class_t){.abi = SHOAL_CLASS_ABI,
                           .name = "pipeline",
                           .methods = method_names,
                           .ctx = modules,
                           .construct = construct,
                           .destroy = destroy,
                           .call = call};
}
