// SPDX-License-Identifier: Apache-2.0
//
// settings.c - see settings.h.

#include "connectors/postgres/settings.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"

#define HOST_MAX    1024 // bytes of hostPort
#define PORT_MAX    65535
#define KEYWORD_MAX 64 // bytes of one keyword of connectionOptions

// libpq keywords that a file may set. Not among them: what has an option of its own, what would
// change whom we talk to behind hostPort's back, and what names files to write.
static const char *const allowed_keywords[] = {
    "connect_timeout",
    "options",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslsni",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "channel_binding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "gssencmode",
    "krbsrvname",
    "requirepeer",
    NULL,
};

// The last of equal keywords wins in libpq, so the file's own come after ours.
static void
add(shoal_pg_settings_t *settings, const char *keyword, const char *value)
{
    assert(settings->keyword_count < SHOAL_PG_KEYWORDS_MAX);
    settings->keywords[settings->keyword_count] = keyword;
    settings->values[settings->keyword_count] = value;
    settings->keyword_count++;
}

// Keeps `text` (taken over) as long as the settings.
static const char *
keep(shoal_pg_settings_t *settings, char *text)
{
    assert(settings->text_count < SHOAL_PG_KEYWORDS_MAX);
    settings->texts[settings->text_count++] = text;
    return text;
}

// The number that `text` is, 0 if it is none. A large one comes out large.
static unsigned long
port_of(const char *text)
{
    return text[strspn(text, "0123456789")] == '\0' ? strtoul(text, NULL, 10) : 0;
}

// host, host:port, [ipv6], [ipv6]:port, /directory, /directory:port
static bool
read_host_port(shoal_pg_settings_t *settings, shoal_status_t *status)
{
    const char *key = shoal_options_key(settings->options, "hostPort");
    const char *text = settings->host_port;
    if (text[0] == '\0' || strlen(text) > HOST_MAX) {
        return shoal_fail_key(status, key, "hostPort must be HOST or HOST:PORT");
    }
    const char *host = text;
    size_t host_len;
    const char *port;
    if (text[0] == '[') {
        host = text + 1;
        host_len = strcspn(host, "]");
        if (host[host_len] != ']') {
            return shoal_fail_key(status, key, "hostPort \"%s\" lacks the closing bracket", text);
        }
        port = host + host_len + 1;
    } else {
        host_len = strcspn(text, ":");
        port = text + host_len;
        if (text[0] != '/' && port[0] == ':' && strchr(port + 1, ':')) {
            return shoal_fail_key(status, key,
                                  "hostPort \"%s\": write an IPv6 address as [ADDRESS]:PORT", text);
        }
    }
    if (strcspn(host, ",") < host_len) {
        return shoal_fail_key(status, key, "hostPort \"%s\" names more than one host", text);
    }
    unsigned long number = port[0] == ':' ? port_of(port + 1) : 0;
    if (number > PORT_MAX) {
        return shoal_fail_key(status, key, "hostPort \"%s\": the port is above %d", text, PORT_MAX);
    }
    if (host_len == 0 || (port[0] != '\0' && number == 0)) {
        return shoal_fail_key(status, key, "hostPort \"%s\" is not HOST:PORT", text);
    }
    add(settings, "host", keep(settings, shoal_strndup(host, host_len)));
    add(settings, "port", port[0] == ':' ? port + 1 : "5432");
    return true;
}

static bool
read_password(shoal_pg_settings_t *settings, shoal_status_t *status)
{
    const shoal_options_t *options = settings->options;
    bool is_nested = shoal_options_is_written(options, "authType.password");
    bool is_plain = shoal_options_is_written(options, "password");
    if (is_nested && is_plain) {
        return shoal_fail_key(status, shoal_options_key(options, "password"),
                              "password is written twice: here and in authType");
    }
    settings->password_key = is_plain ? "password" : "authType.password";
    if (is_nested || is_plain) {
        add(settings, "password", shoal_options_text(options, settings->password_key));
    }
    return true;
}

