// SPDX-License-Identifier: Apache-2.0
//
// peer.c - see peer.h.

#include "head/hub/peer.h"

#include <assert.h>
#include <endian.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "proto/base/alloc.h"

#define SIZE_LEAST 64
#define FDS_MAX    1048576

typedef struct peer_list {
    shoal_peer_t *first;
    shoal_peer_t *last;
    size_t count;
} peer_list_t;

struct shoal_peers {
    shoal_peer_t **table; // open addressing by key, at most half full
    size_t size;
    size_t count;
    peer_list_t lists[SHOAL_PEER_STATE_COUNT];
    shoal_peer_t **fds; // by descriptor
    size_t fd_size;
};

typedef struct rule {
    uint8_t in;
    uint8_t on;
    uint8_t to;
    uint8_t action;
} rule_t;

#define ANY      255
#define NEW      SHOAL_PEER_NEW
#define READY    SHOAL_PEER_READY
#define SUSPECT  SHOAL_PEER_SUSPECT
#define GONE     SHOAL_PEER_GONE
#define ON(name) SHOAL_PEER_ON_##name
#define DO(name) SHOAL_PEER_DO_##name

// First match wins; the last rows leave no pair undefined.
// clang-format off
static const rule_t rules[] = {
    // in      on               to       do
    {GONE,     ANY,             GONE,    DO(NOTHING)},
    {ANY,      ON(BAD),         GONE,    DO(EXPEL)},
    {ANY,      ON(FULL),        GONE,    DO(EXPEL)},
    {ANY,      ON(UNREACHABLE), GONE,    DO(PART)},
    {ANY,      ON(TAKEN_OVER),  GONE,    DO(PART)},
    {ANY,      ON(SILENT),      GONE,    DO(LOSE)},
    {ANY,      ON(BYE),         GONE,    DO(LEAVE)},
    {NEW,      ON(HELLO),       READY,   DO(WELCOME)},
    {NEW,      ON(MESSAGE),     NEW,     DO(TEACH)},
    {NEW,      ON(HANGUP),      GONE,    DO(PART)},
    {NEW,      ON(LATE),        NEW,     DO(NOTHING)},
    {ANY,      ON(HELLO),       GONE,    DO(EXPEL)},
    {ANY,      ON(MESSAGE),     READY,   DO(SERVE)},
    {ANY,      ON(HANGUP),      SUSPECT, DO(DOUBT)},
    {ANY,      ON(LATE),        SUSPECT, DO(DOUBT)},
};
// clang-format on

void
shoal_peer_rule(shoal_peer_state_t state, shoal_peer_event_t event, shoal_peer_state_t *ret_to,
                shoal_peer_action_t *ret_action)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if ((rules[i].in == ANY || rules[i].in == (uint8_t)state) &&
            (rules[i].on == ANY || rules[i].on == (uint8_t)event)) {
            *ret_to = (shoal_peer_state_t)rules[i].to;
            *ret_action = (shoal_peer_action_t)rules[i].action;
            return;
        }
    }
    assert(false);
}

shoal_peers_t *
shoal_peers_new(void)
{
    shoal_peers_t *peers = shoal_alloc(sizeof(*peers));
    peers->size = SIZE_LEAST;
    peers->table = shoal_alloc(peers->size * sizeof(*peers->table));
    return peers;
}

void
shoal_peers_destroy(shoal_peers_t **peers)
{
    if (!peers || !*peers) {
        return;
    }
    for (size_t i = 0; i < (*peers)->size; i++) {
        if ((*peers)->table[i]) {
            shoal_outbox_fini(&(*peers)->table[i]->outbox);
            free((*peers)->table[i]);
        }
    }
    free((*peers)->table);
    free((*peers)->fds);
    free(*peers);
    *peers = NULL;
}

bool
shoal_peer_key(shoal_slice_t identity, uint32_t *ret_key)
{
    if (identity.len != SHOAL_PEER_IDENTITY_SIZE || identity.ptr[0] != 0) {
        return false;
    }
    uint32_t counter;
    memcpy(&counter, identity.ptr + 1, sizeof(counter));
    *ret_key = be32toh(counter); // as the ROUTER counted: its low bits differ
    return true;
}

// The ROUTER counts its ids up, so the low bits of the product alone spread them well.
static size_t
home_of(const shoal_peers_t *peers, uint32_t key)
{
    return (size_t)(key * 2654435769U) & (peers->size - 1);
}

static size_t
place_of(const shoal_peers_t *peers, uint32_t key)
{
    size_t at = home_of(peers, key);
    while (peers->table[at] && peers->table[at]->key != key) {
        at = (at + 1) & (peers->size - 1);
    }
    return at;
}

shoal_peer_t *
shoal_peer_find(const shoal_peers_t *peers, uint32_t key)
{
    return peers->table[place_of(peers, key)];
}

static void
table_grow(shoal_peers_t *peers)
{
    shoal_peer_t **old = peers->table;
    size_t old_size = peers->size;
    peers->size *= 2;
    peers->table = shoal_alloc(peers->size * sizeof(*peers->table));
    for (size_t i = 0; i < old_size; i++) {
        if (old[i]) {
            peers->table[place_of(peers, old[i]->key)] = old[i];
        }
    }
    free(old);
}

static void
list_append(shoal_peers_t *peers, shoal_peer_t *peer)
{
    peer_list_t *list = &peers->lists[peer->state];
    peer->prev = list->last;
    peer->next = NULL;
    *(list->last ? &list->last->next : &list->first) = peer;
    list->last = peer;
    list->count++;
}

