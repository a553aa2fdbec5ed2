// SPDX-License-Identifier: Apache-2.0
//
// registry.c - see registry.h.

#include "head/cluster/registry.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "head/cluster/names.h"
#include "proto/base/alloc.h"
#include "proto/base/utf8.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"

#define CLASS_WORDS  (SHOAL_CLASSES_MAX / 64)
#define LABEL_DIGITS 8 // of an id
#define LABEL_LONG   16

enum { FEED_NONE, FEED_IDLE, FEED_ROOM, FEED_COUNT };

typedef struct feed_list {
    shoal_worker_t *first;
    shoal_worker_t *last;
} feed_list_t;

typedef struct profile {
    uint64_t classes[CLASS_WORDS]; // a bit each
    size_t members;                // workers that are not lost
    size_t slots;                  // of members that get calls
    size_t fed;                    // how many those are
    feed_list_t feeds[FEED_COUNT];
} profile_t;

struct shoal_registry {
    shoal_names_t *ids;
    char class_names[SHOAL_CLASSES_MAX][SHOAL_CLASS_NAME_MAX + 1];
    uint32_t class_holds[SHOAL_CLASSES_MAX];
    unsigned class_count; // of the numbers in use and free again
    profile_t profiles[SHOAL_PROFILES_MAX];
    size_t profile_count;
    feed_list_t states[SHOAL_WORKER_STATE_COUNT]; // every worker, in the list of its state
    size_t counts[SHOAL_WORKER_STATE_COUNT];
};

typedef struct rule {
    uint8_t in;
    uint8_t on;
    uint8_t to;
} rule_t;

#define ANY      255
#define ALIVE    SHOAL_WORKER_ALIVE
#define DRAINING SHOAL_WORKER_DRAINING
#define SUSPECT  SHOAL_WORKER_SUSPECT
#define LOST     SHOAL_WORKER_LOST
#define ON(name) SHOAL_WORKER_ON_##name

// First match wins; the last row leaves no pair undefined.
// clang-format off
static const rule_t rules[] = {
    // in      on          to
    {ANY,      ON(JOIN),   ALIVE},
    {LOST,     ANY,        LOST},
    {ANY,      ON(LEAVE),  LOST},
    {ANY,      ON(LOSE),   LOST},
    {ANY,      ON(CUT),    SUSPECT},
    {ANY,      ON(LATE),   SUSPECT},
    {ANY,      ON(DRAIN),  DRAINING},
    {ANY,      ON(HEARD),  ALIVE},
};
// clang-format on

shoal_worker_state_t
shoal_worker_next(shoal_worker_state_t state, shoal_worker_event_t event)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if ((rules[i].in == ANY || rules[i].in == (uint8_t)state) &&
            (rules[i].on == ANY || rules[i].on == (uint8_t)event)) {
            return (shoal_worker_state_t)rules[i].to;
        }
    }
    return state;
}

shoal_registry_t *
shoal_registry_new(void)
{
    shoal_registry_t *registry = shoal_alloc(sizeof(*registry));
    registry->ids = shoal_names_new();
    return registry;
}

static void
worker_free(shoal_worker_t *worker)
{
    free(worker->actors);
    free(worker->labels);
    free(worker->casualties);
    free(worker->last_end);
    free(worker);
}

void
shoal_registry_destroy(shoal_registry_t **registry)
{
    if (!registry || !*registry) {
        return;
    }
    for (int state = 0; state < SHOAL_WORKER_STATE_COUNT; state++) {
        for (shoal_worker_t *worker = (*registry)->states[state].first; worker;) {
            shoal_worker_t *next = worker->list_next;
            worker_free(worker);
            worker = next;
        }
    }
    shoal_names_destroy(&(*registry)->ids);
    free(*registry);
    *registry = NULL;
}

shoal_worker_t *
shoal_registry_find(const shoal_registry_t *registry, shoal_slice_t id)
{
    return shoal_names_find(registry->ids, id);
}

