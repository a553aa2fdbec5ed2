// SPDX-License-Identifier: Apache-2.0
//
// budget.c - see budget.h.
//
// Sources are few, and the seats of one are at most its bound, or where there is none yet the
// cluster's slots; both stand in plain arrays.

#include "head/cluster/budget.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

#define TOKEN 1000 // of the rate: one call, in parts that a millisecond can earn

typedef struct seat {
    uint64_t job;
    const void *worker;
    uint32_t count;   // connections
    uint32_t running; // of them
    bool is_pinned;
} seat_t;

typedef struct member {
    uint64_t job;
    uint32_t connections; // 0: no bound
    uint32_t per_second;  // 0: no bound
} member_t;

struct shoal_budget {
    shoal_budget_t *next;
    char name[SHOAL_BUDGET_NAME_MAX + 1];
    member_t *members;
    size_t member_count;
    seat_t *seats;
    size_t seat_count;
    size_t seat_size;
    uint32_t connections; // the smallest of the members', SHOAL_BUDGET_NO_BOUND: none
    uint32_t per_second;  // the same, 0: none
    uint32_t bound;       // at present
    uint32_t epoch;       // refusals that have halved it
    uint32_t running;
    uint32_t held; // connections of all seats
    uint64_t grown_ms;
    uint64_t tokens; // of the rate
    uint64_t earned_ms;
    uint64_t denied_until_ms; // SHOAL_TIME_NEVER: nothing was denied that time would allow
};

struct shoal_budgets {
    shoal_budget_t *first;
};

// ---- tries after the first

void
shoal_retry_budget_init(shoal_retry_budget_t *budget)
{
    *budget = (shoal_retry_budget_t){.saved_percent = 100 * SHOAL_RETRY_FLOOR};
}

void
shoal_retry_budget_earn(shoal_retry_budget_t *budget)
{
    budget->saved_percent += SHOAL_RETRY_SHARE_PERCENT;
    if (budget->saved_percent > 100 * SHOAL_RETRY_SAVED_MAX) {
        budget->saved_percent = 100 * SHOAL_RETRY_SAVED_MAX;
    }
}

uint64_t
shoal_retry_budget_spend(shoal_retry_budget_t *budget, uint64_t delay_ms)
{
    if (budget->saved_percent >= 100) {
        budget->saved_percent -= 100;
        return delay_ms;
    }
    budget->held++;
    uint64_t longer_ms = delay_ms * SHOAL_RETRY_WAIT_FACTOR;
    longer_ms = longer_ms < SHOAL_RETRY_WAIT_MS_MAX ? longer_ms : SHOAL_RETRY_WAIT_MS_MAX;
    return longer_ms > delay_ms ? longer_ms : delay_ms;
}

// ---- sources

shoal_budgets_t *
shoal_budgets_new(void)
{
    return shoal_alloc(sizeof(shoal_budgets_t));
}

static void
budget_free(shoal_budget_t *budget)
{
    free(budget->members);
    free(budget->seats);
    free(budget);
}

void
shoal_budgets_destroy(shoal_budgets_t **budgets)
{
    if (!budgets || !*budgets) {
        return;
    }
    for (shoal_budget_t *budget = (*budgets)->first, *next; budget; budget = next) {
        next = budget->next;
        budget_free(budget);
    }
    free(*budgets);
    *budgets = NULL;
}

// The members' smallest bounds; one that a refusal has lowered stays as low.
static void
bounds_settle(shoal_budget_t *budget)
{
    bool was_lowered = budget->bound < budget->connections;
    budget->connections = SHOAL_BUDGET_NO_BOUND;
    budget->per_second = 0;
    for (size_t i = 0; i < budget->member_count; i++) {
        const member_t *member = &budget->members[i];
        if (member->connections > 0 && member->connections < budget->connections) {
            budget->connections = member->connections;
        }
        if (member->per_second > 0 &&
            (budget->per_second == 0 || member->per_second < budget->per_second)) {
            budget->per_second = member->per_second;
        }
    }
    if (!was_lowered || budget->bound > budget->connections) {
        budget->bound = budget->connections;
    }
}

