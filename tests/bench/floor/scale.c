// SPDX-License-Identifier: Apache-2.0
/*
 * scale - one head (a single ROUTER, one application thread) with N workers.
 *
 * The head forks P fleet processes that hold N/P connections each:
 *   -k zmtp    a light fleet that speaks ZMTP 3.1/NULL over epoll (1 fd a
 *              connection, little CPU) so that the head gets most of the machine
 *   -k dealer  real libzmq DEALER sockets, epoll over ZMQ_FD (-c: CURVE)
 *
 * Every connection: 'R' (ready), then an 'H' heartbeat a second, and a 'D'
 * (done) of -s bytes for each 'T' (task) of -s bytes it is sent.
 * The head keeps a table by identity (open addressing), refreshes the expiry on
 * every message, sends every worker its own 'P' heartbeat a second, and
 * dispatches from a FIFO of credits.
 *
 * Phases: connect (until N ready), idle heartbeats (-h s), dispatch with window
 * 1 (-d s), dispatch with window 4 (-d s).  -z: use ZMQ_HEARTBEAT_IVL=1000 and
 * no application heartbeats instead.
 * -y TTL: no heartbeats from the head; every worker sends a ZMTP PING a second
 * with that TTL in deciseconds (0: none), which the head's library answers.
 *
 *   -k raw     no ZeroMQ at either end: the head is a single-threaded epoll loop
 *              over the same frames (the limit that the ROUTER is compared with)
 * CSV: kind,N,P,curve,zmtp_hb,connect_s,idle_cpu_pct,idle_app_pct,hb_in_per_s,rss_mib,fds,
 *      w1_tasks_s,w1_head_us,w1_app_us,w4_tasks_s,w4_head_us,w4_app_us,fleet_us_per_task
 */
#include "labutil.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <zmq.h>

static int N = 8, P = 1, use_curve = 0, zmtp_hb = 0, ping_ttl = -1, iothreads = 1, recvbatch = 1000;
static double hb_s = 3, disp_s = 1.5;
static size_t size_ = 256;
static const char *kind = "zmtp";
static char spub[41], ssec[41], cpub[41], csec[41];
static int port;

/* ------------------------------------------------------------- zmtp fleet */

struct conn {
    int fd, state;            /* 0 connecting/greeting, 1 handshake, 2 open */
    int idx;
    size_t rlen, wlen, woff;
    char rbuf[4096];
    char *wbuf;
    size_t wcap;
    double next_hb;
    bool wantw;
};

