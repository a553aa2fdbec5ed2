// SPDX-License-Identifier: Apache-2.0
//
// test_postgres_failures.c - what the postgres source says of wrong options and of a server that
// refuses, is silent, goes away or changes: code, class, the key to blame, and never a password.

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "tests/support/postgres.h"
#include "tests/support/reading.h"
#include "tests/support/test.h"

extern const shoal_connector_t shoal_connector;

static test_postgres_t server;
static shoal_status_t status;

#define CONNECTION "source.serviceConnection.config."

// A run with these lines under serviceConnection.config and sourceConfig.config.
static bool
try_start(run_t *run, const char *connection, const char *options)
{
    char *text = NULL;
    CHECK(asprintf(&text,
                   "source:\n"
                   "  type: postgres\n"
                   "  serviceName: pg1\n"
                   "  serviceConnection:\n"
                   "    config: {%s}\n"
                   "  sourceConfig:\n"
                   "    config: {type: DatabaseMetadata%s}\n"
                   "sink: {type: file, config: {}}\n"
                   "workflowConfig: {}\n"
                   "sharding: {tables_per_shard: 5}\n",
                   connection, options) > 0);
    bool is_done = run_start(run, &shoal_connector, text, &status);
    free(text);
    return is_done;
}

// The lines for the server: by its socket, or by TCP.
static const char *
by_socket(const char *user, const char *database, const char *more)
{
    static char text[1024];
    (void)snprintf(text, sizeof(text), "hostPort: \"%s:%u\", username: %s, database: %s%s",
                   server.folder, server.port, user, database, more);
    return text;
}

static const char *
by_tcp(const char *user, const char *database, const char *more)
{
    static char text[1024];
    (void)snprintf(text, sizeof(text), "hostPort: \"127.0.0.1:%u\", username: %s, database: %s%s",
                   server.port, user, database, more);
    return text;
}

static void
open_run(run_t *run, reading_t *reading, const char *connection, const char *options)
{
    CHECK_OK(try_start(run, connection, options), status);
    CHECK_OK(reading_open(reading, run, &status), status);
}

static void
close_run(run_t *run, reading_t *reading)
{
    reading_close(reading);
    run_stop(run);
}

// check() fails with these; the message says `word` and no password.
static void
check_fails(const char *connection, shoal_code_t code, shoal_error_class_t error_class,
            const char *key, const char *word)
{
    run_t run;
    reading_t reading;
    open_run(&run, &reading, connection, "");
    CHECK_FAILS(reading_check(&reading, &status), status, code);
    assert_string_equal(shoal_error_class_name((int)status.error_class),
                        shoal_error_class_name((int)error_class));
    assert_string_equal(status.key, key);
    CHECK_SAYS(status.text, word);
    CHECK(!strstr(status.text, TEST_POSTGRES_PASSWORD) && !strstr(status.text, "wrong-one"));
    CHECK(!strchr(status.text, '\n'));
    close_run(&run, &reading);
}

// ---- options

static void
option_fails(const char *connection, const char *key, const char *word)
{
    run_t run;
    reading_t reading;
    CHECK_OK(try_start(&run, connection, ""), status);
    CHECK_FAILS(reading_open(&reading, &run, &status), status, SHOAL_INVALID);
    assert_string_equal(status.key, key);
    CHECK_SAYS(status.text, word);
    run_stop(&run);
}

static void
a_wrong_host_or_port_is_told_by_its_key(void)
{
    static const char *const wrong[] = {"\"a:b\"",  "\":5432\"",  "\"h:0\"", "\"h:70000\"",
                                        "\"[::1\"", "\"[::1]x\"", "\"::1\"", "\"a,b:1\"",
                                        "\"h:\"",   "\"h:1:2\"",  "\"[]:1\""};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "hostPort: %s, username: u, database: d", wrong[i]);
        option_fails(text, CONNECTION "hostPort", "hostPort");
    }
}

static void
other_wrong_options_are_told_by_their_keys(void)
{
    option_fails("hostPort: \"127.0.0.1:99999\", username: u, database: d", CONNECTION "hostPort",
                 "the port is above 65535");
    option_fails("hostPort: h, username: u, database: d, connectionArguments: {passfile: x}",
                 CONNECTION "connectionArguments", "passfile");
    option_fails("hostPort: h, username: u, database: d, connectionOptions: {connect_timeout: x}",
                 CONNECTION "connectionOptions", "connect_timeout");
    option_fails("hostPort: h, username: u, database: d, connectionOptions: [a]",
                 CONNECTION "connectionOptions", "map");
    option_fails("hostPort: h, username: u, database: d, password: a, authType: {password: b}",
                 CONNECTION "password", "twice");
    option_fails("hostPort: h, username: u, database: d, sslConfig: {sslKey: \"-----BEGIN\"}",
                 CONNECTION "sslConfig.sslKey", "path");
    run_t run;
    CHECK_FAILS(try_start(&run, "hostPort: h, username: u, database: d, sslMode: maybe", ""),
                status, SHOAL_INVALID);
    run_stop(&run);
    CHECK_FAILS(try_start(&run, "username: u, database: d", ""), status, SHOAL_INVALID);
    CHECK_SAYS(status.key, "hostPort");
    run_stop(&run);
}

