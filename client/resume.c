// SPDX-License-Identifier: Apache-2.0
//
// resume.c - see resume.h.

#include "client/resume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/statedir.h"
#include "proto/base/alloc.h"
#include "proto/base/buffer.h"

#define DIGEST_SHOWN 8

static bool
base_of(char base[PATH_MAX], shoal_status_t *status)
{
    char state[SHOAL_STATE_PATH_MAX];
    if (!shoal_state_directory(NULL, state, status)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "there is no folder to keep it in, because neither XDG_STATE_HOME nor "
                          "HOME is set");
    }
    (void)snprintf(base, PATH_MAX, "%s/runs", state);
    return true;
}

// What tells the workflow from others: the whole path of its file, or the source's address.
static bool
identity_of(const shoal_resume_t *resume, char identity[PATH_MAX], shoal_status_t *status)
{
    if (resume->is_address) { // the path in "sqlite:shop.db" is one from here
        char here[PATH_MAX] = "";
        bool is_local = !strstr(resume->name, "://") && getcwd(here, sizeof(here));
        int len = snprintf(identity, PATH_MAX, "%s%s%s", here, is_local ? " " : "", resume->name);
        return len < PATH_MAX || shoal_fail(status, SHOAL_INVALID, "the address is too long");
    }
    if (strcmp(resume->name, "-") == 0) {
        return shoal_fail(status, SHOAL_INVALID,
                          "a workflow from standard input cannot be found again; write it into a "
                          "file");
    }
    return realpath(resume->name, identity) ||
           shoal_fail_errno(status, errno, "cannot find the workflow file \"%s\"", resume->name);
}

// "sink.type, source.serviceName", or ""; values may be secrets.
static void
append_keys(const char *const *overrides, shoal_buffer_t *out)
{
    for (size_t i = 0; overrides && overrides[i]; i++) {
        shoal_buffer_append_text(out, i > 0 ? ", " : "");
        shoal_buffer_append(out, overrides[i], strcspn(overrides[i], "="));
    }
}

static const char *
or_none(const char *keys)
{
    return keys[0] ? keys : "none";
}

static bool
check_same(const shoal_resume_t *resume, const shoal_kept_facts_t *facts, shoal_status_t *status)
{
    const char *digest = shoal_workflow_digest(resume->workflow);
    if (!resume->is_address && strcmp(facts->digest, digest) != 0) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot go on: %s has changed since that run began (digest %.*s then, "
                          "%.*s now); undo the change, or leave out --resume for a new run",
                          resume->name, DIGEST_SHOWN, facts->digest, DIGEST_SHOWN, digest);
    }
    if (strcmp(facts->set_digest, shoal_workflow_override_digest(resume->workflow)) != 0) {
        shoal_buffer_t keys = SHOAL_BUFFER_INIT;
        append_keys(resume->overrides, &keys);
        (void)shoal_fail(status, SHOAL_INVALID,
                         "cannot go on: that run began with other --set (of %.300s then, of %.300s "
                         "now); give the same ones, or leave out --resume for a new run",
                         or_none(facts->set_keys), or_none(shoal_buffer_text(&keys)));
        shoal_buffer_fini(&keys);
        return false;
    }
    return true;
}

bool
shoal_resume_take(const shoal_resume_t *resume, shoal_kept_t **ret_kept, shoal_status_t *status)
{
    char base[PATH_MAX];
    char identity[PATH_MAX];
    shoal_kept_t *kept = NULL;
    if (!base_of(base, status) || !identity_of(resume, identity, status) ||
        !shoal_kept_find(base, identity, &kept, status)) {
        return shoal_fail_while(status, "cannot go on");
    }
    if (!kept) {
        return shoal_fail(status, SHOAL_INVALID,
                          "there is nothing to go on with: no interrupted run of %s is kept; leave "
                          "out --resume for a new run",
                          resume->name);
    }
    if (!check_same(resume, shoal_kept_facts(kept), status) || !shoal_kept_wait(kept, status)) {
        shoal_kept_close(&kept);
        return false;
    }
    *ret_kept = kept;
    return true;
}

