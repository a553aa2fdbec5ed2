// SPDX-License-Identifier: Apache-2.0
//
// config.c - see config.h.

#include "worker/config.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/record/writer.h"
#include "worker/slots.h"

#define FD_MAX 1048576

typedef struct option option_t;

// Sets its part of the configuration; `value` is NULL for a flag.
typedef bool option_set_fn(const option_t *option, const char *value, shoal_worker_config_t *config,
                           shoal_status_t *status);

struct option {
    const char *name;
    bool has_value;
    size_t offset; // in shoal_worker_config_t
    uint64_t max;  // numbers: largest value; texts: bytes
    option_set_fn *set;
};

static const char help[] =
    "usage: shoal-worker (--connect ENDPOINT | --join-file FILE) [options]\n"
    "       shoal-worker --list-connectors | --template TYPE\n"
    "\n"
    "Runs a worker in the foreground until SIGTERM, SIGINT or the end of its lifeline. It dials "
    "the\n"
    "head, takes calls from it and runs them in slots. A first signal drains it: what has not "
    "started\n"
    "is given back, running calls may finish; a second one ends it at once.\n"
    "\n"
    "  --connect ENDPOINT    ipc:///dir/head.sock (the directory must be yours, mode 0700),\n"
    "                        or tcp://HOST:PORT with --join-file\n"
    "  --join-file FILE      the head's endpoint and key, and this worker's own (shoal key new\n"
    "                        makes one on the head's host); - reads it from standard input.\n"
    "                        --connect then says where the head is reached, if elsewhere\n"
    "  --slots N             calls that run at once, 1 to 1024; default: one a processor\n"
    "  --drain-seconds N     once it drains, calls that still run after that are given back;\n"
    "                        0 to 86400, default 30\n"
    "  --name TEXT           what people see; default: host and process id\n"
    "  --id TEXT             who it is for the head, letters, digits and -_.; default: invented. "
    "One that\n"
    "                        is started in the place of another has its id, and takes it over\n"
    "  --label KEY=VALUE     a label that jobs can ask for; may stand several times\n"
    "  --connectors DIR      where connector modules are; default: ../lib/shoal from the program\n"
    "  --insecure-loopback   allow tcp without keys on loopback, for tests and benchmarks\n"
    "  --lifeline-fd N       end at once when the pipe with this descriptor is closed at its "
    "other\n"
    "                        end\n"
    "  --ready-fd N          write a line here at each registration (ready) and each failed try "
    "(no)\n"
    "  --log-level LEVEL     error, warn, info (default) or debug\n"
    "  --list-connectors     print the connectors that this worker has, and end\n"
    "  --template TYPE       print a workflow file to start from, and end\n"
    "  --version, --help\n"
    "\n"
    "examples:\n"
    "  shoal-worker --connect ipc://$XDG_RUNTIME_DIR/shoal/head.sock --slots 4\n"
    "  shoal-worker --join-file worker.join\n"
    "  shoal-worker --template postgres > postgres.yaml\n";

const char *
shoal_worker_config_help(void)
{
    return help;
}

static void *
option_at(const option_t *option, shoal_worker_config_t *config)
{
    return (char *)config + option->offset;
}

static bool
set_flag(const option_t *option, const char *value, shoal_worker_config_t *config,
         shoal_status_t *status)
{
    (void)value;
    (void)status;
    bool *at = option_at(option, config);
    *at = true;
    return true;
}

static bool
check_text(const option_t *option, const char *value, shoal_status_t *status)
{
    size_t len = strlen(value);
    return (len > 0 && len <= option->max) ||
           shoal_fail(status, SHOAL_INVALID, "%s must have 1 to %llu bytes, got %zu", option->name,
                      (unsigned long long)option->max, len);
}

static bool
set_text(const option_t *option, const char *value, shoal_worker_config_t *config,
         shoal_status_t *status)
{
    const char **at = option_at(option, config);
    *at = value;
    return check_text(option, value, status);
}

static bool
set_id(const option_t *option, const char *value, shoal_worker_config_t *config,
       shoal_status_t *status)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    config->id = value;
    return check_text(option, value, status) &&
           (value[strspn(value, allowed)] == '\0' ||
            shoal_fail(status, SHOAL_INVALID, "%s has letters, digits and -_. only, got \"%s\"",
                       option->name, value));
}

static bool
set_label(const option_t *option, const char *value, shoal_worker_config_t *config,
          shoal_status_t *status)
{
    const char *equals = strchr(value, '=');
    if (!check_text(option, value, status)) {
        return false;
    }
    if (!equals || equals == value) {
        return shoal_fail(status, SHOAL_INVALID, "%s must be KEY=VALUE, got \"%s\"", option->name,
                          value);
    }
    if (config->label_count == SHOAL_LABELS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a worker has at most %d labels", SHOAL_LABELS_MAX);
    }
    config->labels[config->label_count++] = value;
    return true;
}

static bool
set_level(const option_t *option, const char *value, shoal_worker_config_t *config,
          shoal_status_t *status)
{
    return shoal_log_level_parse(value, &config->log_level) ||
           shoal_fail(status, SHOAL_INVALID, "%s must be error, warn, info or debug, got \"%s\"",
                      option->name, value);
}

