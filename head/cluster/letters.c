// SPDX-License-Identifier: Apache-2.0
//
// letters.c - see letters.h.

#include "head/cluster/letters.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define DEPTH_MAX       48  // of one that was kept
#define OVERHEAD_BYTES  128 // counted for each letter beside its map
#define CAUSE_BYTES_MAX 160 // of a cause's sentence, names and numbers left out

typedef struct cause {
    char *text;
    uint64_t count;
} cause_t;

struct shoal_letters {
    uint64_t job;
    uint64_t *all_bytes;
    const shoal_letters_hooks_t *hooks;
    shoal_letter_t **items; // by number, growing
    size_t count;
    size_t size;
    uint64_t last; // number given out
    uint64_t bytes;
    cause_t causes[SHOAL_LETTER_CAUSES_MAX];
    size_t cause_count;
};

static const char *const kind_names[] = {"record", "source", "shard"};

shoal_letters_t *
shoal_letters_new(uint64_t job, uint64_t *all_bytes, const shoal_letters_hooks_t *hooks)
{
    shoal_letters_t *letters = shoal_alloc(sizeof(*letters));
    letters->job = job;
    letters->all_bytes = all_bytes;
    letters->hooks = hooks;
    return letters;
}

static void
letter_free(shoal_letters_t *letters, shoal_letter_t *letter)
{
    letters->bytes -= letter->len + OVERHEAD_BYTES;
    *letters->all_bytes -= letter->len + OVERHEAD_BYTES;
    free(letter->bytes);
    free(letter);
}

void
shoal_letters_destroy(shoal_letters_t **letters)
{
    if (!letters || !*letters) {
        return;
    }
    for (size_t i = 0; i < (*letters)->count; i++) {
        letter_free(*letters, (*letters)->items[i]);
    }
    for (size_t i = 0; i < (*letters)->cause_count; i++) {
        free((*letters)->causes[i].text);
    }
    free((*letters)->items);
    free(*letters);
    *letters = NULL;
}

size_t
shoal_letters_count(const shoal_letters_t *letters)
{
    return letters ? letters->count : 0;
}

uint64_t
shoal_letters_bytes(const shoal_letters_t *letters)
{
    return letters ? letters->bytes : 0;
}

