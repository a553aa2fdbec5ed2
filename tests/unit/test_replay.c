// SPDX-License-Identifier: Apache-2.0
//
// test_replay.c - what head/cluster/replay.h promises: a cluster that is driven at random, and the one that
// its ledger makes again, are the same after each group.
//
// SHOAL_SEED chooses the seed of the longest script.

#include <signal.h>

#include "head/cluster/cluster_parts.h" // to look into both
#include "head/cluster/replay.h"
#include "head/cluster/run.h"
#include "proto/record/writer.h"
#include "tests/support/paper.h"
#include "tests/support/random.h"

#define CALLS_MAX   512
#define WORKERS     4
#define GROUPS_MAX  4000
#define LEASE_MS    1000
#define ITEMS_MAX   65536
#define STEPS       1500
#define SHARDS_MOST 40 // of one job

typedef struct sent_call {
    int worker;
    uint64_t incarnation;
    uint64_t call;
    uint32_t number;
    char method[16];
    uint64_t batches;
} sent_call_t;

typedef struct world {
    shoal_cluster_t *cluster;
    shoal_ledger_t *ledger;
    paper_t paper;
    test_random_t random;
    uint64_t now_ms;
    sent_call_t calls[CALLS_MAX];
    size_t call_count;
    uint64_t seq[WORKERS];
    uint64_t incarnation[WORKERS]; // 0: never joined
    bool is_away[WORKERS];
    uint64_t next_shard;
    uint64_t next_job;
    char *dumps[GROUPS_MAX]; // as the cluster was when the group was closed
} world_t;

static uint64_t
below(world_t *world, uint64_t limit)
{
    return test_random_below(&world->random, limit);
}

// ---- the port

