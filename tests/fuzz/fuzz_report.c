// SPDX-License-Identifier: Apache-2.0
//
// fuzz_report.c - any bytes as the detail of an EVENT (client/report.h), and what is made of it.

#include "client/progress.h"
#include "client/report.h"
#include "client/summary.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_report_t *report = NULL;
    if (!shoal_report_read(SHOAL_SLICE("PARTIAL"), fuzz_slice(bytes, size), &report, &status)) {
        FUZZ_CHECK(!report && status.code == SHOAL_PROTOCOL);
        return 0;
    }
    const shoal_summary_t summary = {.report = report, .success_threshold = 50};
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_summary_text(&summary, &out);
    for (size_t i = 0; i < out.len; i++) { // nothing of it may steer a terminal
        FUZZ_CHECK((unsigned char)out.ptr[i] >= 0x20 || out.ptr[i] == '\n');
    }
    shoal_summary_json(&summary, &out);
    shoal_progress_format(report, 80, /*has_colour=*/true, &out);
    shoal_progress_format_plain(report, &out);
    FUZZ_CHECK(out.len > 0);
    shoal_buffer_fini(&out);
    shoal_report_destroy(&report);
    return 0;
}
