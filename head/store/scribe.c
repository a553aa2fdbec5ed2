// SPDX-License-Identifier: Apache-2.0
//
// scribe.c - see scribe.h.
//
// The loop takes the lists that wait, works them off, and reports after each group of appends, so
// that the hub can grant new bytes while the rest is being written; then it commits the notes.
//
// Of a stalled list everything but the first errand is there because of the order. A job that is
// forgotten is the exception: its note goes ahead, as that makes room, and takes what the list has of
// the same job with it.

#include "head/store/scribe.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "head/store/group.h"
#include "proto/base/alloc.h"
#include "proto/base/queue.h"
#include "proto/record/writer.h"

struct shoal_scribe {
    pthread_t thread;
    shoal_queue_t *lists;   // of shoal_errands_t, from the hub
    shoal_queue_t *reports; // of shoal_scribe_report_t, to the hub
    // The thread's own:
    shoal_spool_t *spool;
    shoal_journal_t *journal; // NULL: none
    shoal_crash_t *crash;
    shoal_group_t group;     // where groups go
    shoal_errands_t notes;   // of this group, not committed yet
    shoal_errands_t done;    // to be reported
    shoal_errands_t stalled; // appends and notes that wait for room
    uint64_t stalled_count;
    uint64_t durable_lsn;
    shoal_status_t trouble;
    bool has_changed; // the trouble or the LSN has changed since the last report
    bool has_room;    // something was removed since the stalled ones were tried
    bool is_lost;     // a sync has failed: nothing is written any more
};

void
shoal_errands_add(shoal_errands_t *errands, shoal_errand_t *errand)
{
    errand->next = NULL;
    *(errands->last ? &errands->last->next : &errands->first) = errand;
    errands->last = errand;
}

shoal_errand_t *
shoal_errands_take(shoal_errands_t *errands)
{
    shoal_errand_t *errand = errands->first;
    if (errand) {
        errands->first = errand->next;
        if (!errands->first) {
            errands->last = NULL;
        }
        errand->next = NULL;
    }
    return errand;
}

static shoal_letters_query_t *
letters_of(shoal_errand_t *errand)
{
    return (shoal_letters_query_t *)errand;
}

// ---- the thread

static void
report(shoal_scribe_t *scribe)
{
    if (!scribe->done.first && !scribe->has_changed) {
        return;
    }
    shoal_scribe_report_t *message = shoal_alloc(sizeof(*message));
    message->errands = scribe->done;
    message->spool_bytes = shoal_spool_bytes(scribe->spool);
    message->durable_lsn = scribe->durable_lsn;
    message->stalled = scribe->stalled_count;
    message->is_lost = scribe->is_lost;
    if (scribe->stalled_count > 0 || scribe->is_lost) {
        message->trouble = scribe->trouble;
    }
    shoal_crash_here(scribe->crash, SHOAL_CRASH_REPORT_BEFORE);
    if (shoal_queue_put_wait(scribe->reports, message)) {
        scribe->done = (shoal_errands_t){NULL, NULL};
        scribe->has_changed = false;
        shoal_crash_here(scribe->crash, SHOAL_CRASH_REPORT_AFTER);
    } else {
        free(message); // the hub has stopped us; stop() finds the errands where they are
    }
}

static void
stall(shoal_scribe_t *scribe, shoal_errand_t *errand)
{
    shoal_errands_add(&scribe->stalled, errand);
    if (scribe->stalled_count++ == 0) {
        scribe->has_changed = true;
    }
}

