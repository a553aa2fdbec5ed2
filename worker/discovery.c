// SPDX-License-Identifier: Apache-2.0
//
// discovery.c - see discovery.h.

#include "worker/discovery.h"

#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "proto/wire/message.h"
#include "worker/pipeline.h"

#define NAME_MAX_BYTES 4096 // of a scope's name, a shard's title or a reason; longer ones are cut

static shoal_slice_t
bounded(const char *text)
{
    shoal_slice_t slice = shoal_slice_of(text);
    slice.len = shoal_utf8_cut(slice, NAME_MAX_BYTES);
    return slice;
}

// Keeps the first failure; returns false.
static bool
fail(shoal_finder_t *finder, const shoal_status_t *status)
{
    if (!finder->has_failed) {
        finder->has_failed = true;
        finder->failure = *status;
    }
    return false;
}

// What the connector got wrong.
static bool
refuse(shoal_finder_t *finder, const char *why, shoal_status_t *status)
{
    shoal_fail(status, SHOAL_INTERNAL, "the source's discovery is wrong: %s", why);
    return fail(finder, status);
}

// The item in the stream is complete.
static bool
commit(shoal_finder_t *finder, shoal_status_t *status)
{
    shoal_stream_t *stream = finder->stream;
    size_t size = stream->out.len - stream->whole;
    if (size > SHOAL_SHARD_BYTES_MAX) {
        shoal_stream_undo(stream);
        shoal_fail(status, SHOAL_LIMIT,
                   "an item of discovery has %zu bytes, at most %d are allowed", size,
                   SHOAL_SHARD_BYTES_MAX);
        return fail(finder, status);
    }
    if (stream->call->is_cancelled(stream->call->ctx)) {
        shoal_fail(status, SHOAL_CANCELLED, "the call was cancelled");
        return fail(finder, status);
    }
    return shoal_stream_commit(stream, status) || fail(finder, status);
}

static bool
put_scope(void *ctx, shoal_scope_t scope, const char *name, const char *of, shoal_status_t *status)
{
    shoal_finder_t *finder = ctx;
    if (scope == 0 || !name || !of) {
        return refuse(finder, "a scope needs a number, a name and what it counts", status);
    }
    shoal_buffer_t *out = shoal_stream_out(finder->stream);
    shoal_write_map(out, 3);
    shoal_write_key(out, "scope");
    shoal_write_uint(out, scope);
    shoal_write_key(out, "name");
    shoal_write_str(out, bounded(name));
    shoal_write_key(out, "of");
    shoal_write_str(out, bounded(of));
    return commit(finder, status);
}

// {"scope": n, KEY: count}
static bool
put_count(shoal_finder_t *finder, shoal_scope_t scope, const char *key, uint64_t count,
          shoal_status_t *status)
{
    if (scope == 0) {
        return refuse(finder, "a scope's number is 0", status);
    }
    shoal_buffer_t *out = shoal_stream_out(finder->stream);
    shoal_write_map(out, 2);
    shoal_write_key(out, "scope");
    shoal_write_uint(out, scope);
    shoal_write_text(out, key);
    shoal_write_uint(out, count);
    return commit(finder, status);
}

static bool
put_scope_end(void *ctx, shoal_scope_t scope, uint64_t listed, shoal_status_t *status)
{
    return put_count(ctx, scope, "listed", listed, status);
}

static void
put_filtered(void *ctx, shoal_scope_t scope, uint64_t count)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)put_count(ctx, scope, "filtered", count, &status); // a failure is kept for the end
}

static bool
put_scope_failed(void *ctx, shoal_scope_t scope, const shoal_status_t *why, shoal_status_t *status)
{
    shoal_finder_t *finder = ctx;
    if (scope == 0 || !why) {
        return refuse(finder, "a failed scope needs a number and a reason", status);
    }
    shoal_buffer_t *out = shoal_stream_out(finder->stream);
    shoal_write_map(out, 4);
    shoal_write_key(out, "scope");
    shoal_write_uint(out, scope);
    shoal_write_key(out, "failed");
    shoal_write_text(out, why->text);
    shoal_write_key(out, "class");
    shoal_write_uint(out, (uint64_t)why->error_class);
    shoal_write_key(out, "code");
    shoal_write_uint(out, (uint64_t)why->code);
    return commit(finder, status);
}

