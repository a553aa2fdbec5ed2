// SPDX-License-Identifier: Apache-2.0
//
// test_run.c - what client/run.h promises, against a scripted head.

#include <sys/stat.h>

#include "client/run.h"
#include "proto/base/clock.h"
#include "tests/support/full_disk.h"
#include "tests/support/scripted_head.h"

static char folder[64];
static char path[128];

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/shoal-run-XXXXXX");
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "%s/out.jsonl", folder);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static const char *
content(const char *ending)
{
    static char text[1024];
    char name[192];
    (void)snprintf(name, sizeof(name), "%s%s", path, ending);
    FILE *file = fopen(name, "r");
    if (!file) {
        return "(none)";
    }
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    (void)fclose(file);
    return text;
}

static void
accept_job(scripted_head_t *head, const shoal_message_t *message)
{
    shoal_message_t accepted = {.type = SHOAL_MSG_ACCEPTED};
    accepted.accepted.request = message->submit.request;
    accepted.accepted.job = 5;
    scripted_head_send(head, &accepted, NULL);
}

// Runs against `script`, with the file `path` as output.
static shoal_run_result_t
run_with(scripted_head_fn *script)
{
    scripted_head_t head;
    scripted_head_start(&head, script);
    const shoal_run_plan_t plan = {
        .endpoint = head.endpoint,
        .spec = SHOAL_SLICE("\x80"),
        .output = path,
        .room_ms = 3000,
        .lost_ms = 3000,
        .progress = {.fd = STDERR_FILENO, .is_off = true, .width = 80},
    };
    shoal_run_result_t result;
    shoal_run(&plan, &result);
    scripted_head_stop(&head);
    return result;
}

static void
all_goes_well(scripted_head_t *head, const shoal_message_t *message)
{
    switch ((int)message->type) {
    case SHOAL_MSG_SUBMIT: accept_job(head, message); break;
    case SHOAL_MSG_WATCH: scripted_head_event(head, 5, "RUNNING"); break;
    case SHOAL_MSG_OUTPUT:
        assert_int_equal(message->output.from, 1);
        scripted_head_piece(head, 5, 1, 0, false, "a\n");
        scripted_head_piece(head, 5, 1, 1, true, "b\n");
        scripted_head_piece(head, 4, 1, 2, true, "of another job\n");
        scripted_head_event(head, 5, "SUCCEEDED");
        scripted_head_piece(head, 5, 2, 0, true, "c\n");
        scripted_head_output_end(head, 5, 2, "SUCCEEDED");
        break;
    default: break;
    }
}

static void
a_job_runs_to_its_end_and_its_file_is_whole(void)
{
    shoal_run_result_t result = run_with(all_goes_well);
    CHECK_OK(result.status.code == SHOAL_OK, result.status);
    CHECK(result.job == 5 && result.has_output && !result.part && result.output_bytes == 6);
    assert_string_equal(result.report->state, "SUCCEEDED");
    assert_string_equal(content(""), "a\nb\nc\n");
    assert_string_equal(content(".part"), "(none)");
    shoal_run_result_fini(&result);
}

static void
it_fails(scripted_head_t *head, const shoal_message_t *message)
{
    switch ((int)message->type) {
    case SHOAL_MSG_SUBMIT: accept_job(head, message); break;
    case SHOAL_MSG_OUTPUT:
        scripted_head_piece(head, 5, 1, 0, true, "a\n");
        scripted_head_output_end(head, 5, 1, "FAILED");
        scripted_head_event(head, 5, "FAILED");
        break;
    default: break;
    }
}

static void
the_part_of_a_failed_job_stays(void)
{
    shoal_run_result_t result = run_with(it_fails);
    CHECK_OK(result.status.code == SHOAL_OK, result.status); // the job failed, not the run
    CHECK(!result.has_output);
    CHECK_SAYS(result.part, "out.jsonl.part");
    assert_string_equal(content(""), "(none)");
    assert_string_equal(content(".part"), "a\n");
    CHECK_SAYS(content(".part.state"), "commit 1 length 2");
    shoal_run_result_fini(&result);
}

