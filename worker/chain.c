// SPDX-License-Identifier: Apache-2.0
//
// chain.c - see chain.h.

#include "worker/chain.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/record/cursor.h"
#include "worker/pipeline.h"

#define KEY_SIZE SHOAL_STATUS_KEY_MAX

typedef struct opening {
    shoal_chain_t *chain;
    shoal_modules_t *modules;
    shoal_host_t *host;
    shoal_status_t *status;
} opening_t;

static void
note_warning(void *ctx, const char *key, const char *text)
{
    shoal_chain_t *chain = ctx;
    if (chain->warning_count < SHOAL_CHAIN_WARNINGS_MAX) {
        shoal_buffer_t warning = SHOAL_BUFFER_INIT;
        shoal_buffer_append_format(&warning, "%s: %s", key, text);
        chain->warnings[chain->warning_count++] = shoal_strdup(shoal_buffer_text(&warning));
        shoal_buffer_fini(&warning);
    }
}

static shoal_value_kind_t
kind_of(shoal_slice_t value)
{
    shoal_cursor_t cursor = shoal_cursor_over(value);
    return shoal_cursor_peek(&cursor);
}

// The map at `name` in `map`; empty if it is not there or nil.
static bool
find_map(shoal_slice_t map, const char *prefix, const char *name, shoal_slice_t *ret_map,
         shoal_status_t *status)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    *ret_map = SHOAL_SLICE_NONE;
    if (!shoal_map_find(map, name, &value) || kind_of(value) == SHOAL_VALUE_NIL) {
        return true;
    }
    if (kind_of(value) != SHOAL_VALUE_MAP) {
        char key[KEY_SIZE];
        (void)snprintf(key, sizeof(key), "%s%s%s", prefix, *prefix ? "." : "", name);
        return shoal_fail_key(status, key, "\"%s\" must be a map", name);
    }
    *ret_map = value;
    return true;
}

// The text at `name` in `map`, at most `size` - 1 bytes; empty if it is not there.
static bool
find_text(shoal_slice_t map, const char *prefix, const char *name, char *ret_text, size_t size,
          shoal_status_t *status)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    ret_text[0] = '\0';
    if (!shoal_map_find(map, name, &value) || kind_of(value) == SHOAL_VALUE_NIL) {
        return true;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    shoal_slice_t text = shoal_cursor_str(&cursor);
    if (cursor.is_bad || text.len >= size || (text.len > 0 && memchr(text.ptr, '\0', text.len))) {
        char key[KEY_SIZE];
        (void)snprintf(key, sizeof(key), "%s.%s", prefix, name);
        return shoal_fail_key(status, key, "\"%s\" must be a text of at most %zu bytes", name,
                              size - 1);
    }
    memcpy(ret_text, text.len > 0 ? text.ptr : "", text.len);
    ret_text[text.len] = '\0';
    return true;
}

// Finds the module of the section at `prefix` and reads its `type`.
static bool
find_connector(const opening_t *opening, shoal_slice_t section, const char *prefix,
               shoal_module_kind_t kind, shoal_link_t *link)
{
    char key[KEY_SIZE];
    char type[SHOAL_STATUS_KEY_MAX];
    (void)snprintf(key, sizeof(key), "%s.type", prefix);
    if (!find_text(section, prefix, "type", type, sizeof(type), opening->status)) {
        return false;
    }
    if (type[0] == '\0') {
        return shoal_fail_key(opening->status, key, "\"type\" is missing");
    }
    return shoal_modules_find(opening->modules, type, kind, key, &link->connector, opening->status);
}

// Reads the section NAME.config below `prefix` against `table` (NULL: it takes none).
static bool
read_options(const opening_t *opening, shoal_slice_t section, const char *prefix, const char *name,
             const shoal_option_t *table, shoal_link_t *link)
{
    static const shoal_option_t no_options[] = {{.path = NULL}};
    shoal_slice_t outer = section;
    shoal_slice_t config = SHOAL_SLICE_NONE;
    char outer_key[KEY_SIZE];
    char key[KEY_SIZE];
    (void)snprintf(outer_key, sizeof(outer_key), "%s%s%s", prefix, name ? "." : "",
                   name ? name : "");
    (void)snprintf(key, sizeof(key), "%s.config", outer_key);
    if (name && !find_map(section, prefix, name, &outer, opening->status)) {
        return false;
    }
    return find_map(outer, outer_key, "config", &config, opening->status) &&
           shoal_options_read(&link->options, table ? table : no_options, key, config,
                              opening->chain->is_lenient, note_warning, opening->chain,
                              opening->status);
}

static bool
open_source(const opening_t *opening, shoal_slice_t args)
{
    shoal_chain_t *chain = opening->chain;
    shoal_link_t *link = &chain->source;
    shoal_slice_t section = SHOAL_SLICE_NONE;
    char service[512];
    if (!find_map(args, "", "source", &section, opening->status) ||
        !find_connector(opening, section, "source", SHOAL_MODULE_SOURCE, link) ||
        !find_text(section, "source", "serviceName", service, sizeof(service), opening->status) ||
        !read_options(opening, section, "source", "serviceConnection", link->connector->connection,
                      link) ||
        !read_options(opening, section, "source", "sourceConfig", link->connector->options, link)) {
        return false;
    }
    if (link->connector->sharding) {
        shoal_slice_t sharding = SHOAL_SLICE_NONE;
        if (!find_map(args, "", "sharding", &sharding, opening->status) ||
            !shoal_options_read(&chain->sharding, link->connector->sharding, "sharding", sharding,
                                chain->is_lenient, note_warning, chain, opening->status)) {
            return false;
        }
    }
    opening->host->sharding = chain->sharding;
    chain->service = shoal_strdup(service[0] ? service : link->connector->name);
    return link->connector->source->open(link->options, chain->service, opening->host,
                                         &link->instance, opening->status);
}

