// SPDX-License-Identifier: Apache-2.0
/*
 * mpbench - ns per operation of msgpack encoders and decoders, one thread.
 * Each line: subject,message,bytes,ns_per_op,MB_per_s   (-d seconds a subject)
 */
#include "labutil.h"
#include "record.h"
#include <mpack.h>
#include <msgpuck.h>

static double dur = 0.3;
static unsigned char *enc[2]; static size_t encn[2];
static unsigned char *stream[2]; static size_t streamn[2]; static int nstream = 64;
static volatile uint64_t sink;
static unsigned char out[65536];

/* ---- encoders */
static void e_c_reuse (int w)     /* msgpack-c, sbuffer cleared and reused */
{
    static msgpack_sbuffer sb; static msgpack_packer pk; static bool init;
    if (!init) { msgpack_sbuffer_init (&sb); msgpack_packer_init (&pk, &sb, msgpack_sbuffer_write); init = true; }
    msgpack_sbuffer_clear (&sb);
    if (w) rec_pack_c (&pk, &g_rec); else task_pack_c (&pk, &g_task);
    sink += sb.size;
}
static void e_c_new (int w)       /* msgpack-c, a new sbuffer each time */
{
    msgpack_sbuffer sb; msgpack_packer pk;
    msgpack_sbuffer_init (&sb); msgpack_packer_init (&pk, &sb, msgpack_sbuffer_write);
    if (w) rec_pack_c (&pk, &g_rec); else task_pack_c (&pk, &g_task);
    sink += sb.size;
    msgpack_sbuffer_destroy (&sb);
}
static void e_hand (int w)
{ sink += (size_t) ((w ? rec_pack_h (out, &g_rec) : task_pack_h (out, &g_task)) - out); }
static inline char *pu_s (char *d, str_t s) { return mp_encode_str (d, s.p, s.n); }
#define PU(d, lit) mp_encode_str (d, lit, sizeof lit - 1)
static void e_puck (int w)
{
    char *d = (char *) out;
    if (!w) {
        const task_t *t = &g_task;
        d = mp_encode_map (d, 8);
        d = PU (d, "id"); d = mp_encode_uint (d, t->id); d = PU (d, "kind"); d = pu_s (d, t->kind);
        d = PU (d, "shard"); d = mp_encode_uint (d, t->shard); d = PU (d, "attempt"); d = mp_encode_uint (d, t->attempt);
        d = PU (d, "lease_ms"); d = mp_encode_uint (d, t->lease_ms); d = PU (d, "deadline"); d = mp_encode_uint (d, t->deadline);
        d = PU (d, "target"); d = pu_s (d, t->target); d = PU (d, "schema"); d = pu_s (d, t->schema);
    } else {
        const rec_t *r = &g_rec;
        d = mp_encode_map (d, 11);
        d = PU (d, "db"); d = pu_s (d, r->db); d = PU (d, "schema"); d = pu_s (d, r->schema);
        d = PU (d, "table"); d = pu_s (d, r->table); d = PU (d, "kind"); d = pu_s (d, r->kind);
        d = PU (d, "comment"); d = pu_s (d, r->comment); d = PU (d, "oid"); d = mp_encode_uint (d, r->oid);
        d = PU (d, "rows"); d = mp_encode_uint (d, r->rows); d = PU (d, "bytes"); d = mp_encode_uint (d, r->bytes);
        d = PU (d, "pk"); d = mp_encode_array (d, r->npk);
        for (uint32_t i = 0; i < r->npk; i++) d = pu_s (d, r->col[i].name);
        d = PU (d, "fk"); d = mp_encode_array (d, r->nfk);
        for (uint32_t i = 0; i < r->nfk; i++) {
            d = mp_encode_map (d, 2);
            d = PU (d, "col"); d = pu_s (d, r->col[i].name); d = PU (d, "ref"); d = PU (d, "sales_reporting.dim_customer.customer_id");
        }
        d = PU (d, "columns"); d = mp_encode_array (d, r->ncols);
        for (uint32_t i = 0; i < r->ncols; i++) {
            const col_t *c = &r->col[i];
            d = mp_encode_map (d, 6);
            d = PU (d, "name"); d = pu_s (d, c->name); d = PU (d, "type"); d = pu_s (d, c->type);
            d = PU (d, "ord"); d = mp_encode_uint (d, c->ord); d = PU (d, "notnull"); d = mp_encode_bool (d, c->notnull);
            d = PU (d, "default"); d = c->dflt.n ? pu_s (d, c->dflt) : mp_encode_nil (d);
            d = PU (d, "comment"); d = c->comment.n ? pu_s (d, c->comment) : mp_encode_nil (d);
        }
    }
    sink += (size_t) (d - (char *) out);
}
/* ---- decoders */
static task_t t_out; static rec_t r_out;
static void use_t (void) { sink += t_out.id + t_out.schema.n; }
static void use_r (void) { sink += r_out.oid + r_out.ncols + r_out.col[19].name.n; }
static void d_c_next (int w)      /* msgpack_unpack_next, one msgpack_unpacked reused, tree only */
{
    static msgpack_unpacked u; static bool init;
    if (!init) { msgpack_unpacked_init (&u); init = true; }
    size_t off = 0;
    if (msgpack_unpack_next (&u, (char *) enc[w], encn[w], &off) != MSGPACK_UNPACK_SUCCESS) abort ();
    sink += u.data.via.map.size;
}
static void d_c_next_get (int w)  /* the same, and fill the struct */
{
    static msgpack_unpacked u; static bool init;
    if (!init) { msgpack_unpacked_init (&u); init = true; }
    size_t off = 0;
    if (msgpack_unpack_next (&u, (char *) enc[w], encn[w], &off) != MSGPACK_UNPACK_SUCCESS) abort ();
    if (w) { if (!rec_get_c (&u.data, &r_out)) abort (); use_r (); } else { if (!task_get_c (&u.data, &t_out)) abort (); use_t (); }
}
static void d_c_zone_get (int w)  /* msgpack_unpack into one zone, cleared and reused */
{
    static msgpack_zone z; static bool init;
    if (!init) { msgpack_zone_init (&z, 8192); init = true; }
    msgpack_object o;
    msgpack_zone_clear (&z);
    size_t off = 0;
    if (msgpack_unpack ((char *) enc[w], encn[w], &off, &z, &o) < 0) abort ();
    if (w) { rec_get_c (&o, &r_out); use_r (); } else { task_get_c (&o, &t_out); use_t (); }
}
static int d_c_stream (int w)     /* the streaming msgpack_unpacker: 64 messages fed in one go */
{
    static msgpack_unpacker u; static msgpack_unpacked r; static bool init;
    if (!init) { msgpack_unpacker_init (&u, 65536); msgpack_unpacked_init (&r); init = true; }
    if (msgpack_unpacker_buffer_capacity (&u) < streamn[w]) msgpack_unpacker_reserve_buffer (&u, streamn[w]);
    memcpy (msgpack_unpacker_buffer (&u), stream[w], streamn[w]);
    msgpack_unpacker_buffer_consumed (&u, streamn[w]);
    int n = 0;
    while (msgpack_unpacker_next (&u, &r) == MSGPACK_UNPACK_SUCCESS) {
        n++;
        if (w) { rec_get_c (&r.data, &r_out); use_r (); } else { task_get_c (&r.data, &t_out); use_t (); }
    }
    return n;
}
static int d_c_next64 (int w)     /* unpack_next over the same 64-message buffer, in place */
{
    static msgpack_unpacked u; static bool init;
    if (!init) { msgpack_unpacked_init (&u); init = true; }
    size_t off = 0; int n = 0;
    while (off < streamn[w]) {
        if (msgpack_unpack_next (&u, (char *) stream[w], streamn[w], &off) != MSGPACK_UNPACK_SUCCESS) abort ();
        if (w) { rec_get_c (&u.data, &r_out); use_r (); } else { task_get_c (&u.data, &t_out); use_t (); }
        n++;
    }
    return n;
}
static void d_hand (int w)
{
    cur_t c = { enc[w], enc[w] + encn[w], false };
    if (w) { if (!rec_get_h (&c, &r_out)) abort (); use_r (); } else { if (!task_get_h (&c, &t_out)) abort (); use_t (); }
}
static void d_skip (int w)        /* hand cursor: only check well-formedness */
{
    cur_t c = { enc[w], enc[w] + encn[w], false };
    cu_skip (&c);
    if (c.bad) abort ();
    sink += (size_t) (c.p - enc[w]);
}
static inline str_t pk_str (const char **d)
{
    if (mp_typeof (**d) == MP_NIL) { mp_decode_nil (d); return (str_t) { "", 0 }; }
    str_t s; s.p = mp_decode_str (d, &s.n); return s;
}
static void d_puck (int w)        /* msgpuck: mp_check, then decode */
{
    const char *d = (char *) enc[w], *e = d + encn[w], *q = d;
    if (mp_check (&q, e)) abort ();
    uint32_t n = mp_decode_map (&d);
    if (!w) {
        task_t *t = &t_out;
        while (n--) {
            str_t k = pk_str (&d);
            if (SK (k, "id")) t->id = mp_decode_uint (&d);
            else if (SK (k, "kind")) t->kind = pk_str (&d);
            else if (SK (k, "shard")) t->shard = (uint32_t) mp_decode_uint (&d);
            else if (SK (k, "attempt")) t->attempt = (uint32_t) mp_decode_uint (&d);
            else if (SK (k, "lease_ms")) t->lease_ms = (uint32_t) mp_decode_uint (&d);
            else if (SK (k, "deadline")) t->deadline = mp_decode_uint (&d);
            else if (SK (k, "target")) t->target = pk_str (&d);
            else if (SK (k, "schema")) t->schema = pk_str (&d);
            else mp_next (&d);
        }
        use_t ();
    } else {
        rec_t *r = &r_out;
        while (n--) {
            str_t k = pk_str (&d);
            if (SK (k, "db")) r->db = pk_str (&d);
            else if (SK (k, "schema")) r->schema = pk_str (&d);
            else if (SK (k, "table")) r->table = pk_str (&d);
            else if (SK (k, "kind")) r->kind = pk_str (&d);
            else if (SK (k, "comment")) r->comment = pk_str (&d);
            else if (SK (k, "oid")) r->oid = mp_decode_uint (&d);
            else if (SK (k, "rows")) r->rows = mp_decode_uint (&d);
            else if (SK (k, "bytes")) r->bytes = mp_decode_uint (&d);
            else if (SK (k, "columns")) {
                r->ncols = mp_decode_array (&d);
                if (r->ncols > 64) abort ();
                for (uint32_t j = 0; j < r->ncols; j++) {
                    col_t *o = &r->col[j];
                    uint32_t m = mp_decode_map (&d);
                    while (m--) {
                        str_t ck = pk_str (&d);
                        if (SK (ck, "name")) o->name = pk_str (&d);
                        else if (SK (ck, "type")) o->type = pk_str (&d);
                        else if (SK (ck, "ord")) o->ord = (uint32_t) mp_decode_uint (&d);
                        else if (SK (ck, "notnull")) o->notnull = mp_decode_bool (&d);
                        else if (SK (ck, "default")) o->dflt = pk_str (&d);
                        else if (SK (ck, "comment")) o->comment = pk_str (&d);
                        else mp_next (&d);
                    }
                }
            } else mp_next (&d);
        }
        use_r ();
    }
}
static void d_mpack (int w)       /* libmpack (tarruda): tokens only, no struct */
{
    mpack_tokbuf_t tb; mpack_tokbuf_init (&tb);
    const char *b = (char *) enc[w]; size_t l = encn[w];
    mpack_token_t t; uint64_t n = 0;
    while (l) { if (mpack_read (&tb, &b, &l, &t)) break; n += t.type; }
    sink += n;
}
static void d_copy (int w) { memcpy (out, enc[w], encn[w]); sink += out[encn[w] - 1]; }

