// SPDX-License-Identifier: Apache-2.0
//
// chaos.c - a source whose records are known beforehand, and whose behaviour the workflow fixes.
//
// `plan` lists the shards: which records they have, how large and how slow they are, which of them
// are bad, and how the first tries at them end. A try that misbehaves leaves a file in `marks`, so
// that the next one, wherever it runs, knows that it was there. As a processor the module gives up
// the records that the source has marked as poison. For tests/chaos.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "connectors/connector.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define SHARDS_MAX  1000
#define SCOPES_MAX  64
#define RECORD_MAX  33554432
#define MANNERS     "steady|refuse|break|stall|hang|die|crash"
#define CURSOR_STEP 4 // shards between two cursors of discovery

typedef struct entry {
    uint32_t number; // of its shard
    uint32_t scope;
    uint64_t first;   // number of its first record
    uint64_t records; // how many it lists
    uint64_t bytes;   // of padding in each
    uint64_t pause_every;
    uint64_t pause_ms;
    uint64_t bad_every;    // every n-th record cannot be read
    uint64_t poison_every; // every n-th record is given up by the processor
    uint64_t tries;        // that end in `manner`
    char manner[8];
} entry_t;

typedef struct chaos {
    const shoal_options_t *options;
    const shoal_host_t *host;
    entry_t *entries;
    uint32_t entry_count;
    uint32_t scope_count;
    int never_fd; // nothing ever comes on it
} chaos_t;

static const shoal_option_t connection[] = {
    {.path = "type", .help = "not used"},
    {.path = "marks", .flags = SHOAL_OPTION_MUST, .help = "folder where tries leave their marks"},
    {.path = "plan", .type = SHOAL_OPTION_VALUE, .flags = SHOAL_OPTION_MUST, .help = "the shards"},
    {.path = "pause_ms", .type = SHOAL_OPTION_COUNT, .help = "between two shards of discovery"},
    {.path = NULL},
};

static const shoal_option_t options[] = {{.path = NULL}};

static const shoal_option_t plan_options[] = {
    {.path = "scope", .type = SHOAL_OPTION_COUNT, .preset = "1", .min = 1, .max = SCOPES_MAX},
    {.path = "first", .type = SHOAL_OPTION_COUNT},
    {.path = "records", .type = SHOAL_OPTION_COUNT},
    {.path = "bytes", .type = SHOAL_OPTION_COUNT, .max = RECORD_MAX},
    {.path = "pause_every", .type = SHOAL_OPTION_COUNT},
    {.path = "pause_ms", .type = SHOAL_OPTION_COUNT},
    {.path = "bad_every", .type = SHOAL_OPTION_COUNT},
    {.path = "poison_every", .type = SHOAL_OPTION_COUNT},
    {.path = "tries", .type = SHOAL_OPTION_COUNT},
    {.path = "manner", .preset = "steady", .choices = MANNERS},
    {.path = NULL},
};

// ---- the plan

static bool
entry_add(void *ctx, const shoal_options_t *from, shoal_status_t *status)
{
    chaos_t *chaos = ctx;
    if (chaos->entry_count == SHARDS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a plan has at most %d shards", SHARDS_MAX);
    }
    entry_t *entry = &chaos->entries[chaos->entry_count++];
    *entry = (entry_t){
        .scope = (uint32_t)shoal_options_count(from, "scope"),
        .first = shoal_options_count(from, "first"),
        .records = shoal_options_count(from, "records"),
        .bytes = shoal_options_count(from, "bytes"),
        .pause_every = shoal_options_count(from, "pause_every"),
        .pause_ms = shoal_options_count(from, "pause_ms"),
        .bad_every = shoal_options_count(from, "bad_every"),
        .poison_every = shoal_options_count(from, "poison_every"),
        .tries = shoal_options_count(from, "tries"),
    };
    (void)snprintf(entry->manner, sizeof(entry->manner), "%s", shoal_options_text(from, "manner"));
    if (entry->scope > chaos->scope_count) {
        chaos->scope_count = entry->scope;
    }
    return true;
}

static void
close_source(void *source)
{
    chaos_t *chaos = source;
    if (chaos) {
        (void)close(chaos->never_fd);
        free(chaos->entries);
        free(chaos);
    }
}

static bool
open_source(const shoal_options_t *config, const char *service, const shoal_host_t *host,
            void **ret_source, shoal_status_t *status)
{
    (void)service;
    chaos_t *chaos = shoal_alloc(sizeof(*chaos));
    chaos->options = config;
    chaos->host = host;
    chaos->entries = shoal_alloc(SHARDS_MAX * sizeof(entry_t));
    chaos->never_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!shoal_options_each(config, "plan", plan_options, entry_add, chaos, status)) {
        close_source(chaos);
        return false;
    }
    for (uint32_t i = 0; i < chaos->entry_count; i++) {
        chaos->entries[i].number = chaos->scope_count + 1 + i; // after the shards of the scopes
    }
    *ret_source = chaos;
    return true;
}

