// SPDX-License-Identifier: Apache-2.0
//
// test_message.c - every message of proto/wire/messages.def through the codec of
// proto/wire/message.h: round trip, golden frames, truncation, limits, malformed bodies.
//
// The golden frames are tests/proto/golden/NAME.hex: two lines of hex, header and body of the
// message with every field set as sample() sets it. They change only with the protocol; with
// SHOAL_GOLDEN=write the test writes them anew.

#include <ctype.h>

#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "proto/wire/message.h"
#include "tests/support/test.h"

static const char any_value[] =
    "\x82\xa1"
    "a\x93\x01\xc0\xa1x\xa1"
    "b\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"; // {"a": [1, nil, "x"], "b": 1.5}

static void *
field_at(shoal_message_t *message, const shoal_field_info_t *field)
{
    return (char *)message + field->offset;
}

// What a sample has in a field: numbers by position, texts that name their field.
static void
sample_field(shoal_message_t *message, const shoal_field_info_t *field, size_t index)
{
    void *at = field_at(message, field);
    shoal_slice_t *slice = at;
    switch (field->kind) {
    case SHOAL_KIND_UINT: {
        uint64_t value = UINT64_C(1) << (7 * (index + 1)) % 62;
        *(uint64_t *)at = value <= field->limit ? value : field->limit;
        break;
    }
    case SHOAL_KIND_FLAG: *(bool *)at = true; break;
    case SHOAL_KIND_TEXT:
        slice->ptr = field->name;
        slice->len = field->name_len <= field->limit ? field->name_len : (size_t)field->limit;
        break;
    case SHOAL_KIND_ANY:
    default: *slice = SHOAL_SLICE(any_value); break;
    }
}

static shoal_message_t
sample(const shoal_message_info_t *info)
{
    shoal_message_t message;
    memset(&message, 0, sizeof(message));
    message.type = info->type;
    for (size_t i = 0; i < info->field_count; i++) {
        sample_field(&message, &info->fields[i], i);
    }
    return message;
}

static bool
same_field(shoal_message_t *a, shoal_message_t *b, const shoal_field_info_t *field)
{
    const void *left = field_at(a, field);
    const void *right = field_at(b, field);
    switch (field->kind) {
    case SHOAL_KIND_UINT: return *(const uint64_t *)left == *(const uint64_t *)right;
    case SHOAL_KIND_FLAG: return *(const bool *)left == *(const bool *)right;
    case SHOAL_KIND_TEXT:
    case SHOAL_KIND_ANY:
    default: return shoal_slice_equal(*(const shoal_slice_t *)left, *(const shoal_slice_t *)right);
    }
}

static void
check_same(shoal_message_t *a, shoal_message_t *b, const shoal_message_info_t *info)
{
    CHECK(a->type == b->type);
    for (size_t i = 0; i < info->field_count; i++) {
        if (!same_field(a, b, &info->fields[i])) {
            fail_msg("%s.%s differs", info->name, info->fields[i].name);
        }
    }
}

// Calls `check` for each message of the dictionary.
static void
for_each(void (*check)(const shoal_message_info_t *info))
{
    size_t count = 0;
    const shoal_message_info_t *infos = shoal_message_dictionary(&count);
    CHECK(count >= 23);
    for (size_t i = 0; i < count; i++) {
        check(&infos[i]);
    }
}

static void
check_decodes(shoal_slice_t body, shoal_message_t *message, const shoal_message_info_t *info)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    memset(message, 0xee, sizeof(*message)); // what was there before must not shine through
    message->type = info->type;
    message->minor = 7;
    if (!shoal_body_decode(body, message, &status)) {
        fail_msg("%s: %s", info->name, status.text);
    }
    CHECK(message->minor == 7);
}

// The body is refused, `message` stays, and the sentence names the message and `word`.
static void
check_refused(shoal_slice_t body, const shoal_message_info_t *info, shoal_code_t code,
              const char *word)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_t message = {.type = info->type, .minor = 3};
    shoal_message_t before = message;
    char *exact = malloc(body.len ? body.len : 1); // so that the sanitizer sees a byte too many
    if (body.len > 0) {
        memcpy(exact, body.ptr, body.len);
    }
    CHECK_FAILS(shoal_body_decode((shoal_slice_t){exact, body.len}, &message, &status), status,
                code);
    CHECK_SAYS(status.text, info->name);
    CHECK_SAYS(status.text, word);
    CHECK(memcmp(&message, &before, sizeof(message)) == 0);
    free(exact);
}

