// SPDX-License-Identifier: Apache-2.0
//
// recovery.c - see hub_parts.h: the journal at the start, and what the head knew when it ended.

#include <inttypes.h>

#include "head/cluster/notes.h"
#include "head/cluster/replay.h"
#include "head/hub/hub_parts.h"

bool
shoal_hub_open_journal(shoal_hub_t *hub, shoal_status_t *status)
{
    if (!hub->config->has_journal) {
        return true;
    }
    if (!shoal_journal_open(hub->config->state, &hub->journal, status) ||
        !shoal_vault_open(hub->config->state, &hub->vault, status)) {
        return shoal_fail_while(status, "cannot open the state in \"%s\"", hub->config->state);
    }
    (void)snprintf(hub->id, sizeof(hub->id), "%s", shoal_journal_head_id(hub->journal));
    return true;
}

void
shoal_hub_open_ledger(shoal_hub_t *hub)
{
    if (hub->journal) {
        shoal_ledger_sink_t sink = shoal_notes_sink(hub->outputs);
        hub->ledger = shoal_ledger_new(&sink);
    } else {
        hub->ledger = shoal_ledger_new(NULL);
    }
}

typedef struct reading {
    shoal_hub_t *hub;
    shoal_replay_t *replay;
    uint64_t job;    // whose letters are read, or batches walked through
    uint64_t letter; // the last one read
} reading_t;

static bool
read_job(void *ctx, const shoal_journal_job_t *row, shoal_status_t *status)
{
    reading_t *reading = ctx;
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    bool is_final = row->end.len > 0;
    bool done = (is_final || shoal_vault_get(reading->hub->vault, row->number, &args, status)) &&
                shoal_replay_job(reading->replay, row, shoal_buffer_slice(&args), status);
    shoal_private_wipe(&args);
    return done;
}

static bool
read_entries(void *ctx, uint64_t job, shoal_slice_t entries, shoal_status_t *status)
{
    const reading_t *reading = ctx;
    return shoal_replay_entries(reading->replay, job, entries, status);
}

static bool
read_letter(void *ctx, uint64_t number, shoal_slice_t body, shoal_status_t *status)
{
    reading_t *reading = ctx;
    reading->letter = number;
    return shoal_replay_letter(reading->replay, reading->job, body, status);
}

// All letters of the job, and the arguments that trying them again would need.
static bool
read_letters(void *ctx, uint64_t job, const shoal_journal_letters_t *letters,
             shoal_status_t *status)
{
    reading_t *reading = ctx;
    shoal_hub_t *hub = reading->hub;
    reading->job = job;
    reading->letter = 0;
    while (reading->letter < letters->last) {
        if (!shoal_journal_read_letters(hub->journal, job, reading->letter + 1, SHOAL_LETTERS_MAX,
                                        SHOAL_LETTERS_BYTES_MAX, read_letter, reading, status)) {
            return false;
        }
    }
    if (!shoal_job_is_final(shoal_cluster_job(hub->cluster, job))) {
        return true;
    }
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    bool done = shoal_vault_get(hub->vault, job, &args, status);
    if (done) {
        shoal_replay_args(reading->replay, job, shoal_buffer_slice(&args));
    }
    shoal_private_wipe(&args);
    return done;
}

static bool
read_batch(void *ctx, const shoal_spool_batch_t *batch, shoal_status_t *status)
{
    const reading_t *reading = ctx;
    (void)status;
    if (!shoal_replay_batch(reading->replay, reading->job, batch)) {
        shoal_outputs_release(reading->hub->outputs, reading->job, batch->place);
    }
    return true;
}

static bool
keep_box(void *ctx, uint64_t job)
{
    return shoal_cluster_job(ctx, job) != NULL;
}

static bool
read_all(reading_t *reading, shoal_status_t *status)
{
    shoal_hub_t *hub = reading->hub;
    shoal_journal_reader_t reader = {reading, read_job, read_entries, read_letters};
    if (!shoal_journal_read(hub->journal, &reader, status)) {
        return false;
    }
    (void)shoal_vault_sweep(hub->vault, keep_box, hub->cluster);
    shoal_spool_t *spool = shoal_outputs_spool(hub->outputs);
    const shoal_job_t *job = shoal_cluster_first_job(hub->cluster);
    for (; job; job = job->next) {
        reading->job = job->number;
        if (job->output && !shoal_spool_walk(spool, job->number, read_batch, reading, status)) {
            return shoal_fail_while(status, "cannot restore the output of job %" PRIu64,
                                    job->number);
        }
    }
    return shoal_replay_finish(reading->replay, hub->now_ms, status);
}

bool
shoal_hub_recover(shoal_hub_t *hub, shoal_status_t *status)
{
    if (!hub->journal) {
        return true;
    }
    uint64_t began_us = shoal_clock_us();
    reading_t reading = {.hub = hub, .replay = shoal_replay_new(hub->cluster)};
    bool done = read_all(&reading, status);
    const shoal_replay_counts_t *counts = shoal_replay_counts(reading.replay);
    if (done && counts->jobs > 0) {
        shoal_log(hub->log, SHOAL_LOG_INFO, "HEAD-RECOVERED",
                  "jobs=%" PRIu64 " running=%" PRIu64 " entries=%" PRIu64 " attempts=%" PRIu64
                  " returned=%" PRIu64 " batches=%" PRIu64 " released=%" PRIu64 " ms=%" PRIu64,
                  counts->jobs, counts->running, counts->entries, counts->attempts,
                  counts->returned, counts->batches, counts->strays,
                  (shoal_clock_us() - began_us) / 1000);
    }
    shoal_replay_destroy(&reading.replay);
    return done;
}
