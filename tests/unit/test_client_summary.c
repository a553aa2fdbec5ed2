// SPDX-License-Identifier: Apache-2.0
//
// test_client_summary.c - what client/report.h, text.h, progress.h and summary.h promise.

#include <jansson.h>
#include <unistd.h>

#include "client/progress.h"
#include "client/summary.h"
#include "client/text.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

static void
write_error(shoal_buffer_t *out, uint64_t error_class, uint64_t code, const char *key,
            const char *message)
{
    shoal_write_map(out, 7);
    shoal_write_key(out, "class");
    shoal_write_uint(out, error_class);
    shoal_write_key(out, "code");
    shoal_write_uint(out, code);
    shoal_write_key(out, "message");
    shoal_write_text(out, message);
    shoal_write_key(out, "key");
    shoal_write_text(out, key);
    shoal_write_key(out, "where");
    shoal_write_text(out, "oids 1 to 900");
    shoal_write_key(out, "worker");
    shoal_write_nil(out);
    shoal_write_key(out, "count");
    shoal_write_uint(out, 3);
}

static void
write_book(shoal_buffer_t *out, const char *scope, uint64_t listed, uint64_t delivered,
           bool is_complete)
{
    shoal_write_map(out, 8);
    shoal_write_key(out, "scope");
    shoal_write_text(out, scope);
    shoal_write_key(out, "of");
    shoal_write_text(out, "table");
    shoal_write_key(out, "listed");
    shoal_write_uint(out, listed);
    shoal_write_key(out, "delivered");
    shoal_write_uint(out, delivered);
    shoal_write_key(out, "filtered");
    shoal_write_uint(out, 1);
    shoal_write_key(out, "vanished");
    shoal_write_uint(out, 0);
    shoal_write_key(out, "dead");
    shoal_write_uint(out, 0);
    shoal_write_key(out, "complete");
    shoal_write_bool(out, is_complete);
}

// A detail with everything in it, as docs/protocol.md section 7 has it.
static void
write_detail(shoal_buffer_t *out)
{
    shoal_write_map(out, 20);
    shoal_write_key(out, "stage");
    shoal_write_text(out, "finish");
    shoal_write_key(out, "discovering");
    shoal_write_bool(out, false);
    shoal_write_key(out, "shards");
    shoal_write_map(out, 5);
    shoal_write_key(out, "total");
    shoal_write_uint(out, 8);
    shoal_write_key(out, "done");
    shoal_write_uint(out, 6);
    shoal_write_key(out, "running");
    shoal_write_uint(out, 0);
    shoal_write_key(out, "retried");
    shoal_write_uint(out, 1);
    shoal_write_key(out, "dead");
    shoal_write_uint(out, 0);
    shoal_write_key(out, "records");
    shoal_write_map(out, 5);
    shoal_write_key(out, "total");
    shoal_write_uint(out, 1234);
    shoal_write_key(out, "successful");
    shoal_write_uint(out, 1230);
    shoal_write_key(out, "failed");
    shoal_write_uint(out, 4);
    shoal_write_key(out, "filtered");
    shoal_write_uint(out, 56);
    shoal_write_key(out, "by_kind");
    shoal_write_map(out, 2);
    shoal_write_key(out, "table");
    shoal_write_uint(out, 1200);
    shoal_write_key(out, "database");
    shoal_write_uint(out, 30);
    shoal_write_key(out, "commits");
    shoal_write_uint(out, 8);
    shoal_write_key(out, "output_bytes");
    shoal_write_uint(out, 5000);
    shoal_write_key(out, "seconds");
    shoal_write_float(out, 2.0);
    shoal_write_key(out, "workers");
    shoal_write_uint(out, 2);
    shoal_write_key(out, "slots");
    shoal_write_uint(out, 4);
    shoal_write_key(out, "wait");
    shoal_write_nil(out);
    shoal_write_key(out, "from a newer head");
    shoal_write_array(out, 1);
    shoal_write_uint(out, 1);
    shoal_write_key(out, "errors");
    shoal_write_array(out, 1);
    write_error(out, SHOAL_FATAL, SHOAL_DENIED, "", "permission denied for schema hr");
    shoal_write_key(out, "errors_left_out");
    shoal_write_uint(out, 2);
    shoal_write_key(out, "warnings");
    shoal_write_array(out, 1);
    shoal_write_array(out, 2);
    shoal_write_text(out, "no snapshot");
    shoal_write_uint(out, 2);
    shoal_write_key(out, "facts");
    shoal_write_map(out, 1);
    shoal_write_key(out, "server");
    shoal_write_text(out, "15.4");
    shoal_write_key(out, "books");
    shoal_write_array(out, 2);
    write_book(out, "shop.hr", 10, 7, false);
    write_book(out, "shop.public", 10, 9, true);
    shoal_write_key(out, "balanced");
    shoal_write_bool(out, false);
    shoal_write_key(out, "scopes");
    shoal_write_map(out, 3);
    shoal_write_key(out, "total");
    shoal_write_uint(out, 2);
    shoal_write_key(out, "complete");
    shoal_write_uint(out, 1);
    shoal_write_key(out, "balanced");
    shoal_write_uint(out, 1);
    shoal_write_key(out, "limited");
    shoal_write_bool(out, true);
    shoal_write_key(out, "plan");
    shoal_write_array(out, 1);
    shoal_write_map(out, 2);
    shoal_write_key(out, "shard");
    shoal_write_uint(out, 4);
    shoal_write_key(out, "title");
    shoal_write_text(out, "everything");
}

