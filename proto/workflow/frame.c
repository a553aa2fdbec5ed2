// SPDX-License-Identifier: Apache-2.0
//
// frame.c - see frame.h.
//
// Design: a table for each map of the frame. What a connector says about its own keys stands in its
// own tables (connectors/options.h) and is checked by the worker; here it is OF_CONNECTOR.

#include "proto/workflow/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "proto/base/nearest.h"

typedef enum entry_type {
    OF_CONNECTOR, // any map, not looked into
    TEXT,
    WORD,   // one of `words`, in any case
    COUNT,  // a whole number within [min, max], or one of `words`
    NUMBER, // with or without a fraction, within [min, max]
    FLAG,   // true false yes no on off
    MAP,    // with the keys of `inside`
    STEPS,  // such a map or a list of them
    OTHER,  // anything; `note` says why it has no meaning here
} entry_type_t;

typedef struct entry entry_t;
struct entry {
    const char *key; // NULL ends a table
    entry_type_t type;
    bool is_must;
    const char *words; // separated by '|'
    uint64_t min;
    uint64_t max;
    const entry_t *inside;
    const char *note; // a warning where the key is written; is_must: what to do about it
};

#define DAY_SECONDS 86400
#define KEYS_MAX    16 // of one table

static const entry_t connection_keys[] = {
    {.key = "config", .type = OF_CONNECTOR},
    {0},
};

static const entry_t source_keys[] = {
    {.key = "type",
     .type = TEXT,
     .is_must = true,
     .note = "say which source to read, as in \"type: postgres\""},
    {.key = "serviceName", .type = TEXT},
    {.key = "serviceConnection", .type = MAP, .inside = connection_keys},
    {.key = "sourceConfig", .type = MAP, .inside = connection_keys},
    {0},
};

static const entry_t step_keys[] = {
    {.key = "type", .type = TEXT, .is_must = true, .note = "say which one, as in \"type: filter\""},
    {.key = "config", .type = OF_CONNECTOR},
    {0},
};

static const entry_t sink_keys[] = {
    {.key = "type",
     .type = TEXT,
     .is_must = true,
     .note = "say where records go, as in \"type: file\""},
    {.key = "config", .type = OF_CONNECTOR},
    {0},
};

static const entry_t retry_keys[] = {
    {.key = "maxAttempts", .type = COUNT, .min = 1, .max = 100},
    {.key = "backoffSeconds", .type = NUMBER, .min = 0, .max = DAY_SECONDS},
    {.key = "backoffFactor", .type = NUMBER, .min = 1, .max = 100},
    {0},
};

#define ONLY_ON_KUBERNETES "has no meaning here: it is for runs on Kubernetes"

static const entry_t execution_keys[] = {
    {.key = "enabled", .type = FLAG},
    {.key = "orchestrator", .type = WORD, .words = "local|cluster|argo"},
    {.key = "parallelism", .type = COUNT, .words = "auto", .min = 1, .max = 1024},
    {.key = "retryPolicy", .type = MAP, .inside = retry_keys},
    {.key = "sourceConnectionBudget", .type = COUNT, .min = 1, .max = 10000},
    {.key = "sourceCallsPerSecond", .type = COUNT, .min = 1, .max = 1000000},
    {.key = "timeoutSeconds", .type = NUMBER, .min = 0, .max = 365 * (uint64_t)DAY_SECONDS},
    {.key = "shardTimeoutSeconds", .type = NUMBER, .min = 0, .max = 365 * (uint64_t)DAY_SECONDS},
    {.key = "resourceRequests", .type = OTHER, .note = ONLY_ON_KUBERNETES},
    {.key = "resourceLimits", .type = OTHER, .note = ONLY_ON_KUBERNETES},
    {.key = "namespace", .type = OTHER, .note = ONLY_ON_KUBERNETES},
    {.key = "image", .type = OTHER, .note = ONLY_ON_KUBERNETES},
    {.key = "serviceAccountName", .type = OTHER, .note = ONLY_ON_KUBERNETES},
    {0},
};

static const entry_t config_keys[] = {
    {.key = "loggerLevel", .type = WORD, .words = "DEBUG|INFO|WARN|WARNING|ERROR"},
    {.key = "raiseOnError",
     .type = FLAG,
     .note = "has no meaning here: successThreshold says when a job has failed"},
    {.key = "successThreshold", .type = COUNT, .min = 0, .max = 100},
    {.key = "openMetadataServerConfig", .type = OF_CONNECTOR},
    {.key = "config", .type = OF_CONNECTOR},
    {.key = "distributedExecution", .type = MAP, .inside = execution_keys},
    {0},
};

#define ONLY_FOR_USAGE  "has no meaning here: it belongs to usage workflows, which come later"
#define ONLY_FOR_SERVER "has no meaning here: it is for runs that OpenMetadata's server starts"

