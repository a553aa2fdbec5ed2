// SPDX-License-Identifier: Apache-2.0
//
// replay.c - see replay.h.
//
// Design: while the log is applied there are no attempts and no workers, only shards that are
// RUNNING; `live` of such a shard says which of the workers that the log named has it. The order of
// what is ready is made at the end, in one go.

#include "head/cluster/replay.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "head/cluster/cluster_parts.h"
#include "head/cluster/mail.h"
#include "head/cluster/run.h"
#include "proto/base/alloc.h"

#define WORKER_NUMBERS_MAX 16777216 // of one job's log

// A worker that the log names.
typedef struct who {
    uint64_t incarnation;
    bool has_key;
    shoal_key_t key; // that it came with
    char id[SHOAL_WORKER_ID_MAX + 1];
    char name[SHOAL_WORKER_NAME_MAX + 1];
    char label[SHOAL_WORKER_LABEL_MAX + 1];
} who_t;

typedef struct delay {
    uint32_t shard;
    uint64_t ms;
} delay_t;

// A job whose log is applied.
typedef struct story {
    struct story *next;
    shoal_job_t *job;
    who_t *whos;
    uint32_t who_count;
    uint32_t who_size;
    uint32_t *who_of; // by a worker's number in the log
    size_t who_of_size;
    delay_t *delays; // of shards that were put off, in order
    size_t delay_count;
    size_t delay_size;
    uint32_t *streamed; // running shards whose attempt had streamed
    size_t streamed_count;
    size_t streamed_size;
    bool has_begun;         // a run: its shards are known
    uint32_t items_attempt; // of discover, that streamed last; 0: none
    bool has_losses;        // of attempts that may have gone on
    size_t offset;          // in the log, of the row in hand
} story_t;

struct shoal_replay {
    shoal_cluster_t *cluster;
    shoal_replay_counts_t counts;
    story_t *first;
    story_t *last; // used last
};

shoal_replay_t *
shoal_replay_new(shoal_cluster_t *cluster)
{
    shoal_replay_t *replay = shoal_alloc(sizeof(*replay));
    replay->cluster = cluster;
    return replay;
}

void
shoal_replay_destroy(shoal_replay_t **replay)
{
    if (!replay || !*replay) {
        return;
    }
    for (story_t *story = (*replay)->first; story;) {
        story_t *next = story->next;
        free(story->whos);
        free(story->who_of);
        free(story->delays);
        free(story->streamed);
        free(story);
        story = next;
    }
    free(*replay);
    *replay = NULL;
}

const shoal_replay_counts_t *
shoal_replay_counts(const shoal_replay_t *replay)
{
    return &replay->counts;
}

// ---- jobs

static bool
final_restore(shoal_job_t *job, const shoal_journal_job_t *row, shoal_status_t *status)
{
    if (row->state < SHOAL_JOB_SUCCEEDED || row->state >= SHOAL_JOB_STATE_COUNT) {
        return shoal_fail(status, SHOAL_IO, "it ended in the unknown state %u", row->state);
    }
    if (!shoal_final_read(job, row->end, status)) {
        return false;
    }
    uint64_t records = job->records;
    shoal_job_stop(job, (shoal_job_state_t)row->state);
    shoal_job_finish(job, row->finished_ms);
    if (job->output) {
        shoal_output_finish(job->output, 0);
    }
    job->records = records;
    return true;
}

bool
shoal_replay_job(shoal_replay_t *replay, const shoal_journal_job_t *row, shoal_slice_t args,
                 shoal_status_t *status)
{
    bool is_final = row->end.len > 0;
    shoal_job_t *job = NULL;
    replay->counts.jobs++;
    bool done = shoal_cluster_restore_job(replay->cluster, row, args, &job, status) &&
                (!job->output || row->outputs.len == 0 ||
                 shoal_output_read_commits(job->output, row->outputs, status)) &&
                (!is_final || final_restore(job, row, status));
    if (!done) {
        return shoal_fail_while(status, "cannot read job %llu", (unsigned long long)row->number);
    }
    if (!is_final) {
        story_t *story = shoal_alloc(sizeof(*story));
        story->job = job;
        story->next = replay->first;
        replay->first = replay->last = story;
        replay->counts.running++;
        shoal_backlog_unorder(job->backlog);
        job->is_replayed = true;
    }
    return true;
}

