// SPDX-License-Identifier: Apache-2.0
//
// bench_dispatch.c - one real head, N light peers, no-op tasks: the figures beside floor/scale.
//
//   bench_dispatch HEAD [-n peers] [-w window] [-t tasks] [-i idle_seconds] [-s seconds]
//
// A fleet process holds N connections that speak ZMTP and Shoal's protocol over plain epoll, so that
// the head gets most of the machine. Each registers as a worker of one slot, beats once a second
// and answers every call at once. The parent is the client: it submits one job of class "bench";
// one peer streams its shards as discovery. Phases: register all, idle for -i seconds (head's CPU
// and memory), then the job. The rate is taken in the fleet between a tenth and nine tenths of the
// tasks (or for -s seconds after the first tenth), where every peer is busy.
//
// CSV: peers,window,tasks,connect_s,idle_cpu_pct,rss_kib_per_peer,tasks_s,head_us_per_task,
//      job_s,submit_s,head_rss_mib,head_anon_kib_start

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zmq.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "proto/wire/socket.h"

#define EVENTS_AT_ONCE  512
#define SHARDS_IN_BATCH 2000
#define ZMTP_MORE       1
#define ZMTP_LONG       2
#define ZMTP_COMMAND    4

// What the fleet tells the parent, in memory that both map.
typedef struct board {
    volatile uint64_t registered;
    volatile uint64_t done;    // map calls answered
    volatile uint64_t from_us; // when the measured stretch began
    volatile uint64_t from_done;
    volatile uint64_t until_us; // and ended
    volatile uint64_t until_done;
    volatile uint64_t from_head_us; // the head's CPU at both
    volatile uint64_t until_head_us;
} board_t;

typedef struct bench {
    const char *head;
    unsigned peers;
    unsigned window;
    uint64_t tasks;
    double idle_s;
    double stretch_s;
    pid_t head_pid;
    int port;
    board_t *board;
} bench_t;

static void
die(const char *what)
{
    (void)fprintf(stderr, "bench_dispatch: %s: %s\n", what, strerror(errno));
    exit(2);
}

// utime + stime of a process, microseconds; its resident and anonymous memory in KiB.
static uint64_t
cpu_us(pid_t pid)
{
    char path[64];
    char line[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof(line), file)) {
        die("cannot read the head's CPU time");
    }
    (void)fclose(file);
    unsigned long user = 0;
    unsigned long system = 0;
    const char *rest = strrchr(line, ')');
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                        &system) != 2) {
        die("cannot read the head's CPU time");
    }
    return (uint64_t)(user + system) * 1000000U / (uint64_t)sysconf(_SC_CLK_TCK);
}

static long
memory_kib(pid_t pid, const char *key)
{
    char path[64];
    char line[256];
    long value = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            value = strtol(line + strlen(key) + 1, NULL, 10);
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return value;
}

// ---- the fleet

typedef enum peer_state { PEER_GREETING, PEER_HANDSHAKE, PEER_OPEN } peer_state_t;

typedef struct peer {
    int fd;
    peer_state_t state;
    unsigned index;
    bool wants_write;
    bool is_ready;
    unsigned frame;            // index of the next frame within the message
    shoal_message_type_t type; // of the message being read
    uint64_t results;          // RESULT's seq
    shoal_buffer_t in;
    shoal_buffer_t out;
    size_t out_off;
} peer_t;

typedef struct fleet {
    bench_t *bench;
    int epoll;
    peer_t *peers;
    bool is_over;
    shoal_buffer_t scratch;
    // The discovery that one peer streams.
    peer_t *discoverer;
    uint64_t discover_call;
    uint64_t discover_attempt;
    uint64_t discover_seq;
    uint64_t discover_records;
    uint64_t credit;
    uint64_t next_shard;
} fleet_t;

static void
put_frame(peer_t *peer, int flags, const void *bytes, size_t len)
{
    unsigned char head[9];
    size_t head_len = 2;
    if (len < 256) {
        head[0] = (unsigned char)flags;
        head[1] = (unsigned char)len;
    } else {
        head[0] = (unsigned char)(flags | ZMTP_LONG);
        for (unsigned i = 0; i < 8; i++) {
            head[1 + i] = (unsigned char)((uint64_t)len >> (56 - 8 * i));
        }
        head_len = 9;
    }
    shoal_buffer_append(&peer->out, head, head_len);
    shoal_buffer_append(&peer->out, bytes, len);
}

