// SPDX-License-Identifier: Apache-2.0
//
// output.c - see output.h.
//
// A pack is the list of an attempt's batches; it belongs to the draft first and to the commit then,
// so a commit moves one pointer. A batch costs 24 bytes for as long as its job is kept. While its
// payload is in memory an item holds it: on its way to the disk, kept because a subscriber will want
// it, or read back for one. The scribe borrows the payload of an item that is under way; if the batch
// is no longer wanted meanwhile, the item goes on alone (its pack is NULL) and is freed when it
// comes back.

#include "head/output.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "head/scribe.h"
#include "proto/base/alloc.h"

#define SMALL_BYTES       4096      // copied: libzmq keeps small ones in a shared buffer of 8 KiB
#define RESERVE_BYTES_MAX 268435456 // of the spool's limit, kept back for one attempt
#define RESERVE_SHARE     4         // and at most a quarter of it
#define OVERDRAW_MAX      16777216  // beyond the limit: batches that overdraw their credit
#define OVERDRAW_SHARE    8         // and at most an eighth of it

// Doubly linked lists whose links stand in the structure.
#define LIST_ADD(list, it, next_, prev_)                                                           \
    do {                                                                                           \
        (it)->next_ = NULL;                                                                        \
        (it)->prev_ = (list)->last;                                                                \
        *((list)->last ? &(list)->last->next_ : &(list)->first) = (it);                            \
        (list)->last = (it);                                                                       \
    } while (0)
#define LIST_REMOVE(list, it, next_, prev_)                                                        \
    do {                                                                                           \
        *((it)->prev_ ? &(it)->prev_->next_ : &(list)->first) = (it)->next_;                       \
        *((it)->next_ ? &(it)->next_->prev_ : &(list)->last) = (it)->prev_;                        \
        (it)->next_ = NULL;                                                                        \
        (it)->prev_ = NULL;                                                                        \
    } while (0)

typedef struct pack pack_t;
typedef struct item item_t;

struct item {
    shoal_errand_t errand; // first: an errand that comes back is its item
    pack_t *pack;          // NULL: nobody wants it any more
    uint32_t index;        // of its batch in the pack
    bool is_under_way;     // the scribe has the errand
    bool is_here;          // `payload` holds the batch
    bool is_read_back;
    zmq_msg_t payload;
};

typedef struct batch {
    uint32_t segment; // 0: not written yet
    uint32_t offset;
    uint32_t length;
    uint32_t records;
    item_t *item; // NULL: on the disk only
} batch_t;

struct pack {
    shoal_output_t *output;
    uint64_t commit; // 0: a draft's
    shoal_draft_t *draft;
    uint64_t bytes;
    batch_t *batches;
    uint32_t count;
    uint32_t size;
};

struct shoal_draft {
    shoal_output_t *output;
    void *owner;
    uint64_t call;
    uint32_t attempt;
    pack_t *pack; // NULL: no batch yet, or the job does not collect
    uint64_t batches;
    uint64_t records;
    int64_t credit;    // bytes it may still send
    uint64_t withheld; // bytes that were written and not granted again yet
    bool is_waiting;   // in the list of those that have bytes withheld
    shoal_draft_t *next;
    shoal_draft_t *prev;
};

typedef struct drafts {
    shoal_draft_t *first;
    shoal_draft_t *last;
} drafts_t;

typedef enum place {
    PLACE_IDLE,  // nothing to send now
    PLACE_READY, // perhaps something
    PLACE_FULL,  // the peer took no more
} place_t;

struct shoal_subscription {
    shoal_output_t *output;
    void *peer;
    uint64_t commit; // the next one to send
    uint32_t index;  // the next piece of it
    size_t entry;    // its index in the output's entries, or where it would be
    int64_t credit;
    bool is_over; // failed, gone, or the end was told
    place_t place;
    shoal_subscription_t *next; // of the same output
    shoal_subscription_t *prev;
    shoal_subscription_t *next_in_place;
    shoal_subscription_t *prev_in_place;
};

typedef struct subscriptions {
    shoal_subscription_t *first;
    shoal_subscription_t *last;
} subscriptions_t;

