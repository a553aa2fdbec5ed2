// SPDX-License-Identifier: Apache-2.0
//
// hub.c - see hub.h.
//
// Design: zmq_poll looks at two things only, the ROUTER and an epoll descriptor that stands for all
// the rest (scribe, monitor, signals, lifeline), because its cost grows with each. A send never
// waits: a peer that cannot be sent to is noted and dealt with after the message in hand, so that no
// structure changes under whoever is sending.

#include "head/hub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "head/requests.h"
#include "proto/base/alloc.h"
#include "proto/record/writer.h"

#define MONITOR_ENDPOINT "inproc://monitor"
#define HEAD_ID_SIZE     32  // hex digits
#define SWEEP_MS         100 // between two looks at suspects, at least
#define DISPATCH_EVERY   64  // messages: the calls that they lead to leave together
#define FAREWELL_MS      200 // for the last messages, at the end
#define STANDSTILL_PART  4   // of the liveness: a turn that is later than that was a standstill
#define SHUT_MS          100 // from telling a peer to go to shutting its connection
#define STRANGERS_MAX    64  // that wait to be shut; one more is shut before it has read why
#define REFUSED_LOGS     5   // lines a second about peers that were refused

// The connection of a stranger that was told to go, and when it is shut.
typedef struct stranger {
    int fd;
    ino_t inode;
    uint64_t due_ms;
} stranger_t;

typedef struct changed_job {
    shoal_job_t *job;
    bool is_urgent;
} changed_job_t;

struct shoal_hub {
    const shoal_config_t *config;
    shoal_log_t *log;
    void *context;
    void *router;
    void *monitor;
    int signal_fd;
    int epoll_fd;
    bool stopping;
    const char *stop_reason;
    char id[HEAD_ID_SIZE + 1];
    char endpoint[256];
    uint64_t started_ms;
    uint64_t now_ms;        // the turn's one
    uint64_t read_ms;       // what had come before this time has been read
    uint64_t round_ms;      // when the present round through the peers began
    size_t round_taken;     // messages taken in it
    uint64_t deaf_until_ms; // after a standstill nobody is blamed for silence before this
    uint64_t wake_ms;       // when the next turn is due
    uint64_t sweep_ms;
    uint64_t outputs_ms; // when the outputs want to run
    uint64_t bury_ms;    // when the first of the peers that are gone is due
    shoal_peers_t *peers;
    shoal_cluster_t *cluster;
    shoal_outputs_t *outputs;
    shoal_peer_t *failing; // could not be sent to
    shoal_worker_t *owing; // workers whose results were not acknowledged yet
    changed_job_t changed[SHOAL_JOBS_MAX];
    size_t changed_count;
    stranger_t strangers[STRANGERS_MAX]; // in the order in which they came
    size_t stranger_count;
    bool outputs_touched;
    bool is_broken;       // the socket
    shoal_buffer_t frame; // for encoding
    shoal_buffer_t body;  // for values in a body
    shoal_parcel_t parcel;
    shoal_log_limit_t refused_limit;
    uint64_t refused;
};

shoal_cluster_t *
shoal_hub_cluster(shoal_hub_t *hub)
{
    return hub->cluster;
}

uint64_t
shoal_hub_now(const shoal_hub_t *hub)
{
    return hub->now_ms;
}

shoal_log_t *
shoal_hub_log(const shoal_hub_t *hub)
{
    return hub->log;
}

