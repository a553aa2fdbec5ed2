// SPDX-License-Identifier: Apache-2.0
//
// module.h - the connectors that a worker knows: modules shoal-NAME.so in one directory.
//
// A module is loaded when a job first names its type, looked over (ABI, name, members), and kept
// until the process ends. Type names ignore case, as in workflow files of OpenMetadata ("Postgres").
//
// Threads: any; a mutex guards the table. Connectors themselves are constants.  Logging: none.

#ifndef SHOAL_WORKER_MODULE_H
#define SHOAL_WORKER_MODULE_H

#include "connectors/connector.h"

#define SHOAL_MODULE_NAME_MAX  64  // bytes of a type's name
#define SHOAL_MODULE_COUNT_MAX 256 // modules in the directory, the rest is not looked at

typedef struct shoal_modules shoal_modules_t;

typedef enum shoal_module_kind {
    SHOAL_MODULE_SOURCE,
    SHOAL_MODULE_PROCESSOR,
    SHOAL_MODULE_SINK,
} shoal_module_kind_t;

// Appends the directory where modules stand beside this program: ../lib/shoal from its own folder.
//   SHOAL_IO  the program's own path cannot be read
SHOAL_MUST_CHECK bool shoal_modules_directory(shoal_buffer_t *out, shoal_status_t *status);

// The modules of `directory` (copied); it is read when a type is asked for. Caller owns it; no
// connector may be used after destroy.
shoal_modules_t *shoal_modules_new(const char *directory);
void shoal_modules_destroy(shoal_modules_t **modules);

// Makes a connector known that is part of the program (borrowed); it goes before a file's.
void shoal_modules_add(shoal_modules_t *modules, const shoal_connector_t *connector);

// The connector of `type` in the role of `kind`; `key` is the place of the name in the workflow
// file ("source.type").
//   SHOAL_INVALID      no such type, or none in this role; the sentence lists the known ones
//   SHOAL_UNSUPPORTED  the module was built for another ABI, or is broken (status.key is set)
SHOAL_MUST_CHECK bool shoal_modules_find(shoal_modules_t *modules, const char *type,
                                         shoal_module_kind_t kind, const char *key,
                                         const shoal_connector_t **ret_connector,
                                         shoal_status_t *status);

// Appends a line for each module: its name, its roles, its summary, or why it cannot be used.
void shoal_modules_list(shoal_modules_t *modules, shoal_buffer_t *out);

// The workflow file to start from, of a source's type.
//   as for find; SHOAL_NOT_FOUND  the source has no such file
SHOAL_MUST_CHECK bool shoal_modules_template(shoal_modules_t *modules, const char *type,
                                             const char **ret_text, shoal_status_t *status);

#endif
