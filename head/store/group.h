// SPDX-License-Identifier: Apache-2.0
//
// group.h - a group commit: what was appended is made to last, then the notes about it, in one
// transaction.
//
// Threads: the scribe's.  Logging: none.

#ifndef SHOAL_HEAD_STORE_GROUP_H
#define SHOAL_HEAD_STORE_GROUP_H

#include "head/store/scribe.h"

// Where a group goes; embedded in the scribe.
typedef struct shoal_group {
    shoal_spool_t *spool;
    shoal_journal_t *journal; // NULL: none, and then no group is committed
    shoal_vault_t *vault;     // NULL: none
    shoal_crash_t *crash;
    uint64_t sync_delay_ms;
    shoal_buffer_t entries; // scratch: entries that share a row
} shoal_group_t;

void shoal_group_fini(shoal_group_t *group);

// Makes what was appended to the spool last.
//   as shoal_spool_sync()
SHOAL_MUST_CHECK bool shoal_group_sync(shoal_group_t *group, bool *ret_is_lost,
                                       shoal_status_t *status);

// Commits the notes, and how long the segments are, which were synced before. All or nothing: a
// failure may be tried again.
//   as shoal_journal_commit() and shoal_vault_put()
SHOAL_MUST_CHECK bool shoal_group_commit(shoal_group_t *group, const shoal_errands_t *notes,
                                         shoal_status_t *status);

static inline const shoal_journal_note_t *
shoal_note_of(const shoal_errand_t *errand) // of kind NOTE
{
    return (const shoal_journal_note_t *)errand;
}

static inline bool
shoal_note_is_mark(const shoal_errand_t *errand)
{
    return shoal_note_of(errand)->kind == SHOAL_JOURNAL_NOTE_MARK;
}

#endif
