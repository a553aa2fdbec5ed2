// SPDX-License-Identifier: Apache-2.0
//
// history.c - see history.h.

#include "head/cluster/history.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define BUCKETS 256

typedef struct node {
    struct node *next;
    uint32_t shard;
    uint32_t count;
    shoal_buffer_t tries;
} node_t;

struct shoal_history {
    node_t *buckets[BUCKETS];
    size_t count;
};

shoal_history_t *
shoal_history_new(void)
{
    return shoal_alloc(sizeof(shoal_history_t));
}

static void
node_free(node_t *node)
{
    shoal_buffer_fini(&node->tries);
    free(node);
}

void
shoal_history_destroy(shoal_history_t **history)
{
    if (!history || !*history) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        for (node_t *node = (*history)->buckets[i], *next; node; node = next) {
            next = node->next;
            node_free(node);
        }
    }
    free(*history);
    *history = NULL;
}

// What points to the shard's node, or to NULL where it would be.
static node_t **
place(shoal_history_t *history, uint32_t shard)
{
    node_t **at = &history->buckets[shard % BUCKETS];
    while (*at && (*at)->shard != shard) {
        at = &(*at)->next;
    }
    return at;
}

void
shoal_try_write(const shoal_try_t *try, shoal_buffer_t *out)
{
    shoal_slice_t text = shoal_slice_of(try->why->text);
    text.len = shoal_utf8_cut(text, SHOAL_HISTORY_TEXT_MAX);
    shoal_write_array(out, 8);
    shoal_write_uint(out, try->run);
    shoal_write_uint(out, try->attempt);
    shoal_write_text(out, try->end);
    shoal_write_uint(out, (uint64_t)try->why->error_class);
    shoal_write_uint(out, (uint64_t)try->why->code);
    shoal_write_str(out, text);
    shoal_write_text(out, try->worker);
    shoal_write_uint(out, try->wall_ms);
}

static void
oldest_drop(node_t *node)
{
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&node->tries));
    shoal_cursor_skip(&cursor);
    size_t left = shoal_cursor_left(&cursor);
    memmove(node->tries.ptr, node->tries.ptr + (node->tries.len - left), left);
    node->tries.len = left;
    node->count--;
}

void
shoal_history_add(shoal_history_t *history, uint32_t shard, const shoal_try_t *try)
{
    node_t **at = place(history, shard);
    if (!*at) {
        if (history->count == SHOAL_HISTORY_SHARDS_MAX) {
            return;
        }
        *at = shoal_alloc(sizeof(**at));
        (*at)->shard = shard;
        history->count++;
    }
    if ((*at)->count == SHOAL_HISTORY_TRIES_MAX) {
        oldest_drop(*at);
    }
    shoal_try_write(try, &(*at)->tries);
    (*at)->count++;
}

shoal_slice_t
shoal_history_of(const shoal_history_t *history, uint32_t shard, uint32_t *ret_count)
{
    const node_t *node = history ? history->buckets[shard % BUCKETS] : NULL;
    while (node && node->shard != shard) {
        node = node->next;
    }
    *ret_count = node ? node->count : 0;
    return node ? shoal_buffer_slice(&node->tries) : SHOAL_SLICE_NONE;
}

void
shoal_history_forget(shoal_history_t *history, uint32_t shard)
{
    node_t **at = history ? place(history, shard) : NULL;
    if (at && *at) {
        node_t *node = *at;
        *at = node->next;
        history->count--;
        node_free(node);
    }
}
