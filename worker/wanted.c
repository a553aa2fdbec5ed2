// SPDX-License-Identifier: Apache-2.0
//
// wanted.c - see wanted.h.

#include "worker/wanted.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/fqn.h"

bool
shoal_wanted_read(shoal_wanted_t *wanted, shoal_slice_t letters, shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(letters);
    uint32_t count = shoal_cursor_array(&cursor);
    if (cursor.is_bad || count > SHOAL_WANTED_MAX) {
        return shoal_fail(status, SHOAL_PROTOCOL, "\"letters\" must be an array of at most %d",
                          SHOAL_WANTED_MAX);
    }
    *wanted = (shoal_wanted_t){.items = shoal_alloc((count + 1) * sizeof(*wanted->items))};
    for (uint32_t i = 0; i < count; i++) {
        shoal_wanted_item_t *item = &wanted->items[i];
        uint32_t parts = shoal_cursor_array(&cursor);
        item->letter = shoal_cursor_uint(&cursor);
        item->scope = (uint32_t)shoal_cursor_uint(&cursor);
        item->name = shoal_cursor_str(&cursor);
        cursor.is_bad = cursor.is_bad || parts != 3;
    }
    wanted->count = count;
    if (!shoal_cursor_is_done(&cursor)) {
        shoal_wanted_fini(wanted);
        return shoal_fail(status, SHOAL_PROTOCOL,
                          "\"letters\" must be an array of [letter, scope, name]");
    }
    return true;
}

void
shoal_wanted_fini(shoal_wanted_t *wanted)
{
    free(wanted->items);
    *wanted = (shoal_wanted_t){0};
}

shoal_wanted_item_t *
shoal_wanted_find(const shoal_wanted_t *wanted, uint32_t scope, shoal_slice_t name)
{
    for (size_t i = 0; i < wanted->count; i++) {
        shoal_wanted_item_t *item = &wanted->items[i];
        if (!item->is_seen && item->scope == scope && shoal_slice_equal(item->name, name)) {
            return item;
        }
    }
    return NULL;
}

static bool
text_of(shoal_slice_t record, const char *key, shoal_slice_t *ret_text)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (!shoal_map_find(record, key, &value)) {
        return false;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    *ret_text = shoal_cursor_str(&cursor);
    return !cursor.is_bad;
}

void
shoal_record_fqn(shoal_slice_t record, shoal_buffer_t *out)
{
    static const char *const parents[] = {"databaseSchema", "database", "service"};
    shoal_slice_t name = SHOAL_SLICE_NONE;
    shoal_slice_t parent = SHOAL_SLICE_NONE;
    if (!text_of(record, "name", &name)) {
        return;
    }
    for (size_t i = 0; i < sizeof(parents) / sizeof(parents[0]) && parent.len == 0; i++) {
        if (!text_of(record, parents[i], &parent)) {
            parent = SHOAL_SLICE_NONE;
        }
    }
    shoal_buffer_t fqn = SHOAL_BUFFER_INIT;
    shoal_buffer_append_slice(&fqn, parent);
    shoal_fqn_append(&fqn, name);
    shoal_buffer_append_slice(out, shoal_buffer_slice(&fqn));
    shoal_buffer_fini(&fqn);
}

shoal_wanted_item_t *
shoal_wanted_find_record(const shoal_wanted_t *wanted, uint32_t scope, shoal_slice_t record)
{
    shoal_buffer_t fqn = SHOAL_BUFFER_INIT;
    shoal_record_fqn(record, &fqn);
    shoal_wanted_item_t *item = shoal_wanted_find(wanted, scope, shoal_buffer_slice(&fqn));
    shoal_buffer_fini(&fqn);
    static const char *const names[] = {"name", "displayName"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !item; i++) {
        shoal_slice_t name = SHOAL_SLICE_NONE;
        item = text_of(record, names[i], &name) ? shoal_wanted_find(wanted, scope, name) : NULL;
    }
    return item;
}
