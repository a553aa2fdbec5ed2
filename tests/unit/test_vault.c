// SPDX-License-Identifier: Apache-2.0
//
// test_vault.c - what head/store/vault.h promises.

#include <fcntl.h>
#include <sys/stat.h>

#include "head/store/vault.h"
#include "tests/support/folder.h"

#define SECRET "{\"password\": \"open sesame\"}"

typedef struct bed {
    folder_t state;
    folder_t secrets; // STATE/secrets
    shoal_vault_t *vault;
    shoal_buffer_t bytes;
    shoal_status_t status;
} bed_t;

static bed_t
bed_new(void)
{
    bed_t bed = {.state = folder_new(), .status = SHOAL_STATUS_INIT};
    (void)snprintf(bed.secrets.path, sizeof(bed.secrets.path), "%.48s/secrets", bed.state.path);
    CHECK_OK(shoal_vault_open(bed.state.path, &bed.vault, &bed.status), bed.status);
    return bed;
}

static void
bed_fini(bed_t *bed)
{
    shoal_vault_close(&bed->vault);
    shoal_private_wipe(&bed->bytes);
    folder_remove(&bed->secrets);
    folder_remove(&bed->state);
}

static void
reopen(bed_t *bed)
{
    shoal_vault_close(&bed->vault);
    CHECK_OK(shoal_vault_open(bed->state.path, &bed->vault, &bed->status), bed->status);
}

static void
what_is_put_comes_back_after_a_restart_and_is_not_readable_in_the_file(void)
{
    bed_t bed = bed_new();
    CHECK_OK(shoal_vault_put(bed.vault, 7, SHOAL_SLICE("an older one"), &bed.status), bed.status);
    CHECK_OK(shoal_vault_put(bed.vault, 7, SHOAL_SLICE(SECRET), &bed.status), bed.status);
    CHECK_OK(shoal_vault_put(bed.vault, 8, SHOAL_SLICE_NONE, &bed.status), bed.status);
    reopen(&bed);
    CHECK_OK(shoal_vault_get(bed.vault, 7, &bed.bytes, &bed.status), bed.status);
    CHECK(shoal_slice_is(shoal_buffer_slice(&bed.bytes), SECRET));
    shoal_private_wipe(&bed.bytes);
    CHECK_OK(shoal_vault_get(bed.vault, 8, &bed.bytes, &bed.status), bed.status);
    CHECK(bed.bytes.len == 0);
    char *path = folder_file(&bed.secrets, "7.box");
    CHECK_OK(shoal_private_read(path, 4096, &bed.bytes, &bed.status), bed.status);
    CHECK(bed.bytes.len == 72 + sizeof(SECRET) - 1);
    CHECK(!memmem(bed.bytes.ptr, bed.bytes.len, "sesame", 6));
    free(path);
    bed_fini(&bed);
}

static void
folder_and_key_are_closed_to_others(void)
{
    bed_t bed = bed_new();
    struct stat about;
    char *key = folder_file(&bed.state, "vault.key");
    CHECK(stat(bed.secrets.path, &about) == 0 && (about.st_mode & 07777) == 0700);
    CHECK(stat(key, &about) == 0 && (about.st_mode & 07777) == 0600);
    shoal_vault_close(&bed.vault);
    CHECK(chmod(key, 0644) == 0);
    CHECK_FAILS(shoal_vault_open(bed.state.path, &bed.vault, &bed.status), bed.status,
                SHOAL_DENIED);
    CHECK_SAYS(bed.status.text, "chmod 600 ");
    CHECK(chmod(key, 0600) == 0 && chmod(bed.secrets.path, 0755) == 0);
    CHECK_FAILS(shoal_vault_open(bed.state.path, &bed.vault, &bed.status), bed.status,
                SHOAL_DENIED);
    CHECK_SAYS(bed.status.text, "chmod 700 ");
    if (geteuid() == 0) {
        CHECK(chmod(bed.secrets.path, 0700) == 0 && chown(key, 65534, 65534) == 0);
        CHECK_FAILS(shoal_vault_open(bed.state.path, &bed.vault, &bed.status), bed.status,
                    SHOAL_DENIED);
        CHECK_SAYS(bed.status.text, "65534");
    }
    free(key);
    bed_fini(&bed);
}

