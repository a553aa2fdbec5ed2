// SPDX-License-Identifier: Apache-2.0
//
// journal.c - `shoal journal`: looks into the journal of a head that does not run.
//
// shoal-head does the looking, in a process of its own: this program knows nothing of journals.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/child.h"
#include "client/commands.h"
#include "client/statedir.h"

#define JOURNAL_NAME "journal.db" // as shoal-head calls it

static bool
has_journal(const char *directory)
{
    char path[PATH_MAX + 16];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, JOURNAL_NAME);
    return access(path, F_OK) == 0;
}

// The folder with the journal: the one that was named or, as `shoal start` has it, "head" in it.
static bool
find_folder(const char *named, char folder[PATH_MAX], shoal_status_t *status)
{
    char state[SHOAL_STATE_PATH_MAX];
    if (!shoal_state_directory(named, state, status)) {
        return false;
    }
    (void)snprintf(folder, PATH_MAX, "%s", state);
    if (has_journal(folder)) {
        return true;
    }
    (void)snprintf(folder, PATH_MAX, "%s/head", state);
    return has_journal(folder) ||
           shoal_fail(
               status, SHOAL_NOT_FOUND,
               "there is no journal (%s) in \"%s\", nor in \"%s\"; name the state folder of a "
               "head",
               JOURNAL_NAME, state, folder);
}

static bool
run_head(const char *option, const char *folder, int *ret_code, shoal_status_t *status)
{
    const char *const words[] = {option, folder, NULL};
    shoal_child_plan_t plan = {.program = "shoal-head",
                               .arguments = words,
                               .lifeline_fd = -1,
                               .ready_fd = -1,
                               .lock_fd = -1,
                               .stdout_fd = STDOUT_FILENO,
                               .stderr_fd = -1};
    pid_t pid = -1;
    if (!shoal_child_start(&plan, &pid, status)) {
        return false;
    }
    int ended = 0;
    while (waitpid(pid, &ended, 0) < 0) {
        if (errno != EINTR) {
            return shoal_fail_errno(status, errno, "could not wait for shoal-head");
        }
    }
    if (WIFSIGNALED(ended) && WTERMSIG(ended) == SIGPIPE) {
        return shoal_fail(status, SHOAL_CANCELLED, "nobody reads standard output any more");
    }
    if (!WIFEXITED(ended)) {
        char text[128];
        shoal_child_describe(ended, text, sizeof(text));
        return shoal_fail(status, SHOAL_IO, "shoal-head %s", text);
    }
    *ret_code = WEXITSTATUS(ended);
    return true;
}

int
shoal_command_journal(const shoal_arguments_t *arguments)
{
    const char *verb = shoal_arguments_word(arguments, 0);
    bool is_check = strcmp(verb, "check") == 0;
    shoal_status_t status = SHOAL_STATUS_INIT;
    char folder[PATH_MAX];
    int code = 0;
    if (!is_check && strcmp(verb, "dump") != 0) {
        (void)shoal_fail(&status, SHOAL_INVALID,
                         "shoal journal: there is no \"%s\"; it is check or dump", verb);
        return shoal_command_failed(&status);
    }
    if (!find_folder(shoal_arguments_word(arguments, 1), folder, &status) ||
        !run_head(is_check ? "--check-journal" : "--dump-journal", folder, &code, &status)) {
        return shoal_command_failed(&status);
    }
    return code;
}
