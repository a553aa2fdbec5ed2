// SPDX-License-Identifier: Apache-2.0
//
// fuzz_pipeline.c - the arguments of a pipeline, and with them options and patterns, over any bytes.
//
// A source, a processor and a sink of this file's own take every type of option and do no I/O.

#include <string.h>

#include "connectors/patterns.h"
#include "tests/fuzz/fuzz.h"
#include "worker/pipeline.h"

static const shoal_option_t element_table[] = {
    {.path = "field", .flags = SHOAL_OPTION_MUST},
    {.path = "pattern", .type = SHOAL_OPTION_PATTERN},
    {.path = NULL},
};

static const shoal_option_t table[] = {
    {.path = "text", .preset = "a", .choices = "a|b"},
    {.path = "auth.password", .flags = SHOAL_OPTION_SECRET},
    {.path = "count", .type = SHOAL_OPTION_COUNT, .preset = "1", .max = 100},
    {.path = "flag", .type = SHOAL_OPTION_FLAG},
    {.path = "list", .type = SHOAL_OPTION_LIST},
    {.path = "pattern", .type = SHOAL_OPTION_PATTERN},
    {.path = "each", .type = SHOAL_OPTION_VALUE},
    {.path = "old", .flags = SHOAL_OPTION_IGNORED},
    {.path = NULL},
};

static bool
look_at(void *ctx, const shoal_options_t *element, shoal_status_t *status)
{
    (void)ctx;
    (void)status;
    FUZZ_CHECK(shoal_options_text(element, "field")[0] != '\0');
    return true;
}

static bool
use_options(const shoal_options_t *options, shoal_status_t *status)
{
    shoal_patterns_t *patterns = NULL;
    FUZZ_CHECK(shoal_options_count(options, "count") <= 100);
    FUZZ_CHECK(strlen(shoal_options_text(options, "text")) == 1);
    (void)shoal_options_flag(options, "flag");
    for (size_t i = 0; i < shoal_options_list_len(options, "list"); i++) {
        FUZZ_CHECK(shoal_options_list_at(options, "list", i));
    }
    if (!shoal_options_each(options, "each", element_table, look_at, NULL, status) ||
        !shoal_patterns_new(options, "pattern", &patterns, status)) {
        return false;
    }
    bool keep = false;
    bool done = shoal_patterns_keep(patterns, "orders_2024", &keep, status);
    shoal_patterns_destroy(&patterns);
    return done;
}

static bool
open_source(const shoal_options_t *options, const char *service, const shoal_host_t *host,
            void **ret_source, shoal_status_t *status)
{
    *ret_source = NULL;
    FUZZ_CHECK(service[0] != '\0' && host->slots > 0);
    return use_options(options, status);
}

static void
close_part(void *part)
{
    (void)part;
}

static bool
check_source(void *source, shoal_status_t *status)
{
    (void)source;
    (void)status;
    return true;
}

static bool
discover(void *source, shoal_slice_t resume, const shoal_discovery_t *to, shoal_status_t *status)
{
    (void)source;
    return resume.len == 0 || to->cursor(to->ctx, resume, status);
}

static bool
read_shard(void *source, shoal_stage_t stage, shoal_slice_t args, const shoal_emitter_t *to,
           shoal_status_t *status)
{
    (void)source;
    (void)stage;
    shoal_buffer_append_slice(to->begin(to->ctx), args);
    return to->record(to->ctx, 1, "table", status);
}

static bool
open_part(const shoal_options_t *options, const shoal_host_t *host, void **ret_part,
          shoal_status_t *status)
{
    (void)host;
    *ret_part = NULL;
    return use_options(options, status);
}

static bool
keep_record(void *processor, shoal_slice_t record, shoal_buffer_t *out,
            shoal_verdict_t *ret_verdict, shoal_status_t *status)
{
    (void)processor;
    (void)status;
    shoal_buffer_append_slice(out, record);
    *ret_verdict = SHOAL_VERDICT_REPLACE;
    return true;
}

static bool
write_record(void *sink, shoal_slice_t record, shoal_buffer_t *out, shoal_status_t *status)
{
    (void)sink;
    (void)status;
    shoal_buffer_append_slice(out, record);
    return true;
}

static const shoal_source_ops_t source_ops = {open_source, close_part, check_source, discover,
                                              read_shard};
static const shoal_processor_ops_t processor_ops = {open_part, close_part, keep_record};
static const shoal_sink_ops_t sink_ops = {
    .is_collected = true, .open = open_part, .close = close_part, .write = write_record};
static const shoal_connector_t all = {.abi = SHOAL_CONNECTOR_ABI,
                                      .name = "x",
                                      .summary = "source, processor and sink",
                                      .source = &source_ops,
                                      .processor = &processor_ops,
                                      .sink = &sink_ops,
                                      .connection = element_table + 2, // knows no key
                                      .options = table,
                                      .sharding = table};

static bool
take_batch(void *ctx, shoal_buffer_t *batch, uint32_t records, shoal_status_t *status)
{
    (void)ctx;
    (void)status;
    FUZZ_CHECK(records > 0 && batch->len > 0);
    shoal_buffer_clear(batch);
    return true;
}

static bool
take_letters(void *ctx, shoal_buffer_t *batch, uint32_t count, shoal_status_t *status)
{
    (void)ctx;
    (void)status;
    FUZZ_CHECK(count > 0 && batch->len > 0);
    shoal_buffer_clear(batch);
    return true;
}

static bool
may_write(void *ctx, uint64_t write_ms, shoal_status_t *status)
{
    (void)ctx;
    (void)write_ms;
    (void)status;
    return true;
}

static bool
is_cancelled(void *ctx)
{
    (void)ctx;
    return false;
}

static void
note_progress(void *ctx)
{
    (void)ctx;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const methods[] = {"check", "discover", "map", "replay", "reread"};
    shoal_slice_t args = fuzz_slice(bytes, size);
    shoal_modules_t *modules = shoal_modules_new("/nonexistent");
    shoal_modules_add(modules, &all);
    shoal_class_t class = shoal_pipeline_class(modules);
    const shoal_call_t call = {.send = take_batch,
                               .send_letters = take_letters,
                               .may_write = may_write,
                               .is_cancelled = is_cancelled,
                               .progress = note_progress,
                               .batch_bytes = 262144,
                               .record_bytes = 33554432};
    shoal_status_t status = SHOAL_STATUS_INIT;
    void *self = NULL;
    FUZZ_CHECK(class.construct(class.ctx, args, &self, &status));
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        shoal_buffer_t result = SHOAL_BUFFER_INIT;
        if (class.call(self, &call, methods[i], args, &result, &status)) {
            FUZZ_CHECK(result.len > 0 && result.len <= SHOAL_RESULT_BYTES);
        } else {
            FUZZ_CHECK(status.code != SHOAL_OK && status.text[0] != '\0');
        }
        shoal_buffer_fini(&result);
    }
    class.destroy(self);
    shoal_modules_destroy(&modules);
    return 0;
}
