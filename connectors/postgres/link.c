// SPDX-License-Identifier: Apache-2.0
//
// link.c - see link.h.

#include "connectors/postgres/link.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/postgres/cancel.h"
#include "connectors/postgres/failure.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

#define ANSWER_GRACE_MS      10000 // beyond the statement timeout before a silent server is given up
#define ANSWER_MAX_MS        3600000 // the same without a statement timeout
#define REFUSED_PAUSE_MS     50 // first pause after "too many connections"; doubles up to the next
#define REFUSED_PAUSE_MS_MAX 400
#define QUERIES_MAX          4096   // sent and not read yet
#define VERSION_MIN          120000 // PostgreSQL 12

struct shoal_pg_link {
    const shoal_pg_settings_t *settings;
    const shoal_host_t *host;
    PGconn *connection;
    char *database;
    PGresult *row;                 // given out by row(), freed by the next call
    const char *what[QUERIES_MAX]; // of the queries sent and not read, a ring
    unsigned sent;                 // queries sent, ever
    unsigned begun;                // queries whose result was turned to, ever
    unsigned syncs;                // groups sent and not ended
    bool is_reading;               // a result is not read to its end
    bool is_broken;
    char state[6]; // SQLSTATE of the last failure
};

static uint64_t
answer_timeout_ms(const shoal_pg_link_t *link)
{
    uint64_t statement = link->settings->statement_timeout_ms;
    return statement > 0 ? statement + ANSWER_GRACE_MS : ANSWER_MAX_MS;
}

// ---- connecting

// The pause before another try; fails with CANCELLED only.
static bool
pause_ms(const shoal_host_t *host, uint64_t ms, shoal_status_t *status)
{
    shoal_status_t waited = SHOAL_STATUS_INIT;
    if (!host->wait(host->ctx, /*fd=*/-1, 0, ms, &waited) && waited.code != SHOAL_TIMEOUT) {
        *status = waited;
        return false;
    }
    return true;
}

static bool
connect_once(shoal_pg_link_t *link, shoal_status_t *status)
{
    const shoal_pg_settings_t *settings = link->settings;
    const char *values[SHOAL_PG_KEYWORDS_MAX + 1];
    memcpy(values, settings->values, sizeof(values));
    values[settings->database_at] = link->database;
    PGconn *connection = PQconnectStartParams(settings->keywords, values, /*expand_dbname=*/0);
    if (!connection) {
        return shoal_fail(status, SHOAL_LIMIT, "no memory for a connection");
    }
    link->connection = connection;
    (void)PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
    uint64_t until = shoal_clock_ms() + settings->connect_timeout_ms;
    PostgresPollingStatusType poll_for = PGRES_POLLING_WRITING;
    while (PQstatus(connection) != CONNECTION_BAD) {
        uint64_t now = shoal_clock_ms();
        shoal_status_t waited = SHOAL_STATUS_INIT;
        short events = poll_for == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!link->host->wait(link->host->ctx, PQsocket(connection), events,
                              now < until ? until - now : 0, &waited)) {
            *status = waited;
            if (waited.code != SHOAL_TIMEOUT) {
                return false;
            }
            (void)shoal_fail(
                status, SHOAL_TIMEOUT, "cannot connect to \"%s\": no answer within %llu seconds",
                settings->host_port, (unsigned long long)settings->connect_timeout_ms / 1000);
            (void)snprintf(status->key, sizeof(status->key), "%s",
                           shoal_options_key(settings->options, "hostPort"));
            return false;
        }
        poll_for = PQconnectPoll(connection);
        if (poll_for == PGRES_POLLING_OK) {
            return true;
        }
        if (poll_for == PGRES_POLLING_FAILED) {
            break;
        }
    }
    return shoal_pg_fail_connect(settings, link->database, PQerrorMessage(connection), status);
}

static bool
connect_patiently(shoal_pg_link_t *link, shoal_status_t *status)
{
    uint64_t until = shoal_clock_ms() + link->settings->patience_ms;
    for (uint64_t pause = REFUSED_PAUSE_MS;;
         pause = pause * 2 < REFUSED_PAUSE_MS_MAX ? pause * 2 : REFUSED_PAUSE_MS_MAX) {
        if (connect_once(link, status)) {
            return true;
        }
        PQfinish(link->connection);
        link->connection = NULL;
        if (!shoal_pg_is_refused(status)) {
            return false;
        }
        link->host->warn(link->host->ctx,
                         "the server refused connections: too many; fewer slots read from it");
        if (shoal_clock_ms() + pause > until) {
            return false;
        }
        if (!pause_ms(link->host, pause, status)) {
            return false;
        }
    }
}

