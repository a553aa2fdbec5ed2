// SPDX-License-Identifier: Apache-2.0
//
// replay.c - runs a fuzzer over the files of a folder: the corpus as a test.
//
//   fuzz_NOUN FOLDER [FILE...]

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define PATH_LENGTH 4096

// A copy of exactly the file's size, so that a sanitizer sees a byte too many.
static int
replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        (void)fprintf(stderr, "replay: cannot open \"%s\"\n", path);
        return 1;
    }
    struct stat info;
    int failed = fstat(fileno(file), &info);
    size_t size = failed ? 0 : (size_t)info.st_size;
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes || fread(bytes, 1, size, file) != size) {
        (void)fprintf(stderr, "replay: cannot read \"%s\"\n", path);
        failed = 1;
    } else {
        failed |= LLVMFuzzerTestOneInput(bytes, size);
    }
    free(bytes);
    (void)fclose(file);
    return failed;
}

static int
replay_folder(const char *path, unsigned *count)
{
    DIR *folder = opendir(path);
    if (!folder) {
        (void)fprintf(stderr, "replay: cannot open the folder \"%s\"\n", path);
        return 1;
    }
    int failed = 0;
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] != '.') {
            char name[PATH_LENGTH];
            (void)snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
            failed |= replay_file(name);
            ++*count;
        }
    }
    (void)closedir(folder);
    return failed;
}

int
main(int argc, char **argv)
{
    unsigned count = 0;
    int failed = argc < 2;
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode)) {
            failed |= replay_folder(argv[i], &count);
        } else {
            failed |= replay_file(argv[i]);
            count++;
        }
    }
    (void)printf("%u inputs\n", count);
    return failed || count == 0; // an empty corpus proves nothing
}