static void
it_is_refused(scripted_head_t *head, const shoal_message_t *message)
{
    if (message->type == SHOAL_MSG_SUBMIT) {
        scripted_head_error(head, SHOAL_LIMIT, message->submit.request, SHOAL_MSG_SUBMIT, false,
                            "too many jobs");
    }
}

static void
a_refused_job_is_told_with_the_reason(void)
{
    shoal_run_result_t result = run_with(it_is_refused);
    CHECK(result.status.code == SHOAL_LIMIT && result.job == 0);
    CHECK_SAYS(result.status.text, "too many jobs");
    assert_string_equal(content(".part"), "(none)");
    shoal_run_result_fini(&result);
}

// The first stream breaks off in the middle of a commit: the head does not know the client any more.
static void
it_breaks_off(scripted_head_t *head, const shoal_message_t *message)
{
    switch ((int)message->type) {
    case SHOAL_MSG_SUBMIT: accept_job(head, message); break;
    case SHOAL_MSG_OUTPUT:
        if (message->output.from == 1) {
            scripted_head_piece(head, 5, 1, 0, true, "a\n");
            scripted_head_piece(head, 5, 2, 0, false, "half");
            scripted_head_error(head, SHOAL_PROTOCOL, 0, SHOAL_MSG_TAKEN, false,
                                "HELLO comes first");
        } else {
            assert_int_equal(message->output.from, 2);
            scripted_head_piece(head, 5, 2, 0, true, "whole\n");
            scripted_head_output_end(head, 5, 2, "PARTIAL");
            scripted_head_event(head, 5, "PARTIAL");
        }
        break;
    default: break;
    }
}

static void
a_broken_stream_goes_on_at_the_next_commit(void)
{
    shoal_run_result_t result = run_with(it_breaks_off);
    CHECK_OK(result.status.code == SHOAL_OK, result.status);
    CHECK(result.has_output);
    assert_string_equal(content(""), "a\nwhole\n");
    shoal_run_result_fini(&result);
}

static void
it_forgets_the_job(scripted_head_t *head, const shoal_message_t *message)
{
    if (message->type == SHOAL_MSG_SUBMIT) {
        accept_job(head, message);
    } else if (message->type == SHOAL_MSG_WATCH) {
        (void)snprintf(head->id, sizeof(head->id), "head-2");
        scripted_head_error(head, SHOAL_PROTOCOL, 0, SHOAL_MSG_WATCH, false, "HELLO comes first");
    }
}

static void
another_head_does_not_know_the_job(void)
{
    shoal_run_result_t result = run_with(it_forgets_the_job);
    CHECK(result.status.code == SHOAL_NOT_FOUND);
    CHECK_SAYS(result.status.text, "started anew");
    shoal_run_result_fini(&result);
}

static void
it_loses_a_commit(scripted_head_t *head, const shoal_message_t *message)
{
    if (message->type == SHOAL_MSG_SUBMIT) {
        accept_job(head, message);
    } else if (message->type == SHOAL_MSG_OUTPUT) {
        scripted_head_piece(head, 5, 1, 0, true, "a\n");
        scripted_head_output_end(head, 5, 2, "SUCCEEDED");
        scripted_head_event(head, 5, "SUCCEEDED");
    }
}

static void
a_file_that_lacks_a_commit_is_not_called_whole(void)
{
    shoal_run_result_t result = run_with(it_loses_a_commit);
    CHECK(result.status.code == SHOAL_PROTOCOL && !result.has_output);
    CHECK_SAYS(result.status.text, "2 commits, but 1 came");
    assert_string_equal(content(""), "(none)");
    shoal_run_result_fini(&result);
}

static void
it_is_interrupted(scripted_head_t *head, const shoal_message_t *message)
{
    switch ((int)message->type) {
    case SHOAL_MSG_SUBMIT: accept_job(head, message); break;
    case SHOAL_MSG_OUTPUT:
        scripted_head_piece(head, 5, 1, 0, true, "a\n");
        CHECK(kill(getpid(), SIGINT) == 0);
        break;
    case SHOAL_MSG_STOP:
        scripted_head_event(head, 5, "STOPPED");
        scripted_head_output_end(head, 5, 1, "STOPPED");
        break;
    default: break;
    }
}

