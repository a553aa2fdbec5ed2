// SPDX-License-Identifier: Apache-2.0
//
// buffer.c - see buffer.h.

#include "proto/base/buffer.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

#define SIZE_FIRST 256

void
shoal_buffer_fini(shoal_buffer_t *buffer)
{
    free(buffer->ptr);
    *buffer = (shoal_buffer_t)SHOAL_BUFFER_INIT;
}

void
shoal_buffer_grow(shoal_buffer_t *buffer, size_t room)
{
    size_t need = buffer->len + room;
    assert(need >= room);
    size_t size = buffer->size ? buffer->size : SIZE_FIRST;
    while (size < need) {
        size += size / 2 + SIZE_FIRST;
    }
    buffer->ptr = shoal_realloc(buffer->ptr, size);
    buffer->size = size;
}

void
shoal_buffer_append_text(shoal_buffer_t *buffer, const char *text)
{
    shoal_buffer_append(buffer, text, strlen(text));
}

void
shoal_buffer_append_format(shoal_buffer_t *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0); // formats are ours
    char *to = shoal_buffer_reserve(buffer, (size_t)len + 1);
    (void)vsnprintf(to, (size_t)len + 1, format, again);
    va_end(again);
    buffer->len += (size_t)len;
}

const char *
shoal_buffer_text(shoal_buffer_t *buffer)
{
    *shoal_buffer_reserve(buffer, 1) = '\0';
    return buffer->ptr;
}
