// SPDX-License-Identifier: Apache-2.0
//
// vault.c - see vault.h.
//
// Design: the job's number is sealed with its bytes, so that boxes cannot be exchanged under other
// names. The key's id (a hash of it) stands outside: a box that belongs to another key is told apart
// from a damaged one.

#include "head/store/vault.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/alloc.h"

#define MAGIC        "SHBOX\x01\0"         // and its final NUL: 8 bytes
#define KEY_LABEL    "shoal vault key 1\n" // first line of vault.key; its second is the key in hex
#define MAGIC_BYTES  8
#define ID_BYTES     8
#define NUMBER_BYTES 8
#define KEY_BYTES    crypto_secretbox_KEYBYTES
#define NONCE_AT     (MAGIC_BYTES + ID_BYTES + NUMBER_BYTES)
#define SEALED_AT    (NONCE_AT + crypto_secretbox_NONCEBYTES)
#define BOX_BYTES    (SEALED_AT + crypto_secretbox_MACBYTES + NUMBER_BYTES) // of an empty secret
#define FOLDER_MAX   (PATH_MAX - 64)
#define KEY_FILE_MAX 4096
#define BOX_SUFFIX   ".box"

struct shoal_vault {
    char folder[FOLDER_MAX]; // STATE/secrets
    unsigned char key[KEY_BYTES];
    unsigned char key_id[ID_BYTES];
};

static void
number_write(unsigned char *to, uint64_t number)
{
    for (int i = NUMBER_BYTES - 1; i >= 0; i--) {
        to[i] = (unsigned char)number;
        number >>= 8;
    }
}

static uint64_t
number_read(const unsigned char *from)
{
    uint64_t number = 0;
    for (int i = 0; i < NUMBER_BYTES; i++) {
        number = number << 8 | from[i];
    }
    return number;
}

// ---- the key

static bool
key_make(shoal_vault_t *vault, const char *path, shoal_status_t *status)
{
    char text[sizeof(KEY_LABEL) + 2 * KEY_BYTES + 1] = KEY_LABEL;
    size_t label = sizeof(KEY_LABEL) - 1;
    randombytes_buf(vault->key, sizeof(vault->key));
    (void)sodium_bin2hex(text + label, 2 * KEY_BYTES + 1, vault->key, sizeof(vault->key));
    text[label + 2 * KEY_BYTES] = '\n';
    bool done = shoal_private_write(path, (shoal_slice_t){text, label + 2 * KEY_BYTES + 1}, status);
    sodium_memzero(text, sizeof(text));
    return done;
}

static bool
key_parse(shoal_vault_t *vault, const char *path, shoal_slice_t text, shoal_status_t *status)
{
    size_t label = sizeof(KEY_LABEL) - 1;
    size_t len = 0;
    const char *end = NULL;
    if (text.len != label + 2 * KEY_BYTES + 1 || memcmp(text.ptr, KEY_LABEL, label) != 0 ||
        text.ptr[text.len - 1] != '\n' ||
        sodium_hex2bin(vault->key, sizeof(vault->key), text.ptr + label, 2 * KEY_BYTES, NULL, &len,
                       &end) != 0 ||
        len != KEY_BYTES) {
        return shoal_fail(status, SHOAL_INVALID,
                          "\"%s\" is no key: \"shoal vault key 1\" and a line of %u hex digits are "
                          "expected; put the original back",
                          path, 2 * KEY_BYTES);
    }
    return true;
}

// The job of a file name that ends in `suffix`; false for other names.
static bool
name_parse(const char *name, const char *suffix, uint64_t *ret_job)
{
    char *end = NULL;
    errno = 0;
    unsigned long long job = strtoull(name, &end, 10);
    if (name[0] < '0' || name[0] > '9' || errno != 0 || strcmp(end, suffix) != 0) {
        return false;
    }
    *ret_job = job;
    return true;
}

