// SPDX-License-Identifier: Apache-2.0
//
// table.c - see table.h.
//
// All texts of one table are copied to one buffer, the pool, and named by their place in it until
// everything is read: then the pool grows no more and the places become slices.

#include "connectors/sqlite/table.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include "connectors/catalogue.h"
#include "connectors/sqlite/comments.h"
#include "connectors/sqlite/names.h"
#include "connectors/sqlite/types.h"
#include "proto/base/alloc.h"

#define COLUMNS_MAX 32767 // SQLite's own limit of a table's columns

typedef enum query {
    QUERY_COLUMNS,
    QUERY_UNIQUE,
    QUERY_INDEX,
    QUERY_FOREIGN,
    QUERY_PARENT_COLUMN,
    QUERY_PARENT_KEY,
    QUERY_COUNT,
} query_t;

static const char *const queries[QUERY_COUNT] = {
    [QUERY_COLUMNS] = "select name, type, \"notnull\", dflt_value, pk, cid "
                      "from pragma_table_xinfo(?1, 'main') where hidden <> 1 order by cid",
    [QUERY_UNIQUE] = "select name from pragma_index_list(?1, 'main') where origin = 'u' "
                     "and not partial order by seq desc",
    [QUERY_INDEX] = "select cid from pragma_index_info(?1, 'main') order by seqno",
    [QUERY_FOREIGN] = "select id, seq, \"table\", \"from\", \"to\" "
                      "from pragma_foreign_key_list(?1, 'main') order by id desc, seq",
    [QUERY_PARENT_COLUMN] = "select name from pragma_table_xinfo(?1, 'main') "
                            "where name = ?2 collate nocase",
    [QUERY_PARENT_KEY] = "select name from pragma_table_xinfo(?1, 'main') where pk = ?2",
};

typedef struct span {
    size_t at; // in the pool
    size_t len;
} span_t;

typedef struct column {
    span_t name;
    span_t type;
    span_t preset;
    span_t description;
    int id;         // cid
    int in_primary; // place in the primary key, from 1; 0: not in it
    bool is_nullable;
} column_t;

typedef struct table_key {
    shoal_catalogue_key_kind_t kind;
    size_t first; // in parts and referred
    uint32_t count;
} table_key_t;

struct shoal_sqlite_reader {
    shoal_sqlite_t *database;
    shoal_buffer_t schema_fqn;
    sqlite3_stmt *statements[QUERY_COUNT];
    shoal_sqlite_names_t *names; // read when the first foreign key asks
    shoal_buffer_t pool;
    span_t description; // of the table
    column_t *columns;
    size_t column_count;
    size_t column_size;
    table_key_t *keys;
    size_t key_count;
    size_t key_size;
    uint32_t *parts;  // indexes of columns
    span_t *referred; // of the same index as parts; FQNs, of foreign keys only
    size_t part_count;
    size_t part_size;
};

// Makes room for one more element.
#define GROW(array, count, size)                                                                   \
    do {                                                                                           \
        if ((count) == (size)) {                                                                   \
            (size) = (size) ? (size)*2 : 16;                                                       \
            (array) = shoal_realloc((array), (size) * sizeof(*(array)));                           \
        }                                                                                          \
    } while (0)

bool
shoal_sqlite_reader_new(shoal_sqlite_t *database, shoal_slice_t schema_fqn,
                        shoal_sqlite_reader_t **ret_reader, shoal_status_t *status)
{
    shoal_sqlite_reader_t *reader = shoal_alloc(sizeof(*reader));
    reader->database = database;
    shoal_buffer_append_slice(&reader->schema_fqn, schema_fqn);
    for (size_t i = 0; i < QUERY_COUNT; i++) {
        if (!shoal_sqlite_prepare(database, "read the catalogue", queries[i],
                                  &reader->statements[i], status)) {
            shoal_sqlite_reader_destroy(&reader);
            return false;
        }
    }
    *ret_reader = reader;
    return true;
}

