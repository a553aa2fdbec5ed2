// SPDX-License-Identifier: Apache-2.0
//
// pipeline.c - see pipeline.h.
//
// The hot path is emit(): per record it allocates nothing and takes no lock. The source writes into
// one buffer, each processor that replaces a record into another, and a collected sink straight
// into the batch that is sent.

#include "worker/pipeline.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "worker/books.h"
#include "worker/chain.h"
#include "worker/discovery.h"
#include "worker/letters.h"
#include "worker/stream.h"
#include "worker/wanted.h"

#define BUFFER_KEPT_BYTES   1048576 // a record buffer that grew beyond is freed with its call
#define CLOSING_WAIT_MS_MAX 2000    // of one wait outside of a call

typedef struct pipeline {
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
} pipeline_t;

// ---- what connectors may ask for

// Outside of a call (close) nobody can cancel: waits, but not for long.
static bool
wait_outside(int fd, short events, uint64_t timeout_ms, shoal_status_t *status)
{
    struct pollfd item = {fd, events, 0};
    int limit_ms = timeout_ms < CLOSING_WAIT_MS_MAX ? (int)timeout_ms : CLOSING_WAIT_MS_MAX;
    return poll(&item, 1, limit_ms) == 1 ||
           shoal_fail(status, SHOAL_TIMEOUT, "nothing came for %d ms", limit_ms);
}

// A source that waits must not hold back what it has found: the batch goes when it is due.
static bool
host_wait(void *ctx, int fd, short events, uint64_t timeout_ms, shoal_status_t *status)
{
    pipeline_t *pipeline = ctx;
    const shoal_call_t *call = pipeline->call;
    if (!call) {
        return wait_outside(fd, events, timeout_ms, status);
    }
    uint64_t due_ms = shoal_stream_due(&pipeline->stream);
    if (due_ms >= timeout_ms) {
        return call->wait(call->ctx, fd, events, timeout_ms, status);
    }
    if (due_ms > 0) {
        if (call->wait(call->ctx, fd, events, due_ms, status)) {
            return true;
        }
        if (status->code != SHOAL_TIMEOUT) {
            return false;
        }
        shoal_status_clear(status);
    }
    if (!shoal_stream_flush(&pipeline->stream, status)) {
        return false;
    }
    timeout_ms -= timeout_ms == SHOAL_TIME_NEVER ? 0 : due_ms;
    return call->wait(call->ctx, fd, events, timeout_ms, status);
}

static bool
host_may_write(void *ctx, uint64_t request_ms, shoal_status_t *status)
{
    const pipeline_t *pipeline = ctx;
    const shoal_call_t *call = pipeline->call;
    return call ? call->may_write(call->ctx, request_ms, status)
                : shoal_fail(status, SHOAL_CANCELLED, "no call runs");
}

static bool
host_is_cancelled(void *ctx)
{
    const pipeline_t *pipeline = ctx;
    return pipeline->call && pipeline->call->is_cancelled(pipeline->call->ctx);
}

static void
host_progress(void *ctx)
{
    const pipeline_t *pipeline = ctx;
    if (pipeline->call) {
        pipeline->call->progress(pipeline->call->ctx);
    }
}

// Takes the workflow's secrets out of a text that people will see: connectors do not put them there,
// but what servers answer may repeat them.
static void
conceal(const pipeline_t *pipeline, char *text, size_t size)
{
    shoal_buffer_t plain = SHOAL_BUFFER_INIT;
    if (shoal_secrets_hide(&pipeline->chain.secrets, shoal_slice_of(text), &plain)) {
        plain.len = shoal_utf8_cut(shoal_buffer_slice(&plain), size - 1);
        memcpy(text, plain.ptr, plain.len);
        text[plain.len] = '\0';
    }
    shoal_buffer_fini(&plain);
}

