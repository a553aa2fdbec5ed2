// SPDX-License-Identifier: Apache-2.0
//
// job.c - see job.h.

#include "head/cluster/job.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "head/cluster/run.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"

shoal_job_t *
shoal_job_new(uint64_t number, shoal_slice_t id, const shoal_spec_t *spec, unsigned class_number,
              uint64_t now_ms)
{
    assert(id.len <= SHOAL_JOB_ID_MAX && spec->name.len <= SHOAL_JOB_NAME_MAX);
    shoal_job_t *job = shoal_alloc(sizeof(*job));
    job->number = number;
    job->run = 1;
    shoal_retry_budget_init(&job->retries);
    job->class_number = class_number;
    job->created_ms = now_ms;
    job->page.job = number;
    memcpy(job->id, id.ptr, id.len);
    if (spec->name.len > 0) {
        memcpy(job->name, spec->name.ptr, spec->name.len);
    }
    job->args = shoal_alloc(spec->args.len);
    memcpy(job->args, spec->args.ptr, spec->args.len);
    job->args_len = spec->args.len;
    job->spec = *spec;
    job->spec.name = job->spec.class_name = SHOAL_SLICE_NONE;
    job->spec.args = job->spec.letters = SHOAL_SLICE_NONE;
    job->state = SHOAL_JOB_PENDING;
    job->stage = SHOAL_STAGE_CHECK;
    job->link_first = SHOAL_SHARD_NONE;
    job->backlog = shoal_backlog_new();
    static const struct {
        shoal_stage_t stage;
        shoal_slice_t title;
    } own[SHOAL_SHARD_FIRST] = {
        [SHOAL_SHARD_CHECK] = {SHOAL_STAGE_CHECK, {"check", 5}},
        [SHOAL_SHARD_DISCOVER] = {SHOAL_STAGE_DISCOVER, {"discover", 8}},
        [SHOAL_SHARD_FINISH] = {SHOAL_STAGE_FINISH, {"finish", 6}},
    };
    for (uint32_t i = 0; i < SHOAL_SHARD_FIRST; i++) {
        shoal_shard_item_t item = {.stage = own[i].stage,
                                   .needs = SHOAL_SHARD_NONE,
                                   .cost_us = SHOAL_COST_FIRST,
                                   .title = own[i].title};
        shoal_status_t status = SHOAL_STATUS_INIT;
        bool is_added = shoal_backlog_add(job->backlog, i, &item, &status);
        assert(is_added);
        (void)is_added;
    }
    shoal_backlog_set(job->backlog, SHOAL_SHARD_CHECK, SHOAL_SHARD_READY);
    return job;
}

void
shoal_job_buried_clear(shoal_job_t *job)
{
    for (size_t i = 0; i < job->buried_count; i++) {
        free(job->buried[i].why);
        free(job->buried[i].worker);
    }
    free(job->buried);
    job->buried = NULL;
    job->buried_count = job->buried_size = 0;
}

static void
groups_free(shoal_job_t *job)
{
    shoal_run_plan_t plan = {job->groups, job->group_count};
    shoal_run_plan_fini(&plan);
    job->groups = NULL;
    job->group_count = 0;
}

void
shoal_job_destroy(shoal_job_t **job)
{
    if (!job || !*job) {
        return;
    }
    assert(!(*job)->attempts);
    shoal_backlog_destroy(&(*job)->backlog);
    shoal_books_fini(&(*job)->books);
    shoal_output_destroy(&(*job)->output);
    shoal_buffer_fini(&(*job)->final_detail);
    shoal_letters_destroy(&(*job)->letters);
    shoal_history_destroy(&(*job)->history);
    shoal_job_buried_clear(*job);
    groups_free(*job);
    shoal_buffer_fini(&(*job)->opening);
    free((*job)->args);
    free((*job)->cursor);
    free(*job);
    *job = NULL;
}

void
shoal_job_stop(shoal_job_t *job, shoal_job_state_t state)
{
    if (!job->is_stopping) {
        job->is_stopping = true;
        job->end_state = state;
    }
}

