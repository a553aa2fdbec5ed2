// SPDX-License-Identifier: Apache-2.0
//
// hub.h - the head's event loop: the ROUTER, the timers, and everyone who hears of a decision.
//
// The hub reads what peers send, raises events, asks the cluster, and sends what comes of it. It
// never blocks and never touches a disk. One turn takes at most SHOAL_HUB_BUDGET messages.
//
// Threads: the main one.  Logging: events of workers, jobs and refused peers.

#ifndef SHOAL_HEAD_HUB_HUB_H
#define SHOAL_HEAD_HUB_HUB_H

#include "head/cluster/cluster.h"
#include "head/config.h"
#include "head/hub/peer.h"

#define SHOAL_HUB_BUDGET      1000  // messages a turn
#define SHOAL_HUB_SEND_HWM    65536 // messages to one peer: more than outbox.h's bytes can be
#define SHOAL_HUB_RECEIVE_HWM 256   // messages of one peer that wait to be read
#define SHOAL_HUB_BACKLOG     4096  // connections that wait to be accepted
#define SHOAL_PROMISES_MAX    65536 // answers that wait for the disk
#define SHOAL_HUB_EVENT_MS    100   // between two EVENTs of one job, its changes of state aside

typedef struct shoal_hub shoal_hub_t;

// Opens the socket and the spool, binds, and writes the endpoint to the ready descriptor.
//   as shoal_endpoint_check(), shoal_gate_open() and shoal_outputs_new(); SHOAL_EXISTS a head listens there
//   already; SHOAL_UNAVAILABLE cannot bind
SHOAL_MUST_CHECK bool shoal_hub_new(const shoal_config_t *config, shoal_log_t *log,
                                    shoal_hub_t **ret_hub, shoal_status_t *status);
void shoal_hub_destroy(shoal_hub_t **hub);

// Turns until SIGTERM, SIGINT or the end of the lifeline (true), or until the socket or the
// disk breaks.
SHOAL_MUST_CHECK bool shoal_hub_run(shoal_hub_t *hub, shoal_status_t *status);

// ---- for requests.c

// Sends to a peer; one that cannot be sent to goes away at the end of the turn.
shoal_sent_t shoal_hub_send(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
                            zmq_msg_t *payload);

// ERROR about `request` (0: none) of a message; the connection stays.
void shoal_hub_refuse(shoal_hub_t *hub, shoal_peer_t *peer, int refers, uint64_t request,
                      const shoal_status_t *why);

// ACCEPTED, once the groups up to `lsn` are durable.
//   SHOAL_LIMIT  SHOAL_PROMISES_MAX wait for that already
SHOAL_MUST_CHECK bool shoal_hub_accept(shoal_hub_t *hub, shoal_peer_t *peer, uint64_t request,
                                       uint64_t job, uint64_t lsn, shoal_status_t *status);

shoal_cluster_t *shoal_hub_cluster(shoal_hub_t *hub);
uint64_t shoal_hub_now(const shoal_hub_t *hub);
shoal_log_t *shoal_hub_log(const shoal_hub_t *hub);
shoal_buffer_t *shoal_hub_scratch(shoal_hub_t *hub); // for a body's value; not for encoding

// Appends the answer to ASK "head".
void shoal_hub_describe(shoal_hub_t *hub, shoal_buffer_t *out);

#endif
