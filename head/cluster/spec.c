// SPDX-License-Identifier: Apache-2.0
//
// spec.c - reads SUBMIT's payload; see job.h and docs/protocol.md, section 7.

#include "head/cluster/job.h"
#include "head/cluster/registry.h"
#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define BACKOFF_FACTOR_MAX 100.0

static bool
key_fails(shoal_status_t *status, const char *key, const char *what)
{
    return shoal_fail_key(status, key, "cannot accept the job: \"%s\" must be %s", key, what);
}

static bool
read_uint(shoal_cursor_t *cursor, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = shoal_cursor_uint(cursor);
    if (cursor->is_bad || value > max) {
        return false;
    }
    *ret_value = value;
    return true;
}

static bool
read_text(shoal_cursor_t *cursor, size_t max, shoal_slice_t *ret_text)
{
    shoal_slice_t text = shoal_cursor_str(cursor);
    if (cursor->is_bad || text.len > max || !shoal_utf8_is_text(text)) {
        return false;
    }
    *ret_text = text;
    return true;
}

static bool
read_flag(shoal_cursor_t *cursor, bool *ret_flag)
{
    *ret_flag = shoal_cursor_bool(cursor);
    return !cursor->is_bad;
}

static bool
retry_read(shoal_cursor_t *cursor, shoal_spec_t *spec, shoal_status_t *status)
{
    uint32_t pairs = shoal_cursor_map(cursor);
    for (uint32_t i = 0; i < pairs && !cursor->is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(cursor);
        uint64_t number = 0;
        if (shoal_slice_is(key, "max_attempts")) {
            if (!read_uint(cursor, SHOAL_ATTEMPTS_OF_MAX, &number) || number == 0) {
                return key_fails(status, "retry.max_attempts", "a number from 1 to 1000");
            }
            spec->max_attempts = (uint32_t)number;
        } else if (shoal_slice_is(key, "backoff_ms")) {
            if (!read_uint(cursor, SHOAL_BACKOFF_MS_MAX, &spec->backoff_ms)) {
                return key_fails(status, "retry.backoff_ms", "a number up to 300000");
            }
        } else if (shoal_slice_is(key, "factor")) {
            spec->factor = shoal_cursor_float(cursor);
            if (cursor->is_bad || !(spec->factor >= 1.0 && spec->factor <= BACKOFF_FACTOR_MAX)) {
                return key_fails(status, "retry.factor", "a number from 1 to 100");
            }
        } else {
            shoal_cursor_skip(cursor);
        }
    }
    return cursor->is_bad ? key_fails(status, "retry", "a map") : true;
}

static bool
budget_read(shoal_cursor_t *cursor, shoal_spec_budget_t *budget)
{
    uint32_t pairs = shoal_cursor_map(cursor);
    for (uint32_t i = 0; i < pairs && !cursor->is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(cursor);
        shoal_slice_t text = SHOAL_SLICE_NONE;
        uint64_t number = 0;
        if (shoal_slice_is(key, "name")) {
            if (!read_text(cursor, SHOAL_BUDGET_NAME_MAX, &text)) {
                return false;
            }
            memcpy(budget->name, text.len > 0 ? text.ptr : "", text.len);
            budget->name[text.len] = '\0';
        } else if (shoal_slice_is(key, "connections")) {
            if (!read_uint(cursor, SHOAL_ATTEMPTS_MAX, &number)) {
                return false;
            }
            budget->connections = (uint32_t)number;
        } else if (shoal_slice_is(key, "per_second")) {
            if (!read_uint(cursor, SHOAL_BUDGET_PER_SECOND, &number)) {
                return false;
            }
            budget->per_second = (uint32_t)number;
        } else {
            shoal_cursor_skip(cursor);
        }
    }
    return !cursor->is_bad;
}

static bool
budgets_read(shoal_cursor_t *cursor, shoal_spec_t *spec, shoal_status_t *status)
{
    uint32_t count = shoal_cursor_array(cursor);
    spec->budget_count = 0;
    for (uint32_t i = 0; i < count && i < SHOAL_SPEC_BUDGETS_MAX; i++) {
        spec->budgets[i] = (shoal_spec_budget_t){.name = ""};
        if (!budget_read(cursor, &spec->budgets[i])) {
            break;
        }
        spec->budget_count++;
    }
    return (!cursor->is_bad && spec->budget_count == count) ||
           key_fails(status, "budgets",
                     "an array of at most 4 maps {name, connections, per_second}");
}

