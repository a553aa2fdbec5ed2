// SPDX-License-Identifier: Apache-2.0
//
// summary.c - see summary.h; docs/protocol.md, section 7, names the keys.

#include "head/hub/summary.h"

#include "proto/record/cursor.h"
#include "proto/record/writer.h"

static void
key_uint(shoal_buffer_t *out, const char *key, uint64_t value)
{
    shoal_write_text(out, key);
    shoal_write_uint(out, value);
}

static void
key_text(shoal_buffer_t *out, const char *key, shoal_slice_t value)
{
    shoal_write_text(out, key);
    shoal_write_str(out, value);
}

static void
key_bool(shoal_buffer_t *out, const char *key, bool value)
{
    shoal_write_text(out, key);
    shoal_write_bool(out, value);
}

void
shoal_summary_wait(const shoal_job_t *job, const shoal_registry_t *registry, shoal_buffer_t *out)
{
    if (shoal_job_is_final(job) || !job->backlog) {
        return;
    }
    bool is_full = job->output && shoal_output_is_waiting(job->output);
    if (job->needs_disk || job->is_held || is_full) {
        shoal_buffer_append_text(out, "disk");
        return;
    }
    if (job->running > 0) {
        return;
    }
    const char *class_name = shoal_registry_class_name(registry, job->class_number);
    if (shoal_registry_workers(registry, (int)job->class_number) == 0) {
        shoal_buffer_append_format(out, "no worker has the class %s", class_name);
    } else if (shoal_backlog_count(job->backlog, SHOAL_SHARD_READY) > 0) {
        if (job->budget && shoal_budget_is_used_up(job->budget)) {
            shoal_buffer_append_format(out, "the budget of %s", shoal_budget_name(job->budget));
            return;
        }
        shoal_buffer_append_text(out, "a free slot");
    } else if (shoal_backlog_count(job->backlog, SHOAL_SHARD_DELAYED) > 0) {
        shoal_buffer_append_format(out, "another try after: %s", job->wait_reason);
    }
}

static void
shards_write(const shoal_job_t *job, shoal_buffer_t *out)
{
    shoal_write_key(out, "shards");
    shoal_write_map(out, 5);
    key_uint(out, "total", job->shards);
    key_uint(out, "done", job->done);
    key_uint(out, "running", job->running);
    key_uint(out, "retried", job->retried);
    key_uint(out, "dead", job->dead);
}

// The members that a shard is to bring; 0: nobody has said.
static uint64_t
expected_of(const shoal_job_t *job, const shoal_shard_t *shard)
{
    shoal_slice_t expects = shoal_backlog_expects(job->backlog, shard);
    if (expects.len == 0) {
        return 0;
    }
    uint64_t expected = 0;
    shoal_cursor_t cursor = shoal_cursor_over(expects);
    uint32_t pairs = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < pairs && !cursor.is_bad; i++) {
        (void)shoal_cursor_array(&cursor);
        (void)shoal_cursor_uint(&cursor);
        expected += shoal_cursor_uint(&cursor);
    }
    return cursor.is_bad ? 0 : expected;
}

typedef struct live {
    uint64_t arriving; // records that are here and belong to no commit yet
    double cost_us;    // what that is of their shards' estimates
} live_t;

static live_t
live_of(const shoal_job_t *job)
{
    live_t live = {0};
    unsigned looked = 0;
    for (const shoal_attempt_t *attempt = job->attempts; attempt && looked < SHOAL_SUMMARY_LIVE_MAX;
         attempt = attempt->job_next) {
        if (attempt->shard < SHOAL_SHARD_FIRST) {
            continue; // what discover streams are no records
        }
        looked++;
        live.arriving += attempt->records;
        const shoal_shard_t *shard = shoal_backlog_at(job->backlog, attempt->shard);
        uint64_t expected = expected_of(job, shard);
        if (expected > 0 && shard->cost_us != SHOAL_COST_FIRST) {
            double part = (double)attempt->records / (double)expected;
            live.cost_us += (part < 1.0 ? part : 1.0) * (double)shard->cost_us;
        }
    }
    return live;
}

// The share of the work that is behind the job, by the shards' estimates.
static double
progress_of(const shoal_job_t *job, const live_t *live)
{
    if (!job->backlog || job->shards == 0) {
        return 0.0;
    }
    double done = live->cost_us;
    double total = 0.0;
    for (int state = SHOAL_SHARD_WAITING; state < SHOAL_SHARD_STATE_COUNT; state++) {
        double cost = (double)shoal_backlog_cost(job->backlog, (shoal_shard_state_t)state);
        total += cost;
        done += state == SHOAL_SHARD_DONE || state == SHOAL_SHARD_DEAD ? cost : 0.0;
    }
    if (total <= 0.0) { // nothing but shards that come first
        total = (double)job->shards;
        done = (double)(job->done + job->dead);
    }
    return done < total ? done / total : 1.0;
}

