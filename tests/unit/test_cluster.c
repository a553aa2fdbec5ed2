// SPDX-License-Identifier: Apache-2.0
//
// test_cluster.c - what head/cluster/cluster.h promises, with a port that remembers and a clock that is a
// number: jobs, scheduling, leases, fencing, retries, losses.

#include <signal.h>

#include "head/cluster/cluster.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

#define CALLS_MAX 64
#define LEASE_MS  1000

typedef struct sent_call {
    shoal_worker_t *worker;
    uint64_t call;
    uint32_t number;
    char method[16];
    uint64_t limit;
    char args[64]; // msgpack, cut
} sent_call_t;

// The world: what the cluster sent, and how sending ends.
typedef struct world {
    shoal_cluster_t *cluster;
    uint64_t now_ms;
    sent_call_t calls[CALLS_MAX]; // not answered yet, oldest first
    size_t call_count;
    size_t cancels;
    size_t drops;
    size_t grants;
    size_t ended;
    uint64_t seq[8]; // of the workers w0, w1, ...
    shoal_port_sent_t sending;
} world_t;

static shoal_port_sent_t
port_call(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt, const char *method,
          shoal_slice_t args, uint64_t limit, uint32_t credit)
{
    world_t *world = ctx;
    CHECK(credit > 0);
    if (world->sending != SHOAL_PORT_SENT) {
        return world->sending;
    }
    CHECK(world->call_count < CALLS_MAX);
    shoal_worker_add_actor(worker, attempt->job->number);
    sent_call_t *sent = &world->calls[world->call_count++];
    *sent = (sent_call_t){worker, attempt->call, attempt->number, "", limit, ""};
    (void)snprintf(sent->method, sizeof(sent->method), "%s", method);
    if (args.len > 0) {
        memcpy(sent->args, args.ptr, args.len < sizeof(sent->args) ? args.len : sizeof(sent->args));
    }
    return SHOAL_PORT_SENT;
}

static void
port_cancel(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, const char *reason)
{
    (void)worker;
    (void)call;
    (void)number;
    CHECK(reason[0] != '\0');
    ((world_t *)ctx)->cancels++;
}

static void
port_grant(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, uint32_t bytes)
{
    (void)worker;
    (void)call;
    (void)number;
    CHECK(bytes > 0);
    ((world_t *)ctx)->grants++;
}

static void
port_drop_actor(void *ctx, shoal_worker_t *worker, uint64_t job)
{
    (void)worker;
    (void)job;
    ((world_t *)ctx)->drops++;
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
    (void)job;
    (void)attempt;
    CHECK(why->text[0] != '\0');
    ((world_t *)ctx)->ended++;
}

static void
world_open(world_t *world)
{
    *world = (world_t){.now_ms = 1000};
    shoal_cluster_config_t config = {
        .port = {world, port_call, port_cancel, port_grant, port_drop_actor, port_changed,
                 port_forgotten, port_ended},
        .lease_ms = LEASE_MS,
        .seed = 7,
    };
    world->cluster = shoal_cluster_new(&config);
}

static void
world_close(world_t *world)
{
    shoal_cluster_destroy(&world->cluster);
    CHECK(world->cluster == NULL);
}

static void
run(world_t *world, uint64_t later_ms)
{
    world->now_ms += later_ms;
    shoal_cluster_run(world->cluster, world->now_ms);
}

// Worker "w<index>" joins; `running` and `last_exit` are msgpack.
static shoal_worker_t *
join(world_t *world, int index, uint32_t slots, uint32_t window, uint64_t incarnation,
     shoal_slice_t running, shoal_slice_t last_exit)
{
    char id[8];
    (void)snprintf(id, sizeof(id), "w%d", index);
    shoal_offer_t offer = {.id = shoal_slice_of(id),
                           .incarnation = incarnation,
                           .slots = slots,
                           .window = window,
                           .classes = SHOAL_SLICE("\x91\xa1"
                                                  "c")};
    shoal_worker_t *worker = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_cluster_join(world->cluster, &offer, running, last_exit, world->now_ms, &worker,
                                &status),
             status);
    return worker;
}

static shoal_worker_t *
join_plain(world_t *world, int index, uint32_t slots, uint32_t window)
{
    return join(world, index, slots, window, 1, SHOAL_SLICE_NONE, SHOAL_SLICE_NONE);
}

// A spec of class "c" with `more` pairs after it.
static shoal_job_t *
submit(world_t *world, const char *id, shoal_slice_t more, unsigned more_pairs)
{
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    shoal_write_map(&spec, 2 + more_pairs);
    shoal_write_key(&spec, "class");
    shoal_write_key(&spec, "c");
    shoal_write_key(&spec, "retry");
    shoal_write_map(&spec, 3);
    shoal_write_key(&spec, "max_attempts");
    shoal_write_uint(&spec, 3);
    shoal_write_key(&spec, "backoff_ms");
    shoal_write_uint(&spec, 100);
    shoal_write_key(&spec, "factor");
    shoal_write_float(&spec, 2.0);
    shoal_buffer_append_slice(&spec, more);
    shoal_job_t *job = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_cluster_submit(world->cluster, shoal_slice_of(id), shoal_buffer_slice(&spec),
                                  world->now_ms, &job, &status),
             status);
    shoal_buffer_fini(&spec);
    return job;
}

// Takes the oldest call that is out and has this method.
static sent_call_t
take(world_t *world, const char *method)
{
    for (size_t i = 0; i < world->call_count; i++) {
        if (strcmp(world->calls[i].method, method) == 0) {
            sent_call_t sent = world->calls[i];
            world->call_count--;
            memmove(&world->calls[i], &world->calls[i + 1],
                    (world->call_count - i) * sizeof(sent_call_t));
            return sent;
        }
    }
    fail_msg("there is no call of %s", method);
    return (sent_call_t){0};
}

static size_t
count(const world_t *world, const char *method)
{
    size_t found = 0;
    for (size_t i = 0; i < world->call_count; i++) {
        found += strcmp(world->calls[i].method, method) == 0;
    }
    return found;
}

static void
answer_with(world_t *world, const sent_call_t *sent, shoal_msg_result_t result)
{
    result.seq = ++world->seq[sent->worker->id[1] - '0'];
    result.call = sent->call;
    result.attempt = sent->number;
    shoal_cluster_result(world->cluster, sent->worker, &result, world->now_ms);
    shoal_cluster_dispatch(world->cluster, world->now_ms);
}

