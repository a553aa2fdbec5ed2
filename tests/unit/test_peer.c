// SPDX-License-Identifier: Apache-2.0
//
// test_peer.c - what head/hub/peer.h promises, and that docs/state-machines.md tells the same.

#include <sys/socket.h>
#include <unistd.h>

#include "head/cluster/registry.h"
#include "head/hub/peer.h"
#include "tests/support/test.h"

static shoal_peer_t *
add(shoal_peers_t *peers, uint32_t key, uint64_t now_ms)
{
    char identity[SHOAL_PEER_IDENTITY_SIZE] = {0};
    memcpy(identity + 1, &key, sizeof(key));
    return shoal_peer_add(peers, key, (shoal_slice_t){identity, sizeof(identity)}, now_ms);
}

static void
only_routing_ids_of_the_router_s_making_have_a_key(void)
{
    uint32_t key = 0;
    CHECK(shoal_peer_key(SHOAL_SLICE("\0\1\2\3\4"), &key));
    CHECK(key == 0x01020304); // neighbours differ in the low bits, which the table goes by
    CHECK(!shoal_peer_key(SHOAL_SLICE("\1\1\2\3\4"), &key));
    CHECK(!shoal_peer_key(SHOAL_SLICE("\0\1\2\3"), &key));
    CHECK(!shoal_peer_key(SHOAL_SLICE("my-own-name"), &key));
    CHECK(!shoal_peer_key(SHOAL_SLICE_NONE, &key));
}

static void
thousands_of_peers_are_found_until_they_are_buried(void)
{
    shoal_peers_t *peers = shoal_peers_new();
    for (uint32_t key = 100; key < 5100; key++) {
        CHECK(add(peers, key, 1));
    }
    CHECK(shoal_peer_count(peers, SHOAL_PEER_NEW) == 5000);
    for (uint32_t key = 100; key < 5100; key += 3) {
        shoal_peer_t *peer = shoal_peer_find(peers, key);
        CHECK(peer && peer->key == key);
        (void)shoal_peer_raise(peers, peer, SHOAL_PEER_ON_BYE, 2);
        shoal_peer_bury(peers, peer);
    }
    for (uint32_t key = 100; key < 5100; key++) {
        CHECK((shoal_peer_find(peers, key) == NULL) == ((key - 100) % 3 == 0));
    }
    shoal_peers_destroy(&peers);
    CHECK(peers == NULL);
}

static void
there_is_a_limit_to_peers(void)
{
    shoal_peers_t *peers = shoal_peers_new();
    for (uint32_t key = 0; key < SHOAL_PEERS_MAX; key++) {
        CHECK(add(peers, key, 1));
    }
    CHECK(add(peers, SHOAL_PEERS_MAX, 1) == NULL);
    shoal_peers_destroy(&peers);
}

static void
the_one_heard_longest_ago_stands_in_front(void)
{
    shoal_peers_t *peers = shoal_peers_new();
    shoal_peer_t *a = add(peers, 1, 10);
    shoal_peer_t *b = add(peers, 2, 20);
    (void)shoal_peer_raise(peers, a, SHOAL_PEER_ON_HELLO, 20);
    (void)shoal_peer_raise(peers, b, SHOAL_PEER_ON_HELLO, 20);
    CHECK(shoal_peer_oldest(peers, SHOAL_PEER_READY) == a);
    shoal_peer_hear(peers, a, 30);
    CHECK(shoal_peer_oldest(peers, SHOAL_PEER_READY) == b && a->heard_ms == 30);
    CHECK(shoal_peer_raise(peers, b, SHOAL_PEER_ON_LATE, 40) == SHOAL_PEER_DO_DOUBT);
    CHECK(shoal_peer_oldest(peers, SHOAL_PEER_SUSPECT) == b);
    CHECK(shoal_peer_raise(peers, b, SHOAL_PEER_ON_MESSAGE, 41) == SHOAL_PEER_DO_SERVE);
    CHECK(b->state == SHOAL_PEER_READY);
    shoal_peers_destroy(&peers);
}

