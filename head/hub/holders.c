// SPDX-License-Identifier: Apache-2.0
//
// holders.c - see hub_parts.h: keys at HELLO, and those whose key is listed no more.

#include "head/hub/hub_parts.h"

// what a role may call itself in HELLO.
static const char *const hello_roles[SHOAL_ROLE_COUNT] = {
    [SHOAL_ROLE_WORKER] = "worker",
    [SHOAL_ROLE_CLIENT] = "client",
    [SHOAL_ROLE_VIEWER] = "client",
};

bool
shoal_hub_check_key(shoal_hub_t *hub, shoal_peer_t *peer, shoal_slice_t role,
                    shoal_status_t *status)
{
    if (!hub->gate) {
        return true; // ipc: whoever can enter the folder
    }
    const shoal_holder_t *holder = shoal_gate_holder(hub->gate, shoal_parcel_user(&hub->parcel));
    if (!holder) {
        return shoal_fail(status, SHOAL_DENIED, "the key is listed here no more: it was revoked");
    }
    if (!shoal_slice_is(role, hello_roles[holder->role])) {
        return shoal_fail(status, SHOAL_DENIED,
                          "the key \"%s\" is for a %s and cannot join as a %.*s; make another one "
                          "on the head's host: shoal key new --role %.*s --name NAME",
                          holder->name, shoal_role_name((int)holder->role), SHOAL_SLICE_ARGS(role),
                          SHOAL_SLICE_ARGS(role));
    }
    peer->has_key = true;
    peer->proven = holder->key;
    peer->is_viewer = holder->role == SHOAL_ROLE_VIEWER;
    return true;
}

bool
shoal_hub_check_owner(const shoal_peer_t *peer, const shoal_worker_t *known, shoal_status_t *status)
{
    bool is_others = known && known->state != SHOAL_WORKER_LOST && known->has_key &&
                     (!peer->has_key || shoal_key_compare(&known->proven, &peer->proven) != 0);
    return !is_others || shoal_fail(status, SHOAL_DENIED,
                                    "a worker that came with another key has the id \"%s\"; it is "
                                    "free again once that one is lost",
                                    known->id);
}

void
shoal_hub_note_owner(const shoal_peer_t *peer, shoal_worker_t *worker)
{
    worker->has_key = peer->has_key;
    worker->proven = peer->proven;
}

const char *
shoal_hub_key_name(const shoal_hub_t *hub, const shoal_peer_t *peer)
{
    const shoal_holder_t *holder = peer->has_key ? shoal_gate_find(hub->gate, &peer->proven) : NULL;
    return holder ? holder->name : "-";
}

static bool
is_still_allowed(const shoal_hub_t *hub, const shoal_peer_t *peer)
{
    const shoal_holder_t *holder = shoal_gate_find(hub->gate, &peer->proven);
    bool is_worker = peer->role == SHOAL_FROM_WORKER;
    return holder && (holder->role == SHOAL_ROLE_WORKER) == is_worker &&
           (holder->role == SHOAL_ROLE_VIEWER) == peer->is_viewer;
}

void
shoal_hub_take_holders(shoal_hub_t *hub)
{
    if (!hub->gate || !shoal_gate_take(hub->gate)) {
        return;
    }
    shoal_status_t why = SHOAL_STATUS_INIT;
    (void)shoal_fail(&why, SHOAL_DENIED, "its key was revoked");
    for (int state = SHOAL_PEER_READY; state <= SHOAL_PEER_SUSPECT; state++) {
        shoal_peer_t *peer = shoal_peer_oldest(hub->peers, (shoal_peer_state_t)state);
        while (peer) {
            shoal_peer_t *next = peer->next;
            if (peer->has_key && !is_still_allowed(hub, peer)) {
                shoal_hub_peer_event(hub, peer, SHOAL_PEER_ON_BAD, 0, &why);
            }
            peer = next;
        }
    }
}