// ---- the dictionary

static void
check_entry(const shoal_message_info_t *info)
{
    CHECK(shoal_message_is_known((int)info->type));
    assert_string_equal(shoal_message_name((int)info->type), info->name);
    CHECK(shoal_message_has_payload(info->type) == info->has_payload);
    CHECK(shoal_message_senders(info->type) == info->senders);
    CHECK(info->senders != 0 && info->field_count < 64);
    for (size_t i = 0; i < info->field_count; i++) {
        CHECK(info->fields[i].name_len == strlen(info->fields[i].name));
        for (size_t k = 0; k < i; k++) {
            CHECK(strcmp(info->fields[i].name, info->fields[k].name) != 0);
        }
        bool is_bytes =
            info->fields[i].kind == SHOAL_KIND_TEXT || info->fields[i].kind == SHOAL_KIND_ANY;
        CHECK(!is_bytes || info->fields[i].limit < SHOAL_FRAME_BYTES_MAX);
    }
}

static void
every_message_has_its_entry(void)
{
    for_each(check_entry);
    size_t count = 0;
    const shoal_message_info_t *infos = shoal_message_dictionary(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            CHECK(infos[i].type != infos[k].type && strcmp(infos[i].name, infos[k].name) != 0);
        }
    }
    CHECK(!shoal_message_is_known(0) && !shoal_message_is_known(65535));
    assert_string_equal(shoal_message_name(9999), "?");
    CHECK(shoal_message_senders((shoal_message_type_t)9999) == 0);
    CHECK(!shoal_message_has_payload((shoal_message_type_t)9999));
}

// ---- round trip

static void
check_round_trip(const shoal_message_info_t *info)
{
    shoal_message_t full = sample(info);
    shoal_message_t read;
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_body_encode(&full, &body);
    check_decodes(shoal_buffer_slice(&body), &read, info);
    check_same(&full, &read, info);
    shoal_buffer_fini(&body);

    shoal_message_t least = sample(info); // only what must be there
    for (size_t i = 0; i < info->field_count; i++) {
        if (!info->fields[i].is_required) {
            shoal_message_t none = {0};
            size_t size = info->fields[i].kind == SHOAL_KIND_FLAG   ? sizeof(bool)
                          : info->fields[i].kind == SHOAL_KIND_UINT ? sizeof(uint64_t)
                                                                    : sizeof(shoal_slice_t);
            memcpy(field_at(&least, &info->fields[i]), field_at(&none, &info->fields[i]), size);
        }
    }
    shoal_body_encode(&least, &body);
    check_decodes(shoal_buffer_slice(&body), &read, info);
    check_same(&least, &read, info);
    shoal_buffer_fini(&body);
}

static void
every_message_reads_back_as_it_was_written(void)
{
    for_each(check_round_trip);
}

static void
keys_may_come_in_any_order(void)
{
    shoal_message_t read;
    const char body[] = "\x82\xa5"
                        "bytes\x05\xa3"
                        "job\x07";
    shoal_status_t status = SHOAL_STATUS_INIT;
    read.type = SHOAL_MSG_STOP;
    CHECK_FAILS(shoal_body_decode(SHOAL_SLICE(body), &read, &status), status, SHOAL_PROTOCOL);
    const char full[] = "\x83\xa5"
                        "bytes\x05\xa6"
                        "commit\x09\xa3"
                        "job\x07";
    read.type = SHOAL_MSG_TAKEN;
    CHECK_OK(shoal_body_decode(SHOAL_SLICE(full), &read, &status), status);
    CHECK(read.taken.job == 7 && read.taken.commit == 9 && read.taken.bytes == 5);
}

// ---- golden frames

static size_t
hex_read(FILE *file, unsigned char *bytes, size_t size)
{
    size_t len = 0;
    int high = -1;
    for (int c = fgetc(file); c != EOF && c != '\n'; c = fgetc(file)) {
        if (!isxdigit(c)) {
            continue;
        }
        int digit = isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
        if (high < 0) {
            high = digit;
        } else {
            CHECK(len < size);
            bytes[len++] = (unsigned char)(high << 4 | digit);
            high = -1;
        }
    }
    return len;
}