bool
shoal_replay_letter(shoal_replay_t *replay, uint64_t number, shoal_slice_t body,
                    shoal_status_t *status)
{
    const shoal_job_t *job = shoal_cluster_job(replay->cluster, number);
    if (!job || !job->letters) {
        return shoal_fail(status, SHOAL_IO, "the journal has a letter of job %llu, which is none",
                          (unsigned long long)number);
    }
    return shoal_letters_restore(job->letters, body, status);
}

void
shoal_replay_args(shoal_replay_t *replay, uint64_t number, shoal_slice_t args)
{
    shoal_job_t *job = shoal_cluster_job(replay->cluster, number);
    assert(job && shoal_job_is_final(job));
    free(job->args);
    job->args = shoal_alloc(args.len + 1);
    job->args_len = args.len;
    memcpy(job->args, args.ptr, args.len);
    replay->cluster->spec_bytes += args.len;
}

static story_t *
story_find(shoal_replay_t *replay, uint64_t job)
{
    story_t *story = replay->last;
    if (!story || story->job->number != job) {
        story = replay->first;
        while (story && story->job->number != job) {
            story = story->next;
        }
        replay->last = story;
    }
    return story;
}

// ---- entries; each returns false with the reason when it cannot have happened

static bool
apply_worker(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    if (entry->worker >= WORKER_NUMBERS_MAX || entry->id.len > SHOAL_WORKER_ID_MAX ||
        entry->name.len > SHOAL_WORKER_NAME_MAX ||
        (entry->bytes.len > 0 && entry->bytes.len != SHOAL_KEY_BYTES)) {
        return shoal_fail(status, SHOAL_IO, "its worker's number, id, name or key is out of range");
    }
    if (entry->worker >= story->who_of_size) {
        size_t size = story->who_of_size ? story->who_of_size : 64;
        while (size <= entry->worker) {
            size *= 2;
        }
        story->who_of = shoal_realloc(story->who_of, size * sizeof(*story->who_of));
        for (size_t i = story->who_of_size; i < size; i++) {
            story->who_of[i] = SHOAL_SHARD_NONE;
        }
        story->who_of_size = size;
    }
    if (story->who_count == story->who_size) {
        story->who_size = story->who_size ? story->who_size * 2 : 64;
        story->whos = shoal_realloc(story->whos, story->who_size * sizeof(*story->whos));
    }
    who_t *who = &story->whos[story->who_count];
    *who = (who_t){.incarnation = entry->incarnation, .has_key = entry->bytes.len > 0};
    if (who->has_key) {
        memcpy(who->key.bytes, entry->bytes.ptr, SHOAL_KEY_BYTES);
    }
    (void)snprintf(who->id, sizeof(who->id), "%.*s", SHOAL_SLICE_ARGS(entry->id));
    (void)snprintf(who->name, sizeof(who->name), "%.*s", SHOAL_SLICE_ARGS(entry->name));
    shoal_worker_label(who->id, who->name, who->label);
    story->who_of[entry->worker] = story->who_count++;
    return true;
}

static bool
apply_begun(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    (void)status;
    if (story->job->state == SHOAL_JOB_PENDING) {
        story->job->state = SHOAL_JOB_RUNNING;
        story->job->started_ms = entry->at_ms;
    }
    return true;
}

static bool
apply_start(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    shoal_shard_t *shard = shoal_backlog_at(story->job->backlog, (uint32_t)entry->shard);
    if (!shard || (shard->state != SHOAL_SHARD_READY && shard->state != SHOAL_SHARD_DELAYED)) {
        return shoal_fail(status, SHOAL_IO, "shard %llu is %s", (unsigned long long)entry->shard,
                          shard ? shoal_shard_state_name(shard->state) : "unknown");
    }
    uint32_t who =
        entry->worker < story->who_of_size ? story->who_of[entry->worker] : SHOAL_SHARD_NONE;
    if (entry->attempt <= shard->attempt || who == SHOAL_SHARD_NONE) {
        return shoal_fail(status, SHOAL_IO, "attempt %llu of shard %llu cannot be given to %llu",
                          (unsigned long long)entry->attempt, (unsigned long long)entry->shard,
                          (unsigned long long)entry->worker);
    }
    shoal_backlog_set(story->job->backlog, (uint32_t)entry->shard, SHOAL_SHARD_RUNNING);
    shard->attempt = (uint32_t)entry->attempt;
    shard->live = who;
    return true;
}

