// SPDX-License-Identifier: Apache-2.0
//
// test_ledger.c - what head/cluster/ledger.h and head/cluster/tide.h promise.

#include "head/cluster/ledger.h"
#include "head/cluster/tide.h"
#include "tests/support/paper.h"

static void
add(shoal_ledger_t *ledger, shoal_page_t *page, uint64_t at_ms)
{
    shoal_entry_t entry = {.kind = SHOAL_ENTRY_BEGUN, .at_ms = at_ms};
    shoal_ledger_add(ledger, page, &entry);
}

static size_t
entries_of(const paper_t *paper, size_t note)
{
    size_t count = 0;
    shoal_slice_t log = shoal_buffer_slice(&paper->notes[note].bytes);
    for (size_t at = 0; at < log.len; count++) {
        shoal_entry_t entry;
        shoal_status_t status = SHOAL_STATUS_INIT;
        CHECK_OK(shoal_entry_read(log, &at, &entry, &status), status);
    }
    return count;
}

static void
a_turn_is_one_group_with_a_note_for_each_job(void)
{
    paper_t paper;
    shoal_ledger_sink_t sink = paper_sink(&paper);
    shoal_ledger_t *ledger = shoal_ledger_new(&sink);
    shoal_page_t one = {.job = 1};
    shoal_page_t two = {.job = 2};
    shoal_ledger_flush(ledger);
    CHECK(paper.count == 0 && shoal_ledger_lsn(ledger) == 0);
    add(ledger, &one, 1);
    CHECK(shoal_ledger_lsn(ledger) == 1); // what was decided is in the next group
    add(ledger, &two, 2);
    add(ledger, &one, 3);
    shoal_ledger_flush(ledger);
    shoal_ledger_flush(ledger);
    CHECK(paper.count == 2 && paper.lsn == 1 && shoal_ledger_lsn(ledger) == 1);
    CHECK(paper.notes[0].job == 1 && entries_of(&paper, 0) == 2);
    CHECK(paper.notes[1].job == 2 && entries_of(&paper, 1) == 1);
    add(ledger, &two, 4);
    CHECK(shoal_ledger_lsn(ledger) == 2);
    shoal_ledger_close(ledger, &one);
    shoal_ledger_close(ledger, &two);
    shoal_ledger_destroy(&ledger);
    CHECK(ledger == NULL);
    paper_free(&paper);
}

static void
a_worker_is_told_of_once_in_each_log(void)
{
    paper_t paper;
    shoal_ledger_sink_t sink = paper_sink(&paper);
    shoal_ledger_t *ledger = shoal_ledger_new(&sink);
    shoal_page_t one = {.job = 1};
    shoal_page_t two = {.job = 2};
    const shoal_ledger_worker_t near = {1, 5, "near", "", SHOAL_SLICE_NONE};
    const shoal_ledger_worker_t far = {1000, 5, "far", "", SHOAL_SLICE_NONE};
    shoal_ledger_start(ledger, &one, 3, 1, &near);
    shoal_ledger_start(ledger, &one, 4, 1, &far);
    shoal_ledger_start(ledger, &one, 5, 1, &near);
    shoal_ledger_start(ledger, &two, 5, 1, &far);
    shoal_ledger_flush(ledger);
    CHECK(entries_of(&paper, 0) == 5 && entries_of(&paper, 1) == 2);
    shoal_ledger_start(ledger, &one, 6, 1, &far);
    shoal_ledger_flush(ledger);
    CHECK(entries_of(&paper, 2) == 1);
    shoal_ledger_close(ledger, &one);
    shoal_ledger_close(ledger, &two);
    shoal_ledger_destroy(&ledger);
    paper_free(&paper);
}

