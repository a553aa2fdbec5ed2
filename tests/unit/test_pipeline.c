// SPDX-License-Identifier: Apache-2.0
//
// test_pipeline.c - what worker/pipeline.h promises, with connectors of the test's own.

#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/record/cursor.h"
#include "proto/record/json.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"
#include "worker/pipeline.h"

// ---- connectors of the test's own

typedef struct {
    const shoal_host_t *host;
    char service[64];
} probe_t;

static bool
probe_open(const shoal_options_t *options, const char *service, const shoal_host_t *host,
           void **ret_source, shoal_status_t *status)
{
    if (strcmp(shoal_options_text(options, "hostPort"), "refuse") == 0) {
        return shoal_fail_key(status, shoal_options_key(options, "hostPort"), "not this one");
    }
    probe_t *probe = shoal_alloc(sizeof(*probe));
    probe->host = host;
    (void)snprintf(probe->service, sizeof(probe->service), "%s", service);
    *ret_source = probe;
    return true;
}

static void
probe_close(void *source)
{
    free(source);
}

static bool
probe_check(void *source, shoal_status_t *status)
{
    const probe_t *probe = source;
    probe->host->warn(probe->host->ctx, "service %s", probe->service);
    probe->host->fact(probe->host->ctx, "dry", probe->host->is_dry_run ? "yes" : "no");
    return strcmp(probe->service, "down") != 0 ||
           shoal_fail(status, SHOAL_UNAVAILABLE, "the server is down");
}

static bool
probe_discover(void *source, shoal_slice_t resume, const shoal_discovery_t *to,
               shoal_status_t *status)
{
    const probe_t *probe = source;
    uint32_t first = resume.len > 0 ? 3 : 1;
    shoal_expectation_t expects[] = {{1, 10}};
    shoal_shard_t shard = {.number = first,
                           .stage = SHOAL_STAGE_MAP,
                           .cost_us = 500,
                           .title = "part",
                           .expects = expects,
                           .expect_count = 1,
                           .args = SHOAL_SLICE("\x2a"),
                           .cursor = SHOAL_SLICE("\x06")};
    shoal_status_t why = SHOAL_STATUS_INIT;
    if (strcmp(probe->service, "wrong cursor") == 0) {
        shard.cursor = SHOAL_SLICE("\x81");
        return !to->shard(to->ctx, &shard, status);
    }
    if (strcmp(probe->service, "wrong") == 0) {
        shard.needs = 9;
        return !to->shard(to->ctx, &shard, status); // goes on as if nothing had been
    }
    if (strcmp(probe->service, "huge") == 0) {
        static shoal_expectation_t many[30000];
        shard.expects = many;
        shard.expect_count = 30000;
        return to->shard(to->ctx, &shard, status);
    }
    shoal_fail(&why, SHOAL_DENIED, "no permission");
    to->filtered(to->ctx, 1, 4);
    return to->scope(to->ctx, 1, "svc.db", "tables", status) &&
           to->shard(to->ctx, &shard, status) && to->scope_end(to->ctx, 1, 14, status) &&
           to->scope_failed(to->ctx, 2, &why, status) &&
           to->cursor(to->ctx, SHOAL_SLICE("\x07"), status);
}

static uint64_t
number_of(shoal_slice_t args, const char *key)
{
    shoal_slice_t value = SHOAL_SLICE_NONE;
    if (!shoal_map_find(args, key, &value)) {
        return 0;
    }
    shoal_cursor_t cursor = shoal_cursor_over(value);
    return shoal_cursor_uint(&cursor);
}

// Emits "n" records of "size" bytes; "fail": the code to fail with at the end; "deaf": goes on
// after a refused record; "pause": waits so many ms after the first one.
static bool
probe_read(void *source, shoal_stage_t stage, shoal_slice_t args, const shoal_emitter_t *to,
           shoal_status_t *status)
{
    const probe_t *probe = source;
    uint64_t count = number_of(args, "n");
    size_t size = (size_t)number_of(args, "size");
    char *text = shoal_alloc(size + 1);
    memset(text, 'x', size);
    bool done = true;
    for (uint64_t i = 0; i < count && (done || number_of(args, "deaf")); i++) {
        shoal_buffer_t *out = to->begin(to->ctx);
        shoal_write_map(out, 7);
        out = to->begin(to->ctx);       // throws the unfinished one away
        if (number_of(args, "named")) { // a name that is a text
            shoal_write_map(out, 3);
            shoal_write_key(out, "name");
            shoal_write_str(out, (shoal_slice_t){&"abcdefgh"[i % 8], 1});
            shoal_write_key(out, "database");
            shoal_write_key(out, "svc.x y");
            shoal_write_key(out, "bad");
            shoal_write_bool(out, i % 2 == 0);
            done = to->record(to->ctx, 5, "table", status);
            continue;
        }
        shoal_write_map(out, 3);
        shoal_write_key(out, "kind");
        shoal_write_key(out, "table");
        shoal_write_key(out, "name");
        shoal_write_uint(out, i);
        shoal_write_key(out, "text");
        shoal_write_str(out, (shoal_slice_t){text, size});
        done =
            to->record(to->ctx, number_of(args, "scopes") ? (uint32_t)i + 1 : 5, "table", status);
        if (done && i == 0 && number_of(args, "pause")) {
            done = !probe->host->wait(probe->host->ctx, -1, 0, number_of(args, "pause"), status) &&
                   status->code == SHOAL_TIMEOUT;
        }
    }
    free(text);
    if (number_of(args, "deaf")) {
        return true;
    }
    if (done && number_of(args, "fail")) {
        to->tally(to->ctx, 5, SHOAL_TALLY_VANISHED, 1);
        return shoal_fail(status, shoal_code_from(number_of(args, "fail")), "read failed");
    }
    if (done && stage == SHOAL_STAGE_LINK) {
        shoal_status_t why = SHOAL_STATUS_INIT;
        shoal_fail_as(&why, SHOAL_DATA, SHOAL_INVALID, "odd");
        to->tally(to->ctx, 5, SHOAL_TALLY_FILTERED, 3);
        to->tally(to->ctx, 5, SHOAL_TALLY_APPEARED, 2);
        to->failed(to->ctx, 5, "v1", &why);
    }
    return done;
}