static shoal_report_t *
report_of(const char *state, const shoal_buffer_t *detail)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_report_t *report = NULL;
    CHECK_OK(shoal_report_read(shoal_slice_of(state), shoal_buffer_slice(detail), &report, &status),
             status);
    return report;
}

static shoal_report_t *
full_report(const char *state)
{
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    write_detail(&detail);
    shoal_report_t *report = report_of(state, &detail);
    shoal_buffer_fini(&detail);
    return report;
}

static void
a_report_has_what_the_event_said(void)
{
    shoal_report_t *report = full_report("PARTIAL");
    assert_string_equal(report->state, "PARTIAL");
    assert_string_equal(report->stage, "finish");
    CHECK(shoal_report_is_final(report));
    CHECK(report->shards.total == 8 && report->shards.done == 6 && report->shards.retried == 1);
    CHECK(report->records.successful == 1230 && report->records.filtered == 56);
    CHECK(report->kind_count == 2 && report->kinds[1].count == 30);
    assert_string_equal(report->kinds[0].text, "table");
    CHECK(report->error_count == 1 && report->errors[0].code == SHOAL_DENIED);
    CHECK(report->errors[0].count == 3 && report->errors_left_out == 2);
    assert_string_equal(report->errors[0].where, "oids 1 to 900");
    assert_string_equal(report->errors[0].worker, "");
    assert_string_equal(report->warnings[0].text, "no snapshot");
    assert_string_equal(report->facts[0].text, "15.4");
    CHECK(report->book_count == 2 && !report->books[0].is_complete);
    CHECK(report->has_books && !report->is_balanced && report->is_limited);
    CHECK(report->plan_count == 1 && report->plan[0].shard == 4);
    assert_string_equal(report->wait, "");
    shoal_report_destroy(&report);
}

static void
a_detail_cut_anywhere_is_refused(void)
{
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    write_detail(&detail);
    for (size_t len = 1; len < detail.len; len++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        shoal_report_t *report = NULL;
        char *exact = malloc(len); // so that the address sanitizer sees a read beyond
        CHECK(exact);
        memcpy(exact, detail.ptr, len);
        CHECK_FAILS(shoal_report_read(SHOAL_SLICE("RUNNING"), (shoal_slice_t){exact, len}, &report,
                                      &status),
                    status, SHOAL_PROTOCOL);
        free(exact);
    }
    shoal_buffer_fini(&detail);
}

static void
a_detail_with_any_byte_changed_does_no_harm(void)
{
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    write_detail(&detail);
    for (size_t i = 0; i < detail.len; i++) {
        for (unsigned byte = 0; byte < 256; byte += 15) {
            shoal_status_t status = SHOAL_STATUS_INIT;
            shoal_report_t *report = NULL;
            char before = detail.ptr[i];
            detail.ptr[i] = (char)byte;
            if (shoal_report_read(SHOAL_SLICE("FAILED"), shoal_buffer_slice(&detail), &report,
                                  &status)) {
                const shoal_summary_t summary = {.report = report, .success_threshold = -1};
                shoal_buffer_t text = SHOAL_BUFFER_INIT;
                shoal_summary_text(&summary, &text);
                shoal_summary_json(&summary, &text);
                CHECK(text.len > 0);
                shoal_buffer_fini(&text);
            }
            shoal_report_destroy(&report);
            detail.ptr[i] = before;
        }
    }
    shoal_buffer_fini(&detail);
}