static void
hex_write(FILE *file, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        (void)fprintf(file, "%02x", ((const unsigned char *)bytes)[i]);
    }
    (void)fputc('\n', file);
}

static void
check_golden(const shoal_message_info_t *info)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "tests/proto/golden/%s.hex", info->name);
    for (char *at = path; *at; at++) {
        *at = strncmp(at, ".hex", 4) == 0 || at < path + 19 ? *at : (char)tolower(*at);
    }
    shoal_message_t full = sample(info);
    unsigned char header[SHOAL_WIRE_HEADER_SIZE];
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_header_encode(info->type, header);
    shoal_body_encode(&full, &body);
    const char *mode = getenv("SHOAL_GOLDEN");
    if (mode && strcmp(mode, "write") == 0) {
        FILE *file = fopen(path, "w");
        CHECK(file);
        hex_write(file, header, sizeof(header));
        hex_write(file, body.ptr, body.len);
        (void)fclose(file);
    }
    FILE *file = fopen(path, "r");
    if (!file) {
        fail_msg("%s is missing", path);
        return;
    }
    unsigned char golden_header[64];
    unsigned char golden_body[4096];
    size_t header_len = hex_read(file, golden_header, sizeof(golden_header));
    size_t body_len = hex_read(file, golden_body, sizeof(golden_body));
    (void)fclose(file);
    shoal_slice_t golden = {(const char *)golden_body, body_len};
    if (header_len != sizeof(header) || memcmp(golden_header, header, header_len) != 0 ||
        !shoal_slice_equal(golden, shoal_buffer_slice(&body))) {
        fail_msg("%s is not what %s is written as", path, info->name);
    }
    shoal_message_t read;
    check_decodes(golden, &read, info);
    check_same(&full, &read, info);
    shoal_buffer_fini(&body);
}

static void
every_message_has_its_golden_frames(void)
{
    for_each(check_golden);
}

// ---- header

static void
check_header(const shoal_message_info_t *info)
{
    unsigned char header[SHOAL_WIRE_HEADER_SIZE];
    shoal_header_encode(info->type, header);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_type_t type;
    uint8_t minor = 99;
    shoal_slice_t slice = {(const char *)header, sizeof(header)};
    CHECK_OK(shoal_header_decode(slice, &type, &minor, &status), status);
    CHECK(type == info->type && minor == SHOAL_WIRE_MINOR);
    header[3] = 200; // another minor version works
    CHECK_OK(shoal_header_decode(slice, &type, &minor, &status), status);
    CHECK(type == info->type && minor == 200);
    for (size_t len = 0; len < sizeof(header); len++) {
        slice.len = len;
        CHECK_FAILS(shoal_header_decode(slice, &type, &minor, &status), status, SHOAL_PROTOCOL);
    }
}

static void
headers_read_back_and_are_refused_when_cut(void)
{
    for_each(check_header);
}

static void
strange_headers_have_different_answers(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_type_t type = SHOAL_MSG_HELLO;
    uint8_t minor = 0;
    // what is no header of ours
    CHECK_FAILS(shoal_header_decode(SHOAL_SLICE("GET / HT"), &type, &minor, &status), status,
                SHOAL_PROTOCOL);
    CHECK_SAYS(status.text, "does not speak this protocol");
    CHECK_FAILS(shoal_header_decode(SHOAL_SLICE("SH\1\0\0\1\0\0\0"), &type, &minor, &status),
                status, SHOAL_PROTOCOL);
    CHECK_SAYS(status.text, "8 bytes, got 9");
    CHECK_FAILS(shoal_header_decode(SHOAL_SLICE_NONE, &type, &minor, &status), status,
                SHOAL_PROTOCOL);
    // another major version
    CHECK_FAILS(shoal_header_decode(SHOAL_SLICE("SH\2\0\0\1\0\0"), &type, &minor, &status), status,
                SHOAL_UNSUPPORTED);
    CHECK_SAYS(status.text, "speaks protocol 2, this side speaks 1");
    // an unknown message, which the answer can name
    CHECK_FAILS(shoal_header_decode(SHOAL_SLICE("SH\1\0\x12\x34\0\0"), &type, &minor, &status),
                status, SHOAL_UNSUPPORTED);
    CHECK_SAYS(status.text, "message 4660 is unknown");
    CHECK((int)type == 0x1234);
}