// Takes the appends at the head of `work` that belong to one job, and writes them. True: all were.
static bool
write_some(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errands[SHOAL_SPOOL_GROUP_MAX];
    shoal_spool_batch_t *batches[SHOAL_SPOOL_GROUP_MAX];
    uint64_t job = work->first->job;
    size_t count = 0;
    while (count < SHOAL_SPOOL_GROUP_MAX && work->first &&
           work->first->kind == SHOAL_ERRAND_APPEND && work->first->job == job) {
        errands[count] = shoal_errands_take(work);
        batches[count] = &errands[count]->batch;
        count++;
    }
    size_t written = 0;
    bool done = shoal_spool_append(scribe->spool, job, batches, count, &written, &scribe->trouble);
    shoal_crash_here(scribe->crash, SHOAL_CRASH_SEGMENT_WRITTEN);
    for (size_t i = 0; i < count; i++) {
        if (i < written) {
            errands[i]->is_done = true;
            shoal_errands_add(&scribe->done, errands[i]);
        } else {
            stall(scribe, errands[i]);
        }
    }
    report(scribe);
    return done;
}

static void
do_append(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    if (scribe->stalled.first || scribe->is_lost) {
        stall(scribe, shoal_errands_take(work)); // order is kept
    } else {
        (void)write_some(scribe, work);
    }
}

static void
do_read(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errand = shoal_errands_take(work);
    shoal_status_t status = SHOAL_STATUS_INIT;
    errand->is_done = shoal_spool_read(scribe->spool, errand->job, errand->batch.place,
                                       &errand->message, &status);
    if (!errand->is_done) {
        errand->failure = shoal_alloc(sizeof(*errand->failure));
        *errand->failure = status;
    }
    shoal_errands_add(&scribe->done, errand);
}

static void
do_release(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errand = shoal_errands_take(work);
    uint64_t before = shoal_spool_bytes(scribe->spool);
    shoal_spool_release(scribe->spool, errand->job, errand->batch.place);
    scribe->has_room = scribe->has_room || shoal_spool_bytes(scribe->spool) < before;
    errand->is_done = true;
    shoal_errands_add(&scribe->done, errand);
}

// Takes what is stalled of that job out of the list: it is not done, and nobody wants it any more.
static void
drop_stalled(shoal_scribe_t *scribe, uint64_t job)
{
    shoal_errands_t stalled = scribe->stalled;
    scribe->stalled = (shoal_errands_t){NULL, NULL};
    scribe->stalled_count = 0;
    for (shoal_errand_t *other; (other = shoal_errands_take(&stalled)) != NULL;) {
        bool is_mark = other->kind == SHOAL_ERRAND_NOTE &&
                       shoal_note_of(other)->kind == SHOAL_JOURNAL_NOTE_MARK;
        if (other->job == job && !is_mark) {
            shoal_errands_add(&scribe->done, other);
        } else {
            stall(scribe, other);
        }
    }
    scribe->has_changed = true;
    scribe->has_room = true;
}

static void
do_forget(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errand = shoal_errands_take(work);
    shoal_spool_forget(scribe->spool, errand->job);
    drop_stalled(scribe, errand->job);
    errand->is_done = true;
    shoal_errands_add(&scribe->done, errand);
}

static bool
add_letter(void *ctx, uint64_t number, shoal_slice_t body, shoal_status_t *status)
{
    (void)status;
    shoal_letters_query_t *letters = ctx;
    shoal_write_array(&letters->found, 2);
    shoal_write_uint(&letters->found, number);
    shoal_write_bin(&letters->found, body);
    letters->count++;
    return true;
}

static void
do_letters(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errand = shoal_errands_take(work);
    shoal_letters_query_t *letters = letters_of(errand);
    shoal_status_t status = SHOAL_STATUS_INIT;
    errand->is_done =
        !scribe->journal ||
        shoal_journal_read_letters(scribe->journal, errand->job, letters->first, letters->most,
                                   letters->bytes_max, add_letter, letters, &status);
    if (!errand->is_done) {
        errand->failure = shoal_alloc(sizeof(*errand->failure));
        *errand->failure = status;
    }
    shoal_errands_add(&scribe->done, errand);
}

// ---- notes

// Syncs what was appended; after a failure nothing is written any more.
static bool
make_last(shoal_scribe_t *scribe)
{
    bool done = shoal_group_sync(&scribe->group, &scribe->is_lost, &scribe->trouble);
    scribe->has_changed = scribe->has_changed || scribe->is_lost;
    return done;
}

