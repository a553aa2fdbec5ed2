// SPDX-License-Identifier: Apache-2.0
//
// stream.c - see cluster.h: what attempts send, batches and results.

#include <stdio.h>

#include "head/cluster/cluster_parts.h"
#include "head/cluster/mail.h"
#include "head/cluster/sources.h"

// ---- streams

// Grants what is not collected again, a part of the credit at a time; nothing while the ledger is
// behind, which gets all that discover streams.
static void
stream_grant(shoal_cluster_t *cluster, shoal_attempt_t *attempt, size_t bytes)
{
    attempt->ungranted += (uint32_t)bytes;
    if (attempt->ungranted >= SHOAL_STREAM_CREDIT / 4 && !cluster->is_behind) {
        const shoal_port_t *port = &cluster->config.port;
        port->grant(port->ctx, attempt->worker, attempt->call, attempt->number, attempt->ungranted);
        attempt->credit += attempt->ungranted;
        attempt->ungranted = 0;
    }
}

void
shoal_cluster_grant_again(shoal_cluster_t *cluster)
{
    for (shoal_job_t *job = cluster->first; job; job = job->next) {
        for (shoal_attempt_t *attempt = job->attempts; attempt; attempt = attempt->job_next) {
            stream_grant(cluster, attempt, 0);
        }
    }
}

// Follows a record that comes in chunks.
static bool
chunk_check(shoal_attempt_t *attempt, const shoal_msg_batch_t *batch, size_t size,
            shoal_status_t *status)
{
    attempt->chunk_bytes =
        batch->more || attempt->has_more ? attempt->chunk_bytes + (uint32_t)size : 0;
    attempt->has_more = batch->more;
    if (attempt->chunk_bytes > SHOAL_RECORD_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a record has at most %d bytes",
                          SHOAL_RECORD_BYTES_MAX);
    }
    if (!batch->more) {
        attempt->chunk_bytes = 0;
    }
    return true;
}

static void
items_take(shoal_cluster_t *cluster, shoal_attempt_t *attempt, zmq_msg_t *payload, uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    shoal_status_t why = SHOAL_STATUS_INIT;
    shoal_slice_t items = {zmq_msg_data(payload), zmq_msg_size(payload)};
    if (job->spec.plan_only || !job->is_limited) {
        shoal_entry_t entry = {
            .kind = SHOAL_ENTRY_ITEMS, .attempt = attempt->number, .bytes = items};
        shoal_ledger_add(cluster->ledger, &job->page, &entry);
        if (!shoal_job_take_items(job, items, &why)) {
            why.error_class = SHOAL_FATAL;
            shoal_worker_t *worker = attempt->worker;
            uint64_t call = attempt->call;
            uint32_t number = attempt->number;
            const shoal_port_t *port = &cluster->config.port;
            shoal_cluster_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
            port->cancel(port->ctx, worker, call, number, why.text);
            return;
        }
    }
    stream_grant(cluster, attempt, items.len);
    shoal_cluster_settle(cluster, job, now_ms);
}

// A batch of dead letters; what it used of the credit is granted again. Too many end the job.
static bool
letters_take(shoal_cluster_t *cluster, shoal_attempt_t *attempt, uint64_t count, zmq_msg_t *payload,
             uint64_t now_ms, shoal_status_t *status)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    shoal_slice_t letters = {zmq_msg_data(payload), zmq_msg_size(payload)};
    if (attempt->draft) {
        shoal_draft_pass(attempt->draft, letters.len);
    } else {
        stream_grant(cluster, attempt, letters.len);
    }
    if (attempt->is_torn || shoal_mail_take(attempt->job, attempt, count, letters, &why)) {
        return true;
    }
    if (why.code == SHOAL_PROTOCOL) {
        *status = why;
        return false;
    }
    shoal_cluster_fail_job(cluster, attempt->job, &why, now_ms);
    return true;
}

bool
shoal_cluster_batch(shoal_cluster_t *cluster, shoal_worker_t *worker,
                    const shoal_msg_batch_t *batch, zmq_msg_t *payload, uint64_t now_ms,
                    shoal_status_t *status)
{
    size_t size = zmq_msg_size(payload);
    const shoal_port_t *port = &cluster->config.port;
    if (size > SHOAL_BATCH_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a BATCH has at most %d bytes of payload, got %zu",
                          SHOAL_BATCH_BYTES_MAX, size);
    }
    shoal_attempt_t *attempt = shoal_cluster_attempt(cluster, worker, batch->call, batch->attempt);
    if (!attempt) {
        cluster->counts.fenced++;
        if (size > 0) { // so that the sender is not held up before it sees the CANCEL
            port->grant(port->ctx, worker, batch->call, (uint32_t)batch->attempt, (uint32_t)size);
        }
        return true;
    }
    cluster->counts.batches++;
    int64_t credit = attempt->draft ? shoal_draft_credit(attempt->draft) : attempt->credit;
    if (credit <= 0 && size > 0) {
        return shoal_fail(status, SHOAL_LIMIT, "call %llu has sent more than its credit",
                          (unsigned long long)batch->call);
    }
    if (!chunk_check(attempt, batch, size, status)) {
        return false;
    }
    shoal_attempt_renew(cluster->attempts, attempt, now_ms);
    if (batch->seq != attempt->batches && !attempt->is_torn) {
        attempt->is_torn = true; // the connection was cut: what it has cannot become a commit
    }
    attempt->batches++;
    attempt->records += batch->records;
    shoal_cluster_changed(cluster, attempt->job, false); // progress counts what has arrived
    if (!attempt->draft) {
        attempt->credit -= (int64_t)size;
    }
    if (batch->letters > 0) {
        return letters_take(cluster, attempt, batch->letters, payload, now_ms, status);
    }
    bool has_items = attempt->shard == SHOAL_SHARD_DISCOVER;
    if (has_items && !attempt->is_torn) {
        items_take(cluster, attempt, payload, now_ms);
    } else if (attempt->draft) {
        shoal_draft_append(attempt->draft, (uint32_t)batch->records, payload);
    } else {
        stream_grant(cluster, attempt, size);
    }
    return true;
}

