// SPDX-License-Identifier: Apache-2.0
//
// requests.c - see requests.h.

#include "head/hub/requests.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "head/hub/dlq.h"
#include "head/hub/drain.h"
#include "head/hub/hub_parts.h"
#include "head/hub/summary.h"
#include "proto/base/alloc.h"
#include "proto/record/writer.h"

static shoal_watch_t *
watch_find(const shoal_peer_t *peer, uint64_t job)
{
    shoal_watch_t *watch = peer->watches;
    while (watch && watch->job->number != job) {
        watch = watch->peer_next;
    }
    return watch;
}

static void
watch_free(shoal_watch_t *watch)
{
    shoal_watch_t **at = &watch->peer->watches;
    while (*at != watch) {
        at = &(*at)->peer_next;
    }
    *at = watch->peer_next;
    watch->peer->watch_count--;
    if (watch->job_prev) {
        watch->job_prev->job_next = watch->job_next;
    } else {
        watch->job->watchers = watch->job_next;
    }
    if (watch->job_next) {
        watch->job_next->job_prev = watch->job_prev;
    }
    shoal_subscription_destroy(&watch->subscription);
    free(watch);
}

void
shoal_watch_drop_peer(shoal_peer_t *peer)
{
    for (shoal_watch_t *watch; (watch = peer->watches) != NULL;) {
        watch_free(watch);
        assert(peer->watches != watch); // it is out of the list
    }
}

void
shoal_watch_drop_job(shoal_job_t *job)
{
    for (shoal_watch_t *watch; (watch = job->watchers) != NULL;) {
        watch_free(watch);
        assert(job->watchers != watch);
    }
}

// The client's watch of a job, made if there is none.
static shoal_watch_t *
watch_get(shoal_peer_t *peer, shoal_job_t *job, shoal_status_t *status)
{
    shoal_watch_t *watch = watch_find(peer, job->number);
    if (watch) {
        return watch;
    }
    if (peer->watch_count >= SHOAL_WATCHES_MAX) {
        (void)shoal_fail(status, SHOAL_LIMIT, "a client watches at most %d jobs at a time",
                         SHOAL_WATCHES_MAX);
        return NULL;
    }
    watch = shoal_alloc(sizeof(*watch));
    watch->peer = peer;
    watch->job = job;
    watch->peer_next = peer->watches;
    peer->watches = watch;
    peer->watch_count++;
    watch->job_next = job->watchers;
    if (watch->job_next) {
        watch->job_next->job_prev = watch;
    }
    job->watchers = watch;
    return watch;
}

bool
shoal_request_job(shoal_hub_t *hub, uint64_t number, shoal_job_t **ret_job, shoal_status_t *status)
{
    *ret_job = shoal_cluster_job(shoal_hub_cluster(hub), number);
    return *ret_job || shoal_fail(status, SHOAL_NOT_FOUND, "there is no job %llu here",
                                  (unsigned long long)number);
}

// ---- events

static void
event_send(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_job_t *job, shoal_slice_t detail)
{
    shoal_message_t message = {.type = SHOAL_MSG_EVENT};
    message.event.job = job->number;
    message.event.state = shoal_slice_of(shoal_job_state_name((int)shoal_job_shown_state(job)));
    message.event.detail = detail;
    (void)shoal_hub_send(hub, peer, &message, NULL);
}

static shoal_slice_t
detail_make(shoal_hub_t *hub, const shoal_job_t *job)
{
    shoal_buffer_t *scratch = shoal_hub_scratch(hub);
    shoal_buffer_clear(scratch);
    shoal_summary_detail(job, shoal_cluster_registry(shoal_hub_cluster(hub)), shoal_hub_now(hub),
                         scratch);
    return shoal_buffer_slice(scratch);
}

void
shoal_watch_tell(shoal_hub_t *hub, shoal_job_t *job)
{
    if (!job->watchers) {
        return;
    }
    shoal_slice_t detail = detail_make(hub, job);
    for (shoal_watch_t *watch = job->watchers; watch; watch = watch->job_next) {
        if (watch->wants_events) {
            event_send(hub, watch->peer, job, detail);
        }
    }
}

// ---- output

shoal_sent_t
shoal_watch_piece(void *ctx, void *peer, const shoal_piece_t *piece, zmq_msg_t *payload)
{
    const shoal_watch_t *watch = peer;
    if (shoal_outbox_waiting(&watch->peer->outbox) > SHOAL_OUTBOX_OUTPUT_BYTES) {
        return SHOAL_SENT_FULL; // whatever credit it has given: offered again soon
    }
    shoal_message_t message = {.type = SHOAL_MSG_PIECE};
    message.piece.job = watch->job->number;
    message.piece.commit = watch->offset + piece->commit;
    message.piece.index = piece->index;
    message.piece.records = piece->records;
    message.piece.last = piece->is_last;
    return shoal_hub_send(ctx, watch->peer, &message, payload);
}

