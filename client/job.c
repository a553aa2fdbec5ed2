// SPDX-License-Identifier: Apache-2.0
//
// job.c - `shoal job list|get|stop|output`.

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/output.h"
#include "client/retry.h"
#include "client/run.h"
#include "client/status.h"
#include "client/summary.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"

#define RUNS_MAX 1000 // of one job

typedef struct job {
    const shoal_arguments_t *arguments;
    shoal_address_t address;
    const char *name; // as it was given: number or id
    shoal_session_t *session;
    shoal_buffer_t answer; // of ASK "job"
    uint64_t number;
    char id[SHOAL_SESSION_ID_MAX + 1];
    shoal_report_t *report;
} job_t;

static bool
dial(job_t *job, shoal_status_t *status)
{
    return shoal_address_find(job->arguments, &job->address, status) &&
           shoal_head_dial(&job->address, &job->session, status);
}

static shoal_slice_t
text_of(shoal_slice_t map, const char *key)
{
    shoal_slice_t value;
    if (!shoal_map_find(map, key, &value)) {
        return SHOAL_SLICE_NONE;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    return shoal_cursor_str_or_nil(&cursor);
}

// Asks for the job and reads its number, id and report.
static bool
look_up(job_t *job, shoal_status_t *status)
{
    if (!job->name || !job->name[0] || strlen(job->name) > SHOAL_SESSION_ID_MAX) {
        return shoal_fail(status, SHOAL_INVALID,
                          "which job? Give its number, as in: shoal job list");
    }
    if (!dial(job, status) ||
        !shoal_session_ask(job->session, "job", job->name, SHOAL_ASK_MS, &job->answer, status)) {
        return false;
    }
    shoal_slice_t whole = shoal_buffer_slice(&job->answer);
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (shoal_map_find(whole, "job", &value)) {
        shoal_cursor_t cursor = shoal_cursor_over(value);
        job->number = shoal_cursor_uint(&cursor);
    }
    shoal_slice_t id = text_of(whole, "id");
    (void)snprintf(job->id, sizeof(job->id), "%.*s", SHOAL_SLICE_ARGS(id));
    shoal_slice_t detail = shoal_map_find(whole, "detail", &value) ? value : whole;
    return shoal_report_read(text_of(whole, "state"), detail, &job->report, status);
}

static bool
job_list(job_t *job, shoal_buffer_t *out, shoal_status_t *status)
{
    if (!dial(job, status) ||
        !shoal_session_ask(job->session, "jobs", NULL, SHOAL_ASK_MS, &job->answer, status)) {
        return false;
    }
    if (shoal_wants_json(job->arguments)) {
        bool done = shoal_json_write(shoal_buffer_slice(&job->answer), out, status);
        shoal_buffer_append_byte(out, '\n');
        return done;
    }
    if (!shoal_append_jobs(shoal_buffer_slice(&job->answer), out)) {
        shoal_buffer_append_text(out, "no jobs\n");
    }
    return true;
}

// Walks over the runs of the job, [run, job, state, records] each.
typedef struct run_row {
    uint64_t run;
    uint64_t job;
    shoal_slice_t state;
    uint64_t records;
} run_row_t;

static shoal_cursor_t
runs_of(const job_t *job, uint32_t *ret_count)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    (void)shoal_map_find(shoal_buffer_slice(&job->answer), "runs", &value);
    shoal_cursor_t cursor = shoal_cursor_over(value);
    *ret_count = value.len > 0 ? shoal_cursor_array(&cursor) : 0;
    return cursor;
}

static run_row_t
next_run(shoal_cursor_t *cursor)
{
    run_row_t row;
    (void)shoal_cursor_array(cursor);
    row.run = shoal_cursor_uint(cursor);
    row.job = shoal_cursor_uint(cursor);
    row.state = shoal_cursor_str(cursor);
    row.records = shoal_cursor_uint(cursor);
    return row;
}

