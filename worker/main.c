// SPDX-License-Identifier: Apache-2.0
//
// main.c - shoal-worker: reads the command line, then supervises the worker that runs the calls.

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/wire/endpoint.h"
#include "worker/config.h"
#include "worker/link.h"
#include "worker/pipeline.h"
#include "worker/supervisor.h"

#define EXIT_USAGE 2
#define ID_BYTES   16

typedef struct program {
    shoal_worker_config_t config;
    char id[SHOAL_WORKER_ID_MAX + 1]; // of the worker, in all its processes
    shoal_join_t join;                // where there is a join file
    shoal_log_t *log;
} program_t;

static void
write_name(const shoal_worker_config_t *config, char name[SHOAL_WORKER_NAME_MAX + 1])
{
    char host[64] = "localhost";
    (void)gethostname(host, sizeof(host) - 1);
    if (config->name) {
        (void)snprintf(name, SHOAL_WORKER_NAME_MAX + 1, "%s", config->name);
    } else {
        (void)snprintf(name, SHOAL_WORKER_NAME_MAX + 1, "%s:%d", host, (int)getpid());
    }
}

// The connectors that stand beside the program, or where the command line says.
static bool
open_modules(const shoal_worker_config_t *config, shoal_modules_t **ret_modules,
             shoal_status_t *status)
{
    shoal_buffer_t directory = SHOAL_BUFFER_INIT;
    if (config->connectors) {
        shoal_buffer_append_text(&directory, config->connectors);
    } else if (!shoal_modules_directory(&directory, status)) {
        shoal_buffer_fini(&directory);
        return false;
    }
    *ret_modules = shoal_modules_new(shoal_buffer_text(&directory));
    shoal_buffer_fini(&directory);
    return true;
}

static bool
run_link(const program_t *program, const shoal_birth_t *birth, shoal_modules_t *modules,
         shoal_status_t *status)
{
    const shoal_worker_config_t *config = &program->config;
    shoal_class_t pipeline = shoal_pipeline_class(modules);
    const shoal_class_t *classes[] = {&pipeline};
    shoal_buffer_t labels = SHOAL_BUFFER_INIT;
    shoal_buffer_t last_exit = SHOAL_BUFFER_INIT;
    char name[SHOAL_WORKER_NAME_MAX + 1];
    write_name(config, name);
    shoal_worker_config_labels(config, &labels);
    shoal_exit_write(&birth->last_exit, &last_exit);
    shoal_link_config_t link = {
        .endpoint = config->connect,
        .join = config->join_file ? &program->join : NULL,
        .identity = {.id = program->id,
                     .incarnation = birth->incarnation,
                     .name = name,
                     .slots = config->slots,
                     .window = 2 * config->slots, // one waits behind each that runs
                     .classes = classes,
                     .class_count = sizeof(classes) / sizeof(classes[0]),
                     .drain_ms = config->drain_seconds * UINT64_C(1000),
                     .labels = shoal_buffer_slice(&labels),
                     .last_exit = shoal_buffer_slice(&last_exit)},
        .lifeline_fd = config->lifeline_fd,
        .ready_fd = config->ready_fd,
        .supervisor = birth->supervisor,
        .log = program->log,
    };
    bool done = shoal_link_run(&link, status);
    shoal_buffer_fini(&labels);
    shoal_buffer_fini(&last_exit);
    return done;
}

static int
run_worker(void *ctx, const shoal_birth_t *birth)
{
    const program_t *program = ctx;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_modules_t *modules = NULL;
    // Slots share two arenas, so that idle memory stays small. No other thread runs yet.
    (void)mallopt(M_ARENA_MAX, 2); // NOLINT(concurrency-mt-unsafe)
    bool done = open_modules(&program->config, &modules, &status) &&
                run_link(program, birth, modules, &status);
    if (!done) {
        shoal_log(program->log, SHOAL_LOG_ERROR, "WORKER-FAILED", "reason=\"%s\"", status.text);
    }
    shoal_modules_destroy(&modules);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool
make_id(const char *given, char id[SHOAL_WORKER_ID_MAX + 1], shoal_status_t *status)
{
    if (given) {
        (void)snprintf(id, SHOAL_WORKER_ID_MAX + 1, "%s", given);
        return true;
    }
    unsigned char bytes[ID_BYTES];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        return shoal_fail(status, SHOAL_IO, "the kernel gives no random bytes for an id");
    }
    for (size_t i = 0; i < ID_BYTES; i++) {
        (void)snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    }
    return true;
}