static const shoal_source_ops_t probe_ops = {probe_open, probe_close, probe_check, probe_discover,
                                             probe_read};
static const shoal_option_t probe_connection[] = {
    {.path = "hostPort", .flags = SHOAL_OPTION_MUST},
    {.path = "password", .flags = SHOAL_OPTION_SECRET},
    {.path = "legacy", .flags = SHOAL_OPTION_IGNORED, .help = "has no meaning here"},
    {.path = NULL},
};
static const shoal_option_t probe_sharding[] = {
    {.path = "tables_per_shard", .type = SHOAL_OPTION_COUNT, .preset = "5"},
    {.path = NULL},
};
static const shoal_connector_t probe_connector = {.abi = SHOAL_CONNECTOR_ABI,
                                                  .name = "probe",
                                                  .summary = "test source",
                                                  .template_text = "source: probe\n",
                                                  .source = &probe_ops,
                                                  .connection = probe_connection,
                                                  .sharding = probe_sharding};

// A processor: drops, doubles or fails records by their number.
static bool
sieve_open(const shoal_options_t *options, const shoal_host_t *host, void **ret_processor,
           shoal_status_t *status)
{
    (void)host;
    (void)status;
    *ret_processor = shoal_strdup(shoal_options_text(options, "what"));
    return true;
}

static bool
sieve_process(void *processor, shoal_slice_t record, shoal_buffer_t *out,
              shoal_verdict_t *ret_verdict, shoal_status_t *status)
{
    const char *what = processor;
    uint64_t number = number_of(record, "name");
    if (strcmp(what, "fatal") == 0) {
        return shoal_fail(status, SHOAL_DENIED, "no");
    }
    shoal_slice_t bad = SHOAL_SLICE_NONE;
    if (strcmp(what, "bad") == 0 && shoal_map_find(record, "bad", &bad) &&
        (unsigned char)bad.ptr[0] == 0xc3) {
        return shoal_fail_as(status, SHOAL_DATA, SHOAL_INVALID, "bad, says v-pass-word");
    }
    if (strcmp(what, "data") == 0 && number % 2 == 0) {
        return shoal_fail_as(status, SHOAL_DATA, SHOAL_INVALID, "even");
    }
    if (strcmp(what, "drop") == 0 && number % 2 == 0) {
        *ret_verdict = SHOAL_VERDICT_DROP;
    }
    if (strcmp(what, "shift") == 0) {
        shoal_write_map(out, 2);
        shoal_write_key(out, "name");
        shoal_write_uint(out, number + 1);
        shoal_write_key(out, "kind");
        shoal_write_key(out, "table");
        *ret_verdict = SHOAL_VERDICT_REPLACE;
    }
    return true;
}

static const shoal_processor_ops_t sieve_ops = {sieve_open, free, sieve_process};
static const shoal_option_t sieve_options[] = {
    {.path = "what", .flags = SHOAL_OPTION_MUST, .choices = "drop|shift|data|bad|fatal|nothing"},
    {.path = NULL},
};
static const shoal_connector_t sieve_connector = {.abi = SHOAL_CONNECTOR_ABI,
                                                  .name = "sieve",
                                                  .summary = "test processor",
                                                  .processor = &sieve_ops,
                                                  .options = sieve_options};

// Sinks: one collected (JSON lines), one direct that counts.
static bool
lines_open(const shoal_options_t *options, const shoal_host_t *host, void **ret_sink,
           shoal_status_t *status)
{
    (void)options;
    (void)host;
    (void)status;
    *ret_sink = NULL;
    return true;
}

static void
lines_close(void *sink)
{
    (void)sink;
}

static bool
lines_write(void *sink, shoal_slice_t record, shoal_buffer_t *out, shoal_status_t *status)
{
    (void)sink;
    if (!shoal_json_write(record, out, status)) {
        return false;
    }
    shoal_buffer_append_byte(out, '\n');
    return number_of(record, "name") != 666 ||
           shoal_fail_as(status, SHOAL_DATA, SHOAL_INVALID, "the sink will not have it");
}

static const shoal_sink_ops_t lines_ops = {
    .is_collected = true, .open = lines_open, .close = lines_close, .write = lines_write};
static const shoal_connector_t lines_connector = {
    .abi = SHOAL_CONNECTOR_ABI, .name = "lines", .summary = "test sink", .sink = &lines_ops};

static unsigned direct_writes;
static unsigned direct_flushes;

static bool
direct_write(void *sink, shoal_slice_t record, shoal_buffer_t *out, shoal_status_t *status)
{
    (void)sink;
    (void)record;
    (void)status;
    CHECK(out == NULL);
    direct_writes++;
    return true;
}

static bool
direct_flush(void *sink, shoal_status_t *status)
{
    (void)sink;
    direct_flushes++;
    return direct_writes < 1000 || shoal_fail(status, SHOAL_UNAVAILABLE, "the target went away");
}

static bool
direct_check(void *sink, shoal_status_t *status)
{
    (void)sink;
    return direct_writes != 77 || shoal_fail_key(status, "sink.config.url", "cannot be reached");
}

