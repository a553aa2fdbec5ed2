// SPDX-License-Identifier: Apache-2.0
//
// bench_codec.c - nanoseconds to write and to read one record of 2,242 bytes, checked.
//
//   bench_codec [SECONDS]      prints lines "what,bytes,ns_per_record,mb_per_s"
//
// The record is the metadata of a table with 20 columns, the same bytes as the floor's (mpbench).
// Reading fills a structure with slices of the record, looking at every key. "json" is the record
// as a line of JSON.

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "proto/record/writer.h"

#define COLUMNS      20
#define COLUMNS_MAX  64
#define RECORD_BYTES 2242
#define ROUND        256 // records between two looks at the clock

typedef struct column {
    shoal_slice_t name, type, preset, comment;
    uint64_t ordinal;
    bool is_not_null;
} column_t;

typedef struct table {
    shoal_slice_t database, schema, name, kind, comment;
    uint64_t oid, rows, bytes;
    uint32_t column_count, key_count, foreign_count;
    column_t columns[COLUMNS_MAX];
} table_t;

typedef struct bench {
    table_t table;
    char names[COLUMNS][32];
    shoal_buffer_t out;
    shoal_buffer_t record;
    table_t read;
    uint64_t sum; // keeps the compiler from leaving work out
} bench_t;

static void
fill(bench_t *bench)
{
    static const char *const types[] = {
        "bigint", "character varying(120)", "timestamp with time zone", "numeric(18,4)", "boolean",
        "jsonb"};
    table_t *table = &bench->table;
    *table = (table_t){
        .database = SHOAL_SLICE("warehouse"),
        .schema = SHOAL_SLICE("sales_reporting"),
        .name = SHOAL_SLICE("fact_order_line_history"),
        .kind = SHOAL_SLICE("table"),
        .comment =
            SHOAL_SLICE("Order lines with their full change history, loaded nightly from the ERP"),
        .oid = 1234567,
        .rows = 98765432,
        .bytes = 12884901888,
        .column_count = COLUMNS,
        .key_count = 2,
        .foreign_count = 2,
    };
    for (unsigned i = 0; i < COLUMNS; i++) {
        (void)snprintf(bench->names[i], sizeof(bench->names[i]), "order_line_attr_%02u", i);
        table->columns[i] = (column_t){
            .name = shoal_slice_of(bench->names[i]),
            .type = shoal_slice_of(types[i % 6]),
            .preset = shoal_slice_of(i % 4 == 1 ? "now()" : ""),
            .comment =
                shoal_slice_of(i % 3 == 0 ? "business attribute, see the data dictionary" : ""),
            .ordinal = i + 1,
            .is_not_null = i % 2 == 0,
        };
    }
}

static void
write_or_nil(shoal_buffer_t *out, shoal_slice_t text)
{
    if (text.len > 0) {
        shoal_write_str(out, text);
    } else {
        shoal_write_nil(out);
    }
}

static void
write_column(shoal_buffer_t *out, const column_t *column)
{
    shoal_write_map(out, 6);
    shoal_write_key(out, "name");
    shoal_write_str(out, column->name);
    shoal_write_key(out, "type");
    shoal_write_str(out, column->type);
    shoal_write_key(out, "ord");
    shoal_write_uint(out, column->ordinal);
    shoal_write_key(out, "notnull");
    shoal_write_bool(out, column->is_not_null);
    shoal_write_key(out, "default");
    write_or_nil(out, column->preset);
    shoal_write_key(out, "comment");
    write_or_nil(out, column->comment);
}

static void
write_table(shoal_buffer_t *out, const table_t *table)
{
    shoal_write_map(out, 11);
    shoal_write_key(out, "db");
    shoal_write_str(out, table->database);
    shoal_write_key(out, "schema");
    shoal_write_str(out, table->schema);
    shoal_write_key(out, "table");
    shoal_write_str(out, table->name);
    shoal_write_key(out, "kind");
    shoal_write_str(out, table->kind);
    shoal_write_key(out, "comment");
    shoal_write_str(out, table->comment);
    shoal_write_key(out, "oid");
    shoal_write_uint(out, table->oid);
    shoal_write_key(out, "rows");
    shoal_write_uint(out, table->rows);
    shoal_write_key(out, "bytes");
    shoal_write_uint(out, table->bytes);
    shoal_write_key(out, "pk");
    shoal_write_array(out, table->key_count);
    for (uint32_t i = 0; i < table->key_count; i++) {
        shoal_write_str(out, table->columns[i].name);
    }
    shoal_write_key(out, "fk");
    shoal_write_array(out, table->foreign_count);
    for (uint32_t i = 0; i < table->foreign_count; i++) {
        shoal_write_map(out, 2);
        shoal_write_key(out, "col");
        shoal_write_str(out, table->columns[i].name);
        shoal_write_key(out, "ref");
        shoal_write_str(out, SHOAL_SLICE("sales_reporting.dim_customer.customer_id"));
    }
    shoal_write_key(out, "columns");
    shoal_write_array(out, table->column_count);
    for (uint32_t i = 0; i < table->column_count; i++) {
        write_column(out, &table->columns[i]);
    }
}

#define IS(slice, literal)                                                                         \
    ((slice).len == sizeof(literal) - 1 && memcmp((slice).ptr, (literal), (slice).len) == 0)

