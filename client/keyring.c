// SPDX-License-Identifier: Apache-2.0
//
// keyring.c - see keyring.h.

#include "client/keyring.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "client/statedir.h"
#include "proto/base/private.h"
#include "proto/wire/endpoint.h"

#define FIRST_CLIENT "first-client"
#define FIRST_WORKER "first-worker"

static void
path_of(const char *folder, const char *name, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s", folder, name);
}

bool
shoal_keyring_folder(const char *keys, const char *state, char path[PATH_MAX],
                     shoal_status_t *status)
{
    char directory[SHOAL_STATE_PATH_MAX];
    if (!shoal_state_directory(keys ? keys : state, directory, status)) {
        return false;
    }
    (void)snprintf(path, PATH_MAX, "%s%s", directory, keys ? "" : "/" SHOAL_KEYS_FOLDER);
    return true;
}

bool
shoal_keyring_make(const char *folder, shoal_status_t *status)
{
    char key[PATH_MAX];
    char list[PATH_MAX];
    shoal_key_pair_t own;
    path_of(folder, SHOAL_KEYS_HEAD, key);
    path_of(folder, SHOAL_KEYS_ALLOWED, list);
    if (!shoal_directories_make(folder, status)) {
        return false;
    }
    bool done;
    if (access(key, F_OK) == 0) {
        done = shoal_key_pair_read(key, &own, status);
    } else if (access(list, F_OK) == 0) {
        done = shoal_fail(status, SHOAL_NOT_FOUND,
                          "the head's key %s is gone, and with another one all join strings are of "
                          "no use; put it back, or remove the folder %s to begin anew",
                          key, folder);
    } else {
        done = shoal_key_pair_make(&own, status) && shoal_key_pair_write(key, &own, status);
    }
    shoal_key_pair_wipe(&own);
    return done;
}

static void
today(char text[SHOAL_SINCE_SIZE])
{
    time_t now = time(NULL);
    struct tm date;
    if (!gmtime_r(&now, &date) || strftime(text, SHOAL_SINCE_SIZE, "%Y-%m-%d", &date) == 0) {
        (void)snprintf(text, SHOAL_SINCE_SIZE, "-");
    }
}

bool
shoal_keyring_issue(const char *folder, shoal_role_t role, const char *name, const char *endpoint,
                    shoal_join_t *ret_join, shoal_status_t *status)
{
    char key[PATH_MAX];
    shoal_key_pair_t own;
    shoal_join_t join = {.role = role};
    shoal_holder_t holder = {.role = role};
    path_of(folder, SHOAL_KEYS_HEAD, key);
    if (strlen(endpoint) > SHOAL_JOIN_ENDPOINT_MAX) {
        return shoal_fail(status, SHOAL_INVALID, "the endpoint has more than %d bytes",
                          SHOAL_JOIN_ENDPOINT_MAX);
    }
    if (!shoal_key_name_check(shoal_slice_of(name), status) ||
        !shoal_key_pair_read(key, &own, status)) {
        return false;
    }
    join.head = own.open;
    shoal_key_pair_wipe(&own);
    (void)snprintf(join.endpoint, sizeof(join.endpoint), "%s", endpoint);
    (void)snprintf(join.name, sizeof(join.name), "%s", name);
    (void)snprintf(holder.name, sizeof(holder.name), "%s", name);
    today(holder.since);
    bool done = shoal_key_pair_make(&join.own, status);
    holder.key = join.own.open;
    done = done && shoal_allowed_add(folder, &holder, status);
    if (done) {
        *ret_join = join;
    }
    shoal_join_wipe(&join);
    return done;
}

// One of the first two join files: made, or its endpoint changed.
static bool
first_publish(const char *folder, const char *file, shoal_role_t role, const char *name,
              const char *endpoint, bool is_first, shoal_status_t *status)
{
    char path[PATH_MAX];
    shoal_join_t join = {.role = role};
    bool done = true;
    path_of(folder, file, path);
    if (is_first) {
        done = shoal_keyring_issue(folder, role, name, endpoint, &join, status) &&
               shoal_join_save(path, &join, status);
    } else if (access(path, F_OK) == 0) { // it may have been taken away
        done = shoal_join_read(path, &join, status);
        if (done && strcmp(join.endpoint, endpoint) != 0) {
            (void)snprintf(join.endpoint, sizeof(join.endpoint), "%s", endpoint);
            done = shoal_join_save(path, &join, status);
        }
    }
    shoal_join_wipe(&join);
    return done;
}