static const shoal_sink_ops_t direct_ops = {.open = lines_open,
                                            .close = lines_close,
                                            .check = direct_check,
                                            .write = direct_write,
                                            .flush = direct_flush};
static const shoal_connector_t direct_connector = {
    .abi = SHOAL_CONNECTOR_ABI, .name = "direct", .summary = "test sink", .sink = &direct_ops};

// ---- a call without a worker

typedef struct {
    shoal_call_t call;
    shoal_buffer_t sent;
    unsigned batches;
    uint32_t records;
    size_t batch_max;
    unsigned waits;
    uint64_t waited_ms;
    bool is_cancelled;
    uint64_t asked_ms;      // how long a write was said to last
    unsigned may_write;     // so many times more; 0: always
    unsigned cancel_after;  // batches; 0: never
    shoal_buffer_t letters; // as JSON, one a line
    unsigned letter_count;
} fake_t;

static bool
fake_send(void *ctx, shoal_buffer_t *batch, uint32_t records, shoal_status_t *status)
{
    fake_t *fake = ctx;
    fake->batches++;
    fake->records += records;
    fake->batch_max = batch->len > fake->batch_max ? batch->len : fake->batch_max;
    shoal_buffer_append_slice(&fake->sent, shoal_buffer_slice(batch));
    shoal_buffer_fini(batch);
    if (fake->cancel_after > 0 && fake->batches >= fake->cancel_after) {
        fake->is_cancelled = true;
        return shoal_fail(status, SHOAL_CANCELLED, "cancelled");
    }
    return true;
}

static bool
fake_send_letters(void *ctx, shoal_buffer_t *batch, uint32_t count, shoal_status_t *status)
{
    fake_t *fake = ctx;
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(batch));
    for (uint32_t i = 0; i < count; i++) {
        CHECK_OK(shoal_json_write(shoal_cursor_value(&cursor), &fake->letters, status), *status);
        shoal_buffer_append_byte(&fake->letters, '\n');
    }
    CHECK(shoal_cursor_is_done(&cursor));
    fake->letter_count += count;
    shoal_buffer_fini(batch);
    if (fake->is_cancelled) {
        return shoal_fail(status, SHOAL_CANCELLED, "cancelled");
    }
    return true;
}

static bool
fake_wait(void *ctx, int fd, short events, uint64_t timeout_ms, shoal_status_t *status)
{
    fake_t *fake = ctx;
    (void)fd;
    (void)events;
    fake->waits++;
    fake->waited_ms += timeout_ms;
    return shoal_fail(status, SHOAL_TIMEOUT, "nothing came"); // time passes at once
}

static bool
fake_may_write(void *ctx, uint64_t write_ms, shoal_status_t *status)
{
    fake_t *fake = ctx;
    fake->asked_ms = write_ms;
    return fake->may_write == 0 || --fake->may_write > 0 ||
           shoal_fail(status, SHOAL_CANCELLED, "the head was not heard");
}

static bool
fake_is_cancelled(void *ctx)
{
    const fake_t *fake = ctx;
    return fake->is_cancelled;
}

static void
fake_progress(void *ctx)
{
    (void)ctx;
}

static void SHOAL_PRINTF(3, 4) fake_log(void *ctx, shoal_log_level_t level, const char *format, ...)
{
    (void)ctx;
    (void)level;
    (void)format;
}

// ---- a job in one process

typedef struct {
    shoal_modules_t *modules;
    shoal_class_t class;
    void *self;
    fake_t fake;
    shoal_status_t status;
    shoal_buffer_t detail; // as JSON
} job_t;

typedef struct {
    const char *source_type; // "probe"
    const char *service;
    const char *host_port; // "h"
    const char *sink;      // "lines"
    const char *processors[4];
    const char *extra_key;   // in serviceConnection.config
    const char *extra_value; // "v"
    bool is_dry_run;
    bool is_lenient;
} spec_t;

static void
write_pair(shoal_buffer_t *out, const char *key, const char *value)
{
    shoal_write_text(out, key);
    shoal_write_text(out, value);
}

static void
write_source(shoal_buffer_t *out, const spec_t *spec)
{
    shoal_write_text(out, "source");
    shoal_write_map(out, 4);
    write_pair(out, "type", spec->source_type ? spec->source_type : "probe");
    write_pair(out, "serviceName", spec->service);
    shoal_write_text(out, "serviceConnection");
    shoal_write_map(out, 1);
    shoal_write_text(out, "config");
    shoal_write_map(out, spec->extra_key ? 2 : 1);
    write_pair(out, "hostPort", spec->host_port ? spec->host_port : "h");
    if (spec->extra_key) {
        write_pair(out, spec->extra_key, spec->extra_value ? spec->extra_value : "v");
    }
    shoal_write_text(out, "sourceConfig");
    shoal_write_nil(out);
}

static void
write_args(shoal_buffer_t *out, const spec_t *spec)
{
    uint32_t count = 0;
    while (count < 4 && spec->processors[count]) {
        count++;
    }
    shoal_write_map(out, 6);
    write_source(out, spec);
    shoal_write_text(out, "processor");
    shoal_write_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        shoal_write_map(out, 2);
        write_pair(out, "type", "sieve");
        shoal_write_text(out, "config");
        shoal_write_map(out, 1);
        write_pair(out, "what", spec->processors[i]);
    }
    shoal_write_text(out, "sink");
    shoal_write_map(out, 1);
    write_pair(out, "type", spec->sink ? spec->sink : "lines");
    shoal_write_text(out, "dry_run");
    shoal_write_bool(out, spec->is_dry_run);
    shoal_write_text(out, "lenient");
    shoal_write_bool(out, spec->is_lenient);
    shoal_write_text(out, "slots");
    shoal_write_uint(out, 4);
}

