// SPDX-License-Identifier: Apache-2.0
//
// summary.h - a job as EVENT's detail and as an answer to ASK.
//
// Threads: the hub's.  Logging: none.

#ifndef SHOAL_HEAD_HUB_SUMMARY_H
#define SHOAL_HEAD_HUB_SUMMARY_H

#include "head/cluster/job.h"
#include "head/cluster/registry.h"

#define SHOAL_SUMMARY_BOOKS_MAX   1000
#define SHOAL_SUMMARY_PLAN_MAX    2000
#define SHOAL_SUMMARY_BYTES_MAX   491520 // lists are cut before they pass this; EVENT holds 512 KiB
#define SHOAL_SUMMARY_SMALL_KEYS  11
#define SHOAL_SUMMARY_LETTERS_MAX 10
#define SHOAL_SUMMARY_LIVE_MAX    256 // attempts whose part is looked at for `progress`

// Appends the detail of a job whose state is `state`: with a final one the whole summary. The job
// still has its backlog and books.
void shoal_summary_write(const shoal_job_t *job, shoal_job_state_t state,
                         const shoal_registry_t *registry, uint64_t now_ms, shoal_buffer_t *out);

// Appends the detail in whatever state the job is: the kept one if it is final.
void shoal_summary_detail(const shoal_job_t *job, const shoal_registry_t *registry, uint64_t now_ms,
                          shoal_buffer_t *out);

// What the job waits for, for a person; empty: it runs.
void shoal_summary_wait(const shoal_job_t *job, const shoal_registry_t *registry,
                        shoal_buffer_t *out);

#endif
