// SPDX-License-Identifier: Apache-2.0
//
// columns.c - see reader_parts.h: a table's record, from its columns and what is kept of it.

#include <stdio.h>

#include "connectors/postgres/reader_parts.h"
#include "proto/base/alloc.h"

#define PROGRESS_EVERY 64 // tables
#define COLUMNS_FIRST  64

static const shoal_pg_cached_type_t *
stock_type(shoal_pg_reader_t *reader, uint32_t oid, int32_t modifier)
{
    uint32_t hash = (oid * 2654435761u) ^ ((uint32_t)modifier * 40503u);
    shoal_pg_cached_type_t *cached = &reader->types[(hash >> 16) % SHOAL_PG_TYPE_CACHE];
    if (cached->oid != oid || cached->modifier != modifier || cached->display_len == 0) {
        cached->display_len = 0;
        if (!shoal_pg_type_stock(oid, modifier, &cached->type, cached->display)) {
            return NULL;
        }
        cached->oid = oid;
        cached->modifier = modifier;
        cached->display_len = strlen(cached->display);
    }
    return cached;
}

static void
set_type(shoal_pg_reader_t *reader, const PGresult *row, shoal_catalogue_column_t *column)
{
    uint32_t oid = shoal_pg_uint32(row, 3);
    shoal_pg_type_t other;
    const shoal_pg_type_t *type = &other;
    const shoal_pg_cached_type_t *cached = stock_type(reader, oid, shoal_pg_int32(row, 4));
    if (cached) {
        type = &cached->type;
    } else {
        shoal_pg_type_other(shoal_pg_text(row, 8), &other);
    }
    if (!PQgetisnull(row, 0, 7)) {
        column->display = shoal_pg_arena_copy(&reader->table_texts, shoal_pg_text(row, 7));
    } else if (cached) {
        column->display = shoal_pg_arena_copy(
            &reader->table_texts, (shoal_slice_t){cached->display, cached->display_len});
    } else { // a number below 10,000 that no version up to the newest known one has for columns
        char text[32];
        (void)snprintf(text, sizeof(text), "type %u", oid);
        column->display = shoal_pg_arena_copy(&reader->table_texts, shoal_slice_of(text));
    }
    column->data_type = type->data_type;
    column->array_type = type->array_type;
    column->length = type->length;
    column->precision = type->precision;
    column->scale = type->scale;
    if (type->is_unknown) {
        reader->host->warn(reader->host->ctx,
                           "columns of type \"%.*s\" have the dataType UNKNOWN; dataTypeDisplay "
                           "has its name",
                           SHOAL_SLICE_ARGS(column->display));
    }
}

void
shoal_pg_add_column(shoal_pg_reader_t *reader, const shoal_pg_table_t *table, const PGresult *row)
{
    if (reader->column_count == reader->column_size) {
        reader->column_size = reader->column_size > 0 ? 2 * reader->column_size : COLUMNS_FIRST;
        reader->columns =
            shoal_realloc(reader->columns, reader->column_size * sizeof(*reader->columns));
    }
    uint32_t index = reader->column_count++;
    shoal_catalogue_column_t *column = &reader->columns[index];
    int number = shoal_pg_int16(row, 1);
    bool is_generated = shoal_pg_char(row, 6) != 0;
    *column = (shoal_catalogue_column_t){
        .name = shoal_pg_arena_copy(&reader->table_texts, shoal_pg_text(row, 2)),
        .position = index + 1,
        .is_nullable = shoal_pg_char(row, 5) == 0,
        .description = shoal_pg_text_of(&reader->comments, table->number, number),
    };
    if (!is_generated) {
        column->default_value = shoal_pg_text_of(&reader->defaults, table->number, number);
    }
    set_type(reader, row, column);
    if (number > 0 && number < SHOAL_PG_ATTRIBUTES_MAX) {
        reader->index_of[number] = index + 1;
        reader->attribute_end = (uint32_t)number + 1;
    }
}

static shoal_catalogue_key_kind_t
key_kind(char contype)
{
    if (contype == 'p') {
        return SHOAL_KEY_PRIMARY;
    }
    return contype == 'f' ? SHOAL_KEY_FOREIGN : SHOAL_KEY_UNIQUE;
}

// Adds a key if all of its columns have come.
static void
add_key(shoal_pg_reader_t *reader, const shoal_pg_constraint_t *constraint)
{
    uint32_t *columns =
        shoal_pg_arena_take(&reader->table_texts, constraint->column_count * sizeof(*columns));
    for (uint32_t i = 0; i < constraint->column_count; i++) {
        uint32_t number = constraint->numbers[i];
        uint32_t index = number < SHOAL_PG_ATTRIBUTES_MAX ? reader->index_of[number] : 0;
        if (index == 0) {
            return;
        }
        columns[i] = index - 1;
    }
    shoal_catalogue_key_t *key = shoal_pg_rows_add(&reader->keys, sizeof(*key));
    *key = (shoal_catalogue_key_t){
        .kind = key_kind(constraint->kind),
        .name = constraint->name,
        .columns = columns,
        .column_count = constraint->column_count,
        .referred = constraint->referred,
    };
}

