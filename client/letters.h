// SPDX-License-Identifier: Apache-2.0
//
// letters.h - a job's dead letters, fetched from the head and shown.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_LETTERS_H
#define SHOAL_CLIENT_LETTERS_H

#include "client/session.h"

// Shown each letter, one msgpack map (docs/protocol.md 7.2); false stops.
typedef bool shoal_letters_each_fn(void *ctx, shoal_slice_t letter, shoal_status_t *status);

// Asks for the letters of a job (its number or id) from number `from` on, page by page, at most
// `count` (0: all). `is_whole`: with records and attempts.
//   as shoal_session_ask(); SHOAL_PROTOCOL for an answer that cannot be read
SHOAL_MUST_CHECK bool shoal_letters_fetch(shoal_session_t *session, const char *job, bool is_whole,
                                          uint64_t from, uint64_t count,
                                          shoal_letters_each_fn *each, void *ctx,
                                          shoal_status_t *status);

// Appends one letter as a line of the export: {"record_id","error","traceback","data"}; `data` is
// null where there is no record, or one that JSON cannot say.
void shoal_letter_line(shoal_slice_t letter, shoal_buffer_t *out);

// Appends one letter in full, for people.
void shoal_letter_text(shoal_slice_t letter, shoal_buffer_t *out);

// Appends all of them as a table; `letters` are maps one after the other.
void shoal_letters_table(shoal_slice_t letters, shoal_buffer_t *out);

// Writes the job's letters as lines of the export to `path`, by way of a new file beside it.
//   as shoal_letters_fetch(), and SHOAL_IO
SHOAL_MUST_CHECK bool shoal_letters_save(shoal_session_t *session, const char *job,
                                         const char *path, uint64_t *ret_count,
                                         shoal_status_t *status);

#endif