// A new key would make the boxes that are there unreadable for ever; that is for a person to decide.
static bool
key_may_be_made(const shoal_vault_t *vault, const char *path, shoal_status_t *status)
{
    DIR *folder = opendir(vault->folder);
    if (!folder) {
        return shoal_fail_errno(status, errno, "cannot look into \"%s\"", vault->folder);
    }
    size_t boxes = 0;
    uint64_t job = 0;
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) { // NOLINT(concurrency-mt-unsafe): our own stream
        boxes += name_parse(entry->d_name, BOX_SUFFIX, &job) ? 1 : 0;
    }
    (void)closedir(folder);
    return boxes == 0 ||
           shoal_fail(status, SHOAL_NOT_FOUND,
                      "\"%s\" is gone, and %zu sealed job%s in \"%s\" cannot be opened without it; "
                      "put it back, or delete those files and submit the jobs again",
                      path, boxes, boxes == 1 ? "" : "s", vault->folder);
}

static bool
key_load(shoal_vault_t *vault, const char *path, shoal_status_t *status)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    bool done = shoal_private_read(path, KEY_FILE_MAX, &text, status);
    if (done) {
        done = key_parse(vault, path, shoal_buffer_slice(&text), status);
    } else if (status->code == SHOAL_NOT_FOUND) {
        shoal_status_clear(status);
        done = key_may_be_made(vault, path, status) && key_make(vault, path, status);
    }
    shoal_private_wipe(&text);
    if (done) {
        (void)crypto_generichash(vault->key_id, sizeof(vault->key_id), vault->key,
                                 sizeof(vault->key), NULL, 0);
    }
    return done;
}

bool
shoal_vault_open(const char *directory, shoal_vault_t **ret_vault, shoal_status_t *status)
{
    char key_path[PATH_MAX];
    if (sodium_init() < 0) {
        return shoal_fail(status, SHOAL_INTERNAL, "libsodium does not start");
    }
    if (strlen(directory) >= FOLDER_MAX - sizeof("/secrets")) {
        return shoal_fail(status, SHOAL_INVALID, "the path of the state folder is too long");
    }
    shoal_vault_t *vault = shoal_alloc(sizeof(*vault));
    (void)snprintf(vault->folder, sizeof(vault->folder), "%s/secrets", directory);
    (void)snprintf(key_path, sizeof(key_path), "%s/vault.key", directory);
    if (!shoal_private_folder(vault->folder, status) || !key_load(vault, key_path, status)) {
        shoal_vault_close(&vault);
        return shoal_fail_while(status, "cannot open the vault of jobs' secrets");
    }
    *ret_vault = vault;
    return true;
}

void
shoal_vault_close(shoal_vault_t **vault)
{
    if (vault && *vault) {
        sodium_memzero(*vault, sizeof(**vault));
        free(*vault);
        *vault = NULL;
    }
}

// ---- the boxes

static void
box_path(const shoal_vault_t *vault, uint64_t job, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%" PRIu64 BOX_SUFFIX, vault->folder, job);
}

bool
shoal_vault_put(shoal_vault_t *vault, uint64_t job, shoal_slice_t bytes, shoal_status_t *status)
{
    if (bytes.len > SHOAL_VAULT_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT,
                          "the arguments of job %" PRIu64 " have %zu bytes, at most %u can be kept",
                          job, bytes.len, SHOAL_VAULT_BYTES_MAX);
    }
    size_t plain = NUMBER_BYTES + bytes.len;
    size_t len = BOX_BYTES + bytes.len;
    unsigned char *box = shoal_alloc(len);
    memcpy(box, MAGIC, MAGIC_BYTES);
    memcpy(box + MAGIC_BYTES, vault->key_id, ID_BYTES);
    number_write(box + MAGIC_BYTES + ID_BYTES, bytes.len);
    randombytes_buf(box + NONCE_AT, crypto_secretbox_NONCEBYTES);
    // Sealed in place: the plain bytes stand where the sealed ones will, behind room for the mac.
    unsigned char *text = box + SEALED_AT + crypto_secretbox_MACBYTES;
    number_write(text, job);
    if (bytes.len > 0) {
        memcpy(text + NUMBER_BYTES, bytes.ptr, bytes.len);
    }
    (void)crypto_secretbox_easy(box + SEALED_AT, text, plain, box + NONCE_AT, vault->key);
    char path[PATH_MAX];
    box_path(vault, job, path);
    bool done = shoal_private_write(path, (shoal_slice_t){(const char *)box, len}, status);
    free(box);
    return done || shoal_fail_while(status, "cannot seal the secrets of job %" PRIu64, job);
}

