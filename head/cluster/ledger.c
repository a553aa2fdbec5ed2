// SPDX-License-Identifier: Apache-2.0
//
// ledger.c - see ledger.h.

#include "head/cluster/ledger.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

#define WORD_BITS  64
#define NOTE_BYTES 128 // what a note costs beside its bytes

// A group that is on its way: the bytes that were handed over up to its end.
typedef struct group {
    uint64_t lsn;
    uint64_t until_bytes;
} group_t;

struct shoal_ledger {
    shoal_ledger_sink_t sink;
    bool is_on;
    bool is_dirty; // something was noted since the last group
    bool is_behind;
    uint64_t lsn; // of the last group
    uint64_t durable;
    uint64_t noted_bytes;   // ever
    uint64_t durable_bytes; // of them
    shoal_page_t *first;    // pages with entries
    shoal_page_t *last;
    group_t *groups; // on their way, oldest first, from `group_first` on
    size_t group_first;
    size_t group_end;
    size_t group_size;
};

shoal_ledger_t *
shoal_ledger_new(const shoal_ledger_sink_t *sink)
{
    shoal_ledger_t *ledger = shoal_alloc(sizeof(*ledger));
    if (sink) {
        ledger->sink = *sink;
        ledger->is_on = true;
    }
    return ledger;
}

void
shoal_ledger_destroy(shoal_ledger_t **ledger)
{
    if (ledger && *ledger) {
        assert(!(*ledger)->first);
        free((*ledger)->groups);
        free(*ledger);
        *ledger = NULL;
    }
}

bool
shoal_ledger_is_on(const shoal_ledger_t *ledger)
{
    return ledger->is_on;
}

// ---- decisions

static void
note(shoal_ledger_t *ledger, size_t bytes)
{
    ledger->is_dirty = true;
    ledger->noted_bytes += bytes + NOTE_BYTES;
}

static void
page_unlist(shoal_ledger_t *ledger, shoal_page_t *page)
{
    if (page->is_listed) {
        *(page->prev ? &page->prev->next : &ledger->first) = page->next;
        *(page->next ? &page->next->prev : &ledger->last) = page->prev;
        page->next = page->prev = NULL;
        page->is_listed = false;
    }
}

static void
page_list(shoal_ledger_t *ledger, shoal_page_t *page)
{
    if (!page->is_listed) {
        page->prev = ledger->last;
        page->next = NULL;
        *(ledger->last ? &ledger->last->next : &ledger->first) = page;
        ledger->last = page;
        page->is_listed = true;
    }
}

void
shoal_ledger_open(shoal_ledger_t *ledger, shoal_page_t *page, const shoal_journal_job_t *row,
                  shoal_slice_t args)
{
    assert(page->job == row->number);
    if (ledger->is_on) {
        ledger->sink.seal(ledger->sink.ctx, row->number, args);
        ledger->sink.open(ledger->sink.ctx, row);
        note(ledger, args.len + row->submit.len);
    }
}

void
shoal_ledger_add(shoal_ledger_t *ledger, shoal_page_t *page, const shoal_entry_t *entry)
{
    if (!ledger->is_on) {
        return;
    }
    shoal_entry_write(&page->entries, entry);
    ledger->is_dirty = true;
    page_list(ledger, page);
}

// Whether the log of the page's job knows the worker with that number; it does from now on.
static bool
tell(shoal_page_t *page, uint32_t number)
{
    uint64_t word = number / WORD_BITS;
    if (word >= page->told_words) {
        uint64_t words = page->told_words ? page->told_words : 1;
        while (words <= word) {
            words *= 2;
        }
        page->told = shoal_realloc(page->told, words * sizeof(*page->told));
        memset(&page->told[page->told_words], 0, (words - page->told_words) * sizeof(*page->told));
        page->told_words = words;
    }
    uint64_t bit = UINT64_C(1) << (number % WORD_BITS);
    bool is_told = (page->told[word] & bit) != 0;
    page->told[word] |= bit;
    return is_told;
}

void
shoal_ledger_start(shoal_ledger_t *ledger, shoal_page_t *page, uint32_t shard, uint32_t attempt,
                   const shoal_ledger_worker_t *worker)
{
    if (!ledger->is_on) {
        return;
    }
    if (!tell(page, worker->number)) {
        shoal_entry_t who = {.kind = SHOAL_ENTRY_WORKER,
                             .worker = worker->number,
                             .id = shoal_slice_of(worker->id),
                             .incarnation = worker->incarnation,
                             .name = shoal_slice_of(worker->name),
                             .bytes = worker->key};
        shoal_ledger_add(ledger, page, &who);
    }
    shoal_entry_t entry = {
        .kind = SHOAL_ENTRY_START, .shard = shard, .attempt = attempt, .worker = worker->number};
    shoal_ledger_add(ledger, page, &entry);
}