static void
an_event_without_detail_is_a_report_of_zeros(void)
{
    shoal_buffer_t empty = SHOAL_BUFFER_INIT;
    shoal_report_t *report = report_of("PENDING", &empty);
    CHECK(!shoal_report_is_final(report));
    CHECK(shoal_report_success(report) == 100.0 && shoal_report_rate(report) == 0.0);
    shoal_report_destroy(&report);
}

static void
no_control_character_reaches_a_terminal(void)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_text_append_safe(&out, "a\x1b[2J\x7f|\xc2\x80\xc2\x9b"
                                 "31m\xc2\x9f|\x9b|\xc3|");
    assert_string_equal(shoal_buffer_text(&out), "a?[2J?|??31m?|?|?|");
    shoal_buffer_clear(&out);
    shoal_text_append_safe(&out, "\xc2\xa0\xc3\xa9\xe6\x97\xa5\xf0\x9f\x90\x9f");
    assert_string_equal(shoal_buffer_text(&out), "\xc2\xa0\xc3\xa9\xe6\x97\xa5\xf0\x9f\x90\x9f");
    shoal_buffer_fini(&out);
}

static void
numbers_are_written_for_people(void)
{
    char text[SHOAL_TEXT_SIZE];
    assert_string_equal(shoal_text_count(0, text), "0");
    assert_string_equal(shoal_text_count(999, text), "999");
    assert_string_equal(shoal_text_count(1000, text), "1,000");
    assert_string_equal(shoal_text_count(UINT64_MAX, text), "18,446,744,073,709,551,615");
    assert_string_equal(shoal_text_seconds(0.0, text), "0 ms");
    assert_string_equal(shoal_text_seconds(0.0421, text), "42 ms");
    assert_string_equal(shoal_text_seconds(0.4249, text), "0.42 s");
    assert_string_equal(shoal_text_seconds(9.999, text), "10.0 s");
    assert_string_equal(shoal_text_seconds(99.96, text), "1 min 40 s");
    assert_string_equal(shoal_text_seconds(185, text), "3 min 05 s");
    assert_string_equal(shoal_text_seconds(7620, text), "2 h 07 min");
    assert_string_equal(shoal_text_bytes(812, text), "812 B");
    assert_string_equal(shoal_text_bytes(24680, text), "24.1 KiB");
    assert_string_equal(shoal_text_bytes(UINT64_MAX, text), "16.0 EiB");
}

static void
a_table_has_straight_columns_and_harmless_cells(void)
{
    static const char *const cells[] = {">N",        "NAME",  "WHAT", "7",   "größe",
                                        "a\033[2Jb", "1,000", "x",    "last"};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_text_table(cells, 3, 3, &out);
    assert_string_equal(shoal_buffer_text(&out), "    N  NAME   WHAT\n"
                                                 "    7  größe  a?[2Jb\n"
                                                 "1,000  x      last\n");
    shoal_buffer_fini(&out);
}

