// SPDX-License-Identifier: Apache-2.0
//
// registry.h - the workers: what they offer, what they have, and which of them can be fed.
//
// A worker is known by its id across connections and restarts. Workers with the same set of classes
// share a *profile*; each profile keeps two lists of those that can take a call: the ones with an
// idle slot, and the ones with room for a prefetched call only. A lost worker is remembered for a
// while, with the calls that it had, because the report of how it ended comes with its next HELLO.
//
// docs/state-machines.md has the table of states; shoal_worker_raise() is the only writer of one.
//
// Threads: one owner, the hub.  Logging: none.

#ifndef SHOAL_HEAD_CLUSTER_REGISTRY_H
#define SHOAL_HEAD_CLUSTER_REGISTRY_H

#include "head/cluster/attempt.h"
#include "head/cluster/tide.h"
#include "proto/base/buffer.h"
#include "proto/keys/key.h"

#define SHOAL_WORKERS_MAX        20000 // not lost
#define SHOAL_WORKERS_LOST_MAX   1000  // remembered
#define SHOAL_CLASSES_MAX        256   // names of classes that workers and jobs have
#define SHOAL_CLASS_NAME_MAX     64    // bytes
#define SHOAL_WORKER_CLASSES_MAX 64    // of one worker
#define SHOAL_PROFILES_MAX       64    // different sets of classes
#define SHOAL_CHARGE_FULL        16    // a call's share of the window; a small one has 1
#define SHOAL_UNACKED_MAX        2048  // results of a worker that are not durable: no more calls
#define SHOAL_CASUALTIES_MAX     32    // calls that a lost worker is remembered with
#define SHOAL_WORKER_ID_MAX      64
#define SHOAL_WORKER_NAME_MAX    128
#define SHOAL_WORKER_LABEL_MAX   80
#define SHOAL_WORKER_WORDS_MAX   512   // bytes of what its last process wrote last
#define SHOAL_WORKER_END_MAX     768   // bytes of how that ended, with its words
#define SHOAL_WORKER_VALUE_MAX   16384 // labels, as they came

// clang-format off
#define SHOAL_WORKER_STATES(X)                                                                     \
    X(ALIVE, "alive")       /* gets calls up to its window */                                      \
    X(DRAINING, "draining") /* asked for no more calls */                                          \
    X(SUSPECT, "suspect")   /* silent, or its connection is cut: no more calls for now */          \
    X(LOST, "lost")         /* its attempts have ended */

#define SHOAL_WORKER_EVENTS(X)                                                                     \
    X(JOIN, "join")       /* a HELLO with a window */                                              \
    X(HEARD, "heard")     /* any message while its window is open */                               \
    X(DRAIN, "drain")     /* a window of 0, or any message while it is 0 */                        \
    X(LATE, "late")       /* silent for half its liveness */                                       \
    X(CUT, "cut")         /* its connection is gone */                                             \
    X(LOSE, "lose")       /* silent for all its liveness, or it broke the protocol */              \
    X(LEAVE, "leave")     /* BYE */
// clang-format on

typedef enum shoal_worker_state {
#define X(name, text) SHOAL_WORKER_##name,
    SHOAL_WORKER_STATES(X)
#undef X
        SHOAL_WORKER_STATE_COUNT
} shoal_worker_state_t;

typedef enum shoal_worker_event {
#define X(name, text) SHOAL_WORKER_ON_##name,
    SHOAL_WORKER_EVENTS(X)
#undef X
        SHOAL_WORKER_EVENT_COUNT
} shoal_worker_event_t;

typedef struct shoal_casualty {
    uint64_t call;
    uint32_t attempt;
    bool was_alone;
} shoal_casualty_t;

struct shoal_worker {
    char id[SHOAL_WORKER_ID_MAX + 1];
    char name[SHOAL_WORKER_NAME_MAX + 1];
    char label[SHOAL_WORKER_LABEL_MAX + 1]; // for people: the name and the id's first digits
    uint64_t incarnation;
    uint32_t slots;
    uint32_t window;  // calls
    uint32_t charge;  // of its live attempts, in SHOAL_CHARGE_FULL a call
    uint32_t running; // live attempts
    shoal_attempt_t *attempts;
    uint32_t number;  // of its process, for the ledger; from 1
    uint64_t seq;     // of the last RESULT taken
    shoal_tide_t ack; // for the caller: how far these may be acknowledged
    bool is_gated;    // for the caller: in the list of those that wait for that
    shoal_worker_t *gated_next;
    shoal_worker_t *gated_prev;
    bool owes_ack;              // for the caller: seq was not told yet
    shoal_worker_t *owing_next; // for the caller: others that are owed one
    shoal_worker_t *owing_prev;
    bool is_alone;      // it runs one call alone and gets no other
    uint64_t kept_for;  // it gets nothing but this call, which is to run alone; 0: no such
    void *peer;         // for the caller: its connection, NULL without one
    bool has_key;       // for the caller: it came with a key,
    shoal_key_t proven; // this one
    uint64_t *actors;   // jobs whose actor it was told of, ascending
    uint32_t actor_count;
    uint32_t actor_size;
    char *labels; // msgpack
    uint32_t labels_len;
    uint64_t heard_ms;            // for the caller
    char *last_end;               // how its process before this one ended, for people; or NULL
    bool is_dead;                 // its process has ended, as another one of it says
    bool must_drain;              // a client has asked for its end
    uint64_t drain_ms;            // with this
    uint64_t lost_ms;             // SUSPECT without a connection: when it counts as lost
    shoal_casualty_t *casualties; // what it had when it was lost
    uint32_t casualty_count;
    // of the registry
    uint8_t state; // shoal_worker_state_t
    uint8_t feed;
    uint16_t profile;
    shoal_worker_t *feed_prev;
    shoal_worker_t *feed_next;
    shoal_worker_t *list_prev; // of all workers in its state
    shoal_worker_t *list_next;
};

