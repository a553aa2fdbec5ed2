// SPDX-License-Identifier: Apache-2.0
//
// test_private.c - what proto/base/private.h promises.

#include <fcntl.h>
#include <sys/stat.h>

#include "proto/base/private.h"
#include "tests/support/folder.h"

static void
what_is_written_is_read_again_and_closed_to_others(void)
{
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "secret");
    shoal_buffer_t bytes = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    mode_t old = umask(0);
    CHECK_OK(shoal_private_write(path, SHOAL_SLICE("first"), &status), status);
    CHECK_OK(shoal_private_write(path, SHOAL_SLICE("second"), &status), status);
    (void)umask(old);
    struct stat about;
    CHECK(stat(path, &about) == 0 && (about.st_mode & 07777) == 0600);
    CHECK_OK(shoal_private_read(path, 6, &bytes, &status), status);
    CHECK(shoal_slice_is(shoal_buffer_slice(&bytes), "second"));
    CHECK(folder_count(&folder) == 1); // no draft is left
    shoal_private_wipe(&bytes);
    CHECK(bytes.ptr == NULL && bytes.len == 0);
    free(path);
    folder_remove(&folder);
}

static void
a_draft_that_a_dead_process_left_is_no_obstacle(void)
{
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "secret");
    char *draft = folder_file(&folder, "secret.new");
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK(symlink("/etc/passwd", draft) == 0); // and is not followed either
    CHECK_OK(shoal_private_write(path, SHOAL_SLICE("x"), &status), status);
    struct stat about;
    CHECK(lstat(path, &about) == 0 && S_ISREG(about.st_mode));
    free(path);
    free(draft);
    folder_remove(&folder);
}

static void
a_file_that_others_may_read_is_refused_with_what_to_run(void)
{
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "secret");
    shoal_buffer_t bytes = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_private_write(path, SHOAL_SLICE("x"), &status), status);
    static const mode_t modes[] = {0644, 0640, 0604, 0620, 0601};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        CHECK(chmod(path, modes[i]) == 0);
        CHECK_FAILS(shoal_private_read(path, 100, &bytes, &status), status, SHOAL_DENIED);
        CHECK_SAYS(status.text, "chmod 600 ");
        CHECK_SAYS(status.text, path);
    }
    CHECK(bytes.len == 0);
    free(path);
    folder_remove(&folder);
}

static void
a_file_of_somebody_else_is_refused(void)
{
    if (geteuid() != 0) {
        skip(); // only root can give a file away
    }
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "secret");
    shoal_buffer_t bytes = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_private_write(path, SHOAL_SLICE("x"), &status), status);
    CHECK(chown(path, 65534, 65534) == 0);
    CHECK_FAILS(shoal_private_read(path, 100, &bytes, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "65534");
    CHECK(chown(folder.path, 65534, 65534) == 0);
    CHECK_FAILS(shoal_private_folder(folder.path, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "65534");
    free(path);
    folder_remove(&folder);
}

static void
what_is_no_file_or_too_long_is_refused(void)
{
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "secret");
    shoal_buffer_t bytes = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_FAILS(shoal_private_read(path, 100, &bytes, &status), status, SHOAL_NOT_FOUND);
    CHECK_FAILS(shoal_private_read(folder.path, 100, &bytes, &status), status, SHOAL_IO);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK_FAILS(shoal_private_read(path, 100, &bytes, &status), status, SHOAL_IO);
    CHECK(unlink(path) == 0);
    CHECK_OK(shoal_private_write(path, SHOAL_SLICE("1234567"), &status), status);
    CHECK_FAILS(shoal_private_read(path, 6, &bytes, &status), status, SHOAL_LIMIT);
    CHECK_SAYS(status.text, "at most 6");
    CHECK_FAILS(shoal_private_write("/proc/nowhere/file", SHOAL_SLICE("x"), &status), status,
                SHOAL_NOT_FOUND);
    CHECK_FAILS(shoal_private_folder(path, &status), status, SHOAL_IO);
    free(path);
    folder_remove(&folder);
}

static void
a_folder_is_made_closed_and_an_open_one_is_refused(void)
{
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "keys");
    shoal_status_t status = SHOAL_STATUS_INIT;
    struct stat about;
    CHECK_OK(shoal_private_folder(path, &status), status);
    CHECK(stat(path, &about) == 0 && (about.st_mode & 07777) == 0700);
    CHECK_OK(shoal_private_folder(path, &status), status);
    CHECK(chmod(path, 0750) == 0);
    CHECK_FAILS(shoal_private_folder(path, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "chmod 700 ");
    CHECK(rmdir(path) == 0);
    free(path);
    folder_remove(&folder);
}

TEST_MAIN(TEST(what_is_written_is_read_again_and_closed_to_others),
          TEST(a_draft_that_a_dead_process_left_is_no_obstacle),
          TEST(a_file_that_others_may_read_is_refused_with_what_to_run),
          TEST(a_file_of_somebody_else_is_refused), TEST(what_is_no_file_or_too_long_is_refused),
          TEST(a_folder_is_made_closed_and_an_open_one_is_refused))
