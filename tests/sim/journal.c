// SPDX-License-Identifier: Apache-2.0
//
// journal.c - see disk.h: head/store/journal.h, head/store/vault.h and the walk through the spool, as the head
// sees them when it is started.

#include "head/store/journal.h"

#include <stdlib.h>

#include "head/store/vault.h"
#include "proto/base/alloc.h"
#include "tests/sim/disk.h"

struct shoal_journal {
    sim_disk_t *disk;
};

struct shoal_vault {
    sim_disk_t *disk;
};

// ---- writing

static void
text_set(sim_text_t *text, shoal_slice_t from)
{
    free(text->ptr);
    *text = (sim_text_t){NULL, from.len};
    if (from.len > 0) {
        text->ptr = shoal_alloc(from.len);
        memcpy(text->ptr, from.ptr, from.len);
    }
}

static shoal_slice_t
text_slice(const sim_text_t *text)
{
    return (shoal_slice_t){text->ptr, text->len};
}

static sim_row_t *
row_find(sim_disk_t *disk, uint64_t number)
{
    for (size_t i = 0; i < disk->row_count; i++) {
        if (disk->rows[i].number == number) {
            return &disk->rows[i];
        }
    }
    return NULL;
}

static sim_row_t *
row_get(sim_disk_t *disk, uint64_t number)
{
    sim_row_t *row = row_find(disk, number);
    if (!row) {
        disk->rows = shoal_realloc(disk->rows, (disk->row_count + 1) * sizeof(*disk->rows));
        row = &disk->rows[disk->row_count++];
        *row = (sim_row_t){.number = number};
    }
    return row;
}

static void
letter_set(sim_row_t *row, uint64_t number, shoal_slice_t body)
{
    for (size_t i = 0; i < row->letter_count; i++) {
        if (row->letters[i].number == number) {
            text_set(&row->letters[i].body, body);
            return;
        }
    }
    row->letters = shoal_realloc(row->letters, (row->letter_count + 1) * sizeof(*row->letters));
    row->letters[row->letter_count] = (sim_letter_row_t){.number = number};
    text_set(&row->letters[row->letter_count++].body, body);
}

static void
letters_drop(sim_row_t *row, uint64_t first, uint64_t last)
{
    size_t left = 0;
    for (size_t i = 0; i < row->letter_count; i++) {
        sim_letter_row_t *letter = &row->letters[i];
        if (letter->number >= first && letter->number <= last) {
            free(letter->body.ptr);
        } else {
            row->letters[left++] = *letter;
        }
    }
    row->letter_count = left;
}

static void
row_fini(sim_row_t *row)
{
    letters_drop(row, 0, UINT64_MAX);
    free(row->letters);
    free(row->id.ptr);
    free(row->name.ptr);
    free(row->submit.ptr);
    free(row->end.ptr);
    free(row->outputs.ptr);
    free(row->box.ptr);
    shoal_buffer_fini(&row->log);
}

void
sim_journal_note(sim_t *sim, const shoal_journal_note_t *note)
{
    uint64_t job = note->errand.job;
    if (note->kind == SHOAL_JOURNAL_NOTE_MARK) {
        return;
    }
    sim_row_t *row = row_get(sim->disk, job);
    switch (note->kind) {
    case SHOAL_JOURNAL_NOTE_SEAL: text_set(&row->box, note->bytes); break;
    case SHOAL_JOURNAL_NOTE_JOB_OPEN:
        text_set(&row->id, note->row.id);
        text_set(&row->name, note->row.name);
        text_set(&row->submit, note->row.submit);
        text_set(&row->end, SHOAL_SLICE_NONE);
        row->created_ms = note->row.created_ms;
        row->finished_ms = 0;
        break;
    case SHOAL_JOURNAL_NOTE_ENTRIES:
        if (row->end.len > 0) {
            sim_violation(sim, "entries of job %llu come after its end", (unsigned long long)job);
        }
        shoal_buffer_append_slice(&row->log, note->bytes);
        break;
    case SHOAL_JOURNAL_NOTE_JOB_END:
        row->state = note->row.state;
        row->finished_ms = note->row.finished_ms;
        text_set(&row->end, note->row.end);
        text_set(&row->outputs, note->row.outputs);
        shoal_buffer_clear(&row->log);
        break;
    case SHOAL_JOURNAL_NOTE_LETTER: letter_set(row, note->first, note->bytes); break;
    case SHOAL_JOURNAL_NOTE_LETTERS_DROP: letters_drop(row, note->first, note->last); break;
    case SHOAL_JOURNAL_NOTE_JOB_FORGET:
        if (row->submit.len > 0 && row->end.len == 0) {
            sim_violation(sim, "job %llu is forgotten before its end", (unsigned long long)job);
        }
        row_fini(row);
        *row = sim->disk->rows[--sim->disk->row_count];
        break;
    case SHOAL_JOURNAL_NOTE_MARK:
    default: break;
    }
}

void
sim_journal_end(sim_disk_t *disk)
{
    for (size_t i = 0; i < disk->row_count; i++) {
        row_fini(&disk->rows[i]);
    }
    free(disk->rows);
}

// ---- head/store/journal.h

bool
shoal_journal_open(const char *directory, shoal_journal_t **ret_journal, shoal_status_t *status)
{
    (void)directory;
    (void)status;
    shoal_journal_t *journal = shoal_alloc(sizeof(*journal));
    journal->disk = sim_disk_world()->disk;
    journal->disk->life++;
    *ret_journal = journal;
    return true;
}