static shoal_port_sent_t
port_call(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt, const char *method,
          shoal_slice_t args, uint64_t limit, uint32_t credit)
{
    world_t *world = ctx;
    (void)args;
    (void)limit;
    (void)credit;
    if (below(world, 40) == 0) {
        return below(world, 2) ? SHOAL_PORT_CUT : SHOAL_PORT_FULL;
    }
    CHECK(world->call_count < CALLS_MAX);
    shoal_worker_add_actor(worker, attempt->job->number);
    sent_call_t *sent = &world->calls[world->call_count++];
    *sent = (sent_call_t){
        worker->id[1] - '0', worker->incarnation, attempt->call, attempt->number, "", 0};
    (void)snprintf(sent->method, sizeof(sent->method), "%s", method);
    return SHOAL_PORT_SENT;
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

static shoal_cluster_t *
cluster_new(world_t *world, shoal_ledger_t *ledger, uint64_t life)
{
    shoal_cluster_config_t config = {
        .port = {world, port_call, port_cancel, port_grant, port_drop_actor, port_changed,
                 port_forgotten, port_ended},
        .ledger = ledger,
        .life = life,
        .lease_ms = LEASE_MS,
        .seed = 7,
    };
    return shoal_cluster_new(&config);
}

// ---- a cluster as text: all that a restart must keep

static void
dump_shards(const shoal_job_t *job, shoal_buffer_t *out)
{
    for (uint32_t i = 0; i < shoal_backlog_end(job->backlog); i++) {
        const shoal_shard_t *shard = shoal_backlog_at(job->backlog, i);
        if (!shard) {
            continue;
        }
        // Back-offs and shards that wait to run alone begin anew: they are READY or DELAYED.
        int state = shard->state == SHOAL_SHARD_DELAYED ? SHOAL_SHARD_READY : shard->state;
        shoal_buffer_append_format(out,
                                   "  shard %u %s attempt %u failures %u crashes %u losses %u\n", i,
                                   shoal_shard_state_name(state), shard->attempt, shard->failures,
                                   shard->crashes, shard->losses);
        uint32_t tries = 0;
        shoal_buffer_append_slice(out, shoal_history_of(job->history, i, &tries));
    }
}

static void
dump_books(const shoal_books_t *books, shoal_buffer_t *out)
{
    for (uint32_t i = 0; i < books->scope_end; i++) {
        const shoal_scope_t *scope = shoal_books_scope(books, i);
        if (scope) {
            shoal_buffer_append_format(
                out, "  scope %u %d %d %llu %llu %llu %llu %llu %llu\n", i, scope->is_listed,
                scope->is_failed, (unsigned long long)scope->listed,
                (unsigned long long)scope->delivered, (unsigned long long)scope->filtered,
                (unsigned long long)scope->vanished, (unsigned long long)scope->appeared,
                (unsigned long long)scope->dead);
        }
    }
    shoal_buffer_append_format(
        out, "  books %llu %llu %llu %llu %llu\n", (unsigned long long)books->listed,
        (unsigned long long)books->filtered, (unsigned long long)books->vanished,
        (unsigned long long)books->failed, (unsigned long long)books->successful);
    for (size_t i = 0; i < books->kind_count; i++) {
        shoal_buffer_append_format(out, "  kind %s %llu\n", books->kinds[i].key,
                                   (unsigned long long)books->kinds[i].count);
    }
    for (size_t i = 0; i < books->warning_count; i++) {
        shoal_buffer_append_format(out, "  warning %s %llu\n", books->warnings[i].key,
                                   (unsigned long long)books->warnings[i].count);
    }
    for (size_t i = 0; i < books->error_count; i++) {
        const shoal_error_note_t *error = &books->errors[i];
        shoal_buffer_append_format(out, "  error %u %u %s %s %s %llu\n", error->error_class,
                                   error->code, error->text, error->where, error->worker,
                                   (unsigned long long)error->count);
    }
}

static void
dump_letters(const shoal_job_t *job, shoal_buffer_t *out)
{
    shoal_letter_t *letter;
    for (uint64_t from = 0; job->letters && (letter = shoal_letters_next(job->letters, from));) {
        from = letter->number + 1;
        shoal_buffer_append_format(out, "  letter %llu ", (unsigned long long)letter->number);
        shoal_buffer_append(out, letter->bytes, letter->len);
        shoal_buffer_append_text(out, "\n");
    }
}

static void
dump_job(const shoal_job_t *job, shoal_buffer_t *out)
{
    shoal_buffer_append_format(
        out, "job %llu %s %s %s of %llu run %u created %llu started %llu finished %llu\n",
        (unsigned long long)job->number, job->id, job->name, shoal_job_state_name((int)job->state),
        (unsigned long long)(job->of ? job->of->number : 0), job->run,
        (unsigned long long)job->created_ms, (unsigned long long)job->started_ms,
        (unsigned long long)job->finished_ms);
    shoal_buffer_append_format(out, "  shards %llu retried %llu dead %llu done %llu records %llu\n",
                               (unsigned long long)job->shards, (unsigned long long)job->retried,
                               (unsigned long long)job->dead, (unsigned long long)job->done,
                               (unsigned long long)job->records);
    dump_letters(job, out);
    if (shoal_job_is_final(job)) {
        shoal_buffer_append_slice(out, shoal_buffer_slice(&job->final_detail));
        return;
    }
    shoal_buffer_append_format(out, "  stage %s map %llu discovered %d limited %d cursors %u args ",
                               shoal_stage_name((int)job->stage),
                               (unsigned long long)job->map_records, job->is_discovered,
                               job->is_limited, job->cursors);
    shoal_buffer_append(out, job->args, job->args_len);
    shoal_buffer_append_text(out, " cursor ");
    shoal_buffer_append(out, job->cursor, job->cursor_len);
    shoal_buffer_append_text(out, "\n");
    dump_shards(job, out);
    dump_books(&job->books, out);
}

static char *
dump(const shoal_cluster_t *cluster)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    for (const shoal_job_t *job = shoal_cluster_first_job(cluster); job; job = job->next) {
        dump_job(job, &out);
    }
    for (size_t i = 0; i < out.len; i++) { // a C string, binary parts and all
        out.ptr[i] = out.ptr[i] ? out.ptr[i] : '0';
    }
    char *text = strdup(shoal_buffer_text(&out));
    shoal_buffer_fini(&out);
    return text;
}

// ---- the script