static void
answer(world_t *world, const char *method)
{
    sent_call_t sent = take(world, method);
    answer_with(world, &sent, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
}

static void
answer_failed(world_t *world, const char *method, shoal_error_class_t error_class)
{
    sent_call_t sent = take(world, method);
    answer_with(world, &sent,
                (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_FAILED,
                                     .error_class = (uint64_t)error_class,
                                     .code = SHOAL_IO,
                                     .reason = SHOAL_SLICE("it broke")});
}

static void
put_shard(shoal_buffer_t *items, uint64_t number, uint64_t stage, uint64_t needs, uint64_t cost_us)
{
    shoal_write_map(items, 6);
    shoal_write_key(items, "shard");
    shoal_write_uint(items, number);
    shoal_write_key(items, "stage");
    shoal_write_uint(items, stage);
    shoal_write_key(items, "needs");
    shoal_write_uint(items, needs);
    shoal_write_key(items, "cost");
    shoal_write_uint(items, cost_us);
    shoal_write_key(items, "title");
    shoal_write_key(items, "a shard");
    shoal_write_key(items, "args");
    shoal_write_uint(items, number);
}

static bool
stream(world_t *world, const sent_call_t *sent, uint64_t seq, shoal_slice_t bytes, uint32_t records,
       shoal_status_t *status)
{
    zmq_msg_t payload;
    CHECK(zmq_msg_init_size(&payload, bytes.len) == 0);
    if (bytes.len > 0) {
        memcpy(zmq_msg_data(&payload), bytes.ptr, bytes.len);
    }
    shoal_msg_batch_t batch = {
        .call = sent->call, .attempt = sent->number, .seq = seq, .records = records};
    bool is_fine =
        shoal_cluster_batch(world->cluster, sent->worker, &batch, &payload, world->now_ms, status);
    (void)zmq_msg_close(&payload);
    shoal_cluster_dispatch(world->cluster, world->now_ms);
    return is_fine;
}

// Brings a job through check and discover, which finds `shards` map shards of that cost.
static void
discover(world_t *world, unsigned shards, uint64_t cost_us)
{
    shoal_cluster_dispatch(world->cluster, world->now_ms);
    answer(world, "check");
    sent_call_t sent = take(world, "discover");
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    for (unsigned i = 1; i <= shards; i++) {
        put_shard(&items, i, SHOAL_STAGE_MAP, 0, cost_us);
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(stream(world, &sent, 0, shoal_buffer_slice(&items), shards, &status), status);
    shoal_buffer_fini(&items);
    answer_with(
        world, &sent,
        (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE, .batches = 1, .records = shards});
}

static void
a_job_runs_stage_by_stage(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    run(&world, 0);
    CHECK(job->state == SHOAL_JOB_PENDING && world.call_count == 0);
    (void)join_plain(&world, 0, 2, 2);
    discover(&world, 3, 1000000);
    CHECK(job->state == SHOAL_JOB_RUNNING && job->stage == SHOAL_STAGE_MAP);
    CHECK(count(&world, "map") == 2); // as many as there are slots
    answer(&world, "map");
    answer(&world, "map");
    answer(&world, "map");
    CHECK(job->stage == SHOAL_STAGE_FINISH);
    CHECK(memcmp(world.calls[0].args, "\x81\xa5state\xa9SUCCEEDED", 17) == 0);
    answer(&world, "finish");
    CHECK(job->state == SHOAL_JOB_SUCCEEDED && job->done == 3);
    CHECK(job->final_detail.len > 0 && world.drops == 1 && world.call_count == 0);
    world_close(&world);
}

static void
a_prerequisite_comes_first_and_link_comes_last(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 8, 8);
    run(&world, 0);
    answer(&world, "check");
    sent_call_t sent = take(&world, "discover");
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    put_shard(&items, 1, SHOAL_STAGE_PREPARE, 0, 1);
    put_shard(&items, 2, SHOAL_STAGE_MAP, 1, 1);
    put_shard(&items, 3, SHOAL_STAGE_LINK, 0, 1);
    put_shard(&items, 2, SHOAL_STAGE_MAP, 0, 1); // said again: nothing happens
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(stream(&world, &sent, 0, shoal_buffer_slice(&items), 4, &status), status);
    shoal_buffer_fini(&items);
    CHECK(count(&world, "prepare") == 1 && count(&world, "map") == 0);
    answer(&world, "prepare");
    CHECK(count(&world, "map") == 1 && count(&world, "link") == 0);
    answer(&world, "map");
    CHECK(count(&world, "link") == 0); // discovery goes on
    answer_with(&world, &sent,
                (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE, .batches = 1, .records = 4});
    answer(&world, "link");
    answer(&world, "finish");
    CHECK(job->state == SHOAL_JOB_SUCCEEDED && job->shards == 3);
    world_close(&world);
}

static void
a_dead_prerequisite_takes_a_chain_of_any_length_with_it(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    run(&world, 0);
    answer(&world, "check");
    sent_call_t sent = take(&world, "discover");
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    enum { CHAIN = 20000, PARTS = 20 };
    for (unsigned part = 0; part < PARTS; part++) {
        shoal_buffer_clear(&items);
        for (unsigned i = 1; i <= CHAIN / PARTS; i++) {
            unsigned number = part * (CHAIN / PARTS) + i;
            put_shard(&items, number, number == 1 ? SHOAL_STAGE_PREPARE : SHOAL_STAGE_MAP,
                      number - 1, 1);
        }
        CHECK_OK(stream(&world, &sent, part, shoal_buffer_slice(&items), CHAIN / PARTS, &status),
                 status);
    }
    shoal_buffer_fini(&items);
    answer_with(
        &world, &sent,
        (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE, .batches = PARTS, .records = CHAIN});
    answer_failed(&world, "prepare", SHOAL_FATAL);
    CHECK(job->state == SHOAL_JOB_FAILED && job->dead == CHAIN);
    world_close(&world);
}

//
static void
a_transient_error_is_retried_with_back_off_and_then_given_up(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    discover(&world, 1, 1000000);
    answer_failed(&world, "map", SHOAL_TRANSIENT);
    CHECK(count(&world, "map") == 0 && job->retried == 1);
    run(&world, 49); // half of 100 ms at least
    CHECK(count(&world, "map") == 0);
    run(&world, 51);
    CHECK(count(&world, "map") == 1 && world.calls[0].number == 2);
    answer_failed(&world, "map", SHOAL_TRANSIENT);
    run(&world, 99);
    CHECK(count(&world, "map") == 0);
    run(&world, 101);
    answer_failed(&world, "map", SHOAL_TRANSIENT); // the third
    CHECK(job->state == SHOAL_JOB_FAILED && job->dead == 1);
    CHECK(world.ended == 3);
    world_close(&world);
}

//
static void
a_config_error_fails_the_job_at_once_and_cancels_the_rest(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 2, 2);
    discover(&world, 2, 1000000);
    answer_failed(&world, "map", SHOAL_CONFIG);
    CHECK(job->state == SHOAL_JOB_FAILED && world.cancels == 1);
    world_close(&world);
}

