// SPDX-License-Identifier: Apache-2.0
//
// secure.h - keys on a socket (CURVE), and why a connection did not come about.
//
// The head's socket takes nobody whom ZAP has not let in: the domain is set and enforced, so that
// without a handler every handshake fails (libzmq lets everybody in otherwise). A peer whose head
// has another key than its join string says is cut off without a word: what the monitor tells is
// made a sentence here.
//
// Threads: the socket's owner.  Logging: none.

#ifndef SHOAL_PROTO_WIRE_SECURE_H
#define SHOAL_PROTO_WIRE_SECURE_H

#include <stdint.h>

#include <zmq.h>

#include "proto/keys/join.h"

#define SHOAL_ZAP_DOMAIN   "shoal"
#define SHOAL_ZAP_ENDPOINT "inproc://zeromq.zap.01"

// Before bind: the head's own pair, and ZAP for whoever comes.
SHOAL_MUST_CHECK bool shoal_secure_server(void *socket, const shoal_key_pair_t *own,
                                          shoal_status_t *status);

// Before connect: the head's public key and the holder's own pair.
SHOAL_MUST_CHECK bool shoal_secure_client(void *socket, const shoal_join_t *join,
                                          shoal_status_t *status);

// Before bind or connect: IPv6, where the endpoint is an address in brackets.
SHOAL_MUST_CHECK bool shoal_secure_family(void *socket, const char *endpoint,
                                          shoal_status_t *status);

#define SHOAL_HANDSHAKE_EVENTS                                                                     \
    (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |                  \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

typedef struct shoal_monitored {
    uint16_t event; // ZMQ_EVENT_...
    uint32_t value;
} shoal_monitored_t;

// The next event of a monitor's socket; false when there is none now.
bool shoal_monitor_take(void *monitor, shoal_monitored_t *ret_event);

// Why a handshake failed, for who dialled; NULL: the event is none of SHOAL_HANDSHAKE_EVENTS.
// `has_keys`: CURVE was on at this end.
const char *shoal_handshake_reason(const shoal_monitored_t *event, bool has_keys);

// The head knows this key no more, or has never known it: another try is of no use until somebody
// does something.
bool shoal_handshake_is_refusal(const shoal_monitored_t *event);

#endif