shoal_sent_t
shoal_watch_end(void *ctx, void *peer, uint64_t job, uint64_t commits)
{
    shoal_hub_t *hub = ctx;
    shoal_watch_t *watch = peer;
    (void)job;
    if (!watch->job->of && watch->run->next_run) { // the whole job: its next run follows
        watch->offset += commits;
        watch->done_next = hub->done_watches;
        hub->done_watches = watch;
        return SHOAL_SENT;
    }
    shoal_message_t message = {.type = SHOAL_MSG_OUTPUT_END};
    message.output_end.job = watch->job->number;
    message.output_end.commits = watch->offset + commits;
    message.output_end.state = shoal_slice_of(shoal_job_state_name((int)watch->run->state));
    return shoal_hub_send(hub, watch->peer, &message, NULL);
}

void
shoal_watch_go_on(shoal_hub_t *hub)
{
    while (hub->done_watches) {
        shoal_watch_t *watch = hub->done_watches;
        hub->done_watches = watch->done_next;
        int64_t credit = shoal_subscription_credit(watch->subscription);
        shoal_subscription_destroy(&watch->subscription);
        watch->run = watch->run->next_run;
        watch->subscription =
            shoal_output_subscribe(watch->run->output, watch, 1, credit > 0 ? (uint64_t)credit : 0);
        hub->outputs_touched = true;
    }
}

//
void
shoal_watch_failed(void *ctx, void *peer, uint64_t job, const shoal_status_t *why)
{
    const shoal_watch_t *watch = peer;
    shoal_log(shoal_hub_log(ctx), SHOAL_LOG_ERROR, "OUTPUT-LOST", "job=%llu reason=\"%s\"",
              (unsigned long long)job, why->text);
    shoal_hub_refuse(ctx, watch->peer, SHOAL_MSG_OUTPUT, watch->output_request, why);
}

// ---- the requests; each returns false with the reason to answer with ERROR

static bool
serve_submit(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
             shoal_slice_t payload, shoal_status_t *status)
{
    shoal_job_t *job = shoal_cluster_job_by_id(shoal_hub_cluster(hub), message->submit.id);
    if (!job && hub->disk_trouble[0]) {
        return shoal_fail_as(status, SHOAL_TRANSIENT, SHOAL_LIMIT,
                             "no job is accepted while the head's disk takes nothing: %s",
                             hub->disk_trouble);
    }
    if (!shoal_cluster_submit(shoal_hub_cluster(hub), message->submit.id, payload,
                              shoal_hub_now(hub), &job, status)) {
        return false;
    }
    shoal_log(shoal_hub_log(hub), SHOAL_LOG_INFO, "JOB-ACCEPTED", "job=%llu name=\"%s\"",
              (unsigned long long)job->number, job->name);
    return shoal_hub_accept(hub, peer, message->submit.request, job->number,
                            job->is_held ? job->lsn : 0, status);
}

// The job's runs, itself the first: array of [run, job, state, records].
static void
runs_write(const shoal_job_t *base, shoal_buffer_t *out)
{
    uint32_t count = 0;
    size_t mark = shoal_write_array_later(out);
    for (const shoal_job_t *run = base; run; run = run->next_run, count++) {
        shoal_write_array(out, 4);
        shoal_write_uint(out, run->run);
        shoal_write_uint(out, run->number);
        shoal_write_text(out, shoal_job_state_name((int)shoal_job_shown_state(run)));
        shoal_write_uint(out, run->records);
    }
    shoal_write_count_now(out, mark, count);
}

