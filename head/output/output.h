// SPDX-License-Identifier: Apache-2.0
//
// output.h - what the jobs' attempts write and the clients fetch.
//
//   BATCH --> draft of an attempt --commit--> the job's commit n --> PIECE, PIECE ... to subscribers
//
// A draft holds one attempt's batches, which nobody sees until it is committed: then all of them
// become the job's next commit, or it is destroyed and none does. Commits stay and can be fetched
// from any number on until the job's output is destroyed. A small job's batches (up to 8 MiB) are
// kept in memory and touch no disk; all others are written to the spool by the scribe as they come,
// and so are the oldest of the kept ones when these take half of the memory limit. A written batch
// stays in memory as well until it is delivered, while the limit allows, and is read back when a
// subscriber needs it. Without a journal no batch outlives its head. With one, every batch goes to the
// spool, whose files stay when outputs are destroyed; they go when a note forgets the job.
//
// Bounds: an attempt may send as many bytes as it was granted, and is granted what it sent again at
// once or, when the memory limit is reached, once that is written. When the spool has no room left
// the grants stop (the job waits for "disk"); what memory keeps counts as if it were on the disk. A
// share of the limit is kept back for one attempt at a time, so that something can always commit.
//
// An output of a job that collects nothing only counts commits. A commit without batches takes no
// memory.
//
// Threads: the hub's.  Logging: none, the hooks tell.

#ifndef SHOAL_HEAD_OUTPUT_OUTPUT_H
#define SHOAL_HEAD_OUTPUT_OUTPUT_H

#include <stdint.h>

#include <zmq.h>

#include "head/cluster/tide.h"
#include "head/store/scribe.h"
#include "proto/base/clock.h" // SHOAL_TIME_NEVER
#include "proto/base/status.h"
#include "proto/wire/socket.h" // shoal_sent_t

#define SHOAL_OUTPUT_MEMORY_BYTES 67108864     // default of memory_bytes
#define SHOAL_OUTPUT_SPOOL_BYTES  17179869184U // default of spool_bytes, 16 GiB
#define SHOAL_OUTPUT_CREDIT_BYTES 524288       // of an attempt, at most: eight batches of 64 KiB
#define SHOAL_OUTPUT_CREDIT_LEAST 65536        // and at least, however many run
#define SHOAL_OUTPUT_PUMP_MAX     256          // pieces to one subscriber in one turn
#define SHOAL_OUTPUT_AHEAD_MAX    8            // batches read back ahead for one subscriber
#define SHOAL_OUTPUT_AGAIN_MS     5            // until a subscriber that was full is tried again

typedef struct shoal_outputs shoal_outputs_t;           // of all jobs, with the scribe
typedef struct shoal_output shoal_output_t;             // of one job
typedef struct shoal_draft shoal_draft_t;               // of one attempt
typedef struct shoal_subscription shoal_subscription_t; // of one client to one job

typedef struct shoal_piece {
    uint64_t job;
    uint64_t commit;  // from 1
    uint64_t index;   // from 0 within the commit
    uint32_t records; // that end in this piece
    bool is_last;     // of its commit
} shoal_piece_t;

// What the hub does for the outputs. Called from shoal_outputs_run() only, so a handler never sees
// its own structures change under it. A hook must not call functions of this header.
typedef struct shoal_output_hooks {
    void *ctx;
    // Send GRANT to the attempt `owner` (of shoal_draft_new()); never called after the draft's end.
    void (*grant)(void *ctx, void *owner, uint32_t bytes);
    // Send PIECE to `peer` (of shoal_output_subscribe()). On SHOAL_SENT the payload's content has
    // gone; FULL: it is offered again later; GONE and BROKEN end the subscription.
    shoal_sent_t (*piece)(void *ctx, void *peer, const shoal_piece_t *piece, zmq_msg_t *payload);
    // The job is finished and its last commit was sent: send OUTPUT_END. Results as above; after
    // SHOAL_SENT the subscription stays (idle) until it is destroyed.
    shoal_sent_t (*end)(void *ctx, void *peer, uint64_t job, uint64_t commits);
    // Output of the job cannot be read back; no more comes on this subscription (still to be
    // destroyed).
    void (*failed)(void *ctx, void *peer, uint64_t job, const shoal_status_t *why);
    // The disk takes nothing more (`why`), or does again (NULL). For the log.
    void (*disk)(void *ctx, const shoal_status_t *why);
    // shoal_output_is_waiting() of the job has changed.
    void (*waits)(void *ctx, uint64_t job, bool is_waiting);
    // The note is back (`note->errand.is_done`: durable) and the receiver's again. NULL: none is sent.
    void (*noted)(void *ctx, shoal_journal_note_t *note);
    // The letters were read, or `letters->errand.failure` says why not. NULL: none are asked for.
    void (*letters)(void *ctx, shoal_letters_query_t *letters);
    // A file of the spool was mended when it was opened: for the log. Or NULL.
    void (*mended)(void *ctx, const char *text);
    // Everything up to that mark is durable. NULL: nobody waits.
    void (*durable)(void *ctx, uint64_t lsn);
} shoal_output_hooks_t;

