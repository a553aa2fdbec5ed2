// SPDX-License-Identifier: Apache-2.0
//
// names.h - how the tables of a database spell their names.
//
// A foreign key may name its parent in any case; the record must have the name as the parent spells
// it. sqlite_schema has no index, so the names are read once and searched here.
//
// Threads: one owner at a time.  Logging: none.

#ifndef SHOAL_CONNECTORS_SQLITE_NAMES_H
#define SHOAL_CONNECTORS_SQLITE_NAMES_H

#include "connectors/sqlite/database.h"

typedef struct shoal_sqlite_names shoal_sqlite_names_t;

// Reads the names of all tables; views are no parents.
SHOAL_MUST_CHECK bool shoal_sqlite_names_new(shoal_sqlite_t *database,
                                             shoal_sqlite_names_t **ret_names,
                                             shoal_status_t *status);
void shoal_sqlite_names_destroy(shoal_sqlite_names_t **names);

// The table's own spelling of `name`, valid as long as `names`; empty: there is no such table.
shoal_slice_t shoal_sqlite_names_find(const shoal_sqlite_names_t *names, shoal_slice_t name);

#endif
