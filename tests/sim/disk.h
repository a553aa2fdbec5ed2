// SPDX-License-Identifier: Apache-2.0
//
// disk.h - what is on the simulated disk: disk.c writes it, journal.c reads it back at a start.
//
// Batches are written first and durable with the next commit; what the journal and the vault have is
// durable as a whole with each commit. The end of the head takes everything else away.

#ifndef SHOAL_TESTS_SIM_DISK_H
#define SHOAL_TESTS_SIM_DISK_H

#include "head/store/scribe.h"
#include "tests/sim/sim.h"

#define SIM_OFFSET_BITS 20 // a place is a batch's number, cut in two

typedef struct sim_batch {
    uint64_t job; // 0: released
    uint64_t call;
    uint64_t seq;
    uint32_t attempt;
    uint32_t records;
    char *bytes;
    uint32_t len;
    bool is_durable;
    uint64_t forgotten; // it went with that job
} sim_batch_t;

typedef struct sim_text { // copied
    char *ptr;
    size_t len;
} sim_text_t;

typedef struct sim_letter_row {
    uint64_t number;
    sim_text_t body;
} sim_letter_row_t;

typedef struct sim_row {
    uint64_t number;
    sim_text_t id;
    sim_text_t name;
    sim_text_t submit;
    uint64_t created_ms;
    unsigned state;
    sim_text_t end;
    sim_text_t outputs;
    uint64_t finished_ms;
    shoal_buffer_t log; // entries, one after the other
    sim_text_t box;     // in the vault
    sim_letter_row_t *letters;
    size_t letter_count;
} sim_row_t;

struct sim_disk {
    sim_batch_t *batches; // by number, from 0
    uint64_t count;
    uint64_t size;
    uint64_t bytes; // of batches, with headers
    sim_row_t *rows;
    size_t row_count;
    uint64_t life; // of the head
    uint64_t full_until_us;
    uint64_t slow_until_us;
    bool is_dead; // the head's end: nothing is written any more
    test_random_t random;
    shoal_scribe_t *scribe; // the one that runs, or NULL
};

// journal.c: a note is durable.
void sim_journal_note(sim_t *sim, const shoal_journal_note_t *note);
void sim_journal_end(sim_disk_t *disk); // frees all
sim_t *sim_disk_world(void);            // of the functions that have no place for it

#endif
