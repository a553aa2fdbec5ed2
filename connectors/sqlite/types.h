// SPDX-License-Identifier: Apache-2.0
//
// types.h - the declared type of an SQLite column as a word of OpenMetadata's enum.
//
// SQLite takes any text as a type. Words that other databases have too are known by name; the rest
// follows SQLite's own rules of affinity.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CONNECTORS_SQLITE_TYPES_H
#define SHOAL_CONNECTORS_SQLITE_TYPES_H

#include <stdint.h>

#include "connectors/catalogue.h"

// Sets data_type (a literal), length, precision and scale of `column` from its declared type.
void shoal_sqlite_type(shoal_slice_t declared, shoal_catalogue_column_t *column);

#endif