void
shoal_ledger_close(shoal_ledger_t *ledger, shoal_page_t *page)
{
    page_unlist(ledger, page);
    shoal_buffer_fini(&page->entries);
    free(page->told);
    page->told = NULL;
    page->told_words = 0;
}

void
shoal_ledger_end(shoal_ledger_t *ledger, shoal_page_t *page, const shoal_journal_job_t *row)
{
    shoal_ledger_close(ledger, page);
    if (ledger->is_on) {
        ledger->sink.end(ledger->sink.ctx, row);
        note(ledger, row->end.len + row->outputs.len);
    }
}

void
shoal_ledger_forget(shoal_ledger_t *ledger, shoal_page_t *page)
{
    shoal_ledger_close(ledger, page);
    if (ledger->is_on) {
        ledger->sink.forget(ledger->sink.ctx, page->job);
        note(ledger, 0);
    }
}

void
shoal_ledger_letter(shoal_ledger_t *ledger, uint64_t job, uint64_t number, shoal_slice_t body)
{
    if (ledger->is_on) {
        ledger->sink.letter(ledger->sink.ctx, job, number, body);
        note(ledger, body.len);
    }
}

void
shoal_ledger_drop_letter(shoal_ledger_t *ledger, uint64_t job, uint64_t number)
{
    if (ledger->is_on) {
        ledger->sink.drop_letter(ledger->sink.ctx, job, number);
        note(ledger, 0);
    }
}

// ---- groups

static void
group_add(shoal_ledger_t *ledger)
{
    if (ledger->group_end == ledger->group_size) {
        size_t count = ledger->group_end - ledger->group_first;
        if (ledger->group_first > 0) {
            memmove(ledger->groups, &ledger->groups[ledger->group_first],
                    count * sizeof(*ledger->groups));
        }
        if (count * 2 >= ledger->group_size) { // the moves stay rare
            ledger->group_size = ledger->group_size ? ledger->group_size * 2 : 64;
            ledger->groups =
                shoal_realloc(ledger->groups, ledger->group_size * sizeof(*ledger->groups));
        }
        ledger->group_first = 0;
        ledger->group_end = count;
    }
    ledger->groups[ledger->group_end++] = (group_t){ledger->lsn, ledger->noted_bytes};
}

static void
behind_update(shoal_ledger_t *ledger)
{
    uint64_t bytes = shoal_ledger_bytes(ledger);
    ledger->is_behind =
        bytes > (ledger->is_behind ? SHOAL_LEDGER_BEHIND_BYTES / 2 : SHOAL_LEDGER_BEHIND_BYTES);
}

void
shoal_ledger_flush(shoal_ledger_t *ledger)
{
    if (!ledger->is_dirty) {
        return;
    }
    while (ledger->first) {
        shoal_page_t *page = ledger->first;
        page_unlist(ledger, page);
        note(ledger, page->entries.len);
        ledger->sink.entries(ledger->sink.ctx, page->job, &page->entries);
        assert(page->entries.len == 0);
    }
    ledger->is_dirty = false;
    ledger->lsn++;
    group_add(ledger);
    behind_update(ledger);
    ledger->sink.mark(ledger->sink.ctx, ledger->lsn);
}

uint64_t
shoal_ledger_lsn(const shoal_ledger_t *ledger)
{
    return ledger->lsn + (ledger->is_dirty ? 1 : 0);
}

uint64_t
shoal_ledger_durable(const shoal_ledger_t *ledger)
{
    return ledger->durable;
}

bool
shoal_ledger_pass(shoal_ledger_t *ledger, uint64_t lsn)
{
    assert(lsn <= ledger->lsn);
    if (lsn <= ledger->durable) {
        return false;
    }
    ledger->durable = lsn;
    while (ledger->group_first < ledger->group_end &&
           ledger->groups[ledger->group_first].lsn <= lsn) {
        ledger->durable_bytes = ledger->groups[ledger->group_first++].until_bytes;
    }
    behind_update(ledger);
    return true;
}

bool
shoal_ledger_is_behind(const shoal_ledger_t *ledger)
{
    return ledger->is_behind;
}

uint64_t
shoal_ledger_bytes(const shoal_ledger_t *ledger)
{
    return ledger->noted_bytes - ledger->durable_bytes;
}