static void
job_write(shoal_hub_t *hub, const shoal_job_t *job, shoal_slice_t detail, shoal_buffer_t *out)
{
    uint64_t from = job->started_ms ? job->started_ms : job->created_ms;
    uint64_t to = job->finished_ms ? job->finished_ms : shoal_hub_now(hub);
    bool is_whole = detail.len > 0;
    shoal_write_map(out, is_whole ? 12 : 10);
    shoal_write_key(out, "job");
    shoal_write_uint(out, job->number);
    shoal_write_key(out, "id");
    shoal_write_text(out, job->id);
    shoal_write_key(out, "name");
    shoal_write_text(out, job->name);
    shoal_write_key(out, "state");
    shoal_write_text(out, shoal_job_state_name((int)shoal_job_shown_state(job)));
    shoal_write_key(out, "seconds");
    shoal_write_float(out, (double)(to - from) / 1000.0);
    shoal_write_key(out, "shards");
    shoal_write_uint(out, job->shards);
    shoal_write_key(out, "records");
    shoal_write_uint(out, job->records);
    shoal_write_key(out, "of");
    shoal_write_uint(out, job->of ? job->of->number : 0);
    shoal_write_key(out, "run");
    shoal_write_uint(out, job->run);
    shoal_write_key(out, "letters");
    shoal_write_uint(out, shoal_letters_count(shoal_job_letters(job)));
    if (is_whole) {
        shoal_write_key(out, "runs");
        runs_write(job->of ? job->of : job, out);
        shoal_write_key(out, "detail");
        shoal_write_raw(out, detail);
    }
}

static void
worker_write(shoal_hub_t *hub, const shoal_worker_t *worker, shoal_buffer_t *out)
{
    uint64_t now_ms = shoal_hub_now(hub);
    const shoal_peer_t *peer = worker->peer;
    uint64_t heard_ms = peer ? peer->heard_ms : worker->heard_ms;
    shoal_write_map(out, worker->last_end ? 10 : 9);
    if (worker->last_end) {
        shoal_write_key(out, "last_end");
        shoal_write_text(out, worker->last_end);
    }
    shoal_write_key(out, "id");
    shoal_write_text(out, worker->id);
    shoal_write_key(out, "name");
    shoal_write_text(out, worker->name);
    shoal_write_key(out, "state");
    shoal_write_text(out, shoal_worker_state_name(worker->state));
    shoal_write_key(out, "slots");
    shoal_write_uint(out, worker->slots);
    shoal_write_key(out, "window");
    shoal_write_uint(out, worker->window);
    shoal_write_key(out, "running");
    shoal_write_uint(out, worker->running);
    shoal_write_key(out, "classes");
    shoal_registry_t *registry = shoal_cluster_registry(shoal_hub_cluster(hub));
    shoal_registry_write_classes(registry, worker, out);
    shoal_write_key(out, "labels");
    if (worker->labels_len > 0) {
        shoal_write_raw(out, (shoal_slice_t){worker->labels, worker->labels_len});
    } else {
        shoal_write_map(out, 0);
    }
    shoal_write_key(out, "heard_ms");
    shoal_write_uint(out, now_ms > heard_ms ? now_ms - heard_ms : 0);
}

static bool
answer_head(shoal_hub_t *hub, const shoal_msg_ask_t *ask, shoal_buffer_t *out,
            shoal_status_t *status)
{
    (void)ask;
    (void)status;
    shoal_hub_describe(hub, out);
    return true;
}

static bool
answer_workers(shoal_hub_t *hub, const shoal_msg_ask_t *ask, shoal_buffer_t *out,
               shoal_status_t *status)
{
    (void)ask;
    (void)status;
    uint32_t count = 0;
    size_t mark = shoal_write_array_later(out);
    const shoal_registry_t *registry = shoal_cluster_registry(shoal_hub_cluster(hub));
    for (int state = 0; state < SHOAL_WORKER_STATE_COUNT; state++) {
        const shoal_worker_t *worker = shoal_registry_first(registry, (shoal_worker_state_t)state);
        for (; worker; worker = worker->list_next) {
            size_t len = out->len;
            worker_write(hub, worker, out);
            if (out->len > SHOAL_REPLY_BYTES_MAX) {
                out->len = len;
                break;
            }
            count++;
        }
    }
    shoal_write_count_now(out, mark, count);
    return true;
}

static bool
answer_jobs(shoal_hub_t *hub, const shoal_msg_ask_t *ask, shoal_buffer_t *out,
            shoal_status_t *status)
{
    (void)ask;
    (void)status;
    uint32_t count = 0;
    size_t mark = shoal_write_array_later(out);
    const shoal_job_t *job = shoal_cluster_first_job(shoal_hub_cluster(hub));
    for (; job && out->len < SHOAL_REPLY_BYTES_MAX; job = job->next) {
        job_write(hub, job, SHOAL_SLICE_NONE, out);
        count++;
    }
    shoal_write_count_now(out, mark, count);
    return true;
}

// The job that `id` means: what SUBMIT chose, or the number.
static shoal_job_t *
job_by_text(shoal_hub_t *hub, shoal_slice_t id)
{
    shoal_job_t *job = shoal_cluster_job_by_id(shoal_hub_cluster(hub), id);
    uint64_t number = 0;
    for (size_t i = 0; !job && i < id.len; i++) {
        if (id.ptr[i] < '0' || id.ptr[i] > '9' || i >= 18) {
            return NULL;
        }
        number = number * 10 + (uint64_t)(id.ptr[i] - '0');
    }
    return job ? job : shoal_cluster_job(shoal_hub_cluster(hub), number);
}

