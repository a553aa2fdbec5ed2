// SPDX-License-Identifier: Apache-2.0
//
// hub_parts.h - what the hub's files share: its structure and the calls between them.
//
// hub.c has the turn and the sending, opening.c birth and death, recovery.c what was before, reading.c
// the messages, greeting.c HELLO, promise.c what is told when the disk has it, holders.c keys,
// parting.c the peers that go, port.c what the cluster and the outputs want sent. Nobody else
// includes this.
//
// Threads: the hub's.  Logging: as hub.h.

#ifndef SHOAL_HEAD_HUB_HUB_PARTS_H
#define SHOAL_HEAD_HUB_HUB_PARTS_H

#include "head/hub/door.h"
#include "head/hub/gate.h"
#include "head/hub/hub.h"
#include "head/hub/requests.h"
#include "head/store/vault.h"
#include "proto/base/clock.h"

#define SHOAL_HUB_ID_SIZE   32 // hex digits
#define SHOAL_STRANGERS_MAX 64 // that wait to be shut; one more is shut before it has read why
#define SHOAL_REFUSED_LOGS  5  // lines a second about peers that were refused

// The connection of a stranger that was told to go, and when it is shut.
typedef struct shoal_stranger {
    int fd;
    ino_t inode;
    uint64_t due_ms;
} shoal_stranger_t;

typedef struct shoal_changed_job {
    shoal_job_t *job;
    bool is_urgent;
} shoal_changed_job_t;

typedef struct shoal_worker_list {
    shoal_worker_t *first;
    shoal_worker_t *last;
} shoal_worker_list_t;

// An ACCEPTED that waits for the disk.
typedef struct shoal_promise {
    uint64_t lsn;
    uint64_t request;
    uint64_t job;
    uint32_t peer; // its key
} shoal_promise_t;

typedef struct shoal_promises {
    shoal_promise_t *list; // from `first` to `end`, oldest first
    size_t first;
    size_t end;
    size_t size;
} shoal_promises_t;

struct shoal_hub {
    const shoal_config_t *config;
    shoal_log_t *log;
    void *context;
    void *router;
    void *monitor;
    shoal_gate_t *gate; // NULL: without keys
    int signal_fd;
    int epoll_fd;
    bool stopping;
    const char *stop_reason;
    char id[SHOAL_HUB_ID_SIZE + 1];
    char endpoint[256];
    uint64_t started_ms;
    uint64_t now_ms;        // the turn's one
    uint64_t read_ms;       // what had come before this time has been read
    uint64_t round_ms;      // when the present round through the peers began
    size_t round_taken;     // messages taken in it
    uint64_t deaf_until_ms; // after a standstill nobody is blamed for silence before this
    uint64_t wake_ms;       // when the next turn is due
    uint64_t sweep_ms;
    uint64_t outputs_ms; // when the outputs want to run
    uint64_t bury_ms;    // when the first of the peers that are gone is due
    shoal_doors_t *doors;
    uint64_t doors_ms; // when they want to be looked at
    shoal_peers_t *peers;
    shoal_cluster_t *cluster;
    shoal_outputs_t *outputs;
    shoal_peer_t *failing;    // could not be sent to
    shoal_journal_t *journal; // NULL: none
    shoal_vault_t *vault;
    shoal_ledger_t *ledger;
    char disk_trouble[512]; // why the disk takes nothing; empty: it does
    uint64_t flushed_lsn;   // handed to the scribe
    uint64_t durable_lsn;   // as it has said last
    uint64_t wall_ms;       // to be added to the clock: the turn's "now" began as the wall's time
    shoal_worker_t *owing;  // workers that may be told of acknowledgements
    shoal_worker_list_t gated; // and those that may not be yet
    shoal_promises_t promises;
    uint64_t unread_bytes;       // that wait for all peers, or more
    shoal_watch_t *done_watches; // the run whose output they got is over, another one follows
    shoal_changed_job_t changed[SHOAL_JOBS_MAX];
    size_t changed_count;
    shoal_stranger_t strangers[SHOAL_STRANGERS_MAX]; // in the order in which they came
    size_t stranger_count;
    bool outputs_touched;
    bool is_broken;       // the socket
    shoal_buffer_t frame; // for encoding
    shoal_buffer_t body;  // for values in a body
    shoal_parcel_t parcel;
    shoal_log_limit_t refused_limit;
    shoal_log_limit_t handshake_limit;
    uint64_t refused;
};

static inline uint64_t
shoal_hub_earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// ---- hub.c