static const entry_t root_keys[] = {
    {.key = "source",
     .type = MAP,
     .is_must = true,
     .inside = source_keys,
     .note = "say what to read, as in \"source: {type: postgres, ...}\""},
    {.key = "processor", .type = STEPS, .inside = step_keys},
    {.key = "stage", .type = OTHER, .note = ONLY_FOR_USAGE},
    {.key = "sink",
     .type = MAP,
     .is_must = true,
     .inside = sink_keys,
     .note = "say where records go, as in \"sink: {type: file, config: {filename: out.jsonl}}\""},
    {.key = "bulkSink", .type = OTHER, .note = ONLY_FOR_USAGE},
    {.key = "workflowConfig", .type = MAP, .inside = config_keys},
    {.key = "sharding", .type = OF_CONNECTOR},
    {.key = "ingestionPipelineFQN", .type = OTHER, .note = ONLY_FOR_SERVER},
    {.key = "pipelineRunId", .type = OTHER, .note = ONLY_FOR_SERVER},
    {.key = "enableStreamableLogs", .type = OTHER, .note = ONLY_FOR_SERVER},
    {.key = "ingestionRunnerName", .type = OTHER, .note = ONLY_FOR_SERVER},
    {0},
};

typedef struct check {
    shoal_document_t *document;
    bool is_lenient;
    shoal_warnings_t *warnings;
    shoal_buffer_t path;
} check_t;

static void
warn(check_t *check, const shoal_node_t *node, const char *text)
{
    shoal_warnings_t *warnings = check->warnings;
    if (warnings->count > SHOAL_WARNINGS_MAX) {
        return;
    }
    const char *name = shoal_document_name(check->document);
    const char *path = shoal_buffer_text(&check->path);
    if (warnings->count == SHOAL_WARNINGS_MAX) {
        shoal_buffer_append_format(&warnings->texts, "%s: more warnings are left out", name);
    } else if (node->line > 0) {
        shoal_buffer_append_format(&warnings->texts, "%s:%u: %s: %s", name, node->line, path, text);
    } else {
        shoal_buffer_append_format(&warnings->texts, "--set: %s: %s", path, text);
    }
    shoal_buffer_append_byte(&warnings->texts, '\0');
    warnings->count++;
}

static bool
wrong_type(check_t *check, const shoal_node_t *node, const char *wanted, shoal_status_t *status)
{
    const char *path = shoal_buffer_text(&check->path);
    if (node->kind != SHOAL_NODE_TEXT) {
        return shoal_document_fail(check->document, node->line, path, status,
                                   "must be %s, but is %s", wanted,
                                   shoal_node_kind_name(node->kind));
    }
    return shoal_document_fail(check->document, node->line, path, status,
                               "must be %s, not \"%.100s\"", wanted, node->text);
}

// Whether `text` is one of `words`, in any case.
static bool
is_one_of(const char *text, const char *words)
{
    size_t len = strlen(text);
    while (words && *words) {
        size_t word_len = strcspn(words, "|");
        if (len == word_len && strncasecmp(text, words, len) == 0) {
            return true;
        }
        words += word_len + (words[word_len] == '|');
    }
    return false;
}

// A number written as digits, with a fraction if `may_have_fraction`.
static bool
number_of(const char *text, bool may_have_fraction, double *ret_number)
{
    size_t digits = strspn(text, "0123456789");
    size_t len = digits;
    if (may_have_fraction && text[len] == '.') {
        size_t fraction = strspn(text + len + 1, "0123456789");
        len += fraction > 0 ? 1 + fraction : 0;
    }
    if (digits == 0 || digits > 15 || len > 64 || text[len] != '\0') {
        return false;
    }
    *ret_number = strtod(text, NULL);
    return true;
}

static bool
check_number(check_t *check, const entry_t *entry, const shoal_node_t *node, shoal_status_t *status)
{
    double number = 0;
    if (node->kind == SHOAL_NODE_TEXT &&
        (is_one_of(node->text, entry->words) ||
         (number_of(node->text, entry->type == NUMBER, &number) && number >= (double)entry->min &&
          number <= (double)entry->max))) {
        return true;
    }
    char wanted[128];
    (void)snprintf(wanted, sizeof(wanted), "a %s from %llu to %llu%s%s",
                   entry->type == NUMBER ? "number" : "whole number",
                   (unsigned long long)entry->min, (unsigned long long)entry->max,
                   entry->words ? ", or " : "", entry->words ? entry->words : "");
    return wrong_type(check, node, wanted, status);
}

