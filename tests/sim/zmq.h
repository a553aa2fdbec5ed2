// SPDX-License-Identifier: Apache-2.0
//
// zmq.h - how world.c and zmq.c work together; see sim.h.

#ifndef SHOAL_TESTS_SIM_ZMQ_H
#define SHOAL_TESTS_SIM_ZMQ_H

#include "tests/sim/sim.h"

// The world that the replaced functions belong to.
void sim_zmq_begin(sim_t *sim);

// A letter waits for the head.
void sim_zmq_deliver(sim_t *sim, sim_letter_t *letter);

// The head's monitor has something to tell about a descriptor.
void sim_zmq_note(sim_t *sim, uint16_t event, int fd);

// world.c: one event that is due until then, or the time passes (false).
bool sim_step(sim_t *sim, uint64_t until_us);
bool sim_turn(sim_t *sim);
void sim_head_die(sim_t *sim);

// net.c: the connection that a routing id or a descriptor stands for, or NULL.
sim_conn_t *sim_conn_by_key(const sim_t *sim, uint32_t key);
sim_conn_t *sim_conn_by_fd(const sim_t *sim, int fd);

// net.c: what the head has written goes on its way; false: too much waits there.
bool sim_conn_has_room(const sim_conn_t *conn);
void sim_conn_deliver(sim_conn_t *conn, sim_letter_t *letter);

#endif
