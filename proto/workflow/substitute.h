// SPDX-License-Identifier: Apache-2.0
//
// substitute.h - ${VAR} and ${VAR:-default} in the texts of a document; "$$" is one "$".
//
// Inside proto/workflow/ only. Values are replaced after parsing, so nothing in a variable can
// become YAML; keys stay, and so do texts from the command line. A "$" before anything else is
// itself, as in the regex "^tmp_.*$".
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_PROTO_WORKFLOW_SUBSTITUTE_H
#define SHOAL_PROTO_WORKFLOW_SUBSTITUTE_H

#include "proto/workflow/document.h"
#include "proto/workflow/workflow.h"

// Gives variables from rules->variable (NULL: getenv).
//   SHOAL_INVALID  unset variable, malformed ${...}, a value that is not UTF-8
//   SHOAL_LIMIT    the texts grow too large
SHOAL_MUST_CHECK bool shoal_document_substitute(shoal_document_t *document,
                                                const shoal_workflow_rules_t *rules,
                                                shoal_status_t *status);

#endif
