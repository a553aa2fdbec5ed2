// SPDX-License-Identifier: Apache-2.0
//
// postgres.h - a private PostgreSQL server of a test, in a temporary folder of its own.
//
// PostgreSQL does not run as root, so then it runs as the user postgres. Its superuser `postgres`
// comes in through the Unix socket without a password; over TCP a password is asked. The server
// dies with the test, however that ends.
//
// Failures of the server fail the test.

#ifndef SHOAL_TESTS_SUPPORT_POSTGRES_H
#define SHOAL_TESTS_SUPPORT_POSTGRES_H

#include <sys/types.h>

#include <libpq-fe.h>

#define TEST_POSTGRES_PASSWORD "s3cret-Passw0rd"

typedef struct test_postgres {
    char folder[64]; // has the socket
    unsigned port;   // of the socket and of 127.0.0.1
    pid_t pid;       // 0: stopped
} test_postgres_t;

// `settings` is added to its postgresql.conf; NULL: nothing.
void test_postgres_start(test_postgres_t *postgres, const char *settings);
void test_postgres_stop(test_postgres_t *postgres); // and removes its folder

// Another connection of the superuser; PQfinish() it.
PGconn *test_postgres_connect(const test_postgres_t *postgres, const char *database);

// Runs statements in `database` as its superuser.
void test_postgres_sql(const test_postgres_t *postgres, const char *database, const char *sql);

// The one value that a query gives, as a text to free().
char *test_postgres_value(const test_postgres_t *postgres, const char *database, const char *sql);

#endif
