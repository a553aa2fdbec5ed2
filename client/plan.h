// SPDX-License-Identifier: Apache-2.0
//
// plan.h - the shards of a validation, as a table for people.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CLIENT_PLAN_H
#define SHOAL_CLIENT_PLAN_H

#include "client/report.h"
#include "proto/base/buffer.h"

void shoal_plan_show(const shoal_report_t *report, shoal_buffer_t *out);

#endif
