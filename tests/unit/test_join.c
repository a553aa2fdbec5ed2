// SPDX-License-Identifier: Apache-2.0
//
// test_join.c - what proto/keys/key.h and proto/keys/join.h promise.

#include <fcntl.h>
#include <sys/stat.h>

#include "proto/base/private.h"
#include "proto/keys/join.h"
#include "tests/support/folder.h"

static shoal_join_t
sample(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_key_pair_t head;
    shoal_join_t join = {.endpoint = "tcp://head.example:6380", .name = "rack1-a"};
    join.role = SHOAL_ROLE_WORKER;
    CHECK_OK(shoal_key_pair_make(&head, &status), status);
    CHECK_OK(shoal_key_pair_make(&join.own, &status), status);
    join.head = head.open;
    return join;
}

static void
a_key_survives_being_text(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_key_pair_t pair;
    shoal_key_pair_t again;
    shoal_key_t key;
    char text[SHOAL_KEY_TEXT_SIZE];
    CHECK_OK(shoal_key_pair_make(&pair, &status), status);
    shoal_key_text(&pair.open, text);
    CHECK(strlen(text) == SHOAL_KEY_TEXT_SIZE - 1);
    CHECK(shoal_key_parse(shoal_slice_of(text), &key));
    CHECK(shoal_key_compare(&key, &pair.open) == 0);
    CHECK_OK(shoal_key_pair_of(&pair.secret, &again, &status), status);
    CHECK(memcmp(&again, &pair, sizeof(pair)) == 0);
    CHECK(!shoal_key_parse((shoal_slice_t){text, sizeof(text) - 2}, &key));
    text[3] = '+';
    CHECK(!shoal_key_parse(shoal_slice_of(text), &key));
}

static void
names_of_holders_are_plain_words(void)
{
    char too_long[SHOAL_KEY_NAME_MAX + 2];
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    const char *const wrong[] = {"", "-x", "a b", "a/b", "\xc3\xa4", "a\n", "a\"b", too_long};
    shoal_status_t status = SHOAL_STATUS_INIT;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_FAILS(shoal_key_name_check(shoal_slice_of(wrong[i]), &status), status, SHOAL_INVALID);
    }
    CHECK_FAILS(shoal_key_name_check((shoal_slice_t){"a\0b", 3}, &status), status, SHOAL_INVALID);
    CHECK_OK(shoal_key_name_check(SHOAL_SLICE("Rack_1.a-b"), &status), status);
}

static void
a_join_string_holds_all_that_is_needed(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t token = SHOAL_BUFFER_INIT;
    shoal_join_t join = sample();
    shoal_join_t again;
    shoal_join_write(&join, &token);
    CHECK(memcmp(token.ptr, "shoal1:", 7) == 0 && token.len < 400);
    CHECK(strspn(shoal_buffer_text(&token) + 7, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
                                                "uvwxyz0123456789-_") == token.len - 7);
    CHECK_OK(shoal_join_parse(shoal_buffer_slice(&token), &again, &status), status);
    CHECK(strcmp(again.endpoint, join.endpoint) == 0 && strcmp(again.name, join.name) == 0);
    CHECK(again.role == SHOAL_ROLE_WORKER);
    CHECK(memcmp(&again.own, &join.own, sizeof(join.own)) == 0);
    CHECK(shoal_key_compare(&again.head, &join.head) == 0);
    shoal_private_wipe(&token);
}

//
static void
a_join_string_that_was_cut_or_changed_is_told_and_not_shown(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t token = SHOAL_BUFFER_INIT;
    shoal_join_t join = sample();
    shoal_join_t again;
    shoal_join_write(&join, &token);
    for (size_t len = 0; len < token.len; len++) {
        CHECK_FAILS(shoal_join_parse((shoal_slice_t){token.ptr, len}, &again, &status), status,
                    SHOAL_INVALID);
        CHECK(len < 24 || !memmem(status.text, strlen(status.text), token.ptr + 12, 8));
    }
    for (size_t at = 7; at < token.len; at++) {
        char was = token.ptr[at];
        token.ptr[at] = was == 'A' ? 'B' : 'A';
        CHECK_FAILS(shoal_join_parse(shoal_buffer_slice(&token), &again, &status), status,
                    SHOAL_INVALID);
        CHECK_SAYS(status.text, "cut short or changed");
        token.ptr[at] = was;
    }
    shoal_buffer_append_text(&token, "AAAA");
    CHECK_FAILS(shoal_join_parse(shoal_buffer_slice(&token), &again, &status), status,
                SHOAL_INVALID);
    shoal_private_wipe(&token);
}