static void
submit(world_t *world)
{
    char id[24];
    (void)snprintf(id, sizeof(id), "job %llu", (unsigned long long)++world->next_job);
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    const shoal_job_t *base = NULL;
    unsigned unfinished = 0;
    for (shoal_job_t *job = shoal_cluster_first_job(world->cluster); job; job = job->next) {
        unfinished += !shoal_job_is_final(job);
        if (!job->of && shoal_job_is_final(job) && shoal_letters_count(job->letters) > 0) {
            base = job;
        }
    }
    if (unfinished > 2) {
        return;
    }
    if (base && below(world, 4)) {
        shoal_write_map(&spec, 1);
        shoal_write_key(&spec, "retry_of");
        shoal_write_uint(&spec, base->number);
    } else {
        shoal_write_map(&spec, 6);
        shoal_write_key(&spec, "class");
        shoal_write_key(&spec, "c");
        shoal_write_key(&spec, "name");
        shoal_write_key(&spec, "some job");
        shoal_write_key(&spec, "args");
        shoal_write_uint(&spec, world->next_job);
        shoal_write_key(&spec, "limit");
        shoal_write_uint(&spec, below(world, 6) ? 0 : 20);
        shoal_write_key(&spec, "plan_only");
        shoal_write_bool(&spec, below(world, 12) == 0);
        shoal_write_key(&spec, "retry");
        shoal_write_map(&spec, 2);
        shoal_write_key(&spec, "max_attempts");
        shoal_write_uint(&spec, 2);
        shoal_write_key(&spec, "backoff_ms");
        shoal_write_uint(&spec, 100);
    }
    shoal_job_t *job = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    bool is_taken = shoal_cluster_submit(world->cluster, shoal_slice_of(id),
                                         shoal_buffer_slice(&spec), world->now_ms, &job, &status);
    CHECK(is_taken || base); // a retry may be refused
    shoal_buffer_fini(&spec);
}

// The worker joins: as the same process with some of its calls, or as a new one, maybe after a crash.
static void
join(world_t *world, int index)
{
    char id[8];
    (void)snprintf(id, sizeof(id), "w%d", index);
    bool is_same = world->incarnation[index] > 0 && below(world, 2);
    shoal_buffer_t running = SHOAL_BUFFER_INIT;
    shoal_buffer_t last_exit = SHOAL_BUFFER_INIT;
    uint32_t count = 0;
    size_t mark = shoal_write_array_later(&running);
    for (size_t i = 0; is_same && i < world->call_count; i++) {
        if (world->calls[i].worker == index && below(world, 3)) {
            shoal_write_array(&running, 2);
            shoal_write_uint(&running, world->calls[i].call);
            shoal_write_uint(&running, world->calls[i].number);
            count++;
        }
    }
    shoal_write_count_now(&running, mark, count);
    if (!is_same) {
        world->incarnation[index]++;
        world->seq[index] = 0;
        if (below(world, 2)) {
            shoal_write_map(&last_exit, 1);
            shoal_write_key(&last_exit, "signal");
            shoal_write_uint(&last_exit, below(world, 2) ? SIGSEGV : SIGKILL);
        }
    }
    shoal_offer_t offer = {.id = shoal_slice_of(id),
                           .incarnation = world->incarnation[index],
                           .slots = 2,
                           .window = 3,
                           .classes = SHOAL_SLICE("\x91\xa1"
                                                  "c")};
    shoal_worker_t *worker = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_cluster_join(world->cluster, &offer, shoal_buffer_slice(&running),
                                shoal_buffer_slice(&last_exit), world->now_ms, &worker, &status),
             status);
    shoal_cluster_cancel_strays(world->cluster, worker, shoal_buffer_slice(&running));
    world->is_away[index] = false;
    shoal_buffer_fini(&running);
    shoal_buffer_fini(&last_exit);
}

static shoal_worker_t *
worker_of(world_t *world, int index)
{
    char id[8];
    (void)snprintf(id, sizeof(id), "w%d", index);
    return shoal_registry_find(shoal_cluster_registry(world->cluster), shoal_slice_of(id));
}

