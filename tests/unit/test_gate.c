// SPDX-License-Identifier: Apache-2.0
//
// test_gate.c - what head/hub/gate.h promises, with real sockets in this process.

#include <zmq.h>

#include "head/hub/gate.h"
#include "proto/base/private.h"
#include "proto/wire/secure.h"
#include "proto/wire/socket.h"
#include "tests/support/folder.h"

#define WAIT_MS  10000
#define ENDPOINT "tcp://127.0.0.1:*"

typedef struct bed {
    folder_t keys;
    void *context;
    void *router;
    void *dealer;
    void *monitor;
    shoal_gate_t *gate;
    shoal_join_t join; // of a holder that is listed
    unsigned dials;    // each monitor has a name of its own
    char endpoint[128];
    shoal_status_t status;
} bed_t;

static void
list(bed_t *bed, const shoal_key_pair_t *pair, shoal_role_t role, const char *name)
{
    shoal_holder_t holder = {.key = pair->open, .role = role};
    (void)snprintf(holder.name, sizeof(holder.name), "%s", name);
    CHECK_OK(shoal_allowed_add(bed->keys.path, &holder, &bed->status), bed->status);
}

// A key folder, a ROUTER without its gate, and a holder who is listed.
static bed_t
bed_new(void)
{
    bed_t bed = {.keys = folder_new(), .status = SHOAL_STATUS_INIT};
    shoal_key_pair_t own;
    char *path = folder_file(&bed.keys, SHOAL_KEYS_HEAD);
    CHECK_OK(shoal_key_pair_make(&own, &bed.status), bed.status);
    CHECK_OK(shoal_key_pair_write(path, &own, &bed.status), bed.status);
    CHECK_OK(shoal_key_pair_make(&bed.join.own, &bed.status), bed.status);
    bed.join.head = own.open;
    list(&bed, &bed.join.own, SHOAL_ROLE_WORKER, "w");
    free(path);
    bed.context = zmq_ctx_new();
    bed.router = zmq_socket(bed.context, ZMQ_ROUTER);
    CHECK(bed.router != NULL);
    CHECK_OK(shoal_socket_configure(bed.router, &bed.status), bed.status);
    return bed;
}

static void
bed_open(bed_t *bed)
{
    CHECK_OK(
        shoal_gate_open(bed->context, bed->router, bed->keys.path, NULL, &bed->gate, &bed->status),
        bed->status);
}

static void
bed_bind(bed_t *bed)
{
    size_t size = sizeof(bed->endpoint);
    CHECK(zmq_bind(bed->router, ENDPOINT) == 0);
    CHECK(zmq_getsockopt(bed->router, ZMQ_LAST_ENDPOINT, bed->endpoint, &size) == 0);
}

static void
hang_up(bed_t *bed)
{
    if (bed->dealer) {
        CHECK(zmq_socket_monitor(bed->dealer, NULL, 0) == 0);
        CHECK(zmq_close(bed->dealer) == 0 && zmq_close(bed->monitor) == 0);
        bed->dealer = bed->monitor = NULL;
    }
}

// Dials with a join string and sends one frame.
static void
dial(bed_t *bed, const shoal_join_t *join)
{
    hang_up(bed);
    int never = -1;
    char name[64];
    (void)snprintf(name, sizeof(name), "inproc://monitor-%u", ++bed->dials);
    bed->dealer = zmq_socket(bed->context, ZMQ_DEALER);
    bed->monitor = zmq_socket(bed->context, ZMQ_PAIR);
    CHECK(bed->dealer && bed->monitor);
    CHECK_OK(shoal_socket_configure(bed->dealer, &bed->status), bed->status);
    CHECK(zmq_setsockopt(bed->dealer, ZMQ_RECONNECT_IVL, &never, sizeof(never)) == 0);
    if (join) {
        CHECK_OK(shoal_secure_client(bed->dealer, join, &bed->status), bed->status);
    }
    CHECK(zmq_socket_monitor(bed->dealer, name, SHOAL_HANDSHAKE_EVENTS) == 0);
    CHECK(zmq_connect(bed->monitor, name) == 0);
    CHECK(zmq_connect(bed->dealer, bed->endpoint) == 0);
    (void)zmq_send(bed->dealer, "hello", 5, ZMQ_DONTWAIT); // the handshake may have failed already
}

static void
bed_fini(bed_t *bed)
{
    hang_up(bed);
    CHECK(zmq_close(bed->router) == 0);
    shoal_gate_close(&bed->gate);
    CHECK(zmq_ctx_term(bed->context) == 0);
    folder_remove(&bed->keys);
}

