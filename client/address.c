// SPDX-License-Identifier: Apache-2.0
//
// address.c - see address.h.

#include "client/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/keyring.h"
#include "client/rundir.h"
#include "client/statedir.h"
#include "proto/base/private.h"
#include "proto/wire/endpoint.h"

bool
shoal_endpoint_default(char endpoint[SHOAL_ENDPOINT_MAX], shoal_status_t *status)
{
    char directory[PATH_MAX];
    if (!shoal_runtime_directory("head.sock", directory, status)) {
        return false;
    }
    (void)snprintf(endpoint, SHOAL_ENDPOINT_MAX, "ipc://%s/head.sock", directory);
    return true;
}

static void
listening_path(const char *state, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/head.listen", state);
}

bool
shoal_listening_read(const char *state, shoal_listening_t *ret_listening, shoal_status_t *status)
{
    char path[PATH_MAX];
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    listening_path(state, path);
    bool done = shoal_private_read(path, 2 * SHOAL_ENDPOINT_MAX, &text, status);
    *ret_listening = (shoal_listening_t){.endpoint = ""};
    if (done) {
        const char *line = shoal_buffer_text(&text);
        const char *end = strchr(line, '\n');
        const char *next = end ? end + 1 : "";
        (void)snprintf(ret_listening->endpoint, SHOAL_ENDPOINT_MAX, "%.*s",
                       (int)strcspn(line, "\n"), line);
        (void)snprintf(ret_listening->advertised, SHOAL_ENDPOINT_MAX, "%.*s",
                       (int)strcspn(next, "\n"), next);
    } else if (status->code == SHOAL_NOT_FOUND) {
        shoal_status_clear(status);
        done = true;
    }
    shoal_buffer_fini(&text);
    return done;
}

bool
shoal_listening_write(const char *state, const shoal_listening_t *listening, shoal_status_t *status)
{
    char path[PATH_MAX];
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    listening_path(state, path);
    if (!listening->endpoint[0]) {
        return unlink(path) == 0 || errno == ENOENT ||
               shoal_fail_errno(status, errno, "cannot remove %s", path);
    }
    shoal_buffer_append_format(&text, "%s\n%s\n", listening->endpoint, listening->advertised);
    bool done = shoal_private_write(path, shoal_buffer_slice(&text), status);
    shoal_buffer_fini(&text);
    return done;
}

static bool
join_use(shoal_address_t *address, const char *file, const char *head, shoal_status_t *status)
{
    if (!shoal_join_read(file, &address->join, status)) {
        return false;
    }
    if (address->join.role == SHOAL_ROLE_WORKER) {
        return shoal_fail(status, SHOAL_DENIED,
                          "the key \"%s\" in %s is for a worker; commands need one that was made "
                          "with: shoal key new --role client",
                          address->join.name, file);
    }
    address->has_keys = true;
    (void)snprintf(address->endpoint, sizeof(address->endpoint), "%s",
                   head ? head : address->join.endpoint);
    return true;
}

bool
shoal_address_of(const char *endpoint, const char *state, shoal_address_t *ret_address,
                 shoal_status_t *status)
{
    char file[PATH_MAX];
    char local[SHOAL_ENDPOINT_MAX];
    *ret_address = (shoal_address_t){.has_keys = false};
    if (!shoal_endpoint_is_tcp(endpoint)) {
        (void)snprintf(ret_address->endpoint, sizeof(ret_address->endpoint), "%s", endpoint);
        return true;
    }
    (void)snprintf(file, sizeof(file), "%s/" SHOAL_KEYS_FOLDER "/" SHOAL_KEYS_CLIENT, state);
    return shoal_endpoint_local(endpoint, local, status) &&
           join_use(ret_address, file, local, status);
}

// The head that `shoal start` has started from the preset state directory on TCP; false: none.
static bool
tcp_head(char endpoint[SHOAL_ENDPOINT_MAX], char state[SHOAL_STATE_PATH_MAX])
{
    char path[PATH_MAX];
    shoal_status_t ignored = SHOAL_STATUS_INIT;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    if (!shoal_state_directory(NULL, state, &ignored)) {
        return false;
    }
    (void)snprintf(path, PATH_MAX, "%s/" SHOAL_KEYS_FOLDER "/" SHOAL_KEYS_ENDPOINT, state);
    bool is_there = shoal_private_read(path, SHOAL_ENDPOINT_MAX * 2, &text, &ignored);
    // Its second line says where the head listens, the first one where others dial it.
    const char *line = is_there ? strchr(shoal_buffer_text(&text), '\n') : NULL;
    is_there = line && shoal_endpoint_is_tcp(line + 1);
    if (is_there) {
        (void)snprintf(endpoint, SHOAL_ENDPOINT_MAX, "%.*s", (int)strcspn(line + 1, "\n"),
                       line + 1);
    }
    shoal_buffer_fini(&text);
    return is_there;
}

static void
options_note(shoal_address_t *address, const char *head, const char *file)
{
    (void)snprintf(address->options, sizeof(address->options), "%s%s%s%s", head ? " --head " : "",
                   head ? head : "", file ? " --join-file " : "", file ? file : "");
}

bool
shoal_address_find(const shoal_arguments_t *arguments, shoal_address_t *ret_address,
                   shoal_status_t *status)
{
    const char *head = shoal_arguments_text(arguments, "head");
    const char *file = shoal_arguments_text(arguments, "join-file");
    const char *named = getenv("SHOAL_JOIN_FILE"); // NOLINT(concurrency-mt-unsafe): one thread
    char state[SHOAL_STATE_PATH_MAX];
    char endpoint[SHOAL_ENDPOINT_MAX];
    *ret_address = (shoal_address_t){.is_given = head || file || (named && named[0])};
    if (head && strlen(head) >= sizeof(ret_address->endpoint)) {
        return shoal_fail(status, SHOAL_INVALID, "--head has %zu bytes, at most %zu can be",
                          strlen(head), sizeof(ret_address->endpoint) - 1);
    }
    options_note(ret_address, head, file);
    bool is_tcp = !head || shoal_endpoint_is_tcp(head);
    if (!file && is_tcp && named && named[0]) {
        file = named;
    }
    if (file) {
        return join_use(ret_address, file, head, status);
    }
    if (head) {
        (void)snprintf(ret_address->endpoint, sizeof(ret_address->endpoint), "%s", head);
        return true;
    }
    if (!shoal_endpoint_default(ret_address->endpoint, status)) {
        return false;
    }
    bool has_socket = access(ret_address->endpoint + strlen("ipc://"), F_OK) == 0;
    return has_socket || !tcp_head(endpoint, state) ||
           shoal_address_of(endpoint, state, ret_address, status);
}

void
shoal_address_wipe(shoal_address_t *address)
{
    shoal_join_wipe(&address->join);
}

const shoal_join_t *
shoal_address_join(const shoal_address_t *address)
{
    return address->has_keys ? &address->join : NULL;
}

bool
shoal_head_dial(const shoal_address_t *address, shoal_session_t **ret_session,
                shoal_status_t *status)
{
    const shoal_session_config_t config = {.endpoint = address->endpoint,
                                           .join = shoal_address_join(address)};
    return shoal_session_new(&config, NULL, shoal_clock_ms(), ret_session, status);
}
