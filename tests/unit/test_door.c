// SPDX-License-Identifier: Apache-2.0
//
// test_door.c - what head/hub/door.h promises, with real sockets and a time of its own.

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "head/hub/door.h"
#include "tests/support/test.h"

#define MANY 1000000 // descriptors

typedef struct wire {
    int ours;
    int theirs;
} wire_t;

static wire_t
wire_new(void)
{
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    return (wire_t){ends[0], ends[1]};
}

static wire_t
wire_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
    wire_t wire = {-1, socket(AF_INET, SOCK_STREAM, 0)};
    CHECK(connect(wire.theirs, (struct sockaddr *)&address, sizeof(address)) == 0);
    wire.ours = accept(listener, NULL, NULL);
    CHECK(wire.ours >= 0);
    (void)close(listener);
    return wire;
}

static void
wire_close(const wire_t *wire)
{
    (void)close(wire->ours);
    (void)close(wire->theirs);
}

// The other end sees the end of it.
static bool
is_shut(const wire_t *wire)
{
    char byte;
    return recv(wire->theirs, &byte, 1, MSG_DONTWAIT) == 0;
}

//
static void
who_says_nothing_is_shut_in_time(void)
{
    shoal_doors_t *doors = shoal_doors_new(MANY);
    wire_t silent = wire_new();
    wire_t talker = wire_new();
    shoal_door_open(doors, silent.ours, 100);
    shoal_door_open(doors, talker.ours, 200);
    CHECK(shoal_doors_open(doors) == 2 && shoal_doors_silent(doors) == 2);
    shoal_door_heard(doors, talker.ours);
    CHECK(shoal_doors_run(doors, 100) == 100 + SHOAL_DOORS_SILENT_MS);
    (void)shoal_doors_run(doors, 99 + SHOAL_DOORS_SILENT_MS);
    CHECK(!is_shut(&silent));
    CHECK(shoal_doors_run(doors, 100 + SHOAL_DOORS_SILENT_MS) == SHOAL_TIME_NEVER);
    CHECK(is_shut(&silent) && shoal_doors_shut(doors) == 1);
    (void)shoal_doors_run(doors, 1000000);
    CHECK(!is_shut(&talker));
    wire_close(&silent);
    wire_close(&talker);
    shoal_doors_destroy(&doors);
    CHECK(doors == NULL);
}

static void
who_is_forgotten_and_stays_is_silent_again(void)
{
    shoal_doors_t *doors = shoal_doors_new(MANY);
    wire_t wire = wire_new();
    shoal_door_open(doors, wire.ours, 0);
    shoal_door_heard(doors, wire.ours);
    shoal_door_quiet(doors, wire.ours, 50000);
    shoal_door_quiet(doors, wire.ours, 59000); // it is already
    (void)shoal_doors_run(doors, 50000 + SHOAL_DOORS_SILENT_MS - 1);
    CHECK(!is_shut(&wire));
    (void)shoal_doors_run(doors, 50000 + SHOAL_DOORS_SILENT_MS);
    CHECK(is_shut(&wire));
    shoal_door_quiet(doors, 999999, 0); // one that is not known
    shoal_door_quiet(doors, -1, 0);
    wire_close(&wire);
    shoal_doors_destroy(&doors);
}

static void
when_descriptors_run_out_the_longest_silent_goes(void)
{
    shoal_doors_t *doors = shoal_doors_new(SHOAL_DOORS_SPARE + 2);
    wire_t wires[3] = {wire_new(), wire_new(), wire_new()};
    shoal_door_open(doors, wires[0].ours, 1);
    shoal_door_open(doors, wires[1].ours, 2);
    CHECK(!is_shut(&wires[0]));
    shoal_door_heard(doors, wires[0].ours);
    shoal_door_open(doors, wires[2].ours, 3);
    CHECK(!is_shut(&wires[0]) && is_shut(&wires[1]) && !is_shut(&wires[2]));
    for (int i = 0; i < 3; i++) {
        wire_close(&wires[i]);
    }
    shoal_doors_destroy(&doors);
}

