// SPDX-License-Identifier: Apache-2.0
//
// sample.c - see sample.h.

#include "tests/bench/sample.h"

#include <stdio.h>

#include "proto/record/writer.h"

void
sample_fill(sample_t *sample)
{
    static const char *const types[] = {
        "bigint", "character varying(120)", "timestamp with time zone", "numeric(18,4)", "boolean",
        "jsonb"};
    sample_table_t *table = &sample->table;
    *table = (sample_table_t){
        .database = SHOAL_SLICE("warehouse"),
        .schema = SHOAL_SLICE("sales_reporting"),
        .name = SHOAL_SLICE("fact_order_line_history"),
        .kind = SHOAL_SLICE("table"),
        .comment =
            SHOAL_SLICE("Order lines with their full change history, loaded nightly from the ERP"),
        .oid = 1234567,
        .rows = 98765432,
        .bytes = 12884901888,
        .column_count = SAMPLE_COLUMNS,
        .key_count = 2,
        .foreign_count = 2,
    };
    for (unsigned i = 0; i < SAMPLE_COLUMNS; i++) {
        (void)snprintf(sample->names[i], sizeof(sample->names[i]), "order_line_attr_%02u", i);
        table->columns[i] = (sample_column_t){
            .name = shoal_slice_of(sample->names[i]),
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
write_column(shoal_buffer_t *out, const sample_column_t *column)
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

void
sample_encode(const sample_t *sample, shoal_buffer_t *out)
{
    const sample_table_t *table = &sample->table;
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
read_column(shoal_cursor_t *cursor, sample_column_t *column)
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
read_columns(shoal_cursor_t *cursor, sample_table_t *table)
{
    table->column_count = shoal_cursor_array(cursor);
    for (uint32_t i = 0; i < table->column_count && i < SAMPLE_COLUMNS_MAX && !cursor->is_bad;
         i++) {
        read_column(cursor, &table->columns[i]);
    }
}

bool
sample_decode(shoal_cursor_t *cursor, sample_t *sample)
{
    sample_table_t *table = &sample->table;
    uint32_t pairs = shoal_cursor_map(cursor);
    for (uint32_t i = 0; i < pairs && !cursor->is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(cursor);
        if (IS(key, "db")) {
            table->database = shoal_cursor_str(cursor);
        } else if (IS(key, "schema")) {
            table->schema = shoal_cursor_str(cursor);
        } else if (IS(key, "table")) {
            table->name = shoal_cursor_str(cursor);
        } else if (IS(key, "kind")) {
            table->kind = shoal_cursor_str(cursor);
        } else if (IS(key, "comment")) {
            table->comment = shoal_cursor_str(cursor);
        } else if (IS(key, "oid")) {
            table->oid = shoal_cursor_uint(cursor);
        } else if (IS(key, "rows")) {
            table->rows = shoal_cursor_uint(cursor);
        } else if (IS(key, "bytes")) {
            table->bytes = shoal_cursor_uint(cursor);
        } else if (IS(key, "pk")) {
            table->key_count = skip_items(cursor);
        } else if (IS(key, "fk")) {
            table->foreign_count = skip_items(cursor);
        } else if (IS(key, "columns")) {
            read_columns(cursor, table);
        } else {
            shoal_cursor_skip(cursor);
        }
    }
    return !cursor->is_bad;
}
