// SPDX-License-Identifier: Apache-2.0
//
// again.c - see sim.h: what the journal has is replayed beside the head that runs, and must make the
// same jobs: their shards, counts, books and cursors, as far as a log can know them.

#include <stdlib.h>

#include "head/cluster/replay.h"
#include "head/hub/hub_parts.h"
#include "tests/sim/disk.h"

// ---- a port for a cluster that nobody hears

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

// ---- comparing

// Which of ready and delayed a shard is depends on the clock, and on what the scheduler sets aside.
static int
kind_of(const shoal_shard_t *shard)
{
    return shard->state == SHOAL_SHARD_DELAYED ? SHOAL_SHARD_READY : shard->state;
}

static void
shard_compare(sim_t *sim, const shoal_job_t *job, uint32_t index, const shoal_shard_t *was,
              const shoal_shard_t *is)
{
    bool is_same = was && is && kind_of(was) == kind_of(is) && was->failures == is->failures &&
                   was->crashes == is->crashes && was->losses == is->losses &&
                   (was->state != SHOAL_SHARD_RUNNING || was->attempt == is->attempt);
    if ((was || is) && !is_same) {
        sim_violation(sim,
                      "job %llu: shard %u is %s (attempt %u, %u failures, %u crashes, %u losses), "
                      "and replayed %s (%u, %u, %u, %u)",
                      (unsigned long long)job->number, index,
                      was ? shoal_shard_state_name(was->state) : "absent", was ? was->attempt : 0,
                      was ? was->failures : 0, was ? was->crashes : 0, was ? was->losses : 0,
                      is ? shoal_shard_state_name(is->state) : "absent", is ? is->attempt : 0,
                      is ? is->failures : 0, is ? is->crashes : 0, is ? is->losses : 0);
    }
}

static void
books_compare(sim_t *sim, const shoal_job_t *was, const shoal_job_t *is)
{
    const shoal_books_t *a = &was->books;
    const shoal_books_t *b = &is->books;
    if (a->scope_end != b->scope_end || a->listed != b->listed || a->filtered != b->filtered ||
        a->vanished != b->vanished || a->failed != b->failed || a->successful != b->successful) {
        sim_violation(sim,
                      "job %llu: %llu records were listed, %llu delivered, %llu failed; replayed "
                      "%llu, %llu, %llu",
                      (unsigned long long)was->number, (unsigned long long)a->listed,
                      (unsigned long long)a->successful, (unsigned long long)a->failed,
                      (unsigned long long)b->listed, (unsigned long long)b->successful,
                      (unsigned long long)b->failed);
    }
    for (uint32_t i = 0; i < a->scope_end; i++) {
        const shoal_scope_t *x = &a->scopes[i];
        const shoal_scope_t *y = &b->scopes[i];
        if (x->is_listed != y->is_listed || x->listed != y->listed ||
            x->delivered != y->delivered || x->filtered != y->filtered ||
            x->vanished != y->vanished || x->dead != y->dead) {
            sim_violation(sim, "job %llu: the books of scope %u are others when replayed",
                          (unsigned long long)was->number, i);
        }
    }
}

static void
job_compare(sim_t *sim, const shoal_job_t *was, const shoal_job_t *is)
{
    unsigned long long number = was->number;
    if (!is || was->state != is->state) {
        sim_violation(sim, "job %llu is %s, and replayed %s", number,
                      shoal_job_state_name((int)was->state),
                      is ? shoal_job_state_name((int)is->state) : "nothing");
    }
    if (shoal_job_is_final(was)) {
        return;
    }
    if (was->stage != is->stage || was->shards != is->shards || was->done != is->done ||
        was->dead != is->dead || was->map_records != is->map_records ||
        was->is_discovered != is->is_discovered || was->is_limited != is->is_limited) {
        sim_violation(sim,
                      "job %llu is at %s with %llu shards, %llu done, %llu dead; replayed at %s "
                      "with %llu, %llu, %llu",
                      number, shoal_stage_name((int)was->stage), (unsigned long long)was->shards,
                      (unsigned long long)was->done, (unsigned long long)was->dead,
                      shoal_stage_name((int)is->stage), (unsigned long long)is->shards,
                      (unsigned long long)is->done, (unsigned long long)is->dead);
    }
    if (was->cursor_len != is->cursor_len ||
        (was->cursor_len > 0 && memcmp(was->cursor, is->cursor, was->cursor_len) != 0)) {
        sim_violation(sim, "job %llu has another cursor when it is replayed", number);
    }
    uint32_t end = shoal_backlog_end(was->backlog);
    for (uint32_t i = 0; i < end; i++) {
        shard_compare(sim, was, i, shoal_backlog_at(was->backlog, i),
                      shoal_backlog_at(is->backlog, i));
    }
    books_compare(sim, was, is);
}

// ---- replaying

static bool
read_job(void *ctx, const shoal_journal_job_t *row, shoal_status_t *status)
{
    return shoal_replay_job(ctx, row, SHOAL_SLICE("\xc0"), status);
}

static bool
read_entries(void *ctx, uint64_t job, shoal_slice_t entries, shoal_status_t *status)
{
    return shoal_replay_entries(ctx, job, entries, status);
}

static bool
read_letters(void *ctx, uint64_t job, const shoal_journal_letters_t *letters,
             shoal_status_t *status)
{
    (void)ctx;
    (void)job;
    (void)letters;
    (void)status;
    return true;
}

// Whether everything that was decided is on the disk.
static bool
is_settled(const sim_t *sim)
{
    const shoal_ledger_t *ledger = sim->hub->ledger;
    return sim->has_journal && sim->is_head_up && !sim->is_ended &&
           shoal_ledger_durable(ledger) == shoal_ledger_lsn(ledger);
}

void
sim_check_again(sim_t *sim)
{
    if (!is_settled(sim)) {
        return;
    }
    shoal_ledger_t *ledger = shoal_ledger_new(NULL);
    shoal_cluster_config_t config = {.port = {.call = port_call,
                                              .cancel = port_cancel,
                                              .grant = port_grant,
                                              .drop_actor = port_drop_actor,
                                              .changed = port_changed,
                                              .forgotten = port_forgotten,
                                              .ended = port_ended},
                                     .ledger = ledger,
                                     .life = 1,
                                     .lease_ms = SIM_LEASE_MS};
    shoal_cluster_t *cluster = shoal_cluster_new(&config);
    shoal_replay_t *replay = shoal_replay_new(cluster);
    shoal_journal_reader_t reader = {replay, read_job, read_entries, read_letters};
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (!shoal_journal_read(sim->hub->journal, &reader, &status)) {
        sim_violation(sim, "the journal cannot be replayed: %s", status.text);
    }
    const shoal_job_t *job = shoal_cluster_first_job(sim->hub->cluster);
    for (; job; job = job->next) {
        job_compare(sim, job, shoal_cluster_job(cluster, job->number));
    }
    shoal_replay_destroy(&replay);
    shoal_cluster_destroy(&cluster);
    shoal_ledger_destroy(&ledger);
}