static void
keys_of_openmetadata_are_known(void)
{
    run_t run;
    reading_t reading;
    open_run(&run, &reading,
             by_socket("postgres", "shop",
                       ", scheme: postgresql+psycopg2, type: Postgres, supportsProfiler: true, "
                       "classificationName: tags"),
             ", markDeletedTables: true, includeTags: true, threads: 4, queryLogDuration: 1");
    CHECK_SAYS(shoal_buffer_text(&run.warnings), "scheme");
    CHECK_SAYS(shoal_buffer_text(&run.warnings), "includeTags");
    CHECK_OK(reading_check(&reading, &status), status);
    close_run(&run, &reading);
}

// ---- connecting

static void
both_shapes_of_the_password_work(void)
{
    run_t run;
    reading_t reading;
    open_run(&run, &reading,
             by_tcp("postgres", "shop", ", password: \"" TEST_POSTGRES_PASSWORD "\""), "");
    CHECK_OK(reading_check(&reading, &status), status);
    close_run(&run, &reading);
    open_run(&run, &reading,
             by_tcp("postgres", "shop", ", authType: {password: \"" TEST_POSTGRES_PASSWORD "\"}"),
             "");
    CHECK_OK(reading_check(&reading, &status), status);
    close_run(&run, &reading);
}

static void
a_wrong_password_is_told_by_its_key(void)
{
    check_fails(by_tcp("postgres", "shop", ", password: wrong-one"), SHOAL_DENIED, SHOAL_CONFIG,
                CONNECTION "password", "wrong user or password");
    check_fails(by_tcp("postgres", "shop", ", authType: {password: wrong-one}"), SHOAL_DENIED,
                SHOAL_CONFIG, CONNECTION "authType.password", "wrong user or password");
    check_fails(by_tcp("nobody_here", "shop", ", password: wrong-one"), SHOAL_DENIED, SHOAL_CONFIG,
                CONNECTION "password", "nobody_here");
    check_fails(by_tcp("postgres", "shop", ""), SHOAL_DENIED, SHOAL_CONFIG,
                CONNECTION "authType.password", "wants a password");
    check_fails(by_socket("nobody_here", "shop", ""), SHOAL_DENIED, SHOAL_CONFIG,
                CONNECTION "username", "does not exist");
}

static void
an_unknown_database_is_told_by_its_key(void)
{
    check_fails(by_socket("postgres", "nowhere", ""), SHOAL_NOT_FOUND, SHOAL_CONFIG,
                CONNECTION "database", "\"nowhere\"");
    check_fails(by_socket("stranger", "private", ""), SHOAL_DENIED, SHOAL_CONFIG,
                CONNECTION "database", "permission denied");
}

static void
tls_that_is_demanded_and_not_there_is_told_by_its_key(void)
{
    check_fails(by_tcp("postgres", "shop", ", sslMode: require"), SHOAL_UNSUPPORTED, SHOAL_CONFIG,
                CONNECTION "sslMode", "offers no TLS");
    check_fails(by_tcp("postgres", "shop", ", connectionArguments: {sslmode: require}"),
                SHOAL_UNSUPPORTED, SHOAL_CONFIG, CONNECTION "sslMode", "offers no TLS");
}

static void
a_host_that_is_not_there_is_told_by_its_key(void)
{
    check_fails("hostPort: \"127.0.0.1:1\", username: u, database: d", SHOAL_UNAVAILABLE,
                SHOAL_TRANSIENT, CONNECTION "hostPort", "nobody listens");
    check_fails("hostPort: \"[::1]:1\", username: u, database: d", SHOAL_UNAVAILABLE,
                SHOAL_TRANSIENT, CONNECTION "hostPort", "cannot connect to \"[::1]:1\"");
    check_fails("hostPort: /nonexistent/folder, username: u, database: d", SHOAL_NOT_FOUND,
                SHOAL_CONFIG, CONNECTION "hostPort", "no socket");
    run_t run;
    reading_t reading;
    open_run(&run, &reading, "hostPort: \"no-such-host.invalid:5432\", username: u, database: d",
             "");
    CHECK(!reading_check(&reading, &status)); // without a resolver it may be a passing failure
    assert_string_equal(status.key, CONNECTION "hostPort");
    CHECK_SAYS(status.text, "no-such-host.invalid");
    close_run(&run, &reading);
}

