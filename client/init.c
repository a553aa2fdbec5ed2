// SPDX-License-Identifier: Apache-2.0
//
// init.c - `shoal init TYPE`: a workflow file to start from, which the source's connector brings.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/child.h"
#include "client/commands.h"
#include "client/summary.h"

#define TEMPLATE_BYTES_MAX 1048576

// Runs `shoal-worker --template TYPE`; what it complains about goes to our standard error.
static bool
read_template(const char *type, shoal_buffer_t *out, int *ret_wait_status, shoal_status_t *status)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return shoal_fail_errno(status, errno, "cannot make a pipe");
    }
    const char *const arguments[] = {"--template", type, NULL};
    const shoal_child_plan_t plan = {
        .program = "shoal-worker",
        .arguments = arguments,
        .lifeline_fd = -1,
        .ready_fd = -1,
        .lock_fd = -1,
        .stdout_fd = ends[1],
        .stderr_fd = -1,
    };
    pid_t pid = 0;
    bool done = shoal_child_start(&plan, &pid, status);
    (void)close(ends[1]);
    ssize_t got = 0;
    while (done && out->len < TEMPLATE_BYTES_MAX &&
           (got = read(ends[0], shoal_buffer_reserve(out, 4096), 4096)) > 0) {
        out->len += (size_t)got;
    }
    (void)close(ends[0]);
    if (done && waitpid(pid, ret_wait_status, 0) != pid) {
        done = shoal_fail_errno(status, errno, "cannot wait for shoal-worker");
    }
    return done;
}

static bool
write_new(const char *path, const shoal_buffer_t *text, shoal_status_t *status)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot write \"%.300s\": it is there already; choose another name or "
                          "remove it",
                          path);
    }
    if (fd < 0) {
        int error = errno;
        (void)shoal_fail_errno(status, error, "cannot write \"%.300s\"", path);
        status->code = SHOAL_INVALID;
        return false;
    }
    ssize_t put = write(fd, text->ptr, text->len);
    int error = put < 0 ? errno : ENOSPC;
    bool done = put == (ssize_t)text->len;
    done = close(fd) == 0 && done;
    if (!done) {
        (void)unlink(path);
        return shoal_fail_errno(status, error, "cannot write \"%.300s\"", path);
    }
    return true;
}

int
shoal_command_init(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    const char *type = shoal_arguments_word(arguments, 0);
    const char *path = shoal_arguments_text(arguments, "out");
    int wait_status = 0;
    bool done = read_template(type, &text, &wait_status, &status);
    if (done && wait_status != 0) { // it has said why
        if (WIFSIGNALED(wait_status)) {
            char how[96];
            shoal_child_describe(wait_status, how, sizeof(how));
            (void)shoal_fail(&status, SHOAL_INTERNAL, "shoal-worker %s", how);
            shoal_complain(&status);
        }
        shoal_buffer_fini(&text);
        return WIFSIGNALED(wait_status) ? SHOAL_EXIT_FAILED : SHOAL_EXIT_USAGE;
    }
    bool is_file = path && strcmp(path, "-") != 0;
    done = done && (is_file ? write_new(path, &text, &status) : shoal_print(&text, &status));
    shoal_buffer_fini(&text);
    if (!done) {
        return shoal_command_failed(&status);
    }
    if (is_file) {
        (void)fprintf(stderr, "wrote %s; fill it in, then run: shoal validate -c %s\n", path, path);
    }
    return SHOAL_EXIT_OK;
}