struct shoal_output {
    shoal_outputs_t *outputs;
    uint64_t job;
    bool collects;
    bool is_finished;
    bool is_refused; // a draft found no room
    uint64_t commits;
    uint64_t bytes;
    uint64_t unwritten; // batches
    size_t draft_count;
    size_t waiting_count;
    pack_t **entries; // the commits that have batches, by number
    size_t entry_count;
    size_t entry_size;
    subscriptions_t subscriptions;
};

struct shoal_outputs {
    shoal_scribe_t *scribe;
    shoal_output_hooks_t hooks;
    uint64_t memory_limit;
    uint64_t spool_limit;
    uint64_t reserve;
    uint64_t memory_bytes; // of payloads in items
    uint64_t spool_bytes;  // as the scribe said last
    uint64_t unwritten;
    uint64_t unwritten_bytes; // with headers
    uint64_t outstanding;     // credit of all drafts
    bool is_stalled;
    size_t draft_count;
    shoal_draft_t *elder; // may use the reserve
    drafts_t waiting;
    subscriptions_t ready;
    subscriptions_t full;
    shoal_errands_t todo; // for the scribe
};

// ---- items: payloads in memory

static void
item_free(shoal_outputs_t *outputs, item_t *item)
{
    if (item->is_here) {
        outputs->memory_bytes -= zmq_msg_size(&item->payload);
        (void)zmq_msg_close(&item->payload);
    }
    if (item->pack) {
        item->pack->batches[item->index].item = NULL;
    }
    free(item->errand.failure);
    free(item);
}

static item_t *
item_new(pack_t *pack, uint32_t index, shoal_errand_kind_t kind)
{
    item_t *item = shoal_alloc(sizeof(*item));
    item->pack = pack;
    item->index = index;
    item->errand.kind = kind;
    item->errand.job = pack->output->job;
    pack->batches[index].item = item;
    return item;
}

static void
item_send(shoal_outputs_t *outputs, item_t *item)
{
    item->is_under_way = true;
    shoal_errands_add(&outputs->todo, &item->errand);
}

// Tells the scribe that a batch on the disk is no longer wanted.
static void
release_place(shoal_outputs_t *outputs, uint64_t job, shoal_spool_place_t place)
{
    item_t *item = shoal_alloc(sizeof(*item));
    item->errand.kind = SHOAL_ERRAND_RELEASE;
    item->errand.job = job;
    item->errand.batch.place = place;
    item_send(outputs, item);
}

static shoal_spool_place_t
place_of(const batch_t *batch)
{
    return (shoal_spool_place_t){batch->segment, batch->offset, batch->length};
}

static bool
is_wanted_by(const shoal_subscription_t *subscription, uint64_t commit, uint32_t index)
{
    return !subscription->is_over &&
           (subscription->commit < commit ||
            (subscription->commit == commit && subscription->index <= index));
}

static bool
is_wanted(const shoal_output_t *output, uint64_t commit, uint32_t index)
{
    for (const shoal_subscription_t *it = output->subscriptions.first; it; it = it->next) {
        if (is_wanted_by(it, commit, index)) {
            return true;
        }
    }
    return false;
}

// ---- subscriptions and where they stand

static subscriptions_t *
list_of(shoal_outputs_t *outputs, place_t place)
{
    return place == PLACE_READY ? &outputs->ready : &outputs->full;
}

static void
move_to(shoal_subscription_t *subscription, place_t place)
{
    shoal_outputs_t *outputs = subscription->output->outputs;
    if (subscription->place == place) {
        return;
    }
    if (subscription->place != PLACE_IDLE) {
        subscriptions_t *old = list_of(outputs, subscription->place);
        LIST_REMOVE(old, subscription, next_in_place, prev_in_place);
    }
    subscription->place = place;
    if (place != PLACE_IDLE) {
        subscriptions_t *list = list_of(outputs, place);
        LIST_ADD(list, subscription, next_in_place, prev_in_place);
    }
}

// Something may have come that the idle ones wait for.
static void
wake_subscribers(shoal_output_t *output)
{
    for (shoal_subscription_t *it = output->subscriptions.first; it; it = it->next) {
        if (it->place == PLACE_IDLE && !it->is_over) {
            move_to(it, PLACE_READY);
        }
    }
}

// ---- packs

static pack_t *
pack_new(shoal_draft_t *draft)
{
    pack_t *pack = shoal_alloc(sizeof(*pack));
    pack->output = draft->output;
    pack->draft = draft;
    return pack;
}

