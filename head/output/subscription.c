// SPDX-License-Identifier: Apache-2.0
//
// subscription.c - see output.h and output_parts.h: commits on their way to a subscriber.
//
// A subscription is idle, ready or full; only ready ones are looked at. One that needs a batch which
// is on the disk only asks the scribe for it and the next few, and is idle until they are here.

#include <assert.h>
#include <stdlib.h>

#include "head/output/output_parts.h"
#include "proto/base/alloc.h"

// ---- where they stand

static bool
is_wanted_by(const shoal_subscription_t *subscription, uint64_t commit, uint32_t index)
{
    return !subscription->is_over &&
           (subscription->commit < commit ||
            (subscription->commit == commit && subscription->index <= index));
}

bool
shoal_output_is_wanted(const shoal_output_t *output, uint64_t commit, uint32_t index)
{
    for (const shoal_subscription_t *it = output->subscriptions.first; it; it = it->next) {
        if (is_wanted_by(it, commit, index)) {
            return true;
        }
    }
    return false;
}

static shoal_subscriptions_t *
list_of(shoal_outputs_t *outputs, shoal_standing_t place)
{
    return place == SHOAL_STANDING_READY ? &outputs->ready : &outputs->full;
}

static void
move_to(shoal_subscription_t *subscription, shoal_standing_t place)
{
    shoal_outputs_t *outputs = subscription->output->outputs;
    if (subscription->place == place) {
        return;
    }
    if (subscription->place != SHOAL_STANDING_IDLE) {
        shoal_subscriptions_t *old = list_of(outputs, subscription->place);
        SHOAL_LIST_REMOVE(old, subscription, next_in_place, prev_in_place);
    }
    subscription->place = place;
    if (place != SHOAL_STANDING_IDLE) {
        shoal_subscriptions_t *list = list_of(outputs, place);
        SHOAL_LIST_ADD(list, subscription, next_in_place, prev_in_place);
    }
}

void
shoal_output_wake(shoal_output_t *output)
{
    for (shoal_subscription_t *it = output->subscriptions.first; it; it = it->next) {
        if (it->place == SHOAL_STANDING_IDLE && !it->is_over) {
            move_to(it, SHOAL_STANDING_READY);
        }
    }
}

void
shoal_output_fail_readers(shoal_pack_t *pack, uint32_t index, const shoal_status_t *why)
{
    const shoal_output_hooks_t *hooks = &pack->output->outputs->hooks;
    for (shoal_subscription_t *it = pack->output->subscriptions.first; it; it = it->next) {
        if (!it->is_over && it->commit == pack->commit && it->index == index) {
            it->is_over = true;
            move_to(it, SHOAL_STANDING_IDLE);
            hooks->failed(hooks->ctx, it->peer, pack->output->job, why);
        }
    }
}

// ---- sending

// The pack of the subscription's next commit; NULL: that one has no batches.
static shoal_pack_t *
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
        shoal_pack_t *pack = output->entries[entry];
        shoal_pack_entry_t *batch = &pack->entries[index];
        if (!batch->payload) {
            assert(batch->segment > 0);
            shoal_payload_t *payload = shoal_payload_new(pack, index, SHOAL_ERRAND_READ);
            payload->is_read_back = true;
            payload->errand.batch.place = shoal_pack_place(batch);
            shoal_payload_send(output->outputs, payload);
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
        shoal_pack_t *pack = output->entries[entry];
        shoal_payload_t *payload = pack->entries[index].payload;
        if (payload && payload->is_read_back && payload->is_here &&
            !shoal_output_is_wanted(output, pack->commit, index)) {
            shoal_payload_free(output->outputs, payload);
        }
        if (++index == pack->count) {
            entry++;
            index = 0;
        }
    }
}

