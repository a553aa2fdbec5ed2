// SPDX-License-Identifier: Apache-2.0
//
// source.c - see source.h.

#include "connectors/postgres/source.h"

#include <stdlib.h>

#include "connectors/postgres/discovery.h"
#include "connectors/postgres/reader.h"
#include "proto/base/alloc.h"

// Looks whether the role may read the catalogues that the readers read.
#define CHECK_SQL                                                                                  \
    "select pg_catalog.string_agg(t, ', ') from pg_catalog.unnest(array['pg_class', "              \
    "'pg_attribute', 'pg_attrdef', 'pg_constraint', 'pg_description', 'pg_namespace', "            \
    "'pg_type', 'pg_database', 'pg_shdescription']) t "                                            \
    "where not pg_catalog.has_table_privilege('pg_catalog.' || t, 'SELECT')"

typedef struct source {
    shoal_pg_settings_t *settings;
    const shoal_host_t *host;
    shoal_pg_session_t *session;
    shoal_pg_reader_t *reader;
} source_t;

static void
source_close(void *source)
{
    source_t *self = source;
    if (!self) {
        return;
    }
    shoal_pg_reader_destroy(&self->reader);
    shoal_pg_session_destroy(&self->session);
    shoal_pg_settings_destroy(&self->settings);
    free(self);
}

static bool
source_open(const shoal_options_t *options, const char *service, const shoal_host_t *host,
            void **ret_source, shoal_status_t *status)
{
    source_t *self = shoal_alloc(sizeof(*self));
    self->host = host;
    if (!shoal_pg_settings_new(options, service, host, &self->settings, status)) {
        source_close(self);
        return false;
    }
    self->session = shoal_pg_session_new(self->settings, host);
    self->reader = shoal_pg_reader_new(self->settings, host, self->session);
    *ret_source = self;
    return true;
}

static bool
check_privileges(const source_t *self, shoal_pg_link_t *link, shoal_status_t *status)
{
    const PGresult *row;
    if (!shoal_pg_link_begin(link, status) || !shoal_pg_link_row(link, &row, status)) {
        return false;
    }
    if (row && !PQgetisnull(row, 0, 0)) {
        shoal_slice_t tables = shoal_pg_text(row, 0);
        return shoal_fail_key(status, shoal_options_key(self->settings->options, "username"),
                              "role \"%s\" may not read %.*s", self->settings->user,
                              SHOAL_SLICE_ARGS(tables));
    }
    return !row || shoal_pg_link_row(link, &row, status);
}

static bool
source_check(void *source, shoal_status_t *status)
{
    source_t *self = source;
    shoal_pg_link_t *link;
    bool is_shared;
    bool is_done =
        shoal_pg_session_begin(self->session, shoal_slice_of(self->settings->database),
                               SHOAL_SLICE_NONE, &link, status) &&
        shoal_pg_link_send(link, "look at the role's privileges", CHECK_SQL, 0, NULL, status) &&
        shoal_pg_session_send_end(self->session, status) &&
        shoal_pg_session_opened(self->session, &is_shared, status) &&
        check_privileges(self, link, status) && shoal_pg_session_finish(self->session, status);
    if (!is_done) {
        shoal_pg_session_abandon(self->session);
        return false;
    }
    self->host->fact(self->host->ctx, "source", self->settings->host_port); // whose budget it is
    return true;
}

static bool
source_discover(void *source, shoal_slice_t resume, const shoal_discovery_t *to,
                shoal_status_t *status)
{
    source_t *self = source;
    return shoal_pg_discover(self->settings, self->host, self->session, resume, to, status);
}

static bool
source_read(void *source, shoal_stage_t stage, shoal_slice_t args, const shoal_emitter_t *to,
            shoal_status_t *status)
{
    source_t *self = source;
    if (stage == SHOAL_STAGE_PREPARE) {
        shoal_pg_prepare_t prepare;
        return shoal_pg_prepare_read(args, &prepare, status) &&
               shoal_pg_reader_prepare(self->reader, &prepare, to, status);
    }
    shoal_pg_task_t task;
    if (!shoal_pg_task_read(args, &task, status)) {
        return false;
    }
    bool is_done = shoal_pg_reader_read(self->reader, &task, to, status);
    shoal_pg_task_fini(&task);
    return is_done;
}

const shoal_source_ops_t shoal_pg_source_ops = {
    .open = source_open,
    .close = source_close,
    .check = source_check,
    .discover = source_discover,
    .read = source_read,
};
