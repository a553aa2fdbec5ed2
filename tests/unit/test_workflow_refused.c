// SPDX-License-Identifier: Apache-2.0
//
// test_workflow_refused.c - each bad workflow file gets an error that says file, line, key and what
// to do (proto/workflow/workflow.h).

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/workflow/workflow.h"
#include "tests/support/test.h"

static const char *
variable(void *ctx, const char *name)
{
    const char *value = ctx;
    return strcmp(name, "BIG") == 0 ? value : strcmp(name, "LATIN") == 0 ? "\xe9" : NULL;
}

typedef struct refusal {
    shoal_code_t code;
    const char *start; // of the text
    const char *word;  // in the text, NULL: any
    const char *key;   // NULL: any
} refusal_t;

static void
check_refused_with(shoal_slice_t text, const shoal_workflow_rules_t *rules,
                   const refusal_t *expected)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    CHECK_FAILS(shoal_workflow_parse("w.yaml", text, rules, &workflow, &status), status,
                expected->code);
    CHECK(workflow == NULL);
    CHECK(status.error_class == SHOAL_CONFIG);
    if (strncmp(status.text, expected->start, strlen(expected->start)) != 0) {
        fail_msg("\"%s\" does not start with \"%s\"", status.text, expected->start);
    }
    if (expected->word) {
        CHECK_SAYS(status.text, expected->word);
    }
    if (expected->key) {
        assert_string_equal(status.key, expected->key);
    }
}

static void
check_refused(const char *text, const char *start, const char *word, const char *key)
{
    shoal_workflow_rules_t rules = {.variable = variable};
    check_refused_with(shoal_slice_of(text), &rules, &(refusal_t){SHOAL_INVALID, start, word, key});
}

static void
check_limit(const shoal_buffer_t *text, const char *start, const char *word)
{
    shoal_workflow_rules_t rules = {.variable = variable};
    check_refused_with(shoal_buffer_slice(text), &rules,
                       &(refusal_t){SHOAL_LIMIT, start, word, NULL});
}

static void
check_override_refused(const char *override, const char *word)
{
    shoal_workflow_rules_t rules = {.overrides = (const char *const[]){override, NULL}};
    check_refused_with(SHOAL_SLICE("source: {type: a}\nsink: {type: file}\n"), &rules,
                       &(refusal_t){SHOAL_INVALID, "--set", word, NULL});
}

#define SMALL "source: {type: postgres}\nsink: {type: file}\n"

static void
check_unreadable(const char *path, shoal_code_t code, const char *word)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    shoal_workflow_rules_t rules = {0};
    CHECK_FAILS(shoal_workflow_read(path, &rules, &workflow, &status), status, code);
    CHECK(status.error_class == SHOAL_CONFIG);
    CHECK_SAYS(status.text, path);
    CHECK_SAYS(status.text, word);
}

static void
a_file_that_is_not_there_or_a_directory_is_named(void)
{
    check_unreadable("/nowhere/w.yaml", SHOAL_NOT_FOUND, "No such file");
    check_unreadable("/tmp", SHOAL_IO, "is a directory");
    check_unreadable("/dev/zero", SHOAL_LIMIT, "at most 4194304 bytes");
}

static void
a_file_without_permission_is_named(void)
{
    char path[] = "/tmp/shoal-test-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && fchmod(fd, 0) == 0);
    if (geteuid() != 0) { // root may read everything
        check_unreadable(path, SHOAL_DENIED, "Permission denied");
    } else {
        pid_t child = fork();
        if (child == 0) {
            shoal_status_t status = SHOAL_STATUS_INIT;
            shoal_workflow_t *workflow = NULL;
            shoal_workflow_rules_t rules = {0};
            bool denied = setuid(65534) == 0 &&
                          !shoal_workflow_read(path, &rules, &workflow, &status) &&
                          status.code == SHOAL_DENIED && strstr(status.text, path);
            _exit(denied ? 0 : 1);
        }
        int exit_status = -1;
        CHECK(child > 0 && waitpid(child, &exit_status, 0) == child && exit_status == 0);
    }
    (void)close(fd);
    (void)unlink(path);
}