static void
a_check_that_fails_is_the_end(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 2, 2);
    run(&world, 0);
    answer_failed(&world, "check", SHOAL_CONFIG);
    CHECK(job->state == SHOAL_JOB_FAILED && world.call_count == 0);
    world_close(&world);
}

static void
something_dead_beside_something_done_is_partial(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    discover(&world, 2, 1000000);
    answer_failed(&world, "map", SHOAL_FATAL);
    answer(&world, "map");
    CHECK(memcmp(world.calls[0].args, "\x81\xa5state\xa7PARTIAL", 15) == 0);
    answer(&world, "finish");
    CHECK(job->state == SHOAL_JOB_PARTIAL);
    world_close(&world);
}

//
static void
a_call_without_progress_is_fenced_and_given_out_again(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *worker = join_plain(&world, 0, 1, 1);
    discover(&world, 1, 1000000);
    sent_call_t old = take(&world, "map");
    shoal_buffer_t progress = SHOAL_BUFFER_INIT;
    shoal_write_array(&progress, 1);
    shoal_write_array(&progress, 3);
    shoal_write_uint(&progress, old.call);
    shoal_write_uint(&progress, old.number);
    shoal_write_uint(&progress, 5);
    shoal_status_t status = SHOAL_STATUS_INIT;
    run(&world, LEASE_MS - 1);
    CHECK_OK(shoal_cluster_progress(world.cluster, worker, shoal_buffer_slice(&progress),
                                    world.now_ms, &status),
             status);
    run(&world, LEASE_MS - 1);
    CHECK(world.cancels == 0); // it was renewed
    CHECK_OK(shoal_cluster_progress(world.cluster, worker, shoal_buffer_slice(&progress),
                                    world.now_ms, &status),
             status);
    run(&world, 1); // the same number is no progress
    CHECK(world.cancels == 1 && count(&world, "map") == 0);
    shoal_buffer_fini(&progress);
    run(&world, SHOAL_LOSS_DELAY_MS);
    CHECK(count(&world, "map") == 1);
    answer_with(&world, &old, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE}); // too late
    CHECK(job->done == 0 && shoal_cluster_counts(world.cluster)->fenced == 1);
    answer(&world, "map");
    CHECK(job->done == 1);
    world_close(&world);
}

