// SPDX-License-Identifier: Apache-2.0
//
// result.c - see summary.h: a summary as one JSON object, for programs.

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "client/notes.h"
#include "client/summary.h"

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
        (void)json_object_set_new(entry, "worker_name", json_text(error->worker_name));
        (void)json_object_set_new(entry, "count", json_count(error->count));
        (void)json_array_append_new(errors, entry);
    }
    if (shoal_summary_has_failed(summary)) {
        const shoal_status_t *status = summary->status;
        json_t *entry = json_object();
        (void)json_object_set_new(entry, "class",
                                  json_string(shoal_error_class_name((int)status->error_class)));
        (void)json_object_set_new(entry, "code", json_string(shoal_code_name((int)status->code)));
        (void)json_object_set_new(entry, "message", json_text(status->text));
        (void)json_object_set_new(entry, "key", json_text(status->key));
        (void)json_object_set_new(entry, "where", json_string(""));
        (void)json_object_set_new(entry, "worker", json_string(""));
        (void)json_object_set_new(entry, "worker_name", json_string(""));
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
    (void)json_object_set_new(records, "vanished", json_count(shoal_report_vanished(report)));
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

static void
add_warning(void *ctx, const char *text, uint64_t count)
{
    json_t *entry = json_object();
    (void)json_object_set_new(entry, "message", json_text(text));
    (void)json_object_set_new(entry, "count", json_count(count));
    (void)json_array_append_new(ctx, entry);
}

// Those of the file first, which people have read before the run.
static json_t *
json_warnings(const shoal_summary_t *summary)
{
    json_t *warnings = json_array();
    for (const char *const *text = summary->file_warnings; text && *text; text++) {
        add_warning(warnings, *text, 1);
    }
    shoal_notes_each(summary, add_warning, warnings);
    return warnings;
}

static json_t *
json_facts(const shoal_report_t *report)
{
    json_t *facts = json_object();
    for (size_t i = 0; i < report->fact_count; i++) {
        (void)json_object_set_new(facts, report->facts[i].name, json_text(report->facts[i].text));
    }
    return facts;
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
    if (!report || !report->has_books || !shoal_report_is_final(report) ||
        shoal_summary_unlooked(summary)) {
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

static json_t *
json_letters(const shoal_summary_t *summary, const shoal_report_t *report)
{
    json_t *letters = json_object();
    json_t *first = json_array();
    for (size_t i = 0; i < report->first_letter_count && !summary->is_look; i++) {
        const shoal_report_letter_t *letter = &report->first_letters[i];
        json_t *entry = json_object();
        (void)json_object_set_new(entry, "letter", json_count(letter->letter));
        (void)json_object_set_new(entry, "name", json_text(letter->name));
        (void)json_object_set_new(entry, "class",
                                  json_string(shoal_error_class_name((int)letter->error_class)));
        (void)json_object_set_new(entry, "code", json_string(shoal_code_name((int)letter->code)));
        (void)json_object_set_new(entry, "message", json_text(letter->message));
        (void)json_array_append_new(first, entry);
    }
    (void)json_object_set_new(letters, "total", json_count(report->letters));
    (void)json_object_set_new(
        letters, "file", summary->letters_file ? json_text(summary->letters_file) : json_null());
    (void)json_object_set_new(letters, "first", first);
    return letters;
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
    (void)json_object_set_new(whole, "dead_letters", json_letters(summary, report));
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
    if (shoal_summary_is_going_on(summary)) {
        (void)json_object_set_new(whole, "stage", json_text(report->stage));
        (void)json_object_set_new(whole, "waits_for", json_text(report->wait));
    }
    (void)json_object_set_new(whole, "warnings", json_warnings(summary));
    (void)json_object_set_new(whole, "facts", json_facts(report));
    (void)json_object_set_new(whole, "errors", json_errors(summary));
    char *text = json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (text) {
        shoal_buffer_append_text(out, text);
        shoal_buffer_append_byte(out, '\n');
        free(text);
    }
    json_decref(whole);
}