// Certificates are given as paths.
static bool
read_certificates(shoal_pg_settings_t *settings, shoal_status_t *status)
{
    static const char *const pairs[][2] = {
        {"sslConfig.caCertificate", "sslrootcert"},
        {"sslConfig.sslCertificate", "sslcert"},
        {"sslConfig.sslKey", "sslkey"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        const char *value = shoal_options_text(settings->options, pairs[i][0]);
        if (value[0] == '\0') {
            continue;
        }
        if (value[0] != '/') {
            return shoal_fail_key(status, shoal_options_key(settings->options, pairs[i][0]),
                                  "must be the absolute path of a file on the worker's machine");
        }
        add(settings, pairs[i][1], value);
    }
    return true;
}

static bool
is_allowed(shoal_slice_t keyword)
{
    for (size_t i = 0; allowed_keywords[i]; i++) {
        if (shoal_slice_is(keyword, allowed_keywords[i])) {
            return true;
        }
    }
    return false;
}

static bool
add_argument(shoal_pg_settings_t *settings, const char *key, shoal_slice_t keyword,
             shoal_slice_t value, shoal_status_t *status)
{
    if (keyword.len > KEYWORD_MAX || !is_allowed(keyword)) {
        return shoal_fail_key(status, key, "\"%.*s\" is no keyword that may be set here",
                              (int)(keyword.len > KEYWORD_MAX ? KEYWORD_MAX : keyword.len),
                              keyword.ptr);
    }
    if (settings->keyword_count + 1 >= SHOAL_PG_KEYWORDS_MAX ||
        settings->text_count + 2 > SHOAL_PG_KEYWORDS_MAX) {
        return shoal_fail_key(status, key, "more keywords than %d", SHOAL_PG_KEYWORDS_MAX);
    }
    const char *text = keep(settings, shoal_strndup(value.ptr, value.len));
    if (shoal_slice_is(keyword, "connect_timeout")) {
        uint64_t seconds = strtoull(text, NULL, 10);
        if (seconds == 0 || seconds > 3600) {
            return shoal_fail_key(status, key, "connect_timeout must be 1 to 3600 seconds");
        }
        settings->connect_timeout_ms = seconds * 1000;
        return true;
    }
    if (shoal_slice_is(keyword, "sslmode")) {
        settings->sslmode = text;
    }
    if (shoal_slice_is(keyword, "options")) { // behind ours, so that both count
        size_t at = 0;
        while (strcmp(settings->keywords[at], "options") != 0) {
            at++;
        }
        size_t size = strlen(settings->values[at]) + strlen(text) + 2;
        char *both = shoal_alloc(size);
        (void)snprintf(both, size, "%s %s", settings->values[at], text);
        settings->values[at] = keep(settings, both);
        return true;
    }
    add(settings, keep(settings, shoal_strndup(keyword.ptr, keyword.len)), text);
    return true;
}

// connectionOptions and connectionArguments: maps of libpq keywords.
static bool
read_arguments(shoal_pg_settings_t *settings, const char *path, shoal_status_t *status)
{
    shoal_slice_t bytes = shoal_options_value(settings->options, path);
    if (bytes.len == 0) {
        return true;
    }
    const char *key = shoal_options_key(settings->options, path);
    shoal_cursor_t cursor = shoal_cursor_over(bytes);
    uint32_t count = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        shoal_slice_t keyword = shoal_cursor_str(&cursor);
        shoal_slice_t value = shoal_cursor_str(&cursor);
        if (!cursor.is_bad && !add_argument(settings, key, keyword, value, status)) {
            return false;
        }
    }
    if (cursor.is_bad) {
        return shoal_fail_key(status, key, "must be a map of keywords to texts");
    }
    return true;
}

// The session's parameters. The planner ones keep each query streaming in the order of an index:
// no sort, no hash, no temporary file, the first row at once. An empty search path makes the names
// in defaults and views whole, and the same for everyone.
static const char *
session_options(shoal_pg_settings_t *settings)
{
    char *text = shoal_alloc(512);
    (void)snprintf(text, 512,
                   "-c search_path=pg_catalog -c statement_timeout=%llu -c lock_timeout=10000 "
                   "-c idle_in_transaction_session_timeout=0 -c jit=off -c random_page_cost=1 "
                   "-c enable_sort=off -c max_parallel_workers_per_gather=0 -c timezone=UTC "
                   "-c datestyle=ISO -c intervalstyle=postgres "
                   "-c default_transaction_read_only=on",
                   (unsigned long long)settings->statement_timeout_ms);
    return keep(settings, text);
}

static bool
read_connection(shoal_pg_settings_t *settings, shoal_status_t *status)
{
    const shoal_options_t *options = settings->options;
    settings->host_port = shoal_options_text(options, "hostPort");
    settings->user = shoal_options_text(options, "username");
    settings->database = shoal_options_text(options, "database");
    settings->sslmode = shoal_options_text(options, "sslMode");
    settings->connect_timeout_ms = SHOAL_PG_CONNECT_TIMEOUT_MS;
    settings->statement_timeout_ms = shoal_options_count(options, "statementTimeoutSeconds") * 1000;
    settings->patience_ms = shoal_options_count(options, "refusedRetrySeconds") * 1000;
    settings->database_at = settings->keyword_count;
    add(settings, "dbname", settings->database);
    add(settings, "user", settings->user);
    add(settings, "application_name", "shoal");
    add(settings, "client_encoding", "UTF8");
    add(settings, "gssencmode", "disable"); // costs a look for tickets on every connection
    add(settings, "options", session_options(settings));
    add(settings, "sslmode", settings->sslmode);
    return read_host_port(settings, status) && read_password(settings, status) &&
           read_certificates(settings, status) &&
           read_arguments(settings, "connectionOptions", status) &&
           read_arguments(settings, "connectionArguments", status);
}

