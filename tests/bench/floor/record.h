// SPDX-License-Identifier: Apache-2.0
/*
 * record.h - the two messages that every msgpack measurement uses.
 *
 *   task   : a map of 8 fields (about 120 bytes)
 *   record : the metadata of one table with 20 columns (about 2 KB)
 *
 * Encoders: msgpack-c packer, msgpuck, and a hand-written appender.
 * Decoders: msgpack-c objects, msgpuck, libmpack (tarruda), and a hand-written
 * bounds-checked cursor.  All decoders that "extract" fill the same C struct
 * with pointers into the message (no string is copied).
 */
#ifndef RECORD_H
#define RECORD_H
#pragma GCC diagnostic ignored "-Wunused-function"
#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct { const char *p; uint32_t n; } str_t;

typedef struct {
    uint64_t id; uint32_t shard, attempt, lease_ms; uint64_t deadline;
    str_t kind, target, schema;
} task_t;

typedef struct { str_t name, type, dflt, comment; uint32_t ord; bool notnull; } col_t;
typedef struct {
    str_t db, schema, table, kind, comment;
    uint64_t oid, rows, bytes;
    uint32_t ncols, npk, nfk;
    col_t col[64];
} rec_t;

static task_t g_task;
static rec_t g_rec;
static char g_names[64][4][64];

#define S(lit) ((str_t) { lit, sizeof lit - 1 })
static str_t mk (const char *s) { return (str_t) { s, (uint32_t) strlen (s) }; }

static void record_init (void)
{
    g_task = (task_t) { .id = 123456789012ull, .shard = 4711, .attempt = 1, .lease_ms = 30000,
                        .deadline = 1763690000123ull, .kind = S ("extract.tables"),
                        .target = S ("pg-analytics-01"), .schema = S ("sales_reporting") };
    rec_t *r = &g_rec;
    *r = (rec_t) { .db = S ("warehouse"), .schema = S ("sales_reporting"), .table = S ("fact_order_line_history"),
                   .kind = S ("table"), .comment = S ("Order lines with their full change history, loaded nightly from the ERP"),
                   .oid = 1234567, .rows = 98765432, .bytes = 12884901888ull, .ncols = 20, .npk = 2, .nfk = 2 };
    static const char *ty[] = { "bigint", "character varying(120)", "timestamp with time zone", "numeric(18,4)", "boolean", "jsonb" };
    for (int i = 0; i < 20; i++) {
        snprintf (g_names[i][0], 64, "order_line_attr_%02d", i);
        snprintf (g_names[i][1], 64, "%s", ty[i % 6]);
        snprintf (g_names[i][2], 64, "%s", i % 4 == 1 ? "now()" : "");
        snprintf (g_names[i][3], 64, "%s", i % 3 == 0 ? "business attribute, see the data dictionary" : "");
        r->col[i] = (col_t) { mk (g_names[i][0]), mk (g_names[i][1]), mk (g_names[i][2]), mk (g_names[i][3]), (uint32_t) i + 1, i % 2 == 0 };
    }
}

/* ------------------------------------------------------ msgpack-c packer */

static inline void pk_s (msgpack_packer *k, const char *p, size_t n) { msgpack_pack_str (k, n); msgpack_pack_str_body (k, p, n); }
#define PKS(k, lit) pk_s (k, lit, sizeof lit - 1)

