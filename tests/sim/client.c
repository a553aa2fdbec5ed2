// SPDX-License-Identifier: Apache-2.0
//
// client.c - see sim.h: a client that submits a job, watches it, stops it perhaps, and fetches its
// output; or one that only fetches.

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "tests/sim/sim.h"

#define TICK_US      (100 * SIM_MS)
#define AGAIN_US     (3 * SIM_SECOND) // a request without an answer is sent again
#define BACK_OFF_US  (300 * SIM_MS)
#define CREDIT_BYTES 300000

enum { TIMER_TICK, TIMER_START, TIMER_TAKE };
enum { REQUEST_SUBMIT = 1, REQUEST_WATCH, REQUEST_OUTPUT, REQUEST_STOP };

struct sim_client {
    sim_actor_t actor; // first
    sim_job_t *job;
    bool is_reader;
    bool is_ready;
    char id[24];
    uint64_t dial_us;
    uint64_t heard_us;
    uint64_t said_us;
    uint64_t asked_us; // the last SUBMIT or OUTPUT
    uint64_t next_commit;
    uint64_t index; // of the next piece
    shoal_buffer_t commit;
    uint64_t untaken; // bytes
    int64_t credit;
    bool is_watching;
    bool is_forgotten;
    bool has_final;
    bool has_end;
};

sim_actor_t *
sim_client_actor(sim_client_t *client)
{
    return &client->actor;
}

bool
sim_client_is_done(const sim_client_t *client)
{
    return client->is_forgotten || (client->has_end && (client->is_reader || client->has_final));
}

static void
say(sim_client_t *client, const shoal_message_t *message, shoal_slice_t payload)
{
    if (client->actor.conn) {
        sim_conn_send(client->actor.conn, message, payload);
        client->said_us = client->actor.sim->now_us;
    }
}

static void
dial_later(sim_client_t *client)
{
    if (client->actor.conn) {
        sim_conn_close(client->actor.conn);
    }
    client->is_ready = false;
    client->dial_us =
        client->actor.sim->now_us + sim_below(&client->actor.random, BACK_OFF_US) + SIM_MS;
}

static void
submit_say(sim_client_t *client)
{
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    sim_job_spec(client->job, &spec);
    shoal_message_t message = {.type = SHOAL_MSG_SUBMIT};
    message.submit.request = REQUEST_SUBMIT;
    message.submit.id = shoal_slice_of(client->job->id);
    say(client, &message, shoal_buffer_slice(&spec));
    shoal_buffer_fini(&spec);
    client->asked_us = client->actor.sim->now_us;
}

// Watches the job and subscribes to what it has not got yet.
static void
output_say(sim_client_t *client)
{
    shoal_message_t message = {.type = SHOAL_MSG_OUTPUT};
    message.output.request = REQUEST_OUTPUT;
    message.output.job = client->job->number;
    message.output.from = client->next_commit;
    message.output.credit = CREDIT_BYTES;
    client->credit = CREDIT_BYTES;
    client->index = 0;
    client->untaken = 0;
    shoal_buffer_clear(&client->commit);
    say(client, &message, SHOAL_SLICE_NONE);
    shoal_message_t watch = {.type = SHOAL_MSG_WATCH};
    watch.watch.request = REQUEST_WATCH;
    watch.watch.job = client->job->number;
    if (!client->is_reader) {
        say(client, &watch, SHOAL_SLICE_NONE);
    }
    client->is_watching = true;
    client->asked_us = client->actor.sim->now_us;
}

static void
stop_say(sim_client_t *client)
{
    shoal_message_t message = {.type = SHOAL_MSG_STOP};
    message.stop.request = REQUEST_STOP;
    message.stop.job = client->job->number;
    client->job->is_stop_said = true;
    say(client, &message, SHOAL_SLICE_NONE);
}

static void
hear_accepted(sim_client_t *client, const shoal_msg_accepted_t *accepted)
{
    sim_job_t *job = client->job;
    if (job->is_accepted && job->number != accepted->job) {
        sim_violation(client->actor.sim, "%s was job %llu and is %llu now", job->id,
                      (unsigned long long)job->number, (unsigned long long)accepted->job);
    }
    job->number = accepted->job;
    job->is_accepted = true;
    if (accepted->request == REQUEST_STOP) {
        job->is_stop_accepted = true;
    } else if (!client->is_watching) {
        output_say(client);
    }
}

