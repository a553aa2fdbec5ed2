// SPDX-License-Identifier: Apache-2.0
//
// mail.c - see mail.h.

#include "head/cluster/mail.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "head/cluster/registry.h"
#include "head/cluster/run.h"
#include "proto/base/alloc.h"
#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "proto/wire/message.h"

#define RECORD_DEPTH_MAX 24  // so that it fits into a REPLY and a CALL
#define SCOPES_NAMED_MAX 100 // of those that a shard counts in

// ---- what an attempt streams

bool
shoal_mail_take(shoal_job_t *job, shoal_attempt_t *attempt, uint64_t count, shoal_slice_t payload,
                shoal_status_t *status)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, attempt->shard);
    bool may = shard->stage == SHOAL_STAGE_PREPARE || shard->stage == SHOAL_STAGE_MAP ||
               shard->stage == SHOAL_STAGE_LINK;
    if (!may) {
        return shoal_fail(status, SHOAL_PROTOCOL, "a call of the stage %s has no dead letters",
                          shoal_stage_name(shard->stage));
    }
    const shoal_letters_t *letters = shoal_job_letters(job);
    uint64_t waiting = job->letters_waiting + payload.len;
    if (!shoal_letters_fit(letters, attempt->letter_count + count, waiting, status)) {
        return false;
    }
    if (!attempt->letters) {
        attempt->letters = shoal_alloc(sizeof(*attempt->letters));
    }
    shoal_buffer_append_slice(attempt->letters, payload);
    attempt->letter_count += count;
    job->letters_waiting += payload.len;
    return true;
}

void
shoal_mail_forget(shoal_job_t *job, shoal_attempt_t *attempt)
{
    if (attempt->letters) {
        job->letters_waiting -= attempt->letters->len;
        shoal_buffer_fini(attempt->letters);
        free(attempt->letters);
        attempt->letters = NULL;
    }
}

// A letter as the worker sends it.
typedef struct arrived {
    uint64_t letter;
    uint64_t scope;
    uint64_t error_class;
    uint64_t code;
    uint64_t record_bytes;
    bool is_redacted;
    shoal_slice_t message;
    shoal_slice_t key;
    shoal_slice_t step;
    shoal_slice_t type;
    shoal_slice_t name;
    shoal_slice_t record;
} arrived_t;

typedef enum part_kind { PART_UINT, PART_TEXT, PART_VALUE, PART_FLAG } part_kind_t;

#define AT(field) offsetof(arrived_t, field)

static const struct {
    const char *name;
    part_kind_t kind;
    size_t at;
} parts[] = {
    {"letter", PART_UINT, AT(letter)},
    {"scope", PART_UINT, AT(scope)},
    {"class", PART_UINT, AT(error_class)},
    {"code", PART_UINT, AT(code)},
    {"record_bytes", PART_UINT, AT(record_bytes)},
    {"redacted", PART_FLAG, AT(is_redacted)},
    {"message", PART_TEXT, AT(message)},
    {"key", PART_TEXT, AT(key)},
    {"step", PART_TEXT, AT(step)},
    {"type", PART_TEXT, AT(type)},
    {"name", PART_TEXT, AT(name)},
    {"record", PART_VALUE, AT(record)},
};

#define PART_COUNT (sizeof(parts) / sizeof(parts[0]))

static void
part_read(shoal_cursor_t *cursor, size_t part, arrived_t *arrived)
{
    char *at = (char *)arrived + parts[part].at;
    switch (parts[part].kind) {
    case PART_UINT: *(uint64_t *)(void *)at = shoal_cursor_uint(cursor); break;
    case PART_FLAG: *(bool *)(void *)at = shoal_cursor_bool(cursor); break;
    case PART_TEXT: *(shoal_slice_t *)(void *)at = shoal_cursor_str_or_nil(cursor); break;
    case PART_VALUE:
    default: *(shoal_slice_t *)(void *)at = shoal_cursor_value(cursor); break;
    }
}