// `is_forgotten`: the job's files go as a whole, so places need not be released one by one.
static void
pack_free(shoal_outputs_t *outputs, pack_t *pack, bool is_forgotten)
{
    uint64_t job = pack->output->job;
    for (uint32_t i = 0; i < pack->count; i++) {
        batch_t *batch = &pack->batches[i];
        if (batch->segment > 0 && !is_forgotten) {
            release_place(outputs, job, place_of(batch));
        }
        if (!batch->item) {
            continue;
        }
        if (batch->item->is_under_way) {
            batch->item->pack = NULL;
        } else {
            item_free(outputs, batch->item);
        }
    }
    free(pack->batches);
    free(pack);
}

// ---- room on the disk

static uint64_t
room_below(const shoal_outputs_t *outputs, uint64_t ceiling)
{
    uint64_t used = outputs->spool_bytes + outputs->unwritten_bytes + outputs->outstanding;
    return used < ceiling ? ceiling - used : 0;
}

static uint64_t
room(const shoal_outputs_t *outputs, bool with_reserve)
{
    uint64_t limit = outputs->spool_limit;
    return room_below(outputs, with_reserve ? limit : limit - outputs->reserve);
}

// The only writer of a draft's credit, so that the sum stays right.
static void
set_credit(shoal_draft_t *draft, int64_t credit)
{
    if (draft->output->collects) {
        shoal_outputs_t *outputs = draft->output->outputs;
        outputs->outstanding -= draft->credit > 0 ? (uint64_t)draft->credit : 0;
        outputs->outstanding += credit > 0 ? (uint64_t)credit : 0;
    }
    draft->credit = credit;
}

static void
stop_waiting(shoal_draft_t *draft)
{
    if (draft->is_waiting) {
        LIST_REMOVE(&draft->output->outputs->waiting, draft, next, prev);
        draft->is_waiting = false;
        draft->output->waiting_count--;
    }
}

// The bytes may be sent again as soon as there is room for them.
static void
withhold(shoal_draft_t *draft, uint64_t bytes)
{
    draft->withheld += bytes;
    if (!draft->is_waiting && bytes > 0) {
        LIST_ADD(&draft->output->outputs->waiting, draft, next, prev);
        draft->is_waiting = true;
        draft->output->waiting_count++;
    }
}

static uint64_t
grantable(shoal_outputs_t *outputs, shoal_draft_t *draft)
{
    if (!draft->output->collects) {
        return UINT32_MAX;
    }
    uint64_t bytes = room(outputs, draft == outputs->elder);
    if (bytes == 0 && !outputs->elder) {
        outputs->elder = draft;
        bytes = room(outputs, true);
    }
    return bytes < UINT32_MAX ? bytes : UINT32_MAX;
}

static void
grant_waiting(shoal_outputs_t *outputs)
{
    for (shoal_draft_t *draft = outputs->waiting.first, *next; draft; draft = next) {
        next = draft->next;
        if (outputs->is_stalled && draft->output->collects) {
            continue;
        }
        uint64_t bytes = grantable(outputs, draft);
        bytes = bytes < draft->withheld ? bytes : draft->withheld;
        if (bytes == 0) {
            continue;
        }
        draft->withheld -= bytes;
        set_credit(draft, draft->credit + (int64_t)bytes);
        outputs->hooks.grant(outputs->hooks.ctx, draft->owner, (uint32_t)bytes);
        if (draft->withheld == 0) {
            stop_waiting(draft);
        }
    }
}

// ---- what comes back from the scribe

static void
append_is_back(shoal_outputs_t *outputs, item_t *item)
{
    const shoal_spool_batch_t *batch = &item->errand.batch;
    outputs->unwritten--;
    outputs->unwritten_bytes -= batch->payload.len + SHOAL_SPOOL_HEADER_BYTES;
    item->is_under_way = false;
    pack_t *pack = item->pack;
    if (!pack) {
        if (item->errand.is_done) {
            release_place(outputs, item->errand.job, batch->place);
        }
        item_free(outputs, item);
        return;
    }
    assert(item->errand.is_done); // only a forgotten job's appends come back undone
    pack->output->unwritten--;
    batch_t *entry = &pack->batches[item->index];
    entry->segment = batch->place.segment;
    entry->offset = batch->place.offset;
    if (pack->draft) {
        withhold(pack->draft, entry->length);
    }
    bool is_delivered = pack->commit > 0 && pack->output->subscriptions.first &&
                        !is_wanted(pack->output, pack->commit, item->index);
    if (is_delivered || outputs->memory_bytes > outputs->memory_limit) {
        item_free(outputs, item);
    }
}

