// SPDX-License-Identifier: Apache-2.0
//
// sim.h - the simulated world around the real head: time, network, disk, workers, clients.
//
// The head's own code runs unchanged, its event loop included. What it calls of libzmq, of the clock
// and of the disk's thread is defined here instead (zmq.c, disk.c), so that zmq_poll() is where the
// world goes on: events are handled in the order of their simulated time until there is something
// for the head, or its timeout is over. One seed decides everything, so a seed always runs the same.
//
// world.c has time and the turn, net.c the connections, worker.c and work.c the workers, client.c
// the clients, jobs.c what jobs there are and what must come of them, faults.c what goes wrong,
// check.c what must hold at each step.
//
// Threads: one.  Logging: none; a violation ends the process with its sentence.

#ifndef SHOAL_TESTS_SIM_SIM_H
#define SHOAL_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "head/hub/hub.h"
#include "proto/base/buffer.h"
#include "proto/wire/message.h"
#include "tests/support/random.h"

#define SIM_MS            UINT64_C(1000) // in microseconds, the unit of simulated time
#define SIM_SECOND        UINT64_C(1000000)
#define SIM_HEARTBEAT_MS  200
#define SIM_LIVENESS_MS   1000
#define SIM_LEASE_MS      4000
#define SIM_WORKERS_MAX   24
#define SIM_JOBS_MAX      6
#define SIM_FAULTS_MAX    400
#define SIM_FAULTS_END_US (60 * SIM_SECOND)   // no fault after that
#define SIM_END_US        (6000 * SIM_SECOND) // by then all jobs must have ended

typedef struct sim sim_t;
typedef struct sim_conn sim_conn_t;
typedef struct sim_actor sim_actor_t;

// ---- time

typedef enum sim_event_kind {
    SIM_EVENT_UP,     // a letter arrives at the head
    SIM_EVENT_DOWN,   // a letter arrives at a peer
    SIM_EVENT_HANGUP, // the head's side of a connection is closed
    SIM_EVENT_LOST,   // the peer hears of it
    SIM_EVENT_TIMER,  // an actor's
    SIM_EVENT_FAULT,
    SIM_EVENT_DISK,
} sim_event_kind_t;

typedef struct sim_event {
    uint64_t at_us;
    uint64_t order; // those of one instant happen in the order in which they were planned
    sim_event_kind_t kind;
    unsigned timer; // of an actor
    uint64_t value; // epoch of the actor, or a number
    void *target;
} sim_event_t;

// ---- the network: net.c

typedef struct sim_letter {
    struct sim_letter *next;
    uint64_t due_us;
    sim_conn_t *conn;
    unsigned char header[SHOAL_WIRE_HEADER_SIZE];
    char *body;
    size_t body_len;
    char *payload; // NULL: the message has none
    size_t payload_len;
    zmq_msg_t origin; // of the body, if its maker wants to know when it has gone
    bool has_origin;
} sim_letter_t;

typedef struct sim_line {
    sim_letter_t *first;
    sim_letter_t *last;
    size_t count;
    uint64_t due_us; // of the last letter: they arrive in order
} sim_line_t;

struct sim_conn {
    sim_conn_t *next; // of all that ever were
    uint32_t key;     // the ROUTER's routing id
    int fd;           // as the head sees it
    uint64_t inode;
    bool is_head_open; // the ROUTER knows it
    bool is_peer_open; // the peer has its socket
    bool is_broken;    // what is sent gets lost
    sim_actor_t *owner;
    uint64_t slow_until_us;
    uint64_t slow_us;
    sim_line_t up;
    sim_line_t down;
};

sim_conn_t *sim_conn_open(sim_t *sim, sim_actor_t *owner);
void sim_conn_send(sim_conn_t *conn, const shoal_message_t *message, shoal_slice_t payload);
void sim_conn_send_raw(sim_conn_t *conn, shoal_slice_t header, shoal_slice_t body);

// The peer's process closes it, or dies: what it has sent still arrives.
void sim_conn_close(sim_conn_t *conn);

// The network loses it with all that is on its way; each side hears of it after so many us
// (SHOAL_TIME_NEVER: never).
void sim_conn_cut(sim_conn_t *conn, uint64_t head_us, uint64_t peer_us);

void sim_letter_free(sim_letter_t *letter);
void sim_net_handle(sim_t *sim, const sim_event_t *event);
void sim_net_head_ended(sim_t *sim); // all connections end with it
void sim_net_end(sim_t *sim);        // frees all

// ---- actors: workers and clients

typedef struct sim_actor_ops {
    void (*hear)(sim_actor_t *actor, const shoal_message_t *message, shoal_slice_t payload);
    void (*lost)(sim_actor_t *actor); // its connection is gone
    void (*timer)(sim_actor_t *actor, unsigned timer);
} sim_actor_ops_t;