static int one (void (*f) (int), int w) { f (w); return 1; }
static void timeit (const char *name, void (*f) (int), int (*g) (int), int w)
{
    uint64_t n = 0;
    double t0 = now_s (), t1;
    for (int i = 0; i < 200; i++) { if (f) one (f, w); else g (w); }
    t0 = now_s ();
    do { for (int i = 0; i < 64; i++) n += (uint64_t) (f ? one (f, w) : g (w)); t1 = now_s (); } while (t1 - t0 < dur);
    double ns = (t1 - t0) / (double) n * 1e9;
    printf ("%s,%s,%zu,%.1f,%.0f\n", name, w ? "record" : "task", encn[w], ns, (double) encn[w] / ns * 1e3);
}
int main (int argc, char **argv)
{
    if (argc > 1) dur = atof (argv[1]);
    record_init ();
    for (int w = 0; w < 2; w++) {
        msgpack_sbuffer sb; msgpack_packer pk;
        msgpack_sbuffer_init (&sb); msgpack_packer_init (&pk, &sb, msgpack_sbuffer_write);
        if (w) rec_pack_c (&pk, &g_rec); else task_pack_c (&pk, &g_task);
        enc[w] = malloc (sb.size); encn[w] = sb.size; memcpy (enc[w], sb.data, sb.size);
        size_t hn = (size_t) ((w ? rec_pack_h (out, &g_rec) : task_pack_h (out, &g_task)) - out);
        if (hn != sb.size || memcmp (out, sb.data, hn)) { fprintf (stderr, "encoders differ\n"); return 1; }
        e_puck (w);
        if (memcmp (out, sb.data, hn)) { fprintf (stderr, "msgpuck differs\n"); return 1; }
        streamn[w] = sb.size * (size_t) nstream; stream[w] = malloc (streamn[w]);
        for (int i = 0; i < nstream; i++) memcpy (stream[w] + (size_t) i * sb.size, sb.data, sb.size);
    }
    for (int w = 0; w < 2; w++) {
        timeit ("memcpy", d_copy, NULL, w);
        timeit ("enc msgpack-c reused sbuffer", e_c_reuse, NULL, w);
        timeit ("enc msgpack-c new sbuffer", e_c_new, NULL, w);
        timeit ("enc msgpuck", e_puck, NULL, w);
        timeit ("enc hand", e_hand, NULL, w);
        timeit ("dec msgpack-c unpack_next (tree only)", d_c_next, NULL, w);
        timeit ("dec msgpack-c unpack_next + struct", d_c_next_get, NULL, w);
        timeit ("dec msgpack-c unpack reused zone + struct", d_c_zone_get, NULL, w);
        timeit ("dec msgpack-c unpack_next x64 in place + struct", NULL, d_c_next64, w);
        timeit ("dec msgpack-c streaming unpacker x64 + struct", NULL, d_c_stream, w);
        timeit ("dec libmpack tokens only", d_mpack, NULL, w);
        timeit ("dec msgpuck check + struct", d_puck, NULL, w);
        timeit ("dec hand cursor + struct", d_hand, NULL, w);
        timeit ("dec hand cursor skip (validate only)", d_skip, NULL, w);
    }
    return 0;
}
