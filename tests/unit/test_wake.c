// SPDX-License-Identifier: Apache-2.0
//
// test_wake.c - what worker/wake.h promises.

#include <fcntl.h>
#include <unistd.h>

#include "tests/support/test.h"
#include "worker/wake.h"

// Says `text` as a process of the wake would, with our own standard error thrown away.
static void
say(shoal_wake_t *wake, const char *text)
{
    int kept = dup(STDERR_FILENO);
    int none = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(kept >= 0 && none >= 0 && dup2(none, STDERR_FILENO) >= 0);
    CHECK(write(wake->pipe[1], text, strlen(text)) == (ssize_t)strlen(text));
    shoal_wake_read(wake);
    CHECK(dup2(kept, STDERR_FILENO) >= 0);
    (void)close(kept);
    (void)close(none);
}

static void
open_wake(shoal_wake_t *wake, const char *events_path)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_wake_init(wake, events_path, &status), status);
}

static void
last_words_are_the_last_lines_and_are_said_once(void)
{
    shoal_wake_t wake;
    char words[SHOAL_WAKE_WORDS_MAX];
    open_wake(&wake, "/nowhere");
    shoal_wake_words(&wake, words);
    CHECK(words[0] == '\0');
    say(&wake, "one\ntwo\nthr");
    say(&wake, "ee\nf\xff\x1bour\n\n");
    shoal_wake_words(&wake, words);
    CHECK(strcmp(words, "two | three | f??our") == 0);
    shoal_wake_words(&wake, words);
    CHECK(words[0] == '\0');
    shoal_wake_fini(&wake);
}

static void
much_is_cut_to_its_end(void)
{
    shoal_wake_t wake;
    char words[SHOAL_WAKE_WORDS_MAX];
    char many[3 * SHOAL_WAKE_TAIL_BYTES];
    open_wake(&wake, "/nowhere");
    memset(many, 'x', sizeof(many) - 1);
    many[sizeof(many) - 1] = '\0';
    say(&wake, "begin\n");
    say(&wake, many);
    say(&wake, "end\n");
    shoal_wake_words(&wake, words);
    size_t len = strlen(words);
    CHECK(len < SHOAL_WAKE_WORDS_MAX && len > SHOAL_WAKE_WORDS_MAX / 2);
    CHECK(words[0] == 'x' && strcmp(words + len - 4, "xend") == 0);
    for (int i = 0; i < 40; i++) {
        say(&wake, "\n\n\n|"); // short lines grow where they are joined
    }
    shoal_wake_words(&wake, words);
    CHECK(strcmp(words + strlen(words) - 3, "| |") == 0 || strlen(words) < SHOAL_WAKE_WORDS_MAX);
    shoal_wake_fini(&wake);
}

static void
write_events(const char *path, unsigned kills)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    (void)fprintf(file, "low 0\nhigh 0\nmax 4\noom 1\noom_kill %u\noom_group_kill 0\n", kills);
    CHECK(fclose(file) == 0);
}

static void
the_kernel_is_to_blame_for_a_kill_that_it_has_just_counted(void)
{
    shoal_wake_t wake;
    char path[] = "/tmp/shoal-events-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    write_events(path, 7);
    open_wake(&wake, path);
    CHECK(!shoal_wake_is_oom(&wake, 1000)); // those were others
    write_events(path, 8);
    CHECK(shoal_wake_is_oom(&wake, 2000));
    CHECK(!shoal_wake_is_oom(&wake, 2001)); // each is blamed once
    write_events(path, 9);
    shoal_wake_count(&wake, 3000); // seen while our process lived
    CHECK(!shoal_wake_is_oom(&wake, 3001 + SHOAL_WAKE_OOM_MS));
    shoal_wake_fini(&wake);
    (void)close(fd);
    (void)unlink(path);
    open_wake(&wake, "/nowhere");
    CHECK(!shoal_wake_is_oom(&wake, 1000));
    shoal_wake_fini(&wake);
}

TEST_MAIN(TEST(last_words_are_the_last_lines_and_are_said_once), TEST(much_is_cut_to_its_end),
          TEST(the_kernel_is_to_blame_for_a_kill_that_it_has_just_counted))