static void
forget_files(shoal_scribe_t *scribe, uint64_t job)
{
    shoal_crash_here(scribe->crash, SHOAL_CRASH_FORGET_BEFORE);
    shoal_spool_forget(scribe->spool, job);
    if (scribe->group.vault) {
        shoal_vault_drop(scribe->group.vault, job);
    }
    shoal_crash_here(scribe->crash, SHOAL_CRASH_FORGET_AFTER);
    drop_stalled(scribe, job);
}

// The notes are durable.
static void
finish_notes(shoal_scribe_t *scribe, shoal_errands_t *notes)
{
    for (shoal_errand_t *errand; (errand = shoal_errands_take(notes)) != NULL;) {
        const shoal_journal_note_t *note = shoal_note_of(errand);
        if (note->kind == SHOAL_JOURNAL_NOTE_JOB_FORGET) {
            forget_files(scribe, errand->job);
        } else if (note->kind == SHOAL_JOURNAL_NOTE_MARK) {
            scribe->durable_lsn = note->lsn;
            scribe->has_changed = true;
        }
        errand->is_done = true;
        shoal_errands_add(&scribe->done, errand);
    }
}

static bool
has_work(const shoal_errands_t *notes)
{
    const shoal_errand_t *it = notes->first;
    while (it && shoal_note_of(it)->kind == SHOAL_JOURNAL_NOTE_MARK) {
        it = it->next;
    }
    return it;
}

// They come before everything that is stalled already.
static void
stall_notes(shoal_scribe_t *scribe)
{
    shoal_errands_t later = scribe->stalled;
    scribe->stalled = (shoal_errands_t){NULL, NULL};
    for (shoal_errand_t *it; (it = shoal_errands_take(&scribe->notes)) != NULL;) {
        stall(scribe, it);
    }
    if (later.first) {
        *(scribe->stalled.last ? &scribe->stalled.last->next : &scribe->stalled.first) =
            later.first;
        scribe->stalled.last = later.last;
    }
}

static bool
has_forget(const shoal_errands_t *notes)
{
    const shoal_errand_t *it = notes->first;
    while (it && shoal_note_of(it)->kind != SHOAL_JOURNAL_NOTE_JOB_FORGET) {
        it = it->next;
    }
    return it;
}

// On a full disk a job can still be forgotten, at the cost of the journal's reserve.
static bool
transact(shoal_scribe_t *scribe, const shoal_errands_t *notes)
{
    bool done = shoal_group_commit(&scribe->group, notes, &scribe->trouble);
    if (!done && scribe->trouble.code == SHOAL_LIMIT && has_forget(notes) &&
        shoal_journal_yield_reserve(scribe->journal)) {
        done = shoal_group_commit(&scribe->group, notes, &scribe->trouble);
    } else if (done && !scribe->stalled.first) {
        shoal_journal_take_reserve(scribe->journal);
    }
    return done;
}

// Takes the notes that may be committed now. What was decided in one turn ends with a mark and is
// durable as a whole or not at all: while something is stalled, what comes after the last mark waits
// for the rest of its turn.
static shoal_errands_t
take_whole_turns(shoal_scribe_t *scribe)
{
    shoal_errands_t whole = {NULL, NULL};
    const shoal_errand_t *last = scribe->notes.last;
    if (scribe->stalled.first) {
        last = NULL;
        for (const shoal_errand_t *it = scribe->notes.first; it; it = it->next) {
            last = shoal_note_is_mark(it) ? it : last;
        }
    }
    while (last && whole.last != last) {
        shoal_errands_add(&whole, shoal_errands_take(&scribe->notes));
    }
    return whole;
}

