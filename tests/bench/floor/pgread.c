// SPDX-License-Identifier: Apache-2.0
/*
 * pgread - how fast a whole PostgreSQL catalogue can be read with libpq.
 *
 *   pgread set N            set-based: 4 queries (tables, columns, constraints,
 *                           indexes) for the whole database (N=1), or N
 *                           connections taking one schema after another
 *   pgread setb N           the same, binary results
 *   pgread one              one query: JSON of everything, built by the server
 *   pgread cur              the 4 queries, single-row mode (bounded client memory)
 *   pgread tab N [LIMIT]    per table: 5 pg_catalog queries a table (by oid), prepared,
 *                           N connections
 *   pgread tabu N [LIMIT]   the same, not prepared
 *   pgread tabp N [LIMIT]   the same, prepared and pipelined (libpq pipeline mode, 5 a round trip)
 *   pgread info N [LIMIT]   per table: 5 information_schema queries a table
 *   pgread batch N K        set-based for K tables at a time (oid = any($1)), N connections
 *   pgread range N S        set-based over S ranges of the tables' oids, N connections
 *   pgread rangep N S       the same, prepared once a connection
 * Every value of every row is touched.  CSV: mode,conns,tables,rows,bytes,secs,tables_per_s,client_cpu_s
 */
#include "labutil.h"
#include <libpq-fe.h>

static const char *dsn = "host=127.0.0.1 port=5432 user=lab password=lab dbname=lab";
static const char *mode;
static int binary;
struct ctr { volatile long next; volatile long tables, rows, bytes; };
static struct ctr *sh;
static char (*schemas)[64]; static int nschemas;
static unsigned *oids; static char (*names)[128]; static char (*tnames)[64]; static int noids;