shoal_buffer_t *
shoal_hub_scratch(shoal_hub_t *hub)
{
    return &hub->body;
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// ---- sending

shoal_sent_t
shoal_hub_send(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
               zmq_msg_t *payload)
{
    if (peer->state == SHOAL_PEER_GONE || peer->is_failing) {
        return SHOAL_SENT_GONE;
    }
    shoal_slice_t identity = {peer->identity, sizeof(peer->identity)};
    shoal_sent_t sent = shoal_message_send(hub->router, identity, message, payload, &hub->frame);
    if (sent == SHOAL_SENT_GONE || sent == SHOAL_SENT_FULL) {
        peer->is_failing = true;
        peer->failure = sent == SHOAL_SENT_GONE ? SHOAL_PEER_ON_UNREACHABLE : SHOAL_PEER_ON_FULL;
        peer->failing_next = hub->failing;
        hub->failing = peer;
    } else if (sent == SHOAL_SENT_BROKEN) {
        hub->is_broken = true;
    }
    return sent;
}

static void
error_send(shoal_hub_t *hub, shoal_peer_t *peer, int refers, uint64_t request, bool closing,
           const shoal_status_t *why)
{
    shoal_message_t message = {.type = SHOAL_MSG_ERROR};
    message.error.code = (uint64_t)why->code;
    message.error.reason = shoal_slice_of(why->text);
    message.error.refers = (uint64_t)refers & 0xffffU;
    message.error.request = request;
    message.error.closing = closing;
    (void)shoal_hub_send(hub, peer, &message, NULL);
}

void
shoal_hub_refuse(shoal_hub_t *hub, shoal_peer_t *peer, int refers, uint64_t request,
                 const shoal_status_t *why)
{
    error_send(hub, peer, refers, request, false, why);
}

static void
owing_remove(shoal_hub_t *hub, shoal_worker_t *worker)
{
    if (worker->owes_ack) {
        worker->owes_ack = false;
        *(worker->owing_prev ? &worker->owing_prev->owing_next : &hub->owing) = worker->owing_next;
        if (worker->owing_next) {
            worker->owing_next->owing_prev = worker->owing_prev;
        }
    }
}

static void
owing_add(shoal_hub_t *hub, shoal_worker_t *worker)
{
    if (!worker->owes_ack) {
        worker->owes_ack = true;
        worker->owing_prev = NULL;
        worker->owing_next = hub->owing;
        if (hub->owing) {
            hub->owing->owing_prev = worker;
        }
        hub->owing = worker;
    }
}

// ---- the port: what the cluster wants sent

static shoal_port_sent_t
port_result(shoal_sent_t sent)
{
    switch (sent) {
    case SHOAL_SENT: return SHOAL_PORT_SENT;
    case SHOAL_SENT_FULL: return SHOAL_PORT_FULL;
    case SHOAL_SENT_GONE:
    case SHOAL_SENT_BROKEN:
    default: return SHOAL_PORT_CUT;
    }
}

static shoal_sent_t
actor_send(shoal_hub_t *hub, shoal_worker_t *worker, const shoal_job_t *job)
{
    const shoal_registry_t *registry = shoal_cluster_registry(hub->cluster);
    shoal_message_t message = {.type = SHOAL_MSG_ACTOR};
    message.actor.actor = job->number;
    message.actor.job = job->number;
    message.actor.class_name =
        shoal_slice_of(shoal_registry_class_name(registry, job->class_number));
    zmq_msg_t payload;
    if (zmq_msg_init_size(&payload, job->args_len) != 0) {
        return SHOAL_SENT_FULL; // no memory for it now
    }
    memcpy(zmq_msg_data(&payload), job->args, job->args_len);
    shoal_sent_t sent = shoal_hub_send(hub, worker->peer, &message, &payload);
    (void)zmq_msg_close(&payload);
    if (sent == SHOAL_SENT) {
        shoal_worker_add_actor(worker, job->number);
    }
    return sent;
}

static shoal_port_sent_t
port_call(void *ctx, shoal_worker_t *worker, shoal_attempt_t *attempt, const char *method,
          shoal_slice_t args, uint64_t limit, uint32_t credit)
{
    shoal_hub_t *hub = ctx;
    if (!worker->peer) {
        return SHOAL_PORT_CUT;
    }
    if (!shoal_worker_has_actor(worker, attempt->job->number)) {
        shoal_sent_t sent = actor_send(hub, worker, attempt->job);
        if (sent != SHOAL_SENT) {
            return port_result(sent);
        }
    }
    shoal_message_t message = {.type = SHOAL_MSG_CALL};
    message.call.call = attempt->call;
    message.call.attempt = attempt->number;
    message.call.actor = attempt->job->number;
    message.call.method = shoal_slice_of(method);
    message.call.credit = credit;
    message.call.limit = limit;
    message.call.ack = worker->seq;
    message.call.args = args;
    shoal_sent_t sent = shoal_hub_send(hub, worker->peer, &message, NULL);
    if (sent == SHOAL_SENT) {
        owing_remove(hub, worker);
    }
    return port_result(sent);
}

static void
port_cancel(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, const char *reason)
{
    shoal_hub_t *hub = ctx;
    shoal_message_t message = {.type = SHOAL_MSG_CANCEL};
    message.cancel.call = call;
    message.cancel.attempt = number;
    message.cancel.reason = shoal_slice_of(reason);
    if (worker->peer) {
        (void)shoal_hub_send(hub, worker->peer, &message, NULL);
    }
}

static void
port_grant(void *ctx, shoal_worker_t *worker, uint64_t call, uint32_t number, uint32_t bytes)
{
    shoal_hub_t *hub = ctx;
    shoal_message_t message = {.type = SHOAL_MSG_GRANT};
    message.grant.call = call;
    message.grant.attempt = number;
    message.grant.bytes = bytes;
    if (worker->peer) {
        (void)shoal_hub_send(hub, worker->peer, &message, NULL);
    }
}

static void
port_drop_actor(void *ctx, shoal_worker_t *worker, uint64_t job)
{
    shoal_hub_t *hub = ctx;
    shoal_message_t message = {.type = SHOAL_MSG_DROP_ACTOR};
    message.drop_actor.actor = job;
    if (worker->peer) {
        (void)shoal_hub_send(hub, worker->peer, &message, NULL);
    }
}

static void
port_changed(void *ctx, shoal_job_t *job, bool is_urgent)
{
    shoal_hub_t *hub = ctx;
    hub->outputs_touched = hub->outputs_touched || job->output;
    if (is_urgent && shoal_job_is_final(job)) {
        shoal_log(hub->log, SHOAL_LOG_INFO, "JOB-ENDED",
                  "job=%" PRIu64 " state=%s shards=%" PRIu64 " records=%" PRIu64, job->number,
                  shoal_job_state_name((int)job->state), job->shards, job->records);
    }
    if (!job->watchers) {
        return;
    }
    if (!job->is_changed) {
        job->is_changed = true;
        hub->changed[hub->changed_count++] = (changed_job_t){job, is_urgent};
    } else if (is_urgent) {
        job->told_ms = 0;
    }
    if (is_urgent) {
        job->told_ms = 0;
    }
}

static void
port_forgotten(void *ctx, shoal_job_t *job)
{
    shoal_hub_t *hub = ctx;
    for (size_t i = 0; i < hub->changed_count; i++) {
        if (hub->changed[i].job == job) {
            hub->changed[i] = hub->changed[--hub->changed_count];
            break;
        }
    }
    shoal_watch_drop_job(job);
}

static void
port_ended(void *ctx, const shoal_job_t *job, const shoal_attempt_t *attempt,
           const shoal_status_t *why)
{
    shoal_hub_t *hub = ctx;
    unsigned left_out = 0;
    if (shoal_log_limit_pass(&hub->refused_limit, hub->now_ms, REFUSED_LOGS, &left_out)) {
        shoal_log(hub->log, SHOAL_LOG_WARN, "ATTEMPT-FAILED",
                  "job=%" PRIu64 " call=%" PRIu64 " attempt=%u worker=%s class=%s code=%s "
                  "left_out=%u reason=\"%s\"",
                  job->number, attempt->call, attempt->number, attempt->worker->id,
                  shoal_error_class_name((int)why->error_class), shoal_code_name((int)why->code),
                  left_out, why->text);
    }
}

// ---- the hooks of the outputs

static void
hook_grant(void *ctx, void *owner, uint32_t bytes)
{
    const shoal_attempt_t *attempt = owner;
    port_grant(ctx, attempt->worker, attempt->call, attempt->number, bytes);
}

static void
hook_disk(void *ctx, const shoal_status_t *why)
{
    shoal_hub_t *hub = ctx;
    if (why) {
        shoal_log(hub->log, SHOAL_LOG_ERROR, "DISK-FULL", "reason=\"%s\"", why->text);
    } else {
        shoal_log(hub->log, SHOAL_LOG_INFO, "DISK-OK", "reason=\"it takes data again\"");
    }
}

static void
hook_waits(void *ctx, uint64_t number, bool is_waiting)
{
    (void)is_waiting; // the event asks for itself
    shoal_hub_t *hub = ctx;
    shoal_job_t *job = shoal_cluster_job(hub->cluster, number);
    if (job && !shoal_job_is_final(job)) {
        port_changed(hub, job, /*is_urgent=*/false);
    }
}

// ---- peers that go

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

// Notes that the connection of somebody who is no peer has to be shut.
static void
stranger_note(shoal_hub_t *hub, int fd)
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
    if (hub->stranger_count == STRANGERS_MAX) {
        (void)connection_shut(fd, about.st_ino);
        return;
    }
    uint64_t due_ms = hub->now_ms + SHUT_MS;
    hub->strangers[hub->stranger_count++] = (stranger_t){fd, about.st_ino, due_ms};
    hub->bury_ms = earlier(hub->bury_ms, due_ms);
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
    memmove(hub->strangers, &hub->strangers[due], hub->stranger_count * sizeof(stranger_t));
    if (hub->stranger_count > 0) {
        hub->bury_ms = earlier(hub->bury_ms, hub->strangers[0].due_ms);
    }
}