static int ep;
static void cput (struct conn *c, const void *p, size_t n)
{
    if (c->wlen + n > c->wcap) {
        if (c->woff) { memmove (c->wbuf, c->wbuf + c->woff, c->wlen - c->woff); c->wlen -= c->woff; c->woff = 0; }
        while (c->wlen + n > c->wcap) c->wcap = c->wcap ? c->wcap * 2 : 1024;
        c->wbuf = realloc (c->wbuf, c->wcap);
    }
    memcpy (c->wbuf + c->wlen, p, n);
    c->wlen += n;
}
static void cflush (struct conn *c)
{
    while (c->woff < c->wlen) {
        ssize_t k = write (c->fd, c->wbuf + c->woff, c->wlen - c->woff);
        if (k < 0) {
            if (errno == EAGAIN) {
                if (!c->wantw) {
                    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
                    epoll_ctl (ep, EPOLL_CTL_MOD, c->fd, &e);
                    c->wantw = true;
                }
                return;
            }
            return;
        }
        c->woff += (size_t) k;
    }
    c->wlen = c->woff = 0;
    if (c->wantw) {
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
        epoll_ctl (ep, EPOLL_CTL_MOD, c->fd, &e);
        c->wantw = false;
    }
}
static void cframe (struct conn *c, int flags, const void *p, size_t n)
{
    unsigned char h[9];
    if (n < 256) { h[0] = (unsigned char) flags; h[1] = (unsigned char) n; cput (c, h, 2); }
    else {
        h[0] = (unsigned char) (flags | 2);
        for (int i = 0; i < 8; i++) h[1 + i] = (unsigned char) ((uint64_t) n >> (56 - 8 * i));
        cput (c, h, 9);
    }
    cput (c, p, n);
}
static int fleet_quit;
static void conn_input (struct conn *c, char *done)
{
    for (;;) {
        ssize_t k = read (c->fd, c->rbuf + c->rlen, sizeof c->rbuf - c->rlen);
        if (k == 0) { fleet_quit = 1; return; }
        if (k < 0) { if (errno == EAGAIN) break; fleet_quit = 1; return; }
        c->rlen += (size_t) k;
        size_t off = 0;
        if (c->state == 0) {
            if (c->rlen < 64) continue;
            off = 64;
            c->state = 1;
            unsigned char b[128];
            size_t n = 0;
            char id[16];
            int il = snprintf (id, sizeof id, "W%07d", c->idx);
            b[n++] = 5; memcpy (b + n, "READY", 5); n += 5;
            b[n++] = 11; memcpy (b + n, "Socket-Type", 11); n += 11;
            memcpy (b + n, "\0\0\0\6DEALER", 10); n += 10;
            b[n++] = 8; memcpy (b + n, "Identity", 8); n += 8;
            memcpy (b + n, "\0\0\0", 3); n += 3; b[n++] = (unsigned char) il;
            memcpy (b + n, id, (size_t) il); n += (size_t) il;
            cframe (c, 4, b, n);
        }
        for (;;) {
            size_t have = c->rlen - off;
            if (have < 2) break;
            unsigned char *u = (unsigned char *) c->rbuf + off;
            size_t hl = 2, n = u[1];
            if (u[0] & 2) {
                if (have < 9) break;
                hl = 9; n = 0;
                for (int i = 0; i < 8; i++) n = n << 8 | u[1 + i];
            }
            if (have < hl + n) break;
            unsigned char *b = u + hl;
            if (u[0] & 4) {
                if (c->state == 1) { c->state = 2; cframe (c, 0, "R", 1); }
                else if (n >= 7 && !memcmp (b, "\4PING", 5)) {
                    unsigned char pong[32];
                    memcpy (pong, "\4PONG", 5);
                    memcpy (pong + 5, b + 7, n - 7);
                    cframe (c, 4, pong, 5 + n - 7);
                }
            } else if (b[0] == 'T') cframe (c, 0, done, size_);
            else if (b[0] == 'Q') fleet_quit = 1;
            off += hl + n;
        }
        if (off) { memmove (c->rbuf, c->rbuf + off, c->rlen - off); c->rlen -= off; }
    }
    cflush (c);
}
static void fleet_zmtp (int first, int n)
{
    char *done = calloc (1, size_);
    done[0] = 'D';
    ep = epoll_create1 (0);
    struct conn *cs = calloc ((size_t) n, sizeof *cs);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK), .sin_port = htons ((uint16_t) port) };
    unsigned char g[64] = { 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1, 'N', 'U', 'L', 'L' };
    for (int i = 0; i < n; i++) {
        struct conn *c = &cs[i];
        c->idx = first + i;
        c->fd = socket (AF_INET, SOCK_STREAM, 0);
        if (connect (c->fd, (void *) &a, sizeof a)) die ("fleet connect");
        int one = 1;
        setsockopt (c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl (c->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
        epoll_ctl (ep, EPOLL_CTL_ADD, c->fd, &e);
        if (!strcmp (kind, "raw")) { c->state = 2; cframe (c, 0, "R", 1); }
        else cput (c, g, 64);
        cflush (c);
        c->next_hb = 0;
    }
    struct epoll_event ev[512];
    double t0 = now_s ();
    double hbpos = 0;   /* heartbeats owed, spread evenly over each second */
    uint64_t hbsent = 0;
    while (!fleet_quit) {
        int k = epoll_wait (ep, ev, 512, 5);
        for (int i = 0; i < k; i++) {
            struct conn *c = ev[i].data.ptr;
            if (ev[i].events & EPOLLOUT) cflush (c);
            if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) conn_input (c, done);
        }
        if (!zmtp_hb || ping_ttl >= 0) {
            hbpos = (now_s () - t0) * n;
            int lim = 2 * n;
            while ((double) hbsent < hbpos && lim--) {
                struct conn *c = &cs[hbsent % (uint64_t) n];
                if (c->state == 2) {
                    if (ping_ttl < 0) cframe (c, 0, "H", 1);
                    else { char ping[7] = "\4PING"; ping[6] = (char) ping_ttl; cframe (c, 4, ping, 7); }
                    cflush (c);
                }
                hbsent++;
            }
        }
    }
}

