// SPDX-License-Identifier: Apache-2.0
//
// fuzz_url.c - any bytes as a source's address (client/url.h). What is accepted is a workflow.

#include <stdio.h>
#include <string.h>

#include "client/url.h"
#include "proto/base/alloc.h"
#include "proto/workflow/workflow.h"
#include "tests/fuzz/fuzz.h"

static const char *
variable(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "PGUSER") == 0 ? "fuzz" : NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *url = shoal_strndup((const char *)bytes, strnlen((const char *)bytes, size));
    char shown[200];
    shoal_url_redact(url, shown, sizeof(shown));
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    if (shoal_url_workflow(url, variable, NULL, &text, &status)) {
        shoal_workflow_t *workflow = NULL;
        const shoal_workflow_rules_t rules = {0};
        FUZZ_CHECK(
            shoal_workflow_parse("address", shoal_buffer_slice(&text), &rules, &workflow, &status));
        shoal_workflow_destroy(&workflow);
    } else {
        FUZZ_CHECK(status.text[0]);
    }
    shoal_url_wipe(url);
    shoal_buffer_fini(&text);
    free(url);
    return 0;
}