static void
calls_of_a_lost_worker_run_elsewhere_and_its_late_results_are_fenced(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *lost = join_plain(&world, 0, 2, 2);
    discover(&world, 2, 1000000);
    sent_call_t first = take(&world, "map");
    sent_call_t second = take(&world, "map");
    shoal_cluster_lose(world.cluster, lost, SHOAL_WORKER_ON_LOSE, "silent", world.now_ms);
    CHECK(lost->running == 0 && lost->casualty_count == 2);
    (void)join_plain(&world, 1, 2, 2);
    run(&world, SHOAL_LOSS_DELAY_MS);
    CHECK(count(&world, "map") == 2);
    answer_with(&world, &first, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
    answer_with(&world, &second, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
    CHECK(job->done == 0 && job->retried == 2);
    answer(&world, "map");
    answer(&world, "map");
    CHECK(job->done == 2);
    world_close(&world);
}

//
static void
what_is_given_back_politely_runs_at_once_and_counts_for_nothing(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *leaving = join_plain(&world, 0, 1, 1);
    (void)join_plain(&world, 1, 0 + 1, 1);
    discover(&world, 2, 1000000);
    CHECK(count(&world, "map") == 2);
    shoal_cluster_lose(world.cluster, leaving, SHOAL_WORKER_ON_LEAVE, "bye", world.now_ms);
    CHECK(job->retried == 0);
    (void)join_plain(&world, 2, 1, 1);
    run(&world, 0);
    CHECK(count(&world, "map") == 3); // one of them is the dead worker's
    world_close(&world);
}

static void
a_draining_worker_gets_nothing_and_what_it_returns_goes_elsewhere(void)
{
    world_t world;
    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *draining = join_plain(&world, 0, 1, 1);
    discover(&world, 2, 1000000);
    sent_call_t sent = take(&world, "map");
    shoal_cluster_window(world.cluster, draining, 0);
    CHECK(draining->state == SHOAL_WORKER_DRAINING);
    answer_with(&world, &sent, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_RETURNED});
    CHECK(world.call_count == 0);
    (void)join_plain(&world, 1, 2, 2);
    run(&world, 0);
    CHECK(count(&world, "map") == 2);
    shoal_cluster_window(world.cluster, draining, 1);
    CHECK(draining->state == SHOAL_WORKER_ALIVE);
    world_close(&world);
}

//
static void
the_same_process_keeps_what_it_names_and_loses_the_rest(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 2, 2);
    discover(&world, 2, 1000000);
    sent_call_t kept = take(&world, "map");
    sent_call_t dropped = take(&world, "map");
    shoal_buffer_t running = SHOAL_BUFFER_INIT;
    shoal_write_array(&running, 2);
    shoal_write_array(&running, 2);
    shoal_write_uint(&running, kept.call);
    shoal_write_uint(&running, kept.number);
    shoal_write_array(&running, 2);
    shoal_write_uint(&running, kept.call);
    shoal_write_uint(&running, 77); // an attempt that the head does not know
    shoal_worker_t *worker =
        join(&world, 0, 2, 2, 1, shoal_buffer_slice(&running), SHOAL_SLICE_NONE);
    CHECK(worker->running == 1);
    shoal_cluster_cancel_strays(world.cluster, worker, shoal_buffer_slice(&running));
    CHECK(world.cancels == 1);
    shoal_buffer_fini(&running);
    answer_with(&world, &kept, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
    CHECK(job->done == 1);
    run(&world, SHOAL_LOSS_DELAY_MS);
    CHECK(take(&world, "map").call == dropped.call);
    world_close(&world);
}

static shoal_slice_t
exit_by(shoal_buffer_t *out, int number)
{
    shoal_buffer_clear(out);
    shoal_write_map(out, 2);
    shoal_write_key(out, "pid");
    shoal_write_uint(out, 1234);
    shoal_write_key(out, "signal");
    shoal_write_uint(out, (uint64_t)number);
    return shoal_buffer_slice(out);
}

// The worker's process has crashed; the next one, number `process`, tells. Its calls are gone.
static void
crash(world_t *world, int number, uint32_t slots, uint64_t process, int signal_number)
{
    shoal_buffer_t last_exit = SHOAL_BUFFER_INIT;
    size_t kept = 0;
    char id[8];
    (void)snprintf(id, sizeof(id), "w%d", number);
    for (size_t i = 0; i < world->call_count; i++) {
        if (strcmp(world->calls[i].worker->id, id) != 0) {
            world->calls[kept++] = world->calls[i];
        }
    }
    world->call_count = kept;
    world->seq[number] = 0;
    (void)join(world, number, slots, 2 * slots, process, SHOAL_SLICE_NONE,
               exit_by(&last_exit, signal_number));
    shoal_buffer_fini(&last_exit);
    run(world, SHOAL_LOSS_DELAY_MS);
}

// promise 5
static void
a_shard_that_crashes_two_workers_runs_alone_once_more_and_is_dead_then_with_the_signal(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    discover(&world, 1, 1000000);
    for (uint64_t process = 2; process <= 3; process++) {
        (void)take(&world, "map");
        crash(&world, 0, 1, process, SIGSEGV);
        CHECK(job->dead == 0 && job->retried == process - 1);
    }
    CHECK(take(&world, "map").worker->is_alone);
    crash(&world, 0, 1, 4, SIGSEGV);
    CHECK(job->state == SHOAL_JOB_FAILED && job->dead == 1);
    char detail[4096];
    size_t len = job->final_detail.len < sizeof(detail) ? job->final_detail.len : sizeof(detail);
    CHECK(memmem(job->final_detail.ptr, len, "SIGSEGV", 7) != NULL);
    world_close(&world);
}

// Two calls at a time on one worker; both crash with it twice, and one of them is to blame.
static void
a_neighbour_of_a_crash_runs_alone_too_and_is_done(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 2, 4);
    discover(&world, 2, 1000000);
    for (uint64_t process = 2; process <= 3; process++) {
        CHECK(world.call_count == 2);
        crash(&world, 0, 2, process, SIGABRT);
    }
    CHECK(world.call_count == 1); // one alone, the other waits
    sent_call_t first = take(&world, "map");
    answer_with(&world, &first, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
    CHECK(job->done == 1);
    run(&world, 0);
    sent_call_t second = take(&world, "map");
    CHECK(second.call != first.call && second.worker->is_alone && world.call_count == 0);
    crash(&world, 0, 2, 4, SIGABRT);
    CHECK(job->dead == 1 && job->done == 1);
    world_close(&world);
}

// A job whose only map shard has crashed worker w0 twice, and whose turn has come while the check of
// a second job runs on one of the two slots of w0.
static shoal_job_t *
crash_twice_and_be_busy(world_t *world)
{
    shoal_buffer_t last_exit = SHOAL_BUFFER_INIT;
    shoal_job_t *job = submit(world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(world, 0, 2, 4);
    discover(world, 1, 1000000);
    (void)take(world, "map");
    crash(world, 0, 2, 2, SIGSEGV);
    (void)take(world, "map");
    world->seq[0] = 0;
    (void)join(world, 0, 2, 4, 3, SHOAL_SLICE_NONE, exit_by(&last_exit, SIGSEGV));
    shoal_buffer_fini(&last_exit);
    (void)submit(world, "busy", SHOAL_SLICE_NONE, 0);
    run(world, 0);
    CHECK(world->call_count == 1 && strcmp(world->calls[0].method, "check") == 0);
    run(world, SHOAL_LOSS_DELAY_MS);
    CHECK(world->call_count == 1 && job->running == 0); // though there is an idle slot
    CHECK(world->calls[0].worker->kept_for != 0);
    return job;
}

static void
a_shard_that_is_to_run_alone_waits_until_its_worker_has_nothing_else(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = crash_twice_and_be_busy(&world);
    answer(&world, "check");
    run(&world, 0);
    sent_call_t alone = take(&world, "map"); // and nothing of the other job
    CHECK(world.call_count == 0 && alone.worker->running == 1 && alone.worker->is_alone);
    run(&world, 100);
    CHECK(world.call_count == 0);
    answer_with(&world, &alone, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
    CHECK(job->done == 1 && job->dead == 0);
    run(&world, 0);
    CHECK(world.call_count == 2 && !alone.worker->is_alone); // finish, and the other's discover
    world_close(&world);
}

static void
a_worker_that_is_kept_for_a_shard_and_goes_leaves_it_to_another(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = crash_twice_and_be_busy(&world);
    shoal_cluster_lose(world.cluster, world.calls[0].worker, SHOAL_WORKER_ON_LOSE, "a test",
                       world.now_ms);
    world.call_count = 0;
    (void)join_plain(&world, 1, 2, 4);
    run(&world, 100);
    CHECK(job->running == 1 && take(&world, "map").worker->is_alone);
    world_close(&world);
}

static void
a_job_that_ends_frees_the_worker_that_was_kept_for_its_shard(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = crash_twice_and_be_busy(&world);
    shoal_worker_t *worker = world.calls[0].worker;
    shoal_cluster_stop_job(world.cluster, job, "a test", world.now_ms);
    answer(&world, "check");
    run(&world, 0);
    CHECK(worker->kept_for == 0 && take(&world, "discover").worker == worker);
    world_close(&world);
}

static void
a_worker_that_was_killed_from_outside_says_nothing_about_its_shard(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    discover(&world, 1, 1000000);
    shoal_buffer_t last_exit = SHOAL_BUFFER_INIT;
    for (uint64_t start = 2; start < 2 + SHOAL_LOSSES_MAX - 1; start++) {
        (void)take(&world, "map");
        (void)join(&world, 0, 1, 1, start, SHOAL_SLICE_NONE, exit_by(&last_exit, SIGKILL));
        CHECK(job->dead == 0);
        run(&world, SHOAL_LOSS_DELAY_MS);
    }
    (void)take(&world, "map");
    (void)join(&world, 0, 1, 1, 99, SHOAL_SLICE_NONE, exit_by(&last_exit, SIGKILL));
    CHECK(job->state == SHOAL_JOB_FAILED); // but there is an end to it
    shoal_buffer_fini(&last_exit);
    world_close(&world);
}

//
static void
a_result_that_is_sent_again_counts_once(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    discover(&world, 2, 1000000);
    sent_call_t sent = take(&world, "map");
    answer_with(&world, &sent, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
    world.seq[0]--;
    answer_with(&world, &sent, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
    CHECK(job->done == 1 && shoal_cluster_counts(world.cluster)->repeated == 1);
    world_close(&world);
}

//
static void
a_result_that_disagrees_with_what_arrived_is_retried(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    discover(&world, 1, 1000000);
    sent_call_t sent = take(&world, "map");
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(stream(&world, &sent, 0, SHOAL_SLICE("x"), 1, &status), status);
    CHECK_OK(stream(&world, &sent, 2, SHOAL_SLICE("x"), 1, &status), status); // 1 is missing
    answer_with(&world, &sent,
                (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE, .batches = 2, .records = 2});
    CHECK(job->done == 0 && job->retried == 1);
    run(&world, 100);
    sent = take(&world, "map");
    answer_with(&world, &sent,
                (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE, .batches = 1, .records = 0});
    CHECK(job->done == 0 && job->retried == 2);
    world_close(&world);
}

//
static void
who_overdraws_the_credit_is_refused(void)
{
    world_t world;
    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    run(&world, 0);
    answer(&world, "check");
    sent_call_t sent = take(&world, "discover");
    static char large[SHOAL_BATCH_BYTES_MAX + 1];
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_FAILS(stream(&world, &sent, 0, (shoal_slice_t){large, sizeof(large)}, 0, &status), status,
                SHOAL_LIMIT);
    CHECK_SAYS(status.text, "BATCH");
    // A fenced attempt has no credit: what it sends is given back, and dropped.
    sent.number = 9;
    CHECK_OK(stream(&world, &sent, 0, (shoal_slice_t){large, 100}, 0, &status), status);
    CHECK(world.grants == 1);
    world_close(&world);
}

static void
items_that_make_no_sense_end_discovery(void)
{
    static const shoal_slice_t wrong[] = {
        {"\xc1", 1},
        {"\x80", 1},
        {"\x01", 1},
        {"\x82\xa5shard\x01\xa5stage\x09", 15},
        {"\x82\xa5shard\x01\xa5needs\x07", 15},
        {"\x81\xa5shard\xce\xff\xff\xff\xff", 12},
        {"\x82\xa5scope\xce\x0f\xff\xff\xff\xa4name\xa1x", 19},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        world_t world;
        world_open(&world);
        shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
        (void)join_plain(&world, 0, 1, 1);
        run(&world, 0);
        answer(&world, "check");
        sent_call_t sent = take(&world, "discover");
        shoal_status_t status = SHOAL_STATUS_INIT;
        CHECK_OK(stream(&world, &sent, 0, wrong[i], 1, &status), status);
        CHECK(job->state == SHOAL_JOB_FAILED);
        world_close(&world);
    }
}

static void
a_new_attempt_of_discover_goes_on_from_the_cursor(void)
{
    world_t world;
    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *worker = join_plain(&world, 0, 1, 1);
    run(&world, 0);
    answer(&world, "check");
    sent_call_t sent = take(&world, "discover");
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(stream(&world, &sent, 0,
                    SHOAL_SLICE("\x81\xa6"
                                "cursor\x2a"),
                    1, &status),
             status);
    shoal_cluster_lose(world.cluster, worker, SHOAL_WORKER_ON_LOSE, "gone", world.now_ms);
    (void)join_plain(&world, 1, 1, 1);
    run(&world, SHOAL_LOSS_DELAY_MS);
    sent = take(&world, "discover");
    CHECK(memcmp(sent.args, "\x81\xa6resume\x2a", 9) == 0);
    world_close(&world);
}

//
static void
a_shard_comes_together_with_its_cursor(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *worker = join_plain(&world, 0, 1, 1);
    run(&world, 0);
    answer(&world, "check");
    sent_call_t sent = take(&world, "discover");
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(stream(&world, &sent, 0,
                    SHOAL_SLICE("\x82\xa5"
                                "shard\x01\xa6"
                                "cursor\x01\x82\xa6"
                                "cursor\x02\xa5"
                                "shard\x02\x83\xa5"
                                "scope\x01\xa4"
                                "name\xa1s\xa6"
                                "cursor\x03"),
                    3, &status),
             status);
    CHECK(job->shards == 2 && job->books.scope_count == 1 && job->cursors == 3);
    shoal_cluster_lose(world.cluster, worker, SHOAL_WORKER_ON_LOSE, "gone", world.now_ms);
    (void)join_plain(&world, 1, 4, 4);
    run(&world, SHOAL_LOSS_DELAY_MS);
    sent = take(&world, "discover");
    CHECK(memcmp(sent.args, "\x81\xa6resume\x03", 9) == 0);
    world_close(&world);
}

//
static void
a_stopped_job_cancels_what_runs(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *worker = join_plain(&world, 0, 2, 2);
    discover(&world, 5, 1000000);
    shoal_cluster_stop_job(world.cluster, job, "enough", world.now_ms);
    CHECK(job->state == SHOAL_JOB_STOPPED && world.cancels == 2 && world.drops == 1);
    CHECK(worker->running == 0 && worker->charge == 0);
    shoal_cluster_stop_job(world.cluster, job, "again", world.now_ms);
    CHECK(world.cancels == 2);
    world_close(&world);
}

//
static void
a_submit_that_is_sent_again_finds_its_job(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "the same", SHOAL_SLICE_NONE, 0);
    CHECK(submit(&world, "the same", SHOAL_SLICE_NONE, 0) == job);
    CHECK(submit(&world, "another", SHOAL_SLICE_NONE, 0) != job);
    CHECK(shoal_cluster_job(world.cluster, job->number) == job);
    CHECK(shoal_cluster_job(world.cluster, 99) == NULL);
    world_close(&world);
}

static void
specifications_that_are_wrong_are_refused_with_the_key(void)
{
    static const struct {
        shoal_slice_t spec;
        const char *says;
    } wrong[] = {
        {{"\x01", 1}, "map"},
        {{"\x80", 1}, "class"},
        {{"\x81\xa5"
          "class\x01",
          8},
         "class"},
        {{"\x81\xa6weight\x00", 9}, "weight"},
        {{"\x81\xa6weight\x65", 9}, "weight"},
        {{"\x81\xabparallelism\xa1x", 15}, "parallelism"},
        {{"\x81\xa5retry\x81\xacmax_attempts\x00", 22}, "max_attempts"},
        {{"\x81\xa5retry\x81\xa6"
          "factor\x00",
          16},
         "factor"},
        {{"\x81\xa7"
          "collect\x01",
          10},
         "collect"},
        {{"\x82\xa5"
          "class\xa1"
          "c",
          9},
         "malformed"},
    };
    world_t world;
    world_open(&world);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_job_t *job = NULL;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_FAILS(shoal_cluster_submit(world.cluster, SHOAL_SLICE("job"), wrong[i].spec, 0, &job,
                                         &status),
                    status, SHOAL_INVALID);
        CHECK_SAYS(status.text, "job");
        (void)wrong[i].says;
    }
    CHECK(shoal_cluster_job_count(world.cluster) == 0);
    world_close(&world);
}

//
static void
there_is_room_for_so_many_jobs_and_final_ones_make_room(void)
{
    world_t world;
    world_open(&world);
    char id[32];
    shoal_job_t *first = NULL;
    for (int i = 0; i < SHOAL_JOBS_MAX; i++) {
        (void)snprintf(id, sizeof(id), "job %d", i);
        shoal_job_t *job = submit(&world, id, SHOAL_SLICE_NONE, 0);
        first = first ? first : job;
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_job_t *job = NULL;
    shoal_slice_t spec = SHOAL_SLICE("\x81\xa5"
                                     "class\xa1"
                                     "c");
    CHECK_FAILS(
        shoal_cluster_submit(world.cluster, SHOAL_SLICE("one more"), spec, 0, &job, &status),
        status, SHOAL_LIMIT);
    uint64_t number = first->number;
    shoal_cluster_stop_job(world.cluster, first, "", 0);
    CHECK_OK(shoal_cluster_submit(world.cluster, SHOAL_SLICE("one more"), spec, 0, &job, &status),
             status);
    CHECK(shoal_cluster_job(world.cluster, number) == NULL && job->number > number);
    world_close(&world);
}

static void
slots_come_first_prefetch_second_and_long_calls_are_not_prefetched(void)
{
    world_t world;
    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *a = join_plain(&world, 0, 1, 4);
    shoal_worker_t *b = join_plain(&world, 1, 1, 4);
    discover(&world, 6, 1000000);
    CHECK(count(&world, "map") == 2 && a->running == 1 && b->running == 1);
    (void)submit(&world, "short", SHOAL_SLICE_NONE, 0);
    world_close(&world);

    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE_NONE, 0);
    a = join_plain(&world, 0, 1, 4);
    b = join_plain(&world, 1, 1, 4);
    discover(&world, 6, 50000);
    CHECK(count(&world, "map") == 6 && a->running == 3 && b->running == 3);
    world_close(&world);
}

//
static void
small_calls_are_packed_while_there_are_more_of_them_than_slots(void)
{
    world_t world;
    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *worker = join_plain(&world, 0, 1, 1);
    discover(&world, 40, 1000);
    CHECK(worker->running == 16 && worker->charge == SHOAL_CHARGE_FULL);
    world_close(&world);
}

static void
jobs_share_the_slots_by_weight(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *light = submit(&world, "light", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    discover(&world, 30, 1000000);
    shoal_job_t *heavy = submit(&world, "heavy", SHOAL_SLICE("\xa6weight\x1e"), 1);
    (void)join_plain(&world, 1, 11, 11);
    answer(&world, "map"); // the share of the first is full, the second goes on with check
    discover(&world, 30, 1000000);
    for (int i = 0; i < 40; i++) {
        sent_call_t sent = world.calls[0];
        CHECK(strcmp(sent.method, "map") == 0);
        memmove(&world.calls[0], &world.calls[1], --world.call_count * sizeof(sent_call_t));
        answer_with(&world, &sent, (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE});
        if (i == 20) { // three of twelve for weight 10, nine for weight 30
            CHECK(light->running >= 2 && light->running <= 4);
            CHECK(heavy->running >= 8 && heavy->running <= 10);
        }
    }
    world_close(&world);
}

static void
parallelism_and_limit_cap_a_job(void)
{
    world_t world;
    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE("\xabparallelism\x02"), 1);
    (void)join_plain(&world, 0, 8, 8);
    discover(&world, 5, 1000000);
    CHECK(count(&world, "map") == 2);
    world_close(&world);

    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE("\xa5limit\x05"), 1);
    (void)join_plain(&world, 0, 8, 8);
    discover(&world, 5, 1000000);
    CHECK(count(&world, "map") == 1 && world.calls[0].limit == 5);
    for (uint64_t left = 2; left > 0; left--) {
        sent_call_t sent = take(&world, "map");
        CHECK(sent.limit == (left == 2 ? 5 : 2));
        uint32_t records = left == 2 ? 3 : 2;
        shoal_status_t status = SHOAL_STATUS_INIT;
        CHECK_OK(stream(&world, &sent, 0, SHOAL_SLICE("x"), records, &status), status);
        answer_with(
            &world, &sent,
            (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE, .batches = 1, .records = records});
    }
    CHECK(job->is_limited && count(&world, "map") == 0);
    answer(&world, "finish");
    CHECK(job->state == SHOAL_JOB_SUCCEEDED && job->done == 2);
    world_close(&world);

    // One call at a time is one, discover included, whatever the limit says.
    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE("\xa5limit\x05\xabparallelism\x01"), 2);
    (void)join_plain(&world, 0, 8, 8);
    run(&world, 0);
    answer(&world, "check");
    sent_call_t sent = take(&world, "discover");
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    put_shard(&items, 1, SHOAL_STAGE_MAP, 0, 1);
    CHECK_OK(stream(&world, &sent, 0, shoal_buffer_slice(&items), 1, &status), status);
    shoal_buffer_fini(&items);
    CHECK(count(&world, "map") == 0);
    answer_with(&world, &sent,
                (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE, .batches = 1, .records = 1});
    CHECK(count(&world, "map") == 1);
    world_close(&world);
}

static void
a_plan_runs_check_and_discover_only(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE("\xa9plan_only\xc3"), 1);
    (void)join_plain(&world, 0, 8, 8);
    discover(&world, 5, 1000000);
    CHECK(world.call_count == 0 && job->state == SHOAL_JOB_SUCCEEDED);
    CHECK(memmem(job->final_detail.ptr, job->final_detail.len, "a shard", 7) != NULL);
    world_close(&world);
}

