// SPDX-License-Identifier: Apache-2.0
//
// key.c - `shoal key new|list|revoke`: who may join a head over TCP.
//
// Design: it works on the head's key folder, on the head's host, as the head's user: who can write
// there is who decides. The head follows the folder by itself.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/keyring.h"
#include "client/status.h"
#include "client/summary.h"
#include "client/text.h"
#include "proto/base/alloc.h"
#include "proto/base/private.h"
#include "proto/record/json.h"
#include "proto/wire/endpoint.h"

#define LIST_WIDTH 4

typedef struct key {
    const shoal_arguments_t *arguments;
    char folder[PATH_MAX];
} key_command_t;

static bool
token_print(const shoal_join_t *join, shoal_status_t *status)
{
    shoal_buffer_t token = SHOAL_BUFFER_INIT;
    (void)shoal_buffer_reserve(&token, SHOAL_JOIN_BYTES_MAX);
    shoal_join_write(join, &token);
    shoal_buffer_append_byte(&token, '\n');
    bool done = shoal_print(&token, status);
    shoal_private_wipe(&token);
    return done;
}

static bool
key_new(key_command_t *key, shoal_status_t *status)
{
    const char *role_text = shoal_arguments_text(key->arguments, "role");
    const char *name = shoal_arguments_text(key->arguments, "name");
    const char *given = shoal_arguments_text(key->arguments, "endpoint");
    const char *out = shoal_arguments_text(key->arguments, "out");
    char endpoint[SHOAL_ENDPOINT_MAX];
    shoal_role_t role = SHOAL_ROLE_VIEWER;
    shoal_join_t join;
    if (!role_text || !name) {
        return shoal_fail(status, SHOAL_INVALID,
                          "whose key? Give --role worker|client|viewer and --name NAME");
    }
    if (!shoal_role_parse(shoal_slice_of(role_text), &role)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "--role must be worker, client or viewer, not \"%.64s\"", role_text);
    }
    const shoal_endpoint_use_t use = {.has_keys = true};
    if (given && (!shoal_endpoint_is_tcp(given) || strlen(given) >= sizeof(endpoint))) {
        return shoal_fail(status, SHOAL_INVALID, "--endpoint must be tcp://HOST:PORT");
    }
    if (given) {
        (void)snprintf(endpoint, sizeof(endpoint), "%s", given);
    }
    bool done =
        (given ? shoal_endpoint_check(given, use, status) && shoal_keyring_make(key->folder, status)
               : shoal_keyring_endpoint(key->folder, endpoint, status)) &&
        shoal_keyring_issue(key->folder, role, name, endpoint, &join, status);
    if (!done) {
        return false;
    }
    done = out ? shoal_join_save(out, &join, status) : token_print(&join, status);
    shoal_join_wipe(&join);
    if (!done) { // nobody has it: it shall not stay listed
        shoal_status_t ignored = SHOAL_STATUS_INIT;
        (void)!shoal_allowed_remove(key->folder, name, &ignored);
        return false;
    }
    (void)fprintf(stderr,
                  "shoal: %s may join as the %s \"%s\"; keep it in a file that only its user can "
                  "read (chmod 600), for --join-file\n",
                  out ? out : "who has this string", shoal_role_name((int)role), name);
    return true;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const shoal_holder_t *)a)->name, ((const shoal_holder_t *)b)->name);
}

static void
list_text(const shoal_allowed_t *allowed, shoal_buffer_t *out)
{
    static const char *const headings[LIST_WIDTH] = {"NAME", "ROLE", "SINCE", "PUBLIC KEY"};
    size_t rows = allowed->count + 1;
    char **cells = shoal_alloc(rows * LIST_WIDTH * sizeof(*cells));
    for (size_t i = 0; i < LIST_WIDTH; i++) {
        cells[i] = shoal_strdup(headings[i]);
    }
    for (size_t row = 1; row < rows; row++) {
        const shoal_holder_t *holder = &allowed->holders[row - 1];
        char text[SHOAL_KEY_TEXT_SIZE];
        shoal_key_text(&holder->key, text);
        const char *const words[LIST_WIDTH] = {holder->name, shoal_role_name((int)holder->role),
                                               holder->since, text};
        for (size_t i = 0; i < LIST_WIDTH; i++) {
            cells[row * LIST_WIDTH + i] = shoal_strdup(words[i]);
        }
    }
    shoal_text_table((const char *const *)cells, rows, LIST_WIDTH, out);
    for (size_t i = 0; i < rows * LIST_WIDTH; i++) {
        free(cells[i]);
    }
    free(cells);
}