bool
shoal_request_job_asked(shoal_hub_t *hub, const shoal_msg_ask_t *ask, const shoal_job_t **ret_job,
                        shoal_status_t *status)
{
    *ret_job = job_by_text(hub, ask->id);
    return *ret_job || shoal_fail(status, SHOAL_NOT_FOUND, "there is no job \"%.*s\" here",
                                  SHOAL_SLICE_ARGS(ask->id));
}

static bool
answer_job(shoal_hub_t *hub, const shoal_msg_ask_t *ask, shoal_buffer_t *out,
           shoal_status_t *status)
{
    const shoal_job_t *job = NULL;
    if (!shoal_request_job_asked(hub, ask, &job, status)) {
        return false;
    }
    shoal_buffer_t detail = SHOAL_BUFFER_INIT;
    shoal_summary_detail(job, shoal_cluster_registry(shoal_hub_cluster(hub)), shoal_hub_now(hub),
                         &detail);
    job_write(hub, job, shoal_buffer_slice(&detail), out);
    shoal_buffer_fini(&detail);
    return true;
}

// clang-format off
static const struct {
    const char *what;
    bool (*answer)(shoal_hub_t *hub, const shoal_msg_ask_t *ask, shoal_buffer_t *out, shoal_status_t *status);
} answers[] = {
    {"head", answer_head},
    {"workers", answer_workers},
    {"jobs", answer_jobs},
    {"job", answer_job},
    {"letters", shoal_dlq_letters},
    {"whole_letters", shoal_dlq_whole_letters},
};
// clang-format on

static bool
serve_ask(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
          shoal_slice_t payload, shoal_status_t *status)
{
    (void)payload;
    shoal_buffer_t *body = shoal_hub_scratch(hub);
    shoal_buffer_clear(body);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        if (!shoal_slice_is(message->ask.what, answers[i].what)) {
            continue;
        }
        if (!answers[i].answer(hub, &message->ask, body, status)) {
            return false;
        }
        shoal_message_t reply = {.type = SHOAL_MSG_REPLY};
        reply.reply.request = message->ask.request;
        reply.reply.body = shoal_buffer_slice(body);
        (void)shoal_hub_send(hub, peer, &reply, NULL);
        return true;
    }
    return shoal_fail(status, SHOAL_NOT_FOUND,
                      "nothing is known about \"%.*s\"; ask for head, workers, jobs, job, letters "
                      "or whole_letters",
                      SHOAL_SLICE_ARGS(message->ask.what));
}

static bool
serve_watch(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
            shoal_slice_t payload, shoal_status_t *status)
{
    (void)payload;
    shoal_job_t *job = NULL;
    if (!shoal_request_job(hub, message->watch.job, &job, status)) {
        return false;
    }
    shoal_watch_t *watch = watch_get(peer, job, status);
    if (!watch) {
        return false;
    }
    watch->wants_events = true;
    event_send(hub, peer, job, detail_make(hub, job));
    return true;
}

static bool
serve_stop(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
           shoal_slice_t payload, shoal_status_t *status)
{
    (void)payload;
    shoal_job_t *job = NULL;
    if (!shoal_request_job(hub, message->stop.job, &job, status)) {
        return false;
    }
    char reason[257];
    (void)snprintf(reason, sizeof(reason), "%.*s", SHOAL_SLICE_ARGS(message->stop.reason));
    shoal_cluster_stop_job(shoal_hub_cluster(hub), job, reason, shoal_hub_now(hub));
    return shoal_hub_accept(hub, peer, message->stop.request, job->number,
                            job->is_held ? job->lsn : 0, status);
}

static bool
serve_output(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
             shoal_slice_t payload, shoal_status_t *status)
{
    (void)payload;
    shoal_job_t *job = NULL;
    if (!shoal_request_job(hub, message->output.job, &job, status)) {
        return false;
    }
    if (!job->output) {
        return shoal_fail(status, SHOAL_NOT_FOUND, "job %llu keeps no output",
                          (unsigned long long)job->number);
    }
    shoal_watch_t *watch = watch_get(peer, job, status);
    if (!watch) {
        return false;
    }
    shoal_subscription_destroy(&watch->subscription); // a new one takes the old one's place
    uint64_t from = message->output.from;
    watch->output_request = message->output.request;
    watch->run = job;
    watch->offset = 0;
    while (!job->of && watch->run->next_run && shoal_job_is_final(watch->run) &&
           from > watch->offset + shoal_output_commits(watch->run->output)) {
        watch->offset += shoal_output_commits(watch->run->output);
        watch->run = watch->run->next_run;
    }
    watch->subscription = shoal_output_subscribe(watch->run->output, watch, from - watch->offset,
                                                 message->output.credit);
    return true;
}

