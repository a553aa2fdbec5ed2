// SPDX-License-Identifier: Apache-2.0
//
// letters.c - see letters.h.

#include "client/letters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/text.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"

#define COLUMNS   5
#define CAUSE_MAX 100   // bytes of a cause in the table
#define ROWS_MAX  10000 // as many as a job may have

// ---- fetching

static bool
ask_page(shoal_session_t *session, const char *job, bool is_whole, uint64_t from,
         shoal_buffer_t *page, shoal_status_t *status)
{
    shoal_message_t ask = {.type = SHOAL_MSG_ASK};
    ask.ask.what = is_whole ? SHOAL_SLICE("whole_letters") : SHOAL_SLICE("letters");
    ask.ask.id = shoal_slice_of(job);
    ask.ask.from = from;
    shoal_buffer_clear(page);
    return shoal_session_call(session, &ask, SHOAL_SLICE_NONE, &ask.ask.request, "letters",
                              SHOAL_ASK_MS, page, status);
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

static shoal_slice_t
text_of(shoal_slice_t map, const char *key)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (!shoal_map_find(map, key, &value)) {
        return SHOAL_SLICE_NONE;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    return shoal_cursor_str_or_nil(&cursor);
}

bool
shoal_letters_fetch(shoal_session_t *session, const char *job, bool is_whole, uint64_t from,
                    uint64_t count, shoal_letters_each_fn *each, void *ctx, shoal_status_t *status)
{
    shoal_buffer_t page = SHOAL_BUFFER_INIT;
    uint64_t left = count > 0 ? count : UINT64_MAX;
    bool done = true;
    for (uint32_t got = 1; done && got > 0 && left > 0;) {
        done = ask_page(session, job, is_whole, from, &page, status);
        shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&page));
        got = done ? shoal_cursor_array(&cursor) : 0;
        for (uint32_t i = 0; done && i < got && left > 0; i++, left--) {
            shoal_slice_t letter = shoal_cursor_value(&cursor);
            uint64_t number = number_of(letter, "letter");
            if (cursor.is_bad || number < from) {
                done = shoal_fail(status, SHOAL_PROTOCOL, "the head's dead letters cannot be read");
            } else {
                from = number + 1;
                done = each(ctx, letter, status);
            }
        }
    }
    shoal_buffer_fini(&page);
    return done;
}

// ---- showing

static void
append_time(uint64_t time_ms, shoal_buffer_t *out)
{
    char text[40];
    struct tm broken;
    time_t seconds = (time_t)(time_ms / 1000);
    if (gmtime_r(&seconds, &broken) &&
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &broken)) {
        shoal_buffer_append_text(out, text);
    }
}

static void
append_slice(shoal_slice_t text, shoal_buffer_t *out)
{
    char *copy = shoal_strndup(text.ptr ? text.ptr : "", text.len);
    shoal_text_append_safe(out, copy);
    free(copy);
}

// "data, invalid: what was wrong"
static void
append_cause(shoal_slice_t letter, shoal_buffer_t *out)
{
    shoal_buffer_append_format(out,
                               "%s, %s: ", shoal_error_class_name((int)number_of(letter, "class")),
                               shoal_code_name((int)number_of(letter, "code")));
    append_slice(text_of(letter, "message"), out);
}

static shoal_slice_t
name_of(shoal_slice_t letter)
{
    shoal_slice_t name = text_of(letter, "name");
    return name.len > 0 ? name : text_of(letter, "title");
}

// "run 1, attempt 2, 2026-...Z: failed on w1: transient, unavailable: away"
static void
append_try(shoal_cursor_t *cursor, shoal_buffer_t *out)
{
    uint32_t parts = shoal_cursor_array(cursor);
    uint64_t run = shoal_cursor_uint(cursor);
    uint64_t attempt = shoal_cursor_uint(cursor);
    shoal_slice_t end = shoal_cursor_str(cursor);
    uint64_t error_class = shoal_cursor_uint(cursor);
    uint64_t code = shoal_cursor_uint(cursor);
    shoal_slice_t message = shoal_cursor_str(cursor);
    shoal_slice_t worker = shoal_cursor_str_or_nil(cursor);
    uint64_t time_ms = shoal_cursor_uint(cursor);
    if (cursor->is_bad || parts != 8) {
        cursor->is_bad = true;
        return;
    }
    shoal_buffer_append_format(out, "run %llu, attempt %llu, ", (unsigned long long)run,
                               (unsigned long long)attempt);
    append_time(time_ms, out);
    shoal_buffer_append_text(out, ": ");
    append_slice(end, out);
    shoal_buffer_append_text(out, " on ");
    append_slice(worker, out);
    shoal_buffer_append_format(out, ": %s, %s: ", shoal_error_class_name((int)error_class),
                               shoal_code_name((int)code));
    append_slice(message, out);
    shoal_buffer_append_byte(out, '\n');
}

