// SPDX-License-Identifier: Apache-2.0
//
// example.c - a source to copy: tables from a text file. connectors/README.md walks through it.
//
// One table a line, its columns with their types after a colon; lines with '#' are comments:
//
//     orders: id bigint, customer_id bigint, note text

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "connectors/catalogue.h"
#include "connectors/connector.h"
#include "connectors/patterns.h"
#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define FILE_BYTES_MAX 67108864 // everything from outside has a limit
#define COLUMNS_MAX    1000     // of one table

enum { SCOPE_TABLES = 1 }; // the one thing whose members are counted

// ---- 1. Options: every key of the workflow file that this source knows.

static const shoal_option_t connection[] = {
    {.path = "type", .help = "as in workflow files of OpenMetadata; not used"},
    {.path = "path", .flags = SHOAL_OPTION_MUST, .help = "the text file, on the worker's host"},
    {.path = NULL},
};

static const shoal_option_t options[] = {
    {.path = "tableFilterPattern", .type = SHOAL_OPTION_PATTERN},
    {.path = NULL},
};

static const shoal_option_t sharding[] = {
    {.path = "type", .preset = "table_count", .choices = "auto|table_count"},
    {.path = "tables_per_shard",
     .type = SHOAL_OPTION_COUNT,
     .preset = "1000",
     .min = 1,
     .max = 1000000},
    {.path = NULL},
};

static const char template_text[] =
    "source:\n"
    "  type: example\n"
    "  serviceName: example\n"
    "  serviceConnection:\n"
    "    config:\n"
    "      path: tables.txt   # one table a line: name: column type, ...\n"
    "  sourceConfig:\n"
    "    config:\n"
    "      tableFilterPattern:\n"
    "        excludes: [\"^tmp_\"]\n"
    "sink:\n"
    "  type: file\n"
    "  config:\n"
    "    filename: records.jsonl\n";

// ---- 2. An instance: what stays from call to call. Each slot has its own.

typedef struct example {
    const shoal_options_t *options;
    const shoal_host_t *host;
    shoal_patterns_t *tables;
    shoal_slice_t service;     // the service's name
    shoal_buffer_t schema_fqn; // SERVICE.default.default
    shoal_buffer_t text;       // the file
} example_t;

static void
close_example(void *source)
{
    example_t *example = source;
    shoal_patterns_destroy(&example->tables);
    shoal_buffer_fini(&example->schema_fqn);
    shoal_buffer_fini(&example->text);
    free(example);
}

static bool
open_example(const shoal_options_t *config, const char *service, const shoal_host_t *host,
             void **ret_source, shoal_status_t *status)
{
    example_t *example = shoal_alloc(sizeof(*example));
    example->options = config;
    example->host = host;
    example->service = shoal_slice_of(service);
    if (!shoal_patterns_new(config, "tableFilterPattern", &example->tables, status)) {
        close_example(example);
        return false;
    }
    shoal_buffer_t database = SHOAL_BUFFER_INIT;
    shoal_catalogue_fqn(&database, example->service, SHOAL_SLICE("default"));
    shoal_catalogue_fqn(&example->schema_fqn, shoal_buffer_slice(&database),
                        SHOAL_SLICE("default"));
    shoal_buffer_fini(&database);
    *ret_source = example;
    return true;
}

// ---- 3. Check: can the job work at all? A failure names the key that is to blame.

static bool
load(example_t *example, shoal_status_t *status)
{
    const char *path = shoal_options_text(example->options, "path");
    FILE *file = fopen(path, "r");
    size_t got = 0;
    if (!file) {
        shoal_fail_errno(status, errno, "cannot open \"%s\"", path);
        return shoal_fail_blame(status, shoal_options_key(example->options, "path"));
    }
    shoal_buffer_clear(&example->text);
    do {
        char *at = shoal_buffer_reserve(&example->text, 65536);
        got = fread(at, 1, 65536, file);
        example->text.len += got;
    } while (got > 0 && example->text.len <= FILE_BYTES_MAX);
    int error = ferror(file) ? errno : 0;
    (void)fclose(file);
    if (error == 0 && example->text.len <= FILE_BYTES_MAX) {
        return true;
    }
    if (error != 0) {
        shoal_fail_errno(status, error, "cannot read \"%s\"", path);
    } else {
        shoal_fail(status, SHOAL_LIMIT, "\"%s\" has more than %d bytes", path, FILE_BYTES_MAX);
    }
    return shoal_fail_blame(status, shoal_options_key(example->options, "path"));
}

static bool
check(void *source, shoal_status_t *status)
{
    return load(source, status);
}

// ---- 4. Discover: list what there is, cheaply, and cut it into shards.

