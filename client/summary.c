// SPDX-License-Identifier: Apache-2.0
//
// summary.c - see summary.h.

#include "client/summary.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/text.h"

typedef struct hint {
    shoal_code_t code;
    const char *text;
} hint_t;

// What to do next about an error of that kind.
static const hint_t hints[] = {
    {SHOAL_DENIED, "check the user, the password and what the user may read"},
    {SHOAL_UNAVAILABLE, "check host and port, and that the server runs and takes connections"},
    {SHOAL_TIMEOUT, "the source is slow: raise the timeout or lower --parallelism"},
    {SHOAL_NOT_FOUND, "check the name"},
    {SHOAL_LIMIT, "raise the limit that it names, or lower --parallelism"},
    {SHOAL_INVALID, "correct the value and run again"},
    {SHOAL_UNSUPPORTED, "see docs for what this version can do"},
    {SHOAL_IO, "run again; if it comes back, look at the disk or the connection"},
};

static const char *
hint_of(uint64_t code)
{
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if ((uint64_t)hints[i].code == code) {
            return hints[i].text;
        }
    }
    return NULL;
}

static bool
has_failed(const shoal_summary_t *summary)
{
    return summary->status && summary->status->code != SHOAL_OK;
}

const char *
shoal_summary_state(const shoal_summary_t *summary)
{
    if (has_failed(summary)) {
        return "FAILED";
    }
    if (summary->report && (summary->is_look || shoal_report_is_final(summary->report))) {
        return summary->report->state;
    }
    return summary->signal ? "STOPPED" : "FAILED";
}

bool
shoal_summary_is_bad_file(const shoal_report_t *report)
{
    if (!report || strcmp(report->state, "FAILED") != 0) {
        return false;
    }
    for (size_t i = 0; i < report->error_count; i++) {
        if (report->errors[i].key[0] && report->errors[i].error_class == SHOAL_CONFIG) {
            return true;
        }
    }
    return false;
}

const char *
shoal_summary_stage(uint64_t stage)
{
    static const char *const stages[] = {"?", "prepare", "map", "link"};
    return stages[stage <= 3 ? stage : 0];
}

int
shoal_summary_exit(const shoal_summary_t *summary)
{
    if (summary->signal) {
        return 128 + summary->signal;
    }
    if (has_failed(summary)) {
        return summary->status->code == SHOAL_INVALID ? SHOAL_EXIT_USAGE : SHOAL_EXIT_FAILED;
    }
    const char *state = shoal_summary_state(summary);
    if (strcmp(state, "SUCCEEDED") == 0) {
        return SHOAL_EXIT_OK;
    }
    if (strcmp(state, "PARTIAL") == 0) {
        bool is_enough = summary->success_threshold >= 0 &&
                         shoal_report_success(summary->report) >= summary->success_threshold;
        return is_enough ? SHOAL_EXIT_OK : SHOAL_EXIT_PARTIAL;
    }
    return shoal_summary_is_bad_file(summary->report) ? SHOAL_EXIT_USAGE : SHOAL_EXIT_FAILED;
}

// A job that is looked at and has not ended.
static bool
is_going_on(const shoal_summary_t *summary)
{
    return summary->is_look && summary->report && !shoal_report_is_final(summary->report);
}

// True where a share of success says something: there were records, and nothing was cut off that
// nobody has tried.
static bool
has_share(const shoal_summary_t *summary)
{
    const shoal_report_t *report = summary->report;
    const char *state = shoal_summary_state(summary);
    bool is_good = strcmp(state, "SUCCEEDED") == 0 || strcmp(state, "PARTIAL") == 0;
    return report->records.total > 0 && is_good;
}

// Why nobody has looked at the balance, or NULL.
static const char *
unlooked_of(const shoal_summary_t *summary)
{
    const shoal_report_t *report = summary->report;
    if (strcmp(report->state, "STOPPED") == 0 ||
        strcmp(shoal_summary_state(summary), "STOPPED") == 0) {
        return "the run was stopped";
    }
    return report->is_limited ? "--limit cut the run short" : NULL;
}

static void
label(shoal_buffer_t *out, const char *text)
{
    shoal_buffer_append_format(out, "  %-11s ", text);
}

static const char *
colour_of(const shoal_summary_t *summary, const char *state)
{
    if (!summary->has_colour) {
        return "";
    }
    if (strcmp(state, "SUCCEEDED") == 0) {
        return "\033[1;32m";
    }
    bool is_middling = strcmp(state, "PARTIAL") == 0 || is_going_on(summary);
    return is_middling ? "\033[1;33m" : "\033[1;31m";
}

