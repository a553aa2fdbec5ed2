// SPDX-License-Identifier: Apache-2.0
//
// status.h - how a function says that it failed: a code, an error class and a sentence.
//
// A status lives in the caller's frame: nothing to free, nothing hidden in a thread. A function
// that can fail returns bool (true: done) and takes the status last, never NULL. The code is for
// branching, the class says what the runtime does about it (retry, give up, drop the record), the
// text is for a person, the key names the entry of a workflow file that is to blame, if one is.
//
// Threads: none shared.  Logging: none.

#ifndef SHOAL_PROTO_BASE_STATUS_H
#define SHOAL_PROTO_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define SHOAL_MUST_CHECK       __attribute__((warn_unused_result))
#define SHOAL_PRINTF(fmt, arg) __attribute__((format(printf, fmt, arg)))

#define SHOAL_STATUS_TEXT_MAX  1024 // bytes with the final NUL; longer messages are cut
#define SHOAL_STATUS_KEY_MAX   192  // bytes with the final NUL

// What the runtime does about an error; the numbers travel in messages and are never reused.
#define SHOAL_ERROR_CLASSES(X)                                                                     \
    X(TRANSIENT, 1, "transient") /* retried with back-off */                                       \
    X(CONFIG, 2, "config")       /* never retried, the job fails at once */                        \
    X(DATA, 3, "data")           /* the record is given up, its shard goes on */                   \
    X(FATAL, 4, "fatal")         /* the shard is given up, its job goes on */

typedef enum shoal_error_class {
#define X(name, number, text) SHOAL_##name = (number),
    SHOAL_ERROR_CLASSES(X)
#undef X
} shoal_error_class_t;

// Code, number on the wire (never reused), name, class unless the caller says another one.
#define SHOAL_STATUS_CODES(X)                                                                      \
    X(OK, 0, "ok", FATAL)                                                                          \
    X(INVALID, 1, "invalid", CONFIG)            /* an argument, a file or a value is wrong */      \
    X(PROTOCOL, 2, "protocol", FATAL)           /* bytes of a peer that break the protocol */      \
    X(LIMIT, 3, "limit", FATAL)                 /* a named limit was reached */                    \
    X(NOT_FOUND, 4, "not_found", CONFIG)        /* what was named does not exist */                \
    X(EXISTS, 5, "exists", CONFIG)              /* the name is taken */                            \
    X(DENIED, 6, "denied", CONFIG)              /* no permission, wrong password */                \
    X(UNAVAILABLE, 7, "unavailable", TRANSIENT) /* could not reach it, or it went away */          \
    X(TIMEOUT, 8, "timeout", TRANSIENT)         /* took longer than it may */                      \
    X(CANCELLED, 9, "cancelled", FATAL)         /* somebody asked us to stop */                    \
    X(IO, 10, "io", TRANSIENT)                  /* reading or writing failed */                    \
    X(UNSUPPORTED, 11, "unsupported", CONFIG)   /* known, but not in this version */               \
    X(INTERNAL, 12, "internal", FATAL)          /* our own fault */

typedef enum shoal_code {
#define X(name, number, text, class_name) SHOAL_##name = (number),
    SHOAL_STATUS_CODES(X)
#undef X
} shoal_code_t;

typedef struct shoal_status {
    shoal_code_t code;
    shoal_error_class_t error_class;
    char key[SHOAL_STATUS_KEY_MAX]; // "source.serviceConnection.config.hostPort", or empty
    char text[SHOAL_STATUS_TEXT_MAX];
} shoal_status_t;

#define SHOAL_STATUS_INIT                                                                          \
    {                                                                                              \
        .code = SHOAL_OK, .error_class = SHOAL_FATAL                                               \
    }

// Sets code, the code's own class, no key, and the sentence; returns false.
bool shoal_fail(shoal_status_t *status, shoal_code_t code, const char *format, ...)
    SHOAL_PRINTF(3, 4);

// The same with a class that differs from the code's own.
bool shoal_fail_as(shoal_status_t *status, shoal_error_class_t error_class, shoal_code_t code,
                   const char *format, ...) SHOAL_PRINTF(4, 5);

// SHOAL_INVALID with the path of the entry that is to blame, as in "source.type".
bool shoal_fail_key(shoal_status_t *status, const char *key, const char *format, ...)
    SHOAL_PRINTF(3, 4);

// SHOAL_IO (SHOAL_NOT_FOUND for ENOENT, SHOAL_DENIED for EACCES and EPERM) for the errno value
// `error`; its text follows the sentence after ": ".
bool shoal_fail_errno(shoal_status_t *status, int error, const char *format, ...)
    SHOAL_PRINTF(3, 4);

// Puts "<sentence>: " before the text that is there; returns false. Code, class and key stay.
bool shoal_fail_while(shoal_status_t *status, const char *format, ...) SHOAL_PRINTF(2, 3);

// Names the entry of a workflow file that is to blame for the failure that is there; returns false.
bool shoal_fail_blame(shoal_status_t *status, const char *key);

// Back to SHOAL_STATUS_INIT.
void shoal_status_clear(shoal_status_t *status);

// Stable names, as in documents and JSON ("not_found", "transient"); "unknown" for other numbers.
const char *shoal_code_name(int code);
const char *shoal_error_class_name(int error_class);

// From the numbers of a message: INTERNAL and FATAL for numbers that this version does not know.
shoal_code_t shoal_code_from(unsigned long long number);
shoal_error_class_t shoal_error_class_from(unsigned long long number);

#endif
