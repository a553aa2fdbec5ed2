// SPDX-License-Identifier: Apache-2.0
/*
 * batch - what batching gains when table records are streamed back.
 *
 * worker process (DEALER): encodes the 2 KB record again and again, puts
 *   -b K records, or as many as fit -B bytes, in one message, and sends it.
 * head process (ROUTER): receives, decodes every record into a struct.
 *   -E none|c|hand   encoder (none = memcpy of a ready record)
 *   -D none|c|hand   decoder (none = only counts messages, by the header)
 *   -t tcp|ipc  -c CURVE  -q credit window in messages (0: HWM alone)
 * Message body: 4-byte record count, then the records one after another.
 * The worker gives its buffer away with zmq_msg_init_data (no copy).
 *
 * CSV: enc,dec,transport,curve,K,B,credit,recs_per_s,MB_per_s,msgs_per_s,head_us_per_rec,worker_us_per_rec
 */
#include "labutil.h"
#include "record.h"
#include <zmq.h>

static int K = 1, credit = 0, use_curve = 0;
static size_t B = 0;
static const char *E = "c", *D = "c", *transport = "tcp";
static double dur = 0.8;
static char endpoint[256], spub[41], ssec[41], cpub[41], csec[41];

static void free_fn (void *p, void *h) { (void) h; free (p); }
/* msgpack-c writer into a fixed growing buffer that we own */
struct gbuf { char *p; size_t n, cap; };
static int gwrite (void *d, const char *b, size_t n)
{
    struct gbuf *g = d;
    if (g->n + n > g->cap) { while (g->n + n > g->cap) g->cap *= 2; g->p = realloc (g->p, g->cap); }
    memcpy (g->p + g->n, b, n);
    g->n += n;
    return 0;
}
static void worker (void)
{
    void *ctx = zmq_ctx_new ();
    void *s = zmq_socket (ctx, ZMQ_DEALER);
    int linger = 3000;
    zmq_setsockopt (s, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt (s, ZMQ_ROUTING_ID, "worker-1", 8);
    size_t per = B ? B / 2000 + 1 : (size_t) K;
    int hwm = (int) ((64u << 20) / (per * 2048));
    if (hwm > 1000) hwm = 1000;
    zmq_setsockopt (s, ZMQ_SNDHWM, &hwm, sizeof hwm);
    if (use_curve) {
        zmq_setsockopt (s, ZMQ_CURVE_SERVERKEY, spub, 41);
        zmq_setsockopt (s, ZMQ_CURVE_PUBLICKEY, cpub, 41);
        zmq_setsockopt (s, ZMQ_CURVE_SECRETKEY, csec, 41);
    }
    zmq_connect (s, endpoint);
    zmq_send (s, "READY", 5, 0);
    char go[16];
    zmq_recv (s, go, sizeof go, 0);
    static unsigned char ready[65536];
    size_t rn = (size_t) (rec_pack_h (ready, &g_rec) - ready);
    bool ec = !strcmp (E, "c"), eh = !strcmp (E, "hand");
    struct gbuf g = { 0 };
    msgpack_packer pk;
    msgpack_packer_init (&pk, &g, gwrite);
    double t0 = now_s ();
    int cr = credit;
    while (now_s () - t0 < dur) {
        if (credit) {
            while (zmq_recv (s, go, sizeof go, cr > 0 ? ZMQ_DONTWAIT : 0) >= 0) cr++;
            if (cr <= 0) continue;
            cr--;
        }
        g.cap = B ? B + 8192 : (size_t) K * 4096 + 64;
        g.p = malloc (g.cap);
        g.n = 4;
        uint32_t n = 0;
        while (B ? g.n + rn <= B : n < (uint32_t) K) {
            if (ec) rec_pack_c (&pk, &g_rec);
            else if (eh) g.n = (size_t) ((char *) rec_pack_h ((unsigned char *) g.p + g.n, &g_rec) - g.p);
            else { memcpy (g.p + g.n, ready, rn); g.n += rn; }
            n++;
        }
        memcpy (g.p, &n, 4);
        zmq_msg_t m;
        zmq_msg_init_data (&m, g.p, g.n, free_fn, NULL);
        if (zmq_msg_send (&m, s, 0) < 0) die ("send");
    }
    zmq_send (s, "END", 3, 0);
    zmq_close (s);
    zmq_ctx_term (ctx);
}
int main (int argc, char **argv)
{
    int o;
    while ((o = getopt (argc, argv, "b:B:E:D:t:cq:d:")) != -1) switch (o) {
        case 'b': K = atoi (optarg); break;
        case 'B': B = (size_t) atol (optarg); break;
        case 'E': E = optarg; break;
        case 'D': D = optarg; break;
        case 't': transport = optarg; break;
        case 'c': use_curve = 1; break;
        case 'q': credit = atoi (optarg); break;
        case 'd': dur = atof (optarg); break;
        default: return 2;
    }
    alarm (60);
    record_init ();
    if (use_curve) { zmq_curve_keypair (spub, ssec); zmq_curve_keypair (cpub, csec); }
    int pp[2];
    if (pipe (pp)) die ("pipe");
    pid_t p = fork ();
    if (p == 0) { if (read (pp[0], endpoint, sizeof endpoint) < 0) die ("pipe"); worker (); _exit (0); }
    void *ctx = zmq_ctx_new (), *s = zmq_socket (ctx, ZMQ_ROUTER);
    int one = 1, hwm = 1000;
    size_t per = B ? B / 2000 + 1 : (size_t) K;
    hwm = (int) ((64u << 20) / (per * 2048));
    if (hwm > 1000) hwm = 1000;
    zmq_setsockopt (s, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt (s, ZMQ_ROUTER_MANDATORY, &one, sizeof one);
    if (use_curve) { zmq_setsockopt (s, ZMQ_CURVE_SERVER, &one, sizeof one); zmq_setsockopt (s, ZMQ_CURVE_SECRETKEY, ssec, 41); }
    char ep[64];
    if (!strcmp (transport, "tcp")) snprintf (ep, sizeof ep, "tcp://127.0.0.1:*");
    else snprintf (ep, sizeof ep, "ipc:///tmp/zmqlab-b%d.ipc", (int) getpid ());
    if (zmq_bind (s, ep)) die ("bind");
    size_t l = sizeof endpoint;
    zmq_getsockopt (s, ZMQ_LAST_ENDPOINT, endpoint, &l);
    if (write (pp[1], endpoint, sizeof endpoint) < 0) die ("pipe");
    char id[64]; int idn;
    char tmp[16];
    idn = zmq_recv (s, id, sizeof id, 0);
    zmq_recv (s, tmp, sizeof tmp, 0);
    zmq_send (s, id, (size_t) idn, ZMQ_SNDMORE);
    zmq_send (s, "GO", 2, 0);
    bool dc = !strcmp (D, "c"), dh = !strcmp (D, "hand");
    static rec_t r;
    msgpack_unpacked u;
    msgpack_unpacked_init (&u);
    uint64_t recs = 0, bytes = 0, msgs = 0;
    volatile uint64_t sink = 0;
    double t0 = 0, c0 = 0;
    int owed = 0;
    for (;;) {
        idn = zmq_recv (s, id, sizeof id, 0);
        zmq_msg_t m;
        zmq_msg_init (&m);
        zmq_msg_recv (&m, s, 0);
        unsigned char *b = zmq_msg_data (&m);
        size_t n = zmq_msg_size (&m);
        if (n == 3) break;
        if (!t0) { t0 = now_s (); c0 = cpu_self (); }
        uint32_t k;
        memcpy (&k, b, 4);
        if (dc) {
            size_t off = 4;
            for (uint32_t i = 0; i < k; i++) {
                if (msgpack_unpack_next (&u, (char *) b, n, &off) != MSGPACK_UNPACK_SUCCESS) abort ();
                if (!rec_get_c (&u.data, &r)) abort ();
                sink += r.oid + r.ncols;
            }
        } else if (dh) {
            cur_t c = { b + 4, b + n, false };
            for (uint32_t i = 0; i < k; i++) { if (!rec_get_h (&c, &r)) abort (); sink += r.oid + r.ncols; }
        }
        recs += k; bytes += n; msgs++;
        zmq_msg_close (&m);
        if (credit && ++owed) {          /* give back one credit a message */
            zmq_send (s, id, (size_t) idn, ZMQ_SNDMORE);
            zmq_send (s, "C", 1, 0);
            owed = 0;
        }
    }
    double dt = now_s () - t0, cpu = cpu_self () - c0;
    zmq_close (s);
    zmq_ctx_term (ctx);
    struct rusage ru; int st;
    wait4 (p, &st, 0, &ru);
    double wc = tv_s (ru.ru_utime) + tv_s (ru.ru_stime);
    printf ("%s,%s,%s,%d,%d,%zu,%d,%.0f,%.1f,%.0f,%.3f,%.3f\n", E, D, transport, use_curve, B ? 0 : K, B, credit,
            (double) recs / dt, (double) bytes / dt / 1e6, (double) msgs / dt, cpu / (double) recs * 1e6, wc / (double) recs * 1e6);
    return 0;
}