// Reads the value of one key.
static bool
value_read(shoal_slice_t key, shoal_cursor_t *cursor, shoal_spec_t *spec, shoal_status_t *status)
{
    uint64_t number = 0;
    if (shoal_slice_is(key, "name")) {
        return read_text(cursor, SHOAL_JOB_NAME_MAX, &spec->name) ||
               key_fails(status, "name", "a text of at most 128 bytes");
    }
    if (shoal_slice_is(key, "class")) {
        return read_text(cursor, SHOAL_CLASS_NAME_MAX, &spec->class_name) ||
               key_fails(status, "class", "a text of at most 64 bytes");
    }
    if (shoal_slice_is(key, "args")) {
        spec->args = shoal_cursor_value(cursor);
        return (!cursor->is_bad && shoal_cursor_check(spec->args, SHOAL_VALUE_DEPTH_MAX)) ||
               key_fails(status, "args", "well-formed and nested at most 32 deep");
    }
    if (shoal_slice_is(key, "parallelism")) {
        if (!read_uint(cursor, SHOAL_ATTEMPTS_MAX, &number)) {
            return key_fails(status, "parallelism", "a number up to 1048576");
        }
        spec->parallelism = (uint32_t)number;
        return true;
    }
    if (shoal_slice_is(key, "limit")) {
        return read_uint(cursor, UINT64_MAX, &spec->limit) ||
               key_fails(status, "limit", "a number");
    }
    if (shoal_slice_is(key, "plan_only")) {
        return read_flag(cursor, &spec->plan_only) || key_fails(status, "plan_only", "a bool");
    }
    if (shoal_slice_is(key, "collect")) {
        return read_flag(cursor, &spec->collect) || key_fails(status, "collect", "a bool");
    }
    if (shoal_slice_is(key, "weight")) {
        if (!read_uint(cursor, 100, &number) || number == 0) {
            return key_fails(status, "weight", "a number from 1 to 100");
        }
        spec->weight = (uint32_t)number;
        return true;
    }
    if (shoal_slice_is(key, "timeout_ms")) {
        return read_uint(cursor, SHOAL_TIMEOUT_MS_MAX, &spec->timeout_ms) ||
               key_fails(status, "timeout_ms", "a number up to 31536000000");
    }
    if (shoal_slice_is(key, "shard_timeout_ms")) {
        return read_uint(cursor, SHOAL_TIMEOUT_MS_MAX, &spec->shard_timeout_ms) ||
               key_fails(status, "shard_timeout_ms", "a number up to 31536000000");
    }
    if (shoal_slice_is(key, "retry")) {
        return retry_read(cursor, spec, status);
    }
    if (shoal_slice_is(key, "budgets")) {
        return budgets_read(cursor, spec, status);
    }
    if (shoal_slice_is(key, "retry_of")) {
        return read_uint(cursor, UINT64_MAX, &spec->retry_of) ||
               key_fails(status, "retry_of", "the number of a job");
    }
    if (shoal_slice_is(key, "letters")) {
        spec->letters = shoal_cursor_value(cursor);
        return !cursor->is_bad || key_fails(status, "letters", "an array of numbers");
    }
    shoal_cursor_skip(cursor);
    return !cursor->is_bad || shoal_fail(status, SHOAL_INVALID, "cannot accept the job: malformed");
}

bool
shoal_spec_read(shoal_slice_t payload, shoal_spec_t *ret_spec, shoal_status_t *status)
{
    shoal_spec_t spec = {.args = SHOAL_SLICE("\xc0"), // nil
                         .max_attempts = 3,
                         .backoff_ms = 1000,
                         .factor = 2.0,
                         .weight = 10};
    shoal_cursor_t cursor = shoal_cursor_over(payload);
    uint32_t pairs = shoal_cursor_map(&cursor);
    if (cursor.is_bad) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot accept the job: its specification must be a map");
    }
    for (uint32_t i = 0; i < pairs; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        if (cursor.is_bad) {
            return shoal_fail(status, SHOAL_INVALID, "cannot accept the job: a key is no text");
        }
        if (!value_read(key, &cursor, &spec, status)) {
            return false;
        }
    }
    if (!shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_INVALID, "cannot accept the job: malformed");
    }
    if (spec.class_name.len == 0 && spec.retry_of == 0) {
        return shoal_fail_key(status, "class", "cannot accept the job: it names no \"class\"");
    }
    *ret_spec = spec;
    return true;
}

bool
shoal_spec_strip(shoal_slice_t payload, shoal_buffer_t *out)
{
    shoal_cursor_t cursor = shoal_cursor_over(payload);
    uint32_t pairs = shoal_cursor_map(&cursor);
    uint32_t kept = 0;
    size_t mark = shoal_write_map_later(out);
    for (uint32_t i = 0; i < pairs && !cursor.is_bad; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        shoal_slice_t value = shoal_cursor_value(&cursor);
        if (!cursor.is_bad && !shoal_slice_is(key, "args")) {
            shoal_write_str(out, key);
            shoal_write_raw(out, value);
            kept++;
        }
    }
    shoal_write_count_now(out, mark, kept);
    return shoal_cursor_is_done(&cursor);
}
