// SPDX-License-Identifier: Apache-2.0
//
// notes.h - what a run warns of: the workers' warnings with their places in the workflow file, and
// what only the whole of a result shows.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CLIENT_NOTES_H
#define SHOAL_CLIENT_NOTES_H

#include "client/summary.h"

typedef void shoal_notes_fn(void *ctx, const char *text, uint64_t count);

// Calls `take` for each warning of the report; it may have none.
void shoal_notes_each(const shoal_summary_t *summary, shoal_notes_fn *take, void *ctx);

#endif
