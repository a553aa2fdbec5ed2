// SPDX-License-Identifier: Apache-2.0
//
// run.c - see run.h.

#include "head/cluster/run.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

// ---- which letters

typedef struct choice {
    const shoal_letters_t *letters;
    shoal_letter_t **items; // growing by number, without repetition
    size_t count;
    size_t size;
} choice_t;

// Puts a letter in its place; false if it is there.
static bool
choice_add(choice_t *choice, shoal_letter_t *letter)
{
    size_t at = choice->count;
    while (at > 0 && choice->items[at - 1]->number >= letter->number) {
        at--;
    }
    if (at < choice->count && choice->items[at] == letter) {
        return false;
    }
    if (choice->count == choice->size) {
        choice->size = choice->size ? 2 * choice->size : 64;
        choice->items = shoal_realloc(choice->items, choice->size * sizeof(shoal_letter_t *));
    }
    memmove(&choice->items[at + 1], &choice->items[at],
            (choice->count - at) * sizeof(shoal_letter_t *));
    choice->items[at] = letter;
    choice->count++;
    return true;
}

// The letter, and those of the shards that it needs.
static void
choice_add_needs(choice_t *choice, shoal_letter_t *letter)
{
    while (letter && letter->taken == 0 && choice_add(choice, letter)) {
        letter = shoal_letters_find(choice->letters, letter->needs);
    }
}

static bool
choose_named(choice_t *choice, uint64_t job, shoal_slice_t wanted, bool with_needs,
             shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(wanted);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = shoal_cursor_uint(&cursor);
        shoal_letter_t *letter = cursor.is_bad ? NULL : shoal_letters_find(choice->letters, number);
        if (!letter && !cursor.is_bad) {
            return shoal_fail(status, SHOAL_NOT_FOUND, "job %llu has no dead letter %llu",
                              (unsigned long long)job, (unsigned long long)number);
        }
        if (letter && letter->taken > 0) {
            return shoal_fail(status, SHOAL_EXISTS, "letter %llu is being tried again by job %llu",
                              (unsigned long long)number, (unsigned long long)letter->taken);
        }
        if (letter && with_needs) {
            choice_add_needs(choice, letter);
        } else if (letter) {
            (void)choice_add(choice, letter);
        }
    }
    return shoal_cursor_is_done(&cursor) ||
           shoal_fail(status, SHOAL_INVALID, "\"letters\" must be an array of numbers");
}

static bool
choose(const shoal_job_t *base, shoal_slice_t wanted, bool with_needs, choice_t *choice,
       shoal_status_t *status)
{
    *choice = (choice_t){.letters = base->letters};
    bool done = true;
    if (wanted.len > 0) {
        done = choose_named(choice, base->number, wanted, with_needs, status);
    } else {
        shoal_letter_t *letter;
        for (uint64_t from = 0; (letter = shoal_letters_next(base->letters, from)) != NULL;) {
            from = letter->number + 1;
            if (letter->taken == 0) {
                (void)choice_add(choice, letter);
            }
        }
    }
    if (done && choice->count == 0) {
        bool has_some = shoal_letters_count(base->letters) > 0;
        done = shoal_fail(status, has_some ? SHOAL_EXISTS : SHOAL_NOT_FOUND,
                          has_some ? "all dead letters of job %llu are being tried again"
                                   : "job %llu has no dead letters",
                          (unsigned long long)base->number);
    }
    if (!done) {
        free(choice->items);
        choice->items = NULL;
    }
    return done;
}

bool
shoal_run_drop(shoal_job_t *base, shoal_slice_t wanted, shoal_status_t *status)
{
    choice_t choice;
    if (!choose(base, wanted, /*with_needs=*/false, &choice, status)) {
        return false;
    }
    for (size_t i = 0; i < choice.count; i++) {
        shoal_letters_remove(base->letters, choice.items[i]->number);
    }
    free(choice.items);
    return true;
}

