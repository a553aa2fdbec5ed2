// SPDX-License-Identifier: Apache-2.0
//
// test_workflow.c - what proto/workflow/workflow.h promises; bad files in test_workflow_refused.c.

#include <unistd.h>

#include "proto/record/json.h"
#include "proto/workflow/workflow.h"
#include "tests/support/test.h"

static const char *
variable(void *ctx, const char *name)
{
    (void)ctx;
    if (strcmp(name, "PGHOST") == 0) {
        return "db.example";
    }
    if (strcmp(name, "PGPASSWORD") == 0) {
        return "p: [${PGHOST}] # \"'";
    }
    return strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static shoal_workflow_t *
parse_with(const char *text, const char *const *overrides)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    shoal_workflow_rules_t rules = {.overrides = overrides, .variable = variable};
    CHECK_OK(shoal_workflow_parse("w.yaml", shoal_slice_of(text), &rules, &workflow, &status),
             status);
    return workflow;
}

static shoal_workflow_t *
parse(const char *text)
{
    return parse_with(text, NULL);
}

static void
check_encoded(const shoal_workflow_t *workflow, const char *expected)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t value = SHOAL_BUFFER_INIT;
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_workflow_encode(workflow, &value);
    CHECK_OK(shoal_json_write(shoal_buffer_slice(&value), &json, &status), status);
    assert_string_equal(shoal_buffer_text(&json), expected);
    shoal_buffer_fini(&value);
    shoal_buffer_fini(&json);
}

// As OpenMetadata users have it.
static const char full[] = "source:\n"                                                  // 1
                           "  type: postgres\n"                                         // 2
                           "  serviceName: local_postgres\n"                            // 3
                           "  serviceConnection:\n"                                     // 4
                           "    config:\n"                                              // 5
                           "      type: Postgres\n"                                     // 6
                           "      authType: {password: 007}\n"                          // 7
                           "      hostPort: localhost:5432\n"                           // 8
                           "  sourceConfig:\n"                                          // 9
                           "    config:\n"                                              // 10
                           "      type: DatabaseMetadata\n"                             // 11
                           "      threads: 6\n"                                         // 12
                           "      tableFilterPattern:\n"                                // 13
                           "        includes:\n"                                        // 14
                           "          - ^a$\n"                                          // 15
                           "          - ^b\n"                                           // 16
                           "processor:\n"                                               // 17
                           "  type: filter\n"                                           // 18
                           "sink:\n"                                                    // 19
                           "  type: file\n"                                             // 20
                           "  config: {filename: out.jsonl}\n"                          // 21
                           "workflowConfig:\n"                                          // 22
                           "  loggerLevel: warning\n"                                   // 23
                           "  successThreshold: 85\n"                                   // 24
                           "  openMetadataServerConfig: {hostPort: http://localhost}\n" // 25
                           "  distributedExecution:\n"                                  // 26
                           "    enabled: true\n"                                        // 27
                           "    orchestrator: cluster\n"                                // 28
                           "    parallelism: 4\n"                                       // 29
                           "    retryPolicy: {maxAttempts: 5, backoffSeconds: 0.25, backoffFactor: "
                           "1.5}\n"                                                  // 30
                           "    timeoutSeconds: 90\n"                                // 31
                           "sharding: {type: table_count, tables_per_shard: 100}\n"; // 32

#define SMALL "source: {type: postgres}\nsink: {type: file}\n"