static void task_pack_c (msgpack_packer *k, const task_t *t)
{
    msgpack_pack_map (k, 8);
    PKS (k, "id"); msgpack_pack_uint64 (k, t->id);
    PKS (k, "kind"); pk_s (k, t->kind.p, t->kind.n);
    PKS (k, "shard"); msgpack_pack_uint32 (k, t->shard);
    PKS (k, "attempt"); msgpack_pack_uint32 (k, t->attempt);
    PKS (k, "lease_ms"); msgpack_pack_uint32 (k, t->lease_ms);
    PKS (k, "deadline"); msgpack_pack_uint64 (k, t->deadline);
    PKS (k, "target"); pk_s (k, t->target.p, t->target.n);
    PKS (k, "schema"); pk_s (k, t->schema.p, t->schema.n);
}
static void rec_pack_c (msgpack_packer *k, const rec_t *r)
{
    msgpack_pack_map (k, 11);
    PKS (k, "db"); pk_s (k, r->db.p, r->db.n);
    PKS (k, "schema"); pk_s (k, r->schema.p, r->schema.n);
    PKS (k, "table"); pk_s (k, r->table.p, r->table.n);
    PKS (k, "kind"); pk_s (k, r->kind.p, r->kind.n);
    PKS (k, "comment"); pk_s (k, r->comment.p, r->comment.n);
    PKS (k, "oid"); msgpack_pack_uint64 (k, r->oid);
    PKS (k, "rows"); msgpack_pack_uint64 (k, r->rows);
    PKS (k, "bytes"); msgpack_pack_uint64 (k, r->bytes);
    PKS (k, "pk"); msgpack_pack_array (k, r->npk);
    for (uint32_t i = 0; i < r->npk; i++) pk_s (k, r->col[i].name.p, r->col[i].name.n);
    PKS (k, "fk"); msgpack_pack_array (k, r->nfk);
    for (uint32_t i = 0; i < r->nfk; i++) {
        msgpack_pack_map (k, 2);
        PKS (k, "col"); pk_s (k, r->col[i].name.p, r->col[i].name.n);
        PKS (k, "ref"); PKS (k, "sales_reporting.dim_customer.customer_id");
    }
    PKS (k, "columns"); msgpack_pack_array (k, r->ncols);
    for (uint32_t i = 0; i < r->ncols; i++) {
        const col_t *c = &r->col[i];
        msgpack_pack_map (k, 6);
        PKS (k, "name"); pk_s (k, c->name.p, c->name.n);
        PKS (k, "type"); pk_s (k, c->type.p, c->type.n);
        PKS (k, "ord"); msgpack_pack_uint32 (k, c->ord);
        PKS (k, "notnull"); if (c->notnull) msgpack_pack_true (k); else msgpack_pack_false (k);
        PKS (k, "default"); if (c->dflt.n) pk_s (k, c->dflt.p, c->dflt.n); else msgpack_pack_nil (k);
        PKS (k, "comment"); if (c->comment.n) pk_s (k, c->comment.p, c->comment.n); else msgpack_pack_nil (k);
    }
}

/* --------------------------------------------------- hand-written writer */

/* Appends without growing: the caller must leave 8 KiB of room (a record's
   size is bounded before it is written). */
