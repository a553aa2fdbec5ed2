// SPDX-License-Identifier: Apache-2.0
//
// endpoint.h - where a head listens, and which endpoints strangers cannot reach.
//
// ipc speaks plainly in a folder that is ours and closed to others. TCP needs keys, except on
// loopback where somebody says so, for tests and benchmarks.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_PROTO_WIRE_ENDPOINT_H
#define SHOAL_PROTO_WIRE_ENDPOINT_H

#include "proto/base/status.h"

#define SHOAL_IPC_PATH_MAX      107 // bytes; what a Unix socket's address holds
#define SHOAL_ENDPOINT_HOST_MAX 253 // bytes of a host's name

typedef struct shoal_endpoint_use {
    bool is_listening;      // else it is dialled
    bool has_keys;          // CURVE is on
    bool insecure_loopback; // tcp without keys is wanted on 127.0.0.1 and [::1]
} shoal_endpoint_use_t;

// Refuses what is no endpoint, and what strangers could reach; says what to do instead.
//   SHOAL_INVALID      not an endpoint, a port that is none, or a path that is too long
//   SHOAL_DENIED       others can enter the folder of an ipc endpoint, or it is not ours
//   SHOAL_NOT_FOUND    there is no such folder
//   SHOAL_UNSUPPORTED  tcp without keys
//   SHOAL_IO           the folder cannot be looked at
SHOAL_MUST_CHECK bool shoal_endpoint_check(const char *endpoint, shoal_endpoint_use_t use,
                                           shoal_status_t *status);

bool shoal_endpoint_is_tcp(const char *endpoint);

// Its host is an IPv6 address in brackets: the socket needs ZMQ_IPV6.
bool shoal_endpoint_is_ipv6(const char *endpoint);

// The host of a tcp endpoint, without brackets, and its port as text.
//   SHOAL_INVALID  it is no "tcp://HOST:PORT"
typedef struct shoal_endpoint_parts {
    char host[SHOAL_ENDPOINT_HOST_MAX + 1];
    char port[6];
} shoal_endpoint_parts_t;
SHOAL_MUST_CHECK bool shoal_endpoint_split(const char *endpoint, shoal_endpoint_parts_t *ret_parts,
                                           shoal_status_t *status);

#endif
