// SPDX-License-Identifier: Apache-2.0
//
// bench_stream.c - records streamed through a real head: the figures beside floor/batch.
//
//   bench_stream head|client HEAD [shards [off|on|MS [keys]]]
//       CSV: mode,records_per_s,mb_per_s,head_us_per_record,worker_us_per_record
//
// A worker process (the real link and one slot) runs shards that each encode a table's record of
// about 2.2 KB again and again into batches of 64 KiB, 8 MiB in all, and send them under the head's
// credit. "head": the
// job collects nothing, the head takes the batches and drops them. "client": the job is collected,
// spooled, committed and fetched by a client, which decodes every record. "keys": both come with CURVE. The rate counts from the
// first shard's start to the last one's end ("head"), or to the last record decoded ("client").

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/record/writer.h"
#include "tests/bench/bed.h"
#include "tests/bench/sample.h"
#include "worker/class.h"
#include "worker/link.h"

#define BATCH_BYTES   65536
#define SHARD_BATCHES 128
#define CLIENT_CREDIT (8 * BATCH_BYTES)

// What the worker tells, in memory that both processes map.
typedef struct board {
    volatile uint64_t begin_us;
    volatile uint64_t end_us;
    volatile uint64_t records;
    volatile uint64_t bytes;
} board_t;

typedef struct bench {
    board_t *board;
    unsigned shards;
    sample_t sample;
} bench_t;

static bool
construct(void *ctx, shoal_slice_t args, void **ret_self, shoal_status_t *status)
{
    (void)args;
    (void)status;
    *ret_self = ctx;
    return true;
}

static void
destroy(void *self)
{
    (void)self;
}

static bool
stream(const bench_t *bench, const shoal_call_t *call, shoal_status_t *status)
{
    shoal_buffer_t batch = SHOAL_BUFFER_INIT;
    board_t *board = bench->board;
    if (board->begin_us == 0) {
        board->begin_us = shoal_clock_us();
    }
    bool is_sent = true;
    for (unsigned i = 0; is_sent && i < SHARD_BATCHES; i++) {
        uint32_t records = 0;
        (void)shoal_buffer_reserve(&batch, BATCH_BYTES);
        while (batch.len + SAMPLE_BYTES <= BATCH_BYTES) {
            sample_encode(&bench->sample, &batch);
            records++;
        }
        board->bytes += batch.len;
        board->records += records;
        is_sent = call->send(call->ctx, &batch, records, status);
    }
    board->end_us = shoal_clock_us();
    shoal_buffer_fini(&batch);
    return is_sent;
}

static bool
discover(const bench_t *bench, const shoal_call_t *call, shoal_status_t *status)
{
    shoal_buffer_t items = SHOAL_BUFFER_INIT;
    for (unsigned i = 1; i <= bench->shards; i++) {
        shoal_write_map(&items, 4);
        shoal_write_key(&items, "shard");
        shoal_write_uint(&items, i);
        shoal_write_key(&items, "stage");
        shoal_write_uint(&items, 2);
        shoal_write_key(&items, "cost");
        shoal_write_uint(&items, 1000000);
        shoal_write_key(&items, "args");
        shoal_write_nil(&items);
    }
    bool is_sent = call->send(call->ctx, &items, bench->shards, status);
    shoal_buffer_fini(&items);
    return is_sent;
}

static bool
run_call(void *self, const shoal_call_t *call, const char *method, shoal_slice_t args,
         shoal_buffer_t *result, shoal_status_t *status)
{
    (void)args;
    (void)result;
    if (strcmp(method, "discover") == 0) {
        return discover(self, call, status);
    }
    return strcmp(method, "map") != 0 || stream(self, call, status);
}

static const char *const methods[] = {"check", "discover", "map", "finish", NULL};

// Counts the records of a piece by decoding each; false if one is malformed.
static bool
decode_all(shoal_slice_t payload, uint64_t *records)
{
    shoal_cursor_t cursor = shoal_cursor_over(payload);
    sample_t sample;
    while (!shoal_cursor_is_done(&cursor)) {
        if (!sample_decode(&cursor, &sample)) {
            return false;
        }
        (*records)++;
    }
    return true;
}