static void
a_descriptor_names_the_peer_that_was_heard_on_it_last(void)
{
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    shoal_peers_t *peers = shoal_peers_new();
    shoal_peer_t *a = add(peers, 1, 1);
    shoal_peer_t *b = add(peers, 2, 1);
    shoal_peer_note_fd(peers, a, fds[0]);
    CHECK(shoal_peer_by_fd(peers, fds[0]) == a && a->fd == fds[0] && a->inode != 0);
    shoal_peer_note_fd(peers, b, fds[0]);
    (void)shoal_peer_raise(peers, a, SHOAL_PEER_ON_BYE, 2);
    shoal_peer_bury(peers, a);
    CHECK(shoal_peer_by_fd(peers, fds[0]) == b);
    CHECK(shoal_peer_by_fd(peers, -1) == NULL && shoal_peer_by_fd(peers, 1000000) == NULL);
    shoal_peer_note_fd(peers, b, -1); // no descriptor: nothing is noted
    CHECK(b->fd == fds[0]);
    shoal_peers_destroy(&peers);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void
every_state_takes_every_event_and_can_be_reached_and_left(void)
{
    bool is_reached[SHOAL_PEER_STATE_COUNT] = {true}; // NEW: by connecting
    bool is_left[SHOAL_PEER_STATE_COUNT] = {false};
    is_left[SHOAL_PEER_GONE] = true; // by its burial
    for (int state = 0; state < SHOAL_PEER_STATE_COUNT; state++) {
        for (int event = 0; event < SHOAL_PEER_EVENT_COUNT; event++) {
            shoal_peer_state_t to = SHOAL_PEER_NEW;
            shoal_peer_action_t action = SHOAL_PEER_ACTION_COUNT;
            shoal_peer_rule((shoal_peer_state_t)state, (shoal_peer_event_t)event, &to, &action);
            CHECK(action < SHOAL_PEER_ACTION_COUNT);
            is_reached[to] = is_reached[to] || (int)to != state;
            is_left[state] = is_left[state] || (int)to != state;
            CHECK(state != SHOAL_PEER_GONE ||
                  (to == SHOAL_PEER_GONE && action == SHOAL_PEER_DO_NOTHING));
            // nobody is served before HELLO.
            CHECK(state != SHOAL_PEER_NEW || action != SHOAL_PEER_DO_SERVE);
            // a second HELLO is the end.
            CHECK(event != SHOAL_PEER_ON_HELLO || state == SHOAL_PEER_NEW || to == SHOAL_PEER_GONE);
        }
    }
    for (int state = 0; state < SHOAL_PEER_STATE_COUNT; state++) {
        CHECK(is_reached[state] && is_left[state]);
    }
}

// The text of docs/state-machines.md between two headings.
static char *
section_read(const char *heading)
{
    FILE *file = fopen("docs/state-machines.md", "r");
    CHECK(file != NULL);
    static char text[65536];
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    char *from = strstr(text, heading);
    CHECK(from != NULL);
    char *to = strstr(from + 3, "\n## ");
    if (to) {
        *to = '\0';
    }
    return from;
}

// and all that the document says: each pair has its row.
static void
the_document_has_the_peers_rows(void)
{
    const char *section = section_read("## A connection at the head");
    for (int state = 0; state < SHOAL_PEER_STATE_COUNT; state++) {
        for (int event = 0; event < SHOAL_PEER_EVENT_COUNT; event++) {
            shoal_peer_state_t to = SHOAL_PEER_NEW;
            shoal_peer_action_t action = SHOAL_PEER_DO_NOTHING;
            shoal_peer_rule((shoal_peer_state_t)state, (shoal_peer_event_t)event, &to, &action);
            char row[128];
            (void)snprintf(row, sizeof(row), "| %s | %s | %s | %s |", shoal_peer_state_name(state),
                           shoal_peer_event_name(event), shoal_peer_state_name((int)to),
                           shoal_peer_action_name((int)action));
            CHECK_SAYS(section, row);
        }
    }
}

static void
the_document_has_the_workers_rows(void)
{
    const char *section = section_read("## A worker at the head");
    for (int state = 0; state < SHOAL_WORKER_STATE_COUNT; state++) {
        for (int event = 0; event < SHOAL_WORKER_EVENT_COUNT; event++) {
            shoal_worker_state_t to =
                shoal_worker_next((shoal_worker_state_t)state, (shoal_worker_event_t)event);
            char row[128];
            (void)snprintf(row, sizeof(row), "| %s | %s | %s |", shoal_worker_state_name(state),
                           shoal_worker_event_name(event), shoal_worker_state_name((int)to));
            CHECK_SAYS(section, row);
        }
    }
}

static void
a_hang_up_counts_for_the_connection_that_it_was_of(void)
{
    shoal_peers_t *peers = shoal_peers_new();
    int first[2];
    int second[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, first) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, second) == 0);
    shoal_peer_t *peer = add(peers, 1, 1);
    shoal_peer_note_fd(peers, peer, first[0]);
    CHECK(!shoal_peer_has_hung_up(peer)); // it was the last one with that number
    CHECK(write(first[1], "x", 1) == 1);
    CHECK(!shoal_peer_has_hung_up(peer));
    (void)close(first[1]);
    CHECK(shoal_peer_has_hung_up(peer)); // it is going
    CHECK(dup2(second[0], first[0]) == first[0]);
    CHECK(shoal_peer_has_hung_up(peer)); // its number is another's
    (void)close(first[0]);
    CHECK(shoal_peer_has_hung_up(peer));
    (void)close(second[0]);
    (void)close(second[1]);
    shoal_peers_destroy(&peers);
}

TEST_MAIN(TEST(only_routing_ids_of_the_router_s_making_have_a_key),
          TEST(thousands_of_peers_are_found_until_they_are_buried), TEST(there_is_a_limit_to_peers),
          TEST(the_one_heard_longest_ago_stands_in_front),
          TEST(a_descriptor_names_the_peer_that_was_heard_on_it_last),
          TEST(every_state_takes_every_event_and_can_be_reached_and_left),
          TEST(the_document_has_the_peers_rows), TEST(the_document_has_the_workers_rows),
          TEST(a_hang_up_counts_for_the_connection_that_it_was_of))
