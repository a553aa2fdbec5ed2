// SPDX-License-Identifier: Apache-2.0
//
// test_entry.c - what head/cluster/entry.h promises.

#include "head/cluster/entry.h"
#include "tests/support/test.h"

static const shoal_entry_t samples[] = {
    {.kind = SHOAL_ENTRY_WORKER,
     .worker = 7,
     .id = {"w7", 2},
     .incarnation = UINT64_MAX,
     .name = {"", 0}},
    {.kind = SHOAL_ENTRY_WORKER,
     .worker = 8,
     .id = {"w8", 2},
     .incarnation = 1,
     .name = {"", 0},
     .bytes = {"its key", 7}},
    {.kind = SHOAL_ENTRY_BEGUN, .at_ms = 1763700000000},
    {.kind = SHOAL_ENTRY_START, .shard = 3999999, .attempt = UINT32_MAX, .worker = 7},
    {.kind = SHOAL_ENTRY_ITEMS, .attempt = 1, .bytes = {"\x81\xa5shard\x01", 8}},
    {.kind = SHOAL_ENTRY_DONE,
     .shard = 3,
     .attempt = 1,
     .batches = 70000,
     .records = UINT64_MAX,
     .bytes = {"\x80", 1}},
    {.kind = SHOAL_ENTRY_FAILED,
     .shard = 3,
     .attempt = 2,
     .end = 1,
     .error_class = 1,
     .code = 7,
     .text = {"its worker was lost", 19},
     .key = {"source.type", 11},
     .chance = 1234567890123,
     .at_ms = 5},
    {.kind = SHOAL_ENTRY_RUN, .bytes = {"\x90", 1}},
    {.kind = SHOAL_ENTRY_CRASHED, .shard = 3, .alone = 1, .text = {"SIGSEGV", 7}, .id = {"w7", 2}},
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static void
check_equal(const shoal_entry_t *a, const shoal_entry_t *b)
{
    CHECK(a->kind == b->kind && a->worker == b->worker && a->incarnation == b->incarnation);
    CHECK(a->shard == b->shard && a->attempt == b->attempt && a->batches == b->batches);
    CHECK(a->records == b->records && a->end == b->end && a->error_class == b->error_class);
    CHECK(a->code == b->code && a->chance == b->chance && a->at_ms == b->at_ms);
    CHECK(a->alone == b->alone);
    CHECK(shoal_slice_equal(a->id, b->id) && shoal_slice_equal(a->name, b->name));
    CHECK(shoal_slice_equal(a->text, b->text) && shoal_slice_equal(a->key, b->key));
    CHECK(shoal_slice_equal(a->bytes, b->bytes));
}

static void
what_is_written_is_read(void)
{
    shoal_buffer_t log = SHOAL_BUFFER_INIT;
    for (size_t i = 0; i < SAMPLES; i++) {
        shoal_entry_write(&log, &samples[i]);
    }
    size_t at = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        shoal_entry_t entry;
        CHECK_OK(shoal_entry_read(shoal_buffer_slice(&log), &at, &entry, &status), status);
        check_equal(&entry, &samples[i]);
    }
    CHECK(at == log.len);
    shoal_buffer_fini(&log);
}

static void
an_entry_that_is_cut_at_any_byte_is_an_error(void)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        shoal_buffer_t log = SHOAL_BUFFER_INIT;
        shoal_entry_write(&log, &samples[i]);
        for (size_t len = 1; len < log.len; len++) {
            shoal_status_t status = SHOAL_STATUS_INIT;
            shoal_entry_t entry;
            size_t at = 0;
            CHECK_FAILS(shoal_entry_read((shoal_slice_t){log.ptr, len}, &at, &entry, &status),
                        status, SHOAL_IO);
            CHECK_SAYS(status.text, "byte 0");
            CHECK(at == 0);
        }
        shoal_buffer_fini(&log);
    }
}

static void
what_is_no_entry_is_an_error(void)
{
    static const shoal_slice_t wrong[] = {
        {"\x01", 1},                                                  // no array
        {"\x92\x00\x01", 3},                                          // kind 0
        {"\x92\x63\x01", 3},                                          // kind 99
        {"\x93\x02\x01\x01", 4},                                      // BEGUN with two elements
        {"\x91\x02", 2},                                              // and with none
        {"\x92\x02\xa1x", 4},                                         // a text for a number
        {"\x94\x03\xcf\x00\x00\x00\x01\x00\x00\x00\x00\x01\x01", 13}, // a shard of 33 bits
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        shoal_entry_t entry;
        size_t at = 0;
        CHECK_FAILS(shoal_entry_read(wrong[i], &at, &entry, &status), status, SHOAL_IO);
    }
}

static void
kinds_have_names(void)
{
    assert_string_equal(shoal_entry_name(SHOAL_ENTRY_START), "START");
    assert_string_equal(shoal_entry_name(0), "?");
    assert_string_equal(shoal_entry_name(SHOAL_ENTRY_KIND_END), "?");
}

TEST_MAIN(TEST(what_is_written_is_read), TEST(an_entry_that_is_cut_at_any_byte_is_an_error),
          TEST(what_is_no_entry_is_an_error), TEST(kinds_have_names))