static void
peer_log(shoal_hub_t *hub, const shoal_peer_t *peer, shoal_peer_event_t event, const char *why)
{
    unsigned left_out = 0;
    if (event == SHOAL_PEER_ON_BAD || event == SHOAL_PEER_ON_FULL || event == SHOAL_PEER_ON_HELLO) {
        hub->refused++;
        if (shoal_log_limit_pass(&hub->refused_limit, hub->now_ms, REFUSED_LOGS, &left_out)) {
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
    owing_remove(hub, worker);
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

// Raises an event that does not come with a message to be served.
static void
peer_event(shoal_hub_t *hub, shoal_peer_t *peer, shoal_peer_event_t event, int refers,
           const shoal_status_t *why)
{
    if (peer->state == SHOAL_PEER_GONE) {
        return;
    }
    uint64_t heard_ms = peer->heard_ms;
    bool can_tell = event == SHOAL_PEER_ON_BAD || event == SHOAL_PEER_ON_HELLO;
    if (can_tell) {
        error_send(hub, peer, refers, 0, /*closing=*/true, why);
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
    peer_log(hub, peer, event, why->text);
    if (peer->worker) {
        peer->worker->heard_ms = heard_ms;
    }
    worker_part(hub, peer, action, why->text);
    shoal_watch_drop_peer(peer);
    if (action == SHOAL_PEER_DO_EXPEL) {
        peer->must_shut = true; // once it can have read why
    }
    hub->bury_ms = earlier(hub->bury_ms, hub->now_ms + (peer->must_shut ? SHUT_MS : 0));
}

static void
peer_fail(shoal_hub_t *hub, shoal_peer_t *peer, shoal_peer_event_t event, const char *why)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)shoal_fail(&status, SHOAL_UNAVAILABLE, "%s", why);
    peer_event(hub, peer, event, 0, &status);
}

// After each handler: those that could not be sent to.
static void
failing_settle(shoal_hub_t *hub)
{
    while (hub->failing) {
        shoal_peer_t *peer = hub->failing;
        hub->failing = peer->failing_next;
        peer_fail(hub, peer, peer->failure,
                  peer->failure == SHOAL_PEER_ON_FULL ? "it does not read what it is sent"
                                                      : "its connection is closed");
        peer->is_failing = false;
    }
}

// ---- HELLO

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
    if (known && known->peer) { // its attempts are settled by the join
        shoal_peer_t *old = known->peer;
        peer_fail(hub, old, SHOAL_PEER_ON_TAKEN_OVER, "its id came on another connection");
    }
    shoal_worker_t *worker = NULL;
    if (!shoal_cluster_join(hub->cluster, &offer, hello->running, hello->last_exit, hub->now_ms,
                            &worker, status)) {
        return false;
    }
    worker->peer = peer;
    worker->heard_ms = hub->now_ms;
    peer->worker = worker;
    peer->role = SHOAL_FROM_WORKER;
    welcome_send(hub, peer);
    shoal_cluster_cancel_strays(hub->cluster, worker, hello->running);
    shoal_log(hub->log, SHOAL_LOG_INFO, "WORKER-JOINED", "worker=%s name=\"%s\" slots=%u window=%u",
              worker->id, worker->name, worker->slots, worker->window);
    return true;
}

static bool
admit(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_msg_hello_t *hello, shoal_status_t *status)
{
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
        answer.heartbeat.ack = peer->worker->seq;
        owing_remove(hub, peer->worker);
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
        owing_add(hub, worker);
        shoal_cluster_result(hub->cluster, worker, &message->result, hub->now_ms);
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
        peer_log(hub, peer, SHOAL_PEER_ON_MESSAGE, reason);
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
        peer_event(hub, peer, SHOAL_PEER_ON_BAD, type, &why);
        return;
    }
    (void)shoal_fail(&why, SHOAL_PROTOCOL, "HELLO comes first; register again");
    error_send(hub, peer, type, 0, /*closing=*/false, &why);
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
            return peer;
        }
        peer = shoal_peer_add(hub->peers, key, identity, hub->now_ms);
        if (peer) {
            shoal_peer_note_fd(hub->peers, peer, shoal_parcel_fd(&hub->parcel));
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
    stranger_note(hub, shoal_parcel_fd(&hub->parcel));
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
        error_send(hub, peer, (int)message->type, 0, /*closing=*/false, why);
    } else if (is_new_message) {
        teach(hub, peer, (int)message->type);
    } else {
        peer_event(hub, peer, SHOAL_PEER_ON_BAD, (int)message->type, why);
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
        peer_fail(hub, peer, SHOAL_PEER_ON_BYE, "it said BYE");
        return;
    }
    bool is_hello = message.type == SHOAL_MSG_HELLO;
    if (is_hello && peer->state != SHOAL_PEER_NEW) {
        (void)shoal_fail(&status, SHOAL_PROTOCOL, "HELLO was said already");
        peer_event(hub, peer, SHOAL_PEER_ON_HELLO, SHOAL_MSG_HELLO, &status);
        return;
    }
    shoal_peer_action_t action = shoal_peer_raise(
        hub->peers, peer, is_hello ? SHOAL_PEER_ON_HELLO : SHOAL_PEER_ON_MESSAGE, hub->now_ms);
    shoal_peer_hear(hub->peers, peer, hub->now_ms);
    bool is_good = true;
    if (action == SHOAL_PEER_DO_WELCOME) {
        is_good = admit(hub, peer, &message.hello, &status);
    } else if (action == SHOAL_PEER_DO_TEACH) {
        teach(hub, peer, (int)message.type);
    } else if (action == SHOAL_PEER_DO_SERVE) {
        is_good = serve(hub, peer, &message, &status);
    }
    if (!is_good) {
        peer_event(hub, peer, SHOAL_PEER_ON_BAD, (int)message.type, &status);
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
static bool
messages_take(shoal_hub_t *hub, shoal_status_t *status)
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
        failing_settle(hub);
        if (taken % DISPATCH_EVERY == 0) {
            shoal_cluster_dispatch(hub->cluster, hub->now_ms);
            failing_settle(hub);
        }
    }
    shoal_cluster_dispatch(hub->cluster, hub->now_ms);
    failing_settle(hub);
    reading_note(hub, taken, is_drained);
    return true;
}