// A listener that takes connections and says nothing.
static void
a_silent_host_is_given_up_after_the_timeout(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(listener, (const struct sockaddr *)&address, len) == 0 && listen(listener, 4) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
    char text[256];
    (void)snprintf(text, sizeof(text),
                   "hostPort: \"127.0.0.1:%u\", username: u, database: d, connectionArguments: "
                   "{connect_timeout: 1}",
                   ntohs(address.sin_port));
    check_fails(text, SHOAL_TIMEOUT, SHOAL_TRANSIENT, CONNECTION "hostPort", "within 1 seconds");
    CHECK(close(listener) == 0);
}

static void
a_wrong_session_option_is_told_by_its_key(void)
{
    check_fails(
        by_socket("postgres", "shop", ", connectionArguments: {options: \"-c work_mem=x\"}"),
        SHOAL_INVALID, SHOAL_CONFIG, CONNECTION "connectionOptions", "work_mem");
}

// Gives the server a certificate of its own for the host "db.example", and switches TLS on.
static void
switch_tls_on(void)
{
    char command[1024];
    (void)snprintf(command, sizeof(command),
                   "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
                   "-nodes -days 2 -subj /CN=db.example -keyout key.pem -out cert.pem 2>/dev/null "
                   "&& chmod 600 key.pem && chown --reference=data key.pem cert.pem",
                   server.folder);
    CHECK(system(command) == 0); // NOLINT(cert-env33-c): a test, with nothing from outside in it
    char setting[256];
    (void)snprintf(setting, sizeof(setting), "alter system set ssl_cert_file = '%s/cert.pem'",
                   server.folder);
    test_postgres_sql(&server, "postgres", setting);
    (void)snprintf(setting, sizeof(setting), "alter system set ssl_key_file = '%s/key.pem'",
                   server.folder);
    test_postgres_sql(&server, "postgres", setting);
    test_postgres_sql(&server, "postgres", "alter system set ssl = on");
    test_postgres_sql(&server, "postgres", "select pg_reload_conf()");
    uint64_t until = shoal_clock_ms() + 10000;
    for (bool is_on = false; !is_on && shoal_clock_ms() < until;) {
        char *value = test_postgres_value(&server, "postgres", "show ssl");
        is_on = strcmp(value, "on") == 0;
        free(value);
    }
}

static void
tls_is_used_and_certificates_are_looked_at(void)
{
    static const char password[] = "password: \"" TEST_POSTGRES_PASSWORD "\"";
    char more[512];
    run_t run;
    reading_t reading;
    switch_tls_on();
    (void)snprintf(more, sizeof(more), ", %s, sslMode: require", password);
    open_run(&run, &reading, by_tcp("postgres", "shop", more), "");
    CHECK_OK(reading_everything(&reading, &status), status);
    close_run(&run, &reading);
    (void)snprintf(more, sizeof(more),
                   ", %s, sslMode: verify-ca, sslConfig: {caCertificate: %s/cert.pem}", password,
                   server.folder);
    open_run(&run, &reading, by_tcp("postgres", "shop", more), "");
    CHECK_OK(reading_check(&reading, &status), status);
    close_run(&run, &reading);
    (void)snprintf(more, sizeof(more),
                   ", %s, sslMode: verify-full, sslConfig: {caCertificate: %s/cert.pem}", password,
                   server.folder);
    check_fails(by_tcp("postgres", "shop", more), SHOAL_DENIED, SHOAL_CONFIG, CONNECTION "sslMode",
                "for another host");
    (void)snprintf(more, sizeof(more),
                   ", %s, sslMode: verify-ca, sslConfig: {caCertificate: "
                   "/etc/ssl/certs/ca-certificates.crt}",
                   password);
    check_fails(by_tcp("postgres", "shop", more), SHOAL_DENIED, SHOAL_CONFIG, CONNECTION "sslMode",
                "not trusted");
    (void)snprintf(more, sizeof(more),
                   ", %s, sslMode: verify-ca, sslConfig: {caCertificate: /nonexistent/ca.pem}",
                   password);
    check_fails(by_tcp("postgres", "shop", more), SHOAL_NOT_FOUND, SHOAL_CONFIG,
                CONNECTION "sslConfig.caCertificate", "/nonexistent/ca.pem");
    (void)snprintf(more, sizeof(more),
                   ", %s, sslMode: require, sslConfig: {sslCertificate: /nonexistent/c.pem}",
                   password);
    open_run(&run, &reading, by_tcp("postgres", "shop", more), "");
    CHECK_OK(reading_check(&reading, &status), status); // libpq uses one only if it is there
    close_run(&run, &reading);
}

