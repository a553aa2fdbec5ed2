// SPDX-License-Identifier: Apache-2.0
//
// test_states.c - each state of a shard, of an attempt and of a job at the head meets each event,
// and docs/state-machines.md has the same table of what becomes of it.
//
// A world is made anew for each pair: one job with a prepare shard, a map shard that needs it (the
// one that is looked at) and another that keeps the job going.

#include <signal.h>

#include "head/cluster/cluster.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

#define LEASE_MS   1000
#define BACKOFF_MS 100000 // so that it is not over by chance
#define PREPARE    (SHOAL_SHARD_FIRST + 1)
#define LOOKED_AT  (SHOAL_SHARD_FIRST + 2)
#define OTHER      (SHOAL_SHARD_FIRST + 3)
#define CLASSES    SHOAL_SLICE("\x91\xa1\x63") // ["c"]

typedef struct world {
    shoal_cluster_t *cluster;
    shoal_worker_t *worker;
    shoal_job_t *job;
    uint64_t now_ms;
    uint64_t seq;
    uint64_t incarnation;
} world_t;

// ---- a port that sends nothing

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

// ---- what happens to a world

static const shoal_shard_t *
shard_of(const world_t *world, uint32_t index)
{
    return world->job->backlog ? shoal_backlog_at(world->job->backlog, index) : NULL;
}

// The state of a shard that must be there.
static int
state_of(const world_t *world, uint32_t index)
{
    const shoal_shard_t *shard = shard_of(world, index);
    CHECK(shard);
    return shard ? shard->state : -1;
}

static void
result(world_t *world, uint32_t shard, uint64_t attempt, shoal_outcome_t outcome,
       shoal_error_class_t error_class)
{
    shoal_msg_result_t message = {.seq = ++world->seq,
                                  .call = shoal_call_number(world->job->number, shard),
                                  .attempt = attempt,
                                  .outcome = outcome,
                                  .error_class = error_class,
                                  .code = SHOAL_IO,
                                  .reason = SHOAL_SLICE("it broke")};
    shoal_cluster_result(world->cluster, world->worker, &message, world->now_ms);
}

// Of the attempt that is live, or was last.
static void
result_last(world_t *world, uint32_t index, shoal_outcome_t outcome,
            shoal_error_class_t error_class)
{
    const shoal_shard_t *shard = shard_of(world, index);
    result(world, index, shard && shard->attempt > 0 ? shard->attempt : 1, outcome, error_class);
}

static bool
batch(world_t *world, uint32_t shard, uint64_t attempt, uint64_t seq, shoal_slice_t bytes)
{
    zmq_msg_t payload;
    CHECK(zmq_msg_init_size(&payload, bytes.len) == 0);
    memcpy(zmq_msg_data(&payload), bytes.ptr, bytes.len);
    shoal_msg_batch_t message = {.call = shoal_call_number(world->job->number, shard),
                                 .attempt = attempt,
                                 .seq = seq,
                                 .records = 1};
    shoal_status_t status = SHOAL_STATUS_INIT;
    bool is_fine = shoal_cluster_batch(world->cluster, world->worker, &message, &payload,
                                       world->now_ms, &status);
    (void)zmq_msg_close(&payload);
    return is_fine;
}

// The worker registers: as the same process, naming the shards that it runs, or as a new one.
static void
join(world_t *world, bool is_same, const uint32_t *running, uint32_t count, shoal_slice_t last_exit)
{
    shoal_buffer_t list = SHOAL_BUFFER_INIT;
    shoal_write_array(&list, count);
    for (uint32_t i = 0; i < count; i++) {
        const shoal_shard_t *shard = shard_of(world, running[i]);
        shoal_write_array(&list, 2);
        shoal_write_uint(&list, shoal_call_number(world->job->number, running[i]));
        shoal_write_uint(&list, shard ? shard->attempt : 1);
    }
    if (!is_same) {
        world->incarnation++;
        world->seq = 0;
    }
    shoal_offer_t offer = {.id = SHOAL_SLICE("w"),
                           .incarnation = world->incarnation,
                           .slots = 8,
                           .window = 8,
                           .classes = CLASSES};
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_cluster_join(world->cluster, &offer, shoal_buffer_slice(&list), last_exit,
                                world->now_ms, &world->worker, &status),
             status);
    shoal_buffer_fini(&list);
}

