// SPDX-License-Identifier: Apache-2.0
//
// comments.c - see comments.h.

#include "connectors/sqlite/comments.h"

#include <ctype.h>
#include <strings.h>

typedef enum token_kind {
    TOKEN_END,
    TOKEN_COMMENT, // text: without its marks
    TOKEN_WORD,    // a name or keyword, or a quoted name; text: without its quotes
    TOKEN_OTHER,   // one character, a number or a string
} token_kind_t;

typedef struct token {
    token_kind_t kind;
    shoal_slice_t text;
    bool is_quoted;
    char mark;     // TOKEN_OTHER: its first character
    unsigned line; // on which it starts
} token_t;

typedef struct scanner {
    const char *at;
    const char *end;
    unsigned line;
} scanner_t;

static shoal_slice_t
trim(shoal_slice_t text)
{
    while (text.len > 0 && isspace((unsigned char)text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && isspace((unsigned char)text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

static char
peek(const scanner_t *scanner, size_t ahead)
{
    return (size_t)(scanner->end - scanner->at) > ahead ? scanner->at[ahead] : '\0';
}

static void
step(scanner_t *scanner)
{
    scanner->line += *scanner->at == '\n' ? 1 : 0;
    scanner->at++;
}

static void
scan_comment(scanner_t *scanner, token_t *token)
{
    bool is_line = peek(scanner, 0) == '-';
    scanner->at += 2;
    const char *from = scanner->at;
    while (scanner->at < scanner->end &&
           !(is_line ? *scanner->at == '\n' : peek(scanner, 0) == '*' && peek(scanner, 1) == '/')) {
        step(scanner);
    }
    token->kind = TOKEN_COMMENT;
    token->text = trim((shoal_slice_t){from, (size_t)(scanner->at - from)});
    if (!is_line && scanner->at < scanner->end) {
        scanner->at += 2;
    }
}

// "name", `name`, [name] or 'text'; a doubled end mark stays as it is.
static void
scan_quoted(scanner_t *scanner, token_t *token)
{
    char open = *scanner->at++;
    char close = open == '[' ? ']' : open;
    const char *from = scanner->at;
    while (scanner->at < scanner->end) {
        if (*scanner->at == close) {
            if (open == '[' || peek(scanner, 1) != close) {
                break;
            }
            scanner->at++;
        }
        step(scanner);
    }
    token->kind = open == '\'' ? TOKEN_OTHER : TOKEN_WORD;
    token->mark = open;
    token->is_quoted = true;
    token->text = (shoal_slice_t){from, (size_t)(scanner->at - from)};
    if (scanner->at < scanner->end) {
        scanner->at++;
    }
}

static bool
is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static token_t
scan(scanner_t *scanner)
{
    while (scanner->at < scanner->end && isspace((unsigned char)*scanner->at)) {
        step(scanner);
    }
    token_t token = {.kind = TOKEN_END, .line = scanner->line};
    if (scanner->at == scanner->end) {
        return token;
    }
    char first = *scanner->at;
    char second = peek(scanner, 1);
    if ((first == '-' && second == '-') || (first == '/' && second == '*')) {
        scan_comment(scanner, &token);
    } else if (first == '"' || first == '`' || first == '[' || first == '\'') {
        scan_quoted(scanner, &token);
    } else if (is_word(first)) {
        const char *from = scanner->at;
        while (scanner->at < scanner->end && is_word(*scanner->at)) {
            scanner->at++;
        }
        token.kind = TOKEN_WORD;
        token.text = (shoal_slice_t){from, (size_t)(scanner->at - from)};
    } else {
        token.kind = TOKEN_OTHER;
        token.mark = first;
        scanner->at++;
    }
    return token;
}

static bool
is_keyword(const token_t *token, const char *const *keywords)
{
    if (token->kind != TOKEN_WORD || token->is_quoted) {
        return false;
    }
    for (size_t i = 0; keywords[i]; i++) {
        if (token->text.len == strlen(keywords[i]) &&
            strncasecmp(token->text.ptr, keywords[i], token->text.len) == 0) {
            return true;
        }
    }
    return false;
}

// ---- the statement

#define PENDING_MAX 16 // comments on lines of their own, before a column

typedef struct reader {
    scanner_t scanner;
    shoal_sqlite_comment_fn *tell;
    void *ctx;
    unsigned depth;       // of parentheses
    unsigned open_line;   // of the '(' of the columns
    bool is_inside;       // behind that '('
    bool expects_name;    // a column's definition, or a constraint, begins with the next word
    shoal_slice_t column; // whose definition was last on `column_line`; empty: none
    unsigned column_line;
    shoal_slice_t pending[PENDING_MAX];
    size_t pending_count;
} reader_t;

static void
tell(const reader_t *reader, shoal_slice_t column, shoal_slice_t text)
{
    if (text.len > 0) {
        reader->tell(reader->ctx, column, text);
    }
}

static void
take_comment(reader_t *reader, const token_t *token)
{
    if (!reader->is_inside ||
        (token->line == reader->open_line && reader->column.len == 0 && reader->expects_name)) {
        tell(reader, SHOAL_SLICE_NONE, token->text);
    } else if (token->line == reader->column_line) {
        if (reader->column.len > 0) {
            tell(reader, reader->column, token->text);
        }
    } else if (reader->expects_name && reader->pending_count < PENDING_MAX) {
        reader->pending[reader->pending_count++] = token->text;
    }
}

// The first word of a definition.
static void
take_name(reader_t *reader, const token_t *token)
{
    static const char *const constraints[] = {"CONSTRAINT", "PRIMARY", "UNIQUE",
                                              "CHECK",      "FOREIGN", NULL};
    bool is_column = token->kind == TOKEN_WORD && !is_keyword(token, constraints);
    reader->column = is_column ? token->text : SHOAL_SLICE_NONE;
    for (size_t i = 0; i < reader->pending_count && is_column; i++) {
        tell(reader, reader->column, reader->pending[i]);
    }
    reader->pending_count = 0;
    reader->expects_name = false;
}

static void
take_token(reader_t *reader, const token_t *token)
{
    if (reader->expects_name) {
        take_name(reader, token);
    }
    reader->column_line = token->line;
    if (token->kind != TOKEN_OTHER || token->is_quoted) {
        return;
    }
    if (token->mark == '(') {
        reader->depth++;
    } else if (token->mark == ')' && reader->depth > 0) {
        reader->depth--;
    } else if (token->mark == ',' && reader->depth == 1) {
        reader->expects_name = true; // but a comment on this line is still the column's
    }
}

// The columns of a table, up to the parenthesis that ends them.
static void
read_columns(reader_t *reader)
{
    reader->is_inside = true;
    reader->expects_name = true;
    reader->depth = 1;
    for (token_t token = scan(&reader->scanner); token.kind != TOKEN_END && reader->depth > 0;
         token = scan(&reader->scanner)) {
        if (token.kind == TOKEN_COMMENT) {
            take_comment(reader, &token);
        } else {
            take_token(reader, &token);
        }
    }
}

void
shoal_sqlite_comments(shoal_slice_t sql, shoal_sqlite_comment_fn *tell_fn, void *ctx)
{
    static const char *const query[] = {"SELECT", "WITH", "VALUES", NULL};
    static const char *const virtual_table[] = {"USING", NULL};
    reader_t reader = {.scanner = {sql.ptr, sql.len > 0 ? sql.ptr + sql.len : sql.ptr, 1},
                       .tell = tell_fn,
                       .ctx = ctx};
    static const char *const view[] = {"VIEW", NULL};
    bool is_view = false;
    for (token_t token = scan(&reader.scanner); token.kind != TOKEN_END;
         token = scan(&reader.scanner)) {
        is_view = is_view || is_keyword(&token, view);
        if (token.kind == TOKEN_COMMENT) {
            take_comment(&reader, &token);
        } else if (is_keyword(&token, query) || is_keyword(&token, virtual_table)) {
            return;
        } else if (!is_view && token.kind == TOKEN_OTHER && token.mark == '(') {
            reader.open_line = token.line;
            read_columns(&reader);
            return;
        }
    }
}