// ---- too many connections

// The one connection that the role `single` may have.
static PGconn *
connect_as_single(void)
{
    char target[256];
    (void)snprintf(target, sizeof(target), "host=%s port=%u user=single dbname=shop", server.folder,
                   server.port);
    PGconn *connection = PQconnectdb(target);
    // The server takes a moment to notice that the one before is free.
    for (uint64_t until = shoal_clock_ms() + 10000;
         PQstatus(connection) != CONNECTION_OK && shoal_clock_ms() < until;) {
        PQreset(connection);
    }
    CHECK(PQstatus(connection) == CONNECTION_OK);
    return connection;
}

typedef struct release {
    PGconn *holder;
    unsigned waits;
} release_t;

// Lets the holder's connection go once the other one has been refused for a while.
static void
let_go(void *ctx)
{
    release_t *release = ctx;
    if (++release->waits == 12 && release->holder) {
        PQfinish(release->holder);
        release->holder = NULL;
    }
}

static void
refused_connections_are_tried_again_until_there_is_room(void)
{
    run_t run;
    reading_t reading;
    open_run(&run, &reading, by_socket("single", "shop", ""), "");
    release_t release = {connect_as_single(), 0};
    reading.before_wait = let_go;
    reading.ctx = &release;
    CHECK_OK(reading_check(&reading, &status), status);
    CHECK(!release.holder);
    CHECK_SAYS(shoal_buffer_text(&run.warnings), "refused connections");
    close_run(&run, &reading);
}

// Two instances take turns on a role's only connection: one that kept it, or a snapshot that did,
// would stop the other. The server takes a moment to notice that a connection is free.
static void
slots_take_turns_where_there_is_one_connection(void)
{
    run_t run;
    reading_t first;
    reading_t second;
    open_run(&run, &first, by_socket("single", "sharded", ", refusedRetrySeconds: 5"), "");
    CHECK_OK(reading_open(&second, &run, &status), status);
    CHECK_OK(reading_check(&first, &status), status);
    CHECK_OK(reading_discover(&first, SHOAL_SLICE_NONE, &status), status);
    CHECK_SAYS(shoal_buffer_text(&run.facts), "snapshot=not shared");
    CHECK_SAYS(shoal_buffer_text(&run.warnings), "last free connection");
    CHECK(run.shard_count > 4);
    for (size_t i = 0; i < run.shard_count; i++) {
        CHECK_OK(reading_read(i % 2 == 0 ? &first : &second, i, &status), status);
    }
    CHECK(run_is_balanced(&run));
    reading_close(&second);
    close_run(&run, &first);
}

static void
connections_refused_for_long_are_a_passing_failure(void)
{
    run_t run;
    reading_t reading;
    PGconn *holder = connect_as_single();
    open_run(&run, &reading, by_socket("single", "shop", ", refusedRetrySeconds: 1"), "");
    CHECK_FAILS(reading_check(&reading, &status), status, SHOAL_LIMIT);
    CHECK(status.error_class == SHOAL_TRANSIENT);
    CHECK_SAYS(status.text, "refused connections");
    PQfinish(holder);
    CHECK_OK(reading_check(&reading, &status), status); // the instance is as good as before
    close_run(&run, &reading);
}

// ---- privileges

static void
a_schema_without_permission_is_a_failed_scope(void)
{
    run_t run;
    reading_t reading;
    open_run(&run, &reading, by_socket("stranger", "shop", ""), "");
    CHECK_OK(reading_everything(&reading, &status), status);
    CHECK(run_is_balanced(&run));
    const run_scope_t *scope = run_scope(&run, "pg1.shop.secret");
    CHECK(scope && scope->failed && !scope->is_ended && scope->failed_code == SHOAL_DENIED);
    CHECK_SAYS(scope->failed, "no permission on schema \"secret\"");
    CHECK_SAYS(scope->failed, "\"stranger\"");
    CHECK(run_record(&run, "\"name\":\"secret\",\"database\"") != NULL);
    CHECK(!run_record(&run, "\"databaseSchema\":\"pg1.shop.secret\""));
    CHECK(run_scope(&run, "pg1.shop.public")->is_ended);
    CHECK(run_record(&run, "\"databaseSchema\":\"pg1.shop.public\"") != NULL);
    close_run(&run, &reading);
}