static bool
is_readable(void *socket, long timeout_ms)
{
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
    return zmq_poll(&item, 1, timeout_ms) == 1;
}

static shoal_monitored_t
failure(bed_t *bed)
{
    shoal_monitored_t event = {0, 0};
    CHECK(is_readable(bed->monitor, WAIT_MS));
    CHECK(shoal_monitor_take(bed->monitor, &event));
    return event;
}

//
static void
nobody_gets_in_before_the_gate_is_there(void)
{
    bed_t bed = bed_new();
    shoal_key_pair_t own;
    char *path = folder_file(&bed.keys, SHOAL_KEYS_HEAD);
    CHECK_OK(shoal_key_pair_read(path, &own, &bed.status), bed.status);
    free(path);
    // The head's port with its key, but nobody who answers for the keys of others.
    CHECK_OK(shoal_secure_server(bed.router, &own, &bed.status), bed.status);
    bed_bind(&bed);
    dial(&bed, &bed.join);
    (void)failure(&bed);
    CHECK(!is_readable(bed.router, 0));
    bed_open(&bed);
    dial(&bed, &bed.join);
    CHECK(is_readable(bed.router, WAIT_MS));
    bed_fini(&bed);
}

//
static void
who_is_listed_gets_in_and_is_known_by_the_key(void)
{
    bed_t bed = bed_new();
    bed_open(&bed);
    bed_bind(&bed);
    dial(&bed, &bed.join);
    CHECK(is_readable(bed.router, WAIT_MS));
    shoal_parcel_t parcel;
    shoal_parcel_init(&parcel);
    CHECK(shoal_parcel_receive(bed.router, true, &parcel, &bed.status) == SHOAL_RECEIVED_ONE);
    const shoal_holder_t *holder = shoal_gate_holder(bed.gate, shoal_parcel_user(&parcel));
    CHECK(holder && strcmp(holder->name, "w") == 0 && holder->role == SHOAL_ROLE_WORKER);
    CHECK(!shoal_gate_holder(bed.gate, NULL) && !shoal_gate_holder(bed.gate, "w"));
    shoal_parcel_fini(&parcel);
    bed_fini(&bed);
}

//
static void
who_is_not_listed_stays_out_and_can_tell_why(void)
{
    bed_t bed = bed_new();
    bed_open(&bed);
    bed_bind(&bed);
    shoal_join_t join = bed.join;
    CHECK_OK(shoal_key_pair_make(&join.own, &bed.status), bed.status);
    dial(&bed, &join);
    shoal_monitored_t event = failure(&bed);
    CHECK(shoal_handshake_is_refusal(&event));
    CHECK_SAYS(shoal_handshake_reason(&event, true), "does not know this key");
    join = bed.join;
    join.head = bed.join.own.open; // of another head
    dial(&bed, &join);
    event = failure(&bed);
    CHECK(!shoal_handshake_is_refusal(&event));
    CHECK_SAYS(shoal_handshake_reason(&event, true), "another key");
    dial(&bed, NULL);
    event = failure(&bed);
    CHECK_SAYS(shoal_handshake_reason(&event, false), "--join-file FILE");
    CHECK(!is_readable(bed.router, 0));
    bed_fini(&bed);
}

//
static void
a_list_that_changes_is_followed(void)
{
    bed_t bed = bed_new();
    bed_open(&bed);
    bed_bind(&bed);
    shoal_join_t join = bed.join;
    CHECK_OK(shoal_key_pair_make(&join.own, &bed.status), bed.status);
    CHECK(!shoal_gate_take(bed.gate) && !shoal_gate_find(bed.gate, &join.own.open));
    list(&bed, &join.own, SHOAL_ROLE_CLIENT, "late");
    CHECK(is_readable(bed.router, 0) == false);
    zmq_pollitem_t item = {NULL, shoal_gate_fd(bed.gate), ZMQ_POLLIN, 0};
    CHECK(zmq_poll(&item, 1, WAIT_MS) == 1);
    CHECK(shoal_gate_take(bed.gate) && shoal_gate_find(bed.gate, &join.own.open));
    dial(&bed, &join);
    CHECK(is_readable(bed.router, WAIT_MS));
    CHECK_OK(shoal_allowed_remove(bed.keys.path, "late", &bed.status), bed.status);
    CHECK(zmq_poll(&item, 1, WAIT_MS) == 1);
    char text[SHOAL_KEY_TEXT_SIZE];
    shoal_key_text(&join.own.open, text);
    CHECK(!shoal_gate_holder(bed.gate, text)); // it looks at the newest list,
    CHECK(shoal_gate_take(bed.gate));          // and still says that there is one
    CHECK(!shoal_gate_take(bed.gate));
    dial(&bed, &join);
    shoal_monitored_t event = failure(&bed);
    CHECK(shoal_handshake_is_refusal(&event));
    bed_fini(&bed);
}

