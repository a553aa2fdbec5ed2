// SPDX-License-Identifier: Apache-2.0
//
// parting.c - see hub_parts.h: peers that go, and how their connections end.

#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "head/hub/hub_parts.h"

#define SWEEP_MS 100 // between two looks at suspects, at least
#define SHUT_MS  100 // from telling a peer to go to shutting its connection

// Shuts a connection, if the descriptor is still the one that it was.
static bool
connection_shut(int fd, ino_t inode)
{
    struct stat about;
    return fd >= 0 && fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode) && about.st_ino == inode &&
           shutdown(fd, SHUT_RDWR) == 0;
}

static void
peer_shut(shoal_peer_t *peer)
{
    peer->must_shut = false;
    peer->is_shut = connection_shut(peer->fd, peer->inode);
}

void
shoal_hub_note_stranger(shoal_hub_t *hub, int fd)
{
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0 || !S_ISSOCK(about.st_mode)) {
        return;
    }
    for (size_t i = 0; i < hub->stranger_count; i++) {
        if (hub->strangers[i].inode == about.st_ino) {
            return; // it goes on talking
        }
    }
    if (hub->stranger_count == SHOAL_STRANGERS_MAX) {
        (void)connection_shut(fd, about.st_ino);
        return;
    }
    uint64_t due_ms = hub->now_ms + SHUT_MS;
    hub->strangers[hub->stranger_count++] = (shoal_stranger_t){fd, about.st_ino, due_ms};
    hub->bury_ms = shoal_hub_earlier(hub->bury_ms, due_ms);
}

static void
strangers_shut(shoal_hub_t *hub)
{
    size_t due = 0;
    while (due < hub->stranger_count && hub->strangers[due].due_ms <= hub->now_ms) {
        (void)connection_shut(hub->strangers[due].fd, hub->strangers[due].inode);
        due++;
    }
    hub->stranger_count -= due;
    memmove(hub->strangers, &hub->strangers[due], hub->stranger_count * sizeof(shoal_stranger_t));
    if (hub->stranger_count > 0) {
        hub->bury_ms = shoal_hub_earlier(hub->bury_ms, hub->strangers[0].due_ms);
    }
}

void
shoal_hub_log_peer(shoal_hub_t *hub, const shoal_peer_t *peer, shoal_peer_event_t event,
                   const char *why)
{
    unsigned left_out = 0;
    if (event == SHOAL_PEER_ON_BAD || event == SHOAL_PEER_ON_FULL || event == SHOAL_PEER_ON_HELLO) {
        hub->refused++;
        if (shoal_log_limit_pass(&hub->refused_limit, hub->now_ms, SHOAL_REFUSED_LOGS, &left_out)) {
            shoal_log(hub->log, SHOAL_LOG_WARN, "PEER-REFUSED",
                      "peer=%08x who=%s on=%s left_out=%u reason=\"%s\"", peer->key,
                      peer->worker ? peer->worker->id : peer->session,
                      shoal_peer_event_name((int)event), left_out, why);
        }
    } else if (peer->worker) {
        shoal_log(hub->log, SHOAL_LOG_INFO, "WORKER-GONE", "worker=%s on=%s reason=\"%s\"",
                  peer->worker->id, shoal_peer_event_name((int)event), why);
    }
}

// Takes the worker off a connection that is over.
static void
worker_part(shoal_hub_t *hub, shoal_peer_t *peer, shoal_peer_action_t action, const char *why)
{
    shoal_worker_t *worker = peer->worker;
    peer->worker = NULL;
    if (!worker || worker->peer != peer) {
        return;
    }
    shoal_hub_forget_acks(hub, worker);
    worker->heard_ms = peer->heard_ms;
    worker->peer = NULL;
    if (action == SHOAL_PEER_DO_PART) {
        shoal_cluster_note(hub->cluster, worker, SHOAL_WORKER_ON_CUT);
    } else {
        shoal_cluster_lose(hub->cluster, worker,
                           action == SHOAL_PEER_DO_LEAVE ? SHOAL_WORKER_ON_LEAVE
                                                         : SHOAL_WORKER_ON_LOSE,
                           why, hub->now_ms);
    }
}

void
shoal_hub_peer_event(shoal_hub_t *hub, shoal_peer_t *peer, shoal_peer_event_t event, int refers,
                     const shoal_status_t *why)
{
    if (peer->state == SHOAL_PEER_GONE) {
        return;
    }
    uint64_t heard_ms = peer->heard_ms;
    bool can_tell = event == SHOAL_PEER_ON_BAD || event == SHOAL_PEER_ON_HELLO;
    if (can_tell) {
        shoal_hub_error(hub, peer, refers, 0, /*closing=*/true, why);
    }
    shoal_peer_action_t action = shoal_peer_raise(hub->peers, peer, event, hub->now_ms);
    if (action == SHOAL_PEER_DO_DOUBT) {
        if (peer->worker) {
            shoal_cluster_note(hub->cluster, peer->worker,
                               event == SHOAL_PEER_ON_LATE ? SHOAL_WORKER_ON_LATE
                                                           : SHOAL_WORKER_ON_CUT);
        }
        return;
    }
    if (peer->state != SHOAL_PEER_GONE) {
        return;
    }
    shoal_hub_log_peer(hub, peer, event, why->text);
    if (peer->worker) {
        peer->worker->heard_ms = heard_ms;
    }
    worker_part(hub, peer, action, why->text);
    shoal_watch_drop_peer(peer);
    if (action == SHOAL_PEER_DO_EXPEL) {
        peer->must_shut = true; // once it can have read why
    }
    hub->bury_ms = shoal_hub_earlier(hub->bury_ms, hub->now_ms + (peer->must_shut ? SHUT_MS : 0));
}

