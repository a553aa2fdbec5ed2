// SPDX-License-Identifier: Apache-2.0
//
// status.c - `shoal status` and `shoal job list|get`: what a head answers, as tables or JSON.
//
// Design: an answer is an array of maps, or one map. A table names the keys to show and their
// headings; what a head of another version adds or leaves out does no harm.

#include "client/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "client/summary.h"
#include "client/text.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"

#define ROWS_MAX 10000
#define CELL_MAX 200

typedef struct column {
    const char *heading; // '>' in front: set to the right
    const char *key;
} column_t;

#define WORKER "@" // no key: its name and the first digits of its id

static const column_t worker_columns[] = {
    {"WORKER", WORKER},      {"STATE", "state"},     {">SLOTS", "slots"},
    {">RUNNING", "running"}, {"CLASSES", "classes"}, {NULL, NULL},
};

static const column_t job_columns[] = {
    {">JOB", "job"},         {"STATE", "state"},
    {">SECONDS", "seconds"}, {">SHARDS", "shards"},
    {">RECORDS", "records"}, {">LETTERS", "letters"},
    {"NAME", "name"},        {NULL, NULL},
};

// One value as text for a person.
static void
append_value(shoal_slice_t value, shoal_buffer_t *out)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    switch (shoal_cursor_peek(&cursor)) {
    case SHOAL_VALUE_STR: {
        shoal_slice_t text = shoal_cursor_str(&cursor);
        shoal_buffer_append_format(out, "%.*s", (int)(text.len < CELL_MAX ? text.len : CELL_MAX),
                                   text.ptr);
        return;
    }
    case SHOAL_VALUE_UINT: {
        char text[SHOAL_TEXT_SIZE];
        shoal_buffer_append_text(out, shoal_text_count(shoal_cursor_uint(&cursor), text));
        return;
    }
    case SHOAL_VALUE_FLOAT:
        shoal_buffer_append_format(out, "%.2f", shoal_cursor_float(&cursor));
        return;
    case SHOAL_VALUE_ARRAY: { // of texts: joined
        uint32_t count = shoal_cursor_array(&cursor);
        for (uint32_t i = 0; i < count && !cursor.is_bad && out->len < CELL_MAX; i++) {
            shoal_buffer_append_text(out, i > 0 ? " " : "");
            append_value(shoal_cursor_value(&cursor), out); // one level: values of an array
        }
        return;
    }
    case SHOAL_VALUE_BOOL:
        shoal_buffer_append_text(out, shoal_cursor_bool(&cursor) ? "yes" : "no");
        return;
    case SHOAL_VALUE_BAD:
    case SHOAL_VALUE_NIL:
    case SHOAL_VALUE_INT:
    case SHOAL_VALUE_BIN:
    case SHOAL_VALUE_MAP:
    case SHOAL_VALUE_EXT:
    default: shoal_buffer_append_text(out, "-"); return;
    }
}

// "worker 1 (0a1b2c3d)"
static char *
worker_of(shoal_slice_t map)
{
    shoal_buffer_t name = SHOAL_BUFFER_INIT;
    shoal_buffer_t id = SHOAL_BUFFER_INIT;
    shoal_buffer_t cell = SHOAL_BUFFER_INIT;
    shoal_slice_t value;
    if (shoal_map_find(map, "name", &value)) {
        append_value(value, &name);
    }
    if (shoal_map_find(map, "id", &value)) {
        append_value(value, &id);
    }
    shoal_text_append_worker(&cell, shoal_buffer_text(&name), shoal_buffer_text(&id));
    char *text = shoal_strdup(shoal_buffer_text(&cell));
    shoal_buffer_fini(&name);
    shoal_buffer_fini(&id);
    shoal_buffer_fini(&cell);
    return text;
}

static char *
cell_of(shoal_slice_t map, const char *key)
{
    shoal_slice_t value;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    if (shoal_map_find(map, key, &value)) {
        append_value(value, &text);
    }
    char *cell = shoal_strdup(text.len > 0 ? shoal_buffer_text(&text) : "-");
    shoal_buffer_fini(&text);
    return cell;
}

static void
append_table(shoal_slice_t answer, const column_t *columns, shoal_buffer_t *out)
{
    size_t width = 0;
    while (columns[width].key) {
        width++;
    }
    shoal_cursor_t cursor = shoal_cursor_over(answer);
    uint32_t count = shoal_cursor_array(&cursor);
    count = cursor.is_bad ? 0 : count;
    count = count > ROWS_MAX ? ROWS_MAX : count;
    char **cells = shoal_alloc((count + 1) * width * sizeof(*cells));
    for (size_t i = 0; i < width; i++) {
        cells[i] = shoal_strdup(columns[i].heading);
    }
    for (uint32_t row = 1; row <= count; row++) {
        shoal_slice_t map = shoal_cursor_value(&cursor);
        for (size_t i = 0; i < width; i++) {
            cells[row * width + i] =
                strcmp(columns[i].key, WORKER) == 0 ? worker_of(map) : cell_of(map, columns[i].key);
        }
    }
    shoal_text_table((const char *const *)cells, count + 1, width, out);
    for (size_t i = 0; i < (count + 1) * width; i++) {
        free(cells[i]);
    }
    free(cells);
}

