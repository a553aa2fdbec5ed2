// SPDX-License-Identifier: Apache-2.0
//
// notes.c - see notes.h.

#include "client/notes.h"

#include <stdio.h>

#include "client/text.h"

#define SORTS_MAX 16 // of members: "tables", "schemas", ...

static const char *const sections[] = {"source", "processor", "sink", "sharding", "workflowConfig"};

// The length of a path of the workflow that a warning starts with ("source.x.y: ..."), or 0.
static size_t
path_length(const char *text)
{
    size_t len = strcspn(text, ": ");
    if (len >= SHOAL_STATUS_KEY_MAX || strncmp(text + len, ": ", 2) != 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        size_t section = strlen(sections[i]);
        if (strncmp(text, sections[i], section) == 0 && strchr(".[:", text[section])) {
            return len;
        }
    }
    return 0;
}

static void
take_located(const shoal_summary_t *summary, const shoal_report_count_t *warning,
             shoal_notes_fn *take, void *ctx)
{
    size_t len = summary->locate ? path_length(warning->text) : 0;
    if (len == 0) {
        take(ctx, warning->text, warning->count);
        return;
    }
    char key[SHOAL_STATUS_KEY_MAX];
    char place[512];
    (void)snprintf(key, sizeof(key), "%.*s", (int)len, warning->text);
    summary->locate(summary->ctx, key, place, sizeof(place));
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&text, place);
    shoal_buffer_append_text(&text, warning->text);
    take(ctx, shoal_buffer_text(&text), warning->count);
    shoal_buffer_fini(&text);
}

// The members of one sort in all scopes together.
typedef struct sort {
    const char *of;
    uint64_t listed, filtered;
} sort_t;

static size_t
count_sorts(const shoal_report_t *report, sort_t sorts[SORTS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < report->book_count; i++) {
        const shoal_report_book_t *book = &report->books[i];
        size_t at = 0;
        while (at < count && strcmp(sorts[at].of, book->of) != 0) {
            at++;
        }
        if (at == SORTS_MAX) {
            continue;
        }
        if (at == count) {
            sorts[count++] = (sort_t){.of = book->of};
        }
        sorts[at].listed += book->listed;
        sorts[at].filtered += book->filtered;
    }
    return count;
}

// A run that has read nothing has succeeded, but hardly as it was meant.
static void
take_emptied(const shoal_summary_t *summary, shoal_notes_fn *take, void *ctx)
{
    const shoal_report_t *report = summary->report;
    if (strcmp(report->state, "SUCCEEDED") != 0 || report->is_limited ||
        report->books_left_out > 0) {
        return;
    }
    sort_t sorts[SORTS_MAX];
    size_t count = count_sorts(report, sorts);
    for (size_t i = 0; i < count; i++) {
        char number[SHOAL_TEXT_SIZE];
        char text[256];
        if (sorts[i].listed == 0 || sorts[i].filtered < sorts[i].listed) {
            continue;
        }
        (void)snprintf(
            text, sizeof(text),
            "nothing is left: all %s %.64s were filtered; look at the filter patterns of "
            "the workflow",
            shoal_text_count(sorts[i].listed, number), sorts[i].of[0] ? sorts[i].of : "members");
        take(ctx, text, 1);
    }
}

void
shoal_notes_each(const shoal_summary_t *summary, shoal_notes_fn *take, void *ctx)
{
    const shoal_report_t *report = summary->report;
    if (!report) {
        return;
    }
    for (size_t i = 0; i < report->warning_count; i++) {
        take_located(summary, &report->warnings[i], take, ctx);
    }
    take_emptied(summary, take, ctx);
}