void
shoal_sqlite_reader_destroy(shoal_sqlite_reader_t **reader)
{
    if (!reader || !*reader) {
        return;
    }
    shoal_sqlite_reader_t *it = *reader;
    for (size_t i = 0; i < QUERY_COUNT; i++) {
        (void)sqlite3_finalize(it->statements[i]);
    }
    shoal_sqlite_names_destroy(&it->names);
    shoal_buffer_fini(&it->schema_fqn);
    shoal_buffer_fini(&it->pool);
    free(it->columns);
    free(it->keys);
    free(it->parts);
    free(it->referred);
    free(it);
    *reader = NULL;
}

// ---- reading

static span_t
keep(shoal_sqlite_reader_t *reader, shoal_slice_t text)
{
    span_t span = {reader->pool.len, text.len};
    shoal_buffer_append_slice(&reader->pool, text);
    return span;
}

static shoal_slice_t
text_of(const shoal_sqlite_reader_t *reader, span_t span)
{
    return span.len > 0 ? (shoal_slice_t){reader->pool.ptr + span.at, span.len} : SHOAL_SLICE_NONE;
}

static sqlite3_stmt *
start(shoal_sqlite_reader_t *reader, query_t query, shoal_slice_t name)
{
    sqlite3_stmt *statement = reader->statements[query];
    (void)sqlite3_reset(statement);
    (void)sqlite3_bind_text(statement, 1, name.ptr ? name.ptr : "", (int)name.len,
                            SQLITE_TRANSIENT);
    return statement;
}

static bool
next(shoal_sqlite_reader_t *reader, sqlite3_stmt *statement, bool *ret_is_row,
     shoal_status_t *status)
{
    return shoal_sqlite_step(reader->database, "read a table", statement, ret_is_row, status);
}

// SQLite lets a column of a primary key be NULL, unless it stands for the row's number.
static void
settle_primary(shoal_sqlite_reader_t *reader)
{
    column_t *only = NULL;
    size_t count = 0;
    for (size_t i = 0; i < reader->column_count; i++) {
        if (reader->columns[i].in_primary > 0) {
            only = &reader->columns[i];
            count++;
        }
    }
    shoal_slice_t type = only ? text_of(reader, only->type) : SHOAL_SLICE_NONE;
    if (count == 1 && type.len == 7 && strncasecmp(type.ptr, "INTEGER", 7) == 0) {
        only->is_nullable = false;
    }
}

static bool
read_columns(shoal_sqlite_reader_t *reader, shoal_slice_t name, shoal_status_t *status)
{
    sqlite3_stmt *row = start(reader, QUERY_COLUMNS, name);
    bool is_row = false;
    while (next(reader, row, &is_row, status)) {
        if (!is_row) {
            settle_primary(reader);
            return true;
        }
        if (reader->column_count == COLUMNS_MAX) {
            (void)sqlite3_reset(row);
            return shoal_fail_as(status, SHOAL_DATA, SHOAL_LIMIT, "it has more than %d columns",
                                 COLUMNS_MAX);
        }
        GROW(reader->columns, reader->column_count, reader->column_size);
        column_t *column = &reader->columns[reader->column_count++];
        column->name = keep(reader, shoal_sqlite_text(row, 0));
        column->type = keep(reader, shoal_sqlite_text(row, 1));
        column->preset = keep(reader, shoal_sqlite_text(row, 3));
        column->description = (span_t){0, 0};
        column->is_nullable = sqlite3_column_int(row, 2) == 0;
        column->in_primary = sqlite3_column_int(row, 4);
        column->id = sqlite3_column_int(row, 5);
    }
    return false;
}

static void
key_begin(shoal_sqlite_reader_t *reader, shoal_catalogue_key_kind_t kind)
{
    GROW(reader->keys, reader->key_count, reader->key_size);
    reader->keys[reader->key_count++] = (table_key_t){kind, reader->part_count, 0};
}