// Sends a request to ZAP as libzmq would and gives the code of the answer.
static int
ask(bed_t *bed, const shoal_slice_t *frames, size_t count)
{
    void *socket = zmq_socket(bed->context, ZMQ_REQ);
    CHECK(socket && zmq_connect(socket, SHOAL_ZAP_ENDPOINT) == 0);
    for (size_t i = 0; i < count; i++) {
        int flags = i + 1 < count ? ZMQ_SNDMORE : 0;
        CHECK(zmq_send(socket, frames[i].ptr, frames[i].len, flags) == (int)frames[i].len);
    }
    CHECK(is_readable(socket, WAIT_MS));
    char answer[6][64];
    int sizes[6];
    for (int i = 0; i < 6; i++) {
        sizes[i] = zmq_recv(socket, answer[i], sizeof(answer[i]), ZMQ_DONTWAIT);
        CHECK(sizes[i] >= 0);
    }
    CHECK(zmq_close(socket) == 0);
    CHECK(sizes[0] == 3 && memcmp(answer[0], "1.0", 3) == 0 && sizes[2] == 3);
    int code = (answer[2][0] - '0') * 100 + (answer[2][1] - '0') * 10 + (answer[2][2] - '0');
    CHECK((code == 200) == (sizes[4] > 0)); // only who is let in has a user id
    return code;
}

static void
requests_that_are_none_are_refused(void)
{
    bed_t bed = bed_new();
    bed_open(&bed);
    static const char large[300] = "x";
    shoal_slice_t key = {(const char *)bed.join.own.open.bytes, SHOAL_KEY_BYTES};
    shoal_slice_t good[] = {SHOAL_SLICE("1.0"),
                            SHOAL_SLICE("1"),
                            SHOAL_SLICE("shoal"),
                            SHOAL_SLICE("::1"),
                            SHOAL_SLICE_NONE,
                            SHOAL_SLICE("CURVE"),
                            key,
                            SHOAL_SLICE("extra"),
                            SHOAL_SLICE("extra")};
    CHECK(ask(&bed, good, 7) == 200);
    for (size_t count = 1; count <= 9; count++) {
        CHECK(count == 7 || ask(&bed, good, count) == 400);
    }
    static const struct {
        size_t frame;
        shoal_slice_t bytes;
    } wrong[] = {
        {0, {"2.0", 3}},
        {1, {large, sizeof(large)}},
        {2, {"other", 5}},
        {2, {"", 0}},
        {4, {large, sizeof(large)}},
        {3, {large, sizeof(large)}},
        {5, {"NULL", 4}},
        {5, {"PLAIN", 5}},
        {6, {"short", 5}},
        {6, {large, 31}},
        {6, {large, 33}},
        {6, {large, sizeof(large)}},
        {6, {large, 32}},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        shoal_slice_t was = good[wrong[i].frame];
        good[wrong[i].frame] = wrong[i].bytes;
        CHECK(ask(&bed, good, 7) == 400);
        good[wrong[i].frame] = was;
    }
    CHECK(ask(&bed, good, 7) == 200); // and it still serves
    bed_fini(&bed);
}

static void
a_folder_without_keys_is_told(void)
{
    bed_t bed = bed_new();
    char *path = folder_file(&bed.keys, SHOAL_KEYS_HEAD);
    CHECK(unlink(path) == 0);
    CHECK_FAILS(
        shoal_gate_open(bed.context, bed.router, bed.keys.path, NULL, &bed.gate, &bed.status),
        bed.status, SHOAL_NOT_FOUND);
    CHECK_SAYS(bed.status.text, SHOAL_KEYS_HEAD);
    CHECK(bed.gate == NULL);
    free(path);
    bed_fini(&bed);
}

TEST_MAIN(TEST(nobody_gets_in_before_the_gate_is_there),
          TEST(who_is_listed_gets_in_and_is_known_by_the_key),
          TEST(who_is_not_listed_stays_out_and_can_tell_why), TEST(a_list_that_changes_is_followed),
          TEST(requests_that_are_none_are_refused), TEST(a_folder_without_keys_is_told))