static void
put_message(fleet_t *fleet, peer_t *peer, const shoal_message_t *message, shoal_slice_t payload)
{
    unsigned char header[SHOAL_WIRE_HEADER_SIZE];
    shoal_header_encode(message->type, header);
    put_frame(peer, ZMTP_MORE, header, sizeof(header));
    shoal_buffer_clear(&fleet->scratch);
    shoal_body_encode(message, &fleet->scratch);
    bool has_payload = shoal_message_has_payload(message->type);
    put_frame(peer, has_payload ? ZMTP_MORE : 0, fleet->scratch.ptr, fleet->scratch.len);
    if (has_payload) {
        put_frame(peer, 0, payload.ptr, payload.len);
    }
}

static void
watch(fleet_t *fleet, peer_t *peer, bool wants_write)
{
    if (peer->wants_write != wants_write) {
        struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0U),
                                    .data.ptr = peer};
        (void)epoll_ctl(fleet->epoll, EPOLL_CTL_MOD, peer->fd, &event);
        peer->wants_write = wants_write;
    }
}

static void
flush(fleet_t *fleet, peer_t *peer)
{
    while (peer->out_off < peer->out.len) {
        ssize_t sent =
            write(peer->fd, peer->out.ptr + peer->out_off, peer->out.len - peer->out_off);
        if (sent < 0) {
            if (errno == EAGAIN) {
                watch(fleet, peer, true);
            }
            return;
        }
        peer->out_off += (size_t)sent;
    }
    peer->out.len = peer->out_off = 0;
    watch(fleet, peer, false);
}

static void
say_hello(fleet_t *fleet, peer_t *peer)
{
    char id[32];
    (void)snprintf(id, sizeof(id), "bench-%06u", peer->index);
    static const unsigned char classes[] = {0x91, 0xa5, 'b', 'e', 'n', 'c', 'h'};
    shoal_message_t message = {
        .type = SHOAL_MSG_HELLO,
        .hello = {.role = SHOAL_SLICE("worker"),
                  .id = shoal_slice_of(id),
                  .incarnation = 1,
                  .slots = 1,
                  .window = fleet->bench->window,
                  .classes = {(const char *)classes, sizeof(classes)}},
    };
    put_message(fleet, peer, &message, SHOAL_SLICE_NONE);
}

static void
put_result(fleet_t *fleet, peer_t *peer, const shoal_msg_call_t *call, uint64_t batches,
           uint64_t records)
{
    shoal_message_t message = {
        .type = SHOAL_MSG_RESULT,
        .result = {.seq = ++peer->results,
                   .call = call->call,
                   .attempt = call->attempt,
                   .outcome = SHOAL_OUTCOME_DONE,
                   .batches = batches,
                   .records = records},
    };
    put_message(fleet, peer, &message, SHOAL_SLICE_NONE);
}

static void
write_shard(shoal_buffer_t *out, uint64_t number)
{
    shoal_write_map(out, 4);
    shoal_write_key(out, "shard");
    shoal_write_uint(out, number);
    shoal_write_key(out, "stage");
    shoal_write_uint(out, 2);
    shoal_write_key(out, "cost");
    shoal_write_uint(out, 1000000); // a second: large, so that the window counts it whole
    shoal_write_key(out, "args");
    shoal_write_nil(out);
}

// Sends shards while there is credit; ends discovery when all are sent.
static void
discover_more(fleet_t *fleet)
{
    bench_t *bench = fleet->bench;
    peer_t *peer = fleet->discoverer;
    shoal_buffer_t batch = SHOAL_BUFFER_INIT;
    while (fleet->next_shard <= bench->tasks && fleet->credit > 0) {
        shoal_buffer_clear(&batch);
        unsigned count = 0;
        while (count < SHARDS_IN_BATCH && fleet->next_shard <= bench->tasks) {
            write_shard(&batch, fleet->next_shard++);
            count++;
        }
        shoal_message_t message = {
            .type = SHOAL_MSG_BATCH,
            .batch = {.call = fleet->discover_call,
                      .attempt = fleet->discover_attempt,
                      .seq = fleet->discover_seq++,
                      .records = count},
        };
        put_message(fleet, peer, &message, shoal_buffer_slice(&batch));
        fleet->discover_records += count;
        fleet->credit = fleet->credit > batch.len ? fleet->credit - batch.len : 0;
    }
    shoal_buffer_fini(&batch);
    if (fleet->next_shard > bench->tasks) {
        shoal_msg_call_t call = {.call = fleet->discover_call, .attempt = fleet->discover_attempt};
        put_result(fleet, peer, &call, fleet->discover_seq, fleet->discover_records);
        fleet->discoverer = NULL;
    }
    flush(fleet, peer);
}