static bool
check_word(check_t *check, const entry_t *entry, const shoal_node_t *node, shoal_status_t *status)
{
    if (node->kind == SHOAL_NODE_TEXT && is_one_of(node->text, entry->words)) {
        return true;
    }
    char wanted[128] = "one of ";
    size_t len = strlen(wanted);
    for (const char *at = entry->words; *at && len + 3 < sizeof(wanted); at++) {
        wanted[len++] = *at == '|' ? ',' : *at;
        if (*at == '|') {
            wanted[len++] = ' ';
        }
    }
    wanted[len] = '\0';
    return wrong_type(check, node, wanted, status);
}

static bool
check_flag(check_t *check, const entry_t *entry, const shoal_node_t *node, shoal_status_t *status)
{
    if (node->kind != SHOAL_NODE_TEXT || !is_one_of(node->text, "true|false|yes|no|on|off")) {
        return wrong_type(check, node, "true or false", status);
    }
    if (entry->note) {
        warn(check, node, entry->note);
    }
    return true;
}

static bool
unknown_key(check_t *check, const entry_t *table, const shoal_node_t *node, shoal_status_t *status)
{
    const char *names[KEYS_MAX + 1];
    size_t count = 0;
    shoal_buffer_t known = SHOAL_BUFFER_INIT;
    for (; count < KEYS_MAX && table[count].key; count++) {
        names[count] = table[count].key;
        shoal_buffer_append_format(&known, "%s%s", count ? ", " : "", table[count].key);
    }
    names[count] = NULL;
    const char *nearest = shoal_nearest(node->key, names);
    char text[512];
    if (nearest) {
        (void)snprintf(text, sizeof(text), "unknown key; did you mean \"%s\"?", nearest);
    } else {
        (void)snprintf(text, sizeof(text), "unknown key; known here are %s",
                       shoal_buffer_text(&known));
    }
    shoal_buffer_fini(&known);
    if (check->is_lenient) {
        warn(check, node, text);
        return true;
    }
    return shoal_document_fail(check->document, node->line, shoal_buffer_text(&check->path), status,
                               "%s", text);
}

static bool check_map(check_t *check, const entry_t *table, const shoal_node_t *map,
                      shoal_status_t *status); // a table may have tables inside

static bool
check_steps(check_t *check, const entry_t *entry, const shoal_node_t *node, shoal_status_t *status)
{
    if (node->kind != SHOAL_NODE_LIST) {
        return check_map(check, entry->inside, node, status);
    }
    size_t len = check->path.len;
    unsigned index = 0;
    for (const shoal_node_t *step = node->first; step; step = step->next) {
        shoal_buffer_append_format(&check->path, "[%u]", index++);
        if (!check_map(check, entry->inside, step, status)) {
            return false;
        }
        check->path.len = len;
    }
    return true;
}

static bool
check_entry(check_t *check, const entry_t *entry, const shoal_node_t *node, shoal_status_t *status)
{
    if (node->kind == SHOAL_NODE_NULL) {
        return true; // as if it were not written
    }
    switch (entry->type) {
    case TEXT: return node->kind == SHOAL_NODE_TEXT || wrong_type(check, node, "a text", status);
    case WORD: return check_word(check, entry, node, status);
    case COUNT:
    case NUMBER: return check_number(check, entry, node, status);
    case FLAG: return check_flag(check, entry, node, status);
    case MAP: return check_map(check, entry->inside, node, status);
    case STEPS: return check_steps(check, entry, node, status);
    case OTHER: warn(check, node, entry->note); return true;
    case OF_CONNECTOR:
    default: return node->kind == SHOAL_NODE_MAP || wrong_type(check, node, "a map", status);
    }
}

static void
push(check_t *check, const char *key)
{
    shoal_buffer_append_format(&check->path, "%s%s", check->path.len > 0 ? "." : "", key);
}

static bool
check_missing(check_t *check, const entry_t *table, const shoal_node_t *map, shoal_status_t *status)
{
    for (const entry_t *entry = table; entry->key; entry++) {
        const shoal_node_t *member = shoal_node_member(map, entry->key);
        if (!entry->is_must || (member && member->kind != SHOAL_NODE_NULL &&
                                (member->kind != SHOAL_NODE_TEXT || member->text[0]))) {
            continue;
        }
        push(check, entry->key);
        return shoal_document_fail(check->document, member ? member->line : map->line,
                                   shoal_buffer_text(&check->path), status, "%s; %s",
                                   member ? "is empty" : "is missing", entry->note);
    }
    return true;
}

static bool
check_map(check_t *check, const entry_t *table, const shoal_node_t *map, shoal_status_t *status)
{
    if (map->kind != SHOAL_NODE_MAP) {
        return wrong_type(check, map, "a map", status);
    }
    size_t len = check->path.len;
    for (const shoal_node_t *member = map->first; member; member = member->next) {
        push(check, member->key);
        const entry_t *entry = table;
        while (entry->key && strcmp(entry->key, member->key) != 0) {
            entry++;
        }
        if (!(entry->key ? check_entry(check, entry, member, status)
                         : unknown_key(check, table, member, status))) {
            return false;
        }
        check->path.len = len;
    }
    return check_missing(check, table, map, status);
}