static bool
check(void *source, shoal_status_t *status)
{
    const chaos_t *chaos = source;
    const char *marks = shoal_options_text(chaos->options, "marks");
    return access(marks, W_OK) == 0 ||
           shoal_fail_errno(status, errno, "cannot write into \"%s\"", marks);
}

static bool
pause_for(const chaos_t *chaos, uint64_t timeout_ms, shoal_status_t *status)
{
    if (timeout_ms == 0 ||
        chaos->host->wait(chaos->host->ctx, chaos->never_fd, 1 /*POLLIN*/, timeout_ms, status)) {
        return true;
    }
    if (status->code == SHOAL_TIMEOUT) {
        shoal_status_clear(status);
        return true;
    }
    return false;
}

// ---- discovery

static bool
put_scopes(const chaos_t *chaos, const shoal_discovery_t *to, shoal_status_t *status)
{
    for (uint32_t scope = 1; scope <= chaos->scope_count; scope++) {
        char name[64];
        uint64_t listed = 0;
        for (uint32_t i = 0; i < chaos->entry_count; i++) {
            listed += chaos->entries[i].scope == scope ? chaos->entries[i].records : 0;
        }
        (void)snprintf(name, sizeof(name), "chaos.scope%u", scope);
        shoal_shard_t parent = {.number = scope,
                                .stage = SHOAL_STAGE_PREPARE,
                                .title = name,
                                .args = SHOAL_SLICE("\xc0")};
        if (!to->scope(to->ctx, scope, name, "records", status) ||
            !to->scope_end(to->ctx, scope, listed, status) ||
            !to->shard(to->ctx, &parent, status)) {
            return false;
        }
    }
    return true;
}

static bool
put_shard(const entry_t *entry, uint32_t index, const shoal_discovery_t *to, shoal_status_t *status)
{
    char title[64];
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    shoal_expectation_t expects = {entry->scope, entry->records};
    (void)snprintf(title, sizeof(title), "records %" PRIu64 "..%" PRIu64, entry->first,
                   entry->first + entry->records);
    shoal_write_uint(&args, index);
    shoal_shard_t shard = {
        .number = entry->number,
        .stage = SHOAL_STAGE_MAP,
        .needs = entry->scope,
        .cost_us =
            entry->records * 20 +
            (entry->pause_every ? entry->records / entry->pause_every : 0) * entry->pause_ms * 1000,
        .title = title,
        .expects = &expects,
        .expect_count = 1,
        .args = shoal_buffer_slice(&args),
    };
    bool done = to->shard(to->ctx, &shard, status);
    shoal_buffer_fini(&args);
    return done;
}

static bool
put_cursor(uint32_t index, const shoal_discovery_t *to, shoal_status_t *status)
{
    shoal_buffer_t cursor = SHOAL_BUFFER_INIT;
    shoal_write_uint(&cursor, index);
    bool done = to->cursor(to->ctx, shoal_buffer_slice(&cursor), status);
    shoal_buffer_fini(&cursor);
    return done;
}

// A new attempt goes on at the shard that the last cursor names.
static bool
discover(void *source, shoal_slice_t resume, const shoal_discovery_t *to, shoal_status_t *status)
{
    const chaos_t *chaos = source;
    uint64_t pause_ms = shoal_options_count(chaos->options, "pause_ms");
    shoal_cursor_t cursor = shoal_cursor_over(resume);
    uint32_t from = resume.len > 0 ? (uint32_t)shoal_cursor_uint(&cursor) : 0;
    if (resume.len == 0 && !put_scopes(chaos, to, status)) {
        return false;
    }
    for (uint32_t i = from; i < chaos->entry_count; i++) {
        if (!put_shard(&chaos->entries[i], i, to, status) ||
            ((i + 1) % CURSOR_STEP == 0 && !put_cursor(i + 1, to, status)) ||
            !pause_for(chaos, pause_ms, status)) {
            return false;
        }
    }
    return true;
}

// ---- reading

// Whether this try is one that misbehaves: the first `tries` of them are, and each leaves a mark.
static bool
is_a_bad_try(const chaos_t *chaos, const entry_t *entry)
{
    for (uint64_t i = 1; i <= entry->tries; i++) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/shard-%u-try-%" PRIu64,
                       shoal_options_text(chaos->options, "marks"), entry->number, i);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0) {
            (void)close(fd);
            return true;
        }
    }
    return false;
}

