// SPDX-License-Identifier: Apache-2.0
//
// bench_codec.c - nanoseconds to write and to read one record of 2,242 bytes, checked.
//
//   bench_codec [SECONDS]      prints lines "what,bytes,ns_per_record,mb_per_s"
//
// The record is that of sample.h, the same bytes as the floor's (mpbench). "json" is the record as a
// line of JSON.

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "tests/bench/sample.h"

#define ROUND 256 // records between two looks at the clock

typedef struct bench {
    sample_t sample;
    sample_t read;
    shoal_buffer_t out;
    shoal_buffer_t record;
    uint64_t sum; // keeps the compiler from leaving work out
} bench_t;

static bool
bench_write(bench_t *bench)
{
    shoal_buffer_clear(&bench->out);
    sample_encode(&bench->sample, &bench->out);
    bench->sum += bench->out.len;
    return true;
}

static bool
bench_read(bench_t *bench)
{
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&bench->record));
    bool done = sample_decode(&cursor, &bench->read) && shoal_cursor_is_done(&cursor);
    bench->sum += bench->read.table.oid + bench->read.table.columns[SAMPLE_COLUMNS - 1].name.len;
    return done;
}

static bool
bench_skip(bench_t *bench)
{
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&bench->record));
    shoal_cursor_skip(&cursor);
    return shoal_cursor_is_done(&cursor);
}

static bool
bench_check(bench_t *bench)
{
    return shoal_cursor_check(shoal_buffer_slice(&bench->record), SHOAL_CHECK_DEPTH_MAX);
}

static bool
bench_json(bench_t *bench)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_clear(&bench->out);
    bool done = shoal_json_write(shoal_buffer_slice(&bench->record), &bench->out, &status);
    bench->sum += bench->out.len;
    return done;
}

static bool
measure(const char *what, bool (*once)(bench_t *bench), bench_t *bench, double seconds)
{
    uint64_t count = 0;
    uint64_t start = 0;
    uint64_t now = 0;
    for (unsigned warm = 0; warm < 2; warm++) {
        count = 0;
        start = shoal_clock_us();
        do {
            for (unsigned i = 0; i < ROUND; i++) {
                if (!once(bench)) {
                    (void)fprintf(stderr, "bench_codec: %s failed\n", what);
                    return false;
                }
            }
            count += ROUND;
            now = shoal_clock_us();
        } while ((double)(now - start) < (warm == 0 ? 0.1 : 1) * seconds * 1e6);
    }
    double ns = (double)(now - start) * 1e3 / (double)count;
    (void)printf("%s,%d,%.1f,%.0f\n", what, SAMPLE_BYTES, ns, SAMPLE_BYTES / ns * 1e3);
    return true;
}

int
main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.2;
    bench_t *bench = calloc(1, sizeof(*bench));
    if (!bench) {
        return 1;
    }
    sample_fill(&bench->sample);
    sample_encode(&bench->sample, &bench->record);
    bool done = bench->record.len == SAMPLE_BYTES;
    if (!done) {
        (void)fprintf(stderr, "bench_codec: the record has %zu bytes\n", bench->record.len);
    }
    done = done && measure("write", bench_write, bench, seconds) &&
           measure("read", bench_read, bench, seconds) &&
           measure("skip", bench_skip, bench, seconds) &&
           measure("check", bench_check, bench, seconds) &&
           measure("json", bench_json, bench, seconds);
    shoal_buffer_fini(&bench->out);
    shoal_buffer_fini(&bench->record);
    free(bench);
    return done ? 0 : 1;
}
