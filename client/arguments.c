// SPDX-License-Identifier: Apache-2.0
//
// arguments.c - see arguments.h.

#include "client/arguments.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "proto/base/alloc.h"
#include "proto/base/nearest.h"

#define OPTIONS_MAX 40
#define HELP_NUMBER 1000 // getopt's value for --help; an option's is its index

typedef struct given {
    const char *values[SHOAL_ARGUMENTS_REPEATED_MAX + 1];
    size_t count;
} given_t;

struct shoal_arguments {
    const shoal_command_t *command;
    size_t option_count;
    given_t *given[OPTIONS_MAX]; // NULL: not given
    given_t words;
    bool wants_help;
};

static size_t
index_of(const shoal_arguments_t *arguments, const char *name)
{
    for (size_t i = 0; i < arguments->option_count; i++) {
        if (strcmp(arguments->command->arguments[i].name, name) == 0) {
            return i;
        }
    }
    assert(false && "an option that is not in the command's table");
    return 0;
}

// Fills getopt's two descriptions out of the table.
static void
describe(const shoal_arguments_t *arguments, struct option *options, char *letters)
{
    *letters++ = ':'; // a missing value is told apart from an unknown option
    *letters++ = 'h';
    for (size_t i = 0; i < arguments->option_count; i++) {
        const shoal_argument_t *argument = &arguments->command->arguments[i];
        int has_value = argument->value ? required_argument : no_argument;
        options[i] = (struct option){argument->name, has_value, NULL, (int)i + HELP_NUMBER + 1};
        if (argument->letter) {
            *letters++ = argument->letter;
            if (argument->value) {
                *letters++ = ':';
            }
        }
    }
    *letters = '\0';
    options[arguments->option_count] = (struct option){"help", no_argument, NULL, HELP_NUMBER};
    options[arguments->option_count + 1] = (struct option){NULL, 0, NULL, 0};
}

static bool
unknown(const shoal_arguments_t *arguments, const char *written, int letter, shoal_status_t *status)
{
    const char *names[OPTIONS_MAX + 2];
    size_t count = 0;
    for (; count < arguments->option_count; count++) {
        names[count] = arguments->command->arguments[count].name;
    }
    names[count++] = "help";
    names[count] = NULL;
    if (letter && letter < HELP_NUMBER) {
        return shoal_fail(status, SHOAL_INVALID, "unknown option \"-%c\"; see: shoal %s --help",
                          letter, arguments->command->name);
    }
    char word[64];
    (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(written, "="), written);
    const char *bare = word + strspn(word, "-");
    const char *near = shoal_nearest(bare, names);
    return shoal_fail(status, SHOAL_INVALID, "unknown option \"%s\"%s%s%s; see: shoal %s --help",
                      word, near ? ", did you mean \"--" : "", near ? near : "", near ? "\"?" : "",
                      arguments->command->name);
}

static bool
take(shoal_arguments_t *arguments, size_t index, const char *value, shoal_status_t *status)
{
    if (!arguments->given[index]) {
        arguments->given[index] = shoal_alloc(sizeof(given_t));
    }
    given_t *given = arguments->given[index];
    if (given->count == SHOAL_ARGUMENTS_REPEATED_MAX) {
        return shoal_fail(status, SHOAL_INVALID, "option \"--%s\" stands more than %d times",
                          arguments->command->arguments[index].name, SHOAL_ARGUMENTS_REPEATED_MAX);
    }
    given->values[given->count++] = value ? value : "";
    return true;
}

static size_t
index_of_letter(const shoal_arguments_t *arguments, int letter)
{
    size_t i = 0;
    while (i < arguments->option_count && arguments->command->arguments[i].letter != letter) {
        i++;
    }
    return i;
}

static bool
read_options(shoal_arguments_t *arguments, int argc, char **argv, shoal_status_t *status)
{
    struct option options[OPTIONS_MAX + 2];
    char letters[2 * OPTIONS_MAX + 4];
    describe(arguments, options, letters);
    opterr = 0;
    optind = 0; // GNU: begin anew
    int found;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
    while ((found = getopt_long(argc, argv, letters, options, NULL)) != -1) {
        if (found == 'h' || found == HELP_NUMBER) {
            arguments->wants_help = true;
            return true;
        }
        if (found == ':') {
            return shoal_fail(status, SHOAL_INVALID,
                              "option \"%s\" needs a value; see: shoal %s "
                              "--help",
                              argv[optind - 1], arguments->command->name);
        }
        if (found == '?') {
            return unknown(arguments, argv[optind - 1], optopt, status);
        }
        size_t index = found > HELP_NUMBER ? (size_t)(found - HELP_NUMBER - 1)
                                           : index_of_letter(arguments, found);
        if (!take(arguments, index, optarg, status)) {
            return false;
        }
    }
    for (int i = optind; i < argc; i++) {
        if (arguments->words.count < SHOAL_ARGUMENTS_REPEATED_MAX) {
            arguments->words.values[arguments->words.count++] = argv[i];
        }
    }
    return true;
}

