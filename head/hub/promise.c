// SPDX-License-Identifier: Apache-2.0
//
// promise.c - see hub_parts.h: what may be told once the disk has it, acknowledgements and ACCEPTED.
//
// Workers whose results are not durable yet stand in a list in the order of what they wait for, and
// so do the answers to clients. Each turn looks at their heads only.

#include <assert.h>
#include <stdlib.h>

#include "head/hub/hub_parts.h"
#include "proto/base/alloc.h"

// ---- acknowledgements

void
shoal_hub_owe_nothing(shoal_hub_t *hub, shoal_worker_t *worker)
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
owe(shoal_hub_t *hub, shoal_worker_t *worker)
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

static void
gated_remove(shoal_hub_t *hub, shoal_worker_t *worker)
{
    if (worker->is_gated) {
        shoal_worker_list_t *list = &hub->gated;
        *(worker->gated_prev ? &worker->gated_prev->gated_next : &list->first) = worker->gated_next;
        *(worker->gated_next ? &worker->gated_next->gated_prev : &list->last) = worker->gated_prev;
        worker->is_gated = false;
    }
}

// At the end: it waits for at least what the last one waits for.
static void
gated_append(shoal_hub_t *hub, shoal_worker_t *worker)
{
    shoal_worker_list_t *list = &hub->gated;
    if (list->last && list->last->ack.waiting_lsn > worker->ack.waiting_lsn) {
        worker->ack.waiting_lsn = list->last->ack.waiting_lsn;
    }
    worker->gated_prev = list->last;
    worker->gated_next = NULL;
    *(list->last ? &list->last->gated_next : &list->first) = worker;
    list->last = worker;
    worker->is_gated = true;
}

void
shoal_hub_owe_seq(shoal_hub_t *hub, shoal_worker_t *worker)
{
    if (worker->seq == worker->ack.latest) { // a result that it has sent again
        owe(hub, worker);
        return;
    }
    bool may_tell = shoal_tide_set(&worker->ack, worker->seq, shoal_ledger_lsn(hub->ledger),
                                   shoal_ledger_durable(hub->ledger));
    if (may_tell) {
        owe(hub, worker);
    }
    if (shoal_tide_is_shut(&worker->ack) && !worker->is_gated) {
        gated_append(hub, worker);
    }
}

void
shoal_hub_owe_again(shoal_hub_t *hub, shoal_worker_t *worker)
{
    if (shoal_tide_is_shut(&worker->ack) && !worker->is_gated) {
        gated_append(hub, worker);
    }
}

void
shoal_hub_forget_acks(shoal_hub_t *hub, shoal_worker_t *worker)
{
    shoal_hub_owe_nothing(hub, worker);
    gated_remove(hub, worker);
}

static void
gates_pass(shoal_hub_t *hub, uint64_t durable)
{
    for (shoal_worker_t *worker;
         (worker = hub->gated.first) != NULL && worker->ack.waiting_lsn <= durable;) {
        gated_remove(hub, worker);
        if (shoal_tide_pass(&worker->ack, durable)) {
            owe(hub, worker);
            shoal_worker_refeed(shoal_cluster_registry(hub->cluster), worker);
        }
        shoal_hub_owe_again(hub, worker);
    }
}

void
shoal_hub_send_acks(shoal_hub_t *hub)
{
    while (hub->owing) {
        shoal_worker_t *worker = hub->owing;
        shoal_hub_owe_nothing(hub, worker);
        shoal_message_t message = {.type = SHOAL_MSG_ACK};
        message.ack.seq = worker->ack.open;
        if (worker->peer && worker->ack.open > 0) {
            (void)shoal_hub_send(hub, worker->peer, &message, NULL);
        }
    }
}

// ---- answers

static void
accepted_send(shoal_hub_t *hub, shoal_peer_t *peer, uint64_t request, uint64_t job)
{
    shoal_message_t message = {.type = SHOAL_MSG_ACCEPTED};
    message.accepted.request = request;
    message.accepted.job = job;
    (void)shoal_hub_send(hub, peer, &message, NULL);
}

bool
shoal_hub_accept(shoal_hub_t *hub, shoal_peer_t *peer, uint64_t request, uint64_t job, uint64_t lsn,
                 shoal_status_t *status)
{
    if (lsn <= shoal_ledger_durable(hub->ledger)) {
        accepted_send(hub, peer, request, job);
        return true;
    }
    shoal_promises_t *promises = &hub->promises;
    size_t count = promises->end - promises->first;
    if (count == SHOAL_PROMISES_MAX) {
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                             "%d answers wait for the disk already: ask again", SHOAL_PROMISES_MAX);
    }
    if (promises->end == promises->size) {
        if (promises->first > 0) {
            memmove(promises->list, &promises->list[promises->first],
                    count * sizeof(*promises->list));
        }
        if (count * 2 >= promises->size) { // the moves stay rare
            promises->size = promises->size ? promises->size * 2 : 16;
            promises->list =
                shoal_realloc(promises->list, promises->size * sizeof(*promises->list));
        }
        promises->first = 0;
        promises->end = count;
    }
    const shoal_promise_t *last =
        promises->end > promises->first ? &promises->list[promises->end - 1] : NULL;
    lsn = last && last->lsn > lsn ? last->lsn : lsn; // so that they stay in order
    assert(promises->list);                          // it has grown, if it had no room
    promises->list[promises->end++] = (shoal_promise_t){lsn, request, job, peer->key};
    return true;
}

static void
promises_keep(shoal_hub_t *hub, uint64_t durable)
{
    shoal_promises_t *promises = &hub->promises;
    while (promises->first < promises->end && promises->list[promises->first].lsn <= durable) {
        shoal_promise_t promise = promises->list[promises->first++];
        shoal_peer_t *peer = shoal_peer_find(hub->peers, promise.peer);
        if (peer) {
            accepted_send(hub, peer, promise.request, promise.job);
        }
    }
}

void
shoal_hub_pass(shoal_hub_t *hub)
{
    if (!shoal_ledger_pass(hub->ledger, hub->durable_lsn)) {
        return;
    }
    gates_pass(hub, hub->durable_lsn);
    promises_keep(hub, hub->durable_lsn);
    shoal_cluster_durable(hub->cluster);
}