static inline unsigned char *hw_str (unsigned char *w, const char *p, uint32_t n)
{
    if (n < 32) *w++ = (unsigned char) (0xa0 | n);
    else if (n < 256) { *w++ = 0xd9; *w++ = (unsigned char) n; }
    else { *w++ = 0xda; *w++ = (unsigned char) (n >> 8); *w++ = (unsigned char) n; }
    memcpy (w, p, n);
    return w + n;
}
static inline unsigned char *hw_u64 (unsigned char *w, uint64_t v)
{
    if (v < 128) { *w++ = (unsigned char) v; return w; }
    if (v < 256) { *w++ = 0xcc; *w++ = (unsigned char) v; return w; }
    if (v < 65536) { *w++ = 0xcd; uint16_t x = __builtin_bswap16 ((uint16_t) v); memcpy (w, &x, 2); return w + 2; }
    if (v >> 32 == 0) { *w++ = 0xce; uint32_t x = __builtin_bswap32 ((uint32_t) v); memcpy (w, &x, 4); return w + 4; }
    *w++ = 0xcf; v = __builtin_bswap64 (v); memcpy (w, &v, 8); return w + 8;
}
static inline unsigned char *hw_arr (unsigned char *w, uint32_t n)
{
    if (n < 16) { *w++ = (unsigned char) (0x90 | n); return w; }
    *w++ = 0xdc; *w++ = (unsigned char) (n >> 8); *w++ = (unsigned char) n; return w;
}
#define HWK(w, lit) hw_str (w, lit, sizeof lit - 1)
static unsigned char *task_pack_h (unsigned char *w, const task_t *t)
{
    *w++ = 0x88;
    w = HWK (w, "id"); w = hw_u64 (w, t->id);
    w = HWK (w, "kind"); w = hw_str (w, t->kind.p, t->kind.n);
    w = HWK (w, "shard"); w = hw_u64 (w, t->shard);
    w = HWK (w, "attempt"); w = hw_u64 (w, t->attempt);
    w = HWK (w, "lease_ms"); w = hw_u64 (w, t->lease_ms);
    w = HWK (w, "deadline"); w = hw_u64 (w, t->deadline);
    w = HWK (w, "target"); w = hw_str (w, t->target.p, t->target.n);
    w = HWK (w, "schema"); w = hw_str (w, t->schema.p, t->schema.n);
    return w;
}
static unsigned char *rec_pack_h (unsigned char *w, const rec_t *r)
{
    *w++ = 0x8b;
    w = HWK (w, "db"); w = hw_str (w, r->db.p, r->db.n);
    w = HWK (w, "schema"); w = hw_str (w, r->schema.p, r->schema.n);
    w = HWK (w, "table"); w = hw_str (w, r->table.p, r->table.n);
    w = HWK (w, "kind"); w = hw_str (w, r->kind.p, r->kind.n);
    w = HWK (w, "comment"); w = hw_str (w, r->comment.p, r->comment.n);
    w = HWK (w, "oid"); w = hw_u64 (w, r->oid);
    w = HWK (w, "rows"); w = hw_u64 (w, r->rows);
    w = HWK (w, "bytes"); w = hw_u64 (w, r->bytes);
    w = HWK (w, "pk"); w = hw_arr (w, r->npk);
    for (uint32_t i = 0; i < r->npk; i++) w = hw_str (w, r->col[i].name.p, r->col[i].name.n);
    w = HWK (w, "fk"); w = hw_arr (w, r->nfk);
    for (uint32_t i = 0; i < r->nfk; i++) {
        *w++ = 0x82;
        w = HWK (w, "col"); w = hw_str (w, r->col[i].name.p, r->col[i].name.n);
        w = HWK (w, "ref"); w = HWK (w, "sales_reporting.dim_customer.customer_id");
    }
    w = HWK (w, "columns"); w = hw_arr (w, r->ncols);
    for (uint32_t i = 0; i < r->ncols; i++) {
        const col_t *c = &r->col[i];
        *w++ = 0x86;
        w = HWK (w, "name"); w = hw_str (w, c->name.p, c->name.n);
        w = HWK (w, "type"); w = hw_str (w, c->type.p, c->type.n);
        w = HWK (w, "ord"); w = hw_u64 (w, c->ord);
        w = HWK (w, "notnull"); *w++ = c->notnull ? 0xc3 : 0xc2;
        w = HWK (w, "default"); if (c->dflt.n) w = hw_str (w, c->dflt.p, c->dflt.n); else *w++ = 0xc0;
        w = HWK (w, "comment"); if (c->comment.n) w = hw_str (w, c->comment.p, c->comment.n); else *w++ = 0xc0;
    }
    return w;
}

/* --------------------------------------------- msgpack-c object extraction */

static inline bool eq (msgpack_object *o, const char *k, uint32_t n)
{ return o->type == MSGPACK_OBJECT_STR && o->via.str.size == n && !memcmp (o->via.str.ptr, k, n); }
#define KEY(o, lit) eq (o, lit, sizeof lit - 1)
static inline str_t o_s (msgpack_object *o)
{ return o->type == MSGPACK_OBJECT_STR ? (str_t) { o->via.str.ptr, o->via.str.size } : (str_t) { "", 0 }; }
static inline uint64_t o_u (msgpack_object *o) { return o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : 0; }