static void
dispatch(world_t *world)
{
    shoal_cluster_dispatch(world->cluster, world->now_ms);
}

static void
lose(world_t *world, shoal_worker_event_t event)
{
    shoal_cluster_lose(world->cluster, world->worker, event, "it is gone", world->now_ms);
}

// Time passes; what is live has made progress meanwhile, or not.
static void
wait_for(world_t *world, uint64_t ms, bool has_progress)
{
    world->now_ms += ms;
    if (has_progress) {
        shoal_buffer_t list = SHOAL_BUFFER_INIT;
        size_t mark = shoal_write_array_later(&list);
        uint32_t count = 0;
        for (uint32_t i = 0; world->job->backlog && i < shoal_backlog_end(world->job->backlog);
             i++) {
            const shoal_shard_t *shard = shard_of(world, i);
            if (shard && shard->state == SHOAL_SHARD_RUNNING) {
                shoal_write_array(&list, 3);
                shoal_write_uint(&list, shoal_call_number(world->job->number, i));
                shoal_write_uint(&list, shard->attempt);
                shoal_write_uint(&list, world->now_ms); // it only has to grow
                count++;
            }
        }
        shoal_write_count_now(&list, mark, count);
        shoal_status_t status = SHOAL_STATUS_INIT;
        CHECK_OK(shoal_cluster_progress(world->cluster, world->worker, shoal_buffer_slice(&list),
                                        world->now_ms, &status),
                 status);
        shoal_buffer_fini(&list);
    }
    shoal_cluster_window(world->cluster, world->worker, 0); // nothing new starts
    shoal_cluster_run(world->cluster, world->now_ms);
}

static void
submit(world_t *world)
{
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    shoal_write_map(&spec, 2);
    shoal_write_key(&spec, "class");
    shoal_write_key(&spec, "c");
    shoal_write_key(&spec, "retry");
    shoal_write_map(&spec, 3);
    shoal_write_key(&spec, "max_attempts");
    shoal_write_uint(&spec, 3);
    shoal_write_key(&spec, "backoff_ms");
    shoal_write_uint(&spec, BACKOFF_MS);
    shoal_write_key(&spec, "factor");
    shoal_write_float(&spec, 1.0);
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_cluster_submit(world->cluster, SHOAL_SLICE("job"), shoal_buffer_slice(&spec),
                                  world->now_ms, &world->job, &status),
             status);
    shoal_buffer_fini(&spec);
}

static void
put_shard(shoal_buffer_t *items, uint64_t number, shoal_stage_t stage, uint64_t needs)
{
    shoal_write_map(items, 4);
    shoal_write_key(items, "shard");
    shoal_write_uint(items, number);
    shoal_write_key(items, "stage");
    shoal_write_uint(items, (uint64_t)stage);
    shoal_write_key(items, "needs");
    shoal_write_uint(items, needs);
    shoal_write_key(items, "cost");
    shoal_write_uint(items, 1000000);
}

static void
world_open(world_t *world)
{
    *world = (world_t){.now_ms = 1000, .incarnation = 1};
    shoal_cluster_config_t config = {.port = {.ctx = world,
                                              .call = port_call,
                                              .cancel = port_cancel,
                                              .grant = port_grant,
                                              .drop_actor = port_drop_actor,
                                              .changed = port_changed,
                                              .forgotten = port_forgotten,
                                              .ended = port_ended},
                                     .lease_ms = LEASE_MS,
                                     .seed = 7};
    world->cluster = shoal_cluster_new(&config);
    join(world, /*is_same=*/true, NULL, 0, SHOAL_SLICE_NONE);
    submit(world);
}

// The three shards are there: the prepare shard and the other one run, the one looked at waits.
static void
discover(world_t *world)
{
    dispatch(world);
    result_last(world, SHOAL_SHARD_CHECK, SHOAL_OUTCOME_DONE, SHOAL_TRANSIENT);
    dispatch(world);
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    put_shard(&items, 1, SHOAL_STAGE_PREPARE, 0);
    put_shard(&items, 2, SHOAL_STAGE_MAP, 1);
    put_shard(&items, 3, SHOAL_STAGE_MAP, 0);
    CHECK(batch(world, SHOAL_SHARD_DISCOVER, 1, 0, shoal_buffer_slice(&items)));
    shoal_buffer_fini(&items);
    dispatch(world);
    CHECK(state_of(world, PREPARE) == SHOAL_SHARD_RUNNING);
    CHECK(state_of(world, LOOKED_AT) == SHOAL_SHARD_WAITING);
    CHECK(state_of(world, OTHER) == SHOAL_SHARD_RUNNING);
}

