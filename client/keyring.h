// SPDX-License-Identifier: Apache-2.0
//
// keyring.h - the key folder of a head: its own key, who may join, and where others dial it.
//
// `shoal start --head --listen tcp://...` makes it in the state directory, with the first client's and
// the first worker's join files; `shoal key` adds and removes holders. Those who come later get a join
// string that is kept nowhere. The head reads the folder and never writes it.
//
// Threads: one.  Logging: none.

#ifndef SHOAL_CLIENT_KEYRING_H
#define SHOAL_CLIENT_KEYRING_H

#include "client/address.h"
#include "proto/keys/allowed.h"

// The folder that --keys or --state name, or the preset one.
SHOAL_MUST_CHECK bool shoal_keyring_folder(const char *keys, const char *state, char path[PATH_MAX],
                                           shoal_status_t *status);

// Makes what is missing of the folder and the head's own key.
//   SHOAL_NOT_FOUND  others have joined with a key that is gone: a person has to decide
//   as shoal_private_folder(), shoal_private_write(), shoal_key_pair_read()
SHOAL_MUST_CHECK bool shoal_keyring_make(const char *folder, shoal_status_t *status);

// Notes where the head listens (`bound`) and where others dial it (`advertised`; NULL: as bound, or
// this host's name where that is every address). Makes the first two join files, or puts a new
// endpoint into them.
SHOAL_MUST_CHECK bool shoal_keyring_publish(const char *folder, const char *bound,
                                            const char *advertised, shoal_status_t *status);

// Where others dial the head.
//   SHOAL_NOT_FOUND  it was never started on TCP from here
SHOAL_MUST_CHECK bool shoal_keyring_endpoint(const char *folder, char endpoint[SHOAL_ENDPOINT_MAX],
                                             shoal_status_t *status);

// Makes a key, lists it, and gives its join string's content.
//   SHOAL_EXISTS ...  as shoal_allowed_add()
SHOAL_MUST_CHECK bool shoal_keyring_issue(const char *folder, shoal_role_t role, const char *name,
                                          const char *endpoint, shoal_join_t *ret_join,
                                          shoal_status_t *status);

// Where a head that listens at `bound` is dialled on its own host: every address is loopback.
SHOAL_MUST_CHECK bool shoal_endpoint_local(const char *bound, char endpoint[SHOAL_ENDPOINT_MAX],
                                           shoal_status_t *status);

#endif