static void SHOAL_PRINTF(2, 3) host_warn(void *ctx, const char *format, ...)
{
    pipeline_t *pipeline = ctx;
    char text[SHOAL_BOOKS_TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    conceal(pipeline, text, sizeof(text));
    shoal_books_warn(&pipeline->books, text);
}

static void
host_fact(void *ctx, const char *name, const char *value)
{
    pipeline_t *pipeline = ctx;
    shoal_books_fact(&pipeline->books, name, value);
}

// ---- records

static shoal_buffer_t *
emitter_begin(void *ctx)
{
    pipeline_t *pipeline = ctx;
    shoal_buffer_clear(&pipeline->record);
    return &pipeline->record;
}

static bool
fail_call(pipeline_t *pipeline, const shoal_status_t *status)
{
    if (!pipeline->has_failed) {
        pipeline->has_failed = true;
        pipeline->failure = *status;
    }
    return false;
}

// Gives one record up: counted, among the errors, and a dead letter.
static bool
bury(pipeline_t *pipeline, const shoal_letter_t *letter, shoal_status_t *status)
{
    shoal_status_t why = *letter->why;
    conceal(pipeline, why.text, sizeof(why.text));
    shoal_books_count(&pipeline->books, letter->scope, SHOAL_COUNT_FAILED, 1);
    shoal_books_error(&pipeline->books, letter->name, &why);
    return shoal_letters_add(&pipeline->letters, letter, status) || fail_call(pipeline, status);
}

// What a record's failure means: of class data, the record is given up and the call goes on.
static bool
give_up(pipeline_t *pipeline, shoal_scope_t scope, const char *kind, shoal_status_t *status)
{
    if (status->error_class != SHOAL_DATA) {
        return fail_call(pipeline, status);
    }
    char step[32] = "sink";
    shoal_status_t why = *status;
    shoal_status_clear(status);
    if (pipeline->processor < pipeline->chain.processor_count) {
        (void)snprintf(step, sizeof(step), "processor[%zu]", pipeline->processor);
    }
    shoal_buffer_t name = SHOAL_BUFFER_INIT;
    shoal_slice_t record = shoal_buffer_slice(&pipeline->record); // as the source wrote it
    shoal_record_fqn(record, &name);
    const shoal_letter_t letter = {
        .number = pipeline->retried,
        .scope = scope,
        .type = kind,
        .step = step,
        .name = name.len > 0 ? shoal_buffer_text(&name) : "(a record without a name)",
        .record = record,
        .why = &why,
    };
    bool done = bury(pipeline, &letter, status);
    shoal_buffer_fini(&name);
    return done;
}

typedef enum step { STEP_DONE, STEP_DROPPED, STEP_FAILED } step_t;

// Sends *record through the processors; it is what the last of them made of it.
static step_t
run_processors(pipeline_t *pipeline, shoal_slice_t *record, shoal_status_t *status)
{
    const shoal_chain_t *chain = &pipeline->chain;
    unsigned spare = 0;
    for (size_t i = 0; i < chain->processor_count; i++) {
        const shoal_link_t *link = &chain->processors[i];
        shoal_buffer_t *out = &pipeline->spares[spare];
        shoal_verdict_t verdict = SHOAL_VERDICT_KEEP;
        pipeline->processor = i;
        shoal_buffer_clear(out);
        if (!link->connector->processor->process(link->instance, *record, out, &verdict, status)) {
            return STEP_FAILED;
        }
        if (verdict == SHOAL_VERDICT_DROP) {
            return STEP_DROPPED;
        }
        if (verdict == SHOAL_VERDICT_REPLACE) {
            *record = shoal_buffer_slice(out);
            spare ^= 1;
        }
    }
    pipeline->processor = chain->processor_count;
    return STEP_DONE;
}

static uint64_t
request_ms(const shoal_sink_ops_t *sink)
{
    return sink->request_ms > 0 ? sink->request_ms : SHOAL_REQUEST_MS;
}

static bool
run_sink(pipeline_t *pipeline, shoal_slice_t record, shoal_status_t *status)
{
    const shoal_link_t *link = &pipeline->chain.sink;
    const shoal_sink_ops_t *sink = link->connector->sink;
    if (!sink->is_collected) {
        return pipeline->host.is_dry_run || (host_may_write(pipeline, request_ms(sink), status) &&
                                             sink->write(link->instance, record, NULL, status));
    }
    if (!sink->write(link->instance, record, shoal_stream_out(&pipeline->stream), status)) {
        shoal_stream_undo(&pipeline->stream);
        return false;
    }
    return shoal_stream_commit(&pipeline->stream, status);
}

static bool
has_room_for_scopes(const pipeline_t *pipeline, shoal_status_t *status)
{
    return !pipeline->books.is_full ||
           shoal_fail(status, SHOAL_LIMIT, "one shard counts in more than %d scopes",
                      SHOAL_BOOKS_SCOPES_MAX);
}

// While a shard is read again for its letters: whether the record is one of those.
static bool
is_wanted(pipeline_t *pipeline, shoal_scope_t scope)
{
    if (!pipeline->wanted) {
        return true;
    }
    shoal_wanted_item_t *item =
        shoal_wanted_find_record(pipeline->wanted, scope, shoal_buffer_slice(&pipeline->record));
    if (item) {
        item->is_seen = true;
        pipeline->retried = item->letter;
    }
    return item != NULL;
}

static bool
emit(void *ctx, shoal_scope_t scope, const char *kind, shoal_status_t *status)
{
    pipeline_t *pipeline = ctx;
    const shoal_call_t *call = pipeline->call;
    if (pipeline->has_failed) {
        *status = pipeline->failure;
        return false;
    }
    if (pipeline->is_limited || call->is_cancelled(call->ctx)) {
        shoal_fail(status, SHOAL_CANCELLED, "the call was cancelled");
        return pipeline->is_limited ? false : fail_call(pipeline, status);
    }
    call->progress(call->ctx);
    if (!is_wanted(pipeline, scope)) {
        return true;
    }
    shoal_slice_t record = shoal_buffer_slice(&pipeline->record);
    step_t step = run_processors(pipeline, &record, status);
    if (step == STEP_DROPPED) {
        shoal_books_count(&pipeline->books, scope, SHOAL_COUNT_FILTERED, 1);
    } else if (step == STEP_FAILED || !run_sink(pipeline, record, status)) {
        return give_up(pipeline, scope, kind, status);
    } else {
        shoal_books_count(&pipeline->books, scope, SHOAL_COUNT_DELIVERED, 1);
        shoal_books_kind(&pipeline->books, kind);
        pipeline->delivered++;
    }
    if (!has_room_for_scopes(pipeline, status)) {
        return fail_call(pipeline, status);
    }
    if (call->limit > 0 && pipeline->delivered >= call->limit) {
        pipeline->is_limited = true;
        return shoal_fail(status, SHOAL_CANCELLED,
                          "%llu records are delivered, more are not wanted",
                          (unsigned long long)call->limit);
    }
    return true;
}

static void
emitter_tally(void *ctx, shoal_scope_t scope, shoal_tally_t what, uint64_t count)
{
    static const shoal_count_t counts[] = {
        [SHOAL_TALLY_FILTERED] = SHOAL_COUNT_FILTERED,
        [SHOAL_TALLY_VANISHED] = SHOAL_COUNT_VANISHED,
        [SHOAL_TALLY_APPEARED] = SHOAL_COUNT_APPEARED,
    };
    pipeline_t *pipeline = ctx;
    if (!pipeline->wanted) { // else these are of records that the run before has counted
        shoal_books_count(&pipeline->books, scope, counts[what], count);
    }
}

static void
emitter_failed(void *ctx, shoal_scope_t scope, const char *name, const shoal_status_t *why)
{
    pipeline_t *pipeline = ctx;
    shoal_wanted_item_t *item = NULL;
    if (pipeline->wanted) {
        item = shoal_wanted_find(pipeline->wanted, scope, shoal_slice_of(name));
        if (!item) {
            return;
        }
        item->is_seen = true;
    }
    const shoal_letter_t letter = {
        .number = item ? item->letter : 0,
        .scope = scope,
        .step = "source",
        .name = name,
        .why = why,
    };
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)bury(pipeline, &letter, &status); // a failure is kept and ends the call
}

