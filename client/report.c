// SPDX-License-Identifier: Apache-2.0
//
// report.c - see report.h.
//
// Design: each map of the detail has a table of its keys; read_map() walks the pairs, finds the
// key and lets the table's reader fill the structure. Keys that are not in a table are skipped.

#include "client/report.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"

#define RATE_MAX    1e15
#define SECONDS_MAX 1e12

typedef void read_fn(shoal_cursor_t *cursor, void *at);

typedef struct key {
    const char *name;
    size_t offset;
    read_fn *read;
} report_key_t;

static void
read_map(shoal_cursor_t *cursor, const report_key_t *keys, size_t key_count, void *into)
{
    if (shoal_cursor_nil(cursor)) {
        return;
    }
    uint32_t pairs = shoal_cursor_map(cursor);
    for (uint32_t i = 0; i < pairs && !cursor->is_bad; i++) {
        shoal_slice_t name = shoal_cursor_str(cursor);
        size_t k = 0;
        while (k < key_count && !shoal_slice_is(name, keys[k].name)) {
            k++;
        }
        if (k == key_count) {
            shoal_cursor_skip(cursor);
        } else {
            keys[k].read(cursor, (char *)into + keys[k].offset);
        }
    }
}

#define KEY_COUNT(keys) (sizeof(keys) / sizeof((keys)[0]))

static void
read_uint(shoal_cursor_t *cursor, void *at)
{
    *(uint64_t *)at = shoal_cursor_nil(cursor) ? 0 : shoal_cursor_uint(cursor);
}

static void
read_flag(shoal_cursor_t *cursor, void *at)
{
    *(bool *)at = shoal_cursor_bool(cursor);
}

// Nonsense (negative, infinite, no number) reads as zero.
static void
read_seconds(shoal_cursor_t *cursor, void *at)
{
    double seconds = shoal_cursor_float(cursor);
    *(double *)at = seconds >= 0.0 && seconds < SECONDS_MAX ? seconds : 0.0;
}

static void
read_progress(shoal_cursor_t *cursor, void *at)
{
    shoal_report_t *report = at;
    double progress = shoal_cursor_float(cursor);
    report->has_progress = progress >= 0.0 && progress <= 1.0;
    report->progress = report->has_progress ? progress : 0.0;
}

static void
read_text(shoal_cursor_t *cursor, void *at)
{
    shoal_slice_t text = shoal_cursor_str_or_nil(cursor);
    char **to = at;
    free(*to); // a key that stands twice
    *to = shoal_strndup(text.ptr ? text.ptr : "", text.len);
}

static void
read_stage(shoal_cursor_t *cursor, void *at)
{
    shoal_slice_t text = shoal_cursor_str_or_nil(cursor);
    (void)snprintf(at, sizeof(((shoal_report_t *)0)->stage), "%.*s", SHOAL_SLICE_ARGS(text));
}

// An array's elements; a count is bounded by the bytes that are there (cursor.h).
static void *
array_new(shoal_cursor_t *cursor, size_t size, size_t *ret_count)
{
    *ret_count = shoal_cursor_nil(cursor) ? 0 : shoal_cursor_array(cursor);
    if (cursor->is_bad) {
        *ret_count = 0;
    }
    return *ret_count > 0 ? shoal_alloc(*ret_count * size) : NULL;
}

static char *
no_text(char *text)
{
    return text ? text : shoal_strdup("");
}

// The readers below fill an array member once; a key that stands twice is malformed.
static bool
is_second(shoal_cursor_t *cursor, size_t count)
{
    cursor->is_bad = cursor->is_bad || count > 0;
    return cursor->is_bad;
}

static void
read_shards(shoal_cursor_t *cursor, void *at)
{
    static const report_key_t keys[] = {
        {"total", offsetof(shoal_report_t, shards.total), read_uint},
        {"done", offsetof(shoal_report_t, shards.done), read_uint},
        {"running", offsetof(shoal_report_t, shards.running), read_uint},
        {"retried", offsetof(shoal_report_t, shards.retried), read_uint},
        {"dead", offsetof(shoal_report_t, shards.dead), read_uint},
    };
    read_map(cursor, keys, KEY_COUNT(keys), at);
}

