// SPDX-License-Identifier: Apache-2.0
//
// drain.c - see drain.h.

#include "head/hub/drain.h"

#include "proto/record/writer.h"

static bool
is_meant(const shoal_worker_t *worker, shoal_slice_t text)
{
    return shoal_slice_is(text, worker->name) ||
           (text.len >= SHOAL_DRAIN_PREFIX_MIN && text.len <= strlen(worker->id) &&
            memcmp(text.ptr, worker->id, text.len) == 0);
}

// "worker-3d6b0ed1" of "HOST worker-3d6b0ed1": what its pid file and its log are called.
static bool
is_called(const shoal_worker_t *worker, shoal_slice_t text)
{
    const char *space = strrchr(worker->name, ' ');
    return space && text.len > 0 && shoal_slice_is(text, space + 1);
}

typedef bool matches_fn(const shoal_worker_t *worker, shoal_slice_t text);

// How many of the workers that are not lost match; one of them is in `found`.
static size_t
search(const shoal_registry_t *registry, matches_fn *matches, shoal_slice_t text,
       shoal_worker_t **found)
{
    size_t count = 0;
    for (int state = 0; state < SHOAL_WORKER_LOST; state++) {
        shoal_worker_t *worker = shoal_registry_first(registry, (shoal_worker_state_t)state);
        for (; worker; worker = worker->list_next) {
            if (matches(worker, text)) {
                *found = worker;
                count++;
            }
        }
    }
    return count;
}

shoal_worker_t *
shoal_drain_find(const shoal_registry_t *registry, shoal_slice_t text, shoal_status_t *status)
{
    shoal_worker_t *found = shoal_registry_find(registry, text);
    size_t count = found && found->state != SHOAL_WORKER_LOST;
    count = count > 0 ? count : search(registry, is_meant, text, &found);
    count = count > 0 ? count : search(registry, is_called, text, &found);
    if (count == 1) {
        return found;
    }
    if (count == 0) {
        (void)shoal_fail(status, SHOAL_NOT_FOUND,
                         "there is no worker \"%.*s\" here; shoal status lists them",
                         SHOAL_SLICE_ARGS(text));
    } else {
        (void)shoal_fail(status, SHOAL_INVALID,
                         "\"%.*s\" means %zu workers; give the id of one: shoal status --output "
                         "json lists them",
                         SHOAL_SLICE_ARGS(text), count);
    }
    return NULL;
}

// It gets no more calls from now on; its own WINDOW 0 follows.
static void
tell(shoal_hub_t *hub, shoal_worker_t *worker, shoal_slice_t reason)
{
    shoal_message_t message = {.type = SHOAL_MSG_DRAIN};
    message.drain.drain_ms = worker->drain_ms;
    message.drain.reason = reason;
    (void)shoal_hub_send(hub, worker->peer, &message, NULL);
    shoal_cluster_window(shoal_hub_cluster(hub), worker, 0);
}

void
shoal_drain_remind(shoal_hub_t *hub, shoal_worker_t *worker)
{
    if (worker->must_drain && worker->peer) {
        tell(hub, worker, SHOAL_SLICE("asked for before it registered again"));
    }
}

bool
shoal_drain_serve(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
                  shoal_slice_t payload, shoal_status_t *status)
{
    (void)payload;
    const shoal_msg_drain_t *drain = &message->drain;
    const shoal_registry_t *registry = shoal_cluster_registry(shoal_hub_cluster(hub));
    shoal_worker_t *worker = shoal_drain_find(registry, drain->worker, status);
    if (!worker) {
        return false;
    }
    worker->must_drain = true;
    worker->drain_ms = drain->drain_ms;
    shoal_log(shoal_hub_log(hub), SHOAL_LOG_INFO, "WORKER-DRAIN",
              "worker=%s name=\"%s\" running=%u drain_ms=%llu", worker->id, worker->name,
              worker->running, (unsigned long long)worker->drain_ms);
    if (worker->peer) {
        tell(hub, worker, drain->reason);
    }
    shoal_buffer_t *body = shoal_hub_scratch(hub);
    shoal_buffer_clear(body);
    shoal_write_map(body, 3);
    shoal_write_key(body, "id");
    shoal_write_text(body, worker->id);
    shoal_write_key(body, "name");
    shoal_write_text(body, worker->name);
    shoal_write_key(body, "running");
    shoal_write_uint(body, worker->running);
    shoal_message_t reply = {.type = SHOAL_MSG_REPLY};
    reply.reply.request = drain->request;
    reply.reply.body = shoal_buffer_slice(body);
    (void)shoal_hub_send(hub, peer, &reply, NULL);
    return true;
}