// The index of the first letter with a number of at least `from`.
static size_t
index_of(const shoal_letters_t *letters, uint64_t from)
{
    size_t low = 0;
    for (size_t high = letters->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (letters->items[middle]->number < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

shoal_letter_t *
shoal_letters_next(const shoal_letters_t *letters, uint64_t from)
{
    size_t index = letters ? index_of(letters, from) : 0;
    return letters && index < letters->count ? letters->items[index] : NULL;
}

shoal_letter_t *
shoal_letters_find(const shoal_letters_t *letters, uint64_t number)
{
    shoal_letter_t *letter = shoal_letters_next(letters, number);
    return letter && letter->number == number ? letter : NULL;
}

uint64_t
shoal_letters_of_shard(const shoal_letters_t *letters, uint64_t origin)
{
    for (size_t i = 0; letters && i < letters->count; i++) {
        const shoal_letter_t *letter = letters->items[i];
        if (letter->kind == SHOAL_LETTER_SHARD && letter->origin == origin) {
            return letter->number;
        }
    }
    return 0;
}

// ---- causes

// A message without what is different each time: numbers, and what stands in quotes.
static void
cause_text(const shoal_status_t *why, shoal_buffer_t *out)
{
    bool in_quotes = false;
    shoal_buffer_append_format(out, "%s, %s: ", shoal_error_class_name((int)why->error_class),
                               shoal_code_name((int)why->code));
    for (const char *at = why->text; *at && out->len < CAUSE_BYTES_MAX; at++) {
        if (*at == '"') {
            in_quotes = !in_quotes;
            shoal_buffer_append_byte(out, '"');
        } else if (!in_quotes && *at >= '0' && *at <= '9') {
            if (out->ptr[out->len - 1] != '#') {
                shoal_buffer_append_byte(out, '#');
            }
        } else if (!in_quotes) {
            shoal_buffer_append_byte(out, *at);
        }
    }
    out->len = shoal_utf8_prefix(shoal_buffer_slice(out));
}

static void
cause_count(shoal_letters_t *letters, const shoal_status_t *why)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    cause_text(why, &text);
    const char *wanted = shoal_buffer_text(&text);
    size_t i = 0;
    while (i < letters->cause_count && strcmp(letters->causes[i].text, wanted) != 0) {
        i++;
    }
    if (i <
        SHOAL_LETTER_CAUSES_MAX) { // one that is new when the table is full is not the commonest
        if (i == letters->cause_count) {
            letters->causes[letters->cause_count++].text = shoal_strdup(wanted);
        }
        letters->causes[i].count++;
    }
    shoal_buffer_fini(&text);
}

static const cause_t *
commonest(const shoal_letters_t *letters)
{
    const cause_t *best = NULL;
    for (size_t i = 0; i < letters->cause_count; i++) {
        best = !best || letters->causes[i].count > best->count ? &letters->causes[i] : best;
    }
    return best;
}

bool
shoal_letters_fit(const shoal_letters_t *letters, size_t count, uint64_t bytes,
                  shoal_status_t *status)
{
    const cause_t *cause = commonest(letters);
    bytes += count * OVERHEAD_BYTES;
    if (*letters->all_bytes + bytes > SHOAL_LETTERS_ALL_BYTES_MAX) {
        return shoal_fail(
            status, SHOAL_LIMIT,
            "the head keeps %llu bytes of dead letters already, at most %d; make room "
            "with \"shoal dlq drop JOB\"",
            (unsigned long long)*letters->all_bytes, SHOAL_LETTERS_ALL_BYTES_MAX);
    }
    if (letters->count + count > SHOAL_LETTERS_MAX ||
        letters->bytes + bytes > SHOAL_LETTERS_BYTES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT,
                          "more than %d dead letters or %d bytes of them; most failed (%llu of "
                          "%zu) with: %s",
                          SHOAL_LETTERS_MAX, SHOAL_LETTERS_BYTES_MAX,
                          (unsigned long long)(cause ? cause->count : 0), letters->count,
                          cause ? cause->text : "nothing before");
    }
    return true;
}

// ---- writing

static void
pair_uint(shoal_buffer_t *out, const char *key, uint64_t value, uint32_t *pairs)
{
    shoal_write_text(out, key);
    shoal_write_uint(out, value);
    (*pairs)++;
}

static void
pair_str(shoal_buffer_t *out, const char *key, shoal_slice_t value, uint32_t *pairs)
{
    shoal_write_text(out, key);
    shoal_write_str(out, value);
    (*pairs)++;
}

static void
pair_raw(shoal_buffer_t *out, const char *key, shoal_slice_t value, uint32_t *pairs)
{
    if (value.len > 0) {
        shoal_write_text(out, key);
        shoal_write_raw(out, value);
        (*pairs)++;
    }
}

// The newest tries of those that the letter has and those that are new.
static void
write_tries(shoal_slice_t old, const shoal_letter_facts_t *facts, shoal_buffer_t *out)
{
    shoal_cursor_t cursor = shoal_cursor_over(old);
    uint32_t had = old.len > 0 ? shoal_cursor_array(&cursor) : 0;
    uint32_t total = had + facts->try_count;
    for (; total > SHOAL_LETTER_TRIES_MAX && had > 0; had--, total--) {
        shoal_cursor_skip(&cursor);
    }
    shoal_write_array(out, had + facts->try_count);
    shoal_write_raw(out, (shoal_slice_t){(const char *)cursor.at, shoal_cursor_left(&cursor)});
    shoal_write_raw(out, facts->tries);
}

// What changes when a letter fails again.
static void
write_news(const shoal_letter_facts_t *facts, shoal_slice_t old_tries, shoal_buffer_t *out,
           uint32_t *pairs)
{
    pair_uint(out, "run", facts->run, pairs);
    pair_uint(out, "class", (uint64_t)facts->why->error_class, pairs);
    pair_uint(out, "code", (uint64_t)facts->why->code, pairs);
    pair_str(out, "message", shoal_slice_of(facts->why->text), pairs);
    pair_str(out, "key", shoal_slice_of(facts->why->key), pairs);
    pair_str(out, "step", facts->step, pairs);
    pair_str(out, "worker", shoal_slice_of(facts->worker), pairs);
    pair_uint(out, "time_ms", facts->wall_ms, pairs);
    shoal_write_key(out, "attempts");
    write_tries(old_tries, facts, out);
    (*pairs)++;
}

static void
write_item(const shoal_letter_facts_t *facts, shoal_buffer_t *out, uint32_t *pairs)
{
    uint32_t inner = 0;
    shoal_write_key(out, "item");
    size_t mark = shoal_write_map_later(out);
    pair_uint(out, "stage", facts->item_stage, &inner);
    pair_uint(out, "cost", facts->item_cost_us, &inner);
    pair_raw(out, "expects", facts->item_expects, &inner);
    pair_raw(out, "scopes", facts->item_scopes, &inner);
    pair_raw(out, "args", facts->item_args, &inner);
    shoal_write_count_now(out, mark, inner);
    (*pairs)++;
}

static void
write_letter(uint64_t number, const shoal_letter_facts_t *facts, shoal_buffer_t *out)
{
    uint32_t pairs = 0;
    size_t mark = shoal_write_map_later(out);
    pair_uint(out, "letter", number, &pairs);
    pair_str(out, "kind", shoal_slice_of(kind_names[facts->kind]), &pairs);
    write_news(facts, SHOAL_SLICE_NONE, out, &pairs);
    pair_str(out, "stage", shoal_slice_of(facts->stage), &pairs);
    pair_str(out, "title", facts->title, &pairs);
    pair_str(out, "name", facts->name, &pairs);
    pair_str(out, "type", facts->type, &pairs);
    pair_str(out, "scope", facts->scope_name, &pairs);
    pair_str(out, "of", facts->scope_of, &pairs);
    pair_uint(out, "scope_number", facts->scope, &pairs);
    pair_uint(out, "origin", facts->origin, &pairs);
    pair_uint(out, "needs", facts->needs, &pairs);
    if (facts->is_redacted) {
        shoal_write_key(out, "redacted");
        shoal_write_bool(out, true);
        pairs++;
    }
    if (facts->record_bytes > 0) {
        pair_uint(out, "record_bytes", facts->record_bytes, &pairs);
    }
    pair_raw(out, "record", facts->record, &pairs);
    if (facts->kind != SHOAL_LETTER_RECORD) {
        write_item(facts, out, &pairs);
    }
    shoal_write_count_now(out, mark, pairs);
}

static void
bytes_set(shoal_letters_t *letters, shoal_letter_t *letter, shoal_buffer_t *bytes)
{
    letters->bytes += bytes->len - letter->len;
    *letters->all_bytes += bytes->len - letter->len;
    letter->bytes = shoal_realloc(letter->bytes, bytes->len);
    memcpy(letter->bytes, bytes->ptr, bytes->len);
    letter->len = bytes->len;
    shoal_buffer_fini(bytes);
}

static shoal_letter_t *
letter_insert(shoal_letters_t *letters, uint64_t number, shoal_buffer_t *bytes)
{
    if (letters->count == letters->size) {
        letters->size = letters->size ? letters->size * 2 : 16;
        letters->items = shoal_realloc(letters->items, letters->size * sizeof(shoal_letter_t *));
    }
    size_t index = index_of(letters, number);
    memmove(&letters->items[index + 1], &letters->items[index],
            (letters->count - index) * sizeof(shoal_letter_t *));
    shoal_letter_t *letter = shoal_alloc(sizeof(*letter));
    letters->items[index] = letter;
    letters->count++;
    letters->last = number > letters->last ? number : letters->last;
    letter->number = number;
    letters->bytes += OVERHEAD_BYTES;
    *letters->all_bytes += OVERHEAD_BYTES;
    bytes_set(letters, letter, bytes);
    return letter;
}

shoal_letter_t *
shoal_letters_add(shoal_letters_t *letters, const shoal_letter_facts_t *facts,
                  shoal_status_t *status)
{
    shoal_buffer_t bytes = SHOAL_BUFFER_INIT;
    write_letter(letters->last + 1, facts, &bytes);
    if (!shoal_letters_fit(letters, 1, bytes.len, status)) {
        shoal_buffer_fini(&bytes);
        return NULL;
    }
    shoal_letter_t *letter = letter_insert(letters, letters->last + 1, &bytes);
    letter->kind = facts->kind;
    letter->scope = facts->scope;
    letter->needs = facts->needs;
    letter->origin = facts->origin;
    cause_count(letters, facts->why);
    if (letters->hooks && letters->hooks->put) {
        letters->hooks->put(letters->hooks->ctx, letters->job, letter);
    }
    return letter;
}

static bool
is_news(shoal_slice_t key)
{
    static const char *const keys[] = {"run",  "class",  "code",    "message", "key",
                                       "step", "worker", "time_ms", "attempts"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (shoal_slice_is(key, keys[i])) {
            return true;
        }
    }
    return false;
}

// Copies the pairs of the letter's map for which `leaves` is false.
static void
copy_pairs(const shoal_letter_t *letter, bool (*leaves)(shoal_slice_t key), shoal_buffer_t *out,
           uint32_t *pairs)
{
    shoal_cursor_t cursor = shoal_cursor_over((shoal_slice_t){letter->bytes, letter->len});
    uint32_t count = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < count; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        shoal_slice_t value = shoal_cursor_value(&cursor);
        if (!leaves(key)) {
            shoal_write_str(out, key);
            shoal_write_raw(out, value);
            (*pairs)++;
        }
    }
    assert(!cursor.is_bad); // we wrote it, or looked at it
}

