// SPDX-License-Identifier: Apache-2.0
//
// connection.c - see connection.h.

#include "client/connection.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/wire/endpoint.h"
#include "proto/wire/secure.h"
#include "proto/wire/socket.h"

// This machine's own addresses: nobody else can listen in.
static bool
is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 ||
           strcmp(host, "::1") == 0;
}

static bool
tcp_check(const char *endpoint, bool has_keys, shoal_status_t *status)
{
    shoal_endpoint_parts_t parts;
    shoal_endpoint_use_t use = {.has_keys = true};
    if (!shoal_endpoint_split(endpoint, &parts, status)) {
        return shoal_fail_while(status, "cannot connect");
    }
    use.has_keys = has_keys || is_loopback(parts.host); // the head says whether it asks for a key
    return shoal_endpoint_check(endpoint, use, status);
}

// A socket file outlives a head that was killed. A datagram socket asks without being a connection: it
// is of the wrong type for one that listens, and refused where nobody does.
static bool
listener_check(const char *endpoint, shoal_status_t *status)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len =
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", endpoint + strlen("ipc://"));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || len >= (int)sizeof(address.sun_path)) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return true; // dialling says what is wrong with it
    }
    bool is_refused = connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 &&
                      errno == ECONNREFUSED;
    (void)close(fd);
    return !is_refused ||
           shoal_fail(status, SHOAL_UNAVAILABLE,
                      "cannot reach a head at %s: the one that listened there has ended; to start "
                      "one: shoal start --head",
                      endpoint);
}

bool
shoal_connection_check(const char *endpoint, bool has_keys, shoal_status_t *status)
{
    struct stat info;
    if (shoal_endpoint_is_tcp(endpoint)) {
        return tcp_check(endpoint, has_keys, status);
    }
    if (strncmp(endpoint, "ipc://", 6) != 0 || endpoint[6] == '\0') {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot connect to \"%s\": an endpoint is ipc:///PATH or tcp://HOST:PORT",
                          endpoint);
    }
    if (has_keys) {
        return shoal_fail(status, SHOAL_INVALID,
                          "a join file is for tcp, not for \"%s\"; leave one of them out",
                          endpoint);
    }
    if (stat(endpoint + 6, &info) != 0) {
        int error = errno;
        return shoal_fail(status, SHOAL_UNAVAILABLE, "cannot reach a head at %s: %s", endpoint,
                          error == ENOENT
                              ? "nothing listens there; to start one: shoal start --head"
                              : strerrordesc_np(error));
    }
    return listener_check(endpoint, status);
}

static bool
monitor_open(shoal_connection_t *connection, shoal_status_t *status)
{
    char name[64];
    if (!shoal_endpoint_is_tcp(connection->endpoint)) {
        return true;
    }
    (void)snprintf(name, sizeof(name), "inproc://connection-%u", ++connection->opened);
    connection->monitor = zmq_socket(connection->context, ZMQ_PAIR);
    return (connection->monitor &&
            zmq_socket_monitor(connection->socket, name, SHOAL_HANDSHAKE_EVENTS) == 0 &&
            zmq_connect(connection->monitor, name) == 0) ||
           shoal_fail(status, SHOAL_IO, "cannot watch a connection: %s", zmq_strerror(errno));
}

bool
shoal_connection_open(shoal_connection_t *connection, shoal_status_t *status)
{
    int retry = connection->retry_ms;
    int retry_max = connection->retry_max_ms;
    connection->socket = zmq_socket(connection->context, ZMQ_DEALER);
    if (!connection->socket) {
        return shoal_fail(status, SHOAL_IO, "cannot open a socket: %s", zmq_strerror(errno));
    }
    if (!shoal_socket_configure(connection->socket, status) ||
        !shoal_secure_family(connection->socket, connection->endpoint, status) ||
        (connection->has_keys &&
         !shoal_secure_client(connection->socket, &connection->join, status)) ||
        !monitor_open(connection, status)) {
        return false;
    }
    (void)zmq_setsockopt(connection->socket, ZMQ_RECONNECT_IVL, &retry, sizeof(retry));
    (void)zmq_setsockopt(connection->socket, ZMQ_RECONNECT_IVL_MAX, &retry_max, sizeof(retry_max));
    return zmq_connect(connection->socket, connection->endpoint) == 0 ||
           shoal_fail(status, SHOAL_INVALID, "cannot connect to \"%s\": %s", connection->endpoint,
                      zmq_strerror(errno));
}

void
shoal_connection_close(shoal_connection_t *connection, int linger_ms)
{
    if (connection->monitor) {
        (void)zmq_socket_monitor(connection->socket, NULL, 0);
        (void)zmq_close(connection->monitor);
        connection->monitor = NULL;
    }
    if (connection->socket) {
        (void)zmq_setsockopt(connection->socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
        (void)zmq_close(connection->socket);
        connection->socket = NULL;
    }
}

shoal_connection_sight_t
shoal_connection_look(shoal_connection_t *connection)
{
    shoal_monitored_t event;
    if (!connection->monitor || !shoal_monitor_take(connection->monitor, &event)) {
        return SHOAL_CONNECTION_FINE;
    }
    connection->trouble = shoal_handshake_reason(&event, connection->has_keys);
    return shoal_handshake_is_refusal(&event) ? SHOAL_CONNECTION_REFUSED : SHOAL_CONNECTION_FAILED;
}
