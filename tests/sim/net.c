// SPDX-License-Identifier: Apache-2.0
//
// net.c - see sim.h: connections, what is on its way on them, and how they end.
//
// Design: a letter is planned as an event of its own and stands in its line meanwhile; an event that
// finds its letter gone (the connection was cut) means nothing. Connections are kept to the end, so
// that an event may name one that is closed.

#include <stdlib.h>

#include <zmq.h>

#include "proto/base/alloc.h"
#include "tests/sim/zmq.h"

#define DELAY_LEAST_US 20
#define DELAY_MORE_US  400
#define FD_FIRST       1000

sim_conn_t *
sim_conn_by_key(const sim_t *sim, uint32_t key)
{
    for (sim_conn_t *conn = sim->conns; conn; conn = conn->next) {
        if (conn->key == key) {
            return conn;
        }
    }
    return NULL;
}

sim_conn_t *
sim_conn_by_fd(const sim_t *sim, int fd)
{
    for (sim_conn_t *conn = sim->conns; conn; conn = conn->next) {
        if (conn->is_head_open && conn->fd == fd) {
            return conn;
        }
    }
    return NULL;
}

// The lowest descriptor that is free, as the system gives them: they are used again soon.
static int
fd_find(const sim_t *sim)
{
    int fd = FD_FIRST;
    while (sim_conn_by_fd(sim, fd)) {
        fd++;
    }
    return fd;
}

// What happens, line by line, for people.
static void
trace(const sim_t *sim, const sim_conn_t *conn, const char *what, int type)
{
    if (sim->is_verbose) {
        (void)fprintf(stderr, "%llu.%06llu %s %u %s\n",
                      (unsigned long long)(sim->now_us / SIM_SECOND),
                      (unsigned long long)(sim->now_us % SIM_SECOND), conn->owner->name, conn->key,
                      type ? shoal_message_name(type) : what);
    }
}

sim_conn_t *
sim_conn_open(sim_t *sim, sim_actor_t *owner)
{
    sim_conn_t *conn = shoal_alloc(sizeof(*conn));
    conn->key = sim->next_key++;
    conn->fd = fd_find(sim);
    conn->inode = sim->next_inode++;
    conn->is_head_open = true;
    conn->is_peer_open = true;
    conn->owner = owner;
    conn->next = sim->conns;
    sim->conns = conn;
    sim_zmq_note(sim, ZMQ_EVENT_ACCEPTED, conn->fd);
    trace(sim, conn, "dials", 0);
    return conn;
}

void
sim_letter_free(sim_letter_t *letter)
{
    if (letter->has_origin) {
        (void)zmq_msg_close(&letter->origin);
    }
    free(letter->body);
    free(letter->payload);
    free(letter);
}

static void
line_clear(sim_line_t *line)
{
    for (sim_letter_t *letter; (letter = line->first) != NULL;) {
        line->first = letter->next;
        sim_letter_free(letter);
    }
    *line = (sim_line_t){.due_us = line->due_us};
}

static sim_letter_t *
line_take(sim_line_t *line)
{
    sim_letter_t *letter = line->first;
    line->first = letter->next;
    if (!line->first) {
        line->last = NULL;
    }
    line->count--;
    return letter;
}

static void
line_add(sim_conn_t *conn, sim_line_t *line, sim_letter_t *letter, sim_event_kind_t kind)
{
    sim_t *sim = conn->owner->sim;
    uint64_t delay_us = DELAY_LEAST_US + sim_below(&conn->owner->random, DELAY_MORE_US);
    if (conn->slow_until_us > sim->now_us) {
        delay_us += sim_below(&conn->owner->random, conn->slow_us);
    }
    letter->due_us = sim->now_us + delay_us;
    if (letter->due_us < line->due_us) {
        letter->due_us = line->due_us; // they arrive in order
    }
    line->due_us = letter->due_us;
    letter->conn = conn;
    letter->next = NULL;
    *(line->last ? &line->last->next : &line->first) = letter;
    line->last = letter;
    line->count++;
    sim_plan(sim, letter->due_us - sim->now_us, kind, conn, 0, letter->due_us);
}