static void
leave(world_t *world, int index)
{
    shoal_worker_t *worker = worker_of(world, index);
    if (worker && !world->is_away[index]) {
        world->is_away[index] = true;
        shoal_cluster_lose(world->cluster, worker,
                           below(world, 2) ? SHOAL_WORKER_ON_LOSE : SHOAL_WORKER_ON_LEAVE,
                           "the test says so", world->now_ms);
    }
}

static void
write_shard(world_t *world, shoal_buffer_t *items, uint64_t shard)
{
    uint64_t stage = 1 + below(world, 3);
    uint64_t needs = shard > 1 && below(world, 3) == 0 ? shard - 1 : 0;
    shoal_write_map(items, 6);
    shoal_write_key(items, "shard");
    shoal_write_uint(items, shard);
    shoal_write_key(items, "stage");
    shoal_write_uint(items, stage);
    shoal_write_key(items, "needs");
    shoal_write_uint(items, stage == 1 ? 0 : needs);
    shoal_write_key(items, "cost");
    shoal_write_uint(items, below(world, 100000));
    shoal_write_key(items, "expects");
    shoal_write_array(items, 1);
    shoal_write_array(items, 2);
    shoal_write_uint(items, below(world, 4));
    shoal_write_uint(items, 3);
    shoal_write_key(items, "args");
    shoal_write_uint(items, shard);
}

static void
write_next(world_t *world, shoal_buffer_t *items)
{
    if (++world->next_shard % SHARDS_MOST == 0) {
        shoal_write_map(items, 1);
        shoal_write_key(items, "cursor");
        shoal_write_nil(items);
    } else {
        write_shard(world, items, world->next_shard % SHARDS_MOST);
    }
}

static void
items_stream(world_t *world, sent_call_t *call)
{
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    uint64_t records = 1 + below(world, 6);
    for (uint64_t i = 0; i < records; i++) {
        switch (below(world, 8)) {
        case 0:
            shoal_write_map(&items, 2);
            shoal_write_key(&items, "scope");
            shoal_write_uint(&items, below(world, 4));
            shoal_write_key(&items, below(world, 2) ? "listed" : "filtered");
            shoal_write_uint(&items, below(world, 30));
            break;
        case 1:
            shoal_write_map(&items, 1);
            shoal_write_key(&items, "cursor");
            shoal_write_uint(&items, world->next_shard);
            break;
        case 2:
            if (below(world, 100) == 0) { // malformed: the attempt fails in the middle
                shoal_write_uint(&items, 1);
            } else {
                write_next(world, &items);
            }
            break;
        default: write_next(world, &items); break;
        }
    }
    zmq_msg_t payload;
    CHECK(items.len < ITEMS_MAX && zmq_msg_init_size(&payload, items.len) == 0);
    memcpy(zmq_msg_data(&payload), items.ptr, items.len);
    const shoal_msg_batch_t batch = {
        .call = call->call, .attempt = call->number, .seq = call->batches++, .records = records};
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_cluster_batch(world->cluster, worker_of(world, call->worker), &batch, &payload,
                                 world->now_ms, &status),
             status);
    (void)zmq_msg_close(&payload);
    shoal_buffer_fini(&items);
}

static void
write_detail(world_t *world, shoal_buffer_t *detail)
{
    shoal_write_map(detail, 3);
    shoal_write_key(detail, "kinds");
    shoal_write_map(detail, 1);
    shoal_write_key(detail, "table");
    shoal_write_uint(detail, below(world, 8));
    shoal_write_key(detail, "scopes");
    shoal_write_array(detail, 1);
    shoal_write_array(detail, 6);
    for (int i = 0; i < 6; i++) {
        shoal_write_uint(detail, below(world, 4));
    }
    shoal_write_key(detail, "warnings");
    shoal_write_array(detail, 1);
    shoal_write_array(detail, 2);
    shoal_write_key(detail, "it was odd");
    shoal_write_uint(detail, 1);
}