static void
a_catalogue_that_may_not_be_read_is_told(void)
{
    run_t run;
    reading_t reading;
    check_fails(by_socket("stranger", "locked", ""), SHOAL_INVALID, SHOAL_CONFIG,
                CONNECTION "username", "may not read pg_class");
    open_run(&run, &reading, by_socket("stranger", "locked", ""), "");
    CHECK_FAILS(reading_discover(&reading, SHOAL_SLICE_NONE, &status), status, SHOAL_DENIED);
    assert_string_equal(status.key, CONNECTION "username");
    CHECK_SAYS(status.text, "cannot count the tables");
    close_run(&run, &reading);
}

static void
a_database_that_cannot_be_entered_is_a_failed_scope(void)
{
    run_t run;
    reading_t reading;
    open_run(&run, &reading, by_socket("stranger", "shop", ", ingestAllDatabases: true"),
             ", databaseFilterPattern: {includes: [shop, private]}");
    CHECK_OK(reading_everything(&reading, &status), status);
    CHECK(run_is_balanced(&run));
    CHECK(run_scope(&run, "pg1")->delivered == 2);
    CHECK(run_scope(&run, "pg1.private")->failed_code == SHOAL_DENIED);
    CHECK_SAYS(run_scope(&run, "pg1.private")->failed, "permission denied");
    CHECK(run_record(&run, "\"name\":\"private\"") != NULL);
    close_run(&run, &reading);
}

// As for one that cannot be entered from the start: no other database pays for it.
static void
a_database_that_is_closed_after_it_was_listed_fails_alone(void)
{
    run_t run;
    reading_t discoverer;
    reading_t reader;
    test_postgres_sql(&server, "postgres", "create database closing");
    test_postgres_sql(&server, "closing", "create table t (n int)");
    open_run(&run, &discoverer, by_socket("stranger", "shop", ", ingestAllDatabases: true"),
             ", databaseFilterPattern: {includes: [closing]}");
    CHECK_OK(reading_discover(&discoverer, SHOAL_SLICE_NONE, &status), status);
    CHECK_OK(reading_open(&reader, &run, &status), status);
    test_postgres_sql(&server, "postgres", "revoke connect on database closing from public");
    unsigned failed = 0;
    for (size_t i = 0; i < run.shard_count; i++) {
        if (!reading_read(&reader, i, &status)) {
            CHECK(status.code == SHOAL_DENIED && status.error_class == SHOAL_FATAL);
            CHECK(status.key[0] == '\0');
            failed++;
        }
    }
    CHECK(failed == 2); // the database's own shard, and its tables
    reading_close(&reader);
    close_run(&run, &discoverer);
}

// Renames the server's socket.
static void
move_socket(const char *to, const char *from)
{
    char old[256];
    char new[256];
    (void)snprintf(old, sizeof(old), "%s/.s.PGSQL.%u%s", server.folder, server.port, from);
    (void)snprintf(new, sizeof(new), "%s/.s.PGSQL.%u%s", server.folder, server.port, to);
    CHECK(rename(old, new) == 0);
}

// Drops a database while discovery looks at the one before it.
static void
drop_second(void *ctx)
{
    unsigned *waits = ctx;
    if (++*waits == 6) {
        test_postgres_sql(&server, "postgres", "drop database if exists \"zz_leaving\"");
    }
}

static void
a_database_dropped_after_it_was_listed_has_vanished(void)
{
    run_t run;
    reading_t reading;
    unsigned waits = 0;
    test_postgres_sql(&server, "postgres", "create database zz_leaving");
    open_run(&run, &reading, by_socket("postgres", "shop", ", ingestAllDatabases: true"),
             ", databaseFilterPattern: {includes: [shop, private, zz_]}");
    CHECK_OK(reading_check(&reading, &status), status);
    reading.before_wait = drop_second;
    reading.ctx = &waits;
    CHECK_OK(reading_discover(&reading, SHOAL_SLICE_NONE, &status), status);
    reading.before_wait = NULL;
    for (size_t i = 0; i < run.shard_count; i++) {
        CHECK_OK(reading_read(&reading, i, &status), status);
    }
    CHECK(run_is_balanced(&run));
    CHECK(run_scope(&run, "pg1")->listed == 3 || run_scope(&run, "pg1")->filtered > 0);
    CHECK(run_scope(&run, "pg1")->vanished == 1);
    close_run(&run, &reading);
}