// ---- results

static void
attempt_done(shoal_cluster_t *cluster, shoal_attempt_t *attempt, const shoal_msg_result_t *result,
             uint64_t now_ms)
{
    shoal_job_t *job = attempt->job;
    uint32_t index = attempt->shard;
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (attempt->is_torn || result->batches != attempt->batches ||
        result->records != attempt->records) {
        (void)shoal_fail(&why, SHOAL_UNAVAILABLE,
                         "%llu batches with %llu records were sent and %llu with %llu arrived",
                         (unsigned long long)result->batches, (unsigned long long)result->records,
                         (unsigned long long)attempt->batches,
                         (unsigned long long)attempt->records);
        // What an attempt had sent before the head was started again is gone, and not its fault.
        shoal_cluster_fail(cluster, attempt,
                           attempt->is_recovered ? SHOAL_END_RETURNED : SHOAL_END_FAILED, &why,
                           now_ms);
        return;
    }
    if (!shoal_mail_check(job, attempt, &why)) {
        if (why.code == SHOAL_LIMIT) {
            shoal_cluster_fail_job(cluster, job, &why, now_ms);
        } else {
            shoal_cluster_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
        }
        return;
    }
    if (!shoal_job_take_result(job, index, result->detail, result->records, attempt->worker->id,
                               &why)) {
        shoal_cluster_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
        return;
    }
    shoal_entry_t entry = {.kind = SHOAL_ENTRY_DONE,
                           .shard = index,
                           .attempt = attempt->number,
                           .batches = attempt->draft ? shoal_draft_batches(attempt->draft) : 0,
                           .records = result->records,
                           .bytes = result->detail};
    shoal_ledger_add(cluster->ledger, &job->page, &entry);
    if (attempt->draft) {
        (void)shoal_draft_commit(&attempt->draft, shoal_ledger_lsn(cluster->ledger));
    }
    if (index == SHOAL_SHARD_CHECK) {
        shoal_sources_found(cluster, attempt);
    } else if (index == SHOAL_SHARD_DISCOVER) {
        shoal_sources_pin(attempt);
    }
    shoal_mail_commit(job, attempt, shoal_cluster_wall(cluster, now_ms));
    shoal_cluster_unlink(cluster, attempt);
    shoal_job_shard_done(job, index);
    if (job->is_limited && shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER)->live !=
                               SHOAL_SHARD_NONE) { // nothing more is needed of it
        shoal_cluster_cancel(
            cluster,
            shoal_attempt_at(cluster->attempts,
                             shoal_backlog_at(job->backlog, SHOAL_SHARD_DISCOVER)->live),
            "the limit of records is reached");
        shoal_job_shard_done(job, SHOAL_SHARD_DISCOVER);
    }
    shoal_cluster_settle(cluster, job, now_ms);
}

static void
attempt_failed(shoal_cluster_t *cluster, shoal_attempt_t *attempt, const shoal_msg_result_t *result,
               uint64_t now_ms)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail_as(&why, shoal_error_class_from(result->error_class),
                        shoal_code_from(result->code), "%.*s", SHOAL_SLICE_ARGS(result->reason));
    if (result->key.len > 0) {
        (void)snprintf(why.key, sizeof(why.key), "%.*s", SHOAL_SLICE_ARGS(result->key));
    }
    shoal_cluster_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
}

void
shoal_cluster_result(shoal_cluster_t *cluster, shoal_worker_t *worker,
                     const shoal_msg_result_t *result, uint64_t now_ms)
{
    if (result->seq <= worker->seq) {
        cluster->counts.repeated++;
        return;
    }
    worker->seq = result->seq;
    shoal_attempt_t *attempt =
        shoal_cluster_attempt(cluster, worker, result->call, result->attempt);
    if (!attempt) {
        cluster->counts.fenced++;
        return;
    }
    cluster->counts.results++;
    shoal_status_t why = SHOAL_STATUS_INIT;
    switch (result->outcome) {
    case SHOAL_OUTCOME_DONE: attempt_done(cluster, attempt, result, now_ms); break;
    case SHOAL_OUTCOME_FAILED: attempt_failed(cluster, attempt, result, now_ms); break;
    case SHOAL_OUTCOME_RETURNED:
    case SHOAL_OUTCOME_CANCELLED:
        (void)shoal_fail(&why, SHOAL_CANCELLED, "worker \"%s\" gave the call back%s%.*s",
                         worker->label, result->reason.len ? ": " : "",
                         SHOAL_SLICE_ARGS(result->reason));
        // One that keeps its window open and gives calls back shall not get them at full speed.
        shoal_cluster_fail(cluster, attempt,
                           worker->window > 0 ? SHOAL_END_DECLINED : SHOAL_END_RETURNED, &why,
                           now_ms);
        break;
    default:
        (void)shoal_fail(&why, SHOAL_PROTOCOL, "worker \"%s\" ended the call with outcome %llu",
                         worker->label, (unsigned long long)result->outcome);
        shoal_cluster_fail(cluster, attempt, SHOAL_END_FAILED, &why, now_ms);
        break;
    }
}