// ---- shards of them

static bool
fits(const shoal_run_group_t *group, const shoal_letter_t *letter)
{
    if (group->kind != letter->kind || letter->kind == SHOAL_LETTER_SHARD) {
        return false;
    }
    if (letter->kind == SHOAL_LETTER_RECORD) {
        return group->count < SHOAL_RUN_REPLAY_MAX &&
               group->bytes + letter->len <= SHOAL_RUN_REPLAY_BYTES;
    }
    return group->count < SHOAL_RUN_REREAD_MAX;
}

static void
group_add(shoal_run_group_t *group, const shoal_letter_t *letter)
{
    if ((group->count & (group->count - 1)) == 0) { // a power of two: room for as many again
        group->letters = shoal_realloc(group->letters, (group->count ? 2 * group->count : 1) *
                                                           sizeof(*group->letters));
    }
    group->letters[group->count++] = letter->number;
    group->bytes += letter->len;
}

// Records go together; what is read again goes with the others of its shard.
static void
plan_add(shoal_run_plan_t *plan, const shoal_letters_t *letters, const shoal_letter_t *letter)
{
    for (uint32_t i = plan->count; i-- > 0;) {
        shoal_run_group_t *group = &plan->groups[i];
        if (!fits(group, letter)) {
            continue;
        }
        const shoal_letter_t *first = shoal_letters_find(letters, group->letters[0]);
        if (letter->kind == SHOAL_LETTER_RECORD || first->origin == letter->origin) {
            group_add(group, letter);
            return;
        }
    }
    if ((plan->count & (plan->count - 1)) == 0) {
        plan->groups = shoal_realloc(plan->groups,
                                     (plan->count ? 2 * plan->count : 1) * sizeof(*plan->groups));
    }
    plan->groups[plan->count] = (shoal_run_group_t){.kind = letter->kind};
    group_add(&plan->groups[plan->count++], letter);
}

bool
shoal_run_choose(const shoal_job_t *base, shoal_slice_t wanted, shoal_run_plan_t *ret_plan,
                 shoal_status_t *status)
{
    choice_t choice;
    if (!choose(base, wanted, /*with_needs=*/true, &choice, status)) {
        return false;
    }
    *ret_plan = (shoal_run_plan_t){0};
    for (size_t i = 0; i < choice.count; i++) {
        plan_add(ret_plan, base->letters, choice.items[i]);
    }
    free(choice.items);
    return true;
}

void
shoal_run_plan_fini(shoal_run_plan_t *plan)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        free(plan->groups[i].letters);
    }
    free(plan->groups);
    *plan = (shoal_run_plan_t){0};
}

void
shoal_run_attach(shoal_job_t *job, shoal_job_t *base, shoal_run_plan_t *plan)
{
    assert(!base->of && shoal_job_is_final(base) && !job->of);
    shoal_job_t *last = base;
    while (last->next_run) {
        last = last->next_run;
    }
    last->next_run = job;
    job->of = base;
    job->run = last->run + 1;
    job->groups = plan->groups;
    job->group_count = plan->count;
    *plan = (shoal_run_plan_t){0};
    for (uint32_t i = 0; i < job->group_count; i++) {
        for (uint32_t j = 0; j < job->groups[i].count; j++) {
            shoal_letter_t *letter = shoal_letters_find(base->letters, job->groups[i].letters[j]);
            if (letter) { // always, but for a run of an earlier life
                letter->taken = job->number;
            }
        }
    }
}

void
shoal_run_write(const shoal_job_t *job, shoal_buffer_t *out)
{
    shoal_write_map(out, 2);
    shoal_write_key(out, "retry_of");
    shoal_write_uint(out, job->of->number);
    shoal_write_key(out, "groups");
    shoal_write_array(out, job->group_count);
    for (uint32_t i = 0; i < job->group_count; i++) {
        const shoal_run_group_t *group = &job->groups[i];
        shoal_write_array(out, group->count + 1);
        shoal_write_uint(out, (uint64_t)group->kind);
        for (uint32_t j = 0; j < group->count; j++) {
            shoal_write_uint(out, group->letters[j]);
        }
    }
}

