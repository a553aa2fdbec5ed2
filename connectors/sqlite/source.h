// SPDX-License-Identifier: Apache-2.0
//
// source.h - the operations of the sqlite source (connectors/connector.h).

#ifndef SHOAL_CONNECTORS_SQLITE_SOURCE_H
#define SHOAL_CONNECTORS_SQLITE_SOURCE_H

#include "connectors/connector.h"

#define SHOAL_SQLITE_TABLES_PER_SHARD_LEAST 5    // fewer are not worth a call of their own
#define SHOAL_SQLITE_TABLES_PER_SHARD_MOST  2500 // so that progress is seen

extern const shoal_source_ops_t shoal_sqlite_source_ops;

#endif