// The end of a group: what was written is made to last, then its notes.
static void
commit(shoal_scribe_t *scribe)
{
    shoal_errands_t notes = take_whole_turns(scribe);
    bool is_due = shoal_spool_unsynced(scribe->spool) >= SHOAL_SCRIBE_UNSYNCED;
    bool has_notes = has_work(&notes);
    bool done = !scribe->is_lost;
    if (done && scribe->journal && (has_notes || is_due)) {
        done = make_last(scribe) && (!has_notes || transact(scribe, &notes));
    }
    if (done) {
        finish_notes(scribe, &notes);
    } else {
        while (scribe->notes.first) { // all of them wait, in order
            shoal_errands_add(&notes, shoal_errands_take(&scribe->notes));
        }
        scribe->notes = notes;
    }
    stall_notes(scribe);
}

// A job that is forgotten makes room, so it need not wait for any. False: it must.
static bool
forget_ahead(shoal_scribe_t *scribe, shoal_errand_t *errand)
{
    shoal_errands_t alone = {NULL, NULL};
    commit(scribe); // what came before it and was not stalled
    shoal_errands_add(&alone, errand);
    if (scribe->is_lost || !make_last(scribe) || !transact(scribe, &alone)) {
        return false;
    }
    finish_notes(scribe, &alone);
    return true;
}

static void
do_note(shoal_scribe_t *scribe, shoal_errands_t *work)
{
    shoal_errand_t *errand = shoal_errands_take(work);
    bool is_stalled = scribe->stalled.first || scribe->is_lost;
    if (!is_stalled) {
        shoal_errands_add(&scribe->notes, errand);
    } else if (shoal_note_of(errand)->kind != SHOAL_JOURNAL_NOTE_JOB_FORGET ||
               !forget_ahead(scribe, errand)) {
        stall(scribe, errand);
    }
}

// Each takes at least one errand from the head of the list.
typedef void work_fn(shoal_scribe_t *scribe, shoal_errands_t *work);
static work_fn *const works[] = {
    [SHOAL_ERRAND_APPEND] = do_append,   [SHOAL_ERRAND_READ] = do_read,
    [SHOAL_ERRAND_RELEASE] = do_release, [SHOAL_ERRAND_FORGET] = do_forget,
    [SHOAL_ERRAND_NOTE] = do_note,       [SHOAL_ERRAND_LETTERS] = do_letters,
};

// Tries what is stalled again, in order, until something fails.
static void
retry_stalled(shoal_scribe_t *scribe)
{
    scribe->has_room = false;
    if (!scribe->stalled.first || scribe->is_lost) {
        return;
    }
    shoal_errands_t work = scribe->stalled;
    scribe->stalled = (shoal_errands_t){NULL, NULL};
    scribe->stalled_count = 0;
    while (work.first) {
        works[work.first->kind](scribe, &work);
    }
    commit(scribe);
    scribe->has_changed = true;
    report(scribe);
}

// Without a journal nothing is lost that would not be lost anyway.
static bool
is_over(shoal_scribe_t *scribe)
{
    return !scribe->journal && shoal_queue_is_closed(scribe->lists);
}

static void
work_off(shoal_scribe_t *scribe, shoal_errands_t *list)
{
    while (list->first && !is_over(scribe)) {
        works[list->first->kind](scribe, list);
    }
    for (shoal_errand_t *left; (left = shoal_errands_take(list)) != NULL;) {
        shoal_errands_add(&scribe->done, left);
    }
    free(list);
}

static bool
sweep(shoal_scribe_t *scribe)
{
    return scribe->journal && !scribe->stalled.first && !scribe->is_lost &&
           !shoal_queue_is_closed(scribe->lists) && shoal_journal_sweep(scribe->journal);
}

