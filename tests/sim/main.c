// SPDX-License-Identifier: Apache-2.0
//
// main.c - runs seeds of the simulation, each in a process of its own, and shrinks what fails.
//
//     sim --seeds 1-300            runs these; prints what failed, with its script
//     sim --seed 42 [--script F]   runs one; its faults are those of the script instead
//     sim --known FILE             runs the seeds of a list, one a line
//
// A failure is shrunk by leaving out faults as long as the rest still fails (delta debugging), and
// the script of what is left is written to sim-SEED.script.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define TRIES_MAX 400 // of one shrinking
#define KNOWN_MAX 1000

typedef struct options {
    uint64_t first;
    uint64_t last;
    const char *script;
    const char *known;
    bool is_verbose;
    bool is_quick; // no shrinking
} options_t;

// Runs one seed in a child; true if nothing was wrong. `is_silent`: its sentence is not wanted.
static bool
seed_run(uint64_t seed, const char *script, bool is_silent, bool is_verbose, uint64_t *ret_events)
{
    int ends[2];
    if (pipe(ends) != 0) {
        abort();
    }
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t events = 0;
        (void)close(ends[0]);
        if (is_silent && !freopen("/dev/null", "w", stderr)) {
            _exit(4);
        }
        (void)alarm(120);
        sim_run(seed, script, is_verbose, &events);
        (void)!write(ends[1], &events, sizeof(events));
        exit(0); // not _exit(): the leak checker looks
    }
    (void)close(ends[1]);
    uint64_t events = 0;
    if (read(ends[0], &events, sizeof(events)) == (ssize_t)sizeof(events) && ret_events) {
        *ret_events += events;
    }
    (void)close(ends[0]);
    int status = 0;
    (void)waitpid(pid, &status, 0);
    if (!is_silent && WIFSIGNALED(status)) {
        (void)fprintf(stderr, "sim: seed %llu ended by signal %d\n", (unsigned long long)seed,
                      WTERMSIG(status));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
script_write(const sim_t *sim, const bool *keep, const char *path)
{
    FILE *file = fopen(path, "w");
    if (file) {
        sim_faults_write(sim->faults, sim->fault_count, keep, file);
        (void)fclose(file);
    }
}

// Leaves out faults, halves first and single ones last, as long as it still fails without them.
static void
shrink(uint64_t seed)
{
    static sim_t sim; // for its faults only
    sim = (sim_t){.seed = seed};
    sim_faults_plan(&sim);
    bool keep[SIM_FAULTS_MAX];
    memset(keep, true, sizeof(keep));
    char path[64];
    (void)snprintf(path, sizeof(path), "sim-%llu.script", (unsigned long long)seed);
    unsigned tries = 0;
    for (size_t size = sim.fault_count; size > 0; size = size > 1 ? (size + 1) / 2 : 0) {
        for (size_t from = 0; from < sim.fault_count && tries < TRIES_MAX; from += size) {
            bool before[SIM_FAULTS_MAX];
            memcpy(before, keep, sizeof(before));
            bool is_any = false;
            for (size_t i = from; i < from + size && i < sim.fault_count; i++) {
                is_any = is_any || keep[i];
                keep[i] = false;
            }
            if (!is_any) {
                continue;
            }
            tries++;
            script_write(&sim, keep, path);
            if (seed_run(seed, path, true, false, NULL)) {
                memcpy(keep, before, sizeof(keep)); // it is needed
            }
        }
        if (size == 1) {
            break;
        }
    }
    script_write(&sim, keep, path);
    size_t left = 0;
    for (size_t i = 0; i < sim.fault_count; i++) {
        left += keep[i];
    }
    (void)fprintf(stderr, "sim: %zu faults of %zu are left, in %s:\n", left, sim.fault_count, path);
    sim_faults_write(sim.faults, sim.fault_count, keep, stderr);
    (void)seed_run(seed, path, false, false, NULL); // says it again
    (void)fprintf(stderr, "sim: run it with: sim --seed %llu --script %s\n",
                  (unsigned long long)seed, path);
}

static bool
option_read(options_t *options, const char *name, const char *value)
{
    char *end = NULL;
    if (strcmp(name, "--seeds") == 0) {
        options->first = strtoull(value, &end, 10);
        options->last = *end == '-' ? strtoull(end + 1, &end, 10) : options->first;
        return *end == '\0';
    }
    if (strcmp(name, "--seed") == 0) {
        options->first = options->last = strtoull(value, &end, 10);
        return *end == '\0';
    }
    if (strcmp(name, "--script") == 0) {
        options->script = value;
        return true;
    }
    if (strcmp(name, "--known") == 0) {
        options->known = value;
        return true;
    }
    return false;
}

// The seeds of a list; lines with # are remarks.
static unsigned
known_run(const options_t *options, uint64_t *events)
{
    FILE *file = fopen(options->known, "r");
    if (!file) {
        (void)fprintf(stderr, "sim: cannot read \"%s\"\n", options->known);
        return 1;
    }
    uint64_t seeds[KNOWN_MAX];
    size_t count = 0;
    char line[256];
    while (count < KNOWN_MAX && fgets(line, sizeof(line), file)) {
        if (line[0] >= '0' && line[0] <= '9') {
            seeds[count++] = strtoull(line, NULL, 10);
        }
    }
    (void)fclose(file); // before a child can move its place in it
    unsigned failed = 0;
    for (size_t i = 0; i < count; i++) {
        failed += !seed_run(seeds[i], NULL, false, false, events);
    }
    return failed;
}

static double
seconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
    options_t options = {.first = 1, .last = 100};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            options.is_verbose = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            options.is_quick = true;
        } else if (i + 1 < argc && option_read(&options, argv[i], argv[i + 1])) {
            i++;
        } else {
            (void)fprintf(stderr, "usage: sim [--seeds A-B | --seed N [--script FILE]] "
                                  "[--known FILE] [--quick] [--verbose]\n");
            return 2;
        }
    }
    double begin = seconds_now();
    uint64_t events = 0;
    unsigned failed = options.known ? known_run(&options, &events) : 0;
    for (uint64_t seed = options.first; seed <= options.last && failed < 5; seed++) {
        if (seed_run(seed, options.script, false, options.is_verbose, &events)) {
            continue;
        }
        failed++;
        if (!options.script && !options.is_quick) {
            shrink(seed);
        }
    }
    double seconds = seconds_now() - begin;
    (void)printf("sim: seeds %llu to %llu, %u failed, %llu events in %.1f s, %.0f a second\n",
                 (unsigned long long)options.first, (unsigned long long)options.last, failed,
                 (unsigned long long)events, seconds, (double)events / seconds);
    return failed > 0;
}
