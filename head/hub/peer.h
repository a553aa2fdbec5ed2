// SPDX-License-Identifier: Apache-2.0
//
// peer.h - the connections: who is at the other end, since when it is silent, what may come next.
//
// A peer is one connection, keyed by the routing id that the ROUTER invented for it. The state
// machine is a table (docs/state-machines.md has the same rows); shoal_peer_raise() is the only
// writer of a state and returns what the hub has to do. Each state is also a list in the order in
// which its peers were heard, so that the silent ones stand in front.
//
// Threads: one owner, the hub.  Logging: none, the hub has the story.

#ifndef SHOAL_HEAD_HUB_PEER_H
#define SHOAL_HEAD_HUB_PEER_H

#include <stdint.h>
#include <sys/types.h>

#include "head/hub/outbox.h"
#include "proto/base/slice.h"
#include "proto/base/status.h"
#include "proto/keys/key.h"

#define SHOAL_PEERS_MAX          32768 // connections that have sent something
#define SHOAL_PEER_STRANGER_MAX  16    // messages before HELLO that are answered
#define SHOAL_PEER_IDENTITY_SIZE 5     // of a routing id that the ROUTER made: zero, number 4
#define SHOAL_SESSION_ID_MAX     64

// clang-format off
#define SHOAL_PEER_STATES(X)                                                                       \
    X(NEW, "new")         /* no HELLO yet */                                                       \
    X(READY, "ready")     /* welcome */                                                            \
    X(SUSPECT, "suspect") /* silent for half its liveness, or the connection may be cut */         \
    X(GONE, "gone")       /* forgotten; what still comes from it is ignored */

#define SHOAL_PEER_EVENTS(X)                                                                       \
    X(HELLO, "hello")             /* it says who it is */                                          \
    X(MESSAGE, "message")         /* anything else that can be read */                             \
    X(HANGUP, "hangup")           /* the monitor says that its descriptor was closed */            \
    X(LATE, "late")               /* silent for half its liveness */                               \
    X(SILENT, "silent")           /* silent for all of it */                                       \
    X(BYE, "bye")                 /* it leaves */                                                  \
    X(BAD, "bad")                 /* it broke the protocol */                                      \
    X(UNREACHABLE, "unreachable") /* the ROUTER knows it no more */                                \
    X(FULL, "full")               /* it reads nothing: what it is sent piles up */                 \
    X(TAKEN_OVER, "taken_over")   /* its id said HELLO on another connection */

#define SHOAL_PEER_ACTIONS(X)                                                                      \
    X(NOTHING, "nothing") /* */                                                                    \
    X(WELCOME, "welcome") /* admit it, answer WELCOME */                                           \
    X(TEACH, "teach")     /* ERROR: HELLO comes first (R-4.1) */                                   \
    X(SERVE, "serve")     /* do what the message says */                                           \
    X(DOUBT, "doubt")     /* its worker gets no calls for now */                                   \
    X(PART, "part")       /* forget it; its worker may come back */                                \
    X(LOSE, "lose")       /* forget it; its worker is lost */                                      \
    X(LEAVE, "leave")     /* forget it; its worker's calls come back */                            \
    X(EXPEL, "expel")     /* tell it why and shut its connection; its worker is lost */
// clang-format on

typedef enum shoal_peer_state {
#define X(name, text) SHOAL_PEER_##name,
    SHOAL_PEER_STATES(X)
#undef X
        SHOAL_PEER_STATE_COUNT
} shoal_peer_state_t;

typedef enum shoal_peer_event {
#define X(name, text) SHOAL_PEER_ON_##name,
    SHOAL_PEER_EVENTS(X)
#undef X
        SHOAL_PEER_EVENT_COUNT
} shoal_peer_event_t;

typedef enum shoal_peer_action {
#define X(name, text) SHOAL_PEER_DO_##name,
    SHOAL_PEER_ACTIONS(X)
#undef X
        SHOAL_PEER_ACTION_COUNT
} shoal_peer_action_t;

typedef struct shoal_worker shoal_worker_t;
typedef struct shoal_watch shoal_watch_t; // head/hub/requests.h

typedef struct shoal_peer {
    uint32_t key;
    char identity[SHOAL_PEER_IDENTITY_SIZE];
    uint8_t state;       // shoal_peer_state_t
    uint8_t role;        // SHOAL_FROM_WORKER or SHOAL_FROM_CLIENT; 0 before HELLO
    uint8_t strangeness; // messages before HELLO
    bool must_shut;      // it was told to go: its descriptor is shut down soon
    bool is_shut;        // it is: what it had sent before is ignored for a while
    bool has_key;        // it came in with a key (below)
    bool is_viewer;      // a client that may only look
    bool is_failing;     // in the hub's list of peers that could not be sent to
    shoal_peer_event_t failure;
    int fd; // its descriptor, -1: unknown
    ino_t inode;
    uint64_t heard_ms;       // GONE: since when
    struct shoal_peer *prev; // in the list of its state
    struct shoal_peer *next;
    struct shoal_peer *failing_next;
    shoal_key_t proven;
    shoal_worker_t *worker;
    char session[SHOAL_SESSION_ID_MAX + 1]; // a client's id
    shoal_watch_t *watches;                 // a client's
    unsigned watch_count;
    shoal_outbox_t outbox; // what it has not read yet
} shoal_peer_t;

typedef struct shoal_peers shoal_peers_t;

shoal_peers_t *shoal_peers_new(void);
void shoal_peers_destroy(shoal_peers_t **peers);

// The key of a routing id; false for one that the ROUTER did not make.
SHOAL_MUST_CHECK bool shoal_peer_key(shoal_slice_t identity, uint32_t *ret_key);

shoal_peer_t *shoal_peer_find(const shoal_peers_t *peers, uint32_t key); // or NULL

// A peer that is NEW; NULL when SHOAL_PEERS_MAX are known.
shoal_peer_t *shoal_peer_add(shoal_peers_t *peers, uint32_t key, shoal_slice_t identity,
                             uint64_t now_ms);

// Applies the table and returns what is to be done.
shoal_peer_action_t shoal_peer_raise(shoal_peers_t *peers, shoal_peer_t *peer,
                                     shoal_peer_event_t event, uint64_t now_ms);

// The table's row for a pair.
void shoal_peer_rule(shoal_peer_state_t state, shoal_peer_event_t event, shoal_peer_state_t *ret_to,
                     shoal_peer_action_t *ret_action);

// It has been heard: it goes to the end of its state's list.
void shoal_peer_hear(shoal_peers_t *peers, shoal_peer_t *peer, uint64_t now_ms);

// The one in that state that was heard longest ago, or NULL; the others by `next`.
shoal_peer_t *shoal_peer_oldest(const shoal_peers_t *peers, shoal_peer_state_t state);

// Frees one that is GONE.
void shoal_peer_bury(shoal_peers_t *peers, shoal_peer_t *peer);

// Which peer a descriptor belongs to: noted when it is heard first.
void shoal_peer_note_fd(shoal_peers_t *peers, shoal_peer_t *peer, int fd);
shoal_peer_t *shoal_peer_by_fd(const shoal_peers_t *peers, int fd); // or NULL

// Somebody says that the peer's descriptor was closed. False: that was one that had its number
// before, and the peer's own connection stands.
bool shoal_peer_has_hung_up(const shoal_peer_t *peer);

size_t shoal_peer_count(const shoal_peers_t *peers, shoal_peer_state_t state);

const char *shoal_peer_state_name(int state);
const char *shoal_peer_event_name(int event);
const char *shoal_peer_action_name(int action);

#endif
