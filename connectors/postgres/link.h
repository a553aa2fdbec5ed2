// SPDX-License-Identifier: Apache-2.0
//
// link.h - one connection to a PostgreSQL database, driven without ever blocking in libpq.
//
// The connection is in pipeline mode for all its life: send() queues queries, sync() ends a group
// of them and starts sending, then their results are read in the order of the queries:
//
//     send(a) send(b) sync()   begin(a) row() row() ... NULL   begin(b) row() ... NULL   end()
//
// so the server works on b while the rows of a are read. Rows come one at a time (single-row mode),
// values in binary. A query that fails also fails the rest of its group; after a failure drain()
// brings the link back, or destroy() ends it, cancelling at the server what still runs.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_LINK_H
#define SHOAL_CONNECTORS_POSTGRES_LINK_H

#include <libpq-fe.h>

#include "connectors/postgres/settings.h"

#define SHOAL_PG_PARAMETERS_MAX 4

typedef struct shoal_pg_link shoal_pg_link_t;

// Connects, waiting through the host. When the server refuses more connections, tries again for as
// long as the settings say, with growing pauses.
//   DENIED NOT_FOUND UNSUPPORTED UNAVAILABLE TIMEOUT  as failure.c says, with the key to blame
//   LIMIT (transient)  the server takes no more connections
//   CANCELLED          the call was cancelled
SHOAL_MUST_CHECK bool shoal_pg_link_new(const shoal_pg_settings_t *settings,
                                        const shoal_host_t *host, const char *database,
                                        shoal_pg_link_t **ret_link, shoal_status_t *status);
void shoal_pg_link_destroy(shoal_pg_link_t **link); // may block for a moment to cancel

int shoal_pg_link_version(const shoal_pg_link_t *link); // 150004 is 15.4
const char *shoal_pg_link_database(const shoal_pg_link_t *link);
bool shoal_pg_link_is_broken(const shoal_pg_link_t *link); // nothing more can be done with it

// Queues a query whose parameters are texts. `what` is for messages and stays borrowed until its
// result is read: "list the schemas".
SHOAL_MUST_CHECK bool shoal_pg_link_send(shoal_pg_link_t *link, const char *what, const char *sql,
                                         int parameter_count, const char *const *parameters,
                                         shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_pg_link_sync(shoal_pg_link_t *link, shoal_status_t *status);

// Turns to the next query's result. Its row() gives one row after the other, then NULL. A row is
// valid until the next call.
SHOAL_MUST_CHECK bool shoal_pg_link_begin(shoal_pg_link_t *link, shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_pg_link_row(shoal_pg_link_t *link, const PGresult **ret_row,
                                        shoal_status_t *status);

// begin() and all rows, which are thrown away: for statements without a result.
SHOAL_MUST_CHECK bool shoal_pg_link_skip(shoal_pg_link_t *link, shoal_status_t *status);

// Reads the end of a group.
SHOAL_MUST_CHECK bool shoal_pg_link_end(shoal_pg_link_t *link, shoal_status_t *status);

// After a failure: reads and throws away whatever was sent, so that send() may be called again;
// `is_cancelling` asks the server to stop first. The transaction is in whatever state it is.
SHOAL_MUST_CHECK bool shoal_pg_link_drain(shoal_pg_link_t *link, bool is_cancelling,
                                          shoal_status_t *status);

// Whether the last failure of a query was an error of that SQLSTATE ("XX000", or its start "42").
bool shoal_pg_link_failed_with(const shoal_pg_link_t *link, const char *state);

// ---- values of a row, by field number; a NULL gives 0, false or the empty slice

static inline shoal_slice_t
shoal_pg_text(const PGresult *row, int field)
{
    return (shoal_slice_t){PQgetvalue(row, 0, field), (size_t)PQgetlength(row, 0, field)};
}

static inline uint32_t
shoal_pg_uint32(const PGresult *row, int field)
{
    if (PQgetlength(row, 0, field) != 4) {
        return 0;
    }
    const unsigned char *at = (const unsigned char *)PQgetvalue(row, 0, field);
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline int32_t
shoal_pg_int32(const PGresult *row, int field)
{
    return (int32_t)shoal_pg_uint32(row, field);
}

static inline uint64_t
shoal_pg_uint64(const PGresult *row, int field)
{
    if (PQgetlength(row, 0, field) != 8) {
        return 0;
    }
    const unsigned char *at = (const unsigned char *)PQgetvalue(row, 0, field);
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

static inline int
shoal_pg_int16(const PGresult *row, int field)
{
    if (PQgetlength(row, 0, field) != 2) {
        return 0;
    }
    const unsigned char *at = (const unsigned char *)PQgetvalue(row, 0, field);
    return (int16_t)(uint16_t)(at[0] << 8 | at[1]);
}

static inline char // of a bool, too: not 0 is true
shoal_pg_char(const PGresult *row, int field)
{
    return PQgetlength(row, 0, field) == 1 ? PQgetvalue(row, 0, field)[0] : 0;
}

// The next element of a one-dimensional array in binary form: false at its end or when it is
// malformed. `at` starts as 0 and is moved on. A NULL element gives a slice without a pointer.
bool shoal_pg_array_next(const PGresult *row, int field, size_t *at, shoal_slice_t *ret_element);
uint32_t shoal_pg_array_len(const PGresult *row, int field);

#endif
