// SPDX-License-Identifier: Apache-2.0
//
// test_registry.c - what head/cluster/registry.h promises.

#include "head/cluster/registry.h"
#include "tests/support/test.h"

#define PIPELINE "\x91\xa8pipeline"
#define BOTH                                                                                       \
    "\x92\xa8pipeline\xa5"                                                                         \
    "other"

static shoal_worker_t *
join(shoal_registry_t *registry, const char *id, uint32_t slots, uint32_t window,
     const char *classes)
{
    shoal_offer_t offer = {.id = shoal_slice_of(id),
                           .name = SHOAL_SLICE("host:1"),
                           .incarnation = 1,
                           .slots = slots,
                           .window = window,
                           .classes = shoal_slice_of(classes)};
    shoal_worker_t *worker = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_registry_join(registry, &offer, &worker, &status), status);
    return worker;
}

static void
a_worker_joins_and_is_fed(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_worker_t *worker = join(registry, "w1", 2, 4, PIPELINE);
    int class_number = shoal_registry_class(registry, SHOAL_SLICE("pipeline"));
    CHECK(class_number >= 0);
    CHECK(shoal_registry_find(registry, SHOAL_SLICE("w1")) == worker);
    CHECK(shoal_registry_find(registry, SHOAL_SLICE("w2")) == NULL);
    CHECK(shoal_registry_slots(registry, class_number) == 2);
    CHECK(shoal_registry_workers(registry, -1) == 1);
    CHECK(shoal_profile_idle(registry, worker->profile) == worker);
    CHECK(worker->state == SHOAL_WORKER_ALIVE);
    shoal_registry_destroy(&registry);
    CHECK(registry == NULL);
}

static void
a_worker_is_labelled_by_its_name_and_the_first_digits_of_its_id(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_worker_t *worker = join(registry, "0123456789abcdef", 1, 1, PIPELINE);
    assert_string_equal(worker->label, "host:1 (01234567)");
    char name[SHOAL_WORKER_NAME_MAX + 1];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    const shoal_offer_t offers[] = {
        {.id = SHOAL_SLICE("w1"), .slots = 1, .window = 1},
        {.id = SHOAL_SLICE("0123456789abcdee"),
         .name = shoal_slice_of(name),
         .slots = 1,
         .window = 1},
    };
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_registry_join(registry, &offers[0], &worker, &status), status);
    assert_string_equal(worker->label, "w1");
    CHECK_OK(shoal_registry_join(registry, &offers[1], &worker, &status), status);
    CHECK(strlen(worker->label) == SHOAL_WORKER_LABEL_MAX);
    CHECK(strcmp(worker->label + SHOAL_WORKER_LABEL_MAX - 11, " (01234567)") == 0);
    shoal_registry_destroy(&registry);
}

static void
charge_moves_a_worker_from_idle_to_room_to_nothing(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_worker_t *worker = join(registry, "w1", 1, 2, PIPELINE);
    shoal_attempt_t calls[2] = {{.charge = SHOAL_CHARGE_FULL}, {.charge = SHOAL_CHARGE_FULL}};
    shoal_worker_add_attempt(registry, worker, &calls[0]);
    CHECK(shoal_profile_idle(registry, worker->profile) == NULL);
    CHECK(shoal_profile_room(registry, worker->profile) == worker);
    shoal_worker_add_attempt(registry, worker, &calls[1]);
    CHECK(shoal_profile_room(registry, worker->profile) == NULL);
    CHECK(worker->running == 2);
    shoal_worker_remove_attempt(registry, &calls[0]);
    shoal_worker_remove_attempt(registry, &calls[1]);
    CHECK(shoal_profile_idle(registry, worker->profile) == worker && worker->attempts == NULL);
    shoal_registry_destroy(&registry);
}

static void
a_worker_that_runs_one_call_alone_gets_no_other(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_worker_t *worker = join(registry, "w1", 4, 4, PIPELINE);
    shoal_attempt_t call = {.charge = SHOAL_CHARGE_FULL, .is_alone = true};
    shoal_worker_add_attempt(registry, worker, &call);
    CHECK(shoal_profile_idle(registry, worker->profile) == NULL);
    shoal_worker_remove_attempt(registry, &call);
    CHECK(shoal_profile_idle(registry, worker->profile) == worker);
    shoal_registry_destroy(&registry);
}

