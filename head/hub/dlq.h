// SPDX-License-Identifier: Apache-2.0
//
// dlq.h - what clients ask about dead letters: to see them, and to drop some.
//
// Trying them again is a SUBMIT (run.h). The functions stand in the tables of requests.c.
//
// Threads: the hub's.  Logging: none.

#ifndef SHOAL_HEAD_HUB_DLQ_H
#define SHOAL_HEAD_HUB_DLQ_H

#include "head/hub/requests.h"

// ASK letters and whole_letters (R-7.21 of docs/protocol.md, section 7.2).
//   SHOAL_NOT_FOUND  there is no such job
SHOAL_MUST_CHECK bool shoal_dlq_letters(shoal_hub_t *hub, const shoal_msg_ask_t *ask,
                                        shoal_buffer_t *out, shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_dlq_whole_letters(shoal_hub_t *hub, const shoal_msg_ask_t *ask,
                                              shoal_buffer_t *out, shoal_status_t *status);

// DROP_LETTERS.
//   as shoal_run_drop()
SHOAL_MUST_CHECK bool shoal_dlq_drop(shoal_hub_t *hub, shoal_peer_t *peer,
                                     const shoal_message_t *message, shoal_slice_t payload,
                                     shoal_status_t *status);

#endif
