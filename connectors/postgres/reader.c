// SPDX-License-Identifier: Apache-2.0
//
// reader.c - see reader.h.
//
// A range of tables is read by six queries, each over one catalogue and each in the order of table
// numbers, so that the server neither sorts nor hashes and the client merges without looking
// anything up. The queries of a range are sent together, and before the range ahead of it is read:
// while the rows of one query are read, the server works on the next. Of the first five the rows
// are kept until the range is done, which SHOAL_PG_TABLES_PER_RANGE bounds; the sixth, the columns,
// is ten times as large as all the others and is not kept: a table's record is written when its
// last column has come.
//
// The range is said of each catalogue that is joined: PostgreSQL does not carry an inequality over
// a join.
//
// What the catalogue's own functions show (views' definitions, expressions) is of the present, not
// of the snapshot. Where something they need was dropped meanwhile they fail; then the shard goes
// on, from the range where it happened, in a transaction without the shared snapshot.

#include "connectors/postgres/reader.h"

#include <stdio.h>
#include <stdlib.h>

#include "connectors/catalogue.h"
#include "connectors/postgres/arena.h"
#include "connectors/postgres/failure.h"
#include "connectors/postgres/types.h"
#include "proto/base/alloc.h"

#define SQL_MAX        8192 // bytes of one query
#define ATTRIBUTES_MAX 2048 // columns of a table, dropped ones counted: PostgreSQL allows 1,600
#define TYPE_CACHE     256  // entries, a power of two
#define PROGRESS_EVERY 64   // tables
#define COLUMNS_FIRST  64

enum {
    SQL_TABLES,
    SQL_CONSTRAINTS,
    SQL_DEFAULTS,
    SQL_COMMENTS,
    SQL_VIEWS,
    SQL_COLUMNS,
    SQL_LAST_VIEWS, // those that remain, however many
    SQL_COUNT,
};

static const char *const sql_what[SQL_COUNT] = {
    "read the tables", "read the keys",    "read the defaults", "read the comments",
    "read the views",  "read the columns", "read the views",
};

// Showing a view's definition locks what the view reads until the transaction ends, and the
// server's table of locks is not large (6,400 by default, for everyone). So views are read a few at
// a time, and rolled back: that lets the locks go.
#define VIEWS_AT_ONCE 150
static const char mark_sql[] = "savepoint views";
static const char unlock_sql[] = "rollback to savepoint views";
static const char forget_sql[] = "release savepoint views";

// In these %s are: the kinds of relation, and a condition on c.relnamespace or nothing.
static const char tables_sql[] =
    "select c.oid, c.relnamespace, c.relkind, c.relname from pg_catalog.pg_class c "
    "where c.oid >= $1::oid and c.oid < $2::oid and c.relkind in (%s) and not c.relispartition "
    "and c.relpersistence <> 't'%s order by c.oid";

static const char constraints_sql[] =
    "select k.conrelid, k.contype, k.conname, k.conkey, r.relnamespace, r.relname, "
    "case when pg_catalog.cardinality(k.confkey) > 1 then array(select x.attname "
    "from pg_catalog.unnest(k.confkey) with ordinality u(number, place) "
    "join pg_catalog.pg_attribute x on x.attrelid = k.confrelid and x.attnum = u.number "
    "order by u.place) else array[a.attname] end "
    "from pg_catalog.pg_constraint k "
    "left join pg_catalog.pg_class r on r.oid = k.confrelid "
    "left join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = k.confkey[1] "
    "where k.conrelid >= $1::oid and k.conrelid < $2::oid and k.contype in ('p', 'u', 'f') "
    "and k.conparentid = 0 order by k.conrelid, k.contypid, k.conname";

// Naming the table costs the server two look-ups a row, and only expressions with columns in them
// (of generated columns) need it.
static const char defaults_sql[] =
    "select d.adrelid, d.adnum, pg_catalog.pg_get_expr(d.adbin, "
    "case when d.adbin::text like '%{VAR %' then d.adrelid else 0 end) "
    "from pg_catalog.pg_attrdef d where d.adrelid >= $1::oid and d.adrelid < $2::oid "
    "order by d.adrelid, d.adnum";

static const char comments_sql[] =
    "select d.objoid, d.objsubid, d.description from pg_catalog.pg_description d "
    "where d.objoid >= $1::oid and d.objoid < $2::oid "
    "and d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass order by d.objoid, d.objsubid";

static const char views_sql[] =
    "select v.oid, pg_catalog.pg_get_viewdef(v.oid) from (select c.oid from pg_catalog.pg_class c "
    "where c.oid >= $1::oid and c.oid < $2::oid and c.relkind in ('v', 'm') "
    "and c.relnamespace = any($3::oid[]) order by c.oid offset $4::int8 %s) v order by v.oid";