/* ----------------------------------------------------------- dealer fleet */

static void fleet_dealer (int first, int n)
{
    void *ctx = zmq_ctx_new ();
    zmq_ctx_set (ctx, ZMQ_MAX_SOCKETS, n + 16);
    void **s = calloc ((size_t) n, sizeof *s);
    char url[64];
    snprintf (url, sizeof url, "tcp://127.0.0.1:%d", port);
    ep = epoll_create1 (0);
    char *done = calloc (1, size_);
    done[0] = 'D';
    for (int i = 0; i < n; i++) {
        char id[16];
        int il = snprintf (id, sizeof id, "W%07d", first + i), linger = 0;
        s[i] = zmq_socket (ctx, ZMQ_DEALER);
        if (!s[i]) die ("zmq_socket");
        zmq_setsockopt (s[i], ZMQ_ROUTING_ID, id, (size_t) il);
        zmq_setsockopt (s[i], ZMQ_LINGER, &linger, sizeof linger);
        if (use_curve) {
            zmq_setsockopt (s[i], ZMQ_CURVE_SERVERKEY, spub, 41);
            zmq_setsockopt (s[i], ZMQ_CURVE_PUBLICKEY, cpub, 41);
            zmq_setsockopt (s[i], ZMQ_CURVE_SECRETKEY, csec, 41);
        }
        if (zmq_connect (s[i], url)) die ("fleet zmq_connect");
        int fd; size_t l = sizeof fd;
        zmq_getsockopt (s[i], ZMQ_FD, &fd, &l);
        struct epoll_event e = { .events = EPOLLIN, .data.u32 = (uint32_t) i };
        epoll_ctl (ep, EPOLL_CTL_ADD, fd, &e);
        zmq_send (s[i], "R", 1, 0);
    }
    struct epoll_event ev[512];
    double t0 = now_s ();
    uint64_t hbsent = 0;
    char *buf = malloc (size_ + 64);
    while (!fleet_quit) {
        int k = epoll_wait (ep, ev, 512, 5);
        uint32_t extra[64]; int ne = 0;
        if (!zmtp_hb) {
            double pos = (now_s () - t0) * n;
            while ((double) hbsent < pos && ne < 64) {
                uint32_t i = (uint32_t) (hbsent++ % (uint64_t) n);
                zmq_send (s[i], "H", 1, ZMQ_DONTWAIT);
                extra[ne++] = i;
            }
        }
        for (int j = 0; j < k + ne; j++) {
            uint32_t i = j < k ? ev[j].data.u32 : extra[j - k];
            for (;;) {
                int r = zmq_recv (s[i], buf, size_ + 64, ZMQ_DONTWAIT);
                if (r < 0) break;
                if (buf[0] == 'T') zmq_send (s[i], done, size_, 0);
                else if (buf[0] == 'Q') fleet_quit = 1;
            }
        }
    }
    _exit (0);
}

/* ------------------------------------------------------------------- head */

struct wk { char id[8]; double expiry; int credit; };
static struct wk *wk;
static int nw, *slot, nslot;
static int *fifo, fhead, fcount, fcap;

static uint32_t h8 (const char *p)
{
    uint64_t v;
    memcpy (&v, p, 8);
    v *= 0x9E3779B97F4A7C15ull;
    return (uint32_t) (v >> 40);
}
static int find_worker (const char *id, bool add)
{
    uint32_t i = h8 (id) & (uint32_t) (nslot - 1);
    while (slot[i] >= 0) {
        if (!memcmp (wk[slot[i]].id, id, 8)) return slot[i];
        i = (i + 1) & (uint32_t) (nslot - 1);
    }
    if (!add) return -1;
    memcpy (wk[nw].id, id, 8);
    slot[i] = nw;
    return nw++;
}
static void fpush (int w) { fifo[(fhead + fcount++) % fcap] = w; }
static int fpop (void) { int w = fifo[fhead]; fhead = (fhead + 1) % fcap; fcount--; return w; }

static void *router;
static uint64_t hb_in, done_in;
static double tnow;

