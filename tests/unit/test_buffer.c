// SPDX-License-Identifier: Apache-2.0
//
// test_buffer.c - what proto/base/buffer.h promises.

#include "proto/base/alloc.h"
#include "proto/base/buffer.h"
#include "tests/support/test.h"

static void
bytes_stay_while_it_grows(void)
{
    shoal_buffer_t buffer = SHOAL_BUFFER_INIT;
    for (unsigned i = 0; i < 100000; i++) {
        shoal_buffer_append_byte(&buffer, (char)i);
    }
    CHECK(buffer.len == 100000 && buffer.size >= buffer.len);
    for (unsigned i = 0; i < 100000; i++) {
        CHECK(buffer.ptr[i] == (char)i);
    }
    shoal_buffer_clear(&buffer);
    CHECK(buffer.len == 0 && buffer.size > 0);
    shoal_buffer_fini(&buffer);
    CHECK(buffer.ptr == NULL && buffer.size == 0);
    shoal_buffer_fini(&buffer);
}

static void
texts_slices_and_formats_are_appended(void)
{
    shoal_buffer_t buffer = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&buffer, "a");
    shoal_buffer_append_slice(&buffer, SHOAL_SLICE("bc"));
    shoal_buffer_append_slice(&buffer, SHOAL_SLICE_NONE);
    shoal_buffer_append(&buffer, NULL, 0);
    shoal_buffer_append_format(&buffer, "-%d-%s-%500s", 7, "x", "y");
    CHECK(buffer.len == 3 + 5 + 500);
    CHECK(strncmp(shoal_buffer_text(&buffer), "abc-7-x-", 8) == 0);
    CHECK(buffer.len == 3 + 5 + 500); // the NUL does not count
    CHECK(shoal_slice_equal(shoal_buffer_slice(&buffer), (shoal_slice_t){buffer.ptr, buffer.len}));
    shoal_buffer_fini(&buffer);
}

static void
an_empty_buffer_is_an_empty_text(void)
{
    shoal_buffer_t buffer = SHOAL_BUFFER_INIT;
    CHECK(shoal_buffer_slice(&buffer).len == 0);
    assert_string_equal(shoal_buffer_text(&buffer), "");
    shoal_buffer_fini(&buffer);
}

static void
room_that_is_reserved_is_there(void)
{
    shoal_buffer_t buffer = SHOAL_BUFFER_INIT;
    for (size_t room = 1; room < 100000; room *= 3) {
        char *at = shoal_buffer_reserve(&buffer, room);
        CHECK(at == buffer.ptr + buffer.len && buffer.size - buffer.len >= room);
        memset(at, 'x', room);
        buffer.len += room;
    }
    shoal_buffer_fini(&buffer);
}

static void
slices_compare_by_bytes(void)
{
    CHECK(shoal_slice_is(SHOAL_SLICE("ab"), "ab"));
    CHECK(!shoal_slice_is(SHOAL_SLICE("ab"), "abc"));
    CHECK(!shoal_slice_is(SHOAL_SLICE("a\0"), "a"));
    CHECK(shoal_slice_is(SHOAL_SLICE_NONE, ""));
    CHECK(shoal_slice_equal(shoal_slice_of(NULL), SHOAL_SLICE("")));
}

static void
small_memory_is_zeroed_and_texts_are_copied(void)
{
    char *memory = shoal_alloc(100);
    for (int i = 0; i < 100; i++) {
        CHECK(memory[i] == 0);
    }
    free(memory);
    char *text = shoal_strdup(NULL);
    assert_string_equal(text, "");
    free(text);
    text = shoal_strndup("abcdef", 3);
    assert_string_equal(text, "abc");
    free(text);
    text = shoal_strndup(NULL, 0);
    assert_string_equal(text, "");
    free(shoal_realloc(text, 0));
}

TEST_MAIN(TEST(bytes_stay_while_it_grows), TEST(texts_slices_and_formats_are_appended),
          TEST(an_empty_buffer_is_an_empty_text), TEST(room_that_is_reserved_is_there),
          TEST(slices_compare_by_bytes), TEST(small_memory_is_zeroed_and_texts_are_copied))