bool
shoal_run_read(shoal_slice_t submit, shoal_run_plan_t *ret_plan, shoal_status_t *status)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    shoal_run_plan_t plan = {0};
    bool is_good = shoal_map_find(submit, "groups", &value);
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t count = is_good ? shoal_cursor_array(&cursor) : 0;
    plan.groups = shoal_alloc((count + 1) * sizeof(*plan.groups));
    for (; is_good && plan.count < count; plan.count++) {
        shoal_run_group_t *group = &plan.groups[plan.count];
        uint32_t letters = shoal_cursor_array(&cursor);
        uint64_t kind = shoal_cursor_uint(&cursor);
        is_good = !cursor.is_bad && letters > 1 && kind <= SHOAL_LETTER_SHARD;
        if (is_good) {
            group->kind = (shoal_letter_kind_t)kind;
            group->letters = shoal_alloc(letters * sizeof(*group->letters));
            while (group->count < letters - 1) {
                group->letters[group->count++] = shoal_cursor_uint(&cursor);
            }
        }
    }
    if (!is_good || !shoal_cursor_is_done(&cursor)) {
        shoal_run_plan_fini(&plan);
        return shoal_fail(status, SHOAL_IO, "its letters are malformed");
    }
    *ret_plan = plan;
    return true;
}

// ---- the letters of a shard

static const shoal_run_group_t *
group_of(const shoal_job_t *job, uint32_t shard)
{
    assert(job->of && shard >= SHOAL_SHARD_FIRST && shard - SHOAL_SHARD_FIRST < job->group_count);
    return &job->groups[shard - SHOAL_SHARD_FIRST];
}

shoal_letter_t *
shoal_run_next_letter(const shoal_job_t *job, uint32_t shard, uint64_t from)
{
    const shoal_run_group_t *group = group_of(job, shard);
    for (uint32_t i = 0; i < group->count; i++) {
        if (group->letters[i] >= from) {
            shoal_letter_t *letter = shoal_letters_find(job->of->letters, group->letters[i]);
            if (letter) {
                return letter;
            }
        }
    }
    return NULL;
}

shoal_letter_t *
shoal_run_first_letter(const shoal_job_t *job, uint32_t shard)
{
    return shoal_run_next_letter(job, shard, 0);
}

shoal_letter_t *
shoal_run_letter(const shoal_job_t *job, uint32_t shard, uint64_t number)
{
    shoal_letter_t *letter = job->of ? shoal_run_next_letter(job, shard, number) : NULL;
    return letter && letter->number == number ? letter : NULL;
}

void
shoal_run_settle(shoal_job_t *job, uint32_t shard)
{
    const shoal_run_group_t *group = group_of(job, shard);
    for (uint32_t i = 0; i < group->count; i++) {
        const shoal_letter_t *letter = shoal_letters_find(job->of->letters, group->letters[i]);
        if (letter && letter->taken == job->number) { // one that failed again is let go already
            shoal_letters_remove(job->of->letters, letter->number);
        }
    }
}

// Whether it is known to have failed in this run, so that the run has let it go.
static bool
has_failed_again(const shoal_job_t *job, const shoal_letter_t *letter)
{
    return shoal_letter_number(shoal_letter_part(letter, "run")) == job->run;
}

void
shoal_run_restore(shoal_job_t *job)
{
    shoal_letter_t *letter;
    for (uint64_t from = 0; (letter = shoal_letters_next(job->of->letters, from)) != NULL;) {
        from = letter->number + 1;
        letter->taken =
            letter->taken == job->number && has_failed_again(job, letter) ? 0 : letter->taken;
    }
}

