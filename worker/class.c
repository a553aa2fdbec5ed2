// SPDX-License-Identifier: Apache-2.0
//
// class.c - see class.h.

#include "worker/class.h"

#include <assert.h>
#include <stdio.h>

#define NAME_MAX_BYTES 64
#define LIST_BYTES_MAX 512 // of a list of known names in a sentence

bool
shoal_class_check(const shoal_class_t *class, shoal_status_t *status)
{
    if (class->abi != SHOAL_CLASS_ABI) {
        return shoal_fail(status, SHOAL_UNSUPPORTED,
                          "class \"%s\" is made for ABI %u, this worker has %d: build it again",
                          class->name ? class->name : "?", class->abi, SHOAL_CLASS_ABI);
    }
    size_t len = class->name ? strlen(class->name) : 0;
    if (len == 0 || len > NAME_MAX_BYTES) {
        return shoal_fail(status, SHOAL_INVALID, "a class needs a name of 1 to %d bytes, got %zu",
                          NAME_MAX_BYTES, len);
    }
    if (!class->methods || !class->construct || !class->destroy || !class->call) {
        return shoal_fail(status, SHOAL_INVALID, "class \"%s\" lacks %s", class->name,
                          !class->methods     ? "a table of methods"
                          : !class->construct ? "construct"
                          : !class->destroy   ? "destroy"
                                              : "call");
    }
    return true;
}

bool
shoal_class_method(const shoal_class_t *class, shoal_slice_t method, const char **ret_method,
                   shoal_status_t *status)
{
    char known[LIST_BYTES_MAX] = "";
    size_t used = 0;
    for (const char *const *name = class->methods; *name; name++) {
        if (shoal_slice_is(method, *name)) {
            *ret_method = *name;
            return true;
        }
        if (used < sizeof(known)) {
            int more =
                snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", *name);
            used += more > 0 ? (size_t)more : 0;
        }
    }
    return shoal_fail(status, SHOAL_NOT_FOUND, "class \"%s\" has no method \"%.*s\"; it has: %s",
                      class->name, SHOAL_SLICE_ARGS(method), known);
}
