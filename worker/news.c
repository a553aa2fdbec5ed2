// SPDX-License-Identifier: Apache-2.0
//
// news.c - see news.h.

#include "worker/news.h"

#include <stdlib.h>

#include "proto/base/alloc.h"

shoal_news_t *
shoal_news_new(shoal_news_kind_t kind, shoal_attempt_t *attempt)
{
    shoal_news_t *news = shoal_alloc(sizeof(*news));
    news->kind = kind;
    news->attempt = attempt;
    (void)zmq_msg_init(&news->payload);
    return news;
}

void
shoal_news_destroy(shoal_news_t **news)
{
    if (news && *news) {
        (void)zmq_msg_close(&(*news)->payload);
        free((*news)->failure);
        shoal_buffer_fini(&(*news)->detail);
        free(*news);
        *news = NULL;
    }
}
