// SPDX-License-Identifier: Apache-2.0
//
// bed.c - see bed.h.

#include "tests/bench/bed.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/keys/allowed.h"
#include "proto/record/writer.h"
#include "proto/wire/secure.h"

void
bed_die(const char *what)
{
    (void)fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(2);
}

void
bed_head_start(const char *program, const char *journal, const bed_keys_t *keys, bed_head_t *head)
{
    int ready[2];
    int lifeline[2];
    (void)snprintf(head->state, sizeof(head->state), "/tmp/shoal-bench-XXXXXX");
    if (pipe(ready) != 0 || pipe(lifeline) != 0 || !mkdtemp(head->state)) {
        bed_die("cannot prepare a head");
    }
    bool is_delayed = journal[0] >= '0' && journal[0] <= '9';
    head->pid = fork();
    if (head->pid == 0) {
        char ready_fd[16];
        char lifeline_fd[16];
        (void)snprintf(ready_fd, sizeof(ready_fd), "%d", ready[1]);
        (void)snprintf(lifeline_fd, sizeof(lifeline_fd), "%d", lifeline[0]);
        (void)close(lifeline[1]);
        const char *words[] = {program,
                               "--listen",
                               "tcp://127.0.0.1:*",
                               "--state",
                               head->state,
                               "--ready-fd",
                               ready_fd,
                               "--lifeline-fd",
                               lifeline_fd,
                               "--log-level",
                               "WARN",
                               "--journal",
                               is_delayed ? "on" : journal,
                               "--sync-delay-ms",
                               is_delayed ? journal : "0",
                               keys ? "--keys" : "--insecure-loopback",
                               keys ? keys->folder : NULL,
                               NULL};
        char *argv[sizeof(words) / sizeof(words[0])];
        memcpy(argv, words, sizeof(words)); // execv() changes none of them
        (void)execv(program, argv);
        bed_die("cannot start the head");
    }
    (void)close(ready[1]);
    (void)close(lifeline[0]);
    ssize_t got = read(ready[0], head->endpoint, sizeof(head->endpoint) - 1);
    (void)close(ready[0]);
    char *end = got > 0 ? strchr(head->endpoint, '\n') : NULL;
    if (!end) {
        (void)fprintf(stderr, "bench: the head did not start\n");
        exit(2);
    }
    *end = '\0';
    head->lifeline = lifeline[1];
}

static int
remove_one(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about;
    (void)kind;
    (void)place;
    return remove(path);
}

void
bed_keys_make(bed_keys_t *keys)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_key_pair_t own;
    char path[96];
    *keys = (bed_keys_t){.folder = "/tmp/shoal-bench-XXXXXX"};
    shoal_holder_t worker = {.role = SHOAL_ROLE_WORKER, .name = "worker"};
    shoal_holder_t client = {.role = SHOAL_ROLE_CLIENT, .name = "client"};
    bool done = mkdtemp(keys->folder) && shoal_key_pair_make(&own, &status) &&
                shoal_key_pair_make(&keys->worker.own, &status) &&
                shoal_key_pair_make(&keys->client.own, &status);
    worker.key = keys->worker.own.open;
    client.key = keys->client.own.open;
    keys->worker.head = keys->client.head = own.open;
    (void)snprintf(path, sizeof(path), "%s/" SHOAL_KEYS_HEAD, keys->folder);
    if (!done || !shoal_key_pair_write(path, &own, &status) ||
        !shoal_allowed_add(keys->folder, &worker, &status) ||
        !shoal_allowed_add(keys->folder, &client, &status)) {
        bed_die("cannot make keys");
    }
}

