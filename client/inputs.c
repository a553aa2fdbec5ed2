// SPDX-License-Identifier: Apache-2.0
//
// inputs.c - see inputs.h.

#include "client/inputs.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "client/output.h"

#define CONNECTION "source.serviceConnection.config."

// The path of the file that the source reads, or NULL: it reads none.
static const char *
source_path(const shoal_workflow_t *workflow)
{
    const char *type = shoal_workflow_text(workflow, "source.type");
    if (!type || strcasecmp(type, "sqlite") != 0) {
        return shoal_workflow_text(workflow, CONNECTION "path");
    }
    const char *path = shoal_workflow_text(workflow, CONNECTION "databaseMode");
    return path && path[0] ? path : shoal_workflow_text(workflow, CONNECTION "database");
}

// `written` is `output` or stands beside it.
static bool
check_one(const char *written, const char *output, const char *input, const char *what,
          shoal_status_t *status)
{
    struct stat out;
    struct stat in;
    if (!input || stat(written, &out) != 0 || stat(input, &in) != 0 || out.st_dev != in.st_dev ||
        out.st_ino != in.st_ino) {
        return true;
    }
    return shoal_fail(status, SHOAL_INVALID,
                      "cannot write \"%.300s\": \"%.300s\" is %s; choose another file", output,
                      written, what);
}

bool
shoal_inputs_check(const shoal_workflow_t *workflow, const char *file, const char *output,
                   shoal_status_t *status)
{
    static const char *const endings[] = {"", ".part", ".part.state", ".letters.jsonl"};
    if (shoal_output_path_is_stream(output)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char written[PATH_MAX + 32];
        (void)snprintf(written, sizeof(written), "%s%s", output, endings[i]);
        if (!check_one(written, output, file, "the workflow file", status) ||
            !check_one(written, output, source_path(workflow), "what the source reads", status)) {
            return false;
        }
    }
    return true;
}