void
shoal_hub_peer_fail(shoal_hub_t *hub, shoal_peer_t *peer, shoal_peer_event_t event, const char *why)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)shoal_fail(&status, SHOAL_UNAVAILABLE, "%s", why);
    shoal_hub_peer_event(hub, peer, event, 0, &status);
}

void
shoal_hub_settle_failing(shoal_hub_t *hub)
{
    while (hub->failing) {
        shoal_peer_t *peer = hub->failing;
        hub->failing = peer->failing_next;
        shoal_hub_peer_fail(hub, peer, peer->failure,
                            peer->failure == SHOAL_PEER_ON_FULL ? "it does not read what it is sent"
                                                                : "its connection is closed");
        peer->is_failing = false;
    }
}

void
shoal_hub_end_silence(shoal_hub_t *hub)
{
    uint64_t liveness_ms = hub->config->liveness_ms;
    uint64_t read_ms = hub->read_ms;
    if (hub->now_ms < hub->deaf_until_ms) {
        return;
    }
    shoal_peer_t *peer;
    while ((peer = shoal_peer_oldest(hub->peers, SHOAL_PEER_READY)) != NULL &&
           peer->heard_ms + liveness_ms / 2 <= read_ms) {
        shoal_hub_peer_fail(hub, peer, SHOAL_PEER_ON_LATE, "it is silent");
    }
    while ((peer = shoal_peer_oldest(hub->peers, SHOAL_PEER_NEW)) != NULL &&
           peer->heard_ms + liveness_ms <= read_ms) {
        shoal_hub_peer_fail(hub, peer, SHOAL_PEER_ON_SILENT, "it did not say HELLO");
    }
    if (hub->now_ms < hub->sweep_ms) {
        return;
    }
    uint64_t sweep_ms = liveness_ms / 20;
    hub->sweep_ms = hub->now_ms + (sweep_ms < SWEEP_MS ? sweep_ms + 1 : SWEEP_MS);
    char why[64];
    (void)snprintf(why, sizeof(why), "silent for %" PRIu64 " ms", liveness_ms);
    for (peer = shoal_peer_oldest(hub->peers, SHOAL_PEER_SUSPECT); peer;) {
        shoal_peer_t *next = peer->next;
        if (peer->heard_ms + liveness_ms <= read_ms) {
            shoal_hub_peer_fail(hub, peer, SHOAL_PEER_ON_SILENT, why);
        }
        peer = next;
    }
    shoal_registry_t *registry = shoal_cluster_registry(hub->cluster);
    for (shoal_worker_t *worker = shoal_registry_first(registry, SHOAL_WORKER_SUSPECT); worker;) {
        shoal_worker_t *next = worker->list_next;
        if (!worker->peer && worker->heard_ms + liveness_ms <= read_ms) {
            shoal_log(hub->log, SHOAL_LOG_WARN, "WORKER-LOST", "worker=%s", worker->id);
            shoal_cluster_lose(hub->cluster, worker, SHOAL_WORKER_ON_LOSE, "connection closed",
                               hub->now_ms);
        }
        worker = next;
    }
}

void
shoal_hub_bury(shoal_hub_t *hub)
{
    if (hub->now_ms < hub->bury_ms) {
        return;
    }
    hub->bury_ms = SHOAL_TIME_NEVER;
    strangers_shut(hub);
    shoal_peer_t *peer = shoal_peer_oldest(hub->peers, SHOAL_PEER_GONE);
    while (peer) {
        shoal_peer_t *next = peer->next;
        uint64_t shut_ms = peer->heard_ms + SHUT_MS;
        if (peer->must_shut && shut_ms <= hub->now_ms) {
            peer_shut(peer);
        }
        // What a shut one had sent before is still coming; it shall not be taken for a new peer.
        uint64_t quiet_ms = shut_ms + hub->config->liveness_ms;
        if (peer->must_shut) {
            hub->bury_ms = shoal_hub_earlier(hub->bury_ms, shut_ms);
        } else if (peer->is_shut && quiet_ms > hub->now_ms) {
            hub->bury_ms = shoal_hub_earlier(hub->bury_ms, quiet_ms);
        } else {
            if (!peer->is_shut) { // it may still be there, and stay without ever saying anything
                shoal_door_quiet(hub->doors, peer->fd, hub->now_ms);
            }
            shoal_peer_bury(hub->peers, peer);
        }
        peer = next;
    }
}