static void
results_that_wait_for_the_disk_hold_up_their_worker(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_worker_t *worker = join(registry, "w1", 4, 4, PIPELINE);
    worker->seq = SHOAL_UNACKED_MAX;
    shoal_worker_refeed(registry, worker);
    CHECK(shoal_profile_idle(registry, worker->profile) == NULL);
    (void)shoal_tide_set(&worker->ack, 1, 1, 1); // the first one is durable
    shoal_worker_refeed(registry, worker);
    CHECK(shoal_profile_idle(registry, worker->profile) == worker);
    shoal_registry_destroy(&registry);
}

static void
suspects_and_drainers_are_not_fed_and_do_not_count(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_worker_t *worker = join(registry, "w1", 3, 3, PIPELINE);
    (void)shoal_worker_raise(registry, worker, SHOAL_WORKER_ON_LATE);
    CHECK(worker->state == SHOAL_WORKER_SUSPECT);
    CHECK(shoal_profile_idle(registry, worker->profile) == NULL);
    CHECK(shoal_registry_slots(registry, -1) == 0);
    (void)shoal_worker_raise(registry, worker, SHOAL_WORKER_ON_HEARD);
    CHECK(shoal_registry_slots(registry, -1) == 3);
    worker->window = 0;
    (void)shoal_worker_raise(registry, worker, SHOAL_WORKER_ON_DRAIN);
    CHECK(worker->state == SHOAL_WORKER_DRAINING);
    CHECK(shoal_profile_idle(registry, worker->profile) == NULL);
    CHECK(shoal_registry_first(registry, SHOAL_WORKER_DRAINING) == worker);
    shoal_registry_destroy(&registry);
}

// Joins a worker with one class of that number.
static shoal_worker_t *
join_class(shoal_registry_t *registry, unsigned number)
{
    char id[32];
    char classes[32];
    (void)snprintf(id, sizeof(id), "w%u", number);
    int len = snprintf(classes + 2, sizeof(classes) - 2, "class%05u", number);
    classes[0] = (char)0x91; // an array of one text
    classes[1] = (char)(0xa0 | len);
    shoal_offer_t offer = {
        .id = shoal_slice_of(id), .slots = 1, .window = 1, .classes = {classes, (size_t)len + 2}};
    shoal_worker_t *worker = NULL;
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_registry_join(registry, &offer, &worker, &status), status);
    return worker;
}

static void
names_of_classes_are_free_again_when_nobody_has_them(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    int held = shoal_registry_class(registry, SHOAL_SLICE("held"));
    CHECK(held >= 0);
    shoal_registry_hold_class(registry, (unsigned)held);
    shoal_worker_t *stays = join_class(registry, 99999);
    for (unsigned i = 0; i < 10 * SHOAL_CLASSES_MAX; i++) {
        shoal_worker_t *worker = join_class(registry, i);
        (void)shoal_worker_raise(registry, worker, SHOAL_WORKER_ON_LOSE);
    }
    CHECK(shoal_registry_class(registry, SHOAL_SLICE("held")) == held);
    CHECK(strcmp(shoal_registry_class_name(registry, (unsigned)held), "held") == 0);
    int number = shoal_registry_class(registry, SHOAL_SLICE("class99999"));
    CHECK(shoal_profile_has(registry, stays->profile, (unsigned)number));
    CHECK(shoal_registry_slots(registry, number) == 1);
    shoal_registry_release_class(registry, (unsigned)held);
    shoal_registry_destroy(&registry);
}

