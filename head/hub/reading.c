// SPDX-License-Identifier: Apache-2.0
//
// reading.c - see hub_parts.h: messages, and what workers send.

#include <stdio.h>

#include "head/hub/hub_parts.h"
#include "proto/wire/endpoint.h"
#include "proto/wire/secure.h"

#define DISPATCH_EVERY 64 // messages: the calls that they lead to leave together

// ---- messages of workers

static bool
serve_heartbeat(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
                shoal_status_t *status)
{
    shoal_message_t answer = {.type = SHOAL_MSG_HEARTBEAT};
    if (peer->worker) {
        if (!shoal_cluster_progress(hub->cluster, peer->worker, message->heartbeat.progress,
                                    hub->now_ms, status)) {
            return false;
        }
        answer.heartbeat.ack = peer->worker->ack.open;
        shoal_hub_owe_nothing(hub, peer->worker);
    }
    (void)shoal_hub_send(hub, peer, &answer, NULL);
    return true;
}

static bool
serve_worker(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
             shoal_status_t *status)
{
    shoal_worker_t *worker = peer->worker;
    if (message->type == SHOAL_MSG_RESULT) {
        shoal_cluster_result(hub->cluster, worker, &message->result, hub->now_ms);
        shoal_hub_owe_seq(hub, worker);
        return true;
    }
    if (message->type == SHOAL_MSG_BATCH) {
        hub->outputs_touched = true;
        return shoal_cluster_batch(hub->cluster, worker, &message->batch, &hub->parcel.payload,
                                   hub->now_ms, status);
    }
    if (message->type == SHOAL_MSG_WINDOW) {
        shoal_cluster_window(hub->cluster, worker, (uint32_t)message->window.calls);
        return true;
    }
    return shoal_fail(status, SHOAL_PROTOCOL, "a worker may not send %s",
                      shoal_message_name((int)message->type));
}

static bool
serve(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message, shoal_status_t *status)
{
    if (peer->worker && peer->worker->state != SHOAL_WORKER_ALIVE) {
        shoal_cluster_note(hub->cluster, peer->worker, SHOAL_WORKER_ON_HEARD);
    }
    if ((shoal_message_senders(message->type) & peer->role) == 0) {
        return shoal_fail(status, SHOAL_PROTOCOL, "a %s may not send %s",
                          peer->role == SHOAL_FROM_WORKER ? "worker" : "client",
                          shoal_message_name((int)message->type));
    }
    if (message->type == SHOAL_MSG_HEARTBEAT) {
        return serve_heartbeat(hub, peer, message, status);
    }
    if (message->type == SHOAL_MSG_ERROR) {
        char reason[512];
        (void)snprintf(reason, sizeof(reason), "%.*s", SHOAL_SLICE_ARGS(message->error.reason));
        shoal_hub_log_peer(hub, peer, SHOAL_PEER_ON_MESSAGE, reason);
        return true;
    }
    if (peer->role == SHOAL_FROM_WORKER) {
        return serve_worker(hub, peer, message, status);
    }
    hub->outputs_touched = true; // it may subscribe, or give credit
    return shoal_request_serve(hub, peer, message, shoal_parcel_payload(&hub->parcel), status);
}

// ---- reading

static void
teach(shoal_hub_t *hub, shoal_peer_t *peer, int type)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (++peer->strangeness > SHOAL_PEER_STRANGER_MAX) {
        (void)shoal_fail(&why, SHOAL_PROTOCOL, "%d messages and no HELLO", peer->strangeness);
        shoal_hub_peer_event(hub, peer, SHOAL_PEER_ON_BAD, type, &why);
        return;
    }
    (void)shoal_fail(&why, SHOAL_PROTOCOL, "HELLO comes first; register again");
    shoal_hub_error(hub, peer, type, 0, /*closing=*/false, &why);
}

