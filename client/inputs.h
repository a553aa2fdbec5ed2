// SPDX-License-Identifier: Apache-2.0
//
// inputs.h - the files here that a run reads, which its output must not replace.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_CLIENT_INPUTS_H
#define SHOAL_CLIENT_INPUTS_H

#include "proto/base/status.h"
#include "proto/workflow/workflow.h"

// Looks whether a run that writes `output`, or what stands beside it meanwhile, would write over
// its workflow file (NULL: it has none) or over the file that its source reads. They may go by
// different names. A stream replaces nothing.
//   SHOAL_INVALID  it would; the message says over what
SHOAL_MUST_CHECK bool shoal_inputs_check(const shoal_workflow_t *workflow, const char *file,
                                         const char *output, shoal_status_t *status);

#endif