static bool
is_every_address(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 || strcmp(host, "*") == 0;
}

static void
endpoint_write(const char *host, const char *port, char endpoint[SHOAL_ENDPOINT_MAX])
{
    bool is_ipv6 = strchr(host, ':') != NULL;
    (void)snprintf(endpoint, SHOAL_ENDPOINT_MAX, "tcp://%s%s%s:%s", is_ipv6 ? "[" : "", host,
                   is_ipv6 ? "]" : "", port);
}

bool
shoal_endpoint_local(const char *bound, char endpoint[SHOAL_ENDPOINT_MAX], shoal_status_t *status)
{
    shoal_endpoint_parts_t parts;
    if (!shoal_endpoint_split(bound, &parts, status)) {
        return false;
    }
    const char *loopback = strcmp(parts.host, "::") == 0 ? "::1" : "127.0.0.1";
    endpoint_write(is_every_address(parts.host) ? loopback : parts.host, parts.port, endpoint);
    return true;
}

// Where others dial: as given, with the port that is bound where it names none.
static bool
advertise(const char *bound, const char *given, char endpoint[SHOAL_ENDPOINT_MAX],
          shoal_status_t *status)
{
    shoal_endpoint_parts_t parts;
    char host[SHOAL_ENDPOINT_HOST_MAX + 1] = "";
    if (!shoal_endpoint_split(bound, &parts, status)) {
        return false;
    }
    if (given && shoal_endpoint_is_tcp(given)) {
        (void)snprintf(endpoint, SHOAL_ENDPOINT_MAX, "%s", given);
        const shoal_endpoint_use_t use = {.has_keys = true};
        return shoal_endpoint_check(given, use, status);
    }
    (void)gethostname(host, sizeof(host) - 1);
    const char *own = is_every_address(parts.host) ? host : parts.host;
    endpoint_write(given ? given : own, parts.port, endpoint);
    return shoal_endpoint_split(endpoint, &parts, status);
}

bool
shoal_keyring_publish(const char *folder, const char *bound, const char *advertised,
                      shoal_status_t *status)
{
    char path[PATH_MAX];
    char endpoint[SHOAL_ENDPOINT_MAX];
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    if (!advertise(bound, advertised, endpoint, status)) {
        return false;
    }
    path_of(folder, SHOAL_KEYS_ENDPOINT, path);
    shoal_buffer_append_format(&text, "%s\n%s\n", endpoint, bound);
    bool done = shoal_private_write(path, shoal_buffer_slice(&text), status);
    shoal_buffer_fini(&text);
    path_of(folder, SHOAL_KEYS_ALLOWED, path);
    bool is_first = access(path, F_OK) != 0;
    return done &&
           first_publish(folder, SHOAL_KEYS_CLIENT, SHOAL_ROLE_CLIENT, FIRST_CLIENT, endpoint,
                         is_first, status) &&
           first_publish(folder, SHOAL_KEYS_WORKER, SHOAL_ROLE_WORKER, FIRST_WORKER, endpoint,
                         is_first, status);
}

bool
shoal_keyring_endpoint(const char *folder, char endpoint[SHOAL_ENDPOINT_MAX],
                       shoal_status_t *status)
{
    char path[PATH_MAX];
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    path_of(folder, SHOAL_KEYS_ENDPOINT, path);
    bool done = shoal_private_read(path, SHOAL_ENDPOINT_MAX * 2, &text, status);
    if (done) {
        const char *line = shoal_buffer_text(&text);
        (void)snprintf(endpoint, SHOAL_ENDPOINT_MAX, "%.*s", (int)strcspn(line, "\n"), line);
    } else if (status->code == SHOAL_NOT_FOUND) {
        (void)shoal_fail(status, SHOAL_NOT_FOUND,
                         "where do others dial the head? Start it first (shoal start --head "
                         "--listen tcp://0.0.0.0:6380), or give --endpoint tcp://HOST:PORT");
    }
    shoal_buffer_fini(&text);
    return done;
}
