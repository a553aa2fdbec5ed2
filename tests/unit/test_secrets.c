// SPDX-License-Identifier: Apache-2.0
//
// test_secrets.c - what worker/secrets.h promises.

#include "proto/record/json.h"
#include "proto/record/writer.h"
#include "tests/support/test.h"
#include "worker/secrets.h"

static void
check_hides(const shoal_secrets_t *secrets, const char *text, const char *expected, bool is_hidden)
{
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    CHECK(shoal_secrets_hide(secrets, shoal_slice_of(text), &out) == is_hidden);
    assert_string_equal(shoal_buffer_text(&out), expected);
    shoal_buffer_fini(&out);
}

static void
secrets_are_replaced_wherever_they_stand(void)
{
    shoal_secrets_t secrets = {0};
    shoal_secrets_add(&secrets, "hunter2");
    shoal_secrets_add(&secrets, "hunter2");
    shoal_secrets_add(&secrets, "");
    shoal_secrets_add(&secrets, "hunter2000");
    shoal_secrets_add(&secrets, "abc");
    CHECK(secrets.count == 3);
    check_hides(&secrets, "nothing here", "nothing here", false);
    check_hides(&secrets, "postgres://u:hunter2@h", "postgres://u:***@h", true);
    check_hides(&secrets, "hunter2hunter2000", "******", true); // the longest one
    check_hides(&secrets, "abcabc", "abcabc", false);           // a short one only as a whole
    check_hides(&secrets, "abc", "***", true);
    check_hides(&secrets, "hunter", "hunter", false);
    shoal_secrets_fini(&secrets);
    check_hides(&secrets, "hunter2", "hunter2", false);
}

static void
a_record_keeps_its_shape_without_its_secrets(void)
{
    shoal_secrets_t secrets = {0};
    shoal_buffer_t record = SHOAL_BUFFER_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    shoal_buffer_t json = SHOAL_BUFFER_INIT;
    shoal_status_t status = SHOAL_STATUS_INIT;
    bool is_hidden = true;
    shoal_secrets_add(&secrets, "hunter2");
    shoal_write_map(&record, 6);
    shoal_write_key(&record, "name");
    shoal_write_key(&record, "password"); // a value, not a key
    shoal_write_key(&record, "n");
    shoal_write_array(&record, 3);
    shoal_write_uint(&record, 70000);
    shoal_write_nil(&record);
    shoal_write_map(&record, 0);
    shoal_write_key(&record, "API_KEY");
    shoal_write_map(&record, 1);
    shoal_write_key(&record, "x");
    shoal_write_key(&record, "y");
    shoal_write_key(&record, "hunter2");
    shoal_write_key(&record, "see hunter2");
    shoal_write_key(&record, "token");
    shoal_write_bool(&record, true);
    shoal_write_key(&record, "z");
    shoal_write_float(&record, 0.5);
    CHECK(shoal_secrets_hide_record(&secrets, shoal_buffer_slice(&record), &out, &is_hidden));
    CHECK(is_hidden);
    CHECK_OK(shoal_json_write(shoal_buffer_slice(&out), &json, &status), status);
    assert_string_equal(shoal_buffer_text(&json),
                        "{\"name\":\"password\",\"n\":[70000,null,{}],\"API_KEY\":\"***\","
                        "\"***\":\"see ***\",\"token\":true,\"z\":0.5}");
    shoal_secrets_fini(&secrets);
    shoal_buffer_clear(&out);
    shoal_buffer_clear(&record);
    shoal_write_array(&record, 2);
    shoal_write_uint(&record, 1);
    shoal_write_key(&record, "hunter2");
    CHECK(shoal_secrets_hide_record(&secrets, shoal_buffer_slice(&record), &out, &is_hidden));
    CHECK(!is_hidden && shoal_slice_equal(shoal_buffer_slice(&record), shoal_buffer_slice(&out)));
    shoal_buffer_fini(&record);
    shoal_buffer_fini(&out);
    shoal_buffer_fini(&json);
}

static void
what_is_no_record_is_refused(void)
{
    static const shoal_secrets_t secrets;
    shoal_buffer_t deep = SHOAL_BUFFER_INIT;
    shoal_buffer_t out = SHOAL_BUFFER_INIT;
    bool is_hidden;
    CHECK(!shoal_secrets_hide_record(&secrets, SHOAL_SLICE_NONE, &out, &is_hidden));
    CHECK(!shoal_secrets_hide_record(&secrets, SHOAL_SLICE("\xc1"), &out, &is_hidden));
    CHECK(!shoal_secrets_hide_record(&secrets, SHOAL_SLICE("\x92\x01"), &out, &is_hidden));
    CHECK(!shoal_secrets_hide_record(&secrets, SHOAL_SLICE("\x01\x02"), &out, &is_hidden));
    for (int i = 0; i <= SHOAL_SECRETS_DEPTH_MAX; i++) {
        shoal_write_array(&deep, 1);
    }
    shoal_write_nil(&deep);
    CHECK(!shoal_secrets_hide_record(&secrets, shoal_buffer_slice(&deep), &out, &is_hidden));
    CHECK(out.len == 0);
    CHECK(shoal_secrets_hide_record(&secrets, (shoal_slice_t){deep.ptr + 1, deep.len - 1}, &out,
                                    &is_hidden));
    shoal_buffer_fini(&deep);
    shoal_buffer_fini(&out);
}

TEST_MAIN(TEST(secrets_are_replaced_wherever_they_stand),
          TEST(a_record_keeps_its_shape_without_its_secrets), TEST(what_is_no_record_is_refused))