static void
job_init_args(job_t *job, shoal_slice_t args)
{
    *job = (job_t){.modules = shoal_modules_new("/nonexistent"), .status = SHOAL_STATUS_INIT};
    shoal_modules_add(job->modules, &probe_connector);
    shoal_modules_add(job->modules, &sieve_connector);
    shoal_modules_add(job->modules, &lines_connector);
    shoal_modules_add(job->modules, &direct_connector);
    job->class = shoal_pipeline_class(job->modules);
    CHECK_OK(shoal_class_check(&job->class, &job->status), job->status);
    CHECK_OK(job->class.construct(job->class.ctx, args, &job->self, &job->status), job->status);
    job->fake.call = (shoal_call_t){.send = fake_send,
                                    .send_letters = fake_send_letters,
                                    .wait = fake_wait,
                                    .may_write = fake_may_write,
                                    .is_cancelled = fake_is_cancelled,
                                    .progress = fake_progress,
                                    .log = fake_log,
                                    .number = 1,
                                    .attempt = 1,
                                    .batch_bytes = 262144,
                                    .record_bytes = 33554432};
    job->fake.call.ctx = &job->fake;
    direct_writes = direct_flushes = 0;
}

static void
job_init(job_t *job, spec_t spec)
{
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    write_args(&args, &spec);
    job_init_args(job, shoal_buffer_slice(&args));
    shoal_buffer_fini(&args);
}

static void
job_fini(job_t *job)
{
    job->class.destroy(job->self);
    shoal_modules_destroy(&job->modules);
    shoal_buffer_fini(&job->fake.sent);
    shoal_buffer_fini(&job->fake.letters);
    shoal_buffer_fini(&job->detail);
}

static bool
run(job_t *job, const char *method, shoal_slice_t args)
{
    shoal_buffer_t result = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_status_clear(&job->status);
    shoal_buffer_clear(&job->detail);
    shoal_buffer_clear(&job->fake.sent);
    shoal_buffer_clear(&job->fake.letters);
    job->fake.letter_count = 0;
    job->fake.batches = job->fake.records = job->fake.waits = 0;
    job->fake.batch_max = 0;
    job->fake.waited_ms = 0;
    bool done = job->class.call(job->self, &job->fake.call, method, args, &result, &job->status);
    if (done) {
        CHECK_OK(shoal_json_write(shoal_buffer_slice(&result), &job->detail, &status), status);
    }
    shoal_buffer_fini(&result);
    return done;
}

typedef struct {
    const char *key;
    uint64_t value;
} number_t;

// Runs `method` with a map of numbers.
static bool
run_with(job_t *job, const char *method, const number_t *numbers, size_t count)
{
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    shoal_write_map(&args, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        shoal_write_text(&args, numbers[i].key);
        shoal_write_uint(&args, numbers[i].value);
    }
    bool done = run(job, method, shoal_buffer_slice(&args));
    shoal_buffer_fini(&args);
    return done;
}

#define RUN(job, method, ...)                                                                      \
    run_with((job), (method), (const number_t[]){__VA_ARGS__},                                     \
             sizeof((const number_t[]){__VA_ARGS__}) / sizeof(number_t))

// ---- tests

static void
check_says_what_the_sink_is_and_what_the_source_found(void)
{
    job_t job;
    job_init(&job, (spec_t){.service = "svc", .source_type = "Probe", .extra_key = "legacy"});
    CHECK_OK(run(&job, "check", SHOAL_SLICE_NONE), job.status);
    assert_string_equal(shoal_buffer_text(&job.detail),
                        "{\"collected\":true,\"warnings\":[[\"source.serviceConnection.config."
                        "legacy: has no meaning here\",1],[\"service svc\",1]],"
                        "\"facts\":{\"dry\":\"no\"}}");
    CHECK(job.fake.batches == 0);
    job_fini(&job);

    job_init(&job, (spec_t){.sink = "direct", .is_dry_run = true});
    CHECK_OK(run(&job, "check", SHOAL_SLICE_NONE), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "\"collected\":false");
    CHECK_SAYS(shoal_buffer_text(&job.detail), "service probe"); // its type, without a name
    CHECK_SAYS(shoal_buffer_text(&job.detail), "\"dry\":\"yes\"");
    direct_writes = 77;
    CHECK_FAILS(run(&job, "check", SHOAL_SLICE_NONE), job.status, SHOAL_INVALID);
    CHECK(strcmp(job.status.key, "sink.config.url") == 0);
    job_fini(&job);

    job_init(&job, (spec_t){.service = "down"});
    CHECK_FAILS(run(&job, "check", SHOAL_SLICE_NONE), job.status, SHOAL_UNAVAILABLE);
    job_fini(&job);
}

static void
check_blames(spec_t spec, const char *key, const char *says)
{
    job_t job;
    job_init(&job, spec);
    for (int i = 0; i < 2; i++) { // and it says so each time
        CHECK_FAILS(run(&job, "check", SHOAL_SLICE_NONE), job.status, SHOAL_INVALID);
        CHECK(job.status.error_class == SHOAL_CONFIG);
        assert_string_equal(job.status.key, key);
        CHECK_SAYS(job.status.text, says);
    }
    job_fini(&job);
}