// What a type that is not stock is made of, in the form that types.h wants: t is the type, a
// the column. The usual ones are said at once; only what is nested deeper (a domain over a domain,
// an array of domains) is followed step by step, which costs ten times as much.
#define FOLLOW_SQL                                                                                 \
    "(with recursive k(path, oid, modifier) as (select ''::text, t.oid, a.atttypmod union all "    \
    "select k.path || case when s.typtype = 'd' then 'd' else 'a' end, "                           \
    "case when s.typtype = 'd' then s.typbasetype else s.typelem end, "                            \
    "case when s.typtype = 'd' and s.typtypmod <> -1 then s.typtypmod else k.modifier end "        \
    "from k join pg_catalog.pg_type s on s.oid = k.oid where pg_catalog.length(k.path) < 16 "      \
    "and (s.typtype = 'd' or s.typcategory = 'A' and s.typelem <> 0)) "                            \
    "select k.path || ' ' || s.typtype::text || ' ' || k.oid || ' ' || k.modifier || ' ' "         \
    "|| s.typname::text "                                                                          \
    "from k join pg_catalog.pg_type s on s.oid = k.oid "                                           \
    "order by pg_catalog.length(k.path) desc limit 1)"
#define DESCRIBE_SQL                                                                               \
    "(select case when t.typtype = 'd' and t.typbasetype < 10000 and not exists (select "          \
    "from pg_catalog.pg_type e where e.oid = t.typbasetype and e.typcategory = 'A') "              \
    "then 'd b ' || t.typbasetype || ' ' || t.typtypmod || ' ' "                                   \
    "when t.typtype = 'd' then " FOLLOW_SQL " "                                                    \
    "when t.typcategory = 'A' and t.typelem <> 0 then (select case when e.typtype = 'd' "          \
    "then " FOLLOW_SQL " else 'a ' || e.typtype::text || ' ' || e.oid || ' ' || a.atttypmod "      \
    "|| ' ' || e.typname::text end from pg_catalog.pg_type e where e.oid = t.typelem) "            \
    "else ' ' || t.typtype::text || ' ' || t.oid || ' ' || a.atttypmod || ' ' "                    \
    "|| t.typname::text end "                                                                      \
    "from pg_catalog.pg_type t where t.oid = a.atttypid)"

// %s: for which types the server says the text, the kinds of relation, the condition. The last two
// columns are for types whose text is not made here.
static const char columns_sql[] =
    "select a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, "
    "a.attgenerated, "
    "case when %s then pg_catalog.format_type(a.atttypid, a.atttypmod) end, "
    "case when a.atttypid >= 10000 then " DESCRIBE_SQL " end "
    "from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid "
    "where a.attrelid >= $1::oid and a.attrelid < $2::oid and c.oid >= $1::oid and c.oid < $2::oid "
    "and c.relkind in (%s) and not c.relispartition and c.relpersistence <> 't' "
    "and a.attnum > 0 and not a.attisdropped%s order by a.attrelid, a.attnum";

static const char schemas_sql[] =
    "select n.oid, n.nspname, pg_catalog.obj_description(n.oid, 'pg_namespace') "
    "from pg_catalog.pg_namespace n order by n.oid";

static const char names_sql[] = "select oid, nspname from pg_catalog.pg_namespace order by oid";

static const char database_sql[] =
    "select pg_catalog.shobj_description(oid, 'pg_database') from pg_catalog.pg_database "
    "where datname = pg_catalog.current_database()";

// ---- what is kept of a range's rows

typedef struct namespace_ {
    uint32_t number;
    shoal_slice_t name;
    shoal_slice_t fqn;
    shoal_pg_count_t *count; // where its tables are counted; NULL: they are not to be read
    uint64_t seen;           // tables, in the ranges that are done
    uint64_t range_seen;     // in the range that is read now
    uint64_t range_filtered; // of those
} namespace_t;

typedef struct table {
    uint32_t number;
    char kind;
    namespace_t *namespace;
    shoal_slice_t name;
} table_t;

typedef struct constraint {
    uint32_t table;
    char kind;
    shoal_slice_t name;
    uint32_t column_count;
    const uint32_t *numbers;       // attribute numbers
    const shoal_slice_t *referred; // FQNs of columns, for a foreign key
} constraint_t;

typedef struct text {
    uint32_t table;
    int32_t column; // 0: the table itself
    shoal_slice_t text;
} text_t;

// Rows of one query, in the order of table numbers; `at` is the first that is not used yet.
typedef struct rows {
    void *items;
    size_t count;
    size_t size;
    size_t at;
} rows_t;

typedef struct cached_type {
    uint32_t oid;
    int32_t modifier;
    shoal_pg_type_t type;
    char display[SHOAL_PG_DISPLAY_MAX];
    size_t display_len;
} cached_type_t;

struct shoal_pg_reader {
    const shoal_pg_settings_t *settings;
    const shoal_host_t *host;
    shoal_pg_session_t *session;

    // of the shard
    const shoal_emitter_t *to;
    shoal_pg_link_t *link;
    shoal_buffer_t database_fqn;
    shoal_pg_arena_t shard_texts;
    namespace_t *namespaces; // sorted by number
    size_t namespace_count;
    char sql[SQL_COUNT][SQL_MAX];
    shoal_buffer_t schemas; // "{2200,16385}"

    // of the range
    shoal_pg_arena_t range_texts;
    rows_t tables;
    rows_t constraints;
    rows_t defaults;
    rows_t comments;
    rows_t views;
    uint64_t emitted; // tables, in all of the shard

