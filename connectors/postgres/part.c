// SPDX-License-Identifier: Apache-2.0
//
// part.c - see part.h.

#include "connectors/postgres/part.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

// [database, next scope, next shard] and, inside of a database, [scope, prepare, from schema, from
// table, [number, 0: failed, else tables + 1, ...]] as the fourth.
#define OUTSIDE_FIELDS 3
#define INSIDE_FIELDS  5

void
shoal_pg_part_write(const shoal_pg_part_t *part, shoal_buffer_t *out)
{
    shoal_write_array(out, part->is_inside ? OUTSIDE_FIELDS + 1 : OUTSIDE_FIELDS);
    shoal_write_uint(out, part->database);
    shoal_write_uint(out, part->next_scope);
    shoal_write_uint(out, part->next_shard);
    if (!part->is_inside) {
        return;
    }
    shoal_write_array(out, INSIDE_FIELDS);
    shoal_write_uint(out, part->scope);
    shoal_write_uint(out, part->prepare);
    shoal_write_uint(out, part->from_schema);
    shoal_write_uint(out, part->from_table);
    shoal_write_array(out, 2 * part->schema_count);
    for (uint32_t i = 0; i < part->schema_count; i++) {
        shoal_write_uint(out, part->schemas[i].number);
        shoal_write_uint(out, part->schemas[i].is_failed ? 0 : part->schemas[i].told + 1);
    }
}

static uint32_t
read_uint32(shoal_cursor_t *cursor)
{
    uint64_t value = shoal_cursor_uint(cursor);
    if (value > UINT32_MAX) {
        cursor->is_bad = true;
        return 0;
    }
    return (uint32_t)value;
}

static void
read_inside(shoal_cursor_t *cursor, shoal_pg_part_t *part)
{
    cursor->is_bad = shoal_cursor_array(cursor) != INSIDE_FIELDS || cursor->is_bad;
    part->is_inside = true;
    part->scope = read_uint32(cursor);
    part->prepare = read_uint32(cursor);
    part->from_schema = read_uint32(cursor);
    part->from_table = read_uint32(cursor);
    uint32_t numbers = shoal_cursor_array(cursor);
    if (cursor->is_bad || numbers % 2 != 0 || numbers > 2 * SHOAL_PG_PART_SCHEMAS_MAX) {
        cursor->is_bad = true;
        return;
    }
    part->schema_count = numbers / 2;
    part->schemas = shoal_alloc((part->schema_count + 1) * sizeof(*part->schemas));
    for (uint32_t i = 0; i < part->schema_count; i++) {
        uint32_t number = read_uint32(cursor);
        uint64_t told = shoal_cursor_uint(cursor);
        part->schemas[i] = (shoal_pg_part_schema_t){number, told == 0, told > 0 ? told - 1 : 0};
    }
}

bool
shoal_pg_part_read(shoal_slice_t value, shoal_pg_part_t *part, shoal_status_t *status)
{
    *part = (shoal_pg_part_t){.next_shard = 1};
    if (value.len == 0) {
        return true;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t fields = shoal_cursor_array(&cursor);
    bool is_right = fields == OUTSIDE_FIELDS || fields == OUTSIDE_FIELDS + 1;
    part->database = read_uint32(&cursor);
    part->next_scope = read_uint32(&cursor);
    part->next_shard = read_uint32(&cursor);
    if (is_right && fields > OUTSIDE_FIELDS && !cursor.is_bad) {
        read_inside(&cursor, part);
    }
    if (!is_right || !shoal_cursor_is_done(&cursor)) {
        shoal_pg_part_fini(part);
        return shoal_fail(status, SHOAL_PROTOCOL, "the cursor of a discovery cannot be read");
    }
    return true;
}

void
shoal_pg_part_fini(shoal_pg_part_t *part)
{
    free(part->schemas);
    *part = (shoal_pg_part_t){.schemas = NULL};
}

void
shoal_pg_part_leave(shoal_pg_part_t *part)
{
    free(part->schemas);
    *part = (shoal_pg_part_t){
        .database = part->database, .next_scope = part->next_scope, .next_shard = part->next_shard};
}

shoal_pg_part_schema_t *
shoal_pg_part_schema(const shoal_pg_part_t *part, uint32_t number)
{
    uint32_t low = 0;
    for (uint32_t high = part->schema_count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (part->schemas[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_found = low < part->schema_count && part->schemas[low].number == number;
    return is_found ? &part->schemas[low] : NULL;
}