static void
state_list_remove(shoal_registry_t *registry, shoal_worker_t *worker)
{
    feed_list_t *list = &registry->states[worker->state];
    *(worker->list_prev ? &worker->list_prev->list_next : &list->first) = worker->list_next;
    *(worker->list_next ? &worker->list_next->list_prev : &list->last) = worker->list_prev;
    registry->counts[worker->state]--;
}

static void
state_list_append(shoal_registry_t *registry, shoal_worker_t *worker)
{
    feed_list_t *list = &registry->states[worker->state];
    worker->list_prev = list->last;
    worker->list_next = NULL;
    *(list->last ? &list->last->list_next : &list->first) = worker;
    list->last = worker;
    registry->counts[worker->state]++;
}

static void
feed_set(shoal_registry_t *registry, shoal_worker_t *worker, uint8_t feed)
{
    profile_t *profile = &registry->profiles[worker->profile];
    if (worker->feed != FEED_NONE) {
        feed_list_t *list = &profile->feeds[worker->feed];
        *(worker->feed_prev ? &worker->feed_prev->feed_next : &list->first) = worker->feed_next;
        *(worker->feed_next ? &worker->feed_next->feed_prev : &list->last) = worker->feed_prev;
    }
    worker->feed = feed;
    if (feed != FEED_NONE) {
        feed_list_t *list = &profile->feeds[feed];
        worker->feed_prev = list->last;
        worker->feed_next = NULL;
        *(list->last ? &list->last->feed_next : &list->first) = worker;
        list->last = worker;
    }
}

void
shoal_worker_refeed(shoal_registry_t *registry, shoal_worker_t *worker)
{
    uint32_t slots = worker->slots < worker->window ? worker->slots : worker->window;
    uint8_t feed = FEED_NONE;
    bool is_told = worker->seq - worker->ack.open < SHOAL_UNACKED_MAX;
    if (worker->state == ALIVE && !worker->is_alone && worker->kept_for == 0 && is_told) {
        if (worker->charge < slots * SHOAL_CHARGE_FULL) {
            feed = FEED_IDLE;
        } else if (worker->charge < worker->window * SHOAL_CHARGE_FULL) {
            feed = FEED_ROOM;
        }
    }
    feed_set(registry, worker, feed); // also to the end of its list: everyone gets a turn
}

// Counts a worker in or out of its profile's slots.
static void
profile_count(shoal_registry_t *registry, const shoal_worker_t *worker, bool in)
{
    profile_t *profile = &registry->profiles[worker->profile];
    profile->slots += in ? worker->slots : -(size_t)worker->slots;
    profile->fed += in ? 1 : -(size_t)1;
}

static void
forget_oldest_lost(shoal_registry_t *registry, const shoal_worker_t *except)
{
    shoal_worker_t *oldest = registry->states[LOST].first;
    if (registry->counts[LOST] > SHOAL_WORKERS_LOST_MAX && oldest != except) {
        shoal_names_remove(registry->ids, shoal_slice_of(oldest->id));
        state_list_remove(registry, oldest);
        worker_free(oldest);
    }
}

shoal_worker_state_t
shoal_worker_raise(shoal_registry_t *registry, shoal_worker_t *worker, shoal_worker_event_t event)
{
    shoal_worker_state_t from = (shoal_worker_state_t)worker->state;
    shoal_worker_state_t to = shoal_worker_next(from, event);
    worker->must_drain = worker->must_drain && event != SHOAL_WORKER_ON_LEAVE;
    if (from == to) {
        return to;
    }
    if (from == ALIVE) {
        profile_count(registry, worker, false);
    }
    state_list_remove(registry, worker);
    worker->state = (uint8_t)to;
    state_list_append(registry, worker);
    if (to == ALIVE) {
        profile_count(registry, worker, true);
    }
    shoal_worker_refeed(registry, worker);
    if (to == LOST) {
        registry->profiles[worker->profile].members--;
        forget_oldest_lost(registry, worker);
    } else if (from == LOST) {
        registry->profiles[worker->profile].members++;
    }
    return to;
}

