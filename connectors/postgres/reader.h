// SPDX-License-Identifier: Apache-2.0
//
// reader.h - reads what a shard names and hands its records over.
//
// Threads: one owner.  Logging: through the host.

#ifndef SHOAL_CONNECTORS_POSTGRES_READER_H
#define SHOAL_CONNECTORS_POSTGRES_READER_H

#include "connectors/postgres/discovery.h"
#include "connectors/postgres/plan.h"
#include "connectors/postgres/session.h"

typedef struct shoal_pg_reader shoal_pg_reader_t;

// Everything given is borrowed for the reader's life.
shoal_pg_reader_t *shoal_pg_reader_new(const shoal_pg_settings_t *settings,
                                       const shoal_host_t *host, shoal_pg_session_t *session);
void shoal_pg_reader_destroy(shoal_pg_reader_t **reader);

// The service, a database, its schemas.
SHOAL_MUST_CHECK bool shoal_pg_reader_prepare(shoal_pg_reader_t *reader,
                                              const shoal_pg_prepare_t *prepare,
                                              const shoal_emitter_t *to, shoal_status_t *status);

// Tables and views.
SHOAL_MUST_CHECK bool shoal_pg_reader_read(shoal_pg_reader_t *reader, const shoal_pg_task_t *task,
                                           const shoal_emitter_t *to, shoal_status_t *status);

#endif
