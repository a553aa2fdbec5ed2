// SPDX-License-Identifier: Apache-2.0
//
// bed.h - what the benchmarks share: a real head on loopback, and a client of it.
//
// Every failure ends the program with a sentence: a benchmark has nothing to clean up but the head,
// which goes when its lifeline closes.

#ifndef SHOAL_TESTS_BENCH_BED_H
#define SHOAL_TESTS_BENCH_BED_H

#include <sys/types.h>

#include "proto/base/buffer.h"
#include "proto/keys/join.h"
#include "proto/wire/socket.h"

// A key folder with one worker and one client in it.
typedef struct bed_keys {
    char folder[64];
    shoal_join_t worker;
    shoal_join_t client;
} bed_keys_t;

void bed_keys_make(bed_keys_t *keys);
void bed_keys_remove(const bed_keys_t *keys);

typedef struct bed_head {
    pid_t pid;
    int lifeline; // close it and the head ends
    char endpoint[256];
    char state[64];
} bed_head_t;

// Starts the program on a free loopback port. `journal`: "off", "on", or a number: on, and each sync
// of the disk takes so many milliseconds longer. `keys`: it asks for them; NULL: it speaks plainly.
void bed_head_start(const char *program, const char *journal, const bed_keys_t *keys,
                    bed_head_t *head);
void bed_head_stop(bed_head_t *head);

uint64_t bed_cpu_us(pid_t pid);                           // user and system
long bed_memory_kib(pid_t pid, const char *key);          // a line of /proc/PID/status: "VmRSS"
void bed_die(const char *what) __attribute__((noreturn)); // with errno's text

typedef struct bed_client {
    void *context;
    void *socket;
    shoal_buffer_t scratch;
    shoal_parcel_t parcel;
} bed_client_t;

// Connects and waits for WELCOME. `join`: with keys; NULL: without.
void bed_client_open(bed_client_t *client, const char *endpoint, const shoal_join_t *join);
void bed_client_send(bed_client_t *client, const shoal_message_t *message, zmq_msg_t *payload);

// The next message; false after `timeout_ms`. An ERROR ends the program.
bool bed_client_receive(bed_client_t *client, long timeout_ms, shoal_message_t *ret_message);

// Submits a job of that class without arguments and returns its number.
uint64_t bed_client_submit(bed_client_t *client, const char *class_name, bool is_collected);

// Asks for events; then bed_event_is_final() tells of each.
void bed_client_watch(bed_client_t *client, uint64_t job);
bool bed_event_is_final(const shoal_message_t *event); // complains if it is not SUCCEEDED

// One heartbeat a second at most; call it in every loop.
void bed_client_beat(bed_client_t *client, uint64_t *last_us);

#endif