static void
read_column(shoal_cursor_t *cursor, column_t *column)
{
    uint32_t pairs = shoal_cursor_map(cursor);
    for (uint32_t i = 0; i < pairs && !cursor->is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(cursor);
        if (IS(key, "name")) {
            column->name = shoal_cursor_str(cursor);
        } else if (IS(key, "type")) {
            column->type = shoal_cursor_str(cursor);
        } else if (IS(key, "ord")) {
            column->ordinal = shoal_cursor_uint(cursor);
        } else if (IS(key, "notnull")) {
            column->is_not_null = shoal_cursor_bool(cursor);
        } else if (IS(key, "default")) {
            column->preset = shoal_cursor_str_or_nil(cursor);
        } else if (IS(key, "comment")) {
            column->comment = shoal_cursor_str_or_nil(cursor);
        } else {
            shoal_cursor_skip(cursor);
        }
    }
}

static uint32_t
skip_items(shoal_cursor_t *cursor)
{
    uint32_t count = shoal_cursor_array(cursor);
    for (uint32_t i = 0; i < count && !cursor->is_bad; i++) {
        shoal_cursor_skip(cursor);
    }
    return count;
}

static void
read_columns(shoal_cursor_t *cursor, table_t *table)
{
    table->column_count = shoal_cursor_array(cursor);
    for (uint32_t i = 0; i < table->column_count && i < COLUMNS_MAX && !cursor->is_bad; i++) {
        read_column(cursor, &table->columns[i]);
    }
}

static bool
read_table(shoal_slice_t record, table_t *table)
{
    shoal_cursor_t cursor = shoal_cursor_over(record);
    uint32_t pairs = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < pairs && !cursor.is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        if (IS(key, "db")) {
            table->database = shoal_cursor_str(&cursor);
        } else if (IS(key, "schema")) {
            table->schema = shoal_cursor_str(&cursor);
        } else if (IS(key, "table")) {
            table->name = shoal_cursor_str(&cursor);
        } else if (IS(key, "kind")) {
            table->kind = shoal_cursor_str(&cursor);
        } else if (IS(key, "comment")) {
            table->comment = shoal_cursor_str(&cursor);
        } else if (IS(key, "oid")) {
            table->oid = shoal_cursor_uint(&cursor);
        } else if (IS(key, "rows")) {
            table->rows = shoal_cursor_uint(&cursor);
        } else if (IS(key, "bytes")) {
            table->bytes = shoal_cursor_uint(&cursor);
        } else if (IS(key, "pk")) {
            table->key_count = skip_items(&cursor);
        } else if (IS(key, "fk")) {
            table->foreign_count = skip_items(&cursor);
        } else if (IS(key, "columns")) {
            read_columns(&cursor, table);
        } else {
            shoal_cursor_skip(&cursor);
        }
    }
    return shoal_cursor_is_done(&cursor);
}

static bool
bench_write(bench_t *bench)
{
    shoal_buffer_clear(&bench->out);
    write_table(&bench->out, &bench->table);
    bench->sum += bench->out.len;
    return true;
}

static bool
bench_read(bench_t *bench)
{
    bool done = read_table(shoal_buffer_slice(&bench->record), &bench->read);
    bench->sum += bench->read.oid + bench->read.columns[COLUMNS - 1].name.len;
    return done;
}

static bool
bench_skip(bench_t *bench)
{
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&bench->record));
    shoal_cursor_skip(&cursor);
    return shoal_cursor_is_done(&cursor);
}

static bool
bench_check(bench_t *bench)
{
    return shoal_cursor_check(shoal_buffer_slice(&bench->record), SHOAL_CHECK_DEPTH_MAX);
}

static bool
bench_json(bench_t *bench)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_clear(&bench->out);
    bool done = shoal_json_write(shoal_buffer_slice(&bench->record), &bench->out, &status);
    bench->sum += bench->out.len;
    return done;
}

static bool
measure(const char *what, bool (*once)(bench_t *bench), bench_t *bench, double seconds)
{
    uint64_t count = 0;
    uint64_t start = 0;
    uint64_t now = 0;
    for (unsigned warm = 0; warm < 2; warm++) {
        count = 0;
        start = shoal_clock_us();
        do {
            for (unsigned i = 0; i < ROUND; i++) {
                if (!once(bench)) {
                    (void)fprintf(stderr, "bench_codec: %s failed\n", what);
                    return false;
                }
            }
            count += ROUND;
            now = shoal_clock_us();
        } while ((double)(now - start) < (warm == 0 ? 0.1 : 1) * seconds * 1e6);
    }
    double ns = (double)(now - start) * 1e3 / (double)count;
    (void)printf("%s,%d,%.1f,%.0f\n", what, RECORD_BYTES, ns, RECORD_BYTES / ns * 1e3);
    return true;
}

int
main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.2;
    bench_t *bench = calloc(1, sizeof(*bench));
    if (!bench) {
        return 1;
    }
    fill(bench);
    write_table(&bench->record, &bench->table);
    bool done = bench->record.len == RECORD_BYTES;
    if (!done) {
        (void)fprintf(stderr, "bench_codec: the record has %zu bytes\n", bench->record.len);
    }
    done = done && measure("write", bench_write, bench, seconds) &&
           measure("read", bench_read, bench, seconds) &&
           measure("skip", bench_skip, bench, seconds) &&
           measure("check", bench_check, bench, seconds) &&
           measure("json", bench_json, bench, seconds);
    shoal_buffer_fini(&bench->out);
    shoal_buffer_fini(&bench->record);
    free(bench);
    return done ? 0 : 1;
}