static bool
is_own(uint32_t shard)
{
    return shard < SHOAL_SHARD_FIRST;
}

// The shard is done: those that waited for it can go.
static void
waiters_release(shoal_job_t *job, uint32_t index)
{
    uint32_t waiter;
    while ((waiter = shoal_backlog_unchain(job->backlog, index)) != SHOAL_SHARD_NONE) {
        shoal_backlog_set(job->backlog, waiter, SHOAL_SHARD_READY);
    }
}

// Gives one shard up and lists it.
static void
bury_one(shoal_job_t *job, uint32_t index, const shoal_buried_t *buried)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    shoal_books_bury(&job->books, shoal_backlog_expects(job->backlog, shard));
    shoal_backlog_set(job->backlog, index, SHOAL_SHARD_DEAD);
    if (is_own(index)) {
        free(buried->why);
        free(buried->worker);
        return; // check, discover and finish are no letters
    }
    job->dead++;
    if (job->buried_count == job->buried_size) {
        job->buried_size = job->buried_size ? 2 * job->buried_size : 8;
        job->buried = shoal_realloc(job->buried, job->buried_size * sizeof(*job->buried));
    }
    job->buried[job->buried_count++] = *buried;
}

// Gives a shard up, and those that need it with theirs. No recursion: the list of the buried is the
// queue.
static void
bury(shoal_job_t *job, uint32_t index, const shoal_buried_t *buried)
{
    size_t at = job->buried_count;
    uint32_t needed = index;
    bury_one(job, index, buried);
    at += is_own(index) ? 0 : 1;
    for (;;) {
        uint32_t waiter;
        while ((waiter = shoal_backlog_unchain(job->backlog, needed)) != SHOAL_SHARD_NONE) {
            const shoal_buried_t along = {.shard = waiter, .because = needed};
            bury_one(job, waiter, &along);
        }
        if (at >= job->buried_count) {
            return;
        }
        needed = job->buried[at++].shard;
    }
}

void
shoal_job_shard_orphaned(shoal_job_t *job, uint32_t index)
{
    const shoal_buried_t along = {.shard = index,
                                  .because = shoal_backlog_at(job->backlog, index)->needs};
    bury(job, index, &along);
}

bool
shoal_job_collects(const shoal_job_t *job, const shoal_shard_t *shard)
{
    return job->output && shard->stage >= SHOAL_STAGE_PREPARE && shard->stage <= SHOAL_STAGE_LINK;
}

// What check says of the job: "write_ms".
static void
note_check(shoal_job_t *job, shoal_slice_t detail)
{
    shoal_slice_t value;
    if (detail.len > 0 && shoal_map_find(detail, "write_ms", &value)) {
        shoal_cursor_t cursor = shoal_cursor_over(value);
        uint64_t write_ms = shoal_cursor_uint(&cursor);
        write_ms = write_ms < SHOAL_WRITE_MS_MAX ? write_ms : SHOAL_WRITE_MS_MAX;
        job->write_ms = cursor.is_bad ? 0 : write_ms;
    }
}

bool
shoal_job_take_result(shoal_job_t *job, uint32_t index, shoal_slice_t detail, uint64_t records,
                      const char *worker, shoal_status_t *status)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    bool delivers = shard->stage >= SHOAL_STAGE_PREPARE && shard->stage <= SHOAL_STAGE_LINK;
    uint64_t before = job->books.successful;
    if (!shoal_books_take(&job->books, detail, delivers ? records : 0, worker, status)) {
        return false;
    }
    if (shard->stage == SHOAL_STAGE_MAP) {
        job->map_records += job->books.successful - before;
    }
    job->records = job->books.successful;
    if (index == SHOAL_SHARD_CHECK) {
        note_check(job, detail);
    }
    return true;
}

void
shoal_job_shard_done(shoal_job_t *job, uint32_t index)
{
    shoal_backlog_set(job->backlog, index, SHOAL_SHARD_DONE);
    if (index == SHOAL_SHARD_DISCOVER) {
        job->is_discovered = true;
    } else if (!is_own(index)) {
        job->done++;
    }
    waiters_release(job, index);
    if (job->spec.limit > 0 && job->map_records >= job->spec.limit) {
        job->is_limited = true;
    }
}

