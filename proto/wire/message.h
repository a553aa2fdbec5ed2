// SPDX-License-Identifier: Apache-2.0
//
// message.h - messages of the wire as C structures, and their codec.
//
// A message is a header frame (8 bytes), a body frame (one msgpack map) and, for some, a payload
// frame. messages.def is the dictionary; docs/protocol.md is the specification. Decoding allocates
// nothing: texts and values are slices of the body frame, valid as long as that frame is.
//
// Threads: values.  Logging: none.

#ifndef SHOAL_PROTO_WIRE_MESSAGE_H
#define SHOAL_PROTO_WIRE_MESSAGE_H

#include <stdint.h>

#include "proto/base/buffer.h"
#include "proto/base/slice.h"
#include "proto/base/status.h"

#define SHOAL_WIRE_MAGIC_0     'S'
#define SHOAL_WIRE_MAGIC_1     'H'
#define SHOAL_WIRE_MAJOR       1 // another one is refused
#define SHOAL_WIRE_MINOR       0 // another one works
#define SHOAL_WIRE_HEADER_SIZE 8 // magic 2, major 1, minor 1, number 2 (big endian), zero 2

#define SHOAL_FRAME_BYTES_MAX  1048576  // any frame; ZMQ_MAXMSGSIZE of every socket
#define SHOAL_BATCH_BYTES_MAX  262144   // payload of a BATCH or PIECE
#define SHOAL_RECORD_BYTES_MAX 33554432 // one record, in chunks
#define SHOAL_BODY_FIELDS_MAX  64       // keys in a body, known or not
#define SHOAL_VALUE_DEPTH_MAX  32       // nesting of a value inside a body
#define SHOAL_WIRE_PORT        6380

// Sets of senders.
enum { SHOAL_FROM_HEAD = 1, SHOAL_FROM_WORKER = 2, SHOAL_FROM_CLIENT = 4 };

// How an attempt ended, in RESULT; numbers are never reused.
typedef enum shoal_outcome {
    SHOAL_OUTCOME_DONE = 0,
    SHOAL_OUTCOME_FAILED = 1,    // error_class, code and reason say how
    SHOAL_OUTCOME_RETURNED = 2,  // not started, given back politely
    SHOAL_OUTCOME_CANCELLED = 3, // stopped because of CANCEL
} shoal_outcome_t;

// The enum SHOAL_MSG_HELLO = 1, ...
typedef enum shoal_message_type {
#define MESSAGE(NAME, name, number, senders, payload) SHOAL_MSG_##NAME = (number),
#define FIELD(name, kind, field, need, limit)
#define END(NAME, name)
#include "proto/wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
} shoal_message_type_t;

// The structures shoal_msg_hello_t, ...
#define SHOAL_FIELD_UINT                              uint64_t
#define SHOAL_FIELD_FLAG                              bool
#define SHOAL_FIELD_TEXT                              shoal_slice_t
#define SHOAL_FIELD_ANY                               shoal_slice_t
#define MESSAGE(NAME, name, number, senders, payload) typedef struct shoal_msg_##name {
#define FIELD(name, kind, field, need, limit)         SHOAL_FIELD_##kind field;
#define END(NAME, name)                                                                            \
    }                                                                                              \
    shoal_msg_##name##_t;
#include "proto/wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

typedef struct shoal_message {
    shoal_message_type_t type;
    uint8_t minor; // the sender's minor version
    union {
#define MESSAGE(NAME, name, number, senders, payload) shoal_msg_##name##_t name;
#define FIELD(name, kind, field, need, limit)
#define END(NAME, name)
#include "proto/wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
    };
} shoal_message_t;

// Writes the header frame of a message of that type.
void shoal_header_encode(shoal_message_type_t type, unsigned char header[SHOAL_WIRE_HEADER_SIZE]);

// Reads a header frame.
//   SHOAL_PROTOCOL     wrong size or magic
//   SHOAL_UNSUPPORTED  another major version, or an unknown message number (*ret_type is set to
//                      the number then, so that the sender can be told)
SHOAL_MUST_CHECK bool shoal_header_decode(shoal_slice_t header, shoal_message_type_t *ret_type,
                                          uint8_t *ret_minor, shoal_status_t *status);

// Whether a header frame is one of this protocol and of our major version.
bool shoal_header_is_ours(shoal_slice_t header);

// Appends the body of `message` to `out`. Values beyond their limits are a programmer's error,
// except TEXT, which is cut at its limit (between characters).
void shoal_body_encode(const shoal_message_t *message, shoal_buffer_t *out);

// Reads the body of a message whose type and minor are in *message.
//   SHOAL_PROTOCOL  not one msgpack map, a MUST field missing, a field of another kind, malformed
//   SHOAL_LIMIT     a field beyond its limit, too many keys, a value nested too deep
SHOAL_MUST_CHECK bool shoal_body_decode(shoal_slice_t body, shoal_message_t *message,
                                        shoal_status_t *status);

// "HELLO"; "?" for an unknown number.
const char *shoal_message_name(int type);
bool shoal_message_is_known(int type);
bool shoal_message_has_payload(shoal_message_type_t type); // a third frame is due
unsigned shoal_message_senders(shoal_message_type_t type); // set of SHOAL_FROM_*

// ---- the dictionary as data, for tests, tools and the check of docs/protocol.md

typedef enum shoal_field_kind {
    SHOAL_KIND_UINT,
    SHOAL_KIND_FLAG,
    SHOAL_KIND_TEXT,
    SHOAL_KIND_ANY,
} shoal_field_kind_t;

typedef struct shoal_field_info {
    const char *name;
    size_t name_len;
    shoal_field_kind_t kind;
    bool is_required;
    uint64_t limit;
    size_t offset; // in shoal_message_t
} shoal_field_info_t;

typedef struct shoal_message_info {
    shoal_message_type_t type;
    const char *name;
    unsigned senders;
    bool has_payload;
    size_t field_count;
    const shoal_field_info_t *fields;
} shoal_message_info_t;

// In the order of messages.def; *ret_count entries.
const shoal_message_info_t *shoal_message_dictionary(size_t *ret_count);

#endif