static bool
descriptor_check(const char *option, int fd, shoal_status_t *status)
{
    return fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ||
           shoal_fail(status, SHOAL_INVALID, "%s %d is not an open descriptor", option, fd);
}

// Reads the join file, once: standard input cannot be read again, and a file that has changed is for
// the next start.
static bool
join_open(program_t *program, shoal_status_t *status)
{
    shoal_worker_config_t *config = &program->config;
    if (config->join_file) {
        if (!shoal_join_read(config->join_file, &program->join, status)) {
            return false;
        }
        if (program->join.role != SHOAL_ROLE_WORKER) {
            return shoal_fail(status, SHOAL_DENIED,
                              "the key \"%s\" is for a %s; a worker needs one that was made with: "
                              "shoal key new --role worker",
                              program->join.name, shoal_role_name((int)program->join.role));
        }
        config->connect = config->connect ? config->connect : program->join.endpoint;
    }
    const shoal_endpoint_use_t use = {.has_keys = config->join_file != NULL,
                                      .insecure_loopback = config->insecure_loopback};
    if (config->join_file && !shoal_endpoint_is_tcp(config->connect)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "a join file is for tcp, not for \"%s\"; leave one of them out",
                          config->connect);
    }
    return shoal_endpoint_check(config->connect, use, status);
}

static int
supervise(program_t *program, shoal_status_t *status)
{
    const shoal_worker_config_t *config = &program->config;
    if (!join_open(program, status) ||
        !descriptor_check("--lifeline-fd", config->lifeline_fd, status) ||
        !descriptor_check("--ready-fd", config->ready_fd, status) ||
        !make_id(config->id, program->id, status)) {
        return EXIT_USAGE;
    }
    program->log = shoal_log_new(STDERR_FILENO, "shoal-worker", config->log_level);
    shoal_supervisor_config_t supervisor = {
        .run = run_worker,
        .ctx = program,
        .lifeline_fd = config->lifeline_fd,
        // Nobody has had this number before under an id that others may have had.
        .first_incarnation = config->id ? shoal_clock_wall_ms() : 1,
        .log = program->log};
    int exit_status = EXIT_FAILURE;
    bool done = shoal_supervisor_run(&supervisor, &exit_status, status);
    shoal_log_destroy(&program->log);
    return done ? exit_status : EXIT_FAILURE;
}

// What only prints: help, version, the connectors, a workflow file to start from.
static int
inform(const shoal_worker_config_t *config, shoal_status_t *status)
{
    if (config->wants_help || config->wants_version) {
        (void)fputs(config->wants_help ? shoal_worker_config_help()
                                       : "shoal-worker " SHOAL_VERSION "\n",
                    stdout);
        return EXIT_SUCCESS;
    }
    shoal_modules_t *modules = NULL;
    shoal_buffer_t list = SHOAL_BUFFER_INIT;
    const char *text = "";
    bool done = open_modules(config, &modules, status);
    if (done && config->template_type) {
        done = shoal_modules_template(modules, config->template_type, &text, status);
    } else if (done) {
        shoal_modules_list(modules, &list);
        text = shoal_buffer_text(&list);
    }
    (void)fputs(done ? text : "", stdout);
    shoal_buffer_fini(&list);
    shoal_modules_destroy(&modules);
    return done ? EXIT_SUCCESS : EXIT_USAGE;
}

int
main(int argc, char **argv)
{
    program_t program = {0};
    shoal_status_t status = SHOAL_STATUS_INIT;
    int exit_status = EXIT_USAGE;
    if (shoal_worker_config_parse(argc, argv, &program.config, &status)) {
        exit_status = program.config.only_informs ? inform(&program.config, &status)
                                                  : supervise(&program, &status);
    }
    if (status.text[0]) {
        (void)fprintf(stderr, "shoal-worker: %s\n", status.text);
    }
    return exit_status;
}
