// SPDX-License-Identifier: Apache-2.0
//
// module.c - see module.h.

#include "worker/module.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/nearest.h"

#define PREFIX "shoal-"
#define SUFFIX ".so"

// What to do where a file asks for a platform's own sink, as OpenMetadata's do.
#define OTHER_SINK "; write \"sink: {type: file, config: {filename: records.jsonl}}\""

typedef struct module {
    char name[SHOAL_MODULE_NAME_MAX + 1];
    const shoal_connector_t *connector; // NULL: not loaded yet
    void *handle;                       // NULL: part of the program
} module_t;

struct shoal_modules {
    char *directory;
    pthread_mutex_t mutex;
    module_t modules[SHOAL_MODULE_COUNT_MAX];
    size_t count;
};

static const char *const kind_names[] = {"source", "processor", "sink"};

bool
shoal_modules_directory(shoal_buffer_t *out, shoal_status_t *status)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (len < 0) {
        return shoal_fail_errno(status, errno, "cannot read /proc/self/exe to find connectors");
    }
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    if (slash) {
        *slash = '\0';
    }
    shoal_buffer_append_format(out, "%s/../lib/shoal", path);
    return true;
}

shoal_modules_t *
shoal_modules_new(const char *directory)
{
    assert(directory);
    shoal_modules_t *modules = shoal_alloc(sizeof(*modules));
    modules->directory = shoal_strdup(directory);
    (void)pthread_mutex_init(&modules->mutex, NULL);
    return modules;
}

void
shoal_modules_destroy(shoal_modules_t **modules)
{
    if (modules && *modules) {
        for (size_t i = 0; i < (*modules)->count; i++) {
            if ((*modules)->modules[i].handle) {
                (void)dlclose((*modules)->modules[i].handle); // stays mapped: RTLD_NODELETE
            }
        }
        (void)pthread_mutex_destroy(&(*modules)->mutex);
        free((*modules)->directory);
        free(*modules);
        *modules = NULL;
    }
}

static module_t *
find(shoal_modules_t *modules, const char *name)
{
    for (size_t i = 0; i < modules->count; i++) {
        if (strcmp(modules->modules[i].name, name) == 0) {
            return &modules->modules[i];
        }
    }
    return NULL;
}

static module_t *
add(shoal_modules_t *modules, const char *name)
{
    if (modules->count == SHOAL_MODULE_COUNT_MAX) {
        return NULL;
    }
    module_t *module = &modules->modules[modules->count++];
    (void)snprintf(module->name, sizeof(module->name), "%s", name);
    return module;
}

void
shoal_modules_add(shoal_modules_t *modules, const shoal_connector_t *connector)
{
    (void)pthread_mutex_lock(&modules->mutex);
    module_t *module = find(modules, connector->name);
    module = module ? module : add(modules, connector->name);
    assert(module);
    module->connector = connector;
    (void)pthread_mutex_unlock(&modules->mutex);
}

// Adds a row for each file shoal-NAME.so that has none. A directory that is not there has none.
static void
scan(shoal_modules_t *modules)
{
    DIR *directory = opendir(modules->directory);
    if (!directory) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        size_t len = strlen(entry->d_name);
        size_t extra = strlen(PREFIX SUFFIX);
        if (len <= extra || len - extra > SHOAL_MODULE_NAME_MAX ||
            strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 ||
            strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX) != 0) {
            continue;
        }
        char name[SHOAL_MODULE_NAME_MAX + 1];
        memcpy(name, entry->d_name + strlen(PREFIX), len - extra);
        name[len - extra] = '\0';
        if (!find(modules, name)) {
            (void)add(modules, name);
        }
    }
    (void)closedir(directory);
}

static bool
refuse(const module_t *module, const char *why, shoal_status_t *status)
{
    return shoal_fail(status, SHOAL_UNSUPPORTED, "connector \"%s\" cannot be used: %s",
                      module->name, why);
}