static bool task_get_c (msgpack_object *o, task_t *t)
{
    if (o->type != MSGPACK_OBJECT_MAP) return false;
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        msgpack_object *k = &o->via.map.ptr[i].key, *v = &o->via.map.ptr[i].val;
        if (KEY (k, "id")) t->id = o_u (v);
        else if (KEY (k, "kind")) t->kind = o_s (v);
        else if (KEY (k, "shard")) t->shard = (uint32_t) o_u (v);
        else if (KEY (k, "attempt")) t->attempt = (uint32_t) o_u (v);
        else if (KEY (k, "lease_ms")) t->lease_ms = (uint32_t) o_u (v);
        else if (KEY (k, "deadline")) t->deadline = o_u (v);
        else if (KEY (k, "target")) t->target = o_s (v);
        else if (KEY (k, "schema")) t->schema = o_s (v);
    }
    return true;
}
static bool rec_get_c (msgpack_object *o, rec_t *r)
{
    if (o->type != MSGPACK_OBJECT_MAP) return false;
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        msgpack_object *k = &o->via.map.ptr[i].key, *v = &o->via.map.ptr[i].val;
        if (KEY (k, "db")) r->db = o_s (v);
        else if (KEY (k, "schema")) r->schema = o_s (v);
        else if (KEY (k, "table")) r->table = o_s (v);
        else if (KEY (k, "kind")) r->kind = o_s (v);
        else if (KEY (k, "comment")) r->comment = o_s (v);
        else if (KEY (k, "oid")) r->oid = o_u (v);
        else if (KEY (k, "rows")) r->rows = o_u (v);
        else if (KEY (k, "bytes")) r->bytes = o_u (v);
        else if (KEY (k, "pk")) r->npk = v->via.array.size;
        else if (KEY (k, "fk")) r->nfk = v->via.array.size;
        else if (KEY (k, "columns")) {
            if (v->type != MSGPACK_OBJECT_ARRAY || v->via.array.size > 64) return false;
            r->ncols = v->via.array.size;
            for (uint32_t j = 0; j < r->ncols; j++) {
                msgpack_object *m = &v->via.array.ptr[j];
                col_t *c = &r->col[j];
                if (m->type != MSGPACK_OBJECT_MAP) return false;
                for (uint32_t q = 0; q < m->via.map.size; q++) {
                    msgpack_object *ck = &m->via.map.ptr[q].key, *cv = &m->via.map.ptr[q].val;
                    if (KEY (ck, "name")) c->name = o_s (cv);
                    else if (KEY (ck, "type")) c->type = o_s (cv);
                    else if (KEY (ck, "ord")) c->ord = (uint32_t) o_u (cv);
                    else if (KEY (ck, "notnull")) c->notnull = cv->via.boolean;
                    else if (KEY (ck, "default")) c->dflt = o_s (cv);
                    else if (KEY (ck, "comment")) c->comment = o_s (cv);
                }
            }
        }
    }
    return true;
}

/* ------------------------------------------------- hand-written cursor */

