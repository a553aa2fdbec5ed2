// SPDX-License-Identifier: Apache-2.0
//
// fuzz_cluster.c - any order of what peers may say to the head's decisions (head/cluster/cluster.h): each
// byte chooses an operation, the next ones its arguments, and some take the rest as what came.

#include <string.h>

#include "head/cluster/cluster.h"
#include "proto/record/writer.h"
#include "tests/fuzz/fuzz.h"

#define LEASE_MS  1000
#define CALLS_MAX 32
#define STEPS_MAX 400
#define RAW_MAX   64
#define WORKERS   4

typedef struct given {
    char worker[4];
    uint64_t call;
    uint32_t number;
    uint64_t batches;
    uint64_t records;
} given_t;

typedef struct world {
    shoal_cluster_t *cluster;
    const uint8_t *at;
    const uint8_t *end;
    uint64_t now_ms;
    uint64_t seq[WORKERS];
    given_t calls[CALLS_MAX]; // the last ones that were given out
    uint32_t call_count;
    uint32_t call_next;
} world_t;

static uint8_t
byte(world_t *world)
{
    return world->at < world->end ? *world->at++ : 0;
}

static shoal_slice_t
raw(world_t *world)
{
    size_t len = byte(world) % RAW_MAX;
    size_t left = (size_t)(world->end - world->at);
    shoal_slice_t slice = fuzz_slice(world->at, len < left ? len : left);
    world->at += slice.len;
    return slice;
}

// ---- the port

static shoal_port_sent_t
port_call(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt, const char *method,
          shoal_slice_t args, uint64_t limit, uint32_t credit)
{
    world_t *world = ctx;
    (void)limit;
    FUZZ_CHECK(method[0] && credit > 0 && args.len < 1048576);
    FUZZ_CHECK(worker->state == SHOAL_WORKER_ALIVE && worker->running > 0);
    uint8_t how = byte(world);
    if (how > 250) {
        return how > 253 ? SHOAL_PORT_FULL : SHOAL_PORT_CUT;
    }
    shoal_worker_add_actor(worker, attempt->job->number);
    given_t *given = &world->calls[world->call_next++ % CALLS_MAX];
    *given = (given_t){.call = attempt->call, .number = attempt->number};
    memcpy(given->worker, worker->id, 3);
    world->call_count += world->call_count < CALLS_MAX;
    return SHOAL_PORT_SENT;
}

static void
port_cancel(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, const char *reason)
{
    (void)ctx;
    (void)call;
    (void)number;
    FUZZ_CHECK(worker->id[0] && reason[0]);
}

static void
port_grant(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, uint32_t bytes)
{
    (void)ctx;
    (void)call;
    (void)number;
    FUZZ_CHECK(worker->id[0] && bytes > 0);
}

static void
port_drop_actor(void *ctx, shoal_worker_t *worker, uint64_t job)
{
    (void)ctx;
    FUZZ_CHECK(worker->id[0] && job > 0);
}

static void
port_changed(void *ctx, shoal_job_t *job, bool is_urgent)
{
    (void)ctx;
    (void)is_urgent;
    FUZZ_CHECK(job->number > 0);
}

static void
port_forgotten(void *ctx, shoal_job_t *job)
{
    (void)ctx;
    FUZZ_CHECK(job->number > 0);
}

static void
port_ended(void *ctx, const shoal_job_t *job, const shoal_attempt_t *attempt,
           const shoal_status_t *why)
{
    (void)ctx;
    FUZZ_CHECK(job == attempt->job && why->text[0]);
}

// ---- operations

static const char *const ids[WORKERS] = {"w0", "w1", "w2", "w3"};

static shoal_worker_t *
worker_some(world_t *world)
{
    return shoal_registry_find(shoal_cluster_registry(world->cluster),
                               shoal_slice_of(ids[byte(world) % WORKERS]));
}

static given_t *
call_some(world_t *world)
{
    return world->call_count > 0 ? &world->calls[byte(world) % world->call_count] : NULL;
}

static shoal_worker_t *
worker_of(world_t *world, const given_t *given)
{
    return shoal_registry_find(shoal_cluster_registry(world->cluster),
                               shoal_slice_of(given->worker));
}

