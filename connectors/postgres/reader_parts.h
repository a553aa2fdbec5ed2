// SPDX-License-Identifier: Apache-2.0
//
// reader_parts.h - what the files of the reader share: its structure and the calls between them.
//
// reader.c reads a shard range by range, queries.c has what is asked of the server, rows.c keeps the
// rows of a range, columns.c makes a table's record of them, views.c reads the definitions of views
// one by one where they cannot be read together, parents.c reads databases and schemas. Nobody else
// includes this.
//
// Threads: one owner.  Logging: through the host.

#ifndef SHOAL_CONNECTORS_POSTGRES_READER_PARTS_H
#define SHOAL_CONNECTORS_POSTGRES_READER_PARTS_H

#include "connectors/catalogue.h"
#include "connectors/postgres/arena.h"
#include "connectors/postgres/reader.h"
#include "connectors/postgres/types.h"

#define SHOAL_PG_SQL_MAX 8192 // bytes of one query
#define SHOAL_PG_ATTRIBUTES_MAX                                                                    \
    2048                        // columns of a table, dropped ones counted: PostgreSQL allows 1,600
#define SHOAL_PG_TYPE_CACHE 256 // entries, a power of two

enum {
    SHOAL_PG_SQL_TABLES,
    SHOAL_PG_SQL_CONSTRAINTS,
    SHOAL_PG_SQL_DEFAULTS,
    SHOAL_PG_SQL_COMMENTS,
    SHOAL_PG_SQL_VIEWS,
    SHOAL_PG_SQL_COLUMNS,
    SHOAL_PG_SQL_LAST_VIEWS, // those that remain, however many
    SHOAL_PG_SQL_COUNT,
};

// Showing a view's definition locks what the view reads until the transaction ends, and the
// server's table of locks is not large (6,400 by default, for everyone). So views are read a few at
// a time, and rolled back: that lets the locks go.
#define SHOAL_PG_VIEWS_AT_ONCE 150

// ---- what is kept of a range's rows

typedef struct shoal_pg_namespace {
    uint32_t number;
    shoal_slice_t name;
    shoal_slice_t fqn;
    shoal_pg_count_t *count; // where its tables are counted; NULL: they are not to be read
    uint64_t seen;           // tables, in the ranges that are done
    uint64_t range_seen;     // in the range that is read now
    uint64_t range_filtered; // of those
} shoal_pg_namespace_t;

typedef struct shoal_pg_table {
    uint32_t number;
    char kind;
    shoal_pg_namespace_t *namespace;
    shoal_slice_t name;
} shoal_pg_table_t;

typedef struct shoal_pg_constraint {
    uint32_t table;
    char kind;
    shoal_slice_t name;
    uint32_t column_count;
    const uint32_t *numbers;       // attribute numbers
    const shoal_slice_t *referred; // FQNs of columns, for a foreign key
} shoal_pg_constraint_t;

typedef struct shoal_pg_text {
    uint32_t table;
    int32_t column; // 0: the table itself
    shoal_slice_t text;
} shoal_pg_text_t;

// Rows of one query, in the order of table numbers; `at` is the first that is not used yet.
typedef struct shoal_pg_rows {
    void *items;
    size_t count;
    size_t size;
    size_t at;
} shoal_pg_rows_t;

typedef struct shoal_pg_cached_type {
    uint32_t oid;
    int32_t modifier;
    shoal_pg_type_t type;
    char display[SHOAL_PG_DISPLAY_MAX];
    size_t display_len;
} shoal_pg_cached_type_t;

struct shoal_pg_reader {
    const shoal_pg_settings_t *settings;
    const shoal_host_t *host;
    shoal_pg_session_t *session;

    // of the shard
    const shoal_emitter_t *to;
    shoal_pg_link_t *link;
    shoal_buffer_t database_fqn;
    shoal_pg_arena_t shard_texts;
    shoal_pg_namespace_t *namespaces; // sorted by number
    size_t namespace_count;
    char sql[SHOAL_PG_SQL_COUNT][SHOAL_PG_SQL_MAX];
    shoal_buffer_t schemas; // "{2200,16385}"

