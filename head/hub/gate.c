// SPDX-License-Identifier: Apache-2.0
//
// gate.c - see gate.h.
//
// Design: ZAP (ZeroMQ RFC 27) is a REP socket on an inproc endpoint with a fixed name. A request is
// version, request id, domain, address, routing id, mechanism and, for CURVE, the public key that
// the peer has proved to own; the answer is version, request id, code, text, user id and metadata.
// The user id, the key as text, comes with each message of the peer (zmq_msg_gets "User-Id").
// libzmq asks from this process only, but the routing id is the peer's, so all is bounded.

#include "head/hub/gate.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/base/queue.h"
#include "proto/wire/secure.h"

#define ZAP_VERSION   "1.0"
#define FRAMES_MAX    7   // of a request with one credential
#define FRAME_MAX     256 // bytes that are read of one; what is longer is refused
#define LISTS_MAX     16  // that wait for the hub
#define REFUSED_LOGS  5   // lines a second about keys that are not listed
#define CHANGE_EVENTS (IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM)

enum { FRAME_VERSION, FRAME_ID, FRAME_DOMAIN, FRAME_ADDRESS, FRAME_ROUTING, FRAME_MECHANISM };
enum { FRAME_KEY = FRAME_MECHANISM + 1 };

typedef struct frame {
    char bytes[FRAME_MAX];
    size_t len; // as it came, which may be more than there is room for
} frame_t;

struct shoal_gate {
    char folder[PATH_MAX - 64];
    shoal_log_t *log;
    shoal_queue_t *lists;  // shoal_allowed_t, thread to hub
    shoal_allowed_t *list; // the hub's
    bool is_new;           // it is, since the hub asked
    // the thread's
    pthread_t thread;
    bool has_thread;
    int stop_fd;
    int watch_fd;
    void *zap;
    shoal_allowed_t *known;
    shoal_log_limit_t refused_limit;
};

static void
list_drop(void *message)
{
    shoal_allowed_t *list = message;
    shoal_allowed_destroy(&list);
}

// ---- the thread

static void
list_reread(shoal_gate_t *gate)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_allowed_t *mine = NULL;
    shoal_allowed_t *theirs = NULL;
    if (!shoal_allowed_read(gate->folder, &mine, &status)) {
        shoal_log(gate->log, SHOAL_LOG_ERROR, "KEYS-UNREADABLE",
                  "reason=\"%s; the list that was read before stays\"", status.text);
        return;
    }
    theirs = shoal_allowed_copy(mine);
    // The hub has the list before anyone gets in by it.
    if (!shoal_queue_put_wait(gate->lists, theirs)) {
        shoal_allowed_destroy(&theirs);
    }
    shoal_log(gate->log, SHOAL_LOG_INFO, "KEYS-READ", "holders=%zu", mine->count);
    shoal_allowed_destroy(&gate->known);
    gate->known = mine;
}