static void
append_tries(shoal_slice_t letter, const char *indent, shoal_buffer_t *out)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (!shoal_map_find(letter, "attempts", &value)) {
        return;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        shoal_buffer_append_text(out, indent);
        append_try(&cursor, out);
    }
}

void
shoal_letter_line(shoal_slice_t letter, shoal_buffer_t *out)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_slice_t record = SHOAL_SLICE_NONE;
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    shoal_buffer_append_text(out, "{\"record_id\":");
    shoal_json_write_text(name_of(letter), out);
    append_cause(letter, &text);
    shoal_buffer_append_text(out, ",\"error\":");
    shoal_json_write_text(shoal_buffer_slice(&text), out);
    shoal_buffer_clear(&text);
    append_tries(letter, "", &text);
    shoal_buffer_append_text(out, ",\"traceback\":");
    shoal_json_write_text(shoal_buffer_slice(&text), out);
    shoal_buffer_append_text(out, ",\"data\":");
    if (!shoal_map_find(letter, "record", &record) || !shoal_json_write(record, out, &ignored)) {
        shoal_buffer_append_text(out, "null");
    }
    shoal_buffer_append_text(out, "}\n");
    shoal_buffer_fini(&text);
}

static void
append_pair(const char *label, shoal_slice_t text, shoal_buffer_t *out)
{
    if (text.len > 0) {
        shoal_buffer_append_format(out, "  %-8s ", label);
        append_slice(text, out);
        shoal_buffer_append_byte(out, '\n');
    }
}

void
shoal_letter_text(shoal_slice_t letter, shoal_buffer_t *out)
{
    shoal_slice_t record = SHOAL_SLICE_NONE;
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    shoal_buffer_append_format(out,
                               "letter %llu: ", (unsigned long long)number_of(letter, "letter"));
    append_slice(name_of(letter), out);
    shoal_buffer_append_text(out, "\n  cause    ");
    append_cause(letter, out);
    shoal_buffer_append_byte(out, '\n');
    append_pair("kind", text_of(letter, "kind"), out);
    append_pair("type", text_of(letter, "type"), out);
    append_pair("step", text_of(letter, "step"), out);
    append_pair("key", text_of(letter, "key"), out);
    append_pair("scope", text_of(letter, "scope"), out);
    append_pair("stage", text_of(letter, "stage"), out);
    append_pair("shard", text_of(letter, "title"), out);
    append_pair("worker", text_of(letter, "worker"), out);
    if (number_of(letter, "needs") > 0) {
        shoal_buffer_append_format(out, "  needs    letter %llu\n",
                                   (unsigned long long)number_of(letter, "needs"));
    }
    if (number_of(letter, "retried_by") > 0) {
        shoal_buffer_append_format(out, "  tried by job %llu just now\n",
                                   (unsigned long long)number_of(letter, "retried_by"));
    }
    append_tries(letter, "  attempt  ", out);
    if (shoal_map_find(letter, "record", &record)) {
        size_t before = out->len;
        shoal_buffer_append_text(out, "  record   ");
        if (shoal_json_write(record, out, &ignored)) {
            shoal_buffer_append_byte(out, '\n');
        } else {
            out->len = before;
        }
    } else if (number_of(letter, "record_bytes") > 0) {
        shoal_buffer_append_format(out, "  record   not kept: %llu bytes\n",
                                   (unsigned long long)number_of(letter, "record_bytes"));
    }
}

static char *
cell_number(uint64_t number)
{
    char text[SHOAL_TEXT_SIZE];
    return shoal_strdup(shoal_text_count(number, text));
}

