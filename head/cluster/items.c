// SPDX-License-Identifier: Apache-2.0
//
// items.c - what discover streams: scopes, shards and cursors; see job.h and docs/protocol.md 6.1.

#include <stdlib.h>

#include "head/cluster/job.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"

// One item with the keys that it has.
typedef struct item {
    bool has_scope;
    bool has_shard;
    bool has_needs;
    bool has_listed;
    bool has_filtered;
    bool has_failed;
    bool has_cursor;
    uint64_t scope;
    uint64_t shard;
    uint64_t needs;
    uint64_t stage;
    uint64_t cost;
    uint64_t listed;
    uint64_t filtered;
    uint64_t error_class;
    uint64_t code;
    shoal_slice_t name;
    shoal_slice_t of;
    shoal_slice_t failed;
    shoal_slice_t title;
    shoal_slice_t expects;
    shoal_slice_t args;
    shoal_slice_t cursor;
} item_t;

typedef enum item_kind { ITEM_UINT, ITEM_TEXT, ITEM_VALUE } item_kind_t;

#define NO_FLAG SIZE_MAX

typedef struct item_key {
    const char *name;
    item_kind_t kind;
    size_t at;   // in item_t
    size_t flag; // the bool that says that it was there
} item_key_t;

#define AT(field) offsetof(item_t, field)

// clang-format off
static const item_key_t keys[] = {
    {"shard",    ITEM_UINT,  AT(shard),       AT(has_shard)},
    {"stage",    ITEM_UINT,  AT(stage),       NO_FLAG},
    {"needs",    ITEM_UINT,  AT(needs),       AT(has_needs)},
    {"cost",     ITEM_UINT,  AT(cost),        NO_FLAG},
    {"title",    ITEM_TEXT,  AT(title),       NO_FLAG},
    {"expects",  ITEM_VALUE, AT(expects),     NO_FLAG},
    {"args",     ITEM_VALUE, AT(args),        NO_FLAG},
    {"scope",    ITEM_UINT,  AT(scope),       AT(has_scope)},
    {"name",     ITEM_TEXT,  AT(name),        NO_FLAG},
    {"of",       ITEM_TEXT,  AT(of),          NO_FLAG},
    {"listed",   ITEM_UINT,  AT(listed),      AT(has_listed)},
    {"filtered", ITEM_UINT,  AT(filtered),    AT(has_filtered)},
    {"failed",   ITEM_TEXT,  AT(failed),      AT(has_failed)},
    {"class",    ITEM_UINT,  AT(error_class), NO_FLAG},
    {"code",     ITEM_UINT,  AT(code),        NO_FLAG},
    {"cursor",   ITEM_VALUE, AT(cursor),      AT(has_cursor)},
};
// clang-format on

static const item_key_t *
key_find(shoal_slice_t name)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (shoal_slice_is(name, keys[i].name)) {
            return &keys[i];
        }
    }
    return NULL;
}

static bool
item_read(shoal_cursor_t *cursor, item_t *ret_item, shoal_status_t *status)
{
    item_t item = {.stage = SHOAL_STAGE_MAP};
    uint32_t pairs = shoal_cursor_map(cursor);
    for (uint32_t i = 0; i < pairs && !cursor->is_bad; i++) {
        shoal_slice_t name = shoal_cursor_str(cursor);
        const item_key_t *key = key_find(name);
        if (!key) {
            shoal_cursor_skip(cursor);
            continue;
        }
        char *at = (char *)&item + key->at;
        if (key->kind == ITEM_UINT && shoal_cursor_peek(cursor) == SHOAL_VALUE_NIL) {
            (void)shoal_cursor_nil(cursor); // as if it were not there
            continue;
        }
        if (key->kind == ITEM_UINT) {
            uint64_t value = shoal_cursor_uint(cursor);
            memcpy(at, &value, sizeof(value));
        } else {
            shoal_slice_t value = key->kind == ITEM_TEXT ? shoal_cursor_str_or_nil(cursor)
                                                         : shoal_cursor_value(cursor);
            memcpy(at, &value, sizeof(value));
        }
        if (key->flag != NO_FLAG) {
            *((bool *)(void *)((char *)&item + key->flag)) = true;
        }
        if (cursor->is_bad) {
            return shoal_fail(status, SHOAL_PROTOCOL, "an item of discover has a malformed \"%s\"",
                              key->name);
        }
    }
    if (cursor->is_bad) {
        return shoal_fail(status, SHOAL_PROTOCOL, "an item of discover is malformed");
    }
    *ret_item = item;
    return true;
}

static bool
scope_take(shoal_job_t *job, const item_t *item, shoal_status_t *status)
{
    shoal_scope_t *scope = shoal_books_scope(&job->books, item->scope);
    if (!scope) { // its name comes first, but a scope without one is no reason to fail
        if (!shoal_books_open(&job->books, item->scope, item->name, item->of, status)) {
            return false;
        }
        scope = shoal_books_scope(&job->books, item->scope);
    }
    if (item->has_failed && !scope->is_failed) {
        scope->is_failed = true;
        shoal_status_t why = SHOAL_STATUS_INIT;
        (void)shoal_fail_as(&why, shoal_error_class_from(item->error_class),
                            shoal_code_from(item->code), "%.*s", SHOAL_SLICE_ARGS(item->failed));
        shoal_books_error(&job->books, &why, shoal_books_scope_name(&job->books, scope), "");
    }
    if (item->has_filtered) {
        const shoal_shard_t *discover = shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER);
        shoal_books_filtered(&job->books, scope, item->filtered, discover->attempt, job->cursors);
    }
    if (item->has_listed) {
        shoal_books_listed(&job->books, scope, item->listed);
    }
    return true;
}

