// SPDX-License-Identifier: Apache-2.0
//
// dlq.c - `shoal dlq list|show|retry|drop`: the dead letters of a head's jobs.

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "client/letters.h"
#include "client/retry.h"
#include "client/status.h"
#include "client/summary.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "proto/record/writer.h"

typedef struct dlq {
    const shoal_arguments_t *arguments;
    shoal_address_t address;
    shoal_session_t *session;
    const char *job; // as it was given: number or id
    uint64_t number; // of the job, once it was looked up
    uint64_t *letters;
    size_t letter_count;
    shoal_buffer_t out;
} dlq_t;

static bool
is_form(const dlq_t *dlq, const char *form)
{
    const char *given = shoal_arguments_text(dlq->arguments, "output");
    return given && strcasecmp(given, form) == 0;
}

static bool
dial(dlq_t *dlq, shoal_status_t *status)
{
    return shoal_address_find(dlq->arguments, &dlq->address, status) &&
           shoal_head_dial(&dlq->address, &dlq->session, status);
}

// The words after the job: numbers of letters.
static bool
read_letters(dlq_t *dlq, shoal_status_t *status)
{
    size_t words = shoal_arguments_words(dlq->arguments);
    dlq->letters = shoal_alloc((words + 1) * sizeof(*dlq->letters));
    for (size_t i = 2; i < words; i++) {
        const char *word = shoal_arguments_word(dlq->arguments, i);
        char *end = NULL;
        unsigned long long number = strtoull(word, &end, 10);
        if (word[0] < '1' || word[0] > '9' || *end) {
            return shoal_fail(status, SHOAL_INVALID,
                              "\"%.64s\" is no number of a dead letter; "
                              "see: shoal dlq list %.64s",
                              word, dlq->job);
        }
        dlq->letters[dlq->letter_count++] = number;
    }
    return true;
}

static uint64_t
number_of(shoal_slice_t map, const char *key)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (!shoal_map_find(map, key, &value)) {
        return 0;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    return shoal_cursor_uint(&cursor);
}

// The job's number; of a run, that of the job that it is a run of.
static bool
look_up(dlq_t *dlq, shoal_status_t *status)
{
    shoal_buffer_t answer = SHOAL_BUFFER_INIT;
    bool done = strlen(dlq->job) <= SHOAL_SESSION_ID_MAX ||
                shoal_fail(status, SHOAL_INVALID, "there is no job of that name");
    done = done && dial(dlq, status) &&
           shoal_session_ask(dlq->session, "job", dlq->job, SHOAL_ASK_MS, &answer, status);
    if (done) {
        uint64_t of = number_of(shoal_buffer_slice(&answer), "of");
        dlq->number = of > 0 ? of : number_of(shoal_buffer_slice(&answer), "job");
    }
    shoal_buffer_fini(&answer);
    return done;
}

// ---- list

// The jobs that have letters.
static bool
list_jobs(dlq_t *dlq, shoal_status_t *status)
{
    shoal_buffer_t answer = SHOAL_BUFFER_INIT;
    shoal_buffer_t jobs = SHOAL_BUFFER_INIT;
    uint32_t count = 0;
    bool done = dial(dlq, status) &&
                shoal_session_ask(dlq->session, "jobs", NULL, SHOAL_ASK_MS, &answer, status);
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&answer));
    uint32_t total = done ? shoal_cursor_array(&cursor) : 0;
    size_t mark = shoal_write_array_later(&jobs);
    for (uint32_t i = 0; i < total && !cursor.is_bad; i++) {
        shoal_slice_t job = shoal_cursor_value(&cursor);
        if (number_of(job, "letters") > 0 && number_of(job, "of") == 0) {
            shoal_write_raw(&jobs, job);
            count++;
        }
    }
    shoal_write_count_now(&jobs, mark, count);
    if (done && is_form(dlq, "json")) {
        done = shoal_json_write(shoal_buffer_slice(&jobs), &dlq->out, status);
        shoal_buffer_append_byte(&dlq->out, '\n');
    } else if (done && !shoal_append_jobs(shoal_buffer_slice(&jobs), &dlq->out)) {
        shoal_buffer_append_text(&dlq->out, "no job has dead letters\n");
    }
    shoal_buffer_fini(&answer);
    shoal_buffer_fini(&jobs);
    return done;
}