static void
fail_readers(pack_t *pack, uint32_t index, const shoal_status_t *why)
{
    const shoal_output_hooks_t *hooks = &pack->output->outputs->hooks;
    for (shoal_subscription_t *it = pack->output->subscriptions.first; it; it = it->next) {
        if (!it->is_over && it->commit == pack->commit && it->index == index) {
            it->is_over = true;
            move_to(it, PLACE_IDLE);
            hooks->failed(hooks->ctx, it->peer, pack->output->job, why);
        }
    }
}

static void
read_is_back(shoal_outputs_t *outputs, item_t *item)
{
    pack_t *pack = item->pack;
    item->is_under_way = false;
    if (item->errand.is_done) {
        item->payload = item->errand.message;
        item->is_here = true;
        outputs->memory_bytes += zmq_msg_size(&item->payload);
    } else if (pack) {
        fail_readers(pack, item->index, item->errand.failure);
    }
    if (!pack || !item->is_here || !is_wanted(pack->output, pack->commit, item->index)) {
        item_free(outputs, item);
        return;
    }
    wake_subscribers(pack->output);
}

static void
errand_is_back(shoal_outputs_t *outputs, shoal_errand_t *errand)
{
    item_t *item = (item_t *)errand;
    switch (errand->kind) {
    case SHOAL_ERRAND_APPEND: append_is_back(outputs, item); break;
    case SHOAL_ERRAND_READ: read_is_back(outputs, item); break;
    case SHOAL_ERRAND_RELEASE:
    case SHOAL_ERRAND_FORGET: item_free(outputs, item); break;
    }
}

static void
take_report(shoal_outputs_t *outputs, shoal_scribe_report_t *report)
{
    outputs->spool_bytes = report->spool_bytes;
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&report->errands)) != NULL;) {
        errand_is_back(outputs, errand);
    }
    bool is_stalled = report->stalled > 0;
    if (is_stalled != outputs->is_stalled) {
        outputs->is_stalled = is_stalled;
        outputs->hooks.disk(outputs->hooks.ctx, is_stalled ? &report->trouble : NULL);
    }
}

// ---- sending pieces

// The pack of the subscription's next commit; NULL: that one has no batches.
static pack_t *
next_pack(shoal_subscription_t *subscription)
{
    const shoal_output_t *output = subscription->output;
    size_t at = subscription->entry;
    while (at < output->entry_count && output->entries[at]->commit < subscription->commit) {
        at++; // it subscribed from a number that was yet to come
    }
    subscription->entry = at;
    return at < output->entry_count && output->entries[at]->commit == subscription->commit
               ? output->entries[at]
               : NULL;
}

static void
next_commit(shoal_subscription_t *subscription, bool had_batches)
{
    subscription->commit++;
    subscription->index = 0;
    subscription->entry += had_batches ? 1 : 0;
}

// Asks the scribe for what the subscription needs next and is on the disk only.
static void
read_ahead(shoal_subscription_t *subscription)
{
    shoal_output_t *output = subscription->output;
    size_t entry = subscription->entry;
    uint32_t index = subscription->index;
    for (unsigned i = 0; i < SHOAL_OUTPUT_AHEAD_MAX && entry < output->entry_count; i++) {
        pack_t *pack = output->entries[entry];
        batch_t *batch = &pack->batches[index];
        if (!batch->item) {
            assert(batch->segment > 0);
            item_t *item = item_new(pack, index, SHOAL_ERRAND_READ);
            item->is_read_back = true;
            item->errand.batch.place = place_of(batch);
            item_send(output->outputs, item);
        }
        if (++index == pack->count) {
            entry++;
            index = 0;
        }
    }
}