// TAKEN counts the commits of the whole job, where runs follow each other: each has its share.
static void
runs_taken(shoal_watch_t *watch, uint64_t commit, uint64_t bytes)
{
    for (shoal_job_t *run = watch->job; run != watch->run; run = run->next_run) {
        uint64_t commits = shoal_output_commits(run->output);
        uint64_t share = commit < commits ? commit : commits;
        shoal_output_taken(run->output, share);
        commit -= share;
    }
    shoal_subscription_taken(watch->subscription, commit, bytes);
}

static bool
serve_taken(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
            shoal_slice_t payload, shoal_status_t *status)
{
    (void)hub;
    (void)payload;
    (void)status;
    shoal_watch_t *watch = watch_find(peer, message->taken.job);
    if (watch && watch->subscription) { // late ones of an ended subscription mean nothing
        runs_taken(watch, message->taken.commit, message->taken.bytes);
    }
    return true;
}

// a viewer is served what only looks.
// clang-format off
static const struct {
    shoal_message_type_t type;
    bool is_looking;
    bool (*serve)(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
                  shoal_slice_t payload, shoal_status_t *status);
} services[] = {
    {SHOAL_MSG_SUBMIT, false, serve_submit},
    {SHOAL_MSG_ASK, true, serve_ask},
    {SHOAL_MSG_WATCH, true, serve_watch},
    {SHOAL_MSG_STOP, false, serve_stop},
    {SHOAL_MSG_DROP_LETTERS, false, shoal_dlq_drop},
    {SHOAL_MSG_OUTPUT, true, serve_output},
    {SHOAL_MSG_TAKEN, true, serve_taken},
    {SHOAL_MSG_DRAIN, false, shoal_drain_serve},
};
// clang-format on

static uint64_t
request_of(const shoal_message_t *message)
{
    switch (message->type) {
    case SHOAL_MSG_SUBMIT: return message->submit.request;
    case SHOAL_MSG_ASK: return message->ask.request;
    case SHOAL_MSG_WATCH: return message->watch.request;
    case SHOAL_MSG_STOP: return message->stop.request;
    case SHOAL_MSG_DROP_LETTERS: return message->drop_letters.request;
    case SHOAL_MSG_OUTPUT: return message->output.request;
    case SHOAL_MSG_DRAIN: return message->drain.request;
    case SHOAL_MSG_HELLO:
    case SHOAL_MSG_WELCOME:
    case SHOAL_MSG_ERROR:
    case SHOAL_MSG_HEARTBEAT:
    case SHOAL_MSG_BYE:
    case SHOAL_MSG_WINDOW:
    case SHOAL_MSG_ACTOR:
    case SHOAL_MSG_DROP_ACTOR:
    case SHOAL_MSG_CALL:
    case SHOAL_MSG_CANCEL:
    case SHOAL_MSG_RESULT:
    case SHOAL_MSG_BATCH:
    case SHOAL_MSG_ACK:
    case SHOAL_MSG_GRANT:
    case SHOAL_MSG_ACCEPTED:
    case SHOAL_MSG_REPLY:
    case SHOAL_MSG_EVENT:
    case SHOAL_MSG_PIECE:
    case SHOAL_MSG_TAKEN:
    case SHOAL_MSG_OUTPUT_END:
    default: return 0;
    }
}

bool
shoal_request_serve(shoal_hub_t *hub, shoal_peer_t *peer, const shoal_message_t *message,
                    shoal_slice_t payload, shoal_status_t *status)
{
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        if (services[i].type == message->type) {
            shoal_status_t why = SHOAL_STATUS_INIT;
            bool may = services[i].is_looking || !peer->is_viewer ||
                       shoal_fail(&why, SHOAL_DENIED,
                                  "the key that this client has is a viewer's: it may look, but "
                                  "not send %s",
                                  shoal_message_name((int)message->type));
            if (!may || !services[i].serve(hub, peer, message, payload, &why)) {
                shoal_hub_refuse(hub, peer, (int)message->type, request_of(message), &why);
            }
            return true;
        }
    }
    return shoal_fail(status, SHOAL_PROTOCOL, "a client may not send %s",
                      shoal_message_name((int)message->type));
}