static void
key_add(shoal_sqlite_reader_t *reader, uint32_t column, span_t referred)
{
    if (reader->part_count == reader->part_size) {
        size_t size = reader->part_size ? reader->part_size * 2 : 16;
        reader->parts = shoal_realloc(reader->parts, size * sizeof(*reader->parts));
        reader->referred = shoal_realloc(reader->referred, size * sizeof(*reader->referred));
        reader->part_size = size;
    }
    reader->parts[reader->part_count] = column;
    reader->referred[reader->part_count++] = referred;
    reader->keys[reader->key_count - 1].count++;
}

// The key begun last is left out.
static void
key_undo(shoal_sqlite_reader_t *reader)
{
    reader->part_count = reader->keys[--reader->key_count].first;
}

static void
find_primary(shoal_sqlite_reader_t *reader)
{
    key_begin(reader, SHOAL_KEY_PRIMARY);
    bool is_found = true;
    for (int place = 1; is_found; place++) {
        is_found = false;
        for (size_t i = 0; i < reader->column_count && !is_found; i++) {
            if (reader->columns[i].in_primary == place) {
                key_add(reader, (uint32_t)i, (span_t){0, 0});
                is_found = true;
            }
        }
    }
    if (reader->keys[reader->key_count - 1].count == 0) {
        key_undo(reader);
    }
}

// The index of the column with that number, or -1.
static int64_t
column_by_id(const shoal_sqlite_reader_t *reader, int id)
{
    for (size_t i = 0; i < reader->column_count; i++) {
        if (reader->columns[i].id == id) {
            return (int64_t)i;
        }
    }
    return -1;
}

static int64_t
column_by_name(const shoal_sqlite_reader_t *reader, shoal_slice_t name)
{
    for (size_t i = 0; i < reader->column_count; i++) {
        shoal_slice_t it = text_of(reader, reader->columns[i].name);
        if (it.len == name.len && it.len > 0 && strncasecmp(it.ptr, name.ptr, it.len) == 0) {
            return (int64_t)i;
        }
    }
    return -1;
}

static bool
read_index(shoal_sqlite_reader_t *reader, shoal_slice_t index, shoal_status_t *status)
{
    sqlite3_stmt *row = start(reader, QUERY_INDEX, index);
    key_begin(reader, SHOAL_KEY_UNIQUE);
    bool is_row = false;
    bool is_whole = true;
    while (next(reader, row, &is_row, status)) {
        if (!is_row) {
            if (!is_whole || reader->keys[reader->key_count - 1].count == 0) {
                key_undo(reader);
            }
            return true;
        }
        int64_t column = column_by_id(reader, sqlite3_column_int(row, 0));
        is_whole = is_whole && column >= 0;
        if (is_whole) {
            key_add(reader, (uint32_t)column, (span_t){0, 0});
        }
    }
    return false;
}

static bool
read_unique(shoal_sqlite_reader_t *reader, shoal_slice_t name, shoal_status_t *status)
{
    sqlite3_stmt *row = start(reader, QUERY_UNIQUE, name);
    bool is_row = false;
    while (next(reader, row, &is_row, status)) {
        if (!is_row) {
            return true;
        }
        if (!read_index(reader, shoal_sqlite_text(row, 0), status)) {
            (void)sqlite3_reset(row);
            return false;
        }
    }
    return false;
}

// ---- foreign keys

// The first column of the query's only row, as the source spells it; empty: there is none.
static bool
look_up(shoal_sqlite_reader_t *reader, sqlite3_stmt *statement, shoal_buffer_t *out,
        shoal_status_t *status)
{
    shoal_buffer_clear(out);
    bool is_row = false;
    if (!next(reader, statement, &is_row, status)) {
        return false;
    }
    if (is_row) {
        shoal_buffer_append_slice(out, shoal_sqlite_text(statement, 0));
        (void)sqlite3_reset(statement);
    }
    return true;
}