static void
a_hundred_megabytes_are_refused_unread(void)
{
    char path[] = "/tmp/shoal-test-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && ftruncate(fd, 100 * 1024 * 1024) == 0);
    check_unreadable(path, SHOAL_LIMIT, "at most 4194304 bytes");
    (void)close(fd);
    (void)unlink(path);
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    memset(shoal_buffer_reserve(&text, SHOAL_WORKFLOW_BYTES_MAX + 1), '#',
           SHOAL_WORKFLOW_BYTES_MAX + 1);
    text.len = SHOAL_WORKFLOW_BYTES_MAX + 1;
    check_limit(&text, "cannot read \"w.yaml\"", "at most");
    shoal_buffer_fini(&text);
}

static void
an_empty_file_says_how_to_start(void)
{
    check_refused("", "w.yaml:1: the file is empty", "shoal init", "");
    check_refused("# only a comment\n", "w.yaml:1: the file is empty", NULL, "");
    check_refused("---\n...\n", "w.yaml:1: the file is empty", NULL, "");
    check_refused("~\n", "w.yaml:1: the file is empty", NULL, "");
}

static void
what_is_not_utf8_is_named_with_its_line(void)
{
    check_refused("source:\n  type: caf\xe9\n", "w.yaml:2: the file is not UTF-8 (byte 0xe9)",
                  "save it as UTF-8", "");
    shoal_workflow_rules_t rules = {0};
    check_refused_with(SHOAL_SLICE("\xff\xfes\0o\0"), &rules,
                       &(refusal_t){SHOAL_INVALID, "w.yaml:1: ", "UTF-8", ""});
    check_refused_with(SHOAL_SLICE("source:\n  type: a\0b\n"), &rules,
                       &(refusal_t){SHOAL_INVALID, "w.yaml:2: ", "control characters", ""});
}

static void
what_is_not_yaml_is_named_with_its_line(void)
{
    check_refused("source:\n  type: postgres\n bad\n", "w.yaml:", "cannot be read as YAML", "");
    check_refused("source:\n\ttype: postgres\n", "w.yaml:2: ", "YAML indents with spaces", "");
    check_refused("source: {type: ${TYPE}}\n", "w.yaml:1: cannot be read as YAML",
                  "write \"${NAME}\" with quotes", "");
    check_refused("source: [a, b\nsink: x\n", "w.yaml:2: ", "YAML", "");
    check_refused("source: \"a\n", "w.yaml:2: ", "quoted scalar that starts on line 1", "");
    check_refused("source: {type: \"\\0\"}\n", "w.yaml:1: source.type: ", "NUL", "source.type");
    check_refused("source: !python/object x\n", "w.yaml:1: source: ", "tag", "source");
    check_refused("? [a]\n: b\n", "w.yaml:1: ", "must be a text", "");
    check_refused(SMALL "---\n" SMALL, "w.yaml:3: ", "second document", "");
}

static void
a_bomb_of_aliases_is_refused(void)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 10; i++) {
        shoal_buffer_append_format(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) {
            shoal_buffer_append_format(&text, "%s*a%d", k ? "," : "", i - 1);
        }
        shoal_buffer_append_text(&text, "]\n");
    }
    check_limit(&text, "w.yaml:6: ", "more than 200000 values");
    shoal_buffer_clear(&text); // a long text, often
    shoal_buffer_append_text(&text, "a: &a ");
    for (int i = 0; i < 100000; i++) {
        shoal_buffer_append_text(&text, "0123456789");
    }
    shoal_buffer_append_text(&text, "\nb: [*a, *a,\n*a, *a, *a]\n");
    check_limit(&text, "w.yaml:3: ", "grow beyond");
    shoal_buffer_clear(&text);
    for (int i = 0; i < 1001; i++) {
        shoal_buffer_append_format(&text, "- &a%d x\n", i);
    }
    check_limit(&text, "w.yaml:1001: ", "anchors");
    shoal_buffer_clear(&text);
    for (int i = 0; i < 200001; i++) {
        shoal_buffer_append_text(&text, "- x\n");
    }
    check_limit(&text, "w.yaml:200000: ", "more than 200000 values");
    shoal_buffer_fini(&text);
}

