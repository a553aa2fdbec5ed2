// SPDX-License-Identifier: Apache-2.0
//
// postgres.c - see postgres.h.

#include "tests/support/postgres.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <glob.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "tests/support/test.h"

#define START_DEADLINE_MS 60000
#define LOOK_EVERY_MS     10
#define PATH_MAX_BYTES    256

static const char access_rules[] = "local all all trust\n"
                                   "host all all 127.0.0.1/32 scram-sha-256\n";

static void
program_path(const char *name, char path[PATH_MAX_BYTES])
{
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) != 0) {
        fail_msg("PostgreSQL is not installed (deploy/install-deps test)");
        return;
    }
    (void)snprintf(path, PATH_MAX_BYTES, "%s/%s", found.gl_pathv[found.gl_pathc - 1], name);
    globfree(&found);
}

// In the child: becomes the user postgres if we are root, and dies with the test.
static void
drop_root(pid_t parent)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (user && (setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) {
        _exit(126);
    }
    if (prctl(PR_SET_PDEATHSIG, SIGQUIT) != 0 || getppid() != parent) {
        _exit(126);
    }
}

// Starts `arguments`, its output going to a file in the folder.
static pid_t
spawn(const test_postgres_t *postgres, const char *name, const char *const *arguments)
{
    char program[PATH_MAX_BYTES];
    char log[PATH_MAX_BYTES];
    program_path(name, program);
    (void)snprintf(log, sizeof(log), "%s/%s.log", postgres->folder, name);
    pid_t parent = getpid();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0) {
        return pid;
    }
    drop_root(parent);
    if (chdir(postgres->folder) != 0 || !freopen("/dev/null", "r", stdin) ||
        !freopen(log, "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) {
        _exit(126);
    }
    char *argv[16] = {program};
    for (size_t i = 0; arguments[i] && i + 2 < sizeof(argv) / sizeof(argv[0]); i++) {
        argv[i + 1] = strdup(arguments[i]);
    }
    (void)execv(program, argv);
    _exit(127);
}

static void
write_file(const test_postgres_t *postgres, const char *name, const char *mode, const char *text)
{
    char path[PATH_MAX_BYTES];
    (void)snprintf(path, sizeof(path), "%s/data/%s", postgres->folder, name);
    FILE *file = fopen(path, mode);
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
}

static unsigned
free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(probe >= 0);
    CHECK(bind(probe, (const struct sockaddr *)&address, len) == 0);
    CHECK(getsockname(probe, (struct sockaddr *)&address, &len) == 0);
    CHECK(close(probe) == 0);
    return ntohs(address.sin_port);
}

static void
make_cluster(test_postgres_t *postgres)
{
    static const char *const arguments[] = {
        "-D",        "data",       "-U",   "postgres", "-A",      "trust",
        "--no-sync", "--encoding", "UTF8", "--locale", "C.UTF-8", NULL,
    };
    int is = 0;
    pid_t pid = spawn(postgres, "initdb", arguments);
    CHECK(waitpid(pid, &is, 0) == pid);
    if (!WIFEXITED(is) || WEXITSTATUS(is) != 0) {
        fail_msg("initdb failed: see %s/initdb.log", postgres->folder);
    }
}

static void
wait_until_it_answers(const test_postgres_t *postgres)
{
    char target[PATH_MAX_BYTES];
    (void)snprintf(target, sizeof(target), "host=%s port=%u user=postgres dbname=postgres",
                   postgres->folder, postgres->port);
    uint64_t until = shoal_clock_ms() + START_DEADLINE_MS;
    while (PQping(target) != PQPING_OK) {
        if (shoal_clock_ms() > until || waitpid(postgres->pid, NULL, WNOHANG) != 0) {
            fail_msg("the server does not start: see %s/postgres.log", postgres->folder);
        }
        (void)poll(NULL, 0, LOOK_EVERY_MS);
    }
}

void
test_postgres_start(test_postgres_t *postgres, const char *settings)
{
    *postgres = (test_postgres_t){.folder = "/tmp/shoal-pg-XXXXXX"};
    CHECK(mkdtemp(postgres->folder) != NULL);
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (user) {
        CHECK(chown(postgres->folder, user->pw_uid, user->pw_gid) == 0);
    }
    CHECK(chmod(postgres->folder, 0755) == 0);
    make_cluster(postgres);
    postgres->port = free_port();
    char text[512];
    (void)snprintf(text, sizeof(text),
                   "\nport = %u\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '%s'\n"
                   "fsync = off\nautovacuum = off\nlog_min_messages = log\n%s\n",
                   postgres->port, postgres->folder, settings ? settings : "");
    write_file(postgres, "postgresql.conf", "a", text);
    write_file(postgres, "pg_hba.conf", "w", access_rules);
    static const char *const arguments[] = {"-D", "data", NULL};
    postgres->pid = spawn(postgres, "postgres", arguments);
    wait_until_it_answers(postgres);
    test_postgres_sql(postgres, "postgres",
                      "alter role postgres password '" TEST_POSTGRES_PASSWORD "'");
}

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

void
test_postgres_stop(test_postgres_t *postgres)
{
    if (postgres->pid > 0) {
        (void)kill(postgres->pid, SIGQUIT);
        (void)waitpid(postgres->pid, NULL, 0);
        postgres->pid = 0;
    }
    if (postgres->folder[0]) {
        (void)nftw(postgres->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        postgres->folder[0] = '\0';
    }
}

PGconn *
test_postgres_connect(const test_postgres_t *postgres, const char *database)
{
    char port[16];
    (void)snprintf(port, sizeof(port), "%u", postgres->port);
    const char *const keywords[] = {"host", "port", "user", "dbname", "client_encoding", NULL};
    const char *const values[] = {postgres->folder, port, "postgres", database, "UTF8", NULL};
    PGconn *connection = PQconnectdbParams(keywords, values, 0);
    if (PQstatus(connection) != CONNECTION_OK) {
        fail_msg("cannot connect to the test's server: %s", PQerrorMessage(connection));
    }
    return connection;
}

static PGresult *
run(PGconn *connection, const char *sql)
{
    PGresult *result = PQexec(connection, sql);
    ExecStatusType is = PQresultStatus(result);
    if (is != PGRES_COMMAND_OK && is != PGRES_TUPLES_OK) {
        fail_msg("%s\nin: %s", PQerrorMessage(connection), sql);
    }
    return result;
}

void
test_postgres_sql(const test_postgres_t *postgres, const char *database, const char *sql)
{
    PGconn *connection = test_postgres_connect(postgres, database);
    PQclear(run(connection, sql));
    PQfinish(connection);
}

char *
test_postgres_value(const test_postgres_t *postgres, const char *database, const char *sql)
{
    PGconn *connection = test_postgres_connect(postgres, database);
    PGresult *result = run(connection, sql);
    CHECK(PQntuples(result) == 1);
    char *value = strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    PQfinish(connection);
    return value;
}