static bool
parse_number(const option_t *option, const char *value, uint64_t min, uint64_t *ret_number,
             shoal_status_t *status)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || number < min ||
        number > option->max) {
        return shoal_fail(status, SHOAL_INVALID,
                          "%s must be a number from %llu to %llu, got \"%s\"", option->name,
                          (unsigned long long)min, (unsigned long long)option->max, value);
    }
    *ret_number = number;
    return true;
}

static bool
set_slots(const option_t *option, const char *value, shoal_worker_config_t *config,
          shoal_status_t *status)
{
    uint64_t number = 0;
    if (!parse_number(option, value, 1, &number, status)) {
        return false;
    }
    config->slots = (uint32_t)number;
    return true;
}

static bool
set_drain(const option_t *option, const char *value, shoal_worker_config_t *config,
          shoal_status_t *status)
{
    uint64_t number = 0;
    if (!parse_number(option, value, 0, &number, status)) {
        return false;
    }
    config->drain_seconds = (uint32_t)number;
    return true;
}

static bool
set_fd(const option_t *option, const char *value, shoal_worker_config_t *config,
       shoal_status_t *status)
{
    uint64_t number = 0;
    if (!parse_number(option, value, 0, &number, status)) {
        return false;
    }
    int *at = option_at(option, config);
    *at = (int)number;
    return true;
}

#define AT(field) offsetof(shoal_worker_config_t, field)

// clang-format off
static const option_t options[] = {
    {"--connect",           true,  AT(connect),           SHOAL_ENDPOINT_MAX,    set_text},
    {"--join-file",         true,  AT(join_file),         SHOAL_PATH_BYTES_MAX,  set_text},
    {"--slots",             true,  0,                     SHOAL_SLOTS_MAX,       set_slots},
    {"--drain-seconds",     true,  0,                     SHOAL_DRAIN_S_MAX,     set_drain},
    {"--name",              true,  AT(name),              SHOAL_WORKER_NAME_MAX, set_text},
    {"--id",                true,  AT(id),                SHOAL_WORKER_ID_MAX,   set_id},
    {"--label",             true,  0,                     SHOAL_LABEL_BYTES_MAX, set_label},
    {"--connectors",        true,  AT(connectors),        4096,                  set_text},
    {"--insecure-loopback", false, AT(insecure_loopback), 0,                     set_flag},
    {"--lifeline-fd",       true,  AT(lifeline_fd),       FD_MAX,                set_fd},
    {"--ready-fd",          true,  AT(ready_fd),          FD_MAX,                set_fd},
    {"--log-level",         true,  0,                     0,                     set_level},
    {"--list-connectors",   false, AT(wants_list),        0,                     set_flag},
    {"--template",          true,  AT(template_type),     64,                    set_text},
    {"--help",              false, AT(wants_help),        0,                     set_flag},
    {"--version",           false, AT(wants_version),     0,                     set_flag},
};
// clang-format on

static const option_t *
option_find(const char *arg, size_t len)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (strlen(options[i].name) == len && memcmp(options[i].name, arg, len) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

// Reads the option at *index and its value; *index is then at the last word of it.
static bool
option_read(char **argv, int *index, shoal_worker_config_t *config, shoal_status_t *status)
{
    const char *arg = argv[*index];
    const char *equals = strchr(arg, '=');
    const option_t *option = option_find(arg, equals ? (size_t)(equals - arg) : strlen(arg));
    if (!option) {
        return shoal_fail(status, SHOAL_INVALID, "unknown option \"%s\"; --help lists the options",
                          arg);
    }
    if (!option->has_value) {
        return equals ? shoal_fail(status, SHOAL_INVALID, "%s takes no value", option->name)
                      : option->set(option, NULL, config, status);
    }
    const char *value = equals ? equals + 1 : argv[++*index]; // argv ends with NULL
    return value ? option->set(option, value, config, status)
                 : shoal_fail(status, SHOAL_INVALID, "%s needs a value", option->name);
}

static uint32_t
default_slots(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1) {
        return 1;
    }
    return count < SHOAL_SLOTS_MAX ? (uint32_t)count : SHOAL_SLOTS_MAX;
}

bool
shoal_worker_config_parse(int argc, char **argv, shoal_worker_config_t *ret_config,
                          shoal_status_t *status)
{
    shoal_worker_config_t config = {.lifeline_fd = -1,
                                    .ready_fd = -1,
                                    .drain_seconds = SHOAL_DRAIN_S,
                                    .log_level = SHOAL_LOG_INFO};
    for (int i = 1; i < argc; i++) {
        if (!option_read(argv, &i, &config, status)) {
            return false;
        }
    }
    config.only_informs = config.wants_help || config.wants_version || config.wants_list ||
                          config.template_type != NULL;
    if (!config.only_informs && !config.connect && !config.join_file) {
        return shoal_fail(status, SHOAL_INVALID,
                          "--connect ENDPOINT is missing, or --join-file FILE; --help shows "
                          "examples");
    }
    config.slots = config.slots ? config.slots : default_slots();
    *ret_config = config;
    return true;
}

void
shoal_worker_config_labels(const shoal_worker_config_t *config, shoal_buffer_t *out)
{
    if (config->label_count == 0) {
        return;
    }
    shoal_write_map(out, (uint32_t)config->label_count);
    for (size_t i = 0; i < config->label_count; i++) {
        const char *label = config->labels[i];
        const char *equals = strchr(label, '=');
        shoal_write_str(out, (shoal_slice_t){label, (size_t)(equals - label)});
        shoal_write_text(out, equals + 1);
    }
}
