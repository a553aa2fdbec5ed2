// SPDX-License-Identifier: Apache-2.0
//
// failure.c - see failure.h.

#include "connectors/postgres/failure.h"

#include <stdio.h>

#define SQLSTATE_LEN 5

// What a connection's failure means; first match wins. `state` is the start of an SQLSTATE, `says`
// a part of libpq's own message where the server has not spoken. Key: the option to blame.
typedef struct meaning {
    const char *state;
    const char *says;
    shoal_error_class_t error_class;
    shoal_code_t code;
    const char *key;
    const char *sentence; // NULL: the message alone
} meaning_t;

#define KEY_PASSWORD "*password" // whichever of the two the file has

// clang-format off
static const meaning_t connect_meanings[] = {
    {"28P01", NULL, SHOAL_CONFIG, SHOAL_DENIED, KEY_PASSWORD, "wrong user or password"},
    {NULL, "no password supplied", SHOAL_CONFIG, SHOAL_DENIED, KEY_PASSWORD, "the server wants a password"},
    {"28", NULL, SHOAL_CONFIG, SHOAL_DENIED, "username", "the server does not let this user in"},
    {"3D000", NULL, SHOAL_CONFIG, SHOAL_NOT_FOUND, "database", "there is no such database"},
    {"42501", NULL, SHOAL_CONFIG, SHOAL_DENIED, "database", "no permission to connect to the database"},
    {"55000", NULL, SHOAL_CONFIG, SHOAL_DENIED, "database", "the database takes no connections"},
    {"53300", NULL, SHOAL_TRANSIENT, SHOAL_LIMIT, NULL, "the server refused connections: too many"},
    {"53400", NULL, SHOAL_TRANSIENT, SHOAL_LIMIT, NULL, "the server refused connections: too many"},
    {"57P03", NULL, SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, "hostPort", "the server is not ready"},
    {"08P01", "startup parameter", SHOAL_CONFIG, SHOAL_UNSUPPORTED, "hostPort", "the pooler before the server takes no session options"},
    {"22023", NULL, SHOAL_CONFIG, SHOAL_INVALID, "connectionOptions", "a session option is wrong"},
    {"42704", NULL, SHOAL_CONFIG, SHOAL_INVALID, "connectionOptions", "a session option is wrong"},
    {"", NULL, SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, "hostPort", NULL},
    {NULL, "Temporary failure in name resolution", SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, "hostPort", "the host's name cannot be looked up now"},
    {NULL, "could not translate host name", SHOAL_CONFIG, SHOAL_NOT_FOUND, "hostPort", "the host is unknown"},
    {NULL, "could not parse network address", SHOAL_CONFIG, SHOAL_INVALID, "hostPort", "the host is unknown"},
    {NULL, "SSL was required", SHOAL_CONFIG, SHOAL_UNSUPPORTED, "sslMode", "the server offers no TLS"},
    {NULL, "certificate verify failed", SHOAL_CONFIG, SHOAL_DENIED, "sslMode", "the server's certificate is not trusted"},
    {NULL, "does not match host name", SHOAL_CONFIG, SHOAL_DENIED, "sslMode", "the server's certificate is for another host"},
    {NULL, "root certificate file", SHOAL_CONFIG, SHOAL_NOT_FOUND, "sslConfig.caCertificate", NULL},
    {NULL, "certificate file", SHOAL_CONFIG, SHOAL_NOT_FOUND, "sslConfig.sslCertificate", NULL},
    {NULL, "private key file", SHOAL_CONFIG, SHOAL_NOT_FOUND, "sslConfig.sslKey", NULL},
    {NULL, "SSL error", SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, "sslMode", NULL},
    {NULL, "invalid sslmode value", SHOAL_CONFIG, SHOAL_INVALID, "connectionOptions", NULL},
    {NULL, "invalid connection option", SHOAL_CONFIG, SHOAL_INVALID, "connectionOptions", NULL},
    {NULL, "Connection refused", SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, "hostPort", "nobody listens there"},
    {NULL, "No such file or directory", SHOAL_CONFIG, SHOAL_NOT_FOUND, "hostPort", "there is no socket of a server there"},
    {NULL, "", SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, "hostPort", NULL},
};