typedef struct shoal_outputs_config {
    const char *directory; // for the spool; exists
    uint64_t memory_bytes; // --memory-limit; 0: the default
    uint64_t spool_bytes;  // --spool-limit; 0: the default
    shoal_output_hooks_t hooks;
    shoal_journal_t *journal; // borrowed until the end, not to be used after the first run; or NULL
    bool is_view;             // nothing is written or mended: see spool.h
    uint64_t sync_delay_ms;   // for tests, as are all of these: see scribe.h
    shoal_crash_t *crash;
    shoal_vault_t *vault; // borrowed as the journal is
} shoal_outputs_config_t;

// Starts the scribe; with a journal its spool is what was there.
//   as shoal_scribe_start()
SHOAL_MUST_CHECK bool shoal_outputs_new(const shoal_outputs_config_t *config,
                                        shoal_outputs_t **ret_outputs, shoal_status_t *status);

// Stops the scribe and closes the spool; all jobs' outputs were destroyed before. Without a journal
// the spool is removed. Errands of the hub's that are still under way go to the hooks, not done.
void shoal_outputs_destroy(shoal_outputs_t **outputs);

// Readable when shoal_outputs_run() has something to do.
int shoal_outputs_fd(const shoal_outputs_t *outputs);

// The turn's share of work: takes what the scribe has done, grants, sends pieces, and hands new
// work to the scribe. Call it when the descriptor is readable and once in each turn of the loop in
// which a function below was called. Returns when to call it again at the latest.
uint64_t shoal_outputs_run(shoal_outputs_t *outputs, uint64_t now_ms);

// Why nothing can become durable any more: the disk has lost what it was given. NULL: all is well.
const shoal_status_t *shoal_outputs_lost(const shoal_outputs_t *outputs);

// Hands a note to the scribe with the turn's other work, after all batches that came so far. The
// hook `noted` gets it back.
void shoal_outputs_note(shoal_outputs_t *outputs, shoal_journal_note_t *note);

// The same for letters to be read, and the hook `letters`.
void shoal_outputs_read_letters(shoal_outputs_t *outputs, shoal_letters_query_t *letters);

// A batch that the walk through the spool found is of no use.
void shoal_outputs_release(shoal_outputs_t *outputs, uint64_t job, shoal_spool_place_t place);

// The spool, to walk through before the first run.
shoal_spool_t *shoal_outputs_spool(shoal_outputs_t *outputs);

typedef struct shoal_outputs_info {
    uint64_t memory_bytes; // payloads in memory
    uint64_t spool_bytes;  // on the disk
    uint64_t unwritten;    // batches on their way there; not those that memory keeps
    bool is_stalled;       // the disk takes nothing
    uint64_t durable_lsn;  // of the last mark that is durable
    uint64_t used_bytes;   // of the budget: on the disk, on the way there, and kept in its place
    uint64_t budget_bytes; // --spool-limit
} shoal_outputs_info_t;
shoal_outputs_info_t shoal_outputs_info(const shoal_outputs_t *outputs);

// ---- one job

// `collects` false: batches are thrown away at once (and granted again), commits only counted.
shoal_output_t *shoal_output_new(shoal_outputs_t *outputs, uint64_t job, bool collects);

// Forgets the job's output: memory, files, subscriptions. Its drafts were destroyed before.
void shoal_output_destroy(shoal_output_t **output);

