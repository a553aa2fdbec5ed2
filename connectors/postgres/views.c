// SPDX-License-Identifier: Apache-2.0
//
// views.c - see reader_parts.h: definitions of views, one by one.
//
// A view that somebody has locked, or whose definition the server cannot make, fails the query that
// asks for many. Then the range is read again this way: each view in a savepoint of its own, with
// little patience, and what fails is that view and nothing else.

#include <stdio.h>

#include "connectors/postgres/reader_parts.h"

static const char what[] = "read a view's definition";

// A failure that says something of this view only.
static bool
is_its_own(const shoal_pg_reader_t *reader)
{
    static const char *const states[] = {
        "55P03", // locked
        "XX",    // the server's own functions cannot make it
        "57014", // it takes too long
        "42",    // what it refers to is gone
        "22",    // what it says cannot be shown
    };
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (shoal_pg_link_failed_with(reader->link, states[i])) {
            return true;
        }
    }
    return false;
}

// Ends the view's savepoint, which lets its locks go and restores the patience.
static bool
roll_back(shoal_pg_reader_t *reader, shoal_status_t *status)
{
    shoal_pg_link_t *link = reader->link;
    return shoal_pg_link_send(link, what, "rollback to savepoint view", 0, NULL, status) &&
           shoal_pg_link_send(link, what, "release savepoint view", 0, NULL, status) &&
           shoal_pg_link_sync(link, status) && shoal_pg_link_skip(link, status) &&
           shoal_pg_link_skip(link, status) && shoal_pg_link_end(link, status);
}

static bool
ask(shoal_pg_reader_t *reader, const shoal_pg_table_t *view, shoal_status_t *status)
{
    shoal_pg_link_t *link = reader->link;
    char number[16];
    const char *const parameters[] = {number};
    (void)snprintf(number, sizeof(number), "%u", view->number);
    return shoal_pg_link_send(link, what, "savepoint view", 0, NULL, status) &&
           shoal_pg_link_send(link, what, "set local lock_timeout = 1000", 0, NULL, status) &&
           shoal_pg_link_send(link, what, "select $1::oid, pg_catalog.pg_get_viewdef($1::oid)", 1,
                              parameters, status) &&
           shoal_pg_link_sync(link, status) && shoal_pg_link_skip(link, status) &&
           shoal_pg_link_skip(link, status) &&
           shoal_pg_read_rows(reader, shoal_pg_take_view, status) &&
           shoal_pg_link_end(link, status);
}

static void
refuse(shoal_pg_reader_t *reader, const shoal_pg_table_t *view, const shoal_status_t *why)
{
    shoal_pg_text_t *item = shoal_pg_rows_add(&reader->refused, sizeof(*item));
    *item = (shoal_pg_text_t){view->number, 0,
                              shoal_pg_arena_copy(&reader->range_texts, shoal_slice_of(why->text))};
}

static bool
read_view(shoal_pg_reader_t *reader, const shoal_pg_table_t *view, shoal_status_t *status)
{
    reader->host->progress(reader->host->ctx);
    if (ask(reader, view, status)) {
        return roll_back(reader, status);
    }
    if (shoal_pg_link_is_broken(reader->link) || !is_its_own(reader)) {
        return false;
    }
    refuse(reader, view, status);
    shoal_status_clear(status);
    return shoal_pg_link_drain(reader->link, /*is_cancelling=*/false, status) &&
           roll_back(reader, status);
}

bool
shoal_pg_read_views_singly(shoal_pg_reader_t *reader, shoal_status_t *status)
{
    const shoal_pg_table_t *tables = reader->tables.items;
    for (size_t i = 0; i < reader->tables.count; i++) {
        bool is_view = tables[i].kind == 'v' || tables[i].kind == 'm';
        if (is_view && !read_view(reader, &tables[i], status)) {
            return false;
        }
    }
    return true;
}
