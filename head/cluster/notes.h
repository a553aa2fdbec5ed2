// SPDX-License-Identifier: Apache-2.0
//
// notes.h - the ledger's sink that ends at the scribe: notes as errands, with what they say.
//
// Threads: the hub's.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_NOTES_H
#define SHOAL_HEAD_CLUSTER_NOTES_H

#include "head/cluster/ledger.h"
#include "head/output/output.h"

// A sink whose notes go to the scribe of `outputs`, which is borrowed.
shoal_ledger_sink_t shoal_notes_sink(shoal_outputs_t *outputs);

// The hook `noted` of the outputs: frees a note of this sink.
void shoal_notes_back(void *ctx, shoal_journal_note_t *note);

#endif
