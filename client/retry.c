// SPDX-License-Identifier: Apache-2.0
//
// retry.c - see retry.h.

#include "client/retry.h"

#include <stdio.h>
#include <unistd.h>

#include "client/output.h"
#include "client/run.h"
#include "client/summary.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

// SUBMIT's payload: docs/protocol.md 7.3.
static void
write_spec(const shoal_retry_t *retry, shoal_buffer_t *out)
{
    shoal_write_map(out, retry->letter_count > 0 ? 2 : 1);
    shoal_write_key(out, "retry_of");
    shoal_write_uint(out, retry->job);
    if (retry->letter_count > 0) {
        shoal_write_key(out, "letters");
        shoal_write_array(out, (uint32_t)retry->letter_count);
        for (size_t i = 0; i < retry->letter_count; i++) {
            shoal_write_uint(out, retry->letters[i]);
        }
    }
}

static bool
open_run(const shoal_retry_t *retry, shoal_slice_t spec, shoal_buffer_t *out,
         shoal_status_t *status)
{
    char id[SHOAL_RANDOM_ID_SIZE];
    shoal_session_t *session = NULL;
    shoal_buffer_t answer = SHOAL_BUFFER_INIT;
    shoal_message_t submit = {.type = SHOAL_MSG_SUBMIT};
    shoal_random_id(id);
    submit.submit.id = shoal_slice_of(id);
    bool done = shoal_head_dial(retry->address, &session, status) &&
                shoal_session_call(session, &submit, spec, &submit.submit.request, "retry",
                                   SHOAL_ASK_MS, &answer, status);
    if (done) {
        shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&answer));
        shoal_buffer_append_format(out,
                                   retry->is_json ? "{\"job\":%llu,\"of\":%llu}\n"
                                                  : "job %llu tries the dead letters of job "
                                                    "%llu again\n",
                                   (unsigned long long)shoal_cursor_uint(&cursor),
                                   (unsigned long long)retry->job);
    }
    shoal_session_destroy(&session);
    shoal_buffer_fini(&answer);
    return done;
}

// Follows the run to its end and says how it went.
static int
follow(const shoal_retry_t *retry, shoal_slice_t spec, shoal_buffer_t *out)
{
    char name[64];
    shoal_run_plan_t plan = {
        .endpoint = retry->address->endpoint,
        .head_options = retry->address->options,
        .join = shoal_address_join(retry->address),
        .spec = spec,
        .output = retry->output,
        .spares_old = true,
        .progress = shoal_progress_config(STDERR_FILENO),
    };
    shoal_run_result_t result;
    plan.progress.is_off = retry->no_progress;
    shoal_run(&plan, &result);
    (void)snprintf(name, sizeof(name), "dead letters of job %llu", (unsigned long long)retry->job);
    const shoal_summary_t summary = {
        .name = name,
        .head_options = retry->address->options,
        .job = result.job,
        .report = result.report,
        .status = &result.status,
        .signal = result.signal,
        .success_threshold = -1,
        .output = result.has_output ? retry->output : NULL,
        .spared = result.has_spared_old ? retry->output : NULL,
        .part = result.part,
        .output_bytes = result.output_bytes,
        .has_colour = plan.progress.has_colour,
    };
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    if (retry->is_json) {
        shoal_summary_json(&summary, out);
    }
    shoal_summary_text(&summary, &text);
    if (!result.was_killed) {
        (void)fflush(stderr);
        (void)!write(STDERR_FILENO, text.ptr, text.len);
    }
    shoal_buffer_fini(&text);
    int code = shoal_summary_exit(&summary);
    shoal_run_result_fini(&result);
    return code;
}

int
shoal_retry_run(const shoal_retry_t *retry, shoal_status_t *status)
{
    shoal_buffer_t spec = SHOAL_BUFFER_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    int code = -1;
    if (retry->no_wait && retry->output) {
        (void)shoal_fail(status, SHOAL_INVALID,
                         "-o and --no-wait do not go together: the run's "
                         "output is there when it has ended; fetch it with "
                         "shoal job output");
    } else if (!retry->output || shoal_output_check(retry->output, status)) {
        write_spec(retry, &spec);
        if (!retry->no_wait) {
            code = follow(retry, shoal_buffer_slice(&spec), &out);
        } else if (open_run(retry, shoal_buffer_slice(&spec), &out, status)) {
            code = SHOAL_EXIT_OK;
        }
    }
    if (code >= 0 && !shoal_print(&out, status)) {
        code = -1;
    }
    shoal_buffer_fini(&spec);
    shoal_buffer_fini(&out);
    return code;
}
