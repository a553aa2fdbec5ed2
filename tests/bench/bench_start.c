// SPDX-License-Identifier: Apache-2.0
//
// bench_start.c - how long a private head and two workers take from fork to registered, and what
// they hold when idle.
//
//   bench_start BIN_FOLDER        CSV: milliseconds,head_anon_kib,worker_anon_kib
//
// All three are started at once, as `shoal ingest` does; a client asks the head for its workers until
// it has two. A worker's memory is that of the process below the supervisor.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/wire/socket.h"

#define WORKERS 2

static void
die(const char *what)
{
    (void)fprintf(stderr, "bench_start: %s: %s\n", what, strerror(errno));
    exit(2);
}

static pid_t
start(const char *const *argv)
{
    pid_t pid = fork();
    if (pid == 0) {
        char *words[16];
        size_t count = 0;
        for (; argv[count]; count++) {
            words[count] = strdup(argv[count]);
        }
        words[count] = NULL;
        (void)execv(words[0], words);
        die(words[0]);
    }
    return pid;
}

static long
anon_kib(pid_t pid)
{
    char path[64];
    char line[256];
    long value = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "RssAnon: %ld", &value) == 1) {
            break;
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return value;
}

// The first child of `pid`, or `pid` itself.
static pid_t
child_of(pid_t pid)
{
    char path[64];
    int child = (int)pid;
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%d", &child) != 1) {
            child = (int)pid;
        }
        (void)fclose(file);
    }
    return child;
}

static size_t
workers_of(shoal_slice_t body)
{
    shoal_cursor_t cursor = shoal_cursor_over(body);
    return shoal_cursor_array(&cursor);
}

// Asks until the head knows of two workers.
static void
wait_for_workers(void *socket)
{
    shoal_buffer_t scratch = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_t message = {
        .type = SHOAL_MSG_HELLO,
        .hello = {.role = SHOAL_SLICE("client"), .id = SHOAL_SLICE("bench-start")}};
    (void)shoal_message_send(socket, SHOAL_SLICE_NONE, &message, NULL, &scratch);
    shoal_parcel_t parcel;
    shoal_parcel_init(&parcel);
    size_t workers = 0;
    uint64_t request = 0;
    while (workers < WORKERS) {
        zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
        if (zmq_poll(&item, 1, 10000) <= 0) {
            die("the head does not answer");
        }
        while (shoal_parcel_receive(socket, false, &parcel, &status) == SHOAL_RECEIVED_ONE) {
            if (!shoal_parcel_decode(&parcel, &message, &status)) {
                (void)fprintf(stderr, "bench_start: %s\n", status.text);
                exit(2);
            }
            if (message.type == SHOAL_MSG_REPLY) {
                workers = workers_of(message.reply.body);
            }
            shoal_message_t ask = {.type = SHOAL_MSG_ASK,
                                   .ask = {.request = ++request, .what = SHOAL_SLICE("workers")}};
            (void)shoal_message_send(socket, SHOAL_SLICE_NONE, &ask, NULL, &scratch);
        }
    }
    shoal_parcel_fini(&parcel);
    shoal_buffer_fini(&scratch);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: bench_start BIN_FOLDER\n");
        return 2;
    }
    (void)alarm(60);
    char folder[] = "/tmp/shoal-bench-XXXXXX";
    int lifeline[2];
    if (!mkdtemp(folder) || pipe(lifeline) != 0) {
        die("cannot make a folder");
    }
    char head[512];
    char worker[512];
    char endpoint[128];
    char fd[16];
    (void)snprintf(head, sizeof(head), "%s/shoal-head", argv[1]);
    (void)snprintf(worker, sizeof(worker), "%s/shoal-worker", argv[1]);
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/head.sock", folder);
    (void)snprintf(fd, sizeof(fd), "%d", lifeline[0]);
    const char *head_argv[] = {head, "--listen",    endpoint, "--state", folder, "--lifeline-fd",
                               fd,   "--log-level", "WARN",   NULL};
    const char *worker_argv[] = {worker,          "--connect", endpoint,      "--slots", "1",
                                 "--lifeline-fd", fd,          "--log-level", "WARN",    NULL};
    uint64_t begin = shoal_clock_us();
    pid_t pids[1 + WORKERS];
    pids[0] = start(head_argv);
    for (size_t i = 0; i < WORKERS; i++) {
        pids[1 + i] = start(worker_argv);
    }
    (void)close(lifeline[0]);
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_DEALER);
    shoal_status_t status = SHOAL_STATUS_INIT;
    int again_ms = 2;
    (void)zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &again_ms, sizeof(again_ms));
    if (!shoal_socket_configure(socket, &status) || zmq_connect(socket, endpoint) != 0) {
        die("cannot connect");
    }
    wait_for_workers(socket);
    double ms = (double)(shoal_clock_us() - begin) / 1000;
    (void)usleep(300000); // idle
    printf("%.1f,%ld,%ld\n", ms, anon_kib(pids[0]), anon_kib(child_of(pids[1])));
    (void)fflush(stdout);
    (void)close(lifeline[1]);
    for (size_t i = 0; i < 1 + WORKERS; i++) {
        (void)waitpid(pids[i], NULL, 0);
    }
    (void)rmdir(folder);
    _exit(0);
}