// Frees what was read ahead for a subscription that goes.
static void
drop_ahead(shoal_subscription_t *subscription)
{
    shoal_output_t *output = subscription->output;
    size_t entry = subscription->entry;
    uint32_t index = subscription->index;
    for (unsigned i = 0; i < SHOAL_OUTPUT_AHEAD_MAX && entry < output->entry_count; i++) {
        pack_t *pack = output->entries[entry];
        item_t *item = pack->batches[index].item;
        if (item && item->is_read_back && item->is_here &&
            !is_wanted(output, pack->commit, index)) {
            item_free(output->outputs, item);
        }
        if (++index == pack->count) {
            entry++;
            index = 0;
        }
    }
}

static shoal_sent_t
send_piece(shoal_subscription_t *subscription, const shoal_piece_t *piece, item_t *item)
{
    const shoal_output_hooks_t *hooks = &subscription->output->outputs->hooks;
    zmq_msg_t payload;
    (void)zmq_msg_init(&payload);
    if (item) {
        (void)zmq_msg_copy(&payload, &item->payload); // shares the content
    }
    shoal_sent_t sent = hooks->piece(hooks->ctx, subscription->peer, piece, &payload);
    (void)zmq_msg_close(&payload);
    return sent;
}

// The next piece has gone.
static void
advance(shoal_subscription_t *subscription, pack_t *pack)
{
    if (!pack) {
        next_commit(subscription, false);
        return;
    }
    uint32_t index = subscription->index++;
    batch_t *batch = &pack->batches[index];
    subscription->credit -= batch->length;
    if (subscription->index == pack->count) {
        next_commit(subscription, true);
    }
    if (!batch->item->is_under_way && !is_wanted(pack->output, pack->commit, index)) {
        item_free(pack->output->outputs, batch->item);
    }
}

// Sends one piece, or the end. SHOAL_SENT: go on; *ret_is_idle: there is nothing to send now.
static shoal_sent_t
send_next(shoal_subscription_t *subscription, bool *ret_is_idle)
{
    shoal_output_t *output = subscription->output;
    const shoal_output_hooks_t *hooks = &output->outputs->hooks;
    *ret_is_idle = false;
    if (subscription->commit > output->commits) {
        *ret_is_idle = true;
        if (!output->is_finished) {
            return SHOAL_SENT;
        }
        shoal_sent_t sent =
            hooks->end(hooks->ctx, subscription->peer, output->job, output->commits);
        subscription->is_over = sent == SHOAL_SENT;
        return sent;
    }
    pack_t *pack = next_pack(subscription);
    batch_t *batch = pack ? &pack->batches[subscription->index] : NULL;
    if (subscription->credit <= 0 || (batch && (!batch->item || !batch->item->is_here))) {
        *ret_is_idle = true;
        if (subscription->credit > 0) {
            read_ahead(subscription);
        }
        return SHOAL_SENT;
    }
    shoal_piece_t piece = {
        .job = output->job,
        .commit = subscription->commit,
        .index = subscription->index,
        .records = batch ? batch->records : 0,
        .is_last = !pack || subscription->index + 1 == pack->count,
    };
    shoal_sent_t sent = send_piece(subscription, &piece, batch ? batch->item : NULL);
    if (sent == SHOAL_SENT) {
        advance(subscription, pack);
    }
    return sent;
}

static void
pump(shoal_subscription_t *subscription)
{
    for (unsigned i = 0; i < SHOAL_OUTPUT_PUMP_MAX; i++) {
        bool is_idle = false;
        switch (send_next(subscription, &is_idle)) {
        case SHOAL_SENT: break;
        case SHOAL_SENT_FULL: move_to(subscription, PLACE_FULL); return;
        case SHOAL_SENT_GONE:
        case SHOAL_SENT_BROKEN:
            subscription->is_over = true;
            is_idle = true;
            break;
        }
        if (is_idle) {
            move_to(subscription, PLACE_IDLE);
            return;
        }
    }
    // Its turn is over: behind the others.
    move_to(subscription, PLACE_IDLE);
    move_to(subscription, PLACE_READY);
}

static void
pump_ready(shoal_outputs_t *outputs)
{
    for (shoal_subscription_t *it = outputs->full.first; it; it = outputs->full.first) {
        move_to(it, PLACE_READY);
    }
    // Those that are still ready at their turn's end come again in the next run.
    shoal_subscription_t *last = outputs->ready.last;
    for (shoal_subscription_t *it = outputs->ready.first; it; it = outputs->ready.first) {
        pump(it);
        if (it == last) {
            break;
        }
    }
}