// The name of the parent's column that part `seq` refers to; without `to` it is the primary key's.
static bool
look_up_column(shoal_sqlite_reader_t *reader, shoal_slice_t parent, shoal_slice_t to, int seq,
               shoal_buffer_t *out, shoal_status_t *status)
{
    sqlite3_stmt *statement =
        start(reader, to.len > 0 ? QUERY_PARENT_COLUMN : QUERY_PARENT_KEY, parent);
    if (to.len > 0) {
        (void)sqlite3_bind_text(statement, 2, to.ptr, (int)to.len, SQLITE_TRANSIENT);
    } else {
        (void)sqlite3_bind_int(statement, 2, seq + 1);
    }
    return look_up(reader, statement, out, status);
}

typedef struct foreign {
    int id; // of the key that is being read; -1: none
    bool is_whole;
    shoal_slice_t parent; // its table's name; empty: there is no such table
    shoal_buffer_t parent_fqn;
    shoal_buffer_t column;
} foreign_t;

static void
foreign_end(shoal_sqlite_reader_t *reader, const foreign_t *foreign, shoal_slice_t table)
{
    if (foreign->id >= 0 && !foreign->is_whole) {
        key_undo(reader);
        const shoal_host_t *host = reader->database->host;
        host->warn(host->ctx,
                   "table \"%.*s\": a foreign key was left out, its table or column does not exist",
                   SHOAL_SLICE_ARGS(table));
    }
}

static bool
foreign_begin(shoal_sqlite_reader_t *reader, foreign_t *foreign, sqlite3_stmt *row,
              shoal_status_t *status)
{
    foreign->id = sqlite3_column_int(row, 0);
    if (!reader->names && !shoal_sqlite_names_new(reader->database, &reader->names, status)) {
        return false;
    }
    foreign->parent = shoal_sqlite_names_find(reader->names, shoal_sqlite_text(row, 2));
    foreign->is_whole = foreign->parent.len > 0;
    shoal_buffer_clear(&foreign->parent_fqn);
    shoal_catalogue_fqn(&foreign->parent_fqn, shoal_buffer_slice(&reader->schema_fqn),
                        foreign->parent);
    key_begin(reader, SHOAL_KEY_FOREIGN);
    return true;
}

static bool
foreign_part(shoal_sqlite_reader_t *reader, foreign_t *foreign, sqlite3_stmt *row,
             shoal_status_t *status)
{
    int64_t column = column_by_name(reader, shoal_sqlite_text(row, 3));
    if (!foreign->is_whole || column < 0) {
        foreign->is_whole = false;
        return true;
    }
    if (!look_up_column(reader, foreign->parent, shoal_sqlite_text(row, 4),
                        sqlite3_column_int(row, 1), &foreign->column, status)) {
        return false;
    }
    foreign->is_whole = foreign->column.len > 0;
    size_t at = reader->pool.len;
    shoal_catalogue_fqn(&reader->pool, shoal_buffer_slice(&foreign->parent_fqn),
                        shoal_buffer_slice(&foreign->column));
    key_add(reader, (uint32_t)column, (span_t){at, reader->pool.len - at});
    return true;
}

static bool
read_foreign(shoal_sqlite_reader_t *reader, shoal_slice_t name, shoal_status_t *status)
{
    sqlite3_stmt *row = start(reader, QUERY_FOREIGN, name);
    foreign_t foreign = {.id = -1};
    bool done = true;
    bool is_row = true;
    while (done && is_row) {
        done = next(reader, row, &is_row, status);
        if (!done || !is_row) {
            break;
        }
        if (sqlite3_column_int(row, 0) != foreign.id) {
            foreign_end(reader, &foreign, name);
            done = foreign_begin(reader, &foreign, row, status);
        }
        done = done && foreign_part(reader, &foreign, row, status);
    }
    if (done) {
        foreign_end(reader, &foreign, name);
    }
    (void)sqlite3_reset(row);
    shoal_buffer_fini(&foreign.parent_fqn);
    shoal_buffer_fini(&foreign.column);
    return done;
}

// ---- comments