static void
put_running(world_t *world, const char *id, shoal_buffer_t *out)
{
    uint32_t count = 0;
    size_t mark = shoal_write_array_later(out);
    for (uint32_t i = 0; i < world->call_count; i++) {
        if (strcmp(world->calls[i].worker, id) == 0 && byte(world) % 2) {
            shoal_write_array(out, 2);
            shoal_write_uint(out, world->calls[i].call);
            shoal_write_uint(out, world->calls[i].number);
            count++;
        }
    }
    shoal_write_count_now(out, mark, count);
}

static void
do_join(world_t *world)
{
    static const shoal_slice_t exits[] = {
        {NULL, 0}, {"\x81\xa6signal\x0b", 9}, {"\x81\xa6signal\x09", 9}};
    size_t index = byte(world) % WORKERS;
    uint8_t how = byte(world);
    shoal_buffer_t list = SHOAL_BUFFER_INIT;
    put_running(world, ids[index], &list);
    shoal_slice_t running = how % 8 == 7 ? raw(world) : shoal_buffer_slice(&list);
    shoal_offer_t offer = {.id = shoal_slice_of(ids[index]),
                           .incarnation = how % 3,
                           .slots = byte(world) % 5,
                           .window = byte(world) % 8,
                           .classes = SHOAL_SLICE("\x91\xa1\x63")};
    if (how % 16 == 5) {
        offer.classes = raw(world);
    }
    shoal_slice_t last_exit = how > 250 ? raw(world) : exits[how % 3];
    shoal_worker_t *known = shoal_registry_find(shoal_cluster_registry(world->cluster), offer.id);
    bool is_same = known && known->incarnation == offer.incarnation;
    shoal_worker_t *worker = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (shoal_cluster_join(world->cluster, &offer, running, last_exit, world->now_ms, &worker,
                           &status)) {
        shoal_cluster_cancel_strays(world->cluster, worker, running);
        world->seq[index] = is_same ? world->seq[index] : 0;
    } else {
        FUZZ_CHECK(status.text[0]);
    }
    shoal_buffer_fini(&list);
}

static void
do_result(world_t *world)
{
    const given_t *given = call_some(world);
    shoal_worker_t *worker = given ? worker_of(world, given) : NULL;
    if (!worker) {
        return;
    }
    uint8_t how = byte(world);
    uint64_t *seq = &world->seq[given->worker[1] - '0'];
    shoal_msg_result_t result = {.seq = how % 8 == 0 ? *seq : ++*seq,
                                 .call = given->call,
                                 .attempt = how % 32 == 1 ? given->number + 1 : given->number,
                                 .outcome = how < 160 ? SHOAL_OUTCOME_DONE : how % 6,
                                 .error_class = byte(world) % 6,
                                 .code = byte(world) % 32,
                                 .reason = SHOAL_SLICE("why"),
                                 .batches = given->batches,
                                 .records = given->records};
    if (how % 8 == 3) {
        result.detail = raw(world);
    }
    shoal_cluster_result(world->cluster, worker, &result, world->now_ms);
}

// A shard that makes sense, or nearly.
static void
put_item(world_t *world, shoal_buffer_t *out)
{
    uint8_t number = byte(world) % 32;
    shoal_write_map(out, 6);
    shoal_write_key(out, "shard");
    shoal_write_uint(out, number);
    shoal_write_key(out, "stage");
    shoal_write_uint(out, byte(world) % 16 ? 1U + number % 3U : byte(world));
    shoal_write_key(out, "needs");
    shoal_write_uint(out, byte(world) % 4 ? 0 : byte(world) % 32);
    shoal_write_key(out, "cost");
    shoal_write_uint(out, (uint64_t)byte(world) * 1000);
    shoal_write_key(out, "cursor");
    shoal_write_uint(out, number);
    shoal_write_key(out, "expects");
    shoal_write_array(out, 1);
    shoal_write_array(out, 2);
    shoal_write_uint(out, 1);
    shoal_write_uint(out, byte(world));
}