static const meaning_t query_meanings[] = {
    {"57014", NULL, SHOAL_TRANSIENT, SHOAL_TIMEOUT, "statementTimeoutSeconds", "the query was cancelled by the server"},
    {"55P03", NULL, SHOAL_TRANSIENT, SHOAL_TIMEOUT, NULL, "somebody holds a lock on what was to be read"},
    {"42501", NULL, SHOAL_CONFIG, SHOAL_DENIED, "username", "the role has no permission"},
    {"57P", NULL, SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, NULL, "the server ended the connection"},
    {"08", NULL, SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, NULL, "the connection broke"},
    {"53", NULL, SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, NULL, "the server is short of something"},
    {"40", NULL, SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, NULL, NULL},
    {"XX", NULL, SHOAL_TRANSIENT, SHOAL_IO, NULL, NULL},
    {"", NULL, SHOAL_FATAL, SHOAL_IO, NULL, NULL},
    {NULL, "", SHOAL_TRANSIENT, SHOAL_UNAVAILABLE, NULL, "the connection broke"},
};
// clang-format on

// "SEVERITY:  28P01: the text" gives the SQLSTATE and where the text begins, else "" and `message`.
static const char *
split(const char *message, char state[SQLSTATE_LEN + 1])
{
    state[0] = '\0';
    for (const char *at = strstr(message, ":  "); at; at = strstr(at + 1, ":  ")) {
        const char *code = at + 3;
        if (strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == SQLSTATE_LEN &&
            code[SQLSTATE_LEN] == ':') {
            memcpy(state, code, SQLSTATE_LEN);
            state[SQLSTATE_LEN] = '\0';
            return code + SQLSTATE_LEN + 2;
        }
    }
    return message;
}

static const meaning_t *
meaning_of(const meaning_t *meanings, const char *state, const char *message)
{
    for (const meaning_t *at = meanings;; at++) {
        if (at->state) {
            if (state[0] != '\0' && strncmp(at->state, state, strlen(at->state)) == 0 &&
                (!at->says || strstr(message, at->says))) {
                return at;
            }
        } else if (state[0] == '\0' && strstr(message, at->says)) {
            return at;
        }
    }
}

// The first line of a message without its end; verbose messages go on with LOCATION and the like.
static int
line_len(const char *text)
{
    return (int)strcspn(text, "\n");
}

static void
blame(const shoal_pg_settings_t *settings, const char *key, shoal_status_t *status)
{
    if (!key) {
        return;
    }
    const char *path = strcmp(key, KEY_PASSWORD) == 0 ? settings->password_key : key;
    (void)snprintf(status->key, sizeof(status->key), "%s",
                   shoal_options_key(settings->options, path));
}

bool
shoal_pg_fail_connect(const shoal_pg_settings_t *settings, const char *database,
                      const char *message, shoal_status_t *status)
{
    char state[SQLSTATE_LEN + 1];
    const char *text = split(message, state);
    const meaning_t *meaning = meaning_of(connect_meanings, state, message);
    (void)shoal_fail_as(status, meaning->error_class, meaning->code,
                        "cannot connect to \"%s\" database \"%s\" as \"%s\": %s%s%.*s",
                        settings->host_port, database, settings->user,
                        meaning->sentence ? meaning->sentence : "", meaning->sentence ? ": " : "",
                        line_len(text), text);
    blame(settings, meaning->key, status);
    return false;
}

bool
shoal_pg_fail_query(const shoal_pg_settings_t *settings, const PGconn *connection,
                    const PGresult *result, const char *what, shoal_status_t *status)
{
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *text = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    if (!text) {
        text = result && PQresultErrorMessage(result)[0] ? PQresultErrorMessage(result)
                                                         : PQerrorMessage(connection);
    }
    if (!state) {
        state = "";
    }
    const meaning_t *meaning = meaning_of(query_meanings, state, text);
    (void)shoal_fail_as(status, meaning->error_class, meaning->code,
                        "cannot %s in database \"%s\" of \"%s\": %s%s%.*s%s%s", what,
                        PQdb(connection) ? PQdb(connection) : "", settings->host_port,
                        meaning->sentence ? meaning->sentence : "", meaning->sentence ? ": " : "",
                        line_len(text), text, state[0] ? ", SQLSTATE " : "", state);
    blame(settings, meaning->key, status);
    return false;
}

bool
shoal_pg_is_gone(const shoal_pg_settings_t *settings, const shoal_status_t *status)
{
    return status->code == SHOAL_NOT_FOUND &&
           strcmp(status->key, shoal_options_key(settings->options, "database")) == 0;
}

bool
shoal_pg_is_refused(const shoal_status_t *status)
{
    return status->code == SHOAL_LIMIT && status->error_class == SHOAL_TRANSIENT;
}