// The shard of an entry that ends or feeds a live attempt; its worker is not its own any more.
static shoal_shard_t *
attempt_of(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    shoal_shard_t *shard = shoal_backlog_at(story->job->backlog, (uint32_t)entry->shard);
    if (!shard || shard->state != SHOAL_SHARD_RUNNING || shard->attempt != entry->attempt) {
        (void)shoal_fail(status, SHOAL_IO, "attempt %llu of shard %llu is not live",
                         (unsigned long long)entry->attempt, (unsigned long long)entry->shard);
        return NULL;
    }
    return shard;
}

static void
streamed_note(story_t *story, uint32_t shard)
{
    if (story->streamed_count > 0 && story->streamed[story->streamed_count - 1] == shard) {
        return;
    }
    if (story->streamed_count == story->streamed_size) {
        story->streamed_size = story->streamed_size ? story->streamed_size * 2 : 16;
        story->streamed =
            shoal_realloc(story->streamed, story->streamed_size * sizeof(*story->streamed));
    }
    story->streamed[story->streamed_count++] = shard;
}

// As after everything that happens to a job. The journal has the letters already.
static void
advance(story_t *story)
{
    for (size_t i = 0; i < story->job->buried_count; i++) {
        shoal_history_forget(story->job->history, story->job->buried[i].shard);
    }
    shoal_job_buried_clear(story->job);
    if (!story->job->of || story->job->stage == SHOAL_STAGE_CHECK || story->has_begun) {
        (void)shoal_job_advance(story->job);
    }
}

static bool
apply_items(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    shoal_entry_t discover = *entry;
    discover.shard = SHOAL_SHARD_DISCOVER;
    if (!attempt_of(story, &discover, status)) {
        return false;
    }
    story->items_attempt = (uint32_t)entry->attempt;
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (shoal_job_take_items(story->job, entry->bytes, &why)) { // otherwise its end is next
        advance(story);
    }
    return true;
}

static bool
apply_done(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    shoal_job_t *job = story->job;
    shoal_shard_t *shard = attempt_of(story, entry, status);
    if (!shard) {
        return false;
    }
    uint32_t index = (uint32_t)entry->shard;
    const who_t *who = &story->whos[shard->live];
    if (entry->batches > UINT32_MAX ||
        !shoal_job_take_result(job, index, entry->bytes, entry->records, who->id, status)) {
        return shoal_fail_while(status, "its result cannot be counted");
    }
    if (shoal_job_collects(job, shard)) {
        shoal_output_restore_commit(job->output, shoal_call_number(job->number, index),
                                    (uint32_t)entry->attempt, (uint32_t)entry->batches);
    }
    shard->live = SHOAL_SHARD_NONE;
    shoal_history_forget(job->history, index);
    shoal_job_shard_done(job, index);
    shoal_shard_t *discover = shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER);
    if (job->is_limited && discover->state == SHOAL_SHARD_RUNNING) {
        discover->live = SHOAL_SHARD_NONE;
        shoal_job_shard_done(job, SHOAL_SHARD_DISCOVER);
    }
    advance(story);
    return true;
}

static void
delay_note(story_t *story, uint32_t shard, uint64_t ms)
{
    if (story->delay_count == story->delay_size) {
        story->delay_size = story->delay_size ? story->delay_size * 2 : 16;
        story->delays = shoal_realloc(story->delays, story->delay_size * sizeof(*story->delays));
    }
    story->delays[story->delay_count++] = (delay_t){shard, ms};
}