static void *
run(void *ctx)
{
    shoal_scribe_t *scribe = ctx;
    for (bool is_closed = false; !is_closed;) {
        is_closed = shoal_queue_is_closed(scribe->lists);
        shoal_errands_t *list = shoal_queue_take(scribe->lists);
        while (!list && sweep(scribe)) { // nobody waits now
            list = shoal_queue_take(scribe->lists);
        }
        if (!list) {
            uint64_t wait_ms = scribe->stalled.first ? SHOAL_SCRIBE_RETRY_MS : SHOAL_TIME_NEVER;
            list = shoal_queue_take_wait(scribe->lists, wait_ms);
        }
        bool is_due = !list;
        for (; list; list = shoal_queue_take(scribe->lists)) {
            work_off(scribe, list);
        }
        commit(scribe);
        is_due = is_due || scribe->has_room;
        report(scribe);
        if (is_due) {
            retry_stalled(scribe);
        }
    }
    return NULL;
}

// ---- the hub's side

static void
scribe_free(shoal_scribe_t *scribe)
{
    shoal_spool_close(&scribe->spool);
    shoal_group_fini(&scribe->group);
    shoal_queue_destroy(&scribe->lists);
    shoal_queue_destroy(&scribe->reports);
    free(scribe);
}

bool
shoal_scribe_start(const shoal_scribe_config_t *config, shoal_scribe_t **ret_scribe,
                   shoal_status_t *status)
{
    shoal_scribe_t *scribe = shoal_alloc(sizeof(*scribe));
    scribe->journal = config->spool.journal;
    scribe->crash = config->crash;
    bool done = shoal_spool_open(&config->spool, &scribe->spool, status) &&
                shoal_queue_new(SHOAL_SCRIBE_LISTS_MAX, NULL, &scribe->lists, status) &&
                shoal_queue_new(SHOAL_SCRIBE_LISTS_MAX, NULL, &scribe->reports, status);
    scribe->group = (shoal_group_t){.spool = scribe->spool,
                                    .journal = scribe->journal,
                                    .vault = config->vault,
                                    .crash = scribe->crash,
                                    .sync_delay_ms = config->sync_delay_ms};
    if (done) {
        int error = pthread_create(&scribe->thread, NULL, run, scribe);
        done = error == 0 || shoal_fail_errno(status, error, "could not start the scribe's thread");
    }
    if (!done) {
        scribe_free(scribe);
        return false;
    }
    *ret_scribe = scribe;
    return true;
}

shoal_spool_t *
shoal_scribe_spool(shoal_scribe_t *scribe)
{
    return scribe->spool;
}

static void
drop_all(shoal_errands_t *errands, shoal_errand_drop_fn *drop, void *ctx)
{
    for (shoal_errand_t *errand; (errand = shoal_errands_take(errands)) != NULL;) {
        assert(drop);
        drop(ctx, errand);
    }
}

void
shoal_scribe_stop(shoal_scribe_t **scribe, shoal_errand_drop_fn *drop, void *ctx)
{
    if (!scribe || !*scribe) {
        return;
    }
    shoal_scribe_t *it = *scribe;
    shoal_queue_close(it->lists);
    shoal_queue_close(it->reports);
    (void)pthread_join(it->thread, NULL);
    drop_all(&it->done, drop, ctx);
    drop_all(&it->stalled, drop, ctx);
    for (shoal_scribe_report_t *old; (old = shoal_queue_take(it->reports)) != NULL;) {
        drop_all(&old->errands, drop, ctx);
        free(old);
    }
    for (shoal_errands_t *list; (list = shoal_queue_take(it->lists)) != NULL;) {
        drop_all(list, drop, ctx);
        free(list);
    }
    scribe_free(it);
    *scribe = NULL;
}

bool
shoal_scribe_send(shoal_scribe_t *scribe, shoal_errands_t *errands)
{
    assert(errands->first);
    shoal_errands_t *list = shoal_alloc(sizeof(*list));
    *list = *errands;
    if (!shoal_queue_put(scribe->lists, list)) {
        free(list);
        return false;
    }
    *errands = (shoal_errands_t){NULL, NULL};
    return true;
}

int
shoal_scribe_fd(const shoal_scribe_t *scribe)
{
    return shoal_queue_fd(scribe->reports);
}

shoal_scribe_report_t *
shoal_scribe_take(shoal_scribe_t *scribe)
{
    return shoal_queue_take(scribe->reports);
}