// Reads the next letter; the cursor is bad if it is none.
static arrived_t
arrived_read(shoal_cursor_t *cursor)
{
    arrived_t arrived = {0};
    uint32_t pairs = shoal_cursor_map(cursor);
    for (uint32_t i = 0; i < pairs && !cursor->is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(cursor);
        size_t part = 0;
        while (part < PART_COUNT && !shoal_slice_is(key, parts[part].name)) {
            part++;
        }
        if (part == PART_COUNT) {
            shoal_cursor_skip(cursor);
        } else {
            part_read(cursor, part, &arrived);
        }
    }
    return arrived;
}

bool
shoal_mail_check(const shoal_job_t *job, const shoal_attempt_t *attempt, shoal_status_t *status)
{
    if (!attempt->letters) {
        return true;
    }
    uint64_t count = 0;
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(attempt->letters));
    while (shoal_cursor_left(&cursor) > 0) {
        (void)arrived_read(&cursor);
        count++;
    }
    if (cursor.is_bad || count != attempt->letter_count) {
        return shoal_fail(status, SHOAL_PROTOCOL,
                          "%llu dead letters were said to come and %llu came, or one is malformed",
                          (unsigned long long)attempt->letter_count, (unsigned long long)count);
    }
    // Each of them grows by what the head knows of its shard: estimated, the store checks again.
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the job is ours, and only read here
    return shoal_letters_fit(shoal_job_letters((shoal_job_t *)(uintptr_t)job), count,
                             attempt->letters->len, status);
}

// ---- facts that the head knows

static void
facts_of_shard(const shoal_job_t *job, uint32_t index, shoal_letter_facts_t *facts)
{
    const shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    facts->run = job->run;
    facts->stage = shoal_stage_name(shard->stage);
    facts->title = shoal_backlog_title(job->backlog, shard);
    facts->tries = shoal_history_of(job->history, index, &facts->try_count);
    facts->origin = (uint64_t)job->run << 32 | index;
    facts->item_stage = shard->stage;
    facts->item_cost_us = shard->cost_us == SHOAL_COST_FIRST ? 0 : shard->cost_us;
    facts->item_expects = shoal_backlog_expects(job->backlog, shard);
    facts->item_args = shoal_backlog_args(job->backlog, shard);
}

// A shard of a run stands for letters; what is new in it is of the shard that it reads again.
static void
facts_of_origin(const shoal_job_t *job, uint32_t index, shoal_letter_facts_t *facts)
{
    const shoal_letter_t *letter = job->of ? shoal_run_first_letter(job, index) : NULL;
    if (letter && letter->kind != SHOAL_LETTER_RECORD) {
        facts->origin = letter->origin;
        facts->title = shoal_letter_text(letter, "title");
        facts->item_expects = shoal_letter_item(letter, "expects");
        facts->item_args = shoal_letter_item(letter, "args");
    }
}

// What others sent has to fit into an EVENT and a CALL, ten and three hundred at a time.
static shoal_slice_t
cut(shoal_slice_t text)
{
    text.len = shoal_utf8_cut(text, SHOAL_LETTER_TEXT_MAX);
    return text;
}

static void
facts_of_scope(const shoal_job_t *job, shoal_letter_facts_t *facts)
{
    const shoal_scope_t *scope = shoal_books_scope(&job->books, facts->scope);
    if (scope) {
        facts->scope_name = cut(shoal_books_scope_name(&job->books, scope));
        facts->scope_of = cut(shoal_books_scope_of(&job->books, scope));
    }
}

// ---- an attempt's letters at its commit

typedef struct committing {
    shoal_job_t *job;
    uint32_t shard;
    const char *worker;
    shoal_slice_t tries; // of the shard, before this attempt
    uint32_t try_count;
    shoal_try_t last; // this attempt, which has given the record up
    shoal_buffer_t scratch;
} committing_t;