static void send_to (int w, const char *body, size_t n)
{
    if (zmq_send (router, wk[w].id, 8, ZMQ_SNDMORE) < 0) { if (errno != EHOSTUNREACH) die ("send id"); return; }
    zmq_msg_t m;
    zmq_msg_init_size (&m, n);
    memcpy (zmq_msg_data (&m), body, n);
    if (zmq_msg_send (&m, router, 0) < 0) die ("send body");
}
static char *task;
/* Take up to recvbatch messages that are here already. */
static int drain (bool dispatching)
{
    int n = 0;
    while (n < recvbatch) {
        char id[16];
        int r = zmq_recv (router, id, sizeof id, ZMQ_DONTWAIT);
        if (r < 0) break;
        zmq_msg_t b;
        zmq_msg_init (&b);
        zmq_msg_recv (&b, router, 0);
        char t = *(char *) zmq_msg_data (&b);
        int w = find_worker (id, t == 'R');
        zmq_msg_close (&b);
        n++;
        if (w < 0) continue;
        wk[w].expiry = tnow + 5;
        if (t == 'H') hb_in++;
        else if (t == 'D') { done_in++; fpush (w); }
        while (dispatching && fcount) send_to (fpop (), task, size_);
    }
    return n;
}
static double hbdue; static int hbnext;

/* the raw head */
static struct conn *rc;
static int lfd, *dirty, ndirty;
static void r_send (int w, const char *p, size_t n)
{
    if (rc[w].wlen == rc[w].woff && !rc[w].wantw) dirty[ndirty++] = w;
    cframe (&rc[w], 0, p, n);
}
static void raw_input (struct conn *c, bool dispatching)
{
    for (;;) {
        ssize_t k = read (c->fd, c->rbuf + c->rlen, sizeof c->rbuf - c->rlen);
        if (k <= 0) return;
        size_t room = sizeof c->rbuf - c->rlen;
        c->rlen += (size_t) k;
        size_t off = 0;
        for (;;) {
            size_t have = c->rlen - off;
            if (have < 2) break;
            unsigned char *u = (unsigned char *) c->rbuf + off;
            size_t hl = 2, n = u[1];
            if (u[0] & 2) {
                if (have < 9) break;
                hl = 9; n = 0;
                for (int i = 0; i < 8; i++) n = n << 8 | u[1 + i];
            }
            if (have < hl + n) break;
            char t = (char) u[hl];
            wk[c->idx].expiry = tnow + 5;
            if (t == 'R') nw++;
            else if (t == 'H') hb_in++;
            else if (t == 'D') { done_in++; fpush (c->idx); }
            off += hl + n;
        }
        if (off) { memmove (c->rbuf, c->rbuf + off, c->rlen - off); c->rlen -= off; }
        while (dispatching && fcount) r_send (fpop (), task, size_);
        if ((size_t) k < room) return;
    }
}
static void raw_loop (double secs, bool dispatching, int stop_at_n)
{
    static int nc;
    struct epoll_event ev[512];
    double t0 = now_s ();
    for (;;) {
        int k = epoll_wait (ep, ev, 512, 10);
        tnow = now_s ();
        while (dispatching && fcount) r_send (fpop (), task, size_);
        for (int i = 0; i < k; i++) {
            struct conn *c = ev[i].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4 (lfd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    int one = 1;
                    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    rc[nc].fd = fd; rc[nc].idx = nc;
                    struct epoll_event e = { .events = EPOLLIN, .data.ptr = &rc[nc++] };
                    epoll_ctl (ep, EPOLL_CTL_ADD, fd, &e);
                }
                continue;
            }
            if (ev[i].events & EPOLLOUT) cflush (c);
            if (ev[i].events & EPOLLIN) raw_input (c, dispatching);
        }
        if (nw) {
            if (hbdue == 0 || tnow - hbdue > 1.5) hbdue = tnow;
            int lim = nw;
            while (hbdue <= tnow && lim--) { r_send (hbnext, "P", 1); hbnext = (hbnext + 1) % nw; hbdue += 1.0 / nw; }
        }
        for (int i = 0; i < ndirty; i++) cflush (&rc[dirty[i]]);
        ndirty = 0;
        if (stop_at_n && nw >= stop_at_n) break;
        if (tnow - t0 > secs) break;
    }
}
static void loop_zmq (double secs, bool dispatching, int stop_at_n);
static void loop (double secs, bool dispatching, int stop_at_n)
{
    if (!strcmp (kind, "raw")) raw_loop (secs, dispatching, stop_at_n);
    else loop_zmq (secs, dispatching, stop_at_n);
}
static void loop_zmq (double secs, bool dispatching, int stop_at_n)
{
    double t0 = now_s ();
    for (;;) {
        zmq_pollitem_t it = { router, 0, ZMQ_POLLIN, 0 };
        zmq_poll (&it, 1, 10);
        tnow = now_s ();
        while (dispatching && fcount) send_to (fpop (), task, size_);
        if (it.revents) drain (dispatching);
        if (!zmtp_hb && nw) {          /* our heartbeats, spread over the second */
            if (hbdue == 0 || tnow - hbdue > 1.5) hbdue = tnow;
            int lim = nw;
            while (hbdue <= tnow && lim--) { send_to (hbnext, "P", 1); hbnext = (hbnext + 1) % nw; hbdue += 1.0 / nw; }
        }
        if (stop_at_n && nw >= stop_at_n) break;
        if (tnow - t0 > secs) break;
    }
}
static double cpu_thread (void)
{
    struct rusage r;
    getrusage (RUSAGE_THREAD, &r);
    return tv_s (r.ru_utime) + tv_s (r.ru_stime);
}
static int count_fds (void)
{
    DIR *d = opendir ("/proc/self/fd");
    int n = -3;
    while (readdir (d)) n++;
    closedir (d);
    return n;
}