// Names that neither a job nor a worker has, and that are not among `bits`, are free again.
static void
classes_sweep(shoal_registry_t *registry, const uint64_t bits[CLASS_WORDS])
{
    uint64_t used[CLASS_WORDS];
    memcpy(used, bits, sizeof(used));
    for (size_t i = 0; i < registry->profile_count; i++) {
        for (size_t word = 0; registry->profiles[i].members > 0 && word < CLASS_WORDS; word++) {
            used[word] |= registry->profiles[i].classes[word];
        }
    }
    for (unsigned i = 0; i < registry->class_count; i++) {
        if (registry->class_holds[i] == 0 && !((used[i / 64] >> (i % 64)) & 1)) {
            registry->class_names[i][0] = '\0';
        }
    }
}

// A number without a name; -1: there is none.
static int
class_unused(shoal_registry_t *registry)
{
    for (unsigned i = 0; i < registry->class_count; i++) {
        if (registry->class_names[i][0] == '\0') {
            return (int)i;
        }
    }
    return registry->class_count < SHOAL_CLASSES_MAX ? (int)registry->class_count++ : -1;
}

// As shoal_registry_class(); the classes in `bits` are in use as well.
static int
class_find(shoal_registry_t *registry, shoal_slice_t name, const uint64_t bits[CLASS_WORDS])
{
    for (unsigned i = 0; i < registry->class_count; i++) {
        if (shoal_slice_is(name, registry->class_names[i])) {
            return (int)i;
        }
    }
    if (name.len == 0 || name.len > SHOAL_CLASS_NAME_MAX) {
        return -1;
    }
    int number = class_unused(registry);
    if (number < 0) {
        classes_sweep(registry, bits);
        number = class_unused(registry);
    }
    if (number >= 0) {
        memcpy(registry->class_names[number], name.ptr, name.len);
        registry->class_names[number][name.len] = '\0';
    }
    return number;
}

int
shoal_registry_class(shoal_registry_t *registry, shoal_slice_t name)
{
    static const uint64_t none[CLASS_WORDS];
    return class_find(registry, name, none);
}

void
shoal_registry_hold_class(shoal_registry_t *registry, unsigned class_number)
{
    assert(class_number < registry->class_count);
    registry->class_holds[class_number]++;
}

void
shoal_registry_release_class(shoal_registry_t *registry, unsigned class_number)
{
    assert(class_number < registry->class_count && registry->class_holds[class_number] > 0);
    registry->class_holds[class_number]--;
}

const char *
shoal_registry_class_name(const shoal_registry_t *registry, unsigned class_number)
{
    assert(class_number < registry->class_count);
    return registry->class_names[class_number];
}

static bool
classes_read(shoal_registry_t *registry, shoal_slice_t value, uint64_t bits[CLASS_WORDS],
             shoal_status_t *status)
{
    if (value.len == 0) {
        return true;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    uint32_t count = shoal_cursor_array(&cursor);
    if (count > SHOAL_WORKER_CLASSES_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "a worker has at most %d classes, got %u",
                          SHOAL_WORKER_CLASSES_MAX, count);
    }
    for (uint32_t i = 0; i < count && !cursor.is_bad; i++) {
        shoal_slice_t name = shoal_cursor_str(&cursor);
        if (cursor.is_bad || name.len == 0 || !shoal_utf8_is_text(name)) {
            return shoal_fail(status, SHOAL_PROTOCOL, "\"classes\" must be an array of texts");
        }
        int number = class_find(registry, name, bits);
        if (number < 0) {
            return shoal_fail(status, SHOAL_LIMIT,
                              "the name of a class is too long, or there are over %d",
                              SHOAL_CLASSES_MAX);
        }
        bits[number / 64] |= UINT64_C(1) << (number % 64);
    }
    if (!shoal_cursor_is_done(&cursor)) {
        return shoal_fail(status, SHOAL_PROTOCOL, "\"classes\" must be an array of texts");
    }
    return true;
}