// A descriptor was closed: a hint that makes its peer suspect, because it may be in use again.
static void
monitor_take(shoal_hub_t *hub)
{
    for (;;) {
        zmq_msg_t event;
        zmq_msg_t address;
        (void)zmq_msg_init(&event);
        (void)zmq_msg_init(&address);
        bool is_there = zmq_msg_recv(&event, hub->monitor, ZMQ_DONTWAIT) >= 0 &&
                        zmq_msg_recv(&address, hub->monitor, ZMQ_DONTWAIT) >= 0;
        uint32_t fd = 0;
        if (is_there && zmq_msg_size(&event) >= 6) {
            memcpy(&fd, (const char *)zmq_msg_data(&event) + 2, sizeof(fd));
        }
        (void)zmq_msg_close(&event);
        (void)zmq_msg_close(&address);
        if (!is_there) {
            return;
        }
        shoal_peer_t *peer = shoal_peer_by_fd(hub->peers, (int)fd);
        if (peer) {
            peer_fail(hub, peer, SHOAL_PEER_ON_HANGUP, "its connection is closed");
        }
    }
}

static void
signals_take(shoal_hub_t *hub)
{
    struct signalfd_siginfo info;
    while (read(hub->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        hub->stopping = true;
        hub->stop_reason = info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM";
    }
}

// ---- the turn

// When the cluster or a silent peer has to be looked at.
static uint64_t
next_judgement(const shoal_hub_t *hub)
{
    uint64_t liveness_ms = hub->config->liveness_ms;
    uint64_t due = shoal_cluster_next(hub->cluster);
    const shoal_peer_t *ready = shoal_peer_oldest(hub->peers, SHOAL_PEER_READY);
    const shoal_peer_t *stranger = shoal_peer_oldest(hub->peers, SHOAL_PEER_NEW);
    due = earlier(due, ready ? ready->heard_ms + liveness_ms / 2 : SHOAL_TIME_NEVER);
    due = earlier(due, stranger ? stranger->heard_ms + liveness_ms : SHOAL_TIME_NEVER);
    bool has_suspects =
        shoal_peer_oldest(hub->peers, SHOAL_PEER_SUSPECT) ||
        shoal_registry_first(shoal_cluster_registry(hub->cluster), SHOAL_WORKER_SUSPECT);
    due = earlier(due, has_suspects ? hub->sweep_ms : SHOAL_TIME_NEVER);
    return due > hub->deaf_until_ms ? due : hub->deaf_until_ms;
}

// Sets when the next turn is due and returns the milliseconds until then; -1: events alone start it.
static long
time_to_wait(shoal_hub_t *hub)
{
    uint64_t due = earlier(next_judgement(hub), earlier(hub->outputs_ms, hub->bury_ms));
    for (size_t i = 0; i < hub->changed_count; i++) {
        due = earlier(due, hub->changed[i].job->told_ms + SHOAL_HUB_EVENT_MS);
    }
    hub->wake_ms = due;
    if (hub->outputs_touched) {
        return 0;
    }
    if (due == SHOAL_TIME_NEVER) {
        return -1;
    }
    uint64_t now_ms = shoal_clock_ms();
    return due > now_ms ? (long)(due - now_ms) : 0;
}

// The turn's one "now". When the last one is long ago the process stood still (it was stopped, or
// the machine slept), and what peers have said meanwhile has to arrive first.
static void
clock_read(shoal_hub_t *hub)
{
    uint64_t now_ms = shoal_clock_ms();
    uint64_t planned_ms = hub->wake_ms == SHOAL_TIME_NEVER ? now_ms : hub->wake_ms;
    uint64_t expected_ms = planned_ms > hub->now_ms ? planned_ms : hub->now_ms;
    if (now_ms > expected_ms + hub->config->liveness_ms / STANDSTILL_PART) {
        hub->deaf_until_ms = now_ms + hub->config->liveness_ms / 2;
    }
    hub->now_ms = now_ms;
}

static bool
wait_for_events(shoal_hub_t *hub, shoal_status_t *status)
{
    zmq_pollitem_t items[] = {{hub->router, 0, ZMQ_POLLIN, 0},
                              {NULL, hub->epoll_fd, ZMQ_POLLIN, 0}};
    if (zmq_poll(items, 2, time_to_wait(hub)) < 0 && errno != EINTR) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot wait for events: %s",
                          zmq_strerror(errno));
    }
    clock_read(hub);
    if (!(items[1].revents & ZMQ_POLLIN)) {
        return true;
    }
    struct epoll_event events[8];
    int count = epoll_wait(hub->epoll_fd, events, 8, 0);
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == hub->signal_fd) {
            signals_take(hub);
        } else if (events[i].data.fd == hub->config->lifeline_fd) {
            char byte;
            if (read(hub->config->lifeline_fd, &byte, 1) == 0) {
                hub->stopping = true;
                hub->stop_reason = "the end of the lifeline";
            }
        } else if (events[i].data.fd == shoal_outputs_fd(hub->outputs)) {
            hub->outputs_touched = true;
        }
    }
    return true;
}

