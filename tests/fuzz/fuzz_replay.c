// SPDX-License-Identifier: Apache-2.0
//
// fuzz_replay.c - a job's log as the journal may have it (head/cluster/entry.h, head/cluster/replay.h): any bytes are
// read as entries and written back, and applied to a job; the head must say what is wrong, or go on.

#include <string.h>

#include "head/cluster/entry.h"
#include "head/cluster/replay.h"
#include "proto/record/writer.h"
#include "tests/fuzz/fuzz.h"

// ---- a port that sends nothing: replaying must not

static shoal_port_sent_t
port_call(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt, const char *method,
          shoal_slice_t args, uint64_t limit, uint32_t credit)
{
    (void)ctx;
    (void)worker;
    (void)attempt;
    (void)method;
    (void)args;
    (void)limit;
    (void)credit;
    return SHOAL_PORT_CUT;
}

static void
port_cancel(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, const char *reason)
{
    (void)ctx;
    (void)worker;
    (void)call;
    (void)number;
    (void)reason;
}

static void
port_grant(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, uint32_t bytes)
{
    (void)ctx;
    (void)worker;
    (void)call;
    (void)number;
    (void)bytes;
}

static void
port_drop_actor(void *ctx, shoal_worker_t *worker, uint64_t job)
{
    (void)ctx;
    (void)worker;
    (void)job;
}

static void
port_changed(void *ctx, shoal_job_t *job, bool is_urgent)
{
    (void)ctx;
    (void)job;
    (void)is_urgent;
}

static void
port_forgotten(void *ctx, shoal_job_t *job)
{
    (void)ctx;
    (void)job;
}

static void
port_ended(void *ctx, const shoal_job_t *job, const shoal_attempt_t *attempt,
           const shoal_status_t *why)
{
    (void)ctx;
    (void)job;
    (void)attempt;
    (void)why;
}

// What is read as an entry writes itself back as one that reads the same.
static void
entries_check(shoal_slice_t log)
{
    size_t at = 0;
    shoal_entry_t entry;
    shoal_status_t status = SHOAL_STATUS_INIT;
    while (at < log.len) {
        size_t before = at;
        if (!shoal_entry_read(log, &at, &entry, &status)) {
            FUZZ_CHECK(status.code == SHOAL_IO && status.text[0]);
            return;
        }
        FUZZ_CHECK(at > before && at <= log.len);
        shoal_buffer_t once = SHOAL_BUFFER_INIT;
        shoal_buffer_t again = SHOAL_BUFFER_INIT;
        shoal_entry_write(&once, &entry);
        size_t from = 0;
        shoal_entry_t copy;
        FUZZ_CHECK(shoal_entry_read(shoal_buffer_slice(&once), &from, &copy, &status));
        shoal_entry_write(&again, &copy);
        FUZZ_CHECK(from == once.len);
        FUZZ_CHECK(shoal_slice_equal(shoal_buffer_slice(&once), shoal_buffer_slice(&again)));
        shoal_buffer_fini(&once);
        shoal_buffer_fini(&again);
    }
}

static void
spec_write(shoal_buffer_t *spec)
{
    shoal_write_map(spec, 2);
    shoal_write_key(spec, "class");
    shoal_write_key(spec, "c");
    shoal_write_key(spec, "retry");
    shoal_write_map(spec, 2);
    shoal_write_key(spec, "max_attempts");
    shoal_write_uint(spec, 3);
    shoal_write_key(spec, "backoff_ms");
    shoal_write_uint(spec, 100);
}

static void
replay(shoal_cluster_t *cluster, shoal_slice_t log)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    spec_write(&spec);
    shoal_replay_t *replay = shoal_replay_new(cluster);
    shoal_journal_job_t row = {.number = 1,
                               .id = SHOAL_SLICE("job"),
                               .submit = shoal_buffer_slice(&spec),
                               .created_ms = 1000};
    FUZZ_CHECK(shoal_replay_job(replay, &row, SHOAL_SLICE("\xc0"), &status));
    bool is_good =
        shoal_replay_entries(replay, 1, log, &status) && shoal_replay_finish(replay, 5000, &status);
    FUZZ_CHECK(is_good || (status.code == SHOAL_IO && status.text[0]));
    if (is_good) { // and the head goes on with it
        for (uint64_t now_ms = 5000; now_ms < 50000; now_ms += 5000) {
            shoal_cluster_run(cluster, now_ms);
        }
    }
    shoal_replay_destroy(&replay);
    shoal_buffer_fini(&spec);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    shoal_slice_t log = fuzz_slice(bytes, size);
    entries_check(log);
    shoal_ledger_t *ledger = shoal_ledger_new(NULL);
    shoal_cluster_config_t config = {.port = {.call = port_call,
                                              .cancel = port_cancel,
                                              .grant = port_grant,
                                              .drop_actor = port_drop_actor,
                                              .changed = port_changed,
                                              .forgotten = port_forgotten,
                                              .ended = port_ended},
                                     .ledger = ledger,
                                     .lease_ms = 1000,
                                     .life = 2,
                                     .seed = 7};
    shoal_cluster_t *cluster = shoal_cluster_new(&config);
    replay(cluster, log);
    shoal_cluster_destroy(&cluster);
    shoal_ledger_destroy(&ledger);
    return 0;
}
