// SPDX-License-Identifier: Apache-2.0
//
// letters.c - see letters.h.

#include "worker/letters.h"

#include "proto/base/utf8.h"
#include "proto/record/writer.h"

void
shoal_letters_start(shoal_letters_t *letters, const shoal_call_t *call,
                    const shoal_secrets_t *secrets)
{
    letters->call = call;
    letters->secrets = secrets;
    letters->count = 0;
    shoal_buffer_clear(&letters->out);
}

void
shoal_letters_fini(shoal_letters_t *letters)
{
    shoal_buffer_fini(&letters->out);
    shoal_buffer_fini(&letters->scratch);
    *letters = (shoal_letters_t){0};
}

bool
shoal_letters_flush(shoal_letters_t *letters, shoal_status_t *status)
{
    uint32_t count = letters->count;
    letters->count = 0;
    return count == 0 ||
           letters->call->send_letters(letters->call->ctx, &letters->out, count, status);
}

static void
key_uint(shoal_buffer_t *out, const char *key, uint64_t value, uint32_t *pairs)
{
    shoal_write_text(out, key);
    shoal_write_uint(out, value);
    (*pairs)++;
}

// A text without secrets, cut to `max` bytes.
static void
key_text(shoal_letters_t *letters, const char *key, shoal_slice_t text, size_t max, uint32_t *pairs)
{
    shoal_buffer_clear(&letters->scratch);
    (void)shoal_secrets_hide(letters->secrets, text, &letters->scratch);
    shoal_slice_t plain = shoal_buffer_slice(&letters->scratch);
    plain.len = shoal_utf8_cut(plain, max);
    shoal_write_text(&letters->out, key);
    shoal_write_str(&letters->out, plain);
    (*pairs)++;
}

static void
write_record(shoal_letters_t *letters, shoal_slice_t record, uint32_t *pairs)
{
    shoal_buffer_t *out = &letters->out;
    size_t before = out->len;
    bool is_hidden = false;
    if (record.len == 0) {
        return;
    }
    if (record.len > SHOAL_LETTER_RECORD_MAX) {
        key_uint(out, "record_bytes", record.len, pairs);
        return;
    }
    shoal_write_key(out, "record");
    if (!shoal_secrets_hide_record(letters->secrets, record, out, &is_hidden)) {
        out->len = before; // malformed: there is nothing to keep
        return;
    }
    (*pairs)++;
    if (is_hidden) {
        shoal_write_key(out, "redacted");
        shoal_write_bool(out, true);
        (*pairs)++;
    }
}

static void
write_letter(shoal_letters_t *letters, const shoal_letter_t *letter)
{
    shoal_buffer_t *out = &letters->out;
    uint32_t pairs = 0;
    size_t mark = shoal_write_map_later(out);
    if (letter->number > 0) {
        key_uint(out, "letter", letter->number, &pairs);
    }
    key_uint(out, "scope", letter->scope, &pairs);
    key_uint(out, "class", (uint64_t)letter->why->error_class, &pairs);
    key_uint(out, "code", (uint64_t)letter->why->code, &pairs);
    key_text(letters, "message", shoal_slice_of(letter->why->text), SHOAL_STATUS_TEXT_MAX, &pairs);
    key_text(letters, "key", shoal_slice_of(letter->why->key), SHOAL_STATUS_KEY_MAX, &pairs);
    key_text(letters, "step", shoal_slice_of(letter->step), SHOAL_LETTER_NAME_MAX, &pairs);
    key_text(letters, "type", shoal_slice_of(letter->type), SHOAL_LETTER_NAME_MAX, &pairs);
    key_text(letters, "name", shoal_slice_of(letter->name), SHOAL_LETTER_NAME_MAX, &pairs);
    write_record(letters, letter->record, &pairs);
    shoal_write_count_now(out, mark, pairs);
    letters->count++;
}

bool
shoal_letters_add(shoal_letters_t *letters, const shoal_letter_t *letter, shoal_status_t *status)
{
    size_t before = letters->out.len;
    write_letter(letters, letter);
    if (before > 0 && letters->out.len > letters->call->batch_bytes) { // those before it go first
        shoal_buffer_t last = SHOAL_BUFFER_INIT;
        shoal_buffer_append(&last, letters->out.ptr + before, letters->out.len - before);
        letters->out.len = before;
        letters->count--;
        bool done = shoal_letters_flush(letters, status);
        shoal_buffer_fini(&letters->out);
        letters->out = last;
        letters->count = 1;
        if (!done) {
            return false;
        }
    }
    return letters->out.len < SHOAL_LETTERS_CUT_BYTES || shoal_letters_flush(letters, status);
}
