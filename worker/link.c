// SPDX-License-Identifier: Apache-2.0
//
// link.c - see link.h.

#include "worker/link.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "worker/dial.h"
#include "worker/supervisor.h"

#define MESSAGES_PER_TURN 256
#define NEWS_PER_TURN     256
#define BYE_LINGER_MS     500
#define EXIT_BY_SIGNAL    128 // plus the signal's number, as shells do
#define POLL_MS_MAX       3600000

enum { ITEM_SIGNAL, ITEM_LIFELINE, ITEM_NEWS, ITEM_SOCKET, ITEM_MONITOR, ITEM_COUNT };

typedef struct link {
    const shoal_link_config_t *config;
    void *context;
    shoal_dial_t *dial;
    shoal_slots_t *slots;
    shoal_session_t *session;
    int signal_fd;
    unsigned signals; // from others than the supervisor
    bool has_told;    // that it is registered
    shoal_parcel_t parcel;
    shoal_buffer_t scratch;
} link_t;

static shoal_sent_t
link_send(void *ctx, const shoal_message_t *message, zmq_msg_t *payload)
{
    link_t *link = ctx;
    return shoal_message_send(shoal_dial_socket(link->dial), SHOAL_SLICE_NONE, message, payload,
                              &link->scratch);
}

static uint64_t
seed(void)
{
    uint64_t word = 0;
    if (getrandom(&word, sizeof(word), GRND_NONBLOCK) != (ssize_t)sizeof(word)) {
        word = shoal_clock_us() ^ (uint64_t)getpid() << 32; // jitter only
    }
    return word;
}

static bool
link_open_signals(link_t *link, shoal_status_t *status)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    link->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return link->signal_fd >= 0 || shoal_fail_errno(status, errno, "cannot watch signals");
}

static bool
link_init(link_t *link, const shoal_link_config_t *config, shoal_status_t *status)
{
    const shoal_identity_t *identity = &config->identity;
    size_t queue_max = (size_t)identity->window * SHOAL_CALLS_PER_WINDOW;
    *link = (link_t){.config = config, .signal_fd = -1};
    shoal_parcel_init(&link->parcel);
    for (size_t i = 0; i < identity->class_count; i++) {
        if (!shoal_class_check(identity->classes[i], status)) {
            return false;
        }
    }
    if (!link_open_signals(link, status) ||
        !shoal_slots_new(identity->slots, queue_max, config->log, &link->slots, status)) {
        return false;
    }
    link->context = zmq_ctx_new();
    if (!link->context) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot make a ZeroMQ context: %s",
                          zmq_strerror(errno));
    }
    link->dial = shoal_dial_new(link->context, config->endpoint, config->join);
    link->session = shoal_session_new(identity, link->slots, link_send, link, seed(), config->log);
    return true;
}

static void
link_fini(link_t *link)
{
    shoal_slots_destroy(&link->slots);
    shoal_session_destroy(&link->session);
    if (link->dial) {
        shoal_dial_close(link->dial, BYE_LINGER_MS);
    }
    shoal_dial_destroy(&link->dial);
    shoal_parcel_fini(&link->parcel);
    shoal_buffer_fini(&link->scratch);
    if (link->context) {
        (void)zmq_ctx_term(link->context);
    }
    if (link->signal_fd >= 0) {
        (void)close(link->signal_fd);
    }
}

// ---- one turn

static bool
dial_if_due(link_t *link, uint64_t now_ms, shoal_status_t *status)
{
    if (shoal_session_state(link->session) != SHOAL_SESSION_WAITING) {
        return true;
    }
    shoal_dial_close(link->dial, 0); // what it still holds was for a registration that is gone
    if (now_ms < shoal_session_next(link->session)) {
        return true;
    }
    if (!shoal_dial_open(link->dial, status)) {
        return false;
    }
    shoal_session_opened(link->session, now_ms);
    return true;
}