// Gives a shard up, and the ones that need it.
static void
shard_bury(shoal_job_t *job, uint32_t index, const shoal_status_t *why, const char *worker)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    shoal_buried_t buried = {.shard = index, .because = SHOAL_SHARD_NONE};
    shoal_books_error(&job->books, why, shoal_backlog_title(job->backlog, shard), worker);
    buried.why = shoal_alloc(sizeof(*why));
    *buried.why = *why;
    buried.worker = shoal_strdup(worker);
    if (index == SHOAL_SHARD_DISCOVER) {
        job->is_discovered = true;
    }
    bury(job, index, &buried);
}

static uint64_t
back_off(const shoal_job_t *job, unsigned failures, uint64_t chance)
{
    double delay = (double)job->spec.backoff_ms;
    for (unsigned i = 1; i < failures && delay < SHOAL_BACKOFF_MS_MAX; i++) {
        delay *= job->spec.factor;
    }
    if (delay > SHOAL_BACKOFF_MS_MAX) {
        delay = SHOAL_BACKOFF_MS_MAX;
    }
    // Between half and all of it, so that what failed together does not come back together.
    uint64_t whole = (uint64_t)delay;
    return whole / 2 + (whole ? chance % (whole - whole / 2 + 1) : 0);
}

// Whether the shard may be tried again after this end, and when.
static uint64_t
retry_delay(const shoal_job_t *job, shoal_shard_t *shard, shoal_end_t end,
            const shoal_status_t *why, uint64_t chance)
{
    switch (end) {
    case SHOAL_END_RETURNED: return 0;
    case SHOAL_END_DECLINED: return SHOAL_LOSS_DELAY_MS;
    case SHOAL_END_LOST:
        shard->losses++;
        return shard->losses >= SHOAL_LOSSES_MAX ? SHOAL_JOB_NO_RETRY : SHOAL_LOSS_DELAY_MS;
    case SHOAL_END_FAILED:
    case SHOAL_END_LATE:
    default: break;
    }
    shard->failures++;
    if (why->error_class != SHOAL_TRANSIENT || shard->failures >= job->spec.max_attempts) {
        return SHOAL_JOB_NO_RETRY;
    }
    uint64_t delay = back_off(job, shard->failures, chance);
    return end == SHOAL_END_LATE && delay < SHOAL_LOSS_DELAY_MS ? SHOAL_LOSS_DELAY_MS : delay;
}

uint64_t
shoal_job_shard_failed(shoal_job_t *job, uint32_t index, shoal_end_t end, const shoal_status_t *why,
                       const char *worker, uint64_t chance)
{
    shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    uint64_t delay = retry_delay(job, shard, end, why, chance);
    if (delay == SHOAL_JOB_NO_RETRY) {
        shard_bury(job, index, why, worker);
        if (end == SHOAL_END_FAILED && why->error_class == SHOAL_CONFIG) {
            shoal_job_stop(job, SHOAL_JOB_FAILED); // promise 5: at once
        }
        return delay;
    }
    if (end == SHOAL_END_FAILED || end == SHOAL_END_LOST || end == SHOAL_END_LATE) {
        job->retried++;
        shoal_buffer_t text = SHOAL_BUFFER_INIT;
        shoal_buffer_append_format(&text, "tried again: %s", why->text);
        shoal_books_warn(&job->books, shoal_buffer_slice(&text), 1);
        shoal_buffer_fini(&text);
        (void)snprintf(job->wait_reason, sizeof(job->wait_reason), "%s", why->text);
    }
    shoal_backlog_set(job->backlog, index, delay ? SHOAL_SHARD_DELAYED : SHOAL_SHARD_READY);
    return delay;
}