static void
a_database_dropped_before_it_is_read_has_vanished(void)
{
    run_t run;
    reading_t discoverer;
    reading_t reader;
    test_postgres_sql(&server, "postgres", "create database zz_leaving");
    test_postgres_sql(&server, "zz_leaving", "create table t (n int)");
    open_run(&run, &discoverer, by_socket("postgres", "shop", ", ingestAllDatabases: true"),
             ", databaseFilterPattern: {includes: [shop, zz_]}");
    CHECK_OK(reading_discover(&discoverer, SHOAL_SLICE_NONE, &status), status);
    CHECK_OK(reading_open(&reader, &run, &status), status);
    test_postgres_sql(&server, "postgres", "drop database zz_leaving with (force)");
    for (size_t i = 0; i < run.shard_count; i++) {
        CHECK_OK(reading_read(&reader, i, &status), status);
    }
    CHECK(run_is_balanced(&run));
    CHECK(run_scope(&run, "pg1")->delivered == 1 && run_scope(&run, "pg1")->vanished == 1);
    CHECK(run_scope(&run, "pg1.zz_leaving.public")->vanished == 1);
    reading_close(&reader);
    close_run(&run, &discoverer);
}

// Hides the server's socket once the first database's transaction has begun.
static void
hide_socket(void *ctx)
{
    bool *is_hidden = ctx;
    if (*is_hidden) {
        return;
    }
    char *count = test_postgres_value(&server, "postgres",
                                      "select count(*) from pg_stat_activity "
                                      "where datname in ('shop', 'private') "
                                      "and xact_start is not null");
    *is_hidden = strcmp(count, "0") != 0;
    free(count);
    if (*is_hidden) {
        move_socket(".hidden", "");
    }
}

static void
a_server_that_is_not_found_later_leaves_no_database_out(void)
{
    run_t run;
    reading_t reading;
    bool is_hidden = false;
    open_run(&run, &reading, by_socket("postgres", "shop", ", ingestAllDatabases: true"),
             ", databaseFilterPattern: {includes: [shop, private]}");
    CHECK_OK(reading_check(&reading, &status), status);
    reading.before_wait = hide_socket;
    reading.ctx = &is_hidden;
    bool is_done = reading_discover(&reading, SHOAL_SLICE_NONE, &status);
    reading.before_wait = NULL;
    move_socket("", ".hidden");
    CHECK_FAILS(is_done, status, SHOAL_NOT_FOUND);
    CHECK_SAYS(status.text, "no socket of a server");
    close_run(&run, &reading);
}

// ---- in the middle

// A reading whose map shard waits for a lock that `locker` holds.
static PGconn *
start_blocked(run_t *run, reading_t *reading, const char *more)
{
    open_run(run, reading, by_socket("postgres", "shop", more), "");
    CHECK_OK(reading_check(reading, &status), status);
    CHECK_OK(reading_discover(reading, SHOAL_SLICE_NONE, &status), status);
    PGconn *locker = test_postgres_connect(&server, "shop");
    PQclear(PQexec(locker, "begin"));
    PQclear(PQexec(locker, "lock table pg_description in access exclusive mode"));
    return locker;
}

static size_t
first_map(const run_t *run)
{
    size_t at = 0;
    while (run->shards[at].shard.stage != SHOAL_STAGE_MAP) {
        at++;
    }
    return at;
}

// After the locker is gone the same instance reads the shard.
static void
goes_on(run_t *run, reading_t *reading, PGconn *locker)
{
    PQfinish(locker);
    reading->before_wait = NULL;
    reading->is_cancelled = false;
    CHECK_OK(reading_read(reading, first_map(run), &status), status);
    CHECK(run_record(run, "\"databaseSchema\":\"pg1.shop.public\"") != NULL);
    close_run(run, reading);
}

static void
kill_backends(void *ctx)
{
    unsigned *waits = ctx;
    if (++*waits == 8) {
        test_postgres_sql(&server, "postgres",
                          "select pg_terminate_backend(pid) from pg_stat_activity where "
                          "application_name = 'shoal'");
    }
}

static void
a_connection_that_the_server_ends_is_a_passing_failure(void)
{
    run_t run;
    reading_t reading;
    unsigned waits = 6;
    PGconn *locker = start_blocked(&run, &reading, "");
    reading.before_wait = kill_backends;
    reading.ctx = &waits;
    CHECK_FAILS(reading_read(&reading, first_map(&run), &status), status, SHOAL_UNAVAILABLE);
    CHECK(status.error_class == SHOAL_TRANSIENT);
    CHECK_SAYS(status.text, "the server ended the connection");
    goes_on(&run, &reading, locker);
}

