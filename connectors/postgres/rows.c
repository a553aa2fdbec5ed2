// SPDX-License-Identifier: Apache-2.0
//
// rows.c - see reader_parts.h: the rows of a range that are kept until its columns come.

#include "connectors/postgres/reader_parts.h"

static bool
keep_table(shoal_pg_reader_t *reader, const shoal_pg_namespace_t *namespace, shoal_slice_t name,
           bool *ret_keep, shoal_status_t *status)
{
    const shoal_pg_settings_t *settings = reader->settings;
    if (shoal_patterns_is_empty(settings->tables)) {
        *ret_keep = true;
        return true;
    }
    if (settings->use_fqn) {
        name = shoal_pg_reader_fqn(reader, &reader->range_texts, namespace->fqn, name);
    }
    return shoal_patterns_keep_slice(settings->tables, name, ret_keep, status);
}

bool
shoal_pg_take_table(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    shoal_pg_namespace_t *namespace = shoal_pg_reader_namespace(reader, shoal_pg_uint32(row, 1));
    if (!namespace || !namespace->count) {
        return true;
    }
    shoal_slice_t name = shoal_pg_text(row, 3);
    bool is_kept;
    if (!keep_table(reader, namespace, name, &is_kept, status)) {
        return false;
    }
    namespace->range_seen++;
    if (!is_kept) {
        namespace->range_filtered++;
        return true;
    }
    shoal_pg_table_t *table = shoal_pg_rows_add(&reader->tables, sizeof(*table));
    *table = (shoal_pg_table_t){.number = shoal_pg_uint32(row, 0),
                                .kind = shoal_pg_char(row, 2),
                                .namespace = namespace,
                                .name = shoal_pg_arena_copy(&reader->range_texts, name)};
    return true;
}

// FQNs of the columns that a foreign key refers to; NULL if they are gone.
static const shoal_slice_t *
take_referred(shoal_pg_reader_t *reader, const PGresult *row, uint32_t count)
{
    shoal_pg_namespace_t *namespace = shoal_pg_reader_namespace(reader, shoal_pg_uint32(row, 4));
    if (!namespace || PQgetisnull(row, 0, 5) || shoal_pg_array_len(row, 6) != count) {
        return NULL;
    }
    shoal_slice_t table =
        shoal_pg_reader_fqn(reader, &reader->range_texts, namespace->fqn, shoal_pg_text(row, 5));
    shoal_slice_t *referred = shoal_pg_arena_take(&reader->range_texts, count * sizeof(*referred));
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        shoal_slice_t name;
        if (!shoal_pg_array_next(row, 6, &at, &name) || !name.ptr) {
            return NULL;
        }
        referred[i] = shoal_pg_reader_fqn(reader, &reader->range_texts, table, name);
    }
    return referred;
}

bool
shoal_pg_take_constraint(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    (void)status;
    shoal_pg_constraint_t constraint = {.table = shoal_pg_uint32(row, 0),
                                        .kind = shoal_pg_char(row, 1),
                                        .column_count = shoal_pg_array_len(row, 3)};
    if (constraint.column_count == 0 || constraint.column_count > SHOAL_PG_ATTRIBUTES_MAX) {
        return true;
    }
    if (constraint.kind == 'f') {
        constraint.referred = take_referred(reader, row, constraint.column_count);
        if (!constraint.referred) {
            reader->host->warn(reader->host->ctx,
                               "a foreign key is left out: what it refers to is gone");
            return true;
        }
    }
    constraint.name = shoal_pg_arena_copy(&reader->range_texts, shoal_pg_text(row, 2));
    uint32_t *numbers =
        shoal_pg_arena_take(&reader->range_texts, constraint.column_count * sizeof(*numbers));
    size_t at = 0;
    for (uint32_t i = 0; i < constraint.column_count; i++) {
        shoal_slice_t number = SHOAL_SLICE_NONE;
        (void)shoal_pg_array_next(row, 3, &at, &number);
        numbers[i] =
            number.len == 2
                ? (uint32_t)((unsigned char)number.ptr[0] << 8 | (unsigned char)number.ptr[1])
                : 0;
    }
    constraint.numbers = numbers;
    *(shoal_pg_constraint_t *)shoal_pg_rows_add(&reader->constraints, sizeof(constraint)) =
        constraint;
    return true;
}

static void
take_text(shoal_pg_reader_t *reader, shoal_pg_rows_t *rows, uint32_t table, int32_t column,
          shoal_slice_t text)
{
    shoal_pg_text_t *item = shoal_pg_rows_add(rows, sizeof(*item));
    *item = (shoal_pg_text_t){table, column, shoal_pg_arena_copy(&reader->range_texts, text)};
}

bool
shoal_pg_take_default(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    (void)status;
    take_text(reader, &reader->defaults, shoal_pg_uint32(row, 0), shoal_pg_int16(row, 1),
              shoal_pg_text(row, 2));
    return true;
}

bool
shoal_pg_take_comment(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    (void)status;
    take_text(reader, &reader->comments, shoal_pg_uint32(row, 0), shoal_pg_int32(row, 1),
              shoal_pg_text(row, 2));
    return true;
}

bool
shoal_pg_take_view(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    (void)status;
    take_text(reader, &reader->views, shoal_pg_uint32(row, 0), 0, shoal_pg_text(row, 1));
    return true;
}

const shoal_pg_text_t *
shoal_pg_next_text(shoal_pg_rows_t *rows, uint32_t table)
{
    const shoal_pg_text_t *items = rows->items;
    while (rows->at < rows->count && items[rows->at].table < table) {
        rows->at++;
    }
    bool is_there = rows->at < rows->count && items[rows->at].table == table;
    return is_there ? &items[rows->at] : NULL;
}

shoal_slice_t
shoal_pg_text_of(shoal_pg_rows_t *rows, uint32_t table, int32_t column)
{
    const shoal_pg_text_t *item = shoal_pg_next_text(rows, table);
    while (item && item->column < column) {
        rows->at++;
        item = shoal_pg_next_text(rows, table);
    }
    return item && item->column == column ? item->text : SHOAL_SLICE_NONE;
}
