// SPDX-License-Identifier: Apache-2.0
//
// output.c - see output.h.
//
// A pack is the list of an attempt's batches; it belongs to the draft first and to the commit then,
// so a commit moves one pointer. A batch costs 24 bytes for as long as its job is kept. A payload
// holds it in memory: in place of the disk, on its way there, kept because a subscriber will want
// it, or read back for one. The scribe borrows the bytes of a payload that is under way; if the
// batch is no longer wanted meanwhile, the payload goes on alone (its pack is NULL) and is freed when
// it comes back.

#include <assert.h>
#include <stdlib.h>

#include "head/output/output_parts.h"
#include "proto/base/alloc.h"

#define RESERVE_BYTES_MAX 268435456 // of the spool's limit, kept back for one attempt
#define RESERVE_SHARE     4         // and at most a quarter of it

// ---- what comes back from the scribe

static void
append_is_back(shoal_outputs_t *outputs, shoal_payload_t *payload)
{
    const shoal_spool_batch_t *batch = &payload->errand.batch;
    outputs->unwritten--;
    outputs->unwritten_bytes -= batch->payload.len + SHOAL_SPOOL_HEADER_BYTES;
    payload->is_under_way = false;
    shoal_pack_t *pack = payload->pack;
    if (!pack) {
        if (payload->errand.is_done) {
            shoal_payload_release(outputs, payload->errand.job, batch->place);
        }
        shoal_payload_free(outputs, payload);
        return;
    }
    assert(payload->errand.is_done); // only a forgotten job's appends come back undone
    pack->output->unwritten--;
    shoal_pack_entry_t *entry = &pack->entries[payload->index];
    entry->segment = batch->place.segment;
    entry->offset = batch->place.offset;
    if (pack->draft && !payload->is_granted) {
        shoal_draft_withhold(pack->draft, entry->length);
    }
    bool is_delivered = pack->commit > 0 && pack->output->subscriptions.first &&
                        !shoal_output_is_wanted(pack->output, pack->commit, payload->index);
    if (is_delivered || outputs->memory_bytes > outputs->memory_limit) {
        shoal_payload_free(outputs, payload);
    }
}

static void
read_is_back(shoal_outputs_t *outputs, shoal_payload_t *payload)
{
    shoal_pack_t *pack = payload->pack;
    payload->is_under_way = false;
    if (payload->errand.is_done) {
        shoal_payload_fill(outputs, payload, &payload->errand.message);
        (void)zmq_msg_close(&payload->errand.message);
    } else if (pack) {
        shoal_output_fail_readers(pack, payload->index, payload->errand.failure);
    }
    if (!pack || !payload->is_here ||
        !shoal_output_is_wanted(pack->output, pack->commit, payload->index)) {
        shoal_payload_free(outputs, payload);
        return;
    }
    shoal_output_wake(pack->output);
}

static void
errand_is_back(shoal_outputs_t *outputs, shoal_errand_t *errand)
{
    shoal_payload_t *payload = (shoal_payload_t *)errand;
    switch (errand->kind) {
    case SHOAL_ERRAND_APPEND: append_is_back(outputs, payload); break;
    case SHOAL_ERRAND_READ: read_is_back(outputs, payload); break;
    case SHOAL_ERRAND_RELEASE:
    case SHOAL_ERRAND_FORGET: shoal_payload_free(outputs, payload); break;
    case SHOAL_ERRAND_NOTE:
        outputs->hooks.noted(outputs->hooks.ctx, (shoal_journal_note_t *)errand);
        break;
    case SHOAL_ERRAND_LETTERS:
        outputs->hooks.letters(outputs->hooks.ctx, (shoal_letters_query_t *)errand);
        break;
    }
}

static bool
is_gate_shut(const shoal_output_t *output)
{
    return shoal_tide_is_shut(&output->gate) ||
           (output->is_finished && output->finish_lsn > output->outputs->durable_lsn);
}