// ---- a shard

typedef enum shard_event {
    SHARD_NEEDED_DONE,
    SHARD_NEEDED_DEAD,
    SHARD_SLOT,
    SHARD_DONE,
    SHARD_TRANSIENT,
    SHARD_FATAL,
    SHARD_RETURNED,
    SHARD_LOST,
    SHARD_LEASE,
    SHARD_CRASH,
    SHARD_RIPE,
    SHARD_EVENT_COUNT
} shard_event_t;

static void
shard_bring(world_t *world, shoal_shard_state_t state)
{
    discover(world);
    if (state == SHOAL_SHARD_WAITING) {
        return;
    }
    if (state == SHOAL_SHARD_READY) { // there is no slot for it
        shoal_cluster_window(world->cluster, world->worker, 0);
    }
    result_last(world, PREPARE, SHOAL_OUTCOME_DONE, SHOAL_TRANSIENT);
    dispatch(world);
    if (state == SHOAL_SHARD_DELAYED) {
        result_last(world, LOOKED_AT, SHOAL_OUTCOME_FAILED, SHOAL_TRANSIENT);
    } else if (state == SHOAL_SHARD_DONE) {
        result_last(world, LOOKED_AT, SHOAL_OUTCOME_DONE, SHOAL_TRANSIENT);
    } else if (state == SHOAL_SHARD_DEAD) {
        result_last(world, LOOKED_AT, SHOAL_OUTCOME_FAILED, SHOAL_FATAL);
    }
}

static void
shard_happen(world_t *world, shard_event_t event)
{
    static const shoal_slice_t crash = {"\x81\xa6signal\x0b", 9};
    CHECK(SIGSEGV == 11);
    switch (event) {
    case SHARD_NEEDED_DONE: result_last(world, PREPARE, SHOAL_OUTCOME_DONE, SHOAL_TRANSIENT); break;
    case SHARD_NEEDED_DEAD: result_last(world, PREPARE, SHOAL_OUTCOME_FAILED, SHOAL_FATAL); break;
    case SHARD_SLOT:
        shoal_cluster_window(world->cluster, world->worker, 8);
        dispatch(world);
        break;
    case SHARD_DONE: result_last(world, LOOKED_AT, SHOAL_OUTCOME_DONE, SHOAL_TRANSIENT); break;
    case SHARD_TRANSIENT:
        result_last(world, LOOKED_AT, SHOAL_OUTCOME_FAILED, SHOAL_TRANSIENT);
        break;
    case SHARD_FATAL: result_last(world, LOOKED_AT, SHOAL_OUTCOME_FAILED, SHOAL_FATAL); break;
    case SHARD_RETURNED:
        shoal_cluster_window(world->cluster, world->worker, 0); // it drains
        result_last(world, LOOKED_AT, SHOAL_OUTCOME_RETURNED, SHOAL_TRANSIENT);
        break;
    case SHARD_LOST: lose(world, SHOAL_WORKER_ON_LOSE); break;
    case SHARD_LEASE: wait_for(world, LEASE_MS, /*has_progress=*/false); break;
    case SHARD_CRASH: join(world, /*is_same=*/false, NULL, 0, crash); break;
    case SHARD_RIPE: wait_for(world, BACKOFF_MS, /*has_progress=*/true); break;
    case SHARD_EVENT_COUNT:
    default: break;
    }
}

// The text of docs/state-machines.md between two headings.
static const char *
section_read(const char *heading)
{
    FILE *file = fopen("docs/state-machines.md", "r");
    CHECK(file != NULL);
    static char text[65536];
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    char *from = strstr(text, heading);
    CHECK(from != NULL);
    char *to = strstr(from + 3, "\n## ");
    if (to) {
        *to = '\0';
    }
    return from;
}

