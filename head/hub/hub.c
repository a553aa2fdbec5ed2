// SPDX-License-Identifier: Apache-2.0
//
// hub.c - see hub.h: the turn, and the sending.
//
// Design: zmq_poll looks at two things only, the ROUTER and an epoll descriptor that stands for all
// the rest (scribe, monitor, signals, lifeline), because its cost grows with each. A send never
// waits: a peer that cannot be sent to is noted and dealt with after the message in hand, so that no
// structure changes under whoever is sending.

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "head/hub/hub_parts.h"
#include "proto/record/writer.h"

#define SETTLE_MS       5000 // for the disk, at the end
#define SETTLE_LOOK_MS  10
#define STANDSTILL_PART 4 // of the liveness: a turn that is later than that was a standstill

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

// ---- sending

// It goes away once the handler that is sending has returned.
static void
peer_note_failing(shoal_hub_t *hub, shoal_peer_t *peer, shoal_peer_event_t failure)
{
    if (!peer->is_failing) {
        peer->is_failing = true;
        peer->failure = failure;
        peer->failing_next = hub->failing;
        hub->failing = peer;
    }
}

// Counts what waits for all peers; the one with the most, or NULL.
static shoal_peer_t *
unread_count(shoal_hub_t *hub)
{
    shoal_peer_t *fullest = NULL;
    hub->unread_bytes = 0;
    for (int state = 0; state < SHOAL_PEER_GONE; state++) {
        shoal_peer_t *peer = shoal_peer_oldest(hub->peers, (shoal_peer_state_t)state);
        for (; peer; peer = peer->next) {
            uint64_t waiting = peer->is_failing ? 0 : shoal_outbox_waiting(&peer->outbox);
            hub->unread_bytes += waiting;
            if (waiting > 0 && (!fullest || waiting > shoal_outbox_waiting(&fullest->outbox))) {
                fullest = peer;
            }
        }
    }
    return fullest;
}

static void
outbox_bound(shoal_hub_t *hub, shoal_peer_t *peer, uint64_t bytes)
{
    uint64_t limit =
        peer->role == SHOAL_FROM_WORKER ? SHOAL_OUTBOX_WORKER_BYTES : SHOAL_OUTBOX_CLIENT_BYTES;
    if (shoal_outbox_waiting(&peer->outbox) > limit) {
        peer_note_failing(hub, peer, SHOAL_PEER_ON_FULL);
    }
    hub->unread_bytes += bytes; // never less than there is; counted again before anyone pays for it
    if (hub->unread_bytes > SHOAL_OUTBOX_ALL_BYTES) {
        shoal_peer_t *fullest = unread_count(hub);
        if (hub->unread_bytes > SHOAL_OUTBOX_ALL_BYTES && fullest) {
            peer_note_failing(hub, fullest, SHOAL_PEER_ON_FULL);
        }
    }
}

shoal_sent_t
shoal_hub_send(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
               zmq_msg_t *payload)
{
    if (peer->state == SHOAL_PEER_GONE || peer->is_failing) {
        return SHOAL_SENT_GONE;
    }
    shoal_slice_t identity = {peer->identity, sizeof(peer->identity)};
    uint64_t before = peer->outbox.sent;
    shoal_sent_t sent =
        shoal_outbox_send(&peer->outbox, hub->router, identity, message, payload, &hub->frame);
    if (sent == SHOAL_SENT) {
        outbox_bound(hub, peer, peer->outbox.sent - before);
    } else if (sent == SHOAL_SENT_BROKEN) {
        hub->is_broken = true;
    } else {
        peer_note_failing(hub, peer,
                          sent == SHOAL_SENT_GONE ? SHOAL_PEER_ON_UNREACHABLE : SHOAL_PEER_ON_FULL);
    }
    return sent;
}

void
shoal_hub_error(shoal_hub_t *hub, shoal_peer_t *peer, int refers, uint64_t request, bool closing,
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
    shoal_hub_error(hub, peer, refers, request, false, why);
}

// ---- the turn

