// SPDX-License-Identifier: Apache-2.0
//
// test_postgres_cancel.c - what connectors/postgres/cancel.h promises, with a server that says what
// it takes to be connected to, and nothing more.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "connectors/postgres/cancel.h"
#include "proto/base/clock.h"
#include "tests/support/test.h"

#define FILLERS_MAX 64

typedef struct server {
    char folder[32];
    struct sockaddr_un address;
    int listener;
    int peer; // of the first connection
    pthread_t thread;
} server_t;

// Takes one connection: authentication is done, process 1 with key 2, ready for queries.
static void *
serve_one(void *arg)
{
    static const char hello[] = "R\0\0\0\x08\0\0\0\0"
                                "K\0\0\0\x0c\0\0\0\x01\0\0\0\x02"
                                "Z\0\0\0\x05I";
    server_t *server = arg;
    char startup[1024];
    server->peer = accept(server->listener, NULL, NULL);
    if (server->peer < 0 || read(server->peer, startup, sizeof(startup)) <= 0 ||
        write(server->peer, hello, sizeof(hello) - 1) != (ssize_t)sizeof(hello) - 1) {
        return NULL;
    }
    return server;
}

static PGconn *
server_start(server_t *server)
{
    char info[128];
    void *served = NULL;
    (void)snprintf(server->folder, sizeof(server->folder), "/tmp/shoal-pg-XXXXXX");
    CHECK(mkdtemp(server->folder) != NULL);
    server->address = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(server->address.sun_path, sizeof(server->address.sun_path), "%s/.s.PGSQL.5432",
                   server->folder);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(server->listener >= 0);
    CHECK(bind(server->listener, (const struct sockaddr *)&server->address,
               sizeof(server->address)) == 0);
    CHECK(listen(server->listener, 1) == 0);
    CHECK(pthread_create(&server->thread, NULL, serve_one, server) == 0);
    (void)snprintf(info, sizeof(info), "host=%s port=5432 dbname=x user=x sslmode=disable",
                   server->folder);
    PGconn *connection = PQconnectdb(info);
    CHECK(pthread_join(server->thread, &served) == 0 && served == server);
    if (PQstatus(connection) != CONNECTION_OK) {
        fail_msg("not connected: %s", PQerrorMessage(connection));
    }
    return connection;
}

static void
server_stop(server_t *server)
{
    (void)close(server->listener); // whoever waits to be taken is refused now
    (void)close(server->peer);
    (void)unlink(server->address.sun_path);
    CHECK(rmdir(server->folder) == 0);
}

static void
the_server_is_told(void)
{
    server_t server;
    PGconn *connection = server_start(&server);
    unsigned char request[16];
    shoal_pg_cancel(connection, 100); // it is waited for until the server closes
    int peer = accept(server.listener, NULL, NULL);
    CHECK(peer >= 0);
    CHECK(read(peer, request, sizeof(request)) == (ssize_t)sizeof(request));
    CHECK(request[3] == 16 && request[11] == 1 && request[15] == 2); // length, process, key
    (void)close(peer);
    PQfinish(connection);
    server_stop(&server);
}

// A server that takes no more connections: libpq would wait for ever.
static void
a_server_that_does_not_answer_is_left_in_time(void)
{
    server_t server;
    PGconn *connection = server_start(&server);
    int fillers[FILLERS_MAX];
    size_t count = 0;
    bool is_full = false;
    while (!is_full) {
        CHECK(count < FILLERS_MAX);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        CHECK(fd >= 0);
        is_full =
            connect(fd, (const struct sockaddr *)&server.address, sizeof(server.address)) != 0;
        fillers[count++] = fd;
    }
    uint64_t began_ms = shoal_clock_ms();
    shoal_pg_cancel(connection, 200);
    uint64_t took_ms = shoal_clock_ms() - began_ms;
    CHECK(took_ms >= 200 && took_ms < 20000);
    PQfinish(connection);
    server_stop(&server);
    for (size_t i = 0; i < count; i++) {
        (void)close(fillers[i]);
    }
}

TEST_MAIN(TEST(the_server_is_told), TEST(a_server_that_does_not_answer_is_left_in_time))