static void
a_statement_that_takes_too_long_is_given_up(void)
{
    run_t run;
    reading_t reading;
    PGconn *locker = start_blocked(&run, &reading, ", statementTimeoutSeconds: 1");
    CHECK_FAILS(reading_read(&reading, first_map(&run), &status), status, SHOAL_TIMEOUT);
    CHECK(status.error_class == SHOAL_TRANSIENT);
    assert_string_equal(status.key, CONNECTION "statementTimeoutSeconds");
    CHECK_SAYS(status.text, "cannot read the comments");
    goes_on(&run, &reading, locker);
}

static void
a_lock_that_is_not_given_is_a_passing_failure(void)
{
    run_t run;
    reading_t reading;
    PGconn *locker =
        start_blocked(&run, &reading, ", connectionArguments: {options: \"-c lock_timeout=100\"}");
    CHECK_FAILS(reading_read(&reading, first_map(&run), &status), status, SHOAL_TIMEOUT);
    CHECK_SAYS(status.text, "lock");
    goes_on(&run, &reading, locker);
}

// Reads everything of a database that has two good views and `bad`, which `spoil` or `locker` made so.
static void
check_costs_one_view(const char *more, const char *name, const char *says)
{
    char wanted[128];
    run_t run;
    reading_t reading;
    open_run(&run, &reading, by_socket("postgres", "views", more), "");
    CHECK_OK(reading_everything(&reading, &status), status);
    CHECK(run_is_balanced(&run));
    CHECK(run_scope(&run, "pg1.views.public")->dead == 1);
    (void)snprintf(wanted, sizeof(wanted), "pg1.views.public.%s: cannot read a view", name);
    CHECK_SAYS(shoal_buffer_text(&run.warnings), wanted);
    CHECK_SAYS(shoal_buffer_text(&run.warnings), says);
    CHECK(run_record(&run, "\"name\":\"base\"") != NULL);
    CHECK(run_count(&run, "\"schemaDefinition\":\"CREATE VIEW public.good") == 2);
    CHECK(run_count(&run, "\"name\":\"bad") == 1); // of the two, the other one
    close_run(&run, &reading);
}

static void
a_view_that_is_locked_or_broken_costs_itself_only(void)
{
    test_postgres_sql(&server, "postgres", "create database views");
    test_postgres_sql(&server, "views",
                      "create table base (n int); create table held (n int); "
                      "create view good1 as select n from base; "
                      "create view bad1 as select n from held; "
                      "create view good2 as select n from base; "
                      "create function lost() returns int language sql as 'select 1'; "
                      "create view bad2 as select lost() as n from base");
    PGconn *locker = test_postgres_connect(&server, "views");
    PQclear(PQexec(locker, "begin"));
    PQclear(PQexec(locker, "lock table held in access exclusive mode"));
    check_costs_one_view(", connectionArguments: {options: \"-c lock_timeout=100\"}", "bad1",
                         "lock");
    PQfinish(locker);
    test_postgres_sql(&server, "views", "delete from pg_proc where proname = 'lost'");
    check_costs_one_view("", "bad2", "XX000");
}

static void
cancel_soon(void *ctx)
{
    reading_t *reading = ctx;
    reading->is_cancelled = reading->waits > 10;
}

static void
a_cancelled_read_stops_at_the_server_too(void)
{
    run_t run;
    reading_t reading;
    PGconn *locker = start_blocked(&run, &reading, "");
    reading.before_wait = cancel_soon;
    reading.ctx = &reading;
    reading.waits = 9; // the second wait from here is cancelled
    char *other = NULL;
    CHECK_FAILS(reading_read(&reading, first_map(&run), &status), status, SHOAL_CANCELLED);
    uint64_t until = shoal_clock_ms() + 10000;
    do {
        free(other);
        other = test_postgres_value(&server, "postgres",
                                    "select count(*) from pg_stat_activity where application_name "
                                    "= 'shoal' and state = 'active'");
    } while (strcmp(other, "0") != 0 && shoal_clock_ms() < until);
    assert_string_equal(other, "0");
    free(other);
    goes_on(&run, &reading, locker);
}