static const shoal_node_t *
find(const shoal_document_t *document, const char *path)
{
    shoal_node_t *nearest = NULL;
    return shoal_node_find(shoal_document_root(document), path, &nearest);
}

// The text at `path`, or NULL.
static const char *
text_at(const shoal_document_t *document, const char *path)
{
    const shoal_node_t *node = find(document, path);
    return node && node->kind == SHOAL_NODE_TEXT ? node->text : NULL;
}

#define EXECUTION "workflowConfig.distributedExecution."

bool
shoal_frame_check(shoal_document_t *document, bool is_lenient, shoal_warnings_t *warnings,
                  shoal_status_t *status)
{
    const shoal_node_t *root = shoal_document_root(document);
    if (root->kind != SHOAL_NODE_MAP) {
        return shoal_document_fail(document, root->line, "", status,
                                   "not a workflow: must be a map with source and sink, but is %s",
                                   shoal_node_kind_name(root->kind));
    }
    const char *orchestrator = text_at(document, EXECUTION "orchestrator");
    if (orchestrator && strcasecmp(orchestrator, "argo") == 0) {
        return shoal_document_fail(document, find(document, EXECUTION "orchestrator")->line,
                                   EXECUTION "orchestrator", status,
                                   "argo comes in a later version; use local or cluster");
    }
    const shoal_node_t *bulk_sink = shoal_node_member(root, "bulkSink");
    if (bulk_sink && !shoal_node_member(root, "sink")) {
        return shoal_document_fail(document, bulk_sink->line, "bulkSink", status,
                                   "usage workflows (stage, bulkSink) come in a later version");
    }
    check_t check = {document, is_lenient, warnings, SHOAL_BUFFER_INIT};
    bool done = check_map(&check, root_keys, root, status);
    shoal_buffer_fini(&check.path);
    return done;
}

// The number at `path`, which has been checked; `preset` if there is none.
static double
number_at(const shoal_document_t *document, const char *path, double preset)
{
    const char *text = text_at(document, path);
    double number = 0;
    return text && number_of(text, true, &number) ? number : preset;
}

static uint64_t
ms_at(const shoal_document_t *document, const char *path, double preset_seconds)
{
    return (uint64_t)(number_at(document, path, preset_seconds) * 1000 + 0.5);
}

// The level's name as log.h has it.
static const char *
level_named(const char *word)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    for (size_t i = 0; word && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strncasecmp(word, names[i], strlen(names[i])) == 0) { // "WARNING" is Python's WARN
            return names[i];
        }
    }
    return "INFO";
}

void
shoal_frame_run(const shoal_document_t *document, shoal_workflow_run_t *ret_run)
{
    const char *name = text_at(document, "source.serviceName");
    const char *enabled = text_at(document, EXECUTION "enabled");
    const char *orchestrator = text_at(document, EXECUTION "orchestrator");
    double threads = number_at(document, "source.sourceConfig.config.threads", 0);
    bool is_sequential = enabled && is_one_of(enabled, "false|no|off");
    *ret_run = (shoal_workflow_run_t){
        .name = name && *name ? name : text_at(document, "source.type"),
        .log_level = level_named(text_at(document, "workflowConfig.loggerLevel")),
        .parallelism =
            is_sequential ? 1 : (unsigned)number_at(document, EXECUTION "parallelism", 0),
        .parallelism_cap = threads > 1 && threads <= 1024 ? (unsigned)threads : 0,
        .is_sequential = is_sequential,
        .is_cluster = orchestrator && strcasecmp(orchestrator, "cluster") == 0,
        .max_attempts = (unsigned)number_at(document, EXECUTION "retryPolicy.maxAttempts", 3),
        .backoff_ms = ms_at(document, EXECUTION "retryPolicy.backoffSeconds", 1),
        .backoff_factor = number_at(document, EXECUTION "retryPolicy.backoffFactor", 2),
        .source_connections = (unsigned)number_at(document, EXECUTION "sourceConnectionBudget", 0),
        .source_calls_per_second =
            (unsigned)number_at(document, EXECUTION "sourceCallsPerSecond", 0),
        .timeout_ms = ms_at(document, EXECUTION "timeoutSeconds", 0),
        .shard_timeout_ms = ms_at(document, EXECUTION "shardTimeoutSeconds", 0),
        .success_threshold = (int)number_at(document, "workflowConfig.successThreshold", -1),
        .sink_filename = text_at(document, "sink.config.filename"),
    };
}