void
shoal_run_release(shoal_job_t *job)
{
    shoal_letter_t *letter;
    for (uint64_t from = 0; (letter = shoal_letters_next(job->of->letters, from)) != NULL;) {
        from = letter->number + 1;
        letter->taken = letter->taken == job->number ? 0 : letter->taken;
    }
}

// ---- the run's shards

// A run's shards as they are made from letters, and as the log keeps them: msgpack arrays, one after
// the other. OPEN_SCOPE [kind, scope, members, name, of]: so many members of it are listed.
// OPEN_SHARD [kind, shard, stage, needs, cost, title, expects].
enum { OPEN_SCOPE, OPEN_SHARD };

static void
scope_write(uint64_t number, uint64_t members, shoal_slice_t name, shoal_slice_t of,
            shoal_buffer_t *out)
{
    shoal_write_array(out, 5);
    shoal_write_uint(out, OPEN_SCOPE);
    shoal_write_uint(out, number);
    shoal_write_uint(out, members);
    shoal_write_str(out, name);
    shoal_write_str(out, of);
}

// What a group of records expects: each in its scope.
static void
records_expect(const shoal_job_t *job, uint32_t shard, shoal_buffer_t *expects, shoal_buffer_t *out)
{
    uint32_t count = 0;
    shoal_letter_t *letter;
    size_t mark = shoal_write_array_later(expects);
    for (uint64_t from = 0; (letter = shoal_run_next_letter(job, shard, from)) != NULL;) {
        from = letter->number + 1;
        if (letter->scope > 0) {
            scope_write(letter->scope, 1, shoal_letter_text(letter, "scope"),
                        shoal_letter_text(letter, "of"), out);
            shoal_write_array(expects, 2);
            shoal_write_uint(expects, letter->scope);
            shoal_write_uint(expects, 1);
            count++;
        }
    }
    shoal_write_count_now(expects, mark, count);
}

// A shard's scopes have the names that the letter knows.
static void
shard_expects(const shoal_letter_t *letter, shoal_buffer_t *expects, shoal_buffer_t *out)
{
    shoal_cursor_t cursor = shoal_cursor_over(shoal_letter_item(letter, "scopes"));
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        (void)shoal_cursor_array(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        shoal_slice_t name = shoal_cursor_str(&cursor);
        shoal_slice_t of = shoal_cursor_str(&cursor);
        if (!cursor.is_bad) {
            scope_write(number, 0, name, of, out);
        }
    }
    shoal_slice_t value = shoal_letter_item(letter, "expects");
    cursor = shoal_cursor_over(value);
    count = value.len > 0 ? shoal_cursor_array(&cursor) : 0;
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        (void)shoal_cursor_array(&cursor);
        uint64_t number = shoal_cursor_uint(&cursor);
        uint64_t members = shoal_cursor_uint(&cursor);
        if (number > 0 && !cursor.is_bad) {
            scope_write(number, members, SHOAL_SLICE_NONE, SHOAL_SLICE_NONE, out);
        }
    }
    shoal_write_raw(expects, value);
}

static void
title_write(const shoal_run_group_t *group, const shoal_letter_t *first, char *title, size_t size)
{
    shoal_slice_t old = shoal_letter_text(first, "title");
    if (group->kind == SHOAL_LETTER_SHARD) {
        (void)snprintf(title, size, "%.*s", SHOAL_SLICE_ARGS(old));
    } else if (group->kind == SHOAL_LETTER_SOURCE) {
        (void)snprintf(title, size, "%u records of %.*s", group->count, SHOAL_SLICE_ARGS(old));
    } else {
        (void)snprintf(title, size, "letters %llu to %llu, %u records",
                       (unsigned long long)group->letters[0],
                       (unsigned long long)group->letters[group->count - 1], group->count);
    }
}

