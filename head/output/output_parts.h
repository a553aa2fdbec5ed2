// SPDX-License-Identifier: Apache-2.0
//
// output_parts.h - what the files of an output share: its structures and the calls between them.
//
// output.c has the outputs and what the scribe reports, pack.c the batches, draft.c the attempts and
// their credit, subscription.c the delivery. Nobody else includes this.
//
// Threads: the hub's.  Logging: none.

#ifndef SHOAL_HEAD_OUTPUT_OUTPUT_PARTS_H
#define SHOAL_HEAD_OUTPUT_OUTPUT_PARTS_H

#include "head/output/output.h"

// Doubly linked lists whose links stand in the structure.
#define SHOAL_LIST_ADD(list, it, next_, prev_)                                                     \
    do {                                                                                           \
        (it)->next_ = NULL;                                                                        \
        (it)->prev_ = (list)->last;                                                                \
        *((list)->last ? &(list)->last->next_ : &(list)->first) = (it);                            \
        (list)->last = (it);                                                                       \
    } while (0)
#define SHOAL_LIST_REMOVE(list, it, next_, prev_)                                                  \
    do {                                                                                           \
        *((it)->prev_ ? &(it)->prev_->next_ : &(list)->first) = (it)->next_;                       \
        *((it)->next_ ? &(it)->next_->prev_ : &(list)->last) = (it)->prev_;                        \
        (it)->next_ = NULL;                                                                        \
        (it)->prev_ = NULL;                                                                        \
    } while (0)

typedef struct shoal_pack shoal_pack_t;
typedef struct shoal_payload shoal_payload_t;

struct shoal_payload {
    shoal_errand_t errand; // first: an errand that comes back is its payload
    shoal_pack_t *pack;    // NULL: nobody wants it any more
    uint32_t index;        // of its batch in the pack
    bool is_under_way;     // the scribe has the errand
    bool is_here;          // `message` holds the batch
    bool is_read_back;
    bool is_kept;    // in the list of those that memory has in place of the disk
    bool is_granted; // its bytes were granted again when it came
    shoal_payload_t *next_kept;
    shoal_payload_t *prev_kept;
    zmq_msg_t message;
};

typedef struct shoal_payloads {
    shoal_payload_t *first;
    shoal_payload_t *last;
} shoal_payloads_t;

typedef struct shoal_pack_entry {
    uint32_t segment; // 0: not written yet
    uint32_t offset;
    uint32_t length;
    uint32_t records;
    shoal_payload_t *payload; // NULL: on the disk only
} shoal_pack_entry_t;

struct shoal_pack {
    shoal_output_t *output;
    uint64_t commit; // 0: a draft's
    shoal_draft_t *draft;
    uint64_t call;
    uint32_t attempt;
    uint32_t expected; // batches, while they are restored
    uint64_t bytes;
    shoal_pack_entry_t *entries;
    uint32_t count;
    uint32_t size;
};

struct shoal_draft {
    shoal_output_t *output;
    void *owner;
    uint64_t call;
    uint32_t attempt;
    shoal_pack_t *pack; // NULL: no batch yet, or the job does not collect
    uint64_t batches;
    uint64_t records;
    int64_t credit;    // bytes it may still send
    uint64_t withheld; // bytes that were taken and not granted again yet
    bool is_waiting;   // in the list of those that have bytes withheld
    shoal_draft_t *next;
    shoal_draft_t *prev;
};

typedef struct shoal_drafts {
    shoal_draft_t *first;
    shoal_draft_t *last;
} shoal_drafts_t;

typedef enum shoal_standing {
    SHOAL_STANDING_IDLE,  // nothing to send now
    SHOAL_STANDING_READY, // perhaps something
    SHOAL_STANDING_FULL,  // the peer took no more
} shoal_standing_t;

struct shoal_subscription {
    shoal_output_t *output;
    void *peer;
    uint64_t commit; // the next one to send
    uint32_t index;  // the next piece of it
    size_t entry;    // its index in the output's entries, or where it would be
    int64_t credit;
    bool is_over; // failed, gone, or the end was told
    shoal_standing_t place;
    shoal_subscription_t *next; // of the same output
    shoal_subscription_t *prev;
    shoal_subscription_t *next_in_place;
    shoal_subscription_t *prev_in_place;
};

typedef struct shoal_subscriptions {
    shoal_subscription_t *first;
    shoal_subscription_t *last;
} shoal_subscriptions_t;

struct shoal_output {
    shoal_outputs_t *outputs;
    uint64_t job;
    bool collects;
    bool is_finished;
    uint64_t taken;  // the last commit that is safe at some subscriber
    bool is_refused; // a draft found no room
    bool is_waiting; // as the hub knows it
    uint64_t commits;
    shoal_tide_t gate; // how many of them may be seen
    uint64_t finish_lsn;
    bool is_gated; // in the list of those that wait for the disk to show something
    shoal_output_t *next_gated;
    shoal_output_t *prev_gated;
    uint64_t bytes;
    uint64_t unwritten; // batches on their way to the disk
    size_t draft_count;
    size_t waiting_count;
    shoal_pack_t **entries; // the commits that have batches, by number
    size_t entry_count;
    size_t entry_size;
    shoal_pack_t **by_call; // the entries, sorted, while batches are restored
    shoal_subscriptions_t subscriptions;
    shoal_output_t *next;
    shoal_output_t *prev;
};