// Who was silent for too long.
static void
silence_end(shoal_hub_t *hub)
{
    uint64_t liveness_ms = hub->config->liveness_ms;
    uint64_t read_ms = hub->read_ms;
    if (hub->now_ms < hub->deaf_until_ms) {
        return;
    }
    shoal_peer_t *peer;
    while ((peer = shoal_peer_oldest(hub->peers, SHOAL_PEER_READY)) != NULL &&
           peer->heard_ms + liveness_ms / 2 <= read_ms) {
        peer_fail(hub, peer, SHOAL_PEER_ON_LATE, "it is silent");
    }
    while ((peer = shoal_peer_oldest(hub->peers, SHOAL_PEER_NEW)) != NULL &&
           peer->heard_ms + liveness_ms <= read_ms) {
        peer_fail(hub, peer, SHOAL_PEER_ON_SILENT, "it did not say HELLO");
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
            peer_fail(hub, peer, SHOAL_PEER_ON_SILENT, why);
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

static void
acks_send(shoal_hub_t *hub)
{
    while (hub->owing) {
        shoal_worker_t *worker = hub->owing;
        owing_remove(hub, worker);
        shoal_message_t message = {.type = SHOAL_MSG_ACK};
        message.ack.seq = worker->seq;
        if (worker->peer && worker->seq > 0) {
            (void)shoal_hub_send(hub, worker->peer, &message, NULL);
        }
    }
}

static void
events_send(shoal_hub_t *hub)
{
    for (size_t i = 0; i < hub->changed_count;) {
        shoal_job_t *job = hub->changed[i].job;
        if (job->told_ms + SHOAL_HUB_EVENT_MS > hub->now_ms) {
            i++;
            continue;
        }
        hub->changed[i] = hub->changed[--hub->changed_count];
        job->is_changed = false;
        job->told_ms = hub->now_ms;
        shoal_watch_tell(hub, job);
    }
}

static void
outputs_run(shoal_hub_t *hub)
{
    if (!hub->outputs_touched && hub->now_ms < hub->outputs_ms) {
        return;
    }
    hub->outputs_touched = false;
    hub->outputs_ms = shoal_outputs_run(hub->outputs, hub->now_ms);
    shoal_cluster_disk(hub->cluster);
}

// The only place that frees peers. Looks at those that are gone when the first of them is due.
static void
bury_the_dead(shoal_hub_t *hub)
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
            hub->bury_ms = earlier(hub->bury_ms, shut_ms);
        } else if (peer->is_shut && quiet_ms > hub->now_ms) {
            hub->bury_ms = earlier(hub->bury_ms, quiet_ms);
        } else {
            shoal_peer_bury(hub->peers, peer);
        }
        peer = next;
    }
}