// ---- malformed bodies

static void
check_truncation(const shoal_message_info_t *info)
{
    shoal_message_t full = sample(info);
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_body_encode(&full, &body);
    for (size_t len = 0; len < body.len; len++) {
        check_refused((shoal_slice_t){body.ptr, len}, info, SHOAL_PROTOCOL, "cannot read");
    }
    shoal_write_nil(&body);
    check_refused(shoal_buffer_slice(&body), info, SHOAL_PROTOCOL, "bytes to spare");
    shoal_buffer_fini(&body);
}

static void
a_body_cut_at_any_byte_is_refused(void)
{
    for_each(check_truncation);
}

// Appends the sample's fields from `first` to before `end`, without the map's head.
static void
write_fields(const shoal_message_info_t *info, size_t first, size_t end, shoal_buffer_t *out)
{
    shoal_message_t full = sample(info);
    for (size_t i = first; i < end; i++) {
        const shoal_field_info_t *field = &info->fields[i];
        const void *at = field_at(&full, field);
        shoal_write_str(out, (shoal_slice_t){field->name, field->name_len});
        switch (field->kind) {
        case SHOAL_KIND_UINT: shoal_write_uint(out, *(const uint64_t *)at); break;
        case SHOAL_KIND_FLAG: shoal_write_bool(out, *(const bool *)at); break;
        case SHOAL_KIND_TEXT: shoal_write_str(out, *(const shoal_slice_t *)at); break;
        case SHOAL_KIND_ANY:
        default: shoal_write_raw(out, *(const shoal_slice_t *)at); break;
        }
    }
}

static void
check_unknown_keys(const shoal_message_info_t *info)
{
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    uint32_t fields = (uint32_t)info->field_count;
    shoal_write_map(&body, fields + 3);
    shoal_write_key(&body, "future");
    shoal_write_raw(&body, SHOAL_SLICE(any_value));
    write_fields(info, 0, info->field_count / 2, &body);
    shoal_write_key(&body, "");
    shoal_write_nil(&body);
    write_fields(info, info->field_count / 2, info->field_count, &body);
    shoal_write_key(&body, "future"); // even twice
    shoal_write_raw(&body, SHOAL_SLICE("\xd4\x01\x02"));
    shoal_message_t read;
    shoal_message_t full = sample(info);
    check_decodes(shoal_buffer_slice(&body), &read, info);
    check_same(&full, &read, info);

    shoal_buffer_clear(&body); // 64 keys, known or not
    shoal_write_map(&body, SHOAL_BODY_FIELDS_MAX);
    write_fields(info, 0, info->field_count, &body);
    for (uint32_t i = fields; i < SHOAL_BODY_FIELDS_MAX; i++) {
        shoal_write_key(&body, "filler");
        shoal_write_nil(&body);
    }
    check_decodes(shoal_buffer_slice(&body), &read, info);
    shoal_buffer_clear(&body);
    shoal_write_map(&body, SHOAL_BODY_FIELDS_MAX + 1);
    write_fields(info, 0, info->field_count, &body);
    for (uint32_t i = fields; i < SHOAL_BODY_FIELDS_MAX + 1; i++) {
        shoal_write_key(&body, "filler");
        shoal_write_nil(&body);
    }
    check_refused(shoal_buffer_slice(&body), info, SHOAL_LIMIT, "65 keys");
    shoal_buffer_fini(&body);
}

static void
unknown_keys_are_skipped_up_to_a_limit(void)
{
    for_each(check_unknown_keys);
}

static void
check_fields_missing_and_twice(const shoal_message_info_t *info)
{
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    uint32_t fields = (uint32_t)info->field_count;
    for (uint32_t i = 0; i < fields; i++) {
        shoal_buffer_clear(&body);
        shoal_write_map(&body, fields + 1);
        write_fields(info, 0, fields, &body);
        write_fields(info, i, i + 1, &body);
        check_refused(shoal_buffer_slice(&body), info, SHOAL_PROTOCOL, "stands twice");
        shoal_buffer_clear(&body);
        shoal_write_map(&body, fields - 1);
        write_fields(info, 0, i, &body);
        write_fields(info, i + 1, fields, &body);
        if (info->fields[i].is_required) {
            check_refused(shoal_buffer_slice(&body), info, SHOAL_PROTOCOL, "is missing");
        } else {
            shoal_message_t read;
            check_decodes(shoal_buffer_slice(&body), &read, info);
        }
    }
    shoal_buffer_fini(&body);
}