static void
append_heading(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    const char *state = shoal_summary_state(summary);
    const shoal_report_t *report = summary->report;
    char time[SHOAL_TEXT_SIZE];
    shoal_text_append_safe(out, summary->name ? summary->name : "job");
    shoal_buffer_append_format(out, ": %s%s%s", colour_of(summary, state), state,
                               summary->has_colour ? "\033[0m" : "");
    if (report) {
        shoal_buffer_append_format(out, is_going_on(summary) ? " for %s" : " in %s",
                                   shoal_text_seconds(report->seconds, time));
    }
    if (summary->is_dry_run) {
        shoal_buffer_append_text(out, ", dry run: nothing was written");
    }
    if (report && report->is_limited) {
        shoal_buffer_append_text(out, ", cut short by --limit");
    }
    shoal_buffer_append_text(out, "\n");
}

static void
append_records(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    const shoal_report_t *report = summary->report;
    char n[4][SHOAL_TEXT_SIZE];
    label(out, "records");
    shoal_buffer_append_format(out, "%s total: %s successful, %s failed, %s filtered",
                               shoal_text_count(report->records.total, n[0]),
                               shoal_text_count(report->records.successful, n[1]),
                               shoal_text_count(report->records.failed, n[2]),
                               shoal_text_count(report->records.filtered, n[3]));
    if (has_share(summary)) {
        shoal_buffer_append_format(out, " (%.*f %% success)",
                                   report->records.failed == 0 ? 0 : 2, // never rounded up to 100
                                   floor(shoal_report_success(report) * 100.0) / 100.0);
    }
    shoal_buffer_append_text(out, "\n");
    for (size_t i = 0; i < report->kind_count; i++) {
        label(out, i == 0 ? "by kind" : "");
        shoal_buffer_append_format(out, "%s ", shoal_text_count(report->kinds[i].count, n[0]));
        shoal_text_append_safe(out, report->kinds[i].text);
        shoal_buffer_append_text(out, "\n");
    }
    label(out, "throughput");
    shoal_buffer_append_format(out, "%s records/s",
                               shoal_text_count((uint64_t)(shoal_report_rate(report) + 0.5), n[0]));
    if (report->slots > 0) {
        shoal_buffer_append_format(
            out, " with %s slot%s of %s worker%s", shoal_text_count(report->slots, n[1]),
            report->slots == 1 ? "" : "s", shoal_text_count(report->workers, n[2]),
            report->workers == 1 ? "" : "s");
    }
    shoal_buffer_append_text(out, "\n");
    label(out, "shards");
    shoal_buffer_append_format(out, "%s of %s done, %s retried, %s dead\n",
                               shoal_text_count(report->shards.done, n[0]),
                               shoal_text_count(report->shards.total, n[1]),
                               shoal_text_count(report->shards.retried, n[2]),
                               shoal_text_count(report->shards.dead, n[3]));
}

static bool
is_unbalanced(const shoal_report_book_t *book)
{
    return !book->is_complete ||
           book->listed != book->delivered + book->filtered + book->vanished + book->dead;
}

// The balance of promise 6: listed = delivered + filtered + vanished + dead letters.
static void
append_books(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    const shoal_report_t *report = summary->report;
    if (!report->has_books || is_going_on(summary)) {
        return;
    }
    char n[3][SHOAL_TEXT_SIZE];
    label(out, "balance");
    const char *cause = unlooked_of(summary);
    if (cause) {
        shoal_buffer_append_format(out, "not looked at: %s\n", cause);
        return;
    }
    shoal_buffer_append_format(
        out, "%s of %s scopes complete, %s\n", shoal_text_count(report->scopes.complete, n[0]),
        shoal_text_count(report->scopes.total, n[1]),
        report->is_balanced ? "every one balanced" : "NOT balanced, as follows");
    size_t shown = 0;
    for (size_t i = 0; i < report->book_count && shown < SHOAL_SUMMARY_BOOKS_MAX; i++) {
        const shoal_report_book_t *book = &report->books[i];
        if (!is_unbalanced(book)) {
            continue;
        }
        shown++;
        label(out, "");
        shoal_text_append_safe(out, book->scope);
        shoal_buffer_append_format(out, ": %llu ", (unsigned long long)book->listed);
        shoal_text_append_safe(out, book->of[0] ? book->of : "members");
        shoal_buffer_append_format(
            out,
            " listed, %llu delivered, %llu filtered, %llu vanished, "
            "%llu dead%s\n",
            (unsigned long long)book->delivered, (unsigned long long)book->filtered,
            (unsigned long long)book->vanished, (unsigned long long)book->dead,
            book->is_complete ? "" : ", not complete");
    }
    uint64_t unbalanced = report->scopes.total - (report->scopes.balanced < report->scopes.total
                                                      ? report->scopes.balanced
                                                      : report->scopes.total);
    if (!report->is_balanced && unbalanced > shown) {
        label(out, "");
        shoal_buffer_append_format(out, "and %s more\n",
                                   shoal_text_count(unbalanced - shown, n[0]));
    }
}