void
shoal_letters_grow(shoal_letters_t *letters, shoal_letter_t *letter,
                   const shoal_letter_facts_t *facts)
{
    shoal_letter_facts_t news = *facts;
    shoal_buffer_t bytes = SHOAL_BUFFER_INIT;
    uint32_t pairs = 0;
    if (news.step.len == 0) {
        news.step = shoal_letter_text(letter, "step");
    }
    size_t mark = shoal_write_map_later(&bytes);
    write_news(&news, shoal_letter_part(letter, "attempts"), &bytes, &pairs);
    copy_pairs(letter, is_news, &bytes, &pairs);
    shoal_write_count_now(&bytes, mark, pairs);
    bytes_set(letters, letter, &bytes);
    if (letters->hooks && letters->hooks->put) {
        letters->hooks->put(letters->hooks->ctx, letters->job, letter);
    }
}

void
shoal_letters_remove(shoal_letters_t *letters, uint64_t number)
{
    size_t index = index_of(letters, number);
    if (index == letters->count || letters->items[index]->number != number) {
        return;
    }
    letter_free(letters, letters->items[index]);
    letters->count--;
    memmove(&letters->items[index], &letters->items[index + 1],
            (letters->count - index) * sizeof(shoal_letter_t *));
    if (letters->hooks && letters->hooks->drop) {
        letters->hooks->drop(letters->hooks->ctx, letters->job, number);
    }
}

