// SPDX-License-Identifier: Apache-2.0
//
// endpoint.c - see endpoint.h.

#include "proto/wire/endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TCP "tcp://"
#define IPC "ipc://"

static bool
starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool
shoal_endpoint_is_tcp(const char *endpoint)
{
    return starts_with(endpoint, TCP);
}

bool
shoal_endpoint_is_ipv6(const char *endpoint)
{
    return starts_with(endpoint, TCP "[");
}

// Digits only: the library takes "PORT;HOST:PORT" for a source and another target.
static bool
is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long port = digits > 0 && digits <= 5 ? strtoul(text, NULL, 10) : 0;
    return text[digits] == '\0' && ((port >= 1 && port <= 65535) || strcmp(text, "0") == 0);
}

bool
shoal_endpoint_split(const char *endpoint, shoal_endpoint_parts_t *ret_parts,
                     shoal_status_t *status)
{
    const char *host = endpoint + strlen(TCP);
    const char *colon = starts_with(endpoint, TCP) ? strrchr(host, ':') : NULL;
    size_t len = colon ? (size_t)(colon - host) : 0;
    bool has_brackets = len >= 2 && host[0] == '[' && host[len - 1] == ']';
    host += has_brackets ? 1 : 0;
    len -= has_brackets ? 2 : 0;
    bool is_good = len > 0 && len <= SHOAL_ENDPOINT_HOST_MAX &&
                   strcspn(host, has_brackets ? "[];/ \t" : "[];/ \t:") >= len;
    if (!is_good || (!is_port(colon + 1) && strcmp(colon + 1, "*") != 0)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "\"%.300s\" is no endpoint: write tcp://HOST:PORT, with an IPv6 address "
                          "in brackets and a port from 1 to 65535",
                          endpoint);
    }
    (void)snprintf(ret_parts->host, sizeof(ret_parts->host), "%.*s", (int)len, host);
    (void)snprintf(ret_parts->port, sizeof(ret_parts->port), "%s", colon + 1);
    return true;
}

static bool
ipc_check(const char *path, const char *verb, shoal_status_t *status)
{
    size_t len = strlen(path);
    if (path[0] != '/' || len > SHOAL_IPC_PATH_MAX) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot %s \"ipc://%.300s\": its path must be absolute and have at most "
                          "%d bytes, it has %zu",
                          verb, path, SHOAL_IPC_PATH_MAX, len);
    }
    char folder[SHOAL_IPC_PATH_MAX + 1];
    size_t cut = (size_t)(strrchr(path, '/') - path);
    memcpy(folder, path, cut);
    folder[cut] = '\0';
    struct stat about;
    if (stat(cut ? folder : "/", &about) != 0) {
        return shoal_fail_errno(status, errno, "cannot %s \"ipc://%s\"", verb, path);
    }
    if (!S_ISDIR(about.st_mode) || about.st_uid != geteuid() || (about.st_mode & 077) != 0) {
        return shoal_fail(status, SHOAL_DENIED,
                          "refusing to %s \"ipc://%s\": its folder must belong to you, and no one "
                          "else may enter it (chmod 700 %s)",
                          verb, path, cut ? folder : "/");
    }
    return true;
}

static bool
is_loopback(const char *host)
{
    return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0;
}

static bool
tcp_check(const char *endpoint, const shoal_endpoint_use_t *use, const char *verb,
          shoal_status_t *status)
{
    shoal_endpoint_parts_t parts;
    if (!shoal_endpoint_split(endpoint, &parts, status)) {
        return shoal_fail_while(status, "cannot %s it", verb);
    }
    bool is_any = strcmp(parts.port, "*") == 0 || strcmp(parts.port, "0") == 0;
    if (!use->is_listening && (is_any || strcmp(parts.host, "*") == 0)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot %s \"%s\": a host and a port from 1 to 65535 are needed", verb,
                          endpoint);
    }
    if (use->has_keys) {
        return true;
    }
    if (!use->insecure_loopback) {
        return shoal_fail(
            status, SHOAL_UNSUPPORTED, "refusing to %s \"%s\" without keys; %s", verb, endpoint,
            use->is_listening
                ? "give --keys DIR (shoal start --head --listen ENDPOINT makes them), or use ipc://"
                : "give --join-file FILE (made on the head's host by: shoal key new), or use "
                  "ipc://");
    }
    return is_loopback(parts.host) ||
           shoal_fail(status, SHOAL_UNSUPPORTED,
                      "refusing to %s \"%s\" without keys: --insecure-loopback is for 127.0.0.1 "
                      "and [::1] only",
                      verb, endpoint);
}

bool
shoal_endpoint_check(const char *endpoint, shoal_endpoint_use_t use, shoal_status_t *status)
{
    const char *verb = use.is_listening ? "listen at" : "connect to";
    if (starts_with(endpoint, IPC)) {
        return ipc_check(endpoint + strlen(IPC), verb, status);
    }
    if (!starts_with(endpoint, TCP)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "cannot %s \"%.300s\": write ipc:///dir/head.sock or tcp://host:port",
                          verb, endpoint);
    }
    return tcp_check(endpoint, &use, verb, status);
}
