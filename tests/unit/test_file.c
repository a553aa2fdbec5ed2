// SPDX-License-Identifier: Apache-2.0
//
// test_file.c - what connectors/file promises.

#include "connectors/connector.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"

static void
a_record_becomes_one_line_of_json(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    const shoal_sink_ops_t *sink = shoal_connector.sink;
    shoal_write_map(&record, 2);
    shoal_write_text(&record, "kind");
    shoal_write_text(&record, "table");
    shoal_write_text(&record, "name");
    shoal_write_text(&record, "a\nb");
    CHECK(sink->is_collected);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(sink->write(NULL, shoal_buffer_slice(&record), &out, &status), status);
    }
    assert_string_equal(shoal_buffer_text(&out), "{\"kind\":\"table\",\"name\":\"a\\nb\"}\n"
                                                 "{\"kind\":\"table\",\"name\":\"a\\nb\"}\n");
    shoal_buffer_fini(&record);
    shoal_buffer_fini(&out);
}

static void
a_record_that_json_cannot_hold_is_an_error_of_this_record(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_buffer_append_text(&out, "kept\n");
    CHECK_FAILS(shoal_connector.sink->write(NULL, SHOAL_SLICE("\x81\xa1"), &out, &status), status,
                SHOAL_PROTOCOL);
    CHECK(status.error_class == SHOAL_DATA);
    CHECK_SAYS(status.text, "cannot write a record as JSON");
    CHECK(out.len == 5);
    shoal_buffer_fini(&out);
}

static void
it_knows_its_filename_and_nothing_else(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_options_t *options = NULL;
    shoal_buffer_t section = SHOAL_BUFFER_INIT;
    shoal_write_map(&section, 1);
    shoal_write_text(&section, "filename");
    shoal_write_text(&section, "-");
    CHECK_OK(shoal_options_read(&options, shoal_connector.options, "sink.config",
                                shoal_buffer_slice(&section), false, NULL, NULL, &status),
             status);
    void *sink = NULL;
    CHECK_OK(shoal_connector.sink->open(options, NULL, &sink, &status), status);
    shoal_connector.sink->close(sink);
    shoal_options_destroy(&options);
    shoal_buffer_clear(&section);
    shoal_write_map(&section, 1);
    shoal_write_text(&section, "file");
    shoal_write_text(&section, "-");
    CHECK_FAILS(shoal_options_read(&options, shoal_connector.options, "sink.config",
                                   shoal_buffer_slice(&section), false, NULL, NULL, &status),
                status, SHOAL_INVALID);
    shoal_buffer_fini(&section);
}

TEST_MAIN(TEST(a_record_becomes_one_line_of_json),
          TEST(a_record_that_json_cannot_hold_is_an_error_of_this_record),
          TEST(it_knows_its_filename_and_nothing_else))
