// SPDX-License-Identifier: Apache-2.0
//
// faults.c - see sim.h: what goes wrong, planned by the seed or read from a script.
//
// A script has a line for each fault: milliseconds, kind, target, value. What a target is depends
// on the kind: an index, taken modulo how many there are.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tests/sim/sim.h"

static sim_worker_t *
worker_of(sim_t *sim, const sim_fault_t *fault)
{
    return sim->workers[fault->target % sim->worker_count];
}

static sim_actor_t *
actor_of(sim_t *sim, const sim_fault_t *fault)
{
    size_t at = fault->target % (sim->worker_count + sim->client_count);
    return at < sim->worker_count ? sim_worker_actor(sim->workers[at])
                                  : sim_client_actor(sim->clients[at - sim->worker_count]);
}

// Killed from outside: no crash.
static void
worker_kill(sim_t *sim, const sim_fault_t *fault)
{
    sim_worker_kill(worker_of(sim, fault), 9, fault->value * SIM_MS);
}

static void
worker_crash(sim_t *sim, const sim_fault_t *fault)
{
    sim_worker_kill(worker_of(sim, fault), 11, fault->value * SIM_MS);
}

static void
worker_drain(sim_t *sim, const sim_fault_t *fault)
{
    sim_worker_drain(worker_of(sim, fault), fault->value * SIM_MS);
}

static void
actor_stop(sim_t *sim, const sim_fault_t *fault)
{
    actor_of(sim, fault)->frozen_until_us = sim->now_us + fault->value * SIM_MS;
}

// Both sides hear of it.
static void
conn_cut(sim_t *sim, const sim_fault_t *fault)
{
    sim_actor_t *actor = actor_of(sim, fault);
    if (actor->conn) {
        sim_conn_cut(actor->conn, fault->value * SIM_MS, (fault->value / 2) * SIM_MS);
    }
}

// Only the peer hears of it, and comes back while the head believes in the old one.
static void
conn_half(sim_t *sim, const sim_fault_t *fault)
{
    sim_actor_t *actor = actor_of(sim, fault);
    if (actor->conn) {
        sim_conn_cut(actor->conn, SHOAL_TIME_NEVER, fault->value * SIM_MS);
    }
}

// Nobody hears of it.
static void
conn_vanish(sim_t *sim, const sim_fault_t *fault)
{
    sim_actor_t *actor = actor_of(sim, fault);
    if (actor->conn) {
        sim_conn_cut(actor->conn, SHOAL_TIME_NEVER, SHOAL_TIME_NEVER);
    }
}

static void
conn_slow(sim_t *sim, const sim_fault_t *fault)
{
    sim_actor_t *actor = actor_of(sim, fault);
    if (actor->conn) {
        actor->conn->slow_until_us = sim->now_us + 2 * SIM_SECOND;
        actor->conn->slow_us = fault->value * SIM_MS;
    }
}

static void
client_kill(sim_t *sim, const sim_fault_t *fault)
{
    sim_client_kill(sim->clients[fault->target % sim->client_count]);
}

static void
head_stall(sim_t *sim, const sim_fault_t *fault)
{
    sim->stall_us = fault->value * SIM_MS;
}

static void
disk_full(sim_t *sim, const sim_fault_t *fault)
{
    sim_disk_fill(sim, sim->now_us + fault->value * SIM_MS);
}

static void
disk_slow(sim_t *sim, const sim_fault_t *fault)
{
    sim_disk_slow(sim, sim->now_us + fault->value * SIM_MS);
}

// At any message that it sends.
static void
head_kill(sim_t *sim, const sim_fault_t *fault)
{
    if (sim->has_journal) {
        sim_head_kill(sim, fault->target % 4 ? fault->target % 97 : 0, fault->value * SIM_MS);
    }
}

static void
head_stop(sim_t *sim, const sim_fault_t *fault)
{
    if (sim->has_journal) {
        sim_head_stop(sim, fault->value * SIM_MS);
    }
}

