// SPDX-License-Identifier: Apache-2.0
//
// source.h - the operations of the postgres source (connectors/connector.h).

#ifndef SHOAL_CONNECTORS_POSTGRES_SOURCE_H
#define SHOAL_CONNECTORS_POSTGRES_SOURCE_H

#include "connectors/connector.h"

extern const shoal_source_ops_t shoal_pg_source_ops;

#endif
