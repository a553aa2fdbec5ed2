// SPDX-License-Identifier: Apache-2.0
//
// draft.c - see output.h and output_parts.h: what an attempt has sent, and what it may still send.

#include <assert.h>
#include <stdlib.h>

#include "head/output/output_parts.h"
#include "proto/base/alloc.h"

// ---- room on the disk

uint64_t
shoal_outputs_used(const shoal_outputs_t *outputs)
{
    return outputs->spool_bytes + outputs->unwritten_bytes + outputs->kept_bytes;
}

static uint64_t
room_below(const shoal_outputs_t *outputs, uint64_t ceiling)
{
    uint64_t used = shoal_outputs_used(outputs) + outputs->outstanding;
    return used < ceiling ? ceiling - used : 0;
}

static uint64_t
room(const shoal_outputs_t *outputs, bool with_reserve)
{
    uint64_t limit = outputs->spool_limit;
    return room_below(outputs, with_reserve ? limit : limit - outputs->reserve);
}

uint64_t
shoal_draft_first_credit(const shoal_output_t *output)
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

// ---- credit

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
        SHOAL_LIST_REMOVE(&draft->output->outputs->waiting, draft, next, prev);
        draft->is_waiting = false;
        draft->output->waiting_count--;
    }
}

void
shoal_draft_withhold(shoal_draft_t *draft, uint64_t bytes)
{
    draft->withheld += bytes;
    if (!draft->is_waiting && bytes > 0) {
        SHOAL_LIST_ADD(&draft->output->outputs->waiting, draft, next, prev);
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

void
shoal_outputs_grant(shoal_outputs_t *outputs)
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

// ---- drafts

static shoal_draft_t *
draft_make(shoal_output_t *output, uint64_t call, uint32_t attempt, void *owner, uint64_t credit)
{
    shoal_draft_t *draft = shoal_alloc(sizeof(*draft));
    draft->output = output;
    draft->owner = owner;
    draft->call = call;
    draft->attempt = attempt;
    set_credit(draft, (int64_t)credit);
    output->draft_count++;
    output->outputs->draft_count++;
    return draft;
}

shoal_draft_t *
shoal_draft_new(shoal_output_t *output, uint64_t call, uint32_t attempt, void *owner,
                uint32_t *ret_credit)
{
    assert(output && !output->is_finished && ret_credit);
    uint64_t credit = shoal_draft_first_credit(output);
    output->is_refused = credit == 0;
    if (credit == 0) {
        output->outputs->may_wait = true;
        return NULL;
    }
    *ret_credit = (uint32_t)credit;
    return draft_make(output, call, attempt, owner, credit);
}

shoal_draft_t *
shoal_draft_restore(shoal_output_t *output, uint64_t call, uint32_t attempt, void *owner)
{
    return draft_make(output, call, attempt, owner, SHOAL_OUTPUT_CREDIT_BYTES); // all that it had
}

static void
add_batch(shoal_draft_t *draft, uint32_t records, zmq_msg_t *message)
{
    shoal_outputs_t *outputs = draft->output->outputs;
    size_t size = zmq_msg_size(message);
    if (!draft->pack) {
        draft->pack = shoal_pack_new(draft);
    }
    uint32_t index = shoal_pack_add(draft->pack, (uint32_t)size, records);
    shoal_payload_t *payload = shoal_payload_new(draft->pack, index, SHOAL_ERRAND_APPEND);
    shoal_payload_fill(outputs, payload, message);
    payload->errand.batch = (shoal_spool_batch_t){
        .call = draft->call,
        .seq = index,
        .attempt = draft->attempt,
        .records = records,
        .payload = {zmq_msg_data(&payload->message), size},
    };
    shoal_payload_settle(outputs, payload);
}

void
shoal_draft_append(shoal_draft_t *draft, uint32_t records, zmq_msg_t *payload)
{
    size_t size = zmq_msg_size(payload);
    assert(size <= SHOAL_BATCH_BYTES_MAX);
    set_credit(draft, draft->credit - (int64_t)size);
    draft->batches++;
    draft->records += records;
    if (draft->output->collects) {
        add_batch(draft, records, payload);
        return;
    }
    (void)zmq_msg_close(payload);
    (void)zmq_msg_init(payload);
    shoal_draft_withhold(draft, size);
}

void
shoal_draft_pass(shoal_draft_t *draft, uint64_t bytes)
{
    set_credit(draft, draft->credit - (int64_t)bytes);
    shoal_draft_withhold(draft, bytes);
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

void
shoal_output_add_pack(shoal_output_t *output, shoal_pack_t *pack)
{
    if (output->entry_count == output->entry_size) {
        output->entry_size = output->entry_size ? output->entry_size * 2 : 16;
        output->entries =
            shoal_realloc(output->entries, output->entry_size * sizeof(*output->entries));
    }
    output->entries[output->entry_count++] = pack;
}

uint64_t
shoal_draft_commit(shoal_draft_t **draft, uint64_t lsn)
{
    assert(draft && *draft);
    shoal_output_t *output = (*draft)->output;
    shoal_pack_t *pack = (*draft)->pack;
    output->commits++;
    if (pack) {
        shoal_pack_close(pack, output->commits);
        output->bytes += pack->bytes;
        shoal_output_add_pack(output, pack);
    }
    draft_free(draft);
    shoal_output_gate(output, lsn);
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
        shoal_pack_t *pack = (*draft)->pack;
        for (uint32_t i = 0; i < pack->count; i++) {
            const shoal_payload_t *payload = pack->entries[i].payload;
            output->unwritten -= payload && payload->is_under_way ? 1 : 0;
        }
        shoal_pack_free(output->outputs, pack, false);
    }
    draft_free(draft);
}