    // of the table whose columns come
    shoal_pg_arena_t table_texts;
    shoal_catalogue_column_t *columns;
    uint32_t column_count;
    uint32_t column_size;
    uint32_t index_of[ATTRIBUTES_MAX]; // attribute number to index plus one; 0: none
    uint32_t attribute_end;            // no index is set from here on
    rows_t keys;
    cached_type_t types[TYPE_CACHE];
    shoal_buffer_t scratch;
};

static void *
rows_add(rows_t *rows, size_t item_size)
{
    if (rows->count == rows->size) {
        rows->size = rows->size > 0 ? 2 * rows->size : 256;
        rows->items = shoal_realloc(rows->items, rows->size * item_size);
    }
    return (char *)rows->items + item_size * rows->count++;
}

static void
rows_clear(rows_t *rows)
{
    rows->count = 0;
    rows->at = 0;
}

shoal_pg_reader_t *
shoal_pg_reader_new(const shoal_pg_settings_t *settings, const shoal_host_t *host,
                    shoal_pg_session_t *session)
{
    shoal_pg_reader_t *reader = shoal_alloc(sizeof(*reader));
    reader->settings = settings;
    reader->host = host;
    reader->session = session;
    return reader;
}

void
shoal_pg_reader_destroy(shoal_pg_reader_t **reader)
{
    if (!reader || !*reader) {
        return;
    }
    shoal_pg_reader_t *self = *reader;
    free(self->tables.items);
    free(self->constraints.items);
    free(self->defaults.items);
    free(self->comments.items);
    free(self->views.items);
    free(self->keys.items);
    free(self->columns);
    free(self->namespaces);
    shoal_pg_arena_fini(&self->shard_texts);
    shoal_pg_arena_fini(&self->range_texts);
    shoal_pg_arena_fini(&self->table_texts);
    shoal_buffer_fini(&self->database_fqn);
    shoal_buffer_fini(&self->schemas);
    shoal_buffer_fini(&self->scratch);
    free(self);
    *reader = NULL;
}

// ---- namespaces

