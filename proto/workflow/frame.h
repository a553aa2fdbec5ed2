// SPDX-License-Identifier: Apache-2.0
//
// frame.h - the keys of a workflow file that every connector has in common, and their types.
//
// Inside proto/workflow/ only.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_PROTO_WORKFLOW_FRAME_H
#define SHOAL_PROTO_WORKFLOW_FRAME_H

#include "proto/workflow/document.h"
#include "proto/workflow/workflow.h"

#define SHOAL_WARNINGS_MAX 100 // one more says that there are more

// NUL-terminated texts, one after the other.
typedef struct shoal_warnings {
    shoal_buffer_t texts;
    size_t count;
} shoal_warnings_t;

// Checks the document's frame; unknown keys are warnings if `is_lenient`.
SHOAL_MUST_CHECK bool shoal_frame_check(shoal_document_t *document, bool is_lenient,
                                        shoal_warnings_t *warnings, shoal_status_t *status);

// What the runtime uses of a document that shoal_frame_check() has passed. Texts are the document's.
void shoal_frame_run(const shoal_document_t *document, shoal_workflow_run_t *ret_run);

#endif