void
shoal_journal_close(shoal_journal_t **journal)
{
    if (journal) {
        free(*journal);
        *journal = NULL;
    }
}

const char *
shoal_journal_head_id(const shoal_journal_t *journal)
{
    (void)journal;
    return "0123456789abcdef0123456789abcdef";
}

uint64_t
shoal_journal_life(const shoal_journal_t *journal)
{
    return journal->disk->life;
}

static bool
row_read(const sim_row_t *row, const shoal_journal_reader_t *reader, shoal_status_t *status)
{
    shoal_journal_job_t job = {.number = row->number,
                               .id = text_slice(&row->id),
                               .name = text_slice(&row->name),
                               .submit = text_slice(&row->submit),
                               .created_ms = row->created_ms,
                               .state = row->state,
                               .end = text_slice(&row->end),
                               .outputs = text_slice(&row->outputs),
                               .finished_ms = row->finished_ms};
    if (!reader->job(reader->ctx, &job, status)) {
        return false;
    }
    shoal_journal_letters_t letters = {.count = row->letter_count};
    for (size_t i = 0; i < row->letter_count; i++) {
        uint64_t number = row->letters[i].number;
        letters.bytes += row->letters[i].body.len;
        letters.last = number > letters.last ? number : letters.last;
    }
    return (letters.count == 0 || reader->letters(reader->ctx, row->number, &letters, status)) &&
           (row->log.len == 0 ||
            reader->entries(reader->ctx, row->number, shoal_buffer_slice(&row->log), status));
}

bool
shoal_journal_read(shoal_journal_t *journal, const shoal_journal_reader_t *reader,
                   shoal_status_t *status)
{
    uint64_t last = 0;
    for (size_t done = 0; done < journal->disk->row_count; done++) { // in order of their numbers
        const sim_row_t *next = NULL;
        for (size_t i = 0; i < journal->disk->row_count; i++) {
            const sim_row_t *row = &journal->disk->rows[i];
            if (row->number > last && (!next || row->number < next->number)) {
                next = row;
            }
        }
        if (!next) {
            break;
        }
        last = next->number;
        if (next->submit.len > 0 && !row_read(next, reader, status)) {
            return false;
        }
    }
    return true;
}

bool
shoal_journal_read_letters(shoal_journal_t *journal, uint64_t job, uint64_t first, uint64_t most,
                           uint64_t bytes_max, shoal_journal_letter_fn *fn, void *ctx,
                           shoal_status_t *status)
{
    (void)bytes_max;
    const sim_row_t *row = row_find(journal->disk, job);
    for (uint64_t number = first; row && most > 0; most--) {
        const sim_letter_row_t *next = NULL;
        for (size_t i = 0; i < row->letter_count; i++) {
            const sim_letter_row_t *letter = &row->letters[i];
            if (letter->number >= number && (!next || letter->number < next->number)) {
                next = letter;
            }
        }
        if (!next) {
            return true;
        }
        if (!fn(ctx, next->number, text_slice(&next->body), status)) {
            return false;
        }
        number = next->number + 1;
    }
    return true;
}

// ---- head/store/vault.h

bool
shoal_vault_open(const char *directory, shoal_vault_t **ret_vault, shoal_status_t *status)
{
    (void)directory;
    (void)status;
    shoal_vault_t *vault = shoal_alloc(sizeof(*vault));
    vault->disk = sim_disk_world()->disk;
    *ret_vault = vault;
    return true;
}

void
shoal_vault_close(shoal_vault_t **vault)
{
    if (vault) {
        free(*vault);
        *vault = NULL;
    }
}

bool
shoal_vault_get(shoal_vault_t *vault, uint64_t job, shoal_buffer_t *ret_bytes,
                shoal_status_t *status)
{
    const sim_row_t *row = row_find(vault->disk, job);
    if (!row || row->box.len == 0) {
        return shoal_fail(status, SHOAL_NOT_FOUND, "job %llu has no box", (unsigned long long)job);
    }
    shoal_buffer_append_slice(ret_bytes, text_slice(&row->box));
    return true;
}

size_t
shoal_vault_sweep(shoal_vault_t *vault, shoal_vault_keep_fn *keep, void *ctx)
{
    size_t count = 0;
    for (size_t i = 0; i < vault->disk->row_count; i++) {
        sim_row_t *row = &vault->disk->rows[i];
        if (row->box.len > 0 && !keep(ctx, row->number)) {
            text_set(&row->box, SHOAL_SLICE_NONE);
            count++;
        }
    }
    return count;
}

// ---- head/store/spool.h

bool
shoal_spool_walk(shoal_spool_t *spool, uint64_t job, shoal_spool_walk_fn *fn, void *ctx,
                 shoal_status_t *status)
{
    (void)spool;
    sim_disk_t *disk = sim_disk_world()->disk;
    for (uint64_t i = 0; i < disk->count; i++) {
        const sim_batch_t *it = &disk->batches[i];
        if (it->job != job) {
            continue;
        }
        shoal_spool_batch_t batch = {.call = it->call,
                                     .seq = it->seq,
                                     .attempt = it->attempt,
                                     .records = it->records,
                                     .place = {(uint32_t)(i >> SIM_OFFSET_BITS) + 1,
                                               (uint32_t)(i & ((1U << SIM_OFFSET_BITS) - 1)),
                                               it->len}};
        if (!fn(ctx, &batch, status)) {
            return false;
        }
    }
    return true;
}