void
shoal_summary_warnings(const shoal_report_t *report, shoal_buffer_t *out)
{
    for (size_t i = 0; i < report->warning_count; i++) {
        label(out, i == 0 ? "warnings" : "");
        if (i == SHOAL_SUMMARY_WARNINGS_MAX) {
            shoal_buffer_append_format(out, "and %zu more\n", report->warning_count - i);
            return;
        }
        shoal_text_append_safe(out, report->warnings[i].text);
        if (report->warnings[i].count > 1) {
            shoal_buffer_append_format(out, " (%llu times)",
                                       (unsigned long long)report->warnings[i].count);
        }
        shoal_buffer_append_text(out, "\n");
    }
}

static void
append_error(const shoal_summary_t *summary, const shoal_report_error_t *error, shoal_buffer_t *out)
{
    char where[512];
    if (error->key[0] && summary->locate) { // as compilers do: FILE:LINE: key: message
        summary->locate(summary->ctx, error->key, where, sizeof(where));
        shoal_text_append_safe(out, where);
        shoal_text_append_safe(out, error->key);
        shoal_buffer_append_text(out, ": ");
        shoal_text_append_safe(out, error->message);
        shoal_buffer_append_text(out, "\n");
        return;
    }
    shoal_buffer_append_text(out, "error: ");
    shoal_text_append_safe(out, error->message);
    shoal_buffer_append_format(out, " (%s", shoal_error_class_name((int)error->error_class));
    if (error->where[0]) {
        shoal_buffer_append_text(out, ", in ");
        shoal_text_append_safe(out, error->where);
    }
    if (error->worker[0]) {
        shoal_buffer_append_text(out, ", on ");
        shoal_text_append_safe(out, error->worker);
    }
    if (error->count > 1) {
        shoal_buffer_append_format(out, ", %llu times", (unsigned long long)error->count);
    }
    shoal_buffer_append_text(out, ")\n");
    const char *hint = hint_of(error->code);
    if (hint) {
        shoal_buffer_append_format(out, "       next: %s\n", hint);
    }
}

static void
append_errors(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    const shoal_report_t *report = summary->report;
    size_t shown = 0;
    for (; report && shown < report->error_count && shown < SHOAL_SUMMARY_ERRORS_MAX; shown++) {
        append_error(summary, &report->errors[shown], out);
    }
    if (report && report->error_count + report->errors_left_out > shown) {
        unsigned long long more = report->error_count - shown + report->errors_left_out;
        shoal_buffer_append_format(out, "error: and %llu more\n", more);
    }
    if (has_failed(summary)) {
        shoal_buffer_append_text(out, "error: ");
        shoal_text_append_safe(out, summary->status->text);
        shoal_buffer_append_text(out, "\n");
    }
}

static void
append_output(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    char size[SHOAL_TEXT_SIZE];
    if (summary->output && !summary->part && !summary->is_dry_run) {
        label(out, "output");
        shoal_text_append_safe(out, strcmp(summary->output, "-") == 0 ? "standard output"
                                                                      : summary->output);
        shoal_buffer_append_format(out, " (%s)\n", shoal_text_bytes(summary->output_bytes, size));
    } else if (summary->part) {
        label(out, "output");
        shoal_buffer_append_text(out, "not complete; what there is stays in ");
        shoal_text_append_safe(out, summary->part);
        shoal_buffer_append_format(out, " (%s)\n", shoal_text_bytes(summary->output_bytes, size));
    }
}