static void
take_comment(void *ctx, shoal_slice_t column, shoal_slice_t text)
{
    shoal_sqlite_reader_t *reader = ctx;
    span_t *description = &reader->description;
    if (column.len > 0) {
        int64_t index = column_by_name(reader, column);
        if (index < 0) {
            return;
        }
        description = &reader->columns[index].description;
    }
    shoal_slice_t before = text_of(reader, *description);
    size_t at = reader->pool.len;
    // Room first: `before` stands in the pool.
    (void)shoal_buffer_reserve(&reader->pool, before.len + 1 + text.len);
    before = text_of(reader, *description);
    if (before.len > 0) {
        shoal_buffer_append_slice(&reader->pool, before);
        shoal_buffer_append_byte(&reader->pool, ' ');
    }
    shoal_buffer_append_slice(&reader->pool, text);
    *description = (span_t){at, reader->pool.len - at};
}

// ---- the record

static void
fill_columns(const shoal_sqlite_reader_t *reader, shoal_catalogue_column_t *columns)
{
    for (size_t i = 0; i < reader->column_count; i++) {
        const column_t *from = &reader->columns[i];
        shoal_slice_t type = text_of(reader, from->type);
        columns[i].name = text_of(reader, from->name);
        columns[i].display = type;
        columns[i].default_value = text_of(reader, from->preset);
        columns[i].description = text_of(reader, from->description);
        columns[i].position = (uint32_t)i + 1;
        columns[i].is_nullable = from->is_nullable;
        shoal_sqlite_type(type, &columns[i]);
    }
}

static void
write_table(const shoal_sqlite_reader_t *reader, shoal_slice_t name, bool is_view,
            shoal_slice_t sql, shoal_buffer_t *out)
{
    shoal_catalogue_column_t *columns = shoal_alloc((reader->column_count + 1) * sizeof(*columns));
    shoal_catalogue_key_t *keys = shoal_alloc((reader->key_count + 1) * sizeof(*keys));
    shoal_slice_t *referred = shoal_alloc((reader->part_count + 1) * sizeof(*referred));
    fill_columns(reader, columns);
    for (size_t i = 0; i < reader->part_count; i++) {
        referred[i] = text_of(reader, reader->referred[i]);
    }
    for (size_t i = 0; i < reader->key_count; i++) {
        const table_key_t *key = &reader->keys[i];
        keys[i] = (shoal_catalogue_key_t){
            .kind = key->kind,
            .columns = reader->parts + key->first,
            .column_count = key->count,
            .referred = key->kind == SHOAL_KEY_FOREIGN ? referred + key->first : NULL};
    }
    shoal_catalogue_table_t table = {
        .name = name,
        .schema_fqn = shoal_buffer_slice(&reader->schema_fqn),
        .table_type = is_view ? "View" : "Regular",
        .description = text_of(reader, reader->description),
        .definition = is_view ? sql : SHOAL_SLICE_NONE,
        .columns = columns,
        .column_count = (uint32_t)reader->column_count,
        .keys = keys,
        .key_count = (uint32_t)reader->key_count,
    };
    shoal_catalogue_table(out, &table);
    free(columns);
    free(keys);
    free(referred);
}

bool
shoal_sqlite_reader_table(shoal_sqlite_reader_t *reader, shoal_slice_t name, bool is_view,
                          shoal_slice_t sql, shoal_buffer_t *out, shoal_status_t *status)
{
    shoal_buffer_clear(&reader->pool);
    reader->description = (span_t){0, 0};
    reader->column_count = 0;
    reader->key_count = 0;
    reader->part_count = 0;
    if (!read_columns(reader, name, status)) {
        return false;
    }
    if (!is_view) {
        find_primary(reader);
        if (!read_unique(reader, name, status) || !read_foreign(reader, name, status)) {
            return false;
        }
    }
    shoal_sqlite_comments(sql, take_comment, reader);
    write_table(reader, name, is_view, sql, out);
    return true;
}
