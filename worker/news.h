// SPDX-License-Identifier: Apache-2.0
//
// news.h - what slots tell the link: a batch that a call sends, or the end of an attempt.
//
// Threads: made on a slot's thread, then owned by the link's.  Logging: none.

#ifndef SHOAL_WORKER_NEWS_H
#define SHOAL_WORKER_NEWS_H

#include <zmq.h>

#include "proto/base/buffer.h"
#include "worker/attempt.h"

typedef enum shoal_news_kind { SHOAL_NEWS_BATCH, SHOAL_NEWS_END } shoal_news_kind_t;

// Owned by whoever took it.
typedef struct shoal_news {
    shoal_news_kind_t kind;
    shoal_attempt_t *attempt; // borrowed for a batch; at its end the pool has let go of it

    // A batch.
    zmq_msg_t payload;
    uint64_t seq; // from 0 within the attempt
    uint32_t records;
    bool more;
    uint32_t letters; // dead letters in it; then it holds nothing else

    // The end.
    shoal_outcome_t outcome;
    shoal_status_t *failure; // owned; NULL unless the outcome is failed
    shoal_buffer_t detail;
} shoal_news_t;

shoal_news_t *shoal_news_new(shoal_news_kind_t kind, shoal_attempt_t *attempt);
void shoal_news_destroy(shoal_news_t **news);

#endif
