// SPDX-License-Identifier: Apache-2.0
//
// comments.h - what the comments of a CREATE statement say about a table and its columns.
//
// SQLite has no COMMENT ON, but it keeps the statement's text, and people write
//
//     CREATE TABLE customers ( -- People who have bought something.
//         id INTEGER PRIMARY KEY,  -- Given at the first order.
//         -- As on the invoice.
//         name TEXT NOT NULL
//     );
//
// A comment that ends the line of a column's definition is that column's; one on lines of its own is
// the next column's; one between the table's name and the end of the line of '(' is the table's, as
// is one between a view's name and its query. Anything else is left alone.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CONNECTORS_SQLITE_COMMENTS_H
#define SHOAL_CONNECTORS_SQLITE_COMMENTS_H

#include "proto/base/buffer.h"

// Told of each description: `column` is the name as it is written, without its quotes; empty for the
// table or view itself. Several comments of one thing come one after the other.
typedef void shoal_sqlite_comment_fn(void *ctx, shoal_slice_t column, shoal_slice_t text);

void shoal_sqlite_comments(shoal_slice_t sql, shoal_sqlite_comment_fn *tell, void *ctx);

#endif