bool
shoal_hub_run(shoal_hub_t *hub, shoal_status_t *status)
{
    while (!hub->stopping) {
        if (!wait_for_events(hub, status)) {
            return false;
        }
        if (!messages_take(hub, status)) {
            return false;
        }
        monitor_take(hub);
        silence_end(hub);
        if (hub->now_ms >= hub->deaf_until_ms) {
            shoal_cluster_run(hub->cluster, hub->now_ms);
        }
        outputs_run(hub);
        acks_send(hub);
        events_send(hub);
        failing_settle(hub);
        bury_the_dead(hub);
        if (hub->is_broken) {
            return shoal_fail(status, SHOAL_INTERNAL, "cannot send: %s", zmq_strerror(errno));
        }
    }
    shoal_log(hub->log, SHOAL_LOG_INFO, "HEAD-STOPPING", "reason=\"%s\"", hub->stop_reason);
    return true;
}

void
shoal_hub_describe(shoal_hub_t *hub, shoal_buffer_t *out)
{
    const shoal_cluster_counts_t *counts = shoal_cluster_counts(hub->cluster);
    const shoal_registry_t *registry = shoal_cluster_registry(hub->cluster);
    shoal_outputs_info_t info = shoal_outputs_info(hub->outputs);
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"pid", (uint64_t)getpid()},
        {"uptime_ms", hub->now_ms - hub->started_ms},
        {"workers", shoal_registry_workers(registry, -1)},
        {"slots", shoal_registry_slots(registry, -1)},
        {"jobs", shoal_cluster_job_count(hub->cluster)},
        {"peers", shoal_peer_count(hub->peers, SHOAL_PEER_READY) +
                      shoal_peer_count(hub->peers, SHOAL_PEER_SUSPECT)},
        {"calls", counts->calls},
        {"results", counts->results},
        {"batches", counts->batches},
        {"fenced", counts->fenced},
        {"repeated", counts->repeated},
        {"lost", counts->lost},
        {"refused", hub->refused},
        {"memory_bytes", info.memory_bytes},
        {"spool_bytes", info.spool_bytes},
    };
    uint32_t count = sizeof(numbers) / sizeof(numbers[0]);
    shoal_write_map(out, count + 3);
    shoal_write_key(out, "head");
    shoal_write_text(out, hub->id);
    shoal_write_key(out, "software");
    shoal_write_key(out, "shoal " SHOAL_VERSION);
    shoal_write_key(out, "endpoint");
    shoal_write_text(out, hub->endpoint);
    for (uint32_t i = 0; i < count; i++) {
        shoal_write_text(out, numbers[i].key);
        shoal_write_uint(out, numbers[i].value);
    }
}