// what is no text would be shown to every client as it came.
static void
names_that_are_no_text_are_refused(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    const shoal_offer_t good = {.id = SHOAL_SLICE("w"),
                                .name = SHOAL_SLICE("n"),
                                .slots = 1,
                                .window = 1,
                                .classes = SHOAL_SLICE("\x91\xa1"
                                                       "c"),
                                .labels = SHOAL_SLICE("\x81\xa1"
                                                      "k\xa1"
                                                      "v")};
    shoal_offer_t bad[6] = {good, good, good, good, good, good};
    bad[0].id = SHOAL_SLICE("w\xec");
    bad[1].name = SHOAL_SLICE("n\0n");
    bad[2].classes = SHOAL_SLICE("\x91\xa1\xff");
    bad[3].labels = SHOAL_SLICE("\x81\xa1"
                                "k\xa1\xff");
    bad[4].labels = SHOAL_SLICE("\x81\xa1"
                                "k\x01");
    bad[5].labels = SHOAL_SLICE("\x01");
    shoal_worker_t *worker = NULL;
    for (size_t i = 0; i < 6; i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        CHECK(!shoal_registry_join(registry, &bad[i], &worker, &status));
        CHECK(status.code == SHOAL_INVALID || status.code == SHOAL_PROTOCOL);
    }
    shoal_status_t status = SHOAL_STATUS_INIT;
    CHECK_OK(shoal_registry_join(registry, &good, &worker, &status), status);
    shoal_registry_destroy(&registry);
}

static void
too_many_names_of_classes_are_refused(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    char name[16];
    for (unsigned i = 0; i < SHOAL_CLASSES_MAX; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        int number = shoal_registry_class(registry, shoal_slice_of(name));
        CHECK(number >= 0);
        shoal_registry_hold_class(registry, (unsigned)number);
    }
    CHECK(shoal_registry_class(registry, SHOAL_SLICE("one more")) == -1);
    shoal_registry_release_class(registry, 7);
    CHECK(shoal_registry_class(registry, SHOAL_SLICE("one more")) == 7);
    shoal_registry_destroy(&registry);
}

static void
a_lost_worker_is_remembered_and_may_come_back_as_another(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_worker_t *worker = join(registry, "w1", 3, 3, PIPELINE);
    (void)shoal_worker_raise(registry, worker, SHOAL_WORKER_ON_LOSE);
    CHECK(shoal_registry_find(registry, SHOAL_SLICE("w1")) == worker);
    CHECK(shoal_worker_raise(registry, worker, SHOAL_WORKER_ON_HEARD) == SHOAL_WORKER_LOST);
    CHECK(join(registry, "w1", 5, 5, BOTH) == worker);
    CHECK(shoal_registry_slots(registry, -1) == 5);
    CHECK(shoal_registry_slots(registry, shoal_registry_class(registry, SHOAL_SLICE("other"))) ==
          5);
    shoal_registry_destroy(&registry);
}

static void
only_so_many_lost_workers_are_remembered(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    char id[32];
    for (int i = 0; i < SHOAL_WORKERS_LOST_MAX + 10; i++) {
        (void)snprintf(id, sizeof(id), "w%d", i);
        (void)shoal_worker_raise(registry, join(registry, id, 1, 1, PIPELINE),
                                 SHOAL_WORKER_ON_LEAVE);
    }
    CHECK(shoal_registry_find(registry, SHOAL_SLICE("w9")) == NULL);
    CHECK(shoal_registry_find(registry, SHOAL_SLICE("w10")) != NULL);
    shoal_registry_destroy(&registry);
}