static void
what_is_no_join_string_is_told(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_join_t join;
    CHECK_FAILS(shoal_join_parse(SHOAL_SLICE("ipc:///run/head.sock"), &join, &status), status,
                SHOAL_INVALID);
    CHECK_SAYS(status.text, "no join string");
    CHECK_FAILS(shoal_join_parse(SHOAL_SLICE("shoal2:AAAA"), &join, &status), status,
                SHOAL_UNSUPPORTED);
    CHECK_SAYS(status.text, "version 2");
    CHECK_FAILS(shoal_join_parse(SHOAL_SLICE("shoal12:AAAA"), &join, &status), status,
                SHOAL_UNSUPPORTED);
    CHECK_FAILS(shoal_join_parse(SHOAL_SLICE("shoal:AAAA"), &join, &status), status, SHOAL_INVALID);
    CHECK_FAILS(shoal_join_parse(SHOAL_SLICE("shoal1:"), &join, &status), status, SHOAL_INVALID);
}

static void
a_join_file_is_read_and_must_be_closed_to_others(void)
{
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "worker.join");
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_join_t join = sample();
    shoal_join_t again;
    struct stat about;
    CHECK_OK(shoal_join_save(path, &join, &status), status);
    CHECK(stat(path, &about) == 0 && (about.st_mode & 07777) == 0600);
    CHECK_OK(shoal_join_read(path, &again, &status), status);
    CHECK(memcmp(&again.own, &join.own, sizeof(join.own)) == 0);
    CHECK(chmod(path, 0644) == 0);
    CHECK_FAILS(shoal_join_read(path, &again, &status), status, SHOAL_DENIED);
    CHECK_SAYS(status.text, "chmod 600");
    CHECK(unlink(path) == 0);
    CHECK_FAILS(shoal_join_read(path, &again, &status), status, SHOAL_NOT_FOUND);
    free(path);
    folder_remove(&folder);
}

static void
a_join_file_has_one_token(void)
{
    static const char *const wrong[] = {"", "\n\n# nothing\n", "shoal1:AAAA\nshoal1:AAAA\n",
                                        "  shoal1:AAAA  \r\n"};
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "worker.join");
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_join_t join;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_OK(shoal_private_write(path, shoal_slice_of(wrong[i]), &status), status);
        CHECK_FAILS(shoal_join_read(path, &join, &status), status, SHOAL_INVALID);
        CHECK_SAYS(status.text, path);
    }
    char large[SHOAL_JOIN_BYTES_MAX + 1];
    memset(large, 'A', sizeof(large));
    CHECK_OK(shoal_private_write(path, (shoal_slice_t){large, sizeof(large)}, &status), status);
    CHECK_FAILS(shoal_join_read(path, &join, &status), status, SHOAL_LIMIT);
    free(path);
    folder_remove(&folder);
}

static void
standard_input_is_read_as_a_join_file(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t token = SHOAL_BUFFER_INIT;
    shoal_join_t join = sample();
    shoal_join_t again;
    shoal_join_write(&join, &token);
    int ends[2];
    int old = dup(STDIN_FILENO);
    CHECK(old >= 0 && pipe(ends) == 0 && dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
    CHECK(write(ends[1], token.ptr, token.len) == (ssize_t)token.len);
    CHECK(close(ends[1]) == 0 && close(ends[0]) == 0);
    CHECK_OK(shoal_join_read("-", &again, &status), status);
    CHECK(strcmp(again.name, "rack1-a") == 0);
    CHECK_FAILS(shoal_join_read("-", &again, &status), status, SHOAL_INVALID); // it is at its end
    CHECK_SAYS(status.text, "standard input");
    CHECK(dup2(old, STDIN_FILENO) == STDIN_FILENO && close(old) == 0);
    shoal_private_wipe(&token);
}

static void
a_heads_key_file_is_read_again_and_nothing_else_is(void)
{
    folder_t folder = folder_new();
    char *path = folder_file(&folder, "head.key");
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_key_pair_t pair;
    shoal_key_pair_t again;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    CHECK_OK(shoal_key_pair_make(&pair, &status), status);
    CHECK_OK(shoal_key_pair_write(path, &pair, &status), status);
    CHECK_OK(shoal_key_pair_read(path, &again, &status), status);
    CHECK(memcmp(&again, &pair, sizeof(pair)) == 0);
    CHECK_OK(shoal_private_read(path, 4096, &text, &status), status);
    for (size_t len = 0; len + 1 < text.len; len++) { // the final line end may be missing
        CHECK_OK(shoal_private_write(path, (shoal_slice_t){text.ptr, len}, &status), status);
        CHECK_FAILS(shoal_key_pair_read(path, &again, &status), status, SHOAL_INVALID);
    }
    shoal_private_wipe(&text);
    free(path);
    folder_remove(&folder);
}

TEST_MAIN(TEST(a_key_survives_being_text), TEST(names_of_holders_are_plain_words),
          TEST(a_join_string_holds_all_that_is_needed),
          TEST(a_join_string_that_was_cut_or_changed_is_told_and_not_shown),
          TEST(what_is_no_join_string_is_told),
          TEST(a_join_file_is_read_and_must_be_closed_to_others), TEST(a_join_file_has_one_token),
          TEST(standard_input_is_read_as_a_join_file),
          TEST(a_heads_key_file_is_read_again_and_nothing_else_is))