static void
a_full_file_gives_what_the_runtime_uses(void)
{
    shoal_workflow_t *workflow = parse(full);
    const shoal_workflow_run_t *run = shoal_workflow_run(workflow);
    assert_string_equal(run->name, "local_postgres");
    assert_string_equal(run->log_level, "WARN");
    assert_string_equal(run->sink_filename, "out.jsonl");
    CHECK(run->parallelism == 4 && run->parallelism_cap == 6);
    CHECK(run->is_cluster && !run->is_sequential);
    CHECK(run->max_attempts == 5 && run->backoff_ms == 250 && run->timeout_ms == 90000);
    CHECK(run->backoff_factor > 1.49 && run->backoff_factor < 1.51);
    CHECK(run->success_threshold == 85);
    CHECK(shoal_workflow_warning_count(workflow) == 0);
    assert_string_equal(shoal_workflow_file(workflow), "w.yaml");
    check_encoded(
        workflow,
        "{\"source\":{\"type\":\"postgres\",\"serviceName\":\"local_postgres\","
        "\"serviceConnection\":{\"config\":{\"type\":\"Postgres\",\"authType\":{\"password\":"
        "\"007\"},\"hostPort\":\"localhost:5432\"}},\"sourceConfig\":{\"config\":{\"type\":"
        "\"DatabaseMetadata\",\"threads\":\"6\",\"tableFilterPattern\":{\"includes\":[\"^a$\","
        "\"^b\"]}}}},\"processor\":[{\"type\":\"filter\"}],\"sink\":{\"type\":\"file\",\"config\":{"
        "\"filename\":\"out.jsonl\"}},\"sharding\":{\"type\":\"table_count\",\"tables_per_shard\":"
        "\"100\"}}");
    shoal_workflow_destroy(&workflow);
    CHECK(workflow == NULL);
    shoal_workflow_destroy(&workflow);
    shoal_workflow_destroy(NULL);
}

static void
a_small_file_gets_the_defaults(void)
{
    shoal_workflow_t *workflow = parse(SMALL);
    const shoal_workflow_run_t *run = shoal_workflow_run(workflow);
    assert_string_equal(run->name, "postgres");
    assert_string_equal(run->log_level, "INFO");
    CHECK(run->sink_filename == NULL);
    CHECK(run->parallelism == 0 && run->parallelism_cap == 0);
    CHECK(!run->is_cluster && !run->is_sequential);
    CHECK(run->max_attempts == 3 && run->backoff_ms == 1000 && run->timeout_ms == 0);
    CHECK(run->backoff_factor > 1.99 && run->backoff_factor < 2.01);
    CHECK(run->success_threshold == -1);
    check_encoded(workflow, "{\"source\":{\"type\":\"postgres\"},\"processor\":[],\"sink\":{"
                            "\"type\":\"file\"},\"sharding\":{}}");
    shoal_workflow_destroy(&workflow);
}

static void
switched_off_is_sequential(void)
{
    shoal_workflow_t *workflow =
        parse(SMALL "workflowConfig: {distributedExecution: {enabled: No, parallelism: 8}}");
    CHECK(shoal_workflow_run(workflow)->is_sequential);
    CHECK(shoal_workflow_run(workflow)->parallelism == 1);
    shoal_workflow_destroy(&workflow);
}

static void
auto_parallelism_is_capped_by_threads_above_one(void)
{
    shoal_workflow_t *workflow =
        parse("source: {type: x, sourceConfig: {config: {threads: 1}}}\nsink: {type: file}\n"
              "workflowConfig: {distributedExecution: {parallelism: AUTO}}");
    CHECK(shoal_workflow_run(workflow)->parallelism == 0);
    CHECK(shoal_workflow_run(workflow)->parallelism_cap == 0);
    shoal_workflow_destroy(&workflow);
    workflow =
        parse("source: {type: x, sourceConfig: {config: {threads: many}}}\nsink: {type: file}\n");
    CHECK(shoal_workflow_run(workflow)->parallelism_cap == 0); // the worker says what is wrong
    shoal_workflow_destroy(&workflow);
}