// ---- reading

shoal_slice_t
shoal_letter_part(const shoal_letter_t *letter, const char *key)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    (void)shoal_map_find((shoal_slice_t){letter->bytes, letter->len}, key, &value);
    return value;
}

shoal_slice_t
shoal_letter_item(const shoal_letter_t *letter, const char *key)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    (void)shoal_map_find(shoal_letter_part(letter, "item"), key, &value);
    return value;
}

shoal_slice_t
shoal_letter_text(const shoal_letter_t *letter, const char *key)
{
    shoal_cursor_t cursor = shoal_cursor_over(shoal_letter_part(letter, key));
    return shoal_cursor_str(&cursor);
}

uint64_t
shoal_letter_number(shoal_slice_t value)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    return shoal_cursor_uint(&cursor);
}

static bool
is_inner(shoal_slice_t key)
{
    static const char *const keys[] = {"item", "origin", "scope_number"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (shoal_slice_is(key, keys[i])) {
            return true;
        }
    }
    return false;
}

static bool
is_long(shoal_slice_t key)
{
    return is_inner(key) || shoal_slice_is(key, "record") || shoal_slice_is(key, "attempts");
}

void
shoal_letter_show(const shoal_letter_t *letter, bool is_whole, shoal_buffer_t *out)
{
    uint32_t pairs = 0;
    size_t mark = shoal_write_map_later(out);
    copy_pairs(letter, is_whole ? is_inner : is_long, out, &pairs);
    if (letter->taken > 0) {
        pair_uint(out, "retried_by", letter->taken, &pairs);
    }
    shoal_write_count_now(out, mark, pairs);
}

