// SPDX-License-Identifier: Apache-2.0
//
// vault.h - the secrets of accepted jobs, sealed in files beside the journal.
//
// A job's arguments hold passwords, so they are never in the journal. STATE/secrets/JOB.box holds
// them, sealed with the key in STATE/vault.key (libsodium's secretbox: encrypted, and any change is
// noticed). Who gets a copy of one of the two learns nothing; a backup should not hold both.
//
//   box = "SHBOX\x01\0\0"  key id 8  length 8 (big endian)  nonce 24  sealed (job 8, bytes, mac 16)
//
// Threads: one at a time; the scribe's while the head runs (these calls wait for the disk).
// Logging: none.

#ifndef SHOAL_HEAD_STORE_VAULT_H
#define SHOAL_HEAD_STORE_VAULT_H

#include <stdint.h>

#include "proto/base/private.h"

#define SHOAL_VAULT_BYTES_MAX (UINT32_C(1) << 20) // of one job, as SUBMIT's payload

typedef struct shoal_vault shoal_vault_t;

// Opens the vault in the state folder `directory`; makes `secrets` (0700) and `vault.key` (0600) on
// first use.
//   SHOAL_DENIED     the folder or the key belongs to somebody else, or others may read it
//   SHOAL_NOT_FOUND  no state folder; or boxes are there and the key that they need is not
//   SHOAL_INVALID    vault.key is no key
//   SHOAL_IO         the disk refuses
SHOAL_MUST_CHECK bool shoal_vault_open(const char *directory, shoal_vault_t **ret_vault,
                                       shoal_status_t *status);

// Wipes the key out of the memory and frees the vault. NULL and *NULL are fine.
void shoal_vault_close(shoal_vault_t **vault);

// Seals `bytes` as the job's, in place of what was there; safe on the disk on return.
//   SHOAL_LIMIT  more than SHOAL_VAULT_BYTES_MAX
//   SHOAL_IO     the disk refuses
SHOAL_MUST_CHECK bool shoal_vault_put(shoal_vault_t *vault, uint64_t job, shoal_slice_t bytes,
                                      shoal_status_t *status);

// Appends the job's bytes to `ret_bytes`; shoal_private_wipe() them after use.
//   SHOAL_NOT_FOUND  the job has no box
//   SHOAL_DENIED     the box is somebody else's, others may read it, or it was sealed with another
//                    key than the one in vault.key
//   SHOAL_IO         it is cut short, damaged, another job's, or cannot be read
SHOAL_MUST_CHECK bool shoal_vault_get(shoal_vault_t *vault, uint64_t job, shoal_buffer_t *ret_bytes,
                                      shoal_status_t *status);

// Deletes the job's box; fine if it has none.
void shoal_vault_drop(shoal_vault_t *vault, uint64_t job);

// Deletes the boxes of jobs that `keep` does not know (a head that died between a box and its
// journal entry leaves one); returns how many.
typedef bool shoal_vault_keep_fn(void *ctx, uint64_t job);
size_t shoal_vault_sweep(shoal_vault_t *vault, shoal_vault_keep_fn *keep, void *ctx);

#endif