void
shoal_output_gate(shoal_output_t *output, uint64_t lsn)
{
    shoal_outputs_t *outputs = output->outputs;
    (void)shoal_tide_set(&output->gate, output->commits, lsn, outputs->durable_lsn);
    if (!output->is_gated && is_gate_shut(output)) {
        SHOAL_LIST_ADD(&outputs->gated, output, next_gated, prev_gated);
        output->is_gated = true;
    }
    shoal_output_wake(output);
}

// The log has come further: shows what depended on it.
static void
gates_pass(shoal_outputs_t *outputs)
{
    for (shoal_output_t *output = outputs->gated.first, *next; output; output = next) {
        next = output->next_gated;
        (void)shoal_tide_pass(&output->gate, outputs->durable_lsn);
        if (!is_gate_shut(output)) {
            SHOAL_LIST_REMOVE(&outputs->gated, output, next_gated, prev_gated);
            output->is_gated = false;
        }
        shoal_output_wake(output);
    }
}

static void
take_report(shoal_outputs_t *outputs, shoal_scribe_report_t *report)
{
    outputs->spool_bytes = report->spool_bytes;
    for (shoal_errand_t *errand; (errand = shoal_errands_take(&report->errands)) != NULL;) {
        errand_is_back(outputs, errand);
    }
    if (report->durable_lsn > outputs->durable_lsn) {
        outputs->durable_lsn = report->durable_lsn;
        gates_pass(outputs);
        outputs->hooks.durable(outputs->hooks.ctx, report->durable_lsn);
    }
    if (report->is_lost && !outputs->lost) {
        outputs->lost = shoal_alloc(sizeof(*outputs->lost));
        *outputs->lost = report->trouble;
    }
    bool is_stalled = report->stalled > 0;
    if (is_stalled != outputs->is_stalled) {
        outputs->is_stalled = is_stalled;
        outputs->hooks.disk(outputs->hooks.ctx, is_stalled ? &report->trouble : NULL);
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
    assert(hooks->waits);
    shoal_outputs_t *outputs = shoal_alloc(sizeof(*outputs));
    outputs->hooks = config->hooks;
    outputs->memory_limit = config->memory_bytes ? config->memory_bytes : SHOAL_OUTPUT_MEMORY_BYTES;
    outputs->spool_limit = config->spool_bytes ? config->spool_bytes : SHOAL_OUTPUT_SPOOL_BYTES;
    outputs->reserve = outputs->spool_limit / RESERVE_SHARE;
    if (outputs->reserve > RESERVE_BYTES_MAX) {
        outputs->reserve = RESERVE_BYTES_MAX;
    }
    outputs->has_journal = config->journal;
    shoal_scribe_config_t scribe = {
        .spool = {.directory = config->directory,
                  .journal = config->journal,
                  .is_view = config->is_view,
                  .tell = config->hooks.mended,
                  .tell_ctx = config->hooks.ctx},
        .sync_delay_ms = config->sync_delay_ms,
        .crash = config->crash,
        .vault = config->vault,
    };
    if (!shoal_scribe_start(&scribe, &outputs->scribe, status)) {
        free(outputs);
        return false;
    }
    *ret_outputs = outputs;
    return true;
}

static void
drop_errand(void *ctx, shoal_errand_t *errand)
{
    if (errand->kind == SHOAL_ERRAND_NOTE || errand->kind == SHOAL_ERRAND_LETTERS) {
        errand_is_back(ctx, errand);
        return;
    }
    shoal_payload_t *payload = (shoal_payload_t *)errand;
    assert(!payload->pack); // its output was destroyed
    if (errand->kind == SHOAL_ERRAND_READ && errand->is_done) {
        (void)zmq_msg_close(&errand->message);
    }
    shoal_payload_free(ctx, payload);
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
    free(it->lost);
    free(it);
    *outputs = NULL;
}

int
shoal_outputs_fd(const shoal_outputs_t *outputs)
{
    return shoal_scribe_fd(outputs->scribe);
}

// Tells which jobs wait for room from now on, or no longer. Without trouble nobody is looked at.
static void
tell_waiting(shoal_outputs_t *outputs)
{
    if (!outputs->may_wait && !outputs->waiting.first && !outputs->is_stalled) {
        return;
    }
    outputs->may_wait = false;
    for (shoal_output_t *it = outputs->all.first; it; it = it->next) {
        bool is_waiting = shoal_output_is_waiting(it);
        outputs->may_wait = outputs->may_wait || is_waiting;
        if (is_waiting != it->is_waiting) {
            it->is_waiting = is_waiting;
            outputs->hooks.waits(outputs->hooks.ctx, it->job, is_waiting);
        }
    }
}

uint64_t
shoal_outputs_run(shoal_outputs_t *outputs, uint64_t now_ms)
{
    for (shoal_scribe_report_t *report; (report = shoal_scribe_take(outputs->scribe)) != NULL;) {
        take_report(outputs, report);
        free(report);
    }
    shoal_outputs_grant(outputs);
    tell_waiting(outputs);
    shoal_outputs_pump(outputs);
    shoal_outputs_spill(outputs);
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
    return (shoal_outputs_info_t){outputs->memory_bytes, outputs->spool_bytes,
                                  outputs->unwritten,    outputs->is_stalled,
                                  outputs->durable_lsn,  shoal_outputs_used(outputs),
                                  outputs->spool_limit};
}

const shoal_status_t *
shoal_outputs_lost(const shoal_outputs_t *outputs)
{
    return outputs->lost;
}

void
shoal_outputs_note(shoal_outputs_t *outputs, shoal_journal_note_t *note)
{
    assert(note->errand.kind == SHOAL_ERRAND_NOTE && outputs->hooks.noted);
    assert(note->kind != SHOAL_JOURNAL_NOTE_MARK || outputs->hooks.durable);
    shoal_errands_add(&outputs->todo, &note->errand);
}

void
shoal_outputs_read_letters(shoal_outputs_t *outputs, shoal_letters_query_t *letters)
{
    assert(letters->errand.kind == SHOAL_ERRAND_LETTERS && outputs->hooks.letters);
    shoal_errands_add(&outputs->todo, &letters->errand);
}

void
shoal_outputs_release(shoal_outputs_t *outputs, uint64_t job, shoal_spool_place_t place)
{
    shoal_payload_release(outputs, job, place);
}

shoal_spool_t *
shoal_outputs_spool(shoal_outputs_t *outputs)
{
    return shoal_scribe_spool(outputs->scribe);
}

// ---- one job

shoal_output_t *
shoal_output_new(shoal_outputs_t *outputs, uint64_t job, bool collects)
{
    shoal_output_t *output = shoal_alloc(sizeof(*output));
    output->outputs = outputs;
    output->job = job;
    output->collects = collects;
    SHOAL_LIST_ADD(&outputs->all, output, next, prev);
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
        shoal_pack_free(outputs, it->entries[i], true);
    }
    if (it->collects && !outputs->has_journal) {
        shoal_payload_forget(outputs, it->job);
    }
    if (it->is_gated) {
        SHOAL_LIST_REMOVE(&outputs->gated, it, next_gated, prev_gated);
    }
    SHOAL_LIST_REMOVE(&outputs->all, it, next, prev);
    free(it->by_call);
    free(it->entries);
    free(it);
    *output = NULL;
}

void
shoal_output_finish(shoal_output_t *output, uint64_t lsn)
{
    output->is_finished = true;
    output->finish_lsn = lsn;
    shoal_output_gate(output, lsn);
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

void
shoal_output_taken(shoal_output_t *output, uint64_t commit)
{
    output->taken = commit > output->taken ? commit : output->taken;
}

bool
shoal_output_is_fetched(const shoal_output_t *output)
{
    return output->bytes == 0 || (output->is_finished && output->taken >= output->commits);
}

bool
shoal_output_is_read(const shoal_output_t *output)
{
    const shoal_subscription_t *it = output->subscriptions.first;
    while (it && it->is_over) {
        it = it->next;
    }
    return it;
}

bool
shoal_output_has_room(const shoal_output_t *output)
{
    return shoal_draft_first_credit(output) > 0;
}

bool
shoal_output_is_waiting(const shoal_output_t *output)
{
    return (output->is_refused && shoal_draft_first_credit(output) == 0) ||
           output->waiting_count > 0 || (output->outputs->is_stalled && output->unwritten > 0);
}
