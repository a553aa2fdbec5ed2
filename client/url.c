// SPDX-License-Identifier: Apache-2.0
//
// url.c - see url.h.

#include "client/url.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/alloc.h"

#define PASSFILE_LINE_MAX 2048
#define PART_MAX          1024

// The pieces of a postgres address, decoded.
typedef struct parts {
    char user[PART_MAX];
    char password[PART_MAX];
    char host[PART_MAX];
    char port[8];
    char database[PART_MAX];
    char ssl_mode[32];
    bool has_password;
} parts_t;

// Where the password stands: between the first ':' after "://" and the last '@' before the path.
static bool
find_password(const char *url, size_t *ret_start, size_t *ret_end)
{
    const char *scheme = strstr(url, "://");
    if (!scheme) {
        return false;
    }
    const char *authority = scheme + 3;
    const char *end = authority + strcspn(authority, "/?#");
    const char *at = NULL;
    // A password with a bare '/' or '?' in it is wrong, but must not be shown for that.
    for (const char *c = authority; *c; c++) {
        if (*c == '@' && (c < end || !at)) {
            at = c;
        }
    }
    if (!at) {
        return false;
    }
    const char *colon = memchr(authority, ':', (size_t)(at - authority));
    if (!colon) {
        return false;
    }
    *ret_start = (size_t)(colon - url);
    *ret_end = (size_t)(at - url);
    return true;
}

void
shoal_url_redact(const char *url, char *text, size_t size)
{
    size_t start = 0;
    size_t end = 0;
    if (find_password(url, &start, &end)) {
        (void)snprintf(text, size, "%.*s%s", (int)start, url, url + end);
    } else {
        (void)snprintf(text, size, "%s", url);
    }
    size_t query = strcspn(text, "?"); // may hold password=
    text[query] = '\0';
}

void
shoal_url_wipe(char *url)
{
    size_t start = 0;
    size_t end = 0;
    if (find_password(url, &start, &end)) {
        for (size_t i = start + 1; i < end; i++) {
            url[i] = '*';
        }
    }
}

static int
hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    char lower = (char)tolower((unsigned char)digit);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Decodes %XX of url[0..len) into `text`.
static bool
decode(const char *what, const char *url, size_t len, char *text, size_t size,
       shoal_status_t *status)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char byte = url[i];
        if (byte == '%') {
            int high = i + 2 < len ? hex_value(url[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(url[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return shoal_fail(status, SHOAL_INVALID,
                                  "the %s in the address has a '%%' that is not followed by two "
                                  "hexadecimal digits; write '%%25' for '%%'",
                                  what);
            }
            byte = (char)(high * 16 + low);
            i += 2;
        }
        if (used + 1 >= size) {
            return shoal_fail(status, SHOAL_INVALID, "the %s in the address is too long", what);
        }
        text[used++] = byte;
    }
    text[used] = '\0';
    return true;
}

static bool
read_user(const char *at, size_t len, parts_t *parts, shoal_status_t *status)
{
    const char *colon = memchr(at, ':', len);
    size_t user_len = colon ? (size_t)(colon - at) : len;
    if (!decode("user", at, user_len, parts->user, sizeof(parts->user), status)) {
        return false;
    }
    parts->has_password = colon != NULL;
    return !colon || decode("password", colon + 1, len - user_len - 1, parts->password,
                            sizeof(parts->password), status);
}

static bool
read_host(const char *at, size_t len, parts_t *parts, shoal_status_t *status)
{
    size_t host_len = len;
    const char *port = NULL;
    if (len > 0 && at[0] == '[') {
        const char *close = memchr(at, ']', len);
        if (!close) {
            return shoal_fail(status, SHOAL_INVALID, "the address lacks a ']' after its host");
        }
        host_len = (size_t)(close - at) + 1;
        port = host_len < len && at[host_len] == ':' ? at + host_len + 1 : NULL;
    } else {
        const char *colon = memchr(at, ':', len);
        host_len = colon ? (size_t)(colon - at) : len;
        port = colon ? colon + 1 : NULL;
    }
    if (memchr(at, ',', len)) {
        return shoal_fail(status, SHOAL_INVALID, "the address names more than one host");
    }
    size_t port_len = port ? len - (size_t)(port - at) : 0;
    if ((!port && host_len != len) || port_len > 5 ||
        (port && strspn(port, "0123456789") < port_len)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "the port in the address must be a number from 1 to 65535");
    }
    if (port_len > 0) {
        (void)snprintf(parts->port, sizeof(parts->port), "%.*s", (int)port_len, port);
    }
    return decode("host", at, host_len, parts->host, sizeof(parts->host), status);
}