static bool
check_shard(shoal_finder_t *finder, const shoal_shard_t *shard, shoal_status_t *status)
{
    if (shard->number <= finder->last_shard) {
        return refuse(finder, "a shard's number is not above the one before", status);
    }
    if (shard->stage < SHOAL_STAGE_PREPARE || shard->stage > SHOAL_STAGE_LINK) {
        return refuse(finder, "a shard has an unknown stage", status);
    }
    if (shard->needs >= shard->number) {
        return refuse(finder, "a shard needs one that comes after it", status);
    }
    if (shard->args.len > SHOAL_SHARD_BYTES_MAX ||
        (shard->args.len > 0 && !shoal_cursor_check(shard->args, SHOAL_VALUE_DEPTH_MAX))) {
        return refuse(finder, "a shard's arguments are too long, or no single value", status);
    }
    if (shard->cursor.len > 0 && !shoal_cursor_check(shard->cursor, SHOAL_VALUE_DEPTH_MAX)) {
        return refuse(finder, "a shard's cursor is no single value", status);
    }
    finder->last_shard = shard->number;
    return true;
}

static bool
put_shard(void *ctx, const shoal_shard_t *shard, shoal_status_t *status)
{
    shoal_finder_t *finder = ctx;
    if (!check_shard(finder, shard, status)) {
        return false;
    }
    shoal_buffer_t *out = shoal_stream_out(finder->stream);
    shoal_write_map(out, shard->cursor.len > 0 ? 8 : 7);
    shoal_write_key(out, "shard");
    shoal_write_uint(out, shard->number);
    shoal_write_key(out, "stage");
    shoal_write_uint(out, (uint64_t)shard->stage);
    shoal_write_key(out, "needs");
    shoal_write_uint(out, shard->needs);
    shoal_write_key(out, "cost");
    shoal_write_uint(out, shard->cost_us);
    shoal_write_key(out, "title");
    shoal_write_str(out, bounded(shard->title));
    shoal_write_key(out, "expects");
    shoal_write_array(out, (uint32_t)shard->expect_count);
    for (size_t i = 0; i < shard->expect_count; i++) {
        shoal_write_array(out, 2);
        shoal_write_uint(out, shard->expects[i].scope);
        shoal_write_uint(out, shard->expects[i].count);
    }
    shoal_write_key(out, "args");
    if (shard->args.len > 0) {
        shoal_write_raw(out, shard->args);
    } else {
        shoal_write_nil(out);
    }
    if (shard->cursor.len > 0) {
        shoal_write_key(out, "cursor");
        shoal_write_raw(out, shard->cursor);
    }
    return commit(finder, status);
}

static bool
put_cursor(void *ctx, shoal_slice_t cursor, shoal_status_t *status)
{
    shoal_finder_t *finder = ctx;
    if (!shoal_cursor_check(cursor, SHOAL_VALUE_DEPTH_MAX)) {
        return refuse(finder, "a cursor is no single value", status);
    }
    shoal_buffer_t *out = shoal_stream_out(finder->stream);
    shoal_write_map(out, 1);
    shoal_write_key(out, "cursor");
    shoal_write_raw(out, cursor);
    return commit(finder, status);
}

void
shoal_finder_init(shoal_finder_t *finder, shoal_stream_t *stream)
{
    *finder = (shoal_finder_t){
        .to = {.ctx = finder,
               .scope = put_scope,
               .scope_end = put_scope_end,
               .scope_failed = put_scope_failed,
               .shard = put_shard,
               .cursor = put_cursor,
               .filtered = put_filtered},
        .stream = stream,
    };
}
