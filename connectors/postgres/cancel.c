// SPDX-License-Identifier: Apache-2.0
//
// cancel.c - see cancel.h.

#include "connectors/postgres/cancel.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "proto/base/alloc.h"

#define MESSAGE_MAX 256 // bytes of PQcancel's own message
#define STACK_BYTES 262144

// Shared by the caller and the thread; the last of them frees it.
typedef struct request {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    PGcancel *cancel;
    bool is_done;
    unsigned users;
} request_t;

// Mutex held; it is not when this returns.
static void
request_leave(request_t *request)
{
    bool is_last = --request->users == 0;
    (void)pthread_mutex_unlock(&request->mutex);
    if (is_last) {
        PQfreeCancel(request->cancel);
        (void)pthread_cond_destroy(&request->done);
        (void)pthread_mutex_destroy(&request->mutex);
        free(request);
    }
}

static void *
request_main(void *arg)
{
    request_t *request = arg;
    char message[MESSAGE_MAX];
    (void)PQcancel(request->cancel, message, sizeof(message));
    (void)pthread_mutex_lock(&request->mutex);
    request->is_done = true;
    (void)pthread_cond_signal(&request->done);
    request_leave(request);
    return NULL;
}

static request_t *
request_new(PGcancel *cancel)
{
    request_t *request = shoal_alloc(sizeof(*request));
    pthread_condattr_t attr;
    (void)pthread_mutex_init(&request->mutex, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&request->done, &attr);
    (void)pthread_condattr_destroy(&attr);
    request->cancel = cancel;
    request->users = 2;
    return request;
}

// The thread gets no signals: those are for the process's own.
static bool
thread_start(request_t *request)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attr, request_main, request);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    return error == 0;
}

void
shoal_pg_cancel(PGconn *connection, uint64_t limit_ms)
{
    PGcancel *cancel = PQgetCancel(connection);
    if (!cancel) {
        return;
    }
    request_t *request = request_new(cancel);
    bool is_started = thread_start(request);
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(limit_ms / 1000);
    until.tv_nsec += (long)(limit_ms % 1000) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&request->mutex);
    int waited = 0;
    while (is_started && !request->is_done && waited == 0) {
        waited = pthread_cond_timedwait(&request->done, &request->mutex, &until);
    }
    request->users -= !is_started;
    request_leave(request);
}