static bool
apply_failed(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    shoal_shard_t *shard = attempt_of(story, entry, status);
    if (!shard) {
        return false;
    }
    const who_t *who = &story->whos[shard->live];
    uint32_t index = (uint32_t)entry->shard;
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail_as(&why, shoal_error_class_from(entry->error_class),
                        shoal_code_from(entry->code), "%.*s", SHOAL_SLICE_ARGS(entry->text));
    (void)snprintf(why.key, sizeof(why.key), "%.*s", SHOAL_SLICE_ARGS(entry->key));
    shard->live = SHOAL_SHARD_NONE;
    bool may_go_on = entry->end == SHOAL_END_LOST || entry->end == SHOAL_END_LATE;
    if (entry->end == SHOAL_END_FAILED || may_go_on) {
        shoal_mail_note(story->job, index, (uint32_t)entry->attempt,
                        shoal_end_name((shoal_end_t)entry->end), &why, who->label, entry->at_ms);
    }
    story->has_losses = story->has_losses || may_go_on;
    uint64_t delay = shoal_job_shard_failed(story->job, index, (shoal_end_t)entry->end, &why,
                                            who->id, entry->chance);
    if (delay != SHOAL_JOB_NO_RETRY && delay > 0) {
        delay_note(story, index, delay);
    }
    advance(story);
    return true;
}

static bool
apply_crashed(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    uint32_t index = (uint32_t)entry->shard;
    shoal_shard_t *shard = shoal_backlog_at(story->job->backlog, index);
    if (!shard) {
        return shoal_fail(status, SHOAL_IO, "there is no shard %u", index);
    }
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail_as(&why, SHOAL_FATAL, SHOAL_INTERNAL, "%.*s", SHOAL_SLICE_ARGS(entry->text));
    char worker[SHOAL_WORKER_ID_MAX + 1];
    (void)snprintf(worker, sizeof(worker), "%.*s", SHOAL_SLICE_ARGS(entry->id));
    char label[SHOAL_WORKER_LABEL_MAX + 1];
    (void)snprintf(label, sizeof(label), "%.*s", SHOAL_SLICE_ARGS(entry->name));
    shoal_status_t how = SHOAL_STATUS_INIT;
    (void)shoal_fail(&how, SHOAL_INTERNAL, "%.*s", SHOAL_SLICE_ARGS(entry->key));
    shoal_mail_note(story->job, index, (uint32_t)entry->attempt, "crashed", &how, label,
                    entry->at_ms);
    bool is_enough = entry->alone || shard->crashes + 1 >= SHOAL_CRASHES_MAX;
    if (shard->state == SHOAL_SHARD_RUNNING && is_enough) {
        shard->live = SHOAL_SHARD_NONE;
        shoal_backlog_set(story->job->backlog, index, SHOAL_SHARD_DELAYED);
        delay_note(story, index, 0);
    }
    (void)shoal_job_shard_crashed(story->job, index, entry->alone != 0, &why, worker);
    advance(story);
    return true;
}

static bool
apply_run(story_t *story, const shoal_entry_t *entry, shoal_status_t *status)
{
    shoal_job_t *job = story->job;
    if (!job->of || job->stage != SHOAL_STAGE_MAP || story->has_begun) {
        return shoal_fail(status, SHOAL_IO, "it is no run that begins");
    }
    story->has_begun = true;
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (!shoal_run_take(job, entry->bytes, &why) &&
        why.code != SHOAL_LIMIT) { // else its end is next
        *status = why;
        return false;
    }
    advance(story);
    return true;
}

typedef bool apply_fn(story_t *story, const shoal_entry_t *entry, shoal_status_t *status);
static apply_fn *const applies[SHOAL_ENTRY_KIND_END] = {
    [SHOAL_ENTRY_WORKER] = apply_worker,   [SHOAL_ENTRY_BEGUN] = apply_begun,
    [SHOAL_ENTRY_START] = apply_start,     [SHOAL_ENTRY_ITEMS] = apply_items,
    [SHOAL_ENTRY_DONE] = apply_done,       [SHOAL_ENTRY_FAILED] = apply_failed,
    [SHOAL_ENTRY_CRASHED] = apply_crashed, [SHOAL_ENTRY_RUN] = apply_run,
};