static void
a_worker_that_cannot_be_reached_gets_nothing_more(void)
{
    world_t world;
    world_open(&world);
    (void)submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *cut = join_plain(&world, 0, 2, 2);
    world.sending = SHOAL_PORT_CUT;
    run(&world, 0);
    CHECK(cut->state == SHOAL_WORKER_SUSPECT && cut->running == 0);
    shoal_worker_t *full = join_plain(&world, 1, 2, 2);
    world.sending = SHOAL_PORT_FULL;
    run(&world, 0);
    CHECK(full->state == SHOAL_WORKER_LOST && full->running == 0);
    world.sending = SHOAL_PORT_SENT;
    shoal_cluster_note(world.cluster, cut, SHOAL_WORKER_ON_HEARD);
    run(&world, 0);
    CHECK(count(&world, "check") == 1);
    world_close(&world);
}

static void
a_suspect_worker_keeps_its_calls_and_gets_no_more(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = submit(&world, "job", SHOAL_SLICE_NONE, 0);
    shoal_worker_t *worker = join_plain(&world, 0, 1, 1);
    discover(&world, 2, 1000000);
    shoal_cluster_note(world.cluster, worker, SHOAL_WORKER_ON_LATE);
    answer(&world, "map");
    CHECK(job->done == 1 && world.call_count == 0);
    shoal_cluster_note(world.cluster, worker, SHOAL_WORKER_ON_HEARD);
    run(&world, 0);
    CHECK(count(&world, "map") == 1);
    world_close(&world);
}