static void
offers_that_are_wrong_or_too_much_are_refused(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_worker_t *worker = NULL;
    shoal_offer_t offer = {.id = SHOAL_SLICE("w"), .slots = 0, .window = 1};
    CHECK_FAILS(shoal_registry_join(registry, &offer, &worker, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "slot");
    offer.slots = 1;
    offer.id = SHOAL_SLICE_NONE;
    CHECK_FAILS(shoal_registry_join(registry, &offer, &worker, &status), status, SHOAL_INVALID);
    offer.id = SHOAL_SLICE("a\0b");
    CHECK_FAILS(shoal_registry_join(registry, &offer, &worker, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "NUL");
    offer.id = SHOAL_SLICE("w");
    static const char *const wrong[] = {"\x80", "\x91\x01", "\x91\xa0", "\x92\xa1z"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        offer.classes = shoal_slice_of(wrong[i]);
        CHECK_FAILS(shoal_registry_join(registry, &offer, &worker, &status), status,
                    SHOAL_PROTOCOL);
        CHECK_SAYS(status.text, "classes");
    }
    CHECK(shoal_registry_find(registry, SHOAL_SLICE("w")) == NULL);
    shoal_registry_destroy(&registry);
}

static void
there_is_room_for_so_many_sets_of_classes_and_unused_ones_make_room(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_worker_t *worker = NULL;
    char id[32];
    char classes[32];
    for (int i = 0; i <= SHOAL_PROFILES_MAX; i++) {
        (void)snprintf(id, sizeof(id), "w%d", i);
        int len = snprintf(classes, sizeof(classes), "\x91\xa4%04d", i);
        shoal_offer_t offer = {
            .id = shoal_slice_of(id), .slots = 1, .window = 1, .classes = {classes, (size_t)len}};
        if (i < SHOAL_PROFILES_MAX) {
            CHECK_OK(shoal_registry_join(registry, &offer, &worker, &status), status);
        } else {
            CHECK_FAILS(shoal_registry_join(registry, &offer, &worker, &status), status,
                        SHOAL_LIMIT);
            (void)shoal_worker_raise(registry, shoal_registry_find(registry, SHOAL_SLICE("w3")),
                                     SHOAL_WORKER_ON_LOSE);
            CHECK_OK(shoal_registry_join(registry, &offer, &worker, &status), status);
        }
    }
    shoal_registry_destroy(&registry);
}

static void
actors_are_known_until_they_are_dropped(void)
{
    shoal_registry_t *registry = shoal_registry_new();
    shoal_worker_t *worker = join(registry, "w1", 1, 1, PIPELINE);
    for (uint64_t job = 20; job > 0; job--) {
        CHECK(!shoal_worker_has_actor(worker, job));
        shoal_worker_add_actor(worker, job);
    }
    CHECK(shoal_worker_has_actor(worker, 1) && shoal_worker_has_actor(worker, 20));
    CHECK(shoal_worker_drop_actor(worker, 7) && !shoal_worker_drop_actor(worker, 7));
    CHECK(!shoal_worker_has_actor(worker, 7) && shoal_worker_has_actor(worker, 8));
    shoal_registry_destroy(&registry);
}

static void
every_state_takes_every_event_and_can_be_reached_and_left(void)
{
    bool is_reached[SHOAL_WORKER_STATE_COUNT] = {false};
    bool is_left[SHOAL_WORKER_STATE_COUNT] = {false};
    for (int state = 0; state < SHOAL_WORKER_STATE_COUNT; state++) {
        for (int event = 0; event < SHOAL_WORKER_EVENT_COUNT; event++) {
            shoal_worker_state_t to =
                shoal_worker_next((shoal_worker_state_t)state, (shoal_worker_event_t)event);
            CHECK((int)to < SHOAL_WORKER_STATE_COUNT);
            is_reached[to] = is_reached[to] || (int)to != state;
            is_left[state] = is_left[state] || (int)to != state;
            // Nothing but a HELLO brings a lost worker back.
            CHECK(state != SHOAL_WORKER_LOST || event == SHOAL_WORKER_ON_JOIN ||
                  to == SHOAL_WORKER_LOST);
        }
    }
    for (int state = 0; state < SHOAL_WORKER_STATE_COUNT; state++) {
        CHECK(is_reached[state] && is_left[state]);
        CHECK(strcmp(shoal_worker_state_name(state), "?") != 0);
    }
    CHECK(strcmp(shoal_worker_state_name(-1), "?") == 0);
}

TEST_MAIN(TEST(a_worker_joins_and_is_fed),
          TEST(a_worker_is_labelled_by_its_name_and_the_first_digits_of_its_id),
          TEST(charge_moves_a_worker_from_idle_to_room_to_nothing),
          TEST(a_worker_that_runs_one_call_alone_gets_no_other),
          TEST(results_that_wait_for_the_disk_hold_up_their_worker),
          TEST(suspects_and_drainers_are_not_fed_and_do_not_count),
          TEST(names_of_classes_are_free_again_when_nobody_has_them),
          TEST(too_many_names_of_classes_are_refused), TEST(names_that_are_no_text_are_refused),
          TEST(a_lost_worker_is_remembered_and_may_come_back_as_another),
          TEST(only_so_many_lost_workers_are_remembered),
          TEST(offers_that_are_wrong_or_too_much_are_refused),
          TEST(there_is_room_for_so_many_sets_of_classes_and_unused_ones_make_room),
          TEST(actors_are_known_until_they_are_dropped),
          TEST(every_state_takes_every_event_and_can_be_reached_and_left))
