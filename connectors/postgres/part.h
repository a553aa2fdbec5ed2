// SPDX-License-Identifier: Apache-2.0
//
// part.h - how far discovery has come, as its cursor says it to the next attempt.
//
// Between two databases the cursor is the number of the last one and the numbers that come next.
// Inside of one it also has what was told of it: the schemas with their scopes and how many of their
// tables the shards have so far, and where the tables begin that no shard has yet. The next attempt
// cuts only these, so that two cuts never overlap, whatever happens to the catalogue meanwhile.
//
// Threads: none shared.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_PART_H
#define SHOAL_CONNECTORS_POSTGRES_PART_H

#include "connectors/connector.h"

// Of one database, so that its cursor stays small; one with more is told again from its beginning.
#define SHOAL_PG_PART_SCHEMAS_MAX 1000

typedef struct shoal_pg_part_schema {
    uint32_t number; // (oid) of the schema; its scope is the database's, plus 1, plus its index
    bool is_failed;  // it was told as such
    uint64_t told;   // tables of it in shards
} shoal_pg_part_schema_t;

typedef struct shoal_pg_part {
    uint32_t database; // that was told last, or is being told; 0: none
    shoal_scope_t next_scope;
    uint32_t next_shard;
    bool is_inside; // what follows counts
    shoal_scope_t scope;
    uint32_t prepare;      // shard that the others need
    uint32_t from_schema;  // 0: tables of every schema, from number from_table on; else tables from
    uint32_t from_table;   // (from_schema, from_table) on
    uint32_t schema_count; // sorted by number
    shoal_pg_part_schema_t *schemas;
} shoal_pg_part_t;

void shoal_pg_part_write(const shoal_pg_part_t *part, shoal_buffer_t *out);

// Reads what part_write() wrote; an empty cursor is the beginning. Free it with part_fini().
//   SHOAL_PROTOCOL  malformed
SHOAL_MUST_CHECK bool shoal_pg_part_read(shoal_slice_t cursor, shoal_pg_part_t *part,
                                         shoal_status_t *status);
void shoal_pg_part_fini(shoal_pg_part_t *part);

// Leaves the database that it is inside of; it is all told.
void shoal_pg_part_leave(shoal_pg_part_t *part);

// The schema of that number, or NULL.
shoal_pg_part_schema_t *shoal_pg_part_schema(const shoal_pg_part_t *part, uint32_t number);

#endif