static void
a_wrong_workflow_is_blamed_with_its_key(void)
{
    check_blames((spec_t){.source_type = "prob"}, "source.type", "did you mean \"probe\"");
    check_blames((spec_t){.source_type = "sieve"}, "source.type", "unknown source type");
    check_blames((spec_t){.source_type = ""}, "source.type", "missing");
    check_blames((spec_t){.sink = "metadata-rest"}, "sink.type", "known: direct, lines");
    check_blames((spec_t){.sink = "../../etc/passwd"}, "sink.type", "unknown sink type");
    check_blames((spec_t){.host_port = ""}, "source.serviceConnection.config.hostPort", "empty");
    check_blames((spec_t){.host_port = "refuse"}, "source.serviceConnection.config.hostPort",
                 "not this one");
    check_blames((spec_t){.extra_key = "hostPart"}, "source.serviceConnection.config.hostPart",
                 "did you mean \"hostPort\"");
    check_blames((spec_t){.processors = {"nothing", "wrong"}}, "processor[1].config.what",
                 "drop|shift");
}

static void
lenient_turns_unknown_keys_into_warnings(void)
{
    job_t job;
    job_init(&job, (spec_t){.extra_key = "hostPart", .is_lenient = true});
    CHECK_OK(run(&job, "check", SHOAL_SLICE_NONE), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "hostPart: unknown key");
    job_fini(&job);
}

static void
arguments_that_are_no_workflow_are_refused(void)
{
    static const struct {
        const char *json_like;
        size_t len;
        const char *key;
    } cases[] = {
        {"", 0, ""},
        {"\xc0", 1, ""},
        {"\x81\xa6source", 8, ""},                                      // cut
        {"\x80", 1, "source.type"},                                     // no source
        {"\x81\xa6source\xa1x", 10, "source"},                          // no map
        {"\x81\xa6source\x81\xa4type\xa3\x61\x00z", 18, "source.type"}, // a NUL byte
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        job_t job;
        job_init_args(&job, (shoal_slice_t){cases[i].json_like, cases[i].len});
        CHECK_FAILS(run(&job, "check", SHOAL_SLICE_NONE), job.status, SHOAL_INVALID);
        assert_string_equal(job.status.key, cases[i].key);
        job_fini(&job);
    }
}

static void
discovery_becomes_items(void)
{
    job_t job;
    job_init(&job, (spec_t){.service = "svc", .is_dry_run = true}); // items are sent all the same
    CHECK_OK(run(&job, "discover", SHOAL_SLICE("\x81\xa6resume\xc0")), job.status);
    CHECK(job.fake.records == 6);
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_cursor_t cursor = shoal_cursor_over(shoal_buffer_slice(&job.fake.sent));
    while (shoal_cursor_left(&cursor) > 0) {
        CHECK_OK(shoal_json_write(shoal_cursor_value(&cursor), &json, &job.status), job.status);
        shoal_buffer_append_byte(&json, '\n');
    }
    assert_string_equal(shoal_buffer_text(&json),
                        "{\"scope\":1,\"filtered\":4}\n"
                        "{\"scope\":1,\"name\":\"svc.db\",\"of\":\"tables\"}\n"
                        "{\"shard\":1,\"stage\":2,\"needs\":0,\"cost\":500,\"title\":\"part\","
                        "\"expects\":[[1,10]],\"args\":42,\"cursor\":6}\n"
                        "{\"scope\":1,\"listed\":14}\n"
                        "{\"scope\":2,\"failed\":\"no permission\",\"class\":2,\"code\":6}\n"
                        "{\"cursor\":7}\n");
    assert_string_equal(shoal_buffer_text(&job.detail), "{}");
    CHECK_OK(run(&job, "discover", SHOAL_SLICE("\x81\xa6resume\x07")), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.fake.sent), "\xa5shard\x03");
    shoal_buffer_fini(&json);
    job_fini(&job);
}

static void
a_source_that_breaks_the_rules_of_discovery_fails(void)
{
    job_t job;
    job_init(&job, (spec_t){.service = "wrong"});
    CHECK_FAILS(run(&job, "discover", SHOAL_SLICE_NONE), job.status, SHOAL_INTERNAL);
    CHECK_SAYS(job.status.text, "needs one that comes after it");
    job_fini(&job);
    job_init(&job, (spec_t){.service = "wrong cursor"});
    CHECK_FAILS(run(&job, "discover", SHOAL_SLICE_NONE), job.status, SHOAL_INTERNAL);
    CHECK_SAYS(job.status.text, "cursor is no single value");
    job_fini(&job);
    job_init(&job, (spec_t){.service = "huge"});
    CHECK_FAILS(run(&job, "discover", SHOAL_SLICE_NONE), job.status, SHOAL_LIMIT);
    job_fini(&job);
    job_init(&job, (spec_t){.service = "svc"});
    job.fake.is_cancelled = true;
    CHECK_FAILS(run(&job, "discover", SHOAL_SLICE_NONE), job.status, SHOAL_CANCELLED);
    job_fini(&job);
}

static void
records_arrive_in_batches_and_are_counted(void)
{
    job_t job;
    job_init(&job, (spec_t){0});
    CHECK_OK(RUN(&job, "map", {"n", 600}, {"size", 1000}), job.status);
    CHECK(job.fake.records == 600);
    CHECK(job.fake.batches >= 600000 / 66600 && job.fake.batch_max < 70000);
    assert_string_equal(shoal_buffer_text(&job.detail),
                        "{\"scopes\":[[5,600,0,0,0,0]],\"kinds\":{\"table\":600}}");
    CHECK_OK(RUN(&job, "prepare", {"n", 1}), job.status); // and from the start again
    assert_string_equal(shoal_buffer_text(&job.detail),
                        "{\"scopes\":[[5,1,0,0,0,0]],\"kinds\":{\"table\":1}}");
    assert_string_equal(shoal_buffer_text(&job.fake.sent),
                        "{\"kind\":\"table\",\"name\":0,\"text\":\"\"}\n");
    CHECK_OK(RUN(&job, "link", {"n", 0}), job.status);
    assert_string_equal(shoal_buffer_text(&job.detail),
                        "{\"scopes\":[[5,0,3,0,2,1]],\"errors\":[{\"class\":3,\"code\":1,"
                        "\"message\":\"odd\",\"record\":\"v1\"}]}");
    CHECK_OK(run(&job, "finish", SHOAL_SLICE("\x81\xa5state\xa1x")), job.status);
    assert_string_equal(shoal_buffer_text(&job.detail), "{}");
    job_fini(&job);
}