static void
add_keys(shoal_pg_reader_t *reader, const shoal_pg_table_t *table)
{
    const shoal_pg_constraint_t *items = reader->constraints.items;
    shoal_pg_rows_t *rows = &reader->constraints;
    while (rows->at < rows->count && items[rows->at].table < table->number) {
        rows->at++;
    }
    for (; rows->at < rows->count && items[rows->at].table == table->number; rows->at++) {
        add_key(reader, &items[rows->at]);
    }
}

// An identifier as SQL wants it.
static void
append_identifier(shoal_buffer_t *out, shoal_slice_t name)
{
    bool is_plain = name.len > 0 && (name.ptr[0] < '0' || name.ptr[0] > '9');
    for (size_t i = 0; i < name.len && is_plain; i++) {
        char c = name.ptr[i];
        is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    }
    if (is_plain) {
        shoal_buffer_append_slice(out, name);
        return;
    }
    shoal_buffer_append_byte(out, '"');
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '"') {
            shoal_buffer_append_byte(out, '"');
        }
        shoal_buffer_append_byte(out, name.ptr[i]);
    }
    shoal_buffer_append_byte(out, '"');
}

// "CREATE VIEW schema.name AS" and the query.
static shoal_slice_t
definition_of(shoal_pg_reader_t *reader, const shoal_pg_table_t *table)
{
    const shoal_pg_text_t *view = shoal_pg_next_text(&reader->views, table->number);
    if (!view || view->text.len == 0) {
        return SHOAL_SLICE_NONE;
    }
    shoal_buffer_t *out = &reader->scratch;
    shoal_buffer_clear(out);
    shoal_buffer_append_text(out,
                             table->kind == 'm' ? "CREATE MATERIALIZED VIEW " : "CREATE VIEW ");
    append_identifier(out, table->namespace->name);
    shoal_buffer_append_byte(out, '.');
    append_identifier(out, table->name);
    shoal_buffer_append_text(out, " AS\n");
    shoal_buffer_append_slice(out, view->text);
    return shoal_buffer_slice(out);
}

static const char *
table_type(char kind)
{
    switch (kind) {
    case 'v': return "View";
    case 'm': return "MaterializedView";
    case 'p': return "Partitioned";
    case 'f': return "Foreign";
    default: return "Regular";
    }
}

void
shoal_pg_start_table(shoal_pg_reader_t *reader)
{
    memset(reader->index_of, 0, reader->attribute_end * sizeof(reader->index_of[0]));
    reader->attribute_end = 0;
    reader->column_count = 0;
    shoal_pg_rows_clear(&reader->keys);
    shoal_pg_arena_clear(&reader->table_texts);
}

// The view's definition could not be made: the view is a record given up.
static const shoal_pg_text_t *
refusal_of(shoal_pg_reader_t *reader, const shoal_pg_table_t *table)
{
    return shoal_pg_next_text(&reader->refused, table->number);
}

static void
emit_refusal(shoal_pg_reader_t *reader, const shoal_pg_table_t *table,
             const shoal_pg_text_t *refusal)
{
    shoal_status_t why = SHOAL_STATUS_INIT;
    shoal_buffer_t fqn = SHOAL_BUFFER_INIT;
    (void)shoal_fail_as(&why, SHOAL_DATA, SHOAL_UNAVAILABLE, "%.*s",
                        SHOAL_SLICE_ARGS(refusal->text));
    shoal_catalogue_fqn(&fqn, table->namespace->fqn, table->name);
    reader->to->failed(reader->to->ctx, table->namespace->count->scope, shoal_buffer_text(&fqn),
                       &why);
    shoal_buffer_fini(&fqn);
}

bool
shoal_pg_emit_table(shoal_pg_reader_t *reader, const shoal_pg_table_t *table,
                    shoal_slice_t description, shoal_status_t *status)
{
    const shoal_pg_text_t *refusal = refusal_of(reader, table);
    add_keys(reader, table);
    if (refusal) {
        emit_refusal(reader, table, refusal);
        shoal_pg_start_table(reader);
        return true;
    }
    shoal_catalogue_table_t record = {
        .name = table->name,
        .schema_fqn = table->namespace->fqn,
        .table_type = table_type(table->kind),
        .description = description,
        .definition = definition_of(reader, table),
        .columns = reader->columns,
        .column_count = reader->column_count,
        .keys = reader->keys.items,
        .key_count = (uint32_t)reader->keys.count,
    };
    shoal_catalogue_table(reader->to->begin(reader->to->ctx), &record);
    shoal_pg_start_table(reader);
    if (++reader->emitted % PROGRESS_EVERY == 0) {
        reader->host->progress(reader->host->ctx);
    }
    return reader->to->record(reader->to->ctx, table->namespace->count->scope, "table", status);
}