    // of the range
    shoal_pg_arena_t range_texts;
    shoal_pg_rows_t tables;
    shoal_pg_rows_t constraints;
    shoal_pg_rows_t defaults;
    shoal_pg_rows_t comments;
    shoal_pg_rows_t views;
    shoal_pg_rows_t refused; // views whose definition could not be made
    uint64_t emitted;        // tables, in all of the shard

    // of the table whose columns come
    shoal_pg_arena_t table_texts;
    shoal_catalogue_column_t *columns;
    uint32_t column_count;
    uint32_t column_size;
    uint32_t index_of[SHOAL_PG_ATTRIBUTES_MAX]; // attribute number to index plus one; 0: none
    uint32_t attribute_end;                     // no index is set from here on
    shoal_pg_rows_t keys;
    shoal_pg_cached_type_t types[SHOAL_PG_TYPE_CACHE];
    shoal_buffer_t scratch;
};

// ---- queries.c

extern const char *const shoal_pg_sql_what[SHOAL_PG_SQL_COUNT];

// Writes the texts of the task's queries into the reader.
void shoal_pg_write_queries(shoal_pg_reader_t *reader, const shoal_pg_task_t *task);

// ---- reader.c

void *shoal_pg_rows_add(shoal_pg_rows_t *rows, size_t item_size);
void shoal_pg_rows_clear(shoal_pg_rows_t *rows);

// The namespace of that number, or NULL.
shoal_pg_namespace_t *shoal_pg_reader_namespace(const shoal_pg_reader_t *reader, uint32_t number);

// The FQN of `name` below `parent`, kept in `arena`.
shoal_slice_t shoal_pg_reader_fqn(shoal_pg_reader_t *reader, shoal_pg_arena_t *arena,
                                  shoal_slice_t parent, shoal_slice_t name);
void shoal_pg_reader_start_database(shoal_pg_reader_t *reader, shoal_slice_t database);

// A failure that is one database's own shall not cost the others of the job.
void shoal_pg_reader_narrow(const shoal_pg_reader_t *reader, shoal_status_t *status);

// Whether it failed because a database was dropped after it was listed, and the others go on.
bool shoal_pg_reader_is_dropped(const shoal_pg_reader_t *reader, const shoal_status_t *status);

// Reads all rows of the next query.
typedef bool shoal_pg_take_fn(shoal_pg_reader_t *reader, const PGresult *row,
                              shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_pg_read_rows(shoal_pg_reader_t *reader, shoal_pg_take_fn *take,
                                         shoal_status_t *status);

// ---- rows.c

shoal_pg_take_fn shoal_pg_take_table;
shoal_pg_take_fn shoal_pg_take_constraint;
shoal_pg_take_fn shoal_pg_take_default;
shoal_pg_take_fn shoal_pg_take_comment;
shoal_pg_take_fn shoal_pg_take_view;

// The first of `rows` at or after `at` that belongs to `table`, as the one before is passed for
// good; NULL if there is none.
const shoal_pg_text_t *shoal_pg_next_text(shoal_pg_rows_t *rows, uint32_t table);

// The text of (table, column), which come in growing order.
shoal_slice_t shoal_pg_text_of(shoal_pg_rows_t *rows, uint32_t table, int32_t column);

// ---- columns.c

void shoal_pg_start_table(shoal_pg_reader_t *reader);
void shoal_pg_add_column(shoal_pg_reader_t *reader, const shoal_pg_table_t *table,
                         const PGresult *row);

// Hands over the record of a table whose columns have all come, or its failure.
SHOAL_MUST_CHECK bool shoal_pg_emit_table(shoal_pg_reader_t *reader, const shoal_pg_table_t *table,
                                          shoal_slice_t description, shoal_status_t *status);

// ---- views.c

// Reads the definitions of the range's views, whose tables have been read, each by itself. One that
// cannot be made is kept as refused, with the cause; the others go on.
SHOAL_MUST_CHECK bool shoal_pg_read_views_singly(shoal_pg_reader_t *reader, shoal_status_t *status);

#endif