static void
large_records_travel_alone_and_too_large_ones_are_given_up(void)
{
    job_t job;
    job_init(&job, (spec_t){0});
    CHECK_OK(RUN(&job, "map", {"n", 3}, {"size", 300000}), job.status);
    CHECK(job.fake.records == 3 && job.fake.batches == 3 && job.fake.batch_max > 300000);
    job.fake.call.record_bytes = 300000;
    CHECK_OK(RUN(&job, "map", {"n", 12}, {"size", 300000}), job.status);
    CHECK(job.fake.records == 0);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,0,0,0,0,12]]");
    CHECK_SAYS(shoal_buffer_text(&job.detail), "at most 300000 are allowed");
    job_fini(&job);
}

static void
processors_keep_replace_and_drop(void)
{
    job_t job;
    job_init(&job, (spec_t){.processors = {"drop", "shift", "nothing", "shift"}});
    CHECK_OK(RUN(&job, "map", {"n", 4}), job.status);
    assert_string_equal(shoal_buffer_text(&job.fake.sent), "{\"name\":3,\"kind\":\"table\"}\n"
                                                           "{\"name\":5,\"kind\":\"table\"}\n");
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,2,2,0,0,0]]");
    job_fini(&job);
}

static void
a_failure_of_class_data_gives_up_one_record_any_other_the_shard(void)
{
    job_t job;
    job_init(&job, (spec_t){.processors = {"data"}});
    CHECK_OK(RUN(&job, "map", {"n", 700}), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,350,0,0,0,350]]");
    CHECK_SAYS(shoal_buffer_text(&job.detail), "(a record without a name)");
    job_fini(&job);

    job_init(&job, (spec_t){0}); // the sink refuses number 666
    CHECK_OK(RUN(&job, "map", {"n", 700}), job.status);
    CHECK(job.fake.records == 699);
    CHECK(strstr(shoal_buffer_text(&job.fake.sent), "666") == NULL);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,699,0,0,0,1]]");
    job_fini(&job);

    job_init(&job, (spec_t){.processors = {"fatal"}});
    CHECK_FAILS(RUN(&job, "map", {"n", 5}), job.status, SHOAL_DENIED);
    CHECK_FAILS(RUN(&job, "map", {"n", 5}, {"deaf", 1}), job.status, SHOAL_DENIED);
    job_fini(&job);
}

static void
a_source_that_fails_fails_the_shard_and_its_instance_stays(void)
{
    job_t job;
    job_init(&job, (spec_t){0});
    CHECK_FAILS(RUN(&job, "map", {"n", 5}, {"fail", SHOAL_UNAVAILABLE}), job.status,
                SHOAL_UNAVAILABLE);
    CHECK(job.status.error_class == SHOAL_TRANSIENT);
    CHECK_OK(RUN(&job, "map", {"n", 5}), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,5,0,0,0,0]]"); // nothing of the failed one
    CHECK(job.fake.records == 5);
    job_fini(&job);
}

static void
the_limit_ends_a_shard_as_done(void)
{
    job_t job;
    job_init(&job, (spec_t){.processors = {"drop"}});
    job.fake.call.limit = 3;
    CHECK_OK(RUN(&job, "map", {"n", 100}), job.status);
    CHECK(job.fake.records == 3);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,3,3,0,0,0]]");
    CHECK_OK(RUN(&job, "map", {"n", 100}, {"deaf", 1}), job.status);
    CHECK(job.fake.records == 3);
    job.fake.call.limit = 0;
    CHECK_OK(RUN(&job, "map", {"n", 100}), job.status);
    CHECK(job.fake.records == 50);
    job_fini(&job);
}

// ---- dead letters

static void
a_record_that_fails_is_a_letter_as_the_source_wrote_it(void)
{
    job_t job;
    job_init(&job, (spec_t){.processors = {"shift", "data"}});
    CHECK_OK(RUN(&job, "map", {"n", 3}), job.status); // numbers 0 1 2 become 1 2 3
    CHECK(job.fake.records == 2 && job.fake.letter_count == 1);
    assert_string_equal(shoal_buffer_text(&job.fake.letters),
                        "{\"scope\":5,\"class\":3,\"code\":1,\"message\":\"even\",\"key\":\"\","
                        "\"step\":\"processor[1]\",\"type\":\"table\","
                        "\"name\":\"(a record without a name)\","
                        "\"record\":{\"kind\":\"table\",\"name\":1,\"text\":\"\"}}\n");
    job_fini(&job);

    job_init(&job, (spec_t){.processors = {"bad"}});
    CHECK_OK(RUN(&job, "map", {"n", 2}, {"named", 1}), job.status);
    CHECK(job.fake.letter_count == 1);
    CHECK_SAYS(shoal_buffer_text(&job.fake.letters), "\"name\":\"svc.x y.a\"");
    job_fini(&job);
}

static void
what_the_source_fails_with_is_a_letter_without_a_record(void)
{
    job_t job;
    job_init(&job, (spec_t){0});
    CHECK_OK(RUN(&job, "link", {"n", 0}), job.status);
    CHECK(job.fake.letter_count == 1);
    CHECK_SAYS(shoal_buffer_text(&job.fake.letters), "\"step\":\"source\"");
    CHECK_SAYS(shoal_buffer_text(&job.fake.letters), "\"name\":\"v1\"}");
    job_fini(&job);
}