// Marks the ends of the measured stretch.
static void
count_done(bench_t *bench)
{
    board_t *board = bench->board;
    uint64_t done = ++board->done;
    if (done == bench->tasks / 10) {
        board->from_done = done;
        board->from_head_us = cpu_us(bench->head_pid);
        board->from_us = shoal_clock_us();
    } else if (board->from_us && !board->until_us) {
        bool is_time = (done & 255U) == 0 &&
                       (double)(shoal_clock_us() - board->from_us) / 1e6 >= bench->stretch_s;
        if (is_time || done == bench->tasks / 10 * 9) {
            board->until_us = shoal_clock_us();
            board->until_done = done;
            board->until_head_us = cpu_us(bench->head_pid);
        }
    }
}

static void
on_call(fleet_t *fleet, peer_t *peer, const shoal_msg_call_t *call)
{
    if (shoal_slice_is(call->method, "discover")) {
        fleet->discoverer = peer;
        fleet->discover_call = call->call;
        fleet->discover_attempt = call->attempt;
        fleet->discover_seq = 0;
        fleet->discover_records = 0;
        fleet->credit = call->credit;
        fleet->next_shard = 1;
        discover_more(fleet);
        return;
    }
    put_result(fleet, peer, call, 0, 0);
    if (shoal_slice_is(call->method, "map")) {
        count_done(fleet->bench);
    }
}

static void
on_body(fleet_t *fleet, peer_t *peer, shoal_slice_t body)
{
    shoal_message_t message = {.type = peer->type};
    shoal_status_t status = SHOAL_STATUS_INIT;
    switch ((int)peer->type) {
    case SHOAL_MSG_WELCOME:
        if (!peer->is_ready) {
            peer->is_ready = true;
            fleet->bench->board->registered++;
        }
        break;
    case SHOAL_MSG_CALL:
        if (shoal_body_decode(body, &message, &status)) {
            on_call(fleet, peer, &message.call);
        }
        break;
    case SHOAL_MSG_GRANT:
        if (shoal_body_decode(body, &message, &status) && fleet->discoverer == peer) {
            fleet->credit += message.grant.bytes;
            discover_more(fleet);
        }
        break;
    case SHOAL_MSG_ERROR:
        if (shoal_body_decode(body, &message, &status)) {
            (void)fprintf(stderr, "bench_dispatch: the head says: %.*s\n",
                          SHOAL_SLICE_ARGS(message.error.reason));
        }
        break;
    default: break; // HEARTBEAT, ACTOR, ACK, ... need no answer here
    }
}

static void
on_frame(fleet_t *fleet, peer_t *peer, unsigned flags, shoal_slice_t frame)
{
    if (flags & ZMTP_COMMAND) {
        if (peer->state == PEER_HANDSHAKE) {
            peer->state = PEER_OPEN;
            say_hello(fleet, peer);
        }
        return;
    }
    if (peer->frame == 0 && frame.len == SHOAL_WIRE_HEADER_SIZE) {
        peer->type =
            (shoal_message_type_t)((unsigned char)frame.ptr[4] << 8 | (unsigned char)frame.ptr[5]);
    } else if (peer->frame == 1) {
        on_body(fleet, peer, frame);
    }
    peer->frame = flags & ZMTP_MORE ? peer->frame + 1 : 0;
}

static void
handshake(peer_t *peer)
{
    static const unsigned char ready[] = {5,   'R', 'E', 'A', 'D', 'Y', 11,  'S', 'o', 'c',
                                          'k', 'e', 't', '-', 'T', 'y', 'p', 'e', 0,   0,
                                          0,   6,   'D', 'E', 'A', 'L', 'E', 'R'};
    put_frame(peer, ZMTP_COMMAND, ready, sizeof(ready));
    peer->state = PEER_HANDSHAKE;
}

