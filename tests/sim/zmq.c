// SPDX-License-Identifier: Apache-2.0
//
// zmq.c - what the head calls of libzmq, the clock and the system, on the simulated world; see sim.h.
//
// The linker takes these in place of the libraries' own. Messages (zmq_msg_init() and so on) are
// libzmq's; sockets are not: a ROUTER is the only one that counts, and the monitor's.

#include "tests/sim/zmq.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <zmq.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"

#define FD_FIRST   1000 // of connections, as the head sees them
#define SLOP_US    2000 // the head looks again that late, at most, after something has come
#define INBOX_MANY 300
#define TURN_US    20

// The functions below have no place for an argument of ours: one world at a time.
static sim_t *world;
static int context_place;
static int router_place;
static int monitor_place;

typedef struct monitor_note {
    uint16_t event;
    int fd;
} monitor_note_t;

void
sim_zmq_begin(sim_t *sim)
{
    world = sim;
}

// ---- the clock, and chance

uint64_t
shoal_clock_us(void)
{
    return world ? world->now_us + world->skew_us : 0;
}

uint64_t
shoal_clock_ms(void)
{
    return shoal_clock_us() / 1000;
}

uint64_t
shoal_clock_wall_ms(void)
{
    return UINT64_C(1800000000000) + shoal_clock_us() / 1000;
}

ssize_t
getrandom(void *buffer, size_t length, unsigned flags)
{
    if (!world) { // some library, before there is a world
        return syscall(SYS_getrandom, buffer, length, flags);
    }
    unsigned char *bytes = buffer;
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (unsigned char)test_random_next(&world->random);
    }
    return (ssize_t)length;
}

// ---- descriptors of connections

int
fstat(int fd, struct stat *about)
{
    if (fd < FD_FIRST) {
        return fstatat(fd, "", about, AT_EMPTY_PATH);
    }
    const sim_conn_t *conn = sim_conn_by_fd(world, fd);
    if (!conn) {
        errno = EBADF;
        return -1;
    }
    *about = (struct stat){.st_mode = S_IFSOCK, .st_ino = conn->inode};
    return 0;
}

int
shutdown(int fd, int how)
{
    if (fd < FD_FIRST) {
        return (int)syscall(SYS_shutdown, fd, how);
    }
    sim_conn_t *conn = sim_conn_by_fd(world, fd);
    if (!conn) {
        errno = EBADF;
        return -1;
    }
    sim_conn_cut(conn, 100, 1000);
    return 0;
}

// ---- sockets: there is nothing to set up

void *
zmq_ctx_new(void)
{
    return &context_place;
}

int
zmq_ctx_set(void *context, int option, int value)
{
    (void)context;
    (void)option;
    (void)value;
    return 0;
}

int
zmq_ctx_term(void *context)
{
    (void)context;
    return 0;
}

void *
zmq_socket(void *context, int type)
{
    (void)context;
    return type == ZMQ_ROUTER ? (void *)&router_place : (void *)&monitor_place;
}

int
zmq_close(void *socket)
{
    (void)socket;
    return 0;
}

int
zmq_bind(void *socket, const char *endpoint)
{
    (void)socket;
    (void)endpoint;
    return 0;
}

int
zmq_connect(void *socket, const char *endpoint)
{
    (void)socket;
    (void)endpoint;
    return 0;
}

int
zmq_setsockopt(void *socket, int option, const void *value, size_t size)
{
    (void)socket;
    (void)option;
    (void)value;
    (void)size;
    return 0;
}

int
zmq_getsockopt(void *socket, int option, void *value, size_t *size)
{
    (void)socket;
    if (option == ZMQ_FD && *size >= sizeof(int)) {
        memcpy(value, &world->monitor_fd, sizeof(int));
        return 0;
    }
    if (option == ZMQ_RCVMORE && *size >= sizeof(int)) { // of the monitor
        int more = world->note_frame == 1;
        memcpy(value, &more, sizeof(more));
        return 0;
    }
    errno = EINVAL;
    return -1;
}