int main (int argc, char **argv)
{
    int o;
    while ((o = getopt (argc, argv, "n:p:k:czi:d:h:s:b:y:")) != -1) switch (o) {
        case 'n': N = atoi (optarg); break;
        case 'p': P = atoi (optarg); break;
        case 'k': kind = optarg; break;
        case 'c': use_curve = 1; break;
        case 'z': zmtp_hb = 1; break;
        case 'y': zmtp_hb = 1; ping_ttl = atoi (optarg); break;
        case 'i': iothreads = atoi (optarg); break;
        case 'd': disp_s = atof (optarg); break;
        case 'h': hb_s = atof (optarg); break;
        case 's': size_ = (size_t) atol (optarg); break;
        case 'b': recvbatch = atoi (optarg); break;
        default: return 2;
    }
    signal (SIGPIPE, SIG_IGN);
    alarm (180);
    raise_nofile ();
    if (P > N) P = N;
    if (use_curve) { zmq_curve_keypair (spub, ssec); zmq_curve_keypair (cpub, csec); }
    int pp[P][2];
    pid_t pids[P];
    for (int i = 0; i < P; i++) {
        if (pipe (pp[i])) die ("pipe");
        pids[i] = fork ();
        if (pids[i] == 0) {
            if (read (pp[i][0], &port, sizeof port) <= 0) _exit (1);
            int first = (int) ((long) N * i / P), last = (int) ((long) N * (i + 1) / P);
            if (strcmp (kind, "dealer")) fleet_zmtp (first, last - first);
            else fleet_dealer (first, last - first);
            _exit (0);
        }
    }
    long rss0;
    void *ctx = NULL;
    if (!strcmp (kind, "raw")) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
        socklen_t al = sizeof a;
        lfd = socket (AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (bind (lfd, (void *) &a, sizeof a) || listen (lfd, 4096)) die ("listen");
        getsockname (lfd, (void *) &a, &al);
        port = ntohs (a.sin_port);
        ep = epoll_create1 (0);
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
        epoll_ctl (ep, EPOLL_CTL_ADD, lfd, &e);
        rss0 = rss_kib ();
        rc = calloc ((size_t) N + 1, sizeof *rc);
        dirty = calloc ((size_t) N + 1, sizeof *dirty);
        goto ready;
    }
    ctx = zmq_ctx_new ();
    zmq_ctx_set (ctx, ZMQ_IO_THREADS, iothreads);
    zmq_ctx_set (ctx, ZMQ_MAX_SOCKETS, 1023);
    router = zmq_socket (ctx, ZMQ_ROUTER);
    int one = 1, zero = 0, backlog = 4096;
    zmq_setsockopt (router, ZMQ_ROUTER_MANDATORY, &one, sizeof one);
    zmq_setsockopt (router, ZMQ_BACKLOG, &backlog, sizeof backlog);
    zmq_setsockopt (router, ZMQ_LINGER, &zero, sizeof zero);
    if (zmtp_hb && ping_ttl < 0) {
        int ivl = 1000, to = 5000;
        zmq_setsockopt (router, ZMQ_HEARTBEAT_IVL, &ivl, sizeof ivl);
        zmq_setsockopt (router, ZMQ_HEARTBEAT_TIMEOUT, &to, sizeof to);
    }
    if (use_curve) {
        zmq_setsockopt (router, ZMQ_CURVE_SERVER, &one, sizeof one);
        zmq_setsockopt (router, ZMQ_CURVE_SECRETKEY, ssec, 41);
    }
    if (zmq_bind (router, "tcp://127.0.0.1:*")) die ("bind");
    char e[64]; size_t l = sizeof e;
    zmq_getsockopt (router, ZMQ_LAST_ENDPOINT, e, &l);
    port = atoi (strrchr (e, ':') + 1);
    rss0 = rss_kib ();
ready:
    nslot = 1;
    while (nslot < N * 2) nslot *= 2;
    slot = malloc (sizeof *slot * (size_t) nslot);
    memset (slot, 0xff, sizeof *slot * (size_t) nslot);
    wk = calloc ((size_t) N + 1, sizeof *wk);
    fcap = N * 8 + 8;
    fifo = malloc (sizeof *fifo * (size_t) fcap);
    task = calloc (1, size_);
    task[0] = 'T';

    double t0 = now_s ();
    for (int i = 0; i < P; i++) if (write (pp[i][1], &port, sizeof port) < 0) die ("pipe");
    loop (100, false, N);
    double tconn = now_s () - t0;
    loop (1.0, false, 0);                        /* settle */
    uint64_t h0 = hb_in;
    double c0 = cpu_self (), a0 = cpu_thread ();
    t0 = now_s ();
    loop (hb_s, false, 0);
    double dt = now_s () - t0, idle = (cpu_self () - c0) / dt * 100, idle_app = (cpu_thread () - a0) / dt * 100;
    double hbr = (double) (hb_in - h0) / dt;
    long rss1 = rss_kib ();
    int fds = count_fds ();
    double rate[2], us[2], aus[2];
    uint64_t tot = 0;
    for (int ph = 0; ph < 2; ph++) {
        int add = ph == 0 ? 1 : 3;
        for (int k = 0; k < add; k++) for (int i = 0; i < nw; i++) fpush (i);
        loop (0.3, true, 0);
        uint64_t d0 = done_in;
        c0 = cpu_self (); a0 = cpu_thread (); t0 = now_s ();
        loop (disp_s, true, 0);
        dt = now_s () - t0;
        uint64_t d = done_in - d0;
        rate[ph] = (double) d / dt;
        us[ph] = (cpu_self () - c0) / (double) d * 1e6;
        aus[ph] = (cpu_thread () - a0) / (double) d * 1e6;
        tot = done_in;
    }
    for (int i = 0; i < nw; i++) { if (rc) r_send (i, "Q", 1); else send_to (i, "Q", 1); }
    loop (0.2, false, 0);
    double fleet = 0;
    for (int i = 0; i < P; i++) {
        struct rusage ru; int st;
        for (int k = 0; k < 50 && wait4 (pids[i], &st, WNOHANG, &ru) == 0; k++) {
            usleep (100000);
            if (k == 40) kill (pids[i], SIGKILL);
        }
        fleet += tv_s (ru.ru_utime) + tv_s (ru.ru_stime);
    }
    printf ("%s,%d,%d,%d,%d,%.3f,%.2f,%.2f,%.0f,%.1f,%d,%.0f,%.2f,%.2f,%.0f,%.2f,%.2f,%.2f\n", kind, N, P, use_curve, ping_ttl >= 0 ? 100 + ping_ttl : zmtp_hb, tconn,
            idle, idle_app, hbr, (double) (rss1 - rss0) / 1024, fds, rate[0], us[0], aus[0], rate[1], us[1], aus[1], fleet / (double) tot * 1e6);
    fflush (stdout);
    _exit (0);
}