// Fetches the job's whole output.
static void
fetch(bed_client_t *client, uint64_t job, uint64_t *records)
{
    shoal_message_t message = {
        .type = SHOAL_MSG_OUTPUT,
        .output = {.request = 3, .job = job, .from = 1, .credit = CLIENT_CREDIT}};
    bed_client_send(client, &message, NULL);
    uint64_t beat_us = 0;
    uint64_t owed = 0;
    uint64_t commit = 0;
    for (;;) {
        bed_client_beat(client, &beat_us);
        if (!bed_client_receive(client, 500, &message)) {
            continue;
        }
        if (message.type == SHOAL_MSG_OUTPUT_END) {
            return;
        }
        if (message.type != SHOAL_MSG_PIECE) {
            continue;
        }
        shoal_slice_t payload = shoal_parcel_payload(&client->parcel);
        if (!decode_all(payload, records)) {
            (void)fprintf(stderr, "bench: a record came out malformed\n");
            exit(2);
        }
        commit = message.piece.last ? message.piece.commit : commit;
        owed += payload.len;
        if (owed >= CLIENT_CREDIT / 4 || message.piece.last) {
            shoal_message_t taken = {.type = SHOAL_MSG_TAKEN,
                                     .taken = {.job = job, .commit = commit, .bytes = owed}};
            bed_client_send(client, &taken, NULL);
            owed = 0;
        }
    }
}

static void
wait_for_end(bed_client_t *client)
{
    uint64_t beat_us = 0;
    shoal_message_t message;
    do {
        bed_client_beat(client, &beat_us);
    } while (!bed_client_receive(client, 500, &message) || message.type != SHOAL_MSG_EVENT ||
             !bed_event_is_final(&message));
}

static void
run_worker(bench_t *bench, const char *endpoint, const shoal_join_t *join)
{
    const shoal_class_t class = {.abi = SHOAL_CLASS_ABI,
                                 .name = "bench",
                                 .methods = methods,
                                 .ctx = bench,
                                 .construct = construct,
                                 .destroy = destroy,
                                 .call = run_call};
    const shoal_class_t *classes[] = {&class};
    shoal_link_config_t link = {
        .endpoint = endpoint,
        .join = join,
        .identity = {.id = "bench-worker",
                     .incarnation = 1,
                     .name = "bench",
                     .slots = 1,
                     .window = 2,
                     .classes = classes,
                     .class_count = 1},
        .lifeline_fd = -1,
        .ready_fd = -1,
        .log = shoal_log_new(STDERR_FILENO, NULL, SHOAL_LOG_WARN),
    };
    shoal_status_t status = SHOAL_STATUS_INIT;
    if (!shoal_link_run(&link, &status)) {
        (void)fprintf(stderr, "bench: the worker failed: %s\n", status.text);
    }
    shoal_log_destroy(&link.log);
}

int
main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: bench_stream head|client HEAD [shards [off|on|MS [keys]]]\n");
        return 2;
    }
    bool is_collected = strcmp(argv[1], "client") == 0;
    (void)alarm(120);
    bench_t bench = {.shards = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 64};
    sample_fill(&bench.sample);
    bench.board =
        mmap(NULL, sizeof(*bench.board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bed_head_t head;
    bed_keys_t keys;
    bool has_keys = argc > 5 && strcmp(argv[5], "keys") == 0;
    if (has_keys) {
        bed_keys_make(&keys);
    }
    bed_head_start(argv[2], argc > 4 ? argv[4] : "off", has_keys ? &keys : NULL, &head);
    pid_t worker = fork();
    if (worker == 0) {
        (void)close(head.lifeline);
        run_worker(&bench, head.endpoint, has_keys ? &keys.worker : NULL);
        _exit(0);
    }
    bed_client_t client;
    bed_client_open(&client, head.endpoint, has_keys ? &keys.client : NULL);
    uint64_t head_us = bed_cpu_us(head.pid);
    uint64_t worker_us = bed_cpu_us(worker);
    uint64_t job = bed_client_submit(&client, "bench", is_collected);
    uint64_t records = 0;
    if (is_collected) {
        fetch(&client, job, &records);
    } else {
        bed_client_watch(&client, job);
        wait_for_end(&client);
    }
    const board_t *board = bench.board;
    uint64_t end_us = is_collected ? shoal_clock_us() : board->end_us;
    double seconds = (double)(end_us - board->begin_us) / 1e6;
    if (is_collected && records != board->records) {
        (void)fprintf(stderr, "bench: %llu records sent, %llu came out\n",
                      (unsigned long long)board->records, (unsigned long long)records);
        return 2;
    }
    double count = (double)board->records;
    printf("%s,%.0f,%.1f,%.3f,%.3f\n", argv[1], count / seconds,
           (double)board->bytes / seconds / 1e6, (double)(bed_cpu_us(head.pid) - head_us) / count,
           (double)(bed_cpu_us(worker) - worker_us) / count);
    (void)fflush(stdout);
    (void)kill(worker, SIGKILL);
    (void)waitpid(worker, NULL, 0);
    bed_head_stop(&head);
    if (has_keys) {
        bed_keys_remove(&keys);
    }
    _exit(0);
}
