// SPDX-License-Identifier: Apache-2.0
//
// child.c - see child.h.

#include "client/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/alloc.h"

#define ARGUMENTS_MAX 32

extern char **environ;

// What a child may see. Secrets travel over the connection only, so no PG*, AWS_* and the like; the
// sanitizers' options are for the tests.
static const char *const allowed[] = {"PATH=",
                                      "HOME=",
                                      "USER=",
                                      "LOGNAME=",
                                      "LANG=",
                                      "LC_",
                                      "TZ=",
                                      "TMPDIR=",
                                      "XDG_RUNTIME_DIR=",
                                      "LD_LIBRARY_PATH=",
                                      "SSL_CERT_FILE=",
                                      "SSL_CERT_DIR=",
                                      "KRB5CCNAME=",
                                      "KRB5_CONFIG=",
                                      "ASAN_OPTIONS=",
                                      "UBSAN_OPTIONS=",
                                      "LSAN_OPTIONS=",
                                      "TSAN_OPTIONS="};

static bool
is_allowed(const char *variable)
{
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        if (strncmp(variable, allowed[i], strlen(allowed[i])) == 0) {
            return true;
        }
    }
    return false;
}

char **
shoal_child_environment(void)
{
    size_t count = 0;
    while (environ[count]) {
        count++;
    }
    char **kept = shoal_alloc((count + 1) * sizeof(*kept));
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_allowed(environ[i])) {
            kept[used++] = environ[i];
        }
    }
    return kept;
}

bool
shoal_child_path(const char *program, char path[PATH_MAX], shoal_status_t *status)
{
    char own[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (len < 0) {
        return shoal_fail_errno(status, errno, "cannot find our own executable");
    }
    own[len] = '\0';
    char *slash = strrchr(own, '/');
    if (slash) {
        *slash = '\0';
    }
    int needed = snprintf(path, PATH_MAX, "%s/%s", own, program);
    if (needed >= PATH_MAX || access(path, X_OK) != 0) {
        return shoal_fail(status, SHOAL_NOT_FOUND,
                          "cannot start %s: there is no such program in %s, where shoal itself is",
                          program, own);
    }
    return true;
}

void
shoal_child_describe(int wait_status, char *text, size_t size)
{
    if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        const char *name = sigdescr_np(number);
        (void)snprintf(text, size, "was killed by signal %d (%s)", number, name ? name : "unknown");
    } else {
        (void)snprintf(text, size, "ended with exit status %d", WEXITSTATUS(wait_status));
    }
}

// Descriptors in the child: 0 to 2, the three fixed ones, nothing else. Our own are all above 5
// (see fd_lift), so that no dup2 here overwrites one that is still needed.
static int
actions_fill(posix_spawn_file_actions_t *actions, const shoal_child_plan_t *plan,
             const int lifted[3])
{
    int error =
        plan->stdin_fd > 0
            ? posix_spawn_file_actions_adddup2(actions, plan->stdin_fd, STDIN_FILENO)
            : posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0 && plan->stdout_fd >= 0) {
        error = posix_spawn_file_actions_adddup2(actions, plan->stdout_fd, STDOUT_FILENO);
    } else if (error == 0) {
        error = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    }
    if (error == 0 && plan->stderr_fd >= 0) {
        error = posix_spawn_file_actions_adddup2(actions, plan->stderr_fd, STDERR_FILENO);
    }
    for (int i = 0; error == 0 && i < 3; i++) {
        int number = SHOAL_CHILD_LIFELINE_FD + i;
        if (lifted[i] >= 0) {
            error = posix_spawn_file_actions_adddup2(actions, lifted[i], number);
        }
    }
    if (error == 0) {
        error = posix_spawn_file_actions_addclosefrom_np(actions, SHOAL_CHILD_LOCK_FD + 1);
    }
    if (error == 0 && plan->is_daemon) {
        error = posix_spawn_file_actions_addchdir_np(actions, "/");
    }
    return error;
}

static int
attributes_fill(posix_spawnattr_t *attributes, const shoal_child_plan_t *plan)
{
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    flags |= plan->is_daemon ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
    int error = posix_spawnattr_setflags(attributes, (short)flags);
    if (error == 0) {
        error = posix_spawnattr_setsigmask(attributes, &none);
    }
    if (error == 0) {
        error = posix_spawnattr_setsigdefault(attributes, &all);
    }
    if (error == 0 && !plan->is_daemon) {
        error = posix_spawnattr_setpgroup(attributes, 0);
    }
    return error;
}

static int
spawn(const shoal_child_plan_t *plan, const char *path, const int lifted[3], pid_t *ret_pid)
{
    char *arguments[ARGUMENTS_MAX + 2];
    size_t count = 0;
    arguments[count++] = shoal_strdup(plan->program);
    for (size_t i = 0; i < ARGUMENTS_MAX && plan->arguments[i]; i++) {
        arguments[count++] = shoal_strdup(plan->arguments[i]);
    }
    arguments[count] = NULL;
    char **environment = shoal_child_environment();
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attributes);
    int error = actions_fill(&actions, plan, lifted);
    if (error == 0) {
        error = attributes_fill(&attributes, plan);
    }
    if (error == 0) {
        error = posix_spawn(ret_pid, path, &actions, &attributes, arguments, environment);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    free(environment);
    for (size_t i = 0; i < count; i++) {
        free(arguments[i]);
    }
    return error;
}

bool
shoal_child_start(const shoal_child_plan_t *plan, pid_t *ret_pid, shoal_status_t *status)
{
    char path[PATH_MAX];
    if (!shoal_child_path(plan->program, path, status)) {
        return false;
    }
    const int wanted[3] = {plan->lifeline_fd, plan->ready_fd, plan->lock_fd};
    int lifted[3] = {-1, -1, -1};
    int error = 0;
    for (int i = 0; i < 3 && error == 0; i++) {
        if (wanted[i] >= 0) {
            lifted[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, SHOAL_CHILD_LOCK_FD + 1);
            error = lifted[i] < 0 ? errno : 0;
        }
    }
    pid_t pid = 0;
    if (error == 0) {
        error = spawn(plan, path, lifted, &pid);
    }
    for (int i = 0; i < 3; i++) {
        if (lifted[i] >= 0) {
            (void)close(lifted[i]);
        }
    }
    if (error != 0) {
        return shoal_fail_errno(status, error, "cannot start %s", path);
    }
    *ret_pid = pid;
    return true;
}