// Looks over a connector before anybody calls it.
static bool
check(const module_t *module, const shoal_connector_t *connector, shoal_status_t *status)
{
    if (connector->abi != SHOAL_CONNECTOR_ABI) {
        return shoal_fail(status, SHOAL_UNSUPPORTED,
                          "connector \"%s\" was built for ABI %u, this worker has %d: build it "
                          "again",
                          module->name, connector->abi, SHOAL_CONNECTOR_ABI);
    }
    if (!connector->name || strcmp(connector->name, module->name) != 0 || !connector->summary) {
        return refuse(module, "its name differs from its file's, or it has no summary", status);
    }
    const shoal_source_ops_t *source = connector->source;
    const shoal_processor_ops_t *processor = connector->processor;
    const shoal_sink_ops_t *sink = connector->sink;
    if (!source && !processor && !sink) {
        return refuse(module, "it is neither source nor processor nor sink", status);
    }
    if ((source && (!source->open || !source->close || !source->check || !source->discover ||
                    !source->read)) ||
        (processor && (!processor->open || !processor->close || !processor->process)) ||
        (sink && (!sink->open || !sink->close || !sink->write))) {
        return refuse(module, "an operation is missing", status);
    }
    return true;
}

static bool
load(const shoal_modules_t *modules, module_t *module, shoal_status_t *status)
{
    if (module->connector) {
        return true;
    }
    shoal_buffer_t path = SHOAL_BUFFER_INIT;
    shoal_buffer_append_format(&path, "%s/%s%s%s", modules->directory, PREFIX, module->name,
                               SUFFIX);
    void *handle = dlopen(shoal_buffer_text(&path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    shoal_buffer_fini(&path);
    if (!handle) {
        const char *why = dlerror();
        return refuse(module, why ? why : "it cannot be loaded", status);
    }
    const shoal_connector_t *connector = dlsym(handle, SHOAL_CONNECTOR_SYMBOL);
    bool done = connector ? check(module, connector, status)
                          : refuse(module, "it exports no " SHOAL_CONNECTOR_SYMBOL, status);
    if (!done) {
        (void)dlclose(handle);
        return false;
    }
    module->handle = handle;
    module->connector = connector;
    return true;
}

static bool
has_kind(const shoal_connector_t *connector, shoal_module_kind_t kind)
{
    switch (kind) {
    case SHOAL_MODULE_SOURCE: return connector->source != NULL;
    case SHOAL_MODULE_PROCESSOR: return connector->processor != NULL;
    case SHOAL_MODULE_SINK: return connector->sink != NULL;
    }
    return false;
}

static int
compare_names(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;
    return strcmp(*x, *y);
}

// Fails with the list of what there is in that role. Modules that cannot be loaded are left out.
static bool
refuse_type(shoal_modules_t *modules, const char *type, shoal_module_kind_t kind, const char *key,
            shoal_status_t *status)
{
    const char *names[SHOAL_MODULE_COUNT_MAX + 1] = {NULL};
    size_t count = 0;
    for (size_t i = 0; i < modules->count; i++) {
        module_t *module = &modules->modules[i];
        if (load(modules, module, status) && has_kind(module->connector, kind)) {
            names[count++] = module->name;
        }
    }
    qsort(names, count, sizeof(*names), compare_names);
    shoal_buffer_t known = SHOAL_BUFFER_INIT;
    for (size_t i = 0; i < count; i++) {
        shoal_buffer_append_format(&known, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    const char *nearest = shoal_nearest(type, names);
    shoal_status_clear(status);
    if (count == 0) {
        shoal_fail_key(status, key, "unknown %s type \"%s\": there is no %s connector in \"%s\"",
                       kind_names[kind], type, kind_names[kind], modules->directory);
    } else {
        shoal_fail_key(status, key, "unknown %s type \"%s\"%s%s%s; known: %s%s", kind_names[kind],
                       type, nearest ? ", did you mean \"" : "", nearest ? nearest : "",
                       nearest ? "\"?" : "", shoal_buffer_text(&known),
                       kind == SHOAL_MODULE_SINK && !nearest ? OTHER_SINK : "");
    }
    shoal_buffer_fini(&known);
    return false;
}

// Lower case, without what cannot be part of a module's name (a '/' above all).
static bool
fold_name(const char *type, char name[SHOAL_MODULE_NAME_MAX + 1])
{
    size_t len = strlen(type);
    if (len == 0 || len > SHOAL_MODULE_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i <= len; i++) {
        unsigned char c = (unsigned char)type[i];
        if (c != '\0' && !isalnum(c) && c != '_' && c != '-') {
            return false;
        }
        name[i] = (char)tolower(c);
    }
    return true;
}

static bool
find_locked(shoal_modules_t *modules, const char *type, shoal_module_kind_t kind, const char *key,
            const shoal_connector_t **ret_connector, shoal_status_t *status)
{
    char name[SHOAL_MODULE_NAME_MAX + 1];
    module_t *module = NULL;
    if (fold_name(type, name)) {
        module = find(modules, name);
        if (!module) {
            scan(modules);
            module = find(modules, name);
        }
    }
    if (!module) {
        char shown[SHOAL_MODULE_NAME_MAX + 1];
        (void)snprintf(shown, sizeof(shown), "%s", type);
        return refuse_type(modules, shown, kind, key, status);
    }
    if (!load(modules, module, status)) {
        return shoal_fail_blame(status, key);
    }
    if (!has_kind(module->connector, kind)) {
        return refuse_type(modules, module->name, kind, key, status);
    }
    *ret_connector = module->connector;
    return true;
}

bool
shoal_modules_find(shoal_modules_t *modules, const char *type, shoal_module_kind_t kind,
                   const char *key, const shoal_connector_t **ret_connector, shoal_status_t *status)
{
    assert(modules && type && key && ret_connector && status);
    (void)pthread_mutex_lock(&modules->mutex);
    bool done = find_locked(modules, type, kind, key, ret_connector, status);
    (void)pthread_mutex_unlock(&modules->mutex);
    return done;
}

static int
compare_modules(const void *a, const void *b)
{
    const module_t *const *x = a;
    const module_t *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

void
shoal_modules_list(shoal_modules_t *modules, shoal_buffer_t *out)
{
    (void)pthread_mutex_lock(&modules->mutex);
    scan(modules);
    module_t *sorted[SHOAL_MODULE_COUNT_MAX] = {NULL};
    for (size_t i = 0; i < modules->count; i++) {
        sorted[i] = &modules->modules[i];
    }
    qsort(sorted, modules->count, sizeof(module_t *), compare_modules);
    for (size_t i = 0; i < modules->count; i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        if (!load(modules, sorted[i], &status)) {
            shoal_buffer_append_format(out, "%-16s %s\n", sorted[i]->name, status.text);
            continue;
        }
        char roles[32] = "";
        for (unsigned kind = 0; kind < 3; kind++) {
            if (has_kind(sorted[i]->connector, (shoal_module_kind_t)kind)) {
                size_t used = strlen(roles);
                (void)snprintf(roles + used, sizeof(roles) - used, "%s%s", used > 0 ? "," : "",
                               kind_names[kind]);
            }
        }
        shoal_buffer_append_format(out, "%-16s %-10s %s\n", sorted[i]->name, roles,
                                   sorted[i]->connector->summary);
    }
    (void)pthread_mutex_unlock(&modules->mutex);
}

bool
shoal_modules_template(shoal_modules_t *modules, const char *type, const char **ret_text,
                       shoal_status_t *status)
{
    const shoal_connector_t *connector = NULL;
    if (!shoal_modules_find(modules, type, SHOAL_MODULE_SOURCE, "source.type", &connector,
                            status)) {
        return false;
    }
    assert(connector);
    if (!connector->template_text) {
        return shoal_fail(status, SHOAL_NOT_FOUND,
                          "source \"%s\" has no workflow file to start from", connector->name);
    }
    *ret_text = connector->template_text;
    return true;
}