// What a HELLO offers.
typedef struct shoal_offer {
    shoal_slice_t id;
    shoal_slice_t name;
    uint64_t incarnation;
    uint32_t slots;
    uint32_t window;
    shoal_slice_t classes; // msgpack array of str, or empty
    shoal_slice_t labels;  // msgpack, or empty
} shoal_offer_t;

typedef struct shoal_registry shoal_registry_t;

shoal_registry_t *shoal_registry_new(void);
void shoal_registry_destroy(shoal_registry_t **registry); // and all workers

// The worker with that id in any state, or NULL.
shoal_worker_t *shoal_registry_find(const shoal_registry_t *registry, shoal_slice_t id);

// Makes the worker of an offer, or brings the known one's description up to date; raises JOIN. A
// known one's attempts and actors are the caller's to settle before.
//   SHOAL_INVALID  no id, no slots
//   SHOAL_LIMIT    too many workers, classes or profiles
//   SHOAL_PROTOCOL `classes` is not an array of texts
SHOAL_MUST_CHECK bool shoal_registry_join(shoal_registry_t *registry, const shoal_offer_t *offer,
                                          shoal_worker_t **ret_worker, shoal_status_t *status);

// Applies the table of states; returns the state it has now. LOST takes it out of all lists and may
// forget the one that has been lost longest (never `worker` itself).
shoal_worker_state_t shoal_worker_raise(shoal_registry_t *registry, shoal_worker_t *worker,
                                        shoal_worker_event_t event);

// The row that the table has for a pair.
shoal_worker_state_t shoal_worker_next(shoal_worker_state_t state, shoal_worker_event_t event);

// Puts a worker into the list where it belongs now: after its charge, window or state has changed.
void shoal_worker_refeed(shoal_registry_t *registry, shoal_worker_t *worker);

void shoal_worker_add_attempt(shoal_registry_t *registry, shoal_worker_t *worker,
                              shoal_attempt_t *attempt);
void shoal_worker_remove_attempt(shoal_registry_t *registry, shoal_attempt_t *attempt);

// Whether it was told of a job's actor; _add and _drop change that. _drop: true if it was.
bool shoal_worker_has_actor(const shoal_worker_t *worker, uint64_t job);
void shoal_worker_add_actor(shoal_worker_t *worker, uint64_t job);
bool shoal_worker_drop_actor(shoal_worker_t *worker, uint64_t job);

// Appends its classes as a msgpack array of texts.
void shoal_registry_write_classes(const shoal_registry_t *registry, const shoal_worker_t *worker,
                                  shoal_buffer_t *out);

// The number of a class, made on first use; -1: SHOAL_CLASSES_MAX names are in use. It stays that
// class's as long as a worker that is not lost has it or somebody holds it.
int shoal_registry_class(shoal_registry_t *registry, shoal_slice_t name);
const char *shoal_registry_class_name(const shoal_registry_t *registry, unsigned class_number);
void shoal_registry_hold_class(shoal_registry_t *registry, unsigned class_number);
void shoal_registry_release_class(shoal_registry_t *registry, unsigned class_number);

// Slots of the workers that get calls of that class; of all with `class_number` -1.
size_t shoal_registry_slots(const shoal_registry_t *registry, int class_number);
size_t shoal_registry_workers(const shoal_registry_t *registry, int class_number);

// Walks over profiles, for the scheduler.
size_t shoal_registry_profiles(const shoal_registry_t *registry);
bool shoal_profile_has(const shoal_registry_t *registry, size_t profile, unsigned class_number);
shoal_worker_t *shoal_profile_idle(const shoal_registry_t *registry, size_t profile);
shoal_worker_t *shoal_profile_room(const shoal_registry_t *registry, size_t profile);

// The first worker in a state; the others follow by list_next.
shoal_worker_t *shoal_registry_first(const shoal_registry_t *registry, shoal_worker_state_t state);

// What people know a worker by: its name and the first digits of its id.
void shoal_worker_label(const char *id, const char *name, char label[SHOAL_WORKER_LABEL_MAX + 1]);

const char *shoal_worker_state_name(int state);
const char *shoal_worker_event_name(int event);

#endif