// ---- all outputs

bool
shoal_outputs_new(const shoal_outputs_config_t *config, shoal_outputs_t **ret_outputs,
                  shoal_status_t *status)
{
    assert(config && ret_outputs && status);
    const shoal_output_hooks_t *hooks = &config->hooks;
    assert(hooks->grant && hooks->piece && hooks->end && hooks->failed && hooks->disk);
    shoal_outputs_t *outputs = shoal_alloc(sizeof(*outputs));
    outputs->hooks = config->hooks;
    outputs->memory_limit = config->memory_bytes ? config->memory_bytes : SHOAL_OUTPUT_MEMORY_BYTES;
    outputs->spool_limit = config->spool_bytes ? config->spool_bytes : SHOAL_OUTPUT_SPOOL_BYTES;
    outputs->reserve = outputs->spool_limit / RESERVE_SHARE;
    if (outputs->reserve > RESERVE_BYTES_MAX) {
        outputs->reserve = RESERVE_BYTES_MAX;
    }
    uint64_t overdraw = outputs->spool_limit / OVERDRAW_SHARE;
    shoal_spool_config_t spool = {
        .directory = config->directory,
        .limit_bytes = outputs->spool_limit + (overdraw < OVERDRAW_MAX ? overdraw : OVERDRAW_MAX),
    };
    if (!shoal_scribe_start(&spool, &outputs->scribe, status)) {
        free(outputs);
        return false;
    }
    *ret_outputs = outputs;
    return true;
}

static void
drop_errand(void *ctx, shoal_errand_t *errand)
{
    item_t *item = (item_t *)errand;
    assert(!item->pack); // its output was destroyed
    if (errand->kind == SHOAL_ERRAND_READ && errand->is_done) {
        (void)zmq_msg_close(&errand->message);
    }
    item_free(ctx, item);
}

void
shoal_outputs_destroy(shoal_outputs_t **outputs)
{
    if (!outputs || !*outputs) {
        return;
    }
    shoal_outputs_t *it = *outputs;
    shoal_scribe_stop(&it->scribe, drop_errand, it);
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&it->todo)) != NULL;) {
        drop_errand(it, errand);
    }
    free(it);
    *outputs = NULL;
}

int
shoal_outputs_fd(const shoal_outputs_t *outputs)
{
    return shoal_scribe_fd(outputs->scribe);
}

uint64_t
shoal_outputs_run(shoal_outputs_t *outputs, uint64_t now_ms)
{
    for (shoal_scribe_report_t *report; (report = shoal_scribe_take(outputs->scribe)) != NULL;) {
        take_report(outputs, report);
        free(report);
    }
    grant_waiting(outputs);
    pump_ready(outputs);
    bool is_handed_over =
        !outputs->todo.first || shoal_scribe_send(outputs->scribe, &outputs->todo);
    if (outputs->ready.first) {
        return now_ms;
    }
    return outputs->full.first || !is_handed_over ? now_ms + SHOAL_OUTPUT_AGAIN_MS
                                                  : SHOAL_TIME_NEVER;
}

shoal_outputs_info_t
shoal_outputs_info(const shoal_outputs_t *outputs)
{
    return (shoal_outputs_info_t){outputs->memory_bytes, outputs->spool_bytes, outputs->unwritten,
                                  outputs->is_stalled};
}

// ---- one job

shoal_output_t *
shoal_output_new(shoal_outputs_t *outputs, uint64_t job, bool collects)
{
    shoal_output_t *output = shoal_alloc(sizeof(*output));
    output->outputs = outputs;
    output->job = job;
    output->collects = collects;
    return output;
}

void
shoal_output_destroy(shoal_output_t **output)
{
    if (!output || !*output) {
        return;
    }
    shoal_output_t *it = *output;
    shoal_outputs_t *outputs = it->outputs;
    assert(it->draft_count == 0);
    while (it->subscriptions.first) {
        shoal_subscription_t *subscription = it->subscriptions.first;
        shoal_subscription_destroy(&subscription);
    }
    for (size_t i = 0; i < it->entry_count; i++) {
        pack_free(outputs, it->entries[i], true);
    }
    if (it->collects) {
        item_t *item = shoal_alloc(sizeof(*item));
        item->errand.kind = SHOAL_ERRAND_FORGET;
        item->errand.job = it->job;
        item_send(outputs, item);
    }
    free(it->entries);
    free(it);
    *output = NULL;
}

