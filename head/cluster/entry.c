// SPDX-License-Identifier: Apache-2.0
//
// entry.c - see entry.h.

#include "head/cluster/entry.h"

#include <assert.h>

#include "proto/record/writer.h"

#define FIELDS_MAX 9

typedef enum field_kind {
    FIELD_NONE, // the end of a shape
    FIELD_UINT, // 64 bits
    FIELD_WORD, // 32 bits
    FIELD_TEXT,
    FIELD_BYTES,
    FIELD_MORE, // bytes that an older entry ends before, as one does that has none
} field_kind_t;

typedef struct field {
    field_kind_t kind;
    size_t at; // in shoal_entry_t
} field_t;

#define UINT(field)                                                                                \
    {                                                                                              \
        FIELD_UINT, offsetof(shoal_entry_t, field)                                                 \
    }
#define WORD(field)                                                                                \
    {                                                                                              \
        FIELD_WORD, offsetof(shoal_entry_t, field)                                                 \
    }
#define TEXT(field)                                                                                \
    {                                                                                              \
        FIELD_TEXT, offsetof(shoal_entry_t, field)                                                 \
    }
#define BYTES(field)                                                                               \
    {                                                                                              \
        FIELD_BYTES, offsetof(shoal_entry_t, field)                                                \
    }

#define MORE(field)                                                                                \
    {                                                                                              \
        FIELD_MORE, offsetof(shoal_entry_t, field)                                                 \
    }

// What follows the kind. MORE can only be the last.
// clang-format off
static const field_t shapes[SHOAL_ENTRY_KIND_END][FIELDS_MAX + 1] = {
    [SHOAL_ENTRY_WORKER]  = {UINT(worker), TEXT(id), UINT(incarnation), TEXT(name), MORE(bytes)},
    [SHOAL_ENTRY_BEGUN]   = {UINT(at_ms)},
    [SHOAL_ENTRY_START]   = {WORD(shard), WORD(attempt), UINT(worker)},
    [SHOAL_ENTRY_ITEMS]   = {WORD(attempt), BYTES(bytes)},
    [SHOAL_ENTRY_DONE]    = {WORD(shard), WORD(attempt), UINT(batches), UINT(records), BYTES(bytes)},
    [SHOAL_ENTRY_FAILED]  = {WORD(shard), WORD(attempt), WORD(end), WORD(error_class), WORD(code),
                             TEXT(text), TEXT(key), UINT(chance), UINT(at_ms)},
    [SHOAL_ENTRY_CRASHED] = {WORD(shard), WORD(attempt), WORD(alone), TEXT(text), TEXT(key),
                             TEXT(id), TEXT(name), UINT(at_ms)},
    [SHOAL_ENTRY_RUN]     = {BYTES(bytes)},
};
// clang-format on

// Elements behind the kind, of an entry with MORE or one without.
static uint32_t
shape_length(const field_t *shape, bool has_more)
{
    uint32_t count = 0;
    while (shape[count].kind != FIELD_NONE && (has_more || shape[count].kind != FIELD_MORE)) {
        count++;
    }
    return count;
}

void
shoal_entry_write(shoal_buffer_t *out, const shoal_entry_t *entry)
{
    assert(entry->kind > 0 && entry->kind < SHOAL_ENTRY_KIND_END);
    const field_t *shape = shapes[entry->kind];
    uint32_t length = shape_length(shape, entry->bytes.len > 0);
    shoal_write_array(out, 1 + length);
    shoal_write_uint(out, (uint64_t)entry->kind);
    for (; length > 0; shape++, length--) {
        const char *at = (const char *)entry + shape->at;
        uint64_t number = 0;
        shoal_slice_t slice = SHOAL_SLICE_NONE;
        if (shape->kind == FIELD_UINT || shape->kind == FIELD_WORD) {
            memcpy(&number, at, sizeof(number));
            shoal_write_uint(out, number);
            continue;
        }
        memcpy(&slice, at, sizeof(slice));
        if (shape->kind == FIELD_TEXT) {
            shoal_write_str(out, slice);
        } else {
            shoal_write_bin(out, slice);
        }
    }
}

// Reads one element into its field; a number beyond its range makes the cursor bad.
static void
field_read(shoal_cursor_t *cursor, const field_t *field, shoal_entry_t *entry)
{
    char *at = (char *)entry + field->at;
    if (field->kind == FIELD_UINT || field->kind == FIELD_WORD) {
        uint64_t number = shoal_cursor_uint(cursor);
        if (field->kind == FIELD_WORD && number > UINT32_MAX) {
            cursor->is_bad = true;
            return;
        }
        memcpy(at, &number, sizeof(number));
        return;
    }
    shoal_slice_t slice =
        field->kind == FIELD_TEXT ? shoal_cursor_str(cursor) : shoal_cursor_bin(cursor);
    memcpy(at, &slice, sizeof(slice));
}

bool
shoal_entry_read(shoal_slice_t log, size_t *at, shoal_entry_t *ret_entry, shoal_status_t *status)
{
    assert(*at < log.len);
    shoal_cursor_t cursor = shoal_cursor_over((shoal_slice_t){log.ptr + *at, log.len - *at});
    uint32_t count = shoal_cursor_array(&cursor);
    uint64_t kind = shoal_cursor_uint(&cursor);
    if (cursor.is_bad || kind == 0 || kind >= SHOAL_ENTRY_KIND_END) {
        return shoal_fail(status, SHOAL_IO, "no entry of the log begins at byte %zu", *at);
    }
    const field_t *shape = shapes[kind];
    shoal_entry_t entry = {.kind = (shoal_entry_kind_t)kind};
    if (count != 1 + shape_length(shape, true) && count != 1 + shape_length(shape, false)) {
        return shoal_fail(status, SHOAL_IO, "the entry %s at byte %zu has %u elements",
                          shoal_entry_name((int)kind), *at, count);
    }
    for (; count > 1 && !cursor.is_bad; shape++, count--) {
        field_read(&cursor, shape, &entry);
    }
    if (cursor.is_bad) {
        return shoal_fail(status, SHOAL_IO, "the entry %s at byte %zu is malformed",
                          shoal_entry_name((int)kind), *at);
    }
    *at = (size_t)((const char *)cursor.at - log.ptr);
    *ret_entry = entry;
    return true;
}

const char *
shoal_entry_name(int kind)
{
    static const char *const names[SHOAL_ENTRY_KIND_END] = {
#define X(name, number) [SHOAL_ENTRY_##name] = #name,
        SHOAL_ENTRY_KINDS(X)
#undef X
    };
    return kind > 0 && kind < SHOAL_ENTRY_KIND_END ? names[kind] : "?";
}