// A database that does not know its own encoding has its bytes given as they are: the server
// refuses to send what is not UTF-8, and one wrong comment would cost all of its tables.
static bool
accept_any_bytes(shoal_pg_link_t *link, shoal_status_t *status)
{
    const char *encoding = PQparameterStatus(link->connection, "server_encoding");
    if (!encoding || strcmp(encoding, "SQL_ASCII") != 0) {
        return true;
    }
    link->host->warn(link->host->ctx,
                     "database \"%s\" has the encoding SQL_ASCII: text in it that is not UTF-8 has "
                     "its wrong bytes replaced",
                     link->database);
    return shoal_pg_link_send(link, "set the encoding", "set client_encoding to sql_ascii", 0, NULL,
                              status) &&
           shoal_pg_link_sync(link, status) && shoal_pg_link_skip(link, status) &&
           shoal_pg_link_end(link, status);
}

bool
shoal_pg_link_new(const shoal_pg_settings_t *settings, const shoal_host_t *host,
                  const char *database, shoal_pg_link_t **ret_link, shoal_status_t *status)
{
    shoal_pg_link_t *link = shoal_alloc(sizeof(*link));
    link->settings = settings;
    link->host = host;
    link->database = shoal_strdup(database);
    if (!connect_patiently(link, status)) {
        shoal_pg_link_destroy(&link);
        return false;
    }
    int version = PQserverVersion(link->connection);
    if (version < VERSION_MIN) {
        (void)shoal_fail(status, SHOAL_UNSUPPORTED,
                         "the server at \"%s\" is PostgreSQL %d, older than %d",
                         settings->host_port, version / 10000, VERSION_MIN / 10000);
        (void)snprintf(status->key, sizeof(status->key), "%s",
                       shoal_options_key(settings->options, "hostPort"));
        shoal_pg_link_destroy(&link);
        return false;
    }
    (void)PQsetErrorVerbosity(link->connection, PQERRORS_DEFAULT);
    if (PQsetnonblocking(link->connection, 1) != 0 || PQenterPipelineMode(link->connection) != 1) {
        (void)shoal_fail(status, SHOAL_INTERNAL, "cannot use a connection: %s",
                         PQerrorMessage(link->connection));
        shoal_pg_link_destroy(&link);
        return false;
    }
    if (!accept_any_bytes(link, status)) {
        shoal_pg_link_destroy(&link);
        return false;
    }
    *ret_link = link;
    return true;
}

void
shoal_pg_link_destroy(shoal_pg_link_t **link)
{
    if (!link || !*link) {
        return;
    }
    shoal_pg_link_t *self = *link;
    PQclear(self->row);
    if (self->connection) {
        if (!self->is_broken && self->syncs > 0) {
            shoal_pg_cancel(self->connection, SHOAL_PG_CANCEL_MS); // it shall not work for nobody
        }
        PQfinish(self->connection);
    }
    free(self->database);
    free(self);
    *link = NULL;
}

int
shoal_pg_link_version(const shoal_pg_link_t *link)
{
    return PQserverVersion(link->connection);
}

const char *
shoal_pg_link_database(const shoal_pg_link_t *link)
{
    return link->database;
}

bool
shoal_pg_link_is_broken(const shoal_pg_link_t *link)
{
    return link->is_broken;
}

bool
shoal_pg_link_failed_with(const shoal_pg_link_t *link, const char *state)
{
    return strncmp(link->state, state, strlen(state)) == 0;
}

// ---- talking

static bool
fail_query(shoal_pg_link_t *link, const PGresult *result, const char *what, shoal_status_t *status)
{
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    (void)snprintf(link->state, sizeof(link->state), "%s", state ? state : "");
    if (PQstatus(link->connection) == CONNECTION_BAD) {
        link->is_broken = true;
    }
    return shoal_pg_fail_query(link->settings, link->connection, result, what, status);
}

static const char *
current_what(const shoal_pg_link_t *link)
{
    return link->begun > 0 ? link->what[(link->begun - 1) % QUERIES_MAX] : "talk to the server";
}

// Waits until a result is there.
static bool
wait_for_result(shoal_pg_link_t *link, shoal_status_t *status)
{
    while (PQisBusy(link->connection)) {
        int unsent = PQflush(link->connection);
        if (unsent < 0) {
            return fail_query(link, NULL, current_what(link), status);
        }
        short events = (short)(POLLIN | (unsent > 0 ? POLLOUT : 0));
        if (!link->host->wait(link->host->ctx, PQsocket(link->connection), events,
                              answer_timeout_ms(link), status)) {
            return shoal_fail_while(status, "cannot %s in database \"%s\" of \"%s\"",
                                    current_what(link), link->database, link->settings->host_port);
        }
        if (PQconsumeInput(link->connection) != 1) {
            // What came before the end may say why: an error is still to be read.
            if (!PQisBusy(link->connection)) {
                return true;
            }
            return fail_query(link, NULL, current_what(link), status);
        }
    }
    return true;
}

bool
shoal_pg_link_send(shoal_pg_link_t *link, const char *what, const char *sql, int parameter_count,
                   const char *const *parameters, shoal_status_t *status)
{
    assert(parameter_count <= SHOAL_PG_PARAMETERS_MAX);
    if (link->sent - link->begun >= QUERIES_MAX) {
        return shoal_fail(status, SHOAL_INTERNAL, "more than %d queries at once", QUERIES_MAX);
    }
    if (PQsendQueryParams(link->connection, sql, parameter_count, NULL, parameters, NULL, NULL,
                          /*binary=*/1) != 1) {
        return fail_query(link, NULL, what, status);
    }
    link->what[link->sent++ % QUERIES_MAX] = what;
    return true;
}

