// SPDX-License-Identifier: Apache-2.0
//
// opening.c - see hub.h: birth and death, the socket and what else the loop waits for.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "head/hub/hub_parts.h"
#include "proto/base/alloc.h"
#include "proto/wire/endpoint.h"
#include "proto/wire/secure.h"

#define MONITOR_ENDPOINT "inproc://monitor"
#define FAREWELL_MS      200 // for the last messages, at the end

static bool
option_set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

static const char ipc_prefix[] = "ipc://";

static void
endpoint_remove(const char *endpoint)
{
    if (strncmp(endpoint, ipc_prefix, sizeof(ipc_prefix) - 1) == 0) {
        (void)unlink(endpoint + sizeof(ipc_prefix) - 1);
    }
}

// Refuses an ipc path that somebody serves; libzmq would take it away from them.
static bool
endpoint_is_free(const char *endpoint, shoal_status_t *status)
{
    if (strncmp(endpoint, ipc_prefix, sizeof(ipc_prefix) - 1) != 0) {
        return true;
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
                   endpoint + sizeof(ipc_prefix) - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return shoal_fail_errno(status, errno, "cannot look whether \"%s\" is in use", endpoint);
    }
    bool is_served = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    (void)close(fd);
    return !is_served || shoal_fail(status, SHOAL_EXISTS,
                                    "cannot listen on \"%s\": a head is running there", endpoint);
}

static bool
socket_open(shoal_hub_t *hub, shoal_status_t *status)
{
    hub->context = zmq_ctx_new();
    if (!hub->context || zmq_ctx_set(hub->context, ZMQ_IO_THREADS, 1) != 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot start ZeroMQ: %s", zmq_strerror(errno));
    }
    hub->router = zmq_socket(hub->context, ZMQ_ROUTER);
    if (!hub->router || !shoal_socket_configure(hub->router, status)) {
        return shoal_fail_while(status, "cannot open the socket");
    }
    if (!option_set(hub->router, ZMQ_ROUTER_MANDATORY, 1) ||
        !option_set(hub->router, ZMQ_SNDHWM, SHOAL_HUB_SEND_HWM) ||
        !option_set(hub->router, ZMQ_RCVHWM, SHOAL_HUB_RECEIVE_HWM) ||
        !option_set(hub->router, ZMQ_BACKLOG, SHOAL_HUB_BACKLOG) ||
        zmq_socket_monitor(hub->router, MONITOR_ENDPOINT,
                           ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | SHOAL_HANDSHAKE_EVENTS) !=
            0) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot set up the socket: %s",
                          zmq_strerror(errno));
    }
    if (!shoal_secure_family(hub->router, hub->config->listen, status) ||
        (hub->config->keys && !shoal_gate_open(hub->context, hub->router, hub->config->keys,
                                               hub->log, &hub->gate, status))) {
        return false;
    }
    hub->monitor = zmq_socket(hub->context, ZMQ_PAIR);
    if (!hub->monitor || !option_set(hub->monitor, ZMQ_RCVHWM, 0) ||
        zmq_connect(hub->monitor, MONITOR_ENDPOINT) != 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot watch the socket: %s",
                          zmq_strerror(errno));
    }
    return true;
}

static bool
endpoint_check(const shoal_config_t *config, shoal_status_t *status)
{
    const shoal_endpoint_use_t use = {.is_listening = true,
                                      .has_keys = config->keys != NULL,
                                      .insecure_loopback = config->insecure_loopback};
    if (config->keys && !shoal_endpoint_is_tcp(config->listen)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "--keys is for tcp: \"%s\" is for whoever can enter its folder",
                          config->listen);
    }
    return shoal_endpoint_check(config->listen, use, status);
}

