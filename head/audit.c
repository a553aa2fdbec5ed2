// SPDX-License-Identifier: Apache-2.0
//
// audit.c - see audit.h.
//
// A check is a start that changes nothing: the jobs are made again from their entries as a head does
// it, with a port that sends nothing, and each batch that belongs to a commit is read.

#include "head/audit.h"

#include <inttypes.h>
#include <stdlib.h>

#include "head/cluster/cluster.h"
#include "head/cluster/entry.h"
#include "head/cluster/ledger.h"
#include "head/cluster/replay.h"
#include "proto/base/alloc.h"
#include "proto/record/json.h"

#define LETTERS_ONCE  1000
#define LETTERS_BYTES 8388608

// ---- dump

typedef struct dump {
    FILE *out;
    shoal_buffer_t line;
} dump_t;

static bool
dump_line(dump_t *dump, shoal_status_t *status)
{
    shoal_buffer_append_text(&dump->line, "}\n");
    bool done = fwrite(dump->line.ptr, 1, dump->line.len, dump->out) == dump->line.len;
    shoal_buffer_clear(&dump->line);
    return done || shoal_fail(status, SHOAL_IO, "could not write the dump");
}

static void
dump_number(dump_t *dump, const char *key, uint64_t value)
{
    shoal_buffer_append_format(&dump->line, "%s\"%s\":%" PRIu64, dump->line.len ? "," : "{", key,
                               value);
}

static void
dump_text(dump_t *dump, const char *key, shoal_slice_t text)
{
    shoal_buffer_append_format(&dump->line, "%s\"%s\":", dump->line.len ? "," : "{", key);
    shoal_json_write_text(text, &dump->line);
}

// A msgpack value; one that is none is left out, as `shoal journal check` tells of it.
static void
dump_value(dump_t *dump, const char *key, shoal_slice_t value)
{
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    size_t before = dump->line.len;
    shoal_buffer_append_format(&dump->line, ",\"%s\":", key);
    if (value.len == 0 || !shoal_json_write(value, &dump->line, &ignored)) {
        dump->line.len = before;
    }
}

static bool
dump_job(void *ctx, const shoal_journal_job_t *job, shoal_status_t *status)
{
    dump_t *dump = ctx;
    bool is_final = job->end.len > 0;
    dump_number(dump, "job", job->number);
    dump_text(dump, "id", job->id);
    dump_text(dump, "name", job->name);
    dump_number(dump, "created_ms", job->created_ms);
    dump_text(dump, "state",
              shoal_slice_of(is_final ? shoal_job_state_name((int)job->state) : "not final"));
    dump_value(dump, "submit", job->submit);
    if (is_final) {
        dump_number(dump, "finished_ms", job->finished_ms);
        dump_value(dump, "end", job->end);
        dump_value(dump, "outputs", job->outputs);
    }
    return dump_line(dump, status);
}

static void
dump_entry(dump_t *dump, shoal_slice_t entry)
{
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    shoal_cursor_t cursor = shoal_cursor_over(entry);
    uint32_t count = shoal_cursor_array(&cursor);
    const char *name = shoal_entry_name((int)shoal_cursor_uint(&cursor));
    shoal_buffer_append_format(&dump->line, ",\"entry\":[\"%s\"", name);
    for (uint32_t i = 1; i < count && !cursor.is_bad; i++) {
        shoal_buffer_append_byte(&dump->line, ',');
        if (!shoal_json_write(shoal_cursor_value(&cursor), &dump->line, &ignored)) {
            shoal_buffer_append_text(&dump->line, "null");
        }
    }
    shoal_buffer_append_byte(&dump->line, ']');
}

static bool
dump_entries(void *ctx, uint64_t job, shoal_slice_t entries, shoal_status_t *status)
{
    dump_t *dump = ctx;
    shoal_cursor_t cursor = shoal_cursor_over(entries);
    bool done = true;
    while (done && shoal_cursor_left(&cursor) > 0) {
        shoal_slice_t entry = shoal_cursor_value(&cursor);
        if (cursor.is_bad) {
            return shoal_fail(status, SHOAL_IO, "a row of job %" PRIu64 "'s log is malformed", job);
        }
        dump_number(dump, "job", job);
        dump_entry(dump, entry);
        done = dump_line(dump, status);
    }
    return done;
}

static bool
dump_letters(void *ctx, uint64_t job, const shoal_journal_letters_t *letters,
             shoal_status_t *status)
{
    dump_t *dump = ctx;
    dump_number(dump, "job", job);
    dump_number(dump, "letters", letters->count);
    dump_number(dump, "bytes", letters->bytes);
    return dump_line(dump, status);
}