static void
secrets_and_what_is_too_large_are_not_kept(void)
{
    job_t job;
    job_init(
        &job,
        (spec_t){.processors = {"bad"}, .extra_key = "password", .extra_value = "v-pass-word"});
    CHECK_OK(RUN(&job, "map", {"n", 1}, {"named", 1}), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.fake.letters), "bad, says ***");
    CHECK(!strstr(shoal_buffer_text(&job.fake.letters), "v-pass-word"));
    job_fini(&job);

    job_init(&job, (spec_t){.extra_key = "password", .extra_value = "xxxx", .sink = "lines"});
    job.fake.call.record_bytes = 100;
    CHECK_OK(RUN(&job, "map", {"n", 1}, {"size", 200}), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.fake.letters), "\"redacted\":true");
    CHECK(!strstr(shoal_buffer_text(&job.fake.letters), "xxxx"));
    CHECK_OK(RUN(&job, "map", {"n", 1}, {"size", 200000}), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.fake.letters), "\"record_bytes\":2000");
    CHECK(!strstr(shoal_buffer_text(&job.fake.letters), "\"record\":"));
    job_fini(&job);
}

static void
letters_go_out_in_batches_and_a_cancelled_call_ends(void)
{
    job_t job;
    job_init(&job, (spec_t){.processors = {"data"}});
    CHECK_OK(RUN(&job, "map", {"n", 40}, {"size", 20000}), job.status);
    CHECK(job.fake.letter_count == 20);
    job.fake.is_cancelled = true;
    CHECK_FAILS(RUN(&job, "link", {"n", 0}), job.status, SHOAL_CANCELLED);
    job_fini(&job);
}

// {"letters": [[7, 5, "table", {"name": first}], [9, 5, "table", {"name": second}]]}
static bool
run_replay(job_t *job, uint64_t first, uint64_t second)
{
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    shoal_write_map(&args, 1);
    shoal_write_key(&args, "letters");
    shoal_write_array(&args, 2);
    for (int i = 0; i < 2; i++) {
        shoal_write_array(&args, 4);
        shoal_write_uint(&args, i ? 9 : 7);
        shoal_write_uint(&args, 5);
        shoal_write_key(&args, "table");
        shoal_write_map(&args, 1);
        shoal_write_key(&args, "name");
        shoal_write_uint(&args, i ? second : first);
    }
    bool done = run(job, "replay", shoal_buffer_slice(&args));
    shoal_buffer_fini(&args);
    return done;
}

static void
replay_sends_records_through_the_processors_again(void)
{
    job_t job;
    job_init(&job, (spec_t){.processors = {"data"}});
    CHECK_OK(run_replay(&job, 3, 4), job.status);
    CHECK(job.fake.records == 1 && job.fake.letter_count == 1);
    assert_string_equal(shoal_buffer_text(&job.fake.sent), "{\"name\":3}\n");
    CHECK_SAYS(shoal_buffer_text(&job.fake.letters), "{\"letter\":9,");
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,1,0,0,0,1]]");
    CHECK_FAILS(run(&job, "replay", SHOAL_SLICE("\x81\xa7letters\x91\xc0")), job.status,
                SHOAL_PROTOCOL);
    job_fini(&job);
}

// A shard of four named records, of which `names` are wanted as letters 1, 2, ...
static bool
run_reread(job_t *job, const char *const *names, uint32_t count)
{
    shoal_buffer_t args = SHOAL_BUFFER_INIT;
    shoal_write_map(&args, 3);
    shoal_write_key(&args, "stage");
    shoal_write_uint(&args, 2);
    shoal_write_key(&args, "args");
    shoal_write_map(&args, 2);
    shoal_write_key(&args, "n");
    shoal_write_uint(&args, 4);
    shoal_write_key(&args, "named");
    shoal_write_uint(&args, 1);
    shoal_write_key(&args, "letters");
    shoal_write_array(&args, count);
    for (uint32_t i = 0; i < count; i++) {
        shoal_write_array(&args, 3);
        shoal_write_uint(&args, i + 1);
        shoal_write_uint(&args, 5);
        shoal_write_text(&args, names[i]);
    }
    bool done = run(job, "reread", shoal_buffer_slice(&args));
    shoal_buffer_fini(&args);
    return done;
}

static void
reread_delivers_what_is_wanted_and_nothing_else(void)
{
    static const char *const names[] = {"svc.x y.b", "c", "svc.x y.gone"};
    job_t job;
    job_init(&job, (spec_t){.processors = {"bad"}});
    CHECK_OK(run_reread(&job, names, 3), job.status);
    CHECK(job.fake.records == 1 && job.fake.letter_count == 1);
    CHECK_SAYS(shoal_buffer_text(&job.fake.sent), "\"name\":\"b\"");
    CHECK_SAYS(shoal_buffer_text(&job.fake.letters), "{\"letter\":2,");
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,1,0,1,0,1]]");
    CHECK_FAILS(run(&job, "reread", SHOAL_SLICE("\x81\xa5stage\x09")), job.status, SHOAL_PROTOCOL);
    CHECK_FAILS(run(&job, "reread", SHOAL_SLICE("\x81\xa7letters\x01")), job.status,
                SHOAL_PROTOCOL);
    job_fini(&job);
}

