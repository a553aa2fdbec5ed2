// SPDX-License-Identifier: Apache-2.0
//
// types.c - see types.h.

#include "connectors/sqlite/types.h"

#include <ctype.h>

#define WORD_MAX 32 // bytes of a type's name that are looked at

typedef enum arguments {
    NO_ARGUMENTS,
    LENGTH,    // (n)
    PRECISION, // (p, s)
} arguments_t;

typedef struct known {
    const char *word; // upper case, single blanks
    const char *type;
    arguments_t arguments;
} known_t;

static const known_t known[] = {
    {"INTEGER", "INT", NO_ARGUMENTS},
    {"INT", "INT", NO_ARGUMENTS},
    {"TINYINT", "TINYINT", NO_ARGUMENTS},
    {"SMALLINT", "SMALLINT", NO_ARGUMENTS},
    {"MEDIUMINT", "INT", NO_ARGUMENTS},
    {"BIGINT", "BIGINT", NO_ARGUMENTS},
    {"UNSIGNED BIG INT", "BIGINT", NO_ARGUMENTS},
    {"INT2", "SMALLINT", NO_ARGUMENTS},
    {"INT4", "INT", NO_ARGUMENTS},
    {"INT8", "BIGINT", NO_ARGUMENTS},
    {"BOOLEAN", "BOOLEAN", NO_ARGUMENTS},
    {"BOOL", "BOOLEAN", NO_ARGUMENTS},
    {"TEXT", "TEXT", LENGTH},
    {"CLOB", "CLOB", LENGTH},
    {"VARCHAR", "VARCHAR", LENGTH},
    {"NVARCHAR", "VARCHAR", LENGTH},
    {"CHARACTER VARYING", "VARCHAR", LENGTH},
    {"VARYING CHARACTER", "VARCHAR", LENGTH},
    {"CHAR", "CHAR", LENGTH},
    {"CHARACTER", "CHAR", LENGTH},
    {"NCHAR", "CHAR", LENGTH},
    {"NATIVE CHARACTER", "CHAR", LENGTH},
    {"STRING", "STRING", LENGTH},
    {"BLOB", "BLOB", LENGTH},
    {"BINARY", "BINARY", LENGTH},
    {"VARBINARY", "VARBINARY", LENGTH},
    {"REAL", "DOUBLE", NO_ARGUMENTS},
    {"DOUBLE", "DOUBLE", NO_ARGUMENTS},
    {"DOUBLE PRECISION", "DOUBLE", NO_ARGUMENTS},
    {"FLOAT", "FLOAT", NO_ARGUMENTS},
    {"NUMERIC", "NUMERIC", PRECISION},
    {"DECIMAL", "DECIMAL", PRECISION},
    {"NUMBER", "NUMBER", PRECISION},
    {"MONEY", "MONEY", NO_ARGUMENTS},
    {"DATE", "DATE", NO_ARGUMENTS},
    {"TIME", "TIME", NO_ARGUMENTS},
    {"DATETIME", "DATETIME", NO_ARGUMENTS},
    {"TIMESTAMP", "TIMESTAMP", NO_ARGUMENTS},
    {"JSON", "JSON", NO_ARGUMENTS},
    {"JSONB", "JSON", NO_ARGUMENTS},
    {"XML", "XML", NO_ARGUMENTS},
    {"UUID", "UUID", NO_ARGUMENTS},
    {"ANY", "VARIANT", NO_ARGUMENTS},
};

// SQLite's rules of affinity, first match wins.
static const known_t affinities[] = {
    {"INT", "INT", NO_ARGUMENTS},
    {"CHAR", "VARCHAR", LENGTH},
    {"CLOB", "CLOB", LENGTH},
    {"TEXT", "TEXT", LENGTH},
    {"BLOB", "BLOB", LENGTH},
    {"REAL", "DOUBLE", NO_ARGUMENTS},
    {"FLOA", "FLOAT", NO_ARGUMENTS},
    {"DOUB", "DOUBLE", NO_ARGUMENTS},
    {"DATETIME", "DATETIME", NO_ARGUMENTS},
    {"TIMESTAMP", "TIMESTAMP", NO_ARGUMENTS},
};

// The part before '(' in upper case, with single blanks; returns where '(' or the end is.
static size_t
read_word(shoal_slice_t declared, char word[WORD_MAX])
{
    size_t len = 0;
    size_t at = 0;
    for (; at < declared.len && declared.ptr[at] != '('; at++) {
        unsigned char byte = (unsigned char)declared.ptr[at];
        bool is_blank = isspace(byte);
        if (len + 1 < WORD_MAX && !(is_blank && (len == 0 || word[len - 1] == ' '))) {
            word[len++] = is_blank ? ' ' : (char)toupper(byte);
        }
    }
    while (len > 0 && word[len - 1] == ' ') {
        len--;
    }
    word[len] = '\0';
    return at;
}

// The next number at or after *at, below a billion; -1: none.
static int32_t
read_number(shoal_slice_t declared, size_t *at)
{
    while (*at < declared.len && !isdigit((unsigned char)declared.ptr[*at])) {
        if (declared.ptr[*at] == ')') {
            return -1;
        }
        (*at)++;
    }
    int32_t number = -1;
    for (; *at < declared.len && isdigit((unsigned char)declared.ptr[*at]); (*at)++) {
        number = (number < 0 ? 0 : number) * 10 + (declared.ptr[*at] - '0');
        if (number >= 100000000) {
            return -1;
        }
    }
    return number;
}

static const known_t *
find(const char *word)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].word, word) == 0) {
            return &known[i];
        }
    }
    for (size_t i = 0; i < sizeof(affinities) / sizeof(affinities[0]); i++) {
        if (strstr(word, affinities[i].word)) {
            return &affinities[i];
        }
    }
    return NULL;
}

void
shoal_sqlite_type(shoal_slice_t declared, shoal_catalogue_column_t *column)
{
    char word[WORD_MAX];
    size_t at = read_word(declared, word);
    const known_t *type = find(word);
    const char *fallback = word[0] == '\0' ? "UNKNOWN" : "NUMERIC";
    column->data_type = shoal_slice_of(type ? type->type : fallback);
    column->length = 0;
    column->precision = SHOAL_CATALOGUE_NO_NUMBER;
    column->scale = SHOAL_CATALOGUE_NO_NUMBER;
    arguments_t arguments = type ? type->arguments : NO_ARGUMENTS;
    if (arguments == NO_ARGUMENTS || at == declared.len) {
        return;
    }
    int32_t first = read_number(declared, &at);
    if (first < 0) {
        return;
    }
    if (arguments == LENGTH) {
        column->length = (uint32_t)first;
        return;
    }
    int32_t second = read_number(declared, &at);
    column->precision = first;
    column->scale = second < 0 ? 0 : second;
}