bool
shoal_arguments_read(const shoal_command_t *command, int argc, char **argv,
                     shoal_arguments_t **ret_arguments, shoal_status_t *status)
{
    shoal_arguments_t *arguments = shoal_alloc(sizeof(*arguments));
    arguments->command = command;
    while (command->arguments[arguments->option_count].name) {
        arguments->option_count++;
    }
    assert(arguments->option_count <= OPTIONS_MAX);
    bool done = read_options(arguments, argc, argv, status);
    size_t words = arguments->words.count;
    if (done && !arguments->wants_help && words > command->words_max) {
        done =
            shoal_fail(status, SHOAL_INVALID, "unexpected \"%.200s\"; usage: shoal %s %s",
                       arguments->words.values[command->words_max], command->name, command->usage);
    } else if (done && !arguments->wants_help && words < command->words_min) {
        done = shoal_fail(status, SHOAL_INVALID, "something is missing; usage: shoal %s %s",
                          command->name, command->usage);
    }
    if (!done) {
        shoal_arguments_destroy(&arguments);
        return false;
    }
    *ret_arguments = arguments;
    return true;
}

void
shoal_arguments_destroy(shoal_arguments_t **arguments)
{
    if (arguments && *arguments) {
        for (size_t i = 0; i < OPTIONS_MAX; i++) {
            free((*arguments)->given[i]);
        }
        free(*arguments);
        *arguments = NULL;
    }
}

bool
shoal_arguments_want_help(const shoal_arguments_t *arguments)
{
    return arguments->wants_help;
}

bool
shoal_arguments_has(const shoal_arguments_t *arguments, const char *name)
{
    return arguments->given[index_of(arguments, name)] != NULL;
}

const char *
shoal_arguments_text(const shoal_arguments_t *arguments, const char *name)
{
    const given_t *given = arguments->given[index_of(arguments, name)];
    return given ? given->values[given->count - 1] : NULL; // the last one counts
}

const char *const *
shoal_arguments_list(const shoal_arguments_t *arguments, const char *name)
{
    static const char *const none[] = {NULL};
    const given_t *given = arguments->given[index_of(arguments, name)];
    return given ? given->values : none;
}

bool
shoal_arguments_count(const shoal_arguments_t *arguments, const char *name, uint64_t min,
                      uint64_t max, uint64_t preset, uint64_t *ret_count, shoal_status_t *status)
{
    const char *text = shoal_arguments_text(arguments, name);
    if (!text) {
        *ret_count = preset;
        return true;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long count = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || count < min ||
        count > max) {
        return shoal_fail(status, SHOAL_INVALID,
                          "--%s must be a whole number from %" PRIu64 " to %" PRIu64
                          ", not \"%.64s\"",
                          name, min, max, text);
    }
    *ret_count = count;
    return true;
}

bool
shoal_arguments_choice(const shoal_arguments_t *arguments, const char *name, const char *words,
                       shoal_status_t *status)
{
    const char *text = shoal_arguments_text(arguments, name);
    if (!text) {
        return true;
    }
    for (const char *at = words; *at;) {
        size_t len = strcspn(at, "|");
        if (strlen(text) == len && strncasecmp(at, text, len) == 0) {
            return true;
        }
        at += len + (at[len] == '|');
    }
    return shoal_fail(status, SHOAL_INVALID, "--%s must be one of %s, not \"%.64s\"", name, words,
                      text);
}

size_t
shoal_arguments_words(const shoal_arguments_t *arguments)
{
    return arguments->words.count;
}

const char *
shoal_arguments_word(const shoal_arguments_t *arguments, size_t index)
{
    return index < arguments->words.count ? arguments->words.values[index] : NULL;
}

// Lines after the first stand below it.
static void
append_help(const char *left, const char *help, shoal_buffer_t *out)
{
    while (*help) {
        int len = (int)strcspn(help, "\n");
        shoal_buffer_append_format(out, "  %-28s %.*s\n", left, len, help);
        help += len + (help[len] == '\n');
        left = "";
    }
}

void
shoal_command_help(const shoal_command_t *command, shoal_buffer_t *out)
{
    shoal_buffer_append_format(out, "usage: shoal %s %s\n\n%s\n\noptions:\n", command->name,
                               command->usage, command->summary);
    for (const shoal_argument_t *argument = command->arguments; argument->name; argument++) {
        char left[64];
        int len = argument->letter ? snprintf(left, sizeof(left), "-%c, ", argument->letter)
                                   : snprintf(left, sizeof(left), "    ");
        (void)snprintf(left + len, sizeof(left) - (size_t)len, "--%s%s%s", argument->name,
                       argument->value ? " " : "", argument->value ? argument->value : "");
        append_help(left, argument->help, out);
    }
    shoal_buffer_append_format(out, "  %-28s %s\n", "-h, --help", "this text");
    if (command->examples) {
        shoal_buffer_append_format(out, "\nexamples:\n%s", command->examples);
    }
}