// The monitor tells late: by then the descriptor may be another socket, or have spoken.
static void
a_descriptor_that_is_used_again_is_another_connection(void)
{
    shoal_doors_t *doors = shoal_doors_new(MANY);
    wire_t old = wire_new();
    shoal_door_heard(doors, old.ours); // before the monitor told of it
    shoal_door_open(doors, old.ours, 5);
    CHECK(shoal_doors_silent(doors) == 0 && shoal_doors_open(doors) == 1);
    wire_t new = wire_new();
    int fd = old.ours;
    CHECK(dup2(new.ours, fd) == fd); // closed and accepted at once
    shoal_door_open(doors, fd, 6);
    CHECK(shoal_doors_silent(doors) == 1 && shoal_doors_open(doors) == 1);
    CHECK(dup2(0, fd) == fd); // no socket at all: nobody shuts it
    (void)shoal_doors_run(doors, 6 + SHOAL_DOORS_SILENT_MS);
    CHECK(shoal_doors_shut(doors) == 0 && !is_shut(&new));
    shoal_door_close(doors, fd);
    shoal_door_close(doors, fd);
    CHECK(shoal_doors_open(doors) == 0);
    wire_close(&old);
    wire_close(&new);
    shoal_doors_destroy(&doors);
}

// Reads and keeps what comes, as libzmq keeps the parts of a message that is not whole.
static char *
bring(const wire_t *wire, size_t bytes)
{
    static const char chunk[65536];
    char *kept = malloc(bytes);
    CHECK(kept);
    for (size_t at = 0; at < bytes;) {
        size_t len = bytes - at < sizeof(chunk) ? bytes - at : sizeof(chunk);
        ssize_t sent = send(wire->theirs, chunk, len, 0);
        CHECK(sent > 0);
        CHECK(recv(wire->ours, kept + at, (size_t)sent, MSG_WAITALL) == sent);
        at += (size_t)sent;
    }
    memset(kept, 1, bytes);
    return kept;
}

//
static void
a_message_without_end_is_cut_on_tcp(void)
{
    shoal_doors_t *doors = shoal_doors_new(MANY);
    wire_t endless = wire_tcp();
    wire_t busy = wire_tcp();
    shoal_door_open(doors, endless.ours, 0);
    shoal_door_open(doors, busy.ours, 0);
    shoal_door_heard(doors, endless.ours);
    shoal_door_heard(doors, busy.ours);
    uint64_t due_ms = shoal_doors_run(doors, 1000);
    CHECK(due_ms == 1000 + SHOAL_DOORS_LOOK_MS);
    char *first[2] = {bring(&endless, SHOAL_DOORS_GROWTH), bring(&busy, SHOAL_DOORS_GROWTH)};
    (void)shoal_doors_run(doors, 2000); // both have spoken before
    shoal_door_heard(doors, busy.ours); // whole messages were among its bytes
    char *then[2] = {bring(&endless, SHOAL_DOORS_GROWTH), bring(&busy, SHOAL_DOORS_GROWTH)};
    (void)shoal_doors_run(doors, 3000);
    CHECK(is_shut(&endless) && !is_shut(&busy));
    for (int i = 0; i < 2; i++) {
        free(first[i]);
        free(then[i]);
    }
    wire_close(&endless);
    wire_close(&busy);
    shoal_doors_destroy(&doors);
}

TEST_MAIN(TEST(who_says_nothing_is_shut_in_time), TEST(who_is_forgotten_and_stays_is_silent_again),
          TEST(when_descriptors_run_out_the_longest_silent_goes),
          TEST(a_descriptor_that_is_used_again_is_another_connection),
          TEST(a_message_without_end_is_cut_on_tcp))