static bool
box_check(const shoal_vault_t *vault, const char *path, const unsigned char *box, size_t len,
          shoal_status_t *status)
{
    if (len < BOX_BYTES || memcmp(box, MAGIC, MAGIC_BYTES) != 0) {
        return shoal_fail(status, SHOAL_IO, "\"%s\" is no box, or cut short: it has %zu bytes",
                          path, len);
    }
    if (memcmp(box + MAGIC_BYTES, vault->key_id, ID_BYTES) != 0) {
        return shoal_fail(status, SHOAL_DENIED,
                          "\"%s\" was sealed with another key than the one in vault.key; put the "
                          "key that belongs to this state folder back",
                          path);
    }
    uint64_t expected = number_read(box + MAGIC_BYTES + ID_BYTES);
    if (expected > SHOAL_VAULT_BYTES_MAX || len != BOX_BYTES + expected) {
        return shoal_fail(status, SHOAL_IO,
                          "\"%s\" is cut short or damaged: it has %zu bytes, and should have "
                          "%" PRIu64,
                          path, len, BOX_BYTES + expected);
    }
    return true;
}

// Opens the box in place; what was sealed then stands in it.
static bool
box_open(const shoal_vault_t *vault, uint64_t job, const char *path, shoal_buffer_t *box,
         shoal_slice_t *ret_bytes, shoal_status_t *status)
{
    unsigned char *at = (unsigned char *)box->ptr;
    if (!box_check(vault, path, at, box->len, status)) {
        return false;
    }
    size_t sealed = box->len - SEALED_AT;
    unsigned char *text = at + SEALED_AT + crypto_secretbox_MACBYTES;
    if (crypto_secretbox_open_easy(text, at + SEALED_AT, sealed, at + NONCE_AT, vault->key) != 0) {
        return shoal_fail(status, SHOAL_IO, "\"%s\" is damaged: its seal is broken", path);
    }
    uint64_t sealed_for = number_read(text);
    if (sealed_for != job) {
        return shoal_fail(status, SHOAL_IO,
                          "\"%s\" holds the secrets of job %" PRIu64 ": files were exchanged", path,
                          sealed_for);
    }
    *ret_bytes = (shoal_slice_t){(const char *)text + NUMBER_BYTES, box->len - BOX_BYTES};
    return true;
}

bool
shoal_vault_get(shoal_vault_t *vault, uint64_t job, shoal_buffer_t *ret_bytes,
                shoal_status_t *status)
{
    char path[PATH_MAX];
    shoal_buffer_t box = SHOAL_BUFFER_INIT;
    shoal_slice_t bytes = SHOAL_SLICE_NONE;
    box_path(vault, job, path);
    bool done = shoal_private_read(path, BOX_BYTES + SHOAL_VAULT_BYTES_MAX, &box, status) &&
                box_open(vault, job, path, &box, &bytes, status);
    if (done) {
        shoal_buffer_append_slice(ret_bytes, bytes);
    }
    shoal_private_wipe(&box);
    return done || shoal_fail_while(status, "cannot open the secrets of job %" PRIu64, job);
}

void
shoal_vault_drop(shoal_vault_t *vault, uint64_t job)
{
    char path[PATH_MAX];
    box_path(vault, job, path);
    (void)unlink(path); // what a crash brings back is swept at the next start
}

size_t
shoal_vault_sweep(shoal_vault_t *vault, shoal_vault_keep_fn *keep, void *ctx)
{
    DIR *folder = opendir(vault->folder);
    size_t dropped = 0;
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) { // NOLINT(concurrency-mt-unsafe)
        uint64_t job = 0;
        bool is_draft = name_parse(entry->d_name, BOX_SUFFIX ".new", &job);
        if (is_draft || (name_parse(entry->d_name, BOX_SUFFIX, &job) && !keep(ctx, job))) {
            dropped += unlinkat(dirfd(folder), entry->d_name, 0) == 0 ? 1 : 0;
        }
    }
    if (folder) {
        (void)closedir(folder);
    }
    return dropped;
}