// ---- the methods

static bool
check(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    (void)args;
    const shoal_chain_t *chain = &pipeline->chain;
    for (size_t i = 0; i < chain->warning_count; i++) {
        shoal_books_warn(&pipeline->books, chain->warnings[i]);
    }
    const shoal_sink_ops_t *sink = chain->sink.connector->sink;
    if (!sink->is_collected && !pipeline->host.is_dry_run &&
        !host_may_write(pipeline, request_ms(sink), status)) {
        return false;
    }
    return chain->source.connector->source->check(chain->source.instance, status) &&
           (!sink->check || sink->check(chain->sink.instance, status));
}

static bool
discover(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
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
flush_sink(pipeline_t *pipeline, shoal_status_t *status)
{
    const shoal_link_t *link = &pipeline->chain.sink;
    const shoal_sink_ops_t *sink = link->connector->sink;
    return sink->is_collected || pipeline->host.is_dry_run || !sink->flush ||
           (host_may_write(pipeline, request_ms(sink), status) &&
            sink->flush(link->instance, status));
}

static bool
finish_shard(pipeline_t *pipeline, shoal_status_t *status)
{
    return has_room_for_scopes(pipeline, status) && shoal_stream_flush(&pipeline->stream, status) &&
           shoal_letters_flush(&pipeline->letters, status) && flush_sink(pipeline, status);
}

static bool
read_shard(pipeline_t *pipeline, shoal_stage_t stage, shoal_slice_t args, shoal_status_t *status)
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
prepare(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    return read_shard(pipeline, SHOAL_STAGE_PREPARE, args, status);
}

static bool
map(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    return read_shard(pipeline, SHOAL_STAGE_MAP, args, status);
}

static bool
link_up(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    return read_shard(pipeline, SHOAL_STAGE_LINK, args, status);
}

// One letter's record: [letter, scope, type, record].
static bool
replay_one(pipeline_t *pipeline, shoal_cursor_t *cursor, shoal_status_t *status)
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
    return emit(pipeline, scope, kind, status);
}

