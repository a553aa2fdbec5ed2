// SPDX-License-Identifier: Apache-2.0
//
// requests.h - what clients ask: SUBMIT, ASK, WATCH, STOP, OUTPUT, TAKEN, DRAIN.
//
// A *watch* ties a client to a job: it gets the job's EVENTs, and if it subscribed, its output.
//
// Threads: the hub's.  Logging: jobs accepted.

#ifndef SHOAL_HEAD_HUB_REQUESTS_H
#define SHOAL_HEAD_HUB_REQUESTS_H

#include "head/hub/hub.h"

#define SHOAL_REPLY_BYTES_MAX 500000 // of REPLY's body, before the entry that would pass it
#define SHOAL_WATCHES_MAX     64     // jobs that one client watches or fetches at a time

struct shoal_watch {
    shoal_peer_t *peer;
    shoal_job_t *job;
    shoal_watch_t *peer_next;
    shoal_watch_t *job_next;
    shoal_watch_t *job_prev;
    bool wants_events;
    shoal_subscription_t *subscription;
    uint64_t output_request; // the OUTPUT that has made it
    // Output of a job whole: of one run after the other.
    shoal_job_t *run;         // whose output comes now
    uint64_t offset;          // commits of the runs before it
    shoal_watch_t *done_next; // in the hub's list of those that go on with the next run
};

// Serves one message of a client that is READY.
//   SHOAL_PROTOCOL  a client may not send this
SHOAL_MUST_CHECK bool shoal_request_serve(shoal_hub_t *hub, shoal_peer_t *peer,
                                          const shoal_message_t *message, shoal_slice_t payload,
                                          shoal_status_t *status);

// The job of that number; of what an ASK names: the id that SUBMIT chose, or the number.
//   SHOAL_NOT_FOUND  there is none
SHOAL_MUST_CHECK bool shoal_request_job(shoal_hub_t *hub, uint64_t number, shoal_job_t **ret_job,
                                        shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_request_job_asked(shoal_hub_t *hub, const shoal_msg_ask_t *ask,
                                              const shoal_job_t **ret_job, shoal_status_t *status);

// Sends the job's EVENT to all who watch it.
void shoal_watch_tell(shoal_hub_t *hub, shoal_job_t *job);

// The client, or the job, is going away.
void shoal_watch_drop_peer(shoal_peer_t *peer);
void shoal_watch_drop_job(shoal_job_t *job);

// The hooks of head/output/output.h; `peer` is the shoal_watch_t, `ctx` the hub.
shoal_sent_t shoal_watch_piece(void *ctx, void *peer, const shoal_piece_t *piece,
                               zmq_msg_t *payload);
shoal_sent_t shoal_watch_end(void *ctx, void *peer, uint64_t job, uint64_t commits);
// After the hooks: goes on with the next run where one has been sent.
void shoal_watch_go_on(shoal_hub_t *hub);
void shoal_watch_failed(void *ctx, void *peer, uint64_t job, const shoal_status_t *why);

#endif