static void
letter_take(committing_t *committing, const arrived_t *arrived)
{
    shoal_job_t *job = committing->job;
    shoal_letters_t *letters = shoal_job_letters(job);
    shoal_letter_facts_t facts = {.worker = committing->worker};
    shoal_status_t why = SHOAL_STATUS_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    facts_of_shard(job, committing->shard, &facts);
    facts_of_origin(job, committing->shard, &facts);
    (void)shoal_fail_as(&why, shoal_error_class_from(arrived->error_class),
                        shoal_code_from(arrived->code), "%.*s", SHOAL_SLICE_ARGS(arrived->message));
    (void)snprintf(why.key, sizeof(why.key), "%.*s", SHOAL_SLICE_ARGS(arrived->key));
    bool is_whole = arrived->record.len > 0 && !arrived->is_redacted &&
                    shoal_cursor_check(arrived->record, RECORD_DEPTH_MAX);
    facts.kind = is_whole ? SHOAL_LETTER_RECORD : SHOAL_LETTER_SOURCE;
    facts.why = &why;
    facts.wall_ms = committing->last.wall_ms;
    facts.scope = (uint32_t)arrived->scope;
    facts_of_scope(job, &facts);
    facts.name = cut(arrived->name);
    facts.type = cut(arrived->type);
    facts.step = cut(arrived->step);
    facts.record = is_whole || arrived->is_redacted ? arrived->record : SHOAL_SLICE_NONE;
    facts.record_bytes = arrived->record_bytes;
    facts.is_redacted = arrived->is_redacted;
    if (!shoal_cursor_check(facts.record, RECORD_DEPTH_MAX)) {
        facts.record = SHOAL_SLICE_NONE;
    }
    shoal_buffer_clear(&committing->scratch);
    shoal_buffer_append_slice(&committing->scratch, committing->tries);
    committing->last.why = &why;
    shoal_try_write(&committing->last, &committing->scratch);
    committing->last.why = NULL; // it ends with this call
    facts.tries = shoal_buffer_slice(&committing->scratch);
    facts.try_count = committing->try_count + 1;
    shoal_letter_t *known =
        arrived->letter > 0 ? shoal_run_letter(job, committing->shard, arrived->letter) : NULL;
    if (known) {
        known->taken = 0;
        shoal_letters_grow(letters, known, &facts);
    } else if (!shoal_letters_add(letters, &facts, &status)) {
        // What the head knows of the shard made it too much: the next thing that happens ends it.
        shoal_books_error(&job->books, &status, facts.title, committing->worker);
        shoal_job_stop(job, SHOAL_JOB_FAILED);
    }
}

void
shoal_mail_commit(shoal_job_t *job, shoal_attempt_t *attempt, uint64_t wall_ms)
{
    committing_t committing = {
        .job = job,
        .shard = attempt->shard,
        .worker = attempt->worker->label,
        .last = {.run = job->run,
                 .attempt = attempt->number,
                 .end = "data",
                 .worker = attempt->worker->label,
                 .wall_ms = wall_ms},
    };
    committing.tries = shoal_history_of(job->history, attempt->shard, &committing.try_count);
    if (attempt->letters) {
        shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(attempt->letters));
        while (shoal_cursor_left(&cursor) > 0) {
            arrived_t arrived = arrived_read(&cursor);
            letter_take(&committing, &arrived);
        }
    }
    shoal_buffer_fini(&committing.scratch);
    shoal_history_forget(job->history, attempt->shard);
    if (job->of && attempt->shard >= SHOAL_SHARD_FIRST) {
        shoal_run_settle(job, attempt->shard);
    }
    shoal_mail_forget(job, attempt);
}

// ---- shards

void
shoal_mail_note(shoal_job_t *job, uint32_t shard, uint32_t attempt, const char *end,
                const shoal_status_t *why, const char *worker, uint64_t wall_ms)
{
    const shoal_try_t try = {job->run, attempt, end, why, worker, wall_ms};
    if (shard < SHOAL_SHARD_FIRST) {
        return; // check, discover and finish are no letters
    }
    if (!job->history) {
        job->history = shoal_history_new();
    }
    shoal_history_add(job->history, shard, &try);
}

// The letters that a run's shard stood for are there still, and tell of this run.
static void
group_grow(shoal_job_t *job, uint32_t shard, const shoal_letter_facts_t *facts)
{
    shoal_letter_t *letter;
    for (uint64_t from = 0; (letter = shoal_run_next_letter(job, shard, from)) != NULL;) {
        from = letter->number + 1;
        letter->taken = 0;
        shoal_letters_grow(shoal_job_letters(job), letter, facts);
    }
}