static PGconn *conn (void)
{
    PGconn *c = PQconnectdb (dsn);
    if (PQstatus (c) != CONNECTION_OK) { fprintf (stderr, "%s", PQerrorMessage (c)); exit (1); }
    PQclear (PQexec (c, "set application_name='pgread'; set jit=off"));
    return c;
}
static void eat (PGresult *r)
{
    ExecStatusType s = PQresultStatus (r);
    if (s != PGRES_TUPLES_OK && s != PGRES_SINGLE_TUPLE) { fprintf (stderr, "%s", PQresultErrorMessage (r)); exit (1); }
    int nr = PQntuples (r), nf = PQnfields (r);
    long b = 0;
    for (int i = 0; i < nr; i++) for (int j = 0; j < nf; j++) { b += PQgetlength (r, i, j); if (PQgetvalue (r, i, j)[0] == 1) b++; }
    __sync_fetch_and_add (&sh->rows, nr);
    __sync_fetch_and_add (&sh->bytes, b);
    PQclear (r);
}
/* %s is a filter on the table's pg_class c / its schema n */
static const char *Q[4] = {
    "select c.oid, n.nspname, c.relname, c.relkind, c.reltuples::bigint, c.relpersistence, pg_get_userbyid(c.relowner), d.description"
    " from pg_class c join pg_namespace n on n.oid=c.relnamespace"
    " left join pg_description d on d.objoid=c.oid and d.classoid='pg_class'::regclass and d.objsubid=0"
    " where c.relkind in ('r','p','v','m','f') and %s order by n.nspname, c.relname",
    "select a.attrelid, a.attnum, a.attname, format_type(a.atttypid,a.atttypmod), a.attnotnull, pg_get_expr(ad.adbin,ad.adrelid), d.description"
    " from pg_class c join pg_namespace n on n.oid=c.relnamespace"
    " join pg_attribute a on a.attrelid=c.oid and a.attnum>0 and not a.attisdropped"
    " left join pg_attrdef ad on ad.adrelid=a.attrelid and ad.adnum=a.attnum"
    " left join pg_description d on d.objoid=c.oid and d.classoid='pg_class'::regclass and d.objsubid=a.attnum"
    " where c.relkind in ('r','p','v','m','f') and %s order by a.attrelid, a.attnum",
    "select k.conrelid, k.conname, k.contype, k.conkey, k.confrelid, k.confkey, k.confupdtype, k.confdeltype"
    " from pg_constraint k join pg_class c on c.oid=k.conrelid join pg_namespace n on n.oid=c.relnamespace"
    " where k.conrelid<>0 and %s order by k.conrelid",
    "select i.indrelid, i.indexrelid, ic.relname, i.indisunique, i.indisprimary, i.indkey::text"
    " from pg_index i join pg_class c on c.oid=i.indrelid join pg_class ic on ic.oid=i.indexrelid join pg_namespace n on n.oid=c.relnamespace"
    " where %s order by i.indrelid",
};
static const char *T[5] = {
    "select c.relname, c.relkind, c.reltuples::bigint, pg_get_userbyid(c.relowner), n.nspname from pg_class c join pg_namespace n on n.oid=c.relnamespace where c.oid=$1",
    "select a.attnum, a.attname, format_type(a.atttypid,a.atttypmod), a.attnotnull, pg_get_expr(ad.adbin,ad.adrelid)"
    " from pg_attribute a left join pg_attrdef ad on ad.adrelid=a.attrelid and ad.adnum=a.attnum where a.attrelid=$1 and a.attnum>0 and not a.attisdropped order by a.attnum",
    "select conname, contype, conkey, confrelid, confkey from pg_constraint where conrelid=$1",
    "select i.indexrelid, ic.relname, i.indisunique, i.indisprimary, i.indkey::text from pg_index i join pg_class ic on ic.oid=i.indexrelid where i.indrelid=$1",
    "select objsubid, description from pg_description where objoid=$1 and classoid='pg_class'::regclass",
};
static const char *I[5] = {
    "select * from information_schema.tables where table_schema=$1 and table_name=$2",
    "select column_name, ordinal_position, data_type, is_nullable, column_default, character_maximum_length, numeric_precision, numeric_scale from information_schema.columns where table_schema=$1 and table_name=$2 order by ordinal_position",
    "select constraint_name, constraint_type from information_schema.table_constraints where table_schema=$1 and table_name=$2",
    "select constraint_name, column_name, ordinal_position from information_schema.key_column_usage where table_schema=$1 and table_name=$2",
    "select r.constraint_name, r.unique_constraint_schema, r.unique_constraint_name, r.update_rule, r.delete_rule from information_schema.referential_constraints r join information_schema.table_constraints t on t.constraint_schema=r.constraint_schema and t.constraint_name=r.constraint_name where t.table_schema=$1 and t.table_name=$2",
};
static void set_where (PGconn *c, const char *where, int np, const char **pv)
{
    char q[4096];
    for (int i = 0; i < 4; i++) {
        snprintf (q, sizeof q, Q[i], where);
        PGresult *r = PQexecParams (c, q, np, NULL, pv, NULL, NULL, binary);
        if (i == 0) __sync_fetch_and_add (&sh->tables, PQntuples (r));
        eat (r);
    }
}
#define USER_SCHEMAS "n.nspname not in ('pg_catalog','information_schema') and n.nspname not like 'pg_toast%'"
static void worker_set (void)
{
    PGconn *c = conn ();
    for (;;) {
        long k = __sync_fetch_and_add (&sh->next, 1);
        if (k >= nschemas) break;
        const char *pv[1] = { schemas[k] };
        set_where (c, "n.nspname=$1", 1, pv);
    }
    PQfinish (c);
}
static unsigned *soids;
static int cmp_u (const void *a, const void *b) { unsigned x = *(const unsigned *) a, y = *(const unsigned *) b; return x < y ? -1 : x > y; }
static int batchk = 100;
static void worker_batch (void)
{
    PGconn *c = conn ();
    char *arr = malloc ((size_t) batchk * 12 + 16);
    for (;;) {
        long k = __sync_fetch_and_add (&sh->next, batchk);
        if (k >= noids) break;
        size_t n = 0;
        arr[n++] = '{';
        for (long i = k; i < k + batchk && i < noids; i++) n += (size_t) sprintf (arr + n, "%s%u", i == k ? "" : ",", oids[i]);
        arr[n++] = '}'; arr[n] = 0;
        const char *pv[1] = { arr };
        set_where (c, "c.oid=any($1::oid[])", 1, pv);
    }
    PQfinish (c);
}
/* Shards by ranges of the table's oid, with the range said of every catalogue that
   is joined (PostgreSQL does not carry a range over an equality by itself). */