// The profile with just those classes; an unused one becomes it. -1: there is none left.
static int
profile_find(shoal_registry_t *registry, const uint64_t bits[CLASS_WORDS])
{
    int spare = -1;
    for (size_t i = 0; i < registry->profile_count; i++) {
        if (memcmp(registry->profiles[i].classes, bits, sizeof(uint64_t[CLASS_WORDS])) == 0) {
            return (int)i;
        }
        if (registry->profiles[i].members == 0) {
            spare = (int)i;
        }
    }
    if (spare < 0 && registry->profile_count < SHOAL_PROFILES_MAX) {
        spare = (int)registry->profile_count++;
    }
    if (spare >= 0) {
        memcpy(registry->profiles[spare].classes, bits, sizeof(uint64_t[CLASS_WORDS]));
    }
    return spare;
}

static void
text_copy(char *to, size_t size, shoal_slice_t from)
{
    size_t len = from.len < size ? from.len : size - 1;
    if (len > 0) {
        memcpy(to, from.ptr, len);
    }
    to[len] = '\0';
}

static shoal_worker_t *
worker_new(shoal_registry_t *registry, shoal_slice_t id)
{
    shoal_worker_t *worker = shoal_alloc(sizeof(*worker));
    text_copy(worker->id, sizeof(worker->id), id);
    worker->state = LOST; // until JOIN
    state_list_append(registry, worker);
    shoal_names_add(registry->ids, shoal_slice_of(worker->id), worker);
    return worker;
}

void
shoal_worker_label(const char *id, const char *name, char label[SHOAL_WORKER_LABEL_MAX + 1])
{
    // A long id was made by chance, and its first digits tell it apart; a short one was chosen.
    int len = (int)strlen(id);
    int digits = len >= LABEL_LONG ? LABEL_DIGITS : len;
    int room = SHOAL_WORKER_LABEL_MAX - digits - 3;
    if (name[0] == '\0') {
        (void)snprintf(label, SHOAL_WORKER_LABEL_MAX + 1, "%s", id);
    } else {
        (void)snprintf(label, SHOAL_WORKER_LABEL_MAX + 1, "%.*s (%.*s)", room, name, digits, id);
    }
}

// Clients are shown them as they came.
static bool
labels_check(shoal_slice_t labels, shoal_status_t *status)
{
    if (labels.len == 0) {
        return true;
    }
    shoal_cursor_t cursor = shoal_cursor_over(labels);
    uint32_t texts = 2 * shoal_cursor_map(&cursor);
    bool are_texts = true;
    for (uint32_t i = 0; i < texts && !cursor.is_bad; i++) {
        are_texts = shoal_utf8_is_text(shoal_cursor_str(&cursor)) && are_texts;
    }
    return (are_texts && shoal_cursor_is_done(&cursor)) ||
           shoal_fail(status, SHOAL_PROTOCOL, "\"labels\" must be a map of text to text");
}

static bool
offer_check(const shoal_registry_t *registry, const shoal_offer_t *offer,
            const shoal_worker_t *known, shoal_status_t *status)
{
    if (offer->id.len == 0 || !shoal_utf8_is_text(offer->id) || !shoal_utf8_is_text(offer->name)) {
        return shoal_fail(status, SHOAL_INVALID,
                          "a worker needs an id; id and name are UTF-8 without NUL");
    }
    if (offer->slots == 0) {
        return shoal_fail(status, SHOAL_INVALID, "a worker needs at least one slot");
    }
    size_t members = shoal_names_count(registry->ids) - registry->counts[LOST];
    if ((!known || known->state == LOST) && members >= SHOAL_WORKERS_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "worker \"%.*s\" refused: already %zu workers",
                          SHOAL_SLICE_ARGS(offer->id), members);
    }
    if (offer->labels.len > SHOAL_WORKER_VALUE_MAX) {
        return shoal_fail(status, SHOAL_LIMIT, "labels have at most %d bytes",
                          SHOAL_WORKER_VALUE_MAX);
    }
    return labels_check(offer->labels, status);
}