// The shard that the group's shard has to wait for, if that one is tried in this run too.
static uint32_t
needs_of(const shoal_job_t *job, const shoal_run_group_t *group, const shoal_letter_t *first)
{
    if (group->kind != SHOAL_LETTER_SHARD || first->needs == 0) {
        return SHOAL_SHARD_NONE;
    }
    for (uint32_t i = 0; &job->groups[i] < group; i++) { // those that it needs come before it
        const shoal_run_group_t *other = &job->groups[i];
        if (other->kind == SHOAL_LETTER_SHARD && other->letters[0] == first->needs) {
            return i + SHOAL_SHARD_FIRST;
        }
    }
    return SHOAL_SHARD_NONE;
}

static void
group_write(const shoal_job_t *job, uint32_t shard, shoal_buffer_t *out)
{
    const shoal_run_group_t *group = group_of(job, shard);
    const shoal_letter_t *first = shoal_run_first_letter(job, shard);
    char title[256];
    shoal_buffer_t expects = SHOAL_BUFFER_INIT;
    if (!first) {
        return; // tried and gone already: the shard has no work
    }
    uint64_t stage = SHOAL_STAGE_MAP;
    if (group->kind == SHOAL_LETTER_SHARD) {
        stage = shoal_letter_number(shoal_letter_item(first, "stage"));
        shard_expects(first, &expects, out);
    } else {
        records_expect(job, shard, &expects, out);
    }
    if (stage < SHOAL_STAGE_PREPARE || stage > SHOAL_STAGE_LINK) {
        stage = SHOAL_STAGE_MAP;
    }
    title_write(group, first, title, sizeof(title));
    shoal_write_array(out, 7);
    shoal_write_uint(out, OPEN_SHARD);
    shoal_write_uint(out, shard);
    shoal_write_uint(out, stage);
    shoal_write_uint(out, needs_of(job, group, first));
    uint64_t cost = shoal_letter_number(shoal_letter_item(first, "cost"));
    shoal_write_uint(out, stage == SHOAL_STAGE_PREPARE || cost > SHOAL_COST_FIRST ? SHOAL_COST_FIRST
                                                                                  : cost);
    shoal_write_str(out, shoal_slice_of(title));
    shoal_write_bin(out, shoal_buffer_slice(&expects));
    shoal_buffer_fini(&expects);
}

static void
scope_take(shoal_job_t *job, shoal_cursor_t *cursor)
{
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    uint64_t number = shoal_cursor_uint(cursor);
    uint64_t members = shoal_cursor_uint(cursor);
    shoal_slice_t name = shoal_cursor_str(cursor);
    shoal_slice_t of = shoal_cursor_str(cursor);
    if (!cursor->is_bad && shoal_books_open(&job->books, number, name, of, &ignored) &&
        members > 0) {
        shoal_books_expect(&job->books, shoal_books_scope(&job->books, number), members);
    }
}

static bool
shard_take(shoal_job_t *job, shoal_cursor_t *cursor, shoal_status_t *status)
{
    uint64_t shard = shoal_cursor_uint(cursor);
    uint64_t stage = shoal_cursor_uint(cursor);
    uint64_t needs = shoal_cursor_uint(cursor);
    uint64_t cost = shoal_cursor_uint(cursor);
    const shoal_shard_item_t item = {.stage = (shoal_stage_t)stage,
                                     .needs = (uint32_t)needs,
                                     .cost_us = (uint32_t)cost,
                                     .title = shoal_cursor_str(cursor),
                                     .expects = shoal_cursor_bin(cursor)};
    bool is_good = !cursor->is_bad && shard >= SHOAL_SHARD_FIRST && shard < SHOAL_SHARDS_MAX &&
                   stage >= SHOAL_STAGE_PREPARE && stage <= SHOAL_STAGE_LINK &&
                   (needs == SHOAL_SHARD_NONE || needs < shard) && cost <= UINT32_MAX &&
                   !shoal_backlog_at(job->backlog, (uint32_t)shard) &&
                   (needs == SHOAL_SHARD_NONE || shoal_backlog_at(job->backlog, (uint32_t)needs));
    if (!is_good) {
        return shoal_fail(status, SHOAL_IO, "a shard of the run is malformed");
    }
    if (!shoal_backlog_add(job->backlog, (uint32_t)shard, &item, status)) {
        return false;
    }
    job->shards++;
    shoal_job_shard_place(job, (uint32_t)shard);
    return true;
}