static char *
cell_slice(shoal_slice_t text)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    append_slice(text, &out);
    char *cell = shoal_strdup(out.len > 0 ? shoal_buffer_text(&out) : "-");
    shoal_buffer_fini(&out);
    return cell;
}

static char *
cell_cause(shoal_slice_t letter)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    append_cause(letter, &out);
    if (out.len > CAUSE_MAX) {
        out.len = CAUSE_MAX;
        while (out.len > 0 && ((unsigned char)out.ptr[out.len] & 0xc0U) == 0x80U) {
            out.len--;
        }
        shoal_buffer_append_text(&out, "...");
    }
    char *cell = shoal_strdup(shoal_buffer_text(&out));
    shoal_buffer_fini(&out);
    return cell;
}

void
shoal_letters_table(shoal_slice_t letters, shoal_buffer_t *out)
{
    static const char *const heading[COLUMNS] = {">LETTER", "KIND", ">RUN", "WHAT", "CAUSE"};
    char **cells = shoal_alloc((ROWS_MAX + 1) * COLUMNS * sizeof(*cells));
    size_t rows = 1;
    for (size_t i = 0; i < COLUMNS; i++) {
        cells[i] = shoal_strdup(heading[i]);
    }
    shoal_cursor_t cursor = shoal_cursor_over(letters);
    for (; shoal_cursor_left(&cursor) > 0 && rows <= ROWS_MAX; rows++) {
        shoal_slice_t letter = shoal_cursor_value(&cursor);
        char **row = cells + rows * COLUMNS;
        row[0] = cell_number(number_of(letter, "letter"));
        row[1] = cell_slice(text_of(letter, "kind"));
        row[2] = cell_number(number_of(letter, "run"));
        row[3] = cell_slice(name_of(letter));
        row[4] = cell_cause(letter);
    }
    shoal_text_table((const char *const *)cells, rows, COLUMNS, out);
    for (size_t i = 0; i < rows * COLUMNS; i++) {
        free(cells[i]);
    }
    free(cells);
}

// ---- saving

typedef struct saving {
    FILE *file;
    uint64_t count;
    shoal_buffer_t line;
} saving_t;

static bool
save_one(void *ctx, shoal_slice_t letter, shoal_status_t *status)
{
    saving_t *saving = ctx;
    shoal_buffer_clear(&saving->line);
    shoal_letter_line(letter, &saving->line);
    saving->count++;
    return fwrite(saving->line.ptr, 1, saving->line.len, saving->file) == saving->line.len ||
           shoal_fail_errno(status, errno, "cannot write the dead letters");
}

static bool
save_to(shoal_session_t *session, const char *job, const char *part, uint64_t *ret_count,
        shoal_status_t *status)
{
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    saving_t saving = {.file = fd >= 0 ? fdopen(fd, "w") : NULL};
    if (!saving.file) {
        bool failed = shoal_fail_errno(status, errno, "cannot write \"%.200s\"", part);
        if (fd >= 0) {
            (void)close(fd);
        }
        return failed;
    }
    bool done =
        shoal_letters_fetch(session, job, /*is_whole=*/true, 0, 0, save_one, &saving, status);
    if (fflush(saving.file) != 0 && done) {
        done = shoal_fail_errno(status, errno, "cannot write \"%.200s\"", part);
    }
    if (fclose(saving.file) != 0 && done) {
        done = shoal_fail_errno(status, errno, "cannot write \"%.200s\"", part);
    }
    shoal_buffer_fini(&saving.line);
    *ret_count = saving.count;
    return done;
}

bool
shoal_letters_save(shoal_session_t *session, const char *job, const char *path, uint64_t *ret_count,
                   shoal_status_t *status)
{
    shoal_buffer_t part = SHOAL_BUFFER_INIT;
    shoal_buffer_append_format(&part, "%s.part", path);
    const char *name = shoal_buffer_text(&part);
    bool done = save_to(session, job, name, ret_count, status);
    if (done && rename(name, path) != 0) {
        done = shoal_fail_errno(status, errno, "cannot write \"%.200s\"", path);
    }
    if (!done) {
        (void)unlink(name);
    }
    shoal_buffer_fini(&part);
    return done;
}