bool
shoal_registry_join(shoal_registry_t *registry, const shoal_offer_t *offer,
                    shoal_worker_t **ret_worker, shoal_status_t *status)
{
    shoal_worker_t *worker = shoal_registry_find(registry, offer->id);
    uint64_t bits[CLASS_WORDS] = {0};
    if (!offer_check(registry, offer, worker, status) ||
        !classes_read(registry, offer->classes, bits, status)) {
        return false;
    }
    int profile = profile_find(registry, bits);
    if (profile < 0) {
        return shoal_fail(status, SHOAL_LIMIT, "workers with over %d different sets of classes",
                          SHOAL_PROFILES_MAX);
    }
    if (!worker) {
        worker = worker_new(registry, offer->id);
    }
    if (worker->state == ALIVE) {
        profile_count(registry, worker, false);
    }
    feed_set(registry, worker, FEED_NONE);
    if (worker->state != LOST) {
        registry->profiles[worker->profile].members--;
        registry->profiles[profile].members++;
    }
    worker->profile = (uint16_t)profile;
    text_copy(worker->name, sizeof(worker->name), offer->name);
    shoal_worker_label(worker->id, worker->name, worker->label);
    worker->incarnation = offer->incarnation;
    worker->slots = offer->slots;
    worker->window = offer->window;
    free(worker->labels);
    worker->labels = offer->labels.len ? shoal_alloc(offer->labels.len) : NULL;
    worker->labels_len = (uint32_t)offer->labels.len;
    if (offer->labels.len > 0) {
        memcpy(worker->labels, offer->labels.ptr, offer->labels.len);
    }
    if (worker->state == ALIVE) {
        profile_count(registry, worker, true);
        shoal_worker_refeed(registry, worker);
    }
    (void)shoal_worker_raise(registry, worker, SHOAL_WORKER_ON_JOIN);
    if (worker->window == 0) { // it drains, and has come back meanwhile
        (void)shoal_worker_raise(registry, worker, SHOAL_WORKER_ON_DRAIN);
    }
    *ret_worker = worker;
    return true;
}

void
shoal_worker_add_attempt(shoal_registry_t *registry, shoal_worker_t *worker,
                         shoal_attempt_t *attempt)
{
    attempt->worker = worker;
    attempt->worker_prev = NULL;
    attempt->worker_next = worker->attempts;
    if (worker->attempts) {
        worker->attempts->worker_prev = attempt;
    }
    worker->attempts = attempt;
    worker->charge += attempt->charge;
    worker->running++;
    worker->is_alone = attempt->is_alone;
    shoal_worker_refeed(registry, worker);
}

void
shoal_worker_remove_attempt(shoal_registry_t *registry, shoal_attempt_t *attempt)
{
    shoal_worker_t *worker = attempt->worker;
    *(attempt->worker_prev ? &attempt->worker_prev->worker_next : &worker->attempts) =
        attempt->worker_next;
    if (attempt->worker_next) {
        attempt->worker_next->worker_prev = attempt->worker_prev;
    }
    worker->charge -= attempt->charge;
    worker->running--;
    if (attempt->is_alone) {
        worker->is_alone = false;
    }
    shoal_worker_refeed(registry, worker);
}