void
sim_conn_send_raw(sim_conn_t *conn, shoal_slice_t header, shoal_slice_t body)
{
    sim_letter_t *letter = shoal_alloc(sizeof(*letter));
    memcpy(letter->header, header.ptr,
           header.len < sizeof(letter->header) ? header.len : sizeof(letter->header));
    letter->body = shoal_alloc(body.len + 1);
    memcpy(letter->body, body.ptr, body.len);
    letter->body_len = body.len;
    if (conn->is_broken || !conn->is_peer_open) {
        sim_letter_free(letter);
        return;
    }
    line_add(conn, &conn->up, letter, SIM_EVENT_UP);
}

void
sim_conn_send(sim_conn_t *conn, const shoal_message_t *message, shoal_slice_t payload)
{
    if (conn->is_broken || !conn->is_peer_open) {
        return;
    }
    sim_letter_t *letter = shoal_alloc(sizeof(*letter));
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_body_encode(message, &body);
    shoal_header_encode(message->type, letter->header);
    letter->body = body.ptr; // both are of malloc()
    letter->body_len = body.len;
    if (shoal_message_has_payload(message->type)) {
        letter->payload = shoal_alloc(payload.len + 1);
        letter->payload_len = payload.len;
        if (payload.len > 0) {
            memcpy(letter->payload, payload.ptr, payload.len);
        }
    }
    trace(conn->owner->sim, conn, "", (int)message->type);
    line_add(conn, &conn->up, letter, SIM_EVENT_UP);
}

bool
sim_conn_has_room(const sim_conn_t *conn)
{
    return conn->down.count < conn->owner->sim->send_hwm;
}

void
sim_conn_deliver(sim_conn_t *conn, sim_letter_t *letter)
{
    if (conn->is_broken || !conn->is_peer_open) {
        sim_letter_free(letter);
    } else {
        line_add(conn, &conn->down, letter, SIM_EVENT_DOWN);
    }
}

void
sim_conn_close(sim_conn_t *conn)
{
    if (!conn->is_peer_open) {
        return;
    }
    sim_t *sim = conn->owner->sim;
    conn->is_peer_open = false;
    if (conn->owner->conn == conn) {
        conn->owner->conn = NULL;
    }
    line_clear(&conn->down);
    if (!conn->is_broken) { // what was sent arrives, then the end does
        uint64_t last_us = conn->up.due_us > sim->now_us ? conn->up.due_us - sim->now_us : 0;
        sim_plan(sim, last_us + DELAY_LEAST_US, SIM_EVENT_HANGUP, conn, 0, 0);
    }
}

void
sim_conn_cut(sim_conn_t *conn, uint64_t head_us, uint64_t peer_us)
{
    if (conn->is_broken) {
        return;
    }
    sim_t *sim = conn->owner->sim;
    conn->is_broken = true;
    line_clear(&conn->up);
    line_clear(&conn->down);
    if (head_us != SHOAL_TIME_NEVER) {
        sim_plan(sim, head_us, SIM_EVENT_HANGUP, conn, 0, 0);
    }
    if (peer_us != SHOAL_TIME_NEVER) {
        sim_plan(sim, peer_us, SIM_EVENT_LOST, conn, 0, 0);
    }
}

// ---- what arrives

static void
arrive_up(sim_t *sim, sim_conn_t *conn)
{
    if (conn->up.first && conn->up.first->due_us <= sim->now_us) {
        sim_letter_t *letter = line_take(&conn->up);
        if (conn->is_head_open) {
            sim_zmq_deliver(sim, letter);
        } else {
            sim_letter_free(letter);
        }
    }
}

static void
letter_hear(sim_actor_t *actor, sim_letter_t *letter)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_t message = {.minor = 0};
    shoal_slice_t header = {(const char *)letter->header, sizeof(letter->header)};
    shoal_slice_t body = {letter->body, letter->body_len};
    if (!shoal_header_decode(header, &message.type, &message.minor, &status) ||
        !shoal_body_decode(body, &message, &status)) {
        sim_violation(actor->sim, "the head has sent what nobody can read: %s", status.text);
    }
    if ((shoal_message_senders(message.type) & SHOAL_FROM_HEAD) == 0 ||
        shoal_message_has_payload(message.type) != (letter->payload != NULL)) {
        sim_violation(actor->sim, "the head has sent a wrong %s",
                      shoal_message_name((int)message.type));
    }
    shoal_slice_t payload = {letter->payload, letter->payload_len};
    trace(actor->sim, actor->conn, "", (int)message.type);
    actor->ops->hear(actor, &message, payload);
}