static void
answer(world_t *world, size_t at)
{
    sent_call_t call = world->calls[at];
    if (strcmp(call.method, "discover") == 0 && below(world, 8)) {
        items_stream(world, &world->calls[at]);
        return;
    }
    world->calls[at] = world->calls[--world->call_count];
    if (call.incarnation != world->incarnation[call.worker]) {
        return; // of a process that is gone
    }
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    if (below(world, 2)) {
        write_detail(world, &detail);
    }
    bool is_work = strcmp(call.method, "check") != 0 && strcmp(call.method, "discover") != 0;
    uint64_t luck = below(world, is_work ? 8 : 60);
    shoal_msg_result_t result = {.seq = ++world->seq[call.worker],
                                 .call = call.call,
                                 .attempt = call.number,
                                 .outcome = luck < 2    ? 1
                                            : luck == 2 ? 2 + below(world, 2)
                                                        : 0,
                                 .error_class = luck == 0 ? SHOAL_TRANSIENT : SHOAL_FATAL,
                                 .code = 7,
                                 .reason = SHOAL_SLICE("it did not work")};
    if (luck == 1 && below(world, 30) == 0) {
        result.error_class = SHOAL_CONFIG; // which ends the job
    }
    result.detail = result.outcome == 0 ? shoal_buffer_slice(&detail) : SHOAL_SLICE_NONE;
    result.batches = call.batches; // a false count, where some were torn, is a failure too
    shoal_cluster_result(world->cluster, worker_of(world, call.worker), &result, world->now_ms);
    shoal_buffer_fini(&detail);
}

static void
stop_some(world_t *world)
{
    shoal_job_t *job = shoal_cluster_first_job(world->cluster);
    for (; job; job = job->next) {
        if (!shoal_job_is_final(job) && below(world, 3) == 0) {
            shoal_cluster_stop_job(world->cluster, job, "enough", world->now_ms);
            return;
        }
    }
}

static void
group_close(world_t *world)
{
    uint64_t before = world->paper.lsn;
    shoal_ledger_flush(world->ledger);
    if (world->paper.lsn > before) {
        CHECK(world->paper.lsn < GROUPS_MAX);
        world->dumps[world->paper.lsn] = dump(world->cluster);
    }
    if (below(world, 3)) {
        (void)shoal_ledger_pass(world->ledger, world->paper.lsn);
        shoal_cluster_durable(world->cluster);
    }
}

static void
step(world_t *world)
{
    int worker = (int)below(world, WORKERS);
    switch (below(world, 40)) {
    case 0: submit(world); break;
    case 1:
        if (below(world, 30) == 0) {
            stop_some(world);
        }
        break;
    case 2:
    case 3:
        if (world->is_away[worker] || below(world, 4) == 0) {
            join(world, worker);
        }
        break;
    case 4:
        if (below(world, 3) == 0) {
            leave(world, worker);
        }
        break;
    case 5: world->now_ms += below(world, below(world, 8) ? 200 : 2 * LEASE_MS); break;
    default:
        if (world->call_count > 0) {
            answer(world, below(world, world->call_count));
        }
        break;
    }
    shoal_cluster_run(world->cluster, ++world->now_ms);
    if (below(world, 3) == 0) {
        group_close(world);
    }
}

static void
world_open(world_t *world, uint64_t seed)
{
    *world = (world_t){.now_ms = 1000000, .random = {seed}};
    shoal_ledger_sink_t sink = paper_sink(&world->paper);
    world->ledger = shoal_ledger_new(&sink);
    world->cluster = cluster_new(world, world->ledger, 1);
    for (int i = 0; i < WORKERS; i++) {
        join(world, i);
    }
    submit(world);
    group_close(world);
}

static void
world_close(world_t *world)
{
    shoal_cluster_destroy(&world->cluster);
    shoal_ledger_destroy(&world->ledger);
    for (size_t i = 0; i < GROUPS_MAX; i++) {
        free(world->dumps[i]);
    }
    paper_free(&world->paper);
}

// ---- reading it back

