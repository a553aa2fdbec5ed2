// SPDX-License-Identifier: Apache-2.0
//
// drain.h - what a client asks with DRAIN: a worker gets no more calls, gives back what it has not
// started, finishes the rest or gives it back too, and ends.
//
// The wish is the worker's, not its connection's: one that registers again before it has ended is
// told again.
//
// Threads: the hub's.  Logging: WORKER-DRAIN.

#ifndef SHOAL_HEAD_HUB_DRAIN_H
#define SHOAL_HEAD_HUB_DRAIN_H

#include "head/hub/hub.h"

#define SHOAL_DRAIN_PREFIX_MIN 4 // characters of a worker's id that may stand for it

// The worker that `text` means: its id, the beginning of one, its name, or that's last word;
// NULL with the reason.
//   SHOAL_NOT_FOUND  there is none, or it has gone
//   SHOAL_INVALID    there are several
shoal_worker_t *shoal_drain_find(const shoal_registry_t *registry, shoal_slice_t text,
                                 shoal_status_t *status);

// Serves DRAIN: tells the worker, answers the client with REPLY {id, name, running}.
//   as shoal_drain_find()
SHOAL_MUST_CHECK bool shoal_drain_serve(shoal_hub_t *hub, shoal_peer_t *peer,
                                        const shoal_message_t *message, shoal_slice_t payload,
                                        shoal_status_t *status);

// After the WELCOME of a worker: tells it once more, if it was to end.
void shoal_drain_remind(shoal_hub_t *hub, shoal_worker_t *worker);

#endif