void
bed_keys_remove(const bed_keys_t *keys)
{
    (void)nftw(keys->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void
bed_head_stop(bed_head_t *head)
{
    (void)close(head->lifeline);
    (void)waitpid(head->pid, NULL, 0);
    (void)nftw(head->state, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

uint64_t
bed_cpu_us(pid_t pid)
{
    char path[64];
    char line[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof(line), file)) {
        bed_die("cannot read a process's CPU time");
    }
    (void)fclose(file);
    // The fields after the name: state, ten numbers, then utime and stime in ticks.
    const char *rest = strrchr(line, ')');
    unsigned long user = 0;
    unsigned long system = 0;
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                        &system) != 2) {
        bed_die("cannot read a process's CPU time");
    }
    return (uint64_t)(user + system) * 1000000U / (uint64_t)sysconf(_SC_CLK_TCK);
}

long
bed_memory_kib(pid_t pid, const char *key)
{
    char path[64];
    char line[256];
    long value = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            value = strtol(line + strlen(key) + 1, NULL, 10);
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return value;
}

void
bed_client_send(bed_client_t *client, const shoal_message_t *message, zmq_msg_t *payload)
{
    if (shoal_message_send(client->socket, SHOAL_SLICE_NONE, message, payload, &client->scratch) !=
        SHOAL_SENT) {
        bed_die("cannot send to the head");
    }
}

bool
bed_client_receive(bed_client_t *client, long timeout_ms, shoal_message_t *ret_message)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_received_t got = shoal_parcel_receive(client->socket, false, &client->parcel, &status);
    if (got == SHOAL_RECEIVED_NOTHING) {
        zmq_pollitem_t item = {client->socket, 0, ZMQ_POLLIN, 0};
        if (zmq_poll(&item, 1, timeout_ms) <= 0) {
            return false;
        }
        got = shoal_parcel_receive(client->socket, false, &client->parcel, &status);
    }
    if (got != SHOAL_RECEIVED_ONE) {
        return false;
    }
    if (!shoal_parcel_decode(&client->parcel, ret_message, &status)) {
        (void)fprintf(stderr, "bench: %s\n", status.text);
        exit(2);
    }
    if (ret_message->type == SHOAL_MSG_ERROR) {
        (void)fprintf(stderr, "bench: the head says: %.*s\n",
                      SHOAL_SLICE_ARGS(ret_message->error.reason));
        exit(2);
    }
    return true;
}

void
bed_client_open(bed_client_t *client, const char *endpoint, const shoal_join_t *join)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    *client = (bed_client_t){.context = zmq_ctx_new()};
    client->socket = zmq_socket(client->context, ZMQ_DEALER);
    shoal_parcel_init(&client->parcel);
    int again_ms = 2;
    if (!shoal_socket_configure(client->socket, &status) ||
        (join && !shoal_secure_client(client->socket, join, &status)) ||
        zmq_setsockopt(client->socket, ZMQ_RECONNECT_IVL, &again_ms, sizeof(again_ms)) != 0 ||
        zmq_connect(client->socket, endpoint) != 0) {
        bed_die("cannot connect a client");
    }
    shoal_message_t message = {
        .type = SHOAL_MSG_HELLO,
        .hello = {.role = SHOAL_SLICE("client"), .id = SHOAL_SLICE("bench")}};
    bed_client_send(client, &message, NULL);
    while (message.type != SHOAL_MSG_WELCOME) {
        if (!bed_client_receive(client, 10000, &message)) {
            bed_die("the head does not answer");
        }
    }
}

uint64_t
bed_client_submit(bed_client_t *client, const char *class_name, bool is_collected)
{
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    shoal_write_map(&spec, 4);
    shoal_write_key(&spec, "name");
    shoal_write_text(&spec, "bench");
    shoal_write_key(&spec, "class");
    shoal_write_text(&spec, class_name);
    shoal_write_key(&spec, "collect");
    shoal_write_bool(&spec, is_collected);
    shoal_write_key(&spec, "args");
    shoal_write_nil(&spec);
    zmq_msg_t payload;
    (void)zmq_msg_init_size(&payload, spec.len);
    memcpy(zmq_msg_data(&payload), spec.ptr, spec.len);
    shoal_buffer_fini(&spec);
    shoal_message_t message = {.type = SHOAL_MSG_SUBMIT,
                               .submit = {.request = 1, .id = SHOAL_SLICE("bench-job")}};
    bed_client_send(client, &message, &payload);
    while (message.type != SHOAL_MSG_ACCEPTED) {
        if (!bed_client_receive(client, 10000, &message)) {
            bed_die("the head does not accept the job");
        }
    }
    return message.accepted.job;
}

void
bed_client_watch(bed_client_t *client, uint64_t job)
{
    shoal_message_t message = {.type = SHOAL_MSG_WATCH, .watch = {.request = 2, .job = job}};
    bed_client_send(client, &message, NULL);
}

bool
bed_event_is_final(const shoal_message_t *event)
{
    if (shoal_slice_is(event->event.state, "RUNNING") ||
        shoal_slice_is(event->event.state, "PENDING")) {
        return false;
    }
    if (!shoal_slice_is(event->event.state, "SUCCEEDED")) {
        (void)fprintf(stderr, "bench: the job ended %.*s\n", SHOAL_SLICE_ARGS(event->event.state));
    }
    return true;
}

void
bed_client_beat(bed_client_t *client, uint64_t *last_us)
{
    uint64_t now_us = shoal_clock_us();
    if (now_us - *last_us >= 1000000U) {
        *last_us = now_us;
        shoal_message_t message = {.type = SHOAL_MSG_HEARTBEAT};
        bed_client_send(client, &message, NULL);
    }
}