// Where a job that has not ended is, and what keeps it.
static void
append_going_on(const shoal_report_t *report, shoal_buffer_t *out)
{
    label(out, "stage");
    shoal_text_append_safe(out, report->stage[0] ? report->stage : "not begun");
    shoal_buffer_append_format(out, ", %llu shards running%s\n",
                               (unsigned long long)report->shards.running,
                               report->is_discovering ? ", more are being found" : "");
    if (report->wait[0]) {
        label(out, "waits for");
        shoal_text_append_safe(out, report->wait);
        shoal_buffer_append_text(out, "\n");
    }
}

void
shoal_summary_text(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    const shoal_report_t *report = summary->report;
    bool is_bad_file = shoal_summary_is_bad_file(report) && !has_failed(summary);
    if (!is_bad_file) {
        append_heading(summary, out);
    }
    if (is_going_on(summary)) {
        append_going_on(report, out);
    }
    if (report && !is_bad_file && strcmp(report->stage, "check") != 0) {
        append_records(summary, out);
        append_books(summary, out);
    }
    if (report) {
        shoal_summary_warnings(report, out);
    }
    append_output(summary, out);
    append_errors(summary, out);
}

// A string that is not UTF-8 is no JSON: jansson refuses it, and '?' stands for it then.
static json_t *
json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value) {
        return value;
    }
    shoal_buffer_t clean = SHOAL_BUFFER_INIT;
    for (const char *at = text; *at; at++) {
        shoal_buffer_append_byte(&clean, (unsigned char)*at < 0x80 ? *at : '?');
    }
    value = json_string(shoal_buffer_text(&clean));
    shoal_buffer_fini(&clean);
    return value;
}

static json_t *
json_count(uint64_t count)
{
    return json_integer(count <= INT64_MAX ? (json_int_t)count : INT64_MAX);
}

static json_t *
json_errors(const shoal_summary_t *summary)
{
    json_t *errors = json_array();
    const shoal_report_t *report = summary->report;
    for (size_t i = 0; report && i < report->error_count; i++) {
        const shoal_report_error_t *error = &report->errors[i];
        json_t *entry = json_object();
        (void)json_object_set_new(entry, "class",
                                  json_string(shoal_error_class_name((int)error->error_class)));
        (void)json_object_set_new(entry, "code", json_string(shoal_code_name((int)error->code)));
        (void)json_object_set_new(entry, "message", json_text(error->message));
        (void)json_object_set_new(entry, "key", json_text(error->key));
        (void)json_object_set_new(entry, "where", json_text(error->where));
        (void)json_object_set_new(entry, "worker", json_text(error->worker));
        (void)json_object_set_new(entry, "count", json_count(error->count));
        (void)json_array_append_new(errors, entry);
    }
    if (has_failed(summary)) {
        const shoal_status_t *status = summary->status;
        json_t *entry = json_object();
        (void)json_object_set_new(entry, "class",
                                  json_string(shoal_error_class_name((int)status->error_class)));
        (void)json_object_set_new(entry, "code", json_string(shoal_code_name((int)status->code)));
        (void)json_object_set_new(entry, "message", json_text(status->text));
        (void)json_object_set_new(entry, "key", json_text(status->key));
        (void)json_object_set_new(entry, "where", json_string(""));
        (void)json_object_set_new(entry, "worker", json_string(""));
        (void)json_object_set_new(entry, "count", json_integer(1));
        (void)json_array_append_new(errors, entry);
    }
    return errors;
}

static json_t *
json_records(const shoal_report_t *report)
{
    json_t *kinds = json_object();
    for (size_t i = 0; i < report->kind_count; i++) {
        (void)json_object_set_new(kinds, report->kinds[i].text, json_count(report->kinds[i].count));
    }
    json_t *records = json_object();
    (void)json_object_set_new(records, "total", json_count(report->records.total));
    (void)json_object_set_new(records, "successful", json_count(report->records.successful));
    (void)json_object_set_new(records, "failed", json_count(report->records.failed));
    (void)json_object_set_new(records, "filtered", json_count(report->records.filtered));
    (void)json_object_set_new(records, "by_kind", kinds);
    return records;
}

static json_t *
json_shards(const shoal_report_t *report)
{
    json_t *shards = json_object();
    (void)json_object_set_new(shards, "total", json_count(report->shards.total));
    (void)json_object_set_new(shards, "done", json_count(report->shards.done));
    (void)json_object_set_new(shards, "running", json_count(report->shards.running));
    (void)json_object_set_new(shards, "retried", json_count(report->shards.retried));
    (void)json_object_set_new(shards, "dead", json_count(report->shards.dead));
    return shards;
}

