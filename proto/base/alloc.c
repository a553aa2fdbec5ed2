// SPDX-License-Identifier: Apache-2.0
//
// alloc.c - see alloc.h.

#include "proto/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
or_abort(void *memory, size_t size_bytes)
{
    if (!memory) {
        (void)fprintf(stderr, "shoal: out of memory: could not get %zu bytes\n", size_bytes);
        abort();
    }
    return memory;
}

void *
shoal_alloc(size_t size_bytes)
{
    return or_abort(calloc(1, size_bytes ? size_bytes : 1), size_bytes);
}

void *
shoal_realloc(void *memory, size_t size_bytes)
{
    return or_abort(realloc(memory, size_bytes ? size_bytes : 1), size_bytes);
}

char *
shoal_strdup(const char *text)
{
    return shoal_strndup(text, text ? strlen(text) : 0);
}

char *
shoal_strndup(const char *text, size_t len)
{
    char *copy = shoal_alloc(len + 1);
    if (len > 0) {
        memcpy(copy, text, len);
    }
    return copy;
}
