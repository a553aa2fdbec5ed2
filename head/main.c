// SPDX-License-Identifier: Apache-2.0
//
// main.c - shoal-head: the one process that decides.

#include <stdio.h>
#include <stdlib.h>

#include "head/config.h"

int
main(int argc, char **argv)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_config_t config;
    if (!shoal_config_parse(argc, argv, &config, &status)) {
        (void)fprintf(stderr, "shoal-head: %s\n", status.text);
        return 2;
    }
    if (config.wants_help) {
        (void)fputs(shoal_config_help(), stdout);
        return EXIT_SUCCESS;
    }
    if (config.wants_version) {
        (void)puts("shoal-head " SHOAL_VERSION);
        return EXIT_SUCCESS;
    }
    return EXIT_SUCCESS;
}
