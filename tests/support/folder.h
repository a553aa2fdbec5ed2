// SPDX-License-Identifier: Apache-2.0
//
// folder.h - a temporary folder of a test, one level deep.

#ifndef SHOAL_TESTS_SUPPORT_FOLDER_H
#define SHOAL_TESTS_SUPPORT_FOLDER_H

#include <dirent.h>
#include <unistd.h>

#include "tests/support/test.h"

typedef struct folder {
    char path[64];
} folder_t;

static inline folder_t
folder_new(void)
{
    folder_t folder = {"/tmp/shoal-test-XXXXXX"};
    CHECK(mkdtemp(folder.path) != NULL);
    return folder;
}

// The path of a file in the folder; the text is the caller's to free.
static inline char *
folder_file(const folder_t *folder, const char *name)
{
    char *path = NULL;
    CHECK(asprintf(&path, "%s/%s", folder->path, name) > 0);
    return path;
}

static inline size_t
folder_count(const folder_t *folder) // files in it
{
    DIR *directory = opendir(folder->path);
    CHECK(directory != NULL);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    (void)closedir(directory);
    return count;
}

static inline void
folder_remove(const folder_t *folder) // with its files
{
    DIR *directory = opendir(folder->path);
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            CHECK(unlinkat(dirfd(directory), entry->d_name, 0) == 0);
        }
    }
    (void)closedir(directory);
    CHECK(rmdir(folder->path) == 0);
}

#endif
