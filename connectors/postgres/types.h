// SPDX-License-Identifier: Apache-2.0
//
// types.h - what a column's type is called: in PostgreSQL's own words and in OpenMetadata's.
//
// The types that come with PostgreSQL have the same numbers everywhere, so their text is made here,
// equal to format_type()'s; that saves the server a function call for every column. For other types
// the server gives its text and says what the type is made of.
//
// Threads: none shared.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_TYPES_H
#define SHOAL_CONNECTORS_POSTGRES_TYPES_H

#include <stdint.h>

#include "proto/base/buffer.h"

// Types from this number on differ from server to server.
#define SHOAL_PG_STOCK_TYPES_END 10000

// The newest server whose stock types are all known here; a newer one is asked for every text.
#define SHOAL_PG_TYPES_VERSION 179999

#define SHOAL_PG_DISPLAY_MAX   64 // bytes of a stock type's text with the final NUL

typedef struct shoal_pg_type {
    shoal_slice_t data_type;  // "VARCHAR"; "ARRAY"; "UNKNOWN"
    shoal_slice_t array_type; // word of the elements, if ARRAY
    uint32_t length;          // 0: none
    int32_t precision;        // or SHOAL_CATALOGUE_NO_NUMBER
    int32_t scale;            // or SHOAL_CATALOGUE_NO_NUMBER
    bool is_unknown;          // the type, or that of its elements, has no word
} shoal_pg_type_t;

// The stock type `oid` with that modifier: its word, and its text in `display`. False if `oid` is
// no stock type.
SHOAL_MUST_CHECK bool shoal_pg_type_stock(uint32_t oid, int32_t modifier, shoal_pg_type_t *ret_type,
                                          char display[SHOAL_PG_DISPLAY_MAX]);

// Any other type, from the server's description of it, "PATH KIND OID MODIFIER NAME": how to come
// to what it is made of (d: a domain's base, a: an array's element), then that one's pg_type.typtype,
// number, modifier and name. "da b 1043 24 varchar" is a domain over varchar(20)[].
void shoal_pg_type_other(shoal_slice_t description, shoal_pg_type_t *ret_type);

#endif
