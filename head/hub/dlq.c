// SPDX-License-Identifier: Apache-2.0
//
// dlq.c - see dlq.h.

#include "head/hub/dlq.h"

#include "head/cluster/run.h"
#include "head/hub/hub_parts.h"
#include "proto/record/writer.h"

// The job's dead letters from a number on, as many as fit; of a run: those of the job that it is a
// run of.
static bool
letters_write(shoal_hub_t *hub, const shoal_msg_ask_t *ask, bool is_whole, shoal_buffer_t *out,
              shoal_status_t *status)
{
    const shoal_job_t *job = NULL;
    if (!shoal_request_job_asked(hub, ask, &job, status)) {
        return false;
    }
    uint32_t count = 0;
    const shoal_letter_t *letter;
    size_t mark = shoal_write_array_later(out);
    for (uint64_t from = ask->from;
         (letter = shoal_letters_next(shoal_job_letters(job), from)) != NULL; count++) {
        size_t len = out->len;
        from = letter->number + 1;
        shoal_letter_show(letter, is_whole, out);
        if (out->len > SHOAL_REPLY_BYTES_MAX && count > 0) {
            out->len = len;
            break;
        }
    }
    shoal_write_count_now(out, mark, count);
    return true;
}

bool
shoal_dlq_letters(shoal_hub_t *hub, const shoal_msg_ask_t *ask, shoal_buffer_t *out,
                  shoal_status_t *status)
{
    return letters_write(hub, ask, /*is_whole=*/false, out, status);
}

bool
shoal_dlq_whole_letters(shoal_hub_t *hub, const shoal_msg_ask_t *ask, shoal_buffer_t *out,
                        shoal_status_t *status)
{
    return letters_write(hub, ask, /*is_whole=*/true, out, status);
}

bool
shoal_dlq_drop(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
               shoal_slice_t payload, shoal_status_t *status)
{
    (void)payload;
    shoal_job_t *job = NULL;
    const shoal_msg_drop_letters_t *drop = &message->drop_letters;
    if (!shoal_request_job(hub, drop->job, &job, status)) {
        return false;
    }
    job = job->of ? job->of : job;
    if (!shoal_run_drop(job, drop->letters, status)) {
        return false;
    }
    return shoal_hub_accept(hub, peer, drop->request, job->number, shoal_ledger_lsn(hub->ledger),
                            status);
}