static const struct {
    const char *kind;
    void (*happen)(sim_t *sim, const sim_fault_t *fault);
    unsigned share;     // of all faults
    uint64_t value_max; // milliseconds
} kinds[] = {
    {"kill", worker_kill, 10, 2000},    {"crash", worker_crash, 6, 1000},
    {"drain", worker_drain, 5, 2000},   {"stop", actor_stop, 10, 6000},
    {"cut", conn_cut, 12, 60},          {"half", conn_half, 6, 200},
    {"vanish", conn_vanish, 4, 1},      {"slow", conn_slow, 6, 1500},
    {"client-kill", client_kill, 4, 1}, {"stall", head_stall, 3, 3000},
    {"disk-full", disk_full, 3, 5000},  {"disk-slow", disk_slow, 3, 5000},
    {"head-kill", head_kill, 6, 3000},  {"head-stop", head_stop, 2, 2000},
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static size_t
kind_choose(test_random_t *random)
{
    unsigned all = 0;
    for (size_t i = 0; i < KIND_COUNT; i++) {
        all += kinds[i].share;
    }
    uint64_t at = sim_below(random, all);
    size_t kind = 0;
    while (at >= kinds[kind].share) {
        at -= kinds[kind++].share;
    }
    return kind;
}

void
sim_faults_plan(sim_t *sim)
{
    test_random_t random = {sim->seed ^ 0xfa017};
    uint64_t span_ms = (sim_below(&random, 2) ? 8 : 50) * SIM_SECOND / SIM_MS;
    sim->fault_count = sim_below(&random, sim_below(&random, 3) ? 40 : SIM_FAULTS_MAX);
    for (size_t i = 0; i < sim->fault_count; i++) {
        size_t kind = kind_choose(&random);
        sim->faults[i] = (sim_fault_t){.at_ms = sim_below(&random, span_ms),
                                       .kind = kinds[kind].kind,
                                       .target = (unsigned)sim_below(&random, 1000),
                                       .value = sim_below(&random, kinds[kind].value_max)};
    }
}

void
sim_fault_happen(sim_t *sim, const sim_fault_t *fault)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcmp(kinds[i].kind, fault->kind) == 0) {
            if (sim->is_verbose) {
                (void)fprintf(stderr, "%llu.%06llu fault: %s %u %llu\n",
                              (unsigned long long)(sim->now_us / SIM_SECOND),
                              (unsigned long long)(sim->now_us % SIM_SECOND), fault->kind,
                              fault->target, (unsigned long long)fault->value);
            }
            kinds[i].happen(sim, fault);
        }
    }
}

bool
sim_faults_read(sim_t *sim, const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        return false;
    }
    char line[256];
    bool is_good = true;
    while (is_good && fgets(line, sizeof(line), file)) {
        char word[32];
        unsigned long long at_ms = 0;
        unsigned long long value = 0;
        unsigned target = 0;
        size_t kind = 0;
        if (line[0] == '#' || line[0] == '\n') {
            continue;
        }
        is_good = sscanf(line, "%llu %31s %u %llu", &at_ms, word, &target, &value) == 4 &&
                  sim->fault_count < SIM_FAULTS_MAX;
        while (is_good && kind < KIND_COUNT && strcmp(kinds[kind].kind, word) != 0) {
            kind++;
        }
        is_good = is_good && kind < KIND_COUNT;
        if (is_good) {
            sim->faults[sim->fault_count++] = (sim_fault_t){at_ms, kinds[kind].kind, target, value};
        }
    }
    (void)fclose(file);
    sim->has_script = true;
    return is_good;
}

void
sim_faults_write(const sim_fault_t *faults, size_t count, const bool *keep, FILE *file)
{
    for (size_t i = 0; i < count; i++) {
        if (!keep || keep[i]) {
            (void)fprintf(file, "%llu %s %u %llu\n", (unsigned long long)faults[i].at_ms,
                          faults[i].kind, faults[i].target, (unsigned long long)faults[i].value);
        }
    }
}
