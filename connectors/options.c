// SPDX-License-Identifier: Apache-2.0
//
// options.c - see options.h.

#include "connectors/options.h"
