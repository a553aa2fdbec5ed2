// SPDX-License-Identifier: Apache-2.0
//
// old.c - a connector module of another ABI, for test_module.c.

#include "connectors/connector.h"

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI + 1,
    .name = "old",
    .summary = "built long ago",
};