static namespace_t *
find_namespace(const shoal_pg_reader_t *reader, uint32_t number)
{
    size_t low = 0;
    for (size_t high = reader->namespace_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (reader->namespaces[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_found = low < reader->namespace_count && reader->namespaces[low].number == number;
    return is_found ? &reader->namespaces[low] : NULL;
}

// The FQN of `name` below `parent`, kept in `arena`.
static shoal_slice_t
keep_fqn(shoal_pg_reader_t *reader, shoal_pg_arena_t *arena, shoal_slice_t parent,
         shoal_slice_t name)
{
    shoal_buffer_clear(&reader->scratch);
    shoal_catalogue_fqn(&reader->scratch, parent, name);
    return shoal_pg_arena_copy(arena, shoal_buffer_slice(&reader->scratch));
}

static void
start_database(shoal_pg_reader_t *reader, shoal_slice_t database)
{
    shoal_buffer_t service = SHOAL_BUFFER_INIT;
    shoal_catalogue_fqn(&service, SHOAL_SLICE_NONE, shoal_slice_of(reader->settings->service));
    shoal_buffer_clear(&reader->database_fqn);
    shoal_catalogue_fqn(&reader->database_fqn, shoal_buffer_slice(&service), database);
    shoal_buffer_fini(&service);
    shoal_pg_arena_clear(&reader->shard_texts);
    reader->namespace_count = 0;
}

static void
add_namespace(shoal_pg_reader_t *reader, const PGresult *row)
{
    size_t count = reader->namespace_count + 1;
    if ((count & (count - 1)) == 0) { // a power of two: room for as many again
        reader->namespaces =
            shoal_realloc(reader->namespaces, 2 * count * sizeof(*reader->namespaces));
    }
    shoal_slice_t name = shoal_pg_arena_copy(&reader->shard_texts, shoal_pg_text(row, 1));
    reader->namespaces[count - 1] =
        (namespace_t){.number = shoal_pg_uint32(row, 0),
                      .name = name,
                      .fqn = keep_fqn(reader, &reader->shard_texts,
                                      shoal_buffer_slice(&reader->database_fqn), name)};
    reader->namespace_count = count;
}

static bool
read_namespaces(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, shoal_status_t *status)
{
    const PGresult *row;
    reader->namespace_count = 0;
    if (!shoal_pg_link_begin(reader->link, status)) {
        return false;
    }
    for (;;) {
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
        if (!row) {
            break;
        }
        add_namespace(reader, row);
    }
    for (uint32_t i = 0; i < task->count_count; i++) {
        namespace_t *namespace = find_namespace(reader, task->counts[i].schema);
        if (namespace) { // else the whole schema has vanished
            namespace->count = &task->counts[i];
        }
    }
    return true;
}

// ---- rows that are kept

static bool
keep_table(shoal_pg_reader_t *reader, const namespace_t *namespace, shoal_slice_t name,
           bool *ret_keep, shoal_status_t *status)
{
    const shoal_pg_settings_t *settings = reader->settings;
    if (shoal_patterns_is_empty(settings->tables)) {
        *ret_keep = true;
        return true;
    }
    if (settings->use_fqn) {
        name = keep_fqn(reader, &reader->range_texts, namespace->fqn, name);
    }
    return shoal_patterns_keep_slice(settings->tables, name, ret_keep, status);
}

static bool
take_table(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    namespace_t *namespace = find_namespace(reader, shoal_pg_uint32(row, 1));
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
    table_t *table = rows_add(&reader->tables, sizeof(*table));
    *table = (table_t){.number = shoal_pg_uint32(row, 0),
                       .kind = shoal_pg_char(row, 2),
                       .namespace = namespace,
                       .name = shoal_pg_arena_copy(&reader->range_texts, name)};
    return true;
}

// FQNs of the columns that a foreign key refers to; NULL if they are gone.
static const shoal_slice_t *
take_referred(shoal_pg_reader_t *reader, const PGresult *row, uint32_t count)
{
    namespace_t *namespace = find_namespace(reader, shoal_pg_uint32(row, 4));
    if (!namespace || PQgetisnull(row, 0, 5) || shoal_pg_array_len(row, 6) != count) {
        return NULL;
    }
    shoal_slice_t table =
        keep_fqn(reader, &reader->range_texts, namespace->fqn, shoal_pg_text(row, 5));
    shoal_slice_t *referred = shoal_pg_arena_take(&reader->range_texts, count * sizeof(*referred));
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        shoal_slice_t name;
        if (!shoal_pg_array_next(row, 6, &at, &name) || !name.ptr) {
            return NULL;
        }
        referred[i] = keep_fqn(reader, &reader->range_texts, table, name);
    }
    return referred;
}

static bool
take_constraint(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    (void)status;
    constraint_t constraint = {.table = shoal_pg_uint32(row, 0),
                               .kind = shoal_pg_char(row, 1),
                               .column_count = shoal_pg_array_len(row, 3)};
    if (constraint.column_count == 0 || constraint.column_count > ATTRIBUTES_MAX) {
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
    *(constraint_t *)rows_add(&reader->constraints, sizeof(constraint)) = constraint;
    return true;
}

static void
take_text(shoal_pg_reader_t *reader, rows_t *rows, uint32_t table, int32_t column,
          shoal_slice_t text)
{
    text_t *item = rows_add(rows, sizeof(*item));
    *item = (text_t){table, column, shoal_pg_arena_copy(&reader->range_texts, text)};
}

static bool
take_default(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    (void)status;
    take_text(reader, &reader->defaults, shoal_pg_uint32(row, 0), shoal_pg_int16(row, 1),
              shoal_pg_text(row, 2));
    return true;
}

static bool
take_comment(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    (void)status;
    take_text(reader, &reader->comments, shoal_pg_uint32(row, 0), shoal_pg_int32(row, 1),
              shoal_pg_text(row, 2));
    return true;
}

static bool
take_view(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status)
{
    (void)status;
    take_text(reader, &reader->views, shoal_pg_uint32(row, 0), 0, shoal_pg_text(row, 1));
    return true;
}

// ---- the table whose columns come

// The first of `rows` at or after `at` that belongs to `table`, as the one before is passed for
// good; NULL if there is none.
static const text_t *
next_text(rows_t *rows, uint32_t table)
{
    const text_t *items = rows->items;
    while (rows->at < rows->count && items[rows->at].table < table) {
        rows->at++;
    }
    bool is_there = rows->at < rows->count && items[rows->at].table == table;
    return is_there ? &items[rows->at] : NULL;
}

// The text of (table, column), which come in growing order.
static shoal_slice_t
text_of(rows_t *rows, uint32_t table, int32_t column)
{
    const text_t *item = next_text(rows, table);
    while (item && item->column < column) {
        rows->at++;
        item = next_text(rows, table);
    }
    return item && item->column == column ? item->text : SHOAL_SLICE_NONE;
}

static const cached_type_t *
stock_type(shoal_pg_reader_t *reader, uint32_t oid, int32_t modifier)
{
    uint32_t hash = (oid * 2654435761u) ^ ((uint32_t)modifier * 40503u);
    cached_type_t *cached = &reader->types[(hash >> 16) % TYPE_CACHE];
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
    const cached_type_t *cached = stock_type(reader, oid, shoal_pg_int32(row, 4));
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

static void
add_column(shoal_pg_reader_t *reader, const table_t *table, const PGresult *row)
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
        .description = text_of(&reader->comments, table->number, number),
    };
    if (!is_generated) {
        column->default_value = text_of(&reader->defaults, table->number, number);
    }
    set_type(reader, row, column);
    if (number > 0 && number < ATTRIBUTES_MAX) {
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
add_key(shoal_pg_reader_t *reader, const constraint_t *constraint)
{
    uint32_t *columns =
        shoal_pg_arena_take(&reader->table_texts, constraint->column_count * sizeof(*columns));
    for (uint32_t i = 0; i < constraint->column_count; i++) {
        uint32_t number = constraint->numbers[i];
        uint32_t index = number < ATTRIBUTES_MAX ? reader->index_of[number] : 0;
        if (index == 0) {
            return;
        }
        columns[i] = index - 1;
    }
    shoal_catalogue_key_t *key = rows_add(&reader->keys, sizeof(*key));
    *key = (shoal_catalogue_key_t){
        .kind = key_kind(constraint->kind),
        .name = constraint->name,
        .columns = columns,
        .column_count = constraint->column_count,
        .referred = constraint->referred,
    };
}

static void
add_keys(shoal_pg_reader_t *reader, const table_t *table)
{
    const constraint_t *items = reader->constraints.items;
    rows_t *rows = &reader->constraints;
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
definition_of(shoal_pg_reader_t *reader, const table_t *table)
{
    const text_t *view = next_text(&reader->views, table->number);
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

static void
start_table(shoal_pg_reader_t *reader)
{
    memset(reader->index_of, 0, reader->attribute_end * sizeof(reader->index_of[0]));
    reader->attribute_end = 0;
    reader->column_count = 0;
    rows_clear(&reader->keys);
    shoal_pg_arena_clear(&reader->table_texts);
}

// Hands over the record of a table whose columns have all come.
static bool
emit_table(shoal_pg_reader_t *reader, const table_t *table, shoal_slice_t description,
           shoal_status_t *status)
{
    add_keys(reader, table);
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
    start_table(reader);
    if (++reader->emitted % PROGRESS_EVERY == 0) {
        reader->host->progress(reader->host->ctx);
    }
    return reader->to->record(reader->to->ctx, table->namespace->count->scope, "table", status);
}

// ---- the stream of columns

// Hands over the tables before the one numbered `until`, none of which has columns to come. The
// table that `description` belongs to is the first of them.
static bool
emit_before(shoal_pg_reader_t *reader, uint32_t until, shoal_slice_t *description,
            shoal_status_t *status)
{
    rows_t *rows = &reader->tables;
    const table_t *items = rows->items;
    while (rows->at < rows->count && items[rows->at].number < until) {
        if (reader->column_count == 0) { // a table without columns: nobody looked for its comment
            *description = text_of(&reader->comments, items[rows->at].number, 0);
        }
        if (!emit_table(reader, &items[rows->at], *description, status)) {
            return false;
        }
        rows->at++;
    }
    return true;
}

static bool
read_columns(shoal_pg_reader_t *reader, shoal_status_t *status)
{
    const PGresult *row;
    shoal_slice_t description = SHOAL_SLICE_NONE;
    if (!shoal_pg_link_begin(reader->link, status)) {
        return false;
    }
    for (;;) {
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
        if (!row) {
            return emit_before(reader, SHOAL_PG_OID_END, &description, status);
        }
        uint32_t number = shoal_pg_uint32(row, 0);
        if (!emit_before(reader, number, &description, status)) {
            return false;
        }
        rows_t *rows = &reader->tables;
        const table_t *table = (const table_t *)rows->items + rows->at;
        if (rows->at == rows->count || table->number != number) {
            continue; // of a table that is filtered, or that is not in a schema to be read
        }
        if (reader->column_count == 0) {
            description = text_of(&reader->comments, number, 0);
        }
        add_column(reader, table, row);
    }
}

// ---- a range

typedef bool take_fn(shoal_pg_reader_t *reader, const PGresult *row, shoal_status_t *status);

static bool
read_rows(shoal_pg_reader_t *reader, take_fn *take, shoal_status_t *status)
{
    const PGresult *row;
    if (!shoal_pg_link_begin(reader->link, status)) {
        return false;
    }
    for (;;) {
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
        if (!row) {
            return true;
        }
        if (!take(reader, row, status)) {
            return false;
        }
    }
}

static void
start_range(shoal_pg_reader_t *reader)
{
    rows_clear(&reader->tables);
    rows_clear(&reader->constraints);
    rows_clear(&reader->defaults);
    rows_clear(&reader->comments);
    rows_clear(&reader->views);
    shoal_pg_arena_clear(&reader->range_texts);
    start_table(reader);
    for (size_t i = 0; i < reader->namespace_count; i++) {
        reader->namespaces[i].range_seen = 0;
        reader->namespaces[i].range_filtered = 0;
    }
}

// Only now, as a range that fails may be read again.
static void
finish_range(shoal_pg_reader_t *reader)
{
    for (size_t i = 0; i < reader->namespace_count; i++) {
        namespace_t *namespace = &reader->namespaces[i];
        namespace->seen += namespace->range_seen;
        if (namespace->range_filtered > 0) {
            reader->to->tally(reader->to->ctx, namespace->count->scope, SHOAL_TALLY_FILTERED,
                              namespace->range_filtered);
        }
    }
}

static bool
send_views(shoal_pg_reader_t *reader, uint32_t views, const char *low, const char *high,
           shoal_status_t *status)
{
    shoal_pg_link_t *link = reader->link;
    char offset[16];
    const char *const parameters[] = {low, high, shoal_buffer_text(&reader->schemas), offset};
    const char *what = sql_what[SQL_VIEWS];
    if (!shoal_pg_link_send(link, what, mark_sql, 0, NULL, status)) {
        return false;
    }
    for (uint32_t at = 0; at < views; at += VIEWS_AT_ONCE) {
        bool is_last = views - at <= VIEWS_AT_ONCE;
        (void)snprintf(offset, sizeof(offset), "%u", at);
        if (!shoal_pg_link_send(link, what, reader->sql[is_last ? SQL_LAST_VIEWS : SQL_VIEWS], 4,
                                parameters, status) ||
            !shoal_pg_link_send(link, what, unlock_sql, 0, NULL, status)) {
            return false;
        }
    }
    return shoal_pg_link_send(link, what, forget_sql, 0, NULL, status);
}

// Sends a range's queries as a group.
static bool
send_range(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, uint32_t range,
           shoal_status_t *status)
{
    char low[16];
    char high[16];
    (void)snprintf(low, sizeof(low), "%u", task->cuts[range]);
    (void)snprintf(high, sizeof(high), "%u", task->cuts[range + 1]);
    const char *const parameters[] = {low, high, shoal_buffer_text(&reader->schemas)};
    for (int i = 0; i <= SQL_COLUMNS; i++) {
        if (i == SQL_VIEWS) {
            if (task->views[range] > 0 &&
                !send_views(reader, task->views[range], low, high, status)) {
                return false;
            }
            continue;
        }
        bool has_third = strstr(reader->sql[i], "$3") != NULL;
        if (!shoal_pg_link_send(reader->link, sql_what[i], reader->sql[i], has_third ? 3 : 2,
                                parameters, status)) {
            return false;
        }
    }
    return shoal_pg_link_sync(reader->link, status);
}

static bool
read_views(shoal_pg_reader_t *reader, uint32_t views, shoal_status_t *status)
{
    if (views == 0) {
        return true;
    }
    if (!shoal_pg_link_skip(reader->link, status)) {
        return false;
    }
    for (uint32_t at = 0; at < views; at += VIEWS_AT_ONCE) {
        if (!read_rows(reader, take_view, status) || !shoal_pg_link_skip(reader->link, status)) {
            return false;
        }
    }
    return shoal_pg_link_skip(reader->link, status);
}

// Reads one range. *ret_emitting is set once a record of it may have been handed over.
static bool
read_range(shoal_pg_reader_t *reader, uint32_t views, bool *ret_emitting, shoal_status_t *status)
{
    start_range(reader);
    if (!read_rows(reader, take_table, status) || !read_rows(reader, take_constraint, status) ||
        !read_rows(reader, take_default, status) || !read_rows(reader, take_comment, status) ||
        !read_views(reader, views, status)) {
        return false;
    }
    *ret_emitting = true;
    if (!read_columns(reader, status) || !shoal_pg_link_end(reader->link, status)) {
        return false;
    }
    finish_range(reader);
    return true;
}

// ---- a shard

static void
write_queries(shoal_pg_reader_t *reader, const shoal_pg_task_t *task)
{
    const shoal_pg_settings_t *settings = reader->settings;
    const char *kinds = "'r', 'p', 'f', 'v', 'm'";
    if (!settings->include_views) {
        kinds = "'r', 'p', 'f'";
    } else if (!settings->include_tables) {
        kinds = "'v', 'm'";
    }
    const char *only = task->is_partial ? " and c.relnamespace = any($3::oid[])" : "";
    const char *types = shoal_pg_link_version(reader->link) > SHOAL_PG_TYPES_VERSION
                            ? "true"
                            : "a.atttypid >= 10000";
    (void)snprintf(reader->sql[SQL_TABLES], SQL_MAX, tables_sql, kinds, only);
    (void)snprintf(reader->sql[SQL_CONSTRAINTS], SQL_MAX, "%s", constraints_sql);
    (void)snprintf(reader->sql[SQL_DEFAULTS], SQL_MAX, "%s", defaults_sql);
    (void)snprintf(reader->sql[SQL_COMMENTS], SQL_MAX, "%s", comments_sql);
    char limit[32];
    (void)snprintf(limit, sizeof(limit), "limit %d", VIEWS_AT_ONCE);
    (void)snprintf(reader->sql[SQL_VIEWS], SQL_MAX, views_sql, limit);
    (void)snprintf(reader->sql[SQL_LAST_VIEWS], SQL_MAX, views_sql, "");
    (void)snprintf(reader->sql[SQL_COLUMNS], SQL_MAX, columns_sql, types, kinds, only);
    shoal_buffer_clear(&reader->schemas);
    for (uint32_t i = 0; i < task->count_count; i++) {
        shoal_buffer_append_format(&reader->schemas, "%c%u", i == 0 ? '{' : ',',
                                   task->counts[i].schema);
    }
    shoal_buffer_append_text(&reader->schemas, task->count_count > 0 ? "}" : "{}");
}

// Begins a transaction and sends what reads the schemas and range `from`.
static bool
send_shard(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, shoal_slice_t snapshot,
           uint32_t from, shoal_status_t *status)
{
    if (!shoal_pg_session_begin(reader->session, task->database, snapshot, &reader->link, status)) {
        return false;
    }
    write_queries(reader, task);
    return shoal_pg_link_send(reader->link, "read the schemas", names_sql, 0, NULL, status) &&
           send_range(reader, task, from, status);
}

// While range `range` is read the server gets its work for the time after.
static bool
send_next(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, uint32_t range,
          shoal_status_t *status)
{
    return range + 1 < task->range_count ? send_range(reader, task, range + 1, status)
                                         : shoal_pg_session_send_end(reader->session, status);
}

typedef struct progress {
    uint32_t range;   // that is read now
    bool is_emitting; // of that range
    bool is_unshared; // the snapshot could not be used
} progress_t;

// Reads ranges from progress->range on. Fails with progress->is_unshared set, and no failure to
// tell, if that should be done again without the snapshot.
static bool
try_shard(shoal_pg_reader_t *reader, const shoal_pg_task_t *task, shoal_slice_t snapshot,
          progress_t *progress, shoal_status_t *status)
{
    bool is_shared = true;
    if (!send_shard(reader, task, snapshot, progress->range, status) ||
        !shoal_pg_session_opened(reader->session, &is_shared, status)) {
        return false;
    }
    if (!is_shared) {
        progress->is_unshared = true;
        return false;
    }
    if (!read_namespaces(reader, task, status)) {
        return false;
    }
    for (; progress->range < task->range_count; progress->range++) {
        progress->is_emitting = false;
        if (!send_next(reader, task, progress->range, status) ||
            !read_range(reader, task->views[progress->range], &progress->is_emitting, status)) {
            // A function of the catalogue met what the snapshot has and the present lacks.
            progress->is_unshared = snapshot.len > 0 && !progress->is_emitting &&
                                    shoal_pg_link_failed_with(reader->link, "XX000");
            return false;
        }
    }
    return shoal_pg_session_finish(reader->session, status);
}

// Tables that are not there any more, or that came.
static void
tally_differences(const shoal_pg_reader_t *reader, const shoal_pg_task_t *task,
                  const uint64_t *seen)
{
    for (uint32_t i = 0; i < task->count_count; i++) {
        const shoal_pg_count_t *count = &task->counts[i];
        if (seen[i] < count->tables) {
            reader->to->tally(reader->to->ctx, count->scope, SHOAL_TALLY_VANISHED,
                              count->tables - seen[i]);
        } else if (seen[i] > count->tables) {
            reader->to->tally(reader->to->ctx, count->scope, SHOAL_TALLY_APPEARED,
                              seen[i] - count->tables);
        }
    }
}

// Adds what the namespaces have seen to `seen`, which outlives them.
static void
sum_up(const shoal_pg_reader_t *reader, const shoal_pg_task_t *task, uint64_t *seen)
{
    for (size_t i = 0; i < reader->namespace_count; i++) {
        const namespace_t *namespace = &reader->namespaces[i];
        if (namespace->count) {
            seen[namespace->count - task->counts] += namespace->seen;
        }
    }
}

// Whether it failed because a database was dropped after it was listed, and the others go on.
static bool
is_dropped(const shoal_pg_reader_t *reader, const shoal_status_t *status)
{
    return reader->settings->all_databases && shoal_pg_is_gone(reader->settings, status);
}

bool
shoal_pg_reader_read(shoal_pg_reader_t *reader, const shoal_pg_task_t *task,
                     const shoal_emitter_t *to, shoal_status_t *status)
{
    reader->to = to;
    start_database(reader, task->database);
    uint64_t *seen = shoal_alloc((task->count_count + 1) * sizeof(*seen));
    progress_t progress = {.range = 0};
    bool is_done = try_shard(reader, task, task->snapshot, &progress, status);
    if (!is_done && progress.is_unshared) {
        shoal_pg_session_abandon(reader->session);
        reader->host->fact(reader->host->ctx, "snapshot", "not shared");
        reader->host->warn(reader->host->ctx, "snapshot of \"%.*s\" not used by a slot: %s",
                           SHOAL_SLICE_ARGS(task->database), status->text);
        sum_up(reader, task, seen);
        shoal_status_clear(status);
        is_done = try_shard(reader, task, SHOAL_SLICE_NONE, &progress, status);
    }
    if (is_done) {
        sum_up(reader, task, seen);
        tally_differences(reader, task, seen);
    } else {
        shoal_pg_session_abandon(reader->session);
        if (is_dropped(reader, status)) {
            shoal_status_clear(status);
            tally_differences(reader, task, seen);
            is_done = true;
        }
    }
    reader->to = NULL;
    reader->link = NULL;
    free(seen);
    return is_done;
}

// ---- parents

static bool
emit_service(shoal_pg_reader_t *reader, const shoal_emitter_t *to, shoal_status_t *status)
{
    shoal_catalogue_service(to->begin(to->ctx), shoal_slice_of(reader->settings->service),
                            "Postgres");
    return to->record(to->ctx, /*scope=*/0, "databaseService", status);
}

static bool
emit_database(shoal_pg_reader_t *reader, shoal_slice_t name, shoal_slice_t description,
              const shoal_emitter_t *to, shoal_status_t *status)
{
    shoal_buffer_t service = SHOAL_BUFFER_INIT;
    shoal_catalogue_fqn(&service, SHOAL_SLICE_NONE, shoal_slice_of(reader->settings->service));
    shoal_catalogue_database(to->begin(to->ctx), name, shoal_buffer_slice(&service), description);
    shoal_buffer_fini(&service);
    return to->record(to->ctx, SHOAL_PG_SCOPE_SERVICE, "database", status);
}

static bool
read_database(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare,
              const shoal_emitter_t *to, shoal_status_t *status)
{
    const PGresult *row;
    if (!shoal_pg_link_begin(reader->link, status) ||
        !shoal_pg_link_row(reader->link, &row, status)) {
        return false;
    }
    shoal_slice_t description = row ? shoal_pg_text(row, 0) : SHOAL_SLICE_NONE;
    if (!emit_database(reader, prepare->database, description, to, status)) {
        return false;
    }
    while (row) {
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
    }
    return true;
}

// One schema's record, if the filters leave it; pg_catalog and its kind are never looked at.
static bool
emit_schema(shoal_pg_reader_t *reader, const PGresult *row, const shoal_pg_prepare_t *prepare,
            const shoal_emitter_t *to, uint64_t *seen, shoal_status_t *status)
{
    shoal_slice_t name = shoal_pg_text(row, 1);
    if (name.len >= 3 && memcmp(name.ptr, "pg_", 3) == 0) {
        return true;
    }
    shoal_slice_t database = shoal_buffer_slice(&reader->database_fqn);
    shoal_slice_t fqn = keep_fqn(reader, &reader->shard_texts, database, name);
    bool is_kept;
    if (!shoal_pg_settings_keep_schema(reader->settings, name, fqn, &is_kept, status)) {
        return false;
    }
    if (!is_kept) {
        return true;
    }
    (*seen)++;
    shoal_catalogue_schema(to->begin(to->ctx), name, database, shoal_pg_text(row, 2));
    return to->record(to->ctx, prepare->scope, "databaseSchema", status);
}

static bool
read_schemas(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare,
             const shoal_emitter_t *to, shoal_status_t *status)
{
    uint64_t seen = 0;
    if (!shoal_pg_link_begin(reader->link, status)) {
        return false;
    }
    for (;;) {
        const PGresult *row;
        if (!shoal_pg_link_row(reader->link, &row, status)) {
            return false;
        }
        if (!row) {
            break;
        }
        if (!emit_schema(reader, row, prepare, to, &seen, status)) {
            return false;
        }
    }
    if (seen != prepare->schemas) {
        bool is_fewer = seen < prepare->schemas;
        to->tally(to->ctx, prepare->scope, is_fewer ? SHOAL_TALLY_VANISHED : SHOAL_TALLY_APPEARED,
                  is_fewer ? prepare->schemas - seen : seen - prepare->schemas);
    }
    return true;
}

// The database and its schemas, in a transaction with that snapshot.
static bool
try_prepare(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare, shoal_slice_t snapshot,
            const shoal_emitter_t *to, bool *ret_is_shared, shoal_status_t *status)
{
    *ret_is_shared = true;
    return shoal_pg_session_begin(reader->session, prepare->database, snapshot, &reader->link,
                                  status) &&
           shoal_pg_link_send(reader->link, "read the database's comment", database_sql, 0, NULL,
                              status) &&
           shoal_pg_link_send(reader->link, "read the schemas", schemas_sql, 0, NULL, status) &&
           shoal_pg_session_send_end(reader->session, status) &&
           shoal_pg_session_opened(reader->session, ret_is_shared, status) && *ret_is_shared &&
           read_database(reader, prepare, to, status) &&
           read_schemas(reader, prepare, to, status) &&
           shoal_pg_session_finish(reader->session, status);
}

static bool
prepare_database(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare,
                 const shoal_emitter_t *to, shoal_status_t *status)
{
    bool is_shared;
    start_database(reader, prepare->database);
    bool is_done = try_prepare(reader, prepare, prepare->snapshot, to, &is_shared, status);
    if (!is_done && !is_shared) {
        shoal_pg_session_abandon(reader->session);
        shoal_status_clear(status);
        is_done = try_prepare(reader, prepare, SHOAL_SLICE_NONE, to, &is_shared, status);
    }
    if (!is_done) {
        shoal_pg_session_abandon(reader->session);
        if (is_dropped(reader, status)) {
            shoal_status_clear(status);
            to->tally(to->ctx, SHOAL_PG_SCOPE_SERVICE, SHOAL_TALLY_VANISHED, 1);
            to->tally(to->ctx, prepare->scope, SHOAL_TALLY_VANISHED, prepare->schemas);
            is_done = true;
        }
    }
    reader->link = NULL;
    return is_done;
}

bool
shoal_pg_reader_prepare(shoal_pg_reader_t *reader, const shoal_pg_prepare_t *prepare,
                        const shoal_emitter_t *to, shoal_status_t *status)
{
    switch (prepare->kind) {
    case SHOAL_PG_PREPARE_SERVICE: return emit_service(reader, to, status);
    case SHOAL_PG_PREPARE_DATABASE: return prepare_database(reader, prepare, to, status);
    case SHOAL_PG_PREPARE_BARE:
        return emit_database(reader, prepare->database, SHOAL_SLICE_NONE, to, status);
    case SHOAL_PG_PREPARE_GONE:
        to->tally(to->ctx, SHOAL_PG_SCOPE_SERVICE, SHOAL_TALLY_VANISHED, 1);
        return true;
    }
    return shoal_fail(status, SHOAL_INTERNAL, "no such prepare shard");
}