static void
a_dropped_job_is_not_found(void)
{
    bed_t bed = bed_new();
    CHECK_OK(shoal_vault_put(bed.vault, 1, SHOAL_SLICE(SECRET), &bed.status), bed.status);
    shoal_vault_drop(bed.vault, 1);
    shoal_vault_drop(bed.vault, 1); // fine
    CHECK_FAILS(shoal_vault_get(bed.vault, 1, &bed.bytes, &bed.status), bed.status,
                SHOAL_NOT_FOUND);
    CHECK_SAYS(bed.status.text, "job 1");
    bed_fini(&bed);
}

// Every length that a torn write or a bad copy can leave, and a bit that changed.
static void
a_box_that_is_cut_or_damaged_is_told(void)
{
    bed_t bed = bed_new();
    char *path = folder_file(&bed.secrets, "3.box");
    shoal_buffer_t whole = SHOAL_BUFFER_INIT;
    CHECK_OK(shoal_vault_put(bed.vault, 3, SHOAL_SLICE(SECRET), &bed.status), bed.status);
    CHECK_OK(shoal_private_read(path, 4096, &whole, &bed.status), bed.status);
    for (size_t len = 0; len < whole.len; len++) {
        CHECK_OK(shoal_private_write(path, (shoal_slice_t){whole.ptr, len}, &bed.status),
                 bed.status);
        CHECK_FAILS(shoal_vault_get(bed.vault, 3, &bed.bytes, &bed.status), bed.status, SHOAL_IO);
        CHECK_SAYS(bed.status.text, "cut short");
    }
    for (size_t at = 0; at < whole.len; at++) {
        whole.ptr[at] ^= 0x10;
        CHECK_OK(shoal_private_write(path, shoal_buffer_slice(&whole), &bed.status), bed.status);
        bool is_key_id = at >= 8 && at < 16;
        CHECK_FAILS(shoal_vault_get(bed.vault, 3, &bed.bytes, &bed.status), bed.status,
                    is_key_id ? SHOAL_DENIED : SHOAL_IO);
        whole.ptr[at] ^= 0x10;
    }
    CHECK(bed.bytes.len == 0);
    shoal_private_wipe(&whole);
    free(path);
    bed_fini(&bed);
}

static void
a_box_under_another_jobs_name_is_told(void)
{
    bed_t bed = bed_new();
    char *from = folder_file(&bed.secrets, "4.box");
    char *to = folder_file(&bed.secrets, "5.box");
    CHECK_OK(shoal_vault_put(bed.vault, 4, SHOAL_SLICE(SECRET), &bed.status), bed.status);
    CHECK(rename(from, to) == 0);
    CHECK_FAILS(shoal_vault_get(bed.vault, 5, &bed.bytes, &bed.status), bed.status, SHOAL_IO);
    CHECK_SAYS(bed.status.text, "job 4");
    free(from);
    free(to);
    bed_fini(&bed);
}

static void
another_key_is_told_and_a_lost_one_is_not_replaced_while_boxes_need_it(void)
{
    bed_t bed = bed_new();
    char *key = folder_file(&bed.state, "vault.key");
    char *aside = folder_file(&bed.state, "aside");
    CHECK_OK(shoal_vault_put(bed.vault, 1, SHOAL_SLICE(SECRET), &bed.status), bed.status);
    shoal_vault_close(&bed.vault);
    CHECK(rename(key, aside) == 0);
    CHECK_FAILS(shoal_vault_open(bed.state.path, &bed.vault, &bed.status), bed.status,
                SHOAL_NOT_FOUND);
    CHECK_SAYS(bed.status.text, "put it back");
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    CHECK_OK(shoal_private_read(aside, 4096, &text, &bed.status), bed.status);
    text.ptr[text.len - 2] = text.ptr[text.len - 2] == '0' ? '1' : '0';
    CHECK_OK(shoal_private_write(key, shoal_buffer_slice(&text), &bed.status), bed.status);
    CHECK_OK(shoal_vault_open(bed.state.path, &bed.vault, &bed.status), bed.status);
    CHECK_FAILS(shoal_vault_get(bed.vault, 1, &bed.bytes, &bed.status), bed.status, SHOAL_DENIED);
    CHECK_SAYS(bed.status.text, "another key");
    CHECK(rename(aside, key) == 0);
    reopen(&bed);
    CHECK_OK(shoal_vault_get(bed.vault, 1, &bed.bytes, &bed.status), bed.status);
    shoal_private_wipe(&text);
    free(key);
    free(aside);
    bed_fini(&bed);
}