void
shoal_output_finish(shoal_output_t *output)
{
    output->is_finished = true;
    wake_subscribers(output);
}

uint64_t
shoal_output_commits(const shoal_output_t *output)
{
    return output->commits;
}

uint64_t
shoal_output_bytes(const shoal_output_t *output)
{
    return output->bytes;
}

// The first credit: what there is room for, little once many attempts have theirs; 0: no room.
static uint64_t
first_credit(const shoal_output_t *output)
{
    const shoal_outputs_t *outputs = output->outputs;
    if (!output->collects) {
        return SHOAL_OUTPUT_CREDIT_BYTES;
    }
    if (outputs->is_stalled) {
        return 0;
    }
    bool is_first = outputs->draft_count == 0; // whoever is alone may use the reserve
    uint64_t bytes = room(outputs, is_first);
    if (bytes < SHOAL_OUTPUT_CREDIT_LEAST && !(is_first && bytes > 0)) {
        return 0;
    }
    uint64_t in_flight = outputs->outstanding + outputs->unwritten_bytes;
    uint64_t most = in_flight + SHOAL_OUTPUT_CREDIT_BYTES <= outputs->memory_limit
                        ? SHOAL_OUTPUT_CREDIT_BYTES
                        : SHOAL_OUTPUT_CREDIT_LEAST;
    return bytes < most ? bytes : most;
}

bool
shoal_output_is_waiting(const shoal_output_t *output)
{
    return (output->is_refused && first_credit(output) == 0) || output->waiting_count > 0 ||
           (output->outputs->is_stalled && output->unwritten > 0);
}

// ---- one attempt

shoal_draft_t *
shoal_draft_new(shoal_output_t *output, uint64_t call, uint32_t attempt, void *owner,
                uint32_t *ret_credit)
{
    assert(output && !output->is_finished && ret_credit);
    uint64_t credit = first_credit(output);
    output->is_refused = credit == 0;
    if (credit == 0) {
        return NULL;
    }
    shoal_draft_t *draft = shoal_alloc(sizeof(*draft));
    draft->output = output;
    draft->owner = owner;
    draft->call = call;
    draft->attempt = attempt;
    set_credit(draft, (int64_t)credit);
    output->draft_count++;
    output->outputs->draft_count++;
    *ret_credit = (uint32_t)credit;
    return draft;
}

static void
take_payload(zmq_msg_t *to, zmq_msg_t *payload)
{
    size_t size = zmq_msg_size(payload);
    if (size <= SMALL_BYTES && zmq_msg_init_size(to, size) == 0) {
        memcpy(zmq_msg_data(to), zmq_msg_data(payload), size);
        (void)zmq_msg_close(payload);
        (void)zmq_msg_init(payload);
        return;
    }
    (void)zmq_msg_init(to);
    (void)zmq_msg_move(to, payload);
}

void
shoal_draft_append(shoal_draft_t *draft, uint32_t records, zmq_msg_t *payload)
{
    shoal_output_t *output = draft->output;
    shoal_outputs_t *outputs = output->outputs;
    size_t size = zmq_msg_size(payload);
    assert(size <= SHOAL_BATCH_BYTES_MAX);
    set_credit(draft, draft->credit - (int64_t)size);
    uint64_t seq = draft->batches++;
    draft->records += records;
    if (!output->collects) {
        (void)zmq_msg_close(payload);
        (void)zmq_msg_init(payload);
        withhold(draft, size);
        return;
    }
    if (!draft->pack) {
        draft->pack = pack_new(draft);
    }
    pack_t *pack = draft->pack;
    if (pack->count == pack->size) {
        pack->size = pack->size ? pack->size * 2 : 1;
        pack->batches = shoal_realloc(pack->batches, pack->size * sizeof(batch_t));
    }
    uint32_t index = pack->count++;
    pack->bytes += size;
    pack->batches[index] = (batch_t){.length = (uint32_t)size, .records = records};
    item_t *item = item_new(pack, index, SHOAL_ERRAND_APPEND);
    take_payload(&item->payload, payload);
    item->is_here = true;
    item->errand.batch = (shoal_spool_batch_t){
        .call = draft->call,
        .seq = seq,
        .attempt = draft->attempt,
        .records = records,
        .payload = {zmq_msg_data(&item->payload), size},
    };
    output->unwritten++;
    outputs->unwritten++;
    outputs->unwritten_bytes += size + SHOAL_SPOOL_HEADER_BYTES;
    outputs->memory_bytes += size;
    item_send(outputs, item);
}