bool
shoal_pg_link_sync(shoal_pg_link_t *link, shoal_status_t *status)
{
    if (PQpipelineSync(link->connection) != 1) {
        return fail_query(link, NULL, "send queries", status);
    }
    link->syncs++;
    return true;
}

bool
shoal_pg_link_begin(shoal_pg_link_t *link, shoal_status_t *status)
{
    assert(!link->is_reading && link->begun != link->sent);
    link->begun++;
    link->is_reading = true;
    link->state[0] = '\0';
    if (PQsetSingleRowMode(link->connection) != 1) {
        return fail_query(link, NULL, current_what(link), status);
    }
    return true;
}

bool
shoal_pg_link_row(shoal_pg_link_t *link, const PGresult **ret_row, shoal_status_t *status)
{
    assert(link->is_reading);
    for (;;) {
        PQclear(link->row);
        link->row = NULL;
        if (!wait_for_result(link, status)) {
            return false;
        }
        link->row = PQgetResult(link->connection);
        if (!link->row) {
            link->is_reading = false;
            *ret_row = NULL;
            return true;
        }
        ExecStatusType is = PQresultStatus(link->row);
        if (is == PGRES_SINGLE_TUPLE) {
            *ret_row = link->row;
            return true;
        }
        if (is != PGRES_TUPLES_OK && is != PGRES_COMMAND_OK) {
            return fail_query(link, link->row, current_what(link), status);
        }
    }
}

bool
shoal_pg_link_skip(shoal_pg_link_t *link, shoal_status_t *status)
{
    if (!shoal_pg_link_begin(link, status)) {
        return false;
    }
    const PGresult *row = NULL;
    do {
        if (!shoal_pg_link_row(link, &row, status)) {
            return false;
        }
    } while (row);
    return true;
}

bool
shoal_pg_link_end(shoal_pg_link_t *link, shoal_status_t *status)
{
    assert(!link->is_reading && link->syncs > 0);
    if (!wait_for_result(link, status)) {
        return false;
    }
    PQclear(link->row);
    link->row = PQgetResult(link->connection);
    if (!link->row || PQresultStatus(link->row) != PGRES_PIPELINE_SYNC) {
        return fail_query(link, link->row, current_what(link), status);
    }
    link->syncs--;
    return true;
}

bool
shoal_pg_link_drain(shoal_pg_link_t *link, bool is_cancelling, shoal_status_t *status)
{
    if (link->is_broken) {
        return shoal_fail(status, SHOAL_UNAVAILABLE, "the connection broke");
    }
    if (is_cancelling && link->syncs > 0) {
        shoal_pg_cancel(link->connection, SHOAL_PG_CANCEL_MS);
    }
    while (link->syncs > 0) {
        if (!wait_for_result(link, status)) {
            return false;
        }
        PGresult *result = PQgetResult(link->connection);
        ExecStatusType is = result ? PQresultStatus(result) : PGRES_EMPTY_QUERY;
        PQclear(result);
        if (is == PGRES_PIPELINE_SYNC) {
            link->syncs--;
        } else if (PQstatus(link->connection) == CONNECTION_BAD) {
            link->is_broken = true;
            return shoal_fail(status, SHOAL_UNAVAILABLE, "the connection broke");
        }
    }
    link->begun = link->sent;
    link->is_reading = false;
    return true;
}

// ---- arrays: dimensions, flags, element type, (length, lower bound) of each dimension, elements

#define ARRAY_HEAD 20 // bytes, of one dimension

static int32_t
int32_at(const char *bytes)
{
    const unsigned char *at = (const unsigned char *)bytes;
    return (int32_t)((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]);
}

uint32_t
shoal_pg_array_len(const PGresult *row, int field)
{
    const char *bytes = PQgetvalue(row, 0, field);
    if (PQgetlength(row, 0, field) < ARRAY_HEAD || int32_at(bytes) != 1) {
        return 0;
    }
    int32_t len = int32_at(bytes + 12);
    return len > 0 ? (uint32_t)len : 0;
}

bool
shoal_pg_array_next(const PGresult *row, int field, size_t *at, shoal_slice_t *ret_element)
{
    const char *bytes = PQgetvalue(row, 0, field);
    size_t len = (size_t)PQgetlength(row, 0, field);
    if (*at == 0) {
        *at = ARRAY_HEAD;
    }
    if (len < 4 || *at > len - 4) {
        return false;
    }
    int32_t size = int32_at(bytes + *at);
    *at += 4;
    if (size < 0) {
        *ret_element = SHOAL_SLICE_NONE;
        return true;
    }
    if ((size_t)size > len - *at) {
        return false;
    }
    *ret_element = (shoal_slice_t){bytes + *at, (size_t)size};
    *at += (size_t)size;
    return true;
}