static void
many_views_do_not_use_up_the_servers_locks(void)
{
    test_postgres_t small;
    test_postgres_start(&small, "max_connections = 12\nmax_locks_per_transaction = 10");
    PGconn *connection = test_postgres_connect(&small, "postgres");
    for (int i = 0; i < 1200; i++) {
        char sql[128];
        (void)snprintf(sql, sizeof(sql),
                       "create table t%d (n int); create view v%d as select * from t%d", i, i, i);
        PQclear(PQexec(connection, sql));
    }
    PGresult *all_at_once =
        PQexec(connection, "select max(pg_get_viewdef(oid)) from pg_class where relkind = 'v'");
    CHECK_SAYS(PQresultErrorMessage(all_at_once), "out of shared memory"); // else nothing is shown
    PQclear(all_at_once);
    PQfinish(connection);
    char text[256];
    (void)snprintf(text, sizeof(text),
                   "hostPort: \"%s:%u\", username: postgres, database: postgres", small.folder,
                   small.port);
    run_t run;
    reading_t reading;
    open_run(&run, &reading, text, "");
    CHECK_OK(reading_everything(&reading, &status), status);
    CHECK(run_is_balanced(&run));
    CHECK(run_count(&run, "\"schemaDefinition\":\"CREATE VIEW public.v") == 1200);
    close_run(&run, &reading);
    test_postgres_stop(&small);
}

// ---- text

static void
other_encodings_come_out_as_utf8(void)
{
    run_t run;
    reading_t reading;
    open_run(&run, &reading, by_socket("postgres", "latin", ""), "");
    CHECK_OK(reading_everything(&reading, &status), status);
    CHECK(run_record(&run, "\"name\":\"h\xc3\xa4user\"") != NULL);
    close_run(&run, &reading);
    open_run(&run, &reading, by_socket("postgres", "anything", ""), "");
    CHECK_OK(reading_everything(&reading, &status), status);
    CHECK(run_record(&run, "\"description\":\"h\xef\xbf\xbduser\"") != NULL);
    close_run(&run, &reading);
}

// ---- the server

static int
start_server(void **state)
{
    (void)state;
    test_postgres_start(&server, NULL);
    static const char *const statements[] = {
        "create database shop",
        "create database private",
        "create database locked",
        "create database sharded",
        "create database latin encoding 'LATIN1' locale 'C' template template0",
        "create database anything encoding 'SQL_ASCII' locale 'C' template template0",
        "revoke connect on database private from public",
        "create role stranger login",
        "create role single login connection limit 1",
    };
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        test_postgres_sql(&server, "postgres", statements[i]);
    }
    test_postgres_sql(&server, "shop",
                      "create table public.customers (id int); create schema secret; create table "
                      "secret.plans (id int)");
    test_postgres_sql(&server, "sharded",
                      "do $$ begin for i in 1..30 loop execute format('create table t%s ()', i); "
                      "end loop; end $$");
    test_postgres_sql(&server, "locked", "revoke select on pg_class from public");
    test_postgres_sql(&server, "latin", "create table \"h\xc3\xa4user\" (id int)");
    test_postgres_sql(&server, "anything",
                      "create table t (id int); comment on table t is E'h\\344user'");
    return 0;
}

static int
stop_server(void **state)
{
    (void)state;
    test_postgres_stop(&server);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_wrong_host_or_port_is_told_by_its_key),
        TEST(other_wrong_options_are_told_by_their_keys),
        TEST(keys_of_openmetadata_are_known),
        TEST(both_shapes_of_the_password_work),
        TEST(a_wrong_password_is_told_by_its_key),
        TEST(an_unknown_database_is_told_by_its_key),
        TEST(tls_that_is_demanded_and_not_there_is_told_by_its_key),
        TEST(a_host_that_is_not_there_is_told_by_its_key),
        TEST(a_silent_host_is_given_up_after_the_timeout),
        TEST(a_wrong_session_option_is_told_by_its_key),
        TEST(refused_connections_are_tried_again_until_there_is_room),
        TEST(slots_take_turns_where_there_is_one_connection),
        TEST(connections_refused_for_long_are_a_passing_failure),
        TEST(a_schema_without_permission_is_a_failed_scope),
        TEST(a_catalogue_that_may_not_be_read_is_told),
        TEST(a_database_that_cannot_be_entered_is_a_failed_scope),
        TEST(a_database_that_is_closed_after_it_was_listed_fails_alone),
        TEST(a_database_dropped_after_it_was_listed_has_vanished),
        TEST(a_database_dropped_before_it_is_read_has_vanished),
        TEST(a_server_that_is_not_found_later_leaves_no_database_out),
        TEST(a_connection_that_the_server_ends_is_a_passing_failure),
        TEST(a_statement_that_takes_too_long_is_given_up),
        TEST(a_lock_that_is_not_given_is_a_passing_failure),
        TEST(a_view_that_is_locked_or_broken_costs_itself_only),
        TEST(a_cancelled_read_stops_at_the_server_too),
        TEST(many_views_do_not_use_up_the_servers_locks),
        TEST(other_encodings_come_out_as_utf8),
        TEST(tls_is_used_and_certificates_are_looked_at),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