bool
shoal_job_shard_crashed(shoal_job_t *job, uint32_t index, bool was_alone, const shoal_status_t *why,
                        const char *worker)
{
    shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    assert(shard);
    if (shard->state != SHOAL_SHARD_READY && shard->state != SHOAL_SHARD_DELAYED &&
        shard->state != SHOAL_SHARD_RUNNING) {
        return false; // it came to an end meanwhile
    }
    if (!was_alone) {
        if (shard->crashes < SHOAL_CRASHES_MAX) {
            shard->crashes++;
        }
        return false;
    }
    assert(shard->state != SHOAL_SHARD_RUNNING);
    shard_bury(job, index, why, worker);
    return true;
}

void
shoal_job_shard_ripe(shoal_job_t *job, uint32_t index)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    if (shard && shard->state == SHOAL_SHARD_DELAYED) {
        shoal_backlog_set(job->backlog, index, SHOAL_SHARD_READY);
    }
}

static bool
shard_is_over(const shoal_job_t *job, uint32_t index)
{
    int state = shoal_backlog_at(job->backlog, index)->state;
    return state == SHOAL_SHARD_DONE || state == SHOAL_SHARD_DEAD;
}

static bool
books_balance(const shoal_job_t *job)
{
    for (uint32_t i = 0; i < job->books.scope_end; i++) {
        const shoal_scope_t *scope = shoal_books_scope(&job->books, i);
        if (scope && (!shoal_scope_is_complete(scope) || !shoal_scope_is_balanced(scope))) {
            return false;
        }
    }
    return true;
}

shoal_job_state_t
shoal_job_verdict(const shoal_job_t *job)
{
    bool has_failed =
        job->dead > 0 || job->books.failed > 0 ||
        shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER)->state == SHOAL_SHARD_DEAD ||
        shoal_backlog_at(job->backlog, SHOAL_SHARD_FINISH)->state == SHOAL_SHARD_DEAD;
    bool is_whole = job->is_limited || job->spec.plan_only || books_balance(job);
    if (!has_failed && is_whole && job->books.error_count == 0) {
        return SHOAL_JOB_SUCCEEDED;
    }
    bool has_plan = job->spec.plan_only && job->shards > 0;
    bool has_result = job->books.successful > 0 || job->done > 0 || has_plan;
    return has_result ? SHOAL_JOB_PARTIAL : SHOAL_JOB_FAILED;
}

// The limit of records is reached: what has not started shall not, whatever becomes of finish.
static void
rest_set_aside(shoal_job_t *job)
{
    for (uint32_t i = 0; i < shoal_backlog_end(job->backlog); i++) {
        const shoal_shard_t *shard = shoal_backlog_at(job->backlog, i);
        if (shard && (shard->state == SHOAL_SHARD_READY || shard->state == SHOAL_SHARD_DELAYED)) {
            shoal_backlog_set(job->backlog, i, SHOAL_SHARD_WAITING);
        }
    }
}

static void
finish_prepare(shoal_job_t *job)
{
    job->stage = SHOAL_STAGE_FINISH;
    if (job->is_limited) {
        rest_set_aside(job);
    }
    shoal_backlog_set(job->backlog, SHOAL_SHARD_FINISH, SHOAL_SHARD_READY);
}

static bool
is_dead(const shoal_job_t *job, uint32_t index)
{
    return shoal_backlog_at(job->backlog, index)->state == SHOAL_SHARD_DEAD;
}

// Lets the shards of the stage link go, or go down with what they need.
static void
link_release(shoal_job_t *job)
{
    job->stage = SHOAL_STAGE_LINK;
    while (job->link_first != SHOAL_SHARD_NONE) {
        uint32_t index = job->link_first;
        shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
        job->link_first = shard->waiters;
        shard->waiters = SHOAL_SHARD_NONE;
        if (shard->needs != SHOAL_SHARD_NONE && is_dead(job, shard->needs)) {
            shoal_job_shard_orphaned(job, index);
        } else {
            shoal_backlog_set(job->backlog, index, SHOAL_SHARD_READY);
        }
    }
}

static bool
over(shoal_job_t *job, shoal_job_state_t state)
{
    shoal_job_stop(job, state);
    return true;
}