typedef struct shoal_output_list {
    shoal_output_t *first;
    shoal_output_t *last;
} shoal_output_list_t;

struct shoal_outputs {
    shoal_scribe_t *scribe;
    shoal_output_hooks_t hooks;
    uint64_t memory_limit; // of memory_bytes, but for what is on its way to the disk
    uint64_t spool_limit;
    uint64_t reserve;
    uint64_t memory_bytes;    // of payloads, with their bookkeeping
    uint64_t spool_bytes;     // as the scribe said last
    uint64_t unwritten;       // batches on their way to the disk
    uint64_t unwritten_bytes; // with headers
    shoal_payloads_t kept;    // oldest first
    uint64_t kept_bytes;      // as they will be on the disk
    uint64_t outstanding;     // credit of all drafts
    uint64_t durable_lsn;
    bool has_journal;
    bool is_stalled;
    shoal_status_t *lost; // why the disk cannot be trusted any more; NULL: it can
    size_t draft_count;
    shoal_draft_t *elder; // may use the reserve
    shoal_drafts_t waiting;
    shoal_subscriptions_t ready;
    shoal_subscriptions_t full;
    shoal_errands_t todo; // for the scribe
    shoal_output_list_t all;
    shoal_output_list_t gated;
    bool may_wait; // an output waits, or a draft was refused: look at all of them
};

// ---- pack.c

shoal_pack_t *shoal_pack_new(shoal_draft_t *draft);

// `is_forgotten`: the job's files go as a whole, so places need not be released one by one.
void shoal_pack_free(shoal_outputs_t *outputs, shoal_pack_t *pack, bool is_forgotten);

// Adds a batch of that length, not written yet, and returns its index.
uint32_t shoal_pack_add(shoal_pack_t *pack, uint32_t length, uint32_t records);

// No batch comes any more.
void shoal_pack_close(shoal_pack_t *pack, uint64_t commit);

// Where it is on the disk.
shoal_spool_place_t shoal_pack_place(const shoal_pack_entry_t *entry);

// The payload of a batch that has none in memory, with an errand of that kind.
shoal_payload_t *shoal_payload_new(shoal_pack_t *pack, uint32_t index, shoal_errand_kind_t kind);

// An errand that is about no batch's payload: the scribe is to release a place or to forget a job.
void shoal_payload_release(shoal_outputs_t *outputs, uint64_t job, shoal_spool_place_t place);
void shoal_payload_forget(shoal_outputs_t *outputs, uint64_t job);

// Decides where the batch of a new payload goes: memory keeps a small job's in place of the disk,
// all others are written at once. As long as memory has room its bytes are granted again at once,
// otherwise when it is written.
void shoal_payload_settle(shoal_outputs_t *outputs, shoal_payload_t *payload);

// Sends the oldest batches that memory keeps to the disk, many at a time, when they are too many.
void shoal_outputs_spill(shoal_outputs_t *outputs);

// Puts the errand on the list for the scribe.
void shoal_payload_send(shoal_outputs_t *outputs, shoal_payload_t *payload);

// Puts `message` (moved) in memory; what it costs is counted until the payload is freed.
void shoal_payload_fill(shoal_outputs_t *outputs, shoal_payload_t *payload, zmq_msg_t *message);
void shoal_payload_free(shoal_outputs_t *outputs, shoal_payload_t *payload);

// Makes it the last one of the output's commits that have batches.
void shoal_output_add_pack(shoal_output_t *output, shoal_pack_t *pack);

// ---- output.c

// The output has a commit, or has come to its end, that needs the log up to `lsn`.
void shoal_output_gate(shoal_output_t *output, uint64_t lsn);

// ---- draft.c

// The draft's bytes were taken: they may be sent again as soon as there is room for them.
void shoal_draft_withhold(shoal_draft_t *draft, uint64_t bytes);

// The credit of a new draft: what there is room for, little once many attempts have theirs. 0: no
// room.
uint64_t shoal_draft_first_credit(const shoal_output_t *output);

// What the budget is used for: on the disk, on the way there, and what memory keeps, which may have
// to go to the disk.
uint64_t shoal_outputs_used(const shoal_outputs_t *outputs);

// Grants what is withheld and has room.
void shoal_outputs_grant(shoal_outputs_t *outputs);

// ---- subscription.c

// Whether a subscriber is still to get that batch.
bool shoal_output_is_wanted(const shoal_output_t *output, uint64_t commit, uint32_t index);

// Something may have come that idle subscribers wait for.
void shoal_output_wake(shoal_output_t *output);

// Ends the subscriptions that need that batch next: it cannot be read.
void shoal_output_fail_readers(shoal_pack_t *pack, uint32_t index, const shoal_status_t *why);

// Sends what can be sent.
void shoal_outputs_pump(shoal_outputs_t *outputs);

#endif
