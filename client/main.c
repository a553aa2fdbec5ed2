// SPDX-License-Identifier: Apache-2.0
//
// main.c - `shoal`: the table of commands and their options.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/commands.h"
#include "client/summary.h"
#include "client/url.h"
#include "proto/base/alloc.h"
#include "proto/base/nearest.h"

#define ADDRESSES_MAX 4 // more than one is wrong usage anyway

#define ARGUMENT_CONFIG                                                                            \
    {                                                                                              \
        'c', "config", "FILE", "workflow file, YAML or JSON; - is standard input"                  \
    }
#define ARGUMENT_SET                                                                               \
    {                                                                                              \
        0, "set", "KEY.PATH=VALUE",                                                                \
            "put a value into the workflow; one that starts with [ or {\n"                         \
            "is YAML, any other a text; may be repeated"                                           \
    }
#define ARGUMENT_HEAD                                                                              \
    {                                                                                              \
        0, "head", "ENDPOINT", "a running head; default: see shoal start"                          \
    }
#define ARGUMENT_JOIN                                                                              \
    {                                                                                              \
        0, "join-file", "FILE",                                                                    \
            "endpoint and keys of a head over TCP, from shoal key new;\n"                          \
            "- is standard input; default: $SHOAL_JOIN_FILE"                                       \
    }
#define ARGUMENT_KEYS                                                                              \
    {                                                                                              \
        0, "keys", "DIR", "the head's key folder; default: keys in the state directory"            \
    }
#define ARGUMENT_OUTPUT                                                                            \
    {                                                                                              \
        0, "output", "text|json", "form of the result"                                             \
    }
#define ARGUMENT_LEVEL                                                                             \
    {                                                                                              \
        0, "log-level", "LEVEL", "debug, info, warn or error"                                      \
    }
#define ARGUMENT_STATE                                                                             \
    {                                                                                              \
        0, "state", "DIR", "where state, logs and process ids are; default ~/.local/state/shoal"   \
    }
#define ARGUMENT_END                                                                               \
    {                                                                                              \
        0, NULL, NULL, NULL                                                                        \
    }

static const shoal_argument_t ingest_arguments[] = {
    ARGUMENT_CONFIG,
    {'o', "out", "FILE", "where the records go; - is standard output"},
    ARGUMENT_SET,
    {0, "resume", NULL, "go on with the run of this file that was killed"},
    {0, "dry-run", NULL, "read everything, write nothing"},
    {0, "parallelism", "N|auto", "calls at once"},
    {0, "limit", "N", "stop after N records"},
    {0, "workers", "N", "worker processes of a private run"},
    {0, "head", "ENDPOINT", "use a running head instead of a private one"},
    ARGUMENT_JOIN,
    {0, "lenient", NULL, "unknown keys in the workflow are warnings"},
    ARGUMENT_OUTPUT,
    ARGUMENT_LEVEL,
    {0, "no-progress", NULL, "no progress, only the summary"},
    ARGUMENT_END,
};

static const shoal_argument_t validate_arguments[] = {
    ARGUMENT_CONFIG,
    ARGUMENT_SET,
    {0, "parallelism", "N|auto", "calls at once"},
    {0, "workers", "N", "worker processes of a private run"},
    {0, "head", "ENDPOINT", "use a running head instead of a private one"},
    ARGUMENT_JOIN,
    {0, "lenient", NULL, "unknown keys in the workflow are warnings"},
    ARGUMENT_OUTPUT,
    ARGUMENT_LEVEL,
    {0, "no-progress", NULL, "no progress, only the result"},
    ARGUMENT_END,
};

static const shoal_argument_t init_arguments[] = {
    {'o', "out", "FILE", "file to write; without it, standard output"},
    ARGUMENT_END,
};

static const shoal_argument_t start_arguments[] = {
    {0, "head", NULL, "start a head"},
    {0, "listen", "ENDPOINT",
     "where the head listens: ipc:///PATH, or tcp://0.0.0.0:6380, for\n"
     "which keys are made; default: on TCP as the last head of this\n"
     "state directory did, else a socket of this user"},
    {0, "advertise", "HOST",
     "where others dial a head on TCP; default: as before where it\n"
     "listens there again, else this host's name"},
    {0, "address", "ENDPOINT", "start a worker for the head at this endpoint"},
    ARGUMENT_JOIN,
    {0, "slots", "N", "calls that the worker runs at once; default: one a processor"},
    {0, "drain-seconds", "N", "how long its running calls may go on when it is to end; default 30"},
    ARGUMENT_STATE,
    ARGUMENT_LEVEL,
    ARGUMENT_END,
};