static bool
read_filters(shoal_pg_settings_t *settings, shoal_status_t *status)
{
    const shoal_options_t *options = settings->options;
    settings->all_databases = shoal_options_flag(options, "ingestAllDatabases");
    settings->include_tables = shoal_options_flag(options, "includeTables");
    settings->include_views = shoal_options_flag(options, "includeViews");
    settings->use_fqn = shoal_options_flag(options, "useFqnForFiltering");
    settings->excludes_databases = !shoal_options_is_written(options, "databaseFilterPattern");
    settings->excludes_schemas = !shoal_options_is_written(options, "schemaFilterPattern");
    return shoal_patterns_new(options, "databaseFilterPattern", &settings->databases, status) &&
           shoal_patterns_new(options, "schemaFilterPattern", &settings->schemas, status) &&
           shoal_patterns_new(options, "tableFilterPattern", &settings->tables, status);
}

static void
read_sharding(shoal_pg_settings_t *settings, const shoal_host_t *host)
{
    static const struct {
        const char *word;
        shoal_pg_sharding_t sharding;
    } words[] = {
        {"auto", SHOAL_PG_SHARDING_AUTO},
        {"database", SHOAL_PG_SHARDING_DATABASE},
        {"schema", SHOAL_PG_SHARDING_SCHEMA},
        {"table_count", SHOAL_PG_SHARDING_TABLE_COUNT},
    };
    settings->tables_per_shard = SHOAL_PG_TABLES_PER_SHARD;
    if (!host->sharding) {
        return;
    }
    const char *type = shoal_options_text(host->sharding, "type");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(type, words[i].word) == 0) {
            settings->sharding = words[i].sharding;
        }
    }
    if (shoal_options_is_written(host->sharding, "tables_per_shard")) {
        settings->tables_per_shard = shoal_options_count(host->sharding, "tables_per_shard");
        if (!shoal_options_is_written(host->sharding, "type")) {
            settings->sharding = SHOAL_PG_SHARDING_TABLE_COUNT;
        }
    }
}

bool
shoal_pg_settings_new(const shoal_options_t *options, const char *service, const shoal_host_t *host,
                      shoal_pg_settings_t **ret_settings, shoal_status_t *status)
{
    shoal_pg_settings_t *settings = shoal_alloc(sizeof(*settings));
    settings->options = options;
    settings->service = service;
    read_sharding(settings, host);
    if (!read_connection(settings, status) || !read_filters(settings, status)) {
        shoal_pg_settings_destroy(&settings);
        return false;
    }
    *ret_settings = settings;
    return true;
}

void
shoal_pg_settings_destroy(shoal_pg_settings_t **settings)
{
    if (!settings || !*settings) {
        return;
    }
    shoal_patterns_destroy(&(*settings)->databases);
    shoal_patterns_destroy(&(*settings)->schemas);
    shoal_patterns_destroy(&(*settings)->tables);
    for (size_t i = 0; i < (*settings)->text_count; i++) {
        free((*settings)->texts[i]);
    }
    free(*settings);
    *settings = NULL;
}

bool
shoal_pg_settings_keep_database(const shoal_pg_settings_t *settings, shoal_slice_t name,
                                shoal_slice_t fqn, bool *ret_keep, shoal_status_t *status)
{
    if (settings->excludes_databases) {
        *ret_keep = !shoal_slice_is(name, "template0") && !shoal_slice_is(name, "template1");
        return true;
    }
    return shoal_patterns_keep_slice(settings->databases, settings->use_fqn ? fqn : name, ret_keep,
                                     status);
}

bool
shoal_pg_settings_keep_schema(const shoal_pg_settings_t *settings, shoal_slice_t name,
                              shoal_slice_t fqn, bool *ret_keep, shoal_status_t *status)
{
    if (settings->excludes_schemas) {
        *ret_keep = !shoal_slice_is(name, "information_schema");
        return true;
    }
    return shoal_patterns_keep_slice(settings->schemas, settings->use_fqn ? fqn : name, ret_keep,
                                     status);
}