// ---- what takes too long, and who may still write

// A pair of a spec, or of a detail.
static shoal_slice_t
number_pair(shoal_buffer_t *out, bool is_map, const char *key, uint64_t value)
{
    shoal_buffer_clear(out);
    if (is_map) {
        shoal_write_map(out, 1);
    }
    shoal_write_text(out, key);
    shoal_write_uint(out, value);
    return shoal_buffer_slice(out);
}

static void
a_job_that_takes_too_long_has_failed_and_says_so(void)
{
    world_t world;
    world_open(&world);
    shoal_buffer_t pair = SHOAL_BUFFER_INIT;
    shoal_job_t *job = submit(&world, "job", number_pair(&pair, false, "timeout_ms", 700), 1);
    shoal_job_t *other = submit(&world, "other", SHOAL_SLICE_NONE, 0);
    (void)join_plain(&world, 0, 1, 1);
    discover(&world, 2, 1000000);
    CHECK(job->running == 1);
    CHECK(shoal_cluster_next(world.cluster) <= 1700);
    run(&world, 699);
    CHECK(job->state == SHOAL_JOB_RUNNING && world.cancels == 0);
    run(&world, 1);
    CHECK(job->state == SHOAL_JOB_FAILED && world.cancels == 1);
    CHECK(!shoal_job_is_final(other));
    CHECK(memmem(job->final_detail.ptr, job->final_detail.len, "timeoutSeconds", 14) != NULL);
    shoal_buffer_fini(&pair);
    world_close(&world);
}

