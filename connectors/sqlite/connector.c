// SPDX-License-Identifier: Apache-2.0
//
// connector.c - what the sqlite module exports: its options and its template.

#include "connectors/sqlite/source.h"

#define NOT_YET    "not in this version"
#define NO_MEANING "Shoal reads metadata only by this file"
#define A_FILE     "SQLite is a file"

// Keys of OpenMetadata's sqliteConnection.
static const shoal_option_t connection_options[] = {
    {"type", SHOAL_OPTION_TEXT, 0, "SQLite", 0, 0, NULL, "SQLite"},
    {"databaseMode", SHOAL_OPTION_TEXT, 0, NULL, 0, 0, NULL, "path of the database file"},
    {"database", SHOAL_OPTION_TEXT, 0, NULL, 0, 0, NULL,
     "the same; with databaseMode: the database's name in the output"},
    {"databaseName", SHOAL_OPTION_TEXT, 0, NULL, 0, 0, NULL,
     "the database's name in the output, \"default\""},
    {"scheme", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, A_FILE},
    {"hostPort", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, A_FILE},
    {"username", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, A_FILE},
    {"password", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED | SHOAL_OPTION_SECRET, NULL, 0, 0, NULL,
     A_FILE},
    {"connectionOptions", SHOAL_OPTION_VALUE, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, A_FILE},
    {"connectionArguments", SHOAL_OPTION_VALUE, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, A_FILE},
    {"sampleDataStorageConfig", SHOAL_OPTION_VALUE, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"supportsMetadataExtraction", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"supportsDBTExtraction", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     NO_MEANING},
    {"supportsProfiler", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"supportsQueryComment", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {"supportsDataDiff", SHOAL_OPTION_TEXT, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, NO_MEANING},
    {.path = NULL},
};

// Keys of OpenMetadata's DatabaseMetadata.
static const shoal_option_t source_options[] = {
    {"type", SHOAL_OPTION_TEXT, 0, "DatabaseMetadata", 0, 0, "DatabaseMetadata",
     "DatabaseMetadata"},
    {"databaseFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL, "databases to read"},
    {"schemaFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL,
     "schemas to read; there is one, \"main\""},
    {"tableFilterPattern", SHOAL_OPTION_PATTERN, 0, NULL, 0, 0, NULL, "tables and views to read"},
    {"useFqnForFiltering", SHOAL_OPTION_FLAG, 0, "false", 0, 0, NULL,
     "match patterns against service.database.schema.table instead of the name"},
    {"includeTables", SHOAL_OPTION_FLAG, 0, "true", 0, 0, NULL, "tables"},
    {"includeViews", SHOAL_OPTION_FLAG, 0, "true", 0, 0, NULL, "views"},
    {"includeTags", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, "SQLite has none"},
    {"includeOwners", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, "SQLite has none"},
    {"ownerConfig", SHOAL_OPTION_VALUE, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL, "SQLite has none"},
    {"includeStoredProcedures", SHOAL_OPTION_FLAG, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     "SQLite has none"},
    {"storedProcedureFilterPattern", SHOAL_OPTION_PATTERN, SHOAL_OPTION_IGNORED, NULL, 0, 0, NULL,
     "SQLite has none"},
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
    {"tables_per_shard", SHOAL_OPTION_COUNT, 0, "100", 1, 1000000, NULL,
     "size of a shard of type table_count"},
    {.path = NULL},
};

static const char template_text[] =
    "# Reads the catalogue of an SQLite database. Run it with: shoal ingest -c FILE\n"
    "source:\n"
    "  type: sqlite\n"
    "  serviceName: my_sqlite              # the first part of every name in the output\n"
    "  serviceConnection:\n"
    "    config:\n"
    "      type: SQLite\n"
    "      databaseMode: ${SQLITE_FILE:-my.db} # path of the file\n"
    "  sourceConfig:\n"
    "    config:\n"
    "      type: DatabaseMetadata\n"
    "      includeTables: true\n"
    "      includeViews: true\n"
    "      # Regular expressions, anchored at the start, in any case. If there are includes, they\n"
    "      # alone decide.\n"
    "      # tableFilterPattern:\n"
    "      #   excludes: [\"^tmp_\"]\n"
    "sink:\n"
    "  type: file\n"
    "  config:\n"
    "    filename: my_sqlite.jsonl         # one JSON object a line; \"-\": standard output\n"
    "workflowConfig:\n"
    "  loggerLevel: INFO\n";

SHOAL_CONNECTOR_EXPORT const shoal_connector_t shoal_connector = {
    .abi = SHOAL_CONNECTOR_ABI,
    .name = "sqlite",
    .summary = "SQLite 3 files: tables, views, columns, keys, comments",
    .template_text = template_text,
    .source = &shoal_sqlite_source_ops,
    .connection = connection_options,
    .options = source_options,
    .sharding = sharding_options,
};