static void
a_field_that_is_missing_or_stands_twice_is_refused(void)
{
    for_each(check_fields_missing_and_twice);
}

static bool
takes(shoal_field_kind_t kind, shoal_slice_t value)
{
    unsigned char first = (unsigned char)value.ptr[0];
    shoal_value_kind_t is = (shoal_value_kind_t)shoal_value_kinds[first];
    return kind == SHOAL_KIND_ANY || (kind == SHOAL_KIND_UINT && is == SHOAL_VALUE_UINT) ||
           (kind == SHOAL_KIND_FLAG && is == SHOAL_VALUE_BOOL) ||
           (kind == SHOAL_KIND_TEXT && is == SHOAL_VALUE_STR);
}

static void
check_kinds(const shoal_message_info_t *info)
{
    static const char *const values[] = {
        "\xc0",  "\xc2",      "\x01", "\xff", "\xca\x3f\x80\x01\x01",
        "\xa1x", "\xc4\x01x", "\x90", "\x80", "\xd4\x01\x02"};
    static const size_t lens[] = {1, 1, 1, 1, 5, 2, 3, 1, 1, 3};
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    uint32_t fields = (uint32_t)info->field_count;
    for (uint32_t i = 0; i < fields; i++) {
        const shoal_field_info_t *field = &info->fields[i];
        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
            shoal_slice_t value = {values[v], lens[v]};
            if (takes(field->kind, value)) {
                continue;
            }
            shoal_buffer_clear(&body);
            shoal_write_map(&body, fields);
            write_fields(info, 0, i, &body);
            shoal_write_str(&body, (shoal_slice_t){field->name, field->name_len});
            shoal_write_raw(&body, value);
            write_fields(info, i + 1, fields, &body);
            check_refused(shoal_buffer_slice(&body), info, SHOAL_PROTOCOL, field->name);
        }
    }
    shoal_buffer_fini(&body);
}

static void
a_field_of_another_kind_is_refused(void)
{
    for_each(check_kinds);
}

// A body whose field `i` has `value`, msgpack already.
static void
write_with(const shoal_message_info_t *info, uint32_t i, const shoal_buffer_t *value,
           shoal_buffer_t *body)
{
    shoal_buffer_clear(body);
    shoal_write_map(body, (uint32_t)info->field_count);
    write_fields(info, 0, i, body);
    shoal_write_str(body, (shoal_slice_t){info->fields[i].name, info->fields[i].name_len});
    shoal_write_raw(body, shoal_buffer_slice(value));
    write_fields(info, i + 1, info->field_count, body);
}

// Fills `value` with one that is `over` beyond the field's limit (0: just within); false where
// there is no such value.
static bool
write_at_limit(const shoal_field_info_t *field, uint64_t over, shoal_buffer_t *value)
{
    shoal_buffer_clear(value);
    if (field->kind == SHOAL_KIND_FLAG ||
        (field->kind == SHOAL_KIND_UINT && field->limit + over < field->limit)) {
        return false;
    }
    if (field->kind == SHOAL_KIND_UINT) {
        shoal_write_uint(value, field->limit + over);
        return true;
    }
    size_t len = (size_t)(field->limit + over);
    char *text = malloc(len);
    memset(text, 't', len);
    if (field->kind == SHOAL_KIND_TEXT) {
        shoal_write_str(value, (shoal_slice_t){text, len});
    } else { // a text whose value takes `len` bytes in all
        size_t head = len < 65536 + 3 ? 3 : 5;
        shoal_write_str(value, (shoal_slice_t){text, len - head});
        CHECK(value->len == len);
    }
    free(text);
    return true;
}

static void
check_limits(const shoal_message_info_t *info)
{
    shoal_buffer_t value = SHOAL_BUFFER_INIT;
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_message_t read;
    for (uint32_t i = 0; i < info->field_count; i++) {
        if (write_at_limit(&info->fields[i], 0, &value)) {
            write_with(info, i, &value, &body);
            check_decodes(shoal_buffer_slice(&body), &read, info);
        }
        if (write_at_limit(&info->fields[i], 1, &value)) {
            write_with(info, i, &value, &body);
            check_refused(shoal_buffer_slice(&body), info, SHOAL_LIMIT, info->fields[i].name);
        }
    }
    shoal_buffer_fini(&value);
    shoal_buffer_fini(&body);
}

