// SPDX-License-Identifier: Apache-2.0
//
// reading.c - see reading.h.

#include "tests/support/reading.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "proto/workflow/workflow.h"

#define SCOPES_MAX 4096

// ---- host

static bool
host_wait(void *ctx, int fd, short events, uint64_t timeout_ms, shoal_status_t *status)
{
    reading_t *reading = ctx;
    reading->waits++;
    if (reading->before_wait) {
        reading->before_wait(reading->ctx);
    }
    if (reading->is_cancelled) {
        return shoal_fail(status, SHOAL_CANCELLED, "the call was cancelled");
    }
    struct pollfd item = {fd, events, 0};
    if (poll(&item, 1, timeout_ms > 600000 ? 600000 : (int)timeout_ms) == 1) {
        return true;
    }
    return shoal_fail(status, SHOAL_TIMEOUT, "nothing came");
}

static bool
host_may_write(void *ctx, uint64_t request_ms, shoal_status_t *status)
{
    const reading_t *reading = ctx;
    (void)request_ms;
    return !reading->is_cancelled || shoal_fail(status, SHOAL_CANCELLED, "the call was cancelled");
}

static bool
host_is_cancelled(void *ctx)
{
    const reading_t *reading = ctx;
    return reading->is_cancelled;
}

static void
host_progress(void *ctx)
{
    (void)ctx;
}