// The peer that a message came from; NULL if there is no room for it, or it is a stranger's.
static shoal_peer_t *
sender_find(shoal_hub_t *hub)
{
    shoal_slice_t identity = shoal_parcel_identity(&hub->parcel);
    uint32_t key = 0;
    shoal_peer_t *peer = NULL;
    bool is_ours = shoal_peer_key(identity, &key);
    if (is_ours) {
        peer = shoal_peer_find(hub->peers, key);
        if (peer) {
            shoal_door_heard(hub->doors, peer->fd);
            return peer;
        }
        peer = shoal_peer_add(hub->peers, key, identity, hub->now_ms);
        if (peer) {
            shoal_peer_note_fd(hub->peers, peer, shoal_parcel_fd(&hub->parcel));
            shoal_door_heard(hub->doors, peer->fd);
            return peer;
        }
    }
    // It brings its own routing id, or there are too many peers: told and shut, nothing is kept.
    shoal_message_t message = {.type = SHOAL_MSG_ERROR};
    message.error.code = is_ours ? SHOAL_LIMIT : SHOAL_PROTOCOL;
    message.error.reason = is_ours ? SHOAL_SLICE("too many peers")
                                   : SHOAL_SLICE("a peer must not choose its routing id");
    message.error.closing = true;
    (void)shoal_message_send(hub->router, identity, &message, NULL, &hub->frame);
    shoal_hub_note_stranger(hub, shoal_parcel_fd(&hub->parcel));
    hub->refused++;
    return NULL;
}

// The message cannot be read: a number that is unknown only is answered, all else is the end.
static void
unreadable(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
           const shoal_status_t *why)
{
    bool is_new_message = shoal_parcel_is_unknown(&hub->parcel, message);
    if (is_new_message && peer->state != SHOAL_PEER_NEW) {
        shoal_peer_hear(hub->peers, peer, hub->now_ms);
        shoal_hub_error(hub, peer, (int)message->type, 0, /*closing=*/false, why);
    } else if (is_new_message) {
        teach(hub, peer, (int)message->type);
    } else {
        shoal_hub_peer_event(hub, peer, SHOAL_PEER_ON_BAD, (int)message->type, why);
    }
}

static void
message_take(shoal_hub_t *hub)
{
    shoal_peer_t *peer = sender_find(hub);
    if (!peer || peer->state == SHOAL_PEER_GONE) {
        return;
    }
    shoal_message_t message;
    shoal_status_t status;
    status.code = SHOAL_OK; // the rest is written with the first failure
    if (!shoal_parcel_decode(&hub->parcel, &message, &status)) {
        unreadable(hub, peer, &message, &status);
        return;
    }
    if (message.type == SHOAL_MSG_BYE) {
        shoal_hub_peer_fail(hub, peer, SHOAL_PEER_ON_BYE, "it said BYE");
        return;
    }
    bool is_hello = message.type == SHOAL_MSG_HELLO;
    if (is_hello && peer->state != SHOAL_PEER_NEW) {
        (void)shoal_fail(&status, SHOAL_PROTOCOL, "HELLO was said already");
        shoal_hub_peer_event(hub, peer, SHOAL_PEER_ON_HELLO, SHOAL_MSG_HELLO, &status);
        return;
    }
    shoal_peer_action_t action = shoal_peer_raise(
        hub->peers, peer, is_hello ? SHOAL_PEER_ON_HELLO : SHOAL_PEER_ON_MESSAGE, hub->now_ms);
    shoal_peer_hear(hub->peers, peer, hub->now_ms);
    bool is_good = true;
    if (action == SHOAL_PEER_DO_WELCOME) {
        is_good = shoal_hub_admit(hub, peer, &message.hello, &status);
    } else if (action == SHOAL_PEER_DO_TEACH) {
        teach(hub, peer, (int)message.type);
    } else if (action == SHOAL_PEER_DO_SERVE) {
        is_good = serve(hub, peer, &message, &status);
    }
    if (!is_good) {
        shoal_hub_peer_event(hub, peer, SHOAL_PEER_ON_BAD, (int)message.type, &status);
    }
}

