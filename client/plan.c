// SPDX-License-Identifier: Apache-2.0
//
// plan.c - see plan.h.

#include "client/plan.h"

#include <stdlib.h>

#include "client/summary.h"
#include "client/text.h"

void
shoal_plan_show(const shoal_report_t *report, shoal_buffer_t *out)
{
    if (report->plan_count == 0) {
        shoal_buffer_append_text(out, "no shards: the source has nothing to read\n");
        return;
    }
    size_t rows = report->plan_count + 1;
    const char **cells = calloc(rows * 5, sizeof(*cells));
    char(*texts)[3][SHOAL_TEXT_SIZE] = calloc(rows, sizeof(*texts));
    if (!cells || !texts) {
        free(cells);
        free(texts);
        return;
    }
    static const char *const heading[] = {">SHARD", "STAGE", ">AFTER", ">ESTIMATE", "WHAT"};
    memcpy(cells, heading, sizeof(heading));
    for (size_t i = 0; i < report->plan_count; i++) {
        const shoal_report_shard_t *shard = &report->plan[i];
        const char **row = cells + (i + 1) * 5;
        row[0] = shoal_text_count(shard->shard, texts[i][0]);
        row[1] = shoal_summary_stage(shard->stage);
        row[2] = shard->needs ? shoal_text_count(shard->needs, texts[i][1]) : "-";
        row[3] = shoal_text_seconds((double)shard->cost_us / 1e6, texts[i][2]);
        row[4] = shard->title;
    }
    shoal_text_table(cells, rows, 5, out);
    if (report->plan_left_out > 0) {
        shoal_buffer_append_format(out, "and %llu shards more\n",
                                   (unsigned long long)report->plan_left_out);
    }
    free(cells);
    free(texts);
}
