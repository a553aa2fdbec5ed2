// SPDX-License-Identifier: Apache-2.0
//
// bench_dispatch.c - one real head, N light peers, no-op tasks: the figures beside floor/scale.
//
//   bench_dispatch [-n peers] [-w window] [-t tasks] [-i idle_seconds] [-s seconds] [-j off|on|MS]
//                  HEAD
//
// A fleet process holds N connections that speak ZMTP and Shoal's protocol over plain epoll, so that
// the head gets most of the machine. Each registers as a worker of one slot, beats once a second
// and answers every call at once. The parent is the client: it submits one job of class "bench";
// one peer streams its shards as discovery. Phases: register all, idle for -i seconds (head's CPU
// and memory), then the job. The rate is taken in the fleet between a tenth and nine tenths of the
// tasks (or for -s seconds after the first tenth), where every peer is busy. -j: without a journal
// (as preset), with one, or with one whose syncs take so many milliseconds longer.
//
// CSV: peers,window,tasks,connect_s,idle_cpu_pct,rss_kib_per_peer,tasks_s,head_us_per_task,
//      job_s,head_peak_mib

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
#include "tests/bench/bed.h"

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
    const char *journal; // as bed_head_start() has it
    unsigned peers;
    unsigned window;
    uint64_t tasks;
    double idle_s;
    double stretch_s;
    pid_t head_pid;
    int port;
    board_t *board;
} bench_t;

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
    shoal_write_uint(out, 50000); // 50 ms: prefetched, and counted whole in the window
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
        board->from_head_us = bed_cpu_us(bench->head_pid);
        board->from_us = shoal_clock_us();
    } else if (board->from_us && !board->until_us) {
        bool is_time = (done & 255U) == 0 &&
                       (double)(shoal_clock_us() - board->from_us) / 1e6 >= bench->stretch_s;
        if (is_time || done == bench->tasks / 10 * 9) {
            board->until_us = shoal_clock_us();
            board->until_done = done;
            board->until_head_us = bed_cpu_us(bench->head_pid);
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
        bed_die("cannot connect a peer");
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

// ---- the client

// Submits the job and waits for its end; returns the seconds it took.
static double
run_job(bed_client_t *client)
{
    uint64_t start_us = shoal_clock_us();
    uint64_t beat_us = start_us;
    bed_client_watch(client, bed_client_submit(client, "bench", /*is_collected=*/false));
    for (;;) {
        shoal_message_t message;
        if (bed_client_receive(client, 500, &message) && message.type == SHOAL_MSG_EVENT &&
            bed_event_is_final(&message)) {
            return (double)(shoal_clock_us() - start_us) / 1e6;
        }
        bed_client_beat(client, &beat_us);
    }
}

// Waits, and keeps the client's session alive.
static void
rest(bed_client_t *client, double seconds)
{
    uint64_t until_us = shoal_clock_us() + (uint64_t)(seconds * 1e6);
    uint64_t beat_us = 0;
    shoal_message_t message;
    while (shoal_clock_us() < until_us) {
        bed_client_beat(client, &beat_us);
        (void)bed_client_receive(client, 100, &message);
    }
}

static void
wait_until_registered(const bench_t *bench, bed_client_t *client)
{
    uint64_t deadline_us = shoal_clock_us() + 60000000U;
    while (bench->board->registered < bench->peers) {
        if (shoal_clock_us() > deadline_us) {
            (void)fprintf(stderr, "bench_dispatch: only %llu of %u peers registered\n",
                          (unsigned long long)bench->board->registered, bench->peers);
            exit(2);
        }
        rest(client, 0.001);
    }
}

static void
parse_arguments(bench_t *bench, int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "n:w:t:i:s:j:")) != -1) {
        switch (option) {
        case 'n': bench->peers = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'w': bench->window = (unsigned)strtoul(optarg, NULL, 10); break;
        case 't': bench->tasks = strtoull(optarg, NULL, 10); break;
        case 'i': bench->idle_s = strtod(optarg, NULL); break;
        case 's': bench->stretch_s = strtod(optarg, NULL); break;
        case 'j': bench->journal = optarg; break;
        default: exit(2);
        }
    }
    if (optind >= argc) {
        (void)fprintf(stderr, "usage: bench_dispatch [-n peers] [-w window] [-t tasks] "
                              "[-i idle_seconds] [-s seconds] [-j off|on|MS] HEAD\n");
        exit(2);
    }
    bench->head = argv[optind];
}

int
main(int argc, char **argv)
{
    bench_t bench = {
        .peers = 8, .window = 1, .tasks = 200000, .idle_s = 0, .stretch_s = 1.5, .journal = "off"};
    parse_arguments(&bench, argc, argv);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(180);
    struct rlimit limit = {200000, 200000};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    bench.board =
        mmap(NULL, sizeof(*bench.board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bed_head_t head;
    bed_head_start(bench.head, bench.journal, NULL, &head);
    bench.head_pid = head.pid;
    bench.port = (int)strtol(strrchr(head.endpoint, ':') + 1, NULL, 10);
    bed_client_t client;
    bed_client_open(&client, head.endpoint, NULL);
    long rss_start = bed_memory_kib(bench.head_pid, "VmRSS");
    uint64_t start_us = shoal_clock_us();
    pid_t fleet = fork();
    if (fleet == 0) {
        (void)close(head.lifeline);
        run_fleet(&bench);
    }
    wait_until_registered(&bench, &client);
    double connect_s = (double)(shoal_clock_us() - start_us) / 1e6;
    double idle_pct = 0;
    if (bench.idle_s > 0) {
        rest(&client, 1); // settle
        uint64_t cpu = bed_cpu_us(bench.head_pid);
        uint64_t from = shoal_clock_us();
        rest(&client, bench.idle_s);
        idle_pct =
            (double)(bed_cpu_us(bench.head_pid) - cpu) / (double)(shoal_clock_us() - from) * 100;
    }
    double kib_each =
        (double)(bed_memory_kib(bench.head_pid, "VmRSS") - rss_start) / (double)bench.peers;
    double job_s = run_job(&client);
    const board_t *board = bench.board;
    double tasks = (double)(board->until_done - board->from_done);
    double stretch = (double)(board->until_us - board->from_us) / 1e6;
    printf("%u,%u,%llu,%.3f,%.2f,%.1f,%.0f,%.2f,%.2f,%.1f\n", bench.peers, bench.window,
           (unsigned long long)bench.tasks, connect_s, idle_pct, kib_each,
           stretch > 0 ? tasks / stretch : 0,
           tasks > 0 ? (double)(board->until_head_us - board->from_head_us) / tasks : 0, job_s,
           (double)bed_memory_kib(bench.head_pid, "VmHWM") / 1024);
    (void)fflush(stdout);
    bed_head_stop(&head);
    (void)kill(fleet, SIGKILL);
    (void)waitpid(fleet, NULL, 0);
    _exit(0);
}