// Notes how far reading has come. ZeroMQ takes turns between peers, so after as many messages as
// there are peers everyone has been heard whose message had come before that round; a peer is never
// called silent while what it said is still waiting to be read.
static void
reading_note(shoal_hub_t *hub, size_t taken, bool is_drained)
{
    hub->round_taken += taken;
    size_t peers = shoal_peer_count(hub->peers, SHOAL_PEER_NEW) +
                   shoal_peer_count(hub->peers, SHOAL_PEER_READY) +
                   shoal_peer_count(hub->peers, SHOAL_PEER_SUSPECT) +
                   shoal_peer_count(hub->peers, SHOAL_PEER_GONE);
    if (is_drained) {
        hub->read_ms = hub->now_ms;
    } else if (hub->round_taken >= peers) {
        hub->read_ms = hub->round_ms;
    } else {
        return;
    }
    hub->round_ms = hub->now_ms;
    hub->round_taken = 0;
}

// Takes the messages that are there, at most the budget of a turn. What comes of them is sent in
// bursts: one wake of the I/O thread and one segment to a peer then carry many calls.
bool
shoal_hub_take_messages(shoal_hub_t *hub, shoal_status_t *status)
{
    size_t taken = 0;
    bool is_drained = false;
    while (taken < SHOAL_HUB_BUDGET) {
        shoal_received_t got =
            shoal_parcel_receive(hub->router, /*is_router=*/true, &hub->parcel, status);
        if (got == SHOAL_RECEIVED_BROKEN) {
            return false;
        }
        if (got == SHOAL_RECEIVED_NOTHING) {
            is_drained = true;
            break;
        }
        taken++;
        message_take(hub);
        shoal_hub_settle_failing(hub);
        if (taken % DISPATCH_EVERY == 0) {
            shoal_cluster_dispatch(hub->cluster, hub->now_ms);
            shoal_hub_settle_failing(hub);
        }
    }
    shoal_cluster_dispatch(hub->cluster, hub->now_ms);
    shoal_hub_settle_failing(hub);
    reading_note(hub, taken, is_drained);
    return true;
}

// A handshake that failed: somebody with a wrong key, without one, or no Shoal at all. Those whose key
// is not listed are the gate's to tell. Without keys, on a socket file, whoever hangs up has only looked.
static void
handshake_log(shoal_hub_t *hub, const shoal_monitored_t *event)
{
    unsigned left_out = 0;
    if (event->event != ZMQ_EVENT_HANDSHAKE_FAILED_AUTH &&
        shoal_log_limit_pass(&hub->handshake_limit, hub->now_ms, /*per_second=*/1, &left_out)) {
        bool is_broken = event->event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;
        bool is_look = !is_broken && !shoal_endpoint_is_tcp(hub->endpoint);
        shoal_log(hub->log, is_look ? SHOAL_LOG_DEBUG : SHOAL_LOG_WARN, "HANDSHAKE-FAILED",
                  "left_out=%u reason=\"%s\"", left_out,
                  is_broken ? "it does not speak as a peer with this head's key does"
                            : "it hung up, or said nothing");
    }
}

void
shoal_hub_take_monitor(shoal_hub_t *hub)
{
    shoal_monitored_t event;
    while (shoal_monitor_take(hub->monitor, &event)) {
        int fd = (int)event.value; // of the first two
        if (event.event == ZMQ_EVENT_ACCEPTED) {
            shoal_door_open(hub->doors, fd, hub->now_ms);
            continue;
        }
        if (event.event != ZMQ_EVENT_DISCONNECTED) {
            handshake_log(hub, &event);
            continue;
        }
        shoal_door_close(hub->doors, fd);
        // A hint that makes its peer suspect, because the descriptor may be in use again.
        shoal_peer_t *peer = shoal_peer_by_fd(hub->peers, fd);
        if (peer && shoal_peer_has_hung_up(peer)) {
            shoal_hub_peer_fail(hub, peer, SHOAL_PEER_ON_HANGUP, "its connection is closed");
        }
    }
    hub->doors_ms = shoal_doors_run(hub->doors, hub->now_ms);
}
