// SPDX-License-Identifier: Apache-2.0
//
// ingest.c - `shoal ingest` and `shoal validate`: from a workflow file to a job and its summary.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/inputs.h"
#include "client/output.h"
#include "client/plan.h"
#include "client/resume.h"
#include "client/run.h"
#include "client/summary.h"
#include "client/text.h"
#include "client/url.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "proto/workflow/workflow.h"

#define LIMIT_MAX          1000000000000ULL
#define PARALLELISM_MAX    1024
#define JOB_NAME_BYTES_MAX 128

typedef struct ingest {
    const shoal_arguments_t *arguments;
    bool is_validate;
    bool is_json;
    bool is_dry_run;
    bool is_lenient;
    shoal_workflow_t *workflow;
    const char **warnings;              // the workflow's
    const shoal_workflow_run_t *wishes; // the workflow's
    uint64_t parallelism;               // 0: auto
    uint64_t limit;
    uint64_t workers;   // 0: auto
    const char *output; // file for the records, or NULL
    const char *head;   // endpoint, or NULL: a private one
    shoal_address_t address;
    shoal_buffer_t spec;
    char source[256];      // its address, without its password
    shoal_resume_t resume; // what is kept of a private run
    bool is_resumed;
    shoal_kept_t *kept; // NULL: nothing
    char job_id[SHOAL_RANDOM_ID_SIZE];
} ingest_t;

static const char *
variable(void *ctx, const char *name)
{
    (void)ctx;
    return getenv(name);
}

static bool
read_url(ingest_t *ingest, const char *url, const shoal_workflow_rules_t *rules,
         shoal_status_t *status)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_url_redact(url, ingest->source, sizeof(ingest->source));
    bool done = shoal_url_workflow(url, variable, NULL, &text, status) &&
                shoal_workflow_parse(ingest->source, shoal_buffer_slice(&text), rules,
                                     &ingest->workflow, status);
    if (text.ptr) {
        explicit_bzero(text.ptr, text.size);
    }
    shoal_buffer_fini(&text);
    if (!done && status->code != SHOAL_INVALID) {
        status->code = SHOAL_INVALID; // whatever is wrong with it: wrong usage
    }
    return done;
}

static bool
read_workflow(ingest_t *ingest, shoal_status_t *status)
{
    const shoal_arguments_t *arguments = ingest->arguments;
    const char *file = shoal_arguments_text(arguments, "config");
    const char *url = shoal_arguments_word(arguments, 0);
    if ((file != NULL) == (url != NULL)) {
        return shoal_fail(status, SHOAL_INVALID,
                          file ? "give a workflow file (-c FILE) or a source's address, not both"
                               : "what is to be read? Give a workflow file (-c FILE) or a "
                                 "source's address (postgres://USER@HOST/DATABASE, sqlite:PATH)");
    }
    const shoal_workflow_rules_t rules = {
        .is_lenient = ingest->is_lenient,
        .overrides = shoal_arguments_list(arguments, "set"),
    };
    if (url) {
        return read_url(ingest, url, &rules, status);
    }
    if (!shoal_workflow_read(file, &rules, &ingest->workflow, status)) {
        status->code = SHOAL_INVALID;
        return false;
    }
    return true;
}

static bool
read_parallelism(ingest_t *ingest, shoal_status_t *status)
{
    const char *text = shoal_arguments_text(ingest->arguments, "parallelism");
    if (text && strcasecmp(text, "auto") == 0) {
        ingest->parallelism = 0;
        return true;
    }
    if (!shoal_arguments_count(ingest->arguments, "parallelism", 1, PARALLELISM_MAX, 0,
                               &ingest->parallelism, status)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "--parallelism must be \"auto\" or a whole number from 1 to %d, not "
                          "\"%.64s\"",
                          PARALLELISM_MAX, text);
    }
    if (!text) {
        ingest->parallelism = ingest->wishes->is_sequential ? 1 : ingest->wishes->parallelism;
    }
    return true;
}