static void
an_interrupted_job_is_stopped_and_its_part_kept(void)
{
    shoal_run_result_t result = run_with(it_is_interrupted);
    CHECK_OK(result.status.code == SHOAL_OK, result.status);
    CHECK(result.signal == SIGINT && !result.was_killed);
    assert_string_equal(result.report->state, "STOPPED");
    assert_string_equal(content(".part"), "a\n");
    shoal_run_result_fini(&result);
}

// The signal comes after SUBMIT has arrived and before the job's number is known.
static void
it_is_interrupted_before_it_is_accepted(scripted_head_t *head, const shoal_message_t *message)
{
    switch ((int)message->type) {
    case SHOAL_MSG_SUBMIT:
        CHECK(kill(getpid(), SIGINT) == 0);
        accept_job(head, message);
        break;
    case SHOAL_MSG_STOP:
        scripted_head_event(head, 5, "STOPPED");
        scripted_head_output_end(head, 5, 0, "STOPPED");
        break;
    default: break;
    }
}

static void
a_job_whose_number_is_not_known_yet_is_stopped_too(void)
{
    shoal_run_result_t result = run_with(it_is_interrupted_before_it_is_accepted);
    CHECK_OK(result.status.code == SHOAL_OK, result.status);
    CHECK(result.signal == SIGINT && !result.was_killed && result.job == 5);
    assert_string_equal(result.report->state, "STOPPED");
    shoal_run_result_fini(&result);
}

static void
say_bye(scripted_head_t *head)
{
    const shoal_message_t bye = {.type = SHOAL_MSG_BYE};
    scripted_head_send(head, &bye, NULL);
    atomic_store(&head->is_deaf, true);
}

static void
it_goes_away(scripted_head_t *head, const shoal_message_t *message)
{
    switch ((int)message->type) {
    case SHOAL_MSG_SUBMIT: accept_job(head, message); break;
    case SHOAL_MSG_OUTPUT:
        scripted_head_piece(head, 5, 1, 0, true, "a\n");
        say_bye(head);
        break;
    default: break;
    }
}

static void
a_head_that_has_gone_is_waited_for_and_then_told(void)
{
    shoal_run_result_t result = run_with(it_goes_away);
    CHECK(result.status.code == SHOAL_UNAVAILABLE);
    CHECK_SAYS(result.status.text, "no answer from the head at ipc://");
    CHECK_SAYS(result.status.text, "(is it stopped? shoal start --head)");
    assert_string_equal(content(".part"), "a\n");
    shoal_run_result_fini(&result);
}

static void
it_goes_away_and_somebody_loses_patience(scripted_head_t *head, const shoal_message_t *message)
{
    if (message->type == SHOAL_MSG_SUBMIT) {
        accept_job(head, message);
    } else if (message->type == SHOAL_MSG_WATCH) {
        say_bye(head);
        CHECK(kill(getpid(), SIGINT) == 0);
    }
}

static void
a_signal_without_a_head_ends_it_at_once(void)
{
    uint64_t start_ms = shoal_clock_ms();
    shoal_run_result_t result = run_with(it_goes_away_and_somebody_loses_patience);
    CHECK_OK(result.status.code == SHOAL_OK, result.status);
    CHECK(result.signal == SIGINT && !result.was_killed);
    CHECK(shoal_clock_ms() - start_ms < SHOAL_RUN_STOP_MS);
    shoal_run_result_fini(&result);
}

static void
it_is_interrupted_twice(scripted_head_t *head, const shoal_message_t *message)
{
    if (message->type == SHOAL_MSG_SUBMIT) {
        accept_job(head, message);
    } else if (message->type == SHOAL_MSG_WATCH) {
        CHECK(kill(getpid(), SIGTERM) == 0);
    } else if (message->type == SHOAL_MSG_STOP) { // and does not stop
        CHECK(kill(getpid(), SIGINT) == 0);
    }
}