static void
json_is_yaml_and_nulls_differ_from_texts(void)
{
    shoal_workflow_t *workflow =
        parse("{\"source\": {\"type\": \"postgres\", \"serviceConnection\": {\"config\": {\"a\": "
              "null, \"b\": \"null\", \"c\": 1.50, \"d\": true, \"e\": \"\\u00e9\\t\"}}},\n"
              "\t\"sink\": {\"type\": \"file\"}}\n");
    check_encoded(workflow, "{\"source\":{\"type\":\"postgres\",\"serviceConnection\":{\"config\":{"
                            "\"a\":null,\"b\":\"null\",\"c\":\"1.50\",\"d\":\"true\",\"e\":\"\xc3"
                            "\xa9\\t\"}}},\"processor\":[],\"sink\":{\"type\":\"file\"},"
                            "\"sharding\":{}}");
    shoal_workflow_destroy(&workflow);
    workflow = parse("\xef\xbb\xbf" SMALL); // a byte order mark
    CHECK(shoal_workflow_line(workflow, "sink") == 2);
    shoal_workflow_destroy(&workflow);
    workflow = parse("source:\r\n  type: a\r\n  serviceConnection: ~\r\nsink: {type: file, "
                     "config: }\r\n");
    assert_string_equal(shoal_workflow_text(workflow, "source.type"), "a");
    shoal_workflow_destroy(&workflow);
}

static void
several_processors_are_a_list(void)
{
    shoal_workflow_t *workflow =
        parse(SMALL "processor:\n  - type: filter\n  - {type: rename, config: {a: b}}\n");
    check_encoded(workflow, "{\"source\":{\"type\":\"postgres\"},\"processor\":[{\"type\":"
                            "\"filter\"},{\"type\":\"rename\",\"config\":{\"a\":\"b\"}}],\"sink\":{"
                            "\"type\":\"file\"},\"sharding\":{}}");
    CHECK(shoal_workflow_line(workflow, "processor[1].config.a") == 5);
    CHECK(shoal_workflow_line(workflow, "processor[7].config.a") == 3);
    shoal_workflow_destroy(&workflow);
}

static void
anchors_are_expanded_and_merged(void)
{
    shoal_workflow_t *workflow = parse("source: &s\n"
                                       "  type: postgres\n"
                                       "  serviceConnection: {config: &c {a: 1, b: 2}}\n"
                                       "  sourceConfig:\n"
                                       "    config:\n"
                                       "      <<: *c\n"
                                       "      b: 3\n"
                                       "      l: [&x 1, *x]\n"
                                       "sink:\n"
                                       "  type: file\n"
                                       "  config: {<<: [*c, {b: 9, d: 4}], e: *x}\n");
    check_encoded(workflow, "{\"source\":{\"type\":\"postgres\",\"serviceConnection\":{\"config\":{"
                            "\"a\":\"1\",\"b\":\"2\"}},\"sourceConfig\":{\"config\":{\"b\":\"3\","
                            "\"l\":[\"1\",\"1\"],\"a\":\"1\"}}},\"processor\":[],\"sink\":{"
                            "\"type\":\"file\",\"config\":{\"e\":\"1\",\"a\":\"1\",\"b\":\"2\","
                            "\"d\":\"4\"}},\"sharding\":{}}");
    CHECK(shoal_workflow_line(workflow, "sink.config.a") == 3); // where it is written
    shoal_workflow_destroy(&workflow);
}

static void
a_path_has_its_line_or_that_of_its_nearest_parent(void)
{
    shoal_workflow_t *workflow = parse(full);
    CHECK(shoal_workflow_line(workflow, "source") == 1);
    CHECK(shoal_workflow_line(workflow, "source.type") == 2);
    CHECK(shoal_workflow_line(workflow, "source.serviceConnection.config.authType.password") == 7);
    CHECK(shoal_workflow_line(workflow, "source.serviceConnection.config.port") == 5);
    CHECK(shoal_workflow_line(workflow, "source.sourceConfig.config.threads") == 12);
    CHECK(shoal_workflow_line(workflow,
                              "source.sourceConfig.config.tableFilterPattern.includes[1]") == 16);
    CHECK(shoal_workflow_line(workflow,
                              "source.sourceConfig.config.tableFilterPattern.includes[2]") == 14);
    CHECK(shoal_workflow_line(workflow, "processor[0].type") == 18); // one, written as a map
    CHECK(shoal_workflow_line(workflow, "sharding.tables_per_shard") == 32);
    CHECK(shoal_workflow_line(workflow, "nothing.like.it") == 1);
    CHECK(shoal_workflow_line(workflow, "") == 1);
    CHECK(shoal_workflow_line(workflow, "source..type") == 1);
    CHECK(shoal_workflow_line(workflow, "[[x") == 1);
    CHECK(shoal_workflow_line(workflow, "source.type[99999999999999999999]") == 2);
    shoal_workflow_destroy(&workflow);
}