// "FILE:LINE: " of a key, or "".
static void
locate(void *ctx, const char *key, char *text, size_t size)
{
    const ingest_t *ingest = ctx;
    unsigned line = shoal_workflow_line(ingest->workflow, key);
    const char *file = shoal_workflow_file(ingest->workflow);
    if (line == 0) {
        (void)snprintf(text, size, "--set: ");
    } else if (shoal_arguments_words(ingest->arguments) > 0) { // an address has no lines
        (void)snprintf(text, size, "%s: ", file);
    } else {
        (void)snprintf(text, size, "%s:%u: ", file, line);
    }
}

// Where the records go, checked before any work.
static bool
choose_output(ingest_t *ingest, shoal_status_t *status)
{
    const char *given = ingest->is_validate ? NULL : shoal_arguments_text(ingest->arguments, "out");
    const char *sink = shoal_workflow_text(ingest->workflow, "sink.type");
    if (!sink || strcasecmp(sink, "file") != 0) {
        return !given || shoal_fail(status, SHOAL_INVALID,
                                    "-o says where the sink \"file\" writes, but the sink of this "
                                    "workflow is \"%.64s\"; to write records to %.200s instead, "
                                    "add: --set sink.type=file",
                                    sink ? sink : "", given);
    }
    const char *written = ingest->wishes->sink_filename;
    ingest->output = given ? given : written;
    bool is_wanted = !ingest->is_validate && !ingest->is_dry_run;
    if (!ingest->output || !ingest->output[0]) {
        ingest->output = NULL;
        return !is_wanted || shoal_fail(status, SHOAL_INVALID,
                                        "where do the records go? Give -o FILE, or -o - for "
                                        "standard output%s",
                                        shoal_arguments_text(ingest->arguments, "config")
                                            ? ", or write sink.config.filename into the file"
                                            : "");
    }
    if (ingest->is_json && strcmp(ingest->output, "-") == 0 && is_wanted) {
        return shoal_fail(status, SHOAL_INVALID,
                          "records and --output json cannot both go to standard output; give "
                          "-o FILE");
    }
    if (!shoal_output_check(ingest->output, status)) {
        status->code = SHOAL_INVALID;
        if (!given) {
            char where[512];
            locate(ingest, "sink.config.filename", where, sizeof(where));
            (void)shoal_fail_while(status, "%ssink.config.filename", where);
        }
        return false;
    }
    if (!is_wanted) {
        ingest->output = NULL;
    }
    return true;
}

// An interrupted run goes on with what it was told at its beginning.
static bool
check_resumable(const ingest_t *ingest, shoal_status_t *status)
{
    static const char *const others[] = {"out", "limit", "dry-run"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (shoal_arguments_has(ingest->arguments, others[i])) {
            return shoal_fail(
                status, SHOAL_INVALID,
                "--resume goes on with what that run was told at its beginning; leave "
                "out --%s",
                others[i]);
        }
    }
    return !ingest->head ||
           shoal_fail(
               status, SHOAL_INVALID,
               "--resume is for runs with a private head; a job of a running head goes on by "
               "itself: see shoal job list");
}

// Takes the interrupted run that --resume means.
static bool
take_interrupted(ingest_t *ingest, shoal_status_t *status)
{
    if (!check_resumable(ingest, status) ||
        !shoal_resume_take(&ingest->resume, &ingest->kept, status)) {
        return false;
    }
    const shoal_kept_facts_t *facts = shoal_kept_facts(ingest->kept);
    if (shoal_kept_is_empty(ingest->kept)) { // what was written belongs to a job that nobody knows
        shoal_random_id(ingest->job_id);
    } else {
        (void)snprintf(ingest->job_id, sizeof(ingest->job_id), "%s", facts->job_id);
    }
    ingest->is_resumed = true;
    ingest->output = facts->output[0] ? facts->output : NULL;
    if (ingest->output && !shoal_output_check(ingest->output, status)) {
        status->code = SHOAL_INVALID;
        return false;
    }
    return true;
}