// The note that is the job's row up to `lsn`, with its end if it has one; NULL: there is no such job.
static const paper_note_t *
row_of(const paper_t *paper, uint64_t job, uint64_t lsn, const paper_note_t **ret_end)
{
    const paper_note_t *row = NULL;
    *ret_end = NULL;
    for (size_t i = 0; i < paper->open && paper->notes[i].lsn <= lsn; i++) {
        const paper_note_t *note = &paper->notes[i];
        if (note->job != job) {
            continue;
        }
        row = note->kind == PAPER_OPEN ? note : note->kind == PAPER_FORGET ? NULL : row;
        *ret_end = note->kind == PAPER_END ? note : *ret_end;
    }
    return row;
}

static bool
letters_read(shoal_replay_t *replay, const paper_t *paper, uint64_t job, uint64_t lsn,
             shoal_status_t *status)
{
    for (uint64_t number = 1; number < 200; number++) {
        const paper_note_t *letter = NULL;
        for (size_t i = 0; i < paper->open && paper->notes[i].lsn <= lsn; i++) {
            const paper_note_t *note = &paper->notes[i];
            if (note->job == job && note->number == number) {
                letter = note->kind == PAPER_LETTER ? note : NULL;
            }
        }
        if (letter &&
            !shoal_replay_letter(replay, job, shoal_buffer_slice(&letter->bytes), status)) {
            return false;
        }
    }
    return true;
}

static shoal_slice_t
args_of(const paper_t *paper, uint64_t job)
{
    for (size_t i = 0; i < paper->open; i++) {
        if (paper->notes[i].kind == PAPER_SEAL && paper->notes[i].job == job) {
            return shoal_buffer_slice(&paper->notes[i].bytes);
        }
    }
    return SHOAL_SLICE_NONE;
}