static void
read_kinds(shoal_cursor_t *cursor, void *at)
{
    shoal_report_t *report = at;
    if (is_second(cursor, report->kind_count) || shoal_cursor_nil(cursor)) {
        return;
    }
    uint32_t pairs = shoal_cursor_map(cursor);
    if (cursor->is_bad || pairs == 0) {
        return;
    }
    report->kinds = shoal_alloc(pairs * sizeof(*report->kinds));
    report->kind_count = pairs;
    for (uint32_t i = 0; i < pairs; i++) {
        read_text(cursor, &report->kinds[i].text);
        report->kinds[i].count = shoal_cursor_uint(cursor);
    }
}

static void
read_records(shoal_cursor_t *cursor, void *at)
{
    static const report_key_t keys[] = {
        {"total", offsetof(shoal_report_t, records.total), read_uint},
        {"successful", offsetof(shoal_report_t, records.successful), read_uint},
        {"failed", offsetof(shoal_report_t, records.failed), read_uint},
        {"filtered", offsetof(shoal_report_t, records.filtered), read_uint},
        {"arriving", offsetof(shoal_report_t, records.arriving), read_uint},
        {"by_kind", 0, read_kinds},
    };
    read_map(cursor, keys, KEY_COUNT(keys), at);
}

static void
read_scopes(shoal_cursor_t *cursor, void *at)
{
    static const report_key_t keys[] = {
        {"total", offsetof(shoal_report_t, scopes.total), read_uint},
        {"complete", offsetof(shoal_report_t, scopes.complete), read_uint},
        {"balanced", offsetof(shoal_report_t, scopes.balanced), read_uint},
    };
    read_map(cursor, keys, KEY_COUNT(keys), at);
}

static void
read_errors(shoal_cursor_t *cursor, void *at)
{
    static const report_key_t keys[] = {
        {"class", offsetof(shoal_report_error_t, error_class), read_uint},
        {"code", offsetof(shoal_report_error_t, code), read_uint},
        {"message", offsetof(shoal_report_error_t, message), read_text},
        {"key", offsetof(shoal_report_error_t, key), read_text},
        {"where", offsetof(shoal_report_error_t, where), read_text},
        {"worker", offsetof(shoal_report_error_t, worker), read_text},
        {"worker_name", offsetof(shoal_report_error_t, worker_name), read_text},
        {"count", offsetof(shoal_report_error_t, count), read_uint},
    };
    shoal_report_t *report = at;
    if (is_second(cursor, report->error_count)) {
        return;
    }
    report->errors = array_new(cursor, sizeof(*report->errors), &report->error_count);
    for (size_t i = 0; i < report->error_count; i++) {
        shoal_report_error_t *error = &report->errors[i];
        error->count = 1;
        read_map(cursor, keys, KEY_COUNT(keys), error);
        error->message = no_text(error->message);
        error->key = no_text(error->key);
        error->where = no_text(error->where);
        error->worker = no_text(error->worker);
        error->worker_name = no_text(error->worker_name);
    }
}

static void
read_warnings(shoal_cursor_t *cursor, void *at)
{
    shoal_report_t *report = at;
    if (is_second(cursor, report->warning_count)) {
        return;
    }
    report->warnings = array_new(cursor, sizeof(*report->warnings), &report->warning_count);
    for (size_t i = 0; i < report->warning_count; i++) {
        cursor->is_bad = shoal_cursor_array(cursor) != 2 || cursor->is_bad;
        read_text(cursor, &report->warnings[i].text);
        report->warnings[i].count = shoal_cursor_uint(cursor);
    }
}

static void
read_facts(shoal_cursor_t *cursor, void *at)
{
    shoal_report_t *report = at;
    if (is_second(cursor, report->fact_count) || shoal_cursor_nil(cursor)) {
        return;
    }
    uint32_t pairs = shoal_cursor_map(cursor);
    if (cursor->is_bad || pairs == 0) {
        return;
    }
    report->facts = shoal_alloc(pairs * sizeof(*report->facts));
    report->fact_count = pairs;
    for (uint32_t i = 0; i < pairs; i++) {
        read_text(cursor, &report->facts[i].name);
        read_text(cursor, &report->facts[i].text);
    }
}