// A new private run is kept, so that it can go on, unless there is nothing to go on with: its records
// are shown or dropped.
static void
keep_run(ingest_t *ingest)
{
    bool is_stream = ingest->output && shoal_output_path_is_stream(ingest->output);
    shoal_random_id(ingest->job_id);
    if (!ingest->head && !ingest->is_validate && !ingest->is_dry_run && !is_stream) {
        ingest->kept = shoal_resume_keep(&ingest->resume, ingest->output, ingest->job_id);
    }
}

static bool
choose_head(ingest_t *ingest, shoal_status_t *status)
{
    bool is_asked = shoal_arguments_has(ingest->arguments, "head") ||
                    shoal_arguments_has(ingest->arguments, "join-file");
    if (!is_asked && !ingest->wishes->is_cluster) {
        return true;
    }
    if (!shoal_address_find(ingest->arguments, &ingest->address, status)) {
        return false;
    }
    const char *endpoint = ingest->address.endpoint;
    bool is_preset = !ingest->address.is_given && !ingest->address.has_keys;
    if (is_preset && access(endpoint + strlen("ipc://"), F_OK) != 0) {
        char where[512];
        locate(ingest, "workflowConfig.distributedExecution.orchestrator", where, sizeof(where));
        return shoal_fail(status, SHOAL_UNAVAILABLE,
                          "%s\"orchestrator: cluster\" needs a running head, and none listens at "
                          "%s: run shoal start --head, or give --head ENDPOINT or --join-file FILE",
                          where, endpoint);
    }
    ingest->head = endpoint;
    return true;
}

// At most JOB_NAME_BYTES_MAX of a text, not cut inside a character.
static shoal_slice_t
cut_name(const char *text)
{
    shoal_slice_t name = shoal_slice_of(text);
    if (name.len > JOB_NAME_BYTES_MAX) {
        name.len = JOB_NAME_BYTES_MAX;
        while (name.len > 0 && ((unsigned char)name.ptr[name.len] & 0xc0U) == 0x80U) {
            name.len--;
        }
    }
    return name;
}

// What SUBMIT carries: docs/protocol.md section 7.
static bool
write_spec(ingest_t *ingest, unsigned slots, shoal_status_t *status)
{
    const shoal_workflow_run_t *wishes = ingest->wishes;
    shoal_buffer_t sections = SHOAL_BUFFER_INIT;
    shoal_workflow_encode(ingest->workflow, &sections);
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&sections));
    uint32_t pairs = shoal_cursor_map(&cursor);
    shoal_slice_t rest = {(const char *)cursor.at, shoal_cursor_left(&cursor)};
    shoal_buffer_t *out = &ingest->spec;
    shoal_write_map(out, 12);
    shoal_write_key(out, "timeout_ms");
    shoal_write_uint(out, wishes->timeout_ms);
    shoal_write_key(out, "shard_timeout_ms");
    shoal_write_uint(out, wishes->shard_timeout_ms);
    shoal_write_key(out, "name");
    shoal_slice_t name = cut_name(wishes->name);
    shoal_write_str(out, name);
    shoal_write_key(out, "class");
    shoal_write_text(out, "pipeline");
    shoal_write_key(out, "parallelism");
    shoal_write_uint(out, ingest->parallelism ? ingest->parallelism : wishes->parallelism_cap);
    shoal_write_key(out, "limit");
    shoal_write_uint(out, ingest->limit);
    shoal_write_key(out, "plan_only");
    shoal_write_bool(out, ingest->is_validate);
    shoal_write_key(out, "collect");
    shoal_write_bool(out, ingest->output != NULL);
    shoal_write_key(out, "retry");
    shoal_write_map(out, 3);
    shoal_write_key(out, "max_attempts");
    shoal_write_uint(out, wishes->max_attempts);
    shoal_write_key(out, "backoff_ms");
    shoal_write_uint(out, wishes->backoff_ms);
    shoal_write_key(out, "factor");
    shoal_write_float(out, wishes->backoff_factor);
    shoal_write_key(out, "budgets");
    shoal_write_array(out, 1);
    shoal_write_map(out, 2);
    shoal_write_key(out, "connections");
    shoal_write_uint(out, wishes->source_connections);
    shoal_write_key(out, "per_second");
    shoal_write_uint(out, wishes->source_calls_per_second);
    shoal_write_key(out, "weight");
    shoal_write_uint(out, 10);
    shoal_write_key(out, "args");
    shoal_write_map(out, pairs + 3);
    shoal_write_raw(out, rest);
    shoal_write_key(out, "dry_run");
    shoal_write_bool(out, ingest->is_dry_run);
    shoal_write_key(out, "lenient");
    shoal_write_bool(out, ingest->is_lenient);
    shoal_write_key(out, "slots");
    shoal_write_uint(out, slots);
    bool is_sound = !cursor.is_bad;
    explicit_bzero(sections.ptr, sections.size);
    shoal_buffer_fini(&sections);
    if (!is_sound || out->len > SHOAL_FRAME_BYTES_MAX) {
        return shoal_fail(status, SHOAL_INVALID,
                          "the workflow is too large for one message: %zu bytes, at most %d",
                          out->len, SHOAL_FRAME_BYTES_MAX);
    }
    return true;
}