static int nshards = 20;
static void worker_range (bool prep)
{
    PGconn *c = conn ();
    static const char *R[4] = {
        "c.oid>=$1::oid and c.oid<$2::oid",
        "c.oid>=$1::oid and c.oid<$2::oid and a.attrelid>=$1::oid and a.attrelid<$2::oid",
        "c.oid>=$1::oid and c.oid<$2::oid and k.conrelid>=$1::oid and k.conrelid<$2::oid",
        "c.oid>=$1::oid and c.oid<$2::oid and i.indrelid>=$1::oid and i.indrelid<$2::oid" };
    char q[4][4096], nm[8];
    for (int i = 0; i < 4; i++) {
        snprintf (q[i], sizeof q[i], Q[i], R[i]);
        sprintf (nm, "r%d", i);
        if (prep) PQclear (PQprepare (c, nm, q[i], 2, NULL));
    }
    for (;;) {
        long k = __sync_fetch_and_add (&sh->next, 1);
        if (k >= nshards) break;
        char a[16], b[16];
        sprintf (a, "%u", soids[(long) noids * k / nshards]);
        if (k + 1 == nshards) sprintf (b, "%u", soids[noids - 1] + 1); else sprintf (b, "%u", soids[(long) noids * (k + 1) / nshards]);
        const char *pv[2] = { a, b };
        for (int i = 0; i < 4; i++) {
            sprintf (nm, "r%d", i);
            PGresult *r = prep ? PQexecPrepared (c, nm, 2, pv, NULL, NULL, 0) : PQexecParams (c, q[i], 2, NULL, pv, NULL, NULL, 0);
            if (i == 0) __sync_fetch_and_add (&sh->tables, PQntuples (r));
            eat (r);
        }
    }
    PQfinish (c);
}
static void worker_tab (bool prep, bool info, bool pipe_, long lim)
{
    PGconn *c = conn ();
    const char **q = info ? I : T;
    char nm[8];
    if (prep) for (int i = 0; i < 5; i++) { sprintf (nm, "q%d", i); PQclear (PQprepare (c, nm, q[i], info ? 2 : 1, NULL)); }
    for (;;) {
        long k = __sync_fetch_and_add (&sh->next, 1);
        if (k >= lim) break;
        /* spread the sample over the whole list */
        long t = lim < noids ? k * (noids / lim) : k;
        char ob[16];
        sprintf (ob, "%u", oids[t]);
        const char *pv[2] = { info ? names[t] : ob, info ? tnames[t] : NULL };
        if (pipe_) {
            PQenterPipelineMode (c);
            for (int i = 0; i < 5; i++) { sprintf (nm, "q%d", i); PQsendQueryPrepared (c, nm, 1, pv, NULL, NULL, 0); }
            PQpipelineSync (c);
            for (int i = 0; i < 5; i++) { PGresult *r = PQgetResult (c); eat (r); while ((r = PQgetResult (c))) PQclear (r); }
            PGresult *r = PQgetResult (c);
            PQclear (r);
            PQexitPipelineMode (c);
        } else for (int i = 0; i < 5; i++) {
            sprintf (nm, "q%d", i);
            eat (prep ? PQexecPrepared (c, nm, info ? 2 : 1, pv, NULL, NULL, 0) : PQexecParams (c, q[i], info ? 2 : 1, NULL, pv, NULL, NULL, 0));
        }
        __sync_fetch_and_add (&sh->tables, 1);
    }
    PQfinish (c);
}
int main (int argc, char **argv)
{
    mode = argc > 1 ? argv[1] : "set";
    int n = argc > 2 ? atoi (argv[2]) : 1;
    long lim = argc > 3 ? atol (argv[3]) : 0;
    if (getenv ("DSN")) dsn = getenv ("DSN");
    sh = mmap (NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    {
        PGconn *c = conn ();
        PGresult *r = PQexec (c, "select nspname from pg_namespace where nspname ~ '^s[0-9]+$' order by 1");
        nschemas = PQntuples (r);
        schemas = calloc ((size_t) nschemas + 1, 64);
        for (int i = 0; i < nschemas; i++) snprintf (schemas[i], 64, "%.60s", PQgetvalue (r, i, 0));
        PQclear (r);
        r = PQexec (c, "select c.oid, n.nspname, c.relname from pg_class c join pg_namespace n on n.oid=c.relnamespace where c.relkind='r' and n.nspname ~ '^s[0-9]+$' order by 2, 3");
        noids = PQntuples (r);
        oids = calloc ((size_t) noids + 1, sizeof *oids);
        names = calloc ((size_t) noids + 1, 128); tnames = calloc ((size_t) noids + 1, 64);
        for (int i = 0; i < noids; i++) {
            oids[i] = (unsigned) strtoul (PQgetvalue (r, i, 0), NULL, 10);
            snprintf (names[i], 128, "%.60s", PQgetvalue (r, i, 1)); snprintf (tnames[i], 64, "%.60s", PQgetvalue (r, i, 2));
        }
        PQclear (r);
        PQfinish (c);
    }
    soids = malloc (sizeof *soids * (size_t) noids);
    memcpy (soids, oids, sizeof *soids * (size_t) noids);
    qsort (soids, (size_t) noids, sizeof *soids, cmp_u);
    if (!strncmp (mode, "range", 5) && argc > 3) nshards = atoi (argv[3]);
    if (!lim || lim > noids) lim = noids;
    if (!strcmp (mode, "batch") && argc > 3) batchk = atoi (argv[3]);
    binary = !strcmp (mode, "setb");
    double t0 = now_s ();
    if (!strcmp (mode, "one") || !strcmp (mode, "cur") || ((!strncmp (mode, "set", 3)) && n == 1)) {
        PGconn *c = conn ();
        if (!strcmp (mode, "cur")) {
            char q[4096];
            for (int i = 0; i < 4; i++) {
                snprintf (q, sizeof q, Q[i], USER_SCHEMAS);
                PQsendQueryParams (c, q, 0, NULL, NULL, NULL, NULL, 0);
                PQsetSingleRowMode (c);
                PGresult *r;
                long k = 0;
                while ((r = PQgetResult (c))) { k += PQntuples (r); eat (r); }
                if (i == 0) sh->tables += k;
            }
        } else if (!strcmp (mode, "one")) {
            PGresult *r = PQexec (c,
                "select n.nspname, c.relname, c.reltuples::bigint, (select json_agg(json_build_array(a.attnum,a.attname,format_type(a.atttypid,a.atttypmod),a.attnotnull,pg_get_expr(ad.adbin,ad.adrelid),col_description(c.oid,a.attnum)) order by a.attnum)"
                " from pg_attribute a left join pg_attrdef ad on ad.adrelid=a.attrelid and ad.adnum=a.attnum where a.attrelid=c.oid and a.attnum>0 and not a.attisdropped),"
                " (select json_agg(json_build_array(k.conname,k.contype,k.conkey,k.confrelid,k.confkey)) from pg_constraint k where k.conrelid=c.oid), obj_description(c.oid,'pg_class')"
                " from pg_class c join pg_namespace n on n.oid=c.relnamespace where c.relkind in ('r','p','v','m','f') and " USER_SCHEMAS);
            sh->tables = PQntuples (r);
            eat (r);
        } else set_where (c, USER_SCHEMAS, 0, NULL);
        PQfinish (c);
    } else {
        pid_t p[64];
        for (int i = 0; i < n; i++) if ((p[i] = fork ()) == 0) {
            if (!strncmp (mode, "set", 3)) worker_set ();
            else if (!strcmp (mode, "batch")) worker_batch ();
            else if (!strcmp (mode, "range")) worker_range (false);
            else if (!strcmp (mode, "rangep")) worker_range (true);
            else if (!strcmp (mode, "tab")) worker_tab (true, false, false, lim);
            else if (!strcmp (mode, "tabu")) worker_tab (false, false, false, lim);
            else if (!strcmp (mode, "tabp")) worker_tab (true, false, true, lim);
            else if (!strcmp (mode, "info")) worker_tab (true, true, false, lim);
            _exit (0);
        }
        for (int i = 0; i < n; i++) waitpid (p[i], NULL, 0);
    }
    double dt = now_s () - t0;
    struct rusage ru, rs;
    getrusage (RUSAGE_CHILDREN, &ru);
    getrusage (RUSAGE_SELF, &rs);
    printf ("%s,%d,%s,%ld,%ld,%ld,%.3f,%.0f,%.3f\n", mode, n, argc > 3 ? argv[3] : "-", sh->tables, sh->rows, sh->bytes, dt, (double) sh->tables / dt,
            tv_s (ru.ru_utime) + tv_s (ru.ru_stime) + tv_s (rs.ru_utime) + tv_s (rs.ru_stime));
    return 0;
}