static void
read_books(shoal_cursor_t *cursor, void *at)
{
    static const report_key_t keys[] = {
        {"scope", offsetof(shoal_report_book_t, scope), read_text},
        {"of", offsetof(shoal_report_book_t, of), read_text},
        {"listed", offsetof(shoal_report_book_t, listed), read_uint},
        {"delivered", offsetof(shoal_report_book_t, delivered), read_uint},
        {"filtered", offsetof(shoal_report_book_t, filtered), read_uint},
        {"vanished", offsetof(shoal_report_book_t, vanished), read_uint},
        {"dead", offsetof(shoal_report_book_t, dead), read_uint},
        {"complete", offsetof(shoal_report_book_t, is_complete), read_flag},
    };
    shoal_report_t *report = at;
    if (is_second(cursor, report->book_count)) {
        return;
    }
    report->books = array_new(cursor, sizeof(*report->books), &report->book_count);
    for (size_t i = 0; i < report->book_count; i++) {
        read_map(cursor, keys, KEY_COUNT(keys), &report->books[i]);
        report->books[i].scope = no_text(report->books[i].scope);
        report->books[i].of = no_text(report->books[i].of);
    }
}

static void
read_first_letters(shoal_cursor_t *cursor, void *at)
{
    static const report_key_t keys[] = {
        {"letter", offsetof(shoal_report_letter_t, letter), read_uint},
        {"class", offsetof(shoal_report_letter_t, error_class), read_uint},
        {"code", offsetof(shoal_report_letter_t, code), read_uint},
        {"name", offsetof(shoal_report_letter_t, name), read_text},
        {"message", offsetof(shoal_report_letter_t, message), read_text},
    };
    shoal_report_t *report = at;
    if (is_second(cursor, report->first_letter_count)) {
        return;
    }
    report->first_letters =
        array_new(cursor, sizeof(*report->first_letters), &report->first_letter_count);
    for (size_t i = 0; i < report->first_letter_count; i++) {
        shoal_report_letter_t *letter = &report->first_letters[i];
        read_map(cursor, keys, KEY_COUNT(keys), letter);
        letter->name = no_text(letter->name);
        letter->message = no_text(letter->message);
    }
}

static void
read_letters(shoal_cursor_t *cursor, void *at)
{
    static const report_key_t keys[] = {
        {"total", offsetof(shoal_report_t, letters), read_uint},
        {"first", 0, read_first_letters},
    };
    read_map(cursor, keys, KEY_COUNT(keys), at);
}

static void
read_plan(shoal_cursor_t *cursor, void *at)
{
    static const report_key_t keys[] = {
        {"shard", offsetof(shoal_report_shard_t, shard), read_uint},
        {"stage", offsetof(shoal_report_shard_t, stage), read_uint},
        {"needs", offsetof(shoal_report_shard_t, needs), read_uint},
        {"cost_us", offsetof(shoal_report_shard_t, cost_us), read_uint},
        {"title", offsetof(shoal_report_shard_t, title), read_text},
    };
    shoal_report_t *report = at;
    if (is_second(cursor, report->plan_count)) {
        return;
    }
    report->plan = array_new(cursor, sizeof(*report->plan), &report->plan_count);
    for (size_t i = 0; i < report->plan_count; i++) {
        read_map(cursor, keys, KEY_COUNT(keys), &report->plan[i]);
        report->plan[i].title = no_text(report->plan[i].title);
    }
}

static void
read_balanced(shoal_cursor_t *cursor, void *at)
{
    shoal_report_t *report = at;
    report->is_balanced = shoal_cursor_bool(cursor);
    report->has_books = true;
}

static const report_key_t detail_keys[] = {
    {"stage", offsetof(shoal_report_t, stage), read_stage},
    {"discovering", offsetof(shoal_report_t, is_discovering), read_flag},
    {"shards", 0, read_shards},
    {"records", 0, read_records},
    {"commits", offsetof(shoal_report_t, commits), read_uint},
    {"output_bytes", offsetof(shoal_report_t, output_bytes), read_uint},
    {"seconds", offsetof(shoal_report_t, seconds), read_seconds},
    {"progress", 0, read_progress},
    {"workers", offsetof(shoal_report_t, workers), read_uint},
    {"slots", offsetof(shoal_report_t, slots), read_uint},
    {"wait", offsetof(shoal_report_t, wait), read_text},
    {"errors", 0, read_errors},
    {"errors_left_out", offsetof(shoal_report_t, errors_left_out), read_uint},
    {"warnings", 0, read_warnings},
    {"facts", 0, read_facts},
    {"books", 0, read_books},
    {"books_left_out", offsetof(shoal_report_t, books_left_out), read_uint},
    {"balanced", 0, read_balanced},
    {"scopes", 0, read_scopes},
    {"limited", offsetof(shoal_report_t, is_limited), read_flag},
    {"letters", 0, read_letters},
    {"plan", 0, read_plan},
    {"plan_left_out", offsetof(shoal_report_t, plan_left_out), read_uint},
};