typedef struct { const unsigned char *p, *e; bool bad; } cur_t;
static inline uint64_t cu_be (cur_t *c, int n)
{
    if (c->e - c->p < n) { c->bad = true; return 0; }
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | c->p[i];
    c->p += n;
    return v;
}
static inline int cu_b (cur_t *c) { if (c->p >= c->e) { c->bad = true; return 0xc1; } return *c->p++; }
static inline uint64_t cu_u (cur_t *c)
{
    int b = cu_b (c);
    if (b < 0x80) return (uint64_t) b;
    if (b >= 0xcc && b <= 0xcf) return cu_be (c, 1 << (b - 0xcc));
    c->bad = true;
    return 0;
}
static inline str_t cu_s (cur_t *c)      /* a string, or nil = empty */
{
    int b = cu_b (c);
    uint64_t n;
    if ((b & 0xe0) == 0xa0) n = (uint64_t) (b & 31);
    else if (b >= 0xd9 && b <= 0xdb) n = cu_be (c, 1 << (b - 0xd9));
    else if (b == 0xc0) return (str_t) { "", 0 };
    else { c->bad = true; return (str_t) { "", 0 }; }
    if ((uint64_t) (c->e - c->p) < n) { c->bad = true; return (str_t) { "", 0 }; }
    str_t s = { (const char *) c->p, (uint32_t) n };
    c->p += n;
    return s;
}
static inline uint32_t cu_map (cur_t *c)
{
    int b = cu_b (c);
    if ((b & 0xf0) == 0x80) return (uint32_t) (b & 15);
    if (b == 0xde) return (uint32_t) cu_be (c, 2);
    if (b == 0xdf) return (uint32_t) cu_be (c, 4);
    c->bad = true;
    return 0;
}
static inline uint32_t cu_arr (cur_t *c)
{
    int b = cu_b (c);
    if ((b & 0xf0) == 0x90) return (uint32_t) (b & 15);
    if (b == 0xdc) return (uint32_t) cu_be (c, 2);
    if (b == 0xdd) return (uint32_t) cu_be (c, 4);
    c->bad = true;
    return 0;
}
static inline bool cu_bool (cur_t *c) { int b = cu_b (c); if ((b & 0xfe) != 0xc2) c->bad = true; return b & 1; }
/* Skips any value, iteratively (no recursion: a hostile nesting costs no stack). */
static void cu_skip (cur_t *c)
{
    uint64_t left = 1;
    while (left && !c->bad) {
        int b = cu_b (c);
        uint64_t n = 0;
        left--;
        if (b < 0x80 || b >= 0xe0 || (b >= 0xc0 && b <= 0xc3)) { if (b == 0xc1) c->bad = true; continue; }
        if (b < 0x90) { left += 2 * (uint64_t) (b & 15); continue; }
        if (b < 0xa0) { left += (uint64_t) (b & 15); continue; }
        if (b < 0xc0) n = (uint64_t) (b & 31);
        else switch (b) {
            case 0xc4: case 0xd9: n = cu_be (c, 1); break;
            case 0xc5: case 0xda: n = cu_be (c, 2); break;
            case 0xc6: case 0xdb: n = cu_be (c, 4); break;
            case 0xc7: n = cu_be (c, 1) + 1; break;
            case 0xc8: n = cu_be (c, 2) + 1; break;
            case 0xc9: n = cu_be (c, 4) + 1; break;
            case 0xcc: case 0xd0: n = 1; break;
            case 0xcd: case 0xd1: n = 2; break;
            case 0xca: case 0xce: case 0xd2: n = 4; break;
            case 0xcb: case 0xcf: case 0xd3: n = 8; break;
            case 0xd4: n = 2; break; case 0xd5: n = 3; break; case 0xd6: n = 5; break;
            case 0xd7: n = 9; break; case 0xd8: n = 17; break;
            case 0xdc: left += cu_be (c, 2); continue;
            case 0xdd: left += cu_be (c, 4); continue;
            case 0xde: left += 2 * cu_be (c, 2); continue;
            case 0xdf: left += 2 * cu_be (c, 4); continue;
        }
        if ((uint64_t) (c->e - c->p) < n) { c->bad = true; return; }
        c->p += n;
    }
}
#define SK(s, lit) ((s).n == sizeof lit - 1 && !memcmp ((s).p, lit, sizeof lit - 1))
static bool task_get_h (cur_t *c, task_t *t)
{
    uint32_t n = cu_map (c);
    while (n-- && !c->bad) {
        str_t k = cu_s (c);
        if (SK (k, "id")) t->id = cu_u (c);
        else if (SK (k, "kind")) t->kind = cu_s (c);
        else if (SK (k, "shard")) t->shard = (uint32_t) cu_u (c);
        else if (SK (k, "attempt")) t->attempt = (uint32_t) cu_u (c);
        else if (SK (k, "lease_ms")) t->lease_ms = (uint32_t) cu_u (c);
        else if (SK (k, "deadline")) t->deadline = cu_u (c);
        else if (SK (k, "target")) t->target = cu_s (c);
        else if (SK (k, "schema")) t->schema = cu_s (c);
        else cu_skip (c);
    }
    return !c->bad;
}
static bool rec_get_h (cur_t *c, rec_t *r)
{
    uint32_t n = cu_map (c);
    while (n-- && !c->bad) {
        str_t k = cu_s (c);
        if (SK (k, "db")) r->db = cu_s (c);
        else if (SK (k, "schema")) r->schema = cu_s (c);
        else if (SK (k, "table")) r->table = cu_s (c);
        else if (SK (k, "kind")) r->kind = cu_s (c);
        else if (SK (k, "comment")) r->comment = cu_s (c);
        else if (SK (k, "oid")) r->oid = cu_u (c);
        else if (SK (k, "rows")) r->rows = cu_u (c);
        else if (SK (k, "bytes")) r->bytes = cu_u (c);
        else if (SK (k, "pk")) { r->npk = cu_arr (c); for (uint32_t i = 0; i < r->npk && !c->bad; i++) cu_s (c); }
        else if (SK (k, "fk")) { r->nfk = cu_arr (c); for (uint32_t i = 0; i < r->nfk && !c->bad; i++) cu_skip (c); }
        else if (SK (k, "columns")) {
            r->ncols = cu_arr (c);
            if (r->ncols > 64) return false;
            for (uint32_t j = 0; j < r->ncols && !c->bad; j++) {
                col_t *o = &r->col[j];
                uint32_t m = cu_map (c);
                while (m-- && !c->bad) {
                    str_t ck = cu_s (c);
                    if (SK (ck, "name")) o->name = cu_s (c);
                    else if (SK (ck, "type")) o->type = cu_s (c);
                    else if (SK (ck, "ord")) o->ord = (uint32_t) cu_u (c);
                    else if (SK (ck, "notnull")) o->notnull = cu_bool (c);
                    else if (SK (ck, "default")) o->dflt = cu_s (c);
                    else if (SK (ck, "comment")) o->comment = cu_s (c);
                    else cu_skip (c);
                }
            }
        } else cu_skip (c);
    }
    return !c->bad;
}
#endif
