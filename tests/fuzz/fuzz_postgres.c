// SPDX-License-Identifier: Apache-2.0
//
// fuzz_postgres.c - arguments of shards and descriptions of types, as a peer might send them.

#include <stdlib.h>

#include "connectors/postgres/discovery.h"
#include "connectors/postgres/plan.h"
#include "connectors/postgres/types.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
    shoal_status_t status = SHOAL_STATUS_INIT;
    shoal_slice_t input = {(const char *)bytes, len};
    shoal_pg_task_t task;
    if (shoal_pg_task_read(input, &task, &status)) {
        shoal_buffer_t again = SHOAL_BUFFER_INIT;
        shoal_pg_task_write(&task, &again);
        shoal_pg_task_t second;
        if (!shoal_pg_task_read(shoal_buffer_slice(&again), &second, &status)) {
            abort();
        }
        shoal_pg_task_fini(&second);
        shoal_buffer_fini(&again);
        shoal_pg_task_fini(&task);
    }
    shoal_pg_prepare_t prepare;
    (void)(shoal_pg_prepare_read(input, &prepare, &status) && prepare.kind > 0);
    shoal_pg_type_t type;
    shoal_pg_type_other(input, &type);
    return 0;
}
