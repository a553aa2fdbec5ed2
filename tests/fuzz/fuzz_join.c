// SPDX-License-Identifier: Apache-2.0
//
// fuzz_join.c - any bytes as a join string, as what a join string holds, and as a list of holders
// (proto/keys). The first byte says which. What is read and written again reads the same.

#include <sodium.h>
#include <stdio.h>

#include "proto/base/private.h"
#include "proto/keys/allowed.h"
#include "proto/keys/join.h"
#include "tests/fuzz/fuzz.h"

#define PAYLOAD_MAX 2048

static void
fuzz_token(shoal_slice_t token)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_join_t join;
    if (!shoal_join_parse(token, &join, &status)) {
        FUZZ_CHECK(status.text[0]);
        return;
    }
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_join_t again;
    shoal_join_write(&join, &text);
    FUZZ_CHECK(shoal_join_parse(shoal_buffer_slice(&text), &again, &status));
    FUZZ_CHECK(memcmp(&again.own, &join.own, sizeof(join.own)) == 0);
    FUZZ_CHECK(strcmp(again.endpoint, join.endpoint) == 0 && again.role == join.role);
    shoal_private_wipe(&text);
}

// Puts a right checksum before the payload, so that what reads it is reached.
static void
fuzz_payload(shoal_slice_t payload)
{
    unsigned char bytes[crypto_generichash_BYTES_MIN + PAYLOAD_MAX];
    char token[2 * sizeof(bytes)] = "shoal1:";
    if (payload.len > PAYLOAD_MAX) {
        return;
    }
    (void)crypto_generichash(bytes, crypto_generichash_BYTES_MIN,
                             (const unsigned char *)payload.ptr, payload.len, NULL, 0);
    if (payload.len > 0) {
        memcpy(bytes + 8, payload.ptr, payload.len);
    }
    (void)sodium_bin2base64(token + 7, sizeof(token) - 7, bytes, 8 + payload.len,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    fuzz_token(shoal_slice_of(token));
}

static void
fuzz_list(shoal_slice_t text)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_allowed_t *allowed = NULL;
    if (!shoal_allowed_parse(text, &allowed, &status)) {
        FUZZ_CHECK(status.text[0]);
        return;
    }
    for (size_t i = 0; i < allowed->count; i++) {
        const shoal_holder_t *holder = &allowed->holders[i];
        FUZZ_CHECK(shoal_allowed_find(allowed, &holder->key) == holder);
        FUZZ_CHECK(shoal_allowed_named(allowed, holder->name) == holder);
    }
    shoal_allowed_destroy(&allowed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0) {
        return 0;
    }
    static void (*const ways[])(shoal_slice_t) = {fuzz_token, fuzz_payload, fuzz_list};
    ways[bytes[0] % 3](fuzz_slice(bytes + 1, size - 1));
    return 0;
}