static void
hear_piece(sim_client_t *client, const shoal_msg_piece_t *piece, shoal_slice_t payload)
{
    if (piece->job != client->job->number || !client->is_watching) {
        return;
    }
    if (piece->commit != client->next_commit || piece->index != client->index) {
        sim_violation(client->actor.sim, "%s: piece %llu.%llu came, %llu.%llu is next",
                      client->job->id, (unsigned long long)piece->commit,
                      (unsigned long long)piece->index, (unsigned long long)client->next_commit,
                      (unsigned long long)client->index);
    }
    if (client->credit <= 0 && payload.len > 0) {
        sim_violation(client->actor.sim, "%s: a piece came without credit", client->job->id);
    }
    client->credit -= (int64_t)payload.len;
    client->untaken += payload.len;
    shoal_buffer_append_slice(&client->commit, payload);
    client->index++;
    if (piece->last) {
        sim_job_commit(client->job, client->next_commit, shoal_buffer_slice(&client->commit));
        client->next_commit++;
        client->index = 0;
        shoal_buffer_clear(&client->commit);
    }
    sim_timer(&client->actor, sim_below(&client->actor.random, 10 * SIM_MS), TIMER_TAKE);
}

static void
taken_say(sim_client_t *client)
{
    if (client->untaken > 0 && client->is_ready && client->is_watching) {
        shoal_message_t message = {.type = SHOAL_MSG_TAKEN};
        message.taken.job = client->job->number;
        message.taken.commit = client->next_commit - 1;
        message.taken.bytes = client->untaken;
        client->credit += (int64_t)client->untaken;
        client->untaken = 0;
        say(client, &message, SHOAL_SLICE_NONE);
    }
}

static void
hear_end(sim_client_t *client, const shoal_msg_output_end_t *end)
{
    if (end->job != client->job->number || !client->is_watching) {
        return;
    }
    if (end->commits + 1 != client->next_commit || client->index != 0) {
        sim_violation(client->actor.sim, "%s: the end of %llu commits came after commit %llu",
                      client->job->id, (unsigned long long)end->commits,
                      (unsigned long long)client->next_commit - 1);
    }
    client->has_end = true;
    client->job->is_fetched = true;
    if (!client->is_reader) {
        client->job->commits = end->commits;
        client->job->has_end = true;
    }
}

static bool
is_final(shoal_slice_t state)
{
    return !shoal_slice_is(state, "PENDING") && !shoal_slice_is(state, "RUNNING");
}

static void
hear_event(sim_client_t *client, const shoal_msg_event_t *event)
{
    if (event->job != client->job->number) {
        return;
    }
    if (is_final(event->state)) {
        sim_job_final(client->job, event->state, event->detail);
        client->has_final = true;
    } else if (client->job->is_stop_accepted) {
        sim_violation(client->actor.sim, "%s was stopped, and is %.*s", client->job->id,
                      SHOAL_SLICE_ARGS(event->state));
    } else if (client->has_final) {
        sim_violation(client->actor.sim, "%s was %s and is %.*s now", client->job->id,
                      client->job->state, SHOAL_SLICE_ARGS(event->state));
    }
}

static void
hear_error(sim_client_t *client, const shoal_msg_error_t *error)
{
    if (error->closing) {
        if (error->code != SHOAL_UNAVAILABLE) {
            sim_violation(client->actor.sim, "client %s is told: %.*s", client->id,
                          SHOAL_SLICE_ARGS(error->reason));
        }
        dial_later(client);
    } else if (error->request != 0 && error->code == SHOAL_NOT_FOUND &&
               (client->job->state[0] || client->job->is_fetched)) { // it has made room
        client->is_forgotten = true;
        client->job->is_forgotten = true;
    } else if (error->request == REQUEST_SUBMIT && error->code == SHOAL_LIMIT) {
        dial_later(client); // the head's disk is full: it asks again
    } else if (error->request != 0) {
        sim_violation(client->actor.sim, "client %s: request %llu is refused: %.*s", client->id,
                      (unsigned long long)error->request, SHOAL_SLICE_ARGS(error->reason));
    } else if (client->is_ready) { // "hello first"
        dial_later(client);
    }
}