static void
append_runs(const job_t *job, shoal_buffer_t *out)
{
    uint32_t count = 0;
    shoal_cursor_t cursor = runs_of(job, &count);
    for (uint32_t i = 0; i < count && count > 1 && !cursor.is_bad; i++) {
        run_row_t row = next_run(&cursor);
        shoal_buffer_append_format(out, "  %-11s run %llu: job %llu, %.*s, %llu record%s\n",
                                   i == 0 ? "runs" : "", (unsigned long long)row.run,
                                   (unsigned long long)row.job, SHOAL_SLICE_ARGS(row.state),
                                   (unsigned long long)row.records, row.records == 1 ? "" : "s");
    }
}

static bool
job_get(job_t *job, shoal_buffer_t *out, shoal_status_t *status)
{
    if (!look_up(job, status)) {
        return false;
    }
    char name[160];
    shoal_slice_t title = text_of(shoal_buffer_slice(&job->answer), "name");
    (void)snprintf(name, sizeof(name), "job %llu, %.*s", (unsigned long long)job->number,
                   SHOAL_SLICE_ARGS(title));
    const shoal_summary_t summary = {
        .name = name,
        .head_options = job->address.options,
        .job = job->number,
        .report = job->report,
        .success_threshold = -1,
        .is_look = true,
    };
    shoal_slice_t value;
    job->report->letters = 0; // those that there are now, not at the end of the run
    if (shoal_map_find(shoal_buffer_slice(&job->answer), "letters", &value)) {
        shoal_cursor_t cursor = shoal_cursor_over(value);
        job->report->letters = shoal_cursor_uint(&cursor);
    }
    if (shoal_wants_json(job->arguments)) {
        shoal_summary_json(&summary, out);
    } else {
        shoal_summary_text(&summary, out);
        append_runs(job, out);
    }
    return true;
}

static bool
job_stop(job_t *job, shoal_buffer_t *out, shoal_status_t *status)
{
    if (!look_up(job, status)) {
        return false;
    }
    if (shoal_report_is_final(job->report)) {
        shoal_buffer_append_format(out, "job %llu has ended already: %s\n",
                                   (unsigned long long)job->number, job->report->state);
        return true;
    }
    shoal_message_t stop = {.type = SHOAL_MSG_STOP};
    stop.stop.request = shoal_session_request(job->session);
    stop.stop.job = job->number;
    stop.stop.reason = SHOAL_SLICE("shoal job stop");
    if (!shoal_session_send(job->session, &stop, SHOAL_SLICE_NONE)) {
        return shoal_fail(status, SHOAL_UNAVAILABLE, "the connection to %s broke",
                          job->address.endpoint);
    }
    // The head answers in order: its next answer shows what STOP has done.
    shoal_report_destroy(&job->report);
    shoal_buffer_clear(&job->answer);
    if (!shoal_session_ask(job->session, "job", job->name, SHOAL_ASK_MS, &job->answer, status)) {
        return false;
    }
    shoal_slice_t state = text_of(shoal_buffer_slice(&job->answer), "state");
    if (shoal_slice_is(state, "PENDING") || shoal_slice_is(state, "RUNNING")) {
        shoal_buffer_append_format(out,
                                   "job %llu is asked to stop, and ends when its calls have "
                                   "ended; to see it: shoal job get %llu%s\n",
                                   (unsigned long long)job->number, (unsigned long long)job->number,
                                   job->address.options);
    } else {
        shoal_buffer_append_format(out, "job %llu has ended: %.*s\n",
                                   (unsigned long long)job->number, SHOAL_SLICE_ARGS(state));
    }
    return true;
}

// Makes the job the one that is its run number `wanted`.
static bool
choose_run(job_t *job, uint64_t wanted, shoal_status_t *status)
{
    uint32_t count = 0;
    shoal_cursor_t cursor = runs_of(job, &count);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        run_row_t row = next_run(&cursor);
        if (row.run == wanted && row.run > 1) {
            job->number = row.job;
            (void)snprintf(job->id, sizeof(job->id), "run-%llu", (unsigned long long)row.job);
            return true;
        }
    }
    return shoal_fail(status, SHOAL_NOT_FOUND, "job %llu has no run %llu; it has %u",
                      (unsigned long long)job->number, (unsigned long long)wanted, count);
}

