// SPDX-License-Identifier: Apache-2.0
//
// status.c - see status.h.

#include "proto/base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static shoal_error_class_t
own_class(shoal_code_t code)
{
    switch (code) {
#define X(name, number, text, class_name)                                                          \
    case SHOAL_##name: return SHOAL_##class_name;
        SHOAL_STATUS_CODES(X)
#undef X
    default: return SHOAL_FATAL;
    }
}

static SHOAL_PRINTF(4, 0) void set(shoal_status_t *status, shoal_code_t code,
                                   shoal_error_class_t error_class, const char *format,
                                   va_list args)
{
    status->code = code;
    status->error_class = error_class;
    status->key[0] = '\0';
    (void)vsnprintf(status->text, sizeof(status->text), format, args);
}

bool
shoal_fail(shoal_status_t *status, shoal_code_t code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(status, code, own_class(code), format, args);
    va_end(args);
    return false;
}

bool
shoal_fail_as(shoal_status_t *status, shoal_error_class_t error_class, shoal_code_t code,
              const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(status, code, error_class, format, args);
    va_end(args);
    return false;
}

bool
shoal_fail_key(shoal_status_t *status, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(status, SHOAL_INVALID, own_class(SHOAL_INVALID), format, args);
    va_end(args);
    (void)snprintf(status->key, sizeof(status->key), "%s", key);
    return false;
}

bool
shoal_fail_errno(shoal_status_t *status, int error, const char *format, ...)
{
    shoal_code_t code = SHOAL_IO;
    if (error == ENOENT) {
        code = SHOAL_NOT_FOUND;
    } else if (error == EACCES || error == EPERM) {
        code = SHOAL_DENIED;
    }
    va_list args;
    va_start(args, format);
    set(status, code, own_class(code), format, args);
    va_end(args);
    char reason[128];
    size_t used = strlen(status->text);
    // The GNU strerror_r may return a string of its own instead of filling ours.
    (void)snprintf(status->text + used, sizeof(status->text) - used, ": %s",
                   strerror_r(error, reason, sizeof(reason)));
    return false;
}

bool
shoal_fail_while(shoal_status_t *status, const char *format, ...)
{
    char cause[SHOAL_STATUS_TEXT_MAX];
    (void)snprintf(cause, sizeof(cause), "%s", status->text);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(status->text, sizeof(status->text), format, args);
    va_end(args);
    size_t used = strlen(status->text);
    (void)snprintf(status->text + used, sizeof(status->text) - used, ": %s", cause);
    return false;
}

bool
shoal_fail_blame(shoal_status_t *status, const char *key)
{
    (void)snprintf(status->key, sizeof(status->key), "%s", key);
    return false;
}

void
shoal_status_clear(shoal_status_t *status)
{
    status->code = SHOAL_OK;
    status->error_class = SHOAL_FATAL;
    status->key[0] = '\0';
    status->text[0] = '\0';
}

const char *
shoal_code_name(int code)
{
    switch (code) {
#define X(name, number, text, class_name)                                                          \
    case (number): return text;
        SHOAL_STATUS_CODES(X)
#undef X
    default: return "unknown";
    }
}

const char *
shoal_error_class_name(int error_class)
{
    switch (error_class) {
#define X(name, number, text)                                                                      \
    case (number): return text;
        SHOAL_ERROR_CLASSES(X)
#undef X
    default: return "unknown";
    }
}

shoal_code_t
shoal_code_from(unsigned long long number)
{
    return number <= SHOAL_INTERNAL ? (shoal_code_t)number : SHOAL_INTERNAL;
}

shoal_error_class_t
shoal_error_class_from(unsigned long long number)
{
    return number >= SHOAL_TRANSIENT && number <= SHOAL_FATAL ? (shoal_error_class_t)number
                                                              : SHOAL_FATAL;
}
