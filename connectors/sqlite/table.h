// SPDX-License-Identifier: Apache-2.0
//
// table.h - reads one table or view of an SQLite database and writes its record.
//
// Columns come from table_xinfo, keys from table_xinfo, index_list and foreign_key_list, comments
// from the text of the CREATE statement.
//
// Threads: one owner at a time.  Logging: none.

#ifndef SHOAL_CONNECTORS_SQLITE_TABLE_H
#define SHOAL_CONNECTORS_SQLITE_TABLE_H

#include "connectors/sqlite/database.h"

typedef struct shoal_sqlite_reader shoal_sqlite_reader_t;

// `database` is borrowed, `schema_fqn` copied.
SHOAL_MUST_CHECK bool shoal_sqlite_reader_new(shoal_sqlite_t *database, shoal_slice_t schema_fqn,
                                              shoal_sqlite_reader_t **ret_reader,
                                              shoal_status_t *status);
void shoal_sqlite_reader_destroy(shoal_sqlite_reader_t **reader);

// Appends the record of the table or view `name` whose CREATE statement is `sql`. On failure `out`
// holds nothing of use.
//   class data  this one cannot be read (a view whose table is gone, an unknown virtual table)
SHOAL_MUST_CHECK bool shoal_sqlite_reader_table(shoal_sqlite_reader_t *reader, shoal_slice_t name,
                                                bool is_view, shoal_slice_t sql,
                                                shoal_buffer_t *out, shoal_status_t *status);

#endif
