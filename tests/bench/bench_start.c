// SPDX-License-Identifier: Apache-2.0
//
// bench_start.c - how long a private head and two workers take from fork to registered, and what
// they hold when idle.
//
//   bench_start BIN_FOLDER        CSV: milliseconds,head_anon_kib,worker_anon_kib
//
// All three are started at once, as `shoal ingest` does; a client asks the head for its workers until
// it has two. A worker's memory is that of the process below the supervisor.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "tests/bench/bed.h"

#define WORKERS 2

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
        bed_die(words[0]);
    }
    return pid;
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

// Asks until the head knows of two workers.
static void
wait_for_workers(bed_client_t *client)
{
    size_t workers = 0;
    for (uint64_t request = 1; workers < WORKERS; request++) {
        shoal_message_t message = {.type = SHOAL_MSG_ASK,
                                   .ask = {.request = request, .what = SHOAL_SLICE("workers")}};
        bed_client_send(client, &message, NULL);
        do {
            if (!bed_client_receive(client, 10000, &message)) {
                bed_die("the head does not answer");
            }
        } while (message.type != SHOAL_MSG_REPLY);
        shoal_cursor_t cursor = shoal_cursor_over(message.reply.body);
        workers = shoal_cursor_array(&cursor);
    }
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
    if (!mkdtemp(folder) || pipe(lifeline) != 0 || fcntl(lifeline[1], F_SETFD, FD_CLOEXEC) != 0) {
        bed_die("cannot make a folder");
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
    bed_client_t client;
    bed_client_open(&client, endpoint, NULL);
    wait_for_workers(&client);
    double ms = (double)(shoal_clock_us() - begin) / 1000;
    (void)usleep(300000); // idle
    printf("%.1f,%ld,%ld\n", ms, bed_memory_kib(pids[0], "RssAnon"),
           bed_memory_kib(child_of(pids[1]), "RssAnon"));
    (void)fflush(stdout);
    (void)close(lifeline[1]);
    for (size_t i = 0; i < 1 + WORKERS; i++) {
        (void)waitpid(pids[i], NULL, 0);
    }
    (void)rmdir(folder);
    _exit(0);
}