int
zmq_socket_monitor(void *socket, const char *endpoint, int events)
{
    (void)socket;
    (void)endpoint;
    (void)events;
    return 0;
}

// ---- receiving

void
sim_zmq_deliver(sim_t *sim, sim_letter_t *letter)
{
    letter->next = NULL;
    *(sim->inbox_last ? &sim->inbox_last->next : &sim->inbox_first) = letter;
    sim->inbox_last = letter;
    sim->inbox_count++;
}

void
sim_zmq_note(sim_t *sim, uint16_t event, int fd)
{
    sim->notes = shoal_realloc(sim->notes, (sim->note_count + 1) * sizeof(*sim->notes));
    sim->notes[sim->note_count++] = (monitor_note_t){event, fd};
    uint64_t one = 1;
    (void)!write(sim->monitor_fd, &one, sizeof(one));
    sim->is_signalled = true;
}

static int
frame_fill(zmq_msg_t *message, const void *bytes, size_t size)
{
    (void)zmq_msg_close(message);
    if (zmq_msg_init_size(message, size) != 0) {
        abort();
    }
    if (size > 0) {
        memcpy(zmq_msg_data(message), bytes, size);
    }
    return (int)size;
}

static int
router_receive(sim_t *sim, zmq_msg_t *message)
{
    sim_letter_t *letter = sim->inbox_first;
    if (!letter) {
        errno = EAGAIN;
        return -1;
    }
    unsigned frames = letter->payload ? 4 : 3;
    unsigned frame = sim->frame++;
    sim->has_more = sim->frame < frames;
    sim->source_fd = letter->conn->is_head_open ? letter->conn->fd : -1;
    int size = 0;
    char identity[5] = {0};
    switch (frame) {
    case 0:
        for (int i = 0; i < 4; i++) {
            identity[i + 1] = (char)(letter->conn->key >> (24 - 8 * i));
        }
        size = frame_fill(message, identity, sizeof(identity));
        break;
    case 1: size = frame_fill(message, letter->header, sizeof(letter->header)); break;
    case 2: size = frame_fill(message, letter->body, letter->body_len); break;
    default: size = frame_fill(message, letter->payload, letter->payload_len); break;
    }
    if (!sim->has_more) {
        sim->frame = 0;
        sim->inbox_first = letter->next;
        if (!sim->inbox_first) {
            sim->inbox_last = NULL;
        }
        sim->inbox_count--;
        sim_letter_free(letter);
    }
    return size;
}

static int
monitor_receive(sim_t *sim, zmq_msg_t *message)
{
    if (sim->note_count == 0) {
        uint64_t count;
        (void)!read(sim->monitor_fd, &count, sizeof(count));
        errno = EAGAIN;
        return -1;
    }
    if (sim->note_frame++ == 0) {
        unsigned char event[6] = {0};
        uint16_t kind = sim->notes[0].event;
        uint32_t fd = (uint32_t)sim->notes[0].fd;
        memcpy(event, &kind, sizeof(kind));
        memcpy(event + 2, &fd, sizeof(fd));
        return frame_fill(message, event, sizeof(event));
    }
    sim->note_frame = 0;
    sim->note_count--;
    memmove(sim->notes, sim->notes + 1, sim->note_count * sizeof(*sim->notes));
    return frame_fill(message, "", 0);
}

int
zmq_msg_recv(zmq_msg_t *message, void *socket, int flags)
{
    (void)flags;
    return socket == &router_place ? router_receive(world, message)
                                   : monitor_receive(world, message);
}