// ERROR about a message, or about `request` (0: none).
void shoal_hub_error(shoal_hub_t *hub, shoal_peer_t *peer, int refers, uint64_t request,
                     bool closing, const shoal_status_t *why);

// The clock of the turns: never goes back, and is comparable with that of an earlier life.
static inline uint64_t
shoal_hub_clock(const shoal_hub_t *hub)
{
    return shoal_clock_ms() + hub->wall_ms;
}

// ---- recovery.c

// Opens journal and vault, if there is to be one; the head's id is the journal's then.
SHOAL_MUST_CHECK bool shoal_hub_open_journal(shoal_hub_t *hub, shoal_status_t *status);
void shoal_hub_open_ledger(shoal_hub_t *hub);

// Makes the jobs of earlier lives again.
SHOAL_MUST_CHECK bool shoal_hub_recover(shoal_hub_t *hub, shoal_status_t *status);

// ---- promise.c

// A RESULT of the worker was taken: it is acknowledged once that is durable.
void shoal_hub_owe_seq(shoal_hub_t *hub, shoal_worker_t *worker);

// The worker is back on another connection; or is off its own.
void shoal_hub_owe_again(shoal_hub_t *hub, shoal_worker_t *worker);
void shoal_hub_forget_acks(shoal_hub_t *hub, shoal_worker_t *worker);

// It has just got its acknowledgement with something else.
void shoal_hub_owe_nothing(shoal_hub_t *hub, shoal_worker_t *worker);

void shoal_hub_send_acks(shoal_hub_t *hub);

// After shoal_outputs_run(): whatever has become durable is told.
void shoal_hub_pass(shoal_hub_t *hub);

// ---- port.c

shoal_port_t shoal_hub_port(shoal_hub_t *hub);
shoal_output_hooks_t shoal_hub_hooks(shoal_hub_t *hub);

// ---- greeting.c

// A HELLO of a peer that is new.
//   as shoal_cluster_join(); SHOAL_PROTOCOL for another role
SHOAL_MUST_CHECK bool shoal_hub_admit(shoal_hub_t *hub, shoal_peer_t *peer,
                                      const shoal_msg_hello_t *hello, shoal_status_t *status);

// ---- holders.c

// Whether the sender of the HELLO at hand may play that role; notes its key.
//   SHOAL_DENIED  its key is not listed, or has another role
SHOAL_MUST_CHECK bool shoal_hub_check_key(shoal_hub_t *hub, shoal_peer_t *peer, shoal_slice_t role,
                                          shoal_status_t *status);

// Whether a worker of that id may come on this connection; `known` may be NULL.
//   SHOAL_DENIED  it came with another key, and is not lost
SHOAL_MUST_CHECK bool shoal_hub_check_owner(const shoal_peer_t *peer, const shoal_worker_t *known,
                                            shoal_status_t *status);
void shoal_hub_note_owner(const shoal_peer_t *peer, shoal_worker_t *worker);

// The name of the peer's key; "-" without one.
const char *shoal_hub_key_name(const shoal_hub_t *hub, const shoal_peer_t *peer);

// Puts out those whose key a new list does not have.
void shoal_hub_take_holders(shoal_hub_t *hub);

// ---- reading.c

// Takes the messages that are there, at most the budget of a turn. False: the socket is broken.
SHOAL_MUST_CHECK bool shoal_hub_take_messages(shoal_hub_t *hub, shoal_status_t *status);

// What the monitor says: connections that were closed.
void shoal_hub_take_monitor(shoal_hub_t *hub);

// ---- parting.c

// Raises an event that does not come with a message to be served.
void shoal_hub_peer_event(shoal_hub_t *hub, shoal_peer_t *peer, shoal_peer_event_t event,
                          int refers, const shoal_status_t *why);
void shoal_hub_peer_fail(shoal_hub_t *hub, shoal_peer_t *peer, shoal_peer_event_t event,
                         const char *why);

// After each handler: those that could not be sent to go.
void shoal_hub_settle_failing(shoal_hub_t *hub);

// Notes that the connection of somebody who is no peer has to be shut.
void shoal_hub_note_stranger(shoal_hub_t *hub, int fd);

void shoal_hub_log_peer(shoal_hub_t *hub, const shoal_peer_t *peer, shoal_peer_event_t event,
                        const char *why);

// Who was silent for too long.
void shoal_hub_end_silence(shoal_hub_t *hub);

// The only place that frees peers. Looks at those that are gone when the first of them is due.
void shoal_hub_bury(shoal_hub_t *hub);

#endif