// Parses what has come; returns how many bytes were used.
static size_t
parse(fleet_t *fleet, peer_t *peer)
{
    const unsigned char *bytes = (const unsigned char *)peer->in.ptr;
    size_t off = 0;
    if (peer->state == PEER_GREETING) {
        if (peer->in.len < 64) {
            return 0;
        }
        off = 64;
        handshake(peer);
    }
    for (;;) {
        size_t have = peer->in.len - off;
        if (have < 2) {
            return off;
        }
        size_t head_len = 2;
        size_t len = bytes[off + 1];
        if (bytes[off] & ZMTP_LONG) {
            if (have < 9) {
                return off;
            }
            head_len = 9;
            len = 0;
            for (size_t i = 0; i < 8; i++) {
                len = len << 8 | bytes[off + 1 + i];
            }
        }
        if (have < head_len + len) {
            return off;
        }
        shoal_slice_t frame = {(const char *)bytes + off + head_len, len};
        on_frame(fleet, peer, bytes[off], frame);
        off += head_len + len;
    }
}

static void
on_input(fleet_t *fleet, peer_t *peer)
{
    for (;;) {
        char *to = shoal_buffer_reserve(&peer->in, 4096);
        ssize_t got = read(peer->fd, to, 4096);
        if (got <= 0) {
            if (got < 0 && errno == EAGAIN) {
                break;
            }
            fleet->is_over = true; // the head went: the benchmark is over
            return;
        }
        peer->in.len += (size_t)got;
        size_t used = parse(fleet, peer);
        if (used > 0) {
            memmove(peer->in.ptr, peer->in.ptr + used, peer->in.len - used);
            peer->in.len -= used;
        }
        if (got < 4096) {
            break;
        }
    }
    flush(fleet, peer);
}

static void
dial(fleet_t *fleet, peer_t *peer, unsigned index)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)fleet->bench->port)};
    static const unsigned char greeting[64] = {0xff, 0,    0, 0, 0,   0,   0,   0,
                                               1,    0x7f, 3, 1, 'N', 'U', 'L', 'L'};
    peer->index = index;
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->fd < 0 || connect(peer->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        die("cannot connect a peer");
    }
    int one = 1;
    (void)setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)fcntl(peer->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    (void)epoll_ctl(fleet->epoll, EPOLL_CTL_ADD, peer->fd, &event);
    shoal_buffer_append(&peer->out, greeting, sizeof(greeting));
    flush(fleet, peer);
}

// One heartbeat a second for each peer, spread evenly.
static void
beat(fleet_t *fleet, uint64_t start_us, uint64_t *sent)
{
    unsigned peers = fleet->bench->peers;
    uint64_t due = (shoal_clock_us() - start_us) * peers / 1000000U;
    if (due > *sent + 2U * peers) {
        *sent = due - peers;
    }
    shoal_message_t message = {.type = SHOAL_MSG_HEARTBEAT};
    for (; *sent < due; (*sent)++) {
        peer_t *peer = &fleet->peers[*sent % peers];
        if (peer->is_ready) {
            put_message(fleet, peer, &message, SHOAL_SLICE_NONE);
            flush(fleet, peer);
        }
    }
}

static void
run_fleet(bench_t *bench)
{
    fleet_t fleet = {.bench = bench, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    fleet.peers = shoal_alloc(bench->peers * sizeof(*fleet.peers));
    for (unsigned i = 0; i < bench->peers; i++) {
        dial(&fleet, &fleet.peers[i], i);
    }
    struct epoll_event events[EVENTS_AT_ONCE];
    uint64_t start_us = shoal_clock_us();
    uint64_t sent = 0;
    while (!fleet.is_over) {
        int count = epoll_wait(fleet.epoll, events, EVENTS_AT_ONCE, 5);
        for (int i = 0; i < count; i++) {
            peer_t *peer = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                flush(&fleet, peer);
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                on_input(&fleet, peer);
            }
        }
        beat(&fleet, start_us, &sent);
    }
    _exit(0);
}

// ---- head and client

static void
start_head(bench_t *bench, int *ret_lifeline)
{
    int ready[2];
    int lifeline[2];
    if (pipe(ready) != 0 || pipe(lifeline) != 0) {
        die("cannot make a pipe");
    }
    char state[] = "/tmp/shoal-bench-XXXXXX";
    if (!mkdtemp(state)) {
        die("cannot make a state folder");
    }
    bench->head_pid = fork();
    if (bench->head_pid == 0) {
        char ready_fd[16];
        char lifeline_fd[16];
        (void)snprintf(ready_fd, sizeof(ready_fd), "%d", ready[1]);
        (void)snprintf(lifeline_fd, sizeof(lifeline_fd), "%d", lifeline[0]);
        (void)close(lifeline[1]);
        (void)execl(bench->head, bench->head, "--listen", "tcp://127.0.0.1:*", "--state", state,
                    "--insecure-loopback", "--ready-fd", ready_fd, "--lifeline-fd", lifeline_fd,
                    "--log-level", "WARN", (char *)NULL);
        die("cannot start the head");
    }
    (void)close(ready[1]);
    (void)close(lifeline[0]);
    char endpoint[256] = "";
    ssize_t got = read(ready[0], endpoint, sizeof(endpoint) - 1);
    const char *port = strrchr(endpoint, ':');
    if (got <= 0 || !port) {
        (void)fprintf(stderr, "bench_dispatch: the head did not start\n");
        exit(2);
    }
    bench->port = (int)strtol(port + 1, NULL, 10);
    *ret_lifeline = lifeline[1];
}

