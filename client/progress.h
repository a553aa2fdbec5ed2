// SPDX-License-Identifier: Apache-2.0
//
// progress.h - what a person sees while a job runs.
//
// On a terminal one line that is drawn again ten times a second; otherwise a plain line every five
// seconds, the first one after five. Other lines (log lines of children, news) go above it.
//
// Threads: one owner.  Logging: this is where it is shown.

#ifndef SHOAL_CLIENT_PROGRESS_H
#define SHOAL_CLIENT_PROGRESS_H

#include "client/report.h"
#include "proto/base/buffer.h"

#define SHOAL_PROGRESS_DRAW_MS 100
#define SHOAL_PROGRESS_LINE_MS 5000

typedef struct shoal_progress shoal_progress_t;

typedef struct shoal_progress_config {
    int fd;           // borrowed
    bool is_terminal; // one line, drawn again
    bool has_colour;
    bool is_off;    // no progress; lines of say() still come
    unsigned width; // columns of the terminal
} shoal_progress_config_t;

// What suits the descriptor: a terminal or not, its width, colours unless NO_COLOR or TERM=dumb.
shoal_progress_config_t shoal_progress_config(int fd);

shoal_progress_t *shoal_progress_new(const shoal_progress_config_t *config, uint64_t now_ms);
void shoal_progress_destroy(shoal_progress_t **progress); // takes the line away

// Shows how far the job is, if it is time to. `report` NULL: it has not started.
void shoal_progress_update(shoal_progress_t *progress, const shoal_report_t *report,
                           uint64_t now_ms);
uint64_t shoal_progress_next(const shoal_progress_t *progress); // when update has something to do

// A line of its own. Control characters are made harmless.
void shoal_progress_say(shoal_progress_t *progress, const char *line);

// The line for a terminal, cut to `width` columns, and the one for a log.
void shoal_progress_format(const shoal_report_t *report, unsigned width, bool has_colour,
                           shoal_buffer_t *out);
void shoal_progress_format_plain(const shoal_report_t *report, shoal_buffer_t *out);

#endif