static const shoal_argument_t key_arguments[] = {
    {0, "role", "ROLE", "key new: worker, client, or viewer, who may only look"},
    {0, "name", "NAME", "key new: what to list and revoke it by"},
    {0, "endpoint", "ENDPOINT", "key new: where the head is dialled; default: as it was started"},
    {'o', "out", "FILE", "key new: a join file to write; default: standard output"},
    ARGUMENT_KEYS,
    ARGUMENT_STATE,
    ARGUMENT_OUTPUT,
    ARGUMENT_END,
};

static const shoal_argument_t stop_arguments[] = {
    ARGUMENT_STATE,
    ARGUMENT_END,
};

static const shoal_argument_t drain_arguments[] = {
    {0, "drain-seconds", "N",
     "calls that still run after that are given back; default: as started"},
    {0, "no-wait", NULL, "do not wait until it has ended"},
    ARGUMENT_HEAD,
    ARGUMENT_JOIN,
    ARGUMENT_OUTPUT,
    ARGUMENT_END,
};

static const shoal_argument_t status_arguments[] = {ARGUMENT_HEAD, ARGUMENT_JOIN, ARGUMENT_OUTPUT,
                                                    ARGUMENT_END};

static const shoal_argument_t dlq_arguments[] = {
    ARGUMENT_HEAD,
    ARGUMENT_JOIN,
    {'o', "out", "FILE",
     "dlq retry: where the records go that come this time; - is standard output"},
    {0, "no-wait", NULL, "dlq retry: do not wait for the end of the run"},
    {0, "no-progress", NULL, "dlq retry: no progress, only the summary"},
    {0, "output", "text|json|jsonl", "form of the result; jsonl: an export, one letter a line"},
    ARGUMENT_END,
};

static const shoal_argument_t job_arguments[] = {
    ARGUMENT_HEAD,
    ARGUMENT_JOIN,
    {'o', "out", "FILE",
     "job output, job retry: where the records go; default of output: standard output"},
    {0, "run", "N", "job output: that run's records alone; default: those of all runs"},
    {0, "no-wait", NULL, "job retry: do not wait for the end of the run"},
    {0, "no-progress", NULL, "job retry: no progress, only the summary"},
    ARGUMENT_OUTPUT,
    ARGUMENT_END,
};

static const shoal_argument_t journal_arguments[] = {ARGUMENT_END};