static void
list_remove(shoal_peers_t *peers, shoal_peer_t *peer)
{
    peer_list_t *list = &peers->lists[peer->state];
    *(peer->prev ? &peer->prev->next : &list->first) = peer->next;
    *(peer->next ? &peer->next->prev : &list->last) = peer->prev;
    list->count--;
}

shoal_peer_t *
shoal_peer_add(shoal_peers_t *peers, uint32_t key, shoal_slice_t identity, uint64_t now_ms)
{
    if (peers->count >= SHOAL_PEERS_MAX) {
        return NULL;
    }
    if (peers->count * 2 >= peers->size) {
        table_grow(peers);
    }
    shoal_peer_t *peer = shoal_alloc(sizeof(*peer));
    peer->key = key;
    memcpy(peer->identity, identity.ptr, sizeof(peer->identity));
    peer->state = NEW;
    peer->fd = -1;
    peer->heard_ms = now_ms;
    peers->table[place_of(peers, key)] = peer;
    peers->count++;
    list_append(peers, peer);
    return peer;
}

shoal_peer_action_t
shoal_peer_raise(shoal_peers_t *peers, shoal_peer_t *peer, shoal_peer_event_t event,
                 uint64_t now_ms)
{
    shoal_peer_state_t to = GONE;
    shoal_peer_action_t action = DO(NOTHING);
    shoal_peer_rule((shoal_peer_state_t)peer->state, event, &to, &action);
    if (to != peer->state) {
        list_remove(peers, peer);
        peer->state = (uint8_t)to;
        list_append(peers, peer);
        if (to == GONE) {
            peer->heard_ms = now_ms;
        }
    }
    return action;
}

void
shoal_peer_hear(shoal_peers_t *peers, shoal_peer_t *peer, uint64_t now_ms)
{
    if (peer->state == GONE || peer->heard_ms == now_ms) {
        return; // its place among those of the same millisecond does not matter
    }
    peer->heard_ms = now_ms;
    list_remove(peers, peer);
    list_append(peers, peer);
}

shoal_peer_t *
shoal_peer_oldest(const shoal_peers_t *peers, shoal_peer_state_t state)
{
    return peers->lists[state].first;
}

void
shoal_peer_bury(shoal_peers_t *peers, shoal_peer_t *peer)
{
    assert(peer->state == GONE);
    if (peer->fd >= 0 && (size_t)peer->fd < peers->fd_size && peers->fds[peer->fd] == peer) {
        peers->fds[peer->fd] = NULL;
    }
    list_remove(peers, peer);
    size_t mask = peers->size - 1;
    size_t hole = place_of(peers, peer->key);
    for (size_t at = (hole + 1) & mask; peers->table[at]; at = (at + 1) & mask) {
        size_t home = home_of(peers, peers->table[at]->key);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            peers->table[hole] = peers->table[at];
            hole = at;
        }
    }
    peers->table[hole] = NULL;
    peers->count--;
    shoal_outbox_fini(&peer->outbox);
    free(peer);
}

void
shoal_peer_note_fd(shoal_peers_t *peers, shoal_peer_t *peer, int fd)
{
    struct stat about;
    if (fd < 0 || fd >= FDS_MAX || fstat(fd, &about) != 0 || !S_ISSOCK(about.st_mode)) {
        return;
    }
    if ((size_t)fd >= peers->fd_size) {
        size_t size = peers->fd_size ? peers->fd_size : SIZE_LEAST;
        while (size <= (size_t)fd) {
            size *= 2;
        }
        peers->fds = shoal_realloc(peers->fds, size * sizeof(*peers->fds));
        memset(&peers->fds[peers->fd_size], 0, (size - peers->fd_size) * sizeof(*peers->fds));
        peers->fd_size = size;
    }
    peer->fd = fd;
    peer->inode = about.st_ino;
    peers->fds[fd] = peer;
}

shoal_peer_t *
shoal_peer_by_fd(const shoal_peers_t *peers, int fd)
{
    return fd >= 0 && (size_t)fd < peers->fd_size ? peers->fds[fd] : NULL;
}

bool
shoal_peer_has_hung_up(const shoal_peer_t *peer)
{
    struct stat about;
    if (fstat(peer->fd, &about) != 0 || !S_ISSOCK(about.st_mode) || about.st_ino != peer->inode) {
        return true; // closed, and perhaps somebody else's already
    }
    struct pollfd item = {peer->fd, POLLRDHUP, 0};
    return poll(&item, 1, 0) != 0;
}

size_t
shoal_peer_count(const shoal_peers_t *peers, shoal_peer_state_t state)
{
    return peers->lists[state].count;
}

const char *
shoal_peer_state_name(int state)
{
    static const char *const names[] = {
#define X(name, text) text,
        SHOAL_PEER_STATES(X)
#undef X
    };
    return state >= 0 && state < SHOAL_PEER_STATE_COUNT ? names[state] : "?";
}

const char *
shoal_peer_event_name(int event)
{
    static const char *const names[] = {
#define X(name, text) text,
        SHOAL_PEER_EVENTS(X)
#undef X
    };
    return event >= 0 && event < SHOAL_PEER_EVENT_COUNT ? names[event] : "?";
}

const char *
shoal_peer_action_name(int action)
{
    static const char *const names[] = {
#define X(name, text) text,
        SHOAL_PEER_ACTIONS(X)
#undef X
    };
    return action >= 0 && action < SHOAL_PEER_ACTION_COUNT ? names[action] : "?";
}
