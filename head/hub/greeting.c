// SPDX-License-Identifier: Apache-2.0
//
// greeting.c - see hub_parts.h: HELLO.

#include <stdio.h>

#include "head/hub/drain.h"
#include "head/hub/hub_parts.h"

static void
welcome_send(shoal_hub_t *hub, shoal_peer_t *peer)
{
    shoal_message_t message = {.type = SHOAL_MSG_WELCOME};
    message.welcome.head = shoal_slice_of(hub->id);
    message.welcome.software = SHOAL_SLICE("shoal " SHOAL_VERSION);
    message.welcome.heartbeat_ms = hub->config->heartbeat_ms;
    message.welcome.liveness_ms = hub->config->liveness_ms;
    message.welcome.lease_ms = hub->config->lease_ms;
    message.welcome.batch_bytes = SHOAL_BATCH_BYTES_MAX;
    message.welcome.record_bytes = SHOAL_RECORD_BYTES_MAX;
    (void)shoal_hub_send(hub, peer, &message, NULL);
}

static bool
admit_worker(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_msg_hello_t *hello,
             shoal_status_t *status)
{
    shoal_offer_t offer = {
        .id = hello->id,
        .name = hello->name,
        .incarnation = hello->incarnation,
        .slots = (uint32_t)hello->slots,
        .window = (uint32_t)hello->window,
        .classes = hello->classes,
        .labels = hello->labels,
    };
    shoal_worker_t *known = shoal_registry_find(shoal_cluster_registry(hub->cluster), hello->id);
    if (!shoal_hub_check_owner(peer, known, status)) {
        return false;
    }
    if (known && known->peer) { // its attempts are settled by the join
        shoal_peer_t *old = known->peer;
        shoal_hub_peer_fail(hub, old, SHOAL_PEER_ON_TAKEN_OVER,
                            "its id came on another connection");
    }
    shoal_worker_t *worker = NULL;
    if (!shoal_cluster_join(hub->cluster, &offer, hello->running, hello->last_exit, hub->now_ms,
                            &worker, status)) {
        return false;
    }
    worker->peer = peer;
    shoal_hub_note_owner(peer, worker);
    shoal_hub_owe_again(hub, worker);
    worker->heard_ms = hub->now_ms;
    peer->worker = worker;
    peer->role = SHOAL_FROM_WORKER;
    welcome_send(hub, peer);
    shoal_cluster_cancel_strays(hub->cluster, worker, hello->running);
    if (!shoal_cluster_drop_strays(hub->cluster, worker, hello->actors, status)) {
        return false;
    }
    shoal_drain_remind(hub, worker);
    shoal_log(hub->log, SHOAL_LOG_INFO, "WORKER-JOINED",
              "worker=%s name=\"%s\" slots=%u window=%u key=%s", worker->id, worker->name,
              worker->slots, worker->window, shoal_hub_key_name(hub, peer));
    return true;
}

bool
shoal_hub_admit(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_msg_hello_t *hello,
                shoal_status_t *status)
{
    if (!shoal_hub_check_key(hub, peer, hello->role, status)) {
        return false;
    }
    if (shoal_slice_is(hello->role, "worker")) {
        return admit_worker(hub, peer, hello, status);
    }
    if (!shoal_slice_is(hello->role, "client")) {
        return shoal_fail(status, SHOAL_PROTOCOL, "role \"%.*s\" is neither worker nor client",
                          SHOAL_SLICE_ARGS(hello->role));
    }
    peer->role = SHOAL_FROM_CLIENT;
    (void)snprintf(peer->session, sizeof(peer->session), "%.*s", SHOAL_SLICE_ARGS(hello->id));
    welcome_send(hub, peer);
    return true;
}