static json_t *
json_warnings(const shoal_report_t *report)
{
    json_t *warnings = json_array();
    for (size_t i = 0; i < report->warning_count; i++) {
        json_t *entry = json_object();
        (void)json_object_set_new(entry, "message", json_text(report->warnings[i].text));
        (void)json_object_set_new(entry, "count", json_count(report->warnings[i].count));
        (void)json_array_append_new(warnings, entry);
    }
    return warnings;
}

static json_t *
json_plan(const shoal_report_t *report)
{
    json_t *plan = json_array();
    for (size_t i = 0; i < report->plan_count; i++) {
        const shoal_report_shard_t *shard = &report->plan[i];
        json_t *entry = json_object();
        (void)json_object_set_new(entry, "shard", json_count(shard->shard));
        (void)json_object_set_new(entry, "stage", json_string(shoal_summary_stage(shard->stage)));
        (void)json_object_set_new(entry, "needs", json_count(shard->needs));
        (void)json_object_set_new(entry, "cost_us", json_count(shard->cost_us));
        (void)json_object_set_new(entry, "title", json_text(shard->title));
        (void)json_array_append_new(plan, entry);
    }
    return plan;
}

// null where nobody has looked: the run was cut short, stopped or has not ended.
static json_t *
json_balanced(const shoal_summary_t *summary)
{
    const shoal_report_t *report = summary->report;
    if (!report || !report->has_books || !shoal_report_is_final(report) || unlooked_of(summary)) {
        return json_null();
    }
    return json_boolean(report->is_balanced);
}

static json_t *
json_output(const shoal_summary_t *summary)
{
    const char *path = summary->part ? summary->part : summary->output;
    if (!path || (summary->is_dry_run && !summary->part)) {
        return json_null();
    }
    json_t *output = json_object();
    (void)json_object_set_new(output, "path", json_text(path));
    (void)json_object_set_new(output, "bytes", json_count(summary->output_bytes));
    (void)json_object_set_new(output, "complete", json_boolean(!summary->part));
    return output;
}

// What an ingestion tells beside the keys that every result has.
static void
json_set_ingestion(const shoal_summary_t *summary, const shoal_report_t *report, json_t *whole)
{
    json_t *scopes = json_object();
    (void)json_object_set_new(scopes, "total", json_count(report->scopes.total));
    (void)json_object_set_new(scopes, "complete", json_count(report->scopes.complete));
    (void)json_object_set_new(scopes, "balanced", json_count(report->scopes.balanced));
    (void)json_object_set_new(whole, "balanced", json_balanced(summary));
    (void)json_object_set_new(whole, "scopes", scopes);
    (void)json_object_set_new(whole, "output", json_output(summary));
    (void)json_object_set_new(whole, "dry_run", json_boolean(summary->is_dry_run));
    (void)json_object_set_new(whole, "limited", json_boolean(report->is_limited));
    double rate = shoal_report_rate(report);
    (void)json_object_set_new(whole, "records_per_second", json_real(isfinite(rate) ? rate : 0.0));
}

void
shoal_summary_json(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    static const shoal_report_t nothing;
    const shoal_report_t *report = summary->report ? summary->report : &nothing;
    json_t *whole = json_object();
    (void)json_object_set_new(whole, "job", summary->job ? json_count(summary->job) : json_null());
    (void)json_object_set_new(whole, "state", json_string(shoal_summary_state(summary)));
    (void)json_object_set_new(whole, "records", json_records(report));
    (void)json_object_set_new(whole, "shards", json_shards(report));
    (void)json_object_set_new(whole, "seconds",
                              json_real(isfinite(report->seconds) ? report->seconds : 0.0));
    if (summary->is_plan) {
        (void)json_object_set_new(whole, "plan", json_plan(report));
        (void)json_object_set_new(whole, "plan_left_out", json_count(report->plan_left_out));
    } else {
        json_set_ingestion(summary, report, whole);
    }
    if (is_going_on(summary)) {
        (void)json_object_set_new(whole, "stage", json_text(report->stage));
        (void)json_object_set_new(whole, "waits_for", json_text(report->wait));
    }
    (void)json_object_set_new(whole, "warnings", json_warnings(report));
    (void)json_object_set_new(whole, "errors", json_errors(summary));
    char *text = json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (text) {
        shoal_buffer_append_text(out, text);
        shoal_buffer_append_byte(out, '\n');
        free(text);
    }
    json_decref(whole);
}
