// SPDX-License-Identifier: Apache-2.0
//
// paper.h - a ledger's sink that keeps its notes in memory, and reads them back as a journal would.
//
// Everything is kept with its group, so a test can read what a disk would have that lost its last
// groups.

#ifndef SHOAL_TESTS_SUPPORT_PAPER_H
#define SHOAL_TESTS_SUPPORT_PAPER_H

#include "head/cluster/ledger.h"
#include "tests/support/test.h"

#define PAPER_NOTES_MAX 100000

typedef enum paper_kind {
    PAPER_SEAL,
    PAPER_OPEN,
    PAPER_ENTRIES,
    PAPER_END,
    PAPER_FORGET,
    PAPER_LETTER,
    PAPER_DROP,
} paper_kind_t;

typedef struct paper_note {
    paper_kind_t kind;
    uint64_t lsn; // 0: its group is not closed
    uint64_t job;
    uint64_t number;         // of a letter
    shoal_journal_job_t row; // its slices are owned
    shoal_buffer_t bytes;
} paper_note_t;

typedef struct paper {
    paper_note_t *notes;
    size_t count;
    size_t open;  // the first of the group that is not closed
    uint64_t lsn; // of the last group
} paper_t;

static inline shoal_slice_t
paper_copy(shoal_slice_t slice)
{
    char *copy = malloc(slice.len + 1);
    CHECK(copy);
    if (slice.len > 0) {
        memcpy(copy, slice.ptr, slice.len);
    }
    return (shoal_slice_t){copy, slice.len};
}

static inline paper_note_t *
paper_note(void *ctx, paper_kind_t kind, uint64_t job)
{
    paper_t *paper = ctx;
    CHECK(paper->count < PAPER_NOTES_MAX);
    paper_note_t *note = &paper->notes[paper->count++];
    *note = (paper_note_t){.kind = kind, .job = job};
    return note;
}

static inline void
paper_seal(void *ctx, uint64_t job, shoal_slice_t args)
{
    shoal_buffer_append_slice(&paper_note(ctx, PAPER_SEAL, job)->bytes, args);
}

static inline void
paper_row(void *ctx, paper_kind_t kind, const shoal_journal_job_t *row)
{
    shoal_journal_job_t *copy = &paper_note(ctx, kind, row->number)->row;
    *copy = *row;
    copy->id = paper_copy(row->id);
    copy->name = paper_copy(row->name);
    copy->submit = paper_copy(row->submit);
    copy->end = paper_copy(row->end);
    copy->outputs = paper_copy(row->outputs);
}

static inline void
paper_open(void *ctx, const shoal_journal_job_t *row)
{
    paper_row(ctx, PAPER_OPEN, row);
}

static inline void
paper_end(void *ctx, const shoal_journal_job_t *row)
{
    paper_row(ctx, PAPER_END, row);
}

static inline void
paper_entries(void *ctx, uint64_t job, shoal_buffer_t *entries)
{
    CHECK(entries->len > 0);
    paper_note(ctx, PAPER_ENTRIES, job)->bytes = *entries;
    *entries = (shoal_buffer_t)SHOAL_BUFFER_INIT;
}

static inline void
paper_forget(void *ctx, uint64_t job)
{
    (void)paper_note(ctx, PAPER_FORGET, job);
}

static inline void
paper_letter(void *ctx, uint64_t job, uint64_t number, shoal_slice_t body)
{
    paper_note_t *note = paper_note(ctx, PAPER_LETTER, job);
    note->number = number;
    shoal_buffer_append_slice(&note->bytes, body);
}

static inline void
paper_drop(void *ctx, uint64_t job, uint64_t number)
{
    paper_note(ctx, PAPER_DROP, job)->number = number;
}

static inline void
paper_mark(void *ctx, uint64_t lsn)
{
    paper_t *paper = ctx;
    CHECK(lsn == paper->lsn + 1 && paper->open < paper->count); // no group is empty
    paper->lsn = lsn;
    for (; paper->open < paper->count; paper->open++) {
        paper->notes[paper->open].lsn = lsn;
    }
}

static inline shoal_ledger_sink_t
paper_sink(paper_t *paper)
{
    *paper = (paper_t){.notes = calloc(PAPER_NOTES_MAX, sizeof(paper_note_t))};
    CHECK(paper->notes);
    return (shoal_ledger_sink_t){.ctx = paper,
                                 .seal = paper_seal,
                                 .open = paper_open,
                                 .entries = paper_entries,
                                 .end = paper_end,
                                 .forget = paper_forget,
                                 .letter = paper_letter,
                                 .drop_letter = paper_drop,
                                 .mark = paper_mark};
}

static inline void
paper_free(paper_t *paper)
{
    for (size_t i = 0; i < paper->count; i++) {
        const shoal_journal_job_t *row = &paper->notes[i].row;
        const shoal_slice_t owned[] = {row->id, row->name, row->submit, row->end, row->outputs};
        for (size_t j = 0; j < sizeof(owned) / sizeof(owned[0]); j++) {
            free((void *)(uintptr_t)owned[j].ptr);
        }
        shoal_buffer_fini(&paper->notes[i].bytes);
    }
    free(paper->notes);
}

#endif
