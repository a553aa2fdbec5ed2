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
    if (summary->report && shoal_report_is_final(summary->report)) {
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
    return strcmp(state, "PARTIAL") == 0 ? "\033[1;33m" : "\033[1;31m";
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
        shoal_buffer_append_format(out, " in %s", shoal_text_seconds(report->seconds, time));
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
append_records(const shoal_report_t *report, shoal_buffer_t *out)
{
    char n[4][SHOAL_TEXT_SIZE];
    label(out, "records");
    shoal_buffer_append_format(
        out, "%s total: %s successful, %s failed, %s filtered (%.*f %% success)\n",
        shoal_text_count(report->records.total, n[0]),
        shoal_text_count(report->records.successful, n[1]),
        shoal_text_count(report->records.failed, n[2]),
        shoal_text_count(report->records.filtered, n[3]),
        report->records.failed == 0 ? 0 : 2, // never rounded up to 100
        floor(shoal_report_success(report) * 100.0) / 100.0);
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
append_books(const shoal_report_t *report, shoal_buffer_t *out)
{
    if (!report->has_books) {
        return;
    }
    char n[3][SHOAL_TEXT_SIZE];
    label(out, "balance");
    if (report->is_limited) {
        shoal_buffer_append_text(out, "not looked at: --limit cut the run short\n");
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

void
shoal_summary_text(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    const shoal_report_t *report = summary->report;
    bool is_bad_file = shoal_summary_is_bad_file(report) && !has_failed(summary);
    if (!is_bad_file) {
        append_heading(summary, out);
    }
    if (report && !is_bad_file && strcmp(report->stage, "check") != 0) {
        append_records(report, out);
        append_books(report, out);
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

void
shoal_summary_json(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    static const shoal_report_t nothing;
    const shoal_report_t *report = summary->report ? summary->report : &nothing;
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
    json_t *shards = json_object();
    (void)json_object_set_new(shards, "total", json_count(report->shards.total));
    (void)json_object_set_new(shards, "retried", json_count(report->shards.retried));
    (void)json_object_set_new(shards, "dead", json_count(report->shards.dead));
    json_t *whole = json_object();
    (void)json_object_set_new(whole, "job", summary->job ? json_count(summary->job) : json_null());
    (void)json_object_set_new(whole, "state", json_string(shoal_summary_state(summary)));
    (void)json_object_set_new(whole, "records", records);
    (void)json_object_set_new(whole, "shards", shards);
    (void)json_object_set_new(whole, "seconds",
                              json_real(isfinite(report->seconds) ? report->seconds : 0.0));
    double rate = shoal_report_rate(report);
    (void)json_object_set_new(whole, "records_per_second", json_real(isfinite(rate) ? rate : 0.0));
    (void)json_object_set_new(whole, "errors", json_errors(summary));
    char *text = json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (text) {
        shoal_buffer_append_text(out, text);
        shoal_buffer_append_byte(out, '\n');
        free(text);
    }
    json_decref(whole);
}
