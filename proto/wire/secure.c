// SPDX-License-Identifier: Apache-2.0
//
// secure.c - see secure.h.

#include "proto/wire/secure.h"

#include <errno.h>
#include <string.h>

#include "proto/wire/endpoint.h"

#define EVENT_BYTES 6 // number 2, value 4, in the machine's order

// ZMQ_ZAP_ENFORCE_DOMAIN: its name is among the drafts of 4.3, the option is in every build. Where it
// is not, setting it fails, and with it the head.
#define ENFORCE_DOMAIN 93

static bool
option_set(void *socket, int option, const void *value, size_t len, shoal_status_t *status)
{
    return zmq_setsockopt(socket, option, value, len) == 0 ||
           shoal_fail(status, SHOAL_INTERNAL, "cannot put keys on a socket: %s",
                      zmq_strerror(errno));
}

bool
shoal_secure_server(void *socket, const shoal_key_pair_t *own, shoal_status_t *status)
{
    int one = 1;
    return option_set(socket, ZMQ_CURVE_SERVER, &one, sizeof(one), status) &&
           option_set(socket, ZMQ_CURVE_SECRETKEY, own->secret.bytes, SHOAL_KEY_BYTES, status) &&
           option_set(socket, ZMQ_ZAP_DOMAIN, SHOAL_ZAP_DOMAIN, strlen(SHOAL_ZAP_DOMAIN), status) &&
           option_set(socket, ENFORCE_DOMAIN, &one, sizeof(one), status);
}

bool
shoal_secure_client(void *socket, const shoal_join_t *join, shoal_status_t *status)
{
    return option_set(socket, ZMQ_CURVE_SERVERKEY, join->head.bytes, SHOAL_KEY_BYTES, status) &&
           option_set(socket, ZMQ_CURVE_PUBLICKEY, join->own.open.bytes, SHOAL_KEY_BYTES, status) &&
           option_set(socket, ZMQ_CURVE_SECRETKEY, join->own.secret.bytes, SHOAL_KEY_BYTES, status);
}

bool
shoal_secure_family(void *socket, const char *endpoint, shoal_status_t *status)
{
    int one = 1;
    return !shoal_endpoint_is_ipv6(endpoint) ||
           option_set(socket, ZMQ_IPV6, &one, sizeof(one), status);
}

bool
shoal_monitor_take(void *monitor, shoal_monitored_t *ret_event)
{
    unsigned char bytes[EVENT_BYTES];
    int size;
    while ((size = zmq_recv(monitor, bytes, sizeof(bytes), ZMQ_DONTWAIT)) >= 0) {
        int more = 0;
        size_t len = sizeof(more);
        // An event is two frames: number and value, then the endpoint, which we know.
        if (zmq_getsockopt(monitor, ZMQ_RCVMORE, &more, &len) == 0 && more && size == EVENT_BYTES) {
            memcpy(&ret_event->event, bytes, sizeof(ret_event->event));
            memcpy(&ret_event->value, bytes + sizeof(ret_event->event), sizeof(ret_event->value));
            (void)zmq_recv(monitor, NULL, 0, ZMQ_DONTWAIT);
            return true;
        }
    }
    return false;
}

bool
shoal_handshake_is_refusal(const shoal_monitored_t *event)
{
    return event->event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
}

const char *
shoal_handshake_reason(const shoal_monitored_t *event, bool has_keys)
{
    switch (event->event) {
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return "the head does not know this key: it was revoked there, or never made (shoal key "
               "list on the head's host shows them)";
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if (event->value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) {
            return has_keys ? "what listens there speaks without keys: it is another head than the "
                              "join string's"
                            : "the head there asks for a key: give --join-file FILE";
        }
        return has_keys ? "what listens there cannot prove that it is the join string's head: it "
                          "has another key, or is no head"
                        : "what listens there is no head";
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return has_keys ? "what listens there hung up during the handshake: it has no head behind "
                          "it just now, or the head has another key than the join string says (was "
                          "it made anew? then: shoal key new on its host)"
                        : "what listens there hung up at once: it is no head, or one that asks for "
                          "a key (--join-file FILE)";
    default: return NULL;
    }
}
