// SPDX-License-Identifier: Apache-2.0
//
// port.c - see hub_parts.h: what the cluster and the outputs want sent.

#include <inttypes.h>
#include <stdio.h>

#include "head/cluster/notes.h"
#include "head/hub/hub_parts.h"

// ---- the port: what the cluster wants sent

static shoal_port_sent_t
port_result(shoal_sent_t sent)
{
    switch (sent) {
    case SHOAL_SENT: return SHOAL_PORT_SENT;
    case SHOAL_SENT_FULL: return SHOAL_PORT_FULL;
    case SHOAL_SENT_GONE:
    case SHOAL_SENT_BROKEN:
    default: return SHOAL_PORT_CUT;
    }
}

static shoal_sent_t
actor_send(shoal_hub_t *hub, shoal_worker_t *worker, const shoal_job_t *job)
{
    const shoal_registry_t *registry = shoal_cluster_registry(hub->cluster);
    shoal_message_t message = {.type = SHOAL_MSG_ACTOR};
    message.actor.actor = job->number;
    message.actor.job = job->number;
    message.actor.class_name =
        shoal_slice_of(shoal_registry_class_name(registry, job->class_number));
    zmq_msg_t payload;
    if (zmq_msg_init_size(&payload, job->args_len) != 0) {
        return SHOAL_SENT_FULL; // no memory for it now
    }
    memcpy(zmq_msg_data(&payload), job->args, job->args_len);
    shoal_sent_t sent = shoal_hub_send(hub, worker->peer, &message, &payload);
    (void)zmq_msg_close(&payload);
    if (sent == SHOAL_SENT) {
        shoal_worker_add_actor(worker, job->number);
    }
    return sent;
}

static shoal_port_sent_t
port_call(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt, const char *method,
          shoal_slice_t args, uint64_t limit, uint32_t credit)
{
    shoal_hub_t *hub = ctx;
    if (!worker->peer) {
        return SHOAL_PORT_CUT;
    }
    if (!shoal_worker_has_actor(worker, attempt->job->number)) {
        shoal_sent_t sent = actor_send(hub, worker, attempt->job);
        if (sent != SHOAL_SENT) {
            return port_result(sent);
        }
    }
    shoal_message_t message = {.type = SHOAL_MSG_CALL};
    message.call.call = attempt->call;
    message.call.attempt = attempt->number;
    message.call.actor = attempt->job->number;
    message.call.method = shoal_slice_of(method);
    message.call.credit = credit;
    message.call.limit = limit;
    message.call.ack = worker->ack.open;
    message.call.args = args;
    shoal_sent_t sent = shoal_hub_send(hub, worker->peer, &message, NULL);
    if (sent == SHOAL_SENT) {
        shoal_hub_owe_nothing(hub, worker);
    }
    return port_result(sent);
}

static void
port_cancel(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, const char *reason)
{
    shoal_hub_t *hub = ctx;
    shoal_message_t message = {.type = SHOAL_MSG_CANCEL};
    message.cancel.call = call;
    message.cancel.attempt = number;
    message.cancel.reason = shoal_slice_of(reason);
    if (worker->peer) {
        (void)shoal_hub_send(hub, worker->peer, &message, NULL);
    }
}

static void
port_grant(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, uint32_t bytes)
{
    shoal_hub_t *hub = ctx;
    shoal_message_t message = {.type = SHOAL_MSG_GRANT};
    message.grant.call = call;
    message.grant.attempt = number;
    message.grant.bytes = bytes;
    if (worker->peer) {
        (void)shoal_hub_send(hub, worker->peer, &message, NULL);
    }
}

static void
port_drop_actor(void *ctx, shoal_worker_t *worker, uint64_t job)
{
    shoal_hub_t *hub = ctx;
    shoal_message_t message = {.type = SHOAL_MSG_DROP_ACTOR};
    message.drop_actor.actor = job;
    if (worker->peer) {
        (void)shoal_hub_send(hub, worker->peer, &message, NULL);
    }
}