typedef struct client {
    void *context;
    void *socket;
    shoal_buffer_t scratch;
    shoal_parcel_t parcel;
} client_t;

static void
client_send(client_t *client, const shoal_message_t *message, zmq_msg_t *payload)
{
    if (shoal_message_send(client->socket, SHOAL_SLICE_NONE, message, payload, &client->scratch) !=
        SHOAL_SENT) {
        die("cannot send to the head");
    }
}

// Waits for one message; false after `timeout_ms`.
static bool
client_receive(client_t *client, long timeout_ms, shoal_message_t *ret_message)
{
    zmq_pollitem_t item = {client->socket, 0, ZMQ_POLLIN, 0};
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (zmq_poll(&item, 1, timeout_ms) <= 0 ||
        shoal_parcel_receive(client->socket, false, &client->parcel, &status) !=
            SHOAL_RECEIVED_ONE) {
        return false;
    }
    if (!shoal_parcel_decode(&client->parcel, ret_message, &status)) {
        (void)fprintf(stderr, "bench_dispatch: %s\n", status.text);
        exit(2);
    }
    if (ret_message->type == SHOAL_MSG_ERROR) {
        (void)fprintf(stderr, "bench_dispatch: the head says: %.*s\n",
                      SHOAL_SLICE_ARGS(ret_message->error.reason));
        exit(2);
    }
    return true;
}

static void
client_open(client_t *client, int port)
{
    char endpoint[64];
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", port);
    shoal_status_t status = SHOAL_STATUS_INIT;
    client->context = zmq_ctx_new();
    client->socket = zmq_socket(client->context, ZMQ_DEALER);
    shoal_parcel_init(&client->parcel);
    if (!shoal_socket_configure(client->socket, &status) ||
        zmq_connect(client->socket, endpoint) != 0) {
        die("cannot connect the client");
    }
    shoal_message_t hello = {
        .type = SHOAL_MSG_HELLO,
        .hello = {.role = SHOAL_SLICE("client"), .id = SHOAL_SLICE("bench-client")}};
    client_send(client, &hello, NULL);
    shoal_message_t answer;
    while (client_receive(client, 10000, &answer) && answer.type != SHOAL_MSG_WELCOME) {
    }
}

// Submits the job and waits for its end; seconds from SUBMIT to ACCEPTED in *ret_submit_s.
static double
client_run_job(client_t *client, double *ret_submit_s)
{
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    shoal_write_map(&spec, 3);
    shoal_write_key(&spec, "name");
    shoal_write_text(&spec, "bench");
    shoal_write_key(&spec, "class");
    shoal_write_text(&spec, "bench");
    shoal_write_key(&spec, "args");
    shoal_write_nil(&spec);
    zmq_msg_t payload;
    (void)zmq_msg_init_size(&payload, spec.len);
    memcpy(zmq_msg_data(&payload), spec.ptr, spec.len);
    shoal_buffer_fini(&spec);
    uint64_t start_us = shoal_clock_us();
    shoal_message_t submit = {.type = SHOAL_MSG_SUBMIT,
                              .submit = {.request = 1, .id = SHOAL_SLICE("bench-job")}};
    client_send(client, &submit, &payload);
    shoal_message_t answer;
    uint64_t beat_us = start_us;
    for (;;) {
        if (client_receive(client, 500, &answer)) {
            if (answer.type == SHOAL_MSG_ACCEPTED) {
                *ret_submit_s = (double)(shoal_clock_us() - start_us) / 1e6;
                shoal_message_t ask = {.type = SHOAL_MSG_WATCH,
                                       .watch = {.request = 2, .job = answer.accepted.job}};
                client_send(client, &ask, NULL);
            } else if (answer.type == SHOAL_MSG_EVENT &&
                       !shoal_slice_is(answer.event.state, "RUNNING") &&
                       !shoal_slice_is(answer.event.state, "PENDING")) {
                if (!shoal_slice_is(answer.event.state, "SUCCEEDED")) {
                    (void)fprintf(stderr, "bench_dispatch: the job ended %.*s\n",
                                  SHOAL_SLICE_ARGS(answer.event.state));
                }
                return (double)(shoal_clock_us() - start_us) / 1e6;
            }
        }
        if (shoal_clock_us() - beat_us > 1000000U) {
            beat_us = shoal_clock_us();
            shoal_message_t heartbeat = {.type = SHOAL_MSG_HEARTBEAT};
            client_send(client, &heartbeat, NULL);
        }
    }
}