static void
a_second_signal_ends_it_at_once(void)
{
    shoal_run_result_t result = run_with(it_is_interrupted_twice);
    CHECK(result.was_killed && result.signal == SIGTERM);
    shoal_run_result_fini(&result);
}

// The disk is full until the output is asked for a second time.
static void
it_meets_a_full_disk(scripted_head_t *head, const shoal_message_t *message)
{
    switch ((int)message->type) {
    case SHOAL_MSG_SUBMIT: accept_job(head, message); break;
    case SHOAL_MSG_OUTPUT:
        if (message->output.from == 1) {
            scripted_head_piece(head, 5, 1, 0, true, "a\n");
            scripted_head_piece(head, 5, 2, 0, false, "b");
            scripted_head_piece(head, 5, 2, 1, true, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n");
            scripted_head_output_end(head, 5, 2, "SUCCEEDED");
            scripted_head_event(head, 5, "SUCCEEDED");
        } else {
            assert_int_equal(message->output.from, 2);
            atomic_store(&full_disk_bytes, INT64_MAX);
            scripted_head_piece(head, 5, 2, 0, true, "bb\n");
            scripted_head_output_end(head, 5, 2, "SUCCEEDED");
        }
        break;
    default: break;
    }
}

static void
a_full_disk_is_waited_for(void)
{
    atomic_store(&full_disk_bytes, 20);
    shoal_run_result_t result = run_with(it_meets_a_full_disk);
    atomic_store(&full_disk_bytes, INT64_MAX);
    CHECK_OK(result.status.code == SHOAL_OK, result.status);
    CHECK(result.has_output);
    assert_string_equal(content(""), "a\nbb\n");
    shoal_run_result_fini(&result);
}

static void
it_keeps_meeting_a_full_disk(scripted_head_t *head, const shoal_message_t *message)
{
    if (message->type == SHOAL_MSG_SUBMIT) {
        accept_job(head, message);
    } else if (message->type == SHOAL_MSG_OUTPUT) {
        scripted_head_piece(head, 5, 1, 0, true, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n");
    }
}

static void
a_disk_that_stays_full_is_given_up_with_what_to_do(void)
{
    atomic_store(&full_disk_bytes, 20);
    shoal_run_result_t result = run_with(it_keeps_meeting_a_full_disk);
    atomic_store(&full_disk_bytes, INT64_MAX);
    CHECK(result.status.code == SHOAL_LIMIT);
    CHECK_SAYS(result.status.text, "the disk is full");
    CHECK_SAYS(result.status.text, "shoal job output 5 -o ");
    assert_string_equal(content(""), "(none)");
    shoal_run_result_fini(&result);
}

#define RUN_TEST(name)                                                                             \
    {                                                                                              \
#name, test_run, setup, teardown, &(test_case_t)                                           \
        {                                                                                          \
            name                                                                                   \
        }                                                                                          \
    }

int
main(void)
{
    const struct CMUnitTest tests[] = {
        RUN_TEST(a_job_runs_to_its_end_and_its_file_is_whole),
        RUN_TEST(the_part_of_a_failed_job_stays),
        RUN_TEST(a_refused_job_is_told_with_the_reason),
        RUN_TEST(a_broken_stream_goes_on_at_the_next_commit),
        RUN_TEST(another_head_does_not_know_the_job),
        RUN_TEST(a_file_that_lacks_a_commit_is_not_called_whole),
        RUN_TEST(an_interrupted_job_is_stopped_and_its_part_kept),
        RUN_TEST(a_job_whose_number_is_not_known_yet_is_stopped_too),
        RUN_TEST(a_head_that_has_gone_is_waited_for_and_then_told),
        RUN_TEST(a_signal_without_a_head_ends_it_at_once),
        RUN_TEST(a_second_signal_ends_it_at_once),
        RUN_TEST(a_full_disk_is_waited_for),
        RUN_TEST(a_disk_that_stays_full_is_given_up_with_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
