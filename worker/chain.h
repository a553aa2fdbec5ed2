// SPDX-License-Identifier: Apache-2.0
//
// chain.h - the connectors of one pipeline instance: one source, some processors, one sink.
//
// Embedded, zeroed. Reads the pipeline's arguments, finds the modules, reads each connector's
// options and opens it. Errors carry the key's path from the root of the workflow file.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_WORKER_CHAIN_H
#define SHOAL_WORKER_CHAIN_H

#include "connectors/connector.h"
#include "worker/module.h"
#include "worker/secrets.h"

#define SHOAL_CHAIN_WARNINGS_MAX 50 // about options; further ones are not kept

typedef struct shoal_link {
    const shoal_connector_t *connector;
    shoal_options_t *options;
    void *instance;
} shoal_link_t;

typedef struct shoal_chain {
    shoal_link_t source;
    shoal_link_t sink;
    shoal_link_t *processors;
    size_t processor_count;
    shoal_options_t *sharding;
    char *service;
    bool is_lenient;
    char *warnings[SHOAL_CHAIN_WARNINGS_MAX]; // "KEY: what", found while options were read
    size_t warning_count;
    shoal_secrets_t secrets; // that the options have
} shoal_chain_t;

// Opens everything; fills what `host` says of the job (is_dry_run, slots, sharding). A chain that
// could not be opened is closed again.
//   SHOAL_INVALID      the arguments, a type or an option
//   SHOAL_UNSUPPORTED  a module that cannot be used
//   what a connector's open fails with
SHOAL_MUST_CHECK bool shoal_chain_open(shoal_chain_t *chain, shoal_modules_t *modules,
                                       shoal_slice_t args, shoal_host_t *host,
                                       shoal_status_t *status);
void shoal_chain_close(shoal_chain_t *chain);

#endif