// No commit comes any more: subscribers are told the end when they are there and `lsn` is durable.
void shoal_output_finish(shoal_output_t *output, uint64_t lsn);

uint64_t shoal_output_commits(const shoal_output_t *output); // number of the last commit
uint64_t shoal_output_bytes(const shoal_output_t *output);   // of committed payloads

void shoal_output_taken(shoal_output_t *output, uint64_t commit); // up to that one, at somebody
bool shoal_output_is_fetched(const shoal_output_t *output);       // all of it is safe at somebody
bool shoal_output_is_read(const shoal_output_t *output);          // somebody is still fetching

// A draft of the job could be opened now.
bool shoal_output_has_room(const shoal_output_t *output);

// An attempt of the job cannot go on, or not begin, for lack of room: show wait "disk".
bool shoal_output_is_waiting(const shoal_output_t *output);

// ---- one job, after a restart: its commits in order, then its batches, then the end

// Appends which attempt each commit came from, as msgpack; and takes that back in.
//   SHOAL_IO  malformed
void shoal_output_write_commits(const shoal_output_t *output, shoal_buffer_t *out);
SHOAL_MUST_CHECK bool shoal_output_read_commits(shoal_output_t *output, shoal_slice_t commits,
                                                shoal_status_t *status);

// The next commit was that attempt's, with so many batches.
void shoal_output_restore_commit(shoal_output_t *output, uint64_t call, uint32_t attempt,
                                 uint32_t batches);

// A batch that the spool has, those of one attempt in order. False: it is of no commit, and the
// caller's to release.
bool shoal_output_restore_batch(shoal_output_t *output, const shoal_spool_batch_t *batch);

// All commits are visible now.
//   SHOAL_IO  a batch is missing: its commit is named
SHOAL_MUST_CHECK bool shoal_output_restore_end(shoal_output_t *output, shoal_status_t *status);

// A draft of an attempt that was given out before the restart and has sent nothing yet.
shoal_draft_t *shoal_draft_restore(shoal_output_t *output, uint64_t call, uint32_t attempt,
                                   void *owner);

// ---- one attempt

// Opens a draft and says how many bytes it may send (CALL's credit). NULL: there is no room on the
// disk now; try again when shoal_outputs_run() has run. `owner` is given to the grant hook.
shoal_draft_t *shoal_draft_new(shoal_output_t *output, uint64_t call, uint32_t attempt, void *owner,
                               uint32_t *ret_credit);

// Takes the payload's content (it is empty afterwards and still the caller's to close) as the
// draft's next batch. The caller has checked sequence, size and credit: shoal_draft_credit().
void shoal_draft_append(shoal_draft_t *draft, uint32_t records, zmq_msg_t *payload);

// The attempt has sent so many bytes that are not its output: they are granted again.
void shoal_draft_pass(shoal_draft_t *draft, uint64_t bytes);

uint64_t shoal_draft_batches(const shoal_draft_t *draft); // how many it has: the next one's seq
uint64_t shoal_draft_records(const shoal_draft_t *draft); // in them

// Bytes it may still send; zero or less: a further batch breaks the protocol.
int64_t shoal_draft_credit(const shoal_draft_t *draft);

// Makes its batches the job's next commit, visible once `lsn` is durable, and returns that one's
// number; the draft has ended.
uint64_t shoal_draft_commit(shoal_draft_t **draft, uint64_t lsn);

// Throws its batches away. NULL is fine.
void shoal_draft_destroy(shoal_draft_t **draft);

// ---- one subscriber

// Sends commits from number `from` on (0 counts as 1) to `peer`, at most `credit` bytes ahead of
// what shoal_subscription_taken() gives back, and one piece more.
shoal_subscription_t *shoal_output_subscribe(shoal_output_t *output, void *peer, uint64_t from,
                                             uint64_t credit);

// TAKEN: commits up to that one are safe at the subscriber, and so many bytes more may be sent.
void shoal_subscription_taken(shoal_subscription_t *subscription, uint64_t commit, uint64_t bytes);

// Bytes that it may still send; zero or less: none.
int64_t shoal_subscription_credit(const shoal_subscription_t *subscription);

// NULL is fine. Those of a job end with shoal_output_destroy(): their pointers are dead then.
void shoal_subscription_destroy(shoal_subscription_t **subscription);

#endif