bool
shoal_replay_entries(shoal_replay_t *replay, uint64_t job, shoal_slice_t entries,
                     shoal_status_t *status)
{
    story_t *story = story_find(replay, job);
    if (!story) {
        return shoal_fail(status, SHOAL_IO, "the journal has a log of job %llu, which has ended",
                          (unsigned long long)job);
    }
    for (size_t at = 0; at < entries.len;) {
        size_t begin = at;
        shoal_entry_t entry;
        if (!shoal_entry_read(entries, &at, &entry, status)) {
            return shoal_fail_while(status, "cannot replay job %llu, at byte %zu of its log",
                                    (unsigned long long)job, story->offset + begin);
        }
        if (!applies[entry.kind](story, &entry, status)) {
            status->code = SHOAL_IO;
            return shoal_fail_while(status, "cannot replay %s of job %llu, at byte %zu of its log",
                                    shoal_entry_name((int)entry.kind), (unsigned long long)job,
                                    story->offset + begin);
        }
        replay->counts.entries++;
    }
    story->offset += entries.len;
    return true;
}

// ---- batches

bool
shoal_replay_batch(shoal_replay_t *replay, uint64_t number, const shoal_spool_batch_t *batch)
{
    shoal_job_t *job = shoal_cluster_job(replay->cluster, number);
    if (job && job->output && shoal_output_restore_batch(job->output, batch)) {
        replay->counts.batches++;
        return true;
    }
    replay->counts.strays++;
    if (job && !shoal_job_is_final(job)) {
        uint32_t index = shoal_call_shard(batch->call);
        const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
        if (shard && shard->state == SHOAL_SHARD_RUNNING && shard->attempt == batch->attempt) {
            streamed_note(story_find(replay, number), index);
        }
    }
    return false;
}

// ---- on their way again

// What was lost may still be written, and how long ago that was is not known: neither runs
// it again before that is over, nor finish.
static void
writers_wait(shoal_replay_t *replay, story_t *story, uint64_t now_ms)
{
    shoal_job_t *job = story->job;
    if (!story->has_losses ||
        shoal_cluster_loss_delay(replay->cluster, job, /*is_dead=*/false, now_ms) == 0) {
        return;
    }
    if (shoal_backlog_at(job->backlog, SHOAL_SHARD_FINISH)->state == SHOAL_SHARD_READY) {
        shoal_backlog_set(job->backlog, SHOAL_SHARD_FINISH, SHOAL_SHARD_DELAYED);
        delay_note(story, SHOAL_SHARD_FINISH, 0);
    }
}

// The last delay of a shard is the one that it is in.
static void
delays_restore(shoal_replay_t *replay, story_t *story, uint64_t now_ms)
{
    shoal_job_t *job = story->job;
    size_t bytes = shoal_backlog_end(job->backlog) / 8 + 1;
    unsigned char *seen = story->delay_count > 0 ? shoal_alloc(bytes) : NULL;
    uint64_t hold_ms = job->quiet_ms > now_ms ? job->quiet_ms - now_ms : 0;
    for (size_t i = story->delay_count; i-- > 0;) {
        const delay_t *delay = &story->delays[i];
        unsigned char bit = (unsigned char)(1U << (delay->shard % 8));
        bool is_seen = (seen[delay->shard / 8] & bit) != 0;
        seen[delay->shard / 8] |= bit;
        if (!is_seen &&
            shoal_backlog_at(job->backlog, delay->shard)->state == SHOAL_SHARD_DELAYED) {
            uint64_t ms = delay->ms > hold_ms ? delay->ms : hold_ms;
            shoal_delay_add(replay->cluster->delays, now_ms + ms,
                            shoal_call_number(job->number, delay->shard));
        }
    }
    free(seen);
}

// The worker of a live attempt: known from another one, or a stub until it comes back.
static shoal_worker_t *
worker_restore(shoal_replay_t *replay, const who_t *who, uint64_t now_ms)
{
    shoal_cluster_t *cluster = replay->cluster;
    if (cluster->config.are_workers_gone) {
        return NULL; // what it ran is given back
    }
    shoal_worker_t *known = shoal_registry_find(cluster->registry, shoal_slice_of(who->id));
    if (known) {
        return known->incarnation == who->incarnation ? known : NULL;
    }
    shoal_offer_t offer = {.id = shoal_slice_of(who->id),
                           .name = shoal_slice_of(who->name),
                           .incarnation = who->incarnation,
                           .slots = 1};
    shoal_worker_t *worker = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (!shoal_registry_join(cluster->registry, &offer, &worker, &status)) {
        return NULL;
    }
    (void)shoal_worker_raise(cluster->registry, worker, SHOAL_WORKER_ON_CUT);
    worker->number = ++cluster->worker_numbers;
    worker->has_key = who->has_key;
    worker->proven = who->key;
    worker->heard_ms =
        now_ms + (cluster->config.grace_ms ? cluster->config.grace_ms : cluster->config.lease_ms);
    return worker;
}

