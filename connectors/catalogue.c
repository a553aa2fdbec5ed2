// SPDX-License-Identifier: Apache-2.0
//
// catalogue.c - see catalogue.h.
//
// Tables come by the hundred thousand, so the writers below know how many fields a map will have
// before they write it, and a name without special characters is copied once.

#include "connectors/catalogue.h"

#include "proto/record/fqn.h"
#include "proto/record/writer.h"

enum {
    MARK_PRIMARY = 1, // the column alone is the primary key
    MARK_UNIQUE = 2,  // the column alone is a unique key
};

// Whether an entity of this name needs its reserved characters encoded.
static bool
is_reserved(shoal_slice_t name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c == '"' || c == '>' || (c == ':' && i + 1 < name.len && name.ptr[i + 1] == ':')) {
            return true;
        }
    }
    return false;
}

void
shoal_catalogue_fqn(shoal_buffer_t *out, shoal_slice_t parent, shoal_slice_t name)
{
    shoal_buffer_t fqn = SHOAL_BUFFER_INIT;
    shoal_buffer_t encoded = SHOAL_BUFFER_INIT;
    shoal_name_encode(&encoded, name);
    shoal_buffer_append_slice(&fqn, parent);
    shoal_fqn_append(&fqn, shoal_buffer_slice(&encoded));
    shoal_buffer_append_slice(out, shoal_buffer_slice(&fqn));
    shoal_buffer_fini(&encoded);
    shoal_buffer_fini(&fqn);
}

static void
write_encoded(shoal_buffer_t *out, shoal_slice_t name)
{
    if (!is_reserved(name)) {
        shoal_write_str(out, name);
        return;
    }
    shoal_buffer_t encoded = SHOAL_BUFFER_INIT;
    shoal_name_encode(&encoded, name);
    shoal_write_str(out, shoal_buffer_slice(&encoded));
    shoal_buffer_fini(&encoded);
}

// "name" and, if that had to be encoded, "displayName": one or two pairs.
static void
write_name(shoal_buffer_t *out, shoal_slice_t name)
{
    shoal_write_key(out, "name");
    write_encoded(out, name);
    if (is_reserved(name)) {
        shoal_write_key(out, "displayName");
        shoal_write_str(out, name);
    }
}

static uint32_t
name_pairs(shoal_slice_t name)
{
    return is_reserved(name) ? 2 : 1;
}

// A pair of a key and a text, unless the text is empty.
static void
write_present(shoal_buffer_t *out, shoal_slice_t key, shoal_slice_t text)
{
    if (text.len > 0) {
        shoal_write_str(out, key);
        shoal_write_str(out, text);
    }
}

static uint32_t
present(shoal_slice_t text)
{
    return text.len > 0 ? 1 : 0;
}

void
shoal_catalogue_service(shoal_buffer_t *out, shoal_slice_t name, const char *service_type)
{
    shoal_write_map(out, 2 + name_pairs(name));
    shoal_write_key(out, "kind");
    shoal_write_key(out, "databaseService");
    write_name(out, name);
    shoal_write_key(out, "serviceType");
    shoal_write_text(out, service_type);
}

// A record that has a name, a parent and perhaps a description.
static void
write_container(shoal_buffer_t *out, shoal_slice_t kind, shoal_slice_t name,
                shoal_slice_t parent_key, shoal_slice_t parent, shoal_slice_t description)
{
    shoal_write_map(out, 2 + name_pairs(name) + present(description));
    shoal_write_key(out, "kind");
    shoal_write_str(out, kind);
    write_name(out, name);
    shoal_write_str(out, parent_key);
    shoal_write_str(out, parent);
    write_present(out, SHOAL_SLICE("description"), description);
}

void
shoal_catalogue_database(shoal_buffer_t *out, shoal_slice_t name, shoal_slice_t service_fqn,
                         shoal_slice_t description)
{
    write_container(out, SHOAL_SLICE("database"), name, SHOAL_SLICE("service"), service_fqn,
                    description);
}

void
shoal_catalogue_schema(shoal_buffer_t *out, shoal_slice_t name, shoal_slice_t database_fqn,
                       shoal_slice_t description)
{
    write_container(out, SHOAL_SLICE("databaseSchema"), name, SHOAL_SLICE("database"), database_fqn,
                    description);
}

static shoal_slice_t
column_constraint(const shoal_catalogue_column_t *column)
{
    if (column->marks & MARK_PRIMARY) {
        return SHOAL_SLICE("PRIMARY_KEY");
    }
    if (column->marks & MARK_UNIQUE) {
        return SHOAL_SLICE("UNIQUE");
    }
    return column->is_nullable ? SHOAL_SLICE("NULL") : SHOAL_SLICE("NOT_NULL");
}