static void
client_hear(sim_actor_t *actor, const shoal_message_t *message, shoal_slice_t payload)
{
    sim_client_t *client = (sim_client_t *)actor;
    client->heard_us = actor->sim->now_us;
    switch ((int)message->type) {
    case SHOAL_MSG_WELCOME:
        client->is_ready = true;
        client->is_watching = false;
        if (client->job->is_accepted) {
            output_say(client);
        } else if (!client->is_reader) {
            submit_say(client);
        }
        break;
    case SHOAL_MSG_ACCEPTED: hear_accepted(client, &message->accepted); break;
    case SHOAL_MSG_PIECE: hear_piece(client, &message->piece, payload); break;
    case SHOAL_MSG_OUTPUT_END: hear_end(client, &message->output_end); break;
    case SHOAL_MSG_EVENT: hear_event(client, &message->event); break;
    case SHOAL_MSG_ERROR: hear_error(client, &message->error); break;
    case SHOAL_MSG_BYE: dial_later(client); break;
    case SHOAL_MSG_HEARTBEAT: break;
    default:
        sim_violation(actor->sim, "client %s is sent %s", client->id,
                      shoal_message_name((int)message->type));
    }
}

static void
client_lost(sim_actor_t *actor)
{
    dial_later((sim_client_t *)actor);
}

static void
hello_say(sim_client_t *client)
{
    shoal_message_t message = {.type = SHOAL_MSG_HELLO};
    message.hello.role = SHOAL_SLICE("client");
    message.hello.id = shoal_slice_of(client->id);
    client->heard_us = client->actor.sim->now_us;
    say(client, &message, SHOAL_SLICE_NONE);
}

static void
wishes_say(sim_client_t *client)
{
    sim_t *sim = client->actor.sim;
    const sim_job_t *job = client->job;
    bool is_due = client->asked_us + AGAIN_US <= sim->now_us;
    if (!job->is_accepted && !client->is_reader && is_due) {
        submit_say(client);
    } else if (job->is_accepted && !client->is_watching) {
        output_say(client);
    }
    if (!client->is_reader && job->is_accepted && job->stop_us > 0 && !job->is_stop_accepted &&
        !client->has_final && sim->now_us >= 5 * SIM_SECOND + job->submit_us + job->stop_us) {
        stop_say(client);
    }
}

static void
tick(sim_client_t *client)
{
    sim_t *sim = client->actor.sim;
    sim_timer(&client->actor, TICK_US, TIMER_TICK);
    if (!client->actor.conn) {
        if (client->dial_us <= sim->now_us && sim->is_head_up && !sim_client_is_done(client)) {
            client->actor.conn = sim_conn_open(sim, &client->actor);
            hello_say(client);
        }
    } else if (client->heard_us + SIM_LIVENESS_MS * SIM_MS <= sim->now_us) {
        dial_later(client);
    } else if (client->is_ready) {
        wishes_say(client);
        if (client->said_us + SIM_HEARTBEAT_MS * SIM_MS <= sim->now_us) {
            shoal_message_t message = {.type = SHOAL_MSG_HEARTBEAT};
            say(client, &message, SHOAL_SLICE_NONE);
        }
    }
}

void
sim_client_kill(sim_client_t *client)
{
    if (client->actor.conn) {
        sim_conn_close(client->actor.conn);
    }
    client->actor.epoch++;
    client->actor.frozen_until_us = 0;
    client->is_ready = false;
    client->has_end = false; // it has forgotten all but the number of the job, and starts again
    client->has_final = false;
    client->next_commit = 1;
    sim_timer(&client->actor, sim_below(&client->actor.random, SIM_SECOND), TIMER_START);
}

static void
client_timer(sim_actor_t *actor, unsigned timer)
{
    sim_client_t *client = (sim_client_t *)actor;
    if (timer == TIMER_TAKE) {
        taken_say(client);
        return;
    }
    if (timer == TIMER_START) {
        client->dial_us = 0;
    }
    sim_actor_read(actor);
    tick(client);
}

static const sim_actor_ops_t ops = {client_hear, client_lost, client_timer};

sim_client_t *
sim_client_new(sim_t *sim, sim_job_t *job, bool is_reader)
{
    sim_client_t *client = shoal_alloc(sizeof(*client));
    client->actor =
        (sim_actor_t){.sim = sim,
                      .ops = &ops,
                      .random = {sim_hash(sim->seed, 5000 + job->index * 2 + (is_reader ? 1 : 0))}};
    client->job = job;
    client->is_reader = is_reader;
    client->next_commit = 1;
    (void)snprintf(client->id, sizeof(client->id), "%s%s", is_reader ? "reader-" : "c-", job->id);
    client->actor.name = client->id;
    sim_timer(&client->actor, job->submit_us, TIMER_START);
    return client;
}

void
sim_client_destroy(sim_client_t **client)
{
    shoal_buffer_fini(&(*client)->commit);
    free(*client);
    *client = NULL;
}