static void
attempts_restore(shoal_replay_t *replay, story_t *story, uint64_t now_ms)
{
    shoal_job_t *job = story->job;
    uint32_t end = shoal_backlog_end(job->backlog);
    size_t running = shoal_backlog_count(job->backlog, SHOAL_SHARD_RUNNING);
    uint32_t highest = 0;
    for (uint32_t i = 0; i < end; i++) {
        shoal_shard_t *shard = shoal_backlog_at(job->backlog, i);
        if (!shard) {
            continue;
        }
        highest = shard->attempt > highest ? shard->attempt : highest;
        if (running == 0 || shard->state != SHOAL_SHARD_RUNNING) {
            continue;
        }
        running--;
        shoal_worker_t *worker = worker_restore(replay, &story->whos[shard->live], now_ms);
        shard->live = SHOAL_SHARD_NONE;
        if (shoal_cluster_recover(replay->cluster, job, i, worker, now_ms)) {
            replay->counts.attempts++;
        }
    }
    // Numbers that the earlier lives may have given out without its becoming durable come below.
    if (highest >= job->attempt_base) {
        job->attempt_base = highest + SHOAL_LIFE_ATTEMPTS;
    }
}

// What had streamed cannot be committed any more.
static void
streamed_return(shoal_replay_t *replay, story_t *story, uint64_t now_ms)
{
    shoal_job_t *job = story->job;
    const shoal_shard_t *discover = shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER);
    if (discover->live != SHOAL_SHARD_NONE && discover->attempt == story->items_attempt) {
        streamed_note(story, SHOAL_SHARD_DISCOVER);
    }
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_UNAVAILABLE, "the head was started again");
    for (size_t i = 0; i < story->streamed_count && !shoal_job_is_final(job); i++) {
        const shoal_shard_t *shard = shoal_backlog_at(job->backlog, story->streamed[i]);
        if (shard->live != SHOAL_SHARD_NONE) {
            shoal_cluster_fail(replay->cluster,
                               shoal_attempt_at(replay->cluster->attempts, shard->live),
                               SHOAL_END_RETURNED, &why, now_ms);
            replay->counts.returned++;
            replay->counts.attempts--;
        }
    }
}

// A run whose log ends with its check makes its shards of the letters, as it would have.
static void
run_begin_again(story_t *story)
{
    shoal_job_t *job = story->job;
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (!job->of || job->stage == SHOAL_STAGE_CHECK || story->has_begun || job->is_stopping) {
        return;
    }
    if (!shoal_run_open(job, &why)) {
        shoal_books_error(&job->books, &why, SHOAL_SLICE_NONE, "");
        shoal_job_stop(job, SHOAL_JOB_FAILED);
    }
}

bool
shoal_replay_finish(shoal_replay_t *replay, uint64_t now_ms, shoal_status_t *status)
{
    for (shoal_job_t *job = replay->cluster->first; job; job = job->next) {
        if (job->finished_ms > now_ms) { // the wall's clock was set back
            job->finished_ms = now_ms;
        }
        if (job->output && !shoal_output_restore_end(job->output, status)) {
            return shoal_fail_while(status, "cannot restore the output of job %llu",
                                    (unsigned long long)job->number);
        }
    }
    for (story_t *story = replay->first; story; story = story->next) {
        story->job->is_replayed = false;
        run_begin_again(story);
        if (story->job->of) {
            shoal_run_restore(story->job);
        }
        attempts_restore(replay, story, now_ms);
        writers_wait(replay, story, now_ms);
        shoal_backlog_order(story->job->backlog);
        delays_restore(replay, story, now_ms);
        streamed_return(replay, story, now_ms);
        shoal_cluster_settle(replay->cluster, story->job, now_ms);
    }
    return true;
}
