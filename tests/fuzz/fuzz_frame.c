// SPDX-License-Identifier: Apache-2.0
//
// fuzz_frame.c - header and body of a message (proto/wire/message.h), as a peer could send them:
// eight bytes of header, the rest is the body. What is read must write itself back.

#include <string.h>

#include "proto/wire/message.h"
#include "tests/fuzz/fuzz.h"

// What was read is written and read again: the same bytes then.
static void
write_back(const shoal_message_t *message)
{
    shoal_buffer_t once = SHOAL_BUFFER_INIT;
    shoal_buffer_t again = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_t read = {.type = message->type, .minor = message->minor};
    shoal_body_encode(message, &once);
    FUZZ_CHECK(shoal_body_decode(shoal_buffer_slice(&once), &read, &status));
    shoal_body_encode(&read, &again);
    FUZZ_CHECK(shoal_slice_equal(shoal_buffer_slice(&once), shoal_buffer_slice(&again)));
    shoal_buffer_fini(&once);
    shoal_buffer_fini(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    size_t header = size < SHOAL_WIRE_HEADER_SIZE ? size : SHOAL_WIRE_HEADER_SIZE;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_message_t message = {.minor = 0};
    if (!shoal_header_decode(fuzz_slice(bytes, header), &message.type, &message.minor, &status)) {
        FUZZ_CHECK(status.code == SHOAL_PROTOCOL || status.code == SHOAL_UNSUPPORTED);
        FUZZ_CHECK(status.text[0]);
        return 0;
    }
    FUZZ_CHECK(shoal_message_is_known((int)message.type));
    if (shoal_body_decode(fuzz_slice(bytes + header, size - header), &message, &status)) {
        write_back(&message);
    } else {
        FUZZ_CHECK(status.code == SHOAL_PROTOCOL || status.code == SHOAL_LIMIT);
        FUZZ_CHECK(strstr(status.text, shoal_message_name((int)message.type)));
    }
    return 0;
}