static void
the_end_of_a_job_replaces_its_entries(void)
{
    paper_t paper;
    shoal_ledger_sink_t sink = paper_sink(&paper);
    shoal_ledger_t *ledger = shoal_ledger_new(&sink);
    shoal_page_t page = {.job = 9};
    shoal_journal_job_t row = {.number = 9, .id = SHOAL_SLICE("nine")};
    shoal_ledger_open(ledger, &page, &row, SHOAL_SLICE("\xc0"));
    add(ledger, &page, 1);
    row.end = SHOAL_SLICE("over");
    shoal_ledger_end(ledger, &page, &row);
    shoal_ledger_letter(ledger, 9, 1, SHOAL_SLICE("dear"));
    shoal_ledger_drop_letter(ledger, 9, 1);
    shoal_ledger_forget(ledger, &page);
    shoal_ledger_flush(ledger);
    static const paper_kind_t kinds[] = {PAPER_SEAL,   PAPER_OPEN, PAPER_END,
                                         PAPER_LETTER, PAPER_DROP, PAPER_FORGET};
    CHECK(paper.count == sizeof(kinds) / sizeof(kinds[0]));
    for (size_t i = 0; i < paper.count; i++) {
        CHECK(paper.notes[i].kind == kinds[i] && paper.notes[i].lsn == 1);
    }
    shoal_ledger_destroy(&ledger);
    paper_free(&paper);
}

static void
without_a_sink_everything_is_durable_at_once(void)
{
    shoal_ledger_t *ledger = shoal_ledger_new(NULL);
    shoal_page_t page = {.job = 1};
    CHECK(!shoal_ledger_is_on(ledger));
    add(ledger, &page, 1);
    shoal_ledger_flush(ledger);
    CHECK(shoal_ledger_lsn(ledger) == 0 && shoal_ledger_durable(ledger) == 0);
    shoal_ledger_close(ledger, &page);
    shoal_ledger_destroy(&ledger);
}

static void
a_disk_that_lags_is_seen_and_seen_to_have_caught_up(void)
{
    paper_t paper;
    shoal_ledger_sink_t sink = paper_sink(&paper);
    shoal_ledger_t *ledger = shoal_ledger_new(&sink);
    shoal_page_t page = {.job = 1};
    char *bytes = calloc(1, 1048576);
    while (!shoal_ledger_is_behind(ledger)) {
        shoal_entry_t entry = {.kind = SHOAL_ENTRY_ITEMS, .bytes = {bytes, 1048576}};
        shoal_ledger_add(ledger, &page, &entry);
        shoal_ledger_flush(ledger);
        CHECK(shoal_ledger_bytes(ledger) <= SHOAL_LEDGER_BEHIND_BYTES + 2 * 1048576);
    }
    uint64_t last = shoal_ledger_lsn(ledger);
    CHECK(last > 30 && !shoal_ledger_pass(ledger, 0));
    CHECK(shoal_ledger_pass(ledger, 2) && shoal_ledger_is_behind(ledger)); // not at once
    CHECK(!shoal_ledger_pass(ledger, 1) && shoal_ledger_durable(ledger) == 2);
    CHECK(shoal_ledger_pass(ledger, last / 2 + 2) && !shoal_ledger_is_behind(ledger));
    CHECK(shoal_ledger_pass(ledger, last) && shoal_ledger_bytes(ledger) == 0);
    free(bytes);
    shoal_ledger_close(ledger, &page);
    shoal_ledger_destroy(&ledger);
    paper_free(&paper);
}

static void
a_number_is_told_when_its_group_is_durable(void)
{
    shoal_tide_t tide = {0};
    CHECK(!shoal_tide_set(&tide, 1, 5, 4) && shoal_tide_is_shut(&tide));
    CHECK(!shoal_tide_set(&tide, 2, 6, 4) && !shoal_tide_set(&tide, 3, 7, 4));
    CHECK(!shoal_tide_pass(&tide, 4) && tide.open == 0);
    CHECK(shoal_tide_pass(&tide, 5) && tide.open == 1);  // never more than that
    CHECK(!shoal_tide_pass(&tide, 6) && tide.open == 1); // 2 was passed over: it lags
    CHECK(shoal_tide_pass(&tide, 7) && tide.open == 3 && !shoal_tide_is_shut(&tide));
    CHECK(shoal_tide_set(&tide, 4, 7, 7) && tide.open == 4); // nothing to wait for
}

TEST_MAIN(TEST(a_turn_is_one_group_with_a_note_for_each_job),
          TEST(a_worker_is_told_of_once_in_each_log), TEST(the_end_of_a_job_replaces_its_entries),
          TEST(without_a_sink_everything_is_durable_at_once),
          TEST(a_disk_that_lags_is_seen_and_seen_to_have_caught_up),
          TEST(a_number_is_told_when_its_group_is_durable))