// The monitor is read in this way.
int
zmq_recv(void *socket, void *bytes, size_t size, int flags)
{
    zmq_msg_t message;
    (void)zmq_msg_init(&message);
    int len = zmq_msg_recv(&message, socket, flags);
    if (len > 0 && bytes) {
        memcpy(bytes, zmq_msg_data(&message), (size_t)len < size ? (size_t)len : size);
    }
    int error = errno;
    (void)zmq_msg_close(&message);
    errno = error;
    return len;
}

int
zmq_msg_more(const zmq_msg_t *message)
{
    (void)message;
    return world->has_more;
}

int
zmq_msg_get(const zmq_msg_t *message, int property)
{
    (void)message;
    return property == ZMQ_SRCFD ? world->source_fd : -1;
}

// ---- sending: identity, header, body and perhaps a payload, one frame after the other

static int
identity_take(sim_t *sim, const unsigned char *bytes, size_t size)
{
    uint32_t key = 0;
    for (size_t i = 1; i < size && i < 5; i++) {
        key = key << 8 | bytes[i];
    }
    sim_conn_t *conn = sim_conn_by_key(sim, key);
    if (sim->ends_after > 0 && --sim->ends_after == 0) {
        sim_head_die(sim); // in the midst of a turn
    }
    if (!sim->is_head_up) {
        sim->sending = NULL; // swallowed
    } else if (!conn || !conn->is_head_open) {
        errno = EHOSTUNREACH;
        return -1;
    } else if (!sim_conn_has_room(conn)) {
        errno = EAGAIN;
        return -1;
    } else {
        sim->sending = conn;
    }
    sim->draft = shoal_alloc(sizeof(*sim->draft));
    sim->draft->conn = sim->sending;
    sim->draft_frames = 1;
    return (int)size;
}

// The attempts of a call are given out with numbers that grow, whenever they arrive.
static void
call_note(sim_t *sim, const sim_letter_t *letter)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_t message = {.minor = 0};
    shoal_slice_t header = {(const char *)letter->header, sizeof(letter->header)};
    shoal_slice_t body = {letter->body, letter->body_len};
    if (shoal_header_decode(header, &message.type, &message.minor, &status) &&
        message.type == SHOAL_MSG_CALL && shoal_body_decode(body, &message, &status)) {
        sim_note_attempt(sim, message.call.call, message.call.attempt);
    }
}

static void
draft_send(sim_t *sim)
{
    sim_letter_t *letter = sim->draft;
    if (sim->sending) {
        call_note(sim, letter);
    }
    sim->draft = NULL;
    sim->draft_frames = 0;
    if (sim->sending) {
        sim_conn_deliver(sim->sending, letter);
    } else {
        sim_letter_free(letter);
    }
}

// The frames after the identity: header, body and, if more come, the payload.
static int
frame_take(sim_t *sim, const void *bytes, size_t size, int flags)
{
    sim_letter_t *letter = sim->draft;
    unsigned frame = sim->draft_frames++;
    char *copy = NULL;
    if (frame == 1) {
        if (size != SHOAL_WIRE_HEADER_SIZE) {
            sim_violation(sim, "the head sends a header of %zu bytes", size);
        }
        memcpy(letter->header, bytes, size);
        return (int)size;
    }
    copy = shoal_alloc(size + 1);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    if (frame == 2) {
        letter->body = copy;
        letter->body_len = size;
    } else {
        letter->payload = copy;
        letter->payload_len = size;
    }
    if (!(flags & ZMQ_SNDMORE)) {
        draft_send(sim);
    }
    return (int)size;
}

int
zmq_send(void *socket, const void *bytes, size_t size, int flags)
{
    (void)socket;
    return world->draft_frames == 0 ? identity_take(world, bytes, size)
                                    : frame_take(world, bytes, size, flags);
}