static const shoal_command_t commands[] = {
    {.name = "ingest",
     .usage = "(-c FILE | ADDRESS) [OPTION]...",
     .summary =
         "Read a source's records, in parallel. Starts a private head and workers, unless "
         "--head\nnames a running one. Exit code: 0 done, 3 done in part, 1 failed, 2 wrong "
         "usage or a bad\nfile, 130 or 143 interrupted, 141 nobody reads standard output any more.",
     .arguments = ingest_arguments,
     .examples = "  shoal ingest -c shop.yaml\n"
                 "  shoal ingest postgres://reader@db.example/shop -o shop.jsonl\n"
                 "  shoal ingest sqlite:shop.db -o - | head\n"
                 "  shoal ingest -c shop.yaml --dry-run --limit 100 --output json\n"
                 "  shoal ingest -c shop.yaml --set source.serviceName=shop2 --parallelism 8\n"
                 "  shoal ingest -c shop.yaml --set 'sharding={type: schema}'\n"
                 "  shoal ingest -c shop.yaml --resume\n",
     .words_max = 1,
     .run = shoal_command_ingest},
    {.name = "validate",
     .usage = "(-c FILE | ADDRESS) [OPTION]...",
     .summary = "Check a workflow, connect to its source and show how the work would be cut. No "
                "data is read.",
     .arguments = validate_arguments,
     .examples = "  shoal validate -c shop.yaml\n"
                 "  shoal validate -c shop.yaml --set sharding.type=schema\n",
     .words_max = 1,
     .run = shoal_command_validate},
    {.name = "init",
     .usage = "TYPE [-o FILE]",
     .summary = "Write a workflow file to start from.",
     .arguments = init_arguments,
     .examples = "  shoal init postgres -o shop.yaml\n"
                 "  shoal init sqlite\n",
     .words_min = 1,
     .words_max = 1,
     .run = shoal_command_init},
    {.name = "start",
     .usage = "(--head | --address ENDPOINT | --join-file FILE) [OPTION]...",
     .summary = "Start a head, or a worker for one, in the background.",
     .arguments = start_arguments,
     .examples = "  shoal start --head\n"
                 "  shoal start --head --listen tcp://0.0.0.0:6380\n"
                 "  shoal start --join-file worker.join\n"
                 "  shoal start --address ipc:///run/user/1000/shoal/head.sock --slots 4\n",
     .run = shoal_command_start},
    {.name = "key",
     .usage = "(new --role ROLE --name NAME | list | revoke NAME) [OPTION]...",
     .summary = "Say who may join a head over TCP, on the head's host. A new key is a join string, "
                "a secret\nthat is shown once. A key that is revoked ends the connections that use "
                "it.",
     .arguments = key_arguments,
     .examples = "  shoal key new --role worker --name rack1 | ssh rack1 'umask 077; cat >w.join'\n"
                 "  shoal key new --role viewer --name kiosk -o kiosk.join\n"
                 "  shoal key list\n"
                 "  shoal key revoke rack1\n",
     .words_min = 1,
     .words_max = 2,
     .run = shoal_command_key},
    {.name = "stop",
     .usage = "[OPTION]...",
     .summary = "End the head and the workers that `shoal start` has started. Jobs that are not "
                "finished go on\nwhen the head is started again.",
     .arguments = stop_arguments,
     .examples = "  shoal stop\n",
     .run = shoal_command_stop},
    {.name = "status",
     .usage = "[OPTION]...",
     .summary = "Show a head, its workers and its jobs.",
     .arguments = status_arguments,
     .examples = "  shoal status\n"
                 "  shoal status --output json\n",
     .run = shoal_command_status},
    {.name = "drain",
     .usage = "WORKER [OPTION]...",
     .summary = "End a worker gently. What it has not started goes to others at once, what runs "
                "may\nfinish. WORKER is its name as in its log and status, its id or\nthe "
                "beginning of that.",
     .arguments = drain_arguments,
     .examples = "  shoal drain worker-3d6b0ed1\n"
                 "  shoal drain 9f3c --drain-seconds 5\n",
     .words_min = 1,
     .words_max = 1,
     .run = shoal_command_drain},
    {.name = "dlq",
     .usage = "(list [JOB] | show JOB [N]... | retry JOB [N]... | drop JOB [N]...) [OPTION]...",
     .summary = "Dead letters: records and shards that failed for good. See them, try them again "
                "as the\njob's next run, or drop them. Without numbers: all of the job.",
     .arguments = dlq_arguments,
     .examples = "  shoal dlq list\n"
                 "  shoal dlq list 7 --output jsonl > bad.jsonl\n"
                 "  shoal dlq show 7 12\n"
                 "  shoal dlq retry 7 12 13 -o again.jsonl\n"
                 "  shoal dlq drop 7\n",
     .words_min = 1,
     .words_max = 250,
     .run = shoal_command_dlq},
    {.name = "job",
     .usage = "(list | get JOB | stop JOB | retry JOB [-o FILE] | output JOB [-o FILE] [--run N]) "
              "[OPTION]...",
     .summary = "Look at a head's jobs, stop one, try its dead letters again, or fetch its records "
                "again.",
     .arguments = job_arguments,
     .examples = "  shoal job list\n"
                 "  shoal job get 7 --output json\n"
                 "  shoal job retry 7\n"
                 "  shoal job output 7 -o shop.jsonl\n"
                 "  shoal job output 7 --run 2\n",
     .words_min = 1,
     .words_max = 2,
     .run = shoal_command_job},
    {.name = "journal",
     .usage = "(check | dump) [DIR]",
     .summary =
         "Look into the journal of a head that does not run. check says whether it and the "
         "records\nbeside it are whole (exit code 1: they are not), dump prints all of it as lines "
         "of JSON.\nDIR is the state folder; default: that of shoal start.",
     .arguments = journal_arguments,
     .examples = "  shoal journal check\n"
                 "  shoal journal dump /var/lib/shoal | jq -c 'select(.job == 7)'\n",
     .words_min = 1,
     .words_max = 2,
     .run = shoal_command_journal},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const shoal_command_t *
find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int
help(void)
{
    (void)printf("usage: shoal COMMAND [OPTION]...\n\n"
                 "Reads metadata, and other records, out of many sources in parallel.\n\n"
                 "commands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        int len = (int)strcspn(commands[i].summary, ".\n");
        (void)printf("  %-10s %.*s\n", commands[i].name, len, commands[i].summary);
    }
    (void)printf("\n  shoal COMMAND --help says more; shoal --version says which one this is\n\n"
                 "examples:\n"
                 "  shoal ingest -c docs/examples/shop.yaml\n"
                 "  shoal ingest postgres://reader@db.example/shop -o shop.jsonl\n");
    return SHOAL_EXIT_OK;
}

static int
unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT + 1];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[i] = commands[i].name;
    }
    names[COMMAND_COUNT] = NULL;
    const char *near = shoal_nearest(name, names);
    (void)fprintf(stderr, "shoal: unknown command \"%.64s\"%s%s%s; see: shoal --help\n", name,
                  near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return SHOAL_EXIT_USAGE;
}

