// SPDX-License-Identifier: Apache-2.0
//
// secrets.h - the secrets of a workflow, and how they are kept out of what is kept.
//
// A set of texts (passwords, keys) that were written into the options of a job's connectors.
// Wherever one of them stands in a text, "***" is put instead; in a record, the value of a field
// whose name says that it is a secret ("password", "token" and the like) is replaced as a whole.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_WORKER_SECRETS_H
#define SHOAL_WORKER_SECRETS_H

#include "proto/base/buffer.h"

#define SHOAL_SECRETS_MAX       64 // of one workflow; further ones are found by their field's name
#define SHOAL_SECRET_SHORT      4  // a shorter one is only replaced where it is the whole text
#define SHOAL_SECRETS_DEPTH_MAX 24 // nesting of a record that is looked into

typedef struct shoal_secrets {
    char *texts[SHOAL_SECRETS_MAX];
    size_t count;
} shoal_secrets_t; // a zeroed one is empty

void shoal_secrets_add(shoal_secrets_t *secrets, const char *text); // copied
void shoal_secrets_fini(shoal_secrets_t *secrets);                  // wipes and frees

// Appends `text` without secrets. True: there was one.
bool shoal_secrets_hide(const shoal_secrets_t *secrets, shoal_slice_t text, shoal_buffer_t *out);

// Appends `record`, one msgpack value, without secrets. *ret_hidden: there was one. False: it is
// malformed or nested too deep; then nothing is appended.
SHOAL_MUST_CHECK bool shoal_secrets_hide_record(const shoal_secrets_t *secrets,
                                                shoal_slice_t record, shoal_buffer_t *out,
                                                bool *ret_hidden);

#endif