static void
texts_are_found_by_path(void)
{
    shoal_workflow_t *workflow = parse(full);
    assert_string_equal(
        shoal_workflow_text(workflow, "source.sourceConfig.config.tableFilterPattern.includes[0]"),
        "^a$");
    CHECK(shoal_workflow_text(workflow, "source") == NULL);
    CHECK(shoal_workflow_text(workflow, "source.typ") == NULL);
    shoal_workflow_destroy(&workflow);
}

static void
variables_are_put_in_after_parsing(void)
{
    shoal_workflow_t *workflow = parse("source:\n"
                                       "  type: postgres\n"
                                       "  serviceConnection:\n"
                                       "    config:\n"
                                       "      hostPort: ${PGHOST}:${PGPORT:-5432}\n"
                                       "      password: '${PGPASSWORD}'\n"
                                       "      a: ${EMPTY}\n"
                                       "      b: ${EMPTY:-full}\n"
                                       "      c: ${UNSET:-}\n"
                                       "      d: ${UNSET:-a:-b}\n"
                                       "      e: $$ $${PGHOST} $PGHOST x$ ^a$|b$$\n"
                                       "      ${PGHOST}: key\n"
                                       "sink: {type: file}\n");
    check_encoded(workflow,
                  "{\"source\":{\"type\":\"postgres\",\"serviceConnection\":{\"config\":{"
                  "\"hostPort\":\"db.example:5432\",\"password\":\"p: [${PGHOST}] # \\\"'\","
                  "\"a\":\"\",\"b\":\"full\",\"c\":\"\",\"d\":\"a:-b\",\"e\":\"$ ${PGHOST} "
                  "$PGHOST x$ ^a$|b$\",\"${PGHOST}\":\"key\"}}},\"processor\":[],\"sink\":{"
                  "\"type\":\"file\"},\"sharding\":{}}");
    shoal_workflow_destroy(&workflow);
}

static void
overrides_replace_and_add(void)
{
    const char *const overrides[] = {"source.type=sqlite",
                                     "source.serviceConnection.config.file=a=${UNSET}$$",
                                     "sink.config.filename=-",
                                     "processor[0].type=filter",
                                     "processor[1].type=rename",
                                     "workflowConfig.distributedExecution.parallelism=2",
                                     NULL};
    shoal_workflow_t *workflow = parse_with(
        "source: {type: postgres, serviceName: '${PGHOST}'}\nsink: {type: file, config: }\n",
        overrides);
    check_encoded(workflow,
                  "{\"source\":{\"type\":\"sqlite\",\"serviceName\":\"db.example\","
                  "\"serviceConnection\":{\"config\":{\"file\":\"a=${UNSET}$$\"}}},\"processor\":["
                  "{\"type\":\"filter\"},{\"type\":\"rename\"}],\"sink\":{\"type\":\"file\","
                  "\"config\":{\"filename\":\"-\"}},\"sharding\":{}}");
    CHECK(shoal_workflow_run(workflow)->parallelism == 2);
    assert_string_equal(shoal_workflow_run(workflow)->sink_filename, "-");
    CHECK(shoal_workflow_line(workflow, "source.type") == 0); // from the command line
    CHECK(shoal_workflow_line(workflow, "source.serviceName") == 1);
    CHECK(shoal_workflow_line(workflow, "processor[1]") == 0);
    shoal_workflow_destroy(&workflow);
}