static bool
prepare(ingest_t *ingest, shoal_status_t *status)
{
    const shoal_arguments_t *arguments = ingest->arguments;
    ingest->is_lenient = shoal_arguments_has(arguments, "lenient");
    if (!shoal_arguments_choice(arguments, "output", "text|json", status) ||
        !shoal_arguments_choice(arguments, "log-level", "debug|info|warn|error", status) ||
        !shoal_arguments_count(arguments, "workers", 1, SHOAL_LOCAL_WORKERS_MAX, 0,
                               &ingest->workers, status)) {
        return false;
    }
    const char *form = shoal_arguments_text(arguments, "output");
    ingest->is_json = form && strcasecmp(form, "json") == 0;
    if (!ingest->is_validate) {
        ingest->is_dry_run = shoal_arguments_has(arguments, "dry-run");
        if (!shoal_arguments_count(arguments, "limit", 1, LIMIT_MAX, 0, &ingest->limit, status)) {
            return false;
        }
    }
    if (!read_workflow(ingest, status)) {
        return false;
    }
    ingest->wishes = shoal_workflow_run(ingest->workflow);
    size_t warnings = shoal_workflow_warning_count(ingest->workflow);
    ingest->warnings = shoal_alloc((warnings + 1) * sizeof(*ingest->warnings));
    for (size_t i = 0; i < warnings; i++) {
        ingest->warnings[i] = shoal_workflow_warning(ingest->workflow, i);
    }
    const char *file = shoal_arguments_text(arguments, "config");
    ingest->resume = (shoal_resume_t){
        .name = file ? file : ingest->source,
        .is_address = file == NULL,
        .overrides = shoal_arguments_list(arguments, "set"),
        .workflow = ingest->workflow,
    };
    if (!read_parallelism(ingest, status) || !choose_head(ingest, status)) {
        return false;
    }
    bool is_resume = !ingest->is_validate && shoal_arguments_has(arguments, "resume");
    return (is_resume ? take_interrupted(ingest, status) : choose_output(ingest, status)) &&
           (!ingest->output || shoal_inputs_check(ingest->workflow, file, ingest->output, status));
}

// Levels of the children: the command line's word, or errors only, because the summary tells the
// rest; a file's INFO is ours, not theirs.
static const char *
child_log_level(const ingest_t *ingest)
{
    const char *given = shoal_arguments_text(ingest->arguments, "log-level");
    if (given) {
        return given;
    }
    const char *level = ingest->wishes->log_level;
    return level && strcasecmp(level, "DEBUG") == 0 ? level : "error";
}