// A map whose keys are texts, as copy_pairs() wants it.
static bool
is_sound(shoal_slice_t bytes)
{
    if (!shoal_cursor_check(bytes, DEPTH_MAX)) {
        return false;
    }
    shoal_cursor_t cursor = shoal_cursor_over(bytes);
    uint32_t count = shoal_cursor_map(&cursor);
    for (uint32_t i = 0; i < count; i++) {
        (void)shoal_cursor_str(&cursor);
        shoal_cursor_skip(&cursor);
    }
    return shoal_cursor_is_done(&cursor);
}

bool
shoal_letters_restore(shoal_letters_t *letters, shoal_slice_t bytes, shoal_status_t *status)
{
    shoal_letter_t read = {.bytes = shoal_alloc(bytes.len), .len = bytes.len};
    memcpy(read.bytes, bytes.ptr, bytes.len);
    uint64_t number = shoal_letter_number(shoal_letter_part(&read, "letter"));
    shoal_slice_t name = shoal_letter_text(&read, "kind");
    size_t kind = 0;
    while (kind < SHOAL_LETTER_SHARD && !shoal_slice_is(name, kind_names[kind])) {
        kind++;
    }
    bool is_good = is_sound(bytes) && number > 0 && shoal_slice_is(name, kind_names[kind]) &&
                   !shoal_letters_find(letters, number);
    if (is_good) {
        shoal_buffer_t copy = SHOAL_BUFFER_INIT;
        shoal_status_t why = SHOAL_STATUS_INIT;
        shoal_buffer_append_slice(&copy, bytes);
        shoal_letter_t *letter = letter_insert(letters, number, &copy);
        letter->kind = (shoal_letter_kind_t)kind;
        letter->scope = (uint32_t)shoal_letter_number(shoal_letter_part(letter, "scope_number"));
        letter->needs = shoal_letter_number(shoal_letter_part(letter, "needs"));
        letter->origin = shoal_letter_number(shoal_letter_part(letter, "origin"));
        (void)shoal_fail_as(
            &why, shoal_error_class_from(shoal_letter_number(shoal_letter_part(letter, "class"))),
            shoal_code_from(shoal_letter_number(shoal_letter_part(letter, "code"))), "%.*s",
            SHOAL_SLICE_ARGS(shoal_letter_text(letter, "message")));
        cause_count(letters, &why);
    }
    free(read.bytes);
    return is_good || shoal_fail(status, SHOAL_IO, "a dead letter of job %llu is malformed",
                                 (unsigned long long)letters->job);
}
