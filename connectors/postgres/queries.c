// SPDX-License-Identifier: Apache-2.0
//
// queries.c - see reader_parts.h: what a range of tables is asked for.

#include <stdio.h>
#include <string.h>

#include "connectors/postgres/reader_parts.h"

const char *const shoal_pg_sql_what[SHOAL_PG_SQL_COUNT] = {
    "read the tables", "read the keys",    "read the defaults", "read the comments",
    "read the views",  "read the columns", "read the views",
};

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

void
shoal_pg_write_queries(shoal_pg_reader_t *reader, const shoal_pg_task_t *task)
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
    (void)snprintf(reader->sql[SHOAL_PG_SQL_TABLES], SHOAL_PG_SQL_MAX, tables_sql, kinds, only);
    (void)snprintf(reader->sql[SHOAL_PG_SQL_CONSTRAINTS], SHOAL_PG_SQL_MAX, "%s", constraints_sql);
    (void)snprintf(reader->sql[SHOAL_PG_SQL_DEFAULTS], SHOAL_PG_SQL_MAX, "%s", defaults_sql);
    (void)snprintf(reader->sql[SHOAL_PG_SQL_COMMENTS], SHOAL_PG_SQL_MAX, "%s", comments_sql);
    char limit[32];
    (void)snprintf(limit, sizeof(limit), "limit %d", SHOAL_PG_VIEWS_AT_ONCE);
    (void)snprintf(reader->sql[SHOAL_PG_SQL_VIEWS], SHOAL_PG_SQL_MAX, views_sql, limit);
    (void)snprintf(reader->sql[SHOAL_PG_SQL_LAST_VIEWS], SHOAL_PG_SQL_MAX, views_sql, "");
    (void)snprintf(reader->sql[SHOAL_PG_SQL_COLUMNS], SHOAL_PG_SQL_MAX, columns_sql, types, kinds,
                   only);
    shoal_buffer_clear(&reader->schemas);
    for (uint32_t i = 0; i < task->count_count; i++) {
        shoal_buffer_append_format(&reader->schemas, "%c%u", i == 0 ? '{' : ',',
                                   task->counts[i].schema);
    }
    shoal_buffer_append_text(&reader->schemas, task->count_count > 0 ? "}" : "{}");
}