static void
port_changed(void *ctx, shoal_job_t *job, bool is_urgent)
{
    shoal_hub_t *hub = ctx;
    hub->outputs_touched = hub->outputs_touched || job->output;
    if (is_urgent && shoal_job_is_final(job) && !job->is_held) {
        shoal_log(hub->log, SHOAL_LOG_INFO, "JOB-ENDED",
                  "job=%" PRIu64 " state=%s shards=%" PRIu64 " records=%" PRIu64, job->number,
                  shoal_job_state_name((int)job->state), job->shards, job->records);
    }
    if (!job->watchers) {
        return;
    }
    if (!job->is_changed) {
        job->is_changed = true;
        hub->changed[hub->changed_count++] = (shoal_changed_job_t){job, is_urgent};
    } else if (is_urgent) {
        job->told_ms = 0;
    }
    if (is_urgent) {
        job->told_ms = 0;
    }
}

static void
port_forgotten(void *ctx, shoal_job_t *job)
{
    shoal_hub_t *hub = ctx;
    for (size_t i = 0; i < hub->changed_count; i++) {
        if (hub->changed[i].job == job) {
            hub->changed[i] = hub->changed[--hub->changed_count];
            break;
        }
    }
    shoal_watch_drop_job(job);
}

static void
port_ended(void *ctx, const shoal_job_t *job, const shoal_attempt_t *attempt,
           const shoal_status_t *why)
{
    shoal_hub_t *hub = ctx;
    unsigned left_out = 0;
    if (shoal_log_limit_pass(&hub->refused_limit, hub->now_ms, SHOAL_REFUSED_LOGS, &left_out)) {
        shoal_log(hub->log, SHOAL_LOG_WARN, "ATTEMPT-FAILED",
                  "job=%" PRIu64 " call=%" PRIu64 " attempt=%u worker=%s class=%s code=%s "
                  "left_out=%u reason=\"%s\"",
                  job->number, attempt->call, attempt->number, attempt->worker->id,
                  shoal_error_class_name((int)why->error_class), shoal_code_name((int)why->code),
                  left_out, why->text);
    }
}

// ---- the hooks of the outputs

static void
hook_grant(void *ctx, void *owner, uint32_t bytes)
{
    const shoal_attempt_t *attempt = owner;
    port_grant(ctx, attempt->worker, attempt->call, attempt->number, bytes);
}

static void
hook_disk(void *ctx, const shoal_status_t *why)
{
    shoal_hub_t *hub = ctx;
    (void)snprintf(hub->disk_trouble, sizeof(hub->disk_trouble), "%s", why ? why->text : "");
    if (why) {
        shoal_log(hub->log, SHOAL_LOG_ERROR, "DISK-FULL", "reason=\"%s\"", why->text);
    } else {
        shoal_log(hub->log, SHOAL_LOG_INFO, "DISK-OK", "reason=\"it takes data again\"");
    }
}

static void
hook_mended(void *ctx, const char *text)
{
    const shoal_hub_t *hub = ctx;
    shoal_log(hub->log, SHOAL_LOG_WARN, "SPOOL-MENDED", "reason=\"%s\"", text);
}

static void
hook_waits(void *ctx, uint64_t number, bool is_waiting)
{
    (void)is_waiting; // the event asks for itself
    shoal_hub_t *hub = ctx;
    shoal_job_t *job = shoal_cluster_job(hub->cluster, number);
    if (job && !shoal_job_is_final(job)) {
        port_changed(hub, job, /*is_urgent=*/false);
    }
}

static void
hook_durable(void *ctx, uint64_t lsn)
{
    shoal_hub_t *hub = ctx;
    hub->durable_lsn = lsn;
}

shoal_port_t
shoal_hub_port(shoal_hub_t *hub)
{
    return (shoal_port_t){hub,          port_call,      port_cancel, port_grant, port_drop_actor,
                          port_changed, port_forgotten, port_ended};
}

shoal_output_hooks_t
shoal_hub_hooks(shoal_hub_t *hub)
{
    return (shoal_output_hooks_t){.ctx = hub,
                                  .grant = hook_grant,
                                  .piece = shoal_watch_piece,
                                  .end = shoal_watch_end,
                                  .failed = shoal_watch_failed,
                                  .disk = hook_disk,
                                  .waits = hook_waits,
                                  .noted = shoal_notes_back,
                                  .mended = hook_mended,
                                  .durable = hook_durable};
}