struct sim_actor {
    sim_t *sim;
    const char *name;
    const sim_actor_ops_t *ops;
    test_random_t random;
    sim_conn_t *conn;         // NULL: none
    uint64_t frozen_until_us; // the process is stopped
    bool is_dead;
    uint64_t epoch; // of its process: timers of an older one are void
};

void sim_timer(sim_actor_t *actor, uint64_t delay_us, unsigned timer);
void sim_actor_read(sim_actor_t *actor); // takes what has arrived

// ---- jobs: jobs.c

typedef enum sim_fate { // of a map shard
    SIM_FATE_GOOD,
    SIM_FATE_TRANSIENT, // fails a few times
    SIM_FATE_FATAL,
    SIM_FATE_POISON, // kills its worker with SEGV
    SIM_FATE_HANGS,  // the first time
} sim_fate_t;

typedef struct sim_commit {
    uint64_t hash; // of its bytes, as a client got them
    bool is_known;
} sim_commit_t;

typedef struct sim_job {
    sim_t *sim;
    unsigned index;
    char id[16];
    uint64_t seed;
    uint32_t records;   // 0 to records - 1
    uint32_t per_scope; // records of one scope
    uint32_t per_shard; // about
    uint32_t links;
    uint32_t record_bytes; // of one, in a batch
    uint32_t parallelism;
    uint64_t limit;
    bool plan_only;
    bool has_faulty; // shards and records that fail
    bool is_moving;  // each attempt of discover cuts otherwise, with a cursor in each shard
    bool check_fails;
    bool config_fails; // a map shard fails with class config
    uint64_t submit_us;
    uint64_t stop_us; // 0: never
    // what has come of it so far
    uint64_t number; // as the head said
    bool is_accepted;
    bool is_stop_said;
    bool is_stop_accepted;
    bool is_fetched;   // somebody has all of it
    bool is_forgotten; // before everybody had
    char state[16];    // final one, or empty
    shoal_buffer_t detail;
    uint64_t commits; // by OUTPUT_END
    bool has_end;
    sim_commit_t *commits_seen; // by number
    uint64_t commits_size;
    uint8_t *delivered; // how often each record was
    uint64_t delivered_count;
    uint64_t others;      // records of prepare and link
    uint32_t *tries;      // how often the shard that begins at a record was begun
    uint32_t discoveries; // attempts of discover that came to their end
} sim_job_t;

void sim_jobs_plan(sim_t *sim);
void sim_jobs_end(sim_t *sim);
sim_fate_t sim_job_fate(const sim_job_t *job, uint32_t from);

typedef enum sim_record_kind {
    SIM_RECORD_GOOD,
    SIM_RECORD_FILTERED,
    SIM_RECORD_VANISHED,
    SIM_RECORD_BAD
} sim_record_kind_t;
sim_record_kind_t sim_job_record(const sim_job_t *job, uint32_t record);

void sim_job_spec(const sim_job_t *job, shoal_buffer_t *out); // SUBMIT's payload

// A whole commit has come to a client: checks what is in it. `is_again`: it was fetched before.
void sim_job_commit(sim_job_t *job, uint64_t commit, shoal_slice_t bytes);
void sim_job_final(sim_job_t *job, shoal_slice_t state, shoal_slice_t detail);
void sim_job_check(sim_job_t *job); // after its end

// What a map commit begins with: mark, kind, from, to as 32-bit numbers; records follow.
enum { SIM_KIND_PREPARE = 1, SIM_KIND_MAP = 2, SIM_KIND_LINK = 3 };
#define SIM_MARK 0x53484f41U

// ---- workers: worker.c; what their calls do: work.c

typedef struct sim_worker sim_worker_t;
sim_worker_t *sim_worker_new(sim_t *sim, unsigned index);
void sim_worker_destroy(sim_worker_t **worker);
sim_actor_t *sim_worker_actor(sim_worker_t *worker);
void sim_worker_kill(sim_worker_t *worker, int signal, uint64_t down_us);
void sim_worker_drain(sim_worker_t *worker, uint64_t down_us);

typedef struct sim_work {
    shoal_buffer_t bytes; // of all records
    uint32_t *ends;       // of each record, in bytes
    uint32_t count;
    uint32_t sent;
    shoal_buffer_t detail;
    uint64_t pause_us; // between two steps
    uint32_t steps;    // at least
    uint32_t batch;    // records of a batch, at most
    shoal_outcome_t outcome;
    shoal_error_class_t error_class;
    bool hangs;
    int signal; // kills its process
} sim_work_t;

// What a call has to do; `args` as in CALL.
void sim_work_plan(sim_job_t *job, test_random_t *random, shoal_slice_t method, shoal_slice_t args,
                   uint32_t attempt, uint64_t limit, sim_work_t *work);