static void
records_write(const shoal_books_t *books, uint64_t arriving, shoal_buffer_t *out)
{
    shoal_write_key(out, "records");
    shoal_write_map(out, 7);
    key_uint(out, "total", books->successful + books->failed + books->filtered);
    key_uint(out, "successful", books->successful);
    key_uint(out, "failed", books->failed);
    key_uint(out, "filtered", books->filtered);
    key_uint(out, "listed", books->listed);
    key_uint(out, "arriving", arriving);
    shoal_write_key(out, "by_kind");
    shoal_write_map(out, (uint32_t)books->kind_count);
    for (size_t i = 0; i < books->kind_count; i++) {
        key_uint(out, books->kinds[i].key, books->kinds[i].count);
    }
}

static double
seconds_of(const shoal_job_t *job, uint64_t now_ms)
{
    uint64_t from = job->started_ms ? job->started_ms : job->created_ms;
    uint64_t to = job->finished_ms ? job->finished_ms : now_ms;
    return to > from ? (double)(to - from) / 1000.0 : 0.0;
}

static shoal_slice_t
worker_name(const shoal_registry_t *registry, const char *id)
{
    const shoal_worker_t *worker = shoal_registry_find(registry, shoal_slice_of(id));
    return worker ? shoal_slice_of(worker->name) : SHOAL_SLICE_NONE;
}

static void
errors_write(const shoal_books_t *books, const shoal_registry_t *registry, shoal_buffer_t *out)
{
    shoal_write_key(out, "errors");
    shoal_write_array(out, (uint32_t)books->error_count);
    for (size_t i = 0; i < books->error_count; i++) {
        const shoal_error_note_t *error = &books->errors[i];
        shoal_write_map(out, 8);
        key_uint(out, "class", error->error_class);
        key_uint(out, "code", error->code);
        key_text(out, "message", shoal_slice_of(error->text));
        key_text(out, "key", shoal_slice_of(error->key));
        key_text(out, "where", shoal_slice_of(error->where));
        key_text(out, "worker", shoal_slice_of(error->worker));
        key_text(out, "worker_name", worker_name(registry, error->worker));
        key_uint(out, "count", error->count);
    }
    key_uint(out, "errors_left_out", books->errors_left_out);
}

static void
notes_write(const shoal_books_t *books, shoal_buffer_t *out)
{
    shoal_write_key(out, "warnings");
    shoal_write_array(out, (uint32_t)books->warning_count);
    for (size_t i = 0; i < books->warning_count; i++) {
        shoal_write_array(out, 2);
        shoal_write_text(out, books->warnings[i].key);
        shoal_write_uint(out, books->warnings[i].count);
    }
    shoal_write_key(out, "facts");
    shoal_write_map(out, (uint32_t)books->fact_count);
    for (size_t i = 0; i < books->fact_count; i++) {
        shoal_write_text(out, books->facts[i].key);
        shoal_write_text(out, books->facts[i].text);
    }
}

static void
scope_write(const shoal_books_t *books, const shoal_scope_t *scope, shoal_buffer_t *out)
{
    shoal_write_map(out, 9);
    key_text(out, "scope", shoal_books_scope_name(books, scope));
    key_text(out, "of", shoal_books_scope_of(books, scope));
    key_uint(out, "listed", scope->listed);
    key_uint(out, "delivered", scope->delivered);
    key_uint(out, "filtered", scope->filtered);
    key_uint(out, "vanished", scope->vanished);
    key_uint(out, "appeared", scope->appeared);
    key_uint(out, "dead", scope->dead);
    key_bool(out, "complete", shoal_scope_is_complete(scope));
}

typedef struct book_counts {
    uint64_t complete;
    uint64_t balanced;
    uint32_t written;
} book_counts_t;

// Writes the scopes that are (or are not) in order.
static void
scopes_write(const shoal_books_t *books, bool in_order, book_counts_t *counts, shoal_buffer_t *out)
{
    for (uint32_t i = 0; i < books->scope_end; i++) {
        const shoal_scope_t *scope = shoal_books_scope(books, i);
        if (!scope) {
            continue;
        }
        bool is_complete = shoal_scope_is_complete(scope);
        bool is_balanced = shoal_scope_is_balanced(scope);
        if ((is_complete && is_balanced) != in_order) {
            continue;
        }
        counts->complete += is_complete;
        counts->balanced += is_balanced;
        if (counts->written < SHOAL_SUMMARY_BOOKS_MAX &&
            out->len < SHOAL_SUMMARY_BYTES_MAX - 4096) {
            scope_write(books, scope, out);
            counts->written++;
        }
    }
}