static bool
take_row(void *ctx, shoal_slice_t letter, shoal_status_t *status)
{
    (void)status;
    shoal_write_raw(ctx, letter);
    return true;
}

// The export goes out as it comes: it may be large.
static bool
print_line(void *ctx, shoal_slice_t letter, shoal_status_t *status)
{
    dlq_t *dlq = ctx;
    shoal_letter_line(letter, &dlq->out);
    bool done = shoal_print(&dlq->out, status);
    shoal_buffer_clear(&dlq->out);
    return done;
}

// Appends maps that stand one after the other as a JSON array.
static bool
append_json(shoal_slice_t maps, shoal_buffer_t *out, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(maps);
    shoal_buffer_append_byte(out, '[');
    for (bool is_first = true; shoal_cursor_left(&cursor) > 0; is_first = false) {
        shoal_buffer_append_text(out, is_first ? "" : ",");
        if (!shoal_json_write(shoal_cursor_value(&cursor), out, status)) {
            return false;
        }
    }
    shoal_buffer_append_text(out, "]\n");
    return true;
}

static bool
list(dlq_t *dlq, shoal_status_t *status)
{
    if (!dlq->job) {
        return list_jobs(dlq, status);
    }
    if (!look_up(dlq, status)) {
        return false;
    }
    if (is_form(dlq, "jsonl")) {
        return shoal_letters_fetch(dlq->session, dlq->job, /*is_whole=*/true, 0, 0, print_line, dlq,
                                   status);
    }
    shoal_buffer_t rows = SHOAL_BUFFER_INIT;
    bool done = shoal_letters_fetch(dlq->session, dlq->job, /*is_whole=*/false, 0, 0, take_row,
                                    &rows, status);
    if (done && is_form(dlq, "json")) {
        done = append_json(shoal_buffer_slice(&rows), &dlq->out, status);
    } else if (done && rows.len > 0) {
        shoal_letters_table(shoal_buffer_slice(&rows), &dlq->out);
    } else if (done) {
        shoal_buffer_append_format(&dlq->out, "job %llu has no dead letters\n",
                                   (unsigned long long)dlq->number);
    }
    shoal_buffer_fini(&rows);
    return done;
}

// ---- show

static bool
show_text(void *ctx, shoal_slice_t letter, shoal_status_t *status)
{
    (void)status;
    shoal_letter_text(letter, ctx);
    return true;
}

// One letter in full, which must be there.
static bool
show_one(dlq_t *dlq, uint64_t number, shoal_buffer_t *maps, shoal_status_t *status)
{
    size_t before = maps->len;
    if (!shoal_letters_fetch(dlq->session, dlq->job, /*is_whole=*/true, number, 1, take_row, maps,
                             status)) {
        return false;
    }
    shoal_slice_t letter = {maps->ptr + before, maps->len - before};
    return (letter.len > 0 && number_of(letter, "letter") == number) ||
           shoal_fail(status, SHOAL_NOT_FOUND, "job %llu has no dead letter %llu",
                      (unsigned long long)dlq->number, (unsigned long long)number);
}

static bool
show(dlq_t *dlq, shoal_status_t *status)
{
    if (!look_up(dlq, status)) {
        return false;
    }
    shoal_buffer_t maps = SHOAL_BUFFER_INIT;
    bool done = true;
    if (dlq->letter_count == 0) {
        done = shoal_letters_fetch(dlq->session, dlq->job, /*is_whole=*/true, 0, 0, take_row, &maps,
                                   status);
    }
    for (size_t i = 0; done && i < dlq->letter_count; i++) {
        done = show_one(dlq, dlq->letters[i], &maps, status);
    }
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&maps));
    if (done && is_form(dlq, "json")) {
        done = append_json(shoal_buffer_slice(&maps), &dlq->out, status);
    } else {
        while (done && shoal_cursor_left(&cursor) > 0) {
            shoal_slice_t letter = shoal_cursor_value(&cursor);
            if (is_form(dlq, "jsonl")) {
                shoal_letter_line(letter, &dlq->out);
            } else {
                done = show_text(&dlq->out, letter, status);
            }
        }
    }
    shoal_buffer_fini(&maps);
    return done;
}

