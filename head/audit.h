// SPDX-License-Identifier: Apache-2.0
//
// audit.h - looks into the state folder of a head that does not run: journal and spool.
//
// Both functions only read, keep heads away while they do, and write text: lines for people or lines
// of JSON.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_HEAD_AUDIT_H
#define SHOAL_HEAD_AUDIT_H

#include <stdio.h>

#include "proto/base/status.h"

// Checks that the journal is sound and its entries can be read, that each batch of each commit is in
// the spool and is what was written. Prints a summary and what the next start would mend.
//   SHOAL_EXISTS                a head has it open, or somebody else looks
//   SHOAL_NOT_FOUND             there is no journal
//   SHOAL_IO SHOAL_INVALID ...  what is wrong, and where
SHOAL_MUST_CHECK bool shoal_audit_check(const char *directory, FILE *out, shoal_status_t *status);

// Prints everything but the records: a line for each job, entry, group of letters and segment.
SHOAL_MUST_CHECK bool shoal_audit_dump(const char *directory, FILE *out, shoal_status_t *status);

#endif