// Sends the records of dead letters through processors and sink once more.
static bool
replay(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
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
reread(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
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
finish(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status)
{
    (void)args;
    return flush_sink(pipeline, status);
}

typedef struct method {
    const char *name;
    bool (*run)(pipeline_t *pipeline, shoal_slice_t args, shoal_status_t *status);
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
    pipeline_t *pipeline = shoal_alloc(sizeof(*pipeline));
    pipeline->modules = ctx;
    shoal_buffer_append_slice(&pipeline->args, args);
    pipeline->host = (shoal_host_t){.ctx = pipeline,
                                    .wait = host_wait,
                                    .may_write = host_may_write,
                                    .is_cancelled = host_is_cancelled,
                                    .progress = host_progress,
                                    .warn = host_warn,
                                    .fact = host_fact};
    pipeline->emitter = (shoal_emitter_t){.ctx = pipeline,
                                          .begin = emitter_begin,
                                          .record = emit,
                                          .tally = emitter_tally,
                                          .failed = emitter_failed};
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
    pipeline_t *pipeline = self;
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
write_result(const pipeline_t *pipeline, bool is_check, shoal_buffer_t *result)
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
        shoal_write_uint(result, request_ms(sink));
    }
    shoal_books_write(&pipeline->books, result);
}

static bool
open_once(pipeline_t *pipeline, shoal_status_t *status)
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
    pipeline_t *pipeline = self;
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
        conceal(pipeline, status->text, sizeof(status->text));
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
