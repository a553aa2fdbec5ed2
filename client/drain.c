// SPDX-License-Identifier: Apache-2.0
//
// drain.c - `shoal drain`: asks a worker to end, and waits until it has.

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/commands.h"
#include "client/status.h"
#include "client/summary.h"
#include "client/text.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"

#define LOOK_MS   250 // between two looks at the workers
#define DRAIN_MAX 86400

typedef struct drained {
    char id[65];
    char name[129];
    uint64_t running;
} drained_t;

static void
text_of(shoal_slice_t map, const char *key, char *out, size_t size)
{
    shoal_slice_t value;
    out[0] = '\0';
    if (shoal_map_find(map, key, &value)) {
        shoal_cursor_t cursor = shoal_cursor_over(value);
        shoal_slice_t text = shoal_cursor_str(&cursor);
        (void)snprintf(out, size, "%.*s", cursor.is_bad ? 0 : (int)text.len,
                       cursor.is_bad ? "" : text.ptr);
    }
}

static uint64_t
number_of(shoal_slice_t map, const char *key)
{
    shoal_slice_t value;
    if (!shoal_map_find(map, key, &value)) {
        return 0;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint64_t number = shoal_cursor_uint(&cursor);
    return cursor.is_bad ? 0 : number;
}

static bool
ask_drain(shoal_session_t *session, const shoal_arguments_t *arguments, uint64_t seconds,
          drained_t *ret_drained, shoal_status_t *status)
{
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    shoal_message_t drain = {.type = SHOAL_MSG_DRAIN};
    drain.drain.worker = shoal_slice_of(shoal_arguments_word(arguments, 0));
    drain.drain.reason = SHOAL_SLICE("shoal drain");
    if (shoal_arguments_has(arguments, "drain-seconds")) {
        drain.drain.drain_ms = seconds > 0 ? seconds * 1000 : 1; // 0 would be the worker's own
    }
    bool done = shoal_session_call(session, &drain, SHOAL_SLICE_NONE, &drain.drain.request, "drain",
                                   SHOAL_ASK_MS, &body, status);
    if (done) {
        shoal_slice_t map = shoal_buffer_slice(&body);
        text_of(map, "id", ret_drained->id, sizeof(ret_drained->id));
        text_of(map, "name", ret_drained->name, sizeof(ret_drained->name));
        ret_drained->running = number_of(map, "running");
    }
    shoal_buffer_fini(&body);
    return done;
}

// Looks at the workers once; `ret_ended`: the one is not among those that are left.
static bool
look(shoal_session_t *session, drained_t *drained, bool *ret_ended, shoal_status_t *status)
{
    shoal_buffer_t body = SHOAL_BUFFER_INIT;
    bool done = shoal_session_ask(session, "workers", NULL, SHOAL_ASK_MS, &body, status);
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&body));
    uint32_t count = done ? shoal_cursor_array(&cursor) : 0;
    *ret_ended = true;
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        char id[65];
        char state[32];
        shoal_slice_t map = shoal_cursor_value(&cursor);
        text_of(map, "id", id, sizeof(id));
        text_of(map, "state", state, sizeof(state));
        if (strcmp(id, drained->id) == 0) {
            *ret_ended = strcmp(state, "lost") == 0;
            drained->running = number_of(map, "running");
        }
    }
    shoal_buffer_fini(&body);
    return done;
}

static bool
wait_for_end(shoal_session_t *session, drained_t *drained, shoal_status_t *status)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    bool has_ended = false;
    while (!has_ended) {
        (void)nanosleep(&pause, NULL);
        if (!look(session, drained, &has_ended, status)) {
            return false;
        }
    }
    return true;
}

static bool
tell(const shoal_arguments_t *arguments, const drained_t *drained, bool has_ended,
     shoal_status_t *status)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    if (shoal_wants_json(arguments)) {
        shoal_buffer_append_text(&out, "{\"id\":");
        shoal_json_write_text(shoal_slice_of(drained->id), &out);
        shoal_buffer_append_text(&out, ",\"name\":");
        shoal_json_write_text(shoal_slice_of(drained->name), &out);
        shoal_buffer_append_format(&out, ",\"running\":%llu,\"ended\":%s}\n",
                                   (unsigned long long)drained->running,
                                   has_ended ? "true" : "false");
    } else {
        shoal_text_append_worker(&out, drained->name, drained->id);
        shoal_buffer_append_text(&out, has_ended ? " has ended\n" : " drains\n");
    }
    bool done = shoal_print(&out, status);
    shoal_buffer_fini(&out);
    return done;
}

int
shoal_command_drain(const shoal_arguments_t *arguments)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_session_t *session = NULL;
    drained_t drained = {.running = 0};
    shoal_address_t address = {.has_keys = false};
    uint64_t seconds = 0;
    bool waits = !shoal_arguments_has(arguments, "no-wait");
    bool done =
        shoal_arguments_choice(arguments, "output", "text|json", &status) &&
        shoal_arguments_count(arguments, "drain-seconds", 0, DRAIN_MAX, 0, &seconds, &status) &&
        shoal_address_find(arguments, &address, &status) &&
        shoal_head_dial(&address, &session, &status) &&
        ask_drain(session, arguments, seconds, &drained, &status);
    if (done && waits && drained.running > 0) {
        (void)fprintf(stderr, "shoal: the worker drains, with %llu call%s\n",
                      (unsigned long long)drained.running, drained.running == 1 ? "" : "s");
    }
    done = done && (!waits || wait_for_end(session, &drained, &status)) &&
           tell(arguments, &drained, waits, &status);
    shoal_session_destroy(&session);
    shoal_address_wipe(&address);
    if (!done) {
        return shoal_command_failed(&status);
    }
    return SHOAL_EXIT_OK;
}