// The names of the scopes that a shard counts in; the first is the letter's own.
static void
scopes_name(const shoal_job_t *job, shoal_letter_facts_t *facts, shoal_buffer_t *out)
{
    shoal_cursor_t cursor = shoal_cursor_over(facts->item_expects);
    uint32_t count = facts->item_expects.len > 0 ? shoal_cursor_array(&cursor) : 0;
    uint32_t written = 0;
    size_t mark = shoal_write_array_later(out);
    for (uint32_t i = 0; i < count && i < SCOPES_NAMED_MAX; i++) {
        (void)shoal_cursor_array(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        (void)shoal_cursor_uint(&cursor);
        const shoal_scope_t *scope = cursor.is_bad ? NULL : shoal_books_scope(&job->books, number);
        if (!scope) {
            continue;
        }
        facts->scope = i == 0 ? (uint32_t)number : facts->scope;
        shoal_write_array(out, 3);
        shoal_write_uint(out, number);
        shoal_write_str(out, cut(shoal_books_scope_name(&job->books, scope)));
        shoal_write_str(out, cut(shoal_books_scope_of(&job->books, scope)));
        written++;
    }
    shoal_write_count_now(out, mark, written);
}

// Who had the shard last, for people; what the job knows of it is an id.
static void
last_worker(const shoal_letter_facts_t *facts, char *worker, size_t size)
{
    shoal_cursor_t cursor = shoal_cursor_over(facts->tries);
    for (uint32_t i = 0; i + 1 < facts->try_count; i++) {
        shoal_cursor_skip(&cursor);
    }
    if (facts->try_count > 0 && shoal_cursor_array(&cursor) == 8) {
        for (unsigned i = 0; i < 6; i++) {
            shoal_cursor_skip(&cursor);
        }
        shoal_slice_t name = shoal_cursor_str_or_nil(&cursor);
        (void)snprintf(worker, size, "%.*s", SHOAL_SLICE_ARGS(name));
    }
}

static bool
shard_write(shoal_job_t *job, const shoal_buried_t *buried, uint64_t wall_ms,
            shoal_status_t *status)
{
    char worker[SHOAL_LETTER_TEXT_MAX];
    shoal_letter_facts_t facts = {.kind = SHOAL_LETTER_SHARD, .worker = worker};
    shoal_status_t why = SHOAL_STATUS_INIT;
    facts_of_shard(job, buried->shard, &facts);
    (void)snprintf(worker, sizeof(worker), "%s", buried->worker ? buried->worker : "");
    last_worker(&facts, worker, sizeof(worker));
    facts.wall_ms = wall_ms;
    facts.why = buried->why;
    if (buried->because != SHOAL_SHARD_NONE) {
        const shoal_shard_t *needed = shoal_backlog_at(job->backlog, buried->because);
        (void)shoal_fail(&why, SHOAL_UNAVAILABLE, "\"%.*s\", which it needs, was given up",
                         SHOAL_SLICE_ARGS(shoal_backlog_title(job->backlog, needed)));
        why.error_class = SHOAL_FATAL;
        facts.why = &why;
    }
    if (job->of) {
        group_grow(job, buried->shard, &facts);
        return true;
    }
    facts.name = facts.title;
    if (buried->because != SHOAL_SHARD_NONE) {
        facts.needs =
            shoal_letters_of_shard(job->letters, (uint64_t)job->run << 32 | buried->because);
    }
    shoal_buffer_t scopes = SHOAL_BUFFER_INIT;
    scopes_name(job, &facts, &scopes);
    facts_of_scope(job, &facts);
    facts.item_scopes = shoal_buffer_slice(&scopes);
    bool done = shoal_letters_add(shoal_job_letters(job), &facts, status) != NULL;
    shoal_buffer_fini(&scopes);
    return done;
}

bool
shoal_mail_bury(shoal_job_t *job, uint64_t wall_ms, shoal_status_t *status)
{
    bool done = true;
    for (size_t i = 0; i < job->buried_count; i++) {
        shoal_buried_t *buried = &job->buried[i];
        done = done && shard_write(job, buried, wall_ms, status);
        shoal_history_forget(job->history, buried->shard);
        free(buried->why);
        free(buried->worker);
    }
    job->buried_count = 0;
    return done;
}
