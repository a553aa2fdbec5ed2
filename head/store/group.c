// SPDX-License-Identifier: Apache-2.0
//
// group.c - see group.h.

#include "head/store/group.h"

#include <time.h>

void
shoal_group_fini(shoal_group_t *group)
{
    shoal_buffer_fini(&group->entries);
}

// Entries of one job that follow each other, marks aside, share a row. Moves *at behind them.
static bool
write_entries(shoal_group_t *group, const shoal_errand_t **at, shoal_status_t *status)
{
    const shoal_errand_t *first = *at;
    shoal_buffer_clear(&group->entries);
    shoal_buffer_append_slice(&group->entries, shoal_note_of(first)->bytes);
    const shoal_errand_t *it = first->next;
    for (; it; it = it->next) {
        const shoal_journal_note_t *note = shoal_note_of(it);
        if (shoal_note_is_mark(it)) {
            continue;
        }
        if (it->job != first->job || note->kind != SHOAL_JOURNAL_NOTE_ENTRIES ||
            group->entries.len + note->bytes.len > SHOAL_JOURNAL_ROW_MAX) {
            break;
        }
        shoal_buffer_append_slice(&group->entries, note->bytes);
    }
    *at = it;
    return shoal_journal_entries(group->journal, first->job, shoal_buffer_slice(&group->entries),
                                 status);
}

// Writes the note and moves *at behind it, or behind all that went with it.
static bool
write_note(shoal_group_t *group, const shoal_errand_t **at, shoal_status_t *status)
{
    const shoal_journal_note_t *note = shoal_note_of(*at);
    uint64_t job = note->errand.job;
    if (note->kind == SHOAL_JOURNAL_NOTE_ENTRIES) {
        return write_entries(group, at, status);
    }
    *at = note->errand.next;
    switch (note->kind) {
    case SHOAL_JOURNAL_NOTE_JOB_OPEN:
        return shoal_journal_job_open(group->journal, &note->row, status);
    case SHOAL_JOURNAL_NOTE_JOB_END:
        return shoal_journal_job_end(group->journal, &note->row, status);
    case SHOAL_JOURNAL_NOTE_JOB_FORGET:
        return shoal_journal_job_forget(group->journal, job, status);
    case SHOAL_JOURNAL_NOTE_LETTER:
        return shoal_journal_letter(group->journal, job, note->first, note->bytes, status);
    case SHOAL_JOURNAL_NOTE_LETTERS_DROP:
        return shoal_journal_letters_drop(group->journal, job, note->first, note->last, status);
    case SHOAL_JOURNAL_NOTE_ENTRIES:
    case SHOAL_JOURNAL_NOTE_MARK:
    case SHOAL_JOURNAL_NOTE_SEAL:
    default: return true;
    }
}

static void
delay(const shoal_group_t *group)
{
    uint64_t ms = group->sync_delay_ms;
    struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
    if (ms > 0) {
        (void)nanosleep(&time, NULL);
    }
}

bool
shoal_group_sync(shoal_group_t *group, bool *ret_is_lost, shoal_status_t *status)
{
    *ret_is_lost = false;
    if (shoal_spool_unsynced(group->spool) == 0) {
        return true;
    }
    delay(group);
    if (!shoal_spool_sync(group->spool, ret_is_lost, status)) {
        return *ret_is_lost
                   ? shoal_fail_while(status, "what was written last may be lost, only a new "
                                              "start finds out")
                   : false;
    }
    shoal_crash_here(group->crash, SHOAL_CRASH_SEGMENT_SYNCED);
    return true;
}

// Secrets are in the vault before the journal knows their job; what is sealed twice is the same.
static bool
seal(shoal_group_t *group, const shoal_errands_t *notes, shoal_status_t *status)
{
    for (const shoal_errand_t *it = notes->first; it && group->vault; it = it->next) {
        const shoal_journal_note_t *note = shoal_note_of(it);
        if (note->kind == SHOAL_JOURNAL_NOTE_SEAL &&
            !shoal_vault_put(group->vault, it->job, note->bytes, status)) {
            return false;
        }
    }
    return true;
}

bool
shoal_group_commit(shoal_group_t *group, const shoal_errands_t *notes, shoal_status_t *status)
{
    shoal_journal_t *journal = group->journal;
    bool done = seal(group, notes, status) && shoal_journal_begin(journal, status);
    shoal_crash_here(group->crash, SHOAL_CRASH_COMMIT_BEGUN);
    // Before the notes: one of them may forget the job.
    done = done && shoal_spool_record(group->spool, status);
    for (const shoal_errand_t *at = notes->first; done && at;) {
        done = write_note(group, &at, status);
    }
    shoal_crash_here(group->crash, SHOAL_CRASH_COMMIT_BEFORE);
    delay(group);
    done = done && shoal_journal_commit(journal, status);
    if (!done) {
        shoal_journal_rollback(journal);
        return false;
    }
    shoal_crash_here(group->crash, SHOAL_CRASH_COMMIT_AFTER);
    shoal_spool_recorded(group->spool);
    return true;
}
