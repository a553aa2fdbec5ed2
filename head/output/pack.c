// SPDX-License-Identifier: Apache-2.0
//
// pack.c - see output_parts.h: the batches of one attempt, and their payloads in memory.

#include <assert.h>
#include <stdlib.h>

#include "head/output/output_parts.h"
#include "proto/base/alloc.h"

#define SMALL_BYTES 4096 // copied: libzmq keeps small ones in a shared buffer of 8 KiB

// What a job sends beyond this is written at once, while it is warm: it will not stay in memory.
#define SMALL_JOB_BYTES 8388608
// Parts of the memory limit: above the first of kept batches the oldest go to the disk until the
// second is left, so that these writes are few and large.
#define KEEP_SHARE       2
#define KEEP_SHARE_AFTER 4

// ---- payloads

// What a payload in memory costs, with its bookkeeping.
static uint64_t
cost_of(zmq_msg_t *message)
{
    return zmq_msg_size(message) + sizeof(shoal_payload_t);
}

shoal_payload_t *
shoal_payload_new(shoal_pack_t *pack, uint32_t index, shoal_errand_kind_t kind)
{
    shoal_payload_t *payload = shoal_alloc(sizeof(*payload));
    payload->pack = pack;
    payload->index = index;
    payload->errand.kind = kind;
    payload->errand.job = pack->output->job;
    pack->entries[index].payload = payload;
    return payload;
}

void
shoal_payload_fill(shoal_outputs_t *outputs, shoal_payload_t *payload, zmq_msg_t *message)
{
    zmq_msg_t *to = &payload->message;
    size_t size = zmq_msg_size(message);
    if (size <= SMALL_BYTES && zmq_msg_init_size(to, size) == 0) {
        memcpy(zmq_msg_data(to), zmq_msg_data(message), size);
        (void)zmq_msg_close(message);
        (void)zmq_msg_init(message);
    } else {
        (void)zmq_msg_init(to);
        (void)zmq_msg_move(to, message);
    }
    payload->is_here = true;
    outputs->memory_bytes += cost_of(to);
}

void
shoal_payload_send(shoal_outputs_t *outputs, shoal_payload_t *payload)
{
    payload->is_under_way = true;
    shoal_errands_add(&outputs->todo, &payload->errand);
}

void
shoal_payload_release(shoal_outputs_t *outputs, uint64_t job, shoal_spool_place_t place)
{
    shoal_payload_t *payload = shoal_alloc(sizeof(*payload));
    payload->errand.kind = SHOAL_ERRAND_RELEASE;
    payload->errand.job = job;
    payload->errand.batch.place = place;
    shoal_payload_send(outputs, payload);
}

void
shoal_payload_forget(shoal_outputs_t *outputs, uint64_t job)
{
    shoal_payload_t *payload = shoal_alloc(sizeof(*payload));
    payload->errand.kind = SHOAL_ERRAND_FORGET;
    payload->errand.job = job;
    shoal_payload_send(outputs, payload);
}

// What it takes on the disk.
static uint64_t
room_of(const shoal_payload_t *payload)
{
    return payload->errand.batch.payload.len + SHOAL_SPOOL_HEADER_BYTES;
}

static void
write_out(shoal_outputs_t *outputs, shoal_payload_t *payload)
{
    payload->pack->output->unwritten++;
    outputs->unwritten++;
    outputs->unwritten_bytes += room_of(payload);
    shoal_payload_send(outputs, payload);
}

static void
keep(shoal_outputs_t *outputs, shoal_payload_t *payload)
{
    SHOAL_LIST_ADD(&outputs->kept, payload, next_kept, prev_kept);
    payload->is_kept = true;
    outputs->kept_bytes += room_of(payload);
}

static void
let_go(shoal_outputs_t *outputs, shoal_payload_t *payload)
{
    SHOAL_LIST_REMOVE(&outputs->kept, payload, next_kept, prev_kept);
    payload->is_kept = false;
    outputs->kept_bytes -= room_of(payload);
}

void
shoal_payload_settle(shoal_outputs_t *outputs, shoal_payload_t *payload)
{
    const shoal_pack_t *pack = payload->pack;
    bool has_room = outputs->memory_bytes <= outputs->memory_limit;
    if (has_room) {
        payload->is_granted = true;
        shoal_draft_withhold(pack->draft, payload->errand.batch.payload.len);
    }
    if (has_room && !outputs->has_journal && pack->output->bytes + pack->bytes <= SMALL_JOB_BYTES) {
        keep(outputs, payload);
    } else {
        write_out(outputs, payload);
    }
}

void
shoal_outputs_spill(shoal_outputs_t *outputs)
{
    if (outputs->is_stalled || outputs->kept_bytes <= outputs->memory_limit / KEEP_SHARE) {
        return;
    }
    while (outputs->kept_bytes > outputs->memory_limit / KEEP_SHARE_AFTER) {
        shoal_payload_t *payload = outputs->kept.first;
        let_go(outputs, payload);
        write_out(outputs, payload);
    }
}

void
shoal_payload_free(shoal_outputs_t *outputs, shoal_payload_t *payload)
{
    if (payload->is_kept) {
        let_go(outputs, payload);
    }
    if (payload->is_here) {
        outputs->memory_bytes -= cost_of(&payload->message);
        (void)zmq_msg_close(&payload->message);
    }
    if (payload->pack) {
        payload->pack->entries[payload->index].payload = NULL;
    }
    free(payload->errand.failure);
    free(payload);
}

// ---- packs

shoal_pack_t *
shoal_pack_new(shoal_draft_t *draft)
{
    shoal_pack_t *pack = shoal_alloc(sizeof(*pack));
    pack->output = draft->output;
    pack->draft = draft;
    pack->call = draft->call;
    pack->attempt = draft->attempt;
    return pack;
}

uint32_t
shoal_pack_add(shoal_pack_t *pack, uint32_t length, uint32_t records)
{
    if (pack->count == pack->size) {
        pack->size = pack->size ? pack->size * 2 : 1;
        pack->entries = shoal_realloc(pack->entries, pack->size * sizeof(*pack->entries));
    }
    pack->bytes += length;
    pack->entries[pack->count] = (shoal_pack_entry_t){.length = length, .records = records};
    return pack->count++;
}

void
shoal_pack_close(shoal_pack_t *pack, uint64_t commit)
{
    assert(pack->count > 0 && commit > 0);
    pack->commit = commit;
    pack->draft = NULL;
    pack->size = pack->count;
    pack->entries = shoal_realloc(pack->entries, pack->size * sizeof(*pack->entries));
}

shoal_spool_place_t
shoal_pack_place(const shoal_pack_entry_t *entry)
{
    return (shoal_spool_place_t){entry->segment, entry->offset, entry->length};
}

void
shoal_pack_free(shoal_outputs_t *outputs, shoal_pack_t *pack, bool is_forgotten)
{
    uint64_t job = pack->output->job;
    for (uint32_t i = 0; i < pack->count; i++) {
        shoal_pack_entry_t *batch = &pack->entries[i];
        if (batch->segment > 0 && !is_forgotten) {
            shoal_payload_release(outputs, job, shoal_pack_place(batch));
        }
        if (!batch->payload) {
            continue;
        }
        if (batch->payload->is_under_way) {
            batch->payload->pack = NULL;
        } else {
            shoal_payload_free(outputs, batch->payload);
        }
    }
    free(pack->entries);
    free(pack);
}
