// SPDX-License-Identifier: Apache-2.0
//
// progress.c - see progress.h.

#include "client/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/text.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

#define WIDTH_DEFAULT 80
#define BAR_CELLS     20
#define ERASE_LINE    "\r\033[K"

struct shoal_progress {
    shoal_progress_config_t config;
    uint64_t next_ms;
    bool is_drawn; // a line stands there that has to be taken away first
    shoal_buffer_t out;
};

shoal_progress_config_t
shoal_progress_config(int fd)
{
    shoal_progress_config_t config = {.fd = fd, .width = WIDTH_DEFAULT};
    const char *term = getenv("TERM");
    bool is_dumb = !term || strcmp(term, "dumb") == 0;
    const char *no_colour = getenv("NO_COLOR");
    struct winsize size;
    config.is_terminal = isatty(fd) == 1 && !is_dumb;
    config.has_colour = config.is_terminal && !(no_colour && no_colour[0]);
    if (config.is_terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) {
        config.width = size.ws_col;
    }
    return config;
}

shoal_progress_t *
shoal_progress_new(const shoal_progress_config_t *config, uint64_t now_ms)
{
    shoal_progress_t *progress = shoal_alloc(sizeof(*progress));
    progress->config = *config;
    progress->next_ms =
        now_ms + (config->is_terminal ? SHOAL_PROGRESS_DRAW_MS : SHOAL_PROGRESS_LINE_MS);
    return progress;
}

static void
put(shoal_progress_t *progress)
{
    const char *at = progress->out.ptr;
    size_t left = progress->out.len;
    while (left > 0) {
        ssize_t done = write(progress->config.fd, at, left);
        if (done <= 0) {
            break; // nowhere to say it
        }
        at += done;
        left -= (size_t)done;
    }
    shoal_buffer_clear(&progress->out);
}

static void
erase(shoal_progress_t *progress)
{
    if (progress->is_drawn) {
        shoal_buffer_append_text(&progress->out, ERASE_LINE);
        progress->is_drawn = false;
    }
}

void
shoal_progress_destroy(shoal_progress_t **progress)
{
    if (progress && *progress) {
        erase(*progress);
        put(*progress);
        shoal_buffer_fini(&(*progress)->out);
        free(*progress);
        *progress = NULL;
    }
}

void
shoal_progress_say(shoal_progress_t *progress, const char *line)
{
    erase(progress);
    shoal_text_append_safe(&progress->out, line);
    shoal_buffer_append_byte(&progress->out, '\n');
    put(progress);
    if (progress->config.is_terminal) {
        progress->next_ms = 0; // draw the line again soon
    }
}

uint64_t
shoal_progress_next(const shoal_progress_t *progress)
{
    return progress->config.is_off ? SHOAL_TIME_NEVER : progress->next_ms;
}

void
shoal_progress_update(shoal_progress_t *progress, const shoal_report_t *report, uint64_t now_ms)
{
    if (progress->config.is_off || now_ms < progress->next_ms) {
        return;
    }
    progress->next_ms =
        now_ms + (progress->config.is_terminal ? SHOAL_PROGRESS_DRAW_MS : SHOAL_PROGRESS_LINE_MS);
    if (progress->config.is_terminal) {
        shoal_buffer_append_text(&progress->out, ERASE_LINE);
        if (report) {
            shoal_progress_format(report, progress->config.width, progress->config.has_colour,
                                  &progress->out);
        } else {
            shoal_buffer_append_text(&progress->out, "starting");
        }
        progress->is_drawn = true;
    } else if (report) {
        shoal_progress_format_plain(report, &progress->out);
        shoal_buffer_append_byte(&progress->out, '\n');
    } else {
        shoal_buffer_append_text(&progress->out, "waiting for the head\n");
    }
    put(progress);
}

static void
append_bar(const shoal_report_t *report, bool has_colour, shoal_buffer_t *out)
{
    size_t full = (size_t)(BAR_CELLS * shoal_report_progress(report) + 1e-9);
    shoal_buffer_append_text(out, has_colour ? "[\033[32m" : "[");
    for (size_t i = 0; i < BAR_CELLS; i++) {
        if (i == full) {
            shoal_buffer_append_text(out, has_colour ? "\033[2m" : "");
        }
        shoal_buffer_append_byte(out, i < full ? '#' : '.');
    }
    shoal_buffer_append_text(out, has_colour ? "\033[0m] " : "] ");
}

// "3 of 8 shards, 1,234 records, 5,678/s": the part that both forms share.
static void
append_numbers(const shoal_report_t *report, shoal_buffer_t *out)
{
    char done[SHOAL_TEXT_SIZE];
    char total[SHOAL_TEXT_SIZE];
    char records[SHOAL_TEXT_SIZE];
    char rate[SHOAL_TEXT_SIZE];
    uint64_t come = report->records.total + report->records.arriving;
    bool is_one_shard = report->shards.total == 1 && !report->is_discovering;
    shoal_buffer_append_format(
        out, "%s of %s%s shard%s, %s record%s, %s/s", shoal_text_count(report->shards.done, done),
        shoal_text_count(report->shards.total, total), report->is_discovering ? "+" : "",
        is_one_shard ? "" : "s", shoal_text_count(come, records), come == 1 ? "" : "s",
        shoal_text_count((uint64_t)(shoal_report_rate(report) + 0.5), rate));
    if (report->shards.dead > 0) {
        shoal_buffer_append_format(out, ", %llu dead", (unsigned long long)report->shards.dead);
    }
    double left = shoal_report_seconds_left(report);
    if (left > 0.0) {
        char eta[SHOAL_TEXT_SIZE];
        shoal_buffer_append_format(out, ", %s to go", shoal_text_seconds(left, eta));
    }
    if (report->wait[0]) {
        shoal_buffer_append_text(out, ", waiting: ");
        shoal_text_append_safe(out, report->wait);
    }
}

void
shoal_progress_format(const shoal_report_t *report, unsigned width, bool has_colour,
                      shoal_buffer_t *out)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    size_t bar_width = width >= 60 ? BAR_CELLS + 3 : 0; // a narrow terminal shows only numbers
    shoal_buffer_append_format(&text, "%s: ", report->stage[0] ? report->stage : "waiting");
    append_numbers(report, &text);
    size_t room = width - 1 - bar_width;
    size_t len = text.len < room ? text.len : room;
    while (len > 0 && len < text.len && ((unsigned char)text.ptr[len] & 0xc0U) == 0x80U) {
        len--;
    }
    if (bar_width > 0) {
        append_bar(report, has_colour, out);
    }
    shoal_buffer_append(out, text.ptr, len);
    shoal_buffer_fini(&text);
}

void
shoal_progress_format_plain(const shoal_report_t *report, shoal_buffer_t *out)
{
    char time[SHOAL_TEXT_SIZE];
    shoal_buffer_append_format(out, "%s: %s, ", shoal_text_seconds(report->seconds, time),
                               report->stage[0] ? report->stage : "waiting");
    append_numbers(report, out);
}
