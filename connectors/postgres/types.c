// SPDX-License-Identifier: Apache-2.0
//
// types.c - see types.h.

#include "connectors/postgres/types.h"

#include <stdio.h>
#include <stdlib.h>

#include "connectors/catalogue.h"

// What a type's modifier means.
typedef enum modifier {
    PLAIN,   // there is none
    LENGTH,  // characters, 4 more
    BITS,    // bits
    NUMBER,  // precision and scale
    SECONDS, // digits of a second, written after the first word: time(3) without time zone
    FIELDS,  // fields and digits of a second: interval
} modifier_t;

typedef struct stock {
    uint32_t oid;
    uint32_t array_oid; // of an array of it; 0: none
    const char *text;
    const char *bare; // its text if a modifier is possible and absent; NULL: the same
    const char *word; // OpenMetadata's; NULL: it has none
    modifier_t modifier;
} stock_t;

// From PostgreSQL's src/include/catalog/pg_type.dat, versions 12 to 17: facts, sorted by number.
// clang-format off
static const stock_t stock[] = {
    {16, 1000, "boolean", NULL, "BOOLEAN", PLAIN},
    {17, 1001, "bytea", NULL, "BYTEA", PLAIN},
    {18, 1002, "\"char\"", NULL, "CHAR", PLAIN},
    {19, 1003, "name", NULL, "STRING", PLAIN},
    {20, 1016, "bigint", NULL, "BIGINT", PLAIN},
    {21, 1005, "smallint", NULL, "SMALLINT", PLAIN},
    {22, 1006, "int2vector", NULL, NULL, PLAIN},
    {23, 1007, "integer", NULL, "INT", PLAIN},
    {24, 1008, "regproc", NULL, NULL, PLAIN},
    {25, 1009, "text", NULL, "TEXT", PLAIN},
    {26, 1028, "oid", NULL, "BIGINT", PLAIN},
    {27, 1010, "tid", NULL, NULL, PLAIN},
    {28, 1011, "xid", NULL, NULL, PLAIN},
    {29, 1012, "cid", NULL, NULL, PLAIN},
    {30, 1013, "oidvector", NULL, NULL, PLAIN},
    {114, 199, "json", NULL, "JSON", PLAIN},
    {142, 143, "xml", NULL, "XML", PLAIN},
    {194, 0, "pg_node_tree", NULL, NULL, PLAIN},
    {600, 1017, "point", NULL, "POINT", PLAIN},
    {601, 1018, "lseg", NULL, "GEOMETRY", PLAIN},
    {602, 1019, "path", NULL, "GEOMETRY", PLAIN},
    {603, 1020, "box", NULL, "GEOMETRY", PLAIN},
    {604, 1027, "polygon", NULL, "POLYGON", PLAIN},
    {628, 629, "line", NULL, "GEOMETRY", PLAIN},
    {650, 651, "cidr", NULL, "CIDR", PLAIN},
    {700, 1021, "real", NULL, "FLOAT", PLAIN},
    {701, 1022, "double precision", NULL, "DOUBLE", PLAIN},
    {718, 719, "circle", NULL, "GEOMETRY", PLAIN},
    {774, 775, "macaddr8", NULL, "MACADDR", PLAIN},
    {790, 791, "money", NULL, "MONEY", PLAIN},
    {829, 1040, "macaddr", NULL, "MACADDR", PLAIN},
    {869, 1041, "inet", NULL, "INET", PLAIN},
    {1033, 1034, "aclitem", NULL, NULL, PLAIN},
    {1042, 1014, "character", "bpchar", "CHAR", LENGTH},
    {1043, 1015, "character varying", NULL, "VARCHAR", LENGTH},
    {1082, 1182, "date", NULL, "DATE", PLAIN},
    {1083, 1183, "time without time zone", NULL, "TIME", SECONDS},
    {1114, 1115, "timestamp without time zone", NULL, "TIMESTAMP", SECONDS},
    {1184, 1185, "timestamp with time zone", NULL, "TIMESTAMPZ", SECONDS},
    {1186, 1187, "interval", NULL, "INTERVAL", FIELDS},
    {1266, 1270, "time with time zone", NULL, "TIME", SECONDS},
    {1560, 1561, "bit", "\"bit\"", "BIT", BITS},
    {1562, 1563, "bit varying", NULL, "BIT", BITS},
    {1700, 1231, "numeric", NULL, "NUMERIC", NUMBER},
    {1790, 2201, "refcursor", NULL, NULL, PLAIN},
    {2202, 2207, "regprocedure", NULL, NULL, PLAIN},
    {2203, 2208, "regoper", NULL, NULL, PLAIN},
    {2204, 2209, "regoperator", NULL, NULL, PLAIN},
    {2205, 2210, "regclass", NULL, NULL, PLAIN},
    {2206, 2211, "regtype", NULL, NULL, PLAIN},
    {2950, 2951, "uuid", NULL, "UUID", PLAIN},
    {2970, 2949, "txid_snapshot", NULL, "TXID_SNAPSHOT", PLAIN},
    {3220, 3221, "pg_lsn", NULL, "PG_LSN", PLAIN},
    {3361, 0, "pg_ndistinct", NULL, NULL, PLAIN},
    {3402, 0, "pg_dependencies", NULL, NULL, PLAIN},
    {3614, 3643, "tsvector", NULL, "TSVECTOR", PLAIN},
    {3615, 3645, "tsquery", NULL, "TSQUERY", PLAIN},
    {3642, 3644, "gtsvector", NULL, NULL, PLAIN},
    {3734, 3735, "regconfig", NULL, NULL, PLAIN},
    {3769, 3770, "regdictionary", NULL, NULL, PLAIN},
    {3802, 3807, "jsonb", NULL, "JSON", PLAIN},
    {3904, 3905, "int4range", NULL, NULL, PLAIN},
    {3906, 3907, "numrange", NULL, NULL, PLAIN},
    {3908, 3909, "tsrange", NULL, NULL, PLAIN},
    {3910, 3911, "tstzrange", NULL, NULL, PLAIN},
    {3912, 3913, "daterange", NULL, NULL, PLAIN},
    {3926, 3927, "int8range", NULL, NULL, PLAIN},
    {4072, 4073, "jsonpath", NULL, NULL, PLAIN},
    {4089, 4090, "regnamespace", NULL, NULL, PLAIN},
    {4096, 4097, "regrole", NULL, NULL, PLAIN},
    {4191, 4192, "regcollation", NULL, NULL, PLAIN},
    {4451, 6150, "int4multirange", NULL, NULL, PLAIN},
    {4532, 6151, "nummultirange", NULL, NULL, PLAIN},
    {4533, 6152, "tsmultirange", NULL, NULL, PLAIN},
    {4534, 6153, "tstzmultirange", NULL, NULL, PLAIN},
    {4535, 6155, "datemultirange", NULL, NULL, PLAIN},
    {4536, 6157, "int8multirange", NULL, NULL, PLAIN},
    {4600, 0, "pg_brin_bloom_summary", NULL, NULL, PLAIN},
    {4601, 0, "pg_brin_minmax_multi_summary", NULL, NULL, PLAIN},
    {5017, 0, "pg_mcv_list", NULL, NULL, PLAIN},
    {5038, 5039, "pg_snapshot", NULL, "PG_SNAPSHOT", PLAIN},
    {5069, 271, "xid8", NULL, NULL, PLAIN},
};