// The command that goes on with a run, for a person to copy.
static void
append_command(const shoal_resume_t *resume, shoal_buffer_t *out)
{
    shoal_buffer_append_format(out, "shoal ingest %s%s", resume->is_address ? "" : "-c ",
                               resume->name);
    for (size_t i = 0; resume->overrides && resume->overrides[i]; i++) { // its value may be secret
        shoal_buffer_append_format(out, " --set %.*s=...", (int)strcspn(resume->overrides[i], "="),
                                   resume->overrides[i]);
    }
    shoal_buffer_append_text(out, " --resume");
}

static void
tell_interrupted(const shoal_resume_t *resume, const char *base, const char *identity)
{
    shoal_status_t ignored = SHOAL_STATUS_INIT; // damaged, or going on just now
    shoal_kept_t *kept = NULL;
    if (!shoal_kept_find(base, identity, &kept, &ignored) || !kept) {
        return;
    }
    char when[64] = "";
    time_t created = (time_t)shoal_kept_facts(kept)->created;
    struct tm parts;
    if (localtime_r(&created, &parts)) {
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &parts);
    }
    shoal_kept_close(&kept);
    shoal_buffer_t command = SHOAL_BUFFER_INIT;
    append_command(resume, &command);
    (void)fprintf(stderr,
                  "note: this is a new run; the one of %s was interrupted, and to go on with that "
                  "one: %s\n",
                  when, shoal_buffer_text(&command));
    shoal_buffer_fini(&command);
}

// The whole path of an output file, which need not be there.
static char *
whole_path(const char *path)
{
    char here[PATH_MAX];
    shoal_buffer_t whole = SHOAL_BUFFER_INIT;
    if (path[0] != '/' && getcwd(here, sizeof(here))) {
        shoal_buffer_append_format(&whole, "%s/", here);
    }
    shoal_buffer_append_text(&whole, path);
    char *text = shoal_strdup(shoal_buffer_text(&whole));
    shoal_buffer_fini(&whole);
    return text;
}

static shoal_kept_t *
keep(const shoal_resume_t *resume, const char *base, const char *identity, const char *output,
     const char *job_id, shoal_status_t *status)
{
    shoal_kept_t *kept = NULL;
    char *whole = output ? whole_path(output) : shoal_strdup("");
    shoal_buffer_t keys = SHOAL_BUFFER_INIT;
    append_keys(resume->overrides, &keys);
    const shoal_kept_facts_t facts = {
        .workflow = identity,
        .digest = shoal_workflow_digest(resume->workflow),
        .set_digest = shoal_workflow_override_digest(resume->workflow),
        .set_keys = shoal_buffer_text(&keys),
        .output = whole,
        .job_id = job_id,
        .created = (uint64_t)time(NULL),
    };
    bool done = shoal_kept_new(base, &facts, &kept, status);
    shoal_buffer_fini(&keys);
    free(whole);
    return done ? kept : NULL;
}

shoal_kept_t *
shoal_resume_keep(const shoal_resume_t *resume, const char *output, const char *job_id)
{
    char base[PATH_MAX];
    char identity[PATH_MAX];
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_kept_t *kept = NULL;
    if (strcmp(resume->name, "-") == 0) {
        return NULL; // nobody could ask for it
    }
    if (base_of(base, &status) && identity_of(resume, identity, &status)) {
        (void)shoal_kept_sweep(base, NULL, (uint64_t)time(NULL));
        tell_interrupted(resume, base, identity);
        kept = keep(resume, base, identity, output, job_id, &status);
    }
    if (!kept) {
        (void)fprintf(stderr, "note: this run could not go on if it were killed: %s\n",
                      status.text);
    }
    return kept;
}

void
shoal_resume_end(const shoal_resume_t *resume, bool is_good, shoal_kept_t **kept)
{
    char base[PATH_MAX];
    char identity[PATH_MAX];
    shoal_status_t ignored = SHOAL_STATUS_INIT; // the next sweep tries again
    if (!*kept) {
        return;
    }
    shoal_kept_remove(kept);
    if (is_good && base_of(base, &ignored) && identity_of(resume, identity, &ignored)) {
        (void)shoal_kept_sweep(base, identity, (uint64_t)time(NULL));
    }
}

void
shoal_resume_leave(const shoal_resume_t *resume, shoal_kept_t **kept)
{
    if (*kept) {
        shoal_buffer_t command = SHOAL_BUFFER_INIT;
        shoal_kept_close(kept);
        append_command(resume, &command);
        (void)fprintf(stderr, "to go on with this run: %s\n", shoal_buffer_text(&command));
        shoal_buffer_fini(&command);
    }
}