static void
what_is_no_key_is_refused(void)
{
    bed_t bed = bed_new();
    char *key = folder_file(&bed.state, "vault.key");
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    CHECK_OK(shoal_private_read(key, 4096, &text, &bed.status), bed.status);
    shoal_vault_close(&bed.vault);
    for (size_t len = 0; len < text.len; len++) {
        CHECK_OK(shoal_private_write(key, (shoal_slice_t){text.ptr, len}, &bed.status), bed.status);
        CHECK_FAILS(shoal_vault_open(bed.state.path, &bed.vault, &bed.status), bed.status,
                    SHOAL_INVALID);
        CHECK_SAYS(bed.status.text, "vault.key");
    }
    text.ptr[text.len - 5] = 'x';
    CHECK_OK(shoal_private_write(key, shoal_buffer_slice(&text), &bed.status), bed.status);
    CHECK_FAILS(shoal_vault_open(bed.state.path, &bed.vault, &bed.status), bed.status,
                SHOAL_INVALID);
    shoal_private_wipe(&text);
    free(key);
    bed_fini(&bed);
}

static void
too_many_bytes_are_refused(void)
{
    bed_t bed = bed_new();
    char *bytes = calloc(1, SHOAL_VAULT_BYTES_MAX + 1);
    CHECK(bytes != NULL);
    CHECK_OK(
        shoal_vault_put(bed.vault, 1, (shoal_slice_t){bytes, SHOAL_VAULT_BYTES_MAX}, &bed.status),
        bed.status);
    CHECK_OK(shoal_vault_get(bed.vault, 1, &bed.bytes, &bed.status), bed.status);
    CHECK(bed.bytes.len == SHOAL_VAULT_BYTES_MAX);
    CHECK_FAILS(shoal_vault_put(bed.vault, 2, (shoal_slice_t){bytes, SHOAL_VAULT_BYTES_MAX + 1},
                                &bed.status),
                bed.status, SHOAL_LIMIT);
    free(bytes);
    bed_fini(&bed);
}

static bool
keep_even(void *ctx, uint64_t job)
{
    *(size_t *)ctx += 1;
    return job % 2 == 0;
}

static void
a_sweep_drops_what_nobody_knows_and_what_a_dead_writer_left(void)
{
    bed_t bed = bed_new();
    for (uint64_t job = 1; job <= 6; job++) {
        CHECK_OK(shoal_vault_put(bed.vault, job, SHOAL_SLICE(SECRET), &bed.status), bed.status);
    }
    char *draft = folder_file(&bed.secrets, "2.box.new");
    CHECK_OK(shoal_private_write(draft, SHOAL_SLICE("half"), &bed.status), bed.status);
    size_t asked = 0;
    CHECK(shoal_vault_sweep(bed.vault, keep_even, &asked) == 4);
    CHECK(asked == 6 && folder_count(&bed.secrets) == 3);
    CHECK_OK(shoal_vault_get(bed.vault, 2, &bed.bytes, &bed.status), bed.status);
    free(draft);
    bed_fini(&bed);
}

static void
a_state_folder_that_is_not_there_is_told(void)
{
    shoal_vault_t *vault = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_FAILS(shoal_vault_open("/nowhere/state", &vault, &status), status, SHOAL_NOT_FOUND);
    CHECK(vault == NULL);
    char path[5000];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    CHECK_FAILS(shoal_vault_open(path, &vault, &status), status, SHOAL_INVALID);
}

TEST_MAIN(TEST(what_is_put_comes_back_after_a_restart_and_is_not_readable_in_the_file),
          TEST(folder_and_key_are_closed_to_others), TEST(a_dropped_job_is_not_found),
          TEST(a_box_that_is_cut_or_damaged_is_told), TEST(a_box_under_another_jobs_name_is_told),
          TEST(another_key_is_told_and_a_lost_one_is_not_replaced_while_boxes_need_it),
          TEST(what_is_no_key_is_refused), TEST(too_many_bytes_are_refused),
          TEST(a_sweep_drops_what_nobody_knows_and_what_a_dead_writer_left),
          TEST(a_state_folder_that_is_not_there_is_told))