static void
aliases_that_lead_nowhere_are_refused(void)
{
    check_refused("source: *nothing\n", "w.yaml:1: source: ", "no anchor", "source");
    check_refused("source: &a\n  type: *a\n", "w.yaml:2: source.type: ", "inside its own anchor",
                  "source.type");
    check_refused("source: &a x\n*a : b\n", "w.yaml:2: ", "cannot be a key", NULL);
    check_refused("source:\n  <<: 1\n", "w.yaml:2: source.<<: ", "to merge", "source.<<");
}

static void
a_hundred_thousand_levels_are_refused(void)
{
    static const char *const levels[] = {"[", "- ", "{a: ", "? "};
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    for (size_t kind = 0; kind < sizeof(levels) / sizeof(levels[0]); kind++) {
        shoal_buffer_clear(&text);
        for (int i = 0; i < 100000; i++) {
            shoal_buffer_append_text(&text, levels[kind]);
        }
        if (levels[kind][0] != '?') {
            check_limit(&text, "w.yaml:1: ", "deeper than 64 levels");
        } else {
            check_refused(shoal_buffer_text(&text), "w.yaml:1: ", "key", NULL);
        }
    }
    shoal_buffer_clear(&text); // deep by aliases only
    shoal_buffer_append_text(&text, "a0: &a0 [x]\n");
    for (int i = 1; i < 80; i++) {
        shoal_buffer_append_format(&text, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    }
    check_limit(&text, "w.yaml:64: ", "deeper than 64 levels");
    shoal_buffer_fini(&text);
}

static void
keys_that_stand_twice_are_refused(void)
{
    check_refused("source:\n  type: a\n  serviceName: x\n  type: b\n",
                  "w.yaml:4: source.type: the key stands twice, first on line 2", "take one",
                  "source.type");
    check_refused(
        "source: {type: a}\nsink: {type: file}\nprocessor:\n- type: filter\n- config: {a: "
        "1,\n    a: 2}\n",
        "w.yaml:6: processor[1].config.a: ", "first on line 5", "processor[1].config.a");
}

static void
unknown_keys_get_a_suggestion(void)
{
    check_refused("source:\n  typ: postgres\nsink: {type: file}\n",
                  "w.yaml:2: source.typ: unknown key; did you mean \"type\"?", NULL, "source.typ");
    check_refused(SMALL "workflowconfig: {}\n",
                  "w.yaml:3: workflowconfig: ", "did you mean \"workflowConfig\"?", NULL);
    check_refused(SMALL "workflowConfig: {distributedExecution: {retryPolicy: {attempts: 3}}}\n",
                  "w.yaml:3: workflowConfig.distributedExecution.retryPolicy.attempts: ",
                  "known here are maxAttempts, backoffSeconds, backoffFactor", NULL);
    check_refused(SMALL "processor:\n- {type: filter}\n- {type: rename, confg: {}}\n",
                  "w.yaml:5: processor[1].confg: ", "\"config\"", "processor[1].confg");
}

static void
missing_keys_are_named(void)
{
    check_refused("sink: {type: file}\n", "w.yaml:1: source: is missing", "type: postgres",
                  "source");
    check_refused("source: {type: a}\n", "w.yaml:1: sink: is missing", "type: file", "sink");
    check_refused("source:\n  serviceName: x\nsink: {type: file}\n",
                  "w.yaml:1: source.type: is missing", NULL, "source.type");
    check_refused("source:\n  type:\nsink: {type: file}\n", "w.yaml:2: source.type: is empty", NULL,
                  "source.type");
    check_refused("source: {type: ''}\nsink: {type: file}\n", "w.yaml:1: source.type: is empty",
                  NULL, NULL);
    check_refused("source: {type: a}\nstage: {type: b}\nbulkSink: {type: c}\n",
                  "w.yaml:3: bulkSink: usage workflows", "later version", "bulkSink");
    check_refused(SMALL "processor: [{config: {}}]\n", "w.yaml:3: processor[0].type: is missing",
                  NULL, "processor[0].type");
}

static void
wrong_types_are_named(void)
{
    static const char *const cases[][3] = {
        {"[a, b]\n", "w.yaml:1: not a workflow", "a list"},
        {"hello\n", "w.yaml:1: not a workflow", "a text"},
        {"source: a\nsink: {type: file}\n", "w.yaml:1: source: must be a map", "\"a\""},
        {"source: {type: [a]}\n", "w.yaml:1: source.type: must be a text", "a list"},
        {SMALL "sharding: []\n", "w.yaml:3: sharding: must be a map", "a list"},
        {SMALL "processor: filter\n", "w.yaml:3: processor: must be a map", "\"filter\""},
        {SMALL "processor: [filter]\n", "w.yaml:3: processor[0]: must be a map", "\"filter\""},
        {SMALL "workflowConfig: {loggerLevel: LOUD}\n", "w.yaml:3: workflowConfig.loggerLevel: ",
         "one of DEBUG, INFO, WARN, WARNING, ERROR, not \"LOUD\""},
        {SMALL "workflowConfig: {loggerLevel: {}}\n",
         "w.yaml:3: workflowConfig.loggerLevel: ", "is a map"},
        {SMALL "workflowConfig: {raiseOnError: maybe}\n", "w.yaml:3: ", "true or false"},
        {SMALL "workflowConfig: {successThreshold: 101}\n",
         "w.yaml:3: ", "a whole number from 0 to 100, not \"101\""},
        {SMALL "workflowConfig: {successThreshold: -1}\n", "w.yaml:3: ", "from 0 to 100"},
        {SMALL "workflowConfig: {successThreshold: 1.5}\n", "w.yaml:3: ", "from 0 to 100"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_refused(cases[i][0], cases[i][1], cases[i][2], NULL);
    }
}

static void
wrong_execution_settings_are_named(void)
{
    static const char *const cases[][3] = {
        {"parallelism: 0", ".parallelism: ", "from 1 to 1024, or auto, not \"0\""},
        {"parallelism: some", ".parallelism: ", "or auto"},
        {"parallelism: 2000", ".parallelism: ", "1024"},
        {"parallelism: 99999999999999999999999999", ".parallelism: ", "1024"},
        {"enabled: 2", ".enabled: ", "true or false"},
        {"orchestrator: argo", ".orchestrator: ", "later version; use local or cluster"},
        {"orchestrator: ray", ".orchestrator: ", "one of local, cluster, argo"},
        {"retryPolicy: 3", ".retryPolicy: ", "a map"},
        {"retryPolicy: {maxAttempts: 0}", ".retryPolicy.maxAttempts: ", "from 1 to 100"},
        {"retryPolicy: {backoffSeconds: 1s}", ".retryPolicy.backoffSeconds: ", "a number"},
        {"retryPolicy: {backoffFactor: 0.5}", ".retryPolicy.backoffFactor: ", "from 1 to 100"},
        {"timeoutSeconds: '1.'", ".timeoutSeconds: ", "a number"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        char start[128];
        (void)snprintf(text, sizeof(text), "%sworkflowConfig:\n  distributedExecution:\n    %s\n",
                       SMALL, cases[i][0]);
        (void)snprintf(start, sizeof(start), "w.yaml:5: workflowConfig.distributedExecution%s",
                       cases[i][1]);
        check_refused(text, start, cases[i][2], NULL);
    }
}

static void
unset_variables_are_named(void)
{
    check_refused("source:\n  type: a\n  serviceConnection:\n    config:\n      l: [a, "
                  "'${PGPASSWORD}']\nsink: {type: file}\n",
                  "w.yaml:5: source.serviceConnection.config.l[1]: the variable PGPASSWORD is not "
                  "set",
                  "${PGPASSWORD:-default}", "source.serviceConnection.config.l[1]");
    check_refused("source: {type: '${1X}'}\n", "w.yaml:1: source.type: \"${1X}\" names no variable",
                  "$$", "source.type");
    check_refused("source: {type: '${}'}\n", "w.yaml:1: source.type: ", "names no variable", NULL);
    check_refused("source: {type: '${A:x}'}\n", "w.yaml:1: source.type: ", "names no variable",
                  NULL);
    check_refused("source: {type: '${A'}\n", "w.yaml:1: source.type: ", "without \"}\"", NULL);
    check_refused("source: {type: '${LATIN}'}\n", "w.yaml:1: source.type: ", "LATIN is not UTF-8",
                  NULL);
}

static void
variables_without_end_are_refused(void)
{
    enum { LEN = 100000 };
    char *big = malloc(LEN + 1);
    memset(big, 'x', LEN);
    big[LEN] = '\0';
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&text, "source: {type: a, serviceConnection: {config: {a: \"");
    for (int i = 0; i < 100; i++) {
        shoal_buffer_append_text(&text, "${BIG}");
    }
    shoal_buffer_append_text(&text, "\"}}}\n");
    shoal_workflow_rules_t rules = {.variable = variable, .ctx = big};
    check_refused_with(shoal_buffer_slice(&text), &rules,
                       &(refusal_t){SHOAL_LIMIT, "w.yaml:1: ", "grow beyond", NULL});
    shoal_buffer_fini(&text);
    free(big);
}

static void
overrides_that_make_no_sense_are_refused(void)
{
    check_override_refused("source.type", "write it as key.path=value");
    check_override_refused("=x", "write it as");
    check_override_refused("source..type=x", "not a key path");
    check_override_refused("a[b]=x", "not a key path");
    check_override_refused("source.type.deeper=x", "is no map");
    check_override_refused("source[0]=x", "is no list");
    check_override_refused("processor[3].type=x", "shorter than that");
    check_override_refused("source.typ=x", "did you mean \"type\"?");
    check_override_refused("workflowConfig.successThreshold=many", "a whole number");
    char deep[256] = "a";
    for (int i = 0; i < 100; i++) {
        strcat(deep, ".b");
    }
    strcat(deep, "=x");
    check_override_refused(deep, "deeper");
}

static void
check_value_refused(const char *override, const char *word)
{
    check_override_refused(override, word);
    check_override_refused(override, "source.type");
}

static void
override_values_that_are_no_yaml_are_refused(void)
{
    check_value_refused("source.type=[a", "starts with [ or { is read as a YAML list or map");
    check_value_refused("source.type={a: [b}", "character");
    check_value_refused("source.type=[::1]:5432", "${NAME} in the file");
    check_value_refused("source.type=[a] b", "and this is none");
    check_value_refused("source.type=[a]\n---\n[b]", "a second document");
    check_value_refused("source.type={a: 1, a: 2}", "source.type.a: the key stands twice");
    check_value_refused("source.type={a: [b, !!python/none x]}", "source.type.a[1]: a tag");
    check_value_refused("source.type=[\xff]", "not UTF-8");
    check_value_refused("source.type=[*a]", "no anchor");
    check_value_refused("source.type=[a, b]", "must be a text, but is a list");
}

static void
override_values_have_the_limits_of_a_file(void)
{
    shoal_buffer_t override = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&override, "source.serviceConnection.config.x=");
    for (int i = 0; i < SHOAL_WORKFLOW_DEPTH_MAX - 4; i++) { // four maps are around it
        shoal_buffer_append_byte(&override, '[');
    }
    shoal_buffer_t deeper = SHOAL_BUFFER_INIT;
    shoal_buffer_append(&deeper, override.ptr, override.len);
    shoal_buffer_append_byte(&deeper, '[');
    for (int i = 0; i < SHOAL_WORKFLOW_DEPTH_MAX - 4; i++) {
        shoal_buffer_append_byte(&override, ']');
        shoal_buffer_append_byte(&deeper, ']');
    }
    shoal_buffer_append_byte(&deeper, ']');
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    shoal_workflow_rules_t rules = {.overrides =
                                        (const char *const[]){shoal_buffer_text(&override), NULL}};
    CHECK_OK(shoal_workflow_parse("w.yaml", SHOAL_SLICE(SMALL), &rules, &workflow, &status),
             status);
    shoal_workflow_destroy(&workflow);
    shoal_workflow_rules_t refused = {.overrides =
                                          (const char *const[]){shoal_buffer_text(&deeper), NULL}};
    check_refused_with(
        SHOAL_SLICE(SMALL), &refused,
        &(refusal_t){SHOAL_LIMIT, "--set: source.serviceConnection.config.x", "64 levels", NULL});

    shoal_buffer_clear(&override);
    shoal_buffer_append_text(&override, "source.serviceConnection.config.x=[");
    for (int i = 0; i < SHOAL_WORKFLOW_NODES_MAX; i++) {
        shoal_buffer_append_text(&override, "a,");
    }
    shoal_buffer_append_byte(&override, ']');
    rules.overrides = (const char *const[]){shoal_buffer_text(&override), NULL};
    check_refused_with(SHOAL_SLICE(SMALL), &rules,
                       &(refusal_t){SHOAL_LIMIT, "--set", "more than 200000 values", NULL});
    shoal_buffer_fini(&override);
    shoal_buffer_fini(&deeper);
}

static void
a_secret_is_not_in_the_message(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    shoal_workflow_rules_t rules = {.overrides =
                                        (const char *const[]){"source..password=hunter2", NULL}};
    CHECK(!shoal_workflow_parse("w.yaml", SHOAL_SLICE(SMALL), &rules, &workflow, &status));
    CHECK(!strstr(status.text, "hunter2"));
    rules.overrides = (const char *const[]){"source.password=[hunter2", NULL};
    CHECK(!shoal_workflow_parse("w.yaml", SHOAL_SLICE(SMALL), &rules, &workflow, &status));
    CHECK(!strstr(status.text, "hunter2"));
}

static void
long_names_and_keys_are_cut_not_overrun(void)
{
    shoal_buffer_t text = SHOAL_BUFFER_INIT;
    char name[2000];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    shoal_buffer_append_format(&text, "? %s\n: 1\n", name);
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_workflow_t *workflow = NULL;
    shoal_workflow_rules_t rules = {0};
    CHECK_FAILS(shoal_workflow_parse(name, shoal_buffer_slice(&text), &rules, &workflow, &status),
                status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "unknown key");
    CHECK(strlen(status.text) < SHOAL_STATUS_TEXT_MAX && strlen(status.key) > 100);
    shoal_buffer_fini(&text);
}

TEST_MAIN(TEST(a_file_that_is_not_there_or_a_directory_is_named),
          TEST(a_file_without_permission_is_named), TEST(a_hundred_megabytes_are_refused_unread),
          TEST(an_empty_file_says_how_to_start), TEST(what_is_not_utf8_is_named_with_its_line),
          TEST(what_is_not_yaml_is_named_with_its_line), TEST(a_bomb_of_aliases_is_refused),
          TEST(aliases_that_lead_nowhere_are_refused), TEST(a_hundred_thousand_levels_are_refused),
          TEST(keys_that_stand_twice_are_refused), TEST(unknown_keys_get_a_suggestion),
          TEST(missing_keys_are_named), TEST(wrong_types_are_named),
          TEST(wrong_execution_settings_are_named), TEST(unset_variables_are_named),
          TEST(variables_without_end_are_refused), TEST(overrides_that_make_no_sense_are_refused),
          TEST(override_values_that_are_no_yaml_are_refused),
          TEST(override_values_have_the_limits_of_a_file), TEST(a_secret_is_not_in_the_message),
          TEST(long_names_and_keys_are_cut_not_overrun))