static void
progress_says_how_far_it_is(void)
{
    shoal_report_t *report = full_report("RUNNING");
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_progress_format_plain(report, &out);
    assert_string_equal(shoal_buffer_text(&out),
                        "2.00 s: finish, 6 of 8 shards, 1,234 records, 617/s, 0.67 s to go");
    shoal_buffer_clear(&out);
    shoal_progress_format(report, 100, /*has_colour=*/false, &out);
    assert_string_equal(shoal_buffer_text(&out),
                        "[###############.....] finish: 6 of 8 shards, 1,234 records, 617/s, "
                        "0.67 s to go");
    shoal_buffer_clear(&out);
    shoal_progress_format(report, 40, /*has_colour=*/false, &out);
    assert_string_equal(shoal_buffer_text(&out), "finish: 6 of 8 shards, 1,234 records, 6");
    report->is_discovering = true; // nobody can say how long it takes
    report->shards.dead = 1;
    free(report->wait);
    report->wait = strdup("no worker has the class pipeline");
    shoal_buffer_clear(&out);
    shoal_progress_format_plain(report, &out);
    assert_string_equal(shoal_buffer_text(&out),
                        "2.00 s: finish, 6 of 8+ shards, 1,234 records, 617/s, 1 dead, waiting: no "
                        "worker has the class pipeline");
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

// A running job: a third of the work is done, and 100 records are here that belong to no commit.
static shoal_report_t *
report_on_the_way(bool is_discovering)
{
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    shoal_write_map(&detail, 6);
    shoal_write_key(&detail, "stage");
    shoal_write_text(&detail, "map");
    shoal_write_key(&detail, "discovering");
    shoal_write_bool(&detail, is_discovering);
    shoal_write_key(&detail, "shards");
    shoal_write_map(&detail, 1);
    shoal_write_key(&detail, "total");
    shoal_write_uint(&detail, 4);
    shoal_write_key(&detail, "records");
    shoal_write_map(&detail, 2);
    shoal_write_key(&detail, "total");
    shoal_write_uint(&detail, 900);
    shoal_write_key(&detail, "arriving");
    shoal_write_uint(&detail, 100);
    shoal_write_key(&detail, "progress");
    shoal_write_float(&detail, 0.25);
    shoal_write_key(&detail, "seconds");
    shoal_write_float(&detail, 4.0);
    shoal_report_t *report = report_of("RUNNING", &detail);
    shoal_buffer_fini(&detail);
    return report;
}

static void
progress_moves_before_the_first_shard_is_done(void)
{
    shoal_report_t *report = report_on_the_way(/*is_discovering=*/false);
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_progress_format_plain(report, &out);
    assert_string_equal(shoal_buffer_text(&out),
                        "4.00 s: map, 0 of 4 shards, 1,000 records, 250/s, 12.0 s to go");
    shoal_buffer_clear(&out);
    shoal_progress_format(report, 100, /*has_colour=*/false, &out);
    CHECK(strstr(shoal_buffer_text(&out), "[#####...............]"));
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

static void
the_time_to_go_goes_down_while_no_event_comes(void)
{
    shoal_report_t *report = report_on_the_way(/*is_discovering=*/false);
    CHECK(shoal_report_seconds_left(report) == 12.0);
    report->seconds = 9.0;
    CHECK(shoal_report_seconds_left(report) == 7.0);
    report->seconds = 30.0;
    CHECK(shoal_report_seconds_left(report) == 0.0);
    shoal_report_destroy(&report);
    report = report_on_the_way(/*is_discovering=*/true); // nobody knows how much there is
    CHECK(shoal_report_seconds_left(report) < 0.0);
    shoal_report_destroy(&report);
}

static void
a_worker_is_named_by_its_name_and_the_first_digits_of_its_id(void)
{
    static const struct {
        const char *name, *id, *text;
    } cases[] = {
        {"worker 1", "0123456789abcdef0123456789abcdef", "worker 1 (01234567)"},
        {"", "0123456789abcdef0123456789abcdef", "01234567"},
        {"", "w7", "w7"},
        {"db-host", "w7", "db-host (w7)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        shoal_buffer_t out = SHOAL_BUFFER_INIT;
        shoal_text_append_worker(&out, cases[i].name, cases[i].id);
        assert_string_equal(shoal_buffer_text(&out), cases[i].text);
        shoal_buffer_fini(&out);
    }
}

// What `progress` has written into the pipe so far.
static const char *
written(int fd)
{
    static char text[1024];
    ssize_t got = read(fd, text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void
without_a_terminal_a_line_comes_every_five_seconds(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    shoal_report_t *report = full_report("RUNNING");
    shoal_progress_config_t config = shoal_progress_config(ends[1]);
    CHECK(!config.is_terminal && !config.has_colour);
    shoal_progress_t *progress = shoal_progress_new(&config, 1000);
    CHECK(shoal_progress_next(progress) == 6000);
    shoal_progress_update(progress, report, 5999);
    shoal_progress_say(progress, "news\033[31m");
    assert_string_equal(written(ends[0]), "news?[31m\n");
    shoal_progress_update(progress, report, 6000);
    CHECK_SAYS(written(ends[0]), "6 of 8 shards");
    CHECK(shoal_progress_next(progress) == 11000);
    shoal_progress_destroy(&progress);
    config.is_off = true;
    progress = shoal_progress_new(&config, 1000);
    shoal_progress_update(progress, report, 60000);
    shoal_progress_say(progress, "only news");
    assert_string_equal(written(ends[0]), "only news\n");
    shoal_progress_destroy(&progress);
    shoal_report_destroy(&report);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

static void
on_a_terminal_one_line_is_drawn_again_and_taken_away(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    const shoal_progress_config_t config = {.fd = ends[1], .is_terminal = true, .width = 80};
    shoal_progress_t *progress = shoal_progress_new(&config, 1000);
    shoal_progress_update(progress, NULL, 1100);
    assert_string_equal(written(ends[0]), "\r\033[Kstarting");
    shoal_progress_say(progress, "news");
    assert_string_equal(written(ends[0]), "\r\033[Knews\n");
    shoal_progress_update(progress, NULL, 1101); // it is drawn again at once
    assert_string_equal(written(ends[0]), "\r\033[Kstarting");
    shoal_progress_destroy(&progress);
    assert_string_equal(written(ends[0]), "\r\033[K");
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

static void
a_summary_is_the_text_that_people_read(void)
{
    shoal_report_t *report = full_report("PARTIAL");
    const shoal_summary_t summary = {
        .name = "shop",
        .job = 1,
        .report = report,
        .success_threshold = -1,
        .output = "shop.jsonl",
        .output_bytes = 5000,
    };
    report->is_limited = false;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_text(&summary, &out);
    assert_string_equal(
        shoal_buffer_text(&out),
        "shop: PARTIAL in 2.00 s\n"
        "  records     1,234 total: 1,230 successful, 4 failed, 56 filtered (99.67 % success)\n"
        "  by kind     1,200 table\n"
        "              30 database\n"
        "  throughput  617 records/s with 4 slots of 2 workers\n"
        "  shards      6 of 8 done, 1 retried, 0 dead\n"
        "  balance     1 of 2 scopes complete, NOT balanced, as follows\n"
        "              shop.hr: 10 table listed, 7 delivered, 1 filtered, 0 vanished, 0 dead, not "
        "complete\n"
        "  warnings    no snapshot (2 times)\n"
        "  noted       server: 15.4\n"
        "  output      shop.jsonl (4.9 KiB)\n"
        "error: permission denied for schema hr (fatal, in oids 1 to 900, 3 times)\n"
        "       next: check the user, the password and what the user may read\n"
        "error: and 2 more\n");
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

static void
a_limited_run_has_no_balance_to_show(void)
{
    shoal_report_t *report = full_report("SUCCEEDED");
    const shoal_summary_t summary = {.name = "shop", .report = report, .success_threshold = -1};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_text(&summary, &out);
    CHECK_SAYS(shoal_buffer_text(&out), "in 2.00 s, cut short by --limit\n");
    CHECK_SAYS(shoal_buffer_text(&out), "balance     not looked at: --limit cut the run short\n");
    CHECK(!strstr(shoal_buffer_text(&out), "shop.hr"));
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

static void
a_part_that_stays_is_named(void)
{
    shoal_report_t *report = full_report("FAILED");
    const shoal_summary_t summary = {
        .name = "shop", .report = report, .success_threshold = -1, .part = "shop.jsonl.part"};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_text(&summary, &out);
    CHECK_SAYS(shoal_buffer_text(&out), "not complete; what there is stays in shop.jsonl.part");
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

// How dead letters are told, by who keeps them.
static void
the_first_dead_letters_are_named(void)
{
    static const struct {
        const char *file;
        bool is_private;
        const char *says;
    } cases[] = {
        {NULL, false, "  letters     12 dead letters; see them: shoal dlq list 7\n"},
        {"x.letters.jsonl", true, "  letters     12 dead letters, in x.letters.jsonl\n"},
        {NULL, true, "  letters     12 dead letters; with -o FILE they are kept"},
    };
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    shoal_write_map(&detail, 1);
    shoal_write_key(&detail, "letters");
    shoal_write_map(&detail, 2);
    shoal_write_key(&detail, "total");
    shoal_write_uint(&detail, 12);
    shoal_write_key(&detail, "first");
    shoal_write_array(&detail, 1);
    shoal_write_map(&detail, 3);
    shoal_write_key(&detail, "letter");
    shoal_write_uint(&detail, 3);
    shoal_write_key(&detail, "name");
    shoal_write_key(&detail, "a.b\x1b");
    shoal_write_key(&detail, "more");
    shoal_write_nil(&detail);
    shoal_report_t *report = report_of("PARTIAL", &detail);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const shoal_summary_t summary = {.name = "shop",
                                         .job = 7,
                                         .report = report,
                                         .success_threshold = -1,
                                         .letters_file = cases[i].file,
                                         .is_private = cases[i].is_private};
        shoal_buffer_t out = SHOAL_BUFFER_INIT;
        shoal_summary_text(&summary, &out);
        CHECK_SAYS(shoal_buffer_text(&out), cases[i].says);
        CHECK_SAYS(shoal_buffer_text(&out), "              3 a.b?\n");
        shoal_buffer_clear(&out);
        shoal_summary_json(&summary, &out);
        CHECK_SAYS(shoal_buffer_text(&out), "\"dead_letters\":{\"total\":12,\"file\":");
        shoal_buffer_fini(&out);
    }
    shoal_report_destroy(&report);
    shoal_buffer_fini(&detail);
}

static void
say_line(void *ctx, const char *key, char *text, size_t size)
{
    (void)ctx;
    (void)snprintf(text, size, "%s", strcmp(key, "source.type") == 0 ? "shop.yaml:2: " : "?: ");
}

static void
a_bad_file_is_told_with_its_line_and_exit_2(void)
{
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    shoal_write_map(&detail, 2);
    shoal_write_key(&detail, "stage");
    shoal_write_text(&detail, "check");
    shoal_write_key(&detail, "errors");
    shoal_write_array(&detail, 1);
    write_error(&detail, SHOAL_CONFIG, SHOAL_INVALID, "source.type", "unknown source \"postgre\"");
    shoal_report_t *report = report_of("FAILED", &detail);
    const shoal_summary_t summary = {
        .name = "shop", .report = report, .success_threshold = -1, .locate = say_line};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_text(&summary, &out);
    assert_string_equal(shoal_buffer_text(&out),
                        "shop.yaml:2: source.type: unknown source \"postgre\"\n");
    CHECK(shoal_summary_exit(&summary) == SHOAL_EXIT_USAGE);
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
    shoal_buffer_fini(&detail);
}

static void
exit_codes_are_those_of_the_states(void)
{
    static const struct {
        const char *state;
        int threshold, signal, code;
    } cases[] = {
        {"SUCCEEDED", -1, 0, 0}, {"PARTIAL", -1, 0, 3},   {"PARTIAL", 99, 0, 0},
        {"PARTIAL", 100, 0, 3},  {"FAILED", -1, 0, 1},    {"FAILED", 0, 0, 1},
        {"STOPPED", -1, 0, 1},   {"STOPPED", -1, 2, 130}, {"SUCCEEDED", -1, 15, 143},
        {"RUNNING", -1, 0, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        shoal_report_t *report = full_report(cases[i].state);
        const shoal_summary_t summary = {
            .report = report, .success_threshold = cases[i].threshold, .signal = cases[i].signal};
        CHECK(shoal_summary_exit(&summary) == cases[i].code);
        shoal_report_destroy(&report);
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)shoal_fail(&status, SHOAL_UNAVAILABLE, "no head");
    const shoal_summary_t failed = {.status = &status, .success_threshold = -1};
    CHECK(shoal_summary_exit(&failed) == SHOAL_EXIT_FAILED);
    assert_string_equal(shoal_summary_state(&failed), "FAILED");
    (void)shoal_fail(&status, SHOAL_INVALID, "bad file");
    CHECK(shoal_summary_exit(&failed) == SHOAL_EXIT_USAGE);
}

static void
json_is_one_object_with_the_documented_keys(void)
{
    static const char *const keys[] = {
        "job",     "state",    "records",     "shards", "seconds", "records_per_second",
        "errors",  "warnings", "balanced",    "scopes", "output",  "dry_run",
        "limited", "facts",    "dead_letters"};
    shoal_report_t *report = full_report("PARTIAL");
    report->is_limited = false;
    const shoal_summary_t summary = {.job = 7,
                                     .report = report,
                                     .success_threshold = -1,
                                     .output = "shop.jsonl",
                                     .output_bytes = 5000};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_json(&summary, &out);
    CHECK(out.ptr[out.len - 1] == '\n' && !memchr(out.ptr, '\n', out.len - 1));
    json_t *whole = json_loadb(out.ptr, out.len, 0, NULL);
    CHECK(whole && json_object_size(whole) == sizeof(keys) / sizeof(keys[0]));
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        CHECK(json_object_get(whole, keys[i]));
    }
    json_int_t total = 0;
    json_int_t tables = 0;
    json_int_t retried = 0;
    const char *code = NULL;
    CHECK(json_unpack(whole, "{s:{s:I, s:{s:I}}, s:{s:I}, s:[{s:s}]}", "records", "total", &total,
                      "by_kind", "table", &tables, "shards", "retried", &retried, "errors", "code",
                      &code) == 0);
    CHECK(total == 1234 && tables == 1200 && retried == 1);
    assert_string_equal(code, "denied");
    int is_balanced = 1;
    json_int_t bytes = 0;
    json_int_t times = 0;
    json_int_t scopes = 0;
    CHECK(json_unpack(whole, "{s:b, s:{s:I}, s:[{s:I}], s:{s:I}}", "balanced", &is_balanced,
                      "output", "bytes", &bytes, "warnings", "count", &times, "scopes", "total",
                      &scopes) == 0);
    CHECK(!is_balanced && bytes == 5000 && times == 2 && scopes == 2);
    json_decref(whole);
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

// A report with a warning of a key and one of something else, and with two scopes of tables.
static shoal_report_t *
noted_report(const char *state, uint64_t filtered)
{
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    shoal_write_map(&detail, 2);
    shoal_write_key(&detail, "warnings");
    shoal_write_array(&detail, 2);
    shoal_write_array(&detail, 2);
    shoal_write_text(&detail, "source.type: has no meaning here");
    shoal_write_uint(&detail, 1);
    shoal_write_array(&detail, 2);
    shoal_write_text(&detail, "sources: are many");
    shoal_write_uint(&detail, 1);
    shoal_write_key(&detail, "books");
    shoal_write_array(&detail, 2);
    for (int i = 0; i < 2; i++) {
        shoal_write_map(&detail, 4);
        shoal_write_key(&detail, "scope");
        shoal_write_text(&detail, i == 0 ? "pg.a" : "pg.b");
        shoal_write_key(&detail, "of");
        shoal_write_text(&detail, "tables");
        shoal_write_key(&detail, "listed");
        shoal_write_uint(&detail, 20);
        shoal_write_key(&detail, "filtered");
        shoal_write_uint(&detail, filtered);
    }
    shoal_report_t *report = report_of(state, &detail);
    shoal_buffer_fini(&detail);
    return report;
}

static void
warnings_of_keys_say_where_the_keys_stand(void)
{
    shoal_report_t *report = noted_report("SUCCEEDED", 3);
    const shoal_summary_t summary = {
        .name = "shop", .report = report, .success_threshold = -1, .locate = say_line};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_notes(&summary, &out);
    assert_string_equal(shoal_buffer_text(&out),
                        "  warnings    shop.yaml:2: source.type: has no meaning here\n"
                        "              sources: are many\n");
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

static void
a_run_that_has_filtered_everything_warns_of_it(void)
{
    static const struct {
        const char *state;
        uint64_t filtered;
        bool warns;
    } cases[] = {{"SUCCEEDED", 20, true}, {"SUCCEEDED", 19, false}, {"FAILED", 20, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        shoal_report_t *report = noted_report(cases[i].state, cases[i].filtered);
        const shoal_summary_t summary = {.report = report, .success_threshold = -1};
        shoal_buffer_t out = SHOAL_BUFFER_INIT;
        shoal_summary_text(&summary, &out);
        bool has_warned =
            strstr(shoal_buffer_text(&out), "nothing is left: all 40 tables were filtered");
        CHECK(has_warned == cases[i].warns);
        shoal_buffer_clear(&out);
        shoal_summary_json(&summary, &out);
        CHECK((strstr(shoal_buffer_text(&out), "nothing is left") != NULL) == cases[i].warns);
        shoal_buffer_fini(&out);
        shoal_report_destroy(&report);
    }
}

static void
json_has_the_warnings_of_the_file_too(void)
{
    static const char *const warnings[] = {"shop.yaml:9: sink.x: unknown key", NULL};
    shoal_report_t *report = noted_report("SUCCEEDED", 3);
    const shoal_summary_t summary = {
        .report = report, .success_threshold = -1, .file_warnings = warnings};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_json(&summary, &out);
    json_t *whole = json_loadb(out.ptr, out.len, 0, NULL);
    const json_t *list = json_object_get(whole, "warnings");
    CHECK(json_array_size(list) == 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "message")),
                        warnings[0]);
    json_decref(whole);
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

static void
the_json_of_a_validation_has_the_plan_and_no_rate(void)
{
    shoal_report_t *report = full_report("SUCCEEDED");
    const shoal_summary_t summary = {.report = report, .success_threshold = -1, .is_plan = true};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_json(&summary, &out);
    json_t *whole = json_loadb(out.ptr, out.len, 0, NULL);
    CHECK(whole && !json_object_get(whole, "records_per_second"));
    const json_t *shard = json_array_get(json_object_get(whole, "plan"), 0);
    CHECK(json_integer_value(json_object_get(shard, "shard")) == 4);
    CHECK(json_object_get(shard, "stage") && json_object_get(shard, "needs"));
    CHECK(json_object_get(shard, "cost_us") && json_object_get(shard, "title"));
    json_decref(whole);
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

static void
a_job_that_goes_on_is_shown_as_it_is(void)
{
    shoal_report_t *report = full_report("RUNNING");
    free(report->wait);
    report->wait = strdup("a worker");
    CHECK(report->wait);
    const shoal_summary_t summary = {
        .name = "job 7", .job = 7, .report = report, .success_threshold = -1, .is_look = true};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_text(&summary, &out);
    CHECK_SAYS(shoal_buffer_text(&out), "job 7: RUNNING for 2.00 s");
    CHECK_SAYS(shoal_buffer_text(&out), "stage       finish");
    CHECK_SAYS(shoal_buffer_text(&out), "waits for   a worker\n");
    CHECK(!strstr(shoal_buffer_text(&out), "balanced") && !strstr(shoal_buffer_text(&out), "%"));
    shoal_buffer_clear(&out);
    shoal_summary_json(&summary, &out);
    CHECK_SAYS(shoal_buffer_text(&out), "\"state\":\"RUNNING\"");
    CHECK_SAYS(shoal_buffer_text(&out), "\"stage\":\"finish\"");
    CHECK_SAYS(shoal_buffer_text(&out), "\"waits_for\":\"a worker\"");
    CHECK_SAYS(shoal_buffer_text(&out), "\"balanced\":null");
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

static void
a_stopped_run_has_no_balance_and_no_share(void)
{
    shoal_report_t *report = full_report("STOPPED");
    report->is_limited = false;
    const shoal_summary_t summary = {.name = "shop", .report = report, .success_threshold = -1};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_text(&summary, &out);
    CHECK_SAYS(shoal_buffer_text(&out), "balance     not looked at: the run was stopped\n");
    CHECK(!strstr(shoal_buffer_text(&out), "NOT balanced"));
    CHECK(!strstr(shoal_buffer_text(&out), "success)"));
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
}

static void
json_comes_without_a_report_and_with_bytes_that_are_no_text(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    (void)shoal_fail(&status, SHOAL_UNAVAILABLE, "cannot reach \xff\xfe");
    const shoal_summary_t summary = {.status = &status, .success_threshold = -1};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_json(&summary, &out);
    json_t *whole = json_loadb(out.ptr, out.len, 0, NULL);
    const char *state = NULL;
    const char *message = NULL;
    CHECK(whole && json_is_null(json_object_get(whole, "job")));
    CHECK(json_unpack(whole, "{s:s, s:[{s:s}]}", "state", &state, "errors", "message", &message) ==
          0);
    assert_string_equal(state, "FAILED");
    assert_string_equal(message, "cannot reach ??");
    json_decref(whole);
    shoal_buffer_fini(&out);
}

TEST_MAIN(TEST(a_report_has_what_the_event_said), TEST(a_detail_cut_anywhere_is_refused),
          TEST(a_detail_with_any_byte_changed_does_no_harm),
          TEST(an_event_without_detail_is_a_report_of_zeros), TEST(numbers_are_written_for_people),
          TEST(no_control_character_reaches_a_terminal),
          TEST(a_table_has_straight_columns_and_harmless_cells), TEST(progress_says_how_far_it_is),
          TEST(progress_moves_before_the_first_shard_is_done),
          TEST(the_time_to_go_goes_down_while_no_event_comes),
          TEST(a_worker_is_named_by_its_name_and_the_first_digits_of_its_id),
          TEST(without_a_terminal_a_line_comes_every_five_seconds),
          TEST(on_a_terminal_one_line_is_drawn_again_and_taken_away),
          TEST(the_first_dead_letters_are_named), TEST(a_summary_is_the_text_that_people_read),
          TEST(a_limited_run_has_no_balance_to_show), TEST(a_part_that_stays_is_named),
          TEST(a_bad_file_is_told_with_its_line_and_exit_2),
          TEST(exit_codes_are_those_of_the_states),
          TEST(json_is_one_object_with_the_documented_keys),
          TEST(warnings_of_keys_say_where_the_keys_stand),
          TEST(a_run_that_has_filtered_everything_warns_of_it),
          TEST(json_has_the_warnings_of_the_file_too),
          TEST(the_json_of_a_validation_has_the_plan_and_no_rate),
          TEST(a_job_that_goes_on_is_shown_as_it_is),
          TEST(a_stopped_run_has_no_balance_and_no_share),
          TEST(json_comes_without_a_report_and_with_bytes_that_are_no_text))
