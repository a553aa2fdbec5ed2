// SPDX-License-Identifier: Apache-2.0
//
// settings.h - the options of one job, checked and brought into the form that libpq and the
// readers want.
//
// Threads: read-only after new.  Logging: none.

#ifndef SHOAL_CONNECTORS_POSTGRES_SETTINGS_H
#define SHOAL_CONNECTORS_POSTGRES_SETTINGS_H

#include "connectors/connector.h"
#include "connectors/patterns.h"

#define SHOAL_PG_KEYWORDS_MAX         32   // libpq keywords of one connection, with ours
#define SHOAL_PG_TABLES_PER_SHARD     2500 // below this a shard is not worth its round trip
#define SHOAL_PG_TABLES_PER_SHARD_MAX 1000000
#define SHOAL_PG_CONNECT_TIMEOUT_MS   10000 // unless connect_timeout is written

typedef enum shoal_pg_sharding {
    SHOAL_PG_SHARDING_AUTO,
    SHOAL_PG_SHARDING_DATABASE,
    SHOAL_PG_SHARDING_SCHEMA,
    SHOAL_PG_SHARDING_TABLE_COUNT,
} shoal_pg_sharding_t;

typedef struct shoal_pg_settings {
    const shoal_options_t *options; // borrowed
    const char *service;            // borrowed

    // Keywords and values for PQconnectStartParams; `database_at` is dbname's index.
    const char *keywords[SHOAL_PG_KEYWORDS_MAX + 1];
    const char *values[SHOAL_PG_KEYWORDS_MAX + 1];
    size_t keyword_count;
    size_t database_at;

    const char *host_port;    // as written, for messages
    const char *user;         // borrowed from the options
    const char *database;     // the one to connect to first
    const char *password_key; // path of the option that has the password
    const char *sslmode;
    uint64_t connect_timeout_ms;
    uint64_t statement_timeout_ms; // 0: none
    uint64_t patience_ms;          // how long refused connections are tried again

    bool all_databases;
    bool include_tables;
    bool include_views;
    bool use_fqn;
    bool excludes_databases; // template0 and template1, because the file has no pattern
    bool excludes_schemas;   // information_schema, because the file has no pattern
    shoal_patterns_t *databases;
    shoal_patterns_t *schemas;
    shoal_patterns_t *tables;

    shoal_pg_sharding_t sharding;
    uint64_t tables_per_shard;

    char *texts[SHOAL_PG_KEYWORDS_MAX]; // what values[] points into
    size_t text_count;
} shoal_pg_settings_t;

// The keywords that connectionOptions and connectionArguments may have are in settings.c.
//   SHOAL_INVALID  a value cannot be understood; status.key says which
SHOAL_MUST_CHECK bool shoal_pg_settings_new(const shoal_options_t *options, const char *service,
                                            const shoal_host_t *host,
                                            shoal_pg_settings_t **ret_settings,
                                            shoal_status_t *status);
void shoal_pg_settings_destroy(shoal_pg_settings_t **settings);

// Whether a database, schema or table stays. `fqn` is matched instead of `name` if the file says
// useFqnForFiltering.
SHOAL_MUST_CHECK bool shoal_pg_settings_keep_database(const shoal_pg_settings_t *settings,
                                                      shoal_slice_t name, shoal_slice_t fqn,
                                                      bool *ret_keep, shoal_status_t *status);
SHOAL_MUST_CHECK bool shoal_pg_settings_keep_schema(const shoal_pg_settings_t *settings,
                                                    shoal_slice_t name, shoal_slice_t fqn,
                                                    bool *ret_keep, shoal_status_t *status);

#endif
