// SPDX-License-Identifier: Apache-2.0
//
// letters.h - the dead letters of one call: records that failed for good, on their way to the head.
//
// A letter says what failed, where and why, and holds the record as the source gave it, before any
// processor, so that a later run can send it through them again (docs/protocol.md 6.2). Secrets of
// the workflow are taken out; a record that had one, or that is too large to keep, is no longer
// whole, and a later run reads it from the source again. Letters go out in batches of their own.
//
// Embedded.  Threads: one owner.  Logging: none.

#ifndef SHOAL_WORKER_LETTERS_H
#define SHOAL_WORKER_LETTERS_H

#include "worker/class.h"
#include "worker/secrets.h"

#define SHOAL_LETTER_RECORD_MAX 196608 // bytes of a record that is kept
#define SHOAL_LETTER_NAME_MAX   512    // bytes of its name; longer ones are cut
#define SHOAL_LETTERS_CUT_BYTES 65536  // a batch of letters is sent when it has so many

typedef struct shoal_letter {
    uint64_t number;  // of the letter that was tried again; 0: a new one
    uint32_t scope;   // where it is counted; 0: nowhere
    const char *type; // "table"; NULL: unknown
    const char *step; // where it failed: "source", "processor[0]", "sink"
    const char *name;
    shoal_slice_t record; // empty: the source could not read it
    const shoal_status_t *why;
} shoal_letter_t;

typedef struct shoal_letters {
    const shoal_call_t *call;
    const shoal_secrets_t *secrets; // borrowed
    shoal_buffer_t out;
    uint32_t count; // in `out`
    shoal_buffer_t scratch;
} shoal_letters_t;

// Starts for one call. The structure is zeroed, or was used by a call before.
void shoal_letters_start(shoal_letters_t *letters, const shoal_call_t *call,
                         const shoal_secrets_t *secrets);
void shoal_letters_fini(shoal_letters_t *letters);

// Adds a letter; may send those before it.
//   what sending fails with
SHOAL_MUST_CHECK bool shoal_letters_add(shoal_letters_t *letters, const shoal_letter_t *letter,
                                        shoal_status_t *status);

// Sends what is there.
SHOAL_MUST_CHECK bool shoal_letters_flush(shoal_letters_t *letters, shoal_status_t *status);

#endif