static void
show_warnings(const ingest_t *ingest)
{
    for (const char **warning = ingest->warnings; *warning; warning++) {
        (void)fprintf(stderr, "warning: %s\n", *warning);
    }
}

static void
append_checked(const shoal_summary_t *summary, shoal_buffer_t *out)
{
    char count[SHOAL_TEXT_SIZE];
    char time[SHOAL_TEXT_SIZE];
    const shoal_report_t *report = summary->report;
    uint64_t shards = report->plan_count + report->plan_left_out;
    bool is_whole = strcmp(shoal_summary_state(summary), "SUCCEEDED") == 0;
    shoal_text_append_safe(out, summary->name);
    shoal_buffer_append_format(
        out, ": the workflow is good%s, checked in %s: %s shard%s%s; no data was read\n",
        is_whole ? "" : " in part", shoal_text_seconds(report->seconds, time),
        shoal_text_count(shards, count), shards == 1 ? "" : "s",
        is_whole ? "" : ", without what the errors name");
    shoal_summary_notes(summary, out);
    shoal_summary_errors(summary, out);
}

// Whether a validation has come to a plan, be it of a part.
static bool
has_plan(const shoal_summary_t *summary)
{
    const char *state = shoal_summary_state(summary);
    return summary->report && (strcmp(state, "SUCCEEDED") == 0 || strcmp(state, "PARTIAL") == 0);
}

// The end of it, for people or for a program.
static int
tell(ingest_t *ingest, const shoal_summary_t *summary)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_buffer_t result = SHOAL_BUFFER_INIT;
    bool is_plan = ingest->is_validate && has_plan(summary);
    if (ingest->is_json) {
        shoal_summary_json(summary, &result);
    } else if (is_plan) {
        shoal_plan_show(summary->report, &result);
    }
    if (is_plan) {
        append_checked(summary, &text);
    } else {
        shoal_summary_text(summary, &text);
    }
    (void)fflush(stderr);
    (void)!write(STDERR_FILENO, text.ptr, text.len);
    shoal_status_t status = SHOAL_STATUS_INIT;
    int code = shoal_summary_exit(summary);
    if (!shoal_print(&result, &status)) {
        int unread = shoal_command_failed(&status);
        code = code == SHOAL_EXIT_OK ? unread : code;
    }
    shoal_buffer_fini(&text);
    shoal_buffer_fini(&result);
    return code;
}

// What is kept goes once there is nothing left to go on with.
static void
settle_kept(ingest_t *ingest, const shoal_run_result_t *result)
{
    const shoal_report_t *report = result->report;
    bool is_final = report && shoal_report_is_final(report);
    bool is_good = is_final && (strcmp(report->state, "SUCCEEDED") == 0 ||
                                strcmp(report->state, "PARTIAL") == 0);
    bool is_written = !ingest->output || result->has_output || !is_good;
    bool has_begun = result->job > 0 || ingest->is_resumed;
    if ((is_final && is_written) || !has_begun) {
        shoal_resume_end(&ingest->resume, is_good, &ingest->kept);
    } else {
        shoal_resume_leave(&ingest->resume, &ingest->kept);
    }
}

// How many processes and calls a private run has; gives the slots of all.
static unsigned
size_local(const ingest_t *ingest, shoal_run_plan_t *plan)
{
    unsigned slots = (unsigned)ingest->parallelism;
    if (ingest->head) {
        return slots;
    }
    unsigned cap = ingest->wishes->parallelism_cap;
    shoal_local_size(slots, (unsigned)ingest->workers, &plan->local);
    if (!slots && cap > 0 && plan->local.workers * plan->local.slots > cap) {
        shoal_local_size(cap, (unsigned)ingest->workers, &plan->local);
    }
    plan->local.log_level = child_log_level(ingest);
    plan->local.is_plan = ingest->is_validate;
    return plan->local.workers * plan->local.slots;
}

