// SPDX-License-Identifier: Apache-2.0
//
// patterns.c - see patterns.h.

#include "connectors/patterns.h"