// `payload` is NULL for a commit without batches.
static shoal_sent_t
send_piece(shoal_subscription_t *subscription, const shoal_piece_t *piece, shoal_payload_t *payload)
{
    const shoal_output_hooks_t *hooks = &subscription->output->outputs->hooks;
    zmq_msg_t message;
    (void)zmq_msg_init(&message);
    if (payload) {
        (void)zmq_msg_copy(&message, &payload->message); // shares the content
    }
    shoal_sent_t sent = hooks->piece(hooks->ctx, subscription->peer, piece, &message);
    (void)zmq_msg_close(&message);
    return sent;
}

// The next piece has gone.
static void
advance(shoal_subscription_t *subscription, shoal_pack_t *pack)
{
    if (!pack) {
        next_commit(subscription, false);
        return;
    }
    assert(pack->entries && subscription->index < pack->count);
    uint32_t index = subscription->index++;
    shoal_pack_entry_t *batch = &pack->entries[index];
    subscription->credit -= batch->length;
    if (subscription->index == pack->count) {
        next_commit(subscription, true);
    }
    if (batch->segment > 0 && !batch->payload->is_under_way &&
        !shoal_output_is_wanted(pack->output, pack->commit, index)) {
        shoal_payload_free(pack->output->outputs, batch->payload);
    }
}

// Sends one piece, or the end. SHOAL_SENT: go on; *ret_is_idle: there is nothing to send now.
static shoal_sent_t
send_next(shoal_subscription_t *subscription, bool *ret_is_idle)
{
    shoal_output_t *output = subscription->output;
    const shoal_output_hooks_t *hooks = &output->outputs->hooks;
    *ret_is_idle = false;
    if (subscription->commit > output->gate.open) {
        *ret_is_idle = true;
        if (!output->is_finished || output->finish_lsn > output->outputs->durable_lsn) {
            return SHOAL_SENT;
        }
        shoal_sent_t sent =
            hooks->end(hooks->ctx, subscription->peer, output->job, output->commits);
        subscription->is_over = sent == SHOAL_SENT;
        return sent;
    }
    shoal_pack_t *pack = next_pack(subscription);
    shoal_pack_entry_t *batch = pack ? &pack->entries[subscription->index] : NULL;
    if (subscription->credit <= 0 || (batch && (!batch->payload || !batch->payload->is_here))) {
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
    shoal_sent_t sent = send_piece(subscription, &piece, batch ? batch->payload : NULL);
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
        case SHOAL_SENT_FULL: move_to(subscription, SHOAL_STANDING_FULL); return;
        case SHOAL_SENT_GONE:
        case SHOAL_SENT_BROKEN:
            subscription->is_over = true;
            is_idle = true;
            break;
        }
        if (is_idle) {
            move_to(subscription, SHOAL_STANDING_IDLE);
            return;
        }
    }
    // Its turn is over: behind the others.
    move_to(subscription, SHOAL_STANDING_IDLE);
    move_to(subscription, SHOAL_STANDING_READY);
}

void
shoal_outputs_pump(shoal_outputs_t *outputs)
{
    for (shoal_subscription_t *it = outputs->full.first; it; it = outputs->full.first) {
        move_to(it, SHOAL_STANDING_READY);
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

// ---- life

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
    SHOAL_LIST_ADD(&output->subscriptions, subscription, next, prev);
    move_to(subscription, SHOAL_STANDING_READY);
    return subscription;
}

int64_t
shoal_subscription_credit(const shoal_subscription_t *subscription)
{
    return subscription->credit;
}

void
shoal_subscription_taken(shoal_subscription_t *subscription, uint64_t commit, uint64_t bytes)
{
    shoal_output_taken(subscription->output, commit);
    int64_t room_left = INT64_MAX / 2 - subscription->credit;
    subscription->credit += bytes < (uint64_t)room_left ? (int64_t)bytes : room_left;
    if (subscription->place == SHOAL_STANDING_IDLE && !subscription->is_over) {
        move_to(subscription, SHOAL_STANDING_READY);
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
    move_to(it, SHOAL_STANDING_IDLE);
    SHOAL_LIST_REMOVE(&output->subscriptions, it, next, prev);
    free(it);
    *subscription = NULL;
}