static int
run_job(ingest_t *ingest, shoal_status_t *status)
{
    shoal_run_plan_t plan = {
        .endpoint = ingest->head,
        .head_options = ingest->address.options,
        .join = shoal_address_join(&ingest->address),
        .output = ingest->output,
        .progress = shoal_progress_config(STDERR_FILENO),
    };
    if (!write_spec(ingest, size_local(ingest, &plan), status)) {
        return -1;
    }
    plan.spec = shoal_buffer_slice(&ingest->spec);
    plan.progress.is_off = shoal_arguments_has(ingest->arguments, "no-progress");
    show_warnings(ingest);
    if (!ingest->is_resumed) {
        keep_run(ingest);
    }
    plan.job_id = ingest->job_id;
    if (ingest->kept) {
        plan.local.state = shoal_kept_head(ingest->kept);
        plan.local.lock_fd = shoal_kept_lock_fd(ingest->kept);
        plan.local.is_resumed = ingest->is_resumed;
    }
    shoal_run_result_t result;
    shoal_run(&plan, &result);
    shoal_summary_t summary = {
        .name = ingest->wishes->name,
        .head_options = ingest->address.options,
        .job = result.job,
        .report = result.report,
        .status = &result.status,
        .signal = result.signal,
        .success_threshold = ingest->wishes->success_threshold,
        .file_warnings = ingest->warnings,
        .output = result.has_output ? ingest->output : NULL,
        .part = result.part,
        .output_bytes = result.output_bytes,
        .letters_file = result.letters_file,
        .is_private = !ingest->head,
        .workers_started = ingest->head ? 0 : plan.local.workers,
        .is_dry_run = ingest->is_dry_run,
        .is_resumed = ingest->is_resumed,
        .is_plan = ingest->is_validate,
        .has_colour = plan.progress.has_colour,
        .locate = locate,
        .ctx = ingest,
    };
    // A reader who has seen enough wants to hear nothing either.
    bool is_quiet = result.was_killed || result.signal == SIGPIPE;
    int code = is_quiet ? shoal_summary_exit(&summary) : tell(ingest, &summary);
    settle_kept(ingest, &result);
    shoal_run_result_fini(&result);
    return code;
}

// What failed before there was a run; a program that reads JSON gets its object all the same.
static int
refuse(ingest_t *ingest, const shoal_status_t *status)
{
    int code = shoal_command_failed(status);
    if (ingest->is_json) {
        const shoal_summary_t summary = {
            .status = status,
            .success_threshold = -1,
            .file_warnings = ingest->warnings,
            .is_dry_run = ingest->is_dry_run,
            .is_plan = ingest->is_validate,
        };
        shoal_buffer_t object = SHOAL_BUFFER_INIT;
        shoal_status_t ignored = SHOAL_STATUS_INIT;
        shoal_summary_json(&summary, &object);
        (void)!shoal_print(&object, &ignored);
        shoal_buffer_fini(&object);
    }
    return code;
}

static int
ingest_or_validate(const shoal_arguments_t *arguments, bool is_validate)
{
    ingest_t ingest = {.arguments = arguments, .is_validate = is_validate};
    shoal_status_t status = SHOAL_STATUS_INIT;
    int code = prepare(&ingest, &status) ? run_job(&ingest, &status) : -1;
    if (code < 0) {
        code = refuse(&ingest, &status);
    }
    if (ingest.spec.ptr) {
        explicit_bzero(ingest.spec.ptr, ingest.spec.size);
    }
    shoal_buffer_fini(&ingest.spec);
    shoal_kept_close(&ingest.kept);
    free(ingest.warnings);
    shoal_workflow_destroy(&ingest.workflow);
    return code;
}

int
shoal_command_ingest(const shoal_arguments_t *arguments)
{
    return ingest_or_validate(arguments, /*is_validate=*/false);
}

int
shoal_command_validate(const shoal_arguments_t *arguments)
{
    return ingest_or_validate(arguments, /*is_validate=*/true);
}
