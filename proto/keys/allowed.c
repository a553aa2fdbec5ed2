// SPDX-License-Identifier: Apache-2.0
//
// allowed.c - see allowed.h.

#include "proto/keys/allowed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/private.h"

#define WORDS     4 // of a line; the last one may be missing
#define ROOM_STEP 64

static const char preface[] =
    "# Who may join this head: role, name, public key, since when. `shoal key` changes it.\n";

void
shoal_allowed_destroy(shoal_allowed_t **allowed)
{
    if (allowed && *allowed) {
        free((*allowed)->holders);
        free(*allowed);
        *allowed = NULL;
    }
}

shoal_allowed_t *
shoal_allowed_copy(const shoal_allowed_t *allowed)
{
    shoal_allowed_t *copy = shoal_alloc(sizeof(*copy));
    if (allowed->count > 0) {
        copy->holders = shoal_alloc(allowed->count * sizeof(*copy->holders));
        memcpy(copy->holders, allowed->holders, allowed->count * sizeof(*copy->holders));
    }
    copy->count = allowed->count;
    return copy;
}

static size_t
words_split(shoal_slice_t line, shoal_slice_t words[WORDS + 1])
{
    size_t count = 0;
    for (size_t at = 0; at < line.len && count <= WORDS;) {
        while (at < line.len && (line.ptr[at] == ' ' || line.ptr[at] == '\t')) {
            at++;
        }
        size_t from = at;
        while (at < line.len && line.ptr[at] != ' ' && line.ptr[at] != '\t') {
            at++;
        }
        if (at > from) {
            words[count++] = (shoal_slice_t){line.ptr + from, at - from};
        }
    }
    return count;
}

static bool
holder_parse(shoal_slice_t line, shoal_holder_t *holder, shoal_status_t *status)
{
    shoal_slice_t words[WORDS + 1] = {{NULL, 0}};
    size_t count = words_split(line, words);
    if (count != WORDS && count != WORDS - 1) {
        return shoal_fail(status, SHOAL_INVALID, "a line is: ROLE NAME PUBLIC-KEY SINCE");
    }
    if (!shoal_role_parse(words[0], &holder->role)) {
        return shoal_fail(status, SHOAL_INVALID, "a role is worker, client or viewer");
    }
    if (!shoal_key_name_check(words[1], status)) {
        return false;
    }
    if (!shoal_key_parse(words[2], &holder->key)) {
        return shoal_fail(status, SHOAL_INVALID, "a public key has %d characters of base64url",
                          SHOAL_KEY_TEXT_SIZE - 1);
    }
    (void)snprintf(holder->name, sizeof(holder->name), "%.*s", SHOAL_SLICE_ARGS(words[1]));
    (void)snprintf(holder->since, sizeof(holder->since), "%.*s", SHOAL_SLICE_ARGS(words[3]));
    return true;
}

static int
holder_compare(const void *a, const void *b)
{
    return shoal_key_compare(&((const shoal_holder_t *)a)->key, &((const shoal_holder_t *)b)->key);
}

static int
name_compare(const void *a, const void *b)
{
    return strcmp(((const shoal_holder_t *)a)->name, ((const shoal_holder_t *)b)->name);
}

// Two keys under one name could not be told apart by those who revoke.
static bool
doubles_check(shoal_allowed_t *allowed, shoal_status_t *status)
{
    if (allowed->count == 0) {
        return true;
    }
    qsort(allowed->holders, allowed->count, sizeof(*allowed->holders), name_compare);
    for (size_t i = 1; i < allowed->count; i++) {
        if (name_compare(&allowed->holders[i - 1], &allowed->holders[i]) == 0) {
            return shoal_fail(status, SHOAL_INVALID, "the name \"%s\" stands twice",
                              allowed->holders[i].name);
        }
    }
    qsort(allowed->holders, allowed->count, sizeof(*allowed->holders), holder_compare);
    for (size_t i = 1; i < allowed->count; i++) {
        if (holder_compare(&allowed->holders[i - 1], &allowed->holders[i]) == 0) {
            return shoal_fail(status, SHOAL_INVALID, "\"%s\" and \"%s\" have the same key",
                              allowed->holders[i - 1].name, allowed->holders[i].name);
        }
    }
    return true;
}

static bool
lines_read(shoal_slice_t text, shoal_allowed_t *allowed, shoal_status_t *status)
{
    unsigned number = 0;
    for (size_t at = 0; at < text.len;) {
        const char *start = text.ptr + at;
        const char *end = memchr(start, '\n', text.len - at);
        shoal_slice_t line = {start, end ? (size_t)(end - start) : text.len - at};
        at += line.len + 1;
        number++;
        shoal_slice_t words[WORDS + 1] = {{NULL, 0}};
        if (words_split(line, words) == 0 || words[0].ptr[0] == '#') {
            continue;
        }
        if (allowed->count == SHOAL_HOLDERS_MAX) {
            return shoal_fail(status, SHOAL_LIMIT, "there are more than %d holders",
                              SHOAL_HOLDERS_MAX);
        }
        if (allowed->count % ROOM_STEP == 0) {
            allowed->holders = shoal_realloc(allowed->holders, (allowed->count + ROOM_STEP) *
                                                                   sizeof(*allowed->holders));
        }
        if (!holder_parse(line, &allowed->holders[allowed->count], status)) {
            return shoal_fail_while(status, "line %u", number);
        }
        allowed->count++;
    }
    return doubles_check(allowed, status);
}