void sim_work_fini(sim_work_t *work);

// ---- clients: client.c

typedef struct sim_client sim_client_t;
sim_client_t *sim_client_new(sim_t *sim, sim_job_t *job, bool is_reader);
void sim_client_destroy(sim_client_t **client);
sim_actor_t *sim_client_actor(sim_client_t *client);
void sim_client_kill(sim_client_t *client);
bool sim_client_is_done(const sim_client_t *client);

// ---- the head's life

// Kills the head after `messages` more that it sends (0: at once); it is started again after that
// time. A head that is asked to stop says goodbye and has everything durable.
void sim_head_kill(sim_t *sim, uint64_t messages, uint64_t down_us);
void sim_head_stop(sim_t *sim, uint64_t down_us);

// ---- faults: faults.c

typedef struct sim_fault {
    uint64_t at_ms;
    const char *kind; // of the table
    unsigned target;
    uint64_t value;
} sim_fault_t;

void sim_faults_plan(sim_t *sim); // unless a script was read
bool sim_faults_read(sim_t *sim, const char *path);
void sim_faults_write(const sim_fault_t *faults, size_t count, const bool *keep, FILE *file);
void sim_fault_happen(sim_t *sim, const sim_fault_t *fault);

// ---- the head's disk: disk.c

typedef struct sim_disk sim_disk_t;
sim_disk_t *sim_disk_new(sim_t *sim);
void sim_disk_destroy(sim_disk_t **disk);
void sim_disk_handle(sim_t *sim, unsigned step, uint64_t life);
void sim_disk_crash(sim_t *sim); // what is not durable is lost, and nothing more is written
void sim_disk_fill(sim_t *sim, uint64_t until_us); // it is full until then
void sim_disk_slow(sim_t *sim, uint64_t until_us);

// ---- what must hold: check.c

void sim_check_turn(sim_t *sim);
void sim_check_again(sim_t *sim); // again.c: what the journal has makes the same jobs
void sim_print_head(sim_t *sim);  // where it stands, for people

// A rule of the world is broken: says it with the time and ends the process.
void sim_violation(sim_t *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

// ---- the world: world.c

struct sim {
    uint64_t seed;
    test_random_t random; // of the world itself
    uint64_t now_us;
    uint64_t order;
    sim_event_t *events; // a heap
    size_t event_count;
    size_t event_size;
    uint64_t handled; // events so far
    uint64_t turns;
    uint64_t second; // of the turns that are counted
    unsigned second_turns;
    bool is_verbose;
    // the head
    shoal_hub_t *hub;
    bool is_head_up;
    bool is_over;
    int lifeline[2];
    size_t send_hwm;
    uint64_t stall_us;   // the head stands still at the next turn
    uint64_t ends_after; // the head is killed after so many messages, if not 0
    uint64_t down_us;    // and is away for so long
    uint64_t skew_us;    // the clock of a dead head runs ahead
    bool is_ended;       // it was killed, or asked to stop
    bool has_journal;
    sim_letter_t *inbox_first;
    sim_letter_t *inbox_last;
    size_t inbox_count;
    unsigned frame;             // of the first letter, that is read next
    bool has_more;              // frames of the message that was read last
    int source_fd;              // of that message
    struct monitor_note *notes; // for the head's monitor
    size_t note_count;
    unsigned note_frame;
    int monitor_fd;
    bool is_signalled;   // one of the descriptors that the head watches is readable
    sim_conn_t *sending; // to whom the head writes a message now
    sim_letter_t *draft;
    unsigned draft_frames;
    // the rest
    sim_conn_t *conns;
    uint32_t next_key;
    uint64_t next_inode;
    sim_disk_t *disk;
    sim_worker_t *workers[SIM_WORKERS_MAX];
    size_t worker_count;
    sim_job_t jobs[SIM_JOBS_MAX];
    size_t job_count;
    sim_client_t *clients[2 * SIM_JOBS_MAX];
    size_t client_count;
    sim_fault_t faults[SIM_FAULTS_MAX];
    size_t fault_count;
    bool has_script;
    struct seen_attempt *seen; // the highest attempt of each call that a worker was given
    size_t seen_size;
    size_t seen_count;
};

void sim_plan(sim_t *sim, uint64_t delay_us, sim_event_kind_t kind, void *target, unsigned timer,
              uint64_t value);

// Runs one seed to its end; a violation ends the process.
void sim_run(uint64_t seed, const char *script, bool is_verbose, uint64_t *ret_events);

uint64_t sim_hash(uint64_t a, uint64_t b);
uint64_t sim_below(test_random_t *random, uint64_t limit);

// A CALL was given out: its number must be above all that were before it.
void sim_note_attempt(sim_t *sim, uint64_t call, uint64_t attempt);

#endif