static bool
read_query(const char *query, parts_t *parts, shoal_status_t *status)
{
    while (*query) {
        size_t len = strcspn(query, "&");
        size_t name_len = strcspn(query, "=&");
        const char *value = query + name_len + (query[name_len] == '=');
        size_t value_len = len - (size_t)(value - query);
        if (name_len == 7 && strncmp(query, "sslmode", 7) == 0) {
            if (!decode("sslmode", value, value_len, parts->ssl_mode, sizeof(parts->ssl_mode),
                        status)) {
                return false;
            }
        } else {
            return shoal_fail(status, SHOAL_INVALID,
                              "the address has the option \"%.*s\"; only sslmode can stand there, "
                              "the rest belongs into a workflow file (shoal init postgres)",
                              (int)(name_len < 64 ? name_len : 64), query);
        }
        query += len + (query[len] == '&');
    }
    return true;
}

static bool
read_postgres(const char *url, parts_t *parts, shoal_status_t *status)
{
    const char *authority = strstr(url, "://") + 3;
    size_t len = strcspn(authority, "/?");
    const char *at = NULL;
    for (size_t i = 0; i < len; i++) {
        at = authority[i] == '@' ? authority + i : at; // the last one
    }
    const char *host = at ? at + 1 : authority;
    if (strchr(authority, '#')) {
        return shoal_fail(status, SHOAL_INVALID, "the address has a '#'; write '%%23' for it");
    }
    if (!at && strchr(authority + len, '@')) {
        return shoal_fail(status, SHOAL_INVALID,
                          "the address has a '/' or '?' before its '@'; in a password write '%%2F' "
                          "and '%%3F'");
    }
    if (at && !read_user(authority, (size_t)(at - authority), parts, status)) {
        return false;
    }
    if (!read_host(host, len - (size_t)(host - authority), parts, status)) {
        return false;
    }
    const char *path = authority + len;
    size_t path_len = 0;
    if (*path == '/') {
        path++;
        path_len = strcspn(path, "?");
        if (!decode("database", path, path_len, parts->database, sizeof(parts->database), status)) {
            return false;
        }
    }
    const char *query = path + path_len;
    return *query != '?' || read_query(query + 1, parts, status);
}

// One field of a password file, which ends at ':' or the line's end; "\" quotes a character.
static const char *
passfile_field(const char *at, char *field, size_t size)
{
    size_t used = 0;
    while (*at && *at != ':' && *at != '\n' && *at != '\r') {
        at += *at == '\\' && at[1] ? 1 : 0;
        if (used + 1 < size) {
            field[used++] = *at;
        }
        at++;
    }
    field[used] = '\0';
    return *at == ':' ? at + 1 : at;
}

// host:port:database:user:password, each of the first four may be "*".
static bool
passfile_match(const char *line, parts_t *parts)
{
    const char *wanted[] = {parts->host, parts->port, parts->database, parts->user};
    char field[PART_MAX];
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        line = passfile_field(line, field, sizeof(field));
        bool is_socket = i == 0 && wanted[0][0] == '/' && strcmp(field, "localhost") == 0;
        if (strcmp(field, "*") != 0 && strcmp(field, wanted[i]) != 0 && !is_socket) {
            return false;
        }
    }
    (void)passfile_field(line, parts->password, sizeof(parts->password));
    parts->has_password = true;
    return true;
}