static uint32_t
count_of(shoal_slice_t answer)
{
    shoal_cursor_t cursor = shoal_cursor_over(answer);
    uint32_t count = shoal_cursor_array(&cursor);
    return cursor.is_bad ? 0 : count;
}

static void
append_head(shoal_slice_t head, const char *endpoint, shoal_buffer_t *out)
{
    char time[SHOAL_TEXT_SIZE];
    shoal_slice_t value;
    double seconds = 0.0;
    if (shoal_map_find(head, "uptime_ms", &value)) {
        shoal_cursor_t cursor = shoal_cursor_over(value);
        seconds = shoal_cursor_float(&cursor) / 1000.0;
    }
    char *pid = cell_of(head, "pid");
    char *software = cell_of(head, "software");
    shoal_buffer_append_format(out, "head %s: ", endpoint);
    shoal_text_append_safe(out, software);
    shoal_buffer_append_text(out, ", process ");
    for (const char *at = pid; *at; at++) { // a number, but not a quantity
        shoal_buffer_append(out, at, *at != ',');
    }
    shoal_buffer_append_format(out, ", up for %s\n", shoal_text_seconds(seconds, time));
    free(pid);
    free(software);
}

bool
shoal_wants_json(const shoal_arguments_t *arguments)
{
    const char *form = shoal_arguments_text(arguments, "output");
    return form && strcasecmp(form, "json") == 0;
}

bool
shoal_append_jobs(shoal_slice_t jobs, shoal_buffer_t *out)
{
    if (count_of(jobs) == 0) {
        return false;
    }
    append_table(jobs, job_columns, out);
    return true;
}

static bool
ask_all(const shoal_address_t *address, shoal_buffer_t answers[3], shoal_status_t *status)
{
    static const char *const questions[] = {"head", "workers", "jobs"};
    shoal_session_t *session = NULL;
    bool done = shoal_head_dial(address, &session, status);
    for (int i = 0; done && i < 3; i++) {
        done = shoal_session_ask(session, questions[i], NULL, SHOAL_ASK_MS, &answers[i], status);
    }
    shoal_session_destroy(&session);
    return done;
}

static bool
append_json(const shoal_buffer_t answers[3], shoal_buffer_t *out, shoal_status_t *status)
{
    static const char *const keys[] = {"{\"head\":", ",\"workers\":", ",\"jobs\":"};
    for (int i = 0; i < 3; i++) {
        shoal_buffer_append_text(out, keys[i]);
        if (!shoal_json_write(shoal_buffer_slice(&answers[i]), out, status)) {
            return false;
        }
    }
    shoal_buffer_append_text(out, "}\n");
    return true;
}

static void
append_text(const shoal_buffer_t answers[3], const shoal_address_t *address, shoal_buffer_t *out)
{
    append_head(shoal_buffer_slice(&answers[0]), address->endpoint, out);
    shoal_buffer_append_byte(out, '\n');
    if (count_of(shoal_buffer_slice(&answers[1])) == 0) {
        shoal_buffer_append_format(out, "no workers; to start one: shoal start %s %s\n",
                                   address->has_keys ? "--join-file" : "--address",
                                   address->has_keys ? "FILE" : address->endpoint);
    } else {
        append_table(shoal_buffer_slice(&answers[1]), worker_columns, out);
    }
    shoal_buffer_append_byte(out, '\n');
    if (!shoal_append_jobs(shoal_buffer_slice(&answers[2]), out)) {
        shoal_buffer_append_text(out, "no jobs\n");
    }
}

int
shoal_command_status(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t answers[3] = {SHOAL_BUFFER_INIT, SHOAL_BUFFER_INIT, SHOAL_BUFFER_INIT};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_address_t address = {.has_keys = false};
    bool done = shoal_arguments_choice(arguments, "output", "text|json", &status) &&
                shoal_address_find(arguments, &address, &status) &&
                ask_all(&address, answers, &status);
    if (done && shoal_wants_json(arguments)) {
        done = append_json(answers, &out, &status);
    } else if (done) {
        append_text(answers, &address, &out);
    }
    done = done && shoal_print(&out, &status);
    for (int i = 0; i < 3; i++) {
        shoal_buffer_fini(&answers[i]);
    }
    shoal_buffer_fini(&out);
    shoal_address_wipe(&address);
    if (!done) {
        return shoal_command_failed(&status);
    }
    return SHOAL_EXIT_OK;
}