// Replays what is durable up to `lsn`, of the last job's log only `cut` bytes.
static bool
replay_up_to(shoal_replay_t *replay, const paper_t *paper, uint64_t lsn, uint64_t jobs, size_t cut,
             shoal_status_t *status)
{
    for (uint64_t job = 1; job <= jobs; job++) {
        const paper_note_t *end = NULL;
        const paper_note_t *note = row_of(paper, job, lsn, &end);
        if (!note) {
            continue;
        }
        shoal_journal_job_t row = note->row;
        if (end) {
            row.state = end->row.state;
            row.end = end->row.end;
            row.outputs = end->row.outputs;
            row.finished_ms = end->row.finished_ms;
        }
        if (!shoal_replay_job(replay, &row, args_of(paper, job), status) ||
            !letters_read(replay, paper, job, lsn, status)) {
            return false;
        }
        if (end && row_of(paper, job, lsn, &end)) {
            continue; // its log is gone
        }
        size_t left = job == jobs ? cut : SIZE_MAX;
        for (size_t i = 0; i < paper->open && paper->notes[i].lsn <= lsn && left > 0; i++) {
            const paper_note_t *entries = &paper->notes[i];
            if (entries->job == job && entries->kind == PAPER_ENTRIES) {
                shoal_slice_t log = shoal_buffer_slice(&entries->bytes);
                log.len = log.len < left ? log.len : left;
                left -= log.len;
                if (!shoal_replay_entries(replay, job, log, status)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void
check_same(const char *lived, const char *replayed, uint64_t lsn)
{
    if (strcmp(lived, replayed) == 0) {
        return;
    }
    size_t line = 0;
    for (size_t i = 0; lived[i] && lived[i] == replayed[i]; i++) {
        line = lived[i] == '\n' ? i + 1 : line;
    }
    fail_msg("after group %llu: it was\n%.300s\nand became\n%.300s", (unsigned long long)lsn,
             lived + line, replayed + line);
}

// The replayed jobs come to their ends when everything goes well from here.
static void
drive_to_the_end(world_t *world)
{
    for (unsigned turn = 0; turn < 4000; turn++) {
        bool is_over = true;
        for (shoal_job_t *job = shoal_cluster_first_job(world->cluster); job; job = job->next) {
            is_over = is_over && shoal_job_is_final(job);
        }
        if (is_over) {
            return;
        }
        for (int i = 0; turn % 50 == 0 && i < WORKERS; i++) { // a new process, without a report
            world->incarnation[i] += 100;
            world->seq[i] = 0;
            char id[8];
            (void)snprintf(id, sizeof(id), "w%d", i);
            shoal_offer_t offer = {.id = shoal_slice_of(id),
                                   .incarnation = world->incarnation[i],
                                   .slots = 2,
                                   .window = 3,
                                   .classes = SHOAL_SLICE("\x91\xa1"
                                                          "c")};
            shoal_worker_t *worker = NULL;
            shoal_status_t status = SHOAL_STATUS_INIT;
            CHECK_OK(shoal_cluster_join(world->cluster, &offer, SHOAL_SLICE_NONE, SHOAL_SLICE_NONE,
                                        world->now_ms, &worker, &status),
                     status);
        }
        while (world->call_count > 0) {
            sent_call_t call = world->calls[--world->call_count];
            if (call.incarnation == world->incarnation[call.worker]) {
                shoal_msg_result_t result = {
                    .seq = ++world->seq[call.worker], .call = call.call, .attempt = call.number};
                shoal_cluster_result(world->cluster, worker_of(world, call.worker), &result,
                                     world->now_ms);
            }
        }
        world->now_ms += 300;
        shoal_cluster_run(world->cluster, world->now_ms);
    }
    fail_msg("a replayed job does not end");
}

static void
check_group(world_t *world, uint64_t lsn)
{
    world_t *again = calloc(1, sizeof(*again));
    shoal_status_t status = SHOAL_STATUS_INIT;
    again->random = (test_random_t){lsn};
    again->now_ms = world->now_ms;
    shoal_ledger_sink_t sink = paper_sink(&again->paper);
    again->ledger = shoal_ledger_new(&sink);
    again->cluster = cluster_new(again, again->ledger, 2);
    memcpy(again->incarnation, world->incarnation, sizeof(again->incarnation));
    shoal_replay_t *replay = shoal_replay_new(again->cluster);
    CHECK_OK(replay_up_to(replay, &world->paper, lsn, world->next_job, SIZE_MAX, &status), status);
    for (shoal_job_t *job = shoal_cluster_first_job(again->cluster); job; job = job->next) {
        if (job->of && !shoal_job_is_final(job)) {
            shoal_run_restore(job);
        }
    }
    char *replayed = dump(again->cluster);
    check_same(world->dumps[lsn], replayed, lsn);
    free(replayed);
    CHECK_OK(shoal_replay_finish(replay, again->now_ms, &status), status);
    shoal_replay_destroy(&replay);
    if (lsn % 16 == 0) { // the others cost too much time
        shoal_ledger_flush(again->ledger);
        again->cluster->ledger = shoal_ledger_new(NULL); // nothing is held back
        drive_to_the_end(again);
        shoal_ledger_destroy(&again->cluster->ledger);
        again->cluster->ledger = again->ledger;
    }
    shoal_cluster_destroy(&again->cluster);
    shoal_ledger_destroy(&again->ledger);
    paper_free(&again->paper);
    free(again);
}

static void
run_script(uint64_t seed, unsigned steps)
{
    world_t *world = calloc(1, sizeof(*world));
    world_open(world, seed);
    for (unsigned i = 0; i < steps; i++) {
        step(world);
    }
    group_close(world);
    for (uint64_t lsn = 1; lsn <= world->paper.lsn; lsn++) {
        check_group(world, lsn);
    }
    world_close(world);
    free(world);
}

static void
a_replayed_cluster_is_the_one_that_was(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        run_script(seed, 400);
    }
    test_random_t random = test_random_start();
    run_script(test_random_next(&random), STEPS);
}

// The bytes of the first job's log before it ended; `ret_lsn`: the last group with a part of it.
static size_t
first_log(const paper_t *paper, uint64_t *ret_lsn)
{
    size_t bytes = 0;
    *ret_lsn = 0;
    for (size_t i = 0; i < paper->open; i++) {
        const paper_note_t *note = &paper->notes[i];
        if (note->job == 1 && note->kind == PAPER_END) {
            break;
        }
        if (note->job == 1 && note->kind == PAPER_ENTRIES) {
            bytes += note->bytes.len;
            *ret_lsn = note->lsn;
        }
    }
    return bytes;
}

static void
a_log_that_is_cut_anywhere_is_replayed_up_to_there_or_refused(void)
{
    world_t *world = calloc(1, sizeof(*world));
    uint64_t lsn = 0;
    size_t bytes = 0;
    for (uint64_t seed = 1; bytes < 1000; seed++) { // one whose first job lives long
        if (seed > 1) {
            world_close(world);
        }
        world_open(world, seed);
        for (unsigned i = 0; i < 300; i++) {
            step(world);
        }
        bytes = first_log(&world->paper, &lsn);
    }
    size_t accepted = 0;
    size_t refused = 0;
    for (size_t cut = 0; cut <= bytes; cut++) {
        shoal_cluster_t *cluster = cluster_new(world, NULL, 2);
        shoal_replay_t *replay = shoal_replay_new(cluster);
        shoal_status_t status = SHOAL_STATUS_INIT;
        if (replay_up_to(replay, &world->paper, lsn, 1, cut, &status)) {
            CHECK_OK(shoal_replay_finish(replay, world->now_ms, &status), status);
            accepted++;
        } else {
            CHECK(status.code == SHOAL_IO);
            CHECK_SAYS(status.text, "job 1");
            CHECK_SAYS(status.text, "byte");
            refused++;
        }
        world->call_count = 0;
        shoal_replay_destroy(&replay);
        shoal_cluster_destroy(&cluster);
    }
    CHECK(accepted > 20 && refused > 500 && accepted + refused == bytes + 1);
    world_close(world);
    free(world);
}

// What is well-formed and cannot have happened is refused, never believed.
static void
impossible_entries_are_refused(void)
{
    static const shoal_entry_t wrong[] = {
        {.kind = SHOAL_ENTRY_START, .shard = 99, .attempt = 1, .worker = 1},
        {.kind = SHOAL_ENTRY_START, .shard = 0, .attempt = 0, .worker = 1},
        {.kind = SHOAL_ENTRY_START, .shard = 0, .attempt = 1, .worker = 77},
        {.kind = SHOAL_ENTRY_START, .shard = 1, .attempt = 1, .worker = 1},
        {.kind = SHOAL_ENTRY_DONE, .shard = 0, .attempt = 1},
        {.kind = SHOAL_ENTRY_FAILED, .shard = 0, .attempt = 1},
        {.kind = SHOAL_ENTRY_ITEMS, .attempt = 1, .bytes = {"\x80", 1}},
        {.kind = SHOAL_ENTRY_CRASHED, .shard = 99},
        {.kind = SHOAL_ENTRY_WORKER, .worker = UINT64_MAX, .id = {"w", 1}},
        {.kind = SHOAL_ENTRY_WORKER, .worker = 2, .id = {"w", 1}, .bytes = {"no key", 6}},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        world_t world = {0};
        world.cluster = cluster_new(&world, NULL, 1);
        shoal_replay_t *replay = shoal_replay_new(world.cluster);
        shoal_journal_job_t row = {.number = 1,
                                   .id = SHOAL_SLICE("one"),
                                   .submit = SHOAL_SLICE("\x81\xa5"
                                                         "class\xa1"
                                                         "c")};
        shoal_status_t status = SHOAL_STATUS_INIT;
        CHECK_OK(shoal_replay_job(replay, &row, SHOAL_SLICE("\xc0"), &status), status);
        shoal_buffer_t log = SHOAL_BUFFER_INIT;
        shoal_entry_t who = {.kind = SHOAL_ENTRY_WORKER, .worker = 1, .id = {"w1", 2}};
        shoal_entry_write(&log, &who);
        shoal_entry_write(&log, &wrong[i]);
        CHECK_FAILS(shoal_replay_entries(replay, 1, shoal_buffer_slice(&log), &status), status,
                    SHOAL_IO);
        CHECK_SAYS(status.text, "job 1");
        shoal_buffer_fini(&log);
        shoal_replay_destroy(&replay);
        shoal_cluster_destroy(&world.cluster);
    }
}

TEST_MAIN(TEST(a_replayed_cluster_is_the_one_that_was),
          TEST(a_log_that_is_cut_anywhere_is_replayed_up_to_there_or_refused),
          TEST(impossible_entries_are_refused))
