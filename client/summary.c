// SPDX-License-Identifier: Apache-2.0
//
// summary.c - see summary.h. The JSON object is written by result.c.

#include "client/summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/notes.h"
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

bool
shoal_summary_has_failed(const shoal_summary_t *summary)
{
    return summary->status && summary->status->code != SHOAL_OK;
}

const char *
shoal_summary_state(const shoal_summary_t *summary)
{
    if (shoal_summary_has_failed(summary)) {
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
    if (shoal_summary_has_failed(summary)) {
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

bool
shoal_summary_is_going_on(const shoal_summary_t *summary)
{
    return summary->is_look && summary->report && !shoal_report_is_final(summary->report);
}

static bool
is_good(const shoal_summary_t *summary)
{
    const char *state = shoal_summary_state(summary);
    return strcmp(state, "SUCCEEDED") == 0 || strcmp(state, "PARTIAL") == 0;
}

// True where a share of success says something: there were records, and nothing was cut off that
// nobody has tried.
static bool
has_share(const shoal_summary_t *summary)
{
    return summary->report->records.total > 0 && is_good(summary);
}

const char *
shoal_summary_unlooked(const shoal_summary_t *summary)
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
    bool is_middling = strcmp(state, "PARTIAL") == 0 || shoal_summary_is_going_on(summary);
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
        shoal_buffer_append_format(out, shoal_summary_is_going_on(summary) ? " for %s" : " in %s",
                                   shoal_text_seconds(report->seconds, time));
    }
    if (summary->is_resumed) {
        shoal_buffer_append_text(out, ", resumed");
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
    if (shoal_report_vanished(report) > 0) {
        label(out, "vanished");
        shoal_buffer_append_format(out, "%s gone at the source since the listing\n",
                                   shoal_text_count(shoal_report_vanished(report), n[0]));
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
    if (report->workers > 0 && report->workers < summary->workers_started && is_good(summary)) {
        unsigned late = summary->workers_started - (unsigned)report->workers;
        shoal_buffer_append_format(out, "; it was done before %u more %s there", late,
                                   late == 1 ? "was" : "were");
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

// "tables"; of one, "table".
static void
append_members(const shoal_report_book_t *book, shoal_buffer_t *out)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "%s", book->of[0] ? book->of : "members");
    size_t len = strlen(name);
    if (book->listed == 1 && len > 1 && name[len - 1] == 's') {
        name[len - 1] = '\0';
    }
    shoal_text_append_safe(out, name);
}

// The balance of promise 6: listed = delivered + filtered + vanished + dead letters.
static void
append_books(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    const shoal_report_t *report = summary->report;
    if (!report->has_books || shoal_summary_is_going_on(summary)) {
        return;
    }
    char n[3][SHOAL_TEXT_SIZE];
    label(out, "balance");
    const char *cause = shoal_summary_unlooked(summary);
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
        append_members(book, out);
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

typedef struct listing {
    shoal_buffer_t *out;
    const char *label; // of the first line
    size_t shown;
    size_t max;
} listing_t;

static void
list_note(void *ctx, const char *text, uint64_t count)
{
    listing_t *listing = ctx;
    if (listing->shown++ >= listing->max) {
        return;
    }
    label(listing->out, listing->shown == 1 ? listing->label : "");
    shoal_text_append_safe(listing->out, text);
    if (count > 1) {
        shoal_buffer_append_format(listing->out, " (%llu times)", (unsigned long long)count);
    }
    shoal_buffer_append_text(listing->out, "\n");
}

void
shoal_summary_notes(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    listing_t listing = {out, "warnings", 0, SHOAL_SUMMARY_WARNINGS_MAX};
    shoal_notes_each(summary, list_note, &listing);
    if (listing.shown > listing.max) {
        label(out, "");
        shoal_buffer_append_format(out, "and %zu more\n", listing.shown - listing.max);
    }
    const shoal_report_t *report = summary->report;
    for (size_t i = 0; i < report->fact_count; i++) {
        label(out, i == 0 ? "noted" : "");
        shoal_text_append_safe(out, report->facts[i].name);
        shoal_buffer_append_text(out, ": ");
        shoal_text_append_safe(out, report->facts[i].text);
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
        shoal_text_append_worker(out, error->worker_name, error->worker);
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

void
shoal_summary_errors(const shoal_summary_t *summary, shoal_buffer_t *out)
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
    if (shoal_summary_has_failed(summary)) {
        shoal_buffer_append_text(out, "error: ");
        shoal_text_append_safe(out, summary->status->text);
        shoal_buffer_append_text(out, "\n");
    }
}

static void
append_output(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    char size[SHOAL_TEXT_SIZE];
    if (summary->spared) {
        label(out, "output");
        shoal_buffer_append_text(out, "no records; ");
        shoal_text_append_safe(out, summary->spared);
        shoal_buffer_append_text(out, " stays as it was\n");
    } else if (summary->output && !summary->part && !summary->is_dry_run) {
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

// The first dead letters, and how to see the rest.
static void
append_letters(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    const shoal_report_t *report = summary->report;
    char count[SHOAL_TEXT_SIZE];
    if (report->letters == 0) {
        return;
    }
    label(out, "letters");
    shoal_buffer_append_format(out, "%s dead letter%s", shoal_text_count(report->letters, count),
                               report->letters == 1 ? "" : "s");
    if (summary->letters_file) {
        shoal_buffer_append_text(out, ", in ");
        shoal_text_append_safe(out, summary->letters_file);
    } else if (summary->is_private) {
        shoal_buffer_append_text(out, "; with -o FILE they are kept in FILE.letters.jsonl");
    } else {
        shoal_buffer_append_format(out, "; see them: shoal dlq list %llu%s",
                                   (unsigned long long)summary->job,
                                   summary->head_options ? summary->head_options : "");
    }
    shoal_buffer_append_byte(out, '\n');
    for (size_t i = 0;
         i < report->first_letter_count && i < SHOAL_SUMMARY_LETTERS_MAX && !summary->is_look;
         i++) {
        const shoal_report_letter_t *letter = &report->first_letters[i];
        label(out, "");
        shoal_buffer_append_format(out, "%llu ", (unsigned long long)letter->letter);
        shoal_text_append_safe(out, letter->name); // the cause is among the errors
        shoal_buffer_append_byte(out, '\n');
    }
}

// Where a job that has not ended is, and what keeps it.
static void
append_going_on(const shoal_report_t *report, shoal_buffer_t *out)
{
    label(out, "stage");
    shoal_text_append_safe(out, report->stage[0] ? report->stage : "not begun");
    shoal_buffer_append_format(out, ", %llu shard%s running%s\n",
                               (unsigned long long)report->shards.running,
                               report->shards.running == 1 ? "" : "s",
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
    bool is_bad_file = shoal_summary_is_bad_file(report) && !shoal_summary_has_failed(summary);
    if (!is_bad_file) {
        append_heading(summary, out);
    }
    if (shoal_summary_is_going_on(summary)) {
        append_going_on(report, out);
    }
    if (report && !is_bad_file && strcmp(report->stage, "check") != 0) {
        append_records(summary, out);
        append_books(summary, out);
    }
    if (report) {
        shoal_summary_notes(summary, out);
    }
    append_output(summary, out);
    if (report) {
        append_letters(summary, out);
    }
    shoal_summary_errors(summary, out);
}
