// SPDX-License-Identifier: Apache-2.0
//
// arguments.h - a command's options, read against its table.
//
// One table for each command: parsing, --help and suggestions for unknown options come from it.
//
// Threads: one owner.  Logging: none.

#ifndef SHOAL_CLIENT_ARGUMENTS_H
#define SHOAL_CLIENT_ARGUMENTS_H

#include <stdint.h>

#include "proto/base/buffer.h"
#include "proto/base/status.h"

#define SHOAL_ARGUMENTS_REPEATED_MAX 256 // values of one option, words of one command

typedef struct shoal_argument {
    char letter;       // 'c' for -c; 0: none
    const char *name;  // "config" for --config; NULL ends the table
    const char *value; // "FILE"; NULL: a switch
    const char *help;  // one sentence without a full stop; may have lines
} shoal_argument_t;

typedef struct shoal_arguments shoal_arguments_t;

typedef struct shoal_command {
    const char *name;    // "ingest", "job list"
    const char *usage;   // after "shoal NAME": "-c FILE [OPTION]..."
    const char *summary; // one line
    const shoal_argument_t *arguments;
    const char *examples; // lines
    size_t words_min, words_max;
    int (*run)(const shoal_arguments_t *arguments); // gives the exit code
} shoal_command_t;

// Reads argv[1..]; argv[0] is not looked at. The texts stay argv's. "--help" is always known; with
// it nothing else is checked.
//   SHOAL_INVALID  unknown option (the nearest is suggested), value missing, too many or few words
SHOAL_MUST_CHECK bool shoal_arguments_read(const shoal_command_t *command, int argc, char **argv,
                                           shoal_arguments_t **ret_arguments,
                                           shoal_status_t *status);
void shoal_arguments_destroy(shoal_arguments_t **arguments);

bool shoal_arguments_want_help(const shoal_arguments_t *arguments);

// By the option's name; a name that is not in the table is a programmer's error.
bool shoal_arguments_has(const shoal_arguments_t *arguments, const char *name);
const char *shoal_arguments_text(const shoal_arguments_t *arguments, const char *name); // or NULL
// Every value of an option that may be repeated, NULL-terminated.
const char *const *shoal_arguments_list(const shoal_arguments_t *arguments, const char *name);

// A whole number from `min` to `max`; `preset` if the option was not given.
//   SHOAL_INVALID  it is something else
SHOAL_MUST_CHECK bool shoal_arguments_count(const shoal_arguments_t *arguments, const char *name,
                                            uint64_t min, uint64_t max, uint64_t preset,
                                            uint64_t *ret_count, shoal_status_t *status);

// One of `words`, which are separated by '|', in any case.
//   SHOAL_INVALID  it is another one
SHOAL_MUST_CHECK bool shoal_arguments_choice(const shoal_arguments_t *arguments, const char *name,
                                             const char *words, shoal_status_t *status);

size_t shoal_arguments_words(const shoal_arguments_t *arguments);
const char *shoal_arguments_word(const shoal_arguments_t *arguments, size_t index); // or NULL

// The text of `shoal COMMAND --help`.
void shoal_command_help(const shoal_command_t *command, shoal_buffer_t *out);

#endif