uint64_t
shoal_draft_batches(const shoal_draft_t *draft)
{
    return draft->batches;
}

uint64_t
shoal_draft_records(const shoal_draft_t *draft)
{
    return draft->records;
}

int64_t
shoal_draft_credit(const shoal_draft_t *draft)
{
    return draft->credit;
}

// The draft without its pack.
static void
draft_free(shoal_draft_t **draft)
{
    shoal_draft_t *it = *draft;
    shoal_outputs_t *outputs = it->output->outputs;
    stop_waiting(it);
    set_credit(it, 0);
    if (outputs->elder == it) {
        outputs->elder = NULL;
    }
    it->output->draft_count--;
    outputs->draft_count--;
    free(it);
    *draft = NULL;
}

uint64_t
shoal_draft_commit(shoal_draft_t **draft)
{
    assert(draft && *draft);
    shoal_output_t *output = (*draft)->output;
    pack_t *pack = (*draft)->pack;
    output->commits++;
    if (pack) {
        pack->commit = output->commits;
        pack->draft = NULL;
        pack->size = pack->count;
        pack->batches = shoal_realloc(pack->batches, pack->size * sizeof(batch_t));
        output->bytes += pack->bytes;
        if (output->entry_count == output->entry_size) {
            output->entry_size = output->entry_size ? output->entry_size * 2 : 16;
            output->entries =
                shoal_realloc(output->entries, output->entry_size * sizeof(*output->entries));
        }
        output->entries[output->entry_count++] = pack;
    }
    draft_free(draft);
    wake_subscribers(output);
    return output->commits;
}

void
shoal_draft_destroy(shoal_draft_t **draft)
{
    if (!draft || !*draft) {
        return;
    }
    shoal_output_t *output = (*draft)->output;
    if ((*draft)->pack) {
        pack_t *pack = (*draft)->pack;
        for (uint32_t i = 0; i < pack->count; i++) {
            output->unwritten -= pack->batches[i].segment == 0 ? 1 : 0;
        }
        pack_free(output->outputs, pack, false);
    }
    draft_free(draft);
}

// ---- one subscriber

// The index of the first entry at or after `commit`.
static size_t
entry_at(const shoal_output_t *output, uint64_t commit)
{
    size_t low = 0;
    size_t high = output->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (output->entries[middle]->commit < commit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

shoal_subscription_t *
shoal_output_subscribe(shoal_output_t *output, void *peer, uint64_t from, uint64_t credit)
{
    shoal_subscription_t *subscription = shoal_alloc(sizeof(*subscription));
    subscription->output = output;
    subscription->peer = peer;
    subscription->commit = from > 0 ? from : 1;
    subscription->entry = entry_at(output, subscription->commit);
    subscription->credit = credit < INT64_MAX / 2 ? (int64_t)credit : INT64_MAX / 2;
    LIST_ADD(&output->subscriptions, subscription, next, prev);
    move_to(subscription, PLACE_READY);
    return subscription;
}

void
shoal_subscription_taken(shoal_subscription_t *subscription, uint64_t bytes)
{
    int64_t room_left = INT64_MAX / 2 - subscription->credit;
    subscription->credit += bytes < (uint64_t)room_left ? (int64_t)bytes : room_left;
    if (subscription->place == PLACE_IDLE && !subscription->is_over) {
        move_to(subscription, PLACE_READY);
    }
}

void
shoal_subscription_destroy(shoal_subscription_t **subscription)
{
    if (!subscription || !*subscription) {
        return;
    }
    shoal_subscription_t *it = *subscription;
    shoal_output_t *output = it->output;
    it->is_over = true;
    drop_ahead(it);
    move_to(it, PLACE_IDLE);
    LIST_REMOVE(&output->subscriptions, it, next, prev);
    free(it);
    *subscription = NULL;
}