static void
each_state_of_a_shard_meets_each_event(void)
{
    const char *section = section_read("## A shard at the head");
    for (int state = SHOAL_SHARD_WAITING; state < SHOAL_SHARD_STATE_COUNT; state++) {
        char row[512];
        int len = snprintf(row, sizeof(row), "| %s |", shoal_shard_state_name(state));
        for (int event = 0; event < SHARD_EVENT_COUNT; event++) {
            world_t world;
            world_open(&world);
            shard_bring(&world, (shoal_shard_state_t)state);
            CHECK(state_of(&world, LOOKED_AT) == state);
            shard_happen(&world, (shard_event_t)event);
            int now = state_of(&world, LOOKED_AT);
            const shoal_shard_t *shard = shard_of(&world, LOOKED_AT);
            CHECK(shard && (now == SHOAL_SHARD_RUNNING) == (shard->live != SHOAL_SHARD_NONE));
            len += snprintf(row + len, sizeof(row) - (size_t)len, " %s |",
                            now == state ? "" : shoal_shard_state_name(now));
            shoal_cluster_destroy(&world.cluster);
        }
        CHECK_SAYS(section, row);
    }
}

// ---- an attempt

typedef enum attempt_event {
    ATTEMPT_PROGRESS,
    ATTEMPT_BATCH,
    ATTEMPT_BATCH_MISSING,
    ATTEMPT_DONE,
    ATTEMPT_DONE_WRONG,
    ATTEMPT_FAILED,
    ATTEMPT_RETURNED,
    ATTEMPT_CANCELLED,
    ATTEMPT_STRANGE,
    ATTEMPT_LATE,
    ATTEMPT_CUT,
    ATTEMPT_NAMED,
    ATTEMPT_NOT_NAMED,
    ATTEMPT_NEW_PROCESS,
    ATTEMPT_LEFT,
    ATTEMPT_LOST,
    ATTEMPT_LEASE,
    ATTEMPT_OLDER,
    ATTEMPT_STOP,
    ATTEMPT_EVENT_COUNT
} attempt_event_t;

static const char *const attempt_events[ATTEMPT_EVENT_COUNT] = {
    [ATTEMPT_PROGRESS] = "its number has grown",
    [ATTEMPT_BATCH] = "a batch",
    [ATTEMPT_BATCH_MISSING] = "a batch after one that is missing",
    [ATTEMPT_DONE] = "result: done",
    [ATTEMPT_DONE_WRONG] = "result: done, with other counts than arrived",
    [ATTEMPT_FAILED] = "result: failed",
    [ATTEMPT_RETURNED] = "result: returned",
    [ATTEMPT_CANCELLED] = "result: cancelled",
    [ATTEMPT_STRANGE] = "result: an outcome that is none",
    [ATTEMPT_LATE] = "its worker is late",
    [ATTEMPT_CUT] = "its worker's connection is cut",
    [ATTEMPT_NAMED] = "its worker is back and names it",
    [ATTEMPT_NOT_NAMED] = "its worker is back without it",
    [ATTEMPT_NEW_PROCESS] = "its worker is back as a new process",
    [ATTEMPT_LEFT] = "its worker says BYE",
    [ATTEMPT_LOST] = "its worker is lost",
    [ATTEMPT_LEASE] = "its lease is over",
    [ATTEMPT_OLDER] = "a result of an earlier attempt",
    [ATTEMPT_STOP] = "its job is stopped",
};