static void
a_job_that_nobody_runs_times_out_too(void)
{
    world_t world;
    world_open(&world);
    shoal_buffer_t pair = SHOAL_BUFFER_INIT;
    shoal_job_t *job = submit(&world, "job", number_pair(&pair, false, "timeout_ms", 700), 1);
    CHECK(shoal_cluster_next(world.cluster) == 1700);
    run(&world, 700);
    CHECK(job->state == SHOAL_JOB_FAILED);
    CHECK(shoal_cluster_next(world.cluster) == SHOAL_TIME_NEVER);
    shoal_buffer_fini(&pair);
    world_close(&world);
}

static void
an_attempt_that_runs_too_long_is_cancelled_and_tried_again_as_often_as_a_failure(void)
{
    world_t world;
    world_open(&world);
    shoal_buffer_t pair = SHOAL_BUFFER_INIT;
    shoal_job_t *job = submit(&world, "job", number_pair(&pair, false, "shard_timeout_ms", 500), 1);
    (void)join_plain(&world, 0, 1, 1);
    run(&world, 0);
    run(&world, 900); // check may take its time
    CHECK(world.cancels == 0);
    discover(&world, 1, 1000000);
    for (uint64_t tries = 1; tries <= 3; tries++) {
        CHECK(take(&world, "map").number == tries);
        run(&world, 499);
        CHECK(world.cancels == tries - 1);
        run(&world, 1);
        CHECK(world.cancels == tries && job->dead == (tries == 3));
        run(&world, 1000);
    }
    CHECK(job->state == SHOAL_JOB_FAILED);
    shoal_buffer_fini(&pair);
    world_close(&world);
}

#define WRITE_MS 300

// A job whose sink writes by itself has one of its two shards out on worker 0.
static shoal_job_t *
write_directly(world_t *world)
{
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    shoal_job_t *job = submit(world, "job", SHOAL_SLICE_NONE, 0);
    (void)join_plain(world, 0, 1, 1);
    run(world, 0);
    sent_call_t check = take(world, "check");
    answer_with(world, &check,
                (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE,
                                     .detail = number_pair(&detail, true, "write_ms", WRITE_MS)});
    CHECK(job->write_ms == WRITE_MS);
    sent_call_t sent = take(world, "discover");
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    put_shard(&items, 1, SHOAL_STAGE_MAP, 0, 2000000);
    put_shard(&items, 2, SHOAL_STAGE_MAP, 0, 1000000);
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(stream(world, &sent, 0, shoal_buffer_slice(&items), 2, &status), status);
    answer_with(world, &sent,
                (shoal_msg_result_t){.outcome = SHOAL_OUTCOME_DONE, .batches = 1, .records = 2});
    shoal_buffer_fini(&items);
    shoal_buffer_fini(&detail);
    CHECK(world->call_count == 1);
    return job;
}