shoal_budget_t *
shoal_budget_join(shoal_budgets_t *budgets, shoal_slice_t name, uint64_t job, uint32_t connections,
                  uint32_t per_second, uint64_t now_ms)
{
    name.len = name.len < SHOAL_BUDGET_NAME_MAX ? name.len : SHOAL_BUDGET_NAME_MAX;
    shoal_budget_t *budget = budgets->first;
    while (budget && !shoal_slice_is(name, budget->name)) {
        budget = budget->next;
    }
    if (!budget) {
        budget = shoal_alloc(sizeof(*budget));
        (void)snprintf(budget->name, sizeof(budget->name), "%.*s", SHOAL_SLICE_ARGS(name));
        budget->connections = budget->bound = SHOAL_BUDGET_NO_BOUND;
        budget->earned_ms = now_ms;
        budget->denied_until_ms = SHOAL_TIME_NEVER;
        budget->next = budgets->first;
        budgets->first = budget;
    }
    budget->members =
        shoal_realloc(budget->members, (budget->member_count + 1) * sizeof(*budget->members));
    budget->members[budget->member_count++] = (member_t){job, connections, per_second};
    bounds_settle(budget);
    budget->tokens = (uint64_t)budget->per_second * TOKEN; // a second's worth at once
    return budget;
}

static void
seat_remove(shoal_budget_t *budget, size_t index)
{
    seat_t *seat = &budget->seats[index];
    budget->held -= seat->count;
    budget->running -= seat->running;
    *seat = budget->seats[--budget->seat_count];
}

void
shoal_budget_leave(shoal_budgets_t *budgets, shoal_budget_t *budget, uint64_t job)
{
    for (size_t i = budget->seat_count; i-- > 0;) {
        if (budget->seats[i].job == job) {
            seat_remove(budget, i);
        }
    }
    for (size_t i = 0; i < budget->member_count; i++) {
        if (budget->members[i].job == job) {
            budget->members[i] = budget->members[--budget->member_count];
            break;
        }
    }
    if (budget->member_count > 0) {
        bounds_settle(budget);
        return;
    }
    shoal_budget_t **at = &budgets->first;
    while (*at != budget) {
        at = &(*at)->next;
    }
    *at = budget->next;
    budget_free(budget);
}

const char *
shoal_budget_name(const shoal_budget_t *budget)
{
    return budget->name;
}

uint32_t
shoal_budget_bound(const shoal_budget_t *budget)
{
    return budget->bound;
}

bool
shoal_budget_is_used_up(const shoal_budget_t *budget)
{
    return budget->running >= budget->bound || budget->denied_until_ms != SHOAL_TIME_NEVER;
}

uint32_t
shoal_budget_running(const shoal_budget_t *budget)
{
    return budget->running;
}

uint32_t
shoal_budget_epoch(const shoal_budget_t *budget)
{
    return budget->epoch;
}

static seat_t *
seat_find(const shoal_budget_t *budget, uint64_t job, const void *worker)
{
    for (size_t i = 0; i < budget->seat_count; i++) {
        if (budget->seats[i].job == job && budget->seats[i].worker == worker) {
            return &budget->seats[i];
        }
    }
    return NULL;
}

// The bound comes back by one for each interval; the rate's tokens come in.
static void
time_pass(shoal_budget_t *budget, uint64_t now_ms)
{
    while (budget->bound < budget->connections &&
           now_ms >= budget->grown_ms + SHOAL_BUDGET_GROW_MS) {
        budget->grown_ms += SHOAL_BUDGET_GROW_MS;
        budget->bound++;
        if (budget->connections == SHOAL_BUDGET_NO_BOUND && budget->bound >= SHOAL_BUDGET_FREE_AT) {
            budget->bound = SHOAL_BUDGET_NO_BOUND;
        }
    }
    uint64_t most = (uint64_t)budget->per_second * TOKEN;
    uint64_t since_ms = now_ms - budget->earned_ms;
    budget->earned_ms = now_ms;
    since_ms = since_ms < 1000 ? since_ms : 1000;
    budget->tokens += since_ms * budget->per_second * TOKEN / 1000;
    budget->tokens = budget->tokens < most ? budget->tokens : most;
}

static seat_t *
idle_elsewhere(const shoal_budget_t *budget, const seat_t *mine)
{
    for (size_t i = 0; i < budget->seat_count; i++) {
        seat_t *seat = &budget->seats[i];
        if (seat != mine && seat->running == 0 && !seat->is_pinned && seat->count > 0) {
            return seat;
        }
    }
    return NULL;
}