static void
write_column(shoal_buffer_t *out, const shoal_catalogue_column_t *column)
{
    uint32_t pairs = 5 + name_pairs(column->name) + present(column->display) +
                     present(column->array_type) + present(column->default_value) +
                     present(column->description) +
                     (column->precision != SHOAL_CATALOGUE_NO_NUMBER ? 1 : 0) +
                     (column->scale != SHOAL_CATALOGUE_NO_NUMBER ? 1 : 0);
    shoal_write_map(out, pairs);
    write_name(out, column->name);
    shoal_write_key(out, "dataType");
    shoal_write_str(out, column->data_type);
    write_present(out, SHOAL_SLICE("arrayDataType"), column->array_type);
    write_present(out, SHOAL_SLICE("dataTypeDisplay"), column->display);
    shoal_write_key(out, "dataLength");
    shoal_write_uint(out, column->length > 0 ? column->length : 1);
    if (column->precision != SHOAL_CATALOGUE_NO_NUMBER) {
        shoal_write_key(out, "precision");
        shoal_write_int(out, column->precision);
    }
    if (column->scale != SHOAL_CATALOGUE_NO_NUMBER) {
        shoal_write_key(out, "scale");
        shoal_write_int(out, column->scale);
    }
    shoal_write_key(out, "ordinalPosition");
    shoal_write_uint(out, column->position);
    shoal_write_key(out, "constraint");
    shoal_write_str(out, column_constraint(column));
    shoal_write_key(out, "nullable");
    shoal_write_bool(out, column->is_nullable);
    write_present(out, SHOAL_SLICE("default"), column->default_value);
    write_present(out, SHOAL_SLICE("description"), column->description);
}

// Whether the column's own constraint says the key already.
static bool
is_of_column(const shoal_catalogue_key_t *key)
{
    return key->kind != SHOAL_KEY_FOREIGN && key->column_count == 1;
}

// Marks the columns that are keys alone and returns how many table constraints are left.
static uint32_t
mark_keys(shoal_catalogue_table_t *table)
{
    for (uint32_t i = 0; i < table->column_count; i++) {
        table->columns[i].marks = 0;
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < table->key_count; i++) {
        const shoal_catalogue_key_t *key = &table->keys[i];
        if (is_of_column(key)) {
            assert(key->columns[0] < table->column_count);
            table->columns[key->columns[0]].marks |=
                key->kind == SHOAL_KEY_PRIMARY ? MARK_PRIMARY : MARK_UNIQUE;
        } else {
            left++;
        }
    }
    return left;
}

// Whether two keys cover the same columns, in whatever order; a key names no column twice.
static bool
covers_same(const shoal_catalogue_key_t *a, const shoal_catalogue_key_t *b)
{
    if (a->column_count != b->column_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->column_count; i++) {
        bool is_found = false;
        for (uint32_t j = 0; j < b->column_count && !is_found; j++) {
            is_found = a->columns[i] == b->columns[j];
        }
        if (!is_found) {
            return false;
        }
    }
    return true;
}

static shoal_slice_t
relationship(const shoal_catalogue_table_t *table, const shoal_catalogue_key_t *foreign)
{
    for (uint32_t i = 0; i < table->key_count; i++) {
        const shoal_catalogue_key_t *key = &table->keys[i];
        if (key->kind != SHOAL_KEY_FOREIGN && covers_same(key, foreign)) {
            return SHOAL_SLICE("ONE_TO_ONE");
        }
    }
    return SHOAL_SLICE("MANY_TO_ONE");
}

static void
write_key(shoal_buffer_t *out, const shoal_catalogue_table_t *table,
          const shoal_catalogue_key_t *key)
{
    static const shoal_slice_t words[] = {
        [SHOAL_KEY_PRIMARY] = {"PRIMARY_KEY", 11},
        [SHOAL_KEY_UNIQUE] = {"UNIQUE", 6},
        [SHOAL_KEY_FOREIGN] = {"FOREIGN_KEY", 11},
    };
    bool is_foreign = key->kind == SHOAL_KEY_FOREIGN;
    shoal_write_map(out, 2 + present(key->name) + (is_foreign ? 2 : 0));
    shoal_write_key(out, "constraintType");
    shoal_write_str(out, words[key->kind]);
    write_present(out, SHOAL_SLICE("name"), key->name);
    shoal_write_key(out, "columns");
    shoal_write_array(out, key->column_count);
    for (uint32_t i = 0; i < key->column_count; i++) {
        assert(key->columns[i] < table->column_count);
        write_encoded(out, table->columns[key->columns[i]].name);
    }
    if (is_foreign) {
        shoal_write_key(out, "referredColumns");
        shoal_write_array(out, key->column_count);
        for (uint32_t i = 0; i < key->column_count; i++) {
            shoal_write_str(out, key->referred[i]);
        }
        shoal_write_key(out, "relationshipType");
        shoal_write_str(out, relationship(table, key));
    }
}

void
shoal_catalogue_table(shoal_buffer_t *out, shoal_catalogue_table_t *table)
{
    uint32_t constraints = mark_keys(table);
    shoal_write_map(out, 4 + name_pairs(table->name) + present(table->description) +
                             present(table->definition) + (constraints > 0 ? 1 : 0));
    shoal_write_key(out, "kind");
    shoal_write_key(out, "table");
    write_name(out, table->name);
    shoal_write_key(out, "tableType");
    shoal_write_text(out, table->table_type);
    shoal_write_key(out, "databaseSchema");
    shoal_write_str(out, table->schema_fqn);
    write_present(out, SHOAL_SLICE("description"), table->description);
    shoal_write_key(out, "columns");
    shoal_write_array(out, table->column_count);
    for (uint32_t i = 0; i < table->column_count; i++) {
        write_column(out, &table->columns[i]);
    }
    if (constraints > 0) {
        shoal_write_key(out, "tableConstraints");
        shoal_write_array(out, constraints);
        for (uint32_t i = 0; i < table->key_count; i++) {
            if (!is_of_column(&table->keys[i])) {
                write_key(out, table, &table->keys[i]);
            }
        }
    }
    write_present(out, SHOAL_SLICE("schemaDefinition"), table->definition);
}
