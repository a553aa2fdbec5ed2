// SPDX-License-Identifier: Apache-2.0
//
// message.c - see message.h.
//
// Design: messages.def becomes one table of fields a message; encode and decode walk the table.
// A decoder expects the keys in the table's order, which is how every known encoder writes them,
// and searches only when a key is not the expected one.

#include "proto/wire/message.h"

#include <assert.h>

#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define U32  UINT32_MAX
#define U64  UINT64_MAX
#define MUST true
#define MAY  false
#define NONE false

// The fields of each message: fields_hello[], ...
#define MESSAGE(NAME, name, number, senders, payload)                                              \
    static const shoal_field_info_t fields_##name[] = {
#define FIELD(name, kind, field, need, limit)                                                      \
    {#field, sizeof(#field) - 1, SHOAL_KIND_##kind,                                                \
     need,   (uint64_t)(limit),  offsetof(shoal_message_t, name.field)},
#define END(NAME, name)                                                                            \
    }                                                                                              \
    ;
#include "proto/wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

enum { HEAD = SHOAL_FROM_HEAD, WORKER = SHOAL_FROM_WORKER, CLIENT = SHOAL_FROM_CLIENT };

static const shoal_message_info_t dictionary[] = {
#define MESSAGE(NAME, name, number, senders, payload)                                              \
    {SHOAL_MSG_##NAME, #NAME, senders, payload, sizeof(fields_##name) / sizeof(fields_##name[0]),  \
     fields_##name},
#define FIELD(name, kind, field, need, limit)
#define END(NAME, name)
#include "proto/wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};

// Where each message stands in the dictionary.
enum {
#define MESSAGE(NAME, name, number, senders, payload) INDEX_##NAME,
#define FIELD(name, kind, field, need, limit)
#define END(NAME, name)
#include "proto/wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};

// NULL for a number that no message has.
static const shoal_message_info_t *
info_of(int type)
{
    switch (type) {
#define MESSAGE(NAME, name, number, senders, payload)                                              \
    case (number):                                                                                 \
        return &dictionary[INDEX_##NAME];
#define FIELD(name, kind, field, need, limit)
#define END(NAME, name)
#include "proto/wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
    default: return NULL;
    }
}

void
shoal_header_encode(shoal_message_type_t type, unsigned char header[SHOAL_WIRE_HEADER_SIZE])
{
    header[0] = SHOAL_WIRE_MAGIC_0;
    header[1] = SHOAL_WIRE_MAGIC_1;
    header[2] = SHOAL_WIRE_MAJOR;
    header[3] = SHOAL_WIRE_MINOR;
    header[4] = (unsigned char)((unsigned)type >> 8);
    header[5] = (unsigned char)type;
    header[6] = 0;
    header[7] = 0;
}

bool
shoal_header_decode(shoal_slice_t header, shoal_message_type_t *ret_type, uint8_t *ret_minor,
                    shoal_status_t *status)
{
    const unsigned char *bytes = (const unsigned char *)header.ptr;
    if (header.len != SHOAL_WIRE_HEADER_SIZE) {
        return shoal_fail(status, SHOAL_PROTOCOL,
                          "cannot read a message: its header frame must have %d bytes, got %zu",
                          SHOAL_WIRE_HEADER_SIZE, header.len);
    }
    if (bytes[0] != SHOAL_WIRE_MAGIC_0 || bytes[1] != SHOAL_WIRE_MAGIC_1) {
        return shoal_fail(status, SHOAL_PROTOCOL,
                          "cannot read a message: its header does not start with \"SH\", "
                          "so the sender does not speak this protocol");
    }
    int number = bytes[4] << 8 | bytes[5];
    if (bytes[2] != SHOAL_WIRE_MAJOR) {
        return shoal_fail(status, SHOAL_UNSUPPORTED,
                          "the peer speaks protocol %u, this side speaks %u: "
                          "install the same major version on both",
                          bytes[2], SHOAL_WIRE_MAJOR);
    }
    *ret_minor = bytes[3];
    *ret_type = (shoal_message_type_t)number;
    if (!info_of(number)) {
        return shoal_fail(status, SHOAL_UNSUPPORTED, "message %d is unknown to protocol %u.%u",
                          number, SHOAL_WIRE_MAJOR, SHOAL_WIRE_MINOR);
    }
    return true;
}

bool
shoal_header_is_ours(shoal_slice_t header)
{
    return header.len == SHOAL_WIRE_HEADER_SIZE &&
           (unsigned char)header.ptr[0] == SHOAL_WIRE_MAGIC_0 &&
           (unsigned char)header.ptr[1] == SHOAL_WIRE_MAGIC_1 &&
           (unsigned char)header.ptr[2] == SHOAL_WIRE_MAJOR;
}

// True if the field is to be written.
static bool
field_is_set(const shoal_field_info_t *field, const void *at)
{
    if (field->is_required) {
        return true;
    }
    switch (field->kind) {
    case SHOAL_KIND_UINT: return *(const uint64_t *)at != 0;
    case SHOAL_KIND_FLAG: return *(const bool *)at;
    case SHOAL_KIND_TEXT:
    case SHOAL_KIND_ANY: return ((const shoal_slice_t *)at)->len > 0;
    default: return false;
    }
}

static void
field_encode(const shoal_field_info_t *field, const void *at, shoal_buffer_t *out)
{
    shoal_write_str(out, (shoal_slice_t){field->name, field->name_len});
    const shoal_slice_t *slice = at;
    switch (field->kind) {
    case SHOAL_KIND_UINT:
        assert(*(const uint64_t *)at <= field->limit);
        shoal_write_uint(out, *(const uint64_t *)at);
        break;
    case SHOAL_KIND_FLAG: shoal_write_bool(out, *(const bool *)at); break;
    case SHOAL_KIND_TEXT:
        shoal_write_str(out, (shoal_slice_t){slice->ptr, shoal_utf8_cut(*slice, field->limit)});
        break;
    case SHOAL_KIND_ANY:
        assert(slice->len > 0 && slice->len <= field->limit);
        shoal_write_raw(out, *slice);
        break;
    default: break;
    }
}

void
shoal_body_encode(const shoal_message_t *message, shoal_buffer_t *out)
{
    const shoal_message_info_t *info = info_of((int)message->type);
    assert(info);
    uint32_t count = 0;
    for (size_t i = 0; i < info->field_count; i++) {
        count += field_is_set(&info->fields[i], (const char *)message + info->fields[i].offset);
    }
    shoal_write_map(out, count);
    for (size_t i = 0; i < info->field_count; i++) {
        const void *at = (const char *)message + info->fields[i].offset;
        if (field_is_set(&info->fields[i], at)) {
            field_encode(&info->fields[i], at, out);
        }
    }
}

static bool
field_too_large(const shoal_field_info_t *field, uint64_t value, shoal_status_t *status)
{
    return shoal_fail(status, SHOAL_LIMIT, "field \"%s\" is at most %llu, got %llu", field->name,
                      (unsigned long long)field->limit, (unsigned long long)value);
}

static bool
field_decode(const shoal_field_info_t *field, shoal_cursor_t *cursor, void *at,
             shoal_status_t *status)
{
    shoal_slice_t *slice = at;
    switch (field->kind) {
    case SHOAL_KIND_UINT: {
        uint64_t value = shoal_cursor_uint(cursor);
        if (!cursor->is_bad && value > field->limit) {
            return field_too_large(field, value, status);
        }
        *(uint64_t *)at = value;
        break;
    }
    case SHOAL_KIND_FLAG: *(bool *)at = shoal_cursor_bool(cursor); break;
    case SHOAL_KIND_TEXT:
        *slice = shoal_cursor_str(cursor);
        if (slice->len > field->limit) {
            return field_too_large(field, slice->len, status);
        }
        break;
    case SHOAL_KIND_ANY:
        *slice = shoal_cursor_value(cursor);
        if (slice->len > field->limit) {
            return field_too_large(field, slice->len, status);
        }
        if (!cursor->is_bad && !shoal_cursor_check(*slice, SHOAL_VALUE_DEPTH_MAX)) {
            return shoal_fail(status, SHOAL_LIMIT,
                              "field \"%s\" is malformed or nested deeper than %d", field->name,
                              SHOAL_VALUE_DEPTH_MAX);
        }
        break;
    default: break;
    }
    if (cursor->is_bad) {
        return shoal_fail(status, SHOAL_PROTOCOL, "field \"%s\" is malformed or of another kind",
                          field->name);
    }
    return true;
}

// The index of the field called `key`, tried first at `expected`; -1: not in this message.
static int
field_find(const shoal_message_info_t *info, size_t expected, shoal_slice_t key)
{
    for (size_t n = 0; n < info->field_count; n++) {
        size_t i = (expected + n) % info->field_count;
        const shoal_field_info_t *field = &info->fields[i];
        if (field->name_len == key.len && memcmp(field->name, key.ptr, key.len) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool
fields_decode(const shoal_message_info_t *info, shoal_slice_t body, shoal_message_t *message,
              shoal_status_t *status)
{
    shoal_cursor_t cursor = shoal_cursor_over(body);
    uint32_t pairs = shoal_cursor_map(&cursor);
    if (cursor.is_bad) {
        return shoal_fail(status, SHOAL_PROTOCOL, "its body must be one msgpack map");
    }
    if (pairs > SHOAL_BODY_FIELDS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "its body has %u keys, at most %d are read", pairs,
                          SHOAL_BODY_FIELDS_MAX);
    }
    uint64_t seen = 0; // a bit for each field
    size_t expected = 0;
    for (uint32_t i = 0; i < pairs; i++) {
        shoal_slice_t key = shoal_cursor_str(&cursor);
        if (cursor.is_bad) {
            return shoal_fail(status, SHOAL_PROTOCOL, "a key of its body is malformed");
        }
        int index = field_find(info, expected, key);
        if (index < 0) {
            shoal_slice_t value = shoal_cursor_value(&cursor);
            if (!cursor.is_bad && !shoal_cursor_check(value, SHOAL_VALUE_DEPTH_MAX)) {
                return shoal_fail(status, SHOAL_LIMIT,
                                  "a key of its body is malformed or nested deeper than %d",
                                  SHOAL_VALUE_DEPTH_MAX);
            }
            continue;
        }
        expected = (size_t)index + 1;
        if (seen & (UINT64_C(1) << index)) {
            return shoal_fail(status, SHOAL_PROTOCOL, "field \"%s\" stands twice",
                              info->fields[index].name);
        }
        seen |= UINT64_C(1) << index;
        void *at = (char *)message + info->fields[index].offset;
        if (!field_decode(&info->fields[index], &cursor, at, status)) {
            return false;
        }
    }
    if (!shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_PROTOCOL, "its body is malformed or has bytes to spare");
    }
    for (size_t i = 0; i < info->field_count; i++) {
        if (info->fields[i].is_required && !(seen & (UINT64_C(1) << i))) {
            return shoal_fail(status, SHOAL_PROTOCOL, "field \"%s\" is missing",
                              info->fields[i].name);
        }
    }
    return true;
}

bool
shoal_body_decode(shoal_slice_t body, shoal_message_t *message, shoal_status_t *status)
{
    const shoal_message_info_t *info = info_of((int)message->type);
    assert(info && info->field_count < 64);
    shoal_message_t read = {.type = message->type, .minor = message->minor};
    if (!fields_decode(info, body, &read, status)) {
        return shoal_fail_while(status, "cannot read %s", info->name);
    }
    *message = read;
    return true;
}

const char *
shoal_message_name(int type)
{
    const shoal_message_info_t *info = info_of(type);
    return info ? info->name : "?";
}

bool
shoal_message_is_known(int type)
{
    return info_of(type) != NULL;
}

bool
shoal_message_has_payload(shoal_message_type_t type)
{
    const shoal_message_info_t *info = info_of((int)type);
    return info && info->has_payload;
}

unsigned
shoal_message_senders(shoal_message_type_t type)
{
    const shoal_message_info_t *info = info_of((int)type);
    return info ? info->senders : 0;
}

const shoal_message_info_t *
shoal_message_dictionary(size_t *ret_count)
{
    *ret_count = sizeof(dictionary) / sizeof(dictionary[0]);
    return dictionary;
}
