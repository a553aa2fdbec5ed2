// SPDX-License-Identifier: Apache-2.0
//
// url.h - a source given as an address on the command line, as the text of a workflow file.
//
//   postgres://user:password@host:port/database?sslmode=require
//   sqlite:PATH, or just the path of a .db, .sqlite or .sqlite3 file
//
// What an address leaves out comes from PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD and
// PGPASSFILE, as with libpq; they are read here because children get a scrubbed environment.
//
// Threads: any.  Logging: none; a password never gets into a message.

#ifndef SHOAL_CLIENT_URL_H
#define SHOAL_CLIENT_URL_H

#include "proto/base/buffer.h"
#include "proto/base/status.h"

#define SHOAL_URL_BYTES_MAX 4096

// The address without its password, for messages: "postgres://user@host/db". Cut to `size`.
void shoal_url_redact(const char *url, char *text, size_t size);

// Gives a variable's value or NULL, as getenv().
typedef const char *shoal_url_variable_fn(void *ctx, const char *name);

// Appends a workflow file (JSON, which is YAML) with this source and a `file` sink.
//   SHOAL_INVALID      malformed, an unknown option
//   SHOAL_UNSUPPORTED  another kind of source (the known ones are listed)
//   SHOAL_NOT_FOUND    a path that is not there
SHOAL_MUST_CHECK bool shoal_url_workflow(const char *url, shoal_url_variable_fn *variable,
                                         void *ctx, shoal_buffer_t *out, shoal_status_t *status);

// Overwrites the password inside `url` in place (the process's own argument list).
void shoal_url_wipe(char *url);

#endif
