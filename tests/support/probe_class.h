// SPDX-License-Identifier: Apache-2.0
//
// probe_class.h - a class for tests of the worker: its methods do one thing each.
//
// Its constructor's arguments, if any, are a text; "refuse" makes construct fail. A probe_t counts
// what happened to its instances.

#ifndef SHOAL_TESTS_SUPPORT_PROBE_CLASS_H
#define SHOAL_TESTS_SUPPORT_PROBE_CLASS_H

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "worker/class.h"

typedef struct probe {
    atomic_int constructed;
    atomic_int destroyed;
    atomic_int running;
    atomic_int most_running; // at once
    atomic_int starts;
    atomic_bool is_released; // what is stubborn ends
    atomic_int writes;       // that were allowed
} probe_t;

typedef struct probe_instance {
    probe_t *probe;
    atomic_bool is_busy; // an instance runs one call at a time
} probe_instance_t;

static const char *const probe_methods[] = {"echo",   "stream",   "record", "hang", "spin",
                                            "freeze", "fail",     "badfd",  "huge", "garbage",
                                            "crash",  "stubborn", "write",  NULL};

static inline bool
probe_construct(void *ctx, shoal_slice_t args, void **ret_self, shoal_status_t *status)
{
    probe_t *probe = ctx;
    shoal_cursor_t cursor = shoal_cursor_over(args);
    if (args.len > 0 && shoal_slice_is(shoal_cursor_str(&cursor), "refuse")) {
        return shoal_fail_key(status, "source.type", "the probe was asked to refuse");
    }
    probe_instance_t *instance = calloc(1, sizeof(*instance));
    instance->probe = probe;
    atomic_fetch_add(&probe->constructed, 1);
    *ret_self = instance;
    return true;
}

static inline void
probe_destroy(void *self)
{
    probe_instance_t *instance = self;
    atomic_fetch_add(&instance->probe->destroyed, 1);
    free(instance);
}

// Where there is credit, a batch says that the call runs; it listens to nothing until it is released.
static inline bool
probe_stubborn(const probe_t *probe, const shoal_call_t *call, shoal_status_t *status)
{
    shoal_buffer_t batch = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&batch, "here");
    bool done = call->credit == 0 || call->send(call->ctx, &batch, 1, status);
    shoal_buffer_fini(&batch);
    while (!atomic_load(&probe->is_released)) {
        (void)poll(NULL, 0, 1);
    }
    return done;
}

#define PROBE_WRITE_MS 50

// args: how many writes, each of which takes a millisecond of the 50 that it may; none: without end.
static inline bool
probe_write(probe_t *probe, const shoal_call_t *call, shoal_slice_t args, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(args);
    uint64_t wanted = args.len > 0 ? shoal_cursor_uint(&cursor) : UINT64_MAX;
    for (uint64_t i = 0; i < wanted; i++) {
        if (!call->may_write(call->ctx, PROBE_WRITE_MS, status)) {
            return false;
        }
        atomic_fetch_add(&probe->writes, 1);
        call->progress(call->ctx);
        (void)poll(NULL, 0, 1);
    }
    return true;
}

// args: [batches, bytes]; each batch has one record of that size.
static inline bool
probe_stream(const shoal_call_t *call, shoal_slice_t args, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(args);
    (void)shoal_cursor_array(&cursor);
    uint64_t batches = shoal_cursor_uint(&cursor);
    uint64_t bytes = shoal_cursor_uint(&cursor);
    shoal_buffer_t batch = SHOAL_BUFFER_INIT;
    bool done = true;
    for (uint64_t i = 0; done && i < batches; i++) {
        memset(shoal_buffer_reserve(&batch, bytes), 'a' + (int)(i % 26), bytes);
        batch.len = bytes;
        done = call->send(call->ctx, &batch, 1, status);
    }
    shoal_buffer_fini(&batch);
    return done;
}

static inline bool
probe_call(void *self, const shoal_call_t *call, const char *method, shoal_slice_t args,
           shoal_buffer_t *result, shoal_status_t *status)
{
    probe_instance_t *instance = self;
    probe_t *probe = instance->probe;
    bool done = true;
    if (atomic_exchange(&instance->is_busy, true)) {
        return shoal_fail(status, SHOAL_INTERNAL, "two calls at once on one instance");
    }
    atomic_fetch_add(&probe->starts, 1);
    int running = atomic_fetch_add(&probe->running, 1) + 1;
    int most = atomic_load(&probe->most_running);
    while (running > most && !atomic_compare_exchange_weak(&probe->most_running, &most, running)) {
    }
    if (strcmp(method, "echo") == 0) {
        shoal_write_raw(result, args);
    } else if (strcmp(method, "stream") == 0 || strcmp(method, "record") == 0) {
        done = probe_stream(call, args, status);
    } else if (strcmp(method, "hang") == 0) {
        done = call->wait(call->ctx, -1, 0, SHOAL_TIME_NEVER, status);
    } else if (strcmp(method, "spin") == 0) {
        while (!call->is_cancelled(call->ctx)) {
            call->progress(call->ctx);
            done = call->wait(call->ctx, -1, 0, 1, status);
        }
        done = shoal_fail(status, SHOAL_CANCELLED, "spun until cancelled");
    } else if (strcmp(method, "freeze") == 0) { // says nothing to the worker
        while (!call->is_cancelled(call->ctx)) {
            (void)poll(NULL, 0, 1);
        }
        done = shoal_fail(status, SHOAL_CANCELLED, "thawed");
    } else if (strcmp(method, "write") == 0) {
        done = probe_write(probe, call, args, status);
    } else if (strcmp(method, "stubborn") == 0) {
        done = probe_stubborn(probe, call, status);
    } else if (strcmp(method, "fail") == 0) {
        done = shoal_fail_key(status, "source.type", "the probe was asked to fail");
    } else if (strcmp(method, "badfd") == 0) {
        done = call->wait(call->ctx, 100000, 1, 1000, status);
    } else if (strcmp(method, "huge") == 0) {
        shoal_slice_t zeros = {shoal_buffer_reserve(result, 300000), 300000};
        memset(result->ptr, 0, zeros.len);
        result->len = zeros.len;
    } else if (strcmp(method, "garbage") == 0) {
        shoal_buffer_append_text(result, "\x93\x01");
    } else if (strcmp(method, "crash") == 0) {
        (void)signal(SIGSEGV, SIG_DFL); // a sanitizer's own report is not wanted here
        (void)raise(SIGSEGV);
    }
    atomic_fetch_sub(&probe->running, 1);
    atomic_store(&instance->is_busy, false);
    return done;
}

static inline shoal_class_t
probe_class(probe_t *probe)
{
    return (shoal_class_t){.abi = SHOAL_CLASS_ABI,
                           .name = "probe",
                           .methods = probe_methods,
                           .ctx = probe,
                           .construct = probe_construct,
                           .destroy = probe_destroy,
                           .call = probe_call};
}

#endif