static bool
dump_segment(void *ctx, uint64_t job, uint32_t number, uint64_t bytes, shoal_status_t *status)
{
    dump_t *dump = ctx;
    dump_number(dump, "job", job);
    dump_number(dump, "segment", number);
    dump_number(dump, "bytes", bytes);
    return dump_line(dump, status);
}

bool
shoal_audit_dump(const char *directory, FILE *out, shoal_status_t *status)
{
    shoal_journal_t *journal = NULL;
    if (!shoal_journal_view(directory, &journal, status)) {
        return false;
    }
    dump_t dump = {.out = out};
    shoal_journal_reader_t reader = {&dump, dump_job, dump_entries, dump_letters};
    dump_text(&dump, "head", shoal_slice_of(shoal_journal_head_id(journal)));
    dump_number(&dump, "lives", shoal_journal_life(journal));
    bool done = dump_line(&dump, status) && shoal_journal_read(journal, &reader, status) &&
                shoal_journal_read_segments(journal, dump_segment, &dump, status);
    shoal_buffer_fini(&dump.line);
    shoal_journal_close(&journal);
    return done;
}

// ---- check

typedef struct check {
    FILE *out;
    shoal_journal_t *journal;
    shoal_outputs_t *outputs;
    shoal_ledger_t *ledger;
    shoal_cluster_t *cluster;
    shoal_replay_t *replay;
    shoal_spool_place_t *places; // of the job's batches that belong to commits
    size_t place_count;
    size_t place_size;
    uint64_t job;
    uint64_t letter; // the last one that was read
    uint64_t letters;
    uint64_t bytes; // of records that were read
} check_t;

static void
check_tell(void *ctx, const char *text)
{
    const check_t *check = ctx;
    (void)fprintf(check->out, "%s\n", text);
}

// ---- a port and hooks that do nothing

