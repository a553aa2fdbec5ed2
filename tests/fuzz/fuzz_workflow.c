// SPDX-License-Identifier: Apache-2.0
//
// fuzz_workflow.c - any bytes as a workflow file (proto/workflow/workflow.h). A first line
// "#--set KEY=VALUE" is an override.

#include <stdio.h>
#include <string.h>

#include "proto/record/cursor.h"
#include "proto/workflow/workflow.h"
#include "tests/fuzz/fuzz.h"

#define SET_LENGTH 256

static const char *
variable(void *ctx, const char *name)
{
    (void)ctx;
    return name[0] == 'A' ? "value" : NULL;
}

static void
look_at(const shoal_workflow_t *workflow)
{
    const shoal_workflow_run_t *run = shoal_workflow_run(workflow);
    FUZZ_CHECK(run->name && run->name[0] && run->log_level[0]);
    FUZZ_CHECK(run->parallelism <= 1024 && run->parallelism_cap <= 1024);
    FUZZ_CHECK(run->max_attempts >= 1 && run->max_attempts <= 100);
    FUZZ_CHECK(run->success_threshold >= -1 && run->success_threshold <= 100);
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_workflow_encode(workflow, &out);
    FUZZ_CHECK(shoal_cursor_check(shoal_buffer_slice(&out), SHOAL_CHECK_DEPTH_MAX));
    shoal_buffer_fini(&out);
    for (size_t i = 0; i < shoal_workflow_warning_count(workflow); i++) {
        FUZZ_CHECK(shoal_workflow_warning(workflow, i)[0]);
    }
}

static void
parse(shoal_slice_t text, const char *override, bool is_lenient)
{
    const char *const overrides[] = {override, NULL};
    shoal_workflow_rules_t rules = {is_lenient, override ? overrides : NULL, variable, NULL};
    shoal_workflow_t *workflow = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (!shoal_workflow_parse("w.yaml", text, &rules, &workflow, &status)) {
        FUZZ_CHECK(!workflow && status.text[0]);
        FUZZ_CHECK(status.code == SHOAL_INVALID || status.code == SHOAL_LIMIT);
        FUZZ_CHECK(status.error_class == SHOAL_CONFIG);
        return;
    }
    look_at(workflow);
    if (text.len < SET_LENGTH) { // any path may be asked for
        char path[SET_LENGTH];
        (void)snprintf(path, sizeof(path), "%.*s", (int)text.len, text.ptr);
        (void)shoal_workflow_line(workflow, path);
        (void)shoal_workflow_text(workflow, path);
    }
    shoal_workflow_destroy(&workflow);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char mark[] = "#--set ";
    shoal_slice_t text = fuzz_slice(bytes, size);
    char override[SET_LENGTH];
    bool has_override = size > sizeof(mark) && memcmp(bytes, mark, sizeof(mark) - 1) == 0;
    if (has_override) {
        size_t len = 0;
        const char *from = text.ptr + sizeof(mark) - 1;
        size_t left = size - (sizeof(mark) - 1);
        while (len < left && len < sizeof(override) - 1 && from[len] != '\n') {
            override[len] = from[len];
            len++;
        }
        override[len] = '\0';
    }
    parse(text, has_override ? override : NULL, false);
    parse(text, has_override ? override : NULL, true);
    return 0;
}