// As libpq: a file that others can read is not used.
static void
passfile_read(const char *path, parts_t *parts)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    FILE *file = NULL;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 077U) == 0) {
        file = fdopen(fd, "r");
    }
    if (!file) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    char line[PASSFILE_LINE_MAX];
    while (!parts->has_password && fgets(line, sizeof(line), file)) {
        if (line[0] != '#') {
            (void)passfile_match(line, parts);
        }
    }
    (void)fclose(file);
}

static const char *
login_name(void)
{
    const struct passwd *entry = getpwuid(geteuid()); // NOLINT(concurrency-mt-unsafe): one thread
    return entry ? entry->pw_name : "postgres";
}

static void
preset(char *text, size_t size, const char *value)
{
    if (text[0] == '\0' && value) {
        (void)snprintf(text, size, "%s", value);
    }
}

// What the address leaves out, in libpq's order: variables, then defaults.
static void
complete(parts_t *parts, shoal_url_variable_fn *variable, void *ctx)
{
    preset(parts->host, sizeof(parts->host), variable(ctx, "PGHOST"));
    preset(parts->host, sizeof(parts->host), "localhost");
    preset(parts->port, sizeof(parts->port), variable(ctx, "PGPORT"));
    preset(parts->port, sizeof(parts->port), "5432");
    preset(parts->user, sizeof(parts->user), variable(ctx, "PGUSER"));
    preset(parts->user, sizeof(parts->user), login_name());
    preset(parts->database, sizeof(parts->database), variable(ctx, "PGDATABASE"));
    preset(parts->database, sizeof(parts->database), parts->user);
    preset(parts->ssl_mode, sizeof(parts->ssl_mode), variable(ctx, "PGSSLMODE"));
    const char *password = variable(ctx, "PGPASSWORD");
    const char *passfile = variable(ctx, "PGPASSFILE");
    if (!parts->has_password && password) {
        (void)snprintf(parts->password, sizeof(parts->password), "%s", password);
        parts->has_password = true;
    } else if (!parts->has_password && passfile) {
        passfile_read(passfile, parts);
    }
}

// A JSON string with '$' doubled, so that a workflow's ${VAR} does not work in it. NULL: no UTF-8.
static json_t *
literal(const char *text)
{
    shoal_buffer_t doubled = SHOAL_BUFFER_INIT;
    for (const char *at = text; *at; at++) {
        shoal_buffer_append_byte(&doubled, *at);
        if (*at == '$') {
            shoal_buffer_append_byte(&doubled, '$');
        }
    }
    json_t *value = json_string(shoal_buffer_text(&doubled));
    explicit_bzero(doubled.ptr, doubled.size);
    shoal_buffer_fini(&doubled);
    return value;
}

// Appends JSON so that libyaml reads it: what YAML does not call printable but JSON leaves as it is
// (DEL, U+0080 to U+009F, U+FEFF, U+FFFE, U+FFFF) is escaped.
static void
append_printable(const char *json, shoal_buffer_t *out)
{
    for (const unsigned char *at = (const unsigned char *)json; *at; at++) {
        bool is_c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;
        bool is_bom = at[0] == 0xef && at[1] == 0xbb && at[2] == 0xbf;
        bool is_end = at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe;
        if (*at == 0x7f) {
            shoal_buffer_append_text(out, "\\u007f");
        } else if (is_c1) {
            shoal_buffer_append_format(out, "\\u00%02x", at[1]);
        } else if (is_bom || is_end) {
            shoal_buffer_append_format(out, "\\uf%s%02x", is_bom ? "e" : "f",
                                       is_bom ? 0xff : 0x40 + at[2]);
        } else {
            shoal_buffer_append_byte(out, (char)*at);
        }
        at += is_c1 ? 1 : (is_bom || is_end ? 2 : 0);
    }
}