static void
attempt_happen(world_t *world, attempt_event_t event, uint64_t attempt)
{
    static const uint32_t all[] = {SHOAL_SHARD_DISCOVER, OTHER, LOOKED_AT};
    shoal_msg_result_t wrong = {
        .call = shoal_call_number(world->job->number, LOOKED_AT), .attempt = attempt, .batches = 5};
    switch (event) {
    case ATTEMPT_PROGRESS: wait_for(world, 1, /*has_progress=*/true); break;
    case ATTEMPT_BATCH: CHECK(batch(world, LOOKED_AT, attempt, 0, SHOAL_SLICE("x"))); break;
    case ATTEMPT_BATCH_MISSING: CHECK(batch(world, LOOKED_AT, attempt, 3, SHOAL_SLICE("x"))); break;
    case ATTEMPT_DONE:
        result(world, LOOKED_AT, attempt, SHOAL_OUTCOME_DONE, SHOAL_TRANSIENT);
        break;
    case ATTEMPT_DONE_WRONG:
        wrong.seq = ++world->seq;
        shoal_cluster_result(world->cluster, world->worker, &wrong, world->now_ms);
        break;
    case ATTEMPT_FAILED:
        result(world, LOOKED_AT, attempt, SHOAL_OUTCOME_FAILED, SHOAL_TRANSIENT);
        break;
    case ATTEMPT_RETURNED:
        result(world, LOOKED_AT, attempt, SHOAL_OUTCOME_RETURNED, SHOAL_TRANSIENT);
        break;
    case ATTEMPT_CANCELLED:
        result(world, LOOKED_AT, attempt, SHOAL_OUTCOME_CANCELLED, SHOAL_TRANSIENT);
        break;
    case ATTEMPT_STRANGE:
        result(world, LOOKED_AT, attempt, (shoal_outcome_t)77, SHOAL_TRANSIENT);
        break;
    case ATTEMPT_LATE:
        shoal_cluster_note(world->cluster, world->worker, SHOAL_WORKER_ON_LATE);
        break;
    case ATTEMPT_CUT: shoal_cluster_note(world->cluster, world->worker, SHOAL_WORKER_ON_CUT); break;
    case ATTEMPT_NAMED: join(world, /*is_same=*/true, all, 3, SHOAL_SLICE_NONE); break;
    case ATTEMPT_NOT_NAMED: join(world, /*is_same=*/true, all, 2, SHOAL_SLICE_NONE); break;
    case ATTEMPT_NEW_PROCESS: join(world, /*is_same=*/false, NULL, 0, SHOAL_SLICE_NONE); break;
    case ATTEMPT_LEFT: lose(world, SHOAL_WORKER_ON_LEAVE); break;
    case ATTEMPT_LOST: lose(world, SHOAL_WORKER_ON_LOSE); break;
    case ATTEMPT_LEASE: wait_for(world, LEASE_MS, /*has_progress=*/false); break;
    case ATTEMPT_OLDER:
        result(world, LOOKED_AT, attempt - 1, SHOAL_OUTCOME_DONE, SHOAL_TRANSIENT);
        break;
    case ATTEMPT_STOP:
        shoal_cluster_stop_job(world->cluster, world->job, "enough", world->now_ms);
        break;
    case ATTEMPT_EVENT_COUNT:
    default: break;
    }
}

// What an attempt that has ended hears changes nothing: it is counted as fenced.
static void
ended_attempt_checked(attempt_event_t event)
{
    world_t world;
    world_open(&world);
    shard_bring(&world, SHOAL_SHARD_DELAYED);
    uint64_t fenced = shoal_cluster_counts(world.cluster)->fenced;
    attempt_happen(&world, event, 1);
    const shoal_shard_t *shard = shard_of(&world, LOOKED_AT);
    bool is_message = event == ATTEMPT_BATCH || event == ATTEMPT_BATCH_MISSING ||
                      (event >= ATTEMPT_DONE && event <= ATTEMPT_STRANGE) || event == ATTEMPT_OLDER;
    CHECK(event == ATTEMPT_STOP || (shard && shard->state == SHOAL_SHARD_DELAYED));
    CHECK(shoal_cluster_counts(world.cluster)->fenced == fenced + (is_message ? 1 : 0));
    shoal_cluster_destroy(&world.cluster);
}

//
static void
each_state_of_an_attempt_meets_each_event(void)
{
    const char *section = section_read("## An attempt at the head");
    for (int event = 0; event < ATTEMPT_EVENT_COUNT; event++) {
        world_t world;
        world_open(&world);
        shard_bring(&world, SHOAL_SHARD_RUNNING);
        attempt_happen(&world, (attempt_event_t)event, 1);
        const shoal_shard_t *shard = shard_of(&world, LOOKED_AT);
        bool is_live = shard && shard->live != SHOAL_SHARD_NONE;
        char row[256];
        (void)snprintf(row, sizeof(row), "| %s | %s | %s |", attempt_events[event],
                       is_live ? "live" : "ended",
                       is_live ? "" : (shard ? shoal_shard_state_name(shard->state) : "gone"));
        CHECK_SAYS(section, row);
        shoal_cluster_destroy(&world.cluster);
        ended_attempt_checked((attempt_event_t)event);
    }
}

// ---- a job

typedef enum job_event {
    JOB_SLOT,
    JOB_CHECK_DEAD,
    JOB_CONFIG,
    JOB_SHARD_DEAD,
    JOB_ALL_OVER,
    JOB_STOP,
    JOB_SUBMIT,
    JOB_EVENT_COUNT
} job_event_t;

