// SPDX-License-Identifier: Apache-2.0
//
// connector.c - what the postgres module exports: its options and its template.

#include "connectors/postgres/settings.h"
#include "connectors/postgres/source.h"

#define NO_MEANING   "Shoal reads metadata only by this file"
#define NOT_YET      "not in this version"
#define PATTERN_HERE "counts where sourceConfig.config has none"

// Keys of OpenMetadata's postgresConnection. Those that a catalogue reader has no use for are known
// and said once.
static const shoal_option_t connection_options[] = {
    {"type", SHOAL_OPTION_TEXT, 0, "Postgres", 0, 0, NULL, "Postgres"},
    {"scheme", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, "libpq is always used"},
    {"hostPort", SHOAL_OPTION_TEXT, SHOAL_OPTION_MUST, NULL, 0, 0, NULL,
     "HOST:PORT, [IPV6]:PORT or the directory of a Unix socket; the port is 5432 if not written"},
    {"username", SHOAL_OPTION_TEXT, SHOAL_OPTION_MUST, NULL, 0, 0, NULL, "the role to connect as"},
    {"password", SHOAL_OPTION_TEXT, SHOAL_OPTION_SECRET, NULL, 0, 0, NULL,
     "its password (older files)"},
    {"authType.password", SHOAL_OPTION_TEXT, SHOAL_OPTION_SECRET, NULL, 0, 0, NULL, "its password"},
    {"database", SHOAL_OPTION_TEXT, SHOAL_OPTION_MUST, NULL, 0, 0, NULL,
     "the database to read, or to ask for the others"},
    {"ingestAllDatabases", SHOAL_OPTION_FLAG, 0, "false", 0, 0, NULL,
     "read every database that databaseFilterPattern leaves"},
    {"sslMode", SHOAL_OPTION_TEXT, 0, "prefer", 0, 0,
     "disable|allow|prefer|require|verify-ca|verify-full", "TLS as libpq's sslmode says it"},
    {"sslConfig.caCertificate", SHOAL_OPTION_TEXT, 0, NULL, 0, 0, NULL,
     "path of the certificates to trust"},
    {"sslConfig.sslCertificate", SHOAL_OPTION_TEXT, 0, NULL, 0, 0, NULL,
     "path of the client's certificate"},
    {"sslConfig.sslKey", SHOAL_OPTION_TEXT, SHOAL_OPTION_SECRET, NULL, 0, 0, NULL,
     "path of the client's key"},
    {"connectionOptions", SHOAL_OPTION_VALUE, 0, NULL, 0, 0, NULL, "libpq keywords"},
    {"connectionArguments", SHOAL_OPTION_VALUE, 0, NULL, 0, 0, NULL, "libpq keywords"},
    {"statementTimeoutSeconds", SHOAL_OPTION_COUNT, 0, "300", 0, 86400, NULL,
     "a query that takes longer is given up; 0: none"},
    {"refusedRetrySeconds", SHOAL_OPTION_COUNT, 0, "20", 0, 3600, NULL,
     "how long a slot tries again when the server takes no more connections"},
    {"databaseFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL, PATTERN_HERE},
    {"schemaFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL, PATTERN_HERE},
    {"tableFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL, PATTERN_HERE},
    {"storedProcedureFilterPattern", SHOAL_OPTION_PATTERN, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NOT_YET},
    {"classificationName", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     "tags are not read yet"},
    {"queryStatementSource", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"sampleDataStorageConfig", SHOAL_OPTION_VALUE, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"supportsMetadataExtraction", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"supportsUsageExtraction", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"supportsLineageExtraction", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"supportsDBTExtraction", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"supportsProfiler", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"supportsDatabase", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"supportsQueryComment", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"supportsDataDiff", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"supportsSystemProfile", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {.path = NULL},
};

// Keys of OpenMetadata's DatabaseMetadata.
static const shoal_option_t source_options[] = {
    {"type", SHOAL_OPTION_TEXT, 0, "DatabaseMetadata", 0, 0, "DatabaseMetadata",
     "DatabaseMetadata"},
    {"databaseFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL,
     "databases to read; if not written all but template0 and template1"},
    {"schemaFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL,
     "schemas to read; if not written all but information_schema"},
    {"tableFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL, "tables and views to read"},
    {"useFqnForFiltering", SHOAL_OPTION_FLAG, 0, "false", 0, 0, NULL,
     "match patterns against service.database.schema.table instead of the name"},
    {"includeTables", SHOAL_OPTION_FLAG, 0, "true", 0, 0, NULL, "tables of all kinds"},
    {"includeViews", SHOAL_OPTION_FLAG, 0, "true", 0, 0, NULL, "views and materialised views"},
    {"includeTags", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"includeOwners", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"ownerConfig", SHOAL_OPTION_VALUE, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"includeStoredProcedures", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"storedProcedureFilterPattern", SHOAL_OPTION_PATTERN, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NOT_YET},
    {"includeDDL", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"markDeletedTables", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"markDeletedStoredProcedures", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NOT_YET},
    {"markDeletedSchemas", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"markDeletedDatabases", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"overrideMetadata", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"overrideViewLineage", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"queryLogDuration", SHOAL_OPTION_COUNT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"queryParsingTimeoutLimit", SHOAL_OPTION_COUNT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"threads", SHOAL_OPTION_COUNT, 0, "1", 0, 0, NULL, "above 1: slots at most"},
    {"incremental", SHOAL_OPTION_VALUE, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NOT_YET},
    {"extractJsonSchema", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"jsonSchemaSampleSize", SHOAL_OPTION_COUNT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {.path = NULL},
};

static const shoal_option_t sharding_options[] = {
    {"type", SHOAL_OPTION_TEXT, 0, "auto", 0, 0, "auto|database|schema|table_count",
     "how the work is cut"},
    {"tables_per_shard", SHOAL_OPTION_COUNT, 0, "2500", 1, SHOAL_PG_TABLES_PER_SHARD_MAX, NULL,
     "size of a shard of type table_count"},
    {.path = NULL},
};

static const char template_text[] =
    "# Reads the catalogue of a PostgreSQL server. Run it with: shoal ingest -c FILE\n"
    "source:\n"
    "  type: postgres\n"
    "  serviceName: my_postgres            # the first part of every name in the output\n"
    "  serviceConnection:\n"
    "    config:\n"
    "      type: Postgres\n"
    "      hostPort: ${PGHOST:-localhost}:${PGPORT:-5432}\n"
    "      username: ${PGUSER:-postgres}\n"
    "      authType:\n"
    "        password: ${PGPASSWORD:-}       # better a variable than a file\n"
    "      database: ${PGDATABASE:-postgres}\n"
    "      ingestAllDatabases: false       # true: every database of the server\n"
    "      sslMode: ${PGSSLMODE:-prefer}     # disable, prefer, require, verify-ca, verify-full\n"
    "  sourceConfig:\n"
    "    config:\n"
    "      type: DatabaseMetadata\n"
    "      includeTables: true\n"
    "      includeViews: true\n"
    "      # Regular expressions, anchored at the start, in any case. If there are includes, they\n"
    "      # alone decide. A schema also needs the privilege USAGE, or it is reported as failed.\n"
    "      schemaFilterPattern:\n"
    "        excludes: [\"^information_schema$\"]\n"
    "      # tableFilterPattern:\n"
    "      #   includes: [\"^orders$\", \"^dim_\"]\n"
    "sink:\n"
    "  type: file\n"
    "  config:\n"
    "    filename: my_postgres.jsonl       # one JSON object a line; \"-\": standard output\n"
    "workflowConfig:\n"
    "  loggerLevel: INFO\n";

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "postgres",
    .summary = "PostgreSQL 12 and later: databases, schemas, tables, views, columns, keys",
    .template_text = template_text,
    .source = &shoal_pg_source_ops,
    .connection = connection_options,
    .options = source_options,
    .sharding = sharding_options,
};