// A run discovers nothing: its shards are made of letters. True: that failed, and the job is over.
static bool
run_begin(shoal_job_t *job)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    job->stage = SHOAL_STAGE_MAP;
    job->is_discovered = true;
    shoal_backlog_set(job->backlog, SHOAL_SHARD_DISCOVER, SHOAL_SHARD_DONE);
    if (job->is_replayed) {
        return false; // the log says what its shards are
    }
    if (!shoal_run_open(job, &why)) {
        shoal_books_error(&job->books, &why, SHOAL_SLICE_NONE, "");
        return over(job, SHOAL_JOB_FAILED);
    }
    return false;
}

bool
shoal_job_advance(shoal_job_t *job)
{
    if (job->is_stopping) {
        return true;
    }
    if (job->stage == SHOAL_STAGE_CHECK) {
        if (!shard_is_over(job, SHOAL_SHARD_CHECK)) {
            return false;
        }
        if (shoal_backlog_at(job->backlog, SHOAL_SHARD_CHECK)->state == SHOAL_SHARD_DEAD) {
            return over(job, SHOAL_JOB_FAILED);
        }
        if (!job->of) {
            job->stage = SHOAL_STAGE_DISCOVER;
            shoal_backlog_set(job->backlog, SHOAL_SHARD_DISCOVER, SHOAL_SHARD_READY);
            return false;
        }
        bool is_over = run_begin(job);
        if (is_over || job->is_replayed) {
            return is_over;
        }
    }
    if (job->stage == SHOAL_STAGE_DISCOVER && job->spec.plan_only) {
        return job->is_discovered ? over(job, shoal_job_verdict(job)) : false;
    }
    if (job->stage == SHOAL_STAGE_DISCOVER && (job->shards > 0 || job->is_discovered)) {
        job->stage = SHOAL_STAGE_MAP;
    }
    bool is_mapped =
        job->is_limited || (shoal_backlog_open(job->backlog, SHOAL_STAGE_PREPARE) == 0 &&
                            shoal_backlog_open(job->backlog, SHOAL_STAGE_MAP) == 0);
    if (job->stage == SHOAL_STAGE_MAP && (job->is_discovered || job->is_limited) && is_mapped) {
        link_release(job);
    }
    if (job->stage == SHOAL_STAGE_LINK &&
        (job->is_limited || shoal_backlog_open(job->backlog, SHOAL_STAGE_LINK) == 0)) {
        if (shoal_job_verdict(job) == SHOAL_JOB_FAILED) {
            return over(job, SHOAL_JOB_FAILED); // there is nothing to finish
        }
        finish_prepare(job);
    }
    if (job->stage == SHOAL_STAGE_FINISH && shard_is_over(job, SHOAL_SHARD_FINISH)) {
        return over(job, shoal_job_verdict(job));
    }
    return false;
}

void
shoal_job_finish(shoal_job_t *job, uint64_t now_ms)
{
    assert(job->is_stopping && !job->attempts && !shoal_job_is_final(job));
    job->state = job->end_state;
    job->finished_ms = now_ms;
    shoal_backlog_destroy(&job->backlog);
    free(job->cursor);
    job->cursor = NULL;
    if (shoal_letters_count(job->letters) == 0) { // else a run may need them
        free(job->args);
        job->args = NULL;
    }
    if (job->of) {
        shoal_run_release(job);
    }
    shoal_history_destroy(&job->history);
    shoal_job_buried_clear(job);
    job->records = job->books.successful;
    shoal_books_fini(&job->books);
}

uint64_t
shoal_job_records_left(const shoal_job_t *job)
{
    if (job->spec.limit == 0) {
        return 0;
    }
    return job->spec.limit > job->map_records ? job->spec.limit - job->map_records : 1;
}

const char *
shoal_end_name(shoal_end_t end)
{
    static const char *const names[] = {"failed", "lost", "returned", "declined", "late"};
    return names[end];
}

const char *
shoal_job_state_name(int state)
{
    static const char *const names[] = {
#define X(name, text) text,
        SHOAL_JOB_STATES(X)
#undef X
    };
    return state >= 0 && state < SHOAL_JOB_STATE_COUNT ? names[state] : "?";
}