static shoal_slice_t
trim(shoal_slice_t text)
{
    while (text.len > 0 && strchr(" \t\r", text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && strchr(" \t\r", text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

// Cuts the text up to `mark` off *rest; all of it if there is no mark.
static shoal_slice_t
cut(shoal_slice_t *rest, char mark)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, mark, rest->len) : NULL;
    shoal_slice_t piece = {rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len};
    size_t step = piece.len + (end ? 1 : 0);
    rest->ptr = step > 0 ? rest->ptr + step : rest->ptr;
    rest->len -= step;
    return trim(piece);
}

// The next table's line: its name, and its columns' text. False at the end.
static bool
next_table(shoal_slice_t *rest, shoal_slice_t *ret_name, shoal_slice_t *ret_columns)
{
    while (rest->len > 0) {
        *ret_columns = cut(rest, '\n');
        *ret_name = cut(ret_columns, ':');
        if (ret_name->len > 0 && ret_name->ptr[0] != '#') {
            return true;
        }
    }
    return false;
}

// A shard of the lines from byte `from` to byte `to`; its arguments come back to read().
static bool
put_shard(const shoal_discovery_t *to, uint32_t number, size_t from, size_t end, uint64_t tables,
          shoal_status_t *status)
{
    char title[64];
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    shoal_expectation_t expects = {SCOPE_TABLES, tables};
    (void)snprintf(title, sizeof(title), "bytes %zu to %zu", from, end);
    shoal_write_array(&args, 2);
    shoal_write_uint(&args, from);
    shoal_write_uint(&args, end);
    shoal_shard_t shard = {.number = number,
                           .stage = SHOAL_STAGE_MAP,
                           .needs = 1, // the records of database and schema go first
                           .cost_us = tables * 10,
                           .title = title,
                           .expects = &expects,
                           .expect_count = 1,
                           .args = shoal_buffer_slice(&args)};
    bool done = to->shard(to->ctx, &shard, status);
    shoal_buffer_fini(&args);
    return done;
}

static bool
put_shards(example_t *example, const shoal_discovery_t *to, uint64_t *ret_listed,
           shoal_status_t *status)
{
    uint64_t per_shard = shoal_options_count(example->host->sharding, "tables_per_shard");
    shoal_slice_t rest = shoal_buffer_slice(&example->text);
    shoal_slice_t name;
    shoal_slice_t columns;
    uint32_t number = 1;
    uint64_t listed = 0;
    uint64_t kept = 0; // of the shard that is being cut
    size_t from = 0;
    while (next_table(&rest, &name, &columns)) {
        bool keep = false;
        if (!shoal_patterns_keep_slice(example->tables, name, &keep, status)) {
            return false;
        }
        listed++;
        kept += keep ? 1 : 0;
        if (!keep) {
            to->filtered(to->ctx, SCOPE_TABLES, 1);
        }
        size_t end = example->text.len - rest.len;
        if (kept == per_shard) {
            if (!put_shard(to, ++number, from, end, kept, status)) {
                return false;
            }
            from = end;
            kept = 0;
        }
    }
    *ret_listed = listed;
    return kept == 0 || put_shard(to, ++number, from, example->text.len, kept, status);
}

static bool
discover(void *source, shoal_slice_t resume, const shoal_discovery_t *to, shoal_status_t *status)
{
    (void)resume; // it is quick, so a new attempt starts from the beginning
    example_t *example = source;
    uint64_t listed = 0;
    shoal_shard_t parents = {.number = 1, .stage = SHOAL_STAGE_PREPARE, .title = "containers"};
    return load(example, status) &&
           to->scope(to->ctx, SCOPE_TABLES, shoal_buffer_text(&example->schema_fqn), "tables",
                     status) &&
           to->shard(to->ctx, &parents, status) && put_shards(example, to, &listed, status) &&
           to->scope_end(to->ctx, SCOPE_TABLES, listed, status);
}

// ---- 5. Read: the records of one shard.

static bool
read_parents(const example_t *example, const shoal_emitter_t *to, shoal_status_t *status)
{
    shoal_buffer_t database = SHOAL_BUFFER_INIT;
    shoal_slice_t name = SHOAL_SLICE("default");
    shoal_catalogue_fqn(&database, example->service, name);
    shoal_catalogue_service(to->begin(to->ctx), example->service, "CustomDatabase");
    bool done = to->record(to->ctx, 0, "databaseService", status);
    if (done) {
        shoal_catalogue_database(to->begin(to->ctx), name, example->service, SHOAL_SLICE_NONE);
        done = to->record(to->ctx, 0, "database", status);
    }
    if (done) {
        shoal_catalogue_schema(to->begin(to->ctx), name, shoal_buffer_slice(&database),
                               SHOAL_SLICE_NONE);
        done = to->record(to->ctx, 0, "databaseSchema", status);
    }
    shoal_buffer_fini(&database);
    return done;
}

// A word of OpenMetadata's enum for a type of the file.
static shoal_slice_t
data_type(shoal_slice_t type)
{
    static const char *const words[] = {"BIGINT",  "BOOLEAN", "DATE", "DOUBLE",    "INT",
                                        "NUMERIC", "STRING",  "TEXT", "TIMESTAMP", "VARCHAR"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (strlen(words[i]) == type.len && strncasecmp(words[i], type.ptr, type.len) == 0) {
            return shoal_slice_of(words[i]);
        }
    }
    return SHOAL_SLICE("UNKNOWN");
}

// Reads "id bigint, note text" into `columns`, which has room for COLUMNS_MAX.
static bool
parse_columns(shoal_slice_t text, shoal_catalogue_column_t *columns, uint32_t *ret_count,
              shoal_status_t *status)
{
    uint32_t count = 0;
    while (text.len > 0) {
        shoal_slice_t type = cut(&text, ',');
        shoal_slice_t name = cut(&type, ' ');
        type = trim(type);
        if (name.len == 0 || type.len == 0) {
            return shoal_fail_as(status, SHOAL_DATA, SHOAL_INVALID,
                                 "column %u needs a name and a type", count + 1);
        }
        if (count == COLUMNS_MAX) {
            return shoal_fail_as(status, SHOAL_DATA, SHOAL_LIMIT, "more than %d columns",
                                 COLUMNS_MAX);
        }
        columns[count] = (shoal_catalogue_column_t){.name = name,
                                                    .data_type = data_type(type),
                                                    .display = type,
                                                    .position = count + 1,
                                                    .precision = SHOAL_CATALOGUE_NO_NUMBER,
                                                    .scale = SHOAL_CATALOGUE_NO_NUMBER,
                                                    .is_nullable = true};
        count++;
    }
    *ret_count = count;
    return true;
}

// One table. A line that cannot be read is a record given up; the shard goes on.
static bool
read_table(const example_t *example, shoal_slice_t name, shoal_slice_t text,
           shoal_catalogue_column_t *columns, const shoal_emitter_t *to, shoal_status_t *status)
{
    shoal_catalogue_table_t table = {.name = name,
                                     .schema_fqn = shoal_buffer_slice(&example->schema_fqn),
                                     .table_type = "Regular",
                                     .columns = columns};
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (!parse_columns(text, columns, &table.column_count, &why)) {
        char shown[128];
        (void)snprintf(shown, sizeof(shown), "%.*s", SHOAL_SLICE_ARGS(name));
        to->failed(to->ctx, SCOPE_TABLES, shown, &why);
        return true;
    }
    shoal_catalogue_table(to->begin(to->ctx), &table);
    return to->record(to->ctx, SCOPE_TABLES, "table", status);
}

static bool
read_tables(example_t *example, shoal_slice_t args, const shoal_emitter_t *to,
            shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(args);
    (void)shoal_cursor_array(&cursor);
    uint64_t from = shoal_cursor_uint(&cursor);
    uint64_t end = shoal_cursor_uint(&cursor);
    if (!load(example, status)) {
        return false;
    }
    if (cursor.is_bad || from > end || end > example->text.len) {
        return shoal_fail(status, SHOAL_LIMIT,
                          "the file has changed since it was listed: "
                          "it has %zu bytes, %" PRIu64 " are asked for",
                          example->text.len, end);
    }
    shoal_catalogue_column_t *columns = shoal_alloc(COLUMNS_MAX * sizeof(*columns));
    shoal_slice_t rest = {example->text.ptr + from, (size_t)(end - from)};
    shoal_slice_t name;
    shoal_slice_t text;
    bool done = true;
    while (done && next_table(&rest, &name, &text)) {
        bool keep = false;
        done = shoal_patterns_keep_slice(example->tables, name, &keep, status) &&
               (!keep || read_table(example, name, text, columns, to, status));
    }
    free(columns);
    return done;
}

static bool
read_shard(void *source, shoal_stage_t stage, shoal_slice_t args, const shoal_emitter_t *to,
           shoal_status_t *status)
{
    return stage == SHOAL_STAGE_PREPARE ? read_parents(source, to, status)
                                        : read_tables(source, args, to, status);
}

// ---- 6. The module: what the worker finds.

static const shoal_source_ops_t source_ops = {
    .open = open_example,
    .close = close_example,
    .check = check,
    .discover = discover,
    .read = read_shard,
};

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "example",
    .summary = "tables from a text file; a source to copy",
    .template_text = template_text,
    .source = &source_ops,
    .connection = connection,
    .options = options,
    .sharding = sharding,
};