static void
override_values_may_be_lists_and_maps(void)
{
    const char *const overrides[] = {
        "source.sourceConfig.config.tableFilterPattern.includes=[\"x\", 'y$', 007, ~]",
        "source.serviceConnection={config: {a: {b: '${UNSET}$$'}, c: []}}",
        "sharding={}",
        "processor[0]={type: filter}",
        "sharding.type= [x]",
        NULL};
    shoal_workflow_t *workflow = parse_with("source:\n  type: postgres\n  serviceConnection: old\n"
                                            "sink: {type: file}\nsharding: {type: auto}\n",
                                            overrides);
    check_encoded(workflow,
                  "{\"source\":{\"type\":\"postgres\",\"serviceConnection\":{\"config\":{\"a\":{"
                  "\"b\":\"${UNSET}$$\"},\"c\":[]}},\"sourceConfig\":{\"config\":{"
                  "\"tableFilterPattern\":{\"includes\":[\"x\",\"y$\",\"007\",null]}}}},"
                  "\"processor\":[{\"type\":\"filter\"}],\"sink\":{\"type\":\"file\"},"
                  "\"sharding\":{\"type\":\" [x]\"}}");
    CHECK(shoal_workflow_line(workflow, "source.serviceConnection.config.a") == 0);
    CHECK(shoal_workflow_line(workflow, "source.sourceConfig.config.tableFilterPattern") == 0);
    CHECK(shoal_workflow_line(workflow, "source.type") == 2);
    shoal_workflow_destroy(&workflow);
}

static void
an_override_takes_the_place_of_an_unset_variable(void)
{
    const char *const overrides[] = {"source.type=sqlite", NULL};
    shoal_workflow_t *workflow =
        parse_with("source: {type: '${UNSET}'}\nsink: {type: file}\n", overrides);
    assert_string_equal(shoal_workflow_text(workflow, "source.type"), "sqlite");
    shoal_workflow_destroy(&workflow);
}

static void
lenient_turns_unknown_keys_into_warnings(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    shoal_workflow_rules_t rules = {.is_lenient = true, .variable = variable};
    const char text[] = SMALL "sorce: 1\nworkflowConfig: {loggerLevle: X}\n";
    CHECK_OK(shoal_workflow_parse("w.yaml", SHOAL_SLICE(text), &rules, &workflow, &status), status);
    CHECK(shoal_workflow_warning_count(workflow) == 2);
    assert_string_equal(shoal_workflow_warning(workflow, 0),
                        "w.yaml:3: sorce: unknown key; did you mean \"source\"?");
    assert_string_equal(
        shoal_workflow_warning(workflow, 1),
        "w.yaml:4: workflowConfig.loggerLevle: unknown key; did you mean \"loggerLevel\"?");
    shoal_workflow_destroy(&workflow);
}

static void
keys_without_meaning_here_are_warnings(void)
{
    shoal_workflow_t *workflow = parse(SMALL "stage: {type: table-usage}\n"
                                             "ingestionPipelineFQN: a.b\n"
                                             "bulkSink:\n"
                                             "workflowConfig: {raiseOnError: true}\n");
    CHECK(shoal_workflow_warning_count(workflow) == 3);
    CHECK_SAYS(shoal_workflow_warning(workflow, 2),
               "w.yaml:6: workflowConfig.raiseOnError: has no");
    CHECK_SAYS(shoal_workflow_warning(workflow, 0), "w.yaml:3: stage: has no meaning here");
    CHECK_SAYS(shoal_workflow_warning(workflow, 1), "w.yaml:4: ingestionPipelineFQN: ");
    shoal_workflow_destroy(&workflow);
}

static void
warnings_have_a_limit(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    shoal_workflow_rules_t rules = {.is_lenient = true};
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&text, SMALL);
    for (int i = 0; i < 300; i++) {
        shoal_buffer_append_format(&text, "unknown%d: 1\n", i);
    }
    CHECK_OK(shoal_workflow_parse("w.yaml", shoal_buffer_slice(&text), &rules, &workflow, &status),
             status);
    CHECK(shoal_workflow_warning_count(workflow) == 101);
    CHECK_SAYS(shoal_workflow_warning(workflow, 100), "left out");
    shoal_workflow_destroy(&workflow);
    shoal_buffer_fini(&text);
}

