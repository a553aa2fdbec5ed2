// SPDX-License-Identifier: Apache-2.0
//
// notes.c - see notes.h.

#include "head/cluster/notes.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/private.h"

// A note with the bytes that its slices point to.
typedef struct box {
    shoal_journal_note_t note; // first: a note that comes back is its box
    shoal_buffer_t bytes;
} box_t;

static box_t *
box_new(shoal_journal_note_kind_t kind, uint64_t job)
{
    box_t *box = shoal_alloc(sizeof(*box));
    box->note.errand.kind = SHOAL_ERRAND_NOTE;
    box->note.errand.job = job;
    box->note.kind = kind;
    return box;
}

void
shoal_notes_back(void *ctx, shoal_journal_note_t *note)
{
    (void)ctx;
    box_t *box = (box_t *)note;
    if (note->kind == SHOAL_JOURNAL_NOTE_SEAL) {
        shoal_private_wipe(&box->bytes);
    }
    shoal_buffer_fini(&box->bytes);
    free(box);
}

// Appends the bytes; the slice is made when the buffer does not move any more.
static size_t
keep(box_t *box, shoal_slice_t bytes)
{
    shoal_buffer_append_slice(&box->bytes, bytes);
    return bytes.len;
}

static shoal_slice_t
kept(const box_t *box, size_t *at, size_t len)
{
    shoal_slice_t slice = {len > 0 ? box->bytes.ptr + *at : NULL, len};
    *at += len;
    return slice;
}

static void
send_row(shoal_outputs_t *outputs, shoal_journal_note_kind_t kind, const shoal_journal_job_t *row)
{
    box_t *box = box_new(kind, row->number);
    size_t id = keep(box, row->id);
    size_t name = keep(box, row->name);
    size_t submit = keep(box, row->submit);
    size_t end = keep(box, row->end);
    size_t commits = keep(box, row->outputs);
    size_t at = 0;
    shoal_journal_job_t *copy = &box->note.row;
    *copy = *row;
    copy->id = kept(box, &at, id);
    copy->name = kept(box, &at, name);
    copy->submit = kept(box, &at, submit);
    copy->end = kept(box, &at, end);
    copy->outputs = kept(box, &at, commits);
    shoal_outputs_note(outputs, &box->note);
}

static void
sink_seal(void *ctx, uint64_t job, shoal_slice_t args)
{
    box_t *box = box_new(SHOAL_JOURNAL_NOTE_SEAL, job);
    (void)shoal_buffer_reserve(&box->bytes, args.len + 1); // so that no copy is left behind
    (void)keep(box, args);
    box->note.bytes = shoal_buffer_slice(&box->bytes);
    shoal_outputs_note(ctx, &box->note);
}

static void
sink_open(void *ctx, const shoal_journal_job_t *row)
{
    send_row(ctx, SHOAL_JOURNAL_NOTE_JOB_OPEN, row);
}

static void
sink_end(void *ctx, const shoal_journal_job_t *row)
{
    send_row(ctx, SHOAL_JOURNAL_NOTE_JOB_END, row);
}

static void
sink_entries(void *ctx, uint64_t job, shoal_buffer_t *entries)
{
    box_t *box = box_new(SHOAL_JOURNAL_NOTE_ENTRIES, job);
    box->bytes = *entries;
    *entries = (shoal_buffer_t)SHOAL_BUFFER_INIT;
    box->note.bytes = shoal_buffer_slice(&box->bytes);
    shoal_outputs_note(ctx, &box->note);
}

static void
sink_forget(void *ctx, uint64_t job)
{
    shoal_outputs_note(ctx, &box_new(SHOAL_JOURNAL_NOTE_JOB_FORGET, job)->note);
}

static void
sink_letter(void *ctx, uint64_t job, uint64_t number, shoal_slice_t body)
{
    box_t *box = box_new(SHOAL_JOURNAL_NOTE_LETTER, job);
    (void)keep(box, body);
    box->note.first = number;
    box->note.bytes = shoal_buffer_slice(&box->bytes);
    shoal_outputs_note(ctx, &box->note);
}

static void
sink_drop_letter(void *ctx, uint64_t job, uint64_t number)
{
    box_t *box = box_new(SHOAL_JOURNAL_NOTE_LETTERS_DROP, job);
    box->note.first = box->note.last = number;
    shoal_outputs_note(ctx, &box->note);
}

static void
sink_mark(void *ctx, uint64_t lsn)
{
    box_t *box = box_new(SHOAL_JOURNAL_NOTE_MARK, 0);
    box->note.lsn = lsn;
    shoal_outputs_note(ctx, &box->note);
}

shoal_ledger_sink_t
shoal_notes_sink(shoal_outputs_t *outputs)
{
    return (shoal_ledger_sink_t){.ctx = outputs,
                                 .seal = sink_seal,
                                 .open = sink_open,
                                 .entries = sink_entries,
                                 .end = sink_end,
                                 .forget = sink_forget,
                                 .letter = sink_letter,
                                 .drop_letter = sink_drop_letter,
                                 .mark = sink_mark};
}