// Fetches the output from where a part of it ends; gives the exit code.
static int
job_output(job_t *job, shoal_status_t *status)
{
    const char *path = shoal_arguments_text(job->arguments, "out");
    path = path ? path : "-";
    if (!shoal_output_check(path, status)) {
        status->code = SHOAL_INVALID;
        return -1;
    }
    uint64_t wanted = 0;
    if (!shoal_arguments_count(job->arguments, "run", 1, RUNS_MAX, 0, &wanted, status) ||
        !look_up(job, status) || (wanted > 0 && !choose_run(job, wanted, status))) {
        return -1;
    }
    shoal_session_destroy(&job->session);
    const shoal_run_plan_t plan = {
        .endpoint = job->address.endpoint,
        .head_options = job->address.options,
        .join = shoal_address_join(&job->address),
        .job = job->number,
        .job_id = job->id,
        .output = path,
        .is_watching = true,
        .progress = shoal_progress_config(STDERR_FILENO),
    };
    shoal_run_result_t result;
    shoal_run(&plan, &result);
    const shoal_summary_t summary = {
        .name = "output",
        .head_options = job->address.options,
        .job = result.job,
        .report = result.report,
        .status = &result.status,
        .signal = result.signal,
        .success_threshold = -1,
    };
    int code = shoal_summary_exit(&summary);
    if (result.status.code != SHOAL_OK) {
        shoal_complain(&result.status);
    }
    if (result.part) {
        (void)fprintf(stderr, "shoal: what there is stays in %s\n", result.part);
    } else if (result.has_output && strcmp(path, "-") != 0) {
        (void)fprintf(stderr, "wrote %s (%llu bytes)\n", path,
                      (unsigned long long)result.output_bytes);
    }
    shoal_run_result_fini(&result);
    return code;
}

// Opens the job's next run, with all of its dead letters.
static int
job_retry(job_t *job, shoal_status_t *status)
{
    if (!look_up(job, status)) {
        return -1;
    }
    shoal_session_destroy(&job->session);
    const shoal_retry_t wanted = {
        .address = &job->address,
        .job = job->number,
        .output = shoal_arguments_text(job->arguments, "out"),
        .is_json = shoal_wants_json(job->arguments),
        .no_wait = shoal_arguments_has(job->arguments, "no-wait"),
        .no_progress = shoal_arguments_has(job->arguments, "no-progress"),
    };
    return shoal_retry_run(&wanted, status);
}

typedef struct verb {
    const char *name;
    size_t words; // the verb itself included
    bool (*run)(job_t *job, shoal_buffer_t *out, shoal_status_t *status);
    int (*follow)(job_t *job, shoal_status_t *status); // instead; gives the exit code
} verb_t;

static const verb_t verbs[] = {{"list", 1, job_list, NULL},
                               {"get", 2, job_get, NULL},
                               {"stop", 2, job_stop, NULL},
                               {"retry", 2, NULL, job_retry},
                               {"output", 2, NULL, job_output}};

static const verb_t *
find_verb(const shoal_arguments_t *arguments, shoal_status_t *status)
{
    const char *word = shoal_arguments_word(arguments, 0);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(word, verbs[i].name) != 0) {
            continue;
        }
        if (shoal_arguments_words(arguments) != verbs[i].words) {
            (void)shoal_fail(status, SHOAL_INVALID, "usage: shoal job %s%s", word,
                             verbs[i].words > 1 ? " JOB" : "");
            return NULL;
        }
        return &verbs[i];
    }
    (void)shoal_fail(status, SHOAL_INVALID,
                     "unknown command \"job %.64s\"; there are: job list, job get JOB, job stop "
                     "JOB, job retry JOB, job output JOB",
                     word);
    return NULL;
}

int
shoal_command_job(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    job_t job = {.arguments = arguments, .name = shoal_arguments_word(arguments, 1)};
    const verb_t *verb = find_verb(arguments, &status);
    int code = -1;
    if (verb && shoal_arguments_choice(arguments, "output", "text|json", &status)) {
        if (verb->follow) {
            code = verb->follow(&job, &status);
        } else if (verb->run(&job, &out, &status) && shoal_print(&out, &status)) {
            code = SHOAL_EXIT_OK;
        }
    }
    if (code < 0) {
        code = shoal_command_failed(&status);
    }
    shoal_session_destroy(&job.session);
    shoal_report_destroy(&job.report);
    shoal_buffer_fini(&job.answer);
    shoal_buffer_fini(&out);
    return code;
}