// Where `job` stands in the worker's actors, or would stand.
static uint32_t
actor_place(const shoal_worker_t *worker, uint64_t job)
{
    uint32_t low = 0;
    uint32_t high = worker->actor_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (worker->actors[middle] < job) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool
shoal_worker_has_actor(const shoal_worker_t *worker, uint64_t job)
{
    uint32_t at = actor_place(worker, job);
    return at < worker->actor_count && worker->actors[at] == job;
}

void
shoal_worker_add_actor(shoal_worker_t *worker, uint64_t job)
{
    uint32_t at = actor_place(worker, job);
    if (worker->actor_count == worker->actor_size) {
        worker->actor_size = worker->actor_size ? worker->actor_size * 2 : 4;
        worker->actors =
            shoal_realloc(worker->actors, worker->actor_size * sizeof(*worker->actors));
    }
    memmove(&worker->actors[at + 1], &worker->actors[at],
            (worker->actor_count - at) * sizeof(*worker->actors));
    worker->actors[at] = job;
    worker->actor_count++;
}

bool
shoal_worker_drop_actor(shoal_worker_t *worker, uint64_t job)
{
    uint32_t at = actor_place(worker, job);
    if (at == worker->actor_count || worker->actors[at] != job) {
        return false;
    }
    worker->actor_count--;
    memmove(&worker->actors[at], &worker->actors[at + 1],
            (worker->actor_count - at) * sizeof(*worker->actors));
    return true;
}

bool
shoal_profile_has(const shoal_registry_t *registry, size_t profile, unsigned class_number)
{
    return (registry->profiles[profile].classes[class_number / 64] >> (class_number % 64)) & 1;
}

void
shoal_registry_write_classes(const shoal_registry_t *registry, const shoal_worker_t *worker,
                             shoal_buffer_t *out)
{
    uint32_t count = 0;
    size_t mark = shoal_write_array_later(out);
    for (unsigned i = 0; i < registry->class_count; i++) {
        if (shoal_profile_has(registry, worker->profile, i)) {
            shoal_write_text(out, registry->class_names[i]);
            count++;
        }
    }
    shoal_write_count_now(out, mark, count);
}

size_t
shoal_registry_slots(const shoal_registry_t *registry, int class_number)
{
    size_t slots = 0;
    for (size_t i = 0; i < registry->profile_count; i++) {
        if (class_number < 0 || shoal_profile_has(registry, i, (unsigned)class_number)) {
            slots += registry->profiles[i].slots;
        }
    }
    return slots;
}

size_t
shoal_registry_workers(const shoal_registry_t *registry, int class_number)
{
    size_t workers = 0;
    for (size_t i = 0; i < registry->profile_count; i++) {
        if (class_number < 0 || shoal_profile_has(registry, i, (unsigned)class_number)) {
            workers += registry->profiles[i].fed;
        }
    }
    return workers;
}

size_t
shoal_registry_profiles(const shoal_registry_t *registry)
{
    return registry->profile_count;
}

shoal_worker_t *
shoal_profile_idle(const shoal_registry_t *registry, size_t profile)
{
    return registry->profiles[profile].feeds[FEED_IDLE].first;
}

shoal_worker_t *
shoal_profile_room(const shoal_registry_t *registry, size_t profile)
{
    return registry->profiles[profile].feeds[FEED_ROOM].first;
}

shoal_worker_t *
shoal_registry_first(const shoal_registry_t *registry, shoal_worker_state_t state)
{
    return registry->states[state].first;
}

const char *
shoal_worker_state_name(int state)
{
    static const char *const names[] = {
#define X(name, text) text,
        SHOAL_WORKER_STATES(X)
#undef X
    };
    return state >= 0 && state < SHOAL_WORKER_STATE_COUNT ? names[state] : "?";
}

const char *
shoal_worker_event_name(int event)
{
    static const char *const names[] = {
#define X(name, text) text,
        SHOAL_WORKER_EVENTS(X)
#undef X
    };
    return event >= 0 && event < SHOAL_WORKER_EVENT_COUNT ? names[event] : "?";
}
