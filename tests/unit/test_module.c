// SPDX-License-Identifier: Apache-2.0
//
// test_module.c - what worker/module.h promises, with the real modules and some broken ones.

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/test.h"
#include "worker/module.h"

// The modules of this build, or of a folder beside them.
static shoal_modules_t *
open_modules(const char *beside)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t directory = SHOAL_BUFFER_INIT;
    CHECK_OK(shoal_modules_directory(&directory, &status), status);
    shoal_buffer_append_text(&directory, beside);
    shoal_modules_t *modules = shoal_modules_new(shoal_buffer_text(&directory));
    shoal_buffer_fini(&directory);
    return modules;
}

static void
a_real_module_is_loaded_on_first_use_whatever_its_case(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_modules_t *modules = open_modules("");
    const shoal_connector_t *file = NULL;
    const shoal_connector_t *again = NULL;
    CHECK_OK(shoal_modules_find(modules, "file", SHOAL_MODULE_SINK, "sink.type", &file, &status),
             status);
    CHECK(strcmp(file->name, "file") == 0 && file->sink->is_collected);
    CHECK_OK(shoal_modules_find(modules, "File", SHOAL_MODULE_SINK, "sink.type", &again, &status),
             status);
    CHECK(file == again);
    shoal_modules_destroy(&modules);
    CHECK(modules == NULL);
}

static void
check_unknown(shoal_modules_t *modules, const char *type, shoal_module_kind_t kind,
              const char *says)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    const shoal_connector_t *connector = NULL;
    CHECK_FAILS(shoal_modules_find(modules, type, kind, "sink.type", &connector, &status), status,
                SHOAL_INVALID);
    CHECK(strcmp(status.key, "sink.type") == 0);
    CHECK_SAYS(status.text, says);
    CHECK(connector == NULL);
}

static void
an_unknown_type_lists_the_known_ones_of_its_role(void)
{
    shoal_modules_t *modules = open_modules("");
    check_unknown(modules, "metadata-rest", SHOAL_MODULE_SINK,
                  "unknown sink type \"metadata-rest\"; known: file; write \"sink: {type: file, "
                  "config: {filename: records.jsonl}}\"");
    check_unknown(modules, "fil", SHOAL_MODULE_SINK, "did you mean \"file\"?");
    check_unknown(modules, "filter", SHOAL_MODULE_SINK, "known: file");
    check_unknown(modules, "", SHOAL_MODULE_SINK, "known: file");
    check_unknown(modules, "../lib/shoal/file", SHOAL_MODULE_SINK, "known: file");
    shoal_modules_destroy(&modules);
    modules = shoal_modules_new("/nonexistent");
    check_unknown(modules, "file", SHOAL_MODULE_SINK, "no sink connector in \"/nonexistent\"");
    shoal_modules_destroy(&modules);
}

static void
check_unusable(shoal_modules_t *modules, const char *type, const char *says)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    const shoal_connector_t *connector = NULL;
    CHECK_FAILS(
        shoal_modules_find(modules, type, SHOAL_MODULE_SINK, "sink.type", &connector, &status),
        status, SHOAL_UNSUPPORTED);
    CHECK(strcmp(status.key, "sink.type") == 0);
    CHECK_SAYS(status.text, says);
}

static void
a_module_that_cannot_be_used_says_why(void)
{
    shoal_modules_t *modules = open_modules("/../../tests/modules");
    char says[64];
    (void)snprintf(says, sizeof(says), "was built for ABI %d, this worker has %d: build it again",
                   SHOAL_CONNECTOR_ABI + 1, SHOAL_CONNECTOR_ABI);
    check_unusable(modules, "old", says);
    check_unusable(modules, "half", "an operation is missing");
    shoal_modules_destroy(&modules);

    char directory[] = "/tmp/shoal-test-XXXXXX";
    char path[64];
    CHECK(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/shoal-text.so", directory);
    FILE *file = fopen(path, "w");
    CHECK(file && fputs("this is no module\n", file) >= 0 && fclose(file) == 0);
    modules = shoal_modules_new(directory);
    check_unusable(modules, "text", "shoal-text.so");
    shoal_buffer_t list = SHOAL_BUFFER_INIT;
    shoal_modules_list(modules, &list);
    CHECK_SAYS(shoal_buffer_text(&list), "cannot be used");
    shoal_buffer_fini(&list);
    shoal_modules_destroy(&modules);
    CHECK(unlink(path) == 0 && rmdir(directory) == 0);
}

static void
the_list_has_a_line_for_each(void)
{
    shoal_modules_t *modules = open_modules("");
    shoal_buffer_t list = SHOAL_BUFFER_INIT;
    shoal_modules_list(modules, &list);
    CHECK_SAYS(shoal_buffer_text(&list), "example          source     ");
    CHECK_SAYS(shoal_buffer_text(&list), "file             sink       ");
    CHECK_SAYS(shoal_buffer_text(&list), "filter           processor  ");
    CHECK(strstr(shoal_buffer_text(&list), "example") < strstr(shoal_buffer_text(&list), "rename"));
    shoal_buffer_fini(&list);
    shoal_modules_destroy(&modules);
}

static void
a_source_has_a_workflow_file_to_start_from(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_modules_t *modules = open_modules("");
    const char *text = NULL;
    CHECK_OK(shoal_modules_template(modules, "Example", &text, &status), status);
    CHECK_SAYS(text, "type: example");
    CHECK_FAILS(shoal_modules_template(modules, "file", &text, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "unknown source type \"file\"");
    shoal_modules_destroy(&modules);
}

static void *
find_all(void *ctx)
{
    static const struct {
        const char *type;
        shoal_module_kind_t kind;
    } wanted[] = {{"file", SHOAL_MODULE_SINK},
                  {"Filter", SHOAL_MODULE_PROCESSOR},
                  {"rename", SHOAL_MODULE_PROCESSOR},
                  {"example", SHOAL_MODULE_SOURCE},
                  {"none", SHOAL_MODULE_SINK}};
    size_t found = 0;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        shoal_status_t status = SHOAL_STATUS_INIT;
        const shoal_connector_t *connector = NULL;
        found += shoal_modules_find(ctx, wanted[i].type, wanted[i].kind, "key", &connector, &status)
                     ? 1
                     : 0;
    }
    return found == 4 ? ctx : NULL;
}

static void
slots_may_ask_at_the_same_time(void)
{
    shoal_modules_t *modules = open_modules("");
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, find_all, modules) == 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *result = NULL;
        CHECK(pthread_join(threads[i], &result) == 0 && result == modules);
    }
    shoal_modules_destroy(&modules);
}

TEST_MAIN(TEST(a_real_module_is_loaded_on_first_use_whatever_its_case),
          TEST(an_unknown_type_lists_the_known_ones_of_its_role),
          TEST(a_module_that_cannot_be_used_says_why), TEST(the_list_has_a_line_for_each),
          TEST(a_source_has_a_workflow_file_to_start_from), TEST(slots_may_ask_at_the_same_time))