static void
watch_take(shoal_gate_t *gate)
{
    // NOLINTNEXTLINE(readability-magic-numbers): room for some events with their names
    char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool has_changed = false;
    ssize_t got;
    while ((got = read(gate->watch_fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= got;) {
            const struct inotify_event *event = (const void *)(bytes + at);
            has_changed = has_changed || (event->mask & IN_Q_OVERFLOW) != 0 ||
                          (event->len > 0 && strcmp(event->name, SHOAL_KEYS_ALLOWED) == 0);
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    }
    if (has_changed) {
        list_reread(gate);
    }
}

// Takes one request; gives the number of its frames, 0: none is there.
static size_t
request_take(void *zap, frame_t frames[FRAMES_MAX])
{
    size_t count = 0;
    int more = 1;
    while (more) {
        frame_t spare;
        frame_t *frame = count < FRAMES_MAX ? &frames[count] : &spare;
        int size = zmq_recv(zap, frame->bytes, sizeof(frame->bytes), ZMQ_DONTWAIT);
        if (size < 0) {
            return 0;
        }
        frame->len = (size_t)size;
        count++;
        size_t len = sizeof(more);
        if (zmq_getsockopt(zap, ZMQ_RCVMORE, &more, &len) != 0) {
            return 0;
        }
    }
    return count;
}

static bool
frame_is(const frame_t *frame, const char *text)
{
    return frame->len == strlen(text) && memcmp(frame->bytes, text, frame->len) == 0;
}

// NULL: it may come in; else what is wrong.
static const char *
request_judge(const shoal_gate_t *gate, const frame_t *frames, size_t count)
{
    for (size_t i = 0; i < count && i < FRAMES_MAX; i++) {
        if (frames[i].len > FRAME_MAX) {
            return "a part of the request is too long";
        }
    }
    if (count != FRAMES_MAX || !frame_is(&frames[FRAME_VERSION], ZAP_VERSION) ||
        !frame_is(&frames[FRAME_MECHANISM], "CURVE") ||
        !frame_is(&frames[FRAME_DOMAIN], SHOAL_ZAP_DOMAIN) ||
        frames[FRAME_KEY].len != SHOAL_KEY_BYTES) {
        return "no request with a key";
    }
    shoal_key_t key;
    memcpy(key.bytes, frames[FRAME_KEY].bytes, sizeof(key.bytes));
    return shoal_allowed_find(gate->known, &key) ? NULL : "the key is not listed";
}

static void
refusal_log(shoal_gate_t *gate, const frame_t *frames, const char *key, const char *why)
{
    unsigned left_out = 0;
    if (shoal_log_limit_pass(&gate->refused_limit, shoal_clock_ms(), REFUSED_LOGS, &left_out)) {
        const frame_t *address = &frames[FRAME_ADDRESS];
        shoal_log(gate->log, SHOAL_LOG_WARN, "PEER-UNKNOWN",
                  "address=%.*s key=%s left_out=%u reason=\"%s\"",
                  address->len <= FRAME_MAX ? (int)address->len : 0, address->bytes, key, left_out,
                  why);
    }
}

static void
request_answer(shoal_gate_t *gate, const frame_t *frames, size_t count)
{
    char key_text[SHOAL_KEY_TEXT_SIZE] = "";
    const char *why = request_judge(gate, frames, count);
    if (count == FRAMES_MAX && frames[FRAME_KEY].len == SHOAL_KEY_BYTES) {
        shoal_key_t key;
        memcpy(key.bytes, frames[FRAME_KEY].bytes, sizeof(key.bytes));
        shoal_key_text(&key, key_text);
    }
    if (why && count == FRAMES_MAX) {
        refusal_log(gate, frames, key_text, why);
    }
    const frame_t *id = &frames[FRAME_ID];
    const struct {
        const char *bytes;
        size_t len;
    } parts[] = {
        {ZAP_VERSION, strlen(ZAP_VERSION)},
        {id->bytes, count > FRAME_ID && id->len <= FRAME_MAX ? id->len : 0},
        {why ? "400" : "200", 3},
        {why ? "refused" : "OK", why ? strlen("refused") : strlen("OK")},
        {key_text, why ? 0 : strlen(key_text)},
        {"", 0},
    };
    size_t last = sizeof(parts) / sizeof(parts[0]) - 1;
    for (size_t i = 0; i <= last; i++) {
        // An inproc REP never waits for a request that it has just read.
        if (zmq_send(gate->zap, parts[i].bytes, parts[i].len,
                     ZMQ_DONTWAIT | (i < last ? ZMQ_SNDMORE : 0)) < 0) {
            return;
        }
    }
}

static void *
gate_run(void *ctx)
{
    shoal_gate_t *gate = ctx;
    for (;;) {
        zmq_pollitem_t items[] = {{gate->zap, 0, ZMQ_POLLIN, 0},
                                  {NULL, gate->watch_fd, ZMQ_POLLIN, 0},
                                  {NULL, gate->stop_fd, ZMQ_POLLIN, 0}};
        if (zmq_poll(items, 3, -1) < 0 && errno != EINTR) {
            return NULL; // the context ends
        }
        if (items[2].revents) {
            return NULL;
        }
        if (items[1].revents) {
            watch_take(gate);
        }
        frame_t frames[FRAMES_MAX] = {{{0}, 0}};
        size_t count;
        while ((count = request_take(gate->zap, frames)) > 0) {
            request_answer(gate, frames, count);
        }
    }
}

// ---- birth and death

static bool
zap_bind(shoal_gate_t *gate, void *context, shoal_status_t *status)
{
    int none = 0;
    gate->zap = zmq_socket(context, ZMQ_REP);
    if (!gate->zap || zmq_setsockopt(gate->zap, ZMQ_LINGER, &none, sizeof(none)) != 0 ||
        zmq_bind(gate->zap, SHOAL_ZAP_ENDPOINT) != 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot answer for keys: %s",
                          zmq_strerror(errno));
    }
    return true;
}

static bool
thread_start(shoal_gate_t *gate, shoal_status_t *status)
{
    int error = pthread_create(&gate->thread, NULL, gate_run, gate);
    gate->has_thread = error == 0;
    return gate->has_thread || shoal_fail_errno(status, error, "cannot start the gate's thread");
}

// The watch begins before the list is read: no change falls between them.
static bool
watch_begin(shoal_gate_t *gate, shoal_status_t *status)
{
    gate->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    gate->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (gate->stop_fd < 0 || gate->watch_fd < 0 ||
        inotify_add_watch(gate->watch_fd, gate->folder, CHANGE_EVENTS | IN_ONLYDIR) < 0) {
        return shoal_fail_errno(status, errno, "cannot watch the key folder \"%s\"", gate->folder);
    }
    return true;
}

static bool
keys_put(shoal_gate_t *gate, void *router, shoal_status_t *status)
{
    char path[PATH_MAX];
    shoal_key_pair_t own;
    (void)snprintf(path, sizeof(path), "%s/%s", gate->folder, SHOAL_KEYS_HEAD);
    if (!shoal_key_pair_read(path, &own, status)) {
        return false;
    }
    bool done = shoal_secure_server(router, &own, status);
    shoal_key_pair_wipe(&own);
    return done;
}

bool
shoal_gate_open(void *context, void *router, const char *folder, shoal_log_t *log,
                shoal_gate_t **ret_gate, shoal_status_t *status)
{
    shoal_gate_t *gate = shoal_alloc(sizeof(*gate));
    gate->stop_fd = gate->watch_fd = -1;
    gate->log = log;
    (void)snprintf(gate->folder, sizeof(gate->folder), "%s", folder);
    if (strlen(folder) >= sizeof(gate->folder)) {
        shoal_gate_close(&gate);
        return shoal_fail(status, SHOAL_INVALID, "the path of the key folder is too long");
    }
    bool done = shoal_queue_new(LISTS_MAX, list_drop, &gate->lists, status) &&
                keys_put(gate, router, status) && watch_begin(gate, status) &&
                shoal_allowed_read(folder, &gate->list, status);
    if (done) {
        gate->known = shoal_allowed_copy(gate->list);
        done = zap_bind(gate, context, status) && thread_start(gate, status);
    }
    if (!done) {
        shoal_gate_close(&gate);
        return false;
    }
    shoal_log(log, SHOAL_LOG_INFO, "KEYS-READ", "holders=%zu", gate->list->count);
    *ret_gate = gate;
    return true;
}

void
shoal_gate_close(shoal_gate_t **gate_at)
{
    if (!gate_at || !*gate_at) {
        return;
    }
    shoal_gate_t *gate = *gate_at;
    if (gate->has_thread) {
        uint64_t one = 1;
        shoal_queue_close(gate->lists); // it may wait for room
        (void)!write(gate->stop_fd, &one, sizeof(one));
        (void)pthread_join(gate->thread, NULL);
    }
    if (gate->zap) {
        (void)zmq_close(gate->zap);
    }
    if (gate->stop_fd >= 0) {
        (void)close(gate->stop_fd);
    }
    if (gate->watch_fd >= 0) {
        (void)close(gate->watch_fd);
    }
    shoal_queue_destroy(&gate->lists);
    shoal_allowed_destroy(&gate->list);
    shoal_allowed_destroy(&gate->known);
    free(gate);
    *gate_at = NULL;
}

// ---- the hub's side

int
shoal_gate_fd(const shoal_gate_t *gate)
{
    return shoal_queue_fd(gate->lists);
}

static void
lists_take(shoal_gate_t *gate)
{
    shoal_allowed_t *list;
    while ((list = shoal_queue_take(gate->lists)) != NULL) {
        shoal_allowed_destroy(&gate->list);
        gate->list = list;
        gate->is_new = true;
    }
}

bool
shoal_gate_take(shoal_gate_t *gate)
{
    lists_take(gate);
    bool is_new = gate->is_new;
    gate->is_new = false;
    return is_new;
}

const shoal_holder_t *
shoal_gate_find(const shoal_gate_t *gate, const shoal_key_t *key)
{
    return shoal_allowed_find(gate->list, key);
}

const shoal_holder_t *
shoal_gate_holder(shoal_gate_t *gate, const char *user_id)
{
    shoal_key_t key;
    lists_take(gate); // who was let in by it a moment ago shall be found
    return user_id && shoal_key_parse(shoal_slice_of(user_id), &key) ? shoal_gate_find(gate, &key)
                                                                     : NULL;
}