static shoal_port_sent_t
no_call(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt, const char *method,
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
no_cancel(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, const char *reason)
{
    (void)ctx;
    (void)worker;
    (void)call;
    (void)number;
    (void)reason;
}

static void
no_grant(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, uint32_t bytes)
{
    (void)ctx;
    (void)worker;
    (void)call;
    (void)number;
    (void)bytes;
}

static void
no_actor(void *ctx, shoal_worker_t *worker, uint64_t job)
{
    (void)ctx;
    (void)worker;
    (void)job;
}

static void
no_change(void *ctx, shoal_job_t *job, bool is_urgent)
{
    (void)ctx;
    (void)job;
    (void)is_urgent;
}

static void
no_farewell(void *ctx, shoal_job_t *job)
{
    (void)ctx;
    (void)job;
}

static void
no_end(void *ctx, const shoal_job_t *job, const shoal_attempt_t *attempt, const shoal_status_t *why)
{
    (void)ctx;
    (void)job;
    (void)attempt;
    (void)why;
}

static void
no_credit(void *ctx, void *owner, uint32_t bytes)
{
    (void)ctx;
    (void)owner;
    (void)bytes;
}

static shoal_sent_t
no_piece(void *ctx, void *peer, const shoal_piece_t *piece, zmq_msg_t *payload)
{
    (void)ctx;
    (void)peer;
    (void)piece;
    (void)payload;
    return SHOAL_SENT_GONE;
}

static shoal_sent_t
no_output_end(void *ctx, void *peer, uint64_t job, uint64_t commits)
{
    (void)ctx;
    (void)peer;
    (void)job;
    (void)commits;
    return SHOAL_SENT_GONE;
}

static void
no_failure(void *ctx, void *peer, uint64_t job, const shoal_status_t *why)
{
    (void)ctx;
    (void)peer;
    (void)job;
    (void)why;
}

static void
no_trouble(void *ctx, const shoal_status_t *why)
{
    (void)ctx;
    (void)why;
}

static void
no_wait(void *ctx, uint64_t job, bool is_waiting)
{
    (void)ctx;
    (void)job;
    (void)is_waiting;
}

// ---- reading

static bool
check_job(void *ctx, const shoal_journal_job_t *row, shoal_status_t *status)
{
    const check_t *check = ctx;
    return shoal_replay_job(check->replay, row, SHOAL_SLICE("\xc0"), status); // args stay sealed
}

static bool
check_entries(void *ctx, uint64_t job, shoal_slice_t entries, shoal_status_t *status)
{
    const check_t *check = ctx;
    return shoal_replay_entries(check->replay, job, entries, status);
}

static bool
check_letter(void *ctx, uint64_t number, shoal_slice_t body, shoal_status_t *status)
{
    check_t *check = ctx;
    check->letter = number;
    check->letters++;
    return shoal_replay_letter(check->replay, check->job, body, status);
}

static bool
check_letters(void *ctx, uint64_t job, const shoal_journal_letters_t *letters,
              shoal_status_t *status)
{
    check_t *check = ctx;
    bool done = true;
    check->job = job;
    check->letter = 0;
    while (done && check->letter < letters->last) {
        done = shoal_journal_read_letters(check->journal, job, check->letter + 1, LETTERS_ONCE,
                                          LETTERS_BYTES, check_letter, check, status);
    }
    return done;
}

static bool
check_batch(void *ctx, const shoal_spool_batch_t *batch, shoal_status_t *status)
{
    (void)status;
    check_t *check = ctx;
    if (shoal_replay_batch(check->replay, check->job, batch)) {
        if (check->place_count == check->place_size) {
            check->place_size = check->place_size ? check->place_size * 2 : 64;
            check->places =
                shoal_realloc(check->places, check->place_size * sizeof(*check->places));
        }
        check->places[check->place_count++] = batch->place;
    }
    return true;
}

// Walks through the job's segments and reads what belongs to its commits.
static bool
check_output(check_t *check, shoal_status_t *status)
{
    shoal_spool_t *spool = shoal_outputs_spool(check->outputs);
    check->place_count = 0;
    bool done = shoal_spool_walk(spool, check->job, check_batch, check, status);
    for (size_t i = 0; done && i < check->place_count; i++) {
        zmq_msg_t payload;
        done = shoal_spool_read(spool, check->job, check->places[i], &payload, status);
        if (done) {
            check->bytes += zmq_msg_size(&payload);
            (void)zmq_msg_close(&payload);
        }
    }
    return done || shoal_fail_while(status, "job %" PRIu64, check->job);
}

static bool
check_all(check_t *check, shoal_status_t *status)
{
    shoal_journal_reader_t reader = {check, check_job, check_entries, check_letters};
    if (!shoal_journal_check(check->journal, status) ||
        !shoal_journal_read(check->journal, &reader, status)) {
        return false;
    }
    const shoal_job_t *job = shoal_cluster_first_job(check->cluster);
    for (; job; job = job->next) {
        check->job = job->number;
        if (job->output && !check_output(check, status)) {
            return false;
        }
    }
    return shoal_replay_finish(check->replay, 0, status);
}

static bool
check_open(check_t *check, const char *directory, shoal_status_t *status)
{
    if (!shoal_journal_view(directory, &check->journal, status)) {
        return false;
    }
    shoal_outputs_config_t outputs = {
        .directory = directory,
        .journal = check->journal,
        .is_view = true,
        .hooks = {.ctx = check,
                  .grant = no_credit,
                  .piece = no_piece,
                  .end = no_output_end,
                  .failed = no_failure,
                  .disk = no_trouble,
                  .waits = no_wait,
                  .mended = check_tell},
    };
    if (!shoal_outputs_new(&outputs, &check->outputs, status)) {
        return false;
    }
    check->ledger = shoal_ledger_new(NULL);
    shoal_cluster_config_t cluster = {
        .port = {check, no_call, no_cancel, no_grant, no_actor, no_change, no_farewell, no_end},
        .outputs = check->outputs,
        .ledger = check->ledger,
        .life = shoal_journal_life(check->journal),
        .lease_ms = 1,
    };
    check->cluster = shoal_cluster_new(&cluster);
    check->replay = shoal_replay_new(check->cluster);
    return true;
}

static void
check_close(check_t *check)
{
    shoal_replay_destroy(&check->replay);
    shoal_cluster_destroy(&check->cluster);
    shoal_outputs_destroy(&check->outputs);
    shoal_ledger_destroy(&check->ledger);
    shoal_journal_close(&check->journal);
    free(check->places);
}

static void
check_report(const check_t *check)
{
    const shoal_replay_counts_t *counts = shoal_replay_counts(check->replay);
    (void)fprintf(check->out,
                  "ok: %" PRIu64 " jobs, %" PRIu64 " of them not finished, with %" PRIu64
                  " entries; %" PRIu64 " dead letters; %" PRIu64 " batches of records with %" PRIu64
                  " bytes, and %" PRIu64 " of attempts that never counted\n",
                  counts->jobs, counts->running, counts->entries, check->letters, counts->batches,
                  check->bytes, counts->strays);
}

bool
shoal_audit_check(const char *directory, FILE *out, shoal_status_t *status)
{
    check_t check = {.out = out};
    bool done = check_open(&check, directory, status) && check_all(&check, status);
    if (done) {
        check_report(&check);
    }
    check_close(&check);
    return done;
}