static void
list_json(const shoal_allowed_t *allowed, shoal_buffer_t *out)
{
    shoal_buffer_append_byte(out, '[');
    for (size_t i = 0; i < allowed->count; i++) {
        const shoal_holder_t *holder = &allowed->holders[i];
        char text[SHOAL_KEY_TEXT_SIZE];
        shoal_key_text(&holder->key, text);
        shoal_buffer_append_format(
            out, "%s{\"name\":\"%s\",\"role\":\"%s\",\"key\":\"%s\",\"since\":", i > 0 ? "," : "",
            holder->name, shoal_role_name((int)holder->role), text);
        shoal_json_write_text(shoal_slice_of(holder->since), out);
        shoal_buffer_append_byte(out, '}');
    }
    shoal_buffer_append_text(out, "]\n");
}

static bool
key_list(key_command_t *key, shoal_status_t *status)
{
    shoal_allowed_t *allowed = NULL;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    if (shoal_arguments_has(key->arguments, "keys") && access(key->folder, F_OK) != 0) {
        return shoal_fail_errno(status, errno, "cannot read the keys in %s", key->folder);
    }
    if (!shoal_allowed_read(key->folder, &allowed, status)) {
        return false;
    }
    if (allowed->count > 0) {
        qsort(allowed->holders, allowed->count, sizeof(*allowed->holders), by_name);
    }
    if (shoal_wants_json(key->arguments)) {
        list_json(allowed, &out);
    } else if (allowed->count == 0) {
        shoal_buffer_append_format(&out, "no keys in %s: nobody may join\n", key->folder);
    } else {
        list_text(allowed, &out);
    }
    bool done = shoal_print(&out, status);
    shoal_buffer_fini(&out);
    shoal_allowed_destroy(&allowed);
    return done;
}

static bool
key_revoke(key_command_t *key, shoal_status_t *status)
{
    const char *name = shoal_arguments_word(key->arguments, 1);
    if (!shoal_key_name_check(shoal_slice_of(name), status) ||
        !shoal_allowed_remove(key->folder, name, status)) {
        return false;
    }
    (void)printf("\"%s\" may not join any more; a head that is running ends its connections now\n",
                 name);
    return true;
}

typedef struct verb {
    const char *name;
    size_t words; // the verb itself included
    bool (*run)(key_command_t *key, shoal_status_t *status);
} verb_t;

static const verb_t verbs[] = {
    {"new", 1, key_new}, {"list", 1, key_list}, {"revoke", 2, key_revoke}};

static const verb_t *
find_verb(const shoal_arguments_t *arguments, shoal_status_t *status)
{
    const char *word = shoal_arguments_word(arguments, 0);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(word, verbs[i].name) == 0 &&
            shoal_arguments_words(arguments) == verbs[i].words) {
            return &verbs[i];
        }
    }
    (void)shoal_fail(status, SHOAL_INVALID,
                     "what is to be done? There are: shoal key new --role ROLE --name NAME, shoal "
                     "key list, shoal key revoke NAME");
    return NULL;
}

int
shoal_command_key(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    key_command_t key = {.arguments = arguments};
    const verb_t *verb = find_verb(arguments, &status);
    bool done =
        verb && shoal_arguments_choice(arguments, "output", "text|json", &status) &&
        shoal_keyring_folder(shoal_arguments_text(arguments, "keys"),
                             shoal_arguments_text(arguments, "state"), key.folder, &status) &&
        verb->run(&key, &status);
    return done ? SHOAL_EXIT_OK : shoal_command_failed(&status);
}