static void
wait_until_registered(const bench_t *bench)
{
    uint64_t deadline_us = shoal_clock_us() + 60000000U;
    while (bench->board->registered < bench->peers) {
        if (shoal_clock_us() > deadline_us) {
            (void)fprintf(stderr, "bench_dispatch: only %llu of %u peers registered\n",
                          (unsigned long long)bench->board->registered, bench->peers);
            exit(2);
        }
        (void)usleep(1000);
    }
}

static void
parse_arguments(bench_t *bench, int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "n:w:t:i:s:")) != -1) {
        switch (option) {
        case 'n': bench->peers = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'w': bench->window = (unsigned)strtoul(optarg, NULL, 10); break;
        case 't': bench->tasks = strtoull(optarg, NULL, 10); break;
        case 'i': bench->idle_s = strtod(optarg, NULL); break;
        case 's': bench->stretch_s = strtod(optarg, NULL); break;
        default: exit(2);
        }
    }
    if (optind >= argc) {
        (void)fprintf(stderr, "usage: bench_dispatch [-n peers] [-w window] [-t tasks] "
                              "[-i idle_seconds] [-s seconds] HEAD\n");
        exit(2);
    }
    bench->head = argv[optind];
}

int
main(int argc, char **argv)
{
    bench_t bench = {.peers = 8, .window = 1, .tasks = 200000, .idle_s = 0, .stretch_s = 1.5};
    parse_arguments(&bench, argc, argv);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(180);
    struct rlimit limit = {200000, 200000};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    bench.board =
        mmap(NULL, sizeof(*bench.board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int lifeline = -1;
    start_head(&bench, &lifeline);
    client_t client = {0};
    client_open(&client, bench.port);
    long anon_start = memory_kib(bench.head_pid, "RssAnon");
    long rss_start = memory_kib(bench.head_pid, "VmRSS");
    uint64_t start_us = shoal_clock_us();
    pid_t fleet = fork();
    if (fleet == 0) {
        (void)close(lifeline);
        run_fleet(&bench);
    }
    wait_until_registered(&bench);
    double connect_s = (double)(shoal_clock_us() - start_us) / 1e6;
    double idle_pct = 0;
    if (bench.idle_s > 0) {
        (void)usleep(1000000); // settle
        uint64_t cpu = cpu_us(bench.head_pid);
        uint64_t from = shoal_clock_us();
        (void)usleep((useconds_t)(bench.idle_s * 1e6));
        idle_pct = (double)(cpu_us(bench.head_pid) - cpu) / (double)(shoal_clock_us() - from) * 100;
    }
    double kib_each =
        (double)(memory_kib(bench.head_pid, "VmRSS") - rss_start) / (double)bench.peers;
    double submit_s = 0;
    double job_s = client_run_job(&client, &submit_s);
    const board_t *board = bench.board;
    double tasks = (double)(board->until_done - board->from_done);
    double stretch = (double)(board->until_us - board->from_us) / 1e6;
    printf("%u,%u,%llu,%.3f,%.2f,%.1f,%.0f,%.2f,%.2f,%.4f,%.1f,%ld\n", bench.peers, bench.window,
           (unsigned long long)bench.tasks, connect_s, idle_pct, kib_each,
           stretch > 0 ? tasks / stretch : 0,
           tasks > 0 ? (double)(board->until_head_us - board->from_head_us) / tasks : 0, job_s,
           submit_s, (double)memory_kib(bench.head_pid, "VmHWM") / 1024, anon_start);
    (void)fflush(stdout);
    (void)close(lifeline); // the head sees it and ends
    (void)waitpid(bench.head_pid, NULL, 0);
    (void)kill(fleet, SIGKILL);
    (void)waitpid(fleet, NULL, 0);
    _exit(0);
}
