// SPDX-License-Identifier: Apache-2.0
//
// host.c - see pipeline_parts.h: what connectors may ask for while a call runs.

#include <poll.h>
#include <stdio.h>

#include "proto/base/utf8.h"
#include "worker/pipeline_parts.h"

#define CLOSING_WAIT_MS_MAX 2000 // of one wait outside of a call

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
    shoal_pipeline_t *pipeline = ctx;
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
    const shoal_pipeline_t *pipeline = ctx;
    const shoal_call_t *call = pipeline->call;
    return call ? call->may_write(call->ctx, request_ms, status)
                : shoal_fail(status, SHOAL_CANCELLED, "no call runs");
}

static bool
host_is_cancelled(void *ctx)
{
    const shoal_pipeline_t *pipeline = ctx;
    return pipeline->call && pipeline->call->is_cancelled(pipeline->call->ctx);
}

static void
host_progress(void *ctx)
{
    const shoal_pipeline_t *pipeline = ctx;
    if (pipeline->call) {
        pipeline->call->progress(pipeline->call->ctx);
    }
}

void
shoal_pipeline_conceal(const shoal_pipeline_t *pipeline, char *text, size_t size)
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
    shoal_pipeline_t *pipeline = ctx;
    char text[SHOAL_BOOKS_TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    shoal_pipeline_conceal(pipeline, text, sizeof(text));
    shoal_books_warn(&pipeline->books, text);
}

static void
host_fact(void *ctx, const char *name, const char *value)
{
    shoal_pipeline_t *pipeline = ctx;
    shoal_books_fact(&pipeline->books, name, value);
}

shoal_host_t
shoal_pipeline_host(shoal_pipeline_t *pipeline)
{
    return (shoal_host_t){.ctx = pipeline,
                          .wait = host_wait,
                          .may_write = host_may_write,
                          .is_cancelled = host_is_cancelled,
                          .progress = host_progress,
                          .warn = host_warn,
                          .fact = host_fact};
}