static bool
open_processor(const opening_t *opening, shoal_slice_t section, const char *prefix)
{
    shoal_chain_t *chain = opening->chain;
    if (kind_of(section) != SHOAL_VALUE_MAP) {
        return shoal_fail_key(opening->status, prefix, "a processor must be a map");
    }
    if (chain->processor_count == SHOAL_PROCESSORS_MAX) {
        return shoal_fail_key(opening->status, prefix, "at most %d processors are allowed",
                              SHOAL_PROCESSORS_MAX);
    }
    shoal_link_t *link = &chain->processors[chain->processor_count++];
    return find_connector(opening, section, prefix, SHOAL_MODULE_PROCESSOR, link) &&
           read_options(opening, section, prefix, NULL, link->connector->options, link) &&
           link->connector->processor->open(link->options, opening->host, &link->instance,
                                            opening->status);
}

// `processor` is a map, or an array of them.
static bool
open_processors(const opening_t *opening, shoal_slice_t args)
{
    shoal_slice_t section = SHOAL_SLICE_NONE;
    opening->chain->processors =
        shoal_alloc(SHOAL_PROCESSORS_MAX * sizeof(*opening->chain->processors));
    if (!shoal_map_find(args, "processor", &section) || kind_of(section) == SHOAL_VALUE_NIL) {
        return true;
    }
    if (kind_of(section) != SHOAL_VALUE_ARRAY) {
        return open_processor(opening, section, "processor");
    }
    shoal_cursor_t cursor = shoal_cursor_over(section);
    uint32_t count = shoal_cursor_array(&cursor);
    for (uint32_t i = 0; i < count; i++) {
        char prefix[32];
        (void)snprintf(prefix, sizeof(prefix), "processor[%u]", i);
        if (!open_processor(opening, shoal_cursor_value(&cursor), prefix)) {
            return false;
        }
    }
    return true;
}

static bool
open_sink(const opening_t *opening, shoal_slice_t args)
{
    shoal_link_t *link = &opening->chain->sink;
    shoal_slice_t section = SHOAL_SLICE_NONE;
    return find_map(args, "", "sink", &section, opening->status) &&
           find_connector(opening, section, "sink", SHOAL_MODULE_SINK, link) &&
           read_options(opening, section, "sink", NULL, link->connector->options, link) &&
           link->connector->sink->open(link->options, opening->host, &link->instance,
                                       opening->status);
}

// A flag of the arguments; false if it is not there.
static bool
find_flag(shoal_slice_t args, const char *name)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (!shoal_map_find(args, name, &value)) {
        return false;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    return shoal_cursor_bool(&cursor);
}

static uint32_t
find_slots(shoal_slice_t args)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (!shoal_map_find(args, "slots", &value)) {
        return 1;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint64_t slots = shoal_cursor_uint(&cursor);
    return slots == 0 ? 1 : slots > UINT32_MAX ? UINT32_MAX : (uint32_t)slots;
}

static void
note_secret(void *ctx, const char *secret)
{
    shoal_secrets_add(ctx, secret);
}

bool
shoal_chain_open(shoal_chain_t *chain, shoal_modules_t *modules, shoal_slice_t args,
                 shoal_host_t *host, shoal_status_t *status)
{
    assert(chain && modules && host && status && !chain->service);
    if (kind_of(args) != SHOAL_VALUE_MAP || !shoal_cursor_check(args, SHOAL_CHECK_DEPTH_MAX)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "the arguments of a pipeline must be one map, nested at most %d deep",
                          SHOAL_CHECK_DEPTH_MAX);
    }
    opening_t opening = {chain, modules, host, status};
    chain->is_lenient = find_flag(args, "lenient");
    host->is_dry_run = find_flag(args, "dry_run");
    host->slots = find_slots(args);
    host->sharding = NULL;
    if (!open_source(&opening, args) || !open_processors(&opening, args) ||
        !open_sink(&opening, args)) {
        shoal_chain_close(chain);
        return false;
    }
    shoal_options_secrets(chain->source.options, note_secret, &chain->secrets);
    shoal_options_secrets(chain->sink.options, note_secret, &chain->secrets);
    for (size_t i = 0; i < chain->processor_count; i++) {
        shoal_options_secrets(chain->processors[i].options, note_secret, &chain->secrets);
    }
    return true;
}

void
shoal_chain_close(shoal_chain_t *chain)
{
    if (chain->source.instance) {
        chain->source.connector->source->close(chain->source.instance);
    }
    for (size_t i = 0; i < chain->processor_count; i++) {
        shoal_link_t *link = &chain->processors[i];
        if (link->instance) {
            link->connector->processor->close(link->instance);
        }
        shoal_options_destroy(&link->options);
    }
    if (chain->sink.instance) {
        chain->sink.connector->sink->close(chain->sink.instance);
    }
    shoal_options_destroy(&chain->source.options);
    shoal_options_destroy(&chain->sink.options);
    shoal_options_destroy(&chain->sharding);
    for (size_t i = 0; i < chain->warning_count; i++) {
        free(chain->warnings[i]);
    }
    shoal_secrets_fini(&chain->secrets);
    free(chain->processors);
    free(chain->service);
    *chain = (shoal_chain_t){0};
}