void
shoal_job_shard_place(shoal_job_t *job, uint32_t index)
{
    shoal_shard_t *shard = shoal_backlog_at(job->backlog, index);
    if (job->spec.plan_only) {
        return; // it stays WAITING, for the plan
    }
    if (shard->stage == SHOAL_STAGE_LINK) {
        shard->waiters = job->link_first; // nothing can need a link shard
        job->link_first = index;
        return;
    }
    if (shard->needs == SHOAL_SHARD_NONE) {
        shoal_backlog_set(job->backlog, index, SHOAL_SHARD_READY);
        return;
    }
    switch ((shoal_shard_state_t)shoal_backlog_at(job->backlog, shard->needs)->state) {
    case SHOAL_SHARD_DONE: shoal_backlog_set(job->backlog, index, SHOAL_SHARD_READY); break;
    case SHOAL_SHARD_DEAD: shoal_job_shard_orphaned(job, index); break;
    case SHOAL_SHARD_ABSENT:
    case SHOAL_SHARD_WAITING:
    case SHOAL_SHARD_READY:
    case SHOAL_SHARD_RUNNING:
    case SHOAL_SHARD_DELAYED:
    case SHOAL_SHARD_STATE_COUNT:
    default: shoal_backlog_chain(job->backlog, index); break;
    }
}

static bool
shard_take(shoal_job_t *job, const item_t *item, shoal_status_t *status)
{
    if (item->shard >= SHOAL_SHARDS_MAX - SHOAL_SHARD_FIRST) {
        return shoal_fail(status, SHOAL_LIMIT, "shard %llu: a job has at most %d shards",
                          (unsigned long long)item->shard, SHOAL_SHARDS_MAX - SHOAL_SHARD_FIRST);
    }
    uint32_t index = (uint32_t)item->shard + SHOAL_SHARD_FIRST;
    if (shoal_backlog_at(job->backlog, index)) {
        return true; // said again by a new attempt
    }
    if (item->stage < SHOAL_STAGE_PREPARE || item->stage > SHOAL_STAGE_LINK) {
        return shoal_fail(status, SHOAL_PROTOCOL, "shard %u: its stage must be 1 to 3",
                          index - SHOAL_SHARD_FIRST);
    }
    uint32_t needs = SHOAL_SHARD_NONE;
    if (item->has_needs && item->needs > 0) { // 0: none
        needs = item->needs < SHOAL_SHARDS_MAX - SHOAL_SHARD_FIRST
                    ? (uint32_t)item->needs + SHOAL_SHARD_FIRST
                    : SHOAL_SHARD_NONE;
        const shoal_shard_t *needed =
            needs == SHOAL_SHARD_NONE ? NULL : shoal_backlog_at(job->backlog, needs);
        if (!needed || needed->stage == SHOAL_STAGE_LINK) {
            return shoal_fail(status, SHOAL_PROTOCOL,
                              "shard %u: the one that it needs must come before it",
                              index - SHOAL_SHARD_FIRST);
        }
    }
    // What others wait for goes first; an estimate stays below that.
    uint32_t cost = item->cost < SHOAL_COST_FIRST ? (uint32_t)item->cost : SHOAL_COST_FIRST - 1;
    shoal_shard_item_t made = {
        .stage = (shoal_stage_t)item->stage,
        .needs = needs,
        .cost_us = item->stage == SHOAL_STAGE_PREPARE ? SHOAL_COST_FIRST : cost,
        .title = item->title,
        .expects = item->expects,
        .args = item->args,
    };
    if (!shoal_backlog_add(job->backlog, index, &made, status)) {
        return shoal_fail_while(status, "shard %u", index - SHOAL_SHARD_FIRST);
    }
    job->shards++;
    shoal_job_shard_place(job, index);
    return true;
}

static bool
cursor_take(shoal_job_t *job, shoal_slice_t value, shoal_status_t *status)
{
    if (value.len > SHOAL_JOB_CURSOR_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a cursor has at most %d bytes",
                          SHOAL_JOB_CURSOR_MAX);
    }
    job->cursor = shoal_realloc(job->cursor, value.len);
    memcpy(job->cursor, value.ptr, value.len);
    job->cursor_len = value.len;
    job->cursors++;
    return true;
}

// A cursor that comes with a shard or a scope takes effect together with it: a new attempt then either
// gets both or neither, whatever becomes of the rest.
static bool
item_take(shoal_job_t *job, const item_t *item, shoal_status_t *status)
{
    if (!item->has_shard && !item->has_scope && !item->has_cursor) {
        return shoal_fail(status, SHOAL_PROTOCOL,
                          "an item is neither a scope, nor a shard, nor a cursor");
    }
    return (!item->has_shard || shard_take(job, item, status)) &&
           (item->has_shard || !item->has_scope || scope_take(job, item, status)) &&
           (!item->has_cursor || cursor_take(job, item->cursor, status));
}

bool
shoal_job_take_items(shoal_job_t *job, shoal_slice_t items, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(items);
    while (shoal_cursor_left(&cursor) > 0) {
        item_t item = {0};
        bool is_taken = item_read(&cursor, &item, status);
        if (!is_taken || !item_take(job, &item, status)) {
            return shoal_fail_while(status, "cannot take what discover found");
        }
    }
    return true;
}