static bool
socket_bind(shoal_hub_t *hub, shoal_status_t *status)
{
    const char *listen = hub->config->listen;
    if (!endpoint_check(hub->config, status) || !endpoint_is_free(listen, status)) {
        return false;
    }
    if (zmq_bind(hub->router, listen) != 0) {
        return shoal_fail(status, SHOAL_UNAVAILABLE, "cannot listen on \"%s\": %s", listen,
                          zmq_strerror(errno));
    }
    size_t size = sizeof(hub->endpoint);
    if (zmq_getsockopt(hub->router, ZMQ_LAST_ENDPOINT, hub->endpoint, &size) != 0) {
        (void)snprintf(hub->endpoint, sizeof(hub->endpoint), "%s", listen);
    }
    return true;
}

static bool
epoll_watch(shoal_hub_t *hub, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return fd < 0 || epoll_ctl(hub->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool
loop_open(shoal_hub_t *hub, shoal_status_t *status)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    hub->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    hub->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int monitor_fd = -1;
    size_t size = sizeof(monitor_fd);
    if (hub->signal_fd < 0 || hub->epoll_fd < 0 ||
        zmq_getsockopt(hub->monitor, ZMQ_FD, &monitor_fd, &size) != 0 ||
        !epoll_watch(hub, hub->signal_fd) || !epoll_watch(hub, monitor_fd) ||
        !epoll_watch(hub, hub->config->lifeline_fd) ||
        !epoll_watch(hub, shoal_outputs_fd(hub->outputs)) ||
        !epoll_watch(hub, hub->gate ? shoal_gate_fd(hub->gate) : -1)) {
        return shoal_fail_errno(status, errno, "cannot set up the event loop");
    }
    return true;
}

static void
ready_tell(const shoal_hub_t *hub)
{
    int fd = hub->config->ready_fd;
    if (fd < 0) {
        return;
    }
    char line[sizeof(hub->endpoint) + 1];
    int len = snprintf(line, sizeof(line), "%s\n", hub->endpoint);
    if (len > 0 && write(fd, line, (size_t)len) != (ssize_t)len) {
        shoal_log(hub->log, SHOAL_LOG_WARN, "READY-UNHEARD", "reason=\"nobody reads --ready-fd\"");
    }
    (void)close(fd);
}

static void
id_make(char id[SHOAL_HUB_ID_SIZE + 1])
{
    unsigned char bytes[SHOAL_HUB_ID_SIZE / 2] = {0};
    if (getrandom(bytes, sizeof(bytes), 0) < 0) {
        uint64_t wall = shoal_clock_wall_ms();
        memcpy(bytes, &wall, sizeof(wall));
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(id + i * 2, 3, "%02x", bytes[i]);
    }
}

static bool
hub_open(shoal_hub_t *hub, shoal_status_t *status)
{
    shoal_outputs_config_t outputs = {
        .directory = hub->config->state,
        .sync_delay_ms = hub->config->sync_delay_ms,
        .crash = hub->config->crash,
        .memory_bytes = hub->config->memory_limit_bytes,
        .spool_bytes = hub->config->spool_limit_bytes,
        .hooks = shoal_hub_hooks(hub),
    };
    if (!endpoint_check(hub->config, status) || !shoal_hub_open_journal(hub, status)) {
        return false;
    }
    outputs.journal = hub->journal;
    outputs.vault = hub->vault;
    if (!shoal_outputs_new(&outputs, &hub->outputs, status)) {
        return false;
    }
    shoal_hub_open_ledger(hub);
    uint64_t seed = 0;
    memcpy(&seed, hub->id, sizeof(seed));
    shoal_cluster_config_t cluster = {
        .port = shoal_hub_port(hub),
        .outputs = hub->outputs,
        .ledger = hub->ledger,
        .life = hub->journal ? shoal_journal_life(hub->journal) : 0,
        .lease_ms = hub->config->lease_ms,
        .grace_ms = hub->config->grace_ms,
        .are_workers_gone = hub->config->workers_gone,
        .retain_ms = hub->config->retain_hours * 3600000,
        .retain_bytes = hub->config->retain_bytes,
        .seed = seed,
    };
    hub->cluster = shoal_cluster_new(&cluster);
    return shoal_hub_recover(hub, status) && socket_open(hub, status) && loop_open(hub, status) &&
           socket_bind(hub, status);
}

// How many the process may have.
static size_t
descriptors(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY
               ? (size_t)limit.rlim_cur
               : SIZE_MAX / 2;
}

bool
shoal_hub_new(const shoal_config_t *config, shoal_log_t *log, shoal_hub_t **ret_hub,
              shoal_status_t *status)
{
    shoal_hub_t *hub = shoal_alloc(sizeof(*hub));
    hub->config = config;
    hub->log = log;
    hub->signal_fd = hub->epoll_fd = -1;
    hub->wall_ms = shoal_clock_wall_ms() - shoal_clock_ms();
    hub->started_ms = hub->now_ms = shoal_hub_clock(hub);
    hub->outputs_ms = SHOAL_TIME_NEVER;
    hub->bury_ms = SHOAL_TIME_NEVER;
    hub->peers = shoal_peers_new();
    hub->doors = shoal_doors_new(descriptors());
    shoal_parcel_init(&hub->parcel);
    id_make(hub->id);
    if (!hub_open(hub, status)) {
        shoal_hub_destroy(&hub);
        return false;
    }
    ready_tell(hub);
    shoal_log(log, SHOAL_LOG_INFO, "HEAD-READY", "endpoint=%s head=%s", hub->endpoint, hub->id);
    *ret_hub = hub;
    return true;
}

// Tells every peer that the head goes.
static void
farewell(shoal_hub_t *hub)
{
    shoal_message_t message = {.type = SHOAL_MSG_BYE};
    message.bye.reason = SHOAL_SLICE("the head stops");
    for (int state = SHOAL_PEER_READY; state <= SHOAL_PEER_SUSPECT; state++) {
        shoal_peer_t *peer = shoal_peer_oldest(hub->peers, (shoal_peer_state_t)state);
        for (; peer; peer = peer->next) {
            (void)shoal_hub_send(hub, peer, &message, NULL);
        }
    }
}

static void
peers_part(shoal_hub_t *hub)
{
    for (int state = 0; state < SHOAL_PEER_STATE_COUNT; state++) {
        shoal_peer_t *peer = shoal_peer_oldest(hub->peers, (shoal_peer_state_t)state);
        for (; peer; peer = peer->next) {
            shoal_watch_drop_peer(peer);
        }
    }
}

void
shoal_hub_destroy(shoal_hub_t **hub_at)
{
    if (!hub_at || !*hub_at) {
        return;
    }
    shoal_hub_t *hub = *hub_at;
    if (hub->cluster) {
        farewell(hub);
    }
    peers_part(hub);
    shoal_cluster_destroy(&hub->cluster);
    shoal_outputs_destroy(&hub->outputs);
    shoal_ledger_destroy(&hub->ledger);
    shoal_journal_close(&hub->journal);
    shoal_vault_close(&hub->vault);
    free(hub->promises.list);
    shoal_parcel_fini(&hub->parcel);
    if (hub->monitor) {
        (void)zmq_socket_monitor(hub->router, NULL, 0);
        (void)zmq_close(hub->monitor);
    }
    if (hub->router) {
        endpoint_remove(hub->endpoint); // while it is still ours; libzmq leaves the file
        (void)option_set(hub->router, ZMQ_LINGER, FAREWELL_MS);
        (void)zmq_close(hub->router);
    }
    shoal_gate_close(&hub->gate);
    if (hub->context) {
        (void)zmq_ctx_term(hub->context);
    }
    if (hub->signal_fd >= 0) {
        (void)close(hub->signal_fd);
    }
    if (hub->epoll_fd >= 0) {
        (void)close(hub->epoll_fd);
    }
    shoal_peers_destroy(&hub->peers);
    shoal_doors_destroy(&hub->doors);
    shoal_buffer_fini(&hub->frame);
    shoal_buffer_fini(&hub->body);
    free(hub);
    *hub_at = NULL;
}
