// SPDX-License-Identifier: Apache-2.0
//
// catalogue.h - builds the records of a database's catalogue: service, database, schema, table.
//
// Each function appends one whole record (a msgpack map) to a buffer, usually the emitter's. The
// fields are those of OpenMetadata's create requests, with three additions that a sink for
// OpenMetadata leaves out: a column's `default` (its expression) and `nullable`, and a constraint's
// `name`. Names are given as the source has them; here "::", ">" and '"' in them are encoded as
// OpenMetadata wants it, and then `displayName` keeps the name as it was. FQNs (`parent`) are given
// as shoal_catalogue_fqn() built them. Empty texts mean absent; absent fields are not written.
//
// Threads: none shared.  Logging: none.

#ifndef SHOAL_CONNECTORS_CATALOGUE_H
#define SHOAL_CONNECTORS_CATALOGUE_H

#include <stdint.h>

#include "proto/base/buffer.h"

// Appends the FQN of `name` below `parent`, an FQN or empty for a service, at the end of `out`,
// which may hold other things before.
void shoal_catalogue_fqn(shoal_buffer_t *out, shoal_slice_t parent, shoal_slice_t name);

// {"kind":"databaseService","name":"pg1","serviceType":"Postgres"}
void shoal_catalogue_service(shoal_buffer_t *out, shoal_slice_t name, const char *service_type);

// {"kind":"database","name":"sales","service":"pg1","description":...}
void shoal_catalogue_database(shoal_buffer_t *out, shoal_slice_t name, shoal_slice_t service_fqn,
                              shoal_slice_t description);

// {"kind":"databaseSchema","name":"public","database":"pg1.sales","description":...}
void shoal_catalogue_schema(shoal_buffer_t *out, shoal_slice_t name, shoal_slice_t database_fqn,
                            shoal_slice_t description);

#define SHOAL_CATALOGUE_NO_NUMBER INT32_MIN // a precision or scale that a type does not have

typedef struct shoal_catalogue_column {
    shoal_slice_t name;
    shoal_slice_t data_type;     // a word of OpenMetadata's enum: "BIGINT", "ARRAY", "UNKNOWN"
    shoal_slice_t display;       // the source's own text: "character varying(120)"
    shoal_slice_t array_type;    // word of the elements' type, if data_type is ARRAY
    shoal_slice_t default_value; // the expression's text
    shoal_slice_t description;
    uint32_t position; // ordinalPosition, from 1
    uint32_t length;   // dataLength; 0: unknown, written as 1 as OpenMetadata does
    int32_t precision; // or SHOAL_CATALOGUE_NO_NUMBER
    int32_t scale;     // or SHOAL_CATALOGUE_NO_NUMBER
    bool is_nullable;
    unsigned char marks; // the builder's own: which single-column keys it is
} shoal_catalogue_column_t;

typedef enum shoal_catalogue_key_kind {
    SHOAL_KEY_PRIMARY,
    SHOAL_KEY_UNIQUE,
    SHOAL_KEY_FOREIGN,
} shoal_catalogue_key_kind_t;

typedef struct shoal_catalogue_key {
    shoal_catalogue_key_kind_t kind;
    shoal_slice_t name;            // of the constraint; may be empty
    const uint32_t *columns;       // indexes into the table's columns
    uint32_t column_count;         // at least 1
    const shoal_slice_t *referred; // FOREIGN: as many column FQNs; else NULL
} shoal_catalogue_key_t;

typedef struct shoal_catalogue_table {
    shoal_slice_t name;
    shoal_slice_t schema_fqn;
    const char *table_type; // "Regular", "View", "MaterializedView", "Partitioned", "Foreign", ...
    shoal_slice_t description;
    shoal_slice_t definition; // schemaDefinition: the SQL of a view
    shoal_catalogue_column_t *columns;
    uint32_t column_count;
    const shoal_catalogue_key_t *keys;
    uint32_t key_count;
} shoal_catalogue_table_t;

// {"kind":"table","name":...,"tableType":...,"databaseSchema":...,"columns":[...],
//  "tableConstraints":[...],"schemaDefinition":...}
//
// A primary or unique key of one column becomes that column's constraint, others and all foreign
// keys table constraints; a column without such a key says NOT_NULL or NULL. A foreign key over
// columns that are a key of their own is ONE_TO_ONE, any other MANY_TO_ONE. Writes to the columns'
// `marks` only.
void shoal_catalogue_table(shoal_buffer_t *out, shoal_catalogue_table_t *table);

#endif
