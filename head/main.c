// SPDX-License-Identifier: Apache-2.0
//
// main.c - shoal-head: the one process that decides. Runs in the foreground until it is stopped.

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "head/audit.h"
#include "head/config.h"
#include "head/hub/hub.h"
#include "proto/base/alloc.h"

#define DESCRIPTORS_WANTED 65536
#define ARENAS             2 // of malloc: one for the hub and one for the other threads

// A connection is a descriptor, and at the limit libzmq burns a core; take what we may have.
static void
descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

// Signals come by descriptor; every thread that is started later inherits the mask.
static void
signals_block(void)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); // a limit of the size of files is a disk that is full
}

// The state folder and those above it, as `mkdir -p` makes them, closed to others.
static bool
folder_make(const char *path, shoal_status_t *status)
{
    char *part = shoal_strdup(path);
    bool is_made = true;
    for (char *slash = part; is_made && slash;) {
        slash = strchr(slash + 1, '/');
        if (slash) {
            *slash = '\0';
        }
        is_made = part[0] == '\0' || mkdir(part, 0700) == 0 || errno == EEXIST;
        if (slash) {
            *slash = '/';
        }
    }
    if (!is_made) {
        (void)shoal_fail_errno(status, errno, "cannot make the state folder \"%s\"", path);
    }
    free(part);
    return is_made;
}

static int
run(const shoal_config_t *config)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_log_t *log = shoal_log_new(STDERR_FILENO, "head", config->log_level);
    shoal_hub_t *hub = NULL;
    int code = EXIT_SUCCESS;
    if (!folder_make(config->state, &status) || !shoal_hub_new(config, log, &hub, &status) ||
        !shoal_hub_run(hub, &status)) {
        (void)fprintf(stderr, "shoal-head: %s\n", status.text);
        code = status.error_class == SHOAL_CONFIG ? 2 : EXIT_FAILURE;
    }
    shoal_hub_destroy(&hub);
    shoal_log_destroy(&log);
    return code;
}

static int
audit(const shoal_config_t *config)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    bool done = config->check_journal ? shoal_audit_check(config->check_journal, stdout, &status)
                                      : shoal_audit_dump(config->dump_journal, stdout, &status);
    if (done && fflush(stdout) != 0) {
        done = shoal_fail_errno(&status, errno, "could not write to standard output");
    }
    if (!done) {
        (void)fprintf(stderr, "shoal-head: %s\n", status.text);
    }
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(int argc, char **argv)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_config_t config;
    if (!shoal_config_parse(argc, argv, &config, &status)) {
        (void)fprintf(stderr, "shoal-head: %s\n", status.text);
        return 2;
    }
    if (config.wants_help) {
        (void)fputs(shoal_config_help(), stdout);
        return EXIT_SUCCESS;
    }
    if (config.wants_version) {
        (void)puts("shoal-head " SHOAL_VERSION);
        return EXIT_SUCCESS;
    }
    if (config.check_journal || config.dump_journal) {
        return audit(&config);
    }
    shoal_crash_t crash;
    if (config.crash_at) {
        if (!shoal_crash_parse(config.crash_at, &crash, &status)) {
            (void)fprintf(stderr, "shoal-head: %s\n", status.text);
            return 2;
        }
        config.crash = &crash;
    }
    (void)mallopt(M_ARENA_MAX, ARENAS); // NOLINT(concurrency-mt-unsafe): no thread yet
    descriptors_raise();
    signals_block();
    return run(&config);
}
