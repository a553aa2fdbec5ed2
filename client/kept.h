// SPDX-License-Identifier: Apache-2.0
//
// kept.h - what is kept of a local run so that it can go on after it was killed.
//
// STATE/runs/NAME-XXXXXX, mode 0700: `run.json` (what was run, told by digests, no secrets), `head/`
// (the head's journal, spool and vault) and two locks. `lock` is held by the command, `head.lock` by
// its head too, which outlives a killed command for a moment. A run that has come to its end removes
// its folder; one that was killed leaves it, until a later run of the same workflow has finished, or
// until it is too old or one of too many.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_KEPT_H
#define SHOAL_CLIENT_KEPT_H

#include <stdint.h>

#include "proto/base/status.h"

#define SHOAL_KEPT_RUNS_MAX 10    // interrupted ones; the oldest go first
#define SHOAL_KEPT_DAYS_MAX 7     // and those that are older
#define SHOAL_KEPT_FILE_MAX 65536 // bytes of run.json
#define SHOAL_KEPT_WAIT_MS  10000 // for the head of a killed command to end

typedef struct shoal_kept shoal_kept_t;

// What run.json says.
typedef struct shoal_kept_facts {
    const char *workflow;   // whole path of the file, or a source's address without secrets
    const char *digest;     // of its text
    const char *set_digest; // of what --set said
    const char *set_keys;   // "sharding.type, source.serviceName", or ""
    const char *output;     // whole path, or ""
    const char *job_id;
    uint64_t created; // seconds since 1970
} shoal_kept_facts_t;

// Makes the folder below `base`, which is made too, and locks it. Everything is safe on the disk.
//   SHOAL_DENIED SHOAL_IO  it cannot be made
SHOAL_MUST_CHECK bool shoal_kept_new(const char *base, const shoal_kept_facts_t *facts,
                                     shoal_kept_t **ret_kept, shoal_status_t *status);

// Takes the newest interrupted run of `workflow`; NULL: there is none.
//   SHOAL_EXISTS  it is going on just now; its process is named
//   SHOAL_IO      it cannot be read; the folder is named
SHOAL_MUST_CHECK bool shoal_kept_find(const char *base, const char *workflow,
                                      shoal_kept_t **ret_kept, shoal_status_t *status);

// Waits until the head that a killed command has left is gone.
//   SHOAL_TIMEOUT  it is still there after SHOAL_KEPT_WAIT_MS
SHOAL_MUST_CHECK bool shoal_kept_wait(shoal_kept_t *kept, shoal_status_t *status);

const shoal_kept_facts_t *shoal_kept_facts(const shoal_kept_t *kept);
const char *shoal_kept_head(const shoal_kept_t *kept); // the head's folder
bool shoal_kept_is_empty(const shoal_kept_t *kept);    // the head has left nothing there
int shoal_kept_lock_fd(const shoal_kept_t *kept);      // for the head: closing it lets go

// Lets the folder go: it stays for the next time, or is removed.
void shoal_kept_close(shoal_kept_t **kept);
void shoal_kept_remove(shoal_kept_t **kept);

// Removes interrupted runs that are too old or too many, and those of `workflow` (NULL: none) all;
// returns how many. Runs that go on are left alone. Time is an argument.
unsigned shoal_kept_sweep(const char *base, const char *workflow, uint64_t now_seconds);

#endif