static void
every_limit_holds_and_one_more_is_refused(void)
{
    for_each(check_limits);
}

static void
check_nesting(const shoal_message_info_t *info)
{
    shoal_buffer_t value = SHOAL_BUFFER_INIT;
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_message_t read;
    for (uint32_t i = 0; i < info->field_count; i++) {
        if (info->fields[i].kind != SHOAL_KIND_ANY) {
            continue;
        }
        shoal_buffer_clear(&value);
        for (int depth = 0; depth < SHOAL_VALUE_DEPTH_MAX; depth++) {
            shoal_write_array(&value, 1);
        }
        shoal_write_nil(&value);
        write_with(info, i, &value, &body);
        check_decodes(shoal_buffer_slice(&body), &read, info);
        shoal_buffer_clear(&value);
        for (int depth = 0; depth < SHOAL_VALUE_DEPTH_MAX + 1; depth++) {
            shoal_write_array(&value, 1);
        }
        shoal_write_nil(&value);
        write_with(info, i, &value, &body);
        check_refused(shoal_buffer_slice(&body), info, SHOAL_LIMIT, "nested deeper than 32");
    }
    shoal_buffer_fini(&value);
    shoal_buffer_fini(&body);
}

static void
values_nest_thirty_two_deep(void)
{
    for_each(check_nesting);
}

static void
check_no_map(const shoal_message_info_t *info)
{
    static const char *const bodies[] = {
        "", "\xc0", "\x90", "\xa1x", "\xc1", "\xdf\xff\xff\xff\xff", "\xdd\xff\xff\xff\xff"};
    static const size_t lens[] = {0, 1, 1, 2, 1, 5, 5};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        check_refused((shoal_slice_t){bodies[i], lens[i]}, info, SHOAL_PROTOCOL, "one msgpack map");
    }
    check_refused(SHOAL_SLICE("\x81\x01\x01"), info, SHOAL_PROTOCOL, "key");
    check_refused(SHOAL_SLICE("\x81\xa1x\xc1"), info, SHOAL_PROTOCOL, "");
}

static void
a_body_that_is_no_map_is_refused(void)
{
    for_each(check_no_map);
}

// ---- encoding

static void
texts_are_cut_between_characters(void)
{
    char text[300];
    for (size_t i = 0; i + 1 < sizeof(text); i += 2) {
        memcpy(text + i, "\xc3\xa9", 2);
    }
    shoal_message_t message = {.type = SHOAL_MSG_BYE};
    message.bye.reason = (shoal_slice_t){text + 1, 298}; // starts within a character: kept as it is
    shoal_message_t read;
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_body_encode(&message, &body);
    size_t count = 0;
    const shoal_message_info_t *info = shoal_message_dictionary(&count);
    while (info->type != SHOAL_MSG_BYE) {
        info++;
    }
    check_decodes(shoal_buffer_slice(&body), &read, info);
    CHECK(read.bye.reason.len == 255);
    message.bye.reason = (shoal_slice_t){text, 300};
    shoal_buffer_clear(&body);
    shoal_body_encode(&message, &body);
    check_decodes(shoal_buffer_slice(&body), &read, info);
    CHECK(read.bye.reason.len == 256);
    shoal_buffer_fini(&body);
}

TEST_MAIN(TEST(every_message_has_its_entry), TEST(every_message_reads_back_as_it_was_written),
          TEST(keys_may_come_in_any_order), TEST(every_message_has_its_golden_frames),
          TEST(headers_read_back_and_are_refused_when_cut),
          TEST(strange_headers_have_different_answers), TEST(a_body_cut_at_any_byte_is_refused),
          TEST(unknown_keys_are_skipped_up_to_a_limit),
          TEST(a_field_that_is_missing_or_stands_twice_is_refused),
          TEST(a_field_of_another_kind_is_refused), TEST(every_limit_holds_and_one_more_is_refused),
          TEST(values_nest_thirty_two_deep), TEST(a_body_that_is_no_map_is_refused),
          TEST(texts_are_cut_between_characters))
