// SPDX-License-Identifier: Apache-2.0
//
// test_class.c - what worker/class.h promises of a class's table.

#include "tests/support/test.h"
#include "worker/class.h"

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
call(void *self, const shoal_call_t *context, const char *method, shoal_slice_t args,
     shoal_buffer_t *result, shoal_status_t *status)
{
    (void)self;
    (void)context;
    (void)method;
    (void)args;
    (void)result;
    (void)status;
    return true;
}

static const char *const methods[] = {"add", "get", NULL};

static shoal_class_t
whole_class(void)
{
    return (shoal_class_t){.abi = SHOAL_CLASS_ABI,
                           .name = "counter",
                           .methods = methods,
                           .construct = construct,
                           .destroy = destroy,
                           .call = call};
}

static void
a_whole_class_is_taken(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_class_t class = whole_class();
    CHECK_OK(shoal_class_check(&class, &status), status);
}

static void
another_abi_is_refused(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_class_t class = whole_class();
    class.abi = SHOAL_CLASS_ABI + 1;
    CHECK_FAILS(shoal_class_check(&class, &status), status, SHOAL_UNSUPPORTED);
    CHECK_SAYS(status.text, "build it again");
}

static void
a_class_without_a_name_or_a_member_is_refused(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_class_t class = whole_class();
    class.name = "";
    CHECK_FAILS(shoal_class_check(&class, &status), status, SHOAL_INVALID);
    class = whole_class();
    class.name = "a-name-of-more-than-sixty-four-bytes-which-no-message-can-carry-at-all";
    CHECK_FAILS(shoal_class_check(&class, &status), status, SHOAL_INVALID);
    class = whole_class();
    class.destroy = NULL;
    CHECK_FAILS(shoal_class_check(&class, &status), status, SHOAL_INVALID);
    CHECK_SAYS(status.text, "destroy");
}

static void
a_method_is_found_by_its_name_and_an_unknown_one_lists_the_known(void)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_class_t class = whole_class();
    const char *method = NULL;
    CHECK_OK(shoal_class_method(&class, SHOAL_SLICE("get"), &method, &status), status);
    CHECK(method == methods[1]);
    CHECK_FAILS(shoal_class_method(&class, SHOAL_SLICE("ge"), &method, &status), status,
                SHOAL_NOT_FOUND);
    CHECK_SAYS(status.text, "add, get");
}

TEST_MAIN(TEST(a_whole_class_is_taken), TEST(another_abi_is_refused),
          TEST(a_class_without_a_name_or_a_member_is_refused),
          TEST(a_method_is_found_by_its_name_and_an_unknown_one_lists_the_known))
