// SPDX-License-Identifier: Apache-2.0
//
// config.c - see config.h.

#include "head/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_FD,
    OPTION_NUMBER,
    OPTION_LEVEL,
    OPTION_SWITCH, // on or off
} option_kind_t;

typedef struct option {
    const char *name;
    option_kind_t kind;
    size_t offset; // in shoal_config_t
    uint64_t min;
    uint64_t max;
} option_t;

#define AT(field) offsetof(shoal_config_t, field)
#define MIB       (UINT64_C(1) << 20)
#define DAY_MS    86400000

// clang-format off
static const option_t options[] = {
    {"--listen",            OPTION_TEXT,   AT(listen),             0, 0},
    {"--state",             OPTION_TEXT,   AT(state),              0, 0},
    {"--keys",              OPTION_TEXT,   AT(keys),               0, 0},
    {"--journal",           OPTION_SWITCH, AT(has_journal),        0, 0},
    {"--insecure-loopback", OPTION_FLAG,   AT(insecure_loopback),  0, 0},
    {"--lifeline-fd",       OPTION_FD,     AT(lifeline_fd),        0, 1048576},
    {"--ready-fd",          OPTION_FD,     AT(ready_fd),           0, 1048576},
    {"--log-level",         OPTION_LEVEL,  AT(log_level),          0, 0},
    {"--memory-limit",      OPTION_NUMBER, AT(memory_limit_bytes), 4 * MIB, UINT64_MAX},
    {"--spool-limit",       OPTION_NUMBER, AT(spool_limit_bytes),  4 * MIB, UINT64_MAX},
    {"--heartbeat-ms",      OPTION_NUMBER, AT(heartbeat_ms),       1, 3600000},
    {"--liveness-ms",       OPTION_NUMBER, AT(liveness_ms),        2, 3600000},
    {"--lease-ms",          OPTION_NUMBER, AT(lease_ms),           1, DAY_MS},
    {"--grace-ms",          OPTION_NUMBER, AT(grace_ms),           1, DAY_MS},
    {"--workers-gone",      OPTION_FLAG,   AT(workers_gone),       0, 0},
    {"--retain-hours",      OPTION_NUMBER, AT(retain_hours),       0, 87600},
    {"--retain-bytes",      OPTION_NUMBER, AT(retain_bytes),       0, UINT64_MAX},
    {"--sync-delay-ms",     OPTION_NUMBER, AT(sync_delay_ms),      0, 60000},
    {"--crash-at",          OPTION_TEXT,   AT(crash_at),           0, 0},
    {"--check-journal",     OPTION_TEXT,   AT(check_journal),      0, 0},
    {"--dump-journal",      OPTION_TEXT,   AT(dump_journal),       0, 0},
    {"--help",              OPTION_FLAG,   AT(wants_help),         0, 0},
    {"--version",           OPTION_FLAG,   AT(wants_version),      0, 0},
};
// clang-format on

static const char help[] =
    "usage: shoal-head --listen ENDPOINT --state DIR [options]\n"
    "\n"
    "Runs a head in the foreground until SIGTERM, SIGINT or the end of its lifeline.\n"
    "\n"
    "  --listen ENDPOINT     ipc:///dir/head.sock (the directory must be yours, mode 0700),\n"
    "                        or tcp://HOST:PORT with --keys (PORT * is any)\n"
    "  --keys DIR            head.key and the list of those who may join; shoal start --head "
    "makes\n"
    "                        them, shoal key changes the list, and it is read again at once\n"
    "  --state DIR           where the journal and the spool are kept; a head that is started "
    "again\n"
    "                        on the same one goes on with its jobs\n"
    "  --grace-ms N          how long workers may take to come back to a head that is started "
    "again,\n"
    "                        before what they ran is given out again; a lease if not given\n"
    "  --workers-gone        they do not come back: what they ran is given out at once\n"
    "  --journal on|off      off: forget everything at the end, for tests and benchmarks (on)\n"
    "  --insecure-loopback   allow tcp without keys on loopback, for tests and benchmarks\n"
    "  --lifeline-fd N       stop when the pipe with this descriptor is closed at its other end\n"
    "  --ready-fd N          write the bound endpoint and a line end here once it is bound\n"
    "  --log-level LEVEL     error, warn, info (default) or debug\n"
    "  --memory-limit BYTES  records held in memory before they go to the spool\n"
    "  --spool-limit BYTES   disk that the spool may use\n"
    "  --retain-hours N      finished jobs and their records are kept so long (24); 0: for ever,\n"
    "                        until there are too many\n"
    "  --retain-bytes N      at most so many bytes of records of finished jobs; 0: as many as "
    "leave\n"
    "                        a quarter of --spool-limit free (0)\n"
    "  --check-journal DIR   look into the state of a head that does not run: is it whole?\n"
    "  --dump-journal DIR    the same, all of it as lines of JSON, but for the records\n"
    "  --version, --help\n"
    "\n"
    "example: shoal-head --listen ipc://$XDG_RUNTIME_DIR/shoal/head.sock --state "
    "~/.local/state/shoal\n";