static void
books_write(const shoal_job_t *job, shoal_buffer_t *out)
{
    const shoal_books_t *books = &job->books;
    book_counts_t counts = {0};
    shoal_write_key(out, "books");
    size_t mark = shoal_write_array_later(out);
    scopes_write(books, false, &counts, out);
    scopes_write(books, true, &counts, out);
    shoal_write_count_now(out, mark, counts.written);
    key_uint(out, "books_left_out", books->scope_count - counts.written);
    key_bool(out, "balanced", counts.balanced == books->scope_count);
    shoal_write_key(out, "scopes");
    shoal_write_map(out, 3);
    key_uint(out, "total", books->scope_count);
    key_uint(out, "complete", counts.complete);
    key_uint(out, "balanced", counts.balanced);
    key_bool(out, "limited", job->is_limited);
}

// How many dead letters there are, those of all runs together, and the first of them.
static void
letters_write(const shoal_job_t *job, shoal_buffer_t *out)
{
    const shoal_letters_t *letters = shoal_job_letters(job);
    uint32_t count = 0;
    shoal_write_key(out, "letters");
    shoal_write_map(out, 2);
    key_uint(out, "total", shoal_letters_count(letters));
    shoal_write_key(out, "first");
    size_t mark = shoal_write_array_later(out);
    const shoal_letter_t *letter;
    for (uint64_t from = 0;
         count < SHOAL_SUMMARY_LETTERS_MAX && out->len < SHOAL_SUMMARY_BYTES_MAX &&
         (letter = shoal_letters_next(letters, from)) != NULL;
         count++) {
        from = letter->number + 1;
        shoal_letter_show(letter, /*is_whole=*/false, out);
    }
    shoal_write_count_now(out, mark, count);
}

static void
plan_write(const shoal_job_t *job, shoal_buffer_t *out)
{
    uint32_t written = 0;
    shoal_write_key(out, "plan");
    size_t mark = shoal_write_array_later(out);
    uint32_t end = job->spec.plan_only ? shoal_backlog_end(job->backlog) : 0;
    for (uint32_t i = SHOAL_SHARD_FIRST; i < end; i++) {
        const shoal_shard_t *shard = shoal_backlog_at(job->backlog, i);
        if (!shard) {
            continue;
        }
        if (written == SHOAL_SUMMARY_PLAN_MAX || out->len > SHOAL_SUMMARY_BYTES_MAX) {
            break;
        }
        shoal_write_map(out, shard->needs == SHOAL_SHARD_NONE ? 4 : 5);
        key_uint(out, "shard", i - SHOAL_SHARD_FIRST);
        key_uint(out, "stage", shard->stage);
        if (shard->needs != SHOAL_SHARD_NONE) {
            key_uint(out, "needs", shard->needs - SHOAL_SHARD_FIRST);
        }
        key_uint(out, "cost_us", shard->cost_us == SHOAL_COST_FIRST ? 0 : shard->cost_us);
        key_text(out, "title", shoal_backlog_title(job->backlog, shard));
        written++;
    }
    shoal_write_count_now(out, mark, written);
    key_uint(out, "plan_left_out", job->spec.plan_only ? job->shards - written : 0);
}

void
shoal_summary_write(const shoal_job_t *job, shoal_job_state_t state,
                    const shoal_registry_t *registry, uint64_t now_ms, shoal_buffer_t *out)
{
    bool is_final = state >= SHOAL_JOB_SUCCEEDED;
    shoal_write_map(out, is_final ? 23 : SHOAL_SUMMARY_SMALL_KEYS);
    key_text(out, "stage", shoal_slice_of(shoal_stage_name((int)job->stage)));
    key_bool(out, "discovering", !job->is_discovered);
    shards_write(job, out);
    live_t live = live_of(job);
    records_write(&job->books, live.arriving, out);
    shoal_write_key(out, "progress");
    shoal_write_float(out, progress_of(job, &live));
    key_uint(out, "commits", job->output ? shoal_output_commits(job->output) : 0);
    key_uint(out, "output_bytes", job->output ? shoal_output_bytes(job->output) : 0);
    shoal_write_key(out, "seconds");
    shoal_write_float(out, seconds_of(job, now_ms));
    key_uint(out, "workers", shoal_registry_workers(registry, (int)job->class_number));
    key_uint(out, "slots", shoal_registry_slots(registry, (int)job->class_number));
    shoal_buffer_t wait = SHOAL_BUFFER_INIT;
    if (!is_final) {
        shoal_summary_wait(job, registry, &wait);
    }
    key_text(out, "wait", shoal_buffer_slice(&wait));
    shoal_buffer_fini(&wait);
    if (is_final) {
        errors_write(&job->books, registry, out);
        notes_write(&job->books, out);
        books_write(job, out);
        letters_write(job, out);
        plan_write(job, out);
    }
}

void
shoal_summary_detail(const shoal_job_t *job, const shoal_registry_t *registry, uint64_t now_ms,
                     shoal_buffer_t *out)
{
    if (shoal_job_is_final(job)) {
        shoal_buffer_append_slice(out, shoal_buffer_slice(&job->final_detail));
    } else {
        shoal_summary_write(job, job->state, registry, now_ms, out);
    }
}
