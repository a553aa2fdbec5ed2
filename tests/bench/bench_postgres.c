// SPDX-License-Identifier: Apache-2.0
//
// bench_postgres.c - the postgres source alone, without head and worker: discovery and all shards in
// N threads of this process, each with an instance of its own, records encoded and thrown away.
//
//   bench_postgres WORKFLOW.yaml SLOTS
//
// One line of CSV: slots,shards,tables,bytes,seconds,tables_per_second,discovery_seconds. Beside it
// stand floor/pgread "set 1" and "range 2 4", which read the same facts and encode nothing.

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/workflow/workflow.h"
#include "tests/support/reading.h"

extern const shoal_connector_t shoal_connector;

#define SLOTS_MAX 64

typedef struct slot {
    pthread_t thread;
    run_t *run;
    reading_t reading;
    atomic_size_t *next;
    uint64_t records;
    uint64_t bytes;
    bool is_done;
    shoal_status_t status;
} slot_t;

static shoal_buffer_t *
emitter_begin(void *ctx)
{
    slot_t *slot = ctx;
    shoal_buffer_clear(&slot->reading.record);
    return &slot->reading.record;
}

static bool
emitter_record(void *ctx, shoal_scope_t scope, const char *kind, shoal_status_t *status)
{
    slot_t *slot = ctx;
    (void)scope;
    (void)kind;
    (void)status;
    slot->records++;
    slot->bytes += slot->reading.record.len;
    return true;
}

static void
emitter_tally(void *ctx, shoal_scope_t scope, shoal_tally_t what, uint64_t count)
{
    (void)ctx;
    (void)scope;
    (void)what;
    (void)count;
}

static void
emitter_failed(void *ctx, shoal_scope_t scope, const char *name, const shoal_status_t *why)
{
    (void)ctx;
    (void)scope;
    (void)fprintf(stderr, "%s: %s\n", name, why->text);
}

static void *
run_slot(void *ctx)
{
    slot_t *slot = ctx;
    for (;;) {
        size_t at = atomic_fetch_add(slot->next, 1);
        if (at >= slot->run->shard_count) {
            slot->is_done = true;
            return NULL;
        }
        if (!reading_read(&slot->reading, at, &slot->status)) {
            return NULL;
        }
    }
}

static int
fail(const char *what, const shoal_status_t *status)
{
    (void)fprintf(stderr, "bench_postgres: %s: %s %s\n", what, status->text, status->key);
    return 1;
}

static char *
read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        return NULL;
    }
    char *text = shoal_alloc(65536);
    text[fread(text, 1, 65535, file)] = '\0';
    (void)fclose(file);
    return text;
}

int
main(int argc, char **argv)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    char *workflow = argc == 3 ? read_file(argv[1]) : NULL;
    unsigned slots = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
    if (!workflow || slots < 1 || slots > SLOTS_MAX) {
        (void)fprintf(stderr, "usage: bench_postgres WORKFLOW.yaml SLOTS\n");
        return 2;
    }
    run_t run;
    if (!run_start(&run, &shoal_connector, workflow, &status)) {
        return fail("workflow", &status);
    }
    run.slots = slots;
    run.keeps_records = false;
    static slot_t slot[SLOTS_MAX];
    atomic_size_t next = 0;
    uint64_t start = shoal_clock_us();
    for (unsigned i = 0; i < slots; i++) {
        slot[i].run = &run;
        slot[i].next = &next;
        if (!reading_open(&slot[i].reading, &run, &status)) {
            return fail("open", &status);
        }
        slot[i].reading.emitter = (shoal_emitter_t){.ctx = &slot[i],
                                                    .begin = emitter_begin,
                                                    .record = emitter_record,
                                                    .tally = emitter_tally,
                                                    .failed = emitter_failed};
    }
    if (!reading_check(&slot[0].reading, &status) ||
        !reading_discover(&slot[0].reading, SHOAL_SLICE_NONE, &status)) {
        return fail("discover", &status);
    }
    uint64_t discovered = shoal_clock_us();
    for (unsigned i = 0; i < slots; i++) {
        if (pthread_create(&slot[i].thread, NULL, run_slot, &slot[i]) != 0) {
            return 1;
        }
    }
    uint64_t records = 0;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < slots; i++) {
        (void)pthread_join(slot[i].thread, NULL);
        if (!slot[i].is_done) {
            return fail("read", &slot[i].status);
        }
        records += slot[i].records;
        bytes += slot[i].bytes;
    }
    double seconds = (double)(shoal_clock_us() - start) / 1e6;
    uint64_t tables = 0;
    for (size_t i = 1; i < run.scope_count; i++) {
        tables +=
            run.scopes[i].of && strcmp(run.scopes[i].of, "tables") == 0 ? run.scopes[i].listed : 0;
    }
    (void)printf("%u,%zu,%llu,%llu,%.3f,%.0f,%.3f\n", slots, run.shard_count,
                 (unsigned long long)tables, (unsigned long long)bytes, seconds,
                 (double)tables / seconds, (double)(discovered - start) / 1e6);
    for (unsigned i = 0; i < slots; i++) {
        reading_close(&slot[i].reading);
    }
    run_stop(&run);
    free(workflow);
    return records >= tables ? 0 : 1;
}
