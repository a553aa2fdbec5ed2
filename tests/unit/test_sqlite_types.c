// SPDX-License-Identifier: Apache-2.0
//
// test_sqlite_types.c - what connectors/sqlite/types.h promises.

#include "connectors/sqlite/types.h"
#include "tests/support/test.h"

#define NO SHOAL_CATALOGUE_NO_NUMBER

static const struct {
    const char *declared;
    const char *type;
    uint32_t length;
    int32_t precision;
    int32_t scale;
} cases[] = {
    {"INTEGER", "INT", 0, NO, NO},
    {"integer", "INT", 0, NO, NO},
    {"bigint", "BIGINT", 0, NO, NO},
    {"VARCHAR(120)", "VARCHAR", 120, NO, NO},
    {"character  varying ( 12 )", "VARCHAR", 12, NO, NO},
    {"char(2)", "CHAR", 2, NO, NO},
    {"DECIMAL(12, 6)", "DECIMAL", 0, 12, 6},
    {"numeric(9)", "NUMERIC", 0, 9, 0},
    {"NUMERIC", "NUMERIC", 0, NO, NO},
    {"numeric()", "NUMERIC", 0, NO, NO},
    {"varchar(99999999999999999999)", "VARCHAR", 0, NO, NO},
    {"varchar(", "VARCHAR", 0, NO, NO},
    {"double precision", "DOUBLE", 0, NO, NO},
    {"real", "DOUBLE", 0, NO, NO},
    {"boolean", "BOOLEAN", 0, NO, NO},
    {"timestamp", "TIMESTAMP", 0, NO, NO},
    {"timestamp with time zone", "TIMESTAMP", 0, NO, NO},
    {"JSON", "JSON", 0, NO, NO},
    {"uuid", "UUID", 0, NO, NO},
    {"any", "VARIANT", 0, NO, NO},
    {"unsigned int", "INT", 0, NO, NO}, // affinity: INT
    {"longtext", "TEXT", 0, NO, NO},    // affinity: TEXT
    {"mediumblob", "BLOB", 0, NO, NO},  // affinity: BLOB
    {"whatever it is", "NUMERIC", 0, NO, NO},
    {"a type's name that goes on and on and on and on for ever", "NUMERIC", 0, NO, NO},
    {"", "UNKNOWN", 0, NO, NO},
    {"  ", "UNKNOWN", 0, NO, NO},
};

static void
each_declared_type_has_a_word(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        shoal_catalogue_column_t column = {.length = 7, .precision = 7, .scale = 7};
        shoal_sqlite_type(shoal_slice_of(cases[i].declared), &column);
        if (!shoal_slice_is(column.data_type, cases[i].type) || column.length != cases[i].length ||
            column.precision != cases[i].precision || column.scale != cases[i].scale) {
            fail_msg("\"%s\" became %.*s %u %d %d", cases[i].declared,
                     SHOAL_SLICE_ARGS(column.data_type), column.length, column.precision,
                     column.scale);
        }
    }
}

TEST_MAIN(TEST(each_declared_type_has_a_word))