static int
run_command(const shoal_command_t *command, int argc, char **argv)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_arguments_t *arguments = NULL;
    if (!shoal_arguments_read(command, argc, argv, &arguments, &status)) {
        return shoal_command_failed(&status);
    }
    int code;
    if (shoal_arguments_want_help(arguments)) {
        shoal_buffer_t text = SHOAL_BUFFER_INIT;
        shoal_command_help(command, &text);
        code = shoal_print(&text, &status) ? SHOAL_EXIT_OK : shoal_command_failed(&status);
        shoal_buffer_fini(&text);
    } else {
        code = command->run(arguments);
    }
    shoal_arguments_destroy(&arguments);
    return code;
}

// A password in a source's address is taken off the process's argument list, where everybody on
// the machine can read it; the command works with a copy.
static void
hide_passwords(int argc, char **argv, char *copies[ADDRESSES_MAX])
{
    int count = 0;
    for (int i = 1; i < argc && count < ADDRESSES_MAX; i++) {
        if (strstr(argv[i], "://")) {
            copies[count] = shoal_strdup(argv[i]);
            shoal_url_wipe(argv[i]);
            argv[i] = copies[count++];
        }
    }
}

static int
run(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "shoal: what is to be done? See: shoal --help\n");
        return SHOAL_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        (void)printf("shoal %s\n", SHOAL_VERSION);
        return SHOAL_EXIT_OK;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        const shoal_command_t *command = argc > 2 ? find_command(argv[2]) : NULL;
        char *words[] = {argv[0], (char[]){"--help"}, NULL};
        return command ? run_command(command, 2, words) : help();
    }
    const shoal_command_t *command = find_command(name);
    if (!command) {
        return unknown_command(name);
    }
    char *copies[ADDRESSES_MAX] = {NULL};
    hide_passwords(argc, argv, copies);
    int code = run_command(command, argc - 1, argv + 1);
    for (int i = 0; i < ADDRESSES_MAX; i++) {
        free(copies[i]);
    }
    return code;
}

// The exit code, once everything that was printed has gone out.
static int
finish(int code)
{
    if (fflush(stdout) == 0) {
        return code;
    }
    int error = errno;
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (error == EPIPE) {
        (void)shoal_fail(&status, SHOAL_CANCELLED, "nobody reads standard output any more");
    } else {
        (void)shoal_fail_errno(&status, error, "cannot write to standard output");
    }
    int unread = shoal_command_failed(&status);
    return code == SHOAL_EXIT_OK ? unread : code;
}

int
main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN); // a closed standard output is an error of a write,
    (void)signal(SIGXFSZ, SIG_IGN); // and so is a file that may not grow
    return finish(run(argc, argv));
}