static void
do_batch(world_t *world)
{
    given_t *given = call_some(world);
    shoal_worker_t *worker = given ? worker_of(world, given) : NULL;
    if (!worker) {
        return;
    }
    uint8_t how = byte(world);
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    for (unsigned i = 0; i < how % 4U; i++) {
        put_item(world, &items);
    }
    shoal_slice_t bytes = how > 240 ? raw(world) : shoal_buffer_slice(&items);
    zmq_msg_t payload;
    FUZZ_CHECK(zmq_msg_init_size(&payload, bytes.len) == 0);
    if (bytes.len > 0) {
        memcpy(zmq_msg_data(&payload), bytes.ptr, bytes.len);
    }
    shoal_msg_batch_t batch = {.call = given->call,
                               .attempt = given->number,
                               .seq = how % 32 == 9 ? 77 : given->batches,
                               .records = how % 4,
                               .more = how % 64 == 33};
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (shoal_cluster_batch(world->cluster, worker, &batch, &payload, world->now_ms, &status)) {
        given->batches++;
        given->records += how % 4;
    } else { // the hub drops who sends this
        FUZZ_CHECK(status.text[0]);
        shoal_cluster_lose(world->cluster, worker, SHOAL_WORKER_ON_LOSE, status.text,
                           world->now_ms);
    }
    (void)zmq_msg_close(&payload);
    shoal_buffer_fini(&items);
}

static void
do_progress(world_t *world)
{
    shoal_worker_t *worker = worker_some(world);
    const given_t *given = call_some(world);
    shoal_buffer_t list = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (worker && given) {
        shoal_write_array(&list, 1);
        shoal_write_array(&list, 3);
        shoal_write_uint(&list, given->call);
        shoal_write_uint(&list, given->number);
        shoal_write_uint(&list, world->now_ms);
        uint8_t how = byte(world);
        shoal_slice_t progress = how > 240 ? raw(world) : shoal_buffer_slice(&list);
        FUZZ_CHECK(
            shoal_cluster_progress(world->cluster, worker, progress, world->now_ms, &status) ||
            status.code == SHOAL_PROTOCOL);
    }
    shoal_buffer_fini(&list);
}

static void
do_window(world_t *world)
{
    shoal_worker_t *worker = worker_some(world);
    if (worker) {
        shoal_cluster_window(world->cluster, worker, byte(world) % 8);
    }
}

static void
do_note(world_t *world)
{
    static const shoal_worker_event_t events[] = {SHOAL_WORKER_ON_HEARD, SHOAL_WORKER_ON_LATE,
                                                  SHOAL_WORKER_ON_CUT, SHOAL_WORKER_ON_DRAIN};
    shoal_worker_t *worker = worker_some(world);
    if (worker) {
        shoal_cluster_note(world->cluster, worker, events[byte(world) % 4]);
    }
}

static void
do_lose(world_t *world)
{
    shoal_worker_t *worker = worker_some(world);
    if (worker) {
        shoal_cluster_lose(world->cluster, worker,
                           byte(world) % 2 ? SHOAL_WORKER_ON_LOSE : SHOAL_WORKER_ON_LEAVE, "gone",
                           world->now_ms);
    }
}

static void
do_submit(world_t *world)
{
    uint8_t how = byte(world);
    char id[2] = {(char)('a' + how % 8), '\0'};
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    shoal_write_map(&spec, 5);
    shoal_write_key(&spec, "class");
    shoal_write_key(&spec, "c");
    shoal_write_key(&spec, "parallelism");
    shoal_write_uint(&spec, how % 3);
    shoal_write_key(&spec, "limit");
    shoal_write_uint(&spec, how % 16 == 3 ? 5 : 0);
    shoal_write_key(&spec, "plan_only");
    shoal_write_bool(&spec, how % 16 == 4);
    shoal_write_key(&spec, "retry");
    shoal_write_map(&spec, 2);
    shoal_write_key(&spec, "max_attempts");
    shoal_write_uint(&spec, 1U + how % 3U);
    shoal_write_key(&spec, "backoff_ms");
    shoal_write_uint(&spec, how);
    shoal_job_t *job = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_slice_t payload = how > 245 ? raw(world) : shoal_buffer_slice(&spec);
    if (!shoal_cluster_submit(world->cluster, shoal_slice_of(id), payload, world->now_ms, &job,
                              &status)) {
        FUZZ_CHECK(status.text[0]);
    }
    shoal_buffer_fini(&spec);
}