static void
a_cancelled_call_ends_even_if_the_source_does_not_listen(void)
{
    job_t job;
    job_init(&job, (spec_t){0});
    job.fake.cancel_after = 2;
    CHECK_FAILS(RUN(&job, "map", {"n", 1000}, {"size", 1000}, {"deaf", 1}), job.status,
                SHOAL_CANCELLED);
    CHECK(job.fake.batches == 2);
    job_fini(&job);
    job_init(&job, (spec_t){0});
    job.fake.is_cancelled = true;
    CHECK_FAILS(RUN(&job, "map", {"n", 10}), job.status, SHOAL_CANCELLED);
    CHECK(job.fake.batches == 0);
    job_fini(&job);
}

static void
a_source_that_waits_does_not_hold_back_its_records(void)
{
    job_t job;
    job_init(&job, (spec_t){0});
    CHECK_OK(RUN(&job, "map", {"n", 2}, {"pause", 5000}), job.status);
    CHECK(job.fake.batches == 2); // the first went while it waited
    CHECK(job.fake.waits == 2 && job.fake.waited_ms == 5000);
    CHECK_OK(RUN(&job, "map", {"n", 2}, {"pause", 1}), job.status);
    CHECK(job.fake.batches == 1 && job.fake.waits == 1);
    job_fini(&job);
}

static void
a_direct_sink_is_flushed_after_each_shard(void)
{
    job_t job;
    job_init(&job, (spec_t){.sink = "direct"});
    CHECK_OK(RUN(&job, "map", {"n", 10}), job.status);
    CHECK(direct_writes == 10 && direct_flushes == 1 && job.fake.batches == 0);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,10,0,0,0,0]]");
    CHECK_OK(run(&job, "finish", SHOAL_SLICE_NONE), job.status);
    CHECK(direct_flushes == 2);
    CHECK_FAILS(RUN(&job, "map", {"n", 1000}), job.status, SHOAL_UNAVAILABLE);
    job_fini(&job);
}

//
static void
a_direct_sink_says_how_long_it_writes_and_asks_before_each_write(void)
{
    job_t job;
    job_init(&job, (spec_t){.sink = "direct"});
    CHECK_OK(run(&job, "check", SHOAL_SLICE_NONE), job.status);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "\"collected\":false,\"write_ms\":30000");
    CHECK(job.fake.asked_ms == SHOAL_REQUEST_MS);
    job.fake.may_write = 4;
    CHECK_FAILS(RUN(&job, "map", {"n", 10}), job.status, SHOAL_CANCELLED);
    CHECK(direct_writes == 3 && direct_flushes == 0);
    job.fake.may_write = 11; // for the records, and not for the end
    direct_writes = 0;
    CHECK_FAILS(RUN(&job, "map", {"n", 10}), job.status, SHOAL_CANCELLED);
    CHECK(direct_writes == 10 && direct_flushes == 0);
    job_fini(&job);
    job_init(&job, (spec_t){.sink = "direct", .is_dry_run = true});
    job.fake.may_write = 1;
    CHECK_OK(run(&job, "check", SHOAL_SLICE_NONE), job.status);
    CHECK(strstr(shoal_buffer_text(&job.detail), "write_ms") == NULL);
    job_fini(&job);
}

static void
a_dry_run_counts_and_writes_nothing(void)
{
    job_t job;
    job_init(&job, (spec_t){.is_dry_run = true});
    CHECK_OK(RUN(&job, "map", {"n", 600}, {"size", 1000}), job.status);
    CHECK(job.fake.batches == 0);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,600,0,0,0,0]]");
    job_fini(&job);
    job_init(&job, (spec_t){.is_dry_run = true, .sink = "direct"});
    CHECK_OK(RUN(&job, "map", {"n", 10}), job.status);
    CHECK(direct_writes == 0 && direct_flushes == 0);
    CHECK_SAYS(shoal_buffer_text(&job.detail), "[[5,10,0,0,0,0]]");
    job_fini(&job);
}

static void
too_many_scopes_in_one_shard_fail_it(void)
{
    job_t job;
    job_init(&job, (spec_t){0});
    CHECK_FAILS(RUN(&job, "map", {"n", 5000}, {"scopes", 1}), job.status, SHOAL_LIMIT);
    CHECK_SAYS(job.status.text, "4096 scopes");
    job_fini(&job);
}

TEST_MAIN(TEST(check_says_what_the_sink_is_and_what_the_source_found),
          TEST(a_wrong_workflow_is_blamed_with_its_key),
          TEST(lenient_turns_unknown_keys_into_warnings),
          TEST(arguments_that_are_no_workflow_are_refused), TEST(discovery_becomes_items),
          TEST(a_source_that_breaks_the_rules_of_discovery_fails),
          TEST(records_arrive_in_batches_and_are_counted),
          TEST(large_records_travel_alone_and_too_large_ones_are_given_up),
          TEST(processors_keep_replace_and_drop),
          TEST(a_failure_of_class_data_gives_up_one_record_any_other_the_shard),
          TEST(a_source_that_fails_fails_the_shard_and_its_instance_stays),
          TEST(the_limit_ends_a_shard_as_done),
          TEST(a_record_that_fails_is_a_letter_as_the_source_wrote_it),
          TEST(what_the_source_fails_with_is_a_letter_without_a_record),
          TEST(secrets_and_what_is_too_large_are_not_kept),
          TEST(letters_go_out_in_batches_and_a_cancelled_call_ends),
          TEST(replay_sends_records_through_the_processors_again),
          TEST(reread_delivers_what_is_wanted_and_nothing_else),
          TEST(a_cancelled_call_ends_even_if_the_source_does_not_listen),
          TEST(a_source_that_waits_does_not_hold_back_its_records),
          TEST(a_direct_sink_is_flushed_after_each_shard),
          TEST(a_direct_sink_says_how_long_it_writes_and_asks_before_each_write),
          TEST(a_dry_run_counts_and_writes_nothing), TEST(too_many_scopes_in_one_shard_fail_it))