static void
read_signals(link_t *link, uint64_t now_ms)
{
    struct signalfd_siginfo info;
    while (read(link->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        bool is_forwarded =
            link->config->supervisor > 0 && (pid_t)info.ssi_pid == link->config->supervisor;
        link->signals += !is_forwarded;
        if (link->signals > 1) {
            shoal_log(link->config->log, SHOAL_LOG_WARN, "LINK-STOP", "reason=\"second signal\"");
            _exit(EXIT_BY_SIGNAL + (int)info.ssi_signo);
        }
        const char *what = sigdescr_np((int)info.ssi_signo);
        shoal_session_drain(link->session, SHOAL_TIME_NEVER, what ? what : "a signal", now_ms);
    }
}

// Whoever started us holds the other end; when it is gone, so are we.
static void
read_lifeline(const link_t *link)
{
    char byte;
    if (read(link->config->lifeline_fd, &byte, 1) == 0) {
        _exit(EXIT_SUCCESS);
    }
}

static bool
read_socket(link_t *link, uint64_t now_ms, shoal_status_t *status)
{
    for (unsigned i = 0; i < MESSAGES_PER_TURN && shoal_dial_socket(link->dial); i++) {
        shoal_received_t got = shoal_parcel_receive(shoal_dial_socket(link->dial),
                                                    /*is_router=*/false, &link->parcel, status);
        if (got == SHOAL_RECEIVED_BROKEN) {
            return false;
        }
        if (got == SHOAL_RECEIVED_NOTHING) {
            break;
        }
        shoal_session_take(link->session, &link->parcel, now_ms);
    }
    return true;
}

// Whoever started us waits for the first registration, or for why there is none.
static void
tell_ready(link_t *link, const char *trouble)
{
    bool is_ready = shoal_session_state(link->session) == SHOAL_SESSION_READY;
    if (link->config->ready_fd < 1 || link->has_told || (!is_ready && !trouble)) {
        return;
    }
    char line[512];
    int len =
        snprintf(line, sizeof(line), "%s%s\n", is_ready ? "ready" : "no ", is_ready ? "" : trouble);
    len = len < (int)sizeof(line) ? len : (int)sizeof(line) - 1;
    (void)!write(link->config->ready_fd, line, (size_t)len); // it may have gone meanwhile
    link->has_told = is_ready;
}

static void
read_monitor(link_t *link, uint64_t now_ms)
{
    const char *why = shoal_dial_monitor(link->dial) ? shoal_dial_lost(link->dial) : NULL;
    if (why) {
        tell_ready(link, why);
        shoal_session_closed(link->session, why, now_ms);
    }
}

static long
until_next(const link_t *link, uint64_t now_ms)
{
    uint64_t next_ms = shoal_session_next(link->session);
    if (next_ms <= now_ms) {
        return 0;
    }
    return next_ms - now_ms < POLL_MS_MAX ? (long)(next_ms - now_ms) : POLL_MS_MAX;
}

// False: the poller is broken. Descriptors that are not wanted now are polled for nothing.
static bool
wait_for_events(link_t *link, zmq_pollitem_t items[ITEM_COUNT], shoal_status_t *status)
{
    bool is_open = shoal_dial_socket(link->dial) != NULL;
    bool wants_news = shoal_session_wants_news(link->session);
    items[ITEM_SIGNAL] = (zmq_pollitem_t){NULL, link->signal_fd, ZMQ_POLLIN, 0};
    items[ITEM_LIFELINE] = (zmq_pollitem_t){NULL, link->config->lifeline_fd,
                                            link->config->lifeline_fd >= 0 ? ZMQ_POLLIN : 0, 0};
    items[ITEM_NEWS] =
        (zmq_pollitem_t){NULL, shoal_slots_fd(link->slots), wants_news ? ZMQ_POLLIN : 0, 0};
    items[ITEM_SOCKET] = (zmq_pollitem_t){shoal_dial_socket(link->dial), 0, ZMQ_POLLIN, 0};
    items[ITEM_MONITOR] = (zmq_pollitem_t){shoal_dial_monitor(link->dial), 0, ZMQ_POLLIN, 0};
    int count = is_open ? ITEM_COUNT : ITEM_SOCKET;
    if (zmq_poll(items, count, until_next(link, shoal_clock_ms())) < 0 && errno != EINTR) {
        return shoal_fail(status, SHOAL_INTERNAL, "cannot wait for events: %s",
                          zmq_strerror(errno));
    }
    return true;
}

static bool
link_turn(link_t *link, shoal_status_t *status)
{
    zmq_pollitem_t items[ITEM_COUNT] = {{0}};
    if (!dial_if_due(link, shoal_clock_ms(), status) || !wait_for_events(link, items, status)) {
        return false;
    }
    uint64_t now_ms = shoal_clock_ms();
    if (items[ITEM_SIGNAL].revents) {
        read_signals(link, now_ms);
    }
    if (items[ITEM_LIFELINE].revents) {
        read_lifeline(link);
    }
    if (items[ITEM_SOCKET].revents && !read_socket(link, now_ms, status)) {
        return false;
    }
    tell_ready(link, NULL);
    if (items[ITEM_MONITOR].revents) {
        read_monitor(link, now_ms);
    }
    shoal_session_pump(link->session, NEWS_PER_TURN, now_ms);
    shoal_session_tick(link->session, now_ms);
    return true;
}

// A slot that does not react holds what everything else here would be freed of: the process ends
// as it is, once what it has said can have left.
static void
link_abandon(link_t *link)
{
    shoal_dial_close(link->dial, BYE_LINGER_MS);
    (void)zmq_ctx_term(link->context);
    _exit(shoal_session_is_hung(link->session) ? SHOAL_EXIT_HUNG : EXIT_SUCCESS);
}

bool
shoal_link_run(const shoal_link_config_t *config, shoal_status_t *status)
{
    link_t link;
    bool done = link_init(&link, config, status);
    while (done && shoal_session_state(link.session) != SHOAL_SESSION_ENDED) {
        done = link_turn(&link, status);
    }
    if (done && (shoal_session_is_stuck(link.session) || shoal_session_is_hung(link.session))) {
        link_abandon(&link);
    }
    link_fini(&link);
    return done;
}