static void
signals_take(shoal_hub_t *hub)
{
    struct signalfd_siginfo info;
    while (read(hub->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        hub->stopping = true;
        hub->stop_reason = info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM";
    }
}

// When the cluster or a silent peer has to be looked at.
static uint64_t
next_judgement(const shoal_hub_t *hub)
{
    uint64_t liveness_ms = hub->config->liveness_ms;
    uint64_t due = shoal_cluster_next(hub->cluster);
    const shoal_peer_t *ready = shoal_peer_oldest(hub->peers, SHOAL_PEER_READY);
    const shoal_peer_t *stranger = shoal_peer_oldest(hub->peers, SHOAL_PEER_NEW);
    due = shoal_hub_earlier(due, ready ? ready->heard_ms + liveness_ms / 2 : SHOAL_TIME_NEVER);
    due = shoal_hub_earlier(due, stranger ? stranger->heard_ms + liveness_ms : SHOAL_TIME_NEVER);
    bool has_suspects =
        shoal_peer_oldest(hub->peers, SHOAL_PEER_SUSPECT) ||
        shoal_registry_first(shoal_cluster_registry(hub->cluster), SHOAL_WORKER_SUSPECT);
    due = shoal_hub_earlier(due, has_suspects ? hub->sweep_ms : SHOAL_TIME_NEVER);
    return due > hub->deaf_until_ms ? due : hub->deaf_until_ms;
}

// Sets when the next turn is due and returns the milliseconds until then; -1: events alone start it.
static long
time_to_wait(shoal_hub_t *hub)
{
    uint64_t due =
        shoal_hub_earlier(next_judgement(hub), shoal_hub_earlier(hub->outputs_ms, hub->bury_ms));
    due = shoal_hub_earlier(due, hub->doors_ms);
    for (size_t i = 0; i < hub->changed_count; i++) {
        due = shoal_hub_earlier(due, hub->changed[i].job->told_ms + SHOAL_HUB_EVENT_MS);
    }
    hub->wake_ms = due;
    if (hub->outputs_touched) {
        return 0;
    }
    if (due == SHOAL_TIME_NEVER) {
        return -1;
    }
    uint64_t now_ms = shoal_hub_clock(hub);
    return due > now_ms ? (long)(due - now_ms) : 0;
}

// The turn's one "now". When the last one is long ago the process stood still (it was stopped, or
// the machine slept), and what peers have said meanwhile has to arrive first.
static void
clock_read(shoal_hub_t *hub)
{
    uint64_t now_ms = shoal_hub_clock(hub);
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

// What was decided in this turn goes to the scribe, behind the batches that it needs.
static void
ledger_flush(shoal_hub_t *hub)
{
    uint64_t before = shoal_ledger_lsn(hub->ledger);
    if (before > hub->flushed_lsn) {
        shoal_ledger_flush(hub->ledger);
        hub->flushed_lsn = before;
        hub->outputs_touched = true;
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
    shoal_hub_pass(hub);
    shoal_watch_go_on(hub);
    shoal_cluster_disk(hub->cluster);
    shoal_cluster_dispatch(hub->cluster, hub->now_ms);
}

// What was decided is made durable before the head ends, and told to whom it was promised; a disk
// that takes nothing is not waited for.
static void
settle(shoal_hub_t *hub)
{
    uint64_t until_ms = shoal_hub_clock(hub) + SETTLE_MS;
    ledger_flush(hub);
    for (;;) {
        hub->now_ms = shoal_hub_clock(hub);
        (void)shoal_outputs_run(hub->outputs, hub->now_ms);
        shoal_hub_pass(hub);
        bool is_durable = shoal_ledger_durable(hub->ledger) == shoal_ledger_lsn(hub->ledger);
        bool is_hopeless = hub->disk_trouble[0] || hub->now_ms >= until_ms;
        if (!hub->journal || is_durable || is_hopeless) {
            break;
        }
        struct pollfd scribe = {shoal_outputs_fd(hub->outputs), POLLIN, 0};
        (void)poll(&scribe, 1, SETTLE_LOOK_MS);
    }
    shoal_hub_send_acks(hub);
    for (size_t i = 0; i < hub->changed_count; i++) {
        hub->changed[i].job->told_ms = 0;
    }
    events_send(hub);
}

bool
shoal_hub_run(shoal_hub_t *hub, shoal_status_t *status)
{
    while (!hub->stopping) {
        if (!wait_for_events(hub, status)) {
            return false;
        }
        if (!shoal_hub_take_messages(hub, status)) {
            return false;
        }
        shoal_hub_take_monitor(hub);
        shoal_hub_take_holders(hub);
        shoal_hub_end_silence(hub);
        if (hub->now_ms >= hub->deaf_until_ms) {
            shoal_cluster_run(hub->cluster, hub->now_ms);
        }
        ledger_flush(hub);
        outputs_run(hub);
        shoal_hub_send_acks(hub);
        events_send(hub);
        shoal_hub_settle_failing(hub);
        shoal_hub_bury(hub);
        if (shoal_outputs_lost(hub->outputs)) {
            *status = *shoal_outputs_lost(hub->outputs);
            return false;
        }
        if (hub->is_broken) {
            return shoal_fail(status, SHOAL_INTERNAL, "cannot send: %s", zmq_strerror(errno));
        }
    }
    shoal_log(hub->log, SHOAL_LOG_INFO, "HEAD-STOPPING", "reason=\"%s\"", hub->stop_reason);
    settle(hub);
    return true;
}

void
shoal_hub_describe(shoal_hub_t *hub, shoal_buffer_t *out)
{
    const shoal_cluster_counts_t *counts = shoal_cluster_counts(hub->cluster);
    const shoal_registry_t *registry = shoal_cluster_registry(hub->cluster);
    shoal_outputs_info_t info = shoal_outputs_info(hub->outputs);
    (void)unread_count(hub);
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
        {"unread_bytes", hub->unread_bytes},
        {"connections", shoal_doors_open(hub->doors)},
        {"silent", shoal_doors_silent(hub->doors)},
        {"shut", shoal_doors_shut(hub->doors)},
    };
    uint32_t count = sizeof(numbers) / sizeof(numbers[0]);
    shoal_write_map(out, count + 4);
    shoal_write_key(out, "head");
    shoal_write_text(out, hub->id);
    shoal_write_key(out, "software");
    shoal_write_key(out, "shoal " SHOAL_VERSION);
    shoal_write_key(out, "endpoint");
    shoal_write_text(out, hub->endpoint);
    shoal_write_key(out, "journal");
    shoal_write_bool(out, hub->journal != NULL);
    for (uint32_t i = 0; i < count; i++) {
        shoal_write_text(out, numbers[i].key);
        shoal_write_uint(out, numbers[i].value);
    }
}