const char *
shoal_config_help(void)
{
    return help;
}

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

static bool
number_parse(const option_t *option, const char *text, uint64_t *ret_number, shoal_status_t *status)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < option->min ||
        number > option->max) {
        return shoal_fail(status, SHOAL_INVALID,
                          "%s must be a number from %llu to %llu, got \"%s\"", option->name,
                          (unsigned long long)option->min, (unsigned long long)option->max, text);
    }
    *ret_number = number;
    return true;
}

static bool
option_set(const option_t *option, const char *value, shoal_config_t *config,
           shoal_status_t *status)
{
    char *base = (char *)config + option->offset;
    uint64_t number = 0;
    switch (option->kind) {
    case OPTION_TEXT: memcpy(base, &value, sizeof(value)); return true;
    case OPTION_LEVEL: {
        shoal_log_level_t level = SHOAL_LOG_INFO;
        if (!shoal_log_level_parse(value, &level)) {
            return shoal_fail(status, SHOAL_INVALID,
                              "%s must be error, warn, info or debug, got \"%s\"", option->name,
                              value);
        }
        memcpy(base, &level, sizeof(level));
        return true;
    }
    case OPTION_SWITCH: {
        bool is_on = strcmp(value, "on") == 0;
        if (!is_on && strcmp(value, "off") != 0) {
            return shoal_fail(status, SHOAL_INVALID, "%s must be on or off, got \"%s\"",
                              option->name, value);
        }
        memcpy(base, &is_on, sizeof(is_on));
        return true;
    }
    case OPTION_FD: {
        if (!number_parse(option, value, &number, status)) {
            return false;
        }
        int fd = (int)number;
        memcpy(base, &fd, sizeof(fd));
        return true;
    }
    case OPTION_NUMBER:
        if (!number_parse(option, value, &number, status)) {
            return false;
        }
        memcpy(base, &number, sizeof(number));
        return true;
    case OPTION_FLAG:
    default: return true;
    }
}

bool
shoal_config_parse(int argc, char **argv, shoal_config_t *ret_config, shoal_status_t *status)
{
    shoal_config_t config = {.has_journal = true,
                             .lifeline_fd = -1,
                             .ready_fd = -1,
                             .log_level = SHOAL_LOG_INFO,
                             .memory_limit_bytes = 64 * MIB,
                             .spool_limit_bytes = 16384 * MIB,
                             .heartbeat_ms = 1000,
                             .liveness_ms = 5000,
                             .lease_ms = 60000,
                             .retain_hours = 24};
    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        size_t len = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const option_t *option = option_find(argv[i], len);
        if (!option) {
            return shoal_fail(status, SHOAL_INVALID,
                              "unknown option \"%s\"; --help lists the options", argv[i]);
        }
        if (option->kind == OPTION_FLAG) {
            if (equals) {
                return shoal_fail(status, SHOAL_INVALID, "%s takes no value", option->name);
            }
            *((bool *)(void *)((char *)&config + option->offset)) = true;
            continue;
        }
        const char *value = equals ? equals + 1 : argv[++i]; // argv ends with NULL
        if (!value) {
            return shoal_fail(status, SHOAL_INVALID, "%s needs a value", option->name);
        }
        if (!option_set(option, value, &config, status)) {
            return false;
        }
    }
    bool runs = !config.wants_help && !config.wants_version && !config.check_journal &&
                !config.dump_journal;
    if (runs && (!config.listen || !config.state)) {
        return shoal_fail(status, SHOAL_INVALID, "%s is missing; --help shows an example",
                          config.listen ? "--state DIR" : "--listen ENDPOINT");
    }
    if (config.liveness_ms <= config.heartbeat_ms) {
        return shoal_fail(status, SHOAL_INVALID, "--liveness-ms must be above --heartbeat-ms");
    }
    *ret_config = config;
    return true;
}