// ---- drop and retry

static bool
drop(dlq_t *dlq, shoal_status_t *status)
{
    shoal_buffer_t numbers = SHOAL_BUFFER_INIT;
    shoal_buffer_t answer = SHOAL_BUFFER_INIT;
    shoal_message_t message = {.type = SHOAL_MSG_DROP_LETTERS};
    bool done = look_up(dlq, status);
    message.drop_letters.job = dlq->number;
    if (dlq->letter_count > 0) {
        shoal_write_array(&numbers, (uint32_t)dlq->letter_count);
        for (size_t i = 0; i < dlq->letter_count; i++) {
            shoal_write_uint(&numbers, dlq->letters[i]);
        }
        message.drop_letters.letters = shoal_buffer_slice(&numbers);
    }
    done = done &&
           shoal_session_call(dlq->session, &message, SHOAL_SLICE_NONE,
                              &message.drop_letters.request, "drop", SHOAL_ASK_MS, &answer, status);
    if (done && dlq->letter_count > 0) {
        shoal_buffer_append_format(&dlq->out, "job %llu: %zu dead letter%s dropped\n",
                                   (unsigned long long)dlq->number, dlq->letter_count,
                                   dlq->letter_count == 1 ? "" : "s");
    } else if (done) {
        shoal_buffer_append_format(&dlq->out, "job %llu: all dead letters dropped\n",
                                   (unsigned long long)dlq->number);
    }
    shoal_buffer_fini(&numbers);
    shoal_buffer_fini(&answer);
    return done;
}

static int
retry(dlq_t *dlq, shoal_status_t *status)
{
    if (!look_up(dlq, status)) {
        return -1;
    }
    shoal_session_destroy(&dlq->session);
    const shoal_retry_t wanted = {
        .address = &dlq->address,
        .job = dlq->number,
        .letters = dlq->letters,
        .letter_count = dlq->letter_count,
        .output = shoal_arguments_text(dlq->arguments, "out"),
        .is_json = is_form(dlq, "json"),
        .no_wait = shoal_arguments_has(dlq->arguments, "no-wait"),
        .no_progress = shoal_arguments_has(dlq->arguments, "no-progress"),
    };
    return shoal_retry_run(&wanted, status);
}

typedef struct verb {
    const char *name;
    bool needs_job;
    bool (*run)(dlq_t *dlq, shoal_status_t *status); // NULL: retry()
} verb_t;

static const verb_t verbs[] = {
    {"list", false, list}, {"show", true, show}, {"retry", true, NULL}, {"drop", true, drop}};

static const verb_t *
find_verb(const dlq_t *dlq, shoal_status_t *status)
{
    const char *word = shoal_arguments_word(dlq->arguments, 0);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(word, verbs[i].name) != 0) {
            continue;
        }
        if (verbs[i].needs_job && !dlq->job) {
            (void)shoal_fail(status, SHOAL_INVALID,
                             "which job? Give its number, as in: shoal dlq list");
            return NULL;
        }
        return &verbs[i];
    }
    (void)shoal_fail(status, SHOAL_INVALID,
                     "unknown command \"dlq %.64s\"; there are: dlq list [JOB], dlq show JOB [N], "
                     "dlq retry JOB [N...], dlq drop JOB [N...]",
                     word);
    return NULL;
}

int
shoal_command_dlq(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    dlq_t dlq = {.arguments = arguments, .job = shoal_arguments_word(arguments, 1)};
    const verb_t *verb = find_verb(&dlq, &status);
    int code = -1;
    if (verb && shoal_arguments_choice(arguments, "output", "text|json|jsonl", &status) &&
        read_letters(&dlq, &status)) {
        if (!verb->run) {
            code = retry(&dlq, &status);
        } else if (verb->run(&dlq, &status) && shoal_print(&dlq.out, &status)) {
            code = SHOAL_EXIT_OK;
        }
    }
    if (code < 0) {
        code = shoal_command_failed(&status);
    }
    shoal_session_destroy(&dlq.session);
    shoal_buffer_fini(&dlq.out);
    free(dlq.letters);
    return code;
}