bool
shoal_allowed_parse(shoal_slice_t text, shoal_allowed_t **ret_allowed, shoal_status_t *status)
{
    shoal_allowed_t *allowed = shoal_alloc(sizeof(*allowed));
    if (!lines_read(text, allowed, status)) {
        shoal_allowed_destroy(&allowed);
        return false;
    }
    *ret_allowed = allowed;
    return true;
}

static void
path_of(const char *folder, const char *name, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s", folder, name);
}

bool
shoal_allowed_read(const char *folder, shoal_allowed_t **ret_allowed, shoal_status_t *status)
{
    char path[PATH_MAX];
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    path_of(folder, SHOAL_KEYS_ALLOWED, path);
    bool done = shoal_private_read(path, SHOAL_ALLOWED_BYTES_MAX, &text, status);
    if (!done && status->code == SHOAL_NOT_FOUND) {
        shoal_status_clear(status);
        done = true;
    }
    if (done && !shoal_allowed_parse(shoal_buffer_slice(&text), ret_allowed, status)) {
        (void)shoal_fail_while(status, "cannot use \"%s\"", path);
        done = false;
    }
    shoal_buffer_fini(&text);
    return done;
}

const shoal_holder_t *
shoal_allowed_find(const shoal_allowed_t *allowed, const shoal_key_t *key)
{
    const shoal_holder_t wanted = {.key = *key};
    return allowed->count > 0 ? bsearch(&wanted, allowed->holders, allowed->count,
                                        sizeof(*allowed->holders), holder_compare)
                              : NULL;
}

const shoal_holder_t *
shoal_allowed_named(const shoal_allowed_t *allowed, const char *name)
{
    for (size_t i = 0; i < allowed->count; i++) {
        if (strcmp(allowed->holders[i].name, name) == 0) {
            return &allowed->holders[i];
        }
    }
    return NULL;
}

static bool
list_write(const char *folder, const shoal_allowed_t *allowed, const char *without,
           const shoal_holder_t *with, shoal_status_t *status)
{
    char path[PATH_MAX];
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&text, preface);
    for (size_t i = 0; i <= allowed->count; i++) {
        const shoal_holder_t *holder = i < allowed->count ? &allowed->holders[i] : with;
        if (!holder || (without && strcmp(holder->name, without) == 0)) {
            continue;
        }
        char key[SHOAL_KEY_TEXT_SIZE];
        shoal_key_text(&holder->key, key);
        shoal_buffer_append_format(&text, "%s %s %s %s\n", shoal_role_name((int)holder->role),
                                   holder->name, key, holder->since);
    }
    path_of(folder, SHOAL_KEYS_ALLOWED, path);
    bool done = shoal_private_write(path, shoal_buffer_slice(&text), status);
    shoal_buffer_fini(&text);
    return done;
}

// Nobody else changes the list while the descriptor is open.
static bool
list_lock(const char *folder, int *ret_fd, shoal_status_t *status)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        int error = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return shoal_fail_errno(status, error, "cannot lock the key folder \"%s\"", folder);
    }
    *ret_fd = fd;
    return true;
}

bool
shoal_allowed_add(const char *folder, const shoal_holder_t *holder, shoal_status_t *status)
{
    int lock = -1;
    shoal_allowed_t *allowed = NULL;
    if (!list_lock(folder, &lock, status)) {
        return false;
    }
    bool done = shoal_allowed_read(folder, &allowed, status);
    if (done &&
        (shoal_allowed_named(allowed, holder->name) || shoal_allowed_find(allowed, &holder->key))) {
        done = shoal_fail(status, SHOAL_EXISTS,
                          "there is a key with the name \"%s\"; take another name, or first: shoal "
                          "key revoke %s",
                          holder->name, holder->name);
    }
    if (done && allowed->count >= SHOAL_HOLDERS_MAX) {
        done = shoal_fail(status, SHOAL_LIMIT,
                          "a head has at most %d keys; revoke those that nobody needs",
                          SHOAL_HOLDERS_MAX);
    }
    done = done && list_write(folder, allowed, NULL, holder, status);
    shoal_allowed_destroy(&allowed);
    (void)close(lock);
    return done;
}

bool
shoal_allowed_remove(const char *folder, const char *name, shoal_status_t *status)
{
    int lock = -1;
    shoal_allowed_t *allowed = NULL;
    if (!list_lock(folder, &lock, status)) {
        return false;
    }
    bool done = shoal_allowed_read(folder, &allowed, status);
    if (done && !shoal_allowed_named(allowed, name)) {
        done = shoal_fail(status, SHOAL_NOT_FOUND,
                          "there is no key with the name \"%.64s\"; to see them: shoal key list",
                          name);
    }
    done = done && list_write(folder, allowed, name, NULL, status);
    shoal_allowed_destroy(&allowed);
    (void)close(lock);
    return done;
}