void
sim_actor_read(sim_actor_t *actor)
{
    sim_t *sim = actor->sim;
    while (actor->conn && !actor->is_dead && actor->frozen_until_us <= sim->now_us &&
           actor->conn->down.first && actor->conn->down.first->due_us <= sim->now_us) {
        sim_letter_t *letter = line_take(&actor->conn->down);
        letter_hear(actor, letter);
        sim_letter_free(letter);
    }
}

static void
arrive_down(sim_t *sim, sim_conn_t *conn)
{
    sim_actor_t *actor = conn->owner;
    if (!conn->is_peer_open || actor->conn != conn) {
        return;
    }
    if (actor->frozen_until_us > sim->now_us) { // it reads when it goes on
        sim_plan(sim, actor->frozen_until_us - sim->now_us, SIM_EVENT_DOWN, conn, 0, 0);
        return;
    }
    sim_actor_read(actor);
}

static void
hang_up(sim_t *sim, sim_conn_t *conn)
{
    if (!conn->is_head_open) {
        return;
    }
    conn->is_head_open = false;
    conn->is_broken = true;
    line_clear(&conn->down);
    // libzmq tells before the descriptor can be another's; when the head listens is another matter.
    sim_zmq_note(sim, ZMQ_EVENT_DISCONNECTED, conn->fd);
}

static void
lose(sim_t *sim, sim_conn_t *conn)
{
    sim_actor_t *actor = conn->owner;
    if (!conn->is_peer_open || actor->conn != conn) {
        return;
    }
    if (actor->frozen_until_us > sim->now_us) {
        sim_plan(sim, actor->frozen_until_us - sim->now_us, SIM_EVENT_LOST, conn, 0, 0);
        return;
    }
    trace(sim, conn, "is cut off", 0);
    conn->is_peer_open = false;
    actor->conn = NULL;
    actor->ops->lost(actor);
}

void
sim_net_handle(sim_t *sim, const sim_event_t *event)
{
    sim_conn_t *conn = event->target;
    switch (event->kind) {
    case SIM_EVENT_UP: arrive_up(sim, conn); break;
    case SIM_EVENT_DOWN: arrive_down(sim, conn); break;
    case SIM_EVENT_HANGUP: hang_up(sim, conn); break;
    case SIM_EVENT_LOST: lose(sim, conn); break;
    case SIM_EVENT_TIMER:
    case SIM_EVENT_FAULT:
    case SIM_EVENT_DISK:
    default: break;
    }
}

static void
inbox_clear(sim_t *sim)
{
    while (sim->inbox_first) {
        sim_letter_t *letter = sim->inbox_first;
        sim->inbox_first = letter->next;
        sim_letter_free(letter);
    }
    sim->inbox_last = NULL;
    sim->inbox_count = 0;
    sim->frame = 0;
}

// What it has sent before arrives; what is on its way to it is lost.
void
sim_net_head_ended(sim_t *sim)
{
    for (sim_conn_t *conn = sim->conns; conn; conn = conn->next) {
        if (!conn->is_head_open) {
            continue;
        }
        uint64_t last_us = conn->down.due_us > sim->now_us ? conn->down.due_us - sim->now_us : 0;
        conn->is_head_open = false;
        line_clear(&conn->up);
        if (!conn->is_broken) {
            sim_plan(sim, last_us + DELAY_LEAST_US, SIM_EVENT_LOST, conn, 0, 0);
        }
        conn->is_broken = true;
    }
    inbox_clear(sim);
    sim->note_count = 0;
    sim->note_frame = 0;
}

void
sim_net_end(sim_t *sim)
{
    inbox_clear(sim);
    while (sim->conns) {
        sim_conn_t *conn = sim->conns;
        sim->conns = conn->next;
        line_clear(&conn->up);
        line_clear(&conn->down);
        free(conn);
    }
}