// Types of extensions that have a word.
static const struct { const char *name; const char *word; } named[] = {
    {"citext", "TEXT"}, {"hstore", "MAP"}, {"geometry", "GEOMETRY"}, {"geography", "GEOGRAPHY"},
};
// clang-format on

#define STOCK_COUNT (sizeof(stock) / sizeof(stock[0]))

static const stock_t *
find_stock(uint32_t oid)
{
    size_t low = 0;
    for (size_t high = STOCK_COUNT; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (stock[middle].oid < oid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < STOCK_COUNT && stock[low].oid == oid ? &stock[low] : NULL;
}

static const stock_t *
find_element(uint32_t array_oid)
{
    for (size_t i = 0; i < STOCK_COUNT; i++) {
        if (stock[i].array_oid == array_oid) {
            return &stock[i];
        }
    }
    return NULL;
}

// ---- modifiers

#define HEAD                       4 // PostgreSQL counts four bytes of header into lengths

#define NUMBER_SCALE(modifier)     (((((modifier)-HEAD) & 0x7ff) ^ 1024) - 1024)
#define NUMBER_PRECISION(modifier) (((modifier)-HEAD) >> 16 & 0xffff)

#define INTERVAL_DIGITS(modifier)  ((modifier)&0xffff)
#define INTERVAL_FIELDS(modifier)  ((modifier) >> 16 & 0x7fff)
#define INTERVAL_ANY               0x7fff
#define INTERVAL_NO_DIGITS         0xffff

enum {
    MONTH = 1 << 1,
    YEAR = 1 << 2,
    DAY = 1 << 3,
    HOUR = 1 << 10,
    MINUTE = 1 << 11,
    SECOND = 1 << 12,
};

static const struct {
    int fields;
    const char *text;
} interval_fields[] = {
    {YEAR, " year"},
    {MONTH, " month"},
    {DAY, " day"},
    {HOUR, " hour"},
    {MINUTE, " minute"},
    {SECOND, " second"},
    {YEAR | MONTH, " year to month"},
    {DAY | HOUR, " day to hour"},
    {DAY | HOUR | MINUTE, " day to minute"},
    {DAY | HOUR | MINUTE | SECOND, " day to second"},
    {HOUR | MINUTE, " hour to minute"},
    {HOUR | MINUTE | SECOND, " hour to second"},
    {MINUTE | SECOND, " minute to second"},
};

static void
print_interval(int32_t modifier, char *out, size_t size)
{
    const char *fields = "";
    for (size_t i = 0; i < sizeof(interval_fields) / sizeof(interval_fields[0]); i++) {
        if (INTERVAL_FIELDS(modifier) == interval_fields[i].fields) {
            fields = interval_fields[i].text;
        }
    }
    if (INTERVAL_DIGITS(modifier) == INTERVAL_NO_DIGITS) {
        (void)snprintf(out, size, "interval%s", fields);
    } else {
        (void)snprintf(out, size, "interval%s(%d)", fields, INTERVAL_DIGITS(modifier));
    }
}

// The type's text, without the brackets of an array.
static void
print(const stock_t *type, int32_t modifier, char *out, size_t size)
{
    if (modifier < 0 || type->modifier == PLAIN) {
        (void)snprintf(out, size, "%s", type->bare ? type->bare : type->text);
        return;
    }
    size_t first = strcspn(type->text, " ");
    switch (type->modifier) {
    case LENGTH: (void)snprintf(out, size, "%s(%d)", type->text, modifier - HEAD); break;
    case BITS: (void)snprintf(out, size, "%s(%d)", type->text, modifier); break;
    case NUMBER:
        (void)snprintf(out, size, "%s(%d,%d)", type->text, NUMBER_PRECISION(modifier),
                       NUMBER_SCALE(modifier));
        break;
    case SECONDS:
        (void)snprintf(out, size, "%.*s(%d)%s", (int)first, type->text, modifier,
                       type->text + first);
        break;
    case FIELDS: print_interval(modifier, out, size); break;
    case PLAIN: break;
    }
}

// ---- words

static shoal_slice_t
word_of(const stock_t *type)
{
    return shoal_slice_of(type->word ? type->word : "UNKNOWN");
}

static void
clear(shoal_pg_type_t *type)
{
    *type = (shoal_pg_type_t){.precision = SHOAL_CATALOGUE_NO_NUMBER,
                              .scale = SHOAL_CATALOGUE_NO_NUMBER};
}

// Sets word and numbers for a column, or for the elements of an array.
static void
describe(const stock_t *type, int32_t modifier, bool is_array, shoal_pg_type_t *ret_type)
{
    clear(ret_type);
    ret_type->data_type = is_array ? SHOAL_SLICE("ARRAY") : word_of(type);
    ret_type->array_type = is_array ? word_of(type) : SHOAL_SLICE_NONE;
    ret_type->is_unknown = !type->word;
    if (modifier < 0) {
        return;
    }
    if (type->modifier == LENGTH && modifier > HEAD) {
        ret_type->length = (uint32_t)(modifier - HEAD);
    } else if (type->modifier == BITS) {
        ret_type->length = (uint32_t)modifier;
    } else if (type->modifier == NUMBER) {
        ret_type->precision = NUMBER_PRECISION(modifier);
        ret_type->scale = NUMBER_SCALE(modifier);
    }
}

bool
shoal_pg_type_stock(uint32_t oid, int32_t modifier, shoal_pg_type_t *ret_type,
                    char display[SHOAL_PG_DISPLAY_MAX])
{
    if (oid >= SHOAL_PG_STOCK_TYPES_END) {
        return false;
    }
    const stock_t *type = find_stock(oid);
    bool is_array = false;
    if (!type) {
        type = oid > 0 ? find_element(oid) : NULL;
        is_array = true;
    }
    if (!type) {
        return false;
    }
    describe(type, modifier, is_array, ret_type);
    char text[SHOAL_PG_DISPLAY_MAX - 2];
    print(type, modifier, text, sizeof(text));
    (void)snprintf(display, SHOAL_PG_DISPLAY_MAX, "%s%s", text, is_array ? "[]" : "");
    return true;
}

// The word of a type that is no stock type.
static const char *
word_of_other(char kind, const char *name)
{
    if (kind == 'e') {
        return "ENUM";
    }
    if (kind == 'c') {
        return "STRUCT";
    }
    for (size_t i = 0; kind == 'b' && i < sizeof(named) / sizeof(named[0]); i++) {
        if (strcmp(name, named[i].name) == 0) {
            return named[i].word;
        }
    }
    return NULL;
}

#define DESCRIPTION_MAX 256 // bytes: a path of 16, numbers and a name of 63

void
shoal_pg_type_other(shoal_slice_t description, shoal_pg_type_t *ret_type)
{
    char text[DESCRIPTION_MAX];
    (void)snprintf(text, sizeof(text), "%.*s", SHOAL_SLICE_ARGS(description));
    size_t path_len = strcspn(text, " ");
    char *at = text + path_len + (text[path_len] == ' ');
    char kind = *at;
    at += kind != '\0';
    uint32_t oid = (uint32_t)strtoul(at, &at, 10);
    int32_t modifier = (int32_t)strtol(at, &at, 10);
    const char *name = *at == ' ' ? at + 1 : at;
    bool is_array = memchr(text, 'a', path_len) != NULL;
    const stock_t *base = oid < SHOAL_PG_STOCK_TYPES_END ? find_stock(oid) : NULL;
    const char *word = word_of_other(kind, name);
    const stock_t other = {.word = word, .modifier = PLAIN};
    describe(base ? base : &other, modifier, is_array, ret_type);
}