// promise 2
static void
a_shard_that_may_still_be_written_runs_again_only_after_lease_and_write(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = write_directly(&world);
    sent_call_t lost = take(&world, "map");
    shoal_cluster_lose(world.cluster, lost.worker, SHOAL_WORKER_ON_LOSE, "a test", world.now_ms);
    (void)join_plain(&world, 1, 1, 1);
    run(&world, 0);
    answer(&world, "map"); // the other one
    run(&world, LEASE_MS + WRITE_MS - 1);
    CHECK(world.call_count == 0 && !shoal_job_is_final(job));
    run(&world, 1);
    CHECK(take(&world, "map").call == lost.call);
    world_close(&world);
}

//
static void
a_worker_whose_process_has_ended_is_waited_for_as_long_as_one_write(void)
{
    world_t world;
    world_open(&world);
    (void)write_directly(&world);
    sent_call_t lost = take(&world, "map");
    (void)join_plain(&world, 1, 1, 1);
    run(&world, 0);
    answer(&world, "map");
    world.seq[0] = 0;
    (void)join(&world, 0, 1, 1, 2, SHOAL_SLICE_NONE, SHOAL_SLICE_NONE);
    run(&world, WRITE_MS - 1);
    CHECK(world.call_count == 0);
    run(&world, 1);
    CHECK(take(&world, "map").call == lost.call);
    world_close(&world);
}

//
static void
a_job_whose_shards_may_still_be_written_is_not_over(void)
{
    world_t world;
    world_open(&world);
    shoal_job_t *job = write_directly(&world);
    (void)join_plain(&world, 1, 1, 1);
    run(&world, 0);
    sent_call_t other = take(&world, "map");
    other = other.worker->id[1] == '1' ? other : take(&world, "map");
    for (int losses = 1; losses < SHOAL_LOSSES_MAX;
         losses++) { // the lease of one ends again and again
        run(&world, LEASE_MS + WRITE_MS);
        shoal_cluster_note(world.cluster, other.worker, SHOAL_WORKER_ON_HEARD);
        world.call_count = 0;
        run(&world, LEASE_MS + WRITE_MS);
    }
    CHECK(job->dead == 0 && job->running > 0);
    world.call_count = 0;
    run(&world, LEASE_MS);
    CHECK(job->dead > 0 && !shoal_job_is_final(job)); // given up, and its slot may still write
    run(&world, WRITE_MS);
    CHECK(!shoal_job_is_final(job) && count(&world, "finish") == 0);
    run(&world, 2 * (LEASE_MS + WRITE_MS));
    CHECK(job->dead == 2 && (shoal_job_is_final(job) || count(&world, "finish") == 1));
    world_close(&world);
}

TEST_MAIN(
    TEST(a_job_runs_stage_by_stage), TEST(a_prerequisite_comes_first_and_link_comes_last),
    TEST(a_dead_prerequisite_takes_a_chain_of_any_length_with_it),
    TEST(a_transient_error_is_retried_with_back_off_and_then_given_up),
    TEST(a_config_error_fails_the_job_at_once_and_cancels_the_rest),
    TEST(a_check_that_fails_is_the_end), TEST(something_dead_beside_something_done_is_partial),
    TEST(a_call_without_progress_is_fenced_and_given_out_again),
    TEST(calls_of_a_lost_worker_run_elsewhere_and_its_late_results_are_fenced),
    TEST(what_is_given_back_politely_runs_at_once_and_counts_for_nothing),
    TEST(a_draining_worker_gets_nothing_and_what_it_returns_goes_elsewhere),
    TEST(the_same_process_keeps_what_it_names_and_loses_the_rest),
    TEST(a_shard_that_crashes_two_workers_runs_alone_once_more_and_is_dead_then_with_the_signal),
    TEST(a_neighbour_of_a_crash_runs_alone_too_and_is_done),
    TEST(a_shard_that_is_to_run_alone_waits_until_its_worker_has_nothing_else),
    TEST(a_worker_that_is_kept_for_a_shard_and_goes_leaves_it_to_another),
    TEST(a_job_that_ends_frees_the_worker_that_was_kept_for_its_shard),
    TEST(a_worker_that_was_killed_from_outside_says_nothing_about_its_shard),
    TEST(a_result_that_is_sent_again_counts_once),
    TEST(a_result_that_disagrees_with_what_arrived_is_retried),
    TEST(who_overdraws_the_credit_is_refused), TEST(items_that_make_no_sense_end_discovery),
    TEST(a_new_attempt_of_discover_goes_on_from_the_cursor),
    TEST(a_shard_comes_together_with_its_cursor), TEST(a_stopped_job_cancels_what_runs),
    TEST(a_submit_that_is_sent_again_finds_its_job),
    TEST(specifications_that_are_wrong_are_refused_with_the_key),
    TEST(there_is_room_for_so_many_jobs_and_final_ones_make_room),
    TEST(slots_come_first_prefetch_second_and_long_calls_are_not_prefetched),
    TEST(small_calls_are_packed_while_there_are_more_of_them_than_slots),
    TEST(jobs_share_the_slots_by_weight), TEST(parallelism_and_limit_cap_a_job),
    TEST(a_plan_runs_check_and_discover_only),
    TEST(a_worker_that_cannot_be_reached_gets_nothing_more),
    TEST(a_suspect_worker_keeps_its_calls_and_gets_no_more),
    TEST(a_job_that_takes_too_long_has_failed_and_says_so),
    TEST(a_job_that_nobody_runs_times_out_too),
    TEST(an_attempt_that_runs_too_long_is_cancelled_and_tried_again_as_often_as_a_failure),
    TEST(a_shard_that_may_still_be_written_runs_again_only_after_lease_and_write),
    TEST(a_worker_whose_process_has_ended_is_waited_for_as_long_as_one_write),
    TEST(a_job_whose_shards_may_still_be_written_is_not_over))