static void SHOAL_PRINTF(2, 3) host_warn(void *ctx, const char *format, ...)
{
    const reading_t *reading = ctx;
    char text[SHOAL_STATUS_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    shoal_buffer_append_format(&reading->run->warnings, "%s\n", text);
}

static void
host_fact(void *ctx, const char *name, const char *value)
{
    const reading_t *reading = ctx;
    shoal_buffer_append_format(&reading->run->facts, "%s=%s\n", name, value);
}

// ---- discovery

static run_scope_t *
scope_at(run_t *run, shoal_scope_t scope)
{
    if (scope >= SCOPES_MAX) {
        abort();
    }
    if (scope >= run->scope_count) {
        run->scope_count = scope + 1;
    }
    return &run->scopes[scope];
}

static bool
found_scope(void *ctx, shoal_scope_t scope, const char *name, const char *of,
            shoal_status_t *status)
{
    (void)status;
    run_scope_t *at = scope_at(ctx, scope);
    if (!at->name) {
        at->name = shoal_strdup(name);
        at->of = shoal_strdup(of);
    }
    return true;
}

static bool
found_scope_end(void *ctx, shoal_scope_t scope, uint64_t listed, shoal_status_t *status)
{
    (void)status;
    run_scope_t *at = scope_at(ctx, scope);
    at->is_ended = true;
    at->listed = listed;
    return true;
}

static bool
found_scope_failed(void *ctx, shoal_scope_t scope, const shoal_status_t *why,
                   shoal_status_t *status)
{
    (void)status;
    run_scope_t *at = scope_at(ctx, scope);
    at->failed = shoal_strdup(why->text);
    at->failed_code = why->code;
    return true;
}

static bool
is_known(const run_t *run, uint32_t number)
{
    for (size_t i = 0; i < run->shard_count; i++) {
        if (run->shards[i].shard.number == number) {
            return true;
        }
    }
    return false;
}

// A shard and its cursor are taken together, or not at all; what is told again is passed over.
static bool
found_shard(void *ctx, const shoal_shard_t *shard, shoal_status_t *status)
{
    run_t *run = ctx;
    if (run->shard_limit > 0 && run->shard_count == run->shard_limit) {
        return shoal_fail(status, SHOAL_CANCELLED, "no more shards are wanted");
    }
    if (shard->cursor.len > 0) {
        shoal_buffer_clear(&run->cursor);
        shoal_buffer_append_slice(&run->cursor, shard->cursor);
    }
    if (is_known(run, shard->number)) {
        return true;
    }
    run->shards = shoal_realloc(run->shards, (run->shard_count + 1) * sizeof(*run->shards));
    run_shard_t *copy = &run->shards[run->shard_count++];
    *copy = (run_shard_t){.shard = *shard};
    copy->shard.title = shoal_strdup(shard->title);
    shoal_expectation_t *expects = shoal_alloc((shard->expect_count + 1) * sizeof(*expects));
    if (shard->expect_count > 0) {
        memcpy(expects, shard->expects, shard->expect_count * sizeof(*expects));
    }
    copy->shard.expects = expects;
    copy->shard.args.ptr = shoal_strndup(shard->args.ptr, shard->args.len);
    return true;
}

static bool
found_cursor(void *ctx, shoal_slice_t cursor, shoal_status_t *status)
{
    (void)status;
    run_t *run = ctx;
    shoal_buffer_clear(&run->cursor);
    shoal_buffer_append_slice(&run->cursor, cursor);
    return true;
}

static void
found_filtered(void *ctx, shoal_scope_t scope, uint64_t count)
{
    scope_at(ctx, scope)->filtered += count;
}

// ---- emitter

static shoal_buffer_t *
emitter_begin(void *ctx)
{
    reading_t *reading = ctx;
    shoal_buffer_clear(&reading->record);
    return &reading->record;
}

static bool
emitter_record(void *ctx, shoal_scope_t scope, const char *kind, shoal_status_t *status)
{
    reading_t *reading = ctx;
    run_t *run = reading->run;
    (void)kind;
    if (reading->is_cancelled ||
        (run->record_limit > 0 && run->record_count >= run->record_limit)) {
        return shoal_fail(status, SHOAL_CANCELLED, "no more records are wanted");
    }
    scope_at(run, scope)->delivered++;
    run->record_count++;
    if (!run->keeps_records) {
        return true;
    }
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    if (!shoal_cursor_check(shoal_buffer_slice(&reading->record), SHOAL_CHECK_DEPTH_MAX) ||
        !shoal_json_write(shoal_buffer_slice(&reading->record), &json, status)) {
        return shoal_fail(status, SHOAL_INTERNAL, "a record is malformed");
    }
    run->records = shoal_realloc(run->records, run->record_count * sizeof(*run->records));
    run->records[run->record_count - 1] = shoal_strdup(shoal_buffer_text(&json));
    shoal_buffer_fini(&json);
    return true;
}

static void
emitter_tally(void *ctx, shoal_scope_t scope, shoal_tally_t what, uint64_t count)
{
    const reading_t *reading = ctx;
    run_scope_t *at = scope_at(reading->run, scope);
    uint64_t *counts[] = {[SHOAL_TALLY_FILTERED] = &at->filtered,
                          [SHOAL_TALLY_VANISHED] = &at->vanished,
                          [SHOAL_TALLY_APPEARED] = &at->appeared};
    *counts[what] += count;
}

static void
emitter_failed(void *ctx, shoal_scope_t scope, const char *name, const shoal_status_t *why)
{
    const reading_t *reading = ctx;
    scope_at(reading->run, scope)->dead++;
    shoal_buffer_append_format(&reading->run->warnings, "%s: %s\n", name, why->text);
}

// ---- a run

static void
warn_option(void *ctx, const char *key, const char *text)
{
    run_t *run = ctx;
    shoal_buffer_append_format(&run->warnings, "%s: %s\n", key, text);
}

// The value at a path of maps, or nothing.
static shoal_slice_t
section(shoal_slice_t map, const char *const *path)
{
    for (; *path; path++) {
        if (!shoal_map_find(map, *path, &map)) {
            return SHOAL_SLICE_NONE;
        }
    }
    return map;
}

static bool
read_options(run_t *run, shoal_slice_t args, shoal_status_t *status)
{
    static const char *const connection[] = {"source", "serviceConnection", "config", NULL};
    static const char *const options[] = {"source", "sourceConfig", "config", NULL};
    static const char *const sharding[] = {"sharding", NULL};
    return shoal_options_read(&run->options, run->connector->connection,
                              "source.serviceConnection.config", section(args, connection), false,
                              warn_option, run, status) &&
           shoal_options_read(&run->options, run->connector->options, "source.sourceConfig.config",
                              section(args, options), false, warn_option, run, status) &&
           (!run->connector->sharding ||
            shoal_options_read(&run->sharding, run->connector->sharding, "sharding",
                               section(args, sharding), false, warn_option, run, status));
}

bool
run_start(run_t *run, const shoal_connector_t *connector, const char *workflow,
          shoal_status_t *status)
{
    *run = (run_t){.connector = connector, .slots = 1, .keeps_records = true};
    run->scopes = shoal_alloc(SCOPES_MAX * sizeof(*run->scopes));
    shoal_workflow_rules_t rules = {.is_lenient = false};
    shoal_workflow_t *file = NULL;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    bool is_done =
        shoal_workflow_parse("test.yaml", shoal_slice_of(workflow), &rules, &file, status);
    if (is_done) {
        (void)snprintf(run->service, sizeof(run->service), "%s", shoal_workflow_run(file)->name);
        shoal_workflow_encode(file, &args);
        is_done = read_options(run, shoal_buffer_slice(&args), status);
    }
    shoal_workflow_destroy(&file);
    shoal_buffer_fini(&args);
    return is_done;
}

void
run_stop(run_t *run)
{
    for (size_t i = 0; i < run->scope_count; i++) {
        free(run->scopes[i].name);
        free(run->scopes[i].of);
        free(run->scopes[i].failed);
    }
    for (size_t i = 0; i < run->shard_count; i++) {
        // The copies are ours; the contract's pointers are const.
        free((void *)(uintptr_t)run->shards[i].shard.title);
        free((void *)(uintptr_t)run->shards[i].shard.expects);
        free((void *)(uintptr_t)run->shards[i].shard.args.ptr);
    }
    for (size_t i = 0; run->records && i < run->record_count; i++) {
        free(run->records[i]);
    }
    free(run->scopes);
    free(run->shards);
    free(run->records);
    shoal_buffer_fini(&run->cursor);
    shoal_buffer_fini(&run->warnings);
    shoal_buffer_fini(&run->facts);
    shoal_options_destroy(&run->options);
    shoal_options_destroy(&run->sharding);
    *run = (run_t){.connector = NULL};
}

// ---- a reading

bool
reading_open(reading_t *reading, run_t *run, shoal_status_t *status)
{
    *reading = (reading_t){.run = run};
    reading->host = (shoal_host_t){.ctx = reading,
                                   .wait = host_wait,
                                   .may_write = host_may_write,
                                   .is_cancelled = host_is_cancelled,
                                   .progress = host_progress,
                                   .warn = host_warn,
                                   .fact = host_fact,
                                   .slots = run->slots,
                                   .sharding = run->sharding};
    reading->emitter = (shoal_emitter_t){.ctx = reading,
                                         .begin = emitter_begin,
                                         .record = emitter_record,
                                         .tally = emitter_tally,
                                         .failed = emitter_failed};
    return run->connector->source->open(run->options, run->service, &reading->host,
                                        &reading->source, status);
}

void
reading_close(reading_t *reading)
{
    reading->run->connector->source->close(reading->source);
    reading->source = NULL;
    shoal_buffer_fini(&reading->record);
}

bool
reading_check(reading_t *reading, shoal_status_t *status)
{
    return reading->run->connector->source->check(reading->source, status);
}

bool
reading_discover(reading_t *reading, shoal_slice_t resume, shoal_status_t *status)
{
    shoal_discovery_t discovery = {.ctx = reading->run,
                                   .scope = found_scope,
                                   .scope_end = found_scope_end,
                                   .scope_failed = found_scope_failed,
                                   .shard = found_shard,
                                   .cursor = found_cursor,
                                   .filtered = found_filtered};
    return reading->run->connector->source->discover(reading->source, resume, &discovery, status);
}

bool
reading_read(reading_t *reading, size_t shard, shoal_status_t *status)
{
    run_shard_t *at = &reading->run->shards[shard];
    at->is_done = reading->run->connector->source->read(reading->source, at->shard.stage,
                                                        at->shard.args, &reading->emitter, status);
    return at->is_done;
}

bool
reading_everything(reading_t *reading, shoal_status_t *status)
{
    if (!reading_check(reading, status) || !reading_discover(reading, SHOAL_SLICE_NONE, status)) {
        return false;
    }
    for (size_t i = 0; i < reading->run->shard_count; i++) {
        if (!reading_read(reading, i, status)) {
            return false;
        }
    }
    return true;
}

// ---- questions

const run_scope_t *
run_scope(const run_t *run, const char *name)
{
    for (size_t i = 0; i < run->scope_count; i++) {
        if (run->scopes[i].name && strcmp(run->scopes[i].name, name) == 0) {
            return &run->scopes[i];
        }
    }
    return NULL;
}

const char *
run_record(const run_t *run, const char *part)
{
    for (size_t i = 0; i < run->record_count; i++) {
        if (strstr(run->records[i], part)) {
            return run->records[i];
        }
    }
    return NULL;
}

size_t
run_count(const run_t *run, const char *part)
{
    size_t count = 0;
    for (size_t i = 0; i < run->record_count; i++) {
        count += strstr(run->records[i], part) ? 1 : 0;
    }
    return count;
}

bool
run_is_balanced(const run_t *run)
{
    bool is_balanced = true;
    for (size_t i = 1; i < run->scope_count; i++) {
        const run_scope_t *scope = &run->scopes[i];
        if (scope->name && scope->is_ended &&
            scope->listed + scope->appeared !=
                scope->delivered + scope->filtered + scope->vanished + scope->dead) {
            (void)fprintf(stderr,
                          "%s: listed %llu, appeared %llu, delivered %llu, filtered %llu, vanished "
                          "%llu\n",
                          scope->name, (unsigned long long)scope->listed,
                          (unsigned long long)scope->appeared, (unsigned long long)scope->delivered,
                          (unsigned long long)scope->filtered, (unsigned long long)scope->vanished);
            is_balanced = false;
        }
    }
    return is_balanced;
}