static void
characters_that_json_writes_as_two_escapes_are_read(void)
{
    static const struct {
        const char *written, *name;
    } cases[] = {
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"a \\uD83D\\uDE00 z \\\" \\u00e4\"", "a \xf0\x9f\x98\x80 z \" \xc3\xa4"},
        {"\"\\\\ud83d\\\\ude00\"", "\\ud83d\\ude00"}, // a backslash that is escaped itself
        {"'\\ud83d\\ude00'", "\\ud83d\\ude00"},       // no escapes between these
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text),
                       " {\n\"source\": {\"type\": \"sqlite\", # a 'comment\n\"serviceName\": %s,\n"
                       "\"sourceConfig\": {}},\n\"sink\": {\"type\": \"file\"}}",
                       cases[i].written);
        shoal_workflow_t *workflow = parse(text);
        assert_string_equal(shoal_workflow_text(workflow, "source.serviceName"), cases[i].name);
        CHECK(shoal_workflow_line(workflow, "sink.type") == 5);
        shoal_workflow_destroy(&workflow);
    }
}

static void
another_text_or_another_override_has_another_digest(void)
{
    static const char *const one[] = {"source.serviceName=a", "sink.type=file", NULL};
    static const char *const two[] = {"sink.type=file", "source.serviceName=a", NULL};
    shoal_workflow_t *workflows[] = {parse(SMALL), parse(SMALL), parse(SMALL "# more\n"),
                                     parse_with(SMALL, one), parse_with(SMALL, two)};
    CHECK(strlen(shoal_workflow_digest(workflows[0])) == SHOAL_WORKFLOW_DIGEST_SIZE - 1);
    assert_string_equal(shoal_workflow_digest(workflows[0]), shoal_workflow_digest(workflows[1]));
    assert_string_equal(shoal_workflow_digest(workflows[0]), shoal_workflow_digest(workflows[3]));
    assert_string_not_equal(shoal_workflow_digest(workflows[0]),
                            shoal_workflow_digest(workflows[2]));
    assert_string_equal(shoal_workflow_override_digest(workflows[0]),
                        shoal_workflow_override_digest(workflows[2]));
    assert_string_not_equal(shoal_workflow_override_digest(workflows[0]),
                            shoal_workflow_override_digest(workflows[3]));
    assert_string_not_equal(shoal_workflow_override_digest(workflows[3]),
                            shoal_workflow_override_digest(workflows[4]));
    for (size_t i = 0; i < sizeof(workflows) / sizeof(workflows[0]); i++) {
        shoal_workflow_destroy(&workflows[i]);
    }
}

static void
a_file_is_read_from_disk(void)
{
    char path[] = "/tmp/shoal-test-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, SMALL, sizeof(SMALL) - 1) == (ssize_t)sizeof(SMALL) - 1);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    shoal_workflow_rules_t rules = {0};
    CHECK_OK(shoal_workflow_read(path, &rules, &workflow, &status), status);
    assert_string_equal(shoal_workflow_file(workflow), path);
    shoal_workflow_destroy(&workflow);
    (void)close(fd);
    (void)unlink(path);
}

TEST_MAIN(TEST(a_full_file_gives_what_the_runtime_uses), TEST(a_small_file_gets_the_defaults),
          TEST(switched_off_is_sequential), TEST(auto_parallelism_is_capped_by_threads_above_one),
          TEST(json_is_yaml_and_nulls_differ_from_texts), TEST(several_processors_are_a_list),
          TEST(anchors_are_expanded_and_merged),
          TEST(a_path_has_its_line_or_that_of_its_nearest_parent), TEST(texts_are_found_by_path),
          TEST(variables_are_put_in_after_parsing), TEST(overrides_replace_and_add),
          TEST(override_values_may_be_lists_and_maps),
          TEST(an_override_takes_the_place_of_an_unset_variable),
          TEST(lenient_turns_unknown_keys_into_warnings),
          TEST(keys_without_meaning_here_are_warnings), TEST(warnings_have_a_limit),
          TEST(characters_that_json_writes_as_two_escapes_are_read),
          TEST(another_text_or_another_override_has_another_digest), TEST(a_file_is_read_from_disk))