bool
shoal_report_read(shoal_slice_t state, shoal_slice_t detail, shoal_report_t **ret_report,
                  shoal_status_t *status)
{
    shoal_report_t *report = shoal_alloc(sizeof(*report));
    (void)snprintf(report->state, sizeof(report->state), "%.*s", SHOAL_SLICE_ARGS(state));
    if (detail.len > 0) {
        shoal_cursor_t cursor = shoal_cursor_over(detail);
        read_map(&cursor, detail_keys, KEY_COUNT(detail_keys), report);
        if (!shoal_cursor_is_done(&cursor)) {
            shoal_report_destroy(&report);
            return shoal_fail(status, SHOAL_PROTOCOL,
                              "cannot read what the head says of a job: its EVENT is malformed");
        }
    }
    report->wait = no_text(report->wait);
    report->said_seconds = report->seconds;
    *ret_report = report;
    return true;
}

void
shoal_report_destroy(shoal_report_t **report)
{
    if (!report || !*report) {
        return;
    }
    shoal_report_t *it = *report;
    for (size_t i = 0; i < it->kind_count; i++) {
        free(it->kinds[i].text);
    }
    for (size_t i = 0; i < it->error_count; i++) {
        free(it->errors[i].message);
        free(it->errors[i].key);
        free(it->errors[i].where);
        free(it->errors[i].worker);
        free(it->errors[i].worker_name);
    }
    for (size_t i = 0; i < it->warning_count; i++) {
        free(it->warnings[i].text);
    }
    for (size_t i = 0; i < it->fact_count; i++) {
        free(it->facts[i].name);
        free(it->facts[i].text);
    }
    for (size_t i = 0; i < it->book_count; i++) {
        free(it->books[i].scope);
        free(it->books[i].of);
    }
    for (size_t i = 0; i < it->first_letter_count; i++) {
        free(it->first_letters[i].name);
        free(it->first_letters[i].message);
    }
    free(it->first_letters);
    for (size_t i = 0; i < it->plan_count; i++) {
        free(it->plan[i].title);
    }
    free(it->kinds);
    free(it->errors);
    free(it->warnings);
    free(it->facts);
    free(it->books);
    free(it->plan);
    free(it->wait);
    free(it);
    *report = NULL;
}

bool
shoal_report_is_final(const shoal_report_t *report)
{
    return strcmp(report->state, "PENDING") != 0 && strcmp(report->state, "RUNNING") != 0;
}

double
shoal_report_success(const shoal_report_t *report)
{
    uint64_t tried = report->records.successful + report->records.failed;
    return tried == 0 ? 100.0 : 100.0 * (double)report->records.successful / (double)tried;
}

uint64_t
shoal_report_vanished(const shoal_report_t *report)
{
    uint64_t vanished = 0;
    for (size_t i = 0; i < report->book_count; i++) {
        vanished += report->books[i].vanished;
    }
    return vanished;
}

double
shoal_report_rate(const shoal_report_t *report)
{
    double records = (double)report->records.total + (double)report->records.arriving;
    double rate = report->seconds > 0.0 ? records / report->seconds : 0.0;
    return rate < RATE_MAX ? rate : 0.0; // no clock measures that
}

double
shoal_report_progress(const shoal_report_t *report)
{
    double total = (double)report->shards.total;
    double ended = (double)report->shards.done + (double)report->shards.dead;
    if (report->has_progress) {
        return report->progress;
    }
    if (total <= 0.0) {
        return 0.0;
    }
    return ended < total ? ended / total : 1.0;
}

double
shoal_report_seconds_left(const shoal_report_t *report)
{
    double progress = shoal_report_progress(report);
    if (report->is_discovering || progress <= 0.0) {
        return -1.0;
    }
    // From what was true when it was said: it goes down until more is known.
    double left = report->said_seconds * (1.0 - progress) / progress;
    double since = report->seconds - report->said_seconds;
    return left > since ? left - since : 0.0;
}