static void
do_stop(world_t *world)
{
    char id[2] = {(char)('a' + byte(world) % 8), '\0'};
    shoal_job_t *job = shoal_cluster_job_by_id(world->cluster, shoal_slice_of(id));
    if (job) {
        shoal_cluster_stop_job(world->cluster, job, "", world->now_ms);
    }
}

static void
do_wait(world_t *world)
{
    uint8_t how = byte(world);
    world->now_ms += how < 200 ? how : (uint64_t)how * 20;
    shoal_cluster_run(world->cluster, world->now_ms);
}

static void
do_dispatch(world_t *world)
{
    shoal_cluster_dispatch(world->cluster, world->now_ms);
}

typedef void operation_fn(world_t *world);
static operation_fn *const operations[] = {
    do_join,   do_result, do_result, do_result, do_batch,  do_batch,    do_progress,
    do_window, do_note,   do_lose,   do_submit, do_stop,   do_wait,     do_wait,
    do_join,   do_result, do_batch,  do_submit, do_result, do_dispatch,
};

// ---- what must hold

static void
job_check(const shoal_job_t *job)
{
    uint32_t running = 0;
    for (const shoal_attempt_t *it = job->attempts; it; it = it->job_next) {
        const shoal_shard_t *shard = shoal_backlog_at(job->backlog, it->shard);
        FUZZ_CHECK(it->is_live && it->job == job && it->worker);
        FUZZ_CHECK(shard && shard->state == SHOAL_SHARD_RUNNING && shard->live == it->index);
        FUZZ_CHECK(it->worker->state != SHOAL_WORKER_LOST);
        running++;
    }
    FUZZ_CHECK(running == job->running);
    if (shoal_job_is_final(job)) {
        FUZZ_CHECK(running == 0 && !job->backlog && !job->heap_place);
        return;
    }
    FUZZ_CHECK(running == shoal_backlog_count(job->backlog, SHOAL_SHARD_RUNNING));
    FUZZ_CHECK(job->spec.parallelism == 0 || running <= job->spec.parallelism);
}

static void
world_check(const world_t *world)
{
    const shoal_job_t *job = shoal_cluster_first_job(world->cluster);
    for (; job; job = job->next) {
        job_check(job);
    }
    const shoal_registry_t *registry = shoal_cluster_registry(world->cluster);
    for (int state = 0; state < SHOAL_WORKER_STATE_COUNT; state++) {
        const shoal_worker_t *worker = shoal_registry_first(registry, (shoal_worker_state_t)state);
        for (; worker; worker = worker->list_next) {
            uint32_t running = 0;
            uint32_t charge = 0;
            bool is_alone = false;
            for (const shoal_attempt_t *it = worker->attempts; it; it = it->worker_next) {
                running++;
                charge += it->charge;
                is_alone = is_alone || it->is_alone;
            }
            FUZZ_CHECK(running == worker->running && charge == worker->charge);
            FUZZ_CHECK(!is_alone || running == 1);
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    world_t world = {.at = bytes, .end = bytes + size, .now_ms = 1000};
    shoal_cluster_config_t config = {.port = {.ctx = &world,
                                              .call = port_call,
                                              .cancel = port_cancel,
                                              .grant = port_grant,
                                              .drop_actor = port_drop_actor,
                                              .changed = port_changed,
                                              .forgotten = port_forgotten,
                                              .ended = port_ended},
                                     .lease_ms = LEASE_MS,
                                     .seed = 7};
    shoal_ledger_t *ledger = shoal_ledger_new(NULL);
    config.ledger = ledger;
    world.cluster = shoal_cluster_new(&config);
    for (unsigned step = 0; step < STEPS_MAX && world.at < world.end; step++) {
        operations[byte(&world) % (sizeof(operations) / sizeof(operations[0]))](&world);
        world_check(&world);
    }
    shoal_cluster_destroy(&world.cluster);
    shoal_ledger_destroy(&ledger);
    return 0;
}