int
zmq_msg_send(zmq_msg_t *message, void *socket, int flags)
{
    (void)socket;
    sim_letter_t *letter = world->draft;
    size_t size = zmq_msg_size(message);
    if (world->draft_frames == 2) { // whoever made the body is told when it has passed
        (void)zmq_msg_init(&letter->origin);
        letter->has_origin = true;
        (void)zmq_msg_move(&letter->origin, message);
        return frame_take(world, zmq_msg_data(&letter->origin), size, flags);
    }
    int taken = frame_take(world, zmq_msg_data(message), size, flags);
    (void)zmq_msg_close(message);
    (void)zmq_msg_init(message);
    return taken;
}

// ---- the turn

// One of the head's own descriptors.
static bool
is_readable(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    struct timespec none = {0, 0};
    return syscall(SYS_ppoll, &look, 1, &none, NULL, 0) > 0;
}

// At its end the head waits for the disk in this way; a dead one sees its time pass, and that is all.
// Of a connection it asks whether the other end has hung up. (It is poll(); by that name the compiler
// holds that nobody reads what is asked.)
int sim_poll(struct pollfd *fds, nfds_t count, int timeout) __asm__("poll");
int
sim_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    sim_t *sim = world;
    (void)count;
    if (fds[0].fd >= FD_FIRST) {
        const sim_conn_t *conn = sim_conn_by_fd(sim, fds[0].fd);
        fds[0].revents = conn && conn->is_peer_open && !conn->is_broken ? 0 : POLLRDHUP;
        return fds[0].revents != 0;
    }
    if (!sim->is_head_up) {
        sim->skew_us += (uint64_t)timeout * SIM_MS;
        return 0;
    }
    uint64_t until_us = sim->now_us + (uint64_t)timeout * SIM_MS;
    while (!is_readable(fds[0].fd) && sim_step(sim, until_us)) {
    }
    return is_readable(fds[0].fd) ? 1 : 0;
}

static bool
is_ready(sim_t *sim, zmq_pollitem_t *items, int count)
{
    bool is_any = false;
    for (int i = 0; i < count; i++) {
        items[i].revents = 0;
        if (items[i].socket == &router_place) {
            items[i].revents = sim->inbox_first ? ZMQ_POLLIN : 0;
        } else if (!items[i].socket && sim->is_signalled) {
            items[i].revents = is_readable(items[i].fd) ? ZMQ_POLLIN : 0;
        }
        is_any = is_any || items[i].revents;
    }
    return is_any;
}

// One more event until then, unless the head has ended.
static bool
sim_live(sim_t *sim, uint64_t until_us)
{
    return !sim->is_ended && sim_step(sim, until_us);
}

int
zmq_poll(zmq_pollitem_t *items, int count, long timeout)
{
    sim_t *sim = world;
    if (sim_turn(sim)) {
        sim->is_signalled = true;
        (void)is_ready(sim, items, count);
        return 1;
    }
    uint64_t until_us =
        timeout < 0 ? SHOAL_TIME_NEVER : (sim->now_us / 1000 + (uint64_t)timeout) * 1000;
    if (until_us > SIM_END_US + SIM_SECOND) {
        until_us = SIM_END_US + SIM_SECOND;
    }
    if (sim->stall_us > 0) { // it stands still, the world does not
        uint64_t end_us = sim->now_us + sim->stall_us;
        sim->stall_us = 0;
        while (sim_live(sim, end_us)) {
        }
    }
    uint64_t turn_us = sim->now_us + TURN_US; // a turn takes its time
    while (sim_live(sim, turn_us)) {
    }
    while (!is_ready(sim, items, count) && sim_live(sim, until_us)) {
    }
    uint64_t slop_us = sim->now_us + sim_below(&sim->random, SLOP_US);
    while (sim->inbox_count < INBOX_MANY &&
           sim_live(sim, slop_us < until_us ? slop_us : until_us)) {
    }
    if (sim->is_ended) {
        (void)sim_turn(sim);
        sim->is_signalled = true;
    }
    bool is_any = is_ready(sim, items, count);
    sim->is_signalled = false;
    return is_any ? 1 : 0;
}
