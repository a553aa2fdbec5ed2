// SPDX-License-Identifier: Apache-2.0
//
// final.c - see job.h: what stays of a job that has ended, as the journal keeps it.

#include "head/cluster/job.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

// In the order in which they are written, before the detail; the numbers are added to at the end.
static const size_t numbers[] = {
    offsetof(shoal_job_t, started_ms), offsetof(shoal_job_t, shards),
    offsetof(shoal_job_t, done),       offsetof(shoal_job_t, retried),
    offsetof(shoal_job_t, dead),       offsetof(shoal_job_t, records),
};
#define NUMBER_COUNT (sizeof(numbers) / sizeof(numbers[0]))

void
shoal_final_write(const shoal_job_t *job, shoal_buffer_t *out)
{
    shoal_write_array(out, 2);
    shoal_write_raw(out, shoal_buffer_slice(&job->final_detail));
    shoal_write_array(out, NUMBER_COUNT);
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)job + numbers[i], sizeof(value));
        shoal_write_uint(out, value);
    }
}

bool
shoal_final_read(shoal_job_t *job, shoal_slice_t final, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(final);
    uint32_t parts = shoal_cursor_array(&cursor);
    shoal_slice_t detail = shoal_cursor_value(&cursor);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        uint64_t value = shoal_cursor_uint(&cursor);
        if (i < NUMBER_COUNT) {
            memcpy((char *)job + numbers[i], &value, sizeof(value));
        }
    }
    if (parts != 2 || !shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_IO, "what the journal kept of its end is malformed");
    }
    shoal_buffer_clear(&job->final_detail);
    shoal_buffer_append_slice(&job->final_detail, detail);
    return true;
}