// Appends the whole file; takes `connection` over.
static bool
write_workflow(const char *type, const char *service, json_t *connection, shoal_buffer_t *out,
               shoal_status_t *status)
{
    json_t *whole = json_pack("{s:{s:s, s:o, s:{s:o}, s:{s:{s:s}}}, s:{s:s, s:{}}}", //
                              "source", "type", type, "serviceName", literal(service),
                              "serviceConnection", "config", connection, "sourceConfig", "config",
                              "type", "DatabaseMetadata", "sink", "type", "file", "config");
    char *text = whole ? json_dumps(whole, JSON_INDENT(1)) : NULL;
    json_decref(whole);
    if (!text) {
        return shoal_fail(status, SHOAL_INVALID, "the address is not UTF-8");
    }
    append_printable(text, out);
    explicit_bzero(text, strlen(text));
    free(text);
    return true;
}

static bool
postgres_workflow(const char *url, shoal_url_variable_fn *variable, void *ctx, shoal_buffer_t *out,
                  shoal_status_t *status)
{
    parts_t parts = {0};
    if (!read_postgres(url, &parts, status)) {
        return false;
    }
    complete(&parts, variable, ctx);
    char host_port[PART_MAX + 16];
    (void)snprintf(host_port, sizeof(host_port), "%s:%s", parts.host, parts.port);
    json_t *connection = json_object();
    (void)json_object_set_new(connection, "type", json_string("Postgres"));
    (void)json_object_set_new(connection, "username", literal(parts.user));
    (void)json_object_set_new(connection, "hostPort", literal(host_port));
    (void)json_object_set_new(connection, "database", literal(parts.database));
    if (parts.ssl_mode[0]) {
        (void)json_object_set_new(connection, "sslMode", literal(parts.ssl_mode));
    }
    if (parts.has_password) {
        json_t *auth = json_object();
        (void)json_object_set_new(auth, "password", literal(parts.password));
        (void)json_object_set_new(connection, "authType", auth);
    }
    bool done = write_workflow("postgres", parts.database, connection, out, status);
    explicit_bzero(&parts, sizeof(parts));
    return done;
}

static bool
sqlite_workflow(const char *path, shoal_buffer_t *out, shoal_status_t *status)
{
    char *real = realpath(path, NULL); // workers have a working directory of their own
    if (!real) {
        return shoal_fail_errno(status, errno, "cannot read the database \"%.300s\"", path);
    }
    const char *slash = strrchr(real, '/');
    char service[256];
    (void)snprintf(service, sizeof(service), "%s", slash ? slash + 1 : real);
    char *dot = strrchr(service, '.');
    if (dot && dot != service) {
        *dot = '\0';
    }
    json_t *connection = json_object();
    (void)json_object_set_new(connection, "type", json_string("SQLite"));
    (void)json_object_set_new(connection, "databaseMode", literal(real));
    bool done = write_workflow("sqlite", service, connection, out, status);
    free(real);
    return done;
}

static bool
has_ending(const char *text, const char *ending)
{
    size_t len = strlen(text);
    size_t ending_len = strlen(ending);
    return len > ending_len && strcasecmp(text + len - ending_len, ending) == 0;
}

bool
shoal_url_workflow(const char *url, shoal_url_variable_fn *variable, void *ctx, shoal_buffer_t *out,
                   shoal_status_t *status)
{
    if (strlen(url) > SHOAL_URL_BYTES_MAX) {
        return shoal_fail(status, SHOAL_INVALID, "the source's address is longer than %d bytes",
                          SHOAL_URL_BYTES_MAX);
    }
    if (strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0) {
        return postgres_workflow(url, variable, ctx, out, status);
    }
    if (strncmp(url, "sqlite:", 7) == 0) {
        const char *path = url + 7;
        return sqlite_workflow(strncmp(path, "//", 2) == 0 ? path + 2 : path, out, status);
    }
    if (!strstr(url, "://") &&
        (has_ending(url, ".db") || has_ending(url, ".sqlite") || has_ending(url, ".sqlite3"))) {
        return sqlite_workflow(url, out, status);
    }
    char shown[128];
    shoal_url_redact(url, shown, sizeof(shown));
    return shoal_fail(status, SHOAL_UNSUPPORTED,
                      "\"%s\" is no source: use postgres://USER@HOST/DATABASE, sqlite:PATH, a path "
                      "that ends in .db, .sqlite or .sqlite3, or -c FILE",
                      shown);
}
