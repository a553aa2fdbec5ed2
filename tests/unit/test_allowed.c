// SPDX-License-Identifier: Apache-2.0
//
// test_allowed.c - what proto/keys/allowed.h promises.

#include <sys/stat.h>

#include "proto/base/private.h"
#include "proto/keys/allowed.h"
#include "tests/support/folder.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY_B "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static shoal_holder_t
holder_make(shoal_role_t role, const char *name)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_key_pair_t pair;
    shoal_holder_t holder = {.role = role, .since = "2026-01-31"};
    CHECK_OK(shoal_key_pair_make(&pair, &status), status);
    holder.key = pair.open;
    (void)snprintf(holder.name, sizeof(holder.name), "%s", name);
    return holder;
}

static void
holders_are_added_found_and_removed(void)
{
    folder_t folder = folder_new();
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_allowed_t *allowed = NULL;
    shoal_holder_t a = holder_make(SHOAL_ROLE_WORKER, "a");
    shoal_holder_t b = holder_make(SHOAL_ROLE_VIEWER, "b");
    CHECK_OK(shoal_allowed_read(folder.path, &allowed, &status), status);
    CHECK(allowed->count == 0 && !shoal_allowed_find(allowed, &a.key)); // nobody may
    shoal_allowed_destroy(&allowed);
    CHECK_OK(shoal_allowed_add(folder.path, &a, &status), status);
    CHECK_OK(shoal_allowed_add(folder.path, &b, &status), status);
    CHECK_OK(shoal_allowed_read(folder.path, &allowed, &status), status);
    const shoal_holder_t *found = shoal_allowed_find(allowed, &b.key);
    CHECK(allowed->count == 2 && found && found->role == SHOAL_ROLE_VIEWER);
    CHECK(strcmp(found->name, "b") == 0 && strcmp(found->since, "2026-01-31") == 0);
    CHECK(shoal_allowed_named(allowed, "a") == shoal_allowed_find(allowed, &a.key));
    shoal_allowed_destroy(&allowed);
    CHECK_OK(shoal_allowed_remove(folder.path, "a", &status), status);
    CHECK_FAILS(shoal_allowed_remove(folder.path, "a", &status), status, SHOAL_NOT_FOUND);
    CHECK_SAYS(status.text, "shoal key list");
    CHECK_OK(shoal_allowed_read(folder.path, &allowed, &status), status);
    CHECK(allowed->count == 1 && !shoal_allowed_find(allowed, &a.key));
    shoal_allowed_destroy(&allowed);
    folder_remove(&folder);
}

static void
a_name_is_given_once(void)
{
    folder_t folder = folder_new();
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_holder_t a = holder_make(SHOAL_ROLE_WORKER, "a");
    shoal_holder_t again = holder_make(SHOAL_ROLE_CLIENT, "a");
    CHECK_OK(shoal_allowed_add(folder.path, &a, &status), status);
    CHECK_FAILS(shoal_allowed_add(folder.path, &again, &status), status, SHOAL_EXISTS);
    CHECK_SAYS(status.text, "shoal key revoke a");
    folder_remove(&folder);
}

static void
a_list_that_cannot_be_read_names_its_line(void)
{
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"worker a " KEY_A "\nnonsense\n", "line 2"},
        {"# x\n\nworker a\n", "line 3"},
        {"boss a " KEY_A "\n", "worker, client or viewer"},
        {"worker a/b " KEY_A "\n", "line 1"},
        {"worker a AAAA\n", "43"},
        {"worker a " KEY_A " 2026-01-31 more\n", "line 1"},
        {"worker a " KEY_A "\nclient a " KEY_B "\n", "twice"},
        {"worker a " KEY_A "\nclient b " KEY_A "\n", "same key"},
    };
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_allowed_t *allowed = NULL;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_FAILS(shoal_allowed_parse(shoal_slice_of(cases[i].text), &allowed, &status), status,
                    SHOAL_INVALID);
        CHECK_SAYS(status.text, cases[i].says);
        CHECK(allowed == NULL);
    }
    CHECK_OK(shoal_allowed_parse(SHOAL_SLICE("\t worker  a\t" KEY_A "\n#\nviewer b " KEY_B),
                                 &allowed, &status),
             status);
    CHECK(allowed->count == 2 && shoal_allowed_named(allowed, "b")->role == SHOAL_ROLE_VIEWER);
    shoal_allowed_destroy(&allowed);
}

static void
a_list_has_a_limit(void)
{
    folder_t folder = folder_new();
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_allowed_t *allowed = NULL;
    for (unsigned i = 0; i < SHOAL_HOLDERS_MAX; i++) {
        shoal_key_t key = {{(unsigned char)i, (unsigned char)(i >> 8)}};
        char name[SHOAL_KEY_TEXT_SIZE];
        shoal_key_text(&key, name);
        shoal_buffer_append_format(&text, "worker w%u %s 2026-01-31\n", i, name);
    }
    CHECK_OK(shoal_allowed_parse(shoal_buffer_slice(&text), &allowed, &status), status);
    CHECK(allowed->count == SHOAL_HOLDERS_MAX);
    shoal_allowed_destroy(&allowed);
    char *path = folder_file(&folder, SHOAL_KEYS_ALLOWED);
    CHECK_OK(shoal_private_write(path, shoal_buffer_slice(&text), &status), status);
    shoal_holder_t more = holder_make(SHOAL_ROLE_WORKER, "more");
    CHECK_FAILS(shoal_allowed_add(folder.path, &more, &status), status, SHOAL_LIMIT);
    shoal_buffer_append_text(&text, "worker more ");
    char key[SHOAL_KEY_TEXT_SIZE];
    shoal_key_text(&more.key, key);
    shoal_buffer_append_text(&text, key);
    CHECK_FAILS(shoal_allowed_parse(shoal_buffer_slice(&text), &allowed, &status), status,
                SHOAL_LIMIT);
    free(path);
    shoal_buffer_fini(&text);
    folder_remove(&folder);
}

static void
an_open_list_is_refused(void)
{
    folder_t folder = folder_new();
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_allowed_t *allowed = NULL;
    shoal_holder_t a = holder_make(SHOAL_ROLE_WORKER, "a");
    CHECK_OK(shoal_allowed_add(folder.path, &a, &status), status);
    char *path = folder_file(&folder, SHOAL_KEYS_ALLOWED);
    CHECK(chmod(path, 0666) == 0);
    CHECK_FAILS(shoal_allowed_read(folder.path, &allowed, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "chmod 600");
    free(path);
    folder_remove(&folder);
    CHECK_FAILS(shoal_allowed_add(folder.path, &a, &status), status, SHOAL_NOT_FOUND);
}

TEST_MAIN(TEST(holders_are_added_found_and_removed), TEST(a_name_is_given_once),
          TEST(a_list_that_cannot_be_read_names_its_line), TEST(a_list_has_a_limit),
          TEST(an_open_list_is_refused))
