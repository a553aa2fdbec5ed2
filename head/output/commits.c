// SPDX-License-Identifier: Apache-2.0
//
// commits.c - see output.h: which attempt each commit came from, for the journal, and the way back
// from there to the batches that the spool still has.

#include <stdlib.h>

#include "head/cluster/attempt.h"
#include "head/output/output_parts.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define NUMBERS_EACH 4 // of a commit: how many after the one before, shard, attempt, batches

// ---- to the journal

void
shoal_output_write_commits(const shoal_output_t *output, shoal_buffer_t *out)
{
    uint64_t before = 0;
    shoal_write_array(out, (uint32_t)(1 + NUMBERS_EACH * output->entry_count));
    shoal_write_uint(out, output->commits);
    for (size_t i = 0; i < output->entry_count; i++) {
        const shoal_pack_t *pack = output->entries[i];
        shoal_write_uint(out, pack->commit - before);
        shoal_write_uint(out, shoal_call_shard(pack->call));
        shoal_write_uint(out, pack->attempt);
        shoal_write_uint(out, pack->count);
        before = pack->commit;
    }
}

// ---- and back

void
shoal_output_restore_commit(shoal_output_t *output, uint64_t call, uint32_t attempt,
                            uint32_t batches)
{
    output->commits++;
    if (batches == 0 || !output->collects) {
        return;
    }
    shoal_pack_t *pack = shoal_alloc(sizeof(*pack));
    pack->output = output;
    pack->commit = output->commits;
    pack->call = call;
    pack->attempt = attempt;
    pack->expected = batches;
    shoal_output_add_pack(output, pack);
}

bool
shoal_output_read_commits(shoal_output_t *output, shoal_slice_t commits, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(commits);
    uint32_t count = shoal_cursor_array(&cursor);
    uint64_t total = shoal_cursor_uint(&cursor);
    bool is_good = count % NUMBERS_EACH == 1;
    for (uint32_t i = 1; i < count && is_good; i += NUMBERS_EACH) {
        uint64_t step = shoal_cursor_uint(&cursor);
        uint64_t shard = shoal_cursor_uint(&cursor);
        uint64_t attempt = shoal_cursor_uint(&cursor);
        uint64_t batches = shoal_cursor_uint(&cursor);
        is_good = !cursor.is_bad && step > 0 && step <= total - output->commits && batches > 0 &&
                  shard < SHOAL_SHARDS_MAX && attempt <= UINT32_MAX && batches <= UINT32_MAX;
        if (is_good) {
            output->commits += step - 1;
            shoal_output_restore_commit(output, shoal_call_number(output->job, (uint32_t)shard),
                                        (uint32_t)attempt, (uint32_t)batches);
        }
    }
    if (!is_good || !shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_IO, "the journal's list of its commits is malformed");
    }
    output->commits = total;
    return true;
}

static int
pack_compare(const shoal_pack_t *a, uint64_t call, uint32_t attempt)
{
    if (a->call != call) {
        return a->call < call ? -1 : 1;
    }
    return a->attempt < attempt ? -1 : a->attempt > attempt;
}

static int
packs_compare(const void *a, const void *b)
{
    const shoal_pack_t *other = *(shoal_pack_t *const *)b;
    return pack_compare(*(shoal_pack_t *const *)a, other->call, other->attempt);
}

// The commit of that attempt, or NULL.
static shoal_pack_t *
pack_find(shoal_output_t *output, uint64_t call, uint32_t attempt)
{
    if (!output->by_call) {
        size_t bytes = output->entry_count * sizeof(*output->by_call);
        output->by_call = shoal_alloc(bytes + 1);
        if (bytes > 0) {
            memcpy(output->by_call, output->entries, bytes);
            qsort(output->by_call, output->entry_count, sizeof(*output->by_call), packs_compare);
        }
    }
    size_t low = 0;
    size_t high = output->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = pack_compare(output->by_call[middle], call, attempt);
        if (order == 0) {
            return output->by_call[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

bool
shoal_output_restore_batch(shoal_output_t *output, const shoal_spool_batch_t *batch)
{
    shoal_pack_t *pack = pack_find(output, batch->call, batch->attempt);
    if (!pack || batch->seq != pack->count || pack->count == pack->expected) {
        return false;
    }
    uint32_t index = shoal_pack_add(pack, batch->place.length, batch->records);
    pack->entries[index].segment = batch->place.segment;
    pack->entries[index].offset = batch->place.offset;
    return true;
}

bool
shoal_output_restore_end(shoal_output_t *output, shoal_status_t *status)
{
    free(output->by_call);
    output->by_call = NULL;
    for (size_t i = 0; i < output->entry_count; i++) {
        const shoal_pack_t *pack = output->entries[i];
        if (pack->count != pack->expected) {
            return shoal_fail(status, SHOAL_IO,
                              "commit %llu (shard %u, attempt %u) has %u batches, of which the "
                              "spool has %u",
                              (unsigned long long)pack->commit, shoal_call_shard(pack->call),
                              pack->attempt, pack->expected, pack->count);
        }
        output->bytes += pack->bytes;
    }
    output->gate = (shoal_tide_t){
        .open = output->commits, .waiting = output->commits, .latest = output->commits};
    return true;
}
