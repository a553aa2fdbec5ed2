// SPDX-License-Identifier: Apache-2.0
//
// records.c - see pipeline_parts.h: the way of a record.
//
// The hot path is shoal_pipeline_emit(): per record it allocates nothing and takes no lock. The
// source writes into one buffer, each processor that replaces a record into another, and a collected
// sink straight into the batch that is sent.

#include <stdio.h>

#include "worker/pipeline_parts.h"

static shoal_buffer_t *
emitter_begin(void *ctx)
{
    shoal_pipeline_t *pipeline = ctx;
    shoal_buffer_clear(&pipeline->record);
    return &pipeline->record;
}

static bool
fail_call(shoal_pipeline_t *pipeline, const shoal_status_t *status)
{
    if (!pipeline->has_failed) {
        pipeline->has_failed = true;
        pipeline->failure = *status;
    }
    return false;
}

// Gives one record up: counted, among the errors, and a dead letter.
static bool
bury(shoal_pipeline_t *pipeline, const shoal_letter_t *letter, shoal_status_t *status)
{
    shoal_status_t why = *letter->why;
    shoal_pipeline_conceal(pipeline, why.text, sizeof(why.text));
    shoal_books_count(&pipeline->books, letter->scope, SHOAL_COUNT_FAILED, 1);
    shoal_books_error(&pipeline->books, letter->name, &why);
    return shoal_letters_add(&pipeline->letters, letter, status) || fail_call(pipeline, status);
}

// What a record's failure means: of class data, the record is given up and the call goes on.
static bool
give_up(shoal_pipeline_t *pipeline, shoal_scope_t scope, const char *kind, shoal_status_t *status)
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
run_processors(shoal_pipeline_t *pipeline, shoal_slice_t *record, shoal_status_t *status)
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

uint64_t
shoal_pipeline_request_ms(const shoal_sink_ops_t *sink)
{
    return sink->request_ms > 0 ? sink->request_ms : SHOAL_REQUEST_MS;
}

static bool
run_sink(shoal_pipeline_t *pipeline, shoal_slice_t record, shoal_status_t *status)
{
    const shoal_link_t *link = &pipeline->chain.sink;
    const shoal_sink_ops_t *sink = link->connector->sink;
    if (!sink->is_collected) {
        return pipeline->host.is_dry_run ||
               (pipeline->host.may_write(pipeline, shoal_pipeline_request_ms(sink), status) &&
                sink->write(link->instance, record, NULL, status));
    }
    if (!sink->write(link->instance, record, shoal_stream_out(&pipeline->stream), status)) {
        shoal_stream_undo(&pipeline->stream);
        return false;
    }
    return shoal_stream_commit(&pipeline->stream, status);
}

bool
shoal_pipeline_has_room(const shoal_pipeline_t *pipeline, shoal_status_t *status)
{
    return !pipeline->books.is_full ||
           shoal_fail(status, SHOAL_LIMIT, "one shard counts in more than %d scopes",
                      SHOAL_BOOKS_SCOPES_MAX);
}

// While a shard is read again for its letters: whether the record is one of those.
static bool
is_wanted(shoal_pipeline_t *pipeline, shoal_scope_t scope)
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

bool
shoal_pipeline_emit(void *ctx, shoal_scope_t scope, const char *kind, shoal_status_t *status)
{
    shoal_pipeline_t *pipeline = ctx;
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
    if (!shoal_pipeline_has_room(pipeline, status)) {
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
    shoal_pipeline_t *pipeline = ctx;
    if (!pipeline->wanted) { // else these are of records that the run before has counted
        shoal_books_count(&pipeline->books, scope, counts[what], count);
    }
}

static void
emitter_failed(void *ctx, shoal_scope_t scope, const char *name, const shoal_status_t *why)
{
    shoal_pipeline_t *pipeline = ctx;
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

shoal_emitter_t
shoal_pipeline_emitter(shoal_pipeline_t *pipeline)
{
    return (shoal_emitter_t){.ctx = pipeline,
                             .begin = emitter_begin,
                             .record = shoal_pipeline_emit,
                             .tally = emitter_tally,
                             .failed = emitter_failed};
}
