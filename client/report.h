// SPDX-License-Identifier: Apache-2.0
//
// report.h - what an EVENT says of a job, read into one structure.
//
// Everything is copied and bounded by the size of an EVENT (docs/protocol.md section 7). What is
// missing reads as zero or empty; what is malformed makes the whole report refused.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_REPORT_H
#define SHOAL_CLIENT_REPORT_H

#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/base/status.h"

typedef struct shoal_report_count { // a name or a sentence, and how often
    char *text;
    uint64_t count;
} shoal_report_count_t;

typedef struct shoal_report_error {
    uint64_t error_class;
    uint64_t code;
    char *message;
    char *key;         // path in the workflow file, or ""
    char *where;       // a shard's title or a scope, or ""
    char *worker;      // id, or ""
    char *worker_name; // or ""
    uint64_t count;
} shoal_report_error_t;

typedef struct shoal_report_fact {
    char *name;
    char *text;
} shoal_report_fact_t;

typedef struct shoal_report_book { // the balance of a scope
    char *scope;
    char *of; // what its members are: "table"
    uint64_t listed, delivered, filtered, vanished, dead;
    bool is_complete;
} shoal_report_book_t;

typedef struct shoal_report_letter { // a dead letter, in short
    uint64_t letter, error_class, code;
    char *name;
    char *message;
} shoal_report_letter_t;

typedef struct shoal_report_shard { // of a plan
    uint64_t shard, stage, needs, cost_us;
    char *title;
} shoal_report_shard_t;

typedef struct shoal_report {
    char state[17];
    char stage[17];
    bool is_discovering;
    struct {
        uint64_t total, done, running, retried, dead;
    } shards;
    struct {
        uint64_t total, successful, failed, filtered;
        uint64_t arriving; // here, but not committed yet
    } records;
    shoal_report_count_t *kinds;
    size_t kind_count;
    uint64_t commits, output_bytes, workers, slots;
    double seconds;      // may be written on while no event comes
    double said_seconds; // as the head said
    double progress;     // share of the work that is behind it, 0 to 1
    bool has_progress;
    char *wait; // what the job waits for, or ""
    shoal_report_error_t *errors;
    size_t error_count;
    uint64_t errors_left_out;
    shoal_report_count_t *warnings;
    size_t warning_count;
    shoal_report_fact_t *facts;
    size_t fact_count;
    shoal_report_book_t *books;
    size_t book_count;
    uint64_t books_left_out;
    bool is_balanced;
    bool has_books; // `balanced` was said: the job has got that far
    struct {
        uint64_t total, complete, balanced;
    } scopes;
    bool is_limited;
    uint64_t letters; // dead ones, all together
    shoal_report_letter_t *first_letters;
    size_t first_letter_count;
    shoal_report_shard_t *plan;
    size_t plan_count;
    uint64_t plan_left_out;
} shoal_report_t;

// Reads an EVENT's state and detail (one msgpack map, or empty).
//   SHOAL_PROTOCOL  the detail is malformed
SHOAL_MUST_CHECK bool shoal_report_read(shoal_slice_t state, shoal_slice_t detail,
                                        shoal_report_t **ret_report, shoal_status_t *status);
void shoal_report_destroy(shoal_report_t **report);

bool shoal_report_is_final(const shoal_report_t *report); // neither PENDING nor RUNNING

// successful / (successful + failed) in percent; 100 where there was none of both.
double shoal_report_success(const shoal_report_t *report);

// Members that the source had when they were listed, and has no more; of the books that are here.
uint64_t shoal_report_vanished(const shoal_report_t *report);

double shoal_report_rate(const shoal_report_t *report); // records a second, those on their way too

// Seconds to go; negative: nobody can say.
double shoal_report_seconds_left(const shoal_report_t *report);

// The share of the work that is behind it, by the head's word or by the shards that have ended.
double shoal_report_progress(const shoal_report_t *report);

#endif