static bool
misbehave(const chaos_t *chaos, const entry_t *entry, shoal_status_t *status)
{
    if (strcmp(entry->manner, "refuse") == 0) {
        return shoal_fail(status, SHOAL_UNAVAILABLE, "the source takes no more connections");
    }
    if (strcmp(entry->manner, "break") == 0) {
        return shoal_fail(status, SHOAL_UNAVAILABLE, "the source closed the connection");
    }
    if (strcmp(entry->manner, "stall") == 0) { // until the head gives it up
        return pause_for(chaos, SHOAL_TIME_NEVER, status);
    }
    while (strcmp(entry->manner, "hang") == 0) { // whatever anyone says
        (void)pause();
    }
    (void)raise(strcmp(entry->manner, "crash") == 0 ? SIGSEGV : SIGKILL);
    return true;
}

static bool
is_every(uint64_t every, uint64_t index)
{
    return every > 0 && index % every == every - 1;
}

static void
write_record(shoal_buffer_t *out, const entry_t *entry, uint64_t number, bool is_poison,
             const char *padding)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "r%" PRIu64, number);
    shoal_write_map(out, is_poison ? 4 : 3);
    shoal_write_key(out, "kind");
    shoal_write_key(out, "table");
    shoal_write_key(out, "name");
    shoal_write_text(out, name);
    shoal_write_key(out, "padding");
    shoal_write_str(out, (shoal_slice_t){padding, entry->bytes});
    if (is_poison) {
        shoal_write_key(out, "poison");
        shoal_write_bool(out, true);
    }
}

static bool
put_record(const chaos_t *chaos, const entry_t *entry, uint64_t index, const char *padding,
           const shoal_emitter_t *to, shoal_status_t *status)
{
    if (is_every(entry->pause_every, index) && !pause_for(chaos, entry->pause_ms, status)) {
        return false;
    }
    uint64_t number = entry->first + index;
    if (is_every(entry->bad_every, index)) {
        shoal_status_t why = SHOAL_STATUS_INIT;
        char name[32];
        (void)snprintf(name, sizeof(name), "r%" PRIu64, number);
        (void)shoal_fail_as(&why, SHOAL_DATA, SHOAL_INVALID, "the record is bad");
        to->failed(to->ctx, entry->scope, name, &why);
        return true;
    }
    bool is_poison = is_every(entry->poison_every, index);
    write_record(to->begin(to->ctx), entry, number, is_poison, padding);
    return to->record(to->ctx, entry->scope, "table", status);
}

static bool
read_entry(const chaos_t *chaos, const entry_t *entry, const shoal_emitter_t *to,
           shoal_status_t *status)
{
    bool is_bad = is_a_bad_try(chaos, entry);
    uint64_t until = is_bad && strcmp(entry->manner, "refuse") != 0 ? entry->records / 2 : 0;
    char *padding = shoal_alloc(entry->bytes + 1);
    memset(padding, 'x', entry->bytes);
    bool done = true;
    for (uint64_t i = 0; done && i < (is_bad ? until : entry->records); i++) {
        done = put_record(chaos, entry, i, padding, to, status);
    }
    free(padding);
    return done && (!is_bad || misbehave(chaos, entry, status));
}

static bool
read_shard(void *source, shoal_stage_t stage, shoal_slice_t args, const shoal_emitter_t *to,
           shoal_status_t *status)
{
    const chaos_t *chaos = source;
    if (stage != SHOAL_STAGE_MAP) {
        return true; // a scope's parent has no records; others wait for it
    }
    shoal_cursor_t cursor = shoal_cursor_over(args);
    uint64_t index = shoal_cursor_uint(&cursor);
    if (cursor.is_bad || index >= chaos->entry_count) {
        return shoal_fail(status, SHOAL_INTERNAL, "the plan has no such shard");
    }
    return read_entry(chaos, &chaos->entries[index], to, status);
}

// ---- the processor

static bool
open_processor(const shoal_options_t *config, const shoal_host_t *host, void **ret_processor,
               shoal_status_t *status)
{
    (void)config;
    (void)host;
    (void)status;
    *ret_processor = NULL; // nothing to remember from record to record
    return true;
}

static void
close_processor(void *processor)
{
    (void)processor;
}

static bool
process(void *processor, shoal_slice_t record, shoal_buffer_t *out, shoal_verdict_t *ret_verdict,
        shoal_status_t *status)
{
    (void)processor;
    (void)out;
    shoal_slice_t value;
    if (shoal_map_find(record, "poison", &value)) {
        return shoal_fail_as(status, SHOAL_DATA, SHOAL_INVALID, "the record is poison");
    }
    *ret_verdict = SHOAL_VERDICT_KEEP;
    return true;
}

static const shoal_source_ops_t source_ops = {
    .open = open_source,
    .close = close_source,
    .check = check,
    .discover = discover,
    .read = read_shard,
};

static const shoal_processor_ops_t processor_ops = {
    .open = open_processor,
    .close = close_processor,
    .process = process,
};

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "chaos",
    .summary = "records that are known beforehand; for tests",
    .source = &source_ops,
    .processor = &processor_ops,
    .connection = connection,
    .options = options,
};
