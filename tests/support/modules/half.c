// SPDX-License-Identifier: Apache-2.0
//
// half.c - a connector module whose operations are missing, for test_module.c.

#include "connectors/connector.h"

static const shoal_sink_ops_t sink = {.is_collected = true};

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "half",
    .summary = "not finished",
    .sink = &sink,
};