// ---- birth and death

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
        zmq_socket_monitor(hub->router, MONITOR_ENDPOINT, ZMQ_EVENT_DISCONNECTED) != 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot set up the socket: %s",
                          zmq_strerror(errno));
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
socket_bind(shoal_hub_t *hub, shoal_status_t *status)
{
    const char *listen = hub->config->listen;
    if (!shoal_config_check_endpoint(listen, hub->config->insecure_loopback, status) ||
        !endpoint_is_free(listen, status)) {
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
        !epoll_watch(hub, shoal_outputs_fd(hub->outputs))) {
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
id_make(char id[HEAD_ID_SIZE + 1])
{
    unsigned char bytes[HEAD_ID_SIZE / 2] = {0};
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
        .memory_bytes = hub->config->memory_limit_bytes,
        .spool_bytes = hub->config->spool_limit_bytes,
        .hooks = {hub, hook_grant, shoal_watch_piece, shoal_watch_end, shoal_watch_failed,
                  hook_disk, hook_waits},
    };
    if (!shoal_config_check_endpoint(hub->config->listen, hub->config->insecure_loopback, status) ||
        !shoal_outputs_new(&outputs, &hub->outputs, status)) {
        return false;
    }
    uint64_t seed = 0;
    memcpy(&seed, hub->id, sizeof(seed));
    shoal_cluster_config_t cluster = {
        .port = {hub, port_call, port_cancel, port_grant, port_drop_actor, port_changed,
                 port_forgotten, port_ended},
        .outputs = hub->outputs,
        .lease_ms = hub->config->lease_ms,
        .seed = seed,
    };
    hub->cluster = shoal_cluster_new(&cluster);
    return socket_open(hub, status) && loop_open(hub, status) && socket_bind(hub, status);
}

bool
shoal_hub_new(const shoal_config_t *config, shoal_log_t *log, shoal_hub_t **ret_hub,
              shoal_status_t *status)
{
    shoal_hub_t *hub = shoal_alloc(sizeof(*hub));
    hub->config = config;
    hub->log = log;
    hub->signal_fd = hub->epoll_fd = -1;
    hub->started_ms = hub->now_ms = shoal_clock_ms();
    hub->outputs_ms = SHOAL_TIME_NEVER;
    hub->bury_ms = SHOAL_TIME_NEVER;
    hub->peers = shoal_peers_new();
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
    shoal_buffer_fini(&hub->frame);
    shoal_buffer_fini(&hub->body);
    free(hub);
    *hub_at = NULL;
}