bool
shoal_run_take(shoal_job_t *job, shoal_slice_t opening, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(opening);
    bool done = true;
    while (done && shoal_cursor_left(&cursor) > 0) {
        uint32_t parts = shoal_cursor_array(&cursor);
        uint64_t kind = shoal_cursor_uint(&cursor);
        if (kind == OPEN_SCOPE && parts == 5) {
            scope_take(job, &cursor);
        } else if (kind == OPEN_SHARD && parts == 7) {
            done = shard_take(job, &cursor, status);
        } else {
            cursor.is_bad = true;
        }
        if (cursor.is_bad && done) {
            done = shoal_fail(status, SHOAL_IO, "what the run begins with is malformed");
        }
    }
    return done || shoal_fail_while(status, "cannot try the dead letters again");
}

bool
shoal_run_open(shoal_job_t *job, shoal_status_t *status)
{
    for (uint32_t i = 0; i < job->group_count; i++) {
        group_write(job, SHOAL_SHARD_FIRST + i, &job->opening);
    }
    return shoal_run_take(job, shoal_buffer_slice(&job->opening), status);
}

const char *
shoal_run_method(const shoal_job_t *job, uint32_t shard)
{
    switch (group_of(job, shard)->kind) {
    case SHOAL_LETTER_RECORD: return "replay";
    case SHOAL_LETTER_SOURCE: return "reread";
    case SHOAL_LETTER_SHARD:
    default: return shoal_stage_name(shoal_backlog_at(job->backlog, shard)->stage);
    }
}

static void
write_value(shoal_buffer_t *out, shoal_slice_t value)
{
    if (value.len > 0) {
        shoal_write_raw(out, value);
    } else {
        shoal_write_nil(out);
    }
}

static void
letters_write(const shoal_job_t *job, uint32_t shard, bool with_records, shoal_buffer_t *out)
{
    uint32_t count = 0;
    shoal_letter_t *letter;
    shoal_write_key(out, "letters");
    size_t mark = shoal_write_array_later(out);
    for (uint64_t from = 0; (letter = shoal_run_next_letter(job, shard, from)) != NULL; count++) {
        from = letter->number + 1;
        shoal_write_array(out, with_records ? 4 : 3);
        shoal_write_uint(out, letter->number);
        shoal_write_uint(out, letter->scope);
        shoal_write_str(out, shoal_letter_text(letter, with_records ? "type" : "name"));
        if (with_records) {
            write_value(out, shoal_letter_part(letter, "record"));
        }
    }
    shoal_write_count_now(out, mark, count);
}

void
shoal_run_args(const shoal_job_t *job, uint32_t shard, shoal_buffer_t *out)
{
    const shoal_run_group_t *group = group_of(job, shard);
    const shoal_letter_t *first = shoal_run_first_letter(job, shard);
    if (!first || group->kind == SHOAL_LETTER_SHARD) {
        write_value(out, first ? shoal_letter_item(first, "args") : SHOAL_SLICE_NONE);
        return;
    }
    if (group->kind == SHOAL_LETTER_RECORD) {
        shoal_write_map(out, 1);
        letters_write(job, shard, /*with_records=*/true, out);
        return;
    }
    shoal_write_map(out, 3);
    shoal_write_key(out, "stage");
    shoal_write_uint(out, shoal_letter_number(shoal_letter_item(first, "stage")));
    shoal_write_key(out, "args");
    write_value(out, shoal_letter_item(first, "args"));
    letters_write(job, shard, /*with_records=*/false, out);
}