// Everything that is left of the job succeeds.
static void
job_complete(world_t *world)
{
    static const uint32_t order[] = {
        SHOAL_SHARD_CHECK, SHOAL_SHARD_DISCOVER, PREPARE, LOOKED_AT, OTHER, SHOAL_SHARD_FINISH};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const shoal_shard_t *shard = shard_of(world, order[i]);
        if (shard && shard->live != SHOAL_SHARD_NONE) {
            shoal_msg_result_t message = {
                .seq = ++world->seq,
                .call = shoal_call_number(world->job->number, order[i]),
                .attempt = shard->attempt,
                .batches = order[i] == SHOAL_SHARD_DISCOVER && world->job->shards > 0,
                .records = order[i] == SHOAL_SHARD_DISCOVER && world->job->shards > 0};
            shoal_cluster_result(world->cluster, world->worker, &message, world->now_ms);
        }
        dispatch(world);
    }
}

static void
job_bring(world_t *world, shoal_job_state_t state, job_event_t event)
{
    if (state == SHOAL_JOB_PENDING) {
        return;
    }
    if (state == SHOAL_JOB_RUNNING && event == JOB_CHECK_DEAD) { // it is still at its check
        dispatch(world);
        return;
    }
    discover(world);
    if (state == SHOAL_JOB_PARTIAL) {
        result_last(world, OTHER, SHOAL_OUTCOME_FAILED, SHOAL_FATAL);
    } else if (state == SHOAL_JOB_FAILED) {
        result_last(world, OTHER, SHOAL_OUTCOME_FAILED, SHOAL_CONFIG);
    } else if (state == SHOAL_JOB_STOPPED) {
        shoal_cluster_stop_job(world->cluster, world->job, "enough", world->now_ms);
    }
    if (state != SHOAL_JOB_RUNNING) {
        job_complete(world);
    }
}

static void
job_happen(world_t *world, job_event_t event)
{
    shoal_job_t *job = world->job;
    switch (event) {
    case JOB_SLOT: dispatch(world); break;
    case JOB_CHECK_DEAD:
        result_last(world, SHOAL_SHARD_CHECK, SHOAL_OUTCOME_FAILED, SHOAL_FATAL);
        break;
    case JOB_CONFIG: result_last(world, OTHER, SHOAL_OUTCOME_FAILED, SHOAL_CONFIG); break;
    case JOB_SHARD_DEAD:
        result_last(world, OTHER, SHOAL_OUTCOME_FAILED, SHOAL_FATAL);
        job_complete(world);
        break;
    case JOB_ALL_OVER: job_complete(world); break;
    case JOB_STOP: shoal_cluster_stop_job(world->cluster, job, "enough", world->now_ms); break;
    case JOB_SUBMIT:
        submit(world);
        CHECK(world->job == job);
        break;
    case JOB_EVENT_COUNT:
    default: break;
    }
}

// PENDING has no calls yet, so what only calls can bring about leaves it as it is.
static void
each_state_of_a_job_meets_each_event(void)
{
    const char *section = section_read("## A job");
    for (int state = 0; state < SHOAL_JOB_STATE_COUNT; state++) {
        char row[512];
        int len = snprintf(row, sizeof(row), "| %s |", shoal_job_state_name(state));
        for (int event = 0; event < JOB_EVENT_COUNT; event++) {
            world_t world;
            world_open(&world);
            job_bring(&world, (shoal_job_state_t)state, (job_event_t)event);
            CHECK((int)world.job->state == state);
            if (state == SHOAL_JOB_PENDING && event >= JOB_CHECK_DEAD && event <= JOB_ALL_OVER) {
                shoal_cluster_window(world.cluster, world.worker, 0);
            }
            job_happen(&world, (job_event_t)event);
            int to = (int)world.job->state;
            len += snprintf(row + len, sizeof(row) - (size_t)len, " %s |",
                            to == state ? "" : shoal_job_state_name(to));
            CHECK(state < SHOAL_JOB_SUCCEEDED || to == state); // final ones are
            CHECK(shoal_job_is_final(world.job) == (world.job->backlog == NULL));
            shoal_cluster_destroy(&world.cluster);
        }
        CHECK_SAYS(section, row);
    }
}

TEST_MAIN(TEST(each_state_of_a_shard_meets_each_event),
          TEST(each_state_of_an_attempt_meets_each_event),
          TEST(each_state_of_a_job_meets_each_event))