shoal_admission_t
shoal_budget_admits(shoal_budget_t *budget, uint64_t job, const void *worker, uint64_t now_ms)
{
    time_pass(budget, now_ms);
    if (budget->per_second > 0 && budget->tokens < TOKEN) {
        uint64_t missing = TOKEN - budget->tokens;
        uint64_t wait_ms = (missing + budget->per_second - 1) / budget->per_second;
        budget->denied_until_ms = now_ms + (wait_ms > 0 ? wait_ms : 1);
        return SHOAL_ADMIT_LATER;
    }
    if (budget->running >= budget->bound) {
        if (budget->bound < budget->connections) {
            budget->denied_until_ms = budget->grown_ms + SHOAL_BUDGET_GROW_MS;
        }
        return SHOAL_ADMIT_LATER;
    }
    const seat_t *seat = seat_find(budget, job, worker);
    if ((seat && seat->running < seat->count) || budget->held < budget->bound) {
        return SHOAL_ADMIT;
    }
    return idle_elsewhere(budget, seat) ? SHOAL_ADMIT_BY_DROP : SHOAL_ADMIT_LATER;
}

static seat_t *
seat_get(shoal_budget_t *budget, uint64_t job, const void *worker)
{
    seat_t *seat = seat_find(budget, job, worker);
    if (seat) {
        return seat;
    }
    if (budget->seat_count == budget->seat_size) {
        budget->seat_size = budget->seat_size ? 2 * budget->seat_size : 8;
        budget->seats = shoal_realloc(budget->seats, budget->seat_size * sizeof(*budget->seats));
    }
    seat = &budget->seats[budget->seat_count++];
    *seat = (seat_t){.job = job, .worker = worker};
    return seat;
}

bool
shoal_budget_begin(shoal_budget_t *budget, uint64_t job, const void *worker, uint64_t now_ms,
                   uint64_t *ret_job, const void **ret_worker)
{
    bool drops = false;
    time_pass(budget, now_ms);
    budget->denied_until_ms = SHOAL_TIME_NEVER;
    budget->tokens -= budget->per_second > 0 && budget->tokens >= TOKEN ? TOKEN : 0;
    seat_t *seat = seat_get(budget, job, worker);
    if (seat->running == seat->count) {
        seat_t *idle = budget->held >= budget->bound ? idle_elsewhere(budget, seat) : NULL;
        if (idle) {
            drops = true;
            *ret_job = idle->job;
            *ret_worker = idle->worker;
            seat_remove(budget, (size_t)(idle - budget->seats));
            seat = seat_get(budget, job, worker); // it may have moved
        }
        seat->count++;
        budget->held++;
    }
    seat->running++;
    budget->running++;
    return drops;
}

void
shoal_budget_hold(shoal_budget_t *budget, uint64_t job, const void *worker)
{
    seat_get(budget, job, worker)->count++;
    budget->held++;
}

void
shoal_budget_end(shoal_budget_t *budget, uint64_t job, const void *worker)
{
    seat_t *seat = seat_find(budget, job, worker);
    if (seat && seat->running > 0) {
        seat->running--;
        budget->running--;
    }
}

bool
shoal_budget_refused(shoal_budget_t *budget, uint64_t job, const void *worker, uint32_t epoch,
                     uint64_t now_ms)
{
    bool had_others = budget->running > 1;
    seat_t *seat = seat_find(budget, job, worker);
    if (epoch == budget->epoch) {
        uint32_t used = budget->running < budget->bound ? budget->running : budget->bound;
        budget->bound = used / 2 > 0 ? used / 2 : 1;
        budget->epoch++;
    }
    budget->grown_ms = now_ms;
    if (seat && seat->running > 0) {
        seat->running--;
        seat->count--;
        budget->running--;
        budget->held--;
    }
    return had_others;
}

void
shoal_budget_pin(shoal_budget_t *budget, uint64_t job, const void *worker)
{
    seat_get(budget, job, worker)->is_pinned = true;
}

void
shoal_budgets_forget(shoal_budgets_t *budgets, const void *worker, uint64_t job)
{
    for (shoal_budget_t *budget = budgets->first; budget; budget = budget->next) {
        for (size_t i = budget->seat_count; i-- > 0;) {
            if (budget->seats[i].worker == worker && (job == 0 || budget->seats[i].job == job)) {
                seat_remove(budget, i);
            }
        }
    }
}

uint64_t
shoal_budgets_next(const shoal_budgets_t *budgets, uint64_t now_ms)
{
    uint64_t next = SHOAL_TIME_NEVER;
    for (const shoal_budget_t *budget = budgets->first; budget; budget = budget->next) {
        if (budget->denied_until_ms > now_ms && budget->denied_until_ms < next) {
            next = budget->denied_until_ms; // one that has passed: nobody wants anything any more
        }
    }
    return next;
}
