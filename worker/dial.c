// SPDX-License-Identifier: Apache-2.0
//
// dial.c - see dial.h.

#include "worker/dial.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/wire/secure.h"

#define MONITOR_NAME_MAX 64
#define LOST_EVENTS      (ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED | SHOAL_HANDSHAKE_EVENTS)

struct shoal_dial {
    void *context;
    const char *endpoint;
    const shoal_join_t *join;
    void *socket;
    void *monitor;
    unsigned opened; // how often; each monitor has a name of its own
};

shoal_dial_t *
shoal_dial_new(void *context, const char *endpoint, const shoal_join_t *join)
{
    assert(context && endpoint);
    shoal_dial_t *dial = shoal_alloc(sizeof(*dial));
    dial->context = context;
    dial->endpoint = endpoint;
    dial->join = join;
    return dial;
}

void
shoal_dial_destroy(shoal_dial_t **dial)
{
    if (dial && *dial) {
        shoal_dial_close(*dial, 0);
        free(*dial);
        *dial = NULL;
    }
}

static bool
open_monitor(shoal_dial_t *dial, shoal_status_t *status)
{
    char name[MONITOR_NAME_MAX];
    (void)snprintf(name, sizeof(name), "inproc://dial-%u", ++dial->opened);
    dial->monitor = zmq_socket(dial->context, ZMQ_PAIR);
    if (!dial->monitor || zmq_socket_monitor(dial->socket, name, LOST_EVENTS) != 0 ||
        zmq_connect(dial->monitor, name) != 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot watch a connection: %s",
                          zmq_strerror(errno));
    }
    return true;
}

static bool
open_socket(shoal_dial_t *dial, shoal_status_t *status)
{
    int never = -1;
    dial->socket = zmq_socket(dial->context, ZMQ_DEALER);
    if (!dial->socket) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot make a socket: %s", zmq_strerror(errno));
    }
    if (!shoal_socket_configure(dial->socket, status) ||
        !shoal_secure_family(dial->socket, dial->endpoint, status) ||
        (dial->join && !shoal_secure_client(dial->socket, dial->join, status))) {
        return false;
    }
    if (zmq_setsockopt(dial->socket, ZMQ_RECONNECT_IVL, &never, sizeof(never)) != 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot set up a socket: %s",
                          zmq_strerror(errno));
    }
    if (!open_monitor(dial, status)) {
        return false;
    }
    if (zmq_connect(dial->socket, dial->endpoint) != 0) {
        return shoal_fail(status, SHOAL_INVALID, "cannot connect to \"%s\": %s", dial->endpoint,
                          zmq_strerror(errno));
    }
    return true;
}

bool
shoal_dial_open(shoal_dial_t *dial, shoal_status_t *status)
{
    assert(!dial->socket);
    if (!open_socket(dial, status)) {
        shoal_dial_close(dial, 0);
        return false;
    }
    return true;
}

void
shoal_dial_close(shoal_dial_t *dial, int linger_ms)
{
    if (dial->socket) {
        (void)zmq_socket_monitor(dial->socket, NULL, 0);
        (void)zmq_setsockopt(dial->socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
        (void)zmq_close(dial->socket);
        dial->socket = NULL;
    }
    if (dial->monitor) {
        int none = 0;
        (void)zmq_setsockopt(dial->monitor, ZMQ_LINGER, &none, sizeof(none));
        (void)zmq_close(dial->monitor);
        dial->monitor = NULL;
    }
}

void *
shoal_dial_socket(const shoal_dial_t *dial)
{
    return dial->socket;
}

void *
shoal_dial_monitor(const shoal_dial_t *dial)
{
    return dial->monitor;
}

static const char *
reason_of(const shoal_dial_t *dial, const shoal_monitored_t *event)
{
    switch (event->event) {
    case ZMQ_EVENT_DISCONNECTED: return "the connection to the head ended";
    case ZMQ_EVENT_CLOSED: return "cannot reach the head";
    default: return shoal_handshake_reason(event, dial->join != NULL);
    }
}

const char *
shoal_dial_lost(shoal_dial_t *dial)
{
    const char *why = NULL;
    shoal_monitored_t event;
    while (shoal_monitor_take(dial->monitor, &event)) {
        const char *reason = reason_of(dial, &event);
        why = why ? why : reason; // the first one is the cause of the others
    }
    return why;
}
